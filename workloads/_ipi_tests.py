"""The tests of ipi-bench: what is called, what the targets do meanwhile, and which mode of the C floor is the same."""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import dataclass, field
from typing import Any

from emu.floor import Floor
from workloads import _ipi_blocks as blocks
from workloads._ipi_blocks import Bench, Times

PAIR, MANY = "pair", "many"
PARKED = None
ROUNDS = {PAIR: 1000, MANY: 50}
WARM_UP = {PAIR: 200, MANY: 10}

RUNNING_FLOOR = {"signal": "single-busy", "mqueue": "single-mq", "cluster": "single-busy", "doorbell": "poll"}
PARKED_FLOOR = {
    "signal": "single-parked",
    "mqueue": "broadcast-mq",
    "cluster": "single-futex",
    "doorbell": "single-futex",
}
BROADCAST_FLOOR = dict.fromkeys(("signal", "cluster", "doorbell"), "broadcast-parked") | {"mqueue": "broadcast-mq"}
GATED_FLOOR = dict.fromkeys(("signal", "mqueue", "cluster", "doorbell"), "broadcast-parked")

# Per call: Intel, KVM without IPI virtualisation, 2 vCPUs pinned, idle=poll (Zeng Guang, LKML 2022); one target.
PUBLISHED = {"dry-run": 2.7, "self": 111, "normal": 1746, "broadcast": 1758, "broadcast-lock": 1491}


@dataclass(frozen=True)
class Test:
    """One test."""

    name: str
    machine: str
    action: int
    busy: int | None = PARKED  # what the targets do
    floors: dict[str, str] = field(default_factory=dict)
    stamp: str = "acked"  # which of a block's times is the figure
    norov: bool = False

    def busy_with(self, ipi: str) -> int | None:
        """What the targets do: a doorbell is heard by who polls; a pure loop would wait for the fallback signal."""
        return blocks.POLL if ipi == "doorbell" and self.busy == blocks.PURE else self.busy

    @property
    def gap_us(self) -> int:
        """Between two calls, ours and the floor's."""
        if self.machine == MANY:
            return blocks.BROADCAST_GAP_US
        return blocks.SINGLE_GAP_US if self.action == blocks.ONE else 0

    def called(self, targets: int, sender: int | str) -> int:
        """How many CPUs a call interrupts."""
        if self.action in (blocks.NOTHING, blocks.SELF):
            return 0
        return (targets + (sender != 0)) // 2 if self.action == blocks.MASK else targets

    def floor_mode(self, ipi: str, delivery: str) -> str | None:
        """The floor's mode that does the same."""
        if self.machine == MANY and self.busy is not PARKED and delivery == "boosted":
            return "broadcast-boosted"
        return self.floors.get(ipi)

    def measure(
        self, bench: Bench, floor: Floor, ipi: str, targets: int, sender: int | str, rounds: int | None, pairs: int
    ) -> dict[str, Any]:
        """Blocks of ours and of the floor in turn; one row of the result."""
        rounds = rounds or ROUNDS[self.machine]
        called = self.called(targets, sender)
        seen: list[blocks.Block] = []

        def ours() -> Times:
            seen.append(self.block(bench, ipi, rounds, sender, targets))
            found: Times = getattr(seen[-1], self.stamp)
            return found

        mode = self.floor_mode(ipi, bench.machine.plan().delivery)
        theirs = None if mode is None else lambda: self.floor_block(floor, mode, called, rounds)
        figure = blocks.compare(ours, theirs, pairs)
        return {
            "test": self.name,
            "ipi": ipi,
            "targets": called,
            "p50_ns": figure.p50,
            "p99_ns": figure.p99,
            "return_p50_ns": statistics.median(block.returned.p50 for block in seen),
            "floor": mode,
            "floor_p50_ns": figure.floor_p50,
            "floor_p99_ns": figure.floor_p99,
            "ratio": figure.ratio,
            "p99_ratio": figure.p99_ratio,
            "norov": self.norov_line(bench, seen[-1], ipi, rounds, sender, targets),
            "published_ns": PUBLISHED.get(self.name),
        }

    def block(
        self, bench: Bench, ipi: str, rounds: int, sender: int | str, targets: int, action: int | None = None
    ) -> blocks.Block:
        """One block of ours."""
        first = 1 if sender == 0 else 0
        with contextlib.ExitStack() as stack:
            if (kind := self.busy_with(ipi)) is not PARKED:
                stack.enter_context(bench.busy(first, targets, kind))
            return bench.block(
                self.action if action is None else action,
                rounds,
                on=sender,
                target=first,
                warm_up=WARM_UP[self.machine],
                gap_us=self.gap_us,
                spin=self.machine == PAIR,
            )

    def floor_block(self, floor: Floor, mode: str, targets: int, rounds: int) -> Times:
        """One block of the floor, with the same gaps and rounds."""
        if self.machine == MANY:
            return blocks.floor_times(floor.ask(mode, targets, rounds=rounds, gap_us=self.gap_us))
        if mode.startswith("broadcast"):
            return blocks.floor_times(floor.ask(mode, 1, "spin", rounds=rounds, gap_us=self.gap_us))
        return blocks.floor_times(floor.ask(mode, rounds=rounds, gap_us=self.gap_us))

    def norov_line(
        self, bench: Bench, last: blocks.Block, ipi: str, rounds: int, sender: int | str, targets: int
    ) -> dict[str, float] | None:
        """The two sums that his module prints: handler's time minus start, and the loop's. Single calls only."""
        if not self.norov:
            return None
        delivered = 0.0
        if self.action == blocks.SELF:
            delivered = last.total_delivered
        if self.action == blocks.ONE:
            delivered = self.block(bench, ipi, rounds, sender, targets, blocks.ONE_TIMED).total_delivered
        return {"ipi_ns": delivered, "total_ns": last.total_returned, "calls": rounds}


TESTS = (
    Test("dry-run", PAIR, blocks.NOTHING, stamp="returned", norov=True),
    Test("self", PAIR, blocks.SELF, stamp="returned", norov=True),
    Test("normal", PAIR, blocks.ONE, blocks.PURE, RUNNING_FLOOR, norov=True),
    Test("irq-off", PAIR, blocks.ONE, blocks.IRQ_OFF, RUNNING_FLOOR),
    Test("no-wait", PAIR, blocks.NO_WAIT, blocks.PURE, RUNNING_FLOOR, stamp="returned"),
    Test("parked", PAIR, blocks.ONE, PARKED, PARKED_FLOOR),
    Test("broadcast", MANY, blocks.MANY, PARKED, BROADCAST_FLOOR, norov=True),
    Test("broadcast-lock", MANY, blocks.LOCK, PARKED, BROADCAST_FLOOR, norov=True),
    Test("mask", MANY, blocks.MASK, PARKED, BROADCAST_FLOOR),
    Test("broadcast-busy", MANY, blocks.MANY, blocks.PURE, GATED_FLOOR),
)
