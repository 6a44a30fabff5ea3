"""The folded copy of a float network answers as the network does, and leaves it alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bincompress.finetune.folded import folded
from tests.binarize.networks import float_model, zoo_model


class Forked(nn.Module):
    """Outputs with a second reader, which nothing may change in place, and norms that cannot be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU()
        self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.flatten = nn.Flatten()
        self.dense, self.norm, self.last = nn.Linear(4 * 6 * 6, 5), nn.BatchNorm1d(5), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        z = self.second(self.first(y) + self.relu(y))
        return self.last(self.norm(self.dense(self.flatten(z))))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["resnet20", "lenet5"])
def test_zoo_networks_answer_the_same(name: str) -> None:
    model = zoo_model(name)
    graph, x = model.graph.eval(), torch.randn(3, *model.input_shape)
    before = {key: value.clone() for key, value in graph.state_dict().items()}
    copy = folded(graph)
    with torch.no_grad():
        torch.testing.assert_close(copy(x), graph(x), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in copy.modules())
    assert all(torch.equal(value, before[key]) for key, value in graph.state_dict().items())
    assert not any(module.inplace for module in graph.modules() if isinstance(module, nn.ReLU))


def test_what_others_read_stays_as_it_is() -> None:
    torch.manual_seed(0)
    graph = float_model(Forked(), (3, 8, 8)).graph.eval()
    x = torch.randn(3, 3, 8, 8)
    copy = folded(graph)
    with torch.no_grad():
        torch.testing.assert_close(copy(x), graph(x), rtol=1e-4, atol=1e-5)
    norms = [module for module in copy.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(norms) == 2, "only the dense layer's norm follows its layer alone"
