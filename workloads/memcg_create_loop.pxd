# The script of memcg-create as a task: one loop of it, or one rmdir, per step.
from ipc.atomic cimport vlong
from ipc.memory cimport segment
from ipc.processor cimport MAX_CPUS
from cpus.cpu cimport AREA_WORKLOAD, cpu, task
from cpus.memcontrol cimport mem_cgroup
from cpus.vfs cimport vfs_caches

cdef enum:
    PHASE_SCRIPT = 0
    PHASE_FLUSH = 1               # wait until every queued creation has run
    PHASE_REMOVE = 2
    PHASE_DONE = 3

cdef struct readings:
    long cal[MAX_CPUS]            # call-function interrupts taken
    long created[MAX_CPUS]        # child caches made by the CPU
    long duplicates
    long time                     # cycles

# In the segment, area[AREA_WORKLOAD]; written by the task, read by the coordinator.
cdef struct memcg_script:
    vlong phase
    vlong loops_done
    vlong removed
    vlong stop                    # set by the coordinator: end after this loop and remove nothing
    vlong error                   # negative errno of what failed first
    long loops
    long script_before            # CPU 0's column as the script reads it
    long script_after
    readings before               # with the creation workqueue flushed
    readings after
    readings removal              # after the last rmdir
    vfs_caches fs
    task script
    mem_cgroup *memcg[1]          # `loops` of them

cdef extern from * nogil:
    """
    #ifndef EMU_SPLITMIX
    #define EMU_SPLITMIX
    /* SplitMix64 (Steele, Lea, Flood 2014). */
    static inline unsigned long emu_splitmix(unsigned long *state)
    {
        unsigned long z = *state += 0x9e3779b97f4a7c15UL;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
        return z ^ (z >> 31);
    }
    #endif
    """
    unsigned long splitmix64 "emu_splitmix"(unsigned long *state)

cdef inline memcg_script *the_script() noexcept nogil:
    return <memcg_script *>segment().area[AREA_WORKLOAD]

# Mailed to a CPU.
cdef long set_up(long *args) noexcept nogil                   # loops, seed, kernel version; 0 or a negative errno
cdef long start(long *args) noexcept nogil
cdef long stop(long *args) noexcept nogil

cdef long step(cpu *c, task *t) noexcept nogil
cdef long one_loop(memcg_script *s, task *t) noexcept nogil
cdef long echo(vfs_caches *fs, mem_cgroup *memcg, int cft, long value, task *t) noexcept nogil
cdef long end_of_script(memcg_script *s, task *t) noexcept nogil
cdef long remove_one(memcg_script *s) noexcept nogil
cdef long ipi_count() noexcept nogil
cdef void settle() noexcept nogil
cdef void read_all(readings *r) noexcept nogil
cdef long random_cpu(task *t) noexcept nogil
cdef long migrate(cpu *c, task *t) noexcept nogil
cdef void fail(memcg_script *s, long error) noexcept nogil
