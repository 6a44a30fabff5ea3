"""Tables (on stdout) and progress bars (on stderr, on a terminal only): the only module that uses rich."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

if TYPE_CHECKING:
    from bincompress.finetune import Progress as Training
    from bincompress.plan import Plan

_PIPE_WIDTH = 140  # a table in a log is not cut at rich's 80 columns
_STYLE = {"binary": "green", "weight_only": "cyan", "float": "yellow"}


def _console() -> Console:
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


def _table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(title=escape(title), title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


@contextlib.contextmanager
def reporter() -> Iterator[TerminalReporter | LogReporter]:
    """Bars on a terminal, else a line per stage and epoch, on stderr; a message of an interrupt is shown."""
    shown = TerminalReporter() if sys.stderr.isatty() else LogReporter()
    try:
        yield shown
    except KeyboardInterrupt as stop:
        shown.close()
        if str(stop):
            print(stop, file=sys.stderr)
        raise
    finally:
        shown.close()


class LogReporter:
    """One line per stage and per epoch."""

    def stage(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def training(self, progress: Training) -> None:
        if progress.step == progress.steps:
            print(_epoch_line(progress), file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class TerminalReporter:
    """A bar for the epoch in progress; finished epochs and stages scroll past above it."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None

    def stage(self, text: str) -> None:
        self.close()
        self._console.print(escape(text), style="dim")

    def training(self, progress: Training) -> None:
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"))
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._bar.add_task("", total=progress.steps, facts="")
        task = self._bar.task_ids[0]
        self._bar.update(
            task,
            description=f"{escape(progress.stage)} {progress.epoch}/{progress.epochs}",
            total=progress.steps,
            completed=progress.step,
            facts=_facts(progress),
        )
        if progress.step == progress.steps:
            self._console.print(escape(_epoch_line(progress)))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _epoch_line(progress: Training) -> str:
    return f"{progress.stage}: epoch {progress.epoch}/{progress.epochs}  {_facts(progress)}"


def _facts(progress: Training) -> str:
    val = "" if progress.val_accuracy is None else f"  val {_percent(progress.val_accuracy)}"
    left = f"{progress.seconds_left:.0f} s left"
    return f"loss {progress.loss:.3f}  train {_percent(progress.accuracy)}{val}  flips {progress.flips:.2%}  {left}"


def plan(plan: Plan) -> None:
    """The dry run: what would be done to every layer."""
    _console().print(_layers(plan.to_json()))


def conversion(result: dict[str, Any]) -> None:
    """Everything that `convert` found out."""
    console = _console()
    console.print(_layers(result["layers"]))
    table = _table(result["output"], "", "float", "1-bit", right=("float", "1-bit"))
    accuracy = result["accuracy"]
    if accuracy["binary"] is not None:
        table.add_row("accuracy, top 1", _percent(accuracy["float"]), _percent(accuracy["binary"]))
    table.add_row("size", _bytes(result["float_bytes"]), f"{_bytes(result['bytes'])}  ({result['compression']:.1f}x)")
    console.print(table)
    verification(result["verify"], console)
    if result["gates"]:
        gates = _table("gates", "gate", "limit", "value", "", right=("limit", "value"))
        for gate in result["gates"]:
            verdict = "[green]passed[/]" if gate["passed"] else "[red]failed[/]"
            gates.add_row(gate["name"], _number(gate["limit"]), _number(gate["value"]), verdict)
        console.print(gates)
    for text in result["notes"]:
        console.print(f"note: {escape(text)}", style="dim")
    console.print(f"{result['seconds']:.1f} s", style="dim")


def training(result: dict[str, Any]) -> None:
    """What `finetune` left."""
    accuracy = result["accuracy"]
    console = _console()
    console.print(f"{escape(result['checkpoint'])}: {result['epochs']} epochs, {result['seconds']:.1f} s")
    if accuracy["binary"] is not None:
        console.print(f"accuracy: float {_percent(accuracy['float'])}, 1-bit {_percent(accuracy['binary'])}")
    console.print(f"export it with: bincompress convert {escape(result['checkpoint'])} -o OUT.gguf", style="dim")


def evaluation(model: str, data: str, result: dict[str, Any]) -> None:
    """What `eval` measured."""
    table = _table(f"{model} on {data}", "top 1", "top 5", "samples", "seconds", right=("samples", "seconds"))
    table.add_row(
        _percent(result["top1"]), _percent(result["top5"]), str(result["samples"]), f"{result['seconds']:.1f}"
    )
    _console().print(table)


def verification(result: dict[str, Any], console: Console | None = None) -> None:
    """What `verify` compared."""
    table = _table("verify: packed file against the network", "check", "found", "", right=("found",))
    table.add_row("samples", str(result["samples"]), "")
    if result["integer_mismatches"] is not None:
        exact = "[green]exact[/]" if result["integer_mismatches"] == 0 else "[red]wrong[/]"
        table.add_row("integer mismatches", str(result["integer_mismatches"]), exact)
        table.add_row("boundary flips (within rounding of a sign's switch point)", str(result["boundary_flips"]), "")
    table.add_row("largest difference of logits", f"{result['max_abs_diff']:.3g}", "")
    table.add_row("same top-1 answer", _percent(result["top1_agreement"]), "")
    rounded = result.get("int8_activations")
    if rounded:
        what = f"8-bit activations of {rounded['layers']} layers change logits by"
        table.add_row(what, f"{rounded['max_abs_diff']:.3g}", "")
        table.add_row("same top-1 answer with and without", _percent(rounded["top1_agreement"]), "")
    (console or _console()).print(table)


def inspection(result: dict[str, Any]) -> None:
    """What a packed file holds."""
    console = _console()
    right = ("MACs", "weights", "bits/weight", "weight bytes", "constants")
    table = _table(result["file"], "layer", "op", "output", *right, right=right)
    for layer in result["layers"]:
        bits = layer["bits_per_weight"]
        table.add_row(
            escape(layer["name"]),
            layer["op"],
            f"{'x'.join(map(str, layer['output']))} {layer['dtype']}",
            _si(layer["macs"]) if layer["macs"] else "",
            str(layer["weights"] or ""),
            "" if bits is None else f"{bits:.4g}",
            str(layer["weight_bytes"] or ""),
            str(layer["constant_bytes"] or ""),
        )
    console.print(table)
    facts = Table(show_header=False, box=None)
    shape = "x".join(map(str, result["input"]["shape"]))
    facts.add_row("file", f"{_bytes(result['bytes'])} ({result['bytes']} bytes)")
    facts.add_row("input", f"{shape} {result['input']['dtype']}")
    if result["normalize"]:
        facts.add_row("normalisation", f"mean {result['normalize']['mean']}, std {result['normalize']['std']}")
    facts.add_row("classes", escape(", ".join(result["classes"])) or "not stored")
    for key, value in result["meta"].items():
        facts.add_row(key, escape(str(value)))
    console.print(facts)


def network_bench(result: dict[str, Any], layers: bool) -> None:
    """Speed of a packed file."""
    console = _console()
    console.print(f"{escape(result['cpu'])}, {result['isa']}, {_threads(result['threads'])}", style="dim")
    right = ("median", "fastest", "speed-up")
    table = _table("one image", "", *right, right=right)
    ours = result["packed"]
    table.add_row("[bold]bincompress[/]", _us(ours["median_us"]), _us(ours["min_us"]), "")
    for name, row in result["baselines"].items():
        table.add_row(name, _us(row["median_us"]), _us(row["min_us"]), f"{row['speedup']:.2f}x")
    table.caption = f"baseline: {escape(result['baseline'])}"
    console.print(table)
    if layers:
        columns = ("MACs", "median", "G MAC/s", "of peak")
        rows = _table("layers", "layer", "op", *columns, right=columns)
        for row in result["layers"]:
            rows.add_row(escape(row["name"]), row["op"], *_rate(row))
        console.print(rows)
    console.print(f"binary roofline here: {result['roofline']['peak_gmacs']:.0f} G MAC/s", style="dim")


def kernel_bench(result: dict[str, Any]) -> None:
    """Speed of single layers."""
    console = _console()
    right = ("batch", "median", "G MAC/s", "of peak", "vs ORT fp32", "vs ORT int8")
    title = f"{result['cpu']}, {result['isa']}, {_threads(result['threads'])}"
    table = _table(title, "op", "kernel", "shape", "in, out", *right, right=right)
    for row in result["kernels"]:
        versus = [_ratio(row[f"vs_onnxruntime_{kind}"]) for kind in ("fp32", "int8")]
        names = (row["op"], row["kernel"], row["shape"], f"{row['input']}, {row['output']}", str(row["batch"]))
        table.add_row(*names, *_rate(row)[-3:], *versus)
    console.print(table)
    console.print(f"binary roofline here: {result['roofline']['peak_gmacs']:.0f} G MAC/s", style="dim")


def demonstration(result: dict[str, Any]) -> None:
    """The demo's one table: accuracy, size and speed of the float network and its 1-bit child."""
    converted, measured = result["convert"], result["bench"]
    console = _console()
    console.print(_layers(converted["layers"]))
    ours, accuracy = measured["packed"], converted["accuracy"]
    fp32, int8 = (measured["baselines"][f"onnxruntime-{kind}"] for kind in ("fp32", "int8"))
    names = ("float (ONNX Runtime fp32)", "float (ONNX Runtime int8)", "1-bit (bincompress)")
    table = _table("scikit-learn's digits: float network and its 1-bit child", "", *names, right=names)
    table.add_row("accuracy, top 1", _percent(accuracy["float"]), "", f"[bold]{_percent(accuracy['binary'])}[/]")
    table.add_row("file size", _bytes(result["float_file_bytes"]), "", f"[bold]{_bytes(converted['bytes'])}[/]")
    table.add_row(
        "time per image", _us(fp32["median_us"]), _us(int8["median_us"]), f"[bold]{_us(ours['median_us'])}[/]"
    )
    table.add_row("1-bit is faster by", f"{fp32['speedup']:.1f}x", f"{int8['speedup']:.1f}x", "")
    table.caption = f"{measured['cpu']}, {measured['isa']}, {_threads(measured['threads'])}"
    console.print(table)
    checked = converted["verify"]
    exact = "[green]every integer equal[/]" if checked["integer_mismatches"] == 0 else "[red]different[/]"
    console.print(f"verified layer by layer on {checked['samples']} images: {exact}")
    console.print(f"look at it: bincompress inspect {escape(converted['output'])}", style="dim")


def _rate(row: dict[str, Any]) -> tuple[str, str, str, str]:
    peak = "" if row["of_peak"] is None else f"{row['of_peak']:.0%}"
    gmacs = f"{row['gmacs']:.1f}" if row["gmacs"] else ""
    return _si(row["macs"]) if row.get("macs") else "", _us(row["median_us"]), gmacs, peak


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"


def _us(value: float) -> str:
    return f"{value:.1f} us" if value < 1000 else f"{value / 1000:.2f} ms"


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _layers(rows: list[dict[str, Any]]) -> Table:
    table = _table("layers", "layer", "op", "decision", "reason", "MACs", "bits", right=("MACs", "bits"))
    for row in rows:
        decision = f"[{_STYLE[row['decision']]}]{row['decision']}[/]"
        table.add_row(
            escape(row["name"]), row["op"], decision, escape(row["reason"]), _si(row["macs"]), str(row["weight_bits"])
        )
    total = sum(row["macs"] for row in rows) or 1
    for decision in _STYLE:
        share = sum(row["macs"] for row in rows if row["decision"] == decision) / total
        count = sum(row["decision"] == decision for row in rows)
        if count:
            table.caption = f"{table.caption or ''}  {decision}: {count} layers, {share:.1%} of the MACs".strip()
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _number(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _bytes(count: int) -> str:
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.2f} MiB"


def _si(value: float) -> str:
    for factor, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= factor:
            return f"{value / factor:.1f}{suffix}"
    return f"{value:.0f}"
