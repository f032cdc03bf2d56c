"""Interrupts between CPUs: how many, how long they take, and which calls and drains are under way."""

from __future__ import annotations

from typing import Any

import numpy as np

from cpus.cpu import LATENCIES
from cpus.layout import CONSTANTS, STRUCTS
from cpus.status import bucket_bounds
from emu.monitor.held import held_by
from emu.monitor.lines import Line, bar, count, row, time
from emu.monitor.locks import who
from emu.monitor.pane import Figure, Look, Pane
from emu.monitor.reading import WAIT_CSD, Reading
from emu.raw_memory import Words

VECTORS = ("CAL single", "CAL many", "RES", "TICK")
WIDTHS = (-10, 8, 7, 8, 7, 9)
HEAD = ("vector", "raised/s", "taken/s", "merged/s", "pending", "taken")
SIZE = STRUCTS["histogram"].size
NR = CONSTANTS["NR_LATENCIES"]
BUCKETS = CONSTANTS["HISTOGRAM_BUCKETS"]
ACKS = CONSTANTS["ACK_SLEEPER"] - 1
BOUNDS = np.array([bucket_bounds(index)[0] for index in range(BUCKETS)], dtype=float)
LABEL = 18


class Ipis(Pane):
    """Vectors, the histogram of one latency, calls that wait for answers."""

    name = "IPIs"
    sorts = LATENCIES  # s shows the next one that has happened
    figures = (
        Figure("raised/s", "Vectors set in a CPU's pending word in a second: raised = taken + merged + pending."),
        Figure("taken/s", "Vectors that handlers took in a second; the two CAL rows are /proc/interrupts' CAL."),
        Figure(
            "merged/s", "Vectors that were pending already: one interrupt serves both.", "call_single_queue not empty"
        ),
        Figure("pending", "CPUs for which the vector is set and not yet taken."),
        Figure("rings", "Signals, messages or wake-ups that a transport sent in a second.", "ICR writes"),
        Figure("csds", "Function calls queued to other CPUs in a second.", "csd:csd_queue_cpu"),
        Figure(
            "histogram",
            "One latency since boot, in doublings; s shows the next. ipi: raise to handler; kick, call_many: start to "
            "last answer; drain, tune, create, shrink: the whole operation.",
            "csd:csd_function_entry, ipi_raise to ipi_entry",
        ),
        Figure("in flight", "CPUs that wait for answers: to how many, for how long, holding which locks.", "CSD lock"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.vectors: list[tuple[str, ...]] = []
        self.totals = ""
        self.counts = np.zeros(len(LATENCIES), dtype=np.int64)
        self.histogram: Words = np.zeros(BUCKETS, dtype=np.int64)
        self.per_us = 1
        self.flights: list[str] = []

    def read(self, now: Reading) -> None:
        """Rates of all vectors, one histogram, and who waits."""
        self.per_us = now.per_us
        rates = [now.rate(name).sum(axis=0) for name in ("raised", "taken", "merged")]
        taken = now.words["taken"].sum(axis=0)
        pending = now.words["pending"]
        self.vectors = [
            (name, *(count(float(rate[v])) for rate in rates), str(int((pending >> v & 1).sum())), f"{int(taken[v])}")
            for v, name in enumerate(VECTORS)
        ]
        rings, queued = (float(now.rate(name).sum()) for name in ("rings", "csd_enqueued"))
        self.totals = f"rings {count(rings)} csds {count(queued)}/s"
        at = now.words["latency"].astype(np.int64)
        at = at[now.memory.pointed(at, SIZE * NR)]
        every = (at[:, None] + SIZE * np.arange(len(LATENCIES))).reshape(-1)
        self.counts = now.memory.gather(every, 1).reshape(len(at), len(LATENCIES)).sum(axis=0)
        if not self.counts[self.sort] and self.counts.any():
            self.sort = int(np.flatnonzero(self.counts)[0])
        found = now.memory.structs("histogram", at + SIZE * self.sort)
        self.histogram = found["bucket"].sum(axis=0, dtype=np.int64)
        self.flights = flights(now)

    def next_sort(self) -> None:
        """The next latency that has happened."""
        for step in range(1, len(LATENCIES) + 1):
            following = (self.sort + step) % len(LATENCIES)
            if self.counts[following]:
                self.sort = following
                return

    def draw(self, look: Look) -> list[Line]:
        """The three parts under each other."""
        lines: list[Line] = [[(row(HEAD, WIDTHS), "head"), (f"  {self.totals}", "dim")]]
        lines += [[(row(cells, WIDTHS), "")] for cells in self.vectors if self.wanted(cells[0])]
        flights: list[Line] = [[("in flight  ", "head"), ("" if self.flights else "no call waits for answers", "dim")]]
        flights += [[(text, "warn")] for text in self.flights if self.wanted(text)]
        room = look.height - len(lines)
        below = min(len(flights), max(2, room // 3))
        lines += self._histogram(look, room - below)
        return lines + self.scrolled(flights, below)

    def _histogram(self, look: Look, space: int) -> list[Line]:
        name, total = LATENCIES[self.sort], int(self.histogram.sum())
        known = ", ".join(f"{LATENCIES[i]} {count(int(n))}" for i, n in enumerate(self.counts) if n)
        if not total:
            return [[("latency  ", "head"), ("none was measured yet", "dim")]]
        shares = [time(quantile(self.histogram, share) * 1000 / self.per_us) for share in (0.5, 0.9, 0.99, 1.0)]
        said = "p50 {}, p90 {}, p99 {}, most {}".format(*shares)
        lines: list[Line] = [[(f"{name}  ", "head"), (said, ""), (f"  counts: {known}", "dim")]]
        octaves = self.histogram.reshape(-1, 4).sum(axis=1)
        first, last = np.flatnonzero(octaves)[[0, -1]].tolist()
        step = -(-(last + 1 - first) // max(1, space - 1))  # doublings to a row, so that all rows fit
        sums = [int(octaves[at : at + step].sum()) for at in range(first, last + 1, step)]
        most, cells = max(sums), max(4, look.width - LABEL - 1)
        for place, number in enumerate(sums):
            low = BOUNDS[(first + place * step) * 4] * 1000 / self.per_us
            label = f">= {time(low):>6}"
            drawn = bar(number / most, cells, look.ascii_only)
            if number and not drawn.strip(" ."):
                drawn = ("#" if look.ascii_only else "▏") + drawn[1:]
            lines.append([(f"{label:>10} {count(number):>6} ", ""), (drawn, "good")])
        return lines[:space]


def quantile(histogram: Words, share: float) -> float:
    """A percentile in cycles: the middle of its bucket."""
    reached = np.cumsum(histogram)
    index = int(np.searchsorted(reached, max(1, round(share * float(reached[-1])))))
    low, high = bucket_bounds(min(index, BUCKETS - 1))
    return float(low + high) / 2


def flights(now: Reading) -> list[str]:
    """What waits for answers of other CPUs, the longest wait first."""
    waiting = np.flatnonzero(now.words["waiting_for"] == WAIT_CSD)
    ages: Any = now.since(now.words["waiting_since"][waiting])
    holds: dict[int, list[str]] = {}
    for entry in held_by(now) if len(waiting) else ():
        if not entry.waits:
            holds.setdefault(entry.cpu, []).append(entry.lock_class)
    found = []
    for place in np.argsort(-ages).tolist():
        context = int(waiting[place])
        left = int(now.words["acks"][context]) & ACKS
        locks = ", ".join(holds.get(context - 1, [])) or "no lock"
        age = time(float(ages[place]))
        found.append(
            f"{who(context - 1)} waits for {left or 1} {'CPU' if left <= 1 else 'CPUs'}, {age}, holding {locks}"
        )
    return found
