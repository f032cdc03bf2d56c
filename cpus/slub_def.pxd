# include/linux/slub_def.h: the structs of SLUB.
#
# A slab's two words {freelist, counters} lie in struct page: page.freelist, and page.active with page.flags behind it.
# They are changed together, by cmpxchg_double(). counters: inuse in bits 0-15, objects in 16-30, frozen in 31; the flags
# above it stay what they are as long as the slab lives.
from ipc.lock cimport spinlock
from ipc.atomic cimport read_once_ptr, vlong
from ipc.memory cimport switch_on
from ipc.percpu cimport cmpxchg_double
from ipc.processor cimport this_processor
from cpus.list_head cimport list_head
from cpus.mm_types cimport page
from cpus.slab_def cimport kmem_cache

cdef enum:
    SWITCH_SLUB = 2               # of the machine: --allocator slub

    SLUB_MAX_ORDER = 3
    SLUB_MIN_PARTIAL = 5
    SLUB_MAX_PARTIAL = 10
    SLUB_MAX_OBJS = 32767
    SLUB_KMALLOC_SHIFT_LOW = 3
    SLUB_KMALLOC_SHIFT_HIGH = 13  # larger ones are whole pages
    SLUB_KMALLOC_MAX = 8192
    SLUB_DEFRAG_RATIO = 1000      # of 1024 tries: look at other nodes' partial lists
    SHRINK_PROMOTE_MAX = 32

    # A transaction id: the CPU in the low bits, so that no two CPUs ever have the same one.
    TID_STEP = 2048

    FROZEN_SHIFT = 31
    OBJECTS_SHIFT = 16
    OBJECTS_MASK = 0x7fff
    INUSE_MASK = 0xffff

    DEACTIVATE_TO_HEAD = 0
    DEACTIVATE_TO_TAIL = 1

# One cache line per CPU and cache. {freelist, tid} change together: what an allocation read before an interrupt that
# took or returned objects is no longer true, and tid shows it.
cdef struct kmem_cache_cpu:
    void *freelist                # objects of `page` that only this CPU can take
    long tid
    page *partial                 # frozen slabs, by page.lru.next; lru.prev of the first: pages | pobjects << 32
    page *page                    # the frozen slab that is allocated from
    long allocs                   # objects handed out here
    long frees                    # objects taken back here
    long _pad[2]

cdef struct slub_node:
    spinlock list_lock
    long _pad
    list_head partial             # slabs with free objects, by page.lru; full ones are on no list
    vlong nr_partial
    vlong nr_slabs
    vlong total_objects

cdef struct kmem_cache_slub:
    long offset                   # of a free object's pointer to the next, in the object
    vlong cpu_partial             # free objects to keep on a CPU's partial list; 0: a dead memcg's cache keeps none
    vlong min_partial             # slabs to keep on a node's list, though empty
    long min_order                # when no slab of cachep.gfporder can be had
    long min_objects
    vlong dead                    # deactivated: its memcg is gone
    long _pad
    slub_node **node              # [node], behind cpu
    kmem_cache_cpu cpu[1]         # [id + 1]: the coordinator's is first, and never has a slab

cdef inline bint slub_enabled() noexcept nogil:
    return switch_on(SWITCH_SLUB)

cdef inline kmem_cache_slub *slub_of(kmem_cache *cachep) noexcept nogil:
    return <kmem_cache_slub *>cachep.slub

cdef inline kmem_cache_cpu *cpu_slab_of(kmem_cache *cachep, long id) noexcept nogil:
    return &(<kmem_cache_slub *>cachep.slub).cpu[id + 1]

cdef inline kmem_cache_cpu *cpu_slab(kmem_cache *cachep) noexcept nogil:
    return cpu_slab_of(cachep, this_processor().id)

cdef inline bint kmem_cache_has_cpu_partial() noexcept nogil:
    """Whether slabs can be kept by this context: CPUs can, the coordinator has nothing of its own."""
    return this_processor().id >= 0

# --- the two words of a slab ---
cdef inline unsigned long *counters_of(page *p) noexcept nogil:
    return <unsigned long *>&p.active

cdef inline unsigned long read_counters(page *p) noexcept nogil:
    return <unsigned long>read_once_ptr(&p.active)

cdef inline long inuse_of(unsigned long counters) noexcept nogil:
    return counters & INUSE_MASK

cdef inline long objects_of(unsigned long counters) noexcept nogil:
    return counters >> OBJECTS_SHIFT & OBJECTS_MASK

cdef inline bint is_frozen(unsigned long counters) noexcept nogil:
    return (counters >> FROZEN_SHIFT & 1) != 0

cdef inline unsigned long with_inuse(unsigned long counters, long inuse) noexcept nogil:
    return counters & ~<unsigned long>INUSE_MASK | <unsigned long>inuse

cdef inline unsigned long with_frozen(unsigned long counters, bint frozen) noexcept nogil:
    cdef unsigned long bit = <unsigned long>1 << FROZEN_SHIFT
    return counters | bit if frozen else counters & ~bit

cdef inline bint cmpxchg_slab(
        page *p, void *freelist, unsigned long counters, void *new_freelist, unsigned long new_counters) noexcept nogil:
    return cmpxchg_double(&p.freelist, freelist, counters, new_freelist, new_counters)

# --- free objects ---
cdef inline void *get_freepointer(kmem_cache_slub *s, void *object) noexcept nogil:
    return (<void **>(<char *>object + s.offset))[0]

cdef inline void set_freepointer(kmem_cache_slub *s, void *object, void *next) noexcept nogil:
    (<void **>(<char *>object + s.offset))[0] = next

# --- a CPU's partial list ---
cdef inline page *next_partial(page *p) noexcept nogil:
    return <page *>p.lru.next

cdef inline long partial_pages(page *head) noexcept nogil:
    return <unsigned int><unsigned long>head.lru.prev

cdef inline long partial_objects(page *head) noexcept nogil:
    return <unsigned long>head.lru.prev >> 32
