# RCU-sched (kernel/rcu/tree.c before v4.20): irq-off and preempt-off sections are the readers.
from ipc.atomic cimport vlong
from cpus.cpu cimport cpu

ctypedef void (*rcu_callback_t)(rcu_head *head) noexcept nogil

cdef struct rcu_head:
    rcu_head *next
    rcu_callback_t func

cdef enum:
    GP_POLL_NS = 1000000          # how often a waiter looks at laggards; each look prods them with RESCHEDULE_VECTOR

cdef void synchronize_sched() noexcept nogil        # no-op with one CPU online
cdef void call_rcu_sched(rcu_head *head, rcu_callback_t func) noexcept nogil
cdef bint rcu_softirq(cpu *me) noexcept nogil       # run callbacks whose time has come; true if there were any

cdef inline void note_quiescent_state(cpu *me) noexcept nogil:
    """This CPU is in no read-side section: interrupted in user mode, between two tasks, or switching."""
    me.qs_seq += 1

cdef bint passed(long id, long snapshot) noexcept nogil
cdef void wait_for_cpu(cpu *me, long id, long snapshot) noexcept nogil
