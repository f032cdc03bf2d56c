"""Progress on a terminal: rate and remaining time, for whatever takes longer than a second.

Drawn by the main thread between two steps of the work, not by a thread of its own: CPUs are forked from a process that
has no other thread. rich is imported when the second has passed, which most runs never see.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

SHOW_AFTER = 1.0
EVERY = 0.1


def wanted(quiet: bool = False) -> bool:
    """Whether stderr is a terminal that can move its cursor."""
    return not quiet and sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Progress:
    """One task: `with ctx.progress("creating", 1000) as p: ... p.advance()`. Silent without a terminal."""

    def __init__(self, description: str, total: float | None, show: bool) -> None:
        self.description = description
        self.total = total
        self.done = 0.0
        self._show = show
        self._begun = time.monotonic()
        self._next = self._begun + SHOW_AFTER
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def advance(self, steps: float = 1) -> None:
        """STEPS more are done."""
        self.done += steps
        self.poll()

    def update(self, done: float) -> None:
        """DONE steps are done by now."""
        self.done = done
        self.poll()

    def poll(self) -> None:
        """Draw if it is time; as cheap as reading the clock if not."""
        if not self._show or time.monotonic() < self._next:
            return
        now = time.monotonic()
        self._next = now + EVERY
        if self._bar is None:
            self._bar = self._start()
        rate = f"{self.done / (now - self._begun):,.3g}/s"
        self._bar.update(self._bar.task_ids[0], completed=self.done, rate=rate, refresh=True)

    def _start(self) -> Bar:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        bar = Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
        bar.add_task(self.description, total=self.total, completed=int(self.done), rate="")
        bar.start()
        return bar
