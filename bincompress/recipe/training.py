"""The `train` section of a recipe: stages, optimisers, schedules, losses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from bincompress.recipe.section import PositiveFloat, Section, Share


class OptimizerConfig(Section):
    """The optimiser of a stage."""

    name: Literal["adam", "sgd"] = "adam"
    lr: PositiveFloat = 1e-3
    momentum: Share = 0.9


class Stage(Section):
    """One stretch of training with fixed settings."""

    name: str = "both"
    epochs: int = Field(5, ge=0)
    binarize: tuple[Literal["activation", "weight"], ...] = ("activation", "weight")
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: Literal["cosine", "linear", "constant", "step"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        0.0, description="never applied to binarized weights, BatchNorm and scales"
    )
    warmup_epochs: int = Field(0, ge=0)


class Distill(Section):
    """Training against the float network's outputs."""

    teacher: Literal["original"] = "original"
    temperature: PositiveFloat = 2.0
    weight: Share = 0.7


class Train(Section):
    """Fine-tuning."""

    seed: int = Field(0, ge=0)
    batch_size: int = Field(128, ge=1)
    loss: Literal["cross_entropy", "squared_hinge"] = "cross_entropy"
    lr_scale: Literal["none", "glorot"] = Field("none", description="BinaryConnect's factor on steps of binary weights")
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = (Stage(),)
    distill: Distill | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bn_reestimate_batches: int = Field(100, ge=0)
    threads: int | None = Field(None, ge=1)

    @field_validator("stages")
    @classmethod
    def _distinct(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names = [stage.name for stage in stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stage names must differ, got {', '.join(names)}")
        return stages
