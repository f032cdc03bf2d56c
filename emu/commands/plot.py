"""emu plot RUN...: one figure of a report, as SVG or PNG."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emu.commands.report import check_output, write
from emu.errors import UsageError, did_you_mean, one_line
from emu.parser import Parser

if TYPE_CHECKING:
    from emu.report.draw import Figure

DESCRIPTION = "Draw one figure of runs as SVG or PNG; without FIGURE list what can be drawn."
EPILOG = """\
FIGURE is the name of a figure in the list, or its first part, as latency or
scaling, if only one begins with it. The name of the file says which kind it is.
Needs matplotlib: pip install 'percpu-emu[plots]'.

examples:
  emu plot both.json
  emu plot both.json --figure latency -o latency.svg
  emu plot cpus2.json cpus8.json --figure scaling-elapsed_ns -o scaling.png
"""
KINDS = (".svg", ".png")


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu plot", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("runs", metavar="RUN", nargs="+", help="a run's folder, or its JSON in a file")
    made.add_argument("--figure", metavar="FIGURE", help="which one (default: list them)")
    made.add_argument("-o", "--output", metavar="FILE", help="a file that ends with .svg or .png")
    made.add_argument("--force", action="store_true", help="write over a file that is there")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_all(argv)
    if args.output is not None and Path(args.output).suffix.lower() not in KINDS:
        raise UsageError(f"-o {one_line(args.output)}: the name ends with neither .svg nor .png")
    if (args.figure is None) != (args.output is None):
        raise UsageError("emu plot: --figure and -o go together; without both the figures are listed")
    from emu.report import draw
    from emu.report.source import load_all

    draw.need("emu plot", "matplotlib")
    if args.output is not None:
        check_output(args.output, args.force)
    figures = draw.all_figures(load_all(args.runs))
    if args.figure is None:
        width = max((len(figure.name) for figure in figures), default=0)
        sys.stdout.writelines(f"{figure.name:<{width}}  {figure.title}\n" for figure in figures)
        return 0
    found = chosen(args.figure, figures)
    write(args.output, draw.render(found, Path(args.output).suffix.lower()[1:]), args.force)
    sys.stdout.write(f"{args.output}\n")
    return 0


def chosen(name: str, figures: Sequence[Figure]) -> Figure:
    """The figure of that name, or the only one whose name begins with it."""
    known = {figure.name: figure for figure in figures}
    if name in known:
        return known[name]
    begun = [each for each in known if each.startswith(f"{name}-")]
    if len(begun) == 1:
        return known[begun[0]]
    if begun:
        raise UsageError(f"--figure: several begin with {one_line(name)!r}: {', '.join(begun[:8])}")
    raise UsageError(
        f"--figure: these runs have no {one_line(name)!r}, but {', '.join(known)}{did_you_mean(name, known)}"
    )
