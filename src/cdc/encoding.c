/*-------------------------------------------------------------------------
 *
 * encoding.c
 *    Text of the database's encoding within JSON strings, which are UTF-8.
 *
 * The output is valid UTF-8 in every database. It also has to be valid text of the database's
 * encoding, as which the SQL functions return it. Hence:
 *
 *   UTF8, SQL_ASCII   valid UTF-8 is copied
 *   all others        characters other than ASCII become \u escapes
 *
 * A byte that is not part of valid text, or of a character that Unicode does not have, must not
 * keep a slot from advancing. It becomes the escape of a private-use character of its own,
 * U+F700 plus its value: different keys remain different.
 *
 * In all server encodings bytes with the high bit stand for characters other than ASCII, and
 * each byte of such a character has it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_conversion.h"
#include "catalog/pg_namespace.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "cdc/json_writer.h"

/* Bytes that are converted at once; an incomplete character is converted with the next ones. */
#define CHUNK 128

static void append_escapes(StringInfo out, const unsigned char *utf8, int len);
static FmgrInfo *find_conversion(void);

/* Appends text of the database's encoding that consists of bytes with the high bit. */
void
eddy_cdc_append_non_ascii(StringInfo out, const char *data, int len)
{
	int			encoding = GetDatabaseEncoding();
	bool		utf8 = encoding == PG_UTF8 || encoding == PG_SQL_ASCII;
	FmgrInfo   *conversion = utf8 ? NULL : find_conversion();

	while (len > 0)
	{
		int			done = 0;
		int			bad = 0;

		if (utf8)
		{
			done = pg_encoding_verifymbstr(PG_UTF8, data, len);
			eddy_cdc_append_bytes(out, data, done);
			bad = 1;
		}
		else if (conversion != NULL)
		{
			unsigned char buf[CHUNK * MAX_CONVERSION_GROWTH + 1];

			buf[0] = '\0';
			done = DatumGetInt32(FunctionCall6(conversion, Int32GetDatum(encoding),
											   Int32GetDatum(PG_UTF8), CStringGetDatum(data),
											   CStringGetDatum((char *) buf),
											   Int32GetDatum(Min(len, CHUNK)),
											   BoolGetDatum(true)));
			append_escapes(out, buf, strlen((char *) buf));
			/* one whole character is in the chunk, so it cannot be converted */
			bad = done == 0 ? Max(pg_encoding_mblen(encoding, data), 1) : 0;
		}
		else
			bad = 1;

		data += done;
		len -= done;
		for (bad = Min(bad, len); bad > 0; bad--, data++, len--)
			eddy_cdc_append_escape(out, 0xF700 + (unsigned char) *data);
	}
}

/* Appends one UTF-16 unit as a JSON escape. */
void
eddy_cdc_append_escape(StringInfo out, unsigned int unit)
{
	static const char digits[] = "0123456789abcdef";
	char		escape[6] = {
		'\\', 'u', digits[unit >> 12 & 15], digits[unit >> 8 & 15], digits[unit >> 4 & 15],
		digits[unit & 15]
	};

	eddy_cdc_append_bytes(out, escape, sizeof(escape));
}

/* Appends valid UTF-8 as JSON escapes. */
static void
append_escapes(StringInfo out, const unsigned char *utf8, int len)
{
	const unsigned char *end = utf8 + len;

	while (utf8 < end)
	{
		pg_wchar	c = utf8_to_unicode(utf8);

		if (c < 0x10000)
			eddy_cdc_append_escape(out, c);
		else
		{
			eddy_cdc_append_escape(out, 0xD800 + ((c - 0x10000) >> 10));
			eddy_cdc_append_escape(out, 0xDC00 + ((c - 0x10000) & 0x3FF));
		}
		utf8 += pg_encoding_mblen(PG_UTF8, (const char *) utf8);
	}
}

/*
 * Finds the server's own conversion to UTF-8, regardless of search_path; NULL if it does not exist,
 * as for MULE_INTERNAL. It is cached: a database does not change its encoding.
 */
static FmgrInfo *
find_conversion(void)
{
	static FmgrInfo conversion;
	static bool found = false;

	/* outside of transactions, nothing but IDs of prepared transactions is sent */
	if (!found && !IsTransactionState())
		return NULL;
	if (!found)
	{
		Oid			function = FindDefaultConversion(PG_CATALOG_NAMESPACE, GetDatabaseEncoding(),
													 PG_UTF8);

		if (!OidIsValid(function))
			return NULL;
		fmgr_info_cxt(function, &conversion, TopMemoryContext);
		found = true;
	}
	return &conversion;
}
