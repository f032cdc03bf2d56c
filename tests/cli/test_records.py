"""Kept runs through the real program: run, runs, show, again, export."""

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

PLANTED = '''\
"""Frees an object twice."""


def run(ctx, args):
    with ctx.boot() as machine:
        cache = machine.kmem_cache_create("foo", 192)
        objects = [machine.cpu(1).kmem_cache_alloc(cache) for _ in range(5)]
        machine.cpu(1).kmem_cache_free(cache, objects[0])
        machine.cpu(0).kmem_cache_free(cache, objects[0])
    return {"n": 1}
'''
MEASURES = '''\
"""Keeps single measurements."""


def run(ctx, args):
    with ctx.boot() as machine:
        ctx.keep("times", [machine.kick_all_cpus_sync(on=0) for _ in range(6)])
    return {"n": len(args.word)}


def add_options(parser):
    parser.add_argument("--word", default="abc")
'''


@pytest.fixture
def state(tmp_path):
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


def test_a_run_is_kept_shown_and_repeated(emu, kicks, state):
    done = emu("run", kicks, "a", "--seed", "7", env=state)
    name = done.stderr.rpartition("kept as ")[2].strip()
    listed = json.loads(emu("runs", "--json", env=state).stdout)["runs"]
    assert [(run["name"], run["verdict"], run["seed"]) for run in listed] == [(name, "pass", "7")]
    shown = emu("show", "last", env=state)
    assert "CAL 0 5 5" in shown.stdout
    assert "seed 7" in shown.stdout
    document = json.loads(emu("show", name, "--json", env=state).stdout)
    assert document["run"]["argv"] == [str(kicks), "a", "--seed", "7"]
    again = emu("again", name, "--json", env=state)
    assert again.returncode == 0, again.stderr
    repeated = json.loads(again.stdout)
    for key in ("seed", "result", "interrupts", "config"):
        assert repeated[key] == document[key]
    assert len(json.loads(emu("runs", "--json", env=state).stdout)["runs"]) == 2
    assert "CAL 0 2 2" in emu("again", name, "--loops", "2", env=state).stdout


def test_samples_of_repeats_and_of_the_workload(emu, workload, state, tmp_path):
    place = tmp_path / "out"
    emu("run", workload(MEASURES), "--repeat", "3", "--cpus", "3", "-o", place, env=state)
    csv = emu("export", place, "--format", "csv", env=state).stdout.splitlines()
    assert len([line for line in csv if ",elapsed_ns," in line]) == 3
    assert [line.rpartition(",")[2] for line in csv if ",samples.times," in line] == ["2"] * 6


def test_the_ledger(emu, kicks, state):
    emu("run", kicks, env=state)
    text = emu("show", "last", "--ipis", env=state)
    assert text.returncode == 0, text.stderr
    assert "do_nothing" in text.stdout
    found = json.loads(emu("show", "last", "--ipis", "--json", env=state).stdout)
    # Five kicks of two others; the boot's own creations come before there are others.
    assert found["sent"] == 10
    assert sum(row["served"] for row in found["victims"]) == 10


def test_a_failed_machines_slabs(emu, workload, state, tmp_path):
    place = tmp_path / "failed"
    done = emu("run", workload(PLANTED), "--cpus", "2", "-o", place, env=state)
    assert done.returncode == 2
    segment = place / "segment.bin"
    assert segment.stat().st_blocks * 512 < 64 << 20
    assert sorted(f.name for f in tmp_path.iterdir()) == ["failed", "mine.py"]
    shown = json.loads(emu("show", place, "--slab", "foo", "--json", env=state).stdout)
    assert shown["object_size"] == 192
    assert next(cpu["avail"] for cpu in shown["cpus"]) == 1
    assert any(text.startswith("I1") for text in shown["violations"])
    assert "did you mean 'foo'" in emu("show", place, "--slab", "fooo", env=state).stderr
    # Damaged: a reason, no crash.
    with segment.open("r+b") as file:
        file.write(b"\xff" * 4096)
    damaged = emu("show", place, "--slab", "foo", env=state)
    assert (damaged.returncode, "Traceback" in damaged.stderr) == (1, False)
    os.truncate(segment, 1 << 20)
    short = emu("show", place, "--slab", "foo", env=state)
    assert (short.returncode, "Traceback" in short.stderr) == (1, False)


def test_a_trace_goes_round(emu, workload, state, tmp_path):
    """What a machine did, as ftrace text, replayed: the same objects are left."""
    alloc = '''\
"""Allocates and frees."""


def run(ctx, args):
    with ctx.boot() as machine:
        caches = [machine.kmem_cache_create(name, size) for name, size in (("alpha", 192), ("beta", 2048))]
        live = []
        for i in range(60):
            cache = caches[i % 2]
            live.append((cache, machine.cpu(i % 2).kmem_cache_alloc(cache)))
            if i % 3 == 0:
                machine.cpu((i + 1) % 2).kmem_cache_free(*live.pop(0))
    return {"live": len(live)}
'''
    place = tmp_path / "traced"
    emu("run", workload(alloc), "--cpus", "2", "--trace", "16384", "-o", place, env=state)
    text = tmp_path / "trace.txt"
    assert emu("export", place, "-o", text, env=state).returncode == 0
    done = emu("run", "replay", text, "--cpus", "2", "--json", "--no-record", env=state)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["result"]
    assert (result["allocs"], result["matched_frees"], result["unmatched_frees"]) == (60, 20, 0)
    assert result["live_found"] == result["live_expected"] == 40
    assert result["mismatches"] == 0
    chrome = json.loads(emu("export", place, "--format", "chrome", env=state).stdout)
    assert chrome["otherData"]["unjoined"] == 0


def test_a_machines_flows_join(emu, kicks, state, tmp_path):
    """Five kicks of two CPUs: ten requests, each with its three ends; time never runs back on a track."""
    pb = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    emu("run", kicks, "--trace", "16384", "-o", tmp_path / "traced", env=state)
    file = tmp_path / "x.perfetto-trace"
    assert emu("export", tmp_path / "traced", "-o", file, env=state).returncode == 0
    trace = pb.Trace()
    trace.ParseFromString(file.read_bytes())
    ends: dict[int, list[str]] = {}
    last: dict[int, int] = {}
    for packet in trace.packet:
        if packet.HasField("track_event"):
            event = packet.track_event
            assert packet.timestamp >= last.get(event.track_uuid, 0)
            last[event.track_uuid] = packet.timestamp
            for flow in [*event.flow_ids, *event.terminating_flow_ids]:
                ends.setdefault(flow, []).append(event.name)
    assert sorted(ends) == list(range(1, 11))
    assert {tuple(sorted(names)) for names in ends.values()} == {("ack", "csd_queue", "handler")}


@pytest.mark.parametrize(
    "env",
    [
        {"XDG_STATE_HOME": "", "HOME": ""},
        {"XDG_STATE_HOME": "/proc/nowhere"},
        {"XDG_STATE_HOME": "/dev/null"},
    ],
)
def test_no_place_to_keep_it(emu, kicks, env):
    done = emu("run", kicks, env=env)
    assert done.returncode == 0
    assert "CAL 0 5 5" in done.stdout
    assert "this run is not kept" in done.stderr
    assert emu("runs", env=env).returncode == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_read_only_home(emu, kicks, tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    done = emu("run", kicks, env={"XDG_STATE_HOME": str(tmp_path)})
    assert "not writable" in done.stderr


def test_a_place_that_goes_away_meanwhile(emu, workload, state, tmp_path):
    """The result is printed and kept in the default place, and the exit code says that it is not where it should be."""
    text = f'''\
"""Takes the folder away in which it is to be kept."""
from pathlib import Path


def run(ctx, args):
    Path({str(tmp_path / "home")!r}).rmdir()
    Path({str(tmp_path / "home")!r}).write_text("now a file")
    return {{"n": 3}}
'''
    (tmp_path / "home").mkdir()
    done = emu("run", workload(text), "-o", tmp_path / "home" / "x", "--json", env=state)
    assert done.returncode == 3
    assert json.loads(done.stdout)["result"] == {"n": 3}
    assert "cannot be written" in done.stderr
    assert "it was written to" in done.stderr
    assert json.loads(emu("show", "last", "--json", env=state).stdout)["result"] == {"n": 3}


def test_a_killed_coordinator(emu, workload, state):
    """SIGKILL in the middle: what was begun is told, and can be begun again."""
    text = '''\
"""Waits to be killed, or not."""
import pathlib, time


def run(ctx, args):
    with ctx.boot() as machine:
        machine.kick_all_cpus_sync(on=0)
        while ctx.config.params.get("wait") == "1":
            pathlib.Path(__file__).with_name("begun").write_text("")
            time.sleep(0.01)
    return {"n": 1}
'''
    path = workload(text)
    process = subprocess.Popen(
        [sys.executable, "-m", "emu", "run", str(path), "--param", "wait=1", "--name", "mine", "--seed", "5"],
        cwd=Path(__file__).resolve().parents[2], env=os.environ | state, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not path.with_name("begun").exists():
        time.sleep(0.01)
    assert json.loads(emu("runs", "--json", env=state).stdout)["runs"] == []
    process.kill()
    process.wait()
    (row,) = json.loads(emu("runs", "--json", env=state).stdout)["runs"]
    assert (row["name"], row["verdict"]) == ("mine", "lost")
    shown = emu("show", "mine", env=state)
    assert shown.returncode == 0
    assert "the coordinator was lost" in shown.stdout
    assert "seed 5" in shown.stdout
    again = emu("again", "mine", "--param", "other=1", "--dry-run", env=state)
    assert again.returncode == 0, again.stderr
    assert "seed = 5" in again.stdout


ROWS = [
    ("run {w} -o {there}", 1, "never overwritten"),
    ("run {w} -o {file}", 1, "exists"),
    ("run {w} -o /proc/x/y", 3, "not writable"),
    ("run {w} -o {file}/x", 3, "not a folder"),
    ("run {w} -o ''", 1, "no path"),
    ("run {w} --name a/b", 1, "is no name"),
    ("run {w} --name ..", 1, "is no name"),
    ("show", 1, "RUN"),
    ("show nothing-like-it", 1, "no run"),
    ("show last", 1, "there are 0 runs"),
    ("show {file}", 1, "not JSON"),
    ("show {there}", 1, "no run.json"),
    ("show {file} --ipis --slab x", 1, "not allowed with"),
    ("again", 1, "RUN"),
    ("again --cpus 4", 1, "which run"),
    ("again nothing", 1, "no run"),
    ("runs extra", 1, "unexpected operand"),
    ("runs --last 0", 1, "at least 1"),
    ("runs --in /nowhere", 1, "no such folder"),
    ("export last", 1, "which of perfetto"),
    ("export last --format jsno", 1, "did you mean 'hdr'|not one of"),
    ("export nothing --format csv", 1, "no run"),
    ("export nothing -o {file}", 1, "which of|exists"),
]


@pytest.mark.parametrize(("words", "code", "text"), ROWS)
def test_bad_input(emu, kicks, tmp_path, words, code, text):
    import re
    import shlex

    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("hello")
    filled = words.format(w=kicks, there=tmp_path / "there", file=tmp_path / "file")
    if "-o" in words and "there" in words:
        (tmp_path / "there" / "x").write_text("")
    done = emu(*shlex.split(filled), env={"XDG_STATE_HOME": str(tmp_path / "state")})
    assert done.returncode == code, done.stderr
    assert re.search(text, done.stderr), done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "state").exists() or not list((tmp_path / "state").rglob("run.json"))


@pytest.mark.parametrize("name", ["with blank", "\u00fc", "'quoted'"])
def test_unusual_names(emu, kicks, state, name):
    assert emu("run", kicks, "--name", name, env=state).returncode == 0
    assert emu("show", name, env=state).returncode == 0
    again = emu("run", kicks, "--name", name, env=state)
    assert (again.returncode, "exists" in again.stderr) == (1, True)


def test_two_runs_at_once_into_one_place(emu, kicks, state, tmp_path):
    """Both see it free; one gets it, the other says so and is in the default place."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: emu("run", kicks, "-o", tmp_path / "one", env=state), range(2)))
    codes = sorted(run.returncode for run in runs)
    assert codes in ([0, 1], [0, 3])
    if codes == [0, 3]:
        assert any("instead" in run.stderr for run in runs)
    assert (tmp_path / "one" / "run.json").is_file()
    assert not [f for f in tmp_path.iterdir() if ".tmp-" in f.name]
