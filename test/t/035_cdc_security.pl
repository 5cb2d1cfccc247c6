# 035_cdc_security.pl: what roles receive, and options and labels that are not valid.
#
# A role receives the changes of exactly the views that it may read. No list of options and no
# relation that a role creates may crash the server, stop a slot or disclose anything.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use JSON::PP;
use MIME::Base64 qw(decode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('cdc_security', 'autovacuum = off', 'log_statement = none', 'log_min_messages = fatal',
	'log_min_error_statement = panic');
my $json = JSON::PP->new->canonical->allow_nonref;
my $error;    # of the last call of received()

# The views whose changes a role receives, or the error.
sub received
{
	my ($role, @options) = @_;
	my $list = join '', map { ", '$_'" } @options;
	my ($status, $out, $message) = $node->psql('postgres', "SET ROLE $role;
		SELECT data FROM pg_logical_slot_peek_changes('s', NULL, NULL, 'batch-bytes', '0'$list)");

	$error = $message;
	return "error" if $status != 0;
	return join ' ', sort keys %{ { map { $json->decode($_)->{view} =~ s/^.*\.//r => 1 } split /\n/, $out } };
}

#
# The matrix of roles: what the owner of a view grants
#

sql($node, q{
CREATE SCHEMA open;
CREATE SCHEMA shut;
CREATE ROLE regress_eddy_super SUPERUSER;
CREATE ROLE regress_eddy_owner;
CREATE ROLE regress_eddy_member REPLICATION IN ROLE regress_eddy_owner;
CREATE ROLE regress_eddy_noinherit REPLICATION NOINHERIT IN ROLE regress_eddy_owner;
CREATE ROLE regress_eddy_reader REPLICATION;
CREATE ROLE regress_eddy_columns REPLICATION;
CREATE ROLE regress_eddy_some REPLICATION;
CREATE ROLE regress_eddy_nothing REPLICATION;
CREATE ROLE regress_eddy_all REPLICATION IN ROLE pg_read_all_data;
CREATE ROLE regress_eddy_bypass REPLICATION BYPASSRLS;
CREATE ROLE regress_eddy_none;
GRANT USAGE ON SCHEMA open TO PUBLIC;
GRANT CREATE ON SCHEMA open, shut TO regress_eddy_owner;
GRANT USAGE ON SCHEMA shut TO regress_eddy_owner;
CREATE UNLOGGED TABLE open.t (k text, v int);
ALTER TABLE open.t OWNER TO regress_eddy_owner;
SELECT pg_create_logical_replication_slot('s', 'pg_eddy_cdc');
SET ROLE regress_eddy_owner;
SELECT eddy.create_stream('open.t');
SELECT eddy.create_continuous_view('open.granted', 'SELECT k, sum(v) AS v FROM open.t GROUP BY k');
SELECT eddy.create_continuous_view('open.private', 'SELECT k, sum(v) AS v FROM open.t GROUP BY k');
SELECT eddy.create_continuous_view('open.columns', 'SELECT k, sum(v) AS v FROM open.t GROUP BY k');
SELECT eddy.create_continuous_view('shut.hidden', 'SELECT k, sum(v) AS v FROM open.t GROUP BY k');
GRANT SELECT ON open.granted, shut.hidden TO regress_eddy_reader, regress_eddy_bypass;
GRANT SELECT (k, v) ON open.columns TO regress_eddy_columns;
GRANT SELECT (k) ON open.columns, open.granted TO regress_eddy_some;
GRANT INSERT, UPDATE, DELETE ON open.private TO regress_eddy_nothing;
INSERT INTO open.t VALUES ('a', 1);
});
my $everything = 'columns granted hidden private';
my %matrix = (
	super => $everything, member => $everything, noinherit => '', reader => 'granted', columns => 'columns', some => '', nothing => '',
	all => $everything, bypass => 'granted', none => 'error');
is(received("regress_eddy_$_"), $matrix{$_}, "role $_") foreach sort keys %matrix;
is(received('regress_eddy_nothing', 'check-acl', 'off'), $everything, 'a client can turn the check off');
foreach my $format ('upsert', 'debezium')
{
	my ($status, $out) = $node->psql('postgres', "SET ROLE regress_eddy_nothing;
		SELECT data FROM pg_logical_slot_peek_changes('s', NULL, NULL, 'format', '$format')");
	is("$status:$out", '0:', "format $format checks as well");
}

# Records about views are for those who may read them, too.
my ($status, $out) = $node->psql('postgres', "SET ROLE regress_eddy_reader;
	SELECT data FROM pg_logical_slot_peek_changes('s', NULL, NULL, 'include-schema', 'on', 'include-transaction', 'on', 'progress', 'on')");
unlike($out, qr/private|columns"?,"v|hidden/, 'no record names other views');

# Nor does their progress.
sql($node, q{
SET ROLE regress_eddy_owner;
CREATE UNLOGGED TABLE open.timed (at timestamptz);
SELECT eddy.create_stream('open.timed', event_time => 'at');
SELECT eddy.create_continuous_view('open.minutes', 'SELECT w.window_end, count(*) AS n FROM open.timed, eddy.tumble(at, ''1 minute'') AS w GROUP BY w.window_end');
SELECT eddy.create_continuous_view('open.unread', 'SELECT w.window_end, count(*) AS n FROM open.timed, eddy.tumble(at, ''1 minute'') AS w GROUP BY w.window_end');
GRANT SELECT ON open.minutes TO regress_eddy_reader;
RESET ROLE;
SELECT pg_replication_slot_advance('s', pg_current_wal_insert_lsn());
INSERT INTO open.timed VALUES ('2026-01-01 00:00'), ('2026-01-01 00:05');
});
foreach my $format ('native', 'upsert', 'debezium')
{
	foreach my $case ([ 'reader', 'minutes' ], [ 'super', 'minutes unread' ], [ 'nothing', '' ])
	{
		my ($role, $views) = @$case;

		($status, $out) = $node->psql('postgres', "SET ROLE regress_eddy_$role;
			SELECT data FROM pg_logical_slot_peek_changes('s', NULL, NULL, 'batch-bytes', '0', 'progress', 'on', 'format', '$format')");
		my %closed;
		foreach my $record (map { $json->decode($_) } split /\n/, $out)
		{
			$record = $json->decode(decode_base64($record->{value}->{message}->{content})) if ($record->{value}->{op} // '') eq 'm';
			$closed{ $1 } = 1 if exists $record->{closed_until} && $record->{view} =~ /^open[.](.*)/;
		}
		is("$status " . join(' ', sort keys %closed), "0 $views", "progress of the views that $role may read, format $format");
	}
}
sql($node, q{
DROP TABLE open.timed CASCADE;
SELECT pg_replication_slot_advance('s', pg_current_wal_insert_lsn());
INSERT INTO open.t VALUES ('a', 1)});

# strict: an error for views that may not be read.
is(received('regress_eddy_reader', 'strict', 'on', 'views', 'open.granted'), 'granted', 'strict, readable');
is(received('regress_eddy_reader', 'strict', 'on', 'views', 'open.granted, shut.hidden'), 'error', 'strict, not readable');
like($error, qr/permission denied for view shut.hidden/, '... names the view');
is(received('regress_eddy_reader', 'strict', 'on'), 'error', 'strict, all views');
is(received('regress_eddy_super', 'strict', 'on'), $everything, 'strict, superuser');
is(received('regress_eddy_reader', 'strict', 'on', 'views', 'open.*', 'check-acl', 'off'), 'columns granted private', 'strict without check-acl');

# A privilege that did not exist at that point of the WAL.
sql($node, q{GRANT SELECT ON open.private TO regress_eddy_reader});
is(received('regress_eddy_reader'), 'granted', 'a later grant does not disclose earlier changes');
is(received('regress_eddy_reader', 'strict', 'on', 'views', 'open.private'), 'error', '... strict');
sql($node, q{INSERT INTO open.t VALUES ('a', 1)});
is(received('regress_eddy_reader'), 'granted private', '... but later ones');

# Row-level security on a state table.
sql($node, q{
REVOKE SELECT ON open.private FROM regress_eddy_reader;
SELECT pg_replication_slot_advance('s', pg_current_wal_insert_lsn());
ALTER TABLE eddy._granted_state ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON eddy._granted_state USING (k <> 'a')});
sql($node, q{INSERT INTO open.t VALUES ('a', 1)});
is(received('regress_eddy_reader'), '', 'row-level security: not sent');
is(received('regress_eddy_bypass'), 'granted', 'row-level security: BYPASSRLS');
is(received('regress_eddy_super'), $everything, 'row-level security: superuser');
is(received('regress_eddy_reader', 'strict', 'on', 'views', 'open.granted'), 'error', 'row-level security: strict');
sql($node, q{ALTER TABLE eddy._granted_state DISABLE ROW LEVEL SECURITY; DROP POLICY p ON eddy._granted_state});

#
# Forgeries: labels, tables and messages
#

sql($node, q{SELECT pg_replication_slot_advance('s', pg_current_wal_insert_lsn())});
foreach my $sql (
	q{SECURITY LABEL FOR pg_eddy ON VIEW open.granted IS '2 00000000000000000000000000000000 view'},
	q{SECURITY LABEL FOR pg_eddy ON VIEW open.granted IS NULL},
	q{CREATE TABLE open.p (LIKE eddy._view_progress); SECURITY LABEL FOR pg_eddy ON TABLE open.p IS '2 00000000000000000000000000000000 progress 1 2 5'},
	q{UPDATE eddy._view_progress SET closed_until = 'infinity'}, q{DELETE FROM eddy._view_progress},
	q{TRUNCATE eddy._view_progress}, q{ALTER TABLE eddy._view_progress REPLICA IDENTITY NOTHING},
	q{INSERT INTO eddy._initial_row VALUES ('s', 'eddy._granted_state'::regclass, 1, NULL)}, q{UPDATE eddy._change SET content = ''},
	q{INSERT INTO eddy._granted_state VALUES ('forged', 1)}, q{ALTER TABLE eddy._granted_state REPLICA IDENTITY NOTHING},
	q{INSERT INTO pg_seclabel SELECT * FROM pg_seclabel}, q{DELETE FROM pg_seclabel})
{
	isnt(($node->psql('postgres', "SET ROLE regress_eddy_owner; $sql"))[0], 0, "refused: $sql");
}
sql($node, q{
SET ROLE regress_eddy_owner;
CREATE TABLE open._granted_state (k text, v bigint);
ALTER TABLE open._granted_state REPLICA IDENTITY FULL;
CREATE VIEW open.forged AS SELECT * FROM open._granted_state;
INSERT INTO open._granted_state VALUES ('forged', 1);
COMMENT ON TABLE open._granted_state IS '2 00000000000000000000000000000000 rows columns 1 2 keys 1';
UPDATE open._granted_state SET v = 2;
TRUNCATE open._granted_state;
SELECT pg_logical_emit_message(true, 'pg_eddy', '{"op":"p","view":"open.granted","closed_until":"infinity"}');
SELECT pg_logical_emit_message(false, 'pg_eddy_cdc', '{"op":"c","view":"open.granted","key":{},"after":{}}');
});
is(received('regress_eddy_super', 'progress', 'on', 'include-schema', 'on'), '', 'forged tables and messages produce no records');
is(received('regress_eddy_super', 'progress', 'on', 'format', $_), '', "... in format $_") foreach 'upsert', 'debezium';

# Initial rows are bytes, which are trusted. The table of pg_eddy refuses them of all roles, even of superusers, and
# a table of another role is not trusted even if a superuser has labelled it, as a restore of an edited dump does.
isnt(($node->psql('postgres', "INSERT INTO eddy._initial_row VALUES ('s', 'eddy._granted_state'::regclass, 1, 'x')"))[0], 0, 'superusers cannot write initial rows');
sql($node, q{
GRANT pg_write_all_data TO regress_eddy_owner;
SET ROLE regress_eddy_owner;
CREATE TABLE open.rows (slot name, state_table oid, layout bigint, content bytea);
RESET ROLE;
SECURITY LABEL FOR pg_eddy ON TABLE open.rows IS '2 00000000000000000000000000000000 initial 1 2 3 4';
});
isnt(($node->psql('postgres', "SET ROLE regress_eddy_owner; INSERT INTO eddy._initial_row VALUES ('s', 'eddy._granted_state'::regclass, 1, 'x')"))[0], 0, '... nor can roles with pg_write_all_data');
sql($node, q{
SET ROLE regress_eddy_owner;
INSERT INTO open.rows SELECT 's', 'eddy._granted_state'::regclass, l, b FROM (VALUES (NULL::bytea), (''), ('\x00'), (decode(repeat('ff', 100), 'hex')), (decode(repeat('00', 300), 'hex'))) AS v(b), generate_series(-2, 2) l;
RESET ROLE;
DROP TABLE open.rows;
REVOKE pg_write_all_data FROM regress_eddy_owner;
});
is(received('regress_eddy_super'), '', 'initial rows in a table of another role produce no records');

# That a view was dropped is for those who could read it.
sql($node, q{
SELECT pg_replication_slot_advance('s', pg_current_wal_insert_lsn());
DROP VIEW open.columns});
is(received('regress_eddy_reader', 'include-schema', 'on'), '', 'a dropped view that was not readable');
($status, $out) = $node->psql('postgres', "SET ROLE regress_eddy_columns;
	SELECT data::json->>'op' FROM pg_logical_slot_peek_changes('s', NULL, NULL, 'batch-bytes', '0', 'include-schema', 'on')");
is($out, "protocol\ndropped", '... and that was');

# A database without the extension.
sql($node, q{CREATE DATABASE bare});
$node->safe_psql('bare', q{
SELECT pg_create_logical_replication_slot('bare', 'pg_eddy_cdc');
CREATE TABLE a (a int);
INSERT INTO a VALUES (1);
TRUNCATE a});
foreach my $options ("'strict', 'on'", "'include-schema', 'on', 'progress', 'on'", "'format', 'debezium', 'include-transaction', 'on'")
{
	is($node->safe_psql('bare', "SELECT count(*) FROM pg_logical_slot_peek_changes('bare', NULL, NULL, $options)"), 0,
		"a database without the extension: $options");
}
like(($node->psql('bare', q{SELECT count(*) FROM pg_logical_slot_peek_changes('bare', NULL, NULL, 'strict', 'on', 'views', 'a.b')}))[2],
	qr/continuous view "a.b" does not exist/, '... strict');
$node->safe_psql('bare', q{SELECT pg_drop_replication_slot('bare')});

#
# 10,000 random lists of options
#

sql($node, q{SELECT pg_replication_slot_advance('s', pg_current_wal_insert_lsn())});
sql($node, q{INSERT INTO open.t VALUES ('z', 9)});
sql($node, q{
CREATE TABLE names (n serial, name text);
INSERT INTO names (name) VALUES ('batch-bytes'), ('check-acl'), ('emit'), ('format'), ('include-before'), ('include-lsn'),
	('include-schema'), ('include-seq'), ('include-timestamp'), ('include-transaction'), ('include-types'), ('include-xid'), ('net'),
	('numeric-as-string'), ('progress'), ('protocol-version'), ('retention'), ('skip-empty-xacts'), ('streaming'), ('strict'), ('tombstones'),
	('topic-prefix'), ('two-phase'), ('views'), ('view'), ('colour'), (''), (repeat('x', 300)), ('%s%n'), (E'a\nb');
CREATE TABLE vals (n serial, value text);
INSERT INTO vals (value) VALUES ('on'), ('off'), ('on'), ('off'), ('true'), (''), (' '), ('0'), ('1'), ('-1'), ('2147483648'), ('64MB'), ('1kB'),
	('1e400'), ('NaN'), ('native'), ('upsert'), ('debezium'), ('debezum'), ('wal2json'), ('changes'), ('final'), ('both'), ('finals'),
	('open.granted'), ('*.*'), ('open.*, shut.*'), ('"open"."granted"'), ('"open'), ('open.'), ('.granted'), ('a.b.c'), ('a.b,'), (',a.b'),
	('"".""'), ('"a""b".c'), (repeat('0', 32)), (repeat('ab', 16) || ', *.*'), (repeat('a', 70) || '.' || repeat('b', 70)), (repeat('a.b,', 2000)),
	(repeat('"', 1001)), (repeat('x', 100000)), ('%n%n%s'), (E'\n'), (E'\u00e9.\u00fc'), ('shop'), ('sh op'), ('-._');
});
# a statement each: an error that a function catches would not release the slot
my ($ok, $errors) = ('', '');
$node->psql(
	'postgres', q{
\set VERBOSITY sqlstate
SELECT setseed(0.5) \g /dev/null
WITH lists AS MATERIALIZED (
	SELECT i, array_agg(o ORDER BY j, p) AS options FROM (
		SELECT i, j, p, CASE p WHEN 0 THEN (SELECT name FROM names WHERE n = r1) ELSE
			CASE WHEN r3 < 0.02 THEN NULL WHEN r3 < 0.1 THEN left((SELECT value FROM vals WHERE n = r2), 1 + (r3 * 200)::int)
			ELSE (SELECT value FROM vals WHERE n = r2) END END AS o
		FROM (SELECT i, j, 1 + floor(random() * 30)::int AS r1, 1 + floor(random() * 48)::int AS r2, random() AS r3
			FROM generate_series(1, 10000) i, LATERAL generate_series(1, 1 + (i % 4)) j) x, generate_series(0, 1) p) y
	GROUP BY i)
SELECT format('SELECT ''ok'' FROM (SELECT count(*) FROM pg_logical_slot_peek_changes(''s'', NULL, NULL, VARIADIC %L::text[])) x', options)
FROM lists \gexec
}, stdout => \$ok, stderr => \$errors, on_error_stop => 0);
my %states;
$states{$_}++ foreach $ok =~ /^(ok)$/mg, $errors =~ /ERROR:  (\w+)$/mg;
my $counts = join ' ', map { "$_=$states{$_}" } sort keys %states;
my $sum = 0;
$sum += $_ foreach values %states;
is($sum, 10000, "10,000 lists of options: $counts");
cmp_ok($states{ok} // 0, '>', 100, '... some of them are valid');
delete @states{qw(ok 22023 0A000 42P01 42501 22004)};
is(join(' ', keys %states), '', '... the others have the documented errors');
is(received('regress_eddy_super'), 'granted hidden private', '... the slot is intact');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'no crash');

done_testing();
