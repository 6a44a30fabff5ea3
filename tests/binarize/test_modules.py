"""What the 1-bit layers compute: exact sums, scaling factors, padding, gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bincompress.binarize.estimators import sgn
from bincompress.binarize.modules import (
    ActScale,
    BinaryConv2d,
    BinaryLinear,
    InputQuantizer,
    MulMap,
    Shift,
    Sign,
)
from bincompress.graph import build_leaf, leaf_config

LEAVES = [
    BinaryConv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2, bias=True, pad_value=-1),
    BinaryConv2d(4, 6, 3, clip=None, center=True, granularity="layer", kind="learned", estimator="identity"),
    BinaryConv2d(4, 6, 1, granularity="channel", kind="learned", learned_input_scale=True, stochastic=True),
    BinaryLinear(7, 3, bias=True, granularity="none"),
    BinaryLinear(7, 3, granularity="layer", learned_input_scale=True),
    Sign("approxsign", stochastic=True),
    InputQuantizer(255, 255.0),
    ActScale((3, 1), (2, 2), (1, 0)),
    MulMap(),
    Shift(5),
]


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: type(leaf).__name__)
def test_a_leaf_is_rebuilt_from_its_config(leaf: nn.Module) -> None:
    again = build_leaf(*leaf_config(leaf))
    assert type(again) is type(leaf)
    assert leaf_config(again) == leaf_config(leaf)
    again.load_state_dict(leaf.state_dict())


def exact_conv(x: Tensor, layer: BinaryConv2d) -> Tensor:
    """The integer sums in int64, padding written out."""
    rows, columns = layer.padding
    padded = F.pad(x.long(), (columns, columns, rows, rows), value=layer.pad_value)
    kernel = layer.kernel_size
    patches = F.unfold(padded.double(), kernel, layer.dilation, 0, layer.stride)  # (N, C kh kw, L)
    count, _, length = patches.shape
    patches = patches.reshape(count, layer.groups, -1, length)
    weights = layer.binary_weight().double().reshape(layer.groups, layer.out_channels // layer.groups, -1)
    sums = torch.einsum("gok,ngkl->ngol", weights, patches).reshape(count, layer.out_channels, length)
    height = (padded.shape[2] - layer.dilation[0] * (kernel[0] - 1) - 1) // layer.stride[0] + 1
    return sums.reshape(count, layer.out_channels, height, -1)


@pytest.mark.parametrize("pad_value", [0, 1, -1])
@pytest.mark.parametrize(
    "shape",
    [
        {"in_channels": 1, "kernel_size": 1},  # K = 1
        {"in_channels": 31, "kernel_size": 1, "padding": 1},  # K = 31
        {"in_channels": 64, "kernel_size": 1, "stride": 2},  # K = 64
        {"in_channels": 65, "kernel_size": 1},  # K = 65
        {"in_channels": 577, "kernel_size": 1},
        {"in_channels": 64, "kernel_size": 3, "padding": 1},
        {"in_channels": 8, "kernel_size": 3, "padding": 1, "stride": 2, "groups": 2},
        {"in_channels": 3, "kernel_size": (5, 3), "padding": (2, 1), "dilation": (1, 2)},
        {"in_channels": 5, "kernel_size": 7, "padding": 3, "stride": (1, 3)},
    ],
    ids=str,
)
def test_binary_convolution_sums_are_exact_integers(shape: dict[str, Any], pad_value: int) -> None:
    torch.manual_seed(0)
    layer = BinaryConv2d(out_channels=6, pad_value=pad_value, granularity="none", **shape).eval()
    x = sgn(torch.randn(3, shape["in_channels"], 9, 8))
    with torch.no_grad():
        assert torch.equal(layer(x).double(), exact_conv(x, layer))


@pytest.mark.parametrize("features", [1, 31, 64, 65, 577])
def test_binary_dense_sums_are_exact_integers(features: int) -> None:
    torch.manual_seed(features)
    layer = BinaryLinear(features, 5, granularity="none").eval()
    x = sgn(torch.randn(4, features))
    expected = x.long() @ layer.binary_weight().long().t()
    assert torch.equal(layer(x).long(), expected)
    assert torch.equal(layer(x), expected.float())


def test_alpha_multiplies_the_exact_sum_and_bias_follows() -> None:
    torch.manual_seed(0)
    layer = BinaryConv2d(3, 4, 3, padding=1, bias=True).eval()
    nn.init.normal_(layer.bias)
    x = sgn(torch.randn(2, 3, 5, 5))
    sums = exact_conv(x, layer).float()
    alpha = layer.weight.detach().abs().mean((1, 2, 3))
    expected = sums * alpha.reshape(1, -1, 1, 1) + layer.bias.detach().reshape(1, -1, 1, 1)
    assert torch.equal(layer(x).detach(), expected)


def test_latents_of_exactly_zero_are_plus_one() -> None:
    layer = BinaryConv2d(2, 2, 1, granularity="channel").eval()
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[1, 0] = -0.0
    assert layer.binary_weight().flatten().tolist() == [1, 1, 1, 1]
    assert layer.alpha().tolist() == [0, 0]
    y = layer(torch.ones(1, 2, 1, 1))
    assert y.flatten().tolist() == [0, 0]
    layer.train()(torch.ones(1, 2, 1, 1)).sum().backward()
    assert torch.isfinite(layer.weight.grad).all()


@pytest.mark.parametrize("layer", LEAVES[:5], ids=lambda leaf: leaf.extra_repr())
def test_training_and_evaluation_agree_up_to_rounding(layer: Any) -> None:
    torch.manual_seed(0)
    stochastic, layer.stochastic = layer.stochastic, False
    x = sgn(torch.randn(2, 4, 9, 9) if isinstance(layer, BinaryConv2d) else torch.randn(2, 7))
    trained, evaluated = layer.train()(x), layer.eval()(x)
    layer.stochastic = stochastic
    torch.testing.assert_close(trained, evaluated, rtol=1e-5, atol=1e-5)


def test_scale_granularities_and_centring() -> None:
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 3, 3)

    def layer(**options: Any) -> BinaryConv2d:
        made = BinaryConv2d(3, 4, 3, **options)
        made.weight.data.copy_(weight)
        made.reset_alpha()
        return made

    per_filter = weight.abs().mean((1, 2, 3))
    torch.testing.assert_close(layer(granularity="channel").alpha(), per_filter)
    torch.testing.assert_close(layer(granularity="layer").alpha(), weight.abs().mean().expand(4))
    torch.testing.assert_close(layer(granularity="channel", kind="learned").alpha(), per_filter)
    torch.testing.assert_close(layer(granularity="layer", kind="learned").alpha(), weight.abs().mean().expand(4))
    assert layer(granularity="none").alpha().tolist() == [1] * 4
    centred = weight - weight.mean(1, keepdim=True)
    assert torch.equal(layer(center=True).binary_weight(), sgn(centred))
    torch.testing.assert_close(layer(center=True).alpha(), centred.abs().mean((1, 2, 3)))


def test_gradient_of_bwn_is_the_closed_form() -> None:
    """g_W = alpha g~ 1{|W| <= 1} + sgn(W) / n sum_j g~_j sgn(W_j), with g~ the gradient of alpha * sgn(W)."""
    torch.manual_seed(0)
    layer = BinaryConv2d(3, 4, 3, padding=1)
    layer.weight.data.mul_(8)  # some latents beyond 1
    assert (layer.weight.abs() > 1).any()
    x, upstream = torch.randn(2, 3, 6, 6), torch.randn(2, 4, 6, 6)
    layer(x).backward(upstream)

    weight = layer.weight.detach()
    alpha = weight.abs().mean((1, 2, 3), keepdim=True)
    scaled = (alpha * sgn(weight)).requires_grad_()
    F.conv2d(x, scaled, padding=1).backward(upstream)
    inner = (scaled.grad * sgn(weight)).sum((1, 2, 3), keepdim=True)
    expected = alpha * scaled.grad * (weight.abs() <= 1) + sgn(weight) / weight[0].numel() * inner
    torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-4, atol=1e-5)


def test_stochastic_weights_are_sampled_in_training_only() -> None:
    torch.manual_seed(0)
    layer = BinaryLinear(1, 1, stochastic=True, granularity="none", estimator="identity")
    layer.weight.data.fill_(0.5)
    x = torch.ones(1, 1)
    drawn = torch.stack([layer(x) for _ in range(4000)])
    assert float((drawn > 0).float().mean()) == pytest.approx(0.75, abs=0.03)
    layer.eval()
    assert all(layer(x).item() == 1 for _ in range(20))


def test_float_stages_use_the_latents_and_hardtanh() -> None:
    torch.manual_seed(0)
    layer, sign = BinaryConv2d(3, 4, 3, bias=True, pad_value=0), Sign()
    x = torch.randn(2, 3, 5, 5)
    layer.binarize_weight = sign.binarize = False
    for training in (True, False):
        layer.train(training)
        torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias))
    assert torch.equal(sign(x), F.hardtanh(x))


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.5), (0.0, 1.0), (0.5, 0.25)])
def test_input_quantizer_finds_every_pixel_again(mean: float, std: float) -> None:
    pixels = torch.arange(256.0)
    x = (pixels / 255 - mean) / std
    offset = round(510 * mean)
    assert torch.equal(InputQuantizer(offset, 510 * std)(x), 2 * pixels - offset)


def test_act_scale_is_the_box_filtered_mean_magnitude() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 7, 7)
    scale = ActScale(3, 2, 1)(x)
    box = torch.full((1, 1, 3, 3), 1 / 9)
    torch.testing.assert_close(scale, F.conv2d(x.abs().mean(1, keepdim=True), box, stride=2, padding=1))
    flat = torch.randn(3, 11)
    torch.testing.assert_close(ActScale()(flat), flat.abs().mean(1, keepdim=True))
    y = torch.randn(2, 4, 4, 4)
    assert torch.equal(MulMap()(y, scale), y * scale)
