"""The interrupt controller. The way of an IPI: raise_vector -> the transport's ring -> on_signal -> take_interrupts."""

import cython
from cython.cimports.ipc.atomic import atomic_fetch_add, atomic_fetch_or, xchg
from cython.cimports.ipc.boost import LOWER_LATER, boost_lower
from cython.cimports.ipc.cpumask import next_bit
from cython.cimports.ipc.gate import arm_timer_if_due, gate_exit_check
from cython.cimports.ipc.host import get_errno, set_errno
from cython.cimports.ipc.processor import MODE_IDLE, NR_VECTORS, TIMER_VECTOR, private, processor_of
from cython.cimports.ipc.trace import EV_IPI_ENTRY, EV_IPI_EXIT, EV_IPI_MERGED, EV_IPI_RAISE, trace

if not cython.compiled:
    raise ImportError("ipc.interrupt is not built; run `make setup`")


def set_pending(me, target, vector):
    """Set the vector at the target and count it at the sender. True if the transport must ring."""
    which = vector_index(vector)
    old = atomic_fetch_or(cython.address(target.pending), vector)
    me.irqs.raised[which] += 1
    trace(EV_IPI_RAISE, target.id | vector << 16)
    if old & vector:
        me.irqs.merged[which] += 1
        trace(EV_IPI_MERGED, target.id | vector << 16)
        return False
    return True


def raise_vector(target, vector):
    me = this_processor()
    me.preempt_count += 1  # not to be stopped between setting the vector and ringing for it
    was = me.irq_off
    me.irq_off = 1  # the counters are this CPU's, and its own handlers raise vectors too
    must_ring: cython.bint = set_pending(me, target, vector)
    me.irqs.rings += must_ring
    local_irq_restore(was)
    if must_ring:
        private().ring(target)
    me.preempt_count -= 1


def raise_mask(mask, vector):
    me = this_processor()
    rings: cython.long = 0
    me.preempt_count += 1
    was = me.irq_off
    me.irq_off = 1
    cpu: cython.long = next_bit(mask, 0)
    while cpu >= 0:
        if set_pending(me, processor_of(cpu), vector):
            rings += 1
        else:
            mask[cpu >> 6] &= ~(cython.cast(cython.ulong, 1) << (cpu & 63))
        cpu = next_bit(mask, cpu + 1)
    me.irqs.rings += rings
    local_irq_restore(was)
    if rings:
        private().ring_many(mask)
    me.preempt_count -= 1


def count_taken(me, vectors):
    for i in range(NR_VECTORS):
        if vectors >> i & 1:
            me.irqs.taken[i] += 1


def serve_pending(me):
    """Take vectors until none is left. Interrupts are on; a signal that comes in between nests and finds its part."""
    while me.pending != 0:
        me.irq_off = 1
        barrier()
        vectors: cython.long = xchg(cython.address(me.pending), 0)
        me.in_interrupt += 1
        me.heartbeat += 1
        asleep: cython.bint = me.dynticks & 1 == 0  # a handler is a reader, though it interrupts an idle CPU
        if asleep:
            atomic_fetch_add(cython.address(me.dynticks), 1)
        count_taken(me, vectors)
        trace(EV_IPI_ENTRY, vectors)
        for i in range(NR_VECTORS):
            if vectors >> i & 1:
                private().handler[i](me, vectors)
        trace(EV_IPI_EXIT, vectors)
        if asleep:
            atomic_fetch_add(cython.address(me.dynticks), 1)
        me.in_interrupt -= 1
        barrier()
        me.irq_off = 0
        barrier()


def take_interrupts(me):
    serve_pending(me)
    if me.in_interrupt == 0:
        leave_interrupt(me)


def leave_interrupt(me):
    """The outermost interrupt's exit: lower a boosted priority, for others wait for this host core; ask for the next
    tick; wait out a broadcast; then the kernel's own work."""
    if me.boost != 0:
        boost_lower(me)
    if me.timer_due:
        arm_timer_if_due(me)
    gate_exit_check(me)
    if me.mode != MODE_IDLE:
        saved = get_errno()
        private().exit_interrupt()
        set_errno(saved)


def on_signal(signo, info, context):
    """The handler of both signals. It touches shared memory only, takes no lock, and leaves errno as it was: its own
    system calls do not set it (ipc/syscall), and what leave_interrupt() runs besides is put back there."""
    me = this_processor()
    if signo == TIMER_SIGNAL():
        me.timer_armed = 0
        atomic_fetch_or(cython.address(me.pending), TIMER_VECTOR)
        me.irqs.raised[vector_index(TIMER_VECTOR)] += 1
    if private().signalled != cython.NULL:
        private().signalled(me, info.si_code == SI_MESGQ)
    if me.irq_off == 0:
        take_interrupts(me)
    elif me.boost != 0:
        atomic_fetch_or(cython.address(me.pending), LOWER_LATER)


def install_handler():
    """SA_NODEFER, because a CPU that is stopped inside its timer interrupt answers others from there.

    The timer's signal waits while an interrupt is served: a process that the host has not run for a tick has both
    pending, and would be given both frames before it can answer. Work on the way out lets it in again.
    """
    action: sigaction_t
    sigemptyset(cython.address(action.sa_mask))
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER
    action.sa_sigaction = on_signal
    failed = sigaction(TIMER_SIGNAL(), cython.address(action), cython.NULL)
    sigaddset(cython.address(action.sa_mask), TIMER_SIGNAL())
    return sigaction(INTERRUPT_SIGNAL(), cython.address(action), cython.NULL) or failed
