# The segment: one shared map, at one fixed address in every process of the machine.
#
# Which address: below 2 GiB, so that header and switches are absolute loads. A Python that is no position-independent
# executable (Debian's and Ubuntu's) lies at 4 MiB, and its heap begins up to 1 GiB behind it, at random since Linux 6.9:
# 0x20000000 was taken in one start of two. From 0x70000000 down, that heap has 750 MiB to grow in.
from ipc.atomic cimport vlong, vint
from ipc.cpumask cimport cpumask

cdef enum:
    SEGMENT_BASE = 0x70000000             # header; the switches one page on; CPU structs at CPU_AREA
    SWITCH_PAGE = 0x70001000
    NR_SWITCHES = 128
    SEGMENT_MAGIC = 0x55434d45            # "EMCU"
    SEGMENT_VERSION = 1
    STEP = 16777216                       # memory is backed in steps of 16 MiB
    HEAP_OFFSET = 16777216
    MAP_OFFSET_GIB = 24                   # struct page array
    RAM_OFFSET_GIB = 32                   # page frames
    SEGMENT_GIB = 64
    MACHINE_NAME = 32
    PAGE_SHIFT = 12
    PAGE_SIZE = 4096
    MAX_RAM_GIB = 31
    HEAP_CLASSES = 112
    POISON_FREE = 0x6b
    CACHE_LINE = 64

# What an observer needs to find its way, and what the hardware must know before the kernel runs.
cdef struct segment_header:
    unsigned int magic
    unsigned int version
    long base
    long size
    vlong backed                          # bytes backed by the host so far
    long limit                            # --max-segment
    long cycles_per_us
    long generation                       # of the machine, in this coordinator
    long nr_cpus                          # possible CPUs
    long nr_nodes
    long ram_pages
    int fd
    int coordinator_pid
    vint shutting_down
    vlong ready                           # CPUs that have booted
    vint broken                           # a lock died with its owner in the middle of something
    long boot_cycles
    long boot_time_ns                     # CLOCK_REALTIME
    cpumask online
    cpumask dead
    vlong heap_lock
    vlong heap_next                       # bump pointer
    vlong heap_end                        # backed up to here
    vlong heap_used                       # bytes handed out and not returned
    void *heap_free[HEAP_CLASSES]
    vlong map_end                         # struct page array backed up to here
    unsigned char ram_backed[2048]        # one byte per 16 MiB of RAM
    long area[16]                         # other floors' roots: see cpus.cpu (AREA_*)
    char name[MACHINE_NAME]               # what an observer finds it by; ends with a zero

# Before every block of the metadata heap, in a cache line of its own.
cdef struct heap_block:
    unsigned int magic
    unsigned int class_index
    long size
    void *next
    long _pad[5]

cdef inline segment_header *segment() noexcept nogil:
    return <segment_header *><unsigned long>SEGMENT_BASE

cdef inline long ram_base() noexcept nogil:
    return SEGMENT_BASE + (<long>RAM_OFFSET_GIB << 30)

cdef inline long map_base() noexcept nogil:
    return SEGMENT_BASE + (<long>MAP_OFFSET_GIB << 30)

cdef inline bint switch_on(int index) noexcept nogil:
    """The value of a switch is not zero: one absolute byte load."""
    return (<unsigned char *><unsigned long>SWITCH_PAGE)[index] != 0

cdef inline int switch_value(int index) noexcept nogil:
    return (<unsigned char *><unsigned long>SWITCH_PAGE)[index]

cdef void *heap_alloc(long size) noexcept nogil          # zeroed, cache-line aligned; NULL when memory is out
cdef void heap_free(void *block) noexcept nogil
cdef long heap_size(void *block) noexcept nogil          # as asked for
cdef int break_heap_lock(long cpu) noexcept nogil
cdef int back_map(long last_byte) noexcept nogil         # 0, or -1 when the limit is reached
cdef int back_ram(long pfn) noexcept nogil

cdef extern from "signal.h" nogil:
    ctypedef struct sigset_t:
        pass
    int SIG_BLOCK, SIG_SETMASK
    int sigfillset(sigset_t *s)
    int sigprocmask(int how, const sigset_t *s, sigset_t *old)

cdef long heap_class(long size) noexcept nogil
cdef long class_bytes(long index) noexcept nogil
cdef int lock_heap() noexcept nogil
cdef void unlock_heap(int was) noexcept nogil
cdef int back(long offset, long length) noexcept nogil
cdef int grow_heap(long size) noexcept nogil
