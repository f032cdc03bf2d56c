"""emu again RUN: a kept run once more, with the same seed and switches."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emu.parser import Parser

if TYPE_CHECKING:
    from emu.record import Run

DESCRIPTION = "Repeat a kept run: the same workload, seed, options and switches."
EPILOG = """\
The new run is kept under a name of its own; `emu compare OLD NEW` puts the two
side by side. Options behind RUN are added to the old ones and win.

examples:
  emu again last
  emu again last --cpus 64
  emu again last --json | jq .result
"""
# What belonged to the place of the old run, or is given anew.
DROPPED = {"-o": 1, "--output": 1, "--name": 1, "--seed": 1, "--json": 0, "--dry-run": 0, "--no-record": 0}


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu again", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("run", metavar="RUN", help="name or path of the run, or `last`")
    made.add_argument("options", metavar="OPTION", nargs="*", help="more options of `emu run`")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    if not argv or argv[0] in ("-h", "--help"):
        parser().parse_all(argv)
    if argv[0].startswith("-"):
        from emu.errors import UsageError, one_line

        raise UsageError(f"emu again: which run? it comes first, before {one_line(argv[0])}")
    from emu import runs
    from emu.commands import run as command

    old = runs.find(argv[0])
    for text in [*old.warnings, *differences(old)]:
        sys.stderr.write(f"emu: warning: {text}\n")
    return command.main(arguments(old, argv[1:]))


def arguments(old: Run, more: Sequence[str]) -> list[str]:
    """The arguments of `emu run` that repeat it."""
    from emu.errors import UsageError

    given = old.document.get("run", {}).get("argv") or command_of(old)
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise UsageError(f"{old.path}: hand-edited: its arguments are not as they were")
    kept = without(given)
    seed = [] if any(arg.partition("=")[0] == "--seed" for arg in more) else ["--seed", str(old.document["seed"])]
    return [*kept, *seed, *more]


def command_of(old: Run) -> list[str]:
    """The arguments, out of the command line of a result that has only that."""
    import shlex

    from emu.errors import UsageError

    words = shlex.split(old.document["command"])
    if words[:2] != ["emu", "run"]:
        raise UsageError(f"{old.path}: was not made by emu run, so it cannot be repeated")
    return words[2:]


def without(argv: Sequence[str]) -> list[str]:
    """ARGV without what is dropped, and without the values of that."""
    kept: list[str] = []
    skip = 0
    for arg in argv:
        if skip:
            skip -= 1
            continue
        name, equals, _ = arg.partition("=")
        if name in DROPPED:
            skip = 0 if equals else DROPPED[name]
            continue
        kept.append(arg)
    return kept


def differences(old: Run) -> list[str]:
    """What is not the same any more: a repetition under another code is another run."""
    from emu.record_keep import code_version

    about: dict[str, Any] = old.document.get("run", {})
    then, now = about.get("code"), code_version()
    if then is None or then == now:
        return []
    return [f"the code has changed since: {then} then, {now} now"]
