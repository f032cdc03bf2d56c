"""smp-mb: the locked exchange is a barrier, the safe variants leave nothing, and the oracle sees what is left."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from cpus import slab_faces, slub_faces
from emu.config import configure
from emu.errors import NotSupportedError, UsageError
from emu.validate import check
from tests.slabs import field, kernel, set_word
from workloads import smp_mb

ROOT = Path(__file__).resolve().parent.parent.parent


def emu(*argv: str) -> dict[str, Any]:
    """The JSON of one run, in a process of its own."""
    command = [sys.executable, "-m", "emu", "run", "smp-mb", "--json", "-q", *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_locked_exchange_never_misses() -> None:
    litmus = {row["exchange"]: row for row in emu("--tries", "100000", "--rounds", "5")["result"]["litmus"]}
    assert list(litmus) == ["plain store", "unlocked cmpxchg", "locked cmpxchg"]
    assert litmus["locked cmpxchg"]["hits"] == 0
    assert all(row["hits"] <= row["tries"] <= row["asked"] for row in litmus.values())


def test_safe_variants_leave_nothing() -> None:
    rows = {row["variant"]: row for row in emu("--variants", "--tries", "5120", "--rounds", "20")["result"]["rows"]}
    assert list(rows) == list(smp_mb.VARIANTS)
    for name, row in rows.items():
        assert row["oracle"]["rounds"] > 0
        if name != "smp-mb":
            assert (row["oracle"]["left"], row["safety"], row["verdict"]) == (0, "yes", "pass")
    assert rows["smp-mb"]["safety"] == ("no" if rows["smp-mb"]["shown"] else "explorer-only")


def test_planted_slab_on_a_dead_caches_list_is_seen() -> None:
    """The oracle: what the store buffer would leave behind, made by hand."""
    with kernel(2, allocator="slub", changes={"dead-caches": "smp-mb"}) as k:
        cache = slab_faces.create_cache("foo", 1024)
        objects = [slab_faces.alloc(cache) for _ in range(slub_faces.state(cache)["num"] + 1)]
        k.on(1)
        slab_faces.free(cache, objects[0])
        set_word(field("kmem_cache_slub", "dead", slub_faces.addresses(cache)["state"]), 1)
        assert {found.invariant for found in check()} == {"I8"}


def test_a_free_into_a_dead_cache_is_flushed_at_once() -> None:
    with kernel(2, allocator="slub", changes={"dead-caches": "kick"}) as k:
        cache = slab_faces.create_cache("foo", 1024)
        objects = [slab_faces.alloc(cache) for _ in range(slub_faces.state(cache)["num"] + 1)]
        state = slub_faces.addresses(cache)["state"]
        for name in ("cpu_partial", "min_partial"):
            set_word(field("kmem_cache_slub", name, state), 0)
        k.on(1)
        slab_faces.free(cache, objects[0])
        assert (k.count("slub_dead_flush"), slub_faces.cpu_slabs(cache)[1]["partial"]) == (1, 0)
        for obj in objects[1:-1]:
            slab_faces.free(cache, obj)
        assert slub_faces.nodes(cache)[0]["nr_slabs"] == 1, "the empty slab was given back, CPU 0's is in use"
        assert check() == []


@pytest.mark.parametrize(
    ("given", "args", "error"),
    [
        ({"cpus": "1"}, {}, UsageError),
        ({"allocator": "slab"}, {}, NotSupportedError),
        ({}, {"tries": 1}, UsageError),
        ({}, {"rounds": 0}, UsageError),
    ],
)
def test_refuses(given: dict[str, str], args: dict[str, int], error: type[Exception]) -> None:
    config = configure(given, defaults=smp_mb.DEFAULTS)
    with pytest.raises(error):
        smp_mb.check(config, Namespace(**({"tries": 10_000, "rounds": 1} | args)))
