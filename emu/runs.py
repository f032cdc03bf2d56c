"""Where runs are kept, how they are called, and how one is found again.

The default place is the state folder of the XDG rules: $XDG_STATE_HOME/percpu-emu/runs, else ~/.local/state/... .
Where that cannot be written (no HOME, read-only) a run says so and goes on without being kept.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from emu.errors import UsageError, did_you_mean, one_line
from emu.record import DOCUMENT, Run, load

LONGEST = 120
LAST = re.compile(r"last(?:~(\d{1,6}))?", re.ASCII)


def home() -> Path | None:
    """The default place; None where there is none."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if state.startswith("/"):
        return Path(state) / "percpu-emu" / "runs"
    user = os.environ.get("HOME", "")
    return Path(user) / ".local" / "state" / "percpu-emu" / "runs" if user.startswith("/") else None


def why_not(place: Path | None) -> str:
    """Why nothing can be kept at PLACE; empty if it can."""
    if place is None:
        return "neither XDG_STATE_HOME nor HOME is set"
    at = place
    while not at.exists() and at.parent != at:
        at = at.parent
    if not at.is_dir():
        return f"{one_line(str(at))} is not a folder"
    try:
        # Tried, since permissions do not tell: root's are ignored, a mount may be read-only, /proc is what it is.
        Path(tempfile.mkdtemp(prefix=".emu-", dir=at)).rmdir()
    except OSError as error:
        return f"{one_line(str(at))} is not writable ({error.strerror})"
    return ""


def new_name(workload: str, seed: int) -> str:
    """`20170416-120000-memcg-create-1a2b3c`: sorts by time, and says what it is."""
    kept = "".join(c if c.isalnum() or c in "-_" else "-" for c in workload)[:60]
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{kept}-{os.urandom(3).hex()}"


def check_name(name: str, option: str = "--name") -> str:
    """A name that a folder of the default place can have; any other is a UsageError."""
    shown = one_line(name)
    if not name or name.startswith(".") or "/" in name or not name.isprintable():
        raise UsageError(f"{option}: {shown!r} is no name; letters, digits, blanks and signs but /, not a . first")
    if len(name.encode()) > LONGEST:
        raise UsageError(f"{option}: {len(name.encode())} bytes; at most {LONGEST}")
    return name


def folders(place: Path | None = None) -> list[Path]:
    """The folders of all runs at PLACE, oldest name first; what a killed run left is none."""
    at = place or home()
    if at is None or not at.is_dir():
        return []
    return sorted(f for f in at.iterdir() if not f.name.startswith(".") and (f / DOCUMENT).is_file())


def every(place: Path | None = None) -> Iterator[Run | tuple[Path, str]]:
    """Each run at PLACE, or its folder and why it cannot be read."""
    for folder in folders(place):
        try:
            yield load(folder)
        except UsageError as error:
            yield folder, str(error)


def find(name: str) -> Run:
    """A run by its path, its name, the beginning or the end of its name; `last`, and `last~1` for the one before."""
    if is_path(name):
        return load(name)
    if match := LAST.fullmatch(name):
        return load(_nth(int(match[1] or 0)))
    place = home()
    if place is not None and (place / name / DOCUMENT).is_file() and check_name(name, "RUN"):
        return load(place / name)
    known = folders()
    close = [f for f in known if name and (f.name.startswith(name) or f.name.endswith(f"-{name}"))]
    if len(close) == 1:
        return load(close[0])
    shown = one_line(name)
    if gone := [f for f in lost(place) if f.name.startswith(f".{name}")] if place is not None and name else []:
        return load(gone[-1])
    if close:
        raise UsageError(f"run {shown!r}: {len(close)} runs begin or end so, as {close[0].name} and {close[1].name}")
    if Path(name).exists():
        return load(name)
    hint = did_you_mean(name, [f.name for f in known])
    raise UsageError(f"no run {shown!r}{hint or '; `emu runs` lists them'}")


def lost(place: Path) -> list[Path]:
    """What is left of runs whose coordinator was killed."""
    from emu import record_keep

    return record_keep.lost(place)


def load_any(run: str | Path) -> Run:
    """A kept run: `emu.load("last")`, by name, or by the path of its folder or of its JSON.

    Raises UsageError if there is none, or if it is damaged.
    """
    return load(run) if isinstance(run, Path) else find(run)


def is_path(name: str) -> bool:
    """Whether this is meant as a path, and not as a run's name."""
    return "/" in name or name.endswith(".json") or name in (".", "..")


def exists(name: str) -> bool:
    """Whether find() has a chance: for who must tell a run from something else."""
    if is_path(name):
        return Path(name).exists()
    place = home()
    kept = place is not None and (place / name / DOCUMENT).is_file()
    return kept or LAST.fullmatch(name) is not None or Path(name).exists()


def _nth(before_last: int) -> Path:
    known = sorted(folders(), key=lambda folder: (folder / DOCUMENT).stat().st_mtime_ns)
    if before_last >= len(known):
        raise UsageError(f"run last~{before_last}: there are {len(known)} runs")
    return known[len(known) - 1 - before_last]
