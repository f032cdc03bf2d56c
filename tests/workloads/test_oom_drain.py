"""oom-drain: counts by the thread's definition, the marks that keep its figures honest, and what ends it."""

import json

import pytest

from tests.processes import run_workload
from workloads import oom_drain

SMALL = ("--memory", "256M", "--loops", "60")


def emu(*args, seconds=150):
    return run_workload("oom-drain", *args, seconds=seconds)


def rows(*args):
    done = emu(*args, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["verdict"] == "pass"  # the conservation check among it
    return document, document["result"]["rows"]


def agree(row, cpus):
    """What must hold of every row, whatever the host does."""
    made = row["drains"] - row["skipped"]
    assert row["ipis_sent"] + row["ipis_avoided"] == cpus * made
    assert sum(row["avoided"].values()) == row["ipis_avoided"]
    assert sum(row["weights"]) == sum(row["ran"]) == made
    # The counter is defined by the weight of the mask: fewer than half of the CPUs.
    if row["variant"] in ("all", "mask-private", "mask-mutex", "mask-spinlock", "workqueue", "remote"):
        assert row["saved"] == sum(row["weights"][: cpus // 2])
    assert row["vmstat"] == f"pcp_global_drain {row['drains']}\npcp_global_ipi_saved {row['saved']}\n"
    assert row["oom_kills"] >= 1
    assert row["sent"] == row["received"]
    assert row["pgsteal_direct"] <= row["pgscan_direct"]
    if row["variant"] == "all":
        assert row["saved"] == 0
        assert row["weights"][cpus] == made
        assert row["ipis_sent"] == made * (cpus - 1)


def test_both():
    document, found = rows("--cpus", "4", "--both", *SMALL)
    assert [row["variant"] for row in found] == ["all", "mask-merged"]
    for row in found:
        agree(row, 4)
    assert document["vmstat"]["pcp_global_drain"] == found[1]["drains"]
    assert document["vmstat"]["allocstall"] >= found[1]["drains"]
    grown = [sum(row["cal"]["after"]) - sum(row["cal"]["before"]) for row in found]
    assert grown[0] > grown[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant", ["mask-v6", "mask-clear-set", "mask-spinlock", "mask-mutex", "mask-trylock", "mask-private",
                "mask-self-clear", "workqueue", "remote"]
)
def test_every_variant(variant):
    _, (row,) = rows("--cpus", "5", "--patch", f"pcp-drain={variant}", *SMALL)
    agree(row, 5)
    if variant in ("workqueue", "remote"):
        assert row["ipis_sent"] == 0
        assert row["cal"]["after"] == row["cal"]["before"]


@pytest.mark.slow
def test_the_published_case():
    """8 CPUs, at least 1,000 drains: saved nearly always, and direct reclaim at least twice as short."""
    _, found = rows("--cpus", "8", "--both")
    for row in found:
        agree(row, 8)
        assert row["drains"] >= 1000
    before, after = found
    assert not after["empty_lists"]
    assert after["saved_share"] > 0.5
    assert before["reclaim_p50_ns"] >= 2 * after["reclaim_p50_ns"]


def test_half_of_the_cpus():
    assert oom_drain.half_share([5, 0, 0, 5, 0], 4) == 0.5
    assert oom_drain.half_share([0, 0, 1, 1, 2], 4) == 1.0
    assert oom_drain.half_share([0, 0, 1, 1], 3) == 1.0
    assert oom_drain.half_share([0, 1, 0, 0], 3) == 0.0
    assert oom_drain.half_share([0, 0], 1) is None


def row_of(**changes):
    row = {
        "variant": "all",
        "drains": 10,
        "saved": 5,
        "saved_share": 0.5,
        "skipped": 0,
        "ipis_sent": 1,
        "ipis_avoided": 2,
        "reclaim_p50_ns": 1000,
        "reclaim_p99_ns": 2000,
        "reclaim_max_ns": 3000,
        "reclaim_mean_ns": 1500,
        "drain_p50_ns": 10,
        "oom_kills": 1,
        "victim_ns": 7,
        "failed": 0,
        "failed_with_pages": 0,
        "weights": [10, 0],
        "ran": [10, 0],
        "calm": {"samples": [9, 1], "half_share": 0.1},
        "pressure": {"samples": [1, 9]},
        "cal": {"before": [0], "after": [1]},
        "empty_lists": True,
        "vmstat": "pcp_global_drain 10\npcp_global_ipi_saved 5\n",
    }
    return row | changes


def test_a_share_that_means_nothing_is_marked():
    text = oom_drain.render_rows([row_of(), row_of(variant="mask-merged", empty_lists=False, reclaim_p50_ns=100)])
    first, second = (line for line in text.splitlines() if " 50.0 %" in line)
    assert "(empty lists)" in first
    assert "(empty lists)" not in second
    assert "627 drains, 578 saved" in text
    assert "3647, 3642" in text
    assert "one order of magnitude" in text
    assert "mask-merged 10.0" in text
    assert "pcp_global_drain 10\n  pcp_global_ipi_saved 5" in text


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--pairs", "0"], "--pairs: 0 is not from 1"),
        (["--memory", "32M"], "--memory: 32M; the lists"),
        (["--duration", "5s"], "--duration: oom-drain makes a number of drains"),
    ],
)
def test_bad_options(args, text):
    done = emu(*args)
    assert done.returncode == 1
    assert text in done.stderr
