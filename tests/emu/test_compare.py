"""Comparisons: what is shown, what is noise, what is never said from too little."""

import warnings

import numpy as np
import pytest

from cpus.patch_table import SWITCHES
from emu import compare_fail, compare_stats, compare_text, published, record
from emu.compare_runs import (
    DIFFERS,
    EQUAL,
    NOISE,
    SHOWN,
    TOO_FEW,
    Side,
    compare_sides,
    differences,
    merged,
    side_of,
)
from emu.errors import UsageError
from tests.emu.test_record import DOCUMENT

NS = "result.drain_ns"


def side(name, values, path=NS, **config):
    document = DOCUMENT | {"config": DOCUMENT["config"] | config}
    return Side(name, document, {path: np.array(values)})


def found(a, b, path=NS):
    return compare_sides(side("A", a, path), side("B", b, path)).rows[0]


def noise(seed, n, middle=1000.0):
    return np.random.default_rng(seed).lognormal(0, 0.2, n) * middle


def is_shown(a, b):
    return compare_stats.shown(a, b, compare_stats.change(a, b, 0.95))


def test_a_difference_is_shown():
    row = found(noise(1, 20), noise(2, 20, 2000.0))
    assert row.found == SHOWN
    assert row.change.low > 0.5
    assert row.p < 0.01
    assert row.a.low <= row.a.value <= row.a.high


def test_noise_is_not():
    assert found(noise(1, 20), noise(2, 20)).found == NOISE


def test_false_alarms_are_as_rare_as_said():
    """Of 200 equal pairs about 2 may be shown; 10 would be a fault of the test."""
    assert sum(is_shown(noise(s, 10), noise(s + 1000, 10)) for s in range(200)) < 10


def test_the_oracle_sees_a_planted_change():
    """The same pairs, one side 30 % slower: nearly all must be shown."""
    assert sum(is_shown(noise(s, 20), noise(s + 1000, 20, 1300.0)) for s in range(50)) > 40


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 100), (100, 1), (4, 4), (2, 50)])
def test_nothing_is_shown_from_too_few(n, m):
    row = found(noise(1, n, 1.0), noise(2, m, 1e6))
    assert row.found == TOO_FEW
    judged = compare_fail.judge(
        compare_fail.parse([f"{NS}:5%"]), compare_sides(side("A", noise(1, n, 1.0)), side("B", noise(2, m, 1e6)))
    )
    assert judged[0].state == "unknown"


def test_no_samples_are_no_figure():
    assert compare_sides(side("A", [], "x"), side("B", [1], "x")).rows == []


def test_constant_samples():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = found([5.5] * 6, [5.5] * 6)
        other = found([5.5] * 6, [7.5] * 6)
    assert (same.found, same.change) == (NOISE, (0, 0, 0))
    assert other.found == SHOWN
    assert other.change.low == other.change.high == pytest.approx(7.5 / 5.5 - 1)


def test_zero_before():
    row = found([0.0] * 6, noise(1, 6))
    assert (row.found, row.change) == (SHOWN, None)
    assert compare_text.percent(row).startswith("+")
    mixed = found(np.array([0, 0, 0, 1, 2, 3.0]), noise(1, 6))
    assert np.isfinite(mixed.change.high) or mixed.change is None


def test_a_move_by_one_bucket_is_no_difference():
    """56.8 us and 47.3 us are the middles of neighbours: the truth may be 1 % apart. Two buckets are a difference."""
    path = "latency.drain.p50_ns"
    assert found([56_800.0] * 9, [47_300.0] * 9, path).found == NOISE
    assert found([56_800.0] * 9, [41_000.0] * 9, path).found == SHOWN
    assert found([56_800.0] * 9, [47_300.0] * 9, "latency.drain.max_ns").found == SHOWN


def test_counts_are_exact_or_vary():
    assert found([7] * 5, [7] * 5, "vmstat.kicks").found == EQUAL
    row = found([7] * 5, [9] * 5, "vmstat.kicks")
    assert (row.kind, row.found, row.p) == ("exact", DIFFERS, None)
    assert found([7], [9], "vmstat.kicks").found == TOO_FEW
    assert found([7, 8, 7, 8, 7], [9, 9, 9, 9, 9], "vmstat.kicks").kind == "varies"


@pytest.mark.slow
def test_many_samples():
    """10^7 samples: a median and a 99th percentile with intervals, without a copy for each resample."""
    a = np.random.default_rng(1).integers(100, 200, 10_000_000)
    rows = compare_sides(side("A", a), side("B", a + 10)).rows
    assert [row.path for row in rows] == [NS, f"{NS}@p99"]
    assert rows[0].found == SHOWN
    assert rows[0].change.low > 0


def test_p99_of_kept_measurements():
    a = noise(1, 500)
    b = a.copy()
    b[:10] *= 50  # a tail: the median is the same
    rows = {row.path: row.found for row in compare_sides(side("A", a), side("B", b)).rows}
    assert rows[NS] == NOISE
    assert f"{NS}@p99" in rows


def test_the_same_twice_and_what_only_one_has(tmp_path):
    run = record.load(record.save(tmp_path / "r", DOCUMENT, samples={"vmstat.kicks": [7, 7], NS: [1.0, 2.0]}))
    same = compare_sides(side_of(run), side_of(run))
    assert not any(row.differs for row in same.rows)
    b = Side("B", DOCUMENT, {NS: np.array([1.0]), "new": np.array([1])})
    one = compare_sides(side_of(run), b)
    assert (one.only_a, one.only_b) == (["vmstat.kicks"], ["new"])
    with pytest.raises(UsageError, match="no figure that both have"):
        compare_sides(side_of(run), Side("B", DOCUMENT, {"other": np.array([1])}))


def test_what_is_no_run():
    with pytest.raises(UsageError, match="no run"):
        side_of(3)


def test_circumstances():
    a, b = side("A", [1], cpus=2), side("B", [1], cpus=8, patches={"slab-create-no-ipi": "on"})
    b.document["config"]["patches"] = {"slab-create-no-ipi": "on"}
    a.document["config"]["patches"] = {"slab-create-no-ipi": "off"}
    said = differences(a.document, b.document)
    assert said == ["config.cpus: 2 -> 8", "patches: slab-create-no-ipi off -> on"]


def test_documents_become_repeats():
    one = merged("A", [DOCUMENT, DOCUMENT | {"vmstat": {"kicks": 9, "extra": 1}}])
    assert one.samples["vmstat.kicks"].tolist() == [7, 9]
    assert "vmstat.extra" not in one.samples


LIMITS = [
    ("5%", [100.0] * 6, [104.0] * 6, "ok"),
    ("5%", [100.0] * 6, [106.0] * 6, "worse"),
    ("5%", [100.0] * 6, [50.0] * 6, "ok"),
    ("10ns", [100.0] * 6, [109.0] * 6, "ok"),
    ("10ns", [100.0] * 6, [111.0] * 6, "worse"),
    ("1us", [100.0] * 6, [1101.0] * 6, "worse"),
    ("0", [100.0] * 6, [100.5] * 6, "worse"),
]


@pytest.mark.parametrize(("limit", "a", "b", "state"), LIMITS)
def test_limits(limit, a, b, state):
    both = compare_sides(side("A", a), side("B", b))
    (judged,) = compare_fail.judge(compare_fail.parse([f"{NS}:{limit}"]), both)
    assert judged.state == state


def test_more_is_better_for_rates():
    both = compare_sides(side("A", [100.0] * 6, "result.events_per_s"), side("B", [50.0] * 6, "result.events_per_s"))
    assert compare_fail.judge(compare_fail.parse(["result.events_per_s:5%"]), both)[0].state == "worse"


def test_beyond_the_limit_but_noise():
    a, b = noise(3, 6), noise(3, 6)
    b[3:] *= 1.2
    both = compare_sides(side("A", a), side("B", b))
    (judged,) = compare_fail.judge(compare_fail.parse([f"{NS}:1%"]), both)
    assert judged.state == "ok"


@pytest.mark.parametrize("text", ["", "x", ":5%", "x:", "x:-5%", "x:5 %", "x:5%%", "x:nan", "vmstat.kicks:5ms"])
def test_bad_limits(text):
    with pytest.raises(UsageError, match="--fail-if"):
        compare_fail.parse([text])


def test_a_limit_on_nothing():
    both = compare_sides(side("A", [1.0]), side("B", [1.0]))
    with pytest.raises(UsageError, match=r"did you mean 'result\.drain_ns'"):
        compare_fail.judge(compare_fail.parse(["result.drian_ns:5%"]), both)


def test_the_table_names_what_it_hides():
    a = Side("A", DOCUMENT, {NS: noise(1, 6), "vmstat.kicks": np.array([7] * 6), "elapsed_ns": noise(1, 6)})
    b = Side("B", DOCUMENT, {NS: noise(2, 6), "vmstat.kicks": np.array([0] * 6), "elapsed_ns": noise(1, 6, 9e6)})
    text = compare_text.text(compare_sides(a, b), everything=False)
    assert "no difference shown (1): result.drain_ns" in text
    assert ["vmstat.kicks", "7", "0", "-100.0%"] in [line.split() for line in text.splitlines()]
    assert max(len(line) for line in text.splitlines()) <= 80
    whole = compare_text.text(compare_sides(a, b), everything=True)
    assert NS in whole


def test_published_figures_stand_beside_ours():
    path = "result.cal_cpu0.grown"
    config = DOCUMENT["config"]
    off = DOCUMENT | {"workload": "memcg-create", "config": config | {"patches": {"slab-create-no-ipi": "off"}}}
    on = DOCUMENT | {"workload": "memcg-create", "config": config | {"patches": {"slab-create-no-ipi": "on"}}}
    a, b = Side("A", off, {path: np.array([50] * 6)}), Side("B", on, {path: np.array([0] * 6)})
    text = compare_text.text(compare_sides(a, b), everything=False)
    assert "seed 000" in text
    assert "-99.8%" in text
    assert "+47741" in text
    # In the other direction it is another question.
    assert "-99.8%" not in compare_text.text(compare_sides(b, a), everything=False)


PUBLISHED = [
    ("slab-test", "lockless-grow", "off", "on", "result.rows[concurrent,4096].alloc_cycles", "-70.4%"),
    ("slab-test", "lockless-grow", "off", "on", "result.rows[32].free_cycles", "-1.7%"),
    ("slab-test", "lockless-grow", "off", "on", "result.rows[single,32].free_cycles", None),
    ("slab-test", "lockless-grow", "on", "off", "result.rows[32].free_cycles", None),
    ("memcg-create", "lockless-grow", "off", "on", "result.script.grown", None),
    ("oom-drain", "pcp-drain", "all", "mask-merged", "result.rows[0].drains", "627"),
    ("oom-drain", "pcp-drain", "all", "mask-merged", "vmstat.pcp_global_ipi_saved", "578"),
    ("oom-drain", "pcp-drain", "all", "mask-merged", "result.rows[0].ipis_sent", "-90% +"),
    ("memcg-create", "slab-create-no-ipi", "off", "on", "result.script.grown", "-99.8%"),
]


@pytest.mark.parametrize(("workload", "switch", "before", "after", "path", "shown"), PUBLISHED)
def test_the_published_figure_of_each_thread(workload, switch, before, after, path, shown):
    known = published.figures(workload, {switch: before}, {switch: after})
    said = published.find(known, path)
    assert (said.shown() if said else None) == shown


def test_every_thread_has_a_claim():
    for switch in SWITCHES:
        assert published.claims(switch.name, switch.thread), switch.name


def test_a_published_figure_is_shown_whatever_was_found():
    path = "result.script.grown"
    config = DOCUMENT["config"]
    a, b = (DOCUMENT | {"workload": "memcg-create", "config": config | {"patches": {"slab-create-no-ipi": value}}}
            for value in ("off", "on"))
    found = compare_sides(Side("A", a, {path: np.array([50, 51])}), Side("B", b, {path: np.array([0, 1])}))
    lines = [line.split() for line in compare_text.text(found, everything=False).splitlines()]
    assert ["result.script.grown", "50.5", "0.500", "-99.0%", "too", "few", "runs", "-99.8%"] in lines
    noisy = compare_sides(side("A", noise(1, 9)), side("B", noise(2, 9)))
    assert "interval" not in compare_text.text(noisy, everything=False)
    assert "interval" in compare_text.text(noisy, everything=False, wanted=[NS])


def test_json_is_finite():
    import json

    both = compare_sides(side("A", [1.0]), side("B", [2.0]))
    text = json.dumps(compare_text.as_dict(both), allow_nan=False)
    assert '"found": "too few samples"' in text


def test_order_statistics_agree_with_the_bootstrap(monkeypatch):
    values = noise(5, 1500)
    boot = compare_stats.interval(values, 0.95)
    monkeypatch.setattr(compare_stats, "MOST_RESAMPLED", 10)
    exact = compare_stats.interval(values, 0.95)
    assert exact.value == boot.value
    assert exact.low == pytest.approx(boot.low, rel=0.02)
    assert exact.high == pytest.approx(boot.high, rel=0.02)


def test_figures_of_one_row_are_named_together() -> None:
    paths = ["vmstat.kicks", "ledger.rows[drain].calls", "ledger.rows[drain].sent", "ledger.rows[kick].sent"]
    assert compare_text.by_row(paths) == "vmstat.kicks, ledger.rows[drain] (2 figures), ledger.rows[kick]"
