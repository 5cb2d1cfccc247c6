/*-------------------------------------------------------------------------
 *
 * row_bytes.c
 *    Rows of a main state table as bytes, with the columns that users of the view see.
 *
 * For kept changes (change_log.c) and for rows that are sent to consumers (send_rows.c). No output
 * function runs in the transaction that writes them. Hidden columns, such as transition states, are
 * left out, and values that are stored out of line are taken in.
 *
 * No locks. Memory: the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"

#include "row_layout.h"
#include "view/row_bytes.h"

#define MAX_ROW_SIZE (256 * 1024 * 1024)

EddyRowColumns *
eddy_row_columns(const EddyView *view, TupleDesc desc)
{
	EddyRowColumns *columns = palloc(sizeof(EddyRowColumns));

	columns->desc = CreateTupleDescCopy(desc);
	columns->layout = eddy_row_layout(desc);
	columns->is_shown = palloc0(sizeof(bool) * desc->natts);
	columns->is_key = palloc0(sizeof(bool) * desc->natts);
	for (int i = 0; i < view->ncolumns; i++)
		if (view->columns[i] > 0)
			columns->is_shown[view->columns[i] - 1] = true;
	if (view->final_column > 0)
		columns->is_shown[view->final_column - 1] = true;
	for (int i = 0; i < view->nkeys; i++)
		columns->is_key[view->key_columns[i] - 1] = true;
	return columns;
}

bool
eddy_row_is_visible(const EddyView *view, TupleTableSlot *row)
{
	int			column = view->visible_column - 1;

	if (row == NULL)
		return false;
	slot_getallattrs(row);
	return column < 0 || (!row->tts_isnull[column] && DatumGetBool(row->tts_values[column]));
}

bool
eddy_row_is_large(const EddyRowColumns *columns, TupleTableSlot *row)
{
	Size		size = 0;

	for (int i = 0; i < columns->desc->natts; i++)
		if (columns->is_shown[i] && !row->tts_isnull[i] &&
			TupleDescAttr(columns->desc, i)->attlen == -1)
			size += toast_raw_datum_size(row->tts_values[i]);
	return size > MAX_ROW_SIZE;
}

bytea *
eddy_row_bytes(const EddyRowColumns *columns, TupleTableSlot *row, bool whole)
{
	int			natts = columns->desc->natts;
	Datum	   *values = palloc0(sizeof(Datum) * natts);
	bool	   *nulls = palloc(sizeof(bool) * natts);
	HeapTuple	tuple;
	bytea	   *bytes;

	for (int i = 0; i < natts; i++)
	{
		nulls[i] = row->tts_isnull[i] ||
			!(columns->is_key[i] || (whole && columns->is_shown[i]));
		if (nulls[i])
			continue;
		values[i] = row->tts_values[i];
		if (TupleDescAttr(columns->desc, i)->attlen == -1 &&
			VARATT_IS_EXTERNAL(DatumGetPointer(values[i])))
			values[i] = PointerGetDatum(detoast_external_attr((struct varlena *)
															  DatumGetPointer(values[i])));
	}
	tuple = heap_form_tuple(columns->desc, values, nulls);
	bytes = palloc(VARHDRSZ + tuple->t_len);
	SET_VARSIZE(bytes, VARHDRSZ + tuple->t_len);
	memcpy(VARDATA(bytes), tuple->t_data, tuple->t_len);
	heap_freetuple(tuple);
	pfree(values);
	pfree(nulls);
	return bytes;
}
