# 050_readme.pl: the SQL of README.md and of all documents in docs/ is executed.
#
# Each document uses a database, and a broker (librdkafka's mock cluster) if it has blocks for it;
# docs/troubleshooting.md continues README.md. The blocks of a document are executed from top to
# bottom. The first line of a block specifies how:
#
#   ```sql         must succeed
#   ```sql kafka   must succeed; if an output follows, the query is repeated until it returns that
#   ```sql error   must fail; the output that follows is the error message
#   ```sql view    the query of a continuous view; must be accepted
#   ```sql norun   is not executed
#   ```sh kafka    a shell command for the broker; must succeed
#   ```text        immediately after one of the above: the output, as psql prints it
#   ```json        the same in psql's unaligned format without headers
#   <!-- sql       what a reader has done before, up to a line with -->
#
# Blocks in other languages are not executed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# A block is [line, info words, text]; its output, if it has one, is the fourth element.
sub read_blocks
{
	my ($file) = @_;
	my @blocks;
	my $open;
	my $adjacent = 0;    # only blank lines since the last block

	open(my $in, '<:encoding(UTF-8)', $file) or die "could not read $file: $!";
	while (my $line = <$in>)
	{
		if ($open)
		{
			if ($line !~ /^(```|-->)\s*$/)
			{
				$open->[2] .= $line;
				next;
			}
			my $kind = join ' ', @{ $open->[1] };
			if (($kind eq 'text' || $kind eq 'json') && $adjacent && @blocks && !$blocks[-1][3])
			{
				$blocks[-1][3] = [ $kind, $open->[2] ];
			}
			else
			{
				push @blocks, $open;
			}
			$open = undef;
			$adjacent = 1;
		}
		elsif ($line =~ /^(?:```|<!-- (?=sql$))(.*)$/)
		{
			$open = [ $., [ split ' ', $1 ], '' ];
		}
		elsif ($line =~ /\S/)
		{
			$adjacent = 0;
		}
	}
	close($in);
	die "$file: the block of line $open->[0] has no end" if $open;
	return @blocks;
}

# Removes blanks at the ends of lines, and empty lines at the end of the text.
sub tidy
{
	my ($text) = @_;

	$text =~ s/[ \t\r]+$//mg;
	$text =~ s/\s+\z//;
	return $text;
}

sub run_program
{
	my ($input, @command) = @_;
	my ($out, $err) = ('', '');

	utf8::encode($input);
	IPC::Run::run(\@command, '<', \$input, '>', \$out, '2>', \$err);
	my $status = $?;
	utf8::decode($_) foreach $out, $err;
	return ($status, tidy($out), tidy($err));
}

sub run_sql
{
	my ($node, $database, $text, $expected) = @_;
	my @options = $expected && $expected->[0] eq 'json' ? ('-A', '-t') : ();

	local $ENV{PGOPTIONS} = '-c client_min_messages=warning';
	return run_program($text,
		'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', @options, '-d', $node->connstr($database));
}

sub check_block
{
	my ($node, $database, $name, $block) = @_;
	my ($line, $words, $text, $expected) = @$block;
	my ($language, $how) = (@$words, '', '');
	my $what = "$name, line $line";
	my $deadline = time() + $PostgreSQL::Test::Utils::timeout_default;
	my ($status, $out, $err);

	if ($language eq 'sh' && $how eq 'kafka')
	{
		($status, $out, $err) = run_program($text, 'bash', '-e');
		return is("$status $err", '0 ', "$what: the command succeeds");
	}
	return unless $language eq 'sql' && $how ne 'norun';
	die "$what: \"$language $how\" is not known" if $how !~ /^(kafka|error|view|)$/;
	$text = "SELECT eddy.create_continuous_view('documented', \$view\$$text\$view\$) \\g /dev/null\nDROP VIEW documented;\n"
	  if $how eq 'view';

	my $want = $expected ? tidy($expected->[1]) : undef;
	do
	{
		Time::HiRes::sleep(0.1) if defined $status;    # before a repetition
		($status, $out, $err) = run_sql($node, $database, $text, $expected);
	  } while ($how eq 'kafka' && $expected && "$status $out" ne "0 $want" &&
		time() < $deadline);

	return is($err, $want, "$what: fails with the documented error") if $how eq 'error';
	is("$status $err", '0 ', "$what: succeeds") or return;
	is($out, $want, "$what: prints the documented output") if $expected;
	return;
}

# Starts a mock broker with the topics that the documents use; returns its address.
my @brokers;

sub start_mock
{
	my $broker = build_tool('eddy-mock-broker', 'test/kafka/mock_broker.c');
	my ($in, $out) = ('', '');
	my @topics = ('orders:4', 'clicks:1', 'page_views:2');
	my $harness = IPC::Run::start([ $broker, @topics ], '<', \$in, '>', \$out);

	$harness->pump until $out =~ /\n/;
	push @brokers, $harness;
	return (split /\n/, $out)[0];
}

my $node = PostgreSQL::Test::Cluster->new('readme');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
configure_node($node);
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nlc_messages = 'C'\n");
$node->start;
kafka_tool();

# Documents that continue another one are executed in its database.
my %continues = ('docs/troubleshooting.md' => 'README.md');
my @documents = ('README.md', map { s{^\Q$EddyTest::root\E/}{}r } sort glob "$EddyTest::root/docs/*.md");
my $executed = 0;

foreach my $first (grep { !$continues{$_} } @documents)
{
	my @names = ($first, grep { ($continues{$_} // '') eq $first } @documents);
	my %blocks = map { $_ => [ read_blocks("$EddyTest::root/$_") ] } @names;
	my @used = grep { ($_->[1][0] // '') eq 'sql' } map { @$_ } values %blocks;
	my $database = $first =~ s{^.*/|\.md$}{}gr;
	my $address;

	next unless @used;
	$address = start_mock() if grep { "@{$_->[1]}" =~ /kafka/ } map { @$_ } values %blocks;
	$node->safe_psql('postgres', "CREATE DATABASE \"$database\"");
	$node->safe_psql($database, 'CREATE EXTENSION pg_eddy') if $first !~ /README|quickstart/;
	foreach my $name (@names)
	{
		foreach my $block (@{ $blocks{$name} })
		{
			$block->[2] =~ s/localhost:9092/$address/g if $address;
			check_block($node, $database, $name, $block);
			$executed++ if ($block->[1][0] // '') eq 'sql';
		}
	}

	# the slots of a document must not outlive its database
	$node->safe_psql('postgres',
		"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
			WHERE database = '$database'");
}
cmp_ok($executed, '>=', 50, 'the documents have blocks to execute');

$_->signal('TERM') foreach @brokers;
$_->finish foreach @brokers;
$node->stop;

done_testing();
