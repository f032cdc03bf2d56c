"""Per-CPU event rings in shared memory."""

import cython
from cython.cimports.ipc.memory import heap_alloc, segment
from cython.cimports.ipc.processor import processor_of

if not cython.compiled:
    raise ImportError("ipc.trace is not built; run `make setup`")


def record_event(me, event, argument):
    ring = cython.cast(cython.pointer(event_ring), me.ring)
    if ring == cython.NULL:
        return
    was = me.irq_off
    me.irq_off = 1  # an interrupt between reading and writing head would be recorded into the same place
    place = cython.address(ring.record[ring.head & ring.mask])
    place.cycles = get_cycles()
    place.what = (cython.cast(cython.ulong, event) << 48) | (argument & ((cython.cast(cython.ulong, 1) << 48) - 1))
    barrier()
    ring.head += 1
    me.irq_off = was


def allocate_rings(records: int) -> bool:
    """One ring of `records` (rounded up to a power of two) for the coordinator and each CPU; before the fork."""
    size: cython.long = 64
    while size < records:
        size *= 2
    for cpu in range(-1, segment().nr_cpus):
        ring = cython.cast(cython.pointer(event_ring), heap_alloc(64 + size * 16))
        if ring == cython.NULL:
            return False
        ring.mask = size - 1
        processor_of(cpu).ring = ring
    return True
