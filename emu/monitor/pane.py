"""What a pane is: it reads what it shows, draws it, can be sorted, filtered and scrolled, and explains its figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from emu.monitor.lines import Line
from emu.monitor.reading import Reading
from emu.raw_memory import DamagedError

SHARE = 0.01  # of a core that a pane's costly walks may take


class Figure(NamedTuple):
    """One figure of a pane, for the help: its column, what it is, and where a real kernel shows it."""

    name: str
    text: str
    kernel: str = ""


class Look(NamedTuple):
    """How to draw: in which space, with which characters."""

    width: int
    height: int
    ascii_only: bool = False


class Pane:
    """A pane. read() takes figures out of the memory, draw() makes lines of them; DamagedError from read() is shown."""

    name: ClassVar[str] = ""
    sorts: ClassVar[tuple[str, ...]] = ()
    figures: ClassVar[tuple[Figure, ...]] = ()

    def __init__(self) -> None:
        self.sort = 0
        self.filter = ""
        self.top = 0  # first row shown
        self.trouble = ""

    def read(self, now: Reading) -> None:
        """Take what is shown out of the machine's memory."""
        raise NotImplementedError

    def draw(self, look: Look) -> list[Line]:
        """The lines, at most look.height of them."""
        raise NotImplementedError

    def refresh(self, now: Reading) -> None:
        """read(), where damage becomes something to say."""
        self.trouble = ""
        try:
            self.read(now)
        except DamagedError as error:
            self.trouble = str(error)

    def lines(self, look: Look) -> list[Line]:
        """draw(), or what is wrong."""
        if self.trouble:
            return [[(f"damaged memory: {self.trouble}", "bad")]]
        return self.draw(look)[: look.height]

    def next_sort(self) -> None:
        """Sort by the next column."""
        self.sort = (self.sort + 1) % max(len(self.sorts), 1)
        self.top = 0

    @property
    def sorted_by(self) -> str:
        """The name of the column that is sorted by."""
        return self.sorts[self.sort] if self.sorts else ""

    def wanted(self, text: str) -> bool:
        """Whether the filter lets a row of that name through."""
        return self.filter.lower() in text.lower()

    def scrolled(self, rows: Sequence[Line], space: int) -> list[Line]:
        """The part of the rows that is in view; keeps the first row within them."""
        self.top = max(0, min(self.top, len(rows) - space))
        return list(rows[self.top : self.top + space])


class Budget:
    """When something costly may be done again: so seldom that it takes no more than its share of a core."""

    def __init__(self, share: float = SHARE) -> None:
        self.share = share
        self.done = float("-inf")  # when it was done last
        self.cost = 0.0
        self._begun = 0.0

    def due(self) -> bool:
        """Whether it may be done now."""
        return time.monotonic() - self.done >= self.cost / self.share

    def __enter__(self) -> Budget:
        self._begun = time.process_time()
        return self

    def __exit__(self, *exc: object) -> None:
        self.cost = time.process_time() - self._begun
        self.done = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since it was done."""
        return time.monotonic() - self.done
