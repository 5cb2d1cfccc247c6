# 073_sessions.pl: sessions of rows from Kafka and from users, through crashes.
#
# Messages of the same keys arrive from four partitions, in bursts and out of order, while users
# insert rows of the same keys. Rows on which the view fails are in between. The source worker is
# killed and the server is stopped in immediate mode. In the end, the sessions are those that PostgreSQL
# computes from all rows: with a delay that is longer than the disorder, no row is late.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $seed = $ENV{EDDY_SEED} // 17;
my $users = 25;
my $bursts = 12;
my $burst_rows = 400;

note("EDDY_SEED=$seed");
srand($seed);

my $broker = start_broker();
my $node = new_node('sessions', 'pg_eddy.batch_rows = 150', 'restart_after_crash = on');
attach_server($node, $broker->address);
$broker->create_topic('clicks', 4);
sql($node, q{
CREATE UNLOGGED TABLE clicks (who text, ts timestamptz, price int);
SELECT eddy.create_stream('clicks', event_time => 'ts', delay => '1 day');
SELECT eddy.create_continuous_view('visits', $$
    SELECT who, w.window_start, w.window_end, w.last_event, count(*) AS clicks, sum(1000 / price) AS worth, max(price) AS highest
    FROM clicks, eddy.session(ts, '20 s') AS w GROUP BY who, w.window_start, w.window_end, w.last_event $$);
SELECT eddy.create_continuous_view('short_visits', $$
    SELECT w.window_start, w.last_event, count(*) AS clicks
    FROM clicks, eddy.session(ts, '2 s', max_length => '10 s') AS w GROUP BY w.window_start, w.last_event $$);
SELECT eddy.attach_kafka('clicks', server => 'kafka', topic => 'clicks');
CREATE TABLE sent (who text, ts timestamptz, price int);
});

my $start = 1767225600;    # 2026-01-01 00:00:00 UTC

# A random row: its event time is somewhere in the last 200 s before that of the burst.
sub random_row
{
	my ($burst) = @_;
	my $at = $start + $burst * 150 - int(rand(200));

	return ('u' . int(rand($users)), $at, int(rand(200)));
}

# Users: transactions that insert into the stream and into the ledger, or are rolled back.
sub insert_rows
{
	my ($burst) = @_;
	my $sql = '';

	for my $transaction (1 .. 20)
	{
		my $values = join ', ', map { sprintf "('%s', to_timestamp(%d), %d)", random_row($burst) } 1 .. 1 + int(rand(4));

		$sql .= "BEGIN; INSERT INTO clicks VALUES $values; INSERT INTO sent VALUES $values; "
		  . (rand() < 0.2 ? 'ROLLBACK' : 'COMMIT') . ";\n";
	}
	return $sql;
}

foreach my $burst (1 .. $bursts)
{
	my @messages;
	my $values = '';

	for (1 .. $burst_rows)
	{
		my ($who, $at, $price) = random_row($burst);

		push @messages,
		  [ int(rand(4)), undef, qq({"who": "$who", "ts": $at, "price": $price}) ];
		$values .= ($values ? ', ' : '') . "('$who', to_timestamp($at), $price)";
	}
	sql($node, "INSERT INTO sent VALUES $values");
	$broker->produce('clicks', map { [ $_->[0], $_->[1], $_->[2] =~ s/"ts": (\d+)/'"ts": "' . timestamp($1) . '"'/er ] } @messages);
	# concurrently with the worker
	$node->psql('postgres', insert_rows($burst), on_error_stop => 0);
	if ($burst == 4)
	{
		my $pid = sql($node, q{SELECT pid FROM eddy.sources WHERE pid IS NOT NULL});

		kill 'KILL', $pid if $pid;
		wait_until($node, 'SELECT true', 'the server accepts connections after a crash');
	}
	restart_node($node) if $burst == 8;
}
wait_for_consumed($node, $broker, 'clicks');

sub timestamp
{
	my ($second, $minute, $hour, $day, $month, $year) = gmtime($_[0]);

	return sprintf '%04d-%02d-%02dT%02d:%02d:%02dZ', $year + 1900, $month + 1, $day, $hour,
	  $minute, $second;
}

equal_ok(
	$node, 'TABLE visits', q{
SELECT who, min(ts) AS window_start, max(ts) + interval '20 s' AS window_end, max(ts) AS last_event, count(*) AS clicks, sum(1000 / price) AS worth, max(price) AS highest
FROM (SELECT *, sum(CASE WHEN ts - before <= interval '20 s' THEN 0 ELSE 1 END) OVER (PARTITION BY who ORDER BY ts) AS session
      FROM (SELECT *, lag(ts) OVER (PARTITION BY who ORDER BY ts) AS before FROM sent WHERE price <> 0) x) y
GROUP BY who, session},
	'sessions are those of all rows, except for those on which the view fails');
is( sql($node, 'SELECT sum(clicks) FROM short_visits'),
	sql($node, 'SELECT count(*) FROM sent'),
	'sessions with a maximum length count each row once');
is( sql($node, q{SELECT count(*) FROM short_visits WHERE last_event - window_start > interval '10 s'}),
	'0', 'none of them is longer');
is( sql($node, q{SELECT count(*) FROM eddy.dead_letters WHERE view = 'visits'::regclass}),
	sql($node, 'SELECT count(*) FROM sent WHERE price = 0'),
	'rows on which the view fails are dead letters');
is(sql($node, q{SELECT sum(late_rows) FROM eddy.stat_continuous_views}), '0', 'no row was late');
cmp_ok(sql($node, 'SELECT count(*) FROM visits'), '>', $users, 'there are many sessions');
cmp_ok(sql($node, 'SELECT count(*) FROM short_visits'), '>', 20, 'and many short ones');

done_testing();
