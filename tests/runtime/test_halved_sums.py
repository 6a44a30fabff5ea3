"""A binary node may keep half of its sums and twice its scale (kernels/src/ops/binary_border.c): no bit may change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bincompress import native
from bincompress.lower.emulate import emulate_values
from bincompress.pack import write_packed
from bincompress.program import Program
from bincompress.runtime.session import load
from tests.programs import Case, build

LARGEST = float(np.finfo(np.float32).max)
# all that can be doubled; with one that cannot, of sums that may be 0: infinity times 0 would be no number
SCALES = {
    "usual": (1.0, -0.3, 0.0, -0.0),
    "doubled at most": (LARGEST / 2, -LARGEST / 2, 1.0),
    "not to be doubled": (1.0, LARGEST, -LARGEST),
    "subnormal": (2.0**-149, -(2.0**-149), 3 * 2.0**-149, 2.0**-127),
}
STEPS = (("affine", "relu", "store"), ("affine", "store", "sign"), ("affine", "add", "prelu", "store"))
CASES = {
    "even": Case("binary_conv2d", shape=(64, 9, 8), filters=48),
    "odd": Case("binary_conv2d", shape=(63, 5, 6), filters=33),  # 9 * 63 products
    "odd at margins": Case("binary_conv2d", shape=(11, 7, 6), filters=20, kernel=(2, 2)),
    "odd, padded by +1": Case("binary_conv2d", shape=(3, 5, 5), filters=17, pad_value=1),
    "even, padded by -1": Case("binary_conv2d", shape=(2, 6, 5), filters=16, pad_value=-1),
    "groups": Case("binary_conv2d", shape=(128, 5, 5), filters=32, groups=2),
    "dense": Case("binary_dense", shape=(96, 1, 1), filters=40, samples=9),
    "many pixels": Case("binary_conv2d", shape=(64, 24, 24), filters=80, samples=1),
}


def with_parameters(program: Program, scales: tuple[float, ...]) -> Program:
    """The program with these scales in turns in the last node's first step, and biases of both zeros among others."""
    node = program.nodes[-1]
    first = node.steps[0]
    count = len(first.params["scale"])
    params = {
        "scale": np.resize(np.array(scales, np.float32), count),
        "bias": np.resize(np.array((-0.0, 0.5, 0.0, -(2.0**-149), 2.0**-140), np.float32), count),
    }
    node = replace(node, steps=(replace(first, params=params), *node.steps[1:]))
    return replace(program, nodes=(*program.nodes[:-1], node))


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_sums_halved_or_not_give_the_emulators_bits(name: str, scales: str, tmp_path: Path) -> None:
    for steps in STEPS:
        program, x = build(replace(CASES[name], steps=steps))
        program = with_parameters(program, SCALES[scales])
        write_packed(program, tmp_path / "m.gguf")
        expected = emulate_values(program, x)
        model = load(tmp_path / "m.gguf")
        for isa in native.isa_names():
            with model.session(1, len(x), isa, keep_all=True) as session:
                session(x)
                for index in program.nodes[-1].outputs:
                    got = np.ascontiguousarray(session.read_value(index, len(x)), np.float32)
                    want = np.ascontiguousarray(expected[index], np.float32)
                    np.testing.assert_array_equal(got.view(np.int32), want.view(np.int32), f"{isa}: {steps}")
