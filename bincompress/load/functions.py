"""Functional calls and methods, one rule for each operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx, nn

from bincompress.errors import UnsupportedOpError
from bincompress.graph import Add, ShortcutA
from bincompress.load.rules import Call, Leaves, Pad, Result, Rule, Softmax, registrar

FUNCTIONS: dict[str, Rule] = {}
_function = registrar(FUNCTIONS)

# --- activations ------------------------------------------------------------------------------------------------------


@_function("relu", "relu_")
def relu(call: Call, input: fx.Node, inplace: bool = False) -> Result:
    return Leaves((nn.ReLU(),), (input,))


@_function("hardtanh", "hardtanh_")
def hardtanh(call: Call, input: fx.Node, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Result:
    return Leaves((nn.Hardtanh(float(min_val), float(max_val)),), (input,))


@_function("relu6")
def _relu6(call: Call, input: fx.Node, inplace: bool = False) -> Result:
    return hardtanh(call, input, 0.0, 6.0)


@_function("clamp", "clamp_", "clip", "clip_")
def _clamp(call: Call, input: fx.Node, min: float | None = None, max: float | None = None) -> Result:
    if min is not None and max is not None:
        return hardtanh(call, input, min, max)
    if min == 0 and max is None:
        return relu(call, input)
    raise UnsupportedOpError(f"it clamps to {min}..{max}; known are two bounds, or 0 and none")


@_function("clamp_min", "clamp_min_")
def _clamp_min(call: Call, input: fx.Node, min: float) -> Result:
    return _clamp(call, input, min)


@_function("leaky_relu", "leaky_relu_")
def leaky_relu(call: Call, input: fx.Node, negative_slope: float = 0.01, inplace: bool = False) -> Result:
    return Leaves((nn.LeakyReLU(float(negative_slope)),), (input,))


@_function("prelu")
def _prelu(call: Call, input: fx.Node, weight: Any) -> Result:
    slopes = call.constant(weight, "slope")
    assert slopes is not None
    module = nn.PReLU(slopes.numel())
    module.weight = slopes
    return Leaves((module,), (input,))


@_function("softmax")
def softmax(call: Call, input: fx.Node, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Result:
    if call.rank(input) != 2 or dim not in (None, 1, -1):
        raise UnsupportedOpError(f"softmax over axis {dim} of a tensor with {call.rank(input)} axes")
    return Leaves((Softmax(),), (input,))


@_function("log_softmax")
def log_softmax(call: Call, input: fx.Node, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Result:
    softmax(call, input, dim)
    return Leaves((Softmax(log=True),), (input,))


@_function("dropout", "dropout_")
def dropout(call: Call, input: fx.Node, p: float = 0.5, training: bool = False, inplace: bool = False) -> Result:
    return Leaves((nn.Dropout(float(p)),), (input,)) if p > 0 else input


# --- pooling ----------------------------------------------------------------------------------------------------------


@_function("max_pool2d")
def max_pool2d(
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


@_function("avg_pool2d")
def avg_pool2d(
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


@_function("adaptive_avg_pool2d")
def adaptive_avg_pool2d(call: Call, input: fx.Node, output_size: Any) -> Result:
    if _pair(output_size) == (1, 1):
        return Leaves((nn.AdaptiveAvgPool2d(1),), (input,))
    kernel = _adaptive_kernel(call, input, output_size)
    return input if kernel == (1, 1) else Leaves((nn.AvgPool2d(kernel),), (input,))


@_function("adaptive_max_pool2d")
def adaptive_max_pool2d(call: Call, input: fx.Node, output_size: Any, return_indices: bool = False) -> Result:
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


@_function("mean")
def _mean(call: Call, input: fx.Node, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Result:
    axes = {axis % call.rank(input) for axis in ([dim] if isinstance(dim, int) else dim or ())}
    if call.rank(input) != 4 or axes != {2, 3}:
        raise UnsupportedOpError(f"mean over axes {sorted(axes)}; known is the mean over an image, axes 2 and 3")
    pool = nn.AdaptiveAvgPool2d(1)
    return Leaves((pool,) if keepdim else (pool, nn.Flatten(1)), (input,))


# --- shapes -----------------------------------------------------------------------------------------------------------


@_function("flatten", "view", "reshape", "squeeze", "unsqueeze")
@_function("contiguous", "clone", "detach", "float", "to", "type_as")
def reshape(call: Call, input: fx.Node, *args: Any, **kwargs: Any) -> Result:
    """Anything that keeps the order of elements: it is a flattening, or it does nothing."""
    shape = call.shape(input)
    if call.out == shape:
        return input
    if len(call.out) == 2 and call.out[0] == shape[0]:
        return Leaves((nn.Flatten(1),), (input,))
    raise UnsupportedOpError(f"it makes {call.out} of {shape}; known is flattening everything but the batch axis")


@_function("getitem")
def _getitem(call: Call, input: fx.Node, index: Any) -> Result:
    steps = _steps(index, call.rank(input))
    if call.rank(input) != 4 or steps is None or steps[:2] != (1, 1) or steps[2] != steps[3]:
        raise UnsupportedOpError("indexing other than every n-th pixel, x[:, :, ::n, ::n]")
    return Leaves((ShortcutA(steps[2], 0, 0),), (input,)) if steps[2] > 1 else input


@_function("pad")
def pad(call: Call, input: fx.Node, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Result:
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


@_function("add", "add_", "iadd")
def add(call: Call, input: Any, other: Any, *, alpha: float = 1) -> Result:
    tensors = isinstance(input, fx.Node) and isinstance(other, fx.Node)
    if not tensors or alpha != 1 or call.shapes.get(input) != call.shapes.get(other):
        raise UnsupportedOpError("it adds other things than two tensors of one shape")
    return Leaves((Add(),), (input, other))


@_function("conv2d")
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
    return conv_leaf(module, input)


@_function("linear")
def _linear(call: Call, input: fx.Node, weight: Any, bias: Any = None) -> Result:
    matrix, offset = call.constant(weight, "weight"), call.constant(bias, "bias")
    assert matrix is not None
    module = nn.Linear(matrix.shape[1], matrix.shape[0], bias=offset is not None)
    module.weight = matrix
    module.bias = offset  # type: ignore[assignment]
    return linear_leaf(call, module, input)


def conv_leaf(module: nn.Conv2d, input: fx.Node) -> Result:
    """A convolution with its padding as numbers.

    Raises: UnsupportedOpError if it pads by other than equal amounts of zeros on opposite sides.
    """
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


def linear_leaf(call: Call, module: nn.Linear, input: fx.Node) -> Result:
    """A product with a matrix, of features only.

    Raises: UnsupportedOpError if the input has other axes.
    """
    if call.rank(input) != 2:
        raise UnsupportedOpError(f"its input has {call.rank(input)} axes, expected (batch, features)")
    return Leaves((module,), (input,))
