# 035_publication.pl: eddy.create_publication, and a subscriber on another server.
#
# The tables of the subscriber must be equal to the views at the end, through kills of both servers,
# groups that start and cease to satisfy HAVING, and DELETE through the views. The statements that create
# its tables are those that eddy.create_publication returns.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{EDDY_SEED} // time();
note("EDDY_SEED=$seed");
srand($seed);

my $publisher = new_node('publisher', 'autovacuum = off', "wal_sender_timeout = '5s'");
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->append_conf('postgresql.conf', "wal_retrieve_retry_interval = '100ms'");
$subscriber->start;

sql($publisher, q{
CREATE UNLOGGED TABLE s (k int NOT NULL, g text, v int, n numeric(10,2), t text);
SELECT eddy.create_stream('s');
SELECT eddy.create_continuous_view('visible', $$
	SELECT k, sum(v) AS total, avg(n) AS mean, max(t) AS t FROM s GROUP BY k HAVING sum(v) > 0 $$);
SELECT eddy.create_continuous_view('"Two keys"', 'SELECT k % 7 AS "K%", g, count(*) AS n, sum(n) AS "sum n" FROM s GROUP BY k % 7, g');
SELECT eddy.create_continuous_view('hidden', 'SELECT count(*) AS n, min(v) AS least FROM s GROUP BY k');
SELECT eddy.create_continuous_view('one', 'SELECT count(*) AS n, avg(v) AS mean FROM s');
INSERT INTO s SELECT i % 50, 'g' || i % 3, i % 20 - 9, i, repeat('t', i % 5) FROM generate_series(1, 500) i;
});

my $settings = sql($publisher, q{SELECT eddy.create_publication('changes', 'visible', '"Two keys"', 'hidden', 'one')});
my @ddl = map { s/^# //r } grep { /^# CREATE/ } split /\n/, $settings;
is(scalar(@ddl), 5, 'statements for the tables of the subscriber');
# one of the tables has NULL in its key
sql($subscriber, join "\n", map { /Two keys/ ? $_ : s/UNIQUE NULLS NOT DISTINCT/PRIMARY KEY/r } @ddl);
my $connection = $publisher->connstr('postgres') =~ s/'/''/gr;
sql($subscriber, "CREATE SUBSCRIPTION sub CONNECTION '$connection' PUBLICATION changes");

my %tables = (
	'visible' => 'SELECT k, total, mean, t FROM eddy._visible_state',
	'"Two keys"' => 'SELECT "K%", g, n, "sum n" FROM eddy."_Two keys_state"',
	'hidden' => 'SELECT n, least FROM eddy._hidden_state',
	'one' => 'SELECT n, mean FROM eddy._one_state');

# The rows of a query on a server, as one text
sub rows
{
	my ($node, $query) = @_;

	return $node->safe_psql('postgres', "SELECT string_agg(r::text, E'\\n' ORDER BY r::text COLLATE \"C\") FROM ($query) r");
}

# Waits until the subscriber has applied all changes, through restarts.
sub catch_up
{
	my ($name) = @_;
	my $position = sql($publisher, 'SELECT pg_current_wal_insert_lsn()');

	# the position of a transaction without changes is confirmed as well
	sql($publisher, 'CREATE TABLE nudge (); DROP TABLE nudge');
	wait_until($publisher, "SELECT bool_and(confirmed_flush_lsn >= '$position') FROM pg_replication_slots WHERE slot_name = 'sub'",
		'the subscriber has caught up', 60) or BAIL_OUT('the subscriber does not catch up');
	is(rows($subscriber, $tables{$_}), rows($publisher, "TABLE $_"), "$name: $_") foreach sort keys %tables;
	return;
}

sub insert_rows
{
	my ($count) = @_;
	my $first = int rand 1000;
	my $sign = rand() < 0.3 ? -1 : 1;

	return "INSERT INTO s SELECT (random() * 60)::int, 'g' || (random() * 3)::int, $sign * (random() * 30)::int, i, md5(i::text)
		FROM generate_series($first, $first + $count) i";
}

wait_until($subscriber, q{SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel}, 'the initial state is copied');
catch_up('initial state');

# HAVING, in both directions, and DELETE
sql($publisher, $_) foreach q{INSERT INTO s (k, g, v) SELECT i, 'g1', -1000 FROM generate_series(1, 30) i}, q{INSERT INTO s (k, g, v) VALUES (3, 'g1', 2000), (40, 'g0', 5)},
  'DELETE FROM visible WHERE k IN (3, 40)', 'DELETE FROM "Two keys" WHERE "K%" = 2', 'DELETE FROM hidden WHERE n < 12', q{INSERT INTO s (k, g, v) VALUES (3, 'g2', 7)};
catch_up('HAVING and DELETE');
is(sql($subscriber, 'SELECT total FROM eddy._visible_state WHERE k = 3'), '7', 'a group that was deleted begins again');

# Random changes, with kills of either server
foreach my $round (1 .. 6)
{
	foreach (1 .. 15)
	{
		my $choice = rand();

		sql($publisher,
			$choice < 0.8 ? insert_rows(int rand 200)
			: $choice < 0.9 ? 'DELETE FROM visible WHERE total % 5 = 0'
			: 'DELETE FROM "Two keys" WHERE n % 3 = 0');
	}
	restart_node($round % 2 ? $publisher : $subscriber);
	sql($publisher, insert_rows(100));
}
catch_up('after kills');
cmp_ok(sql($subscriber, 'SELECT count(*) FROM eddy._visible_state'), '>', 0, 'groups remain to compare');

# The subscriber finds the rows of 2,000 updates by primary key, not by scanning the table for each of them.
my $scans = q{SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE schemaname = 'eddy' AND relname = '_visible_state'};
sql($publisher, "INSERT INTO s (k, g, v) SELECT i, 'g' || i % 3, 5000 FROM generate_series(1000, 2999) i");
catch_up('inserts');
my $before = sql($subscriber, $scans);
my $found = sql($subscriber, $scans =~ s/seq_tup_read/idx_scan/r);
sql($publisher, "INSERT INTO s (k, g, v) SELECT i, 'g' || i % 3, 1 FROM generate_series(1000, 2999) i");
catch_up('updates');
wait_until($subscriber, $scans =~ s/sum\(seq_tup_read\)/sum(idx_scan) >= $found + 2000/r, 'the index is used for each update', 30)
  and pass('the index is used for each update');
# catch_up reads the whole table once
cmp_ok(sql($subscriber, $scans) - $before, '<', 3 * sql($subscriber, 'SELECT count(*) FROM eddy._visible_state'), '... and the table is not scanned');

$subscriber->stop('immediate');
$publisher->stop;
done_testing();
