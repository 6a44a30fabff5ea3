"""ONNX import, operation by operation, against onnxruntime; names, constants, refusals and damage."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from bincompress.errors import BincompressError, ModelLoadError, UnsupportedOpError
from bincompress.graph import FloatModel, graph_to_json
from bincompress.load import load_model

Array = npt.NDArray[Any]
RNG = np.random.default_rng(0)


def floats(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def build(
    path: Path,
    nodes: list[Any],
    constants: dict[str, Array] | None = None,
    *,
    shape: tuple[Any, ...] = (1, 3, 8, 8),
    opset: int = 13,
    output: str = "y",
) -> Path:
    """Write a model that reads `x` and makes `output`; a node is (kind, inputs, output, attributes) or a NodeProto."""
    protos = [n if isinstance(n, onnx.NodeProto) else helper.make_node(n[0], n[1], [n[2]], **n[3]) for n in nodes]
    graph = helper.make_graph(
        protos,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def paths(model: FloatModel) -> list[str]:
    return [str(node.target) for node in model.graph.graph.nodes if node.op == "call_module"]


def kinds(model: FloatModel) -> list[str]:
    modules = graph_to_json(model.graph)["modules"]
    return [modules[path]["leaf"] for path in paths(model)]


def check(path: Path, x: Array | None = None) -> FloatModel:
    """Import, and compare with onnxruntime."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = floats(1, 3, 8, 8) if x is None else x
    (expected,) = session.run(None, {"x": x})
    model = load_model(path)
    got = model.graph(torch.from_numpy(x.reshape(len(x), *model.input_shape))).detach()
    if any("softmax" in note for note in model.notes):
        got = got.softmax(1) if (expected >= 0).all() else got.log_softmax(1)
    np.testing.assert_allclose(got.numpy().reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
    return model


WEIGHTS = {"w": floats(6, 3, 3, 3), "b": floats(6), "m": floats(192, 5), "mt": floats(5, 192), "mb": floats(5)}
BN = {"s": floats(3), "o": floats(3), "mean": floats(3), "var": np.abs(floats(3)) + 0.5}
FLAT: tuple[Any, ...] = ("Flatten", ["x"], "f", {})

OPS: dict[str, tuple[list[Any], dict[str, Array], list[str]]] = {
    "conv": ([("Conv", ["x", "w", "b"], "y", {"pads": [1, 2, 1, 2], "strides": [2, 1]})], {}, ["Conv2d"]),
    "conv without bias": ([("Conv", ["x", "w"], "y", {"dilations": [2, 2]})], {}, ["Conv2d"]),
    "conv same": ([("Conv", ["x", "w"], "y", {"auto_pad": "SAME_UPPER"})], {}, ["Conv2d"]),
    "conv same lower": ([("Conv", ["x", "w"], "y", {"auto_pad": "SAME_LOWER"})], {}, ["Conv2d"]),
    "conv valid": ([("Conv", ["x", "w"], "y", {"auto_pad": "VALID"})], {}, ["Conv2d"]),
    "conv groups": ([("Conv", ["x", "d"], "y", {"group": 3})], {"d": floats(6, 1, 3, 3)}, ["Conv2d"]),
    "conv then bias": (
        [("Conv", ["x", "w"], "c", {}), ("Add", ["c", "k"], "y", {})],
        {"k": floats(6, 1, 1)},
        ["Conv2d"],
    ),
    "conv bias twice": (
        [("Conv", ["x", "w", "b"], "c", {}), ("Add", ["k", "c"], "y", {})],
        {"k": floats(1, 6, 1, 1)},
        ["Conv2d"],
    ),
    "pad then conv": (
        [("Pad", ["x", "p"], "q", {}), ("Conv", ["q", "w"], "y", {})],
        {"p": ints(0, 0, 1, 2, 0, 0, 1, 2)},
        ["Conv2d"],
    ),
    "gemm": ([FLAT, ("Gemm", ["f", "m", "mb"], "y", {"alpha": 0.5, "beta": 2.0})], {}, ["Flatten", "Linear"]),
    "gemm transposed": ([FLAT, ("Gemm", ["f", "mt"], "y", {"transB": 1})], {}, ["Flatten", "Linear"]),
    "gemm scalar bias": ([FLAT, ("Gemm", ["f", "m", "k"], "y", {})], {"k": floats(1)}, ["Flatten", "Linear"]),
    "matmul add": (
        [FLAT, ("MatMul", ["f", "m"], "g", {}), ("Add", ["g", "mb"], "y", {})],
        {},
        ["Flatten", "Linear"],
    ),
    "matmul of a transposed constant": (
        [FLAT, ("Transpose", ["mt"], "t", {"perm": [1, 0]}), ("MatMul", ["f", "t"], "y", {})],
        {},
        ["Flatten", "Linear"],
    ),
    "batch norm": (
        [("BatchNormalization", ["x", "s", "o", "mean", "var"], "y", {"epsilon": 0.01})],
        {},
        ["BatchNorm2d"],
    ),
    "relu": ([("Relu", ["x"], "y", {})], {}, ["ReLU"]),
    "leaky relu": ([("LeakyRelu", ["x"], "y", {"alpha": 0.3})], {}, ["LeakyReLU"]),
    "prelu": ([("PRelu", ["x", "k"], "y", {})], {"k": floats(3, 1, 1)}, ["PReLU"]),
    "prelu of one slope": ([("PRelu", ["x", "k"], "y", {})], {"k": floats(1)}, ["PReLU"]),
    "clip": (
        [("Clip", ["x", "lo", "hi"], "y", {})],
        {"lo": np.array(-1, np.float32), "hi": np.array(1, np.float32)},
        ["Hardtanh"],
    ),
    "clip from zero": ([("Clip", ["x", "lo"], "y", {})], {"lo": np.array(0, np.float32)}, ["ReLU"]),
    "max pool": (
        [("MaxPool", ["x"], "y", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 0]})],
        {},
        ["MaxPool2d"],
    ),
    "max pool ceil": (
        [("MaxPool", ["x"], "y", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1})],
        {},
        ["MaxPool2d"],
    ),
    "average pool": ([("AveragePool", ["x"], "y", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})], {}, ["AvgPool2d"]),
    "average pool with padding": (
        [("AveragePool", ["x"], "y", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1})],
        {},
        ["AvgPool2d"],
    ),
    "global average": ([("GlobalAveragePool", ["x"], "y", {})], {}, ["AdaptiveAvgPool2d", "Flatten"]),
    "global max": ([("GlobalMaxPool", ["x"], "y", {})], {}, ["MaxPool2d", "Flatten"]),
    "mean": ([("ReduceMean", ["x"], "y", {"axes": [2, 3], "keepdims": 0})], {}, ["AdaptiveAvgPool2d", "Flatten"]),
    "mean kept": ([("ReduceMean", ["x"], "y", {"axes": [-1, -2]})], {}, ["AdaptiveAvgPool2d", "Flatten"]),
    "flatten -3": ([("Flatten", ["x"], "y", {"axis": -3})], {}, ["Flatten"]),
    "reshape": ([("Reshape", ["x", "k"], "y", {})], {"k": ints(0, -1)}, ["Flatten"]),
    "reshape fixed": ([("Reshape", ["x", "k"], "y", {})], {"k": ints(1, 192)}, ["Flatten"]),
    "squeeze": (
        [("GlobalAveragePool", ["x"], "g", {}), ("Squeeze", ["g", "k"], "y", {})],
        {"k": ints(2, 3)},
        ["AdaptiveAvgPool2d", "Flatten"],
    ),
    "add": ([("Relu", ["x"], "r", {}), ("Add", ["r", "x"], "y", {})], {}, ["ReLU", "Add"]),
    "sum": ([("Relu", ["x"], "r", {}), ("Sum", ["x", "r"], "y", {})], {}, ["ReLU", "Add"]),
    "identity and cast": (
        [("Identity", ["x"], "i", {}), ("Cast", ["i"], "c", {"to": TensorProto.FLOAT}), ("Relu", ["c"], "y", {})],
        {},
        ["ReLU"],
    ),
    "dropout": ([("Relu", ["x"], "r", {}), ("Dropout", ["r"], "y", {})], {}, ["ReLU", "Dropout"]),
    "softmax": ([FLAT, ("Gemm", ["f", "m"], "g", {}), ("Softmax", ["g"], "y", {})], {}, ["Flatten", "Linear"]),
    "log softmax": (
        [FLAT, ("Gemm", ["f", "m"], "g", {}), ("LogSoftmax", ["g"], "y", {"axis": 1})],
        {},
        ["Flatten", "Linear"],
    ),
    "view of size": (
        [
            ("Shape", ["x"], "s0", {}),
            ("Gather", ["s0", "zero"], "n", {}),
            ("Unsqueeze", ["n", "axis"], "u", {}),
            ("Concat", ["u", "minus"], "k", {"axis": 0}),
            ("Reshape", ["x", "k"], "y", {}),
        ],
        {"zero": np.array(0, np.int64), "axis": ints(0), "minus": ints(-1)},
        ["Flatten"],
    ),
    "option A": (
        [
            ("Slice", ["x", "from", "to", "a2", "by"], "s2", {}),
            ("Slice", ["s2", "from", "to", "a3", "by"], "s3", {}),
            ("Pad", ["s3", "p"], "y", {}),
        ],
        {
            "from": ints(0),
            "to": ints(2**63 - 1),
            "a2": ints(2),
            "a3": ints(3),
            "by": ints(2),
            "p": ints(0, 2, 0, 0, 0, 3, 0, 0),
        },
        ["ShortcutA"],
    ),
}


@pytest.mark.parametrize("name", OPS)
def test_every_operation_computes_what_onnxruntime_does(tmp_path: Path, name: str) -> None:
    nodes, constants, expected = OPS[name]
    used = {i for node in nodes for i in node[1]}
    constants = {key: value for key, value in {**WEIGHTS, **BN, **constants}.items() if key in used}
    assert kinds(check(build(tmp_path / "m.onnx", nodes, constants))) == expected


def test_old_operators_keep_their_arguments_as_attributes(tmp_path: Path) -> None:
    nodes: list[Any] = [
        ("Pad", ["x"], "p", {"pads": [0, 0, 1, 1, 0, 0, 1, 1]}),
        ("Conv", ["p", "w"], "c", {}),
        ("Clip", ["c"], "h", {"min": -1.0, "max": 1.0}),
        ("Dropout", ["h"], "d", {"ratio": 0.25}),
        ("ReduceMean", ["d"], "r", {"axes": [2, 3]}),
        ("Squeeze", ["r"], "q", {"axes": [2, 3]}),
        ("Softmax", ["q"], "y", {}),
    ]
    model = check(build(tmp_path / "m.onnx", nodes, {"w": WEIGHTS["w"]}, opset=9))
    assert kinds(model) == ["Conv2d", "Hardtanh", "Dropout", "AdaptiveAvgPool2d", "Flatten"]


def test_a_batch_norm_of_features(tmp_path: Path) -> None:
    stats = {"s": floats(5), "o": floats(5), "mean": floats(5), "var": np.abs(floats(5)) + 1}
    nodes = [FLAT, ("Gemm", ["f", "m"], "g", {}), ("BatchNormalization", ["g", "s", "o", "mean", "var"], "y", {})]
    assert kinds(check(build(tmp_path / "m.onnx", nodes, {**stats, "m": WEIGHTS["m"]})))[-1] == "BatchNorm1d"


def test_a_network_of_features_gets_its_image_flattened(tmp_path: Path) -> None:
    build(tmp_path / "m.onnx", [("Gemm", ["x", "m"], "y", {})], {"m": WEIGHTS["m"]}, shape=("n", 192))
    assert check(tmp_path / "m.onnx", floats(1, 192)).input_shape == (192, 1, 1)
    model = load_model(tmp_path / "m.onnx", input_shape=(3, 8, 8))
    assert model.input_shape == (3, 8, 8)
    x = floats(2, 3, 8, 8)
    np.testing.assert_allclose(
        model.graph(torch.from_numpy(x)).detach().numpy(), x.reshape(2, -1) @ WEIGHTS["m"], rtol=1e-4, atol=1e-4
    )


def test_the_shape_of_the_input_comes_from_the_file_or_the_caller(tmp_path: Path) -> None:
    path = build(tmp_path / "m.onnx", [("Relu", ["x"], "y", {})], shape=("n", 3, "h", "w"))
    with pytest.raises(ModelLoadError, match="--input-shape"):
        load_model(path)
    assert load_model(path, input_shape=(3, 4, 5)).input_shape == (3, 4, 5)
    with pytest.raises(ModelLoadError, match=r"\(1, 4, 5\) was asked for"):
        load_model(path, input_shape=(1, 4, 5))


def test_half_precision_weights_are_converted(tmp_path: Path) -> None:
    path = build(tmp_path / "m.onnx", [("Conv", ["x", "w"], "y", {})], {"w": WEIGHTS["w"].astype(np.float16)})
    model = load_model(path)
    assert model.notes == ("weights converted to float32",)
    assert next(model.graph.parameters()).dtype == torch.float32


# --- names ------------------------------------------------------------------------------------------------------------


def test_paths_come_from_the_weights_names_or_the_scopes(tmp_path: Path) -> None:
    w = floats(3, 3, 1, 1)
    scoped = helper.make_node("Relu", ["c3"], ["r3"], name="n7")
    scoped.metadata_props.add(
        key="pkg.torch.onnx.name_scopes", value="['', 'layer2', 'layer2.0', 'layer2.0.act', 'relu']"
    )
    nodes = [
        helper.make_node("Conv", ["x", "layer1.0.conv1.weight"], ["c1"], name="Conv_0"),
        helper.make_node("Relu", ["c1"], ["r1"], name="/layer1/layer1.0/relu/Relu"),
        helper.make_node("Conv", ["r1", "onnx::Conv_12"], ["c2"], name="/layer1/layer1.0/conv2/Conv"),
        helper.make_node("Add", ["c2", "c1"], ["a"], name="/layer1/layer1.0/Add"),
        helper.make_node("Relu", ["a"], ["r2"], name="Relu_5"),
        helper.make_node("Conv", ["r2", "w-1"], ["c3"], name=""),
        scoped,
        helper.make_node("Flatten", ["r3"], ["y"], name="/Flatten"),
    ]
    path = build(tmp_path / "m.onnx", nodes, {"layer1.0.conv1.weight": w, "onnx::Conv_12": w, "w-1": w})
    assert paths(check(path)) == [
        *(
            "layer1.0.conv1",
            "layer1.0.relu",
            "layer1.0.conv2",
            "layer1.0.add",
            "relu_5",
            "conv",
            "layer2.0.act",
            "flatten",
        )
    ]


def test_weights_that_exporters_share_are_separate_layers(tmp_path: Path) -> None:
    nodes: list[Any] = [("Conv", ["x", "a.weight"], "c", {}), ("Conv", ["c", "a.weight"], "y", {})]
    model = check(build(tmp_path / "m.onnx", nodes, {"a.weight": floats(3, 3, 1, 1)}))
    assert paths(model) == ["a", "a_1"]


def test_a_name_inside_a_layer_is_made_its_neighbour(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "a.weight"], ["c"]),
        helper.make_node("Relu", ["c"], ["y"], name="/a/b/Relu"),
    ]
    model = check(build(tmp_path / "m.onnx", nodes, {"a.weight": floats(3, 3, 1, 1)}))
    assert kinds(model) == ["Conv2d", "ReLU"]
    assert len(set(paths(model))) == 2


# --- refusals ---------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[list[Any], dict[str, Array], str]] = {
    "unknown": (
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up")],
        {"w": WEIGHTS["w"]},
        "node up: operation ConvTranspose",
    ),
    "unnamed": ([("Sigmoid", ["x"], "y", {})], {}, "node y: operation Sigmoid"),
    "custom": (
        [helper.make_node("BipolarQuant", ["x"], ["y"], domain="onnx.brevitas")],
        {},
        "custom domain onnx.brevitas",
    ),
    "mul": ([("Mul", ["x", "k"], "y", {})], {"k": floats(1)}, "operation Mul"),
    "computed weight": ([("Conv", ["x", "x"], "y", {})], {}, "its weight is computed"),
    "conv of sound": ([("Conv", ["x", "k"], "y", {})], {"k": floats(2, 3, 3)}, "3 axes"),
    "uneven padding": ([("Conv", ["x", "w"], "y", {"pads": [0, 0, 1, 1]})], {"w": WEIGHTS["w"]}, "opposite sides"),
    "even kernel, same": (
        [("Conv", ["x", "k"], "y", {"auto_pad": "SAME_UPPER"})],
        {"k": floats(2, 3, 2, 2)},
        "opposite sides",
    ),
    "uneven pool": ([("MaxPool", ["x"], "y", {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]})], {}, "opposite sides"),
    "reflect": ([("Pad", ["x", "p"], "y", {"mode": "reflect"})], {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}, "by zeros"),
    "constant after relu": ([("Relu", ["x"], "r", {}), ("Add", ["r", "k"], "y", {})], {"k": floats(1)}, "bias"),
    "broadcast": ([("GlobalAveragePool", ["x"], "g", {}), ("Add", ["x", "g"], "y", {})], {}, "shapes"),
    "softmax inside": ([FLAT, ("Softmax", ["f"], "s", {}), ("Relu", ["s"], "y", {})], {}, "last operation"),
    "softmax of images": ([("Softmax", ["x"], "y", {})], {}, "4 axes"),
    "transpose": ([("Transpose", ["x"], "y", {"perm": [0, 2, 3, 1]})], {}, "operation Transpose"),
    "reshape to pixels": ([("Reshape", ["x", "k"], "y", {})], {"k": ints(1, 12, 4, 4)}, "batch axis"),
    "half a slice": (
        [("Slice", ["x", "f", "t", "a", "s"], "h", {}), ("Relu", ["h"], "y", {})],
        {"f": ints(0), "t": ints(99), "a": ints(2), "s": ints(2)},
        "one axis only",
    ),
    "crop": (
        [("Slice", ["x", "f", "t", "a"], "y", {})],
        {"f": ints(1), "t": ints(99), "a": ints(2)},
        "every n-th pixel",
    ),
    "large constant": (
        [("ConstantOfShape", ["k"], "c", {}), ("Add", ["x", "c"], "y", {})],
        {"k": ints(1 << 20, 1 << 20)},
        "it makes a constant",
    ),
    "relu of a constant": ([("Relu", ["k"], "r", {}), ("Add", ["x", "r"], "y", {})], {"k": floats(1)}, "is a constant"),
    "clip above": ([("Clip", ["x", "", "hi"], "y", {})], {"hi": np.array(1, np.float32)}, "None..1.0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_by_node_and_operation(tmp_path: Path, name: str) -> None:
    nodes, constants, expected = REFUSED[name]
    path = build(tmp_path / "m.onnx", nodes, constants)
    with pytest.raises(UnsupportedOpError) as caught:
        load_model(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert expected in text


MALFORMED: dict[str, tuple[list[Any], dict[str, Array], str]] = {
    "reads nothing": ([("Relu", ["z"], "y", {})], {}, "reads 'z'"),
    "a cycle": ([("Add", ["x", "b"], "a", {}), ("Relu", ["a"], "b", {}), ("Relu", ["b"], "y", {})], {}, "reads 'b'"),
    "no output": ([("Relu", ["x"], "r", {})], {}, "'y' is made by no node"),
    "channels": ([("Conv", ["x", "k"], "y", {})], {"k": floats(2, 4, 3, 3)}, "(Conv)"),
    "no inputs": ([("Relu", [], "y", {})], {}, "(Relu)"),
    "groups": ([("Conv", ["x", "w"], "y", {"group": 0})], {"w": WEIGHTS["w"]}, "(Conv)"),
    "stride 0": ([("Conv", ["x", "w"], "y", {"strides": [0, 0]})], {"w": WEIGHTS["w"]}, "(Conv)"),
    "kernel": ([("MaxPool", ["x"], "y", {"kernel_shape": [0, 0]})], {}, "(MaxPool)"),
    "empty": ([], {}, "no nodes"),
    "statistics": (
        [("BatchNormalization", ["x", "s", "o", "s", "t"], "y", {})],
        {"s": floats(3), "o": floats(3), "t": floats(4)},
        "(Batch",
    ),
    "NaN": ([("Conv", ["x", "w"], "y", {})], {"w": WEIGHTS["w"] * np.float32("nan")}, "NaN"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_graph_is_one_line(tmp_path: Path, name: str) -> None:
    nodes, constants, expected = MALFORMED[name]
    path = build(tmp_path / "m.onnx", nodes, constants)
    with pytest.raises(ModelLoadError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 3, 8, 8, 8), ()])
def test_an_input_that_is_no_image_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsupportedOpError, match="axes"):
        load_model(build(tmp_path / "m.onnx", [("Relu", ["x"], "y", {})], shape=shape))


def test_weights_in_a_second_file_belong_to_the_model(tmp_path: Path) -> None:
    path = build(tmp_path / "m.onnx", [("Conv", ["x", "w"], "y", {})], {"w": WEIGHTS["w"]})
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    first = check(path)
    (tmp_path / "m.data").write_bytes(bytes((tmp_path / "m.data").stat().st_size))
    assert load_model(path).sha256 != first.sha256
    (tmp_path / "m.data").unlink()
    with pytest.raises(ModelLoadError, match="no intact ONNX file"):
        load_model(path)


def test_weights_outside_the_models_directory_are_refused(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "secret").write_bytes(bytes(6 * 3 * 9 * 4))
    path = build(inner / "m.onnx", [("Conv", ["x", "w"], "y", {})], {"w": WEIGHTS["w"]})
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelLoadError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_damage_is_one_line(tmp_path: Path) -> None:
    path = build(tmp_path / "m.onnx", [FLAT, ("Gemm", ["f", "m", "mb"], "y", {})], WEIGHTS | BN)
    data = path.read_bytes()
    for keep in (1, 2, 10, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:keep])
        with pytest.raises(BincompressError) as caught:
            load_model(path)
        assert "\n" not in str(caught.value)
    for seed in range(150):
        damaged = bytearray(data)
        damaged[int(RNG.integers(200)) if seed % 2 else -int(RNG.integers(1, 400))] = int(RNG.integers(256))
        path.write_bytes(bytes(damaged))
        with suppress(BincompressError):
            load_model(path)
