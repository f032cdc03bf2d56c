"""What the workloads about dying caches read before and after: counters, interrupts, hold times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cpus import status
from workloads import memcg_death_loop as loop

if TYPE_CHECKING:
    from emu.machine import Machine

# Counter -> its name in a result.
COUNTERS = {
    "ipis_sent": "requests",
    "kicks": "kicks",
    "kick_ipis": "kick_ipis",
    "slub_flush_ipis": "flush_ipis",
    "rcu_barrier_ipis": "barrier_ipis",
    "grace_periods": "grace_periods",
    "rcu_barriers": "barriers",
    "release_batches": "batches",
    "memcg_caches_deactivated": "deactivated",
    "memcg_caches_walked": "walked",
    "caches_destroyed": "caches_destroyed",
}


@dataclass(frozen=True)
class Reading:
    """One moment's counters. Nobody calls while it is taken."""

    vmstat: dict[str, int]
    calls: list[int]  # call interrupts taken, by CPU
    hold: dict[str, int]  # lock class -> sum of hold times, cycles
    longest: dict[str, int]
    grace_periods_passed: int
    cycles_per_us: int

    @staticmethod
    def take(machine: Machine) -> Reading:
        """Read, when every vector that was raised has been taken."""
        machine.wait_until(lambda: machine.ipis()["pending"] == 0, timeout=5)
        locks = status.lock_statistics()
        names = ("cgroup_mutex", "slab_mutex")
        return Reading(
            machine.vmstat(),
            machine.interrupts()["CAL"],
            {name: locks[name]["hold"]["total"] for name in names},
            {name: locks[name]["hold"]["max"] for name in names},
            loop.grace_periods_passed(),
            status.header()["cycles_per_us"],
        )


def difference(before: Reading, after: Reading) -> dict[str, Any]:
    """What went on in between, under the names of a result."""
    found: dict[str, Any] = {name: after.vmstat[key] - before.vmstat[key] for key, name in COUNTERS.items()}
    found["ipis"] = sum(after.calls) - sum(before.calls)
    known = found["kick_ipis"] + found["flush_ipis"] + found["barrier_ipis"]
    found["drain_ipis"] = found["requests"] - known
    for name, total in after.hold.items():
        found[f"{name}_hold_ns"] = (total - before.hold[name]) * 1000 // after.cycles_per_us
    # The longest since boot: creation comes before, and holds slab_mutex for less than a grace period.
    found["slab_mutex_longest_ns"] = after.longest["slab_mutex"] * 1000 // after.cycles_per_us
    return found
