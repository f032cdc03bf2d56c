"""One run in a process of its own, for whoever makes many: `emu compare` and `emu sweep`.

A fresh process each time, since a machine's CPUs are forked: what an earlier run left in the parent's memory would make
the later ones slower to boot. It also keeps one run's death from ending the others. The process dies with its parent
(PDEATHSIG), so a killed sweep leaves no machine behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from emu.errors import EmuError
from emu.signals import StopSignals

PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 0.1
PATIENCE = 30  # looks, after a signal was passed on


@dataclass
class Cell:
    """What came of a run: its document (None if it gave none), exit code, and what it said last."""

    document: dict[str, Any] | None
    exit_code: int
    said: str


def run(argv: Sequence[str], stop: StopSignals | None = None) -> Cell:
    """Run `emu run ARGV --json` and wait for it. A signal that STOP has seen is passed on to it, once."""
    command = [sys.executable, "-m", "emu.cell", str(os.getpid()), *argv, "--json", "--no-record", "--quiet"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with contextlib.ExitStack() as undo:
        if stop is not None:
            undo.enter_context(stop.shielded())
        # A group of its own: Ctrl-C comes from us, and not from the terminal as well.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0,
            env=environment,
        )  # fmt: skip
        undo.callback(_end, process)
        out, err = _wait(process, stop)
    return Cell(_document(out), _exit_code(process.returncode), _last_line(err))


def _wait(process: subprocess.Popen[bytes], stop: StopSignals | None) -> tuple[bytes, bytes]:
    asked = 0
    while True:
        try:
            return process.communicate(timeout=LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if stop is None or not stop.signum:
                continue
            if not asked:
                process.send_signal(stop.signum)
            elif asked > PATIENCE:
                process.kill()
            asked += 1


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _document(out: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(out)
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, dict) else None


def _exit_code(code: int) -> int:
    return code if code >= 0 else EmuError.exit_code


def _last_line(err: bytes) -> str:
    lines = [line for line in err.decode(errors="replace").splitlines() if line.startswith("emu: ")]
    said = [line for line in lines if not line.startswith(("emu: seed ", "emu: warning: "))]
    return said[-1].removeprefix("emu: ") if said else ""


def main(argv: Sequence[str]) -> int:
    """In the child: die with the parent, then be `emu run`."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(argv[0]):  # it died before we asked for that
        return EmuError.exit_code
    from emu.cli import main as emu

    return emu(["run", *argv[1:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
