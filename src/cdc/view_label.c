/*-------------------------------------------------------------------------
 *
 * view_label.c
 *    Recognizes state tables of continuous views, as of a point of the WAL.
 *
 * Everything is read under the historic snapshot of the transaction that is decoded, and from
 * system catalogs only: the server maps these to their current files, whatever rewrote them,
 * while a table of our own could no longer be read after VACUUM FULL of its index or after
 * DROP EXTENSION. label.h describes the security labels that are read here.
 *
 * Only pg_eddy and superusers can set a label of our provider, so a table that has one is trusted
 * to be what the label says; the name of a schema or table proves nothing. The text and all
 * numbers in it are checked nevertheless: a dump can have been edited.
 *
 * Memory: the caller's context.
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

#include "cdc/plugin.h"
#include "cdc/view_label.h"

static bool fits_mark(AttrNumber column, TupleDesc desc);
static bool fits_type(AttrNumber column, TupleDesc desc, Oid type);
static bool fits_table(const EddyTableLabel *label, TupleDesc desc);
static Oid	find_labelled_view(Oid table, const char *text);
static char *get_label(Oid relid);
static bool parse_label(const char *text, EddyTableLabel *label);
static bool parse_numbers(const char **cursor, AttrNumber *numbers, int max, int *count, int min);
static bool skip(const char **cursor, const char *text);
static Oid	view_of_rule(Oid rule);

/*
 * Returns the Oid of the view that a table is a state table of, or InvalidOid; *label is what the
 * label of the table says, with role EDDY_TABLE_AUXILIARY if there is none. A label that is not
 * valid is a warning, as the slot has to advance.
 */
Oid
eddy_cdc_find_view(Relation relation, EddyTableLabel *label)
{
	char	   *text = get_label(RelationGetRelid(relation));

	label->role = EDDY_TABLE_AUXILIARY;
	if (text == NULL)
		return InvalidOid;
	if (!parse_label(text, label) || !fits_table(label, RelationGetDescr(relation)))
	{
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("changes of table \"%s\" are not sent", RelationGetRelationName(relation)),
				 errdetail("Its security label \"%s\" does not describe a state table that this version of output plugin \"%s\" can decode.",
						   text, EDDY_CDC_PLUGIN)));
		return InvalidOid;
	}
	if (label->role == EDDY_TABLE_PROGRESS || label->role == EDDY_TABLE_INITIAL)
		return InvalidOid;
	return find_labelled_view(RelationGetRelid(relation),
							  psprintf(EDDY_LABEL_VERSION " %s " EDDY_LABEL_VIEW,
									   label->id));
}

/* Parses the label of a state table; false if it is not valid. */
static bool
parse_label(const char *text, EddyTableLabel *label)
{
	const char *cursor = text;
	int			nvisible = 0;
	int			nfinal = 0;
	int			nend = 0;
	int			count = 0;

	memset(label, 0, sizeof(*label));
	if (!skip(&cursor, EDDY_LABEL_VERSION " ") ||
		strspn(cursor, "0123456789abcdef") != EDDY_LABEL_ID_LEN)
		return false;
	strlcpy(label->id, cursor, sizeof(label->id));
	cursor += EDDY_LABEL_ID_LEN;

	if (skip(&cursor, " " EDDY_LABEL_AUXILIARY))
	{
		label->role = EDDY_TABLE_AUXILIARY;
		return *cursor == '\0';
	}
	if (skip(&cursor, " " EDDY_LABEL_PROGRESS))
	{
		label->role = EDDY_TABLE_PROGRESS;
		return parse_numbers(&cursor, label->progress, lengthof(label->progress), &count, 1) &&
			count == lengthof(label->progress) && *cursor == '\0';
	}
	if (skip(&cursor, " " EDDY_LABEL_INITIAL))
	{
		label->role = EDDY_TABLE_INITIAL;
		return parse_numbers(&cursor, label->initial, lengthof(label->initial), &count, 1) &&
			count == lengthof(label->initial) && *cursor == '\0';
	}

	label->role = EDDY_TABLE_ROWS;
	label->columns = palloc(sizeof(AttrNumber) * MaxHeapAttributeNumber);
	label->keys = palloc(sizeof(AttrNumber) * INDEX_MAX_KEYS);
	if (!skip(&cursor, " " EDDY_LABEL_ROWS " " EDDY_LABEL_COLUMNS) ||
		!parse_numbers(&cursor, label->columns, MaxHeapAttributeNumber, &label->ncolumns, 0) ||
		!skip(&cursor, " " EDDY_LABEL_KEYS) ||
		!parse_numbers(&cursor, label->keys, INDEX_MAX_KEYS, &label->nkeys, 1))
		return false;
	if (skip(&cursor, " " EDDY_LABEL_VISIBLE) &&
		(!parse_numbers(&cursor, &label->visible, 1, &nvisible, 1) || nvisible == 0))
		return false;
	if (skip(&cursor, " " EDDY_LABEL_FINAL) &&
		(!parse_numbers(&cursor, &label->final, 1, &nfinal, 1) || nfinal == 0))
		return false;
	if (skip(&cursor, " " EDDY_LABEL_END) &&
		(!parse_numbers(&cursor, &label->end, 1, &nend, 1) || nend == 0))
		return false;
	return *cursor == '\0';
}

/* Moves the cursor past a text; false if it is not followed by this text. */
static bool
skip(const char **cursor, const char *text)
{
	size_t		len = strlen(text);

	if (strncmp(*cursor, text, len) != 0)
		return false;
	*cursor += len;
	return true;
}

/*
 * Parses attribute numbers of at least min, each after one space; false if one is not valid or
 * there are too many.
 */
static bool
parse_numbers(const char **cursor, AttrNumber *numbers, int max, int *count, int min)
{
	const char *p = *cursor;

	*count = 0;
	while (p[0] == ' ' && p[1] >= '0' && p[1] <= '9')
	{
		int			number = 0;

		for (p++; *p >= '0' && *p <= '9'; p++)
		{
			number = number * 10 + (*p - '0');
			if (number > MaxHeapAttributeNumber)
				return false;
			if (number == 0 && p[1] >= '0' && p[1] <= '9')
				return false;	/* a leading zero */
		}
		if (number < min)
			return false;
		if (*count == max)
			return false;
		numbers[(*count)++] = number;
	}
	*cursor = p;
	return true;
}

/* True if the table has the columns that its label mentions; dropped ones count. */
static bool
fits_table(const EddyTableLabel *label, TupleDesc desc)
{
	for (int i = 0; i < label->ncolumns; i++)
	{
		if (label->columns[i] > desc->natts)
			return false;
	}
	for (int i = 0; i < label->nkeys; i++)
	{
		if (label->keys[i] > desc->natts)
			return false;
		for (int j = 0; j < i; j++)
		{
			if (label->keys[j] == label->keys[i])
				return false;
		}
	}
	if (label->role == EDDY_TABLE_PROGRESS)
		return fits_type(label->progress[0], desc, REGCLASSOID) &&
			fits_type(label->progress[1], desc, TIMESTAMPTZOID) &&
			fits_type(label->progress[2], desc, TIMESTAMPTZOID);
	if (label->role == EDDY_TABLE_INITIAL)
		return fits_type(label->initial[0], desc, NAMEOID) &&
			fits_type(label->initial[1], desc, OIDOID) &&
			fits_type(label->initial[2], desc, INT8OID) &&
			fits_type(label->initial[3], desc, BYTEAOID);
	return fits_mark(label->visible, desc) && fits_mark(label->final, desc) &&
		(label->end == InvalidAttrNumber || fits_type(label->end, desc, TIMESTAMPTZOID));
}

/* True if the table has such a column, of type boolean; 0 stands for none. */
static bool
fits_mark(AttrNumber column, TupleDesc desc)
{
	return column == InvalidAttrNumber || fits_type(column, desc, BOOLOID);
}

static bool
fits_type(AttrNumber column, TupleDesc desc, Oid type)
{
	/* the type of a dropped column is 0 */
	return column <= desc->natts && TupleDescAttr(desc, column - 1)->atttypid == type;
}

/* Finds the view with this label among those that read the table; there can be others. */
static Oid
find_labelled_view(Oid table, const char *text)
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
				ObjectIdGetDatum(table));
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
		if (view_label != NULL && strcmp(view_label, text) == 0)
			result = view;
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return result;
}

/* Returns the Oid of the view whose query a rule is. */
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

/* Gets the ID in the label of a view; false if the relation has no such label. */
bool
eddy_cdc_get_view_id(Oid relid, char *id)
{
	const char *text = get_label(relid);

	return text != NULL && eddy_cdc_parse_view_label(text, id);
}

/* Gets the ID in the text of a label; false if it is not that of a view. */
bool
eddy_cdc_parse_view_label(const char *text, char *id)
{
	if (!skip(&text, EDDY_LABEL_VERSION " ") ||
		strspn(text, "0123456789abcdef") != EDDY_LABEL_ID_LEN)
		return false;
	strlcpy(id, text, EDDY_LABEL_ID_LEN + 1);
	return strcmp(text + EDDY_LABEL_ID_LEN, " " EDDY_LABEL_VIEW) == 0;
}

static char *
get_label(Oid relid)
{
	ObjectAddress address;

	ObjectAddressSet(address, RelationRelationId, relid);
	return GetSecurityLabel(&address, EDDY_LABEL_PROVIDER);
}
