"""The 10,000-memcg test, unpatched and patched, with the C floor's broadcast to 21 parked processes between."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Any

from emu.floor import Floor
from goals.base import Check, NotMeasurableError, Settings

CPUS, LOOPS = 22, 10_000
SLACK = 1.25
FLOOR_ROUNDS = 200


def run(loops: int, *options: str) -> dict[str, Any]:
    """The result of one run, in a process of its own."""
    command = [sys.executable, "-m", "emu", "run", "memcg-create", "--json", "-q", "--no-record", "--no-probe"]
    command += ["--cpus", str(CPUS), "--loops", str(loops), "--kernel", "4.11", "--seed", "1", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotMeasurableError(done.stderr.strip().splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout)["result"]
    return found


def broadcast_ns(floor: Floor) -> float:
    """One broadcast to as many parked processes as a kick interrupts CPUs, in C: the median."""
    return float(floor.ask("broadcast-parked", CPUS - 1, rounds=FLOOR_ROUNDS, timeout=120)["p50_ns"])


def ten_thousand(settings: Settings) -> list[Check]:
    """Seconds from the first reading to the last creation, and what they may be at most."""
    loops = LOOPS // 10 if settings.quick else LOOPS
    floors = []
    with Floor() as floor:
        floors.append(broadcast_ns(floor))
        unpatched = run(loops)
        floors.append(broadcast_ns(floor))
        patched = run(loops, "--patch", "slab-create-no-ipi")
        floors.append(broadcast_ns(floor))
    kicks = sum(unpatched["creations"])
    one = statistics.median(floors)
    limit = SLACK * kicks * one / 1e9 + patched["elapsed_ns"] / 1e9
    detail = {"kicks": kicks, "floor_broadcast_ns": one, "patched_s": patched["elapsed_ns"] / 1e9}
    return [Check(f"{loops} memcgs, unpatched", unpatched["elapsed_ns"] / 1e9, limit, "s", detail)]
