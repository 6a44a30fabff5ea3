"""Accuracy of anything that classifies: a float model, a checkpoint, or a packed file run by the C library."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bincompress.data import Split, default_normalize, open_data
from bincompress.errors import DataError, NativeError
from bincompress.program import Normalize

if TYPE_CHECKING:
    from torch import fx

    from bincompress.runtime.session import Model

Array = npt.NDArray[Any]
Result = dict[str, Any]
_BATCH = 250
_NEVER = np.iinfo(np.int64).max


def evaluate(
    path: str | Path,
    data: str,
    *,
    factory: str | None = None,
    trust: bool = False,
    input_shape: tuple[int, int, int] | None = None,
    threads: int = 1,
) -> Result:
    """Measure the accuracy of a float model, a checkpoint directory or a packed file, told apart by content.

    Returns: top1 and top5 (0..1), samples, seconds (of inference only).
    Raises: LoadError for a model or data that cannot be read, or that do not fit each other.
    """
    if is_packed(path):
        from bincompress.runtime.session import load

        model = load(path)
        return accuracy_of_packed(model, open_data(data, image_shape=model.input_shape), threads)
    from bincompress.checkpoint import is_checkpoint, load_checkpoint
    from bincompress.load import load_model

    if is_checkpoint(path):
        checkpoint = load_checkpoint(path)
        split = open_data(data, image_shape=checkpoint.input_shape)
        check_fits(split, checkpoint.input_shape)
        return accuracy_of_graph(checkpoint.graph, split, checkpoint.normalize or default_normalize(data))
    network = load_model(path, factory=factory, trust=trust, input_shape=input_shape)
    split = open_data(data, image_shape=network.input_shape)
    check_fits(split, network.input_shape)
    return accuracy_of_graph(network.graph, split, network.normalize or default_normalize(data))


def is_packed(path: str | Path) -> bool:
    """Whether `path` is a file that begins like GGUF."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False


def no_normalization(split: Split) -> DataError:
    """The error where pixels of `split` are to be read and nobody has said how."""
    return DataError(f"{split.name}: no normalisation is known; set data.normalize in the recipe or on the factory")


def accuracy_of_graph(graph: fx.GraphModule, split: Split, normalize: Normalize | None) -> Result:
    """Accuracy of a torch graph in evaluation mode; its mode is restored."""
    import torch

    from bincompress.lower.emulate import normalize_pixels

    if normalize is None:
        raise no_normalization(split)
    mode = graph.training
    graph.eval()

    def run(images: Array) -> Array:
        with torch.inference_mode():
            logits: Array = graph(torch.from_numpy(normalize_pixels(images, normalize))).flatten(1).numpy()
        return logits

    try:
        return _measure(run, split)
    finally:
        graph.train(mode)


def accuracy_of_packed(model: Model, split: Split, threads: int = 1) -> Result:
    """Accuracy of a packed file on raw pixels."""
    check_fits(split, model.input_shape)
    with model.session(threads=threads, batch=16) as session:
        try:
            return _measure(session, split)
        except NativeError as error:
            raise DataError(f"{model.path} on {split.name}: {error}") from error


def check_fits(split: Split, input_shape: tuple[int, int, int]) -> None:
    """Raise DataError unless the images have the shape that the model reads."""
    found = split.images.shape[1:]
    if found != tuple(input_shape):
        raise DataError(f"{split.name}: images are {_shape(found)}, the model reads {_shape(input_shape)}")


def _measure(run: Any, split: Split) -> Result:
    ranks = []
    seconds = 0.0
    for start in range(0, len(split), _BATCH):
        images, labels = split.images[start : start + _BATCH], split.labels[start : start + _BATCH]
        began = time.perf_counter()
        logits = run(images)
        seconds += time.perf_counter() - began
        ranks.append(_ranks(logits, labels, split.name))
    rank = np.concatenate(ranks)
    return {
        "top1": float((rank < 1).mean()),
        "top5": float((rank < 5).mean()),
        "samples": len(split),
        "seconds": seconds,
    }


def _ranks(logits: Array, labels: Array, name: str) -> Array:
    """How many classes come before the right one, 0 if it is the answer; equal logits rank by class index.

    Shapes: logits (N, classes), labels (N,) -> (N,).
    """
    classes = logits.shape[1]
    if labels.max() >= classes:
        raise DataError(f"{name}: a label is {labels.max()}, but the model has {classes} outputs")
    right = np.take_along_axis(logits, labels[:, None], axis=1)
    before = (logits > right) | ((logits == right) & (np.arange(classes) < labels[:, None]))
    rank: Array = np.where(np.isfinite(logits).all(axis=1), before.sum(axis=1), _NEVER)  # NaN is never right
    return rank


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
