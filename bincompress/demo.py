"""The whole product in a minute: train a small float network on scikit-learn's digits, convert it, measure both."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from bincompress.bench.network import bench_network, load_baseline
from bincompress.data import open_data
from bincompress.errors import UsageError
from bincompress.finetune.feed import Feed
from bincompress.pipeline import Source, convert
from bincompress.program import Normalize
from bincompress.report import SILENT, Reporter
from bincompress.zoo import digits_cnn

DATA = "digits"
RECIPE = "digits"
FACTORY = "bincompress.zoo:digits_cnn"
_EPOCHS = 15
_MARK = ".bincompress-demo"


def demo(folder: Path, reporter: Reporter = SILENT, threads: int = 1) -> dict[str, Any]:
    """Fill `folder` with a float model, its 1-bit checkpoint and packed file; a folder of an earlier demo is replaced.

    Returns: what `convert --json` and `bench --json` print, under `convert` and `bench`, and the float model's size.
    Raises: UsageError if `folder` holds anything else.
    """
    if folder.exists() and not (folder / _MARK).exists():
        raise UsageError(f"{folder} exists and is not from an earlier demo; name another folder with -o")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()
    parent = folder / "digits-float.safetensors"
    reporter.stage(f"training a float network on scikit-learn's digits: {_EPOCHS} epochs")
    save_file(train_float_network(), parent)
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


def train_float_network() -> dict[str, torch.Tensor]:
    """Train `zoo.digits_cnn` from a fixed seed; returns its state dict."""
    torch.manual_seed(0)
    network = digits_cnn()
    normalize: Normalize = digits_cnn.normalize  # type: ignore[attr-defined]
    train = open_data(DATA, split="train")
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _EPOCHS)
    feed = Feed(train, normalize, 64)
    for epoch in range(_EPOCHS):
        for batch in feed.epoch(epoch):
            loss = nn.functional.cross_entropy(network(batch.x), batch.labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    return {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
