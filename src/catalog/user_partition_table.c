/*-------------------------------------------------------------------------
 *
 * user_partition_table.c
 *    Rows of eddy._user_partition: how much users' statements have added to each stream.
 *
 * The counts of a stream are stripes (stripe.c), so that writers do not wait for each other:
 * their sums, and the latest of their times, count.
 *
 * Locking, memory and crash behaviour: see stripe.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "catalog/stripe.h"

/* Columns of eddy._user_partition, from 1, as in the install script. */
enum
{
	USER_PARTITION_STREAM = 1,
	USER_PARTITION_STRIPE,
	USER_PARTITION_MAX_EVENT_TIME,
	USER_PARTITION_ROWS,
	USER_PARTITION_REJECTED,
	USER_PARTITION_SKIPPED,
	USER_PARTITION_UPDATED_AT,
	USER_PARTITION_ADVANCED_AT,
	USER_PARTITION_STREAM_WATERMARK,
	USER_PARTITION_AHEAD,
	USER_PARTITION_NCOLUMNS = USER_PARTITION_AHEAD
};

static void *
read_stripe(const Datum *values, const bool *nulls)
{
	EddyUserPartition *stripe = palloc(sizeof(EddyUserPartition));

	stripe->stream = DatumGetObjectId(values[USER_PARTITION_STREAM - 1]);
	stripe->rows = DatumGetInt64(values[USER_PARTITION_ROWS - 1]);
	stripe->rejected = DatumGetInt64(values[USER_PARTITION_REJECTED - 1]);
	stripe->skipped = DatumGetInt64(values[USER_PARTITION_SKIPPED - 1]);
	stripe->max_event_time = eddy_catalog_get_time(values, nulls, USER_PARTITION_MAX_EVENT_TIME);
	stripe->updated_at = eddy_catalog_get_time(values, nulls, USER_PARTITION_UPDATED_AT);
	stripe->advanced_at = eddy_catalog_get_time(values, nulls, USER_PARTITION_ADVANCED_AT);
	stripe->stream_watermark = eddy_catalog_get_time(values, nulls,
													 USER_PARTITION_STREAM_WATERMARK);
	stripe->ahead = DatumGetInt64(values[USER_PARTITION_AHEAD - 1]);
	return stripe;
}

const EddyTableDesc eddy_catalog_user_partition_table = {
	EDDY_CATALOG_USER_PARTITION, USER_PARTITION_NCOLUMNS, read_stripe
};

/* Adds what a statement has added. */
static void
add(Datum *values, bool *nulls, const void *arg)
{
	const EddyUserPartition *added = arg;

	(void) eddy_stripe_raise(values, nulls, USER_PARTITION_STREAM_WATERMARK,
							 added->stream_watermark);
	if (eddy_stripe_raise(values, nulls, USER_PARTITION_MAX_EVENT_TIME, added->max_event_time))
		(void) eddy_stripe_raise(values, nulls, USER_PARTITION_ADVANCED_AT, added->updated_at);
	eddy_stripe_count(values, nulls, USER_PARTITION_ROWS, added->rows);
	eddy_stripe_count(values, nulls, USER_PARTITION_REJECTED, added->rejected);
	eddy_stripe_count(values, nulls, USER_PARTITION_SKIPPED, added->skipped);
	eddy_stripe_count(values, nulls, USER_PARTITION_AHEAD, added->ahead);
	eddy_catalog_set_time(values, nulls, USER_PARTITION_UPDATED_AT, added->updated_at);
}

static EddyStripeTable stripes = {
	.desc = &eddy_catalog_user_partition_table,
	.sequence = "_user_partition_seq",
	.add = add
};

void
eddy_catalog_add_user_rows(const EddyUserPartition *added)
{
	eddy_stripe_add(&stripes, added->stream, added);
}

EddyUserPartition
eddy_catalog_get_user_partition(Oid stream)
{
	EddyUserPartition sum = {
		.stream = stream,
		.max_event_time = DT_NOBEGIN,
		.updated_at = DT_NOBEGIN,
		.advanced_at = DT_NOBEGIN,
		.stream_watermark = DT_NOBEGIN
	};
	List	   *rows = eddy_stripe_list(&stripes, stream);
	ListCell   *lc;

	foreach(lc, rows)
	{
		const EddyUserPartition *stripe = lfirst(lc);

		sum.rows += stripe->rows;
		sum.rejected += stripe->rejected;
		sum.skipped += stripe->skipped;
		sum.ahead += stripe->ahead;
		sum.max_event_time = Max(sum.max_event_time, stripe->max_event_time);
		sum.updated_at = Max(sum.updated_at, stripe->updated_at);
		sum.advanced_at = Max(sum.advanced_at, stripe->advanced_at);
		sum.stream_watermark = Max(sum.stream_watermark, stripe->stream_watermark);
	}
	list_free_deep(rows);
	return sum;
}

void
eddy_catalog_delete_user_partition(Oid stream)
{
	eddy_stripe_delete(&stripes, stream);
}
