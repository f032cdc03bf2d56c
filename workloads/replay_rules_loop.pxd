# Trace text in, streams of records out: the rules of replay, applied line by line in constant memory.
#
# Memory: a chunk per emulated CPU, and what lives at one time (48 bytes an object); nothing grows with the trace.
from workloads.replay_stream_loop cimport MAX_KINDS, stream_set
from workloads.replay_table_loop cimport table
from workloads.replay_text_loop cimport trace_event

cdef enum:
    CARRY_BYTES = 65536           # longest line
    EXCERPT = 60
    PATIENCE = 1000               # lines that are no trace before the first that is
    CPU_WORDS = 1024
    FNV_PRIME = 16777619
    BACKWARDS_NS = 1000000        # per-CPU buffers are merged to within less

    # state.problem, above those of a line
    PROBLEM_BINARY = 16
    PROBLEM_LONG_LINE = 17
    PROBLEM_NO_TRACE = 18
    PROBLEM_KINDS = 19
    PROBLEM_MEMCGS = 20
    PROBLEM_WRITE = 21

cdef struct kind_info:
    char name[64]                 # empty for kmalloc
    long size
    long allocs
    long live
    long peak

cdef struct trace_counts:
    long lines
    long events                   # that act
    long other_events
    long unknown_lines
    long allocs
    long matched_frees
    long unmatched_frees
    long null_frees
    long implied_frees
    long null_allocs
    long other_cache_frees        # kmem_cache_free with another cache's name than the allocation had
    long accounted
    long page_allocs
    long matched_page_frees
    long unmatched_page_frees
    long implied_page_frees
    long null_page_allocs
    long other_order_frees
    long live
    long live_pages               # blocks of pages
    long live_bytes               # of both
    long peak_bytes
    long peak_page_bytes
    long page_bytes
    long cross_cpu_frees
    long lost_markers
    long lost_events
    long overwritten
    long backwards
    long truncated

cdef struct parser_state:
    stream_set streams
    table objects                 # pointer -> slot
    table pages                   # page frame -> slot
    table tasks                   # thread -> order of appearance
    table memcgs                  # thread -> memcg
    table names                   # hash of name and size -> kind
    kind_info *kinds
    int nr_kinds
    int by_task                   # threads are dealt to the CPUs, instead of the trace's CPUs
    int memcg_per_task
    int nr_memcgs
    int problem
    int header_cpus               # the trace's own, if it says so
    long first_ns                 # -1: no event yet
    long last_ns
    long carried                  # bytes of it
    long first_unknown            # number of the line
    trace_counts counts
    unsigned long seen_cpus[CPU_WORDS]
    char excerpt[EXCERPT]
    int excerpt_length
    char kept[CARRY_BYTES]        # of a line that has only begun

cdef bint feed_block(parser_state *s, const char *p, const char *end) noexcept nogil      # false: state.problem
cdef bint parse_block(parser_state *s, const char *p, const char *end) noexcept nogil     # whole lines
cdef bint carry(parser_state *s, const char *p, const char *end) noexcept nogil
cdef bint parse_line(parser_state *s, const char *p, const char *end) noexcept nogil
cdef bint apply_event(parser_state *s, trace_event *e) noexcept nogil
cdef int stream_of(parser_state *s, trace_event *e) noexcept nogil
cdef unsigned int memcg_of(parser_state *s, trace_event *e) noexcept nogil
cdef unsigned int number_in(table *t, unsigned long key, unsigned int next) noexcept nogil
cdef int kind_of(parser_state *s, trace_event *e) noexcept nogil
cdef int kmalloc_kind(long size) noexcept nogil
cdef void on_alloc(parser_state *s, trace_event *e, int cpu, long time_us) noexcept nogil
cdef void on_free(parser_state *s, trace_event *e, int cpu, long time_us) noexcept nogil
cdef void on_page_alloc(parser_state *s, trace_event *e, int cpu, long time_us) noexcept nogil
cdef void on_page_free(parser_state *s, trace_event *e, int cpu, long time_us) noexcept nogil
cdef void free_object(parser_state *s, unsigned int slot, int cpu, long time_us, unsigned int op) noexcept nogil
cdef void free_page_block(parser_state *s, unsigned int slot, int cpu, long time_us, unsigned int op) noexcept nogil
cdef void count_bytes(parser_state *s, long bytes, bint pages) noexcept nogil
cdef void note_comment(parser_state *s, const char *p, const char *end) noexcept nogil
cdef bint note_unknown(parser_state *s, const char *p, const char *end) noexcept nogil
cdef void keep_excerpt(parser_state *s, const char *p, const char *end) noexcept nogil
