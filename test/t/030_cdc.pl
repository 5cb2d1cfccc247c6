# 030_cdc.pl: a consumer of changes over the replication protocol.
#
# The consumer applies the records that pg_recvlogical receives to rows in memory, as
# docs/output-protocol.md specifies: in order, without those that are not above the last
# (lsn, seq). Both it and the server are killed; in the end its rows equal those of the views.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('cdc', "logical_decoding_work_mem = '64kB'", 'autovacuum = off');
my $json = JSON::PP->new->canonical->allow_nonref;
my $dir = PostgreSQL::Test::Utils::tempdir();
my $out;    # of the running consumer

# First the slot: a view without GROUP BY has its row from its creation on.
sql($node, "SELECT pg_create_logical_replication_slot('changes', 'pg_eddy_cdc')");
my $schema = q{
CREATE UNLOGGED TABLE bids (auction integer, price integer, at timestamptz);
SELECT eddy.create_stream('bids', event_time => 'at');
SELECT eddy.create_continuous_view('per_window', $$
	SELECT auction, w.window_start, count(*) AS n, sum(price) AS total, max(price) AS top
	FROM bids, eddy.tumble(at, '10 seconds') AS w
	GROUP BY auction, w.window_start $$);
SELECT eddy.create_continuous_view('rich', $$
	SELECT auction, sum(price) AS total FROM bids GROUP BY auction HAVING sum(price) > 1000 $$);
SELECT eddy.create_continuous_view('everything',
	'SELECT count(*) AS n, sum(price) AS total FROM bids');
};
sql($node, $schema);

#
# The consumer
#

my %applied;    # view -> key -> row, as JSON text
my $token = [ 0, 0 ];    # of the last record applied
my ($received, $repeated, $wrong) = (0, 0, 0);
my $position = 0;    # in the file

# "16/B374D848" as a number
sub lsn
{
	my ($high, $low) = split m{/}, $_[0];
	return hex($high) * 4294967296 + hex($low);
}

# Applies the records received since the last call; the last line may be incomplete.
sub apply
{
	open(my $fh, '<', $out) or return;
	seek($fh, $position, 0);
	while (my $line = <$fh>)
	{
		last unless $line =~ /\n\z/;
		$position = tell($fh);
		my $record = eval { $json->decode($line) };
		if (!defined $record)
		{
			$wrong++;
			next;
		}
		my $lsn = lsn($record->{lsn});
		if ($lsn < $token->[0] || ($lsn == $token->[0] && $record->{seq} <= $token->[1]))
		{
			$repeated++;
			next;
		}

		$wrong++ if $record->{seq} < 1;
		$token = [ $lsn, $record->{seq} ];
		$received++;

		my $rows = $applied{ $record->{view} } //= {};
		my $key = $json->encode($record->{key});
		$wrong++ if ($record->{op} eq 'c') == exists $rows->{$key};
		if ($record->{op} eq 'd')
		{
			delete $rows->{$key};
		}
		else
		{
			$rows->{$key} = $json->encode($record->{after});
		}
	}
	close($fh);
	return;
}

# Each run writes a separate file: a killed one may leave an incomplete line.
my ($consumer, $runs) = (undef, 0);

sub start_consumer
{
	my (@options) = @_;

	# a killed one keeps the slot until the server detects it
	wait_until($node, "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'changes'",
		'the slot is free');
	$out = "$dir/changes" . ++$runs;
	$position = 0;
	$consumer = start_process(
		"$out.log", $node->installed_command('pg_recvlogical'),
		'-d', $node->connstr('postgres'), '-S', 'changes', '--start', '-f', $out,
		'-F', '1', '-s', '1', '--no-loop', map { ('-o', $_) } @options);
	return;
}

# Waits until all changes committed so far have been confirmed, and applies them.
sub catch_up
{
	my $lsn = sql($node, 'SELECT pg_current_wal_insert_lsn()');

	# one more transaction: a later position for the consumer to confirm
	sql($node, q{SELECT pg_logical_emit_message(true, 'test', '')});
	wait_until($node, qq{
SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots WHERE slot_name = 'changes'},
		'the consumer has confirmed all changes');
	apply();
	return;
}

# Compares the rows of the consumer with the views.
sub equal_views
{
	my ($name) = @_;

	foreach my $view (qw(per_window rich everything))
	{
		my @rows = split /\n/,
		  sql($node, "SET timezone = 'UTC'; SELECT row_to_json(v) FROM $view v");
		my $want = join "\n", sort map { $json->encode($json->decode($_)) } @rows;
		my $got = join "\n", sort values %{ $applied{"public.$view"} // {} };
		ok($got eq $want, "$name: $view");
	}
	is($wrong, 0, "$name: every record is consistent with the previous ones");
	return;
}

# Inserts random rows, in a number of statements.
sub bid
{
	my ($statements, $rows) = @_;

	sql($node, qq{
INSERT INTO bids SELECT (random() * 50)::int, (random() * 100)::int - 20,
	'2026-01-01'::timestamptz + random() * interval '1 minute' FROM generate_series(1, $rows);
} x $statements);
	return;
}

#
# Tests
#

start_consumer();
bid(20, 50);
sql($node, q{DELETE FROM per_window WHERE auction < 5; DELETE FROM rich WHERE auction > 40});
bid(20, 50);
catch_up();
equal_views('connected');
is($repeated, 0, 'no record is received twice');

# A transaction that does not fit into memory, in many messages.
sql($node, q{
BEGIN;
INSERT INTO bids SELECT i, 1, '2026-01-01 00:00:59.999' FROM generate_series(1, 20000) i;
INSERT INTO bids SELECT i, 2, '2026-01-01 00:00:59.999' FROM generate_series(1, 20000) i;
COMMIT});
my $before = $received;
catch_up();
cmp_ok($received - $before, '>=', 20000, 'a large transaction is complete');
cmp_ok($received - $before, '<', 21000, '... with one record for each row');
equal_views('large transaction');

# A consumer that is killed, and a server that crashes, in mid-stream.
foreach my $round (1 .. 3)
{
	bid(5, 200);
	apply();
	stop_process($consumer, $round == 2 ? 'TERM' : 'KILL');
	apply();
	bid(5, 200);
	start_consumer('batch-bytes=' . (0, '1kB', '1MB')[ $round - 1 ]);
	bid(5, 200);
	next if $round < 3;
	restart_node($node);
	stop_process($consumer);
	apply();
	bid(5, 200);
	start_consumer();
}
catch_up();
equal_views('killed and crashed');

# Changes of other tables are confirmed as well, so that the slot does not retain WAL.
sql($node, 'CREATE TABLE other (a int)');
$before = $received;
sql($node, 'INSERT INTO other SELECT generate_series(1, 1000)');
catch_up();
is($received, $before, 'other tables produce no records');

# Catalogs and tables are rewritten while the consumer is connected and another session writes.
sql($node, 'CREATE TABLE halt ()');
my $session = sql($node, 'SELECT pid FROM pg_stat_replication');
my $writer = start_process("$dir/writer", $node->installed_command('psql'), '-X', '-q', '-d', $node->connstr('postgres'), '-c', q{
DO $$ BEGIN
	WHILE to_regclass('halt') IS NOT NULL LOOP
		INSERT INTO bids SELECT (random() * 50)::int, (random() * 100)::int - 20, '2026-01-01'::timestamptz + random() * interval '1 minute'
		FROM generate_series(1, 10);
		COMMIT;
	END LOOP;
END $$});
$before = sql($node, 'SELECT n FROM everything');
wait_until($node, "SELECT n > $before FROM everything", 'a session writes');
sql($node, $_) foreach 'REINDEX SYSTEM postgres', 'REINDEX DATABASE CONCURRENTLY postgres', 'VACUUM FULL', 'CLUSTER eddy._view USING _view_pkey',
	'VACUUM FULL eddy._rich_state', 'REINDEX TABLE eddy._per_window_state';
$before = sql($node, 'SELECT n FROM everything');
wait_until($node, "SELECT n > $before FROM everything", 'it still writes');
sql($node, 'DROP TABLE halt');
stop_process($writer);
catch_up();
equal_views('rewritten');

# The extension is dropped and created again. There are no records for rows of dropped views.
sql($node, 'DROP EXTENSION pg_eddy CASCADE; DROP TABLE bids; CREATE EXTENSION pg_eddy');
catch_up();
%applied = ();
sql($node, $schema);
bid(5, 50);
catch_up();
equal_views('another extension');
is(sql($node, 'SELECT pid FROM pg_stat_replication'), $session, '... received by the same session');
stop_process($consumer, 'INT');

# Options that are not valid are refused, with a hint.
my $recvlogical = $node->installed_command('pg_recvlogical');
foreach my $case (
	[ 'inclde-before=on', qr/option "inclde-before".*meant the option "include-before"/s ],
	[ 'colour=blue', qr/unrecognized option "colour".*Valid options are: batch-bytes, /s ],
	[ 'include-before=oof', qr/"oof".*DETAIL:  Valid values are "on" and "off"\..*HINT:  Perhaps you meant "off"/s ],
	[ 'batch-bytes=1GB', qr/invalid value for option "batch-bytes": "1GB".*from 0 to 64MB/s ],
	[ 'views="a', qr/invalid value for option "views"/ ],
	[ 'views=a.b,', qr/invalid value for option "views"/ ],
	[ 'views=public.per*', qr/invalid value for option "views"/ ],
	[ 'format=wal2json', qr/format "wal2json" is not supported/ ],
	[ 'progress=perhaps', qr/invalid value for option "progress": "perhaps"/ ],
	[ 'emit=finals', qr/invalid value for option "emit": "finals".*meant "final"/s ])
{
	my ($option, $message) = @$case;
	my ($stdout, $stderr) = ('', '');
	IPC::Run::run(
		[ $recvlogical, '-d', $node->connstr('postgres'), '-S', 'changes', '--start', '-f', '-',
			'--no-loop', '-o', $option ],
		'>', \$stdout, '2>', \$stderr);
	like($stderr, $message, "option $option is refused");
}

# Receives all changes committed so far and returns the records.
sub receive
{
	my ($user, @options) = @_;
	my ($stdout, $stderr) = ('', '');
	my $lsn = sql($node, 'SELECT pg_current_wal_insert_lsn()');

	sql($node, q{SELECT pg_logical_emit_message(true, 'test', '')});
	IPC::Run::run(
		[ $recvlogical, '-d', $node->connstr('postgres') . " user=$user", '-S', 'changes',
			'--start', '-f', '-', '--no-loop', '-E', $lsn, map { ('-o', $_) } @options ],
		'>', \$stdout, '2>', \$stderr)
	  or diag($stderr);
	return map { $json->decode($_) } split /\n/, $stdout;
}

# Roles receive changes of the views that they may read, by table or column privileges.
my $superuser = sql($node, 'SELECT current_user');
sql($node, q{
CREATE ROLE regress_eddy_cdc LOGIN REPLICATION;
GRANT SELECT ON rich TO regress_eddy_cdc;
GRANT SELECT (n, total) ON everything TO regress_eddy_cdc;
GRANT SELECT (n) ON per_window TO regress_eddy_cdc;
INSERT INTO bids VALUES (1, 2000, '2026-01-01')});
my %views = map { $_->{view} => 1 } receive('regress_eddy_cdc');
is(join(' ', sort keys %views),
	'public.everything public.rich', 'a role receives changes of views that it may read');
sql($node, "INSERT INTO bids VALUES (1, 2000, '2026-01-01')");
my @records = receive($superuser, 'views=public.everything', 'include-before', 'include-xid=off');
is(scalar(@records), 1, 'option views');
is(join(' ', sort keys %{ $records[0] }),
	'after before key lsn op seq ts view', 'options include-before and include-xid');
is($records[0]->{after}->{total} - $records[0]->{before}->{total},
	2000, 'values of before and after');
like($records[0]->{ts}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$/, 'commit time');

done_testing();
