"""emu cleanup: remove what a killed run may have left behind."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from emu import leftovers
from emu.errors import ResourceError
from emu.parser import Parser

DESCRIPTION = "Remove shared memory and message queues of runs whose coordinator is dead."
EPILOG = """\
A run unlinks what it makes at once, so there is something to remove only if it
was killed within microseconds of its start. What belongs to another user, or to
a process that lives, is not touched. A terminal that a killed monitor left
without a cursor is repaired by `reset`.

examples:
  emu cleanup --dry-run
  emu cleanup
"""


def parser() -> Parser:
    """Return the command's parser."""
    made = Parser(prog="emu cleanup", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("--dry-run", action="store_true", help="say what would be removed")
    made.add_argument("--debug", action="store_true", help="a traceback with errors")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    args = parser().parse_all(argv)
    removed, failed = 0, []
    for folder in (leftovers.SHARED_MEMORY, leftovers.QUEUES):
        for found in leftovers.stale(folder):
            if args.dry_run:
                sys.stdout.write(f"would remove {found.path} (process {found.pid} is gone)\n")
            elif (reason := remove(found.path)) is None:
                sys.stdout.write(f"removed {found.path} (process {found.pid} is gone)\n")
            else:
                failed.append(f"{found.path}: {reason}")
            removed += 1
    if not removed:
        sys.stdout.write("nothing to remove\n")
    if not leftovers.QUEUES.is_dir():
        sys.stderr.write("emu: message queues cannot be listed: /dev/mqueue is not mounted\n")
    if failed:
        raise ResourceError(f"cleanup: not removed: {'; '.join(failed)}")
    return 0


def remove(path: Path) -> str | None:
    """Unlink one object; the reason if that fails."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return error.strerror
    return None
