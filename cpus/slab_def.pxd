# include/linux/slab_def.h, mm/slab.h: the structs of SLAB.
from ipc.atomic cimport vlong
from ipc.histogram cimport ilog2
from ipc.lock cimport spinlock
from ipc.memory cimport segment
from ipc.processor cimport this_processor
from cpus.cpu cimport AREA_SLAB, this_cpu
from cpus.list_head cimport list_head
from cpus.mm_types cimport page
from cpus.rcu_types cimport rcu_head
from cpus.workqueue cimport work_struct

cdef enum:
    # Flags of kmem_cache_create, the kernel's values.
    SLAB_HWCACHE_ALIGN = 0x2000
    SLAB_CACHE_DMA = 0x4000
    SLAB_RECLAIM_ACCOUNT = 0x20000
    SLAB_PANIC = 0x40000
    SLAB_TYPESAFE_BY_RCU = 0x80000          # SLAB_DESTROY_BY_RCU before 4.12
    SLAB_MEM_SPREAD = 0x100000
    SLAB_NOLEAKTRACE = 0x800000
    SLAB_ACCOUNT = 0x4000000
    # Debugging (cpus/slab_debug, cpus/slab_check): the kernel's values, but for the last.
    SLAB_CONSISTENCY_CHECKS = 0x100         # F: frees are checked
    SLAB_RED_ZONE = 0x400                   # Z: bytes around each object that nobody may write
    SLAB_POISON = 0x800                     # P: free objects hold a pattern
    SLAB_STORE_USER = 0x10000               # U: reports tell the last allocation and the last free
    SLAB_QUARANTINE = 0x200                 # Q: a freed object is reused late, as KASAN's quarantine does it
    SLAB_DEBUG_FLAGS = 0x10f00
    CFLGS_SLUB = 0x10000000                 # internal: SLUB's (cpus/slub_def)
    # Internal: where the freelist is; neither: in the last bytes of the slab.
    CFLGS_OFF_SLAB = 0x20000000
    CFLGS_OBJFREELIST_SLAB = 0x40000000

    BATCHREFILL_LIMIT = 16
    BOOT_CPUCACHE_ENTRIES = 1
    SLAB_OBJ_MAX_NUM = 255                  # freelist indices are bytes
    SLAB_OBJ_MIN_SIZE = 16
    KMALLOC_MAX_ORDER = 10
    KMALLOC_MAX_SIZE = 4194304
    KMALLOC_SHIFT_LOW = 5
    KMALLOC_SHIFT_HIGH = 22
    ALIEN_CACHE_LIMIT = 12
    BAD_ALIEN_MAGIC_VALUE = 0x01020304
    REAPTIMEOUT_AC_MS = 2000
    REAPTIMEOUT_NODE_MS = 4000

    # slab_system.slab_state
    SLAB_DOWN = 0
    SLAB_PARTIAL = 1
    SLAB_UP = 2
    SLAB_FULL = 3

    SLAB_NAME = 128
    SLUB_BIAS = 1099511627776               # in nr_memcg_children of SLUB's: kmem_cache_free() tests one word for both
    MAX_SLAB_BUGS = 16
    MAX_REPLACED = 32             # replaced shared arrays that are remembered
    QUARANTINE_SLOTS = 64         # objects of a cache whose reuse is delayed

# A stack of objects. Per CPU: touched by its owner with interrupts off. Shared, per node: under list_lock.
cdef struct array_cache:
    unsigned int avail
    unsigned int limit
    unsigned int batchcount
    unsigned int touched
    # Handed out: allochit + allocmiss - allocfail. Taken back: freehit + freemiss + node_frees.
    long allochit
    long freehit
    long allocmiss                # went past this array
    long freemiss                 # had to flush it first
    long allocfail
    long node_frees               # objects of other nodes
    void *entry[1]                # `limit` of them

cdef struct alien_cache:
    spinlock lock
    array_cache ac

cdef struct kmem_cache_node:
    spinlock list_lock
    long _pad0[4]
    list_head slabs_partial
    list_head slabs_full
    list_head slabs_free
    vlong total_slabs
    vlong free_slabs
    vlong free_objects            # on the lists above; what is in arrays counts as handed out
    long free_limit
    vlong colour_next
    array_cache *shared
    alien_cache **alien           # [node], or NULL
    long next_reap                # cycles
    vlong free_touched
    long grown                    # slabs ever attached here
    long reaped                   # slabs ever taken off again

# Children of a root cache, by kmemcg_id; grown by replacement, the old one freed after a grace period.
cdef struct memcg_cache_array:
    rcu_head rcu
    long size
    kmem_cache *entries[1]

cdef struct memcg_cache_params:
    kmem_cache *root_cache        # NULL: this is a root
    # A root's.
    memcg_cache_array *memcg_caches
    list_head root_caches_node    # slab_root_caches
    list_head children            # by children_node
    vlong nr_children
    # A child's.
    void *memcg                   # struct mem_cgroup
    long kmemcg_id                # its slot in the root's array, as long as it is in it
    list_head children_node
    list_head kmem_caches_node    # children of the same memcg
    rcu_head deact_rcu_head       # deactivation, and the planted release, by call_rcu
    work_struct deact_work

ctypedef void (*slab_ctor_t)(void *object) noexcept nogil

# Who did something, when, and on which way: one code of cpus/slab_debug per byte, the innermost lowest.
cdef struct slab_event:
    long cycles                   # 0: it has not happened
    long cpu
    unsigned long path

# Behind each object of a debugged cache.
cdef struct slab_object_info:
    vlong state                   # OBJECT_FREE or OBJECT_IN_USE
    slab_event allocated
    slab_event freed
    slab_event put                # into its slab

cdef struct slab_quarantine:
    vlong next
    vlong slot[QUARANTINE_SLOTS]

# A shared array that was replaced and freed.
cdef struct slab_replaced:
    unsigned long array
    unsigned long cache
    long node
    long objects                  # what it held, given back to the slabs before
    slab_event when

cdef struct kmem_cache:
    # What the fast paths read.
    unsigned long flags
    long object_size
    vlong nr_memcg_children       # != 0: a freed object may be a child's
    void *slub                    # SLUB state (cpus/slub_def), NULL with SLAB
    # Tunables: written under slab_mutex. `shared` is a factor: the shared array holds shared * batchcount.
    long batchcount
    long limit
    long shared
    long size                     # of an object with its padding
    # Geometry.
    long num                      # objects per slab
    long gfporder
    long allocflags
    long colour
    long colour_off
    long freelist_size
    kmem_cache *freelist_cache
    long reciprocal_size          # 2^32 / size, rounded up: exact for the offset of an object
    long align
    long obj_offset               # of what the caller gets, in what arrays and slabs hold: the left red zone
    long info_offset              # of the slab_object_info, from the same
    slab_quarantine *quarantine
    slab_ctor_t ctor
    # Management: slab_mutex.
    list_head list                # slab_caches
    long refcount                 # aliases + 1; -1 never merged
    long requested_flags
    vlong rcu_pages               # destroyed slabs that wait for a grace period
    memcg_cache_params memcg_params
    char name[SLAB_NAME]
    # Counts of array caches that were replaced, and of frees by the coordinator.
    long allochit
    long freehit
    long allocmiss
    long freemiss
    long allocfail
    long old_node_frees
    vlong node_frees              # by the coordinator
    void *cpu_arrays              # the block that all per-CPU arrays lie in; NULL: none yet
    kmem_cache_node **node        # [node], behind cpu_cache
    # The percpu pointer. [id + 1]: entry 0 is the coordinator's, an array that is always empty and always full. One
    # pointer per CPU and not base + id * stride: that would be two words, which cannot be replaced together.
    array_cache *cpu_cache[1]

cdef struct slab_bug_record:
    long invariant                # number of the broken invariant: 3 is I3
    long cpu
    unsigned long cache
    unsigned long address
    char what[32]
    char fix[32]                  # what was done about it
    slab_event now
    slab_event other              # the one it collided with
    slab_event allocated          # the object's last
    slab_event freed
    long found                    # the first wrong byte, and what it should be; -1: no matter of bytes
    long wanted
    long objects                  # how many it concerns

# The root, in the segment's area[AREA_SLAB].
cdef struct slab_system:
    list_head slab_caches
    list_head slab_root_caches
    long slab_state
    long nr_caches
    long nr_nodes
    long use_alien_caches
    long slab_max_order
    long slab_nomerge
    kmem_cache *kmalloc_caches[24]          # [1] is 96, [2] is 192, [n] is 1 << n
    # Filled in by memcontrol; NULL: kmem accounting is off. get: the cache to allocate from, with a reference held
    # that put gives back. charge: false when the memcg is over its limit. The memcg is a struct mem_cgroup.
    kmem_cache *(*memcg_get_cache)(kmem_cache *cachep) noexcept nogil
    void (*memcg_put_cache)(kmem_cache *cachep) noexcept nogil
    bint (*memcg_charge_slab)(void *memcg, long order) noexcept nogil
    void (*memcg_uncharge_slab)(void *memcg, long order) noexcept nogil
    long memcg_nr_cache_ids                 # size of every root's memcg_cache_array
    # BY_RCU caches that wait for the asynchronous release (cpus/slab_release).
    list_head slab_caches_to_rcu_destroy    # slab_mutex
    work_struct slab_caches_to_rcu_destroy_work
    void *system_wq                         # struct workqueue_struct
    long rcu_destroy_cpu                    # where it runs; one at a time, as a work item of the kernel's
    vlong rcu_destroy_running
    long rcu_destroy_apart                  # a workload's: not on the CPU that queues, which would sleep with it
    long rcu_destroy_held                   # a workload's: queue, and start later
    # What the allocator itself has found broken; the checker reports it.
    vlong nr_bugs
    slab_bug_record bugs[MAX_SLAB_BUGS]
    unsigned long debug_flags               # slab_debug=: of every cache, or of one
    char debug_cache[SLAB_NAME]
    vlong nr_replaced
    slab_replaced replaced[MAX_REPLACED]
    array_cache coordinator_cache           # in every cpu_cache[0]

cdef inline slab_system *slab_root() noexcept nogil:
    return <slab_system *>segment().area[AREA_SLAB]

cdef inline array_cache *cpu_cache_get(kmem_cache *cachep) noexcept nogil:
    return cachep.cpu_cache[this_processor().id + 1]

cdef inline array_cache *cpu_cache_of(kmem_cache *cachep, long id) noexcept nogil:
    return cachep.cpu_cache[id + 1]

cdef inline long numa_mem_id() noexcept nogil:
    return this_cpu().node

cdef inline bint is_root_cache(kmem_cache *cachep) noexcept nogil:
    return cachep.memcg_params.root_cache == NULL

cdef inline kmem_cache *memcg_root_cache(kmem_cache *cachep) noexcept nogil:
    return cachep if is_root_cache(cachep) else cachep.memcg_params.root_cache

cdef inline int kmalloc_index(long size, int shift_low) noexcept nogil:
    """The general cache for a size: 1 and 2 are of 96 and 192 bytes, n of 1 << n; the smallest is 1 << shift_low."""
    if size <= 1 << shift_low:
        return shift_low
    if 64 < size <= 96:
        return 1
    if 128 < size <= 192:
        return 2
    return ilog2(<unsigned long>(size - 1)) + 1

# Entry of a list -> what it lies in.
cdef inline kmem_cache *cache_of_list(list_head *entry) noexcept nogil:
    return <kmem_cache *>(<char *>entry - (<size_t>&(<kmem_cache *><size_t>4096).list - 4096))

cdef inline kmem_cache *cache_of_root_node(list_head *entry) noexcept nogil:
    return <kmem_cache *>(<char *>entry - (<size_t>&(<kmem_cache *><size_t>4096).memcg_params.root_caches_node - 4096))

cdef inline kmem_cache *cache_of_child_node(list_head *entry) noexcept nogil:
    return <kmem_cache *>(<char *>entry - (<size_t>&(<kmem_cache *><size_t>4096).memcg_params.children_node - 4096))

cdef inline kmem_cache *cache_of_memcg_node(list_head *entry) noexcept nogil:
    return <kmem_cache *>(<char *>entry - (<size_t>&(<kmem_cache *><size_t>4096).memcg_params.kmem_caches_node - 4096))

cdef inline kmem_cache *cache_of_deact_head(rcu_head *head) noexcept nogil:
    return <kmem_cache *>(<char *>head - (<size_t>&(<kmem_cache *><size_t>4096).memcg_params.deact_rcu_head - 4096))

# Objects of a slab, and its freelist.
cdef inline void *index_to_obj(kmem_cache *cachep, page *p, long index) noexcept nogil:
    return <char *>p.s_mem + cachep.size * index

cdef inline long obj_to_index(kmem_cache *cachep, page *p, const void *obj) noexcept nogil:
    return ((<char *>obj - <char *>p.s_mem) * cachep.reciprocal_size) >> 32

cdef inline void *slab_get_obj(kmem_cache *cachep, page *p) noexcept nogil:
    """The next free object of a slab. The slab is not full."""
    cdef void *obj = index_to_obj(cachep, p, (<unsigned char *>p.freelist)[p.active])
    p.active += 1
    return obj
