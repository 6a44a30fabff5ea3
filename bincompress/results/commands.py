"""The commands of the command line that make a row by hand."""

from __future__ import annotations

import shlex

from bincompress.results.table import PARENTS, Parent, Row

_ROOT = "$BINCOMPRESS_DATA"


def data_spec(data: str, root: str) -> str:
    """What --data is for a data set below `root`."""
    return data if data == "digits" else f"{data}:{root}/{data}"


def commands(row: Row) -> list[str]:
    """Train the float network if there is none, convert it, measure the file."""
    parent = PARENTS[row.parent]
    spec = _quoted(data_spec(parent.data, _ROOT))
    model = _quoted(f"{_ROOT}/{parent.file}") if parent.file else f"{parent.name}.safetensors"
    factory = f" --factory bincompress.zoo:{parent.network}" if parent.needs_factory else ""
    epochs = "" if row.epochs is None else f" --epochs {row.epochs}"
    packed, settings = f"{row.id}.gguf", _settings(row.settings(_ROOT))
    return [
        *_training(parent, spec),
        f"bincompress convert {model}{factory} --recipe {row.recipe} --data {spec}{epochs}{settings} -o {packed}",
        f"bincompress bench {packed} --baseline {model}{factory}",
    ]


def _training(parent: Parent, spec: str) -> list[str]:
    if parent.file:
        return []
    output = f"{parent.name}.safetensors"
    return [f"bincompress train zoo:{parent.network} --data {spec}{_settings(parent.overrides)} -o {output}"]


def _settings(overrides: tuple[str, ...]) -> str:
    return "".join(f" --set {_quoted(each) if '$' in each else shlex.quote(each)}" for each in overrides)


def _quoted(text: str) -> str:
    return f'"{text}"' if "$" in text else text
