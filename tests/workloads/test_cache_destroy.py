"""cache-destroy: barriers counted, and the two wrong forms caught."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from cpus import selftest, slab_faces
from cpus.layout import STRUCTS
from emu.config import configure
from emu.errors import UsageError
from emu.machine import Machine
from ipc import memory
from workloads import cache_destroy
from workloads import cache_destroy_loop as loop

ROOT = Path(__file__).resolve().parent.parent.parent


def emu(*argv: str, code: int = 0) -> dict[str, Any]:
    """The JSON of one run, in a process of its own."""
    command = [sys.executable, "-m", "emu", "run", "cache-destroy", "--json", "-q", *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=110)
    assert done.returncode == code, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("allocator", ["slub", "slab"])
def test_every_form_behaves_as_it_is_said_to(allocator: str) -> None:
    rows = {row["variant"]: row for row in emu("--variants", "--allocator", allocator)["result"]["rows"]}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "per-call": "pass",
        "per-memcg": "pass",
        "async-batched": "pass",
        "call-rcu-each": "violation",
        "none": "violation",
    }
    assert {name: row["used_after_free"] > 0 for name, row in rows.items() if row["verdict"] == "pass"} == {
        "per-call": False,
        "per-memcg": False,
        "async-batched": False,
    }
    assert rows["call-rcu-each"]["used_after_free"] > 0
    assert rows["none"]["used_after_free"] > 0


def test_barriers_are_counted() -> None:
    rows = {row["variant"]: row for row in emu("--variants", "--caches", "25")["result"]["rows"]}
    assert [rows[name]["barriers"] for name in ("per-call", "per-memcg", "none")] == [25, 25, 0]
    batched = rows["async-batched"]
    assert batched["batches"] == batched["barriers"]
    assert 1 <= batched["batches"] < 25
    assert all(row["caches"] == 25 for row in rows.values())


def test_a_violation_is_one() -> None:
    document = emu("--patch", "release-barrier=none", code=2)
    assert document["verdict"] == "violation"
    assert "I13" in {found["invariant"] for found in document["violations"]}
    emu("--patch", "release-barrier=none", "--expect", "violation")


@pytest.mark.parametrize("args", [{"caches": 0}, {"caches": 10_001}, {"delay": -1}, {"delay": 10_001}])
def test_refuses(args: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        cache_destroy.check(configure({}), Namespace(**({"caches": 1, "delay": None} | args)))


@pytest.mark.parametrize("allocator", ["slub", "slab"])
def test_nothing_is_believed_of_a_freed_cache(allocator: str) -> None:
    """Where a cache was is something else when its slabs are freed, with 12 where its order was: they are freed as
    what they are, and each is reported."""
    call = loop.entry_points()
    patches = {"release-barrier": "none"}
    with Machine(cpus=2, allocator=allocator, kernel="4.12", patches=patches, memory=64 << 20) as m:
        cache = m.kmem_cache_create("doomed", 512, on=1, flags=("SLAB_TYPESAFE_BY_RCU",))
        for obj in [m.cpu(1).kmem_cache_alloc(cache) for _ in range(64)]:
            m.cpu(1).kmem_cache_free(cache, obj)
        m.call(call["hold_callbacks"], 1, on=1)
        assert m.kmem_cache_destroy(cache, on=1)
        size = STRUCTS["kmem_cache"].size
        blocks = [memory.test_heap_alloc(size) for _ in range(8)]
        assert cache.address in blocks
        for word in range(size // 8):
            selftest.poke(cache.address, 12, word)
        m.call(call["hold_callbacks"], 0, on=1)
        m.call(call["settle"], on=0)
        waiting = [bug for bug in slab_faces.bugs() if "used after free" in bug[4]]
        assert len(waiting) >= 4
        assert all(bug[2] == cache.address for bug in waiting)
        for block in blocks:
            memory.test_heap_free(block)
