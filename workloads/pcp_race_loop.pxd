# Drainers that call drain_all_pages at the same time, and holders that put pages on their lists and leave them there.
from ipc.atomic cimport vlong
from ipc.memory cimport segment
from ipc.processor cimport MAX_CPUS
from cpus.cpu cimport AREA_WORKLOAD, cpu, task

cdef enum:
    IDLE = 0                      # state: nothing to do, to be woken
    WOKEN = 1
    ENDED = 2
    MEETING_US = 300              # how long a drainer waits for the others before a call

cdef struct holder:
    task program
    vlong quiet                   # 0 while it is at its lists; else the number of the quiet time that has begun
    vlong state
    long turns
    long _pad[5]

cdef struct drainer:
    task program
    vlong state
    long calls
    long skipped
    long missed                   # (call, CPU) pairs
    long pages_left               # on their lists
    long short_calls              # that left pages: a request that needed all of them would fail
    long begun                    # cycles: the call under way
    long before[MAX_CPUS]         # per holder: the quiet time it was in with pages on its lists, or 0
    long missed_of[MAX_CPUS]      # calls by the CPU that they missed

# In the segment, area[AREA_WORKLOAD].
cdef struct race:
    long nr_drainers              # CPUs 0 .. nr_drainers - 1
    long nr_cpus
    vlong stop
    vlong running
    vlong calls                   # of all drainers, while they run
    vlong arrivals                # of drainers at the place where they wait for each other
    vlong first_miss              # 0, or drainer + 1 of the first call that missed a CPU
    long miss_cpu
    long miss_begun               # cycles
    long miss_ended
    drainer *drainers
    holder *holders               # by CPU; those of drainers are not used

cdef inline race *the_race() noexcept nogil:
    return <race *>segment().area[AREA_WORKLOAD]

# Mailed to a CPU.
cdef long set_up(long *args) noexcept nogil       # drainers, seed; 0 or -ENOMEM
cdef long start(long *args) noexcept nogil
cdef long stop(long *args) noexcept nogil

cdef long hold_pages(cpu *c, task *t) noexcept nogil
cdef long drain_once(cpu *c, task *t) noexcept nogil
cdef void note_missed(race *r, drainer *d, long id) noexcept nogil
cdef void meet(race *r) noexcept nogil
cdef void look_before(race *r, drainer *d) noexcept nogil
cdef void look_after(race *r, drainer *d, long id) noexcept nogil
cdef bint wake_holders(race *r) noexcept nogil
cdef void wake_drainers(race *r) noexcept nogil
cdef long rest(race *r, drainer *d) noexcept nogil
cdef long pages_of(long cpu) noexcept nogil
