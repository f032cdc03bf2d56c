"""BootPlan: a machine's configuration with every `auto` decided, as the coordinator takes it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

MIB = 1 << 20


@dataclass(frozen=True)
class BootPlan:
    """All that boot needs. Sizes in bytes, times as named."""

    cpus: int
    nodes: int
    transport: str
    memory: int
    max_segment: int
    switches: dict[int, int]
    gated: bool
    boosted: bool
    tokens: int
    hz: int
    slice_ms: float
    poll_limit_ms: float
    pin: bool
    trace_records: int = 0
    lock_detail: bool = False
    go_on_after_death: bool = False
    boot_parameters: dict[str, str] = field(default_factory=dict)

    @property
    def delivery(self) -> str:
        """How interrupts reach a CPU that the host is not running: plain, gated, or boosted."""
        if self.gated:
            return "gated"
        return "boosted" if self.boosted else "plain"


def allowed_cores() -> int:
    """Host cores this process may use: its affinity, further limited by the cgroup's CPU quota."""
    cores = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as f:
            quota, period = f.read().split()
    except (OSError, ValueError):
        return cores
    if quota == "max":
        return cores
    return max(1, min(cores, int(quota) // int(period)))


def available_memory() -> int:
    """Bytes the host has free for us: MemAvailable, limited by the cgroup's memory.max."""
    free = 1 << 30
    with open("/proc/meminfo", encoding="ascii") as f:
        for line in f:
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as f:
            limit = f.read().strip()
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as f:
            used = int(f.read())
    except (OSError, ValueError):
        return free
    return free if limit == "max" else min(free, int(limit) - used)


def decide_gate(gate: str, boost: str, cpus: int, cores: int) -> tuple[bool, bool]:
    """Whether to gate and whether to boost. Both together gain nothing, so a gate switches boosting off."""
    gated = gate == "on" or (gate == "auto" and boost != "on" and cpus > cores)
    return gated, boost == "on" and not gated
