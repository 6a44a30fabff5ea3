"""The command line: one file per command, listed here; `main` turns every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from bincompress import __version__
from bincompress.cli import bench, convert, demo, eval_, finetune, inspect_, recipe, results, run, train, verify
from bincompress.errors import BincompressError

INTERNAL_ERROR = 5
INTERRUPTED = 130

app = typer.Typer(
    name="bincompress",
    help="Turn a pretrained float network into a 1-bit network, packed in one file and run by a small C library.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command("convert")(convert.convert)
app.command("finetune")(finetune.finetune)
app.command("train")(train.train)
app.command("eval")(eval_.eval_)
app.command("verify")(verify.verify)
app.command("bench")(bench.bench)
app.command("inspect")(inspect_.inspect_)
app.command("run")(run.run)
app.add_typer(recipe.app, name="recipe")
app.command("demo")(demo.demo)
app.command("results")(results.results)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bincompress {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line and exit: 0, or the code of the error (see `errors.py`)."""
    debug = os.environ.get("BINCOMPRESS_DEBUG") == "1"
    # Read when torch is loaded, later: by default its threads spin while they wait for each other, which makes training
    # many times slower as soon as any other process wants a core.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            print("interrupted", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BincompressError as error:
        if debug:
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        if debug:
            raise
        print(
            f"internal error: {type(error).__name__}: {_one_line(error)}; "
            "set BINCOMPRESS_DEBUG=1 for the traceback and report it",
            file=sys.stderr,
        )
        sys.exit(INTERNAL_ERROR)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
