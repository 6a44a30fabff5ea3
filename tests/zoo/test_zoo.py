"""Every network of the zoo: it traces to known layers, has the published size and carries what loading needs."""

from __future__ import annotations

import pytest
import torch

from bincompress import zoo
from bincompress.graph import graph_from_json, graph_to_json, propagate_shapes, trace
from bincompress.program import Normalize

# Parameters of the published networks.
PARAMETERS = {
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "lenet5": 61_706,
    "resnet18": 11_689_512,
    "bnn_convnet": 14_022_016 + 2 * 3_850,  # weights, then two per channel of BN
}
SMALL = ("digits_cnn", "lenet5", "resnet20", "resnet20_b", "resnet56", "vgg_small", "bnn_mlp_2048", "bnn_convnet_svhn")


@pytest.mark.parametrize("name", zoo.names())
def test_a_factory_says_its_input_and_normalisation(name: str) -> None:
    factory = zoo.get(name)
    assert isinstance(factory.normalize, Normalize)  # type: ignore[attr-defined]
    assert len(factory.normalize.mean) == factory.input_shape[0]  # type: ignore[attr-defined]
    assert getattr(zoo, name) is factory


@pytest.mark.parametrize("name", SMALL)
def test_a_network_is_made_of_leaves_and_survives_json(name: str) -> None:
    factory = zoo.get(name)
    graph = trace(factory().eval())
    shapes = propagate_shapes(graph, factory.input_shape)  # type: ignore[attr-defined]
    assert shapes["output"] == (10,)
    again = graph_from_json(graph_to_json(graph)).eval()
    again.load_state_dict(graph.state_dict())
    x = torch.randn(1, *factory.input_shape)  # type: ignore[attr-defined]
    assert torch.equal(again(x), graph(x))


@pytest.mark.parametrize("name", ["alexnet_bn", "resnet18"])
def test_an_imagenet_network_has_1000_classes(name: str) -> None:
    with torch.device("meta"):
        network = zoo.get(name)().eval()
        assert network(torch.empty(1, 3, 224, 224)).shape == (1, 1000)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_the_number_of_parameters_is_the_published_one(name: str) -> None:
    with torch.device("meta"):
        network = zoo.get(name)()
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


def test_bnn_networks_put_no_relu_before_a_sign_and_integer_pixels_in() -> None:
    for name in ("bnn_mlp", "bnn_convnet"):
        factory = zoo.get(name)
        with torch.device("meta"):
            kinds = {type(module).__name__ for module in factory().modules()}
        assert "ReLU" not in kinds
        assert all((510 * mean) % 1 == 0 for mean in factory.normalize.mean)  # type: ignore[attr-defined]


def test_a_name_registers_once() -> None:
    def resnet20() -> torch.nn.Module:
        return torch.nn.Identity()

    with pytest.raises(ValueError, match="resnet20"):
        zoo.network(input_shape=(1, 1, 1), normalize=Normalize((0.0,), (1.0,)))(resnet20)
