/*-------------------------------------------------------------------------
 *
 * initial_rows.c
 *    All rows of a view, which eddy.send_snapshot has written for the slot of this decoding.
 *
 * They are rows of a table of pg_eddy, whose label (label.h) only superusers can set, and which
 * belongs to a superuser; a trigger refuses writes by all roles. So no other role can make a
 * consumer receive such rows, nor bytes that are not a row of the state table. The number for the
 * types of its columns is compared nevertheless.
 *
 * The transaction that has written them holds a lock against writers of the view. Changes of the
 * view that it has made itself before are sent first. The rows are visible ones, selected as all
 * others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "replication/reorderbuffer.h"
#include "replication/slot.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "cdc/emit.h"
#include "cdc/initial_rows.h"
#include "cdc/net.h"
#include "cdc/view_row.h"
#include "compat.h"

/* What a row of the table holds, from 0. */
enum
{
	INITIAL_SLOT,
	INITIAL_TABLE,
	INITIAL_LAYOUT,
	INITIAL_CONTENT
};

static void write_row(LogicalDecodingContext *ctx, EddyCdcRelation *rows, bytea *content);

void
eddy_cdc_change_initial(LogicalDecodingContext *ctx, EddyCdcRelation *entry, Relation relation,
						ReorderBufferChange *change)
{
	EddyCdcState *state = ctx->output_plugin_private;
	HeapTuple	tuple = eddy_compat_decoded_tuple(change->data.tp.newtuple);
	const Datum *values = entry->new_values;
	int64		seq = state->seq;
	Relation	table;
	EddyCdcRelation *rows;

	if (change->action != REORDER_BUFFER_CHANGE_INSERT || tuple == NULL)
		return;
	heap_deform_tuple(tuple, RelationGetDescr(relation), entry->new_values, entry->new_nulls);
	for (int i = INITIAL_SLOT; i < INITIAL_CONTENT; i++)
		if (entry->new_nulls[entry->initial[i]])
			return;
	if (strcmp(NameStr(*DatumGetName(values[entry->initial[INITIAL_SLOT]])),
			   NameStr(MyReplicationSlot->data.name)) != 0)
		return;

	/* before the description of a table can be replaced */
	eddy_cdc_net_flush(ctx);
	table = RelationIdGetRelation(DatumGetObjectId(values[entry->initial[INITIAL_TABLE]]));
	if (!RelationIsValid(table))
		return;
	rows = eddy_cdc_get_relation(state, table);
	RelationClose(table);
	if (rows == NULL || rows->role != EDDY_TABLE_ROWS ||
		rows->layout != DatumGetInt64(values[entry->initial[INITIAL_LAYOUT]]))
		return;

	state->seq = seq;
	if (entry->new_nulls[entry->initial[INITIAL_CONTENT]])
		eddy_cdc_write_snapshot(ctx, rows);
	else
		write_row(ctx, rows, DatumGetByteaPP(values[entry->initial[INITIAL_CONTENT]]));
}

static void
write_row(LogicalDecodingContext *ctx, EddyCdcRelation *rows, bytea *content)
{
	EddyCdcState *state = ctx->output_plugin_private;
	HeapTupleData tuple = {.t_len = VARSIZE_ANY_EXHDR(content)};
	EddyCdcChange change = {
		.op = EDDY_CDC_CREATE, .relation = rows, .values = rows->new_values,
		.nulls = rows->new_nulls, .whole = true, .initial = true
	};

	if (tuple.t_len < SizeofHeapTupleHeader)
		return;
	/* aligned, as a tuple has to be */
	tuple.t_data = palloc(tuple.t_len);
	memcpy(tuple.t_data, VARDATA_ANY(content), tuple.t_len);
	heap_deform_tuple(&tuple, rows->desc, rows->new_values, rows->new_nulls);
	/* the column itself is not stored: all rows are visible */
	if (rows->visible >= 0)
	{
		rows->new_values[rows->visible] = BoolGetDatum(true);
		rows->new_nulls[rows->visible] = false;
	}
	if (!eddy_cdc_sees_row(&state->options, rows, rows->new_values, rows->new_nulls))
		return;
	if (rows->needs_settings)
		eddy_cdc_pin_settings(state);
	change.final = eddy_cdc_is_final(rows, rows->new_values, rows->new_nulls);
	change.large = eddy_cdc_is_large(rows, &tuple, rows->new_values, rows->new_nulls);
	eddy_cdc_write(ctx, &change);
}
