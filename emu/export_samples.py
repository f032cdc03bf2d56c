"""Samples and histograms for other tools: CSV, Parquet, HDR histogram logs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from emu.errors import NotSupportedError, UsageError, one_line
from emu.record_frame import COLUMNS, records

if TYPE_CHECKING:
    from emu.record import Run

SIGNIFICANT = 3  # digits: far more than the buckets have
MOST_NS = 1 << 50  # 13 days
MOST_BUCKETS = 1000
MOST_COUNT = 1 << 48


def to_csv(run: Run) -> str:
    """The samples as lines run, figure, repeat, value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, figure, repeat, value in records([run]):
        writer.writerow((name, figure, repeat, f"{value:.17g}"))
    return out.getvalue()


def to_parquet(run: Run) -> bytes:
    """The same as a Parquet file, by pyarrow."""
    if find_spec("pyarrow") is None:
        raise NotSupportedError("--format parquet needs pyarrow, which is not installed; --format csv needs nothing")
    import pyarrow
    import pyarrow.parquet

    columns: list[list[Any]] = [list(column) for column in zip(*records([run]), strict=True)] or [[], [], [], []]
    out = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(dict(zip(COLUMNS, columns, strict=True))), out)
    whole: bytes = out.getvalue().to_pybytes()
    return whole


def histograms(run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name -> histogram of a document."""
    found = run.document.get("histograms", {})
    if not isinstance(found, dict) or not found:
        raise UsageError(f"{one_line(run.name)}: has no histograms; it is of an older version, or booted no machine")
    for group, members in found.items():
        for name, histogram in members.items():
            yield f"{group}.{name}", histogram


def to_hdr(run: Run) -> str:
    """An HDR histogram log: one tagged line for each histogram, values in ns.

    Our buckets are four to a doubling: each is recorded at its middle, so a percentile is within 12 %.
    """
    if find_spec("hdrh") is None:
        raise NotSupportedError(
            "--format hdr needs the package hdrhistogram, which is not installed: pip install 'percpu-emu[trace]'"
        )
    from hdrh.histogram import HdrHistogram

    lines = [
        f"#[Histogram log of percpu-emu {run.name}, values in ns]",
        "#[Histogram log format version 1.3]",
        "#[StartTime: 0.000 (seconds since epoch)]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    try:
        seconds = run.document.get("elapsed_ns", 0) / 1e9
        for name, found in histograms(run):
            text = encoded(HdrHistogram, found)
            lines.append(f"Tag={name},0.000,{seconds:.3f},{found['max_ns'] / 1e6:.3f},{text}")
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, IndexError) as error:
        raise UsageError(f"{one_line(run.name)}: hand-edited: its histograms are not as they were: {error}") from None
    return "\n".join(lines) + "\n"


def encoded(histogram: Any, found: dict[str, Any]) -> str:
    """One histogram in HDR's compressed form."""
    highest = max(2, int(found["max_ns"]), *(int(high) for _, high, _ in found["buckets"]))
    if highest > MOST_NS or len(found["buckets"]) > MOST_BUCKETS:
        raise ValueError(f"{highest} ns in {len(found['buckets'])} buckets")
    made = histogram(1, highest, SIGNIFICANT)
    for low, high, number in found["buckets"]:
        # The package's C code trusts what it is given.
        if not (0 <= int(low) <= int(high) and 0 <= int(number) < MOST_COUNT):
            raise ValueError(f"bucket {low}, {high}, {number}")
        made.record_value(max(1, min((int(low) + int(high)) // 2, int(found["max_ns"]))), int(number))
    text: str = made.encode().decode("ascii")
    return text
