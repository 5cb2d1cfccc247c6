/*-------------------------------------------------------------------------
 *
 * properties.h
 *    The allow-list of librdkafka properties for SERVER and USER MAPPING.
 *
 * librdkafka's properties can load code, read files and reach metadata
 * services; only names of the list pass. See options.c for the families.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_KAFKA_PROPERTIES_H
#define EDDY_KAFKA_PROPERTIES_H

#include "nodes/pg_list.h"

/*
 * eddy_kafka_check_option checks one option of a catalog (ForeignServerRelationId,
 * UserMappingRelationId, ForeignDataWrapperRelationId or ForeignTableRelationId).
 *
 * Raises ERRCODE_FDW_INVALID_OPTION_NAME for a wrong or misplaced name (with the
 * closest allowed name as hint), ERRCODE_INSUFFICIENT_PRIVILEGE for a property
 * that is refused for safety, ERRCODE_INVALID_PARAMETER_VALUE for a bad value.
 */
extern void eddy_kafka_check_option(Oid catalog, const char *name, const char *value);

/*
 * Raises an error if the set of options of a catalog is not complete
 * (bootstrap.servers; sasl.mechanism with SASL), or names one property twice.
 */
extern void eddy_kafka_check_options(Oid catalog, List *options);

/* True for properties that SERVER or USER MAPPING may have. */
extern bool eddy_kafka_option_is_known(const char *name);

/* True for properties whose values must not be shown: those of USER MAPPING. */
extern bool eddy_kafka_option_is_secret(const char *name);

/* True for SASL mechanisms that need nothing but a user name and a password. */
extern bool eddy_kafka_mechanism_is_allowed(const char *mechanism);

/*
 * eddy_kafka_option_weakness says what a value gives up of the protection of TLS, as a
 * sentence, or NULL. Such values need the setting pg_eddy.allow_insecure_connections,
 * when they are given and when a connection is opened.
 */
extern const char *eddy_kafka_option_weakness(const char *name, const char *value);

/* The same for what protocol and mechanism mean together; each may be NULL. */
extern const char *eddy_kafka_protocol_weakness(const char *protocol, const char *mechanism);

#endif							/* EDDY_KAFKA_PROPERTIES_H */
