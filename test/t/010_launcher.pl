# 010_launcher.pl: starting and stopping of background workers.
#
# Each database that has the extension has a worker, until the extension or the database is dropped;
# workers do not block DROP DATABASE; a copied database does not consume automatically; workers do
# not run on a standby before promotion; too few worker slots are a visible state and do not fill
# the log; killed workers are restarted.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = start_broker();
$broker->create_topic('events');
$broker->produce('events', map { [ 0, undef, "{\"id\": $_}" ] } 1 .. 10);

my $node = PostgreSQL::Test::Cluster->new('launcher');
$node->init(allows_streaming => 1);
configure_node($node);
$node->start;

# A condition on the number of processes of a kind in a database.
sub wait_for_workers
{
	my ($kind, $database, $count, $what) = @_;

	ok(wait_until(
			$node,
			"SELECT count(*) = $count FROM pg_stat_activity
				WHERE backend_type = 'eddy $kind' AND datname IS NOT DISTINCT FROM $database",
			$what),
		$what);
	return;
}

sub setup_stream
{
	my ($database) = @_;

	$node->safe_psql(
		$database, qq{
CREATE EXTENSION pg_eddy;
CREATE SERVER kafka FOREIGN DATA WRAPPER eddy_kafka
	OPTIONS ("bootstrap.servers" '@{[ $broker->address ]}', "reconnect.backoff.max.ms" '500');
CREATE UNLOGGED TABLE events (id bigint);
SELECT eddy.create_stream('events');
});
	$node->safe_psql($database,
		q{SELECT eddy.create_continuous_view('n', 'SELECT count(*) AS n FROM events')});
	$node->safe_psql($database,
		q{SELECT eddy.attach_kafka('events', server => 'kafka', topic => 'events')});
	return;
}

sub wait_for_count
{
	my ($database, $count, $what) = @_;
	my $got = '';

	for (1 .. 10 * $EddyTest::wait_timeout)
	{
		$got = $node->safe_psql($database, 'SELECT n FROM n');
		last if $got eq $count;
		Time::HiRes::sleep(0.1);
	}
	is($got, $count, $what);
	return;
}

#
# CREATE and DROP EXTENSION
#

wait_for_workers('launcher', 'NULL', 1, 'the launcher runs');
wait_for_workers('database worker', q{'postgres'}, 0, 'a database without the extension has no worker');
setup_stream('postgres');
wait_for_workers('database worker', q{'postgres'}, 1, 'CREATE EXTENSION starts a database worker');
wait_for_workers('source worker', q{'postgres'}, 1, 'attach_kafka starts a source worker');
wait_for_count('postgres', 10, 'the source worker consumes the topic');

$node->safe_psql('postgres', 'BEGIN; DROP EXTENSION pg_eddy CASCADE; ROLLBACK');
wait_for_workers('database worker', q{'postgres'}, 1, 'a DROP that is rolled back has no effect');
$node->safe_psql('postgres', 'DROP EXTENSION pg_eddy CASCADE; DROP TABLE events');
wait_for_workers('source worker', q{'postgres'}, 0, 'DROP EXTENSION ends the source worker');
wait_for_workers('database worker', q{'postgres'}, 0, 'DROP EXTENSION ends the database worker');

#
# Databases
#

$node->safe_psql('postgres', 'CREATE DATABASE shop');
setup_stream('shop');
wait_for_count('shop', 10, 'a source in a new database is consumed');
is( $node->safe_psql(
		'shop',
		q{SELECT string_agg(format('%s %s', kind, application_name), ', ' ORDER BY kind)
			FROM eddy._workers() JOIN pg_stat_activity USING (pid) WHERE datname = 'shop'}),
	'database eddy database worker: shop, source eddy source worker: events',
	'the names of workers contain the database or topic');
is( $node->safe_psql(
		'shop',
		q{SELECT string_agg(concat_ws(' ', w.kind, coalesce(w.id = s.source, true), w.shard), ', '
				ORDER BY w.kind)
			FROM eddy._workers() w, pg_database d, eddy.sources s
			WHERE w.database = d.oid AND d.datname = current_database()}),
	'database t, source t 0',
	'workers are identified by database, kind, number and shard');

$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE shop');
pass('a database with running workers can be a template');
wait_for_workers('source worker', q{'shop'}, 1, 'its workers are restarted afterwards');
wait_for_workers('database worker', q{'copy'}, 1, 'the copy has a worker');
like(
	$node->safe_psql('copy', 'SELECT state, error FROM eddy.sources'),
	qr/^waiting\|.*copy/,
	'the source of the copy is waiting, with the reason');
$broker->produce('events', map { [ 0, undef, "{\"id\": $_}" ] } 11 .. 15);
wait_for_count('shop', 15, 'the original consumes the topic');
is($node->safe_psql('copy', 'SELECT n FROM n'), '10', 'the copy does not consume the topic');
$node->safe_psql('copy', q{SELECT eddy.resume('events')});
wait_for_count('copy', 15, 'the copy consumes the topic after eddy.resume');

$node->safe_psql('postgres', 'ALTER DATABASE copy RENAME TO fork');
wait_for_workers('source worker', q{'fork'}, 1, 'workers do not block ALTER DATABASE RENAME');
is( $node->safe_psql(
		'fork',
		q{SELECT application_name FROM pg_stat_activity
			WHERE backend_type = 'eddy database worker' AND datname = 'fork'}),
	'eddy database worker: fork',
	'a worker of a renamed database shows the new name');
$node->safe_psql('postgres', 'DROP DATABASE fork');
pass('workers do not block DROP DATABASE');
wait_for_workers('source worker', q{'shop'}, 1, 'workers of other databases are not affected');

# create and drop in quick succession: starting workers do not block DROP DATABASE
for my $i (1 .. 5)
{
	$node->safe_psql('postgres', 'CREATE DATABASE brief TEMPLATE shop');
	$node->safe_psql('postgres', 'DROP DATABASE brief');
}
pass('a database can be dropped while its worker starts');

# the slot of a worker that was evicted from a dropped database is released
ok( $node->poll_query_until(
		'shop',
		'SELECT count(*) = 0 FROM eddy._workers() WHERE database NOT IN (SELECT oid FROM pg_database)'),
	'eddy._workers() shows no dropped database');

#
# Terminated and killed workers
#

my $worker = q{SELECT pid FROM eddy.sources};
my $pid = $node->safe_psql('shop', $worker);
$node->safe_psql('shop', "SELECT pg_terminate_backend($pid, 10000)");
$broker->produce('events', [ 0, undef, '{"id": 16}' ]);
wait_for_count('shop', 16, 'a terminated source worker is restarted');

$pid = $node->safe_psql('shop',
	q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'eddy database worker'
		AND datname = 'shop'});
$node->safe_psql('shop', "SELECT pg_terminate_backend($pid, 10000)");
wait_for_workers('database worker', q{'shop'}, 1, 'a terminated database worker is restarted');

$pid = $node->safe_psql('shop', $worker);
kill 'KILL', $pid;
wait_until(
	$node,
	"SELECT count(*) = 1 FROM pg_stat_activity
		WHERE backend_type = 'eddy source worker' AND pid <> $pid",
	'the server has recovered');
$broker->produce('events', [ 0, undef, '{"id": 17}' ]);
wait_for_count('shop', 17, 'no message is lost when a source worker is killed');

#
# A standby
#

$node->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is( $standby->safe_psql(
		'shop', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'eddy%'}),
	'0', 'no workers run on a standby');
is($standby->safe_psql('shop', 'SELECT n FROM n'), '17', 'the views of a standby can be read');
is($standby->safe_psql('shop', 'SELECT state, error FROM eddy.sources'),
	'waiting|the server is a standby: the source continues after promotion', 'the sources of a standby are waiting');
$node->stop;
$standby->promote;
$node = $standby;
$broker->produce('events', [ 0, undef, '{"id": 18}' ]);
wait_for_count('shop', 18, 'after promotion the source resumes from the replicated offset');

#
# Too few worker slots
#

$node->append_conf('postgresql.conf', "max_worker_processes = 3\n");
$node->restart;
$broker->create_topic("more$_") foreach 1 .. 3;
$node->safe_psql('shop',
	"SELECT eddy.attach_kafka('events', server => 'kafka', topic => 'more$_')")
  foreach 1 .. 3;

# in database shop, through crashes and restarts
sub wait_in_shop
{
	my ($query, $what) = @_;

	ok($node->poll_query_until('shop', $query), $what);
	return;
}

wait_in_shop(
	q{SELECT count(*) >= 3 FROM eddy.sources
		WHERE state = 'waiting' AND error LIKE '%max_worker_processes%'},
	'sources without a slot are waiting with that error');
my $log = slurp_file($node->logfile);
my $complaints = () = $log =~ /max_worker_processes\)/g;
cmp_ok($complaints, '<', 20, 'missing slots do not fill the log');
$node->append_conf('postgresql.conf', "max_worker_processes = 32\n");
$node->restart;
wait_in_shop(q{SELECT count(*) = 4 FROM eddy.sources WHERE state = 'running' AND error IS NULL},
	'with enough slots all sources run');

$node->stop;
done_testing();
