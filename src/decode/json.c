/*-------------------------------------------------------------------------
 *
 * json.c
 *    The decoder of JSON objects.
 *
 * The wanted fields form a small tree: the top-level names, and below them
 * what JSON pointers reach. Each message is walked once, along the tree where
 * it matches and skipping, but checking, everything else. Events of one topic
 * mostly come with their fields in one order, so each field remembers which
 * one followed it last time; only when that guess fails is the name hashed.
 *
 * The message is copied once into the current memory context, and short
 * texts stay where they are in that copy: the quote before a string has the
 * room for the one-byte header of a short varlena. So a row of numbers and
 * short texts costs one allocation.
 *
 * Of fields that occur twice the last one wins, as in jsonb.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "decode/decode.h"
#include "decode/json_walk.h"
#include "decode/value.h"

/* Larger messages are not kept whole for the sake of the short texts in them. */
#define IN_PLACE_LIMIT 4096

/* A reused buffer above this size is given back when messages become small again. */
#define KEPT_BUFFER (1024 * 1024)

/* Readable bytes behind a message: one terminates it, the others let copies stay aligned. */
#define PADDING 8

/* The longest string whose header takes one byte. */
#define SHORT_TEXT (VARATT_SHORT_MAX - VARHDRSZ_SHORT)

#define NO_NODE (-1)

/* One name in the tree of wanted fields. Node 0 is the message itself. */
typedef struct JsonNode
{
	/* immutable once made */
	char	   *key;			/* in UTF-8, as a message spells it */
	uint32		key_len;
	uint32		hash;
	bool		plain;			/* no character of the key ever needs an escape */
	int			column;			/* first column to fill from here, or -1 */
	int			first_child;
	int			sibling;
	uint32	   *slots;			/* open addressing: node + 1, 0 is free; NULL: no children */
	uint32		slot_mask;

	/* learned from the previous messages */
	int			follower;		/* the node that came after this one */
	int			leader;			/* the child that came first */

	/* of the message at hand */
	uint64		serial;			/* the last message that had it */
} JsonNode;

struct EddyDecoder
{
	/* immutable once made */
	MemoryContext mcxt;
	EddyTimeFormat time_format;
	int			ncolumns;
	EddyValueColumn *columns;
	int		   *next_column;	/* another column of the same node, or -1 */
	int			nnodes;
	JsonNode   *nodes;
	bool		needs_convert;
	bool		keeps_text;		/* some column may point into the message's copy */

	/* scratch */
	char	   *buffer;			/* copies of messages that nothing points into */
	size_t		buffer_size;
	uint64		serial;			/* counts messages */
	const EddyValueColumn *converting;	/* whose input function runs, or has failed */
};

/* One message on its way through the tree. */
typedef struct JsonRow
{
	EddyDecoder *decoder;
	EddyJsonCursor cursor;
	bool		in_place;		/* texts may stay in the message's copy */
	Datum	   *values;
	bool	   *nulls;
	bool	   *missing;
	EddyDecodeError *error;
} JsonRow;

/* ---- making a decoder ---- */

static uint32
hash_key(const char *key, uint32 len)
{
	return hash_bytes((const unsigned char *) key, (int) len);
}

/* child_of finds or makes the child of a node with the given key. */
static int
child_of(EddyDecoder *decoder, int parent, const char *key)
{
	JsonNode   *node;
	int			i;

	for (i = decoder->nodes[parent].first_child; i != NO_NODE; i = decoder->nodes[i].sibling)
	{
		if (strcmp(decoder->nodes[i].key, key) == 0)
			return i;
	}

	i = decoder->nnodes++;
	decoder->nodes = repalloc(decoder->nodes, decoder->nnodes * sizeof(JsonNode));
	node = &decoder->nodes[i];
	memset(node, 0, sizeof(*node));
	node->key = pstrdup(key);
	node->key_len = strlen(key);
	node->hash = hash_key(key, node->key_len);
	node->plain = true;
	for (const char *p = key; *p; p++)
	{
		if (*p == '"' || *p == '\\' || (unsigned char) *p < ' ')
			node->plain = false;
	}
	node->column = -1;
	node->first_child = NO_NODE;
	node->follower = node->leader = NO_NODE;
	node->sibling = decoder->nodes[parent].first_child;
	decoder->nodes[parent].first_child = i;
	return i;
}

/* node_of_pointer walks a JSON pointer (RFC 6901) from the root, making what is missing. */
static int
node_of_pointer(EddyDecoder *decoder, const char *column, const char *pointer)
{
	int			node = 0;
	int			depth = 0;
	const char *p = pg_server_to_any(pointer, strlen(pointer), PG_UTF8);

	if (*p != '\0' && *p != '/')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid JSON pointer \"%s\" for column \"%s\"", pointer, column),
				 errdetail("A JSON pointer is empty or begins with \"/\".")));
	while (*p == '/')
	{
		StringInfoData key;

		if (++depth > EDDY_JSON_MAX_DEPTH)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("JSON pointer for column \"%s\" has more than %d levels",
							column, EDDY_JSON_MAX_DEPTH)));
		initStringInfo(&key);
		for (p++; *p != '\0' && *p != '/'; p++)
		{
			if (*p != '~')
				appendStringInfoChar(&key, *p);
			else if (p[1] == '0' || p[1] == '1')
				appendStringInfoChar(&key, *++p == '0' ? '~' : '/');
			else
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("invalid JSON pointer \"%s\" for column \"%s\"", pointer, column),
						 errdetail("\"~\" must be followed by \"0\" or \"1\".")));
		}
		node = child_of(decoder, node, key.data);
		pfree(key.data);
	}
	return node;
}

/* hash_children makes the table by which a node finds its children. */
static void
hash_children(EddyDecoder *decoder, JsonNode *node)
{
	uint32		count = 0;
	uint32		size = 4;

	for (int i = node->first_child; i != NO_NODE; i = decoder->nodes[i].sibling)
		count++;
	if (count == 0)
		return;
	while (size < count * 2)
		size *= 2;
	node->slots = palloc0(size * sizeof(uint32));
	node->slot_mask = size - 1;
	for (int i = node->first_child; i != NO_NODE; i = decoder->nodes[i].sibling)
	{
		uint32		slot = decoder->nodes[i].hash & node->slot_mask;

		while (node->slots[slot] != 0)
			slot = (slot + 1) & node->slot_mask;
		node->slots[slot] = (uint32) i + 1;
	}
}

EddyDecoder *
eddy_decode_create_json(MemoryContext mcxt, TupleDesc tupdesc, const EddyDecodeColumn *columns,
						int ncolumns, const EddyDecodeOptions *options)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(mcxt);
	EddyDecoder *decoder = palloc0(sizeof(EddyDecoder));

	decoder->mcxt = mcxt;
	decoder->time_format = options ? options->time_format : EDDY_TIME_ISO;
	decoder->ncolumns = ncolumns;
	decoder->columns = palloc0(Max(ncolumns, 1) * sizeof(EddyValueColumn));
	decoder->next_column = palloc(Max(ncolumns, 1) * sizeof(int));
	decoder->nnodes = 1;
	decoder->nodes = palloc0(sizeof(JsonNode));
	decoder->nodes[0].column = -1;
	decoder->nodes[0].first_child = NO_NODE;
	decoder->nodes[0].sibling = NO_NODE;
	decoder->nodes[0].follower = decoder->nodes[0].leader = NO_NODE;

	for (int i = 0; i < ncolumns; i++)
	{
		EddyValueColumn *column = &decoder->columns[i];
		int			node;

		eddy_value_init_column(column, TupleDescAttr(tupdesc, columns[i].attnum - 1), mcxt);
		if (columns[i].pointer != NULL)
			node = node_of_pointer(decoder, column->name, columns[i].pointer);
		else
			node = child_of(decoder, 0,
							pg_server_to_any(column->name, strlen(column->name), PG_UTF8));
		decoder->next_column[i] = decoder->nodes[node].column;
		decoder->nodes[node].column = i;

		if (eddy_value_needs_convert(column))
			decoder->needs_convert = true;
		if (column->kind == EDDY_VALUE_TEXT || column->kind == EDDY_VALUE_VARCHAR)
			decoder->keeps_text = true;
	}
	for (int i = 0; i < decoder->nnodes; i++)
		hash_children(decoder, &decoder->nodes[i]);

	MemoryContextSwitchTo(oldcontext);
	return decoder;
}

/* ---- errors ---- */

static bool
refuse_message(EddyDecodeError *error, int sqlerrcode, const char *message)
{
	error->sqlerrcode = sqlerrcode;
	error->attnum = 0;
	strlcpy(error->message, message, sizeof(error->message));
	return false;
}

/* refuse_json says what the walk or the index objected to. */
static bool
refuse_json(EddyDecodeError *error, EddyJsonStatus status)
{
	switch (status)
	{
		case EDDY_JSON_EMPTY:
			return refuse_message(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
								  "message is empty");
		case EDDY_JSON_NOT_UTF8:
			return refuse_message(error, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
								  "message is not valid UTF-8");
		case EDDY_JSON_CONTROL:
			return refuse_message(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
								  "message is not valid JSON: a string has a control character");
		case EDDY_JSON_UNCLOSED:
			return refuse_message(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
								  "message is not valid JSON: a string is not closed");
		case EDDY_JSON_DEPTH:
			return refuse_message(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
								  "message is nested too deeply");
		case EDDY_JSON_TOO_LONG:
			return refuse_message(error, ERRCODE_PROGRAM_LIMIT_EXCEEDED, "message is too long");
		default:
			return refuse_message(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
								  "message is not valid JSON");
	}
}

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
 * append_array writes a JSON array as PostgreSQL array literal.
 *
 * Nested arrays are further dimensions; whether they are rectangular is the
 * business of array_in. *has_items is set when there is any element.
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
		appendStringInfoChar(literal, c == ',' ? ',' : '}');
		if (c == ']')
			return true;
	}
}

/*
 * store_string makes a column's value from a JSON string.
 *
 * In place: nobody else will look at this part of the message's copy.
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

	result = eddy_value_from_string(column, row->decoder->time_format, s, len,
									&row->values[column->attnum - 1]);
	if (unlikely(result != EDDY_VALUE_OK))
	{
		eddy_value_report(row->error, column, result);
		return false;
	}
	return true;
}

/*
 * store_value consumes the next value and puts it into a column.
 */
static bool
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
		/* arrays of nothing but empty arrays are empty, which not every server's array_in knows */
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
			result = eddy_value_from_number(column, row->decoder->time_format,
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

	/* literals, objects and arrays go in as their text, which is no array's literal */
	if (column->kind == EDDY_VALUE_INPUT_ARRAY)
		result = EDDY_VALUE_INVALID;
	else
		result = eddy_value_from_string(column, row->decoder->time_format,
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

/* forget_node takes back what an earlier field of the same name has set below a node. */
static void
forget_node(JsonRow *row, int node)
{
	EddyDecoder *decoder = row->decoder;

	for (int i = decoder->nodes[node].column; i >= 0; i = decoder->next_column[i])
	{
		int			attr = decoder->columns[i].attnum - 1;

		row->values[attr] = (Datum) 0;
		row->nulls[attr] = row->missing[attr] = true;
	}
	for (int i = decoder->nodes[node].first_child; i != NO_NODE; i = decoder->nodes[i].sibling)
		forget_node(row, i);
}

/* find_child looks a key up among the children of a node. */
static int
find_child(const EddyDecoder *decoder, const JsonNode *node, const char *key, uint32 len)
{
	uint32		hash = hash_key(key, len);
	uint32		slot = hash & node->slot_mask;

	while (node->slots[slot] != 0)
	{
		const JsonNode *child = &decoder->nodes[node->slots[slot] - 1];

		if (child->hash == hash && child->key_len == len && memcmp(child->key, key, len) == 0)
			return (int) node->slots[slot] - 1;
		slot = (slot + 1) & node->slot_mask;
	}
	return NO_NODE;
}

static bool walk_object(JsonRow *row, int index, int depth);
static bool walk_array(JsonRow *row, int index, int depth);

/* walk_node consumes the value of a wanted node and fills its columns and those below it. */
static bool
walk_node(JsonRow *row, int index, int depth)
{
	EddyDecoder *decoder = row->decoder;
	JsonNode   *node = &decoder->nodes[index];
	uint32		start = row->cursor.next;
	bool		alone;
	char		c;

	/* depth 0 is the message itself */
	if (unlikely(node->serial == decoder->serial))
		forget_node(row, index);
	node->serial = decoder->serial;

	/* a text may be changed where it is if nobody reads it again */
	alone = node->column >= 0 && decoder->next_column[node->column] < 0 &&
		node->first_child == NO_NODE;
	for (int i = node->column; i >= 0; i = decoder->next_column[i])
	{
		row->cursor.next = start;
		if (!store_value(row, &decoder->columns[i], depth, alone && row->in_place))
			return false;
	}
	if (node->first_child == NO_NODE)
	{
		/* a row that takes nothing from its message, only from what surrounds it */
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

/* walk_array consumes an array, of which JSON pointers want single elements. */
static bool
walk_array(JsonRow *row, int index, int depth)
{
	EddyJsonCursor *cursor = &row->cursor;
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
		child = find_child(row->decoder, &row->decoder->nodes[index], key, strlen(key));
		if (child != NO_NODE)
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

/* match_key consumes a key and tells which child of the node it is. */
static inline bool
match_key(JsonRow *row, const JsonNode *node, int expected, int *child)
{
	EddyJsonCursor *cursor = &row->cursor;
	EddyDecoder *decoder = row->decoder;
	EddyJsonValue key;
	char	   *s;
	uint32		len;

	if (expected != NO_NODE && decoder->nodes[expected].plain)
	{
		const JsonNode *guess = &decoder->nodes[expected];
		uint32		start = cursor->positions[cursor->next];

		/* the next token ends the comparison before it could leave the text */
		if (cursor->text[start] == '"' &&
			cursor->positions[cursor->next + 1] - start >= guess->key_len + 2 &&
			memcmp(cursor->text + start + 1, guess->key, guess->key_len) == 0 &&
			cursor->text[start + 1 + guess->key_len] == '"')
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

		/* a key that is no text is no column's name either */
		if (eddy_json_unescape(s, len, copy, &len) != EDDY_JSON_ESCAPE_OK)
		{
			pfree(copy);
			*child = NO_NODE;
			return true;
		}
		*child = find_child(decoder, node, copy, len);
		pfree(copy);
		return true;
	}
	*child = find_child(decoder, node, s, len);
	return true;
}

/* walk_object consumes an object, of which some fields are wanted. */
static bool
walk_object(JsonRow *row, int index, int depth)
{
	EddyJsonCursor *cursor = &row->cursor;
	JsonNode   *nodes = row->decoder->nodes;
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
		int			child = NO_NODE;
		char		c;

		if (!match_key(row, &nodes[index], *link, &child))
			return false;
		if (child != NO_NODE)
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

/* copy_message gives a private, terminated copy of a message. */
static char *
copy_message(EddyDecoder *decoder, const char *data, size_t len, bool in_place)
{
	char	   *copy;

	if (in_place)
		copy = palloc(len + PADDING);
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
			decoder->buffer = MemoryContextAllocHuge(decoder->mcxt, size);
			decoder->buffer_size = size;
		}
		copy = decoder->buffer;
	}
	memcpy(copy, data, len);
	memset(copy + len, 0, PADDING);
	return copy;
}

void
eddy_decode_forget(EddyDecoder *decoder)
{
	if (decoder->buffer_size > KEPT_BUFFER)
	{
		pfree(decoder->buffer);
		decoder->buffer = NULL;
		decoder->buffer_size = 0;
	}
	eddy_json_forget();
}

bool
eddy_decode_message(EddyDecoder *decoder, const char *data, size_t len, Datum *values,
					bool *nulls, bool *missing, EddyDecodeError *error)
{
	JsonRow		row;
	EddyJsonStatus status;

	for (int i = 0; i < decoder->ncolumns; i++)
	{
		int			attr = decoder->columns[i].attnum - 1;

		values[attr] = (Datum) 0;
		nulls[attr] = missing[attr] = true;
	}
	if (len >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0)
	{
		data += 3;
		len -= 3;
	}

	/* a string in a message must become a value of at most 1 GB */
	if (len > MaxAllocSize / 2)
		return refuse_json(error, EDDY_JSON_TOO_LONG);

	row.decoder = decoder;
	row.values = values;
	row.nulls = nulls;
	row.missing = missing;
	row.error = error;
	row.in_place = decoder->keeps_text && len <= IN_PLACE_LIMIT;
	status = eddy_json_open(&row.cursor,
							copy_message(decoder, data, len, row.in_place), len);
	if (unlikely(status != EDDY_JSON_OK))
	{
		if (status == EDDY_JSON_MEMORY)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory"),
					 errdetail("Failed while indexing a JSON message of %zu bytes.", len)));
		return refuse_json(error, status);
	}

	if (unlikely(eddy_json_peek(&row.cursor) != '{'))
	{
		if (!eddy_json_skip(&row.cursor, 0))
			return refuse_json(error, row.cursor.status);
		return refuse_message(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
							  "message is not a JSON object");
	}
	decoder->serial++;
	if (!walk_node(&row, 0, 0))
		return false;
	if (unlikely(row.cursor.next != row.cursor.count))
		return refuse_message(error, ERRCODE_INVALID_TEXT_REPRESENTATION,
							  "message has more after its JSON object");
	return true;
}

bool
eddy_decode_needs_convert(const EddyDecoder *decoder)
{
	return decoder->needs_convert;
}

void
eddy_decode_convert(EddyDecoder *decoder, Datum *values, bool *nulls, const bool *missing)
{
	for (int i = 0; i < decoder->ncolumns; i++)
	{
		EddyValueColumn *column = &decoder->columns[i];
		int			attr = column->attnum - 1;

		/* what is missing gets its default from the caller, who checks it as well */
		if (eddy_value_needs_convert(column) && !missing[attr])
		{
			decoder->converting = column;
			eddy_value_convert(column, &values[attr], &nulls[attr]);
		}
	}
	decoder->converting = NULL;
}

char *
eddy_decode_describe_failure(const EddyDecoder *decoder, int sqlerrcode)
{
	if (decoder->converting == NULL ||
		ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)
		return NULL;
	return psprintf("invalid value for column \"%s\" of type %s", decoder->converting->name,
					decoder->converting->type_name);
}
