# 052_group_cache.pl: the places of groups that a source worker remembers.
#
# Groups of recent batches are found without the index. Nothing changes when the remembered places are wrong: rows
# that others have updated, deleted or moved, and transactions that were rolled back.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = start_broker();
my $node = new_node('group_cache', "pg_eddy.batch_rows = 200", "autovacuum = off");
attach_server($node, $broker->address);

my $groups = 100;

sub new_source
{
	my ($name, $key) = @_;

	$broker->create_topic($name);
	sql($node, "CREATE UNLOGGED TABLE $name (id bigint, name text); SELECT eddy.create_stream('$name')");
	sql($node, qq{SELECT eddy.create_continuous_view('${name}_groups',
		\$\$SELECT $key AS k, count(*) AS n, sum(id) AS ids FROM $name GROUP BY 1\$\$)});
	sql($node, qq{SELECT eddy.attach_kafka('$name', server => 'kafka', topic => '$name')});
	return;
}

sub produce
{
	my ($name, @ids) = @_;

	$broker->produce($name, map { [ 0, undef, sprintf('{"id": %d, "name": "%s"}', $_, $_ % 2 ? 'odd' : 'even') ] } @ids);
	wait_for_consumed($node, $broker, $name);
	return;
}

# Returns lookups and hits of a source.
sub counts
{
	my ($name) = @_;

	return split /\|/, sql($node, "SELECT group_lookups, group_hits FROM eddy.stat_workers WHERE topic = '$name'");
}

sub view_is_select
{
	my ($name, $key, $what) = @_;

	equal_ok($node, "SELECT * FROM ${name}_groups",
		"SELECT $key AS k, count(*) AS n, sum(id) AS ids FROM $name GROUP BY 1", $what);
	return;
}

# The second time each group is known.
new_source('numbers', "id % $groups");
produce('numbers', 1 .. 2000);
view_is_select('numbers', "id % $groups", 'groups are counted');
my ($lookups, $hits) = counts('numbers');
cmp_ok($lookups, '>=', 10 * $groups, 'each batch looks up its groups');
cmp_ok($hits, '>', 0.8 * ($lookups - $groups), 'nearly all groups are found after the first batch');
cmp_ok($hits, '<=', $lookups - $groups, 'new groups are not found');

# Rows that were updated and deleted by other sessions
sql($node, "INSERT INTO numbers SELECT id FROM generate_series(2001, 3000) id");
produce('numbers', 3001 .. 3400);
view_is_select('numbers', "id % $groups", 'groups that another session has updated');
my ($lookups2, $hits2) = counts('numbers');
cmp_ok($hits2 - $hits, '<', $lookups2 - $lookups, 'old versions of rows are not used');
sql($node, q{BEGIN; INSERT INTO numbers SELECT id FROM generate_series(1, 300) id; ROLLBACK});
produce('numbers', 3401 .. 3600);
view_is_select('numbers', "id % $groups", 'groups that a transaction has updated and rolled back');

sql($node, "DELETE FROM numbers_groups WHERE k < 50");
produce('numbers', 3601 .. 4000);
is( sql($node, 'SELECT count(*), sum(n), min(n), max(n) FROM numbers_groups WHERE k < 50'),
	'50|200|4|4', 'groups that were deleted begin again');
sql($node, "DELETE FROM numbers_groups");
sql($node, q{VACUUM eddy._numbers_groups_state});
produce('numbers', 4001 .. 4400);
is(sql($node, 'SELECT count(*), min(n), max(n) FROM numbers_groups'), "$groups|4|4", 'the table has become shorter');

# The table is rewritten: other rows are at the places
sql($node, 'VACUUM FULL eddy._numbers_groups_state');
produce('numbers', 4401 .. 4800);
is(sql($node, 'SELECT count(*), min(n), max(n) FROM numbers_groups'), "$groups|8|8", 'the table was rewritten');
sql($node, "SELECT eddy.pause('numbers_groups'); SELECT eddy.resume('numbers_groups')");
produce('numbers', 4801 .. 5200);
view_is_select('numbers', "id % $groups", 'the view was made again');

# Keys of other types, equal values that look different, and NULL
new_source('texts', "nullif(name, 'even')");
produce('texts', 1 .. 1000);
produce('texts', 1001 .. 2000);
view_is_select('texts', "nullif(name, 'even')", 'text and NULL as keys');
($lookups, $hits) = counts('texts');
is($hits, $lookups - 2, 'they are found, too');

new_source('scales', "CASE WHEN id % 2 = 0 THEN 1.0 ELSE 1.00 END");
produce('scales', 1 .. 1000);
produce('scales', 1001 .. 1100);
is(sql($node, 'SELECT count(*), sum(n) FROM scales_groups'), '1|1100', 'equal values that look different are one group');

# Old versions are removed before a page is full: updates of groups that are found without the index are HOT, too.
new_source('updates', 'id % 200');
produce('updates', 1 .. 8000);
cmp_ok(sql($node, q{SELECT hot_updated / updated::numeric FROM eddy.stat_continuous_views WHERE view = 'updates_groups'::regclass}),
	'>', 0.95, 'updates are HOT');
cmp_ok(sql($node, q{SELECT pg_relation_size('eddy._updates_groups_state') / 8192}), '<=', 16, 'and the table stays small');

# New groups are not searched between two rows of the index.
new_source('gaps', 'id');
sql($node, q{SELECT eddy.create_continuous_view('gaps_pairs', $$
	SELECT name, id / 100 AS h, nullif(id % 11, 0) AS k, count(*) AS n FROM gaps GROUP BY 1, 2, 3 $$)});
produce('gaps', map { 10 * $_ } 1 .. 90);
produce('gaps', map { 4 * $_ } 1 .. 300);
produce('gaps', map { 3 * $_ } 1 .. 500);
view_is_select('gaps', 'id', 'new groups before, between and after others');
equal_ok($node, 'SELECT * FROM gaps_pairs',
	'SELECT name, id / 100 AS h, nullif(id % 11, 0) AS k, count(*) AS n FROM gaps GROUP BY 1, 2, 3', 'with keys of several columns, and NULL');

# A type without hash function, and no memory
new_source('bits', 'id::int::bit(4)');
produce('bits', 1 .. 1000);
view_is_select('bits', 'id::int::bit(4)', 'keys of a type without hash function');
is((counts('bits'))[1], '0', 'which are always looked up in the index');

sql($node, q{ALTER SYSTEM SET pg_eddy.group_cache_memory = 0});
$node->restart;
wait_for_state($node, 'texts', 'running');
produce('texts', 2001 .. 3000);
is(join('|', counts('texts')), '0|0', 'the setting disables the cache');
is(sql($node, 'SELECT count(*), sum(n) FROM texts_groups'), '2|3000', 'with the same result');

$node->stop;
$broker->stop;
done_testing();
