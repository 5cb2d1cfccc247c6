/*-------------------------------------------------------------------------
 *
 * pinned_settings.h
 *    The settings that pg_eddy does not take from the current session.
 *
 * One list for the expressions of views and streams, the background workers and the output
 * plugin. It is a table in a header, included by owner.c and cdc/plugin.c, because the plugin is a
 * library of its own.
 *
 * The list is intended to be complete: all settings that a session can change and that
 * can change the value of an expression, or make it fail. Not included are settings that
 * change plans, costs, memory, logging or the order of rows, which no query without
 * ORDER BY can rely on; those that raise an error only for lack of a resource; and those
 * that only volatile functions depend on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_PINNED_SETTINGS_H
#define EDDY_PINNED_SETTINGS_H

#include "access/gin.h"
#include "catalog/namespace.h"
#include "jit/jit.h"
#include "miscadmin.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"
#include "tsearch/ts_cache.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/rls.h"
#include "utils/xml.h"

/* from utils/pg_locale.h, which needs the headers of ICU where the server was built with it */
extern PGDLLIMPORT char *locale_messages;
extern PGDLLIMPORT char *locale_monetary;
extern PGDLLIMPORT char *locale_numeric;
extern PGDLLIMPORT char *locale_time;

#define EDDY_PINNED_SEARCH_PATH "pg_catalog, pg_temp"

/*
 * One pinned setting. Looking up a setting by its name takes as long as a
 * short expression, and setting it much longer, so the server's variable is
 * compared if it is exported.
 */
typedef struct EddyPinnedSetting
{
	const char *name;
	const char *value;
	bool		configured;		/* value is the default of the server's configuration */
	bool		output;			/* the text of values depends on it: pinned by the output plugin */
	bool		workers_only;	/* pinned for the life of a worker process only */
	/* at most one of these; none: looked up by name, and left alone if it does not exist */
	const bool *flag;
	const int  *number;
	char	   *const *string;
	bool		zone;			/* the time zone of the session */
	int			expected;		/* of flag and number */
} EddyPinnedSetting;

/*
 * Locales, and settings that administrators choose for all databases, are taken from the
 * configuration that the server was started with (eddy_owner_init): with a constant, a column of
 * type money could have another number of decimal places than in its table. The
 * plugin uses the constants, because its text must be the same on each server.
 */
static EddyPinnedSetting eddy_pinned_settings[] = {
	/* how names and SQL texts inside of functions are parsed */
	{"search_path", EDDY_PINNED_SEARCH_PATH, .string = &namespace_search_path, .output = true},
	{"backslash_quote", "safe_encoding", .number = &backslash_quote,
	.expected = BACKSLASH_QUOTE_SAFE_ENCODING},
	{"standard_conforming_strings", "on", .flag = &standard_conforming_strings, .expected = true},
	{"transform_null_equals", "off", .flag = &Transform_null_equals, .expected = false},
	{"plpgsql.check_asserts", "on", .configured = true},
	{"plpgsql.extra_errors", "none", .configured = true},
	{"plpgsql.variable_conflict", "error", .configured = true},

	/* how values are read and written */
	{"DateStyle", "ISO, YMD", .number = &DateOrder, .expected = DATEORDER_YMD, .output = true},
	{"DateStyle", "ISO, YMD", .number = &DateStyle, .expected = USE_ISO_DATES, .output = true},
	{"IntervalStyle", "postgres", .number = &IntervalStyle, .expected = INTSTYLE_POSTGRES, .output = true},
	{"TimeZone", "UTC", .zone = true, .output = true},
	{"array_nulls", "on", .flag = &Array_nulls, .expected = true},
	{"bytea_output", "hex", .number = &bytea_output, .expected = BYTEA_OUTPUT_HEX, .output = true},
	{"extra_float_digits", "1", .number = &extra_float_digits, .expected = 1, .output = true},
	{"lc_messages", "C", .configured = true, .string = &locale_messages},
	{"lc_monetary", "C", .configured = true, .string = &locale_monetary, .output = true},
	{"lc_numeric", "C", .configured = true, .string = &locale_numeric},
	{"lc_time", "C", .configured = true, .string = &locale_time},
	{"quote_all_identifiers", "off", .flag = &quote_all_identifiers, .expected = false, .output = true},
	{"timezone_abbreviations", "Default", .configured = true},
	{"xmlbinary", "base64", .number = &xmlbinary, .expected = XMLBINARY_BASE64, .output = true},
	{"xmloption", "content", .number = &xmloption, .expected = XMLOPTION_CONTENT},

	/* how text is searched */
	{"default_text_search_config", "pg_catalog.simple", .configured = true,
	.string = &TSCurrentConfig},
	{"gin_fuzzy_search_limit", "0", .number = &GinFuzzySearchLimit, .expected = 0},
	{"pg_trgm.similarity_threshold", "0.3", .configured = true},
	{"pg_trgm.strict_word_similarity_threshold", "0.5", .configured = true},
	{"pg_trgm.word_similarity_threshold", "0.6", .configured = true},

	/* which rows can be read, and the effect of an error */
	{"exit_on_error", "off", .flag = &ExitOnAnyError, .expected = false},
	{"restrict_nonsystem_relation_kind", "", .configured = false},
	{"row_security", "on", .flag = &row_security, .expected = true},

	/* batches are too small to benefit from it */
	{"jit", "off", .flag = &jit_enabled, .expected = false},

	/* settings that could make a batch fail */
	{"default_transaction_deferrable", "off", .workers_only = true},
	{"default_transaction_isolation", "read committed", .workers_only = true},
	{"default_transaction_read_only", "off", .workers_only = true},
	{"lock_timeout", "0", .workers_only = true},
	{"statement_timeout", "0", .workers_only = true},
};

#endif							/* EDDY_PINNED_SETTINGS_H */
