"""bincompress demo: the whole way on built-in data."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from bincompress.cli.options import JsonOption, ThreadsOption
from bincompress.cli.output import print_json, stdout_for_data


def demo(
    output: Annotated[
        pathlib.Path, typer.Option("-o", "--output", metavar="DIR", help="Where the models go.")
    ] = pathlib.Path("demo-out"),
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Train a small float network on scikit-learn's digits, convert it to 1 bit, and compare the two."""
    from bincompress import demo as program
    from bincompress.cli import render

    with stdout_for_data(), render.reporter() as reporter:
        result = program.demo(output, reporter, threads)
    print_json(result) if as_json else render.demonstration(result)
