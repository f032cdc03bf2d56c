# mm/oom_kill.c: who is asked to give all its memory back when no page is left and none can be reclaimed.
from cpus.mmzone cimport oom_task

cdef oom_task *oom_task_add() noexcept nogil          # NULL: there are too many
cdef void oom_task_exit(oom_task *task) noexcept nogil         # it has given everything back
cdef bint out_of_memory() noexcept nogil              # True: somebody is about to give memory back
cdef oom_task *select_bad_process() noexcept nogil
