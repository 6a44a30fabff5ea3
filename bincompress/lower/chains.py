"""Program nodes under construction: an operation and the steps that have joined its epilogue so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt
from torch import fx

from bincompress.lower.check import output_shape
from bincompress.program import DType, Node, Normalize, Program, Step, Value

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]


@dataclass
class Chain:
    """One node; `tail` is the fx node whose value the last step computes, `shape` its shape."""

    index: int
    op: str
    name: str
    main: int
    shape: Shape
    tail: fx.Node
    attrs: dict[str, Any]
    weight: Array | None
    steps: list[Step] = field(default_factory=list)

    def add(self, op: str, value: int = -1, **params: Array) -> None:
        """Append a step."""
        self.steps.append(Step(op, value, params))

    def node(self) -> Node:
        """The finished node."""
        reads = tuple(step.value for step in self.steps if step.op in ("add", "mul_map"))
        writes = tuple(step.value for step in self.steps if step.op in ("store", "sign", "threshold"))
        return Node(self.op, self.name, (self.main, *reads), writes, self.attrs, self.weight, tuple(self.steps))


class Assembly:
    """Values and chains of one program, and where each fx node's result is to be found.

    `floats` and `bits` map an fx node to the value that holds its result; `chain_of` maps an fx node to the chain whose
    current result it is. A step may read any value whose making does not need its own chain; the final order of the
    nodes follows from what they read.
    """

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.chains: list[Chain] = []
        self.floats: dict[fx.Node, int] = {}
        self.bits: dict[fx.Node, int] = {}
        self.chain_of: dict[fx.Node, Chain] = {}
        self.writer: dict[int, int] = {}  # value -> index of the chain that writes it; the input: -1

    def value(self, name: str, dtype: DType, shape: Shape, writer: int) -> int:
        """Add a value; names stay unique by a suffix."""
        taken = {value.name for value in self.values}
        unique, number = name, 1
        while unique in taken:
            unique, number = f"{name}.{number}", number + 1
        self.values.append(Value(unique, dtype, shape))
        self.writer[len(self.values) - 1] = writer
        return len(self.values) - 1

    def open(
        self, op: str, node: fx.Node, main: int, attrs: dict[str, Any] | None = None, weight: Array | None = None
    ) -> Chain:
        """Open a chain whose accumulator is the value of `node`."""
        attrs = attrs or {}
        shape = output_shape(Node(op, "", (main,), (), attrs, weight), self.values[main].shape)
        chain = Chain(len(self.chains), op, str(node.target), main, shape, node, attrs, weight)
        self.chains.append(chain)
        self.chain_of[node] = chain
        return chain

    def constant(self, name: str, factors: Array) -> int:
        """A value (1, H, W) of `factors` (H, W), the same for every input; its node reads the input and ignores it."""
        main = next(value for value, writer in self.writer.items() if writer < 0)
        node = fx.Graph().placeholder("constant")  # stands for no layer of the network
        chain = self.open("constant", node, main, {"size": tuple(map(int, factors.shape)), "factors": factors})
        chain.name = name
        value = self.value(name, "f32", chain.shape, chain.index)
        chain.add("store", value)
        return value

    def advance(self, chain: Chain, node: fx.Node) -> None:
        """The chain's current result is now that of `node`."""
        del self.chain_of[chain.tail]
        chain.tail = node
        self.chain_of[node] = chain

    def store(self, node: fx.Node) -> int:
        """The float value of `node`, stored now if it is still in a chain."""
        if node not in self.floats:
            chain = self.chain_of[node]
            self.floats[node] = self.value(node.name, "f32", chain.shape, chain.index)
            chain.add("store", self.floats[node])
        return self.floats[node]

    def sign(self, node: fx.Node, source: fx.Node) -> int:
        """Write the bits of `node`, the sign of `source`, whose value is the chain's current result."""
        if node not in self.bits:
            chain = self.chain_of[source]
            self.bits[node] = self.value(node.name, "bits", chain.shape, chain.index)
            chain.add("sign", self.bits[node])
        return self.bits[node]

    def store_bits(self, node: fx.Node) -> int:
        """Write the bits that a chain over bits has made."""
        chain = self.chain_of.pop(node)
        self.bits[node] = self.value(node.name, "bits", chain.shape, chain.index)
        chain.add("store", self.bits[node])
        return self.bits[node]

    def needs(self, value: int, chain: Chain) -> bool:
        """Whether `value` cannot be had before `chain` has run."""
        waiting, seen = [self.writer[value]], set[int]()
        while waiting:
            index = waiting.pop()
            if index == chain.index:
                return True
            if index >= 0 and index not in seen:
                seen.add(index)
                waiting.extend(self.writer[read] for read in self.chains[index].node().inputs)
        return False

    def _in_order(self) -> list[Chain]:
        """The chains such that each reads what earlier ones wrote, otherwise as they were opened."""
        ordered: list[Chain] = []
        placed = {-1}
        left = list(self.chains)
        while left:
            ready = next(c for c in left if all(self.writer[read] in placed for read in c.node().inputs))
            left.remove(ready)
            placed.add(ready.index)
            ordered.append(ready)
        return ordered

    def program(self, input_value: int, output: int, normalize: Normalize | None) -> Program:
        """Everything as one Program."""
        nodes = tuple(chain.node() for chain in self._in_order())
        return Program(tuple(self.values), nodes, input_value, output, normalize)
