# 045_crashes.pl: a message that crashes the worker, and thereby the server, is rejected.
#
# A function in C aborts for a certain value. The message is found by reducing the size of batches, and
# handled according to the policy of the source. All other messages are counted exactly once, and other
# workers are not affected.

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
	'crashes',
	"pg_eddy.restart_delay_max = '2s'",
	"pg_eddy.batch_rows = 1000",
	"max_worker_processes = 64");
attach_server($node, $broker->address);

# The library is compiled for the server that is tested.
my $library = PostgreSQL::Test::Utils::tempdir() . '/crash.so';
system('cc', '-shared', '-fPIC', '-O1', '-I' . $node->config_data('--includedir-server'),
	'-o', $library, "$EddyTest::root/test/crash/crash.c") == 0
  or BAIL_OUT('could not compile crash.c');
sql($node, qq{
CREATE FUNCTION crash_if(bigint, bigint) RETURNS bigint LANGUAGE c IMMUTABLE STRICT
	AS '$library', 'crash_if';
CREATE FUNCTION fatal_if(bigint, bigint) RETURNS bigint LANGUAGE c IMMUTABLE STRICT
	AS '$library', 'fatal_if';
CREATE FUNCTION nap(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
	'BEGIN PERFORM pg_sleep(0.02); RETURN \$1; END';
});

# Returns the number of crashes of the server so far, or of matches of a pattern in the log.
sub crashes
{
	my ($pattern) = @_;

	$pattern //= qr/terminated by signal 6/;
	my $count = () = slurp_file($node->logfile) =~ /$pattern/g;
	return $count;
}

# A stream with $count messages; the view's expression and the constraint can crash.
sub new_stream
{
	my ($name, $count, $on_error, $expression, $check, $partitions) = @_;

	$broker->create_topic($name, $partitions // 1);
	$broker->produce($name,
		map { [ $_ % ($partitions // 1), "k$_", "{\"id\": $_}", "number=$_" ] } 1 .. $count);
	sql($node,
		"CREATE UNLOGGED TABLE $name (id bigint, CHECK ($check)); SELECT eddy.create_stream('$name')");
	sql($node,
		qq{SELECT eddy.create_continuous_view('${name}_sum',
			'SELECT count(*) AS n, sum($expression) AS ids FROM $name')});
	sql($node,
		qq{SELECT eddy.attach_kafka('$name', server => 'kafka', topic => '$name',
			on_error => '$on_error')});
	return;
}

#
# One crashing message among others, concurrently with another busy source
#

new_stream('innocent', 600, 'stop', 'nap(id)', 'true');
new_stream('poisoned', 3000, 'dead_letter', 'crash_if(id, 1500)', 'true', 2);
my $error = wait_for_state($node, 'poisoned', 'waiting',
	'recovering from a crash of the worker, attempt \d+: topic "poisoned", partition \d, offsets \d+ to \d+');
like($error, qr/recovering/, 'the source shows the crash from which it recovers');
wait_for_consumed($node, $broker, 'poisoned');
is(sql($node, 'SELECT * FROM poisoned_sum'),
	'2999|' . (3000 * 3001 / 2 - 1500), 'all messages but the crashing one are counted once');
is( sql($node,
		q{SELECT view, partition, "offset", convert_from(key, 'UTF8'), headers::text,
				convert_from(payload, 'UTF8'), sqlstate, error
			FROM eddy.dead_letters WHERE stream = 'poisoned'::regclass}),
	'|0|749|k1500|[["number", "1500"]]|{"id": 1500}|57P02|crashed the worker in 2 attempts',
	'the crashing message is a dead letter');
is( sql($node,
		q{SELECT sum(rows), sum(rejected), sum(skipped) FROM eddy.partitions WHERE topic = 'poisoned'}),
	'3000|1|0',
	'the crashing message is counted as rejected');
cmp_ok(crashes(), '<=', 7, 'few crashes are needed');
wait_for_state($node, 'poisoned', 'running');
wait_for_consumed($node, $broker, 'innocent');
is(sql($node, 'SELECT * FROM innocent_sum'), '600|180300', 'the other source lost no message');
wait_for_state($node, 'innocent', 'running');
is( sql($node,
		q{SELECT crashes, current, failed, caution FROM eddy._attempt ORDER BY source}),
	"0|||\n0|||",
	'the source is no longer in careful mode');

# later messages are consumed normally
my $before = crashes();
$broker->produce('poisoned', [ 0, undef, '{"id": 5}' ]);
wait_for_consumed($node, $broker, 'poisoned');
is(sql($node, 'SELECT n FROM poisoned_sum'), '3000', 'the source continues');
is(crashes(), $before, 'the source does not crash again');

#
# Two consecutive crashing messages; in a constraint; counted by the policy "skip"
#

$before = crashes();
new_stream('skipping', 300, 'skip', 'id',
	'crash_if(id, 100) > 0 AND crash_if(id, 101) > 0');
wait_for_consumed($node, $broker, 'skipping');
is( sql($node, 'SELECT * FROM skipping_sum'),
	'298|' . (300 * 301 / 2 - 201),
	'skip: all messages but the two are counted once');
is( sql($node,
		q{SELECT rows, rejected, skipped FROM eddy.partitions WHERE topic = 'skipping'}),
	'300|0|2',
	'skip: the two are counted as skipped');
is(sql($node, q{SELECT count(*) FROM eddy.dead_letters WHERE stream = 'skipping'::regclass}),
	'0', 'skip: there are no dead letters');
cmp_ok(crashes() - $before, '<=', 9, 'skip: few crashes are needed');

#
# The policy "stop"
#

new_stream('stopping', 20, 'stop', 'crash_if(id, 10)', 'true');
$error = wait_for_state($node, 'stopping', 'stopped');
is( $error,
	'topic "stopping", partition 0, offset 9: crashed the worker in 2 attempts',
	'stop: the source is stopped at the message');
is(sql($node, 'SELECT * FROM stopping_sum'), '9|45', 'stop: earlier messages are counted');
is(sql($node, q{SELECT next_offset FROM eddy.partitions WHERE topic = 'stopping'}),
	'9', 'stop: the offset is that of the message');
sql($node,
	q{CREATE OR REPLACE FUNCTION crash_if(bigint, bigint) RETURNS bigint LANGUAGE sql
		IMMUTABLE STRICT RETURN $1});
sql($node, q{SELECT eddy.resume('stopping')});
wait_for_consumed($node, $broker, 'stopping');
is(sql($node, 'SELECT * FROM stopping_sum'),
	'20|210', 'stop: after the function is repaired, eddy.resume processes the message');
wait_for_state($node, 'stopping', 'running');

#
# A view that is filled from Kafka: the message is a dead letter of that view
#

sql($node, qq{CREATE OR REPLACE FUNCTION crash_if(bigint, bigint) RETURNS bigint LANGUAGE c IMMUTABLE STRICT
	AS '$library', 'crash_if'});
$before = crashes();
my $before_letters = sql($node, 'SELECT count(*) FROM eddy.dead_letters');
sql($node, q{SELECT eddy.create_continuous_view('stopping_past', 'SELECT count(*) AS n, sum(crash_if(id, 15)) AS ids FROM stopping',
	start => 'earliest')});
wait_until($node, q{SELECT error ~ 'recovering from a crash of the worker' FROM eddy.view_starts}, 'filling: the crash is shown');
wait_until($node, 'SELECT NOT EXISTS (SELECT FROM eddy.view_starts)', 'filling: the view is filled');
is(sql($node, 'SELECT * FROM stopping_past'), '19|195', 'filling: all messages but the crashing one are counted once');
is(sql($node, 'SELECT * FROM stopping_sum'), '20|210', 'filling: the other view is not affected');
is(sql($node, qq{SELECT view, "offset", sqlstate, error FROM eddy.dead_letters ORDER BY id OFFSET $before_letters}),
	'stopping_past|14|57P02|crashed the worker in 2 attempts', 'filling: the crashing message is a dead letter of the view');
cmp_ok(crashes() - $before, '<=', 5, 'filling: few crashes are needed');
is(sql($node, 'SELECT count(*) FROM eddy._attempt WHERE view <> 0'), '0', 'filling: nothing of it remains');
$broker->produce('stopping', [ 0, undef, '{"id": 5}' ]);
wait_for_consumed($node, $broker, 'stopping');
is(sql($node, 'SELECT n FROM stopping_past'), '20', 'filling: the view continues');

#
# A worker that is terminated by an error of level FATAL
#

new_stream('fatal', 20, 'dead_letter', 'fatal_if(id, 10)', 'true');
wait_for_consumed($node, $broker, 'fatal');
is(sql($node, 'SELECT * FROM fatal_sum'), '19|200', 'FATAL: all messages but one are counted');
is( sql($node,
		q{SELECT "offset", error FROM eddy.dead_letters WHERE stream = 'fatal'::regclass}),
	'9|crashed the worker in 2 attempts',
	'FATAL: that message is a dead letter');

#
# Killing workers from outside loses no message
#

my $letters = sql($node, 'SELECT count(*) FROM eddy.dead_letters');
new_stream('killed', 1500, 'stop', 'nap(id)', 'true');
foreach my $i (1 .. 4)
{
	my $pid;

	wait_until($node,
		"SELECT count(pid) = 1 FROM eddy.sources WHERE topic = 'killed'", 'the worker runs');
	$pid = sql($node, q{SELECT pid FROM eddy.sources WHERE topic = 'killed'});
	wait_until($node,
		"SELECT xact_start IS NOT NULL FROM pg_stat_activity WHERE pid = $pid",
		'it applies a batch', 20);
	kill('KILL', $pid);
	wait_until($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid", 'the worker has exited');
}
wait_for_consumed($node, $broker, 'killed');
is(sql($node, 'SELECT * FROM killed_sum'), '1500|1125750', 'killed: no message is lost');
is(sql($node, 'SELECT count(*) FROM eddy.dead_letters'),
	$letters, 'killed: no message is rejected');

# A clean or immediate shutdown is not a crash.
$node->restart;
wait_for_state($node, 'killed', 'running');
restart_node($node);
foreach my $topic ('innocent', 'poisoned', 'skipping', 'stopping', 'fatal', 'killed')
{
	wait_for_state($node, $topic, 'running');
}
is(sql($node, 'SELECT sum(crashes) FROM eddy._attempt'),
	'0', 'a clean or immediate shutdown is not counted as a crash');

done_testing();
