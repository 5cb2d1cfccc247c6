/*-------------------------------------------------------------------------
 *
 * json_tree.c
 *    The wanted fields of a JSON object, as a tree of their names.
 *
 * Top-level names are children of the root; JSON pointers reach below them. Created once per
 * decoder, in the current memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "decode/json_tree.h"
#include "decode/json_walk.h"

/* set_word sets the part of a key that is compared first. */
static void
set_word(EddyJsonNode *node)
{
	char		bytes[sizeof(uint64)] = {0};
	char		mask[sizeof(uint64)] = {0};
	size_t		len = Min(node->key_len, sizeof(bytes));

	memcpy(bytes, node->key, len);
	memset(mask, 0xFF, len);
	if (len < sizeof(bytes))
	{
		bytes[len] = '"';
		mask[len] = (char) 0xFF;
	}
	memcpy(&node->word, bytes, sizeof(bytes));
	memcpy(&node->word_mask, mask, sizeof(mask));
}

/* child_of returns the child of a node with the given key, and creates it if it does not exist. */
static int
child_of(EddyJsonTree *tree, int parent, const char *key)
{
	EddyJsonNode *node;
	int			i;

	for (i = tree->nodes[parent].first_child; i != EDDY_JSON_NO_NODE; i = tree->nodes[i].sibling)
	{
		if (strcmp(tree->nodes[i].key, key) == 0)
			return i;
	}

	i = tree->nnodes++;
	tree->nodes = repalloc(tree->nodes, tree->nnodes * sizeof(EddyJsonNode));
	node = &tree->nodes[i];
	memset(node, 0, sizeof(*node));
	node->key = pstrdup(key);
	node->key_len = strlen(key);
	node->hash = eddy_json_tree_hash(key, node->key_len);
	node->plain = true;
	for (const char *p = key; *p; p++)
	{
		if (*p == '"' || *p == '\\' || (unsigned char) *p < ' ')
			node->plain = false;
	}
	set_word(node);
	node->column = -1;
	node->first_child = EDDY_JSON_NO_NODE;
	node->follower = node->leader = EDDY_JSON_NO_NODE;
	node->sibling = tree->nodes[parent].first_child;
	tree->nodes[parent].first_child = i;
	return i;
}

/* node_of_pointer returns the node of a JSON pointer (RFC 6901), and creates it if needed. */
static int
node_of_pointer(EddyJsonTree *tree, const char *column, const char *pointer)
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
		node = child_of(tree, node, key.data);
		pfree(key.data);
	}
	return node;
}

/* hash_children creates the hash table in which a node finds its children. */
static void
hash_children(EddyJsonTree *tree, EddyJsonNode *node)
{
	uint32		count = 0;
	uint32		size = 4;

	for (int i = node->first_child; i != EDDY_JSON_NO_NODE; i = tree->nodes[i].sibling)
		count++;
	if (count == 0)
		return;
	while (size < count * 2)
		size *= 2;
	node->slots = palloc0(size * sizeof(uint32));
	node->slot_mask = size - 1;
	for (int i = node->first_child; i != EDDY_JSON_NO_NODE; i = tree->nodes[i].sibling)
	{
		uint32		slot = tree->nodes[i].hash & node->slot_mask;

		while (node->slots[slot] != 0)
			slot = (slot + 1) & node->slot_mask;
		node->slots[slot] = (uint32) i + 1;
	}
}

/*
 * eddy_json_tree_create creates the tree of the columns' names and pointers.
 *
 * Raises ERRCODE_INVALID_PARAMETER_VALUE for a pointer that is not valid.
 */
void
eddy_json_tree_create(EddyJsonTree *tree, const EddyDecodeColumn *columns,
					  const EddyValueColumn *value_columns, int ncolumns)
{
	tree->next_column = palloc(Max(ncolumns, 1) * sizeof(int));
	tree->nnodes = 1;
	tree->nodes = palloc0(sizeof(EddyJsonNode));
	tree->nodes[0].column = -1;
	tree->nodes[0].first_child = EDDY_JSON_NO_NODE;
	tree->nodes[0].sibling = EDDY_JSON_NO_NODE;
	tree->nodes[0].follower = tree->nodes[0].leader = EDDY_JSON_NO_NODE;

	for (int i = 0; i < ncolumns; i++)
	{
		const char *name = value_columns[i].name;
		int			node;

		if (columns[i].pointer != NULL)
			node = node_of_pointer(tree, name, columns[i].pointer);
		else
			node = child_of(tree, 0, pg_server_to_any(name, strlen(name), PG_UTF8));
		tree->next_column[i] = tree->nodes[node].column;
		tree->nodes[node].column = i;
	}
	for (int i = 0; i < tree->nnodes; i++)
	{
		EddyJsonNode *node = &tree->nodes[i];

		hash_children(tree, node);
		node->alone = node->column >= 0 && tree->next_column[node->column] < 0 &&
			node->first_child == EDDY_JSON_NO_NODE;
	}
}
