"""What the allocator itself finds broken is noted in slab_system.bugs, for the checker to report, and skipped.

A kernel would crash, or go on with corrupt lists. Only what costs no more than a predictable branch on a slow path is
looked for here; everything else is the checker's (emu/validate).
"""

import cython
from cython.cimports.cpus.cpu import smp_processor_id
from cython.cimports.cpus.events import EV_BUG
from cython.cimports.cpus.slab_def import MAX_SLAB_BUGS, slab_root
from cython.cimports.ipc.atomic import atomic_fetch_add
from cython.cimports.ipc.trace import trace
from cython.cimports.libc.string import strncpy

if not cython.compiled:
    raise ImportError("cpus.slab_debug is not built; run `make setup`")


def slab_bug(invariant, cachep, address, what):
    system = slab_root()
    trace(EV_BUG, cython.cast(cython.ulong, address))
    n = atomic_fetch_add(cython.address(system.nr_bugs), 1)
    if n >= MAX_SLAB_BUGS:
        return
    record = cython.address(system.bugs[n])
    record.invariant = invariant
    record.cpu = smp_processor_id()
    record.cache = cython.cast(cython.ulong, cachep)
    record.address = cython.cast(cython.ulong, address)
    strncpy(record.what, what, 31)
