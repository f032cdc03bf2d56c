# mm/slab.c: the paths that every allocation and free takes.
from ipc.atomic cimport read_once_int, unlikely
from ipc.processor cimport MODE_KERNEL, MODE_USER, processor
from cpus.cpu cimport exit_to_user
from cpus.slab_def cimport array_cache, kmem_cache

cdef enum:
    ZERO_SIZE_PTR = 16            # what kmalloc(0) gives

# The kernel's interface. NULL when memory is out. On a CPU; the coordinator may free, and gets NULL.
cdef void *kmem_cache_alloc(kmem_cache *cachep, long gfp) noexcept nogil
cdef void *kmem_cache_alloc_node(kmem_cache *cachep, long gfp, long nid) noexcept nogil
cdef void kmem_cache_free(kmem_cache *cachep, void *objp) noexcept nogil
cdef long kmem_cache_alloc_bulk(kmem_cache *cachep, long gfp, long n, void **objects) noexcept nogil   # n or 0
cdef void kmem_cache_free_bulk(kmem_cache *cachep, long n, void **objects) noexcept nogil
cdef void *kmalloc(long size, long gfp) noexcept nogil
cdef void kfree(void *objp) noexcept nogil
cdef kmem_cache *kmalloc_slab(long size) noexcept nogil

# Interrupts off.
cdef void *____cache_alloc(kmem_cache *cachep, long gfp) noexcept nogil
cdef void ___cache_free(kmem_cache *cachep, void *objp) noexcept nogil
# What arrays hold: into this CPU's, or, if it is another node's, on its way there.
cdef void put_object(kmem_cache *cachep, void *objp) noexcept nogil
cdef void put_in_array(kmem_cache *cachep, void *objp) noexcept nogil

cdef void *refill_and_alloc(kmem_cache *cachep, long gfp) noexcept nogil
cdef void *alloc_one(kmem_cache *cachep, long gfp) noexcept nogil
cdef void *alloc_from_elsewhere(kmem_cache *cachep, long gfp, int flags, int was) noexcept nogil
cdef void free_of_family(kmem_cache *cachep, void *objp) noexcept nogil
cdef void free_to_elsewhere(kmem_cache *cachep, void *objp, int flags, int was) noexcept nogil
cdef void *alloc_special(kmem_cache *cachep, long gfp) noexcept nogil
cdef void __cache_free(kmem_cache *cachep, void *objp) noexcept nogil
cdef kmem_cache *cache_from_obj(kmem_cache *cachep, void *objp) noexcept nogil
cdef void free_by_coordinator(kmem_cache *cachep, void *objp) noexcept nogil

# kernel_enter, kernel_exit with the processor at hand.
cdef inline int enter_kernel(processor *me) noexcept nogil:
    cdef int was = read_once_int(&me.mode)
    me.mode = MODE_KERNEL
    return was

cdef inline void exit_kernel(processor *me, int was) noexcept nogil:
    """What is pending was seen to by irq_restore()."""
    me.mode = was
    if unlikely(read_once_int(&me.need_resched) != 0) and was == MODE_USER:
        exit_to_user()
