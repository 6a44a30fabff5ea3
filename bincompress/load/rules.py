"""What a rule is: how one functional call, method or layer becomes leaves.

A rule takes the call's arguments by torch's own parameter names: tensors are the fx nodes that make them, everything
else is its value. It returns what to put in its place: leaves over given inputs, or a node to read instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, fx, nn

from bincompress.errors import UnsupportedOpError
from bincompress.graph import Shape


@dataclass(frozen=True)
class Leaves:
    """A chain of leaves: the first reads `inputs`, each other one the leaf before it."""

    modules: tuple[nn.Module, ...]
    inputs: tuple[fx.Node, ...]


Result = Leaves | fx.Node
Rule = Callable[..., Result]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Call:
    """What a rule may ask: full shapes with the batch axis, and constants by the node that reads them."""

    shapes: dict[fx.Node, Shape]
    constants: dict[fx.Node, Tensor]
    out: Shape

    def shape(self, node: fx.Node) -> Shape:
        return self.shapes[node]

    def rank(self, node: fx.Node) -> int:
        return len(self.shapes[node])

    def constant(self, node: Any, what: str) -> nn.Parameter | None:
        """The parameter that `node` reads, None for None.

        Raises: UnsupportedOpError if it is computed.
        """
        if node is None:
            return None
        if node not in self.constants:
            raise UnsupportedOpError(f"its {what} is computed, not a parameter of the model")
        value = self.constants[node].detach()
        return nn.Parameter(value)


class Pad(nn.Module):
    """Zeros around the image, until they are folded into the convolution behind; left, right, top, bottom."""

    def __init__(self, padding: Sequence[int]) -> None:
        super().__init__()
        self.padding = tuple(padding)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, self.padding)


class Softmax(nn.Module):
    """Probabilities from logits, until it is found at the end and dropped."""

    def __init__(self, log: bool = False) -> None:
        super().__init__()
        self.log = log

    def forward(self, x: Tensor) -> Tensor:
        return x.log_softmax(1) if self.log else x.softmax(1)


def registrar(table: dict[Any, F]) -> Callable[..., Callable[[F], F]]:
    """A decorator that enters a function into `table` under each of its arguments."""

    def entered_as(*keys: Any) -> Callable[[F], F]:
        def register(function: F) -> F:
            for key in keys:
                if key in table:
                    raise ValueError(f"{key} has two rules")
                table[key] = function
            return function

        return register

    return entered_as
