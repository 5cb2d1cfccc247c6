/*-------------------------------------------------------------------------
 *
 * wire.h
 *    A producer of one thread for paced events, see wire.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_TOOL_WIRE_H
#define EDDY_TOOL_WIRE_H

#include "tool.h"

typedef struct WireProducer WireProducer;

/* broker: host:port of the leader of all partitions. All of these end the program if there is an error. */
extern WireProducer *new_wire_producer(const char *broker, int npartitions);

/* Adds an event to the next request; the value is copied. */
extern void add_wire_event(WireProducer *producer, int partition, const char *value, size_t size);

/* Sends the events with a timestamp in ms. Waits while the socket is full, but not for a response. */
extern void send_wire_events(WireProducer *producer, const char *topic, int64_t timestamp);

/* Waits for all responses. */
extern void close_wire_producer(WireProducer *producer);

#endif							/* EDDY_TOOL_WIRE_H */
