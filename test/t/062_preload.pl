# 062_preload.pl: pg_stat_statements and auto_explain loaded before and after pg_eddy, and the processes
# that load librdkafka.
#
# All three have executor hooks, and pg_stat_statements and pg_eddy also have planner and utility hooks.
# auto_explain instruments all nested statements, including the delta queries of views, and prints
# their plans with the custom scan. Results must not change: the same statements, and messages
# of a broker, have the same results with and without these modules.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = start_broker();
$broker->create_topic('events', 2);
$broker->produce(
	'events',
	(map { [ $_ % 2, "k$_", "{\"id\": $_, \"kind\": \"k@{[ $_ % 7 ]}\", \"qty\": @{[ $_ % 11 ]}}" ] }
		  1 .. 500),
	[ 0, 'poison', '{"id": "x"}' ],
	'#commit',
	(map { [ $_ % 2, "a$_", "{\"id\": -$_, \"kind\": \"aborted\", \"qty\": 1}" ] } 1 .. 50),
	'#abort');

# Statements on a stream that involve the planner, executor and utility hooks.
my $statements = q{
CREATE FUNCTION scaled(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql
	AS 'BEGIN RETURN $1 * 10; END';
CREATE TABLE kinds (kind text PRIMARY KEY, title text);
INSERT INTO kinds SELECT 'k' || g, 'Kind ' || g FROM generate_series(0, 6) g;
CREATE UNLOGGED TABLE events (id bigint, kind text, qty integer);
SELECT eddy.create_stream('events');
INSERT INTO events SELECT g, 'k' || g % 7, g % 5 FROM generate_series(1001, 1100) g;
SELECT eddy.create_continuous_view('staged', 'SELECT kind, count(*) AS n FROM events GROUP BY kind',
	start => 'staged');
SELECT eddy.create_continuous_view('per_kind',
	'SELECT k.title, count(*) AS n, avg(scaled(e.qty)) AS mean, sum(e.qty) FILTER (WHERE e.id % 2 = 0)
	 FROM events e JOIN kinds k USING (kind) GROUP BY k.title');
SELECT eddy.create_continuous_view('ratio',
	'SELECT kind, 1000 / sum(qty) AS ratio, sum(100 / qty) AS pieces FROM events GROUP BY kind
	 HAVING count(*) > 1');
INSERT INTO events SELECT g, 'k' || g % 7, g % 5 FROM generate_series(2001, 2100) g;
BEGIN;
INSERT INTO events VALUES (3001, 'k1', 1);
SAVEPOINT one;
INSERT INTO events VALUES (3002, 'k1', 1);
ROLLBACK TO one;
WITH first AS (INSERT INTO events VALUES (3003, 'k2', 2) RETURNING qty),
	second AS (INSERT INTO events VALUES (3004, 'k2', 2) RETURNING qty)
INSERT INTO events SELECT 3005, 'k3', qty FROM first UNION ALL SELECT 3006, 'k3', qty FROM second;
COMMIT;
CREATE FUNCTION add_event(bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO events VALUES ($1, 'k4', 3);
	BEGIN
		INSERT INTO events VALUES ($1 + 1, 'k4', 0);
		RAISE EXCEPTION 'undo';
	EXCEPTION WHEN raise_exception THEN NULL;
	END;
	RETURN (SELECT n FROM staged WHERE kind = 'k4');
END $$;
SELECT add_event(g) FROM generate_series(4001, 4010, 2) g;
CREATE TABLE log (id bigint);
CREATE FUNCTION log_event() RETURNS trigger LANGUAGE plpgsql
	AS 'BEGIN INSERT INTO events VALUES (NEW.id, ''k5'', 4); RETURN NEW; END';
CREATE TRIGGER log_event AFTER INSERT ON log FOR EACH ROW EXECUTE FUNCTION log_event();
INSERT INTO log SELECT generate_series(5001, 5010);
COPY events FROM PROGRAM 'printf "6001\tk6\t1\n6002\tk6\t0\n"';
MERGE INTO events e USING (VALUES (7001::bigint)) v(id) ON e.id = v.id
	WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'k0', 5);
PREPARE add(bigint) AS INSERT INTO events VALUES ($1, 'k0', 6);
EXECUTE add(8001);
EXPLAIN (COSTS off) INSERT INTO events VALUES (9001, 'k0', 7);
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) INSERT INTO events VALUES (9002, 'k0', 7);
SELECT eddy.attach_kafka('events', server => 'kafka', topic => 'events');
};

my $results = q{
SELECT 'staged', to_jsonb(s) FROM staged s
UNION ALL SELECT 'per_kind', to_jsonb(p) FROM per_kind p
UNION ALL SELECT 'ratio', to_jsonb(r) FROM ratio r
UNION ALL SELECT 'dead', jsonb_build_array(view, partition, "offset", error, sqlstate)
	FROM eddy.dead_letters
UNION ALL SELECT 'rows', to_jsonb(count(*)) FROM events
ORDER BY 1, 2};

my @configurations = (
	[ 'alone', 'pg_eddy' ],
	[ 'behind', 'pg_stat_statements, auto_explain, pg_eddy' ],
	[ 'before', 'pg_eddy, pg_stat_statements, auto_explain' ]);
my $expected;

foreach my $configuration (@configurations)
{
	my ($name, $libraries) = @$configuration;
	my @settings = ("shared_preload_libraries = '$libraries'");

	push @settings,
	  "pg_stat_statements.track = 'all'",
	  'pg_stat_statements.track_planning = on',
	  'auto_explain.log_min_duration = 0',
	  'auto_explain.log_nested_statements = on',
	  'auto_explain.log_analyze = on',
	  'auto_explain.log_buffers = on',
	  'auto_explain.log_wal = on',
	  'auto_explain.log_triggers = on',
	  'auto_explain.log_verbose = on',
	  'auto_explain.log_settings = on'
	  if $name ne 'alone';

	my $node = new_node($name, @settings);
	attach_server($node, $broker->address);
	sql($node, $statements);
	wait_for_consumed($node, $broker, 'events');
	my $got = sql($node, $results);

	if ($name eq 'alone')
	{
		$expected = $got;
		isnt($got, '', 'the statements have results');
	}
	else
	{
		is($got, $expected, "pg_eddy $name the other modules: same results");
		like(
			slurp_file($node->logfile),
			qr/Custom Scan \(Eddy/,
			"auto_explain prints the plans of delta queries");
		sql($node, 'CREATE EXTENSION pg_stat_statements');
		sql($node, 'SELECT pg_stat_statements_reset()');
		sql($node, q{INSERT INTO events VALUES (9003, 'k0', 7)});
		is( sql($node,
				q{SELECT calls, rows FROM pg_stat_statements
					WHERE query = 'INSERT INTO events VALUES ($1, $2, $3)' AND toplevel}
			),
			'1|1',
			"pg_stat_statements counts the statement once");
		is( sql($node,
				q{SELECT state, error FROM eddy.sources WHERE topic = 'events'}),
			'running|', 'the source runs');
	}
	is(sql($node, q{SELECT n FROM staged WHERE kind = 'aborted'}),
		'', 'aborted messages are not counted');
	unlike(
		slurp_file($node->logfile),
		qr/terminated by signal|PANIC:|TRAP:/,
		"no process crashed with pg_eddy $name");
	$node->stop;
}

#
# Only processes that use librdkafka load it: source workers, and sessions that create servers or
# attach sources. The server starts without it.
#

SKIP:
{
	skip 'no /proc', 1 unless -r '/proc/self/maps';
	my $node = new_node('libraries');
	my $loaded = q{SELECT pg_read_file('/proc/self/maps') ~ 'librdkafka'};
	my $processes = q{
		SELECT backend_type FROM pg_stat_activity
		WHERE pg_read_file('/proc/' || pid || '/maps') ~ 'librdkafka' AND backend_type LIKE 'eddy%'};
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my ($out, $err);

	is(sql($node, $loaded), 'f', 'a session does not load librdkafka');
	is( sql($node, qq{
			CREATE UNLOGGED TABLE events (id bigint, kind text, qty integer);
			SELECT eddy.create_stream('events') IS NULL;
			SELECT eddy.create_continuous_view('kinds', 'SELECT kind, count(*) FROM events GROUP BY kind');
			INSERT INTO events VALUES (1, 'a', 1);
			$loaded}),
		"f\nkinds\nf",
		'a session that maintains views does not load librdkafka');
	attach_server($node, $broker->address);
	is( sql($node, qq{ALTER SERVER kafka OPTIONS (ADD "client.rack" 'a'); $loaded}),
		't', 'a session that checks the options of a server loads librdkafka');
	is( sql($node,
			qq{SELECT eddy.attach_kafka('events', server => 'kafka', topic => 'events'); $loaded}),
		"1\nt",
		'a session that attaches a source loads librdkafka');
	wait_for_state($node, 'events', 'running');
	is(sql($node, $processes), 'eddy source worker', 'of the workers, only source workers load librdkafka');
	unlike(slurp_file("/proc/$postmaster/maps"), qr/librdkafka/, 'the postmaster does not load librdkafka');

	# A build of pg_eddy_kafka that does not match the running pg_eddy, as after an installation
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $version = sql($node, q{SELECT extversion FROM pg_extension WHERE extname = 'pg_eddy'});
	my $library = slurp_file($node->config_data('--pkglibdir') . '/pg_eddy_kafka.so');
	ok($library =~ s/(\Q$version\E-)(\d+)/$1 . '0' x length $2/e, 'the library contains its build');
	open(my $file, '>:raw', "$dir/pg_eddy_kafka.so") or die "could not write: $!";
	print $file $library;
	close($file);
	chmod(0755, $dir, "$dir/pg_eddy_kafka.so");
	sql($node, qq{ALTER SYSTEM SET dynamic_library_path = '$dir:\$libdir'});
	$node->reload;
	wait_until($node, q{SELECT current_setting('dynamic_library_path') <> '$libdir'},
		'the setting takes effect');
	$node->psql('postgres', q{ALTER SERVER kafka OPTIONS (SET "client.rack" 'b')}, stderr => \$err);
	like($err, qr/library "pg_eddy_kafka" does not match the loaded library "pg_eddy"/,
		'a library of another build is refused');
	is(sql($node, q{SELECT state FROM eddy.sources}), 'running', 'running workers are not affected');
	sql($node, q{SELECT pg_terminate_backend(pid) FROM eddy.sources});
	wait_for_state($node, 'events', 'waiting', 'could not be started');
	sql($node, 'ALTER SYSTEM RESET dynamic_library_path');
	$node->reload;
	wait_for_state($node, 'events', 'running');

	# Without pg_eddy the error names the setting, not missing symbols
	$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
	$node->restart;
	$node->psql('postgres', q{ALTER SERVER kafka OPTIONS (SET "client.rack" 'b')}, stderr => \$err);
	like($err, qr/pg_eddy must be loaded via "shared_preload_libraries"/,
		'without preloading, the error names the setting');
	$node->stop;
}

done_testing();
