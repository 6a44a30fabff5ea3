"""Training on the library's kernels equals training on torch: the same sums, gradients within float rounding."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from bincompress.binarize import native_products
from bincompress.binarize.modules import BinaryConv2d, BinaryLinear, Shift, Sign
from bincompress.graph import Add, LeafTracer


class Net(nn.Module):
    """Every kind of layer that has a product and some that have none."""

    def __init__(self, pad_value: int = 0) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.sign1, self.conv1 = Sign(), BinaryConv2d(16, 32, 3, padding=1, stride=2, pad_value=pad_value)
        self.bn1 = nn.BatchNorm2d(32)
        self.sign2, self.conv2 = Sign("approxsign"), BinaryConv2d(32, 48, (3, 1), padding=(1, 0), bias=True)
        self.bn2 = nn.BatchNorm2d(48)
        self.sign3, self.conv3 = Sign(), BinaryConv2d(48, 16, 1, granularity="none")
        # Behind sums without alpha: exact zeros, which are common, are zeros in both, and so is the slope's mask.
        self.prelu, self.bn3 = nn.PReLU(16), nn.BatchNorm2d(16)
        self.sign4, self.odd = Sign(), BinaryConv2d(16, 10, 3)
        self.flatten, self.last = nn.Flatten(), BinaryLinear(10 * 4 * 2, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.sign1(self.stem(x)))
        y = self.conv2(self.sign2(self.bn1(y)))
        y = self.conv3(self.sign3(self.bn2(y)))
        return self.last(self.flatten(self.odd(self.sign4(self.bn3(self.prelu(y))))))  # type: ignore[no-any-return]


class Chains(nn.Module):
    """Every chain that is one pass: norm and sign, shift and sign, norm and sum, PReLU between shifts."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn0 = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.sign1, self.conv1, self.bn1 = Sign(), BinaryConv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.add1, self.before, self.prelu, self.after = Add(), Shift(16), nn.PReLU(16), Shift(16)
        self.rsign, self.sign2 = Shift(16), Sign("approxsign")
        self.conv2, self.bn2, self.add2 = BinaryConv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), Add()
        self.bn3, self.sign3 = nn.BatchNorm2d(16, momentum=None), Sign("identity")
        self.conv3, self.bn4 = BinaryConv2d(16, 32, 1), nn.BatchNorm2d(32)
        self.bn_free = nn.BatchNorm2d(16, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn0(self.stem(x))
        y = self.add1(self.bn1(self.conv1(self.sign1(y))), y)
        y = self.after(self.prelu(self.before(y)))
        y = self.add2(y, self.bn2(self.conv2(self.sign2(self.rsign(y)))))
        y = self.bn4(self.conv3(self.sign3(self.bn3(self.bn_free(y)))))
        return y.mean((2, 3))


class OneBitWeights(nn.Module):
    """1-bit weights that no sign feeds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.bn1 = BinaryConv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv1, self.bn2 = BinaryConv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32)
        self.conv2 = BinaryConv2d(32, 16, (3, 1), padding=(1, 0), bias=True, pad_value=1)
        self.conv3, self.bn3, self.add = BinaryConv2d(16, 16, 1, granularity="none"), nn.BatchNorm2d(16), Add()
        self.relu1, self.relu2, self.relu3, self.relu4 = nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.ReLU(inplace=True)
        self.bn4, self.conv4 = nn.BatchNorm2d(16), BinaryConv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.first(x)))
        y = self.relu3(self.conv2(self.relu2(self.bn2(self.conv1(y)))))
        y = self.relu4(self.add(self.bn3(self.conv3(y)), y))
        logits: Tensor = self.conv4(y + self.bn4(y)).mean((2, 3))
        return logits


class Dense(nn.Module):
    """Dense layers behind signs, behind signs that are flattened, behind floats, and of few outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.sign0, self.flatten, self.fc1 = Sign(), nn.Flatten(), BinaryLinear(3 * 4 * 4, 80)
        self.bn1, self.sign1, self.fc2 = nn.BatchNorm1d(80), Sign("approxsign"), BinaryLinear(80, 32, bias=True)
        self.bn2, self.relu, self.fc3 = nn.BatchNorm1d(32), nn.ReLU(), BinaryLinear(32, 16, granularity="none")
        self.bn3, self.last = nn.BatchNorm1d(16), BinaryLinear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc1(self.flatten(self.sign0(x)))
        y = self.relu(self.bn2(self.fc2(self.sign1(self.bn1(y)))))
        logits: Tensor = self.last(self.bn3(self.fc3(y)))
        return logits


def chains() -> fx.GraphModule:
    torch.manual_seed(5)
    net = Chains()
    graph = fx.GraphModule(net, LeafTracer().trace(net))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, Shift):
                module.shift.normal_(std=0.3)
            elif isinstance(module, nn.BatchNorm2d) and module.affine:
                module.bias.normal_()
    return graph.train()


def network(pad_value: int = 0) -> fx.GraphModule:
    torch.manual_seed(3)
    net = Net(pad_value)
    graph = fx.GraphModule(net, LeafTracer().trace(net))
    with torch.no_grad():
        net.conv1.weight[0] = 0  # alpha = 0
        for norm in (net.bn1, net.bn2, net.bn3):
            norm.bias.normal_()  # sums of signs often equal their mean: a tie, which rounding would decide
    return graph.train()


def gradients(graph: fx.GraphModule, x: Tensor, loss_weights: Tensor) -> Iterator[tuple[str, Tensor]]:
    graph.zero_grad()
    (graph(x) * loss_weights).sum().backward()
    for name, parameter in graph.named_parameters():
        if parameter.grad is not None:
            yield name, parameter.grad.clone()


@pytest.mark.parametrize("pad_value", [0, 1, -1])
def test_gradients_are_those_of_torch(pad_value: int) -> None:
    graph = network(pad_value)
    x, weights = torch.randn(5, 3, 12, 7), torch.randn(5, 4)
    want = dict(gradients(graph, x, weights))
    with native_products(graph) as count:
        assert count == 3, "conv1, conv2, conv3"
        got = dict(gradients(graph, x, weights))
    assert got.keys() == want.keys()
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=2e-4, atol=2e-5 * float(want[name].abs().max() + 1))
    for module in graph.modules():
        assert not isinstance(module, BinaryConv2d) or module.product is None
        assert not isinstance(module, Sign) or module.deferred is None
        assert "forward" not in vars(module)


def assert_like_torch(graph: fx.GraphModule, x: Tensor, loss_weights: Tensor, served: int) -> None:
    """Gradients and buffers of one step."""
    twin = copy.deepcopy(graph)
    want = dict(gradients(twin, x, loss_weights))
    with native_products(graph) as count:
        assert count == served
        got = dict(gradients(graph, x, loss_weights))
    assert got.keys() == want.keys()
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=2e-4, atol=2e-5 * float(want[name].abs().max() + 1))
    for (name, mine), torchs in zip(graph.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-5, atol=1e-6, msg=name)
    assert not any("forward" in vars(module) for module in graph.modules())


def test_one_bit_weights_alone_are_those_of_torch() -> None:
    torch.manual_seed(7)
    net = OneBitWeights()
    graph = fx.GraphModule(net, LeafTracer().trace(net)).train()
    assert_like_torch(graph, torch.randn(5, 3, 12, 7), torch.randn(5, 16), served=4)
    assert_like_torch(graph.eval(), torch.randn(5, 3, 12, 7), torch.randn(5, 16), served=4)


@pytest.mark.parametrize("float_layers", [(), ("fc1", "fc3"), ("sign1",)])
def test_dense_layers_are_those_of_torch(float_layers: tuple[str, ...]) -> None:
    torch.manual_seed(9)
    net = Dense()
    graph = fx.GraphModule(net, LeafTracer().trace(net)).train()
    nn.init.normal_(net.bn1.bias)
    for name in float_layers:
        module = graph.get_submodule(name)
        if isinstance(module, Sign):
            module.binarize = False
        elif isinstance(module, BinaryLinear):
            module.binarize_weight = False
    x, weights = torch.randn(21, 3, 4, 4), torch.randn(21, 10)
    assert_like_torch(graph, x, weights, served=3)
    assert_like_torch(graph.eval(), x, weights, served=3)


@pytest.mark.parametrize("pad_value", [0, 1])
def test_one_bit_activations_alone_are_those_of_torch(pad_value: int) -> None:
    for graph, classes in ((network(pad_value), 4), (chains(), 32)):
        for module in graph.modules():
            if isinstance(module, BinaryConv2d):
                module.binarize_weight = False
        assert_like_torch(graph, torch.randn(5, 3, 12, 7), torch.randn(5, classes), served=3)


def test_without_floats_torch_multiplies_what_is_binary_on_one_side() -> None:
    """Signs reach the convolutions; a sign that were deferred would give them floats."""
    x, weights = torch.randn(5, 3, 12, 7), torch.randn(5, 16)
    torch.manual_seed(7)
    net = OneBitWeights()
    graph = fx.GraphModule(net, LeafTracer().trace(net)).train()
    with native_products(graph, floats=False) as count:
        assert count == 0
    graph = network()
    for module in graph.modules():
        if isinstance(module, BinaryConv2d):
            module.binarize_weight = False
    want = dict(gradients(graph, x, weights[:, :4]))
    with native_products(graph, floats=False):
        got = dict(gradients(graph, x, weights[:, :4]))
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-5, atol=1e-5, msg=name)


def test_what_comes_out_may_be_changed_in_place() -> None:
    net = nn.Sequential(BinaryConv2d(16, 16, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    graph = fx.GraphModule(net, LeafTracer().trace(net)).train()
    assert_like_torch(graph, torch.randn(2, 16, 3, 5), torch.randn(2, 16), served=1)


def test_chains_of_modules_are_those_of_torch() -> None:
    graph, x = chains(), torch.randn(4, 3, 9, 7)
    assert_like_torch(graph, x, torch.randn(4, 32), served=3)
    with native_products(graph):
        graph(x)
        for name in ("bn3", "before", "after", "rsign", "bn1", "bn2"):
            assert graph.get_submodule(name)(signal := torch.randn(2, 16, 3, 3)) is signal, f"{name} is deferred"


def test_a_module_that_somebody_watches_is_not_deferred() -> None:
    graph, x = chains(), torch.randn(4, 3, 9, 7)
    seen: list[Tensor] = []
    for name in ("bn3", "before", "after", "bn1", "sign1", "sign2"):
        graph.get_submodule(name).register_forward_hook(lambda module, inputs, output: seen.append(output))
    want = graph(x)
    outputs, seen[:] = list(seen), []
    with native_products(graph):
        torch.testing.assert_close(graph(x), want, rtol=1e-4, atol=1e-4)
    for got, expected in zip(seen, outputs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_norms_that_do_not_train_keep_to_torch() -> None:
    graph, x = chains().eval(), torch.randn(4, 3, 9, 7)
    with torch.no_grad():
        want = graph(x)
        with native_products(graph):
            torch.testing.assert_close(graph(x), want, rtol=1e-5, atol=1e-6)


def test_evaluation_gives_the_same_bits() -> None:
    x, graph = torch.randn(3, 3, 12, 7), network().eval()
    with torch.no_grad():
        want = graph(x)
        with native_products(graph):
            got = graph(x)
    assert torch.equal(got, want), "in evaluation alpha multiplies exact integers, in one order"


def test_float_activations_and_float_weights_keep_to_torch() -> None:
    graph = network()
    x = torch.randn(2, 3, 12, 7)
    for module in graph.modules():
        if isinstance(module, Sign):
            module.binarize = False
    want = graph(x)
    with native_products(graph):
        torch.testing.assert_close(graph(x), want)
        for module in graph.modules():
            if isinstance(module, Sign):
                module.binarize = True
            elif isinstance(module, BinaryConv2d):
                module.binarize_weight = False
        signs = torch.where(torch.randn(2, 16, 6, 6) >= 0, 1.0, -1.0)
        conv = graph.get_submodule("conv1")
        assert isinstance(conv, BinaryConv2d)
        torch.testing.assert_close(conv(signs), F.conv2d(signs, conv.weight, None, 2, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing(threads: int) -> None:
    x, weights, graph = torch.randn(9, 3, 12, 7), torch.randn(9, 4), network()
    before = torch.get_num_threads()
    with native_products(graph):
        want = dict(gradients(graph, x, weights))
    try:
        torch.set_num_threads(threads)
        with native_products(graph):
            torch.set_num_threads(before)
            got = dict(gradients(graph, x, weights))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(got[name], want[name]) for name in want)


def test_what_the_library_refuses_keeps_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(Sign(), BinaryConv2d(16, 16, (1, 65)))
    graph, x = fx.GraphModule(net, LeafTracer().trace(net)), torch.randn(1, 16, 2, 66)
    want = graph(x)
    with native_products(graph) as count:
        assert count == 0, "of kernels 65 wide"
        assert torch.equal(graph(x), want)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1000)
    with native_products(network()) as count:
        assert count == 3, "with as many threads as a trainer can have"


def test_images_larger_than_the_library_takes_keep_to_torch() -> None:
    net = nn.Sequential(nn.BatchNorm2d(16), Sign(), BinaryConv2d(16, 16, (1, 1)), nn.BatchNorm2d(16))
    graph, x = fx.GraphModule(net, LeafTracer().trace(net)), torch.randn(1, 16, 1, (1 << 15) + 1)
    assert_like_torch(graph, x, torch.randn(1, 16, 1, (1 << 15) + 1), 1)
