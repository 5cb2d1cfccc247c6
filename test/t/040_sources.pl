# 040_sources.pl: sources, with a broker that is not always available.
#
# A source that cannot continue has a visible state with a reason, uses no CPU, and resumes automatically
# after the cause is resolved. Pause, resume and detach; partitions that are added later; aborted
# transactions.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $broker = start_broker();
my $node = new_node('sources');
attach_server($node, $broker->address);

# Creates a stream with a counting view, one for each test.
sub new_stream
{
	my ($name) = @_;

	sql($node, qq{
CREATE UNLOGGED TABLE $name (id bigint, part integer, off bigint);
SELECT eddy.create_stream('$name');
});
	sql($node, qq{
SELECT eddy.create_continuous_view('${name}_count',
	'SELECT count(*) AS n, sum(id) AS ids FROM $name')}
	);
	return;
}

sub attach
{
	my ($name, $topic, $more) = @_;

	return sql($node,
		qq{SELECT eddy.attach_kafka('$name', server => 'kafka', topic => '$topic'
			@{[ $more // '' ]})}
	);
}

# Produces messages {"id": n}, alternating between partitions.
sub messages
{
	my ($partitions, @ids) = @_;

	return map { [ $_ % $partitions, "k$_", "{\"id\": $_}" ] } @ids;
}

sub result_is
{
	my ($name, $want, $what) = @_;

	wait_until($node, "SELECT (n, ids)::text = '$want' FROM ${name}_count", $what);
	is(sql($node, "SELECT (n, ids) FROM ${name}_count"), $want, $what);
	return;
}

# Returns how often the threads of a process have given up the CPU, to wait.
sub waits
{
	my ($pid) = @_;
	my $waits = 0;

	foreach my $status (glob("/proc/$pid/task/*/status"))
	{
		open(my $file, '<', $status) or next;
		$waits += /^voluntary_ctxt_switches:\s*(\d+)/ ? $1 : 0 while <$file>;
		close($file);
	}
	return $waits;
}

# Returns the CPU seconds that the threads of a process have used, exactly.
sub thread_cpu
{
	my ($pid) = @_;
	my $used = 0;

	foreach my $stat (glob("/proc/$pid/task/*/schedstat"))
	{
		open(my $file, '<', $stat) or next;
		$used += (split ' ', <$file> // '0')[0];
		close($file);
	}
	return $used / 1e9;
}

# What all processes of the extension have used so far: CPU seconds, and how often one of their threads has waited.
sub used
{
	my @pids = split /\n/,
	  sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'eddy%'});
	my ($cpu, $waits) = (0, 0);

	$cpu += thread_cpu($_) foreach @pids;
	$waits += waits($_) foreach @pids;
	return ($cpu, $waits);
}

# Whether they become idle: use less than a part of a CPU, and wake up less often per second than that. What they have just
# done may not be over, so several intervals are tried, until the test times out.
sub becomes_idle
{
	my ($cpu_limit, $wakeups_limit) = @_;
	my $deadline = time() + $EddyTest::wait_timeout;
	my ($cpu, $wakeups);

	do
	{
		my $time = time();
		my ($cpu_before, $waits_before) = used();

		Time::HiRes::sleep(1);    # the interval that is measured
		my ($cpu_after, $waits_after) = used();
		my $seconds = time() - $time;
		$cpu = ($cpu_after - $cpu_before) / $seconds;
		$wakeups = ($waits_after - $waits_before) / $seconds;
		note sprintf('CPU: %.4f, wake-ups per second: %.0f', $cpu, $wakeups);
		# counters of a process that has exited meanwhile are missing
		return 1 if $cpu >= 0 && $cpu < $cpu_limit && $wakeups >= 0 && $wakeups < $wakeups_limit;
	} while (time() < $deadline);
	return 0;
}

#
# A topic that does not exist yet
#

new_stream('early');
attach('early', 'early');
like(wait_for_state($node, 'early', 'waiting', '.'),
	qr/topic/, 'the source waits for a topic that does not exist');
$broker->create_topic('early', 2);
$broker->produce('early', messages(2, 1 .. 100));
result_is('early', '(100,5050)', 'the topic is consumed after its creation');
is(wait_for_state($node, 'early', 'running'), '', 'the source runs without an error');

#
# A broker that is not available temporarily
#

$broker->stop;
isnt(wait_for_state($node, 'early', 'waiting', '.'), '', 'the source waits for an unavailable broker');
like(sql($node, q{SELECT sqlstate FROM eddy.sources WHERE topic = 'early'}),
	qr/^08/, 'the SQLSTATE is of class 08');
ok(becomes_idle(0.1, 100), 'waiting for the broker uses almost no CPU');

my $pid = sql($node, q{SELECT pid FROM eddy.sources WHERE topic = 'early'});
SKIP:
{
	skip 'no worker runs at the moment', 1 unless $pid;
	is(sql($node, "SELECT pg_terminate_backend($pid, 10000)"),
		't', 'a worker exits on SIGTERM although the broker is not available');
}
my $start = time();
$node->stop('fast');
cmp_ok(time() - $start, '<', 20, 'a fast shutdown of the server succeeds although the broker is not available');
$node->start;

$broker->start;
$broker->produce('early', messages(2, 101 .. 110));
result_is('early', '(110,6105)', 'the source resumes automatically');

sql($node, q{
CREATE SERVER nowhere FOREIGN DATA WRAPPER eddy_kafka
	OPTIONS ("bootstrap.servers" '127.0.0.1:1', "reconnect.backoff.max.ms" '500');
CREATE USER MAPPING FOR CURRENT_USER SERVER nowhere;
});
new_stream('lost');
sql($node, q{SELECT eddy.attach_kafka('lost', server => 'nowhere', topic => 'any')});
isnt(wait_for_state($node, 'any', 'waiting', '.'), '', 'the source waits for a broker that does not exist');
sql($node,
	qq{ALTER SERVER nowhere OPTIONS (SET "bootstrap.servers" '@{[ $broker->address ]}')});
$broker->create_topic('any');
$broker->produce('any', messages(1, 1 .. 3));
result_is('lost', '(3,6)', 'a corrected address is used automatically');

#
# A format that this version does not have, as after a downgrade
#

sql($node, q{UPDATE eddy._source SET format = 'avro' WHERE topic = 'any'; SELECT eddy._notify()});
like(wait_for_state($node, 'any', 'waiting', '.'),
	qr/^format "avro" is not supported$/, 'an unsupported format is a visible state');
is(sql($node, q{SELECT sqlstate FROM eddy.sources WHERE topic = 'any'}),
	'0A000', 'with its SQLSTATE');
sql($node, q{UPDATE eddy._source SET format = 'json' WHERE topic = 'any'; SELECT eddy._notify()});
is(wait_for_state($node, 'any', 'running'), '', 'the source resumes when it is supported');

#
# Pause and resume
#

sql($node, q{SELECT eddy.pause('early')});
wait_until(
	$node,
	q{SELECT state = 'paused' AND pid IS NULL FROM eddy.sources WHERE topic = 'early'},
	'the worker of a paused stream exits');
$broker->produce('early', messages(2, 111 .. 120));
$broker->produce('any', [ 0, undef, '{"id": 4}' ]);
result_is('lost', '(4,10)', 'other streams are not affected');
is(sql($node, 'SELECT n FROM early_count'), '110', 'a paused stream is not consumed');
sql($node, q{SELECT eddy.resume('early')});
result_is('early', '(120,7260)', 'a resumed stream consumes the messages produced during the pause');

# a pause that is rolled back
sql($node, q{BEGIN; SELECT eddy.pause('early'); ROLLBACK});
$broker->produce('early', messages(2, 121));
result_is('early', '(121,7381)', 'a pause that is rolled back has no effect');

#
# Partitions that are added later
#

$broker->tool('add-partitions', [ '-t', 'early', '-p', 5 ]);
$broker->produce('early', map { [ $_, undef, '{"id": 1000}' ] } 2 .. 4);
result_is('early', '(124,10381)', 'new partitions are detected and read from their beginning');
is( sql($node,
		q{SELECT partition, next_offset FROM eddy.partitions
			WHERE topic = 'early' AND partition > 1 ORDER BY 1}
	),
	"2|1\n3|1\n4|1",
	'new partitions have offsets');

#
# Transactions of producers
#

$broker->create_topic('txn', 2);
new_stream('txn');
attach('txn', 'txn', q{, mapping => '{"part": "partition", "off": "offset"}'});
$broker->produce(
	'txn', messages(2, 1 .. 50), '#commit', messages(2, 1001 .. 1200),
	'#abort', messages(2, 51 .. 100), '#commit', messages(2, 2001 .. 2010),
	'#abort');
wait_for_consumed($node, $broker, 'txn');
result_is('txn', '(100,5050)', 'aborted messages are not counted');
is( sql($node, q{SELECT sum(next_offset) FROM eddy.partitions WHERE topic = 'txn'}),
	$broker->ends('txn')->{0} + $broker->ends('txn')->{1},
	'offsets advance past control records and aborted messages to the end');
is(sql($node, q{SELECT count(DISTINCT (part, off)), min(part), max(part) FROM txn}),
	'100|0|1', 'the mapping stores metadata of messages in columns');

#
# Several sources of one stream; detach
#

$broker->create_topic('second');
attach('txn', 'second');
$broker->produce('second', messages(1, 10, 20));
result_is('txn', '(102,5080)', 'a second topic is consumed into the same stream');
my $second = sql($node, q{SELECT pid FROM eddy.sources WHERE topic = 'second'});
sql($node, q{SELECT eddy.detach_kafka('txn', 'second')});
wait_until(
	$node,
	"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $second",
	'the worker of a detached topic exits');
is(sql($node, q{SELECT count(*) FROM eddy.sources WHERE topic = 'second'}),
	'0', 'a detached topic has no offsets');
is(sql($node, 'SELECT n FROM txn_count'), '102', 'messages of a detached topic remain counted');
attach('txn', 'second');
result_is('txn', '(104,5110)', 'a topic that is attached again is read from the beginning');

# dropping a stream drops its sources
sql($node, 'DROP TABLE txn CASCADE');
wait_until(
	$node,
	q{SELECT (SELECT count(*) FROM eddy.sources WHERE topic IN ('txn', 'second')) = 0
		AND (SELECT count(*) FROM eddy._workers() WHERE kind = 'source') = 2},
	'workers of a dropped stream exit');
is(sql($node, q{SELECT count(*) FROM eddy.partitions WHERE topic IN ('txn', 'second')}),
	'0', 'a dropped stream has no offsets');

# librdkafka has threads that wake up once a second, and fetches twice a second
ok(becomes_idle(0.01, 2 * 20), 'idle sources use almost no CPU, and seldom wake up');

done_testing();
