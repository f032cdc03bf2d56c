"""Requests that are not answered in time, or whose target has died: nobody who waits for them waits for ever."""

import cython
from cython.cimports.cpus.cpu import cpu_of
from cython.cimports.cpus.llist import llist_del_all_reversed
from cython.cimports.cpus.smp import (
    CSD_FLAG_LOCK,
    CSD_FLAG_SYNCHRONOUS,
    CSD_TIMEOUT_S,
    acknowledge,
    csd_unlock,
)
from cython.cimports.cpus.smp_types import call_single_data
from cython.cimports.cpus.vmstat import CSD_TIMEOUTS
from cython.cimports.ipc.atomic import read_once, xchg_ptr
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.memory import segment
from cython.cimports.ipc.processor import private, processor_of

if not cython.compiled:
    raise ImportError("cpus.smp_overdue is not built; run `make setup`")


def complete_requests_of_dead(cpu):
    """Answer for a CPU that died: what it was serving, and what is still queued. Whoever waits for it goes on."""
    dead = cpu_of(cpu)
    done = 0
    for lists in range(2):
        if lists == 0:
            csd = cython.cast(cython.pointer(call_single_data), xchg_ptr(cython.address(dead.serving), cython.NULL))
        else:
            csd = cython.cast(
                cython.pointer(call_single_data), llist_del_all_reversed(cython.address(dead.call_single_queue))
            )
        while csd != cython.NULL:
            following = csd.next
            dead.csd_refused += 1
            done += 1
            if read_once(cython.address(csd.flags)) & CSD_FLAG_SYNCHRONOUS:
                acknowledge(csd)
            else:
                csd_unlock(csd)
            csd = following
    return done


def look_after_overdue(c):
    """What was not answered in time is rung again: a lost signal costs a delay, never a hang."""
    for target in range(segment().nr_cpus):
        csd = cython.address(c.cfd[target])
        if read_once(cython.address(csd.flags)) & CSD_FLAG_LOCK:
            if cpu_of(target).hw.dead:
                complete_requests_of_dead(target)
                if csd.flags & CSD_FLAG_SYNCHRONOUS:  # run, but not answered for
                    acknowledge(csd)
            elif cpu_of(target).hw.pending != 0:
                private().overdue(processor_of(target))
            if get_cycles() - csd.since > CSD_TIMEOUT_S * 1000000 * segment().cycles_per_us:
                c.counter[CSD_TIMEOUTS] += 1
                csd.since = get_cycles()
