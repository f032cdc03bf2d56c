# fs/buffer.c: each CPU's small cache of buffer heads, and emptying those of all CPUs.
from ipc.atomic cimport vlong

cdef enum:
    BH_LRU_SIZE = 16              # 8 at the time of the 2012 thread, as far as we remember; counts do not depend on it

cdef struct buffer_head:
    vlong b_count                 # references
    long b_blocknr
    long _pad[6]

cdef struct bh_lru:
    buffer_head *bhs[BH_LRU_SIZE]     # newest first; no gaps

cdef void bh_lru_install(buffer_head *bh) noexcept nogil          # takes a reference
cdef buffer_head *lookup_bh_lru(long block) noexcept nogil        # with a reference of the caller's own, or NULL
cdef void brelse(buffer_head *bh) noexcept nogil
# fail_mask: as if the memory for a mask of CPUs could not be had. How many CPUs were interrupted.
cdef long invalidate_bh_lrus(bint fail_mask) noexcept nogil
cdef bint has_bh_in_lru(long cpu, void *info) noexcept nogil
cdef void invalidate_bh_lru(void *info) noexcept nogil
cdef bh_lru *bh_lru_of(long cpu) noexcept nogil

# Mailed to a CPU.
cdef long touch_block(long *args) noexcept nogil                  # block: bh_lru_install; 0, or -ENOMEM
cdef long invalidate(long *args) noexcept nogil                   # fail_mask
