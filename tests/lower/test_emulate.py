"""The judge is judged: against torch, against exact rational arithmetic, and on rules that hold for any numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from bincompress.lower.emulate import emulate, emulate_values, normalize_pixels
from bincompress.lower.numerics import abs_mean, fma32
from bincompress.program import BINARY_OPS, I8_OPS, U8_OPS, Normalize, Program
from tests.programs import CASES, build

finite = st.floats(-(2.0**60), 2.0**60, width=32)


@given(finite, finite, finite)
def test_fma_rounds_once(x: float, w: float, acc: float) -> None:
    exact = Fraction(x) * Fraction(w) + Fraction(acc)
    got = fma32(np.float32(x), np.float32(w), np.float32(acc))
    below, above = np.nextafter(got, np.float32(-np.inf)), np.nextafter(got, np.float32(np.inf))
    error = abs(Fraction(float(got)) - exact)
    for neighbour in (below, above):
        if np.isfinite(neighbour):
            other = abs(Fraction(float(neighbour)) - exact)
            assert error <= other
            if error == other:  # a tie goes to the even one
                assert got.view(np.int32) % 2 == 0


def test_fma_is_not_two_roundings() -> None:
    x = np.float32(1 + 2**-12)
    assert fma32(x, x, np.float32(-1)) != np.float32(x * x) - np.float32(1)


CONVOLUTIONS = [
    name for name, case in CASES.items() if case.op.endswith("conv2d") and case.steps in (("store",), ("threshold",))
]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_agree_with_torch(name: str) -> None:
    program, x = build(CASES[name])
    node = program.nodes[-1]
    assert node.weight is not None
    values = emulate_values(program, x)
    main = values[node.inputs[0]]
    top, left, bottom, right = node.attrs["padding"]
    if node.op in BINARY_OPS:
        source = np.where(main, -1.0, 1.0)
    elif node.op in U8_OPS:
        source = 2.0 * main - node.attrs["offset"]
    elif node.op in I8_OPS:  # 127 steps up to each sample's largest magnitude
        step = np.abs(main).max(axis=(1, 2, 3), keepdims=True).astype(np.float64) / 127
        source = np.rint(main / step) * step
    else:
        source = main.astype(np.float64)
    padded = F.pad(torch.from_numpy(source), (left, right, top, bottom), value=float(node.attrs["pad_value"]))
    weight = torch.from_numpy(node.weight.astype(np.float64).transpose(0, 3, 1, 2).copy())
    stride, dilation, groups = node.attrs["stride"], node.attrs["dilation"], node.attrs["groups"]
    expected = F.conv2d(padded, weight, None, stride, 0, dilation, groups).numpy()
    got = values[node.outputs[0]]
    if got.dtype == np.bool_:
        np.testing.assert_array_equal(got, expected < node.steps[0].params["tau"].reshape(-1, 1, 1))
    elif node.op in (*BINARY_OPS, *U8_OPS):
        np.testing.assert_array_equal(got, expected)
    else:
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.op in ("max_pool", "avg_pool") and not c.or_mask])
def test_pools_agree_with_torch(name: str) -> None:
    program, x = build(CASES[name])
    node = program.nodes[-1]
    values = emulate_values(program, x)
    main = values[node.inputs[0]]
    source = torch.from_numpy(np.where(main, -1.0, 1.0) if main.dtype == np.bool_ else main.astype(np.float64))
    top, left, bottom, right = node.attrs["padding"]
    kernel, stride = node.attrs["kernel"], node.attrs["stride"]
    if node.op == "max_pool":
        expected = F.max_pool2d(F.pad(source, (left, right, top, bottom), value=-np.inf), kernel, stride)
    else:
        total = F.avg_pool2d(F.pad(source, (left, right, top, bottom)), kernel, stride) * (kernel[0] * kernel[1])
        inside = F.pad(torch.ones(1, 1, *source.shape[2:]), (left, right, top, bottom))
        taps = F.avg_pool2d(inside, kernel, stride) * (kernel[0] * kernel[1])
        expected = total / (kernel[0] * kernel[1] if node.attrs["count_include_pad"] else taps)
    first = node.steps[0]
    got = values[node.outputs[0]]
    if got.dtype == np.bool_ and main.dtype == np.bool_:
        np.testing.assert_array_equal(got, expected.numpy() < 0)
    elif first.op == "affine":
        scale, bias = (first.params[k].reshape(-1, 1, 1) for k in ("scale", "bias"))
        near = expected.numpy() * scale + bias
        if got.dtype == np.bool_:
            np.testing.assert_array_equal(got, (expected.numpy().astype(np.float32) * scale + bias) < 0)
        else:
            np.testing.assert_allclose(got, near, atol=1e-5)
    else:
        np.testing.assert_allclose(got, expected.numpy(), atol=1e-6)


def test_or_mask_is_the_minimum() -> None:
    for name in [n for n, c in CASES.items() if c.or_mask]:
        program, x = build(CASES[name])
        node = program.nodes[-1]
        values = emulate_values(program, x)
        mask = node.attrs["or_mask"]
        signs = torch.from_numpy(np.where(values[node.inputs[0]], -1.0, 1.0))
        signs[:, mask] *= -1  # min(x) = -max(-x)
        top, left, bottom, right = node.attrs["padding"]
        padded = F.pad(signs, (left, right, top, bottom), value=-np.inf)
        expected = F.max_pool2d(padded, node.attrs["kernel"], node.attrs["stride"])
        expected[:, mask] *= -1
        np.testing.assert_array_equal(values[node.outputs[0]], expected.numpy() < 0)


def test_act_scale_is_the_box_filter_of_magnitudes() -> None:
    for name in [n for n, c in CASES.items() if c.op == "act_scale"]:
        program, x = build(CASES[name])
        attrs = program.nodes[-1].attrs
        top, left, bottom, right = attrs["padding"]
        magnitude = torch.from_numpy(x).abs().mean(dim=1, keepdim=True)
        expected = F.avg_pool2d(F.pad(magnitude, (left, right, top, bottom)), attrs["kernel"], attrs["stride"])
        np.testing.assert_allclose(emulate_values(program, x)[program.output], expected.numpy(), atol=1e-6)


def test_abs_mean_adds_in_lanes() -> None:
    x = np.zeros((1, 40, 1, 1), np.float32)
    x[0, [0, 16], 0, 0] = 1e8, 1.0  # same lane: 1 is lost
    x[0, 8, 0, 0] = 4.0  # joins lane 0 in the first pairing: lost too
    x[0, [1, 9], 0, 0] = 4.0, 4.0
    assert abs_mean(x)[0, 0, 0] == np.float32(np.float32(1e8) + np.float32(8)) * np.float32(1 / 40)


def test_signs_of_zero_are_plus_one() -> None:
    program, _ = build(CASES["elementwise-c5-sign"])
    x = np.zeros((2, *program.values[0].shape), np.float32)
    x[1] = -0.0
    np.testing.assert_array_equal(emulate(program, x), np.ones((2, 60), np.float32))


def test_pixels_and_their_floats_are_the_same_input() -> None:
    program, pixels = build(CASES["u8_conv2d-cin3"])
    norm = Normalize((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.262))
    program = Program(program.values, program.nodes, program.input, program.output, norm)
    np.testing.assert_array_equal(emulate(program, pixels), emulate(program, normalize_pixels(pixels, norm)))
