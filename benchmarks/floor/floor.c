/* The C floor: how fast one process can interrupt others on this host, in plain C. The emulator is compared with it.
 *   floor MODE [NUMBER...] [spin|futex] [rounds=R] [gap_us=G] [budget_ms=B]    one measurement, one line of JSON
 *   floor serve                                                                requests on stdin, one a line
 * The server keeps the targets of its last request if they sleep, so that blocks of the floor can alternate with blocks
 * of another program; busy targets live as long as their request. SIGALRM ends a program that hangs, and no target
 * outlives it. A time ends when the sender sees the last ack, before it gives anything back; that of a broadcast ends
 * at the last ack itself, and seen_* is the sender's view. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <malloc.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LINE _Alignas(128) /* a cache line and the neighbour that the prefetcher brings with it */
enum { MAX_TARGETS = 1024, MAX_ROUNDS = 100000, MAX_DEPTH = 65536, MALLOC_PAIRS = 50000, SLEEPER = 1 << 30 };
enum boost { PLAIN, RAISING, RAISED, FINISHED_FIRST };
static struct {
	LINE atomic_int unacked;        /* targets that have not acked, and the SLEEPER bit */
	LINE _Atomic uint64_t last_ack; /* its time, if the sender slept */
	LINE atomic_int bell;           /* changes at each ring of targets that watch a word */
	struct { LINE atomic_int state; } boost[MAX_TARGETS];
	uint64_t first[MAX_ROUNDS], second[MAX_ROUNDS]; /* samples; here, so that fork copies none of them */
} *shared;
struct mode {
	const char *name, *second; /* second: what the second series of samples is called */
	long n, rounds, warm_up, gap_us;
	void (*once)(long round), (*ring)(int target), (*wait)(void), (*handler)(int signal);
};
static struct { const struct mode *mode; long size, n, rounds, gap_us, budget_ms; bool spin; const char *error; } rq;
static struct { const struct mode *mode; int n; pid_t pid[MAX_TARGETS]; mqd_t queue[MAX_TARGETS]; } pool;
static cpu_set_t core[CPU_SETSIZE]; /* one mask for each allowed core */
static int cores, me, heard;        /* a target's index, and the bell as it last heard it */
static double ticks_per_ns;
static char message[8];
static const sigset_t nothing;
static const struct timespec no_wait;
static const struct sched_param ordinary = { 0 }, raised = { 1 }, sender = { 2 };

static double raw_ns(void) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}
#ifdef __x86_64__
static uint64_t ticks(void) { return __builtin_ia32_rdtscp(&(unsigned int){ 0 }); }
#else
static uint64_t ticks(void) { return raw_ns(); }
#endif
static long futex(atomic_int *word, int op, int value) { return syscall(SYS_futex, word, op, value, NULL, NULL, 0); }

/* ---- the ack: the last one wakes the sender, only if it has said that it sleeps ---- */
static void ack(void) {
	if (atomic_fetch_sub(&shared->unacked, 1) != SLEEPER + 1) return;
	shared->last_ack = ticks();
	futex(&shared->unacked, FUTEX_WAKE, 1);
}
static void sleep_until_acked(void) {
	for (int left; (left = shared->unacked) & ~SLEEPER;)
		if (left & SLEEPER) futex(&shared->unacked, FUTEX_WAIT, left);
		else atomic_compare_exchange_strong(&shared->unacked, &left, left | SLEEPER);
}

/* ---- signal handlers of the targets ---- */
static void on_signal(int signal) { ack(); }
static void on_queue(int signal) { /* armed again before the drain: a message that comes later must notify */
	mq_notify(pool.queue[me], &(struct sigevent){ .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN });
	while (mq_timedreceive(pool.queue[me], message, sizeof message, NULL, &no_wait) >= 0) ack();
}
static void on_boosted(int signal) {
	atomic_int *state = &shared->boost[me].state;
	ack();
	if (*state == PLAIN || atomic_compare_exchange_strong(state, &(int){ RAISING }, FINISHED_FIRST)) return;
	*state = PLAIN; /* before the call, which may switch away at once */
	sched_setscheduler(0, SCHED_OTHER, &ordinary);
}

/* ---- how targets wait for the next ring ---- */
static void run_busy(void) { __asm__ volatile(""); }
static void park(void) { sigsuspend(&nothing); } /* a signal that comes outside of it stays pending: none is lost */
static void park_on_queue(void) {
	if (mq_receive(pool.queue[me], message, sizeof message, NULL) >= 0) ack();
}
static void park_on_bell(void) {
	while (shared->bell == heard) futex(&shared->bell, FUTEX_WAIT, heard);
	heard++;
	ack();
}
static void poll_bell(void) {
	while (atomic_load_explicit(&shared->bell, memory_order_acquire) == heard) {}
	atomic_store_explicit(&shared->unacked, 0, memory_order_release);
	heard++;
}

/* ---- how the sender rings target i ---- */
static void ring_signal(int i) { syscall(SYS_tgkill, pool.pid[i], pool.pid[i], SIGRTMIN); }
static void ring_queue(int i) { mq_timedsend(pool.queue[i], message, sizeof message, 0, &no_wait); }
static void ring_bell(int i) { shared->bell++; }
static void ring_sleepers(int i) {
	if (i == 0) ring_bell(0);
	if (i == 0) futex(&shared->bell, FUTEX_WAKE, MAX_TARGETS); /* one call wakes them all */
}
/* Raising races with lowering: who comes second undoes the raise, else a busy loop keeps SCHED_FIFO for ever. */
static void ring_boosted(int i) {
	atomic_int *state = &shared->boost[i].state;
	bool raise = atomic_compare_exchange_strong(state, &(int){ PLAIN }, RAISING);
	ring_signal(i);
	if (raise) sched_setscheduler(pool.pid[i], SCHED_FIFO, &raised);
	if (!raise || atomic_compare_exchange_strong(state, &(int){ RAISING }, RAISED)) return;
	sched_setscheduler(pool.pid[i], SCHED_OTHER, &ordinary);
	*state = PLAIN;
}

/* ---- one round of each mode ---- */
static void fill_pool(void), drop_pool(void);
static void rung(long round) {
	shared->unacked = rq.n;
	uint64_t start = ticks();
	for (int i = 0; i < rq.n; i++) rq.mode->ring(i);
	while (rq.spin && atomic_load_explicit(&shared->unacked, memory_order_acquire)) {}
	sleep_until_acked();
	uint64_t seen = ticks(), acked = shared->last_ack; /* an old stamp: the sender had no need to sleep */
	shared->first[round] = (rq.mode->second && acked > start ? acked : seen) - start;
	shared->second[round] = seen - start;
}
static void forked(long round) {
	drop_pool(); /* another request's */
	uint64_t start = ticks();
	fill_pool();
	shared->first[round] = ticks() - start;
	drop_pool();
	shared->second[round] = ticks() - start - shared->first[round];
}
static void allocated(long round) { /* ticks of 1000 pairs */
	static void *object[MAX_DEPTH];
	long repeats = 1 + MALLOC_PAIRS / rq.n;
	mallopt(M_TRIM_THRESHOLD, 1 << 30); /* page faults are no part of the pair */
	uint64_t start = ticks();
	for (long repeat = 0; repeat < repeats; repeat++) {
		for (int i = 0; i < rq.n; i++) {
			object[i] = malloc(rq.size);
			__asm__ volatile("" : : "r"(object[i]) : "memory"); /* or gcc drops the pair */
		}
		for (int i = 0; i < rq.n; i++) free(object[i]);
	}
	shared->first[round] = (ticks() - start) * 1000 / (repeats * rq.n);
}
static void fenced(long round) {
	uint64_t start = ticks();
	if (syscall(SYS_membarrier, rq.mode->wait ? MEMBARRIER_CMD_GLOBAL_EXPEDITED : MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
		rq.error = "the kernel refuses membarrier";
	shared->first[round] = ticks() - start;
}
static const struct mode modes[] = { /* n is 0 where it is an operand */
	{ "single-busy", NULL, 1, 2000, 200, 0, rung, ring_signal, run_busy, on_signal },
	{ "single-mq", NULL, 1, 2000, 200, 0, rung, ring_queue, run_busy, on_queue },
	{ "single-parked", NULL, 1, 2000, 200, 20, rung, ring_signal, park, on_signal },
	{ "single-futex", NULL, 1, 2000, 200, 20, rung, ring_sleepers, park_on_bell },
	{ "poll", NULL, 1, 10000, 200, 0, rung, ring_bell, poll_bell },
	{ "broadcast-parked", "seen_", 0, 100, 20, 2000, rung, ring_signal, park, on_signal },
	{ "broadcast-mq", "seen_", 0, 100, 20, 2000, rung, ring_queue, park_on_queue },
	{ "broadcast-futex", "seen_", 0, 100, 20, 2000, rung, ring_sleepers, park_on_bell },
	{ "broadcast-boosted", "seen_", 0, 100, 20, 2000, rung, ring_boosted, run_busy, on_boosted },
	{ "fork", "reap_", 0, 3, 0, 0, forked, ring_signal, park, on_signal },
	{ "malloc", NULL, 0, 50, 5, 0, allocated },
	{ "membarrier-expedited", NULL, 1, 2000, 200, 0, fenced, NULL, run_busy },
	{ "membarrier-global", NULL, 1, 20, 1, 0, fenced },
	{ "" }, /* what an unknown name finds */
};

/* ---- the pool of targets: kept while they sleep and the next request wants the same ---- */
static pid_t start_target(int i) {
	char name[32];
	pid_t pid, parent = getpid();
	if (rq.mode->ring == ring_queue) {
		snprintf(name, sizeof name, "/floor-%d", parent);
		pool.queue[i] = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &(struct mq_attr){ .mq_maxmsg = 4, .mq_msgsize = 8 });
		if (pool.queue[i] < 0) return -1;
		mq_unlink(name);
	}
	shared->boost[i].state = PLAIN;
	if ((pid = fork())) return pid;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent) _exit(1);
	me = i, heard = shared->bell;
	sched_setaffinity(0, sizeof *core, &core[(i + 1) % cores]);
	if (rq.mode->once == fenced) syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);
	if (rq.mode->handler == on_queue) on_queue(0); /* a registration is not inherited */
	ack(); /* ready */
	sched_setscheduler(0, SCHED_OTHER, &ordinary);
	if (rq.mode->wait == run_busy) sigprocmask(SIG_SETMASK, &nothing, NULL);
	for (;;) rq.mode->wait();
}
static void drop_pool(void) {
	for (int i = 0; i < pool.n; i++) kill(pool.pid[i], SIGKILL);
	for (int i = 0; i < pool.n; i++) waitpid(pool.pid[i], NULL, 0);
	for (int i = 0; i < pool.n && pool.mode->ring == ring_queue; i++) mq_close(pool.queue[i]);
	pool.n = 0;
}
static void fill_pool(void) {
	siginfo_t dead = { 0 };
	waitid(P_ALL, 0, &dead, WEXITED | WNOHANG | WNOWAIT);
	if (pool.mode == rq.mode && pool.n == rq.n && !dead.si_pid) return;
	drop_pool();
	pool.mode = rq.mode, shared->unacked = rq.n;
	signal(SIGRTMIN, rq.mode->handler);
	while (pool.n < rq.n && (pool.pid[pool.n] = start_target(pool.n)) > 0) pool.n++;
	if (pool.n == rq.n) sleep_until_acked();
	else rq.error = "no more targets: see ulimit -u and -q, /proc/sys/fs/mqueue/queues_max";
}

/* ---- requests ---- */
static void measure(void) {
	uint64_t begin = ticks(), budget = rq.budget_ms * 1e6 * ticks_per_ns; /* spent: fewer rounds */
	for (long round = -rq.mode->warm_up; round < rq.rounds && !rq.error; round++) {
		rq.mode->once(round < 0 ? 0 : round);
		if (round >= 0 && ticks() - begin > budget) rq.rounds = round + 1;
		else if (round < 0 && ticks() - begin > budget / 4) round = -1;
		for (uint64_t end = ticks() + rq.gap_us * 1000 * ticks_per_ns; ticks() < end;)
			if (!rq.spin) usleep(rq.gap_us);
	}
}
static int ascending(const void *a, const void *b) {
	return (*(uint64_t *)a > *(uint64_t *)b) - (*(uint64_t *)a < *(uint64_t *)b);
}
static void print_times(const char *name, uint64_t *sample, double unit) {
	qsort(sample, rq.rounds, sizeof *sample, ascending);
	printf(", \"%sp50_ns\": %.1f, \"%sp99_ns\": %.1f, \"%smin_ns\": %.1f", name, sample[rq.rounds / 2] / unit,
	       name, sample[rq.rounds * 99 / 100] / unit, name, sample[0] / unit);
}
static const char *parse(char *line) {
	const struct mode *m = modes;
	char *word = strtok(line, " \n");
	while (*m->name && (!word || strcmp(m->name, word))) m++;
	rq = (typeof(rq)){ m, 0, m->n, m->rounds, m->gap_us, .budget_ms = 5000, .spin = m->n };
	while (word && (word = strtok(NULL, " \n")))
		if (!strcmp(word, "spin") || !strcmp(word, "futex")) rq.spin = *word == 's';
		else if (sscanf(word, "rounds=%ld", &rq.rounds) + sscanf(word, "gap_us=%ld", &rq.gap_us) +
			 sscanf(word, "budget_ms=%ld", &rq.budget_ms) == 0)
			rq.size = rq.n, rq.n = atol(word);
	bool fits = rq.n > 0 && rq.n <= (rq.size ? MAX_DEPTH : MAX_TARGETS) && rq.rounds > 0 && rq.rounds <= MAX_ROUNDS &&
		    rq.gap_us >= 0 && rq.budget_ms >= 0 && !rq.size == (m->once != allocated);
	return fits ? NULL : "no such mode, or not its operands, or out of range";
}
static void answer(char *line) {
	rq.error = parse(line);
	alarm(60 + rq.budget_ms / 1000);
	if (rq.mode->ring == ring_boosted && sched_setscheduler(0, SCHED_FIFO, &sender) < 0)
		rq.error = "boosting needs CAP_SYS_NICE or ulimit -r 2";
	if (!rq.error && rq.mode->wait && rq.mode->once != forked) fill_pool();
	if (!rq.error) measure();
	if (rq.error || rq.mode->wait == run_busy || rq.mode->wait == poll_bell) drop_pool();
	sched_setscheduler(0, SCHED_OTHER, &ordinary);
	alarm(0);
	printf("{\"mode\": \"%s\", \"n\": %ld, \"rounds\": %ld, \"gap_us\": %ld, \"cores\": %d", rq.mode->name, rq.n, rq.rounds,
	       rq.gap_us, cores);
	if (rq.error) printf(", \"error\": \"%s\"", rq.error);
	else print_times("", shared->first, ticks_per_ns * (rq.size ? 1000 : 1));
	if (!rq.error && rq.mode->second) print_times(rq.mode->second, shared->second, ticks_per_ns);
	if (!rq.error && rq.size) printf(", \"ticks_per_pair\": %.2f", shared->first[rq.rounds / 2] / 1000.);
	puts("}");
}
static void set_up(void) {
	cpu_set_t allowed;
	sigset_t blocked;
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	sched_getaffinity(0, sizeof allowed, &allowed);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &core[cores++]);
	sched_setaffinity(0, sizeof *core, core);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGRTMIN);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	setlinebuf(stdout);
	uint64_t start = ticks();
	double from = raw_ns(), now = from;
	while (now < from + 1e7) now = raw_ns();
	ticks_per_ns = (ticks() - start) / (now - from);
}
int main(int argc, char **argv) {
	char line[256] = "";
	set_up();
	for (int i = 1; i < argc && i < 8; i++) strcat(strncat(line, argv[i], 30), " ");
	if (strcmp(line, "serve ")) answer(line);
	else while (fgets(line, sizeof line, stdin)) answer(line);
	drop_pool();
	return rq.error != NULL;
}
