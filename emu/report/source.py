"""Runs to report on: a run's folder, its run.json, or what `emu run W --json` printed, saved to a file."""

from __future__ import annotations

import importlib
import importlib.util
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from emu.errors import UsageError, one_line
from emu.results import SCHEMA

MOST_BYTES = 256 << 20
NEEDED: dict[str, type] = {
    "workload": str,
    "command": str,
    "verdict": str,
    "config": dict,
    "host": dict,
    "result": dict,
}
SECTIONS = ("vmstat", "locks", "latency", "interrupts", "ipis", "requests")


class Source(NamedTuple):
    """One run: what it is called in the report, its document, and its event arrays if they were kept."""

    label: str
    document: dict[str, Any]
    events: Mapping[str, Any]
    warnings: Sequence[str] = ()

    def get(self, section: str) -> dict[str, Any]:
        """A section that is an object, or an empty one."""
        found = self.document.get(section)
        return found if isinstance(found, dict) else {}


def load_all(names: Sequence[str]) -> list[Source]:
    """All the runs, each labelled so that no two are called alike. UsageError for what is none."""
    found = [load(name) for name in names]
    counts: dict[str, int] = {}
    for number, source in enumerate(found):
        label = source.label
        counts[label] = counts.get(label, 0) + 1
        if counts[label] > 1:
            found[number] = source._replace(label=f"{label} ({counts[label]})")
    return found


def load(name: str) -> Source:
    """One run: a path, or the name of one that was kept."""
    if importlib.util.find_spec("emu.runs") is not None:
        run = importlib.import_module("emu.runs").load_any(name)
        checked(run.document, one_line(name))
        return Source(label_of(run.document, name), run.document, run.events, run.warnings)
    place = Path(name)
    file = place / "run.json" if place.is_dir() else place
    document = read(file, one_line(name))
    events = place / "events.npz"
    return Source(label_of(document, name), document, read_events(events) if events.exists() else {})


def read(file: Path, shown: str) -> dict[str, Any]:
    """The document in a file, checked."""
    try:
        if not file.is_file():
            raise UsageError(f"{shown}: no run's folder, and no file")
        if file.stat().st_size > MOST_BYTES:
            raise UsageError(f"{shown}: {file.stat().st_size} bytes; a result has at most {MOST_BYTES}")
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{shown}: cannot be read: {error.strerror}") from None
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{shown}: not JSON: {one_line(str(error))}") from None
    checked(document, shown)
    return dict(document)


def checked(document: Any, shown: str) -> None:
    """Raise UsageError unless this is a result of a version that can be read, with its sections as they are written."""
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise UsageError(f"{shown}: not a result of `emu run --json`: it has no schema number")
    if not 1 <= schema <= SCHEMA:
        raise UsageError(f"{shown}: schema {schema}; this version reads 1 to {SCHEMA}")
    for key, kind in NEEDED.items():
        if not isinstance(document.get(key), kind):
            raise UsageError(f"{shown}: not a result of `emu run`, or hand-edited: {key} is missing or not as it was")
    for key in SECTIONS:
        if not isinstance(document.get(key, {}), dict):
            raise UsageError(f"{shown}: hand-edited: {key} is not as it was")


def read_events(path: Path) -> dict[str, Any]:
    """The arrays of events.npz. Never a pickle: it would run what somebody else wrote."""
    import numpy as np

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in ("cpu", "ns", "event", "argument")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{one_line(str(path))}: damaged: {one_line(str(error))}") from None


def label_of(document: Mapping[str, Any], name: str) -> str:
    """What a run is called: by its folder's name, or by its file."""
    about = document.get("run")
    if isinstance(about, dict) and isinstance(about.get("name"), str):
        return one_line(about["name"])
    path = Path(name)
    return one_line(path.name if path.is_dir() or path.suffix != ".json" else path.stem)
