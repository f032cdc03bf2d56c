"""The texts of --proc, of a running machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emu import observe, procfs
from emu.errors import NotSupportedError

if TYPE_CHECKING:
    from emu.machine import Machine

NAMES = ("interrupts", "slabinfo", "vmstat")


def proc_texts(machine: Machine, observed: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Name -> text of /proc/NAME."""
    return {name: _text(machine, observed, name) for name in names}


def _text(machine: Machine, observed: Mapping[str, Any], name: str) -> str:
    if name == "interrupts":
        return procfs.interrupts(observed["interrupts"])
    if name == "vmstat":
        return procfs.vmstat(observed["vmstat"])
    # observe.slabinfo_rows(machine) -> the columns of one row each, in their order.
    rows = getattr(observe, "slabinfo_rows", None)
    if rows is None:
        raise NotSupportedError("--proc slabinfo: this build has no slab allocator to show")
    return procfs.slabinfo(procfs.SlabinfoRow(*row) for row in rows(machine))
