# mm/slub.c: the paths that every allocation and free takes.
from cpus.mm_types cimport page
from cpus.slab_def cimport kmem_cache
from cpus.slub_def cimport kmem_cache_cpu

# kmem_cache_alloc and its kin of cpus/slab come here for SLUB's caches; a loop may call them directly.
cdef void *slub_alloc(kmem_cache *cachep, long gfp) noexcept nogil
cdef void *slub_alloc_node(kmem_cache *cachep, long gfp, long nid) noexcept nogil
cdef void slub_free(void *object) noexcept nogil
cdef kmem_cache *slub_kmalloc_slab(long size) noexcept nogil     # NULL: the size needs whole pages
cdef void *slub_kmalloc(long size, long gfp) noexcept nogil

cdef void *slab_alloc_node(kmem_cache *cachep, long gfp, long nid) noexcept nogil
cdef void *slub_alloc_special(kmem_cache *cachep, long gfp) noexcept nogil
cdef void *__slab_alloc(kmem_cache *cachep, long gfp, long nid) noexcept nogil
cdef void *___slab_alloc(kmem_cache *cachep, long gfp, long nid, kmem_cache_cpu *c) noexcept nogil
cdef void *get_freelist(page *p) noexcept nogil
cdef void *new_slab_objects(kmem_cache *cachep, long gfp, long nid, kmem_cache_cpu *c) noexcept nogil
cdef void slab_free(kmem_cache *cachep, page *p, void *head, void *tail, long cnt) noexcept nogil
cdef void __slab_free(kmem_cache *cachep, page *p, void *head, void *tail, long cnt) noexcept nogil
cdef void *kmalloc_large(long size, long gfp) noexcept nogil
cdef bint node_match(page *p, long nid) noexcept nogil
cdef void *alloc_again(kmem_cache *cachep, long gfp, int was) noexcept nogil
cdef void *alloc_slowly(kmem_cache *cachep, long gfp, int was) noexcept nogil
cdef void free_again(page *p, void *object, int was) noexcept nogil
cdef void free_slowly(page *p, void *object, int was) noexcept nogil
