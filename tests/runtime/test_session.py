"""The Python face of the C library: what it says about a model, and how it refuses."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bincompress import native
from bincompress.errors import NativeError, PackError, UsageError
from bincompress.pack import packed_bytes, read_packed, write_packed
from bincompress.runtime.session import load
from tests.programs import CASES, build

CASE = "binary_conv2d-steps9-wide"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    program, _ = build(CASES[CASE])
    write_packed(program, tmp_path / "m.gguf", {"recipe": "method: xnor\n", "classes": ["cat", "Hündin"]})
    return tmp_path / "m.gguf"


def test_a_model_describes_itself(packed: Path) -> None:
    program, _ = build(CASES[CASE])
    model = load(packed)
    assert model.values == program.values
    assert (model.input_id, model.output_id) == (program.input, program.output)
    assert model.input_shape == program.values[program.input].shape
    assert model.normalize == program.normalize
    assert model.classes == ("cat", "Hündin")
    assert model.meta("recipe") == "method: xnor\n"
    assert model.meta("nothing") is None
    for info, node in zip(model.nodes, program.nodes, strict=True):
        assert (info.name, info.op, info.macs) == (node.name, node.op, program.macs(node))
        assert info.weights == (0 if node.weight is None else node.weight.size)
        assert info.input == node.inputs[0]
        assert info.output == node.outputs[0]
    last = model.nodes[-1]
    assert last.weight_bits == 1
    assert last.weight_bytes * 8 == last.weights
    assert "64" in repr(model)


def test_the_isa_and_the_profile_can_be_chosen(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, x = build(CASES[CASE])
    model = load(packed)
    for isa in native.isa_names():
        with model.session(isa=isa, profile=True) as session:
            session(x[:1])
            assert session.isa == isa
            assert all(ns > 0 for ns in session.node_ns())
            assert session.arena_bytes > 0
    assert set(native.isa_names()) <= set(native.isa_names(available=False))
    with pytest.raises(UsageError, match="'abacus': unknown; available here: scalar"):
        model.session(isa="abacus")
    monkeypatch.setenv("BC_ISA", "sse")
    with pytest.raises(UsageError, match="BC_ISA 'sse'"):
        model.session()
    del program


def test_bad_calls_are_refused(packed: Path) -> None:
    _, x = build(CASES[CASE])
    model = load(packed)
    with pytest.raises(UsageError, match=r"takes \(N, 64, 4, 4\)"):
        model(x[:, :3])
    for wrong in (0, -1, 2**32, 2**32 + 1, 1.5, "2"):
        for name in ("threads", "batch"):
            with pytest.raises(UsageError, match=f"{name} {wrong!r}: a session takes a whole number"):
                model.session(**{name: wrong})
    poisoned = x.copy()
    poisoned[0, 0, 0, 0] = np.nan
    with pytest.raises(NativeError) as caught:
        model(poisoned)
    assert caught.value.status == "BC_ERR_INPUT"
    session = model.session()
    with pytest.raises(NativeError, match="read value"):
        session.read_value(1, 1)
    session.close()
    session.close()
    with pytest.raises(NativeError, match="closed"):
        session(x)
    assert model(x[:0]).shape == (0, int(np.prod(model.output_shape)))


def test_bad_files_are_refused(packed: Path, tmp_path: Path) -> None:
    data = packed.read_bytes()
    for name, content, status in (
        ("empty", b"", "BC_ERR_TRUNCATED"),
        ("text", b"hello world, this is not a model" * 4, "BC_ERR_MAGIC"),
        ("half", data[: len(data) // 2], ""),
        ("damaged", data[:-64] + bytes([data[-64] ^ 1]) + data[-63:], "BC_ERR_CHECKSUM"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(NativeError, match=name) as caught:
            load(path)
        assert caught.value.status == status or not status
    with pytest.raises(NativeError) as caught:
        load(tmp_path / "missing.gguf")
    assert caught.value.status == "BC_ERR_IO"


def test_what_the_library_refuses_the_python_reader_refuses_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "m.gguf"
    verdicts = {True: 0, False: 0}
    for name in (
        "binary_conv2d-steps9",
        "max_pool-c5-k2x2s22-bits-or",
        "u8_conv2d-offset100-t",
        "subsample_pad-c5-3-0",
    ):
        data = packed_bytes(build(CASES[name])[0], {"recipe": "x", "classes": ["a", "b"]})
        for _ in range(250):
            damaged = bytearray(data)
            position = int(rng.integers(len(data)))
            damaged[position] = int(rng.integers(256))
            if rng.random() < 0.2:
                del damaged[position:]
            path.write_bytes(damaged)
            try:
                read_packed(path)
            except PackError:
                verdicts[False] += 1  # it may be the stricter one: text must be UTF-8
            else:
                verdicts[True] += 1
                load(path)
    assert min(verdicts.values()) > 10


def test_sessions_outlive_what_made_them(packed: Path) -> None:
    _, x = build(CASES[CASE])
    session = load(packed).session(threads=2)
    gc.collect()
    before = session(x)
    model = load(packed)
    model(x)  # opens a session that the model refers to and that refers to the model
    del model
    gc.collect()
    np.testing.assert_array_equal(session(x), before)


def test_a_wrong_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    native.library.cache_clear()
    try:
        monkeypatch.setenv(native.LIBRARY_VARIABLE, str(tmp_path / "none.so"))
        with pytest.raises(NativeError, match="no such file"):
            native.library()
        (tmp_path / "none.so").write_bytes(b"not a library")
        with pytest.raises(NativeError, match="not a usable bincompress library"):
            native.library()
    finally:
        native.library.cache_clear()


def test_peaks_are_measured() -> None:
    for isa in native.isa_names():
        assert native.measure_peak(isa, "binary") > 0


def test_threads_may_call_one_model_at_once(packed: Path) -> None:
    model = load(packed)
    generator = np.random.default_rng(0)
    batches = [generator.standard_normal((64, *model.input_shape), dtype=np.float32) for _ in range(4)]
    expected = [model(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(25):
            for got, want in zip(pool.map(model, batches), expected, strict=True):
                np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.bool_, np.complex64, "U1"])
def test_an_input_that_is_neither_pixels_nor_floats_is_refused(packed: Path, dtype: type) -> None:
    model = load(packed)
    with pytest.raises(UsageError, match="takes uint8 pixels, or floats"):
        model(np.zeros((1, *model.input_shape), dtype))
