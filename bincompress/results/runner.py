"""Makes rows: trains what is missing within a time budget, goes on where it was stopped, measures the packed file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bincompress import pipeline
from bincompress.bench.network import bench_network, load_baseline
from bincompress.checkpoint import is_checkpoint, load_checkpoint
from bincompress.data import open_data
from bincompress.errors import UsageError
from bincompress.finetune import Progress
from bincompress.float_training import RECIPE, train_float
from bincompress.pipeline import Source
from bincompress.recipe import Recipe, load_recipe
from bincompress.report import SILENT, Reporter
from bincompress.results.commands import commands, data_spec
from bincompress.results.render import render
from bincompress.results.table import PARENTS, ROWS, Parent, Row

JSON, MARKDOWN = "results.json", "RESULTS.md"
_FIRST_REPORT = 20  # training reports every 20 steps; stopping at an epoch's first report loses next to nothing


@dataclass
class Summary:
    """What became of the rows that were asked for."""

    made: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)


class _Deadline:
    """A reporter that stops training when its time is up, as Ctrl-C would: the last whole epoch has been saved."""

    def __init__(self, reporter: Reporter, seconds: float | None) -> None:
        self._reporter = reporter
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end

    def stage(self, text: str) -> None:
        self._reporter.stage(text)

    def training(self, progress: Progress) -> None:
        self._reporter.training(progress)
        if self.passed and progress.step <= _FIRST_REPORT:
            raise KeyboardInterrupt


def make_results(
    rows: Sequence[Row],
    *,
    work: Path,
    data: Path,
    output: Path,
    budget_seconds: float | None = None,
    force: bool = False,
    speed: bool = True,
    reporter: Reporter = SILENT,
) -> Summary:
    """Make the rows that `output` lacks (with `force` all), and write results.json and RESULTS.md after each.

    `work` keeps float networks, checkpoints and packed files by the rows' names: what has been trained is never trained
    again, `force` measures it anew. `data` is the directory with data sets and models. `speed` may be left out.
    Raises: UsageError for a directory or file that is missing; KeyboardInterrupt saying how to go on; whatever a
        conversion raises.
    """
    check_output(output)
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{work}: cannot be made: {error.strerror}; name a directory with --work") from None
    if not os.access(work, os.W_OK):
        raise UsageError(f"{work}: is read-only; name another directory with --work")
    deadline, summary = _Deadline(reporter, budget_seconds), Summary()
    for row in rows:
        known = {found["id"]: found for found in read_results(output)}
        if row.id in known and not force:
            summary.already.append(row.id)
            continue
        if deadline.passed:
            summary.unfinished.append(row.id)
            continue
        reporter.stage(f"row {row.id}")
        try:
            known[row.id] = _make(row, work, data, speed, deadline)
        except KeyboardInterrupt:
            if not deadline.passed:
                raise KeyboardInterrupt(f"stopped; {work} keeps whole epochs: the same command goes on") from None
            summary.unfinished.append(row.id)
            continue
        write_results([known[each.id] for each in ROWS if each.id in known], output)
        summary.made.append(row.id)
    return summary


def check_output(output: Path, *, writes: bool = True) -> None:
    """Refuse a directory for results.json and RESULTS.md that is not there, or cannot be written where that is asked.

    Raises: UsageError.
    """
    if not output.is_dir():
        raise UsageError(f"{output}: no such directory; run this where recipes/ is, or name it with --output")
    if writes and not os.access(output, os.W_OK):
        raise UsageError(f"{output}: is read-only; name another directory with --output")


def read_results(output: Path) -> list[dict[str, Any]]:
    """The rows of results.json, none if there is no such file.

    Raises: UsageError for a file that is something else.
    """
    path = output / JSON
    if not path.is_file():
        return []
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
        known = {row["id"] for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{path}: is no table of results ({reason}); restore it, or delete it to begin anew") from None
    if len(known) != len(rows):
        raise UsageError(f"{path}: has a row twice; leave one of them")
    return rows


def write_results(rows: list[dict[str, Any]], output: Path) -> None:
    """Write results.json and what is rendered from it, each at once."""
    for name, text in ((JSON, json.dumps({"rows": rows}, indent=1) + "\n"), (MARKDOWN, render(rows))):
        temporary = output / f".{name}.tmp"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, output / name)


def _make(row: Row, work: Path, data: Path, speed: bool, reporter: _Deadline) -> dict[str, Any]:
    """Train, export and measure one row; everything that is in results.json about it."""
    parent = PARENTS[row.parent]
    spec = data_spec(parent.data, str(data))
    source, float_training = _float_network(parent, work, data, spec, reporter)
    recipe = _recipe(row, data)
    directory, packed = work / f"{_trained_as(row, recipe, data)}.ckpt", work / f"{row.id}.gguf"
    resume = is_checkpoint(directory)
    pipeline.finetune(source, recipe, data=spec, output=directory, resume=resume, reporter=reporter)
    exported = pipeline.export(directory, val=spec, output=packed, force=True, reporter=reporter)
    checkpoint = load_checkpoint(directory)
    history = checkpoint.history
    result = {
        **{key: value for key, value in asdict(row).items() if key not in ("overrides", "epochs", "teacher")},
        "method": recipe.method,
        "network": parent.network,
        "data": parent.data,
        "epochs": checkpoint.epoch,
        "seconds": round(sum(entry["seconds"] for entry in history)),
        "device": history[-1].get("device", "cpu") if history else "cpu",
        "threads": max((entry.get("threads", 0) for entry in history), default=0) or None,
        "seed": recipe.train.seed,
        "float_training": float_training,
        "float_accuracy": checkpoint.accuracy["float"],
        "checkpoint_accuracy": checkpoint.accuracy["binary"],
        "packed_accuracy": exported["accuracy"]["binary"],
        "samples": len(open_data(spec, split="test")),
        "bytes": exported["bytes"],
        "float_bytes": exported["float_bytes"],
        "verify": {key: value for key, value in exported["verify"].items() if key != "layers"},
        "commands": commands(row),
    }
    if speed:
        reporter.stage("measuring speed against ONNX Runtime fp32")
        baseline = load_baseline(source.path, factory=source.factory)
        measured = bench_network(packed, baseline=baseline, images=open_data(spec, split="train").images)
        ours, theirs = measured["packed"]["median_us"], measured["baselines"]["onnxruntime-fp32"]["median_us"]
        result["speed"] = {
            "median_us": ours,
            "onnxruntime_fp32_us": theirs,
            "speedup": theirs / ours,
            "cpu": measured["cpu"],
            "isa": measured["isa"],
            "threads": measured["threads"],
        }
    return result


def _recipe(row: Row, data: Path) -> Recipe:
    recipe = load_recipe(row.recipe, row.settings(str(data)))
    return recipe if row.epochs is None else recipe.with_epochs(row.epochs)


def _trained_as(row: Row, recipe: Recipe, data: Path) -> str:
    """The first row of the table that is trained just so: what several comparisons begin from is trained once."""
    alike = (each for each in ROWS if each.parent == row.parent)
    return next(each.id for each in alike if each is row or _recipe(each, data) == recipe)


def _float_network(
    parent: Parent, work: Path, data: Path, spec: str, reporter: Reporter
) -> tuple[Source, dict[str, Any] | None]:
    """The parent's file, trained if need be, and how it was trained if it was."""
    factory = f"bincompress.zoo:{parent.network}" if parent.needs_factory else None
    if parent.file is not None:
        path = data / parent.file
        if not path.is_file():
            raise UsageError(f"{path}: this row starts from it; name the directory that has it with --data-dir")
        return Source(path, factory), None
    path, about = work / f"{parent.name}.safetensors", work / f"{parent.name}.json"
    if not path.is_file() or not about.is_file():
        recipe = load_recipe(RECIPE, parent.overrides)
        source = Source(f"zoo:{parent.network}")
        found = train_float(source, recipe, data=spec, output=path, force=True, resume=True, reporter=reporter)
        seconds = round(sum(entry["seconds"] for entry in found["history"]))
        about.write_text(json.dumps({"epochs": found["epochs"], "seconds": seconds}) + "\n", encoding="utf-8")
    training: dict[str, Any] = json.loads(about.read_text(encoding="utf-8"))
    return Source(path, factory), training
