"""A cache in the kept memory of a failed machine: `emu show RUN --slab filp`.

Everything is read from raw memory with every address checked before it is followed; what cannot be read is told as
such, since the machine did fail.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emu.errors import UsageError, did_you_mean, one_line
from emu.format import table

if TYPE_CHECKING:
    from emu.check_slab import Slabs
    from emu.raw_memory import RawMemory
    from emu.record import Run

LISTS = ("slabs_partial", "slabs_full", "slabs_free")
MOST = 1 << 22  # entries of a list: more is a cycle


def view(run: Run, name: str) -> dict[str, Any]:
    """One cache as plain data; UsageError if the run has no memory, or that no such cache."""
    from emu.raw_memory import RawMemory

    place = run.segment
    if place is None:
        raise UsageError(f"--slab: {one_line(run.name)} kept no memory; a failed run does with `emu run ... -o DIR`")
    try:
        descriptor = os.open(place, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"--slab: {one_line(str(place))}: {error.strerror}") from None
    try:
        return read(RawMemory(descriptor), name) | {"violations": violations(descriptor)}
    except ValueError as error:  # no segment, cut short, or one of another version
        raise UsageError(f"--slab: {one_line(str(place))}: {error}") from None
    finally:
        os.close(descriptor)


def violations(descriptor: int) -> list[str]:
    """What the checker says of the whole memory."""
    from emu.validate import check_segment

    return [f"{found.invariant}: {found.text}" for found in check_segment(descriptor)]


def read(raw: RawMemory, name: str) -> dict[str, Any]:
    """The cache called NAME."""
    from emu.check_slab import _read_caches
    from emu.validate import Findings

    root = raw.root("AREA_SLAB")
    if root == 0:
        raise UsageError("--slab: this machine had no slab allocator")
    slabs = _read_caches(raw, Findings(), root)
    names = [text.rstrip("\0") for text in slabs.names]
    if name not in names:
        hint = did_you_mean(name, names)
        raise UsageError(f"--slab: no cache {one_line(name)!r}{hint or f'; there are {len(names)}'}")
    index = names.index(name)
    cache = slabs.table[index]
    fields = ("object_size", "size", "num", "gfporder", "limit", "batchcount", "shared", "refcount")
    return {
        "schema": 1,
        "name": name,
        "address": int(slabs.caches[index]),
        **{field: int(cache[field]) for field in fields},
        "children": int(cache["memcg_params"]["nr_children"]),
        "cpus": arrays(raw, int(slabs.caches[index])),
        "nodes": nodes(raw, slabs, index),
    }


def arrays(raw: RawMemory, cache: int) -> list[dict[str, int | None]]:
    """Each CPU's array; None for what cannot be read."""
    import numpy as np

    from emu.raw_memory import offset

    first = cache + offset("kmem_cache", "cpu_cache") + 8
    pointers = raw.gather(np.array([first]), int(raw.header["nr_cpus"]))[0]
    return [{"cpu": cpu, **array(raw, int(pointer))} for cpu, pointer in enumerate(pointers)]


def array(raw: RawMemory, address: int) -> dict[str, int | None]:
    """One array cache."""
    import numpy as np

    from emu.dtypes import dtype

    at = np.array([address])
    if not raw.in_heap(at, dtype("array_cache").itemsize)[0]:
        return {"avail": None, "limit": None, "touched": None}
    found = raw.structs("array_cache", at)[0]
    return {name: int(found[name]) for name in ("avail", "limit", "touched")}


def nodes(raw: RawMemory, slabs: Slabs, index: int) -> list[dict[str, Any]]:
    """Each node's lists, counters and shared array."""
    import numpy as np

    from emu.raw_memory import offset

    found = []
    for node, address in enumerate(int(a) for a in np.asarray(slabs.nodes)[index]):
        if address == 0:
            found.append({"node": node, "problem": "cannot be read"})
            continue
        n = raw.structs("kmem_cache_node", np.array([address]))[0]
        lengths = {name: length(raw, address + offset("kmem_cache_node", name)) for name in LISTS}
        counters = {name: int(n[name]) for name in ("total_slabs", "free_slabs", "free_objects", "free_limit")}
        shared = array(raw, int(n["shared"]))["avail"] if int(n["shared"]) else 0
        owner = int(n["list_lock"]["word"]) & ~(1 << 30)
        held = {"list_lock_owner": owner - 2 if owner else None}
        found.append({"node": node, **lengths, **counters, "shared_avail": shared, **held})
    return found


def length(raw: RawMemory, head: int) -> int | None:
    """Entries of a list of struct page; None if it leads out of the struct pages, or round in circles."""
    import numpy as np

    from emu.raw_memory import MAP

    count, entry = 0, raw.word(head)
    limit = int(raw.header["ram_pages"])
    while entry != head and count < MOST:
        if raw.page_numbers(np.array([entry]), limit)[0] < 0 or entry >= MAP + (1 << 34):
            return None
        count, entry = count + 1, raw.word(entry)
    return count if count < MOST else None


def text(found: Mapping[str, Any]) -> str:
    """For people, as crash's `kmem -S` orders it."""
    head = (
        f"{found['name']} at {found['address']:#x}: {found['object_size']} bytes (slot {found['size']}), "
        f"{found['num']} a slab of order {found['gfporder']}\n"
        f"tunables: limit {found['limit']}, batchcount {found['batchcount']}, shared {found['shared']}; "
        f"{found['children']} memcg children"
    )
    columns = ("node", *LISTS, "free_objects", "free_limit", "shared_avail", "list_lock_owner")
    rows = [[_cell(n.get(name)) for name in columns] for n in found["nodes"]]
    per_cpu = [[_cell(cpu[name]) for name in ("cpu", "avail", "limit", "touched")] for cpu in found["cpus"]]
    parts = [
        head,
        table([c.removeprefix("slabs_") for c in columns], rows),
        table(("cpu", "avail", "limit", "touched"), per_cpu),
    ]
    if found["violations"]:
        parts.append("\n".join(f"violation {one}" for one in found["violations"]))
    return "\n\n".join(parts) + "\n"


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)
