"""From whatever a checkpoint holds to weights in a network: wrappers, prefixes, a strict match of names and shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bincompress.errors import ModelLoadError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "params", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
_COUNTER = "num_batches_tracked"  # a counter that old files lack and inference never reads


def find_state_dict(content: Any) -> dict[str, Tensor]:
    """The mapping of names to tensors inside a loaded checkpoint; optimizer state and numbers beside it are ignored.

    Raises: ModelLoadError if there is none.
    """
    for _ in range(4):  # wrappers nest, but not for ever
        if not isinstance(content, Mapping):
            break
        tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            if tensors:
                return tensors
            keys = ", ".join(str(key) for key in list(content)[:5])
            raise ModelLoadError(f"holds no tensors (its keys: {keys or 'none'}); expected a state dict")
        content = inner
    raise ModelLoadError(f"holds a {type(content).__name__}, expected a state dict: names and tensors")


def load_into(module: nn.Module, state: Mapping[str, Tensor], factory: str) -> tuple[str, ...]:
    """Copy `state` into `module`, whose names it must match; returns notes.

    Raises: ModelLoadError with the first missing, unexpected or misshapen names.
    """
    wanted = module.state_dict()
    state, notes = _without_prefixes(dict(state), wanted)
    missing = [key for key in wanted if key not in state and not key.endswith(_COUNTER)]
    unexpected = [key for key in state if key not in wanted and not key.endswith(_COUNTER)]
    if missing or unexpected:
        parts = [f"{len(missing)} missing ({_few(missing)})" if missing else ""]
        parts.append(f"{len(unexpected)} unexpected ({_few(unexpected)})" if unexpected else "")
        raise ModelLoadError(
            f"its weights do not fit {factory}: {'; '.join(part for part in parts if part)}; is it the right factory?"
        )
    wrong = [key for key in wanted if key in state and wanted[key].shape != state[key].shape]
    if wrong:
        what = ", ".join(f"{key} {tuple(state[key].shape)} for {tuple(wanted[key].shape)}" for key in wrong[:3])
        raise ModelLoadError(f"{len(wrong)} of its weights have another shape than {factory} wants: {what}")
    for key, value in state.items():
        if key in wanted:
            _check_values(key, value)
    if any(value.dtype in (torch.float16, torch.bfloat16) for value in state.values()):
        notes.append("half-precision weights converted to float32")
    fitting = {key: state.get(key, torch.zeros_like(wanted[key])) for key in wanted}
    module.load_state_dict(fitting, strict=True)
    return tuple(notes)


def check_weights(module: nn.Module) -> None:
    """Refuse a network whose weights or statistics hold NaN or infinity.

    Raises: ModelLoadError naming the first tensor that does.
    """
    for key, value in module.state_dict().items():
        _check_values(key, value)


def _check_values(key: str, value: Tensor) -> None:
    if value.is_quantized or value.is_complex() or value.layout != torch.strided:
        raise ModelLoadError(f"weight {key} is a {value.dtype} {value.layout} tensor, expected plain floats")
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise ModelLoadError(f"weight {key} holds NaN or infinity; the training it comes from has diverged")


def _without_prefixes(state: dict[str, Tensor], wanted: Iterable[str]) -> tuple[dict[str, Tensor], list[str]]:
    """Take off the prefixes that wrappers such as DataParallel put before every name, until names match."""
    names, notes = set(wanted), []
    state.pop("n_averaged", None)  # the counter of torch.optim.swa_utils.AveragedModel
    while not names & set(state):
        prefix = next((p for p in _PREFIXES if state and all(key.startswith(p) for key in state)), None)
        if prefix is None:
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        notes.append(f"prefix {prefix!r} taken off the weights' names")
    return state, notes


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
