"""Program -> GGUF bytes. The same program and keys give the same bytes: fixed order, no clock, no host name."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGUFValueType, GGUFWriter

from bincompress.errors import LoweringError, PackError
from bincompress.lower.check import check_program
from bincompress.pack import layout
from bincompress.pack.bits import pack_bits
from bincompress.program import FLOAT_OPS, Node, Program

Meta = Mapping[str, str | bool | int | float | Sequence[str]]


def write_packed(program: Program, path: str | os.PathLike[str], meta: Meta | None = None) -> int:
    """Write `program` to `path`, all or nothing.

    `meta` are free keys, stored as `bincompress.KEY` (a list of strings under "classes" are the class labels).
    Returns: the size of the file in bytes.
    Raises: PackError if the program is malformed, a key is reserved, or the file cannot be written.
    """
    target = Path(path)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            partial = Path(folder) / "packed.gguf"
            _write(program, partial, meta or {})
            partial.replace(target)
    except OSError as error:
        raise PackError(f"{target}: cannot be written: {error.strerror or error}") from error
    return target.stat().st_size


def packed_bytes(program: Program, meta: Meta | None = None) -> bytes:
    """The bytes that `write_packed` would write."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "packed.gguf"
        _write(program, path, meta or {})
        return path.read_bytes()


def node_tensors(index: int, node: Node) -> dict[str, npt.NDArray[Any]]:
    """The tensors of one node by their names in the file, as they are stored."""
    tensors: dict[str, npt.NDArray[Any]] = {}
    if node.weight is not None:
        if node.op in FLOAT_OPS:
            tensors[f"node.{index}.weight"] = np.ascontiguousarray(node.weight, dtype="<f4")
        else:
            groups = int(node.attrs["groups"])
            packed = layout.pack_weight(node.weight, weight_layout(node), groups)
            tensors[f"node.{index}.weight"] = packed.view(np.int8)
    if node.attrs.get("or_mask") is not None:
        tensors[f"node.{index}.or_mask"] = pack_bits(np.asarray(node.attrs["or_mask"])).view(np.int8)
    if node.op == "constant":
        tensors[f"node.{index}.factors"] = np.ascontiguousarray(node.attrs["factors"], dtype="<f4").reshape(-1)
    for place, step in enumerate(node.steps):
        for name, array in step.params.items():
            kind = "<i4" if name == "tau" else "<f4"
            tensors[f"node.{index}.step.{place}.{name}"] = np.ascontiguousarray(array, dtype=kind)
    return tensors


def weight_layout(node: Node) -> str:
    """The layout in which the weights of `node` are stored; float weights are always `rows`."""
    assert node.weight is not None
    if node.op in FLOAT_OPS:
        return "rows"
    filters, high, wide, channels = node.weight.shape
    return layout.choose_layout(node.op, (filters, high, wide, channels), int(node.attrs["groups"]))


def _write(program: Program, path: Path, meta: Meta) -> None:
    try:
        check_program(program)
    except LoweringError as error:
        raise PackError(f"{error}; this program cannot be packed") from error
    writer = GGUFWriter(path, layout.ARCHITECTURE)
    writer.add_custom_alignment(layout.ALIGNMENT)
    _add_header(writer, program)
    tensors: dict[str, npt.NDArray[Any]] = {}
    for index, node in enumerate(program.nodes):
        _add_node(writer, index, node)
        tensors.update(node_tensors(index, node))
    for key in sorted(meta):
        _add_meta(writer, key, meta[key])
    checksum = 0
    for name, array in tensors.items():
        writer.add_tensor(name, array)
        data = array.tobytes()
        checksum = zlib.crc32(data + bytes(-len(data) % layout.ALIGNMENT), checksum)
    writer.add_uint32("bincompress.crc32", checksum)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_header(writer: GGUFWriter, program: Program) -> None:
    values = program.values
    writer.add_uint32("bincompress.format_version", layout.FORMAT_VERSION)
    _strings(writer, "bincompress.values.name", [value.name for value in values])
    _strings(writer, "bincompress.values.dtype", [value.dtype for value in values])
    _uints(writer, "bincompress.values.shape", [size for value in values for size in value.shape])
    writer.add_uint32("bincompress.input", program.input)
    writer.add_uint32("bincompress.output", program.output)
    if program.normalize is not None:
        for key, numbers in (("mean", program.normalize.mean), ("std", program.normalize.std)):
            floats = [float(number) for number in numbers]
            writer.add_key_value(f"bincompress.normalize.{key}", floats, GGUFValueType.ARRAY, GGUFValueType.FLOAT32)
    writer.add_uint32("bincompress.node_count", len(program.nodes))


def _add_node(writer: GGUFWriter, index: int, node: Node) -> None:
    prefix = f"bincompress.node.{index}"
    writer.add_key_value(f"{prefix}.op", node.op, GGUFValueType.STRING)
    writer.add_key_value(f"{prefix}.name", node.name, GGUFValueType.STRING)
    _uints(writer, f"{prefix}.inputs", node.inputs)
    _uints(writer, f"{prefix}.outputs", node.outputs)
    for name in layout.attributes_of(node.op):
        found = node.attrs[name]
        if layout.ATTRIBUTES[name]:
            _uints(writer, f"{prefix}.{name}", found)
        elif name in layout.SIGNED_ATTRIBUTES:
            writer.add_int32(f"{prefix}.{name}", int(found))
        else:
            writer.add_uint32(f"{prefix}.{name}", int(found))
    if node.weight is not None:
        _uints(writer, f"{prefix}.weight_shape", node.weight.shape)
        writer.add_string(f"{prefix}.weight_layout", weight_layout(node))
    _strings(writer, f"{prefix}.steps", [step.op for step in node.steps])
    targets = [int(step.value) for step in node.steps]
    writer.add_key_value(f"{prefix}.step_values", targets, GGUFValueType.ARRAY, GGUFValueType.INT32)


def _add_meta(writer: GGUFWriter, key: str, found: Any) -> None:
    if not key or layout.is_reserved(key):
        raise PackError(f"key bincompress.{key} is part of the format; choose another name")
    full = f"bincompress.{key}"
    if isinstance(found, str):
        writer.add_key_value(full, found, GGUFValueType.STRING)
    elif isinstance(found, bool):
        writer.add_bool(full, found)
    elif isinstance(found, int):
        writer.add_int64(full, found)
    elif isinstance(found, float):
        writer.add_float64(full, found)
    elif all(isinstance(item, str) for item in found) and len(found):
        _strings(writer, full, list(found))
    else:
        raise PackError(f"key {full}: expected text, a number or a list of texts, found {type(found).__name__}")


def _strings(writer: GGUFWriter, key: str, items: Sequence[str]) -> None:
    writer.add_key_value(key, list(items), GGUFValueType.ARRAY, GGUFValueType.STRING)


def _uints(writer: GGUFWriter, key: str, items: Sequence[int]) -> None:
    writer.add_key_value(key, [int(item) for item in items], GGUFValueType.ARRAY, GGUFValueType.UINT32)
