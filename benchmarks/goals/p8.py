"""P8: the 10,000-memcg test on 22 CPUs, unpatched: what the interrupts cost, and nothing else."""

from __future__ import annotations

import importlib.util

from goals.base import Check, Item, NotBuiltError, Settings

TITLE = "10,000 memcgs, 22 CPUs: time <= 1.25 x kicks x the floor's broadcast to 21 + the patched run's time"


def memcgs(settings: Settings) -> list[Check]:
    """Unpatched and patched, with the floor before and after."""
    if importlib.util.find_spec("workloads.memcg_create") is None:
        raise NotBuiltError("workloads/memcg_create")
    from goals import memcg

    found: list[Check] = memcg.ten_thousand(settings)
    return found


ITEMS = [Item("P8", "memcgs", memcgs)]
