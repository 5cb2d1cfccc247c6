# 074_retention.pl: retention of a view keeps its state flat over a day of windows.
#
# A day of one-minute windows passes, an hour of event time in each statement. The database worker
# removes final rows whose retention has passed, in several transactions. The rows of the last hours are those
# of the SELECT over the stream, the state table does not grow after its first hours, and consumers of
# changes receive no deletes for rows that have expired, unless they ask for them, also if they reconnect
# between two of these transactions.
#
# Meanwhile rows of users are stored in another stream, and VACUUM freezes them at once. They are kept for the
# retention of the stream nevertheless, and are removed then.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# 21,000 groups an hour: more than one transaction closes or removes. EDDY_KEYS=10000 is a full-size day, of 14.4 million rows.
my $keys = $ENV{EDDY_KEYS} // 350;
my $hours = 24;

my $node = new_node('retention');

sql($node, q{
CREATE UNLOGGED TABLE readings (sensor int, value int, at timestamptz);
SELECT eddy.create_stream('readings', event_time => 'at', retention => '10 days');
SELECT eddy.create_continuous_view('by_minute', $$
	SELECT sensor, w.window_start, w.window_end, count(*) AS n, avg(value) AS mean
	FROM readings, eddy.tumble(at, '1 minute') AS w GROUP BY sensor, w.window_start, w.window_end $$,
	retention => '2 hours');
CREATE UNLOGGED TABLE visits (number int);
SELECT eddy.create_stream('visits', retention => '12 s');
CREATE TABLE stored_visits (number int, since timestamptz, removed timestamptz);
SELECT pg_create_logical_replication_slot('silent', 'pg_eddy_cdc');
SELECT pg_create_logical_replication_slot('asking', 'pg_eddy_cdc');
});

# Bytes of the state table, and of its indexes.
sub sizes
{
	return split /\|/, $node->safe_psql('postgres', q{
SELECT pg_table_size(state_table), pg_indexes_size(state_table)
FROM eddy.continuous_views WHERE view = 'by_minute'::regclass});
}

# Consumers of the first hours. A slot that is not read keeps pages of indexes from being used again.
sub check_changes
{
	my ($hour) = @_;
	my $removed = $hour * 60 * $keys - 121 * $keys;
	my $deletes = q{SELECT count(*) FROM pg_logical_slot_get_changes('silent', %s, NULL, 'batch-bytes', '0')
		WHERE data::json ->> 'op' = 'd'};

	sql($node, q{
CREATE TABLE deleted AS
SELECT xid, max(lsn) AS lsn, count(*) AS n
FROM pg_logical_slot_peek_changes('asking', NULL, NULL, 'batch-bytes', '0', 'retention', 'on')
WHERE data::json ->> 'op' = 'd' GROUP BY xid});
	is($node->safe_psql('postgres', 'SELECT sum(n) FROM deleted'), $removed, 'consumers that ask for it receive deletes of expired rows');

	# one hour is more than a transaction removes: the second one continues with the windows of the first
	my ($lsn, $transactions) = split /\|/, $node->safe_psql('postgres', 'SELECT min(lsn), count(*) FROM deleted');
	cmp_ok($transactions, '>', 2, 'several transactions remove them');
	is($node->safe_psql('postgres', sprintf($deletes, "'$lsn'")), 0, 'others receive none');
	is($node->safe_psql('postgres', sprintf($deletes, 'NULL')), 0, 'also if they reconnect between these transactions');
	sql($node, "SELECT pg_drop_replication_slot(s) FROM unnest(ARRAY['silent', 'asking']) s");
	return;
}

# Adds a row of a user, and notes which of the earlier ones are not stored any more.
sub store_visit
{
	my ($number) = @_;

	sql($node, qq{
INSERT INTO stored_visits VALUES ($number, clock_timestamp());
INSERT INTO visits VALUES ($number)});
	sql($node, 'VACUUM (FREEZE) visits');
	sql($node, q{
UPDATE stored_visits s SET removed = clock_timestamp()
WHERE removed IS NULL AND NOT EXISTS (SELECT FROM visits v WHERE v.number = s.number)});
	return;
}

my @early_sizes;
my @sizes;

foreach my $hour (1 .. $hours)
{
	sql($node, qq{
INSERT INTO readings
SELECT s, s * m, timestamptz '2026-01-01 00:00Z' + ($hour - 1) * interval '1 hour' + m * interval '1 minute'
FROM generate_series(0, 59) m, generate_series(1, $keys) s});
	# the window of the last minute is not final, so two hours before it are kept
	# all windows are final but that of the last minute
	my $closed = ($hour * 60 - 1) * $keys;
	wait_until($node, qq{
SELECT min(window_end) > (SELECT max(at) FROM readings) - interval '2 hours'
	AND (SELECT closed_groups FROM eddy.stat_continuous_views WHERE view = 'by_minute'::regclass) = $closed
FROM by_minute}, "hour $hour is closed, and rows older than two hours are removed");
	sql($node, 'VACUUM eddy._by_minute_state');
	check_changes($hour) if $hour == 4;
	store_visit($hour);
	@sizes = sizes();
	note(sprintf 'hour %d: state table %.1f MB, indexes %.1f MB', $hour, map { $_ / 1e6 } @sizes);
	@early_sizes = @sizes if $hour == $hours / 2;
}

is($node->safe_psql('postgres', q{
WITH expected AS (
	SELECT sensor, w.window_start, w.window_end, count(*) AS n, avg(value) AS mean
	FROM readings, eddy.tumble(at, '1 minute') AS w
	WHERE w.window_end > (SELECT max(at) FROM readings) - interval '2 hours'
	GROUP BY sensor, w.window_start, w.window_end)
SELECT (SELECT count(*) FROM (TABLE by_minute EXCEPT ALL TABLE expected) d),
	(SELECT count(*) FROM (TABLE expected EXCEPT ALL TABLE by_minute) d),
	(SELECT count(*) FROM expected)}),
	'0|0|' . 121 * $keys, 'the rows of the last two hours are those of the SELECT');
cmp_ok($sizes[0], '<=', 1.1 * $early_sizes[0], 'the state table does not grow in the second half of the day');
cmp_ok($sizes[1], '<=', 1.1 * $early_sizes[1], 'neither do its indexes');

wait_until($node, 'SELECT count(*) = 0 FROM visits WHERE number = 1', 'old rows of users are removed, although they are frozen', 60);
store_visit($hours + 1);
is($node->safe_psql('postgres', q{SELECT count(*) FROM stored_visits WHERE removed < since + interval '12 s'}),
	0, 'not before the retention has passed');

done_testing();
