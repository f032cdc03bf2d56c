"""A frame for rich: every part of a line is one segment, so rich has nothing left to lay out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style

from emu.monitor.lines import Line

# Eight steps of a colour map that goes from blue to red by its brightness too.
HEATS = ("blue", "blue", "cyan", "cyan", "green", "yellow", "bright_yellow", "bright_red")
STYLES: dict[str, Style] = {
    "": Style(),
    "head": Style(bold=True),
    "dim": Style(dim=True),
    "good": Style(color="green"),
    "warn": Style(color="yellow"),
    "bad": Style(color="red", bold=True),
    "key": Style(bold=True),
    "tab": Style(reverse=True),
    "heat0": Style(dim=True),
    **{f"heat{number + 1}": Style(color=name) for number, name in enumerate(HEATS)},
}
NEW_LINE = Segment.line()


class Frame:
    """Lines as a rich renderable."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for number, line in enumerate(self.lines):
            if number:
                yield NEW_LINE
            for part, style in line:
                yield Segment(part, STYLES[style])


def ascii_only(console: Console) -> bool:
    """Whether the terminal's encoding has no block characters."""
    try:
        "█▏".encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return True
    return False
