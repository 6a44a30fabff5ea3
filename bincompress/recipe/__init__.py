"""Recipes: YAML files that say how a float network becomes a 1-bit network, read strictly and pointed at in errors."""

from __future__ import annotations

from bincompress.recipe.load_ import load_recipe, parse_recipe, recipe_names, recipe_schema, recipes_dir
from bincompress.recipe.schema import (
    ActivationConfig,
    ActivationScale,
    Data,
    Defaults,
    Export,
    Gates,
    Layers,
    NormalizeConfig,
    Recipe,
    Rule,
    Surgery,
    WeightConfig,
    WeightScale,
)
from bincompress.recipe.training import Distill, OptimizerConfig, Stage, Train

__all__ = [
    "ActivationConfig",
    "ActivationScale",
    "Data",
    "Defaults",
    "Distill",
    "Export",
    "Gates",
    "Layers",
    "NormalizeConfig",
    "OptimizerConfig",
    "Recipe",
    "Rule",
    "Stage",
    "Surgery",
    "Train",
    "WeightConfig",
    "WeightScale",
    "load_recipe",
    "parse_recipe",
    "recipe_names",
    "recipe_schema",
    "recipes_dir",
]
