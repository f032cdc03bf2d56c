"""Which CPUs a drain of the per-CPU page lists misses, when several drain at once.

"mm: only IPI CPUs to drain local pages if they exist" (Gilad Ben-Yossef, 2012)
interrupts only CPUs that have pages on their lists. Its mask of those CPUs is
static, shared by all callers and guarded by nobody; its review (Milton Miller,
2012-01-11) found CPUs that are missed, and named other ways to guard it.

Two CPUs (--drainers) call drain_all_pages as fast as they can. The others put
pages on their lists and leave them there until they are gone. A CPU is *missed*
if it had pages on its lists before a call began, did not touch them, was online,
and has them still when the call returns. A call that leaves it to another one
that is under way is *skipped*: it promises nothing.

Random delays of up to 60 us widen the windows between a look at a CPU, the store
to the mask, and the interrupts; --delays off leaves them as they are.

The default --memory is beyond 4 GiB, so that there are two zones whose lists keep
pages: the lists of ZONE_DMA are too short for any.

The result, as JSON, is rows of

  variant         value of pcp-drain
  drains          calls, skipped ones too
  skipped         calls that left it to another
  missed          (call, CPU) pairs
  missed_cpus     CPUs that were missed at least once
  pages_left      pages that were still on those lists, summed
  held            times that a CPU put pages on its lists
  ipis_sent, ipis_avoided
                  interrupts of the drains, and {empty, offline, self, other}
  drain_p50_ns, drain_p99_ns, drain_max_ns
  lock            {acquisitions, contended, wait_p99_ns, wait_max_ns} of what guards it
  interleaving    of the first miss, from the event rings: [{us, cpu, event}]

A violation (exit 2) is a variant that missed a CPU and should not have: --variants
judges each by its `safe`.

examples:
  emu run pcp-race --patch pcp-drain=mask-clear-set --duration 10s
  emu run pcp-race --variants --duration 5s
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cpus import status
from cpus.layout import CONSTANTS
from emu.errors import ResourceError, UsageError
from emu.format import count, nanoseconds, table
from emu.units import parse_integer
from workloads import pcp_race_loop as loop

if TYPE_CHECKING:
    from emu.config import RunConfig
    from emu.context import RunContext
    from emu.machine import Machine

DEFAULTS = {"kernel": "3.4", "cpus": 4, "memory": (4 << 30) + (256 << 20), "duration": 5.0, "trace": 4096}
SWITCH = "pcp-drain"
BOTH = ("mask-clear-set", "mask-merged")
DELAY_SWITCH = CONSTANTS["SWITCH_DELAY"]
REASONS = ("empty", "offline", "self", "other")
EVENTS = {
    CONSTANTS["EV_DRAIN_BEGIN"]: "drain_all_pages begins",
    CONSTANTS["EV_DRAIN_SEND"]: "sends to {0} CPUs",
    CONSTANTS["EV_DRAIN_END"]: "drain_all_pages returns",
    CONSTANTS["EV_MASK_CLEAR"]: "clears the mask",
    CONSTANTS["EV_MASK_SET_CPU"]: "sets CPU {0}",
    CONSTANTS["EV_MASK_CLEAR_CPU"]: "clears CPU {0}",
    CONSTANTS["EV_DRAIN_PAGES"]: "gives {0} pages back",
    CONSTANTS["EV_DRAIN_MISSED"]: "CPU {0} was missed",
    CONSTANTS["EV_MM_PAGE_FREE"]: "frees a page to its list",
    CONSTANTS["EV_LOCK_WAIT"]: "waits for a lock",
}
SHOWN = 40


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    own = parser.add_argument_group("pcp-race")
    own.add_argument("--drainers", default="2", metavar="N", help="CPUs that drain, 1 to --cpus - 1 (default 2)")
    own.add_argument("--until-miss", action="store_true", help="end at the first CPU that is missed")
    own.add_argument(
        "--delays", choices=("on", "off"), default="on", help="random micro-delays that widen the races (default on)"
    )


def drainers(config: RunConfig, args: argparse.Namespace) -> int:
    """--drainers as a number; UsageError if it cannot be."""
    try:
        number = parse_integer(args.drainers)
    except ValueError as error:
        raise UsageError(f"--drainers: {args.drainers!r} {error}") from None
    if not 1 <= number < config.cpus:
        raise UsageError(f"--drainers: {number} of {config.cpus} CPUs; 1 to {config.cpus - 1}, and the rest hold pages")
    return number


def check(config: RunConfig, args: argparse.Namespace) -> None:
    """Refuse what cannot be, before anything is started."""
    if config.cpus < 2:
        raise UsageError(f"--cpus: {config.cpus}; one CPU drains and another holds pages, use at least 2")
    if not config.trace:
        raise UsageError("--trace: 0; the interleaving of a miss is read from the event rings, use at least 64")
    drainers(config, args)


def run(ctx: RunContext, args: argparse.Namespace) -> dict[str, Any]:
    """Race on one machine, for a time or a number of drains."""
    from ipc import memory

    seed = ctx.config.seed - (1 << 64) if ctx.config.seed >> 63 else ctx.config.seed
    with ctx.boot() as m:
        entry = loop.entry_points()
        if m.call(entry["set_up"], drainers(ctx.config, args), seed, on="coordinator"):
            raise ResourceError("pcp-race: the segment is full before it begins; raise --max-segment")
        memory.set_switch(DELAY_SWITCH, int(args.delays == "on"))
        m.call(entry["start"], on="coordinator")
        wait(ctx, m, entry["stop"], args.until_miss)
        memory.set_switch(DELAY_SWITCH, 0)
        row = assemble(ctx, m)
    if row["missed"]:
        ctx.violation("I8", f"{row['variant']}: {row['missed']} times a drain missed a CPU that had pages before it")
    return {"rows": [row]}


def wait(ctx: RunContext, m: Machine, stop: int, until_miss: bool) -> None:
    """Let them race, showing how far they are."""
    wanted, seconds = ctx.config.loops, ctx.config.duration
    with ctx.progress("drains", wanted) as bar:

        def enough() -> bool:
            _, calls, missed = loop.progress()
            bar.update(calls)
            return ctx.interrupted or (until_miss and missed) or (wanted is not None and calls >= wanted)

        m.wait_until(enough, timeout=seconds)
        m.call(stop, on="coordinator")
        m.wait_until(lambda: loop.progress()[0] == 0)


def assemble(ctx: RunContext, m: Machine) -> dict[str, Any]:
    """The row of one variant."""
    from emu import observe

    found, vmstat = loop.outcome(), m.vmstat()
    drain = observe.latency().get("drain", {})
    lock = observe.locks().get("pcpu_drain_mutex")
    return {
        "variant": ctx.config.patches[SWITCH],
        **{name: found[name] for name in ("drains", "skipped", "missed", "pages_left", "held")},
        "missed_cpus": sorted(found["missed_of"]),
        "ipis_sent": vmstat["ipis_sent"],
        "ipis_avoided": {why: vmstat[f"ipis_avoided_{why}"] for why in REASONS},
        **{f"drain_{name}": drain.get(name) for name in ("p50_ns", "p99_ns", "max_ns")},
        "lock": None
        if lock is None
        else {
            "acquisitions": lock["acquisitions"],
            "contended": lock["contended"],
            "wait_p99_ns": lock["wait_ns"]["p99"],
            "wait_max_ns": lock["wait_ns"]["max"],
        },
        "interleaving": interleaving(m, found["first_miss"]),
    }


def interleaving(m: Machine, miss: Mapping[str, int] | None) -> list[dict[str, Any]]:
    """What the CPUs did while the first call that missed one was under way, and shortly before."""
    if miss is None:
        return []
    per_us = status.header()["cycles_per_us"]
    first = miss["begun"] - 200 * per_us
    rows = []
    for number in range(m.cpus):
        for cycles, event, argument in status.last_events(number, 1 << 20):
            if first <= cycles <= miss["ended"] and event in EVENTS:
                rows.append((cycles, number, EVENTS[event].format(argument)))
    rows.sort()
    return [
        {"us": round((cycles - miss["begun"]) / per_us, 2), "cpu": number, "event": text}
        for cycles, number, text in rows[-SHOWN:]
    ]


def render(result: Mapping[str, Any]) -> str:
    """The table, and the interleaving of the first miss."""
    return render_rows(result["rows"])


def render_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each variant; below, how the first that was missed came about."""
    head = ("pcp-drain", "safe", "drains", "skipped", "missed", "pages", "IPIs", "avoided", "p50", "p99", "lock waits")
    lines = [
        (
            row["variant"],
            row.get("safe", "-"),
            count(row["drains"]),
            count(row["skipped"]),
            count(row["missed"]),
            count(row["pages_left"]),
            count(row["ipis_sent"]),
            count(sum(row["ipis_avoided"].values())),
            nanoseconds(row["drain_p50_ns"]),
            nanoseconds(row["drain_p99_ns"]),
            "-" if row["lock"] is None else count(row["lock"]["contended"]),
        )
        for row in rows
    ]
    parts = [table(head, lines)]
    for row in rows:
        if row["interleaving"]:
            steps = [f"  {step['us']:10.2f} us  CPU {step['cpu']:<3} {step['event']}" for step in row["interleaving"]]
            parts.append("\n".join([f"{row['variant']}: the first miss, from the beginning of its call", *steps]))
    return "\n\n".join(parts)
