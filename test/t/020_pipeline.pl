# 020_pipeline.pl: the full pipeline on realistic input, with all kinds of crashes.
#
# A million messages in 8 partitions of a real broker, some in aborted transactions, some malformed;
# users who write into the same stream; a consumer of changes. Meanwhile the worker is terminated and
# killed, the server is stopped in immediate mode, and the broker is restarted and killed. At the end a
# process is killed twice in the middle of closing windows. Then the
# results are recomputed from the messages that an independent reader reads from Kafka:
#
#   - each view equals its own SELECT over the accepted rows
#   - the offsets are the ends of the partitions
#   - each malformed message is one dead letter, with the same bytes
#   - the changes, applied by (lsn, seq), result in the contents of the views
#   - offsets and results were consistent at all times: snapshots taken during the run contain
#     both, and are checked against the same messages afterwards
#
# Except for timing, a run is determined by its seed: EDDY_SEED=n repeats it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $messages = $ENV{EDDY_MESSAGES} // 1_000_000;
my $partitions = 8;
my $rate = $ENV{EDDY_RATE} // 20_000;    # messages per second
my $seed = $ENV{EDDY_SEED} || int(rand(1_000_000));
my $dir = PostgreSQL::Test::Utils::tempdir();
note "EDDY_SEED=$seed";

#
# Setup
#

my %views = (
	total => q{
		SELECT count(*) AS n, sum(id) AS ids, bit_xor(id) AS mask, min(id) AS first,
			max(id) AS last,
			sum(amount) AS amount, avg(ratio) AS ratio
		FROM events},
	per_key => q{
		SELECT key, count(*) AS n, sum(qty) AS qty, sum(amount) AS amount, avg(price) AS price,
			count(note) AS notes, max(event_time) AS last, sum(ratio) AS ratio
		FROM events GROUP BY key},
	per_window => q{
		SELECT category, w.window_start, w.window_end, count(*) AS n, sum(price) AS price,
			min(amount) AS lowest, max(amount) AS highest,
			count(*) FILTER (WHERE origin = 'kafka') AS by_default
		FROM events, eddy.tumble(event_time, '10 seconds') AS w
		GROUP BY category, w.window_start, w.window_end},
	per_producer => q{
		SELECT producer, count(*) AS n, sum(seq) AS seqs, bit_xor(seq) AS mask, max(seq) AS last
		FROM events WHERE producer < 100 GROUP BY producer},
	busy => q{
		SELECT key, category, sum(qty) FILTER (WHERE price > 50000000) AS dear,
			sum(amount) / nullif(count(ratio), 0) AS mean
		FROM events WHERE category < 5 GROUP BY key, category
		HAVING count(*) > 80 AND count(*) % 3 <> 0},
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
	# views over views: compared with their SELECT over the other view
	sums_of_keys => q{
		SELECT n, count(*) AS keys, sum(qty) AS qty, avg(amount) AS amount, max(notes) AS notes
		FROM per_key GROUP BY n},
	total_of_sums => q{
		SELECT count(*) AS n, sum(keys) AS keys, sum(qty) AS qty FROM sums_of_keys},
	branches => q{
		SELECT u.kind, count(*) AS n, sum(u.v) AS v
		FROM (SELECT 'id' AS kind, id::numeric AS v FROM events
			  UNION ALL SELECT 'seq', seq FROM events WHERE producer < 100) u
		GROUP BY u.kind},
	closing => q{
		SELECT key, w.window_start, w.window_end, count(*) AS n, sum(qty) AS qty, avg(price) AS price
		FROM events, eddy.tumble(event_time, '10 seconds') AS w
		GROUP BY key, w.window_start, w.window_end});
my %options = (closing => q{emit => 'on_close'});

my $broker = start_broker();
$broker->create_topic('events', $partitions);

my $node = new_node(
	'pipeline',
	"shared_buffers = '256MB'",
	"max_wal_size = '4GB'",
	"checkpoint_timeout = '30s'",
	# as on a server with a busy disk
	"backend_flush_after = '128kB'");
attach_server($node, $broker->address);

my $columns = q{
	id bigint NOT NULL, producer integer NOT NULL, seq bigint NOT NULL, key text NOT NULL,
	category integer, amount numeric, qty integer NOT NULL CHECK (qty >= 0), price bigint,
	ratio double precision, origin text DEFAULT 'kafka', note text, event_time timestamptz,
	part integer, off bigint};

# event times span 10 minutes, so with this delay no row is late
sql($node, qq{
CREATE UNLOGGED TABLE events ($columns);
CREATE TABLE user_rows ($columns);
CREATE TABLE probe (at timestamptz, seen jsonb);
SELECT eddy.create_stream('events', event_time => 'event_time', delay => '1 hour',
	retention => '10 seconds');
});

# the slot is created before the views: a view without GROUP BY has a row from its creation on
sql($node, "SELECT pg_create_logical_replication_slot('dashboard', 'pg_eddy_cdc')");
foreach my $view (sort keys %views)
{
	my $options = join ', ', '', $options{$view} // ();

	sql($node, "SELECT eddy.create_continuous_view('$view', \$\$$views{$view}\$\$$options)");
}

# its changes are also kept for SQL
sql($node, "SELECT eddy.keep_changes('per_window', '1 day')");

# the consumer of changes: reconnects automatically, is killed once, keeps its output
my $changes = 0;
my $consumer;

sub start_consumer
{
	$changes++;
	$consumer = start_process(
		"$dir/recvlogical.$changes", 'pg_recvlogical',
		'-d', $node->connstr('postgres'),
		'-S', 'dashboard',
		'--start', '-f',
		"$dir/changes.$changes", '--fsync-interval=1',
		'--status-interval=1');
	return;
}
start_consumer();

local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port);
my @users = map {
	start_process("$dir/user.$_", $^X, "$EddyTest::root/test/oracle/users.pl", $_, "$dir/stop")
} 1 .. 2;

my $loader = start_process(
	"$dir/load", build_tool('eddy-load', 'test/oracle/load.c'),
	'--brokers', $broker->address,
	'--topic', 'events',
	'--partitions', $partitions,
	'--messages', $messages,
	'--seed', $seed,
	'--rate', $rate);

sql($node, q{
SELECT eddy.attach_kafka('events', server => 'kafka', topic => 'events',
	mapping => '{"part": "partition", "off": "offset"}')});

#
# Faults
#

my $source = q{(SELECT * FROM eddy.sources WHERE topic = 'events') AS s};

# Waits until the source worker runs, and returns its process ID.
sub worker_pid
{
	wait_until(
		$node,
		"SELECT pid IS NOT NULL AND state = 'running' FROM $source",
		'a worker runs');
	return sql($node, "SELECT pid FROM $source");
}

# Stores offsets and results of one snapshot, to be checked later.
sub probe
{
	wait_until($node, q{SELECT true}, 'the server responds');
	$node->psql(
		'postgres', q{
INSERT INTO probe SELECT clock_timestamp(), jsonb_build_object(
	'offsets', (SELECT jsonb_object_agg(partition, next_offset) FROM eddy.partitions
		WHERE topic = 'events'),
	'total', (SELECT to_jsonb(t) FROM total t),
	'per_key', (SELECT sum(n) FROM per_key),
	'per_window', (SELECT sum(n) FROM per_window),
	'kafka', (SELECT sum(n) FROM per_producer),
	'per_piece', (SELECT sum(n) FROM per_piece),
	'dead', (SELECT count(*) FROM eddy.dead_letters WHERE view IS NULL),
	'dead_of_view', (SELECT count(*) FROM eddy.dead_letters WHERE view IS NOT NULL),
	'users', (SELECT count(*) FROM user_rows),
	'users_ids', (SELECT sum(id) FROM user_rows))});
	return;
}

my %faults = (
	'SIGTERM to the worker' => sub {
		my $pid = worker_pid();
		sql($node, "SELECT pg_terminate_backend($pid)");
		wait_until($node, "SELECT pid <> $pid FROM $source", 'another worker runs');
	},
	'kill -9 of the worker' => sub {
		my $pid = worker_pid();
		kill 'KILL', $pid;
		wait_until(
			$node,
			"SELECT pid <> $pid FROM $source",
			'another worker runs after the crash');
	},
	'immediate stop of the server' => sub {
		restart_node($node);
	},
	'restart of the broker' => sub {
		$broker->stop;
		wait_until(
			$node,
			"SELECT state = 'waiting' AND error IS NOT NULL FROM $source",
			'the source is waiting for the broker');
		$broker->start;
	},
	'kill -9 of the broker' => sub {
		$broker->kill;
		$broker->start;
	},
	'kill -9 of the consumer' => sub {
		kill 'KILL', $consumer;
		stop_process($consumer);
		wait_until(
			$node,
			q{SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'dashboard'},
			'the slot is free');
		start_consumer();
	});

my @plan = (
	'SIGTERM to the worker',
	'kill -9 of the worker',
	'immediate stop of the server',
	'restart of the broker',
	'kill -9 of the consumer',
	'kill -9 of the worker',
	'SIGTERM to the worker',
	'kill -9 of the broker',
	'immediate stop of the server',
	'SIGTERM to the worker');

foreach my $i (0 .. $#plan)
{
	my $mark = int($messages * ($i + 1) / (@plan + 2));

	wait_until(
		$node,
		"SELECT coalesce(sum(next_offset), 0) >= $mark FROM eddy.partitions WHERE topic = 'events'",
		"offset $mark is reached") or last;
	probe();
	$faults{ $plan[$i] }->();
	probe();
	pass("$plan[$i] at $mark");
}

#
# End: wait until all messages are consumed and all changes are received
#

is(stop_process($loader), 0, 'all messages were produced')
  or diag(slurp_file("$dir/load.err"));
my %ledger = map { split /\t/ } split /\n/, slurp_file("$dir/load");
wait_for_consumed($node, $broker, 'events');

append_to_file("$dir/stop", '');
stop_process($_) foreach @users;
my %rounds = map { split /\t/ } split /\n/, slurp_file("$dir/user.1");
cmp_ok($rounds{succeeded}, '>', 20, 'users wrote during the run');
note "rounds of user 1: $rounds{succeeded}, failed in crashes: $rounds{failed}";

is(sql($node, "SELECT state, error FROM $source"),
	'running|', 'the source runs without an error');

#
# kill -9 in the middle of closing, which a row that is locked stops there
#

my $closing_state = sql($node, q{SELECT state_table FROM eddy.continuous_views WHERE view = 'closing'::regclass});
my $advance = q{SELECT eddy.advance_watermark('events', '2026-02-01 00:00+00')};

# Locks the group with a number, in the order in which groups are closed. The crash ends the session.
sub lock_group
{
	my ($number) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	# OFFSET would lock the groups before it as well
	$session->query_safe("BEGIN; SELECT n FROM $closing_state WHERE ctid = (SELECT ctid FROM $closing_state
		ORDER BY window_end, key OFFSET $number LIMIT 1) FOR UPDATE");
	return $session;
}

# Kills the process that waits for this lock, and waits for the end of the crash.
sub kill_waiting
{
	my ($session, $who) = @_;
	my $observer = $node->background_psql('postgres');
	my $deadline = time() + $EddyTest::wait_timeout;
	my $pid = '';

	# the database worker waits for a part of a second, in each second
	while ($pid eq '' && time() < $deadline)
	{
		$pid = $observer->query_safe(qq{SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND $who LIMIT 1});
		Time::HiRes::sleep(0.02) if $pid eq '';    # before the next poll
	}
	cmp_ok($pid || 0, '>', 0, "a process is stopped in the middle of closing: $who") or return;
	kill 'KILL', $pid;
	eval { $_->quit } foreach ($session, $observer);
	wait_until($node, qq{SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid}, 'the server was started again');
	return;
}

my $groups = sql($node, "SELECT count(*) FROM $closing_state");
cmp_ok($groups, '>', 25_000, 'closing takes several transactions');
my $session = lock_group(10_000);
my $advancing = start_process("$dir/advancing", 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $advance);
kill_waiting($session, q{query ~ '^SELECT eddy.advance_watermark'});
stop_process($advancing);
is(sql($node, 'SELECT count(*) FROM closing'), 0, 'nothing is closed if the transaction that closes crashes');
$session = lock_group(25_000);
sql($node, $advance);
kill_waiting($session, q{backend_type = 'eddy database worker'});
wait_until($node, "SELECT count(*) = $groups FROM closing", 'all windows are closed');

my $lsn = sql($node, 'SELECT pg_current_wal_insert_lsn()');
wait_until(
	$node,
	"SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots WHERE slot_name = 'dashboard'",
	'the consumer has received all changes');
stop_process($consumer, 'INT');

#
# The independent recomputation
#

my $kafka_tool = kafka_tool();
my $psql = 'psql -X -q -v ON_ERROR_STOP=1 -d postgres';
sql($node, 'CREATE TABLE raw (partition integer, "offset" bigint, key bytea, payload bytea)');
is( system(
		"$kafka_tool dump -b @{[ $broker->address ]} -t events -k -X | $psql -c 'COPY raw FROM STDIN'"
	),
	0,
	'the topic was read by the independent reader');

# Rows converted with the server's jsonb, a parser that is independent of the extension's.
sql($node, qq{
CREATE TABLE accepted ($columns);
INSERT INTO accepted
SELECT (j->>'id')::bigint, (j->>'producer')::integer, (j->>'seq')::bigint, j->>'key',
	(j->>'category')::integer, (j->>'amount')::numeric, (j->>'qty')::integer, (j->>'price')::bigint,
	(j->>'ratio')::float8, CASE WHEN j ? 'origin' THEN j->>'origin' ELSE 'kafka' END, j->>'note',
	(j->>'event_time')::timestamptz, partition, "offset"
FROM (SELECT partition, "offset", convert_from(payload, 'UTF8')::jsonb AS j
	  FROM raw WHERE key LIKE 'k%' OFFSET 0) r;	-- the JSON is parsed once a row
CREATE VIEW poison AS SELECT * FROM raw WHERE key LIKE 'poison:%';
ANALYZE;
});

is( sql($node, q{
		SELECT count(*) FILTER (WHERE key LIKE 'k%'), count(*) FILTER (WHERE key LIKE 'poison:%'),
			count(*) FILTER (WHERE key = 'tombstone'), count(*) FILTER (WHERE key = 'aborted')
		FROM raw}),
	join('|',
		$ledger{good}, $messages - $ledger{good} - $ledger{tombstone},
		$ledger{tombstone}, 0),
	'Kafka contains exactly the messages that the producer committed');
cmp_ok($ledger{aborted}, '>', $messages / 100, 'some messages were aborted');

# Snapshots taken during the run: offsets and results are consistent.
my $probes = sql($node, 'SELECT count(*) FROM probe WHERE seen->>\'offsets\' IS NOT NULL');
cmp_ok($probes, '>=', @plan, 'snapshots were taken during the run');
is( sql($node, q{
SELECT p.at, p.seen, want.*
FROM probe p, LATERAL (
	SELECT count(*) FILTER (WHERE r.key LIKE 'k%') AS good,
		count(*) FILTER (WHERE r.key LIKE 'poison:%') AS poison,
		(SELECT sum(a.id) FROM accepted a
		 WHERE a.off < (p.seen->'offsets'->>a.part::text)::bigint) AS ids
	FROM raw r WHERE r."offset" < (p.seen->'offsets'->>r.partition::text)::bigint) AS want
WHERE (p.seen->'total'->>'n')::bigint <> want.good + (p.seen->>'users')::bigint
	OR (p.seen->'total'->>'ids')::numeric
		<> coalesce(want.ids, 0) + coalesce((p.seen->>'users_ids')::numeric, 0)
	OR (p.seen->>'kafka')::bigint <> want.good
	OR p.seen->>'per_key' <> p.seen->'total'->>'n'
	OR p.seen->>'per_window' <> p.seen->'total'->>'n'
	OR (p.seen->>'per_piece')::bigint + (p.seen->>'dead_of_view')::bigint
		<> (p.seen->'total'->>'n')::bigint
	OR (p.seen->>'dead')::bigint <> want.poison}),
	'',
	'every snapshot is exact');

# Views
sql($node, 'INSERT INTO accepted SELECT * FROM user_rows');
foreach my $view (sort keys %views)
{
	my $want = $views{$view} =~ s/\bevents\b/accepted/gr;

	# the rows on which this view fails are its dead letters
	$want =~ s/FROM accepted/FROM accepted WHERE qty <> 0/ if $view eq 'per_piece';
	equal_ok($node, "SELECT * FROM $view",
		$want, "view $view equals its SELECT over all accepted rows");
}
cmp_ok(sql($node, 'SELECT count(*) FROM busy'), '>', 100, 'some groups satisfy HAVING');
is( sql($node, q{SELECT producer FROM per_producer
			WHERE n <> last OR seqs <> last::numeric * (last + 1) / 2}),
	'',
	'no message of a producer is lost or counted twice');

# The oracle must detect errors.
my %mutants = (
	'a lost message' =>
	  'DELETE FROM accepted WHERE ctid = (SELECT ctid FROM accepted WHERE part = 3 LIMIT 1)',
	'a duplicated message' => 'INSERT INTO accepted SELECT * FROM accepted WHERE part = 3 LIMIT 1',
	'an aborted message' =>
	  'INSERT INTO accepted SELECT -2, producer, seq, key, category, amount, qty, price,
		ratio, origin, note, event_time, part, off FROM accepted WHERE part = 3 LIMIT 1',
	'a message in the wrong window' =>
	  q{UPDATE accepted SET event_time = event_time + interval '10 s'
		WHERE (part, off) = (SELECT part, off FROM accepted WHERE part = 3 LIMIT 1)});
foreach my $mutant (sort keys %mutants)
{
	my $found = 0;

	foreach my $view ('total', 'per_window')
	{
		my $out = sql($node,
				"BEGIN; $mutants{$mutant};"
			  . difference("SELECT * FROM $view", $views{$view} =~ s/\bevents\b/accepted/gr)
			  . '; ROLLBACK');
		$found = 1 if $out ne '';
	}
	ok($found, "the oracle detects $mutant");
}

# Offsets
is( sql($node,
		q{SELECT partition, next_offset, high_offset FROM eddy.partitions
			WHERE topic = 'events' ORDER BY partition}
	),
	join("\n", map { join '|', $_, ($broker->ends('events')->{$_}) x 2 } 0 .. $partitions - 1),
	'the offsets are the ends of the partitions');
is(sql($node, q{SELECT sum(skipped) FROM eddy.partitions WHERE topic = 'events'}),
	$ledger{tombstone}, 'tombstones are counted as skipped');
is( sql($node,
		q{SELECT rows, rejected, max_event_time FROM eddy.partitions WHERE partition = -1}),
	sql($node, q{SELECT count(*), 0, max(event_time) FROM user_rows}),
	"users' rows are counted");

# Dead letters
equal_ok(
	$node,
	q{SELECT topic, partition, "offset", key, payload FROM eddy.dead_letters WHERE view IS NULL},
	q{SELECT 'events' AS topic, partition, "offset", key, payload FROM poison},
	'each malformed message is one dead letter');
equal_ok(
	$node,
	q{SELECT view::text, partition, "offset" FROM eddy.dead_letters WHERE view IS NOT NULL},
	q{SELECT 'per_piece' AS view, coalesce(part, -1) AS partition, off AS "offset"
		FROM accepted WHERE qty = 0},
	'each row on which a view failed is a dead letter of that view');

# Changes: the received ones, except those that were sent again after a crash
foreach my $i (1 .. $changes)
{
	next unless -e "$dir/changes.$i";
	my $text = slurp_file("$dir/changes.$i");

	# a killed consumer leaves an incomplete line, which is sent again
	if ($text =~ s/[^\n]+\z//)
	{
		open(my $file, '>', "$dir/changes.$i") or die;
		print $file $text;
		close($file);
	}
}
sql($node, 'CREATE TABLE received (n bigserial, line jsonb)');
is( system(
			"cat "
		  . join(' ', grep { -e } map { "$dir/changes.$_" } 1 .. $changes)
		  . " | sed 's/\\\\/\\\\\\\\/g' | $psql -c 'COPY received (line) FROM STDIN'"),
	0,
	'the changes are JSON, one per line');
sql($node, q{
CREATE TABLE change AS
SELECT DISTINCT ON (lsn, seq) n, lsn, seq, line->>'view' AS view, line->>'op' AS op,
	line->'key' AS key, line->'after' AS after
FROM (SELECT n, line, (line->>'lsn')::pg_lsn AS lsn, (line->>'seq')::bigint AS seq FROM received) r
ORDER BY lsn, seq, n;
CREATE VIEW applied AS
SELECT DISTINCT ON (view, key) view, key, op, after FROM change
ORDER BY view, key, lsn DESC, seq DESC;
ANALYZE change;
});
note sql(
	$node, q{SELECT (SELECT count(*) FROM received) || ' changes received, '
	|| (SELECT count(*) FROM change) || ' distinct'});
foreach my $view (sort keys %views)
{
	equal_ok(
		$node,
		"SELECT r.* FROM applied a, jsonb_populate_record(NULL::$view, a.after) r
		 WHERE a.view = 'public.$view' AND a.op <> 'd'",
		"SELECT * FROM $view",
		"the applied changes of $view equal the view");
}
equal_ok(
	$node,
	q{SELECT r.* FROM (SELECT DISTINCT ON (key::text) op, after
			FROM eddy.changes('per_window', NULL, 1000000) WITH ORDINALITY
			ORDER BY key::text, ordinality DESC) c,
		json_populate_record(NULL::per_window, c.after) r WHERE c.op <> 'd'},
	'SELECT * FROM per_window',
	'the kept changes of per_window equal the view');
is( sql($node, q{
SELECT view, key, previous, op, lsn, seq
FROM (SELECT *, lag(op) OVER (PARTITION BY view, key ORDER BY lsn, seq) AS previous FROM change) c
WHERE (op = 'c') <> (previous IS NULL OR previous = 'd') LIMIT 5}),
	'',
	'each row is created once before it is updated or deleted');
is(sql($node, q{SELECT count(*), count(DISTINCT key), count(*) FILTER (WHERE op <> 'c') FROM change WHERE view = 'public.closing'}),
	"$groups|$groups|0", 'each window that has closed was sent once');
is( sql($node, q{
SELECT n, lsn, seq
FROM (SELECT *, max(n) OVER (ORDER BY lsn, seq ROWS UNBOUNDED PRECEDING) AS furthest
	FROM change) c WHERE n < furthest LIMIT 5}),
	'',
	'changes are in commit order');

done_testing();
