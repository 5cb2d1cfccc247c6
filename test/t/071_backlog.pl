# 071_backlog.pl: hours of backlog, which arrive in bursts from 16 partitions, lose no row.
#
# In each partition rows are out of order by less than the delay of the stream; between partitions
# there is no order at all: bursts of one partition after the other, in a random sequence, so that some partitions are
# hours ahead of others. Before each burst the watermark is read. A row of the burst would be lost if
# its window was already final then. For comparison, the same is computed for a watermark that
# follows the latest event time of all partitions.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{EDDY_SEED} // 8;
my $partitions = 16;
my $bursts = 4;             # of each partition
my $burst_seconds = 2700;   # of event time: 3 hours in all
my $interval = 3;          # seconds between rows
my $disorder = 4;           # seconds, less than the delay
my $delay = 5;
my $window = 10;

note("EDDY_SEED=$seed");
srand($seed);

my $broker = start_broker();
my $node = new_node('backlog', 'pg_eddy.batch_rows = 100');
attach_server($node, $broker->address);
$broker->create_topic('orders', $partitions);
sql($node, qq{
CREATE UNLOGGED TABLE orders (key text, ts timestamptz);
SELECT eddy.create_stream('orders', event_time => 'ts', delay => '$delay s', idle_timeout => '1 h');
SELECT eddy.create_continuous_view('counts', \$\$
    SELECT w.window_start, w.window_end, key, count(*) AS n FROM orders, eddy.tumble(ts, '$window s') AS w
    GROUP BY w.window_start, w.window_end, key \$\$);
CREATE TABLE sent (key text, ts timestamptz);
SELECT eddy.attach_kafka('orders', server => 'kafka', topic => 'orders');
});

# The sequence of bursts: a partition of which some remain, chosen at random.
my @left = ($bursts) x $partitions;
my @sequence;
while (my @open = grep { $left[$_] > 0 } 0 .. $partitions - 1)
{
	my $partition = $open[ int(rand(@open)) ];

	push @sequence, [ $partition, $bursts - $left[$partition]-- ];
}

my $start = 1767225600;    # 2026-01-01 00:00:00 UTC
my $lost = 0;
my $lost_globally = 0;
my $rows = 0;
my $latest;                # event time of all partitions
my %latest_of;             # event time of each partition

# True if a row comes too late for its window.
sub is_lost
{
	my ($time, $watermark) = @_;

	return defined $watermark && (int($time / $window) + 1) * $window <= $watermark;
}

foreach my $burst (@sequence)
{
	my ($partition, $number) = @$burst;
	my $watermark = sql($node, q{SELECT extract(epoch FROM eddy.watermark('orders'))});
	my $global = defined $latest ? $latest - $delay : undef;
	my @messages;

	for (my $at = 0; $at < $burst_seconds; $at += $interval)
	{
		my $time = $start + $number * $burst_seconds + $at - rand($disorder);

		# the first row of a partition must not be earlier than its window
		$time = $start + $number * $burst_seconds + $at if $at == 0;
		push @messages, [ $partition, undef, sprintf '{"key": "p%d", "ts": "%s"}', $partition, timestamp($time) ];
		$lost++ if is_lost($time, $watermark eq '' ? undef : $watermark);
		$lost_globally++ if is_lost($time, $global);
		$latest = $time if !defined $latest || $time > $latest;
		$latest_of{$partition} = $time if !exists $latest_of{$partition} || $time > $latest_of{$partition};
	}
	$rows += @messages;
	$broker->produce('orders', @messages);
	wait_for_consumed($node, $broker, 'orders');
}

sub timestamp
{
	my ($time) = @_;
	my ($second, $minute, $hour, $day, $month, $year) = gmtime(int($time));

	return sprintf '%04d-%02d-%02dT%02d:%02d:%02d.%06dZ', $year + 1900, $month + 1, $day, $hour, $minute,
	  $second, ($time - int($time)) * 1000000;
}

note("of $rows rows a watermark per partition loses $lost, a global one would lose $lost_globally");
is($lost, 0, 'no row is late that comes within the delay of its own partition');
cmp_ok($lost_globally, '>', $rows / 4, 'a global watermark would lose many');
is(sql($node, 'SELECT sum(n) FROM counts'), $rows, 'the view has counted all rows');
is(sql($node, q{SELECT late_rows FROM eddy.stat_continuous_views WHERE view = 'counts'::regclass}),
	'0', 'no row was counted as late');
my ($least) = sort { $a <=> $b } values %latest_of;
cmp_ok(abs(sql($node, q{SELECT extract(epoch FROM eddy.watermark('orders'))}) - $least + $delay),
	'<', 0.001, 'the watermark is that of the partition that is behind all others');

done_testing();
