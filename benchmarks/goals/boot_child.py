"""Run by p6.py: boots machines and forks bare processes in turn, prints the times as JSON.

A process of its own, so that nothing but what booting needs has been imported and the parent is the same for both.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from emu.machine import Machine

SOURCE = Path(__file__).with_name("bare_fork.c")


def load() -> ctypes.CDLL:
    """Compile the bare fork and load it."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "bare_fork.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
        return ctypes.CDLL(str(library))


def pss_mb(pids: list[int]) -> float:
    """Mean proportional set size."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024 / len(pids)


def main() -> None:
    """argv: CPUs, pairs."""
    cpus, pairs = int(sys.argv[1]), int(sys.argv[2])
    bare_fork = load().bare_fork_ns
    bare_fork.restype = ctypes.c_long
    found: dict[str, list[float]] = {"fork_s": [], "boot_s": [], "pss_mb": []}
    for pair in range(pairs):
        found["fork_s"].append(bare_fork(cpus) / 1e9)
        with Machine(cpus=cpus, memory=16 << 20) as machine:
            found["boot_s"].append(machine.coordinator.boot_seconds)
            if pair % 5 == 0:
                found["pss_mb"].append(pss_mb(machine.coordinator.pids))
    rss = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / (1 << 20)
    sys.stdout.write(json.dumps(found | {"rss_mb": rss}))


main()
