/*-------------------------------------------------------------------------
 *
 * broker_list.h
 *    The setting pg_eddy.allowed_brokers: which hosts may be connected to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_BROKER_LIST_H
#define EDDY_BROKER_LIST_H

#include <sys/socket.h>

#include "utils/guc.h"

typedef struct EddyBrokerList EddyBrokerList;

/* Check hook of the setting: every item must be understood. */
extern bool eddy_broker_list_check_setting(char **newval, void **extra, GucSource source);

extern const char *eddy_broker_list_check_bootstrap(const char *bootstrap);
extern EddyBrokerList *eddy_broker_list_parse(const char *allowed);
extern void eddy_broker_list_free(EddyBrokerList *list);
extern const char *eddy_broker_list_refused(const EddyBrokerList *list, const char *bootstrap);

/* For any thread. */
extern bool eddy_broker_list_allows_name(const EddyBrokerList *list, const char *host,
										 const char *port);
extern bool eddy_broker_list_allows_address(const EddyBrokerList *list,
											const struct sockaddr *sockaddr, const char *port);

#endif							/* EDDY_BROKER_LIST_H */
