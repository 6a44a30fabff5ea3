"""Module paths for ONNX nodes, so that a network keeps the names it had in PyTorch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_WEIGHT = re.compile(r"((?:\w+\.)*\w+)\.(?:weight|bias|running_mean|running_var)")


def module_path(weights: Sequence[str], node_name: str, kind: str, inside: frozenset[str]) -> str:
    """The path of a node's layer: from its weights' names, else from its own, as PyTorch's exporters write them.

    "layer1.0.conv1.weight" and "/layer1/layer1.0/conv1/Conv" both give layer1.0.conv1. A call in a block's forward,
    "/layer1/layer1.0/Add", has the block itself as its scope, which `inside` tells: it gives layer1.0.add.
    """
    path = _of_weights(weights) or _scope(node_name)
    last = re.sub(r"\W", "_", node_name.rpartition("/")[2]).lower() or kind.lower()
    if not path:
        return last
    return f"{path}.{last}" if path in inside else path


def containers(weights: Iterable[str], node_names: Iterable[str]) -> frozenset[str]:
    """All paths that have layers below them."""
    paths = {_of_weights([name]) for name in weights} | {_scope(name) for name in node_names}
    pieces = [path.split(".") for path in paths]
    return frozenset(".".join(piece[:i]) for piece in pieces for i in range(1, len(piece)))


def _of_weights(names: Sequence[str]) -> str:
    matches = (_WEIGHT.fullmatch(name) for name in names)
    return next((match[1] for match in matches if match), "")


def _scope(node_name: str) -> str:
    """The module that "/layer1/layer1.0/conv1/Conv" was called in: layer1.0.conv1; "" for other kinds of names."""
    if not node_name.startswith("/"):
        return ""
    parts: list[str] = []
    for part in node_name.strip("/").split("/")[:-1]:
        if parts and part.startswith(parts[-1] + "."):
            parts.pop()  # each part repeats the path within its parent container
        parts.append(part)
    return ".".join(re.sub(r"\W", "_", piece) or "_" for part in parts for piece in part.split("."))
