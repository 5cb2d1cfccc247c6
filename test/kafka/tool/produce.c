/*-------------------------------------------------------------------------
 *
 * produce.c
 *    Produces the lines of standard input, optionally in transactions.
 *
 * If a message cannot be delivered, the program fails: tests require all lines
 * to be in the topic. Acknowledgements in a transaction are printed at its
 * commit, and not if it is aborted. An aborted transaction is flushed first, so
 * that the log contains its messages and readers must skip them.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define MAX_FIELDS 8

/* One field of an input line, unescaped in place. */
typedef struct Field
{
	char	   *data;			/* NULL for \N */
	size_t		size;
} Field;

/* acknowledgements of the current transaction; NULL: print immediately */
static FILE *pending = NULL;
static char *pending_text = NULL;
static size_t pending_size = 0;

/* new_producer takes ownership of conf, which already has its delivery callback. */
rd_kafka_t *
new_producer(rd_kafka_conf_t *conf)
{
	set_property(conf, "enable.idempotence", "true");
	set_property(conf, "compression.codec", options.codec ? options.codec : "none");
	set_property(conf, "queue.buffering.max.messages", "1000000");
	set_property(conf, "queue.buffering.max.kbytes", "1048576");
	return new_client(RD_KAFKA_PRODUCER, conf);
}

/*
 * flush_producer returns after all messages are delivered. After a termination signal it does
 * not wait for an unavailable broker until the messages time out.
 */
void
flush_producer(rd_kafka_t *producer)
{
	double		start = now_seconds();

	while (rd_kafka_flush(producer, 1000) == RD_KAFKA_RESP_ERR__TIMED_OUT)
		if (stop_requested && now_seconds() - start > options.wait)
			die("%d messages were not delivered", rd_kafka_outq_len(producer));
}

static void
message_delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *opaque)
{
	(void) producer;
	(void) opaque;
	if (message->err)
		die("message was not delivered: %s", rd_kafka_err2str(message->err));
	if (options.acknowledged)
		fprintf(pending ? pending : stdout, "%d\t%lld\n", (int) message->partition,
				(long long) message->offset);
}

static int
hex_value(char character)
{
	if (character >= '0' && character <= '9')
		return character - '0';
	if (character >= 'a' && character <= 'f')
		return character - 'a' + 10;
	if (character >= 'A' && character <= 'F')
		return character - 'A' + 10;
	return -1;
}

/* unescape turns \t, \n, \r, \\ and \xHH into bytes, in place, and \N into NULL. */
static void
unescape(Field *field)
{
	char	   *in = field->data;
	char	   *end = in + field->size;
	char	   *out = in;

	if (field->size == 2 && in[0] == '\\' && in[1] == 'N')
	{
		field->data = NULL;
		field->size = 0;
		return;
	}
	while (in < end)
	{
		char		character = *in++;

		if (character == '\\' && in < end)
		{
			character = *in++;
			if (character == 't')
				character = '\t';
			else if (character == 'n')
				character = '\n';
			else if (character == 'r')
				character = '\r';
			else if (character == 'x' && end - in >= 2 && hex_value(in[0]) >= 0 &&
					 hex_value(in[1]) >= 0)
			{
				character = (char) (hex_value(in[0]) * 16 + hex_value(in[1]));
				in += 2;
			}
		}
		*out++ = character;
	}
	field->size = out - field->data;
}

/* parse_headers reads name=value pairs separated by commas; names may be repeated. */
static rd_kafka_headers_t *
parse_headers(const Field *field)
{
	rd_kafka_headers_t *headers;
	char	   *start = field->data;
	char	   *end = start + field->size;

	if (field->data == NULL || field->size == 0)
		return NULL;
	headers = rd_kafka_headers_new(4);
	while (start < end)
	{
		char	   *comma = memchr(start, ',', end - start);
		char	   *stop = comma ? comma : end;
		char	   *equals = memchr(start, '=', stop - start);

		if (equals == NULL)
			die("header without \"=\" in the input");
		rd_kafka_header_add(headers, start, equals - start, equals + 1, stop - equals - 1);
		start = stop + 1;
	}
	return headers;
}

static int64_t
parse_field_integer(const Field *field, int64_t missing)
{
	char		text[32];
	char	   *end;
	int64_t		value;

	if (field->data == NULL || field->size == 0)
		return missing;
	if (field->size >= sizeof(text))
		die("number expected in the input");
	memcpy(text, field->data, field->size);
	text[field->size] = '\0';
	value = strtoll(text, &end, 10);
	if (*end != '\0')
		die("number expected in the input, not \"%s\"", text);
	return value;
}

/* Splits a line into as many fields as there are letters in order. */
static void
split_line(char *line, size_t size, const char *order, Field *parts)
{
	int			wanted = (int) strlen(order);
	int			nparts = 0;

	if (wanted > MAX_FIELDS)
		die("option -f has more than %d fields", MAX_FIELDS);
	/* the last field takes the rest of the line, including tabs */
	for (char *start = line, *end = line + size;;)
	{
		char	   *tab = NULL;

		if (nparts + 1 < wanted)
			tab = memchr(start, '\t', end - start);
		parts[nparts].data = start;
		parts[nparts].size = (tab ? tab : end) - start;
		unescape(&parts[nparts++]);
		if (tab == NULL)
			break;
		start = tab + 1;
	}
	if (nparts != wanted)
		die("%d fields expected in an input line, %d found", wanted, nparts);
}

/* A message that is to be produced. */
typedef struct Message
{
	Field		key;
	Field		value;
	int32_t		partition;
	int64_t		timestamp;		/* 0: now */
	rd_kafka_headers_t *headers;	/* may be NULL */
} Message;

static void
set_field(Message *message, char name, Field *field)
{
	switch (name)
	{
		case 'k':
			message->key = *field;
			break;
		case 'v':
			message->value = *field;
			break;
		case 'p':
			message->partition = (int32_t) parse_field_integer(field, RD_KAFKA_PARTITION_UA);
			break;
		case 't':
			message->timestamp = parse_field_integer(field, 0);
			break;
		case 'h':
			message->headers = parse_headers(field);
			break;
		default:
			die("unrecognized field \"%c\" in option -f", name);
	}
}

/* Takes the headers if it succeeds. */
static rd_kafka_resp_err_t
try_to_send(rd_kafka_t *producer, const Message *message, rd_kafka_headers_t *headers)
{
	if (headers != NULL)
		return rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(options.topic),
								 RD_KAFKA_V_PARTITION(message->partition),
								 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
								 RD_KAFKA_V_KEY(message->key.data, message->key.size),
								 RD_KAFKA_V_VALUE(message->value.data, message->value.size),
								 RD_KAFKA_V_TIMESTAMP(message->timestamp),
								 RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
	return rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(options.topic),
							 RD_KAFKA_V_PARTITION(message->partition),
							 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
							 RD_KAFKA_V_KEY(message->key.data, message->key.size),
							 RD_KAFKA_V_VALUE(message->value.data, message->value.size),
							 RD_KAFKA_V_TIMESTAMP(message->timestamp), RD_KAFKA_V_END);
}

/* Waits while the queue is full. */
static void
send_message(rd_kafka_t *producer, const Message *message)
{
	for (;;)
	{
		rd_kafka_headers_t *headers = message->headers ?
			rd_kafka_headers_copy(message->headers) : NULL;
		rd_kafka_resp_err_t error = try_to_send(producer, message, headers);

		if (!error)
			return;
		if (headers != NULL)
			rd_kafka_headers_destroy(headers);
		if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			die("%s", rd_kafka_err2str(error));
		rd_kafka_poll(producer, 100);
	}
}

static void
produce_line(rd_kafka_t *producer, char *line, size_t size)
{
	const char *order = options.fields;
	Field		parts[MAX_FIELDS];
	Message		message = {
		.partition = options.partition >= 0 ? options.partition : RD_KAFKA_PARTITION_UA
	};

	if (order == NULL)
		order = memchr(line, '\t', size) ? "kv" : "v";
	split_line(line, size, order, parts);
	for (int i = 0; order[i] != '\0'; i++)
		set_field(&message, order[i], &parts[i]);
	send_message(producer, &message);
	if (message.headers != NULL)
		rd_kafka_headers_destroy(message.headers);
	rd_kafka_poll(producer, 0);
}

static void
check_transaction(const char *what, rd_kafka_error_t *error)
{
	if (error != NULL)
		die("%s: %s", what, rd_kafka_error_string(error));
}

static void
begin_transaction(rd_kafka_t *producer)
{
	check_transaction("begin", rd_kafka_begin_transaction(producer));
	pending = open_memstream(&pending_text, &pending_size);
	if (pending == NULL)
		die("out of memory");
}

/*
 * end_transaction repeats a call that timed out: its outcome is not known until
 * the broker has responded.
 */
static void
end_transaction(rd_kafka_t *producer, bool commit)
{
	rd_kafka_error_t *error;

	flush_producer(producer);
	for (;;)
	{
		error = commit ? rd_kafka_commit_transaction(producer, -1) :
			rd_kafka_abort_transaction(producer, -1);
		if (error == NULL || !rd_kafka_error_is_retriable(error))
			break;
		rd_kafka_error_destroy(error);
	}
	check_transaction(commit ? "commit" : "abort", error);
	fclose(pending);
	pending = NULL;
	if (commit)
		fwrite(pending_text, 1, pending_size, stdout);
	free(pending_text);
}

void
run_produce(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *producer;
	char	   *line = NULL;
	size_t		capacity = 0;
	ssize_t		size;

	rd_kafka_conf_set_dr_msg_cb(conf, message_delivered);
	if (options.transaction != NULL)
		set_property(conf, "transactional.id", options.transaction);
	set_property(conf, "linger.ms", "5");
	producer = new_producer(conf);
	if (options.transaction != NULL)
		check_transaction("init", rd_kafka_init_transactions(producer, TOOL_TIMEOUT_MS));

	while (!stop_requested && (size = getline(&line, &capacity, stdin)) >= 0)
	{
		if (size > 0 && line[size - 1] == '\n')
			line[--size] = '\0';
		if (options.transaction != NULL)
		{
			bool		commit = strcmp(line, "#commit") == 0;

			if (commit || strcmp(line, "#abort") == 0)
			{
				if (pending != NULL)
					end_transaction(producer, commit);
				continue;
			}
			if (pending == NULL)
				begin_transaction(producer);
		}
		produce_line(producer, line, size);
	}
	if (pending != NULL)
		end_transaction(producer, true);
	flush_producer(producer);
	free(line);
	rd_kafka_destroy(producer);
}
