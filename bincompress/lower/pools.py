"""Attributes of pooling nodes from torch's pooling modules."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from bincompress.errors import UnsupportedOpError

Shape = tuple[int, int, int]
Pair = tuple[int, int]


def square(padding: Pair) -> tuple[int, int, int, int]:
    """(vertical, horizontal) padding as (top, left, bottom, right)."""
    return padding[0], padding[1], padding[0], padding[1]


def max_attrs(node: fx.Node, module: nn.MaxPool2d, shape: Shape) -> dict[str, Any]:
    """Attributes of a max-pool over an image of `shape`; ceil mode becomes padding, which is neutral."""
    if _pair(module.dilation) != (1, 1):
        raise UnsupportedOpError(f"{node.target}: MaxPool2d with dilation {module.dilation}; supported: 1")
    return _window(node, module, shape)


def average_attrs(node: fx.Node, module: nn.Module, shape: Shape) -> dict[str, Any]:
    """Attributes of an average pool over an image of `shape`."""
    if isinstance(module, nn.AdaptiveAvgPool2d):
        asked: Any = module.output_size
        asked = asked if isinstance(asked, tuple) else (asked, asked)
        wanted = tuple(size if out is None else int(out) for size, out in zip(shape[1:], asked, strict=True))
        if any(size % out for size, out in zip(shape[1:], wanted, strict=True)):
            raise UnsupportedOpError(f"{node.target}: AdaptiveAvgPool2d{wanted} does not divide {shape[1:]}")
        kernel = (shape[1] // wanted[0], shape[2] // wanted[1])
        return {"kernel": kernel, "stride": kernel, "padding": (0, 0, 0, 0), "count_include_pad": 1}
    assert isinstance(module, nn.AvgPool2d)
    if module.divisor_override:
        raise UnsupportedOpError(f"{node.target}: AvgPool2d with divisor_override; leave it out")
    if module.ceil_mode and module.count_include_pad and _pair(module.padding) != (0, 0):
        raise UnsupportedOpError(f"{node.target}: AvgPool2d with ceil_mode, padding and count_include_pad together")
    attrs = _window(node, module, shape)
    # torch never counts what ceil mode adds beyond the padding
    return attrs | {"count_include_pad": int(module.count_include_pad and not module.ceil_mode)}


def _window(node: fx.Node, module: nn.MaxPool2d | nn.AvgPool2d, shape: Shape) -> dict[str, Any]:
    kernel, padding = _pair(module.kernel_size), _pair(module.padding)
    stride = _pair(module.stride)
    bottom_right = list(padding)
    if module.ceil_mode:
        for axis, size in enumerate(shape[1:]):
            span = size + 2 * padding[axis] - kernel[axis]
            extra = -span % stride[axis]
            # torch drops a last window that starts beyond the image and its leading padding
            if (span + extra) < size + padding[axis]:
                bottom_right[axis] += extra
    return {"kernel": kernel, "stride": stride, "padding": (*padding, *bottom_right)}


def _pair(value: Any) -> Pair:
    if isinstance(value, int):
        return value, value
    return int(value[0]), int(value[1])
