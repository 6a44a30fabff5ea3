"""bincompress run: a packed file on a numpy array."""

from __future__ import annotations

import os
import pathlib
import tempfile
from typing import Annotated

import typer

from bincompress.cli.options import ForceOption, IsaOption, PackedArgument, ThreadsOption
from bincompress.cli.output import note


def run(
    packed: PackedArgument,
    input_: Annotated[
        pathlib.Path,
        typer.Option("--input", metavar="X.npy", help="(N, C, H, W): uint8 pixels, or float32 as the network expects."),
    ],
    output: Annotated[pathlib.Path, typer.Option("--output", metavar="Y.npy", help="Where the logits go.")],
    threads: ThreadsOption = 1,
    isa: IsaOption = None,
    force: ForceOption = False,
) -> None:
    """Run a packed model and save its logits, float32 (N, classes)."""
    import numpy as np

    from bincompress.errors import DataError, UsageError
    from bincompress.runtime.session import load

    if output.is_dir():
        raise UsageError(f"{output}: is a directory; --output names a file")
    if output.exists() and not force:
        raise UsageError(f"{output} exists; --force overwrites it")
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent}: no such folder")
    model = load(packed)
    try:
        x = np.load(input_, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{input_}: not a readable .npy file: {error}") from None
    if not isinstance(x, np.ndarray):
        raise DataError(f"{input_}: an archive of arrays (.npz); give one array as .npy")
    with model.session(threads=threads, batch=1, isa=isa) as session:
        y = session(x)
    try:
        with tempfile.TemporaryDirectory(prefix=".bincompress-", dir=output.parent) as folder:
            np.save(pathlib.Path(folder) / "y.npy", y)
            os.replace(pathlib.Path(folder) / "y.npy", output)
    except OSError as error:
        raise UsageError(f"{output}: cannot be written: {error.strerror or error}") from None
    note(f"{output}: {y.shape[0]} x {y.shape[1]} logits")
