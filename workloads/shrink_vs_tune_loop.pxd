# The loops of shrink-vs-tune: who writes to slabinfo, who shrinks, who allocates and frees.
from ipc.atomic cimport vlong
from ipc.memory cimport segment
from cpus.cpu cimport AREA_WORKLOAD
from cpus.slab_def cimport kmem_cache

cdef enum:
    OBJECTS = 160                 # what the tuner allocates and frees to fill the shared array: more than an array holds
    LINE = 64

# In the segment, area[AREA_WORKLOAD].
cdef struct race_state:
    kmem_cache *cache
    vlong shrinks
    vlong tunes
    vlong failed                  # writes that were refused
    vlong stop
    long begun                    # cycles
    long keep_going               # do not end at the first report

cdef inline race_state *the_race() noexcept nogil:
    return <race_state *>segment().area[AREA_WORKLOAD]

# Mailed to all CPUs: for how many microseconds, turn. 0.
cdef long race(long *args) noexcept nogil

cdef bint go_on(race_state *r, long until) noexcept nogil
cdef void fill(race_state *r) noexcept nogil
cdef void tune(race_state *r, long turn) noexcept nogil
