"""Pairs of alloc and free in a compiled loop, in turn with the C floor's malloc and free. All bookkeeping is on."""

from __future__ import annotations

import statistics

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
    """SLAB: ticks per pair, and the ratio to glibc where there is a goal for it."""
    checks = []
    with Floor() as floor, Machine(cpus=2, pin=True) as machine:
        bench = Pairs(machine)
        for depth in (*SHALLOW, DEEP):
            ours, theirs = [], []
            for _ in range(settings.pairs):
                theirs.append(float(floor.ask("malloc", SIZE, depth, rounds=settings.rounds(20))["ticks_per_pair"]))
                ours.append(bench.block(depth))
            more = {"glibc_ticks": statistics.median(theirs)}
            limit = TICKS if depth <= max(SHALLOW) else DEEP_TICKS
            checks.append(Check(f"slab, depth {depth}", statistics.median(ours), limit, "ticks", more))
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
