"""What draining the per-CPU page lists costs when memory runs out.

"mm: only IPI CPUs to drain local pages if they exist" (Gilad Ben-Yossef, 2012,
merged in Linux 3.4) ran hackbench until the OOM killer acted, and counted the
drains of all CPUs' page lists that needed fewer than half of the CPUs, with two
counters in the last lines of /proc/vmstat:

  4 CPUs, v6, whose mask was wrong:  pcp_global_drain 627, pcp_global_ipi_saved 578
  8 CPUs, v7, the right mask:        pcp_global_drain 3647, pcp_global_ipi_saved 3642

and direct reclaim one order of magnitude shorter. Here as many pairs of senders
and receivers (--pairs) run on the CPUs. A message costs two slab objects and a
page; each sender walks a working set of pages that may be reclaimed. First the
working sets fit into memory (calm), then they do not, until --loops drains were
made (pressure), then nobody receives any more, until the OOM killer acts.
The default --memory is large enough for lists as long as those of a real machine.

`saved` counts calls, not interrupts, by the thread's definition: fewer than half
of the online CPUs, rounded down, had pages. Only a CPU that ran since the last
drain can have pages, and no more CPUs run at once than the host has cores. So the
calm phase is looked at, too: if fewer than half of the CPUs held pages there in
more than half of the looks, the lists are empty for want of cores and not because
of the drains, and the row is marked `empty lists`.

The result, as JSON, is rows of

  variant, drains, saved, skipped, saved_share
                  skipped: left to the drain under way; the share is of the others
  ipis_sent, ipis_avoided, avoided {empty, offline, self, other}
                  of all possible CPUs of all drains
  reclaims, reclaim_p50_ns, reclaim_p99_ns, reclaim_max_ns, reclaim_mean_ns
                  of direct reclaims that reclaimed something, with their drains
  drain_p50_ns, drain_p99_ns, drain_max_ns
  oom_kills, victim_ns   and the longest that a victim took to give all back
  failed, failed_with_pages
                  requests that found nothing; while pages lay on CPUs' lists
  weights, ran    drains by CPUs that were asked, and by CPUs that had allocated
                  or freed pages since the drain before
  calm, pressure  looks at all lists, by CPUs that held pages; empty_lists
  cal {before, after}    function call interrupts of each CPU
  lock            {acquisitions, contended, wait_max_ns} of what guards the drain
  vmstat          its last two lines

examples:
  emu run oom-drain --cpus 8 --both
  emu run oom-drain --cpus 8 --variants --loops 500
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cpus import page_faces, status
from emu.errors import ResourceError, UsageError
from emu.format import count, nanoseconds, table
from emu.units import parse_integer
from emu.workload import Need
from workloads import oom_drain_loop as loop

if TYPE_CHECKING:
    from emu.config import RunConfig
    from emu.context import RunContext
    from emu.machine import Machine

DEFAULTS = {"kernel": "3.4", "cpus": 8, "loops": 1000, "memory": 512 << 20}
SWITCH = "pcp-drain"
BOTH = ("all", "mask-merged")
JUDGES = False  # pcp-race does
REASONS = ("empty", "offline", "self", "other")
CALM, PRESSURE, EXHAUST, STOP = range(4)
CALM_SECONDS = 1.0
PRESSURE_SECONDS = 30.0
EXHAUST_SECONDS = 60.0
CALM_SHARE, PRESSURE_SHARE = 0.5, 1.3  # of RAM, all working sets together
LEAST_MEMORY = 256 << 20
MAX_PAIRS = 2048
PUBLISHED = (
    "published: 627 drains, 578 saved (92 %) on 4 CPUs with v6's mask; 3647, 3642 (99.9 %) on 8 with the right one;\n"
    "           direct reclaim shorter by one order of magnitude"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    own = parser.add_argument_group("oom-drain")
    own.add_argument("--pairs", metavar="N", help=f"senders and receivers, 1 to {MAX_PAIRS} (default: 2 for each CPU)")


def pairs(config: RunConfig, args: argparse.Namespace) -> int:
    """--pairs as a number; UsageError if it cannot be."""
    if args.pairs is None:
        return min(2 * config.cpus, MAX_PAIRS)
    try:
        number = parse_integer(args.pairs)
    except ValueError as error:
        raise UsageError(f"--pairs: {args.pairs!r} {error}") from None
    if not 1 <= number <= MAX_PAIRS:
        raise UsageError(f"--pairs: {number} is not from 1 to {MAX_PAIRS}")
    return number


def check(config: RunConfig, args: argparse.Namespace) -> None:
    """Refuse what cannot be, before anything is started."""
    pairs(config, args)
    if config.loops is None:
        raise UsageError("--duration: oom-drain makes a number of drains; give --loops")
    if config.memory < LEAST_MEMORY:
        raise UsageError(
            f"--memory: {config.memory >> 20}M; the lists of so small zones are shorter than what one reclaim brings, "
            f"so there would be no drains: use at least {LEAST_MEMORY >> 20}M"
        )


def memory_need(config: RunConfig, args: argparse.Namespace) -> Need:
    """All RAM is used; the words of the working sets, and the machine's own."""
    words = int(config.memory * PRESSURE_SHARE) // 4096 * 8
    machine = (48 << 20) + config.cpus * ((128 << 10) + 64 * config.cpus)
    return Need(machine + config.memory // 64 + words, config.memory)


def run(ctx: RunContext, args: argparse.Namespace) -> dict[str, Any]:
    """One storm on one machine."""
    number = pairs(ctx.config, args)
    frames = ctx.config.memory // 4096
    sizes = [max(int(frames * share) // number, 1) for share in (CALM_SHARE, PRESSURE_SHARE)]
    entry = loop.entry_points()
    with ctx.boot() as m:
        if m.call(entry["set_up"], number, *sizes, on=0) or not page_faces.watch_drains():
            raise ResourceError("oom-drain: the segment is full before it begins; raise --max-segment")
        m.call(entry["start"], on="coordinator")
        before = phases(ctx, m, entry["set_phase"])
        row = assemble(ctx, m, before)
    if row["failed"] and not row["oom_kills"]:
        ctx.warn(f"{row['variant']}: {row['failed']} requests failed, and nobody was killed")
    return {"rows": [row]}


def phases(ctx: RunContext, m: Machine, set_phase: int) -> list[int]:
    """Calm, pressure, exhaustion, end. Each CPU's call interrupts when the pressure began."""
    m.wait_until(lambda: ctx.interrupted, timeout=CALM_SECONDS)
    before = list(m.interrupts()["CAL"])
    wanted = ctx.config.loops or 0
    m.call(set_phase, PRESSURE, on="coordinator")
    with ctx.progress("drains", wanted) as bar:

        def enough() -> bool:
            bar.update(page_faces.watched_drains()["drains"])
            return ctx.interrupted or page_faces.watched_drains()["drains"] >= wanted

        if not m.wait_until(enough, timeout=PRESSURE_SECONDS):
            made = page_faces.watched_drains()["drains"]
            ctx.warn(f"{made} drains in {PRESSURE_SECONDS:.0f} s, {wanted} were wanted")
    m.call(set_phase, EXHAUST, on="coordinator")
    if not m.wait_until(lambda: ctx.interrupted or m.vmstat()["oom_kill"] > 0, timeout=EXHAUST_SECONDS):
        ctx.warn(f"memory was not exhausted in {EXHAUST_SECONDS:.0f} s: nobody was killed")
    m.call(set_phase, STOP, on="coordinator")
    m.wait_until(lambda: loop.running() == 0)
    return before


def half_share(samples: Sequence[int], cpus: int) -> float | None:
    """Share of the looks that found at least half of the CPUs with pages."""
    whole = sum(samples)
    return sum(samples[(cpus + 1) // 2 :]) / whole if whole else None


def mean_ns(name: str) -> int | None:
    """Mean of a latency, in nanoseconds."""
    found = status.latencies()[name]
    return found["total"] * 1000 // found["count"] // status.header()["cycles_per_us"] if found["count"] else None


def assemble(ctx: RunContext, m: Machine, before: list[int]) -> dict[str, Any]:
    """The row of one variant."""
    from emu import observe

    found, drains, vmstat = loop.outcome(), page_faces.watched_drains(), m.vmstat()
    latency, lock = observe.latency(), observe.locks().get("pcpu_drain_mutex")
    reclaim, drain = latency.get("reclaim", {}), latency.get("drain", {})
    avoided = {why: vmstat[f"ipis_avoided_{why}"] for why in REASONS}
    calls, saved = vmstat["pcp_global_drain"], vmstat["pcp_global_ipi_saved"]
    skipped = vmstat["pcp_drain_skipped"]
    calm = half_share(found["calm"], m.cpus)
    return {
        "variant": ctx.config.patches[SWITCH],
        "drains": calls,
        "saved": saved,
        "saved_share": saved / (calls - skipped) if calls > skipped else None,
        "skipped": skipped,
        "ipis_sent": vmstat["ipis_sent"],
        "ipis_avoided": sum(avoided.values()),
        "avoided": avoided,
        "reclaims": reclaim.get("count", 0),
        **{f"reclaim_{name}": reclaim.get(name) for name in ("p50_ns", "p99_ns", "max_ns")},
        "reclaim_mean_ns": mean_ns("reclaim"),
        **{f"drain_{name}": drain.get(name) for name in ("p50_ns", "p99_ns", "max_ns")},
        "oom_kills": vmstat["oom_kill"],
        **{name: found[name] for name in ("victim_ns", "failed", "failed_with_pages", "sent", "received", "faults")},
        "pgscan_direct": vmstat["pgscan_direct"],
        "pgsteal_direct": vmstat["pgsteal_direct"],
        "weights": drains["weights"],
        "ran": drains["ran"],
        "rescued": drains["rescued"],
        "calm": {"samples": found["calm"], "half_share": calm},
        "pressure": {"samples": found["pressure"], "half_share": half_share(found["pressure"], m.cpus)},
        "empty_lists": calm is None or calm < 0.5,
        "cal": {"before": before, "after": list(m.interrupts()["CAL"])},
        "lock": lock
        and {
            "acquisitions": lock["acquisitions"],
            "contended": lock["contended"],
            "wait_max_ns": lock["wait_ns"]["max"],
        },
        "vmstat": f"pcp_global_drain {calls}\npcp_global_ipi_saved {saved}\n",
    }


def render(result: Mapping[str, Any]) -> str:
    """The table, and below it what it stands on."""
    return render_rows(result["rows"])


def percent(share: float | None) -> str:
    """0.987 -> 98.7 %."""
    return "-" if share is None else f"{100 * share:.1f} %"


def distribution(numbers: Sequence[int]) -> str:
    """`0: 12 %, 1: 80 %`: which counts were seen how often."""
    whole = sum(numbers)
    seen = [f"{i}: {100 * n / whole:.0f} %" for i, n in enumerate(numbers) if n]
    return ", ".join(seen) if len(seen) <= 12 else ", ".join([*seen[:6], "...", *seen[-5:]])


def render_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each variant; the published figures; each variant's own observations."""
    head = ("pcp-drain", "drains", "saved", "IPIs", "avoided", "reclaim p50", "p99", "mean", "drain p50")
    lines = [
        (
            row["variant"],
            count(row["drains"]),
            percent(row["saved_share"]) + (" (empty lists)" if row["empty_lists"] else ""),
            count(row["ipis_sent"]),
            count(row["ipis_avoided"]),
            *(nanoseconds(row[f"reclaim_{name}_ns"]) for name in ("p50", "p99", "mean")),
            nanoseconds(row["drain_p50_ns"]),
        )
        for row in rows
    ]
    parts = [f"{table(head, lines)}\n{PUBLISHED}"]
    parts += [ratio_line(rows)] if len(rows) > 1 and ratio_line(rows) else []
    return "\n\n".join([*parts, *(details(row) for row in rows)])


def ratio_line(rows: Sequence[Mapping[str, Any]]) -> str:
    """How much shorter direct reclaim is than with `all`."""
    base = next((row for row in rows if row["variant"] == "all"), None)
    if base is None or not base["reclaim_p50_ns"]:
        return ""
    others = [row for row in rows if row is not base and row["reclaim_p50_ns"]]
    lines = []
    for what in ("p50", "mean"):
        key = f"reclaim_{what}_ns"
        ratios = ", ".join(f"{row['variant']} {base[key] / row[key]:.1f}" for row in others)
        lines.append(f"direct reclaim, {what}: times shorter than with all: {ratios}")
    return "\n".join(lines)


def details(row: Mapping[str, Any]) -> str:
    """What the figures of one variant stand on."""
    cal = row["cal"]
    lines = [
        *row["vmstat"].splitlines(),
        f"CAL before  {' '.join(f'{n:6}' for n in cal['before'])}",
        f"CAL after   {' '.join(f'{n:6}' for n in cal['after'])}",
        f"CPUs asked by a drain: {distribution(row['weights'])}",
        f"CPUs that were at pages since the drain before: {distribution(row['ran'])}",
        f"CPUs with pages, calm: {distribution(row['calm']['samples'])}; under pressure: "
        f"{distribution(row['pressure']['samples'])}",
        f"half of the CPUs or more had pages in {percent(row['calm']['half_share'])} of the looks while it was calm",
        f"{count(row['failed'])} requests failed, {count(row['failed_with_pages'])} while pages lay on lists: without "
        "progress there is no drain",
        f"{row['oom_kills']} OOM kills, a victim was gone in {nanoseconds(row['victim_ns'])}; direct reclaim took "
        f"{nanoseconds(row['reclaim_max_ns'])} at most; {count(row['skipped'])} drains left it to another",
    ]
    return "\n".join([row["variant"], *(f"  {line}" for line in lines)])
