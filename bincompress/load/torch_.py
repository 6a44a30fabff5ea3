"""Checkpoints of PyTorch and safetensors: state dicts for a factory's network, and, with trust, whole modules."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bincompress.errors import ModelLoadError, UnsupportedOpError
from bincompress.load.factory import network_from
from bincompress.load.importer import Imported, Request
from bincompress.load.safety import blocked_globals, refusal
from bincompress.load.state_dict import find_state_dict, load_into
from bincompress.user_code import describe

_ARCHIVES = {"torchscript": "a TorchScript archive", "pt2": "a torch.export archive"}


def import_checkpoint(request: Request) -> Imported:
    """A file of `torch.save`: a state dict for the factory's network; with trust also a whole pickled module."""
    content = _read_trusted(request.path) if request.trust else _read_restricted(request.path)
    module = _find_module(content)
    if module is not None and request.factory is None:
        return Imported(module, request.input_shape)
    state = module.state_dict() if module is not None else find_state_dict(content)
    return _into_factory(request, state)


def import_safetensors(request: Request) -> Imported:
    """A .safetensors file: a state dict for the factory's network."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(request.path, device="cpu")
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ModelLoadError(f"is no intact .safetensors file: {describe(error)}") from error
    return _into_factory(request, state)


def import_torchscript(request: Request) -> Imported:
    """A TorchScript archive: with trust, its weights for the factory's network."""
    _require_trust(request, "torchscript")
    try:
        with _quiet("torch.jit"):
            state = torch.jit.load(str(request.path), map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    except Exception as error:  # torch raises many kinds on damaged archives
        raise ModelLoadError(f"is no intact TorchScript archive: {describe(error)}") from error
    return _into_factory(request, state)


def import_exported(request: Request) -> Imported:
    """A `torch.export` archive: with trust, its weights for the factory's network."""
    _require_trust(request, "pt2")
    try:
        with _quiet("torch.export"):
            state = torch.export.load(request.path).state_dict
    except Exception as error:  # torch raises many kinds, on damaged archives and on those of other versions
        raise ModelLoadError(
            f"is no torch.export archive that torch {torch.__version__} reads: {describe(error)}; export it as ONNX"
        ) from error
    return _into_factory(request, state)


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Keep torch's warnings and its own account of a failure off the terminal: ours is one line."""
    log = logging.getLogger(logger)
    disabled, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = disabled


def _require_trust(request: Request, kind: str) -> None:
    """Only the weights of program archives are read, and only with trust, because opening them can run pickles."""
    if request.trust and request.factory is None:
        raise UnsupportedOpError(
            f"is {_ARCHIVES[kind]}, whose graph is not imported: export the model as ONNX, "
            "or pass --factory for a network that takes its weights"
        )
    if not request.trust:
        raise ModelLoadError(
            f"is {_ARCHIVES[kind]}, and opening it can run code: export the model as ONNX or save a state dict for "
            "--factory; if you trust where it comes from, --trust with --factory reads its weights"
        )


def _read_restricted(path: Path) -> Any:
    try:
        with _quiet("torch.serialization"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or blocked_globals(path):
            raise refusal(path) from error
        raise ModelLoadError(f"is no intact PyTorch checkpoint: {_reason(error)}") from error
    except Exception as error:  # torch raises many kinds on damaged files
        raise ModelLoadError(f"is no intact PyTorch checkpoint: {_reason(error)}") from error


def _read_trusted(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # the file runs its own code here: anything may come out of it
        raise ModelLoadError(
            f"cannot be unpickled: {describe(error)}; is the code it was saved with importable?"
        ) from error


def _reason(error: BaseException) -> str:
    """What is wrong, without torch's paragraphs of advice."""
    text = str(error)
    if text.startswith("Weights only load failed"):
        return "it is damaged, or no checkpoint of torch.save"
    return describe(error)


def _find_module(content: Any) -> nn.Module | None:
    """The module in a trusted file, also where training code has saved it among other things."""
    if isinstance(content, nn.Module):
        return content
    if isinstance(content, Mapping):
        found = [
            content[key] for key in ("model", "net", "network", "module") if isinstance(content.get(key), nn.Module)
        ]
        return found[0] if found else None
    return None


def _into_factory(request: Request, state: Mapping[str, Tensor]) -> Imported:
    if request.factory is None:
        names = ", ".join(list(state)[:3])
        raise ModelLoadError(
            f"holds weights only ({len(state)} tensors: {names}, ...); say which network they belong to with "
            "--factory package.module:function or path/to/file.py:function, for example bincompress.zoo:resnet20"
        )
    network = network_from(request.factory)
    notes = load_into(network.module, state, request.factory)
    return Imported(network.module, request.input_shape or network.input_shape, network.normalize, notes)
