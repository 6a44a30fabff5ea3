"""What a second thread brings: sessions of one and of two threads on the same packed network, in turns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bincompress.bench.machine import pinned
from bincompress.bench.network import packed_runner
from bincompress.bench.timing import interleave
from bincompress.runtime.session import load

COUNTS = (1, 2)


def bench_threads(path: Path, isa: str | None, rounds: int) -> dict[str, Any] | None:
    """Wall time of one image by sessions of COUNTS threads, on as many cores.

    Returns: their medians in microseconds and the ratio of the first to the last; None where the cores are missing.
    """
    model = load(path)
    image = np.random.default_rng(0).integers(0, 256, (1, *model.input_shape)).astype(np.uint8)
    with pinned(COUNTS[-1]) as is_pinned:
        if not is_pinned:
            return None
        sessions = {str(count): model.session(count, 1, isa) for count in COUNTS}
        runs = {count: packed_runner(session, image) for count, session in sessions.items()}
        timings = interleave(runs, rounds, clock=time.perf_counter)
    median_us = {count: found.median_us for count, found in timings.items()}
    first, *_, last = median_us.values()
    return {"median_us": median_us, "rounds": timings["1"].rounds, "speedup": first / last}


def thread_table(rows: dict[str, Any]) -> Iterator[str]:
    """The section of RESULTS.md, line by line."""
    yield "## Two threads\n"
    yield "Sessions of one and of two threads in turns, on two pinned cores, by the wall's clock.\n"
    yield "| network | " + " | ".join(f"{count} thread{'s' * (count > 1)}" for count in COUNTS) + " | ratio |"
    yield "|---" * (2 + len(COUNTS)) + "|"
    for label, row in rows.items():
        times = " | ".join(f"{row['median_us'][str(count)] / 1e3:.2f} ms" for count in COUNTS)
        yield f"| {label} | {times} | {row['speedup']:.2f}x |"
    yield ""
