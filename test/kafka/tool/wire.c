/*-------------------------------------------------------------------------
 *
 * wire.c
 *    Sends events to one broker by Kafka's protocol, for the open loop of paced events.
 *
 * A generator that shares the machine with what is measured must take little CPU time, and
 * must take it evenly. librdkafka's producer copies each message several times, and its thread
 * polls without waiting while a broker that has no CPU does not respond: it then
 * keeps the broker waiting for the CPU that it wastes, for up to 100 ms. Here one thread
 * writes the events to the buffer of a Produce request, and sends it: a third of the CPU time.
 *
 * This is no general client: the broker that is connected to must lead all partitions, requests
 * are not repeated, and there is neither encryption nor compression. Any error ends the program. The
 * formats are those of "Kafka protocol guide" and "Record Batch" of Kafka's documentation: Produce
 * version 3, and batches with magic 2.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

#define API_PRODUCE 0
#define VERSION_PRODUCE 3
#define LEADER_ONLY 1			/* acks */
#define TIMEOUT_MS 30000
#define CLIENT_ID "eddy-kafka-tool"

/* Of a record batch. */
#define BATCH_HEADER 61
#define CRC_AT 17				/* the checksum covers what follows it */
#define MAX_RECORD_HEADER 32

#define MAX_RESPONSE 65536

/* A buffer that grows. */
typedef struct Buffer
{
	char	   *data;
	size_t		size;
	size_t		capacity;
} Buffer;

struct WireProducer
{
	int			socket;
	int			npartitions;
	Buffer	   *batches;		/* the records of each partition, after room for the header of the batch */
	int		   *nrecords;
	int64_t		timestamp;		/* of all records of a request, in ms */
	Buffer		request;
	int32_t		correlation;	/* of the last request */
	int			unanswered;		/* requests */
	char		response[MAX_RESPONSE];
	size_t		received;		/* bytes of the response */
};

static uint32_t crc_table[256];

/* CRC-32C, as RFC 3720 defines it. */
static void
fill_crc_table(void)
{
	for (uint32_t i = 0; i < 256; i++)
	{
		uint32_t	crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82F63B78 : crc >> 1;
		crc_table[i] = crc;
	}
}

#if defined(__x86_64__)
__attribute__((target("sse4.2")))
static uint32_t
crc32c_of_cpu(const char *data, size_t size)
{
	uint64_t	crc = 0xFFFFFFFF;

	for (; size >= 8; data += 8, size -= 8)
	{
		uint64_t	word;

		memcpy(&word, data, 8);
		crc = __builtin_ia32_crc32di(crc, word);
	}
	for (; size > 0; size--)
		crc = __builtin_ia32_crc32qi((uint32_t) crc, *data++);
	return ~(uint32_t) crc;
}
#endif

static uint32_t
crc32c(const char *data, size_t size)
{
	uint32_t	crc = 0xFFFFFFFF;

#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_of_cpu(data, size);
#endif
	for (; size > 0; size--)
		crc = crc_table[(crc ^ (unsigned char) *data++) & 0xFF] ^ crc >> 8;
	return ~crc;
}

static char *
reserve(Buffer *buffer, size_t size)
{
	if (buffer->size + size > buffer->capacity)
	{
		buffer->capacity = 2 * (buffer->size + size);
		buffer->data = realloc(buffer->data, buffer->capacity);
		if (buffer->data == NULL)
			die("out of memory");
	}
	return buffer->data + buffer->size;
}

/* Integers are in network byte order. */
static void
store_integer(char *out, int64_t value, int size)
{
	for (int i = size - 1; i >= 0; i--, value >>= 8)
		out[i] = (char) value;
}

static int64_t
load_integer(const char *in, int size)
{
	int64_t		value = (signed char) in[0];

	for (int i = 1; i < size; i++)
		value = value << 8 | (unsigned char) in[i];
	return value;
}

static void
put_integer(Buffer *buffer, int64_t value, int size)
{
	store_integer(reserve(buffer, size), value, size);
	buffer->size += size;
}

static void
put_bytes(Buffer *buffer, const char *bytes, size_t size)
{
	memcpy(reserve(buffer, size), bytes, size);
	buffer->size += size;
}

static void
put_string(Buffer *buffer, const char *text)
{
	put_integer(buffer, (int64_t) strlen(text), 2);
	put_bytes(buffer, text, strlen(text));
}

/* A variable-length integer in zigzag encoding; returns the end. */
static char *
store_varint(char *out, int64_t value)
{
	uint64_t	rest = (uint64_t) value << 1 ^ (uint64_t) (value >> 63);

	for (; rest >= 0x80; rest >>= 7)
		*out++ = (char) (rest | 0x80);
	*out++ = (char) rest;
	return out;
}

static int
connect_to(const char *broker)
{
	const char *colon = strrchr(broker, ':');
	char		host[256];
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	int			result;
	int			error;
	int			on = 1;

	if (strchr(broker, ',') || colon == NULL || (size_t) (colon - broker) >= sizeof(host))
		die("paced events need the host and port of one broker, not \"%s\"", broker);
	memcpy(host, broker, colon - broker);
	host[colon - broker] = '\0';
	error = getaddrinfo(host, colon + 1, &hints, &found);
	if (error != 0)
		die("broker \"%s\": %s", broker, gai_strerror(error));
	result = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
	if (result < 0 || connect(result, found->ai_addr, found->ai_addrlen) != 0)
		die("broker \"%s\": %s", broker, strerror(errno));
	freeaddrinfo(found);
	(void) setsockopt(result, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return result;
}

WireProducer *
new_wire_producer(const char *broker, int npartitions)
{
	WireProducer *producer = calloc(1, sizeof(WireProducer));

	fill_crc_table();
	if (producer == NULL)
		die("out of memory");
	producer->npartitions = npartitions;
	producer->batches = calloc(npartitions, sizeof(Buffer));
	producer->nrecords = calloc(npartitions, sizeof(int));
	if (producer->batches == NULL || producer->nrecords == NULL)
		die("out of memory");
	producer->socket = connect_to(broker);
	return producer;
}

void
add_wire_event(WireProducer *producer, int partition, const char *value, size_t size)
{
	Buffer	   *batch = &producer->batches[partition];
	char		header[MAX_RECORD_HEADER];
	char		length[MAX_RECORD_HEADER];
	char	   *end = header;

	if (producer->nrecords[partition] == 0)
	{
		batch->size = 0;
		(void) reserve(batch, BATCH_HEADER);
		batch->size = BATCH_HEADER;
	}
	*end++ = 0;					/* attributes */
	end = store_varint(end, 0); /* timestamp, relative to that of the batch */
	end = store_varint(end, producer->nrecords[partition]++);
	end = store_varint(end, -1);	/* no key */
	end = store_varint(end, (int64_t) size);
	/* after the value there is one byte: no headers */
	put_bytes(batch, length, store_varint(length, end - header + size + 1) - length);
	put_bytes(batch, header, end - header);
	put_bytes(batch, value, size);
	put_integer(batch, 0, 1);
}

static void
finish_batch(Buffer *batch, int nrecords, int64_t timestamp)
{
	char	   *data = batch->data;

	store_integer(data, 0, 8);	/* offset of the first record, which the broker assigns */
	store_integer(data + 8, (int64_t) batch->size - 12, 4);
	store_integer(data + 12, -1, 4);	/* epoch of the leader */
	data[16] = 2;				/* magic */
	store_integer(data + 21, 0, 2);	/* attributes */
	store_integer(data + 23, nrecords - 1, 4);
	store_integer(data + 27, timestamp, 8);
	store_integer(data + 35, timestamp, 8);
	store_integer(data + 43, -1, 8);	/* no idempotent producer: id, epoch and sequence */
	store_integer(data + 51, -1, 2);
	store_integer(data + 53, -1, 4);
	store_integer(data + 57, nrecords, 4);
	store_integer(data + CRC_AT, crc32c(data + CRC_AT + 4, batch->size - CRC_AT - 4), 4);
}

/* A response has the correlation id, the topic with its partitions, and the time for which requests are throttled. */
static void
check_response(const char *response, size_t size)
{
	const char *at = response + 4 + 4;	/* one topic */
	const char *end = response + size;
	int64_t		npartitions;

	if (size < 14)
		die("the broker has sent a response that is too short");
	at += 2 + load_integer(at, 2);
	if (at + 4 > end)
		die("the broker has sent a response that is too short");
	npartitions = load_integer(at, 4);
	at += 4;
	for (int64_t i = 0; i < npartitions; i++, at += 22)
	{
		if (at + 22 > end)
			die("the broker has sent a response that is too short");
		if (load_integer(at + 4, 2) != 0)
			die("event was not delivered: %s",
				rd_kafka_err2str((rd_kafka_resp_err_t) load_integer(at + 4, 2)));
	}
}

/* Reads what has arrived, or waits for something. */
static void
read_responses(WireProducer *producer, bool wait)
{
	ssize_t		count = recv(producer->socket, producer->response + producer->received,
							 MAX_RESPONSE - producer->received, wait ? 0 : MSG_DONTWAIT);

	if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (count <= 0)
		die("the broker has closed the connection");
	producer->received += count;
	for (;;)
	{
		size_t		size;

		if (producer->received < 4)
			return;
		size = (size_t) load_integer(producer->response, 4);
		if (size > MAX_RESPONSE - 4)
			die("the broker has sent a response that is too long");
		if (producer->received < 4 + size)
			return;
		check_response(producer->response + 4, size);
		producer->unanswered--;
		producer->received -= 4 + size;
		memmove(producer->response, producer->response + 4 + size, producer->received);
	}
}

static void
send_all(int to, const char *data, size_t size)
{
	while (size > 0)
	{
		ssize_t		count = send(to, data, size, MSG_NOSIGNAL);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			die("could not send to the broker: %s", strerror(errno));
		data += count;
		size -= count;
	}
}

void
send_wire_events(WireProducer *producer, const char *topic, int64_t timestamp)
{
	Buffer	   *request = &producer->request;
	int			used = 0;

	for (int i = 0; i < producer->npartitions; i++)
		used += producer->nrecords[i] > 0;
	if (used == 0)
		return;
	request->size = 0;
	put_integer(request, 0, 4); /* size, see below */
	put_integer(request, API_PRODUCE, 2);
	put_integer(request, VERSION_PRODUCE, 2);
	put_integer(request, ++producer->correlation, 4);
	put_string(request, CLIENT_ID);
	put_integer(request, -1, 2);	/* no transaction */
	put_integer(request, LEADER_ONLY, 2);
	put_integer(request, TIMEOUT_MS, 4);
	put_integer(request, 1, 4); /* topics */
	put_string(request, topic);
	put_integer(request, used, 4);
	for (int i = 0; i < producer->npartitions; i++)
	{
		Buffer	   *batch = &producer->batches[i];

		if (producer->nrecords[i] == 0)
			continue;
		finish_batch(batch, producer->nrecords[i], timestamp);
		put_integer(request, i, 4);
		put_integer(request, (int64_t) batch->size, 4);
		put_bytes(request, batch->data, batch->size);
		producer->nrecords[i] = 0;
	}
	store_integer(request->data, (int64_t) request->size - 4, 4);
	send_all(producer->socket, request->data, request->size);
	producer->unanswered++;
	read_responses(producer, false);
}

void
close_wire_producer(WireProducer *producer)
{
	while (producer->unanswered > 0)
		read_responses(producer, true);
	close(producer->socket);
	for (int i = 0; i < producer->npartitions; i++)
		free(producer->batches[i].data);
	free(producer->batches);
	free(producer->nrecords);
	free(producer->request.data);
	free(producer);
}
