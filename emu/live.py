"""`emu run --live`: shows the run's machines on the terminal while it runs; stdout stays the result's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

END_SECONDS = 5.0


def possible() -> str:
    """Why there can be no live view; empty if there can."""
    if sys.stderr is None or not sys.stderr.isatty():
        return "stderr is no terminal"
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        return "TERM says that the terminal cannot move its cursor"
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return "there is no terminal to read keys from"
    return ""


@contextmanager
def view(wanted: bool, name: str) -> Iterator[bool]:
    """Show the machines of this process while the block runs; whether anything is shown.

    Without a terminal the run goes on unseen, with a word on stderr.
    """
    reason = possible() if wanted else ""
    if reason:
        sys.stderr.write(f"emu: warning: --live: {reason}; the run goes on without\n")
    if not wanted or reason:
        yield False
        return
    command = [sys.executable, "-m", "emu.monitor.follow", str(os.getpid()), name]
    viewer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield True
    finally:
        end(viewer)


def end(viewer: subprocess.Popen[bytes]) -> None:
    """End the viewer; it gives the terminal back before it is gone."""
    viewer.terminate()
    try:
        viewer.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        viewer.kill()
        viewer.wait()
