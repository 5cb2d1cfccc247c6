/*-------------------------------------------------------------------------
 *
 * owner.c
 *    Acting with the rights of an owner: of a view, or of the extension.
 *
 * Expressions of a view run inside the transactions of other people and of
 * superuser workers. Before any of them is looked up or evaluated we become
 * their owner, in a security-restricted operation, with a search_path that
 * nobody else can write to. The other pinned settings make results independent of
 * the session that computes them, and of ALTER ROLE and ALTER DATABASE.
 *
 * The list is meant to be complete: all settings that a session can change and that
 * can change the value of an expression, or make it fail. Left out are those that
 * change plans, costs, memory, logging or the order of rows, which no query without
 * ORDER BY can rely on; those that raise an error only for lack of a resource; and those
 * that only volatile functions depend on.
 *
 * No locks, no memory of its own; after an error the (sub)transaction abort
 * restores user and settings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/gin.h"
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "jit/jit.h"
#include "miscadmin.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"
#include "pgtime.h"
#include "tsearch/ts_cache.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/syscache.h"
#include "utils/xml.h"

#include "catalog/eddy_catalog.h"
#include "view/owner.h"

/* from utils/pg_locale.h, which needs the headers of ICU where the server was built with it */
extern PGDLLIMPORT char *locale_messages;
extern PGDLLIMPORT char *locale_monetary;
extern PGDLLIMPORT char *locale_numeric;
extern PGDLLIMPORT char *locale_time;

/*
 * One pinned setting. Looking up a setting by its name takes as long as a
 * short expression, and setting it many times that, so the server's variable is
 * compared where it can be reached.
 */
typedef struct EddyPinnedSetting
{
	const char *name;
	const char *value;
	bool		configured;		/* value is the default of the server's configuration */
	/* at most one of these; none: looked up by name, and left alone if it does not exist */
	const bool *flag;
	const int  *number;
	char	   *const *string;
	int			expected;		/* of flag and number */
} EddyPinnedSetting;

/*
 * Locales, and what an administrator chooses for all databases, are taken from the
 * configuration that the server was started with: a constant would give a column of
 * type money another number of decimal places than its table has.
 */
static EddyPinnedSetting pinned[] = {
	/* how names and SQL texts inside of functions are understood */
	{"search_path", "pg_catalog, pg_temp", .string = &namespace_search_path},
	{"backslash_quote", "safe_encoding", .number = &backslash_quote,
	.expected = BACKSLASH_QUOTE_SAFE_ENCODING},
	{"standard_conforming_strings", "on", .flag = &standard_conforming_strings, .expected = true},
	{"transform_null_equals", "off", .flag = &Transform_null_equals, .expected = false},
	{"plpgsql.check_asserts", "on", .configured = true},
	{"plpgsql.extra_errors", "none", .configured = true},
	{"plpgsql.variable_conflict", "error", .configured = true},

	/* how values are read and written */
	{"DateStyle", "ISO, YMD", .number = &DateOrder, .expected = DATEORDER_YMD},
	{"DateStyle", "ISO, YMD", .number = &DateStyle, .expected = USE_ISO_DATES},
	{"IntervalStyle", "postgres", .number = &IntervalStyle, .expected = INTSTYLE_POSTGRES},
	{"TimeZone", "UTC", .configured = false},
	{"array_nulls", "on", .flag = &Array_nulls, .expected = true},
	{"bytea_output", "hex", .number = &bytea_output, .expected = BYTEA_OUTPUT_HEX},
	{"extra_float_digits", "1", .number = &extra_float_digits, .expected = 1},
	{"lc_messages", "C", .configured = true, .string = &locale_messages},
	{"lc_monetary", "C", .configured = true, .string = &locale_monetary},
	{"lc_numeric", "C", .configured = true, .string = &locale_numeric},
	{"lc_time", "C", .configured = true, .string = &locale_time},
	{"quote_all_identifiers", "off", .flag = &quote_all_identifiers, .expected = false},
	{"timezone_abbreviations", "Default", .configured = true},
	{"xmlbinary", "base64", .number = &xmlbinary, .expected = XMLBINARY_BASE64},
	{"xmloption", "content", .number = &xmloption, .expected = XMLOPTION_CONTENT},

	/* how text is searched */
	{"default_text_search_config", "pg_catalog.simple", .configured = true,
	.string = &TSCurrentConfig},
	{"gin_fuzzy_search_limit", "0", .number = &GinFuzzySearchLimit, .expected = 0},
	{"pg_trgm.similarity_threshold", "0.3", .configured = true},
	{"pg_trgm.strict_word_similarity_threshold", "0.5", .configured = true},
	{"pg_trgm.word_similarity_threshold", "0.6", .configured = true},

	/* what can be read, and what an error does */
	{"exit_on_error", "off", .flag = &ExitOnAnyError, .expected = false},
	{"restrict_nonsystem_relation_kind", "", .configured = false},
	{"row_security", "on", .flag = &row_security, .expected = true},

	/* batches are far too small to pay for it */
	{"jit", "off", .flag = &jit_enabled, .expected = false},
};

void
eddy_owner_init(void)
{
	for (int i = 0; i < (int) lengthof(pinned); i++)
	{
		const char *configured = pinned[i].configured ?
			GetConfigOption(pinned[i].name, true, false) : NULL;

		if (configured)
			pinned[i].value = MemoryContextStrdup(TopMemoryContext, configured);
	}
}

static inline bool
has_pinned_value(const EddyPinnedSetting *setting)
{
	const char *current;

	if (setting->flag)
		return *setting->flag == (bool) setting->expected;
	if (setting->number)
		return *setting->number == setting->expected;
	if (setting->string)
		current = *setting->string;
	else
	{
		/* of a library that is not loaded, or of another version of the server */
		current = GetConfigOption(setting->name, true, false);
		if (current == NULL)
			return true;
	}
	return current != NULL && strcmp(current, setting->value) == 0;
}

void
eddy_owner_begin(EddyOwnerSwitch *save, Oid owner)
{
	GetUserIdAndSecContext(&save->saved_user, &save->saved_context);
	SetUserIdAndSecContext(owner, save->saved_context | SECURITY_RESTRICTED_OPERATION);
	save->guc_level = NewGUCNestLevel();
	for (int i = 0; i < (int) lengthof(pinned); i++)
	{
		if (has_pinned_value(&pinned[i]))
			continue;

		/*
		 * A configured value may be invalid in this database, such as a text search
		 * configuration that does not exist in it: then the session's is as good.
		 */
		(void) set_config_option(pinned[i].name, pinned[i].value, PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, pinned[i].configured ? DEBUG1 : 0,
								 false);
	}
}

void
eddy_owner_pin_process(void)
{
	for (int i = 0; i < (int) lengthof(pinned); i++)
		if (GetConfigOption(pinned[i].name, true, false) != NULL)
			(void) set_config_option(pinned[i].name, pinned[i].value, PGC_SUSET,
									 PGC_S_OVERRIDE, GUC_ACTION_SET, true,
									 pinned[i].configured ? DEBUG1 : 0, false);
}

void
eddy_owner_end(const EddyOwnerSwitch *save)
{
	AtEOXact_GUC(false, save->guc_level);
	SetUserIdAndSecContext(save->saved_user, save->saved_context);
}

void
eddy_owner_become_extension(EddyOwnerSwitch *save)
{
	Oid			owner = eddy_catalog_extension_owner();

	GetUserIdAndSecContext(&save->saved_user, &save->saved_context);
	SetUserIdAndSecContext(owner, save->saved_context | SECURITY_LOCAL_USERID_CHANGE);
	save->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

Oid
eddy_owner_of_relation(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}
