"""emu report RUN...: one offline HTML page about runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from emu.errors import ResourceError, UsageError, one_line
from emu.parser import Parser

DESCRIPTION = """\
Write one HTML file about runs: what was run, the verdict, figures beside what
the threads published, latencies, scaling, locks, interrupts, how to repeat it."""
EPILOG = """\
RUN is a run's folder, its run.json, or a file with what `emu run W --json`
printed. The file needs no network and no other file. Several runs share each
figure; with different numbers of CPUs there are figures of how it scales.

Who interrupted whom and the lock timeline are there for runs with --trace that
were kept. Needs jinja2 and matplotlib: pip install 'percpu-emu[plots]'.

examples:
  emu run memcg-create --cpus 8 --kernel 4.11 --both --json > both.json
  emu report both.json -o both.html
  emu report cpus2.json cpus8.json cpus32.json -o scaling.html
"""


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu report", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("runs", metavar="RUN", nargs="+", help="a run's folder, or its JSON in a file")
    made.add_argument("-o", "--output", metavar="FILE", default="report.html", help="where to (default report.html)")
    made.add_argument("--force", action="store_true", help="write over a file that is there")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_all(argv)
    from emu.report.draw import need
    from emu.report.source import load_all

    need("emu report", "jinja2", "matplotlib")
    check_output(args.output, args.force)
    sources = load_all(args.runs)
    from emu.report.page import html

    write(args.output, html(sources).encode(), args.force)
    sys.stdout.write(f"{args.output}\n")
    return 0


def check_output(name: str, force: bool) -> None:
    """Refuse, before anything is read, a place that cannot be written to."""
    path = Path(name)
    shown = one_line(name)
    if path.is_dir():
        raise UsageError(f"-o {shown}: is a folder; name a file in it")
    if path.exists() and not force:
        raise UsageError(f"-o {shown}: exists; name another file, or add --force")
    if not path.parent.is_dir():
        raise UsageError(f"-o {shown}: there is no folder {one_line(str(path.parent))}")


def write(name: str, data: bytes, force: bool) -> None:
    """Write a file whole, or not at all."""
    path = Path(name)
    temporary = path.with_name(f".{path.name[:200]}.tmp-{os.getpid()}")
    try:
        temporary.write_bytes(data)
        if force:
            temporary.replace(path)
        else:
            # Fails if somebody has made the file meanwhile.
            os.link(temporary, path)
            temporary.unlink()
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ResourceError(f"-o {one_line(name)}: cannot be written: {error.strerror}") from None
