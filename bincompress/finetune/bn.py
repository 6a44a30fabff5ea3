"""BatchNorm statistics of a network whose activations surgery or training has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from bincompress.binarize import Imitation

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_SMALLEST_SPREAD = 1e-3


@torch.no_grad()
def reestimate_bn(graph: fx.GraphModule, images: Iterable[Tensor]) -> int:
    """Replace running statistics by the plain average over these batches, all else in evaluation mode.

    Returns: the number of batches seen; with none the statistics stay as they were. Modes are restored.
    """
    norms = [module for module in graph.modules() if isinstance(module, _NORMS) and module.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    count = 0
    with evaluating(graph):
        for x in images:
            if count == 0:
                for norm in norms:
                    norm.reset_running_stats()
                    norm.momentum = None  # cumulative average
                    norm.train()
            graph(x)
            count += 1
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return count


@torch.no_grad()
def imitate(
    graph: fx.GraphModule, teacher: fx.GraphModule, imitations: Sequence[Imitation], images: Iterable[Tensor]
) -> None:
    """Give BatchNorms that surgery put behind layers the mean and spread these layers have in the float network.

    With statistics from `reestimate_bn` the network then starts near the float one instead of at unit spread.
    """
    wanted = {row.layer for row in imitations}
    if not wanted:
        return
    moments = _Moments(teacher, wanted)
    with evaluating(teacher):
        for x in images:
            moments.run(x)
    for row in imitations:
        norm = graph.get_submodule(row.norm)
        assert isinstance(norm, _NORMS)
        if moments.count and norm.affine:
            mean = moments.sums[row.layer] / moments.count
            variance = moments.squares[row.layer] / moments.count - mean.square()
            norm.weight.copy_(variance.clamp_min(0).sqrt().clamp_min(_SMALLEST_SPREAD))
            norm.bias.copy_(mean)


class _Moments(fx.Interpreter):
    """Runs a graph and averages, over batches, the first two moments per channel of some layers' outputs."""

    def __init__(self, graph: fx.GraphModule, layers: set[str]) -> None:
        super().__init__(graph)
        self.sums: dict[str, Tensor] = {}
        self.squares: dict[str, Tensor] = {}
        self.count = 0
        self._layers = layers

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "call_module" and n.target in self._layers:
            axes = [axis for axis in range(value.dim()) if axis != 1]
            double, name = value.double(), str(n.target)
            self.sums[name] = self.sums.get(name, 0) + double.mean(axes)
            self.squares[name] = self.squares.get(name, 0) + double.square().mean(axes)
        if n.op == "output":
            self.count += 1
        return value


@contextmanager
def evaluating(graph: fx.GraphModule) -> Iterator[None]:
    """Evaluation mode inside, every module's own mode again after."""
    modes = {module: module.training for module in graph.modules()}
    graph.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
