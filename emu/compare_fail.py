"""--fail-if 'latency.drain.p99_ns:5%': what makes a comparison a regression."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from emu.compare_stats import FEWEST
from emu.errors import UsageError, did_you_mean, one_line
from emu.figures import better, unit

if TYPE_CHECKING:
    from emu.compare_runs import Comparison, Row

LIMIT = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(%|ns|us|ms|s)?", re.ASCII)
SCALE = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


class Limit(NamedTuple):
    """By how much a figure may be worse on the other side: a share of the first side's, or so much of its unit."""

    path: str
    share: float | None
    amount: float | None
    text: str


class Judgement(NamedTuple):
    """A limit on one figure: `state` is ok, worse, or unknown."""

    limit: str
    path: str
    state: str
    text: str


def parse(texts: Sequence[str]) -> list[Limit]:
    """Read the limits; UsageError for what is none."""
    return [_parse(text) for text in texts]


def _parse(text: str) -> Limit:
    path, colon, limit = text.rpartition(":")
    match = LIMIT.fullmatch(limit)
    if not colon or not path or match is None:
        raise UsageError(
            f"--fail-if {one_line(text)!r}: write PATH:LIMIT, as in latency.drain.p99_ns:5%, result.elapsed_ns:2ms or "
            "vmstat.kicks:0"
        )
    number, sign = float(match[1]), match[2]
    if sign == "%":
        return Limit(path, number / 100, None, text)
    if sign and unit(path) != "ns":
        raise UsageError(f"--fail-if {one_line(text)!r}: only a time, as ..._ns, has a limit in {sign}")
    return Limit(path, None, number * SCALE.get(sign or "ns", 1.0), text)


def judge(limits: Sequence[Limit], found: Comparison) -> list[Judgement]:
    """Each limit on each figure that it names; UsageError if it names none."""
    made = []
    for limit in limits:
        rows = [row for row in found.rows if fnmatchcase(row.path, limit.path.replace("[", "[[]"))]
        if not rows:
            hint = did_you_mean(limit.path, found.paths)
            raise UsageError(f"--fail-if {one_line(limit.text)!r}: both sides have no such figure{hint}")
        made += [_judge(limit, row) for row in rows]
    return made


def _judge(limit: Limit, row: Row) -> Judgement:
    grown = (row.b.value - row.a.value) * -better(row.path)
    allowed = limit.amount if limit.amount is not None else abs(row.a.value) * (limit.share or 0.0)
    beyond = grown > allowed
    share = f" ({row.change.value * 100:+.1f}%)" if row.change is not None else ""
    text = f"{row.path}: {row.a.value:.6g} -> {row.b.value:.6g}{share}, allowed {limit.text.rpartition(':')[2]}"
    if row.found == "too few samples" and row.a.value != row.b.value:
        return Judgement(limit.text, row.path, "unknown", f"{text}: not judged, at least {FEWEST} runs a side needed")
    if beyond and row.differs:
        return Judgement(limit.text, row.path, "worse", text)
    return Judgement(limit.text, row.path, "ok", text + (": within the noise" if beyond else ""))
