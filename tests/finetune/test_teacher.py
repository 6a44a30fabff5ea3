"""The teacher: answers kept by view, another network's normalisation, matched layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, fx, nn

from bincompress.errors import ModelLoadError, RecipeError
from bincompress.finetune.augment import normalized
from bincompress.finetune.feed import Batch, Feed
from bincompress.finetune.teacher import Features, Teacher, load_teacher, matching_layers
from bincompress.program import Normalize
from bincompress.recipe import Distill
from tests.binarize.networks import converted, zoo_model
from tests.finetune.synthetic import NORMALIZE, model, prepared, recipe, task

CPU = torch.device("cpu")


class Counting(nn.Module):
    """The float network of the tests, which counts the images that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.network: fx.GraphModule = model().graph.eval()
        self.images = 0

    def forward(self, x: Tensor) -> Tensor:
        self.images += len(x)
        logits: Tensor = self.network(x)
        return logits


def feed() -> Feed:
    return Feed(task(70), NORMALIZE, 16, transforms=("random_crop",))  # 6 images are left out of each epoch


def taught(teacher: Teacher, epochs: range) -> list[tuple[Batch, Tensor]]:
    """All batches of some epochs with the teacher's answers."""
    return [(b, teacher.answer(b, teacher.view(e))) for e in epochs for b in feed().epoch(e, teacher.view(e))]


def test_answers_are_computed_once_per_image_and_view() -> None:
    network = Counting()
    teacher = Teacher(network, Distill(views=2), task(70))
    answers = taught(teacher, range(2))
    assert network.images == 2 * 64
    answers += taught(teacher, range(2, 12))
    assert network.images <= 2 * 70  # the images that the first epochs left out
    for batch, answer in answers:
        torch.testing.assert_close(answer, network.network(batch.x))


def test_without_views_every_epoch_asks() -> None:
    network = Counting()
    taught(Teacher(network, Distill(), task(70)), range(3))
    assert network.images == 3 * 64


def test_answers_come_back_from_disk_and_only_for_their_data(tmp_path: Path) -> None:
    teacher = Teacher(Counting(), Distill(views=2), task(70))
    expected = taught(teacher, range(2))
    teacher.save(tmp_path)
    network = Counting()
    again = Teacher(network, Distill(views=2), task(70))
    again.load(tmp_path, CPU)
    for (_, first), (_, second) in zip(expected, taught(again, range(2)), strict=True):
        assert torch.equal(first, second)
    assert network.images == 0
    with pytest.raises(ModelLoadError, match="other data"):
        Teacher(network, Distill(views=2), task(70, seed=1)).load(tmp_path, CPU)
    next((tmp_path / "targets").iterdir()).write_bytes(b"damaged")
    with pytest.raises(ModelLoadError, match=r"view-.*damaged.*delete it"):
        again.load(tmp_path, CPU)


def test_only_views_that_changed_are_written(tmp_path: Path) -> None:
    teacher = Teacher(Counting(), Distill(views=2), task(70))
    taught(teacher, range(1))
    teacher.save(tmp_path)
    (first,) = (tmp_path / "targets").iterdir()
    first.unlink()
    taught(teacher, range(1, 2))
    teacher.save(tmp_path)
    assert [path.name for path in (tmp_path / "targets").iterdir()] == ["view-0001.safetensors"]


def test_a_teacher_with_a_normalisation_of_its_own_reads_its_own() -> None:
    network = Counting()
    other = Normalize((0.2,), (0.3,))
    pixels = torch.from_numpy(task(16).images)
    batch = Batch(torch.arange(16), normalized(pixels, NORMALIZE), torch.zeros(16), torch.zeros(16))
    answer = Teacher(network, Distill(), task(16), normalize=(NORMALIZE, other)).answer(batch, 0)
    torch.testing.assert_close(answer, network.network(normalized(pixels, other)), rtol=1e-4, atol=1e-5)


def test_another_network_can_teach(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        "from tests.finetune.synthetic import NORMALIZE, model\n\ndef net():\n    return model(3).graph\n\n"
        "net.input_shape, net.normalize = (1, 8, 8), NORMALIZE\n"
    )
    save_file({n: t.contiguous() for n, t in model(3).graph.state_dict().items()}, tmp_path / "t.safetensors")
    distill = Distill(teacher=str(tmp_path / "t.safetensors"), factory=f"{tmp_path / 'nets.py'}:net")
    graph, normalize = load_teacher(distill, (1, 8, 8))
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(graph(x), model(3).graph.eval()(x))
    assert normalize == NORMALIZE
    with pytest.raises(ModelLoadError):
        load_teacher(distill, (3, 8, 8))


def test_layers_match_by_name_sums_first() -> None:
    float_model, _, graph = prepared(recipe("xnor"))
    assert matching_layers(graph, float_model.graph) == ("conv2", "conv3")
    resnet = zoo_model("resnet20")
    sums = matching_layers(converted(resnet, recipe("xnor")), resnet.graph)
    assert len(sums) == 9
    with pytest.raises(RecipeError, match="no layers of the two networks match"):
        matching_layers(graph, nn.Sequential(nn.Linear(2, 2)))


def caught(layers: tuple[str, ...] | None) -> tuple[Features, Any, Any]:
    float_model, _, graph = prepared(recipe("xnor"))
    features = Features(graph, float_model.graph, layers)
    x = torch.randn(4, 1, 8, 8)
    graph(x), float_model.graph(x)
    return features, graph, float_model.graph


def test_features_are_the_outputs_of_both_networks() -> None:
    features, graph, original = caught(("conv2", "conv3_sign:relu2"))
    pairs = features.take()
    assert set(pairs) == {"conv2", "conv3_sign:relu2"}
    student, teacher = pairs["conv3_sign:relu2"]
    assert set(student.unique().tolist()) <= {-1.0, 1.0}
    assert float(teacher.detach().min()) >= 0
    assert features.take() == {}
    features.close()
    graph(torch.randn(1, 1, 8, 8)), original(torch.randn(1, 1, 8, 8))
    assert features.take() == {}


def test_layers_that_do_not_exist_or_differ_in_size_are_named() -> None:
    with pytest.raises(RecipeError, match="no layer 'conv9'; there are: conv1"):
        caught(("conv9",))
    with pytest.raises(RecipeError, match="conv2:pool"):
        caught(("conv2:pool",))[0].take()
