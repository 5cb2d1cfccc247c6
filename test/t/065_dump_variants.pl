# 065_dump_variants.pl: parts of a dump, and options of pg_dump and pg_restore.
#
# A database with views of several kinds is restored in several ways. Each copy must show the same results and
# continue them: after more rows, each view equals its SELECT over the rows of the original and the new ones.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %views = (
	groups => 'SELECT k, count(*) AS n, sum(n) AS s, avg(n) AS a FROM events GROUP BY k',
	kept => 'SELECT k, array_agg(id) AS l, count(DISTINCT n) AS d FROM events GROUP BY k',
	hops => q{SELECT k, w.window_end, count(*) AS n FROM events, eddy.hop(at, '10 s', '1 min') w
		GROUP BY k, w.window_end},
	final => q{SELECT w.window_start, w.window_end, max(id) AS last
		FROM events, eddy.tumble(at, '1 min') w GROUP BY w.window_start, w.window_end},
	totals => 'SELECT k, count(*) AS n FROM events GROUP BY ROLLUP (k)',
	branches => 'SELECT k, count(*) AS n FROM (SELECT k FROM events UNION ALL SELECT upper(k) FROM events WHERE n > 5) b GROUP BY k',
	united_final => q{SELECT u.k, w.window_end, count(*) AS n, sum(u.id) AS s
		FROM (SELECT k, id, at FROM events UNION ALL SELECT upper(k), -id, at FROM others) u, eddy.tumble(u.at, '1 min') w
		GROUP BY u.k, w.window_end},
	zz_queued => 'SELECT k, count(*) AS n, max(id) AS last FROM events GROUP BY k',
	zz_appended => 'SELECT id, upper(k) AS k FROM events',
	zz_chained => 'SELECT s > 400 AS big, count(*) AS groups, sum(n) AS n FROM groups GROUP BY s > 400',
	# created last, and restored before the views that they read
	aa_diamond => q{SELECT u.what, count(*) AS rows, sum(u.n) AS n, max(u.n) AS top
		FROM (SELECT k AS what, n FROM groups UNION ALL SELECT big::text, groups FROM zz_chained
			  UNION ALL SELECT 'event', id FROM events) u GROUP BY u.what},
	aa_diamond_final => q{SELECT w.window_end, sum(u.n) AS n, count(*) AS rows
		FROM (SELECT window_start AS at, last AS n FROM final UNION ALL SELECT window_end, s FROM united_final) u,
			eddy.tumble(u.at, '5 min') w GROUP BY w.window_end});
my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = new_node('dumps');
my $bin = $node->config_data('--bindir');

# Adds rows, also to the table of all rows.
sub add_rows
{
	my ($database, $first, $last) = @_;

	return $node->safe_psql(
		$database, qq{
WITH rows AS (SELECT i, chr(97 + i % 3), i / 4.0, '2026-01-01Z'::timestamptz + i * interval '1 min'
			  FROM generate_series($first, $last) i),
	added AS (INSERT INTO accepted SELECT * FROM rows),
	others AS (INSERT INTO others SELECT * FROM rows)
INSERT INTO events SELECT * FROM rows});
}

sub views_ok
{
	my ($database, $when) = @_;

	foreach my $view (sort keys %views)
	{
		my $want = $views{$view};

		$want =~ s/FROM $_\b/FROM ($views{$_}) $_/g foreach qw(zz_chained groups final united_final);
		$want =~ s/FROM (events|others)/FROM (SELECT * FROM accepted ORDER BY k, id) $1/g;

		$want = "SELECT * FROM ($want) f WHERE window_end <= eddy.watermark('$view')"
		  if $view =~ /final$/;
		is($node->safe_psql($database, difference("SELECT * FROM $view", $want)),
			'', "$database, $when: view $view equals its SELECT");
	}
	return;
}

sub dump_database
{
	my ($name, @options) = @_;

	return $node->command_ok([ 'pg_dump', '-f', "$dir/$name", @options, $node->connstr('postgres') ],
		"pg_dump @options works");
}

sub restore
{
	my ($database, $name, @options) = @_;

	return $node->command_ok(
		[ 'pg_restore', '--exit-on-error', @options, '-d', $node->connstr($database), "$dir/$name" ],
		"$database: pg_restore @options works");
}

# The copy has the results of the original, and continues them.
sub copy_ok
{
	my ($database) = @_;

	views_ok($database, 'restored');
	add_rows($database, 101, 130);
	views_ok($database, 'continued');
	is($node->safe_psql($database, q{SELECT count(*) FROM eddy.changes('totals')}),
		'4', "$database: changes are kept, as in the original");
	is($node->safe_psql($database, q{SELECT count(*) FROM eddy.continuous_views WHERE state = 'running'}),
		scalar(keys %views), "$database: all views are maintained");
	return;
}

sql($node, q{
CREATE UNLOGGED TABLE events (id int, k text, n numeric, at timestamptz);
CREATE TABLE accepted (LIKE events);
CREATE UNLOGGED TABLE others (LIKE events);
SELECT eddy.create_stream('events', event_time => 'at', delay => '30 min');
SELECT eddy.create_stream('others', event_time => 'at', delay => '40 min');
});
sql($node, "SELECT eddy.create_continuous_view('$_', \$\$$views{$_}\$\$"
	  . (/final$/ ? ", emit => 'on_close')" : $_ eq 'zz_queued' ? ", maintenance => 'deferred')" : ')'))
  foreach sort { ($a =~ /^aa/) <=> ($b =~ /^aa/) || $a cmp $b } keys %views;
sql($node, q{SELECT eddy.keep_changes('totals', retention => '1 day')});
# a view with groups, and with deltas that are not merged while the groups are locked
add_rows('postgres', 1, 60);
wait_until($node, 'SELECT (SELECT count(*) = 3 FROM eddy._zz_queued_state) AND (SELECT count(*) = 0 FROM eddy._zz_queued_deltas)',
	'deltas are merged');
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; SELECT count(*) FROM (SELECT FROM eddy._zz_queued_state FOR UPDATE) s');
add_rows('postgres', 61, 100);
views_ok('postgres', 'original');

$node->safe_psql('postgres', "CREATE DATABASE $_")
  foreach qw(parallel without_rows in_parts plain_data slowly refused);

dump_database('data.sql', '--data-only', '--no-unlogged-table-data', '--disable-triggers');
$holder->quit;
dump_database('directory', '-Fd', '-j', 4);
restore('parallel', 'directory', '-j', 4);
is($node->safe_psql('parallel', 'SELECT count(*) FROM events'), '100', 'the stream has its rows');
copy_ok('parallel');

dump_database('without_rows', '-Fc', '--no-unlogged-table-data');
restore('without_rows', 'without_rows');
is($node->safe_psql('without_rows', 'SELECT count(*) FROM events'), '0', 'the stream is empty');
copy_ok('without_rows');

dump_database('schema', '-Fc', '--schema-only');
dump_database('data', '-Fc', '--data-only', '--no-unlogged-table-data');
restore('in_parts', 'schema');
restore('in_parts', 'data', '--disable-triggers');
copy_ok('in_parts');

restore('plain_data', 'schema');
$node->command_ok(
	[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/data.sql", $node->connstr('plain_data') ],
	'plain_data: psql runs a dump of data');
copy_ok('plain_data');

# the worker of the database does not touch views while they are loaded, table by table
restore('slowly', 'schema');
# without the commands that refuse the commands of query_safe
my $data = slurp_file("$dir/data.sql") =~ s/^\\(un)?restrict .*$//mgr;
like($data, qr/COPY eddy\._view .*COPY eddy\._zz_queued_deltas .*COPY eddy\._zz_queued_state /s,
	'views and deltas are loaded before the groups');
my ($first, $second) = $data =~ /^(.*)(COPY eddy\._zz_queued_state .*)$/s;
my $session = $node->background_psql('slowly');
$session->query_safe($first);
wait_until($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'slowly' AND query = 'waiting for the end of a restore'},
	'slowly: the worker waits');
is($node->safe_psql('slowly', 'SELECT (SELECT count(*) > 0 FROM eddy._zz_queued_deltas), (SELECT count(*) FROM eddy._zz_queued_state)'),
	't|0', 'slowly: the deltas are not merged');
$session->query_safe($second);
$session->quit;
wait_until($node, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'slowly' AND query = 'waiting for the end of a restore'},
	'slowly: the worker continues');
copy_ok('slowly');

# with the rows of streams, pg_restore reports errors and continues: no row is counted twice
dump_database('all_data', '-Fc', '--data-only');
restore('refused', 'schema');
$node->command_checks_all(
	[ 'pg_restore', '--disable-triggers', '-d', $node->connstr('refused'), "$dir/all_data" ],
	1, [],
	[
		qr/cannot enable or disable trigger "pg_eddy_capture"/,
		qr/cannot copy rows into stream "events" without its triggers/,
		qr/--no-unlogged-table-data/
	],
	'rows that the views have counted are refused');
copy_ok('refused');

$node->stop;
done_testing();
