"""Exports: flows join one to one, time is monotonic, and what was written is read back."""

import csv
import io
import json

import numpy as np
import pytest

from cpus.layout import CONSTANTS
from emu import record
from emu.errors import NotSupportedError, UsageError
from emu.export import BY_NAME, by_ending
from emu.export_ftrace import RAM, ftrace, ranges
from emu.export_timeline import timeline
from tests.emu.test_record import DOCUMENT

CALL_FUNCTION = 2
NAMES = {"caches": {"4096": {"name": "foo", "object_size": 60, "size": 64}}, "locks": {"77": "slab_mutex"}}


def run_of(tmp_path, rows, about=None, **document):
    """A run whose rings hold ROWS of (cpu, ns, event, argument[, cache])."""
    whole = [(*row, 0)[:5] for row in rows]
    columns = list(zip(*whole, strict=True))
    events = {
        "cpu": np.array(columns[0], np.int16),
        "ns": np.array(columns[1], np.int64),
        "event": np.array([CONSTANTS[f"EV_{name}"] for name in columns[2]], np.uint16),
        "argument": np.array(columns[3], np.int64),
        "cache": np.array(columns[4], np.int64),
    }
    place = record.save(tmp_path / "traced", DOCUMENT | {"trace": about or NAMES} | document, events=events)
    return record.load(place)


def broadcast(at, csds=(64, 128), sender=0):
    """A call to CPUs 1 and 2: queued, raised, served, answered."""
    rows = [(sender, at, "CALL_BEGIN", len(csds))]
    rows += [(sender, at + 1 + i, "CSD_QUEUE", csd) for i, csd in enumerate(csds)]
    rows += [(sender, at + 5, "IPI_RAISE", i + 1 | CALL_FUNCTION << 16) for i in range(len(csds))]
    for i, csd in enumerate(csds):
        rows += [
            (i + 1, at + 10, "IPI_ENTRY", CALL_FUNCTION),
            (i + 1, at + 11, "CSD_ENTRY", csd),
            (i + 1, at + 12, "CSD_EXIT", csd),
            (i + 1, at + 13, "IPI_EXIT", CALL_FUNCTION),
        ]
    return [*rows, (sender, at + 20, "CALL_END", len(csds))]


def test_flows_join_one_to_one(tmp_path):
    """The same csds used twice: the first queueing belongs to the first handler."""
    made = timeline(run_of(tmp_path, broadcast(0) + broadcast(100)))
    assert (made.flows, made.unjoined, made.unmatched) == (4, 0, 0)
    seen = {}
    for cpu, marks in made.cpus.items():
        for mark in marks:
            if mark.flow:
                seen.setdefault(mark.flow, []).append((mark.ns, cpu, mark.name))
    assert [name for _, _, name in sorted(seen[1])] == ["csd_queue", "handler", "ack"]
    assert all(len(points) == 3 for points in seen.values())
    assert {sorted(points)[0][0] // 100 == sorted(points)[2][0] // 100 for points in seen.values()} == {True}


def test_what_a_ring_has_overwritten_is_counted(tmp_path):
    whole = broadcast(0) + broadcast(100)
    handler_lost = [row for row in whole if not (row[0] == 1 and row[1] < 50)]
    made = timeline(run_of(tmp_path, handler_lost))
    assert made.flows == 3
    assert made.unjoined == 1
    sender_lost = [row for row in whole if not (row[0] == 0 and row[1] < 50)]
    made = timeline(run_of(tmp_path / "2", sender_lost))
    assert (made.flows, made.unjoined) == (2, 2)


@pytest.mark.parametrize("cut", range(0, 26, 3))
def test_slices_nest_whatever_is_missing(tmp_path, cut):
    rows = [*broadcast(0), (1, 40, "LOCK_WAIT", 77), (1, 45, "LOCK_TAKEN", 77), (1, 50, "LOCK_RELEASED", 77)]
    made = timeline(run_of(tmp_path, (rows + broadcast(100))[cut:]))
    for marks in [*made.cpus.values(), *made.locks.values()]:
        depth = 0
        for before, mark in zip([None, *marks], marks, strict=False):
            assert before is None or before.ns <= mark.ns
            depth += {"B": 1, "E": -1, "I": 0}[mark.kind]
            assert depth >= 0
        assert depth == 0


def test_locks_have_their_tracks(tmp_path):
    rows = [(0, 1, "LOCK_TAKEN", 77), (1, 2, "LOCK_WAIT", 77), (0, 5, "LOCK_RELEASED", 77), (1, 6, "LOCK_TAKEN", 77)]
    made = timeline(run_of(tmp_path, [*rows, (1, 9, "LOCK_RELEASED", 77)]))
    held = [(mark.ns, mark.kind, mark.name) for mark in made.locks["slab_mutex"]]
    assert held == [(1, "B", "CPU 0"), (5, "E", "CPU 0"), (6, "B", "CPU 1"), (9, "E", "CPU 1")]
    assert next((m.ns, m.kind, m.name) for m in made.cpus[1]) == (2, "B", "wait for slab_mutex")


def test_chrome(tmp_path):
    document = json.loads(BY_NAME["chrome"].make(run_of(tmp_path, broadcast(0))))
    events = document["traceEvents"]
    by_flow = {}
    for event in events:
        if event["ph"] in "stf":
            by_flow.setdefault(event["id"], []).append(event["ph"])
    assert sorted(by_flow.values()) == [["s", "f", "t"], ["s", "f", "t"]] or all(
        sorted(phases) == ["f", "s", "t"] for phases in by_flow.values()
    )
    assert len(by_flow) == 2
    for tid in {event["tid"] for event in events if "tid" in event}:
        times = [event["ts"] for event in events if event.get("tid") == tid and "ts" in event and event["pid"] == 1]
        assert times == sorted(times)
    names = {event["args"]["name"] for event in events if event["ph"] == "M" and event["name"] == "thread_name"}
    assert names == {"CPU 0", "CPU 1", "CPU 2"}


def test_perfetto(tmp_path):
    trace_pb2 = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    trace = trace_pb2.Trace()
    trace.ParseFromString(BY_NAME["perfetto"].make(run_of(tmp_path, broadcast(0) + broadcast(100))))
    begun, ended, last = {}, {}, {}
    for packet in trace.packet:
        if not packet.HasField("track_event"):
            continue
        event = packet.track_event
        assert packet.timestamp >= last.get(event.track_uuid, 0)
        last[event.track_uuid] = packet.timestamp
        for flow in event.flow_ids:
            begun[flow] = begun.get(flow, 0) + 1
        for flow in event.terminating_flow_ids:
            ended[flow] = ended.get(flow, 0) + 1
    assert begun == dict.fromkeys((1, 2, 3, 4), 2)  # the sender's queueing and the target's handler
    assert ended == dict.fromkeys((1, 2, 3, 4), 1)  # the answer
    tracks = {p.track_descriptor.name for p in trace.packet if p.HasField("track_descriptor")}
    assert {"CPU 0", "CPU 1", "CPU 2", "requests in flight"} <= tracks


def test_perfetto_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr("emu.export_perfetto.find_spec", lambda name: None)
    with pytest.raises(NotSupportedError, match=r"percpu-emu\[trace\]"):
        BY_NAME["perfetto"].make(run_of(tmp_path, broadcast(0)))


def test_ftrace_text(tmp_path):
    page, order = 5, 1
    obj = RAM + (page << 12) + 64
    rows = [
        *broadcast(1_000_000_000),
        (1, 2_000_000_000, "MM_PAGE_ALLOC", page | order << 40),
        (1, 2_000_000_100, "GROW", 4096),
        (1, 2_000_000_200, "ALLOC", obj),
        (2, 2_000_000_300, "FREE", obj),
        (2, 2_000_000_400, "MM_PAGE_FREE", page | order << 40),
        (2, 2_000_000_500, "ALLOC", obj, 4096),  # of a slab that is gone, or of another
    ]
    text = ftrace(run_of(tmp_path, rows))
    lines = [line.split(": ", 1)[1] for line in text.splitlines() if not line.startswith("#")]
    assert lines[2:] == [
        "ipi_send_cpumask: cpumask=1-2",
        *["call_function_entry: vector=252"] * 2,
        "csd_function_entry: csd=0x0000000000000040",
        "csd_function_entry: csd=0x0000000000000080",
        "csd_function_exit: csd=0x0000000000000040",
        "csd_function_exit: csd=0x0000000000000080",
        *["call_function_exit: vector=252"] * 2,
        "mm_page_alloc: pfn=0x5 order=1",
        f"kmem_cache_alloc: ptr={obj:#018x} name=foo bytes_req=60 bytes_alloc=64",
        f"kmem_cache_free: ptr={obj:#018x} name=foo",
        "mm_page_free: pfn=0x5 order=1",
        f"kmem_cache_alloc: ptr={obj:#018x} name=foo bytes_req=60 bytes_alloc=64",
    ]
    assert "            cpu1-1001   [001]     2.000000: " in text


def test_an_object_of_a_slab_that_ended_is_not_given_its_successors_name(tmp_path):
    obj = RAM + (5 << 12)
    rows = [(1, 1, "ALLOC", obj, 4096), (1, 2, "MM_PAGE_FREE", 5), (1, 3, "ALLOC", obj, 4096)]
    text = ftrace(run_of(tmp_path, rows))
    assert text.count("kmem_cache_alloc") == 1
    assert "1 objects of caches that are gone left out" in text


def test_masks():
    assert ranges([1, 2, 3, 5]) == "1-3,5"
    assert ranges([7]) == "7"


def test_csv_parquet_and_hdr(tmp_path):
    histogram = {"count": 3, "total_ns": 30, "max_ns": 12, "buckets": [[8, 9, 1], [10, 13, 2]]}
    place = record.save(
        tmp_path / "r",
        DOCUMENT | {"histograms": {"latency": {"drain": histogram}}},
        samples={"result.n": [3, 4], "latency.drain.p99_ns": [5, 6]},
    )
    run = record.load(place)
    rows = list(csv.reader(io.StringIO(BY_NAME["csv"].make(run).decode())))
    assert rows[0] == ["run", "figure", "repeat", "value"]
    assert rows[1:3] == [["r", "result.n", "0", "3"], ["r", "result.n", "1", "4"]]
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "x.parquet").write_bytes(BY_NAME["parquet"].make(run))
    assert parquet.read_table(tmp_path / "x.parquet").column("value").to_pylist() == [3, 4, 5, 6]
    hdr = pytest.importorskip("hdrh.histogram")
    line = BY_NAME["hdr"].make(run).decode().splitlines()[-1]
    assert line.startswith("Tag=latency.drain,0.000,")
    read = hdr.HdrHistogram.decode(line.rpartition(",")[2])
    assert read.get_total_count() == 3
    assert (read.get_value_at_percentile(50), read.get_max_value()) == (11, 11)


def test_what_cannot_be_exported(tmp_path):
    plain = record.load(record.save(tmp_path / "r", DOCUMENT))
    for name in ("chrome", "ftrace"):
        with pytest.raises(UsageError, match="--trace"):
            BY_NAME[name].make(plain)
    with pytest.raises(UsageError, match="no histograms"):
        BY_NAME["hdr"].make(plain)
    (plain.path / record.EVENTS).write_bytes(record.npz({"cpu": [1], "ns": [1, 2]}))
    with pytest.raises(UsageError, match=r"events\.npz"):
        BY_NAME["chrome"].make(record.load(plain.path))


def test_endings():
    assert by_ending("a.perfetto-trace").name == "perfetto"
    assert by_ending("a.hlog").name == "hdr"
    assert by_ending("a") is None
