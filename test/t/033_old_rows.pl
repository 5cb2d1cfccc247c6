# 033_old_rows.pl: old rows of updates are in the WAL if a slot may return them, and only then.
#
# The volume of WAL is compared without and with a slot, and a slot is created while a transaction is in progress that
# has left them out: whatever the slot returns must be complete.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = new_node('old_rows', 'autovacuum = off', 'full_page_writes = off', 'checkpoint_timeout = 1h');
my $json = JSON::PP->new->canonical->allow_nonref;

sql($node, q{
CREATE UNLOGGED TABLE s (k int, v int);
SELECT eddy.create_stream('s');
SELECT eddy.create_continuous_view('r', $$
	SELECT k, repeat(md5(k::text), 10) AS text, count(*) AS n, sum(v) AS v FROM s GROUP BY k, repeat(md5(k::text), 10) $$);
SELECT eddy.create_continuous_view('h', 'SELECT k, sum(v) AS v FROM s GROUP BY k HAVING sum(v) > 3');
INSERT INTO s SELECT g, 1 FROM generate_series(1, 1000) g;
});

# Bytes of WAL for an update of each group.
sub wal_of_update
{
	my ($setting, $database) = @_;

	return $node->safe_psql($database // 'postgres', qq{
SET pg_eddy.log_old_rows = $setting;
SELECT pg_current_wal_insert_lsn() AS before \\gset
INSERT INTO s SELECT g, 1 FROM generate_series(1, 1000) g;
SELECT pg_current_wal_insert_lsn() - :'before'});
}

my $without = wal_of_update('auto');
my $with = wal_of_update('on');
note("WAL of 1,000 updates: $without bytes without old rows, $with with them");
cmp_ok($without, '<', 0.6 * $with, 'without a slot, updates write little more than half of the WAL');
cmp_ok($without, '>', 1000 * 300, 'the new rows are in the WAL');

# Slots of other databases, and physical ones on a server whose standbys cannot decode, are no reason.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', "SELECT pg_create_logical_replication_slot('elsewhere', 'test_decoding')");
cmp_ok(wal_of_update('auto'), '<', 0.6 * $with, 'a slot of another database needs no old rows');
sql($node, "SELECT pg_create_physical_replication_slot('standby')");
my $physical = wal_of_update('auto');
if ($node->pg_version < 16)
{
	cmp_ok($physical, '<', 0.6 * $with, 'nor does one of a standby');
}
else
{
	cmp_ok($physical, '>', 0.9 * $with, 'a standby may have slots of its own');
}
sql($node, "SELECT pg_drop_replication_slot('standby')");

# The net difference that a replaced query makes is needed in the same cases.
sub replacement
{
	my ($setting, $query) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', qq{
SET pg_eddy.log_old_rows = $setting;
SET client_min_messages = debug1;
SELECT eddy.replace_continuous_view('h', '$query')});

	is($ret, 0, 'the query is replaced');
	return $err;
}
unlike(replacement('auto', 'SELECT k, sum(v) AS v, 1 AS one FROM s GROUP BY k HAVING sum(v) > 3'), qr/that differ/,
	'without a slot, the results are not compared');
like(replacement('on', 'SELECT k, sum(v) AS v, 1 AS one, 2 AS two FROM s GROUP BY k HAVING sum(v) > 3'),
	qr/rows of continuous view "h" that differ: 1000,/, 'they are for a standby that may have a slot');

#
# A slot that is created while transactions are in progress
#

# has left out the old row of its first update
my $writer = $node->background_psql('postgres');
$writer->query_safe('BEGIN');
$writer->query_safe('INSERT INTO s VALUES (1, 100)');
my $creating = start_process("$dir/creating", 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
	"SELECT pg_create_logical_replication_slot('slot', 'pg_eddy_cdc')");
ok(wait_until($node, "SELECT count(*) = 1 FROM pg_replication_slots WHERE slot_name = 'slot'", 'the slot exists'),
	'a slot is created and waits for a transaction in progress');
# this one knows the slot
sql($node, 'INSERT INTO s VALUES (2, 100)');
$writer->query_safe('INSERT INTO s VALUES (1, 1000)');
$writer->query_safe('COMMIT');
$writer->quit;
ok(wait_until($node, "SELECT count(*) = 1 FROM pg_replication_slots WHERE slot_name = 'slot' AND confirmed_flush_lsn IS NOT NULL AND NOT active",
	'the slot can be read'), 'the slot is complete');
stop_process($creating);
cmp_ok(wal_of_update('auto'), '>', 0.9 * $with, 'with a slot, updates write the old rows');

# Consumes the slot: records of a view, without values that vary.
sub changes
{
	my ($view) = @_;
	my $out = sql($node, q{SELECT data FROM pg_logical_slot_get_changes('slot', NULL, NULL, 'include-before', 'on', 'batch-bytes', '0')});

	return grep { $_->{view} eq "public.$view" } map { $json->decode($_) } split /\n/, $out;
}

# Each record has the old row, which is that of the record before.
my %seen;
my $records = 0;
my $wrong = 0;
sql($node, 'INSERT INTO s VALUES (1, 1), (2, 1)');
sql($node, 'INSERT INTO s VALUES (1, 1), (1001, 1)');
foreach my $record (changes('r'))
{
	my $key = $record->{key}->{k};

	$records++;
	$wrong++ if $record->{op} eq 'u' && !defined $record->{before};
	$wrong++ if $record->{op} eq 'u' && $record->{after}->{n} != $record->{before}->{n} + 1;
	$wrong++ if exists $seen{$key} && $seen{$key} != $record->{before}->{n};
	$seen{$key} = $record->{after}->{n};
}
is($records, 1004, 'the slot returns the changes since it exists');
is($wrong, 0, 'all with the old row');

# What HAVING starts to show
sql($node, 'INSERT INTO s VALUES (1002, 2)');
sql($node, 'INSERT INTO s VALUES (1002, 2)');
is(join(' ', map { $_->{op} } changes('h')), 'c', 'a group that begins to satisfy HAVING is created');

sql($node, "SELECT pg_drop_replication_slot('slot')");
cmp_ok(wal_of_update('auto'), '<', 0.6 * $with, 'after the slot was dropped, updates leave the old rows out');
equal_ok($node, 'SELECT k, n, v FROM r', 'SELECT k, count(*) AS n, sum(v) AS v FROM s GROUP BY k', 'the view is right');

my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP/, 'no process has failed');
my ($status, $out, $err) = $node->psql('postgres',
	'CREATE ROLE regress_eddy_user; SET ROLE regress_eddy_user; SET pg_eddy.log_old_rows = on');
like($err, qr/permission denied to set parameter "pg_eddy.log_old_rows"/, 'only superusers set it');

done_testing();
