# Programs, slots, work items and readers for the tests of the machine.
from ipc.atomic cimport read_once, vlong, write_once
from ipc.cpumask cimport cpumask
from ipc.gate cimport gate
from cpus.cpu cimport cpu, task
from cpus.rcu_types cimport rcu_head
from cpus.workqueue cimport work_struct, workqueue_struct
from cpus.selftest cimport run_log

# Work of a task in user mode.
cdef enum:
    TASK_STOP = 0                 # indices into task.arg: word that ends it
    TASK_SPIN_US = 1              # computes so long per step
    TASK_WITHOUT_SLOT = 2         # steps that began without a slot

cdef long user_step(cpu *c, task *t) noexcept nogil
cdef long start_task(long *args) noexcept nogil
cdef long sample_slots(long *args) noexcept nogil
cdef void work_log(work_struct *work) noexcept nogil
cdef long wq_new(long *args) noexcept nogil
cdef long wq_queue(long *args) noexcept nogil
cdef long wq_flush(long *args) noexcept nogil
cdef long reader(long *args) noexcept nogil
cdef long grace_period(long *args) noexcept nogil
cdef long rcu_barrier(long *args) noexcept nogil
cdef void note_callback(rcu_head *head) noexcept nogil
cdef long queue_callbacks(long *args) noexcept nogil
cdef long rcu_read_loop(long *args) noexcept nogil
cdef long rcu_update_loop(long *args) noexcept nogil
cdef long trace_events(long *args) noexcept nogil
