"""A shrink against writes to slabinfo: the theoretical race of 2016, in the act.

"mm/slab: fix the theoretical race by holding proper lock" (Joonsoo Kim, 2016):
kmem_cache_shrink() reads a node's pointer to its shared array of objects, then
takes the node's lock. From Linux 3.16 to 4.6 it did not hold slab_mutex, so
that a write to /proc/slabinfo could replace and free the array in between: the
objects in it are freed twice, or memory is used after it was freed.

Here CPU 0 writes to slabinfo, CPU 1 shrinks, any others allocate and free. The
cache is debugged: the allocator notes who puts an object back and who replaces
an array, and reports both sides of a collision, with the way each came.

variants:
  none         as in 3.16 to 4.6
  slab-mutex   version 1 of the fix, in -mm for a while: shrink holds slab_mutex
  node-lock    the fix of 4.7: the pointer is read under the node's list_lock
  no-wait      patch 11 of the series without its wait: a refill looks at the
               shared array without the lock, and it may have been freed
  wait         patch 11 as merged: freed after a grace period

The run ends at the first report, or after --duration. When the two meet is left
to the host; --delays waits now and then at the points of the races, for hosts
where they seldom do (a single core).

result: {variant, violations [{invariant, what, cache, cpus, events [{cpu,
time_ns, path}], objects}], shrinks, tunes, first_ns, elapsed_ns, delays}

examples:
  emu run shrink-vs-tune --variants --duration 10s
  emu run shrink-vs-tune --expect violation
  emu run shrink-vs-tune --kernel 3.13 --duration 30s
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cpus.layout import CONSTANTS
from emu.errors import NotSupportedError, ResourceError, UsageError
from emu.format import count, nanoseconds
from emu.slab_report import Report, reports
from emu.workload import Need
from ipc import memory
from workloads import shrink_vs_tune_loop as loop

if TYPE_CHECKING:
    from emu.config import RunConfig
    from emu.context import RunContext
    from emu.machine import Machine

DEFAULTS = {"kernel": "4.6", "cpus": 2, "duration": 60.0}
# Patch 5 zeroes the count of an array that is replaced, which hides the race without closing it.
BEFORE = {"node-setup": "off"}
VARIANTS = {
    "none": {"shrink-slab-mutex": "off", "drain-shared-locked": "off", **BEFORE},
    "slab-mutex": {"shrink-slab-mutex": "on", "drain-shared-locked": "off", **BEFORE},
    "node-lock": {"shrink-slab-mutex": "off", "drain-shared-locked": "on", **BEFORE},
    "no-wait": {"drain-shared-locked": "on", "lockless-grow": "on", "shared-array-free": "none"},
    "wait": {"drain-shared-locked": "on", "lockless-grow": "on", "shared-array-free": "sync"},
}
BOTH = ("none", "node-lock")
SIZE = 64
SLICE_S = 0.25
FLAGS = ("SLAB_CONSISTENCY_CHECKS", "SLAB_STORE_USER")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    own = parser.add_argument_group("shrink-vs-tune")
    own.add_argument("--keep-going", action="store_true", help="do not end at the first report")
    own.add_argument("--delays", action="store_true", help="wait up to 60 us now and then where the race is")


def check(config: RunConfig, args: argparse.Namespace) -> None:
    """Refuse what cannot be, before anything is started."""
    if config.allocator != "slab":
        raise NotSupportedError("--allocator slub: shrink-vs-tune is about SLAB's shared arrays; use --allocator slab")
    if config.cpus < 2:
        raise UsageError("--cpus: 1; one CPU tunes while another shrinks, use at least 2")
    if config.duration is None:
        raise UsageError("--loops: shrink-vs-tune runs for a time; give --duration")


def memory_need(config: RunConfig, args: argparse.Namespace) -> Need:
    """One cache and its arrays."""
    return Need((48 << 20) + config.cpus * ((256 << 10) + 64 * config.cpus), 16 << 20)


def run(ctx: RunContext, args: argparse.Namespace) -> dict[str, Any]:
    """Race until something is reported, or the time is over."""
    with ctx.boot() as machine:
        cache = machine.kmem_cache_create("race", SIZE, flags=FLAGS, on=0)
        if not loop.prepare(cache.address, args.keep_going):
            raise ResourceError("shrink-vs-tune: the segment is full; raise --max-segment")
        memory.set_switch(CONSTANTS["SWITCH_DELAY"], int(args.delays))
        begun = time.monotonic_ns()
        race(ctx, machine)
        elapsed = time.monotonic_ns() - begun
        memory.set_switch(CONSTANTS["SWITCH_DELAY"], 0)
        found, counts = reports(memory.descriptor()), loop.counts()
    if counts["failed"]:
        failed = counts["failed"]
        raise ResourceError(f"shrink-vs-tune: {failed} writes to slabinfo found no memory; raise --max-segment")
    first = next((report.now.time_ns - counts["begun_ns"] for report in found if report.now), None)
    return {
        "variant": ctx.variant or variant_of(ctx.config.patches),
        "violations": [violation(report) for report in found],
        "shrinks": counts["shrinks"],
        "tunes": counts["tunes"],
        "first_ns": first,
        "elapsed_ns": elapsed,
        "delays": bool(args.delays),
    }


def race(ctx: RunContext, machine: Machine) -> None:
    """All CPUs in short turns, so that a signal, the end and a report are seen."""
    seconds, entry, turn = float(ctx.config.duration or 0.0), loop.entry_points()["race"], 0
    end = time.monotonic() + seconds
    with ctx.progress("seconds", seconds) as progress:
        while (left := end - time.monotonic()) > 0 and not ctx.interrupted:
            machine.call_on_all(entry, int(min(left, SLICE_S) * 1e6) + 1, turn)
            turn += 1
            progress.update(seconds - left)
            counts = loop.counts()
            if counts["failed"] or (counts["reports"] and not loop.keeps_going()):
                return


def variant_of(values: Mapping[str, str]) -> str:
    """Which variant a set of switches is, as far as the race is concerned."""
    if values["lockless-grow"] == "on":
        return "no-wait" if values["shared-array-free"] == "none" else "wait"
    if values["drain-shared-locked"] == "on":
        return "node-lock"
    return "slab-mutex" if values["shrink-slab-mutex"] == "on" else "none"


def violation(report: Report) -> dict[str, Any]:
    """A report as plain data: the event that found it first, then the one it collided with."""
    events = report.events()
    return {
        "invariant": report.invariant,
        "what": report.what,
        "cache": report.cache,
        "cpus": [event.cpu for event in events],
        "events": [{"cpu": e.cpu, "time_ns": e.time_ns, "path": list(e.path)} for e in events],
        "objects": report.objects,
    }


def render(result: Mapping[str, Any]) -> str:
    """What was done, and the collisions."""
    done = f"{count(result['shrinks'])} shrinks against {count(result['tunes'])} writes to slabinfo"
    head = f"{result['variant']}: {done} in {nanoseconds(result['elapsed_ns'])}"
    if not result["violations"]:
        return f"{head}: no collision"
    lines = [f"{head}; the first collision after {nanoseconds(result['first_ns'])}"]
    for found in result["violations"]:
        many = f" ({found['objects']} objects)" if found["objects"] else ""
        lines.append(f"{found['invariant']} {found['what']}{many}")
        last = found["events"][0]["time_ns"]
        for event in found["events"]:
            ago = last - event["time_ns"]
            when = "when found" if ago == 0 else f"{nanoseconds(ago)} before"
            lines.append(f"  CPU {event['cpu']}, {when}: {' > '.join(event['path'])}")
    return "\n".join(lines)


def render_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each variant, and whether it did what is known of it."""
    parts = []
    for row in rows:
        known = {"no": "known to be unsafe", "yes": "known to be safe"}.get(row["safe"], row["safe"])
        parts.append(f"{render(row)}\n  {known}: {row['verdict']}")
    return "\n\n".join(parts)
