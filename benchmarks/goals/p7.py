"""P7: how long `emu --help` takes, and that it imports no numpy; what the monitor costs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

from goals.base import Check, Item, NotBuiltError, Settings
from goals.watching import cost

TITLE = "`emu --help`, best of 10; the monitor at 4 Hz"
IMPORTS = (
    "import sys; sys.argv = ['emu', '--help']\n"
    "try:\n    import emu.cli; emu.cli.main()\nexcept SystemExit: pass\n"
)
NUMPY = IMPORTS + "sys.exit(3 if 'numpy' in sys.modules else 0)"
# Size of the terminal -> share of a core.
MONITOR = {(80, 24): 0.03, (200, 60): 0.08}


def command() -> list[str]:
    """The installed command, or the module where it is not installed."""
    installed = Path(sys.executable).with_name("emu")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "emu.cli"]


def help_time(settings: Settings) -> list[Check]:
    """Wall time of the process."""
    if importlib.util.find_spec("emu.cli") is None:
        raise NotBuiltError("emu/cli")
    times = []
    for _ in range(10):
        begun = time.perf_counter()
        done = subprocess.run([*command(), "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        times.append(time.perf_counter() - begun)
        if done.returncode:
            raise NotBuiltError(f"emu --help (it ends with {done.returncode})")
    numpy = subprocess.run([sys.executable, "-c", NUMPY], stdout=subprocess.DEVNULL, check=False).returncode
    return [
        Check("emu --help, best of 10", min(times), 0.08, "s"),
        Check("numpy imported by it", float(numpy == 3), 0.0, ""),
    ]


def monitor(settings: Settings) -> list[Check]:
    """Share of a core that the monitor takes of a machine of 512 CPUs, by getrusage."""
    from emu.machine import Machine

    seconds = 3.0 if settings.quick else 10.0
    with Machine(512, memory=64 << 20) as machine:
        return [
            Check(f"monitor, 4 Hz, {columns}x{lines}, 512 CPUs", cost(machine, columns, lines, seconds), limit, "core")
            for (columns, lines), limit in MONITOR.items()
        ]


ITEMS = [Item("P7", "help", help_time), Item("P7", "monitor", monitor)]
