"""Training in bfloat16: what is rounded, what is not, and where it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from bincompress.binarize.modules import BinaryConv2d
from bincompress.errors import UsageError
from bincompress.finetune import precision
from bincompress.finetune.precision import choose_precision, rounded_products
from bincompress.finetune.teacher import Teacher
from bincompress.recipe import Distill
from tests.finetune.synthetic import model, recipe, stages, state, task, trained

CPU = torch.device("cpu")
BOTH = {"name": "both", "epochs": 3, "binarize": ["activation", "weight"], "optimizer": {"name": "adam", "lr": 0.01}}


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this processor has: torch emulates what it lacks."""
    monkeypatch.setattr(precision, "_is_fast", lambda device: True)


@pytest.mark.parametrize("layer", [nn.Conv2d(16, 8, 3), BinaryConv2d(16, 8, 3, bias=True)])
def test_a_training_layer_multiplies_rounded_numbers_and_gives_float32(layer: nn.Conv2d | BinaryConv2d) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 16, 7, 7, requires_grad=True)
    exact = layer(x).detach()
    with rounded_products(nn.Sequential(layer), torch.bfloat16):
        y = layer(x)
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
    assert y.dtype == gradient.dtype == torch.float32
    assert not torch.equal(y, exact)
    torch.testing.assert_close(y, exact, rtol=0.02, atol=0.02 * float(exact.abs().max()))
    assert "forward" not in layer.__dict__
    assert torch.equal(layer(x), exact)


def test_layers_in_evaluation_are_exact() -> None:
    layer = nn.Conv2d(4, 8, 3).eval()
    x = torch.randn(2, 4, 7, 7)
    with rounded_products(layer, torch.bfloat16):
        y = layer(x)
    assert torch.equal(y, layer(x))


def test_float32_changes_nothing() -> None:
    layer = nn.Linear(4, 8)
    with rounded_products(layer, torch.float32):
        assert "forward" not in layer.__dict__


def test_the_teacher_answers_in_float32_from_rounded_products() -> None:
    network, x = model().graph.eval(), torch.randn(40, 1, 8, 8)
    exact = Teacher(network, Distill(), task())._ask(x).detach()
    quick = Teacher(network, Distill(), task(), precision=torch.bfloat16)._ask(x).detach()
    assert quick.dtype == torch.float32
    assert not torch.equal(quick, exact)
    torch.testing.assert_close(quick, exact, rtol=0.05, atol=0.05 * float(exact.abs().max()))


@pytest.mark.usefixtures("fast")
def test_training_learns_as_in_float32_and_resumes_in_the_same_bits(tmp_path: Path) -> None:
    section = {**stages(BOTH), "precision": "bfloat16", "distill": {"weight": 0.5}}
    whole = trained(recipe("xnor", train=section), val=task(seed=1))
    exact = trained(recipe("xnor", train={**section, "precision": "float32"}), val=task(seed=1))
    assert whole.accuracy is not None
    assert exact.accuracy is not None
    assert whole.accuracy > exact.accuracy - 0.1
    assert state(whole.graph) != state(exact.graph)
    assert {tensor.dtype for tensor in whole.graph.state_dict().values()} <= {torch.float32, torch.int64}

    def stop(report: object) -> None:
        if getattr(report, "epoch", 0) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(recipe("xnor", train=section), val=task(seed=1), directory=tmp_path / "a.ckpt", progress=stop)
    resumed = trained(recipe("xnor", train=section), val=task(seed=1), directory=tmp_path / "a.ckpt", resume=True)
    assert state(resumed.graph) == state(whole.graph)


def test_bfloat16_is_refused_where_it_is_slow_and_auto_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_is_fast", lambda device: False)
    assert choose_precision("auto", CPU) == torch.float32
    with pytest.raises(UsageError, match=r"train\.precision: bfloat16.*use auto or float32"):
        choose_precision("bfloat16", CPU)
    monkeypatch.setattr(precision, "_is_fast", lambda device: True)
    assert choose_precision("auto", CPU) == choose_precision("bfloat16", CPU) == torch.bfloat16
    assert choose_precision("float32", CPU) == torch.float32
