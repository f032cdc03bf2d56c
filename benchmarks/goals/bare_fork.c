/* The least that a boot can be: fork n processes that say that they are there and park. Called by boot_child.py. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

long bare_fork_ns(int n)
{
	atomic_int *left = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t *pid = calloc(n, sizeof *pid);
	long start = now(), end;
	int forked = 0, seen;

	*left = n;
	for (; forked < n; forked++) {
		pid[forked] = fork();
		if (pid[forked] < 0) break;
		if (pid[forked] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (atomic_fetch_sub(left, 1) == 1) syscall(SYS_futex, left, FUTEX_WAKE, 1, NULL, NULL, 0);
			for (;;) pause();
		}
	}
	while (forked == n && (seen = *left)) syscall(SYS_futex, left, FUTEX_WAIT, seen, NULL, NULL, 0); /* a change of it: EAGAIN */
	end = now();
	for (int i = 0; i < forked; i++) kill(pid[i], SIGKILL);
	for (int i = 0; i < forked; i++) waitpid(pid[i], NULL, 0);
	free(pid);
	munmap(left, 4096);
	return forked == n ? end - start : -1;
}
