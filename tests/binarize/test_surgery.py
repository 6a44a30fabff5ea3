"""Surgery on chains, residual networks and networks without BatchNorm."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, fx, nn

import bincompress.zoo as zoo
from bincompress.binarize import Imitation, check_signs
from bincompress.binarize.chains import never_negative
from bincompress.binarize.modules import ActScale, BinaryConv2d, BinaryWeightLayer, InputQuantizer, Shift, Sign
from bincompress.errors import RecipeError, UnsupportedOpError
from bincompress.graph import Add, graph_from_json, graph_to_json, trace
from bincompress.methods import METHODS
from bincompress.program import Normalize
from tests.binarize.networks import converted, float_model, recipe, text, zoo_model

SMALL = ["resnet20", "resnet20_b", "lenet5", "bnn_mlp_2048", "bnn_convnet_svhn", "vgg_small", "digits_cnn"]
THOROUGH = [("resnet20_b", "xnor"), ("lenet5", "xnor"), ("digits_cnn", "bnn"), ("lenet5", "bnn"), ("resnet20_b", "bnn")]
VARIANTS = [
    {},
    {"surgery": {"order": "keep"}},
    {"surgery": {"activation": "keep"}},
    {"surgery": {"activation": "rprelu", "shortcut": "per_conv"}},
    {"layers": {"first": "binary", "last": "binary", "downsample": "binary"}},
]


def modules(graph: fx.GraphModule, kind: type[nn.Module]) -> list[str]:
    return [name for name, module in graph.named_modules() if type(module) is kind]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SMALL)
def test_every_network_trains_and_no_sign_is_fed_by_a_relu(name: str, method: str) -> None:
    model = zoo_model(name)
    before = copy.deepcopy(model.graph.state_dict())
    for sections in VARIANTS if (name, method) in THOROUGH else VARIANTS[:1]:
        graph = converted(model, recipe(method, **sections))
        check_signs(graph)
        for node in graph.graph.nodes:
            if node.op == "call_module" and isinstance(graph.get_submodule(node.target), Sign):
                assert not never_negative(graph, node.args[0])
        again = graph_from_json(graph_to_json(graph))
        again.load_state_dict(graph.state_dict())
        graph.eval(), again.eval()
        x = torch.randn(2, *model.input_shape)
        assert torch.equal(graph(x), again(x))
        graph.train()
        graph(x).square().sum().backward()
        assert [path for path, p in graph.named_parameters() if p.grad is None] == []
    for key, value in model.graph.state_dict().items():  # the float network is as it was
        assert torch.equal(value, before[key])


def test_lenet_without_batchnorm_gets_one_before_each_sign() -> None:
    graph = converted(zoo_model("lenet5"), recipe("xnor"))
    assert text(graph).splitlines() == [
        "conv1 = Conv2d(input)",
        "pool1 = MaxPool2d(conv1)",
        "conv2_bn_in = BatchNorm2d(pool1)",
        "conv2_sign = Sign(conv2_bn_in)",
        "conv2 = BinaryConv2d(conv2_sign)",
        "pool2 = MaxPool2d(conv2)",
        "fc1_bn_in = BatchNorm2d(pool2)",
        "fc1_sign = Sign(fc1_bn_in)",
        "flatten = Flatten(fc1_sign)",
        "fc1 = BinaryLinear(flatten)",
        "fc2_bn_in = BatchNorm1d(fc1)",
        "fc2_sign = Sign(fc2_bn_in)",
        "fc2 = BinaryLinear(fc2_sign)",
        "relu4 = ReLU(fc2)",
        "fc3 = Linear(relu4)",
    ]


def test_bnn_pools_before_batchnorm_and_reads_integer_pixels() -> None:
    model = zoo_model("digits_cnn")
    assert text(converted(model, recipe("bnn"))).splitlines() == [
        "conv1_input = InputQuantizer(input)",
        "conv1 = BinaryConv2d(conv1_input)",
        "bn1 = BatchNorm2d(conv1)",
        "conv2_sign = Sign(bn1)",
        "conv2 = BinaryConv2d(conv2_sign)",
        "pool2 = MaxPool2d(conv2)",
        "bn2 = BatchNorm2d(pool2)",
        "conv3_sign = Sign(bn2)",
        "conv3 = BinaryConv2d(conv3_sign)",
        "pool3 = MaxPool2d(conv3)",
        "bn3 = BatchNorm2d(pool3)",
        "fc_sign = Sign(bn3)",
        "flatten = Flatten(fc_sign)",
        "fc = BinaryLinear(flatten)",
        "fc_bn = BatchNorm1d(fc)",
    ]


class PoolAfterActivation(nn.Module):
    """conv-BN-ReLU-pool, the usual order of pretrained networks."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            OrderedDict(
                stem=nn.Conv2d(1, 4, 3),
                conv1=nn.Conv2d(4, 4, 3, padding=1),
                bn1=nn.BatchNorm2d(4),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                drop=nn.Dropout(0.5),
                flatten=nn.Flatten(1),
                fc1=nn.Linear(4 * 3 * 3, 6),
                bn2=nn.BatchNorm1d(6),
                relu2=nn.ReLU(),
                fc2=nn.Linear(6, 3),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def test_pool_moves_before_batchnorm_unless_the_order_is_kept() -> None:
    model = float_model(PoolAfterActivation(), (1, 8, 8))

    def between(order: str) -> list[str]:
        lines = text(converted(model, recipe("xnor", surgery={"order": order}))).splitlines()
        first = next(i for i, line in enumerate(lines) if line.startswith("body.conv1 ="))
        last = next(i for i, line in enumerate(lines) if line.startswith("body.fc1 ="))
        return [line.split(" = ")[1].split("(")[0] for line in lines[first + 1 : last]]

    assert between("bn_act_conv") == ["MaxPool2d", "BatchNorm2d", "Sign", "Dropout", "Flatten"]
    assert between("conv_bn_act") == ["MaxPool2d", "BatchNorm2d", "Sign", "Dropout", "Flatten"]
    assert between("keep") == ["BatchNorm2d", "MaxPool2d", "Sign", "Dropout", "Flatten"]


def test_weight_only_keeps_structure_and_function_of_the_float_network() -> None:
    model = zoo_model("resnet20")
    graph = converted(model, recipe("bwn"))
    assert [n.target for n in graph.graph.nodes] == [n.target for n in model.graph.graph.nodes]
    for module in graph.modules():
        if isinstance(module, BinaryWeightLayer):
            module.binarize_weight = False
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(graph.eval()(x), model.graph.eval()(x))


def test_first_last_and_downsample_layers_stay_as_they_were() -> None:
    model = zoo_model("resnet20_b")
    graph = converted(model, recipe("xnor"))
    for name in ("conv1", "linear", "layer2.0.shortcut.0", "layer3.0.shortcut.0"):
        module = graph.get_submodule(name)
        assert type(module) in (nn.Conv2d, nn.Linear)
        assert torch.equal(module.weight, model.graph.get_submodule(name).weight)
    assert len(modules(graph, BinaryConv2d)) == 18


def test_latents_are_the_float_weights_and_bc_stretches_them_to_the_clipping_range() -> None:
    model = zoo_model("resnet20")
    name = "layer1.0.conv1"
    weight = model.graph.get_submodule(name).weight
    assert torch.equal(converted(model, recipe("bwn")).get_submodule(name).weight, weight)
    stretched = converted(model, recipe("bc")).get_submodule(name).weight.detach()
    assert torch.equal(stretched >= 0, weight >= 0)
    assert float(stretched.abs().max()) <= 1
    assert 0.3 < float(stretched.abs().mean()) <= 0.5


def test_residual_blocks_sign_the_sum_or_a_batchnorm_of_it() -> None:
    model = zoo_model("resnet20")

    def feeds(sections: dict[str, object]) -> tuple[str, str]:
        graph = converted(model, recipe("xnor", surgery=sections))
        sign = next(n for n in graph.graph.nodes if n.target == "layer1.1.conv1_sign")
        source = sign.args[0]
        first = type(graph.get_submodule(source.target)).__name__
        return first, type(graph.get_submodule(source.args[0].target)).__name__

    assert feeds({}) == ("BatchNorm2d", "Add")
    assert feeds({"activation": "keep"}) == ("BatchNorm2d", "ReLU")
    assert feeds({"activation": "prelu"}) == ("BatchNorm2d", "PReLU")
    assert feeds({"activation": "rprelu"}) == ("BatchNorm2d", "Shift")
    assert feeds({"order": "conv_bn_act"})[0] == "Add"
    assert feeds({"order": "conv_bn_act", "activation": "keep"}) == ("BatchNorm2d", "ReLU")


def test_binary_readers_of_one_tensor_share_its_sign() -> None:
    graph = converted(zoo_model("resnet20_b"), recipe("xnor", layers={"downsample": "binary"}))
    readers = {n.target: n.args[0].target for n in graph.graph.nodes if n.op == "call_module"}
    assert readers["layer2.0.conv1"] == readers["layer2.0.shortcut.0"] == "layer2.0.conv1_sign"


def test_a_shortcut_around_every_convolution() -> None:
    graph = converted(zoo_model("resnet20"), recipe("xnor", surgery={"shortcut": "per_conv"}))
    assert len(modules(graph, Add)) == 18
    inputs = {n.target: [a.target for a in n.args] for n in graph.graph.nodes if n.op == "call_module"}
    assert inputs["layer2.0.conv1_add"] == ["layer2.0.bn1", "layer2.0.shortcut"]
    assert inputs["layer2.0.add"] == ["layer2.0.bn2", "layer2.0.conv1_add"]


def test_insert_bn_never_names_the_layer_whose_sign_would_be_constant() -> None:
    model = float_model(Forked(), (1, 8, 8))
    never = recipe("xnor", surgery={"insert_bn": "never", "activation": "keep"})
    with pytest.raises(RecipeError, match=r"^conv: .*relu is never negative"):
        converted(model, never)
    converted(model, recipe("xnor", surgery={"insert_bn": "never"}))


class Forked(nn.Module):
    """A ReLU that a binary convolution and an add read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.add = Add()
        self.flatten = nn.Flatten(1)
        self.head = nn.Linear(4 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        return self.head(self.flatten(self.add(self.conv(x), x)))


def test_a_bias_before_batchnorm_is_folded_into_its_mean() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Hardtanh(), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4),
        nn.Flatten(1), nn.Linear(16, 2),
    )  # fmt: skip
    model = float_model(module, (1, 8, 8))
    chosen = recipe("bwn", surgery={"order": "keep"})
    graph = converted(model, chosen).eval()
    layer = graph.get_submodule("3")
    assert isinstance(layer, BinaryConv2d)
    assert layer.bias is None
    layer.binarize_weight = False
    x = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(graph(x), model.graph.eval()(x), rtol=1e-5, atol=1e-5)


def test_layers_without_alpha_get_a_batchnorm_that_is_to_imitate_the_float_layer() -> None:
    graph = converted(zoo_model("lenet5"), recipe("bc"))
    expected = ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert graph.meta["imitations"] == tuple(Imitation(f"{name}_bn", name) for name in expected)
    bnn = converted(zoo_model("lenet5"), recipe("bnn"))
    assert bnn.meta["imitations"] == (Imitation("fc3_bn", "fc3"),)  # the others feed signs
    assert converted(zoo_model("resnet20"), recipe("bc")).meta["imitations"] == (Imitation("linear_bn", "linear"),)


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        (Normalize((0.5,), (0.5,)), (255, 255.0)),
        (Normalize((0.0,), (1.0,)), (0, 510.0)),
        (Normalize((0.1307,), (0.3081,)), None),
        (None, None),
    ],
)
def test_first_layer_reads_integers_where_the_normalisation_allows(
    normalize: Normalize | None, expected: tuple[int, float] | None
) -> None:
    model = zoo_model("digits_cnn")
    graph = converted(float_model(zoo.digits_cnn(), model.input_shape, normalize), recipe("bnn"))
    found = [m for m in graph.modules() if isinstance(m, InputQuantizer)]
    assert [(m.offset, m.denominator) for m in found] == ([expected] if expected else [])
    by_recipe = recipe("bnn", data={"normalize": {"mean": [0.5], "std": [0.5]}})
    assert modules(converted(float_model(zoo.digits_cnn(), model.input_shape), by_recipe), InputQuantizer)


def test_spatial_scale_reads_what_is_signed() -> None:
    chosen = recipe("xnor", defaults={"activation": {"scale": {"kind": "spatial"}}})
    graph = converted(zoo_model("lenet5"), chosen)
    inputs = {n.target: [a.target for a in n.args] for n in graph.graph.nodes if n.op == "call_module"}
    assert inputs["conv2_act_scale"] == inputs["conv2_sign"]
    assert inputs["conv2_scaled"] == ["conv2", "conv2_act_scale"]
    assert inputs["conv2_shift"] == ["conv2_scaled"]  # the bias, which the map must not scale
    assert graph.get_submodule("conv2").bias is None
    assert graph.get_submodule("conv2_act_scale").kernel_size == (5, 5)
    assert len(modules(graph, ActScale)) == 3
    assert len(modules(graph, Shift)) == 3
    x = torch.randn(2, 1, 28, 28)
    assert graph(x).shape == (2, 10)


@pytest.mark.filterwarnings("ignore:Using padding")
def test_what_has_no_one_bit_form_is_named() -> None:
    even = nn.Conv2d(4, 4, 2, padding="same")
    model = float_model(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), even, nn.Conv2d(4, 2, 1)), (1, 8, 8))
    with pytest.raises(UnsupportedOpError, match=r'^2: padding "same"'):
        converted(model, recipe("xnor"))
    grouped = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 2, 1))
    spatial = recipe("xnor", defaults={"activation": {"scale": {"kind": "spatial"}}})
    with pytest.raises(UnsupportedOpError, match="needs groups 1"):
        converted(float_model(grouped, (1, 8, 8)), spatial)


def test_check_signs_sees_through_pooling_and_adds() -> None:
    class Bad(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.pool, self.add, self.sign = nn.ReLU(), nn.ReLU(), nn.MaxPool2d(2), Add(), Sign()

        def forward(self, x: Tensor) -> Tensor:
            return self.sign(self.pool(self.add(self.a(x), self.b(x))))

    with pytest.raises(RecipeError, match="pool is never negative"):
        check_signs(trace(Bad()))
