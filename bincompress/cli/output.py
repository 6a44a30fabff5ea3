"""What goes to stdout: with --json exactly one JSON object, whatever libraries print meanwhile."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def stdout_for_data() -> Iterator[None]:
    """Send what code inside prints to stderr, so that stdout holds only what `print_json` or a table writes."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def print_json(result: dict[str, Any]) -> None:
    """Write the one object of --json; JSON has no NaN or infinity (the loss of a training that diverged): null."""
    sys.stdout.write(json.dumps(_finite(result), allow_nan=False) + "\n")
    sys.stdout.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def note(text: str) -> None:
    """Tell the user something, on stderr."""
    print(text, file=sys.stderr)
