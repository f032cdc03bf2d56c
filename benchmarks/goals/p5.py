"""P5: what an interrupt that is not sent costs: on_each_cpu_cond() over 512 CPUs of which none has anything.

Cold: a CPU on the other host core has written to the line that is looked at of every CPU.
"""

from __future__ import annotations

import statistics

from emu.machine import Machine
from goals.base import Check, Item, Settings
from workloads._ipi_blocks import Bench, pinned_to_first_core

TITLE = "an avoided interrupt, per CPU looked at, 512 CPUs, cold"
CPUS = 512


def avoided(settings: Settings) -> list[Check]:
    """Median over the calls; each looks at all CPUs."""
    with Machine(cpus=CPUS, memory=16 << 20, pin=True) as machine:
        bench = Bench(machine)
        with pinned_to_first_core():
            bench.avoided(20, cold=True)
            cold = bench.avoided(settings.rounds(500), cold=True)
            warm = bench.avoided(settings.rounds(500), cold=False)
    detail = {"warm_ns": statistics.median(warm), "cold_p99_ns": sorted(cold)[len(cold) * 99 // 100]}
    return [Check(f"per CPU of {CPUS}, cold", statistics.median(cold), 20.0, "ns", detail)]


ITEMS = [Item("P5", "avoided", avoided)]
