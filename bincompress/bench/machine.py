"""What the numbers were measured on, and keeping a measurement on the cores it is meant for."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path


def cpu_name() -> str:
    """The processor's own name, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "Processor") and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@contextlib.contextmanager
def pinned(threads: int) -> Iterator[bool]:
    """Keep this process, and all threads it starts inside, on `threads` physical cores; yields whether that worked."""
    if not hasattr(os, "sched_setaffinity"):
        yield False
        return
    before = os.sched_getaffinity(0)
    chosen = _cores(sorted(before), threads)
    os.sched_setaffinity(0, chosen)
    try:
        yield len(chosen) == threads
    finally:
        os.sched_setaffinity(0, before)


def _cores(cpus: list[int], count: int) -> set[int]:
    """`count` of the allowed CPUs, one of each physical core first, from the far end: system work prefers the first."""
    first_of: dict[str, int] = {}
    for cpu in cpus:
        first_of.setdefault(_siblings(cpu), cpu)
    distinct = list(first_of.values())
    others = [cpu for cpu in cpus if cpu not in distinct]
    return set((others[::-1] + distinct)[-count:])


def _siblings(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return str(cpu)
