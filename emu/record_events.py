"""The machine's event rings as arrays, and the names of what their arguments point to.

    cpu        -1 is the coordinator
    ns         since the machine's boot
    event      ipc/trace.pxd, cpus/events.pxd: names in NAMES
    argument   48 bits, by event
    cache      address of the kmem_cache that an object lies in, as it was when the rings were read; 0: unknown

The rings overwrite their oldest records: `dropped` says how many, of each CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cpus.layout import CONSTANTS, STRUCTS

if TYPE_CHECKING:
    from emu.raw_memory import RawMemory, Words

MOST_RECORDS = 1 << 26
OBJECTS = ("EV_ALLOC", "EV_FREE")
LOCKS = ("EV_LOCK_WAIT", "EV_LOCK_TAKEN", "EV_LOCK_RELEASED")
CACHES = ("EV_REFILL", "EV_FLUSH", "EV_GROW", "EV_CACHE_CREATE", "EV_SHRINK_BEGIN", "EV_TUNE_BEGIN", "EV_DEACTIVATE")
# Number -> name, of all events there are.
NAMES: dict[int, str] = {
    value: name for name, value in CONSTANTS.items() if name.startswith("EV_") and name not in ("EV_NONE",)
}


def dump() -> dict[str, Any] | None:
    """The rings of this process's machine: {arrays, about}; None if they are off."""
    from emu.raw_memory import RawMemory
    from ipc import memory

    raw = RawMemory(memory.descriptor())
    found = read(raw)
    return None if found is None else {"arrays": found[0], "about": found[1]}


def read(raw: RawMemory) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """(arrays, what the arguments are called) of a segment."""
    import numpy as np

    cpus = int(raw.header["nr_cpus"])
    per_us = int(raw.header["cycles_per_us"])
    parts, dropped = [], []
    for cpu in range(-1, cpus):
        records, lost = ring(raw, cpu)
        dropped.append(lost)
        parts.append(np.column_stack([np.full(len(records), cpu), records]))
    whole = np.concatenate(parts) if parts else np.empty((0, 3), np.int64)
    if not len(whole) and not any(dropped):
        return None
    what = whole[:, 2].astype(np.uint64)
    event = (what >> np.uint64(48)).astype(np.uint16)
    argument = (what & np.uint64((1 << 48) - 1)).astype(np.int64)
    arrays: dict[str, Any] = {
        "cpu": whole[:, 0].astype(np.int16),
        "ns": (whole[:, 1] - int(raw.header["boot_cycles"])) * 1000 // per_us,
        "event": event,
        "argument": argument,
        "cache": caches_of(raw, event, argument),
    }
    about = {
        "dropped": {str(cpu - 1): lost for cpu, lost in enumerate(dropped) if lost},
        "caches": names_of_caches(raw, arrays["cache"]),
        "locks": names_of_locks(raw, argument[np.isin(event, [CONSTANTS[name] for name in LOCKS])]),
    }
    return arrays, about


def ring(raw: RawMemory, cpu: int) -> tuple[Words, int]:
    """[cycles, what] of each record of one CPU, oldest first, and how many were overwritten."""
    import numpy as np

    from emu.raw_memory import offset

    at = CONSTANTS["CPU_AREA"] + (cpu + 1) * CONSTANTS["CPU_STRIDE"] + offset("processor", "ring")
    address = raw.word(at)
    head_of = STRUCTS["event_ring"].size - STRUCTS["event_record"].size
    none = np.empty((0, 2), np.int64)
    if not raw.in_heap(np.array([address]), head_of)[0]:
        return none, 0
    head, mask = raw.word(address), raw.word(address + 8)
    size = mask + 1
    if size & mask or not 0 < size <= MOST_RECORDS or head < 0:
        return none, 0
    if not raw.in_heap(np.array([address]), head_of + size * 16)[0]:
        return none, 0
    rows = raw.gather(np.array([address + head_of]), size * 2)[0].reshape(size, 2)
    kept = min(head, size)
    order = np.arange(head - kept, head) & mask
    return rows[order], head - kept


def caches_of(raw: RawMemory, event: Any, argument: Words) -> Words:
    """The cache of each record that has one."""
    import numpy as np

    found = np.zeros(len(event), np.int64)
    direct = np.isin(event, [CONSTANTS[name] for name in CACHES])
    found[direct] = argument[direct]
    objects = np.isin(event, [CONSTANTS[name] for name in OBJECTS]) & raw.in_ram(argument)
    found[objects] = slab_caches(raw, argument[objects])
    return found


def slab_caches(raw: RawMemory, addresses: Words) -> Words:
    """The cache of the slab that each object lies in now; 0 if it lies in none any more."""
    import numpy as np

    from emu.raw_memory import MAP, PAGE, RAM

    if not len(addresses):
        return np.zeros(0, np.int64)
    pages, place = np.unique((addresses - RAM) >> 12, return_inverse=True)
    table = raw.structs("page", MAP + pages * PAGE)
    tail = (table["flags"] & CONSTANTS["PG_TAIL"]) != 0
    heads = np.where(tail, table["lru"]["next"].astype(np.int64), MAP + pages * PAGE)
    good = raw.page_numbers(heads, int(raw.header["ram_pages"])) >= 0
    table = raw.structs("page", np.where(good, heads, MAP))
    slab = good & ((table["flags"] & (CONSTANTS["PG_SLAB"] | CONSTANTS["PG_SLAB_RCU"])) != 0)
    caches: Words = np.where(slab, table["slab_cache"].astype(np.int64), 0)
    return caches[place]


def names_of_caches(raw: RawMemory, addresses: Words) -> dict[str, dict[str, Any]]:
    """Address -> {name, object_size, size} of the caches that are still there."""
    import numpy as np

    unique = np.unique(addresses)
    unique = unique[unique != 0]
    there = unique[raw.is_block(unique)] if len(unique) else unique
    found = {}
    for address in there.tolist():
        cache = raw.structs("kmem_cache", np.array([address]))[0]
        name = bytes(cache["name"]).split(b"\0")[0].decode(errors="replace")
        found[str(address)] = {"name": name, "object_size": int(cache["object_size"]), "size": int(cache["size"])}
    return found


def names_of_locks(raw: RawMemory, addresses: Words) -> dict[str, str]:
    """Address -> class of the lock: by the field of kernel_locks, or as the spinlock itself says."""
    import numpy as np

    from cpus.locks import CLASSES
    from emu.dtypes import dtype

    root = int(raw.header["area"][CONSTANTS["AREA_LOCKS"]])
    fields: Any = dtype("kernel_locks").fields
    named = {root + int(place[1]): name for name, place in fields.items()}
    spin: Any = dtype("spinlock").fields
    place = int(spin["lock_class"][1])
    found = {}
    for address in np.unique(addresses).tolist():
        if address in named:
            found[str(address)] = named[address]
        elif raw.in_heap(np.array([address & ~7]), 8)[0]:
            number = raw.word((address & ~7) + (place & ~7)) >> (8 * (place & 7)) & 0xFFFF
            if number < len(CLASSES):
                found[str(address)] = CLASSES[number]
    return found
