"""Checkpoints of PyTorch and safetensors: every wrapping of the same weights gives the same network; no code runs."""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bincompress import zoo
from bincompress.errors import BincompressError, ModelLoadError, UnsupportedOpError
from bincompress.load import load_model
from bincompress.load.kinds import kind_of
from bincompress.program import Normalize

FACTORY = "bincompress.zoo:digits_cnn"


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(3)
    module = zoo.digits_cnn()
    for key, value in module.state_dict().items():
        if key.endswith("running_mean"):
            value.normal_()
    return module.eval()


def refused(path: Path | str, **options: Any) -> str:
    """The one line of a refusal."""
    with pytest.raises(BincompressError) as caught:
        load_model(path, **options)
    text = str(caught.value)
    assert caught.value.exit_code == 3
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert "\x1b" not in text
    return text


@pytest.mark.parametrize("length", [0x80, 0x4B50])
def test_a_length_that_looks_like_another_kind_of_file_is_a_length(length: int, tmp_path: Path) -> None:
    """safetensors begin with the length of their header: here the first byte of a pickle, or the `PK` of an archive."""
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path = tmp_path / "weights.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + header.ljust(length) + bytes(4))
    assert kind_of(path) == "safetensors"


def legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def old(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


WRAPPINGS: dict[str, Callable[[dict[str, Tensor], Path], Any]] = {
    "plain": lambda state, path: torch.save(state, path),
    "legacy": legacy,
    "ordered": lambda state, path: torch.save(OrderedDict(state), path),
    "state_dict": lambda state, path: torch.save({"state_dict": state, "epoch": 3, "best": 0.5}, path),
    "model": lambda state, path: torch.save({"model": state, "optimizer": {"state": {}}}, path),
    "nested": lambda state, path: torch.save({"state_dict": {"model": state}}, path),
    "module.": lambda state, path: torch.save({f"module.{key}": value for key, value in state.items()}, path),
    "both": lambda state, path: legacy({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path),
    "compiled": lambda state, path: torch.save({f"_orig_mod.module.{k}": v for k, v in state.items()}, path),
    "lightning": lambda state, path: torch.save({"state_dict": {f"model.{k}": v for k, v in state.items()}}, path),
    "averaged": lambda state, path: torch.save(
        {"n_averaged": torch.tensor(4), **{f"module.{k}": v for k, v in state.items()}}, path
    ),
    "before counters": lambda state, path: torch.save(old(state), path),
    "parameters": lambda state, path: torch.save({key: nn.Parameter(v, False) for key, v in state.items()}, path),
    "safetensors": save_file,
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_every_wrapping_gives_the_same_network(tmp_path: Path, network: nn.Module, name: str) -> None:
    path = tmp_path / "model.bin"  # the kind is found by content
    WRAPPINGS[name](dict(network.state_dict()), path)
    model = load_model(path, factory=FACTORY)
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(model.graph(x), network(x))
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.input_shape == (1, 8, 8)
    assert model.normalize == Normalize((0.5,), (0.5,))
    assert model.source == str(path)
    prefixed = ("module.", "both", "compiled", "lightning", "averaged")
    assert any("prefix" in note for note in model.notes) == (name in prefixed)


def test_half_precision_weights_are_converted(tmp_path: Path, network: nn.Module) -> None:
    state = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    torch.save(state, tmp_path / "m.pt")
    model = load_model(tmp_path / "m.pt", factory=FACTORY)
    assert {value.dtype for value in model.graph.parameters()} == {torch.float32}
    assert "half-precision" in " ".join(model.notes)


def test_tensors_saved_on_a_gpu_are_read_on_the_cpu(tmp_path: Path, network: nn.Module) -> None:
    # No GPU here: write "cuda:0" where torch writes a storage's device, in both formats.
    torch.save(network.state_dict(), tmp_path / "cpu.pt", _use_new_zipfile_serialization=False)
    data = (tmp_path / "cpu.pt").read_bytes()
    assert b"X\x03\x00\x00\x00cpu" in data
    (tmp_path / "cuda.pt").write_bytes(data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(tmp_path / "cuda.pt", weights_only=True)
    model = load_model(tmp_path / "cuda.pt", factory=FACTORY)
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(model.graph(x), network(x))


# --- what does not fit ------------------------------------------------------------------------------------------------


def test_weights_alone_ask_for_a_factory(tmp_path: Path, network: nn.Module) -> None:
    torch.save(network.state_dict(), tmp_path / "m.pt")
    text = refused(tmp_path / "m.pt")
    assert "--factory" in text
    assert "conv1.weight" in text


def test_missing_and_unexpected_names_are_counted(tmp_path: Path, network: nn.Module) -> None:
    state = dict(network.state_dict())
    state["extra.weight"] = state.pop("fc.weight")
    torch.save(state, tmp_path / "m.pt")
    text = refused(tmp_path / "m.pt", factory=FACTORY)
    assert "1 missing (fc.weight); 1 unexpected (extra.weight)" in text
    assert FACTORY in text


def test_another_shape_is_named(tmp_path: Path, network: nn.Module) -> None:
    state = dict(network.state_dict())
    state["fc.weight"] = torch.zeros(7, 512)
    torch.save(state, tmp_path / "m.pt")
    assert "fc.weight (7, 512) for (10, 512)" in refused(tmp_path / "m.pt", factory=FACTORY)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, network: nn.Module, value: float) -> None:
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    state["bn2.running_var"][3] = value
    torch.save(state, tmp_path / "m.pt")
    assert "bn2.running_var" in refused(tmp_path / "m.pt", factory=FACTORY)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], 7, {"state_dict": {}}, torch.zeros(3), {"a": {"b": 1}}])
def test_a_checkpoint_without_weights_is_one_line(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "m.pt")
    refused(tmp_path / "m.pt", factory=FACTORY)


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        ("bincompress.zoo:resnet", "resnet20"),
        ("bincompress.zooo:resnet20", "ModuleNotFoundError"),
        ("bincompress.zoo", "package.module:function"),
        ("nowhere.py:f", "no file nowhere.py"),
        ("{dir}/f.py:raises", "ZeroDivisionError"),
        ("{dir}/f.py:number", "returned a int"),
        ("{dir}/f.py:needs", "TypeError"),
        ("{dir}/f.py:shape", "expected (channels, height, width)"),
        ("{dir}/f.py:norm", "expected (mean, std)"),
        ("{dir}/f.py:silent", "input_shape"),
        ("{dir}/bad.py:f", "SyntaxError"),
    ],
)
def test_a_factory_that_fails_is_one_line(tmp_path: Path, network: nn.Module, factory: str, expected: str) -> None:
    (tmp_path / "bad.py").write_text("def f(:\n")
    (tmp_path / "f.py").write_text(
        "from bincompress import zoo\n"
        "def raises(): return 1 / 0\n"
        "def number(): return 3\n"
        "def needs(width): return None\n"
        "def shape(): return zoo.digits_cnn()\n"
        "shape.input_shape = (8, 8)\n"
        "def norm(): return zoo.digits_cnn()\n"
        "norm.normalize = 0.5\n"
        "def silent(): return zoo.digits_cnn()\n"
    )
    torch.save(network.state_dict(), tmp_path / "m.pt")
    assert expected in refused(tmp_path / "m.pt", factory=factory.format(dir=tmp_path))


def test_a_factory_in_a_file_of_the_user(tmp_path: Path, network: nn.Module) -> None:
    (tmp_path / "parts_of_mine.py").write_text("from bincompress.zoo import digits_cnn as inner\n")
    (tmp_path / "net.py").write_text(
        "from parts_of_mine import inner\n"
        "def make():\n    return inner()\n"
        "make.input_shape = [1, 8, 8]\n"
        "make.normalize = ([0.25], [0.5])\n"
    )
    torch.save(network.state_dict(), tmp_path / "m.pt")
    model = load_model(tmp_path / "m.pt", factory=f"{tmp_path}/net.py:make")
    assert model.normalize == Normalize((0.25,), (0.5,))
    assert model.input_shape == (1, 8, 8)
    assert str(tmp_path) not in sys.path


def test_the_shape_that_the_caller_gives_goes_first(tmp_path: Path) -> None:
    torch.save(zoo.resnet20().state_dict(), tmp_path / "m.pt")
    model = load_model(tmp_path / "m.pt", factory="bincompress.zoo:resnet20", input_shape=(3, 48, 40))
    assert model.input_shape == (3, 48, 40)
    assert "(1, 28, 28)" in refused(tmp_path / "m.pt", factory="bincompress.zoo:resnet20", input_shape=(1, 28, 28))


# --- the zoo as a model -----------------------------------------------------------------------------------------------


def test_a_fresh_network_is_the_same_every_time_and_says_so() -> None:
    torch.manual_seed(1)
    first = load_model("zoo:digits_cnn")
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)  # torch's own random state is left alone
    second = load_model("zoo:digits_cnn")
    assert all(torch.equal(a, b) for a, b in zip(first.graph.parameters(), second.graph.parameters(), strict=True))
    assert first.sha256 == second.sha256
    assert "random" in first.notes[0]
    assert "lenet5" in refused("zoo:lenet")


# --- safety -----------------------------------------------------------------------------------------------------------


class Evil(nn.Module):
    """Makes a directory when it is unpickled."""

    target = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("save", [torch.save, legacy], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"model": m}, lambda m: {"state_dict": {}, "x": m}])
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, save: Any, wrap: Any) -> None:
    evil = Evil()
    evil.target = str(tmp_path / "made-by-pickle")
    save(wrap(evil), tmp_path / "m.pt")
    text = refused(tmp_path / "m.pt", factory=FACTORY)
    assert "posix.mkdir" in text
    assert "--trust" in text
    assert "--factory" in text
    assert not Path(evil.target).exists()


@pytest.mark.parametrize("save", [torch.save, legacy], ids=["zip", "legacy"])
def test_a_refusal_names_every_blocked_global(tmp_path: Path, save: Any) -> None:
    save({"model": nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()), "args": argparse.Namespace(a=1)}, tmp_path / "m.pt")
    text = refused(tmp_path / "m.pt")
    for name in ("argparse.Namespace", "container.Sequential", "conv.Conv2d", "activation.ReLU"):
        assert name in text


def test_a_plain_pickle_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"a": 1}))
    assert "not one that torch.save wrote" in refused(tmp_path / "m.pkl", factory=FACTORY)


def test_names_in_a_file_cannot_break_the_message(tmp_path: Path, network: nn.Module) -> None:
    torch.save({"a\nb\x1b[31m" + "c" * 5000: torch.zeros(1)}, tmp_path / "m.pt")
    assert len(refused(tmp_path / "m.pt", factory=FACTORY)) < 1100


@pytest.mark.parametrize("save", [torch.save, legacy], ids=["zip", "legacy"])
def test_a_pickled_module_loads_with_trust(tmp_path: Path, network: nn.Module, save: Any) -> None:
    x = torch.randn(3, 1, 8, 8)
    for content in (network, {"model": network, "epoch": 1}):
        save(content, tmp_path / "m.pt")
        model = load_model(tmp_path / "m.pt", trust=True, input_shape=(1, 8, 8))
        assert torch.equal(model.graph(x), network(x))
        assert model.normalize is None
        model = load_model(tmp_path / "m.pt", trust=True, factory=FACTORY)
        assert torch.equal(model.graph(x), network(x))
    assert "input_shape" in refused(tmp_path / "m.pt", trust=True)


def test_a_state_dict_beside_other_objects_loads_with_trust(tmp_path: Path, network: nn.Module) -> None:
    torch.save({"state_dict": network.state_dict(), "args": argparse.Namespace(lr=1)}, tmp_path / "m.pt")
    assert "argparse.Namespace" in refused(tmp_path / "m.pt", factory=FACTORY)
    load_model(tmp_path / "m.pt", factory=FACTORY, trust=True)


def test_an_unsupported_layer_in_a_pickled_module_is_named(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 1, 3)), tmp_path / "m.pt")
    with pytest.raises(UnsupportedOpError, match="layer 1: operation ConvTranspose2d"):
        load_model(tmp_path / "m.pt", trust=True, input_shape=(1, 8, 8))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_program_archives_are_refused_without_trust_and_give_weights_with_it(
    tmp_path: Path, network: nn.Module
) -> None:
    x = torch.randn(3, 1, 8, 8)
    script: Any = torch.jit.script(network)
    script.save(str(tmp_path / "script.pt"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(network, (x,)), tmp_path / "exported.pt2")
    for name, kind in (("script.pt", "TorchScript"), ("exported.pt2", "torch.export")):
        path = tmp_path / name
        for options in ({}, {"factory": FACTORY}):
            text = refused(path, **options)
            assert kind in text
            assert "ONNX" in text
            assert "--trust" in text
        with pytest.raises(UnsupportedOpError, match="export the model as ONNX"):
            load_model(path, trust=True)
        assert torch.equal(load_model(path, trust=True, factory=FACTORY).graph(x), network(x))


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "legacy", "safetensors"])
@pytest.mark.parametrize("trust", [False, True])
def test_truncated_files_are_one_line(tmp_path: Path, network: nn.Module, name: str, trust: bool) -> None:
    path = tmp_path / "m"
    WRAPPINGS[name](dict(network.state_dict()), path)
    data = path.read_bytes()
    for keep in (0, 1, 4, 9, 40, 300, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:keep])
        refused(path, factory=FACTORY, trust=trust)


@pytest.mark.parametrize("name", ["plain", "legacy", "safetensors"])
def test_bytes_changed_at_random_never_escape_as_another_error(tmp_path: Path, network: nn.Module, name: str) -> None:
    path = tmp_path / "m"
    WRAPPINGS[name](dict(network.state_dict()), path)
    data = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        damaged = bytearray(data)
        at = int(torch.randint(0, 1500, (1,), generator=generator))
        damaged[at if at < 750 else at - 1500] = int(torch.randint(0, 256, (1,), generator=generator))
        path.write_bytes(bytes(damaged))
        with suppress(BincompressError):
            load_model(path, factory=FACTORY)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty"),
        (b"GGUF\x03\0\0\0", "packed GGUF file"),
        (b"\x89HDF\r\n\x1a\n", "Keras"),
        (b"\x93NUMPY", "NumPy"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"import torch\n", "of no known kind"),
        (b"PK\x05\x06" + bytes(18), "without a model"),
        (b"PK\x03\x04", "damaged or incomplete archive"),
    ],
)
def test_other_kinds_of_files_are_told_apart(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    assert expected in refused(path)


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "absent.pt")
    assert "directory" in refused(tmp_path)


def test_errors_are_of_the_documented_classes() -> None:
    assert ModelLoadError.exit_code == UnsupportedOpError.exit_code == 3
