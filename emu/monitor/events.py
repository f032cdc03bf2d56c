"""The newest events of all CPUs, out of their rings, which go on being written meanwhile."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cpus.layout import CONSTANTS, STRUCTS
from emu.monitor.lines import Line, count, row, time
from emu.monitor.locks import who
from emu.monitor.pane import Figure, Look, Pane
from emu.monitor.reading import Reading
from emu.raw_memory import Words, offset

WIDTHS = (10, -6, -16, -20)
HEAD = ("ago", "where", "event", "argument")
NAMES = {
    number: name.removeprefix("EV_").lower()
    for name, number in CONSTANTS.items()
    if name.startswith("EV_") and name != "EV_NONE"
}
TO_CPU = {CONSTANTS[name] for name in ("EV_IPI_RAISE", "EV_IPI_MERGED")}
NUMBERS = {
    CONSTANTS[name]
    for name in (
        "EV_IPI_ENTRY", "EV_IPI_EXIT", "EV_SLOT_TAKEN", "EV_SLOT_GIVEN", "EV_PAUSE", "EV_RESUME", "EV_CALL_BEGIN",
        "EV_CALL_END", "EV_TASK_MIGRATE", "EV_DRAIN_PAGES", "EV_GP_BEGIN", "EV_GP_END", "EV_SLAB_FREED",
        "EV_MM_PAGE_ALLOC", "EV_MM_PAGE_FREE", "EV_RELEASE_BATCH", "EV_RELEASE_DONE",
    )
}  # fmt: skip
ALL = 4096  # records looked at in one go, over all rings
RECORD = STRUCTS["event_record"].size
FIRST = offset("event_ring", "record")
ARGUMENT = (1 << 48) - 1
BIGGEST_RING = 1 << 24


class Event(NamedTuple):
    """One record."""

    cycles: int
    context: int  # CPU; -1 is the coordinator
    name: str
    argument: str


NONE = np.zeros(0, dtype=np.int64)


class Records(NamedTuple):
    """Records as they were read, in the order of time."""

    cycles: Words = NONE
    what: Words = NONE
    contexts: Words = NONE

    def last(self, most: int) -> list[Event]:
        """The newest of them, explained."""
        parts = (part[-most:] for part in (self.cycles, self.what.view(np.uint64), self.contexts))
        return [
            Event(cycles, context, NAMES.get(what >> 48, f"event {what >> 48}"), _argument(what))
            for cycles, what, context in zip(*(part.tolist() for part in parts), strict=True)
        ]


class Events(Pane):
    """Events, one a row."""

    name = "Events"
    sorts = ("newest first", "oldest first", "where")
    figures = (
        Figure("ago", "How long before this look it was recorded.", "ftrace timestamps"),
        Figure("where", "The CPU that recorded it; coord is the coordinator.", "[cpu] in ftrace"),
        Figure("event", "What happened; the names follow the kernel's tracepoints.", "/sys/kernel/tracing/events"),
        Figure("argument", "Target CPU, number, or address in the segment, by kind of event."),
        Figure("recorded", "Records ever written, and those overwritten since.", "per_cpu/cpuN/stats: overrun"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.on = False
        self.written = self.lost = 0
        self.records = Records()
        self.now: Reading | None = None

    def read(self, now: Reading) -> None:
        """The newest of every ring."""
        self.now = None  # its memory is not to be kept
        self.on = now.tracing()
        if not self.on:
            self.records = Records()
            return
        self.records, self.written, self.lost = newest(now)
        self.now = now

    def draw(self, look: Look) -> list[Line]:
        """The list."""
        if not self.on or self.now is None:
            return [[("no events are recorded; start the run with --trace 4096 (records per CPU)", "dim")]]
        found = self._wanted(look.height + self.top)
        if self.sorted_by == "newest first":
            found.reverse()
        elif self.sorted_by == "where":
            found.sort(key=lambda e: (e.context, -e.cycles))
        said = f"{count(self.written)} recorded, {count(self.lost)} overwritten"
        lines: list[Line] = [[(said, "")], [(row(HEAD, WIDTHS), "head")]]
        rows: list[Line] = [
            [(row((time(float(self.now.since(e.cycles))), who(e.context), e.name, e.argument), WIDTHS), "")]
            for e in found
        ]
        return lines + self.scrolled(rows, look.height - 2)

    def _wanted(self, most: int) -> list[Event]:
        """The newest records that the filter lets through, in the order of time."""
        if not self.filter and self.sorted_by != "where":
            return self.records.last(most)  # the rest would not be seen: a thousand of them take a millisecond
        found = [e for e in self.records.last(ALL) if self.wanted(f"{e.name} {who(e.context)} {e.argument}")]
        return found if self.sorted_by == "where" else found[-most:]


def newest(now: Reading) -> tuple[Records, int, int]:
    """(the newest records of all rings in the order of time, records written, records overwritten)."""
    memory = now.memory
    contexts, rings, masks, heads = sound_rings(now)
    if not len(rings):
        return Records(), 0, 0
    each = max(4, ALL // len(rings))
    counts = np.minimum(np.minimum(heads, masks + 1), each)
    owners = np.repeat(np.arange(len(rings)), counts)
    places = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    numbers = heads[owners] - counts[owners] + places
    pairs = memory.gather(rings[owners] + FIRST + RECORD * (numbers & masks[owners]), 2)
    # Whoever has written meanwhile may have written over what was just read.
    after = memory.gather(rings + offset("event_ring", "head"), 1)[:, 0]
    whole = numbers > after[owners] - masks[owners] - 1
    order = np.flatnonzero(whole)[np.argsort(pairs[whole, 0], kind="stable")]
    found = Records(pairs[order, 0], pairs[order, 1], contexts[owners[order]] - 1)
    return found, int(heads.sum()), int(np.maximum(heads - masks - 1, 0).sum())


def sound_rings(now: Reading) -> tuple[Words, Words, Words, Words]:
    """(contexts, addresses, masks, heads) of the rings that are rings."""
    memory = now.memory
    at = now.words["ring"].astype(np.int64)
    good = memory.pointed(at, STRUCTS["event_ring"].size)
    safe = np.where(good, at, np.int64(CONSTANTS["SEGMENT_BASE"]))
    masks = np.where(good, memory.gather(safe + offset("event_ring", "mask"), 1)[:, 0], 0)
    heads = np.where(good, memory.gather(safe + offset("event_ring", "head"), 1)[:, 0], 0)
    good &= (masks > 0) & (masks < BIGGEST_RING) & ((masks & (masks + 1)) == 0) & (heads >= 0)
    good &= memory.in_heap(safe, FIRST + RECORD * (np.where(good, masks, 0) + 1))
    return np.flatnonzero(good), at[good], masks[good], heads[good]


def _argument(what: int) -> str:
    event, argument = what >> 48, what & ARGUMENT
    if event in TO_CPU:
        # The coordinator's number is -1, which leaves no bit of the vector.
        return "to coord" if argument == ARGUMENT else f"to CPU {argument & 0xFFFF}, vector {argument >> 16}"
    if event in NUMBERS:
        return str(argument)
    return f"{argument:#x}"
