/*-------------------------------------------------------------------------
 *
 * seam.c
 *    Where a history ends and the messages of Kafka begin, in streams that do not store messages.
 *
 * A new view is filled with what a snapshot sees, and then with the rows that its streams received
 * since (fill.c). Without retention a stream does not have the rows that batches of Kafka have
 * added meanwhile. But the same snapshot sees the offsets up to which these batches had come, since
 * offsets and rows are committed together. So when writers are locked out, and the offsets have
 * advanced, the view is left to the worker that fills views from Kafka (src/worker/catch_up.c): it
 * reads the messages from these offsets on again, and hands the view over to the sources where they
 * are then. Rows of users, which are not in Kafka, were added by then. That worker also replaces
 * the query of a view: the new query gets a view of its own first, which is filled like this.
 *
 * Locking: the caller's. Memory: the caller's. A crash leaves nothing, as the offsets of the view
 * are stored in the transaction of its creation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "apply/seam.h"
#include "catalog/eddy_catalog.h"
#include "interval.h"
#include "utils/lsyscache.h"
#include "view/view.h"

/* The partitions of all sources of a stream, as a snapshot sees them. */
static List *
list_partitions(Oid stream, Snapshot as_of)
{
	List	   *partitions = NIL;
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_sources(stream))
		partitions = list_concat(partitions,
								 eddy_catalog_list_partitions_as_of(((EddySource *) lfirst(lc))->source,
																	as_of));
	return partitions;
}

/* True if a source has determined where it begins, and no new position waits for its worker. */
static bool
is_settled(int32 source)
{
	List	   *partitions = eddy_catalog_list_partitions(source);
	ListCell   *lc;

	foreach(lc, partitions)
		if (((EddyPartition *) lfirst(lc))->next_offset < 0)
			return false;
	return partitions != NIL;
}

bool
eddy_seam_is_known(const List *streams)
{
	ListCell   *lc;

	foreach(lc, streams)
	{
		ListCell   *ls;

		foreach(ls, eddy_catalog_list_sources(lfirst_oid(lc)))
			if (!is_settled(((EddySource *) lfirst(ls))->source))
				return false;
	}
	return true;
}

/* True if batches of Kafka add rows to a stream that it does not store. */
static bool
omits_rows(Oid relid)
{
	EddyStream *stream = eddy_catalog_get_stream(relid);

	return stream && eddy_interval_usec(&stream->retention) <= 0;
}

bool
eddy_seam_is_needed(const List *streams)
{
	ListCell   *lc;

	foreach(lc, streams)
		if (omits_rows(lfirst_oid(lc)) && eddy_catalog_list_sources(lfirst_oid(lc)) != NIL)
			return true;
	return false;
}

List *
eddy_seam_read(const List *streams, Snapshot as_of)
{
	List	   *partitions = NIL;
	ListCell   *lc;

	foreach(lc, streams)
		if (omits_rows(lfirst_oid(lc)))
			partitions = list_concat(partitions, list_partitions(lfirst_oid(lc), as_of));
	return partitions;
}

/* True if offsets have advanced; an error if they were changed otherwise. */
static bool
has_advanced(const EddyView *view, const List *seam, const List *now)
{
	bool		same = list_length(now) == list_length(seam) && eddy_seam_is_known(view->streams);
	bool		advanced = false;
	ListCell   *lc;
	ListCell   *ln;

	forboth(lc, seam, ln, now)
	{
		const EddyPartition *before = lfirst(lc);
		const EddyPartition *after = lfirst(ln);

		same &= after->source == before->source && after->partition == before->partition &&
			after->epoch == before->epoch && after->next_offset >= before->next_offset;
		advanced |= after->next_offset > before->next_offset;
	}
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("sources of continuous view \"%s\" were changed while its history was counted",
						get_rel_name(view->relid)),
				 errhint("Create the continuous view again.")));
	return advanced;
}

static void
store_offset(Oid view, const EddyPartition *partition)
{
	EddyViewOffset offset = {
		.view = view,
		.source = partition->source,
		.partition = partition->partition,
		.first_offset = partition->next_offset,
		.next_offset = partition->next_offset
	};

	eddy_catalog_insert_view_offset(&offset);
}

void
eddy_seam_close(const EddyView *view, const List *seam, Snapshot now, Oid replaces)
{
	List	   *reached = eddy_seam_read(view->streams, now);
	bool		advanced = (seam != NIL || reached != NIL || OidIsValid(replaces)) &&
		has_advanced(view, seam, reached);
	ListCell   *lc;

	if (!advanced && !OidIsValid(replaces))
		return;
	foreach(lc, seam)
		store_offset(view->relid, lfirst(lc));
	/* the rows of the other streams are stored, and the view has them all */
	foreach(lc, view->streams)
	{
		ListCell   *lp;

		if (omits_rows(lfirst_oid(lc)))
			continue;
		foreach(lp, list_partitions(lfirst_oid(lc), now))
			store_offset(view->relid, lfirst(lp));
	}
	eddy_view_start(view->relid, replaces);
}
