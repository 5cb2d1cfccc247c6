# 044_settings.pl: rows from a topic have the same results as rows from a user, with any settings.
#
# The database and the role have settings that change the input, output and comparison of values.
# Conversion, defaults and views must not depend on them. Times that no window can contain, which
# once caused an infinite loop in a hop view, are dead letters of that view; the source runs, and can
# be paused.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = start_broker();
$broker->create_topic('readings', 1);
my $node = new_node('settings');
attach_server($node, $broker->address);

#
# Settings
#

sql($node, q{
CREATE FUNCTION probe(expression text) RETURNS text STABLE LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
	EXECUTE 'SELECT (' || expression || ')::text' INTO result;
	RETURN coalesce(result, 'NULL');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
CREATE UNLOGGED TABLE readings (id int, at timestamptz, bytes bytea, list text[], doc xml, f float8,
	amount money, span interval, day date,
	made text DEFAULT public.probe('''\x41''::bytea, date ''2026-03-04'', interval ''-1 day 2 hours'''),
	words text GENERATED ALWAYS AS (to_tsvector('english', 'the running dogs')::text) STORED,
	origin text DEFAULT 'kafka');
SELECT eddy.create_stream('readings');
});
my @expressions = (
	q{at::text}, q{date_trunc('day', at)::text}, q{bytes::text}, q{list::text}, q{doc::text}, q{f::text},
	q{amount::text}, q{span::text}, q{day::text}, q{made}, q{words},
	q{to_tsvector('the running dogs')::text}, q{probe('1 = NULL')}, q{probe('''{NULL}''::text[]')},
	q{probe('''a<b/>''::xml')}, q{probe('format(''%I'', ''a'')')}, q{probe('length(''a\n'')')},
	q{probe('timestamptz ''2026-01-01 12:00 EST''')}, q{probe('''03-04-05''::date')},
	q{probe('to_char(1234.5, ''L9G999D99'')')}, q{probe('0.1::float8 + 0.2::float8')});
my $list = join ', ', map { "$expressions[$_] AS e$_" } 0 .. $#expressions;
my $keys = join ', ', map { $_ + 1 } 0 .. $#expressions;
sql($node, qq{
SELECT eddy.create_continuous_view('observed', \$view\$
	SELECT $list, count(*) AS n, count(*) FILTER (WHERE origin = 'kafka') AS kafka
	FROM readings GROUP BY $keys \$view\$)});

my %hostile = (
	DateStyle => "'German, DMY'", IntervalStyle => 'iso_8601', TimeZone => "'Asia/Tokyo'",
	array_nulls => 'off', bytea_output => 'escape', extra_float_digits => '-15',
	default_text_search_config => "'pg_catalog.german'", exit_on_error => 'on',
	lc_monetary => q{'POSIX'}, lc_numeric => q{'POSIX'}, lc_time => q{'POSIX'}, lc_messages => q{'POSIX'},
	quote_all_identifiers => 'on', standard_conforming_strings => 'off', row_security => 'off',
	timezone_abbreviations => "'Australia'", transform_null_equals => 'on', xmlbinary => 'hex',
	xmloption => 'document', gin_fuzzy_search_limit => '1', search_path => 'public');
foreach my $name (sort keys %hostile)
{
	sql($node, "ALTER DATABASE postgres SET $name = $hostile{$name}");
}

sql($node, q{SELECT eddy.attach_kafka('readings', server => 'kafka', topic => 'readings')});
my @values = (
	[ q{"2026-01-01 12:00:00"}, '"\\\\x4142"', '"{a,NULL,\"b\"}"', '"x<y/>"', '0.1', '"12.50"', '"1 day -2:00"',
		'"2026-03-04"' ],
	[ q{"2026-01-01T12:00:00-05:00"}, '"\\\\x"', '["a",null]', '"<y/>"', '1e-7', '"1"', '"P1DT2H"', '"2026-03-04"' ]);
my @names = qw(at bytes list doc f amount span day);
my @messages;
foreach my $row (@values)
{
	push @messages, '{"id": 1, ' . join(', ', map { "\"$names[$_]\": $row->[$_]" } 0 .. $#names) . '}';
}
$broker->produce('readings', map { [ 0, 'k', $_ ] } @messages, '{"id": 1, "f": "x"}');
wait_for_consumed($node, $broker, 'readings');
is(sql($node, q{SELECT state, error FROM eddy.sources}), 'running|', 'the source runs');
is(sql($node, q{SELECT count(*), min(sqlstate) FROM eddy.dead_letters}),
	'1|22P02', 'one message is rejected, and exit_on_error does not terminate the worker');

# the same values from a user, whose session does not have these settings
my %default = (%hostile, DateStyle => "'ISO, YMD'", IntervalStyle => 'postgres', TimeZone => 'UTC',
	array_nulls => 'on', bytea_output => 'hex', extra_float_digits => '1', timezone_abbreviations => q{'Default'},
	xmloption => 'content', xmlbinary => 'base64', exit_on_error => 'off', quote_all_identifiers => 'off',
	standard_conforming_strings => 'on', transform_null_equals => 'off', row_security => 'on',
	lc_monetary => 'DEFAULT', lc_numeric => 'DEFAULT', lc_time => 'DEFAULT', lc_messages => 'DEFAULT',
	default_text_search_config => "'pg_catalog.english'", gin_fuzzy_search_limit => '0');
my $defaults = join '', map { "SET $_ = $default{$_};\n" } sort keys %default;
sql($node, $defaults . q{
INSERT INTO readings (id, at, bytes, list, doc, f, amount, span, day, origin)
VALUES (1, '2026-01-01 12:00:00', '\x4142', '{a,NULL,"b"}', 'x<y/>', 0.1, '12.50', '1 day -2:00', '2026-03-04', 'user'),
	(1, '2026-01-01 12:00 EST', '\x', '{a,NULL}', '<y/>', 1e-7, '1', 'P1DT2H', '2026-03-04', 'user')});
is(sql($node, q{SELECT count(*), min(n), max(n), min(kafka), max(kafka) FROM observed}),
	'2|2|2|1|1', 'rows of the topic and of the user belong to the same groups')
  or diag(sql($node, 'TABLE observed'));

#
# Times that no window can contain
#

sql($node, q{
SELECT eddy.create_continuous_view('per_hop',
	'SELECT w.window_start, w.window_end, count(*) AS n FROM readings, eddy.hop(at, ''5 s'', ''10 s'') w
		WHERE id = 2 GROUP BY 1, 2');
SELECT eddy.create_continuous_view('per_cycle',
	'SELECT w.window_start, w.window_end, count(*) AS n FROM readings, eddy.cumulate(at, ''5 s'', ''10 s'') w
		WHERE id = 2 GROUP BY 1, 2');
SELECT eddy.create_continuous_view('per_window',
	'SELECT w.window_start, w.window_end, count(*) AS n FROM readings, eddy.tumble(at, ''10 s'') w
		WHERE id = 2 GROUP BY 1, 2');
SELECT eddy.create_continuous_view('all_rows', 'SELECT count(*) AS n FROM readings WHERE id = 2')});
$broker->produce('readings', map { [ 0, 'k', "{\"id\": 2, \"at\": \"$_\"}" ] }
	  ('2026-01-01T00:00:03Z', 'infinity', '2026-01-01T00:00:04Z', '-infinity', '294276-12-31T23:59:59Z',
		'2026-01-01T00:00:13Z'));
wait_for_consumed($node, $broker, 'readings');
is(sql($node, q{SELECT state, error FROM eddy.sources}), 'running|', 'the source still runs');
is(sql($node, q{SELECT n FROM all_rows}), '6', 'the stream accepts all rows');
foreach my $view ([ per_hop => 6 ], [ per_cycle => 6 ], [ per_window => 3 ])
{
	my ($name, $pairs) = @$view;

	is(sql($node, qq{SELECT sum(n) FROM $name}), $pairs, "$name counts the valid rows");
	is( sql($node, qq{
SELECT count(*), min(error), max(error) FROM eddy.dead_letters WHERE view = '$name'::regclass}),
		'3|timestamp out of range|timestamp out of range', "$name rejects the other rows");
}
sql($node, q{SELECT eddy.pause('readings')});
is(sql($node, q{SELECT state FROM eddy.sources}), 'paused', 'the source can be paused');

$node->stop;
$broker->stop;
done_testing();
