"""A run's events as a timeline: tracks with slices, instants, counters, and flows that join each request's three ends.

One track per CPU: what it did, one thing inside the other (call, lock wait, interrupt, handler). One per lock: who held
it. A flow is one request (csd): queued by the sender, run by the target, answered. The k-th time an address is queued
and the k-th time it is run belong together, since a csd is locked until it is answered; where a ring has overwritten
one end, the other has no flow, and is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from emu.errors import UsageError, one_line
from emu.record_events import NAMES

if TYPE_CHECKING:
    from emu.record import Run

BEGIN, END, INSTANT = "B", "E", "I"
# Event that begins -> (event that ends, what it is called).
PAIRS = {
    "EV_IPI_ENTRY": ("EV_IPI_EXIT", "interrupt"),
    "EV_CSD_ENTRY": ("EV_CSD_EXIT", "handler"),
    "EV_CALL_BEGIN": ("EV_CALL_END", "call"),
    "EV_SHRINK_BEGIN": ("EV_SHRINK_END", "kmem_cache_shrink"),
    "EV_TUNE_BEGIN": ("EV_TUNE_END", "tune"),
    "EV_WORK_BEGIN": ("EV_WORK_END", "work"),
    "EV_LOCK_WAIT": ("EV_LOCK_TAKEN", "wait for"),
    "EV_PAUSE": ("EV_RESUME", "gate closed"),
    "EV_SLOT_TAKEN": ("EV_SLOT_GIVEN", "slot"),
}
# A slot is held across everything: it would not nest.
NOT_NESTED = ("EV_SLOT_TAKEN", "EV_SLOT_GIVEN")
# Too many for a timeline; their sum is a counter.
QUIET = ("EV_ALLOC", "EV_FREE", "EV_LOCK_RELEASED", "EV_IPI_RAISE")
ENDS = {end: begin for begin, (end, _) in PAIRS.items()}
VECTORS = ("CALL_FUNCTION_SINGLE", "CALL_FUNCTION", "RESCHEDULE", "TIMER")


class Mark(NamedTuple):
    """One point of a track. flow: ids that pass here; ends: the flow ends here."""

    ns: int
    kind: str
    name: str
    args: dict[str, Any]
    flow: int = 0
    ends: bool = False


@dataclass
class Timeline:
    """All tracks. cpus: number -> marks in order of time; locks: name -> marks; counters: name -> (ns, value)."""

    cpus: dict[int, list[Mark]] = field(default_factory=dict)
    locks: dict[str, list[Mark]] = field(default_factory=dict)
    counters: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    flows: int = 0
    unjoined: int = 0  # requests of which a ring has overwritten an end
    unmatched: int = 0  # ends whose beginning was overwritten
    dropped: dict[str, int] = field(default_factory=dict)


class Event(NamedTuple):
    """One record, its number resolved."""

    cpu: int
    ns: int
    name: str
    argument: int
    cache: int


def events_of(run: Run) -> list[Event]:
    """A run's records in order of time, those of one CPU in their own order; UsageError if there are none."""
    import numpy as np

    arrays = run.events
    shown = one_line(run.name)
    if not arrays:
        raise UsageError(f"{shown}: has no events; run it with --trace N (records kept per CPU, as 65536)")
    try:
        columns = [arrays[name] for name in ("cpu", "ns", "event", "argument", "cache")]
    except KeyError as error:
        raise UsageError(f"{shown}: events.npz has no {error}") from None
    if len({len(column) for column in columns}) != 1:
        raise UsageError(f"{shown}: events.npz: its arrays are not of one length")
    order = np.lexsort((np.arange(len(columns[0])), columns[1]))
    rows = zip(*(column[order].tolist() for column in columns), strict=True)
    return [Event(cpu, ns, NAMES.get(what, f"EV_{what}"), arg, cache) for cpu, ns, what, arg, cache in rows]


def timeline(run: Run) -> Timeline:
    """Make the timeline of a run."""
    about = run.document.get("trace", {})
    made = Timeline(dropped=dict(about.get("dropped", {})))
    events = events_of(run)
    flows = join(events, made)
    _cpu_tracks(events, flows, about, made)
    _acks(events, flows, made)
    _lock_tracks(events, about, made)
    _counters(events, made)
    return made


def join(events: list[Event], made: Timeline) -> dict[tuple[int, int], int]:
    """(index of an event's record, 0) -> flow: queue, entry and exit of each request, one to one."""
    waiting: dict[int, int] = {}  # csd -> index of the queueing that has not been run
    running: dict[int, tuple[int, int]] = {}  # cpu -> (flow, csd)
    found: dict[tuple[int, int], int] = {}
    for index, event in enumerate(events):
        if event.name == "EV_CSD_QUEUE":
            made.unjoined += event.argument in waiting
            waiting[event.argument] = index
        elif event.name == "EV_CSD_ENTRY":
            queued = waiting.pop(event.argument, None)
            if queued is None:
                made.unjoined += 1
                running.pop(event.cpu, None)
                continue
            made.flows += 1
            found[queued, 0] = found[index, 0] = made.flows
            running[event.cpu] = (made.flows, queued)
        elif event.name == "EV_CSD_EXIT" and event.cpu in running:
            flow, queued = running.pop(event.cpu)
            # A request that nobody waits for was unlocked before it ran, and has no csd here.
            if event.argument:
                found[index, 0] = flow
                found[index, 1] = events[queued].cpu
    made.unjoined += len(waiting)
    return found


def _cpu_tracks(
    events: list[Event], flows: Mapping[tuple[int, int], int], about: Mapping[str, Any], made: Timeline
) -> None:
    open_: dict[int, list[str]] = {}
    for index, event in enumerate(events):
        track = made.cpus.setdefault(event.cpu, [])
        stack = open_.setdefault(event.cpu, [])
        args = _args(event, about)
        flow = flows.get((index, 0), 0)
        if event.name in NOT_NESTED:
            track.append(Mark(event.ns, INSTANT, "slot taken" if event.name == "EV_SLOT_TAKEN" else "slot given", args))
        elif event.name == "EV_LOCK_TAKEN" and (not stack or stack[-1] != "EV_LOCK_WAIT"):
            continue  # without waiting: the lock's own track has it
        elif event.name in ENDS:
            begin = ENDS[event.name]
            if begin not in stack:
                made.unmatched += 1
                continue
            while stack:  # what was cut off inside it ends here as well
                last = stack.pop()
                track.append(Mark(event.ns, END, PAIRS[last][1], {}))
                if last == begin:
                    break
        elif event.name in PAIRS:
            stack.append(event.name)
            track.append(Mark(event.ns, BEGIN, _title(event, about), args, flow))
        elif event.name not in QUIET:
            track.append(Mark(event.ns, INSTANT, _title(event, about), args, flow))
    last_ns = events[-1].ns if events else 0
    for cpu, stack in open_.items():
        made.cpus[cpu] += [Mark(last_ns, END, PAIRS[name][1], {}) for name in reversed(stack)]


def _acks(events: list[Event], flows: Mapping[tuple[int, int], int], made: Timeline) -> None:
    """The answers, on their senders' tracks: the target gives them there, at the end of its handler."""
    answered: dict[int, list[Mark]] = {}
    for (index, part), sender in flows.items():
        if part == 1:
            event = events[index]
            mark = Mark(event.ns, INSTANT, "ack", {"from": event.cpu}, flows[index, 0], True)
            answered.setdefault(sender, []).append(mark)
    for sender, marks in answered.items():
        # Stable: at the same time what the CPU did itself comes first.
        made.cpus[sender] = sorted([*made.cpus.get(sender, []), *marks], key=lambda mark: mark.ns)


def _lock_tracks(events: list[Event], about: Mapping[str, Any], made: Timeline) -> None:
    """Who held each lock, and from when to when."""
    held: dict[int, Event] = {}
    for event in events:
        if event.name == "EV_LOCK_TAKEN":
            held[event.argument] = event
        elif event.name == "EV_LOCK_RELEASED" and event.argument in held:
            taken = held.pop(event.argument)
            if taken.cpu != event.cpu:  # its release was overwritten
                continue
            track = made.locks.setdefault(lock_name(event.argument, about), [])
            owner = cpu_name(event.cpu)
            track += [Mark(taken.ns, BEGIN, owner, {"cpu": event.cpu}), Mark(event.ns, END, owner, {})]


def _counters(events: list[Event], made: Timeline) -> None:
    """Requests in flight, and objects handed out, since the first record."""
    flight, objects = 0, 0
    in_flight: list[tuple[int, int]] = []
    in_use: list[tuple[int, int]] = []
    for event in events:
        if event.name in ("EV_CSD_QUEUE", "EV_CSD_EXIT"):
            flight = max(0, flight + (1 if event.name == "EV_CSD_QUEUE" else -1))
            in_flight.append((event.ns, flight))
        elif event.name in ("EV_ALLOC", "EV_FREE"):
            objects += 1 if event.name == "EV_ALLOC" else -1
            in_use.append((event.ns, objects))
    for name, points in (("requests in flight", in_flight), ("objects allocated since", in_use)):
        if points:
            made.counters[name] = points


def _args(event: Event, about: Mapping[str, Any]) -> dict[str, Any]:
    if event.name in ("EV_LOCK_WAIT", "EV_LOCK_TAKEN"):
        return {"lock": lock_name(event.argument, about)}
    if event.name in ("EV_IPI_ENTRY", "EV_IPI_EXIT"):
        return {"vectors": " ".join(vectors(event.argument))}
    if event.name in ("EV_IPI_RAISE", "EV_IPI_MERGED"):
        return {"target": event.argument & 0xFFFF, "vectors": " ".join(vectors(event.argument >> 16))}
    if event.name in ("EV_CALL_BEGIN", "EV_CALL_END"):
        return {"targets": event.argument}
    if event.cache:
        return {"cache": cache_name(event.cache, about)}
    return {"argument": event.argument} if event.argument else {}


def _title(event: Event, about: Mapping[str, Any]) -> str:
    if event.name == "EV_LOCK_WAIT":
        return f"wait for {lock_name(event.argument, about)}"
    if event.name in PAIRS:
        return PAIRS[event.name][1]
    return event.name.removeprefix("EV_").lower()


def vectors(bits: int) -> list[str]:
    """Names of the vectors in a word."""
    return [name for i, name in enumerate(VECTORS) if bits >> i & 1]


def cpu_name(cpu: int) -> str:
    """What a context is called."""
    return "coordinator" if cpu < 0 else f"CPU {cpu}"


def lock_name(address: int, about: Mapping[str, Any]) -> str:
    """A lock's class; of a class of many also its address."""
    name = about.get("locks", {}).get(str(address), "lock")
    return str(name) if str(name).endswith(("mutex", "hotplug")) else f"{name} {address:#x}"


def cache_name(address: int, about: Mapping[str, Any]) -> str:
    """A cache's name, or where it was, if it is gone."""
    known = about.get("caches", {}).get(str(address))
    return str(known["name"]) if known else f"cache {address:#x}"


def tracks(made: Timeline) -> Iterator[tuple[str, str, int, list[Mark]]]:
    """(group, name, number, marks) of every track, CPUs first."""
    for cpu in sorted(made.cpus):
        yield "CPUs", cpu_name(cpu), cpu + 1, made.cpus[cpu]
    for number, name in enumerate(sorted(made.locks)):
        yield "locks", name, 10_000 + number, made.locks[name]
