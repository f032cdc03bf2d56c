"""Destroying caches whose slabs wait for a grace period: what the release waits for.

Slab pages of a SLAB_TYPESAFE_BY_RCU cache are freed by callbacks that use its
kmem_cache. --caches such caches are used on all CPUs, so that callbacks wait on
every CPU, and destroyed one by one. Thread 003: one rcu_barrier for each (up to
4.10), or a work item with one for all that are queued (since 4.11). The patch's
first version queued the release as a callback, and was withdrawn: a callback
says nothing of those on other CPUs. With that, and with no barrier at all, a
callback finds its cache freed: freed metadata is poisoned, and that is reported.
So that it shows, all CPUs but the first hold their callbacks back until those of
the first have run, at most --delay milliseconds, as a long softirq does: by
default only for call-rcu-each.

The result, as JSON:

  caches             destroyed
  wall_ns            all destructions; destroy_p50_ns, destroy_max_ns of one
  ipis               call interrupts taken, all CPUs; barrier_ipis of them
  barriers, batches  rcu_barrier calls; batches of the asynchronous release
  used_after_free    callbacks that found their cache freed
  delay_ms           for which callbacks were held back at most

examples:
  emu run cache-destroy --variants
  emu run cache-destroy --patch release-barrier=none --expect violation
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cpus import slab_faces
from emu.errors import ResourceError, UsageError
from emu.format import count, nanoseconds, table
from workloads import cache_destroy_loop as loop

if TYPE_CHECKING:
    from emu.config import RunConfig
    from emu.context import RunContext
    from emu.machine import Machine

DEFAULTS = {"kernel": "4.11", "allocator": "slub", "memory": 256 << 20}
SWITCH = "release-barrier"
MOST = 10_000
SLABS = 80  # more than array, shared array and node keep, whoever comes first
SIZE = 256
SHOWING_MS = 3000
MOST_DELAY = 10_000
AFTER_FREE = "used after free"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    own = parser.add_argument_group("cache-destroy")
    own.add_argument("--caches", type=int, default=40, metavar="M", help="caches to destroy (default 40)")
    own.add_argument("--delay", type=int, metavar="MS", help="hold callbacks back, up to 10000 ms (default 0)")


def check(config: RunConfig, args: argparse.Namespace) -> None:
    """Refuse what cannot be before anything is started."""
    if not 1 <= args.caches <= MOST:
        raise UsageError(f"--caches {args.caches}: from 1 to {MOST}")
    if args.delay is not None and not 0 <= args.delay <= MOST_DELAY:
        raise UsageError(f"--delay {args.delay}: from 0 to {MOST_DELAY} ms")


def delay_ms(config: RunConfig, args: argparse.Namespace) -> int:
    """How long callbacks are held back."""
    unasked = SHOWING_MS if config.patches[SWITCH] == "call-rcu-each" else 0
    return unasked if args.delay is None else int(args.delay)


def hold(m: Machine, on: bool) -> None:
    """All CPUs but the first hold their callbacks back, or no longer."""
    for cpu in range(1, m.cpus):
        m.call(loop.entry_points()["hold_callbacks"], int(on), on=cpu)


def run(ctx: RunContext, args: argparse.Namespace) -> dict[str, Any]:
    """Use and destroy them on one machine."""
    entry = loop.entry_points()
    with ctx.boot() as m:
        if m.call(entry["set_up"], args.caches, SIZE, on=0):
            raise ResourceError("cache-destroy: no memory for the caches; raise --max-segment")
        before = counts(m)
        delay = delay_ms(ctx.config, args)
        if delay:
            hold(m, True)
        if any(m.call_on_all(entry["use"], SLABS)):
            raise ResourceError("cache-destroy: no memory for the slabs; raise --memory or use fewer --caches")
        m.call(entry["start"], on=0)
        if delay:
            late = delay / 1000
            m.wait_until(lambda: loop.progress()[0] == args.caches and not loop.queued_on_first(), timeout=late)
            hold(m, False)
        wait(ctx, m, args)
        m.call(entry["settle"], on=0)
        after = counts(m)
        destroyed, _, error = loop.progress()
        bugs = [bug for bug in slab_faces.bugs() if AFTER_FREE in bug[4]]
    if error:
        ctx.violation("cache-destroy", f"kmem_cache_destroy failed with {error}")
    return assemble(destroyed, before, after, len(bugs)) | {"delay_ms": delay}


def wait(ctx: RunContext, m: Machine, args: argparse.Namespace) -> None:
    """Wait for the destroyer; a signal ends it after the cache it is at."""
    with ctx.progress("caches destroyed", args.caches) as bar:

        def look() -> None:
            bar.update(loop.progress()[0])
            if ctx.interrupted:
                loop.ask_to_stop()

        m.wait_until(lambda: loop.progress()[1] == 0, poll=look)


def counts(m: Machine) -> dict[str, int]:
    """Counters so far; and the destroyer's times, when it has run."""
    vmstat = m.vmstat()
    names = {"rcu_barriers": "barriers", "release_batches": "batches", "rcu_barrier_ipis": "barrier_ipis"}
    found = {new: vmstat[old] for old, new in names.items()} | {"ipis": sum(m.interrupts()["CAL"])}
    took = loop.outcome()
    times = took["took_ns"] or [0]
    found |= {"wall_ns": took["wall_ns"], "destroy_p50_ns": times[len(times) // 2], "destroy_max_ns": times[-1]}
    return found


def assemble(destroyed: int, before: Mapping[str, int], after: Mapping[str, int], bugs: int) -> dict[str, Any]:
    """The result; the settling's own barrier is taken off."""
    found: dict[str, Any] = {"caches": destroyed}
    found |= {name: value - before[name] for name, value in after.items()}
    found["barriers"] -= 1
    return found | {"used_after_free": bugs}


def render(result: Mapping[str, Any]) -> str:
    """One line."""
    return render_rows([dict(result) | {"variant": "this run"}])


def render_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line for each variant."""
    head = ("variant", "wall", "one p50", "one max", "ipis", "of barriers", "barriers", "batches", "used after free")
    times = ("wall_ns", "destroy_p50_ns", "destroy_max_ns")
    numbers = ("ipis", "barrier_ipis", "barriers", "batches", "used_after_free")
    lines = [
        (row["variant"], *(nanoseconds(row[n]) for n in times), *(count(row[n]) for n in numbers)) for row in rows
    ]
    return f"{rows[0]['caches']} BY_RCU caches\n{table(head, lines)}"
