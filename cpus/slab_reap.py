"""mm/slab.c: the reaper. Every two seconds each CPU gives back a part of what it has not touched since the last time:
of its own array, of one alien cache, and, every four seconds a node, of the shared array and the free slabs. No IPIs.
"""

import cython
from cython.cimports.cpus.cpu import count_event, cpu_of
from cython.cimports.cpus.list_head import INIT_LIST_HEAD, list_head
from cython.cimports.cpus.locks import locks
from cython.cimports.cpus.rcu import note_quiescent_state
from cython.cimports.cpus.slab_debug import WHERE_REAP, path_enter, path_leave
from cython.cimports.cpus.slab_def import (
    REAPTIMEOUT_AC_MS,
    REAPTIMEOUT_NODE_MS,
    cache_of_list,
    cpu_cache_of,
    slab_root,
)
from cython.cimports.cpus.slab_drain import drain_array, drain_freelist
from cython.cimports.cpus.slab_grow import slabs_destroy
from cython.cimports.cpus.slab_node import __drain_alien_cache, node_aliens
from cython.cimports.cpus.vmstat import REAPS
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import mutex_trylock, mutex_unlock, spin_trylock, spin_unlock
from cython.cimports.ipc.memory import heap_alloc, segment
from cython.cimports.ipc.processor import this_processor

if not cython.compiled:
    raise ImportError("cpus.slab_reap is not built; run `make setup`")


def reap_alien(cachep, n, node):
    """Drain the alien cache for one node, unless somebody else is at it."""
    aliens = node_aliens(n)
    if aliens == cython.NULL or aliens[node] == cython.NULL or aliens[node].ac.avail == 0:
        return
    alien = aliens[node]
    emptied: list_head
    INIT_LIST_HEAD(cython.address(emptied))
    flags = local_irq_save()
    if spin_trylock(cython.address(alien.lock)):
        __drain_alien_cache(cachep, alien, node, cython.address(emptied))
        spin_unlock(cython.address(alien.lock))
    local_irq_restore(flags)
    slabs_destroy(cachep, cython.address(emptied))


def reap_one(cachep, me):
    n = cachep.node[me.node]
    reap_alien(cachep, n, cython.cast(cython.pointer(reap_work), me.slab_work).slab_reap_node)
    drain_array(cachep, n, cpu_cache_of(cachep, me.hw.id), False, me.node)
    now = get_cycles()
    if n.next_reap > now:
        return
    n.next_reap = now + REAPTIMEOUT_NODE_MS * segment().cycles_per_us * 1000
    drain_array(cachep, n, n.shared, False, me.node)
    if n.free_touched:
        n.free_touched = 0
    else:
        drain_freelist(cachep, n, (n.free_limit + 5 * cachep.num - 1) // (5 * cachep.num))


def cache_reap(me):
    system = slab_root()
    work = cython.cast(cython.pointer(reap_work), me.slab_work)
    if not mutex_trylock(cython.address(locks().slab_mutex)):
        return False
    was = path_enter(WHERE_REAP)
    each = system.slab_caches.next
    while each != cython.address(system.slab_caches):
        reap_one(cache_of_list(each), me)
        each = each.next
        note_quiescent_state(me)  # cond_resched()
    path_leave(was)
    mutex_unlock(cython.address(locks().slab_mutex))
    work.slab_reap_node = (work.slab_reap_node + 1) % system.nr_nodes
    count_event(REAPS)
    return True


def reap_now(me):
    work = cython.cast(cython.pointer(reap_work), me.slab_work)
    work.running = 1
    work.next_reap = get_cycles() + REAPTIMEOUT_AC_MS * segment().cycles_per_us * 1000
    cache_reap(me)
    work.running = 0
    return True


def start_cpu_timer(c):
    """The first reap is a second from now, and three ticks later for each further CPU."""
    if c.slab_work == cython.NULL:
        c.slab_work = heap_alloc(cython.sizeof(reap_work))
    if c.slab_work == cython.NULL:
        return False
    work = cython.cast(cython.pointer(reap_work), c.slab_work)
    work.slab_reap_node = (c.node + 1) % slab_root().nr_nodes
    work.next_reap = get_cycles() + (1000000 + c.hw.id * 12000) * segment().cycles_per_us
    return True


def start_reaping() -> bool:
    """Start every CPU's timer. False when the segment is too small."""
    for cpu in range(segment().nr_cpus):
        if not start_cpu_timer(cpu_of(cpu)):
            return False
    return True


def entry_reap(args):
    """One reap of the CPU that this is mailed to, whether it is due or not: 1, or 0 if slab_mutex was taken."""
    me = cython.cast(cython.pointer(cpu), this_processor())
    if me.slab_work == cython.NULL and not start_cpu_timer(me):
        return 0
    return cache_reap(me)


def reap_address() -> int:
    """Address of entry_reap, to be mailed."""
    return cython.cast(cython.long, cython.cast(cython.p_void, entry_reap))


def reap() -> bool:
    """One reap by this context."""
    values: cython.long[1]
    with cython.nogil:
        done = entry_reap(values)
    return done != 0
