"""Module paths for ONNX nodes, so that a network keeps the names it had in PyTorch."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence

import onnx

_WEIGHT = re.compile(r"((?:\w+\.)*\w+)\.(?:weight|bias|running_mean|running_var)")
_SCOPES = "pkg.torch.onnx.name_scopes"  # written by PyTorch's exporter since 2.5


def module_path(node: onnx.NodeProto, inside: frozenset[str]) -> str:
    """The path of a node's layer: from its weights' names, else from where its module was called.

    "layer1.0.conv1.weight" and "/layer1/layer1.0/conv1/Conv" both give layer1.0.conv1. A call in a block's forward,
    "/layer1/layer1.0/Add", has the block itself as its scope, which `inside` tells: it gives layer1.0.add.
    """
    scope, name = _scope_and_name(node)
    path = _of_weights(node.input[1:]) or scope
    last = re.sub(r"\W", "_", name).lower() or node.op_type.lower()
    if not path:
        return last
    return f"{path}.{last}" if path in inside else path


def containers(weights: Iterable[str], nodes: Iterable[onnx.NodeProto]) -> frozenset[str]:
    """All paths that have layers below them."""
    paths = {_of_weights([name]) for name in weights} | {_scope_and_name(node)[0] for node in nodes}
    pieces = [path.split(".") for path in paths]
    return frozenset(".".join(piece[:i]) for piece in pieces for i in range(1, len(piece)))


def _of_weights(names: Sequence[str]) -> str:
    matches = (_WEIGHT.fullmatch(name) for name in names)
    return next((match[1] for match in matches if match), "")


def _scope_and_name(node: onnx.NodeProto) -> tuple[str, str]:
    """The module that a node was called in, "" if unknown, and the node's name within it."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = _strings(entry.value)
            if len(scopes) > 1:
                return _clean(scopes[-2]), scopes[-1]
    if not node.name.startswith("/"):
        return "", node.name
    parts: list[str] = []
    *scope, name = node.name.strip("/").split("/")
    for part in scope:
        if parts and part.startswith(parts[-1] + "."):
            parts.pop()  # each part repeats the path within its parent container
        parts.append(part)
    return _clean(".".join(parts)), name


def _strings(text: str) -> list[str]:
    """The strings in a list written as Python source; nothing if it is something else."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _clean(path: str) -> str:
    return ".".join(re.sub(r"\W", "_", piece) or "_" for piece in path.split(".")) if path else ""
