"""The Program: exactly the list of operations that the C library executes, shared by lower, pack and runtime.

A Program is a list of *values* (tensors) and a list of *nodes* in execution order. A node reads its main input, reduces
it (convolution, dense product, pooling, or nothing) and sends every output pixel through its *steps*, a short chain of
per-channel operations that ends in one or more `store`, `sign` or `threshold` writes. That is how epilogues are fused.

Values, per sample, are (C, H, W); in memory NHWC. `dtype`:
    f32    float32
    u8     raw pixel bytes; only the program's input may be u8
    bits   one bit per element, bit 1 = -1, channels innermost, least significant bit first, ceil(C / 64) words a pixel

Ops (main input -> accumulator `acc` of each output element):
    conv2d          f32 x f32 weights                     float32 acc
    dense           conv2d whose kernel is the whole image
    weight_conv2d   f32 x 1-bit weights                   float32 acc;  weight_dense likewise
    binary_conv2d   bits x 1-bit weights                  int32 acc;    binary_dense likewise
    i8_conv2d       f32, rounded to 8 bits per sample, x 1-bit weights: float32 acc, see below;  i8_dense likewise
    u8_conv2d       (2 u - offset) x 1-bit weights        int32 acc;    u8_dense likewise; outside taps add 0
    max_pool        f32, or bits: AND of bits is the maximum; channels set in attribute `or_mask` take OR, the minimum,
                    which is how conv-pool-BN-sign with gamma < 0 stays on bits; outside taps are neutral
    avg_pool        f32, divided by kernel area if count_include_pad else by the number of taps inside
    subsample_pad   y[h, w, before + c] = x[h * stride, w * stride, c], else 0 (the parameter-free ResNet shortcut)
    act_scale       XNOR-Net's map: (C, H, W) f32 -> (1, H', W') f32, box filter of mean_c |x|, outside taps are 0
    elementwise     f32 (or u8, read as float) acc = x
    flatten         f32 or bits (C, H, W) -> (C*H*W, 1, 1) in torch order (c, h, w)
    constant        f32 or u8, not looked at -> (1, H', W') f32, the same for every sample

Float sums with 1-bit weights are added in groups of four channels, zeros after the last channel of a tap (of a dense
op: of the flattened image): acc = acc + ((x0 w0 + x1 w1) + (x2 w2 + x3 w3)), each addition rounded.
The i8 ops round their input x to integers, each sample on its own scale: m = the largest |x|, but at least 2**-96;
q = rint(clip(x * (127 / m), -127, 127)), half to even; acc = (sum of q w, exact) * (m / 127).

Steps on an int32 acc: either exactly one `threshold`, or it becomes float32 (exact, |acc| < 2**24) and float steps
follow.
Float steps, each rounded to float32 on its own (no fused multiply-add), in order:
    affine      y = y * scale[c] + bias[c]            two roundings
    relu        y = y > 0 ? y : 0
    hardtanh    y = min(max(y, -1), 1)
    prelu       y = y >= 0 ? y : y * slope[c]
    add         y = y + value                          `value`: f32, same shape
    mul_map     y = y * value[h, w]                    `value`: f32 (1, H', W')
    store       value = y                              `value`: f32; on an acc of bits (max_pool, flatten) it is bits,
                                                       copied, and such a node has this one step only
    sign        value = bit(y < 0)                     `value`: bits; sgn(0) = sgn(-0.0) = +1
    threshold   value = bit(acc < tau[c])              `value`: bits; int32 acc only
A tensor parameter of a step has one entry per channel. Steps after a `store` go on from the stored y.

Packed weights: `weight` is int8 of +-1 here, (C_out, kh, kw, C_in / groups), K = C_in / groups * kh * kw per filter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

DType = Literal["f32", "u8", "bits"]
Activations = Literal["float", "int8"]  # what products of floats with 1-bit weights compute with

BINARY_OPS = ("binary_conv2d", "binary_dense")
WEIGHT_OPS = ("weight_conv2d", "weight_dense")
I8_OPS = ("i8_conv2d", "i8_dense")
U8_OPS = ("u8_conv2d", "u8_dense")
FLOAT_OPS = ("conv2d", "dense")
OPS = (
    *FLOAT_OPS,
    *WEIGHT_OPS,
    *I8_OPS,
    *BINARY_OPS,
    *U8_OPS,
    "max_pool",
    "avg_pool",
    "subsample_pad",
    "act_scale",
    "elementwise",
    "flatten",
    "constant",
)
STEPS = ("affine", "relu", "hardtanh", "prelu", "add", "mul_map", "store", "sign", "threshold")
STEP_PARAMETERS: dict[str, tuple[str, ...]] = {"affine": ("scale", "bias"), "prelu": ("slope",), "threshold": ("tau",)}


@dataclass(frozen=True)
class Value:
    """One tensor of a program: its name (the fx node it stands for), element type and per-sample shape (C, H, W)."""

    name: str
    dtype: DType
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Step:
    """One link of a node's epilogue; `value` is the id of the tensor it reads or writes, -1 where it has none."""

    op: str
    value: int = -1
    params: dict[str, npt.NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """One operation: `inputs[0]` is the main input, all values that steps read follow it; `outputs` in write order.

    `weight` is float32 for float ops and int8 +-1 for 1-bit ops, (C_out, kh, kw, C_in / groups), else None.
    `attrs` by op (ints; pairs as tuples): conv2d family: kernel (kh, kw), stride (sh, sw), padding (top, left, bottom,
    right), dilation (dh, dw), groups, pad_value (-1, 0 or 1; always 0 but for binary ops); u8 ops: offset; dense ops
    carry the same attributes (kernel = the whole image, stride and dilation 1, padding 0, groups 1);
    pools and act_scale: kernel, stride, padding; max_pool of bits: or_mask, bool (C,); avg_pool: count_include_pad
    (0, 1); subsample_pad: stride (sh, sw), before, after (channels of zeros); constant: size (H', W'), factors
    (H', W') float32.
    """

    op: str
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    weight: npt.NDArray[Any] | None = None
    steps: tuple[Step, ...] = ()

    @property
    def k_bits(self) -> int:
        """Reduction length K of one output element, 0 for nodes without weights."""
        return 0 if self.weight is None else int(np.prod(self.weight.shape[1:]))


@dataclass(frozen=True)
class Normalize:
    """Per-channel input normalisation x = (u / 255 - mean) / std of pixel bytes u."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Program:
    """A whole network: `input` and `output` are value ids; `normalize` says what raw bytes became in training."""

    values: tuple[Value, ...]
    nodes: tuple[Node, ...]
    input: int
    output: int
    normalize: Normalize | None = None

    def macs(self, node: Node) -> int:
        """Multiply-accumulates of one sample through `node`; 0 for nodes without weights."""
        if node.weight is None:
            return 0
        _, height, width = self.values[node.outputs[0]].shape
        return height * width * int(node.weight.shape[0]) * node.k_bits
