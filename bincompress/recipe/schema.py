"""What a recipe may say: one pydantic model per section, unknown keys refused, every default written here."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, PrivateAttr, field_validator, model_serializer, model_validator

from bincompress.methods import ESTIMATORS, GRADIENTS, METHODS, SCALES, TRANSFORMS
from bincompress.recipe.section import NameIn, PositiveFloat, Section, Share
from bincompress.recipe.training import Train
from bincompress.recipe.yaml_ import Path, Positions, show_path

Method = Annotated[str, NameIn(METHODS)]
Estimator = Annotated[str, NameIn(ESTIMATORS)]
Padding = Literal["zero", "one", "minus_one"]
Precision = Literal["float", "binary"]


class WeightScale(Section):
    """Scaling factor alpha of binary weights: one per layer, per output channel, or none."""

    granularity: Literal["layer", "channel", "none"] = "channel"
    kind: Annotated[str, NameIn(SCALES)] = Field(
        "analytic", description="mean |w| of each step, a trained parameter, or another rule of a method"
    )


class WeightConfig(Section):
    """How the weights of a layer become +-1."""

    binarizer: Literal["sign", "none"] = "sign"
    stochastic: bool = Field(False, description="draw +1 with probability clip((w + 1) / 2, 0, 1) while training")
    clip: PositiveFloat | None = Field(1.0, description="latent weights are clipped to [-clip, clip] after each step")
    center: Literal[True, False, "latents"] = Field(
        False,
        description="subtract the mean over input channels before the sign (differentiably), "
        "or from the latents themselves after each step",
    )
    transform: Annotated[str, NameIn(TRANSFORMS)] = Field(
        "none", description="what a method makes of the latents before the sign"
    )
    estimator: Annotated[str, NameIn(ESTIMATORS)] | None = Field(
        None, description="gradient of the weights' sign; null: ste, or identity where nothing clips the latents"
    )
    gradient: Annotated[str, NameIn(GRADIENTS)] = Field(
        "exact", description="what of the derivative of alpha reaches the latents"
    )
    scale: WeightScale = WeightScale()


class ActivationScale(Section):
    """Scaling of what binary activations give."""

    kind: Literal["none", "spatial", "learned", "positions", "factored"] = Field(
        "none",
        description="spatial: XNOR-Net's map of mean |x|; learned: one factor; positions, factored: XNOR-Net++'s "
        "learned factor of each output pixel, or of each row and each column",
    )


class ActivationConfig(Section):
    """How the input of a layer becomes +-1."""

    binarizer: Literal["sign", "none"] = "sign"
    stochastic: bool = Field(False, description="draw signs at random while training")
    shift: bool = Field(False, description="learned shift of each channel in front of the sign (ReActNet's RSign)")
    scale: ActivationScale = ActivationScale()


class Defaults(Section):
    """Settings of every binarized layer that no rule changes."""

    weight: WeightConfig = WeightConfig()
    activation: ActivationConfig = ActivationConfig()
    estimator: Estimator = Field("ste", description="gradient of the sign of activations")
    padding: Padding = Field("zero", description="value of pixels outside the image in binary convolutions")


class Surgery(Section):
    """How the float network is rebuilt before training."""

    order: Literal["bn_act_conv", "conv_bn_act", "conv_bn_act_pool", "keep"] = Field(
        "bn_act_conv", description="of a block; pools stand before BatchNorm and sign but in conv_bn_act_pool and keep"
    )
    insert_bn: Literal["auto", "never"] = "auto"
    norm: Literal["batch", "shift"] = Field(
        "batch", description="shift: BNN's BatchNorm whose factors are powers of two"
    )
    shortcut: Literal["keep", "per_conv"] = "keep"
    activation: Literal["keep", "none", "hardtanh", "prelu", "rprelu"] = "none"


class Rule(Section):
    """Settings for the layers whose name matches; later rules win over earlier ones."""

    match: str = Field(description="layer name, parent of layers, glob, or `re:` and a regular expression")
    type: Literal["Conv2d", "Linear"] | None = None
    skip: bool | None = Field(
        None, description="true: stays float; false: binarized even where first, last or downsample say float"
    )
    optional: bool = Field(False, description="a rule that matches nothing is an error unless it is optional")
    weight: WeightConfig | None = Field(None, description="only the keys that are given differ from the defaults")
    activation: ActivationConfig | None = Field(None, description="only the keys that are given differ")

    @field_validator("match")
    @classmethod
    def _compiles(cls, match: str) -> str:
        try:
            re.compile(match.removeprefix("re:") if match.startswith("re:") else "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return match

    @model_serializer(mode="plain")
    def _only_given(self) -> dict[str, Any]:
        return {
            name: value.model_dump(exclude_unset=True) if isinstance(value, Section) else value
            for name in type(self).model_fields
            if (value := getattr(self, name)) is not None
        }


class Layers(Section):
    """Which layers are binarized."""

    first: Precision = "float"
    last: Precision = "float"
    downsample: Precision = Field("float", description="1x1 convolutions on a shortcut")
    rules: tuple[Rule, ...] = ()


class NormalizeConfig(Section):
    """Input normalisation x = (u / 255 - mean) / std, one value per channel."""

    mean: Annotated[tuple[float, ...], Field(min_length=1)]
    std: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} values, std {len(self.std)}; give one of each per channel")
        return self


class Data(Section):
    """Where images come from, if the command line does not say."""

    train: str | None = None
    val: str | None = None
    transforms: tuple[Literal["random_crop", "hflip", "cutout"], ...] | None = Field(
        None, description="augmentation while training; null: what suits the data set, [] is none"
    )
    normalize: NormalizeConfig | None = None


class Export(Section):
    """The packed file."""

    format: Literal["gguf"] = "gguf"
    activations: Literal["float", "int8"] = Field(
        "float", description="int8: layers with 1-bit weights round float inputs to 8 bits; faster, not exact"
    )


class Gates(Section):
    """Limits that make `convert` end with exit code 1; null is no limit."""

    max_drop: float | None = Field(None, description="float accuracy minus 1-bit accuracy, 0.05 is five points")
    min_accuracy: Share | None = None
    max_bytes: int | None = Field(None, ge=1, description="size of the packed file")
    min_speedup: PositiveFloat | None = Field(None, description="over ONNX Runtime fp32 on this machine")
    max_float_macs: Share | None = Field(None, description="share of multiply-accumulates in layers left float")


class Recipe(Section):
    """A whole recipe, every default filled in."""

    version: Literal[1] = 1
    method: Method
    defaults: Defaults = Defaults()
    surgery: Surgery = Surgery()
    layers: Layers = Layers()
    train: Train = Train()
    data: Data = Data()
    export: Export = Export()
    gates: Gates = Gates()

    _positions: Positions = PrivateAttr(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.model_dump() == other.model_dump()  # positions do not count

    __hash__ = None  # type: ignore[assignment]

    def at(self, *path: str | int) -> str:
        """Say where `path` stands: `x.yaml:12:5: layers.rules[0]`, or the path alone if the recipe has no file."""
        key: Path = path
        while key and key not in self._positions:
            key = key[:-1]
        where = self._positions.get(key)
        return f"{where}: {show_path(path)}" if where else show_path(path)

    def to_yaml(self) -> str:
        """Write the fully resolved recipe; the same recipe always gives the same text."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)

    def with_epochs(self, epochs: int) -> Recipe:
        """Rescale the stages to `epochs` in all, each at least one where that is possible, else the last ones.

        Warm-up keeps its share of a stage.
        """
        shares = split_epochs([stage.epochs for stage in self.train.stages], epochs)
        stages = tuple(
            s.model_copy(update={"epochs": n, "warmup_epochs": round(s.warmup_epochs * n / max(1, s.epochs))})
            for s, n in zip(self.train.stages, shares, strict=True)
        )
        return self.model_copy(update={"train": self.train.model_copy(update={"stages": stages})})


def split_epochs(stages: list[int], total: int) -> list[int]:
    """Split `total` epochs in proportion to `stages`; a stage of 0 epochs keeps 0 if another has any."""
    live = [i for i, n in enumerate(stages) if n > 0] or [len(stages) - 1]
    result = [0] * len(stages)
    if total < len(live):
        for i in live[len(live) - total :]:
            result[i] = 1
        return result
    weight = sum(max(stages[i], 1) for i in live)
    ideal = {i: total * max(stages[i], 1) / weight for i in live}
    for i in live:
        result[i] = max(1, int(ideal[i]))
    while sum(result) != total:  # hand out what rounding down left, or take back what the minimum of one added
        step = 1 if sum(result) < total else -1
        i = max((i for i in live if result[i] + step >= 1), key=lambda i: (step * (ideal[i] - result[i]), i))
        result[i] += step
    return result
