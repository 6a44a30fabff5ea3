"""How each functional call, method and `torch.nn` layer becomes leaves; one function per operation.

A rule takes the call's arguments by torch's own parameter names: tensors are the fx nodes that make them, everything
else is its value. It returns what to put in its place: leaves over given inputs, or a node to read instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from bincompress.errors import UnsupportedOpError
from bincompress.graph import Add, Shape, ShortcutA


@dataclass(frozen=True)
class Leaves:
    """A chain of leaves: the first reads `inputs`, each other one the leaf before it."""

    modules: tuple[nn.Module, ...]
    inputs: tuple[fx.Node, ...]


Result = Leaves | fx.Node
Rule = Callable[..., Result]


@dataclass(frozen=True)
class Call:
    """What a rule may ask: full shapes with the batch axis, and constants by the node that reads them."""

    shapes: dict[fx.Node, Shape]
    constants: dict[fx.Node, Tensor]
    out: Shape

    def shape(self, node: fx.Node) -> Shape:
        return self.shapes[node]

    def rank(self, node: fx.Node) -> int:
        return len(self.shapes[node])

    def constant(self, node: Any, what: str) -> nn.Parameter | None:
        """The parameter that `node` reads, None for None.

        Raises: UnsupportedOpError if it is computed.
        """
        if node is None:
            return None
        if node not in self.constants:
            raise UnsupportedOpError(f"its {what} is computed, not a parameter of the model")
        value = self.constants[node].detach()
        return nn.Parameter(value)


class Pad(nn.Module):
    """Zeros around the image, until they are folded into the convolution behind; left, right, top, bottom."""

    def __init__(self, padding: Sequence[int]) -> None:
        super().__init__()
        self.padding = tuple(padding)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, self.padding)


class Softmax(nn.Module):
    """Probabilities from logits, until it is found at the end and dropped."""

    def __init__(self, log: bool = False) -> None:
        super().__init__()
        self.log = log

    def forward(self, x: Tensor) -> Tensor:
        return x.log_softmax(1) if self.log else x.softmax(1)


FUNCTIONS: dict[str, Rule] = {}
LAYERS: dict[type[nn.Module], Rule] = {}


def function(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for functions and methods of these names."""

    def register(rule: Rule) -> Rule:
        for name in names:
            if name in FUNCTIONS:
                raise ValueError(f"function {name!r} has two rules")
            FUNCTIONS[name] = rule
        return rule

    return register


def layer(*classes: type[nn.Module]) -> Callable[[Rule], Rule]:
    """Register a rule for layers of exactly these classes; the rule takes (call, module, input)."""

    def register(rule: Rule) -> Rule:
        for cls in classes:
            if cls in LAYERS:
                raise ValueError(f"layer {cls.__name__} has two rules")
            LAYERS[cls] = rule
        return rule

    return register


def known() -> str:
    """Names of the layers and functions that can be imported."""
    return ", ".join(sorted(cls.__name__ for cls in LAYERS)) + " and the functions " + ", ".join(sorted(FUNCTIONS))


# --- activations ------------------------------------------------------------------------------------------------------


@function("relu", "relu_")
def _relu(call: Call, input: fx.Node, inplace: bool = False) -> Result:
    return Leaves((nn.ReLU(),), (input,))


@function("hardtanh", "hardtanh_")
def _hardtanh(call: Call, input: fx.Node, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Result:
    return Leaves((nn.Hardtanh(float(min_val), float(max_val)),), (input,))


@function("relu6")
def _relu6(call: Call, input: fx.Node, inplace: bool = False) -> Result:
    return _hardtanh(call, input, 0.0, 6.0)


@function("clamp", "clamp_", "clip", "clip_")
def _clamp(call: Call, input: fx.Node, min: float | None = None, max: float | None = None) -> Result:
    if min is not None and max is not None:
        return _hardtanh(call, input, min, max)
    if min == 0 and max is None:
        return _relu(call, input)
    raise UnsupportedOpError(f"it clamps to {min}..{max}; known are two bounds, or 0 and none")


@function("clamp_min", "clamp_min_")
def _clamp_min(call: Call, input: fx.Node, min: float) -> Result:
    return _clamp(call, input, min)


@function("leaky_relu", "leaky_relu_")
def _leaky_relu(call: Call, input: fx.Node, negative_slope: float = 0.01, inplace: bool = False) -> Result:
    return Leaves((nn.LeakyReLU(float(negative_slope)),), (input,))


@function("prelu")
def _prelu(call: Call, input: fx.Node, weight: Any) -> Result:
    slopes = call.constant(weight, "slope")
    assert slopes is not None
    module = nn.PReLU(slopes.numel())
    module.weight = slopes
    return Leaves((module,), (input,))


@function("softmax")
def _softmax(call: Call, input: fx.Node, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Result:
    if call.rank(input) != 2 or dim not in (None, 1, -1):
        raise UnsupportedOpError(f"softmax over axis {dim} of a tensor with {call.rank(input)} axes")
    return Leaves((Softmax(),), (input,))


@function("log_softmax")
def _log_softmax(call: Call, input: fx.Node, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Result:
    _softmax(call, input, dim)
    return Leaves((Softmax(log=True),), (input,))


@function("dropout", "dropout_")
def _dropout(call: Call, input: fx.Node, p: float = 0.5, training: bool = False, inplace: bool = False) -> Result:
    return Leaves((nn.Dropout(float(p)),), (input,)) if p > 0 else input


# --- pooling ----------------------------------------------------------------------------------------------------------


@function("max_pool2d")
def _max_pool2d(
    call: Call,
    input: fx.Node,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Result:
    if return_indices:
        raise UnsupportedOpError("it returns indices")
    # An empty list of strides is how torch spells "as the kernel".
    return Leaves((nn.MaxPool2d(kernel_size, stride or None, padding, dilation, ceil_mode=ceil_mode),), (input,))


@function("avg_pool2d")
def _avg_pool2d(
    call: Call,
    input: fx.Node,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Result:
    if divisor_override:
        raise UnsupportedOpError(f"divisor_override={divisor_override}")
    pool = nn.AvgPool2d(kernel_size, stride or None, padding, ceil_mode, count_include_pad)
    return Leaves((pool,), (input,))


@function("adaptive_avg_pool2d")
def _adaptive_avg_pool2d(call: Call, input: fx.Node, output_size: Any) -> Result:
    if _pair(output_size) == (1, 1):
        return Leaves((nn.AdaptiveAvgPool2d(1),), (input,))
    kernel = _adaptive_kernel(call, input, output_size)
    return input if kernel == (1, 1) else Leaves((nn.AvgPool2d(kernel),), (input,))


@function("adaptive_max_pool2d")
def _adaptive_max_pool2d(call: Call, input: fx.Node, output_size: Any, return_indices: bool = False) -> Result:
    if return_indices:
        raise UnsupportedOpError("it returns indices")
    kernel = _adaptive_kernel(call, input, output_size)
    return input if kernel == (1, 1) else Leaves((nn.MaxPool2d(kernel),), (input,))


def _adaptive_kernel(call: Call, input: fx.Node, output_size: Any) -> tuple[int, int]:
    """The kernel of the plain pooling that an adaptive one is for this size of image."""
    height, width = call.shape(input)[2:]
    out = _pair(output_size)
    out_height, out_width = out[0] or height, out[1] or width
    if height % out_height or width % out_width:
        raise UnsupportedOpError(f"{height} x {width} to {out_height} x {out_width}: its windows differ in size")
    return height // out_height, width // out_width


@function("mean")
def _mean(call: Call, input: fx.Node, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Result:
    axes = {axis % call.rank(input) for axis in ([dim] if isinstance(dim, int) else dim or ())}
    if call.rank(input) != 4 or axes != {2, 3}:
        raise UnsupportedOpError(f"mean over axes {sorted(axes)}; known is the mean over an image, axes 2 and 3")
    pool = nn.AdaptiveAvgPool2d(1)
    return Leaves((pool,) if keepdim else (pool, nn.Flatten(1)), (input,))


# --- shapes -----------------------------------------------------------------------------------------------------------


@function("flatten", "view", "reshape", "squeeze", "unsqueeze")
@function("contiguous", "clone", "detach", "float", "to", "type_as")
def _reshape(call: Call, input: fx.Node, *args: Any, **kwargs: Any) -> Result:
    """Anything that keeps the order of elements: it is a flattening, or it does nothing."""
    shape = call.shape(input)
    if call.out == shape:
        return input
    if len(call.out) == 2 and call.out[0] == shape[0]:
        return Leaves((nn.Flatten(1),), (input,))
    raise UnsupportedOpError(f"it makes {call.out} of {shape}; known is flattening everything but the batch axis")


@function("getitem")
def _getitem(call: Call, input: fx.Node, index: Any) -> Result:
    steps = _steps(index, call.rank(input))
    if call.rank(input) != 4 or steps is None or steps[:2] != (1, 1) or steps[2] != steps[3]:
        raise UnsupportedOpError("indexing other than every n-th pixel, x[:, :, ::n, ::n]")
    return Leaves((ShortcutA(steps[2], 0, 0),), (input,)) if steps[2] > 1 else input


@function("pad")
def _pad(call: Call, input: fx.Node, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Result:
    if mode != "constant" or value:
        raise UnsupportedOpError(f"padding mode {mode!r} with value {value}; known is padding by zeros")
    amounts = (*(int(n) for n in pad), *([0] * 6))[:6]
    if call.rank(input) != 4 or min(amounts) < 0 or any(pad[6:]):
        raise UnsupportedOpError(f"padding {tuple(pad)} of a tensor with {call.rank(input)} axes")
    chain: list[nn.Module] = []
    if any(amounts[4:]):
        chain.append(ShortcutA(1, amounts[4], amounts[5]))
    if any(amounts[:4]):
        chain.append(Pad(amounts[:4]))
    return Leaves(tuple(chain), (input,)) if chain else input


def _steps(index: Any, rank: int) -> tuple[int, ...] | None:
    """The step of each axis if the index consists of slices from end to end, else None."""
    items = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items[at : at + 1] = [slice(None)] * (rank - len(items) + 1)
    items += [slice(None)] * (rank - len(items))
    if not all(isinstance(item, slice) and item.start in (None, 0) and item.stop is None for item in items):
        return None
    return tuple(item.step or 1 for item in items)


def _pair(size: Any) -> tuple[int | None, int | None]:
    return (size, size) if size is None or isinstance(size, int) else (size[0], size[-1])


# --- sums and products ------------------------------------------------------------------------------------------------


@function("add", "add_", "iadd")
def _add(call: Call, input: Any, other: Any, *, alpha: float = 1) -> Result:
    tensors = isinstance(input, fx.Node) and isinstance(other, fx.Node)
    if not tensors or alpha != 1 or call.shapes.get(input) != call.shapes.get(other):
        raise UnsupportedOpError("it adds other things than two tensors of one shape")
    return Leaves((Add(),), (input, other))


@function("conv2d")
def _conv2d(
    call: Call,
    input: fx.Node,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Result:
    filters, offset = call.constant(weight, "weight"), call.constant(bias, "bias")
    assert filters is not None
    c_out, c_in, *kernel = filters.shape
    module = nn.Conv2d(
        c_in * groups, c_out, (kernel[0], kernel[1]), stride, padding, dilation, groups, bias=offset is not None
    )
    module.weight, module.bias = filters, offset
    return _conv_layer(call, module, input)


@function("linear")
def _linear(call: Call, input: fx.Node, weight: Any, bias: Any = None) -> Result:
    matrix, offset = call.constant(weight, "weight"), call.constant(bias, "bias")
    assert matrix is not None
    module = nn.Linear(matrix.shape[1], matrix.shape[0], bias=offset is not None)
    module.weight = matrix
    module.bias = offset  # type: ignore[assignment]
    return _linear_layer(call, module, input)


# --- layers of torch.nn -----------------------------------------------------------------------------------------------


@layer(nn.Conv2d)
def _conv_layer(call: Call, module: nn.Conv2d, input: fx.Node) -> Result:
    if module.padding_mode != "zeros":
        raise UnsupportedOpError(f"padding_mode={module.padding_mode!r}; known is 'zeros'")
    if isinstance(module.padding, str):
        total = [0, 0]
        if module.padding == "same":
            total = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        if total[0] % 2 or total[1] % 2:
            raise UnsupportedOpError("padding 'same' with an even kernel pads more on one side")
        module.padding = (total[0] // 2, total[1] // 2)
    return Leaves((module,), (input,))


@layer(nn.Linear)
def _linear_layer(call: Call, module: nn.Linear, input: fx.Node) -> Result:
    if call.rank(input) != 2:
        raise UnsupportedOpError(f"its input has {call.rank(input)} axes, expected (batch, features)")
    return Leaves((module,), (input,))


@layer(nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
def _batch_norm_layer(call: Call, module: Any, input: fx.Node) -> Result:
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


@layer(nn.PReLU, ShortcutA)
def _kept_layer(call: Call, module: nn.Module, input: fx.Node) -> Result:
    return Leaves((module,), (input,))


@layer(Add)
def _add_layer(call: Call, module: Add, a: fx.Node, b: fx.Node) -> Result:
    return _add(call, a, b)


@layer(nn.ReLU)
def _relu_layer(call: Call, module: nn.ReLU, input: fx.Node) -> Result:
    return _relu(call, input)


@layer(nn.Hardtanh, nn.ReLU6)
def _hardtanh_layer(call: Call, module: nn.Hardtanh, input: fx.Node) -> Result:
    return _hardtanh(call, input, module.min_val, module.max_val)


@layer(nn.LeakyReLU)
def _leaky_relu_layer(call: Call, module: nn.LeakyReLU, input: fx.Node) -> Result:
    return _leaky_relu(call, input, module.negative_slope)


@layer(nn.Softmax, nn.LogSoftmax)
def _softmax_layer(call: Call, module: Any, input: fx.Node) -> Result:
    rule = _log_softmax if isinstance(module, nn.LogSoftmax) else _softmax
    return rule(call, input, module.dim)


@layer(nn.Dropout, nn.Dropout2d)
def _dropout_layer(call: Call, module: Any, input: fx.Node) -> Result:
    return _dropout(call, input, module.p)


@layer(nn.MaxPool2d)
def _max_pool_layer(call: Call, m: nn.MaxPool2d, input: fx.Node) -> Result:
    return _max_pool2d(call, input, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)


@layer(nn.AvgPool2d)
def _avg_pool_layer(call: Call, m: nn.AvgPool2d, input: fx.Node) -> Result:
    return _avg_pool2d(
        call, input, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override
    )


@layer(nn.AdaptiveAvgPool2d)
def _adaptive_avg_pool_layer(call: Call, module: nn.AdaptiveAvgPool2d, input: fx.Node) -> Result:
    return _adaptive_avg_pool2d(call, input, module.output_size)


@layer(nn.AdaptiveMaxPool2d)
def _adaptive_max_pool_layer(call: Call, module: nn.AdaptiveMaxPool2d, input: fx.Node) -> Result:
    return _adaptive_max_pool2d(call, input, module.output_size, module.return_indices)


@layer(nn.ZeroPad2d, nn.ConstantPad2d)
def _zero_pad_layer(call: Call, module: Any, input: fx.Node) -> Result:
    return _pad(call, input, module.padding, "constant", module.value)


@layer(nn.Flatten, nn.Identity)
def _flatten_layer(call: Call, module: nn.Module, input: fx.Node) -> Result:
    return _reshape(call, input)
