# The parser as a Python object. Its state is memory of this process.
from workloads.replay_rules_loop cimport parser_state

cdef class TraceParser:
    cdef parser_state *state
