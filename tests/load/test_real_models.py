"""Published models reach their published accuracy; on a part of the test set, which one core runs in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bincompress.data import default_normalize, open_data
from bincompress.errors import ModelLoadError, UnsupportedOpError
from bincompress.graph import FloatModel
from bincompress.load import load_model
from bincompress.program import Normalize

PIXELS = Normalize((0.0,), (1 / 255,))

# file, factory, data, normalisation (None: the factory's), correct of the first 500 test images.
# On all 10,000 they reach 91.73, 92.00, 99.13 and 98.91 %.
MODELS = [
    ("resnet20-12fca82f.th", "bincompress.zoo:resnet20", "cifar10", None, 455),
    ("resnet20.onnx", None, "cifar10", default_normalize("cifar10"), 460),
    ("lenet.onnx", None, "mnist", default_normalize("mnist"), 496),
    ("opt-mnist.onnx", None, "mnist", PIXELS, 494),
]


def correct(model: FloatModel, data: Path, name: str, normalize: Normalize) -> int:
    split = open_data(f"{name}:{data / name}#test")
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (normalize.mean, normalize.std))
    x = (torch.from_numpy(split.images[:500]).float() / 255 - mean) / std
    with torch.no_grad():
        return int((model.graph(x).argmax(1).numpy() == split.labels[:500]).sum())


@pytest.mark.parametrize(("file", "factory", "data", "normalize", "expected"), MODELS, ids=lambda v: str(v)[:12])
def test_a_published_model_is_as_accurate_as_published(
    data_dir: Path, file: str, factory: str | None, data: str, normalize: Normalize | None, expected: int
) -> None:
    model = load_model(data_dir / "models" / file, factory=factory)
    normalize = normalize or model.normalize
    assert normalize is not None
    assert abs(correct(model, data_dir, data, normalize) - expected) <= 1


def test_names_in_an_onnx_file_are_those_of_the_network(data_dir: Path) -> None:
    model = load_model(data_dir / "models" / "lenet.onnx")
    layers = [str(node.target) for node in model.graph.graph.nodes if node.op == "call_module"]
    assert [path for path in layers if "." in path] == ["body.conv1", "body.conv2", "head.fc1", "head.fc2", "head.fc3"]
    assert model.notes == ("softmax dropped: the output is logits",)


def test_a_model_of_custom_operations_is_refused_by_name(data_dir: Path) -> None:
    with pytest.raises(UnsupportedOpError, match="node Mul_7: operation Mul"):
        load_model(data_dir / "models" / "TFC_1W1A.onnx")


def test_archives_of_programs_are_refused_without_trust(data_dir: Path) -> None:
    for file in ("cnn_model_scripted.pt", "exported_program.pt2"):
        with pytest.raises(ModelLoadError, match="--trust"):
            load_model(data_dir / "models" / file)


def test_an_archive_of_another_torch_is_one_line(data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelLoadError, match="export it as ONNX"):
        load_model(data_dir / "models" / "exported_program.pt2", trust=True, factory="bincompress.zoo:resnet20")
    assert capfd.readouterr() == ("", "")


# The network of cifar_net.pth: padding, pooling and softmax are calls, one pooling layer is used twice, no BatchNorm.
CIFAR_NET = """
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    input_shape = (3, 32, 32)
    normalize = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 32, 5), nn.Conv2d(32, 32, 5), nn.Conv2d(32, 64, 5)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(1024, 10)

    def forward(self, x):
        for conv in (self.conv1, self.conv2):
            x = self.pool(conv(F.pad(x, (2, 2, 2, 2))))
        x = F.max_pool2d(self.conv3(F.pad(x, (2, 2, 2, 2))), 1, 2)
        return F.softmax(self.fc(x.reshape((-1, 1024))), dim=1)
"""


def test_weights_for_a_network_of_the_user(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(CIFAR_NET)
    model = load_model(data_dir / "models" / "cifar_net.pth", factory=f"{tmp_path}/net.py:Net")
    layers = [str(node.target) for node in model.graph.graph.nodes if node.op == "call_module"]
    assert layers == ["conv1", "pool", "conv2", "pool_1", "conv3", "pool_2", "flatten", "fc"]
    assert model.normalize is not None
    assert abs(correct(model, data_dir, "cifar10", model.normalize) - 280) <= 1  # 60.32 % of all


# The network of cnn_model_scripted.pt.
SCRIPTED = """
from torch import nn


def block(c_in, c_out):
    return nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU(), nn.MaxPool2d(2)


class Net(nn.Module):
    input_shape = (1, 28, 28)
    normalize = ((0.0,), (1.0,))

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(*block(1, 32), *block(32, 64), *block(64, 128))
        hidden = nn.Linear(1152, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 256), nn.ReLU(), nn.Dropout()
        self.classifier = nn.Sequential(*hidden, nn.Linear(256, 10))

    def forward(self, x):
        return self.classifier(self.features(x).view(-1, 1152))
"""


def test_weights_of_a_torchscript_archive(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(SCRIPTED)
    path = data_dir / "models" / "cnn_model_scripted.pt"
    model = load_model(path, trust=True, factory=f"{tmp_path}/net.py:Net")
    assert model.normalize is not None
    assert abs(correct(model, data_dir, "mnist", model.normalize) - 494) <= 1  # 99.11 % of all


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch reads tensors of a GPU here")
def test_tensors_of_a_gpu_and_optimizer_state_are_no_obstacle(data_dir: Path) -> None:
    path = data_dir / "models" / "mobilenetV1X0.25_pretrain.tar"
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(path, weights_only=True)
    with pytest.raises(ModelLoadError, match="--factory") as caught:
        load_model(path)
    assert "stage1" in str(caught.value)
