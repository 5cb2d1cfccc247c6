/*-------------------------------------------------------------------------
 *
 * shape.c
 *    The properties that a table needs to be a stream, or a segment.
 *
 * A stream is a plain unlogged heap whose rows all pass its capture trigger. A segment is a
 * child of its stream with the same columns and no properties of its own: the segment writer forms
 * heap tuples from values of the stream's columns, so a column of another type would make a
 * server process dereference a number taken from a message.
 *
 * These functions check the resulting state and not the command that led to it. They are
 * called when a stream is created, after each command that touched one (api/guard_stream.c),
 * and before the first row is written into a segment after any change of it (write.c).
 *
 * Locking: none beyond AccessShareLock on system catalogs; the caller has locked the
 * relation. Memory: the texts are made in the current context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "stream/segment.h"
#include "stream/stream.h"

/* ---- streams ---- */

/*
 * eddy_stream_is_subscribed returns true if some subscription writes to the table. Apply workers do
 * not fire statement triggers, so that views would miss the rows.
 */
bool
eddy_stream_is_subscribed(Oid relid)
{
	CatCList   *list = SearchSysCacheList1(SUBSCRIPTIONRELMAP, ObjectIdGetDatum(relid));
	int			members = list->n_members;

	ReleaseCatCacheList(list);
	return members > 0;
}

/* Retention deletes rows below the level of triggers, those of foreign keys included. */
static bool
is_referenced(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		if (RI_FKey_trigger_type(triggers->triggers[i].tgfoid) == RI_TRIGGER_PK)
			return true;
	}
	return false;
}

/* True if the table has a parent, or a child that is not in schema eddy. */
static bool
is_in_hierarchy(Relation rel)
{
	Oid			schema = eddy_catalog_schema();
	ListCell   *lc;

	if (has_superclass(RelationGetRelid(rel)))
		return true;
	/* relhassubclass is set before other transactions can see the row of pg_inherits */
	if (!rel->rd_rel->relhassubclass)
		return false;
	foreach(lc, find_inheritance_children(RelationGetRelid(rel), NoLock))
	{
		if (get_rel_namespace(lfirst_oid(lc)) != schema)
			return true;
	}
	return false;
}

static bool
check_columns(Relation rel, EddyShapeProblem *problem)
{
	TupleDesc	tupdesc = RelationGetDescr(rel);

	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (att->attisdropped)
			continue;
		if (att->attgenerated == EDDY_COMPAT_GENERATED_VIRTUAL)
		{
			problem->detail = psprintf("Column \"%s\" is a virtual generated column.",
									   NameStr(att->attname));
			problem->hint = "Declare the column as STORED.";
			return false;
		}
		if (att->attidentity)
		{
			problem->detail = psprintf("Column \"%s\" is an identity column, whose unlogged sequence restarts after a crash.",
									   NameStr(att->attname));
			problem->hint = "Use a default of nextval() on a logged sequence.";
			return false;
		}
	}
	return true;
}

/*
 * eddy_stream_check_shape returns false if the table cannot be a stream, or cannot remain one,
 * and describes why. Segments in schema eddy are permitted as children.
 */
bool
eddy_stream_check_shape(Relation rel, EddyShapeProblem *problem)
{
	memset(problem, 0, sizeof(EddyShapeProblem));
	problem->sqlerrcode = ERRCODE_FEATURE_NOT_SUPPORTED;
	if (rel->rd_rel->relispartition)
	{
		problem->sqlerrcode = ERRCODE_WRONG_OBJECT_TYPE;
		problem->detail = "It is a partition.";
		problem->hint = "Use a plain table created with CREATE UNLOGGED TABLE.";
	}
	else if (rel->rd_rel->relpersistence != RELPERSISTENCE_UNLOGGED)
	{
		problem->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
		problem->detail = "The rows of a stream are a cache that is not written to the WAL.";
		problem->hint = "Results are in the state tables of continuous views, which are logged.";
	}
	else if (is_in_hierarchy(rel))
	{
		problem->detail = "It is part of an inheritance hierarchy.";
		problem->hint = "Use a table without parents and children.";
	}
	else if (rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		problem->detail = "Its access method is not heap.";
	else if (eddy_stream_is_subscribed(RelationGetRelid(rel)))
	{
		problem->sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
		problem->detail = "It is the target of a subscription, whose changes do not fire statement triggers.";
		problem->hint = "Replicate into another table and insert from there.";
	}
	else if (is_referenced(rel))
		problem->detail = "A foreign key references it, but its rows are not permanent.";
	else if (rel->rd_rules != NULL)
	{
		problem->detail = "It has a rule, which can keep rows from the table or change them.";
		problem->hint = "Use a trigger.";
	}
	else
		return check_columns(rel, problem);
	return false;
}

/* ---- segments ---- */

/* The stream's column of that name, or NULL. */
static Form_pg_attribute
find_column(TupleDesc tupdesc, const char *name)
{
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att;
	}
	return NULL;
}

static const char *
compare_columns(TupleDesc segment_desc, TupleDesc stream_desc)
{
	int			matched = 0;

	for (int i = 0; i < segment_desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(segment_desc, i);
		Form_pg_attribute other;

		if (att->attisdropped)
			continue;
		other = find_column(stream_desc, NameStr(att->attname));
		if (other == NULL)
			return psprintf("Column \"%s\" does not exist in the stream.", NameStr(att->attname));
		if (att->atttypid != other->atttypid || att->atttypmod != other->atttypmod ||
			att->attlen != other->attlen || att->attbyval != other->attbyval ||
			att->attalign != other->attalign)
			return psprintf("The type of column \"%s\" is %s instead of %s.",
							NameStr(att->attname),
							format_type_with_typemod(att->atttypid, att->atttypmod),
							format_type_with_typemod(other->atttypid, other->atttypmod));
		if (att->attcollation != other->attcollation)
			return psprintf("The collation of column \"%s\" is not that of the stream.",
							NameStr(att->attname));
		if (att->attnotnull && !other->attnotnull)
			return psprintf("Column \"%s\" has a NOT NULL constraint of its own.",
							NameStr(att->attname));
		matched++;
	}
	for (int i = 0; i < stream_desc->natts; i++)
		matched -= !TupleDescAttr(stream_desc, i)->attisdropped;
	return matched == 0 ? NULL : "It does not have all columns of the stream.";
}

/* True if the only parent is the stream. */
static bool
inherits_from(Oid segment, Oid stream)
{
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	int			parents = 0;
	bool		found = false;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(segment));
	scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		parents++;
		if (((Form_pg_inherits) GETSTRUCT(tuple))->inhparent == stream)
			found = true;
	}
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);
	return found && parents == 1;
}

/* The name of a constraint that is not inherited, or NULL. */
static const char *
find_local_constraint(Oid segment)
{
	Relation	constraints = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	const char *name = NULL;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(segment));
	scan = systable_beginscan(constraints, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (name == NULL && (tuple = systable_getnext(scan)) != NULL)
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);

		if (form->conislocal)
			name = pstrdup(NameStr(form->conname));
	}
	systable_endscan(scan);
	table_close(constraints, AccessShareLock);
	return name;
}

/*
 * The columns of a segment must be those of the stream by name, type, typmod and collation, and it
 * must not have constraints, indexes, triggers, rules or children.
 */
const char *
eddy_stream_segment_problem(Relation segment, Oid stream, TupleDesc stream_desc)
{
	Oid			relid = RelationGetRelid(segment);
	List	   *indexes;
	const char *constraint;

	if (segment->rd_rel->relkind != RELKIND_RELATION || segment->rd_rel->relispartition ||
		segment->rd_rel->relam != HEAP_TABLE_AM_OID)
		return "It is not a plain table of access method heap.";
	if (segment->rd_rel->relpersistence != RELPERSISTENCE_UNLOGGED)
		return "It is not unlogged.";
	if (RelationGetNamespace(segment) != eddy_catalog_schema())
		return "It is not in schema \"" EDDY_SCHEMA "\".";
	if (!inherits_from(relid, stream))
		return "Its parent is not the stream alone.";
	if (segment->rd_rel->relhassubclass &&
		find_inheritance_children(relid, NoLock) != NIL)
		return "It has children.";
	if (segment->trigdesc != NULL)
		return "It has a trigger.";
	if (segment->rd_rules != NULL)
		return "It has a rule.";
	indexes = RelationGetIndexList(segment);
	if (indexes != NIL)
		return "It has an index.";
	constraint = find_local_constraint(relid);
	if (constraint)
		return psprintf("It has the constraint \"%s\" of its own.", constraint);
	return compare_columns(RelationGetDescr(segment), stream_desc);
}

const char *
eddy_stream_check_segment(Oid relid, Relation stream)
{
	Relation	segment = try_relation_open(relid, AccessShareLock);
	const char *problem;

	if (segment == NULL)
		return NULL;
	problem = eddy_stream_segment_problem(segment, RelationGetRelid(stream),
										  RelationGetDescr(stream));
	relation_close(segment, AccessShareLock);
	return problem;
}
