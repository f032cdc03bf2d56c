"""P6: boot, against a bare fork in C of as many processes from the same process, and the memory of a CPU at boot."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from goals.base import Check, Item, NotMeasurableError, Settings

TITLE = "boot, against a bare C fork of as many from the same process; memory per CPU"
HERE = Path(__file__).parent
LIMITS = {128: 0.15, 1024: 0.8}


def boot(cpus: int, settings: Settings) -> list[Check]:
    """In a process of its own, which has imported what `emu run` imports before it boots."""
    pairs = min(settings.pairs, 9) if cpus > 256 else settings.pairs
    done = subprocess.run(
        [sys.executable, str(HERE / "boot_child.py"), str(cpus), str(pairs)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise NotMeasurableError(f"boot of {cpus} CPUs: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    seconds = statistics.median(found["boot_s"])
    ratio = statistics.median(b / f for b, f in zip(found["boot_s"], found["fork_s"], strict=True))
    detail = {"fork_s": statistics.median(found["fork_s"]), "parent_rss_mb": found["rss_mb"]}
    return [
        Check(f"boot of {cpus}", seconds, LIMITS[cpus], "s", detail),
        Check(f"boot of {cpus} / bare fork", ratio, 1.5, "x"),
        Check(f"PSS per CPU at {cpus}", statistics.median(found["pss_mb"]), 0.25, "MB"),
    ]


ITEMS = [Item("P6", f"boot {cpus}", partial(boot, cpus)) for cpus in LIMITS]
