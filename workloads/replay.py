"""Replay the allocations and frees that a real kernel made.

TRACE is the text of an ftrace recording with the kmem events, plain, .gz or .xz
(`emu record` says how to make one; - is standard input). Every kmalloc becomes
a kmalloc, every named cache is made with the size the trace gives, what was
accounted goes to a child memcg, pages go to the page allocator. The order of
what happens to one object is kept over all CPUs: a free on another CPU waits
for its allocation.

--map cpu keeps the trace's CPUs (CPU n runs on CPU n modulo --cpus), --map task
deals its threads to the CPUs, in the order they appear; auto is task if there
are more CPUs than the trace has, else cpu. --loops N, --events N or --duration
repeat the trace; between two passes what lives is freed.

The result, as JSON:

  events         lines of the trace that act
  allocs, matched_frees, unmatched_frees, null_frees, implied_frees
                 of one pass, by the trace: unmatched were allocated before it
                 began, implied are frees that it does not show
  live_expected  objects that live at the end, by the trace
  live_found     the same, counted from raw memory
  mismatches     where memory differs from the trace: 0, or it is a violation
  events_per_s   operations done per second, by all CPUs
  events_per_core_s   the same, per second of a host core that they used
  passes, operations, elapsed_ns
  pages          {allocs, frees, unmatched_frees, live_expected, live_found}
  assignment     {map, trace_cpus, tasks, cpus_used, memcgs, accounted}
  cost           {alloc, free, page_alloc, page_free}: cycles {mean, p50, ...}
  caches         a row for each kind of object: allocations, cycles, hit rates,
                 and of its cache (kinds may share one): list_lock acquisitions,
                 children made for memcgs, and the interrupts that took
  waits          {count, slept, wait_ns}: for another CPU's operation
  trace          what else was counted while it was read

examples:
  emu run replay tests/traces/gcc-build.txt.xz --cpus 2
  emu run replay trace.txt --cpus 64 --events 10000000 --json | jq .result
  trace-cmd report | emu run replay - --timing recorded
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emu.errors import NotSupportedError, ResourceError, UsageError
from emu.format import count, nanoseconds, significant, table
from emu.patches import parse_version, require_memcg_caches
from emu.progress import Progress, wanted
from emu.units import parse_integer
from emu.workload import Need
from workloads import _replay_judge as judge
from workloads import replay_setup_loop as loop
from workloads._replay_trace import Trace, parse

if TYPE_CHECKING:
    from emu.config import RunConfig
    from emu.context import RunContext
    from emu.machine import Machine

DEFAULTS = {"cpus": 2, "memory": 1 << 30, "lock-detail": True}
MAX_EVENTS = 10**12
LIMITS = ((131072, 1), (4096, 8), (1024, 24), (256, 54))  # objects per CPU array, by object size

_parsed: dict[tuple[str, int, str, bool], Trace] = {}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Its own options."""
    parser.add_argument("recording", metavar="TRACE", help="text of a trace, plain, .gz or .xz; - is standard input")
    own = parser.add_argument_group("replay")
    own.add_argument(
        "--map",
        choices=("auto", "cpu", "task"),
        default="auto",
        help="by the trace's CPUs, by its threads, or as fits (default auto)",
    )
    own.add_argument(
        "--timing", choices=("fast", "recorded"), default="fast", help="as fast as possible (default), or as it was"
    )
    own.add_argument("--memcg-per-task", action="store_true", help="a memcg for each thread, instead of one for all")
    own.add_argument("--events", metavar="N", help="repeat the trace until N operations are done, 1 to 10^12")


def parsed(config: RunConfig, args: argparse.Namespace) -> Trace:
    """The trace of the command line; read once, however often it is run."""
    key = (args.recording, config.cpus, args.map, args.memcg_per_task)
    if key not in _parsed:
        with Progress("bytes read", None, wanted(args.quiet)) as bar:

            def poll(done: int, whole: int) -> None:
                bar.total = whole or None
                bar.update(done)

            _parsed[key] = parse(*key, poll)
    return _parsed[key]


def check(config: RunConfig, args: argparse.Namespace) -> None:
    """Refuse what cannot be, and read the trace: it must be known before memory is."""
    if args.events is not None:
        if config.loops is not None or config.duration is not None:
            raise UsageError("--events: --loops or --duration is given too; give one of them")
        wanted_events(args)
    parsed(config, args)


def wanted_events(args: argparse.Namespace) -> int:
    """--events as a number; 0 if it is not given."""
    if args.events is None:
        return 0
    try:
        number = parse_integer(args.events)
    except ValueError as error:
        raise UsageError(f"--events: {args.events!r} {error}") from None
    if not 1 <= number <= MAX_EVENTS:
        raise UsageError(f"--events: {number} is not from 1 to 10^12")
    return number


def array_limit(size: int) -> int:
    """Objects that a CPU's array of a cache holds."""
    return next((limit for least, limit in LIMITS if size > least), 120)


def memory_need(config: RunConfig, args: argparse.Namespace) -> Need:
    """What lives at the peak, what CPUs keep in their arrays, and the arrays themselves."""
    trace = parsed(config, args)
    used = [kind for kind in trace.kinds if kind.allocs]
    busy = sum(records > 0 for _, records in trace.streams)
    kept = sum(min(busy * array_limit(kind.size) // 2, kind.allocs) * kind.size for kind in used)
    slabs = sum(max(4096, 2 * kind.size) for kind in used)
    ram = trace.counts["peak_bytes"] * 5 // 4 + kept + slabs + (4 << 20)
    arrays = sum(config.cpus * (64 + 8 * array_limit(kind.size)) for kind in trace.kinds)
    arrays *= 1 + (trace.numbers["memcgs"] if accounts(config) else 0)
    own = 16 * trace.numbers["slots"] + busy * (24 << 10) + busy * 32 * len(trace.kinds)
    machine = (32 << 20) + config.cpus * ((128 << 10) + 64 * config.cpus)
    return Need(arrays + own + machine, ram)


def accounts(config: RunConfig) -> bool:
    """Whether this kernel has caches of memcgs."""
    try:
        require_memcg_caches(config.kernel, "replay")
    except NotSupportedError:
        return False
    return True


def run(ctx: RunContext, args: argparse.Namespace) -> dict[str, Any]:
    """Replay it on one machine, and hold the machine's memory against the trace."""
    trace = parsed(ctx.config, args)
    warn_of_trace(ctx, trace)
    with ctx.boot() as m:
        caches = make_caches(m, trace)
        set_up(ctx, m, trace, caches, args)
        before = judge.Snapshot.take(m)
        m.call(loop.entry_points()["start"], on=0)
        wait(ctx, m, trace, args)
        m.call(loop.entry_points()["flush_creations"], on=0)
        result = judge.result(m, trace, caches, before)
    ctx.partial = result
    failed = result["failed_allocs"]
    if failed:
        have = ctx.config.memory >> 20
        raise ResourceError(f"replay: {failed} allocations found no memory; raise --memory (it is {have}M)")
    if result["mismatches"]:
        ctx.violation("replay", f"{result['mismatches']} mismatches: {'; '.join(result['details'][:3])}")
    return result


def warn_of_trace(ctx: RunContext, trace: Trace) -> None:
    """What a reader of the figures should know of the trace."""
    c, n = trace.counts, trace.numbers
    if c["lost_markers"] or c["overwritten"]:
        lost = c["lost_events"] + c["overwritten"]
        ctx.warn(f"{trace.path}: {lost or 'some'} events were lost; frees may be unmatched or implied for it")
    if c["truncated"]:
        ctx.warn(f"{trace.path}: its last line has no end and was left out")
    if c["unknown_lines"]:
        ctx.warn(f"{trace.path}:{n['first_unknown']}: not a line of a trace; {c['unknown_lines']} such were left out")
    if c["backwards"]:
        ctx.warn(f"{trace.path}: time goes backwards {c['backwards']} times; the order of the lines is what counts")
    if c["accounted"] and not accounts(ctx.config):
        ctx.warn(f"Linux {ctx.config.kernel} has no caches of memcgs: nothing is accounted")


def make_caches(m: Machine, trace: Trace) -> list[int]:
    """Make the named caches that the trace allocates from; the address per kind, 0 for kmalloc."""
    found = []
    names: dict[str, int] = {}
    for kind in trace.kinds:
        address = 0
        if kind.name:
            # The same name with another size is another cache.
            names[kind.name] = names.get(kind.name, 0) + 1
            name = kind.name if names[kind.name] == 1 else f"{kind.name}-{kind.size}"
            address = m.kmem_cache_create(name, kind.size, on=0).address
        found.append(address)
    return found


def set_up(ctx: RunContext, m: Machine, trace: Trace, caches: list[int], args: argparse.Namespace) -> None:
    """Build the replay in the segment."""
    events = wanted_events(args)
    loops = -(-events // max(trace.operations, 1)) if events else ctx.config.loops or 0
    seconds = ctx.config.duration or 0.0
    if not loops and not seconds:
        loops = 1
    memcgs = trace.numbers["memcgs"] if accounts(ctx.config) else 0
    made = loop.prepare(trace, caches, loops, seconds, args.timing == "recorded")
    if made and memcgs:
        made = loop.room_for_memcgs(memcgs)
        major, minor = parse_version(ctx.config.kernel)[:2]
        made = made and m.call(loop.entry_points()["make_memcgs"], major * 1000 + minor, on=0) == 0
    if not made:
        raise ResourceError("replay: the segment is full before the replay begins; raise --max-segment")
    if ctx.config.lock_detail:
        loop.detail_locks()


def wait(ctx: RunContext, m: Machine, trace: Trace, args: argparse.Namespace) -> None:
    """Wait for all CPUs, showing how far they are; a signal ends the replay where it is."""
    events = wanted_events(args) or trace.operations * (ctx.config.loops or 1)
    stopped = False
    with ctx.progress("operations", None if ctx.config.duration else events) as bar:

        def look() -> None:
            nonlocal stopped
            bar.update(loop.progress()[1])
            if ctx.interrupted and not stopped:
                m.call(loop.entry_points()["stop"], on="coordinator")
                stopped = True

        m.wait_until(lambda: loop.progress()[0] == 0, poll=look)


def render(result: Mapping[str, Any]) -> str:
    """The counts, the costs, and the caches that were used most."""
    a, w = result["assignment"], result["waits"]
    verdict = f"{result['mismatches']} mismatches" if result["mismatches"] else "memory agrees with the trace"
    names = ("allocs", "matched_frees", "unmatched_frees", "null_frees", "implied_frees")
    rows = [
        ("trace", f"{result['events']} events; " + ", ".join(f"{result[k]} {k.replace('_', ' ')}" for k in names)),
        ("live", f"{result['live_found']} objects found, {result['live_expected']} expected: {verdict}"),
        ("pages", f"{result['pages']['allocs']} blocks allocated, {result['pages']['live_found']} live at the end"),
        ("CPUs", f"{a['trace_cpus']} in the trace, {a['cpus_used']} used, by {a['map']} ({a['tasks']} threads)"),
        (
            "done",
            f"{count(result['operations'])} operations in {result['passes']} passes, "
            f"{nanoseconds(result['elapsed_ns'])}",
        ),
        (
            "rate",
            f"{count(result['events_per_s'])}/s, {count(result['events_per_core_s'])} for each second of a host core",
        ),
        ("waits", f"{count(w['count'])} for another CPU, {count(w['slept'])} asleep, {nanoseconds(w['wait_ns'])}"),
    ]
    head = "\n".join(f"{name:<8}{text}" for name, text in rows)
    return f"{head}\n\n{render_costs(result)}\n\n{render_caches(result)}"


def render_costs(result: Mapping[str, Any]) -> str:
    """Cycles of each kind of operation."""
    rows = [
        (name.replace("_", " "), count(c["count"]), *(significant(c[key]) for key in ("mean", "p50", "p90", "p99")))
        for name, c in result["cost"].items()
    ]
    return table(("cycles", "count", "mean", "p50", "p90", "p99"), rows)


def render_caches(result: Mapping[str, Any], most: int = 12) -> str:
    """The kinds with most allocations."""
    ordered = sorted(result["caches"], key=lambda row: -row["allocs"])
    rows = [
        (
            row["name"][:20],
            count(row["allocs"]),
            significant(row["alloc_cycles"]),
            significant(row["free_cycles"]),
            percent(row["alloc_hit_rate"]),
            percent(row["free_hit_rate"]),
            count(row["list_lock"]),
            count(row["ipis"]),
        )
        for row in ordered[:most]
    ]
    more = f"\n({len(ordered) - most} more caches with --json)" if len(ordered) > most else ""
    return table(("cache", "allocs", "cycles", "free", "hits", "free hits", "list_lock", "ipis"), rows) + more


def percent(share: float | None) -> str:
    """0.987 -> 98.7 %."""
    return "-" if share is None else f"{100 * share:.1f} %"
