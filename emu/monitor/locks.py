"""The locks by class: who holds one, who waits, how often and how long."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cpus.layout import CONSTANTS, STRUCTS
from cpus.locks import CLASSES
from emu.monitor.held import Held, held_by
from emu.monitor.lines import Line, count, row, time
from emu.monitor.pane import Figure, Look, Pane
from emu.monitor.reading import Reading
from emu.raw_memory import Words, offset

WIDTHS = (-17, 7, 4, 8, 4, 6, 6, 6, 6, 6)
HEAD = ("lock", "taken/s", "cont", "holder", "wait", "held", "hold", "max", "wait", "max")
STAT = STRUCTS["lock_stat"].size
NR_CLASSES = CONSTANTS["NR_LOCK_CLASSES"]
HEAD_WORDS = 3  # of a histogram: count, total, max
KEYS = ("acquisitions", "contended", "waits", "waited", "wait_max", "holds", "held", "hold_max")


class Row(NamedTuple):
    """One lock class."""

    name: str
    taken: float  # a second
    contended: float  # share of the acquisitions since boot
    holders: list[Held]
    waiters: list[Held]
    hold: float  # ns, mean
    hold_max: float
    wait: float
    wait_max: float
    acquisitions: int


class Locks(Pane):
    """Lock classes, one a row, and who waits for whom."""

    name = "Locks"
    sorts = ("taken/s", "contended", "held", "hold", "hold max", "wait max", "name")
    figures = (
        Figure("taken/s", "Acquisitions in a second, of all locks of the class.", "/proc/lock_stat acquisitions"),
        Figure(
            "cont", "Share of all acquisitions since boot that found the lock taken.", "/proc/lock_stat contentions"
        ),
        Figure("holder", "The CPU that holds one at this instant; coord is the coordinator; +2: and two more CPUs."),
        Figure("wait", "CPUs that wait for one at this instant.", "CSD and hung-task reports"),
        Figure("held", "How long the longest holder has had it."),
        Figure("hold", "Mean and longest time a lock was held, since boot.", "/proc/lock_stat holdtime-avg, -max"),
        Figure(
            "wait",
            "Mean and longest wait of the acquisitions that found it taken, since boot.",
            "/proc/lock_stat waittime",
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self._before: Words | None = None

    def read(self, now: Reading) -> None:
        """Statistics of every class, and the lists of held locks."""
        total = statistics(now)
        rates = np.zeros(len(CLASSES))
        if self._before is not None and now.seconds > 0:
            rates = np.maximum(total[:, 0] - self._before[:, 0], 0) / now.seconds
        self._before = total
        held = held_by(now)
        self.rows = []
        for number, name in enumerate(CLASSES):
            of = dict(zip(KEYS, total[number].tolist(), strict=True))
            mine = [entry for entry in held if entry.lock_class == name]
            self.rows.append(
                Row(
                    name=name,
                    taken=float(rates[number]),
                    contended=of["contended"] / of["acquisitions"] if of["acquisitions"] > 0 else 0.0,
                    holders=[entry for entry in mine if not entry.waits],
                    waiters=[entry for entry in mine if entry.waits],
                    hold=now.nanoseconds(of["held"] / of["holds"]) if of["holds"] > 0 else 0.0,
                    hold_max=now.nanoseconds(of["hold_max"]),
                    wait=now.nanoseconds(of["waited"] / of["waits"]) if of["waits"] > 0 else 0.0,
                    wait_max=now.nanoseconds(of["wait_max"]),
                    acquisitions=of["acquisitions"],
                )
            )

    def draw(self, look: Look) -> list[Line]:
        """The table, then the locks that are waited for."""
        found = [r for r in self.rows if self.wanted(r.name) and (r.acquisitions or r.holders or r.waiters)]
        found.sort(key=self._key, reverse=self.sorted_by != "name")
        unused = sum(1 for r in self.rows if not r.acquisitions)
        lines: list[Line] = [[(row(HEAD, WIDTHS), "head")]]
        body = [self._line(r) for r in found]
        waiting = [entry for r in found for entry in r.waiters]
        if waiting:
            body += [[("", "")], [("waiting at this instant", "head")]]
            body += [
                [(f"{who(w.cpu)} for {w.lock_class} at {w.address:#x}, {waited(w.nanoseconds)}", "warn")]
                for w in waiting
            ]
        if unused and not self.filter:
            body.append([(f"{unused} classes were never taken", "dim")])
        return lines + self.scrolled(body, look.height - 1)

    def _key(self, r: Row) -> float | str:
        keys = {
            "taken/s": r.taken, "contended": r.contended, "held": longest(r.holders), "hold": r.hold,
            "hold max": r.hold_max, "wait max": r.wait_max,
        }  # fmt: skip
        return keys.get(self.sorted_by, r.name)

    @staticmethod
    def _line(r: Row) -> Line:
        holder = who(r.holders[0].cpu) if r.holders else ""
        more = f"+{len(r.holders) - 1}" if len(r.holders) > 1 else ""
        cells = (
            r.name, count(r.taken), f"{r.contended:.0%}", holder + more, str(len(r.waiters) or ""),
            held_for(r.holders), time(r.hold), time(r.hold_max), time(r.wait),
            time(r.wait_max),
        )  # fmt: skip
        return [(row(cells, WIDTHS), "warn" if r.waiters else "")]


def statistics(now: Reading) -> Words:
    """Per class the KEYS, summed over all contexts; the two longest times are maxima."""
    memory = now.memory
    at = now.words["lock_stats"].astype(np.int64)
    at = at[memory.pointed(at, STAT * NR_CLASSES)]
    each = (at[:, None] + STAT * np.arange(len(CLASSES))).reshape(-1)
    shape = (len(at), len(CLASSES), -1)
    plain = memory.gather(each, 2).reshape(shape)
    wait = memory.gather(each + offset("lock_stat", "wait"), HEAD_WORDS).reshape(shape)
    hold = memory.gather(each + offset("lock_stat", "hold"), HEAD_WORDS).reshape(shape)
    longest_wait, longest_hold = wait[:, :, 2].max(axis=0, initial=0), hold[:, :, 2].max(axis=0, initial=0)
    return np.column_stack(
        [plain.sum(axis=0), wait[:, :, :2].sum(axis=0), longest_wait, hold[:, :, :2].sum(axis=0), longest_hold]
    )


def held_for(held: list[Held]) -> str:
    """The longest hold of them; "-" where nobody knows, empty where nobody holds one."""
    return time(longest(held) or None) if held else ""


def longest(held: list[Held]) -> float:
    """The longest of the times that are known."""
    return max((entry.nanoseconds for entry in held if entry.nanoseconds >= 0), default=0.0)


def waited(nanoseconds: float) -> str:
    """How long somebody waits."""
    return f"for {time(nanoseconds)}" if nanoseconds >= 0 else "spinning"


def who(cpu: int) -> str:
    """A context's name."""
    return "coord" if cpu < 0 else f"CPU {cpu}"
