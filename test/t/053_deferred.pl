# 053_deferred.pl: views with maintenance => 'deferred' under concurrent writers, after crashes, and in copies.
#
# Transactions of several statements on the same few groups run without waits and without deadlocks. Each also writes what
# it has inserted into an ordinary table, so that a view can be compared with its SELECT in any snapshot, also after a
# crash, when the rows of the stream are lost.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node(
	'deferred', 'wal_level = logical', 'max_connections = 60', 'max_prepared_transactions = 2', 'log_lock_waits = on', "deadlock_timeout = '20ms'");
my $dir = PostgreSQL::Test::Utils::tempdir();

sql($node, q{
CREATE UNLOGGED TABLE sales (item int, amount int, ts timestamptz DEFAULT '2026-01-01 00:00:00Z');
CREATE TABLE journal (item int, amount int, ts timestamptz DEFAULT '2026-01-01 00:00:00Z');
SELECT eddy.create_stream('sales', event_time => 'ts', delay => '1 hour');
SELECT eddy.create_continuous_view('by_item', $$
	SELECT item, count(*) AS n, sum(amount) AS amount, avg(amount) AS average FROM sales GROUP BY item $$,
	maintenance => 'deferred');
SELECT eddy.create_continuous_view('by_window', $$
	SELECT w.window_end, item, count(*) AS n, max(amount) AS highest
	FROM sales, eddy.tumble(ts, '10 s') w GROUP BY 1, 2 HAVING sum(amount) >= 0 $$, maintenance => 'deferred');
});

# In one snapshot, both views equal their SELECT over the journal.
sub check_views
{
	my ($node, $when) = @_;

	equal_ok($node, 'SELECT * FROM by_item',
		'SELECT item, count(*) AS n, sum(amount) AS amount, avg(amount) AS average FROM journal GROUP BY item',
		"$when: groups are exact");
	equal_ok($node, 'SELECT * FROM by_window', q{
		SELECT w.window_end, item, count(*) AS n, max(amount) AS highest
		FROM journal, eddy.tumble(ts, '10 s') w GROUP BY 1, 2}, "$when: windows are exact");
	return;
}

sub merged
{
	my ($node) = @_;

	return wait_until($node, 'SELECT NOT EXISTS (SELECT FROM eddy._by_item_deltas)
		AND NOT EXISTS (SELECT FROM eddy._by_window_deltas)', 'all deltas are merged');
}

#
# Writers that would wait for each other
#

my $script = "$dir/writers.sql";
my $statements = join '', map { qq{
\\set item random(1, 10)
\\set amount random(1, 1000)
WITH row AS (INSERT INTO sales VALUES (:item, :amount) RETURNING *) INSERT INTO journal SELECT * FROM row;
} } 1 .. 4;
append_to_file($script, "BEGIN;\n$statements\nCOMMIT;\n");

sub start_writers
{
	my ($clients, @limit) = @_;

	return start_process("$dir/pgbench", $node->installed_command('pgbench'), '-n', '-c', $clients, '-j', 2, @limit,
		'-f', $script, '-h', $node->host, '-p', $node->port, 'postgres');
}

my $writers = start_writers(32, '-t', 20);
check_views($node, "while they write ($_)") foreach 1 .. 3;
is(stop_process($writers), 0, 'no transaction of 32 clients fails')
  or diag(slurp_file("$dir/pgbench.err"));
is(sql($node, 'SELECT sum(n) FROM by_item'), 32 * 20 * 4, 'all rows are counted');
check_views($node, 'afterwards');
merged($node);
check_views($node, 'after the last merge');
my $log = slurp_file($node->logfile);
unlike($log, qr/deadlock detected/, 'no deadlock');
unlike($log, qr/still waiting for \w+ on (?:transaction|tuple)/, 'no transaction waits for another one');

#
# A group that a transaction has locked does not keep others from being merged
#

sql($node, q{BEGIN; DELETE FROM by_item WHERE item = 1; PREPARE TRANSACTION 'hold'});
sql($node, 'INSERT INTO sales SELECT i, 1 FROM generate_series(1, 10) i; INSERT INTO journal SELECT i, 1 FROM generate_series(1, 10) i');
wait_until($node, 'SELECT count(*) = 1 FROM eddy._by_item_deltas', 'deltas of other groups are merged');
sql($node, q{ROLLBACK PREPARED 'hold'});
merged($node);
check_views($node, 'after the lock is released');

# Many locked groups are waited for once in a merge
$node->append_conf('postgresql.conf', "pg_eddy.fold_interval = '1min'\ndeadlock_timeout = '1ms'");
$node->reload;
wait_until($node, q{SELECT current_setting('deadlock_timeout') = '1ms'}, 'setting is active');
my $sales = q{SELECT i, 1, '2026-01-01 00:00:00Z'::timestamptz FROM generate_series(101, 160) i};
sql($node, "INSERT INTO sales $sales; INSERT INTO journal $sales; SELECT eddy._notify()");
merged($node);
sql($node, q{BEGIN; DELETE FROM by_item WHERE item BETWEEN 101 AND 160 AND item % 2 = 0;
	DELETE FROM by_window WHERE item BETWEEN 101 AND 160 AND item % 2 = 0; PREPARE TRANSACTION 'hold'});
my $offset = -s $node->logfile;
sql($node, "INSERT INTO sales $sales; INSERT INTO journal $sales; SELECT eddy._notify()");
wait_until($node, 'SELECT count(*) = 30 FROM eddy._by_item_deltas', 'deltas of the other groups are merged');
wait_until($node, 'SELECT count(*) = 30 FROM eddy._by_window_deltas', 'also of the other windows');
sub count_waits
{
	return scalar(() = slurp_file($node->logfile, $offset) =~ /still waiting for \w+ on (?:transaction|tuple)/g);
}
cmp_ok(count_waits(), '<=', 6, 'few waits for 60 locked groups');
cmp_ok(count_waits(), '>', 0, 'which are logged');
sql($node, q{ROLLBACK PREPARED 'hold'});
sql($node, 'SELECT eddy._notify()');
merged($node);
check_views($node, 'after many locks are released');
$node->append_conf('postgresql.conf', "pg_eddy.fold_interval = '1s'\ndeadlock_timeout = '20ms'");
$node->reload;
wait_until($node, q{SELECT current_setting('deadlock_timeout') = '20ms'}, 'setting is active');

#
# A crash
#

$writers = start_writers(8, '-T', 60);
wait_until($node, 'SELECT count(*) > 3000 FROM journal', 'writers have started');
$node->stop('immediate');
stop_process($writers);
$node->start;
check_views($node, 'after a crash');
sql($node, 'INSERT INTO sales VALUES (1, 5), (11, 5); INSERT INTO journal VALUES (1, 5), (11, 5)');
merged($node);
check_views($node, 'after the first merge');

#
# Changes are sent when they are merged, each group once
#

$node->append_conf('postgresql.conf', "pg_eddy.fold_interval = '1min'");
$node->reload;
wait_until($node, q{SELECT current_setting('pg_eddy.fold_interval') = '1min'}, 'setting is active');
# the worker is told after the reload: what is merged by this is merged with the new interval
sql($node, 'INSERT INTO sales VALUES (1, 0); INSERT INTO journal VALUES (1, 0); SELECT eddy._notify()');
merged($node);
sql($node, q{SELECT pg_create_logical_replication_slot('changes', 'pg_eddy_cdc')});
sql($node, 'INSERT INTO sales VALUES (2, 1); INSERT INTO sales VALUES (2, 2); INSERT INTO journal VALUES (2, 1), (2, 2)');
my $changes = q{SELECT count(*) FROM pg_logical_slot_peek_changes('changes', NULL, NULL) WHERE data LIKE '%by_item%'};
is(sql($node, $changes), 0, 'no changes before the merge');
is(sql($node, 'SELECT deferred_rows IS NOT NULL FROM eddy.stat_continuous_views WHERE view = \'by_item\'::regclass'),
	't', 'the number of deltas is shown');

#
# A dump with deltas
#

my $waiting = sql($node, 'SELECT count(*) FROM eddy._by_item_deltas');
is($waiting, 2, 'deltas wait for the worker');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", $node->connstr('postgres') ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('copy'), "$dir/dump" ], 'restore');
my $sums = 'SELECT item, n, amount FROM by_item ORDER BY item';
is($node->safe_psql('copy', $sums), sql($node, $sums), 'the copy has the same groups');
$node->safe_psql('copy', 'INSERT INTO sales VALUES (2, 7)');
is($node->safe_psql('copy', 'SELECT n FROM by_item WHERE item = 2'),
	sql($node, 'SELECT n FROM by_item WHERE item = 2') + 1, 'and is maintained');

sql($node, 'SELECT eddy._notify()');
merged($node);
wait_for_flush($node);
is(sql($node, $changes), 1, 'one change for both statements');
check_views($node, 'at the end');

#
# Batches of Kafka are merged at once, and add to the same groups
#

my $broker = start_broker();
$broker->create_topic('sales', 2);
attach_server($node, $broker->address);
sql($node, q{SELECT eddy.attach_kafka('sales', server => 'kafka', topic => 'sales')});
$broker->produce('sales', map { [ $_ % 2, undef, sprintf('{"item": %d, "amount": %d, "ts": "2026-01-01T00:00:01Z"}', $_ % 12, $_) ] } 1 .. 600);
sql($node, 'INSERT INTO sales SELECT i % 12, i FROM generate_series(1, 60) i; INSERT INTO journal SELECT i % 12, i FROM generate_series(1, 60) i');
wait_for_consumed($node, $broker, 'sales');
sql($node, q{INSERT INTO journal SELECT i % 12, i, '2026-01-01 00:00:01Z' FROM generate_series(1, 600) i});
check_views($node, 'rows of users and from Kafka');
sql($node, 'SELECT eddy._notify()');
merged($node);
check_views($node, 'both after the merge');

#
# A standby shows both tables
#

$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
sql($node, 'INSERT INTO sales VALUES (3, 1); INSERT INTO journal VALUES (3, 1)');
$node->wait_for_catchup($standby);
check_views($standby, 'on a standby');

done_testing();
