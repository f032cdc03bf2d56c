# kernel/workqueue.c, as far as the modelled code needs it: items run on CPUs, as kworkers.
from ipc.atomic cimport vlong
from ipc.lock cimport spinlock
from ipc.park cimport completion
from cpus.cpu cimport cpu

ctypedef void (*work_func_t)(work_struct *work) noexcept nogil

cdef struct work_struct:
    work_struct *next
    work_func_t func
    workqueue_struct *wq
    vlong pending                 # queued and not yet started: may not be queued again
    long data[4]                  # the item's own

cdef enum:
    WQ_PERCPU = 0                 # runs on the CPU that queued it
    WQ_ORDERED = 1                # unbound, one item at a time
    MAX_WORKQUEUES = 8

cdef struct workqueue_struct:
    char name[32]
    int kind
    int _pad
    spinlock lock                 # ordered only
    work_struct *head             # ordered only: items waiting
    work_struct *tail
    long running                  # ordered only: an item is running or handed to a CPU
    long next_cpu                 # ordered only: where the next item runs
    vlong queued                  # items ever queued
    vlong finished
    vlong flushers                # somebody waits in flush_workqueue()

cdef void init_work(work_struct *work, work_func_t func) noexcept nogil
cdef bint queue_work(workqueue_struct *wq, work_struct *work) noexcept nogil
cdef bint queue_work_on(long cpu, workqueue_struct *wq, work_struct *work) noexcept nogil
cdef void flush_workqueue(workqueue_struct *wq) noexcept nogil      # all that was queued before the call
cdef workqueue_struct *alloc_workqueue(const char *name, int kind) noexcept nogil
cdef bint run_kworkers(cpu *me) noexcept nogil                      # true if an item ran
cdef void push_to_cpu(long cpu, work_struct *work) noexcept nogil
cdef long next_worker_cpu(workqueue_struct *wq) noexcept nogil
cdef void queue_ordered(workqueue_struct *wq, work_struct *work) noexcept nogil
cdef work_struct *next_ordered(workqueue_struct *wq) noexcept nogil
cdef workqueue_struct *run_item(cpu *me, work_struct *work) noexcept nogil
cdef void collect_items(cpu *me) noexcept nogil
cdef bint run_own_items() noexcept nogil
cdef void lost_item(work_struct *work) noexcept nogil
cdef void adopt_work_of_dead(long cpu) noexcept nogil            # not in an interrupt
