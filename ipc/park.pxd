# Waiting. Each CPU has one futex word, `event`: whoever changes what a CPU may be waiting for calls wake_cpu().
#
# A waiter must look again after every change, and must serve its own interrupts meanwhile. One word per waiter, and not
# the word of the thing waited for, because a CPU waits for several things at once: a lock, an ack, a slot, and, where
# the transport is the doorbell, an interrupt. Signals end a futex wait, so there an interrupt needs no word at all.
#
#     while True:
#         seen = park_begin(me)
#         if CONDITION: break
#         park(me, seen, timeout_ns)
#     park_end(me)
#
# No wake-up is lost: `sleeping` and `event` are read or written before CONDITION is looked at, and the waker changes
# CONDITION before `event`. Every wait has a limit after which it looks again: a CPU may have died meanwhile.
from ipc.atomic cimport atomic_fetch_add, atomic_fetch_add_int, read_once_int, smp_mb
from ipc.host cimport futex_wake
from ipc.gate cimport gate_enter, gate_leave
from ipc.processor cimport processor

cdef enum:
    PARK_NS = 50000000            # 50 ms: how long a wait sleeps before it looks at the dead

cdef struct completion:
    long done                     # vlong by use: see complete()
    long waiter                   # id of the one who waits

cdef void park(processor *me, int seen, long timeout_ns) noexcept nogil
cdef void complete(completion *c) noexcept nogil
cdef void wait_for_completion(completion *c) noexcept nogil

cdef inline void sleep_begin(processor *me) noexcept nogil:
    """This context goes to sleep of its own will: a context switch, so its host core goes to another CPU, and nobody
    who waits for it to leave its read-side sections (RCU) need wait any longer."""
    if me.irq_off == 0 and me.preempt_count == 0:
        atomic_fetch_add(&me.dynticks, 1)
    gate_leave(me)

cdef inline void sleep_end(processor *me) noexcept nogil:
    gate_enter(me, True)
    if me.irq_off == 0 and me.preempt_count == 0:
        atomic_fetch_add(&me.dynticks, 1)

cdef inline int park_begin(processor *me) noexcept nogil:
    me.sleeping = 1
    smp_mb()
    return read_once_int(&me.event)

cdef inline void park_end(processor *me) noexcept nogil:
    me.sleeping = 0

cdef inline void wake_cpu(processor *target) noexcept nogil:
    atomic_fetch_add_int(&target.event, 1)
    if target.sleeping != 0:
        futex_wake(<int *>&target.event, 1)
