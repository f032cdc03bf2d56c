"""`emu sweep`: the grid, resuming after a kill, bad files, and a Dask cluster."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emu import sweep
from emu.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
WORKLOAD = '''\
"""Interrupts that can be counted on paper; slow enough to be killed in the middle."""
import time

DEFAULTS = {"loops": 3}


def run(ctx, args):
    with ctx.boot() as machine:
        for _ in range(ctx.config.loops):
            machine.kick_all_cpus_sync(on=0)
            time.sleep(0.05)
        return {"cal": sum(machine.interrupts()["CAL"]), "cpus": machine.cpus}
'''
FILE = '''\
workload = "{workload}"
figures = ["result.cal", "vmstat.kicks"]
{seed}

[options]
loops = 3

[grid]
cpus = [1, 2, 3]
ipi = ["signal", "doorbell"]
'''
EXPECTED = [
    (1, "signal", 0), (1, "doorbell", 0), (2, "signal", 3), (2, "doorbell", 3), (3, "signal", 6), (3, "doorbell", 6)
]  # fmt: skip


@pytest.fixture
def grid(tmp_path, workload):
    path = workload(WORKLOAD)

    def write(seed="seed = 7", name="grid.toml", text=FILE):
        file = tmp_path / name
        file.write_text(text.format(workload=path, seed=seed))
        return file

    return write


def table(done):
    return [(row["cpus"], row["ipi"], row["result.cal"]) for row in json.loads(done.stdout)["rows"]]


def test_a_grid_and_again(emu, grid):
    file = grid()
    first = emu("sweep", file, "--json")
    assert first.returncode == 0, first.stderr
    assert table(first) == EXPECTED
    stamps = {f: f.stat().st_mtime_ns for f in file.with_suffix(".sweep").rglob("run.json")}
    assert len(stamps) == 6
    again = emu("sweep", file, "--json")
    assert again.stdout == first.stdout
    assert {f: f.stat().st_mtime_ns for f in file.with_suffix(".sweep").rglob("run.json")} == stamps
    made = sweep.load(str(file))
    assert made.frame()["result.cal"].tolist() == [row[2] for row in EXPECTED]
    # A longer axis: only the new cells are run.
    file.write_text(file.read_text().replace("[1, 2, 3]", "[1, 2, 3, 4]"))
    assert "2 of 8 cells to run" in emu("sweep", file).stderr


def test_killed_it_goes_on(emu, grid):
    """SIGKILL, again and again; what was finished stays, nothing else does, and the table is the one of a whole run."""
    file = grid(seed="")
    cells = file.with_suffix(".sweep") / "cells"
    seen: dict[str, bytes] = {}
    for _ in range(30):
        process = subprocess.Popen(
            [sys.executable, "-m", "emu", "sweep", str(file), "-q"], cwd=ROOT, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        had = len(seen)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if cells.is_dir() and sum(not f.name.startswith(".") for f in cells.iterdir()) > had:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = {f.name: (f / "run.json").read_bytes() for f in cells.iterdir() if not f.name.startswith(".")}
        assert all(now[name] == data for name, data in seen.items())
        seen = now
        if len(seen) >= 4:
            break
    assert len(seen) >= 4
    done = emu("sweep", file, "--json")
    assert done.returncode == 0, done.stderr
    assert table(done) == EXPECTED
    kept = {f.name: (f / "run.json").read_bytes() for f in cells.iterdir() if not f.name.startswith(".")}
    assert all(kept[name] == data for name, data in seen.items())
    assert table(emu("sweep", grid(name="whole.toml"), "--json")) == EXPECTED


def test_interrupted_it_says_what_is_left(grid):
    file = grid()
    process = subprocess.Popen(
        [sys.executable, "-m", "emu", "sweep", str(file)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    while not list(file.with_suffix(".sweep").rglob("run.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "cells are left, start it again" in err
    assert "to do" in out


def test_what_a_version_lacks_is_a_row(emu, grid):
    text = FILE.replace('ipi = ["signal", "doorbell"]', 'kernel = ["4.12", "6.9"]')
    done = emu("sweep", grid(text=text), "--json")
    assert done.returncode == 0, done.stderr
    states = [row["state"] for row in json.loads(done.stdout)["rows"]]
    assert states == ["pass", "not supported"] * 3


BAD = [
    ("workload = 3\n[grid]\ncpus=[1]", "is not text"),
    ("[grid]\ncpus=[1]", "workload is missing"),
    ('workload = "{workload}"', "grid is missing"),
    ('workload = "{workload}"\n[grid]', "has no axis"),
    ('workload = "{workload}"\n[grid]\ncpus = 3', "is not a list"),
    ('workload = "{workload}"\n[grid]\ncpus = []', "is not a list"),
    ('workload = "{workload}"\n[grid]\ncpus = [1, 1]', "twice"),
    ('workload = "{workload}"\n[grid]\ncpus = [0]', "from 1 to 1024"),
    ('workload = "{workload}"\n[grid]\ncpus = ["8"]', "not a whole number"),
    ('workload = "{workload}"\n[grid]\nkernel = [4.10]', "in quotes"),
    ('workload = "{workload}"\n[grid]\nkernle = ["4.10"]', "did you mean 'kernel'"),
    ('workload = "{workload}"\n[grid]\nslab-create-no-ipi = ["maybe"]', "has no value"),
    ('workload = "{workload}"\nwhat = 1\n[grid]\ncpus = [1]', "no such key"),
    ('workload = "{workload}"\nseed = -1\n[grid]\ncpus = [1]', "is not from 0"),
    ('workload = "{workload}"\nfigures = [1]\n[grid]\ncpus = [1]', "not a list of text"),
    ('workload = "{workload}"\n[options]\nnodes = 4\n[grid]\ncpus = [2]', "cell cpus = 2"),
    ('workload = "nothing-like-it"\n[grid]\ncpus = [1]', "no workload"),
    ("workload = ", "not TOML"),
    ("", "the file is empty"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_bad_files(grid, tmp_path, text, said):
    with pytest.raises(UsageError, match=said):
        sweep.load(str(grid(text=text)))
    assert not list(tmp_path.glob("*.sweep"))


def test_bad_file_on_the_command_line(emu, tmp_path):
    for path, text in ((tmp_path, "not a regular file"), (tmp_path / "none", "No such file")):
        done = emu("sweep", path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert text in done.stderr
        assert "--config" not in done.stderr


def test_another_code_is_another_cell(grid, monkeypatch):
    before = [cell.key for cell in sweep.load(str(grid())).cells]
    monkeypatch.setattr("emu.record_keep.code_version", lambda: "other")
    assert not set(before) & {cell.key for cell in sweep.load(str(grid())).cells}


def test_the_workloads_own_text_counts(grid, workload):
    before = [cell.key for cell in sweep.load(str(grid())).cells]
    file = grid()
    workload(WORKLOAD + "# changed\n")
    assert not set(before) & {cell.key for cell in sweep.load(str(file)).cells}


def test_no_scheduler(emu, grid):
    pytest.importorskip("distributed")
    done = emu("sweep", grid(), "--dask", "tcp://127.0.0.1:1", timeout=90)
    assert done.returncode == 1
    assert "no scheduler answers" in done.stderr


@pytest.mark.slow
def test_a_local_cluster_of_two_workers(emu, grid, tmp_path):
    """The same counts; and never two cells at once on this host, however many workers it has."""
    pytest.importorskip("distributed")
    ready = tmp_path / "address"
    program = (
        "import sys, time, pathlib\n"
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)\n"
        f"    pathlib.Path({str(ready)!r}).write_text(cluster.scheduler_address)\n"
        "    sys.stdin.read()\n"
    )
    script = tmp_path / "cluster.py"
    script.write_text(program)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    cluster = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, cwd=ROOT, env=environment)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.2)
        done = emu("sweep", grid(), "--dask", ready.read_text(), "--json", timeout=100)
    finally:
        cluster.stdin.close()
        cluster.wait(30)
    assert done.returncode == 0, done.stderr
    assert table(done) == EXPECTED


def test_one_worker_for_each_host():
    from emu.sweep_dask import hosts

    workers = {"tcp://10.0.0.1:1": {"host": "a"}, "tcp://10.0.0.1:2": {"host": "a"}, "tcp://10.0.0.2:1": {}}
    assert hosts(workers) == {"a": "tcp://10.0.0.1:1", "10.0.0.2": "tcp://10.0.0.2:1"}
