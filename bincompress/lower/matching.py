"""Which sums go straight into a sign, so that one threshold replaces everything in between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import fx, nn

from bincompress.binarize.modules import Sign
from bincompress.graph import node_module
from bincompress.lower.leaves import FrozenConv
from bincompress.lower.thresholds import decreasing, is_monotone


@dataclass(frozen=True)
class Match:
    """A line sum -> modules [pool] modules -> sign, with no other reader on the way.

    `pool_reversed` (C,) marks the channels where the modules after the pool reverse order.
    """

    sign: fx.Node
    modules: tuple[nn.Module, ...]
    swallowed: tuple[fx.Node, ...]
    pool: fx.Node | None
    pool_reversed: npt.NDArray[np.bool_]


def match_threshold(graph: fx.GraphModule, node: fx.Node) -> Match | None:
    """The line that starts at the integer product `node`, or None if something else reads it or it is not monotone."""
    channels = int(graph.get_submodule(str(node.target)).get_buffer("weight").shape[0])
    modules: list[nn.Module] = []
    after_pool: list[nn.Module] = []
    swallowed: list[fx.Node] = []
    pool: fx.Node | None = None
    current = node
    while True:
        users = list(current.users)
        if len(users) != 1 or users[0].op != "call_module":
            return None
        current = users[0]
        module = node_module(graph, current)
        swallowed.append(current)
        if isinstance(module, Sign):
            reverse = decreasing(after_pool, channels)
            return Match(current, (*modules, *after_pool), tuple(swallowed), pool, reverse)
        is_conv = isinstance(graph.get_submodule(str(node.target)), FrozenConv)
        if isinstance(module, nn.MaxPool2d) and pool is None and is_conv:
            pool = current
        elif is_monotone(module):
            (modules if pool is None else after_pool).append(module)
        else:
            return None
