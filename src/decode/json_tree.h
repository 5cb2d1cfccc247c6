/*-------------------------------------------------------------------------
 *
 * json_tree.h
 *    The wanted fields of a JSON object, as a tree of their names. Private to src/decode.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EDDY_JSON_TREE_H
#define EDDY_JSON_TREE_H

#include "common/hashfn.h"

#include "decode/value.h"

#define EDDY_JSON_NO_NODE (-1)

/* One name. Node 0 is the message itself. */
typedef struct EddyJsonNode
{
	/* immutable once created */
	char	   *key;			/* in UTF-8, as a message spells it */
	uint32		key_len;
	uint32		hash;
	bool		plain;			/* no character of the key ever needs an escape */
	bool		alone;			/* one column gets its value, which is not read again */
	uint64		word;			/* first bytes of the key and the quote after it */
	uint64		word_mask;		/* which of these bytes there are */
	int			column;			/* first column that gets its value, or -1 */
	int			first_child;
	int			sibling;
	uint32	   *slots;			/* open addressing: node + 1, 0 is free; NULL: no children */
	uint32		slot_mask;

	/* learned from the previous messages */
	int			follower;		/* the node that came after this one */
	int			leader;			/* the child that came first */

	/* of the current message */
	uint64		serial;			/* the last message that had it */
} EddyJsonNode;

typedef struct EddyJsonTree
{
	int			nnodes;
	EddyJsonNode *nodes;
	int		   *next_column;	/* another column of the same node, or -1 */
} EddyJsonTree;

extern void eddy_json_tree_create(EddyJsonTree *tree, const EddyDecodeColumn *columns,
								  const EddyValueColumn *value_columns, int ncolumns);

static inline uint32
eddy_json_tree_hash(const char *key, uint32 len)
{
	return hash_bytes((const unsigned char *) key, (int) len);
}

/*
 * eddy_json_tree_is_key returns whether a text begins with the key of a node, which is plain, and
 * the quote after it. sizeof(uint64) bytes of the text are readable, and what follows is
 * terminated.
 */
static inline bool
eddy_json_tree_is_key(const EddyJsonNode *node, const char *text)
{
	uint64		word;

	memcpy(&word, text, sizeof(word));
	if ((word & node->word_mask) != node->word)
		return false;
	/* most keys are in the word; the bytes that are equal so far are within the text */
	return node->key_len < sizeof(word) ||
		(strncmp(text + sizeof(word), node->key + sizeof(word), node->key_len - sizeof(word)) == 0 &&
		 text[node->key_len] == '"');
}

/* eddy_json_tree_find returns the child of a node with that key, or EDDY_JSON_NO_NODE. */
static inline int
eddy_json_tree_find(const EddyJsonTree *tree, const EddyJsonNode *node, const char *key,
					uint32 len)
{
	uint32		hash = eddy_json_tree_hash(key, len);
	uint32		slot = hash & node->slot_mask;

	while (node->slots[slot] != 0)
	{
		const EddyJsonNode *child = &tree->nodes[node->slots[slot] - 1];

		if (child->hash == hash && child->key_len == len && memcmp(child->key, key, len) == 0)
			return (int) node->slots[slot] - 1;
		slot = (slot + 1) & node->slot_mask;
	}
	return EDDY_JSON_NO_NODE;
}

#endif							/* EDDY_JSON_TREE_H */
