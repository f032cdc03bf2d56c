"""What operations must cost, by kernel version: the ledger that `emu run ipi-ledger` holds its measurements against.

From the kernel's sources and changelogs, not from the emulator's switches: so a switch that is flipped shows.
"""

from __future__ import annotations

from typing import NamedTuple

from emu.patches import parse_version

MEMCG_SINCE, MEMCG_UNTIL = (3, 8), (5, 9)


class Cost(NamedTuple):
    """Call interrupts, grace periods that the caller waits for, and rcu_barrier calls."""

    ipis: int
    grace_periods: int = 0
    barriers: int = 0


class Case(NamedTuple):
    """A machine: the version, its CPUs beside the initiator, those of them that hold something, and the operation's
    own number: children, or caches destroyed."""

    kernel: tuple[int, int]
    others: int
    holders: int
    number: int = 1
    callbacks: int = 0  # other CPUs with callbacks queued


def version(text: str) -> tuple[int, int]:
    """(4, 10) of "4.10"."""
    major, minor = parse_version(text)[:2]
    return major, minor


def has_memcg(kernel: tuple[int, int]) -> bool:
    """Whether this version has per-memcg caches."""
    return MEMCG_SINCE <= kernel < MEMCG_UNTIL


def slab_create(c: Case) -> Cost:
    """One kick up to 4.11, although no CPU can hold the array caches yet; a grace period in 4.7 and 4.8."""
    return Cost(0 if c.kernel >= (4, 12) else c.others, int((4, 7) <= c.kernel < (4, 9)))


def slab_tune(c: Case) -> Cost:
    """One broadcast, and from 4.7 a grace period for the old shared array; `number` caches: root and children."""
    return Cost(c.number * c.others, c.number if c.kernel >= (4, 7) else 0)


def slab_tune_large(c: Case) -> Cost:
    """Objects beyond a page have no shared array: nothing to wait for from 4.9."""
    return Cost(c.others, int((4, 7) <= c.kernel < (4, 9)))


def everyone(c: Case) -> Cost:
    """SLAB's drain: every CPU, empty or not."""
    return Cost(c.others)


def slub_flush(c: Case) -> Cost:
    """SLUB's flush: since 3.4 those that have a slab."""
    return Cost(c.holders if c.kernel >= (3, 4) else c.others)


def slub_deactivate(c: Case) -> Cost:
    """`number` children of one memcg, each with a slab on the holders."""
    flush = c.number * c.holders
    if c.kernel < (4, 7):
        return Cost(c.number * c.others + flush)
    if c.kernel < (4, 10):
        return Cost(flush, c.number)
    return Cost(flush, 1 if c.kernel < (4, 11) else 0)


def _barriers(c: Case, flush: int) -> Cost:
    """`number` caches destroyed one after the other. Only the first barrier finds callbacks."""
    return Cost(c.number * flush + c.callbacks, 0, 1 if c.kernel >= (4, 11) else c.number)


def slab_destroy_by_rcu(c: Case) -> Cost:
    """A drain each, and the barriers; since 4.11 one for all that are queued."""
    return _barriers(c, c.others)


def slub_destroy_by_rcu(c: Case) -> Cost:
    """The same with SLUB's flush."""
    return _barriers(c, slub_flush(c).ipis)


def drain_all_pages(c: Case) -> Cost:
    """Interrupts up to 4.10, work items up to 5.19, nothing remote since 6.0."""
    if c.kernel >= (4, 11):
        return Cost(0)
    return Cost(c.holders if c.kernel >= (3, 4) else c.others)


def nothing(c: Case) -> Cost:
    """The reaper sends no interrupt in any version."""
    return Cost(0)
