/*-------------------------------------------------------------------------
 *
 * properties.h
 *    The allow-list of librdkafka properties for SERVER and USER MAPPING.
 *
 * librdkafka's properties can load code, read files and reach metadata
 * services; only listed names are allowed. See properties.c for the families.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KAFKA_PROPERTIES_H
#define EDDY_KAFKA_PROPERTIES_H

#include "nodes/pg_list.h"

extern void eddy_kafka_check_options(Oid catalog, List *options);

extern bool eddy_kafka_option_is_known(const char *name);
extern bool eddy_kafka_option_is_secret(const char *name);
extern bool eddy_kafka_mechanism_is_allowed(const char *mechanism);

/* The reason why a value needs pg_eddy.allow_insecure_connections, or NULL. */
extern const char *eddy_kafka_option_weakness(const char *name, const char *value);
extern const char *eddy_kafka_protocol_weakness(const char *protocol, const char *mechanism);

#endif							/* EDDY_KAFKA_PROPERTIES_H */
