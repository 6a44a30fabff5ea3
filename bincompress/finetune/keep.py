"""What may replace the last step's weights as a stage's result: a running average, or the best epoch's weights.

Both begin with a stage, are saved with the optimiser's state under a prefix of their own, and are applied once training
is over, before BatchNorm statistics are estimated for the last time.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, fx

from bincompress.finetune.optimizer import binary_layers
from bincompress.recipe import Train


class Keeper(Protocol):
    """Follows training and has the last word on its result."""

    def step(self) -> None:
        """See the weights after a step."""

    def epoch(self, accuracy: float | None) -> None:
        """See the weights after an epoch, and their accuracy on images held out."""

    def apply(self) -> None:
        """Put the result into the graph."""

    def tensors(self) -> dict[str, Tensor]:
        """What `restore` needs, by names with a prefix."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` returned; other entries are left alone."""


def choose_keeper(graph: fx.GraphModule, train: Train) -> Keeper:
    """What a recipe's `ema` and `select` ask for."""
    if train.ema:
        return Average(graph, train.ema)
    return Best(graph) if train.select == "best" else Last()


class Last:
    """The last step's weights are the result."""

    def step(self) -> None:
        """Nothing to do."""

    def epoch(self, accuracy: float | None) -> None:
        """Nothing to do."""

    def apply(self) -> None:
        """Nothing to do."""

    def tensors(self) -> dict[str, Tensor]:
        """Nothing to save."""
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Nothing to do."""


class Average:
    """a = decay a + (1 - decay) p after each step, from the stage's first parameters on.

    Latent weights take no part: what counts of them are signs, and the signs of an average are of no network that was
    ever trained. BatchNorm statistics take none either, for they are re-estimated for the averaged network.
    """

    _PREFIX = "average/"

    def __init__(self, graph: fx.GraphModule, decay: float) -> None:
        latents = {id(layer.weight) for _, layer in binary_layers(graph)}
        self._parameters = {name: p for name, p in graph.named_parameters() if id(p) not in latents}
        self._averages = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._decay = decay

    @torch.no_grad()
    def step(self) -> None:
        """Take the parameters after one more step in."""
        torch._foreach_lerp_(list(self._averages.values()), list(self._parameters.values()), 1 - self._decay)

    def epoch(self, accuracy: float | None) -> None:
        """Accuracy plays no part."""

    @torch.no_grad()
    def apply(self) -> None:
        """Put the averages in the parameters' place."""
        for name, parameter in self._parameters.items():
            parameter.copy_(self._averages[name])

    def tensors(self) -> dict[str, Tensor]:
        """The averages by `average/parameter path`."""
        return {self._PREFIX + name: average for name, average in self._averages.items()}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        for name, average in self._averages.items():
            if (saved := tensors.get(self._PREFIX + name)) is not None:
                average.copy_(saved)


class Best:
    """The weights after the epoch of the highest accuracy, the first of equals."""

    _PREFIX, _ACCURACY = "best/", "best.accuracy"

    def __init__(self, graph: fx.GraphModule) -> None:
        self._graph = graph
        self._accuracy = -1.0
        self._state: dict[str, Tensor] = {}

    def step(self) -> None:
        """Only whole epochs are compared."""

    def epoch(self, accuracy: float | None) -> None:
        """Keep a copy of the weights if they are the best so far."""
        if accuracy is not None and accuracy > self._accuracy:
            self._accuracy = accuracy
            self._state = {name: tensor.detach().clone() for name, tensor in self._graph.state_dict().items()}

    def apply(self) -> None:
        """Put the best weights back, if any epoch was seen."""
        if self._state:
            self._graph.load_state_dict(self._state)

    def tensors(self) -> dict[str, Tensor]:
        """The best weights by `best/path`, and their accuracy."""
        if not self._state:
            return {}
        accuracy = torch.tensor(self._accuracy, dtype=torch.float64)
        return {self._PREFIX + name: tensor for name, tensor in self._state.items()} | {self._ACCURACY: accuracy}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        if self._ACCURACY in tensors:
            self._accuracy = float(tensors[self._ACCURACY])
            prefix = self._PREFIX
            self._state = {n.removeprefix(prefix): t.clone() for n, t in tensors.items() if n.startswith(prefix)}
