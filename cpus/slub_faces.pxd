# Python faces of SLUB; no C interface.
from cpus.mm_types cimport page
from cpus.slab_def cimport kmem_cache

cdef kmem_cache *cache_at(unsigned long address) noexcept nogil
