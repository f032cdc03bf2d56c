# Setting up of a replay in the segment, and reading of what it did; called by the coordinator from Python.
from ipc.histogram cimport histogram
from workloads.replay_loop cimport replay, replay_cpu

cdef replay_cpu *make_cpu(replay *r, long id, long first) noexcept nogil
