# 045_memory.pl: memory of source workers.
#
# docs/operations.md specifies a limit for ordinary messages, and the additional memory for messages
# that are larger than a batch. The test measures the anonymous memory of the process while it
# processes a backlog and afterwards.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use constant MB => 1024;

my $limit = 256 * MB;
my $broker = start_broker();
my $node = new_node('memory', 'shared_buffers = 128MB', 'max_wal_size = 4GB', 'fsync = off');
attach_server($node, $broker->address);

# Returns the anonymous memory of a process in kB.
sub anonymous
{
	my ($pid) = @_;

	open(my $status, '<', "/proc/$pid/status") or return 0;
	while (my $line = <$status>)
	{
		return $1 if $line =~ /^RssAnon:\s+(\d+) kB/;
	}
	return 0;
}

# Consumes a topic and returns the peak memory of the worker, and its memory at the end.
sub consume
{
	my ($stream, $topic, $messages) = @_;
	my $deadline = time() + $EddyTest::wait_timeout;
	my $worker = "SELECT pid FROM eddy.sources WHERE topic = '$topic'";
	my $peak = 0;
	my $done = 0;

	sql($node, "SELECT eddy.attach_kafka('$stream', server => 'kafka', topic => '$topic')");
	wait_until($node, "SELECT ($worker) IS NOT NULL", "the worker of \"$topic\" runs");
	my $pid = sql($node, $worker);
	while (!$done && time() < $deadline)
	{
		my $next = time() + 0.5;

		while (time() < $next)
		{
			my $now = anonymous($pid);

			$peak = $now if $now > $peak;
			Time::HiRes::sleep(0.01);    # before the next measurement
		}
		$done = sql($node,
			"SELECT coalesce(sum(next_offset), 0) >= $messages FROM eddy.partitions
				WHERE topic = '$topic'") eq 't';
	}
	ok($done, "topic \"$topic\" is consumed");
	is(sql($node, $worker), $pid, 'one process has consumed the topic');
	my $now = anonymous($pid);
	note sprintf('%s: peak %.0f MB, now %.0f MB', $topic, $peak / MB, $now / MB);
	return ($peak, $now);
}

# A backlog that is several times as large as the memory limit, in many partitions
my $bids = 1_000_000;
$broker->create_topic('bids', 16);
$broker->tool('bids', [ '-t', 'bids', '-n', $bids ]);
sql($node,
	q{CREATE UNLOGGED TABLE bid (auction bigint, bidder bigint, price bigint, channel text,
		url text, date_time timestamptz, extra text);
	SELECT eddy.create_stream('bid', event_time => 'date_time', retention => '1 day');
	SELECT eddy.create_continuous_view('bids', 'SELECT auction, count(*) AS n, sum(price) AS total
		FROM bid GROUP BY auction')});
my ($peak, $now) = consume('bid', 'bids', $bids);
cmp_ok($peak, '<', $limit, 'a backlog of small messages stays below the limit');
equal_ok($node, 'SELECT * FROM bids',
	'SELECT auction, count(*) AS n, sum(price) AS total FROM bid GROUP BY auction',
	'small messages are counted correctly');

# Messages of 900 kB: the queue and a batch hold few of them
$broker->create_topic('large', 2);
sql($node,
	q{CREATE UNLOGGED TABLE large (id bigint, extra text);
	SELECT eddy.create_stream('large');
	SELECT eddy.create_continuous_view('large_ids',
		'SELECT id, count(*) AS n, sum(length(extra)) AS bytes FROM large GROUP BY id')});
foreach my $part (0 .. 3)
{
	$broker->produce('large',
		map { [ $_ % 2, undef, qq({"id": $_, "extra": ") . chr(97 + $_ % 26) x 900_000 . '"}' ] }
		  $part * 100 .. $part * 100 + 99);
}
($peak, $now) = consume('large', 'large', 400);
cmp_ok($peak, '<', $limit, 'large messages stay below the limit');
is(sql($node, 'SELECT count(*), sum(n), sum(bytes) FROM large_ids'),
	'400|400|360000000', 'large messages are counted correctly');

# A compressed batch of 300 kB that contains 300 MB, which the client decompresses as a whole
my $bomb = 300;
$broker->create_topic('bomb');
$broker->tool(
	'produce',
	[
		'-t', 'bomb', '-z', 'gzip', '-f', 'v',
		map { ('-c', $_) } 'batch.size=1000000000',
		'message.max.bytes=1000000000', 'queue.buffering.max.kbytes=2000000',
		'linger.ms=60000'
	],
	join '', map { qq({"id": $_, "extra": ") . 'x' x 1_000_000 . qq("}\n) } 1 .. $bomb);
sql($node,
	q{CREATE UNLOGGED TABLE bomb (id bigint, extra text);
	SELECT eddy.create_stream('bomb');
	SELECT eddy.create_continuous_view('bomb_ids',
		'SELECT id, count(*) AS n, sum(length(extra)) AS bytes FROM bomb GROUP BY id')});
($peak, $now) = consume('bomb', 'bomb', $bomb);
cmp_ok($peak, '>', 280 * MB, 'a compressed batch is held in memory as a whole');
cmp_ok($peak, '<', $limit + 300 * MB, 'messages of a compressed batch are processed in several batches');
cmp_ok($now, '<', $limit / 2, 'the memory of the compressed batch is returned');
is(sql($node, 'SELECT count(*), sum(n), sum(bytes) FROM bomb_ids'),
	'300|300|300000000', 'messages of a compressed batch are counted correctly');

# A message of 30 MB, many times larger than a batch
$broker->create_topic('giant', 1, 'max.message.bytes=50000000');
$broker->tool(
	'produce',
	[ '-t', 'giant', '-f', 'v', '-c', 'message.max.bytes=50000000' ],
	'{"id": 1, "extra": [' . join(',', 1 .. 4_000_000) . "]}\n");
sql($node,
	q{CREATE UNLOGGED TABLE giant (id bigint, extra jsonb);
	SELECT eddy.create_stream('giant');
	SELECT eddy.create_continuous_view('giant_ids',
		'SELECT id, sum(jsonb_array_length(extra)) AS n FROM giant GROUP BY id')});
($peak, $now) = consume('giant', 'giant', 1);
cmp_ok($now, '<', $limit / 2, 'the memory of a large message is returned');
is(sql($node, 'SELECT * FROM giant_ids'), '1|4000000', 'the large message is counted correctly');

$node->stop;
done_testing();
