"""The monitor on a pseudo-terminal: every key, several sizes, and the terminal as it was whatever ends it."""

import os
import signal
import subprocess
import sys
import termios
import time

import pytest

from tests.machines import Rig
from tests.processes import ROOT, SLACK

SIZES = [(80, 24), (200, 60)]
PANES = ("CPUs", "Locks", "Caches", "IPIs", "Memcgs", "Events")


def start(screen, size=(80, 24), *options, **more):
    shown = screen("monitor", os.getpid(), *options, size=size, **more)
    shown.sees("q quit")
    return shown


def leave(shown):
    shown.press("q")
    assert shown.end() == 0
    assert shown.is_sane()
    assert shown.restored


def every_key(shown, cpus):
    shown.sees(f"{cpus} CPUs, 1 node")
    shown.sees("[1 CPUs]")
    for number, name in enumerate((*PANES[1:], PANES[0]), 2):
        shown.press("\t")
        shown.sees(f"[{(number - 1) % len(PANES) + 1} {name}]")
    shown.press("\x1b[Z")
    shown.sees("[6 Events]")
    for number, name in enumerate(PANES, 1):
        shown.press(str(number))
        shown.sees(f"[{number} {name}]")
    shown.press("3")
    shown.sees("sort: objs")
    shown.press("s")
    shown.sees("sort: active")
    shown.press("S")
    shown.sees("sort: objs")
    shown.press("/")
    shown.sees("filter: _")
    shown.press("dentryy\x7f")
    shown.sees("filter: dentry_")
    shown.press("\r")
    shown.sees("/ filter: dentry")
    shown.press("/\x1b")
    shown.until(lambda text: "filter:" not in text)
    shown.press("?")
    shown.sees("quit; the machine goes on")
    shown.press("\x1b[B\x1b[6~")
    shown.until(lambda text: "quit; the machine goes on" not in text)
    shown.press("?")
    shown.sees("kmalloc-")
    shown.press("\x1b[Bjk\x1b[A\x1b[5~\x1b[6~\x1b[H\x1b[F")
    shown.press("p")
    shown.sees("PAUSED")
    head = shown.text().splitlines()[0]
    for _ in range(8):
        shown.read(0.1)
    assert shown.text().splitlines()[0] == head
    shown.press(" ")
    shown.until(lambda text: "PAUSED" not in text)
    shown.until(lambda text: text.splitlines()[0] != head)
    shown.press("r")
    shown.sees("q quit")


@pytest.mark.parametrize("size", SIZES)
def test_every_key_with_four_cpus(rig, screen, size):
    shown = start(screen, size)
    every_key(shown, 4)
    leave(shown)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_every_key_with_512_cpus(screen, size):
    with Rig(512, memory=64 << 20, limit=120) as rig:
        shown = start(screen, size)
        every_key(shown, 512)
        shown.press("1")
        shown.sees("U user K kernel")
        rig.kick_all_cpus_sync(on=0)
        leave(shown)


def test_it_follows_the_size_of_the_terminal(rig, screen):
    shown = start(screen)
    for columns, lines in ((200, 60), (40, 10), (20, 5), (132, 43), (80, 24)):
        shown.resize(columns, lines)
        shown.until(lambda text: shown.foot().startswith("q quit"))
        if columns >= 80:
            shown.until(lambda text: "4 CPUs, 1 node" in text.splitlines()[0])
    leave(shown)


def test_a_storm_of_resizes_does_no_harm(rig, screen):
    shown = start(screen)
    for i in range(50):
        shown.resize(20 + 3 * i, 5 + i)
        shown.read(0.01)
    shown.resize(80, 24)
    shown.until(lambda text: shown.foot().startswith("q quit"))
    leave(shown)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_end_it_and_the_terminal_is_as_before(rig, screen, number):
    shown = start(screen)
    assert termios.tcgetattr(shown.child.child_fd) != shown.before
    shown.child.kill(number)
    assert shown.end() == 128 + number
    assert shown.is_sane()
    assert shown.restored


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_even_a_death_without_a_chance_restores_it(rig, screen, number):
    shown = start(screen)
    shown.child.kill(number)
    deadline = time.monotonic() + 10 * SLACK
    while not shown.is_sane() or termios.tcgetattr(shown.child.child_fd) != shown.before:
        assert time.monotonic() < deadline
        if not shown.read(0.1):
            break
    assert shown.is_sane()
    assert shown.end() == -number
    assert rig.kick_all_cpus_sync(on=0) == 3


def test_ctrl_z_gives_the_terminal_back_until_it_is_continued(rig, screen):
    # With a shell that has job control: the kernel stops no process that nobody could continue.
    shown = screen("--norc", "--noprofile", "-i", command="/bin/bash", env={"PS1": "prompt> "})
    shown.sees("prompt>")
    shown.press(f"{sys.executable} -m emu monitor {os.getpid()}\n")
    shown.sees("q quit")
    shown.press("\x1a")
    shown.sees("Stopped")
    assert shown.is_sane()
    shown.press("fg\n")
    shown.sees("q quit")
    shown.press("2")
    shown.sees("[2 Locks]")
    shown.press("q")
    shown.until(lambda text: shown.is_sane())
    shown.press("exit $?\n")
    assert shown.end() == 0


def test_it_takes_no_colour_if_none_is_wanted(rig, screen):
    shown = start(screen, env={"NO_COLOR": "1"})
    shown.press("\t\t")
    shown.sees("[3 Caches]")
    colours = [part for part in shown.raw.split(b"\x1b[")[1:] if part.split(b"m")[0][:1] == b"3"]
    assert not [part for part in colours if part.split(b"m")[0].isdigit()]
    leave(shown)


def test_it_draws_in_ascii_if_that_is_all_there_is(rig, screen):
    shown = start(screen, (80, 24), "--ascii")
    shown.sees("[1 CPUs]")
    leave(shown)
    assert shown.raw.isascii()


def test_an_ascii_locale_is_drawn_in_ascii(rig, screen):
    shown = start(screen, env={"PYTHONIOENCODING": "ascii"})
    shown.press("/\u00e9\u4e2dx\r")
    shown.sees("/ filter: x")
    leave(shown)
    assert shown.raw.isascii()


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_a_terminal_that_cannot_move_its_cursor_gets_one_frame(rig, screen, term):
    shown = screen("monitor", os.getpid(), env={"TERM": term})
    assert shown.end() == 0
    assert "[1 CPUs]" in shown.text()
    assert b"\x1b[?" not in shown.raw


WORKLOAD = """\
\"\"\"Wait until a file is there, or somebody has had enough.\"\"\"

import time
from pathlib import Path

DEFAULTS = {"cpus": 2}


def run(ctx, args):
    with ctx.boot():
        while not ctx.interrupted and not Path(GO).exists():
            time.sleep(0.01)
    return {"answer": 42}
"""


@pytest.fixture
def waiting(tmp_path):
    """A workload that waits for a file: (its path, that file)."""
    go = tmp_path / "go"
    (tmp_path / "mine.py").write_text(WORKLOAD.replace("GO", repr(str(go))))
    return tmp_path / "mine.py", go


def test_a_run_shows_its_machines_and_prints_its_result_afterwards(screen, waiting, tmp_path):
    mine, go = waiting
    out = tmp_path / "out.json"
    command = f'exec "$0" -m emu run {mine} --live --json > {out}'
    shown = screen("-c", command, sys.executable, command="/bin/sh")
    shown.sees("mine pid ", seconds=40)
    shown.press("2")
    shown.sees("[2 Locks]")
    go.touch()
    assert shown.end() == 0
    assert shown.is_sane()
    assert '"answer":42' in out.read_text()
    assert out.read_text().count("\n") == 1


def test_q_ends_the_live_view_and_not_the_run(screen, waiting):
    mine, go = waiting
    shown = screen("run", mine, "--live")
    shown.sees("mine pid ", seconds=40)
    shown.press("q")
    shown.until(lambda text: shown.is_sane())
    go.touch()
    shown.sees("answer  42")
    assert shown.end() == 0


def test_ctrl_c_under_a_live_view_stops_the_run(screen, waiting):
    mine, _ = waiting
    shown = screen("run", mine, "--live")
    shown.sees("mine pid ", seconds=40)
    shown.press("\x03")
    assert shown.end() == 130
    assert shown.is_sane()


def test_without_a_terminal_a_live_run_goes_on_unseen(waiting):
    mine, go = waiting
    go.touch()
    done = subprocess.run(
        [sys.executable, "-m", "emu", "run", str(mine), "--live"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0
    assert "answer  42" in done.stdout
    assert "emu: warning: --live: stderr is no terminal; the run goes on without\n" in done.stderr
    assert "\x1b" not in done.stderr
