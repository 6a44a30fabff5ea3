"""Whole networks: the program equals the deploy graph layer by layer, fuses what it should, refuses what it must."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bincompress.binarize.modules import BinaryConv2d, BinaryLinear, InputQuantizer, Sign
from bincompress.compare import Difference, Values, compare, record
from bincompress.errors import LoweringError, ParityError, UnsupportedOpError
from bincompress.graph import Add, trace
from bincompress.lower import deploy, lower
from bincompress.lower.emulate import emulate, emulate_node, normalize_pixels
from bincompress.program import Normalize, Program
from tests.lower.networks import RECIPES, images, network, randomize

SMALL = ["digits_cnn", "lenet5", "resnet20", "resnet20_b", "bnn_mlp_2048"]


def judge(program: Program, graph: torch.fx.GraphModule, pixels: np.ndarray, normalize: Normalize) -> Difference:  # type: ignore[type-arg]
    """Compare every node of the program, run by the emulator, with the deploy graph."""

    def execute(index: int, inputs: Values) -> Values:
        values = dict(inputs)
        emulate_node(program, program.nodes[index], values)
        return values

    total = Difference()
    recorder = record(graph, normalize_pixels(pixels, normalize))
    for difference in compare(program, recorder, pixels, execute).values():
        total.add(difference)
    return total


@pytest.mark.parametrize("recipe", sorted(RECIPES))
@pytest.mark.parametrize("name", SMALL)
def test_programs_equal_their_deploy_graph(name: str, recipe: str) -> None:
    graph, model = network(name, recipe)
    assert model.normalize is not None
    deployed = deploy(graph)
    program = lower(deployed, model.input_shape, model.normalize)
    pixels = images(model, 2)
    found = judge(program, deployed, pixels, model.normalize)
    assert found.integer_mismatches == 0
    assert found.float_mismatches == 0
    x = torch.from_numpy(normalize_pixels(pixels, model.normalize))
    with torch.no_grad():
        trained, frozen = graph(x).numpy(), deployed(x).numpy()
    np.testing.assert_allclose(frozen, trained, rtol=1e-4, atol=1e-4 * np.abs(trained).max())
    if found.boundary_flips == 0:
        np.testing.assert_allclose(emulate(program, pixels), frozen, rtol=1e-4, atol=1e-5 * np.abs(frozen).max())


@pytest.mark.parametrize("name", ["digits_cnn", "bnn_mlp_2048"])
def test_networks_that_are_integer_from_the_pixels_on_agree_exactly(name: str) -> None:
    graph, model = network(name, "bnn")
    assert model.normalize is not None
    deployed = deploy(graph)
    program = lower(deployed, model.input_shape, model.normalize)
    assert program.values[program.input].dtype == "u8"
    assert all(
        node.op in ("u8_conv2d", "u8_dense", "binary_conv2d", "binary_dense", "max_pool") for node in program.nodes
    )
    assert all(step.op == "threshold" for node in program.nodes[:-1] for step in node.steps if node.op != "max_pool")
    pixels = images(model, 8)
    with torch.no_grad():
        expected = deployed(torch.from_numpy(normalize_pixels(pixels, model.normalize))).numpy()
    np.testing.assert_array_equal(emulate(program, pixels), expected)
    np.testing.assert_array_equal(emulate(program, normalize_pixels(pixels, model.normalize)), expected)


@pytest.mark.parametrize("name", SMALL[:4])
def test_float_networks_are_lowered_too(name: str) -> None:
    graph, model = network(name, None)
    assert model.normalize is not None
    program = lower(deploy(graph), model.input_shape, model.normalize)
    x = normalize_pixels(images(model, 1), model.normalize)
    with torch.no_grad():
        expected = graph(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(emulate(program, x), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_a_residual_block_is_one_node_per_convolution() -> None:
    graph, model = network("resnet20", "xnor")
    program = lower(deploy(graph), model.input_shape, model.normalize)
    assert len(program.nodes) == 23  # 19 convolutions, 2 shortcuts, the pool, the classifier
    block_end = next(node for node in program.nodes if node.name == "layer1.1.conv2")
    assert [step.op for step in block_end.steps] == ["affine", "add", "store", "affine", "sign"]
    downsampled = next(node for node in program.nodes if node.name == "layer2.0.conv2")
    assert "add" in [step.op for step in downsampled.steps]


def test_the_spatial_scale_is_fused_before_its_batch_norm() -> None:
    graph, model = network("resnet20", "xnor-map")
    program = lower(deploy(graph), model.input_shape, model.normalize)
    node = next(node for node in program.nodes if node.name == "layer1.0.conv1")
    assert [step.op for step in node.steps][:2] == ["mul_map", "affine"]
    assert not [node for node in program.nodes if node.op == "elementwise"]


def test_conv_pool_bn_sign_stays_on_bits() -> None:
    graph, model = network("digits_cnn", "bnn")
    program = lower(deploy(graph), model.input_shape, model.normalize)
    pools = [node for node in program.nodes if node.op == "max_pool"]
    assert len(pools) == 2
    assert all(program.values[node.inputs[0]].dtype == "bits" and node.attrs["or_mask"].any() for node in pools)


def build(*layers: nn.Module, shape: tuple[int, int, int] = (3, 8, 8)) -> tuple[torch.fx.GraphModule, Program]:
    torch.manual_seed(1)
    model = nn.Sequential(*layers)
    randomize(model)
    graph = deploy(trace(model.eval()))
    return graph, lower(graph, shape, NORMALIZE)


NORMALIZE = Normalize((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.BatchNorm2d(3), Sign(), BinaryConv2d(3, 9, 3, padding=1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(144, 5)],
        [Sign(), nn.MaxPool2d(3, 2, 1), BinaryConv2d(3, 16, 3, pad_value=-1, padding=2), nn.AdaptiveAvgPool2d(1)],
        [Sign(), nn.Conv2d(3, 4, 3, padding="same", dilation=2), nn.LeakyReLU(), nn.AdaptiveAvgPool2d((2, 4))],
        [nn.Conv2d(3, 6, 3), nn.MaxPool2d(2, ceil_mode=True), Sign(), nn.Flatten(), nn.BatchNorm1d(54), nn.ReLU()],
        [nn.Conv2d(3, 6, (3, 1), stride=(2, 1)), nn.Flatten(), nn.BatchNorm1d(144), Sign(), BinaryLinear(144, 7)],
        [nn.AvgPool2d(3, 2, 1, count_include_pad=False), Sign(), nn.Flatten(), BinaryLinear(48, 4, bias=True)],
        [BinaryConv2d(3, 8, 3, groups=1), nn.PReLU(8), nn.BatchNorm2d(8), Sign()],
        [nn.Conv2d(3, 6, 3, groups=3), nn.Dropout(), nn.Identity(), Sign(), Sign(), BinaryConv2d(6, 8, 3, groups=2)],
        [InputQuantizer(255, 255.0), BinaryConv2d(3, 70, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(70), Sign()],
        [InputQuantizer(255, 255.0), BinaryConv2d(3, 5, 3, padding=1, bias=True), nn.ReLU(), nn.AvgPool2d(2)],
        [nn.Flatten(), InputQuantizer(255, 255.0), BinaryLinear(192, 30), nn.BatchNorm1d(30), Sign(), nn.Linear(30, 4)],
    ],
)
def test_layers_in_unusual_orders(layers: list[nn.Module]) -> None:
    graph, program = build(*layers)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8)).astype(np.uint8)
    found = judge(program, graph, pixels, NORMALIZE)
    assert (found.integer_mismatches, found.float_mismatches) == (0, 0)
    with torch.no_grad():
        expected = graph(torch.from_numpy(normalize_pixels(pixels, NORMALIZE))).flatten(1).numpy()
    np.testing.assert_allclose(emulate(program, pixels), expected, rtol=1e-4, atol=1e-5)


class Branches(nn.Module):
    """Values that are read twice, added to themselves, and added out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.relu, self.relu2, self.sign, self.bn = nn.ReLU(), nn.ReLU(), Sign(), nn.BatchNorm2d(8)
        self.binary = BinaryConv2d(8, 8, 3, padding=1)
        self.a, self.b, self.c, self.d = Add(), Add(), Add(), Add()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stem = self.stem(x)
        early, late = self.left(stem), self.right(self.relu(stem))
        total = self.a(late, early)
        doubled = self.b(total, total)
        again = self.c(self.binary(self.sign(doubled)), self.relu2(doubled))
        return self.d(self.bn(again), early)


def test_branches_and_values_read_twice() -> None:
    torch.manual_seed(0)
    model = Branches().eval()
    randomize(model)
    graph = deploy(trace(model))
    program = lower(graph, (3, 6, 6), NORMALIZE)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 6, 6)).astype(np.uint8)
    found = judge(program, graph, pixels, NORMALIZE)
    assert (found.integer_mismatches, found.float_mismatches) == (0, 0)


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ([nn.Conv2d(3, 4, 3), nn.GELU()], UnsupportedOpError, "1: GELU cannot be packed; supported: "),
        ([nn.Conv2d(3, 4, 3), nn.Hardtanh(0, 6)], UnsupportedOpError, "1: Hardtanh"),
        ([nn.Conv2d(3, 4, 3, padding_mode="reflect", padding=1)], UnsupportedOpError, "0: padding mode 'reflect'"),
        ([nn.MaxPool2d(2, dilation=2)], UnsupportedOpError, "0: MaxPool2d with dilation"),
        ([nn.AdaptiveAvgPool2d(3)], UnsupportedOpError, "0: AdaptiveAvgPool2d"),
        ([nn.Flatten(2)], UnsupportedOpError, "0: Flatten"),
        ([InputQuantizer(255, 255.0), nn.Conv2d(3, 4, 3)], LoweringError, "0: only .* reads pixels"),
        ([nn.BatchNorm2d(3, track_running_stats=False)], LoweringError, "0: BatchNorm without running statistics"),
        ([BinaryConv2d(3, 4, 3, padding=1, pad_value=1)], LoweringError, r"0: padding with \+1 needs a binary input"),
    ],
)
def test_what_cannot_be_packed_is_named(layers: list[nn.Module], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build(*layers)


def test_unfinished_and_diverged_training_is_refused() -> None:
    layer = BinaryConv2d(3, 4, 3)
    layer.binarize_weight = False
    with pytest.raises(LoweringError, match="0: its weights are still float"):
        build(layer)
    sign = Sign()
    sign.binarize = False
    with pytest.raises(LoweringError, match="0: activations are still float"):
        build(sign)
    diverged = nn.Conv2d(3, 4, 3)
    nn.init.constant_(diverged.weight, float("nan"))
    with pytest.raises(LoweringError, match="0: its parameters are not finite"):
        build(diverged)


def test_a_wrong_threshold_is_found() -> None:
    graph, model = network("digits_cnn", "bnn")
    assert model.normalize is not None
    deployed = deploy(graph)
    program = lower(deployed, model.input_shape, model.normalize)
    program.nodes[1].steps[0].params["tau"][:] += 40
    assert judge(program, deployed, images(model, 2), model.normalize).integer_mismatches > 0
    with pytest.raises(ParityError, match="uint8"):
        compare(program, record(deployed, normalize_pixels(images(model, 1), model.normalize)), None, lambda i, v: v)


def test_the_graph_that_is_lowered_stays_as_it_is() -> None:
    graph, model = network("resnet20", "xnor")
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    names = [str(node) for node in graph.graph.nodes]
    first, second = deploy(graph), deploy(graph)
    assert names == [str(node) for node in graph.graph.nodes]
    assert all(torch.equal(value, before[name]) for name, value in graph.state_dict().items())
    one, two = (lower(deployed, model.input_shape, model.normalize) for deployed in (first, second))
    assert [value.name for value in one.values] == [value.name for value in two.values]
