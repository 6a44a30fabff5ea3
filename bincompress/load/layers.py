"""Layers of `torch.nn`, one rule for each; most do what the function of the same name does."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from bincompress.errors import UnsupportedOpError
from bincompress.graph import Add, ShortcutA
from bincompress.load import functions as f
from bincompress.load.rules import Call, Leaves, Result, Rule, registrar

LAYERS: dict[type[nn.Module], Rule] = {}
_layer = registrar(LAYERS)


@_layer(nn.Conv2d)
def _conv(call: Call, module: nn.Conv2d, input: fx.Node) -> Result:
    return f.conv_leaf(module, input)


@_layer(nn.Linear)
def _linear(call: Call, module: nn.Linear, input: fx.Node) -> Result:
    return f.linear_leaf(call, module, input)


@_layer(nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
def _batch_norm(call: Call, module: Any, input: fx.Node) -> Result:
    if not module.track_running_stats:
        raise UnsupportedOpError("track_running_stats=False: it has no statistics to run with")
    if call.rank(input) not in (2, 4):
        raise UnsupportedOpError(f"its input has {call.rank(input)} axes, expected 2 or 4")
    cls = nn.BatchNorm2d if call.rank(input) == 4 else nn.BatchNorm1d
    if type(module) is not cls:
        fresh = cls(module.num_features, module.eps, module.momentum, module.affine)
        fresh.load_state_dict(module.state_dict())
        module = fresh
    return Leaves((module,), (input,))


@_layer(nn.PReLU, ShortcutA)
def _kept(call: Call, module: nn.Module, input: fx.Node) -> Result:
    return Leaves((module,), (input,))


@_layer(Add)
def _add(call: Call, module: Add, a: fx.Node, b: fx.Node) -> Result:
    return f.add(call, a, b)


@_layer(nn.ReLU)
def _relu(call: Call, module: nn.ReLU, input: fx.Node) -> Result:
    return f.relu(call, input)


@_layer(nn.Hardtanh, nn.ReLU6)
def _hardtanh(call: Call, module: nn.Hardtanh, input: fx.Node) -> Result:
    return f.hardtanh(call, input, module.min_val, module.max_val)


@_layer(nn.LeakyReLU)
def _leaky_relu(call: Call, module: nn.LeakyReLU, input: fx.Node) -> Result:
    return f.leaky_relu(call, input, module.negative_slope)


@_layer(nn.Softmax, nn.LogSoftmax)
def _softmax(call: Call, module: Any, input: fx.Node) -> Result:
    rule = f.log_softmax if isinstance(module, nn.LogSoftmax) else f.softmax
    return rule(call, input, module.dim)


@_layer(nn.Dropout, nn.Dropout2d)
def _dropout(call: Call, module: Any, input: fx.Node) -> Result:
    return f.dropout(call, input, module.p)


@_layer(nn.MaxPool2d)
def _max_pool(call: Call, m: nn.MaxPool2d, input: fx.Node) -> Result:
    return f.max_pool2d(call, input, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)


@_layer(nn.AvgPool2d)
def _avg_pool(call: Call, m: nn.AvgPool2d, input: fx.Node) -> Result:
    return f.avg_pool2d(
        call, input, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override
    )


@_layer(nn.AdaptiveAvgPool2d)
def _adaptive_avg_pool(call: Call, module: nn.AdaptiveAvgPool2d, input: fx.Node) -> Result:
    return f.adaptive_avg_pool2d(call, input, module.output_size)


@_layer(nn.AdaptiveMaxPool2d)
def _adaptive_max_pool(call: Call, module: nn.AdaptiveMaxPool2d, input: fx.Node) -> Result:
    return f.adaptive_max_pool2d(call, input, module.output_size, module.return_indices)


@_layer(nn.ZeroPad2d, nn.ConstantPad2d)
def _zero_pad(call: Call, module: Any, input: fx.Node) -> Result:
    return f.pad(call, input, module.padding, "constant", module.value)


@_layer(nn.Flatten, nn.Identity)
def _flatten(call: Call, module: nn.Module, input: fx.Node) -> Result:
    return f.reshape(call, input)
