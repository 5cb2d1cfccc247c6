# 064_random_views.pl: random definitions of continuous views and random transactions, compared with
# the same SELECT over all accepted rows after each commit.
#
# test/oracle/random_views.py writes definitions and rows, runs them and compares. A seed is a stream
# with 20 views, and 4 over views. Some seeds have messages from Kafka (librdkafka's mock cluster) between the statements, and
# some run with crashes of the server. The seeds are printed, and are others in each run:
#
#   EDDY_RANDOM_SEED=n     first seed
#   EDDY_RANDOM_VIEWS=n    number of definitions, 500 by default ("make random N=n SEED=n")

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $views = $ENV{EDDY_RANDOM_VIEWS} || 500;
my $first = $ENV{EDDY_RANDOM_SEED} || 1 + int(rand(1_000_000)) * 100;
my $streams = int(($views + 23) / 24);
my $with_crashes = $streams > 2 ? int($streams / 10) + 1 : 0;
my $script = "$FindBin::Bin/../oracle/random_views.py";

my $node = PostgreSQL::Test::Cluster->new('random');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
configure_node($node);
$node->append_conf('postgresql.conf', "fsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_eddy');
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';

# Runs the script; returns whether it found no failure, the number of views, and its output.
sub run_script
{
	my ($seed, $count, @options) = @_;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run(
		[ 'python3', $script, '--seed', $seed, '--streams', $count, @options ],
		'<', '/dev/null', '>', \$out, '2>', \$err);
	my ($done) = $out =~ /: (\d+) views, \d+ comparisons/;

	return ($ok, $done // 0, $out . $err);
}

note("EDDY_RANDOM_SEED=$first");
my @kafka = (
	'--broker' => build_tool('eddy-mock-broker', 'test/kafka/mock_broker.c'),
	'--tool' => kafka_tool());
my ($ok, $done, $out) = run_script($first, $streams - $with_crashes, @kafka);
ok($ok, 'each view has the rows of its SELECT') or diag($out);
is($done, ($streams - $with_crashes) * 24, 'all definitions were accepted');
note($out);

if ($with_crashes)
{
	my $restart = join(' ',
		$node->config_data('--bindir') . '/pg_ctl',
		'-D', $node->data_dir, '-l', $node->logfile, '-w', '-t', '60', '-m immediate restart');

	$node->safe_psql('postgres', 'ALTER SYSTEM SET restart_after_crash = on');
	($ok, $done, $out) =
	  run_script($first + $streams - $with_crashes, $with_crashes, '--crash', $restart);
	ok($ok, 'each view has the rows of its SELECT after crashes') or diag($out);
	is($done, $with_crashes * 24, 'all definitions were accepted');
	note($out);
	$node->_update_pid(1);
}

# The comparison finds a row that is missing, and one that is counted twice. All transactions of a stream can be
# rolled back or without rows, which those of two streams in a row are not.
foreach my $mutation ('lose', 'double')
{
	($ok, $done, $out) =
	  run_script($first, 2, '--mutate', $mutation, '--no-shrink', '--wait', '0.1');
	ok(!$ok && $out =~ /in the (view|SELECT): /, "an oracle that would $mutation a row differs");
}

$node->stop;
done_testing();
