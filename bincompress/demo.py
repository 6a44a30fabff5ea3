"""The whole product in a minute: train a small float network on scikit-learn's digits, convert it, measure both."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from bincompress.bench.network import bench_network, load_baseline
from bincompress.data import open_data
from bincompress.errors import UsageError
from bincompress.float_training import train_float
from bincompress.pipeline import Source, convert
from bincompress.recipe import load_recipe
from bincompress.report import SILENT, Reporter

DATA = "digits"
RECIPE = "digits"
FACTORY = "bincompress.zoo:digits_cnn"
_EPOCHS = 15
_OVERRIDES = (f"train.stages.0.epochs={_EPOCHS}", "train.batch_size=64")
_MARK = ".bincompress-demo"


def demo(folder: Path, reporter: Reporter = SILENT, threads: int = 1) -> dict[str, Any]:
    """Fill `folder` with a float model, its 1-bit checkpoint and packed file; a folder of an earlier demo is replaced.

    Returns: what `convert --json` and `bench --json` print, under `convert` and `bench`, and the float model's size.
    Raises: UsageError if `folder` holds anything else.
    """
    if folder.exists() and not (folder / _MARK).exists():
        raise UsageError(f"{folder} exists and is not from an earlier demo; name another folder with -o")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        (folder / _MARK).touch()
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made: {error.strerror or error}; name another folder with -o") from None
    parent = folder / "digits-float.safetensors"
    train_float(Source("zoo:digits_cnn"), load_recipe("float", _OVERRIDES), data=DATA, output=parent, reporter=reporter)
    source = Source(parent, FACTORY)
    converted = convert(source, RECIPE, data=DATA, output=folder / "digits-1bit.gguf", reporter=reporter)
    reporter.stage("measuring speed against ONNX Runtime")
    images = open_data(DATA, split="train").images
    measured = bench_network(
        converted["output"],
        baseline=load_baseline(parent, factory=FACTORY),
        baseline_name=parent.name,
        images=images,
        threads=threads,
    )
    return {"convert": converted, "bench": measured, "float_file_bytes": parent.stat().st_size}
