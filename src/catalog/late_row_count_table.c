/*-------------------------------------------------------------------------
 *
 * late_row_count_table.c
 *    Rows of eddy._late_row_count: how many late rows each view has had.
 *
 * The counts are stripes (stripe.c), so that writers whose rows are late do not wait for each
 * other.
 *
 * Locking, memory and crash behaviour: see stripe.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/stripe.h"

/* Columns of eddy._late_row_count, from 1, as in the install script. */
enum
{
	LATE_ROW_COUNT_VIEW = 1,
	LATE_ROW_COUNT_STRIPE,
	LATE_ROW_COUNT_LATE_ROWS,
	LATE_ROW_COUNT_NCOLUMNS = LATE_ROW_COUNT_LATE_ROWS
};

const EddyTableDesc eddy_catalog_late_row_count_table = {
	EDDY_CATALOG_LATE_ROW_COUNT, LATE_ROW_COUNT_NCOLUMNS, NULL
};

static void
add(Datum *values, bool *nulls, const void *added)
{
	eddy_stripe_count(values, nulls, LATE_ROW_COUNT_LATE_ROWS, *(const int64 *) added);
}

static EddyStripeTable stripes = {
	.desc = &eddy_catalog_late_row_count_table,
	.sequence = "_late_row_count_seq",
	.add = add
};

void
eddy_catalog_count_late_rows(Oid view, int64 count)
{
	eddy_stripe_add(&stripes, view, &count);
}

void
eddy_catalog_delete_late_row_count(Oid view)
{
	eddy_stripe_delete(&stripes, view);
}
