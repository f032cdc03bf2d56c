"""What `emu run --live` starts: a monitor of the machines of one process, drawn on stderr.

A process of its own, and not a thread of the coordinator's: that has no other thread when it forks its CPUs, and what
draws would take host time from the machine's owner. Ctrl-C is the run's; q ends the view alone.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from emu.errors import EmuError, Interrupted
from emu.machines import Running
from emu.monitor.app import App

INTERVAL = 0.25


def main(argv: Sequence[str]) -> int:
    """Follow the process whose number is given until it ends, or asks us to by SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    machine = Running(int(argv[0]), -1, argv[1], 0, 0, "")
    keys = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    try:
        App(machine, interval=INTERVAL, out=sys.stderr, keys=keys).run()
    except Interrupted:
        return 0
    except (EmuError, OSError):
        return 1  # the run goes on, and says itself what happened to it
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
