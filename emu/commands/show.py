"""emu show RUN: what a kept run found."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emu.parser import Parser

if TYPE_CHECKING:
    from emu.record import Run

DESCRIPTION = "Show a kept run: as it was printed, or a part of it."
EPILOG = """\
RUN is a run's name (`emu runs`), the beginning or the end of it, `last`,
`last~1` for the one before, a folder, or a file that `emu run --json` wrote.

--ipis shows who sent interrupts, for what, how many were avoided and why; which
waits for answers had a mutex or a node's lock held, and what that cost others;
and how much time the handlers took from CPUs that had work.

examples:
  emu show last
  emu show last --ipis
  emu show last --figures 'latency.*' --json
  emu run mine.py -o failed; emu show ./failed --slab filp
"""


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu show", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("run", metavar="RUN", help="name or path of the run")
    part = made.add_mutually_exclusive_group()
    part.add_argument("--ipis", action="store_true", help="the interrupts by call site")
    part.add_argument("--slab", metavar="CACHE", help="a cache in the memory of a failed machine that was kept")
    part.add_argument("--figures", metavar="PATTERN", nargs="?", const="*", help="figures by path, as 'latency.*'")
    made.add_argument("--json", action="store_true", help="one JSON object")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_all(argv)
    from emu import runs
    from emu.results import to_json

    run = runs.find(args.run)
    for text in run.warnings:
        sys.stderr.write(f"emu: warning: {text}\n")
    if args.ipis:
        from emu import ledger

        document = ledger.of(run.document)
        sys.stdout.write(to_json(document).decode() if args.json else ledger.text(document))
    elif args.slab is not None:
        from emu import record_slab

        view = record_slab.view(run, args.slab)
        sys.stdout.write(to_json(view).decode() if args.json else record_slab.text(view))
    elif args.figures is not None:
        show_figures(run, args.figures, args.json)
    elif args.json:
        sys.stdout.write(to_json(run.document).decode())
    else:
        sys.stdout.write(whole(run))
    return 0


def show_figures(run: Run, pattern: str, as_json: bool) -> None:
    """The figures whose path matches."""
    from fnmatch import fnmatchcase

    from emu.errors import UsageError, did_you_mean, one_line
    from emu.format import table
    from emu.results import to_json

    # Brackets are part of a path (rows[off]), and no choice of characters.
    plain = pattern.replace("[", "[[]")
    found = {path: value for path, value in run.figures.items() if fnmatchcase(path, plain)}
    if not found:
        hint = did_you_mean(pattern, run.figures)
        raise UsageError(f"--figures {one_line(pattern)!r}: this run has none{hint}")
    if as_json:
        sys.stdout.write(to_json({"schema": 1, "run": run.name, "figures": found}).decode())
    else:
        sys.stdout.write(table(("figure", "value"), [(path, f"{value:.12g}") for path, value in found.items()]) + "\n")


def whole(run: Run) -> str:
    """The run as `emu run -v` prints it."""
    from emu import summary
    from emu.errors import UsageError
    from emu.format import plain

    document: dict[str, Any] = run.document
    about = document.get("run", {})
    head = [f"{run.name}: {document['command']}"]
    if about:
        head.append(f"written {about.get('written', '?')}, code {about.get('code', '?')}")
    # As the workload showed it: its code is not run to read a result.
    own = about.get("text")
    parts = ["\n".join(head), own if isinstance(own, str) else plain(document["result"])]
    if not document["host"]:  # it never came to an end
        parts[1] = f"seed {document['seed']}; `emu again {run.name}` begins it anew"
        return "\n\n".join([*parts, *(f"warning: {text}" for text in document.get("warnings", []))]) + "\n"
    try:
        parts.append(
            "\n".join([summary.run_line(document), summary.host_line(document), *summary.violation_lines(document)])
        )
        parts += [summary.interrupts(document), summary.locks(document), summary.latencies(document)]
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{run.path}: hand-edited: {error} is missing or not as it was") from None
    parts += [f"warning: {text}" for text in document.get("warnings", [])]
    return "\n\n".join(part for part in parts if part) + "\n"
