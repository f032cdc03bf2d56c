"""Waiting and waking of CPU processes; see park.pxd for the protocol."""

import cython
from cython.cimports.ipc.atomic import smp_load_acquire, vlong, xchg
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.host import futex_wait
from cython.cimports.ipc.interrupt import poll_interrupts
from cython.cimports.ipc.processor import WAIT_COMPLETION, WAIT_NONE, processor_of, this_processor

if not cython.compiled:
    raise ImportError("ipc.park is not built; run `make setup`")


def park(me, seen, timeout_ns):
    """Sleep until `event` is no longer `seen`, a signal came, or the time is up; then serve what is pending."""
    poll_interrupts(me)
    futex_wait(cython.cast(cython.p_int, cython.address(me.event)), seen, timeout_ns)
    poll_interrupts(me)


def complete(c):
    """Let the waiter go. The completion may be gone as soon as `done` is set, so its waiter is read before."""
    waiter = c.waiter
    xchg(cython.cast(cython.pointer(vlong), cython.address(c.done)), 1)
    wake_cpu(processor_of(waiter))


def wait_for_completion(c):
    """Wait until complete(c); gives the host core away and serves interrupts. c.waiter must be set by the caller."""
    me = this_processor()
    if smp_load_acquire(cython.cast(cython.pointer(vlong), cython.address(c.done))):
        return
    me.waiting_since = get_cycles()
    me.waiting_on = cython.cast(cython.long, c)
    me.waiting_for = WAIT_COMPLETION
    sleep_begin(me)
    while True:
        seen = park_begin(me)
        if smp_load_acquire(cython.cast(cython.pointer(vlong), cython.address(c.done))):
            break
        park(me, seen, PARK_NS)
    park_end(me)
    sleep_end(me)
    me.waiting_for = WAIT_NONE
