"""Memory cgroups: what is charged to each, and which are removed but not gone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cpus.layout import CONSTANTS, STRUCTS
from emu.machines import printable
from emu.monitor.lines import Line, count, row, size
from emu.monitor.pane import Budget, Figure, Look, Pane
from emu.monitor.reading import Reading
from emu.raw_memory import BASE, DamagedError, RawMemory, offset

WIDTHS = (-18, 6, -8, 6, 6, 7, 7, 7, 6)
HEAD = ("memcg", "id", "state", "tasks", "refs", "kmem", "memory", "limit", "fails")
STATES = ("no kmem", "dying", "online")
LIMITED = 1 << 50  # a limit above is none
MOST = 20_000  # looked at; more are counted only


class Row(NamedTuple):
    """One memcg."""

    name: str
    id: int
    state: str
    tasks: int
    refs: int
    kmem: int
    memory: int
    limit: int
    fails: int


class Memcgs(Pane):
    """Memcgs, one a row."""

    name = "Memcgs"
    sorts = ("kmem", "memory", "refs", "fails", "id", "name")
    figures = (
        Figure("state", "online; dying: removed, but pinned by charged pages; no kmem: nothing was ever accounted."),
        Figure("tasks", "Tasks in it.", "cgroup.procs"),
        Figure("refs", "References that keep it: its own, charged pages, work items.", "css.refcnt"),
        Figure("kmem", "Bytes of kernel memory charged to it.", "memory.kmem.usage_in_bytes"),
        Figure("memory", "Bytes charged to it in all.", "memory.usage_in_bytes"),
        Figure("limit", "Its limit on kernel memory; - for none.", "memory.kmem.limit_in_bytes"),
        Figure("fails", "Charges that hit the limit.", "memory.kmem.failcnt"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self.head = ""
        self.budget = Budget()

    def read(self, now: Reading) -> None:
        """All memcgs, as often as that is cheap."""
        root = now.memory.root("AREA_MEMCG")
        if not root:
            self.rows, self.head = [], "this machine has no memcgs"
            return
        number, dying = (now.memory.word(root + offset("memcg_system", key)) for key in ("nr_memcgs", "nr_dying"))
        self.head = f"{count(number)} memcgs, {count(dying)} dying"
        if self.budget.due():
            with self.budget:
                self.rows = read_memcgs(now.memory, root + offset("memcg_system", "root"))

    def draw(self, look: Look) -> list[Line]:
        """The table."""
        found = [r for r in self.rows if self.wanted(f"{r.name} {r.state}")]
        by = "state" if self.sorted_by == "name" else self.sorted_by
        found.sort(
            key=lambda r: r.name if self.sorted_by == "name" else getattr(r, by), reverse=self.sorted_by != "name"
        )
        old = f", {self.budget.age:.0f} s old" if self.budget.age >= 1 and self.rows else ""
        lines: list[Line] = [[(self.head + old, "")], [(row(HEAD, WIDTHS), "head")]]
        return lines + self.scrolled([_line(r) for r in found], look.height - 2)


def _line(r: Row) -> Line:
    limit = size(r.limit) if 0 <= r.limit < LIMITED else "-"
    cells = (
        r.name, str(r.id), r.state, count(r.tasks), count(r.refs), size(r.kmem), size(r.memory), limit, count(r.fails)
    )  # fmt: skip
    return [(row(cells, WIDTHS), "warn" if r.state == "dying" else "")]


def read_memcgs(memory: RawMemory, root: int) -> list[Row]:
    """The root and those behind it in the list, at most MOST. A list that changes may be cut short."""
    at = np.array(addresses(memory, root), dtype=np.int64)
    kind = "mem_cgroup"
    length = STRUCTS[kind].size // 8 * 8
    found = memory.structs(kind, at[memory.in_heap(at, length)])
    rows = []
    for each in found:
        state = int(each["kmem_state"])
        rows.append(
            Row(
                printable(bytes(each["name"])) or ("/" if each["parent"] == 0 else "?"),
                int(each["id"]),
                STATES[state] if 0 <= state < len(STATES) else "?",
                int(each["nr_tasks"]),
                int(each["css_refcnt"]),
                int(each["kmem"]["usage"]),
                int(each["memory"]["usage"]),
                int(each["kmem"]["limit"]),
                int(each["kmem"]["failcnt"]),
            )
        )
    return rows


def addresses(memory: RawMemory, root: int) -> list[int]:
    """Where the memcgs lie, the root first. DamagedError if their ring leads out of the heap, or past the root."""
    base, end = BASE + CONSTANTS["HEAP_OFFSET"], int(memory.header["heap_next"])
    step = (offset("mem_cgroup", "next") - BASE) >> 3
    words, found, seen = memory.words, [root], {root}
    at = int(words[(root >> 3) + step])
    while at != root and len(found) < MOST:
        if at in seen or at & 7 or not base <= at < end - STRUCTS["mem_cgroup"].size:
            raise DamagedError(f"the list of memcgs leads to {at:#x}, or changes too fast")
        seen.add(at)
        found.append(at)
        at = int(words[(at >> 3) + step])
    return found
