"""What came of a replay: the machine's memory and counts against those of the trace."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workloads import replay_check_loop as memory
from workloads import replay_setup_loop as loop
from workloads._replay_trace import Trace

if TYPE_CHECKING:
    from emu.machine import Machine

FIXED = ("events", "allocs", "matched_frees", "unmatched_frees", "null_frees", "implied_frees")
# What the CPUs count, and what the trace calls it.
OPERATIONS = {
    "allocs": "allocs",
    "null_frees": "null_frees",
    "implied_frees": "implied_frees",
    "page_allocs": "page_allocs",
    "page_frees": "matched_page_frees",
    "implied_page_frees": "implied_page_frees",
}
REST = [
    *("lines", "other_events", "unknown_lines", "null_allocs", "null_page_allocs", "other_cache_frees"),
    *("other_order_frees", "accounted", "cross_cpu_frees"),
    *("lost_markers", "lost_events", "overwritten", "backwards", "truncated"),
]


@dataclass
class Snapshot:
    """What the machine held and had counted at one moment."""

    holdings: dict[int, int]
    figures: dict[int, dict[str, Any]]
    ipis: int

    @classmethod
    def take(cls, m: Machine) -> Snapshot:
        """Look now; the machine is at rest."""
        figures = {row["address"]: row for row in memory.cache_figures()}
        return cls(memory.holdings(), figures, sum(m.interrupts()["CAL"]))


def result(m: Machine, trace: Trace, caches: list[int], before: Snapshot) -> dict[str, Any]:
    """Make the result of a replay that has ended, whole or interrupted."""
    after = Snapshot.take(m)
    rows = loop.cpus()
    done: Counter[str] = Counter()
    for row in rows:
        done.update(row["ops"])
    passes = max(row["passes"] for row in rows)
    operations = sum(row["records"] for row in rows)
    elapsed = max(1, *(row["elapsed_ns"] for row in rows))
    whole = operations == trace.operations * passes + (passes - 1) * ending(trace)
    slots = memory.live_slots(trace.parser)
    details = list(slots["bad"])
    if whole:
        details += count_details(done, trace, passes)
    live = live_counts(trace, caches, slots, whole)
    found = {address: after.holdings.get(address, 0) - before.holdings.get(address, 0) for address in after.holdings}
    for address in live.keys() | found.keys():
        if live.get(address, 0) != found.get(address, 0):
            name = after.figures[address]["name"] if address in after.figures else hex(address)
            out, wanted = found.get(address, 0), live.get(address, 0)
            details.append(f"{name}: {out} objects are handed out, {wanted} by the trace")
    corrupt = sum(row["corrupt"] for row in rows)
    if corrupt:
        details.append(f"{corrupt} objects did not hold what was written into them")
    rate = operations * 1e9 / elapsed
    return {
        **{name: trace.counts[name] for name in FIXED},
        "live_expected": sum(live.values()),
        "live_found": sum(found.values()),
        "mismatches": len(details),
        "events_per_s": rate,
        "events_per_core_s": operations * 1e9 / max(1, sum(row["cpu_ns"] for row in rows)),
        "passes": passes,
        "operations": operations,
        "elapsed_ns": elapsed,
        "complete": whole,
        "failed_allocs": sum(row["failed"] for row in rows),
        "pages": page_figures(trace, slots, whole),
        "assignment": assignment(trace, rows),
        "cost": loop.costs(),
        "caches": cache_rows(trace, caches, before, after),
        "waits": {key: sum(row[name] for row in rows) for key, name in WAITS.items()},
        "trace": {name: trace.counts[name] for name in REST},
        "details": details,
    }


WAITS = {"count": "waits", "slept": "sleeps", "wait_ns": "wait_ns"}


def ending(trace: Trace) -> int:
    """Operations that free what lives, between two passes."""
    return trace.counts["live"] + trace.counts["live_pages"]


def count_details(done: Counter[str], trace: Trace, passes: int) -> list[str]:
    """Every operation of the trace was done, in every pass."""
    wanted = {name: trace.counts[other] * passes for name, other in OPERATIONS.items()}
    wanted["end_frees"] = trace.counts["live"] * (passes - 1)
    wanted["end_page_frees"] = trace.counts["live_pages"] * (passes - 1)
    have = {name: done[name] for name in wanted}
    wanted["frees"], have["frees"] = trace.counts["matched_frees"] * passes, done["frees"] + done["kfrees"]
    return [f"{name}: {have[name]} done, {wanted[name]} in the trace" for name in wanted if have[name] != wanted[name]]


def live_counts(trace: Trace, caches: list[int], slots: dict[str, Any], whole: bool) -> dict[int, int]:
    """Cache -> objects that should live: by the trace, or, of a replay that was cut off, by what its CPUs hold."""
    kmalloc = memory.kmalloc_caches()
    live: Counter[int] = Counter()
    for index, (kind, address) in enumerate(zip(trace.kinds, caches, strict=True)):
        number = kind.live if whole else slots["kinds"].get(index, 0)
        if number:
            live[address or kmalloc[index]] += number
    return dict(live)


def page_figures(trace: Trace, slots: dict[str, Any], whole: bool) -> dict[str, int]:
    """Of blocks of pages."""
    c = trace.counts
    return {
        "allocs": c["page_allocs"],
        "frees": c["matched_page_frees"],
        "unmatched_frees": c["unmatched_page_frees"],
        "implied_frees": c["implied_page_frees"],
        "live_expected": c["live_pages"] if whole else slots["pages"],
        "live_found": slots["pages"],
    }


def assignment(trace: Trace, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Who ran what."""
    n = trace.numbers
    return {
        "map": "task" if trace.by_task else "cpu",
        "trace_cpus": max(n["trace_cpus"], n["header_cpus"]),
        "tasks": n["tasks"],
        "cpus_used": len(rows),
        "memcgs": n["memcgs"],
        "accounted": trace.counts["accounted"],
    }


def cache_rows(trace: Trace, caches: list[int], before: Snapshot, after: Snapshot) -> list[dict[str, Any]]:
    """A row per kind that was used. Kinds whose caches the kernel merged show the figures of their common cache."""
    kmalloc = memory.kmalloc_caches()
    children = {a: row["children"] - before.figures.get(a, NOTHING)["children"] for a, row in after.figures.items()}
    ipis = after.ipis - before.ipis
    # Only the making of child caches interrupts, and each interrupts as many.
    each = ipis // sum(children.values()) if sum(children.values()) else 0
    rows = []
    for index, (kind, counts) in enumerate(zip(trace.kinds, loop.kinds(), strict=True)):
        if not kind.allocs:
            continue
        address = caches[index] or kmalloc[index]
        now, then = after.figures[address], before.figures.get(address, NOTHING)
        moved = {key: now[key] - then[key] for key in FIGURES}
        rows.append(
            {
                "name": kind.name or now["name"],
                "cache": now["name"],
                "size": kind.size,
                "allocs": counts[0],
                "frees": counts[1],
                "alloc_cycles": counts[2],
                "free_cycles": counts[3],
                "alloc_hit_rate": share(moved["allochit"], moved["allocmiss"]),
                "free_hit_rate": share(moved["freehit"], moved["freemiss"]),
                "list_lock": moved["list_lock"],
                "list_lock_contended": moved["list_lock_contended"],
                "slabs": now["slabs"],
                "children": children.get(address, 0),
                "ipis": children.get(address, 0) * each,
            }
        )
    return rows


FIGURES = ("allochit", "allocmiss", "freehit", "freemiss", "list_lock", "list_lock_contended", "slabs")
NOTHING: dict[str, Any] = dict.fromkeys((*FIGURES, "children"), 0)


def share(hits: int, misses: int) -> float | None:
    """Hits of all, or None of none."""
    return hits / (hits + misses) if hits + misses else None
