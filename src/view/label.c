/*-------------------------------------------------------------------------
 *
 * label.c
 *    Writes the security labels that describe a continuous view to the output plugin.
 *
 * label.h has their format, and why they are labels. Locking: the caller has created the relations
 * in its transaction, or has locked them, so no other session uses them. Memory: the caller's
 * context. Crash: the labels are rows of the caller's transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "commands/seclabel.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/inval.h"

#include "label.h"
#include "view/plan.h"
#include "view/view.h"

/* Checks a SECURITY LABEL command: it is for restoring dumps, which superusers do. */
static void
check_relabel(const ObjectAddress *object pg_attribute_unused(),
			  const char *label pg_attribute_unused())
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set a security label of provider \"%s\"",
						EDDY_LABEL_PROVIDER),
				 errdetail("These labels describe continuous views to the output plugin.")));
}

/* Registers the provider of our labels, without which dumps could not be restored. */
void
eddy_view_register_labels(void)
{
	register_label_provider(EDDY_LABEL_PROVIDER, check_relabel);
}

/*
 * Labels a new view for the output plugin. Returns the ID for eddy_view_label_table, which labels
 * each of its state tables.
 */
char *
eddy_view_label(Oid view)
{
	uint8		random[EDDY_LABEL_ID_LEN / 2];
	char	   *id = palloc(EDDY_LABEL_ID_LEN + 1);
	ObjectAddress address;

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random number")));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(id + 2 * i, 3, "%02x", random[i]);

	ObjectAddressSet(address, RelationRelationId, view);
	SetSecurityLabel(&address, EDDY_LABEL_PROVIDER,
					 psprintf(EDDY_LABEL_VERSION " %s " EDDY_LABEL_VIEW, id));
	return id;
}

/* The ID in the label of a view; one without a label, as in some dumps, gets a label. */
char *
eddy_view_get_label(Oid view)
{
	ObjectAddress address;
	char	   *label;
	char		id[EDDY_LABEL_ID_LEN + 1];
	const size_t start = strlen(EDDY_LABEL_VERSION " ");

	ObjectAddressSet(address, RelationRelationId, view);
	label = GetSecurityLabel(&address, EDDY_LABEL_PROVIDER);
	if (label == NULL || strlen(label) < start + EDDY_LABEL_ID_LEN)
		return eddy_view_label(view);
	strlcpy(id, label + start, sizeof(id));
	if (strcmp(label, psprintf(EDDY_LABEL_VERSION " %s " EDDY_LABEL_VIEW, id)) != 0)
		return eddy_view_label(view);
	return pstrdup(id);
}

static void
append_numbers(StringInfo text, const char *word, const AttrNumber *numbers, int count)
{
	appendStringInfo(text, " %s", word);
	for (int i = 0; i < count; i++)
		appendStringInfo(text, " %d", numbers[i]);
}

/* Labels a state table of the view that has this ID. */
void
eddy_view_label_table(const char *id, Oid table, const EddyTableLabel *label)
{
	StringInfoData text;
	ObjectAddress address;

	initStringInfo(&text);
	appendStringInfo(&text, EDDY_LABEL_VERSION " %s ", id);
	switch (label->role)
	{
		case EDDY_TABLE_ROWS:
			appendStringInfoString(&text, EDDY_LABEL_ROWS);
			append_numbers(&text, EDDY_LABEL_COLUMNS, label->columns, label->ncolumns);
			append_numbers(&text, EDDY_LABEL_KEYS, label->keys, label->nkeys);
			if (label->visible != InvalidAttrNumber)
				append_numbers(&text, EDDY_LABEL_VISIBLE, &label->visible, 1);
			if (label->final != InvalidAttrNumber)
				append_numbers(&text, EDDY_LABEL_FINAL, &label->final, 1);
			if (label->end != InvalidAttrNumber)
				append_numbers(&text, EDDY_LABEL_END, &label->end, 1);
			break;
		case EDDY_TABLE_AUXILIARY:
			appendStringInfoString(&text, EDDY_LABEL_AUXILIARY);
			break;
		case EDDY_TABLE_PROGRESS:
			append_numbers(&text, EDDY_LABEL_PROGRESS, label->progress,
						   lengthof(label->progress));
			break;
		case EDDY_TABLE_INITIAL:
			append_numbers(&text, EDDY_LABEL_INITIAL, label->initial, lengthof(label->initial));
			break;
	}
	ObjectAddressSet(address, RelationRelationId, table);
	SetSecurityLabel(&address, EDDY_LABEL_PROVIDER, text.data);
	/* the table may have been decoded without it, in the same transaction */
	CacheInvalidateRelcacheByRelid(table);
}
