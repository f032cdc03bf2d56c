"""Blocks of ours and of the floor, as checks: what P1, P2, P3 share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from emu.errors import ResourceError
from emu.floor import Floor
from emu.machine import Machine
from goals.base import Check, NotMeasurableError, Settings
from workloads._ipi_blocks import (
    BROADCAST_GAP_US,
    COORDINATOR,
    MANY,
    ONE,
    PURE,
    SINGLE_GAP_US,
    Bench,
    Figure,
    Times,
    compare,
    floor_times,
)

SINGLE_ROUNDS, SINGLE_WARM_UP = 2000, 200


def detail(figure: Figure, **more: Any) -> dict[str, Any]:
    """What is printed and kept beside a ratio."""
    return {
        "p50_ns": figure.p50,
        "p99_ns": figure.p99,
        "floor_p50_ns": figure.floor_p50,
        "floor_p99_ns": figure.floor_p99,
        "p99_ratio": figure.p99_ratio,
        "ratios": [round(r, 3) for r in figure.ratios],
    } | more


def checks(what: str, figure: Figure, limit: float, p99_limit: float | None = None, **more: Any) -> list[Check]:
    """The median's ratio and, where there is a goal for it, the p99's."""
    assert figure.ratio is not None
    assert figure.p99_ratio is not None
    found = [Check(what, figure.ratio, limit, "x", detail(figure, **more))]
    if p99_limit is not None:
        found.append(Check(f"{what}, p99", figure.p99_ratio, p99_limit, "x"))
    return found


def single(settings: Settings, ipi: str, mode: str, busy: int, stamp: str = "acked") -> Figure:
    """CPU 0 calls CPU 1, which runs, on two pinned CPUs; floor mode `mode`."""
    rounds = settings.rounds(SINGLE_ROUNDS)
    returns: list[float] = []
    with Floor() as floor, Machine(cpus=2, ipi=ipi) as machine:
        bench = Bench(machine)

        def ours() -> Times:
            with bench.busy(1, 1, busy):
                block = bench.block(ONE, rounds, warm_up=SINGLE_WARM_UP, gap_us=SINGLE_GAP_US)
            returns.append(block.returned.p50)
            found: Times = getattr(block, stamp)
            return found

        return compare(ours, lambda: floor_times(floor.ask(mode, rounds=rounds, gap_us=SINGLE_GAP_US)), settings.pairs)


def broadcast(
    settings: Settings, targets: int, rounds: int, mode: str, busy: bool = False, **machine_options: Any
) -> Figure:
    """The coordinator calls all CPUs, idle ones or each with a loop to run; floor mode `mode`. Pinned, as the floor's.

    Raises NotMeasurableError when the host lacks processes, queues or privileges.
    """
    rounds = settings.rounds(rounds)

    def block(bench: Bench) -> Times:
        with bench.busy(0, targets, PURE) if busy else nullcontext():
            return bench.block(MANY, rounds, on=COORDINATOR, warm_up=20, gap_us=BROADCAST_GAP_US, spin=False).acked

    def theirs(floor: Floor) -> Callable[[], Times]:
        return lambda: floor_times(floor.ask(mode, targets, rounds=rounds, gap_us=BROADCAST_GAP_US, timeout=120))

    try:
        with Floor() as floor, Machine(cpus=targets, memory=16 << 20, pin=True, **machine_options) as machine:
            bench = Bench(machine)
            return compare(lambda: block(bench), theirs(floor), settings.pairs)
    except ResourceError as error:
        raise NotMeasurableError(str(error)) from error
