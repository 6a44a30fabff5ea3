"""A strict parser of GGUF version 3: every count, offset and size is checked before it is used.

It takes only what GGUF's specification allows and reports the byte at which a file departs from it. The `gguf` package
reads too, but trusts what it reads.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bincompress.errors import PackError

MAGIC, VERSION = b"GGUF", 3
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
TYPE_NAMES = {0: "u8", 1: "i8", 2: "u16", 3: "i16", 4: "u32", 5: "i32", 6: "f32", 7: "bool", 8: "string", 9: "array"}
TYPE_NAMES |= {10: "u64", 11: "i64", 12: "f64"}
_TENSOR_TYPES = {0: "<f4", 24: "<i1", 26: "<i4"}  # GGML F32, I8, I32: all that the format uses
_MAX_ITEMS, _MAX_DIMS, _MAX_ALIGNMENT = 1 << 24, 4, 1 << 16


@dataclass(frozen=True)
class Entry:
    """One key: its type name ('u32', 'string', 'array u32' ...), value, and byte in the file."""

    kind: str
    value: Any
    offset: int


@dataclass(frozen=True)
class GgufFile:
    """A parsed file: keys in file order, tensors as read-only views, and the tensor-data section."""

    keys: dict[str, Entry]
    tensors: dict[str, npt.NDArray[Any]]
    offsets: dict[str, int]
    data: memoryview


class Cursor:
    """Reads forward through bytes and never past their end."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def take(self, size: int, what: str) -> memoryview:
        """The next `size` bytes."""
        if size > len(self.data) - self.at:
            raise PackError(
                f"byte {self.at}: {what} needs {size} bytes, the file ends after {len(self.data) - self.at}"
            )
        self.at += size
        return self.data[self.at - size : self.at]

    def scalar(self, code: str, what: str) -> Any:
        """One little-endian number, by its struct code."""
        at = self.at
        raw = self.take(struct.calcsize("<" + code), what)
        if code == "?" and raw[0] > 1:
            raise PackError(f"byte {at}: {what} is a bool of {raw[0]}, expected 0 or 1")
        return struct.unpack("<" + code, raw)[0]

    def string(self, what: str) -> str:
        """A length and that many bytes of UTF-8."""
        at = self.at
        raw = bytes(self.take(self.scalar("Q", f"the length of {what}"), what))
        if 0 in raw:
            raise PackError(f"byte {at}: {what} holds a zero byte")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise PackError(f"byte {at}: {what} is not UTF-8") from error

    def padding(self, size: int) -> None:
        """Skip `size` bytes, which must be 0."""
        at = self.at
        if any(self.take(size, "padding")):
            raise PackError(f"byte {at}: padding before the tensor data is not 0")


def parse_gguf(data: bytes | memoryview) -> GgufFile:
    """Parse a whole file.

    Raises: PackError "byte N: what is wrong", without the file's name.
    """
    cursor = Cursor(memoryview(data))
    if bytes(cursor.take(4, "the magic number")) != MAGIC:
        raise PackError("byte 0: not a GGUF file")
    version = cursor.scalar("I", "the GGUF version")
    if version != VERSION:
        raise PackError(f"byte 4: GGUF version {version}, expected {VERSION}")
    tensor_count = _count(cursor, "tensors")
    key_count = _count(cursor, "keys")
    keys: dict[str, Entry] = {}
    for _ in range(key_count):
        at = cursor.at
        name = cursor.string("a key")
        if name in keys:
            raise PackError(f"byte {at}: key {name} is there twice")
        keys[name] = _entry(cursor, name)
    alignment = _alignment(keys)
    infos = [_tensor_info(cursor) for _ in range(tensor_count)]
    start = -(-cursor.at // alignment) * alignment
    cursor.padding(start - cursor.at)
    section = cursor.data[cursor.at :]
    tensors, offsets, end = {}, {}, 0
    for name, shape, kind, offset, at in infos:
        size = math.prod(shape) * np.dtype(kind).itemsize
        if offset != end:
            raise PackError(f"byte {at}: tensor {name} lies at {offset} of the tensor data, expected {end}")
        if offset + size > len(section):
            raise PackError(f"byte {at}: tensor {name} ends at byte {start + offset + size}, past the end of the file")
        if name in tensors:
            raise PackError(f"byte {at}: tensor {name} is there twice")
        tensors[name] = np.frombuffer(section[offset : offset + size], kind).reshape(shape)
        offsets[name] = start + offset
        end = offset + -(-size // alignment) * alignment
        if any(section[offset + size : end]):
            raise PackError(f"byte {start + offset + size}: padding behind tensor {name} is not 0")
    if len(section) != end:
        raise PackError(f"byte {start}: {len(section)} bytes of tensor data, expected {end}")
    return GgufFile(keys, tensors, offsets, section)


def _count(cursor: Cursor, what: str) -> int:
    at = cursor.at
    count = int(cursor.scalar("Q", f"the number of {what}"))
    if count > _MAX_ITEMS:
        raise PackError(f"byte {at}: {count} {what} is more than {_MAX_ITEMS}")
    return count


def _entry(cursor: Cursor, name: str) -> Entry:
    at = cursor.at
    kind = cursor.scalar("I", f"the type of {name}")
    if kind != _ARRAY:
        return Entry(TYPE_NAMES.get(kind, ""), _value(cursor, kind, name, at), at)
    item = cursor.scalar("I", f"the item type of {name}")
    count = _count(cursor, f"items in {name}")
    if item in _SCALARS and item != 7:
        code = _SCALARS[item]
        raw = cursor.take(count * struct.calcsize("<" + code), name)
        return Entry(f"array {TYPE_NAMES[item]}", list(struct.unpack(f"<{count}{code}", raw)), at)
    values = [_value(cursor, item, name, at) for _ in range(count)]
    return Entry(f"array {TYPE_NAMES.get(item, '')}", values, at)


def _value(cursor: Cursor, kind: int, name: str, at: int) -> Any:
    if kind == _STRING:
        return cursor.string(name)
    if kind not in _SCALARS:
        raise PackError(f"byte {at}: key {name} has the unknown type {kind}")
    return cursor.scalar(_SCALARS[kind], name)


def _alignment(keys: dict[str, Entry]) -> int:
    entry = keys.get("general.alignment", Entry("u32", 32, 0))
    found = entry.value
    if entry.kind != "u32" or not 8 <= found <= _MAX_ALIGNMENT or found & (found - 1):
        raise PackError(f"byte {entry.offset}: general.alignment is {found}, expected a power of two from 8 on")
    return int(found)


def _tensor_info(cursor: Cursor) -> tuple[str, tuple[int, ...], str, int, int]:
    at = cursor.at
    name = cursor.string("a tensor's name")
    dims = cursor.scalar("I", f"the rank of {name}")
    if not 1 <= dims <= _MAX_DIMS:
        raise PackError(f"byte {at}: tensor {name} has {dims} dimensions, expected 1 to {_MAX_DIMS}")
    shape = tuple(int(cursor.scalar("Q", f"the shape of {name}")) for _ in range(dims))[::-1]
    kind = cursor.scalar("I", f"the type of {name}")
    if kind not in _TENSOR_TYPES:
        raise PackError(f"byte {at}: tensor {name} has GGML type {kind}, expected F32, I8 or I32")
    if not 0 < math.prod(shape) < 1 << 48:
        raise PackError(f"byte {at}: tensor {name} has the shape {shape}")
    return name, shape, _TENSOR_TYPES[kind], int(cursor.scalar("Q", f"the offset of {name}")), at
