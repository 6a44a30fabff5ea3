"""The `train` section of a recipe: stages, optimisers, schedules, losses, teachers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from bincompress.recipe.section import PositiveFloat, Section, Share

Optimizer = Literal["adam", "adamw", "sgd", "shift_adamax", "bop"]
Schedule = Literal["cosine", "linear", "constant", "step", "exponential"]
Part = Literal["binary", "batchnorm", "float"]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


def _several(value: Any) -> Any:
    """A single value where a list may stand."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


class OptimizerConfig(Section):
    """The optimiser of a stage."""

    name: Optimizer = Field(
        "adam",
        description="adamw decays weights apart from the gradient; shift_adamax is BNN's AdaMax by powers of two; "
        "bop flips binary weights and keeps no latent ones, everything else then learns by Adam",
    )
    lr: PositiveFloat = 1e-3
    momentum: BelowOne = Field(0.9, description="of sgd")
    betas: tuple[BelowOne, BelowOne] = Field((0.9, 0.999), description="of adam, adamw and shift_adamax")
    gamma: Share = Field(1e-4, description="of bop: share of the newest gradient in its average, times the schedule")
    threshold: Annotated[float, Field(ge=0)] = Field(
        1e-8, description="of bop: a weight w flips where w times the average gradient exceeds it"
    )


class Stage(Section):
    """One stretch of training with fixed settings."""

    name: str = "both"
    epochs: int = Field(5, ge=0)
    binarize: tuple[Literal["activation", "weight"], ...] = ("activation", "weight")
    parameters: Annotated[tuple[Part, ...], Field(min_length=1)] = Field(
        ("binary", "batchnorm", "float"),
        description="what learns: latent weights of 1-bit layers, BatchNorm, everything else; the rest is frozen",
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: Schedule = Field("cosine", description="exponential falls after each epoch, all others after each step")
    lr_end: Annotated[float, Field(ge=0)] = Field(
        0.0, description="where cosine, linear and exponential end, as a rate like optimizer.lr"
    )
    milestones: tuple[Share, ...] = Field((0.5, 0.75), description="of step: shares of the stage after which lr falls")
    decay: PositiveFloat = Field(0.1, description="of step: what lr is multiplied with at each milestone")
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        0.0, description="never applied to binarized weights, BatchNorm and scales"
    )
    warmup_epochs: int = Field(0, ge=0, description="the rate rises linearly, then the schedule begins")

    @model_validator(mode="after")
    def _ends_below_its_start(self) -> Self:
        if self.schedule == "exponential" and self.lr_end == 0:
            raise ValueError("the exponential schedule needs lr_end, the rate it falls to, above 0")
        if self.lr_end > self.optimizer.lr:
            raise ValueError(f"lr_end {self.lr_end:g} is above optimizer.lr {self.optimizer.lr:g}")
        return self


class Attention(Section):
    """Where in the image layers respond, taught too: the mean square over channels, of unit length, must agree.

    Source: attention transfer, arXiv 1612.03928; for 1-bit networks "Real-to-Binary", arXiv 2003.11535.
    """

    weight: PositiveFloat = Field(1.0, description="factor of the distances' sum over layers")
    layers: tuple[str, ...] | None = Field(
        None,
        description="`name`, or `student:teacher` where names differ; null: the sums that end residual blocks, else "
        "the 1-bit layers",
    )


class Distill(Section):
    """Training against the outputs of a float network."""

    teacher: str = Field("original", description="the float network that is converted, or the path of another model")
    factory: str | None = Field(None, description="what --factory is for the teacher's file")
    temperature: Annotated[tuple[PositiveFloat, ...], BeforeValidator(_several), Field(min_length=1)] = Field(
        (2.0,), description="one, or a list whose losses are averaged; ReActNet's distributional loss is 1 at weight 1"
    )
    weight: Share = Field(0.7, description="share of the teacher in the loss; at 1 labels play no part")
    views: int = Field(
        0,
        ge=0,
        description="number of augmented views of each image, used in turn; the teacher's answers are computed once "
        "per view and kept. 0: every epoch augments anew",
    )
    attention: Attention | None = None

    @model_validator(mode="after")
    def _cached_answers_have_no_features(self) -> Self:
        if self.views and self.attention is not None:
            raise ValueError(
                "views keep the teacher's answers alone, attention needs its layers; leave out one of them"
            )
        return self


class Train(Section):
    """Fine-tuning."""

    seed: int = Field(0, ge=0)
    batch_size: int = Field(128, ge=1)
    loss: Literal["cross_entropy", "squared_hinge"] = "cross_entropy"
    lr_scale: Literal["none", "glorot"] = Field("none", description="BinaryConnect's factor on steps of binary weights")
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = (Stage(),)
    distill: Distill | None = None
    label_smoothing: BelowOne = 0.0
    mixup: Annotated[float, Field(ge=0)] = Field(
        0.0, description="alpha of mixup: pairs of images are mixed in shares drawn from Beta(alpha, alpha); 0: never"
    )
    ema: BelowOne = Field(
        0.0, description="decay of a running average of all parameters but latent weights, which is the result; 0: none"
    )
    holdout: int = Field(0, ge=0, description="training images kept aside; the accuracy of each epoch is over them")
    select: Literal["last", "best"] = Field("last", description="which epoch of the last stage is the result")
    bn_reestimate_batches: int = Field(100, ge=0)
    threads: int | None = Field(None, ge=1)
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "float32",
        description="of float products in training, the teacher's too; auto: bfloat16 where it is fast",
    )

    @field_validator("batch_size")
    @classmethod
    def _enough_for_statistics(cls, images: int) -> int:
        if images < 2:
            raise ValueError("BatchNorm needs batches of 2 images or more, not of 1")
        return images

    @field_validator("stages")
    @classmethod
    def _distinct(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names = [stage.name for stage in stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stage names must differ, got {', '.join(names)}")
        return stages

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.mixup and self.distill is not None and self.distill.views:
            raise ValueError("mixup mixes anew in every epoch, distill.views keep answers to fixed images; choose one")
        if self.select == "best" and not self.holdout:
            raise ValueError("select: best needs images to select by; set holdout, 5000 for example")
        if self.select == "best" and self.ema:
            raise ValueError("ema is an average over the last epochs, select: best picks one of them; choose one")
        return self
