/*-------------------------------------------------------------------------
 *
 * row_data.c
 *    Forming the data of common rows.
 *
 * heap_compute_data_size and heap_fill_tuple take more than a tenth of the time of a worker that stores
 * rows, because they handle everything that a tuple can contain. Rows from Kafka mostly consist of
 * values of fixed length and short texts, without NULLs. Such rows are formed here, with the same
 * result. Values that are stored elsewhere, or in an expanded form, are not expected here.
 *
 * No locks. Memory: the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "stream/row_data.h"

typedef struct Column
{
	bool		byval;
	bool		packable;		/* values of type varlena are stored with a short header if they fit */
	int16		len;			/* -1: varlena */
	uint8		align;			/* in bytes */
} Column;

struct EddyRowForm
{
	int			natts;
	bool		has_varlena;
	Column		columns[FLEXIBLE_ARRAY_MEMBER];
};

static uint8
alignment(char align)
{
	switch (align)
	{
		case TYPALIGN_DOUBLE:
			return ALIGNOF_DOUBLE;
		case TYPALIGN_INT:
			return ALIGNOF_INT;
		case TYPALIGN_SHORT:
			return ALIGNOF_SHORT;
		default:
			return 1;
	}
}

EddyRowForm *
eddy_row_form_make(TupleDesc tupdesc)
{
	EddyRowForm *form = palloc0(offsetof(EddyRowForm, columns) + sizeof(Column) * tupdesc->natts);

	form->natts = tupdesc->natts;
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		/* dropped columns are NULL in each row; cstring has no length of its own */
		if (att->attisdropped || att->attlen < -1 || att->attlen == 0)
		{
			pfree(form);
			return NULL;
		}
		form->columns[i].byval = att->attbyval;
		form->columns[i].packable = att->attlen == -1 && att->attstorage != TYPSTORAGE_PLAIN;
		form->columns[i].len = att->attlen;
		form->columns[i].align = alignment(att->attalign);
		form->has_varlena |= att->attlen == -1;
	}
	return form;
}

/* True if a value is given a short header when it is stored. */
static inline bool
becomes_short(const Column *column, const char *value)
{
	return column->packable && VARATT_CAN_MAKE_SHORT(value);
}

Size
eddy_row_data_size(const EddyRowForm *form, const Datum *values, const bool *nulls)
{
	Size		size = 0;

	for (int i = 0; i < form->natts; i++)
	{
		const Column *column = &form->columns[i];
		const char *value = DatumGetPointer(values[i]);

		if (nulls[i])
			return 0;
		if (column->len > 0)
			size = TYPEALIGN(column->align, size) + column->len;
		else if (VARATT_IS_EXTERNAL(value))
			return 0;
		else if (VARATT_IS_SHORT(value))
			size += VARSIZE_SHORT(value);
		else if (becomes_short(column, value))
			size += VARATT_CONVERTED_SHORT_SIZE(value);
		else
			size = TYPEALIGN(column->align, size) + VARSIZE(value);
	}
	return size;
}

/* Stores a value of variable length; returns its end. */
static inline char *
fill_varlena(const Column *column, const char *value, char *start, char *data)
{
	Size		len;

	if (VARATT_IS_SHORT(value))
	{
		len = VARSIZE_SHORT(value);
		memcpy(data, value, len);
	}
	else if (becomes_short(column, value))
	{
		len = VARATT_CONVERTED_SHORT_SIZE(value);
		SET_VARSIZE_SHORT(data, len);
		memcpy(data + VARHDRSZ_SHORT, VARDATA(value), len - VARHDRSZ_SHORT);
	}
	else
	{
		data = start + TYPEALIGN(column->align, data - start);
		len = VARSIZE(value);
		memcpy(data, value, len);
	}
	return data + len;
}

uint16
eddy_row_data_fill(const EddyRowForm *form, const Datum *values, char *data)
{
	char	   *start = data;

	for (int i = 0; i < form->natts; i++)
	{
		const Column *column = &form->columns[i];

		if (column->len == -1)
		{
			data = fill_varlena(column, DatumGetPointer(values[i]), start, data);
			continue;
		}
		data = start + TYPEALIGN(column->align, data - start);
		if (column->byval)
			store_att_byval(data, values[i], column->len);
		else
			memcpy(data, DatumGetPointer(values[i]), column->len);
		data += column->len;
	}
	return form->has_varlena ? HEAP_HASVARWIDTH : 0;
}
