"""Random small Programs, for every op, step, padding and tail: what emulator, file and C library are compared on.

`CASES` is the fixed sweep (id -> recipe of a program); `random_case(seed)` draws beyond it. Run as a script it writes
each program as .gguf beside the emulator's values, for work on the C side:

    python -m tests.programs OUT_DIR          NAME.gguf, NAME.npz: input x, and every value v0, v1, ... as (n, H, W, C)
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bincompress.lower.check import check_program, output_shape
from bincompress.lower.emulate import emulate_values
from bincompress.pack.writer import write_packed
from bincompress.program import BINARY_OPS, FLOAT_OPS, U8_OPS, Node, Normalize, Program, Step, Value

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """What to build: the op under test, its geometry, and its epilogue as a tuple of step names."""

    op: str
    shape: tuple[int, int, int] = (8, 5, 6)
    filters: int = 8
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pad_value: int = 0
    offset: int = 255
    steps: tuple[str, ...] = ("store",)
    bits: bool = False  # pools and flatten: over bits
    or_mask: bool = False
    include_pad: int = 1
    channels_around: tuple[int, int] = (0, 0)
    samples: int = 2
    seed: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


class Builder:
    """Collects values and nodes of one program."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int, int], dtype: str) -> None:
        self.rng = rng
        self.values = [Value("input", "u8" if dtype == "u8" else "f32", shape)]
        self.nodes: list[Node] = []

    def value(self, name: str, dtype: str, shape: tuple[int, int, int]) -> int:
        self.values.append(Value(name, "bits" if dtype == "bits" else "f32", shape))
        return len(self.values) - 1

    def node(
        self, op: str, main: int, steps: tuple[str, ...], attrs: dict[str, Any], weight: Array | None = None
    ) -> int:
        """Append a node whose steps get random parameters; the operands of add and mul_map are made first."""
        name = f"{op}{len(self.nodes)}"
        node = Node(op, name, (main,), (), attrs, weight)
        shape = output_shape(node, self.values[main].shape)
        built: list[Step] = []
        for place, step in enumerate(steps):
            target = -1
            if step in ("store", "sign", "threshold"):
                as_bits = step != "store" or (self.values[main].dtype == "bits" and weight is None)
                target = self.value(f"{name}.{place}", "bits" if as_bits else "f32", shape)
            elif step in ("add", "mul_map"):
                target = self.operand(shape if step == "add" else (1, *shape[1:]))
            built.append(Step(step, target, self.parameters(step, shape[0], node)))
        reads = tuple(s.value for s in built if s.op in ("add", "mul_map"))
        writes = tuple(s.value for s in built if s.op in ("store", "sign", "threshold"))
        self.nodes.append(replace(node, inputs=(main, *reads), outputs=writes, steps=tuple(built)))
        return writes[-1]

    def operand(self, shape: tuple[int, int, int]) -> int:
        """A float value of `shape`, computed from the input."""
        source = self.values[0]
        if source.dtype == "u8":
            floats = self.node("elementwise", 0, ("affine", "store"), {})
        else:
            floats = 0
        high, wide = source.shape[1:]
        # a convolution with one tap, padded on the far side, gives any image size at least as large as wanted
        pad = (0, 0, max(shape[1] - high, 0), max(shape[2] - wide, 0))
        kernel = (max(high - shape[1], 0) + 1, max(wide - shape[2], 0) + 1)
        weight = self.rng.normal(size=(shape[0], *kernel, source.shape[0])).astype(np.float32)
        return self.node("conv2d", floats, ("store",), conv_attrs(Case("conv2d", kernel=kernel, padding=pad)), weight)

    def parameters(self, step: str, channels: int, node: Node) -> dict[str, Array]:
        rng, wave = self.rng, np.arange(channels)
        if step == "affine":
            scale, bias = rng.normal(size=channels), rng.normal(size=channels)
            scale[wave % 5 == 3], bias[wave % 4 == 2] = 0, 0  # gamma = 0, and exact zeros
            return {"scale": scale.astype(np.float32), "bias": bias.astype(np.float32)}
        if step == "prelu":
            return {"slope": rng.normal(scale=0.3, size=channels).astype(np.float32)}
        if step == "threshold":
            bound = node.k_bits * (max(abs(node.attrs["offset"]), 510) if node.op in U8_OPS else 1)
            tau = rng.integers(-bound // 4 - 1, bound // 4 + 2, channels)
            tau[wave % 7 == 5], tau[wave % 7 == 6] = -bound, bound + 1  # constant +1, constant -1
            tau[wave % 7 == 4] = 0
            return {"tau": tau.astype(np.int32)}
        return {}


def conv_attrs(case: Case) -> dict[str, Any]:
    """The attributes of a convolution or dense node."""
    attrs: dict[str, Any] = {name: getattr(case, name) for name in ("kernel", "stride", "padding", "dilation")}
    attrs |= {"groups": case.groups, "pad_value": case.pad_value}
    return attrs | {"offset": case.offset} if case.op in U8_OPS else attrs


def build(case: Case) -> tuple[Program, Array]:
    """The program of `case`, the node under test last, and an input with exact zeros in it."""
    rng = np.random.default_rng([case.seed, zlib.crc32(repr(replace(case, seed=0)).encode())])
    use_bits = case.bits or case.op in BINARY_OPS
    builder = Builder(rng, case.shape, "u8" if case.op in U8_OPS or case.extra.get("u8") else "f32")
    main = builder.node("elementwise", 0, ("sign",), {}) if use_bits else 0
    channels, high, wide = case.shape
    attrs: dict[str, Any] = {}
    weight: Array | None = None
    if case.op.endswith("dense"):
        case = replace(case, kernel=(high, wide), padding=(0, 0, 0, 0), stride=(1, 1), dilation=(1, 1), groups=1)
    if case.op.endswith(("conv2d", "dense")):
        attrs = conv_attrs(case)
        size = (case.filters, *case.kernel, channels // case.groups)
        if case.op in FLOAT_OPS:
            weight = rng.normal(size=size).astype(np.float32)
            weight[rng.random(size) < 0.05] = 0
        else:
            weight = np.where(rng.random(size) < 0.5, -1, 1).astype(np.int8)
    elif case.op in ("max_pool", "avg_pool", "act_scale"):
        attrs = {"kernel": case.kernel, "stride": case.stride, "padding": case.padding}
        if case.op == "avg_pool":
            attrs["count_include_pad"] = case.include_pad
        if case.or_mask:
            attrs["or_mask"] = rng.random(channels) < 0.5
    elif case.op == "subsample_pad":
        attrs = {"stride": case.stride, "before": case.channels_around[0], "after": case.channels_around[1]}
    elif case.op == "constant":
        attrs = {"size": case.kernel, "factors": rng.normal(size=case.kernel).astype(np.float32)}
    output = builder.node(case.op, main, case.steps, attrs, weight)
    norm = Normalize((0.5,) * channels, (0.25,) * channels)
    program = Program(tuple(builder.values), tuple(builder.nodes), 0, output, norm)
    check_program(program)
    return program, random_input(rng, program, case.samples)


def random_input(rng: np.random.Generator, program: Program, samples: int) -> Array:
    """Pixels, or floats of both signs of which some are +0.0 or -0.0."""
    value = program.values[program.input]
    if value.dtype == "u8":
        pixels = rng.integers(0, 256, (samples, *value.shape))
        pixels[rng.random(pixels.shape) < 0.1] = 255
        return pixels.astype(np.uint8)
    floats = rng.normal(size=(samples, *value.shape)).astype(np.float32)
    floats[rng.random(floats.shape) < 0.1] = 0.0
    floats[rng.random(floats.shape) < 0.1] = -0.0
    return floats


TAILS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129, 192, 200)
FILTER_TAILS = (1, 2, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 48, 64, 65)
KERNELS = ((1, 1), (1, 3), (2, 2), (3, 3), (3, 1), (4, 5), (5, 5), (7, 7))
GROUPS = ((2, 128, 16), (2, 10, 6), (4, 64, 64), (8, 8, 8), (24, 24, 24), (16, 16, 32), (3, 192, 24))
FLOAT_STEPS: tuple[tuple[str, ...], ...] = (
    ("store",),
    ("sign",),
    ("affine", "store"),
    ("affine", "sign"),
    ("affine", "relu", "store"),
    ("affine", "hardtanh", "store"),
    ("affine", "prelu", "store"),
    ("affine", "add", "store"),
    ("affine", "add", "store", "sign"),
    ("mul_map", "affine", "add", "store", "affine", "sign"),
    ("affine", "relu", "store", "affine", "sign", "affine", "prelu", "store"),
    ("affine", "add", "hardtanh", "store", "affine", "store"),
)


def _sweep() -> dict[str, Case]:
    cases: dict[str, Case] = {}

    def add(label: str, case: Case) -> None:
        cases[f"{case.op}-{label}"] = case

    for op in ("binary_conv2d", "weight_conv2d", "i8_conv2d", "u8_conv2d", "conv2d"):
        integer = op in ("binary_conv2d", "u8_conv2d")
        short = ("threshold",) if integer else ("store",)
        for c in TAILS:
            add(f"cin{c}", Case(op, shape=(c, 5, 4), filters=9, steps=("store",)))
            add(f"cin{c}-1x1", Case(op, shape=(c, 3, 3), filters=16, kernel=(1, 1), padding=(0,) * 4, steps=short))
        for f in FILTER_TAILS:
            add(f"cout{f}", Case(op, shape=(64 if integer else 5, 6, 5), filters=f, steps=short))
            add(f"cout{f}-f", Case(op, shape=(3, 6, 5), filters=f, steps=("affine", "store")))
        for k in KERNELS:
            for pad_value in (-1, 0, 1) if op == "binary_conv2d" else (0,):
                base = Case(op, shape=(64, 8, 9), filters=16, kernel=k, pad_value=pad_value)
                same = (k[0] // 2, k[1] // 2, (k[0] - 1) // 2, (k[1] - 1) // 2)
                label = f"k{k[0]}x{k[1]}-pad{pad_value:+d}"
                add(label, replace(base, padding=same, steps=short))
                add(f"{label}-s2", replace(base, padding=same, stride=(2, 2), steps=("affine", "store")))
                add(f"{label}-valid", replace(base, padding=(0,) * 4, stride=(1, 2), steps=short))
                wide = (k[0], k[1] + 1, k[0] - 1, k[1])  # windows that lie outside altogether
                add(f"{label}-far", replace(base, shape=(10, 8, 9), padding=wide, steps=("store",)))
                add(f"{label}-far-t", replace(base, shape=(64, 8, 9), padding=wide, steps=short))
        for d in ((2, 2), (1, 3), (3, 2)):
            for pad_value in (-1, 0, 1) if op == "binary_conv2d" else (0,):
                case = Case(op, shape=(20, 9, 9), filters=11, dilation=d, padding=(2, 3, 2, 3), pad_value=pad_value)
                add(f"d{d[0]}x{d[1]}-pad{pad_value:+d}", replace(case, steps=short))
                add(f"d{d[0]}x{d[1]}-s-pad{pad_value:+d}", replace(case, stride=(2, 1), steps=("affine", "store")))
        for groups, c, f in (
            (2, 128, 16),
            (2, 10, 6),
            (4, 64, 64),
            (8, 8, 8),
            (24, 24, 24),
            (16, 16, 32),
            (3, 192, 24),
        ):
            add(f"g{groups}-{c}-{f}", Case(op, shape=(c, 5, 5), filters=f, groups=groups, steps=short))
            case = Case(op, shape=(c, 5, 5), filters=f, groups=groups, pad_value=int(op == "binary_conv2d"))
            add(f"g{groups}-{c}-{f}-f", replace(case, stride=(2, 2), steps=("affine", "sign")))
        for index, steps in enumerate(FLOAT_STEPS):
            add(f"steps{index}", Case(op, shape=(16, 6, 7), filters=19, steps=steps))
            add(f"steps{index}-wide", Case(op, shape=(64, 4, 4), filters=64, steps=steps, samples=3))
        for size in ((1, 1), (1, 7), (7, 1), (2, 13), (14, 14)):
            add(f"image{size[0]}x{size[1]}", Case(op, shape=(64, *size), filters=16, steps=short, samples=1))
    for name, case in (*_packed_taps(), *_joined_taps(), *_shared_lists(), *_planes()):
        add(name, case)
    for op in ("binary_dense", "weight_dense", "i8_dense", "u8_dense", "dense"):
        short = ("threshold",) if op in ("binary_dense", "u8_dense") else ("store",)
        for c in (*TAILS, 300, 577):
            add(f"cin{c}", Case(op, shape=(c, 1, 1), filters=10, steps=("affine", "store")))
            add(f"cin{c}-16", Case(op, shape=(c, 1, 1), filters=16, steps=short, samples=3))
        for f in FILTER_TAILS:
            add(f"cout{f}", Case(op, shape=(64, 2, 3), filters=f, steps=short))
        for index, steps in enumerate(FLOAT_STEPS):
            add(f"steps{index}", Case(op, shape=(70, 2, 2), filters=21, steps=steps))
        add("k28x28", Case(op, shape=(1, 28, 28), filters=32, steps=short, samples=1))
    for offset in (0, 100, 255, 256, 510, -37):
        add_case = Case("u8_conv2d", shape=(3, 6, 6), filters=16, offset=offset, steps=("store",))
        add(f"offset{offset}", add_case)
        add(f"offset{offset}-t", replace(add_case, steps=("threshold",)))
    for c in (1, 5, 16, 17, 64, 65, 130):
        for kernel, stride, padding in (
            ((2, 2), (2, 2), (0, 0, 0, 0)),
            ((3, 3), (2, 2), (1, 1, 1, 1)),
            ((3, 2), (1, 2), (2, 0, 0, 1)),
            ((5, 6), (1, 1), (0, 0, 0, 0)),
        ):
            label = f"c{c}-k{kernel[0]}x{kernel[1]}s{stride[0]}{stride[1]}"
            base = Case("max_pool", shape=(c, 5, 6), kernel=kernel, stride=stride, padding=padding)
            add(label, base)
            add(f"{label}-sign", replace(base, steps=("affine", "sign")))
            add(f"{label}-bits", replace(base, bits=True))
            add(f"{label}-bits-or", replace(base, bits=True, or_mask=True))
            for include in (0, 1):
                pool = replace(base, op="avg_pool", include_pad=include, steps=("affine", "store", "sign"))
                add(f"{label}-include{include}", pool)
            add(label, replace(base, op="act_scale"))
        for steps in FLOAT_STEPS[:9]:
            add(f"c{c}-{'.'.join(steps)}", Case("elementwise", shape=(c, 3, 4), steps=steps))
        add(f"c{c}-u8", Case("elementwise", shape=(c, 3, 4), steps=("affine", "store"), extra={"u8": 1}))
        for before, after in ((0, 0), (3, 0), (c, c), (1, 70)):
            case = Case("subsample_pad", shape=(c, 5, 6), stride=(2, 2), channels_around=(before, after))
            add(f"c{c}-{before}-{after}", case)
            add(f"c{c}-{before}-{after}-s", replace(case, stride=(1, 3), steps=("store", "affine", "sign")))
        add(f"c{c}", Case("flatten", shape=(c, 3, 5)))
        add(f"c{c}-affine", Case("flatten", shape=(c, 3, 5), steps=("affine", "sign")))
        add(f"c{c}-bits", Case("flatten", shape=(c, 3, 5), bits=True))
        add(f"c{c}", Case("constant", shape=(c, 2, 3), kernel=(c, 7)))
        add(f"c{c}-affine", Case("constant", shape=(c, 2, 3), kernel=(5, 1), steps=("affine", "store", "sign")))
    return cases


def _packed_taps() -> Iterator[tuple[str, Case]]:
    """Binary convolutions of few channels and enough filters, whose taps the C library packs into shared words."""
    geometries = (
        {"padding": (1, 1, 1, 1)},
        {"padding": (0, 0, 0, 0), "stride": (1, 2)},
        {"padding": (2, 1, 1, 3), "stride": (2, 3), "dilation": (1, 2)},
        {"padding": (2, 3, 3, 2), "dilation": (2, 1), "samples": 3},
        {"padding": (0, 1, 0, 0), "groups": 2},
        {"padding": (1, 2, 2, 1), "stride": (2, 1), "dilation": (2, 2), "groups": 3},
    )
    index = 0
    for c in (1, 3, 8, 16, 24, 32, 33, 48):
        for kernel in ((1, 1), (2, 2), (3, 3), (5, 5), (2, 5)):
            for pad_value in (-1, 0, 1):
                geometry = geometries[index % len(geometries)]
                index += 1
                groups = geometry.get("groups", 1)
                steps = (("threshold",), ("affine", "add", "store", "affine", "sign"))[index // 2 % 2]
                case = Case(
                    "binary_conv2d", (c * groups, 11, 10), 24 * groups, kernel, pad_value=pad_value, steps=steps
                )
                case = replace(case, **geometry)  # type: ignore[arg-type]
                yield f"packed{index}-c{c}-k{kernel[0]}x{kernel[1]}-g{groups}-pad{pad_value:+d}", case


def _joined_taps() -> Iterator[tuple[str, Case]]:
    """Binary convolutions of whole words, where a row of the kernel is one tap, and margins are copied if they are few.

    Wide images and narrow ones, margins of any width, kernels of more rows than are joined.
    """
    geometries = (
        {"padding": (1, 1, 1, 1)},
        {"padding": (0, 2, 1, 0), "stride": (2, 1), "samples": 3},
        {"padding": (3, 1, 2, 4), "stride": (1, 3)},
        {"padding": (2, 0, 2, 0), "dilation": (2, 1)},
        {"padding": (1, 3, 2, 1), "stride": (2, 2), "samples": 1},
    )
    index = 0
    for c, filters in ((64, 40), (128, 64), (100, 9)):
        for shape in ((17, 23), (20, 41), (17, 9)):
            for kernel in ((3, 3), (3, 2), (5, 4), (2, 9), (17, 3)):
                geometry = geometries[index % len(geometries)]
                if kernel[0] == 17:
                    geometry = {**geometry, "dilation": (1, 1)}
                pad_value = (-1, 0, 1)[index % 3]
                steps = (("threshold",), ("affine", "add", "store", "affine", "sign"))[index // 2 % 2]
                index += 1
                case = Case("binary_conv2d", (c, *shape), filters, kernel, pad_value=pad_value, steps=steps)
                case = replace(case, **geometry)  # type: ignore[arg-type]
                yield f"joined{index}-c{c}-{shape[0]}x{shape[1]}-k{kernel[0]}x{kernel[1]}-pad{pad_value:+d}", case


def _shared_lists() -> Iterator[tuple[str, Case]]:
    """Binary convolutions of images so large that tasks share pointers; with margins, without, with packed taps."""
    geometries = (
        {"padding": (1, 1, 1, 1)},
        {"padding": (2, 0, 1, 2), "stride": (1, 2)},
        {"padding": (0, 0, 0, 0), "stride": (2, 1), "samples": 1},
        {"padding": (3, 2, 4, 1), "dilation": (2, 1), "samples": 3},
    )
    for index, geometry in enumerate(geometries):
        for c, kernel in ((64, (3, 3)), (130, (2, 1)), (16, (3, 3))):
            steps = (("threshold",), ("affine", "store"))[(index + c // 64) % 2]
            case = Case("binary_conv2d", (c, 43, 41), 24, kernel, pad_value=index % 3 - 1, steps=steps)
            case = replace(case, **geometry)  # type: ignore[arg-type]
            yield f"shared{index}-c{c}-k{kernel[0]}x{kernel[1]}", case


def _planes() -> Iterator[tuple[str, Case]]:
    """Binary convolutions of few filters, whose images some instruction sets read as planes of 4 bits (bit_planes.c).

    Sums of few steps and of many, channels that end within 4 bits, paddings of all sorts, rows shorter than a vector.
    """
    geometries = (
        {"padding": (1, 1, 1, 1)},
        {"padding": (0, 0, 0, 0), "samples": 3},
        {"padding": (2, 1, 0, 2), "dilation": (2, 1)},
        {"padding": (1, 2, 2, 0), "dilation": (1, 2), "samples": 1},
    )
    index = 0
    for c, kernel in ((1, (1, 1)), (6, (2, 4)), (16, (3, 3)), (33, (3, 3)), (64, (2, 3)), (70, (3, 3)), (200, (3, 3))):
        for shape in ((11, 64), (20, 31), (40, 9)):
            for steps in (("threshold",), ("affine", "add", "store", "affine", "sign")):
                pad_value, filters = (-1, 0, 1)[index // 2 % 3], (5, 16, 24, 48)[index // 3 % 4]
                case = Case("binary_conv2d", (c, *shape), filters, kernel, pad_value=pad_value, steps=steps)
                case = replace(case, **geometries[index // 2 % len(geometries)])  # type: ignore[arg-type]
                index += 1
                yield f"planes{index}-c{c}-{shape[0]}x{shape[1]}-k{kernel[0]}x{kernel[1]}-pad{pad_value:+d}", case


CASES = _sweep()


def random_case(seed: int) -> Case:
    """A case drawn at random, any op, any geometry that fits."""
    rng = np.random.default_rng(seed)
    pick = lambda items: items[int(rng.integers(len(items)))]  # noqa: E731
    convolutions = ("binary_conv2d", "weight_conv2d", "i8_conv2d", "u8_conv2d", "conv2d")
    op = pick((*convolutions, "binary_dense", "weight_dense", "i8_dense", "u8_dense"))
    groups = pick((1, 1, 1, 2, 3)) if op.endswith("conv2d") else 1
    shape = (groups * int(rng.integers(1, 70)), int(rng.integers(1, 10)), int(rng.integers(1, 10)))
    dilation, stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3))), (int(rng.integers(1, 4)),) * 2
    kernel = (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
    least = [max(0, (k - 1) * d + 1 - s) for k, d, s in zip(kernel, dilation, shape[1:], strict=True)]
    top, left = (int(rng.integers(0, n + 3)) for n in least)
    bottom, right = (max(0, n - p) + int(rng.integers(0, 2)) for n, p in zip(least, (top, left), strict=True))
    steps = ("threshold",) if op in (*BINARY_OPS, *U8_OPS) and rng.random() < 0.4 else pick(FLOAT_STEPS)
    return Case(
        op,
        shape,
        groups * int(rng.integers(1, 40)),
        kernel,
        stride,
        (top, left, bottom, right),
        dilation,
        groups,
        pick((-1, 0, 1)) if op in BINARY_OPS else 0,
        int(rng.integers(0, 511)),
        steps,
        samples=int(rng.integers(1, 4)),
        seed=seed,
    )


def dump(folder: Path) -> None:
    """Write every case of the sweep and a hundred random ones, with the emulator's values."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, case in {**CASES, **{f"random{seed}": random_case(seed) for seed in range(100)}}.items():
        program, x = build(case)
        write_packed(program, folder / f"{name}.gguf")
        found = emulate_values(program, x)
        arrays = {f"v{i}": np.where(v, -1.0, 1.0) if v.dtype == np.bool_ else v for i, v in found.items()}
        np.savez(folder / name, x=x, **{k: v.astype(np.float32).transpose(0, 2, 3, 1) for k, v in arrays.items()})


if __name__ == "__main__":
    dump(Path(sys.argv[1]))
