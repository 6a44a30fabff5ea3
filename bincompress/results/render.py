"""recipes/RESULTS.md from the rows of results.json."""

from __future__ import annotations

from itertools import groupby
from typing import Any

Result = dict[str, Any]

_HEAD = """\
# Results

Rendered from [`results.json`](results.json), to which `make results` adds the rows that are missing;
`make results ONLY=ID` makes one (with `FORCE=1` one that is there), and the commands below do the same by hand.
Accuracy is over the whole test set: `float` of the network that was converted, `1-bit` of the packed file run by the
C library. Each row is the last epoch of one run with one seed; test images choose nothing. `published` is what others
report for the method, most often after hundreds of epochs, and not for the same training. Time is of training alone: on
one core of a CPU, on more where the table further down says so, or on the GPU that it names, which then trained up to
seven networks at once. Speed is of one image on one thread against ONNX Runtime's float32 run of the float network, in
turns in one process.
"""
_COLUMNS = ("id", "recipe", "epochs", "time", "float %", "1-bit %", "published %", "KiB", "smaller", "faster")


def render(rows: list[Result]) -> str:
    """The whole file."""
    parts = [_HEAD]
    for group, found in groupby(rows, key=lambda row: str(row["group"])):
        listed = list(found)
        parts.append(_table(group, listed) if not any(row["variant"] for row in listed) else _comparison(group, listed))
    if rows:
        parts += [_notes(rows), _commands(rows)]
    return "\n".join(parts)


def _table(group: str, rows: list[Result]) -> str:
    lines = [f"## {group}\n", _line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    lines += [
        _line(
            (
                f"`{row['id']}`",
                ", ".join(filter(None, (f"`{row['recipe']}`", row.get("remark", "")))),
                row["epochs"],
                _time(row["seconds"]),
                _percent(row["float_accuracy"]),
                f"**{_percent(row['packed_accuracy'])}**",
                f"{row['published']} ({row['source']})" if row["published"] else "",
                f"{row['bytes'] / 1024:.1f}",
                f"{row['float_bytes'] / row['bytes']:.1f} x",
                _speedup(row),
            )
        )
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _comparison(group: str, rows: list[Result]) -> str:
    lines = [f"## In small: {group}\n", _line(("id", "variant", "1-bit %", "faster")), _line(["---"] * 4)]
    lines += [
        _line((f"`{row['id']}`", row["variant"], f"**{_percent(row['packed_accuracy'])}**", _speedup(row)))
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _notes(rows: list[Result]) -> str:
    """How each row was trained, and that its file computes what was trained."""
    columns = (
        "id",
        "device",
        "seed",
        "epoch",
        "float parent",
        "checkpoint %",
        "integer mismatches",
        "CPU of the speed",
    )
    lines = ["## How they were made\n", _line(columns), _line(["---"] * len(columns))]
    for row in rows:
        trained, speed = row["float_training"], row.get("speed")
        seconds = row["seconds"] / row["epochs"] if row["epochs"] else 0
        lines.append(
            _line(
                (
                    f"`{row['id']}`",
                    _device(row),
                    row["seed"],
                    f"{seconds:.0f} s",
                    f"{trained['epochs']} epochs, {_time(trained['seconds'])}" if trained else "a published file",
                    _percent(row["checkpoint_accuracy"]),
                    row["verify"]["integer_mismatches"],
                    f"{speed['cpu']}, {speed['isa']}" if speed else "",
                )
            )
        )
    return "\n".join(lines) + "\n"


def _commands(rows: list[Result]) -> str:
    lines = ["## Commands\n"]
    for row in rows:
        lines += [f"`{row['id']}`:\n", *(f"    {command}" for command in row["commands"]), ""]
    return "\n".join(lines)


def _device(row: Result) -> str:
    """What trained; on a GPU the processor's threads count for nothing."""
    threads = row.get("threads") if row["device"] == "cpu" else None
    return f"{row['device']}, {threads} threads" if threads else str(row["device"])


def _line(cells: Any) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _speedup(row: Result) -> str:
    speed = row.get("speed")
    return f"{speed['speedup']:.1f} x" if speed else ""
