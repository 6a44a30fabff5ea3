"""Makes tests/data: small packed files with inputs, and the outputs that the numpy emulator gives for them.

    PYTHONPATH=. python kernels/tests/make_samples.py

The C tests replay them without Python. NAME.gguf: the model. NAME.in: samples in the type of the model's input, planar
(n, C, H, W). NAME.out: float32 (n, C, H, W), to be met bit for bit. NAME.txt: the same as examples/run_model prints it,
where it can (raw pixels).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bincompress.lower.check import output_shape
from bincompress.lower.emulate import emulate
from bincompress.pack.writer import write_packed
from bincompress.program import FLOAT_OPS, Node, Normalize, Program, Step, Value

FOLDER = Path(__file__).parent / "data"
ONE = {"kernel": (1, 1), "stride": (1, 1), "padding": (0, 0, 0, 0)}
SAME = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1, 1, 1)}
HALF = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0, 0, 0)}
CONV = {"dilation": (1, 1), "groups": 1, "pad_value": 0}


class Net:
    """Builds a program node by node; steps are names, or (name, value) where they read a value."""

    def __init__(self, dtype: Any, shape: tuple[int, int, int]) -> None:
        self.rng = np.random.default_rng(7)
        self.values = [Value("input", dtype, shape)]
        self.nodes: list[Node] = []

    def add(self, op: str, main: int, *steps: str | tuple[str, int], filters: int = 0, **attrs: Any) -> list[int]:
        """Append a node; returns the ids of the values it writes."""
        source, weight = self.values[main], None
        if filters:
            size = (filters, *attrs["kernel"], source.shape[0] // attrs["groups"])
            weight = self.rng.normal(size=size).astype(np.float32)
            weight = weight if op in FLOAT_OPS else np.where(weight < 0, -1, 1).astype(np.int8)
        name = f"{op}{len(self.nodes)}"
        node = Node(op, name, (main,), (), attrs, weight)
        shape = output_shape(node, source.shape)
        built, reads, writes = [], [main], []
        for step in steps:
            kind, target = step if isinstance(step, tuple) else (step, -1)
            if kind in ("store", "sign", "threshold"):
                bits = kind != "store" or (source.dtype == "bits" and not filters)
                self.values.append(Value(f"{name}.{len(writes)}", "bits" if bits else "f32", shape))
                target = len(self.values) - 1
                writes.append(target)
            elif target >= 0:
                reads.append(target)
            built.append(Step(kind, target, self.parameters(kind, shape[0])))
        self.nodes.append(Node(op, name, tuple(reads), tuple(writes), attrs, weight, tuple(built)))
        return writes

    def parameters(self, kind: str, channels: int) -> dict[str, npt.NDArray[Any]]:
        """Random parameters of a step."""
        draw = lambda scale: self.rng.normal(scale=scale, size=channels).astype(np.float32)  # noqa: E731
        if kind == "affine":
            return {"scale": draw(0.2), "bias": draw(1.0)}
        if kind == "prelu":
            return {"slope": draw(0.3)}
        return {"tau": self.rng.integers(-300, 300, channels).astype(np.int32)} if kind == "threshold" else {}

    def program(self, output: int) -> Program:
        """The network so far."""
        channels = self.values[0].shape[0]
        mean = tuple(0.5 - 0.01 * c for c in range(channels))
        norm = Normalize(mean, tuple(0.25 + 0.01 * c for c in range(channels)))
        return Program(tuple(self.values), tuple(self.nodes), 0, output, norm)


def every_op() -> Program:
    """Every op, step, weight layout and element type once."""
    net = Net("u8", (3, 8, 8))
    (bits,) = net.add("u8_conv2d", 0, "threshold", filters=64, offset=255, **SAME, **CONV)
    (floats,) = net.add("elementwise", 0, "affine", "hardtanh", "store")
    wide, wide_bits = net.add("conv2d", floats, "affine", "relu", "store", "sign", filters=20, **SAME, **CONV)
    (scale,) = net.add("act_scale", wide, "store", **SAME)
    (mixed,) = net.add(
        "binary_conv2d", bits, "affine", ("mul_map", scale), ("add", wide), "store", filters=20, **SAME, **CONV
    )
    (deep,) = net.add("weight_conv2d", mixed, "affine", "prelu", "store", filters=20, **ONE, **{**CONV, "groups": 20})
    (pooled,) = net.add("max_pool", wide_bits, "store", **HALF, or_mask=np.arange(20) % 3 == 0)
    (strided,) = net.add(
        "binary_conv2d", pooled, "affine", "store", filters=12, **SAME, **{**CONV, "groups": 2, "pad_value": -1}
    )
    (short,) = net.add("subsample_pad", deep, "store", stride=(2, 2), before=0, after=4)
    (small,) = net.add("weight_conv2d", short, "affine", ("add", short), "sign", filters=24, **SAME, **CONV)
    (narrow,) = net.add("max_pool", strided, "store", **SAME)
    (mean,) = net.add("avg_pool", narrow, "store", **HALF, count_include_pad=1)
    (flat,) = net.add("flatten", mean, "affine", "store")
    dense = {"stride": (1, 1), "padding": (0, 0, 0, 0), **CONV}
    (left,) = net.add("binary_dense", small, "affine", "store", filters=10, kernel=(4, 4), **dense)
    (middle,) = net.add("weight_dense", flat, "affine", ("add", left), "store", filters=10, kernel=(1, 1), **dense)
    (right,) = net.add("dense", mean, ("add", middle), "store", filters=10, kernel=(2, 2), **dense)
    (last,) = net.add("u8_dense", 0, "affine", ("add", right), "store", filters=10, offset=250, kernel=(8, 8), **dense)
    (rounded,) = net.add("i8_conv2d", short, "affine", "store", filters=32, **SAME, **CONV)
    (again,) = net.add("i8_conv2d", rounded, "affine", "relu", "store", filters=16, **SAME, **CONV)
    (octets,) = net.add("weight_conv2d", again, "affine", "store", filters=16, **SAME, **CONV)
    factors = net.rng.normal(size=(4, 4)).astype(np.float32)
    (fixed,) = net.add("constant", 0, "store", size=(4, 4), factors=factors)
    (times,) = net.add("elementwise", octets, ("mul_map", fixed), "store")
    (end,) = net.add("i8_dense", times, "affine", ("add", last), "store", filters=10, kernel=(4, 4), **dense)
    return net.program(end)


def small_cnn() -> Program:
    """A float stem, binary blocks with shortcuts, a float head: the shape of most networks."""
    net = Net("f32", (3, 12, 10))
    now, bits = net.add("conv2d", 0, "affine", "store", "affine", "sign", filters=32, **SAME, **CONV)
    for _ in range(2):
        now, bits = net.add(
            "binary_conv2d", bits, "affine", ("add", now), "store", "affine", "sign", filters=32, **SAME, **CONV
        )
    (bits,) = net.add("binary_conv2d", bits, "threshold", filters=72, **{**SAME, "stride": (2, 2)}, **CONV)
    (now,) = net.add("binary_conv2d", bits, "affine", "store", filters=40, **SAME, **{**CONV, "pad_value": 1})
    pool = {"kernel": (6, 5), "stride": (1, 1), "padding": (0, 0, 0, 0)}
    (now,) = net.add("avg_pool", now, "store", **pool, count_include_pad=0)
    (now,) = net.add("dense", now, "affine", "store", filters=10, **ONE, **CONV)
    return net.program(now)


def main() -> None:
    """Write all samples."""
    FOLDER.mkdir(exist_ok=True)
    for program, name in ((every_op(), "every_op"), (small_cnn(), "small_cnn")):
        rng = np.random.default_rng(3)
        shape = (3, *program.values[0].shape)
        is_u8 = program.values[0].dtype == "u8"
        x = rng.integers(0, 256, shape).astype(np.uint8) if is_u8 else rng.normal(size=shape).astype(np.float32)
        meta = {"recipe": "version: 1\n", "classes": [f"class {i}" for i in range(10)]}
        write_packed(program, FOLDER / f"{name}.gguf", meta)
        x.tofile(FOLDER / f"{name}.in")
        logits = emulate(program, x)
        logits.astype("<f4").tofile(FOLDER / f"{name}.out")
        lines = [" ".join(f"{float(number):.9g}" for number in row) for row in logits]
        if is_u8:
            (FOLDER / f"{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
