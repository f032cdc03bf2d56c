"""`emu run` with real machines."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_result_for_people(emu, kicks):
    done = emu("run", kicks, "a", "--seed", "7", "b")
    assert done.returncode == 0
    assert done.stdout.startswith("CAL 0 5 5\n")
    assert "pass: 3 CPUs, Linux 4.12, slab, signal, seed 7" in done.stdout
    assert "emu: seed 7\n" in done.stderr


def test_quiet_is_the_result_alone(emu, kicks):
    done = emu("run", kicks, "-q")
    assert done.stdout == "CAL 0 5 5\n"
    assert [line for line in done.stderr.splitlines() if not line.startswith("emu: seed ")] == []


def test_json(emu, kicks):
    done = emu(
        "run", kicks, "--json", "--size", "9", "x", "y", "--proc", "interrupts", "--proc", "vmstat", "--param", "k=v"
    )
    assert done.stdout.count("\n") == 1
    document = json.loads(done.stdout)
    assert (document["schema"], document["workload"], document["verdict"]) == (1, "mine", "pass")
    assert document["seed"] == document["config"]["seed"]
    assert f"emu: seed {document['seed']}\n" in done.stderr
    assert document["result"] == {"cal": [0, 5, 5], "kicks": 5, "operand": ["x", "y"], "size": 9}
    assert document["config"]["params"] == {"k": "v"}
    assert document["interrupts"]["CAL"] == [0, 5, 5]
    ipis = document["ipis"]
    assert ipis["raised"] == ipis["taken"] + ipis["merged"] + ipis["pending"]
    requests = document["requests"]
    assert requests["enqueued"] == requests["run"] + requests["refused"] + requests["pending"] == 10
    assert document["vmstat"]["kicks"] >= 5
    assert document["latency"]["kick"]["count"] == 5
    assert document["host"]["delivery"] in ("plain", "gated", "boosted")
    assert set(document["proc"]) == {"interrupts", "vmstat"}
    assert "Function call interrupts" in document["proc"]["interrupts"]


def test_both(emu, kicks):
    document = json.loads(emu("run", kicks, "--both", "--json").stdout)
    rows = document["result"]["rows"]
    assert [(row["variant"], row["cal"]) for row in rows] == [("always", [0, 5, 5]), ("if-queue-empty", [0, 5, 5])]


def test_repeat(emu, kicks):
    document = json.loads(emu("run", kicks, "--repeat", "3", "--json").stdout)
    assert document["result"]["repeats"] == 3
    assert document["result"]["spread"] == {}


def test_one_cpu(emu, kicks):
    assert json.loads(emu("run", kicks, "--cpus", "1", "--json").stdout)["interrupts"]["CAL"] == [0]


def test_configuration_file(emu, kicks, tmp_path):
    (tmp_path / "c.toml").write_text('cpus = 2\nloops = 3\nkernel = "4.4"\n')
    document = json.loads(emu("run", kicks, "--config", tmp_path / "c.toml", "--json").stdout)
    assert document["interrupts"]["CAL"] == [0, 3]
    assert document["config"]["kernel"] == "4.4"


def test_dry_run_boots_nothing(emu, kicks):
    done = emu("run", kicks, "--dry-run", "--cpus", "1024", "--patch", "pcp-drain=mask-v6", "--seed", "3")
    assert (done.returncode, done.stderr) == (0, "")
    for line in ("  cpus = 1024", "  memory = 256 MiB", "  seed = 3", "  slab-create-no-ipi = on"):
        assert f"{line}\n" in done.stdout
    assert "pcp-drain = mask-v6  (Linux 4.12: workqueue)" in done.stdout
    assert "unsafe (no): pcp-drain = mask-v6" in done.stdout
    assert "memory: RAM up to 256 MiB" in done.stdout
    document = json.loads(emu("run", kicks, "--dry-run", "--json").stdout)
    assert document["config"]["patches"]["pcp-drain"] == "workqueue"


def test_help_of_a_workload(emu, kicks):
    done = emu("run", kicks, "--help")
    assert "Interrupt every other CPU a known number of times." in done.stdout
    assert "--size" in done.stdout
    assert "(default 3)" in done.stdout


def test_violation(emu, workload):
    path = workload("def run(ctx, args):\n    ctx.violation('I3', 'freed twice')\n    return {'n': 1}\n")
    done = emu("run", path, "--seed", "5")
    assert done.returncode == 2
    assert "violation I3: freed twice" in done.stdout
    assert f"again: emu run {path} --seed 5" in done.stdout
    assert emu("run", path, "--kernel", "4.4", "--expect", "violation").returncode == 0


def test_strict(emu, workload):
    path = workload("def run(ctx, args):\n    ctx.distrust('noisy')\n    return {}\n")
    done = emu("run", path, "--strict", "--json")
    assert done.returncode == 7
    assert json.loads(done.stdout)["verdict"] == "unfit-host"


LISTENS = """\
import sys


def run(ctx, args):
    done = 0
    with ctx.boot() as machine:
        while not ctx.interrupted:
            machine.kick_all_cpus_sync(on=0)
            done += 1
            if done == 5:
                sys.stderr.write("ready\\n")
        return {"kicks": done}
"""
DEAF = """\
import sys


def run(ctx, args):
    with ctx.boot() as machine:
        booted = machine.vmstat()["kicks"]
        while True:
            machine.kick_all_cpus_sync(on=0)
            ctx.partial["kicks"] = machine.vmstat()["kicks"] - booted
            if ctx.partial["kicks"] == 5:
                sys.stderr.write("ready\\n")
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
@pytest.mark.parametrize("text", [LISTENS, DEAF], ids=["listens", "deaf"])
def test_interrupted(workload, text, name, code):
    command = [sys.executable, "-m", "emu", "run", workload(text), "--json", "--cpus", "3", "-q"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while process.stderr.readline() not in ("ready\n", ""):
        pass
    process.send_signal(getattr(signal, name))
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in stderr
    document = json.loads(stdout)
    assert document["verdict"] == "interrupted"
    assert document["vmstat"]["kicks"] >= document["result"]["kicks"] >= 5
    # Who does not look is stopped in the middle of a kick.
    assert document["interrupts"]["CAL"][1] >= document["result"]["kicks"] - 1
    assert document["violations"] == []


def test_nothing_is_left(emu, kicks):
    before = sorted(Path("/dev/shm").glob("emu-*"))
    emu("run", kicks)
    assert sorted(Path("/dev/shm").glob("emu-*")) == before
