# The hardware of one emulated CPU, as the rest of the hardware sees it. The kernel's struct cpu begins with one.
#
# Grouped by who writes: what only the owner writes, what senders write, what the gate writes. Each group starts on a
# cache line of its own (asserted against the compiled layout by tests/ipc/test_layout.py).
from ipc.atomic cimport vlong, vint

cdef enum:
    # Vectors: bits of processor.pending.
    CALL_FUNCTION_SINGLE_VECTOR = 1
    CALL_FUNCTION_VECTOR = 2
    RESCHEDULE_VECTOR = 4
    TIMER_VECTOR = 8
    NR_VECTORS = 4

    # processor.mode: what the CPU was doing when something looked at it.
    MODE_USER = 0
    MODE_KERNEL = 1
    MODE_IDLE = 2
    MODE_DEAD = 3

    # processor.waiting_for: the reason in a stuck report.
    WAIT_NONE = 0
    WAIT_CSD = 1
    WAIT_MUTEX = 2
    WAIT_SLOT = 3
    WAIT_COMPLETION = 4
    WAIT_GRACE_PERIOD = 5
    WAIT_BROADCAST = 6

    MAX_CPUS = 1024
    COORDINATOR = -1              # a context of its own: in no mask, runs no slab allocation
    MAX_HELD_LOCKS = 16
    CPU_STRIDE = 4096 + 64 * 5    # not a power of two: neighbours fall into different cache sets
    CPU_AREA = 0x70100000         # struct cpu of the coordinator, then of CPU 0, 1, ...
    PRIVATE_PAGE = 0x6fff0000     # one page per process, never shared: see struct private_page

cdef struct irq_stats:
    long raised[NR_VECTORS]       # counted by the sender, for all its targets
    long merged[NR_VECTORS]       # of those: the bit was already set
    long taken[NR_VECTORS]        # counted by the CPU that takes it, once per interrupt, as /proc/interrupts does
    long rings                    # times a transport was made to deliver
    long fallback                 # doorbell only: the target had not polled for too long and got a signal
    long queue_full               # mqueue or signal queue full: a message is already there
    long repokes                  # a waiter rang again for a request that was not answered in time

cdef struct processor:
    # Written by the owner only.
    long id
    vint irq_off                  # soft interrupt flag: a handler that sees it returns, and what is pending stays so
    vint preempt_count
    vint mode
    vint need_resched
    int in_interrupt              # depth of interrupts in service
    int _pad0[3]
    long blocked                  # the interrupt signal is blocked: the CPU is about to idle
    void *ring                    # struct event_ring of ipc/trace, or NULL
    void *lock_stats              # struct lock_stat[NR_LOCK_CLASSES] of ipc/lock
    # Written by others, or read by who rings: one line to fetch for an interrupt.
    vlong pending                 # vectors raised and not yet taken
    vint event                    # futex word: changes when a waiter must look again
    vint sleeping                 # somebody sleeps on `event`
    vint dead
    int mq                        # mqueue: descriptor of this CPU's queue
    int pid
    vint boost                    # ipc/boost: state of the priority handshake
    long idle                     # 1 from before the last look at `pending` to after the wake-up
    long _pad2[3]
    # The gate (ipc/gate).
    vlong want                    # GATE_NONE, GATE_WANTS, or GATE_GRANTED + token
    long slot                     # token held, or -1
    long slot_since               # cycles
    vint sending                  # a sender never pauses
    vint timer_armed
    int timer_due                 # a tick was handled: the next one is asked for on the way out
    int _pad3[1]
    long gate_moves               # times the slot changed hands to this CPU
    long _pad4[2]
    # What a stuck report and the supervisor read.
    vint waiting_for
    vint held_count
    vlong waiting_since
    vlong waiting_on              # a CPU, a lock's address, by reason
    long heartbeat                # interrupts taken and loops made: moves while the CPU is alive
    vlong dynticks                # even: idle, asleep or stopped in user mode; changes with full barriers
    long _pad5[3]
    void *held[MAX_HELD_LOCKS]    # locks held or about to be taken, in order
    irq_stats irqs

ctypedef void (*vector_handler)(processor *me, long vectors) noexcept nogil
ctypedef void (*simple_hook)() noexcept nogil

# Known to every module at a fixed address, so that reaching it is one absolute load. Set at fork, switched by nobody
# else; private because each process has its own answer to "which CPU am I".
cdef struct private_page:
    processor *this_processor
    vector_handler handler[NR_VECTORS]
    simple_hook exit_interrupt    # outermost interrupt exit: softirqs, kworkers, the end of a slice
    void (*ring)(processor *target) noexcept nogil
    void (*ring_many)(unsigned long *mask) noexcept nogil
    void (*idle_begin)(processor *me) noexcept nogil       # from here on no interrupt is lost ...
    void (*idle_wait)(processor *me) noexcept nogil        # ... until this returns because of one
    void (*idle_end)(processor *me) noexcept nogil
    void (*signalled)(processor *me, bint from_queue) noexcept nogil     # in the handler, before anything is taken; or NULL
    void (*overdue)(processor *target) noexcept nogil      # a request has been pending there for longer than it should
    long overdue_ns

cdef inline private_page *private() noexcept nogil:
    return <private_page *><unsigned long>PRIVATE_PAGE

cdef inline processor *this_processor() noexcept nogil:
    return (<private_page *><unsigned long>PRIVATE_PAGE).this_processor

cdef inline processor *processor_of(long id) noexcept nogil:
    """The hardware of CPU `id`; COORDINATOR is -1 and comes first."""
    return <processor *><unsigned long>(CPU_AREA + (id + 1) * CPU_STRIDE)
