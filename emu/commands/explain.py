"""emu explain COUNTER: what a name in a result means."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence

from emu.errors import UsageError, did_you_mean, one_line
from emu.parser import Parser

DESCRIPTION = "Explain a counter, lock, latency, patch or key of a result; without one list\nall names."
EPILOG = """\
examples:
  emu explain merged
  emu explain pcp_global_ipi_saved
  emu explain vmstat.kicks
"""


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu explain", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("name", metavar="COUNTER", nargs="?", help="a name, or its path in the JSON")
    made.add_argument("--markdown", action="store_true", help="all names with their meaning: docs/counters.md")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_all(argv)
    if args.markdown:
        if args.name is not None:
            raise UsageError("--markdown is of all names; leave the name out")
        sys.stdout.write(markdown())
        return 0
    if args.name is None:
        sys.stdout.write(overview())
        return 0
    from cpus.patch_table import BY_NAME

    if args.name in BY_NAME:
        from emu.commands import patches

        return patches.main([args.name])
    sys.stdout.write(explained(args.name))
    return 0


def explained(name: str) -> str:
    """Everything known under NAME, which may be a path such as vmstat.kicks."""
    from emu.glossary import ENTRIES

    # A path's last parts may be a statistic of what comes before: latency.kick.p99_ns.
    for part in reversed(name.split(".")):
        found = ENTRIES.get(part) or ENTRIES.get(part.upper()) or ENTRIES.get(part.lower())
        if found is not None:
            text = f"{part} ({found.where}): {found.text}"
            return textwrap.fill(text, 80, subsequent_indent="  ", break_on_hyphens=False) + "\n"
    hint = did_you_mean(name.rpartition(".")[2], ENTRIES)
    raise UsageError(f"nothing is called {one_line(name)!r}{hint or '; `emu explain` lists the names'}")


INTRODUCTION = """\
# Counters, locks, latencies, keys

Made by `make docs` of what `emu explain NAME` says; not written by hand.
"""
SECTIONS = {
    "interrupts": "per CPU, in `interrupts`, as /proc/interrupts counts them",
    "ipis": "vectors and rings, in `ipis`, summed over all contexts",
    "requests": "cross-calls, in `requests`",
    "vmstat": "counters, in `vmstat`, summed over all contexts; those of Linux have its names",
    "locks": "lock classes, in `locks`",
    "latency": "kinds of operations, in `latency`, in nanoseconds",
    "result": "keys of the JSON",
}


def markdown() -> str:
    """docs/counters.md: all names, by where they stand, and the figures of the monitor."""
    from emu.glossary import ENTRIES
    from emu.monitor.view import PANES

    groups: dict[str, list[str]] = {}
    for name, entry in ENTRIES.items():
        groups.setdefault(entry.where, []).append(f"| `{name}` | {cell(entry.text)} |")
    parts = [INTRODUCTION]
    for where, rows in groups.items():
        title = f"## {where}: {SECTIONS[where]}" if where in SECTIONS else f"## {where}"
        parts.append("\n".join([title, "", "| name | meaning |", "|---|---|", *rows, ""]))
    for pane in PANES:
        rows = [f"| {cell(f.name)} | {cell(f.text)} | {cell(f.kernel)} |" for f in pane.figures]
        head = ["| column | meaning | in a real kernel |", "|---|---|---|"]
        parts.append("\n".join([f"## emu monitor: {pane.name}", "", *head, *rows, ""]))
    return "\n".join(parts)


def cell(text: str) -> str:
    """Text in a cell of a Markdown table."""
    return text.replace("|", "\\|")


def overview() -> str:
    """All names, by where they stand."""
    from emu.glossary import ENTRIES

    groups: dict[str, list[str]] = {}
    for name, entry in ENTRIES.items():
        groups.setdefault(entry.where, []).append(name)
    parts = [
        textwrap.fill(f"{where}: {', '.join(names)}", 80, subsequent_indent="  ", break_on_hyphens=False)
        for where, names in groups.items()
    ]
    return "\n".join(parts) + "\n"
