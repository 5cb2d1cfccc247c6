# 050_readme.pl: the commands of README.md, docs/quickstart.md and docs/troubleshooting.md are
# executed.
#
# README.md and docs/quickstart.md use a database and a broker (librdkafka's mock cluster) each;
# docs/troubleshooting.md uses those of README.md. The blocks of a document are executed from top to
# bottom. The first line of a block specifies how:
#
#   ```sql         must succeed
#   ```sql kafka   must succeed; if an output follows, the query is repeated until it returns that
#   ```sql error   must fail; the output that follows is the error message
#   ```sh kafka    a shell command for the broker; must succeed
#   ```text        immediately after one of the above: the output, as psql prints it
#   ```json        the same in psql's unaligned format without headers
#
# All other blocks are not executed.

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
			if ($line !~ /^```\s*$/)
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
		elsif ($line =~ /^```(.*)$/)
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
	my ($node, $database, $block) = @_;
	my $expected = $block->[3];
	my @options = $expected && $expected->[0] eq 'json' ? ('-A', '-t') : ();

	local $ENV{PGOPTIONS} = '-c client_min_messages=warning';
	return run_program($block->[2],
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
	return unless $language eq 'sql';

	my $want = $expected ? tidy($expected->[1]) : undef;
	do
	{
		Time::HiRes::sleep(0.1) if defined $status;    # before a repetition
		($status, $out, $err) = run_sql($node, $database, $block);
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

foreach my $names ([ 'README.md', 'docs/troubleshooting.md' ], ['docs/quickstart.md'])
{
	my $database = $names->[0] =~ /README/ ? 'readme' : 'quickstart';
	my $address = start_mock();

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	foreach my $name (@$names)
	{
		my @blocks = read_blocks("$EddyTest::root/$name");

		ok((grep { ($_->[1][0] // '') eq 'sql' } @blocks) >= 4, "$name has blocks to execute");
		foreach my $block (@blocks)
		{
			$block->[2] =~ s/localhost:9092/$address/g;
			check_block($node, $database, $name, $block);
		}
	}

	# the slots of a document must not outlive its database
	$node->safe_psql('postgres',
		"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
			WHERE database = '$database'");
}

$_->signal('TERM') foreach @brokers;
$_->finish foreach @brokers;
$node->stop;

done_testing();
