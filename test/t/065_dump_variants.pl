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
	zz_appended => 'SELECT id, upper(k) AS k FROM events');
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
	added AS (INSERT INTO accepted SELECT * FROM rows)
INSERT INTO events SELECT * FROM rows});
}

sub views_ok
{
	my ($database, $when) = @_;

	foreach my $view (sort keys %views)
	{
		my $want = $views{$view} =~ s/FROM events/FROM (SELECT * FROM accepted ORDER BY k, id) events/r;

		$want = "SELECT * FROM ($want) f WHERE window_end <= eddy.watermark('events')"
		  if $view eq 'final';
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
	is($node->safe_psql($database, q{SELECT count(*) FROM eddy.continuous_views WHERE state = 'running'}),
		scalar(keys %views), "$database: all views are maintained");
	return;
}

sql($node, q{
CREATE UNLOGGED TABLE events (id int, k text, n numeric, at timestamptz);
CREATE TABLE accepted (LIKE events);
SELECT eddy.create_stream('events', event_time => 'at', delay => '30 min');
});
sql($node, "SELECT eddy.create_continuous_view('$_', \$\$$views{$_}\$\$"
	  . ($_ eq 'final' ? ", emit => 'on_close')" : ')'))
  foreach sort keys %views;
add_rows('postgres', 1, 100);
views_ok('postgres', 'original');

$node->safe_psql('postgres', "CREATE DATABASE $_")
  foreach qw(parallel without_rows in_parts plain_data refused);

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

dump_database('data.sql', '--data-only', '--no-unlogged-table-data', '--disable-triggers');
restore('plain_data', 'schema');
$node->command_ok(
	[ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/data.sql", $node->connstr('plain_data') ],
	'plain_data: psql runs a dump of data');
copy_ok('plain_data');

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
