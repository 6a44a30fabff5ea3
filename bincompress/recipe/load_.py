"""From a path or a name to a checked Recipe: find, compose (`extends`, method, `--set`), validate, explain errors."""

from __future__ import annotations

import difflib
import json
import pathlib
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from bincompress.errors import RecipeError
from bincompress.methods import METHODS
from bincompress.recipe.schema import Recipe
from bincompress.recipe.yaml_ import Path, Positions, parse, show_path

_EXPECTED = {"too_short": "at least one entry", "tuple_type": "a list", "model_type": "keys and values"}
_PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def recipes_dir() -> pathlib.Path:
    """The bundled recipes: beside the package's modules when installed, `recipes/` in a source checkout."""
    installed = _PACKAGE / "recipes"
    return installed if installed.is_dir() else _PACKAGE.parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the bundled recipes, sorted: `xnor`, and `full/xnor` for one that trains for the published time."""
    names = [path.relative_to(recipes_dir()).with_suffix("").as_posix() for path in recipes_dir().rglob("*.yaml")]
    return sorted(names, key=lambda name: (name.count("/"), name))


def load_recipe(path_or_name: str | pathlib.Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe from a file or by the name of a bundled one, with `key=value` overrides applied last.

    Raises: RecipeError, `file:line:column: path: what is wrong; what is known; did you mean`.
    """
    data, positions = _compose(_find(str(path_or_name), pathlib.Path()), ())
    for override in overrides:
        _override(data, positions, override)
    return _validate(data, positions)


def parse_recipe(text: str, source: str) -> Recipe:
    """Read a resolved recipe back, as stored in a checkpoint or a packed file; `source` names it in errors."""
    data, positions = parse(text, source)
    return _validate(_mapping(data, source), positions)


def recipe_schema() -> dict[str, Any]:
    """JSON Schema of a recipe file, for editors."""
    schema = Recipe.model_json_schema()
    schema["properties"]["extends"] = {
        "description": "recipe to start from: a path relative to this file, or the name of a bundled recipe",
        "type": "string",
    }
    schema["required"] = []  # `method` may come from the recipe that is extended
    return schema


def _find(name: str, folder: pathlib.Path) -> pathlib.Path:
    for path in (folder / name, recipes_dir() / f"{name}.yaml"):
        if path.is_file():
            return path
    names = recipe_names()
    raise RecipeError(
        f"{folder / name}: no such recipe; give a path or one of: {', '.join(names)}{_did_you_mean(name, names)}"
    )


def _compose(path: pathlib.Path, seen: tuple[pathlib.Path, ...]) -> tuple[dict[str, Any], Positions]:
    source = str(path)
    if path.resolve() in seen:
        raise RecipeError(f"{source}: extends itself by way of {', '.join(map(str, seen))}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{source}: cannot be read: {error}") from None
    parsed, positions = parse(text, source)
    data = _mapping(parsed, source)
    parent = data.pop("extends", None)
    if parent is None:
        return data, positions
    where = positions[("extends",)]
    if not isinstance(parent, str):
        raise RecipeError(f"{where}: extends: expected one path or name, got {json.dumps(parent)}")
    try:
        parent_path = _find(parent, path.parent)
    except RecipeError as error:
        raise RecipeError(f"{where}: extends: {error}") from None
    base, base_positions = _compose(parent_path, (*seen, path.resolve()))
    return _merge(base, data), base_positions | positions


def _mapping(data: Any, source: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        found = "an empty file" if data is None else f"a {type(data).__name__}"
        raise RecipeError(f"{source}:1:1: recipe: expected keys and values such as `method: xnor`, found {found}")
    return data


def _merge(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {key: _merge(base[key], value) if key in base else value for key, value in over.items()}
    return over


def _override(data: dict[str, Any], positions: Positions, override: str) -> None:
    key, equals, text = override.partition("=")
    where = f"--set {key}"
    if not equals or not key:
        raise RecipeError(f"--set {override}: expected key=value, for example train.seed=1")
    value, _ = parse(text, where)
    parts = key.split(".")
    target: Any = data
    for depth, part in enumerate(parts):
        path = tuple(int(p) if p.isdigit() else p for p in parts[: depth + 1])
        slot: Any = part
        if isinstance(target, list):
            if not part.isdigit() or int(part) >= len(target):
                raise RecipeError(
                    f"{where}: {show_path(path[:-1])} is a list of {len(target)}; give an index below that"
                )
            slot = int(part)
        elif not isinstance(target, dict):
            raise RecipeError(f"{where}: {show_path(path[:-1])} is a single value and has no key {part!r}")
        positions[path] = where
        if depth == len(parts) - 1:
            target[slot] = value
        elif isinstance(target, dict):
            target[slot] = target.get(slot) if target.get(slot) is not None else {}
        target = target[slot]


def _validate(data: dict[str, Any], positions: Positions) -> Recipe:
    method = data.get("method")
    preset = METHODS[method].defaults if isinstance(method, str) and method in METHODS else {}
    try:
        # JSON mode is strict about types (no "3" for 3) and still takes lists for tuples.
        recipe = Recipe.model_validate_json(json.dumps(_merge(preset, data)), strict=True)
    except ValidationError as error:
        # A misspelt key also leaves a key missing: the misspelling is what to report.
        problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] == "missing")
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise RecipeError(_explain(problems[0], positions) + more) from None
    recipe._positions.update(positions)
    return recipe


def _explain(problem: Any, positions: Positions) -> str:
    path: Path = tuple(part for part in problem["loc"])
    anchor = path
    while anchor not in positions and anchor:
        anchor = anchor[:-1]
    where = f"{positions[anchor]}: {show_path(path)}" if anchor in positions else show_path(path)
    given = problem["input"]
    if problem["type"] == "extra_forbidden":
        known = sorted(_known_keys(Recipe, path[:-1]))
        if len(path) == 1:
            known.append("extends")
        return f"{where}: unknown key; known: {', '.join(known)}{_did_you_mean(str(path[-1]), known)}"
    if problem["type"] == "missing":
        return f"{where}: missing"
    if problem["type"] == "literal_error":
        known = [word.strip("'") for word in problem["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return f"{where}: unknown {json.dumps(given)}; known: {', '.join(known)}{_did_you_mean(str(given), known)}"
    reason = _EXPECTED.get(problem["type"]) or problem["msg"].removeprefix("Value error, ").removeprefix(
        "Input should be "
    )
    if problem["type"] == "value_error":
        return f"{where}: {reason}"
    return f"{where}: {json.dumps(given)} is not allowed; expected {reason}"


def _known_keys(model: Any, path: Path) -> Iterable[str]:
    """Field names of the section that `path` leads to inside `model`."""
    for part in path:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[str(part)].annotation
        else:
            model = _argument(model)  # a list index: the type of its elements
        while typing.get_origin(model) in (typing.Annotated, typing.Union, types.UnionType):
            model = next(t for t in typing.get_args(model) if t is not type(None))
    return list(model.model_fields)


def _argument(model: Any) -> Any:
    return typing.get_args(model)[0]


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f'; did you mean "{close[0]}"?' if close else ""
