/*-------------------------------------------------------------------------
 *
 * errors.c
 *    librdkafka's error codes as errors of a source.
 *
 * The kind determines what the worker does, the SQLSTATE is shown to users.
 * Broker errors are class 08, authentication and authorization class 28. The
 * texts are librdkafka's, which contain brokers, topics and offsets but neither
 * credentials nor the content of messages.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/elog.h"
#include "utils/errcodes.h"

#include "kafka/internal.h"

/* classify returns the kind and the SQLSTATE of an error code. */
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
		case RD_KAFKA_RESP_ERR_INVALID_MSG:
		case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
			*sqlerrcode = ERRCODE_DATA_CORRUPTED;
			return EDDY_KAFKA_BAD_MESSAGE;

			/* a format newer than the library, or a compression that it was built without */
		case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
			*sqlerrcode = ERRCODE_FEATURE_NOT_SUPPORTED;
			return EDDY_KAFKA_BAD_MESSAGE;

		case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
			*sqlerrcode = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
			return EDDY_KAFKA_BAD_MESSAGE;

			/* credentials can be corrected on the side of the broker: retry */
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

/* is_unreachable: true for codes that only mean that no response was received. */
static bool
is_unreachable(rd_kafka_resp_err_t err)
{
	return err == RD_KAFKA_RESP_ERR__TIMED_OUT || err == RD_KAFKA_RESP_ERR__TRANSPORT ||
		err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
}

/*
 * eddy_kafka_is_too_large: true if the client has refused a response for its size. librdkafka has
 * no code of its own for that, but its text contains the property.
 */
bool
eddy_kafka_is_too_large(rd_kafka_resp_err_t err, const char *reason)
{
	return err == RD_KAFKA_RESP_ERR__BAD_MSG && reason != NULL &&
		strstr(reason, "receive.message.max.bytes") != NULL;
}

/*
 * eddy_kafka_set_error fills error with what failed ("could not ...") and why.
 *
 * reason may be NULL: then it is librdkafka's text for the code or, when no response was
 * received, the last broker error. That is more specific than "timed out", and
 * distinguishes a refused password from an unreachable host.
 */
void
eddy_kafka_set_error(EddyKafkaError *error, const EddyKafkaConnection *connection,
					 rd_kafka_resp_err_t err, const char *what, const char *reason)
{
	char	   *c;

	error->partition = -1;
	error->offset = -1;

	if (reason == NULL && connection != NULL && is_unreachable(err) &&
		connection->error_code != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		reason = connection->error_text;
		if (!is_unreachable(connection->error_code))
			err = connection->error_code;
	}
	error->kind = classify(err, &error->sqlerrcode);
	if (eddy_kafka_is_too_large(err, reason))
	{
		/* no message is invalid, and with another setting it will be received */
		error->kind = EDDY_KAFKA_RETRIABLE;
		error->sqlerrcode = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		what = "the next messages do not fit into \"receive.message.max.bytes\", which must be raised";
	}
	snprintf(error->message, sizeof(error->message), "%s: %s", what,
			 reason != NULL ? reason : rd_kafka_err2str(err));

	/* the duration of the connection differs each time: not a new error */
	if (eddy_kafka_is_too_large(err, reason) && (c = strstr(error->message, " (after ")) != NULL)
		*c = '\0';

	/* one line: it goes into a column and into the log */
	for (c = error->message; *c != '\0'; c++)
		if ((unsigned char) *c < ' ')
			*c = ' ';
}

/* eddy_kafka_remember_error records the last broker error. */
void
eddy_kafka_remember_error(EddyKafkaConnection *connection, rd_kafka_resp_err_t err, const char *reason)
{
	connection->error_code = err;
	connection->error_count++;
	connection->too_large = connection->too_large || eddy_kafka_is_too_large(err, reason);
	strlcpy(connection->error_text, reason, sizeof(connection->error_text));
}

/* eddy_kafka_note_success resets it: a broker has responded. */
void
eddy_kafka_note_success(EddyKafkaConnection *connection)
{
	connection->failing = false;
	connection->error_code = RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* eddy_kafka_clear_error resets the error. */
void
eddy_kafka_clear_error(EddyKafkaError *error)
{
	error->kind = EDDY_KAFKA_OK;
	error->sqlerrcode = ERRCODE_SUCCESSFUL_COMPLETION;
	error->partition = -1;
	error->offset = -1;
	error->message[0] = '\0';
}
