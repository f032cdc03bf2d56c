"""mm/slab.c: what the allocator does when a CPU comes or goes. The caller holds the cpu-hotplug lock for writing."""

import cython
from cython.cimports.cpus.cpu import cpu_of
from cython.cimports.cpus.list_head import INIT_LIST_HEAD, list_head
from cython.cimports.cpus.locks import locks
from cython.cimports.cpus.page_alloc import nr_cpus_node
from cython.cimports.cpus.slab_array import free_block
from cython.cimports.cpus.slab_debug import WHERE_CPU_DEAD, path_enter, path_leave
from cython.cimports.cpus.slab_def import alien_cache, array_cache, cache_of_list, cpu_cache_of, slab_root
from cython.cimports.cpus.slab_drain import drain_freelist, slabs_tofree
from cython.cimports.cpus.slab_grow import slabs_destroy
from cython.cimports.cpus.slab_node import drain_aliens, free_alien_cache
from cython.cimports.cpus.slab_setup import setup_kmem_cache_node
from cython.cimports.cpus.slub_def import slub_enabled
from cython.cimports.cpus.slub_drain import slub_dead_cpu
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import mutex_lock, mutex_unlock, spin_lock, spin_unlock
from cython.cimports.ipc.memory import heap_free

if not cython.compiled:
    raise ImportError("cpus.slab_hotplug is not built; run `make setup`")


def slab_prepare_cpu(cpu):
    """Bring free_limit up to date and give the CPU's node its shared array and alien caches, if it has none."""
    system = slab_root()
    node = cpu_of(cpu).node
    error: cython.long = 0
    mutex_lock(cython.address(locks().slab_mutex))
    each = system.slab_caches.next
    while error == 0 and each != cython.address(system.slab_caches):
        error = setup_kmem_cache_node(cache_of_list(each), node, False)
        each = each.next
    mutex_unlock(cython.address(locks().slab_mutex))
    return error


def cpuup_canceled(cachep, cpu):
    """Return the CPU's objects; with the last CPU of a node, its shared array and alien caches too."""
    emptied: list_head
    INIT_LIST_HEAD(cython.address(emptied))
    shared = cython.cast(cython.pointer(array_cache), cython.NULL)
    aliens = cython.cast(cython.pointer(cython.pointer(alien_cache)), cython.NULL)
    node = cpu_of(cpu).node
    n = cachep.node[node]
    ac = cpu_cache_of(cachep, cpu)
    flags = local_irq_save()
    spin_lock(cython.address(n.list_lock))
    n.free_limit -= cachep.batchcount
    free_block(cachep, ac.entry, ac.avail, node, cython.address(emptied))
    ac.avail = 0
    if nr_cpus_node(node) == 0:
        shared = n.shared
        if shared != cython.NULL:
            free_block(cachep, shared.entry, shared.avail, node, cython.address(emptied))
            n.shared = cython.cast(cython.pointer(array_cache), cython.NULL)
        aliens = n.alien
        n.alien = cython.cast(cython.pointer(cython.pointer(alien_cache)), cython.NULL)
    spin_unlock(cython.address(n.list_lock))
    local_irq_restore(flags)
    heap_free(shared)
    drain_aliens(cachep, aliens)
    free_alien_cache(aliens)
    slabs_destroy(cachep, cython.address(emptied))


def slab_dead_cpu(cpu):
    system = slab_root()
    node = cpu_of(cpu).node
    was = path_enter(WHERE_CPU_DEAD)
    mutex_lock(cython.address(locks().slab_mutex))
    each = system.slab_caches.next
    while each != cython.address(system.slab_caches):
        cpuup_canceled(cache_of_list(each), cpu)
        each = each.next
    each = system.slab_caches.next
    while each != cython.address(system.slab_caches):
        cachep = cache_of_list(each)
        drain_freelist(cachep, cachep.node[node], slabs_tofree(cachep, cachep.node[node]))
        each = each.next
    mutex_unlock(cython.address(locks().slab_mutex))
    path_leave(was)


def prepare_cpu(cpu: cython.long) -> int:
    """slab_prepare_cpu(): 0, or a negative errno."""
    if slub_enabled():
        return 0
    with cython.nogil:
        error = slab_prepare_cpu(cpu)
    return error


def dead_cpu(cpu: cython.long) -> None:
    """slab_dead_cpu()"""
    with cython.nogil:
        if slub_enabled():
            slub_dead_cpu(cpu)
        else:
            slab_dead_cpu(cpu)
