# What the allocator itself finds broken.
from cpus.slab_def cimport kmem_cache

cdef void slab_bug(long invariant, kmem_cache *cachep, const void *address, const char *what) noexcept nogil
