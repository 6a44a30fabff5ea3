"""verify: nothing to report on what was packed as trained, and a clear report on what was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bincompress.errors import ParityError
from bincompress.lower import deploy, lower
from bincompress.pack import read_packed, write_packed
from bincompress.program import I8_OPS, WEIGHT_OPS
from bincompress.runtime.session import load
from bincompress.verify import require_parity, verify
from tests.lower.networks import RECIPES, images, network


@pytest.mark.parametrize("recipe", sorted(RECIPES))
@pytest.mark.parametrize("name", ["digits_cnn", "resnet20"])
def test_packed_networks_compute_what_was_trained(name: str, recipe: str, tmp_path: Path) -> None:
    graph, model = network(name, recipe)
    write_packed(lower(deploy(graph), model.input_shape, model.normalize), tmp_path / "m.gguf")
    result = verify(tmp_path / "m.gguf", graph, images(model, 6), batch=4, threads=2)
    require_parity(result, tmp_path / "m.gguf")
    assert result["samples"] == 6
    assert result["integer_mismatches"] == 0
    assert result["float_mismatches"] == 0
    assert result["max_float_error"] < 1e-5
    if result["boundary_flips"] == 0:
        assert result["top1_agreement"] == 1.0
    assert {row["name"] for row in result["layers"]} >= {"conv1"}


def test_integer_networks_agree_to_the_last_bit(tmp_path: Path) -> None:
    for name in ("digits_cnn", "bnn_mlp_2048"):
        graph, model = network(name, "bnn")
        write_packed(lower(deploy(graph), model.input_shape, model.normalize), tmp_path / "m.gguf")
        result = verify(tmp_path / "m.gguf", graph, images(model, 12))
        assert result["boundary_flips"] == 0
        assert result["max_abs_diff"] == 0
        assert result["top1_agreement"] == 1.0


def test_a_network_of_other_widths_is_named_by_its_first_layer_that_differs(tmp_path: Path) -> None:
    graph, model = network("bnn_mlp_2048", "bnn")
    write_packed(lower(deploy(graph), model.input_shape, model.normalize), tmp_path / "m.gguf")
    other, _ = network("bnn_mlp", "bnn")
    with pytest.raises(ParityError, match=r"2048.* in the packed file, but .*4096.* in the trained network"):
        verify(tmp_path / "m.gguf", other, images(model, 2))


def test_one_wrong_weight_is_found_and_its_layer_named(tmp_path: Path) -> None:
    graph, model = network("resnet20", "xnor")
    path = tmp_path / "m.gguf"
    write_packed(lower(deploy(graph), model.input_shape, model.normalize), path)
    program, _ = read_packed(path)
    index = next(i for i, node in enumerate(program.nodes) if node.name == "layer2.1.conv2")
    weight = np.array(program.nodes[index].weight)
    weight[5, 1, 1, 3] *= -1
    nodes = list(program.nodes)
    nodes[index] = replace(nodes[index], weight=weight)
    write_packed(replace(program, nodes=tuple(nodes)), path)
    result = verify(path, graph, images(model, 2))
    assert result["integer_mismatches"] > 0
    wrong = [row["name"] for row in result["layers"] if row["integer_mismatches"]]
    assert wrong == ["layer2.1.conv2"]
    with pytest.raises(ParityError, match=r"layer2\.1\.conv2"):
        require_parity(result, path)


def test_another_network_is_refused(tmp_path: Path) -> None:
    graph, model = network("resnet20", "xnor")
    write_packed(lower(deploy(graph), model.input_shape, model.normalize), tmp_path / "m.gguf")
    other, _ = network("digits_cnn", "xnor")
    with pytest.raises(ParityError, match="another"):
        verify(tmp_path / "m.gguf", other, images(model, 1))


@pytest.mark.parametrize("name", ["digits_cnn", "resnet20"])
def test_int8_activations_are_exact_in_themselves_and_their_error_is_told(name: str, tmp_path: Path) -> None:
    graph, model = network(name, "bwn")
    path = tmp_path / "m.gguf"
    program = lower(deploy(graph, "int8"), model.input_shape, model.normalize)
    rounded = [node for node in program.nodes if node.op in I8_OPS]
    assert rounded
    assert not any(node.op in WEIGHT_OPS for node in program.nodes)
    write_packed(program, path)
    result = verify(path, graph, images(model, 6), batch=4, threads=2)
    require_parity(result, path)
    assert result["integer_mismatches"] == 0
    assert result["top1_agreement"] == 1.0
    error = result["int8_activations"]
    assert error["layers"] == len(rounded)
    assert 0 < error["max_abs_diff"] < 0.2 * np.abs(session_logits(path, images(model, 6))).max()
    assert 0 <= error["top1_agreement"] <= 1
    write_packed(lower(deploy(graph), model.input_shape, model.normalize), path)
    assert verify(path, graph, images(model, 2))["int8_activations"] is None


def session_logits(path: Path, x: np.ndarray) -> np.ndarray:
    """What the C library answers."""
    with load(path).session() as session:
        return session(x)
