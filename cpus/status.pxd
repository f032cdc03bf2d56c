# Numbers of single CPUs for Python: reports of stuck and dead CPUs, and the counters that a run prints.
from cpus.cpu cimport cpu
from ipc.histogram cimport histogram

cdef add_histogram(histogram *h, dict into)
