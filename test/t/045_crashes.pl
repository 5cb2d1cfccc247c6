# 045_crashes.pl: a message that crashes the worker, and with it the server, ends in quarantine.
#
# The poison is a value on which a function written in C aborts. It is found by smaller and
# smaller batches, and treated by the policy of the source; all other messages are counted exactly once,
# and workers that only happened to be there are not blamed.

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

# Number of crashes of the server so far, or of a pattern in the log.
sub crashes
{
	my ($pattern) = @_;

	$pattern //= qr/terminated by signal 6/;
	my $count = () = slurp_file($node->logfile) =~ /$pattern/g;
	return $count;
}

# A stream with $count messages; the view's expression and the constraint may be poisoned.
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
# One poisoned message, among good ones, beside an innocent source that is always busy
#

new_stream('innocent', 600, 'stop', 'nap(id)', 'true');
new_stream('poisoned', 3000, 'dead_letter', 'crash_if(id, 1500)', 'true', 2);
my $error = wait_for_state($node, 'poisoned', 'waiting',
	'recovering from a crash of the worker, attempt \d+: topic "poisoned", partition \d, offsets \d+ to \d+');
like($error, qr/recovering/, 'the source shows what it recovers from');
wait_for_consumed($node, $broker, 'poisoned');
is(sql($node, 'SELECT * FROM poisoned_sum'),
	'2999|' . (3000 * 3001 / 2 - 1500), 'all messages but the poison are counted, once');
is( sql($node,
		q{SELECT view, partition, "offset", convert_from(key, 'UTF8'), headers::text,
				convert_from(payload, 'UTF8'), sqlstate, error
			FROM eddy.dead_letters WHERE stream = 'poisoned'::regclass}),
	'|0|749|k1500|[["number", "1500"]]|{"id": 1500}|57P02|crashed the worker in 2 attempts',
	'the poison is a dead letter');
is( sql($node,
		q{SELECT sum(rows), sum(rejected), sum(skipped) FROM eddy.partitions WHERE topic = 'poisoned'}),
	'3000|1|0',
	'and is counted');
cmp_ok(crashes(), '<=', 7, 'it took few crashes');
wait_for_state($node, 'poisoned', 'running');
wait_for_consumed($node, $broker, 'innocent');
is(sql($node, 'SELECT * FROM innocent_sum'), '600|180300', 'the innocent source lost nothing');
wait_for_state($node, 'innocent', 'running');
is( sql($node,
		q{SELECT crashes, current, failed, caution FROM eddy._attempt ORDER BY source}),
	"0|||\n0|||",
	'no caution is left');

# what crashed several times is not in the way any more
my $before = crashes();
$broker->produce('poisoned', [ 0, undef, '{"id": 5}' ]);
wait_for_consumed($node, $broker, 'poisoned');
is(sql($node, 'SELECT n FROM poisoned_sum'), '3000', 'it goes on');
is(crashes(), $before, 'without a crash');

#
# Two poisoned messages, one after the other; in a constraint; counted by the policy "skip"
#

$before = crashes();
new_stream('skipping', 300, 'skip', 'id',
	'crash_if(id, 100) > 0 AND crash_if(id, 101) > 0');
wait_for_consumed($node, $broker, 'skipping');
is( sql($node, 'SELECT * FROM skipping_sum'),
	'298|' . (300 * 301 / 2 - 201),
	'skip: all messages but the two are counted, once');
is( sql($node,
		q{SELECT rows, rejected, skipped FROM eddy.partitions WHERE topic = 'skipping'}),
	'300|0|2',
	'skip: the two are counted as skipped');
is(sql($node, q{SELECT count(*) FROM eddy.dead_letters WHERE stream = 'skipping'::regclass}),
	'0', 'skip: there are no dead letters');
cmp_ok(crashes() - $before, '<=', 9, 'skip: it took few crashes');

#
# The policy "stop"
#

new_stream('stopping', 20, 'stop', 'crash_if(id, 10)', 'true');
$error = wait_for_state($node, 'stopping', 'stopped');
is( $error,
	'topic "stopping", partition 0, offset 9: crashed the worker in 2 attempts',
	'stop: the source is stopped at the message');
is(sql($node, 'SELECT * FROM stopping_sum'), '9|45', 'stop: what comes before it is counted');
is(sql($node, q{SELECT next_offset FROM eddy.partitions WHERE topic = 'stopping'}),
	'9', 'stop: the offset is that of the message');
sql($node,
	q{CREATE OR REPLACE FUNCTION crash_if(bigint, bigint) RETURNS bigint LANGUAGE sql
		IMMUTABLE STRICT RETURN $1});
sql($node, q{SELECT eddy.resume('stopping')});
wait_for_consumed($node, $broker, 'stopping');
is(sql($node, 'SELECT * FROM stopping_sum'),
	'20|210', 'stop: once the function is mended, eddy.resume takes the message');
wait_for_state($node, 'stopping', 'running');

#
# A worker that is ended by an error of level FATAL
#

new_stream('fatal', 20, 'dead_letter', 'fatal_if(id, 10)', 'true');
wait_for_consumed($node, $broker, 'fatal');
is(sql($node, 'SELECT * FROM fatal_sum'), '19|200', 'FATAL: all messages but one are counted');
is( sql($node,
		q{SELECT "offset", error FROM eddy.dead_letters WHERE stream = 'fatal'::regclass}),
	'9|crashed the worker in 2 attempts',
	'FATAL: that one is a dead letter');

#
# Kills from outside cost no message
#

my $letters = sql($node, 'SELECT count(*) FROM eddy.dead_letters');
new_stream('killed', 1500, 'stop', 'nap(id)', 'true');
foreach my $i (1 .. 4)
{
	my $pid;

	wait_until($node,
		"SELECT count(pid) = 1 FROM eddy.sources WHERE topic = 'killed'", 'the worker is there');
	$pid = sql($node, q{SELECT pid FROM eddy.sources WHERE topic = 'killed'});
	wait_until($node,
		"SELECT xact_start IS NOT NULL FROM pg_stat_activity WHERE pid = $pid",
		'it applies a batch', 20);
	kill('KILL', $pid);
	wait_until($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid", 'it is gone');
}
wait_for_consumed($node, $broker, 'killed');
is(sql($node, 'SELECT * FROM killed_sum'), '1500|1125750', 'killed: nothing was lost');
is(sql($node, 'SELECT count(*) FROM eddy.dead_letters'),
	$letters, 'killed: nothing was rejected');

# An orderly end is no crash, nor is an immediate shutdown.
$node->restart;
wait_for_state($node, 'killed', 'running');
restart_node($node);
foreach my $topic ('innocent', 'poisoned', 'skipping', 'stopping', 'fatal', 'killed')
{
	wait_for_state($node, $topic, 'running');
}
is(sql($node, 'SELECT sum(crashes) FROM eddy._attempt'),
	'0', 'a shutdown, even an immediate one, is not counted as a crash');

done_testing();
