"""The registry of methods: one import line each; a broken one is loud."""

from __future__ import annotations

from bincompress.binarize import bc, bnn, bwn, xnor
from bincompress.binarize.method import Method

METHODS: dict[str, Method] = {row.name: row for row in (bc.METHOD, bnn.METHOD, bwn.METHOD, xnor.METHOD)}


def get_method(name: str) -> Method:
    """The method of this name; recipes only name known ones."""
    return METHODS[name]
