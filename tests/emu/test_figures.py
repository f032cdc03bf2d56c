"""The flat table of a document's figures."""

from emu.figures import better, flatten, is_count, row_names, unit


def test_paths():
    found = flatten(
        {
            "result": {
                "n": 3,
                "flag": True,
                "text": "x",
                "nothing": None,
                "bad": float("nan"),
                "script": {"before": 2, "after": 7},
                "creations": [1, 2, 3],
                "rows": [{"test": "a", "ns": 1, "patches": {"p": "on"}}, {"test": "b", "ns": 2}],
            },
            "latency": {"drain": {"p99_ns": 5}},
            "config": {"cpus": 4},
            "interrupts": {"CAL": [4, 5]},
        }
    )
    assert found == {
        "result.n": 3,
        "result.script.before": 2,
        "result.script.after": 7,
        "result.script.grown": 5,
        "result.creations.sum": 6,
        "result.rows[a].ns": 1,
        "result.rows[b].ns": 2,
        "latency.drain.p99_ns": 5,
        "interrupts.CAL.sum": 9,
    }


def test_rows_are_called_by_what_tells_them_apart():
    assert row_names([{"test": "a", "size": 8}, {"test": "a", "size": 16}]) == ["8", "16"]
    assert row_names([{"test": "a", "ipi": "s"}, {"test": "a", "ipi": "m"}]) == ["s", "m"]
    assert row_names([{"t": "a", "size": 8}, {"t": "b", "size": 8}, {"t": "a", "size": 16}]) == ["a,8", "b,8", "a,16"]
    assert row_names([{"n": 1}, {"n": 1}]) == ["0", "1"]
    variants = [{"variant": "on", "verdict": "pass"}, {"variant": "off", "verdict": "violation"}]
    assert row_names(variants) == ["on", "off"]
    assert row_names([]) == []
    # What two runs differ in must not be in the name.
    assert row_names([{"variant": "on", "n": 1}]) == ["0"]
    assert row_names([{"test": "concurrent", "size": 32, "series": 11}]) == ["32"]


def test_units():
    for path, wanted in {
        "latency.drain.p99_ns": "ns",
        "locks.slab_mutex.hold_ns.p50": "ns",
        "result.rows[a,8].alloc_cycles": "cycles",
        "result.events_per_s": "rate",
        "result.rows[x].ratio": "number",
        "vmstat.kicks": "count",
    }.items():
        assert unit(path) == wanted
    assert is_count("vmstat.kicks", [1, 2.0])
    assert not is_count("vmstat.kicks", [1.5])
    assert not is_count("latency.x.p50_ns", [1])
    assert (better("result.events_per_s"), better("latency.x.p50_ns")) == (1, -1)
