"""The checker: reads a quiet machine's raw memory and says which invariants do not hold.

It shares no code with what it checks, and follows no pointer that it has not range-checked: whatever is broken gives a
violation, never a crash or an endless walk. The invariants that it judges:

I1 conservation: each object and each slab in exactly one place
I3 no object freed to a foreign cache, twice, or without having been allocated
I4 bounds and lists: 0 <= avail <= limit, batchcount <= limit, list lengths equal their counters, no cycles
I5 counters: handed out less taken back = in use
I6 pages: buddy lists + slabs + others = total, blocks aligned, no overlap
I9 nothing that was freed is still pointed to
I12 debugged caches: red zones and poison of what is free
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

SHOWN = 8  # of one kind; the rest is counted


class Violation(NamedTuple):
    """One broken invariant: its number, and what is where."""

    invariant: str
    text: str


class Findings:
    """Violations so far."""

    def __init__(self) -> None:
        self.found: list[Violation] = []

    def add(self, invariant: str, text: str) -> None:
        """Note one violation."""
        self.found.append(Violation(invariant, text))

    def add_each(self, invariant: str, cases: Iterable[int], text: Callable[[int], str]) -> None:
        """Note one violation per case; of many alike the first few, and how many there are."""
        numbers = [int(case) for case in cases]
        for number in numbers[:SHOWN]:
            self.add(invariant, text(number))
        if len(numbers) > SHOWN:
            self.add(invariant, f"{len(numbers) - SHOWN} more: {text(numbers[SHOWN])}, ...")


RETRIES = 5
PAUSE = 0.02  # seconds; a callback or a kworker that was still busy is done by then


def check(machine: Any = None) -> list[Violation]:
    """All violations in the memory of this process's machine, which is to be quiet: no CPU is inside the kernel.

    If something is found while callbacks or kworkers are still busy it is looked at again, a few times: memory that is
    being changed proves nothing. machine: for callers that have one; there is at most one per process. Raises
    ValueError if there is none.
    """
    from ipc import memory

    if memory.descriptor() < 0:
        raise ValueError("no machine is running in this process: call check() inside its `with` block")
    return check_segment(memory.descriptor())


def check_segment(descriptor: int) -> list[Violation]:
    """The same for any segment, by its file descriptor. Raises ValueError for what is no segment."""
    # Late: numpy must not be imported before the CPUs are forked.
    from emu.check_pages import check_pages
    from emu.check_slab import check_slab
    from emu.check_slub import check_slub, is_slub
    from emu.raw_memory import DamagedError, RawMemory

    found: list[Violation] = []
    for _ in range(RETRIES):
        findings = Findings()
        try:
            raw = RawMemory(descriptor)
            before = raw.activity()
            slabs = check_slub(raw, findings) if is_slub(raw) else check_slab(raw, findings)
            if slabs is not None:
                check_pages(raw, findings, slabs)
        except DamagedError as error:
            return [*findings.found, Violation("I9", str(error))]
        found = findings.found
        if not found or before == raw.activity():
            break
        time.sleep(PAUSE)
    return found
