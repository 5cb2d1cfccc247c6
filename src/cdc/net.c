/*-------------------------------------------------------------------------
 *
 * net.c
 *    The net change of each row in a transaction, option "net".
 *
 * Several statements of a transaction may change the same row. No other transaction has seen the
 * states in between, so one record describes all of these changes:
 *
 *   first change \ last    create or update      delete
 *   create                 create                nothing
 *   update, delete         update, or nothing    delete
 *                          if nothing differs
 *
 * The record has the number of the last change, and records are sent in the order of these
 * numbers, when the transaction commits.
 *
 * Rows are identified by their table and the bytes of their key. The changes are kept in a hash
 * table; a list has them in the order of their numbers, as each change moves its row to the end.
 * Memory is proportional to the number of rows that the transaction has changed. Beyond
 * logical_decoding_work_mem all changes are written to a sort by key and number, in which those of
 * one row are adjacent; the results are sorted by number.
 *
 * The rows are sent before the description of their table changes (plugin.c). Rows that are too
 * large to be kept are sent at once, after those that are pending; they are not combined with other
 * changes.
 *
 * Memory: in a context of this file, which is reset when all rows were sent. After an error it is
 * deleted with the decoding.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "replication/reorderbuffer.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"

#include "cdc/emit.h"
#include "cdc/net.h"
#include "cdc/view_row.h"
#include "compat.h"

/* What is known of a row before its first and after its last change. */
typedef enum RowState
{
	ROW_MISSING,				/* it does not exist */
	ROW_UNKNOWN,				/* it exists, but the WAL does not hold it */
	ROW_KEY,					/* it exists, and the tuple holds its key */
	ROW_WHOLE					/* it exists, and the tuple holds it */
} RowState;

/* One row, with all of its changes. */
typedef struct NetRow
{
	dlist_node	node;			/* in the list */
	EddyCdcRelation *relation;
	int64		seq;			/* of the last change */
	RowState	before;
	RowState	after;			/* not ROW_KEY */
	HeapTuple	old;			/* before the first change, if its state is ROW_KEY or ROW_WHOLE */
	HeapTuple	new;			/* after the last change, likewise */
	uint32		hash;
	int			key_len;
	char		key[FLEXIBLE_ARRAY_MEMBER];
} NetRow;

typedef struct NetEntry
{
	uint32		hash;			/* of the key */
	char		status;
	NetRow	   *row;
} NetEntry;

#define SH_PREFIX net
#define SH_ELEMENT_TYPE NetEntry
#define SH_KEY_TYPE NetRow *
#define SH_KEY row
#define SH_HASH_KEY(tb, a) ((a)->hash)
#define SH_EQUAL(tb, a, b) \
	((a)->key_len == (b)->key_len && memcmp((a)->key, (b)->key, (a)->key_len) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) ((a)->hash)
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

typedef struct EddyCdcNet
{
	MemoryContext context;		/* of the following */
	net_hash   *rows;			/* NULL: empty */
	dlist_head	list;			/* of NetRow, in the order of seq */
	Size		size;			/* of the rows, in bytes */
	Tuplesortstate *changes;	/* NULL: all rows are in memory */

	NetRow	   *probe;			/* a row with the key of the current change; outside the context */
	int			probe_space;	/* for its key */
} EddyCdcNet;

/* The head of an element in a sort; the tuples follow. */
typedef struct Element
{
	int64		seq;
	Oid			relid;
	uint32		old_len;		/* of the data of a tuple, 0: none */
	uint32		new_len;
	uint8		before;
	uint8		after;
} Element;

static void append_key(EddyCdcNet *net, const char *data, int len);
static Datum as_datum(StringInfo bytes);
static HeapTuple copy_row(EddyCdcRelation *relation, HeapTuple tuple, const Datum *values,
						  const bool *nulls);
static void empty(EddyCdcNet *net);
static void free_row(NetRow *row);
static void free_tuples(NetRow *row);
static void make_probe(EddyCdcNet *net, const EddyCdcChange *change);
static void merge(NetRow *row, NetRow *later);
static NetRow *read_element(EddyCdcState *state, Datum value);
static HeapTuple read_tuple(const char *data, uint32 len);
static void save_row(Tuplesortstate *sort, NetRow *row, bool with_key);
static void send_row(LogicalDecodingContext *ctx, NetRow *row);
static void send_spilled(LogicalDecodingContext *ctx);
static void spill(EddyCdcNet *net);
static void take_change(NetRow *row, const EddyCdcChange *change, int64 seq);
static Size tuple_size(HeapTuple tuple);
static void write_alone(LogicalDecodingContext *ctx, const EddyCdcChange *change);

void
eddy_cdc_net_init(EddyCdcState *state)
{
	EddyCdcNet *net = MemoryContextAllocZero(state->context, sizeof(EddyCdcNet));

	net->context = AllocSetContextCreate(state->context, "pg_eddy_cdc net changes",
										 ALLOCSET_DEFAULT_SIZES);
	net->probe_space = 256;
	net->probe = MemoryContextAllocZero(state->context,
										offsetof(NetRow, key) + net->probe_space);
	dlist_init(&net->list);
	state->net = net;
}

bool
eddy_cdc_net_is_pending(EddyCdcState *state)
{
	return state->net->rows != NULL;
}

void
eddy_cdc_net_add(LogicalDecodingContext *ctx, const EddyCdcChange *change)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyCdcNet *net = state->net;
	MemoryContext old_context;
	NetEntry   *entry;
	NetRow	   *row;
	bool		found;

	if (change->large)
	{
		write_alone(ctx, change);
		return;
	}

	make_probe(net, change);
	old_context = MemoryContextSwitchTo(net->context);
	if (net->rows == NULL)
		net->rows = net_create(net->context, 128, NULL);

	if (net->changes != NULL)
	{
		take_change(net->probe, change, state->seq++);
		save_row(net->changes, net->probe, true);
		free_tuples(net->probe);
		MemoryContextSwitchTo(old_context);
		return;
	}

	entry = net_insert_hash(net->rows, net->probe, net->probe->hash, &found);
	if (found)
	{
		NetRow		later = {0};

		row = entry->row;
		net->size -= tuple_size(row->new);
		take_change(&later, change, state->seq++);
		merge(row, &later);
		dlist_delete(&row->node);
		net->size += tuple_size(row->new);
	}
	else
	{
		Size		size = offsetof(NetRow, key) + net->probe->key_len;

		row = palloc(size);
		memcpy(row, net->probe, size);
		entry->row = row;
		take_change(row, change, state->seq++);
		net->size += size + sizeof(NetEntry) + tuple_size(row->old) + tuple_size(row->new);
	}
	dlist_push_tail(&net->list, &row->node);
	if (net->size > logical_decoding_work_mem * (Size) 1024)
		spill(net);
	MemoryContextSwitchTo(old_context);
}

/* Sends a change at once, after the pending ones. */
static void
write_alone(LogicalDecodingContext *ctx, const EddyCdcChange *change)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyCdcRelation *relation = change->relation;
	int			natts = relation->desc->natts;
	int64		seq = state->seq;

	if (eddy_cdc_net_is_pending(state))
	{
		Size		size = natts * 2 * (sizeof(Datum) + sizeof(bool));
		Datum	   *values = MemoryContextAlloc(state->context, size);
		bool	   *nulls = (bool *) (values + 2 * natts);

		/* the pending rows of this table use the same space as the change */
		memcpy(values, relation->new_values, sizeof(Datum) * natts);
		memcpy(values + natts, relation->old_values, sizeof(Datum) * natts);
		memcpy(nulls, relation->new_nulls, sizeof(bool) * natts);
		memcpy(nulls + natts, relation->old_nulls, sizeof(bool) * natts);
		eddy_cdc_net_flush(ctx);
		memcpy(relation->new_values, values, sizeof(Datum) * natts);
		memcpy(relation->old_values, values + natts, sizeof(Datum) * natts);
		memcpy(relation->new_nulls, nulls, sizeof(bool) * natts);
		memcpy(relation->old_nulls, nulls + natts, sizeof(bool) * natts);
		pfree(values);
	}
	state->seq = seq;
	eddy_cdc_write(ctx, change);
}

/* Sets net->probe to a row with the relation and the key of a change. */
static void
make_probe(EddyCdcNet *net, const EddyCdcChange *change)
{
	EddyCdcRelation *relation = change->relation;
	NetRow	   *probe;

	net->probe->relation = relation;
	net->probe->key_len = 0;
	append_key(net, (char *) &relation->relid, sizeof(Oid));
	for (int i = 0; i < relation->nkeys; i++)
	{
		EddyCdcColumn *column = relation->keys[i];
		Datum		value = change->values[column->index];
		const char *data;
		int			len;

		if (change->nulls[column->index])
		{
			len = -1;
			append_key(net, (char *) &len, sizeof(len));
			continue;
		}
		if (column->type.byval)
		{
			append_key(net, (char *) &value, sizeof(value));
			continue;
		}
		if (column->type.len == -1)
		{
			struct varlena *bytes = (struct varlena *) DatumGetPointer(value);

			/* a key is never out of line, unless a superuser has made the labels */
			if (!VARATT_IS_EXTERNAL_ONDISK(bytes))
				bytes = PG_DETOAST_DATUM_PACKED(value);
			len = VARATT_IS_EXTERNAL(bytes) ? VARSIZE_EXTERNAL(bytes) : VARSIZE_ANY_EXHDR(bytes);
			data = VARATT_IS_EXTERNAL(bytes) ? (char *) bytes : VARDATA_ANY(bytes);
		}
		else
		{
			data = DatumGetPointer(value);
			len = column->type.len == -2 ? (int) strlen(data) : column->type.len;
		}
		append_key(net, (char *) &len, sizeof(len));
		append_key(net, data, len);
	}
	probe = net->probe;
	probe->hash = hash_bytes((unsigned char *) probe->key, probe->key_len);
}

static void
append_key(EddyCdcNet *net, const char *data, int len)
{
	if (unlikely(len > net->probe_space - net->probe->key_len))
	{
		net->probe_space = Max(net->probe_space * 2, net->probe->key_len + len);
		net->probe = repalloc_huge(net->probe, offsetof(NetRow, key) + net->probe_space);
	}
	memcpy(net->probe->key + net->probe->key_len, data, len);
	net->probe->key_len += len;
}

/* Sets the states of a row before and after a change. */
static void
take_change(NetRow *row, const EddyCdcChange *change, int64 seq)
{
	EddyCdcRelation *relation = change->relation;

	row->seq = seq;
	row->old = row->new = NULL;
	switch (change->op)
	{
		case EDDY_CDC_CREATE:
			row->before = ROW_MISSING;
			break;
		case EDDY_CDC_UPDATE:
			row->before = change->old_values != NULL ? ROW_WHOLE : ROW_UNKNOWN;
			if (change->old_values != NULL)
				row->old = copy_row(relation, change->old_tuple, change->old_values,
									change->old_nulls);
			break;
		case EDDY_CDC_DELETE:
			row->before = change->whole ? ROW_WHOLE : ROW_KEY;
			row->old = copy_row(relation, change->tuple, change->values, change->nulls);
			break;
	}
	if (change->op == EDDY_CDC_DELETE)
		row->after = ROW_MISSING;
	else
	{
		row->after = ROW_WHOLE;
		row->new = copy_row(relation, change->tuple, change->values, change->nulls);
	}
}

/* Adds a later change of the same row; takes its tuples over. */
static void
merge(NetRow *row, NetRow *later)
{
	if (row->new != NULL)
		pfree(row->new);
	if (later->old != NULL)
	{
		/* the key of a row that was unknown until it was deleted */
		if (row->before == ROW_UNKNOWN && later->after == ROW_MISSING)
		{
			row->before = ROW_KEY;
			row->old = later->old;
		}
		else
			pfree(later->old);
	}
	row->seq = later->seq;
	row->after = later->after;
	row->new = later->new;
}

/*
 * Copies a row, in the current context. Values that are out of line in the WAL are taken in; then
 * columns that are not sent are left out.
 */
static HeapTuple
copy_row(EddyCdcRelation *relation, HeapTuple tuple, const Datum *values, const bool *nulls)
{
	Datum	   *flat_values;
	bool	   *flat_nulls;
	HeapTuple	result;

	if (tuple != NULL)
	{
		result = palloc(HEAPTUPLESIZE + tuple->t_len);
		*result = *tuple;
		result->t_data = (HeapTupleHeader) ((char *) result + HEAPTUPLESIZE);
		memcpy(result->t_data, tuple->t_data, tuple->t_len);
		return result;
	}

	flat_values = palloc0(sizeof(Datum) * relation->desc->natts);
	flat_nulls = palloc(sizeof(bool) * relation->desc->natts);
	memset(flat_nulls, true, relation->desc->natts);
	for (int i = 0; i < relation->nstored; i++)
	{
		EddyCdcColumn *column = &relation->columns[i];
		int			at = column->index;

		flat_values[at] = values[at];
		flat_nulls[at] = nulls[at];
		/* a value that the WAL does not hold remains a pointer, by which formats recognize it */
		if (column->type.len == -1 && !nulls[at] &&
			VARATT_IS_EXTERNAL(DatumGetPointer(values[at])) &&
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(values[at])))
			flat_values[at] = PointerGetDatum(detoast_external_attr((struct varlena *)
																	DatumGetPointer(values[at])));
	}
	if (relation->final >= 0)
	{
		flat_values[relation->final] = values[relation->final];
		flat_nulls[relation->final] = nulls[relation->final];
	}
	result = heap_form_tuple(relation->desc, flat_values, flat_nulls);
	for (int i = 0; i < relation->nstored; i++)
	{
		int			at = relation->columns[i].index;

		if (!flat_nulls[at] && flat_values[at] != values[at])
		{
			pfree(DatumGetPointer(flat_values[at]));
			flat_values[at] = values[at];
		}
	}
	pfree(flat_values);
	pfree(flat_nulls);
	return result;
}

static Size
tuple_size(HeapTuple tuple)
{
	return tuple != NULL ? HEAPTUPLESIZE + tuple->t_len : 0;
}

void
eddy_cdc_net_flush(LogicalDecodingContext *ctx)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyCdcNet *net = state->net;
	dlist_mutable_iter iter;

	if (net == NULL || net->rows == NULL)
		return;
	if (net->changes != NULL)
		send_spilled(ctx);
	else
	{
		dlist_foreach_modify(iter, &net->list)
			send_row(ctx, dlist_container(NetRow, node, iter.cur));
	}
	empty(net);
}

void
eddy_cdc_net_discard(EddyCdcState *state)
{
	if (state->net != NULL)
		empty(state->net);
}

/*
 * The files of a sort are closed by tuplesort_end, or were at the end of the server's transaction.
 */
static void
empty(EddyCdcNet *net)
{
	net->rows = NULL;
	net->changes = NULL;
	net->size = 0;
	dlist_init(&net->list);
	MemoryContextReset(net->context);
}

/* Sends the net change of a row. */
static void
send_row(LogicalDecodingContext *ctx, NetRow *row)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyCdcRelation *relation = row->relation;
	EddyCdcChange change = {.relation = relation, .whole = true};
	MemoryContext old_context;

	if (row->before == ROW_MISSING && row->after == ROW_MISSING)
		return;

	old_context = MemoryContextSwitchTo(state->change_context);
	if (relation->needs_settings)
		eddy_cdc_pin_settings(state);
	if (row->old != NULL)
		heap_deform_tuple(row->old, relation->desc, relation->old_values, relation->old_nulls);
	if (row->new != NULL)
		heap_deform_tuple(row->new, relation->desc, relation->new_values, relation->new_nulls);

	if (row->after == ROW_MISSING)
	{
		change.op = EDDY_CDC_DELETE;
		change.whole = row->before == ROW_WHOLE;
		change.values = relation->old_values;
		change.nulls = relation->old_nulls;
	}
	else
	{
		change.op = row->before == ROW_MISSING ? EDDY_CDC_CREATE : EDDY_CDC_UPDATE;
		change.values = relation->new_values;
		change.nulls = relation->new_nulls;
		if (row->before == ROW_WHOLE)
		{
			change.old_values = relation->old_values;
			change.old_nulls = relation->old_nulls;
		}
		change.final = eddy_cdc_is_final(relation, change.values, change.nulls);
		change.correction = change.final && change.old_values != NULL &&
			eddy_cdc_is_final(relation, change.old_values, change.old_nulls);
	}
	if (change.op != EDDY_CDC_UPDATE || change.old_values == NULL ||
		!eddy_cdc_same_row(&state->options, relation))
	{
		state->seq = row->seq;
		eddy_cdc_write(ctx, &change);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(state->change_context);
}

/* Writes all rows to a sort, in which changes of the same row will be adjacent. */
static void
spill(EddyCdcNet *net)
{
	dlist_mutable_iter iter;

	net->changes = tuplesort_begin_datum(BYTEAOID, ByteaLessOperator, InvalidOid, false,
										 logical_decoding_work_mem, NULL, TUPLESORT_NONE);
	dlist_foreach_modify(iter, &net->list)
	{
		NetRow	   *row = dlist_container(NetRow, node, iter.cur);

		save_row(net->changes, row, true);
		free_row(row);
	}
	dlist_init(&net->list);
	net_destroy(net->rows);
	net->rows = net_create(net->context, 1, NULL);
	net->size = 0;
}

/*
 * Adds a row to a sort by key and number, or by number only: the first bytes of an element are what
 * it is sorted by, so that a comparison of bytes suffices.
 */
static void
save_row(Tuplesortstate *sort, NetRow *row, bool with_key)
{
	Element		element = {
		.seq = row->seq, .relid = row->relation->relid,
		.old_len = row->old != NULL ? row->old->t_len : 0,
		.new_len = row->new != NULL ? row->new->t_len : 0,
		.before = row->before, .after = row->after
	};
	uint64		order = pg_hton64((uint64) row->seq);
	int			key_len = with_key ? row->key_len : 0;
	StringInfoData bytes;

	initStringInfo(&bytes);
	appendStringInfoSpaces(&bytes, VARHDRSZ);
	appendBinaryStringInfo(&bytes, (char *) &key_len, sizeof(key_len));
	appendBinaryStringInfo(&bytes, row->key, key_len);
	appendBinaryStringInfo(&bytes, (char *) &order, sizeof(order));
	appendBinaryStringInfo(&bytes, (char *) &element, sizeof(element));
	if (row->old != NULL)
		appendBinaryStringInfo(&bytes, (char *) row->old->t_data, element.old_len);
	if (row->new != NULL)
		appendBinaryStringInfo(&bytes, (char *) row->new->t_data, element.new_len);
	tuplesort_putdatum(sort, as_datum(&bytes), false);
	pfree(bytes.data);
}

static Datum
as_datum(StringInfo bytes)
{
	SET_VARSIZE(bytes->data, bytes->len);
	return PointerGetDatum(bytes->data);
}

/* Sends the rows of which the sort has the changes. */
static void
send_spilled(LogicalDecodingContext *ctx)
{
	EddyCdcState *state = ctx->output_plugin_private;
	EddyCdcNet *net = state->net;
	MemoryContext old_context = MemoryContextSwitchTo(net->context);
	Tuplesortstate *results;
	NetRow	   *row = NULL;
	Datum		value;
	bool		null;

	results = tuplesort_begin_datum(BYTEAOID, ByteaLessOperator, InvalidOid, false,
									logical_decoding_work_mem, NULL, TUPLESORT_NONE);
	tuplesort_performsort(net->changes);
	while (eddy_compat_tuplesort_getdatum(net->changes, &value, &null))
	{
		NetRow	   *next = read_element(state, value);

		pfree(DatumGetPointer(value));
		CHECK_FOR_INTERRUPTS();
		if (row != NULL && row->key_len == next->key_len &&
			memcmp(row->key, next->key, row->key_len) == 0)
		{
			merge(row, next);
			pfree(next);
			continue;
		}
		if (row != NULL)
		{
			save_row(results, row, false);
			free_row(row);
		}
		row = next;
	}
	if (row != NULL)
	{
		save_row(results, row, false);
		free_row(row);
	}
	tuplesort_end(net->changes);

	tuplesort_performsort(results);
	while (eddy_compat_tuplesort_getdatum(results, &value, &null))
	{
		row = read_element(state, value);
		pfree(DatumGetPointer(value));
		send_row(ctx, row);
		free_row(row);
	}
	tuplesort_end(results);
	MemoryContextSwitchTo(old_context);
}

static void
free_row(NetRow *row)
{
	free_tuples(row);
	pfree(row);
}

static void
free_tuples(NetRow *row)
{
	if (row->old != NULL)
		pfree(row->old);
	if (row->new != NULL)
		pfree(row->new);
}

/* Returns the row in an element of a sort, in the current context. */
static NetRow *
read_element(EddyCdcState *state, Datum value)
{
	const char *data = VARDATA_ANY(DatumGetPointer(value));
	Element		element;
	NetRow	   *row;
	int			key_len;

	memcpy(&key_len, data, sizeof(key_len));
	data += sizeof(key_len);
	row = palloc0(offsetof(NetRow, key) + key_len);
	row->key_len = key_len;
	memcpy(row->key, data, key_len);
	data += key_len + sizeof(uint64);
	memcpy(&element, data, sizeof(element));
	data += sizeof(element);

	row->relation = eddy_cdc_find_relation(state, element.relid);
	row->seq = element.seq;
	row->before = element.before;
	row->after = element.after;
	if (element.old_len > 0)
		row->old = read_tuple(data, element.old_len);
	if (element.new_len > 0)
		row->new = read_tuple(data + element.old_len, element.new_len);
	return row;
}

static HeapTuple
read_tuple(const char *data, uint32 len)
{
	HeapTuple	tuple = palloc0(HEAPTUPLESIZE + len);

	tuple->t_len = len;
	tuple->t_data = (HeapTupleHeader) ((char *) tuple + HEAPTUPLESIZE);
	memcpy(tuple->t_data, data, len);
	return tuple;
}
