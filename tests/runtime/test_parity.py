"""Emulator == C scalar == every instruction set of this machine, to the bit, floats included, value by value.

The float kernels commit to an order of additions and to where they round (see kernels/src/internal.h), and the emulator
follows it, so there is no tolerance anywhere in this file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bincompress import native
from bincompress.lower.emulate import emulate, emulate_values
from bincompress.pack import layout, packed_bytes, read_packed, write_packed
from bincompress.program import Program
from bincompress.runtime.session import load
from tests.programs import CASES, Case, build, random_case


def assert_parity(case: Case, path: Path) -> None:
    """Every value of `case`, on every instruction set, with any number of threads, is the emulator's."""
    program, x = build(case)
    write_packed(program, path)
    expected = emulate_values(program, x)
    model = load(path)
    available = native.isa_names()
    for isa in available:
        for threads in (1, 2, 3, 4) if isa == available[-1] else (1, 2):
            with model.session(threads, len(x), isa, keep_all=True) as session:
                assert session.isa == isa
                session(x)
                for index, value in enumerate(program.values):
                    got = session.read_value(index, len(x))
                    np.testing.assert_array_equal(got, expected[index], f"{isa}, {threads} threads: {value.name}")
    # with the arena shared, and one sample at a time
    np.testing.assert_array_equal(model(x), logits(program, x))


def logits(program: Program, x: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """What a run returns."""
    return emulate(program, x)


@pytest.mark.parametrize("name", sorted(CASES))
def test_sweep(name: str, tmp_path: Path) -> None:
    assert_parity(CASES[name], tmp_path / "m.gguf")


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 2**32 - 1))
def test_random_programs(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert_parity(random_case(seed), tmp_path_factory.mktemp("parity") / "m.gguf")


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
@pytest.mark.parametrize("op", ["elementwise", "conv2d", "weight_conv2d"])
def test_sums_that_overflow_end_alike(op: str, tmp_path: Path) -> None:
    program, x = build(Case(op, (16, 4, 5), 20, steps=("affine", "add", "hardtanh", "store", "affine", "store")))
    x = np.random.default_rng(0).choice(np.array([3e38, -3e38, 1, -1, 0], np.float32), x.shape)
    write_packed(program, tmp_path / "m.gguf")
    expected = emulate_values(program, x)
    assert any(np.isinf(value).any() or np.isnan(value).any() for value in expected.values())
    for isa in native.isa_names():
        with load(tmp_path / "m.gguf").session(1, len(x), isa, keep_all=True) as session:
            session(x)
            for index in program.nodes[-1].outputs:
                np.testing.assert_array_equal(session.read_value(index, len(x)), expected[index], isa)


def test_nodes_run_alone_on_written_values(tmp_path: Path) -> None:
    program, x = build(CASES["binary_conv2d-steps9-wide"])
    write_packed(program, tmp_path / "m.gguf")
    expected = emulate_values(program, x)
    with load(tmp_path / "m.gguf").session(1, len(x), keep_all=True) as session:
        for index, node in enumerate(program.nodes):
            for value in node.inputs:
                session.write_value(value, expected[value])
            session.run_node(index, len(x))
            for value in node.outputs:
                np.testing.assert_array_equal(session.read_value(value, len(x)), expected[value])


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_batches_do_not_change_answers(batch: int, tmp_path: Path) -> None:
    program, _ = build(CASES["binary_conv2d-steps10"])
    x = np.random.default_rng(0).normal(size=(7, *program.values[0].shape)).astype(np.float32)
    write_packed(program, tmp_path / "m.gguf")
    with load(tmp_path / "m.gguf").session(2, batch) as session:
        np.testing.assert_array_equal(session(x), emulate(program, x))


def test_pixels_into_float_programs_and_floats_into_pixel_programs(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for name in ("conv2d-cin3", "u8_conv2d-cin3"):
        program, _ = build(CASES[name])
        write_packed(program, tmp_path / "m.gguf")
        pixels = rng.integers(0, 256, (4, *program.values[0].shape)).astype(np.uint8)
        every = np.arange(256, dtype=np.uint8).repeat(2)[: pixels[0].size]
        pixels[0].reshape(-1)[: len(every)] = every
        model = load(tmp_path / "m.gguf")
        np.testing.assert_array_equal(model(pixels), emulate(program, pixels))
        floats = rng.normal(size=pixels.shape).astype(np.float32)
        np.testing.assert_array_equal(model(floats), emulate(program, floats))


@pytest.mark.parametrize("name", ["weight_conv2d-steps1-wide", "weight_conv2d-cout48", "weight_dense-cin64-16"])
def test_files_of_version_1_are_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, x = build(CASES[name])
    monkeypatch.setattr(layout, "FORMAT_VERSION", 1)
    monkeypatch.setattr(layout, "choose_layout", lambda *_: "panel16")
    write_packed(program, tmp_path / "m.gguf")
    monkeypatch.undo()
    assert (tmp_path / "m.gguf").read_bytes() != packed_bytes(program)
    read, _ = read_packed(tmp_path / "m.gguf")
    np.testing.assert_array_equal(emulate(read, x), emulate(program, x))
    np.testing.assert_array_equal(load(tmp_path / "m.gguf")(x), emulate(program, x))
