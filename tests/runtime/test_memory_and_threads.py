"""Whole networks: the arena is little more than what must live at once; threads and batches never change a bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bincompress.lower import deploy, lower
from bincompress.pack import write_packed
from bincompress.program import Program
from bincompress.runtime.session import load
from tests.lower.networks import network

NETWORKS = [("digits_cnn", "bnn"), ("lenet5", "xnor"), ("resnet20", "xnor-per-conv"), ("resnet20_b", "xnor-map")]


def packed_network(name: str, recipe: str, folder: Path) -> tuple[Program, Path]:
    graph, model = network(name, recipe)
    program = lower(deploy(graph), model.input_shape, model.normalize)
    path = folder / f"{name}-{recipe}.gguf"
    write_packed(program, path)
    return program, path


def value_bytes(program: Program, index: int) -> int:
    """What a value takes in memory per sample, by FORMAT.md: whole words of bits for each pixel."""
    value = program.values[index]
    channels, high, wide = value.shape
    if value.dtype == "bits":
        return (channels + 63) // 64 * 8 * high * wide
    return channels * high * wide * (1 if value.dtype == "u8" else 4)


def largest_live_set(program: Program) -> int:
    """Most bytes that are needed at the same moment: while a node runs, all it reads and writes, and what waits."""
    made = {program.input: -1}
    used = {program.output: len(program.nodes), program.input: 0}
    for step, node in enumerate(program.nodes):
        made |= dict.fromkeys(node.outputs, step)
        for index in (*node.inputs, *node.outputs):
            used[index] = max(used.get(index, -1), step)
    return max(
        sum(value_bytes(program, index) for index in made if made[index] <= step <= used[index])
        for step in range(len(program.nodes))
    )


@pytest.mark.parametrize("recipe", ["xnor", "xnor-per-conv"])
def test_the_arena_of_a_resnet18_is_little_more_than_what_lives_at_once(recipe: str, tmp_path: Path) -> None:
    program, path = packed_network("resnet18", recipe, tmp_path)
    model = load(path)
    for batch in (1, 4):
        live = largest_live_set(program) * batch
        with model.session(batch=batch) as session:
            assert live <= session.arena_bytes <= 1.3 * live
        with model.session(batch=batch, keep_all=True) as session:
            assert session.arena_bytes > 2 * live


@pytest.mark.parametrize(("name", "recipe"), NETWORKS)
def test_threads_and_batches_give_the_same_bits(name: str, recipe: str, tmp_path: Path) -> None:
    _, path = packed_network(name, recipe, tmp_path)
    model = load(path)
    x = np.random.default_rng(0).integers(0, 256, (5, *model.input_shape)).astype(np.uint8)
    expected = model(x)
    for threads in (1, 2, 3, 4):
        for batch in (1, 2, 5):
            with model.session(threads, batch) as session:
                np.testing.assert_array_equal(session(x), expected, f"{threads} threads, batch {batch}")
