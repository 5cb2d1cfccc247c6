/*-------------------------------------------------------------------------
 *
 * broker_list.c
 *    The setting pg_eddy.allowed_brokers: which hosts may be connected to.
 *
 * The setting is a list of host:port, host, address:port, address and CIDR
 * blocks. It holds for the addresses that a server option names and for those
 * that brokers advertise: a broker of a user's choosing must not be able to send
 * the server to a host inside its network.
 *
 * The list does not change once it is parsed. The functions that match a name or an
 * address are called on librdkafka's threads (kafka/resolve.c): they are plain C and
 * call no PostgreSQL function. Memory: malloc, until eddy_broker_list_free.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "broker_list.h"

#define DEFAULT_PORT "9092"
#define BROKER_SEPARATORS ", \t\r\n\""
#define BROKER_BLANKS " \t\r\n"

typedef struct Address
{
	int			family;			/* AF_INET, AF_INET6, or 0: none */
	int			bits;			/* that count */
	unsigned char bytes[16];
} Address;

typedef struct Entry
{
	char	   *host;			/* as written, without port and brackets */
	char	   *port;			/* NULL: any */
	Address		address;		/* if host is one, or a block of them */
} Entry;

struct EddyBrokerList
{
	int			nentries;
	Entry	   *entries;
};

/* parse_address reads an address, with /bits if a block may be meant. */
static bool
parse_address(const char *text, bool block, Address *address)
{
	char		buf[64];
	char	   *slash;
	int			width;

	memset(address, 0, sizeof(*address));
	if (strlen(text) >= sizeof(buf))
		return false;
	strcpy(buf, text);
	slash = block ? strchr(buf, '/') : NULL;
	if (slash != NULL)
		*slash++ = '\0';

	if (inet_pton(AF_INET, buf, address->bytes) == 1)
	{
		address->family = AF_INET;
		width = 32;
	}
	else if (inet_pton(AF_INET6, buf, address->bytes) == 1)
	{
		address->family = AF_INET6;
		width = 128;
	}
	else
		return false;

	address->bits = width;
	if (slash != NULL)
	{
		char	   *end;
		long		bits = strtol(slash, &end, 10);

		if (*slash < '0' || *slash > '9' || *end != '\0' || bits > width)
		{
			address->family = 0;
			return false;
		}
		address->bits = (int) bits;
	}
	return true;
}

/* contains returns whether the bits that count are the same. */
static bool
contains(const Address *block, const Address *address)
{
	int			bytes = block->bits / 8;
	int			rest = block->bits % 8;
	unsigned char mask = (unsigned char) (0xff00 >> rest);

	if (block->family == 0 || block->family != address->family)
		return false;
	if (memcmp(block->bytes, address->bytes, bytes) != 0)
		return false;
	return rest == 0 || ((block->bytes[bytes] ^ address->bytes[bytes]) & mask) == 0;
}

/*
 * split_host cuts "host:port", "[address]:port" or "protocol://host:port" in
 * place. A bare IPv6 address has more colons than one and no port.
 */
static void
split_host(char *text, char **host, char **port)
{
	char	   *colon;
	char	   *scheme = strstr(text, "://");

	if (scheme != NULL)
		text = scheme + 3;
	*port = NULL;
	*host = text;
	if (*text == '[')
	{
		char	   *close = strchr(text, ']');

		if (close == NULL)
			return;
		*host = text + 1;
		*close = '\0';
		if (close[1] == ':')
			*port = close + 2;
		return;
	}
	colon = strchr(text, ':');
	if (colon != NULL && strchr(colon + 1, ':') == NULL)
	{
		*colon = '\0';
		*port = colon + 1;
	}
}

/* next_item takes the next item of a list separated by commas and blanks. */
static char *
next_item(char **rest)
{
	char	   *item;

	while (*rest != NULL && (item = strsep(rest, BROKER_SEPARATORS)) != NULL)
		if (*item != '\0')
			return item;
	return NULL;
}

/*
 * eddy_broker_list_parse reads the setting. NULL if it is empty, which allows
 * any host. An item that cannot be understood matches nothing.
 */
EddyBrokerList *
eddy_broker_list_parse(const char *allowed)
{
	EddyBrokerList *list;
	char	   *copy;
	char	   *rest;
	char	   *item;

	if (allowed == NULL || allowed[strspn(allowed, BROKER_SEPARATORS)] == '\0')
		return NULL;

	list = calloc(1, sizeof(*list));
	copy = strdup(allowed);
	if (list != NULL)
		list->entries = calloc(strlen(allowed) / 2 + 1, sizeof(Entry));
	if (list == NULL || copy == NULL || list->entries == NULL)
	{
		free(copy);
		eddy_broker_list_free(list);
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	}

	rest = copy;
	while ((item = next_item(&rest)) != NULL)
	{
		Entry	   *entry = &list->entries[list->nentries];
		char	   *host;
		char	   *port;

		split_host(item, &host, &port);
		entry->host = strdup(host);
		entry->port = port != NULL ? strdup(port) : NULL;
		if (entry->host == NULL || (port != NULL && entry->port == NULL))
		{
			list->nentries++;
			free(copy);
			eddy_broker_list_free(list);
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory")));
		}
		(void) parse_address(host, true, &entry->address);
		list->nentries++;
	}
	free(copy);
	return list;
}

/* is_host returns whether a text can be the name of a host, or an address or block. */
static bool
is_host(const char *host)
{
	Address		address;
	size_t		len = strlen(host);

	if (parse_address(host, true, &address))
		return true;
	/* digits and dots alone would be an address, and a name has no colon or slash */
	if (len == 0 || len > 253 || host[strspn(host, "0123456789.")] == '\0')
		return false;
	return strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == len &&
		host[0] != '-' && host[0] != '.';
}

/* is_port returns whether a text is the number of a port. */
static bool
is_port(const char *port)
{
	size_t		len = strlen(port);

	return len > 0 && len <= 5 && strspn(port, "0123456789") == len &&
		atoi(port) >= 1 && atoi(port) <= 65535;
}

/* check_list is true if every item can be understood; the first that cannot goes to item. */
static bool
check_list(const char *allowed, char *item, size_t size)
{
	const char *p = allowed;

	while (p != NULL && p[strspn(p, BROKER_SEPARATORS)] != '\0')
	{
		char		copy[512];
		char	   *host;
		char	   *port;
		size_t		len;

		p += strspn(p, BROKER_SEPARATORS);
		len = strcspn(p, BROKER_SEPARATORS);
		strlcpy(item, p, Min(len + 1, size));
		if (len >= sizeof(copy))
			return false;
		strlcpy(copy, p, len + 1);
		/* an item has no scheme, and nothing follows brackets but a port */
		if (strstr(copy, "://") != NULL ||
			(copy[0] == '[' && (strchr(copy, ']') == NULL ||
								(strchr(copy, ']')[1] != '\0' && strchr(copy, ']')[1] != ':'))))
			return false;
		split_host(copy, &host, &port);
		if (!is_host(host) || (port != NULL && !is_port(port)))
			return false;
		p += len;
	}
	return true;
}

/* The item of a bootstrap list that begins at text, which ends at the next comma. */
static bool
check_address(char *text)
{
	static const char *const protocols[] = {"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"};
	char	   *scheme = strstr(text, "://");
	char	   *host;
	char	   *port;
	bool		known = scheme == NULL;

	for (int i = 0; i < (int) lengthof(protocols) && !known; i++)
		known = strlen(protocols[i]) == (size_t) (scheme - text) &&
			pg_strncasecmp(text, protocols[i], scheme - text) == 0;
	if (scheme)
		text = scheme + 3;
	if (!known || strchr(text, '/') != NULL ||
		(text[0] == '[' && (strchr(text, ']') == NULL ||
							(strchr(text, ']')[1] != '\0' && strchr(text, ']')[1] != ':'))))
		return false;
	split_host(text, &host, &port);
	return is_host(host) && (port == NULL || is_port(port));
}

/*
 * eddy_broker_list_check_bootstrap returns the first item that is no address of a broker, or NULL. librdkafka
 * would ignore it, or connect to another port: it takes ports modulo 65536. The result is palloc'ed.
 */
const char *
eddy_broker_list_check_bootstrap(const char *bootstrap)
{
	char	   *rest = pstrdup(bootstrap);
	char	   *item;

	while ((item = strsep(&rest, ",")) != NULL)
	{
		size_t		len;

		item += strspn(item, BROKER_BLANKS);
		len = strlen(item);
		while (len > 0 && strchr(BROKER_BLANKS, item[len - 1]) != NULL)
			item[--len] = '\0';
		if (len > 0 && !check_address(pstrdup(item)))
			return item;
	}
	return NULL;
}

/* An item that is misspelt would allow less than was meant, or nothing at all. */
bool
eddy_broker_list_check_setting(char **newval, void **extra pg_attribute_unused(),
							   GucSource source pg_attribute_unused())
{
	char		item[128];

	if (check_list(*newval, item, sizeof(item)))
		return true;
	GUC_check_errdetail("\"%s\" is neither host:port, host, address nor a block of addresses.",
						item);
	GUC_check_errhint("Write IPv6 addresses with a port in brackets, and blocks as address/bits.");
	return false;
}

/* eddy_broker_list_free must come after the client that uses the list is destroyed. */
void
eddy_broker_list_free(EddyBrokerList *list)
{
	if (list == NULL)
		return;
	for (int i = 0; list->entries != NULL && i < list->nentries; i++)
	{
		free(list->entries[i].host);
		free(list->entries[i].port);
	}
	free(list->entries);
	free(list);
}

/* port_matches compares a port with that of an entry, which may be any. */
static bool
port_matches(const Entry *entry, const char *port)
{
	return entry->port == NULL || (port != NULL && strcmp(entry->port, port) == 0);
}

/* eddy_broker_list_allows_name returns whether the host is listed as it is written. */
bool
eddy_broker_list_allows_name(const EddyBrokerList *list, const char *host, const char *port)
{
	for (int i = 0; i < list->nentries; i++)
		if (strcasecmp(list->entries[i].host, host) == 0 &&
			port_matches(&list->entries[i], port))
			return true;
	return false;
}

/* allows_address returns whether the address is listed, or is in a listed block. */
static bool
allows_address(const EddyBrokerList *list, const Address *address, const char *port)
{
	for (int i = 0; i < list->nentries; i++)
		if (contains(&list->entries[i].address, address) &&
			port_matches(&list->entries[i], port))
			return true;
	return false;
}

/* eddy_broker_list_allows_address does the same for an address that a name resolved to. */
bool
eddy_broker_list_allows_address(const EddyBrokerList *list, const struct sockaddr *sockaddr,
								const char *port)
{
	Address		address;

	memset(&address, 0, sizeof(address));
	address.family = sockaddr->sa_family;
	if (address.family == AF_INET)
		memcpy(address.bytes, &((const struct sockaddr_in *) sockaddr)->sin_addr, 4);
	else if (address.family == AF_INET6)
		memcpy(address.bytes, &((const struct sockaddr_in6 *) sockaddr)->sin6_addr, 16);
	return allows_address(list, &address, port);
}

/*
 * eddy_broker_list_refused returns the first bootstrap address that is refused
 * for certain, or NULL. A name that may resolve to a listed address is not: that
 * is found out when it is resolved. The result is palloc'ed.
 */
const char *
eddy_broker_list_refused(const EddyBrokerList *list, const char *bootstrap)
{
	char	   *rest = pstrdup(bootstrap);
	char	   *item;
	bool		has_address = false;

	if (list == NULL)
		return NULL;
	for (int i = 0; i < list->nentries; i++)
		if (list->entries[i].address.family != 0)
			has_address = true;

	while ((item = next_item(&rest)) != NULL)
	{
		char	   *shown = pstrdup(item);
		char	   *host;
		char	   *port;
		Address		address;

		split_host(item, &host, &port);
		if (port == NULL)
			port = DEFAULT_PORT;
		if (eddy_broker_list_allows_name(list, host, port))
			continue;
		if (parse_address(host, false, &address) ?
			!allows_address(list, &address, port) : !has_address)
			return shown;
	}
	return NULL;
}
