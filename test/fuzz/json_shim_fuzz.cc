/*-------------------------------------------------------------------------
 *
 * json_shim_fuzz.cc
 *    Fuzzes the JSON index and walk against simdjson's own DOM parser.
 *
 * Oracle: the walk must accept each text that the DOM parser accepts (up to
 * its depth limit), and vice versa, except for numbers out of range of the DOM
 * parser and for unpaired surrogates, which depend on the type of the column.
 * In addition, reading a value must stay inside the text, and unescaping must
 * not make a string longer.
 *
 * test/fuzz/run builds and runs it. With EDDY_LIBFUZZER, libFuzzer is the
 * driver. Otherwise it mutates a small corpus:
 *
 *   fuzz ROUNDS [SEED]         number of texts; the same texts for the same seed
 *   fuzz -t SECONDS [SEED]     runs for that time
 *   fuzz 0 FILE...             replays each file once
 *
 *-------------------------------------------------------------------------
 */
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <simdjson.h>

extern "C"
{
#include "decode/json_walk.h"
}

static void
fail(const char *what, const std::string &text)
{
	FILE	   *file = fopen("json_shim_fuzz.failure", "wb");

	if (file != nullptr)
	{
		fwrite(text.data(), 1, text.size(), file);
		fclose(file);
	}
	fprintf(stderr, "%s; %zu bytes, saved as json_shim_fuzz.failure\n", what, text.size());
	abort();
}

/* walk reads one text and returns whether it is one valid value. */
static bool
walk(const std::string &text, EddyJsonStatus *status)
{
	/* exactly the guaranteed number of bytes, so that the sanitizer detects reads past them */
	std::vector<char> copy(text.begin(), text.end());
	EddyJsonCursor cursor;
	EddyJsonValue value;

	copy.push_back('\0');
	*status = eddy_json_open(&cursor, copy.data(), text.size());
	if (*status != EDDY_JSON_OK)
		return false;
	if (!eddy_json_read(&cursor, 0, &value))
	{
		*status = cursor.status;
		return false;
	}
	if (value.start + value.len > text.size())
		fail("a value extends past the end of its text", text);
	if (value.kind == EDDY_JSON_STRING && value.escaped)
	{
		std::vector<char> result(value.len);
		uint32_t	len = 0;

		if (eddy_json_unescape(copy.data() + value.start, value.len, result.data(),
							   &len) == EDDY_JSON_ESCAPE_OK && len > value.len)
			fail("unescaping made a string longer", text);
	}
	return cursor.next == cursor.count;
}

static void
check(const std::string &text)
{
	static simdjson::dom::parser parser;
	simdjson::dom::element element;
	EddyJsonStatus status;
	bool		accepted = walk(text, &status);
	auto		expected = parser.parse(text.data(), text.size(), true).get(element);

	/* the caller removes a byte order mark; newer versions of simdjson skip it */
	if (expected == simdjson::SUCCESS && !accepted && status != EDDY_JSON_DEPTH &&
		text.compare(0, 3, "\xEF\xBB\xBF") != 0)
		fail("a valid text was refused", text);
	/* the walk accepts numbers of any size; newer versions of simdjson have a separate error code */
	if (accepted && expected != simdjson::SUCCESS && expected != simdjson::NUMBER_ERROR &&
		expected != simdjson::STRING_ERROR &&
		std::string(simdjson::error_message(expected)).find("64 bits") == std::string::npos)
		fail("an invalid text was accepted", text);
}

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check(std::string(reinterpret_cast<const char *>(data), size));
	return 0;
}

#ifndef EDDY_LIBFUZZER

static const char *const corpus[] = {
	"{\"auction\":1007,\"price\":13226,\"channel\":\"Google\",\"date_time\":\"2024-01-02T03:04:05.678Z\"}",
	"{\"a\":{\"b\":[1,-2.5e+3,null,true,false,{}],\"c\":\"\\u00e9\\ud83d\\ude00\\n\"},\"d\":[]}",
	"[[[]],{\"\":\"\"},0,-0.0,1E5,\"\\\"\\\\\\/\"]",
	" { \"x\" : \"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\" , \"y\" : [ 1 , 2 ] } ",
	"\"\\u0041\\ud800\\udc00\"",
	"12345678901234567890",
};

static const char *const pieces[] = {
	"{", "}", "[", "]", ",", ":", "\"", "\\", "\\\"", "\\u", "\\ud800", "0", "-", "1e", ".", "e5",
	"true", "null", "false", " ", "\n", "\f", "\x01", "\x80", "\xed\xa0\x80", "\xef\xbb\xbf", "{}",
	"[]", "\"a\":", "\"b\":1,", "{\"a\":1}",
};

static std::string
mutate(std::string text, std::mt19937 &random)
{
	for (unsigned int n = random() % 4 + 1; n > 0; n--)
	{
		size_t		at = random() % (text.size() + 1);

		switch (random() % 7)
		{
			case 0:
				text.resize(at);
				break;
			case 1:
				text.erase(at, random() % 4 + 1);
				break;
			case 2:
				text.insert(at, pieces[random() % (sizeof(pieces) / sizeof(pieces[0]))]);
				break;
			case 3:
				if (at < text.size())
					text[at] = static_cast<char>(random());
				break;
			case 4:
				text.insert(at, text.substr(random() % (text.size() + 1), random() % 80));
				break;
			case 5:
				text.insert(at, 1, '\0');
				break;
			default:
				text.insert(at, random() % 130, " x1\""[random() % 4]);
				break;
		}
	}
	return text;
}

int
main(int argc, char **argv)
{
	bool		timed = argc > 2 && strcmp(argv[1], "-t") == 0;
	auto		end = std::chrono::steady_clock::now() +
		std::chrono::seconds(timed ? strtol(argv[2], nullptr, 10) : 0);
	long		rounds = argc > 1 && !timed ? strtol(argv[1], nullptr, 10) : 100000;
	int			seed_at = timed ? 3 : 2;
	std::mt19937 random(argc > seed_at ? strtoul(argv[seed_at], nullptr, 10) : 1);
	std::vector<std::string> texts(std::begin(corpus), std::end(corpus));
	EddyJsonStatus status;
	long		valid = 0;
	long		i;

	if (rounds == 0)
	{
		for (int i = 2; i < argc; i++)
		{
			FILE	   *file = fopen(argv[i], "rb");
			std::string text;
			int			c;

			if (file == nullptr)
			{
				perror(argv[i]);
				return 1;
			}
			while ((c = getc(file)) != EOF)
				text.push_back(static_cast<char>(c));
			fclose(file);
			check(text);
		}
		return 0;
	}

	for (i = 0; timed || i < rounds; i++)
	{
		/* reading the clock for each text would be too expensive */
		if (timed && i % 1000 == 0 && std::chrono::steady_clock::now() >= end)
			break;

		std::string text = mutate(texts[random() % texts.size()], random);

		check(text);
		/* valid texts are added to the corpus, so that mutations accumulate */
		if (text.size() < 600 && walk(text, &status))
		{
			valid++;
			if (texts.size() < 2000)
				texts.push_back(text);
			else
				texts[random() % texts.size()] = text;
		}
	}
	printf("%ld texts, %ld of them valid\n", i, valid);
	return 0;
}

#endif							/* EDDY_LIBFUZZER */
