"""Samples of runs as one long table: a pandas DataFrame where pandas is installed, else a numpy structured array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emu.record import Run

COLUMNS = ("run", "figure", "repeat", "value")


def records(runs: Sequence[Run]) -> Iterator[tuple[str, str, int, float]]:
    """One row per run, figure and repeat."""
    for run in runs:
        for figure, values in run.samples.items():
            for repeat, value in enumerate(values.tolist()):
                yield run.name, figure, repeat, float(value)


def frame(runs: Sequence[Run]) -> Any:
    """The rows of RUNS as one table."""
    return table(COLUMNS, list(records(runs)))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """ROWS under COLUMNS, as pandas has them, or as a numpy array with named fields; text stays text."""
    if find_spec("pandas") is not None:
        import pandas

        return pandas.DataFrame([tuple(row) for row in rows], columns=list(columns))
    import numpy as np

    kinds = []
    for i, name in enumerate(columns):
        cells = [row[i] for row in rows]
        if all(isinstance(cell, bool) for cell in cells) and cells:
            kinds.append((name, "?"))
        elif all(isinstance(cell, int) for cell in cells) and cells:
            kinds.append((name, "i8"))
        elif all(isinstance(cell, (int, float)) for cell in cells):
            kinds.append((name, "f8"))
        else:
            kinds.append((name, f"U{max((len(str(cell)) for cell in cells), default=1) or 1}"))
    return np.array([tuple(row) for row in rows], dtype=kinds)
