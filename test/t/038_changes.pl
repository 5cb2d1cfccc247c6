# 038_changes.pl: eddy.changes, by pollers with small limits, while writers change the same groups and the server crashes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{EDDY_SEED} // time();
note("EDDY_SEED=$seed");
srand($seed);

my $node = new_node('changes', 'autovacuum = off');
my $bindir = $node->config_data('--bindir');
my $dir = PostgreSQL::Test::Utils::tempdir();

sql($node, q{
CREATE UNLOGGED TABLE s (k int, g text, v int);
SELECT eddy.create_stream('s', retention => '0');
SELECT eddy.create_continuous_view('v', 'SELECT k, sum(v) AS total, count(*) AS n FROM s GROUP BY k HAVING sum(v) % 3 <> 0');
SELECT eddy.keep_changes('v', channel => 'v_changed');
CREATE ROLE poller LOGIN;
GRANT SELECT ON v TO poller;
});

# Transactions that have an ID long before they change groups, several statements, savepoints, rollbacks, and deletes
my $writer = q{DO $$
BEGIN
	LOOP
		PERFORM pg_current_xact_id();
		FOR i IN 1 .. 1 + (random() * 3)::int LOOP
			BEGIN
				-- one group at a time: in any order, without deadlocks
				INSERT INTO s SELECT k, 'g', 1 + random() * 5 FROM (SELECT (random() * 12)::int) AS r(k), generate_series(1, 2);
				IF random() < 0.05 THEN
					DELETE FROM v WHERE k = (random() * 12)::int;
				END IF;
				IF random() < 0.1 THEN
					RAISE EXCEPTION 'rolled back';
				END IF;
			EXCEPTION WHEN raise_exception OR deadlock_detected THEN NULL;
			END;
		END LOOP;
		IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
	END LOOP;
END $$};

sub start_writers
{
	return map { start_process("$dir/writer$_", "$bindir/psql", '-X', '-q', '-d', $node->connstr('postgres'), '-c', $writer) } 1 .. 4;
}

# Their sessions do not notice that psql has ended.
sub stop_writers
{
	sql($node, "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE query LIKE 'DO \$%'");
	stop_process($_, 'TERM') foreach @_;
	return;
}

# A poller has a copy of the view. Each change must fit to it: a lost, repeated or reordered one would not.
my @errors;

sub start_poller
{
	my ($name) = @_;
	# the token and the rows are of one snapshot
	my ($token, @rows) = split /\n/, sql($node, q{
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT eddy.change_token('v');
SELECT * FROM v;
COMMIT;
});
	my %rows = map { my @f = split /\|/; ($f[0] => "$f[1]|$f[2]") } @rows;

	return { name => $name, token => $token, rows => \%rows, changes => 0 };
}

sub poll
{
	my ($poller, $limit) = @_;
	my $result = '';
	my @lines;

	# as a role without REPLICATION
	$node->psql('postgres', "SELECT json_build_array(token, op, key, after) FROM eddy.changes('v', '$poller->{token}', $limit)",
		stdout => \$result, extra_params => [ '-U', 'poller' ]);
	@lines = split /\n/, $result;
	foreach my $line (@lines)
	{
		my ($token, $op, $key, $after) = @{ decode_json($line) };
		my $known = exists $poller->{rows}{ $key->{k} };

		push @errors, "$poller->{name}: $op of " . ($known ? 'existing' : 'missing') . " row: $line" if ($op eq 'c') == $known;
		if ($op eq 'd')
		{
			delete $poller->{rows}{ $key->{k} };
		}
		else
		{
			# each change adds two values to a group; a group that was not visible may have changed before
			my ($n) = $known ? $poller->{rows}{ $key->{k} } =~ /\|(\d+)/ : (undef);
			push @errors, "$poller->{name}: group with $n values before: $line" if defined $n && $after->{n} < $n + 2;
			$poller->{rows}{ $key->{k} } = "$after->{total}|$after->{n}";
		}
		$poller->{token} = $token;
		$poller->{changes}++;
	}
	return scalar @lines;
}

sub check_pollers
{
	my ($what, @pollers) = @_;
	my $rows = sql($node, 'SELECT * FROM v ORDER BY k');

	foreach my $poller (@pollers)
	{
		1 while poll($poller, 1000) > 0;
		is(join("\n", map { "$_|$poller->{rows}{$_}" } sort { $a <=> $b } keys %{ $poller->{rows} }), $rows, "$poller->{name}: equal to the view $what");
		cmp_ok($poller->{changes}, '>', 20, "... after $poller->{changes} changes");
	}
	return;
}

my @pollers = (start_poller('first'));
my @writers = start_writers();

# a transaction that stays in progress while others commit
my $psql = $node->background_psql('postgres');
$psql->query_safe("BEGIN; INSERT INTO s VALUES (100, 'g', 1), (100, 'g', 1);");
push @pollers, start_poller('second');
foreach my $round (1 .. 25)
{
	poll($_, 1 + int rand 30) foreach @pollers;
	$psql->query_safe('COMMIT;') if $round == 15;
}
$psql->quit;
restart_node($node);
stop_writers(@writers);
check_pollers('after a crash', @pollers);

@writers = start_writers();
push @pollers, start_poller('third');
foreach (1 .. 10)
{
	poll($_, 1 + int rand 30) foreach @pollers;
}
stop_writers(@writers);
check_pollers('at the end', @pollers);
is(join("\n", @errors), '', 'each change was received once, in order');

# Notifications: one for a transaction
my $out = sql($node, q{LISTEN v_changed; BEGIN; INSERT INTO s VALUES (1, 'g', 1), (1, 'g', 1); INSERT INTO s VALUES (2, 'g', 3), (3, 'g', 3); COMMIT; SELECT 1});
is(scalar(() = $out =~ /notification "v_changed" with payload "public\.v"/g), 1, 'one notification for a transaction');

# Changes that become visible by the clock, and by merging what was deferred
sql($node, q{
CREATE UNLOGGED TABLE clocked (k text, v integer);
SELECT eddy.create_stream('clocked');
SELECT eddy.create_continuous_view('every', 'SELECT k, sum(v) AS t FROM clocked GROUP BY k', emit => 'every 1 s');
SELECT eddy.create_continuous_view('folded', 'SELECT k, sum(v) AS t FROM clocked GROUP BY k', maintenance => 'deferred');
SELECT eddy.keep_changes('every'), eddy.keep_changes('folded');
});
my %first = map { $_ => sql($node, "SELECT eddy.change_token('$_')") } qw(every folded);
sql($node, "INSERT INTO clocked VALUES ('a', $_)") foreach 1 .. 3;
foreach my $view (qw(every folded))
{
	wait_until($node, qq{SELECT after ->> 't' = '6' FROM eddy.changes('$view', '$first{$view}') WITH ORDINALITY ORDER BY ordinality DESC LIMIT 1},
		"the last change of view $view is kept");
	is( sql($node, qq{SELECT op FROM eddy.changes('$view', '$first{$view}') LIMIT 1}),
		'c', "the first change of view $view creates the row");
}
cmp_ok(sql($node, qq{SELECT count(*) FROM eddy.changes('every', '$first{every}')}), '<=', 2, 'changes in between are not');

# Rows that users delete, also those of a view whose deltas are merged later, and the notification of that
sql($node, q{SELECT eddy.keep_changes('folded', channel => 'folded_changed')});
my $token = sql($node, q{SELECT eddy.change_token('folded')});
$out = sql($node, q{LISTEN folded_changed; DELETE FROM folded WHERE k = 'a'; SELECT 1});
is(scalar(() = $out =~ /notification "folded_changed" with payload "public\.folded"/g), 1, 'deleting a row of a deferred view notifies');
is(sql($node, qq{SELECT op, key FROM eddy.changes('folded', '$token')}), 'd|{"k":"a"}', '... and is kept as a change');
sql($node, q{DELETE FROM folded});
is(sql($node, qq{SELECT count(*) FROM eddy.changes('folded', '$token')}), 1, '... once');
sql($node, "SELECT eddy.keep_changes('every', NULL), eddy.keep_changes('folded', NULL)");

#
# Retention
#

my $old = start_poller('old');
sql($node, "INSERT INTO s VALUES (1, 'g', 1), (1, 'g', 1), (2, 'g', 1), (2, 'g', 1), (3, 'g', 2), (3, 'g', 2)");
sql($node, "SELECT eddy.keep_changes('v', '0')");
# the database worker looks for changes to remove when this clock says so
foreach my $offset (1 .. 100)
{
	$node->append_conf('postgresql.conf', 'pg_eddy.test_clock_offset = ' . $offset * 100);
	$node->reload;
	sql($node, "SELECT eddy.keep_changes('v', '0')");    # wakes it up
	last if sql($node, 'SELECT count(*) FROM eddy._change') eq '0';
	Time::HiRes::sleep(0.1);                                # before the next attempt
}
is(sql($node, 'SELECT count(*) FROM eddy._change'), '0', 'changes are removed after their retention');
my ($status, $stdout, $stderr) = $node->psql('postgres', "SELECT * FROM eddy.changes('v', '$old->{token}')");
like($stderr, qr/changes of continuous view "v" after the token were removed/, 'a token from before is refused');
sql($node, "SELECT eddy.keep_changes('v', '1 day')");
my $new = start_poller('new');
sql($node, "INSERT INTO s VALUES (1, 'g', 3), (1, 'g', 1), (2, 'g', 1), (2, 'g', 3)");
poll($new, 10);
cmp_ok($new->{changes}, '>', 0, 'a later token is accepted');

$node->stop;
done_testing();
