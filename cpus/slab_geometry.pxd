# mm/slab.c: how many objects a slab has, where its freelist lies, how it is coloured.
from cpus.slab_def cimport kmem_cache

# From object_size, align and ctor: size, num, gfporder, colour, freelist. 0, -E2BIG or -ENOMEM.
cdef long set_geometry(kmem_cache *cachep, unsigned long flags) noexcept nogil

cdef long cache_estimate(long gfporder, long size, unsigned long flags, long *left_over) noexcept nogil
cdef bint freelist_fits(long num, long size) noexcept nogil
cdef long calculate_slab_order(kmem_cache *cachep, long size, unsigned long flags) noexcept nogil
cdef bint set_objfreelist_slab_cache(kmem_cache *cachep, long size, unsigned long flags) noexcept nogil
cdef bint set_off_slab_cache(kmem_cache *cachep, long size, unsigned long flags) noexcept nogil
cdef bint set_on_slab_cache(kmem_cache *cachep, long size, unsigned long flags) noexcept nogil
