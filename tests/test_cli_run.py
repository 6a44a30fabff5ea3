"""The arguments of commands that no training is needed to refuse."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bincompress.cli.convert import convert
from bincompress.cli.options import parse_shape
from bincompress.cli.run import run
from bincompress.errors import DataError, UsageError
from bincompress.outputs import check_file
from bincompress.pack import write_packed
from bincompress.runtime.session import load
from tests.programs import CASES, build


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    program, _ = build(CASES["binary_conv2d-steps9-wide"])
    write_packed(program, tmp_path / "m.gguf", {"recipe": "method: xnor\n"})
    np.save(tmp_path / "x.npy", np.zeros((1, *load(tmp_path / "m.gguf").input_shape), np.float32))
    return tmp_path / "m.gguf"


@pytest.mark.parametrize("force", [False, True])
def test_run_refuses_a_directory_as_its_output(packed: Path, force: bool) -> None:
    with pytest.raises(UsageError, match="is a directory"):
        run(packed, packed.parent / "x.npy", packed.parent, force=force)


def test_run_says_that_it_cannot_write(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UsageError, match=r"y\.npy: cannot be written: No space left on device"):
        run(packed, packed.parent / "x.npy", packed.parent / "y.npy")
    assert sorted(path.name for path in packed.parent.iterdir()) == ["m.gguf", "x.npy"]


def test_run_wants_one_array_and_not_an_archive(packed: Path) -> None:
    np.savez(packed.parent / "x.npz", x=np.load(packed.parent / "x.npy"))
    with pytest.raises(DataError, match=r"x\.npz: an archive of arrays"):
        run(packed, packed.parent / "x.npz", packed.parent / "y.npy")


def test_an_input_shape_of_other_digits_is_refused() -> None:
    with pytest.raises(UsageError, match="three positive numbers"):
        parse_shape("1,\N{SUPERSCRIPT TWO},8")


def test_a_checkpoint_takes_no_epochs_not_even_none(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.json").write_text("{}")
    with pytest.raises(UsageError, match="--epochs"):
        convert(str(tmp_path), epochs=0)


def test_a_read_only_folder_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # permissions do not hold for root
    with pytest.raises(UsageError, match="is read-only"):
        check_file(tmp_path / "m.gguf", force=False)
