"""The training loop: stages, determinism, resuming, what it reports and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bincompress.binarize.modules import BinaryWeightLayer, Sign
from bincompress.checkpoint import is_checkpoint, load_checkpoint
from bincompress.errors import DataError, RecipeError, UsageError
from bincompress.finetune import Progress
from bincompress.finetune import loop as loop_module
from bincompress.finetune import step as step_module
from bincompress.finetune.device import choose_device
from bincompress.finetune.feed import Feed
from bincompress.finetune.memory import keep_freed_memory
from bincompress.finetune.run import Run
from bincompress.methods import METHODS
from tests.finetune.synthetic import NORMALIZE, prepared, recipe, stages, state, task, trained

ONE = {"name": "one", "epochs": 1, "binarize": ["activation"], "optimizer": {"lr": 5e-3}}
TWO = {"name": "two", "epochs": 2, "optimizer": {"lr": 5e-3}}
DISTILL = {"distill": {"temperature": 2, "weight": 0.2}}


class Interrupt:
    """A progress callback that presses Ctrl-C at the end of an epoch, or in the middle of one."""

    def __init__(self, epoch: int, at_end: bool) -> None:
        self.epoch, self.at_end = epoch, at_end

    def __call__(self, progress: Progress) -> None:
        if progress.epoch == self.epoch and (progress.step == progress.steps) == self.at_end:
            raise KeyboardInterrupt


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns(method: str) -> None:
    chosen = recipe(method, train=stages({"name": "all", "epochs": 6, "optimizer": {"lr": 1e-2}}) | DISTILL)
    result = trained(chosen, val=task(200, seed=1), teacher=None)
    assert result.accuracy is not None
    assert result.accuracy > 0.8
    assert [row["stage"] for row in result.history] == ["all"] * 6
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert not any(module.training for module in result.graph.modules())


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    chosen = recipe("xnor", train=stages(ONE, TWO) | DISTILL, data={"transforms": ["random_crop"]})
    first = state(trained(chosen).graph)
    assert state(trained(chosen).graph) == first
    other = recipe("xnor", train=stages(ONE, TWO) | DISTILL | {"seed": 1}, data={"transforms": ["random_crop"]})
    assert state(trained(other).graph) != first


OPTIONS: dict[str, dict[str, Any]] = {
    "ema": {"ema": 0.9},
    "best": {"holdout": 64, "select": "best"},
    "mixup": {"mixup": 0.4},
    "views": {"distill": {"views": 1, "weight": 0.9}},
    "attention": {"distill": {"attention": {"weight": 0.5}, "temperature": [1, 4]}},
}


@pytest.mark.parametrize(
    ("optimizer", "epoch", "at_end"),
    [("adam", 2, True), ("adam", 2, False), ("adam", 3, False), ("adam", 3, True)]
    + [(name, 3, False) for name in ("adamw", "sgd", "shift_adamax", "bop", *OPTIONS)],
)
def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path, optimizer: str, epoch: int, at_end: bool) -> None:
    name = "adam" if optimizer in OPTIONS else optimizer
    last = TWO | {"optimizer": {"name": name, "lr": 5e-3, "gamma": 0.01}}
    weight = {"stochastic": True}  # draws from the global generator
    if optimizer == "bop":
        weight |= {"scale": {"kind": "learned"}, "center": False}
    options = DISTILL | OPTIONS.get(optimizer, {})
    chosen = recipe(
        "xnor",
        train=stages(ONE, last) | options,
        defaults={"weight": weight},
        data={"transforms": ["random_crop", "cutout"]},
    )
    data = task(32 * 24)  # enough steps for a report within an epoch
    whole = trained(chosen, directory=tmp_path / "whole", train=data)
    parts = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt, match=r"go on with finetune .*parts --resume"):
        trained(chosen, directory=parts, train=data, progress=Interrupt(epoch, at_end))
    assert load_checkpoint(parts).epoch == epoch - 1
    torch.manual_seed(99)
    resumed = trained(chosen, directory=parts, train=data, resume=True)
    assert state(resumed.graph) == state(whole.graph)
    assert state(load_checkpoint(parts).graph) == state(whole.graph)
    assert len(resumed.history) == 3
    assert sorted(path.name for path in parts.iterdir()) == sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert "targets" not in {path.name for path in parts.iterdir()}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_run_stopped_after_its_last_epoch_ends_in_the_same_bits(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe("xnor", train=stages(TWO) | options)
    whole = trained(chosen)
    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "_finish", _stop)
        with pytest.raises(KeyboardInterrupt):
            trained(chosen, directory=tmp_path)
    assert load_checkpoint(tmp_path).epoch == 2
    assert state(trained(chosen, directory=tmp_path, resume=True).graph) == state(whole.graph)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_every_option_changes_what_is_learnt() -> None:
    """An option that is read and then forgotten would leave the bits as they are."""
    plain = state(trained(recipe("xnor", train=stages(TWO) | DISTILL)).graph)
    schedules = [{"schedule": "exponential", "lr_end": 1e-4}, {"schedule": "step", "milestones": [0.5], "decay": 0.2}]
    changed = [stages(TWO | more) | DISTILL for more in (*schedules, {"lr_end": 1e-3}, {"parameters": ["batchnorm"]})]
    changed += [stages(TWO) | options for options in OPTIONS.values()]
    for train in changed:
        assert state(trained(recipe("xnor", train=train)).graph) != plain, train


def test_frozen_parts_stay_as_they_are_and_can_learn_again_later() -> None:
    frozen = stages(TWO | {"parameters": ["batchnorm"]})
    _, _, start = prepared(recipe("xnor"))
    graph = trained(recipe("xnor", train=frozen)).graph
    for name, parameter in graph.named_parameters():
        same = torch.equal(parameter, start.get_parameter(name))
        assert same != isinstance(graph.get_submodule(name.rpartition(".")[0]), nn.BatchNorm2d), name
    assert all(parameter.requires_grad for parameter in graph.parameters())


def test_bop_leaves_nothing_but_signs() -> None:
    weight = {"scale": {"kind": "learned"}, "center": False}
    bop = TWO | {"optimizer": {"name": "bop", "lr": 5e-3, "gamma": 0.05}}
    result = trained(recipe("xnor", train=stages(bop), defaults={"weight": weight}))
    for layer in (m for m in result.graph.modules() if isinstance(m, BinaryWeightLayer)):
        assert set(layer.weight.unique().tolist()) == {-1.0, 1.0}
    assert sum(row["flips"] for row in result.history) > 0
    floating = stages(bop | {"name": "float weights", "binarize": ["activation"]}, TWO)
    with pytest.raises(RecipeError, match="bop flips signs, but stage 'float weights' has float weights"):
        trained(recipe("xnor", train=floating, defaults={"weight": weight}))


def test_epochs_are_judged_by_images_held_out_and_never_by_val(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    accuracy = Run.accuracy

    def watched(run: Run, split: Any, samples: int | None = None) -> float | None:
        seen.append(0 if split is None else len(split))
        return accuracy(run, split, samples)

    monkeypatch.setattr(Run, "accuracy", watched)
    chosen = recipe("xnor", train=stages(TWO) | {"holdout": 56, "select": "best"})
    result = trained(chosen, val=task(40, seed=1))
    assert seen == [56, 56, 40]  # two epochs, and the result
    assert all(row["val_accuracy"] is not None for row in result.history)


def test_the_averaged_network_gets_its_own_statistics() -> None:
    """Its last BatchNorm statistics are those that its own layers have on the images of the re-estimation."""
    chosen = recipe("bwn", train=stages(TWO) | {"ema": 0.98})
    graph = trained(chosen).graph
    norm, before = graph.get_submodule("bn1"), graph.get_submodule("conv1")
    feed = Feed(task(), NORMALIZE, 32)
    means = torch.stack([before(batch.x).mean((0, 2, 3)) for batch in list(feed.epoch(-1))[:4]]).mean(0)
    torch.testing.assert_close(norm.running_mean, means.detach(), rtol=1e-4, atol=1e-5)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UsageError, match=r"train\.device: cuda, but torch sees no CUDA device"):
        trained(recipe("bwn", train=stages(TWO) | {"device": "cuda"}))


def test_a_finished_run_resumes_to_itself(tmp_path: Path) -> None:
    chosen = recipe("bwn", train=stages(TWO))
    first = trained(chosen, directory=tmp_path)
    again = trained(chosen, directory=tmp_path, resume=True, progress=Interrupt(1, True))
    assert state(again.graph) == state(first.graph)


def test_resuming_with_another_recipe_or_model_is_refused(tmp_path: Path) -> None:
    trained(recipe("bwn", train=stages(TWO)), directory=tmp_path)
    with pytest.raises(UsageError, match="another recipe"):
        trained(recipe("bwn", train=stages(ONE | {"binarize": ["weight"]})), directory=tmp_path, resume=True)
    with pytest.raises(UsageError, match="another model"):
        trained(recipe("bwn", train=stages(TWO)), directory=tmp_path, resume=True, meta={"sha256": "other"})


def test_interrupted_before_the_first_checkpoint(tmp_path: Path) -> None:
    chosen = recipe("bwn", train=stages(TWO))
    with pytest.raises(KeyboardInterrupt, match="nothing has been saved"):
        trained(chosen, directory=tmp_path / "x", train=task(32 * 24), progress=Interrupt(1, False))
    assert not is_checkpoint(tmp_path / "x")


def test_stages_switch_what_is_binary(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, set[bool], set[bool]]] = []
    epoch = loop_module._train_epoch

    def watched(run: Any, stage: Any, *rest: Any) -> Any:
        weights = {m.binarize_weight for m in run.graph.modules() if isinstance(m, BinaryWeightLayer)}
        signs = {m.binarize for m in run.graph.modules() if isinstance(m, Sign)}
        seen.append((stage.name, weights, signs))
        return epoch(run, stage, *rest)

    monkeypatch.setattr(loop_module, "_train_epoch", watched)
    floating = {"name": "float", "epochs": 1, "binarize": []}
    result = trained(recipe("xnor", train=stages(floating, ONE, TWO)))
    assert seen == [
        ("float", {False}, {False}),
        ("one", {False}, {True}),
        ("two", {True}, {True}),
        ("two", {True}, {True}),
    ]
    assert all(m.binarize_weight for m in result.graph.modules() if isinstance(m, BinaryWeightLayer))


def test_latents_stay_within_the_clip_and_all_learn() -> None:
    chosen = recipe("xnor", train=stages(TWO | {"optimizer": {"lr": 0.5}}), defaults={"weight": {"clip": 0.3}})
    graph = trained(chosen).graph
    layers = [m for m in graph.modules() if isinstance(m, BinaryWeightLayer)]
    assert max(float(m.weight.detach().abs().max()) for m in layers) == pytest.approx(0.3)


def test_zero_epochs_only_reestimate_batchnorm() -> None:
    chosen = recipe("bc", train=stages({"epochs": 0}))
    result = trained(chosen, val=task(50, seed=1))
    assert result.history == []
    for norm in (m for m in result.graph.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)):
        assert int(norm.num_batches_tracked) == 4
        assert float(norm.running_var.max()) > 0
    assert result.accuracy is not None


def test_last_statistics_are_those_of_the_last_weights() -> None:
    chosen = recipe("xnor", train=stages(TWO))
    result = trained(chosen)
    norm = result.graph.get_submodule("bn2")
    assert int(norm.num_batches_tracked) == 4  # bn_reestimate_batches, not the steps of training


def test_reports_come_to_an_end_with_validation_and_time_left() -> None:
    reports: list[Progress] = []
    trained(recipe("bwn", train=stages(TWO)), train=task(32 * 45), val=task(40, 1), progress=reports.append)
    assert [(r.epoch, r.step, r.val_accuracy is not None) for r in reports] == [
        (1, 20, False), (1, 40, False), (1, 45, True), (2, 20, False), (2, 40, False), (2, 45, True),
    ]  # fmt: skip
    assert all(r.epochs == 2 and r.steps == 45 and 0 <= r.accuracy <= 1 and r.flips >= 0 for r in reports)
    assert reports[0].seconds_left > 0
    assert reports[-1].seconds_left == 0


def test_threads_and_determinism_are_restored() -> None:
    before = torch.get_num_threads()
    trained(recipe("bwn", train=stages(ONE | {"binarize": ["weight"]}) | {"threads": before + 1}))
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_last_stage_that_leaves_layers_float_is_refused() -> None:
    with pytest.raises(RecipeError, match="leaves weight float"):
        trained(recipe("xnor", train=stages(TWO, ONE)))
    trained(recipe("bwn", train=stages(ONE | {"binarize": ["weight"]})))


def test_data_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match=r"images are \(1, 8, 8\), the model wants \(3, 4, 4\)"):
        trained(recipe("bwn", train=stages(TWO)), meta={"input_shape": (3, 4, 4)})


def test_stochastic_binaryconnect_says_what_its_export_is(tmp_path: Path) -> None:
    chosen = recipe("bc", defaults={"weight": {"stochastic": True}}, train=stages(ONE | {"binarize": ["weight"]}))
    result = trained(chosen, directory=tmp_path)
    assert any("sgn(w)" in note for note in result.notes)
    layer = result.graph.get_submodule("conv2")
    assert set(layer.binary_weight().unique().tolist()) == {-1.0, 1.0}
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(result.graph(x), result.graph(x))  # evaluation draws nothing
    assert "sgn(w)" in json.dumps(json.loads((tmp_path / "checkpoint.json").read_text())["notes"])


def test_mallopt_is_tried_where_there_is_one() -> None:
    assert keep_freed_memory() in (True, False)


def test_a_gpu_is_named_with_its_index_as_tensors_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else they would be taken for tensors of another device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert choose_device("auto") == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")


NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@NEEDS_GPU
@pytest.mark.parametrize("name", ["bwn", "xnor"])
def test_a_gpu_trains_too(name: str) -> None:
    result = trained(recipe(name, train=stages(TWO) | {"device": "cuda"}), val=task(40, seed=1))
    assert result.history[-1]["device"] == torch.cuda.get_device_name()
    assert all(tensor.device.type == "cpu" for tensor in result.graph.state_dict().values())


def counted(monkeypatch: pytest.MonkeyPatch, *, waits: bool = False) -> list[None]:
    """One entry for each time that a step's loss is computed by Python, which may wait for it."""
    loss, calls = step_module.training_loss, []

    def counting(*arguments: Any) -> torch.Tensor:
        value = loss(*arguments)
        if waits:
            float(value.detach())
        calls.append(None)
        return value

    monkeypatch.setattr(step_module, "training_loss", counting)
    return calls


@NEEDS_GPU
@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("options", [DISTILL, OPTIONS["views"], OPTIONS["ema"], OPTIONS["mixup"]])
def test_recorded_steps_give_the_bits_of_plain_ones(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], stochastic: bool
) -> None:
    chosen = recipe(
        "irnet",  # its gradient follows progress
        train=stages(ONE, TWO) | {"device": "cuda"} | options,
        defaults={"weight": {"stochastic": stochastic}},
    )
    calls = counted(monkeypatch)
    recorded = trained(chosen)
    assert len(calls) == (3 + 1) + (3 + 1 + 1)  # of each stage three plain steps, of each epoch a recording
    monkeypatch.setattr(step_module, "can_be_recorded", lambda optimizer: False)
    plain = trained(chosen)
    assert state(recorded.graph) == state(plain.graph)
    assert [row["loss"] for row in recorded.history] == [row["loss"] for row in plain.history]


@NEEDS_GPU
def test_what_cannot_be_recorded_trains_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = recipe("xnor", train=stages(ONE, TWO) | {"device": "cuda"}, defaults={"weight": {"stochastic": True}})
    expected = trained(chosen)
    calls = counted(monkeypatch, waits=True)
    with pytest.warns(UserWarning, match="cannot be recorded"):
        assert state(trained(chosen).graph) == state(expected.graph)
    assert len(calls) == 3 * 8
