/*-------------------------------------------------------------------------
 *
 * properties.c
 *    Which librdkafka properties a SERVER and a USER MAPPING may have.
 *
 * The rule is an allow-list: a property that is not in it is refused, including those of
 * future versions of librdkafka. For all properties known today the error gives a
 * reason, by family:
 *
 *	 server       harmless: may be an option of the server, visible to all users
 *	 user         credentials: may be an option of the user mapping, which other
 *	              users cannot see
 *	 own          set by pg_eddy, because a guarantee depends on it
 *	 producer     has no meaning for a consumer
 *	 code, files, command, token, program, log
 *	              refused for safety: the creator of a server would gain
 *	              access beyond the database
 *
 * Values that disable protections of TLS need a setting of the administrator. Values are tried on a
 * temporary configuration, so that librdkafka itself reports invalid ones. That starts no thread.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <librdkafka/rdkafka.h>

#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"

#include "broker_list.h"
#include "closest_match.h"
#include "kafka/properties.h"
#include "settings.h"

typedef enum Family
{
	SERVER,
	USER,
	OWN,
	PRODUCER,
	CODE,
	FILES,
	COMMAND,
	TOKEN,
	PROGRAM,
	LOGGING,
	NOWHERE						/* not a property */
} Family;

typedef struct Property
{
	const char *name;
	Family		family;
	const char *use;			/* the option to use in its place, or the main name of an alias */
} Property;

/* Alphabetical within a family. */
static const Property properties[] =
{
	{"api.version.fallback.ms", SERVER, NULL},
	{"api.version.request", SERVER, NULL},
	{"api.version.request.timeout.ms", SERVER, NULL},
	{"bootstrap.servers", SERVER, NULL},
	{"broker.address.family", SERVER, NULL},
	{"broker.address.ttl", SERVER, NULL},
	{"broker.version.fallback", SERVER, NULL},
	{"check.crcs", SERVER, NULL},
	{"client.dns.lookup", SERVER, NULL},
	{"client.rack", SERVER, NULL},
	{"connections.max.idle.ms", SERVER, NULL},
	{"enable.metrics.push", SERVER, NULL},
	{"enable.ssl.certificate.verification", SERVER, NULL},
	{"fetch.error.backoff.ms", SERVER, NULL},
	{"fetch.max.bytes", SERVER, NULL},
	{"fetch.message.max.bytes", SERVER, NULL},
	{"fetch.min.bytes", SERVER, NULL},
	{"fetch.queue.backoff.ms", SERVER, NULL},
	{"fetch.wait.max.ms", SERVER, NULL},
	{"max.in.flight", SERVER, "max.in.flight.requests.per.connection"},
	{"max.in.flight.requests.per.connection", SERVER, NULL},
	{"max.partition.fetch.bytes", SERVER, "fetch.message.max.bytes"},
	{"message.max.bytes", SERVER, NULL},
	{"metadata.max.age.ms", SERVER, NULL},
	{"metadata.recovery.rebootstrap.trigger.ms", SERVER, NULL},
	{"metadata.recovery.strategy", SERVER, NULL},
	{"queued.max.messages.kbytes", SERVER, NULL},
	{"queued.min.messages", SERVER, NULL},
	{"receive.message.max.bytes", SERVER, NULL},
	{"reconnect.backoff.jitter.ms", SERVER, NULL},
	{"reconnect.backoff.max.ms", SERVER, NULL},
	{"reconnect.backoff.ms", SERVER, NULL},
	{"retry.backoff.max.ms", SERVER, NULL},
	{"retry.backoff.ms", SERVER, NULL},
	{"sasl.mechanism", SERVER, "sasl.mechanisms"},
	{"sasl.mechanisms", SERVER, NULL},
	{"security.protocol", SERVER, NULL},
	{"socket.blocking.max.ms", SERVER, NULL},
	{"socket.connection.setup.timeout.ms", SERVER, NULL},
	{"socket.keepalive.enable", SERVER, NULL},
	{"socket.max.fails", SERVER, NULL},
	{"socket.nagle.disable", SERVER, NULL},
	{"socket.receive.buffer.bytes", SERVER, NULL},
	{"socket.send.buffer.bytes", SERVER, NULL},
	{"socket.timeout.ms", SERVER, NULL},
	{"ssl.ca.pem", SERVER, NULL},
	{"ssl.cipher.suites", SERVER, NULL},
	{"ssl.curves.list", SERVER, NULL},
	{"ssl.endpoint.identification.algorithm", SERVER, NULL},
	{"ssl.sigalgs.list", SERVER, NULL},
	{"topic.metadata.propagation.max.ms", SERVER, NULL},
	{"topic.metadata.refresh.fast.cnt", SERVER, NULL},
	{"topic.metadata.refresh.fast.interval.ms", SERVER, NULL},
	{"topic.metadata.refresh.interval.ms", SERVER, NULL},
	{"topic.metadata.refresh.sparse", SERVER, NULL},

	{"sasl.password", USER, NULL},
	{"sasl.username", USER, NULL},
	{"ssl.certificate.pem", USER, NULL},
	{"ssl.key.password", USER, NULL},
	{"ssl.key.pem", USER, NULL},

	{"allow.auto.create.topics", OWN, NULL},
	{"auto.commit.enable", OWN, NULL},
	{"auto.commit.interval.ms", OWN, NULL},
	{"auto.offset.reset", OWN, NULL},
	{"builtin.features", OWN, NULL},
	{"client.id", OWN, NULL},
	{"consume.callback.max.messages", OWN, NULL},
	{"coordinator.query.interval.ms", OWN, NULL},
	{"enable.auto.commit", OWN, NULL},
	{"enable.auto.offset.store", OWN, NULL},
	{"enable.partition.eof", OWN, NULL},
	{"enable.random.seed", OWN, NULL},
	{"enabled_events", OWN, NULL},
	{"group.id", OWN, NULL},
	{"group.instance.id", OWN, NULL},
	{"group.protocol", OWN, NULL},
	{"group.protocol.type", OWN, NULL},
	{"group.remote.assignor", OWN, NULL},
	{"heartbeat.interval.ms", OWN, NULL},
	{"isolation.level", OWN, NULL},
	{"max.poll.interval.ms", OWN, NULL},
	{"max.poll.records", OWN, NULL},
	{"metadata.broker.list", OWN, "bootstrap.servers"},
	{"offset.store.method", OWN, NULL},
	{"offset.store.sync.interval.ms", OWN, NULL},
	{"partition.assignment.strategy", OWN, NULL},
	{"session.timeout.ms", OWN, NULL},
	{"share.acknowledgement.mode", OWN, NULL},
	{"statistics.interval.ms", OWN, NULL},
	{"topic.blacklist", OWN, NULL},

	{"acks", PRODUCER, NULL},
	{"batch.num.messages", PRODUCER, NULL},
	{"batch.size", PRODUCER, NULL},
	{"compression.codec", PRODUCER, NULL},
	{"compression.level", PRODUCER, NULL},
	{"compression.type", PRODUCER, NULL},
	{"delivery.report.only.error", PRODUCER, NULL},
	{"delivery.timeout.ms", PRODUCER, NULL},
	{"enable.gapless.guarantee", PRODUCER, NULL},
	{"enable.idempotence", PRODUCER, NULL},
	{"linger.ms", PRODUCER, NULL},
	{"message.copy.max.bytes", PRODUCER, NULL},
	{"message.send.max.retries", PRODUCER, NULL},
	{"message.timeout.ms", PRODUCER, NULL},
	{"partitioner", PRODUCER, NULL},
	{"produce.offset.report", PRODUCER, NULL},
	{"queue.buffering.backpressure.threshold", PRODUCER, NULL},
	{"queue.buffering.max.kbytes", PRODUCER, NULL},
	{"queue.buffering.max.messages", PRODUCER, NULL},
	{"queue.buffering.max.ms", PRODUCER, NULL},
	{"queuing.strategy", PRODUCER, NULL},
	{"request.required.acks", PRODUCER, NULL},
	{"request.timeout.ms", PRODUCER, NULL},
	{"retries", PRODUCER, NULL},
	{"sticky.partitioning.linger.ms", PRODUCER, NULL},
	{"transaction.timeout.ms", PRODUCER, NULL},
	{"transactional.id", PRODUCER, NULL},

	{"plugin.library.paths", CODE, NULL},
	{"ssl.engine.id", CODE, NULL},
	{"ssl.engine.location", CODE, NULL},
	{"ssl.providers", CODE, NULL},

	{"https.ca.location", FILES, NULL},
	{"offset.store.path", FILES, NULL},
	{"ssl.ca.certificate.stores", FILES, "ssl.ca.pem"},
	{"ssl.ca.location", FILES, "ssl.ca.pem"},
	{"ssl.certificate.location", FILES, "ssl.certificate.pem"},
	{"ssl.crl.location", FILES, NULL},
	{"ssl.key.location", FILES, "ssl.key.pem"},
	{"ssl.keystore.location", FILES, "ssl.key.pem"},
	{"ssl.keystore.password", FILES, "ssl.key.password"},

	{"sasl.kerberos.keytab", COMMAND, NULL},
	{"sasl.kerberos.kinit.cmd", COMMAND, NULL},
	{"sasl.kerberos.min.time.before.relogin", COMMAND, NULL},
	{"sasl.kerberos.principal", COMMAND, NULL},
	{"sasl.kerberos.service.name", COMMAND, NULL},

	{"enable.sasl.oauthbearer.unsecure.jwt", TOKEN, NULL},
	{"https.ca.pem", TOKEN, NULL},

	{"debug", LOGGING, NULL},
	{"log.connection.close", LOGGING, NULL},
	{"log.queue", LOGGING, NULL},
	{"log.thread.name", LOGGING, NULL},
	{"log_level", LOGGING, NULL},

	{"default_topic_conf", PROGRAM, NULL},
	{"interceptors", PROGRAM, NULL},
	{"internal.termination.signal", PROGRAM, NULL},
	{"msg_order_cmp", PROGRAM, NULL},
	{"opaque", PROGRAM, NULL},
	{"ssl_ca", PROGRAM, "ssl.ca.pem"},
	{"ssl_certificate", PROGRAM, "ssl.certificate.pem"},
	{"ssl_engine_callback_data", PROGRAM, NULL},
	{"ssl_key", PROGRAM, "ssl.key.pem"},
};

/* Families determined by how a name begins or ends: newer versions add to them. */
static const struct
{
	const char *text;
	bool		at_end;
	Family		family;
}			patterns[] =
{
	{"plugin.", false, CODE},
	{"ssl.engine.", false, CODE},
	{"sasl.kerberos.", false, COMMAND},
	{"sasl.oauthbearer.", false, TOKEN},
	{"log.", false, LOGGING},
	{"log_", false, LOGGING},
	{"_cb", true, PROGRAM},
	{".location", true, FILES},
	{".file", true, FILES},
	{".keytab", true, FILES},
	{"ssl.keystore.", false, FILES},
	{"ssl.truststore.", false, FILES},
	{"test.", false, PROGRAM},
};

/* Mechanisms without a command, a ticket or an address to fetch a token from. */
static const char *const mechanisms[] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"};

/* find_property finds a name in the list. */
static const Property *
find_property(const char *name)
{
	for (size_t i = 0; i < lengthof(properties); i++)
		if (strcmp(properties[i].name, name) == 0)
			return &properties[i];
	return NULL;
}

/* family_of returns the family of any name. */
static Family
family_of(const char *name)
{
	const Property *property = find_property(name);
	size_t		len = strlen(name);

	if (property != NULL)
		return property->family;
	for (size_t i = 0; i < lengthof(patterns); i++)
	{
		size_t		part = strlen(patterns[i].text);

		if (len >= part &&
			strncmp(patterns[i].at_end ? name + len - part : name, patterns[i].text, part) == 0)
			return patterns[i].family;
	}
	return NOWHERE;
}

/* main_name returns librdkafka's own name of a property, given an alias. */
static const char *
main_name(const char *name)
{
	const Property *property = find_property(name);

	return property != NULL && property->use != NULL ? property->use : name;
}

/* eddy_kafka_option_is_known: true for properties that SERVER or USER MAPPING may have. */
bool
eddy_kafka_option_is_known(const char *name)
{
	Family		family = family_of(name);

	return family == SERVER || family == USER;
}

/* eddy_kafka_option_is_secret: true for properties whose values must not be shown. */
bool
eddy_kafka_option_is_secret(const char *name)
{
	return family_of(name) == USER;
}

/* eddy_kafka_mechanism_is_allowed: true for those that need only a user name and a password. */
bool
eddy_kafka_mechanism_is_allowed(const char *mechanism)
{
	for (size_t i = 0; i < lengthof(mechanisms); i++)
		if (pg_strcasecmp(mechanisms[i], mechanism) == 0)
			return true;
	return false;
}

/* closest_match finds the allowed option of the family that is closest to name, or NULL. */
static const char *
closest_match(const char *name, Family family)
{
	EddyClosestMatch closest;

	eddy_closest_init(&closest, name);
	for (size_t i = 0; i < lengthof(properties); i++)
		if (properties[i].family == family)
			eddy_closest_update(&closest, properties[i].name);
	return closest.match;
}

/* refuse_for_safety raises the error for a family that gives access beyond the database. */
static void
refuse_for_safety(const char *name, Family family, const char *use)
{
	const char *detail = NULL;

	switch (family)
	{
		case CODE:
			detail = "It would load code into the server process.";
			break;
		case FILES:
			detail = "It would make the server read files of its operating system user.";
			break;
		case COMMAND:
			detail = "Kerberos tickets are renewed with a command that the server would run in a shell.";
			break;
		case TOKEN:
			detail = "It would make the server fetch tokens from addresses that the option names.";
			break;
		case LOGGING:
			detail = "It could bring messages and credentials into the server log.";
			break;
		default:
			detail = "It can only be set by a program.";
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("option \"%s\" is not allowed", name),
			 errdetail_internal("%s", detail),
			 use != NULL ? errhint("Give the text itself in the option \"%s\".", use) : 0));
}

/* refuse_unknown raises the error for a name that is not a property. */
static void
refuse_unknown(Oid catalog, const char *name)
{
	bool		user = catalog == UserMappingRelationId;
	const char *match = closest_match(name, user ? USER : SERVER);
	const char *other = match == NULL ? closest_match(name, user ? SERVER : USER) : NULL;

	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("unrecognized option \"%s\"", name),
			 errdetail("It is not a librdkafka property that pg_eddy allows."),
			 match != NULL ? errhint("Perhaps you meant the option \"%s\".", match) :
			 other != NULL && user ?
			 errhint("Perhaps you meant the option \"%s\" of the server.", other) :
			 other != NULL ?
			 errhint("Perhaps you meant the option \"%s\" of the user mapping.", other) : 0));
}

/* check_name raises an error unless the option is valid for the catalog. */
static void
check_name(Oid catalog, const char *name)
{
	const Property *property = find_property(name);
	const char *use = property != NULL ? property->use : NULL;
	Family		family = family_of(name);

	if (catalog != ForeignServerRelationId && catalog != UserMappingRelationId)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("unrecognized option \"%s\"", name),
				 errdetail("Kafka options are valid for servers and user mappings only.")));

	switch (family)
	{
		case SERVER:
			if (catalog == UserMappingRelationId)
				ereport(ERROR,
						(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
						 errmsg("option \"%s\" is not valid for a user mapping", name),
						 errdetail("It is the same for all users."),
						 errhint("Give it to CREATE SERVER or ALTER SERVER.")));
			return;

		case USER:
			if (catalog == ForeignServerRelationId)
				ereport(ERROR,
						(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
						 errmsg("option \"%s\" is not valid for a server", name),
						 errdetail("Everybody can read the options of a server."),
						 errhint("Give it to CREATE USER MAPPING or ALTER USER MAPPING.")));
			return;

		case OWN:
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("option \"%s\" cannot be set", name),
					 use != NULL ? errdetail("It is another name of \"%s\".", use) :
					 errdetail("pg_eddy sets it itself: offsets and delivery depend on it."),
					 use != NULL ? errhint("Use the option \"%s\".", use) : 0));
			break;

		case PRODUCER:
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("option \"%s\" cannot be set", name),
					 errdetail("It is for producers, and pg_eddy only consumes.")));
			break;

		case NOWHERE:
			refuse_unknown(catalog, name);
			break;

		default:
			refuse_for_safety(name, family, use);
			break;
	}
}

/*
 * check_value lets librdkafka check the value. Its text about a secret may contain
 * the secret and is not shown.
 */
static void
check_value(const char *name, const char *value)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char		errstr[512];
	rd_kafka_conf_res_t result;

	result = rd_kafka_conf_set(conf, name, value, errstr, sizeof(errstr));
	rd_kafka_conf_destroy(conf);
	if (result == RD_KAFKA_CONF_OK)
		return;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\"", name),
			 result == RD_KAFKA_CONF_UNKNOWN ?
			 errdetail("librdkafka %s does not have this property.", rd_kafka_version_str()) :
			 eddy_kafka_option_is_secret(name) ? 0 :
			 errdetail("librdkafka reports: %s", errstr)));
}

/* normalize_value returns a value as librdkafka reads it, which accepts several spellings. */
static void
normalize_value(const char *name, const char *value, char *buf, size_t size)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	buf[0] = '\0';
	(void) rd_kafka_conf_set(conf, name, value, NULL, 0);
	if (rd_kafka_conf_get(conf, name, buf, &size) != RD_KAFKA_CONF_OK)
		buf[0] = '\0';
	rd_kafka_conf_destroy(conf);
}

/*
 * has_weak_cipher detects ciphers that do not encrypt, do not authenticate or are
 * broken. Those that a list includes by a wider term are excluded by OpenSSL's security
 * level, unless the list lowers that.
 */
static bool
has_weak_cipher(const char *ciphers)
{
	static const char *const weak[] = {"NULL", "ADH", "AECDH", "ANON", "EXP", "LOW", "RC4", "RC2",
	"DES", "MD5", "COMPLEMENTOF", "@SECLEVEL=0"};
	char	   *copy = pstrdup(ciphers);
	char	   *save;

	for (char *token = strtok_r(copy, ":;, ", &save); token != NULL;
		 token = strtok_r(NULL, ":;, ", &save))
	{
		/* these remove ciphers */
		if (*token == '!' || *token == '-')
			continue;
		for (char *c = token; *c != '\0'; c++)
			*c = pg_toupper((unsigned char) *c);
		for (size_t i = 0; i < lengthof(weak); i++)
			if (strstr(token, weak[i]) != NULL)
				return true;
	}
	return false;
}

/*
 * eddy_kafka_option_weakness returns which protection of TLS a value gives up, as a sentence, or
 * NULL. Such values need the setting pg_eddy.allow_insecure_connections, both when they are given
 * and when a connection is opened.
 */
const char *
eddy_kafka_option_weakness(const char *name, const char *value)
{
	char		buf[16];

	if (strcmp(name, "enable.ssl.certificate.verification") == 0)
	{
		normalize_value(name, value, buf, sizeof(buf));
		return strcmp(buf, "true") == 0 ? NULL : "Credentials could be sent to an impersonated broker.";
	}
	if (strcmp(name, "ssl.endpoint.identification.algorithm") == 0)
	{
		normalize_value(name, value, buf, sizeof(buf));
		return strcmp(buf, "https") == 0 ? NULL :
			"Credentials would be sent to any host that has a certificate of the same authority.";
	}
	if (strcmp(name, "ssl.cipher.suites") == 0 && has_weak_cipher(value))
		return "The list has ciphers that do not encrypt, do not authenticate or are broken.";
	return NULL;
}

/* eddy_kafka_protocol_weakness: the same for protocol and mechanism together; each may be NULL. */
const char *
eddy_kafka_protocol_weakness(const char *protocol, const char *mechanism)
{
	if (protocol != NULL && mechanism != NULL &&
		pg_strcasecmp(protocol, "sasl_plaintext") == 0 && pg_strcasecmp(mechanism, "PLAIN") == 0)
		return "The password would be sent in clear text.";
	return NULL;
}

/* refuse_weakness raises the error for what only the administrator can allow. */
static void
refuse_weakness(const char *name, const char *weakness)
{
	if (weakness == NULL || eddy_settings_allow_insecure_connections)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("value of option \"%s\" is not allowed", name),
			 errdetail_internal("%s", weakness),
			 errhint("The setting \"pg_eddy.allow_insecure_connections\" allows it.")));
}

/*
 * check_option checks one option. The SQLSTATE of its error distinguishes an invalid or misplaced
 * name (with the closest allowed one as hint), a property that is refused for safety, and an
 * invalid value.
 */
static void
check_option(Oid catalog, const char *name, const char *value)
{
	check_name(catalog, name);

	if (strcmp(name, "bootstrap.servers") == 0 && value[strspn(value, ", \t\r\n")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"", name),
				 errdetail("It names no broker."),
				 errhint("Give one or more addresses as host:port, separated by commas.")));
	if (strcmp(name, "bootstrap.servers") == 0)
	{
		const char *item = eddy_broker_list_check_bootstrap(value);

		if (item)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for option \"%s\"", name),
					 errdetail("\"%s\" is not the address of a broker.", item),
					 errhint("Give one or more addresses as host:port, separated by commas.")));
	}

	if (strcmp(main_name(name), "sasl.mechanisms") == 0 &&
		!eddy_kafka_mechanism_is_allowed(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"", name),
				 errdetail("Mechanisms that run commands or fetch tokens are not allowed."),
				 errhint("Use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.")));

	check_value(name, value);

	refuse_weakness(name, eddy_kafka_option_weakness(name, value));
}

/* find_option returns the value of a property that may be given under two names. */
static const char *
find_option(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(main_name(option->defname), name) == 0)
			return defGetString(option);
	}
	return NULL;
}

/*
 * check_server raises an error if the options of a server are not complete, name one property
 * twice, or are weak in combination.
 */
static void
check_server(List *options)
{
	const char *protocol;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, options)
	{
		const char *name = lfirst_node(DefElem, lc)->defname;

		for_each_cell(lc2, options, lnext(options, lc))
		{
			const char *second = lfirst_node(DefElem, lc2)->defname;

			if (strcmp(main_name(name), main_name(second)) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_SYNTAX_ERROR),
						 errmsg("conflicting or redundant options"),
						 errdetail("\"%s\" and \"%s\" are names of one property.", name, second)));
		}
	}

	if (find_option(options, "bootstrap.servers") == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("option \"bootstrap.servers\" is required for a Kafka server"),
				 errhint("Give one or more addresses as host:port, separated by commas.")));

	protocol = find_option(options, "security.protocol");
	if (protocol != NULL && pg_strncasecmp(protocol, "sasl", 4) == 0 &&
		find_option(options, "sasl.mechanisms") == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("option \"sasl.mechanism\" is required with security protocol \"%s\"",
						protocol),
				 errhint("Use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.")));

	refuse_weakness("security.protocol",
					eddy_kafka_protocol_weakness(protocol,
												 find_option(options, "sasl.mechanisms")));
}

/*
 * eddy_kafka_check_options checks all options of an object of a catalog (ForeignServerRelationId,
 * UserMappingRelationId, ForeignDataWrapperRelationId or ForeignTableRelationId).
 */
void
eddy_kafka_check_options(Oid catalog, List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		check_option(catalog, option->defname, defGetString(option));
	}
	if (catalog == ForeignServerRelationId)
		check_server(options);
}
