# fs/: the object traffic of the few system calls that a script makes. Files have no contents and directories no
# entries here; what is modelled is which accounted caches a call allocates from, and when it gives the objects back.
from cpus.cpu cimport task
from cpus.memcontrol cimport mem_cgroup
from cpus.slab_def cimport kmem_cache, slab_ctor_t

cdef enum:
    # Object sizes of a 4.11 kernel on x86-64.
    FILP_SIZE = 256
    DENTRY_SIZE = 192
    INODE_SIZE = 592
    EXT4_INODE_SIZE = 1080
    CRED_SIZE = 192
    NR_VFS_CACHES = 5

    # Control files of a memcg.
    CFT_LIMIT = 0                 # memory.limit_in_bytes
    CFT_KMEM_LIMIT = 1            # memory.kmem.limit_in_bytes
    CFT_PROCS = 2                 # cgroup.procs

cdef struct vfs_caches:
    kmem_cache *filp_cachep
    kmem_cache *cred_jar
    kmem_cache *dentry_cache
    kmem_cache *inode_cachep
    kmem_cache *ext4_inode_cachep

# The objects behind one path, and behind one open file of it.
cdef struct file:
    void *filp
    void *f_cred
    void *dentry
    void *inode
    void *ext4_inode

cdef int vfs_caches_init(vfs_caches *fs) noexcept nogil

# System calls, each one entry into the kernel. 0, or a negative errno.
cdef int sys_creat(vfs_caches *fs, file *f) noexcept nogil
cdef int sys_open_control(vfs_caches *fs, file *f) noexcept nogil
cdef int sys_write_control(mem_cgroup *memcg, int cft, long value, task *t) noexcept nogil     # memcg NULL: the root
cdef void sys_close(vfs_caches *fs, file *f) noexcept nogil
cdef void sys_unlink(vfs_caches *fs, file *f) noexcept nogil
cdef mem_cgroup *sys_mkdir(vfs_caches *fs, const char *name) noexcept nogil
cdef int sys_rmdir(mem_cgroup *memcg) noexcept nogil

cdef void init_once(void *object) noexcept nogil
cdef kmem_cache *account_cache(const char *name, long size, unsigned long flags, slab_ctor_t ctor) noexcept nogil
cdef bint take(kmem_cache *cachep, void **slot) noexcept nogil
cdef void drop(kmem_cache *cachep, void **slot) noexcept nogil
cdef void put_path(vfs_caches *fs, file *f) noexcept nogil
cdef int write_control(mem_cgroup *memcg, int cft, long value, task *t) noexcept nogil
