"""What goes to stdout: with --json exactly one JSON object, whatever libraries print meanwhile."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def stdout_for_data() -> Iterator[None]:
    """Send what code inside prints to stderr, so that stdout holds only what `print_json` or a table writes."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def print_json(result: dict[str, Any]) -> None:
    """Write the one object of --json."""
    sys.stdout.write(json.dumps(result, allow_nan=False) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Tell the user something, on stderr."""
    print(text, file=sys.stderr)
