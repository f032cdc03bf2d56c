"""An index of the runs at one place, so that `emu runs` need not read them all. Only a cache: it is made again from the
folders whenever it is missing, damaged, or does not agree with them, and kept in memory where it cannot be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from emu import runs
from emu.errors import UsageError
from emu.record import DOCUMENT, Run, load

FILE = "index.sqlite"
VERSION = 1


class Row(NamedTuple):
    """What `emu runs` shows of a run."""

    name: str
    stamp: int  # of run.json, ns: another one means that the row is stale
    written: str
    workload: str
    verdict: str
    cpus: int
    kernel: str
    ipi: str
    seed: str  # text: sqlite's integers are signed
    elapsed_ns: int
    repeats: int
    problem: str  # why the folder cannot be read


def rows(place: Path | None = None) -> list[Row]:
    """One row per run at PLACE (default: the default place), oldest first."""
    at = place or runs.home()
    if at is None or not at.is_dir():
        return []
    with _open(at) as base:
        refresh(base, at)
        found = base.execute(f"SELECT {', '.join(Row._fields)} FROM runs ORDER BY written, name").fetchall()
    lost = [describe(load(folder))._replace(verdict="lost") for folder in runs.lost(at)]
    return [*(Row(*row) for row in found), *lost]


def refresh(base: sqlite3.Connection, place: Path) -> int:
    """Make the index agree with the folders; how many had to be read."""
    known = dict(base.execute("SELECT name, stamp FROM runs"))
    there = {folder.name: (folder / DOCUMENT).stat().st_mtime_ns for folder in runs.folders(place)}
    with base:
        base.executemany("DELETE FROM runs WHERE name = ?", [(name,) for name in known if name not in there])
        stale = [name for name, stamp in there.items() if known.get(name) != stamp]
        marks = ", ".join("?" * len(Row._fields))
        for name in stale:
            base.execute(f"INSERT OR REPLACE INTO runs VALUES ({marks})", _row(place / name, there[name]))
    return len(stale)


def _row(folder: Path, stamp: int) -> Row:
    try:
        return describe(load(folder), stamp)
    except UsageError as error:
        return Row(folder.name, stamp, "", "", "", 0, "", "", "", 0, 0, str(error))


def describe(run: Run, stamp: int = 0) -> Row:
    """A run's row."""
    document = run.document
    config: dict[str, Any] = document["config"]
    return Row(
        run.name,
        stamp,
        str(document.get("run", {}).get("written", "")),
        run.workload,
        str(document["verdict"]),
        _number(config.get("cpus")),
        str(config.get("kernel", "")),
        str(config.get("ipi", "")),
        str(document.get("seed", "")),
        _number(document.get("elapsed_ns")),
        _number(document["result"].get("repeats", 1)),
        "",
    )


def _number(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) and abs(value) < 1 << 62 else 0


@contextmanager
def _open(place: Path) -> Iterator[sqlite3.Connection]:
    """The index of PLACE, made new if it is damaged or of another version."""
    base = None
    for target in (str(place / FILE), str(place / FILE), ":memory:"):
        try:
            base = _connect(target)
            break
        except sqlite3.DatabaseError:
            with suppress(OSError):
                (place / FILE).unlink()
    assert base is not None  # in memory it always opens
    with closing(base):
        yield base


def _connect(target: str) -> sqlite3.Connection:
    base = sqlite3.connect(target, timeout=5)
    try:
        if base.execute("PRAGMA user_version").fetchone()[0] not in (0, VERSION):
            raise sqlite3.DatabaseError("another version")
        base.execute("CREATE TABLE IF NOT EXISTS runs (name TEXT PRIMARY KEY, " + ", ".join(Row._fields[1:]) + ")")
        base.execute(f"PRAGMA user_version = {VERSION}")
        # A table of other columns, or a file that is damaged further in, shows here.
        base.execute(f"SELECT {', '.join(Row._fields)} FROM runs").fetchall()
        base.execute("DELETE FROM runs WHERE name = ''")
        base.commit()
    except sqlite3.DatabaseError:
        base.close()
        raise
    return base
