# 044_time_limit.pl: a batch that exceeds pg_eddy.batch_time_limit is cancelled and retried in smaller
# parts, until the message that takes too long becomes a dead letter of the view in which it does. So are deltas
# that are merged later, and groups of windows that are closed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = start_broker();
my $node = new_node('time_limit', "pg_eddy.batch_time_limit = '1s'",
	"pg_eddy.restart_delay_max = '1s'");
attach_server($node, $broker->address);

# Runs indefinitely for one value, and returns immediately for others.
sql($node, q{
CREATE FUNCTION slow(value bigint, endless bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	WHILE value = endless LOOP END LOOP;
	RETURN value;
END $$;
CREATE FUNCTION stubborn(value bigint, endless bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	WHILE value = endless LOOP
		BEGIN
			LOOP END LOOP;
		EXCEPTION WHEN query_canceled THEN NULL;
		END;
	END LOOP;
	RETURN value;
END $$;
});

sub new_stream
{
	my ($name, $columns, $on_error, $views) = @_;

	$broker->create_topic($name);
	sql($node, "CREATE UNLOGGED TABLE $name ($columns); SELECT eddy.create_stream('$name')");
	sql($node, "SELECT eddy.create_continuous_view('${name}_$_', \$\$$views->{$_}\$\$)")
	  foreach sort keys %$views;
	$broker->produce($name, map { [ 0, "k$_", "{\"id\": $_}" ] } 1 .. 200);
	sql($node,
		qq{SELECT eddy.attach_kafka('$name', server => 'kafka', topic => '$name',
			on_error => '$on_error')}
	);
	return;
}

#
# In a view: the message is that view's dead letter
#

new_stream(
	'viewed',
	'id bigint',
	'dead_letter',
	{
		plain => 'SELECT count(*) AS n, sum(id) AS ids FROM viewed',
		slow => 'SELECT count(*) AS n, sum(slow(id, 77)) AS ids FROM viewed',
		slower => 'SELECT count(*) AS n, sum(slow(id, 78)) AS ids FROM viewed'
	});
my $error = wait_for_state($node, 'viewed', 'waiting', 'batch_time_limit');
like($error, qr/topic "viewed", partition 0, offset \d+: .* in a batch of \d+ messages/,
	'the source shows that the batch takes too long');
wait_for_consumed($node, $broker, 'viewed');
is(sql($node, 'SELECT * FROM viewed_plain'), '200|20100', 'the other view counts all rows');
is( sql($node, 'SELECT * FROM viewed_slow'),
	'199|' . (20100 - 77),
	'the slow view counts all rows but one');
is( sql($node, 'SELECT * FROM viewed_slower'),
	'199|' . (20100 - 78),
	'the other slow view counts all rows but another one');
is( sql($node,
		q{SELECT view, "offset", convert_from(key, 'UTF8'), sqlstate, error FROM eddy.dead_letters
			WHERE stream = 'viewed'::regclass ORDER BY "offset"}),
	join("\n",
		map { "$_|57014|processing exceeded \"pg_eddy.batch_time_limit\" (1000 ms)" }
		  'viewed_slow|76|k77', 'viewed_slower|77|k78'),
	'the messages are dead letters of these views, with the reason');
wait_for_state($node, 'viewed', 'running');

#
# In a view that is filled from Kafka
#

my $letters = sql($node, 'SELECT count(*) FROM eddy.dead_letters');
sql($node, q{SELECT eddy.create_continuous_view('viewed_filled',
	'SELECT count(*) AS n, sum(slow(id, 79)) AS ids FROM viewed', start => 'earliest')});
wait_until($node, 'SELECT NOT EXISTS (SELECT FROM eddy.view_starts)', 'the view is filled nevertheless');
is(sql($node, 'SELECT * FROM viewed_filled'), '199|' . (20100 - 79), 'it counts all rows but one');
is(sql($node, qq{SELECT view, "offset", sqlstate, error FROM eddy.dead_letters ORDER BY id OFFSET $letters}),
	'viewed_filled|78|57014|processing exceeded "pg_eddy.batch_time_limit" (1000 ms)', 'which is its dead letter');

#
# In the stream: the message is rejected by the stream, according to the policy of the source
#

foreach my $policy ('dead_letter', 'skip', 'stop')
{
	my $name = "checked_$policy";

	new_stream($name, 'id bigint CHECK (slow(id, 55) > 0)',
		$policy, { plain => "SELECT count(*) AS n, sum(id) AS ids FROM $name" });
	if ($policy eq 'stop')
	{
		$error = wait_for_state($node, $name, 'stopped');
		like($error, qr/topic "$name", partition 0, offset 54: .*batch_time_limit/,
			'stop: the source stops at the message');
		is(sql($node, "SELECT * FROM ${name}_plain"), '54|1485',
			'stop: earlier messages are counted');
		next;
	}
	wait_for_consumed($node, $broker, $name);
	is( sql($node, "SELECT * FROM ${name}_plain"),
		'199|' . (20100 - 55),
		"$policy: the view counts all rows but one");
	is( sql($node, "SELECT rows, rejected, skipped FROM eddy.partitions WHERE topic = '$name'"),
		$policy eq 'skip' ? '200|0|1' : '200|1|0',
		"$policy: the message is counted");
	is( sql($node,
			qq{SELECT "offset", sqlstate FROM eddy.dead_letters WHERE stream = '$name'::regclass}),
		$policy eq 'skip' ? '' : '54|57014',
		"$policy: dead letters");
}

#
# Waiting for another transaction does not count as time of the batch
#

$broker->create_topic('waits');
sql($node, q{
CREATE UNLOGGED TABLE waits (id bigint);
SELECT eddy.create_stream('waits');
SELECT eddy.create_continuous_view('waits_sum', 'SELECT count(*) AS n, sum(id) AS ids FROM waits');
SELECT eddy.attach_kafka('waits', server => 'kafka', topic => 'waits');
});
$broker->produce('waits', [ 0, undef, '{"id": 1}' ]);
wait_for_consumed($node, $broker, 'waits');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe('BEGIN; INSERT INTO waits VALUES (2)');
$broker->produce('waits', [ 0, undef, '{"id": 3}' ]);
wait_until(
	$node,
	q{SELECT count(*) = 1 FROM pg_stat_activity a JOIN eddy.sources s ON s.pid = a.pid
		WHERE s.topic = 'waits' AND a.wait_event_type = 'Lock'
			AND a.xact_start < clock_timestamp() - interval '3 s'},
	'the worker waits for the session, three times as long as the limit');
$session->query_safe('COMMIT');
$session->quit;
wait_for_consumed($node, $broker, 'waits');
is(sql($node, 'SELECT * FROM waits_sum'), '3|6', 'the waiting batch is applied');
is(sql($node, q{SELECT count(*) FROM eddy.dead_letters WHERE stream = 'waits'::regclass}),
	'0', 'no message is rejected');

#
# A function that catches the cancellation: its process is terminated
#

new_stream('stubborn', 'id bigint', 'dead_letter',
	{ sum => 'SELECT count(*) AS n, sum(stubborn(id, 99)) AS ids FROM stubborn' });
wait_for_consumed($node, $broker, 'stubborn');
is( sql($node, 'SELECT * FROM stubborn_sum'),
	'199|' . (20100 - 99),
	'a function that catches the cancellation: all rows but one are counted');
is( sql($node,
		q{SELECT "offset", error FROM eddy.dead_letters WHERE stream = 'stubborn'::regclass}),
	'98|crashed the worker in 2 attempts',
	'a function that catches the cancellation: that row is a dead letter');

#
# DDL waits at most for one time limit, even if all messages take too long
#

sql($node, q{SELECT eddy.create_continuous_view('waits_strict',
	'SELECT sum(slow(id, 4)) AS s FROM waits', on_error => 'stop')});
$broker->produce('waits', [ 0, undef, '{"id": 4}' ]);
$error = wait_for_state($node, 'waits', 'waiting', 'waits_strict');
like(
	$error,
	qr/offset 2: continuous view "waits_strict" failed on a message: .*batch_time_limit/,
	'a view with on_error => stop keeps the source waiting, with the reason');
my $start = time();
sql($node, q{SELECT eddy.pause('waits'); SELECT eddy.seek('waits', 'waits', '{"0": 3}')});
sql($node, q{DROP VIEW waits_strict});
cmp_ok(time() - $start, '<', 20, 'pause, seek and DROP get their turn');
sql($node, q{SELECT eddy.resume('waits')});
wait_for_state($node, 'waits', 'running');

# The same in one transaction: the worker is not restarted, and receives no more messages.
sql($node, q{SELECT eddy.create_continuous_view('waits_strict',
	'SELECT sum(slow(id, 4)) AS s FROM waits', on_error => 'stop')});
$broker->produce('waits', [ 0, undef, '{"id": 4}' ]);
wait_for_state($node, 'waits', 'waiting', 'waits_strict');
sql($node, q{
BEGIN;
SELECT eddy.pause('waits');
SELECT eddy.seek('waits', 'waits', '{"0": 4}');
DROP VIEW waits_strict;
SELECT eddy.resume('waits');
COMMIT});
wait_for_state($node, 'waits', 'running');

#
# Deltas that are merged later: the database worker has more to do than to wait for one of them
#

my $letters_of = q{SELECT count(*), min(sqlstate), min(substring(error from 'processing exceeded.*'))
	FROM eddy.dead_letters WHERE view = };
my $too_long = '57014|processing exceeded "pg_eddy.batch_time_limit" (1000 ms)';

sql($node, q{
CREATE UNLOGGED TABLE merged (k int, id bigint);
CREATE UNLOGGED TABLE other (at timestamptz);
SELECT eddy.create_stream('merged');
SELECT eddy.create_stream('other', event_time => 'at');
SELECT eddy.create_continuous_view('merged_slow',
	'SELECT k, slow(sum(id)::bigint, 77) AS ids FROM merged GROUP BY k', maintenance => 'deferred');
SELECT eddy.create_continuous_view('other_closed', $$SELECT w.window_end, count(*) AS n
	FROM other, eddy.tumble(at, '1 minute') AS w GROUP BY w.window_end$$, emit => 'on_close');
INSERT INTO merged SELECT i, i FROM generate_series(1, 200) i;
});
# its row is in a window that it keeps open, and does not close itself
$session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe(q{BEGIN; INSERT INTO other VALUES ('2026-01-01')});
sql($node, q{INSERT INTO other VALUES ('2026-01-01 00:05'), ('2026-01-02')});
$session->query_safe('COMMIT');
$session->quit;
wait_until($node, q{SELECT count(*) > 0 FROM eddy.dead_letters WHERE view = 'merged_slow'::regclass},
	'a delta takes too long');
is(sql($node, "$letters_of 'merged_slow'::regclass"), "1|$too_long", 'it is a dead letter, with the reason');
is(sql($node, q{SELECT convert_from(key, 'UTF8')::json ->> 'k' FROM eddy.dead_letters
		WHERE view = 'merged_slow'::regclass}), '77', 'it is the one that takes too long');
wait_until($node, 'SELECT count(*) = 199 AND sum(ids) = 20100 - 77 FROM merged_slow', 'the others are merged');
wait_until($node, 'SELECT count(*) = 2 FROM other_closed', 'windows of another stream are closed');

# A function that catches the cancel ends the process; the next one suspends the view.
sql($node, q{
SELECT eddy.create_continuous_view('merged_stubborn',
	'SELECT k, stubborn(sum(id)::bigint, 1000) AS ids FROM merged GROUP BY k', maintenance => 'deferred');
SELECT eddy.create_continuous_view('merged_others', 'SELECT count(*) AS n FROM merged',
	maintenance => 'deferred');
INSERT INTO merged VALUES (1000, 1000)});
wait_until($node, q{SELECT error ~ 'batch_time_limit' FROM eddy.continuous_views
	WHERE view = 'merged_stubborn'::regclass AND state = 'suspended'}, 'a view that cannot be cancelled is suspended');
wait_until($node, 'SELECT count(*) = 0 FROM eddy._merged_others_deltas', 'deltas of other views are merged');

#
# Groups of windows that are closed, and rows of closed windows
#

sql($node, q{
CREATE UNLOGGED TABLE closed (at timestamptz, k text, id bigint);
SELECT eddy.create_stream('closed', event_time => 'at');
SELECT eddy.create_continuous_view('closed_panes', $$SELECT w.window_end, k, slow(sum(id)::bigint, 77) AS ids
	FROM closed, eddy.hop(at, '10 seconds', '30 seconds') AS w GROUP BY w.window_end, k$$, emit => 'on_close');
SELECT eddy.create_continuous_view('closed_plain', $$SELECT w.window_end, k, sum(id)::bigint AS ids
	FROM closed, eddy.tumble(at, '30 seconds') AS w GROUP BY w.window_end, k$$, emit => 'on_close');
SELECT eddy.create_continuous_view('closed_child', 'SELECT count(*) AS n, sum(slow(ids, 77)) AS ids FROM closed_plain');
INSERT INTO closed VALUES ('2026-01-01 00:00:05', 'a', 70), ('2026-01-01 00:00:05', 'b', 1);
INSERT INTO closed VALUES ('2026-01-01 00:00:15', 'a', 7), ('2026-01-01 00:00:15', 'c', 2);
SET statement_timeout = '60s';
INSERT INTO closed VALUES ('2026-01-01 00:10', 'd', 1);
});
wait_until($node, q{SELECT closed_until = '2026-01-01 00:10' FROM eddy.continuous_views WHERE view = 'closed_panes'::regclass},
	'the windows are closed');
is(sql($node, q{SELECT extract(second FROM window_end)::int, string_agg(k || ids, ',' ORDER BY k) FROM closed_panes GROUP BY 1
		ORDER BY 1}), "10|a70,b1\n20|b1,c2\n30|b1,c2\n40|a7,c2", 'groups that take too long are left out');
is(sql($node, "$letters_of 'closed_panes'::regclass"), "2|$too_long", 'they are dead letters, with the reason');
is(sql($node, 'SELECT * FROM closed_child'), '2|3', 'a row of a closed window that takes too long is left out');
is(sql($node, "$letters_of 'closed_child'::regclass"), "1|$too_long", 'it is a dead letter, with the reason');

done_testing();
