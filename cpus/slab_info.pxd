# mm/slab_common.c, mm/slab.c: /proc/slabinfo, read and written.
from cpus.slab_def cimport kmem_cache

# One row; counts include all memcg children, and count what is parked in arrays as active.
cdef struct slabinfo:
    long active_objs
    long num_objs
    long active_slabs
    long num_slabs
    long shared_avail
    long limit
    long batchcount
    long shared
    long objects_per_slab
    long cache_order

cdef enum:
    MAX_SLABINFO_WRITE = 128

cdef void get_slabinfo(kmem_cache *cachep, slabinfo *sinfo) noexcept nogil       # slab_mutex held; adds to *sinfo
cdef void memcg_accumulate_slabinfo(kmem_cache *root_cache, slabinfo *sinfo) noexcept nogil
# `name limit batchcount shared`: the length, -EINVAL, or -ENOMEM. Senseless values are accepted and ignored.
cdef long slabinfo_write(const char *text, long length) noexcept nogil
cdef long tune_cache(const char *name, long limit, long batchcount, long shared) noexcept nogil
cdef kmem_cache *find_cache(const char *name) noexcept nogil                     # slab_mutex held
cdef bint number(char **text, long *value) noexcept nogil
