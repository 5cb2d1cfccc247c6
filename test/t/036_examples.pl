# 036_examples.pl: the programs in examples/, each killed several times while a view changes.
#
# Each keeps a table of another database equal to a view, which it is at the end, whenever the program or
# the server was killed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use Encode qw(encode_utf8);
use HTTP::Tiny ();
use JSON::PP;
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

SKIP:
{
	skip 'psycopg 3 is tested by "make test-clients"', 2 unless $ENV{EDDY_CLIENTS};
	skip 'psycopg 3 is not installed', 2 if system('python3 -c "import psycopg" 2>/dev/null') != 0;
	my $table = prepare('python3', 'pg_eddy_cdc', 1);
	check_example('python3', $table, 'python3', "$examples/python/shadow3.py", $source,
		"host=$host port=$port dbname=shadow options='-c search_path=python3,public'", 'python3', 'public.v', $table);
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
		# the tools keep what they load in the home directory
		system("cp -r $examples/$directory $dir/ && cd $dir/$directory && HOME=$dir/home $command >$dir/$directory.build 2>&1") == 0
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

# The page, in a browser that shows it while the view changes. Chromium is controlled with the protocol WebDriver.
SKIP:
{
	skip 'the page is tested by "make test-clients" with Chromium', 4 unless $ENV{EDDY_CLIENTS};
	skip 'Chromium is not installed', 4 if system('chromedriver --version >/dev/null 2>&1') != 0;
	my ($page_port, $driver_port) = map { PostgreSQL::Test::Cluster::get_free_port() } 1 .. 2;
	my $start = sub { return start_process("$dir/live", '/usr/bin/env', 'python3', "$examples/live/server.py", $source, 'public.v', $page_port); };
	my $server = $start->();
	my $driver = start_process("$dir/chromedriver", 'chromedriver', "--port=$driver_port");
	my $http = HTTP::Tiny->new(timeout => 120);
	my $session = '';
	my $call = sub {
		my ($method, $path, $content) = @_;
		my $answer = $http->request($method, "http://127.0.0.1:$driver_port$session$path", { content => encode_json($content // {}) });
		return $answer->{success} ? decode_json($answer->{content})->{value} : undef;
	};
	my $in_page = sub { return $call->('POST', '/execute/sync', { script => "return $_[0]", args => [] }) // ''; };

	# Waits until the page has all rows of the view. The columns with floating point numbers have another text in a browser.
	my $shows_view = sub {
		my ($name) = @_;
		my $want = sql($node, q{SELECT string_agg(concat_ws('|', k, coalesce(g, ''), total, mean, n), E'\n' ORDER BY k, g COLLATE "C" NULLS FIRST) FROM v});
		my $got = '';

		my $deadline = time() + 60;
		while ($got ne $want && time() < $deadline)
		{
			Time::HiRes::sleep(0.1);    # before the next poll
			my $rows = $in_page->(q{[...document.querySelectorAll('#rows tr')].map((line) => [0, 1, 2, 3, 6].map((i) => line.children[i].textContent))});
			$got = join "\n", map { encode_utf8(join '|', @$_) } sort { $a->[0] <=> $b->[0] || $a->[1] cmp $b->[1] } @{ ref $rows ? $rows : [] };
		}
		return is($got, $want, $name);
	};

	wait_until($node, q{SELECT count(*) > 0 FROM pg_replication_slots WHERE slot_name LIKE 'live%' AND active}, 'the server of the page follows the view', 60);
	my $deadline = time() + 60;
	until ($session || time() > $deadline)
	{
		my $answer = $call->('POST', '/session', { capabilities => { alwaysMatch => { 'goog:chromeOptions' =>
						{ args => [ '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', "--user-data-dir=$dir/chromium" ] } } } });
		$session = "/session/$answer->{sessionId}" if $answer;
		Time::HiRes::sleep(0.1);    # until the driver listens
	}
	$call->('POST', '/url', { url => "http://localhost:$page_port/" });
	$shows_view->('the page shows all rows');

	my $before = $in_page->(q{document.getElementById('changes').textContent});
	insert_rows(5) foreach 1 .. 20;
	$shows_view->('... and follows their changes');
	cmp_ok($in_page->(q{document.getElementById('changes').textContent}), '>', $before, '... without being loaded again');

	# The server is killed, and with it the program, which is started again. The page stays open.
	restart_node($node);
	stop_process($server, 'KILL');
	sql($node, 'DELETE FROM v WHERE k % 3 = 0');
	insert_rows(20);
	$server = $start->();
	$shows_view->('... and continues after a crash of the server');
	$call->('DELETE', '');
	stop_process($driver, 'TERM');
	stop_process($server, 'TERM');
}

$node->stop;
done_testing();
