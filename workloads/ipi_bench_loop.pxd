# The compiled half of ipi-bench: senders' loops, what targets do meanwhile, and the torture.
from ipc.atomic cimport vlong
from ipc.cpumask cimport cpumask
from ipc.lock cimport spinlock
from ipc.processor cimport processor
from ipc.memory cimport segment
from cpus.cpu cimport AREA_WORKLOAD, cpu, task

cdef enum:
    # What a sender does in a round.
    DO_NOTHING = 0
    CALL_SELF = 1                 # smp_call_function_single on itself
    CALL_ONE = 2                  # ... on another CPU, waiting
    CALL_ONE_TIMED = 3            # the same, and the handler notes when it ran
    CALL_NO_WAIT = 4
    CALL_MANY = 5                 # smp_call_function
    CALL_MASK = 6                 # on_each_cpu_mask, every second CPU
    CALL_LOCK = 7                 # smp_call_function, each handler takes one spinlock

    # What a busy target does.
    BUSY_PURE = 0
    BUSY_IRQ_OFF = 1              # sections with interrupts off, one after the other
    BUSY_POLL = 2                 # a wait loop: cpu_relax()

    MAX_ROUNDS = 100000          # Norov's NTIMES
    SECTION_NS = 200              # length of an irq-off section: a list operation

# In the segment, found through area[AREA_WORKLOAD].
cdef struct bench:
    vlong stop                    # busy targets end
    vlong started                 # those that run
    vlong finished                # those that have ended
    long _pad0[5]
    vlong handled_at              # cycles in the handler of CALL_ONE_TIMED
    vlong handled                 # calls of CALL_NO_WAIT that have run
    long _pad1[6]
    spinlock lock
    cpumask mask
    task *tasks                   # one per CPU
    long *acked                   # samples: last ack - start
    long *returned                # samples: return - start
    long *delivered               # samples: handler - start
    long *sent                    # torture: requests from CPU i to CPU j, at [i * cpus + j]
    tally *tallies                # torture: one per CPU

# What a CPU has seen in the torture; a cache line of its own, written by that CPU with interrupts off.
cdef struct tally:
    long run
    long wrong_cpu                # requests addressed to another CPU, or run by a foreign process
    long _pad[6]

cdef inline bench *the_bench() noexcept nogil:
    return <bench *>segment().area[AREA_WORKLOAD]

cdef extern from "unistd.h" nogil:
    int usleep(unsigned int us)

# Mailed to a CPU or run by the coordinator.
cdef long send(long *args) noexcept nogil
cdef long start_busy(long *args) noexcept nogil
cdef long storm(long *args) noexcept nogil
cdef long avoid(long *args) noexcept nogil
cdef long dirty(long *args) noexcept nogil

cdef void one_round(bench *b, long action, long target) noexcept nogil
cdef void wait_between(long gap_us, bint spin) noexcept nogil
cdef long busy_pure(cpu *c, task *t) noexcept nogil
cdef long busy_irq_off(cpu *c, task *t) noexcept nogil
cdef long busy_poll(cpu *c, task *t) noexcept nogil
cdef void do_nothing(void *info) noexcept nogil
cdef void note_time(void *info) noexcept nogil
cdef void count_handled(void *info) noexcept nogil
cdef void take_lock(void *info) noexcept nogil
cdef bint has_nothing(long cpu, void *info) noexcept nogil
cdef void tally_one(bench *b, bint wrong) noexcept nogil
cdef void check_csd(void *info) noexcept nogil
cdef void check_info(void *info) noexcept nogil
cdef long storm_once(bench *b, long me, unsigned long *state) noexcept nogil
cdef long storm_mask(bench *b, long me, unsigned long chosen) noexcept nogil
