"""The names of the counters, in the order of vmstat.pxd."""

import cython

if not cython.compiled:
    raise ImportError("cpus.vmstat is not built; run `make setup`")

# Index -> name in /proc/vmstat and in the JSON's `vmstat`.
NAMES = {
    PGALLOC: "pgalloc_normal",
    PGFREE: "pgfree",
    ALLOCSTALL: "allocstall",
    PGSCAN_DIRECT: "pgscan_direct",
    PGSTEAL_DIRECT: "pgsteal_direct",
    SLABS_SCANNED: "slabs_scanned",
    OOM_KILL: "oom_kill",
    PCP_GLOBAL_DRAIN: "pcp_global_drain",
    PCP_GLOBAL_IPI_SAVED: "pcp_global_ipi_saved",
    SLAB_ALLOC: "slab_alloc",
    SLAB_FREE: "slab_free",
    SLAB_REFILL: "slab_refill",
    SLAB_FLUSH: "slab_flush",
    SLAB_GROW: "slab_grow",
    SLAB_GROWING_REFILL: "slab_growing_refill",
    SLABS_FREED: "slabs_freed",
    CACHES_CREATED: "caches_created",
    CACHES_DESTROYED: "caches_destroyed",
    MEMCG_CACHES_CREATED: "memcg_caches_created",
    MEMCG_CREATE_DUPLICATES: "memcg_create_duplicates",
    KICKS: "kicks",
    GRACE_PERIODS: "grace_periods",
    RCU_BARRIERS: "rcu_barriers",
    IPIS_SENT: "ipis_sent",
    IPIS_AVOIDED_EMPTY: "ipis_avoided_empty",
    IPIS_AVOIDED_OFFLINE: "ipis_avoided_offline",
    IPIS_AVOIDED_SELF: "ipis_avoided_self",
    IPIS_AVOIDED_NO_PREVIOUS: "ipis_avoided_no_previous",
    WORK_RUN: "work_run",
    TASK_MIGRATIONS: "task_migrations",
    SLAB_REMOTE_FREE: "slab_remote_free",
    SLAB_ALIEN_DRAIN: "slab_alien_drain",
    REAPS: "reaps",
    CSD_TIMEOUTS: "csd_timeouts",
    SLUB_ALLOC_SLOWPATH: "slub_alloc_slowpath",
    SLUB_FREE_SLOWPATH: "slub_free_slowpath",
    SLUB_CPUSLAB_FLUSH: "slub_cpuslab_flush",
    SLUB_CPU_PARTIAL_FREE: "slub_cpu_partial_free",
    SLUB_CPU_PARTIAL_DRAIN: "slub_cpu_partial_drain",
    SLUB_CMPXCHG_FAIL: "slub_cmpxchg_fail",
    SLUB_DEAD_FLUSH: "slub_dead_flush",
    MEMCG_CACHES_DEACTIVATED: "memcg_caches_deactivated",
    MEMCG_CACHES_WALKED: "memcg_caches_walked",
    RELEASE_BATCHES: "release_batches",
}
