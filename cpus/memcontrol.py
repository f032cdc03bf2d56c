"""Memory cgroups: what is charged to them, and the making and unmaking of their kmem caches.

since v3.8, memcg: infrastructure to match an allocation to the right cache (Costa 2012)

A task's first allocation from an accounted cache finds no child, queues an item that makes one, and is served from the
root cache meanwhile. Every further miss before that item has run queues another one; those find the slot filled.
On rmdir the children are shrunk and taken out of their slots; each page that is still charged keeps the memcg, and with
it its caches, until it is freed.
"""

import cython
from cython.cimports.cpus.cpu import this_cpu
from cython.cimports.cpus.idr import ida_get, ida_remove
from cython.cimports.cpus.list_head import INIT_LIST_HEAD
from cython.cimports.cpus.locks import locks
from cython.cimports.cpus.page_counter import (
    page_counter_init,
    page_counter_limit,
    page_counter_max,
    page_counter_try_charge,
    page_counter_uncharge,
)
from cython.cimports.cpus.slab_common import cache_from_memcg_idx, memcg_create_kmem_cache, memcg_update_all_caches
from cython.cimports.cpus.slab_death import memcg_deactivate_kmem_caches, memcg_destroy_kmem_caches
from cython.cimports.cpus.slab_def import slab_root
from cython.cimports.cpus.slab_release import events_workqueue, release_is_synchronous
from cython.cimports.cpus.switches import MEMCG_CREATE_WQ, MEMCG_CREATE_WQ_ORDERED, MEMCG_CREATE_WQ_SYSTEM
from cython.cimports.cpus.workqueue import WQ_ORDERED, WQ_PERCPU, alloc_workqueue, init_work
from cython.cimports.ipc.atomic import atomic_fetch_add, read_once, write_once
from cython.cimports.ipc.interrupt import preempt_disable, preempt_enable
from cython.cimports.ipc.lock import mutex_lock, mutex_unlock
from cython.cimports.ipc.memory import PAGE_SIZE, heap_alloc, heap_free, switch_value
from cython.cimports.libc.string import strncpy

if not cython.compiled:
    raise ImportError("cpus.memcontrol is not built; run `make setup`")

ENOMEM = cython.declare(cython.int, 12)
EBUSY = cython.declare(cython.int, 16)


def memcg_kmem_bypass(c):
    """Interrupts, and whatever is no task: a kworker, an order of the coordinator."""
    return c.hw.in_interrupt != 0 or c.in_kworker != 0 or c.current == cython.NULL


def memcg_kmem_get_cache(cachep):
    """The child of a root cache that the current task's memcg allocates from, with a reference to that memcg.

    The look at the slot takes no lock. The array of slots may be replaced meanwhile; the old one is freed after a grace
    period, and preemption off makes this a reader.
    """
    c = this_cpu()
    if memcg_kmem_bypass(c) or c.current.memcg == cython.NULL or c.current.memcg_kmem_skip_account != 0:
        return cachep
    memcg = cython.cast(cython.pointer(mem_cgroup), c.current.memcg)
    id = read_once(cython.address(memcg.kmemcg_id))
    if id < 0:
        return cachep
    preempt_disable()
    child = cache_from_memcg_idx(cachep, id)
    if child != cython.NULL:
        css_get_many(memcg, 1)
    preempt_enable()
    if child != cython.NULL:
        return child
    memcg_schedule_kmem_cache_create(c, memcg, cachep)
    return cachep


def memcg_kmem_put_cache(cachep):
    """After the allocation: give back the reference that came with a child."""
    memcg = cython.cast(cython.pointer(mem_cgroup), cachep.memcg_params.memcg)
    if memcg != cython.NULL:
        css_put_many(memcg, 1)


def memcg_schedule_kmem_cache_create(c, memcg, cachep):
    """Queue the making of a child. Without memory for the item nothing is queued; the next miss tries again."""
    c.current.memcg_kmem_skip_account = 1  # what is allocated here must not come back here
    work = cython.cast(cython.pointer(work_struct), heap_alloc(cython.sizeof(work_struct)))
    c.current.memcg_kmem_skip_account = 0
    if work == cython.NULL:
        return
    css_get_many(memcg, 1)
    init_work(work, memcg_kmem_cache_create_func)
    work.data[0] = cython.cast(cython.long, memcg)
    work.data[1] = cython.cast(cython.long, cachep)
    queue_work(the_memcgs().memcg_kmem_cache_wq, work)


def memcg_kmem_cache_create_func(work):
    memcg = cython.cast(cython.pointer(mem_cgroup), cython.cast(cython.ulong, work.data[0]))
    cachep = cython.cast(cython.pointer(kmem_cache), cython.cast(cython.ulong, work.data[1]))
    memcg_create_kmem_cache(memcg, cachep)
    css_put_many(memcg, 1)
    heap_free(work)


def memcg_charge_slab(memcg_of_cache, order):
    """Charge a slab to kmem and to memory; False makes the grow fail. Each page keeps the memcg."""
    memcg = cython.cast(cython.pointer(mem_cgroup), memcg_of_cache)
    size = cython.cast(cython.long, PAGE_SIZE) << order
    if not page_counter_try_charge(cython.address(memcg.kmem), size):
        return False
    if not page_counter_try_charge(cython.address(memcg.memory), size):
        page_counter_uncharge(cython.address(memcg.kmem), size)
        return False
    css_get_many(memcg, cython.cast(cython.long, 1) << order)
    return True


def memcg_uncharge_slab(memcg_of_cache, order):
    memcg = cython.cast(cython.pointer(mem_cgroup), memcg_of_cache)
    size = cython.cast(cython.long, PAGE_SIZE) << order
    page_counter_uncharge(cython.address(memcg.memory), size)
    page_counter_uncharge(cython.address(memcg.kmem), size)
    css_put_many(memcg, cython.cast(cython.long, 1) << order)


def memcg_alloc_cache_id():
    """An index into the arrays of child caches; grows all of them if it does not fit. -1 without memory."""
    system = the_memcgs()
    id = ida_get(cython.address(system.memcg_cache_ida), MEM_CGROUP_ID_MAX)
    if id < 0 or id < slab_root().memcg_nr_cache_ids:
        return id
    size = 2 * (id + 1)
    if size < MEMCG_CACHES_MIN_SIZE:
        size = MEMCG_CACHES_MIN_SIZE
    if size > MEM_CGROUP_ID_MAX:
        size = MEM_CGROUP_ID_MAX
    if memcg_update_all_caches(size) != 0:
        ida_remove(cython.address(system.memcg_cache_ida), id)
        return -1
    return id


def memcg_online_kmem(memcg):
    """Give the memcg its cache id: from here on its tasks' allocations are accounted."""
    if memcg.kmem_state != KMEM_NONE:
        return 0
    id = memcg_alloc_cache_id()
    if id < 0:
        return -ENOMEM
    write_once(cython.address(memcg.kmemcg_id), id)
    write_once(cython.address(memcg.kmem_state), KMEM_ONLINE)
    return 0


def memcg_offline_kmem(memcg):
    if memcg.kmem_state != KMEM_ONLINE:
        return
    # Before the caches are taken down: an item that still waits must see it, under slab_mutex, and make none.
    write_once(cython.address(memcg.kmem_state), KMEM_ALLOCATED)
    memcg_deactivate_kmem_caches(memcg)
    id = read_once(cython.address(memcg.kmemcg_id))
    write_once(cython.address(memcg.kmemcg_id), -1)
    ida_remove(cython.address(the_memcgs().memcg_cache_ida), id)


def mem_cgroup_css_free(work):
    """The last reference is gone, so nothing is charged and all its caches are empty: they are shut down."""
    memcg = cython.cast(cython.pointer(mem_cgroup), cython.cast(cython.ulong, work.data[0]))
    system = the_memcgs()
    if memcg.kmem_state == KMEM_ALLOCATED:
        # Until v4.10 the wait for the callbacks of BY_RCU caches lies inside it.
        # since v4.11, slab: remove synchronous rcu_barrier() call in memcg cache release path (Heo 2017)
        locked: cython.bint = release_is_synchronous()
        if locked:
            mutex_lock(cython.address(locks().cgroup_mutex))
        memcg_destroy_kmem_caches(memcg)
        if locked:
            mutex_unlock(cython.address(locks().cgroup_mutex))
    mutex_lock(cython.address(locks().cgroup_mutex))
    memcg.prev.next = memcg.next
    memcg.next.prev = memcg.prev
    ida_remove(cython.address(system.mem_cgroup_idr), memcg.id)
    mutex_unlock(cython.address(locks().cgroup_mutex))
    atomic_fetch_add(cython.address(system.nr_dying), -1)
    heap_free(memcg)


def mem_cgroup_alloc(name):
    system = the_memcgs()
    id = ida_get(cython.address(system.mem_cgroup_idr), MEM_CGROUP_ID_MAX + 1)
    if id < 0:
        return cython.NULL
    memcg = cython.cast(cython.pointer(mem_cgroup), heap_alloc(cython.sizeof(mem_cgroup)))
    if memcg == cython.NULL:
        ida_remove(cython.address(system.mem_cgroup_idr), id)
        return cython.NULL
    memcg.id = id
    memcg.serial_nr = system.next_serial_nr
    system.next_serial_nr += 1
    memcg.css_refcnt = 1
    memcg.kmemcg_id = -1
    INIT_LIST_HEAD(cython.address(memcg.kmem_caches))
    memcg.parent = cython.address(system.root)
    page_counter_init(cython.address(memcg.memory))
    page_counter_init(cython.address(memcg.kmem))
    init_work(cython.address(memcg.css_free_work), mem_cgroup_css_free)
    memcg.css_free_work.data[0] = cython.cast(cython.long, memcg)
    strncpy(memcg.name, name, MEMCG_NAME - 1)
    memcg.prev = system.root.prev
    memcg.next = cython.address(system.root)
    memcg.prev.next = memcg
    system.root.prev = memcg
    return memcg


def set_limit(counter, limit):
    """Whole pages count; a negative value is none. With cgroup_mutex held, so that writers exclude each other."""
    highest = page_counter_max()
    pages = limit & ~cython.cast(cython.long, PAGE_SIZE - 1)
    return page_counter_limit(counter, highest if limit < 0 or pages > highest else pages)


def mem_cgroup_write_limit(memcg, limit):
    """memory.limit_in_bytes: -EBUSY if more is charged."""
    mutex_lock(cython.address(locks().cgroup_mutex))
    done: cython.bint = set_limit(cython.address(memcg.memory), limit)
    mutex_unlock(cython.address(locks().cgroup_mutex))
    return 0 if done else -EBUSY


def mem_cgroup_write_kmem_limit(memcg, limit):
    """memory.kmem.limit_in_bytes. Before v4.6 the first write begins the accounting."""
    mutex_lock(cython.address(locks().cgroup_mutex))
    error: cython.int = 0
    if the_memcgs().kernel < 4006:
        error = memcg_online_kmem(memcg)
    if error == 0 and not set_limit(cython.address(memcg.kmem), limit):
        error = -EBUSY
    mutex_unlock(cython.address(locks().cgroup_mutex))
    return error


def creation_workqueue():
    """The workqueue that makes child caches.

    since v4.10, mm: memcontrol: use special workqueue for creating per-memcg caches (Davydov 2016)
    since v4.11, slab: use memcg_kmem_cache_wq for slab destruction operations (Heo 2017)
    """
    which = switch_value(MEMCG_CREATE_WQ)
    if which == MEMCG_CREATE_WQ_SYSTEM:
        return events_workqueue()
    if which == MEMCG_CREATE_WQ_ORDERED:
        return alloc_workqueue("memcg_kmem_cache_create", WQ_ORDERED)
    return alloc_workqueue("memcg_kmem_cache", WQ_PERCPU)


def mem_cgroup_init(kernel):
    """Kernel version as major * 1000 + minor. 0, or -ENOMEM."""
    if the_memcgs() != cython.NULL:
        return 0
    system = cython.cast(cython.pointer(memcg_system), heap_alloc(cython.sizeof(memcg_system)))
    if system == cython.NULL:
        return -ENOMEM
    system.kernel = kernel
    system.next_serial_nr = 1
    system.mem_cgroup_idr.bits[0] = 1  # id 0 is nobody's
    root = cython.address(system.root)
    root.css_refcnt = 1
    root.kmemcg_id = -1
    root.prev = root
    root.next = root
    page_counter_init(cython.address(root.memory))
    page_counter_init(cython.address(root.kmem))
    system.memcg_kmem_cache_wq = creation_workqueue()
    system.cgroup_destroy_wq = alloc_workqueue("cgroup_destroy", WQ_PERCPU)
    system.system_wq = events_workqueue()
    if system.memcg_kmem_cache_wq == cython.NULL or system.cgroup_destroy_wq == cython.NULL:
        return -ENOMEM
    if system.system_wq == cython.NULL:
        return -ENOMEM
    segment().area[AREA_MEMCG] = cython.cast(cython.long, system)
    slab = slab_root()
    slab.memcg_get_cache = memcg_kmem_get_cache
    slab.memcg_put_cache = memcg_kmem_put_cache
    slab.memcg_charge_slab = memcg_charge_slab
    slab.memcg_uncharge_slab = memcg_uncharge_slab
    return 0
