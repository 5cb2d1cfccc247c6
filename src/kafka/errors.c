/*-------------------------------------------------------------------------
 *
 * errors.c
 *    librdkafka's error codes as errors of a source.
 *
 * The kind decides what the worker does, the SQLSTATE is what its user sees.
 * Broker trouble is class 08, authentication and authorization class 28. The
 * words are librdkafka's, which name brokers, topics and offsets but neither
 * credentials nor the content of messages.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/elog.h"
#include "utils/errcodes.h"

#include "kafka/internal.h"

/* classify gives the kind and the SQLSTATE of an error code. */
static EddyKafkaErrorKind
classify(rd_kafka_resp_err_t err, int *sqlerrcode)
{
	switch (err)
	{
		case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
		case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
			*sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
			return EDDY_KAFKA_OFFSET_LOST;

		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
		case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
			*sqlerrcode = ERRCODE_UNDEFINED_OBJECT;
			return EDDY_KAFKA_TOPIC_MISSING;

		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
			*sqlerrcode = ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
			return EDDY_KAFKA_TOPIC_MISSING;

		case RD_KAFKA_RESP_ERR__BAD_MSG:
		case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
		case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:	/* a format newer than the library */
		case RD_KAFKA_RESP_ERR_INVALID_MSG:
		case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
			*sqlerrcode = ERRCODE_DATA_CORRUPTED;
			return EDDY_KAFKA_BAD_MESSAGE;

		case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
			*sqlerrcode = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
			return EDDY_KAFKA_BAD_MESSAGE;

			/* credentials can be repaired on the broker's side: keep trying */
		case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
		case RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
		case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
		case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
			*sqlerrcode = ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
			return EDDY_KAFKA_RETRIABLE;

		case RD_KAFKA_RESP_ERR__INVALID_ARG:
		case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
			*sqlerrcode = ERRCODE_INVALID_PARAMETER_VALUE;
			return EDDY_KAFKA_CONFIG;

		case RD_KAFKA_RESP_ERR__FATAL:
		case RD_KAFKA_RESP_ERR__DESTROY:
		case RD_KAFKA_RESP_ERR__STATE:
		case RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE:
			*sqlerrcode = ERRCODE_CONNECTION_FAILURE;
			return EDDY_KAFKA_FATAL;

		case RD_KAFKA_RESP_ERR__RESOLVE:
		case RD_KAFKA_RESP_ERR__SSL:
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
			*sqlerrcode = ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION;
			return EDDY_KAFKA_RETRIABLE;

		default:
			*sqlerrcode = ERRCODE_CONNECTION_FAILURE;
			return EDDY_KAFKA_RETRIABLE;
	}
}

/* is_away tells whether a code only says that no answer came. */
static bool
is_away(rd_kafka_resp_err_t err)
{
	return err == RD_KAFKA_RESP_ERR__TIMED_OUT || err == RD_KAFKA_RESP_ERR__TRANSPORT ||
		err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
}

/*
 * is_too_large tells whether the client has refused an answer for its size. librdkafka has
 * no code of its own for that, and names the property in its words.
 */
static bool
is_too_large(rd_kafka_resp_err_t err, const char *reason)
{
	return err == RD_KAFKA_RESP_ERR__BAD_MSG && reason != NULL &&
		strstr(reason, "receive.message.max.bytes") != NULL;
}

/*
 * eddy_kafka_set_error fills error with what failed ("could not ...") and why.
 *
 * reason may be NULL: then it is librdkafka's name of the code or, when no answer
 * came, the last trouble with a broker. That says more than "timed out" does, and
 * tells a refused password from a host that is away.
 */
void
eddy_kafka_set_error(EddyKafkaError *error, EddyKafkaClient *client, rd_kafka_resp_err_t err,
					 const char *what, const char *reason)
{
	char	   *c;

	error->partition = -1;
	error->offset = -1;

	if (reason == NULL && client != NULL && is_away(err) &&
		client->trouble_code != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		reason = client->trouble;
		if (!is_away(client->trouble_code))
			err = client->trouble_code;
	}
	error->kind = classify(err, &error->sqlerrcode);
	if (is_too_large(err, reason))
	{
		/* no message is bad, and with another setting it will be received */
		error->kind = EDDY_KAFKA_RETRIABLE;
		error->sqlerrcode = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		what = "the next messages do not fit into \"receive.message.max.bytes\", which must be raised";
	}
	snprintf(error->message, sizeof(error->message), "%s: %s", what,
			 reason != NULL ? reason : rd_kafka_err2str(err));

	/* how long the connection lasted is different each time, and nothing new */
	if (is_too_large(err, reason) && (c = strstr(error->message, " (after ")) != NULL)
		*c = '\0';

	/* one line: it goes into a column and into the log */
	for (c = error->message; *c != '\0'; c++)
		if ((unsigned char) *c < ' ')
			*c = ' ';
}

/* eddy_kafka_note_trouble keeps in mind what a broker's error said. */
void
eddy_kafka_note_trouble(EddyKafkaClient *client, rd_kafka_resp_err_t err, const char *reason)
{
	client->trouble_code = err;
	client->too_large = client->too_large || is_too_large(err, reason);
	strlcpy(client->trouble, reason, sizeof(client->trouble));
}

/* eddy_kafka_note_life forgets it: a broker answered. */
void
eddy_kafka_note_life(EddyKafkaClient *client)
{
	client->failing = false;
	client->trouble_code = RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* eddy_kafka_clear_error says that nothing went wrong. */
void
eddy_kafka_clear_error(EddyKafkaError *error)
{
	error->kind = EDDY_KAFKA_OK;
	error->sqlerrcode = ERRCODE_SUCCESSFUL_COMPLETION;
	error->partition = -1;
	error->offset = -1;
	error->message[0] = '\0';
}
