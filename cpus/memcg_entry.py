"""Memcg operations as functions that the coordinator can run on any CPU; addresses and errors travel as longs."""

import cython
from cython.cimports.cpus.cgroup import cgroup_mkdir, cgroup_rmdir
from cython.cimports.cpus.cpu import task, this_cpu
from cython.cimports.cpus.memcontrol import (
    mem_cgroup,
    mem_cgroup_init,
    mem_cgroup_online,
    mem_cgroup_write_kmem_limit,
    mem_cgroup_write_limit,
    the_memcgs,
)
from cython.cimports.cpus.slab import kmem_cache_alloc, kmem_cache_free
from cython.cimports.cpus.slab_def import kmem_cache
from cython.cimports.libc.stdio import snprintf
from cython.cimports.libc.string import memset

if not cython.compiled:
    raise ImportError("cpus.memcg_entry is not built; run `make setup`")


def memcg_at(address):
    return cython.cast(cython.pointer(mem_cgroup), cython.cast(cython.ulong, address))


def entry_init(args):
    """Kernel version as major * 1000 + minor: 0, or a negative errno"""
    return mem_cgroup_init(args[0])


def entry_mkdir(args):
    """A memcg named by a number: its address, or 0"""
    name: cython.char[24]
    snprintf(name, 24, "%ld", args[0])
    return cython.cast(cython.long, cgroup_mkdir(name))


def entry_rmdir(args):
    """rmdir of a memcg: 0, or -EBUSY"""
    return cgroup_rmdir(memcg_at(args[0]))


def entry_write_limit(args):
    """memory.limit_in_bytes of a memcg"""
    return mem_cgroup_write_limit(memcg_at(args[0]), args[1])


def entry_write_kmem_limit(args):
    """memory.kmem.limit_in_bytes of a memcg"""
    return mem_cgroup_write_kmem_limit(memcg_at(args[0]), args[1])


def entry_alloc_in(args):
    """kmem_cache_alloc(cache, gfp) by a task of a memcg, n times: memcg, cache, gfp, n. The last object; the others are
    given back. One entry into the kernel, so no work item runs in between."""
    t: task
    memset(cython.address(t), 0, cython.sizeof(task))
    t.memcg = memcg_at(args[0])
    c = this_cpu()
    was = c.current
    c.current = cython.address(t)
    cachep = cython.cast(cython.pointer(kmem_cache), cython.cast(cython.ulong, args[1]))
    obj = kmem_cache_alloc(cachep, args[2])
    for _ in range(args[3] - 1):
        last = kmem_cache_alloc(cachep, args[2])
        if obj != cython.NULL:
            kmem_cache_free(cachep, obj)
        obj = last
    c.current = was
    return cython.cast(cython.long, obj)


def memcg_status(address: int) -> dict:
    """What the control files of a memcg show, and its state."""
    memcg = memcg_at(address)
    return {
        "name": memcg.name.decode(),
        "id": memcg.id,
        "kmemcg_id": memcg.kmemcg_id,
        "serial_nr": memcg.serial_nr,
        "online": mem_cgroup_online(memcg),
        "css_refcnt": memcg.css_refcnt,
        "memory": counter_status(address, False),
        "kmem": counter_status(address, True),
    }


def counter_status(address: int, kmem: bool) -> dict:
    """One of a memcg's counters, by the names of its control files."""
    memcg = memcg_at(address)
    counter = cython.address(memcg.kmem) if kmem else cython.address(memcg.memory)
    return {
        "limit_in_bytes": counter.limit,
        "usage_in_bytes": counter.usage,
        "max_usage_in_bytes": counter.watermark,
        "failcnt": counter.failcnt,
    }


def memcg_counts() -> dict:
    """Memcgs that exist, and removed ones that charged pages still keep."""
    system = the_memcgs()
    return {"online": system.nr_memcgs, "dying": system.nr_dying}


def entry_points() -> dict:
    """Address of each operation, by name."""
    return {
        "memcg_init": cython.cast(cython.long, cython.cast(cython.p_void, entry_init)),
        "memcg_mkdir": cython.cast(cython.long, cython.cast(cython.p_void, entry_mkdir)),
        "memcg_rmdir": cython.cast(cython.long, cython.cast(cython.p_void, entry_rmdir)),
        "memcg_write_limit": cython.cast(cython.long, cython.cast(cython.p_void, entry_write_limit)),
        "memcg_write_kmem_limit": cython.cast(cython.long, cython.cast(cython.p_void, entry_write_kmem_limit)),
        "memcg_kmem_cache_alloc": cython.cast(cython.long, cython.cast(cython.p_void, entry_alloc_in)),
    }
