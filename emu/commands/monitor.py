"""emu monitor: a live view of a running machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

from emu.errors import UsageError, did_you_mean, one_line
from emu.parser import Parser

DESCRIPTION = """\
Watch a running machine: its CPUs, locks, caches, interrupts, memcgs and events.
Reads the machine's memory, read-only, and nothing else."""
EPILOG = """\
MACHINE is a name (--name of `emu run`, by default the workload's) or the number
of the coordinator's process; without it the only machine there is. A run that
boots several machines one after another is followed from one to the next.

keys: q quit, p pause, s sort, / filter, Tab or 1-6 pane, ? help with what every
figure means and where a real kernel shows it.

Without a terminal, or with TERM=dumb, one frame is printed, as with --once.

overhead: no lock is taken and nothing is written; at 4 looks a second it takes
1 to 3 percent of one core at 80x24 (docs/monitor.md).

examples:
  emu monitor
  emu monitor memcg-create --pane locks
  emu monitor --once --pane caches | head -20
  emu monitor --list
"""
NAMES = ("cpus", "locks", "caches", "ipis", "memcgs", "events")
SHORTEST, LONGEST = 0.05, 60.0


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu monitor", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("machine", metavar="MACHINE", nargs="?", help="name or process number")
    made.add_argument("--pane", metavar="PANE", default="cpus", help=f"first one of {', '.join(NAMES)} (default cpus)")
    made.add_argument(
        "--interval", metavar="TIME", default="250ms", help="between two looks, 50ms to 1m (default 250ms)"
    )
    made.add_argument("--once", action="store_true", help="print one frame and end")
    made.add_argument("--list", action="store_true", help="list the machines that run")
    made.add_argument("--json", action="store_true", help="with --list: one JSON object")
    made.add_argument("--ascii", action="store_true", help="no block characters (default: if the terminal has them)")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_all(argv)
    if args.json and not args.list:
        raise UsageError("--json: only with --list; a view is not JSON (`emu run W --json` is)")
    if args.pane not in NAMES:
        hint = did_you_mean(args.pane, NAMES)
        raise UsageError(f"--pane: {one_line(args.pane)!r} is not one of {', '.join(NAMES)}{hint}")
    interval = interval_of(args.interval)
    from emu import machines

    if args.list:
        return list_machines(args.json)
    machine = machines.find(args.machine)
    if args.once or not can_draw():
        from emu.monitor.app import once

        width, height = shutil.get_terminal_size()
        once(machine, NAMES.index(args.pane), width, height, sys.stdout, args.ascii)
        return 0
    from emu.monitor.app import App

    said = App(machine, interval=interval, out=sys.stdout, keys=0, pane=NAMES.index(args.pane), plain=args.ascii).run()
    if said:
        sys.stderr.write(f"emu: {said}\n")
    return 0


def interval_of(text: str) -> float:
    """--interval in seconds."""
    from emu.units import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--interval: {one_line(text)!r} {error}") from None
    if not SHORTEST <= seconds <= LONGEST:
        raise UsageError(f"--interval: {one_line(text)} is not from 50ms to 1m")
    return seconds


def can_draw() -> bool:
    """Whether stdin and stdout are a terminal that can move its cursor."""
    if sys.stdin is None or not sys.stdin.isatty() or not sys.stdout.isatty():
        return False
    return os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def list_machines(as_json: bool) -> int:
    """Print the machines that this user may look at."""
    from emu import machines

    found = machines.running()
    if as_json:
        from emu.results import to_json

        sys.stdout.write(to_json({"schema": 1, "machines": [machine._asdict() for machine in found]}).decode())
        return 0
    if not found:
        sys.stderr.write("emu: no machine is running\n")
        return 0
    from emu.format import table

    rows = [(m.name or "-", m.pid, m.cpus, m.command[:44]) for m in found]
    lines = table(("name", "pid", "cpus", "command"), rows)
    sys.stdout.write(lines + "\n")
    return 0
