# 077_staged_columns.pl: streams that store only the columns of messages that are needed.
#
# Columns that no view, constraint or reader needs are neither stored nor converted, but messages are validated as a
# whole. A view never counts a row without one of its columns: it is refused, filled from Kafka, or
# begins with rows that have them. Late rows and dead letters are complete.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = start_broker();
my $node = new_node('staged_columns');
attach_server($node, $broker->address);
$broker->create_topic('visits', 2);

# Messages; their numbers continue. Those with "bad" have a value that is not of the column's type.
my $number = 0;

sub produce
{
	my ($count, %fields) = @_;
	my $time = $fields{time} // '2026-01-01T00:00:01Z';
	my $took = $fields{took} // 5;

	$broker->produce(
		'visits',
		map {
			my $n = ++$number;
			[ $n % 2, "key $n", qq({"id": $n, "at": "$time", "page": "p@{[$n % 3]}", "country": "c@{[$n % 2]}", "took": $took}) ]
		} 1 .. $count);
	wait_for_consumed($node, $broker, 'visits');
	return;
}

# An error of a statement.
sub fails_ok
{
	my ($statement, $error, $what) = @_;
	my ($status, undef, $stderr) = $node->psql('postgres', $statement);

	isnt($status, 0, $what);
	like($stderr, $error, "$what: the reason");
	return;
}

sql($node, q{
CREATE UNLOGGED TABLE visits (id int, at timestamptz, page text, country text, took int, key text);
SELECT eddy.create_stream('visits', event_time => 'at', staged_columns => '{id}');
SELECT eddy.create_continuous_view('by_page', 'SELECT page, count(*) FROM visits GROUP BY page');
SELECT eddy.attach_kafka('visits', server => 'kafka', topic => 'visits', mapping => '{"key": "key"}')});

#
# What is stored
#

produce(60);
produce(1, took => '"long"');
is(sql($node, 'SELECT count(*), count(id), count(at), count(page), count(country), count(took), count(key) FROM visits'),
	'61|61|61|61|0|0|0', 'only the columns that are needed are stored');
is(sql($node, 'SELECT count(*) FROM eddy.dead_letters'), '0', 'a value of another column need not have its type');
equal_ok($node, 'SELECT page, count FROM by_page', 'SELECT page, count(*) FROM visits GROUP BY page', 'the view has counted them');
$broker->produce('visits', [ 0, undef, '{"id": 0, "page": "x", "at": "2026-01-01T00:00:01Z", "took": 01}' ]);
wait_for_consumed($node, $broker, 'visits');
is(sql($node, 'SELECT error, view IS NULL FROM eddy.dead_letters'),
	'message is not valid JSON|t', 'messages are validated as a whole');

#
# Views that need other columns
#

my $by_country = 'SELECT country, count(*) FROM visits GROUP BY country';
my $missing = qr/column "country" was not stored in rows of stream "visits" that continuous view "by_country" would count/;

fails_ok("SELECT eddy.create_continuous_view('by_country', '$by_country', start => 'staged')",
	$missing, 'stored rows lack a column');
fails_ok("SELECT eddy.replace_continuous_view('by_page', 'SELECT page, count(*), max(country) FROM visits GROUP BY page', start => 'staged')",
	qr/column "country" was not stored/, 'they also lack it for another query of a view');
sql($node, q{SELECT eddy.create_continuous_view('pages', 'SELECT page, max(id) FROM visits GROUP BY page', start => 'staged')});
equal_ok($node, 'SELECT page, max FROM pages', 'SELECT page, max(id) FROM visits GROUP BY page', 'columns that are stored can be counted');

# a view that begins now, one that begins with a query, and one that is filled from Kafka
sql($node, "SELECT eddy.create_continuous_view('by_country', '$by_country')");
sql($node, q{SELECT eddy.create_continuous_view('times', 'SELECT count(*), sum(took) FROM visits', start => 'query',
	history => $$SELECT 0 AS id, timestamptz '2026-01-01Z' AS at, '' AS page, '' AS country, 1000 AS took, '' AS key$$)});
sql($node, q{SELECT eddy.create_continuous_view('all_times', 'SELECT count(*), sum(took) FROM visits', start => 'earliest')});
wait_until($node, 'SELECT count(*) = 0 FROM eddy.view_starts', 'the view is filled from Kafka');
produce(40);
is(sql($node, 'SELECT * FROM by_country ORDER BY country'), "c0|20\nc1|20", 'a new view counts new rows, which have its columns');
is(sql($node, 'SELECT * FROM times'), '41|1200', 'so does one that begins with a query');
is(sql($node, 'SELECT * FROM all_times'), '100|500', 'a view that is filled from Kafka reads the columns from messages');
is(sql($node, q{SELECT "offset", error FROM eddy.dead_letters WHERE view = 'all_times'::regclass}),
	'30|invalid value for column "took" of type integer', 'a message that only this view cannot read is its dead letter');
is(sql($node, 'SELECT count(country), count(took), count(key) FROM visits'), '40|40|0', 'rows have the columns from then on');

# a suspended view is rebuilt from complete rows only
fails_ok("SELECT eddy.pause('by_country'), eddy.resume('by_country')", $missing, 'older rows lack the column');

#
# Readers
#

sql($node, q{SELECT eddy.set_staged_columns('visits', '{key}')});
sql($node, 'DROP VIEW all_times, times, pages; TRUNCATE visits');
produce(10);
is(sql($node, 'SELECT count(id), count(page), count(took), min(key) FROM visits'), '0|10|0|key 102', 'columns can be added and removed');
sql($node, "SELECT eddy.pause('by_country'); SELECT eddy.resume('by_country')");
is(sql($node, 'SELECT * FROM by_country ORDER BY country'), "c0|5\nc1|5", 'all rows that are left have the column');

#
# Late rows and dead letters have all columns
#

sql($node, q{SELECT eddy.create_continuous_view('windows', $$
	SELECT w.window_end, sum(1 / (length(page) - 1)) AS n FROM visits, eddy.tumble(at, '1 minute') w GROUP BY w.window_end $$,
	late => 'keep')});
sql($node, q{SELECT eddy.advance_watermark('visits', '2026-01-02Z')});
produce(1);
is(sql($node, q{SELECT row_data ->> 'took', row_data ->> 'id', row_data ->> 'key' FROM eddy.late_rows}), '5|112|key 112', 'a late row has all columns');
is(sql($node, 'SELECT count(took) FROM visits'), '0', 'but it is stored without them');
$broker->produce('visits', [ 0, undef, '{"id": 200, "page": "x", "country": "c1", "took": 7, "at": "2026-01-03T00:00:01Z"}' ]);
wait_for_consumed($node, $broker, 'visits');
is(sql($node, q{SELECT convert_from(payload, 'UTF8')::json ->> 'took' FROM eddy.dead_letters WHERE view = 'windows'::regclass}),
	'7', 'a dead letter is the whole message');

# applied again, a message is stored like others
$broker->produce('visits', [ 0, undef, '{"id": 201, "page": "p1", "country": "c1", "took": 7}' ]);
wait_for_consumed($node, $broker, 'visits');
is(sql($node, q{SELECT error FROM eddy.dead_letters WHERE view IS NULL AND "offset" > 50}), 'null value in event time column "at"', 'a column that the stream needs');
sql($node, q{ALTER TABLE visits ALTER at SET DEFAULT '2026-01-04Z'});
is(sql($node, q{SELECT eddy.replay_dead_letters('visits', ARRAY(SELECT id FROM eddy.dead_letters WHERE view IS NULL AND "offset" > 50))}), '1', 'its message is applied again');
is(sql($node, q{SELECT count(*), count(took), count(id) FROM visits WHERE at = '2026-01-04Z'}), '1|0|0', 'and stored like others');

#
# Without stored rows, columns are not converted either
#

sql($node, q{
CREATE UNLOGGED TABLE passing (id int, page text, took int);
SELECT eddy.create_stream('passing', retention => '0', staged_columns => '{}');
SELECT eddy.create_continuous_view('passed', 'SELECT count(*), count(DISTINCT page) AS pages FROM passing');
SELECT eddy.attach_kafka('passing', server => 'kafka', topic => 'visits')});
wait_until($node, q{SELECT sum(next_offset) = 115 FROM eddy.partitions WHERE stream = 'passing'::regclass}, 'all messages are consumed');
is(sql($node, 'SELECT * FROM passed'), '114|4', 'all messages but the one that is not valid are counted');

done_testing();
