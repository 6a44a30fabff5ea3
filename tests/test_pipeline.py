"""What a conversion refuses before it trains, and what it leaves when it is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bincompress import pipeline, zoo
from bincompress.errors import DataError, RecipeError, UnsupportedOpError, UsageError
from bincompress.inputs import choose_normalize, open_splits
from bincompress.load import load_model
from bincompress.pipeline import Source
from bincompress.program import Normalize
from bincompress.recipe import Recipe, load_recipe

FACTORY = "bincompress.zoo:digits_cnn"
TRAIN = ("train.stages.0.epochs=0", "train.stages.1.epochs=1", "train.batch_size=64", "train.bn_reestimate_batches=2")
NETWORKS = """
from collections import OrderedDict
from torch import nn

def six():
    layers = OrderedDict(
        a=nn.Conv2d(1, 8, 3), x=nn.ReLU6(), b=nn.Conv2d(8, 8, 3), y=nn.ReLU6(), f=nn.Flatten(), c=nn.Linear(128, 10)
    )
    return nn.Sequential(layers)

six.input_shape = (1, 8, 8)

def two_classes():
    return nn.Sequential(nn.Flatten(1), nn.Linear(64, 2))

two_classes.input_shape = (1, 8, 8)
"""


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A float network with weights in a file."""
    torch.manual_seed(0)
    save_file(zoo.digits_cnn().state_dict(), tmp_path / "float.safetensors")
    return Source(tmp_path / "float.safetensors", FACTORY)


def another(folder: Path, name: str) -> Source:
    """A network of NETWORKS with random weights in a file."""
    (folder / "nets.py").write_text(NETWORKS)
    names: dict[str, Any] = {}
    exec(NETWORKS, names)
    save_file(names[name]().state_dict(), folder / f"{name}.safetensors")
    return Source(folder / f"{name}.safetensors", f"{folder / 'nets.py'}:{name}")


def recipe(name: str, *overrides: str) -> Recipe:
    return load_recipe(name, [*TRAIN, *overrides])


def test_what_cannot_be_packed_is_refused_before_training(tmp_path: Path) -> None:
    chosen = load_recipe("bwn", ["data.normalize={mean: [0.5], std: [0.5]}"])
    for refused in (
        lambda: pipeline.convert(another(tmp_path, "six"), chosen, data="digits", output=tmp_path / "six.gguf"),
        lambda: pipeline.dry_run(another(tmp_path, "six"), chosen),
    ):
        with pytest.raises(UnsupportedOpError, match=r"Hardtanh\(0.*6"):
            refused()
    assert not (tmp_path / "six.ckpt").exists()


def test_random_weights_teach_nothing(tmp_path: Path) -> None:
    random = Source("zoo:digits_cnn")
    with pytest.raises(RecipeError, match=r"weights are random; first `bincompress train zoo:digits_cnn`"):
        pipeline.convert(random, recipe("xnor"), data="digits", output=tmp_path / "a.gguf")
    done = pipeline.finetune(random, recipe("xnor", "train.distill=null"), data="digits", output=tmp_path / "b.ckpt")
    assert done["epochs"] == 1
    done = pipeline.finetune(random, recipe("xnor").with_epochs(0), data="digits", output=tmp_path / "c.ckpt")
    assert done["epochs"] == 0


def test_a_teacher_has_the_same_classes(source: Source, tmp_path: Path) -> None:
    other = another(tmp_path, "two_classes")
    chosen = recipe("xnor", f"train.distill.teacher={other.path}", f"train.distill.factory={other.factory}")
    with pytest.raises(RecipeError, match=r"train\.distill\.teacher: answers with 2 classes, the network with 10"):
        pipeline.convert(source, chosen, data="digits", output=tmp_path / "a.gguf")


def test_the_file_is_not_called_as_its_checkpoint(source: Source, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"a\.ckpt: the checkpoint beside the file is called so; name the file a\.gguf"
    ):
        pipeline.convert(source, recipe("xnor"), data="digits", output=tmp_path / "a.ckpt")


def test_training_further_keeps_the_network(source: Source, tmp_path: Path) -> None:
    first = tmp_path / "first.ckpt"
    pipeline.finetune(source, recipe("xnor"), data="digits", output=first)
    with pytest.raises(RecipeError, match=r"defaults: is not that of .*first\.ckpt/recipe\.yaml"):
        pipeline.finetune_checkpoint(first, recipe("xnor", "defaults.estimator=identity"), data="digits")
    link = tmp_path / "link.ckpt"
    link.symlink_to(first)
    with pytest.raises(UsageError, match="exists"):
        pipeline.finetune_checkpoint(first, recipe("xnor"), data="digits", output=link, force=True)
    done = pipeline.finetune_checkpoint(first, recipe("xnor", "train.seed=7"), data="digits", output=tmp_path / "more")
    assert done["epochs"] == 1


def test_a_run_killed_in_its_first_save_is_in_nobodys_way(source: Source, tmp_path: Path) -> None:
    left = tmp_path / "a.ckpt"
    (left / "targets").mkdir(parents=True)
    (left / "epoch-0001").mkdir()
    (left / ".teacher.safetensors.tmp").write_bytes(b"half")
    done = pipeline.finetune(source, recipe("xnor"), data="digits", output=left)
    assert done["epochs"] == 1
    (tmp_path / "b.ckpt").mkdir()
    (tmp_path / "b.ckpt" / "recipe.yaml").write_text("method: xnor")  # may be the user's
    with pytest.raises(UsageError, match="exists and is no checkpoint"):
        pipeline.finetune(source, recipe("xnor"), data="digits", output=tmp_path / "b.ckpt", force=True)


def test_one_mean_serves_all_channels() -> None:
    chosen = load_recipe("xnor", ["data.normalize={mean: [0.4], std: [0.2]}"])
    model = load_model("zoo:resnet20")
    assert choose_normalize(chosen, model, None) == Normalize((0.4,) * 3, (0.2,) * 3)


def test_a_path_may_have_a_hash(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a#b"):
        open_splits(recipe("xnor"), f"mnist:{tmp_path}/a#b/mnist#train", None, (1, 28, 28))
