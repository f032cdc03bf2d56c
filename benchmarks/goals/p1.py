"""P1: an interrupt to a running CPU on another core.

To the last ack, which is what the target is late by; the doorbell's time ends when the call has returned, since its
floor is so short that the way of the ack back to the sender counts.
"""

from __future__ import annotations

from functools import partial

from emu.plan import allowed_cores
from goals.base import Check, Item, NotMeasurableError, Settings
from goals.ipi import checks, single
from workloads._ipi_blocks import IRQ_OFF, POLL, PURE

TITLE = "an interrupt to a running CPU on another core, against the C floor"


def running(
    ipi: str, mode: str, busy: int, limit: float, p99: float | None, stamp: str, settings: Settings
) -> list[Check]:
    """One transport, one kind of target."""
    if allowed_cores() < 2:
        raise NotMeasurableError("two host cores are needed")
    what = {PURE: "busy", IRQ_OFF: "interrupts off most of the time", POLL: "polling"}[busy]
    return checks(f"{ipi}, {what}", single(settings, ipi, mode, busy, stamp), limit, p99)


ITEMS = [
    Item("P1", f"{ipi} {name}", partial(running, ipi, mode, busy, limit, p99, stamp))
    for ipi, name, mode, busy, limit, p99, stamp in (
        ("signal", "busy", "single-busy", PURE, 1.10, 1.5, "acked"),
        ("signal", "irq-off", "single-busy", IRQ_OFF, 1.25, None, "acked"),
        ("mqueue", "busy", "single-mq", PURE, 1.10, 1.5, "acked"),
        ("mqueue", "irq-off", "single-mq", IRQ_OFF, 1.25, None, "acked"),
        ("doorbell", "polling", "poll", POLL, 2.0, None, "returned"),
    )
]
