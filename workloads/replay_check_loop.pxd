# What the machine holds, counted from raw memory when it is at rest: slabs, arrays and freelists, as they lie there.
# Nothing of the allocator's code is called, and no counter of its is believed.
from cpus.list_head cimport list_head
from cpus.mm_types cimport page
from cpus.slab_def cimport array_cache, kmem_cache

cdef enum:
    MAX_LIST = 1 << 24            # pages: longer than any sound list

cdef long slabs_on(list_head *head, kmem_cache *cachep, long *slabs) noexcept nogil     # objects out; -1: broken list
cdef bint slab_holds(kmem_cache *root, void *obj) noexcept nogil
cdef add_array(array_cache *ac, set into)
