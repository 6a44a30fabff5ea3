"""Interleaved timing: all contenders take turns in every round, so that a slow moment hits them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Run = Callable[[], object]
Clock = Callable[[], float]

ROUNDS = 30
MIN_ROUNDS = 5
SLICE_SECONDS = 2e-3  # one turn lasts at least so long, or one call
FIRST_CALLS = 3  # that a contender makes before its turns


@dataclass(frozen=True)
class Timing:
    """Microseconds per call: median and minimum over the rounds."""

    median_us: float
    min_us: float
    rounds: int
    repeats: int = 1  # measured calls of a turn, behind one that is not


def clock_for(threads: int) -> Clock:
    """Seconds: with one thread those that this process worked, so that what the scheduler gives to other processes in
    between is not counted; with more, where waiting for each other is part of the work, those on the wall.
    """
    return time.process_time if threads == 1 else time.perf_counter


def interleave(
    contenders: Mapping[str, Run],
    rounds: int = ROUNDS,
    budget_seconds: float = 20.0,
    clock: Clock = time.perf_counter,
) -> dict[str, Timing]:
    """Time every contender in turns.

    The first call of every turn is not measured: it brings back into the caches what the turns of others drove out,
    which a contender of short calls would show in few of its calls, and one of long calls in all.
    A contender so slow that `rounds` turns of all would pass the budget makes all do fewer, but at least MIN_ROUNDS.
    Returns: one Timing per contender.
    """
    repeats: dict[str, int] = {}
    turn = 0.0
    for name, run in contenders.items():
        run()  # first calls allocate, page in and wake threads
        once = min(_seconds(run, 1, clock) for _ in range(FIRST_CALLS - 1))
        repeats[name] = max(1, min(10_000, int(SLICE_SECONDS / max(once, 1e-9)) + 1))
        turn += once * (1 + repeats[name])
    rounds = max(MIN_ROUNDS, min(rounds, int(budget_seconds / max(turn, 1e-9))))
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            run()
            found[name].append(_seconds(run, repeats[name], clock) * 1e6)
    return {name: Timing(statistics.median(times), min(times), rounds, repeats[name]) for name, times in found.items()}


def measured_calls(own: Sequence[float], repeats: int) -> list[float]:
    """Of what a contender noted at each of its calls, that of the measured ones."""
    calls = own[FIRST_CALLS:]
    return [value for i, value in enumerate(calls) if i % (1 + repeats)]


def _seconds(run: Run, repeats: int, clock: Clock) -> float:
    began = clock()
    for _ in range(repeats):
        run()
    return (clock() - began) / repeats
