"""bincompress recipe: list, show, validate, schema."""

from __future__ import annotations

import itertools
import json
import re
import sys
from typing import Annotated

import typer

from bincompress.cli.options import JsonOption, SetOption

app = typer.Typer(help="List, show and check recipes.", no_args_is_help=True, rich_markup_mode=None)
RecipeArgument = Annotated[str, typer.Argument(metavar="R", help="A path or the name of a bundled recipe.")]


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the bundled recipes."""
    from bincompress.recipe import load_recipe, recipe_names, recipes_dir

    entries = []
    for name in recipe_names():
        text = (recipes_dir() / f"{name}.yaml").read_text(encoding="utf-8")
        entries.append({"name": name, "method": load_recipe(name).method, "about": _about(text)})
    if as_json:
        print(json.dumps({"recipes": entries}))
        return
    width = max((len(entry["name"]) for entry in entries), default=0)
    for entry in entries:
        print(f"{entry['name']:{width}}  {entry['about'] or entry['method']}")


def _about(text: str) -> str:
    """The first clause of the comment on top of a recipe."""
    comment = itertools.takewhile(lambda line: line.startswith("# "), text.splitlines())
    return re.split(r"[;.] |[;.]$", " ".join(line[2:] for line in comment), maxsplit=1)[0]


@app.command()
def show(recipe: RecipeArgument, set_: SetOption = None) -> None:
    """Print the fully resolved recipe, every default filled in."""
    from bincompress.recipe import load_recipe

    sys.stdout.write(load_recipe(recipe, set_ or ()).to_yaml())


@app.command()
def validate(
    recipes: Annotated[list[str], typer.Argument(metavar="R...", help="Paths or names of bundled recipes.")],
    set_: SetOption = None,
) -> None:
    """Check recipes; exit code 2 and file:line:column for the first mistake."""
    from bincompress.recipe import load_recipe

    for recipe in recipes:
        load_recipe(recipe, set_ or ())
        print(f"{recipe}: ok", file=sys.stderr)


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from bincompress.recipe import recipe_schema

    print(json.dumps(recipe_schema(), indent=2))
