"""A float convolution and the max-pooling behind it run in bands where the image is large: no bit may change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bincompress import native
from bincompress.lower.check import check_program
from bincompress.lower.emulate import emulate
from bincompress.pack import write_packed
from bincompress.program import Normalize, Program
from bincompress.runtime.session import load
from tests.programs import Builder, Case, conv_attrs, random_input

CONV = Case("conv2d", shape=(3, 96, 96), filters=64)
# (convolution, its steps; window, stride and padding of the pooling)
NETWORKS = {
    "resnet": (CONV, ("affine", "relu", "store"), (3, 3), (2, 2), (1, 1, 1, 1)),
    "alexnet": (CONV, ("store",), (3, 3), (2, 2), (0, 0, 0, 0)),
    "no padding": (Case("conv2d", (16, 97, 91), 64, padding=(0,) * 4), ("store",), (2, 2), (2, 2), (0,) * 4),
    # what is pooled is larger than what it is made of, and must not be written over it
    "growing": (Case("conv2d", (16, 97, 91), 64, padding=(0,) * 4), ("store",), (2, 2), (1, 1), (0,) * 4),
    "shortcut": (CONV, ("affine", "add", "store"), (3, 2), (1, 2), (2, 0, 0, 1)),
    "unread bits": (CONV, ("store", "sign"), (2, 2), (2, 2), (0,) * 4),
    "two outputs": (CONV, ("store", "relu", "store"), (5, 3), (3, 1), (0, 1, 4, 1)),
    "rows apart": (CONV, ("store",), (1, 1), (7, 5), (0,) * 4),
}


def program_of(name: str) -> Program:
    conv, steps, kernel, stride, padding = NETWORKS[name]
    builder = Builder(np.random.default_rng(0), conv.shape, "f32")
    weight = builder.rng.normal(size=(conv.filters, *conv.kernel, conv.shape[0])).astype(np.float32)
    builder.node("conv2d", 0, steps, conv_attrs(conv), weight)
    made = builder.nodes[0].outputs[0]
    attrs = {"kernel": kernel, "stride": stride, "padding": padding}
    output = builder.node("max_pool", made, ("affine", "store"), attrs)
    norm = Normalize((0.5,) * conv.shape[0], (0.25,) * conv.shape[0])
    program = Program(tuple(builder.values), tuple(builder.nodes), 0, output, norm)
    check_program(program)
    return program


@pytest.mark.parametrize("name", NETWORKS)
def test_bands_change_nothing(name: str, tmp_path: Path) -> None:
    program = program_of(name)
    x = random_input(np.random.default_rng(1), program, 3)
    write_packed(program, tmp_path / "m.gguf")
    model, expected = load(tmp_path / "m.gguf"), emulate(program, x)
    for isa in native.isa_names()[-2:]:
        for threads in (1, 2, 3, 4):
            for batch in (1, 2, 3):
                with model.session(threads, batch, isa) as session:
                    np.testing.assert_array_equal(session(x), expected, f"{isa}, {threads} threads, batch {batch}")
    with model.session(1, 3, profile=True) as session:  # every node by itself
        np.testing.assert_array_equal(session(x), expected)
        assert all(ns > 0 for ns in session.node_ns())
