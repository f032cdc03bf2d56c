"""The host gate: whether this host was the same at the end of a run as at its beginning, and fit for figures.

Before a run the load, the hypervisor's steal and the C floor of an interrupt are taken (emu/hostinfo, emu/floor), and
here the clock and the time of a fixed piece of work. After it they are taken again. What moved is said; a run on a host
that others used meanwhile must not look like a slow patch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from emu import hostinfo

WORK = 20_000
TRIES = 5
SLOWER = 1.25  # the same work, before and after
FLOOR_MOVED = 1.5  # medians move up to 30 % from run to run on a quiet host
GAP_NS = 1_000_000_000  # suspended, or stopped by somebody


def work_ns() -> int:
    """The best of a few timings of a fixed piece of work: tells a core that got slower from one that is shared."""
    best = 1 << 62
    for _ in range(TRIES):
        begun = time.perf_counter_ns()
        total = 0
        for i in range(WORK):
            total += i
        best = min(best, time.perf_counter_ns() - begun)
    return best


def suspended_ns() -> int:
    """How long the host has been suspended since its boot, in ns."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()


class HostGate:
    """Taken before a run; after() says what has changed, and adds both readings to the host's facts."""

    def __init__(self, host: dict[str, Any]) -> None:
        self.host = host
        self.floor = dict(host.get("ipi_floor_ns", {}))
        self.suspended = suspended_ns()
        self.wall = time.time_ns() - time.monotonic_ns()
        self.work = work_ns()
        host["work_ns"] = self.work

    def after(self, floor: Callable[[], dict[str, Any]]) -> list[str]:
        """What makes the run's times untrustworthy, as warnings."""
        now: dict[str, Any] = {"work_ns": work_ns(), "load": [round(value, 2) for value in os.getloadavg()]}
        now["ipi_floor_ns"] = floor()
        now["steal_ticks"] = hostinfo.steal_ticks()
        slept = suspended_ns() - self.suspended
        stepped = time.time_ns() - time.monotonic_ns() - self.wall - slept
        now["suspended_ns"], now["clock_step_ns"] = max(0, slept), stepped
        self.host["after"] = now
        found = []
        if slept > GAP_NS:
            found.append(f"the host was suspended for {slept / 1e9:.1f} s during the run: times include that")
        ratio = now["work_ns"] / self.work
        if not 1 / SLOWER < ratio < SLOWER:
            word = "slower" if ratio > 1 else "faster"
            found.append(
                f"the host was {max(ratio, 1 / ratio):.2f}x {word} at the end than at the beginning (a fixed piece of "
                "work): its clock changed, or others came or went"
            )
        found += self._floors(now["ipi_floor_ns"])
        return found

    def _floors(self, after: dict[str, Any]) -> list[str]:
        moved = []
        for name, before in self.floor.items():
            if name in after and before["p50"]:
                ratio = after[name]["p50"] / before["p50"]
                if not 1 / FLOOR_MOVED < ratio < FLOOR_MOVED:
                    moved.append(f"{name} {before['p50']} -> {after[name]['p50']} ns")
        if not moved:
            return []
        return [f"the floor of an interrupt in C moved during the run ({', '.join(moved)}): the host was not quiet"]
