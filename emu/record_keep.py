"""Keeps a finished run: decides where, collects the arrays, and never lets a full disk cost the result."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emu import record, runs
from emu.errors import EmuError, ResourceError, UsageError, one_line
from emu.figures import Number, flatten
from emu.results import SCHEMA, to_json

if TYPE_CHECKING:
    from emu.runner import Outcome


LOST = "the coordinator was lost: killed, or the host went down; this is what was begun, nothing else is left"


@dataclass(frozen=True)
class Place:
    """Where a run will be kept. `path` is None if it cannot be; `chosen` if the user named it with -o."""

    path: Path | None
    chosen: bool
    problem: str = ""


def decide(output: str | None, name: str | None, workload: str, seed: int) -> Place:
    """The place for a run, checked before anything is started: what the user named must be free and writable."""
    if output is not None:
        if not output.strip() or "\0" in output:
            raise UsageError(f"-o {one_line(output)!r}: no path; give the folder to be made")
        path = Path(output) / runs.check_name(name) if name is not None else Path(output)
        if path.exists() or path.is_symlink():
            raise UsageError(f"-o {one_line(str(path))}: exists; a run is never overwritten, give another name")
        problem = runs.why_not(path.parent)
        if problem:
            raise ResourceError(f"-o {one_line(str(path))}: {problem}; give another place")
        return Place(path, True)
    home = runs.home()
    path_name = runs.check_name(name) if name is not None else runs.new_name(workload, seed)
    problem = runs.why_not(home)
    if home is None or problem:
        return Place(None, False, problem)
    if (home / path_name).exists():
        raise UsageError(f"--name {one_line(path_name)!r}: exists; a run is never overwritten, give another name")
    return Place(home / path_name, False)


def worth_keeping(outcome: Outcome) -> bool:
    """Whether anything was started: a run that was refused has nothing to tell."""
    return outcome.error is None or bool(outcome.document["result"]) or bool(outcome.document["interrupts"]["CAL"])


@contextmanager
def begun(place: Place | None, document: Mapping[str, Any]) -> Iterator[None]:
    """While the block runs a note in the default place says what was begun: all that is left of a run whose coordinator
    is killed. `emu show` tells of it."""
    note = None
    if place is not None and place.path is not None and not place.chosen:
        folder = place.path.with_name(f".{place.path.name}.lost-{os.getpid()}")
        about = {"name": place.path.name, "started": _start_ticks(os.getpid()), "written": record.timestamp()}
        # Not being able to write it will be said at the end.
        with suppress(OSError):
            folder.mkdir(parents=True)
            note = folder
            whole = dict(document) | {"schema": SCHEMA, "verdict": "died", "warnings": [LOST], "host": {}, "result": {}}
            record.write(folder / record.DOCUMENT, to_json(whole | {"run": about | dict(document.get("run", {}))}))
    try:
        yield
    finally:
        if note is not None:
            shutil.rmtree(note, ignore_errors=True)


def lost(home: Path) -> list[Path]:
    """The notes of runs whose coordinator is gone."""
    found = []
    for folder in sorted(home.glob(".*.lost-*")) if home.is_dir() else []:
        pid = folder.name.rpartition("-")[2]
        with suppress(UsageError):
            started = record.load(folder).document.get("run", {}).get("started")
            if not pid.isdigit() or _start_ticks(int(pid)) != started:
                found.append(folder)
    return found


def _start_ticks(pid: int) -> int | None:
    """When a process was started: a pid may be another's by now."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def keep(outcome: Outcome, place: Place, about: Mapping[str, Any]) -> Path | None:
    """Write the run; the folder, or None where that was not possible and the user did not insist.

    Raises ResourceError if the place given with -o failed; the run is then in the default place, if that works.
    """
    if place.path is None:
        _tell(f"this run is not kept: {place.problem}; name a place with -o DIR")
        return None
    arrays = samples(outcome.repeats, outcome.kept)
    whole = {"code": code_version(), "cwd": one_line(_cwd()), **about}
    segment, events = outcome.segment, outcome.events
    try:
        path = record.save(
            place.path, outcome.document, samples=arrays, events=events, segment=segment, about=whole
        )
    except EmuError as error:
        if not place.chosen:
            _tell(f"this run is not kept: {error}")
            return None
        elsewhere = _elsewhere(outcome, arrays, whole)
        raise ResourceError(f"{error}{elsewhere}") from error
    finally:
        if segment is not None:
            os.close(segment)
    return path


def _elsewhere(outcome: Outcome, arrays: record.Arrays, about: Mapping[str, Any]) -> str:
    home = runs.home()
    document = outcome.document
    if home is None or runs.why_not(home):
        return ""
    try:
        path = record.save(
            home / runs.new_name(document["workload"], document["seed"]), document, samples=arrays, about=about
        )
    except EmuError:
        return ""
    return f"; it was written to {path} instead"


def _tell(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"emu: warning: {text}\n")


def samples(repeats: Sequence[Mapping[str, Any]], kept: Mapping[str, Any]) -> dict[str, list[Number]]:
    """Path -> its value in each repeat, of the figures that every repeat of a variant has; and what was kept."""
    found: dict[str, list[Number]] = {}
    if len(repeats) < 2:  # the document has them already
        repeats = []
    for variant in dict.fromkeys(str(one["variant"]) for one in repeats):
        tables = [repeat_figures(one) for one in repeats if one["variant"] == variant]
        for path in tables[0]:
            if all(path in table for table in tables):
                found[path] = [table[path] for table in tables]
    return found | {f"samples.{name}": list(values) for name, values in kept.items()}


def repeat_figures(repeat: Mapping[str, Any]) -> dict[str, Number]:
    """The figures of one repeat, under the paths that the whole document has them by."""
    document = {key: value for key, value in repeat["observed"].items() if key not in ("host", "machine")}
    document |= {"elapsed_ns": repeat["elapsed_ns"], "result": repeat["result"]}
    variant = repeat["variant"]
    if not variant:
        return flatten(document)
    result = flatten({"result": {"rows": [repeat["result"]]}})
    rows = {path.replace("result.rows[0]", f"result.rows[{variant}]", 1): value for path, value in result.items()}
    rest = flatten({key: value for key, value in document.items() if key != "result"})
    return rows | {f"variant[{variant}].{path}": value for path, value in rest.items()}


def _cwd() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return ""


@cache
def code_version() -> str:
    """A digest of the program's own code: a result of another code is another result."""
    from emu import __version__

    whole = hashlib.sha256()
    root = Path(__file__).resolve().parent.parent
    for package in ("ipc", "cpus", "emu", "workloads"):
        for file in sorted((root / package).rglob("*.p*")):
            if file.suffix in (".py", ".pxd"):
                whole.update(os.fsencode(file.relative_to(root)) + b"\0" + file.read_bytes())
    return f"{__version__}+{whole.hexdigest()[:12]}"
