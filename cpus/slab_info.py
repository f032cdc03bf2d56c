"""mm/slab_common.c, mm/slab.c: the numbers of /proc/slabinfo, and tuning by writing to it."""

import cython
from cython.cimports.cpus.cpu import LAT_TUNE, record_latency
from cython.cimports.cpus.events import EV_TUNE_BEGIN, EV_TUNE_END
from cython.cimports.cpus.locks import locks
from cython.cimports.cpus.slab_debug import WHERE_SLABINFO_WRITE, path_enter, path_leave
from cython.cimports.cpus.slab_def import (
    cache_of_child_node,
    cache_of_list,
    cache_of_root_node,
    slab_root,
)
from cython.cimports.cpus.slab_tune import do_tune_cpucache
from cython.cimports.cpus.slub_def import slub_enabled
from cython.cimports.cpus.slub_drain import slub_get_slabinfo
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save
from cython.cimports.ipc.lock import mutex_lock, mutex_unlock, spin_lock, spin_unlock
from cython.cimports.ipc.trace import trace
from cython.cimports.libc.stdlib import strtol
from cython.cimports.libc.string import memcpy, memset, strchr, strcmp

if not cython.compiled:
    raise ImportError("cpus.slab_info is not built; run `make setup`")

EIO = cython.declare(cython.long, 5)
EINVAL = cython.declare(cython.long, 22)
LONG_MAX_INT = cython.declare(cython.long, 0x7FFFFFFF)


def get_slabinfo(cachep, sinfo):
    if slub_enabled():
        slub_get_slabinfo(cachep, sinfo)
        return
    free_objs: cython.long = 0
    total_slabs: cython.long = 0
    free_slabs: cython.long = 0
    for node in range(slab_root().nr_nodes):
        n = cachep.node[node]
        flags = local_irq_save()
        spin_lock(cython.address(n.list_lock))
        total_slabs += n.total_slabs
        free_slabs += n.free_slabs
        free_objs += n.free_objects
        if n.shared != cython.NULL:
            sinfo.shared_avail += n.shared.avail
        spin_unlock(cython.address(n.list_lock))
        local_irq_restore(flags)
    sinfo.num_objs += total_slabs * cachep.num
    sinfo.active_objs += total_slabs * cachep.num - free_objs
    sinfo.active_slabs += total_slabs - free_slabs
    sinfo.num_slabs += total_slabs
    sinfo.limit = cachep.limit
    sinfo.batchcount = cachep.batchcount
    sinfo.shared = cachep.shared
    sinfo.objects_per_slab = cachep.num
    sinfo.cache_order = cachep.gfporder


def memcg_accumulate_slabinfo(root_cache, sinfo):
    """Add the children; the tunables are the root's."""
    children = cython.address(root_cache.memcg_params.children)
    each = children.next
    sum: slabinfo
    while each != children:
        memset(cython.address(sum), 0, cython.sizeof(slabinfo))
        get_slabinfo(cache_of_child_node(each), cython.address(sum))
        sinfo.active_objs += sum.active_objs
        sinfo.num_objs += sum.num_objs
        sinfo.active_slabs += sum.active_slabs
        sinfo.num_slabs += sum.num_slabs
        sinfo.shared_avail += sum.shared_avail
        each = each.next


# --- writing --------------------------------------------------------------------------------------


def find_cache(name):
    system = slab_root()
    each = system.slab_caches.next
    while each != cython.address(system.slab_caches):
        s = cache_of_list(each)
        if strcmp(s.name, name) == 0:
            return s
        each = each.next
    return cython.cast(cython.pointer(kmem_cache), cython.NULL)


def tune_cache(name, limit, batchcount, shared):
    """0, -EINVAL for an unknown name, or -ENOMEM. slab_mutex for all of it, children included."""
    if slub_enabled():  # it has no tunables
        return -EIO
    start = get_cycles()
    error: cython.long = -EINVAL
    was = path_enter(WHERE_SLABINFO_WRITE)
    mutex_lock(cython.address(locks().slab_mutex))
    cachep = find_cache(name)
    if cachep != cython.NULL:
        error = 0
        if limit >= 1 and batchcount >= 1 and batchcount <= limit and shared >= 0:
            trace(EV_TUNE_BEGIN, cython.cast(cython.ulong, cachep))
            error = do_tune_cpucache(cachep, limit, batchcount, shared)
            trace(EV_TUNE_END, cython.cast(cython.ulong, cachep))
            record_latency(LAT_TUNE, start)
    mutex_unlock(cython.address(locks().slab_mutex))
    path_leave(was)
    return error


def number(text, value):
    """Take one decimal integer (%d) off the front of *text. False if there is none."""
    end: cython.p_char = text[0]
    value[0] = strtol(text[0], cython.address(end), 10)
    if end == text[0]:
        return False
    text[0] = end
    return -LONG_MAX_INT <= value[0] <= LONG_MAX_INT


def slabinfo_write(text, length):
    if length > MAX_SLABINFO_WRITE or length < 0:
        return -EINVAL
    line = cython.declare(cython.char[129])  # MAX_SLABINFO_WRITE, and a zero
    memcpy(line, text, length)
    line[length] = 0
    rest = strchr(line, 32)
    if rest == cython.NULL:
        return -EINVAL
    rest[0] = 0
    rest += 1
    limit: cython.long = 0
    batchcount: cython.long = 0
    shared: cython.long = 0
    if not number(cython.address(rest), cython.address(limit)):
        return -EINVAL
    if not number(cython.address(rest), cython.address(batchcount)):
        return -EINVAL
    if not number(cython.address(rest), cython.address(shared)):
        return -EINVAL
    error = tune_cache(line, limit, batchcount, shared)
    return length if error == 0 else error


# --- Python ---------------------------------------------------------------------------------------


def rows() -> list:
    """/proc/slabinfo: (name, active_objs, num_objs, objsize, objects per slab, pages per slab, limit, batchcount,
    shared factor, active slabs, slabs, shared avail) of every root cache, its children included."""
    found = []
    system = slab_root()
    with cython.nogil:
        mutex_lock(cython.address(locks().slab_mutex))
    each = system.slab_root_caches.next
    while each != cython.address(system.slab_root_caches):
        s = cache_of_root_node(each)
        sinfo: slabinfo
        with cython.nogil:
            memset(cython.address(sinfo), 0, cython.sizeof(slabinfo))
            get_slabinfo(s, cython.address(sinfo))
            memcg_accumulate_slabinfo(s, cython.address(sinfo))
        name: bytes = s.name
        row = (name.decode(), sinfo.active_objs, sinfo.num_objs, s.size, sinfo.objects_per_slab, 1 << sinfo.cache_order)
        row += (sinfo.limit, sinfo.batchcount, sinfo.shared, sinfo.active_slabs, sinfo.num_slabs, sinfo.shared_avail)
        found.append(row)
        each = each.next
    mutex_unlock(cython.address(locks().slab_mutex))
    return found
