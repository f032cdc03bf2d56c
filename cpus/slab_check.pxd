# Debugged caches: red zones, poison, owner tags, delayed reuse. slab_debug.pxd has what reports them.
#
# What arrays and slabs hold is the address of the left red zone; the caller's object begins obj_offset behind it:
#
#     obj_offset bytes   object_size bytes   8 to 15 bytes    slab_object_info
#     left red zone      the object          right red zone   state, last allocation, last free, last put
from cpus.mm_types cimport page
from cpus.slab_def cimport kmem_cache, slab_bug_record, slab_object_info

cdef enum:
    RED_FREE = 0xbb
    RED_IN_USE = 0xcc
    # POISON_FREE, 0x6b, is that of ipc/memory.
    POISON_END = 0xa5
    POISON_INUSE = 0x5a
    OBJECT_FREE = 0x46524545                 # "FREE"
    OBJECT_IN_USE = 0x55534544               # "USED"
    DEBUG_LIMIT = 32                         # of a debugged cache's arrays

# The flags of a new cache: those asked for, and slab_debug='s; none where the object would take twice the memory.
cdef unsigned long debug_flags(kmem_cache *cachep, unsigned long flags) noexcept nogil
# Place the red zones and the info; the size of the whole. 0: no memory for its quarantine.
cdef long debug_layout(kmem_cache *cachep, unsigned long flags) noexcept nogil

# Interrupts off.
cdef void *debug_alloc(kmem_cache *cachep, void *objp) noexcept nogil   # held address -> the caller's
cdef void *debug_free(kmem_cache *cachep, void *objp) noexcept nogil    # the caller's -> what is to be put back, or NULL
cdef void note_put(kmem_cache *cachep, void *objp) noexcept nogil
cdef void *quarantined(kmem_cache *cachep) noexcept nogil               # take one out; NULL: none is left

cdef void init_object(kmem_cache *cachep, void *objp) noexcept nogil
cdef void check_slab_gone(kmem_cache *cachep, page *p) noexcept nogil   # before its pages are given back

cdef slab_bug_record *object_bug(
    long invariant, kmem_cache *cachep, void *objp, const void *address, const char *what, const char *fix
) noexcept nogil
cdef bint red_zones(kmem_cache *cachep, void *objp, unsigned char wanted) noexcept nogil
cdef bint check_bytes(
    kmem_cache *cachep, void *objp, unsigned char *at, long count, unsigned char wanted, const char *what,
    const char *fix) noexcept nogil
cdef void set_red_zones(kmem_cache *cachep, void *objp, unsigned char value) noexcept nogil
cdef bint check_free_object(kmem_cache *cachep, void *objp) noexcept nogil
cdef void poison(kmem_cache *cachep, void *objp) noexcept nogil
cdef page *slab_of_object(kmem_cache *cachep, void *objp, void *address) noexcept nogil
