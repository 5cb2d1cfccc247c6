/*-------------------------------------------------------------------------
 *
 * label.c
 *    Security labels that describe a continuous view to the output plugin.
 *
 * label.h says what they hold and why. Locking: the caller creates both objects in its
 * transaction, so nobody else sees them yet. A crash leaves nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "commands/seclabel.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "label.h"
#include "view/view.h"

/* SECURITY LABEL is for restoring dumps, which superusers do. */
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

void
eddy_view_register_labels(void)
{
	register_label_provider(EDDY_LABEL_PROVIDER, check_relabel);
}

void
eddy_view_label(const EddyView *view, int ncolumns)
{
	uint8		random[EDDY_LABEL_ID_LEN / 2];
	char		id[EDDY_LABEL_ID_LEN + 1];
	ObjectAddress address;
	StringInfoData label;

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random number")));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(id + 2 * i, 3, "%02x", random[i]);

	initStringInfo(&label);
	appendStringInfo(&label, "state %d %s columns %d visible %d keys", EDDY_LABEL_VERSION, id,
					 ncolumns, view->visible_column);
	for (int i = 0; i < view->nkeys; i++)
		appendStringInfo(&label, " %d", view->key_columns[i]);
	ObjectAddressSet(address, RelationRelationId, view->state_table);
	SetSecurityLabel(&address, EDDY_LABEL_PROVIDER, label.data);

	resetStringInfo(&label);
	appendStringInfo(&label, "view %d %s", EDDY_LABEL_VERSION, id);
	ObjectAddressSet(address, RelationRelationId, view->relid);
	SetSecurityLabel(&address, EDDY_LABEL_PROVIDER, label.data);
}
