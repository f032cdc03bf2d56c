"""How often and for how long the removal of memcgs interrupts a CPU that has nothing to do with it.

Zijlstra's objection of 2016 (thread 001) as a number: the last CPU computes, and
watches its clock; it has no slab of the dying caches. CPU 0 removes memcgs. Each
variant of dead-caches is held against the others by the interrupts that the
computing CPU took (exact), and by the gaps they left in its loop. Beside it the
host kernel's own answer to "interrupt or grace period": membarrier().

The result, as JSON:

  memcgs, children  removed
  interrupts        call interrupts that the isolated CPU took
  seen              gaps that were measured; lost_ns, p50_ns, max_ns of them
  wall_ns           of the removals
  expected          interrupts that the variant implies: one per child for kick
  membarrier        {command: {p50_ns, p99_ns}} of the host's kernel

examples:
  emu run isolated-cpu --variants
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cpus import memcg_entry, slab_entry
from emu.errors import NotSupportedError, ResourceError, UsageError
from emu.format import count, nanoseconds, table
from emu.patches import parse_version, require_memcg_caches
from emu.plan import allowed_cores
from workloads import isolated_cpu_loop as loop

if TYPE_CHECKING:
    from emu.config import RunConfig
    from emu.context import RunContext
    from emu.machine import Machine

DEFAULTS = {"cpus": 2, "kernel": "4.11", "allocator": "slub", "memory": 64 << 20}
VARIANTS = {
    name: {"dead-caches": name}
    for name in ("none", "kick", "sync-under-mutex", "sync-once-outside", "call-rcu", "smp-mb-both")
}
BOTH = ("kick", "call-rcu")
CHILDREN = 2
SIZE = 128
HOST_CALLS = 200


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    own = parser.add_argument_group("isolated-cpu")
    own.add_argument("--memcgs", type=int, default=20, metavar="N", help="memcgs to remove (default 20)")


def check(config: RunConfig, args: argparse.Namespace) -> None:
    """Refuse what cannot be before anything is started."""
    require_memcg_caches(config.kernel, "isolated-cpu")
    if config.cpus < 2:
        raise UsageError("--cpus 1: one CPU removes and another computes; use at least 2")
    if config.allocator != "slub":
        raise NotSupportedError(f"--allocator {config.allocator}: isolated-cpu is about SLUB; use --allocator slub")
    if not 1 <= args.memcgs <= 10_000:
        raise UsageError(f"--memcgs {args.memcgs}: from 1 to 10000")


def run(ctx: RunContext, args: argparse.Namespace) -> dict[str, Any]:
    """Remove memcgs beside a computing CPU."""
    if ctx.config.cpus > allowed_cores():
        ctx.distrust(f"{ctx.config.cpus} CPUs on {allowed_cores()} host cores: the isolated CPU is not always running")
    entry = memcg_entry.entry_points()
    major, minor = parse_version(ctx.config.kernel)[:2]
    with ctx.boot() as m:
        m.call(entry["memcg_init"], major * 1000 + minor, on=0)
        memcgs = populate(m, args.memcgs)
        isolated = m.cpus - 1
        if m.call(loop.entry_points()["start"], isolated, on=0):
            raise ResourceError("isolated-cpu: the segment is full; raise --max-segment")
        m.wait_until(lambda: loop.turns() > 0, timeout=20)
        before, begun = m.interrupts()["CAL"][isolated], time.monotonic_ns()
        for memcg in memcgs:
            m.call(entry["memcg_rmdir"], memcg, on=0)
        if ctx.config.patches["dead-caches"] != "none":
            m.wait_until(lambda: memcg_entry.memcg_counts()["dying"] == 0, timeout=20)
        wall = time.monotonic_ns() - begun
        m.wait_until(lambda: m.ipis()["pending"] == 0, timeout=5)
        taken = m.interrupts()["CAL"][isolated] - before
        loop.ask_to_stop()
        m.wait_until(lambda: not loop.running(), timeout=20)
        result = assemble(args.memcgs, taken, wall, sorted(loop.gaps()))
        host = loop.host_barriers(HOST_CALLS)
    kicked = ctx.config.patches["dead-caches"] == "kick"
    result["expected"] = result["children"] if kicked else 0
    result["membarrier"] = {name: spread(took) for name, took in host.items()}
    if taken != result["expected"]:
        ctx.violation("isolated-cpu", f"{taken} call interrupts on the isolated CPU, {result['expected']} expected")
    return result


def populate(m: Machine, memcgs: int) -> list[int]:
    """Memcgs whose children have an empty slab each on CPU 0, and nothing anywhere else."""
    entry, made = memcg_entry.entry_points(), []
    caches = [m.kmem_cache_create(f"charged-{i}", SIZE, flags=("SLAB_ACCOUNT",), on=0) for i in range(CHILDREN)]
    for i in range(memcgs):
        memcg = m.call(entry["memcg_mkdir"], i, on=0)
        m.call(entry["memcg_write_kmem_limit"], memcg, 1 << 30, on=0)
        for cache in caches:
            for _ in range(2):  # the first is the root's, and makes the child
                args = (memcg, cache.address, slab_entry.GFP_KERNEL, 1)
                obj = m.call(entry["memcg_kmem_cache_alloc"], *args, on=0)
                if not obj:
                    raise ResourceError(f"isolated-cpu: no memory after {i} memcgs; raise --memory")
                m.call("kmem_cache_free", cache.address, obj, on=0)
        made.append(memcg)
    return made


def spread(took: Sequence[int]) -> dict[str, int]:
    """p50 and p99 of sorted figures."""
    return {"p50_ns": took[len(took) // 2], "p99_ns": took[len(took) * 99 // 100]} if took else {}


def assemble(memcgs: int, taken: int, wall: int, gaps: list[int]) -> dict[str, Any]:
    """The result."""
    figures = {"p50_ns": gaps[len(gaps) // 2], "max_ns": gaps[-1]} if gaps else {"p50_ns": None, "max_ns": None}
    return {
        "memcgs": memcgs,
        "children": memcgs * CHILDREN,
        "interrupts": taken,
        "seen": len(gaps),
        "lost_ns": sum(gaps),
        **figures,
        "wall_ns": wall,
    }


def render(result: Mapping[str, Any]) -> str:
    """One row, and the host's."""
    return render_rows([dict(result) | {"variant": "this run"}])


def render_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """A row per variant, and the host's own kernel."""

    def time_of(value: int | None) -> str:
        return "-" if value is None else nanoseconds(value)

    lines = [
        (
            r["variant"], count(r["interrupts"]), count(r["seen"]), time_of(r["lost_ns"] if r["seen"] else None),
            time_of(r["p50_ns"]), time_of(r["max_ns"]), nanoseconds(r["wall_ns"]),
        )
        for r in rows
    ]  # fmt: skip
    head = ("variant", "interrupts", "gaps seen", "lost", "gap p50", "gap max", "removal")
    calls = rows[-1]["membarrier"].items()
    host = ", ".join(f"{name} {nanoseconds(t['p50_ns'])} ({nanoseconds(t['p99_ns'])} p99)" for name, t in calls)
    return (
        f"{rows[0]['memcgs']} memcgs with {CHILDREN} children each, beside a CPU that computes\n{table(head, lines)}\n"
        f"membarrier of this host's kernel: {host or 'not available'}"
    )
