# 044_stream_ddl.pl: DDL concurrently with a running source.
#
# A segment altered by a superuser does not crash a worker: the source waits with the reason.
# Replaced functions and domains of a stream are used from the next batch on. Pausing and altering,
# and the procedure of docs/operations.md for counting again, run under traffic without a deadlock.
# A rotation of segments invalidates no plans. A subscription cannot write to a stream.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

my $broker = start_broker();
my $node = new_node('ddl');
attach_server($node, $broker->address);

# Produces messages {"id": from .. to} in one topic.
sub produce
{
	my ($topic, $from, $to) = @_;

	$broker->produce($topic, map { [ 0, undef, qq({"id": $_, "item": "item $_"}) ] } $from .. $to);
	return;
}

# Waits for a line in the log after an offset.
sub wait_for_log_line
{
	my ($server, $pattern, $from) = @_;

	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if slurp_file($server->logfile, $from) =~ $pattern;
		Time::HiRes::sleep(0.1);
	}
	return 0;
}

#
# Segments altered by a superuser
#

$broker->create_topic('goods');
sql($node, q{
CREATE UNLOGGED TABLE goods (id bigint, item text);
SELECT eddy.create_stream('goods');
SELECT eddy.create_continuous_view('goods_sum', 'SELECT count(*) AS n, sum(id) AS ids FROM goods');
SELECT eddy.attach_kafka('goods', server => 'kafka', topic => 'goods');
CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
});
produce('goods', 1, 10);
wait_for_consumed($node, $broker, 'goods');
my $last = 10;

my $postmaster = sql($node, 'SELECT pg_postmaster_start_time()');
my $pid = sql($node, "SELECT pid FROM eddy.sources WHERE topic = 'goods'");
my $current =
  q{(SELECT segment FROM eddy._segment WHERE opened_at IS NOT NULL AND closed_at IS NULL)};

# A change of the current segment, the error in eddy.sources, and the reverse change.
my @harm = (
	[
		'NO INHERIT %s goods, ALTER COLUMN item TYPE bigint USING 1',
		'Its parent is not the stream alone', 'drop'
	],
	[
		'ADD COLUMN more int', 'Column "more" does not exist in the stream',
		'DROP COLUMN more'
	],
	[ 'SET LOGGED', 'It is not unlogged', 'SET UNLOGGED' ],
	[ 'ADD CONSTRAINT own CHECK (id > 0)', 'It has the constraint "own"', 'DROP CONSTRAINT own' ],
	[ 'ADD PRIMARY KEY (id)', 'index|constraint', 'drop' ],
	[ 'ALTER COLUMN id SET NOT NULL', 'NOT NULL', 'ALTER COLUMN id DROP NOT NULL' ]);

# Runs an ALTER TABLE on the current segment.
sub alter_segment
{
	my ($how) = @_;

	sql($node, qq{
DO \$\$
BEGIN
    EXECUTE format('ALTER TABLE %s $how', $current);
END \$\$});
	return;
}

foreach my $case (@harm)
{
	my ($how, $reason, $cure) = @$case;
	my $segment = sql($node, "SELECT $current");

	if ($how =~ s/ %s / /)
	{
		# in two commands: the type of an inherited column cannot be altered
		my ($first, $second) = split /, /, $how;
		alter_segment($first);
		alter_segment($second);
	}
	else
	{
		alter_segment($how);
	}
	produce('goods', $last + 1, $last + 5);
	$last += 5;
	wait_for_state($node, 'goods', 'waiting', 'segment');
	like($node->safe_psql('postgres', q{SELECT sqlstate FROM eddy.sources WHERE topic = 'goods'}),
		qr/^55000$/, "the source waits: $how");
	like(slurp_file($node->logfile), qr/$reason/, "... and the log contains the reason");
	if ($cure eq 'drop')
	{
		sql($node, "DROP TABLE $segment");
	}
	else
	{
		alter_segment($cure);
	}
	sql($node, q{SELECT eddy.resume('goods')});
	wait_for_consumed($node, $broker, 'goods');
}
is( sql($node, 'TABLE goods_sum'),
	"$last|" . $last * ($last + 1) / 2,
	'every message is counted once');
is(sql($node, 'SELECT pg_postmaster_start_time()'), $postmaster, 'the server has not crashed');
is(sql($node, "SELECT pid FROM eddy.sources WHERE topic = 'goods'"),
	$pid, 'the worker has not been restarted');
unlike(slurp_file($node->logfile), qr/terminated by signal/, 'no process has crashed');

#
# Functions, domains and defaults that are replaced
#

$broker->create_topic('prepared');
sql($node, q{
CREATE FUNCTION label() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'first'; END $$;
CREATE FUNCTION constant() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'first' $$;
CREATE FUNCTION inner_twice(i bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT i * 2 $$;
CREATE FUNCTION twice(i bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT public.inner_twice(i) $$;
CREATE FUNCTION passes(i bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT i <> 5 $$;
CREATE DOMAIN score AS integer DEFAULT 1;
CREATE UNLOGGED TABLE prepared (id bigint CHECK (passes(id)), item text, label text DEFAULT label(),
    constant text DEFAULT constant(), doubled bigint GENERATED ALWAYS AS (twice(id)) STORED, score score);
SELECT eddy.create_stream('prepared');
SELECT eddy.attach_kafka('prepared', server => 'kafka', topic => 'prepared');
});
produce('prepared', 1, 1);
wait_for_consumed($node, $broker, 'prepared');
my $row = 'SELECT label, constant, doubled, score FROM prepared WHERE id =';
is(sql($node, "$row 1"), 'first|first|2|1', 'defaults and generated columns');

sql($node, q{CREATE OR REPLACE FUNCTION label() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'second'; END $$});
sql($node, q{CREATE OR REPLACE FUNCTION constant() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'second' $$});
sql($node, q{CREATE OR REPLACE FUNCTION inner_twice(i bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT i * 20 $$});
sql($node, q{ALTER DOMAIN score SET DEFAULT 2});
produce('prepared', 2, 2);
wait_for_consumed($node, $broker, 'prepared');
is(sql($node, "$row 2"), 'second|second|40|2', 'replaced functions, and the default of a domain, are used');

sql($node, q{CREATE OR REPLACE FUNCTION passes(i bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT i <> 3 $$});
sql($node, q{ALTER DOMAIN score ADD CONSTRAINT small CHECK (VALUE < 3)});
sql($node, q{ALTER DOMAIN score SET DEFAULT 3});
produce('prepared', 3, 4);
wait_for_consumed($node, $broker, 'prepared');
sql($node, q{ALTER DOMAIN score SET DEFAULT 1});
produce('prepared', 5, 5);
wait_for_consumed($node, $broker, 'prepared');
is( sql($node, q{SELECT "offset", sqlstate FROM eddy.dead_letters WHERE stream = 'prepared'::regclass ORDER BY "offset"}),
	"2|23514\n3|23514",
	'a replaced CHECK function and a new constraint of a domain are used');
is(sql($node, "$row 5"), 'second|second|100|1', 'rows that satisfy the new constraints are counted');

#
# Locks under traffic
#

$broker->create_topic('traffic', 2);
sql($node, q{
CREATE UNLOGGED TABLE traffic (id bigint, item text);
SELECT eddy.create_stream('traffic', retention => '0');
SELECT eddy.create_continuous_view('traffic_sum', 'SELECT count(*) AS n, sum(id) AS ids FROM traffic');
SELECT eddy.attach_kafka('traffic', server => 'kafka', topic => 'traffic');
});
wait_for_state($node, 'traffic', 'running');
my $id = 0;
my $recipe = q{
BEGIN;
SELECT eddy.drop_continuous_view('traffic_sum');
SELECT eddy.create_continuous_view('traffic_sum', 'SELECT count(*) AS n, sum(id) AS ids FROM traffic');
SELECT eddy.seek('traffic', 'traffic', '"earliest"');
COMMIT};
my $failures = '';
foreach my $round (1 .. 30)
{
	# batches are consumed while the commands run
	$broker->produce('traffic',
		map { $id++; [ $id % 2, undef, qq({"id": $id}) ] } 1 .. 200);
	foreach my $script (
		qq{BEGIN; SELECT eddy.pause('traffic'); ALTER TABLE traffic ADD COLUMN c$round int;
		   SELECT eddy.resume('traffic'); COMMIT},
		$recipe,
		q{BEGIN; DROP VIEW traffic_sum;
		  SELECT eddy.create_continuous_view('traffic_sum', 'SELECT count(*) AS n, sum(id) AS ids FROM traffic');
		  SELECT eddy.seek('traffic', 'traffic', '"earliest"'); COMMIT},
		q{BEGIN; SELECT eddy.pause('traffic'); ALTER TABLE traffic RENAME COLUMN item TO thing;
		  ALTER TABLE traffic RENAME COLUMN thing TO item; SELECT eddy.resume('traffic'); COMMIT})
	{
		my ($out, $err) = ('', '');
		my $ret = $node->psql('postgres', $script, stdout => \$out, stderr => \$err,
			on_error_stop => 1);
		$failures .= $err if $ret != 0;
	}
}
is($failures, '', 'no command fails');
wait_for_consumed($node, $broker, 'traffic');
is(sql($node, 'TABLE traffic_sum'), "$id|" . $id * ($id + 1) / 2, 'every message is counted once');
unlike(slurp_file($node->logfile), qr/deadlock detected|tuple concurrently/,
	'no deadlock has occurred');

#
# Rotation
#

sql($node, q{
CREATE FUNCTION planned() RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
$$ BEGIN RAISE WARNING 'planned'; RETURN 0; END $$});
my $plans = q{
SET plan_cache_mode = force_generic_plan;
PREPARE by_plan AS SELECT count(*) >= 0 FROM goods WHERE id > planned();
EXECUTE by_plan;
EXECUTE by_plan;
UPDATE eddy._segment SET opened_at = now() - interval '45 minutes'
WHERE stream = 'goods'::regclass AND opened_at IS NOT NULL AND closed_at IS NULL;
SELECT eddy._notify();
DO $$
BEGIN
    FOR i IN 1 .. 600 LOOP
        EXIT WHEN EXISTS (SELECT FROM eddy._segment WHERE stream = 'goods'::regclass
            AND closed_at > now() - interval '1 minute');
        PERFORM eddy._notify(); COMMIT; PERFORM pg_sleep(0.05);
    END LOOP;
END $$;
SELECT 'closed' FROM eddy._segment WHERE stream = 'goods'::regclass AND closed_at IS NOT NULL;
EXECUTE by_plan;
};
my ($out, $err) = ('', '');
$node->psql('postgres', $plans, stdout => \$out, stderr => \$err);
like($out, qr/closed/, 'the segment was closed by the database worker');
is(scalar(() = $err =~ /WARNING:  planned/g), 1, 'a rotation does not invalidate plans');

#
# Dump and restore, with several sessions
#

my $dump = PostgreSQL::Test::Utils::tempdir() . '/streams.dump';
sql($node, 'CREATE DATABASE restored');
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
$node->command_ok([ 'pg_restore', '-j', '3', '-d', $node->connstr('restored'), $dump ], 'pg_restore');
$node->safe_psql('restored', q{
CREATE ROLE keeper;
ALTER TABLE prepared OWNER TO keeper;
INSERT INTO goods VALUES (1000, 'by a user');
});
is($node->safe_psql('restored', 'SELECT n FROM goods_sum'), $last + 1, 'a restored stream is maintained');
($out, $err) = ('', '');
is( $node->psql('restored',
		'SET ROLE keeper; ALTER TABLE eddy._prepared_segment_1 NO INHERIT prepared',
		stdout => \$out, stderr => \$err),
	3,
	'a restored segment is guarded');
like($err, qr/cannot alter segment/, '... also against its owner');
is( $node->psql('restored', 'SET ROLE keeper; DROP TABLE prepared', stdout => \$out, stderr => \$err),
	0,
	'dropping a restored stream drops its segments');

#
# Subscriptions
#

sql($node, q{CREATE DATABASE publisher});
$node->safe_psql('publisher', q{
CREATE TABLE rows_in (id bigint PRIMARY KEY, item text);
INSERT INTO rows_in VALUES (1, 'one');
CREATE PUBLICATION pub FOR TABLE rows_in;
SELECT pg_create_logical_replication_slot('sub', 'pgoutput');
});
sql($node, q{
CREATE UNLOGGED TABLE rows_in (id bigint PRIMARY KEY, item text);
SELECT eddy.create_stream('rows_in');
SELECT eddy.create_continuous_view('rows_sum', 'SELECT count(*) AS n, sum(id) AS ids FROM rows_in');
});
my $connection = $node->connstr . ' dbname=publisher';
my $subscribe = qq{CREATE SUBSCRIPTION sub CONNECTION '$connection' PUBLICATION pub
	WITH (create_slot = false, slot_name = 'sub', copy_data = false)};
($out, $err) = ('', '');
is($node->psql('postgres', $subscribe, stdout => \$out, stderr => \$err), 3,
	'CREATE SUBSCRIPTION onto a stream is refused');
like($err, qr/cannot replicate into stream "rows_in"/, '... with the reason');

$node->safe_psql('publisher', q{ALTER PUBLICATION pub DROP TABLE rows_in});
sql($node, $subscribe);
$node->safe_psql('publisher', q{ALTER PUBLICATION pub ADD TABLE rows_in});
is( $node->psql('postgres', 'ALTER SUBSCRIPTION sub REFRESH PUBLICATION WITH (copy_data = false)',
		stdout => \$out, stderr => \$err),
	3,
	'ALTER SUBSCRIPTION ... REFRESH is refused');
like($err, qr/cannot replicate into stream "rows_in"/, '... with the reason');

# a row of pg_subscription_rel that was inserted directly: the apply worker fails
my $offset = -s $node->logfile;
sql($node, q{
SET allow_system_table_mods = on;
INSERT INTO pg_subscription_rel SELECT oid, 'rows_in'::regclass, 'r', NULL FROM pg_subscription});
$node->safe_psql('publisher', q{
INSERT INTO rows_in VALUES (2, 'two');
UPDATE rows_in SET item = 'three' WHERE id = 2;
DELETE FROM rows_in WHERE id = 1});
$node->restart;
ok( wait_for_log_line($node, qr/cannot replicate into stream "rows_in"/, $offset),
	'the apply worker fails');
is(sql($node, 'TABLE rows_sum'), '0|', 'no row was applied');
is(sql($node, 'SELECT count(*) FROM rows_in'), '0', 'no row was stored');

done_testing();
