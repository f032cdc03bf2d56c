# mm/slab.c, mm/slab_common.c: the allocator's own start.
from cpus.slab_def cimport kmem_cache

cdef long create_kmalloc_cache(long index, long size) noexcept nogil
cdef long create_kmalloc_caches() noexcept nogil
cdef long enable_all() noexcept nogil

cdef extern from "stdio.h" nogil:
    int snprintf(char *text, size_t size, const char *format, ...)
