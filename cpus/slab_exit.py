"""The unusual end of an allocation or a free: an event to record, interrupts that came, others to run."""

import cython
from cython.cimports.cpus.cpu import this_cpu
from cython.cimports.cpus.events import EV_ALLOC, EV_FREE
from cython.cimports.cpus.page_alloc import __free_pages
from cython.cimports.cpus.slab import exit_kernel
from cython.cimports.cpus.vmstat import SLAB_FREE
from cython.cimports.ipc.interrupt import take_interrupts
from cython.cimports.ipc.percpu import this_cpu_add
from cython.cimports.ipc.processor import this_processor
from cython.cimports.ipc.trace import trace

if not cython.compiled:
    raise ImportError("cpus.slab_exit is not built; run `make setup`")


def leave(me, flags, was):
    """What irq_restore() and exit_kernel() do, when interrupts are already as they were."""
    if flags == 0 and me.pending != 0:
        take_interrupts(me)
    exit_kernel(me, was)


def alloc_exit(me, object, flags, was):
    trace(EV_ALLOC, cython.cast(cython.ulong, object))
    leave(me, flags, was)
    return object


def free_exit(me, object, flags, was):
    trace(EV_FREE, cython.cast(cython.ulong, object))
    leave(me, flags, was)


def free_large(p, was):
    p.private = 0
    this_cpu_add(this_processor(), cython.address(this_cpu().counter[SLAB_FREE]), 1)
    __free_pages(p, p.order)
    exit_kernel(this_processor(), was)
