# kernel/cgroup, as far as the memory controller's script needs it: directories and the tasks in them.
from cpus.cpu cimport task
from cpus.memcontrol cimport mem_cgroup

cdef mem_cgroup *cgroup_mkdir(const char *name) noexcept nogil      # NULL: no memory, or no id left
cdef int cgroup_rmdir(mem_cgroup *memcg) noexcept nogil             # 0, or -EBUSY while a task is in it
cdef void cgroup_attach_task(mem_cgroup *memcg, task *t) noexcept nogil     # NULL: back to the root
cdef void cgroup_kill(mem_cgroup *memcg) noexcept nogil             # cgroup_mutex held
