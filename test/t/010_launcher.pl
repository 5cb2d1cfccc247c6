# 010_launcher.pl: processes come and go with databases, extensions and the server's role.
#
# Every database that has the extension has a worker, soon after it has it and no longer than
# that; nobody is in the way of DROP DATABASE; a copied database does not consume by
# itself; a standby does nothing before promotion; too few slots are a visible
# state and no noise in the log; killed workers come back.

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

	for (1 .. 10 * $EddyTest::patience)
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

wait_for_workers('launcher', 'NULL', 1, 'a launcher runs');
wait_for_workers('database worker', q{'postgres'}, 0, 'no worker without the extension');
setup_stream('postgres');
wait_for_workers('database worker', q{'postgres'}, 1, 'CREATE EXTENSION brings one');
wait_for_workers('source worker', q{'postgres'}, 1, 'attaching brings another');
wait_for_count('postgres', 10, 'which consumes');

$node->safe_psql('postgres', 'BEGIN; DROP EXTENSION pg_eddy CASCADE; ROLLBACK');
wait_for_workers('database worker', q{'postgres'}, 1, 'a DROP that is rolled back has no effect');
$node->safe_psql('postgres', 'DROP EXTENSION pg_eddy CASCADE; DROP TABLE events');
wait_for_workers('source worker', q{'postgres'}, 0, 'DROP EXTENSION ends the source worker');
wait_for_workers('database worker', q{'postgres'}, 0, 'and that of the database');

#
# Databases
#

$node->safe_psql('postgres', 'CREATE DATABASE shop');
setup_stream('shop');
wait_for_count('shop', 10, 'a new database is noticed');
is( $node->safe_psql(
		'shop',
		q{SELECT string_agg(format('%s %s', kind, application_name), ', ' ORDER BY kind)
			FROM eddy._workers() JOIN pg_stat_activity USING (pid) WHERE datname = 'shop'}),
	'database eddy database worker: shop, source eddy source worker: events',
	'workers are named for what they work on');
is( $node->safe_psql(
		'shop',
		q{SELECT string_agg(concat_ws(' ', w.kind, coalesce(w.id = s.source, true), w.shard), ', '
				ORDER BY w.kind)
			FROM eddy._workers() w, pg_database d, eddy.sources s
			WHERE w.database = d.oid AND d.datname = current_database()}),
	'database t, source t 0',
	'and identified by database, kind, number and shard');

$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE shop');
pass('a database with running workers can be a template');
wait_for_workers('source worker', q{'shop'}, 1, 'which go on afterwards');
wait_for_workers('database worker', q{'copy'}, 1, 'the copy has a worker');
like(
	$node->safe_psql('copy', 'SELECT state, error FROM eddy.sources'),
	qr/^waiting\|.*copy/,
	'but its source waits, and says why');
$broker->produce('events', map { [ 0, undef, "{\"id\": $_}" ] } 11 .. 15);
wait_for_count('shop', 15, 'the original consumes');
is($node->safe_psql('copy', 'SELECT n FROM n'), '10', 'the copy does not');
$node->safe_psql('copy', q{SELECT eddy.resume('events')});
wait_for_count('copy', 15, 'until eddy.resume takes the source over');

$node->safe_psql('postgres', 'ALTER DATABASE copy RENAME TO fork');
wait_for_workers('source worker', q{'fork'}, 1, 'ALTER DATABASE RENAME is not hindered');
$node->safe_psql('postgres', 'DROP DATABASE fork');
pass('neither is DROP DATABASE');
wait_for_workers('source worker', q{'shop'}, 1, 'other databases are left alone');

# create and drop in quick succession: workers that are just starting are in nobody's way
for my $i (1 .. 5)
{
	$node->safe_psql('postgres', 'CREATE DATABASE brief TEMPLATE shop');
	$node->safe_psql('postgres', 'DROP DATABASE brief');
}
pass('a database may go while its worker starts');

# a worker that was evicted from a dropped database is not waited for ever after
ok( $node->poll_query_until(
		'shop',
		'SELECT count(*) = 0 FROM eddy._workers() WHERE database NOT IN (SELECT oid FROM pg_database)'),
	'nothing is left of its workers');

#
# Workers that end
#

my $worker = q{SELECT pid FROM eddy.sources};
my $pid = $node->safe_psql('shop', $worker);
$node->safe_psql('shop', "SELECT pg_terminate_backend($pid, 10000)");
$broker->produce('events', [ 0, undef, '{"id": 16}' ]);
wait_for_count('shop', 16, 'a terminated source worker comes back');

$pid = $node->safe_psql('shop',
	q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'eddy database worker'
		AND datname = 'shop'});
$node->safe_psql('shop', "SELECT pg_terminate_backend($pid, 10000)");
wait_for_workers('database worker', q{'shop'}, 1, 'so does a database worker');

$pid = $node->safe_psql('shop', $worker);
kill 'KILL', $pid;
wait_until(
	$node,
	"SELECT count(*) = 1 FROM pg_stat_activity
		WHERE backend_type = 'eddy source worker' AND pid <> $pid",
	'the server has recovered');
$broker->produce('events', [ 0, undef, '{"id": 17}' ]);
wait_for_count('shop', 17, 'a killed one costs a recovery, and no message');

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
	'0', 'nothing runs on a standby');
is($standby->safe_psql('shop', 'SELECT n FROM n'), '17', 'its views can be read');
is($standby->safe_psql('shop', 'SELECT state FROM eddy.sources'),
	'waiting', 'its sources wait');
$node->stop;
$standby->promote;
$node = $standby;
$broker->produce('events', [ 0, undef, '{"id": 18}' ]);
wait_for_count('shop', 18, 'after promotion it goes on where the primary was');

#
# Too few slots
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
	'sources without a slot say so');
my $log = slurp_file($node->logfile);
my $complaints = () = $log =~ /max_worker_processes\)/g;
cmp_ok($complaints, '<', 20, 'the log does not');
$node->append_conf('postgresql.conf', "max_worker_processes = 32\n");
$node->restart;
wait_in_shop(q{SELECT count(*) = 4 FROM eddy.sources WHERE state = 'running' AND error IS NULL},
	'with enough slots all run');

$node->stop;
done_testing();
