# Words, locks and the heap for the tests of the machine; no kernel code calls them.
from ipc.atomic cimport read_once, vint, vlong
from ipc.lock cimport mutex, rwsem, spinlock

cdef enum:
    KIND_SPIN = 0                 # with interrupts off
    KIND_MUTEX = 1
    KIND_READ = 2
    KIND_WRITE = 3
    KIND_NONE = 4                 # planted: no lock at all

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

cdef inline vlong *word(long address) noexcept nogil:
    return <vlong *><unsigned long>address

cdef void wake_word(vlong *w) noexcept nogil
cdef void set_word(vlong *w, long value) noexcept nogil
cdef void wait_for_word(vlong *w) noexcept nogil
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
