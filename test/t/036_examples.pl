# 036_examples.pl: the programs in examples/, each killed several times while a view changes.
#
# Each keeps a table of another database equal to a view, which it is at the end, whenever the program or
# the server was killed.

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

my $examples = "$EddyTest::root/examples";
my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = new_node('examples', 'autovacuum = off', "wal_sender_timeout = '5s'");
my $source = $node->connstr('postgres');
my $host = $node->host;
my $port = $node->port;
$ENV{PATH} = $node->config_data('--bindir') . ":$ENV{PATH}";

sql($node, q{
CREATE UNLOGGED TABLE s (k int, g text, v bigint, f float8, n numeric, at timestamptz);
SELECT eddy.create_stream('s');
SELECT eddy.create_continuous_view('v', $$
	SELECT k, g, sum(v) AS total, avg(n) AS mean, max(f) AS f, max(at) AS "the time", count(*) AS n
	FROM s GROUP BY k, g HAVING sum(v) > 0 $$);
CREATE DATABASE shadow;
});

sub insert_rows
{
	my ($count) = @_;

	sql($node, "INSERT INTO s SELECT (random() * 40)::int, (ARRAY['it''s', E'back\\\\slash\"', 'ü', NULL])[1 + random() * 3],
		(random() * 30 - 10)::bigint * 1000000000000, CASE WHEN random() < 0.05 THEN 'NaN' ELSE random() END, (random() * 100)::numeric / 7,
		timestamptz '2026-01-01' + random() * interval '1 year' FROM generate_series(1, $count) i");
	sql($node, 'DELETE FROM v WHERE total % 3000000000000 = 0') if rand() < 0.2;
	return;
}

# The rows of the view or of the shadow table, as one text
sub rows
{
	my ($database, $table) = @_;

	return $node->safe_psql($database, "SELECT string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\") FROM $table t");
}

# Runs a program with kills, and waits until its table is equal to the view.
sub check_example
{
	my ($name, $table, @command) = @_;
	my $log = "$dir/$name.log";
	my $deadline;

	# each is the leader of a process group, which is killed as a whole
	my $start = sub { return start_process($log, 'setsid', @command); };
	my $kill = sub {
		my ($pid) = @_;
		CORE::kill 'KILL', -$pid;
		return stop_process($pid, 'KILL');
	};

	foreach my $round (1 .. 3)
	{
		my $pid = $start->();

		foreach (1 .. 4)
		{
			insert_rows(1 + int rand 60);
			Time::HiRes::sleep(rand 0.4);    # so that kills hit different moments
		}
		if ($round == 2)
		{
			# the program ends by itself when the server is killed, or reconnects
			restart_node($node);
			insert_rows(20);
		}
		$kill->($pid);
	}
	my $pid = $start->();
	insert_rows(30);
	my ($got, $want) = ('', rows('postgres', 'v'));
	$deadline = time() + 60;
	while (time() < $deadline)
	{
		$got = rows('shadow', $table);
		last if $got eq $want;
		Time::HiRes::sleep(0.2);    # before the next poll
	}
	$kill->($pid);
	is($got, $want, "$name: the table is equal to the view") or diag(slurp_file("$log.err"));
	cmp_ok(length($want), '>', 500, '... which is not empty');
	sql($node, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active");
	return;
}

# A table like the view, filled as of the creation of a slot: with the changes since then, which can
# be applied again, it becomes equal. Returns the name of the table.
sub prepare
{
	my ($name, $plugin, $fill) = @_;
	my $table = "shadow_$name";
	my $columns = 'k int, g text, total numeric, mean numeric, f float8, "the time" timestamptz, n bigint';

	$node->safe_psql('shadow', "CREATE TABLE $table ($columns)");
	return $table unless $fill;
	sql($node, "SELECT pg_create_logical_replication_slot('$name', '$plugin')");
	sql($node, "COPY (SELECT * FROM v) TO '$dir/$name.copy'");
	$node->safe_psql('shadow', "COPY $table FROM '$dir/$name.copy'; CREATE SCHEMA $name;
		CREATE TABLE $name.applied (" . ($plugin eq 'pg_eddy_cdc' ? 'lsn pg_lsn, seq bigint' : 'lsn pg_lsn') . ");
		INSERT INTO $name.applied VALUES ('0/0'" . ($plugin eq 'pg_eddy_cdc' ? ', 0' : '') . ')');
	return $table;
}

insert_rows(200);

SKIP:
{
	skip 'psycopg2 is not installed', 2 if system('python3 -c "import psycopg2" 2>/dev/null') != 0;
	my $table = prepare('python', 'pg_eddy_cdc', 0);
	check_example('python', $table, 'python3', "$examples/python/shadow.py", $source, $node->connstr('shadow'), 'python', 'public.v', $table);
}

{
	my $table = prepare('polling', 'pg_eddy_cdc', 1);
	check_example('polling', $table, "$examples/polling/shadow.sh", $source,
		"host=$host port=$port dbname=shadow options='-c search_path=polling,public'", 'polling', 'public.v', $table);
}

{
	my $table = prepare('changes', 'pg_eddy_cdc', 0);
	sql($node, "SELECT eddy.keep_changes('v')");
	sql($node, 'CREATE ROLE reader LOGIN; GRANT SELECT ON v TO reader');
	$node->safe_psql('shadow', 'CREATE SCHEMA changes; CREATE TABLE changes.applied (token text)');
	check_example('changes', $table, "$examples/changes/shadow.sh", "$source user=reader",
		"host=$host port=$port dbname=shadow options='-c search_path=changes,public'", 'public.v', $table);
	sql($node, "SELECT eddy.keep_changes('v', NULL)");
}

{
	my $table = prepare('recvlogical', 'pg_eddy_cdc', 1);
	check_example('recvlogical', $table, "$examples/recvlogical/shadow.sh", $source,
		"host=$host port=$port dbname=shadow options='-c search_path=recvlogical,public'", 'recvlogical', 'public.v', $table, "$dir/received");
}

SKIP:
{
	skip 'Node.js and npm are not installed', 2 if system('node --version >/dev/null 2>&1 && npm --version >/dev/null 2>&1') != 0;
	system("mkdir $dir/node && cp $examples/node/* $dir/node/") == 0 or die 'could not copy the example';
	system("cd $dir/node && npm install --no-audit --no-fund --cache $dir/npm >$dir/npm.log 2>&1") == 0
	  or BAIL_OUT('npm install failed: ' . slurp_file("$dir/npm.log"));
	my $user = $ENV{PGUSER} // getpwuid($<);
	my $table = prepare('node', 'pg_eddy_wal2json', 1);
	my $url = sub { return "postgresql://$user\@localhost/$_[0]?host=" . $host =~ s{/}{%2F}gr . "&port=$port"; };
	check_example('node', $table, 'node', "$dir/node/shadow.js", $url->('postgres'),
		$url->('shadow') . '&options=-c%20search_path%3Dnode%2Cpublic', 'node', 'public.v', $table);
}

# These two load their libraries when they are built, which takes about a minute: "make test-clients"
SKIP:
{
	skip 'clients in Go and Java are tested by "make test-clients"', 4 unless $ENV{EDDY_CLIENTS};
	my $run_in = sub {
		my ($directory, $command) = @_;
		system("cp -r $examples/$directory $dir/ && cd $dir/$directory && HOME=$dir $command >$dir/$directory.build 2>&1") == 0
		  or BAIL_OUT("could not build the example in $directory: " . slurp_file("$dir/$directory.build"));
		return;
	};
	my $url = sub {
		my ($database, $more) = @_;
		return "jdbc:postgresql://localhost:$port/$database?user=" . ($ENV{PGUSER} // getpwuid($<)) . $more;
	};

	$run_in->('go', 'go build -o shadow .');
	my $table = prepare('go', 'pg_eddy_cdc', 1);
	check_example('go', $table, "$dir/go/shadow", "$source", "host=$host port=$port dbname=shadow search_path=go,public", 'go', 'public.v', $table);

	# pgjdbc has no Unix sockets
	$node->append_conf('postgresql.conf', "listen_addresses = 'localhost'");
	$node->append_conf('pg_hba.conf', 'host all,replication all localhost trust');
	$node->restart;
	$run_in->('java', 'mvn -q package');
	$table = prepare('java', 'pg_eddy_cdc', 1);
	check_example('java', $table, 'java', '-cp', "$dir/java/target/*:$dir/java/target/lib/*", 'Shadow',
		$url->('postgres', ''), $url->('shadow', '&currentSchema=java,public'), 'java', 'public.v', $table);
}

# The page, in a browser that shows it while the view changes
SKIP:
{
	skip 'the page is tested by "make test-clients" with Chromium', 3 unless $ENV{EDDY_CLIENTS};
	skip 'Chromium is not installed', 3 if system('chromium --version >/dev/null 2>&1') != 0;
	my $page_port = PostgreSQL::Test::Cluster::get_free_port();
	my $server = start_process("$dir/live", '/usr/bin/env', 'python3', "$examples/live/server.py", $source, 'public.v', $page_port);
	wait_until($node, q{SELECT count(*) > 0 FROM pg_replication_slots WHERE slot_name LIKE 'live%' AND active}, 'the server of the page follows the view');
	my $dom = '';
	my $before = sql($node, 'SELECT count(*) FROM v');
	my $browser = IPC::Run::start([ 'chromium', '--headless', '--no-sandbox', '--disable-gpu', "--user-data-dir=$dir/chromium", '--timeout=8000',
			'--dump-dom', "http://localhost:$page_port/" ], '>', \$dom, '2>', \my $err);
	foreach (1 .. 20)
	{
		insert_rows(5);
		Time::HiRes::sleep(0.2);    # so that the page shows several states
	}
	$browser->finish;
	stop_process($server, 'TERM');
	my @shown = sort map { join '|', /<td>([^<]*)<\/td>/g } $dom =~ /<tr data-key.*?<\/tr>/g;
	my @rows = sort split /\n/, sql($node, q{SELECT concat_ws('|', k, coalesce(g, ''), total, n) FROM v});
	# the numbers of JavaScript have fewer digits, so only the keys and counts are compared
	is(scalar(@shown), scalar(@rows), 'the page shows all rows');
	is_deeply([ sort map { my @f = split /\|/, $_; "$f[0]|$f[-1]" } @shown ], [ sort map { my @f = split /\|/, $_; "$f[0]|$f[-1]" } @rows ], '... as they are at the end');
	my ($changes) = $dom =~ /<span id="changes">(\d+)</;
	cmp_ok($changes, '>', $before + 10, '... after changes while it was open');
}

$node->stop;
done_testing();
