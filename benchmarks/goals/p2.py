"""P2: a broadcast to parked CPUs."""

from __future__ import annotations

from functools import partial

from goals.base import Check, Item, Settings
from goals.ipi import broadcast, checks

TITLE = "a broadcast to parked CPUs, against the C floor"
ROUNDS = {32: 50, 128: 30, 512: 20, 1024: 10}


def parked(ipi: str, mode: str, targets: int, limit: float, settings: Settings) -> list[Check]:
    """One transport, one size."""
    figure = broadcast(settings, targets, ROUNDS[targets], mode, ipi=ipi)
    return checks(f"{ipi}, {targets} parked", figure, limit)


ITEMS = [
    Item("P2", f"{ipi} {targets}", partial(parked, ipi, mode, targets, limit))
    for ipi, mode, targets, limit in (
        ("signal", "broadcast-parked", 32, 1.15),
        ("signal", "broadcast-parked", 128, 1.15),
        ("signal", "broadcast-parked", 512, 1.15),
        ("signal", "broadcast-parked", 1024, 1.25),
        ("mqueue", "broadcast-mq", 32, 1.15),
        ("mqueue", "broadcast-mq", 128, 1.15),
        ("cluster", "broadcast-parked", 32, 0.7),
        ("cluster", "broadcast-parked", 128, 0.7),
        ("cluster", "broadcast-parked", 512, 0.7),
    )
]
