"""What a result has to say of the host it was measured on, as pyperf collects it."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emu.plan import allowed_cores

LIMITS = ("NPROC", "NOFILE", "MEMLOCK", "MSGQUEUE", "SIGPENDING", "RTPRIO")
BUSY = 0.5  # of a core that others already use: what we measure is then not ours alone


def collect(cpus: int) -> dict[str, Any]:
    """Return the `host` of a result, before a run of CPUS emulated CPUs."""
    cores = allowed_cores()
    load = os.getloadavg()
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu_model": cpu_model(),
        "allowed_cpus": cores,
        "affinity": len(os.sched_getaffinity(0)),
        "quota": cpu_quota(),
        "oversubscribed": cpus > cores,
        "governor": governor(),
        "load": [round(value, 2) for value in load],
        "steal_ticks": steal_ticks(),
        "memory": memory_total(),
        "limits": limits(),
        "versions": versions(),
    }


def warnings(cpus: int, host: dict[str, Any]) -> list[str]:
    """What makes the figures of this host untrustworthy."""
    found = []
    cores = host["allowed_cpus"]
    if cpus > cores:
        found.append(
            f"{cpus} CPUs on {cores} host {'core' if cores == 1 else 'cores'}: CPUs take turns, and times include that"
        )
    if host["load"][0] > cores * BUSY:
        found.append(
            f"the host is busy: load {host['load'][0]} on {cores} allowed cores; times are longer than on an idle one"
        )
    if host["governor"] not in (None, "performance"):
        found.append(f"CPU frequency governor is {host['governor']!r}: times vary; 'performance' is steadier")
    return found


def steal_warning(before: int, after: int, elapsed_seconds: float, cores: int) -> str | None:
    """A warning if the hypervisor took more than a hundredth of our time."""
    ticks = elapsed_seconds * os.sysconf("SC_CLK_TCK") * cores
    share = (after - before) / ticks if ticks else 0.0
    return f"the hypervisor took {share:.0%} of the host's time (steal)" if share > 0.01 else None


def cpu_model() -> str:
    """Return the model name in /proc/cpuinfo, or the architecture."""
    for line in _lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return platform.machine()


def cpu_quota() -> float | None:
    """Cores' worth of time that the cgroup allows; None if it sets no limit."""
    for line in _lines("/sys/fs/cgroup/cpu.max"):
        quota, _, period = line.partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            return int(quota) / int(period)
    return None


def governor() -> str | None:
    """The CPU frequency governor, or None where the host has none (virtual machines)."""
    return next(iter(_lines("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")), None)


def steal_ticks() -> int:
    """Ticks that the hypervisor gave to others, since the host booted."""
    fields = next(iter(_lines("/proc/stat")), "").split()
    return int(fields[8]) if len(fields) > 8 and fields[8].isdigit() else 0


def memory_total() -> int:
    """Bytes of memory of the host."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def limits() -> dict[str, int | None]:
    """Soft resource limits; None where there is none."""
    found = {}
    for name in LIMITS:
        soft = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[0]
        found[name.lower()] = None if soft == resource.RLIM_INFINITY else soft
    return found


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    from emu import __version__

    return {"percpu-emu": __version__, "python": platform.python_version(), "libc": " ".join(platform.libc_ver())}


def _lines(path: str) -> Sequence[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
