"""For the ledger: callbacks on chosen CPUs, which a reader keeps waiting until a barrier has asked for them.

Without the reader a callback queued for the measurement could have run before the measurement begins.
"""

import cython
from cython.cimports.cpus.cpu import cpu_of
from cython.cimports.cpus.rcu import call_rcu_sched
from cython.cimports.cpus.slab_release import events_workqueue, hold_releases
from cython.cimports.cpus.vmstat import RCU_BARRIER_IPIS
from cython.cimports.cpus.workqueue import flush_workqueue
from cython.cimports.ipc.atomic import read_once, write_once
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.interrupt import poll_interrupts, preempt_disable, preempt_enable
from cython.cimports.ipc.memory import heap_alloc, heap_free, segment
from cython.cimports.ipc.processor import this_processor

if not cython.compiled:
    raise ImportError("workloads.ipi_ledger_loop is not built; run `make setup`")


def callback_done(head):
    write_once(cython.address(cython.cast(cython.pointer(waiting_callback), head).done), 1)


def queue_callback(args):
    w = cython.cast(cython.pointer(waiting_callback), cython.cast(cython.ulong, args[0]))
    call_rcu_sched(cython.address(w.head), callback_done)
    return 0


def barrier_ipis():
    sent: cython.long = 0
    for id in range(-1, segment().nr_cpus):
        sent += cpu_of(id).counter[RCU_BARRIER_IPIS]
    return sent


def read_until(args):
    """A preempt-off section that takes interrupts. args[3]: with a callback of this CPU's own queued in it."""
    w = cython.cast(cython.pointer(waiting_callback), cython.cast(cython.ulong, args[0]))
    until = get_cycles() + args[2] * segment().cycles_per_us
    preempt_disable()
    if args[3]:
        call_rcu_sched(cython.address(w.head), callback_done)
    write_once(cython.address(w.read), 1)
    while barrier_ipis() < args[1] and get_cycles() < until:
        poll_interrupts(this_processor())
    preempt_enable()
    return barrier_ipis()


def hold(args):
    hold_releases(args[0] != 0)
    return 0


def settle(args):
    """Wait for the asynchronous release."""
    flush_workqueue(events_workqueue())
    return 0


def new_callback() -> int:
    """Room for one, in the segment."""
    return cython.cast(cython.ulong, heap_alloc(cython.sizeof(waiting_callback)))


def callback_state(address: int) -> tuple:
    """(it has run, its reader is in)."""
    w = cython.cast(cython.pointer(waiting_callback), cython.cast(cython.ulong, address))
    return read_once(cython.address(w.done)), read_once(cython.address(w.read))


def barrier_ipis_sent() -> int:
    """By all contexts, since boot."""
    return barrier_ipis()


def callbacks_queued() -> int:
    """On all CPUs but the first."""
    queued: cython.long = 0
    for id in range(1, segment().nr_cpus):
        queued += read_once(cython.address(cpu_of(id).rcu_count))
    return queued


def drop_callback(address: int) -> None:
    """Give it back, when it has run."""
    heap_free(cython.cast(cython.p_void, cython.cast(cython.ulong, address)))


def entry_points() -> dict:
    """Address of each function that is mailed to a CPU, by name."""
    return {
        "queue_callback": cython.cast(cython.long, cython.cast(cython.p_void, queue_callback)),
        "read_until": cython.cast(cython.long, cython.cast(cython.p_void, read_until)),
        "hold": cython.cast(cython.long, cython.cast(cython.p_void, hold)),
        "settle": cython.cast(cython.long, cython.cast(cython.p_void, settle)),
    }
