"""bincompress.h and bincompress_train.h, one to one: structures, constants and function types for ctypes."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from ctypes import (
    CDLL,
    POINTER,
    Structure,
    byref,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any

from bincompress.errors import NativeError, UsageError

LIBRARY_VARIABLE = "BINCOMPRESS_LIBRARY"
STATUS = {
    0: "BC_OK",
    1: "BC_ERR_ARGUMENT",
    2: "BC_ERR_STATE",
    3: "BC_ERR_MEMORY",
    4: "BC_ERR_IO",
    5: "BC_ERR_ISA",
    6: "BC_ERR_INPUT",
    10: "BC_ERR_TRUNCATED",
    11: "BC_ERR_MAGIC",
    12: "BC_ERR_VERSION",
    13: "BC_ERR_LIMIT",
    14: "BC_ERR_KEY",
    15: "BC_ERR_TYPE",
    16: "BC_ERR_LAYOUT",
    17: "BC_ERR_CHECKSUM",
    18: "BC_ERR_OP",
    19: "BC_ERR_GRAPH",
    20: "BC_ERR_SHAPE",
    21: "BC_ERR_VALUE",
}
F32, U8, BITS = 0, 1, 2
NCHW, NHWC = 0, 1
PROFILE, KEEP_ALL = 1, 2
PEAKS = {"binary": 0, "f32": 1, "weight": 2, "u8": 3, "i8": 4, "count": 5}


class BcError(Structure):
    """bc_error"""

    _fields_ = (("code", c_int), ("offset", c_int64), ("message", c_char * 240))


class BcValueInfo(Structure):
    """bc_value_info"""

    _fields_ = (("name", c_char_p), ("dtype", c_int), ("c", c_uint32), ("h", c_uint32), ("w", c_uint32))


class BcNodeInfo(Structure):
    """bc_node_info"""

    _fields_ = (
        ("name", c_char_p),
        ("op", c_char_p),
        ("macs", c_uint64),
        ("weights", c_uint64),
        ("weight_bits", c_uint32),
        ("weight_bytes", c_uint64),
        ("constant_bytes", c_uint64),
        ("input", c_uint32),
        ("output", c_uint32),
        ("output_count", c_uint32),
    )


class BcSessionOptions(Structure):
    """bc_session_options"""

    _fields_ = (
        ("struct_size", c_size_t),
        ("threads", c_uint32),
        ("batch", c_uint32),
        ("isa", c_char_p),
        ("flags", c_uint32),
    )


class BcInput(Structure):
    """bc_input"""

    _fields_ = (("data", c_void_p), ("dtype", c_int), ("layout", c_int))


class BcConv(Structure):
    """bc_conv"""

    _fields_ = tuple((name, c_uint32) for name in ("n", "h", "w", "c_in", "c_out", "kh", "kw", "sh", "sw", "ph", "pw"))


class BcDense(Structure):
    """bc_dense"""

    _fields_ = (("n", c_uint32), ("c_in", c_uint32), ("c_out", c_uint32))


class BcNorm(Structure):
    """bc_norm"""

    _fields_ = (
        *((name, c_void_p) for name in ("weight", "bias", "running_mean", "running_var")),
        ("eps", c_float),
        ("momentum", c_float),
        ("relu", c_uint32),
    )


_ERROR, _FLOATS = POINTER(BcError), POINTER(c_float)
# name -> (result type, argument types); opaque bc_model and bc_session are plain pointers
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "bc_status_text": (c_char_p, (c_int,)),
    "bc_version": (c_char_p, ()),
    "bc_model_open_file": (c_int, (c_char_p, POINTER(c_void_p), _ERROR)),
    "bc_model_open_memory": (c_int, (c_void_p, c_size_t, POINTER(c_void_p), _ERROR)),
    "bc_model_close": (None, (c_void_p,)),
    "bc_model_value_count": (c_size_t, (c_void_p,)),
    "bc_model_node_count": (c_size_t, (c_void_p,)),
    "bc_model_input": (c_size_t, (c_void_p,)),
    "bc_model_output": (c_size_t, (c_void_p,)),
    "bc_model_value": (c_int, (c_void_p, c_size_t, POINTER(BcValueInfo))),
    "bc_model_node": (c_int, (c_void_p, c_size_t, POINTER(BcNodeInfo))),
    "bc_model_normalize": (c_int, (c_void_p, POINTER(c_size_t), POINTER(_FLOATS), POINTER(_FLOATS))),
    "bc_model_meta": (c_char_p, (c_void_p, c_char_p)),
    "bc_model_class_count": (c_size_t, (c_void_p,)),
    "bc_model_class": (c_char_p, (c_void_p, c_size_t)),
    "bc_session_open": (c_int, (c_void_p, POINTER(BcSessionOptions), POINTER(c_void_p), _ERROR)),
    "bc_session_close": (None, (c_void_p,)),
    "bc_session_isa": (c_char_p, (c_void_p,)),
    "bc_session_arena_bytes": (c_size_t, (c_void_p,)),
    "bc_session_run": (c_int, (c_void_p, POINTER(BcInput), c_size_t, _FLOATS, _ERROR)),
    "bc_session_node_ns": (c_uint64, (c_void_p, c_size_t)),
    "bc_session_write_value": (c_int, (c_void_p, c_size_t, _FLOATS, c_size_t)),
    "bc_session_read_value": (c_int, (c_void_p, c_size_t, _FLOATS, c_size_t)),
    "bc_session_run_node": (c_int, (c_void_p, c_size_t, c_size_t)),
    "bc_isa_count": (c_size_t, ()),
    "bc_isa_name": (c_char_p, (c_size_t,)),
    "bc_isa_available": (c_int, (c_size_t,)),
    "bc_trainer_open": (c_int, (c_uint32, c_char_p, POINTER(c_void_p), _ERROR)),
    "bc_trainer_close": (None, (c_void_p,)),
    "bc_train_bits": (c_uint64, (POINTER(BcConv),)),
    "bc_train_forward": (c_int, (c_void_p, POINTER(BcConv), *(c_void_p,) * 6, _ERROR)),
    "bc_train_backward": (c_int, (c_void_p, POINTER(BcConv), *(c_void_p,) * 7, c_int, *(c_void_p,) * 3, _ERROR)),
    "bc_train_dense_bits": (c_uint64, (c_uint32, c_uint32)),
    "bc_train_dense_forward": (c_int, (c_void_p, POINTER(BcDense), *(c_void_p,) * 6, _ERROR)),
    "bc_train_dense_backward": (c_int, (c_void_p, POINTER(BcDense), *(c_void_p,) * 6, _ERROR)),
    "bc_train_prelu_forward": (c_int, (c_void_p, c_uint64, c_uint32, *(c_void_p,) * 5, _ERROR)),
    "bc_train_prelu_backward": (c_int, (c_void_p, c_uint64, c_uint32, *(c_void_p,) * 6, _ERROR)),
    "bc_train_norm_forward": (c_int, (c_void_p, c_uint64, c_uint32, POINTER(BcNorm), *(c_void_p,) * 4, _ERROR)),
    "bc_train_norm_backward": (c_int, (c_void_p, c_uint64, c_uint32, *(c_void_p,) * 7, _ERROR)),
    "bc_measure_peak": (c_int, (c_char_p, c_int, POINTER(c_double))),
}


@functools.cache
def library() -> CDLL:
    """The C library, found once: $BINCOMPRESS_LIBRARY, else beside the installed package.

    Raises: NativeError if it cannot be found or is not the library that this package was made for.
    """
    path = _find()
    try:
        lib = CDLL(str(path))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, list(arguments)
    except (OSError, AttributeError) as error:
        raise NativeError(f"{path}: not a usable bincompress library: {error}") from error
    return lib


def _find() -> Path:
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise NativeError(f"{LIBRARY_VARIABLE}={named}: no such file")
        return Path(named)
    package = Path(__file__).resolve().parent
    folders = [package, *(Path(entry) / "bincompress" for entry in sys.path if entry)]
    for folder in folders:
        for pattern in ("libbincompress*.so", "libbincompress*.dylib", "bincompress*.dll", "libbincompress*.dll"):
            found = sorted(folder.glob(pattern))
            if found:
                return found[0]
    raise NativeError(
        "the C library is not there: install the package (pip install .), or build it (cmake -S kernels -B build && "
        f"cmake --build build) and set {LIBRARY_VARIABLE} to the shared library"
    )


def call(what: str, function: Callable[..., int], *arguments: Any) -> None:
    """Call a function that ends in `bc_error *`.

    Raises: NativeError with the library's own message.
    """
    error = BcError()
    status = function(*arguments, byref(error))
    if status:
        text = error.message.decode("utf-8", "replace") or status_text(status)
        where = f" at byte {error.offset}" if error.offset >= 0 else ""
        raise NativeError(f"{what}: {text}{where}", STATUS.get(status, str(status)), error.offset)


def check(what: str, status: int) -> None:
    """Raise NativeError for the status of a function that reports no more than that."""
    if status:
        raise NativeError(f"{what}: {status_text(status)}", STATUS.get(status, str(status)))


def status_text(status: int) -> str:
    """The library's short text for a status."""
    return _text(library().bc_status_text(status)) or "unknown error"


def version() -> str:
    """Version of the C library."""
    return _text(library().bc_version())


def isa_names(available: bool = True) -> tuple[str, ...]:
    """Instruction sets the library was built with, slow to fast; only those this machine has, if `available`."""
    lib = library()
    indices = range(lib.bc_isa_count())
    return tuple(_text(lib.bc_isa_name(i)) for i in indices if not available or lib.bc_isa_available(i))


def require_isa(isa: str | None) -> None:
    """Refuse an instruction set, `isa` or else the environment's BC_ISA, that the library or this machine lacks.

    Raises: UsageError naming those that can be had.
    """
    name = isa or os.environ.get("BC_ISA", "")
    available = isa_names()
    if name and name not in available:
        lack = "this machine lacks it" if name in isa_names(available=False) else "unknown"
        source = "isa" if isa else "BC_ISA"
        raise UsageError(f"{source} {name!r}: {lack}; available here: {', '.join(available)}")


def measure_peak(isa: str | None, kind: str) -> float:
    """Peak of one kind of arithmetic ("binary", "f32", "weight", "u8") on this thread, 1e9 MAC/s; 0 if unknown."""
    require_isa(isa)
    result = c_double()
    name = isa.encode() if isa else None
    check(f"peak of {kind}", library().bc_measure_peak(name, PEAKS[kind], byref(result)))
    return result.value


def floats(array: Any) -> Any:
    """Pointer to the data of a C-contiguous float32 array."""
    return ctypes.cast(array.ctypes.data, _FLOATS)


def _text(raw: bytes | None) -> str:
    return raw.decode("utf-8", "replace") if raw else ""
