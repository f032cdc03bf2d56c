# RCU-sched (kernel/rcu/tree.c before v4.20): irq-off and preempt-off sections are the readers.
from ipc.atomic cimport read_once, unlikely, vint, vlong
from ipc.cpumask cimport cpumask
from ipc.lock cimport spinlock
from ipc.memory cimport segment
from ipc.processor cimport processor
from cpus.cpu cimport AREA_RCU, cpu
from cpus.rcu_types cimport rcu_callback_t, rcu_head

cdef enum:
    CALLBACK_BATCH = 10           # callbacks run at a time ...
    CALLBACK_FLOOD = 10000        # ... until so many wait, then all

cdef struct rcu_state:
    spinlock lock
    vlong gp_started              # grace periods begun; numbers start at 1
    vlong gp_completed
    vlong gp_wanted               # the highest number that somebody waits for
    long gp_cycles                # when the current one began
    long prodded                  # the current one's laggards have been prodded
    vlong barrier_seq             # odd while an rcu_barrier() is under way
    vlong barrier_out             # marker callbacks not yet run, and one
    vlong barriers                # rcu_barrier() calls that did the work
    vlong expedited               # expedited grace periods
    vlong expedited_out           # CPUs that have not yet answered
    long barrier_waiter
    long expedited_waiter
    vint coordinator_waits
    int _pad
    cpumask qsmask                # CPUs that the current grace period still waits for
    cpumask waiters               # CPUs asleep in synchronize_sched


cdef inline rcu_state *rcu() noexcept nogil:
    return <rcu_state *>segment().area[AREA_RCU]

cdef int init_rcu() noexcept nogil
cdef void synchronize_sched() noexcept nogil        # no-op with one CPU online
cdef void synchronize_sched_expedited() noexcept nogil
cdef void call_rcu_sched(rcu_head *head, rcu_callback_t func) noexcept nogil
cdef void rcu_barrier_sched() noexcept nogil
cdef bint rcu_softirq(cpu *me) noexcept nogil       # true if callbacks ran
cdef void report_quiescent_state(cpu *me) noexcept nogil

cdef inline void note_quiescent_state(cpu *me) noexcept nogil:
    """This CPU is in no read-side section: interrupted in user mode, between two tasks, or switching."""
    if unlikely(read_once(&rcu().gp_started) != me.rcu_reported):
        report_quiescent_state(me)

cdef long jiffies() noexcept nogil
cdef long want_grace_period() noexcept nogil
cdef void start_grace_period() noexcept nogil
cdef bint end_grace_period() noexcept nogil
cdef void force_quiescent_state() noexcept nogil
cdef void wake_waiters() noexcept nogil
cdef void note_rcu_waiter(processor *me, bint waits) noexcept nogil
cdef long run_callbacks(cpu *me) noexcept nogil
cdef void barrier_callback(rcu_head *head) noexcept nogil
cdef void marker_is_over(cpu *c) noexcept nogil
cdef void pass_over_the_dead() noexcept nogil
cdef void queue_barrier_marker(void *info) noexcept nogil
cdef void expedited_handler(void *info) noexcept nogil
cdef long first_look() noexcept nogil
cdef bint quiescent_by_nature(long cpu) noexcept nogil
cdef void wait_for_grace_period(cpu *me, long needed) noexcept nogil
cdef void wait_for_markers(cpu *me) noexcept nogil
