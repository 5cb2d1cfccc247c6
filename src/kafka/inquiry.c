/*-------------------------------------------------------------------------
 *
 * inquiry.c
 *    Requests to the broker that do not keep the worker waiting: partitions and their ends.
 *
 * A broker processes the requests of a connection one after the other. A request that follows a
 * fetch of partitions without new messages therefore waits until the fetch ends, for
 * fetch.wait.max.ms. That is longer than messages of other brokers should wait, and librdkafka's
 * functions return with the response. So they are called by a thread, which ends with the response;
 * there is one inquiry at a time.
 *
 * The thread calls librdkafka only: nothing of the server, no palloc, no ereport. It blocks all
 * signals. What it shares with the worker is read by one of them at a time: the worker waits for
 * the end of the thread before it reads the result. The thread announces its end by a byte in the
 * pipe on which the worker sleeps. If the process exits, eddy_kafka_close waits for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "port/atomics.h"
#include "utils/memutils.h"

#include "kafka/internal.h"

#define STACK_SIZE (512 * 1024)

struct EddyKafkaInquiry
{
	/* set before the thread starts */
	pthread_t	thread;
	rd_kafka_t *rk;
	int			wake_fd;
	int			timeout_ms;
	rd_kafka_topic_t *topic;

	pg_atomic_uint32 cancelled; /* the result is not needed any more */
	pg_atomic_uint32 done;		/* the thread is about to end */

	/* the result, of the thread */
	rd_kafka_resp_err_t metadata_error;
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t offsets_error;
	rd_kafka_topic_partition_list_t *ends;
};

static void *
run(void *arg)
{
	EddyKafkaInquiry *inquiry = arg;
	ssize_t		written pg_attribute_unused();

	inquiry->metadata_error = rd_kafka_metadata(inquiry->rk, 0, inquiry->topic, &inquiry->metadata,
												inquiry->timeout_ms);
	if (inquiry->metadata_error == RD_KAFKA_RESP_ERR_NO_ERROR && inquiry->ends->cnt > 0 &&
		pg_atomic_read_u32(&inquiry->cancelled) == 0)
		inquiry->offsets_error = rd_kafka_offsets_for_times(inquiry->rk, inquiry->ends,
															inquiry->timeout_ms);
	pg_atomic_write_u32(&inquiry->done, 1);
	written = write(inquiry->wake_fd, "1", 1);
	return NULL;
}

/* Starts the thread, with all signals blocked. */
static bool
start(EddyKafkaInquiry *inquiry)
{
	pthread_attr_t attributes;
	sigset_t	all;
	sigset_t	before;
	bool		started;

	if (pthread_attr_init(&attributes) != 0)
		return false;
	(void) pthread_attr_setstacksize(&attributes, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	started = pthread_create(&inquiry->thread, &attributes, run, inquiry) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return started;
}

static void
free_inquiry(EddyKafkaInquiry *inquiry)
{
	rd_kafka_topic_partition_list_destroy(inquiry->ends);
	rd_kafka_topic_destroy(inquiry->topic);
	pfree(inquiry);
}

/*
 * eddy_kafka_ask requests the number of partitions of a topic, and the ends of the given ones,
 * count of them in ascending order. eddy_kafka_fd() becomes readable with the response, and
 * eddy_kafka_answered then returns true. False if the process cannot start a thread.
 */
bool
eddy_kafka_ask(EddyKafkaClient *client, const char *topic, const int32 *partitions, int count,
			   int timeout_ms, EddyKafkaError *error)
{
	EddyKafkaInquiry *inquiry;

	Assert(client->inquiry == NULL);
	eddy_kafka_clear_error(error);
	inquiry = MemoryContextAllocZero(TopMemoryContext, sizeof(EddyKafkaInquiry));
	inquiry->rk = client->connection.rk;
	inquiry->wake_fd = client->connection.pipe[1];
	inquiry->timeout_ms = timeout_ms;
	pg_atomic_init_u32(&inquiry->cancelled, 0);
	pg_atomic_init_u32(&inquiry->done, 0);
	inquiry->topic = rd_kafka_topic_new(inquiry->rk, topic, NULL);
	if (inquiry->topic == NULL)
	{
		pfree(inquiry);
		eddy_kafka_set_error(error, &client->connection, RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
							 "could not read the partitions of the topic", NULL);
		return false;
	}
	inquiry->ends = eddy_kafka_make_list(topic, partitions, count, EDDY_KAFKA_END);
	if (!start(inquiry))
	{
		free_inquiry(inquiry);
		eddy_kafka_set_error(error, &client->connection, RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE,
							 "could not start a thread", NULL);
		return false;
	}
	client->inquiry = inquiry;
	return true;
}

/* eddy_kafka_asked: true between eddy_kafka_ask and eddy_kafka_answer. */
bool
eddy_kafka_asked(const EddyKafkaClient *client)
{
	return client->inquiry != NULL;
}

/* eddy_kafka_answered: true if there is a response, or there will be none. */
bool
eddy_kafka_answered(EddyKafkaClient *client)
{
	return client->inquiry != NULL && pg_atomic_read_u32(&client->inquiry->done) != 0;
}

/*
 * eddy_kafka_answer returns the response: see eddy_kafka_partition_count for the number of
 * partitions and the cluster, eddy_kafka_list_offsets for the ends.
 */
bool
eddy_kafka_answer(EddyKafkaClient *client, int *npartitions, char **cluster_id, int64 *ends,
				  EddyKafkaError *error)
{
	EddyKafkaInquiry *inquiry = client->inquiry;
	bool		ok;

	pthread_join(inquiry->thread, NULL);
	client->inquiry = NULL;
	ok = eddy_kafka_take_metadata(client, inquiry->metadata_error, inquiry->metadata, npartitions,
								  cluster_id, error) &&
		eddy_kafka_take_offsets(client, inquiry->offsets_error, inquiry->ends, EDDY_KAFKA_END, ends,
								error);
	free_inquiry(inquiry);
	return ok;
}

/* eddy_kafka_stop_asking waits for the end of the thread, if there is one; the result is lost. */
void
eddy_kafka_stop_asking(EddyKafkaClient *client)
{
	EddyKafkaInquiry *inquiry = client->inquiry;

	if (inquiry == NULL)
		return;
	pg_atomic_write_u32(&inquiry->cancelled, 1);
	pthread_join(inquiry->thread, NULL);
	client->inquiry = NULL;
	if (inquiry->metadata_error == RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_metadata_destroy(inquiry->metadata);
	free_inquiry(inquiry);
}
