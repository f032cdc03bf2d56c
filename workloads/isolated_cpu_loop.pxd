# An undisturbed CPU that computes and watches its clock, and what disturbs it.
from ipc.atomic cimport vlong
from ipc.memory cimport segment
from cpus.cpu cimport AREA_WORKLOAD, cpu, task

cdef enum:
    MOST_GAPS = 1 << 16

cdef struct isolated_state:
    vlong stop
    vlong running
    vlong turns
    vlong calls                   # call interrupts seen from inside
    long nr_gaps
    task watcher
    long gap[MOST_GAPS]           # cycles lost to each

cdef inline isolated_state *the_isolated() noexcept nogil:
    return <isolated_state *>segment().area[AREA_WORKLOAD]

cdef long start(long *args) noexcept nogil
cdef long watch_step(cpu *c, task *t) noexcept nogil
cdef long membarrier(long command) noexcept nogil

cdef extern from * nogil:
    """
    #include <sys/syscall.h>
    #include <unistd.h>
    static inline long emu_membarrier(long command) { return syscall(__NR_membarrier, command, 0, 0); }
    """
    long host_membarrier "emu_membarrier"(long command)
