# The compact form of a trace: one stream of 16-byte records per emulated CPU, in chunks of one file.
#
# What happens to an object happens to its slot. `seq` is the number of the operation on that slot, counted from 0, so
# the operations on a slot have one order, over all CPUs: that of the trace. A slot is used again when its object is
# freed, by the CPU that freed it first of all: then nobody has to wait for another CPU for it.

cdef enum:
    OP_ALLOC = 0
    OP_FREE = 1                   # kmem_cache_free
    OP_KFREE = 2
    OP_KFREE_NULL = 3             # no slot
    OP_IMPLIED = 4                # a free that was not traced, made up before its memory is handed out again
    OP_END = 5                    # frees what lives at the end; only if the trace is replayed once more
    OP_PAGE_ALLOC = 6
    OP_PAGE_FREE = 7
    OP_PAGE_IMPLIED = 8
    OP_PAGE_END = 9
    NR_OPS = 10

    # record.what: operation, gfp, kind of object (or order of the pages), memcg.
    OP_MASK = 15
    GFP_SHIFT = 4
    KIND_SHIFT = 6
    KIND_MASK = 1023
    MEMCG_SHIFT = 16
    MAX_MEMCGS = 65535            # 0 is none

    KMALLOC_KINDS = 24            # kinds below are kmalloc: 1 is 96 bytes, 2 is 192, n is 1 << n
    MAX_KINDS = 1024

    CHUNK_BYTES = 16384
    CHUNK_RECORDS = 1023
    NO_SLOT = 0xffffffff
    OWN_SLOTS = 256               # freed slots that a CPU keeps for itself

cdef struct record:
    unsigned int slot
    unsigned int seq
    unsigned int what
    unsigned int wait_us          # since the stream's record before

cdef struct chunk:
    long next                     # where the stream goes on in the file, or 0
    int count
    int stream
    record records[CHUNK_RECORDS]

cdef struct slot_info:
    unsigned int seq              # of its next operation
    unsigned int next             # free: the next free slot
    unsigned short kind
    unsigned short cpu            # of the allocation
    unsigned char live
    unsigned char is_page

# A list of free slots: a stack, or, taken from the other end, a queue.
cdef struct slot_list:
    unsigned int first
    unsigned int last
    unsigned int count

cdef struct stream:
    chunk *buffer                 # NULL: not begun
    long at                       # where the buffer belongs in the file
    long first                    # where the stream begins
    long time_us                  # of the last record
    long records
    slot_list own

cdef struct stream_set:
    int fd
    int failed                    # errno of a write; -1: no memory
    int count
    long file_end
    stream *streams
    slot_info *slots
    unsigned int nr_slots
    unsigned int slots_size
    slot_list idle                # oldest first

cdef bint streams_init(stream_set *s, int fd, int count) noexcept nogil
cdef void streams_free(stream_set *s) noexcept nogil
cdef void put_record(stream_set *s, int cpu, long time_us, unsigned int slot, unsigned int what) noexcept nogil
cdef unsigned int take_slot(stream_set *s, int cpu, int kind, bint is_page) noexcept nogil    # NO_SLOT: no memory
cdef void drop_slot(stream_set *s, int cpu, unsigned int slot) noexcept nogil
cdef void end_streams(stream_set *s, long time_us) noexcept nogil

cdef bint begin_stream(stream_set *s, stream *one, int cpu) noexcept nogil
cdef void write_chunk(stream_set *s, stream *one, bint more) noexcept nogil
cdef void push_slot(stream_set *s, slot_list *list, unsigned int slot, bint in_front) noexcept nogil
cdef unsigned int pop_slot(stream_set *s, slot_list *list) noexcept nogil
cdef unsigned int new_slot(stream_set *s) noexcept nogil
