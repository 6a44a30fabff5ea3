"""The table of rows: complete, consistent, and its commands say the same as the runner does."""

from __future__ import annotations

import pytest

from bincompress import zoo
from bincompress.data import dataset_names
from bincompress.errors import UsageError
from bincompress.recipe import load_recipe, recipe_names
from bincompress.results import PARENTS, ROWS, find_rows
from bincompress.results.commands import commands, data_spec


def test_every_row_is_its_own_and_resolves() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)
    for row in ROWS:
        recipe = load_recipe(row.recipe, row.overrides)
        assert row.recipe in recipe_names(), row.id
        assert recipe.train.select == "last", f"{row.id}: RESULTS.md says that the last epoch is the result"
        assert bool(row.published) == bool(row.source), row.id
    for parent in PARENTS.values():
        assert parent.network in zoo.names()
        assert parent.data in dataset_names()
        load_recipe("float", parent.overrides)


def test_variants_of_an_ablation_differ() -> None:
    for row in ROWS:
        if row.variant:
            others = [each for each in ROWS if each.group == row.group and each.id != row.id]
            assert others, row.id
            mine = load_recipe(row.recipe, row.overrides)
            assert all(load_recipe(each.recipe, each.overrides) != mine for each in others), row.id


def test_rows_are_found_by_id_and_by_prefix() -> None:
    assert [row.id for row in find_rows(["digits"])] == ["digits"]
    assert [row.id for row in find_rows(["order-*", "digits"])] == ["digits", "order-bac", "order-cba"]
    assert find_rows([]) == ROWS
    with pytest.raises(UsageError, match="no row is called 'digit'; there are digits, "):
        find_rows(["digit"])


def test_commands_are_the_row() -> None:
    rows = {row.id: row for row in ROWS}
    assert commands(rows["mlp-bnn"]) == [
        'bincompress train zoo:bnn_mlp_2048 --data "mnist:$BINCOMPRESS_DATA/mnist" --set train.stages.0.epochs=20 '
        "--set 'data.transforms=[random_crop]' --set train.precision=auto -o mlp.safetensors",
        "bincompress convert mlp.safetensors --factory bincompress.zoo:bnn_mlp_2048 --recipe bnn "
        '--data "mnist:$BINCOMPRESS_DATA/mnist" --epochs 20 '
        "--set 'data.transforms=[random_crop]' --set train.precision=auto -o mlp-bnn.gguf",
        "bincompress bench mlp-bnn.gguf --baseline mlp.safetensors --factory bincompress.zoo:bnn_mlp_2048",
    ]
    (_, convert, _) = commands(rows["convnet-bnn"])
    assert (
        '--set "train.distill.teacher=$BINCOMPRESS_DATA/models/resnet20-12fca82f.th" '
        "--set train.distill.factory=bincompress.zoo:resnet20 -o convnet-bnn.gguf"
    ) in convert
    (convert, _) = commands(rows["teacher-without"])
    assert "--set train.distill=null" in convert
    assert data_spec("digits", "/anywhere") == "digits"


def test_recipes_of_the_full_form_are_listed_last_and_load_by_name() -> None:
    names = recipe_names()
    forms = [name for name in names if name.startswith("full/")]
    assert forms == names[len(names) - len(forms) :]
    for name in forms:
        quick, full = load_recipe(name.removeprefix("full/")), load_recipe(name)
        assert full.method == quick.method
        assert sum(s.epochs for s in full.train.stages) > sum(s.epochs for s in quick.train.stages)
