# 051_shards.pl: a source whose partitions are consumed by several workers.
#
# Each worker has transactions and offsets of its own. The results are those of a single worker, also if
# workers are terminated or killed. A stop of one worker stops the source.

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
	'shards',
	"pg_eddy.batch_rows = 500",
	"pg_eddy.restart_delay_max = '1s'",
	"max_worker_processes = 32",
	"restart_after_crash = on");
attach_server($node, $broker->address);

my $groups = 40;

# Produces the messages {"id": n} with the given numbers. A group has messages in all partitions.
sub produce
{
	my ($topic, $partitions, @ids) = @_;

	$broker->produce($topic, map { [ $_ % $partitions, undef, "{\"id\": $_}" ] } @ids);
	return;
}

sub new_source
{
	my ($name, $workers, $more) = @_;

	sql($node, "CREATE UNLOGGED TABLE $name (id bigint); SELECT eddy.create_stream('$name')");
	sql($node, qq{SELECT eddy.create_continuous_view('${name}_groups',
		'SELECT id / 7 % $groups AS g, count(*) AS n, sum(id) AS ids, max(id) AS top FROM $name GROUP BY 1')});
	sql($node, qq{SELECT eddy.attach_kafka('$name', server => 'kafka', topic => '$name',
		options => '{"workers": $workers}' @{[ $more // '' ]})});
	return;
}

# The view has each of the messages 1 .. $last once.
sub all_counted
{
	my ($name, $last, $what) = @_;

	wait_for_consumed($node, $broker, $name);
	is( sql($node, qq{
SELECT count(*) FROM (
	(TABLE ${name}_groups EXCEPT ALL
	 SELECT id / 7 % $groups, count(*), sum(id), max(id) FROM generate_series(1::bigint, $last) id GROUP BY 1)
	UNION ALL
	(SELECT id / 7 % $groups, count(*), sum(id), max(id) FROM generate_series(1::bigint, $last) id GROUP BY 1
	 EXCEPT ALL TABLE ${name}_groups)) d}),
		'0', $what);
	return;
}

# The process that consumes as worker $number of a source, which is waited for.
sub pid_of
{
	my ($topic, $number) = @_;
	my $query = qq{SELECT w.pid FROM eddy._workers() w JOIN eddy.sources s ON s.source = w.id
		WHERE w.kind = 'source' AND s.topic = '$topic' AND w.shard = $number AND w.pid IS NOT NULL};

	wait_until($node, "SELECT EXISTS ($query)", "worker $number of \"$topic\" runs");
	return sql($node, $query);
}

#
# Three workers share eight partitions
#

my $last = 30_000;
$broker->create_topic('shared', 8);
produce('shared', 8, 1 .. $last);
new_source('shared', 3);
all_counted('shared', $last, 'three workers count each message once');
wait_for_state($node, 'shared', 'running');
is(sql($node, q{SELECT cardinality(pids), pids[1] = pid FROM eddy.sources WHERE topic = 'shared'}),
	'3|t', 'eddy.sources shows all of them');
is( sql($node, q{SELECT count(*), sum(next_offset), sum(rows) FROM eddy.partitions WHERE topic = 'shared'}),
	"8|$last|$last", 'each partition is consumed completely');
is( sql($node, q{SELECT string_agg(shard || ' ' || state, ',' ORDER BY shard) FROM eddy._source_status}),
	'0 running,1 running,2 running', 'each worker has a state of its own');

# Each worker writes its own partitions only: rows of a transaction come from partitions of one worker
sql($node, q{CREATE UNLOGGED TABLE traced (id bigint, part integer); SELECT eddy.create_stream('traced')});
$broker->create_topic('traced', 8);
produce('traced', 8, 1 .. 4000);
sql($node, q{SELECT eddy.attach_kafka('traced', server => 'kafka', topic => 'traced',
	mapping => '{"part": "partition"}', options => '{"workers": 3}')});
wait_for_consumed($node, $broker, 'traced');
is( sql($node, q{
SELECT count(*) FROM (SELECT xmin::text FROM traced GROUP BY 1 HAVING count(DISTINCT part % 3) > 1) t}),
	'0', 'a batch has partitions of one worker');
is( sql($node, q{SELECT count(DISTINCT part), count(*), count(DISTINCT id) FROM traced}),
	'8|4000|4000', 'all partitions are consumed');
sql($node, q{SELECT eddy.detach_kafka('traced', 'traced')});

#
# Workers are terminated and killed while messages arrive
#

foreach my $number (0 .. 2)
{
	my $pid = pid_of('shared', $number);

	produce('shared', 8, $last + 1 .. $last + 3_000);
	is(sql($node, "SELECT pg_terminate_backend($pid, 20000)"), 't', "worker $number is terminated");
	$last += 3_000;
	produce('shared', 8, $last + 1 .. $last + 3_000);
	$last += 3_000;
	isnt(pid_of('shared', $number), $pid, "worker $number is started again");
}
all_counted('shared', $last, 'each message is counted once after terminations');

foreach my $number (0 .. 2)
{
	my $pid = pid_of('shared', $number);
	my $server = sql($node, q{SELECT pg_postmaster_start_time(), (SELECT min(backend_start) FROM pg_stat_activity
		WHERE backend_type = 'checkpointer')});

	produce('shared', 8, $last + 1 .. $last + 6_000);
	$last += 6_000;
	kill 'KILL', $pid;
	# the server restarts, and psql may fail meanwhile
	ok( $node->poll_query_until('postgres',
			qq{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)
				AND (SELECT min(backend_start) FROM pg_stat_activity WHERE backend_type = 'checkpointer')
					> '@{[ (split /\|/, $server)[1] ]}'}),
		"the server restarts after worker $number was killed");
}
all_counted('shared', $last, 'each message is counted once after crashes');
is(sql($node, q{SELECT count(*) FROM eddy.dead_letters}), '0', 'no message was rejected');
wait_for_state($node, 'shared', 'running');

#
# A source that starts at the end, and partitions that are added
#

$broker->create_topic('tail', 5);
produce('tail', 5, map { -$_ } 1 .. 1000);
new_source('tail', 3, q{, start => 'latest'});
wait_until($node, q{SELECT cardinality(pids) = 3 AND state = 'running' FROM eddy.sources WHERE topic = 'tail'},
	'three workers run');
produce('tail', 5, 1 .. 1000);
all_counted('tail', 1000, 'all workers start at the end');
$broker->tool('add-partitions', [ '-t', 'tail', '-p', 9 ]);
produce('tail', 9, 1001 .. 2000);
all_counted('tail', 2000, 'added partitions are read from their beginning');

#
# A stop of one worker stops the source
#

$broker->create_topic('strict', 4);
new_source('strict', 4, q{, on_error => 'stop'});
produce('strict', 4, 1 .. 400);
all_counted('strict', 400, 'four workers consume a partition each');
$broker->produce('strict', [ 2, undef, 'not JSON' ]);
like(wait_for_state($node, 'strict', 'stopped', '.'), qr/partition 2, offset 100/, 'one worker stops the source');
wait_until($node, q{SELECT pids IS NULL FROM eddy.sources WHERE topic = 'strict'}, 'all its workers end');
produce('strict', 4, 401 .. 500);
sql($node, q{SELECT eddy.seek('strict', 'strict', '{"2": 101}')});
wait_for_state($node, 'strict', 'running');
all_counted('strict', 500, 'the source continues after eddy.seek');

#
# Windows that close while several workers add rows, and one of them is killed
#

$broker->create_topic('windows', 6);
sql($node, q{
CREATE UNLOGGED TABLE windows (id bigint, ts timestamptz);
SELECT eddy.create_stream('windows', event_time => 'ts', delay => '1 s');
SELECT eddy.create_continuous_view('windows_final', 'SELECT id % 5 AS k, w.window_end, count(*) AS n, sum(id) AS ids
	FROM windows, eddy.tumble(ts, ''5 s'') AS w GROUP BY 1, w.window_end', emit => 'on_close', late => 'keep');
SELECT pg_create_logical_replication_slot('windows', 'pg_eddy_cdc');
SELECT eddy.attach_kafka('windows', server => 'kafka', topic => 'windows', options => '{"workers": 3}');
CREATE FUNCTION time_of(id bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN timestamptz '2026-01-01 00:00Z' + id * interval '20 ms';
});

foreach my $burst (0 .. 5)
{
	$broker->produce('windows', map { [ $_ % 6, undef, sprintf '{"id": %d, "ts": "2026-01-01T00:%02d:%06.3fZ"}', $_,
				int($_ / 3000), ($_ % 3000) / 50 ] } $burst * 1000 + 1 .. $burst * 1000 + 1000);
	kill 'KILL', pid_of('windows', $burst % 3) if $burst == 2;
}
wait_for_consumed($node, $broker, 'windows');
my $final = q{SELECT id % 5 AS k, w.window_end, count(*) AS n, sum(id) AS ids
	FROM generate_series(1::bigint, 6000) AS id, eddy.tumble(time_of(id), '5 s') AS w
	WHERE w.window_end <= eddy.watermark('windows')
		AND id NOT IN (SELECT (row_data ->> 'id')::bigint FROM eddy.late_rows WHERE view = 'windows_final'::regclass)
	GROUP BY 1, w.window_end};
wait_until($node, "SELECT count(*) = 0 FROM (@{[ difference('TABLE windows_final', $final) ]}) d", 'the windows are closed');
cmp_ok(sql($node, 'SELECT count(*) FROM windows_final'), '>=', 5 * 22, 'final rows are those of the SELECT over the rows that are not late');
wait_for_flush($node);
is( sql($node, q{SELECT count(*), count(DISTINCT data::json ->> 'key') FROM pg_logical_slot_get_changes('windows', NULL, NULL,
	'batch-bytes', '0', 'views', 'public.windows_final')}),
	sql($node, 'SELECT count(*), count(*) FROM windows_final'), 'each was sent once');
sql($node, q{SELECT pg_drop_replication_slot('windows'); SELECT eddy.detach_kafka('windows', 'windows')});

#
# More workers than partitions, pause and detach
#

$broker->create_topic('few', 2);
produce('few', 2, 1 .. 100);
new_source('few', 4);
all_counted('few', 100, 'a source can have more workers than partitions');
wait_for_state($node, 'few', 'running');
sql($node, q{SELECT eddy.pause('few')});
wait_until($node, q{SELECT pids IS NULL FROM eddy.sources WHERE topic = 'few'}, 'a pause ends all workers');
produce('few', 2, 101 .. 200);
sql($node, q{SELECT eddy.resume('few')});
all_counted('few', 200, 'resume starts them again');
sql($node, q{SELECT eddy.detach_kafka('few', 'few')});
wait_until($node, q{SELECT count(*) = 0 FROM eddy._workers() w
	WHERE w.kind = 'source' AND w.pid IS NOT NULL AND NOT EXISTS (SELECT FROM eddy._source s WHERE s.source = w.id)},
	'detaching ends all workers');
is(sql($node, q{SELECT (SELECT count(*) FROM eddy._attempt a WHERE NOT EXISTS (SELECT FROM eddy._source s WHERE s.source = a.source)),
	(SELECT count(*) FROM eddy._source_status t WHERE NOT EXISTS (SELECT FROM eddy._source s WHERE s.source = t.source))}),
	'0|0', 'detaching removes what is known of them');

#
# Another number of workers, while messages arrive
#

$last = 2000;
sql($node, q{SELECT eddy.alter_stream('tail', retention => '0')});
foreach my $workers (1, 5, 2)
{
	my $first = $last + 1;

	produce('tail', 9, $first .. $first + 1999);
	sql($node, qq{SELECT eddy.alter_kafka('tail', 'tail', options => '{"workers": $workers}')});
	produce('tail', 9, $first + 2000 .. $first + 2999);
	$last += 3000;
	all_counted('tail', $last, "each message is counted once with $workers workers");
	wait_until($node, qq{SELECT cardinality(pids) = $workers AND state = 'running' FROM eddy.sources WHERE topic = 'tail'},
		"$workers workers run");
}
is( sql($node, q{SELECT count(*) FROM eddy._source_status t JOIN eddy.sources s USING (source) WHERE s.topic = 'tail'}),
	'2', 'nothing remains of the others');
wait_until($node, q{SELECT segments = 0 FROM eddy.streams WHERE stream = 'tail'::regclass}, 'segments are dropped that the stream no longer needs');
is(sql($node, q{SELECT count(*) FROM tail}), '0', 'rows are not stored any more');
sql($node, q{SELECT eddy.alter_stream('tail', retention => '1 hour')});
produce('tail', 9, $last + 1 .. $last + 1000);
$last += 1000;
all_counted('tail', $last, 'each message is counted once while rows are stored again');
is(sql($node, q{SELECT count(*) FROM tail}), '1000', 'rows are stored again');

$node->stop;
$broker->stop;
done_testing();
