/*-------------------------------------------------------------------------
 *
 * upgrade.c
 *    eddy.upgrade_states(): completes an upgrade to another major version of the server.
 *
 * Views continue after pg_upgrade, and after a dump is restored in another version, as the forms of
 * nearly all states are the same (signature.c). The database worker calls this function when it
 * starts; it can also be called by hand, after a dump was restored. It converts those that are not,
 * records the new version, and records the dependencies of definitions, which pg_upgrade does not
 * copy, as hooks are not active during the upgrade.
 *
 * The one form that has changed is that of avg(interval), in PostgreSQL 17: an array with the sum
 * and the count, which became a serialized state with the same two numbers and the numbers of
 * infinite values, of which there were none.
 *
 * Locking: ShareRowExclusiveLock on the stream of each view, and AccessExclusiveLock on tables that
 * are converted. A crash leaves the old states.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/eddy_catalog.h"
#include "owner.h"
#include "view/analyze.h"
#include "view/chain.h"
#include "view/define.h"
#include "view/kind.h"
#include "view/plan.h"
#include "view/view.h"

/* The layout of the state tables as this version of the server lays them out. */
static List *
make_layout(const EddyView *view, Query *query)
{
	EddyViewPlan *plan = palloc0(sizeof(EddyViewPlan));
	EddyOwnerSwitch save;

	plan->view = view->relid;
	plan->definition = view->definition;
	plan->kind = eddy_kind_get(view->kind);
	plan->owner = eddy_owner_of_relation(view->relid);
	plan->name = get_rel_name(view->relid);
	eddy_plan_set_policy(plan, view);
	eddy_owner_begin(&save, plan->owner);
	eddy_analyze_query(plan, query);
	eddy_owner_end(&save);
	return plan->state_tables;
}

/* Appends to commands what converts the columns of a table. */
static List *
convert_table(List *commands, Oid relid, const EddyStateTable *layout)
{
	Relation	rel = table_open(relid, AccessShareLock);
	char	   *table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												   RelationGetRelationName(rel));

	for (int i = 0; i < Min(RelationGetDescr(rel)->natts, layout->ncolumns); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		const char *column = quote_identifier(NameStr(att->attname));

		if (att->attisdropped || att->atttypid != INTERVALARRAYOID ||
			layout->columns[i].type != BYTEAOID)
			continue;
		/* sum and count; the count was kept in microseconds */
		commands = lappend(commands, psprintf(
			"ALTER TABLE %s ALTER COLUMN %s TYPE pg_catalog.bytea USING "
			"pg_catalog.int8send((pg_catalog.date_part('epoch', %s[2]) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8) "
			"OPERATOR(pg_catalog.||) pg_catalog.interval_send(%s[1]) OPERATOR(pg_catalog.||) "
			"pg_catalog.int8send(0::pg_catalog.int8) OPERATOR(pg_catalog.||) pg_catalog.int8send(0::pg_catalog.int8)",
			table, column, column, column));
	}
	table_close(rel, NoLock);
	return commands;
}

/* False, with a warning, if the states of the view cannot be read: its next batch suspends it. */
static bool
upgrade_view(EddyView *view)
{
	List	   *commands = NIL;
	Query	   *query;
	ListCell   *lc;
	ListCell   *lo;

	eddy_view_lock_query(view->relid);
	eddy_chain_lock_sources(view->streams);
	view = eddy_catalog_get_view(view->relid);
	query = view ? eddy_plan_definition_query(view->definition) : NULL;
	if (query == NULL)
		return false;			/* dropped concurrently */
	if (!eddy_signature_is_readable(view, query))
	{
		ereport(WARNING,
				(errmsg("states of continuous view \"%s\" cannot be upgraded",
						get_rel_name(view->relid)),
				 errdetail("They were written by PostgreSQL %d for: %s.", view->format,
						   view->aggregates)));
		return false;
	}
	forboth(lc, make_layout(view, query), lo, view->state_tables)
		commands = convert_table(commands, lfirst_oid(lo), lfirst(lc));
	foreach(lc, commands)
		eddy_define_execute(lfirst(lc));
	view->format = EDDY_SERVER_MAJOR;
	eddy_catalog_set_view_aggregates(view, eddy_signature_make(eddy_plan_definition_query(view->definition)));
	CommandCounterIncrement();
	return true;
}

static bool
all_are_current(List *views)
{
	ListCell   *lc;

	foreach(lc, views)
		if (((EddyView *) lfirst(lc))->format != EDDY_SERVER_MAJOR)
			return false;
	return true;
}

/*
 * eddy_view_upgrade_states upgrades all views whose states another major version has written, and
 * returns their number.
 */
int64
eddy_view_upgrade_states(void)
{
	List	   *views = eddy_catalog_list_all_views();
	int			nleft = list_length(views);
	int64		count = 0;
	ListCell   *lc;

	if (all_are_current(views))
		return 0;
	eddy_view_bind_definitions();
	SPI_connect();
	/* the layout of a view that reads another one can depend on the states of that */
	for (int level = 0; nleft > 0; level++)
		foreach(lc, views)
		{
			EddyView   *view = lfirst(lc);

			if (eddy_catalog_member(view->relid).level != level)
				continue;
			nleft--;
			if (view->format != EDDY_SERVER_MAJOR && upgrade_view(view))
				count++;
		}
	SPI_finish();
	return count;
}
