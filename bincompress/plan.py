"""The Plan: one row per layer with what will be done to it and why; dry-run, surgery, export and report all read it."""

from __future__ import annotations

import difflib
import fnmatch
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from torch import fx, nn

from bincompress.errors import RecipeError
from bincompress.graph import Add, FloatModel, node_module, propagate_shapes
from bincompress.recipe import ActivationConfig, Recipe, Rule, WeightConfig

Decision = Literal["binary", "weight_only", "float"]

_Config = TypeVar("_Config", WeightConfig, ActivationConfig)
_PAD_VALUES = {"zero": 0, "one": 1, "minus_one": -1}
_JSON_KEYS = ("name", "op", "decision", "method", "reason", "macs", "weights", "weight_bits")
_PASS_THROUGH = (nn.AvgPool2d, nn.MaxPool2d, nn.BatchNorm2d, nn.Identity, nn.Dropout)


@dataclass(frozen=True)
class LayerPlan:
    """What is done to one Conv2d or Linear, and why.

    `decision`: binary (1-bit weights and inputs), weight_only (1-bit weights, float or 8-bit inputs) or float.
    `weights` counts them, `weight_bits` is the bits of each; `macs` are of one sample. `weight` and `activation` are
    the settings after all rules, None where nothing is binarized; `padding` is the value of outside pixels.
    """

    name: str
    op: str
    decision: Decision
    method: str
    reason: str
    macs: int
    weights: int
    weight_bits: int
    weight: WeightConfig | None
    activation: ActivationConfig | None
    estimator: str
    padding: int

    def to_json(self) -> dict[str, Any]:
        """The row as `convert --json` prints it."""
        return {key: getattr(self, key) for key in _JSON_KEYS}


@dataclass(frozen=True)
class Plan:
    """All rows in the order of the network."""

    rows: tuple[LayerPlan, ...]
    method: str

    def __iter__(self) -> Iterator[LayerPlan]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> LayerPlan:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    @property
    def float_macs(self) -> float:
        """Share of multiply-accumulates in layers left float, 0..1."""
        return sum(row.macs for row in self.rows if row.decision == "float") / sum(row.macs for row in self.rows)

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as `convert --json` prints them."""
        return [row.to_json() for row in self.rows]

    @staticmethod
    def from_json(rows: list[dict[str, Any]], method: str) -> Plan:
        """A plan to report on from what `to_json` gave; the settings of its layers are in the recipe, not here.

        Raises: KeyError if a row lacks a key.
        """
        unknown: dict[str, Any] = {"weight": None, "activation": None, "estimator": "", "padding": 0}
        return Plan(tuple(LayerPlan(**{key: row[key] for key in _JSON_KEYS}, **unknown) for row in rows), method)


def make_plan(model: FloatModel, recipe: Recipe) -> Plan:
    """Decide for every Conv2d and Linear of `model` what `recipe` makes of it.

    Raises: RecipeError for a rule that matches nothing and for a plan without any binarized layer.
    """
    shapes = propagate_shapes(model.graph, model.input_shape)
    layers = _layers(model.graph)
    names = [str(node.target) for node in layers]
    _check_rules(recipe, {str(node.target): node_module(model.graph, node) for node in layers})
    roles = _roles(model.graph, layers)
    rows = tuple(_plan_layer(model.graph, node, recipe, roles[node], shapes) for node in layers)
    if not any(row.decision != "float" for row in rows):
        why = rows[0].reason if rows else "the model has no Conv2d or Linear"
        raise RecipeError(
            f"{recipe.at('layers')}: no layer would be binarized ({', '.join(names[:1])}{': ' if rows else ''}{why}); "
            "allow more layers under `layers`, or use a model with layers between the first and the last"
        )
    return Plan(rows, recipe.method)


def _plan_layer(
    graph: fx.GraphModule, node: fx.Node, recipe: Recipe, role: str, shapes: dict[str, tuple[int, ...]]
) -> LayerPlan:
    module = node_module(graph, node)
    assert isinstance(module, (nn.Conv2d, nn.Linear))
    name, kind = str(node.target), type(module).__name__
    rules = [rule for rule in recipe.layers.rules if _matches(rule, name, module)]
    weight = _with_overrides(recipe.defaults.weight, [rule.weight for rule in rules])
    activation = _with_overrides(recipe.defaults.activation, [rule.activation for rule in rules])
    decision, reason = _decide(recipe, module, role, _skip(rules), weight, activation)
    weights = module.weight.numel()
    return LayerPlan(
        name=name,
        op=kind,
        decision=decision,
        method="" if decision == "float" else recipe.method,
        reason=reason,
        macs=math.prod(shapes[node.name]) * math.prod(module.weight.shape[1:]),
        weights=weights,
        weight_bits=32 if decision == "float" else 1,
        weight=None if decision == "float" else weight,
        activation=activation if decision == "binary" else None,
        estimator=recipe.defaults.estimator,
        padding=_PAD_VALUES[recipe.defaults.padding] if decision == "binary" else 0,
    )


def _decide(
    recipe: Recipe,
    module: nn.Module,
    role: str,
    skip: Rule | bool | None,
    weight: WeightConfig,
    activation: ActivationConfig,
) -> tuple[Decision, str]:
    """The decision and the sentence that explains it, from the most specific cause to the most general."""
    if isinstance(skip, Rule):
        return "float", f"rule {skip.match!r} skips it"
    if skip is None and role and getattr(recipe.layers, role) == "float":
        return "float", f"{role} layer: layers.{role} is float"
    if skip is None and isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
        return (
            "float",
            "depthwise convolution: too few signs a sum (a rule with skip: false changes it)",
        )
    if isinstance(module, nn.Conv2d) and module.padding_mode != "zeros":
        return "float", f"padding mode {module.padding_mode!r} has no 1-bit form"
    if weight.binarizer == "none":
        return "float", "weight.binarizer is none"
    if activation.binarizer == "none":
        return "weight_only", "activation.binarizer is none"
    if role == "first":
        return "weight_only", "first layer: its input is not binary"
    return "binary", "weights and inputs are signs"


def _skip(rules: list[Rule]) -> Rule | bool | None:
    """The rule that skips a layer, False if the last word is that it is binarized, None if no rule says."""
    said = [rule for rule in rules if rule.skip is not None]
    if not said:
        return None
    return said[-1] if said[-1].skip else False


def _with_overrides(defaults: _Config, overrides: list[_Config | None]) -> _Config:
    """`defaults` with the keys that overrides set explicitly, later ones winning."""
    merged = defaults.model_dump()
    for override in overrides:
        given = override.model_dump(exclude_unset=True) if override else {}
        scale = merged["scale"] | given.pop("scale", {})
        merged |= given | {"scale": scale}
    return type(defaults).model_validate(merged)


def _matches(rule: Rule, name: str, module: nn.Module) -> bool:
    if rule.type not in (None, type(module).__name__):
        return False
    if rule.match.startswith("re:"):
        return re.fullmatch(rule.match[3:], name) is not None
    return name.startswith(f"{rule.match}.") or fnmatch.fnmatchcase(name, rule.match)


def _check_rules(recipe: Recipe, layers: dict[str, nn.Module]) -> None:
    for index, rule in enumerate(recipe.layers.rules):
        if rule.optional or any(_matches(rule, name, module) for name, module in layers.items()):
            continue
        kind = f" of type {rule.type}" if rule.type else ""
        close = difflib.get_close_matches(rule.match, layers, n=1)
        hint = f'; did you mean "{close[0]}"?' if close else "; set optional: true if that is intended"
        names = ", ".join(list(layers)[:8]) + (", ..." if len(layers) > 8 else "")
        raise RecipeError(
            f"{recipe.at('layers', 'rules', index)}: {rule.match!r} matches no layer{kind}; layers: {names}{hint}"
        )


def _layers(graph: fx.GraphModule) -> list[fx.Node]:
    """Nodes that call a Conv2d or Linear, one per module, in order."""
    found: dict[object, fx.Node] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module" and isinstance(node_module(graph, node), (nn.Conv2d, nn.Linear)):
            found.setdefault(node.target, node)
    return list(found.values())


def _roles(graph: fx.GraphModule, layers: list[fx.Node]) -> dict[fx.Node, str]:
    """`first`, `last`, `downsample` or nothing for every layer."""
    weighted = set(layers)
    fed_by_input: set[fx.Node] = set()  # no layer lies between the input and these nodes
    for node in graph.graph.nodes:
        if node.op == "placeholder" or any(i in fed_by_input and i not in weighted for i in node.all_input_nodes):
            fed_by_input.add(node)
    feeds_output: set[fx.Node] = set()
    for node in reversed(graph.graph.nodes):
        if node.op == "output" or any(user in feeds_output and user not in weighted for user in node.users):
            feeds_output.add(node)
    roles = {}
    for node in layers:
        role = "downsample" if _is_downsample(graph, node) else ""
        role = "last" if node in feeds_output else role
        roles[node] = "first" if node in fed_by_input else role
    return roles


def _is_downsample(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a 1x1 convolution is the shortcut of a residual block: it goes to an Add and shares its input."""
    module = node_module(graph, node)
    if not isinstance(module, nn.Conv2d) or module.kernel_size != (1, 1):
        return False
    source, target = node.all_input_nodes[0], node
    while _passes_through(graph, source) and len(source.users) == 1:
        source = source.all_input_nodes[0]
    while len(target.users) == 1:
        target = next(iter(target.users))
        if target.op == "call_module" and isinstance(node_module(graph, target), Add):
            return len(source.users) > 1
        if not _passes_through(graph, target):
            return False
    return False


def _passes_through(graph: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(node_module(graph, node), _PASS_THROUGH)
