/*-------------------------------------------------------------------------
 *
 * mapping.h
 *    Which column of a stream gets its value from which part of a message.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_MAPPING_H
#define EDDY_MAPPING_H

#include "access/tupdesc.h"
#include "nodes/bitmapset.h"
#include "utils/jsonb.h"

#include "catalog/eddy_catalog.h"
#include "decode/decode.h"

/* A part of a message, other than its payload, that goes into a column. */
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
	bool	   *decoded;		/* [attnum - 1]: comes from the payload or the metadata */
} EddyMapping;

/* Options of a source that are not librdkafka's. */
typedef struct EddySourceOptions
{
	EddyTimeFormat time_format;
	bool		check_crcs;
} EddySourceOptions;

extern EddyMapping *eddy_mapping_create(TupleDesc tupdesc, const Jsonb *json, bool strict);

/* Leaves out columns, which are NULL then; attributes from 1. */
extern void eddy_mapping_omit(EddyMapping *mapping, const Bitmapset *omitted);
extern EddySourceOptions eddy_mapping_read_options(const Jsonb *json);

/* Raises an error if the format does not exist, or mapping or options do not fit the table. */
extern void eddy_mapping_check(TupleDesc tupdesc, const EddySource *source);

#endif							/* EDDY_MAPPING_H */
