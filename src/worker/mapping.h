/*-------------------------------------------------------------------------
 *
 * mapping.h
 *    Which column of a stream takes what from a message: JSON of the user -> decoder columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_MAPPING_H
#define EDDY_MAPPING_H

#include "access/tupdesc.h"
#include "utils/jsonb.h"

#include "catalog/eddy_catalog.h"
#include "decode/decode.h"

/* What of a message, other than its payload, goes into a column. */
typedef enum EddyMetadata
{
	EDDY_METADATA_TOPIC,
	EDDY_METADATA_PARTITION,
	EDDY_METADATA_OFFSET,
	EDDY_METADATA_TIMESTAMP,
	EDDY_METADATA_KEY,
	EDDY_METADATA_HEADERS
} EddyMetadata;

typedef struct EddyMetadataColumn
{
	int			attnum;
	Oid			type;
	EddyMetadata what;
} EddyMetadataColumn;

typedef struct EddyMapping
{
	int			ncolumns;
	EddyDecodeColumn *columns;	/* from the payload */
	int			nmetadata;
	EddyMetadataColumn *metadata;
	bool	   *decoded;		/* [attnum - 1]: comes from the message, one way or the other */
} EddyMapping;

/* Options of a source that are not librdkafka's. */
typedef struct EddySourceOptions
{
	EddyTimeFormat time_format;
	bool		check_crcs;
} EddySourceOptions;

/*
 * eddy_mapping_create makes the mapping of a table, palloc'ed in the current context.
 *
 * mapping (may be NULL) is an object; its names are columns, and its values are
 *   a JSON pointer       "/user/id"    the value there
 *   a bare word          "partition"   topic, partition, offset, timestamp, key or headers
 *   null                               nothing: the column takes its default
 * Columns that it does not name take the top-level field of their own name. With
 * strict, wrong names and types raise an error; otherwise names of columns that have
 * been dropped meanwhile are passed over.
 *
 * Metadata goes into columns of these types:
 *   topic      text, varchar              partition  smallint, integer, bigint
 *   offset     bigint                     timestamp  timestamptz, timestamp (UTC), bigint (ms)
 *   key        bytea, text, varchar       headers    jsonb, json, text
 */
extern EddyMapping *eddy_mapping_create(TupleDesc tupdesc, const Jsonb *mapping, bool strict);

/* Reads {"timestamps": "iso|seconds|milliseconds|microseconds", "check_crcs": bool} or NULL. */
extern EddySourceOptions eddy_mapping_read_options(const Jsonb *options);

/* Raises an error if the format does not exist, or mapping or options do not fit the table. */
extern void eddy_mapping_check(TupleDesc tupdesc, const EddySource *source);

#endif							/* EDDY_MAPPING_H */
