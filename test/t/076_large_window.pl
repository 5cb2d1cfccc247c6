# 076_large_window.pl: closing one window with 100,000 groups.
#
# The database worker closes it in several transactions, in the order of the keys, while batches arrive. It
# continues where it has stopped: all in all each group is read about once, which the statistics of the
# index show. The same for forgetting states, when allowed lateness ends, and for retention.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $groups = 100_000;
my $node = new_node('large_window');

# Keys have a column with NULLs and equal values, so that ranges after a key are of all kinds.
sql($node, q{
CREATE UNLOGGED TABLE events (device int, area text, at timestamptz, value int);
SELECT eddy.create_stream('events', event_time => 'at', retention => '10 days');
SELECT eddy.create_continuous_view('hourly', 'SELECT w.window_end, area, device, count(*) AS n, avg(value) AS mean
	FROM events, eddy.tumble(at, ''1 h'') w GROUP BY w.window_end, area, device', emit => 'on_close', retention => '10 h');
SELECT eddy.create_continuous_view('corrected', 'SELECT w.window_end, area, device, count(*) AS n, avg(value) AS mean
	FROM events, eddy.tumble(at, ''1 h'') w GROUP BY w.window_end, area, device',
	late => 'update', allowed_lateness => '5 h');
SELECT pg_create_logical_replication_slot('slot', 'pg_eddy_cdc');
});

# Entries that scans of the index of a view have returned.
sub entries
{
	my ($view) = @_;

	return sql($node, qq{
SELECT sum(pg_stat_get_tuples_returned(indexrelid))
FROM pg_index WHERE indrelid = (SELECT state_table FROM eddy.continuous_views WHERE view = '$view'::regclass)});
}

# For queries of the test itself, which must not count.
my $no_index = 'SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off;';

# Runs until a condition holds, inserts rows of other windows meanwhile, and returns the longest of these in seconds.
sub insert_until
{
	my ($hour, $condition, $what) = @_;
	my $deadline = time() + $EddyTest::wait_timeout;
	my $session = $node->background_psql('postgres');
	my ($longest, $done) = (0, '');

	$session->query_safe($no_index);

	while (time() < $deadline && $done ne 't')
	{
		my $start = time();
		$session->query_safe("INSERT INTO events VALUES (1, 'meanwhile', timestamptz '2026-01-01 00:31Z' + $hour * interval '1 h', 1)");
		$longest = time() - $start if time() - $start > $longest;
		$done = $session->query_safe("SELECT $condition");
	}
	$session->quit;
	is($done, 't', $what);
	return $longest;
}

sql($node, qq{
INSERT INTO events SELECT i / 2, CASE WHEN i % 2 = 0 THEN 'even' END, '2026-01-01 00:30Z', i FROM generate_series(1, $groups) i});
sql($node, 'VACUUM ANALYZE');
my $count = sql($node, 'SELECT count(*) FROM (SELECT DISTINCT device, area FROM events) e');

my %before = map { $_ => entries($_) } qw(hourly corrected);
my $start = time();
sql($node, q{INSERT INTO events VALUES (1, 'next', '2026-01-01 01:00Z', 1)});
my $longest = insert_until(1, "(SELECT count(*) = 2 * $count FROM (SELECT FROM hourly UNION ALL SELECT FROM eddy._corrected_state WHERE _final) c)",
	'the window is closed in both views');
note(sprintf('%d groups of two views were closed in %.2f s; the longest of the inserts meanwhile took %.0f ms',
		2 * $count, time() - $start, 1000 * $longest));
foreach my $view (qw(hourly corrected))
{
	# a window of a view that accepts late rows is read once more at its end
	my $limit = ($view eq 'corrected' ? 2.5 : 1.5) * $count;

	cmp_ok(entries($view) - $before{$view}, '<', $limit, "$view: each group was read about once");
}

# The first transaction is that of the insert. Each takes a few milliseconds, or as long as it has waited.
cmp_ok(sql($node, q{SELECT count(DISTINCT xmin::text) FROM eddy._hourly_state WHERE _final}),
	'>', 10, 'the window is closed in short transactions');

# each final row once, in order of key
wait_for_flush($node);
is( sql($node, q{
SELECT count(*), count(DISTINCT data::json ->> 'key'),
	bool_and((a, d) > (la, ld) OR la IS NULL)
FROM (SELECT data, a, d, lag(a) OVER (ORDER BY n) AS la, lag(d) OVER (ORDER BY n) AS ld
	FROM (SELECT data, row_number() OVER () AS n, coalesce(data::json -> 'after' ->> 'area', '~') AS a,
			(data::json -> 'after' ->> 'device')::int AS d
		FROM pg_logical_slot_get_changes('slot', NULL, NULL, 'batch-bytes', '0', 'emit', 'final', 'views', 'public.hourly')) r) o}),
	"$count|$count|t", 'consumers receive each final row once, in the order of the keys');

# corrections end: states are removed, from each group once
%before = map { $_ => entries($_) } qw(corrected);
sql($node, q{INSERT INTO events VALUES (1, 'later', '2026-01-01 06:00Z', 1)});
ok(wait_until($node, q{SELECT forgotten_until >= '2026-01-01 01:00Z' FROM eddy._view_progress WHERE view = 'corrected'::regclass},
	'states are removed'), 'states of final rows are removed when no late rows are accepted any more');
cmp_ok(entries('corrected') - $before{corrected}, '<', 1.5 * $count, 'each group was read about once');

# retention
%before = map { $_ => entries($_) } qw(hourly);
sql($node, q{INSERT INTO events VALUES (1, 'much later', '2026-01-01 12:00Z', 1)});
ok(wait_until($node, $no_index . q{SELECT count(*) = 0 FROM eddy._hourly_state WHERE window_end = '2026-01-01 01:00Z'}, 'the window is removed'),
	'its groups are removed when the retention has passed');
cmp_ok(entries('hourly') - $before{hourly}, '<', 1.5 * $count, 'each group was read about once');

$node->stop;
done_testing();
