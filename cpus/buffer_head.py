"""fs/buffer.c: the per-CPU LRU of buffer heads, as a user of on_each_cpu_cond.

The second user that the series of 2012 converted, beside SLUB's flush: a CPU that has no buffer head in its LRU need
not be interrupted to empty it. Where the mask of CPUs cannot be allocated, each CPU that must be is called alone, one
after the other: as many interrupts, one round trip each.
"""

import cython
from cython.cimports.cpus.cpu import this_cpu
from cython.cimports.cpus.mmzone import mm_root
from cython.cimports.cpus.smp import on_each_cpu, on_each_cpu_cond
from cython.cimports.cpus.switches import BH_LRU_FLUSH, BH_LRU_FLUSH_COND
from cython.cimports.ipc.atomic import atomic_fetch_add
from cython.cimports.ipc.interrupt import local_irq_restore, local_irq_save
from cython.cimports.ipc.memory import heap_alloc, heap_free, segment, switch_value

if not cython.compiled:
    raise ImportError("cpus.buffer_head is not built; run `make setup`")

ENOMEM = cython.declare(cython.long, 12)


def bh_lru_of(cpu):
    return cython.address(cython.cast(cython.pointer(bh_lru), mm_root().bh_lrus)[cpu])


def brelse(bh):
    if atomic_fetch_add(cython.address(bh.b_count), -1) == 1:
        heap_free(bh)


def bh_lru_install(bh):
    """To the front; whoever falls out at the end is released."""
    flags = local_irq_save()
    lru = bh_lru_of(this_cpu().hw.id)
    moving = bh
    atomic_fetch_add(cython.address(bh.b_count), 1)
    for i in range(BH_LRU_SIZE):
        was = lru.bhs[i]
        lru.bhs[i] = moving
        moving = was
        if moving == bh or moving == cython.NULL:
            break
    if moving != cython.NULL:
        brelse(moving)
    local_irq_restore(flags)


def lookup_bh_lru(block):
    """A hit moves to the front."""
    flags = local_irq_save()
    lru = bh_lru_of(this_cpu().hw.id)
    found = cython.cast(cython.pointer(buffer_head), cython.NULL)
    for i in range(BH_LRU_SIZE):
        bh = lru.bhs[i]
        if bh == cython.NULL:
            break
        if bh.b_blocknr == block:
            down: cython.long = i
            while down > 0:
                lru.bhs[down] = lru.bhs[down - 1]
                down -= 1
            lru.bhs[0] = bh
            atomic_fetch_add(cython.address(bh.b_count), 1)
            found = bh
            break
    local_irq_restore(flags)
    return found


def has_bh_in_lru(cpu, info):
    """Looked at from another CPU, racily. The first place is enough: there are no gaps."""
    return bh_lru_of(cpu).bhs[0] != cython.NULL


def invalidate_bh_lru(info):
    flags = local_irq_save()
    lru = bh_lru_of(this_cpu().hw.id)
    for i in range(BH_LRU_SIZE):
        bh = lru.bhs[i]
        if bh != cython.NULL:
            lru.bhs[i] = cython.cast(cython.pointer(buffer_head), cython.NULL)
            brelse(bh)
    local_irq_restore(flags)


def invalidate_bh_lrus(fail_mask):
    # since v3.4, fs: only send IPI to invalidate LRU BH when needed (Ben-Yossef 2012)
    if switch_value(BH_LRU_FLUSH) == BH_LRU_FLUSH_COND:
        return on_each_cpu_cond(has_bh_in_lru, invalidate_bh_lru, cython.NULL, True, fail_mask)
    return on_each_cpu(invalidate_bh_lru, cython.NULL, True)


def touch_block(args):
    bh = lookup_bh_lru(args[0])
    if bh == cython.NULL:
        bh = cython.cast(cython.pointer(buffer_head), heap_alloc(cython.sizeof(buffer_head)))
        if bh == cython.NULL:
            return -ENOMEM
        bh.b_count = 1
        bh.b_blocknr = args[0]
        bh_lru_install(bh)
    brelse(bh)
    return 0


def invalidate(args):
    return invalidate_bh_lrus(args[0] != 0)


def init_bh_lrus() -> bool:
    """One empty LRU for each CPU; before the fork. False when the segment is too small."""
    mm_root().bh_lrus = heap_alloc(segment().nr_cpus * cython.sizeof(bh_lru))
    return mm_root().bh_lrus != cython.NULL


def entry_points() -> dict:
    """Address of each operation, by name."""
    return {
        "touch_block": cython.cast(cython.long, cython.cast(cython.p_void, touch_block)),
        "invalidate_bh_lrus": cython.cast(cython.long, cython.cast(cython.p_void, invalidate)),
    }


def cached_blocks(cpu: int) -> list:
    """The blocks in a CPU's LRU, newest first."""
    lru = bh_lru_of(cpu)
    found = []
    for i in range(BH_LRU_SIZE):
        if lru.bhs[i] != cython.NULL:
            found.append(lru.bhs[i].b_blocknr)
    return found
