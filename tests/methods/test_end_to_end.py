"""Every method and variation, from a float network by way of an epoch of training to a file that C runs exactly."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import bincompress.zoo as zoo
from bincompress.binarize import binarize
from bincompress.binarize.chains import never_negative
from bincompress.binarize.modules import BinaryWeightLayer, Sign
from bincompress.binarize.shift_norm import ShiftBatchNorm, ap2
from bincompress.checkpoint import load_checkpoint
from bincompress.data import Split, open_data
from bincompress.export import export_checkpoint
from bincompress.finetune import Progress, finetune
from bincompress.finetune.optimizer import build_optimizers
from bincompress.graph import Add, FloatModel, ShortcutA
from bincompress.methods import METHODS
from bincompress.plan import make_plan
from bincompress.program import Normalize
from bincompress.recipe import Recipe, load_recipe, recipe_names
from bincompress.report import SILENT
from tests.binarize.networks import converted, float_model, zoo_model

VARIATIONS = {
    "bc, stochastic": ("bc", ["defaults.weight.stochastic=true", "train.lr_scale=glorot", "train.loss=squared_hinge"]),
    "bnn, shift-based BatchNorm": ("bnn", ["surgery.norm=shift"]),
    "bnn, stochastic activations": ("bnn", ["defaults.activation.stochastic=true"]),
    "bwn, alpha of the layer": ("bwn", ["defaults.weight.scale.granularity=layer"]),
    "bwn, learned alpha": ("bwn", ["defaults.weight.scale.kind=learned"]),
    "bwn, as the code": ("bwn", ["defaults.weight.center=latents", "defaults.weight.gradient=code"]),
    "xnor, K map": ("xnor", ["defaults.activation.scale.kind=spatial"]),
    "xnor, C-B-A-P": ("xnor", ["surgery.order=conv_bn_act_pool"]),
    "xnor, RSign": ("xnor", ["defaults.activation.shift=true", "defaults.padding=minus_one"]),
    "xnor_pp, positions": ("xnor_pp", ["defaults.activation.scale.kind=positions"]),
    "xnor_pp, filters": ("xnor_pp", ["defaults.activation.scale.kind=none"]),
    "xnor, EDE": ("xnor", ["defaults.estimator=ede", "defaults.weight.estimator=reste"]),
}
CASES = {name: (name, []) for name in METHODS} | VARIATIONS


class Small(nn.Module):
    """A stem, two residual blocks, one of which halves the image, a pooled layer and a dense one, on 8 x 8 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn, self.relu = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.conv3, self.bn3 = nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16)
        self.short, self.add1, self.add2, self.relu3 = ShortcutA(2, 4, 4), Add(), Add(), nn.ReLU()
        self.conv4, self.pool, self.bn4, self.relu4 = (
            nn.Conv2d(16, 64, 3),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.flatten, self.hidden, self.relu5, self.head = (
            nn.Flatten(1),
            nn.Linear(64, 16),
            nn.ReLU(),
            nn.Linear(16, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.stem(x)))
        x = self.relu2(self.add1(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))), x))
        x = self.relu3(self.add2(self.bn3(self.conv3(x)), self.short(x)))
        x = self.relu4(self.bn4(self.pool(self.conv4(x))))
        y: Tensor = self.head(self.relu5(self.hidden(self.flatten(x))))
        return y


def small_model() -> FloatModel:
    torch.manual_seed(0)
    return float_model(Small(), (1, 8, 8), Normalize((0.5,), (0.5,)))


def some_digits(which: str, count: int) -> Split:
    split = open_data("digits", split=which)  # type: ignore[arg-type]
    return dataclasses.replace(split, images=split.images[:count], labels=split.labels[:count])


def trained(model: FloatModel, chosen: Recipe, directory: Path, **options: Any) -> fx.GraphModule:
    plan = make_plan(model, chosen)
    result = finetune(
        binarize(model, plan, chosen),
        plan=plan,
        recipe=chosen,
        train=some_digits("train", 320),
        val=some_digits("test", 100),
        teacher=model.graph,
        normalize=model.normalize or Normalize((0.5,), (0.5,)),
        directory=directory,
        meta={"input_shape": model.input_shape, "sha256": model.sha256, "source": model.source},
        **options,
    )
    return result.graph


@pytest.mark.parametrize("case", CASES)
def test_what_was_trained_is_what_the_packed_file_computes(case: str, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    name, overrides = CASES[case]
    chosen = load_recipe(name, [*overrides, "train.batch_size=32"]).with_epochs(1)
    trained(small_model(), chosen, tmp_path / "c")
    checkpoint = load_checkpoint(tmp_path / "c")
    result = export_checkpoint(checkpoint, tmp_path / "m.gguf", some_digits("test", 100), SILENT)
    assert result["verify"]["integer_mismatches"] == 0
    assert result["verify"]["top1_agreement"] == 1
    assert result["accuracy"]["binary"] == checkpoint.accuracy["binary"]
    real = result["accuracy"].get("real_weights")
    assert (real is not None) == ("stochastic" in case and name == "bc")
    assert any("real weights" in note and "%" in note for note in result["notes"]) == (real is not None)


@pytest.mark.parametrize("network", ["resnet20", "resnet20_b", "lenet5", "bnn_mlp_2048", "vgg_small", "digits_cnn"])
@pytest.mark.parametrize("name", [name for name in recipe_names() if load_recipe(name).method in METHODS])
def test_no_relu_feeds_a_sign_and_no_latent_decays(name: str, network: str) -> None:
    chosen = load_recipe(name)
    graph = converted(zoo_model(network), chosen)
    for node in graph.graph.nodes:
        if node.op == "call_module" and isinstance(graph.get_submodule(node.target), Sign):
            source = node.args[0]
            assert not never_negative(graph, source), f"{node.target} is fed by {source.target}"
            assert not isinstance(graph.get_submodule(str(source.target)), nn.ReLU)
    latents = {id(module.weight) for module in graph.modules() if isinstance(module, BinaryWeightLayer)}
    assert latents
    for stage in chosen.train.stages:
        decaying = stage.model_copy(update={"weight_decay": 0.1})
        for optimizer in build_optimizers(graph, decaying, chosen.train.lr_scale):
            for group in optimizer.param_groups:
                if any(id(parameter) in latents for parameter in group["params"]):
                    assert group.get("weight_decay", 0.0) == 0.0


@pytest.mark.parametrize("name", ["irnet", "recu"])
def test_what_changes_over_training_goes_on_where_it_was(name: str, tmp_path: Path) -> None:
    """Estimators and transforms depend on progress: a run that is stopped after an epoch ends in the same bits."""
    pytest.importorskip("sklearn")
    chosen = load_recipe(name, ["train.batch_size=32"]).with_epochs(3)

    def interrupt(progress: Progress) -> None:
        if progress.epoch == 2 and progress.step == progress.steps:
            raise KeyboardInterrupt

    straight = trained(small_model(), chosen, tmp_path / "a").state_dict()
    with pytest.raises(KeyboardInterrupt):
        trained(small_model(), chosen, tmp_path / "b", progress=interrupt)
    resumed = trained(small_model(), chosen, tmp_path / "b", resume=True)
    assert all(torch.equal(value, straight[key]) for key, value in resumed.state_dict().items())
    layers = [module for module in resumed.modules() if isinstance(module, BinaryWeightLayer)]
    assert {layer.progress for layer in layers} == {1.0}


@pytest.mark.parametrize("name", ["xnor", "reactnet", "bnn"])
def test_statistics_of_every_batchnorm_are_those_of_the_final_network(name: str, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    chosen = load_recipe(name, ["train.batch_size=32"]).with_epochs(1)
    model = small_model()
    before = {path: m.running_var.clone() for path, m in model.graph.named_modules() if isinstance(m, nn.BatchNorm2d)}
    graph = trained(model, chosen, tmp_path / "c")
    norms = {path: m for path, m in graph.named_modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)}
    for path, norm in norms.items():
        assert norm.num_batches_tracked is not None
        assert int(norm.num_batches_tracked) == 10, "an average over the 10 batches of an epoch, from nothing"
        assert path not in before or not torch.equal(norm.running_var, before[path])


def test_powers_of_two() -> None:
    """AP2(x) = sgn(x) 2^round(log2 |x|)."""
    x = torch.tensor([0.0, 1.0, -1.0, 3.0, -3.0, 0.3, 1e-3, 1.4, 1.42])
    assert ap2(x).tolist() == [0, 1, -1, 4, -4, 0.25, 2**-10, 1, 2]


@pytest.mark.parametrize("shape", [(6, 3, 5, 5), (40, 3)])
def test_shift_based_batchnorm_follows_its_definition(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    norm = ShiftBatchNorm(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.7, -3.0, 1.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0, -1.0]))
    x = torch.randn(shape) * 3 + 1
    axes = [axis for axis in range(len(shape)) if axis != 1]
    view = (1, 3, *([1] * (len(shape) - 2)))
    c = x - x.mean(axes).reshape(view)
    variance = (c * ap2(c)).mean(axes)
    scale = ap2((variance + norm.eps).rsqrt()) * ap2(norm.weight)
    expected = c * scale.reshape(view) + norm.bias.reshape(view)
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(norm.running_mean, 0.125 * x.mean(axes))
    torch.testing.assert_close(norm.running_var, 0.875 + 0.125 * variance)
    assert set(scale.abs().log2().frac().tolist()) == {0.0}
    norm.eval()
    stats = (norm.running_var + norm.eps).rsqrt()
    evaluated = (x - norm.running_mean.reshape(view)) * (ap2(stats) * ap2(norm.weight)).reshape(view)
    torch.testing.assert_close(norm(x), evaluated + norm.bias.reshape(view))
    norm.train()(x).sum().backward()
    assert torch.isfinite(norm.weight.grad).all()


def between(graph: fx.GraphModule, first: str, last: str) -> list[str]:
    nodes = [str(n.target) for n in graph.graph.nodes]
    inside = nodes[nodes.index(first) + 1 : nodes.index(last)]
    return [type(graph.get_submodule(name)).__name__ for name in inside]


def test_block_orders_of_the_ablation() -> None:
    def order(name: str) -> list[str]:
        chosen: Any = load_recipe("xnor", [f"surgery.order={name}"])
        return between(converted(small_model(), chosen), "conv4", "hidden")

    assert order("bn_act_conv") == ["MaxPool2d", "BatchNorm2d", "Sign", "Flatten"]
    assert order("conv_bn_act_pool") == ["BatchNorm2d", "Sign", "MaxPool2d", "Flatten"]


def test_reactnet_and_irnet_blocks() -> None:
    graph = converted(zoo_model("resnet20"), load_recipe("reactnet"))
    inputs = {n.target: [a.target for a in n.args] for n in graph.graph.nodes if n.op == "call_module"}
    assert inputs["layer1.0.conv2_sign"] == ["layer1.0.conv2_rsign"]
    assert inputs["layer1.0.conv2_rsign"] == inputs["layer1.0.add"][1:] == ["layer1.0.relu1_shift_out"]
    assert inputs["layer1.0.relu1_prelu"] == ["layer1.0.relu1_shift_in"]
    assert inputs["layer1.0.relu1_shift_in"] == ["layer1.0.conv1_add"]
    graph = converted(zoo_model("resnet20"), load_recipe("irnet"))
    inputs = {n.target: [a.target for a in n.args] for n in graph.graph.nodes if n.op == "call_module"}
    assert inputs["layer1.0.conv2_sign"] == inputs["layer1.0.add"][1:] == ["layer1.0.relu1"]
    assert isinstance(graph.get_submodule("layer1.0.relu1"), nn.Hardtanh)
    assert "vgg_small" in zoo.names()
