# 036_debezium.pl: Debezium's engine with the settings that eddy.create_publication returns, killed several times.
#
# The program (examples/debezium) gets these settings as they are, and the connection. Its tables must be equal to
# the views at the end: through kills of the program, also while it reads the initial rows, and of the server.
# "make test-clients" runs this test, as the program is built first.

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

my $example = "$EddyTest::root/examples/debezium";
ok(-e "$example/pom.xml", 'the example exists');
if (!$ENV{EDDY_CLIENTS})
{
	note('Debezium is tested by "make test-clients"');
	done_testing();
	exit;
}

my $dir = PostgreSQL::Test::Utils::tempdir();
system("cp -r $example $dir/debezium && cd $dir/debezium && HOME=$dir mvn -q package >$dir/build 2>&1") == 0
  or BAIL_OUT("could not build the example: " . slurp_file("$dir/build"));

# pgjdbc has no Unix sockets
my $node = new_node('debezium', 'autovacuum = off', "wal_sender_timeout = '5s'", "listen_addresses = 'localhost'");
$node->append_conf('pg_hba.conf', 'host all,replication all localhost trust');
$node->restart;

sql($node, q{
CREATE UNLOGGED TABLE s (k int, g text, v bigint, f float8, n numeric, at timestamptz, t text);
SELECT eddy.create_stream('s');
SELECT eddy.create_continuous_view('v', $$
	SELECT k, g, sum(v) AS total, avg(n) AS mean, max(f) AS f, max(at) AS "the time", count(*) AS n
	FROM s GROUP BY k, g HAVING sum(v) > 0 $$);
SELECT eddy.create_continuous_view('"Two keys"', $$
	SELECT k % 7 AS "K%", (at AT TIME ZONE 'UTC')::date AS day, max(at AT TIME ZONE 'UTC') AS "local", max(t) AS t, max(n)::numeric(12,4) AS n
	FROM s GROUP BY k % 7, (at AT TIME ZONE 'UTC')::date $$);
SELECT eddy.create_continuous_view('hidden', 'SELECT count(*) AS n, min(v) AS least FROM s GROUP BY k');
SELECT eddy.create_continuous_view('one', 'SELECT count(*) AS n, avg(v) AS mean FROM s');
CREATE SCHEMA reports;
SELECT eddy.create_continuous_view('reports.v', 'SELECT g, count(*) AS n FROM s GROUP BY g');
CREATE ROLE connector LOGIN REPLICATION;
CREATE DATABASE shadow;
});
my @views = ('v', '"Two keys"', 'hidden', 'one', 'reports.v');

sub insert_rows
{
	my ($count) = @_;

	sql($node, "INSERT INTO s SELECT (random() * 40)::int, (ARRAY['it''s', E'back\\\\slash\"', 'ü', NULL])[1 + random() * 3],
		(random() * 30 - 10)::bigint * 1000000000000, CASE WHEN random() < 0.05 THEN 'NaN' ELSE random() END,
		CASE WHEN random() < 0.01 THEN 'NaN' ELSE (random() * 100)::numeric / 7 END,
		timestamptz '2026-01-01' + random() * interval '5 days', md5(i::text) FROM generate_series(1, $count) i");
	sql($node, 'DELETE FROM v WHERE total % 3000000000000 = 0') if rand() < 0.2;
	sql($node, 'DELETE FROM "Two keys" WHERE "K%" = 3') if rand() < 0.2;
	return;
}

insert_rows(3000);
my $names = join ', ', map { "'$_'" } @views;
my $settings = sql($node, "SELECT eddy.create_publication('changes', $names)");

# The role of the connector reads the initial rows from the state tables.
sql($node, q{GRANT USAGE ON SCHEMA eddy TO connector});
sql($node, "GRANT SELECT ON $_ TO connector") foreach $settings =~ /^# CREATE TABLE (eddy\.(?:\w+|"[^"]+"))/mg;

my $port = $node->port;
open(my $file, '>', "$dir/settings") or die "could not write the settings: $!";
print $file $settings, "
database.hostname=localhost
database.port=$port
database.dbname=postgres
database.user=connector
topic.prefix=eddy.test
slot.name=debezium
# faster than the defaults
poll.interval.ms=50
slot.retry.delay.ms=500
status.update.interval.ms=500
errors.retry.delay.initial.ms=100
errors.retry.delay.max.ms=500
";
close($file);

# Tables like the views, and hidden keys
my $tables = $node->safe_psql('postgres', q{SELECT string_agg(format('CREATE TABLE %s (%s);', view::regclass,
	(SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
		|| CASE view WHEN 'hidden'::regclass THEN ', _key1 int' WHEN 'one'::regclass THEN ', _key int' ELSE '' END FROM pg_attribute WHERE attrelid = view AND attnum > 0)), ' ')
	FROM eddy.continuous_views});
$node->safe_psql('shadow', "CREATE SCHEMA reports; CREATE TABLE positions (source bytea PRIMARY KEY, position bytea); $tables");

# All rows of the views or of their copies, as one text
sub rows
{
	my ($database) = @_;

	return join "\n", map {
		my $columns = { hidden => 'n, least', one => 'n, mean' }->{$_} // '*';
		"$_: " . $node->safe_psql($database, "SELECT string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\") FROM (SELECT $columns FROM $_) t")
	} @views;
}

my $log = "$dir/log";
my @command = ('java', '-cp', "$dir/debezium/target/*:$dir/debezium/target/lib/*", 'Shadow', "$dir/settings",
	"jdbc:postgresql://localhost:$port/shadow?user=" . ($ENV{PGUSER} // getpwuid($<)));
my $receives = q{SELECT count(*) = 1 FROM pg_replication_slots WHERE slot_name = 'debezium' AND active};

# killed while it reads the initial rows, or a moment later
{
	my $pid = start_process($log, @command);
	wait_until($node, q{SELECT count(*) = 1 FROM pg_replication_slots WHERE slot_name = 'debezium'}, 'the slot exists', 60) or BAIL_OUT(slurp_file("$log.err"));
	Time::HiRes::sleep(rand 0.5);    # so that kills hit different moments
	insert_rows(100);
	stop_process($pid, 'KILL');
	note('positions at the first kill: ' . $node->safe_psql('shadow', 'SELECT count(*) FROM positions'));
	insert_rows(100);
}

foreach my $round (1 .. 4)
{
	my $pid = start_process($log, @command);

	wait_until($node, $receives, 'the connector receives changes', 60) or BAIL_OUT(slurp_file("$log.err"));
	foreach (1 .. 8)
	{
		insert_rows(1 + int rand 60);
		Time::HiRes::sleep(rand 0.2);
	}
	if ($round == 2)
	{
		# the program ends by itself when the server is killed, or reconnects
		restart_node($node);
		insert_rows(20);
	}
	stop_process($pid, 'KILL');
}

# Waits until the tables are equal to the views.
sub check
{
	my ($name) = @_;
	my ($got, $want) = ('', rows('postgres'));
	my $deadline = time() + $EddyTest::wait_timeout;

	while (time() < $deadline)
	{
		$got = rows('shadow');
		last if $got eq $want;
		Time::HiRes::sleep(0.2);    # before the next poll
	}
	is($got, $want, $name) or diag(slurp_file("$log.err"));
	return $want;
}

my $pid = start_process($log, @command);
insert_rows(30);
my $rows = check('the tables are equal to the views');
cmp_ok(length($rows), '>', 10000, '... which are not empty');
like($rows, qr/NaN/, '... and have values that are not numbers');

# The position is confirmed also while no view changes.
my $position = sql($node, 'CREATE TABLE other (a int); SELECT pg_current_wal_insert_lsn()');
wait_until($node, "SELECT confirmed_flush_lsn >= '$position' FROM pg_replication_slots WHERE slot_name = 'debezium'", 'the slot advances', 60)
  and pass('the slot advances while no view changes');
stop_process($pid, 'KILL');
insert_rows(30);
$pid = start_process($log, @command);
insert_rows(30);
check('... and continues there');
stop_process($pid, 'KILL');
$node->stop;
done_testing();
