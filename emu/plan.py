"""BootPlan: a machine's configuration with every `auto` decided, as the coordinator takes it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

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
    name: str = ""

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
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    if quota == "max":
        return cores
    return max(1, min(cores, int(quota) // int(period)))


def available_memory() -> int:
    """Bytes the host has free for us: MemAvailable, limited by the cgroup's memory.max."""
    free = 1 << 30
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return free
    return free if limit == "max" else min(free, int(limit) - used)


def decide_gate(gate: str, boost: str, cpus: int, cores: int) -> tuple[bool, bool]:
    """Whether to gate and whether to boost. Both together gain nothing, so a gate switches boosting off."""
    gated = gate == "on" or (gate == "auto" and boost != "on" and cpus > cores)
    return gated, boost == "on" and not gated
