"""mm/slab.c, NUMA: allocation from a given node, fallback to others, and alien caches, where freed objects of other
nodes wait to be returned in batches."""

import cython
from cython.cimports.cpus.cpu import count_event, smp_processor_id
from cython.cimports.cpus.list_head import INIT_LIST_HEAD
from cython.cimports.cpus.locks import CLASS_ALIEN_LOCK
from cython.cimports.cpus.mm_types import __GFP_THISNODE, gfpflags_allow_blocking, page, virt_to_head_page
from cython.cimports.cpus.slab_array import fixup_slab_list, free_block, get_first_slab, transfer_objects
from cython.cimports.cpus.slab_def import (
    ALIEN_CACHE_LIMIT,
    BAD_ALIEN_MAGIC_VALUE,
    cpu_cache_get,
    numa_mem_id,
    slab_get_obj,
    slab_root,
)
from cython.cimports.cpus.slab_grow import (
    cache_grow,
    cache_grow_begin,
    cache_grow_end,
    gfp_exact_node,
    kmem_getpages,
    slabs_destroy,
)
from cython.cimports.cpus.switches import GROW_ANY_NODE, REFILL_PRIVATE_SLAB
from cython.cimports.cpus.vmstat import SLAB_ALIEN_DRAIN, SLAB_REMOTE_FREE
from cython.cimports.ipc.atomic import atomic_fetch_add, read_once
from cython.cimports.ipc.interrupt import local_irq_disable, local_irq_enable, local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import spin_lock, spin_lock_init, spin_unlock
from cython.cimports.ipc.memory import heap_alloc, heap_free, switch_on

if not cython.compiled:
    raise ImportError("cpus.slab_node is not built; run `make setup`")


# --- allocation -----------------------------------------------------------------------------------


def take_one(cachep, n):
    """One object out of a node's slabs, or NULL."""
    objp = cython.cast(cython.p_void, cython.NULL)
    spin_lock(cython.address(n.list_lock))
    p = get_first_slab(n)
    if p != cython.NULL:
        objp = slab_get_obj(cachep, p)
        n.free_objects -= 1
        fixup_slab_list(cachep, n, p)
    spin_unlock(cython.address(n.list_lock))
    return objp


def ____cache_alloc_node(cachep, gfp, nodeid):
    n = cachep.node[nodeid]
    while True:
        objp = take_one(cachep, n)
        if objp != cython.NULL:
            return objp
        # since v4.7, mm/slab: refill cpu cache through a new slab without holding a node lock (Kim 2016)
        if switch_on(REFILL_PRIVATE_SLAB):
            p = cache_grow_begin(cachep, gfp_exact_node(gfp), nodeid, cython.NULL)
            if p != cython.NULL:
                objp = slab_get_obj(cachep, p)
            cache_grow_end(cachep, p)
            return objp if objp != cython.NULL else fallback_alloc(cachep, gfp)
        if cache_grow(cachep, gfp_exact_node(gfp), nodeid, cython.NULL) < 0:
            return fallback_alloc(cachep, gfp)


def fallback_alloc(cachep, gfp):
    """From any node: first one that has a free object, then a slab of pages from wherever there are any."""
    if gfp & __GFP_THISNODE:
        return cython.NULL
    nodes = slab_root().nr_nodes
    again: cython.bint = True
    while again:
        local = numa_mem_id()
        for i in range(nodes):
            nid = (local + i) % nodes
            n = cachep.node[nid]
            if n == cython.NULL or read_once(cython.address(n.free_objects)) == 0:
                continue
            objp = ____cache_alloc_node(cachep, gfp_exact_node(gfp), nid)
            if objp != cython.NULL:
                return objp
        objp = fallback_grow(cachep, gfp, cython.address(again))
        if objp != cython.NULL:
            return objp
    return cython.NULL


def fallback_grow(cachep, gfp, again):
    """Grow from any node and take one object; *again says that there was a slab, but another CPU emptied it first."""
    again[0] = False
    local = numa_mem_id()
    p = cython.cast(cython.pointer(page), cython.NULL)
    # since v4.7, mm/slab: make cache_grow() handle the page allocated on arbitrary node (Kim 2016)
    if switch_on(GROW_ANY_NODE):
        p = cache_grow_begin(cachep, gfp, local, p)
    else:
        blocking: cython.bint = gfpflags_allow_blocking(gfp)
        if blocking:
            local_irq_enable()
        p = kmem_getpages(cachep, gfp, local)
        if blocking:
            local_irq_disable()
        if p != cython.NULL:
            p = cache_grow_begin(cachep, gfp, p.nid, p)
    if p == cython.NULL:
        return cython.NULL
    nid = p.nid
    cache_grow_end(cachep, p)
    objp = ____cache_alloc_node(cachep, gfp_exact_node(gfp), nid)
    again[0] = objp == cython.NULL
    return objp


# --- alien caches ---------------------------------------------------------------------------------


def real_aliens(aliens):
    """Alien caches; NULL if there are none, or only the mark of a kernel without NUMA."""
    # until v4.7, mm/slab: remove BAD_ALIEN_MAGIC again (Kim 2016)
    if cython.cast(cython.ulong, aliens) == BAD_ALIEN_MAGIC_VALUE:
        return cython.cast(cython.pointer(cython.pointer(alien_cache)), cython.NULL)
    return aliens


def node_aliens(n):
    return real_aliens(n.alien)


def cache_free_alien(cachep, objp):
    local = numa_mem_id()
    node = cython.cast(cython.long, virt_to_head_page(objp).nid)
    if node == local:
        return False
    if smp_processor_id() < 0:
        atomic_fetch_add(cython.address(cachep.node_frees), 1)
    else:
        cpu_cache_get(cachep).node_frees += 1
    count_event(SLAB_REMOTE_FREE)
    emptied: list_head
    INIT_LIST_HEAD(cython.address(emptied))
    objects: cython.p_void = objp
    aliens = node_aliens(cachep.node[local])
    if aliens != cython.NULL and aliens[node] != cython.NULL:
        alien = aliens[node]
        spin_lock(cython.address(alien.lock))
        if alien.ac.avail == alien.ac.limit:
            __drain_alien_cache(cachep, alien, node, cython.address(emptied))
        alien.ac.entry[alien.ac.avail] = objp
        alien.ac.avail += 1
        spin_unlock(cython.address(alien.lock))
    else:
        n = cachep.node[node]
        spin_lock(cython.address(n.list_lock))
        free_block(cachep, cython.address(objects), 1, node, cython.address(emptied))
        spin_unlock(cython.address(n.list_lock))
    slabs_destroy(cachep, cython.address(emptied))
    return True


def __drain_alien_cache(cachep, alien, node, list):
    """Return an alien cache's objects to their node: as many as fit to its shared array. alien.lock held."""
    if alien.ac.avail == 0:
        return
    count_event(SLAB_ALIEN_DRAIN)
    n = cachep.node[node]
    spin_lock(cython.address(n.list_lock))
    if n.shared != cython.NULL:
        transfer_objects(n.shared, cython.address(alien.ac), alien.ac.limit)
    free_block(cachep, alien.ac.entry, alien.ac.avail, node, list)
    alien.ac.avail = 0
    spin_unlock(cython.address(n.list_lock))


def drain_alien_cache(cachep, n):
    """Drain all alien caches of a node."""
    drain_aliens(cachep, n.alien)


def drain_aliens(cachep, aliens):
    aliens = real_aliens(aliens)
    if aliens == cython.NULL:
        return
    for node in range(slab_root().nr_nodes):
        alien = aliens[node]
        if alien == cython.NULL:
            continue
        emptied: list_head
        INIT_LIST_HEAD(cython.address(emptied))
        flags = local_irq_save()
        spin_lock(cython.address(alien.lock))
        __drain_alien_cache(cachep, alien, node, cython.address(emptied))
        spin_unlock(cython.address(alien.lock))
        local_irq_restore(flags)
        slabs_destroy(cachep, cython.address(emptied))


def alloc_alien_cache(node, limit):
    """One alien cache for each other node, or NULL without memory."""
    nodes = slab_root().nr_nodes
    if limit > 1:
        limit = ALIEN_CACHE_LIMIT
    aliens = cython.cast(cython.pointer(cython.pointer(alien_cache)), heap_alloc(nodes * 8))
    if aliens == cython.NULL:
        return aliens
    for i in range(nodes):
        if i == node:
            continue
        alien = cython.cast(cython.pointer(alien_cache), heap_alloc(cython.sizeof(alien_cache) + limit * 8))
        aliens[i] = alien
        if alien == cython.NULL:
            free_alien_cache(aliens)
            return cython.cast(cython.pointer(cython.pointer(alien_cache)), cython.NULL)
        spin_lock_init(cython.address(alien.lock), CLASS_ALIEN_LOCK)
        alien.ac.limit = cython.cast(cython.uint, limit)
        alien.ac.batchcount = 0xBAADF00D
    return aliens


def free_alien_cache(aliens):
    if real_aliens(aliens) == cython.NULL:
        return
    for i in range(slab_root().nr_nodes):
        heap_free(aliens[i])
    heap_free(aliens)
