"""The decorator that makes a function a network of the zoo, with what a loader must know about it."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from bincompress.program import Normalize

Factory = Callable[[], nn.Module]

IMAGENET = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = Normalize((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.262))
MNIST = Normalize((0.1307,), (0.3081,))
HALF_RGB = Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
HALF_GREY = Normalize((0.5,), (0.5,))

_NETWORKS: dict[str, Factory] = {}


def network(*, input_shape: tuple[int, int, int], normalize: Normalize) -> Callable[[Factory], Factory]:
    """Register a factory under its own name and attach `input_shape` and `normalize`, which `load_model` reads.

    A factory of the user's may carry the same two attributes.
    """

    def register(factory: Factory) -> Factory:
        name = factory.__name__
        if name in _NETWORKS:
            raise ValueError(f"network {name!r} is already registered")
        factory.input_shape = input_shape  # type: ignore[attr-defined]
        factory.normalize = normalize  # type: ignore[attr-defined]
        _NETWORKS[name] = factory
        return factory

    return register


def names() -> tuple[str, ...]:
    """Names of all networks, sorted."""
    return tuple(sorted(_NETWORKS))


def get(name: str) -> Factory:
    """The factory called `name`.

    Raises: KeyError if there is none.
    """
    return _NETWORKS[name]
