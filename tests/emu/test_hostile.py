"""Results that somebody else wrote: whatever is in them, an answer or one line of error."""

import contextlib
import copy
import json

import msgspec
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emu import compare_text, ledger, record, runs_index
from emu.commands import show
from emu.compare_runs import Side, compare_sides
from emu.errors import EmuError
from emu.export_chrome import chrome
from emu.export_ftrace import ftrace
from emu.export_samples import to_csv, to_hdr
from emu.export_timeline import timeline
from tests.emu.test_export import NAMES, run_of
from tests.emu.test_record import DOCUMENT

LEDGER_ROW = {"site": "s", "function": "f", "locks": "slab_mutex", "wait_max_ns": 1} | dict.fromkeys(ledger.SUMS, 1)
WHOLE = DOCUMENT | {
    "host": {
        "allowed_cpus": 2, "delivery": "gated", "running": 2, "oversubscribed": True,
        "ipi_floor_ns": {"signal": {"p50": 1, "p99": 2}},
    },
    "config": {"cpus": 2, "kernel": "4.12", "allocator": "slab", "ipi": "signal", "patches": {}},
    "violations": [{"invariant": "I1", "text": "x"}],
    "interrupts": {"CAL": [1, 2], "RES": [3]},
    "ipis": {"raised": 3},
    "locks": {"slab_mutex": {"acquisitions": 1, "contended": 0, "wait_ns": {"p50": 1, "p99": 1, "max": 1},
                             "hold_ns": {"p50": 1, "p99": 1, "max": 1}}},
    "latency": {"kick": {"count": 1, "p50_ns": 1, "p90_ns": 1, "p99_ns": 1, "max_ns": 1}},
    "histograms": {"latency": {"kick": {"count": 1, "total_ns": 5, "max_ns": 5, "buckets": [[4, 5, 1]]}}},
    "ledger": {"rows": [LEDGER_ROW], "victims": [{"site": "s", "function": "f", "served": 1, "busy": 1, "busy_ns": 1}]},
    "machine": {"boot_ns": 1, "memory_bytes": 1, "metadata_bytes": 1},
}  # fmt: skip
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5), st.just([]), st.just({}), st.just([[]]), st.just([1, "x"]),
    st.just({"before": 1, "after": {}}),
)  # fmt: skip


def places(value, path=()):
    """Every place in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


PLACES = [path for path in places(WHOLE) if path]


def changed(path, value):
    document = copy.deepcopy(WHOLE)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), ODD)
def test_one_odd_value_anywhere(tmp_path, path, value):
    data = msgspec.json.encode(changed(path, value))
    with contextlib.suppress(EmuError):
        run = record.check(tmp_path, data, "run")
        runs_index.describe(run)
        to_csv(run)
        for use in (show.whole, lambda r: ledger.text(ledger.of(r.document)), to_hdr):
            with contextlib.suppress(EmuError):
                use(run)
        compare_sides(Side("A", WHOLE, run.samples), Side("B", run.document, run.samples))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes(tmp_path, data):
    with contextlib.suppress(EmuError):
        record.check(tmp_path, data, "run")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 2000), st.integers(0, 255))
def test_one_wrong_byte(tmp_path, at, byte):
    data = bytearray(json.dumps(WHOLE).encode())
    data[at % len(data)] = byte
    with contextlib.suppress(EmuError):
        show.whole(record.check(tmp_path, bytes(data), "run"))


VALUES = st.lists(st.floats(0, 1e12) | st.integers(0, 10**12).map(float), min_size=1, max_size=8)


@settings(max_examples=60)
@given(VALUES, VALUES)
def test_any_samples(a, b):
    """Any finite samples: a defined row, and never a difference from fewer than five."""
    found = compare_sides(Side("A", DOCUMENT, {"x_ns": np.array(a)}), Side("B", DOCUMENT, {"x_ns": np.array(b)}))
    (row,) = found.rows
    assert not (row.differs and min(len(a), len(b)) < 5)
    if sorted(a) == sorted(b):
        assert not row.differs
    text = compare_text.text(found, everything=True)
    assert "nan" not in text.lower()
    json.dumps(compare_text.as_dict(found), allow_nan=False)


EVENTS = st.lists(
    st.tuples(
        st.integers(-1, 3),
        st.integers(0, 50),
        st.sampled_from(
            ["CSD_QUEUE", "CSD_ENTRY", "CSD_EXIT", "CALL_BEGIN", "CALL_END", "IPI_RAISE", "IPI_ENTRY", "IPI_EXIT",
             "LOCK_WAIT", "LOCK_TAKEN", "LOCK_RELEASED", "ALLOC", "FREE", "GROW", "MM_PAGE_ALLOC", "MM_PAGE_FREE",
             "SLOT_TAKEN", "BUG"]
        ),
        st.integers(0, 130),
        st.sampled_from([0, 4096]),
    ),
    min_size=1,
    max_size=60,
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS, st.randoms(use_true_random=False))
def test_any_events(tmp_path_factory, rows, random):
    run = run_of(tmp_path_factory.mktemp("t"), rows, NAMES)
    made = timeline(run)
    seen: dict[int, int] = {}
    for marks in [*made.cpus.values(), *made.locks.values()]:
        depth, before = 0, -1
        for mark in marks:
            assert mark.ns >= before
            before = mark.ns
            depth += {"B": 1, "E": -1, "I": 0}[mark.kind]
            assert depth >= 0
            if mark.flow:
                seen[mark.flow] = seen.get(mark.flow, 0) + 1
        assert depth == 0
    assert set(seen) == set(range(1, made.flows + 1))
    assert all(2 <= points <= 3 for points in seen.values())
    chrome(made, {})
    ftrace(run)
