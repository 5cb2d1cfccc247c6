# 075_catch_up.pl: views that are filled from Kafka, start => 'earliest' or a time.
#
# A worker of its own reads what the source has consumed, while the source, users and other views
# continue. It hands over at an exact offset: each message is counted once, also if it is killed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = start_broker();
my $node = new_node(
	'catch_up',
	"pg_eddy.restart_delay_max = '1s'",
	"pg_eddy.batch_bytes = '64kB'",
	"restart_after_crash = on");
attach_server($node, $broker->address);

my $partitions = 4;

# Produces the messages {"id": n} with the given numbers.
sub produce
{
	my ($topic, @ids) = @_;

	$broker->produce($topic, map { [ $_ % $partitions, undef, "{\"id\": $_}" ] } @ids);
	return;
}

sub wait_until_filled
{
	my ($view) = @_;

	return wait_until($node,
		"SELECT NOT EXISTS (SELECT FROM eddy.view_starts WHERE view = '$view'::regclass)",
		"view \"$view\" is filled");
}

# The view has the groups that a query over all its rows has.
sub same_groups
{
	my ($view, $rows, $what) = @_;
	my $expected = "SELECT id % 40 AS g, count(*) AS n, sum(id) AS ids FROM ($rows) r (id) GROUP BY 1";

	is(sql($node, "SELECT count(*) FROM ((TABLE $view EXCEPT ALL $expected) UNION ALL ($expected EXCEPT ALL TABLE $view)) d"),
		'0', $what);
	return;
}

my $groups = 'SELECT id % 40 AS g, count(*) AS n, sum(id) AS ids FROM events GROUP BY 1';

#
# A source that has begun at the end of its topic, and one message that is not valid
#

$broker->create_topic('events', $partitions);
produce('events', 1 .. 20_000);
sql($node, q{
	CREATE UNLOGGED TABLE events (id bigint);
	SELECT eddy.create_stream('events', retention => '0');
	SELECT eddy.attach_kafka('events', server => 'kafka', topic => 'events', start => 'latest')});
sql($node, "SELECT eddy.create_continuous_view('live', '$groups')");
wait_for_consumed($node, $broker, 'events');
$broker->produce('events', [ 0, undef, 'not JSON' ]);
produce('events', 20_001 .. 24_000);
wait_for_consumed($node, $broker, 'events');
same_groups('live', 'SELECT generate_series(20001::bigint, 24000)', 'the source has begun at the end');

#
# Filling: the view shows its progress, counts rows of users at once, and does not stop others
#

sql($node, "ALTER SYSTEM SET pg_eddy.catch_up_rate = 1000; SELECT pg_reload_conf()");
sql($node, "INSERT INTO events SELECT -1");
is(sql($node, "SELECT eddy.create_continuous_view('past', '$groups', start => 'earliest')"), 'past',
	'a view that begins with the topic is created at once');
sql($node, "INSERT INTO events SELECT -39 FROM generate_series(1, 100)");
is(sql($node, q{SELECT n FROM past WHERE g = -39}), '100', 'rows of users are counted at once');
wait_until($node, q{SELECT rows BETWEEN 1000 AND 20000 AND percent > 0 AND percent < 100 AND remaining > 0
		AND estimated_time > '0 s' AND error IS NULL FROM eddy.view_starts WHERE view = 'past'::regclass},
	'eddy.view_starts shows the progress');
# slow enough for the rest of the checks, on any machine
sql($node, "ALTER SYSTEM SET pg_eddy.catch_up_rate = 100; SELECT pg_reload_conf()");
is(sql($node, q{SELECT state FROM eddy.continuous_views WHERE view = 'past'::regclass}), 'starting',
	'the view is starting');
is(sql($node, q{SELECT state FROM eddy.continuous_views WHERE view = 'live'::regclass}), 'running',
	'the others are not');
produce('events', 24_001 .. 25_000);
wait_for_consumed($node, $broker, 'events');
is(sql($node, q{SELECT count(*) FROM eddy.view_starts}), '1', 'the source is not slowed down by the rate');
my ($ret, $out, $err) = $node->psql('postgres', q{SELECT eddy.replay_dead_letters('events')});
like($err, qr/cannot replay dead letters of stream "events".*"past" is still being filled/s,
	'dead letters wait until the view is complete');
($ret, $out, $err) = $node->psql('postgres', "SELECT eddy.replace_continuous_view('past', '$groups ORDER BY 1')");
like($err, qr/cannot keep the results.*still being filled from Kafka/s, 'its results cannot be kept yet');

#
# The worker is killed in the middle
#

my $before = sql($node, q{SELECT sum(rows) FROM eddy.view_starts});
my $pid = sql($node, q{SELECT pid FROM eddy._workers() WHERE kind = 'catch-up'});
like($pid, qr/^\d+$/, 'a worker fills the view');
kill 'KILL', $pid;
wait_until($node, qq{SELECT sum(rows) > $before FROM eddy.view_starts}, 'it continues after a crash');
cmp_ok(sql($node, q{SELECT sum(rows) FROM eddy.view_starts}), '<', 25_000, 'it did not begin again');
produce('events', 25_001 .. 26_000);
$pid = sql($node, q{SELECT pid FROM eddy._workers() WHERE kind = 'catch-up'});
is(sql($node, "SELECT pg_terminate_backend($pid, 20000)"), 't', 'it is terminated');
sql($node, "INSERT INTO events SELECT -79 FROM generate_series(1, 50)");
sql($node, "ALTER SYSTEM RESET pg_eddy.catch_up_rate; SELECT pg_reload_conf()");

# while it hands over, messages and rows of users arrive all the time
my $last = 26_000;
my $inserted = 0;
my $more = 3;
while ($more > 0 && $last < 40_000)
{
	produce('events', $last + 1 .. $last + 200);
	sql($node, "INSERT INTO events SELECT -119 FROM generate_series(1, 10)");
	$last += 200;
	$inserted += 10;
	$more-- if sql($node, q{SELECT count(*) FROM eddy.view_starts}) == 0;
}
is($more, 0, 'it hands over although messages keep arriving');

# its query is replaced while messages and rows of users arrive, and a column is added to the stream
sql($node, 'ALTER TABLE events ADD COLUMN note text');
foreach my $query ("$groups ORDER BY 1", "$groups HAVING count(note) >= 0", $groups)
{
	produce('events', $last + 1 .. $last + 200);
	sql($node, "SET client_min_messages = warning; SELECT eddy.replace_continuous_view('past', '$query')");
	sql($node, "INSERT INTO events SELECT -119 FROM generate_series(1, 10)");
	$last += 200;
	$inserted += 10;
}
wait_for_consumed($node, $broker, 'events');
wait_for_consumed($node, $broker, 'events');
same_groups('past', qq{SELECT generate_series(1::bigint, $last) UNION ALL SELECT -39 FROM generate_series(1, 100)
	UNION ALL SELECT -79 FROM generate_series(1, 50) UNION ALL SELECT -119 FROM generate_series(1, $inserted)},
	'each message, and each row of a user since the creation, is counted once');
is(sql($node, q{SELECT state FROM eddy.continuous_views WHERE view = 'past'::regclass}), 'running', 'the view is maintained');
is(sql($node, q{SELECT count(*), count(view) FROM eddy.dead_letters}), '1|0', 'the message that is not valid is one dead letter');
wait_until($node, q{SELECT count(*) = 0 FROM eddy._workers() WHERE kind = 'catch-up'}, 'its worker ends');
is(sql($node, q{SELECT count(*) FROM eddy._view_offset}), '0', 'its offsets are removed');

#
# From a point in time
#

my $time = sql($node, q{SELECT clock_timestamp()});
wait_until($node, "SELECT clock_timestamp() > '$time'::timestamptz + interval '50 ms'", 'later messages have later times');
produce('events', $last + 1 .. $last + 300);
wait_for_consumed($node, $broker, 'events');
sql($node, "SELECT eddy.create_continuous_view('since', '$groups', start => '$time')");
wait_until_filled('since');
produce('events', $last + 301 .. $last + 400);
wait_for_consumed($node, $broker, 'events');
same_groups('since', "SELECT generate_series($last + 1::bigint, $last + 400)", 'a view begins at a point in time');

#
# The query of a view is replaced by one that is filled from Kafka first
#

my $wider = 'SELECT id % 40 AS g, count(*) AS n, sum(id) AS ids, max(id) AS largest FROM events GROUP BY 1';
sql($node, q{SELECT pg_create_logical_replication_slot('replacing', 'pg_eddy_cdc')});
sql($node, "ALTER SYSTEM SET pg_eddy.catch_up_rate = 1000; SELECT pg_reload_conf()");
my $old_rows = sql($node, 'SELECT sum(n) FROM past');
sql($node, "SELECT eddy.replace_continuous_view('past', '$wider', start => 'earliest')");
wait_until($node, q{SELECT view::text = 'past_next' AND replaces = 'past'::regclass AND rows > 0 FROM eddy.view_starts},
	'eddy.view_starts shows what the view replaces');
sql($node, 'INSERT INTO events SELECT -159 FROM generate_series(1, 20)');
is(sql($node, 'SELECT sum(n) FROM past'), $old_rows + 20, 'the view has its old results meanwhile');
($ret, $out, $err) = $node->psql('postgres', "SELECT eddy.replace_continuous_view('past', '$groups', start => 'now')");
like($err, qr/query of continuous view "past" is being replaced.*"past_next" is being filled/s, 'one replacement at a time');
$pid = sql($node, q{SELECT pid FROM eddy._workers() WHERE kind = 'catch-up'});
kill 'KILL', $pid;
wait_until($node, qq{SELECT count(*) = 1 FROM eddy._workers() WHERE kind = 'catch-up' AND pid <> $pid}, 'its worker is killed, and starts again');
# The results are compared before the streams are locked, and what arrives after that is followed.
my $writer = $node->background_psql('postgres');
$writer->query_safe('BEGIN; INSERT INTO events SELECT -199 FROM generate_series(1, 20)');
sql($node, "ALTER SYSTEM RESET pg_eddy.catch_up_rate; SELECT pg_reload_conf()");
wait_until($node, q{SELECT bool_or(NOT granted) AND bool_or(locktype = 'relation' AND mode = 'AccessExclusiveLock' AND c.oid IS NULL)
	FROM pg_locks l JOIN eddy._workers() w USING (pid) LEFT JOIN pg_class c ON c.oid = l.relation WHERE w.kind = 'catch-up'},
	'the worker waits for a writer, with a table that nobody else knows');
produce('events', $last + 401 .. $last + 600);
wait_for_consumed($node, $broker, 'events');
$writer->query_safe('COMMIT');
$writer->quit;
wait_until($node, 'SELECT NOT EXISTS (SELECT FROM eddy.view_starts)', 'the query is replaced');
produce('events', $last + 601 .. $last + 800);
wait_for_consumed($node, $broker, 'events');
my $all = qq{SELECT generate_series(1::bigint, $last + 800) UNION ALL SELECT -159 FROM generate_series(1, 20)
	UNION ALL SELECT -199 FROM generate_series(1, 20)};
is(sql($node, difference('TABLE past', $wider =~ s/events/($all) r (id)/r)), '', 'with the messages from the beginning, each counted once');
is(sql($node, q{SELECT to_regclass('past_next')}), '', 'the other view is gone');
# a message can consist of several records
wait_for_flush($node);
is(sql($node, q{CREATE TABLE change AS SELECT n, record::jsonb
		FROM pg_logical_slot_get_changes('replacing', NULL, NULL, 'include-before', 'on') WITH ORDINALITY c (lsn, xid, data, n), string_to_table(data, E'\n') AS record;
	SELECT count(*) FILTER (WHERE record::text ~ 'past_next'),
		count(DISTINCT record -> 'key' ->> 'g') FILTER (WHERE record ->> 'view' = 'public.past' AND record::text ~ '"largest"') FROM change}),
	'0|41', 'consumers receive the difference');
is(sql($node, difference('SELECT to_jsonb(p) AS row_data FROM past p', q{SELECT DISTINCT ON (record -> 'key') record -> 'after' AS row_data FROM change
	WHERE record ->> 'view' = 'public.past' AND record ? 'op' ORDER BY record -> 'key', n DESC})), '', 'with it, they have the rows of the view');
is(sql($node, q{SELECT count(*) FROM (SELECT record -> 'before' AS before, lag(record -> 'after') OVER (PARTITION BY record -> 'key' ORDER BY n) AS last
		FROM change WHERE record ->> 'view' = 'public.past' AND record ? 'op') c
	WHERE last IS NOT NULL AND jsonb_strip_nulls(before) <> last}), '0', 'each value is the one before the next change');
sql($node, q{SELECT pg_drop_replication_slot('replacing')});
sql($node, "ALTER SYSTEM SET pg_eddy.catch_up_rate = 100; SELECT pg_reload_conf()");
sql($node, "SELECT eddy.replace_continuous_view('past', '$wider HAVING count(*) > 0', start => '$time')");
sql($node, 'DROP VIEW past_next');
wait_until($node, q{SELECT count(*) = 0 FROM eddy._workers() WHERE kind = 'catch-up'}, 'dropping the other view ends the replacement');
sql($node, "SELECT eddy.replace_continuous_view('past', '$wider HAVING count(*) > 0', start => '$time')");
sql($node, 'DROP VIEW past');
is(sql($node, q{SELECT count(*) FROM pg_class WHERE relname ~ 'past'}), '0', 'dropping the view ends it as well');
sql($node, "ALTER SYSTEM RESET pg_eddy.catch_up_rate; SELECT pg_reload_conf()");

#
# A view over two streams: the sources of both hand over at once, also of one that is attached meanwhile
#

my $both = q{SELECT u.id % 40 AS g, count(*) AS n, sum(u.id) AS ids
	FROM (SELECT id FROM events UNION ALL SELECT CAST(-number AS bigint) FROM more WHERE number > 0) u GROUP BY 1};
my $more_last = 0;
my $events_last = $last + 800;

sub produce_more
{
	my ($count) = @_;

	$broker->produce('more', map { [ $_ % 2, undef, "{\"number\": $_}" ] } $more_last + 1 .. $more_last + $count);
	$more_last += $count;
	return;
}

# Kills the process that fills a view, with which the server restarts.
sub kill_catch_up
{
	my ($when) = @_;
	my $killed = sql($node, q{SELECT pid FROM eddy._workers() WHERE kind = 'catch-up'});

	kill 'KILL', $killed if $killed;
	wait_until($node, qq{SELECT count(*) FILTER (WHERE pid = @{[ $killed || 0 ]}) = 0
			AND (count(*) > 0 OR NOT EXISTS (SELECT FROM eddy.view_starts)) FROM eddy._workers() WHERE kind = 'catch-up'},
		"the worker is killed $when");
	return;
}

$broker->create_topic('more', 2);
$broker->create_topic('later', 1);
produce_more(6000);
$broker->produce('later', map { [ 0, undef, "{\"number\": $_}" ] } 100_001 .. 100_500);
sql($node, q{
	CREATE UNLOGGED TABLE more (number int, at timestamptz);
	SELECT eddy.create_stream('more', retention => '0');
	SELECT eddy.attach_kafka('more', server => 'kafka', topic => 'more', start => 'latest')});
wait_for_consumed($node, $broker, 'more');
sql($node, "ALTER SYSTEM SET pg_eddy.catch_up_rate = 1000; SELECT pg_reload_conf()");
sql($node, "SELECT eddy.create_continuous_view('united', '$both', start => 'earliest')");
sql($node, 'WITH e AS (INSERT INTO events SELECT -39 FROM generate_series(1, 30)) INSERT INTO more SELECT 119 FROM generate_series(1, 30)');
is(sql($node, 'SELECT n FROM united WHERE g = -39'), '60', 'rows of users in both streams are counted at once');
wait_until($node, q{SELECT count(DISTINCT source) = 2 FROM eddy._view_offset o WHERE view = 'united'::regclass AND next_offset > first_offset},
	'both topics are read');
kill_catch_up('in the middle');
produce_more(500);
produce('events', $events_last + 1 .. $events_last + 500);
$events_last += 500;
sql($node, q{SELECT eddy.attach_kafka('more', server => 'kafka', topic => 'later')});
sql($node, "ALTER SYSTEM RESET pg_eddy.catch_up_rate; SELECT pg_reload_conf()");
wait_until($node, q{SELECT coalesce(sum(remaining), 0) < 2000 FROM eddy.view_starts}, 'nearly all is read');
kill_catch_up('near the end');
$more = 3;
my $users = 0;
while ($more > 0 && $events_last < 60_000)
{
	produce('events', $events_last + 1 .. $events_last + 100);
	$events_last += 100;
	produce_more(100);
	sql($node, 'WITH e AS (INSERT INTO events SELECT -79) INSERT INTO more SELECT 119');
	$users++;
	$more-- if sql($node, q{SELECT count(*) FROM eddy.view_starts}) == 0;
}
is($more, 0, 'the view is handed over while messages arrive in both topics');
wait_for_consumed($node, $broker, $_) foreach qw(events more later);
same_groups('united', qq{SELECT generate_series(1::bigint, $events_last) UNION ALL SELECT -generate_series(1::bigint, $more_last)
	UNION ALL SELECT -generate_series(100001::bigint, 100500)
	UNION ALL SELECT -39 FROM generate_series(1, 30) UNION ALL SELECT -119 FROM generate_series(1, 30)
	UNION ALL SELECT unnest(ARRAY[-79, -119]) FROM generate_series(1, $users)},
	'each message of the three topics, and each row of a user since the creation, is counted once');
is(sql($node, q{SELECT count(*) FROM eddy.dead_letters WHERE view = 'united'::regclass}), '0', 'none is rejected');

# its query is replaced by one over other streams, filled from a point in time
sql($node, "SELECT eddy.replace_continuous_view('united', '@{[ $both =~ s/number > 0/number > 100000/r ]}', start => '$time')");
wait_until($node, 'SELECT NOT EXISTS (SELECT FROM eddy.view_starts)', 'its query is replaced');
same_groups('united', qq{SELECT generate_series($last + 1::bigint, $events_last) UNION ALL SELECT -generate_series(100001::bigint, 100500)},
	'with the messages of both streams since then');
sql($node, 'DROP VIEW united');

#
# Windows close when the view is filled, and no row of the past is late. Two sources.
#

$broker->create_topic("timed$_", 2) foreach 1, 2;
sub produce_timed
{
	my ($topic, @minutes) = @_;

	$broker->produce($topic, map { [ $_ % 2, undef, sprintf('{"at": "2026-01-01T%02d:%02d:00Z"}', $_ / 60, $_ % 60) ] } @minutes);
	return;
}
produce_timed('timed1', 0 .. 599);
produce_timed('timed2', 0 .. 599);
sql($node, q{
	CREATE UNLOGGED TABLE timed (at timestamptz);
	SELECT eddy.create_stream('timed', event_time => 'at', retention => '0', idle_timeout => '1s', max_future_skew => '100 years');
	SELECT eddy.attach_kafka('timed', server => 'kafka', topic => 'timed1');
	SELECT eddy.attach_kafka('timed', server => 'kafka', topic => 'timed2')});
wait_for_consumed($node, $broker, 'timed1');
wait_for_consumed($node, $broker, 'timed2');
my $hourly = 'SELECT w.window_start, count(*) AS n FROM timed, eddy.tumble(at, \'\'1 hour\'\') AS w GROUP BY w.window_start, w.window_end';
sql($node, "SELECT eddy.create_continuous_view('hourly', '$hourly', emit => 'on_close', start => 'earliest')");
wait_until_filled('hourly');
wait_until($node, q{SELECT count(*) = 9 FROM hourly}, 'windows have closed');
is(sql($node, q{SELECT count(*), min(n), max(n) FROM hourly}), '9|120|120', 'with all rows of the past, of both topics');
produce_timed('timed1', 0 .. 9);
wait_for_consumed($node, $broker, 'timed1');
is(sql($node, q{SELECT sum(n) FROM hourly}), '1080', 'rows that are late now are not counted');

#
# A history, for a stream that does not store messages: writers continue, and what arrives meanwhile is read from Kafka
#

sql($node, q{
	CREATE TABLE archive AS SELECT -g::bigint AS id FROM generate_series(1, 1000) g;
	CREATE FUNCTION gate() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN true; END'});
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(1)');
my $creating = start_process(PostgreSQL::Test::Utils::tempdir() . '/creating', 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
	"SELECT eddy.create_continuous_view('with_history', '$groups', start => 'query', history => 'SELECT id FROM archive WHERE gate()')");
wait_until($node, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'the history is being counted');
sql($node, 'INSERT INTO events SELECT -39 FROM generate_series(1, 10)');
produce('events', 1_000_001 .. 1_010_000);
wait_for_consumed($node, $broker, 'events');
sql($node, "ALTER SYSTEM SET pg_eddy.catch_up_rate = 1000; SELECT pg_reload_conf()");
$gate->query_safe('SELECT pg_advisory_unlock(1)');
$gate->quit;
wait_until($node, q{SELECT rows > 0 AND remaining > 0 FROM eddy.view_starts WHERE view::text = 'with_history' AND start = 'query'}, 'the messages are read again');
is(stop_process($creating), 0, 'the view is created, with the history and the rows of users');
$pid = sql($node, q{SELECT pid FROM eddy._workers() WHERE kind = 'catch-up'});
kill 'KILL', $pid;
wait_until($node, qq{SELECT count(*) = 1 FROM eddy._workers() WHERE kind = 'catch-up' AND pid <> $pid}, 'its worker is killed, and starts again');
produce('events', 1_010_001 .. 1_010_400);
sql($node, 'INSERT INTO events SELECT -79 FROM generate_series(1, 5)');
sql($node, "ALTER SYSTEM RESET pg_eddy.catch_up_rate; SELECT pg_reload_conf()");
wait_until_filled('with_history');
produce('events', 1_010_401 .. 1_010_500);
wait_for_consumed($node, $broker, 'events');
same_groups('with_history', 'SELECT id FROM archive UNION ALL SELECT generate_series(1000001::bigint, 1010500)
	UNION ALL SELECT -39 FROM generate_series(1, 10) UNION ALL SELECT -79 FROM generate_series(1, 5)',
	'the history, each later message, and each later row of a user is counted once');
sql($node, "SELECT eddy.create_continuous_view('only_history', '$groups', start => 'query', history => 'TABLE archive')");
is(sql($node, q{SELECT state FROM eddy.continuous_views WHERE view = 'only_history'::regclass}), 'running', 'without messages meanwhile, it is complete at once');
same_groups('only_history', 'SELECT id FROM archive', 'with the history');

# a query that replaces another one gets both, too, before it takes the place of the old one
my $third = 'SELECT id % 40 AS g, count(*) AS n, sum(id) AS ids FROM events WHERE id % 3 = 0 GROUP BY 1';
my $rows = 'SELECT id FROM archive UNION ALL SELECT generate_series(2000001::bigint, 2011000) UNION ALL SELECT -39 FROM generate_series(1, 20)';
$gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(1)');
$creating = start_process(PostgreSQL::Test::Utils::tempdir() . '/replacing', 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
	"SELECT eddy.replace_continuous_view('only_history', '$third', start => 'query', history => 'SELECT id FROM archive WHERE gate()')");
wait_until($node, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'the history is being counted again');
sql($node, q{SET lock_timeout = '20 s'; INSERT INTO events SELECT -39 FROM generate_series(1, 10)});
produce('events', 2_000_001 .. 2_010_000);
wait_for_consumed($node, $broker, 'events');
sql($node, "ALTER SYSTEM SET pg_eddy.catch_up_rate = 1000; SELECT pg_reload_conf()");
$gate->query_safe('SELECT pg_advisory_unlock(1)');
$gate->quit;
is(stop_process($creating), 0, 'the query is being replaced');
wait_until($node, q{SELECT rows > 0 AND remaining > 0 FROM eddy.view_starts WHERE start = 'query'}, 'the messages are read again, for the new query');
same_groups('only_history', $rows =~ s/2011000/2010000/r =~ s/1, 20/1, 10/r, 'until then the view has the results of the old one');
$pid = sql($node, q{SELECT pid FROM eddy._workers() WHERE kind = 'catch-up'});
kill 'KILL', $pid;
wait_until($node, qq{SELECT count(*) = 1 FROM eddy._workers() WHERE kind = 'catch-up' AND pid <> $pid}, 'its worker is killed, too');
sql($node, 'INSERT INTO events SELECT -39 FROM generate_series(1, 10)');
sql($node, "ALTER SYSTEM RESET pg_eddy.catch_up_rate; SELECT pg_reload_conf()");
wait_until($node, 'SELECT NOT EXISTS (SELECT FROM eddy.view_starts)', 'the new query takes the place of the old one');
produce('events', 2_010_001 .. 2_011_000);
wait_for_consumed($node, $broker, 'events');
same_groups('only_history', "SELECT id FROM ($rows) r (id) WHERE id % 3 = 0", 'with the history, and each later message and row');
# without messages meanwhile, its worker has nothing to read
sql($node, "SELECT eddy.replace_continuous_view('only_history', '$groups', start => 'query', history => 'TABLE archive')");
wait_until($node, 'SELECT NOT EXISTS (SELECT FROM eddy.view_starts)', 'it is replaced again');
same_groups('only_history', 'SELECT id FROM archive', 'by the history alone');

#
# What is refused, and views that are dropped or suspended while they are filled
#

sql($node, q{CREATE UNLOGGED TABLE alone (id bigint); SELECT eddy.create_stream('alone')});
($ret, $out, $err) = $node->psql('postgres',
	q{SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM alone', start => 'earliest')});
like($err, qr/stream "alone" has no sources/, 'without a source there is nothing to read');
sql($node, q{CREATE UNLOGGED TABLE alone2 (id bigint); SELECT eddy.create_stream('alone2')});
($ret, $out, $err) = $node->psql('postgres',
	q{SELECT eddy.create_continuous_view('v', 'SELECT id FROM alone UNION ALL SELECT id FROM alone2', start => 'earliest')});
like($err, qr/no stream of continuous view "v" has sources/, 'nor of several streams');
($ret, $out, $err) = $node->psql('postgres',
	q{SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM events', start => 'earlist')});
like($err, qr/Valid values are "earliest", "now", "query", "staged" and timestamps/, 'a misspelt start is refused');
sql($node, "ALTER SYSTEM SET pg_eddy.catch_up_rate = 1000; SELECT pg_reload_conf()");
sql($node, "SELECT eddy.create_continuous_view('dropped', '$groups', start => 'earliest')");
wait_until($node, q{SELECT rows > 0 FROM eddy.view_starts}, 'filling begins');
sql($node, 'DROP VIEW dropped');
wait_until($node, q{SELECT count(*) = 0 FROM eddy._workers() WHERE kind = 'catch-up'}, 'the worker of a dropped view ends');
sql($node, "SELECT eddy.create_continuous_view('paused', '$groups', start => 'earliest')");
wait_until($node, q{SELECT rows > 0 FROM eddy.view_starts}, 'filling begins');
sql($node, q{SELECT eddy.pause('paused')});
wait_until($node, q{SELECT count(*) = 0 FROM eddy._workers() WHERE kind = 'catch-up'}, 'the worker of a suspended view ends');
is(sql($node, q{SELECT state FROM eddy.continuous_views WHERE view = 'paused'::regclass}), 'suspended', 'it is suspended');

$node->stop;
$broker->stop;
done_testing();
