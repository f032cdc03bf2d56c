"""What the removal of memcgs costs, in every form that their caches' end has had.

Each removed memcg has --caches child caches, one of them SLAB_DESTROY_BY_RCU.
A charged page keeps its memcg, and SLUB keeps empty slabs; so a dead memcg's
caches are told to keep none, and every CPU must have noticed before the rest is
flushed (thread 001: an interrupt to all, or a grace period; under slab_mutex, or
outside). A BY_RCU cache is released when all callbacks that use it have run
(thread 003: a barrier for each, or for all that are queued).

CPU 0 removes the memcgs one by one. CPU 1 frees the last objects of each, some
before it is removed and some after, and writes limits of an unrelated cgroup.
All others compute. --variants goes through the ways to tell the CPUs and, as
barrier-*, through the ways to release.

The result, as JSON:

  memcgs, caches     removed, and children of each
  ipis               call interrupts taken, all CPUs; two requests that come
                     at once share one
  requests           function calls asked of other CPUs; kick_ipis, flush_ipis,
                     barrier_ipis and drain_ipis are its parts
  kicks              kick_all_cpus_sync calls
  grace_periods      synchronize_sched calls: waits; grace_periods_passed: all
                     that went by meanwhile
  barriers           rcu_barrier calls; batches: of the asynchronous release
  wall_ns            from the first rmdir until nothing is left to be done
  rmdir_ns, longest_rmdir_ns   all rmdirs, and the longest
  cgroup_mutex_hold_ns, slab_mutex_hold_ns   sums of hold times
  slab_mutex_longest_ns   the longest (within 12 %)
  longest_stall_ns   of an unrelated cgroup's operation meanwhile
  bystanders         {interruptions, lost_ns, longest_ns} of the computing CPUs
  walked             list entries looked at to find the children
  pinned             memcgs that are left, kept by charged pages
  expected           {kick_ipis, pinned}: what they must be

examples:
  emu run memcg-death --variants
  emu run memcg-death --memcgs 10000 --cpus 8 --burst
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cpus import slab_reap
from emu.errors import ResourceError, UsageError
from emu.format import count, nanoseconds, table
from emu.patches import parse_version, require_memcg_caches
from emu.workload import Need
from workloads import memcg_death_loop as loop
from workloads._deaths import Reading, difference

if TYPE_CHECKING:
    from emu.config import RunConfig
    from emu.context import RunContext
    from emu.machine import Machine

DEFAULTS = {"kernel": "4.11", "allocator": "slub", "memory": 512 << 20}
MOST_CACHES = 5
MOST_MEMCGS = 60_000
MAKE_AT_ONCE = 200
REAP_SECONDS = 20
PINNED = "none"  # the variant that leaves memcgs
VARIANTS: dict[str, dict[str, str]] = {
    name: {"dead-caches": name}
    for name in ("none", "kick", "sync-under-mutex", "sync-once-outside", "call-rcu", "smp-mb", "smp-mb-both")
} | {
    "barrier-per-call": {"release-barrier": "per-call"},
    "barrier-per-memcg": {"release-barrier": "per-memcg"},
    "barrier-async-batched": {"release-barrier": "async-batched"},
}
BOTH = ("kick", "call-rcu")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    own = parser.add_argument_group("memcg-death")
    own.add_argument("--memcgs", type=int, default=200, metavar="N", help="memcgs to remove (default 200)")
    own.add_argument("--caches", type=int, default=5, metavar="K", help="child caches of each, 1 to 5 (default 5)")
    own.add_argument(
        "--burst", action="store_true", help="start the asynchronous release when all memcgs are gone, not before"
    )


def check(config: RunConfig, args: argparse.Namespace) -> None:
    """Refuse what this workload cannot do, before anything is started."""
    require_memcg_caches(config.kernel, "memcg-death")
    if not 1 <= args.caches <= MOST_CACHES:
        raise UsageError(f"--caches {args.caches}: from 1 to {MOST_CACHES}")
    if not 1 <= args.memcgs <= MOST_MEMCGS:
        raise UsageError(f"--memcgs {args.memcgs}: from 1 to {MOST_MEMCGS}")
    if config.cpus < 2:
        raise UsageError("--cpus 1: one CPU removes and another frees; use at least 2")


def memory_need(config: RunConfig, args: argparse.Namespace) -> Need:
    """A child's state has a cache line per CPU; SLAB's arrays are larger."""
    per_cpu = 64 if config.allocator == "slub" else 1100
    child = 2048 + config.cpus * (per_cpu + 8) + (5000 if config.allocator == "slab" else 0)
    metadata = (64 << 20) + config.cpus * (96 << 10) + args.memcgs * (args.caches * (child + 200) + 1200)
    return Need(metadata, min(config.memory, args.memcgs * args.caches * 8192 + (16 << 20)))


def run(ctx: RunContext, args: argparse.Namespace) -> dict[str, Any]:
    """Make, use and remove them on one machine."""
    entry = loop.entry_points()
    major, minor = parse_version(ctx.config.kernel)[:2]
    with ctx.boot() as m:
        if m.call(entry["set_up"], args.memcgs, args.caches, major * 1000 + minor, on=0):
            raise ResourceError("memcg-death: no memory to begin with; raise --memory or --max-segment")
        populate(m, args)
        before = Reading.take(m)
        if args.burst:
            m.call(entry["hold"], 1, on=0)
        for cpu in range(m.cpus):
            m.call(entry["start"], min(cpu, 2), on=cpu)
        wait(ctx, m, args)
        result = finish(ctx, m, args, before)
    return result


def populate(m: Machine, args: argparse.Namespace) -> None:
    """The memcgs with their children, and a few objects of each child."""
    entry = loop.entry_points()
    for first in range(0, args.memcgs, MAKE_AT_ONCE):
        if m.call(entry["make"], first, min(first + MAKE_AT_ONCE, args.memcgs), on=0):
            raise ResourceError(f"memcg-death: no memory after {first} memcgs; raise --memory or --max-segment")
        m.call(entry["settle"], 0, on=0)
    if any(m.call_on_all(entry["use"])):
        raise ResourceError("memcg-death: no memory for the children's slabs; raise --memory")


def wait(ctx: RunContext, m: Machine, args: argparse.Namespace) -> None:
    """Wait for the tasks; a signal ends the removal after the memcg it is at."""
    stopped = False
    with ctx.progress("memcgs removed", args.memcgs) as bar:

        def look() -> None:
            nonlocal stopped
            bar.update(loop.progress()[0])
            if ctx.interrupted and not stopped:
                loop.ask_to_stop()
                stopped = True

        m.wait_until(lambda: loop.progress()[2] == 0, poll=look)


def reap(m: Machine) -> None:
    """One pass of every CPU's reaper, one CPU after the other."""
    for cpu in range(m.cpus):
        m.call(slab_reap.reap_address(), on=cpu)


def let_go(m: Machine) -> int:
    """Wait until the removals have had all their consequences: callbacks, work items, and theirs. Who is left."""
    settle = loop.entry_points()["settle"]
    left = -1
    while True:
        before, left = left, m.call(settle, 1, on=0)
        if left in (0, before):
            return left


def finish(ctx: RunContext, m: Machine, args: argparse.Namespace, before: Reading) -> dict[str, Any]:
    """Settle, read, judge. The barriers of let_go() are taken off."""
    # In time: until the last memcg is gone. One that is pinned is never gone: then until nothing changes.
    pinned_ok = ctx.config.allocator == "slub" and ctx.config.patches["dead-caches"] == PINNED
    if ctx.config.allocator == "slab":
        # What was freed late is in arrays and on free lists: the reaper's business, every 2 s, and 4 s for a node.
        m.wait_until(lambda: loop.dying() == 0, timeout=REAP_SECONDS, poll=lambda: reap(m))
    elif not pinned_ok:
        m.wait_until(lambda: loop.dying() == 0, timeout=10)
    ended = loop.cycles()
    if args.burst:
        m.call(loop.entry_points()["hold"], 0, on=0)
    m.call(loop.entry_points()["settle"], 0, on=0)
    after = Reading.take(m)
    pinned = let_go(m)
    found = loop.outcome()
    removed, failed = loop.progress()[0], loop.progress()[3]
    if failed:
        ctx.violation("memcg-death", f"rmdir failed with {failed}")
    result = {"memcgs": removed, "caches": args.caches} | difference(before, after)
    result["grace_periods_passed"] = after.grace_periods_passed - before.grace_periods_passed
    result["wall_ns"] = (ended - found["begun"]) * 1000 // found["cycles_per_us"]
    for name in ("rmdir_ns", "longest_rmdir_ns", "longest_stall_ns", "unrelated_operations", "bystanders"):
        result[name] = found[name]
    result["pinned"] = pinned
    judge(ctx, m, result, pinned_ok)
    return result


def judge(ctx: RunContext, m: Machine, result: dict[str, Any], pinned_ok: bool) -> None:
    """What follows from the switches alone."""
    slub = ctx.config.allocator == "slub"
    children = result["memcgs"] * result["caches"]
    kicks = children if slub and ctx.config.patches["dead-caches"] == "kick" else 0
    result["expected"] = {"kick_ipis": kicks * (m.cpus - 1), "pinned": None if pinned_ok else 0}
    if result["kick_ipis"] != kicks * (m.cpus - 1) or result["kicks"] != kicks:
        seen = f"{result['kicks']} kicks with {result['kick_ipis']} interrupts"
        ctx.violation("memcg-death", f"{seen}, {kicks} and {kicks * (m.cpus - 1)} were expected")
    if result["deactivated"] != children:
        ctx.violation("memcg-death", f"{result['deactivated']} children deactivated, {children} were expected")
    if result["pinned"] and not pinned_ok:
        ctx.violation("I8", f"{result['pinned']} memcgs are pinned by slabs that a CPU has kept")


HEAD = (
    *("variant", "wall", "cgroup_mutex", "slab_mutex", "longest", "stall", "ipis", "kick", "flush", "barrier"),
    *("GPs", "barriers", "batches", "pinned"),
)


def cells(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    """One row of the table."""
    times = ("wall_ns", "cgroup_mutex_hold_ns", "slab_mutex_hold_ns", "slab_mutex_longest_ns", "longest_stall_ns")
    counts = ("ipis", "kick_ipis", "flush_ipis", "barrier_ipis", "grace_periods", "barriers", "batches", "pinned")
    return (name, *(nanoseconds(row[key]) for key in times), *(count(row[key]) for key in counts))


def render(result: Mapping[str, Any]) -> str:
    """One variant: the table with one row, and what the bystanders lost."""
    b = result["bystanders"]
    lost = f"bystanders: {count(b['interruptions'])} interruptions seen, {nanoseconds(b['lost_ns'])} lost, "
    return f"{render_rows([dict(result) | {'variant': 'this run'}])}\n{lost}longest {nanoseconds(b['longest_ns'])}"


def render_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """All variants, one row each."""
    first = rows[0]
    title = f"{first['memcgs']} memcgs with {first['caches']} caches each"
    return f"{title}\n{table(HEAD, [cells(row['variant'], row) for row in rows])}"
