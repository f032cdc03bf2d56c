# Python faces of the slab allocator; no C interface.
from cpus.mm_types cimport page
from cpus.slab_def cimport kmem_cache

cdef kmem_cache *cache_at(unsigned long address) noexcept nogil
cdef void *object_at(unsigned long address) noexcept nogil
cdef void count_constructed(void *objp) noexcept nogil
