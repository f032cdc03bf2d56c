# struct cpu: what the kernel knows of one CPU, and the way in and out of the kernel.
from ipc.atomic cimport barrier, unlikely, vint, vlong
from ipc.clock cimport get_cycles
from ipc.cpumask cimport cpumask
from ipc.gate cimport SLICE_OVER
from ipc.histogram cimport histogram, histogram_add
from ipc.memory cimport segment, switch_on, switch_value
from ipc.park cimport completion
from ipc.processor cimport (
    COORDINATOR, CPU_STRIDE, MODE_IDLE, MODE_KERNEL, MODE_USER, processor, processor_of, this_processor,
)
from cpus.smp_types cimport call_single_data
from cpus.rcu_types cimport rcu_head
from cpus.vmstat cimport NR_COUNTERS

cdef enum:
    # Latency names: index into cpu.latency (names in cpus/cpu.py).
    LAT_IPI = 0
    LAT_KICK = 1
    LAT_CALL_MANY = 2
    LAT_DRAIN = 3
    LAT_TUNE = 4
    LAT_CREATE = 5
    LAT_SHRINK = 6
    LAT_GRACE_PERIOD = 7
    LAT_RCU_BARRIER = 8
    LAT_RECLAIM = 9
    NR_LATENCIES = 12

    # What a task's step answers.
    TASK_RUN = 0                  # again, here
    TASK_DONE = 1
    TASK_MIGRATE = 2              # task.cpu says where

    # mailbox.command
    MAIL_NONE = 0
    MAIL_CALL = 1                 # call mailbox.function(mailbox.args)
    MAIL_BODY = 2                 # run Python body number mailbox.args[0]
    MAIL_EXIT = 3

    # area[] of the segment header: the roots other floors find things by.
    AREA_SLAB = 0                 # struct slab_system (cpus/slab_common)
    AREA_MEMCG = 1                # struct memcg_system (cpus/memcontrol)
    AREA_ZONES = 2                # struct mm_system (cpus/page_alloc)
    AREA_WORKQUEUES = 3
    AREA_RCU = 4
    AREA_LOCKS = 5                # struct kernel_locks (cpus/locks)
    AREA_SLUB = 6
    AREA_SLOW_FREE = 7            # no root: != 0 if a free must look further (several nodes, or a debugged cache)
    AREA_WORKLOAD = 15

ctypedef long (*mail_function)(long *args) noexcept nogil

cdef struct mailbox:
    vlong command
    mail_function function
    long args[8]
    long result
    vlong died                    # its CPU died before it answered
    completion done

# A task is what a user process is to the kernel: it has a memcg and runs on one CPU at a time.
cdef struct task:
    task *next
    long (*step)(cpu *c, task *t) noexcept nogil
    void *memcg                   # struct mem_cgroup; NULL is the root
    long memcg_kmem_skip_account
    long cpu                      # where it runs, or shall run next
    long steps                    # made so far
    unsigned long random          # state of its own generator
    long arg[8]                   # the program's own
    completion done

cdef struct cpu:
    processor hw                  # first: &cpu.hw is the processor of ipc
    # Queues that others push to (lock-less lists, newest first).
    void *call_single_queue       # struct call_single_data
    void *wake_list               # struct task: woken or migrated here
    void *work_list               # struct work_struct: per-CPU workqueue items
    long _pad0[5]
    # Senders' side of cross-calls.
    vlong acks                    # acks this CPU's synchronous call still waits for, and ACK_SLEEPER
    vlong acked_at                # cycles at the last ack
    call_single_data *serving     # requests taken from the queue and not yet done: a dead CPU's are completed
    long served_target            # whom the request that runs was meant for
    void *served_row              # struct ledger_row of the last request served
    call_single_data *cfd         # one csd per target, made at the first broadcast
    call_single_data csd          # for single calls that do not wait
    long csd_run                  # requests run on this CPU
    long csd_enqueued             # requests this CPU queued to others
    long csd_refused              # target offline or dead
    # The program.
    task *current                 # NULL: a kernel thread, or a Python body
    task *run_queue               # this CPU's own list of runnable tasks, oldest first
    task *run_queue_tail
    task body_task                # what `current` is while a Python body runs
    long node                     # NUMA node
    vint in_exit_work             # the exit hook does not nest
    vint in_kworker               # a kworker runs: no task context
    vint in_softirq               # callbacks run: nothing may sleep
    int softirq_pending
    int work_backlog              # own items taken from work_list and not yet run
    void *work_head               # those items, oldest first
    void *work_tail
    void *work_running            # workqueue of the item that runs
    void *lost_work               # struct work_struct: stands for that item when this CPU has died in it
    # RCU-sched (cpus/rcu).
    vlong rcu_reported            # the last grace period that this CPU has answered for
    vlong rcu_snapshot            # its hw.dynticks when that grace period began
    rcu_head *rcu_callbacks       # oldest first
    rcu_head *rcu_tail
    vlong rcu_count               # callbacks queued
    vlong rcu_done                # callbacks run
    rcu_head rcu_barrier_head     # marker that rcu_barrier() queues behind them
    vlong rcu_marker_out          # that marker is waited for
    long ticks                    # timer interrupts taken
    # Counters (cpus/vmstat), plain increments with interrupts off.
    long counter[NR_COUNTERS]
    histogram *latency            # [NR_LATENCIES]
    void *slab_work               # next reap of this CPU (cpus/slab)
    unsigned long slab_path       # which slow paths of the allocator it is in (cpus/slab_debug)
    void *pcp                     # per-CPU pagesets (cpus/page_alloc)
    mailbox mail
    completion body_done          # of the Python body, which leaves the mailbox free for calls
    void *body_reply              # heap block: what the body returned, as JSON
    long body_reply_length

cdef inline cpu *this_cpu() noexcept nogil:
    return <cpu *>this_processor()

cdef inline cpu *cpu_of(long id) noexcept nogil:
    return <cpu *>processor_of(id)

cdef inline long smp_processor_id() noexcept nogil:
    return this_processor().id

cdef inline long nr_cpu_ids() noexcept nogil:
    return segment().nr_cpus

cdef inline cpumask *cpu_online_mask() noexcept nogil:
    return &segment().online

cdef inline int kernel_enter() noexcept nogil:
    """Enter the kernel; hand the result to kernel_exit(). Nests."""
    cdef processor *me = this_processor()
    cdef int was = me.mode
    me.mode = MODE_KERNEL
    barrier()
    return was

cdef inline void kernel_exit(int was) noexcept nogil:
    """Leave the kernel: the outermost exit honours need_resched, as the return to user mode does."""
    cdef processor *me = this_processor()
    barrier()
    me.mode = was
    if unlikely(me.need_resched != 0 or me.pending != 0) and was == MODE_USER:
        exit_to_user()

cdef inline void count_event(int item) noexcept nogil:
    """Add one to a counter of this CPU; interrupts are off, or no handler counts this item."""
    this_cpu().counter[item] += 1

cdef inline void count_events(int item, long n) noexcept nogil:
    this_cpu().counter[item] += n

cdef inline void record_latency(int which, long start) noexcept nogil:
    """Cycles from `start` to now into this context's histogram."""
    histogram_add(&this_cpu().latency[which], get_cycles() - start)

cdef void cpu_relax() noexcept nogil                             # one turn of a wait loop: polls interrupts
cdef void exit_to_user() noexcept nogil
cdef void set_need_resched(cpu *target) noexcept nogil           # RESCHEDULE_VECTOR to another CPU
cdef void wake_up_process(task *t, long cpu) noexcept nogil      # make it runnable on `cpu`
cdef bint run_local_work(cpu *me) noexcept nogil                 # softirqs and kworkers; true if there was any

cdef void reschedule_interrupt(processor *me, long vectors) noexcept nogil
cdef void timer_vector(processor *me, long vectors) noexcept nogil
cdef void stop_if_slice_over(processor *me) noexcept nogil
cdef void exit_interrupt() noexcept nogil
cdef bint has_work(cpu *c) noexcept nogil
cdef bint has_exit_work(cpu *c) noexcept nogil
cdef void serve_call(cpu *c) noexcept nogil
cdef void collect_woken(cpu *c) noexcept nogil
cdef void run_task(cpu *c) noexcept nogil
cdef long work_until_mail(cpu *c) noexcept nogil
cdef void idle(cpu *c) noexcept nogil
cdef long run_cpu(cpu *c) noexcept nogil
cdef void softirq_asleep(cpu *c) noexcept nogil
