"""Which data a conversion reads, and how its pixels are normalised: command line before recipe before habit."""

from __future__ import annotations

from bincompress.checkpoint import Checkpoint
from bincompress.data import Split, Which, default_normalize, open_data, without_split
from bincompress.errors import RecipeError
from bincompress.evaluate import check_fits
from bincompress.graph import FloatModel
from bincompress.program import Normalize
from bincompress.recipe import Recipe


def open_splits(
    recipe: Recipe, data: str | None, val: str | None, input_shape: tuple[int, int, int]
) -> tuple[Split | None, Split | None]:
    """Training and validation data: the command line's, else the recipe's; validation is by default the test split."""
    train_spec = data or recipe.data.train
    val_spec = val or (recipe.data.val if data is None else None) or (train_spec and without_split(train_spec))
    return (
        open_split(train_spec, input_shape, "train") if train_spec else None,
        open_split(val_spec, input_shape, "test") if val_spec else None,
    )


def choose_normalize(recipe: Recipe, model: FloatModel | Checkpoint, split: Split | None) -> Normalize | None:
    """The input normalisation, a mean and a std per channel: the recipe's, else the model's own, else the usual one of
    the data set.

    Raises: RecipeError if the model has another number of channels.
    """
    chosen = model.normalize or (default_normalize(split.name) if split else None)
    if recipe.data.normalize is not None:
        chosen = Normalize(recipe.data.normalize.mean, recipe.data.normalize.std)
    channels = model.input_shape[0]
    if chosen is not None and len(chosen.mean) not in (1, channels):
        raise RecipeError(
            f"{recipe.at('data', 'normalize')}: {len(chosen.mean)} values, but the model reads {channels} channels"
        )
    if chosen is not None and len(chosen.mean) == 1:
        chosen = Normalize(chosen.mean * channels, chosen.std * channels)
    return chosen


def open_split(spec: str, input_shape: tuple[int, int, int], which: Which) -> Split:
    """Read one split, the one that `spec` names or else `which`.

    Raises: DataError unless its images fit the model.
    """
    split = open_data(spec, split=which, image_shape=input_shape)
    check_fits(split, input_shape)
    return split
