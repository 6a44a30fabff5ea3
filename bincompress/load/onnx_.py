"""ONNX files: one walk over the nodes, in order, that builds layers.

`onnx_ops.py` and `onnx_shapes.py` have one function per operation. Every node is also run on an example as the
walk goes, so shapes are known, and what exporters write around a flattening (Shape, Gather, Concat, ...) is a constant
by the time it is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import external_data_helper, numpy_helper
from torch import Tensor, fx, nn

from bincompress.errors import ModelLoadError, UnsupportedOpError
from bincompress.graph import unique_path
from bincompress.load import onnx_constants as fold
from bincompress.load.importer import Imported, Request
from bincompress.load.onnx_names import containers
from bincompress.load.onnx_node import Op
from bincompress.load.onnx_ops import OPS
from bincompress.load.onnx_shapes import SHAPE_OPS
from bincompress.user_code import describe

_RULES = OPS | SHAPE_OPS
_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
_LARGEST_FIXED_BATCH = 64  # a larger one is run with two samples


def import_onnx(request: Request) -> Imported:
    """An ONNX file with one image input and one output."""
    model, extra = _read(request.path)
    graph = model.graph
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise UnsupportedOpError(
            f"the network has {len(inputs)} inputs and {len(graph.output)} outputs, expected one image and one output"
        )
    batch, shape = _input_shape(inputs[0], request.input_shape)
    walk = Walk(constants, opset, graph)
    walk.start(inputs[0].name, torch.zeros(batch, *shape), flat=_rank(inputs[0]) == 2)
    for node in graph.node:
        walk.visit(node)
    module = walk.finish(graph.output[0].name)
    notes = () if _all_float32(graph) else ("weights converted to float32",)
    return Imported(module, shape, notes=notes, batch=batch, files=extra)


class Walk:
    """The network as built so far: an fx node, an example and, where known beforehand, a constant for each name."""

    def __init__(self, constants: dict[str, npt.NDArray[Any]], opset: int, graph: onnx.GraphProto) -> None:
        self.constants = constants
        self.opset = opset
        self.readers: dict[str, int] = {}
        for name in [name for node in graph.node for name in node.input] + [value.name for value in graph.output]:
            self.readers[name] = self.readers.get(name, 0) + 1
        self.containers = containers(constants, graph.node)
        self.root = fx.GraphModule(nn.Module(), fx.Graph())
        self.graph = fx.Graph(self.root)
        self.nodes: dict[str, fx.Node] = {}
        self.examples: dict[str, Tensor] = {}
        self.modules: dict[str, nn.Module] = {}  # by the name of the tensor that the module makes
        self.slices: dict[str, tuple[str, dict[int, int]]] = {}  # strided slices that wait for their other axis

    def start(self, name: str, example: Tensor, *, flat: bool) -> None:
        """Begin with the input; a network that takes (N, K) gets its image flattened."""
        self.nodes[name], self.examples[name] = self.graph.placeholder("x"), example
        if flat:
            self.emit_at(name, "flatten", nn.Flatten(1), (name,))

    def visit(self, node: onnx.NodeProto) -> None:
        """Build what a node does, or compute it if all it reads is constant."""
        op = Op(node, self)
        try:
            if op.domain not in ("", "ai.onnx"):
                raise UnsupportedOpError(f"it is of the custom domain {op.domain}; known are {_known()}")
            self._check_inputs(op)
            if fold.possible(self, op):
                fold.run(self, op)
            elif op.kind in _RULES:
                _RULES[op.kind](self, op)
            else:
                raise UnsupportedOpError(f"known are {_known()}")
        except UnsupportedOpError as error:
            raise UnsupportedOpError(f"{op.where}: operation {op.kind} is not supported: {error}") from error
        except ModelLoadError as error:
            raise ModelLoadError(f"{op.where} ({op.kind}): {error}") from error
        except Exception as error:  # numpy and torch raise many kinds where shapes do not fit
            raise ModelLoadError(f"{op.where} ({op.kind}) is malformed: {describe(error)}") from error

    def _check_inputs(self, op: Op) -> None:
        for name in op.inputs:
            if name and name not in self.constants and name not in self.examples:
                raise ModelLoadError(f"reads {name!r}, which no node before it makes")

    def emit(self, op: Op, module: nn.Module, inputs: tuple[str, ...], path: str | None = None) -> None:
        """Let `module` over `inputs` make the op's first output."""
        self.emit_at(op.outputs[0], path or op.path, module, inputs)

    def emit_at(self, name: str, path: str, module: nn.Module, inputs: tuple[str, ...]) -> None:
        """Let `module` over `inputs` make the tensor called `name`."""
        path = unique_path(self.root, path)
        sources = tuple(self.node(source) for source in inputs)
        with torch.no_grad():
            self.examples[name] = module.eval()(*(self.examples[source] for source in inputs))
        self.root.add_submodule(path, module)
        self.nodes[name] = self.graph.call_module(path, sources)
        self.modules[name] = module

    def alias(self, op: Op, source: str, example: Tensor | None = None) -> None:
        """Let the op's first output be the tensor `source`."""
        name = op.outputs[0]
        self.nodes[name] = self.node(source)
        self.examples[name] = self.examples[source] if example is None else example
        if source in self.modules:
            self.modules[name] = self.modules[source]

    def node(self, name: str) -> fx.Node:
        """The fx node that makes a tensor.

        Raises: UnsupportedOpError if it is a constant or half of a slice.
        """
        if name in self.slices:
            raise UnsupportedOpError("it reads a slice along one axis only; known is every n-th pixel on both axes")
        if name not in self.nodes:
            raise UnsupportedOpError(f"its input {name!r} is a constant, expected a tensor of the network")
        return self.nodes[name]

    def finish(self, output: str) -> fx.GraphModule:
        """The finished network."""
        if output not in self.nodes:
            raise ModelLoadError(f"its output {output!r} is made by no node")
        self.graph.output(self.nodes[output])
        return fx.GraphModule(self.root, self.graph)


def _known() -> str:
    """Names of the operations that can be imported."""
    return ", ".join(sorted(_RULES))


def _read(path: Path) -> tuple[onnx.ModelProto, tuple[Path, ...]]:
    """The model, and the files beside it that hold weights; onnx refuses such files outside the model's directory."""
    try:
        model = onnx.load(path, load_external_data=False)
        external = [tensor for tensor in model.graph.initializer if external_data_helper.uses_external_data(tensor)]
        names = {external_data_helper.ExternalDataInfo(tensor).location for tensor in external}
        if external:
            onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # protobuf and onnx raise kinds of their own
        raise ModelLoadError(f"is no intact ONNX file: {describe(error)}") from error
    if not model.graph.node:
        raise ModelLoadError("is no intact ONNX file: it has no nodes")
    return model, tuple(path.parent / name for name in sorted(names))


def _array(tensor: onnx.TensorProto) -> npt.NDArray[Any]:
    try:
        return np.array(numpy_helper.to_array(tensor))
    except Exception as error:  # sizes that do not fit the data
        raise ModelLoadError(f"is no intact ONNX file: weight {tensor.name!r}: {describe(error)}") from error


def _rank(value: onnx.ValueInfoProto) -> int:
    return len(value.type.tensor_type.shape.dim)


def _input_shape(value: onnx.ValueInfoProto, asked: tuple[int, int, int] | None) -> tuple[int, tuple[int, int, int]]:
    """The batch to run with and the image's shape: what the file says, where it is silent what the caller says."""
    if value.type.tensor_type.elem_type not in _FLOATS:
        raise UnsupportedOpError(f"the input {value.name!r} is no float tensor")
    dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]  # 0 where it is symbolic
    if len(dims) not in (2, 4):
        raise UnsupportedOpError(f"the input {value.name!r} has {len(dims)} axes, expected (N, C, H, W) or (N, K)")
    batch = dims[0] if 0 < dims[0] <= _LARGEST_FIXED_BATCH else 2
    fixed = tuple(dims[1:])
    if asked is not None:
        flat_fits = len(fixed) == 1 and fixed[0] in (0, int(np.prod(asked)))
        if not flat_fits and (len(fixed) != 3 or any(a not in (0, b) for a, b in zip(fixed, asked, strict=True))):
            raise ModelLoadError(f"takes inputs of shape {fixed}, but shape {asked} was asked for")
        return batch, asked
    if 0 in fixed:
        raise ModelLoadError(f"leaves the shape of its input open {fixed}; pass --input-shape C,H,W")
    return batch, (fixed[0], fixed[1], fixed[2]) if len(fixed) == 3 else (fixed[0], 1, 1)


def _all_float32(graph: onnx.GraphProto) -> bool:
    other = _FLOATS - {onnx.TensorProto.FLOAT}
    return not any(tensor.data_type in other for tensor in graph.initializer)
