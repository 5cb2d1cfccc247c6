/*-------------------------------------------------------------------------
 *
 * formats.c
 *    The formats of messages, by name.
 *
 * A new format is one line here, besides the file that defines its operations. Constant data only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decode/decode.h"

/* FORMAT(name) stands for the variable eddy_decode_<name>_format of the file <name>.c. */
#define FORMATS \
	FORMAT(json)

#define FORMAT(name) extern const EddyDecoderFormat eddy_decode_##name##_format;
FORMATS
#undef FORMAT

#define FORMAT(name) &eddy_decode_##name##_format,
static const EddyDecoderFormat *const formats[] = {FORMATS};
#undef FORMAT

/* eddy_decode_find_format returns NULL if there is no format of that name. */
const EddyDecoderFormat *
eddy_decode_find_format(const char *name)
{
	for (size_t i = 0; i < lengthof(formats); i++)
	{
		if (strcmp(formats[i]->name, name) == 0)
			return formats[i];
	}
	return NULL;
}

/* eddy_decode_format_names returns the names of all formats, palloc'ed and ended by NULL. */
const char *const *
eddy_decode_format_names(void)
{
	const char **names = palloc0((lengthof(formats) + 1) * sizeof(char *));

	for (size_t i = 0; i < lengthof(formats); i++)
		names[i] = formats[i]->name;
	return names;
}
