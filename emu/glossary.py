"""What every counter, lock, latency and key of a result means: `emu explain`."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One name: where it stands in a result, and what it counts."""

    where: str
    text: str


def _rows(where: str, rows: dict[str, str]) -> dict[str, Entry]:
    return {name: Entry(where, text) for name, text in rows.items()}


_INTERRUPTS = {
    "CAL": "Function call interrupts, counted by the CPU that takes them, once per interrupt and not per request, as "
    "in /proc/interrupts. A CPU's own part of a broadcast is a plain call and counts nothing.",
    "RES": "Rescheduling interrupts: somebody made a task runnable on that CPU, or had mail for it.",
}
_IPIS = {
    "raised": "Vectors that somebody set in a CPU's pending word. raised = taken + merged + pending, exactly.",
    "taken": "Vectors that a handler found in its CPU's pending word.",
    "merged": "Vectors that were pending already when they were raised: one interrupt serves both. Counted by the "
    "sender.",
    "pending": "Vectors that are set and not yet taken (under ipis), or requests queued and not yet run (under "
    "requests).",
    "fallback": "Doorbell only: CPUs that did not look at their word within --poll-limit and were sent a signal.",
    "rings": "Times a transport was made to deliver: signals, messages or wake-ups sent. Fewer than raised.",
    "queue_full": "mqueue only: the target's queue was full. Nothing is lost: the bit is set and a message is there.",
    "repokes": "Interrupts rung again because a waiter waited too long.",
}
_REQUESTS = {
    "enqueued": "Calls of functions on other CPUs (csds) that were queued. enqueued = run + refused + pending.",
    "run": "Queued calls that were run on their target.",
    "refused": "Calls refused because the target was offline or dead.",
}
_VMSTAT = {
    "nr_free_pages": "Pages free in the buddy allocator. What lies on CPUs' page lists is not free.",
    "pgalloc_dma": "Pages handed out of the zones below 16 MiB, per-CPU lists included.",
    "pgalloc_dma32": "Pages handed out of the zones from 16 MiB to 4 GiB.",
    "pgalloc_normal": "Pages handed out of the zones above 4 GiB.",
    "allocstall_dma": "Those of allocstall that asked for ZONE_DMA.",
    "allocstall_dma32": "Those of allocstall that asked for ZONE_DMA32 at most.",
    "allocstall_normal": "Those of allocstall that allowed every zone.",
    "pgalloc_fail": "Requests for pages that found none.",
    "pcp_drain_skipped": "Drains of all CPUs' page lists that were left to the one under way.",
    "pcp_lock_contended": "From 6.0: single pages that went past a CPU's page list because it was locked.",
    "ipis_avoided_other": "CPUs with pages that were asked by a work item, or whose lists were emptied from outside.",
    "pgfree": "Pages given back to the page allocator.",
    "allocstall": "Allocations that had to reclaim directly. Linux has one per zone since 4.8.",
    "pgscan_direct": "Pages that direct reclaim looked at.",
    "pgsteal_direct": "Pages that direct reclaim got.",
    "slabs_scanned": "Objects that slab shrinkers looked at.",
    "oom_kill": "Tasks killed because no page was left.",
    "pcp_global_drain": "Calls of drain_all_pages. From an unmerged patch of 2012.",
    "pcp_global_ipi_saved": "Calls of drain_all_pages that needed fewer than half of the online CPUs (integer "
    "division): calls, not interrupts. From an unmerged patch of 2012.",
    "slab_alloc": "Objects handed out.",
    "slab_free": "Objects taken back.",
    "slab_refill": "cache_alloc_refill: a CPU's array was empty at an allocation.",
    "slab_flush": "cache_flusharray: a CPU's array was full at a free.",
    "slab_grow": "New slabs made.",
    "slab_growing_refill": "Refills that had to make a slab.",
    "slabs_freed": "Slabs whose pages were given back.",
    "caches_created": "kmem_caches created, memcg children included.",
    "caches_destroyed": "kmem_caches destroyed.",
    "memcg_caches_created": "Child caches created for memcgs, counted by the CPU that ran the work item.",
    "memcg_create_duplicates": "Work items that found the child cache created already: every allocation that misses "
    "queues one.",
    "kicks": "Calls of kick_all_cpus_sync: one interrupt to every other online CPU each.",
    "grace_periods": "RCU-sched grace periods that somebody waited for.",
    "rcu_barriers": "Calls of rcu_barrier: one interrupt to each other CPU that has callbacks queued.",
    "ipis_sent": "Function calls addressed to other CPUs, by any smp_call_function form.",
    "ipis_avoided_empty": "CPUs that were looked at and not interrupted, since they held nothing.",
    "ipis_avoided_offline": "CPUs that were not interrupted because they are offline.",
    "ipis_avoided_self": "The sender itself, where it was among the targets: a plain call.",
    "ipis_avoided_no_previous": "Interrupts that a cache creation spared, since there was no previous array cache to "
    "replace.",
    "work_run": "Workqueue items run.",
    "task_migrations": "Tasks moved to another CPU's run queue.",
    "slab_remote_free": "Objects freed on another node than their own.",
    "slab_alien_drain": "Alien caches that were full and drained to their node.",
    "reaps": "Runs of the periodic reaper, every 2 s on each CPU.",
    "slub_alloc_slowpath": "SLUB: allocations that found no object in the CPU's own freelist.",
    "slub_free_slowpath": "SLUB: frees to a slab that is not the CPU's own.",
    "slub_cpuslab_flush": "SLUB: cpu slabs given back to their node.",
    "slub_cpu_partial_free": "SLUB: slabs that a free put on the CPU's partial list.",
    "slub_cpu_partial_drain": "SLUB: a CPU's partial list was full and moved to the node.",
    "slub_cmpxchg_fail": "SLUB: fast paths that had to be tried again, since something came between.",
    "kick_ipis": "Interrupts sent by kick_all_cpus_sync.",
    "slub_flush_ipis": "Interrupts sent by SLUB's flush_all.",
    "rcu_barrier_ipis": "Interrupts sent by rcu_barrier, one to each other CPU with callbacks.",
    "slub_dead_flush": "SLUB: frees that found their cache dead (cpu_partial is 0) and gave the slab back at once.",
    "memcg_caches_deactivated": "Child caches taken out of their slots, since their memcg went offline.",
    "memcg_caches_walked": "Caches looked at to find those of one memcg.",
    "release_batches": "Batches in which destroyed BY_RCU caches were released: one rcu_barrier each.",
    "csd_timeouts": "Waits for another CPU's answer that took longer than 5 s.",
}
_LOCKS = {
    "slab_mutex": "Guards the list of caches and their tunables; sleeps.",
    "cgroup_mutex": "Guards the tree of cgroups; sleeps. The outermost lock.",
    "list_lock": "Spinlock of one node of one cache: its slab lists, shared array and counters.",
    "alien_lock": "Spinlock of the objects one node keeps for another.",
    "zone_lock": "Spinlock of a zone's buddy lists.",
    "pcp_lock": "Spinlock of one CPU's page lists (from 6.0).",
    "rcu_barrier_mutex": "Held for the length of an rcu_barrier; sleeps.",
    "pcpu_drain_mutex": "Held for the length of a drain of all CPUs' page lists (from 4.11); sleeps.",
    "cpu_hotplug": "Read by all who must not see CPUs come or go.",
    "mem_hotplug": "Read by all who must not see memory come or go.",
    "workqueue_lock": "Spinlock of an ordered workqueue.",
    "workload_lock": "A workload's own lock.",
    "rcu_lock": "Guards the state of the current grace period.",
}
_LATENCY = {
    "ipi": "From raising a call interrupt until its target's handler has taken it.",
    "kick": "One kick_all_cpus_sync, from its start to the last answer.",
    "call_many": "One smp_call_function_many with waiting, from its start to the last answer.",
    "drain": "One drain of all CPUs' arrays or page lists.",
    "tune": "One change of a cache's tunables.",
    "create": "One creation of a cache.",
    "shrink": "One kmem_cache_shrink.",
    "grace_period": "One wait for a grace period: modelled ticks waited plus the measured rest.",
    "rcu_barrier": "One rcu_barrier.",
    "reclaim": "One direct reclaim, its drain included.",
    "irq_off": "The length of sections with interrupts off.",
}
_KEYS = {
    "verdict": "pass; violation: an invariant was broken; unfit-host: the host lacks something, or --strict and the "
    "figures are not trustworthy; interrupted; died.",
    "seed": "The start of all randomness of the run. The same seed gives each CPU the same stream of operations.",
    "delivery": "How an interrupt reaches a CPU that the host is not running: plain (when the host next runs it), "
    "gated (at most as many CPUs run as there are cores, the others answer where they are parked), boosted (by "
    "real-time priority).",
    "running": "How many CPUs may run programs at the same time.",
    "oversubscribed": "There are more CPUs than host cores: they take turns, and times include that.",
    "allowed_cpus": "Host cores that this process may use: its affinity, and the cgroup's quota.",
    "ipi_floor_ns": "A signal or message round trip between two processes in plain C on this host, measured at the "
    "start.",
    "safe": "Whether an invariant can be broken with a variant: yes (it is safe), no, or explorer-only where only "
    "the exploration of interleavings can show it.",
    "violations": "Violated invariants: id and what was seen.",
    "elapsed_ns": "Wall time from before the first boot to after the last machine is gone.",
    "acquisitions": "Times a lock was taken.",
    "contended": "Times a lock was not free when it was wanted.",
    "wait_ns": "Time from wanting a lock to having it, of all acquisitions.",
    "hold_ns": "Time from having a lock to giving it back.",
}

_LEDGER = {
    "site": "The function that called into kernel/smp.c, by its return address: where interrupts come from.",
    "function": "What the interrupted CPU is to run: do_drain, do_nothing (a kick), ...",
    "calls": "Calls of any smp_call_function form from one site.",
    "sent": "CPUs called. The sum over all sites is ipis_sent.",
    "not_raised": "CPUs called whose queue was not empty: the interrupt for the request before serves this one too.",
    "waits": "Calls that waited for all answers.",
    "blocked": "CPUs that waited for a mutex when its holder's wait for answers ended.",
    "blocked_ns": "How long they had waited for it during such waits: what a broadcast under a lock costs others.",
    "served": "Requests run by interrupted CPUs.",
    "busy": "Of those: by a CPU that had work and a host core to do it on.",
    "busy_ns": "Time that the called function took from such CPUs. Entry and exit of the interrupt come on top.",
}

ENTRIES: dict[str, Entry] = {
    **_rows("interrupts", _INTERRUPTS),
    **_rows("ipis", _IPIS),
    **_rows("requests", _REQUESTS),
    **_rows("vmstat", _VMSTAT),
    **_rows("locks", _LOCKS),
    **_rows("latency", _LATENCY),
    **_rows("result", _KEYS),
    **_rows("ledger", _LEDGER),
}
