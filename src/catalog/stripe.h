/*-------------------------------------------------------------------------
 *
 * stripe.h
 *    Counts that concurrent transactions add to without waiting for each other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_CATALOG_STRIPE_H
#define EDDY_CATALOG_STRIPE_H

#include "catalog/table.h"

/* Owners whose stripes a process remembers; those with the same remainder replace each other. */
#define EDDY_STRIPES_REMEMBERED 16

/* The stripe of an owner that this process used last. */
typedef struct EddyRememberedStripe
{
	Oid			owner;
	int64		stripe;
	ItemPointerData place;		/* of the version that was written last */
} EddyRememberedStripe;

/* A table whose primary key is (owner, number of the stripe), its first two columns. */
typedef struct EddyStripeTable
{
	const EddyTableDesc *desc;
	const char *sequence;		/* for the numbers of stripes */

	/* Adds to a row; NULL in a column of a new one counts as nothing. */
	void		(*add) (Datum *values, bool *nulls, const void *added);

	EddyRememberedStripe remembered[EDDY_STRIPES_REMEMBERED];
} EddyStripeTable;

/* Adds to one of the stripes of an owner. Never waits. */
extern void eddy_stripe_add(EddyStripeTable *table, Oid owner, const void *added);

/* All stripes of an owner, as structs; deletes them. */
extern List *eddy_stripe_list(const EddyStripeTable *table, Oid owner);
extern void eddy_stripe_delete(const EddyStripeTable *table, Oid owner);

/* Adds to a counter of a row, and raises a time of it: false if it is not earlier. */
extern void eddy_stripe_count(Datum *values, bool *nulls, AttrNumber attnum, int64 more);
extern bool eddy_stripe_raise(Datum *values, bool *nulls, AttrNumber attnum, TimestampTz time);

#endif							/* EDDY_CATALOG_STRIPE_H */
