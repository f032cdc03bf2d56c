"""P3: a broadcast to CPUs that all have a compiled loop to run, on fewer host cores."""

from __future__ import annotations

from functools import partial

from emu.coordinator import boost_possible
from goals.base import Check, Item, NotMeasurableError, Settings
from goals.ipi import broadcast, checks

TITLE = "a broadcast to busy CPUs on fewer cores: gated against the parked floor, boosted against the boosted one"
ROUNDS = {32: 100, 128: 40, 512: 15}


def gated(targets: int, settings: Settings) -> list[Check]:
    """Unprivileged, with the closed gate."""
    figure = broadcast(settings, targets, ROUNDS[targets], "broadcast-parked", True, gate="on", boost="off")
    return checks(f"gated, {targets} busy", figure, 1.5, 4.0)


def boosted(targets: int, settings: Settings) -> list[Check]:
    """With CAP_SYS_NICE."""
    if not boost_possible():
        raise NotMeasurableError("boosting needs CAP_SYS_NICE")
    figure = broadcast(settings, targets, ROUNDS[targets], "broadcast-boosted", True, gate="off", boost="on")
    return checks(f"boosted, {targets} busy", figure, 1.10)


ITEMS = [
    Item("P3", f"{function.__name__} {targets}", partial(function, targets))
    for function in (gated, boosted)
    for targets in (32, 128, 512)
]
