"""The segment: the memory of the emulated machine.

Address space is reserved once, at one fixed low address, so that the header, the switches and the CPU structs are
plain absolute loads in every process, and raw pointers may be stored. It is backed in steps of 16 MiB by whoever needs
more, with fallocate, so that running out is an error here and never a SIGBUS later.

Above the header lie the metadata heap (kmem_cache, array caches, work items), the array of struct page, and the page
frames. The heap is segregated by size, first freed last, and fills what is freed with 0x6b.
"""

import os

import cython
from cython.cimports.ipc.atomic import atomic_fetch_add, cmpxchg, smp_store_release, spin_pause
from cython.cimports.ipc.host import reserve
from cython.cimports.ipc.processor import COORDINATOR, PRIVATE_PAGE, private, processor_of, this_processor
from cython.cimports.libc.string import memcpy, memset
from cython.cimports.posix.mman import (
    MAP_ANONYMOUS,
    MAP_FAILED,
    MAP_PRIVATE,
    MAP_SHARED,
    PROT_READ,
    PROT_WRITE,
    mmap,
    munmap,
)

if not cython.compiled:
    raise ImportError("ipc.memory is not built; run `make setup`")

HEAP_MAGIC = cython.declare(cython.uint, 0x48454150)
MAP_FIXED_NOREPLACE = cython.declare(cython.int, 0x100000)
MAP_NORESERVE = cython.declare(cython.int, 0x4000)


class SegmentError(Exception):
    """The segment could not be made; the text names the resource and its limit."""


def heap_class(size):
    """Class of a size: steps of one cache line up to 1 KiB, then four per doubling; its size is class_bytes()."""
    if size <= 1024:
        return (size - 1) >> 6 if size > 0 else 0
    shift = 10
    while (cython.cast(cython.long, 2) << shift) < size:
        shift += 1
    quarter = cython.cast(cython.long, 1) << (shift - 2)
    return 16 + 4 * (shift - 10) + (size - (cython.cast(cython.long, 1) << shift) - 1) // quarter


def class_bytes(index):
    if index < 16:
        return (index + 1) << 6
    shift = 10 + (index - 16) // 4
    quarter = cython.cast(cython.long, 1) << (shift - 2)
    return 4 * quarter + ((index - 16) % 4 + 1) * quarter


def lock_heap():
    """A bare spin lock: taken with interrupts off, held for some hundred cycles, and by no handler."""
    me = this_processor()
    was = me.irq_off
    me.irq_off = 1
    while cmpxchg(cython.address(segment().heap_lock), 0, me.id + 2) != 0:
        spin_pause()
    return was


def unlock_heap(was):
    smp_store_release(cython.address(segment().heap_lock), 0)
    this_processor().irq_off = was


def break_heap_lock(cpu):
    """The supervisor frees the heap of a CPU that died in it. Returns 1 if it did: the heap may be torn."""
    if cmpxchg(cython.address(segment().heap_lock), cpu + 2, 0) != cpu + 2:
        return 0
    segment().broken = 1
    return 1


def back(offset, length):
    """Back a range of the segment with host memory. 0, or -1 when the limit or the host's memory is reached.

    A signal makes fallocate undo its work, so signals are blocked meanwhile: at 250 ticks a second 16 MiB would
    never be finished.
    """
    h = segment()
    if atomic_fetch_add(cython.address(h.backed), length) + length > h.limit:
        atomic_fetch_add(cython.address(h.backed), -length)
        return -1
    everything: sigset_t
    old: sigset_t
    sigfillset(cython.address(everything))
    sigprocmask(SIG_BLOCK, cython.address(everything), cython.address(old))
    failed = reserve(h.fd, offset, length)
    sigprocmask(SIG_SETMASK, cython.address(old), cython.NULL)
    if failed:
        atomic_fetch_add(cython.address(h.backed), -length)
        return -1
    return 0


def grow_heap(size):
    """Called with the heap locked: make `size` more bytes available at heap_next."""
    h = segment()
    lacking = h.heap_next + size - h.heap_end
    if lacking > 0 and h.backed + (lacking + STEP - 1) // STEP * STEP > h.limit:
        return -1  # nothing is taken for what cannot fit
    while h.heap_next + size > h.heap_end:
        if h.heap_end + STEP > SEGMENT_BASE + (cython.cast(cython.long, MAP_OFFSET_GIB) << 30):
            return -1
        if back(h.heap_end - SEGMENT_BASE, STEP):
            return -1
        h.heap_end += STEP
    return 0


def heap_alloc(size):
    index = heap_class(size)
    if index >= HEAP_CLASSES:
        return cython.NULL
    whole = class_bytes(index) + CACHE_LINE
    h = segment()
    was = lock_heap()
    block = cython.cast(cython.pointer(heap_block), h.heap_free[index])
    fresh: cython.bint = block == cython.NULL
    if fresh:
        if grow_heap(whole):
            unlock_heap(was)
            return cython.NULL
        block = cython.cast(cython.pointer(heap_block), cython.cast(cython.ulong, h.heap_next))
        h.heap_next += whole
    else:
        h.heap_free[index] = block.next
    h.heap_used += whole
    block.magic = HEAP_MAGIC
    block.class_index = index
    block.size = size
    unlock_heap(was)
    body = cython.cast(cython.p_char, block) + CACHE_LINE
    if not fresh:
        memset(body, 0, size)
    return cython.cast(cython.p_void, body)


def heap_free(body):
    if body == cython.NULL:
        return
    block = cython.cast(cython.pointer(heap_block), cython.cast(cython.p_char, body) - CACHE_LINE)
    if block.magic != HEAP_MAGIC:
        segment().broken = 1
        return
    memset(body, POISON_FREE, block.size)
    h = segment()
    was = lock_heap()
    block.magic = 0
    block.next = h.heap_free[block.class_index]
    h.heap_free[block.class_index] = block
    h.heap_used -= class_bytes(block.class_index) + CACHE_LINE
    unlock_heap(was)


def heap_size(body):
    return cython.cast(cython.pointer(heap_block), cython.cast(cython.p_char, body) - CACHE_LINE).size


def back_map(last_byte):
    """Back the struct page array up to `last_byte` of it."""
    h = segment()
    failed = 0
    was = lock_heap()
    while h.map_end <= last_byte and failed == 0:
        failed = back((cython.cast(cython.long, MAP_OFFSET_GIB) << 30) + h.map_end, STEP)
        if failed == 0:
            h.map_end += STEP
    unlock_heap(was)
    return failed


def back_ram(pfn):
    """Back the 16 MiB of RAM that hold page frame `pfn`."""
    h = segment()
    step = pfn >> 12
    failed = 0
    was = lock_heap()
    if h.ram_backed[step] == 0:
        left = (h.ram_pages - (step << 12)) * PAGE_SIZE
        failed = back((cython.cast(cython.long, RAM_OFFSET_GIB) << 30) + step * STEP, STEP if left > STEP else left)
        if failed == 0:
            h.ram_backed[step] = 1
    unlock_heap(was)
    return failed


_fd: int = -1
_generation: int = 0


def _shared_file(size: int, needed: int) -> tuple[int, str]:
    """An anonymous shared file: posix_ipc, unlinked at once, or memfd where /dev/shm cannot hold `needed` bytes."""
    import posix_ipc

    try:
        room = os.statvfs("/dev/shm")
        roomy = room.f_bavail * room.f_frsize >= needed
    except OSError:
        roomy = False
    if roomy:
        name = f"/emu-{os.getpid()}-{os.urandom(16).hex()}"
        shm = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=0o600)
        shm.unlink()
        fd, where = shm.fd, "/dev/shm"
    else:
        fd, where = os.memfd_create("emu", os.MFD_CLOEXEC), "memfd"
    try:
        os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd, where


def create(max_bytes: int, ram_bytes: int, nr_cpus: int, nr_nodes: int) -> str:
    """Reserve and map the segment, and back its first step.

    max_bytes: the most host memory it may take. ram_bytes: emulated RAM, backed as it is used. Returns where the
    memory lives ("/dev/shm" or "memfd"). Raises SegmentError; then nothing is left behind.
    """
    global _fd, _generation
    if _fd >= 0:
        raise SegmentError("a machine is already running in this process; leave its `with` block first")
    size = cython.cast(cython.long, SEGMENT_GIB) << 30
    if ram_bytes > (cython.cast(cython.long, MAX_RAM_GIB) << 30):
        raise SegmentError(f"emulated RAM of {ram_bytes >> 20} MiB: at most {MAX_RAM_GIB << 10} MiB; lower --memory")
    try:
        fd, where = _shared_file(size, max_bytes)
    except OSError as error:
        raise SegmentError(f"shared memory cannot be made: {error.strerror}; see `emu doctor`") from error
    base = cython.cast(cython.p_void, cython.cast(cython.ulong, SEGMENT_BASE))
    got = mmap(base, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE, fd, 0)
    if got != base:
        if got != MAP_FAILED:
            munmap(got, size)
        os.close(fd)
        raise SegmentError(f"address {SEGMENT_BASE:#x} is taken or 64 GiB of address space are not allowed (ulimit -v)")
    own = cython.cast(cython.p_void, cython.cast(cython.ulong, PRIVATE_PAGE))
    got = mmap(own, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)
    if got != own:
        munmap(base, size)
        os.close(fd)
        raise SegmentError(f"address {PRIVATE_PAGE:#x} is taken")
    _fd = fd
    if reserve(fd, 0, STEP):
        destroy()
        raise SegmentError(f"no room for the first 16 MiB in {where}")
    _generation += 1
    h = segment()
    h.magic = SEGMENT_MAGIC
    h.version = SEGMENT_VERSION
    h.base = SEGMENT_BASE
    h.size = size
    h.backed = STEP
    h.limit = max_bytes
    h.generation = _generation
    h.nr_cpus = nr_cpus
    h.nr_nodes = nr_nodes
    h.ram_pages = ram_bytes // PAGE_SIZE
    h.fd = fd
    h.coordinator_pid = os.getpid()
    h.heap_next = SEGMENT_BASE + HEAP_OFFSET
    h.heap_end = h.heap_next
    for cpu in range(COORDINATOR, nr_cpus):
        processor_of(cpu).id = cpu
        processor_of(cpu).slot = -1
    private().this_processor = processor_of(COORDINATOR)
    return where


def destroy() -> None:
    """Unmap and forget the segment. Safe to call twice."""
    global _fd
    if _fd < 0:
        return
    munmap(cython.cast(cython.p_void, cython.cast(cython.ulong, PRIVATE_PAGE)), PAGE_SIZE)
    munmap(
        cython.cast(cython.p_void, cython.cast(cython.ulong, SEGMENT_BASE)),
        cython.cast(cython.long, SEGMENT_GIB) << 30,
    )
    os.close(_fd)
    _fd = -1


def descriptor() -> int:
    """File descriptor of the segment, or -1: what an observer maps."""
    return _fd


def set_switch(index: int, value: int) -> None:
    """Store one switch; before boot, or under stress."""
    if not 0 <= index < NR_SWITCHES or not 0 <= value < 256:
        raise ValueError(f"switch {index} = {value}: index 0..{NR_SWITCHES - 1}, value 0..255")
    cython.cast(cython.p_uchar, cython.cast(cython.ulong, SWITCH_PAGE))[index] = value


def set_clock(cycles_per_us: int) -> None:
    """Store the clock's calibration where every context and observer finds it."""
    segment().cycles_per_us = cycles_per_us


def set_name(name: bytes) -> None:
    """Store the machine's name for observers; what does not fit is cut off."""
    text: cython.p_char = name
    memcpy(segment().name, text, min(len(name), MACHINE_NAME - 1))


def usage() -> dict:
    """Bytes backed, their limit, and bytes of the metadata heap in use."""
    h = segment()
    return {"backed": h.backed, "limit": h.limit, "heap_used": h.heap_used, "heap_end": h.heap_end}


def test_heap_alloc(size: int) -> int:
    """For tests: the address of a new block, or 0."""
    return cython.cast(cython.ulong, heap_alloc(size))


def test_heap_free(address: int) -> None:
    """For tests: give a block back."""
    heap_free(cython.cast(cython.p_void, cython.cast(cython.ulong, address)))
