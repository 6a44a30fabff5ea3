"""From any traceable `nn.Module` to the internal form: every operation becomes the call of a leaf.

The module is traced in evaluation mode, run once on zeros to learn every shape and every number that the code computes
from shapes, and then rewritten node by node by `rules.py`. At the end the result and the original are run on the same
random input: an import that changes the function is an error, not a surprise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from bincompress.errors import ModelLoadError, UnsupportedOpError
from bincompress.graph import LeafTracer, finish
from bincompress.load.passes import drop_softmax, flatten_output, fold_padding, merge_shortcuts
from bincompress.load.rewrite import Rewriter, Run
from bincompress.user_code import describe


def canonicalise(
    module: nn.Module, input_shape: tuple[int, ...], *, batch: int = 2
) -> tuple[fx.GraphModule, tuple[str, ...]]:
    """The internal form of `module`, in evaluation mode, and notes on what was changed; `module` is used up.

    Raises: UnsupportedOpError naming the node and its operation; ModelLoadError if the input shape does not fit.
    """
    module = module.float().eval()
    if LeafTracer().is_leaf_module(module, ""):
        module = nn.Sequential(module)  # a network of one layer: its call is what must be seen, not its inside
    graph = _trace(module)
    run = Run(graph)
    with torch.no_grad():
        run.run(torch.zeros(batch, *input_shape))
    example = torch.randn(batch, *input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = module(example.clone())  # before rewriting, which may change padding in place
    Rewriter(graph, run).rewrite()
    notes = [*drop_softmax(graph), *flatten_output(graph, run)]
    merge_shortcuts(graph)
    fold_padding(graph)
    finish(graph).eval()
    _check(graph, example, expected, dropped_softmax=bool(notes) and "softmax" in notes[0])
    return graph, tuple(notes)


def _trace(module: nn.Module) -> fx.GraphModule:
    tracer = LeafTracer()
    try:
        traced = tracer.trace(module)
    except Exception as error:  # the user's forward runs here: anything may come out of it
        where = next(reversed(tracer.module_stack), "") if tracer.module_stack else ""
        raise UnsupportedOpError(
            f"module {where or type(module).__name__}: its forward cannot be traced: {describe(error)}; "
            "it must call layers and torch functions only, with no branches on tensors, or come as ONNX"
        ) from error
    inputs = [node for node in traced.nodes if node.op == "placeholder"]
    for node in inputs[1:]:
        if not node.users:
            traced.erase_node(node)
    used = [node.name for node in traced.nodes if node.op == "placeholder"]
    if len(used) != 1:
        raise UnsupportedOpError(f"the network takes {len(used)} inputs ({', '.join(used)}), expected one image tensor")
    return fx.GraphModule(module, traced, type(module).__name__).eval()


def _check(graph: fx.GraphModule, example: Tensor, expected: Any, *, dropped_softmax: bool) -> None:
    """Compare the rewritten network with the original on random input."""
    with torch.no_grad():
        got = graph(example)
    if dropped_softmax:
        got, expected = got.softmax(1), (expected if bool((expected >= 0).all()) else expected.exp())
    if not torch.isfinite(got).all():
        raise ModelLoadError("the network gives infinite or undefined numbers on random input; are its weights sound?")
    if not torch.allclose(got.flatten(1), expected.flatten(1), rtol=1e-3, atol=1e-4 * float(expected.abs().max() + 1)):
        raise UnsupportedOpError(
            "the network computes something else once it is written as layers (tensors changed in place?); "
            "write its forward with layers and plain functions, or come with ONNX"
        )
