"""Where training runs, and the global settings of torch that it runs under."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bincompress.errors import UsageError


def choose_device(wanted: str) -> torch.device:
    """The device that `train.device` names; `auto` is the GPU if there is one.

    Raises: UsageError for a GPU that is not there.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("train.device: cuda, but torch sees no CUDA device; use auto or cpu")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())  # with its index, as tensors there tell it


@contextmanager
def settings(device: torch.device, threads: int | None) -> Iterator[None]:
    """Deterministic kernels, full float32 products and the recipe's number of threads; all as before afterwards.

    TF32 would round scaling factors and the sums of float layers, and BatchNorm statistics would be of that network and
    not of the one that is exported. On a GPU a few kernels have no deterministic form; there torch warns and goes on.
    """
    cuda = device.type == "cuda"
    if cuda:  # read when cuBLAS starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.use_deterministic_algorithms(True, warn_only=cuda)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32


def device_name(device: torch.device) -> str:
    """What results say of the device: a GPU's name, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
