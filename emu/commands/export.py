"""emu export RUN: a kept run in the formats of other tools."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from emu.parser import Parser

DESCRIPTION = "Export a kept run: its events as a trace, its samples as tables, its histograms."
EPILOG = """\
perfetto, chrome, ftrace need a run with events: emu run ... --trace 65536.
A track per CPU and per lock, a flow per request from the sender's queueing to
the target's handler to the answer. Rings overwrite their oldest records: what
is missing is counted, not guessed.

csv and parquet have one line per figure and repeat; hdr one histogram for each
latency and for the waits and holds of each lock, values in ns.

overhead: tracing costs one record of 16 bytes and a reading of the clock per
event; exporting costs the machine nothing.

examples:
  emu export last -o run.perfetto-trace
  emu export last --format ftrace -o run.txt; emu run replay run.txt
  emu export last --format csv -o - | head
"""


def parser() -> Parser:
    """Return the command's parser."""
    from emu.export import FORMATS

    made = Parser(prog="emu export", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("run", metavar="RUN", help="name or path of the run, or `last`")
    names = ", ".join(one.name for one in FORMATS)
    made.add_argument("--format", metavar="FORMAT", help=f"{names} (default: by the file's ending)")
    made.add_argument("-o", "--output", metavar="FILE", help="where to; - is standard output (default for text)")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_all(argv)
    from emu import runs
    from emu.errors import UsageError, did_you_mean, one_line
    from emu.export import BY_NAME, by_ending

    output = args.output or "-"
    if args.format is not None and args.format not in BY_NAME:
        hint = did_you_mean(args.format, BY_NAME)
        raise UsageError(f"--format: {one_line(args.format)!r} is not one of {', '.join(BY_NAME)}{hint}")
    chosen = BY_NAME[args.format] if args.format else by_ending(output)
    if chosen is None:
        raise UsageError(f"--format: which of {', '.join(BY_NAME)}? the file's ending does not tell")
    if output == "-" and not chosen.text and sys.stdout.isatty():
        raise UsageError(f"--format {chosen.name} is no text; give a file with -o")
    if output != "-" and Path(output).exists():
        raise UsageError(f"-o {one_line(output)}: exists; give another name, or remove it")
    run = runs.find(args.run)
    for text in run.warnings:
        sys.stderr.write(f"emu: warning: {text}\n")
    data = chosen.make(run)
    if output == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write(Path(output), data)
    return 0


def write(path: Path, data: bytes) -> None:
    """A whole file or none; never over another."""
    from emu.errors import ResourceError, UsageError, one_line

    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        raise UsageError(f"-o {one_line(str(path))}: was made by another meanwhile; give another name") from None
    except OSError as error:
        raise ResourceError(f"-o {one_line(str(path))}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
