"""The rules of replay in plain Python: what a trace of allocations means, event by event.

Slow, and written apart from the compiled parser: the tests hold the two against each other. It reads the text with
regular expressions and keeps what lives in dictionaries.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

LINE = re.compile(
    r"^\s*(?P<comm>.*?)[-\s]\s*(?:\d+/)?(?P<pid>\d+)\s+(?:\([\d\s-]+\)\s+)?\[(?P<cpu>\d+)\]\s+"
    r"(?:\S+\s+)?(?P<seconds>\d+)\.(?P<fraction>\d+):\s+(?:\d+\s+)?(?:kmem:)?(?P<event>\w+):\s*(?P<rest>.*)$"
)
NULLS = {"(null)", "(nil)"}
ALLOCS = {"kmalloc", "kmem_cache_alloc", "kmalloc_node", "kmem_cache_alloc_node"}
FREES = {"kfree", "kmem_cache_free"}


@dataclass
class Object:
    """A live object: what it was allocated as, and by whom."""

    cache: str  # "" for kmalloc
    size: int
    accounted: bool
    pid: int
    cpu: int


@dataclass
class Model:
    """Feed it lines in the order of the trace."""

    counts: Counter[str] = field(default_factory=Counter)
    objects: dict[int, Object] = field(default_factory=dict)
    pages: dict[int, int] = field(default_factory=dict)  # page frame -> order

    def feed(self, lines: Iterable[str]) -> Model:
        """Apply lines; what is no event is counted as such."""
        for line in lines:
            match = LINE.match(line)
            if match is None:
                self.counts["other_lines"] += 1
            else:
                self.apply(match)
        return self

    def apply(self, match: re.Match[str]) -> None:
        """Apply one event."""
        event = match["event"]
        fields = dict(item.split("=", 1) for item in match["rest"].replace("= ", "=").split() if "=" in item)
        if event in ALLOCS:
            self.allocated(match, fields)
        elif event in FREES:
            self.freed(address(fields["ptr"]))
        elif event == "mm_page_alloc":
            self.page_allocated(int(fields["pfn"], 0), int(fields["order"]))
        elif event == "mm_page_free":
            self.page_freed(int(fields["pfn"], 0))
        else:
            # mm_page_free_batched repeats a free, mm_page_pcpu_drain only tells where pages went.
            self.counts["other_events"] += 1

    def allocated(self, match: re.Match[str], fields: dict[str, str]) -> None:
        """A pointer that lives already was freed without an event: bulk frees have none."""
        pointer = address(fields["ptr"])
        if pointer == 0:
            self.counts["null_allocs"] += 1
            return
        self.counts["implied_frees"] += self.objects.pop(pointer, None) is not None
        self.counts["allocs"] += 1
        self.objects[pointer] = Object(
            cache=fields.get("name", "") if match["event"].startswith("kmem_cache") else "",
            size=int(fields["bytes_alloc"]),
            accounted=fields.get("accounted") == "true",
            pid=int(match["pid"]),
            cpu=int(match["cpu"]),
        )

    def freed(self, pointer: int) -> None:
        """kfree() of a named cache's object is legal; so only the pointer counts."""
        if pointer == 0:
            self.counts["null_frees"] += 1
        elif self.objects.pop(pointer, None) is None:
            self.counts["unmatched_frees"] += 1
        else:
            self.counts["matched_frees"] += 1

    def page_allocated(self, pfn: int, order: int) -> None:
        """As with objects."""
        if pfn == 0:
            self.counts["null_page_allocs"] += 1
            return
        self.counts["implied_page_frees"] += self.pages.pop(pfn, None) is not None
        self.counts["page_allocs"] += 1
        self.pages[pfn] = order

    def page_freed(self, pfn: int) -> None:
        """As with objects."""
        known = self.pages.pop(pfn, None) is not None
        self.counts["matched_page_frees" if known else "unmatched_page_frees"] += 1


def address(text: str) -> int:
    """A pointer as printk and libtraceevent print it."""
    return 0 if text in NULLS else int(text, 16)
