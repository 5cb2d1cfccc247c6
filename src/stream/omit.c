/*-------------------------------------------------------------------------
 *
 * omit.c
 *    Columns of a stream that rows from Kafka do not get, because nothing needs them.
 *
 * With argument staged_columns of eddy.create_stream, rows from Kafka only get the columns that
 * these need; all others are NULL, and are not even converted from the message:
 *
 *   views           all that read the stream, also suspended ones and those that are being filled
 *   the table       event time, NOT NULL, CHECK, defaults, generated columns and the columns that they
 *                   are computed from, domains, policies of row-level security
 *   readers         the names in staged_columns
 *
 * The set is determined when a batch has locked the stream (worker/definition.c), under a lock that
 * conflicts with the creation of a view. So a view never counts a row that lacks one of its
 * columns, unless it is filled with rows that are older than it. Therefore each segment has a list
 * of the columns that some of its rows lack, which is written with the first of these rows and
 * removed when the segment is emptied; filling checks it (eddy_stream_missing_column). Rows that
 * users insert have all columns.
 *
 * Locking: the stream is locked by the caller; the row of eddy._segment is locked when a name is
 * added, until the transaction ends. Memory: the caller's context. After a crash segments are
 * empty, and the lists remain, which is noticed by the size of a segment.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "access/tupdesc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rowsecurity.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "argument.h"
#include "stream/segment.h"
#include "stream/stream.h"
#include "view/view.h"

/* Attempts to add names to a segment while other workers do. */
#define NOTE_ATTEMPTS 10

/*
 * The number of an attribute in sets, which are offset as those of the server are: 0 stands for
 * all.
 */
#define MEMBER(attnum) ((attnum) - FirstLowInvalidHeapAttributeNumber)

/* ---- what the table itself needs ---- */

typedef struct PolicySearch
{
	int			depth;			/* of sub-selects */
	Bitmapset  *columns;
} PolicySearch;

/* The columns of the table in a policy, also within sub-selects. */
static bool
search_policy(Node *node, PolicySearch *s)
{
	bool		result;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		const Var  *var = (Var *) node;

		if (var->varno == 1 && (int) var->varlevelsup == s->depth)
			s->columns = bms_add_member(s->columns, MEMBER(var->varattno));
		return false;
	}
	if (!IsA(node, Query))
		return expression_tree_walker(node, search_policy, s);
	s->depth++;
	result = query_tree_walker((Query *) node, search_policy, s, 0);
	s->depth--;
	return result;
}

static Bitmapset *
add_policies(Bitmapset *columns, Relation rel)
{
	PolicySearch s = {.columns = columns};
	ListCell   *lc;

	if (rel->rd_rsdesc)
		foreach(lc, rel->rd_rsdesc->policies)
		{
			RowSecurityPolicy *policy = lfirst(lc);

			(void) search_policy((Node *) policy->qual, &s);
			(void) search_policy((Node *) policy->with_check_qual, &s);
		}
	return s.columns;
}

/* The columns that expressions of the table read, which are stored as text. */
static Bitmapset *
add_expressions(Bitmapset *columns, const TupleConstr *constr)
{
	if (constr == NULL)
		return columns;
	for (int i = 0; i < constr->num_check; i++)
		pull_varattnos(stringToNode(constr->check[i].ccbin), 1, &columns);
	for (int i = 0; i < constr->num_defval; i++)
		pull_varattnos(stringToNode(constr->defval[i].adbin), 1, &columns);
	return columns;
}

static Bitmapset *
add_own(Bitmapset *columns, const EddyStream *stream, Relation rel)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);

	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (att->attnotnull || att->atthasdef || get_typtype(att->atttypid) == TYPTYPE_DOMAIN ||
			(stream->event_time && strcmp(NameStr(att->attname), stream->event_time) == 0))
			columns = bms_add_member(columns, MEMBER(att->attnum));
	}
	columns = add_expressions(columns, tupdesc->constr);
	return add_policies(columns, rel);
}

/* ---- what is needed in all ---- */

static Bitmapset *
add_listed(Bitmapset *columns, const EddyStream *stream, Relation rel)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);

	for (int i = 0; i < tupdesc->natts; i++)
		if (eddy_catalog_has_name(stream->staged_columns, NameStr(TupleDescAttr(tupdesc, i)->attname)))
			columns = bms_add_member(columns, MEMBER(i + 1));
	return columns;
}

/* Adds the columns of all views but the one with this definition. */
static Bitmapset *
add_views(Bitmapset *columns, Oid stream, Oid except)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_views(stream))
	{
		EddyView   *view = lfirst(lc);

		if (view->definition != except)
			columns = bms_join(columns, eddy_view_source_columns(view, stream));
	}
	return columns;
}

static bool
has(const Bitmapset *columns, AttrNumber attnum)
{
	return bms_is_member(MEMBER(attnum), columns) || bms_is_member(MEMBER(0), columns);
}

/* The attributes of the table that are not needed. */
static Bitmapset *
invert(const Bitmapset *columns, Relation rel)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);
	Bitmapset  *others = NULL;

	for (int i = 0; i < tupdesc->natts; i++)
		if (!TupleDescAttr(tupdesc, i)->attisdropped && !has(columns, i + 1))
			others = bms_add_member(others, i + 1);
	return others;
}

/*
 * eddy_stream_omitted_columns returns the attributes that rows from Kafka do not get at present:
 * those that nothing needs or, with a view, that neither this view nor the table does. NULL if they
 * get all.
 */
Bitmapset *
eddy_stream_omitted_columns(const EddyStream *stream, Relation rel, const EddyView *only)
{
	Bitmapset  *columns;

	if (!stream->omits)
		return NULL;
	columns = add_own(NULL, stream, rel);
	if (only)
		columns = bms_join(columns, eddy_view_source_columns(only, stream->relid));
	else
		columns = add_views(add_listed(columns, stream, rel), stream->relid, InvalidOid);
	return invert(columns, rel);
}

/*
 * eddy_stream_lacks_columns returns whether the rows that arrive before a view exists lack columns
 * that it needs.
 */
bool
eddy_stream_lacks_columns(const EddyStream *stream, Relation rel, const EddyView *view)
{
	Bitmapset  *columns;

	if (!stream->omits)
		return false;
	columns = add_listed(add_own(NULL, stream, rel), stream, rel);
	columns = add_views(columns, stream->relid, view->definition);
	return !bms_is_subset(invert(columns, rel), eddy_stream_omitted_columns(stream, rel, view));
}

/*
 * eddy_stream_shows_late_rows returns whether a view stores late rows, with all of their columns:
 * late => 'keep' and 'update'.
 */
bool
eddy_stream_shows_late_rows(const EddyStream *stream)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_views(stream->relid))
		if (strcmp(((EddyView *) lfirst(lc))->late, "drop") != 0)
			return true;
	return false;
}

/* ---- the lists of segments ---- */

static EddySegment *
find_segment(Oid stream, Oid relid)
{
	ListCell   *lc;

	foreach(lc, eddy_catalog_list_segments(stream))
		if (((EddySegment *) lfirst(lc))->relid == relid)
			return lfirst(lc);
	return NULL;
}

/*
 * eddy_stream_note_omitted adds the columns that the rows of a batch lack to the list of the
 * segment, which the caller has locked, before they are written.
 */
void
eddy_stream_note_omitted(const EddyBatch *batch, Oid relid)
{
	if (batch->omitted == NULL)
		return;
	for (int attempt = 0; attempt < NOTE_ATTEMPTS; attempt++)
	{
		EddySegment *segment = find_segment(batch->stream, relid);
		int			known = segment ? list_length(segment->omitted) : 0;
		int			attnum = -1;

		if (segment == NULL)
			return;				/* it is a table of a superuser, which filling refuses to read */
		while ((attnum = bms_next_member(batch->omitted, attnum)) >= 0)
			segment->omitted = eddy_catalog_add_name(segment->omitted,
													 NameStr(TupleDescAttr(batch->tupdesc, attnum - 1)->attname));
		if (list_length(segment->omitted) == known || eddy_catalog_update_segment(segment))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("segment \"%s\" was changed concurrently", get_rel_name(relid))));
}

/*
 * eddy_stream_missing_column returns the name of a column that a view needs and some stored row
 * lacks, NULL if there is none. The segments are locked, so that none is emptied.
 */
const char *
eddy_stream_missing_column(const EddyStream *stream, Relation rel, const EddyView *view)
{
	Bitmapset  *columns = add_own(NULL, stream, rel);
	ListCell   *lc;
	ListCell   *ln;

	columns = bms_join(columns, eddy_view_source_columns(view, stream->relid));
	foreach(lc, eddy_catalog_list_segments(stream->relid))
	{
		EddySegment *segment = lfirst(lc);
		Relation	part;
		BlockNumber nblocks;

		if (segment->omitted == NIL)
			continue;
		part = try_table_open(segment->relid, AccessShareLock);
		if (part == NULL)
			continue;
		nblocks = RelationGetNumberOfBlocks(part);
		table_close(part, NoLock);
		if (nblocks == 0)
			continue;
		foreach(ln, segment->omitted)
		{
			AttrNumber	attnum = get_attnum(stream->relid, lfirst(ln));

			if (attnum != InvalidAttrNumber && has(columns, attnum))
				return lfirst(ln);
		}
	}
	return NULL;
}

/* ---- argument staged_columns ---- */

/* eddy_stream_check_staged_columns raises an error unless all names are columns of the table. */
void
eddy_stream_check_staged_columns(Relation rel, const List *names)
{
	const char **columns = eddy_argument_columns(RelationGetDescr(rel));
	ListCell   *lc;

	foreach(lc, names)
	{
		bool		found = false;

		for (int i = 0; columns[i] && !found; i++)
			found = strcmp(columns[i], lfirst(lc)) == 0;
		if (!found)
		{
			const char *closest = eddy_argument_closest(lfirst(lc), columns);

			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" in argument \"staged_columns\" does not exist", (char *) lfirst(lc)),
					 columns[0] ? errdetail("Columns of the stream are %s.", eddy_argument_list(columns)) :
					 errdetail("The stream has no columns."),
					 closest ? errhint("Perhaps you meant the column \"%s\".", closest) : 0));
		}
	}
}

/*
 * eddy_stream_stage_columns changes the list of a stream. The lock waits for batches in progress:
 * all rows that arrive after the commit have the columns.
 */
void
eddy_stream_stage_columns(Oid relid, bool omits, List *names)
{
	Relation	rel;
	EddyStream *stream;

	(void) eddy_stream_check_owner(relid);
	rel = table_open(relid, ShareRowExclusiveLock);
	stream = eddy_stream_check_owner(relid);	/* as it is now that the lock is held */
	eddy_stream_check_staged_columns(rel, names);
	stream->omits = omits;
	stream->staged_columns = names;
	eddy_catalog_update_stream(stream);
	table_close(rel, NoLock);
}
