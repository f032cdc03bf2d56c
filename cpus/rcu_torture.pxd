# Grace periods under load, in rcutorture's manner, for tests: objects that age by grace periods, readers that look.
from ipc.atomic cimport vlong
from cpus.cpu cimport cpu, task
from cpus.rcu_types cimport rcu_head

cdef enum:
    PIPE_LEN = 10
    ELEMENTS = 512
    SECTIONS = 200                # of a reader's step

    # How the writer waits before an object that was replaced grows older.
    BY_CALLBACK = 0
    BY_SYNC = 1
    BY_EXPEDITED = 2
    BY_NOTHING = 3                # planted

cdef struct torture_element:
    rcu_head head
    vlong age                     # 0: in place; 1: replaced; then one more per grace period
    vlong used
    torture_state *owner
    long _pad[2]

cdef struct torture_state:
    vlong current
    vlong stop
    vlong running
    vlong updates
    vlong empty                   # updates that found no element: such a test tests less
    vlong sections
    long how
    long wanted                   # sections in all
    vlong seen[PIPE_LEN + 1]      # sections that ended with an object of this age
    task tasks[64]
    torture_element element[ELEMENTS]

cdef long start_reader(long *args) noexcept nogil      # state, kind of section: 0 irqs off, 1 preemption off
cdef long start_writer(long *args) noexcept nogil      # state
cdef long read_step(cpu *c, task *t) noexcept nogil
cdef long write_step(cpu *c, task *t) noexcept nogil
cdef long take_element(torture_state *s) noexcept nogil
cdef void grow_older(torture_element *e) noexcept nogil
cdef void age_callback(rcu_head *head) noexcept nogil
cdef void begin(torture_state *s, task *t, long (*step)(cpu *c, task *t) noexcept nogil) noexcept nogil
