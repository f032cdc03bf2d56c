"""Shared objects that a killed run may have left: the microseconds between making and unlinking one.

Their names are emu-PID-RANDOM, after the coordinator's process. One is stale if it is ours and that process is gone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NAME = re.compile(r"emu-(\d{1,10})-[0-9a-f]{32}", re.ASCII)
SHARED_MEMORY = Path("/dev/shm")
QUEUES = Path("/dev/mqueue")


class Leftover(NamedTuple):
    """One object: where it can be seen, and the process it was named after."""

    path: Path
    pid: int


def stale(folder: Path) -> Iterator[Leftover]:
    """The objects in FOLDER that this user's dead coordinators left."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for path in entries:
        match = NAME.fullmatch(path.name)
        if match and _is_ours(path) and not alive(int(match[1])):
            yield Leftover(path, int(match[1]))


def alive(pid: int) -> bool:
    """Whether a process has this number. It may be another one by now: then we keep what it might own."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _is_ours(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.getuid()
    except OSError:
        return False
