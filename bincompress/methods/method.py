"""What a method is: a row with its paper, the settings it starts from, and the parts that it brings to all recipes.

A part is a small function with a name, which any recipe may choose whatever its method:

    estimator          `defaults.estimator`, `weight.estimator`    the gradient that stands in for that of sgn
    transform          `weight.transform`                          latent weights -> the tensor that is signed
    scale              `weight.scale.kind`                         alpha of the binary weights
    weight gradient    `weight.gradient`                           what of alpha's own derivative reaches the latents

This package is imported where recipes are read, so it needs no torch: parts are written in methods of the tensors that
they are given (`x.tanh()`, `w.mean(1)`), and torch is imported for type checkers only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Settings = Mapping[str, Any]
"""A section of a recipe as plain data, every default filled in."""


@dataclass(frozen=True)
class Estimator:
    """A surrogate for d sgn / dx.

    `gradient(x, *parameters)` is the factor on the incoming gradient, in x's shape. `parameters(progress)` are the
    values of what changes over training; progress goes from 0 in the first epoch to 1 when training is over.
    """

    name: str
    formula: str
    paper: str
    gradient: Callable[..., Tensor]
    parameters: Callable[[float], tuple[float, ...]] = lambda progress: ()


@dataclass(frozen=True)
class Transform:
    """Differentiable function of the latent weights (C_out, C_in / groups, ...) whose result is signed and averaged."""

    name: str
    formula: str
    paper: str
    apply: Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Scale:
    """Scaling factors of rows of weights: (R, n) -> (R,); `learned` ones are parameters that start from there."""

    name: str
    formula: str
    paper: str
    of: Callable[[Tensor], Tensor]
    learned: bool = False


@dataclass(frozen=True)
class WeightGradient:
    """How the gradient g of the scaled weights alpha * sgn(W) is divided.

    `split(g, alpha, n, c_in)` returns what goes to sgn(W), and so through the estimator, and what goes to W past it
    (None for nothing); n is the number of weights that share an alpha, c_in that of input channels. A learned alpha
    always gets its own gradient. `split` None is autograd's: the exact derivative.
    """

    name: str
    formula: str
    paper: str
    split: Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor | None]] | None


def float_latents(weight: Tensor, settings: Settings) -> Tensor:
    """Start from the float weights as they are: alpha = mean |W| then is the one that fits the float layer best.

    Trained float weights are far below the clip at 1, so the clip hardly acts, and the step size of the optimiser
    decides how fast signs flip.
    """
    return weight


@dataclass(frozen=True)
class Method:
    """A binarization method.

    `defaults` is what a recipe that names it starts from. `latents(weight, settings of weight)` turns float weights
    into latent ones of the same shape and signs. `notes(recipe)` says what users should know of the exported network.
    """

    name: str
    title: str
    paper: str
    defaults: Settings
    latents: Callable[[Tensor, Settings], Tensor] = float_latents
    notes: Callable[[Settings], tuple[str, ...]] = lambda recipe: ()
    estimators: tuple[Estimator, ...] = field(default=(), kw_only=True)
    transforms: tuple[Transform, ...] = field(default=(), kw_only=True)
    scales: tuple[Scale, ...] = field(default=(), kw_only=True)
    gradients: tuple[WeightGradient, ...] = field(default=(), kw_only=True)


METHODS: dict[str, Method] = {}
ESTIMATORS: dict[str, Estimator] = {}
TRANSFORMS: dict[str, Transform] = {}
SCALES: dict[str, Scale] = {}
GRADIENTS: dict[str, WeightGradient] = {}


def register(method: Method) -> Method:
    """Add a method and its parts to the registries; the last line of a method's file.

    Raises: ValueError if a name is taken.
    """
    _add(METHODS, (method,))
    _add(ESTIMATORS, method.estimators)
    _add(TRANSFORMS, method.transforms)
    _add(SCALES, method.scales)
    _add(GRADIENTS, method.gradients)
    return method


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Row = TypeVar("_Row", bound=_Named)


def _add(registry: dict[str, _Row], rows: tuple[_Row, ...]) -> None:
    for row in rows:
        if row.name in registry:
            raise ValueError(f"{type(row).__name__} {row.name!r} is registered twice")
        registry[row.name] = row
