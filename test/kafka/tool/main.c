/*-------------------------------------------------------------------------
 *
 * main.c
 *    eddy-kafka-tool: manages topics, produces and reads messages for tests, benchmark and demo.
 *
 * It accesses the broker through a separate path, so that its output can be used
 * to check the data stored by the extension. Random numbers are seeded: the same
 * command line produces the same messages.
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

ToolOptions options = {
	.partition = -1,
	.partitions = 1,
	.offset = -1,
	.end = -1,
	.count = -1,
	.wait = 30,
	.seed = 1,
	.users = 20,
	.message_size = 100,
	.density = 10000
};
volatile sig_atomic_t stop_requested = 0;

typedef struct Command
{
	const char *name;
	void		(*run) (void);
	bool		needs_topic;
	const char *help;
} Command;

static const Command commands[] = {
	{"add-partitions", run_add_partitions, true, "increases the number of partitions of a topic to -p"},
	{"ads", run_ads, true, "produces -n events of the Yahoo streaming benchmark in all partitions"},
	{"arrivals", run_arrivals, true, "reads new paced events, and prints when which have arrived"},
	{"bids", run_bids, true, "produces -n Nexmark bids as flat JSON in all partitions"},
	{"count", run_count, true, "reads like dump and prints only the number of messages"},
	{"create-topic", run_create_topic, true, "creates a topic of -p partitions, with -c name=value"},
	{"delete-records", run_delete_records, true, "deletes partition -P up to offset -o"},
	{"delete-topic", run_delete_topic, true, "deletes a topic"},
	{"dump", run_dump, true, "prints partition, offset and payload of committed messages, for COPY"},
	{"keyed", run_keyed, true, "produces -n events of -m bytes with -u keys in all partitions"},
	{"orders", run_orders, true, "produces -r JSON orders per second, and a ledger of them (-l)"},
	{"produce", run_produce, true, "produces the lines of standard input"},
	{"topics", run_topics, false, "lists topics with their number of partitions"},
	{"wait", run_wait, false, "waits until the broker responds, at most -w seconds"},
	{"watermarks", run_watermarks, true, "prints partition, low and high watermark"},
};

#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static void
print_help(FILE *to)
{
	fputs("usage: eddy-kafka-tool COMMAND -b BROKERS [-t TOPIC] [options]\n\n", to);
	for (size_t i = 0; i < NCOMMANDS; i++)
		fprintf(to, "  %-15s %s\n", commands[i].name, commands[i].help);
	fputs("\n"
		  "  -p N   number of partitions           -P N   one partition\n"
		  "  -n N   number of messages             -r N   messages per second\n"
		  "  -o N   first offset                   -e N   offset after the last one\n"
		  "  -s N   seed                           -u N   number of users of orders, of keys\n"
		  "  -m N   size of keyed events           -d N   every 100th generated event is N ms earlier\n"
		  "  -v N   keyed events and ads per second of event time, without -r; default 10000\n"
		  "  -w N   seconds to wait                -l F   ledger: partition, offset and fields\n"
		  "  -z C   compression                    -c K=V property of client or new topic\n"
		  "  -a     print partition and offset of each message that the broker has acknowledged\n"
		  "  -k -X  dump: with keys; bytes as hex  -U     dump: aborted messages too\n"
		  "  -x ID  produce: transactional; the lines #commit and #abort end a transaction\n"
		  "  -f F   produce: the fields of a line, separated by tabs: k key, v value,\n"
		  "         p partition, h headers (a=b,c=d), t timestamp in ms; \\N is NULL,\n"
		  "         other escapes as in COPY; default \"kv\", or \"v\" for a line without a tab\n", to);
}

void
die(const char *format,...)
{
	va_list		args;

	fflush(stdout);
	fputs("eddy-kafka-tool: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

void
set_property(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		error[512];

	if (rd_kafka_conf_set(conf, name, value, error, sizeof(error)) != RD_KAFKA_CONF_OK)
		die("%s", error);
}

/*
 * split_property splits name=value of option -c; it returns the value and copies
 * the name to the buffer.
 */
const char *
split_property(const char *property, char *name, size_t size)
{
	const char *equals = strchr(property, '=');

	if (equals == NULL || (size_t) (equals - property) >= size)
		die("option -c needs name=value, not \"%s\"", property);
	memcpy(name, property, equals - property);
	name[equals - property] = '\0';
	return equals + 1;
}

/* new_client takes ownership of conf; properties of option -c take precedence. */
rd_kafka_t *
new_client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	char		error[512];
	rd_kafka_t *client;

	set_property(conf, "bootstrap.servers", options.brokers);
	set_property(conf, "client.id", "eddy-kafka-tool");
	set_property(conf, "log_level", "3");	/* errors only, not retries */
	for (int i = 0; i < options.nconfigs && !options.topic_configs; i++)
	{
		char		name[128];
		const char *value = split_property(options.configs[i], name, sizeof(name));

		set_property(conf, name, value);
	}
	client = rd_kafka_new(type, conf, error, sizeof(error));
	if (client == NULL)
		die("%s", error);
	return client;
}

double
now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* count_partitions fails if the topic does not exist. */
int
count_partitions(rd_kafka_t *client, const char *topic)
{
	rd_kafka_topic_t *handle = rd_kafka_topic_new(client, topic, NULL);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t error;
	int			partitions = 0;

	if (handle == NULL)
		die("invalid topic name \"%s\"", topic);
	error = rd_kafka_metadata(client, 0, handle, &metadata, TOOL_TIMEOUT_MS);
	if (error)
		die("metadata of topic \"%s\": %s", topic, rd_kafka_err2str(error));
	if (metadata->topic_cnt == 1)
	{
		if (metadata->topics[0].err)
			die("topic \"%s\": %s", topic, rd_kafka_err2str(metadata->topics[0].err));
		partitions = metadata->topics[0].partition_cnt;
	}
	rd_kafka_metadata_destroy(metadata);
	rd_kafka_topic_destroy(handle);
	if (partitions == 0)
		die("topic \"%s\" has no partitions", topic);
	return partitions;
}

/* new_consumer takes ownership of conf; fails if the partition of option -p does not exist. */
rd_kafka_t *
new_consumer(rd_kafka_conf_t *conf, int *partitions)
{
	rd_kafka_t *consumer;

	set_property(conf, "group.id", "eddy-kafka-tool");
	set_property(conf, "enable.auto.commit", "false");
	set_property(conf, "enable.auto.offset.store", "false");
	consumer = new_client(RD_KAFKA_CONSUMER, conf);
	*partitions = count_partitions(consumer, options.topic);
	if (options.partition >= *partitions)
		die("topic \"%s\" has only %d partitions", options.topic, *partitions);
	rd_kafka_poll_set_consumer(consumer);
	return consumer;
}

static int64_t
parse_integer(int option, const char *text)
{
	char	   *end;
	int64_t		value = strtoll(text, &end, 10);

	if (end == text || *end != '\0')
		die("option -%c needs a number, not \"%s\"", option, text);
	return value;
}

static double
parse_number(int option, const char *text)
{
	char	   *end;
	double		value = strtod(text, &end);

	if (end == text || *end != '\0')
		die("option -%c needs a number, not \"%s\"", option, text);
	return value;
}

static void
request_stop(int signal_number)
{
	(void) signal_number;
	stop_requested = 1;
}

/* Where the value of an option is stored; a flag has none. */
typedef struct OptionField
{
	char		name;
	enum
	{
		OPTION_FLAG, OPTION_TEXT, OPTION_INT, OPTION_INT64, OPTION_UINT64, OPTION_DOUBLE
	}			type;
	void	   *field;
} OptionField;

static const OptionField option_fields[] = {
	{'a', OPTION_FLAG, &options.acknowledged},
	{'b', OPTION_TEXT, &options.brokers},
	{'d', OPTION_INT, &options.disorder},
	{'e', OPTION_INT64, &options.end},
	{'f', OPTION_TEXT, &options.fields},
	{'k', OPTION_FLAG, &options.keys},
	{'l', OPTION_TEXT, &options.ledger},
	{'m', OPTION_INT, &options.message_size},
	{'n', OPTION_INT64, &options.count},
	{'o', OPTION_INT64, &options.offset},
	{'p', OPTION_INT, &options.partitions},
	{'P', OPTION_INT, &options.partition},
	{'r', OPTION_DOUBLE, &options.rate},
	{'s', OPTION_UINT64, &options.seed},
	{'t', OPTION_TEXT, &options.topic},
	{'u', OPTION_INT, &options.users},
	{'U', OPTION_FLAG, &options.uncommitted},
	{'v', OPTION_DOUBLE, &options.density},
	{'w', OPTION_DOUBLE, &options.wait},
	{'x', OPTION_TEXT, &options.transaction},
	{'X', OPTION_FLAG, &options.hex},
	{'z', OPTION_TEXT, &options.codec},
};

#define NOPTIONS (sizeof(option_fields) / sizeof(option_fields[0]))

static void
set_option(const OptionField *option, const char *text)
{
	switch (option->type)
	{
		case OPTION_FLAG:
			*(bool *) option->field = true;
			break;
		case OPTION_TEXT:
			*(const char **) option->field = text;
			break;
		case OPTION_INT:
			*(int *) option->field = (int) parse_integer(option->name, text);
			break;
		case OPTION_INT64:
			*(int64_t *) option->field = parse_integer(option->name, text);
			break;
		case OPTION_UINT64:
			*(uint64_t *) option->field = (uint64_t) parse_integer(option->name, text);
			break;
		case OPTION_DOUBLE:
			*(double *) option->field = parse_number(option->name, text);
			break;
	}
}

/* The options in the form of getopt. Option -c can be given several times. */
static const char *
list_options(void)
{
	static char list[2 * NOPTIONS + 3] = "c:";
	char	   *end = list + 2;

	for (size_t i = 0; i < NOPTIONS; i++)
	{
		*end++ = option_fields[i].name;
		if (option_fields[i].type != OPTION_FLAG)
			*end++ = ':';
	}
	return list;
}

static void
read_options(int argc, char **argv)
{
	const char *list = list_options();
	int			name;

	while ((name = getopt(argc, argv, list)) != -1)
	{
		const OptionField *option = option_fields;

		if (name == 'c')
		{
			if (options.nconfigs == TOOL_MAX_CONFIGS)
				die("too many -c options");
			options.configs[options.nconfigs++] = optarg;
			continue;
		}
		while (option < option_fields + NOPTIONS && option->name != name)
			option++;
		if (option == option_fields + NOPTIONS)
		{
			print_help(stderr);
			exit(2);
		}
		set_option(option, optarg);
	}
	if (optind != argc)
		die("unexpected argument \"%s\"", argv[optind]);
	if (options.users < 1)
		die("option -u needs a positive number");
	if (options.density <= 0)
		die("option -v needs a positive number");
}

int
main(int argc, char **argv)
{
	const Command *command = NULL;
	struct sigaction action;

	if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)
	{
		print_help(argc < 2 ? stderr : stdout);
		return argc < 2 ? 2 : 0;
	}
	for (size_t i = 0; i < NCOMMANDS; i++)
		if (strcmp(commands[i].name, argv[1]) == 0)
			command = &commands[i];
	if (command == NULL)
		die("unrecognized command \"%s\"", argv[1]);

	read_options(argc - 1, argv + 1);
	if (options.brokers == NULL)
		die("%s needs -b BROKERS", command->name);
	if (command->needs_topic && options.topic == NULL)
		die("%s needs -t TOPIC", command->name);

	memset(&action, 0, sizeof(action));
	action.sa_handler = request_stop;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);

	options.topic_configs = command->run == run_create_topic;
	command->run();
	if (fflush(stdout) != 0 || ferror(stdout))
		die("could not write to standard output");
	return 0;
}
