/*-------------------------------------------------------------------------
 *
 * resolve.c
 *    Refuses connections to hosts that pg_eddy.allowed_brokers does not list.
 *
 * Brokers advertise addresses of other brokers, so the check is made where librdkafka
 * resolves names, on one of its own threads. No PostgreSQL function may be called
 * there; the list does not change while the client exists.
 *
 * A name that is not listed itself is allowed if every address that it resolves to
 * is listed. (Addresses are not removed from the result: how a list of addrinfo
 * is allocated depends on the system.)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <netdb.h>

#include "kafka/internal.h"

/*
 * resolve is librdkafka's resolver, called on its threads for each connection. It
 * is getaddrinfo(3) that fails for hosts that are not allowed.
 */
static int
resolve(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **res, void *opaque)
{
	const EddyBrokerList *list = opaque;
	struct addrinfo *found = NULL;
	int			rc;

	/* librdkafka requests a result to be freed this way */
	if (node == NULL && service == NULL && hints == NULL)
	{
		freeaddrinfo(*res);
		return 0;
	}

	rc = getaddrinfo(node, service, hints, &found);
	if (rc != 0)
		return rc;

	if (!eddy_broker_list_allows_name(list, node, service))
	{
		for (struct addrinfo *ai = found; ai != NULL; ai = ai->ai_next)
		{
			if (!eddy_broker_list_allows_address(list, ai->ai_addr, service))
			{
				freeaddrinfo(found);
				return EAI_FAIL;
			}
		}
	}

	*res = found;
	return 0;
}

/* eddy_kafka_guard_resolving makes a configuration resolve names through the list. */
void
eddy_kafka_guard_resolving(rd_kafka_conf_t *conf, EddyBrokerList *list)
{
	if (list == NULL)
		return;
	rd_kafka_conf_set_opaque(conf, list);
	rd_kafka_conf_set_resolve_cb(conf, resolve);
}
