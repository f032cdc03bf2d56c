"""init/main.c: brings the kernel's parts up in the coordinator's context, before any CPU exists."""

import cython
from cython.cimports.cpus.locks import init_locks
from cython.cimports.cpus.rcu import init_rcu
from cython.cimports.ipc.clock import get_cycles
from cython.cimports.ipc.memory import segment

from cpus import workqueue

if not cython.compiled:
    raise ImportError("cpus.init is not built; run `make setup`")


def start_kernel() -> bool:
    """Locks, workqueues, memory, slab caches, memcgs, in this order. False when the segment is too small."""
    segment().boot_cycles = get_cycles()
    return init_locks() == 0 and init_rcu() == 0 and workqueue.init_workqueues()
