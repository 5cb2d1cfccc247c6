# 047_stalls.pl: a source that does not progress is waiting, and its lag is that of the broker.
#
# If messages in the topic cannot be fetched, the state must not be "running" with a lag of 0. Messages
# that cannot be read are rejected, and those that follow are consumed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = start_broker();
my $node = new_node('stalls');
attach_server($node, $broker->address);

sub new_stream
{
	my ($name) = @_;

	sql($node, qq{
CREATE UNLOGGED TABLE $name (id bigint);
SELECT eddy.create_stream('$name');
SELECT eddy.create_continuous_view('${name}_sum', 'SELECT count(*) AS n, sum(id) AS ids FROM $name');
SELECT eddy.attach_kafka('$name', server => 'kafka', topic => '$name');
});
	return;
}

# Lines "partition, value" for a producer of large messages.
sub produce_large
{
	my ($topic, @lines) = @_;

	$broker->tool(
		'produce',
		[ '-t', $topic, '-f', 'pv', '-c', 'message.max.bytes=8000000' ],
		join('', map { "$_->[0]\t$_->[1]\n" } @lines));
	return;
}

#
# A batch that is larger than receive.message.max.bytes
#

sql($node, q{ALTER SERVER kafka OPTIONS (ADD "receive.message.max.bytes" '1100000',
	ADD "fetch.max.bytes" '1000000', ADD "message.max.bytes" '900000')});
$broker->create_topic('large', 2, 'max.message.bytes=8000000');
produce_large('large', [ 0, '{"id": 1}' ], [ 1, '{"id": 10}' ]);
new_stream('large');
wait_for_consumed($node, $broker, 'large');
wait_for_state($node, 'large', 'running');

produce_large('large', [ 0, '{"id": 2, "pad": "' . 'x' x 2_500_000 . '"}' ]);
produce_large('large', [ 0, '{"id": 3}' ]);
my $error = wait_for_state($node, 'large', 'waiting', 'receive.message.max.bytes');
is(sql($node, q{SELECT sqlstate FROM eddy.sources WHERE topic = 'large'}),
	'54000', 'a response that is too large has a specific error');
wait_until(
	$node,
	q{SELECT count(*) = 1 FROM eddy.partitions
		WHERE topic = 'large' AND partition = 0 AND next_offset = 1 AND high_offset = 3 AND lag = 2
			AND NOT idle},
	'the lag is the broker\'s');

# other partitions are consumed, and the source is still waiting
produce_large('large', [ 1, '{"id": 20}' ]);
wait_until($node, 'SELECT ids = 31 FROM large_sum', 'the other partition is consumed');
foreach my $i (1 .. 3)
{
	# several requests of the end offsets
	wait_until(
		$node,
		qq{SELECT count(*) = 0 FROM eddy.sources
			WHERE topic = 'large' AND since > clock_timestamp() - interval '$i s'},
		'time has passed', 60);
	is( sql($node, q{SELECT state, error ~ 'receive.message.max.bytes' FROM eddy.sources
			WHERE topic = 'large'}),
		'waiting|t',
		'the source is still waiting');
}
unlike(slurp_file($node->logfile), qr/topic "large" resumed/, 'the source has been waiting without interruption');

sql($node, q{
ALTER SERVER kafka OPTIONS (SET "receive.message.max.bytes" '100000000',
	SET "fetch.max.bytes" '50000000', SET "message.max.bytes" '8000000');
SELECT eddy.resume('large');
});
wait_for_consumed($node, $broker, 'large');
is(sql($node, 'SELECT * FROM large_sum'), '5|36', 'with a larger limit the source resumes');
wait_for_state($node, 'large', 'running');
my $log = slurp_file($node->logfile);
like($log, qr/source of stream "public.large", topic "large" is waiting: .*receive.message.max.bytes/,
	'the log names stream and topic when a source waits');
like($log, qr/source of stream "public.large", topic "large" resumed/, 'and when it resumes');
is(sql($node, q{SELECT sum(lag) FROM eddy.partitions WHERE topic = 'large'}),
	'0', 'with a larger limit there is no lag');

#
# An open transaction is not an error, but the lag includes its messages and later ones
#

$broker->create_topic('open');
new_stream('open');
$broker->produce('open', [ 0, undef, '{"id": 1}' ]);
wait_for_consumed($node, $broker, 'open');
my ($in, $out, $err) = ("0\t{\"id\": 2}\n", '', '');
my $producer = IPC::Run::start(
	[ kafka_tool(), 'produce', '-b', $broker->address, '-t', 'open', '-f', 'pv', '-x', 'open' ],
	'<', \$in, '>', \$out, '2>', \$err);
$producer->pump_nb while length $in;
wait_until(
	$node,
	q{SELECT next_offset = 1 AND high_offset = 2 AND lag = 1 FROM eddy.partitions
		WHERE topic = 'open'},
	'the lag counts messages of an open transaction');
is(sql($node, q{SELECT state, error FROM eddy.sources WHERE topic = 'open'}),
	'running|', 'an open transaction is not an error');
$in .= "#commit\n";
$producer->finish;
wait_until($node, 'SELECT n = 2 AND ids = 3 FROM open_sum', 'the transaction is consumed after its commit');
wait_until($node, q{SELECT lag = 0 FROM eddy.partitions WHERE topic = 'open'}, 'there is no lag after the commit');
ok(1, 'the messages of the transaction are counted');

#
# Batches that cannot be read, because they are too large when they are decompressed. The client
# reports the offset of the first message of such a batch, whichever is requested.
#

# Produces lines of partition and value as one batch.
sub produce_batch
{
	my ($topic, $options, @lines) = @_;

	$broker->tool(
		'produce',
		[ '-t', $topic, '-f', 'pv', map { ('-c', $_) } 'linger.ms=500', 'batch.size=8000000', 'message.max.bytes=8000000', @$options ],
		join('', map { "$_->[0]\t$_->[1]\n" } @lines));
	return;
}

# Calls a function with each batch in the log of partition 0 of a topic, which may change it.
sub edit_batches
{
	my ($topic, $edit) = @_;
	my $path = "$broker->{dir}/data/$topic-0/00000000000000000000.log";
	my $log = slurp_file($path);
	my $at = 0;

	while ($at < length $log)
	{
		# the base offset, and the length of what follows
		my $length = 12 + unpack 'N', substr($log, $at + 8, 4);
		my $batch = substr $log, $at, $length;
		my $changed = $edit->($batch);

		if ($changed ne $batch)
		{
			open my $file, '+<:raw', $path or die "$path: $!";
			seek $file, $at, 0;
			print $file $changed;
			close $file;
		}
		$at += $length;
	}
	return;
}

sql($node, q{ALTER SERVER kafka OPTIONS (SET "receive.message.max.bytes" '1100000',
	SET "fetch.max.bytes" '1000000', SET "message.max.bytes" '900000')});
$broker->create_topic('unread');
$broker->produce('unread', [ 0, undef, '{"id": 1}' ]);
# the last one is so long that a search beyond the end of the second one meets it
foreach my $i (1, 2, 3)
{
	produce_batch('unread', ['compression.codec=zstd'], map { [ 0, '{"id": 1000, "pad": "' . 'x' x 600_000 . '"}' ] } 1 .. 2 + $i);
	$broker->produce('unread', [ 0, undef, "{\"id\": @{[ $i + 1 ]}}" ]);
}
new_stream('unread');
sql($node, q{CREATE UNLOGGED TABLE unread_stops (id bigint);
SELECT eddy.create_stream('unread_stops');
SELECT eddy.create_continuous_view('unread_stops_sum', 'SELECT count(*) AS n, sum(id) AS ids FROM unread_stops');
SELECT eddy.attach_kafka('unread_stops', server => 'kafka', topic => 'unread', on_error => 'stop')});
wait_until($node, 'SELECT n = 4 AND ids = 10 FROM unread_sum', 'messages around batches that cannot be read are counted');
is( sql($node, q{SELECT "offset", sqlstate, payload IS NULL, substring(error from 'offsets \d+ to \d+ cannot be read')
		FROM eddy.dead_letters WHERE topic = 'unread' ORDER BY 1}),
	"1|XX001|t|offsets 1 to 3 cannot be read\n5|XX001|t|offsets 5 to 8 cannot be read\n10|XX001|t|offsets 10 to 14 cannot be read",
	'each of them is a dead letter with its offsets');
is( sql($node, q{SELECT next_offset, rejected FROM eddy.partitions WHERE stream = 'unread'::regclass AND partition = 0}),
	'16|3', '... and is counted');

# as messages that are read for a new view
sql($node, q{SELECT eddy.create_continuous_view('unread_all', 'SELECT count(*) AS n, sum(id) AS ids FROM unread', start => 'earliest')});
wait_until($node, q{SELECT count(*) = 0 FROM eddy.view_starts}, 'a view is filled from Kafka');
is(sql($node, 'TABLE unread_all'), '4|10', '... with the messages that can be read');

wait_until(
	$node,
	q{SELECT state = 'stopped' AND error ~ 'offset 1: .*; offsets 1 to 3 cannot be read' FROM eddy.sources
		WHERE stream = 'unread_stops'::regclass},
	'with on_error => stop, the source stops before them');
sql($node, q{SELECT eddy.seek('unread_stops', 'unread', '{"0": 4}')});
wait_until(
	$node,
	q{SELECT state = 'stopped' AND error ~ 'offset 5: .*; offsets 5 to 8 cannot be read' FROM eddy.sources
		WHERE stream = 'unread_stops'::regclass},
	'... and again');

# What this version of the client cannot read is not skipped: a codec that does not exist.
$broker->create_topic('newer');
produce_batch('newer', [], map { [ 0, "{\"id\": $_}" ] } 1 .. 3);
edit_batches('newer', sub { substr($_[0], 0, 22) . "\x05" . substr($_[0], 23) });
sql($node, q{CREATE UNLOGGED TABLE newer (id bigint);
SELECT eddy.create_stream('newer');
SELECT eddy.create_continuous_view('newer_sum', 'SELECT count(*) AS n, sum(id) AS ids FROM newer');
SELECT eddy.attach_kafka('newer', server => 'kafka', topic => 'newer', options => '{"check_crcs": false}')});
wait_for_state($node, 'newer', 'stopped', 'offset 0: ');
is(sql($node, q{SELECT sqlstate, (SELECT count(*) FROM eddy.dead_letters WHERE topic = 'newer') FROM eddy.sources WHERE topic = 'newer'}),
	'0A000|0', 'messages in an unknown format stop the source');
edit_batches('newer', sub { substr($_[0], 0, 22) . "\x00" . substr($_[0], 23) });
sql($node, q{SELECT eddy.resume('newer')});
wait_until($node, 'SELECT n = 3 AND ids = 6 FROM newer_sum', '... until they can be read');

done_testing();
