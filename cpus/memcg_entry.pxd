# Memcg operations that can be mailed to a CPU: `long f(long *args)`.
from cpus.memcontrol cimport mem_cgroup

cdef mem_cgroup *memcg_at(long address) noexcept nogil
cdef long entry_init(long *args) noexcept nogil
cdef long entry_mkdir(long *args) noexcept nogil
cdef long entry_rmdir(long *args) noexcept nogil
cdef long entry_write_limit(long *args) noexcept nogil
cdef long entry_write_kmem_limit(long *args) noexcept nogil
cdef long entry_alloc_in(long *args) noexcept nogil
