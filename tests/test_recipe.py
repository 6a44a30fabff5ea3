"""Recipes: what is filled in, what is refused, and where errors point."""

from __future__ import annotations

import json
import pathlib

import pytest

from bincompress.errors import RecipeError
from bincompress.methods import METHODS
from bincompress.recipe import Recipe, load_recipe, parse_recipe, recipe_names, recipe_schema
from bincompress.recipe.schema import split_epochs

FULL = """\
version: 1
method: xnor
defaults:
  weight: {binarizer: sign, clip: 1.0, scale: {granularity: layer, kind: learned}}
  activation: {binarizer: sign, scale: {kind: spatial}}
  padding: one
layers:
  first: float
  rules:
    - {match: "re:layer[1-4]\\\\..*conv.*", type: Conv2d, weight: {clip: null, scale: {kind: analytic}}}
    - {match: head, skip: true, optional: true}
train:
  stages:
    - {name: activations, epochs: 2, binarize: [activation], optimizer: {name: adam, lr: 1e-3}}
    - {name: both, epochs: 18, weight_decay: 0}
  distill: {teacher: original, temperature: 2, weight: 0.7}
data: {transforms: [random_crop, hflip], normalize: {mean: [0.5], std: [0.25]}}
gates: {max_drop: 0.05}
"""


def refused(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "r.yaml")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_key_of_the_contract_is_read() -> None:
    recipe = parse_recipe(FULL, "r.yaml")
    assert recipe.train.stages[0].optimizer.lr == 1e-3  # YAML 1.1 alone reads this as text
    assert recipe.train.stages[1].binarize == ("activation", "weight")
    assert recipe.layers.rules[0].match == r"re:layer[1-4]\..*conv.*"
    assert recipe.layers.rules[0].weight is not None
    assert recipe.layers.rules[0].weight.model_dump(exclude_unset=True) == {"clip": None, "scale": {"kind": "analytic"}}
    assert recipe.defaults.weight.center, "xnor centres weights unless the recipe says otherwise"


def test_the_resolved_recipe_reads_back_the_same() -> None:
    recipe = parse_recipe(FULL, "r.yaml")
    again = parse_recipe(recipe.to_yaml(), "resolved")
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()


@pytest.mark.parametrize("method", METHODS)
def test_naming_a_method_is_enough(method: str) -> None:
    recipe = parse_recipe(f"method: {method}", "r.yaml")
    binary_inputs = recipe.defaults.activation.binarizer == "sign"
    assert binary_inputs == (method not in ("bc", "bwn"))
    assert (recipe.layers.first == "binary") == (method in ("bc", "bnn"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("methd: xnor", "r.yaml:1:1: methd: unknown key; known: "),
        ("method: xnr", f'r.yaml:1:1: method: unknown "xnr"; known: {", ".join(METHODS)}; did you mean "xnor"?'),
        ("method: xnor\ntrain:\n  stages:\n  - epoch: 3", "r.yaml:4:5: train.stages[0].epoch: unknown key; known: "),
        ("method: xnor\ntrain: {distill: {temperatur: 3}}", 'did you mean "temperature"?'),
        ("method: xnor\nmethod: bnn", "r.yaml:2:1: method: given twice (first at 1:1)"),
        ("method: xnor\ntrain: {seed: '3'}", 'r.yaml:2:9: train.seed: "3" is not allowed'),
        ("method: xnor\ntrain: {seed: true}", "train.seed: true is not allowed"),
        ("method: xnor\ntrain: {stages: []}", "train.stages: [] is not allowed; expected at least one entry"),
        ("method: xnor\ntrain: {stages: [{name: a}, {name: a}]}", "stage names must differ"),
        ("method: xnor\nlayers: {rules: [{match: 're:('}]}", "r.yaml:2:19: layers.rules[0].match: not a regular"),
        ("method: xnor\ndata: {normalize: {mean: [1, 2], std: [1]}}", "mean has 2 values, std 1"),
        ("method: xnor\ngates: {max_drop: .nan}", "gates.max_drop: NaN is not allowed"),
        ("method: 2024-01-01", "method: date values have no place here"),
        ("method: !!python/object:os.system x", "not valid YAML"),
        ("method: [", "r.yaml:1:10: not valid YAML"),
        ("a: &x {b: *x}", "an alias refers to the value that contains it"),
        ("1: 2", "key 1 is not text"),
        ("- a", "expected keys and values"),
        ("", "found an empty file"),
        ("layers: {}", "method: missing"),
        ("method: xnor\nversion: 2", "r.yaml:2:1: version: unknown 2; known: 1"),
    ],
)
def test_errors_point_at_the_place_and_name_what_is_known(text: str, expected: str) -> None:
    assert expected in refused(text)


def test_extends_merges_mappings_and_replaces_lists(tmp_path: pathlib.Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "method: bwn\ntrain: {seed: 3, batch_size: 64, stages: [{name: a}, {name: b}]}\n"
    )
    (tmp_path / "child.yaml").write_text("extends: base.yaml\ntrain: {batch_size: 32, stages: [{name: c}]}\n")
    recipe = load_recipe(tmp_path / "child.yaml")
    assert (recipe.method, recipe.train.seed, recipe.train.batch_size) == ("bwn", 3, 32)
    assert [stage.name for stage in recipe.train.stages] == ["c"]


def test_an_error_in_an_extended_file_points_into_that_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "base.yaml").write_text("method: bwn\ntrain:\n  sede: 3\n")
    (tmp_path / "child.yaml").write_text("extends: base.yaml\n")
    with pytest.raises(RecipeError, match=r"base\.yaml:3:3: train\.sede: unknown key"):
        load_recipe(tmp_path / "child.yaml")


def test_extending_itself_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(RecipeError, match="extends itself"):
        load_recipe(tmp_path / "a.yaml")


def test_overrides_win_and_reach_into_lists(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(FULL)
    recipe = load_recipe(
        path, ["train.stages.1.epochs=4", "gates.max_bytes=1000", "train.distill=null", "train.seed=7"]
    )
    assert recipe.train.stages[1].epochs == 4
    assert (recipe.gates.max_bytes, recipe.train.distill, recipe.train.seed) == (1000, None, 7)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.sed=1", '--set train.sed: train.sed: unknown key; known: .*did you mean "seed"'),
        ("train.seed", "expected key=value"),
        ("train.stages.9.epochs=1", "is a list of 2"),
        ("train.seed.x=1", "is a single value"),
        ("train.seed=x", '--set train.seed: train.seed: "x" is not allowed'),
    ],
)
def test_a_wrong_override_is_named(tmp_path: pathlib.Path, override: str, expected: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(FULL)
    with pytest.raises(RecipeError, match=expected):
        load_recipe(path, ["train.seed=0", override])


def test_an_unknown_recipe_lists_the_bundled_ones() -> None:
    with pytest.raises(RecipeError, match="no such recipe"):
        load_recipe("no-such-recipe")


def test_bundled_recipes_load_and_are_stable() -> None:
    names = recipe_names()
    assert set(METHODS) <= set(names)
    for name in names:
        recipe = load_recipe(name)
        assert parse_recipe(recipe.to_yaml(), name) == recipe


def test_the_schema_is_json_and_knows_extends() -> None:
    schema = json.loads(json.dumps(recipe_schema()))
    assert {"extends", *Recipe.model_fields} == set(schema["properties"])
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("stages", [[2, 18], [1, 1, 1], [0, 5], [0, 0], [7], [1, 100]])
@pytest.mark.parametrize("total", range(25))
def test_epochs_are_split_exactly(stages: list[int], total: int) -> None:
    result = split_epochs(stages, total)
    assert sum(result) == total
    live = [n for given, n in zip(stages, result, strict=True) if given > 0]
    if total >= len(live):
        assert all(n >= 1 for n in live)
    else:
        assert result[len(result) - total :] == [1] * total, "too few for all: the last stages win"


def test_warmup_keeps_its_share_of_a_stage() -> None:
    chosen = load_recipe("bwn", ["train.stages.0.epochs=60", "train.stages.0.warmup_epochs=6"])
    assert [chosen.with_epochs(n).train.stages[0].warmup_epochs for n in (3, 20, 60)] == [0, 2, 6]


def test_batches_of_one_image_are_refused_as_the_recipes_fault() -> None:
    with pytest.raises(RecipeError, match="batch_size: BatchNorm needs batches of 2 images"):
        load_recipe("bwn", ("train.batch_size=1",))
