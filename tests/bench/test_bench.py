"""bench: the exported baselines are real networks, and every promised key is there with a sane value."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from bincompress.bench.baselines import image_input, int8_model, runner
from bincompress.bench.kernels import Contender, bench_kernels
from bincompress.bench.layers import LAYERS, Layer, layer_program
from bincompress.bench.machine import cpu_name, pinned
from bincompress.bench.network import TWIN, bench_network, kind_of, load_baseline
from bincompress.bench.onnx_twin import export_onnx, is_float
from bincompress.bench.timing import FIRST_CALLS, MIN_ROUNDS, clock_for, interleave, measured_calls
from bincompress.cli import render
from bincompress.errors import ModelLoadError
from bincompress.lower import deploy, lower
from bincompress.lower.check import check_program
from bincompress.lower.emulate import emulate, normalize_pixels
from bincompress.pack import write_packed
from bincompress.program import OPS, Program
from tests.lower.networks import images, network

onnxruntime = pytest.importorskip("onnxruntime")


def program_of(name: str, recipe: str | None) -> Program:
    graph, model = network(name, recipe)
    return lower(deploy(graph), model.input_shape, model.normalize)


def run_onnx(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"input": image[None]})[0] for image in x])


@pytest.mark.parametrize("name", ["digits_cnn", "lenet5", "resnet20", "resnet20_b"])
def test_float_networks_are_exported_as_they_are(name: str) -> None:
    graph, model = network(name, None)
    assert model.normalize is not None
    program = lower(deploy(graph), model.input_shape, model.normalize)
    assert is_float(program)
    exported = export_onnx(program, twin=False)
    after_pools = sum(node.steps[0].op == "affine" for node in program.nodes if node.op == "max_pool")
    assert [node.op_type for node in exported.graph.node].count("Mul") == after_pools  # all others are folded
    x = normalize_pixels(images(model, 2), model.normalize)
    expected = emulate(program, x)
    np.testing.assert_allclose(run_onnx(exported, x), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("recipe", ["bnn", "bwn", "xnor", "xnor-map", "xnor-per-conv"])
@pytest.mark.parametrize("name", ["digits_cnn", "resnet20"])
def test_a_twin_has_the_same_convolutions(name: str, recipe: str) -> None:
    program = program_of(name, recipe)
    twin = export_onnx(program, twin=True)
    ops = [node.op_type for node in twin.graph.node]
    assert ops.count("Conv") == sum(node.op.endswith("conv2d") for node in program.nodes)
    assert ops.count("Gemm") == sum(node.op.endswith("dense") for node in program.nodes)
    assert "Mul" not in ops
    shape = program.values[program.input].shape
    out = run_onnx(twin, np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32))
    assert out.shape == (1, 10)
    assert np.isfinite(out).all()


def test_int8_is_made_and_runs() -> None:
    twin = export_onnx(program_of("digits_cnn", "bnn"), twin=True)
    x = np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype(np.float32)
    data, kind = int8_model(twin, x, 1)
    assert kind.startswith("QDQ")
    quantized = onnx.load_from_string(data)
    assert "QuantizeLinear" in {node.op_type for node in quantized.graph.node}
    runner(data, 1, {image_input(quantized): x[:1]})()


def test_every_key_of_a_network_bench(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    program = program_of("digits_cnn", "bnn")
    write_packed(program, path)
    result = bench_network(path, rounds=5)
    assert result["threads"] == 1
    assert result["cpu"] == cpu_name()
    assert result["baseline"] == TWIN
    assert 0 < result["packed"]["min_us"] <= result["packed"]["median_us"]
    for name in ("onnxruntime-fp32", "onnxruntime-int8"):
        row = result["baselines"][name]
        assert row["speedup"] == pytest.approx(row["median_us"] / result["packed"]["median_us"])
    assert result["roofline"]["peak_gmacs"] > 0
    assert [row["name"] for row in result["layers"]] == [node.name for node in program.nodes]
    for row in result["layers"]:
        assert set(row) == {"name", "op", "macs", "median_us", "gmacs", "of_peak"}
        assert row["macs"] == 0 or row["gmacs"] > 0


def test_a_float_file_as_baseline(tmp_path: Path) -> None:
    path, float_path = tmp_path / "m.gguf", tmp_path / "float.onnx"
    write_packed(program_of("digits_cnn", "xnor"), path)
    onnx.save(export_onnx(program_of("digits_cnn", None), twin=False), str(float_path))
    result = bench_network(path, baseline=load_baseline(float_path), baseline_name="float.onnx", rounds=5)
    assert result["baseline"] == "float.onnx"
    (tmp_path / "broken.onnx").write_bytes(b"no protobuf at all")
    with pytest.raises(ModelLoadError, match=r"broken\.onnx"):
        load_baseline(tmp_path / "broken.onnx")


def test_every_key_of_a_kernel_bench(capsys: pytest.CaptureFixture[str]) -> None:
    layers = (
        Layer("binary_conv2d", 7, 64, output="bits"),
        Layer("binary_conv2d", 7, 64, drop_in=True),
        Layer("weight_conv2d", 7, 64),
        Layer("conv2d", 14, 3, kernel=5, filters=6, stride=2),
        Layer("conv2d", 7, 32, groups=32),
        Layer("u8_conv2d", 8, 3, filters=16),
        Layer("binary_dense", 0, 256, 1, batch=4),
        Layer("dense", 0, 256, 1, filters=10),
        Layer("i8_dense", 0, 256, 1),
    )
    with render.reporter() as reporter:
        result = bench_kernels(rounds=5, layers=layers, reporter=reporter)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "1 of 9: binary_conv2d 3x3 7x7x64, bits to bits"
    assert len(told) == len(layers)
    for row, layer in zip(result["kernels"], layers, strict=True):
        assert (row["op"], row["output"], row["isa"]) == (layer.op, layer.output, result["isa"])
        for key in ("median_us", "gmacs", "of_peak", "vs_onnxruntime_fp32", "vs_onnxruntime_int8"):
            assert row[key] > 0
        assert row["gmacs"] == pytest.approx(row["macs"] / row["median_us"] / 1e3)
    shapes = ["7x7x64", "7x7x64", "7x7x64", "14x14x3-6/2", "7x7x32", "8x8x3-16", "256x256", "256x10", "256x256"]
    assert [row["shape"] for row in result["kernels"]] == shapes
    assert [row["input"] for row in result["kernels"]] == ["bits", *["float"] * 4, "u8", "bits", "float", "float"]
    assert min(result["kernels"][8][f"vs_onnxruntime_{bits}bit"] for bits in (2, 4)) > 0
    assert result["kernels"][4]["kernel"] == "3x3 depthwise"
    assert result["kernels"][6]["macs"] == 4 * 256 * 256


def test_a_peer_is_one_more_contender() -> None:
    layer = Layer("binary_dense", 0, 128, 1)
    own: list[float] = []
    peers = {"patience": Contender(lambda: own.append(123.0), own)}
    (row,) = bench_kernels(rounds=5, layers=(layer,), peers=lambda asked, threads: peers if asked == layer else {})[
        "kernels"
    ]
    assert row["patience_us"] == 123.0
    assert row["vs_patience"] == 123.0 / row["median_us"]


def test_standard_layers_are_valid_programs() -> None:
    for layer in LAYERS:
        check_program(layer_program(layer))
    assert {kind_of(op) for op in OPS} == {"binary", "weight", "i8", "u8", "f32", None}
    names = {(one.op, one.kernel_name, one.shape, one.input, one.output, one.batch) for one in LAYERS}
    assert len(names) == len(LAYERS)


def test_pinning_is_undone() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no CPU affinity")
    before = os.sched_getaffinity(0)
    with pinned(1) as done:
        assert done
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_with_one_thread_the_time_of_other_processes_is_not_counted() -> None:
    waiting = {"sleeper": lambda: time.sleep(2e-3)}
    assert interleave(waiting, 5, clock=clock_for(1))["sleeper"].median_us < 1000
    assert interleave(waiting, 5, clock=clock_for(2))["sleeper"].median_us > 2000


def test_turns_are_taken_in_order() -> None:
    log: list[str] = []
    timings = interleave({"a": lambda: log.append("a"), "b": lambda: log.append("b")}, rounds=3)
    assert timings["a"].rounds == max(3, MIN_ROUNDS)
    assert timings["a"].min_us <= timings["a"].median_us
    assert log.index("b") < len(log) - 1 - log[::-1].index("a")


def test_every_turn_begins_with_a_call_that_is_not_measured() -> None:
    calls: dict[str, int] = {"short": 0, "long": 0}
    seconds = 0.0

    def run(name: str, first: float, next_ones: float) -> None:
        nonlocal seconds, last
        calls[name] += 1
        seconds += next_ones if last == name else first
        last = name

    last = ""
    timings = interleave(
        {"short": lambda: run("short", 1.0, 5e-4), "long": lambda: run("long", 3.0, 2.0)},
        rounds=6,
        budget_seconds=1000,
        clock=lambda: seconds,
    )
    assert timings["short"].median_us == pytest.approx(500)
    assert timings["long"].median_us == pytest.approx(2e6)
    assert (timings["short"].repeats, timings["long"].repeats) == (5, 1)
    assert calls == {"short": FIRST_CALLS + 6 * 6, "long": FIRST_CALLS + 6 * 2}


def test_only_measured_calls_count() -> None:
    noted = [9.0] * FIRST_CALLS + [7.0, 1.0, 2.0] + [8.0, 3.0, 4.0]
    assert measured_calls(noted, 2) == [1.0, 2.0, 3.0, 4.0]
