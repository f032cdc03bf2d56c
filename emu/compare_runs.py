"""Comparing runs: which figures differ, by how much, and which of it is noise. The first side is the reference.

    found = emu.compare("last~1", "last")
    found.row("latency.drain.p99_ns").change

A count that came out the same in every repeat of each side is exact: it is compared as it is, without an interval. One
that varies depends on the host's scheduling and is treated like a time. What is no difference is not in the table, but
is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from emu import patches
from emu.compare_stats import FEWEST, P99_FROM, Interval, change, interval, need_scipy, probability, shown
from emu.errors import UsageError
from emu.figures import is_bucketed, is_count, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from emu.record import Run

BUCKET = 0.8  # of a widest bucket its beginning to its end
EXACT, VARIES = "exact", "varies"
# What was found of a figure.
EQUAL = "equal"  # an exact count, the same on both sides
DIFFERS = "differs"  # an exact count, another on each side
SHOWN = "shown"  # a difference beyond the noise
NOISE = "no difference shown"
TOO_FEW = "too few samples"
MATTERS = (
    ("workload",),
    *(("config", key) for key in ("cpus", "nodes", "kernel", "allocator", "ipi", "loops", "duration", "memory", "hz")),
    *(("config", key) for key in ("slice", "gate", "boost", "preempt", "append", "trace", "lock_detail", "params")),
    *(("host", key) for key in ("kernel", "cpu_model", "allowed_cpus", "quota", "governor", "delivery")),
    ("host", "versions"),
    ("run", "code"),
)


class Row(NamedTuple):
    """One figure on both sides. a, b: the medians (or the only values) with their intervals; change: as a part of a,
    None where a is 0; p: Mann-Whitney's, None for exact counts."""

    path: str
    unit: str
    kind: str
    samples: tuple[int, int]
    a: Interval
    b: Interval
    change: Interval | None
    p: float | None
    found: str

    @property
    def differs(self) -> bool:
        """Whether it belongs into the table."""
        return self.found in (DIFFERS, SHOWN)


@dataclass
class Side:
    """One side: what it is called, its documents, its samples by path."""

    name: str
    document: Mapping[str, Any]
    samples: Mapping[str, NDArray[Any]]

    @property
    def switches(self) -> dict[str, str]:
        """Its patches."""
        found = self.document.get("config", {}).get("patches", {})
        return dict(found) if isinstance(found, dict) else {}


@dataclass
class Comparison:
    """All figures of two sides."""

    a: Side
    b: Side
    rows: list[Row]
    confidence: float
    only_a: list[str] = field(default_factory=list)
    only_b: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def row(self, path: str) -> Row:
        """A figure by its path; KeyError if one side lacks it."""
        return next(row for row in self.rows if row.path == path) if path in self.paths else self._missing(path)

    def _missing(self, path: str) -> Row:
        raise KeyError(path)

    @property
    def paths(self) -> set[str]:
        """The figures that both sides have."""
        return {row.path for row in self.rows}

    def named(self, found: str) -> list[str]:
        """The paths of which FOUND was found."""
        return [row.path for row in self.rows if row.found == found]

    @property
    def differences(self) -> list[str]:
        """What differs in the circumstances, in words."""
        return differences(self.a.document, self.b.document)

    def frame(self) -> Any:
        """The rows as one table."""
        from emu.record_frame import table

        columns = ("figure", "unit", "kind", "a", "b", "change", "low", "high", "found")
        nothing = float("nan")
        rows = [
            (r.path, r.unit, r.kind, r.a.value, r.b.value, *(r.change or (nothing, nothing, nothing)), r.found)
            for r in self.rows
        ]
        return table(columns, rows)


def compare(a: Any, b: Any, confidence: float = 0.95) -> Comparison:
    """Compare two runs: paths, names as `emu runs` lists them, or Runs. UsageError for what is no run."""
    need_scipy("comparing")
    return compare_sides(side_of(a), side_of(b), confidence)


def side_of(run: Any) -> Side:
    """A Side of a path, a name, or a Run."""
    from emu import runs
    from emu.record import Run

    if isinstance(run, Path):
        run = str(run)
    found: Run = runs.find(run) if isinstance(run, str) else run
    if not isinstance(found, Run):
        raise UsageError(f"{run!r:.60}: no run; give a path, a name, or what emu.load() returned")
    return Side(found.name, found.document, found.samples)


def compare_sides(a: Side, b: Side, confidence: float = 0.95) -> Comparison:
    """Compare the figures that both have."""
    both = [path for path in a.samples if path in b.samples]
    if not both:
        raise UsageError(f"{a.name} and {b.name}: no figure that both have; are they results of one workload?")
    found = Comparison(a, b, [], confidence)
    for path in both:
        found.rows += figure_rows(path, a.samples[path], b.samples[path], confidence)
    found.only_a = [path for path in a.samples if path not in b.samples]
    found.only_b = [path for path in b.samples if path not in a.samples]
    return found


def figure_rows(path: str, a: NDArray[Any], b: NDArray[Any], confidence: float) -> list[Row]:
    """One figure: its median, and of many single measurements its 99th percentile too."""
    if not len(a) or not len(b):
        return []
    if is_exact(path, a) and is_exact(path, b):
        return [exact_row(path, a, b)]
    made = [sampled_row(path, a, b, confidence, 0.5)]
    if min(len(a), len(b)) >= P99_FROM:
        made.append(sampled_row(path, a, b, confidence, 0.99))
    return made


def is_exact(path: str, values: NDArray[Any]) -> bool:
    """A count that did not vary."""
    return bool((values == values[0]).all()) and is_count(path, values[:1].tolist())


def exact_row(path: str, a: NDArray[Any], b: NDArray[Any]) -> Row:
    """Counts as they are. From one run each it is not known whether they would come out the same again."""
    before, after = float(a[0]), float(b[0])
    found = EQUAL if before == after else DIFFERS if min(len(a), len(b)) > 1 else TOO_FEW
    value = after / before - 1 if before else None
    return Row(
        path, unit(path), EXACT, (len(a), len(b)),
        Interval(before, before, before), Interval(after, after, after),
        None if value is None else Interval(value, value, value), None, found,
    )  # fmt: skip


def sampled_row(path: str, a: NDArray[Any], b: NDArray[Any], confidence: float, share: float) -> Row:
    """Figures that vary."""
    x, y = a.astype(float), b.astype(float)
    few = min(len(a), len(b)) < FEWEST
    ratio = change(x, y, confidence, share)
    if ratio is not None and is_bucketed(path):
        ratio = widened(ratio)
    found = TOO_FEW if few else SHOWN if shown(x, y, ratio) else NOISE
    name = path if share == 0.5 else f"{path}@p{share * 100:.0f}"
    return Row(
        name, unit(path), VARIES, (len(a), len(b)),
        interval(x, confidence, share), interval(y, confidence, share),
        ratio, None if few else probability(x, y), found,
    )  # fmt: skip


def widened(ratio: Interval) -> Interval:
    """The interval of two figures of which each is known to a ninth: the middles of buckets, 4 to a doubling.

    A percentile that moves by one bucket may have moved by next to nothing.
    """
    return Interval(ratio.value, (1 + ratio.low) * BUCKET - 1, (1 + ratio.high) / BUCKET - 1)


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The circumstances that differ between two documents."""
    found = []
    for keys in MATTERS:
        old, new = _get(a, keys), _get(b, keys)
        if old != new:
            name = ".".join(keys)
            found.append(f"{name}: {_short(old)} -> {_short(new)}")
    old_switches, new_switches = _get(a, ("config", "patches")), _get(b, ("config", "patches"))
    if isinstance(old_switches, dict) and isinstance(new_switches, dict) and old_switches != new_switches:
        shared = old_switches.keys() & new_switches.keys()
        changed = patches.difference(
            {name: old_switches[name] for name in old_switches if name in shared}, new_switches
        )
        found.append("patches: " + ", ".join(f"{name} {x} -> {y}" for name, (x, y) in changed.items()))
    return found


def _get(document: Mapping[str, Any], keys: Iterable[str]) -> Any:
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def merged(name: str, documents: Sequence[Mapping[str, Any]]) -> Side:
    """One side of several documents of the same configuration: each is a repeat."""
    import numpy as np

    from emu.figures import flatten

    tables = [flatten(document) for document in documents]
    both = [path for path in tables[0] if all(path in table for table in tables)]
    samples = {path: np.array([table[path] for table in tables]) for path in both}
    return Side(name, documents[-1], samples)
