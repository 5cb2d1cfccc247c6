# EddyTest.pm: functions for the TAP tests of pg_eddy.
#
# Servers are PostgreSQL::Test::Cluster nodes that preload pg_eddy; the broker is
# a real Apache Kafka, started by test/kafka/broker in the test's own directory. Tests do not
# sleep for a fixed time: they poll for a condition, with a timeout.
#
# Messages are written to Kafka, and read back to check stored rows, with eddy-kafka-tool, which
# shares no code with the extension.

package EddyTest;

use strict;
use warnings;

use Cwd            qw(abs_path);
use Exporter       qw(import);
use File::Basename qw(dirname);
use IPC::Run       ();
use POSIX          qw(WNOHANG);
use Time::HiRes    qw(time);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  new_node configure_node attach_server sql wait_until wait_for_state wait_for_consumed wait_for_flush
  restart_node advance_clock clock_offset
  tool build_tool kafka_tool start_broker start_process stop_process process_cpu difference equal_ok
);

# The tests may run on a copy of the tree; all paths are relative to it.
our $root = abs_path(dirname(__FILE__) . '/../..');

# Timeout of waits, sufficient for slow machines.
our $wait_timeout = $PostgreSQL::Test::Utils::timeout_default || 180;

#
# Servers
#

# Appends the settings that pg_eddy requires, and settings that make tests fast.
sub configure_node
{
	my ($node) = @_;

	$node->append_conf(
		'postgresql.conf', qq{
shared_preload_libraries = 'pg_eddy'
wal_level = logical
max_wal_senders = 8
max_replication_slots = 8
max_worker_processes = 32
max_prepared_transactions = 4
synchronous_commit = on
deadlock_timeout = '200ms'
log_line_prefix = '%m [%p] %b %a '
restart_after_crash = on
});

	# releases without this setting do not start with it
	my $bindir = $node->config_data('--bindir');
	my $known = IPC::Run::run(
		[ "$bindir/postgres", '-D', $node->data_dir, '-C', 'output_plugin_libraries' ],
		'>', \my $out, '2>', \my $err);
	$node->append_conf('postgresql.conf',
		"output_plugin_libraries = 'pgoutput, test_decoding, pg_eddy_cdc, pg_eddy_wal2json'\n")
	  if $known;
	return;
}

# Creates and starts a server that has the extension in database postgres.
# Additional lines for postgresql.conf may follow the name.
sub new_node
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init;
	configure_node($node);
	$node->append_conf('postgresql.conf', "$_\n") foreach @settings;
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_eddy');
	return $node;
}

# Creates the foreign server "kafka" for a broker, with fast reconnects.
sub attach_server
{
	my ($node, $brokers, $name) = @_;

	$name //= 'kafka';
	$node->safe_psql(
		'postgres', qq{
CREATE SERVER $name FOREIGN DATA WRAPPER eddy_kafka
    OPTIONS ("bootstrap.servers" '$brokers', "reconnect.backoff.max.ms" '500');
CREATE USER MAPPING FOR CURRENT_USER SERVER $name;
});
	return;
}

# Runs a query in database postgres and returns its result; an error ends the test.
sub sql
{
	my ($node, $query) = @_;

	return $node->safe_psql('postgres', $query);
}

# Waits until a query returns "t", through crashes and restarts of the server.
# Returns whether it did; a timeout is a failed test that shows the last result.
sub wait_until
{
	my ($node, $query, $what, $seconds) = @_;
	my $deadline = time() + ($seconds // $wait_timeout);
	my ($out, $err) = ('', '');

	while (time() < $deadline)
	{
		# if the server crashes, psql can exit before it has read the query: EPIPE
		my $ret = eval {
			$node->psql(
				'postgres', $query,
				stdout => \$out,
				stderr => \$err,
				timeout => $wait_timeout,
				timed_out => \my $timed_out);
		};
		return $out if defined $ret && $ret == 0 && $out =~ /^t\b/;
		Time::HiRes::sleep(0.1);    # before the next poll
	}
	fail("timed out waiting until $what");
	diag("last result: \"$out\", \"$err\"");
	$node->psql('postgres', 'TABLE eddy.sources', stdout => \$out);
	diag($out);
	return 0;
}

# Waits until the source of a topic is in a state; returns its error text.
sub wait_for_state
{
	my ($node, $topic, $state, $error) = @_;
	my $condition = defined $error ? "AND error ~ '$error'" : '';

	# the same query returns the error text: a server that crashes again may not run another one
	my $answer = wait_until(
		$node,
		"SELECT 't ' || coalesce(error, '') FROM eddy.sources
			WHERE topic = '$topic' AND state = '$state' $condition",
		"the source of topic \"$topic\" is $state" . (defined $error ? " with \"$error\"" : '')
	);
	return $answer ? substr($answer, 2) : '';
}

# Waits until all messages of a topic are consumed: the offsets are those of the broker.
sub wait_for_consumed
{
	my ($node, $broker, $topic) = @_;
	my %end = %{ $broker->ends($topic) };
	my $want = join ',', map { "($_, $end{$_}::bigint)" } sort { $a <=> $b } keys %end;

	return wait_until(
		$node, qq{
SELECT count(*) = 0
FROM (VALUES $want) AS e (partition, "offset")
LEFT JOIN eddy.partitions p ON p.topic = '$topic' AND p.partition = e.partition
WHERE coalesce(p.next_offset, 0) < e."offset"}, "topic \"$topic\" is consumed");
}

# Waits until what workers have committed is flushed: their commits do not wait for it, and slots return flushed WAL only.
sub wait_for_flush
{
	my ($node) = @_;
	my $end = sql($node, 'SELECT pg_current_wal_insert_lsn()');

	return wait_until($node, "SELECT pg_current_wal_flush_lsn() >= '$end'", 'all commits are flushed');
}

# Stops a server in immediate mode, and starts it again.
sub restart_node
{
	my ($node) = @_;

	$node->stop('immediate');
	$node->start;
	return;
}

# Advances the clocks that pg_eddy.test_clock_offset changes.
sub advance_clock
{
	my ($node, $seconds) = @_;

	$node->{eddy_clock_offset} = clock_offset($node) + $seconds;
	sql($node, "ALTER SYSTEM SET pg_eddy.test_clock_offset = $node->{eddy_clock_offset}");
	sql($node, 'SELECT pg_reload_conf()');
	return;
}

# Returns by how many seconds they are ahead.
sub clock_offset
{
	my ($node) = @_;

	return $node->{eddy_clock_offset} // 0;
}

# Returns a query for the rows in which two queries differ, in either direction.
sub difference
{
	my ($got, $want) = @_;

	return qq{
SELECT * FROM (
    (SELECT 'unexpected' AS difference, to_jsonb(got_row) AS row_data FROM ($got) got_row
     EXCEPT ALL SELECT 'unexpected', to_jsonb(want_row) FROM ($want) want_row)
    UNION ALL
    (SELECT 'missing', to_jsonb(want_row) FROM ($want) want_row
     EXCEPT ALL SELECT 'missing', to_jsonb(got_row) FROM ($got) got_row)) d
LIMIT 10};
}

# Checks that two queries return the same rows, including duplicates.
sub equal_ok
{
	my ($node, $got, $want, $name) = @_;

	return is($node->safe_psql('postgres', difference($got, $want)), '', $name);
}

#
# Programs
#

# Returns the path of a program of the tests, which is compiled unless make has built it.
sub build_tool
{
	my ($name, @sources) = @_;

	foreach my $built ($name eq 'eddy-kafka-tool' ? $ENV{EDDY_KAFKA_TOOL} // '' : (),
		"$root/build/$name")
	{
		return $built if -x $built;
	}
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my $path = "$dir/$name";
	my @command = (
		'cc', '-O2', '-o', $path, (map { glob "$root/$_" } @sources),
		'-lrdkafka', '-lpthread', '-lm');
	system(@command) == 0 or BAIL_OUT("could not compile $name: @command");
	return $path;
}

# Returns the path of eddy-kafka-tool, and sets it in the environment for test/kafka/broker.
sub kafka_tool
{
	return $ENV{EDDY_KAFKA_TOOL} = build_tool('eddy-kafka-tool', 'test/kafka/tool/*.c');
}

# Runs eddy-kafka-tool with an optional input and returns its output.
sub tool
{
	my ($args, $input) = @_;
	my ($out, $err) = ('', '');
	my $tool = kafka_tool();

	IPC::Run::run([ $tool, @$args ], '<', \($input // ''), '>', \$out, '2>', \$err)
	  or die "eddy-kafka-tool @$args failed: $err";
	return $out;
}

my %processes;    # running processes

# Starts a command in the background with its output in a file. It is stopped by stop_process,
# or at the end of the test.
sub start_process
{
	my ($log, @command) = @_;
	my $pid = fork() // die "could not fork: $!";

	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', $log)       or POSIX::_exit(126);
		open(STDERR, '>>', "$log.err") or POSIX::_exit(126);
		exec { $command[0] } @command  or POSIX::_exit(127);
	}
	$processes{$pid} = 1;
	return $pid;
}

# Stops a process that start_process started, or waits for its exit if no signal is given.
# Returns its exit status, or undef after a timeout.
sub stop_process
{
	my ($pid, $signal) = @_;
	my $deadline = time() + $wait_timeout;

	kill $signal, $pid if defined $signal;
	while (waitpid($pid, WNOHANG) == 0)
	{
		return undef if time() > $deadline;
		Time::HiRes::sleep(0.05);
	}
	delete $processes{$pid};
	return $?;
}

# Returns the CPU seconds that a process has used, with all its threads.
sub process_cpu
{
	my ($pid) = @_;

	open(my $stat, '<', "/proc/$pid/stat") or return undef;
	my $line = <$stat>;
	close($stat);
	$line =~ s/^.*\) //s;
	my @fields = split ' ', $line;
	return ($fields[11] + $fields[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

#
# The broker
#

my @brokers;

# Starts Apache Kafka, optionally in a prepared directory, and waits until it responds.
sub start_broker
{
	my ($dir) = @_;
	my $self = bless { dir => $dir // PostgreSQL::Test::Utils::tempdir() . '/kafka' },
	  'EddyTest::Broker';

	$self->start;
	push @brokers, $self;
	return $self;
}

END
{
	my $status = $?;    # of the test; the commands below must not change it
	CORE::kill('KILL', keys %processes) if %processes;
	eval { $_->kill; } foreach @brokers;
	$? = $status;
}

package EddyTest::Broker;

use strict;
use warnings;

sub run
{
	my ($self, @args) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ "$EddyTest::root/test/kafka/broker", @args ],
		'<', '/dev/null', '>', \$out, '2>', \$err)
	  or die "test/kafka/broker @args failed: $err";
	chomp $out;
	return $out;
}

# Starts the broker again, on the same port, after it was stopped or killed.
sub start
{
	my ($self) = @_;

	EddyTest::kafka_tool();
	$self->{address} = $self->run('start', $self->{dir});
	return $self->{address};
}

sub address { return $_[0]->{address}; }

# Shuts the broker down, with SIGTERM.
sub stop { return $_[0]->run('stop', $_[0]->{dir}); }

# Kills the broker, with SIGKILL.
sub kill { return $_[0]->run('kill', $_[0]->{dir}); }

# Runs eddy-kafka-tool on this broker.
sub tool
{
	my ($self, $command, $args, $input) = @_;

	return EddyTest::tool([ $command, '-b', $self->{address}, @$args ], $input);
}

sub create_topic
{
	my ($self, $topic, $partitions, @configs) = @_;

	return $self->tool('create-topic',
		[ '-t', $topic, '-p', $partitions // 1, map { ('-c', $_) } @configs ]);
}

# Returns the text of a field for eddy-kafka-tool; undef is NULL.
sub field
{
	my ($bytes) = @_;

	return '\N' unless defined $bytes;
	$bytes =~ s/\\/\\\\/g;
	$bytes =~ s/([\x00-\x1f])/sprintf '\\x%02x', ord $1/ge;
	return $bytes;
}

# Produces messages, each a list [partition, key, value, headers]; headers are "name=value,...".
# A plain string instead of a list ends a transaction: "#commit" or "#abort".
sub produce
{
	my ($self, $topic, @messages) = @_;
	my @transaction = grep({ !ref } @messages) ? ('-x', "produce-$topic") : ();
	my $input = '';

	foreach my $message (@messages)
	{
		$input .=
		  ref $message
		  ? join("\t",
			$message->[0], field($message->[3] // ''),
			field($message->[1]), field($message->[2]))
		  : $message;
		$input .= "\n";
	}
	return $self->tool('produce', [ '-t', $topic, '-f', 'phkv', @transaction ], $input);
}

# Returns the end of each partition: a hash from partition to high watermark.
sub ends
{
	my ($self, $topic) = @_;
	my %end;

	foreach my $line (split /\n/, $self->tool('watermarks', [ '-t', $topic ]))
	{
		my ($partition, $low, $high) = split /\t/, $line;
		$end{$partition} = $high;
	}
	return \%end;
}

1;
