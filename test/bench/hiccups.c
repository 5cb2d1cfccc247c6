/*-------------------------------------------------------------------------
 *
 * hiccups.c
 *    When the CPUs of this machine were much slower than usual.
 *
 * The CPUs of a virtual machine do not always run: its host gives them to
 * others, for microseconds at a time, so that they seem to be 10 times slower
 * for some tens of milliseconds. Nothing that shares the machine can have a
 * latency below that, and the time is not in /proc/stat. This program shows
 * it, like jHiccup does for the time that the whole machine stands still: on each
 * CPU a thread executes the same small work every two milliseconds, and compares
 * the CPU time that it needed with the median of the first second. CPU time does not contain
 * the time in which other threads of this machine had the CPU.
 *
 * Until it is stopped by SIGTERM or SIGINT it prints a line for each hiccup: its first
 * and last moment in microseconds since 1970. Those of all CPUs are printed;
 * they can overlap. It takes less than 2 % of each CPU.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_NS 2000000
#define WORK 10000				/* rounds of xorshift: 20 to 30 microseconds */
#define USUAL 500				/* samples that tell the usual time of the work */
#define SLOW 5					/* times the usual one: with a second thread on the core it is not 3 times */
#define GAP_US 6000				/* hiccups with less time between them are one */
#define LEAST_SAMPLES 2			/* of a hiccup: a single one can be an interrupt */

static volatile sig_atomic_t stop_requested = 0;

static void
request_stop(int signal_number)
{
	(void) signal_number;
	stop_requested = 1;
}

static int64_t
clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The CPU time in nanoseconds that the work takes now. */
static int64_t
measure_work(void)
{
	static _Thread_local uint64_t x = UINT64_C(88172645463325252);
	int64_t		start = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	/* in registers, each round depends on the one before: caches and memory do not matter */
	for (int i = 0; i < WORK; i++)
	{
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		__asm__ volatile("" : "+r" (x));
	}
	return clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
}

static int
compare_times(const void *a, const void *b)
{
	int64_t		left = *(const int64_t *) a;
	int64_t		right = *(const int64_t *) b;

	return (left > right) - (left < right);
}

static int64_t
usual_time(void)
{
	int64_t		times[USUAL];

	for (int i = 0; i < USUAL; i++)
	{
		times[i] = measure_work();
		nanosleep(&(struct timespec) {.tv_nsec = PERIOD_NS}, NULL);
	}
	qsort(times, USUAL, sizeof(times[0]), compare_times);
	return times[USUAL / 2];
}

static void
print_hiccup(int64_t start_us, int64_t end_us, int samples)
{
	if (samples >= LEAST_SAMPLES)
		printf("%lld\t%lld\n", (long long) start_us, (long long) end_us);
}

static void *
watch_cpu(void *argument)
{
	cpu_set_t	cpus;
	int64_t		usual;
	int64_t		start_us = 0;
	int64_t		end_us = 0;
	int			samples = 0;	/* of the present hiccup */

	CPU_ZERO(&cpus);
	CPU_SET((int) (intptr_t) argument, &cpus);
	/* without these it works, but sees less */
	(void) pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
	(void) pthread_setschedparam(pthread_self(), SCHED_RR, &(struct sched_param) {.sched_priority = 1});

	usual = usual_time();
	while (!stop_requested)
	{
		int64_t		before_us = clock_ns(CLOCK_REALTIME) / 1000;
		int64_t		work = measure_work();

		if (work > SLOW * usual)
		{
			if (samples > 0 && before_us - end_us > GAP_US)
			{
				print_hiccup(start_us, end_us, samples);
				samples = 0;
			}
			if (samples++ == 0)
				start_us = before_us;
			end_us = clock_ns(CLOCK_REALTIME) / 1000;
		}
		nanosleep(&(struct timespec) {.tv_nsec = PERIOD_NS}, NULL);
	}
	print_hiccup(start_us, end_us, samples);
	return NULL;
}

int
main(void)
{
	int			ncpus = (int) sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t  *threads = calloc(ncpus, sizeof(pthread_t));
	struct sigaction action = {.sa_handler = request_stop};

	if (threads == NULL)
		return 1;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	for (int i = 0; i < ncpus; i++)
		if (pthread_create(&threads[i], NULL, watch_cpu, (void *) (intptr_t) i) != 0)
			return 1;
	for (int i = 0; i < ncpus; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	return fflush(stdout) != 0 || ferror(stdout);
}
