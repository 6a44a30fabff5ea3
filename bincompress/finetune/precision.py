"""Products of training in bfloat16: twice as fast where the processor multiplies such numbers, and not what is shipped.

A layer's factors and results are rounded to 8 bits, the sums within are float32. Only layers that train are touched:
BatchNorm and its statistics, losses and optimisers are float32, and so is every network that is evaluated or exported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bincompress.binarize.modules import BinaryWeightLayer
from bincompress.errors import UsageError

_LAYERS = (nn.Conv2d, nn.Linear, BinaryWeightLayer)


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """What `train.precision` means on this device; `auto` is bfloat16 where that is fast.

    Raises: UsageError for bfloat16 where it would be slower than float32.
    """
    if wanted == "float32":
        return torch.float32
    if _is_fast(device):
        return torch.bfloat16
    if wanted == "auto":
        return torch.float32
    raise UsageError("train.precision: bfloat16, but this processor has no instructions for it; use auto or float32")


def _is_fast(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16"))


def rounded(call: Callable[..., Any], precision: torch.dtype, *args: Tensor) -> Any:
    """call(*args), its products in this precision."""
    if precision == torch.float32:
        return call(*args)
    with torch.autocast(args[0].device.type, dtype=precision):
        return call(*args)


@contextmanager
def rounded_products(network: nn.Module, precision: torch.dtype) -> Iterator[None]:
    """Inside, layers that train multiply in this precision; they take and give float32 all the same."""
    layers = [layer for layer in network.modules() if isinstance(layer, _LAYERS)]
    if precision != torch.float32:
        for layer in layers:
            setattr(layer, "forward", _rounding(layer, precision))  # noqa: B010
    try:
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _rounding(layer: nn.Module, precision: torch.dtype) -> Callable[[Tensor], Tensor]:
    twin = layer.forward

    def forward(x: Tensor) -> Tensor:
        if not layer.training:
            y: Tensor = twin(x)
            return y
        y = rounded(twin, precision, x)
        return y.float()

    return forward
