"""ftrace text, with the kernel's tracepoint names: what scripts for `trace-cmd report` and `perf script` read, and what
`emu run replay` reads back.

Fields that the rings do not hold are left out (call_site, gfp_flags, migratetype); none is made up. An object's cache
is known from the page it lies in: from the growth of that slab to its end, if both are in the rings, else by what the
page was when they were read. What cannot be told is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cpus.layout import CONSTANTS
from emu.export_timeline import Event, events_of, vectors

if TYPE_CHECKING:
    from emu.record import Run

RAM = CONSTANTS["SEGMENT_BASE"] + (CONSTANTS["RAM_OFFSET_GIB"] << 30)
ORDER_SHIFT = 40
PFN = (1 << ORDER_SHIFT) - 1
GONE = -1
HEADER = """\
# tracer: nop
#
# {text}
#
#           TASK-PID     CPU#     TIMESTAMP  FUNCTION
#              | |         |         |         |
"""
VECTOR_NUMBERS = {"CALL_FUNCTION_SINGLE": 0xFB, "CALL_FUNCTION": 0xFC, "RESCHEDULE": 0xFD}
SENT, MANY = 1 | 2 | 4, 2  # all but the own timer's; a call to many
CSD = {
    "EV_CSD_QUEUE": "csd_queue_cpu",
    "EV_CSD_ENTRY": "csd_function_entry",
    "EV_CSD_EXIT": "csd_function_exit",
}
ENTRIES = {
    "CALL_FUNCTION_SINGLE": "call_function_single",
    "CALL_FUNCTION": "call_function",
    "RESCHEDULE": "reschedule",
}


def ftrace(run: Run) -> str:
    """The whole text."""
    events = events_of(run)
    about = run.document.get("trace", {})
    lost = sum(about.get("dropped", {}).values())
    lines = []
    caches = resolve(events)
    unknown = 0
    sent = sends(events)
    for index, (event, cache) in enumerate(zip(events, caches, strict=True)):
        text = line_of(event, cache, sent.get(index), about)
        if text is None:
            unknown += event.name in ("EV_ALLOC", "EV_FREE")
            continue
        lines += [f"{head(event)}{part}" for part in text]
    note = f"percpu-emu {run.name}: {lost} records overwritten, {unknown} objects of caches that are gone left out"
    return HEADER.format(text=note) + "\n".join(lines) + ("\n" if lines else "")


def head(event: Event) -> str:
    """Task, CPU and time. A context is one thread: CPU n is number n + 1000, the coordinator 999."""
    name = "coordinator" if event.cpu < 0 else f"cpu{event.cpu}"
    seconds, ns = divmod(event.ns, 10**9)
    return f"{name:>16}-{event.cpu + 1000:<6} [{max(event.cpu, 0):03d}] {seconds:5d}.{ns // 1000:06d}: "


def line_of(event: Event, cache: int, targets: list[int] | None, about: Mapping[str, Any]) -> list[str] | None:
    """What the kernel prints for it: name and fields, one entry a line; None for what has no tracepoint."""
    arg = event.argument
    if event.name in ("EV_ALLOC", "EV_FREE"):
        return object_line(event, about.get("caches", {}).get(str(cache)))
    if event.name in ("EV_MM_PAGE_ALLOC", "EV_MM_PAGE_FREE"):
        return [f"{event.name[3:].lower()}: pfn={arg & PFN:#x} order={arg >> ORDER_SHIFT}"]
    if event.name in CSD:
        return [f"{CSD[event.name]}: csd={arg:#018x}"]
    if targets:
        one = len(targets) == 1
        return [f"ipi_send_cpu: cpu={targets[0]}" if one else f"ipi_send_cpumask: cpumask={ranges(targets)}"]
    if event.name in ("EV_IPI_ENTRY", "EV_IPI_EXIT"):
        kind = "entry" if event.name == "EV_IPI_ENTRY" else "exit"
        names = [name for name in vectors(arg) if name in ENTRIES]
        return [f"{ENTRIES[name]}_{kind}: vector={VECTOR_NUMBERS[name]}" for name in names] or None
    return None


def object_line(event: Event, known: Mapping[str, Any] | None) -> list[str] | None:
    """An object's allocation or free."""
    if known is None:
        return None
    if event.name == "EV_FREE":
        return [f"kmem_cache_free: ptr={event.argument:#018x} name={known['name']}"]
    sizes = f"bytes_req={known['object_size']} bytes_alloc={known['size']}"
    return [f"kmem_cache_alloc: ptr={event.argument:#018x} name={known['name']} {sizes}"]


def sends(events: list[Event]) -> dict[int, list[int]]:
    """Index of the first of an interrupt's raisings -> the CPUs that it went to: those of one call are one line."""
    found: dict[int, list[int]] = {}
    open_: dict[int, tuple[int, int]] = {}  # cpu -> (index of the first, vector)
    for index, event in enumerate(events):
        if event.name == "EV_IPI_RAISE" and event.argument >> 16 & SENT:
            vector = event.argument >> 16
            first, last = open_.get(event.cpu, (-1, 0))
            if first < 0 or vector != MANY or last != MANY:
                open_[event.cpu] = (index, vector)
                first = index
            found.setdefault(first, []).append(event.argument & 0xFFFF)
        elif event.name != "EV_IPI_MERGED":
            open_.pop(event.cpu, None)
    return found


def ranges(cpus: list[int]) -> str:
    """[1, 2, 3, 5] -> `1-3,5`, as the kernel prints a mask."""
    parts: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if parts and parts[-1][1] == cpu - 1:
            parts[-1][1] = cpu
        else:
            parts.append([cpu, cpu])
    return ",".join(f"{low}-{high}" if low != high else str(low) for low, high in parts)


def resolve(events: list[Event]) -> Iterator[int]:
    """The cache of each event's object, as it was then; 0 where it cannot be told."""
    found: list[int] = []
    owner: dict[int, int] = {}  # page frame -> cache, GONE after its end
    ends = first_ends(events)
    last_page: dict[int, tuple[int, int]] = {}  # cpu -> its last page allocation
    for index, event in enumerate(events):
        cache = 0
        if event.name == "EV_MM_PAGE_ALLOC":
            last_page[event.cpu] = (event.argument & PFN, event.argument >> ORDER_SHIFT)
        elif event.name == "EV_GROW" and event.cpu in last_page:
            # The slab's pages were allocated just before, on the same CPU.
            first, order = last_page.pop(event.cpu)
            owner.update(dict.fromkeys(range(first, first + (1 << order)), event.argument))
        elif event.name == "EV_MM_PAGE_FREE":
            first, order = event.argument & PFN, event.argument >> ORDER_SHIFT
            owner.update(dict.fromkeys(range(first, first + (1 << order)), GONE))
        elif event.name in ("EV_ALLOC", "EV_FREE"):
            frame = (event.argument - RAM) >> 12
            cache = owner.get(frame, 0)
            # Not grown in these records: it is what it was when they were read, unless its end comes later in them.
            if cache in (0, GONE) and index > ends.get(frame, -1):
                cache = event.cache
        found.append(max(cache, 0))
    return iter(found)


def first_ends(events: list[Event]) -> dict[int, int]:
    """Page frame -> index of its last freeing."""
    ends: dict[int, int] = {}
    for index, event in enumerate(events):
        if event.name == "EV_MM_PAGE_FREE":
            first, order = event.argument & PFN, event.argument >> ORDER_SHIFT
            ends.update(dict.fromkeys(range(first, first + (1 << order)), index))
    return ends
