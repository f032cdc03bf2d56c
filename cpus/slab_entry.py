"""Slab operations as functions that the coordinator can run on any CPU; addresses and errors travel as longs."""

import cython
from cython.cimports.cpus import mm_types, slab_def
from cython.cimports.cpus.slab import kfree, kmalloc, kmem_cache_alloc, kmem_cache_free
from cython.cimports.cpus.slab_common import kmem_cache_create, kmem_cache_destroy, kmem_cache_shrink
from cython.cimports.cpus.slab_def import kmem_cache
from cython.cimports.cpus.slab_info import slabinfo_write
from cython.cimports.ipc.memory import heap_alloc, heap_free
from cython.cimports.libc.string import memcpy

if not cython.compiled:
    raise ImportError("cpus.slab_entry is not built; run `make setup`")

GFP_KERNEL = mm_types.GFP_KERNEL
GFP_ATOMIC = mm_types.GFP_ATOMIC
GFP_ACCOUNT = mm_types.__GFP_ACCOUNT
FLAGS = {
    "SLAB_HWCACHE_ALIGN": slab_def.SLAB_HWCACHE_ALIGN,
    "SLAB_RECLAIM_ACCOUNT": slab_def.SLAB_RECLAIM_ACCOUNT,
    "SLAB_PANIC": slab_def.SLAB_PANIC,
    "SLAB_TYPESAFE_BY_RCU": slab_def.SLAB_TYPESAFE_BY_RCU,
    "SLAB_DESTROY_BY_RCU": slab_def.SLAB_TYPESAFE_BY_RCU,
    "SLAB_MEM_SPREAD": slab_def.SLAB_MEM_SPREAD,
    "SLAB_NOLEAKTRACE": slab_def.SLAB_NOLEAKTRACE,
    "SLAB_ACCOUNT": slab_def.SLAB_ACCOUNT,
    "SLAB_CONSISTENCY_CHECKS": slab_def.SLAB_CONSISTENCY_CHECKS,
    "SLAB_RED_ZONE": slab_def.SLAB_RED_ZONE,
    "SLAB_POISON": slab_def.SLAB_POISON,
    "SLAB_STORE_USER": slab_def.SLAB_STORE_USER,
    "SLAB_QUARANTINE": slab_def.SLAB_QUARANTINE,
}


def cache_at(address):
    return cython.cast(cython.pointer(kmem_cache), cython.cast(cython.ulong, address))


def entry_alloc(args):
    """kmem_cache_alloc(cache, gfp)"""
    return cython.cast(cython.long, kmem_cache_alloc(cache_at(args[0]), args[1]))


def entry_free(args):
    """kmem_cache_free(cache, object)"""
    kmem_cache_free(cache_at(args[0]), cython.cast(cython.p_void, cython.cast(cython.ulong, args[1])))
    return 0


def entry_kmalloc(args):
    """kmalloc(size, gfp)"""
    return cython.cast(cython.long, kmalloc(args[0], args[1]))


def entry_kfree(args):
    """kfree(object)"""
    kfree(cython.cast(cython.p_void, cython.cast(cython.ulong, args[0])))
    return 0


def entry_create(args):
    """kmem_cache_create(name, size, align, flags): the cache, or a negative errno"""
    error: cython.long = 0
    name = cython.cast(cython.p_char, cython.cast(cython.ulong, args[0]))
    flags = cython.cast(cython.ulong, args[3])
    cachep = kmem_cache_create(name, args[1], args[2], flags, cython.NULL, cython.address(error))
    return cython.cast(cython.long, cachep) if cachep != cython.NULL else error


def entry_destroy(args):
    """kmem_cache_destroy(cache)"""
    return kmem_cache_destroy(cache_at(args[0]))


def entry_shrink(args):
    """kmem_cache_shrink(cache)"""
    return kmem_cache_shrink(cache_at(args[0]))


def entry_slabinfo_write(args):
    """slabinfo_write(text, length)"""
    return slabinfo_write(cython.cast(cython.p_char, cython.cast(cython.ulong, args[0])), args[1])


def put_text(text: bytes) -> int:
    """Copy a text into the segment; its address, to be given back by drop_text()."""
    block = heap_alloc(len(text) + 1)
    if block == cython.NULL:
        raise MemoryError("the segment is full")
    memcpy(block, cython.cast(cython.p_char, text), len(text))
    return cython.cast(cython.ulong, block)


def drop_text(address: int) -> None:
    """Give back what put_text() took."""
    heap_free(cython.cast(cython.p_void, cython.cast(cython.ulong, address)))


def flag_bits(names: tuple) -> int:
    """The bits of flags given by their kernel names; KeyError for an unknown one."""
    bits = 0
    for name in names:
        bits |= FLAGS[name]
    return bits


def entry_points() -> dict:
    """Address of each operation, by the name of the kernel function."""
    return {
        "kmem_cache_alloc": cython.cast(cython.long, cython.cast(cython.p_void, entry_alloc)),
        "kmem_cache_free": cython.cast(cython.long, cython.cast(cython.p_void, entry_free)),
        "kmalloc": cython.cast(cython.long, cython.cast(cython.p_void, entry_kmalloc)),
        "kfree": cython.cast(cython.long, cython.cast(cython.p_void, entry_kfree)),
        "kmem_cache_create": cython.cast(cython.long, cython.cast(cython.p_void, entry_create)),
        "kmem_cache_destroy": cython.cast(cython.long, cython.cast(cython.p_void, entry_destroy)),
        "kmem_cache_shrink": cython.cast(cython.long, cython.cast(cython.p_void, entry_shrink)),
        "slabinfo_write": cython.cast(cython.long, cython.cast(cython.p_void, entry_slabinfo_write)),
    }
