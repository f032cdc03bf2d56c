# A storm of messages and mapped pages: pairs of senders and receivers, as hackbench has them, on every CPU.
from ipc.atomic cimport vlong
from ipc.memory cimport segment
from ipc.processor cimport MAX_CPUS
from cpus.cpu cimport AREA_WORKLOAD, cpu, task
from cpus.mmzone cimport oom_task

cdef enum:
    PHASE_CALM = 0                # the working sets fit into memory
    PHASE_PRESSURE = 1            # they do not: everybody reclaims
    PHASE_EXHAUST = 2             # nobody receives any more: what cannot be reclaimed fills memory
    PHASE_STOP = 3                # everybody gives everything back

    BURST = 8                     # messages, or mapped pages, in one step
    SAMPLE_EVERY = 32             # steps of a task between two looks at all CPUs' lists
    MESSAGE_BYTES = 100           # hackbench's DATASIZE
    SKB_BYTES = 512
    SOCKET_MESSAGES = 16          # on their way at most, before the receiver has to run; until memory is to be exhausted

# A message on its way; lies in its own slab object.
cdef struct message:
    message *next
    void *skb
    void *data                    # struct page

cdef struct pair:
    task sender
    task receiver
    oom_task *oom                 # of the sender, who answers for what both hold
    void *inbox                   # struct message, newest first
    vlong in_flight               # messages sent and not received
    long mapped                   # words of `slots` that are used: the working set
    long at                       # next one
    void **slots
    long sent
    long received
    long faults                   # pages mapped
    long failed                   # requests that found no memory
    long failed_with_pages        # of those: while pages lay on CPUs' lists
    long victim_cycles            # from being killed to having given everything back
    long steps

# In the segment, area[AREA_WORKLOAD].
cdef struct storm:
    vlong phase
    vlong running                 # tasks that have not ended
    long nr_pairs
    long calm_pages               # of each working set
    long pressure_pages
    long samples[2][MAX_CPUS + 1] # in the first two phases: looks that found so many CPUs with pages
    pair *pairs

cdef inline storm *the_storm() noexcept nogil:
    return <storm *>segment().area[AREA_WORKLOAD]

# Mailed to a CPU.
cdef long set_up(long *args) noexcept nogil       # pairs, pages of a working set: calm, under pressure; 0 or -ENOMEM
cdef long start(long *args) noexcept nogil
cdef long set_phase(long *args) noexcept nogil

cdef long send_step(cpu *c, task *t) noexcept nogil
cdef long receive_step(cpu *c, task *t) noexcept nogil
cdef bint send_one(pair *p) noexcept nogil
cdef void receive_all(pair *p) noexcept nogil
cdef void free_message(message *m) noexcept nogil
cdef bint fault_one(pair *p, long pages) noexcept nogil
cdef void give_back(pair *p) noexcept nogil
cdef void note_failure(pair *p) noexcept nogil
cdef void sample(storm *s, pair *p) noexcept nogil
cdef long count_holders() noexcept nogil
cdef pair *pair_of(task *t) noexcept nogil
