"""init/main.c: brings the kernel's parts up in the coordinator's context, before any CPU exists."""

import cython
from cython.cimports.cpus.locks import init_locks
from cython.cimports.cpus.rcu import init_rcu
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.memory import segment

from cpus import buffer_head, mm_init, slab_boot, workqueue

if not cython.compiled:
    raise ImportError("cpus.init is not built; run `make setup`")


def start_kernel(parameters: dict) -> bool:
    """Locks, RCU, workqueues, memory, slab caches, in this order. False when the segment is too small.

    parameters: the kernel's boot parameters by name, as --append gives them.
    """
    segment().boot_cycles = get_cycles()
    if init_locks() != 0 or init_rcu() != 0 or not workqueue.init_workqueues():
        return False
    if not mm_init.mem_init(int(parameters.get("percpu_pagelist_fraction", 0))) or not buffer_head.init_bh_lrus():
        return False
    return slab_boot.kmem_cache_init(
        slab_max_order=int(parameters.get("slab_max_order", -1)),
        noaliencache="noaliencache" in parameters,
        slab_debug=str(parameters.get("slab_debug", "")),
    )
