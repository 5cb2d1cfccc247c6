# 072_event_time.pl: random streams, compared with a reference model of event time.
#
# test/oracle/event_time_run.py runs the same random batches in a server and in a model that shares no
# code with the extension, and compares views, final rows and late rows. Between parts of the
# run the server is restarted, once by a crash. test/oracle/event_time_kafka.py does the same with partitions of Kafka
# topics. EDDY_EVENT_TIME_SEEDS sets the number of seeds, and
# EDDY_EVENT_TIME_FIRST the first of them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $oracle = "$FindBin::Bin/../oracle";
my $seeds = $ENV{EDDY_EVENT_TIME_SEEDS} // 1000;
my $first = $ENV{EDDY_EVENT_TIME_FIRST} // 0;

my ($out, $err);
my $ok = IPC::Run::run([ 'python3', "$oracle/event_time_model.py" ], '>', \$out, '2>', \$err);
ok($ok, 'the model gives the results of the worked examples') or diag($out . $err);

my $node = new_node('event_time', 'pg_eddy.batch_rows = 10');
my $restart = join(' ',
	$node->config_data('--bindir') . '/pg_ctl',
	'-D', $node->data_dir, '-l', $node->logfile, '-w', '-t', '60');

$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';
note("seeds $first to " . ($first + $seeds - 1));
$ok = IPC::Run::run(
	[
		'python3', "$oracle/event_time_run.py",
		'--seeds', $seeds, '--first', $first,
		'--restart', "$restart -m immediate restart",
		'--restart', "$restart -m fast restart"
	],
	'>', \$out, '2>', \$err);
ok($ok, "views, final rows and late rows are those of the model for $seeds seeds")
  or diag($out . $err);
note($out);
my ($late, $final) = $out =~ /rows late: (\d+), results final: (\d+)/;
cmp_ok($late // 0, '>=', $seeds, 'there were late rows');
cmp_ok($final // 0, '>=', $seeds, 'there were final results');

# the comparison would find a difference
my $difference = IPC::Run::run(
	[
		'python3', '-c',
		"import sys; sys.path.insert(0, '$oracle'); import event_time_run as r; "
		  . "r.WindowView.limit = r.SessionView.limit = lambda self, watermark: watermark - self.lateness - 1; "
		  . "sys.argv = ['', '--seeds', '30', '--first', '100000']; r.main()"
	],
	'>', \$out, '2>', \$err);
ok(!$difference && $out =~ /differ in stream/, 'a model with another limit of lateness differs');

#
# Partitions of Kafka topics: the batches are those that the WAL shows
#

my $broker = start_broker();
my $kafka_seeds = $ENV{EDDY_KAFKA_SEEDS} // 3;
attach_server($node, $broker->address);
$ok = IPC::Run::run(
	[
		'python3', "$oracle/event_time_kafka.py",
		'--broker', $broker->address,
		'--seeds', $kafka_seeds, '--first', $first,
		'--restart', "$restart -m immediate restart"
	],
	'>', \$out, '2>', \$err);
ok($ok, "with partitions of Kafka and crashes, they are those of the model for $kafka_seeds seeds") or diag($out . $err);
note($out);
my ($kafka_late, $kafka_final) = (0, 0);
while ($out =~ /(\d+) rows late, (\d+) results final/g)
{
	$kafka_late += $1;
	$kafka_final += $2;
}
cmp_ok($kafka_late, '>', 0, 'there were late rows');
cmp_ok($kafka_final, '>', 0, 'there were final results');

$node->stop;
done_testing();
