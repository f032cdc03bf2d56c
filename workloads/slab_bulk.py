"""Brouer's test of the bulk interface: what one of many objects costs.

slab_bulk_test01 of 2015: an object of the size of an sk_buff, aligned to cache
lines; allocate and free one after the other, then the bulk sizes 1, 2, 3, 4, 8,
16, 30, 32, 34, 48, 64, 128, 158, 250, each first as a loop of single calls
(bulk_fallback), then with kmem_cache_alloc_bulk and kmem_cache_free_bulk
(bulk_quick_reuse). --kfree adds test05's kfree_bulk, which looks up the cache
of each object. Runs on CPU 0.

A step is one pair of calls; `per elem` is the time of a step by its objects, an
allocation and a free together. Published for SLAB on an i7-4790K: 87 cycles a
pair, 13 an object in bulks of 16.

result: rows [{test, size, series, bulk, alloc_cycles, free_cycles,
cycles_per_elem, ns_per_elem, elems, cycles, list_lock_acquisitions,
list_lock_per_growing_refill}]
  alloc_cycles and free_cycles are null: the test times the pair
  bulk                          objects a step; 0 for the empty loop
  list_lock_per_growing_refill  acquisitions of those refills that had to grow

examples:
  emu run slab-bulk
  emu run slab-bulk --loops 1000000 --series 0,11 --kfree
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cpus import status
from emu.errors import ResourceError, UsageError
from emu.format import significant
from emu.workload import Need
from workloads import _slab_series as series
from workloads import slab_test_loop as loop

if TYPE_CHECKING:
    from emu.config import RunConfig
    from emu.context import RunContext
    from emu.machine import Machine

DEFAULTS = {"cpus": 1, "loops": 10_000_000}
LEVELS = True
SK_BUFF = 232
BULKS = (1, 2, 3, 4, 8, 16, 30, 32, 34, 48, 64, 128, 158, 250)
MAX_LOOPS = 10**9
BLOCK = 1 << 22  # steps in one go, so that a signal is heard


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    own = parser.add_argument_group("slab-bulk")
    own.add_argument("--kfree", action="store_true", help="kfree_bulk too")


def check(config: RunConfig, args: argparse.Namespace) -> None:
    """Refuse what cannot be, before anything is started."""
    if config.loops is None:
        raise UsageError("--duration: slab-bulk makes a number of steps; give --loops")
    if config.loops > MAX_LOOPS:
        raise UsageError(f"--loops: {config.loops} is more than 10^9, half an hour or so; use fewer")
    series.check(config)


def memory_need(config: RunConfig, args: argparse.Namespace) -> Need:
    """A few slabs."""
    return Need((32 << 20) + config.cpus * ((256 << 10) + 64 * config.cpus), 4 << 20)


def run(ctx: RunContext, args: argparse.Namespace) -> dict[str, Any]:
    """All bulk sizes, on a machine of its own for each level."""
    rows: list[dict[str, Any]] = []
    ctx.partial["rows"] = rows
    levels = series.chosen(ctx.config)
    kinds = steps(bool(args.kfree))
    with ctx.progress("tests", len(levels) * len(kinds)) as progress:
        for level in levels:
            values = series.values_of(ctx.config, level)
            with ctx.boot(patches=values) as machine:
                label = level if level is not None else series.level_of(values)
                for row in measure(ctx, machine, kinds, label if ctx.config.allocator == "slab" else None):
                    rows.append(row)
                    progress.advance()
            if ctx.interrupted:
                break
    return {"rows": rows}


def steps(kfree: bool) -> list[tuple[str, int]]:
    """(kind, objects a step), in the order of the test."""
    found = [("for_loop", 0), ("fastpath reuse", 1)]
    for bulk in BULKS:
        found += [("bulk_fallback", bulk), ("bulk_quick_reuse", bulk)] + ([("kfree_bulk", bulk)] if kfree else [])
    return found


def measure(
    ctx: RunContext, machine: Machine, kinds: list[tuple[str, int]], level: int | None
) -> Iterator[dict[str, Any]]:
    """The rows of one machine."""
    cache = machine.kmem_cache_create("skbuff_head_cache", SK_BUFF, flags=("SLAB_HWCACHE_ALIGN",), on=0)
    loops, per_us = int(ctx.config.loops or 0), status.header()["cycles_per_us"]
    for kind, bulk in kinds:
        if ctx.interrupted:
            return
        wanted = loops * 10 if bulk == 0 else max(loops // bulk, 1)
        before = counters(machine)
        cycles, done = timed(ctx, machine, cache.address, kind, bulk, wanted)
        after = counters(machine)
        moved = {name: after[name] - before[name] for name in after}
        elems = done * max(bulk, 1)
        growing = moved["slab_growing_refill"]
        locks = moved["list_lock"] - (moved["slab_refill"] - growing) - moved["slab_flush"]
        yield {
            "test": kind,
            "size": SK_BUFF,
            "series": level,
            "bulk": bulk,
            "alloc_cycles": None,
            "free_cycles": None,
            "cycles_per_elem": cycles / elems,
            "ns_per_elem": cycles * 1000 / per_us / elems,
            "elems": elems,
            "cycles": cycles,
            "list_lock_acquisitions": moved["list_lock"],
            "list_lock_per_growing_refill": locks / growing if growing and level is not None else None,
        }


def timed(ctx: RunContext, machine: Machine, cache: int, kind: str, bulk: int, wanted: int) -> tuple[int, int]:
    """(cycles, steps done), in blocks. The first steps, which fill the arrays, are not counted."""
    entry, number = loop.entry_points()["bulk_loop"], loop.BULK_KINDS[kind]
    cycles = done = 0
    machine.call(entry, cache, number, bulk, min(wanted, 100), on=0)
    while done < wanted and not (done and ctx.interrupted):
        block = min(BLOCK, wanted - done)
        took = machine.call(entry, cache, number, bulk, block, on=0)
        if took < 0:
            raise ResourceError(f"slab-bulk: no memory for {bulk} objects; raise --memory")
        cycles, done = cycles + took, done + block
    return cycles, done


def counters(machine: Machine) -> dict[str, int]:
    """What is asked before and after."""
    vmstat = machine.vmstat()
    found = {name: vmstat[name] for name in ("slab_refill", "slab_growing_refill", "slab_flush")}
    return found | {"list_lock": status.lock_statistics()["list_lock"]["acquisitions"]}


def line(row: Mapping[str, Any]) -> str:
    """As time_bench prints it."""
    name = "for_loop" if row["bulk"] == 0 else f"kmem {row['test']}"
    step = f"step:{row['bulk']}"
    ns = row["ns_per_elem"] * row["elems"]
    period = f"measurement period time:{ns / 1e9:.9f} sec time_interval:{ns:.0f}"
    calls = f"invoke count:{row['elems']} tsc_interval:{row['cycles']}"
    cycles = f"{row['cycles_per_elem']:.0f} cycles(tsc) {row['ns_per_elem']:.3f} ns"
    return f"Type:{name} Per elem: {cycles} ({step}) - ({period}) - ({calls})"


def render(result: Mapping[str, Any]) -> str:
    """The lines of each level, and how much the largest gain was."""
    parts = []
    for level in dict.fromkeys(row["series"] for row in result["rows"]):
        own = [row for row in result["rows"] if row["series"] == level]
        head = [] if level is None else [f"after patch {level} of the series" if level else "before the series"]
        text = [line(row) for row in own]
        single = next((row["cycles_per_elem"] for row in own if row["test"] == "fastpath reuse"), 0.0)
        best = min((row for row in own if row["test"] == "bulk_quick_reuse"), key=_cycles, default=None)
        if single and best:
            gain = f"{significant(single)} cycles a pair by single calls, {significant(best['cycles_per_elem'])}"
            text.append(f"{gain} in bulks of {best['bulk']}")
        parts.append("\n".join(head + text))
    return "\n\n".join(parts)


def _cycles(row: Mapping[str, Any]) -> float:
    return float(row["cycles_per_elem"])
