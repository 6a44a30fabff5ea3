"""bincompress results: make the rows of recipes/RESULTS.md."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bincompress.cli.options import ForceOption, JsonOption
from bincompress.cli.output import note, print_json, stdout_for_data

if TYPE_CHECKING:
    from bincompress.results import Row

_OnlyOption = Annotated[
    list[str] | None, typer.Option("--only", metavar="ID", help="This row, or all that begin so: ID*. May be repeated.")
]


def results(
    only: _OnlyOption = None,
    budget_minutes: Annotated[
        float | None, typer.Option("--budget-minutes", metavar="N", min=0, help="Stop training after so long.")
    ] = None,
    work: Annotated[
        pathlib.Path, typer.Option("--work", metavar="DIR", help="Keeps networks, checkpoints and packed files.")
    ] = pathlib.Path("results-work"),
    data_dir: Annotated[
        pathlib.Path | None,
        typer.Option("--data-dir", metavar="DIR", help="Has mnist/ cifar10/ models/; $BINCOMPRESS_DATA by default."),
    ] = None,
    output: Annotated[
        pathlib.Path, typer.Option("-o", "--output", metavar="DIR", help="Where results.json and RESULTS.md are.")
    ] = pathlib.Path("recipes"),
    no_speed: Annotated[bool, typer.Option("--no-speed", help="Leave out the measurement of speed.")] = False,
    render_only: Annotated[bool, typer.Option("--render", help="Only write RESULTS.md from results.json.")] = False,
    list_rows: Annotated[bool, typer.Option("--list", help="Only show the rows and whether they are made.")] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train, export and measure the rows of RESULTS.md that are missing; --force measures them again.

    Training that was stopped, by the budget or by hand, goes on from its last epoch when the command is repeated.
    """
    from bincompress.cli import render
    from bincompress.results import find_rows, make_results, read_results
    from bincompress.results.runner import check_output, write_results

    rows = find_rows(only or ())
    if list_rows or render_only:
        check_output(output, writes=render_only)
        found = read_results(output)
        if render_only:
            write_results(found, output)
        if list_rows:
            _list(rows, {row["id"] for row in found}, as_json)
        elif as_json:
            print_json({"rendered": len(found)})
        return
    root = data_dir or pathlib.Path(os.environ.get("BINCOMPRESS_DATA", "data"))
    with stdout_for_data(), render.reporter() as reporter:
        summary = make_results(
            rows,
            work=work,
            data=root,
            output=output,
            budget_seconds=None if budget_minutes is None else 60 * budget_minutes,
            force=force,
            speed=not no_speed,
            reporter=reporter,
        )
    if as_json:
        print_json({"made": summary.made, "already": summary.already, "unfinished": summary.unfinished})
        return
    note(f"{len(summary.made)} rows made, {len(summary.already)} were there, {len(summary.unfinished)} not finished")


def _list(rows: Sequence[Row], made: Collection[str], as_json: bool) -> None:
    """The rows and whether they are made."""
    if as_json:
        keys = ("id", "group", "parent", "recipe", "variant")
        print_json({"rows": [{key: getattr(row, key) for key in keys} | {"made": row.id in made} for row in rows]})
        return
    for row in rows:
        print(f"{row.id:24} {'made' if row.id in made else '-':5} {row.recipe:12} {row.group} {row.variant}".rstrip())
