"""emu doctor: what this host offers, and what to do about the rest."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from emu.parser import Parser

DESCRIPTION = "Check what this host offers; each line says ok, warn or fail, and what to do."
EPILOG = """\
exit status: 0 if machines can be run here, 3 if the host lacks a resource,
4 if it cannot run them at all.

examples:
  emu doctor
  emu doctor --json | jq -r '.checks[] | select(.level != "ok") | .text'
"""


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu doctor", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("--json", action="store_true", help="one JSON object")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_all(argv)
    from emu.checkup import FAIL, checks

    findings = [check() for check in checks()]
    failed = [finding for finding in findings if finding.level == FAIL]
    if args.json:
        from emu.results import to_json

        rows = [finding._asdict() for finding in findings]
        sys.stdout.write(to_json({"schema": 1, "checks": rows}).decode())
    else:
        from emu.format import hanging

        for finding in findings:
            sys.stdout.write(hanging(f"{finding.level:<4}  {finding.what:<11} ", finding.text) + "\n")
    # A host that cannot run machines at all needs no larger limits.
    return max((finding.exit_code for finding in failed), default=0)
