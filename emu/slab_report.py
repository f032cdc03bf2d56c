"""Reports of what the slab allocator has found broken, in the style of the kernel's: what, where, by whom, and who was
there before.

    BUG things: Right Redzone overwritten at 0x8a0000068: 0x1 instead of 0xcc; found by CPU 1 (kmem_cache_free);
    allocated by CPU 0 12.3 us before (kmem_cache_alloc). FIX things: Restoring it
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cpus.layout import CONSTANTS
from cpus.slab_debug import PATHS
from emu.format import nanoseconds


class Event(NamedTuple):
    """One of the events that collided."""

    cpu: int
    time_ns: int  # since boot
    path: tuple[str, ...]  # outermost first

    def __str__(self) -> str:
        who = "the coordinator" if self.cpu < 0 else f"CPU {self.cpu}"
        return f"{who} ({' > '.join(self.path) or 'no slow path'})"


class Report(NamedTuple):
    """One record of slab_system.bugs."""

    invariant: str
    cache: str
    what: str
    fix: str
    address: int
    objects: int
    found: int  # the wrong byte, or -1
    wanted: int
    now: Event | None
    other: Event | None
    allocated: Event | None
    freed: Event | None

    def events(self) -> list[Event]:
        """The two that collided, the one that found it first; one where there was no other."""
        return [event for event in (self.now, self.other) if event is not None]

    def __str__(self) -> str:
        many = f" ({self.objects} of them)" if self.objects > 1 else ""
        text = f"BUG {self.cache}: {self.what}{many} at {self.address:#x}"
        if self.found >= 0:
            text += f": {self.found:#x} instead of {self.wanted:#x}"
        parts = [text]
        if self.now is not None:
            parts.append(f"found by {self.now}")
            for head, event in (("after", self.other), ("allocated by", self.allocated), ("freed by", self.freed)):
                if event is not None:
                    ago = nanoseconds(max(0, self.now.time_ns - event.time_ns))
                    parts.append(f"{head} {event}, {ago} before")
        fix = f". FIX {self.cache}: {self.fix}" if self.fix else ""
        return "; ".join(parts) + fix


def report(bug: Any, cache: str, per_us: int, boot_cycles: int) -> Report:
    """A record as an observer reads it."""

    def event(name: str) -> Event | None:
        row = bug[name]
        if int(row["cycles"]) == 0:
            return None
        time_ns = (int(row["cycles"]) - boot_cycles) * 1000 // per_us
        return Event(int(row["cpu"]), time_ns, path(int(row["path"])))

    return Report(
        f"I{bug['invariant']}",
        cache,
        bug["what"].decode(errors="replace"),
        bug["fix"].decode(errors="replace"),
        int(bug["address"]),
        int(bug["objects"]),
        int(bug["found"]),
        int(bug["wanted"]),
        event("now"),
        event("other"),
        event("allocated"),
        event("freed"),
    )


def path(codes: int) -> tuple[str, ...]:
    """Eight codes of a byte each, the innermost lowest -> names, outermost first."""
    found = [codes >> shift & 0xFF for shift in range(56, -8, -8)]
    return tuple(PATHS[code] if code < len(PATHS) else f"?{code}" for code in found if code)


def reports(descriptor: int) -> list[Report]:
    """All records of the machine whose segment this is. It may be running."""
    import numpy as np

    from emu.raw_memory import RawMemory

    raw = RawMemory(descriptor)
    root = raw.root("AREA_SLAB")
    if root == 0:
        return []
    system = raw.structs("slab_system", np.array([root]))[0]
    per_us, boot = int(raw.header["cycles_per_us"]), int(raw.header["boot_cycles"])
    count = min(int(system["nr_bugs"]), CONSTANTS["MAX_SLAB_BUGS"])
    return [report(bug, cache_name(raw, int(bug["cache"])), per_us, boot) for bug in system["bugs"][:count]]


def cache_name(raw: Any, address: int) -> str:
    """The name of a cache, if that is one still."""
    import numpy as np

    if not raw.is_block(np.array([address]))[0]:
        return f"{address:#x}"
    return bytes(raw.structs("kmem_cache", np.array([address]))[0]["name"]).decode(errors="replace")
