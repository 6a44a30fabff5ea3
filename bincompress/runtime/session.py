"""Packed models in Python: `load` a file, call the model, or open sessions with threads, batches and profiles."""

from __future__ import annotations

import os
import threading
import weakref
from ctypes import POINTER, byref, c_float, c_size_t, c_void_p, sizeof
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from bincompress import native
from bincompress.errors import NativeError, UsageError
from bincompress.program import DType, Normalize, Value

Array = npt.NDArray[Any]
_UINT32_MAX = 2**32 - 1  # ctypes would cut off what is above


@dataclass(frozen=True)
class NodeInfo:
    """One operation of a packed model: its work, and what it takes in the file."""

    name: str
    op: str
    macs: int
    weights: int
    weight_bits: int
    weight_bytes: int
    constant_bytes: int
    input: int
    output: int
    output_count: int


def load(path: str | os.PathLike[str]) -> Model:
    """Open a packed file.

    Raises: NativeError with the byte at which the file is wrong.
    """
    return Model(path)


class Model:
    """A packed model. It never changes, and any number of sessions, in any thread, may share it.

    `model(x)` runs it in the calling thread, and any threads may call it at once: x (N, C, H, W) uint8 pixels, or
    float32 normalised as the network expects; returns (N, features) float32.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._lib = native.library()
        self.path = os.fspath(path)
        handle = c_void_p()
        native.call(self.path, self._lib.bc_model_open_file, os.fsencode(path), byref(handle))
        self._handle = handle
        self._owner = _Owner()
        weakref.finalize(self._owner, self._lib.bc_model_close, handle)
        self._default = threading.local()  # a session is used by one thread at a time
        self.values = tuple(self._value(i) for i in range(self._lib.bc_model_value_count(handle)))
        self.nodes = tuple(self._node(i) for i in range(self._lib.bc_model_node_count(handle)))
        self.input_id = int(self._lib.bc_model_input(handle))
        self.output_id = int(self._lib.bc_model_output(handle))
        self.normalize = self._normalize()
        count = self._lib.bc_model_class_count(handle)
        names = [self._lib.bc_model_class(handle, i) for i in range(count)]
        self.classes = tuple(name.decode("utf-8", "replace") for name in names)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.values[self.input_id].shape

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the result; (classes, 1, 1) for a classifier."""
        return self.values[self.output_id].shape

    def meta(self, key: str) -> str | None:
        """The text stored under `bincompress.KEY`, or None."""
        found = self._lib.bc_model_meta(self._handle, f"bincompress.{key}".encode())
        return None if found is None else found.decode("utf-8", "replace")

    def session(
        self,
        threads: int = 1,
        batch: int = 1,
        isa: str | None = None,
        *,
        profile: bool = False,
        keep_all: bool = False,
    ) -> Session:
        """Open a session; `isa` None is the best of this CPU (or the environment's BC_ISA)."""
        return Session(self, threads, batch, isa, profile=profile, keep_all=keep_all)

    def __call__(self, x: Array) -> Array:
        session: Session | None = getattr(self._default, "session", None)
        if session is None:
            session = self._default.session = self.session()
        return session(x)

    def __repr__(self) -> str:
        return f"<bincompress.Model {self.path}: {self.input_shape} -> {self.output_shape}, {len(self.nodes)} nodes>"

    def _value(self, index: int) -> Value:
        info = native.BcValueInfo()
        native.check(f"value {index}", self._lib.bc_model_value(self._handle, index, byref(info)))
        dtypes: dict[int, DType] = {native.F32: "f32", native.U8: "u8", native.BITS: "bits"}
        return Value(info.name.decode("utf-8", "replace"), dtypes[info.dtype], (info.c, info.h, info.w))

    def _node(self, index: int) -> NodeInfo:
        info = native.BcNodeInfo()
        native.check(f"node {index}", self._lib.bc_model_node(self._handle, index, byref(info)))
        texts = (info.name.decode("utf-8", "replace"), info.op.decode())
        return NodeInfo(*texts, *(getattr(info, name) for name, *_ in native.BcNodeInfo._fields_[2:]))

    def _normalize(self) -> Normalize | None:
        count, mean, std = c_size_t(), POINTER(c_float)(), POINTER(c_float)()
        status = self._lib.bc_model_normalize(self._handle, byref(count), byref(mean), byref(std))
        native.check("normalisation", status)
        if count.value == 0:
            return None
        return Normalize(tuple(mean[i] for i in range(count.value)), tuple(std[i] for i in range(count.value)))


class Session:
    """Memory and threads to run one model; used by one thread at a time. Also a context manager."""

    def __init__(
        self, model: Model, threads: int, batch: int, isa: str | None, *, profile: bool, keep_all: bool
    ) -> None:
        for what, value in (("threads", threads), ("batch", batch)):
            if not isinstance(value, int | np.integer) or not 1 <= value <= _UINT32_MAX:
                raise UsageError(f"{what} {value!r}: a session takes a whole number from 1 on")
        native.require_isa(isa)
        self.model, self.threads, self.batch = model, threads, batch
        self._lib = native.library()
        flags = (native.PROFILE if profile else 0) | (native.KEEP_ALL if keep_all else 0)
        name = isa.encode() if isa else None
        options = native.BcSessionOptions(sizeof(native.BcSessionOptions), threads, batch, name, flags)
        handle = c_void_p()
        native.call(f"session of {model.path}", self._lib.bc_session_open, model._handle, byref(options), byref(handle))
        self._handle = handle
        # the owner among the arguments: whatever order garbage goes in, the model closes after its sessions
        self._closer = weakref.finalize(self, _close_session, self._lib, handle, model._owner)

    def __call__(self, x: Array) -> Array:
        """Run images x (N, C, H, W), uint8 or floats; returns (N, features) float32.

        Raises: UsageError if x has another shape or type; NativeError for NaN or infinity in it.
        """
        pixels = np.asarray(x)
        if pixels.ndim != 4 or pixels.shape[1:] != self.model.input_shape:
            raise UsageError(f"input {pixels.shape}: {self.model.path} takes (N, {_commas(self.model.input_shape)})")
        if pixels.dtype != np.uint8 and not np.issubdtype(pixels.dtype, np.floating):
            raise UsageError(
                f"input of {pixels.dtype}: {self.model.path} takes uint8 pixels, or floats as the network expects"
            )
        dtype = native.U8 if pixels.dtype == np.uint8 else native.F32
        data = np.ascontiguousarray(pixels, np.uint8 if dtype == native.U8 else np.float32)
        out = np.empty((len(data), int(np.prod(self.model.output_shape))), np.float32)
        if len(data):
            given = native.BcInput(data.ctypes.data, dtype, native.NCHW)
            native.call(
                self.model.path, self._lib.bc_session_run, self._alive(), byref(given), len(data), native.floats(out)
            )
        return out

    @property
    def handle(self) -> c_void_p:
        """The `bc_session *`, for callers of `native`."""
        return self._alive()

    @property
    def isa(self) -> str:
        """Name of the kernels in use."""
        return str(self._lib.bc_session_isa(self._alive()).decode())

    @property
    def arena_bytes(self) -> int:
        """Memory planned for all values."""
        return int(self._lib.bc_session_arena_bytes(self._alive()))

    def node_ns(self) -> list[int]:
        """Nanoseconds of each node in the last run; needs `profile`."""
        return [int(self._lib.bc_session_node_ns(self._alive(), i)) for i in range(len(self.model.nodes))]

    def write_value(self, index: int, value: Array) -> None:
        """Set a value, needs `keep_all`: (n, C, H, W) floats, pixels, or bool for bits (True = -1)."""
        floats = np.where(value, np.float32(-1), np.float32(1)) if value.dtype == np.bool_ else value
        nhwc = np.ascontiguousarray(floats.transpose(0, 2, 3, 1), np.float32)
        if nhwc.shape[1:] != _nhwc(self.model.values[index].shape):
            raise NativeError(f"value {index}: shape {value.shape[1:]}, expected {self.model.values[index].shape}")
        status = self._lib.bc_session_write_value(self._alive(), index, native.floats(nhwc), len(nhwc))
        native.check(f"write value {index}", status)

    def read_value(self, index: int, count: int) -> Array:
        """A value of the first `count` samples, needs `keep_all`: (count, C, H, W) float32, uint8, or bool for bits."""
        info = self.model.values[index]
        nhwc = np.empty((count, *_nhwc(info.shape)), np.float32)
        status = self._lib.bc_session_read_value(self._alive(), index, native.floats(nhwc), count)
        native.check(f"read value {index}", status)
        value = nhwc.transpose(0, 3, 1, 2)
        if info.dtype == "bits":
            return value < 0
        return value.astype(np.uint8) if info.dtype == "u8" else value

    def run_node(self, index: int, count: int) -> None:
        """Run one node over the first `count` samples, needs `keep_all`."""
        status = self._lib.bc_session_run_node(self._alive(), index, count)
        native.check(f"run node {index} {self.model.nodes[index].name}", status)

    def close(self) -> None:
        """Give the memory and threads back; closing twice is fine."""
        self._closer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _alive(self) -> c_void_p:
        if not self._closer.alive:
            raise NativeError(f"session of {self.model.path}: it is closed")
        return self._handle


class _Owner:
    """Lives as long as the model or any of its sessions."""


def _close_session(lib: Any, handle: c_void_p, owner: _Owner) -> None:
    lib.bc_session_close(handle)


def _nhwc(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    return shape[1], shape[2], shape[0]


def _commas(shape: tuple[int, int, int]) -> str:
    return ", ".join(str(size) for size in shape)
