"""Faults that tests plant, to show that their oracles catch them.

A plant puts a faulty part in place of a sound one, in the process that is told to, through the pointers by which the
hardware reaches the kernel and the transport: so a sound machine pays nothing for it.
"""

import cython
from cython.cimports.cpus.cpu import this_cpu
from cython.cimports.cpus.llist import llist_del_all_reversed
from cython.cimports.cpus.selftest import compute
from cython.cimports.cpus.smp import (
    CSD_FLAG_SYNCHRONOUS,
    acknowledge,
    csd_unlock,
    handle_call_function,
)
from cython.cimports.ipc.cpumask import next_bit
from cython.cimports.ipc.host import get_errno, set_errno
from cython.cimports.ipc.interrupt import (
    INTERRUPT_SIGNAL,
    SA_NODEFER,
    SA_RESTART,
    SA_SIGINFO,
    sigaction,
    sigaction_t,
    sigemptyset,
    take_interrupts,
)
from cython.cimports.ipc.processor import private, processor_of, this_processor
from cython.cimports.ipc.transport_mqueue import mq_take

if not cython.compiled:
    raise ImportError("cpus.plants is not built; run `make setup`")

lost = cython.declare(cython.long, 0)
sound_ring = cython.declare(cython.p_void, cython.NULL)


def run_plain(c, csd):
    """As cpus/smp runs a request, without what it notes for its own death."""
    func = csd.func
    info = csd.info
    c.csd_run += 1
    if read_once(cython.address(csd.flags)) & CSD_FLAG_SYNCHRONOUS:
        func(info)
        acknowledge(csd)
    else:
        csd_unlock(csd)
        func(info)


def ack_before_work(me, vectors):
    c = this_cpu()
    csd = cython.cast(cython.pointer(call_single_data), llist_del_all_reversed(cython.address(c.call_single_queue)))
    while csd != cython.NULL:
        following = csd.next
        func = csd.func
        info = csd.info
        c.csd_run += 1
        if read_once(cython.address(csd.flags)) & CSD_FLAG_SYNCHRONOUS:
            acknowledge(csd)
        else:
            csd_unlock(csd)
        func(info)
        csd = following


def unlock_early(me, vectors):
    """Give back all that are not waited for, and read them later."""
    c = this_cpu()
    found: cython.p_void[64]
    count: cython.long = 0
    csd = cython.cast(cython.pointer(call_single_data), llist_del_all_reversed(cython.address(c.call_single_queue)))
    while csd != cython.NULL and count < 64:
        following = csd.next
        found[count] = csd
        count += 1
        if read_once(cython.address(csd.flags)) & CSD_FLAG_SYNCHRONOUS == 0:
            csd_unlock(csd)
        csd = following
    compute(5000)
    for i in range(count):
        run_plain(c, cython.cast(cython.pointer(call_single_data), found[i]))


def count_requests(csd):
    count: cython.long = 0
    while csd != cython.NULL:
        count += 1
        csd = csd.next
    return count


def lose_last(me, vectors):
    c = this_cpu()
    csd = cython.cast(cython.pointer(call_single_data), llist_del_all_reversed(cython.address(c.call_single_queue)))
    several: cython.bint = count_requests(csd) > 1
    while csd != cython.NULL:
        following = csd.next
        if several and following == cython.NULL:
            if read_once(cython.address(csd.flags)) & CSD_FLAG_SYNCHRONOUS:
                acknowledge(csd)
            else:
                csd_unlock(csd)
        else:
            run_plain(c, csd)
        csd = following


def run_twice(me, vectors):
    c = this_cpu()
    csd = cython.cast(cython.pointer(call_single_data), llist_del_all_reversed(cython.address(c.call_single_queue)))
    while csd != cython.NULL:
        following = csd.next
        csd.func(csd.info)
        run_plain(c, csd)
        csd = following


def uncounted(me, vectors):
    for i in range(2):
        if vectors >> i & 1:
            me.irqs.taken[i] -= 1
    handle_call_function(me, vectors)


def lossy_ring(target):
    global lost
    lost += 1
    if lost % 3:
        cython.cast(ring_function, sound_ring)(target)


def lossy_ring_many(mask):
    cpu: cython.long = next_bit(mask, 0)
    while cpu >= 0:
        lossy_ring(processor_of(cpu))
        cpu = next_bit(mask, cpu + 1)


def no_overdue(target):
    pass


def drain_only(me, from_queue):
    while mq_take(me.mq) >= 0:
        pass


def heedless_handler(signo, info, context):
    saved = get_errno()
    me = this_processor()
    if private().signalled != cython.NULL:
        private().signalled(me, False)
    was = me.irq_off
    me.irq_off = 0
    take_interrupts(me)
    me.irq_off = was
    set_errno(saved)


def plant_handler(which):
    action: sigaction_t
    ops = private()
    handler = handle_call_function
    if which == PLANT_ACK_BEFORE_WORK:
        handler = ack_before_work
    elif which == PLANT_UNLOCK_EARLY:
        handler = unlock_early
    elif which == PLANT_LOST_REQUEST:
        handler = lose_last
    elif which == PLANT_RUN_TWICE:
        handler = run_twice
    elif which == PLANT_UNCOUNTED:
        handler = uncounted
    elif which == PLANT_IGNORE_IRQ_OFF:
        sigemptyset(cython.address(action.sa_mask))
        action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER
        action.sa_sigaction = heedless_handler
        sigaction(INTERRUPT_SIGNAL(), cython.address(action), cython.NULL)
    ops.handler[0] = handler
    ops.handler[1] = handler


def plant(args):
    """Put fault args[0] into this context. It stays until the process ends."""
    global sound_ring
    ops = private()
    plant_handler(args[0])
    if args[0] == PLANT_NO_RING or args[0] == PLANT_LOSSY_RING:
        sound_ring = cython.cast(cython.p_void, ops.ring)
        ops.ring = lossy_ring
        ops.ring_many = lossy_ring_many
        if args[0] == PLANT_NO_RING:
            ops.overdue = no_overdue
        else:
            ops.overdue_ns = 20000000
    elif args[0] == PLANT_NO_REARM:
        ops.signalled = drain_only
    return 0


PLANTS = {
    "ack before work": PLANT_ACK_BEFORE_WORK,
    "unlock early": PLANT_UNLOCK_EARLY,
    "lost request": PLANT_LOST_REQUEST,
    "run twice": PLANT_RUN_TWICE,
    "no ring": PLANT_NO_RING,
    "lossy ring": PLANT_LOSSY_RING,
    "no rearm": PLANT_NO_REARM,
    "ignore irq off": PLANT_IGNORE_IRQ_OFF,
    "uncounted": PLANT_UNCOUNTED,
}


def entry_points() -> dict:
    """Address of each operation, by name."""
    return {
        "plant": cython.cast(cython.long, cython.cast(cython.p_void, plant)),
    }
