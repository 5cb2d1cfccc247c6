/*-------------------------------------------------------------------------
 *
 * mock_broker.c
 *    librdkafka's mock cluster as a program: a broker that does not need Java.
 *
 *    eddy-mock-broker [TOPIC:PARTITIONS]...
 *
 * Prints the bootstrap address on its first line of output and then runs
 * until SIGTERM, SIGINT, or the exit of its parent. Lines on standard input are
 * commands: "down" and "up" make the broker unavailable and available at the
 * same address, "topic NAME PARTITIONS" creates a topic. The response is "ok".
 *
 * It is a separate process because the mock's thread does not block signals. It
 * keeps at most 5 MB of a partition and discards the oldest messages, so tests
 * that count messages must not produce more.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define BROKER_ID 1

static void
fail(const char *what)
{
	fprintf(stderr, "eddy-mock-broker: %s\n", what);
	exit(1);
}

static void
make_topic(rd_kafka_mock_cluster_t *cluster, const char *topic, const char *partitions)
{
	int			count = atoi(partitions);

	if (count < 1 || rd_kafka_mock_topic_create(cluster, topic, count, 1))
		fail("could not create a topic");
}

/* run_command executes a command and returns the response. */
static const char *
run_command(rd_kafka_mock_cluster_t *cluster, char *line)
{
	char	   *save;
	char	   *word = strtok_r(line, " \t\r\n", &save);

	if (word == NULL)
		return "ok";
	if (strcmp(word, "down") == 0)
		return rd_kafka_mock_broker_set_down(cluster, BROKER_ID) ? "failed" : "ok";
	if (strcmp(word, "up") == 0)
		return rd_kafka_mock_broker_set_up(cluster, BROKER_ID) ? "failed" : "ok";
	if (strcmp(word, "topic") == 0)
	{
		char	   *topic = strtok_r(NULL, " \t\r\n", &save);
		char	   *partitions = strtok_r(NULL, " \t\r\n", &save);

		if (topic == NULL || partitions == NULL)
			return "usage: topic NAME PARTITIONS";
		make_topic(cluster, topic, partitions);
		return "ok";
	}
	return "unrecognized command";
}

/* serve returns when a termination signal arrives. */
static void
serve(rd_kafka_mock_cluster_t *cluster, int signals)
{
	struct pollfd waits[2] = {{.fd = signals, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
	char		line[512];

	for (;;)
	{
		if (poll(waits, 2, -1) < 0)
		{
			if (errno == EINTR)
				continue;
			fail("poll failed");
		}
		if (waits[0].revents)
			return;
		if (waits[1].revents)
		{
			/* end of input does not stop the broker: the input may be empty */
			if (fgets(line, sizeof(line), stdin) == NULL)
				waits[1].fd = -1;
			else
			{
				printf("%s\n", run_command(cluster, line));
				fflush(stdout);
			}
		}
	}
}

int
main(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_mock_cluster_t *cluster;
	rd_kafka_t *client;
	char		error[512];
	sigset_t	all;
	sigset_t	ends;
	pid_t		parent = getppid();
	int			signals;

	/* before any thread is created, so that no thread handles signals */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	signals = signalfd(-1, &ends, SFD_CLOEXEC);
	if (signals < 0)
		fail("signalfd failed");
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		return 0;
	setvbuf(stdin, NULL, _IONBF, 0);

	/* no broker to connect to is configured; suppress the warning */
	rd_kafka_conf_set(conf, "log_level", "3", error, sizeof(error));
	client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
	if (client == NULL)
		fail(error);
	cluster = rd_kafka_mock_cluster_new(client, 1);
	if (cluster == NULL)
		fail("could not create the mock cluster");
	for (int i = 1; i < argc; i++)
	{
		char	   *colon = strrchr(argv[i], ':');

		if (colon == NULL)
			fail("usage: eddy-mock-broker [TOPIC:PARTITIONS]...");
		*colon = '\0';
		make_topic(cluster, argv[i], colon + 1);
	}
	printf("%s\n", rd_kafka_mock_cluster_bootstraps(cluster));
	fflush(stdout);

	serve(cluster, signals);
	rd_kafka_mock_cluster_destroy(cluster);
	rd_kafka_destroy(client);
	return 0;
}
