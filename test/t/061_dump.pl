# 061_dump.pl: pg_dump under traffic, restored on another server and into another database.
#
# Messages, some of them malformed, arrive from a real broker and users write into the same stream
# while pg_dump runs. The dump is one snapshot: in the copy, the views, the offsets and the dead letters
# are consistent, although the dump was taken at an arbitrary time. This is checked against an
# independent reader of Kafka
#
#   - as restored: each view equals its SELECT over the messages below the restored offsets
#   - after eddy.resume: over all messages, each counted once, each dead letter there once
#
# on a server where the database has the same name and the same OID, and in a database of another name
# on the original server. Until eddy.resume the copy does not read messages.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $messages = 60_000;
my $partitions = 3;
my $seed = $ENV{EDDY_SEED} || int(rand(1_000_000));
my $dir = PostgreSQL::Test::Utils::tempdir();
note "EDDY_SEED=$seed";

my %views = (
	total => q{
		SELECT count(*) AS n, sum(id) AS ids, bit_xor(id) AS mask, sum(amount) AS amount
		FROM events},
	per_key => q{
		SELECT key, count(*) AS n, sum(qty) AS qty, avg(price) AS price, count(note) AS notes
		FROM events GROUP BY key},
	per_window => q{
		SELECT category, w.window_start, w.window_end, count(*) AS n, max(amount) AS highest
		FROM events, eddy.tumble(event_time, '10 seconds') AS w
		GROUP BY category, w.window_start, w.window_end},
	window_values => q{
		SELECT category, w.window_start, count(DISTINCT key) AS keys, sum(DISTINCT qty) AS qty,
			mode() WITHIN GROUP (ORDER BY origin) AS origin,
			percentile_disc(ARRAY[0.1, 0.5]) WITHIN GROUP (ORDER BY qty) AS qtys,
			array_agg(DISTINCT producer ORDER BY producer DESC) AS producers, count(*) AS n
		FROM events, eddy.tumble(event_time, '1 minute') AS w
		GROUP BY category, w.window_start},
	per_piece => q{
		SELECT category, sum(1000 / qty) AS pieces, count(*) AS n
		FROM events GROUP BY category},
	appended => q{
		SELECT q.id, q.name, q.twice
		FROM (SELECT id, upper(key) AS name, qty * 2 AS twice FROM events WHERE category = 3) q},
	newest => q{
		SELECT DISTINCT ON (producer) producer, seq, id FROM events WHERE producer < 100
		ORDER BY producer, seq DESC, id},
	subtotals => q{
		SELECT category, origin, GROUPING(category, origin) AS level, count(*) AS n, sum(id) AS ids
		FROM events GROUP BY ROLLUP (category, origin)},
	branches => q{
		SELECT u.kind, count(*) AS n, sum(u.v) AS v
		FROM (SELECT 'id' AS kind, id::numeric AS v FROM events
			  UNION ALL SELECT 'seq', seq FROM events WHERE producer < 100) u
		GROUP BY u.kind},
	sums_of_keys => q{
		SELECT n, count(*) AS keys, sum(qty) AS qty, max(notes) AS notes FROM per_key GROUP BY n},
	united => q{
		SELECT u.kind, count(*) AS rows, sum(u.n) AS n, max(u.n) AS largest
		FROM (SELECT 'key' AS kind, n FROM per_key UNION ALL SELECT 'sum', keys FROM sums_of_keys
			  UNION ALL SELECT 'newest', seq FROM newest UNION ALL SELECT 'event', qty FROM events) u
		GROUP BY u.kind},
	total_of_sums => q{
		SELECT count(*) AS n, sum(keys) AS keys, sum(qty) AS qty FROM sums_of_keys},
	ranking => q{
		SELECT * FROM (
			SELECT category, key, count(*) AS n,
				rank() OVER (PARTITION BY category ORDER BY count(*) DESC) AS place
			FROM events GROUP BY category, key) q
		WHERE place <= 2 ORDER BY n DESC});
my $columns = q{
	id bigint NOT NULL, producer integer NOT NULL, seq bigint NOT NULL, key text NOT NULL,
	category integer, amount numeric, qty integer NOT NULL CHECK (qty >= 0), price bigint,
	ratio double precision, origin text DEFAULT 'kafka', note text, event_time timestamptz,
	part integer, off bigint};

my $broker = start_broker();
$broker->create_topic('events', $partitions);

my $node = new_node('original');
attach_server($node, $broker->address);
sql($node, qq{
CREATE UNLOGGED TABLE events ($columns);
CREATE TABLE user_rows ($columns);
SELECT eddy.create_stream('events', event_time => 'event_time', delay => '1 hour');
});
sql($node, "SELECT eddy.create_continuous_view('$_', \$\$$views{$_}\$\$)")
  foreach sort keys %views;

#
# A dump under traffic
#

my $loader = start_process(
	"$dir/load", build_tool('eddy-load', 'test/oracle/load.c'),
	'--brokers', $broker->address,
	'--topic', 'events',
	'--partitions', $partitions,
	'--messages', $messages,
	'--seed', $seed,
	'--rate', 15_000);
my $user;
{
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port);
	$user =
	  start_process("$dir/user", $^X, "$EddyTest::root/test/oracle/users.pl", 1, "$dir/stop");
}
sql($node, q{
SELECT eddy.attach_kafka('events', server => 'kafka', topic => 'events',
	mapping => '{"part": "partition", "off": "offset"}')});

wait_until(
	$node, qq{
SELECT coalesce(sum(next_offset), 0) > $messages / 5
	AND (SELECT count(*) > 0 FROM user_rows)
	AND (SELECT count(*) > 10 FROM eddy.dead_letters WHERE view IS NULL)
	AND (SELECT count(*) > 10 FROM eddy.dead_letters WHERE view IS NOT NULL)
FROM eddy.partitions WHERE topic = 'events'}, 'a part of the messages is consumed');
my $before = sql($node, q{SELECT sum(next_offset) FROM eddy.partitions});
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", $node->connstr('postgres') ],
	'pg_dump succeeds under traffic');
wait_until(
	$node,
	"SELECT sum(next_offset) > $before FROM eddy.partitions",
	'consumption continues during the dump');

is(stop_process($loader), 0, 'all messages were produced')
  or diag(slurp_file("$dir/load.err"));
append_to_file("$dir/stop", '');
stop_process($user);
wait_for_consumed($node, $broker, 'events');

#
# The independent reader, for each database
#

my $kafka_tool = kafka_tool();
system("$kafka_tool dump -b @{[ $broker->address ]} -t events -k -X >$dir/raw") == 0
  or die 'the topic could not be read';

# Creates table "accepted", the rows accepted below the offsets of this database and users' rows, and
# table "poison", the messages that must be dead letters.
sub recompute
{
	my ($node, $database) = @_;

	$node->safe_psql(
		$database, qq{
DROP TABLE IF EXISTS raw, accepted, poison;
CREATE TABLE raw (partition integer, "offset" bigint, key bytea, payload bytea);
COPY raw FROM '$dir/raw';
CREATE TABLE accepted ($columns);
INSERT INTO accepted
SELECT (j->>'id')::bigint, (j->>'producer')::integer, (j->>'seq')::bigint, j->>'key',
	(j->>'category')::integer, (j->>'amount')::numeric, (j->>'qty')::integer, (j->>'price')::bigint,
	(j->>'ratio')::float8, CASE WHEN j ? 'origin' THEN j->>'origin' ELSE 'kafka' END, j->>'note',
	(j->>'event_time')::timestamptz, partition, "offset"
FROM (SELECT r.partition, r."offset", convert_from(r.payload, 'UTF8')::jsonb AS j
	  FROM raw r JOIN eddy.partitions p ON p.partition = r.partition
	  WHERE r.key LIKE 'k%' AND r."offset" < p.next_offset OFFSET 0) r;
INSERT INTO accepted SELECT * FROM user_rows;
CREATE TABLE poison AS
SELECT r.* FROM raw r JOIN eddy.partitions p ON p.partition = r.partition
WHERE r.key LIKE 'poison:%' AND r."offset" < p.next_offset;
});
	return;
}

# P1: views and dead letters are consistent with the messages below the offsets.
sub consistent_ok
{
	my ($node, $database, $when) = @_;

	recompute($node, $database);
	foreach my $view (sort keys %views)
	{
		my $want = $views{$view} =~ s/\bevents\b/accepted/gr;

		$want =~ s/FROM accepted/FROM accepted WHERE qty <> 0/ if $view eq 'per_piece';
		is($node->safe_psql($database, difference("SELECT * FROM $view", $want)),
			'', "$when: view $view equals its SELECT");
	}
	is( $node->safe_psql(
			$database,
			difference(
				q{SELECT topic, partition, "offset", key, payload FROM eddy.dead_letters
					WHERE view IS NULL AND stream = 'events'::regclass},
				q{SELECT 'events' AS topic, partition, "offset", key, payload FROM poison})),
		'',
		"$when: each malformed message is one dead letter");
	is( $node->safe_psql(
			$database,
			difference(
				q{SELECT view, partition, "offset" FROM eddy.dead_letters WHERE view IS NOT NULL},
				q{SELECT 'per_piece'::regclass AS view, coalesce(part, -1) AS partition,
					off AS "offset" FROM accepted WHERE qty = 0})),
		'',
		"$when: each row on which a view failed is one dead letter");
	is( $node->safe_psql(
			$database,
			q{SELECT rows, rejected, max_event_time FROM eddy.partitions WHERE partition = -1}),
		$node->safe_psql($database,
			q{SELECT count(*), 0, max(event_time) FROM user_rows}),
		"$when: users' rows are counted");
	return;
}

consistent_ok($node, 'postgres', 'original');

#
# Restored: same name on another server, another name on this one
#

my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
configure_node($other);
$other->start;
$node->safe_psql('postgres', 'CREATE DATABASE copy');
is( $other->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'postgres'}),
	sql($node, q{SELECT oid FROM pg_database WHERE datname = 'postgres'}),
	'the databases have the same OID');

sub restore
{
	my ($node, $database) = @_;

	return $node->command_ok(
		[
			'pg_restore', '--exit-on-error', '--no-owner', '-d', $node->connstr($database),
			"$dir/dump"
		],
		"pg_restore into database \"$database\" works");
}
restore($other, 'postgres');
restore($node, 'copy');

my $all = join(',', map { $broker->ends('events')->{$_} } 0 .. $partitions - 1);
my $offsets = q{SELECT string_agg(next_offset::text, ',' ORDER BY partition) FROM eddy.partitions
	WHERE topic = 'events'};

foreach my $copy ([ $other, 'postgres' ], [ $node, 'copy' ])
{
	my ($node, $database) = @$copy;
	my $name = $node->name . ", database $database";
	my $psql = sub { return $node->safe_psql($database, $_[0]); };

	# the database worker has checked its sources
	ok( $node->poll_query_until(
			$database,
			q{SELECT count(*) = 1 FROM pg_stat_activity
				WHERE backend_type = 'eddy database worker' AND datname = current_database()}),
		"$name: a database worker runs");
	like(
		$psql->(q{SELECT state, error FROM eddy.sources}),
		qr/^waiting\|.*copy or was restored/,
		"$name: its source is waiting, with the reason");
	my $restored = $psql->($offsets);
	isnt($restored, $all, "$name: the offsets are those at the time of the dump");
	consistent_ok($node, $database, "$name, as restored");
	is($psql->($offsets), $restored, "$name: no message is read before eddy.resume");
	is( $psql->(
			q{SELECT count(*) FROM pg_stat_activity
				WHERE backend_type = 'eddy source worker' AND datname = current_database()}),
		'0', "$name: no worker runs");

	if ($database eq 'postgres')
	{
		$node->restart;
		ok( $node->poll_query_until(
				$database,
				q{SELECT count(*) = 1 FROM pg_stat_activity
					WHERE backend_type = 'eddy database worker'}),
			"$name: the database worker runs after a restart");
		is( $psql->(q{SELECT state, pid FROM eddy.sources}),
			'waiting|', "$name: the database worker starts no source worker");
	}

	# users' rows are also counted before eddy.resume
	$psql->(q{
WITH added AS (
	INSERT INTO events (id, producer, seq, key, category, qty, event_time)
	SELECT -g, 0, g, 'restored', 1, g % 3, '2026-01-01 00:00:05+00' FROM generate_series(1, 9) g
	RETURNING *)
INSERT INTO user_rows SELECT * FROM added;
});
	is($psql->(q{SELECT n FROM per_key WHERE key = 'restored'}),
		'9', "$name: users' rows are counted");

	$psql->(q{SELECT eddy.resume('events')});
	ok($node->poll_query_until($database, "SELECT ($offsets) = '$all'"),
		"$name: after eddy.resume all messages are read");
	consistent_ok($node, $database, "$name, resumed");
	is( $psql->(q{SELECT count(*) = count(DISTINCT id) FROM eddy.dead_letters}),
		't', "$name: numbers of dead letters continue from those of the dump");

	# further use: new sources and views, renaming, dropping
	$psql->(q{SELECT eddy.attach_kafka('events', server => 'kafka', topic => 'events_too')});
	is($psql->(q{SELECT count(DISTINCT source), count(*) FROM eddy.sources}),
		'2|2', "$name: a new source has a new number");
	$psql->(q{SELECT eddy.create_continuous_view('late', 'SELECT count(*) AS n FROM events')});
	$psql->(q{ALTER TABLE events RENAME COLUMN qty TO quantity});
	$psql->(
		q{INSERT INTO events (id, producer, seq, key, quantity, event_time)
			VALUES (-10, 0, 10, 'restored', 1, '2026-01-01 00:00:05+00')});
	is($psql->(q{SELECT n || ',' || qty FROM per_key WHERE key = 'restored'}),
		'10,10', "$name: views follow a rename");
	is($psql->('SELECT n FROM late'), '1', "$name: a new view counts from now on");
	$psql->(
		q{SET client_min_messages = warning; DROP VIEW per_key CASCADE; DROP TABLE events CASCADE});
	is( $psql->(
			q{SELECT (SELECT count(*) FROM eddy.streams) + (SELECT count(*) FROM eddy.sources)
				+ (SELECT count(*) FROM eddy.continuous_views)
				+ (SELECT count(*) FROM pg_class WHERE relnamespace = 'eddy'::regnamespace
					AND relname ~ '(total|sums|per_key|per_window|per_piece|late|events)' AND relname !~ 'late_row')}
		),
		'0',
		"$name: DROP leaves nothing behind");
}

# the original is not affected
$broker->produce('events', [ 0, 'tombstone', undef ]);
wait_for_consumed($node, $broker, 'events');
consistent_ok($node, 'postgres', 'original in the end');

done_testing();
