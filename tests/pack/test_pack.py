"""The packed file: what is read is what was written, the same program gives the same bytes, and damage is seen."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from hypothesis import given, settings
from hypothesis import strategies as st

from bincompress.errors import PackError
from bincompress.lower.check import check_program
from bincompress.pack import packed_bytes, read_packed, read_packed_bytes, write_packed
from bincompress.pack.gguf_file import parse_gguf
from bincompress.pack.layout import pack_weight, packed_size, possible_layouts, unpack_weight
from bincompress.program import Program
from tests.programs import CASES, Case, build, random_case

META = {"recipe": "version: 1\n", "accuracy.float": 0.9173, "epochs": 3, "classes": ["cat", "dog"], "name": ""}


def same(a: Program, b: Program) -> bool:
    """Equality of programs down to the bits of their arrays."""
    if (a.values, a.input, a.output, len(a.nodes)) != (b.values, b.input, b.output, len(b.nodes)):
        return False
    for m, n in zip(a.nodes, b.nodes, strict=True):
        if (m.op, m.name, m.inputs, m.outputs) != (n.op, n.name, n.inputs, n.outputs) or set(m.attrs) != set(n.attrs):
            return False
        if not all(np.array_equal(m.attrs[key], n.attrs[key]) for key in m.attrs):
            return False
        if (m.weight is None) != (n.weight is None) or (
            m.weight is not None and not np.array_equal(m.weight, n.weight)
        ):
            return False
        for s, t in zip(m.steps, n.steps, strict=True):
            if (s.op, s.value) != (t.op, t.value):
                return False
            if not all(s.params[k].tobytes() == t.params[k].tobytes() for k in s.params):
                return False
    return True


@pytest.mark.parametrize("name", sorted(CASES)[::7])
def test_round_trip(name: str) -> None:
    program, _ = build(CASES[name])
    data = packed_bytes(program, META)
    again, meta = read_packed_bytes(data)
    assert same(program, again)
    assert meta == META
    assert packed_bytes(again, dict(reversed(meta.items()))) == data


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6))
def test_round_trip_of_random_programs(seed: int) -> None:
    program, _ = build(random_case(seed))
    assert same(program, read_packed_bytes(packed_bytes(program))[0])


@pytest.mark.parametrize("op", ["binary_conv2d", "weight_conv2d", "u8_dense", "i8_dense"])
@pytest.mark.parametrize("shape", [(16, 3, 3, 64), (48, 1, 2, 128), (9, 3, 3, 5), (8, 1, 1, 64), (32, 5, 5, 3)])
def test_weight_layouts(op: str, shape: tuple[int, int, int, int]) -> None:
    weight = np.where(np.random.default_rng(0).random(shape) < 0.5, -1, 1).astype(np.int8)
    for groups in (1, 2) if shape[0] % 2 == 0 else (1,):
        for layout in possible_layouts(op, shape, groups):
            data = pack_weight(weight, layout, groups)
            assert len(data) == packed_size(shape)
            np.testing.assert_array_equal(unpack_weight(data, layout, shape, groups), weight)


def test_panels_are_what_the_format_says() -> None:
    weight = np.where(np.random.default_rng(1).random((32, 2, 3, 128)) < 0.5, -1, 1).astype(np.int8)
    words = pack_weight(weight, "panel8", 2).view("<u8").reshape(2, 2, 6, 2, 8)
    for group, panel, tap, word, lane in ((0, 0, 0, 0, 0), (1, 1, 5, 1, 7), (0, 1, 3, 1, 2)):
        filters = weight[group * 16 + panel * 8 + lane, tap // 3, tap % 3, word * 64 : word * 64 + 64]
        assert words[group, panel, tap, word, lane] == sum(1 << i for i in range(64) if filters[i] < 0)
    octets = pack_weight(weight, "octet16", 1).reshape(2, 6 * 128 // 8, 16)
    assert octets[1, 7, 3] == sum(1 << i for i in range(8) if weight[16 + 3].reshape(-1)[7 * 8 + i] < 0)
    halves = pack_weight(weight, "panel16", 1).view("<u2").reshape(2, 6 * 128)
    assert halves[1, 7] == sum(1 << j for j in range(16) if weight[16 + j].reshape(-1)[7] < 0)


def test_at_most_102_bits_per_weight_hundred() -> None:
    for op in ("binary_conv2d", "weight_conv2d"):
        program, _ = build(Case(op, shape=(64, 4, 4), filters=64, steps=("store",)))
        weight = program.nodes[-1].weight
        assert weight is not None
        assert packed_size(weight.shape) * 8 <= 1.02 * weight.size


def test_other_tools_open_it(tmp_path: Path) -> None:
    program, _ = build(CASES["binary_conv2d-steps9"])
    size = write_packed(program, tmp_path / "m.gguf", META)
    assert size == (tmp_path / "m.gguf").stat().st_size
    reader = GGUFReader(tmp_path / "m.gguf")
    assert reader.fields["general.architecture"].contents() == "bincompress"
    assert reader.alignment == 64
    assert all(tensor.data_offset % 64 == 0 for tensor in reader.tensors)
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_a_malformed_program_leaves_no_file(tmp_path: Path) -> None:
    program, _ = build(CASES["binary_conv2d-cin8"])
    broken = replace(program, nodes=program.nodes[1:])
    with pytest.raises(PackError, match="not computed yet"):
        write_packed(broken, tmp_path / "m.gguf")
    with pytest.raises(PackError, match="part of the format"):
        write_packed(program, tmp_path / "m.gguf", {"node.0.op": "x"})
    with pytest.raises(PackError, match="cannot be written"):
        write_packed(program, tmp_path / "missing" / "m.gguf")
    assert not list(tmp_path.iterdir())


DATA = packed_bytes(build(CASES["binary_conv2d-steps9"])[0], META)


def test_every_truncation_is_refused() -> None:
    for size in [*range(0, len(DATA), 97), len(DATA) - 1]:
        with pytest.raises(PackError, match=r"byte|crc32"):
            read_packed_bytes(DATA[:size])


def test_a_flipped_bit_gives_a_clear_error_or_a_whole_program() -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(DATA)
        damaged[int(rng.integers(len(DATA)))] ^= 1 << int(rng.integers(8))
        try:
            program, _ = read_packed_bytes(bytes(damaged))
        except PackError:
            refused += 1  # nothing else may come out
        else:
            check_program(program)
    assert refused > 1000


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, b"GGML", "byte 0: not a GGUF file"),
        (4, struct.pack("<I", 2), "GGUF version 2"),
        (8, struct.pack("<Q", 1 << 60), "tensors is more than"),
        (16, struct.pack("<Q", 1 << 63), "keys is more than"),
    ],
)
def test_bad_headers(position: int, value: bytes, message: str) -> None:
    damaged = DATA[:position] + value + DATA[position + len(value) :]
    with pytest.raises(PackError, match=message):
        read_packed_bytes(damaged)


def test_damaged_weights_fail_the_checksum(tmp_path: Path) -> None:
    damaged = bytearray(DATA)
    damaged[-64] ^= 1
    path = tmp_path / "x.gguf"
    path.write_bytes(damaged)
    with pytest.raises(PackError, match=r"x\.gguf: bincompress\.crc32"):
        read_packed(path)
    with pytest.raises(PackError, match="cannot be read"):
        read_packed(tmp_path / "none.gguf")


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(PackError, match="tensor data"):
        read_packed_bytes(DATA + bytes(64))


def test_keys_that_might_mean_something_are_refused() -> None:
    count = DATA.index(b"bincompress.node.0.op") - 8  # put one more key in front of this one
    name = b"bincompress.node.0.twist"
    key = struct.pack("<Q", len(name)) + name + struct.pack("<II", 4, 1)
    more = DATA[:16] + struct.pack("<Q", struct.unpack("<Q", DATA[16:24])[0] + 1) + DATA[24:count] + key + DATA[count:]
    start = len(DATA) - len(data_section())
    padded = more[: start + len(key)].rstrip(b"\0")
    padded += bytes(-len(padded) % 64)
    with pytest.raises(PackError, match=r"node\.0\.twist is unknown"):
        read_packed_bytes(padded + data_section())


def data_section() -> memoryview:
    """The tensor data of DATA."""
    return parse_gguf(DATA).data
