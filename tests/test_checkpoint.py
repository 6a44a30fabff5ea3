"""Checkpoints: complete at every moment, rebuilt without code, clear about damage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from bincompress import checkpoint as checkpoint_module
from bincompress.checkpoint import is_checkpoint, load_checkpoint, save_checkpoint
from bincompress.errors import ModelLoadError, UsageError
from tests.finetune.synthetic import NORMALIZE, recipe, stages, state, task, trained

STAGE = {"name": "s", "epochs": 2}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint") / "ckpt"
    trained(recipe("xnor", train=stages(STAGE)), directory=directory, val=task(40, 1))
    return directory


@pytest.fixture
def directory(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def test_what_is_saved_comes_back(directory: Path) -> None:
    found = load_checkpoint(directory)
    result = trained(recipe("xnor", train=stages(STAGE)), val=task(40, 1))
    assert state(found.graph) == state(result.graph)
    assert found.recipe.to_yaml() == recipe("xnor", train=stages(STAGE)).to_yaml()
    assert (found.epoch, found.finished, found.sha256, found.source) == (2, True, "sha-of-model", "model.pt")
    assert (found.input_shape, found.normalize, found.classes) == ((1, 8, 8), NORMALIZE, ("a", "b", "c", "d"))
    assert found.accuracy["binary"] == result.accuracy
    assert [row["name"] for row in found.plan] == ["conv1", "conv2", "conv3", "fc"]
    assert found.teacher is not None
    assert not found.graph.training
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(found.graph(x), result.graph(x))


def test_saving_again_replaces_and_leaves_nothing_behind(directory: Path) -> None:
    found = load_checkpoint(directory)
    found.epoch = 7
    save_checkpoint(found, directory)
    assert sorted(path.name for path in directory.iterdir()) == [
        "checkpoint.json", "epoch-0007-final", "recipe.yaml", "teacher.safetensors",
    ]  # fmt: skip
    assert load_checkpoint(directory).epoch == 7


@pytest.mark.parametrize("writes", range(5))
def test_a_crash_while_saving_leaves_the_previous_epoch(
    directory: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    found = load_checkpoint(directory)
    before = state(found.graph)
    replace, count = checkpoint_module._replace, 0

    def crash(path: Path, content: bytes) -> None:
        nonlocal count
        count += 1
        if count > writes:
            raise RuntimeError("power cut")
        replace(path, content)

    monkeypatch.setattr(checkpoint_module, "_replace", crash)
    found.epoch, found.finished = 9, False
    found.optimizer = {"x/exp_avg": torch.ones(3)}
    with torch.no_grad():
        found.graph.get_submodule("conv2").weight.neg_()
    if writes < 5:
        with pytest.raises(RuntimeError, match="power cut"):
            save_checkpoint(found, directory)
    again = load_checkpoint(directory)
    assert again.epoch == 2
    assert state(again.graph) == before


def test_no_checkpoint_here(tmp_path: Path) -> None:
    assert not is_checkpoint(tmp_path)
    with pytest.raises(ModelLoadError, match=r"checkpoint\.json cannot be read"):
        load_checkpoint(tmp_path)
    with pytest.raises(ModelLoadError, match="no checkpoint"):
        load_checkpoint(tmp_path / "absent")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "checkpoint.json").write_text("{"), "not JSON"),
        (lambda d: (d / "checkpoint.json").write_text("[]"), "format None, expected 1"),
        (lambda d: (d / "recipe.yaml").unlink(), "incomplete checkpoint"),
        (lambda d: (d / "recipe.yaml").write_text("method: nonsense"), "nonsense"),
        (lambda d: shutil.rmtree(d / "epoch-0002-final"), "incomplete checkpoint"),
        (lambda d: (d / "teacher.safetensors").write_bytes(b"\x10"), "teacher.safetensors: damaged"),
        (lambda d: edit(d, epoch_directory="../../etc"), "epoch_directory is '../../etc'"),
        (lambda d: edit(d, plan=None, graph=None), "malformed"),
        (lambda d: edit(d, input_shape=[1, 2]), "malformed checkpoint"),
        (lambda d: edit(d, graph=without_a_layer(d)), "does not fit the network"),
    ],
)
def test_damage_is_one_clear_error(directory: Path, damage: object, message: str) -> None:
    damage(directory)  # type: ignore[operator]
    with pytest.raises(ModelLoadError, match=message) as caught:
        load_checkpoint(directory)
    assert "\n" not in str(caught.value)


def edit(directory: Path, **fields: object) -> None:
    path = directory / "checkpoint.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def without_a_layer(directory: Path) -> object:
    graph = json.loads((directory / "checkpoint.json").read_text())["graph"]
    graph["modules"]["fc"]["config"]["out_features"] = 5
    return graph


def test_a_directory_that_cannot_be_written(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write the checkpoint"):
        save_checkpoint(load_checkpoint(directory), tmp_path / "file" / "ckpt")


def test_a_first_save_that_fails_leaves_no_directory_behind(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    found = load_checkpoint(directory)
    monkeypatch.setattr(checkpoint_module, "_replace", full)
    with pytest.raises(UsageError, match="cannot write the checkpoint: No space left on device"):
        save_checkpoint(found, tmp_path / "new.ckpt")
    assert not (tmp_path / "new.ckpt").exists()
