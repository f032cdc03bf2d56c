"""Run folders: written whole or not at all, never overwritten; read with suspicion."""

import json
import os
import sqlite3

import msgspec
import numpy as np
import pytest

from emu import record, runs, runs_index
from emu.errors import ResourceError, UsageError
from emu.record_frame import frame, table
from emu.results import SCHEMA

DOCUMENT = {
    "schema": SCHEMA,
    "workload": "fake",
    "command": "emu run fake",
    "seed": 2**64 - 1,
    "verdict": "pass",
    "warnings": [],
    "elapsed_ns": 5,
    "config": {"cpus": 2, "kernel": "4.12", "ipi": "signal", "patches": {}},
    "host": {},
    "result": {"n": 3, "pair": {"before": 1, "after": 5}},
    "vmstat": {"kicks": 7},
}


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "percpu-emu" / "runs"


def kept(place, **changes):
    return record.save(place, DOCUMENT | changes, samples={"result.n": [3, 4], "elapsed_ns": [5, 6]})


def test_what_was_written_is_read(tmp_path):
    place = record.save(
        tmp_path / "a b\u00e9", DOCUMENT, samples={"x/y": [1, 2]}, events={"cpu": np.array([0, 1])}, about={"code": "c"}
    )
    run = record.load(place)
    assert run.document["result"] == DOCUMENT["result"]
    assert run.document["seed"] == 2**64 - 1
    assert (run.name, run.workload, run.warnings) == ("a b\u00e9", "fake", [])
    assert run.samples["x/y"].tolist() == [1, 2]
    assert run.events["cpu"].tolist() == [0, 1]
    assert run.document["run"]["code"] == "c"
    assert run.figures["result.pair.grown"] == 4
    assert [f.name for f in tmp_path.iterdir()] == ["a b\u00e9"]


def test_nothing_is_overwritten(tmp_path):
    kept(tmp_path / "r")
    before = (tmp_path / "r" / record.DOCUMENT).read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        kept(tmp_path / "r", verdict="violation")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists"):
        kept(tmp_path / "link")
    assert (tmp_path / "r" / record.DOCUMENT).read_bytes() == before


def test_another_run_was_faster(tmp_path, monkeypatch):
    """Both looked and saw nothing; the second to rename must not replace the first."""
    real = record.npz

    def slow(arrays):
        (tmp_path / "r").mkdir()
        (tmp_path / "r" / record.DOCUMENT).write_text("theirs")
        return real(arrays)

    monkeypatch.setattr(record, "npz", slow)
    with pytest.raises(ResourceError, match="made by another run"):
        kept(tmp_path / "r")
    assert (tmp_path / "r" / record.DOCUMENT).read_text() == "theirs"
    assert [f.name for f in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("at", range(1, 9))
def test_every_write_may_fail(tmp_path, monkeypatch, at):
    """The n-th call that touches the disk fails: an error of ours, nothing left, or the whole run."""
    calls = iter(range(1, 1000))

    def fail(real):
        def wrapper(*args, **kwargs):
            if next(calls) == at:
                raise OSError(28, "No space left on device")
            return real(*args, **kwargs)

        return wrapper

    monkeypatch.setattr(os, "fsync", fail(os.fsync))
    monkeypatch.setattr(record, "write", fail(record.write))
    monkeypatch.setattr(type(tmp_path), "rename", fail(type(tmp_path).rename))
    said = "No space left"
    try:
        kept(tmp_path / "r")
    except ResourceError as error:
        said = str(error)
    assert "No space left" in said
    left = [f.name for f in tmp_path.iterdir()]
    assert left in ([], ["r"])
    if left:
        assert record.load(tmp_path / "r").document["result"] == DOCUMENT["result"]


def truncated(file):
    file.write_bytes(file.read_bytes()[:-40])


def edited(change):
    def edit(file):
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))

    return edit


BAD = [
    (truncated, "cut short"),
    (lambda f: f.write_bytes(b""), "not JSON"),
    (lambda f: f.write_bytes(b"\xff\xfe{}"), "not JSON"),
    (lambda f: f.write_text("[1, 2]"), "no schema number"),
    (lambda f: f.write_text('{"benchmarks": []}'), "no schema number"),
    (lambda f: f.write_text("[" * 100_000), "not JSON"),
    (lambda f: f.write_text(f.read_text().replace('"elapsed_ns":5', '"elapsed_ns":NaN')), "not JSON"),
    (edited(lambda d: d.update(schema=SCHEMA + 1)), "written by a newer"),
    (edited(lambda d: d.update(schema=True)), "no schema number"),
    (edited(lambda d: d.pop("result")), "result is missing"),
    (edited(lambda d: d.update(config=[])), "config is missing"),
    (edited(lambda d: d.update(run=3)), "hand-edited"),
]


@pytest.mark.parametrize(("damage", "text"), BAD)
def test_bad_documents(tmp_path, damage, text):
    place = kept(tmp_path / "r")
    damage(place / record.DOCUMENT)
    with pytest.raises(UsageError, match=text):
        record.load(place)


def test_an_edited_result_is_told(tmp_path):
    place = kept(tmp_path / "r")
    edited(lambda d: d["result"].update(n=4))(place / record.DOCUMENT)
    assert "was edited" in record.load(place).warnings[0]


def test_formatting_is_no_edit(tmp_path):
    place = kept(tmp_path / "r")
    edited(lambda d: None)(place / record.DOCUMENT)
    assert record.load(place).warnings == []


@pytest.mark.parametrize(
    "arrays",
    [{"x": [1.0, float("nan")]}, {"x": [float("inf")]}, {"x": [[1, 2]]}, {"x": ["text"]}],
)
def test_bad_samples(tmp_path, arrays):
    place = kept(tmp_path / "r")
    (place / record.SAMPLES).write_bytes(record.npz(arrays))
    with pytest.raises(UsageError, match=r"no number|no row of numbers"):
        record.load(place).samples  # noqa: B018


def test_samples_are_never_unpickled(tmp_path):
    place = kept(tmp_path / "r")
    np.savez(place / record.SAMPLES, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UsageError, match="damaged"):
        record.load(place).samples  # noqa: B018
    (place / record.SAMPLES).write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(UsageError, match="damaged"):
        record.load(place).samples  # noqa: B018


def test_places_without_a_run(tmp_path):
    for path, text in ((tmp_path, "no run.json"), (tmp_path / "none", "no such run"), ("/dev/null", "regular file")):
        with pytest.raises(UsageError, match=text):
            record.load(path)


def test_the_default_place(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert runs.home() == tmp_path / "percpu-emu" / "runs"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/h")
    assert str(runs.home()) == "/h/.local/state/percpu-emu/runs"
    monkeypatch.delenv("HOME")
    assert runs.home() is None
    assert "neither" in runs.why_not(None)
    (tmp_path / "file").write_text("")
    assert "not a folder" in runs.why_not(tmp_path / "file" / "runs")


@pytest.mark.parametrize("name", ["", ".x", "a/b", "..", "a\nb", "a\0b", "x" * 200])
def test_odd_names(name):
    with pytest.raises(UsageError):
        runs.check_name(name)


@pytest.mark.parametrize("name", ["a b", "\u00fc\u00f1", "x'\"$", "-x"])
def test_names_that_are_just_unusual(name, state):
    kept(state / runs.check_name(name))
    assert runs.find(name).name == name


def test_finding(state):
    for name in ("20260101-a-111111", "20260102-b-222222"):
        kept(state / name)
        os.utime(state / name / record.DOCUMENT, ns=(int(name[:8]), int(name[:8])))
    assert runs.find("last").name == "20260102-b-222222"
    assert runs.find("last~1").name == "20260101-a-111111"
    assert runs.find("20260101").name == "20260101-a-111111"
    assert runs.find("222222").name == "20260102-b-222222"
    assert runs.find(str(state / "20260101-a-111111")).name == "20260101-a-111111"
    with pytest.raises(UsageError, match="2 runs begin or end so"):
        runs.find("2026")
    with pytest.raises(UsageError, match="there are 2 runs"):
        runs.find("last~2")
    with pytest.raises(UsageError, match="did you mean"):
        runs.find("20260101-a-111112")


def test_the_index_follows_the_folders(state):
    kept(state / "one")
    kept(state / "two")
    (state / ".three.tmp-1").mkdir()
    assert [row.name for row in runs_index.rows()] == ["one", "two"]
    (state / "two" / record.DOCUMENT).write_text("{")
    (state / "one" / record.DOCUMENT).unlink()
    (row,) = runs_index.rows()
    assert (row.name, bool(row.problem)) == ("two", True)


def test_the_index_reads_only_what_is_new(state, monkeypatch):
    kept(state / "one")
    runs_index.rows()
    read = []
    monkeypatch.setattr(runs_index, "load", lambda path: read.append(path.name) or record.load(path))
    kept(state / "two")
    assert len(runs_index.rows()) == 2
    assert read == ["two"]


@pytest.mark.parametrize("damage", ["garbage", "version", "columns", "read-only"])
def test_the_index_is_made_again(state, damage, monkeypatch):
    kept(state / "one")
    before = runs_index.rows()
    file = state / runs_index.FILE
    if damage == "garbage":
        file.write_bytes(b"SQLite format 3\0" + b"\xee" * 5000)
    elif damage == "version":
        base = sqlite3.connect(file)
        base.execute("PRAGMA user_version = 99")
        base.close()
    elif damage == "columns":
        file.unlink()
        base = sqlite3.connect(file)
        base.execute("CREATE TABLE runs (name TEXT)")
        base.commit()
        base.close()
    else:
        file.unlink()
        file.mkdir()
    assert runs_index.rows() == before


def test_frames(tmp_path, monkeypatch):
    run = record.load(kept(tmp_path / "r"))
    found = frame([run])
    assert [tuple(row) for row in found][:2] == [("r", "result.n", 0, 3.0), ("r", "result.n", 1, 4.0)]
    assert table(("a", "b"), [])["a"].tolist() == []
    assert table(("a", "b"), [("x", 1), ("yy", 2)])["b"].sum() == 3


def test_the_document_survives_msgspec(tmp_path):
    run = record.load(kept(tmp_path / "r"))
    assert msgspec.json.decode((run.path / record.DOCUMENT).read_bytes()) == run.document
