"""memcg-death: what each form of a dead cache's end costs, in exact counts."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from cpus.layout import CONSTANTS
from emu.config import configure
from emu.errors import NotSupportedError, UsageError
from workloads import memcg_death

ROOT = Path(__file__).resolve().parent.parent.parent
SYNC = ("sync-under-mutex", "sync-once-outside")


def emu(*argv: str, timeout: float = 110) -> dict[str, Any]:
    """The JSON of one run, in a process of its own."""
    command = [sys.executable, "-m", "emu", "run", "memcg-death", "--json", "-q", *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    document = emu("--variants", "--memcgs", "12", "--cpus", "4")
    return {row["variant"]: row for row in document["result"]["rows"]}


def test_all_variants_are_there_and_behave_as_they_should(rows: dict[str, dict[str, Any]]) -> None:
    assert list(rows) == list(memcg_death.VARIANTS)
    assert {row["verdict"] for row in rows.values()} == {"pass"}
    assert all(row["memcgs"] == 12 and row["deactivated"] == 60 for row in rows.values())


def test_the_parts_add_up(rows: dict[str, dict[str, Any]]) -> None:
    for row in rows.values():
        assert row["requests"] == row["kick_ipis"] + row["flush_ipis"] + row["barrier_ipis"]
        assert row["ipis"] <= row["requests"]


def test_kick_costs_one_kick_per_child_and_nobody_else_kicks(rows: dict[str, dict[str, Any]]) -> None:
    assert (rows["kick"]["kicks"], rows["kick"]["kick_ipis"]) == (60, 60 * 3)
    assert all(row["kicks"] == row["kick_ipis"] == 0 for name, row in rows.items() if name != "kick")


def test_who_waits_for_grace_periods(rows: dict[str, dict[str, Any]]) -> None:
    waits = {name: row["grace_periods"] for name, row in rows.items()}
    assert (waits["sync-under-mutex"], waits["sync-once-outside"]) == (60, 12)
    assert all(count == 0 for name, count in waits.items() if name not in SYNC)


def test_a_flush_interrupts_the_holder_alone(rows: dict[str, dict[str, Any]]) -> None:
    """Each child has a slab on one CPU, every fourth on the remover's own."""
    assert {row["flush_ipis"] for name, row in rows.items() if name != "none"} == {45}


def test_sync_under_mutex_holds_slab_mutex_for_whole_grace_periods(rows: dict[str, dict[str, Any]]) -> None:
    held = rows["sync-under-mutex"]["slab_mutex_hold_ns"]
    assert held > 60 * 2_000_000, "a grace period takes a tick at least"
    assert held > 10 * rows["call-rcu"]["slab_mutex_hold_ns"]
    outside = rows["sync-once-outside"]
    assert outside["cgroup_mutex_hold_ns"] > 12 * 2_000_000


def test_only_none_leaves_memcgs(rows: dict[str, dict[str, Any]]) -> None:
    assert rows["none"]["pinned"] == 12
    assert all(row["pinned"] == 0 for name, row in rows.items() if name not in ("none", "smp-mb"))


def test_synchronous_barriers_are_one_per_memcg(rows: dict[str, dict[str, Any]]) -> None:
    """There is one BY_RCU cache in each, so per call and per memcg are the same here."""
    assert [rows[name]["barriers"] for name in ("barrier-per-call", "barrier-per-memcg")] == [12, 12]
    batched = rows["barrier-async-batched"]
    assert 1 <= batched["batches"] == batched["barriers"] <= 12


@pytest.mark.parametrize("memcgs", [5, 300])
def test_a_burst_needs_one_barrier(memcgs: int) -> None:
    result = emu("--memcgs", str(memcgs), "--burst")["result"]
    assert (result["barriers"], result["batches"], result["pinned"]) == (1, 1, 0)
    assert result["caches_destroyed"] == 5 * memcgs


@pytest.mark.slow
def test_ten_thousand_deaths() -> None:
    result = emu("--memcgs", "10000", "--cpus", "8", "--burst")["result"]
    assert result["barriers"] <= 2
    assert result["pinned"] == 0


def test_walking_all_caches_is_quadratic() -> None:
    """With k caches of each of m memcgs all lists together are m^2 k^2 / 2 and more, twice; own lists are m k."""
    walked = {
        lists: emu("--memcgs", "40", "--patch", f"memcg-cache-lists={lists}")["result"]["walked"]
        for lists in ("all", "own")
    }
    assert walked["all"] > 40 * 40 * 5
    assert walked["own"] < 40 * 60


def test_slab_drains_everybody_twice_per_child() -> None:
    result = emu("--memcgs", "8", "--allocator", "slab", "--cpus", "3")["result"]
    assert (result["drain_ipis"], result["kicks"], result["pinned"]) == (2 * 40 * 2, 0, 0)


def test_each_batch_is_what_was_queued_while_the_last_barrier_ran() -> None:
    """From the event rings of all CPUs, put in order by their clock."""
    from cpus import memcg_entry, status
    from emu.machine import Machine
    from workloads import memcg_death_loop as loop

    events: list[tuple[int, int, int]] = []
    with Machine(cpus=4, kernel="4.11", allocator="slub", memory=64 << 20, trace_records=1 << 16) as m:
        entry = loop.entry_points()
        args = Namespace(memcgs=30, caches=2)
        assert memcg_entry.entry_points()
        assert m.call(entry["set_up"], 30, 2, 4011) == 0
        memcg_death.populate(m, args)
        for cpu in range(4):
            m.call(entry["start"], min(cpu, 2), on=cpu)
        m.wait_until(lambda: loop.progress()[2] == 0, timeout=60)
        memcg_death.let_go(m)
        m.call(entry["settle"], 0)
        for cpu in range(4):
            events += status.last_events(cpu, 1 << 16)
    queue, batch, done = (CONSTANTS[f"EV_RELEASE_{name}"] for name in ("QUEUE", "BATCH", "DONE"))
    waiting, sizes = 0, []
    for _, event, count in sorted(events):
        if event == queue:
            waiting += 1
        elif event == batch:
            assert count == waiting
            sizes.append(count)
            waiting = 0
        elif event == done:
            assert count == sizes[-1], "one at a time"
    assert sum(sizes) == 30
    assert waiting == 0


@pytest.mark.parametrize(
    ("given", "args", "error"),
    [
        ({"kernel": "3.7"}, {}, NotSupportedError),
        ({"kernel": "5.9"}, {}, NotSupportedError),
        ({"cpus": "1"}, {}, UsageError),
        ({}, {"caches": 6}, UsageError),
        ({}, {"memcgs": 0}, UsageError),
        ({}, {"memcgs": 70_000}, UsageError),
    ],
)
def test_refuses(given: dict[str, str], args: dict[str, int], error: type[Exception]) -> None:
    config = configure({**given}, defaults=memcg_death.DEFAULTS)
    with pytest.raises(error):
        memcg_death.check(config, Namespace(**({"memcgs": 10, "caches": 5} | args)))
