"""bincompress inspect: what a packed file holds, layer by layer."""

from __future__ import annotations

from typing import Any

from bincompress.cli.options import JsonOption, PackedArgument
from bincompress.cli.output import print_json

_META = ("version", "torch_version", "source", "source_sha256", "accuracy.float", "accuracy.binary")


def inspect_(packed: PackedArgument, as_json: JsonOption = False) -> None:
    """Show layers, sizes, normalisation, provenance and the stored recipe of a packed file."""
    from bincompress.cli import render

    result = describe(packed)
    print_json(result) if as_json else render.inspection(result)


def describe(packed: Any) -> dict[str, Any]:
    """What `inspect --json` prints."""
    from bincompress.runtime.session import load

    model = load(packed)
    layers = []
    for node in model.nodes:
        layers.append(
            {
                "name": node.name,
                "op": node.op,
                "output": list(model.values[node.output].shape),
                "dtype": model.values[node.output].dtype,
                "macs": node.macs,
                "weights": node.weights,
                "weight_bits": node.weight_bits,
                "weight_bytes": node.weight_bytes,
                "constant_bytes": node.constant_bytes,
                "bits_per_weight": 8 * node.weight_bytes / node.weights if node.weights else None,
            }
        )
    normalize = model.normalize
    return {
        "file": str(packed),
        "bytes": packed.stat().st_size,
        "input": {"dtype": model.values[model.input_id].dtype, "shape": list(model.input_shape)},
        "output": {"shape": list(model.output_shape)},
        "normalize": {"mean": list(normalize.mean), "std": list(normalize.std)} if normalize else None,
        "classes": list(model.classes),
        "layers": layers,
        "meta": {key: value for key in _META if (value := model.meta(key)) is not None},
        "recipe": model.meta("recipe"),
    }
