"""The real program, as a user starts it."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def emu():
    """Run `emu ARGS`; a CompletedProcess with text, and in `.cpu` the seconds of CPU time it took."""

    def run(*args, env=None, **kwargs):
        kwargs.setdefault("timeout", 60)
        kwargs.setdefault("capture_output", True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "emu", *map(str, args)],
            text=True,
            cwd=ROOT,
            env=os.environ | (env or {}),
            stdin=subprocess.DEVNULL,
            check=False,
            **kwargs,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        done.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return done

    return run


@pytest.fixture
def workload(tmp_path):
    """Write a workload file; its path."""

    def write(text, name="mine.py"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


KICKS = '''\
"""Interrupt every other CPU a known number of times."""

SWITCH = "call-multicast"
DEFAULTS = {"cpus": 3, "loops": 5}


def add_options(parser):
    parser.add_argument("operand", nargs="*", help="whatever")
    parser.add_argument("--size", type=int, default=3, help="bytes (default 3)")


def run(ctx, args):
    with ctx.boot() as machine:
        # The slab allocator's boot kicks too, when no other CPU is there to be interrupted.
        booted = machine.vmstat()["kicks"]
        for _ in range(ctx.config.loops):
            machine.kick_all_cpus_sync(on=0)
        kicks = machine.vmstat()["kicks"] - booted
        return {"cal": machine.interrupts()["CAL"], "kicks": kicks, "operand": args.operand, "size": args.size}


def render(result):
    return "CAL " + " ".join(map(str, result["cal"]))
'''


@pytest.fixture
def kicks(workload):
    """A workload whose interrupts can be counted on paper."""
    return workload(KICKS)
