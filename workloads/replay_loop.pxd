# Replay on the CPUs: each runs its stream of records as a task, and waits where the trace says that another was first.
#
# The order of what happens to one object is the trace's, over all CPUs: a slot counts its operations, and an operation
# waits until its number is up. Every wait is for a record that comes earlier in the trace, so none is for ever.
from ipc.atomic cimport vint, vlong
from ipc.histogram cimport histogram
from ipc.memory cimport segment
from ipc.processor cimport MAX_CPUS
from cpus.cpu cimport AREA_WORKLOAD, cpu, task
from cpus.memcontrol cimport mem_cgroup
from cpus.slab_def cimport kmem_cache
from workloads.replay_stream_loop cimport MAX_KINDS, NR_OPS, chunk, record

cdef enum:
    TURN_MASK = 0x3fffffff        # of slot.seq: operations done
    WAITED = 0x40000000           # somebody sleeps until it changes
    STEP_RECORDS = 512            # between two looks at the rest of the machine's work
    SPINS = 200                   # looks before a CPU that must wait gives its host core away ...
    OWN_CORE_SPINS = 4000         # ... and where every CPU has a core of its own: longer than a sleep takes
    NAP_NS = 20000000             # --timing recorded: longest sleep between two looks at `stop`
    SHORT_NS = 60000              # and what is not worth a sleep

    COST_ALLOC = 0
    COST_FREE = 1
    COST_PAGE_ALLOC = 2
    COST_PAGE_FREE = 3
    NR_COSTS = 4

    # replay_cpu.error
    READ_FAILED = 1

cdef struct replay_slot:
    vint seq
    int per_pass                  # operations on it in one pass of the trace
    void *object                  # or struct page

cdef struct replay_kind:
    kmem_cache *cache             # NULL: kmalloc
    long size

cdef struct kind_count:
    long allocs
    long frees
    long alloc_cycles
    long free_cycles

cdef struct replay_cpu:
    task program
    long first                    # where its stream begins in the file
    long at                       # next record in the buffer
    long pass_number
    long clock_us                 # since the replay began, by the trace
    vlong more                    # another pass follows this one: -1 not decided yet
    vlong records                 # done
    long ops[NR_OPS]
    long failed                   # allocations that found no memory
    long corrupt                  # objects that did not hold what was written into them
    long waits                    # for another CPU's operation
    long sleeps
    long wait_cycles
    long begun_ns                 # of this process's own time on a host core
    vlong cpu_ns                  # the same, used until the end
    vlong end_cycles
    long error
    histogram cost[NR_COSTS]      # cycles
    kind_count *kinds
    chunk buffer

# In the segment, area[AREA_WORKLOAD].
cdef struct replay:
    int fd                        # the file of streams: open in every CPU, inherited
    int recorded                  # wait as long as the trace did
    long nr_slots
    long nr_kinds
    long loops                    # passes wanted; 0: until the deadline
    long deadline                 # cycles; 0: none
    long pass_us                  # length of a pass by the trace
    long start_cycles
    long seconds_cycles           # length of --duration
    vlong horizon                 # the pass that may be begun, times 2; + 1: it is the last
    vlong stop
    vlong running                 # CPUs that have not finished
    mem_cgroup **memcgs
    long nr_memcgs
    replay_slot *slots
    replay_kind kinds[MAX_KINDS]
    replay_cpu *cpus[MAX_CPUS]    # NULL: nothing to do
    vlong waiting[MAX_CPUS]       # slot + 1 that a CPU sleeps for

cdef extern from * nogil:
    """
    #ifndef EMU_OWN_TIME
    #define EMU_OWN_TIME
    #include <time.h>
    static inline long emu_own_ns(void)
    { struct timespec t; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
    #endif
    """
    long own_ns "emu_own_ns"()    # time this process has had on a host core

cdef inline replay *the_replay() noexcept nogil:
    return <replay *>segment().area[AREA_WORKLOAD]

# Mailed to a CPU.
cdef long make_memcgs(long *args) noexcept nogil      # kernel version; 0 or a negative errno
cdef long flush_creations(long *args) noexcept nogil
cdef long start(long *args) noexcept nogil
cdef long stop(long *args) noexcept nogil

cdef long step(cpu *c, task *t) noexcept nogil
cdef long finish(replay *r, replay_cpu *own) noexcept nogil
cdef bint load_chunk(replay *r, replay_cpu *own, long at) noexcept nogil
cdef bint next_pass(replay *r, replay_cpu *own) noexcept nogil
cdef bint another_pass(replay *r, long pass_number) noexcept nogil
cdef bint run_record(replay *r, replay_cpu *own, cpu *c, record *rec) noexcept nogil
cdef void do_alloc(replay *r, replay_cpu *own, replay_slot *slot, record *rec) noexcept nogil
cdef void do_free(replay *r, replay_cpu *own, replay_slot *slot, record *rec, long op) noexcept nogil
cdef void do_page_alloc(replay_cpu *own, replay_slot *slot, record *rec) noexcept nogil
cdef void do_page_free(replay_cpu *own, replay_slot *slot, record *rec) noexcept nogil
cdef bint wait_turn(replay *r, replay_cpu *own, cpu *c, replay_slot *slot, int turn) noexcept nogil
cdef bint sleep_for_turn(replay *r, cpu *c, replay_slot *slot, int turn) noexcept nogil
cdef void wake_waiters(replay *r, replay_slot *slot) noexcept nogil
cdef bint wait_for_time(replay *r, replay_cpu *own, cpu *c) noexcept nogil
