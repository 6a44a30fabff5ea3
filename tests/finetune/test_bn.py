"""BatchNorm statistics: re-estimation, and imitation of the float network's."""

from __future__ import annotations

import torch
from torch import nn

from bincompress.finetune.augment import normalized
from bincompress.finetune.bn import imitate, reestimate_bn
from bincompress.graph import trace
from tests.finetune.synthetic import NORMALIZE, prepared, recipe, task


def test_reestimated_statistics_are_plain_averages_and_modes_are_restored() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.9))
    graph = trace(network)
    graph.train()
    norm = graph.get_submodule("1")
    norm.running_mean.fill_(99.0)
    images = [torch.randn(8, 1, 4, 4) for _ in range(3)]
    assert reestimate_bn(graph, images) == 3
    outputs = [graph.get_submodule("0")(x) for x in images]
    means = torch.stack([y.mean((0, 2, 3)) for y in outputs]).mean(0)
    variances = torch.stack([y.var((0, 2, 3)) for y in outputs]).mean(0)
    torch.testing.assert_close(norm.running_mean, means.detach())
    torch.testing.assert_close(norm.running_var, variances.detach())
    assert norm.momentum == 0.1
    assert all(module.training for module in graph.modules())
    before = norm.running_mean.clone()
    assert reestimate_bn(graph, []) == 0
    assert torch.equal(norm.running_mean, before)


def test_an_inserted_batchnorm_imitates_the_float_layer() -> None:
    float_model, _, graph = prepared(recipe("bc"))
    imitations = graph.meta["imitations"]
    assert [row.layer for row in imitations] == ["conv3", "fc"]
    images = [normalized(torch.from_numpy(task().images[:128]), NORMALIZE)]
    imitate(graph, float_model.graph, imitations, images)
    reestimate_bn(graph, images)
    graph.eval(), float_model.graph.eval()
    torch.testing.assert_close(graph(images[0]).mean(0), float_model.graph(images[0]).mean(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(graph(images[0]).std(0), float_model.graph(images[0]).std(0), rtol=0.02, atol=1e-3)
