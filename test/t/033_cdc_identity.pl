# 033_cdc_identity.pl: records for each replica identity, and for transactions of every kind.
#
# State tables are created with REPLICA IDENTITY FULL. A superuser can change that, and the
# records then depend on how much of the old row is in the WAL, as docs/output-protocol.md specifies.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('cdc_identity', 'autovacuum = off', "logical_decoding_work_mem = '64kB'");
my $json = JSON::PP->new->canonical->allow_nonref;
my $warnings;    # of the last call of changes()

# Consumes the pending changes of the slot: a list of records.
sub changes
{
	my (@options) = @_;
	my $list = join '', map { ", '$_'" } 'include-xid', 'off', 'include-timestamp', 'off',
	  'batch-bytes', '0', @options;
	my ($status, $out);

	($status, $out, $warnings) = $node->psql('postgres',
		"SELECT data FROM pg_logical_slot_get_changes('s', NULL, NULL$list)");
	is($status, 0, 'the slot is read') or diag($warnings);
	return map { $json->decode($_) } split /\n/, $out;
}

# A record as text: long values as their length, without values that are missing.
sub brief
{
	my ($record) = @_;
	my $row = sub {
		my ($values) = @_;
		return join ',', map { "$_=" . (!defined $values->{$_} ? 'null' :
			length($values->{$_}) > 100 ? length($values->{$_}) : $values->{$_}) } sort keys %$values;
	};

	return join ' ', $record->{op},
	  map { exists $record->{$_} ? "$_(" . $row->($record->{$_}) . ')' : () } qw(key before after);
}

sql($node, q{
SELECT pg_create_logical_replication_slot('s', 'pg_eddy_cdc');
CREATE UNLOGGED TABLE s (k int, v int, t text);
SELECT eddy.create_stream('s');
SELECT eddy.create_continuous_view('r', $$
	SELECT k, sum(v) AS n, max(t) AS t FROM s GROUP BY k HAVING sum(v) > 10 $$);
ALTER TABLE eddy._r_state ALTER t SET STORAGE EXTERNAL;
ALTER TABLE eddy._r_state ALTER k SET NOT NULL;
});

#
# Each identity: with FULL the old row is in the WAL, with an index its key, otherwise nothing
#

my $long = 5000;
my %expected = (
	'FULL' => [
		"c key(k=1) after(k=1,n=15,t=$long)",
		"u key(k=1) before(k=1,n=15,t=$long) after(k=1,n=16,t=$long)",
		"d key(k=1) before(k=1,n=16,t=$long)",
		"c key(k=1) after(k=1,n=25,t=$long)",
		"d key(k=1) before(k=1,n=25,t=$long)" ],
	'USING INDEX _r_state_k_idx' => [
		'u key(k=1) after(k=1,n=15)', 'u key(k=1) after(k=1,n=16)', 'd key(k=1)', 'd key(k=1)',
		'u key(k=1) after(k=1,n=25)', 'd key(k=1)' ],
	'DEFAULT' => [
		'u key(k=1) after(k=1,n=15)', 'u key(k=1) after(k=1,n=16)', 'd key(k=1)', 'd key(k=1)',
		'u key(k=1) after(k=1,n=25)' ]);
$expected{'NOTHING'} = $expected{'DEFAULT'};

foreach my $identity (sort keys %expected)
{
	sql($node, "ALTER TABLE eddy._r_state REPLICA IDENTITY $identity");
	# hidden; visible; visible; hidden; hidden; visible; deleted
	sql($node, "INSERT INTO s VALUES (1, 5, repeat('x', $long))");
	sql($node, "INSERT INTO s VALUES (1, $_, NULL)") foreach 10, 1, -10, -1, 20;
	sql($node, 'DELETE FROM r WHERE k = 1');
	is(join("\n", map { brief($_) } changes('include-before', 'on')),
		join("\n", @{ $expected{$identity} }), "REPLICA IDENTITY $identity");
	if ($identity eq 'DEFAULT' || $identity eq 'NOTHING')
	{
		like($warnings, qr/WARNING:  deleted rows of table "_r_state" are not sent/, '... warns');
	}
	else
	{
		is($warnings, '', '... without a warning');
	}
}

# The identity changes between undelivered transactions.
sql($node, 'ALTER TABLE eddy._r_state REPLICA IDENTITY FULL');
sql($node, q{INSERT INTO s VALUES (2, 11, 'a')});
sql($node, 'ALTER TABLE eddy._r_state REPLICA IDENTITY NOTHING');
sql($node, q{INSERT INTO s VALUES (2, 1, 'b')});
sql($node, 'ALTER TABLE eddy._r_state REPLICA IDENTITY FULL');
sql($node, q{INSERT INTO s VALUES (2, 1, 'c')});
is(join("\n", map { brief($_) } changes('include-before', 'on')), join("\n",
	'c key(k=2) after(k=2,n=11,t=a)', 'u key(k=2) after(k=2,n=12,t=b)',
	'u key(k=2) before(k=2,n=12,t=b) after(k=2,n=13,t=c)'), 'identity of each change');

# The key itself changes, which maintenance never does: in a table that has the label of a state
# table. Without the old key, only the new row is known.
my $id = '0123456789abcdef' x 2;
sql($node, qq{
CREATE TABLE hand (k int PRIMARY KEY, n int, t text);
CREATE VIEW h AS SELECT * FROM hand;
SECURITY LABEL FOR pg_eddy ON TABLE hand IS '2 $id rows columns 1 2 3 keys 1';
SECURITY LABEL FOR pg_eddy ON VIEW h IS '2 $id view'});
foreach my $case (
	[ 'FULL', 'd key(k=1) before(k=1,n=1,t=null)', 'c key(k=2) after(k=2,n=2,t=null)',
		'u key(k=2) before(k=2,n=2,t=null) after(k=2,n=3,t=null)', 'd key(k=2) before(k=2,n=3,t=null)' ],
	[ 'DEFAULT', 'd key(k=1)', 'c key(k=2) after(k=2,n=2,t=null)', 'u key(k=2) after(k=2,n=3,t=null)',
		'd key(k=2)' ],
	[ 'USING INDEX hand_pkey', 'd key(k=1)', 'c key(k=2) after(k=2,n=2,t=null)',
		'u key(k=2) after(k=2,n=3,t=null)', 'd key(k=2)' ],
	[ 'NOTHING', 'u key(k=2) after(k=2,n=2,t=null)', 'u key(k=2) after(k=2,n=3,t=null)' ])
{
	my ($identity, @want) = @$case;

	sql($node, qq{
ALTER TABLE hand REPLICA IDENTITY $identity;
BEGIN;
INSERT INTO hand VALUES (1, 1);
UPDATE hand SET k = 2, n = 2;
UPDATE hand SET n = 3;
UPDATE hand SET n = 3;
DELETE FROM hand;
COMMIT});
	my @records = changes('include-before', 'on', 'net', 'off');
	# with no old row, an update that changes nothing is an update
	splice @want, @want - ($identity eq 'NOTHING' ? 0 : 1), 0, 'u key(k=2) after(k=2,n=3,t=null)'
	  unless $identity eq 'FULL';
	is(join("\n", map { brief($_) } @records), join("\n", 'c key(k=1) after(k=1,n=1,t=null)', @want),
		"key changes, REPLICA IDENTITY $identity");
	my @numbers = map { $_->{seq} } @records;
	is(join(' ', @numbers), join(' ', sort { $a <=> $b } keys %{ { map { $_ => 1 } @numbers } }),
		'... sequence numbers are distinct and in order');
}

# TRUNCATE of a state table, by a superuser, is one record.
sql($node, 'ALTER TABLE hand REPLICA IDENTITY FULL; INSERT INTO hand VALUES (1, 1); TRUNCATE hand');
is(join("\n", map { brief($_) } changes()), "c key(k=1) after(k=1,n=1,t=null)\nt", 'TRUNCATE');

#
# Transactions
#

# PREPARE TRANSACTION: records are sent at COMMIT PREPARED, also for a two-phase slot.
sql($node, q{SELECT pg_create_logical_replication_slot('two', 'pg_eddy_cdc', false, true)});
sql($node, q{BEGIN; INSERT INTO s VALUES (5, 50, 'p'); PREPARE TRANSACTION 'p'});
sql($node, q{BEGIN; INSERT INTO s VALUES (6, 60, 'q'); PREPARE TRANSACTION 'q'});
is(scalar(changes()), 0, 'prepared transactions produce no records');
sql($node, q{COMMIT PREPARED 'p'});
sql($node, q{ROLLBACK PREPARED 'q'});
my $two = sql($node, q{
SELECT data::json->>'key' FROM pg_logical_slot_get_changes('two', NULL, NULL, 'batch-bytes', '0')});
is(join("\n", map { brief($_) } changes()), 'c key(k=5) after(k=5,n=50,t=p)', 'COMMIT PREPARED');
is($two, '{"k":5}', 'COMMIT PREPARED, two-phase slot');
sql($node, q{SELECT pg_drop_replication_slot('two')});

# Subtransactions, half of them rolled back, in a transaction that does not fit into memory.
my $sql = "BEGIN;\n";
foreach my $i (1 .. 60)
{
	$sql .= "SAVEPOINT a; INSERT INTO s SELECT i % 400, 1, 'x$i' FROM generate_series(1, 500) i;\n";
	$sql .= "SAVEPOINT b; DELETE FROM r WHERE k % 7 = $i % 7;\n" if $i % 5 == 0;
	$sql .= "ROLLBACK TO a;\n" if $i % 2;
	$sql .= "RELEASE a;\n" if $i % 3 == 0;
}
sql($node, "$sql COMMIT");
my %rows = map { $_->{k} => $_ } map { $json->decode($_) } split /\n/,
  sql($node, 'SELECT row_to_json(r) FROM r');
my %applied = (2 => { k => 2, n => 13, t => 'c' }, 5 => { k => 5, n => 50, t => 'p' });
my ($last, $wrong) = (0, 0);
foreach my $record (changes('net', 'off'))
{
	my $k = $record->{key}->{k};

	$wrong++ if $record->{seq} <= $last;
	$last = $record->{seq};
	$wrong++ if ($record->{op} eq 'c') == exists $applied{$k};
	if ($record->{op} eq 'd')
	{
		delete $applied{$k};
	}
	else
	{
		$applied{$k} = $record->{after};
	}
}
is($wrong, 0, 'subtransactions: every record is consistent with the previous ones');
is($json->encode(\%applied), $json->encode(\%rows), 'subtransactions: all changes');
cmp_ok(sql($node, q{SELECT spill_count FROM pg_stat_replication_slots WHERE slot_name = 's'}), '>', 0,
	'subtransactions: changes were spilled to disk');

done_testing();
