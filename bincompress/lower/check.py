"""Is this Program well formed? The same rules as the C library's loader, with a one-line reason where it is not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bincompress.errors import LoweringError
from bincompress.lower.geometry import Window, window
from bincompress.program import (
    BINARY_OPS,
    FLOAT_OPS,
    I8_OPS,
    OPS,
    STEP_PARAMETERS,
    STEPS,
    U8_OPS,
    WEIGHT_OPS,
    Node,
    Program,
    Step,
    Value,
)

Shape = tuple[int, int, int]
EXACT_LIMIT = 1 << 24  # integers below it are float32 exactly
MAX_STEPS = 64
MATRIX_OPS = (*FLOAT_OPS, *WEIGHT_OPS, *I8_OPS, *BINARY_OPS, *U8_OPS)
_READS, _WRITES = ("add", "mul_map"), ("store", "sign", "threshold")


def check_program(program: Program) -> None:
    """Check every rule that `program.py` states.

    Raises: LoweringError naming the node and the first rule that does not hold.
    """
    for reason in _program_faults(program):
        raise LoweringError(reason)


def accumulator_kind(node: Node, main: Value) -> str:
    """What `node` accumulates: 'int', 'bits' (copied or pooled bits) or 'f32'."""
    if node.op in (*BINARY_OPS, *U8_OPS):
        return "int"
    return "bits" if main.dtype == "bits" else "f32"


def output_shape(node: Node, main: Shape) -> Shape:
    """Shape of the accumulator of `node` over an input of shape `main`."""
    channels, height, width = main
    if node.op == "elementwise":
        return main
    if node.op == "flatten":
        return channels * height * width, 1, 1
    if node.op == "constant":
        return 1, int(node.attrs["size"][0]), int(node.attrs["size"][1])
    if node.op == "subsample_pad":
        sh, sw = node.attrs["stride"]
        return channels + int(node.attrs["before"]) + int(node.attrs["after"]), -(-height // sh), -(-width // sw)
    high, wide = window(node).output(height, width)
    if node.weight is not None:
        channels = int(node.weight.shape[0])
    return (1 if node.op == "act_scale" else channels), high, wide


def _program_faults(program: Program) -> Iterator[str]:
    values = program.values
    for index, value in enumerate(values):
        if value.dtype not in ("f32", "u8", "bits"):
            yield f"value {index} {value.name}: unknown element type {value.dtype!r}"
        if len(value.shape) != 3 or min(value.shape) < 1:
            yield f"value {index} {value.name}: shape {value.shape} is not three positive sizes"
        if value.dtype == "u8" and index != program.input:
            yield f"value {index} {value.name}: only the input may be u8"
    for role, index in (("input", program.input), ("output", program.output)):
        if not 0 <= index < len(values):
            yield f"{role} is value {index} of {len(values)}"
    norm, channels = program.normalize, values[program.input].shape[0]
    if norm is not None:
        numbers = (*norm.mean, *norm.std)
        sizes_fit = len(norm.mean) == channels == len(norm.std)
        if not sizes_fit or not np.isfinite(numbers).all() or min(norm.std) <= 0:
            yield f"normalize: expected {channels} finite means and {channels} positive stds, one per input channel"
    if not program.nodes:
        yield "there is nothing to compute"
    ready = {program.input}
    for node in program.nodes:
        for fault in _node_faults(program, node, ready):
            yield f"{node.name} ({node.op}): {fault}"
        ready.update(node.outputs)
    if program.output not in ready:
        yield f"output {values[program.output].name} is never computed"


def _node_faults(program: Program, node: Node, ready: set[int]) -> Iterator[str]:
    values = program.values
    if node.op not in OPS:
        yield "unknown op"
    for index in (*node.inputs, *node.outputs):
        if not 0 <= index < len(values):
            yield f"value {index} of {len(values)}"
    if len(node.inputs) < 1 or len(node.outputs) < 1:
        yield "a node needs an input and an output"
    for index in node.inputs:
        if index not in ready:
            yield f"reads {values[index].name}, which is not computed yet"
    for index in node.outputs:
        if index in ready or node.outputs.count(index) > 1:
            yield f"writes {values[index].name}, which is written already"
    main = values[node.inputs[0]]
    yield from _main_faults(node, main)
    yield from _weight_faults(node, main)
    shape = output_shape(node, main.shape)
    if min(shape) < 1:
        yield f"the window does not fit the input {main.shape}"
    yield from _step_faults(program, node, shape, accumulator_kind(node, main))


def _main_faults(node: Node, main: Value) -> Iterator[str]:
    allowed: tuple[str, ...] = ("f32",)
    if node.op in BINARY_OPS:
        allowed = ("bits",)
    elif node.op in U8_OPS:
        allowed = ("u8",)
    elif node.op in ("max_pool", "flatten"):
        allowed = ("f32", "bits")
    elif node.op in ("elementwise", "constant"):
        allowed = ("f32", "u8")
    if main.dtype not in allowed:
        yield f"input {main.name} is {main.dtype}, expected {' or '.join(allowed)}"
    if node.op in ("elementwise", "flatten"):
        return
    if node.op == "constant":
        factors, size = node.attrs["factors"], tuple(node.attrs["size"])
        if factors.shape != size or factors.dtype != np.float32 or not np.isfinite(factors).all():
            yield f"factors must be {size[0]} x {size[1]} finite float32 values"
        return
    if node.op == "subsample_pad":
        if min(*node.attrs["stride"], 1 + node.attrs["before"], 1 + node.attrs["after"]) < 1:
            yield "stride must be positive, before and after not negative"
        return
    win = window(node)
    if min(*win.kernel, *win.stride, *win.dilation) < 1 or min(win.padding) < 0:
        yield "kernel, stride and dilation must be positive, padding not negative"
    if node.op not in MATRIX_OPS and _window_may_be_empty(win):
        yield f"padding {win.padding} must be smaller than the kernel {win.kernel}"
    mask = node.attrs.get("or_mask")
    if mask is not None and (node.op != "max_pool" or main.dtype != "bits" or len(mask) != main.shape[0]):
        yield "or_mask belongs to a max_pool of bits, one entry per channel"


def _window_may_be_empty(win: Window) -> bool:
    top, left, bottom, right = win.padding
    return max(top, bottom) >= win.kernel[0] or max(left, right) >= win.kernel[1]


def _weight_faults(node: Node, main: Value) -> Iterator[str]:
    if node.op not in MATRIX_OPS:
        if node.weight is not None:
            yield "this op has no weights"
        return
    weight, groups, channels = node.weight, int(node.attrs["groups"]), main.shape[0]
    if weight is None:
        yield "weights are missing"
        return
    if groups < 1 or channels % groups or weight.shape[0] % groups:
        yield f"{groups} groups do not divide {channels} input and {weight.shape[0]} output channels"
    if weight.shape[1:] != (*window(node).kernel, channels // groups):
        yield f"weights {weight.shape} do not fit kernel {window(node).kernel} over {channels // groups} channels"
    if node.op.endswith("dense") and (window(node) != Window((main.shape[1], main.shape[2])) or groups != 1):
        yield f"the window of a dense node must be the whole image {main.shape[1:]}"
    pad_value = int(node.attrs["pad_value"])
    if pad_value not in (-1, 0, 1) or (pad_value and node.op not in BINARY_OPS):
        yield f"pad_value {pad_value} is not possible here"
    if node.op in FLOAT_OPS:
        if weight.dtype != np.float32 or not np.isfinite(weight).all():
            yield "weights must be finite float32"
        return
    if weight.dtype != np.int8 or not (np.abs(weight) == 1).all():
        yield "1-bit weights must be int8 +1 and -1"
    largest = 127 if node.op in I8_OPS else 1
    if node.op in U8_OPS:
        offset = int(node.attrs["offset"])
        largest = max(abs(offset), abs(510 - offset))
        if not -32767 + 510 <= offset <= 32767:
            yield f"offset {offset} leaves 16 bits"
    if node.k_bits * largest >= EXACT_LIMIT:
        yield f"sums of {node.k_bits} terms may pass {EXACT_LIMIT} and would not be exact in float32"


def _step_faults(program: Program, node: Node, shape: Shape, kind: str) -> Iterator[str]:
    if not node.steps or node.steps[-1].op not in _WRITES:
        yield "the last step must write a value"
    if len(node.steps) > MAX_STEPS:
        yield f"{len(node.steps)} steps are more than {MAX_STEPS}"
    reads = tuple(s.value for s in node.steps if s.op in _READS)
    writes = tuple(s.value for s in node.steps if s.op in _WRITES)
    if node.inputs[1:] != reads or node.outputs != writes:
        yield f"inputs {node.inputs[1:]} and outputs {node.outputs} are not those of its steps: {reads}, {writes}"
        return
    for index, step in enumerate(node.steps):
        fault = _step_fault(program, node, step, shape, kind)
        if fault:
            yield f"step {index} ({step.op}): {fault}"


def _step_fault(program: Program, node: Node, step: Step, shape: Shape, kind: str) -> str:
    if step.op not in STEPS:
        return "unknown step"
    if step.op == "threshold" and (kind != "int" or len(node.steps) != 1):
        return "a threshold stands alone, on integer sums"
    if kind == "bits" and (step.op != "store" or len(node.steps) != 1):
        return "bits can only be stored"
    wanted = STEP_PARAMETERS.get(step.op, ())
    if tuple(step.params) != wanted:
        return f"parameters {tuple(step.params)}, expected {wanted}"
    for name, array in step.params.items():
        dtype = np.int32 if name == "tau" else np.float32
        if array.shape != (shape[0],) or array.dtype != dtype or not np.isfinite(array).all():
            return f"{name} must be {shape[0]} finite {np.dtype(dtype).name} values"
    if step.op not in (*_READS, *_WRITES):
        return "" if step.value == -1 else f"has value {step.value}, but uses none"
    value = program.values[step.value]
    as_bits = step.op in ("sign", "threshold") or kind == "bits"
    expected: Shape = (1, shape[1], shape[2]) if step.op == "mul_map" else shape
    if value.dtype != ("bits" if as_bits else "f32") or value.shape != expected:
        found = f"{value.name} is {value.dtype} {value.shape}"
        return f"{found}, expected {'bits' if as_bits else 'f32'} {expected}"
    return ""
