# Counters: one index each, one name each (vmstat.py), one place each that increments them.

cdef enum:
    # /proc/vmstat (kernel-facts 11.3), in the order in which the file shows them.
    PGALLOC = 0
    PGFREE = 1
    ALLOCSTALL = 2
    PGSCAN_DIRECT = 3
    PGSTEAL_DIRECT = 4
    SLABS_SCANNED = 5
    OOM_KILL = 6
    PCP_GLOBAL_DRAIN = 7
    PCP_GLOBAL_IPI_SAVED = 8
    # Our own.
    SLAB_ALLOC = 9                # objects handed out
    SLAB_FREE = 10
    SLAB_REFILL = 11              # cache_alloc_refill
    SLAB_FLUSH = 12               # cache_flusharray
    SLAB_GROW = 13
    SLAB_GROWING_REFILL = 14      # refills that had to grow
    SLABS_FREED = 15
    CACHES_CREATED = 16
    CACHES_DESTROYED = 17
    MEMCG_CACHES_CREATED = 18     # on this CPU
    MEMCG_CREATE_DUPLICATES = 19  # creation items that found the slot filled
    KICKS = 20                    # kick_all_cpus_sync calls
    GRACE_PERIODS = 21            # waited for by this context
    RCU_BARRIERS = 22
    IPIS_SENT = 23                # calls addressed to other CPUs, by any smp_call_function form
    IPIS_AVOIDED_EMPTY = 24       # a CPU that was looked at and held nothing
    IPIS_AVOIDED_OFFLINE = 25
    IPIS_AVOIDED_SELF = 26
    IPIS_AVOIDED_NO_PREVIOUS = 27 # seed 000: no previous array cache
    WORK_RUN = 28                 # workqueue items run
    TASK_MIGRATIONS = 29
    SLAB_REMOTE_FREE = 30
    SLAB_ALIEN_DRAIN = 31
    REAPS = 32
    CSD_TIMEOUTS = 33
    # The page allocator's, of one zone each: PGALLOC and ALLOCSTALL are those of ZONE_NORMAL.
    PGALLOC_DMA = 34
    PGALLOC_DMA32 = 35
    ALLOCSTALL_DMA = 36           # by the highest zone that the request allows
    ALLOCSTALL_DMA32 = 37
    PCP_DRAIN_SKIPPED = 38        # drains that left it to the one under way
    PCP_LOCK_CONTENDED = 39       # pcp-drain=remote: single pages that went past a pageset that was locked
    IPIS_AVOIDED_OTHER = 40       # a CPU that was asked by a work item, or emptied from outside
    PGALLOC_FAIL = 41             # requests that found no memory
    # SLUB (CONFIG_SLUB_STATS), and the death of memcgs' caches.
    SLUB_ALLOC_SLOWPATH = 48
    SLUB_FREE_SLOWPATH = 49
    SLUB_CPUSLAB_FLUSH = 50
    SLUB_CPU_PARTIAL_FREE = 51    # a free froze a full slab
    SLUB_CPU_PARTIAL_DRAIN = 52   # too many: a CPU's partial slabs went to their nodes
    SLUB_CMPXCHG_FAIL = 53        # an interrupt came between, in a fast path
    SLUB_DEAD_FLUSH = 54          # a free found its cache dead and flushed at once
    MEMCG_CACHES_DEACTIVATED = 55 # children taken out of their slots
    MEMCG_CACHES_WALKED = 56      # list entries looked at to find a memcg's children
    RELEASE_BATCHES = 57          # batches of the asynchronous release
    # Interrupts by what they were for: with nobody else calling they add up to CAL.
    KICK_IPIS = 58
    SLUB_FLUSH_IPIS = 59
    RCU_BARRIER_IPIS = 60
    NR_COUNTERS = 64
