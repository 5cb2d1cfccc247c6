/*-------------------------------------------------------------------------
 *
 * view_label.c
 *    Which table is the state table of a continuous view, as of a point of the WAL.
 *
 * Everything is read under the historic snapshot of the transaction that is decoded, and from
 * system catalogs only: the server maps these to their current files, whatever rewrote them,
 * while a table of our own could not be read any more after VACUUM FULL of its index or after
 * DROP EXTENSION. label.h describes the security labels that are read here.
 *
 * A label of our provider can be set by pg_eddy and by superusers alone, so a table that has
 * one is trusted to be what the label says; no name of a schema or table proves that. All
 * numbers are checked nevertheless: a dump can have been edited.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_type.h"
#include "commands/seclabel.h"
#include "utils/fmgroids.h"

#include "cdc/cdc.h"
#include "label.h"

static bool parse_label(const char *label, EddyCdcView *view, char *id);
static Oid	find_labelled_view(Oid state_table, const char *label);
static char *get_label(Oid relid);
static bool is_column(TupleDesc desc, AttrNumber attnum);
static Oid	view_of_rule(Oid rule);

/* Tells whether a table is a state table; if so, fills *view. */
bool
eddy_cdc_find_view(Relation relation, EddyCdcView *view)
{
	TupleDesc	desc = RelationGetDescr(relation);
	char	   *label = get_label(RelationGetRelid(relation));
	char		id[EDDY_LABEL_ID_LEN + 1];
	bool		valid;

	if (label == NULL)
		return false;
	valid = parse_label(label, view, id) && view->ncolumns <= desc->natts;
	for (int i = 0; i < view->nkeys && valid; i++)
		valid = view->keys[i] >= 1 && view->keys[i] <= desc->natts;
	if (valid && view->visible != 0)
		valid = is_column(desc, view->visible) &&
			TupleDescAttr(desc, view->visible - 1)->atttypid == BOOLOID;
	if (!valid)
	{
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("changes of table \"%s\" are not sent", RelationGetRelationName(relation)),
				 errdetail("Its security label \"%s\" does not describe a state table that this version of output plugin \"%s\" can decode.",
						   label, EDDY_CDC_PLUGIN)));
		return false;
	}
	view->relid = find_labelled_view(RelationGetRelid(relation),
									 psprintf("view %d %s", EDDY_LABEL_VERSION, id));
	return OidIsValid(view->relid);
}

/* Parses the label of a state table; false if it is not one that we understand. */
static bool
parse_label(const char *label, EddyCdcView *view, char *id)
{
	int			version;
	int			ncolumns;
	int			visible;
	int			end = 0;
	const char *p;

	view->nkeys = 0;
	if (sscanf(label, "state %d %32[0-9a-f] columns %d visible %d keys%n",
			   &version, id, &ncolumns, &visible, &end) != 4 || end == 0)
		return false;
	if (version != EDDY_LABEL_VERSION || strlen(id) != EDDY_LABEL_ID_LEN ||
		ncolumns < 0 || ncolumns > MaxHeapAttributeNumber ||
		visible < 0 || visible > MaxHeapAttributeNumber)
		return false;
	view->ncolumns = ncolumns;
	view->visible = visible;

	for (p = label + end; *p != '\0';)
	{
		char	   *next;
		long		key;

		if (*p != ' ' || view->nkeys == INDEX_MAX_KEYS)
			return false;
		key = strtol(p + 1, &next, 10);
		if (next == p + 1 || key < 1 || key > MaxHeapAttributeNumber)
			return false;
		view->keys[view->nkeys++] = key;
		p = next;
	}
	return true;
}

/* Finds the view with this label among those that read the table; there can be others. */
static Oid
find_labelled_view(Oid state_table, const char *label)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	Oid			rule = InvalidOid;
	Oid			result = InvalidOid;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(state_table));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2, keys);
	while (!OidIsValid(result) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend row = (Form_pg_depend) GETSTRUCT(tuple);
		Oid			view;
		char	   *view_label;

		/* a rule has one row for each column */
		if (row->classid != RewriteRelationId || row->objid == rule)
			continue;
		rule = row->objid;
		view = view_of_rule(rule);
		view_label = OidIsValid(view) ? get_label(view) : NULL;
		if (view_label != NULL && strcmp(view_label, label) == 0)
			result = view;
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return result;
}

static Oid
view_of_rule(Oid rule)
{
	Relation	rewrite = table_open(RewriteRelationId, AccessShareLock);
	Oid			result = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_rewrite_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(rule));
	scan = systable_beginscan(rewrite, RewriteOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		result = ((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class;
	systable_endscan(scan);
	table_close(rewrite, AccessShareLock);
	return result;
}

static char *
get_label(Oid relid)
{
	ObjectAddress address;

	ObjectAddressSet(address, RelationRelationId, relid);
	return GetSecurityLabel(&address, EDDY_LABEL_PROVIDER);
}

static bool
is_column(TupleDesc desc, AttrNumber attnum)
{
	return attnum >= 1 && attnum <= desc->natts && !TupleDescAttr(desc, attnum - 1)->attisdropped;
}
