/*-------------------------------------------------------------------------
 *
 * json.c
 *    The format of JSON objects.
 *
 * Each message is walked once, along the tree of wanted fields (json_tree.h) where it matches. All
 * other values are skipped, and checked as strictly. Events of one topic mostly have their fields
 * in one order, so each node remembers which one followed it last time; the name is only hashed
 * when that guess fails. If a field occurs twice, the last one wins, as in jsonb.
 *
 * Memory: a message is copied once into the caller's space, and short texts stay in that copy: the
 * quote before a string has room for the one-byte header of a short varlena. So a row of numbers
 * and short texts costs no allocation of its own. Larger messages are copied into a buffer that is
 * reused, as is the index of simdjson (json_shim.h).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "decode/decoder.h"
#include "decode/json_tree.h"
#include "decode/json_walk.h"

/* Larger messages are not kept as a whole because of the short texts in them. */
#define IN_PLACE_LIMIT 4096

/* A reused buffer above this size is freed when messages become small again. */
#define KEPT_BUFFER (1024 * 1024)

/* Readable bytes after a message: one terminates it, the others keep the next copy aligned. */
#define PADDING 8

/* The longest string whose header takes one byte. */
#define SHORT_TEXT (VARATT_SHORT_MAX - VARHDRSZ_SHORT)

typedef struct JsonDecoder
{
	EddyDecoder base;

	EddyJsonTree tree;
	bool		keeps_text;		/* a column may point into the message's copy */

	/* reused from message to message */
	char	   *buffer;			/* copy of a message that nothing points into */
	size_t		buffer_size;
	uint64		serial;			/* counts messages */
} JsonDecoder;

/* The message that is decoded, and its row. */
typedef struct JsonRow
{
	JsonDecoder *decoder;
	EddyJsonCursor cursor;
	bool		in_place;		/* texts may stay in the message's copy */
	Datum	   *values;
	bool	   *nulls;
	bool	   *missing;
	EddyDecodeError *error;
} JsonRow;

/* ---- errors ---- */

/* refuse_json fills the error for a status of the walk or the index. */
static bool
refuse_json(EddyDecodeError *error, EddyJsonStatus status)
{
	switch (status)
	{
		case EDDY_JSON_EMPTY:
			return eddy_decode_refuse(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
									  "message is empty");
		case EDDY_JSON_NOT_UTF8:
			return eddy_decode_refuse(error, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
									  "message is not valid UTF-8");
		case EDDY_JSON_CONTROL:
			return eddy_decode_refuse(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
									  "message is not valid JSON: a string has a control character");
		case EDDY_JSON_UNCLOSED:
			return eddy_decode_refuse(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
									  "message is not valid JSON: a string is not closed");
		case EDDY_JSON_DEPTH:
			return eddy_decode_refuse(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
									  "message is nested too deeply");
		case EDDY_JSON_TOO_LONG:
			return eddy_decode_refuse(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
									  "message is too long");
		default:
			return eddy_decode_refuse(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
									  "message is not valid JSON");
	}
}

/*
 * refuse_message fills the error for a message that is not JSON from its beginning. Serializers of
 * schema registries begin each message with a zero byte and the number of its schema.
 */
static bool
refuse_message(EddyDecodeError *error, EddyJsonStatus status, const char *data, size_t len)
{
	if (len > 0 && data[0] == '\0')
		return eddy_decode_refuse(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
								  "message is not valid JSON: it begins with a zero byte, as messages for a schema registry do");
	return refuse_json(error, status);
}

/* refuse_escape fills the error for a string that cannot be a value in PostgreSQL. */
static bool
refuse_escape(EddyDecodeError *error, const EddyValueColumn *column, EddyJsonEscape escape)
{
	error->sqlerrcode = escape == EDDY_JSON_ESCAPE_NUL ?
		ERRCODE_UNTRANSLATABLE_CHARACTER : ERRCODE_INVALID_TEXT_REPRESENTATION;
	error->attnum = column->attnum;
	snprintf(error->message, sizeof(error->message), escape == EDDY_JSON_ESCAPE_NUL ?
			 "unsupported Unicode escape sequence in value for column \"%s\"" :
			 "unpaired Unicode surrogate in value for column \"%s\"", column->name);
	return false;
}

/* ---- values ---- */

/*
 * append_array consumes a JSON array and appends it as an array literal of PostgreSQL.
 *
 * Nested arrays are further dimensions; array_in checks that they are rectangular. *has_items is
 * set if there is an element.
 */
static bool
append_array(JsonRow *row, const EddyValueColumn *column, int depth, StringInfo literal,
			 bool *has_items)
{
	EddyJsonCursor *cursor = &row->cursor;
	EddyJsonValue item;

	if (depth >= EDDY_JSON_MAX_DEPTH)
		return refuse_json(row->error, EDDY_JSON_DEPTH);
	cursor->next++;
	appendStringInfoChar(literal, '{');
	if (eddy_json_peek(cursor) == ']')
	{
		cursor->next++;
		appendStringInfoChar(literal, '}');
		return true;
	}
	for (;;)
	{
		char		c = eddy_json_peek(cursor);

		if (c == '[')
		{
			if (!append_array(row, column, depth + 1, literal, has_items))
				return false;
		}
		else if (!eddy_json_read(cursor, depth + 1, &item))
			return refuse_json(row->error, cursor->status);
		else if (item.kind == EDDY_JSON_NULL)
		{
			appendStringInfoString(literal, "NULL");
			*has_items = true;
		}
		else
		{
			char	   *s = cursor->text + item.start;
			uint32		len = item.len;

			if (item.kind == EDDY_JSON_STRING && column->json_elements)
			{
				s--;			/* as JSON text, with its quotes */
				len += 2;
			}
			else if (item.escaped)
			{
				char	   *copy = palloc(len + 1);
				EddyJsonEscape escape = eddy_json_unescape(s, len, copy, &len);

				if (escape != EDDY_JSON_ESCAPE_OK)
					return refuse_escape(row->error, column, escape);
				s = copy;
			}
			appendStringInfoChar(literal, '"');
			for (uint32 i = 0; i < len; i++)
			{
				if (s[i] == '"' || s[i] == '\\')
					appendStringInfoChar(literal, '\\');
				appendStringInfoChar(literal, s[i]);
			}
			appendStringInfoChar(literal, '"');
			*has_items = true;
		}

		c = eddy_json_peek(cursor);
		if (c != ',' && c != ']')
			return refuse_json(row->error, EDDY_JSON_SYNTAX);
		cursor->next++;
		appendStringInfoChar(literal, c == ',' ? column->delimiter : '}');
		if (c == ']')
			return true;
	}
}

/*
 * store_string makes a column's value from a JSON string. in_place: the part of the message's copy
 * that holds it is not read again and may be changed.
 */
static inline bool
store_string(JsonRow *row, const EddyValueColumn *column, const EddyJsonValue *item, bool in_place)
{
	char	   *s = row->cursor.text + item->start;
	uint32		len = item->len;
	EddyValueResult result;

	if (item->escaped)
	{
		EddyJsonEscape escape;
		char	   *dst = in_place ? s : palloc(len + 1);

		escape = eddy_json_unescape(s, len, dst, &len);
		if (escape != EDDY_JSON_ESCAPE_OK)
			return refuse_escape(row->error, column, escape);
		s = dst;
		s[len] = '\0';			/* at most on the closing quote */
	}

	if (in_place && len <= SHORT_TEXT &&
		(column->kind == EDDY_VALUE_TEXT ||
		 (column->kind == EDDY_VALUE_VARCHAR && len <= (uint32) column->limit)))
	{
		SET_VARSIZE_SHORT(s - 1, len + VARHDRSZ_SHORT);
		row->values[column->attnum - 1] = PointerGetDatum(s - 1);
		return true;
	}

	result = eddy_value_from_string(column, row->decoder->base.time_format, s, len,
									&row->values[column->attnum - 1]);
	if (unlikely(result != EDDY_VALUE_OK))
	{
		eddy_value_report(row->error, column, result);
		return false;
	}
	return true;
}

/* store_value consumes the next value and stores it in a column. */
static inline bool
store_value(JsonRow *row, const EddyValueColumn *column, int depth, bool in_place)
{
	EddyJsonCursor *cursor = &row->cursor;
	int			attr = column->attnum - 1;
	EddyValueResult result;
	EddyJsonValue item;

	if (column->kind == EDDY_VALUE_INPUT_ARRAY && eddy_json_peek(cursor) == '[')
	{
		StringInfoData literal;
		bool		has_items = false;

		initStringInfo(&literal);
		if (!append_array(row, column, depth, &literal, &has_items))
			return false;
		/* an array of empty arrays is empty, which array_in does not accept in all versions */
		row->values[attr] = CStringGetDatum(has_items ? literal.data : "{}");
		row->nulls[attr] = row->missing[attr] = false;
		return true;
	}

	if (unlikely(!eddy_json_read(cursor, depth, &item)))
		return refuse_json(row->error, cursor->status);

	row->missing[attr] = false;
	row->nulls[attr] = (item.kind == EDDY_JSON_NULL);
	switch (item.kind)
	{
		case EDDY_JSON_NULL:
			row->values[attr] = (Datum) 0;
			return true;
		case EDDY_JSON_STRING:
			if (column->kind != EDDY_VALUE_JSON && column->kind != EDDY_VALUE_INPUT_JSON)
				return store_string(row, column, &item, in_place);
			item.start--;		/* as JSON text, with its quotes */
			item.len += 2;
			break;
		case EDDY_JSON_NUMBER:
			result = eddy_value_from_number(column, row->decoder->base.time_format,
											cursor->text + item.start, item.len, &item.number,
											&row->values[attr]);
			if (unlikely(result != EDDY_VALUE_OK))
			{
				eddy_value_report(row->error, column, result);
				return false;
			}
			return true;
		default:
			break;
	}

	/* literals, objects and arrays are stored as their text, which is not an array literal */
	if (column->kind == EDDY_VALUE_INPUT_ARRAY)
		result = EDDY_VALUE_INVALID;
	else
		result = eddy_value_from_string(column, row->decoder->base.time_format,
										cursor->text + item.start, item.len,
										&row->values[attr]);
	if (result != EDDY_VALUE_OK)
	{
		eddy_value_report(row->error, column, result);
		return false;
	}
	return true;
}

/* ---- the walk ---- */

/*
 * clear_node resets the columns of a node and below it: an earlier field of that name has set them.
 */
static void
clear_node(JsonRow *row, int node)
{
	JsonDecoder *decoder = row->decoder;

	for (int i = decoder->tree.nodes[node].column; i >= 0; i = decoder->tree.next_column[i])
	{
		int			attr = decoder->base.columns[i].attnum - 1;

		row->values[attr] = (Datum) 0;
		row->nulls[attr] = row->missing[attr] = true;
	}
	for (int i = decoder->tree.nodes[node].first_child; i != EDDY_JSON_NO_NODE;
		 i = decoder->tree.nodes[i].sibling)
		clear_node(row, i);
}

static bool walk_object(JsonRow *row, int index, int depth);
static bool walk_array(JsonRow *row, int index, int depth);

/* walk_node consumes the value of a wanted field and fills the columns of its node and below it. */
static bool
walk_node(JsonRow *row, int index, int depth)
{
	JsonDecoder *decoder = row->decoder;
	EddyJsonNode *node = &decoder->tree.nodes[index];
	uint32		start = row->cursor.next;
	char		c;

	/* depth 0 is the message itself */
	if (unlikely(node->serial == decoder->serial))
		clear_node(row, index);
	node->serial = decoder->serial;

	/* a text may be changed in place if it is not read again */
	if (likely(node->alone))
		return store_value(row, &decoder->base.columns[node->column], depth, row->in_place);
	for (int i = node->column; i >= 0; i = decoder->tree.next_column[i])
	{
		row->cursor.next = start;
		if (!store_value(row, &decoder->base.columns[i], depth, false))
			return false;
	}
	if (node->first_child == EDDY_JSON_NO_NODE)
	{
		/* no column is filled from the payload: all are metadata or have defaults */
		if (unlikely(node->column < 0) && !eddy_json_skip(&row->cursor, depth))
			return refuse_json(row->error, row->cursor.status);
		return true;
	}

	row->cursor.next = start;
	c = eddy_json_peek(&row->cursor);
	if (c == '{')
		return walk_object(row, index, depth);
	if (c == '[')
		return walk_array(row, index, depth);
	if (!eddy_json_skip(&row->cursor, depth))
		return refuse_json(row->error, row->cursor.status);
	return true;
}

/* walk_array consumes an array, some elements of which JSON pointers refer to. */
static bool
walk_array(JsonRow *row, int index, int depth)
{
	EddyJsonCursor *cursor = &row->cursor;
	const EddyJsonTree *tree = &row->decoder->tree;
	uint32		position = 0;

	if (depth >= EDDY_JSON_MAX_DEPTH)
		return refuse_json(row->error, EDDY_JSON_DEPTH);
	cursor->next++;
	if (eddy_json_peek(cursor) == ']')
	{
		cursor->next++;
		return true;
	}
	for (;;)
	{
		char		key[16];
		int			child;
		char		c;

		snprintf(key, sizeof(key), "%u", position++);
		child = eddy_json_tree_find(tree, &tree->nodes[index], key, strlen(key));
		if (child != EDDY_JSON_NO_NODE)
		{
			if (!walk_node(row, child, depth + 1))
				return false;
		}
		else if (!eddy_json_skip(cursor, depth + 1))
			return refuse_json(row->error, cursor->status);

		c = eddy_json_peek(cursor);
		if (c != ',' && c != ']')
			return refuse_json(row->error, EDDY_JSON_SYNTAX);
		cursor->next++;
		if (c == ']')
			return true;
	}
}

/* match_key consumes a key; *child is the child of the node with that name, expected first. */
static inline bool
match_key(JsonRow *row, const EddyJsonNode *node, int expected, int *child)
{
	EddyJsonCursor *cursor = &row->cursor;
	JsonDecoder *decoder = row->decoder;
	EddyJsonValue key;
	char	   *s;
	uint32		len;

	if (expected != EDDY_JSON_NO_NODE && decoder->tree.nodes[expected].plain)
	{
		const EddyJsonNode *guess = &decoder->tree.nodes[expected];
		uint32		start = cursor->positions[cursor->next];

		/* the padding makes a word after any token readable */
		if (cursor->text[start] == '"' &&
			eddy_json_tree_is_key(guess, cursor->text + start + 1))
		{
			cursor->next++;
			if (eddy_json_peek(cursor) != ':')
				return refuse_json(row->error, EDDY_JSON_SYNTAX);
			cursor->next++;
			*child = expected;
			return true;
		}
	}

	if (!eddy_json_read_key(cursor, &key))
		return refuse_json(row->error, cursor->status);
	s = cursor->text + key.start;
	len = key.len;
	if (unlikely(key.escaped))
	{
		char	   *copy = palloc(len + 1);

		/* a key that cannot be a text in PostgreSQL is not the name of a column */
		if (eddy_json_unescape(s, len, copy, &len) != EDDY_JSON_ESCAPE_OK)
		{
			pfree(copy);
			*child = EDDY_JSON_NO_NODE;
			return true;
		}
		*child = eddy_json_tree_find(&decoder->tree, node, copy, len);
		pfree(copy);
		return true;
	}
	*child = eddy_json_tree_find(&decoder->tree, node, s, len);
	return true;
}

/* walk_object consumes an object, some fields of which are wanted. */
static bool
walk_object(JsonRow *row, int index, int depth)
{
	EddyJsonCursor *cursor = &row->cursor;
	EddyJsonNode *nodes = row->decoder->tree.nodes;
	int		   *link = &nodes[index].leader;

	if (depth >= EDDY_JSON_MAX_DEPTH)
		return refuse_json(row->error, EDDY_JSON_DEPTH);
	cursor->next++;
	if (eddy_json_peek(cursor) == '}')
	{
		cursor->next++;
		return true;
	}
	for (;;)
	{
		int			child = EDDY_JSON_NO_NODE;
		char		c;

		if (!match_key(row, &nodes[index], *link, &child))
			return false;
		if (child != EDDY_JSON_NO_NODE)
		{
			*link = child;
			link = &nodes[child].follower;
			if (!walk_node(row, child, depth + 1))
				return false;
		}
		else if (!eddy_json_skip(cursor, depth + 1))
			return refuse_json(row->error, cursor->status);

		c = eddy_json_peek(cursor);
		if (c != ',' && c != '}')
			return refuse_json(row->error, EDDY_JSON_SYNTAX);
		cursor->next++;
		if (c == '}')
			return true;
	}
}

/* The size of the copy of a message that texts may stay in. */
static inline size_t
copy_size(size_t len)
{
	return MAXALIGN(len + PADDING);
}

/*
 * prepare_space makes room for the copies of all messages of a call. Allocated one by one, they
 * would take up to twice their size.
 */
static void
prepare_space(EddyDecodeSpace *space, const EddyDecodeMessage *messages, int count)
{
	size_t		size = 0;

	for (int i = 0; i < count; i++)
	{
		if (messages[i].data != NULL && messages[i].len <= IN_PLACE_LIMIT)
			size += copy_size(messages[i].len);
	}
	if (size <= space->left)
		return;
	space->next = palloc(size);
	space->left = size;
}

/* copy_message returns a terminated copy of a message, which may be changed. */
static char *
copy_message(JsonDecoder *decoder, const char *data, size_t len, EddyDecodeSpace *space)
{
	char	   *copy;

	if (space)
	{
		Assert(copy_size(len) <= space->left);
		copy = space->next;
		space->next += copy_size(len);
		space->left -= copy_size(len);
	}
	else
	{
		if (decoder->buffer_size < len + PADDING ||
			(decoder->buffer_size > KEPT_BUFFER && len < decoder->buffer_size / 16))
		{
			size_t		size = Max(len + PADDING, (size_t) 2 * IN_PLACE_LIMIT);

			if (decoder->buffer != NULL)
				pfree(decoder->buffer);
			decoder->buffer = NULL;
			decoder->buffer_size = 0;
			decoder->buffer = MemoryContextAllocHuge(decoder->base.mcxt, size);
			decoder->buffer_size = size;
		}
		copy = decoder->buffer;
	}
	memcpy(copy, data, len);
	memset(copy + len, 0, PADDING);
	return copy;
}

static bool
decode_message(JsonDecoder *decoder, const EddyDecodeMessage *message, EddyDecodeSpace *space,
			   Datum *values, bool *nulls, bool *missing, EddyDecodeError *error)
{
	const char *data = message->data;
	size_t		len = message->len;
	JsonRow		row;
	EddyJsonStatus status;

	eddy_decode_clear_row(&decoder->base, values, nulls, missing);
	if (len >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0)
	{
		data += 3;
		len -= 3;
	}
	if (len > EDDY_DECODE_MAX_LENGTH)
		return refuse_json(error, EDDY_JSON_TOO_LONG);

	row.decoder = decoder;
	row.values = values;
	row.nulls = nulls;
	row.missing = missing;
	row.error = error;
	/* by the length that prepare_space has counted */
	row.in_place = decoder->keeps_text && message->len <= IN_PLACE_LIMIT;
	status = eddy_json_open(&row.cursor,
							copy_message(decoder, data, len, row.in_place ? space : NULL), len);
	if (unlikely(status != EDDY_JSON_OK))
	{
		if (status == EDDY_JSON_MEMORY)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory"),
					 errdetail("Failed while indexing a JSON message of %zu bytes.", len)));
		return refuse_message(error, status, data, len);
	}

	if (unlikely(eddy_json_peek(&row.cursor) != '{'))
	{
		if (!eddy_json_skip(&row.cursor, 0))
			return refuse_message(error, row.cursor.status, data, len);
		return eddy_decode_refuse(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
								  "message is not a JSON object");
	}
	decoder->serial++;
	if (!walk_node(&row, 0, 0))
		return false;
	if (unlikely(row.cursor.next != row.cursor.count))
		return eddy_decode_refuse(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
								  "message has trailing data after the JSON object");
	return true;
}

/* ---- the operations of the format ---- */

static void
create(EddyDecoder *base, const EddyDecodeColumn *columns)
{
	JsonDecoder *decoder = (JsonDecoder *) base;

	eddy_json_tree_create(&decoder->tree, columns, base->columns, base->ncolumns);
	for (int i = 0; i < base->ncolumns; i++)
	{
		if (base->columns[i].kind == EDDY_VALUE_TEXT ||
			base->columns[i].kind == EDDY_VALUE_VARCHAR)
			decoder->keeps_text = true;
	}
}

static int
decode(EddyDecoder *base, const EddyDecodeMessage *messages, int count,
	   const EddyDecodeRows *rows, EddyDecodeError *error)
{
	JsonDecoder *decoder = (JsonDecoder *) base;

	if (decoder->keeps_text)
		prepare_space(rows->space, messages, count);
	for (int i = 0; i < count; i++)
	{
		size_t		first = (size_t) i * rows->natts;

		if (messages[i].data != NULL &&
			!decode_message(decoder, &messages[i], rows->space, rows->values + first,
							rows->nulls + first, rows->missing + first, error))
			return i;
	}
	return count;
}

static void
release_buffers(EddyDecoder *base)
{
	JsonDecoder *decoder = (JsonDecoder *) base;

	if (decoder->buffer_size > KEPT_BUFFER)
	{
		pfree(decoder->buffer);
		decoder->buffer = NULL;
		decoder->buffer_size = 0;
	}
	eddy_json_release_index();
}

/* declared by formats.c too */
extern const EddyDecoderFormat eddy_decode_json_format;

/* A JSON message describes itself, so there is nothing to resolve. */
const EddyDecoderFormat eddy_decode_json_format = {
	.name = "json",
	.decoder_size = sizeof(JsonDecoder),
	.create = create,
	.decode = decode,
	.release_buffers = release_buffers
};
