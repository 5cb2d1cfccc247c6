# 037_slots.pl: a consistent initial state with the changes that follow, and problems of slots.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('slots', 'autovacuum = off', "max_wal_size = '32MB'", "min_wal_size = '32MB'");
my $bindir = $node->config_data('--bindir');

sql($node, q{
CREATE UNLOGGED TABLE s (k int, v int);
SELECT eddy.create_stream('s');
SELECT eddy.create_continuous_view('v', 'SELECT k, sum(v) AS total, count(*) AS n FROM s GROUP BY k');
INSERT INTO s SELECT i % 20, i FROM generate_series(1, 100) i;
});

# A session that sends statements and waits for their results
sub open_session
{
	my ($dsn) = @_;
	my $session = { in => '', out => '', err => '' };

	$session->{handle} = IPC::Run::start([ "$bindir/psql", '-X', '-A', '-t', '-q', '-d', $dsn, '-f', '-' ],
		'<', \$session->{in}, '>', \$session->{out}, '2>', \$session->{err}, IPC::Run::timeout($EddyTest::wait_timeout));
	return $session;
}

sub run_in
{
	my ($session, $statement) = @_;

	$session->{out} = '';
	$session->{in} .= "$statement\n\\echo done\n";
	$session->{handle}->pump until $session->{out} =~ /^done$/m || $session->{err} =~ /ERROR|FATAL/;
	is($session->{err}, '', "$statement");
	return $session->{out} =~ s/^done\n//mr;
}

# Writers that are active all the time
my $writer = start_process(PostgreSQL::Test::Utils::tempdir() . '/writer', "$bindir/psql", '-X', '-q', '-d', $node->connstr('postgres'), '-c',
	'DO $$ BEGIN LOOP INSERT INTO s VALUES (random() * 30, random() * 100); COMMIT; END LOOP; END $$');

sub initial_rows
{
	my %rows = map { my @f = split /\|/; ($f[0] => "$f[1]|$f[2]") } split /\n/, $_[0];

	return \%rows;
}

# Applies the changes of a slot until the view is the same, with inserts, updates and deletes that must
# fit: an initial state that is too old or too new would not. Without rows, these come through the slot.
sub check_slot
{
	my ($slot, $rows) = @_;
	my $errors = 0;
	my $count = 0;

	sql($node, 'INSERT INTO s VALUES (1, 1)');
	my ($out, $status);
	my $target = sql($node, 'SELECT pg_current_wal_insert_lsn()');
	foreach my $line (split /\n/, sql($node, qq{SELECT data FROM pg_logical_slot_get_changes('$slot', '$target', NULL, 'include-before', 'on')}))
	{
		my $record = decode_json($line);
		my $key = $record->{key}{k};
		my $before = $record->{before};

		$rows = {} if $record->{op} eq 'snapshot';
		next unless defined $key && defined $rows;
		if ($record->{op} eq 'r')
		{
			$rows->{$key} = "$record->{after}{total}|$record->{after}{n}";
			next;
		}
		$count++;
		$errors++ if defined $before ? ($rows->{$key} // '') ne "$before->{total}|$before->{n}" : exists $rows->{$key};
		$rows->{$key} = "$record->{after}{total}|$record->{after}{n}";
	}
	is($errors, 0, "$slot: each of the changes follows the state before it");
	cmp_ok($count, '>', 0, "$slot: $count changes");
	return;
}

# Two connections: the snapshot of CREATE_REPLICATION_SLOT is exported
{
	my $replication = open_session($node->connstr('postgres') . ' replication=database');
	my $answer = run_in($replication, q{CREATE_REPLICATION_SLOT exported LOGICAL pg_eddy_cdc (SNAPSHOT 'export');});
	my ($snapshot) = $answer =~ /^exported\|[^|]+\|([^|]+)\|pg_eddy_cdc/;
	my $reader = open_session($node->connstr('postgres'));

	isnt($snapshot, undef, 'a snapshot is exported');
	wait_until($node, 'SELECT sum(n) > 150 FROM v', 'writers have continued');
	run_in($reader, 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;');
	run_in($reader, "SET TRANSACTION SNAPSHOT '$snapshot';");
	my $rows = initial_rows(run_in($reader, 'SELECT * FROM v;'));
	run_in($reader, 'COMMIT;');
	$_->{handle}->finish foreach $reader, $replication;
	check_slot('exported', $rows);
}

# One connection: its transaction uses the snapshot
{
	my $replication = open_session($node->connstr('postgres') . ' replication=database');

	run_in($replication, 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;');
	run_in($replication, q{CREATE_REPLICATION_SLOT used LOGICAL pg_eddy_wal2json (SNAPSHOT 'use');});
	run_in($replication, 'COMMIT;');
	sql($node, q{SELECT pg_drop_replication_slot('used')});
	run_in($replication, 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;');
	run_in($replication, q{CREATE_REPLICATION_SLOT used LOGICAL pg_eddy_cdc (SNAPSHOT 'use');});
	my $count = sql($node, 'SELECT sum(n) FROM v');
	wait_until($node, "SELECT sum(n) > $count FROM v", 'writers have continued');
	my $rows = initial_rows(run_in($replication, 'SELECT * FROM v;'));
	run_in($replication, 'COMMIT;');
	$replication->{handle}->finish;
	check_slot('used', $rows);
}

# One connection, which cannot hold a snapshot: the rows are sent through the slot
sql($node, q{SELECT pg_create_logical_replication_slot('sent', 'pg_eddy_cdc')});
is(sql($node, q{SELECT eddy.send_snapshot('sent', 'v') > 15}), 't', 'rows are sent');
wait_until($node, 'SELECT sum(n) > ' . sql($node, 'SELECT sum(n) + 20 FROM v') . ' FROM v', 'writers have continued');
check_slot('sent', undef);
stop_process($writer, 'TERM');

#
# Problems that eddy.stat_slots shows
#

sub problem
{
	return sql($node, "SELECT level, problem FROM eddy.stat_slots WHERE slot_name = 'exported'");
}

sub write_wal
{
	my ($megabytes) = @_;

	sql($node, "SELECT count(pg_logical_emit_message(false, 'x', repeat('x', 1000000))) FROM generate_series(1, $megabytes)");
	return;
}

# the WAL of the writers is released when the server has recorded, twice, which transactions run
sql($node, q{SELECT pg_drop_replication_slot('sent'); SELECT pg_drop_replication_slot('used')});
foreach (1 .. 3)
{
	sql($node, 'CHECKPOINT');
	sql($node, q{SELECT pg_replication_slot_advance('exported', pg_current_wal_lsn())});
}
like(problem(), qr/^ok\|$/, 'no problem');
write_wal(40);
is(problem(), 'warning|no client reads the slot, and it retains more WAL than max_wal_size', 'a slot that no client reads');

# a client that receives changes and does not confirm them
my $client = start_process(PostgreSQL::Test::Utils::tempdir() . '/client', "$bindir/pg_recvlogical", '-d', $node->connstr('postgres'), '-S', 'exported',
	'--start', '-f', '-', '--no-loop', '-s', '3600', '-o', 'views=public.v');
wait_until($node, q{SELECT active FROM eddy.stat_slots WHERE slot_name = 'exported'}, 'a client reads the slot');
like(problem(), qr/^ok\|$|^warning\|the client does not confirm/, 'the warning of a slot without a client has ended');
write_wal(40);
wait_until($node, q{SELECT sent_lsn > confirmed_lsn + 30000000 FROM eddy.stat_slots WHERE slot_name = 'exported'}, 'it has received more than it has confirmed');
is(problem(), 'warning|the client does not confirm what it receives, or is slower than the changes', 'a client that does not confirm');
is(sql($node, q{SELECT options FROM eddy.stat_slots WHERE slot_name = 'exported'}), q{"views" 'public.v'}, '... with the views that it has selected');
stop_process($client, 'INT');
wait_until($node, q{SELECT NOT active FROM eddy.stat_slots WHERE slot_name = 'exported'}, 'no client reads the slot');
sql($node, 'CHECKPOINT');
sql($node, q{SELECT pg_replication_slot_advance('exported', pg_current_wal_lsn())}) foreach 1 .. 2;
sql($node, 'CHECKPOINT');
sql($node, q{SELECT pg_replication_slot_advance('exported', pg_current_wal_lsn())});
write_wal(40);
$node->append_conf('postgresql.conf', "max_slot_wal_keep_size = '96MB'");
$node->reload;
wait_until($node, q{SELECT current_setting('max_slot_wal_keep_size') = '96MB'}, 'the setting is loaded');
# wherever in a segment of WAL the slot begins
write_wal(53);
is(problem(), 'warning|three quarters of max_slot_wal_keep_size are in use', 'max_slot_wal_keep_size is almost reached');
write_wal(60);
sql($node, 'SELECT pg_switch_wal(); CHECKPOINT');
is(problem(), 'critical|WAL that the slot needs was removed: changes are lost', 'WAL was removed');

$node->stop;
done_testing();
