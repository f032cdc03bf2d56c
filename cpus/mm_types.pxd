# include/linux/mm_types.h, gfp.h: struct page and what a request for memory says.
from ipc.memory cimport PAGE_SHIFT, map_base, ram_base, segment
from cpus.list_head cimport list_head

cdef enum:
    # page.flags
    PG_SLAB = 1                   # head page of a slab
    PG_HEAD = 2                   # first page of several: page.order says how many
    PG_TAIL = 4                   # lru.next points to the head page
    PG_BUDDY = 8                  # head of a free block of the buddy allocator
    PG_SLAB_RCU = 16              # a destroyed slab whose pages wait for a grace period: lru is a struct rcu_head
    PG_PCP = 32                   # on a per-CPU list; private is its migratetype
    PG_LRU = 64                   # may be reclaimed; s_mem points to the word of its owner that holds its address
    PG_REFERENCED = 128           # used since it was last looked at

    MAX_ORDER = 11                # orders 0..10
    NUMA_NO_NODE = -1

    # Values of 4.12; versions differ, and nothing depends on them.
    __GFP_DMA = 0x01
    __GFP_DMA32 = 0x04
    __GFP_MOVABLE = 0x08
    __GFP_RECLAIMABLE = 0x10
    __GFP_HIGH = 0x20
    __GFP_IO = 0x40
    __GFP_FS = 0x80
    __GFP_NOWARN = 0x200
    __GFP_NOFAIL = 0x800
    __GFP_NORETRY = 0x1000
    __GFP_COMP = 0x4000
    __GFP_ZERO = 0x8000
    __GFP_THISNODE = 0x40000
    __GFP_ATOMIC = 0x80000
    __GFP_ACCOUNT = 0x100000
    __GFP_DIRECT_RECLAIM = 0x400000
    __GFP_KSWAPD_RECLAIM = 0x1000000
    GFP_NOWAIT = 0x1000000
    GFP_ATOMIC = 0x1080020
    GFP_KERNEL = 0x14000c0
    GFP_KERNEL_ACCOUNT = 0x15000c0
    GFP_HIGHUSER_MOVABLE = 0x14200ca

# One per page frame; 64 bytes.
cdef struct page:
    list_head lru                 # first, so that a list entry is a page
    void *slab_cache              # struct kmem_cache
    void *s_mem                   # first object of the slab
    void *freelist                # one byte per object: free ones are those from `active` on
    unsigned int active           # objects handed out of the slab, to users or to array caches
    unsigned int flags
    void *mem_cgroup              # who is charged for it
    short order
    short nid
    int private                   # its owner's own

cdef inline bint gfpflags_allow_blocking(long gfp) noexcept nogil:
    return (gfp & __GFP_DIRECT_RECLAIM) != 0

cdef inline page *pfn_to_page(long pfn) noexcept nogil:
    return <page *><unsigned long>(map_base() + pfn * <long>sizeof(page))

cdef inline long page_to_pfn(page *p) noexcept nogil:
    return (<long>p - map_base()) >> 6

cdef inline bint page_in_map(const void *p) noexcept nogil:
    """It is the address of a struct page."""
    cdef unsigned long offset = <unsigned long>p - <unsigned long>map_base()
    return offset % sizeof(page) == 0 and offset // sizeof(page) < <unsigned long>segment().ram_pages

cdef inline void *page_address(page *p) noexcept nogil:
    return <void *><unsigned long>(ram_base() + (page_to_pfn(p) << PAGE_SHIFT))

cdef inline page *virt_to_page(const void *address) noexcept nogil:
    return pfn_to_page((<long>address - ram_base()) >> PAGE_SHIFT)

cdef inline page *compound_head(page *p) noexcept nogil:
    return <page *>p.lru.next if p.flags & PG_TAIL else p

cdef inline page *virt_to_head_page(const void *address) noexcept nogil:
    return compound_head(virt_to_page(address))
