# Operations for the tests of the machine; no kernel code calls them. `long f(long *args)`, as cpus/entry has them.
#
# Words are longs in the segment, given by address. A word that is waited for is set with its sleepers woken.
from ipc.atomic cimport read_once, vint, vlong, write_once
from ipc.cpumask cimport cpumask
from ipc.gate cimport gate
from ipc.interrupt cimport siginfo_t
from ipc.lock cimport mutex, rwsem, spinlock
from ipc.processor cimport processor
from cpus.cpu cimport cpu, task
from cpus.rcu cimport rcu_head
from cpus.smp_types cimport call_single_data
from cpus.workqueue cimport work_struct, workqueue_struct

cdef enum:
    KIND_SPIN = 0                 # with interrupts off
    KIND_MUTEX = 1
    KIND_READ = 2
    KIND_WRITE = 3
    KIND_NONE = 4                 # planted: no lock at all

    SECTION_IRQ = 0
    SECTION_PREEMPT = 1
    SECTION_BOTH = 2

    PLANT_ACK_BEFORE_WORK = 1     # a request is answered for before it has run
    PLANT_UNLOCK_EARLY = 2        # a request is given back before it was read
    PLANT_LOST_REQUEST = 3        # the last of several queued requests is dropped
    PLANT_RUN_TWICE = 4
    PLANT_NO_RING = 5             # every third ring is lost, and nobody rings again
    PLANT_LOSSY_RING = 6          # the same with the waiters' second ring in place
    PLANT_NO_REARM = 7            # mqueue: the notification is not asked for again
    PLANT_IGNORE_IRQ_OFF = 8      # the handler takes interrupts in irq-off sections
    PLANT_UNCOUNTED = 9           # interrupts are taken and not counted

ctypedef void (*ring_function)(processor *target) noexcept nogil

# Where functions that ran leave their marks.
cdef struct run_log:
    vlong next                    # entries made
    long size                     # room for so many
    vlong inside                  # functions running now
    vlong overlaps                # entered while another was inside
    vlong entered                 # set when a function has begun
    vlong release                 # a function waits for it, if `waits`
    long waits
    long delay_us
    void *mask                    # on_each_cpu_cond: the CPUs that want it
    vlong entry[1]

# One sender's side of scftorture's checks.
cdef struct scf_check:
    long cpu                      # that must run it, or -1
    vlong before                  # stored by the sender before the call
    vlong after                   # stored by the function
    vlong ran
    vlong wrong_cpu
    vlong missed_in
    long delay_us
    long missed_out
    long refused
    long sent
    long _pad[6]

# Work of a task in user mode.
cdef enum:
    TASK_STOP = 0                 # indices into task.arg: word that ends it
    TASK_SPIN_US = 1              # computes so long per step
    TASK_WITHOUT_SLOT = 2         # steps that began without a slot

cdef inline vlong *word(long address) noexcept nogil:
    return <vlong *><unsigned long>address

cdef void wake_word(vlong *w) noexcept nogil
cdef void wait_for_word(vlong *w) noexcept nogil
cdef void set_word(vlong *w, long value) noexcept nogil
cdef void compute(long us) noexcept nogil
cdef void pause_turns(long turns) noexcept nogil

cdef long lock_init(long *args) noexcept nogil
cdef void take(long lock, long kind) noexcept nogil
cdef void release(long lock, long kind) noexcept nogil
cdef long count_locked(long *args) noexcept nogil
cdef long read_pairs(long *args) noexcept nogil
cdef long write_pairs(long *args) noexcept nogil
cdef long try_lock(long *args) noexcept nogil
cdef long hold_lock(long *args) noexcept nogil
cdef long hold_two(long *args) noexcept nogil
cdef long lock_pairs(long *args) noexcept nogil
cdef long lock_unlisted(long *args) noexcept nogil
cdef long heap_churn(long *args) noexcept nogil
cdef long heap_lock_forever(long *args) noexcept nogil

cdef long irq_section(long *args) noexcept nogil
cdef long irq_nesting(long *args) noexcept nogil
cdef long compute_until(long *args) noexcept nogil
cdef long preempt_hog(long *args) noexcept nogil
cdef long count_own(long *args) noexcept nogil
cdef void count_plain(void *info) noexcept nogil
cdef long send_counts(long *args) noexcept nogil

cdef long log_add(run_log *log, long value) noexcept nogil
cdef void note_run(void *info) noexcept nogil
cdef bint wanted(long cpu, void *info) noexcept nogil
cdef long call_one(long *args) noexcept nogil
cdef long call_mask(long *args) noexcept nogil
cdef long call_each(long *args) noexcept nogil
cdef long call_cond(long *args) noexcept nogil

cdef unsigned long draw(unsigned long *state) noexcept nogil
cdef void scf_handler(void *info) noexcept nogil
cdef long scf_torture(long *args) noexcept nogil
cdef void scf_single(scf_check *check, long target, bint wait, long round) noexcept nogil
cdef void scf_many(scf_check *check, bint wait, long round) noexcept nogil

cdef long user_step(cpu *c, task *t) noexcept nogil
cdef long start_task(long *args) noexcept nogil
cdef long sample_slots(long *args) noexcept nogil

cdef void work_log(work_struct *work) noexcept nogil
cdef long wq_new(long *args) noexcept nogil
cdef long wq_queue(long *args) noexcept nogil
cdef long wq_flush(long *args) noexcept nogil

cdef long reader(long *args) noexcept nogil
cdef long grace_period(long *args) noexcept nogil
cdef long rcu_barrier(long *args) noexcept nogil
cdef void note_callback(rcu_head *head) noexcept nogil
cdef long queue_callbacks(long *args) noexcept nogil
cdef long rcu_read_loop(long *args) noexcept nogil
cdef long rcu_update_loop(long *args) noexcept nogil

cdef long trace_events(long *args) noexcept nogil

cdef long plant(long *args) noexcept nogil
cdef void ack_before_work(processor *me, long vectors) noexcept nogil
cdef void unlock_early(processor *me, long vectors) noexcept nogil
cdef void lose_last(processor *me, long vectors) noexcept nogil
cdef void run_twice(processor *me, long vectors) noexcept nogil
cdef void uncounted(processor *me, long vectors) noexcept nogil
cdef void lossy_ring(processor *target) noexcept nogil
cdef void lossy_ring_many(unsigned long *mask) noexcept nogil
cdef void no_overdue(processor *target) noexcept nogil
cdef void drain_only(processor *me, bint from_queue) noexcept nogil
cdef void heedless_handler(int signo, siginfo_t *info, void *context) noexcept nogil
cdef void plant_handler(long which) noexcept nogil
cdef long count_requests(call_single_data *csd) noexcept nogil
