"""The standard layers of `bench --kernels`, each as a one-layer Program and by its names in the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bincompress.program import BINARY_OPS, FLOAT_OPS, U8_OPS, DType, Node, Program, Step, Value

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Layer:
    """One row: `size` pixels square (0: dense) of `channels`, to `filters` (0: as many), output bits or float.

    `drop_in`: a binary layer from float NHWC to float, the sign of its input included.
    """

    op: str
    size: int
    channels: int
    kernel: int = 3
    output: Literal["bits", "float"] = "float"
    filters: int = 0
    stride: int = 1
    groups: int = 1
    batch: int = 1
    drop_in: bool = False

    @property
    def out_channels(self) -> int:
        """Number of filters."""
        return self.filters or self.channels

    @property
    def shape(self) -> str:
        """As users write it: of the input, and what is not usual about the filters."""
        if not self.size:
            return f"{self.channels}x{self.out_channels}"
        filters = f"-{self.filters}" if self.filters else ""
        return f"{self.size}x{self.size}x{self.channels}{filters}" + (f"/{self.stride}" if self.stride > 1 else "")

    @property
    def kernel_name(self) -> str:
        """Its window, and whether it is depthwise."""
        window = f"{self.kernel}x{self.kernel}" if self.size else "dense"
        return f"{window} depthwise" if self.groups > 1 else window

    @property
    def input(self) -> str:
        """What it reads: float, bits or u8."""
        if self.op in BINARY_OPS and not self.drop_in:
            return "bits"
        return "u8" if self.op in U8_OPS else "float"

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(C_out, kernel, kernel, C_in / groups)."""
        return self.out_channels, self.kernel, self.kernel, self.channels // self.groups


IMAGES = ((56, 64), (28, 128), (14, 256), (7, 512))  # the 3x3 layers of a ResNet-18
_BINARY = [
    *(Layer("binary_conv2d", size, channels, output="bits") for size, channels in IMAGES),
    *(Layer("binary_conv2d", size, channels) for size, channels in IMAGES),
    *(Layer("binary_conv2d", size, channels, drop_in=True) for size, channels in IMAGES),
    Layer("binary_conv2d", 28, 128, kernel=1, output="bits"),
    Layer("binary_conv2d", 14, 256, kernel=1, output="bits"),
    Layer("binary_conv2d", 32, 16, output="bits"),  # few channels: those of a CIFAR ResNet
    Layer("binary_conv2d", 16, 32, output="bits"),
    Layer("binary_conv2d", 32, 16),
    Layer("binary_conv2d", 16, 32),
    Layer("binary_conv2d", 7, 512, output="bits", batch=8),
    *(Layer("binary_dense", 0, 4096, 1, output, batch=n) for n in (1, 64) for output in ("bits", "float")),
]
_WEIGHT_ONLY = [
    *(Layer(op, size, channels) for op in ("weight_conv2d", "i8_conv2d") for size, channels in IMAGES),
    *(Layer(op, 0, 4096, 1, batch=n) for op in ("weight_dense", "i8_dense") for n in (1, 64)),
]
_FIRST_AND_LAST = [
    Layer("conv2d", 224, 3, kernel=7, filters=64, stride=2),
    Layer("conv2d", 32, 3, filters=16),
    Layer("conv2d", 28, 1, kernel=5, filters=6),
    Layer("conv2d", 56, 64, kernel=1, filters=128, stride=2),
    Layer("conv2d", 28, 128, kernel=1, filters=256, stride=2),
    *(Layer("conv2d", size, channels) for size, channels in IMAGES),
    Layer("conv2d", 56, 64, groups=64),
    Layer("conv2d", 14, 512, groups=512),
    Layer("dense", 0, 512, 1, filters=1000),
    Layer("dense", 0, 4096, 1),
    Layer("u8_conv2d", 32, 3, filters=128),
    Layer("u8_dense", 0, 784, 1, filters=4096),
]
LAYERS = (*_BINARY, *_WEIGHT_ONLY, *_FIRST_AND_LAST)


def layer_program(layer: Layer) -> Program:
    """The layer as a program, its last node.

    One that reads bits stands behind another of its kind, as in a network: a sign of floats right in front of it would
    leave it a cache full of floats.
    """
    rng = np.random.default_rng(0)
    high = max(layer.size, 1)
    values = [Value("x", "u8" if layer.op in U8_OPS else "f32", (layer.channels, high, high))]
    nodes: list[Node] = []
    if layer.op in BINARY_OPS:
        values.append(Value("signs", "bits", values[0].shape))
        nodes.append(Node("elementwise", "signs", (0,), (1,), {}, None, (Step("sign", 1),)))
    if layer.input == "bits":
        nodes.append(_node(replace(layer, output="bits"), values, rng))
    nodes.append(_node(layer, values, rng))
    return Program(tuple(values), tuple(nodes), 0, len(values) - 1)


def _node(layer: Layer, values: list[Value], rng: np.random.Generator) -> Node:
    """The layer as a node that reads the last value and adds its own."""
    high, pad, main = max(layer.size, 1), layer.kernel // 2, len(values) - 1
    attrs: dict[str, Any] = {
        "kernel": (layer.kernel,) * 2,
        "stride": (layer.stride,) * 2,
        "padding": (pad,) * 4,
        "dilation": (1, 1),
        "groups": layer.groups,
        "pad_value": 0,
    }
    if layer.op in U8_OPS:
        attrs["offset"] = 255
    out = main + 1
    dtype: DType = "bits" if layer.output == "bits" else "f32"
    small = (high + 2 * pad - layer.kernel) // layer.stride + 1
    name = f"{layer.op}{main}"
    values.append(Value(f"y{main}", dtype, (layer.out_channels, small, small)))
    return Node(layer.op, name, (main,), (out,), attrs, _weight(layer, rng), tuple(_epilogue(layer, out)))


def layer_input(layer: Layer) -> Array:
    """`batch` samples (N, C, H, W) for it: raw pixels or floats."""
    rng = np.random.default_rng(1)
    shape = (layer.batch, layer.channels, max(layer.size, 1), max(layer.size, 1))
    if layer.op in U8_OPS:
        return rng.integers(0, 256, shape).astype(np.uint8)
    return rng.normal(size=shape).astype(np.float32)


def _weight(layer: Layer, rng: np.random.Generator) -> Array:
    size = layer.weight_shape
    if layer.op in FLOAT_OPS:
        weight: Array = rng.normal(size=size) / np.sqrt(np.prod(size[1:]))
        return weight.astype(np.float32)
    return np.where(rng.random(size) < 0.5, -1, 1).astype(np.int8)


def _epilogue(layer: Layer, out: int) -> Iterator[Step]:
    filters = layer.out_channels
    if layer.output == "bits":
        yield Step("threshold", out, {"tau": np.zeros(filters, np.int32)})
        return
    ones = np.ones(filters, np.float32)
    yield Step("affine", -1, {"scale": ones, "bias": 0 * ones})
    yield Step("relu")
    yield Step("store", out)
