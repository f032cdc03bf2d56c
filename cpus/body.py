"""BodyCpu: a CPU as seen by a Python body that runs on it. Its calls are direct: no mail, no other process."""

import cython
from cython.cimports.cpus.mm_types import GFP_KERNEL
from cython.cimports.cpus.rcu import synchronize_sched
from cython.cimports.cpus.slab import kfree, kmalloc, kmem_cache_alloc, kmem_cache_free
from cython.cimports.cpus.slab_def import kmem_cache
from cython.cimports.cpus.smp import kick_all_cpus_sync
from cython.cimports.ipc.interrupt import poll_interrupts
from cython.cimports.ipc.processor import this_processor

if not cython.compiled:
    raise ImportError("cpus.body is not built; run `make setup`")


class BodyCpu:
    """The CPU that the body runs on. A cache is its Cache or its address; an object is its address, 0 for none.

    (The methods have other names in C: a method with the name of a C function in scope would call itself.)
    """

    def __init__(self, id: int):
        self.id = id

    def kick_all_cpus_sync(self):
        """Interrupt every other CPU; how many."""
        return kick_all_cpus_sync()

    def synchronize_sched(self):
        """Wait for a grace period."""
        synchronize_sched()

    def cpu_relax(self):
        """One turn of a wait loop: takes pending interrupts, which the doorbell needs."""
        poll_interrupts(this_processor())

    def alloc(self, cache: cython.ulong) -> int:
        """kmem_cache_alloc(cache, GFP_KERNEL), by the cache's address."""
        return cython.cast(cython.ulong, kmem_cache_alloc(cython.cast(cython.pointer(kmem_cache), cache), GFP_KERNEL))

    def free(self, cache: cython.ulong, obj: cython.ulong) -> None:
        """kmem_cache_free(cache, obj), by addresses."""
        kmem_cache_free(cython.cast(cython.pointer(kmem_cache), cache), cython.cast(cython.p_void, obj))

    def kmalloc(self, size: cython.long) -> int:
        """kmalloc(size, GFP_KERNEL)."""
        return cython.cast(cython.ulong, kmalloc(size, GFP_KERNEL))

    def kfree(self, obj: cython.ulong) -> None:
        """kfree(obj)."""
        kfree(cython.cast(cython.p_void, obj))
