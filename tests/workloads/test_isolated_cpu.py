"""isolated-cpu: only the kick disturbs a CPU that has nothing to do with it."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from emu.config import configure
from emu.errors import NotSupportedError, UsageError
from workloads import isolated_cpu

ROOT = Path(__file__).resolve().parent.parent.parent


def emu(*argv: str) -> dict[str, Any]:
    """The JSON of one run, in a process of its own."""
    command = [sys.executable, "-m", "emu", "run", "isolated-cpu", "--json", "-q", *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("cpus", ["2", "4"])
def test_one_interrupt_per_child_with_kick_and_none_without(cpus: str) -> None:
    rows = {row["variant"]: row for row in emu("--variants", "--memcgs", "6", "--cpus", cpus)["result"]["rows"]}
    assert list(rows) == list(isolated_cpu.VARIANTS)
    assert {name: row["interrupts"] for name, row in rows.items()} == {
        name: 12 if name == "kick" else 0 for name in rows
    }
    for row in rows.values():
        assert row["seen"] <= row["interrupts"] == row["expected"]
        assert (row["p50_ns"] is None) == (row["seen"] == 0)


def test_the_hosts_own_answer() -> None:
    found = emu("--memcgs", "1")["result"]["membarrier"]
    assert set(found) <= {"private expedited", "global expedited", "global"}
    assert all(times["p50_ns"] <= times["p99_ns"] for times in found.values())


@pytest.mark.parametrize(
    ("given", "args", "error"),
    [
        ({"cpus": "1"}, {}, UsageError),
        ({"allocator": "slab"}, {}, NotSupportedError),
        ({"kernel": "5.9"}, {}, NotSupportedError),
        ({}, {"memcgs": 0}, UsageError),
    ],
)
def test_refuses(given: dict[str, str], args: dict[str, int], error: type[Exception]) -> None:
    config = configure(given, defaults=isolated_cpu.DEFAULTS)
    with pytest.raises(error):
        isolated_cpu.check(config, Namespace(**({"memcgs": 1} | args)))
