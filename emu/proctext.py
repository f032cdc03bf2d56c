"""The texts of --proc, of a running machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emu import observe, procfs
from emu.errors import NotSupportedError
from emu.patches import parse_version

if TYPE_CHECKING:
    from emu.machine import Machine

NAMES = ("interrupts", "slabinfo", "vmstat")


def proc_texts(machine: Machine, observed: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Name -> text of /proc/NAME."""
    return {name: _text(machine, observed, name) for name in names}


def _of_version(counters: Mapping[str, int], kernel: str) -> dict[str, int]:
    """Without the names that this kernel's /proc/vmstat does not have: allocstall was split by zone in 4.8."""
    split = parse_version(kernel) >= parse_version("4.8")
    return {
        name: number
        for name, number in counters.items()
        if not (name == "allocstall" if split else name.startswith("allocstall_"))
    }


def _text(machine: Machine, observed: Mapping[str, Any], name: str) -> str:
    if name == "interrupts":
        return procfs.interrupts(observed["interrupts"])
    if name == "vmstat":
        return procfs.vmstat(_of_version(observed["vmstat"], machine.config["kernel"]))
    # observe.slabinfo_rows(machine) -> the columns of one row each, in their order.
    rows = getattr(observe, "slabinfo_rows", None)
    if rows is None:
        raise NotSupportedError("--proc slabinfo: this build has no slab allocator to show")
    return procfs.slabinfo(procfs.SlabinfoRow(*row) for row in rows(machine))
