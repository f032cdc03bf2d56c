"""What a goal is made of, and how it is measured.

A ratio is the median over 15 interleaved pairs of blocks (floor, ours, floor, ours, ...) of the quotients of the
blocks' medians. An item that misses its limit is measured once more, and both are printed: the host is shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


class NotBuiltError(Exception):
    """The part of the project that a goal is about does not exist yet; the text says which."""


class NotMeasurableError(Exception):
    """The host lacks what the measurement needs; the text says what."""


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    pairs: int = 15
    quick: bool = False

    def rounds(self, n: int) -> int:
        """Rounds of a block: a fifth of them with --quick."""
        return max(n // 5, 5) if self.quick else n


@dataclass(frozen=True)
class Check:
    """One figure and its limit; met when value <= limit. Both in `unit`."""

    what: str
    value: float
    limit: float
    unit: str
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.value <= self.limit


@dataclass(frozen=True)
class Item:
    """What is measured in one go, on one machine. measure() gives its figures."""

    goal: str
    name: str
    measure: Callable[[Settings], Sequence[Check]]
