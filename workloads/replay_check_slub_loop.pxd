# What a machine with SLUB holds, counted from raw memory; see replay_check_loop.
from cpus.mm_types cimport page
from cpus.slab_def cimport kmem_cache

cdef bint is_large(page *p) noexcept nogil
cdef bint slub_holds(kmem_cache *root, void *obj) noexcept nogil    # root NULL: a block of pages that kmalloc() gave
cdef add_figures(dict found, kmem_cache *s, list counts)
cdef long chain(kmem_cache *cachep, void *first, set into)
