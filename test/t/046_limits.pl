# 046_limits.pl: limits for the number of workers, and topics with many partitions.
#
# Sources share max_worker_processes with parallel queries, replication and other
# databases. A source that is not started shows the reason.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use IPC::Run qw(start);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $wide = 10_000;
my $mock = build_tool('eddy-mock-broker', 'test/kafka/mock_broker.c');
my $output = '';
# creating a topic takes the mock broker some time: only the sources that can run need their topics
my $broker =
  start([ $mock, "wide:$wide", map { "t$_:1" } 1 .. 8 ], '<', \my $input, '>', \$output);
$broker->pump until $output =~ /\n/;
my ($address) = $output =~ /^(\S+)/;

my $node = PostgreSQL::Test::Cluster->new('limits');
$node->init;
configure_node($node);
$node->append_conf(
	'postgresql.conf', qq{
max_worker_processes = 14
pg_eddy.max_workers_per_database = 4
pg_eddy.reserved_worker_processes = 3
});
$node->start;

# Creates a database with a stream that reads topics.
sub make_database
{
	my ($database, @topics) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database") if $database ne 'postgres';
	$node->safe_psql($database, 'CREATE EXTENSION pg_eddy');
	attach_server_in($database);
	$node->safe_psql(
		$database, q{
CREATE UNLOGGED TABLE s (id bigint);
SELECT eddy.create_stream('s');
});
	$node->safe_psql($database, join ';',
		map { "SELECT eddy.attach_kafka('s', server => 'kafka', topic => '$_')" } @topics);
	return;
}

sub attach_server_in
{
	my ($database) = @_;

	$node->safe_psql($database,
		qq{CREATE SERVER kafka FOREIGN DATA WRAPPER eddy_kafka
			OPTIONS ("bootstrap.servers" '$address');
		CREATE USER MAPPING FOR CURRENT_USER SERVER kafka});
	return;
}

sub wait_in
{
	my ($database, $query, $what) = @_;

	ok($node->poll_query_until($database, $query), $what);
	return;
}

sub states
{
	my ($running, $waiting, $like) = @_;

	return "SELECT count(*) FILTER (WHERE state = 'running') = $running
		AND count(*) FILTER (WHERE state = 'waiting' AND error LIKE '$like') = $waiting
		AND count(*) = $running + $waiting FROM eddy.sources";
}

#
# A limit for each database
#

make_database('greedy', map { "t$_" } 1 .. 400);
wait_in('greedy', states(4, 396, '%pg_eddy.max_workers_per_database%'),
	'the limit determines how many sources of a database run, the others show why they are waiting');
is( $node->safe_psql('greedy',
		q{SELECT DISTINCT sqlstate FROM eddy.sources WHERE state = 'waiting'}),
	'53400',
	'waiting sources show an SQLSTATE');
make_database('modest', 't1', 't2');
wait_in('modest', states(2, 0, ''), 'another database has workers');

# the state of waiting sources is not written repeatedly
my $written = "SELECT sum(n_tup_ins + n_tup_upd) FROM pg_stat_all_tables
	WHERE relname = '_source_status'";
my $before = $node->safe_psql('greedy', $written);
my ($first) = split /\n/,
  $node->safe_psql('greedy',
	q{SELECT source FROM eddy.sources WHERE state = 'running' ORDER BY source});

# an available worker slot is used
my $topic = $node->safe_psql('greedy', "SELECT topic FROM eddy.sources WHERE source = $first");
$node->safe_psql('greedy', "SELECT eddy.detach_kafka('s', '$topic')");
wait_in('greedy', states(4, 395, '%pg_eddy.max_workers_per_database%'),
	'another source runs when one is detached');
my $after = $node->safe_psql('greedy', $written);
cmp_ok($after - $before, '<', 50, 'the state of the other waiting sources is not written again');

#
# Reserved worker processes
#

$node->safe_psql('postgres', 'ALTER SYSTEM SET pg_eddy.max_workers_per_database = 100');
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');

# 14 in all: 3 reserved, the launcher, 2 workers of databases, 2 sources of "modest"
wait_in('greedy', states(6, 393, '%pg_eddy.reserved_worker_processes%'),
	'an increased limit takes effect with a reload, and the reserve limits all databases');
make_database('late', 't1');
wait_in('late', states(0, 1, '%pg_eddy.reserved_worker_processes%'),
	'a new database has a database worker, from the reserve, and its source shows why it is waiting');
my $plan = $node->safe_psql(
	'postgres', q{
CREATE TABLE t AS SELECT g FROM generate_series(1, 100000) g;
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 1;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT count(*) FROM t});
like($plan, qr/Workers Launched: 1/, 'workers for parallel queries are available');

$node->safe_psql('greedy',
	q{SELECT eddy.detach_kafka('s', topic) FROM eddy.sources WHERE source % 150 <> 0});
wait_in('late', states(1, 0, ''), 'the waiting source runs when other sources are detached');

$node->safe_psql('postgres', 'ALTER SYSTEM SET pg_eddy.max_workers_per_database = 0');
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
$node->safe_psql('late', q{SELECT eddy.pause('s')});
wait_in('late', q{SELECT bool_and(pid IS NULL) FROM eddy.sources}, 'the source is paused');
$node->safe_psql('late', q{SELECT eddy.resume('s')});
wait_in('late', states(0, 1, '%pg_eddy.max_workers_per_database%'), 'no source runs with a limit of 0');

#
# A topic with many partitions
#

$node->safe_psql('postgres', 'ALTER SYSTEM RESET pg_eddy.max_workers_per_database');
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
$node->safe_psql('postgres', "DROP DATABASE $_") foreach qw(greedy late);
make_database('postgres');
my $start = time();
$node->safe_psql('postgres',
	q{SELECT eddy.attach_kafka('s', server => 'kafka', topic => 'wide')});
wait_in('postgres', states(1, 0, ''), 'a source with 10,000 partitions starts');
my $seconds = time() - $start;
cmp_ok($seconds, '<', 5, 'a source with 10,000 partitions starts within 5 seconds');
is($node->safe_psql('postgres', 'SELECT count(*), sum(next_offset) FROM eddy.partitions'),
	"$wide|0", 'all partitions have offsets');
note sprintf('started in %.2f s', $seconds);

$node->stop;
$broker->kill_kill;
done_testing();
