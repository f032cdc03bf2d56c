# The face of a CPU inside a Python body.
cdef class BodyCpu:
    cdef readonly long id
