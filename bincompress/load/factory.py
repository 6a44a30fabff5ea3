"""The network that the user names with --factory, and what its attributes say about its input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bincompress.errors import ModelLoadError
from bincompress.program import Normalize
from bincompress.user_code import describe, import_function


@dataclass(frozen=True)
class Network:
    """A module with what is known about its input."""

    module: nn.Module
    input_shape: tuple[int, int, int] | None
    normalize: Normalize | None


def network_from(spec: str) -> Network:
    """Call `package.module:function` or `path/to/file.py:function` without arguments.

    The function may carry attributes `input_shape` (C, H, W) and `normalize` (a `Normalize`, or (mean, std)).
    Raises: ModelLoadError if it is not there, fails, or returns no module.
    """
    return build(import_function(spec, ModelLoadError), spec)


def build(factory: Callable[..., Any], name: str) -> Network:
    """A network with weights drawn from a fixed seed, without touching torch's own random state."""
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = factory()
    except Exception as error:  # user code: anything may come out of it
        raise ModelLoadError(f"factory {name}: calling it without arguments failed: {describe(error)}") from error
    if not isinstance(module, nn.Module):
        raise ModelLoadError(f"factory {name}: returned a {type(module).__name__}, expected a torch.nn.Module")
    return Network(module, _input_shape(factory, name), _normalize(factory, name))


def _input_shape(factory: Any, name: str) -> tuple[int, int, int] | None:
    shape = getattr(factory, "input_shape", None)
    if shape is None:
        return None
    if not isinstance(shape, tuple | list) or len(shape) != 3 or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ModelLoadError(f"factory {name}: its input_shape is {shape!r}, expected (channels, height, width)")
    return shape[0], shape[1], shape[2]


def _normalize(factory: Any, name: str) -> Normalize | None:
    value = getattr(factory, "normalize", None)
    if value is None or isinstance(value, Normalize):
        return value
    try:
        mean, std = value
        return Normalize(tuple(float(x) for x in mean), tuple(float(x) for x in std))
    except (TypeError, ValueError) as error:
        raise ModelLoadError(f"factory {name}: its normalize is {value!r}, expected (mean, std) per channel") from error
