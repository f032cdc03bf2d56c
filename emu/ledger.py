"""The ledger of interrupts: who was interrupted from where and for what, who was spared and why, and what it cost.

Rows of `ledger.rows` are of senders, summed over all contexts: the calling function (`site`), the function that was to
run (`function`), the locks that were held. Rows of `ledger.victims` are of those who were interrupted. All counts are
exact; sent is the sum of `vmstat.ipis_sent`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emu.errors import UsageError
from emu.format import count, nanoseconds, table

SUMS = ("calls", "sent", "not_raised", "empty", "offline", "self", "waits", "wait_ns", "blocked", "blocked_ns")
# Locks under which a wait for answers is worth a line: others may be waiting for them.
WATCHED = ("slab_mutex", "cgroup_mutex", "list_lock")
# Outermost first, as they are to be taken; the others behind.
ORDER = ("cgroup_mutex", "pcpu_drain_mutex", "rcu_barrier_mutex", "slab_mutex", "alien_lock", "list_lock")
REASONS = {
    "no_previous": "publish_arrays: a new cache has no previous array caches",
    "empty": "the CPU holds nothing",
    "offline": "the CPU is offline",
    "queue_not_empty": "its queue was not empty, an interrupt was on its way",
    "merged": "the vector was pending already",
    "self": "the sender itself: a plain call",
}


def collect(cpus: int) -> dict[str, Any]:
    """The ledger of this process's machine, names resolved."""
    from cpus import ledger
    from emu.ledger_symbols import name_of

    senders: dict[tuple[str, str, str], dict[str, Any]] = {}
    victims: dict[tuple[str, str], dict[str, Any]] = {}
    dropped = 0
    for cpu in range(-1, cpus):
        dropped += ledger.dropped(cpu)
        for row in ledger.rows(cpu):
            site, function = name_of(row["site"]), name_of(row["func"])
            if row["target"]:
                into = victims.setdefault(
                    (site, function), {"site": site, "function": function, "served": 0, "busy": 0, "busy_ns": 0}
                )
                into["served"] += row["calls"]
                into["busy"] += row["busy"]
                into["busy_ns"] += row["busy_ns"]
                continue
            locks = " > ".join(sorted(row["locks"], key=lambda lock: ORDER.index(lock) if lock in ORDER else 99))
            into = senders.setdefault(
                (site, function, locks),
                {"site": site, "function": function, "locks": locks} | dict.fromkeys((*SUMS, "wait_max_ns"), 0),
            )
            for name in SUMS:
                into[name] += row[name]
            into["wait_max_ns"] = max(into["wait_max_ns"], row["wait_max_ns"])
    rows = sorted(senders.values(), key=lambda row: (-row["sent"], row["site"]))
    return {
        "rows": rows,
        "victims": sorted(victims.values(), key=lambda row: (-row["busy_ns"], row["site"])),
        "dropped": dropped,
    }


def avoided(document: Mapping[str, Any]) -> dict[str, int]:
    """Interrupts that were not sent, by reason, over the whole machine."""
    rows = document["ledger"]["rows"]
    vmstat, ipis = document.get("vmstat", {}), document.get("ipis", {})
    return {
        "no_previous": vmstat.get("ipis_avoided_no_previous", 0),
        # Who looks at other CPUs' lists himself (drain_all_pages) counts there.
        "empty": vmstat.get("ipis_avoided_empty", sum(row["empty"] for row in rows)),
        "offline": sum(row["offline"] for row in rows),
        "queue_not_empty": sum(row["not_raised"] for row in rows),
        "merged": ipis.get("merged", 0),
        "self": sum(row["self"] for row in rows),
    }


def of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What `emu show --ipis` shows; UsageError for a run without a ledger."""
    found = document.get("ledger")
    if not isinstance(found, dict) or not found.get("rows"):
        raise UsageError("--ipis: this run has no ledger: no machine sent an interrupt, or it is of an older version")
    try:
        under = [row for row in found["rows"] if row["waits"] and set(row["locks"].split(" > ")) & set(WATCHED)]
        whole = {
            "schema": 1,
            "cpus": document["config"].get("cpus"),
            "sent": sum(row["sent"] for row in found["rows"]),
            "avoided": avoided(document),
            "rows": found["rows"],
            "under_lock": under,
            "victims": found["victims"],
            "dropped": found.get("dropped", 0),
        }
        text(whole)
        return whole
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"--ipis: the ledger is hand-edited: {error} is missing or not as it was") from None


def text(ledger: Mapping[str, Any]) -> str:
    """The ledger for people."""
    parts = [senders(ledger), spared(ledger), under_lock(ledger), victims(ledger)]
    if ledger["dropped"]:
        parts.append(f"{ledger['dropped']} calls are in no row: a CPU called from more than 32 places")
    return "\n\n".join(part for part in parts if part) + "\n"


def senders(ledger: Mapping[str, Any]) -> str:
    """Sent and spared, by call site."""
    rows = [
        (
            f"{row['site']}: {row['function']}",
            count(row["calls"]),
            count(row["sent"]),
            count(row["empty"]),
            count(row["not_raised"]),
            count(row["self"]),
            nanoseconds(row["wait_ns"] / row["waits"]) if row["waits"] else "-",
        )
        for row in _without_locks(ledger["rows"])
    ]
    head = ("calls from: of", "calls", "sent", "empty", "queued", "self", "mean wait")
    return f"interrupts sent to other CPUs: {ledger['sent']}\n" + table(head, rows)


def _without_locks(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that differ in the locks alone, put together."""
    whole: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        into = whole.setdefault((row["site"], row["function"]), dict.fromkeys(SUMS, 0) | {"site": row["site"]})
        into["function"] = row["function"]
        for name in SUMS:
            into[name] += row[name]
    return sorted(whole.values(), key=lambda row: -row["sent"])


def spared(ledger: Mapping[str, Any]) -> str:
    """Interrupts that were avoided, and why."""
    rows = [(REASONS[name], count(number)) for name, number in ledger["avoided"].items() if number]
    return table(("interrupts avoided, since", "CPUs"), rows) if rows else "interrupts avoided: none"


def under_lock(ledger: Mapping[str, Any]) -> str:
    """Waits for answers with a lock held, and what others waited for that lock meanwhile."""
    rows = [
        (
            f"{row['site']} under {row['locks']}",
            count(row["waits"]),
            nanoseconds(row["wait_ns"]),
            nanoseconds(row["wait_max_ns"]),
            count(row["blocked"]),
            nanoseconds(row["blocked_ns"]),
        )
        for row in ledger["under_lock"]
    ]
    if not rows:
        return "waits for answers under slab_mutex, cgroup_mutex or a node's lock: none"
    head = ("waits for answers under a lock", "waits", "in all", "longest", "others", "they waited")
    return table(head, rows)


def victims(ledger: Mapping[str, Any]) -> str:
    """What the interrupted lost: the handlers' time on CPUs that had work."""
    rows = [
        (f"{row['site']}: {row['function']}", count(row["served"]), count(row["busy"]), nanoseconds(row["busy_ns"]))
        for row in ledger["victims"]
    ]
    head = ("interrupted by: of", "served", "while busy", "work lost")
    note = "(in the functions; entry and exit of a signal are the host's floor on top, for each)"
    return f"{table(head, rows)}\n{note}" if rows else ""
