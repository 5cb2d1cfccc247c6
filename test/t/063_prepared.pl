# 063_prepared.pl: prepared transactions, across restarts and with workers.
#
# sql/prepared.sql tests their effects on views. Here a server is stopped and killed between PREPARE
# TRANSACTION and COMMIT PREPARED; and changes that concern workers (attaching, pausing, resuming and
# detaching a source) take effect at COMMIT PREPARED.

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
$broker->produce('events', map { [ 0, undef, "{\"id\": $_, \"kind\": \"kafka\"}" ] } 1 .. 10);

my $node = new_node('prepared');
attach_server($node, $broker->address);
sql($node, q{
CREATE UNLOGGED TABLE events (id bigint, kind text);
SELECT eddy.create_stream('events');
SELECT eddy.create_continuous_view('per_kind',
	'SELECT kind, count(*) AS n, sum(id) AS ids FROM events GROUP BY kind');
SELECT eddy.create_continuous_view('total', 'SELECT count(*) AS n, sum(id) AS ids FROM events');
});

sub kind_is
{
	my ($kind, $want, $what) = @_;

	is(sql($node, "SELECT n, ids FROM per_kind WHERE kind = '$kind'"), $want, $what);
	return;
}

#
# Restarts
#

foreach my $stop ('fast', 'immediate')
{
	sql($node, "BEGIN; INSERT INTO events VALUES (1, '$stop committed'), (2, '$stop committed');
		SAVEPOINT one; INSERT INTO events VALUES (3, '$stop committed'); ROLLBACK TO one;
		PREPARE TRANSACTION 'commit'");
	$node->stop($stop);
	$node->start;
	kind_is("$stop committed", '', "a prepared transaction is not visible after a restart ($stop)");
	sql($node, q{COMMIT PREPARED 'commit'});
	kind_is("$stop committed", '2|3', "COMMIT PREPARED counts the rows ($stop)");
	sql($node, "INSERT INTO events VALUES (4, '$stop committed')");
	kind_is("$stop committed", '3|7', "the group can be written again ($stop)");

	sql($node, "BEGIN; INSERT INTO events VALUES (5, '$stop rolled back');
		PREPARE TRANSACTION 'rollback'");
	$node->stop($stop);
	$node->start;
	sql($node, q{ROLLBACK PREPARED 'rollback'});
	kind_is("$stop rolled back", '', "ROLLBACK PREPARED undoes all changes ($stop)");
	sql($node, "INSERT INTO events VALUES (6, '$stop rolled back')");
	kind_is("$stop rolled back", '1|6', "the group is not locked after ROLLBACK PREPARED ($stop)");
}
is(sql($node, 'SELECT n, ids FROM total'), '8|26', 'the other view has the same count');

#
# Workers
#

# Waits for a condition on the source, for less than the interval at which workers check without a wake-up.
sub source_becomes
{
	my ($condition, $what) = @_;

	return ok(wait_until($node, "SELECT $condition FROM eddy.sources", $what, 45), $what);
}

sub in_prepared
{
	my ($statements) = @_;

	sql($node, "BEGIN; $statements; PREPARE TRANSACTION 'worker'");
	return;
}

in_prepared(q{SELECT eddy.attach_kafka('events', server => 'kafka', topic => 'events')});
is(sql($node, 'SELECT count(*) FROM eddy.sources'), '0', 'a source does not exist before COMMIT PREPARED');
sql($node, q{COMMIT PREPARED 'worker'});
source_becomes(q{count(*) FILTER (WHERE state = 'running') = 1},
	'COMMIT PREPARED starts the source');
wait_for_consumed($node, $broker, 'events');
kind_is('kafka', '10|55', 'the messages of the source are counted');

in_prepared(q{SELECT eddy.pause('events')});
sql($node, q{ROLLBACK PREPARED 'worker'});
$broker->produce('events', [ 0, undef, '{"id": 11, "kind": "kafka"}' ]);
wait_for_consumed($node, $broker, 'events');
kind_is('kafka', '11|66', 'after ROLLBACK PREPARED of a pause the source still runs');

in_prepared(q{SELECT eddy.pause('events')});
sql($node, q{COMMIT PREPARED 'worker'});
source_becomes(q{bool_and(state = 'paused' AND pid IS NULL)},
	'COMMIT PREPARED of a pause stops the worker');
$broker->produce('events', [ 0, undef, '{"id": 12, "kind": "kafka"}' ]);
in_prepared(q{SELECT eddy.resume('events')});
is(sql($node, 'SELECT state FROM eddy.sources'), 'paused', 'a resume has no effect before COMMIT PREPARED');
$node->stop('immediate');
$node->start;
sql($node, q{COMMIT PREPARED 'worker'});
source_becomes(q{bool_and(state = 'running')}, 'COMMIT PREPARED after a crash starts the source');
wait_for_consumed($node, $broker, 'events');
kind_is('kafka', '12|78', 'messages that arrived during the pause are counted');

in_prepared(q{SELECT eddy.create_continuous_view('all_messages',
	'SELECT count(*) AS n, sum(id) AS ids FROM events', start => 'earliest')});
sql($node, q{COMMIT PREPARED 'worker'});
ok(wait_until($node, 'SELECT count(*) = 0 FROM eddy.view_starts', 'the view is filled', 45),
	'COMMIT PREPARED of a view starts the worker that fills it');
is(sql($node, 'SELECT n, ids FROM all_messages'), '12|78', 'the view has all messages');

in_prepared(q{SELECT eddy.detach_kafka('events', 'events')});
sql($node, q{COMMIT PREPARED 'worker'});
ok( wait_until(
		$node,
		q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'eddy source worker'},
		'the worker exits', 45),
	'COMMIT PREPARED of a detach stops the worker');

# A database whose worker has exited, having found no extension, gets one again.
$node->safe_psql('postgres', 'CREATE DATABASE later');
my $workers = q{SELECT count(*) = %d FROM eddy._workers() w JOIN pg_database d ON d.oid = w.database WHERE datname = 'later'};
# it has committed transactions, and reports that when it exits
wait_until($node, q{SELECT xact_commit > 0 FROM pg_stat_database WHERE datname = 'later'}, 'its worker has run', 45);
wait_until($node, sprintf($workers, 0), 'its worker has exited', 45);
$node->safe_psql('later', q{BEGIN; CREATE EXTENSION pg_eddy; PREPARE TRANSACTION 'extension'});
$node->safe_psql('later', q{COMMIT PREPARED 'extension'});
ok(wait_until($node, sprintf($workers, 1), 'a worker runs', 45), 'COMMIT PREPARED of CREATE EXTENSION starts the worker of the database');

done_testing();
