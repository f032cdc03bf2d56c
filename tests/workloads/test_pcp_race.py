"""pcp-race: unsafe forms of the drain are caught, safe ones are not, and a miss is told with its interleaving."""

import json

import pytest

from cpus.patch_table import BY_NAME
from tests.processes import run_workload

VALUES = {value.name: value for value in BY_NAME["pcp-drain"].values}
SAFE = [name for name, value in VALUES.items() if value.safe == "yes"]


def emu(*args, seconds=120):
    return run_workload("pcp-race", *args, seconds=seconds)


def race(variant, *args, code=0, seconds=120):
    done = emu("--patch", f"pcp-drain={variant}", *args, "--json", seconds=seconds)
    assert done.returncode == code, done.stderr
    document = json.loads(done.stdout)
    (row,) = document["result"]["rows"]
    assert row["variant"] == variant
    # Of each possible CPU of each drain that was not skipped it is known why it was not interrupted.
    cpus = document["config"]["cpus"]
    assert row["ipis_sent"] + sum(row["ipis_avoided"].values()) == cpus * (row["drains"] - row["skipped"])
    return document, row


def test_v6_misses_whose_pages_are_in_an_earlier_zone():
    document, row = race("mask-v6", "--duration", "1s", "--cpus", "4", code=2)
    assert document["verdict"] == "violation"
    assert {v["invariant"] for v in document["violations"]} == {"I8"}
    # Each holder puts its pages now on one zone's list, now on the other's: none is spared.
    assert row["missed_cpus"] == [2, 3]
    assert row["pages_left"] >= row["missed"] >= row["short"] > 0
    events = [step["event"] for step in row["interleaving"]]
    assert "drain_all_pages begins" in events
    assert any(text.startswith("CPU ") and text.endswith("was missed") for text in events)
    assert [step["us"] for step in row["interleaving"]] == sorted(step["us"] for step in row["interleaving"])


@pytest.mark.slow
def test_clear_and_set_without_a_lock_is_caught():
    _, row = race("mask-clear-set", "--duration", "60s", "--until-miss", code=2, seconds=180)
    assert row["missed"] >= 1
    events = [step["event"] for step in row["interleaving"]]
    assert "clears the mask" in events
    assert events.count("drain_all_pages begins") >= 2


@pytest.mark.slow
@pytest.mark.parametrize("variant", SAFE)
def test_safe_ones_miss_nobody(variant):
    _, row = race(variant, "--duration", "2s")
    assert (row["missed"], row["pages_left"], row["missed_cpus"], row["interleaving"]) == (0, 0, [], [])
    assert row["short"] == 0
    assert row["drains"] > 50
    assert row["held"] > 10
    if variant in ("workqueue", "remote"):
        assert row["ipis_sent"] == 0


@pytest.mark.soak
@pytest.mark.parametrize("variant", ["mask-private", "mask-spinlock", "mask-mutex"])
@pytest.mark.parametrize("turn", range(10))
def test_safe_ones_miss_nobody_for_a_minute(variant, turn):
    _, row = race(variant, "--duration", "60s", "--seed", str(turn), seconds=200)
    assert row["missed"] == 0


@pytest.mark.slow
def test_more_cpus_than_two_drain():
    _, row = race("mask-mutex", "--duration", "2s", "--cpus", "8", "--drainers", "4")
    assert row["missed"] == 0
    assert row["lock"]["acquisitions"] == row["drains"]


def test_loops_end_it():
    _, row = race("mask-private", "--loops", "200")
    assert row["drains"] >= 200


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--drainers", "4"], "--drainers: 4 of 4 CPUs"),
        (["--drainers", "x"], "--drainers: 'x'"),
        (["--cpus", "1"], "--cpus: 1; one CPU drains"),
        (["--trace", "0"], "--trace"),
    ],
)
def test_bad_options(args, text):
    done = emu(*args)
    assert done.returncode == 1
    assert text in done.stderr
    assert done.stdout == ""


def test_text():
    done = emu("--patch", "pcp-drain=mask-v6", "--duration", "1s", "--until-miss")
    assert done.returncode == 2
    assert "mask-v6: the first miss, from the beginning of its call" in done.stdout
    assert "was missed" in done.stdout
