# mm/slab.c: what the allocator does when a CPU comes or goes.
from cpus.slab_def cimport kmem_cache

cdef long slab_prepare_cpu(long cpu) noexcept nogil      # before it is online; 0 or -ENOMEM
cdef void slab_dead_cpu(long cpu) noexcept nogil         # after it has left the online mask
cdef void cpuup_canceled(kmem_cache *cachep, long cpu) noexcept nogil
