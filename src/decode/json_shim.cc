/*-------------------------------------------------------------------------
 *
 * json_shim.cc
 *    The C interface to simdjson. The only C++ file of pg_eddy.
 *
 * All calls return error codes; memory comes from the library's own non-throwing allocation. The
 * index grows with the largest message and is freed when messages have become much smaller, so that
 * the process does not keep the memory of one huge message.
 *
 *-------------------------------------------------------------------------
 */
#define SIMDJSON_EXCEPTIONS 0

#include <simdjson.h>

#include "json_shim.h"

/*
 * The first stage is not a documented interface of the library. It is the same in all versions from
 * 3.0 to 4.6, of which 3.0.1, 3.12.3 and 4.6 (Debian 12, 13 and forky) are tested. For another
 * major version: read internal/dom_parser_implementation.h, run test/unit and test/fuzz with it,
 * and change the limit.
 */
static_assert(simdjson::SIMDJSON_VERSION_MAJOR >= 3 && simdjson::SIMDJSON_VERSION_MAJOR <= 4,
			  "this version of simdjson is not supported: pg_eddy is tested with 3.0 to 4.6");

using Implementation = simdjson::internal::dom_parser_implementation;

/* The index has four bytes per byte of message: the capacity that is kept without need. */
static const size_t KEPT_CAPACITY = 1024 * 1024;
static const size_t FIRST_CAPACITY = 16 * 1024;

/* The stage does not nest, but the library requires a number. */
static const size_t STAGE_DEPTH = 1;

static std::unique_ptr<Implementation> implementation;

extern "C" void
eddy_json_release_index(void)
{
	if (implementation && implementation->capacity() > KEPT_CAPACITY)
		implementation.reset();
}

/* prepare ensures capacity for a text of len bytes. */
static EddyJsonStatus
prepare(size_t len)
{
	size_t		capacity;

	if (implementation && implementation->capacity() > KEPT_CAPACITY &&
		len < implementation->capacity() / 16)
		implementation.reset();

	if (implementation && len <= implementation->capacity())
		return EDDY_JSON_OK;

	capacity = implementation ? implementation->capacity() : FIRST_CAPACITY;
	while (capacity < len)
		capacity *= 2;
	if (capacity > KEPT_CAPACITY)
		capacity = len;

	implementation.reset();
	if (simdjson::get_active_implementation()->create_dom_parser_implementation(
			capacity, STAGE_DEPTH, implementation) != simdjson::SUCCESS)
	{
		implementation.reset();
		return EDDY_JSON_MEMORY;
	}
	return EDDY_JSON_OK;
}

extern "C" EddyJsonStatus
eddy_json_index(const char *text, size_t len, const uint32_t **positions, uint32_t *count)
{
	EddyJsonStatus status;

	if (len == 0)
		return EDDY_JSON_EMPTY;
	/* the last entry has to fit into 32 bits as well */
	if (len > simdjson::SIMDJSON_MAXSIZE_BYTES - simdjson::SIMDJSON_PADDING)
		return EDDY_JSON_TOO_LONG;

	status = prepare(len);
	if (status != EDDY_JSON_OK)
		return status;

	switch (implementation->stage1(reinterpret_cast<const uint8_t *>(text), len,
								   simdjson::stage1_mode::regular))
	{
		case simdjson::SUCCESS:
			break;
		case simdjson::EMPTY:
			return EDDY_JSON_EMPTY;
		case simdjson::UTF8_ERROR:
			return EDDY_JSON_NOT_UTF8;
		case simdjson::UNESCAPED_CHARS:
			return EDDY_JSON_CONTROL;
		case simdjson::UNCLOSED_STRING:
			return EDDY_JSON_UNCLOSED;
		case simdjson::MEMALLOC:
			return EDDY_JSON_MEMORY;
		case simdjson::CAPACITY:
			return EDDY_JSON_TOO_LONG;
		default:
			return EDDY_JSON_SYNTAX;
	}

	*positions = implementation->structural_indexes.get();
	*count = implementation->n_structural_indexes;
	return EDDY_JSON_OK;
}
