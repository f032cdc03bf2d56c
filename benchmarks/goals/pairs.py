"""Pairs of alloc and free in a compiled loop, in turn with the C floor's malloc and free. All bookkeeping is on."""

from __future__ import annotations

import statistics
import time
from typing import Any

from emu.errors import ResourceError
from emu.floor import Floor
from emu.machine import Machine
from goals.base import Check, Settings
from workloads import slab_pair_loop as loop

SIZE = 64
PAIRS = 50_000  # of a block, as the floor's
SHALLOW = (1, 32, 100)  # within an array of 120 objects
DEEP = 4096
TICKS, DEEP_TICKS, RING_TICKS = 30.0, 60.0, 70.0
PYTHON_NS = 300.0


class Pairs:
    """CPU 0 of a machine, pinned, with a cache of 64-byte objects."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.cache = machine.kmem_cache_create("pairs", SIZE, on=0)
        self.block(DEEP)

    def block(self, depth: int) -> float:
        """Ticks per pair: the median of 20 runs."""
        repeats = 1 + PAIRS // 20 // depth
        found = []
        for _ in range(20):
            cycles = self.machine.call(loop.entry_points()["pairs"], self.cache.address, depth, repeats, on=0)
            if cycles < 0:
                raise ResourceError("pairs: no memory")
            found.append(cycles / (repeats * depth))
        return statistics.median(found)


def depths(settings: Settings) -> list[Check]:
    """Ticks per pair, and the ratio to glibc where there is a goal for it. (SLUB: slub_pairs.)"""
    checks = []
    with Floor() as floor, Machine(cpus=2, pin=True) as machine:
        bench = Pairs(machine)
        for depth in (*SHALLOW, DEEP):
            ours, theirs = [], []
            for _ in range(settings.pairs):
                theirs.append(float(floor.ask("malloc", SIZE, depth, rounds=settings.rounds(20))["ticks_per_pair"]))
                ours.append(bench.block(depth))
            ticks = statistics.median(ours)
            more = {"glibc_ticks": statistics.median(theirs)}
            limit = TICKS if depth <= max(SHALLOW) else DEEP_TICKS
            checks.append(Check(f"slab, depth {depth}", ticks, limit, "ticks", more))
            if depth <= max(SHALLOW):
                ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
                checks.append(Check(f"slab, depth {depth}, to glibc", ratio, 1.0, "x", more))
    return checks


def event_ring(settings: Settings) -> list[Check]:
    """The same with every allocation and free recorded."""
    with Machine(cpus=2, pin=True, trace_records=1 << 12) as machine:
        bench = Pairs(machine)
        ticks = statistics.median(bench.block(32) for _ in range(settings.pairs))
    return [Check("slab, depth 32, event ring on", ticks, RING_TICKS, "ticks")]


def python_body(cpu: Any, cache: int, pairs: int) -> float:
    """Nanoseconds per pair of calls from a Python body."""
    alloc, free = cpu.alloc, cpu.free
    begun = time.perf_counter_ns()
    for _ in range(pairs):
        free(cache, alloc(cache))
    return (time.perf_counter_ns() - begun) / pairs


def from_python(settings: Settings) -> list[Check]:
    """The same pair, called from a Python body."""
    with Machine(cpus=2, pin=True, bodies=[python_body]) as machine:
        cache = machine.kmem_cache_create("pairs", SIZE, on=0).address
        found = [machine.run(python_body, on=0, cache=cache, pairs=PAIRS)[0] for _ in range(settings.pairs)]
    return [Check("slab, from a Python body", statistics.median(found), PYTHON_NS, "ns")]


def page_body(cpu: Any, count: int, blocks: int) -> list[int]:
    """On a CPU: ticks per pair of single pages, a figure a block."""
    from cpus import page_faces

    return [page_faces.cycle(count) for _ in range(blocks)]


def pages(settings: Settings) -> list[Check]:
    """Pairs of single pages through a per-CPU pageset."""
    with Machine(cpus=1, memory=256 << 20, pin=True, bodies=[page_body]) as machine:
        machine.run(page_body, on=0, count=1000, blocks=1)
        found = machine.run(page_body, on=0, count=settings.rounds(PAIRS), blocks=settings.pairs)[0]
    return [Check("pages, per-CPU pageset", float(statistics.median(found)), TICKS, "ticks")]
