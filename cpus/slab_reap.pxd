# mm/slab.c: the reaper, periodic work of each CPU.
from ipc.clock cimport get_cycles
from cpus.cpu cimport cpu
from cpus.slab_def cimport kmem_cache, kmem_cache_node

# cpu.slab_work; the owner's.
cdef struct reap_work:
    long next_reap                # cycles; 0: never
    long slab_reap_node           # whose alien cache is drained next
    long running

cdef bint cache_reap(cpu *me) noexcept nogil          # kworker context; false: slab_mutex was taken
cdef bint start_cpu_timer(cpu *c) noexcept nogil
cdef void reap_alien(kmem_cache *cachep, kmem_cache_node *n, long node) noexcept nogil
cdef void reap_one(kmem_cache *cachep, cpu *me) noexcept nogil
cdef bint reap_now(cpu *me) noexcept nogil

cdef inline bint reap_if_due(cpu *me) noexcept nogil:
    """To be called where kworkers run. True if there was work. An idle CPU is not woken for it: the timer is deferrable."""
    cdef reap_work *work = <reap_work *>me.slab_work
    if work == NULL or work.next_reap == 0 or work.running or get_cycles() < work.next_reap:
        return False
    return reap_now(me)

cdef long entry_reap(long *args) noexcept nogil
