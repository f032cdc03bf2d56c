"""emu runs: the runs that were kept."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from emu.parser import Parser

DESCRIPTION = "List the runs that were kept, oldest first."
EPILOG = """\
Runs are folders in $XDG_STATE_HOME/percpu-emu/runs, by default
~/.local/state/percpu-emu/runs; nothing else is needed to read them, and they
are removed with rm -r. The index beside them is made again when it is missing.

columns: the run's name, when it was written (UTC), workload, verdict, CPUs,
modelled Linux, transport, repeats, wall time.

examples:
  emu runs
  emu runs --last 5
  emu runs --workload memcg-create --json | jq -r '.runs[].name'
"""


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu runs", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("--in", dest="place", metavar="DIR", help="look here instead of in the default place")
    made.add_argument("--workload", metavar="NAME", help="of this workload only")
    made.add_argument("--verdict", metavar="V", help="with this verdict only: pass, violation, died, ...")
    made.add_argument("--last", type=int, metavar="N", help="the newest N only")
    made.add_argument("--json", action="store_true", help="one JSON object")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_all(argv)
    from emu import runs
    from emu.errors import UsageError, one_line
    from emu.format import nanoseconds, table
    from emu.results import to_json
    from emu.runs_index import rows

    place = Path(args.place) if args.place else runs.home()
    if args.place and not Path(args.place).is_dir():
        raise UsageError(f"--in {one_line(args.place)}: no such folder")
    if args.last is not None and args.last < 1:
        raise UsageError(f"--last {args.last}: at least 1")
    found = [
        row
        for row in rows(place)
        if args.workload in (None, row.workload) and args.verdict in (None, row.verdict or "unreadable")
    ]
    found = found[-args.last :] if args.last else found
    if args.json:
        kept = [{k: v for k, v in row._asdict().items() if k != "stamp"} for row in found]
        sys.stdout.write(to_json({"schema": 1, "place": str(place or ""), "runs": kept}).decode())
        return 0
    if not found:
        sys.stderr.write(f"emu: no runs{f' in {one_line(str(place))}' if place else ': there is no default place'}\n")
        return 0
    head = ("run", "verdict", "CPUs", "Linux", "ipi", "repeats", "time")
    cells = [
        (one_line(r.name), r.verdict, r.cpus, r.kernel, r.ipi, r.repeats, nanoseconds(r.elapsed_ns))
        if not r.problem
        else (one_line(r.name), "unreadable", "-", "-", "-", "-", "-")
        for r in found
    ]
    sys.stdout.write(table(head, cells) + "\n")
    for row in found:
        if row.problem:
            sys.stderr.write(f"emu: warning: {row.problem}\n")
    return 0
