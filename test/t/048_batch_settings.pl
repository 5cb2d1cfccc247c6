# 048_batch_settings.pl: effects of the settings for batches, queues and retries.
#
# The test sets batch_rows, batch_bytes, batch_time, batch_target_time, queue_memory and restart_delay_max, and observes
# their effects. Rows of one batch have the same xmin. The results do not depend on the speed of the
# machine: limits are derived from the behavior of the worker, and comparisons of times allow
# a multiple of the required time.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use List::Util qw(max min sum);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# The largest number of messages that a worker takes together, according to docs/configuration.md
use constant {
	POLL_MESSAGES => 2000,
	POLL_BYTES => 4 * 1024 * 1024,
	MB => 1024,    # in kB
};

my $broker = start_broker();
my $node = new_node('batch_settings');
attach_server($node, $broker->address);

# Sets values for all processes, including workers that are started afterwards.
sub configure
{
	my (%settings) = @_;

	sql($node, "ALTER SYSTEM SET pg_eddy.$_ = '$settings{$_}'") foreach sort keys %settings;
	sql($node, 'SELECT pg_reload_conf()');

	# a new session, like a new worker, has the values of the postmaster
	wait_until(
		$node,
		'SELECT ' . join(' AND ',
			map { "current_setting('pg_eddy.$_') = '$settings{$_}'" } sort keys %settings),
		'the settings take effect');
	return;
}

# Sets the limits of batches to values that no test reaches, except for the given ones.
sub configure_batches
{
	configure(batch_rows => 1_000_000, batch_bytes => '1GB', batch_time => '1min',
		batch_target_time => 0, @_);
	return;
}

# Consumes a whole topic into a new stream.
sub consume
{
	my ($stream, $topic, @constraints) = @_;
	my $columns = join(', ', 'auction bigint', @constraints);

	sql($node, qq{
CREATE UNLOGGED TABLE $stream ($columns);
SELECT eddy.create_stream('$stream');
SELECT eddy.attach_kafka('$stream', server => 'kafka', topic => '$topic', start => 'earliest')});
	wait_for_consumed($node, $broker, $topic);
	my $batches = sql($node, qq{
SELECT sum(n), count(*), min(n), max(n)
FROM (SELECT count(*) AS n FROM $stream GROUP BY xmin::text) b});
	sql($node, "SELECT eddy.detach_kafka('$stream', '$topic')");
	note "$stream: messages, batches, smallest, largest: $batches";
	return split /\|/, $batches;
}

my ($all, $batches, $smallest, $largest);

#
# batch_rows and batch_time
#

my $small = 50_000;
$broker->create_topic('small');
$broker->tool('bids', [ '-t', 'small', '-n', $small ]);

configure_batches();
($all, $batches) = consume('unlimited', 'small');
is("$all in $batches", "$small in 1", 'with the largest settings a topic is one batch');

configure_batches(batch_rows => 1000);
($all, $batches, $smallest, $largest) = consume('by_rows', 'small');
is("$all in $batches, $smallest to $largest", "$small in 50, 1000 to 1000",
	'batch_rows is the number of messages of a batch');

# the batch ends with the second poll at the latest
configure_batches(batch_time => 0);
($all, $batches, $smallest, $largest) = consume('by_time', 'small');
is($all, $small, 'batch_time = 0: all messages are consumed');
cmp_ok($largest, '<=', 2 * POLL_MESSAGES, 'batch_time = 0: a batch has at most two polls');

#
# batch_target_time
#

# The first batch has 2,000 messages, and no batch is more than 4 times as large as the one before.
configure_batches(batch_target_time => '1min');
($all, $batches, $smallest, $largest) = consume('growing', 'small');
is("$all in $batches, $smallest to $largest", "$small in 4, 2000 to 32000",
	'batches grow until they take the target time');

# Each row takes 1 ms at least, of which a fourth counts. After the first batch the next one has 500
# messages, and those that follow have at most 200.
my $slow = 4_000;
$broker->create_topic('slow');
$broker->tool('bids', [ '-t', 'slow', '-n', $slow ]);
sql($node, q{
CREATE FUNCTION nap(value bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
	'BEGIN PERFORM pg_sleep(0.001); RETURN value; END'});
configure_batches(batch_target_time => '50ms');
($all, $batches, $smallest, $largest) = consume('shrinking', 'slow', 'CHECK (nap(auction) IS NOT NULL)');
is($all, $slow, 'slow messages are consumed');
is($largest, 2000, 'the first batch has a fixed size');
cmp_ok($batches, '>=', 2 + ($slow - 2500) / 200, 'batches shrink to the target time');

#
# batch_bytes
#

my $length = 10_000;
my $large = 2_400;
my $payload = '{"auction": 1, "extra": "' . 'x' x ($length - 27) . '"}';
is(length($payload), $length, 'the payload has the expected length');
$broker->create_topic('large');
$broker->produce('large', map { [ 0, undef, $payload ] } 1 .. $large);

configure_batches();
($all, $batches) = consume('large_unlimited', 'large');
is("$all in $batches", "$large in 1", 'a topic of large messages is also one batch');

configure_batches(batch_bytes => '8MB');
($all, $batches, $smallest, $largest) = consume('by_bytes', 'large');
my $limit = 8 * 1024 * 1024;
is($all, $large, 'all messages are consumed in batches of 8 MB');
cmp_ok($largest * $length, '<', $limit + $length, 'no batch exceeds the limit by more than one message');
cmp_ok($largest * $length, '>=', $limit, 'batches reach the limit');

configure_batches(batch_bytes => '64kB');
($all, $batches, $smallest, $largest) = consume('by_few_bytes', 'large');
is($all, $large, 'all messages are consumed in batches of 64 kB');
cmp_ok($largest * $length, '<', POLL_BYTES + $length, 'no batch is larger than one poll');

#
# queue_memory
#

# Returns the anonymous memory of a process in kB.
sub anonymous
{
	my ($pid) = @_;

	return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m ? $1 : 0;
}

configure(batch_rows => 10000, batch_bytes => '16MB', batch_time => '50ms', batch_target_time => 0);
$broker->create_topic('queued');
my %queue = (narrow => 1, wide => 32);    # MB
my %pid;
my %before;
my %growth;
foreach my $stream (sort keys %queue)
{
	configure(queue_memory => "$queue{$stream}MB");
	sql($node, qq{
CREATE UNLOGGED TABLE $stream (auction bigint);
SELECT eddy.create_stream('$stream');
SELECT eddy.attach_kafka('$stream', server => 'kafka', topic => 'queued', start => 'earliest')});
	wait_until($node,
		"SELECT state = 'running' AND pid IS NOT NULL FROM eddy.sources WHERE stream = '$stream'::regclass",
		"\"$stream\" runs");
}
$broker->produce('queued', [ 0, undef, $payload ]);
wait_for_consumed($node, $broker, 'queued');

# no batch can be applied, and the queues become full
sql($node, q{BEGIN; LOCK TABLE narrow, wide; PREPARE TRANSACTION 'hold'});
foreach my $stream (keys %queue)
{
	$pid{$stream} = sql($node, "SELECT pid FROM eddy.sources WHERE stream = '$stream'::regclass");
	$before{$stream} = anonymous($pid{$stream});
	$growth{$stream} = 0;
}
my $queued = 8_000;
$broker->produce('queued', map { [ 0, undef, $payload ] } 1 .. $queued);
my $deadline = time() + $EddyTest::wait_timeout;
while (time() < $deadline && ($growth{wide} < 24 * MB || $growth{narrow} < 1 * MB))
{
	Time::HiRes::sleep(0.05);    # before the next measurement
	foreach my $stream (keys %queue)
	{
		my $now = anonymous($pid{$stream}) - $before{$stream};

		$growth{$stream} = $now if $now > $growth{$stream};
	}
}
note sprintf('"%s" grew by %.1f MB', $_, $growth{$_} / MB) foreach sort keys %queue;
cmp_ok($growth{wide}, '>=', 24 * MB, 'a queue of 32 MB becomes full');
cmp_ok($growth{narrow}, '>=', 1 * MB, 'a queue of 1 MB becomes full');
cmp_ok($growth{narrow}, '<', 16 * MB, 'a queue of 1 MB is exceeded by at most one response');
cmp_ok($growth{wide}, '<', 60 * MB, 'the larger queue holds only a part of the topic');
sql($node, q{ROLLBACK PREPARED 'hold'});
wait_for_consumed($node, $broker, 'queued');
is(sql($node, 'SELECT (SELECT count(*) FROM narrow), (SELECT count(*) FROM wide)'),
	join('|', ($queued + 1) x 2), 'all messages are consumed with both queues');
sql($node, "SELECT eddy.detach_kafka('$_', 'queued')") foreach keys %queue;

#
# restart_delay_max
#

# Returns the times of the attempts. Each attempt decodes the message twice, the second time in careful mode.
sub attempts
{
	my @times = slurp_file($node->logfile) =~ /LOG:  decoded at ([0-9.]+)/g;
	my @attempts;

	push @attempts, [ splice(@times, 0, 2) ] while @times >= 2;
	return @attempts;
}

# Returns the delays between attempts.
sub delays
{
	my @attempts = attempts();

	return map { $attempts[$_][0] - $attempts[ $_ - 1 ][1] } 1 .. $#attempts;
}

sql($node, q{
CREATE FUNCTION note_attempt() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	RAISE LOG 'decoded at %', extract(epoch FROM clock_timestamp());
	RETURN 1;
END $$;
CREATE UNLOGGED TABLE failing (id int, attempt int DEFAULT note_attempt());
SELECT eddy.create_stream('failing');
SELECT eddy.create_continuous_view('quotients',
	'SELECT 1 / id AS quotient, count(*) AS n FROM failing GROUP BY 1', on_error => 'stop')});
$broker->create_topic('failing');
$broker->produce('failing', [ 0, undef, '{"id": 0}' ]);
sql($node,
	q{SELECT eddy.attach_kafka('failing', server => 'kafka', topic => 'failing', start => 'earliest')});

# Each delay is twice the previous one, plus or minus 25 %. Signals and commits that concern the source
# may end a delay early; the next one is longer nevertheless.
$deadline = time() + $EddyTest::wait_timeout;
Time::HiRes::sleep(0.1) until max(0, delays()) >= 1.5 || time() >= $deadline;
cmp_ok(max(0, delays()), '>=', 1.5, 'with the default the delays become longer than 1 s');

configure(restart_delay_max => '1s');
my $first = attempts();    # the first delay that begins with the new setting
$deadline = time() + $EddyTest::wait_timeout;
Time::HiRes::sleep(0.1) until delays() >= $first + 3 || time() >= $deadline;
my @waits = splice(@{ [ delays() ] }, $first, 3);
is(scalar(@waits), 3, 'the batch is retried three more times');
my $doubled = sum(map { 0.75 * min(60, 2**$_) } $first .. $first + 2);
note sprintf('waits of %s s, doubled ones take %.1f s at least',
	join(', ', map { sprintf '%.1f', $_ } @waits), $doubled);
cmp_ok(max(@waits), '>=', 0.75, 'with a limit of 1 s there is still a delay');
cmp_ok(sum(@waits), '<', $doubled, 'with a limit of 1 s the delay is not doubled');
is(sql($node, q{SELECT state, sqlstate FROM eddy.sources WHERE topic = 'failing'}),
	'waiting|22012', 'the source is still waiting');

$node->stop;
$broker->stop;
done_testing();
