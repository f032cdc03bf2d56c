"""What interrupts the creation of per-memcg caches costs: a script of 2017.

"slab: avoid IPIs when creating kmem caches" (Greg Thelen, 2017-04-16, merged in
Linux 4.12) measured a script: 10,000 times make a memcg, set two limits, move
into it, create and unlink a file; and count function call interrupts before and
after. Each memcg gets a child of every accounted cache that is used in it, here
five. Up to 4.11 the creation of each child interrupts all other CPUs, although
none of them can hold its array caches yet.

The script reads CPU 0's column of /proc/interrupts. A creation that runs on
CPU 0 does not show there, so the column grows by less than 5 per memcg. All
columns together grow by 5 x loops x (CPUs - 1).

The result, as JSON:

  loops       memcgs made
  script      {before, after}: CPU 0's column as the script reads it
  cal_cpu0    {before, after}: the same with no creation left in the queue
  cal_all     {before, after}: all CPUs, at the same two moments
  creations   child caches made, by the CPU that made them
  duplicates  creations that found the slot filled by another
  elapsed_ns  from the first reading to the last creation
  columns     by how much each CPU's column grew
  expected    {cpu0, all, met}: what they must grow by, and whether all did
  patched     whether slab-create-no-ipi was on
  kicks       machine-wide interrupts per creation that these switches imply
  removal     {removed, dying, ipis, elapsed_ns}: the rmdirs that follow, two
              drains of all CPUs for each child cache; dying: kept by a page

example:
  emu run memcg-create --loops 10000 --cpus 22 --both
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cpus.layout import STRUCTS
from emu.errors import ResourceError, UsageError
from emu.format import nanoseconds
from emu.patches import parse_version, require_memcg_caches
from emu.workload import Need
from workloads import memcg_create_loop as loop

if TYPE_CHECKING:
    from emu.config import RunConfig
    from emu.context import RunContext
    from emu.machine import Machine

DEFAULTS = {"kernel": "4.11", "loops": 10_000}
SWITCH = "slab-create-no-ipi"

MAX_LOOPS = 65_535  # memcg ids
CACHES = 5
# Array cache limits of the five, by object size: 256, 192, 192 bytes; 592; 1080.
LIMITS = (120, 120, 120, 54, 24)
SHARED_FACTOR = 8
# Slabs that a child really gets: filp, dentry and inode_cache are used again by the next loop's control files.
PAGES_PER_MEMCG = 3
PUBLISHED = {
    False: "10000 loops: 1192 => 48933 (+47741 ipis)",
    True: "10000 loops: 1069 => 1170 (+101 ipis)",
}
ROOT_CACHES = 32
PAGE = 4096
STEP = 16 << 20
ENOMEM = -12


def check(config: RunConfig, args: argparse.Namespace) -> None:
    """Refuse what this workload cannot do, before anything is started."""
    require_memcg_caches(config.kernel, "memcg-create")
    if config.loops is None:
        raise UsageError("--duration: memcg-create makes a number of memcgs; give --loops")
    if config.loops > MAX_LOOPS:
        raise UsageError(f"--loops: {config.loops}; Linux has ids for {MAX_LOOPS} memcgs, use at most so many")


def heap_bytes(size: int) -> int:
    """What a block of the metadata heap takes: its size class and a header."""
    if size <= 1024:
        return -(-max(size, 1) // 64) * 64 + 64
    shift = (size - 1).bit_length() - 1
    quarter = 1 << (shift - 2)
    return -(-size // quarter) * quarter + 64


def cache_bytes(limit: int, cpus: int, nodes: int) -> int:
    """Kernel metadata of one child cache."""
    header = STRUCTS["array_cache"].size - 8
    arrays = heap_bytes(cpus * (-(-(header + 8 * limit) // 64) * 64))
    shared = heap_bytes(header + 8 * SHARED_FACTOR * (limit + 1) // 2) if cpus > 1 else 0
    aliens = heap_bytes(8 * nodes) + (nodes - 1) * heap_bytes(STRUCTS["alien_cache"].size + 8 * 12) if nodes > 1 else 0
    cache = heap_bytes(STRUCTS["kmem_cache"].size + 8 * (cpus + nodes))
    return cache + arrays + nodes * (heap_bytes(STRUCTS["kmem_cache_node"].size) + shared + aliens)


def steps(size: int) -> int:
    """Memory is backed in steps of 16 MiB."""
    return -(-size // STEP) * STEP


def memory_need(config: RunConfig, args: argparse.Namespace) -> Need:
    """Array caches of 5 x loops children on all CPUs are most of it."""
    loops = config.loops or MAX_LOOPS
    cpus, nodes = config.cpus, config.nodes
    children = sum(cache_bytes(limit, cpus, nodes) for limit in LIMITS)
    memcg = heap_bytes(STRUCTS["mem_cgroup"].size) + 8
    # Arrays of children, one per root cache, doubled as ids run out; a shorter one is of no use for a longer.
    slots = ROOT_CACHES * 8 * 4 * loops
    # Histograms, lock statistics, the senders' csds; the kmalloc caches.
    machine = cpus * ((64 << 10) + 64 * cpus) + ROOT_CACHES * cache_bytes(LIMITS[0], cpus, nodes)
    ram = (loops * PAGES_PER_MEMCG + cpus * ROOT_CACHES) * PAGE
    # The array of struct page is backed up to the last node's first pages; each node's RAM begins a step of its own.
    pages = steps((config.memory if nodes > 1 else ram) // PAGE * STRUCTS["page"].size)
    rounding = nodes * steps(ram // nodes + STEP // 4) - ram
    return Need(STEP + steps(loops * (children + memcg) + slots + machine) + pages + rounding, ram)


def run(ctx: RunContext, args: argparse.Namespace) -> dict[str, Any]:
    """Run the script on one machine."""
    config = ctx.config
    loops = int(config.loops or 0)
    entry = loop.entry_points()
    major, minor = parse_version(config.kernel)[:2]
    seed = config.seed - (1 << 64) if config.seed >> 63 else config.seed
    with ctx.boot() as m:
        error = m.call(entry["set_up"], loops, seed, major * 1000 + minor, on=0)
        if error:
            raise ResourceError(out_of_memory(0, error))
        m.call(entry["start"], on=0)
        wait(ctx, m, loops, entry["stop"])
        found = loop.outcome()
        if found["error"]:
            raise ResourceError(out_of_memory(found["loops"], found["error"]))
        result = assemble(found, config.patches[SWITCH] == "on", kicks(config))
        judge(ctx, result)
    return result


def kicks(config: RunConfig) -> int:
    """How often a creation interrupts all other CPUs: for its arrays, and for its shared arrays in one early form.

    SLUB's caches have no arrays: never.
    """
    if config.allocator == "slub":
        return 0
    for_arrays = config.patches[SWITCH] == "off"
    for_shared = config.nodes if config.patches["shared-array-free"] == "kick" else 0
    return int(for_arrays) + for_shared


def wait(ctx: RunContext, m: Machine, loops: int, stop: int) -> None:
    """Wait for the task, showing how far it is. A signal ends it after the loop it is in."""
    stopped = False
    with ctx.progress("memcgs made and removed", 2 * loops) as bar:

        def look() -> None:
            nonlocal stopped
            _, made, removed, _ = loop.progress()
            bar.update(made + removed)
            if ctx.interrupted and not stopped:
                m.call(stop, on="coordinator")
                stopped = True

        m.wait_until(lambda: loop.progress()[0] == "done", poll=look)


def out_of_memory(made: int, error: int) -> str:
    """Say what ran out, and when."""
    what = "memory" if error == ENOMEM else f"error {error}"
    return f"memcg-create: {what} after {made} memcgs; raise --max-segment or --memory, or use fewer --loops"


def assemble(found: Mapping[str, Any], patched: bool, kicks: int) -> dict[str, Any]:
    """Make the result of what the task has read."""
    before, after = found["cal_before"], found["cal_after"]
    creations = found["creations"]
    wanted = [kicks * (sum(creations) - own) for own in creations]
    columns = [b - a for a, b in zip(before, after, strict=True)]
    return {
        "loops": found["loops"],
        "script": found["script"],
        "cal_cpu0": {"before": before[0], "after": after[0]},
        "cal_all": {"before": sum(before), "after": sum(after)},
        "creations": creations,
        "duplicates": found["duplicates"],
        "elapsed_ns": found["elapsed_ns"],
        "columns": columns,
        "expected": {"cpu0": wanted[0], "all": sum(wanted), "met": columns == wanted},
        "patched": patched,
        "kicks": kicks,
        "removal": {
            "removed": found["removed"],
            "dying": found["dying"],
            "ipis": sum(found["cal_removed"]) - sum(after),
            "elapsed_ns": found["removal_ns"],
        },
    }


def judge(ctx: RunContext, result: Mapping[str, Any]) -> None:
    """The counts are exact: whatever differs is a fault of the emulator."""
    creations, columns = result["creations"], result["columns"]
    whole, cpus = sum(creations), len(creations)
    if whole != CACHES * result["loops"]:
        ctx.violation("memcg-create", f"{whole} child caches for {result['loops']} memcgs, {CACHES} each were expected")
    for cpu, grown in enumerate(columns):
        wanted = result["kicks"] * (whole - creations[cpu])
        if grown != wanted:
            ctx.violation("memcg-create", f"CPU {cpu}: {grown} call interrupts, {wanted} were expected")
    removal = result["removal"]
    if ctx.config.allocator == "slub":  # its flushes depend on who holds a slab: emu run memcg-death counts them
        return
    wanted = 2 * CACHES * removal["removed"] * (cpus - 1)
    if removal["removed"] == result["loops"] and (removal["ipis"], removal["dying"]) != (wanted, 0):
        seen = f"{removal['ipis']} call interrupts and {removal['dying']} memcgs left"
        ctx.violation("memcg-create", f"removal: {seen}, {wanted} and 0 were expected")


def line(loops: int, reading: Mapping[str, int]) -> str:
    """What the script prints."""
    before, after = reading["before"], reading["after"]
    return f"{loops} loops: {before} => {after} (+{after - before} ipis)"


def render(result: Mapping[str, Any]) -> str:
    """The script's line, the published one, and the columns with what they must come to."""
    loops, cpus = result["loops"], len(result["creations"])
    expected, removal = result["expected"], result["removal"]
    formula = " x ".join(
        str(n) for n in (*([] if result["kicks"] == 1 else [result["kicks"]]), CACHES, loops, cpus - 1)
    )
    verdict = "met" if expected["met"] else "NOT met"
    made = f"{sum(result['creations'])} on {cpus} CPUs in {nanoseconds(result['elapsed_ns'])}"
    rows = [
        ("the script", line(loops, result["script"])),
        ("published", PUBLISHED[result["patched"]]),
        ("CPU 0", line(loops, result["cal_cpu0"])),
        ("all CPUs", line(loops, result["cal_all"])),
        ("expected", f"CPU 0 +{expected['cpu0']}, all CPUs +{expected['all']} ({formula}): {verdict}"),
        ("creations", f"{made}, {result['duplicates']} duplicates"),
        ("removal", f"{removal['removed']} memcgs, +{removal['ipis']} ipis in {nanoseconds(removal['elapsed_ns'])}"),
    ]
    return "\n".join(f"{name:<12}{text}" for name, text in rows)


def render_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """Patched first, as in the mail."""
    ordered = sorted(rows, key=lambda row: not row["patched"])
    return "\n\n".join(f"{'patched' if row['patched'] else 'unpatched'}\n{render(row)}" for row in ordered)
