"""P4: a pair of alloc and free on the fast path, against glibc's malloc and free in the same run."""

from __future__ import annotations

import importlib.util
from functools import partial

from goals.base import Check, Item, NotBuiltError, Settings

TITLE = "alloc+free pair: <= glibc and <= 30 ticks to depth 100, <= 60 at 4096, <= 70 with the event ring on"
SIZE = 64


def pair(name: str, settings: Settings) -> list[Check]:
    """The figures of one kind."""
    if importlib.util.find_spec("cpus.slab") is None:
        raise NotBuiltError("cpus/slab")
    if importlib.util.find_spec("workloads.slab_pair_loop") is None:
        raise NotBuiltError("workloads/slab_pair_loop")
    from goals import pairs

    found: list[Check] = getattr(pairs, name)(settings)
    return found


def slub(settings: Settings) -> list[Check]:
    """SLUB's figures."""
    if importlib.util.find_spec("workloads.slub_pair_loop") is None:
        raise NotBuiltError("workloads/slub_pair_loop")
    from goals import slub_pairs

    return slub_pairs.depths(settings)


KINDS = ("depths", "event_ring", "from_python", "pages")
ITEMS = [Item("P4", name.replace("_", " "), partial(pair, name)) for name in KINDS]
ITEMS.append(Item("P4", "slub depths", slub))
