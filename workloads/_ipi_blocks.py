"""Blocks of interrupts, measured in turn with blocks of the C floor: what ipi-bench and benchmarks/ have in common.

A block is a loop of rounds in one sender; between two blocks nothing of ours runs, so the floor has the host's cores.
A ratio is the median over the pairs (floor, ours, floor, ours, ...) of the quotients of the blocks' medians: both move
up to 30 % with the host from one second to the next, their quotient far less.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cpus import status
from emu.errors import ResourceError
from emu.machine import Machine
from ipc import boost
from workloads import ipi_bench_loop as loop

NOTHING, SELF, ONE, ONE_TIMED, NO_WAIT, MANY, MASK, LOCK = range(8)  # DO_NOTHING ... CALL_LOCK of ipi_bench_loop.pxd
PURE, IRQ_OFF, POLL = range(3)  # BUSY_*
COORDINATOR = "coordinator"
MAX_ROUNDS = 100_000
# Between two calls: the target is asleep again, or out of the handler of the last one.
SINGLE_GAP_US = 20
BROADCAST_GAP_US = 2000
START_SECONDS = 30.0


@dataclass(frozen=True)
class Times:
    """One block of one side, in nanoseconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, samples: list[float]) -> Times:
        """Of single samples."""
        ordered = sorted(samples)
        return cls(ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100])


@dataclass(frozen=True)
class Figure:
    """What comes out of pairs of blocks: medians over the blocks, ns; the quotients are medians of the pairs'."""

    p50: float
    p99: float
    floor_p50: float | None = None
    floor_p99: float | None = None
    ratio: float | None = None
    p99_ratio: float | None = None
    ratios: tuple[float, ...] = ()


@dataclass(frozen=True)
class Block:
    """One block of the emulator."""

    acked: Times
    returned: Times
    delivered: Times
    total_delivered: float
    total_returned: float


def compare(ours: Callable[[], Times], floor: Callable[[], Times] | None, pairs: int) -> Figure:
    """Measure `pairs` pairs of blocks, the floor's first. Without a floor, as many blocks of ours."""
    mine: list[Times] = []
    theirs: list[Times] = []
    for _ in range(pairs):
        if floor is not None:
            theirs.append(floor())
        mine.append(ours())
    p50 = statistics.median(t.p50 for t in mine)
    p99 = statistics.median(t.p99 for t in mine)
    if floor is None:
        return Figure(p50, p99)
    ratios = [a.p50 / b.p50 for a, b in zip(mine, theirs, strict=True)]
    return Figure(
        p50,
        p99,
        statistics.median(t.p50 for t in theirs),
        statistics.median(t.p99 for t in theirs),
        statistics.median(ratios),
        statistics.median(a.p99 / b.p99 for a, b in zip(mine, theirs, strict=True)),
        tuple(ratios),
    )


def floor_times(answer: dict[str, Any]) -> Times:
    """A block of the floor program."""
    return Times(answer["p50_ns"], answer["p99_ns"])


@contextmanager
def pinned_to_first_core() -> Iterator[None]:
    """The coordinator sends from where the floor's sender sits."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def raised() -> Iterator[None]:
    """The coordinator is above its targets all the time, as the floor's sender that boosts its own."""
    before = boost.keep_raised(True)
    try:
        yield
    finally:
        boost.keep_raised(before)


class Bench:
    """A machine's senders and busy targets. Make one as soon as the machine has booted."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        if not loop.prepare():
            raise ResourceError("the arrays of ipi-bench do not fit into the segment: raise --max-segment")
        self._functions: dict[str, int] = loop.functions()
        self._ns = 1000 / status.header()["cycles_per_us"]

    def block(
        self,
        action: int,
        rounds: int,
        *,
        on: int | str = 0,
        target: int = 1,
        warm_up: int = 0,
        gap_us: int = 0,
        spin: bool = True,
    ) -> Block:
        """One block: `rounds` calls from CPU `on`, after `warm_up` more; `gap_us` between two, spinning or asleep."""
        arguments = (action, rounds, warm_up, gap_us, int(spin), target)
        with pinned_to_first_core() if on == COORDINATOR else contextlib.nullcontext():
            self.machine.call(self._functions["send"], *arguments, on=on)
        found = {kind: self._samples(kind, rounds) for kind in ("acked", "returned", "delivered")}
        return Block(
            **{kind: Times.of(samples) for kind, samples in found.items()},
            total_delivered=sum(found["delivered"]),
            total_returned=sum(found["returned"]),
        )

    def _samples(self, kind: str, rounds: int) -> list[float]:
        return [cycles * self._ns for cycles in loop.samples(kind, rounds)]

    @contextmanager
    def busy(self, first: int, count: int, kind: int = PURE) -> Iterator[None]:
        """CPUs first .. first + count - 1 each run a compiled loop in user mode for the length of the block."""
        machine = self.machine
        with raised() if machine.coordinator.plan.boosted else contextlib.nullcontext():
            machine.call(self._functions["start_busy"], first, count, kind, on=COORDINATOR)
            try:
                if not machine.wait_until(lambda: loop.busy_started() == count, START_SECONDS):
                    ran = f"only {loop.busy_started()} of {count} busy CPUs ran"
                    raise ResourceError(f"{ran} within {START_SECONDS:.0f} s")
                yield
            finally:
                loop.stop_busy()
                machine.wait_until(lambda: loop.busy_finished() == count, START_SECONDS)

    def storm(self, requests: int, seed: int) -> list[tuple[int, int, int]]:
        """All CPUs send at once, `requests` together at least. Per CPU: requests addressed to it, run, wrongly run."""
        share = -(-requests // self.machine.cpus)
        self.machine.call_on_all(self._functions["storm"], share, seed & (1 << 62) - 1)
        return self.tallies()

    def tallies(self) -> list[tuple[int, int, int]]:
        """The account of the storms so far, per CPU as storm() returns it."""
        found: list[tuple[int, int, int]] = loop.tallies()
        return found

    def avoided(self, rounds: int, cold: bool) -> list[float]:
        """ns per CPU looked at by on_each_cpu_cond() when no condition holds, one sample a call.

        cold: CPU 1, on the other host core, has written to each of the words looked at just before.
        """
        machine = self.machine
        found = []
        for _ in range(rounds):
            if cold:
                machine.call(self._functions["dirty"], on=1)
            cycles = machine.call(self._functions["avoid"], on=COORDINATOR)
            found.append(cycles * self._ns / machine.cpus)
        return found
