"""YAML with positions: every key and value remembers its file, line and column, so that errors can point at it."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from bincompress.errors import RecipeError

Path = tuple[str | int, ...]
"""Where a value sits in a document: keys and list indices from the root."""

Positions = dict[Path, str]
"""`file:line:column` (or `--set key`) of every path; for an entry of a mapping, that of its key."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that also reads `1e-3` as a number, which YAML 1.1 takes for a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse(text: str, source: str) -> tuple[Any, Positions]:
    """Read one YAML document from `text`; `source` is the name that positions carry.

    Returns: plain dicts, lists and scalars, and the position of every path in them.
    Raises: RecipeError for bad syntax, duplicate keys, keys that are not text, tags and self-reference.
    """
    positions: Positions = {}
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return (None if node is None else _construct(loader, node, (), source, positions, ())), positions
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise RecipeError(f"{where}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:  # a scalar that looks like a date or number and is none, e.g. 2024-13-45
        raise RecipeError(f"{source}: not valid YAML: {error}") from None
    finally:
        loader.dispose()


def _construct(
    loader: _Loader, node: yaml.Node, path: Path, source: str, positions: Positions, parents: tuple[yaml.Node, ...]
) -> Any:
    where = f"{source}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
    positions.setdefault(path, where)
    if any(node is parent for parent in parents):
        raise RecipeError(f"{where}: {show_path(path)}: an alias refers to the value that contains it")
    parents = (*parents, node)
    if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key: Hashable = loader.construct_object(key_node)
            at = f"{source}:{key_node.start_mark.line + 1}:{key_node.start_mark.column + 1}"
            if not isinstance(key, str):
                raise RecipeError(f"{at}: {show_path(path)}: key {key!r} is not text; write it in quotes")
            if key in mapping:
                first = positions[(*path, key)].removeprefix(f"{source}:")
                raise RecipeError(f"{at}: {show_path((*path, key))}: given twice (first at {first}); remove one")
            positions[(*path, key)] = at
            mapping[key] = _construct(loader, value_node, (*path, key), source, positions, parents)
        return mapping
    if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        return [_construct(loader, n, (*path, i), source, positions, parents) for i, n in enumerate(node.value)]
    value = loader.construct_object(node)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise RecipeError(f"{where}: {show_path(path)}: {type(value).__name__} values have no place here; write text")


def show_path(path: Path) -> str:
    """Write a path the way users write it: `layers.rules[2].match`; the root is `recipe`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "recipe"
