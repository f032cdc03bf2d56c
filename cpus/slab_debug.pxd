# What the allocator itself finds broken, and which way it came there.
from ipc.clock cimport get_cycles
from ipc.processor cimport this_processor
from cpus.cpu cimport cpu
from cpus.slab_def cimport array_cache, kmem_cache, slab_bug_record, slab_event, slab_object_info, slab_replaced

cdef enum:
    # Ways through the allocator, for slab_event.path; names in slab_debug.py.
    WHERE_ALLOC = 1
    WHERE_FREE = 2
    WHERE_SHRINK = 3
    WHERE_SLABINFO_WRITE = 4
    WHERE_TUNE = 5
    WHERE_SETUP_NODE = 6
    WHERE_DRAIN_CPU_CACHES = 7
    WHERE_DRAIN_ARRAY = 8
    WHERE_DO_DRAIN = 9
    WHERE_REAP = 10
    WHERE_CPU_DEAD = 11
    WHERE_DESTROY = 12
    WHERE_REFILL = 13

    FREED = 0x6b6b6b6b            # what a freed array's limit reads: the heap's poison

# Note a broken invariant; the machine goes on.
cdef void slab_bug(long invariant, kmem_cache *cachep, const void *address, const char *what) noexcept nogil
# The same with more to tell: NULL when there is no room for another record.
cdef slab_bug_record *slab_bug_begin(
    long invariant, kmem_cache *cachep, const void *address, const char *what) noexcept nogil

# A shared array of this node has been replaced: what it held is in its slabs, it will be freed. list_lock held.
cdef void note_replaced(kmem_cache *cachep, long node, array_cache *old, long objects) noexcept nogil
# Whether an array that is about to be drained, under list_lock, is one that was replaced meanwhile; that is reported.
cdef bint replaced_meanwhile(kmem_cache *cachep, array_cache *ac) noexcept nogil
cdef slab_replaced *find_replaced(array_cache *ac) noexcept nogil
cdef void report_replaced(
    kmem_cache *cachep, array_cache *ac, const char *what, long objects, const void *objp) noexcept nogil
# Whether an object is free in its slab already.
cdef bint free_in_slab(kmem_cache *cachep, const void *objp) noexcept nogil

cdef inline unsigned long path_enter(long where) noexcept nogil:
    """Note that this context enters a path; hand the result to path_leave(). For slow paths."""
    cdef cpu *me = <cpu *>this_processor()
    cdef unsigned long was = me.slab_path
    me.slab_path = was << 8 | <unsigned long>where
    return was

cdef inline void path_leave(unsigned long was) noexcept nogil:
    (<cpu *>this_processor()).slab_path = was

cdef inline void note_event(slab_event *event) noexcept nogil:
    cdef cpu *me = <cpu *>this_processor()
    event.cycles = get_cycles()
    event.cpu = me.hw.id
    event.path = me.slab_path

cdef inline slab_object_info *object_info(kmem_cache *cachep, const void *objp) noexcept nogil:
    """Of a debugged cache's object, by the address that arrays and slabs hold."""
    return <slab_object_info *>(<char *>objp + cachep.info_offset)
