# 047_stalls.pl: a source that does not progress is waiting, and its lag is that of the broker.
#
# If messages in the topic cannot be fetched, the state must not be "running" with a lag of 0.

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

done_testing();
