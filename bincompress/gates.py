"""Gates: the limits of a recipe that decide whether a build passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bincompress.errors import RecipeError
from bincompress.recipe import Recipe

_NEEDS_DATA = ("max_drop", "min_accuracy")


def check_gates(recipe: Recipe, measured: Mapping[str, float | int | None]) -> list[dict[str, Any]]:
    """Compare what was measured with every limit that the recipe sets.

    `measured` has a value under the name of each gate: the drop under max_drop, the accuracy under min_accuracy, ...
    Returns: name, limit, value and passed of each; a value that is missing does not pass.
    """
    rows = []
    for name, limit in recipe.gates:
        if limit is None:
            continue
        value = measured.get(name)
        passed = value is not None and (value <= limit if name.startswith("max_") else value >= limit)
        rows.append({"name": name, "limit": limit, "value": value, "passed": bool(passed)})
    return rows


def require_data_for_gates(recipe: Recipe, has_data: bool) -> None:
    """Refuse, before any work, gates that could not be measured.

    Raises: RecipeError naming the gate.
    """
    for name in _NEEDS_DATA:
        if getattr(recipe.gates, name) is not None and not has_data:
            raise RecipeError(
                f"{recipe.at('gates', name)}: needs data to measure accuracy; give --data or --val, "
                f"or switch it off with --set gates.{name}=null"
            )
