"""Training of float networks: what is written loads again, and a stopped run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from bincompress.errors import RecipeError, UsageError
from bincompress.evaluate import evaluate
from bincompress.finetune import Progress
from bincompress.float_training import train_float
from bincompress.pipeline import Source, convert
from bincompress.recipe import load_recipe
from bincompress.report import SILENT

ZOO = Source("zoo:digits_cnn")
TWO = load_recipe("float", ("train.stages.0.epochs=2", "train.batch_size=64"))


class Stop:
    """Ctrl-C in the second epoch."""

    def stage(self, text: str) -> None:
        pass

    def training(self, progress: Progress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt


def test_what_is_written_is_what_was_trained(tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    found = train_float(ZOO, TWO, data="digits", output=out)
    assert found["accuracy"] > 0.9
    assert found["epochs"] == 2
    assert evaluate(out, "digits", factory="bincompress.zoo:digits_cnn")["top1"] == found["accuracy"]
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    train_float(ZOO, TWO, data="digits", output=tmp_path / "whole.safetensors")
    parts = tmp_path / "parts.safetensors"
    other = tmp_path / "parts.ckpt"  # what a conversion to parts.gguf leaves
    other.mkdir()
    (other / "mine").write_bytes(b"mine")
    with pytest.raises(KeyboardInterrupt, match="the same command and --resume"):
        train_float(ZOO, TWO, data="digits", output=parts, force=True, reporter=Stop())
    assert not parts.exists()
    with pytest.raises(UsageError, match=r"parts\.float\.ckpt exists: --resume goes on"):
        train_float(ZOO, TWO, data="digits", output=parts)
    train_float(ZOO, TWO, data="digits", output=parts, resume=True)
    assert parts.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert (other / "mine").read_bytes() == b"mine"
    assert not (tmp_path / "parts.float.ckpt").exists()


def test_its_recipe_does_not_convert(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'float', leaves weight float"):
        convert("zoo:digits_cnn", "float", data="digits", output=tmp_path / "x.gguf", reporter=SILENT)


def test_data_is_needed_and_outputs_are_kept(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="training needs data"):
        train_float(ZOO, TWO, output=tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match=r"net\.onnx: .* give --factory"):
        train_float(Source("net.onnx"), TWO, data="digits", output=tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match=r"x\.pt: state dicts are written as \.safetensors"):
        train_float(ZOO, TWO, data="digits", output=tmp_path / "x.pt")
    (tmp_path / "x.safetensors").write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists; --force"):
        train_float(ZOO, TWO, data="digits", output=tmp_path / "x.safetensors")
