# 039_cdc_standby.pl: changes from a standby, and slots that survive a failover.
#
# A consumer applies the changes that it receives, in order and without those that it had received before,
# to rows in memory: from slots of the primary, of the standby (PostgreSQL 16), and of the primary that the server
# has synchronized to the standby (PostgreSQL 17). The primary is killed and the standby promoted: in the end the
# rows equal the view on the new primary. Where the server has no such slots, a new slot continues with a snapshot.

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

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 'logical');
configure_node($primary);
$primary->append_conf('postgresql.conf', 'autovacuum = off');
$primary->start;
my ($version) = sql($primary, 'SHOW server_version_num') =~ /^(\d+)\d{4}$/;

sql($primary, q{
CREATE EXTENSION pg_eddy;
CREATE UNLOGGED TABLE s (k int, v int);
SELECT eddy.create_stream('s');
SELECT eddy.create_continuous_view('v', 'SELECT k, sum(v) AS total, count(*) AS n FROM s GROUP BY k HAVING sum(v) > 0');
CREATE ROLE reader LOGIN REPLICATION;
CREATE ROLE other LOGIN REPLICATION;
GRANT SELECT ON v TO reader;
SELECT pg_create_physical_replication_slot('standby');
});
insert_rows();
$primary->backup('backup');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', join "\n", 'hot_standby_feedback = on', "primary_slot_name = 'standby'",
	"primary_conninfo = '" . $primary->connstr('postgres') =~ s/'/''/gr . "'", 'wal_receiver_status_interval = 1',
	'max_standby_streaming_delay = -1', $version >= 17 ? 'sync_replication_slots = on' : '', '');
$standby->start;

sub insert_rows
{
	my ($node) = @_;

	sql($node // $primary, 'INSERT INTO s SELECT (random() * 30)::int, (random() * 30)::int - 12 FROM generate_series(1, 40)') foreach 1 .. 3;
	return;
}

sub catch_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}

# A consumer: a slot, its rows, and the position of the last record that was applied
sub new_consumer
{
	my ($slot) = @_;

	return { slot => $slot, rows => {}, position => '', known => 0, records => 0 };
}

# Applies lines that the slot has sent.
sub apply
{
	my ($consumer, @lines) = @_;

	foreach my $record (map { decode_json($_) } @lines)
	{
		my $position = sprintf('%08s%08s%09d', split(m{/}, $record->{lsn}), $record->{seq});

		next if $position le $consumer->{position};
		$consumer->{position} = $position;
		$consumer->{records}++;
		if ($record->{op} eq 'snapshot')
		{
			@$consumer{qw(rows known)} = ({}, 1);
		}
		elsif ($consumer->{known})
		{
			my $key = $record->{key}{k};

			delete $consumer->{rows}{$key};
			$consumer->{rows}{$key} = "$record->{after}{total}|$record->{after}{n}" if $record->{after};
		}
	}
	return;
}

# Receives all changes up to the present position of a server.
sub receive
{
	my ($node, $consumer) = @_;

	apply($consumer, split /\n/, sql($node, "SELECT data FROM pg_logical_slot_get_changes('$consumer->{slot}', NULL, NULL)"));
	return;
}

# The same over the replication protocol, with a client that is killed after some of them.
sub receive_killed
{
	my ($node, $consumer) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . "/$consumer->{slot}";
	my $before = -s $file // 0;
	my $receiver = start_process($file, $node->config_data('--bindir') . '/pg_recvlogical', '-d', $node->connstr('postgres'), '-S', $consumer->{slot},
		'--start', '-o', 'views=public.v', '--no-loop', '-f', $file);

	my $deadline = time() + 60;
	Time::HiRes::sleep(0.05) while (-s $file // 0) <= $before && time() < $deadline;    # before the next poll
	cmp_ok(-s $file, '>', $before, "$consumer->{slot}: a client receives changes");
	is(sql($node, "SELECT options FROM eddy.stat_slots WHERE slot_name = '$consumer->{slot}'"), q{"views" 'public.v'}, '... with its options');
	stop_process($receiver, 'KILL');
	wait_until($node, "SELECT NOT active FROM pg_replication_slots WHERE slot_name = '$consumer->{slot}'", 'the slot is free');
	my $content = slurp_file($file);
	apply($consumer, split /\n/, substr($content, 0, rindex($content, "\n") + 1));
	return;
}

sub check
{
	my ($node, $consumer, $name) = @_;
	my $rows = join ' ', map { "$_|$consumer->{rows}{$_}" } sort { $a <=> $b } keys %{ $consumer->{rows} };

	is($rows, sql($node, q{SELECT string_agg(concat_ws('|', k, total, n), ' ' ORDER BY k) FROM v}), "$name: the rows equal the view");
	return;
}

#
# A slot of the primary, which is synchronized to the standby since version 17
#

my $failover = new_consumer('failover');
sql($primary, "SELECT pg_create_logical_replication_slot('failover', 'pg_eddy_cdc', false, false" . ($version >= 17 ? ', true)' : ')'));
sql($primary, q{SELECT eddy.send_snapshot('failover', 'v')});
if ($version >= 17)
{
	# no client may be ahead of the standby
	$primary->append_conf('postgresql.conf', "synchronized_standby_slots = 'standby'");
	$primary->reload;
}
insert_rows();
receive_killed($primary, $failover);
receive($primary, $failover);
check($primary, $failover, 'slot of the primary');

#
# A slot of the standby, since version 16
#

my $local = new_consumer('local');
SKIP:
{
	skip 'slots on standbys exist since PostgreSQL 16', 11 if $version < 16;

	# the slot waits for a position at which all transactions are known, which the primary logs
	my $session = IPC::Run::start([ $standby->config_data('--bindir') . '/psql', '-X', '-q', '-d', $standby->connstr('postgres'), '-c',
			q{SELECT pg_create_logical_replication_slot('local', 'pg_eddy_cdc')} ], '<', \undef, '>', \my $out, '2>', \my $err);
	my $deadline = time() + 60;
	do { sql($primary, 'SELECT pg_log_standby_snapshot()'); Time::HiRes::sleep(0.1); $session->pump_nb }    # before the next poll
	  while ($session->pumpable && time() < $deadline);
	$session->finish;
	is($err, '', 'a slot is created on the standby');

	# what the changes follow is read from the view: there are no changes in between
	catch_up();
	receive($standby, $local);
	$local->{rows} = { map { /^(\d+)\|(.*)/ } split /\n/, sql($standby, 'TABLE v') };
	$local->{known} = 1;

	insert_rows();
	sql($primary, 'DELETE FROM v WHERE k % 5 = 0');
	sql($primary, 'VACUUM FULL pg_class');
	catch_up();
	receive_killed($standby, $local);
	insert_rows();
	catch_up();
	restart_node($standby);
	catch_up();
	receive($standby, $local);
	check($standby, $local, 'slot of the standby');
	cmp_ok($local->{records}, '>', 30, "... after $local->{records} changes");

	# Privileges and names are those of the catalogs of the standby.
	insert_rows();
	catch_up();
	my $count = sub {
		my ($role, $options) = @_;
		my ($status, $out, $err) = $standby->psql('postgres', "SELECT count(*) > 0 FROM pg_logical_slot_peek_changes('local', NULL, NULL$options)",
			extra_params => [ '-U', $role ]);
		return $out eq '' ? $err =~ s/\n.*//sr : $out;
	};
	is($count->('reader', ''), 't', 'a role that may read the view');
	is($count->('other', ''), 'f', '... and one that may not');
	like($count->('other', ", 'strict', 'on', 'views', 'public.v'"), qr/permission denied for view public\.v/, '... strict');
	like($count->('reader', ", 'strict', 'on', 'views', 'public.w'"), qr/continuous view "public\.w" does not exist/, 'a view that does not exist');
	is(sql($standby, q{SELECT level FROM eddy.stat_slots WHERE slot_name = 'local'}), 'ok', 'eddy.stat_slots on a standby');
}

#
# Failover
#

sql($primary, 'INSERT INTO s VALUES (100, 1)');
if ($version >= 17)
{
	# a slot is temporary on the standby until its consumer has passed the position from which the standby has WAL
	my $synchronized = '';
	my $deadline = time() + 60;
	until ($synchronized eq 't' || time() > $deadline)
	{
		insert_rows();
		sql($primary, 'SELECT pg_log_standby_snapshot()');
		receive($primary, $failover);
		$synchronized = sql($standby, q{SELECT synced AND NOT temporary AND invalidation_reason IS NULL FROM pg_replication_slots WHERE slot_name = 'failover'});
	}
	is($synchronized, 't', 'the slot is synchronized');
	insert_rows();
	receive_killed($primary, $failover);
}
insert_rows();
catch_up();
$primary->stop('immediate');
$standby->promote;

SKIP:
{
	skip 'slots are synchronized to standbys since PostgreSQL 17', 3 if $version < 17;
	insert_rows($standby);
	my $records = $failover->{records};
	receive($standby, $failover);
	check($standby, $failover, 'synchronized slot after the failover');
	cmp_ok($failover->{records}, '>', $records, '... with changes from before and after it');
	insert_rows($standby);
	restart_node($standby);
	receive($standby, $failover);
	check($standby, $failover, '... and after a crash of the new primary');
}
SKIP:
{
	skip 'slots on standbys exist since PostgreSQL 16', 1 if $version < 16;
	insert_rows($standby);
	receive($standby, $local);
	check($standby, $local, 'slot of the former standby');
}

# In all versions: a new slot, and a snapshot through it
my $new = new_consumer('new');
sql($standby, q{SELECT pg_create_logical_replication_slot('new', 'pg_eddy_cdc')});
insert_rows($standby);
sql($standby, q{SELECT eddy.send_snapshot('new', 'v')});
insert_rows($standby);
receive($standby, $new);
check($standby, $new, 'new slot after the failover');
is(sql($standby, 'SELECT n FROM v WHERE k = 100'), '1', 'the view has what was committed before the failover');

$standby->stop;
done_testing();
