# Slab operations that can be mailed to a CPU: `long f(long *args)`.
from cpus.slab_def cimport kmem_cache
cdef long entry_alloc(long *args) noexcept nogil
cdef long entry_free(long *args) noexcept nogil
cdef long entry_kmalloc(long *args) noexcept nogil
cdef long entry_kfree(long *args) noexcept nogil
cdef long entry_create(long *args) noexcept nogil
cdef long entry_destroy(long *args) noexcept nogil
cdef long entry_shrink(long *args) noexcept nogil
cdef long entry_slabinfo_write(long *args) noexcept nogil
cdef kmem_cache *cache_at(long address) noexcept nogil
