/*-------------------------------------------------------------------------
 *
 * late_row_table.c
 *    Rows of eddy.late_rows: rows that arrived after their window was final.
 *
 * Locking, memory and crash behaviour: see table.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "catalog/table.h"

/* Columns of eddy.late_rows, from 1, as in the install script. */
enum
{
	LATE_VIEW = 1,
	LATE_WINDOW_START,
	LATE_WINDOW_END,
	LATE_WATERMARK,
	LATE_TOPIC,
	LATE_PARTITION,
	LATE_OFFSET,
	LATE_ROW_DATA,
	LATE_AT,
	LATE_NCOLUMNS = LATE_AT
};

const EddyTableDesc eddy_catalog_late_row_table = {EDDY_CATALOG_LATE_ROWS, LATE_NCOLUMNS, NULL};

void
eddy_catalog_insert_late_row(const EddyLateRowEntry *entry)
{
	Relation	rel = eddy_catalog_open(&eddy_catalog_late_row_table);
	Datum		values[LATE_NCOLUMNS];
	bool		nulls[LATE_NCOLUMNS] = {false};

	values[LATE_VIEW - 1] = ObjectIdGetDatum(entry->view);
	eddy_catalog_set_time(values, nulls, LATE_WINDOW_START, entry->window_start);
	eddy_catalog_set_time(values, nulls, LATE_WINDOW_END, entry->window_end);
	eddy_catalog_set_time(values, nulls, LATE_WATERMARK, entry->watermark);
	values[LATE_TOPIC - 1] = eddy_catalog_text(entry->topic, &nulls[LATE_TOPIC - 1]);
	values[LATE_PARTITION - 1] = Int32GetDatum(entry->partition);
	values[LATE_OFFSET - 1] = Int64GetDatum(entry->offset);
	nulls[LATE_OFFSET - 1] = (entry->offset < 0);
	values[LATE_ROW_DATA - 1] = entry->row_data;
	nulls[LATE_ROW_DATA - 1] = (entry->row_data == (Datum) 0);
	values[LATE_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	eddy_catalog_insert(rel, values, nulls);
	eddy_catalog_close(rel);
}
