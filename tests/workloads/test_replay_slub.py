"""replay on SLUB: the recorded traces leave what they should, and the checker of raw memory sees what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cpus import slab_faces, slub_faces
from tests.slabs import kernel, set_word
from workloads import replay_check_slub_loop as memory

ROOT = Path(__file__).resolve().parent.parent.parent


def replay(trace: str, *argv: str) -> dict[str, Any]:
    """The result of one run, in a process of its own."""
    path = f"tests/traces/{trace}.txt.xz"
    command = [sys.executable, "-m", "emu", "run", "replay", path, "--allocator", "slub", "--json", "-q", *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout)["result"])


# As of SLAB's: what a trace leaves does not depend on the allocator.
KEYS = ("allocs", "matched_frees", "unmatched_frees", "null_frees", "implied_frees", "live_found")
KNOWN = {
    "memcg-create": (38392, 29152, 34, 5210, 1580, 7660),
    "gcc-build": (12715, 11013, 50, 1970, 560, 1142),
    "files": (37715, 23943, 6, 4891, 139, 13633),
}


@pytest.mark.parametrize("cpus", [2, 8, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("trace", KNOWN)
def test_recorded_traces(trace: str, cpus: int) -> None:
    result = replay(trace, "--cpus", str(cpus))
    assert (result["mismatches"], result["details"]) == (0, [])
    assert tuple(result[key] for key in KEYS) == KNOWN[trace]
    assert result["live_expected"] == result["live_found"]
    assert result["complete"] is True
    rows = {row["name"]: row for row in result["caches"]}
    assert all(row["allocs"] > 0 for row in rows.values())
    assert any(row["alloc_hit_rate"] for row in rows.values())


@pytest.mark.slow
@pytest.mark.parametrize("options", ["--cpus 4 --nodes 2", "--map task --cpus 8", "--loops 3"])
def test_other_machines(options: str) -> None:
    assert replay("memcg-create", *options.split())["mismatches"] == 0


class TestChecker:
    def test_counts_what_is_handed_out(self) -> None:
        with kernel(2, allocator="slub") as k:
            cache = slab_faces.create_cache("foo", 64)
            objects = [slab_faces.alloc(cache) for _ in range(200)]
            k.on(1)
            for obj in objects[::3]:
                slab_faces.free(cache, obj)
            big = slab_faces.malloc(9000)
            held = memory.holdings()
            assert (held[cache], held[0]) == (200 - 67, 1)
            assert not set(objects[1::3]) & memory.free_objects()
            assert set(objects[::3]) <= memory.free_objects()
            slab_faces.mfree(big)
            assert memory.holdings()[0] == 0

    def test_planted_lost_object_is_missed(self) -> None:
        with kernel(1, allocator="slub"):
            cache = slab_faces.create_cache("foo", 64)
            obj = slab_faces.alloc(cache)
            slab_faces.free(cache, obj)
            set_word(slub_faces.addresses(cache)["cpu"][0], 0)
            assert memory.holdings()[cache] == 64

    def test_planted_double_free_is_a_torn_list(self) -> None:
        with kernel(1, allocator="slub"):
            cache = slab_faces.create_cache("foo", 64)
            obj = slab_faces.alloc(cache)
            slab_faces.free(cache, obj)
            slab_faces.free(cache, obj)
            with pytest.raises(ValueError, match="torn"):
                memory.holdings()
