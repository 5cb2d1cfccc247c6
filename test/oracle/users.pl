#!/usr/bin/perl
# users.pl: a user that writes into the stream "events" concurrently with Kafka.
#
#   users.pl WRITER STOPFILE       connection by PGHOST and PGPORT
#
# Each round is one psql with one transaction, alternating between COPY, INSERT ... SELECT in a
# data-modifying CTE, MERGE, single rows, savepoints and rollbacks. Each transaction writes
# the same rows into the stream and into the plain table "user_rows", so that this table is the
# ledger also after crashes of the server. A round that fails is not repeated.
# Exits when STOPFILE exists; prints the number of rounds that succeeded and failed.

use strict;
use warnings;

use Time::HiRes ();

my ($writer, $stopfile) = @ARGV;
my $columns =
  'id, producer, seq, key, category, amount, qty, price, ratio, origin, note, event_time';
my $next = $writer * 1_000_000_000;    # ids of users' rows lie above those of messages
my %rounds = (succeeded => 0, failed => 0);
my $round = 0;

# Lines for COPY: $count rows with ids starting at $next.
sub copy_lines
{
	my ($count) = @_;
	my $lines = '';

	for (1 .. $count)
	{
		my $id = $next++;
		my $qty = $id % 1500 == 0 ? 0 : 1 + $id % 9;

		$lines .= join("\t",
			$id, 100 + $writer, $id, 'k' . ($id * 7 % 500), $id % 10,
			sprintf('%.2f', $id % 1000 / 7),
			$qty, $id % 100000, $id % 64 / 4, 'user', '\N',
			sprintf('2026-01-01 00:%02d:%02d+00', $id % 10, $id % 60))
		  . "\n";
	}
	return $lines;
}

# The same rows as a SELECT.
sub select_rows
{
	my ($count) = @_;
	my $first = $next;

	$next += $count;
	return qq{SELECT g AS id, 100 + $writer AS producer, g AS seq, 'k' || g * 7 % 500 AS key,
		(g % 10)::integer AS category, (g % 1000) / 8.0 AS amount, 1 + (g % 9)::integer AS qty,
		g % 100000 AS price, (g % 64) / 4.0::float8 AS ratio, 'user' AS origin, NULL AS note,
		timestamptz '2026-01-01 00:00:00+00' + g % 600 * interval '1 second' AS event_time
	FROM generate_series(${first}::bigint, @{[ $next - 1 ]}) AS g};
}

sub copy_both
{
	my ($count) = @_;
	my $lines = copy_lines($count);

	return join '', map { "COPY $_ ($columns) FROM STDIN;\n$lines\\.\n" } qw(events user_rows);
}

my @kinds = (
	sub { return copy_both(400); },
	sub {
		my $rows = select_rows(300);
		return "WITH taken AS (INSERT INTO events ($columns) $rows RETURNING $columns)
			INSERT INTO user_rows ($columns) SELECT * FROM taken;\n";
	},
	sub { return copy_both(200) . "ROLLBACK; BEGIN;\n"; },
	sub {
		my $lines = copy_lines(50);
		return
			"SAVEPOINT a;\nCOPY events ($columns) FROM STDIN;\n$lines\\.\nROLLBACK TO a;\n"
		  . copy_both(100)
		  . "RELEASE a;\n";
	},
	sub {
		my $rows = select_rows(100);
		my $names = join ', ', map { "s.$_" } split /, /, $columns;
		return "INSERT INTO user_rows ($columns) $rows;
			MERGE INTO events e USING ($rows) s ON false
			WHEN NOT MATCHED THEN INSERT ($columns) VALUES ($names);\n";
	},
	sub {
		my @rows = map { select_rows(1) } 1 .. 3;
		return join '',
		  map { "INSERT INTO user_rows ($columns) $_;\nINSERT INTO events ($columns) $_;\n" }
		  @rows;
	});

while (!-e $stopfile)
{
	my $script = "BEGIN;\n" . $kinds[ $round++ % @kinds ]->() . "COMMIT;\n";

	open(
		my $psql, '|-', 'psql', '-X', '-q', '-v',
		'ON_ERROR_STOP=1', '-d', 'postgres', '-f', '-') or die "could not run psql: $!";
	local $SIG{PIPE} = 'IGNORE';
	print $psql $script;
	$rounds{ close($psql) ? 'succeeded' : 'failed' }++;
	Time::HiRes::sleep(0.1);    # a user, not a flood
}
print "$_\t$rounds{$_}\n" foreach sort keys %rounds;
