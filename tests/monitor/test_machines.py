"""Machines are found by their open memory, and only those that can be looked at."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from emu import machines
from emu.errors import ResourceError, UsageError
from emu.machine import Machine
from tests.machines import Rig
from tests.processes import ROOT, SLACK

SCRIPT = """
import sys, time
from emu.machine import Machine
with Machine(2, name=sys.argv[1], memory=16 << 20, max_segment=256 << 20):
    print("up", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other():
    """Start a machine in a process of its own: other(name) -> Popen."""
    started = []

    def start(name, **options):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, **options
        )
        started.append(process)
        assert process.stdout.readline() == b"up\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def mine():
    return [machine for machine in machines.running() if machine.pid == os.getpid()]


def test_a_machine_is_found_once_with_its_name_and_cpus():
    assert mine() == []
    with Rig(3, name="abc"):
        (found,) = mine()  # its CPUs have the same descriptor
        assert (found.name, found.cpus) == ("abc", 3)
        assert machines.find(str(os.getpid())) == found
        assert "pytest" in found.command
    assert mine() == []


def test_the_second_machine_of_a_process_is_another_one():
    with Rig(2):
        (first,) = mine()
    with Rig(2):
        (second,) = mine()
    assert second.generation == first.generation + 1


def test_it_is_found_where_dev_shm_is_too_small(monkeypatch):
    real = os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda path: real("/proc") if path == "/dev/shm" else real(path))
    with Rig(2, name="mem") as rig:
        assert rig.coordinator.where == "memfd"
        assert [machine.name for machine in mine()] == ["mem"]


def test_machines_are_told_apart_by_name_and_by_process(other):
    one, two = other("alpha-one"), other("alpha-two")
    assert machines.find("alpha-one").pid == one.pid
    assert machines.find(str(two.pid)).name == "alpha-two"
    with pytest.raises(UsageError, match="did you mean 'alpha-"):
        machines.find("alpha-on")
    third = other("alpha-one")
    with pytest.raises(UsageError, match=rf"2 machines are called 'alpha-one', give a pid.*{third.pid}"):
        machines.find("alpha-one")
    with pytest.raises(UsageError, match="machines are running, name one"):
        machines.find()


def test_what_is_no_machine_is_refused_with_the_reason():
    with pytest.raises(UsageError, match=re.escape(r"no machine is called 'there\\n is none'")):
        machines.find("there\n is none")
    with pytest.raises(UsageError, match="there is no process 4194305"):
        machines.find("4194305")
    with pytest.raises(UsageError, match="runs no machine"):
        machines.find(str(os.getpid()))


def test_a_killed_coordinators_machine_is_gone_and_nothing_is_left(other):
    process = other("doomed")
    found = machines.find("doomed")
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10 * SLACK
    while any(machine.name == "doomed" for machine in machines.running()):
        assert time.monotonic() < deadline
    with pytest.raises(ResourceError, match=r"doomed.*is gone"):
        machines.open_segment(found)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
def test_another_users_machine_is_refused_by_name_of_the_user(other):
    process = other("roots")
    lookup = (
        "import os, sys; os.setgid(65534); os.setuid(65534)\n"
        "from emu import machines\nfrom emu.errors import EmuError\n"
        "assert not any(m.name == 'roots' for m in machines.running())\n"
        "for which in (sys.argv[1], None):\n"
        "    try:\n        machines.find(which)\n    except EmuError as error:\n        print(error.exit_code, error)\n"
    )
    # Imported as root: the checkout need not be readable for everybody.
    text = f"import emu.machines, emu.errors, pwd, encodings.idna\n{lookup}"
    done = subprocess.run(
        [sys.executable, "-c", text, str(process.pid)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    first, second = done.stdout.splitlines()
    assert first == f"3 process {process.pid} belongs to root: only that user and root may look at it"
    assert second.startswith("1 no machine is running that is yours (there is one of root)")


@pytest.mark.parametrize("name", ["x" * 100, "a\nb", "naïve \x7f", "1234567"])
def test_any_name_can_be_shown(name):
    with Rig(2, name=name):
        (found,) = mine()
        assert found.name.isprintable()
        assert found.name.isascii()
        assert found.name[:4] == "".join(c if c.isprintable() and c.isascii() else "?" for c in name)[:4]
        assert len(found.name) <= 31


@pytest.fixture
def emu_run():
    def run(*args):
        return subprocess.run(
            [sys.executable, "-m", "emu", *args], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )

    return run


def test_list_and_once_need_no_terminal(emu_run, other):
    process = other("plain")
    listed = emu_run("monitor", "--list")
    assert [line.split()[:3] for line in listed.stdout.splitlines() if line.startswith("plain")] == [
        ["plain", str(process.pid), "2"]
    ]
    as_json = emu_run("monitor", "--list", "--json")
    assert f'"pid":{process.pid}' in as_json.stdout
    once = emu_run("monitor", "plain", "--once", "--pane", "caches")
    assert once.returncode == 0
    assert "kmalloc-64" in once.stdout
    assert "\x1b" not in once.stdout
    assert max(map(len, once.stdout.splitlines())) <= 80
    assert emu_run("monitor", "plain", "--pane", "lokcs").stderr == (
        "emu: --pane: 'lokcs' is not one of cpus, locks, caches, ipis, memcgs, events; did you mean 'locks'?\n"
    )


@pytest.mark.parametrize("interval", ["0", "0ms", "5", "1ms", "2h", "x", "-1s"])
def test_intervals_are_checked(emu_run, interval):
    done = emu_run("monitor", f"--interval={interval}")
    assert done.returncode == 1
    assert done.stderr.startswith("emu: --interval: ")


def test_a_machine_that_ends_ends_its_monitor(screen, other):
    process = other("ending")
    shown = screen("monitor", "ending")
    shown.sees("ending pid")
    process.communicate(b"\n")
    shown.sees("has ended")
    assert shown.end() == 0
    assert shown.is_sane()


def test_a_coordinator_that_is_killed_is_told_as_death(screen, other):
    process = other("dying")
    shown = screen("monitor", "dying")
    shown.sees("dying pid")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert shown.end() == 5
    assert "its coordinator died" in shown.text()
    assert shown.is_sane()


def test_the_next_machine_of_a_process_is_followed(screen):
    shown = None
    with Machine(2, name="first", memory=16 << 20):
        shown = screen("monitor", os.getpid())
        shown.sees("first pid")
    shown.sees("waiting for the next one")
    with Machine(3, name="second", memory=16 << 20):
        shown.sees("second pid")
        shown.sees("3 CPUs")
        shown.press("q")
        assert shown.end() == 0
