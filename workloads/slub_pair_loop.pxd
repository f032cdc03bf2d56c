# Pairs of alloc and free on SLUB's fast path, against glibc's, for P4.
from cpus.slab_def cimport kmem_cache

cdef enum:
    MAX_DEPTH = 8192

cdef long slub_pairs(kmem_cache *cachep, long depth, long rounds, void **kept, bint direct) noexcept nogil
cdef long glibc_pairs(long size, long depth, long rounds, void **kept) noexcept nogil
