"""System calls of the memcg scripts: creat, open, write, close, unlink, mkdir, rmdir.

In the kernel the dentry and the inode of a control file stay cached and keep the memcg that was charged for them; here
every object is given back, so that a removed memcg is found empty.
"""

import cython
from cython.cimports.cpus.cgroup import cgroup_attach_task, cgroup_mkdir, cgroup_rmdir
from cython.cimports.cpus.cpu import kernel_enter, kernel_exit
from cython.cimports.cpus.memcontrol import mem_cgroup_write_kmem_limit, mem_cgroup_write_limit
from cython.cimports.cpus.mm_types import GFP_KERNEL
from cython.cimports.cpus.slab import kmem_cache_alloc, kmem_cache_free
from cython.cimports.cpus.slab_common import kmem_cache_create
from cython.cimports.cpus.slab_def import SLAB_ACCOUNT, SLAB_HWCACHE_ALIGN, SLAB_MEM_SPREAD, SLAB_RECLAIM_ACCOUNT

if not cython.compiled:
    raise ImportError("cpus.vfs is not built; run `make setup`")

ENOMEM = cython.declare(cython.int, 12)
EINVAL = cython.declare(cython.int, 22)


def init_once(object):
    """A constructor. What it does is of no interest; that there is one decides where a slab's freelist lies."""


def account_cache(name, size, flags, ctor):
    return kmem_cache_create(name, size, 0, flags | SLAB_ACCOUNT, ctor, cython.NULL)


def vfs_caches_init(fs):
    """Create the five root caches, with the kernel's flags. On a CPU: each creation may kick the others."""
    cached = cython.cast(cython.ulong, SLAB_RECLAIM_ACCOUNT | SLAB_MEM_SPREAD)
    fs.filp_cachep = account_cache("filp", FILP_SIZE, SLAB_HWCACHE_ALIGN, cython.NULL)
    fs.cred_jar = account_cache("cred_jar", CRED_SIZE, SLAB_HWCACHE_ALIGN, cython.NULL)
    fs.dentry_cache = account_cache("dentry", DENTRY_SIZE, cached, cython.NULL)
    fs.inode_cachep = account_cache("inode_cache", INODE_SIZE, cached, init_once)
    fs.ext4_inode_cachep = account_cache("ext4_inode_cache", EXT4_INODE_SIZE, cached, init_once)
    made: cython.bint = (
        fs.filp_cachep != cython.NULL
        and fs.cred_jar != cython.NULL
        and fs.dentry_cache != cython.NULL
        and fs.inode_cachep != cython.NULL
        and fs.ext4_inode_cachep != cython.NULL
    )
    return 0 if made else -ENOMEM


def take(cachep, slot):
    slot[0] = kmem_cache_alloc(cachep, GFP_KERNEL)
    return slot[0] != cython.NULL


def drop(cachep, slot):
    if slot[0] != cython.NULL:
        kmem_cache_free(cachep, slot[0])
        slot[0] = cython.NULL


def put_path(fs, f):
    drop(fs.ext4_inode_cachep, cython.address(f.ext4_inode))
    drop(fs.inode_cachep, cython.address(f.inode))
    drop(fs.dentry_cache, cython.address(f.dentry))


def sys_creat(fs, f):
    """open(O_CREAT) of a new file on ext4.

    All five caches are touched. That there are five follows from the 4.77 interrupts per memcg of the published run;
    filp, dentry and ext4_inode_cache are certain, cred_jar and inode_cache the likeliest others.
    """
    was = kernel_enter()
    done: cython.bint = (
        take(fs.cred_jar, cython.address(f.f_cred))
        and take(fs.filp_cachep, cython.address(f.filp))
        and take(fs.dentry_cache, cython.address(f.dentry))
        and take(fs.inode_cachep, cython.address(f.inode))
        and take(fs.ext4_inode_cachep, cython.address(f.ext4_inode))
    )
    kernel_exit(was)
    return 0 if done else -ENOMEM


def sys_open_control(fs, f):
    """open() of a control file: kernfs makes a dentry and an inode for it."""
    was = kernel_enter()
    done: cython.bint = (
        take(fs.filp_cachep, cython.address(f.filp))
        and take(fs.dentry_cache, cython.address(f.dentry))
        and take(fs.inode_cachep, cython.address(f.inode))
    )
    kernel_exit(was)
    return 0 if done else -ENOMEM


def write_control(memcg, cft, value, t):
    if cft == CFT_PROCS:
        cgroup_attach_task(memcg, t)
        return 0
    if memcg == cython.NULL:
        return -EINVAL  # the root has no limits
    if cft == CFT_LIMIT:
        return mem_cgroup_write_limit(memcg, value)
    return mem_cgroup_write_kmem_limit(memcg, value)


def sys_write_control(memcg, cft, value, t):
    was = kernel_enter()
    error = write_control(memcg, cft, value, t)
    kernel_exit(was)
    return error


def sys_close(fs, f):
    was = kernel_enter()
    drop(fs.filp_cachep, cython.address(f.filp))
    drop(fs.cred_jar, cython.address(f.f_cred))
    kernel_exit(was)


def sys_unlink(fs, f):
    """Also what becomes of a control file's path when nobody uses it any more."""
    was = kernel_enter()
    put_path(fs, f)
    kernel_exit(was)


def sys_mkdir(fs, name):
    """A new memcg. Its directory's dentry and inode are charged to the memcg that the caller is in."""
    f: file
    f.dentry = cython.NULL
    f.inode = cython.NULL
    f.ext4_inode = cython.NULL
    was = kernel_enter()
    memcg = cython.cast(cython.pointer(mem_cgroup), cython.NULL)
    if take(fs.dentry_cache, cython.address(f.dentry)) and take(fs.inode_cachep, cython.address(f.inode)):
        memcg = cgroup_mkdir(name)
    put_path(fs, cython.address(f))
    kernel_exit(was)
    return memcg


def sys_rmdir(memcg):
    was = kernel_enter()
    error = cgroup_rmdir(memcg)
    kernel_exit(was)
    return error
