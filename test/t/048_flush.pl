# 048_flush.pl: with pg_eddy.synchronous_commit = off, a batch is visible before it is flushed, and a crash takes back its
# results and its offsets together.
#
# The launcher flushes what a batch has committed. While it and the server's WAL writer are suspended, nothing
# does, so that a crash loses the last batches. Their messages are read again.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = start_broker();

# nothing else may flush
my $node = new_node('flush', 'pg_eddy.synchronous_commit = off', 'autovacuum = off', 'checkpoint_timeout = 1h', 'bgwriter_delay = 10s');
attach_server($node, $broker->address);
sql($node, q{
CREATE UNLOGGED TABLE events (id bigint);
SELECT eddy.create_stream('events');
SELECT eddy.create_continuous_view('counts', 'SELECT id % 3 AS g, count(*) AS n, sum(id) AS ids FROM events GROUP BY 1');
});
$broker->create_topic('events', 2);
sql($node, q{SELECT eddy.attach_kafka('events', server => 'kafka', topic => 'events')});

sub produce
{
	my (@ids) = @_;

	$broker->produce('events', map { [ $_ % 2, undef, "{\"id\": $_}" ] } @ids);
	return;
}

# The pid of a process of the server.
sub process
{
	my ($type) = @_;

	return sql($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = '$type'");
}

# Produces messages and waits until they are counted. Returns the end of the WAL before.
sub add
{
	my (@ids) = @_;
	my $before = sql($node, 'SELECT pg_current_wal_insert_lsn()');

	produce(@ids);
	wait_for_consumed($node, $broker, 'events');
	return $before;
}

# Waits until the WAL after a position, the commits of the batches, has been flushed to the end.
sub flushed
{
	my ($position, $what) = @_;

	return ok(
		wait_until(
			$node, "SELECT pg_current_wal_flush_lsn() > '$position' AND pg_current_wal_flush_lsn() = pg_current_wal_insert_lsn()",
			$what),
		$what);
}

sub totals
{
	return sql($node, 'SELECT sum(n) FROM counts') . ' of ' . sql($node,
		q{SELECT sum(next_offset) FROM eddy.partitions WHERE topic = 'events' AND partition >= 0});
}

add(1 .. 10);
is(totals(), '10 of 10', 'messages are counted');

#
# Visible before it is flushed, and then flushed by the launcher
#

my $launcher = process('eddy launcher');
my $writer = process('walwriter');
flushed('0/0', 'all WAL is flushed');
kill 'STOP', $launcher, $writer;
my $position = add(11 .. 20);
is(totals(), '20 of 20', 'a batch is visible although nothing flushes');
is(sql($node, "SELECT pg_current_wal_flush_lsn() <= '$position'"), 't', 'its commit is not on disk');
kill 'CONT', $launcher;
flushed($position, 'the launcher flushes it without the WAL writer');

#
# A crash takes back results and offsets
#

kill 'STOP', $launcher;
$position = add(21 .. 30);
is(totals(), '30 of 30', 'another batch is visible');
is(sql($node, "SELECT pg_current_wal_flush_lsn() <= '$position'"), 't', 'its commit is not on disk either');
# a broker that cannot be reached would be reported, in a transaction that flushes; this one just does not respond
$broker->run('freeze', $broker->{dir});
kill 'KILL', $launcher, $writer;
# who notices their end restarts the server: restart_after_crash
wait_until($node, q{SELECT pg_postmaster_start_time() IS NOT NULL AND
	(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'walwriter' AND pid <> } . $writer . ')',
	'the server has restarted its processes');
is(totals(), '20 of 20', 'the batch is lost with its offsets');
$broker->run('thaw', $broker->{dir});
wait_for_consumed($node, $broker, 'events');
is(totals(), '30 of 30', 'its messages are read again');
equal_ok($node, 'TABLE counts',
	'SELECT id % 3 AS g, count(*) AS n, sum(id) AS ids FROM generate_series(1::bigint, 30) id GROUP BY 1',
	'each message is counted once');

#
# Batches that wait
#

sql($node, 'ALTER SYSTEM SET pg_eddy.synchronous_commit = on');
sql($node, 'SELECT pg_reload_conf()');
add(31 .. 40);    # after which the worker has loaded the setting
$launcher = process('eddy launcher');
$writer = process('walwriter');
kill 'STOP', $launcher, $writer;
$position = add(41 .. 50);
is(sql($node, "SELECT pg_current_wal_flush_lsn() > '$position'"), 't', 'with pg_eddy.synchronous_commit, a visible batch is on disk');
kill 'CONT', $launcher, $writer;
is(totals(), '50 of 50', 'all messages are counted');

done_testing();
