# The loop of goal P4: an object allocated and freed, again and again.
from cpus.slab_def cimport kmem_cache

cdef enum:
    MAX_DEPTH = 4096

# Mailed to a CPU: cache, depth, repeats. Allocate `depth` objects, free them in the same order, `repeats` times over: the
# cycles it took, or -ENOMEM.
cdef long pairs(long *args) noexcept nogil
