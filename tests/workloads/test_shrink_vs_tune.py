"""shrink-vs-tune: the unfixed kernel is caught, fixed and older ones are silent, and a report names both sides."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SHRINK = ["kmem_cache_shrink", "drain_cpu_caches", "drain_array"]
TUNE = ["slabinfo_write", "do_tune_cpucache", "setup_kmem_cache_node"]
WHATS = {"objects freed twice": "I3", "shared array used after free": "I9"}


def emu(*argv: str, expect: int = 0, timeout: float = 110) -> dict[str, Any]:
    command = [sys.executable, "-m", "emu", "run", "shrink-vs-tune", "--json", "-q", *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=timeout)
    assert done.returncode == expect, done.stderr
    return dict(json.loads(done.stdout)) if done.stdout else {"error": done.stderr}


def check_collision(document: dict[str, Any]) -> None:
    """One report, of the two that collided, each with the way it came."""
    assert document["verdict"] == "violation"
    (found,) = document["result"]["violations"]
    assert WHATS[found["what"]] == found["invariant"]
    assert found["cpus"] == [1, 0]
    shrink, tune = found["events"]
    assert shrink["path"] == SHRINK
    assert tune["path"] == TUNE
    assert tune["time_ns"] <= shrink["time_ns"]
    assert (found["objects"] > 0) == (found["what"] == "objects freed twice")
    assert document["result"]["first_ns"] < 60e9
    # The checker says the same, and nothing else: the machine went on with sound lists.
    (row,) = document["violations"]
    assert row["invariant"] == found["invariant"]
    assert found["what"] in row["text"]
    assert " > ".join(SHRINK) in row["text"]
    assert " > ".join(TUNE) in row["text"]


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(10))
def test_the_unfixed_kernel_is_caught_every_time(attempt: int) -> None:
    check_collision(emu("--seed", str(attempt), expect=2))


@pytest.mark.parametrize("kernel", ["3.16", "3.18", "4.0", "4.6"])
def test_every_kernel_that_has_the_race_shows_it(kernel: str) -> None:
    document = emu("--kernel", kernel, expect=2)
    check_collision(document)
    assert document["result"]["variant"] == "none"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "variant"),
    [
        (("--variant", "slab-mutex"), "slab-mutex"),
        (("--variant", "node-lock"), "node-lock"),
        (("--kernel", "3.13"), "slab-mutex"),
        (("--kernel", "3.15"), "slab-mutex"),
        (("--kernel", "4.7"), "wait"),
        (("--kernel", "4.12"), "wait"),
    ],
)
def test_either_fix_and_the_older_kernels_are_silent(argv: tuple[str, ...], variant: str) -> None:
    document = emu(*argv, "--duration", "2s", "--delays")
    assert document["verdict"] == "pass"
    result = document["result"]
    assert (result["variant"], result["violations"], result["first_ns"]) == (variant, [], None)
    # Both did something: on this many, the unfixed kernel would have been caught many times over.
    assert result["shrinks"] > 50
    assert result["tunes"] > 50


@pytest.mark.soak
@pytest.mark.parametrize("variant", ["slab-mutex", "node-lock"])
@pytest.mark.parametrize("attempt", range(10))
def test_either_fix_is_silent_for_a_minute(variant: str, attempt: int) -> None:
    document = emu("--variant", variant, "--duration", "60s", "--seed", str(attempt))
    assert document["verdict"] == "pass"


@pytest.mark.soak
@pytest.mark.parametrize("attempt", range(10))
def test_the_unfixed_kernel_is_caught_within_a_minute(attempt: int) -> None:
    check_collision(emu("--duration", "60s", "--seed", str(attempt), expect=2))


def test_more_cpus() -> None:
    assert emu("--cpus", "4", expect=2)["verdict"] == "violation"
    assert emu("--cpus", "4", "--variant", "node-lock", "--duration", "2s")["verdict"] == "pass"


@pytest.mark.slow
def test_the_table_of_variants_is_as_expected() -> None:
    rows = emu("--variants", "--duration", "3s", "--delays")["result"]["rows"]
    assert [(row["variant"], row["safe"], row["verdict"]) for row in rows] == [
        ("none", "no", "violation"),
        ("slab-mutex", "yes", "pass"),
        ("node-lock", "yes", "pass"),
        ("no-wait", "no", "violation"),
        ("wait", "yes", "pass"),
    ]


@pytest.mark.parametrize("kernel", ["4.6", "4.12"])
def test_a_lockless_look_without_a_wait_is_caught(kernel: str) -> None:
    """Patch 11 without the grace period: a refill looks at a shared array that was freed, perhaps twice before it is
    stopped."""
    document = emu("--variant", "no-wait", "--kernel", kernel, "--delays", expect=2)
    found, *more = document["result"]["violations"]
    assert {again["what"] for again in more} <= {found["what"]}
    assert (found["invariant"], found["what"]) == ("I9", "shared array used after free")
    refill, tune = found["events"]
    assert refill["path"][-1] == "cache_alloc_refill"
    assert tune["path"] == TUNE
    assert found["cpus"][1] == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kick", "sync", "sync-if-old"])
def test_each_wait_closes_it(how: str) -> None:
    document = emu("--variant", "wait", "--patch", f"shared-array-free={how}", "--delays", "--duration", "3s")
    assert document["verdict"] == "pass"
    assert document["result"]["tunes"] > 50


def test_an_expected_violation_is_no_failure() -> None:
    assert emu("--expect", "violation")["verdict"] == "violation"
    assert emu("--expect", "violation", "--variant", "node-lock", "--duration", "1s")["verdict"] == "pass"


def test_it_can_go_on_after_a_report() -> None:
    result = emu("--keep-going", "--duration", "1s", expect=2)["result"]
    assert len(result["violations"]) > 1
    assert result["elapsed_ns"] > 0.9e9


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (("--cpus", "1"), 1, "at least 2"),
        (("--loops", "3"), 1, "give --duration"),
        (("--allocator", "slub"), 4, "SLAB's shared arrays"),
        (("--variant", "mutex"), 1, "slab-mutex"),
    ],
)
def test_bad_input(argv: tuple[str, ...], code: int, text: str) -> None:
    assert text in emu(*argv, expect=code)["error"]
