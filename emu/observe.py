"""The machine's numbers, out of its memory: interrupts, requests, counters, locks, latencies."""

from __future__ import annotations

from typing import Any

from cpus import page_alloc, slab_info, status
from cpus import vmstat as names
from emu import ledger
from ipc import memory

CALL_VECTORS = (0, 1)
RESCHEDULE = 2
EVERYONE = -1  # the coordinator's context comes before CPU 0


def interrupts(cpus: int) -> dict[str, list[int]]:
    """CAL and RES as /proc/interrupts counts them: by the CPU that takes them, once per interrupt."""
    counts = [status.interrupts(cpu)["taken"] for cpu in range(cpus)]
    return {"CAL": [c[0] + c[1] for c in counts], "RES": [c[RESCHEDULE] for c in counts]}


def ipis(cpus: int) -> dict[str, int]:
    """raised = taken + merged + pending, over all vectors and contexts."""
    total = {"raised": 0, "taken": 0, "merged": 0, "pending": 0}
    single = {"rings": 0, "fallback": 0, "queue_full": 0, "repokes": 0}
    for cpu in range(EVERYONE, cpus):
        found = status.interrupts(cpu)
        for name in total:
            total[name] += sum(found[name])
        for name in single:
            single[name] += found[name]
    return total | single


def requests(cpus: int) -> dict[str, int]:
    """enqueued = run + refused + pending."""
    found = [status.interrupts(cpu) for cpu in range(EVERYONE, cpus)]
    return {
        "enqueued": sum(f["enqueued"] for f in found),
        "run": sum(f["run"] for f in found),
        "refused": sum(f["refused"] for f in found),
        "pending": sum(f["queued"] for f in found),
    }


def vmstat(cpus: int) -> dict[str, int]:
    """Counters by their names in /proc/vmstat or our own, summed over all contexts."""
    table = [status.counters(cpu) for cpu in range(EVERYONE, cpus)]
    found = {name: sum(row[index] for row in table) for index, name in names.NAMES.items()}
    found["allocstall"] = sum(found[f"allocstall_{zone}"] for zone in ("dma", "dma32", "normal"))
    found["nr_free_pages"] = sum(row["free"] - row["pcp"] + row["fresh"] for row in page_alloc.nodes())
    return found


def percentile(histogram: dict[str, Any], share: float) -> int:
    """A percentile of a log-linear histogram, in its own unit: the middle of the bucket it falls into."""
    wanted = max(1, round(histogram["count"] * share))
    seen = 0
    for index, count in enumerate(histogram["bucket"]):
        seen += count
        if count and seen >= wanted:
            low, high = status.bucket_bounds(index)
            return int(min((low + high) // 2, histogram["max"]))
    return int(histogram["max"])


def _nanoseconds(histogram: dict[str, Any], shares: dict[str, float]) -> dict[str, int]:
    per_us = status.header()["cycles_per_us"]
    found = {name: percentile(histogram, share) * 1000 // per_us for name, share in shares.items()}
    return found | {"max": histogram["max"] * 1000 // per_us}


def latency() -> dict[str, dict[str, int]]:
    """Latency of each kind of operation that happened, in nanoseconds."""
    rows = {}
    for name, histogram in status.latencies().items():
        if histogram["count"]:
            ns = _nanoseconds(histogram, {"p50": 0.5, "p90": 0.9, "p99": 0.99})
            rows[name] = {"count": histogram["count"]} | {f"{key}_ns": value for key, value in ns.items()}
    return rows


def locks() -> dict[str, dict[str, Any]]:
    """Per lock class: acquisitions, contended, wait and hold times in nanoseconds."""
    rows: dict[str, dict[str, Any]] = {}
    for name, found in status.lock_statistics().items():
        if found["acquisitions"]:
            rows[name] = {"acquisitions": found["acquisitions"], "contended": found["contended"]} | {
                f"{kind}_ns": _nanoseconds(found[kind], {"p50": 0.5, "p99": 0.99}) for kind in ("wait", "hold")
            }
    return rows


def sparse(histogram: dict[str, Any], per_us: int) -> dict[str, Any]:
    """A histogram in nanoseconds: {count, total_ns, max_ns, buckets [[low_ns, high_ns, count]]} without empty ones."""
    rows = []
    for index, count in enumerate(histogram["bucket"]):
        if count:
            low, high = status.bucket_bounds(index)
            rows.append([low * 1000 // per_us, high * 1000 // per_us, count])
    return {
        "count": histogram["count"],
        "total_ns": histogram["total"] * 1000 // per_us,
        "max_ns": histogram["max"] * 1000 // per_us,
        "buckets": rows,
    }


def histograms() -> dict[str, dict[str, Any]]:
    """All histograms that hold something: latency.NAME, and of locks NAME.wait and NAME.hold."""
    per_us = status.header()["cycles_per_us"]
    latency = {name: sparse(found, per_us) for name, found in status.latencies().items() if found["count"]}
    locks = {
        f"{name}.{kind}": sparse(found[kind], per_us)
        for name, found in status.lock_statistics().items()
        for kind in ("wait", "hold")
        if found[kind]["count"]
    }
    return {"latency": latency, "locks": locks}


def slabinfo_rows(machine: Any) -> list[tuple[Any, ...]]:
    """One row of /proc/slabinfo per root cache, in the file's order of columns."""
    return list(slab_info.rows())


def machine_figures(machine: Any) -> dict[str, Any]:
    """What the machine itself cost: boot time and host memory."""
    used = memory.usage()
    return {
        "boot_ns": int(machine.coordinator.boot_seconds * 1e9),
        "memory_bytes": used["backed"],
        "metadata_bytes": used["heap_used"],
        "where": machine.coordinator.where,
    }


def collect(machine: Any) -> dict[str, Any]:
    """All observations of a running machine, under the keys of the result's JSON."""
    cpus = machine.cpus
    return {
        "interrupts": interrupts(cpus),
        "ipis": ipis(cpus),
        "requests": requests(cpus),
        "vmstat": vmstat(cpus),
        "locks": locks(),
        "latency": latency(),
        "machine": machine_figures(machine),
        "histograms": histograms(),
        "ledger": ledger.collect(cpus),
    }
