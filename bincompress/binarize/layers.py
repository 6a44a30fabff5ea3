"""One float layer and its row of the plan become one layer with 1-bit weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bincompress.binarize.modules import BinaryConv2d, BinaryLinear, BinaryWeightLayer
from bincompress.errors import UnsupportedOpError
from bincompress.methods import Method
from bincompress.plan import LayerPlan


def binary_layer(module: nn.Module, row: LayerPlan, method: Method) -> BinaryWeightLayer:
    """A layer with 1-bit weights whose latents are the float weights as the method prepares them.

    Raises: UnsupportedOpError if the layer has no 1-bit form.
    """
    assert row.weight is not None
    weight = row.weight
    options: dict[str, Any] = {
        "bias": module.bias is not None,
        "stochastic": weight.stochastic,
        "clip": weight.clip,
        "center": weight.center,
        "transform": weight.transform,
        "granularity": weight.scale.granularity,
        "kind": weight.scale.kind,
        # Latents that nothing clips must not freeze once they have left the estimator's window.
        "estimator": weight.estimator or ("identity" if weight.clip is None else "ste"),
        "gradient": weight.gradient,
        "learned_input_scale": row.activation is not None and row.activation.scale.kind == "learned",
    }
    layer: BinaryWeightLayer
    if isinstance(module, nn.Linear):
        layer = BinaryLinear(module.in_features, module.out_features, **options)
    elif isinstance(module, nn.Conv2d):
        if module.padding_mode != "zeros":
            raise UnsupportedOpError(
                f"{row.name}: padding_mode {module.padding_mode!r} has no 1-bit form; known: zeros (skip the layer)"
            )
        layer = BinaryConv2d(
            module.in_channels,
            module.out_channels,
            (module.kernel_size[0], module.kernel_size[1]),
            stride=(module.stride[0], module.stride[1]),
            padding=_padding(module, row.name),
            dilation=(module.dilation[0], module.dilation[1]),
            groups=module.groups,
            pad_value=row.padding,
            **options,
        )
    else:
        raise UnsupportedOpError(f"{row.name}: {type(module).__name__} has no 1-bit form; known: Conv2d, Linear")
    with torch.no_grad():
        layer.weight.copy_(method.latents(module.weight.detach(), weight.model_dump()))
        if layer.bias is not None and module.bias is not None:
            layer.bias.copy_(module.bias.detach())
    layer.project_latents()
    layer.reset_alpha()
    return layer


def _padding(module: nn.Conv2d, name: str) -> tuple[int, int]:
    """Rows and columns of padding on each side, also where the layer says "same" or "valid"."""
    if not isinstance(module.padding, str):
        return int(module.padding[0]), int(module.padding[1])
    if module.padding == "valid":
        return 0, 0
    total = [dilation * (kernel - 1) for dilation, kernel in zip(module.dilation, module.kernel_size, strict=True)]
    if any(size % 2 for size in total):
        raise UnsupportedOpError(f'{name}: padding "same" of an even kernel is lopsided; skip the layer in a rule')
    return total[0] // 2, total[1] // 2
