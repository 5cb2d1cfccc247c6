# 031_cdc_hostile.pl: the output plugin under hostile conditions.
#
# Catalogs that are rewritten or dropped while changes wait to be delivered, labels that
# are not valid, and labels, tables and schemas of other roles that imitate those of pg_eddy. No
# slot may stop, the server must not crash, and every record must be JSON in UTF-8.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use Encode ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('cdc_hostile', 'autovacuum = off');
my $json = JSON::PP->new->canonical->allow_nonref->utf8;
my $warnings;    # of the last call of changes()

# Runs SQL in a database; the test ends if it fails.
sub run
{
	my ($database, $sql) = @_;

	return $node->safe_psql($database, $sql);
}

# Consumes the pending changes of a slot with the SQL function: a list of records.
sub changes
{
	my ($database, $slot, @options) = @_;
	my $list = join '', map { ", '$_'" } 'include-xid', 'off', 'include-timestamp', 'off',
	  'batch-bytes', '0', @options;
	my ($out, $status);

	($status, $out, $warnings) = $node->psql($database,
		"SET client_encoding = UTF8;
		 SELECT data FROM pg_logical_slot_get_changes('$slot', NULL, NULL$list)");
	is($status, 0, "slot $slot is read") or diag($warnings);
	return map { $json->decode($_) } split /\n/, $out;
}

# The same as text "op key=value ...", for tables with the columns k and n.
sub brief
{
	return join ' ', map { "$_->{op}:" . ($_->{after} // $_->{key})->{k} . ($_->{after} ? '=' . $_->{after}->{n} : '') } @_;
}

#
# Catalogs that are rewritten between pending changes
#

run('postgres', q{
SELECT pg_create_logical_replication_slot('s', 'pg_eddy_cdc');
CREATE UNLOGGED TABLE t (k text, v int);
SELECT eddy.create_stream('t');
SELECT eddy.create_continuous_view('v', 'SELECT k, count(*) AS n FROM t GROUP BY k');
SELECT eddy.create_continuous_view('other', 'SELECT k, sum(v) AS n FROM t GROUP BY k');
});

my $n = 0;
my @rewrites = (
	'VACUUM FULL eddy._view', 'CLUSTER eddy._view USING _view_pkey', 'REINDEX TABLE eddy._view',
	'REINDEX DATABASE CONCURRENTLY postgres', 'REINDEX SYSTEM postgres', 'VACUUM FULL eddy._v_state',
	'VACUUM FULL pg_seclabel', 'CLUSTER pg_depend USING pg_depend_reference_index', 'VACUUM FULL');
foreach my $rewrite (@rewrites)
{
	run('postgres', "INSERT INTO t VALUES ('a', 1)");
	run('postgres', $rewrite);
	run('postgres', "INSERT INTO t VALUES ('a', 1)");
	my @records = changes('postgres', 's', 'views', 'public.v');
	is(brief(@records), ($n == 0 ? 'c' : 'u') . ":a=" . ($n + 1) . " u:a=" . ($n + 2), $rewrite);
	$n += 2;
}

# All of them between undelivered transactions, in which a view is created and another renamed.
foreach my $rewrite (@rewrites)
{
	run('postgres', "INSERT INTO t VALUES ('a', 1)");
	run('postgres', $rewrite);
}
run('postgres', q{
SELECT eddy.create_continuous_view('later', 'SELECT k, max(v) AS n FROM t GROUP BY k');
ALTER VIEW v RENAME TO w;
INSERT INTO t VALUES ('b', 1)});
my @records = changes('postgres', 's', 'views', 'public.v, public.w, public.later');
is(brief(@records), join(' ', (map { "u:a=$_" } $n + 1 .. $n + @rewrites), 'c:b=1', 'c:b=1'),
	'all rewrites at once');
is(join(' ', map { $_->{view} } @records[ -2, -1 ]), 'public.w public.later',
	'names are those of the time of the change');
is($warnings, '', 'no warning');

#
# The extension is dropped, and created again
#

run('postgres', "ALTER EXTENSION pg_eddy DROP TABLE eddy._view; INSERT INTO t VALUES ('b', 1)");
run('postgres', "ALTER EXTENSION pg_eddy ADD TABLE eddy._view; INSERT INTO t VALUES ('b', 1)");
run('postgres', "ALTER EXTENSION pg_eddy UPDATE; INSERT INTO t VALUES ('b', 1)");
is(brief(changes('postgres', 's', 'views', '*.w')), 'u:b=2 u:b=3 u:b=4', 'ALTER EXTENSION');

foreach my $round (1, 2)
{
	run('postgres', "INSERT INTO t VALUES ('c', $round)");
	run('postgres', q{
		SELECT eddy.create_continuous_view('last', 'SELECT k, sum(v) AS n FROM t GROUP BY k');
		INSERT INTO t VALUES ('d', 7);
		DROP EXTENSION pg_eddy CASCADE; DROP TABLE t});
	if ($round == 1)
	{
		is(brief(changes('postgres', 's', 'views', '*.w, *.last')), 'c:c=1 c:d=1 c:d=7',
			'changes committed before DROP EXTENSION are sent');
	}
	run('postgres', q{
		CREATE EXTENSION pg_eddy;
		CREATE UNLOGGED TABLE t (k text, v int);
		SELECT eddy.create_stream('t');
		SELECT eddy.create_continuous_view('w', 'SELECT k, count(*) AS n FROM t GROUP BY k');
		INSERT INTO t VALUES ('e', 1)});
}
is(brief(changes('postgres', 's', 'views', '*.w, *.last')), 'c:e=1 c:c=1 c:d=1 c:d=7 c:e=1',
	'DROP and CREATE EXTENSION');

#
# Labels that other roles set, or that are not valid
#

run('postgres', q{
CREATE ROLE regress_eddy_thief LOGIN;
GRANT CREATE ON SCHEMA public TO regress_eddy_thief;
GRANT SELECT, TRIGGER ON t TO regress_eddy_thief;
CREATE TABLE secrets (k text, n bigint, flag boolean);
ALTER TABLE secrets REPLICA IDENTITY FULL;
SET ROLE regress_eddy_thief;
SELECT eddy.create_continuous_view('mine', 'SELECT k, count(*) AS n FROM t GROUP BY k');
CREATE TABLE fake (k text, n bigint);
});
foreach my $sql (
	q{SECURITY LABEL FOR pg_eddy ON TABLE fake IS '2 0 rows columns 1 2 keys 1'},
	q{SECURITY LABEL FOR pg_eddy ON VIEW mine IS NULL},
	q{SECURITY LABEL ON TABLE fake IS 'rows'})
{
	my ($status, undef, $error) = $node->psql('postgres', "SET ROLE regress_eddy_thief; $sql");
	like($error, qr/permission denied to set a security label of provider "pg_eddy"/, $sql);
}

my $label = run('postgres', q{SELECT label FROM pg_seclabel WHERE objoid = 'mine'::regclass});
like($label, qr/^2 [0-9a-f]{32} view$/, 'label of a view');

# A view that reads a state table and has the label of another view is not the view of that
# table. Owners cannot replace the query of a continuous view, but the plugin does not rely on that.
run('postgres', qq{
CREATE VIEW other_secrets AS SELECT k, n FROM secrets;
SECURITY LABEL FOR pg_eddy ON VIEW other_secrets IS '$label';
CREATE VIEW other_state AS SELECT k, n FROM eddy._w_state;
SECURITY LABEL FOR pg_eddy ON VIEW other_state IS '$label';
INSERT INTO secrets VALUES ('secret', 1);
INSERT INTO t VALUES ('x', 1)});
@records = changes('postgres', 's');
is(join(' ', sort map { $_->{view} } @records), 'public.mine public.w',
	'the labels of a view and its state table belong together');
run('postgres', 'DROP VIEW other_secrets, other_state, mine');

# Labels that a superuser has set, perhaps in an edited dump.
my $id = '0123456789abcdef' x 2;
run('postgres', q{CREATE VIEW over AS SELECT * FROM secrets});
foreach my $text (
	'', 'rows', 'state 1 $id columns 2 visible 0 keys 1', '1 $id rows columns 1 2 keys 1',
	'3 $id rows columns 1 2 keys 1', '2 $id', '2 $id view', '2 $id other', '2 $id auxiliary 1',
	'2 $id auxiliary ', '2 0 rows columns 1 2 keys 1', '2 ${id}0 rows columns 1 2 keys 1',
	'2 ' . 'A' x 32 . ' rows columns 1 2 keys 1', '2  $id rows columns 1 2 keys 1',
	' 2 $id rows columns 1 2 keys 1', '2 $id rows', '2 $id rows columns 1 2', '2 $id rows keys 1',
	'2 $id rows columns 1 30000 keys 1', '2 $id rows columns 1 4 keys 1',
	'2 $id rows columns 00 keys 1', '2 $id rows columns 01 keys 1', '2 $id rows columns -1 keys 1',
	'2 $id rows columns 1,2 keys 1', '2 $id rows columns 1 99999999999 keys 1',
	'2 $id rows columns' . ' 1' x 1601 . ' keys 1', '2 $id rows columns 1 2 keys 0',
	'2 $id rows columns 1 2 keys 4', '2 $id rows columns 1 2 keys 1x',
	'2 $id rows columns 1 2 keys  1', '2 $id rows columns 1 2 keys 1 ',
	'2 $id rows columns 1 2 keys 2 2', '2 $id rows columns 1 2 keys' . ' 1' x 33,
	'2 $id rows columns 1 2 keys 1 visible', '2 $id rows columns 1 2 keys 1 visible 0',
	'2 $id rows columns 1 2 keys 1 visible 1', '2 $id rows columns 1 2 keys 1 visible 4',
	'2 $id rows columns 1 2 keys 1 visible 3 3', '2 $id rows columns 1 2 keys 1 visible 3 keys 1')
{
	my $label = $text =~ s/\$id|\$\{id\}/$id/r;
	my $name = length($text) > 100 ? substr($text, 0, 50) . ' ...' : $text;

	run('postgres', qq{
SECURITY LABEL FOR pg_eddy ON TABLE secrets IS '$label';
SECURITY LABEL FOR pg_eddy ON VIEW over IS '2 $id view';
INSERT INTO secrets VALUES ('k', 1), ('l', 2)});
	is(scalar(changes('postgres', 's', 'views', '*.over')), 0, "label \"$name\"");
	next if $text eq '';    # removes the label
	like($warnings, qr/WARNING:  changes of table "secrets" are not sent/, '... warns');
	is(() = $warnings =~ /WARNING/g, 1, '... once');
}

# A view with more columns than the label of its state table: the others are not sent.
run('postgres', qq{
SECURITY LABEL FOR pg_eddy ON TABLE secrets IS '2 $id rows columns 1 keys 1';
INSERT INTO secrets VALUES ('k', 1);});
@records = changes('postgres', 's', 'views', '*.over');
is($json->encode([ map { $_->{after} } @records ]), '[{"k":"k"}]', 'columns of the label only');

# And one with fewer: they have no name in the view.
run('postgres', qq{
SECURITY LABEL FOR pg_eddy ON TABLE secrets IS '2 $id rows columns 1 1 3 2 keys 1';
INSERT INTO secrets VALUES ('z', 1, true);});
@records = changes('postgres', 's', 'views', '*.over');
is($json->encode([ map { $_->{after} } @records ]), '[{"flag":true,"k":"z","n":"z"}]',
	'columns of the view only');

# A pair of labels makes any table a state table; dropped columns are left out.
run('postgres', qq{
SECURITY LABEL FOR pg_eddy ON TABLE secrets IS '2 $id rows columns 1 2 keys 2 1 visible 3';
INSERT INTO secrets VALUES ('k', 1, true), ('l', 2, false), ('m', 3, NULL);
UPDATE secrets SET n = 4 WHERE k = 'k';
DELETE FROM secrets WHERE k = 'k';
DROP VIEW over;
ALTER TABLE secrets DROP COLUMN n;
CREATE VIEW over AS SELECT k, k AS other FROM secrets;
SECURITY LABEL FOR pg_eddy ON VIEW over IS '2 $id view';
INSERT INTO secrets VALUES ('dropped', true);
ALTER TABLE secrets ADD COLUMN added int DEFAULT 5;
UPDATE secrets SET flag = false WHERE k = 'dropped'});
@records = changes('postgres', 's', 'views', '*.over', 'include-before', 'on', 'include-lsn', 'off', 'include-seq', 'off');
is($json->encode(\@records), $json->encode([
	{ op => 'c', view => 'public.over', key => { k => 'k', n => 1 }, after => { k => 'k', n => 1 } },
	{ op => 'd', view => 'public.over', key => { k => 'k', n => 1 }, before => { k => 'k', n => 1 } },
	{ op => 'c', view => 'public.over', key => { k => 'k', n => 4 }, after => { k => 'k', n => 4 } },
	{ op => 'd', view => 'public.over', key => { k => 'k', n => 4 }, before => { k => 'k', n => 4 } },
	{ op => 'c', view => 'public.over', key => { k => 'dropped' }, after => { k => 'dropped' } },
	{ op => 'd', view => 'public.over', key => { k => 'dropped' }, before => { k => 'dropped' } } ]),
	'a table with the labels of a state table') or diag(explain(\@records));
run('postgres', 'DROP TABLE secrets CASCADE');

#
# Views with several state tables, and hidden columns anywhere
#

run('postgres', qq{
CREATE TABLE final (h1 text, n bigint, h2 int, k text, seen boolean, other text);
CREATE TABLE panes (k text, n bigint, PRIMARY KEY (k));
CREATE TABLE closed (n bigint, key text);
CREATE VIEW several AS
	SELECT k, n FROM final WHERE seen UNION ALL SELECT k, n FROM panes WHERE false
	UNION ALL SELECT key, n FROM closed;
ALTER TABLE final REPLICA IDENTITY FULL;
ALTER TABLE closed REPLICA IDENTITY FULL;
SECURITY LABEL FOR pg_eddy ON TABLE final IS '2 $id rows columns 4 2 keys 4 visible 5';
SECURITY LABEL FOR pg_eddy ON TABLE panes IS '2 $id auxiliary';
SECURITY LABEL FOR pg_eddy ON VIEW several IS '2 $id view';
BEGIN;
INSERT INTO panes VALUES ('p', 1);
INSERT INTO final VALUES ('x', 1, 7, 'a', true, 'y'), (NULL, 2, NULL, 'b', false, NULL);
UPDATE panes SET n = 2;
UPDATE final SET h1 = 'z', h2 = 8, other = NULL;
UPDATE final SET n = n + 10, seen = true;
DELETE FROM panes;
INSERT INTO closed VALUES (5, 'c');
DELETE FROM final WHERE k = 'a';
COMMIT});
@records = changes('postgres', 's', 'views', '*.several', 'include-before', 'on', 'include-lsn', 'off', 'net', 'off');
is($json->encode(\@records), $json->encode([
	{ op => 'c', view => 'public.several', seq => 2, key => { k => 'a' }, after => { k => 'a', n => 1 } },
	{ op => 'u', view => 'public.several', seq => 10, key => { k => 'a' }, before => { k => 'a', n => 1 },
		after => { k => 'a', n => 11 } },
	{ op => 'c', view => 'public.several', seq => 12, key => { k => 'b' }, after => { k => 'b', n => 12 } },
	{ op => 'd', view => 'public.several', seq => 16, key => { k => 'a' }, before => { k => 'a', n => 11 } } ]),
	'one table has the rows, one is auxiliary, one has no label') or diag(explain(\@records));
is($warnings, '', '... without a warning');

run('postgres', qq{
SECURITY LABEL FOR pg_eddy ON TABLE closed IS '2 $id rows columns 2 1 keys 2';
INSERT INTO final VALUES (NULL, 1, NULL, 'f', true, NULL);
INSERT INTO closed VALUES (6, 'c')});
is(brief(changes('postgres', 's', 'views', '*.several')), 'c:f=1 c:c=6', 'two tables have rows');

run('postgres', qq{
SECURITY LABEL FOR pg_eddy ON TABLE final IS '2 $id auxiliary';
SECURITY LABEL FOR pg_eddy ON TABLE closed IS '2 $id auxiliary';
INSERT INTO final VALUES (NULL, 1, NULL, 'f', true, NULL);
INSERT INTO closed VALUES (6, 'c')});
is(scalar(changes('postgres', 's', 'views', '*.several')), 0, 'no table has rows');
is($warnings, '', '... without a warning');
run('postgres', 'DROP VIEW several; DROP TABLE final, panes, closed');

#
# Copies, and imitations
#

# A dump carries the labels.
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
run('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'dump');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ],
	'restore');
run('restored', q{SELECT pg_create_logical_replication_slot('restored', 'pg_eddy_cdc')});
run('restored', q{INSERT INTO t VALUES ('restored', 1)});
is(brief(changes('restored', 'restored', 'views', '*.w')), 'c:restored=1', 'a restored view has changes');
run('restored', q{SELECT pg_drop_replication_slot('restored')});
run('postgres', 'DROP DATABASE restored');

# A database without the extension, in which a role creates objects with the names of ours.
run('postgres', 'CREATE DATABASE bare');
run('postgres', 'GRANT CREATE ON DATABASE bare TO regress_eddy_thief');
run('bare', q{
SELECT pg_create_logical_replication_slot('bare', 'pg_eddy_cdc');
SET ROLE regress_eddy_thief;
CREATE SCHEMA other;
CREATE TABLE other.plain (a int);
INSERT INTO other.plain VALUES (1);    -- the guards of the library leave such databases alone
CREATE SCHEMA eddy;
CREATE TABLE eddy._view (view regclass, state_table regclass, key_columns int8[], visible_column int2)
	WITH (user_catalog_table = true);
CREATE TABLE eddy._x_state (k text, n bigint);
CREATE VIEW eddy.x AS SELECT * FROM eddy._x_state;
INSERT INTO eddy._view VALUES ('eddy.x', 'eddy._x_state', NULL, 30000), (NULL, 'eddy._x_state', '{1}', NULL);
INSERT INTO eddy._x_state VALUES ('a', 1);
COMMENT ON TABLE eddy._x_state IS '2 0123456789abcdef0123456789abcdef rows columns 1 2 keys 1';
UPDATE eddy._x_state SET n = 2;
TRUNCATE eddy._x_state});
is(scalar(changes('bare', 'bare', 'check-acl', 'off')), 0, 'a schema of that name has no changes');
run('bare', q{SELECT pg_drop_replication_slot('bare')});
run('postgres', q{DROP DATABASE bare});

done_testing();
