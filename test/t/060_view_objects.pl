# 060_view_objects.pl: the objects behind continuous views after dump and restore.
#
# The definition and the state table belong to the extension's owner, with privileges for the
# owner of the view and a dependency that is not dumped. A database is restored in three ways, and
# each copy must protect, maintain, reassign and drop its views like the original.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('objects');
my $dir = PostgreSQL::Test::Utils::tempdir();

# Runs SQL in a database; returns its output and its messages.
sub run
{
	my ($database, $sql) = @_;
	my ($out, $err);

	$node->psql($database, $sql, stdout => \$out, stderr => \$err);
	return ($out, $err);
}

sub query
{
	my ($database, $sql) = @_;

	return $node->safe_psql($database, $sql);
}

#
# The original
#

query('postgres', q{
CREATE ROLE ann;
CREATE ROLE bob;
CREATE ROLE boss SUPERUSER LOGIN;
CREATE ROLE writer;
CREATE SCHEMA shop AUTHORIZATION ann;
GRANT USAGE ON SCHEMA shop TO bob, writer;
GRANT CREATE ON SCHEMA shop TO bob;
SET search_path = shop;
SET ROLE ann;
CREATE TABLE regions (id int PRIMARY KEY, name text);
INSERT INTO regions VALUES (1, 'north'), (2, 'south');
CREATE UNLOGGED TABLE sales (region int, amount int, at timestamptz);
SELECT eddy.create_stream('sales', event_time => 'at');
GRANT INSERT ON sales TO writer;
GRANT SELECT, TRIGGER ON sales TO bob;
SELECT eddy.create_continuous_view('by_region', $$
	SELECT r.name, sum(s.amount) AS total, avg(s.amount) AS average
	FROM sales s JOIN regions r ON r.id = s.region GROUP BY r.name $$);
SELECT eddy.create_continuous_view('"Big ""sales"""', $$
	SELECT region, count(*) FROM sales GROUP BY region HAVING sum(amount) > 10 $$);
SET ROLE bob;
SELECT eddy.create_continuous_view('total', 'SELECT count(*) FROM sales');
SELECT eddy.create_continuous_view('idle', 'SELECT count(*) FROM sales');
CREATE VIEW on_top AS SELECT count FROM total;
SET ROLE writer;
INSERT INTO sales VALUES (1, 10, now()), (2, 20, now());
SET ROLE bob;
SELECT eddy.pause('idle');
SET ROLE writer;
INSERT INTO sales VALUES (1, 1, now());
});

my $objects = q{
SELECT c.relname, c.relkind, c.relowner::regrole,
       (SELECT string_agg(format('%s=%s', a.grantee::regrole, a.privilege_type), ',' ORDER BY 1)
        FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner)
FROM pg_class c WHERE c.relnamespace IN ('eddy'::regnamespace, 'shop'::regnamespace)
  AND c.relkind IN ('r', 'v') AND c.relname !~ 'segment' ORDER BY 1};
my $internal = q{
SELECT count(*) FROM eddy._view v JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = v.definition
  AND d.refobjid = v.view AND d.deptype = 'i'};
my $contents = q{
SELECT format('%s %s %s', name, total, average::int) FROM shop.by_region
UNION ALL SELECT format('%s %s', region, count) FROM shop."Big ""sales"""
UNION ALL SELECT format('total %s', count) FROM shop.total
UNION ALL SELECT format('idle %s', count) FROM shop.idle ORDER BY 1};
my $states = q{SELECT view, state FROM eddy.continuous_views ORDER BY view::text COLLATE "C"};
my %original = map { $_ => query('postgres', $_) } ($objects, $contents, $states);

is(query('postgres', $internal), '4', 'each definition depends internally on its view');
like($original{$contents}, qr/^north 11 6$/m, 'the views are maintained');
like($original{$states}, qr/^shop.idle\|suspended$/m, 'one view is suspended');

#
# The copies
#

# Restores without any messages: pg_dump warns about loops of dependencies.
sub check_quiet
{
	my ($what, @command) = @_;
	my $ok = IPC::Run::run(\@command, '>', \my $out, '2>', \my $err);

	ok($ok, "$what succeeds");
	is($err, '', "$what says nothing");
	return;
}

my @connection = ('--host', $node->host, '--port', $node->port);
my $bindir = $node->config_data('--bindir');

check_quiet('pg_dump', "$bindir/pg_dump", @connection, '--file', "$dir/plain.sql", 'postgres');
check_quiet('pg_dump --format=custom',
	"$bindir/pg_dump", @connection, '--format', 'custom', '--file', "$dir/custom", 'postgres');
$node->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE template0")
  foreach qw(plain parallel foreign_owner);
check_quiet('psql', "$bindir/psql", @connection, '--no-psqlrc', '--quiet', '--set', 'ON_ERROR_STOP=1',
	'--output', "$dir/plain.out", '--file', "$dir/plain.sql", 'plain');
check_quiet('pg_restore --jobs',
	"$bindir/pg_restore", @connection, '--jobs', 4, '--exit-on-error', '--dbname', 'parallel', "$dir/custom");
check_quiet('pg_restore by another superuser',
	"$bindir/pg_restore", @connection, '--username', 'boss', '--exit-on-error',
	'--dbname', 'foreign_owner', "$dir/custom");

foreach my $copy (qw(plain parallel foreign_owner))
{
	my ($out, $err);
	my %owned = map { $_ => query($copy, $_) } ($objects, $contents, $states);

	# there the extension, and therefore the objects behind views, belong to the restoring superuser
	$owned{$objects} =~ s/\|boss\|/|postgres|/g;
	(my $expected = $original{$objects}) =~ s/\|boss\|/|postgres|/g;
	is($owned{$objects}, $expected, "$copy: owners and privileges are those of the original");
	is(query($copy, q{
		SELECT count(*) FROM eddy._view v JOIN pg_class c ON c.oid = ANY (v.definition || v.state_tables)
		JOIN pg_extension e ON e.extname = 'pg_eddy' AND e.extowner = c.relowner}),
		'8', "$copy: definitions and state tables belong to the extension's owner");
	is($owned{$contents}, $original{$contents}, "$copy: the views have their content");
	is($owned{$states}, $original{$states}, "$copy: the suspended view is suspended");
	is(query($copy, $internal), '4', "$copy: the dependencies are recorded again");

	# maintenance, by writers who have only INSERT on the stream
	query($copy, q{SET ROLE writer; INSERT INTO shop.sales VALUES (1, 100, now()), (2, 5, now())});
	is(query($copy, $contents), "1 3\n2 2\nidle 2\nnorth 111 37\nsouth 25 13\ntotal 5",
		"$copy: the views are maintained");
	query($copy, q{SET ROLE bob; SELECT eddy.resume('shop.idle')});
	is(query($copy, 'TABLE shop.idle'), '5', "$copy: the suspended view is rebuilt");

	# protection
	(undef, $err) = run($copy, q{SET ROLE ann; ALTER TABLE eddy._by_region_state ALTER COLUMN _state1 TYPE bigint USING 1});
	like($err, qr/must be owner of table _by_region_state/, "$copy: the state table cannot be altered");
	(undef, $err) = run($copy, q{SET ROLE bob; CREATE OR REPLACE VIEW shop.total AS SELECT 1::bigint AS count});
	like($err, qr/cannot replace the query of continuous view/, "$copy: the query of a view cannot be replaced");
	(undef, $err) = run($copy, 'DROP VIEW eddy._total_def');
	like($err, qr/view shop.total requires it/, "$copy: the definition cannot be dropped without the view");
	(undef, $err) = run($copy, 'DROP TABLE shop.sales');
	like($err, qr/view shop.by_region depends on table shop.sales/, "$copy: messages name the views");
	unlike($err, qr/_def|_segment/, "$copy: messages do not name internal relations");

	# reassigning and dropping
	query($copy, 'REASSIGN OWNED BY bob TO ann');
	is(query($copy, q{SET ROLE ann; DELETE FROM shop.idle; SELECT count FROM shop.total}),
		'5', "$copy: REASSIGN OWNED changes the privileges on the state table");
	query($copy, q{SET ROLE writer; INSERT INTO shop.sales VALUES (1, 100, now())});
	is(query($copy, q{SET ROLE ann; TABLE shop.total}), '6', "$copy: views are maintained after REASSIGN OWNED");
	(undef, $err) = run($copy, 'SET ROLE ann; DROP VIEW shop.total');
	like($err, qr/view shop.on_top depends on view shop.total/, "$copy: DROP minds dependents");
	query($copy, q{SET ROLE ann; DROP VIEW shop.total CASCADE; DROP VIEW shop.by_region;
		SELECT eddy.drop_continuous_view('shop.idle')});
	query($copy, 'DROP OWNED BY ann CASCADE');
	is(query($copy, q{SELECT count(*) FROM eddy._view}), '0', "$copy: no view remains");
	is(query($copy, q{SELECT count(*) FROM pg_class WHERE relnamespace = 'eddy'::regnamespace
		AND relname ~ '_(def|state)$'}), '0', "$copy: no internal relation remains");
	query($copy, 'DROP EXTENSION pg_eddy');
}

is(query('postgres', $contents), $original{$contents}, 'the original has not changed');
$node->stop;
done_testing();
