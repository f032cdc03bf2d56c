"""slab-test and slab-bulk: exact lock counts, the benchmark's output, and what they refuse."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workloads import _slab_series as series
from workloads import slab_test

ROOT = Path(__file__).resolve().parent.parent.parent
EXPECTED = dict.fromkeys(range(7), 4) | dict.fromkeys(range(7, 10), 3) | {10: 2, 11: 1}


def emu(workload: str, *argv: str, text: bool = False, expect: int = 0, timeout: float = 110) -> Any:
    """One run in a process of its own: its JSON, or its text."""
    options = ["-q"] if text else ["--json", "-q"]
    command = [sys.executable, "-m", "emu", "run", workload, *options, *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=timeout)
    assert done.returncode == expect, done.stderr
    if expect:
        return done.stderr
    return done.stdout if text else json.loads(done.stdout)


def test_every_level_takes_the_locks_it_must() -> None:
    """On one CPU nobody contends: exact for every level and size."""
    argv = ("--cpus", "1", "--count", "500", "--series", "0..11", "--tests", "single,concurrent")
    document = emu("slab-test", *argv, "--sizes", "64,1024,4096,16384")
    rows = document["result"]["rows"]
    assert len(rows) == 12 * 2 * 4
    assert {row["series"] for row in rows} == set(range(12))
    for row in rows:
        if row["growing_refills"]:
            assert row["list_lock_per_growing_refill"] == EXPECTED[row["series"]], row
        assert row["expected_per_growing_refill"] == EXPECTED[row["series"]]
        assert row["list_lock_contended"] == 0
    grown = [row["growing_refills"] for row in rows if row["size"] >= 4096 and row["test"] == "single"]
    assert min(grown) > 100
    assert document["verdict"] == "pass"


@pytest.mark.parametrize("switch", ["racy-colour", "refill-private-slab", "lockless-grow"])
def test_a_switch_that_is_flipped_shows(switch: str) -> None:
    argv = ("--cpus", "1", "--count", "300", "--tests", "concurrent", "--sizes", "4096")
    (row,) = emu("slab-test", *argv, "--revert", switch)["result"]["rows"]
    assert row["series"] is None
    assert row["list_lock_per_growing_refill"] is None
    (row,) = emu("slab-test", *argv, "--series", "11", "--revert", switch)["result"]["rows"]
    assert row["list_lock_per_growing_refill"] == 2


@pytest.mark.parametrize("cpus", [1, 2, 5])
def test_all_six_tests_on_any_number_of_cpus(cpus: int) -> None:
    document = emu("slab-test", "--cpus", str(cpus), "--count", "200", "--sizes", "8,192,4096")
    rows = document["result"]["rows"]
    names = [name for name in slab_test.NAMES if cpus > 1 or name != "1-alloc-n-free"]
    assert [row["test"] for row in rows] == [name for name in names for _ in range(3)]
    for row in rows:
        assert len(row["cpu"]) == (1 if row["test"].startswith("single") else cpus)
        assert (row["free_cycles"] is None) == (slab_test.NAMES[row["test"]].phases == 1)
        left = (cpus - 1) * (200 - 200 // cpus) if row["test"] == "1-alloc-n-free" else 0
        assert row["leaked"] == left
    # Each object freed, the sixth test's leftovers too.
    assert document["vmstat"]["slab_alloc"] == document["vmstat"]["slab_free"]
    # 1, 2, 3, 4 and 6 on all CPUs (but for the single ones); 5 on all but one; and the warm-up.
    assert document["verdict"] == "pass"


def test_contended_levels_conserve() -> None:
    """More CPUs than cores, all levels that change something: the checker has the last word."""
    argv = ("--cpus", "4", "--count", "2000", "--series", "0,7,10,11", "--tests", "concurrent,remote-free")
    document = emu("slab-test", *argv, "--sizes", "256,4096")
    assert document["verdict"] == "pass"
    for row in document["result"]["rows"]:
        if row["growing_refills"]:
            assert row["list_lock_per_growing_refill"] >= EXPECTED[row["series"]]


def test_the_output_is_the_benchmarks() -> None:
    text = emu("slab-test", "--cpus", "2", "--count", "100", "--sizes", "64", "--form", "full", text=True)
    lines = text.splitlines()
    patterns = [
        r"100 times kmalloc\(64\) -> \d+ cycles kfree -> \d+ cycles",
        r"100 times kmalloc\(64\)/kfree -> \d+ cycles",
        r"Kmalloc N\*alloc N\*free\(64\): 0=\d+/\d+ 1=\d+/\d+ Average=\d+/\d+",
        r"Kmalloc N\*\(alloc free\)\(64\): 0=\d+ 1=\d+ Average=\d+",
        r"N\*remote free\(64\): 0=\d+/\d+ 1=\d+/\d+ Average=\d+/\d+",
        r"1 alloc N free\(64\): 0=\d+ 1=\d+ Average=\d+",
    ]
    for pattern in patterns:
        assert sum(bool(re.fullmatch(pattern, line)) for line in lines) == 1, (pattern, text)


def test_the_seeds_table_is_printed_beside_each_level() -> None:
    argv = ("--cpus", "2", "--count", "200", "--series", "6,7,10,11", "--tests", "concurrent")
    text = emu("slab-test", *argv, text=True)
    for level in (6, 7, 10, 11):
        assert f"level {level}" in text
        for size in series.SIZES:
            alloc, free = series.published(level, size) or (0, 0)
            assert f"{alloc}/{free}" in text
    assert "level 6 / 11" in text
    assert "3.38x" in text  # 16024 / 4742
    assert "list_lock per one" in text


def test_published_columns() -> None:
    """The four columns stand for twelve levels; the seed's own numbers at both ends."""
    assert series.published(0, 32) == series.published(6, 32) == (365, 806)
    assert series.published(9, 4096) == series.published(7, 4096) == (13438, 2013)
    assert series.published(11, 4096) == (4742, 2172)
    assert series.published(11, 8) is None
    assert series.published(None, 32) is None


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("--series", "12"), "from 0 to 11"),
        (("--series", "7,7"), "twice"),
        (("--series", "11..6"), "goes down"),
        (("--series", "six"), "is not a number"),
        (("--tests", "concurent"), "did you mean"),
        (("--sizes", "0"), "is not from 1 to 4194304"),
        (("--count", "1e4"), "is not a whole number"),
        (("--series", "10", "--patch", "grow-in-two=off", "--patch", "refill-private-slab"), "grow-in-two"),
    ],
)
def test_bad_input(argv: tuple[str, ...], text: str) -> None:
    message = emu("slab-test", *argv, expect=1)
    assert text in message
    assert len([line for line in message.splitlines() if not line.startswith("emu: seed ")]) == 1


def test_lack_of_emulated_memory_is_told_before_the_start() -> None:
    message = emu("slab-test", "--memory", "32M", expect=3)
    assert "--memory" in message


def test_other_workloads_take_one_level() -> None:
    assert "takes one level" in emu("memcg-create", "--series", "6,7", expect=1)


def test_slab_bulk() -> None:
    document = emu("slab-bulk", "--loops", "20000", "--series", "6,11", "--kfree")
    rows = document["result"]["rows"]
    assert [row["bulk"] for row in rows if row["test"] == "bulk_quick_reuse" and row["series"] == 11] == [
        *(1, 2, 3, 4, 8, 16, 30, 32, 34, 48, 64, 128, 158, 250)
    ]
    for row in rows:
        assert row["elems"] == (200_000 if row["bulk"] == 0 else 20_000 // max(row["bulk"], 1) * max(row["bulk"], 1))
        if row["list_lock_per_growing_refill"] is not None:
            assert row["list_lock_per_growing_refill"] == EXPECTED[row["series"]]
        if row["bulk"] and row["bulk"] <= 64:
            assert row["list_lock_acquisitions"] <= 40  # within the array, but for the first steps
    assert document["vmstat"]["slab_alloc"] == document["vmstat"]["slab_free"]


def test_slab_bulk_prints_time_bench_lines() -> None:
    text = emu("slab-bulk", "--loops", "1000", text=True)
    pattern = (
        r"Type:kmem bulk_quick_reuse Per elem: \d+ cycles\(tsc\) \d+\.\d{3} ns \(step:16\) - "
        r"\(measurement period time:\d+\.\d{9} sec time_interval:\d+\) - \(invoke count:992 tsc_interval:\d+\)"
    )
    assert any(re.fullmatch(pattern, line) for line in text.splitlines()), text


@pytest.mark.parametrize("cpus", [24])
def test_many_more_cpus_than_cores(cpus: int) -> None:
    """Who waits gives its core away: no test takes minutes because its CPUs spin for each other."""
    document = emu("slab-test", "--cpus", str(cpus), "--count", "1000", "--sizes", "32,1024", timeout=60)
    assert {row["test"] for row in document["result"]["rows"]} == set(slab_test.NAMES)
    assert document["verdict"] == "pass"


def test_an_interrupted_run_prints_what_it_has() -> None:
    argv = ["--count", "1000000", "--series", "0..11", "--tests", "concurrent", "--sizes", "64,256", "--memory", "4G"]
    command = [sys.executable, "-m", "emu", "run", "slab-test", "-q", *argv]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=4)
    process.terminate()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "internal error" not in errors
    assert "Average=" in output
