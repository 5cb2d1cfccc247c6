/*-------------------------------------------------------------------------
 *
 * mark_row.c
 *    New versions of rows of which only marks change.
 *
 * A window that closes changes one boolean of each of its rows. To form these rows again from their
 * values would cost more than writing them, so the stored tuple is copied, and the byte of the mark
 * is set in the copy.
 *
 * No locks. Memory: the copy belongs to the slot.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "catalog/pg_type.h"

#include "view/mark_row.h"

/* The byte of a boolean in a tuple; NULL if the tuple does not contain one in that column. */
static char *
find_boolean(HeapTuple tuple, TupleDesc desc, AttrNumber column)
{
	HeapTupleHeader header = tuple->t_data;
	const bits8 *present = HeapTupleHasNulls(tuple) ? header->t_bits : NULL;
	char	   *data = (char *) header + header->t_hoff;
	uint32		offset = 0;

	/* a column that was added later is not in tuples that are older */
	if (column > HeapTupleHeaderGetNatts(header) || (present && att_isnull(column - 1, present)) ||
		TupleDescAttr(desc, column - 1)->atttypid != BOOLOID)
		return NULL;
	for (int i = 0; i < column - 1; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (present && att_isnull(i, present))
			continue;
		offset = att_align_pointer(offset, att->attalign, att->attlen, data + offset);
		offset = att_addlength_pointer(offset, att->attlen, data + offset);
	}
	/* a boolean is not aligned */
	return data + offset;
}

bool
eddy_mark_row(TupleTableSlot *stored, const EddyMark *marks, int nmarks, TupleTableSlot *version)
{
	HeapTuple	tuple;
	bool		is_copy;

	/* another table access method stores other tuples */
	if (!TTS_IS_BUFFERTUPLE(stored))
		return false;
	tuple = ExecFetchSlotHeapTuple(stored, false, &is_copy);
	if (!is_copy)
		tuple = heap_copytuple(tuple);
	for (int i = 0; i < nmarks; i++)
	{
		char	   *place = find_boolean(tuple, stored->tts_tupleDescriptor, marks[i].column);

		if (place == NULL)
		{
			heap_freetuple(tuple);
			return false;
		}
		*(bool *) place = marks[i].value;
	}
	(void) ExecStoreHeapTuple(tuple, version, true);
	return true;
}
