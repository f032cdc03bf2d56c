"""emu sweep FILE.toml: a grid of configurations."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emu.parser import Parser

if TYPE_CHECKING:
    from emu.sweep import Sweep

DESCRIPTION = "Run a workload in every combination of a grid; finished cells are kept."
EPILOG = """\
FILE.toml:
  workload = "memcg-create"
  seed = 7                            drawn and remembered if not given
  figures = ["result.elapsed_ns"]     the table's columns
  [options]                           of emu run, the same in all cells
  loops = 100
  [grid]                              one cell for each combination
  cpus = [2, 4, 8]
  kernel = ["4.11", "4.12"]           versions are text
  slab-create-no-ipi = ["off", "on"]  a patch

Interrupted or killed, it goes on where it was when it is started again: a cell
is known by its resolved configuration, its seed and the code. Cells run one
after the other; with --dask one at a time on each of the workers' hosts.

examples:
  emu sweep cpus.toml
  emu sweep cpus.toml -o results --json | jq '.rows[] | .["result.elapsed_ns"]'
  emu sweep cpus.toml --dask tcp://10.0.0.1:8786
"""


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu sweep", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("file", metavar="FILE.toml", help="the grid")
    made.add_argument("-o", "--output", metavar="DIR", help="the sweep's folder (default: FILE.sweep beside it)")
    made.add_argument("--dask", metavar="ADDRESS", help="run the cells on this cluster, as tcp://HOST:8786")
    made.add_argument("--dry-run", action="store_true", help="show the cells and what is done; run nothing")
    made.add_argument("--json", action="store_true", help="one JSON object")
    made.add_argument("-q", "--quiet", action="store_true", help="no progress, no warnings")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_all(argv)
    from emu import sweep
    from emu.progress import Progress, wanted
    from emu.signals import StopSignals

    if args.dask:
        from emu.sweep_dask import need_dask

        need_dask()
    made = sweep.load(args.file, args.output)
    stop = StopSignals()
    if made.left and not args.dry_run:
        sweep.begin(made)
        sys.stderr.write(f"emu: seed {made.seed}; {len(made.left)} of {len(made.cells)} cells to run\n")
        with stop, Progress("cells", len(made.left), wanted(args.quiet)) as bar:
            if args.dask:
                from emu.sweep_dask import run_there

                run_there(made, args.dask, stop, bar.advance)
            else:
                sweep.run_here(made, stop, bar.advance)
    sys.stdout.write(as_json(made) if args.json else text(made))
    sys.stdout.flush()
    if not args.quiet:
        for line in sweep.cell_texts(made):
            sys.stderr.write(f"emu: warning: {line}\n")
    if stop.signum:
        sys.stderr.write(f"emu: interrupted; {len(made.left)} cells are left, start it again to go on\n")
        return 128 + stop.signum
    return exit_code(made)


def exit_code(made: Sweep) -> int:
    """0, 2 if a cell violated an invariant, 5 if one failed."""
    states = {cell.state for cell in made.cells}
    return 5 if "failed" in states else 2 if "violation" in states else 0


def text(made: Sweep) -> str:
    """The table."""
    from emu.compare_text import value
    from emu.figures import unit
    from emu.format import table

    def shown(number: float | None, kind: str) -> str:
        # Counts in full, times scaled.
        return "-" if number is None else value(number, kind, exact=kind == "count" and number == int(number))

    rows = [
        [
            *(str(cell.point[axis]) for axis in made.axes),
            cell.state,
            *(shown(cell.figure(path), unit(path)) for path in made.figures),
        ]
        for cell in made.cells
    ]
    return table(made.columns, rows) + "\n"


def as_json(made: Sweep) -> str:
    """The same as JSON: one object per cell."""
    from emu.results import to_json

    rows = [dict(zip(made.columns, row, strict=True)) for row in made.rows()]
    names = [str(cell.run.path) if cell.run else None for cell in made.cells]
    document = {"schema": 1, "kind": "sweep", "workload": made.workload, "seed": made.seed, "axes": made.axes}
    return to_json(document | {"rows": rows, "runs": names}).decode()
