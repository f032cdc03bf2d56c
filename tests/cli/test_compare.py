"""`emu compare` through the real program: live, stored, and with everything wrong that can be."""

import json
import re
import shlex

import pytest

from emu import record
from tests.emu.test_record import DOCUMENT

pytest.importorskip("scipy")
PUBLISHED = '''\
"""Creates caches: interrupts up to 4.11, none since. Published figures are of memcg-create."""

DEFAULTS = {"cpus": 3, "loops": 4, "kernel": "4.11"}


def run(ctx, args):
    with ctx.boot() as machine:
        before = sum(machine.interrupts()["CAL"])
        for i in range(ctx.config.loops):
            machine.kmem_cache_create(f"c{i}", 192, on=1)
        return {"cal": {"before": before, "after": sum(machine.interrupts()["CAL"])}}
'''
ALTERNATES = '''\
"""Fails on one side."""
DEFAULTS = {"cpus": 1}


def run(ctx, args):
    if ctx.config.kernel == "4.12":
        raise RuntimeError("no")
    return {"n": 1}
'''


@pytest.fixture
def state(tmp_path):
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


def rows_of(done):
    document = json.loads(done.stdout)
    return document, {row["path"]: row for row in document["comparisons"][0]["rows"]}


def test_live(emu, workload, state):
    """Counts are exact on both sides, whatever the host does: 4 creations, 2 interrupts each, or none."""
    done = emu(
        *("compare", workload(PUBLISHED), "--patch", "slab-create-no-ipi", "--rounds", "5", "--warmup", "0", "--json"),
        env=state,
    )
    assert done.returncode == 0, done.stderr
    document, rows = rows_of(done)
    assert document["rounds"] == 5
    grown = rows["result.cal.grown"]
    assert (grown["kind"], grown["found"], grown["a"]["value"], grown["b"]["value"]) == ("exact", "differs", 8, 0)
    assert document["comparisons"][0]["differences"] == ["patches: slab-create-no-ipi off -> on"]
    # The sides are kept, and compare the same when they are stored.
    stored = emu("compare", *document["kept"], "--json", env=state)
    assert rows_of(stored)[1]["result.cal.grown"]["found"] == "differs"
    text = emu("compare", *document["kept"], env=state).stdout
    # A figure's name may be longer; then it stands alone.
    assert [line for line in text.splitlines() if len(line) > 80 and " " in line.strip()] == []
    assert "exact, the same in every run" in text


def test_a_regression_exits_6(emu, workload, state, tmp_path):
    done = emu(
        *("compare", workload(PUBLISHED), "--a", "kernel=4.12", "--b", "kernel=4.11", "--rounds", "2", "--warmup", "0"),
        *("--fail-if", "result.cal.grown:5%", "-o", tmp_path / "both"),
        env=state,
    )
    assert done.returncode == 6
    assert "regression: result.cal.grown: 0 -> 8" in done.stderr
    assert sorted(f.name for f in (tmp_path / "both").iterdir()) == ["a", "b"]


def test_three_sides(emu, kicks, state):
    done = emu("compare", kicks, "--vary", "ipi=signal,doorbell,cluster", "--rounds", "1", "--warmup", "0", env=state)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("A  ipi=signal") == 2
    assert "too few runs to tell" in done.stdout
    assert "interrupts.CAL.sum" not in done.stdout.partition("too few")[0]


def test_a_side_that_fails(emu, workload, state):
    done = emu(
        "compare", workload(ALTERNATES), "--a", "kernel=4.11", "--b", "kernel=4.12", "--rounds", "2", env=state
    )
    assert done.returncode == 5
    assert "kernel=4.12: workload mine" in done.stderr
    assert "RuntimeError: no" in done.stderr
    assert done.stdout == ""


@pytest.fixture
def runs(tmp_path):
    """Stored runs to be compared."""

    def save(name, document=DOCUMENT, **samples):
        return record.save(tmp_path / name, document, samples={k.replace("__", "."): v for k, v in samples.items()})

    save("good", elapsed_ns=[100 + i for i in range(8)], vmstat__kicks=[7] * 8)
    save("slow", elapsed_ns=[200 + i for i in range(8)], vmstat__kicks=[9] * 8)
    save("one", elapsed_ns=[100], vmstat__kicks=[7])
    save("one-slow", elapsed_ns=[10_000], vmstat__kicks=[700])
    save("constant", elapsed_ns=[100] * 8, vmstat__kicks=[7] * 8)
    save("other", DOCUMENT | {"workload": "other", "config": DOCUMENT["config"] | {"cpus": 64}}, elapsed_ns=[100] * 8)
    save("strange", strange__figure=[1, 2])
    save("empty", elapsed_ns=[])
    save("edited", elapsed_ns=[100] * 8)
    text = (tmp_path / "edited" / "run.json").read_text()
    (tmp_path / "edited" / "run.json").write_text(text.replace('"n":3', '"n":4'))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "run.json").write_text(text[:100])
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "run.json").write_text(text.replace('"schema":1', '"schema":99'))
    save("nan")
    (tmp_path / "nan" / "samples.npz").write_bytes(record.npz({"elapsed_ns": [1.0, float("nan")]}))
    (tmp_path / "pyperf.json").write_text('{"benchmarks": [], "version": "1.0"}')
    return tmp_path


# Words, exit code, what stdout or stderr says. The words are folders of `runs`.
STORED = [
    ("good slow", 0, r"elapsed_ns +104 ns +204 ns +\+96\.6%"),
    ("good good", 0, "compared with itself"),
    ("good good", 0, "no figure differs"),
    ("good", 1, "alone; give at least two"),
    ("good slow --fail-if elapsed_ns:5%", 6, "regression"),
    ("good slow --fail-if elapsed_ns:500%", 0, "--fail-if ok"),
    ("one one-slow", 0, "too few runs to tell"),
    ("one one-slow --fail-if elapsed_ns:5%", 0, "not judged, at least 5 runs"),
    ("good one-slow --fail-if elapsed_ns:5%", 0, "not judged"),
    ("constant constant", 0, "no figure differs"),
    ("constant good", 0, "elapsed_ns"),
    ("good other", 0, "differs in config.cpus: 2 -> 64"),
    ("good other", 0, "differs in workload"),
    ("good strange", 1, "no figure that both have"),
    ("good empty", 0, "no figure differs"),
    ("good edited", 0, "was edited"),
    ("good cut", 1, "cut short"),
    ("good schema", 1, "written by a newer"),
    ("good nan", 1, "NaN"),
    ("good pyperf.json", 1, "no schema number"),
    ("good missing", 1, "no such run"),
    ("good slow --patch slab-create-no-ipi", 1, "stored runs are as they are"),
    ("good slow --rounds 5", 1, "stored runs are as they are"),
    ("good slow --fail-if elapsed_n:5%", 1, "did you mean 'elapsed_ns'"),
    ("good slow --fail-if elapsed_ns", 1, "PATH:LIMIT"),
    ("good slow --confidence 95", 1, "is not from 50%"),
    ("good slow --confidence 100%", 1, "is not from 50%"),
    ("good slow --nonsense", 1, "no option"),
]


@pytest.mark.parametrize(("words", "code", "text"), STORED)
def test_stored(emu, runs, state, words, code, text):
    filled = [str(runs / word) if (runs / word).exists() or word == "missing" else word for word in shlex.split(words)]
    done = emu("compare", *filled, env=state)
    assert done.returncode == code, done.stderr
    assert re.search(text, done.stdout + done.stderr), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert done.stdout == ""


LIVE = [
    ("compare", 1, "what\\?"),
    ("compare {w}", 1, "what are the sides|alone"),
    ("compare {w} --cpus 2", 1, "what are the sides"),
    ("compare {w} --patch nothing", 1, "no patch 'nothing'"),
    ("compare {w} --patch slab-create-no-ipi=x", 1, "has no value"),
    ("compare {w} --a kernel=4.11 --b kernel=4.11", 1, "are the same"),
    ("compare {w} --a kernle=4.11 --b cpus=2", 1, "did you mean 'kernel'"),
    ("compare {w} --a kernel --b cpus=2", 1, "KEY=VALUE"),
    ("compare {w} --a kernel=9.9 --b cpus=2", 4, "not modelled"),
    ("compare {w} --a cpus=0 --b cpus=2", 1, "from 1 to 1024"),
    ("compare {w} --a seed=1 --b seed=2", 1, "the same on both sides"),
    ("compare {w} --a cpus=2 --vary cpus=1,2", 1, "not both"),
    ("compare {w} --vary cpus=2", 1, "KEY=VALUE,VALUE"),
    ("compare {w} --vary cpus=2,2", 1, "twice"),
    ("compare {w} --vary smoke=1,2", 1, "no option and no patch"),
    ("compare {w} --a cpus=2 --rounds 0", 1, "from 1 to 1000"),
    ("compare {w} --a cpus=2 --rounds x", 1, "whole number"),
    ("compare {w} --a cpus=2 --budget 5", 1, "unit"),
    ("compare {w} --a cpus=2 --precision 0%", 1, "is not from"),
    ("compare {w} --a cpus=2 --warmup 1000", 1, "from 0 to 100"),
    ("compare {w} --a cpus=2 --seed -1", 1, "2\\^64|from 0"),
    ("compare {w} --a cpus=2 --both", 1, "has its own sides"),
    ("compare {w} --a cpus=2 --fail-if x", 1, "PATH:LIMIT"),
    ("compare {w} --a cpus=2 --dry-run", 1, "belongs to one run"),
    ("compare {w} --a cpus=2 --name x", 1, "belongs to one run"),
    ("compare nothing-like-it --a cpus=2", 1, "no workload"),
]


@pytest.mark.parametrize(("words", "code", "text"), LIVE)
def test_bad_input(emu, kicks, state, words, code, text):
    done = emu(*shlex.split(words.format(w=kicks)), env=state)
    assert done.returncode == code, done.stderr
    assert re.search(text, done.stderr), done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_without_scipy(emu, kicks, state, tmp_path):
    (tmp_path / "scipy").mkdir()
    blocker = tmp_path / "sitecustomize.py"
    blocker.write_text(
        "import importlib.util as u\nreal = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'scipy' else real(name, *a)\n"
    )
    done = emu("compare", kicks, "--a", "cpus=2", env=state | {"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, "percpu-emu[stats]" in done.stderr) == (4, True)
