/*-------------------------------------------------------------------------
 *
 * pack.h
 *    Values of any type inside of serialized transition states.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_PACK_H
#define EDDY_PACK_H

#include "fmgr.h"
#include "lib/stringinfo.h"

/*
 * A value of any type. One that was unpacked can be unresolved: a text of which the type is not
 * known yet.
 */
typedef struct EddyValue
{
	Oid			type;			/* InvalidOid: unresolved */
	bool		isnull;
	Datum		value;
	char	   *text;			/* of an unresolved value, in the output format of its type */
} EddyValue;

extern void eddy_pack_value(StringInfo buffer, const EddyValue *value);
extern void eddy_unpack_value(StringInfo buffer, EddyValue *value);
extern void eddy_pack_resolve(EddyValue *value, Oid type);
extern void eddy_pack_copy(EddyValue *to, const EddyValue *from);

/*
 * Arguments of combine and deserialize functions, after which those of the aggregate are described.
 */
#define EDDY_PACK_OWN_ARGUMENTS 2

extern Oid eddy_pack_argument_type(FunctionCallInfo fcinfo, int number, bool combines);

/* A buffer over serialized bytes, for reading with pq_getmsg functions. */
extern void eddy_pack_open(StringInfo buffer, bytea *bytes);

/* Serialized bytes, from a buffer that was begun with pq_begintypsend. */
extern bytea *eddy_pack_finish(StringInfo buffer);

/* The memory of the state of an aggregate that calls a function. */
extern MemoryContext eddy_pack_context(FunctionCallInfo fcinfo);

#endif							/* EDDY_PACK_H */
