# Boot, body runs and death of CPU processes.
from ipc.interrupt cimport INTERRUPT_SIGNAL, TIMER_SIGNAL
from ipc.processor cimport processor
from cpus.cpu cimport cpu

cdef extern from * nogil:
    """
    #include <signal.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <sys/prctl.h>
    #include <unistd.h>
    static inline void emu_tie_to_parent(int parent)
    {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(0);
        setpgid(0, 0);
    }
    static inline void emu_name(long id)
    { char name[16]; snprintf(name, sizeof name, "emu/cpu%ld", id); prctl(PR_SET_NAME, name); }
    /* A CPU ends when its coordinator says so or dies; the terminal's signals are the coordinator's. */
    static inline void emu_plain_signals(void)
    {
        signal(SIGINT, SIG_IGN); signal(SIGHUP, SIG_IGN); signal(SIGTSTP, SIG_IGN);
        signal(SIGTERM, SIG_DFL); signal(SIGPIPE, SIG_DFL);
        /* The coordinator holds signals back while it forks; only interrupts and ticks stay so, until we are ready. */
        sigset_t all;
        sigfillset(&all);
        sigdelset(&all, EMU_SIGNAL());
        sigdelset(&all, EMU_TIMER_SIGNAL());
        sigprocmask(SIG_UNBLOCK, &all, 0);
    }
    """
    void tie_to_parent "emu_tie_to_parent"(int parent)
    void name_process "emu_name"(long id)
    void plain_signals "emu_plain_signals"()
    int fork()
    void _exit(int status)

cdef extern from "Python.h":
    void PyOS_BeforeFork()
    void PyOS_AfterFork_Parent()
    void PyOS_AfterFork_Child()

cdef void become_cpu(long id, int parent, bint pin, bint queue) noexcept nogil
cdef void take_off_line(long id) noexcept nogil
cdef void leave(cpu *c) noexcept nogil
cdef void reply(cpu *c, const char *text, long length) noexcept nogil
