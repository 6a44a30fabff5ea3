"""What replaces the last step's weights: the running average and the best epoch."""

from __future__ import annotations

import torch
from torch import nn

from bincompress.finetune.keep import Average, Best, Last, choose_keeper
from bincompress.recipe import Train
from tests.finetune.synthetic import prepared, recipe


def test_the_average_is_a_running_one_of_everything_but_latents() -> None:
    _, _, graph = prepared(recipe("xnor"))
    average = Average(graph, 0.75)
    expected = {name: p.detach().clone() for name, p in graph.named_parameters()}
    for _ in range(5):
        with torch.no_grad():
            for parameter in graph.parameters():
                parameter += torch.randn_like(parameter)
        average.step()
        for name, parameter in graph.named_parameters():
            expected[name] = 0.75 * expected[name] + 0.25 * parameter.detach()
    last = {name: p.detach().clone() for name, p in graph.named_parameters()}
    average.apply()
    for name, parameter in graph.named_parameters():
        wanted = last[name] if name in ("conv2.weight", "conv3.weight") else expected[name]
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-5, atol=1e-6)
    assert not torch.equal(graph.get_submodule("fc").weight, last["fc.weight"])


def test_the_best_epoch_comes_back_with_its_statistics() -> None:
    _, _, graph = prepared(recipe("xnor"))
    best = Best(graph)
    norm = graph.get_submodule("bn2")
    assert isinstance(norm, nn.BatchNorm2d)
    for value, accuracy in ((1.0, 0.5), (2.0, 0.9), (3.0, 0.9), (4.0, None)):
        nn.init.constant_(norm.weight, value)
        norm.running_mean.fill_(value)
        best.epoch(accuracy)
    best.apply()
    assert norm.weight.unique().tolist() == [2.0]  # the first of equals
    assert norm.running_mean.unique().tolist() == [2.0]


def test_both_go_on_from_what_they_saved() -> None:
    for kind in (lambda graph: Average(graph, 0.9), Best):
        _, _, graph = prepared(recipe("xnor"))
        first = kind(graph)
        with torch.no_grad():
            graph.get_submodule("fc").weight += 1
        first.step()
        first.epoch(0.7)
        saved = {name: tensor.clone() for name, tensor in first.tensors().items()}
        _, _, other = prepared(recipe("xnor"))
        second = kind(other)
        second.restore(saved | {"fc.weight/exp_avg": torch.zeros(1)})
        second.epoch(0.6)  # not better than what was saved
        for keeper in (first, second):
            keeper.apply()
        for name, parameter in graph.named_parameters():
            assert torch.equal(parameter, other.get_parameter(name)), name


def test_the_recipe_chooses() -> None:
    _, _, graph = prepared(recipe("xnor"))
    assert isinstance(choose_keeper(graph, Train()), Last)
    assert isinstance(choose_keeper(graph, Train(ema=0.9)), Average)
    assert isinstance(choose_keeper(graph, Train(holdout=10, select="best")), Best)
