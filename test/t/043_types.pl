# 043_types.pl: conversion of values of messages to the types of columns.
#
# The reference is json_populate_record: its result for a value must be stored in the stream, bit by
# bit, and a value that it rejects must be a dead letter. Each value is converted to each type.
# Intentional differences are listed in @differences; a listed difference that no longer exists is
# also a failure.
#
# Features that json_populate_record does not have (epoch times, JSON pointers, metadata, defaults,
# constraints) are tested with tables of messages and the resulting rows or SQLSTATEs.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

#
# Types, by the names of their columns
#

my @columns = (
	bool => 'boolean',
	int2 => 'smallint',
	int4 => 'integer',
	int8 => 'bigint',
	float4 => 'real',
	float8 => 'double precision',
	numeric => 'numeric',
	numeric_6_2 => 'numeric(6,2)',
	numeric_20_4 => 'numeric(20,4)',
	numeric_4_neg2 => 'numeric(4,-2)',
	numeric_30_20 => 'numeric(30,20)',
	text => 'text',
	varchar => 'varchar',
	varchar_3 => 'varchar(3)',
	char_4 => 'char(4)',
	date => 'date',
	time => 'time',
	timestamp => 'timestamp',
	timestamp_3 => 'timestamp(3)',
	timestamptz => 'timestamptz',
	timestamptz_3 => 'timestamptz(3)',
	timestamptz_0 => 'timestamptz(0)',
	interval => 'interval',
	uuid => 'uuid',
	bytea => 'bytea',
	inet => 'inet',
	json => 'json',
	jsonb => 'jsonb',
	int_array => 'int[]',
	text_array => 'text[]',
	numeric_array => 'numeric(5,1)[]',
	jsonb_array => 'jsonb[]',
	box_array => 'box[]',
	range => 'int4range',
	enum => 'mood',
	composite => 'pair',
	domain => 'positive',
	domain_array => 'positive[]',
	domain_typmod => 'code',
	domain_jsonb => 'document');

my $types = q{
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN required AS text NOT NULL;
CREATE DOMAIN code AS varchar(3);
CREATE DOMAIN document AS jsonb CHECK (VALUE <> '{}');
};

#
# Values, in the syntax of messages
#

# separated by blanks
my @bare = map { split ' ' } (
	'null true false',
	'1 0 -1 -0 32767 32768 -32768 -32769 2147483647 2147483648 -2147483648 -2147483649',
	'123456789012345678 1234567890123456789 9223372036854775807 9223372036854775808',
	'-9223372036854775808 -9223372036854775809 18446744073709551616 99999999999999999999',
	'-0.0 1.0 1e3 1E+2 1e-2 1.5 1.50 2.5e1 0.1 0.30000000000000004 12.3456789 123456.789',
	'9999.99 9999.994 9999.995 -9999.995 99999 9949.99 9950 949949 949950 949999 1234',
	'0.005 0.0049999 -0.005 0.000000000000000001 0.0000000000000000001 0e999999',
	'123456789.123456789 1234567890.1234567891 12345678901234567890.12345678901234567890',
	'1234567890123456.78 1234567890123456.12345 9999999999999999.9999 9999999999999999.99995',
	'99999999999999999999.9 1e15 1e16 1e17 1e18 1e19 1e22 1e23 123456789012345e8',
	'3.4028235e38 3.5e38 1e-45 1e-46 4.9e-324 2e-324 1.7976931348623157e308 1.8e308',
	'1e400 1e-400 1e131071 1e131072 1e-16383 1e-16384 1e-20000 0e-20000 0e20000 1e100000 9007199254740993 16777217 8388608.5',
	'0.1e1 100e-2 1.10e2 123.456e-3 1700000000 1700000000123 20240102 0.00',
	'{} [] [[]] [[],[]] [1,2,3] [1,null,3] [0,-1] [1.25,2.25] [1e0] [99999] [2147483648]',
	'[[1,2],[3,4]] [[1],[2,3]] [[1,2],3] [1,[2,3]] [true,false] ["1","2"] ["x"] [" "] [""]',
	'[{"a":1},{}] ["a","b\"c","d\\\\e","NULL","null","{x}",""] [{"a":"x\"y"},"s",1,null]',
	'["(1,1),(0,0)","(3,3),(2,2)"] [["(1,1),(0,0)"],[null]]',
	'["\u00e9","\ud83d\ude00"] {"a":1} {"a":1,"b":"x"} {"b":"\u00e9","b":2.50,"a":[1,{"c":null}]}',
	'{"a":{"b":{"c":[]}}} {"a":1e2,"b":0.10,"c":-0}');

# strings, without their quotes
my @strings = (
	(map { split ' ' } (
		'1 0 -5 +5 ++5 +-5 -+5 007 1.0 1.50 1e3 .5 5. . -.5e1 1e 1e+ 0x1F 1_000 1,5',
		'32768 2147483648 9223372036854775807 9223372036854775808 000000000000000000000012',
		'123456789012345678901234567890.123 1e400 1e-400',
		'NaN nan -NaN Infinity -Infinity +inf inf infinity -infinity infinit epoch',
		't f true false yes no on off of o tr TRUE y n',
		'abc abcd abcde sad ok happy {1,2,3} {1,NULL} {{1},{2}} {} [1,5) (1,x) (1,) 10.0.0.1/8',
		'2024-01-02 2024-01-02T03:04:05Z 2024-01-02t03:04:05z 2024-01-02T03:04 2024-01-02T03:04Z',
		'2024-01-02T03:04:05.1 2024-01-02T03:04:05,5 2024-01-02T03:04:05.123456',
		'2024-01-02T03:04:05.1234565 2024-01-02T03:04:05.9999995Z 2024-01-02T03:04:05.9995',
		'2024-01-02T03:04:05.999999499999999999Z',
		'2024-01-02T03:04:05.123456789Z 2024-01-02T03:04:05+02 2024-01-02T03:04:05+02:30',
		'2024-01-02T03:04:05-0230 2024-01-02T03:04:05+02:30:15 2024-01-02T03:04:05+15:59',
		'2024-01-02T03:04:05+023015 2024-01-02T03:04:05+0230:15 2024-01-02T03:04:05+02:3015',
		'2024-01-02T03:04:05+16:00 2024-01-02T03:04:05+02:60 2024-01-02T03:04:05-00:00',
		'2024-02-29 2023-02-29 1900-02-29 2000-02-29 2024-13-01 2024-00-01 2024-01-00 2024-04-31',
		'2024-01-02T24:00:00 2024-01-02T24:00:01 2024-01-02T25:00:00 2024-01-02T23:60:00',
		'2024-01-02T23:59:60 2024-01-02T23:59:60.5 2024-01-02T23:59:61 2024-01-02T',
		'0001-01-01 0000-01-01 9999-12-31T23:59:59.999999 294276-12-31T23:59:59.999999Z',
		'294276-12-31T23:59:59.9999999Z 294277-01-01 294276-12-31T23:59:59-01 5874897-12-31',
		'5874898-01-01 999999-01-01 1999-12-31T23:59:59.5 1969-12-31T23:59:59.9996',
		'2000-01-01T00:00:00.0005 1999-12-31T23:59:59.9995 12:30:00 12:30',
		'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11 A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
		'{a0eebc999c0b4ef8bb6d6bb9bd380a11} a0eebc999c0b4ef8bb6d6bb9bd380a11',
		'a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11 a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1',
		'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11x -a0eebc999c0b4ef8bb6d6bb9bd380a11',
		'\\\\xdeadBEEF \\\\xdea \\\\xzz \\\\x \\\\\\\\ \\\\001 \\\\400 \\\\a',
		'\\n\\t \\"q\\\\ \\/ \\b\\f\\r',
		'a\u00e9b \ud83d\ude00x \u0041 \u007f \u2028 \ufffd äöü äöüß 日本語 日本語文 日本語文字 😀😀😀😀')),
	'', ' ', ' 12 ', ' 1.5 ', ' TRUE ', '+ 5', 'abc  ', 'abc d', 'äöü  ', '\\\\xde ad',
	'1 day', '-1 day +02:03:04', '{a,\\"b c\\"}', ' 2024-01-02 ', '2024-01-02 03:04:05',
	'2024-01-02 03:04:05 +02', '2024-01-02  03:04:05',
	# lengths around the limit of a short varlena header, with and without an escape
	'x' x 126, 'x' x 127, '\\n' . 'x' x 125, '\\n' . 'x' x 126, 'x' x 200, 'ö' x 2000, 'x' x 5000);

# invalid text: NUL, and unpaired surrogates
my @broken = (
	'"\u0000"', '"a\u0000b"', '"\ud800"', '"\udc00"', '"\ud800\ud800"', '"\ud800x"', '[1,"\u0000"]',
	'{"x":"\u0000"}', '{"x":"\ud800"}', '["\udc00"]');

#
# Differences of pg_eddy: columns, values, results. A result is the row as text, "rejected", or
# "verbatim": the text of the value in the message.
#

my @verbatim = qw(text varchar);
my $fine = '"2024-01-02T03:04:05.999999499999999999Z"';
my @times = qw(date timestamp timestamp_3 timestamptz timestamptz_3 timestamptz_0);
my @differences = (
	# values other than strings are stored in text verbatim; json_populate_record unescapes them first
	[ \@verbatim, [ grep { /^[\[{]/ } @broken ], 'verbatim' ],

	# json preserves the spelling of strings, as a cast to json does
	[
		['json'],
		[
			(grep { /\\u/ } @broken), map { "\"$_\"" } '\\/',
			'a\u00e9b', '\ud83d\ude00x', '\u0041', '\u007f', '\u2028', '\ufffd'
		],
		'verbatim'
	],

	# an array with both arrays and other elements is not converted to a text array
	[ [qw(text_array jsonb_array)], ['[1,[2,3]]'], 'rejected' ],

	# only ISO 8601 times are accepted
	[
		\@times,
		[ '[1,2,3]', '[[1],[2,3]]', '[[1,2],3]', '[1,[2,3]]', '"{1,2,3}"' ],
		'rejected'
	],
	[ \@times, [ '20240102', '0.005', '"epoch"', '"2024-01-02  03:04:05"' ], 'rejected' ],

	# ISO 8601 allows a comma before the fraction
	[ ['date'], ['"2024-01-02T03:04:05,5"'], '(2024-01-02)' ],
	[ [qw(timestamp timestamp_3)], ['"2024-01-02T03:04:05,5"'], '("2024-01-02 03:04:05.5")' ],
	[
		[qw(timestamptz timestamptz_3)],
		['"2024-01-02T03:04:05,5"'],
		'("2024-01-02 03:04:05.5+00")'
	],
	[ ['timestamptz_0'], ['"2024-01-02T03:04:05,5"'], '("2024-01-02 03:04:06+00")' ],

	# digits after the 15th digit of the fraction do not affect rounding
	[ ['timestamp'], [$fine], '("2024-01-02 03:04:05.999999")' ],
	[ ['timestamptz'], [$fine], '("2024-01-02 03:04:05.999999+00")' ],

	# PostgreSQL accepts a value that is rounded up out of the range, and that it could not read again
	[
		[qw(timestamp_3 timestamptz_3 timestamptz_0)],
		['"294276-12-31T23:59:59.999999Z"'],
		'rejected'
	],

	# composite values are text in PostgreSQL's format, not objects
	[ ['composite'], [ '{}', '{"a":1}', '{"a":1,"b":"x"}' ], 'rejected' ],
);

# PostgreSQL 16 and later accept hexadecimal numbers, and underscores between digits.
my @since_16 = (
	[
		[qw(int2 int4 int8 numeric numeric_6_2 numeric_20_4 numeric_4_neg2 numeric_30_20)],
		[ '"0x1F"', '"1_000"' ],
		'rejected'
	]);

#
# Server and broker
#

my $node = PostgreSQL::Test::Cluster->new('types');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
configure_node($node);
# values must not depend on these settings
$node->append_conf('postgresql.conf', q{
timezone = 'America/New_York'
datestyle = 'German, DMY'
intervalstyle = 'sql_standard'
bytea_output = 'escape'
extra_float_digits = -3
});
$node->start;
sql($node, "CREATE EXTENSION pg_eddy; $types");

my $mock = build_tool('eddy-mock-broker', 'test/kafka/mock_broker.c');
my ($commands, $answers) = ('', '');
my $harness = IPC::Run::start([ $mock, 'types:1', 'times:1', 'fields:1', 'pointers:1', 'rules:1',
	'metadata:2', 'latin:1' ], '<', \$commands, '>', \$answers);
$harness->pump until $answers =~ /\n/;
my $broker = bless { address => (split /\n/, $answers)[0] }, 'EddyTest::Broker';
attach_server($node, $broker->address);

my $database = 'postgres';

# Runs a query with the settings for which the expected values are written.
sub query
{
	my ($query) = @_;

	return $node->safe_psql($database, qq{
SET client_encoding = 'UTF8';
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET IntervalStyle = 'postgres';
SET bytea_output = 'hex';
SET extra_float_digits = 1;
$query});
}

sub new_stream
{
	my ($name, $columns, $arguments) = @_;

	sql($node, qq{
CREATE UNLOGGED TABLE $name ($columns);
SELECT eddy.create_stream('$name');
SELECT eddy.attach_kafka('$name', server => 'kafka', $arguments)});
	return;
}

# Waits until a stream has read its topic, which other streams may also read.
sub wait_for_stream
{
	my ($stream, $topic) = @_;
	my %end = %{ $broker->ends($topic) };
	my $want = join ', ', map { "($_, $end{$_}::bigint)" } sort keys %end;

	return if $node->poll_query_until(
		$database, qq{
SELECT count(*) = @{[ scalar keys %end ]}
FROM (VALUES $want) AS e (partition, "offset")
JOIN eddy.partitions p USING (partition)
WHERE p.stream = '$stream'::regclass AND p.topic = '$topic' AND p.next_offset >= e."offset"});
	fail("stream $stream has read topic \"$topic\"");
	diag(query('TABLE eddy.sources'));
	return;
}

# Returns the text of a field for COPY.
sub copy_field
{
	my ($text) = @_;

	$text =~ s/\\/\\\\/g;
	return $text;
}

#
# Each value with each type
#

my @names = map { $columns[ 2 * $_ ] } 0 .. $#columns / 2;
my %type = @columns;
my $table = join ', ', 'id int', map { "c_$_ $type{$_}" } @names;
my @values = (@bare, (map { "\"$_\"" } @strings), @broken);
my @messages;
my $cases = '';
foreach my $name (@names)
{
	foreach my $value (@values)
	{
		my $id = @messages;
		my $message = "{\"id\": $id, \"c_$name\": $value}";

		push @messages, [ 0, $id, $message ];
		$cases .= join("\t", $id, $name, copy_field($value), copy_field($message)) . "\n";
	}
}
new_stream('types', $table, q{topic => 'types'});
$broker->produce('types', @messages);

# The results of PostgreSQL for the same messages, computed while the worker runs.
push @differences, @since_16 if $node->pg_version >= 16;
my $differences = '';
foreach my $difference (@differences)
{
	my ($where, $what, $result) = @$difference;

	foreach my $name (@$where)
	{
		$differences .= join("\t", $name, copy_field($_), copy_field($result)) . "\n"
		  foreach @$what;
	}
}
query(qq{
CREATE TABLE cases (id int PRIMARY KEY, name text, value text, message text);
COPY cases FROM stdin;
$cases\\.
CREATE TABLE differences (name text, value text, result text);
COPY differences FROM stdin;
$differences\\.
CREATE TABLE judged ($table);
CREATE FUNCTION judge(message text) RETURNS void LANGUAGE plpgsql AS \$\$
BEGIN
	INSERT INTO judged SELECT * FROM json_populate_record(NULL::judged, message::json);
EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
END \$\$;
SELECT count(judge(message)) FROM cases;
ANALYZE cases;
});
wait_for_stream('types', 'types');

# One row per message: the number of its results, the result, and the expected result.
my $outcomes = join ' UNION ALL ', map { qq{
SELECT c.id, c.name, c.value,
	count(s.id) OVER (PARTITION BY c.id) + coalesce(l.letters, 0) AS times,
	CASE WHEN s.id IS NULL THEN 'rejected' ELSE ROW(s.c_$_)::text END AS got,
	CASE WHEN d.result = 'verbatim' THEN ROW(c.value)::text
		 WHEN d.result IS NOT NULL THEN d.result
		 WHEN j.id IS NULL THEN 'rejected' ELSE ROW(j.c_$_)::text END AS want,
	s.id IS NULL OR j.id IS NULL OR d.result IS NOT NULL OR
		record_image_eq(ROW(s.c_$_), ROW(j.c_$_)) AS same,
	d.result IS NOT NULL AND CASE WHEN j.id IS NULL THEN s.id IS NULL
		ELSE s.id IS NOT NULL AND ROW(s.c_$_)::text = ROW(j.c_$_)::text END AS no_difference,
	l.sqlstate
FROM cases c
LEFT JOIN types s USING (id)
LEFT JOIN judged j USING (id)
LEFT JOIN letters l USING (id)
LEFT JOIN differences d USING (name, value)
WHERE c.name = '$_'} } @names;
query(qq{
CREATE TABLE letters AS
	SELECT convert_from(key, 'UTF8')::int AS id, count(*) AS letters, min(sqlstate) AS sqlstate
	FROM eddy.dead_letters WHERE stream = 'types'::regclass GROUP BY 1;
CREATE TABLE outcomes AS $outcomes;
});

foreach my $name (@names)
{
	is( query(qq{
SELECT format('message %s: %s became %s, not %s%s', id, left(value, 60), left(got, 80),
	left(want, 80),
	CASE WHEN times <> 1 THEN format(', %s times', times)
		 WHEN no_difference THEN ', which is not a difference'
		 WHEN sqlstate !~ '^2[23]' THEN ', with SQLSTATE ' || sqlstate
		 WHEN NOT same THEN ', in another form' ELSE '' END)
FROM outcomes
WHERE name = '$name' AND (times <> 1 OR got <> want OR NOT same OR no_difference OR
	sqlstate !~ '^2[23]')
ORDER BY id LIMIT 40}),
		'',
		"$type{$name}: same results as json_populate_record");
}
# input functions quote rejected values; an error is visible to more roles than a message
is( query(q{SELECT string_agg(DISTINCT error, E'\n') FROM eddy.dead_letters
	WHERE stream = 'types'::regclass AND sqlstate ~ '^22'
		AND error !~ '^[^"]* column "[a-z0-9_]+"( of type [^"]*(: a number requires the option "timestamps")?)?$' AND error !~ '^message [^"]*$'}),
	'',
	'errors about values name the column and do not quote the value');

is(query(q{SELECT (SELECT count(*) FROM types) + (SELECT count(*) FROM eddy.dead_letters
	WHERE stream = 'types'::regclass)}),
	scalar @messages, 'every message is one row or one dead letter');
is( query(q{SELECT name, value FROM differences EXCEPT SELECT name, value FROM cases}),
	'', 'every listed difference occurs');
is(query(q{SELECT name FROM outcomes GROUP BY 1 HAVING bool_and(got IN ('rejected', '()'))}),
	'', 'every type accepts some value');

#
# Messages and their expected results: a case is a message, and the row as text or the SQLSTATE of
# its dead letter
#

sub produce_cases
{
	my ($topic, @cases) = @_;

	$broker->produce($topic, map { [ 0, undef, $_->[0] ] } @cases);
	return;
}

# Checks the cases of a topic that a stream has read. Its mapping stores the offset, which identifies
# the case, in column n.
sub check_cases
{
	my ($stream, $topic, $what, $row, @cases) = @_;
	my @wrong;

	wait_for_stream($stream, $topic);
	my @got = split /\n/, query(qq{
SELECT concat_ws(' and ', (SELECT string_agg(ROW($row)::text, ' and ') FROM $stream WHERE n = i),
	(SELECT string_agg(sqlstate, ' and ') FROM eddy.dead_letters
		WHERE stream = '$stream'::regclass AND "offset" = i))
FROM generate_series(0, $#cases) i ORDER BY i});
	foreach my $i (0 .. $#cases)
	{
		my ($message, $want) = @{ $cases[$i] };
		my $got = $got[$i] // '';

		push @wrong, "message $i: $message became $got, not $want" if $got ne $want;
	}
	is(join("\n", @wrong), '', $what);
	return;
}

#
# Numbers as times: the value, and its result in seconds, in milliseconds and in microseconds
#

my $november = '2023-11-14 22:13:20';
my @epochs = (
	[ '0', ('1970-01-01 00:00:00+00') x 3 ],
	[ '-0.0', ('1970-01-01 00:00:00+00') x 3 ],
	[ '1e-30', ('1970-01-01 00:00:00+00') x 3 ],
	[
		'1700000000', "$november+00", '1970-01-20 16:13:20+00',
		'1970-01-01 00:28:20+00'
	],
	[ '1.7e9', "$november+00", '1970-01-20 16:13:20+00', '1970-01-01 00:28:20+00' ],
	[
		'"1700000000"', "$november+00", '1970-01-20 16:13:20+00',
		'1970-01-01 00:28:20+00'
	],
	[
		'1700000000.123', "$november.123+00", '1970-01-20 16:13:20.000123+00',
		'1970-01-01 00:28:20+00'
	],
	[
		'1700000000.1234565', "$november.123457+00", '1970-01-20 16:13:20.000123+00',
		'1970-01-01 00:28:20+00'
	],
	[
		'1700000000123', '55840-11-08 22:15:23+00',
		"$november.123+00", '1970-01-20 16:13:20.000123+00'
	],
	[
		'1700000000123.4567', '55840-11-08 22:15:23.4567+00',
		"$november.123457+00", '1970-01-20 16:13:20.000123+00'
	],
	[
		'1700000000.123456789', "$november.123457+00",
		'1970-01-20 16:13:20.000123+00', '1970-01-01 00:28:20+00'
	],
	[
		'-1700000000.123456500', '1916-02-18 01:46:39.876543+00',
		'1969-12-12 07:46:39.999877+00', '1969-12-31 23:31:40+00'
	],
	[ '1700000000123456', '22008', '55840-11-08 22:15:23.456+00', "$november.123456+00" ],
	[
		'-0.5', '1969-12-31 23:59:59.5+00',
		'1969-12-31 23:59:59.9995+00', '1969-12-31 23:59:59.999999+00'
	],
	[
		'-86400.000001', '1969-12-30 23:59:59.999999+00',
		'1969-12-31 23:58:33.6+00', '1969-12-31 23:59:59.9136+00'
	],
	[
		'9223372036000', '294247-01-10 03:46:40+00',
		'2262-04-11 23:47:16+00', '1970-04-17 18:02:52.036+00'
	],
	[ '9224318016000', '22008', '2262-04-22 22:33:36+00', '1970-04-17 18:18:38.016+00' ],
	[ '9223372036854775807', ('22008') x 2, '294247-01-10 04:00:54.775807+00' ],
	[ '9999999999999999999', ('22008') x 3 ],
	[ '1e30', ('22008') x 3 ],
	[ '99999999999999999999', ('22008') x 3 ],
	[ '"2024-01-02T03:04:05Z"', ('2024-01-02 03:04:05+00') x 3 ],
	[ '"1700000000x"', ('22007') x 3 ],
	[ '" 1700000000"', ('22007') x 3 ],
	[ '""', ('22007') x 3 ],
	[ 'true', ('22007') x 3 ],
	[ '[0]', ('22007') x 3 ]);

produce_cases('times',
	map { ["{\"at\": $_->[0], \"plain\": $_->[0], \"day\": $_->[0], \"rounded\": $_->[0]}"] }
	  @epochs);
my @units = qw(seconds milliseconds microseconds);
foreach my $unit (@units)
{
	new_stream(
		$unit,
		'n bigint, at timestamptz, plain timestamp, day date, rounded timestamptz(0)',
		qq{topic => 'times', mapping => '{"n": "offset"}', options => '{"timestamps": "$unit"}'});
}
foreach my $i (0 .. $#units)
{
	check_cases(
		$units[$i], 'times', "numbers are times in $units[$i]",
		q{at, plain = at AT TIME ZONE 'UTC', day = (at AT TIME ZONE 'UTC')::date,
			rounded = at::timestamptz(0)},
		map { [ $_->[0], $_->[ $i + 1 ] =~ /:/ ? "(\"$_->[ $i + 1 ]\",t,t,t)" : $_->[ $i + 1 ] ] }
		  @epochs);
}

#
# Fields by name
#

my @fields = (
	[ '{}', '(,,,,)' ],
	[ '{"a": "x"}', '(x,,,,)' ],
	[ " \t\r\n{ \"a\" :\t\"x\" ,\n\"num\":1 } \n", '(x,,1,,)' ],
	[ "\xef\xbb\xbf{\"a\": \"behind a byte order mark\"}", '("behind a byte order mark",,,,)' ],
	[ '{"other": {"a": "y"}, "a": "x", "more": [1, {"a": 2}]}', '(x,,,,)' ],
	[ '{"a": null, "doc": null, "num": null}', '(,,,,)' ],

	# the last value is used, regardless of the types of the others
	[ '{"a": "1", "a": "2"}', '(2,,,,)' ],
	[ '{"a": "1", "num": 1, "a": "2", "num": 2, "a": "3"}', '(3,,2,,)' ],
	[ '{"a": "1", "a": null}', '(,,,,)' ],
	[ '{"a": {"deep": [1]}, "a": "x\u0041"}', '(xA,,,,)' ],
	[ '{"list": [1, 2], "list": [3]}', '(,,,,{3})' ],
	[ '{"list": "{4}", "list": null}', '(,,,,)' ],
	[ '{"a": "1", "\u0061": "2"}', '(2,,,,)' ],

	# names are compared after unescaping
	[ '{"A": "no", "a ": "no", "": "no"}', '(,,,,)' ],
	[ '{"Größe \"x\"": "yes", "größe \"x\"": "no"}', '(,,,yes,)' ],
	[ '{"Gr\u00f6\u00dfe \u0022x\u0022": "yes"}', '(,,,yes,)' ],
	[ '{"\ud800": "no text", "\u0000": 1, "a": "x"}', '(x,,,,)' ],

	# values of a column that accepts any value
	[
		'{"doc": {"z": 1, "a": [1, {"q": null}], "z": 2.50}}',
		'(,"{""a"": [1, {""q"": null}], ""z"": 2.50}",,,)'
	],
	[ '{"doc": "text"}', '(,"""text""",,,)' ],
	[ '{"doc": [], "a": []}', '([],[],,,)' ],

	# columns with another field or with no field
	[ '{"n": 99, "a": "x"}', '(x,,,,)' ],
	[ '{"unmapped": "x"}', '(,,,,)' ]);

new_stream(
	'fields',
	q{n bigint, a text, doc jsonb, num int, "Größe ""x""" text, list int[],
		unmapped text},
	q{topic => 'fields', mapping => '{"n": "offset", "unmapped": null}'});
produce_cases('fields', @fields);
check_cases('fields', 'fields', 'columns take the fields of the same name',
	'a, doc, num, "Größe ""x""", list', @fields);
is(query('SELECT count(*) FROM fields WHERE unmapped IS NOT NULL'),
	'0', 'a column that is mapped to null takes its default');

# texts of messages up to 4096 bytes stay where the message was copied to, and a byte order mark is part of these
my @marked = map { "\xef\xbb\xbf{\"a\": \"" . chr(97 + $_ % 26) x (4080 + $_) . '"}' } (0 .. 19);

new_stream('marked', 'n bigint, a text', q{topic => 'marked', mapping => '{"n": "offset"}'});
$broker->produce('marked', map { [ 0, undef, $_ ] } @marked[5 .. 7]);
wait_for_stream('marked', 'marked');
$broker->produce('marked', map { [ 0, undef, $_ ] } @marked);
wait_for_stream('marked', 'marked');
is( query(q{SELECT count(*), count(DISTINCT a), bool_and(a = repeat(left(a, 1), length(a))), min(length(a)), max(length(a)) FROM marked}),
	'23|20|t|4080|4099',
	'messages with a byte order mark around 4096 bytes are as they were sent');

#
# Fields by JSON pointers
#

my @pointers = (
	[ '{}', '(none,,,,,,,,,)' ],
	[
		'{"user": {"id": "u1", "x": [1, 2]}, "plain": "p"}',
		'(u1,u1,"{""x"": [1, 2], ""id"": ""u1""}",,,,,,,p)'
	],
	[ '{"user": {"id": "\ud83d\ude00"}}', '(😀,😀,"{""id"": ""😀""}",,,,,,,)' ],
	[
		'{"user": {"x": {"id": "no"}, "id": "yes"}}',
		'(yes,yes,"{""x"": {""id"": ""no""}, ""id"": ""yes""}",,,,,,,)'
	],
	[ '{"user": {"id": null}}', '(,,"{""id"": null}",,,,,,,)' ],
	[ '{"user": 3}', '(none,,3,,,,,,,)' ],
	[ '{"user": null}', '(none,,,,,,,,,)' ],
	[ '{"user": [{"id": "no"}]}', '(none,,"[{""id"": ""no""}]",,,,,,,)' ],
	[ '{"user": {"id": "1"}, "user": {}}', '(none,,{},,,,,,,)' ],
	[ '{"user": {"id": "1"}, "user": {"id": "2"}}', '(2,2,"{""id"": ""2""}",,,,,,,)' ],
	[ '{"user": {"id": "1", "id": "2"}}', '(2,2,"{""id"": ""2""}",,,,,,,)' ],
	[ '{"user/id": "no", "/user/id": "no"}', '(none,,,,,,,,,)' ],
	[ '{"tags": ["a", "b", "c"]}', '(none,,,b,,,,,,)' ],
	[ '{"tags": ["a"]}', '(none,,,,,,,,,)' ],
	[ '{"tags": [["no", "no"], {"1": "yes"}]}', '(none,,,"{""1"": ""yes""}",,,,,,)' ],
	[ '{"tags": {"1": "yes", "01": "no"}}', '(none,,,yes,,,,,,)' ],
	[ '{"items": [{"name": "first"}, {"name": "second"}]}', '(none,,,,first,,,,,)' ],
	[ '{"items": [[], {"name": "second"}]}', '(none,,,,,,,,,)' ],
	[ '{"a/b": 1, "m~n": 2, "~1": 3, "": "4"}', '(none,,,,,1,2,3,4,)' ],
	[ '{"a": {"b": 1}, "m": {"n": 2}, "/": 3}', '(none,,,,,,,,,)' ],
	[ '{"a/b": "x"}', '22P02' ],
	[ '{"id": "no", "tag": "no", "plain": "yes"}', '(none,,,,,,,,,yes)' ]);

new_stream(
	'pointers',
	q{n bigint, id text DEFAULT 'none', again varchar(5), whole jsonb, tag text, first text,
		slash int, tilde int, pair int, empty text, plain text},
	q{topic => 'pointers', mapping => '{"n": "offset", "id": "/user/id", "again": "/user/id",
		"whole": "/user", "tag": "/tags/1", "first": "/items/0/name", "slash": "/a~1b",
		"tilde": "/m~0n", "pair": "/~01", "empty": "/"}'});
produce_cases('pointers', @pointers);
check_cases('pointers', 'pointers', 'fields are found by JSON pointers',
	'id, again, whole, tag, first, slash, tilde, pair, empty, plain', @pointers);

#
# Defaults, generated columns and constraints
#

my $new_year = '"2026-01-01 00:00:00+00"';
my @rules = (
	[ '{"id": 1, "name": "a"}', "(1,a,none,$new_year,UTC,5,x,,,)" ],
	[
		'{"id": 1, "name": "a", "kind": null, "at": null, "zone": null, "score": null}',
		'(1,a,,,,,x,,,)'
	],
	[
		'{"id": 1, "name": "a", "kind": "", "at": "2025-05-05", "zone": "z", "score": 1}',
		'(1,a,"","2025-05-05 00:00:00+00",z,1,x,,,)'
	],

	# NOT NULL of a column and of a domain
	[ '{"name": "a"}', '23502' ],
	[ '{"id": null, "name": "a"}', '23502' ],
	[ '{"id": 1}', '23502' ],
	[ '{"id": 1, "name": null}', '23502' ],
	[ '{"id": 1, "name": "a", "label": null}', '23502' ],
	[ '{"id": 1, "name": "a", "label": "l"}', "(1,a,none,$new_year,UTC,5,l,,,)" ],
	[ '{"id": 1, "name": ""}', "(1,\"\",none,$new_year,UTC,5,x,,,)" ],

	# CHECK of a domain and of the table; NULL satisfies them
	[ '{"id": 1, "name": "a", "score": 0}', '23514' ],
	[ '{"id": 1, "name": "a", "score": "2"}', "(1,a,none,$new_year,UTC,2,x,,,)" ],
	[ '{"id": 1, "name": "a", "low": 3, "high": 2}', '23514' ],
	[ '{"id": 1, "name": "a", "low": 3}', "(1,a,none,$new_year,UTC,5,x,3,,)" ],
	[ '{"id": 1, "name": "a", "high": 3}', "(1,a,none,$new_year,UTC,5,x,,3,)" ],

	# the generated column; its field in the message is ignored
	[ '{"id": 1, "name": "a", "low": 3, "high": 3}', "(1,a,none,$new_year,UTC,5,x,3,3,0)" ],
	[
		'{"id": 1, "name": "a", "low": 3, "high": 5, "span": 9}',
		"(1,a,none,$new_year,UTC,5,x,3,5,2)"
	],
	[ '{"id": 1, "name": "a", "low": -2147483648, "high": 1}', '22003' ],

	# an invalid value is reported before constraints are checked
	[ '{"id": "one"}', '22P02' ],
	[ '{"id": 1, "name": "a", "score": "none"}', '22P02' ]);

new_stream(
	'rules',
	q{n bigint, id int NOT NULL, name required, kind text DEFAULT 'none',
		at timestamptz DEFAULT '2026-01-01 00:00:00Z',
		zone text DEFAULT to_char(timestamptz '2026-01-01 00:00:00Z', 'TZ'),
		score positive DEFAULT 5, label required DEFAULT 'x', low int, high int,
		span int GENERATED ALWAYS AS (high - low) STORED, CHECK (low <= high)},
	q{topic => 'rules', mapping => '{"n": "offset"}'});
produce_cases('rules', @rules);
check_cases('rules', 'rules', 'defaults, generated columns and constraints are those of INSERT',
	'id, name, kind, at, zone, score, label, low, high, span', @rules);

#
# Metadata: partition, time, headers, key and payload of a message, as eddy-kafka-tool reads them
#

my @metadata = (
	[ 0, 1700000000123, 'a=1,b=two words,a=3', 'key', '{"id": 1}' ],
	[ 1, 1, '', '\N', '{"id": 2, "off": 77, "topic": "other", "key_text": "other"}' ],
	[ 1, 1700000000999, 'bin=\xff\xfe,empty=,quoted="x"', 'Schlüssel', '{"id": 3}' ],
	[ 1, 1700000000000, '', '', '{"id": 4}' ],
	[ 0, 1700000000000, 'a=1', 'tombstone', '\N' ],
	[ 0, 1700000000000, 'a=1', '\xff\x00', '{"id": 5}' ],
	[ 0, 1700000000000, '', 'broken', '{"id": 6' ]);

new_stream(
	'metadata',
	q{id int, topic text, topic_varchar varchar, part2 smallint, part4 int, part8 bigint,
		off bigint, at timestamptz, plain timestamp, ms bigint, key_bytes bytea, key_text text,
		key_varchar varchar, headers jsonb, headers_json json, headers_text text},
	q{topic => 'metadata', mapping => '{"topic": "topic", "topic_varchar": "topic",
		"part2": "partition", "part4": "partition", "part8": "partition", "off": "offset",
		"at": "timestamp", "plain": "timestamp", "ms": "timestamp", "key_bytes": "key",
		"key_text": "key", "key_varchar": "key", "headers": "headers", "headers_json": "headers",
		"headers_text": "headers"}'});
new_stream(
	'keys',
	'id int, key bytea',
	q{topic => 'metadata', mapping => '{"key": "key"}'});
new_stream(
	'envelopes',
	'at timestamptz, key text',
	q{topic => 'metadata', mapping => '{"at": "timestamp", "key": "key"}'});
$broker->tool('produce', [ '-t', 'metadata', '-f', 'pthkv' ],
	join('', map { join("\t", @$_) . "\n" } @metadata));
wait_for_stream('metadata', 'metadata');
wait_for_stream($_, 'metadata') foreach qw(keys envelopes);

is( query('SELECT id, topic, part4, off, at, ms, key_bytes, key_text FROM metadata ORDER BY id'),
	"1|metadata|0|0|$november.123+00|1700000000123|\\x6b6579|key\n"
	  . "2|metadata|1|0|1970-01-01 00:00:00.001+00|1||\n"
	  . "3|metadata|1|1|$november.999+00|1700000000999|\\x5363686cc3bc7373656c|Schlüssel\n"
	  . "4|metadata|1|2|$november+00|1700000000000|\\x|",
	'the mapping stores metadata of messages in columns');
is( query(q{SELECT id, key_text IS NULL FROM metadata WHERE key_text IS NULL OR key_text = ''
	ORDER BY id}),
	"2|t\n4|f",
	'a missing key is NULL, an empty key is empty');
is( query('SELECT id, headers FROM metadata ORDER BY id'),
	qq{1|[["a", "1"], ["b", "two words"], ["a", "3"]]\n2|\n}
	  . qq{3|[["bin", {"base64": "//4="}], ["empty", ""], ["quoted", "\\"x\\""]]\n4|},
	'headers keep their order, duplicates, and values that are not valid UTF-8');
is( query(q{
SELECT bool_and((topic_varchar, part2, part8, plain, key_varchar) IS NOT DISTINCT FROM
		(topic::varchar, part4::smallint, part4::bigint, at AT TIME ZONE 'UTC', key_text::varchar)
	AND headers_json::jsonb IS NOT DISTINCT FROM headers
	AND headers_text::jsonb IS NOT DISTINCT FROM headers)
FROM metadata}),
	't',
	'headers are equal in all types that accept them');
is( query(q{SELECT topic, partition, "offset", key, convert_from(payload, 'UTF8'), headers, sqlstate
	FROM eddy.dead_letters WHERE stream = 'metadata'::regclass AND "offset" = 2}),
	'metadata|0|2|\xff00|{"id": 5}|[["a", "1"]]|22021',
	'a key that is not valid UTF-8 is a dead letter if its column has type text');
is( query('SELECT id, key FROM keys WHERE id IN (4, 5) ORDER BY id'),
	"4|\\x\n5|\\xff00",
	'a key that is not valid UTF-8 is stored if its column has type bytea');
is( query(q{SELECT extract(epoch FROM at), key FROM envelopes ORDER BY 1, 2}),
	"0.001000|\n1700000000.000000|\n1700000000.123000|key\n1700000000.999000|Schlüssel",
	'a stream can ignore the content of valid messages');
is( query(q{SELECT stream, sum(rows), sum(rejected), sum(skipped) FROM eddy.partitions
	WHERE topic = 'metadata' GROUP BY 1 ORDER BY stream::text}),
	"envelopes|7|2|1\nkeys|7|1|1\nmetadata|7|2|1",
	'all messages are counted');

#
# A database in another encoding: messages are UTF-8, and characters without equivalent are rejected
#

my @latin = (
	[
		'{"a": "\u00e4ö", "short": "äöü", "doc": {"ü": "\u00e9"}, "list": ["ß"], "größe": "é"}',
		'(äö,äöü,"{""ü"": ""é""}",{ß},é)'
	],
	[ '{"a": "日本"}', '22P05' ],
	[ '{"a": "\u65e5"}', '22P05' ],
	[ '{"short": "äöüß"}', '22001' ],
	[ '{"doc": "日本"}', '22P05' ],
	[ '{"doc": "\u65e5"}', '22P05' ],
	[ '{"list": ["日本"]}', '22P05' ],
	[ '{"other": "日本", "日本": 1, "a": "x"}', '(x,,,,)' ]);

sql($node, q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'});
$database = 'latin';
query(qq{
CREATE EXTENSION pg_eddy;
CREATE SERVER kafka FOREIGN DATA WRAPPER eddy_kafka
	OPTIONS ("bootstrap.servers" '@{[ $broker->address ]}');
CREATE USER MAPPING FOR CURRENT_USER SERVER kafka;
CREATE UNLOGGED TABLE latin
	(n bigint, a text, short varchar(3), doc jsonb, list text[], "größe" text);
SELECT eddy.create_stream('latin');
SELECT eddy.attach_kafka('latin', server => 'kafka', topic => 'latin',
	mapping => '{"n": "offset"}')});
produce_cases('latin', @latin);
check_cases('latin', 'latin', 'values are converted to the encoding of the database',
	'a, short, doc, list, "größe"', @latin);

$node->stop;
$harness->signal('TERM');
$harness->finish;

done_testing();
