"""GGUF bytes -> Program, refusing everything that the format does not allow."""

from __future__ import annotations

import math
import os
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from bincompress.errors import LoweringError, PackError
from bincompress.lower.check import check_program
from bincompress.pack import layout
from bincompress.pack.bits import unpack_bits
from bincompress.pack.gguf_file import Entry, GgufFile, parse_gguf
from bincompress.program import FLOAT_OPS, OPS, STEP_PARAMETERS, STEPS, DType, Node, Normalize, Program, Step, Value

Array = npt.NDArray[Any]
MetaOut = dict[str, Any]
_PREFIX = "bincompress."
_UNFIT = (IndexError, ValueError, TypeError, KeyError, ZeroDivisionError, OverflowError)


def read_packed(path: str | os.PathLike[str]) -> tuple[Program, MetaOut]:
    """Read a packed file.

    Returns: the program, and the free keys without their `bincompress.` prefix.
    Raises: PackError with the file, the byte or key, and the reason.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise PackError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return read_packed_bytes(data)
    except PackError as error:
        raise PackError(f"{path}: {error}") from error


def read_packed_bytes(data: bytes) -> tuple[Program, MetaOut]:
    """The same from memory."""
    file = parse_gguf(data)
    keys = _Keys(file.keys)
    architecture = keys.get("general.architecture", "string")
    if architecture != layout.ARCHITECTURE:
        raise PackError(
            f"general.architecture is {architecture!r}, expected {layout.ARCHITECTURE!r}: another kind of model"
        )
    alignment = keys.get("general.alignment", "u32")
    if alignment != layout.ALIGNMENT:
        raise PackError(f"general.alignment is {alignment}, expected {layout.ALIGNMENT}")
    version = keys.get(_PREFIX + "format_version", "u32")
    if not 1 <= version <= layout.FORMAT_VERSION:
        raise PackError(
            f"format version {version}, this release reads up to {layout.FORMAT_VERSION}; update bincompress"
        )
    if zlib.crc32(file.data) != keys.get(_PREFIX + "crc32", "u32"):
        raise PackError("bincompress.crc32 does not fit the tensor data: the file is damaged")
    try:
        program = _program(file, keys)
        check_program(program)
    except LoweringError as error:
        raise PackError(str(error)) from error
    except _UNFIT as error:
        raise PackError(f"the graph does not hold together ({type(error).__name__}: {error})") from error
    strange = sorted(set(file.tensors) - keys.tensors_used)
    if strange:
        raise PackError(f"tensor {strange[0]} belongs to no node")
    for name, entry in file.keys.items():
        if name.startswith((_PREFIX + "node.", _PREFIX + "values.")) and name not in keys.used:
            raise PackError(f"byte {entry.offset}: key {name} is unknown, and might change the meaning of the others")
    return program, _meta(file.keys)


class _Keys:
    """Typed access to the keys, with the byte in every complaint."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.entries = entries
        self.used: set[str] = set()
        self.tensors_used: set[str] = set()

    def get(self, name: str, kind: str) -> Any:
        entry = self.entries.get(name)
        if entry is None:
            raise PackError(f"key {name} is missing")
        if entry.kind != kind:
            raise PackError(f"byte {entry.offset}: key {name} is {entry.kind or 'of unknown type'}, expected {kind}")
        self.used.add(name)
        return entry.value

    def has(self, name: str) -> bool:
        return name in self.entries

    def array(self, name: str, kind: str, count: int) -> list[Any]:
        found: list[Any] = self.get(name, f"array {kind}")
        if len(found) != count:
            raise PackError(f"byte {self.entries[name].offset}: key {name} has {len(found)} items, expected {count}")
        return found


def _program(file: GgufFile, keys: _Keys) -> Program:
    names = keys.get(_PREFIX + "values.name", "array string")
    dtypes = keys.array(_PREFIX + "values.dtype", "string", len(names))
    sizes = keys.array(_PREFIX + "values.shape", "u32", 3 * len(names))
    values = tuple(
        Value(name, cast(DType, dtype), (sizes[3 * i], sizes[3 * i + 1], sizes[3 * i + 2]))
        for i, (name, dtype) in enumerate(zip(names, dtypes, strict=True))
    )
    normalize = None
    if keys.has(_PREFIX + "normalize.mean") or keys.has(_PREFIX + "normalize.std"):
        mean = keys.get(_PREFIX + "normalize.mean", "array f32")
        normalize = Normalize(tuple(mean), tuple(keys.array(_PREFIX + "normalize.std", "f32", len(mean))))
    count = keys.get(_PREFIX + "node_count", "u32")
    if count > len(file.keys):
        raise PackError(f"node_count {count} is more than the file's keys")
    nodes = tuple(_node(file, keys, index) for index in range(count))
    return Program(values, nodes, keys.get(_PREFIX + "input", "u32"), keys.get(_PREFIX + "output", "u32"), normalize)


def _node(file: GgufFile, keys: _Keys, index: int) -> Node:
    prefix = f"{_PREFIX}node.{index}."
    op = keys.get(prefix + "op", "string")
    name = keys.get(prefix + "name", "string")
    if op not in OPS:
        raise PackError(f"node {index} {name}: unknown op {op!r}")
    attrs: dict[str, Any] = {}
    for attr in layout.attributes_of(op):
        if layout.ATTRIBUTES[attr]:
            attrs[attr] = tuple(keys.array(prefix + attr, "u32", layout.ATTRIBUTES[attr]))
        else:
            attrs[attr] = keys.get(prefix + attr, "i32" if attr in layout.SIGNED_ATTRIBUTES else "u32")
    inputs = tuple(keys.get(prefix + "inputs", "array u32"))
    outputs = tuple(keys.get(prefix + "outputs", "array u32"))
    weight = _weight(file, keys, index, op, int(attrs.get("groups", 1)))
    mask_name = f"node.{index}.or_mask"
    if mask_name in file.tensors:
        channels = int(keys.get(_PREFIX + "values.shape", "array u32")[3 * inputs[0]])
        raw = _tensor(file, keys, mask_name, (-(-channels // 8),), "int8")
        attrs["or_mask"] = unpack_bits(raw.view(np.uint8), channels)
    if op == "constant":
        attrs["factors"] = _tensor(file, keys, f"node.{index}.factors", attrs["size"], "float32")
    ops = keys.get(prefix + "steps", "array string")
    targets = keys.array(prefix + "step_values", "i32", len(ops))
    steps = []
    for place, (step, target) in enumerate(zip(ops, targets, strict=True)):
        if step not in STEPS:
            raise PackError(f"node {index} {name}: unknown step {step!r}")
        params = {}
        for parameter in STEP_PARAMETERS.get(step, ()):
            kind = "int32" if parameter == "tau" else "float32"
            params[parameter] = _tensor(file, keys, f"node.{index}.step.{place}.{parameter}", None, kind)
        steps.append(Step(step, target, params))
    return Node(op, name, inputs, outputs, attrs, weight, tuple(steps))


def _weight(file: GgufFile, keys: _Keys, index: int, op: str, groups: int) -> Array | None:
    if not op.endswith(("conv2d", "dense")):
        return None
    prefix, name = f"{_PREFIX}node.{index}.", f"node.{index}.weight"
    c_out, high, wide, channels = keys.array(prefix + "weight_shape", "u32", 4)
    shape = (c_out, high, wide, channels)
    stored = keys.get(prefix + "weight_layout", "string")
    if min(*shape, groups) < 1 or c_out % groups:
        raise PackError(f"node {index}: weights {shape} in {groups} groups")
    if op in FLOAT_OPS:
        if stored != "rows":
            raise PackError(f"node {index}: weight layout {stored!r} of float weights, expected 'rows'")
        return _tensor(file, keys, name, shape, "float32")
    if stored not in layout.possible_layouts(op, shape, groups):
        raise PackError(f"node {index}: weight layout {stored!r} is not possible for {op} of shape {shape}")
    raw = _tensor(file, keys, name, (layout.packed_size(shape),), "int8").view(np.uint8)
    spare = -int(np.prod(shape)) % 8
    if spare and raw[-1] >> (8 - spare):
        raise PackError(f"byte {file.offsets[name] + len(raw) - 1}: unused bits of {name} are not 0")
    return layout.unpack_weight(raw, stored, shape, groups)


def _tensor(file: GgufFile, keys: _Keys, name: str, shape: tuple[int, ...] | None, dtype: str) -> Array:
    """The tensor as `shape`, or as one axis; how the file splits its elements into axes has no meaning."""
    found = file.tensors.get(name)
    if found is None:
        raise PackError(f"tensor {name} is missing")
    wanted = math.prod(shape) if shape else found.size
    if found.dtype != np.dtype(dtype) or found.size != wanted:
        here = f"{found.size} {found.dtype}"
        raise PackError(f"byte {file.offsets[name]}: tensor {name} holds {here}, expected {wanted} {dtype}")
    keys.tensors_used.add(name)
    return found.reshape(shape or -1)


def _meta(entries: dict[str, Entry]) -> MetaOut:
    free = {key[len(_PREFIX) :]: entry.value for key, entry in entries.items() if key.startswith(_PREFIX)}
    return {k: v for k, v in free.items() if not layout.is_reserved(k)}
