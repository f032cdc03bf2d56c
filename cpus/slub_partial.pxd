# mm/slub.c: partial lists, of CPUs and of nodes; slabs that a CPU gives up.
from cpus.mm_types cimport page
from cpus.slab_def cimport kmem_cache
from cpus.slub_def cimport kmem_cache_cpu, slub_node

# list_lock held.
cdef void add_partial(slub_node *n, page *p, int where) noexcept nogil
cdef void remove_partial(slub_node *n, page *p) noexcept nogil
# Interrupts off.
cdef void *get_partial(kmem_cache *cachep, long nid, kmem_cache_cpu *c) noexcept nogil
cdef void deactivate_slab(kmem_cache *cachep, page *p, void *freelist) noexcept nogil
cdef void flush_slab(kmem_cache *cachep, kmem_cache_cpu *c) noexcept nogil
cdef void unfreeze_partials(kmem_cache *cachep, kmem_cache_cpu *c) noexcept nogil
# drain: make room if the list is full.
cdef void put_cpu_partial(kmem_cache *cachep, page *p, bint drain) noexcept nogil

cdef void *get_partial_node(kmem_cache *cachep, slub_node *n, kmem_cache_cpu *c) noexcept nogil
cdef void *get_any_partial(kmem_cache *cachep, kmem_cache_cpu *c) noexcept nogil
cdef void *acquire_slab(slub_node *n, page *p, bint mode, long *objects) noexcept nogil
cdef void return_all_but_last(kmem_cache *cachep, page *p, void **freelist) noexcept nogil
cdef void flush_if_dead(kmem_cache *cachep, kmem_cache_cpu *c) noexcept nogil
