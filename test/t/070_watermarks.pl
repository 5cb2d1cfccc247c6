# 070_watermarks.pl: watermarks of streams that read partitions of Kafka topics.
#
# Event times are seconds of one day. idle_timeout is an hour, and the test raises
# pg_eddy.test_clock_offset instead of waiting, so that nothing here depends on how fast the machine is.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

my $broker = start_broker();
my $node = new_node('watermarks');
attach_server($node, $broker->address);
sql($node, q{
CREATE FUNCTION at(seconds float8) RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN timestamptz '2026-01-01 00:00:00+00' + seconds * interval '1 second';
CREATE FUNCTION seconds(at timestamptz) RETURNS text LANGUAGE sql IMMUTABLE
RETURN coalesce(extract(epoch FROM at - at(0))::int::text, 'none');
});

# Creates a stream that has a delay of 5 seconds, and attaches a new topic of the same name.
sub new_stream
{
	my ($name, $partitions, $attach, $create) = @_;

	sql($node, qq{
CREATE UNLOGGED TABLE $name (key text, ts timestamptz);
SELECT eddy.create_stream('$name', event_time => 'ts', delay => '5 s', @{[ $create // "idle_timeout => '1 h'" ]});
SELECT eddy.create_continuous_view('${name}_counts', 'SELECT key, count(*) AS n FROM $name GROUP BY key');
SELECT eddy.create_continuous_view('${name}_final', 'SELECT w.window_start, w.window_end, key, count(*) AS n
	FROM $name, eddy.tumble(ts, ''10 s'') AS w GROUP BY w.window_start, w.window_end, key', emit => 'on_close');
});
	attach_topic($name, $partitions, $attach) if $partitions;
	return;
}

sub attach_topic
{
	my ($name, $partitions, $attach) = @_;

	$broker->create_topic($name, $partitions);
	sql($node, qq{SELECT eddy.attach_kafka('$name', server => 'kafka', topic => '$name' @{[ $attach // '' ]})});
	return;
}

# Produces rows, each a list [partition, second], and waits until they are consumed.
sub rows
{
	my ($topic, @rows) = @_;

	produce($topic, @rows);
	wait_for_consumed($node, $broker, $topic);
	return;
}

sub produce
{
	my ($topic, @rows) = @_;

	$broker->produce($topic,
		map { [ $_->[0], undef, sprintf '{"key": "%s", "ts": "2026-01-01T%02d:%02d:%02dZ"}',
			$_->[2] // 'k', $_->[1] / 3600, $_->[1] / 60 % 60, $_->[1] % 60 ] } @rows);
	return;
}

sub watermark
{
	my ($stream) = @_;

	return sql($node, "SELECT seconds(eddy.watermark('$stream'))");
}

# Waits for a watermark: what raises it is in another process.
sub watermark_becomes
{
	my ($stream, $want, $what) = @_;

	ok(wait_until($node, "SELECT seconds(eddy.watermark('$stream')) = '$want'", "$what ($want)"), $what);
	return;
}

# Waits until exactly these partitions are idle.
sub idle_become
{
	my ($stream, $want, $what) = @_;

	ok(wait_until(
			$node, qq{
SELECT coalesce(string_agg(partition::text, ' ' ORDER BY partition) FILTER (WHERE idle), '') = '$want'
FROM eddy.partitions WHERE stream = '$stream'::regclass}, "$what: idle are \"$want\""),
		$what);
	return;
}

# The same for users' rows, with time that passes: they are idle idle_timeout after the database worker has
# seen their number, which happens once a second.
sub advance_until_idle
{
	my ($stream, $want, $what) = @_;
	my $idle = '';

	for (my $try = 0; $try < 300 && $idle ne $want; $try++)
	{
		advance_clock($node, 7200) if $try % 15 == 0;
		Time::HiRes::sleep(0.1);    # before the next poll
		$idle = sql($node, qq{
SELECT coalesce(string_agg(partition::text, ' ' ORDER BY partition) FILTER (WHERE idle), '')
FROM eddy.partitions WHERE stream = '$stream'::regclass});
	}
	is($idle, $want, $what);
	return;
}

# The windows that are final: start, key and count of each.
sub final
{
	my ($stream) = @_;

	return sql($node, qq{
SELECT coalesce(string_agg(format('%s %s=%s', seconds(window_start), key, n), ', ' ORDER BY window_start, key), '')
FROM ${stream}_final});
}

sub holder
{
	my ($stream) = @_;

	return sql($node, qq{
SELECT concat_ws(' ', coalesce(held_topic, 'users'), held_partition) FROM eddy.streams WHERE stream = '$stream'::regclass});
}

#
# Two partitions: the minimum, not the maximum
#

new_stream('minimum');
is(holder('minimum'), 'users', 'a new stream has no watermark');
sql($node, q{SELECT eddy.attach_kafka('minimum', server => 'kafka', topic => 'minimum')});
is(holder('minimum'), 'minimum', 'a source that was never started holds the watermark');
$broker->create_topic('minimum', 2);
rows('minimum', [ 0, 42, 'x' ]);
is(watermark('minimum'), 'none', 'a partition without rows holds the watermark');
is(holder('minimum'), 'minimum 1', 'eddy.streams names the partition');
rows('minimum', [ 1, 7, 'y' ]);
is(watermark('minimum'), '2', 'the minimum of both partitions');
rows('minimum', [ 1, 31, 'y' ]);
is(watermark('minimum'), '26', 'the minimum follows the partition that is behind');
is(holder('minimum'), 'minimum 1', 'which is shown');
is(final('minimum'), '0 y=1', 'the window before the minimum is final');
is( sql($node, q{SELECT held_since > (SELECT updated_at FROM eddy.partitions WHERE topic = 'minimum' AND partition = 0)
		FROM eddy.streams WHERE stream = 'minimum'::regclass}),
	't', 'since its last rows');

# a new partition
$broker->tool('add-partitions', [ '-t', 'minimum', '-p', 3 ]);
sql($node, q{SELECT eddy.pause('minimum'); SELECT eddy.resume('minimum')});
wait_until($node, q{SELECT count(*) = 3 FROM eddy.partitions WHERE topic = 'minimum'}, 'the new partition is known');
rows('minimum', [ 0, 100 ], [ 1, 100 ]);
is(watermark('minimum'), '26', 'a new partition holds the watermark where it is');
rows('minimum', [ 2, 80 ]);
is(watermark('minimum'), '75', 'until it has a row');

#
# Idle partitions
#

# a partition that becomes idle releases the watermark, and closes windows, without any row
new_stream('released', 2);
rows('released', [ 0, 200 ], [ 1, 50 ]);
advance_clock($node, 1800);
rows('released', [ 0, 210 ]);
is(watermark('released'), '45', 'a partition is behind');
is(final('released'), '', 'its window is open');
advance_clock($node, 1900);
idle_become('released', '1', 'it becomes idle');
is(watermark('released'), '205', 'this releases the watermark');
is(final('released'), '50 k=1', 'and closes windows');

new_stream('idle', 3);
rows('idle', [ 0, 100 ], [ 1, 50 ]);
is(watermark('idle'), 'none', 'a silent partition holds the watermark');
idle_become('idle', '', 'no partition is idle before the timeout');
advance_clock($node, 7200);
idle_become('idle', '0 1 2', 'partitions without rows for idle_timeout are idle');
is(watermark('idle'), 'none', 'if all are idle, the watermark stays');
rows('idle', [ 0, 110 ]);
is(watermark('idle'), '105', 'the live partition moves it');
idle_become('idle', '1 2', 'rows make a partition live');
rows('idle', [ 1, 60 ]);
is(watermark('idle'), '105', 'the watermark does not go back when a partition wakes');
is(holder('idle'), 'idle 1', 'which then holds it');
rows('idle', [ 0, 200 ]);
is(watermark('idle'), '105', 'until the minimum passes it');
rows('idle', [ 1, 120 ]);
is(watermark('idle'), '115', 'it continues with the minimum');

# users' rows are one more input
sql($node, q{INSERT INTO idle VALUES ('u', at(150))});
is(watermark('idle'), '115', q{users' rows do not move the minimum of others});
rows('idle', [ 1, 190 ]);
is(watermark('idle'), '145', q{users' rows hold the watermark});
is(holder('idle'), 'users -1', q{users' rows are partition -1});
advance_until_idle('idle', '-1 0 1 2', q{users' rows become idle});
rows('idle', [ 0, 210 ], [ 1, 210 ]);
is(watermark('idle'), '205', q{idle users' rows do not hold the watermark});

# a source that is paused holds the watermark: its messages are not read
advance_clock($node, 7200);
idle_become('idle', '-1 0 1 2', 'all are idle again');
sql($node, q{SELECT eddy.pause('idle')});
idle_become('idle', '-1', 'partitions of a paused source are not idle');
sql($node, q{INSERT INTO idle VALUES ('u', at(1000))});
is(watermark('idle'), '205', 'a paused source holds the watermark where it is');
produce('idle', [ 1, 230, 'backlog' ]);
sql($node, q{SELECT eddy.resume('idle')});
wait_for_consumed($node, $broker, 'idle');
watermark_becomes('idle', '225', 'a partition with a backlog counts after the start, idle ones do not');
idle_become('idle', '0 2', 'partitions that have got no messages meanwhile are still idle');

# the worker waits for a lock
my $blocker = $node->background_psql('postgres');
$blocker->query_safe('BEGIN; LOCK TABLE idle IN SHARE MODE');
produce('idle', [ 1, 240 ]);
idle_become('idle', '', 'while the worker waits for a lock, no partition is idle');
$blocker->query_safe('COMMIT');
$blocker->quit;
wait_for_consumed($node, $broker, 'idle');
idle_become('idle', '0 2', 'afterwards they are');
is(watermark('idle'), '235', 'the watermark follows');

#
# The broker is away
#

advance_clock($node, 7200);
idle_become('idle', '-1 0 1 2', 'all are idle');
sql($node, q{INSERT INTO idle VALUES ('u', at(2000))});
is(watermark('idle'), '1995', 'only rows of users are live');
$broker->kill;
idle_become('idle', '', 'without the broker no partition is idle');
sql($node, q{INSERT INTO idle VALUES ('u', at(3000))});
is(watermark('idle'), '1995', 'without the broker the watermark stays');
advance_clock($node, 7200);
sql($node, q{INSERT INTO idle VALUES ('u', at(3000))});
is(watermark('idle'), '1995', 'however long the broker is away');
$broker->start;
idle_become('idle', '0 1 2', 'partitions that have got no messages are idle when the broker is back');
watermark_becomes('idle', '2995', 'the watermark continues');

#
# Crashes and restarts
#

my $pid = sql($node, q{SELECT pid FROM eddy.sources WHERE topic = 'idle'});
my $state = q{SELECT string_agg(format('%s %s', partition, seconds(max_event_time)), ' ' ORDER BY partition)
	FROM eddy.partitions WHERE stream = 'idle'::regclass};
my $before = sql($node, $state);
kill 'KILL', $pid;
wait_until($node, qq{SELECT pid <> $pid FROM eddy.sources WHERE topic = 'idle' AND state = 'running'},
	'the worker was started again');
is(watermark('idle'), '2995', 'the watermark survives kill -9 of the worker');
is(sql($node, $state), $before, 'so do those of the partitions');
restart_node($node);
is(watermark('idle'), '2995', 'and an immediate stop of the server');
wait_until($node, qq{SELECT count(*) = 1 FROM eddy.sources WHERE topic = 'idle' AND state = 'running'},
	'the worker was started again');
is(sql($node, $state), $before, 'with the partitions');
rows('idle', [ 0, 5000 ], [ 1, 4000 ], [ 2, 4500 ]);
sql($node, q{INSERT INTO idle VALUES ('u', at(6000))});
is(watermark('idle'), '3995', 'the minimum counts afterwards');

#
# An open transaction: what follows it cannot be read
#

new_stream('open', 2);
rows('open', [ 0, 100 ], [ 1, 100 ]);
my ($in, $out, $err) = (qq{0\t{"key": "late", "ts": "2026-01-01T00:02:00Z"}\n}, '', '');
my $producer = IPC::Run::start(
	[ kafka_tool(), 'produce', '-b', $broker->address, '-t', 'open', '-f', 'pv', '-x', 'open' ],
	'<', \$in, '>', \$out, '2>', \$err);
$producer->pump_nb while length $in;
wait_until($node, q{SELECT lag = 1 FROM eddy.partitions WHERE topic = 'open' AND partition = 0},
	'the message is in the topic');
advance_clock($node, 7200);
idle_become('open', '0 1', 'a partition that was read to its last stable offset is idle');
rows_of_partition('open', [ 1, 200 ]);
is(watermark('open'), '195', 'it does not hold the watermark');
$in .= "#commit\n";
$producer->finish;
wait_for_consumed($node, $broker, 'open');
idle_become('open', '', 'the committed message makes it live');
is(watermark('open'), '195', 'the watermark stays');

# As rows, if another partition cannot be read to its end.
sub rows_of_partition
{
	my ($topic, $row) = @_;
	my $count = sql($node, "SELECT rows FROM eddy.partitions WHERE topic = '$topic' AND partition = $row->[0]");

	produce($topic, $row);
	return wait_until(
		$node,
		"SELECT rows > $count FROM eddy.partitions WHERE topic = '$topic' AND partition = $row->[0]",
		'the row is consumed');
}

#
# Several sources: one minimum; detaching one
#

new_stream('two_topics', 1);
$broker->create_topic('second', 1);
sql($node, q{SELECT eddy.attach_kafka('two_topics', server => 'kafka', topic => 'second')});
rows('two_topics', [ 0, 100 ]);
is(watermark('two_topics'), 'none', 'the second source holds the watermark');
rows('second', [ 0, 40 ]);
watermark_becomes('two_topics', '35', 'the partitions of all sources count in one minimum');
is(holder('two_topics'), 'second 0', 'the source is shown');
sql($node, q{SELECT eddy.detach_kafka('two_topics', 'second')});
watermark_becomes('two_topics', '95', 'the partitions of a source that is detached do not count');

#
# A view over UNION ALL of two streams: the minimum of both, without one that is idle
#

new_stream($_, 1) foreach 'left_side', 'right_side';
sql($node, q{
SELECT eddy.create_continuous_view('both_counts', 'SELECT u.key, count(*) AS n
	FROM (SELECT key FROM left_side UNION ALL SELECT key FROM right_side) u GROUP BY u.key');
SELECT eddy.create_continuous_view('both_final', 'SELECT w.window_start, w.window_end, u.key, count(*) AS n
	FROM (SELECT key, ts FROM left_side UNION ALL SELECT key, ts FROM right_side) u, eddy.tumble(u.ts, ''10 s'') AS w
	GROUP BY w.window_start, w.window_end, u.key', emit => 'on_close', late => 'keep');
-- the same over the windows of 10 seconds of each of them
SELECT eddy.create_continuous_view('sides_final', 'SELECT w.window_start, w.window_end, u.key, sum(u.n) AS n
	FROM (SELECT key, n, window_start AS ts FROM left_side_final UNION ALL SELECT key, n, window_start FROM right_side_final) u,
		eddy.tumble(u.ts, ''20 s'') AS w GROUP BY w.window_start, w.window_end, u.key', emit => 'on_close', late => 'keep');
});
sub final_becomes
{
	my ($view, $want, $what) = @_;

	ok( wait_until(
			$node, qq{
SELECT coalesce(string_agg(format('%s %s=%s', seconds(window_start), key, n), ', ' ORDER BY window_start, key), '') = '$want'
FROM ${view}_final}, "$what: $want"),
		$what) or diag(final($view));
	return;
}

rows('left_side', [ 0, 12 ], [ 0, 42 ]);
is(watermark('both_final'), 'none', 'a stream without rows holds the watermark of the view');
is(final('left_side'), '10 k=1', 'but not that of a view over the other stream');
rows('right_side', [ 0, 7 ], [ 0, 31 ]);
is(watermark('both_final'), '26', 'the minimum of both streams');
final_becomes('both', '0 k=1, 10 k=1', 'windows before the minimum are final, with the rows of both');

# batches of two sources that insert the same groups
produce($_, map { [ 0, 50 + int($_ / 100), 'n' . $_ % 700 ] } 1 .. 3000) foreach 'left_side', 'right_side';
wait_for_consumed($node, $broker, $_) foreach 'left_side', 'right_side';
equal_ok(
	$node, q{SELECT key, n FROM both_counts WHERE key ~ '^n'},
	q{SELECT 'n' || i % 700 AS key, 2 * count(*) AS n FROM generate_series(1, 3000) i GROUP BY 1},
	'the groups have all rows of both streams');
ok(wait_until($node, q{SELECT closed_until = at(75) FROM eddy.continuous_views WHERE view = 'both_final'::regclass},
		'windows are closed'), 'windows close when both streams have passed their end');
equal_ok(
	$node, q{SELECT seconds(window_start), key, n FROM both_final WHERE window_start >= at(50)},
	q{SELECT ((50 + i / 100) / 10 * 10)::text AS seconds, 'n' || i % 700 AS key, 2 * count(*) AS n
		FROM generate_series(1, 3000) i WHERE 50 + i / 100 < 70 GROUP BY 1, 2},
	'with the rows of both');
ok(wait_until($node, q{SELECT max(window_end) = at(60) FROM sides_final}, 'a longer window is closed'),
	'a view over views of both closes longer windows');

# one of the streams is idle
advance_clock($node, 3700);
idle_become($_, '0', "$_ becomes idle") foreach 'left_side', 'right_side';
rows('left_side', [ 0, 200 ], [ 0, 301, 'z' ]);
watermark_becomes('both_final', '296', 'a stream that is idle does not hold the watermark');
is(watermark('right_side'), '75', 'its own remains');
ok(wait_until($node, q{SELECT count(*) = 1 FROM both_final WHERE window_start = at(200)}, 'the window is closed'),
	'windows close without it');
is(sql($node, 'SELECT seconds(max(window_end)) FROM sides_final'), '60',
	'a view over views of both waits for the windows that the idle stream has left open');
# which is stored
restart_node($node);
is(watermark('both_final'), '296', 'also after a crash');
rows('right_side', [ 0, 250, 'late' ], [ 0, 302, 'z' ]);
is(watermark('both_final'), '296', 'and when the stream is live again');
is( sql($node, q{SELECT row_data ->> 'key', topic, "offset" IS NOT NULL, seconds(watermark) FROM eddy.late_rows
	WHERE view = 'both_final'::regclass}),
	'late|right_side|t|296', 'its rows are judged by the watermark of the view');
rows('left_side', [ 0, 400 ]);
is(watermark('both_final'), '297', 'it holds the watermark again');
rows('right_side', [ 0, 500 ]);
ok(wait_until($node, q{SELECT n = 2 FROM both_final WHERE key = 'z'}, 'the window is closed'), 'until it has passed it');
ok(wait_until($node, q{SELECT max(window_end) = at(320) FROM sides_final}, 'the longer windows are closed'),
	'windows of the view over both views close, too');
equal_ok(
	$node, 'SELECT window_end, key, n FROM sides_final',
	q{SELECT w.window_end, u.key, sum(u.n) AS n FROM (TABLE left_side_final UNION ALL TABLE right_side_final) u,
		eddy.tumble(u.window_start, '20 s') w WHERE w.window_end <= at(380) GROUP BY 1, 2},
	'and have all rows of both views, of which none was late');

# streams without sources: the database worker finds them idle
new_stream($_, 0) foreach 'users_a', 'users_b';
sql($node, q{
SELECT eddy.create_continuous_view('users_final', 'SELECT w.window_start, w.window_end, u.key, count(*) AS n
	FROM (SELECT key, ts FROM users_a UNION ALL SELECT key, ts FROM users_b) u, eddy.tumble(u.ts, ''10 s'') AS w
	GROUP BY w.window_start, w.window_end, u.key', emit => 'on_close');
SELECT eddy.create_continuous_view('user_views_final', 'SELECT w.window_start, w.window_end, u.key, sum(u.n) AS n
	FROM (SELECT key, n, window_start AS ts FROM users_a_final UNION ALL SELECT key, n, window_start FROM users_b_final) u,
		eddy.tumble(u.ts, ''20 s'') AS w GROUP BY w.window_start, w.window_end, u.key', emit => 'on_close');
INSERT INTO users_a VALUES ('k', at(1)), ('k', at(100));
});
is(final('users'), '', 'a stream that has never had a row holds the windows');
my $second = 100;
for (my $try = 0; $try < 300 && final('users') !~ /^0 k=1/; $try++)
{
	advance_clock($node, 7200) if $try % 15 == 0;
	sql($node, 'INSERT INTO users_a VALUES (\'k\', at(' . $second++ . '))') if $try % 5 == 0;
	Time::HiRes::sleep(0.1);    # before the next poll
}
like(final('users'), qr/^0 k=1/, 'until it is idle');
like(final('user_views'), qr/^0 k=1/, 'also those of a view over views of both: that of the idle stream has none open');

#
# What event times come from
#

# the broker would delete messages of that time
$broker->create_topic('broker_times', 1, 'retention.ms=-1');
$broker->tool('produce', [ '-t', 'broker_times', '-f', 'ptv' ],
	join '', map { "0\t" . (1767225600000 + $_ * 1000) . "\t{\"key\": \"t\"}\n" } 10, 70, 30);
new_stream('broker_times');
sql($node, q{SELECT eddy.attach_kafka('broker_times', server => 'kafka', topic => 'broker_times',
	mapping => '{"ts": "timestamp"}')});
wait_for_consumed($node, $broker, 'broker_times');
is(watermark('broker_times'), '65', 'the timestamp of the message is the event time')
  or diag(sql($node, q{TABLE eddy.dead_letters}), sql($node, q{TABLE eddy._partition}), sql($node, q{TABLE eddy._source}));

# rows without event time, and ahead of the clock
new_stream('odd', 2, '', q{idle_timeout => '1 h', null_event_time => 'skip_watermark'});
rows('odd', [ 0, 100 ], [ 1, 200 ]);
$broker->produce('odd', [ 0, undef, '{"key": "null"}' ], [ 0, undef, '{"key": "infinite", "ts": "infinity"}' ],
	[ 0, undef, '{"key": "ahead", "ts": "2200-01-01T00:00:00Z"}' ]);
wait_for_consumed($node, $broker, 'odd');
is(watermark('odd'), '95', 'rows without event time or ahead of the clock do not move the watermark');
is(sql($node, q{SELECT partition, ahead, rows FROM eddy.partitions WHERE topic = 'odd' ORDER BY 1}),
	"0|1|4\n1|0|1", 'rows ahead of the clock are counted');

# processing time
sql($node, q{
CREATE UNLOGGED TABLE processing (key text);
SELECT eddy.create_stream('processing');
CREATE TABLE times AS SELECT clock_timestamp() AS at;
});
attach_topic('processing', 2);
$broker->produce('processing', [ 0, undef, '{"key": "k"}' ]);
wait_for_consumed($node, $broker, 'processing');
ok( sql($node, q{SELECT eddy.watermark('processing') BETWEEN (SELECT at FROM times) AND clock_timestamp()}) eq 't',
	'without event time the watermark is the time of the last batch');

#
# When input stops: auto_advance
#

# Advances the clock until the watermark has followed it.
sub follow
{
	my ($stream, $want) = @_;
	my $deadline = time() + $EddyTest::wait_timeout;
	my $watermark;

	do
	{
		advance_clock($node, 300);
		return $watermark if ($watermark = watermark($stream)) ne 'none' && $watermark >= $want;
	} while (time() < $deadline);
	return 'timed out';
}

new_stream('following', 0, '', q{auto_advance => true, idle_timeout => '30 s'});
my ($offset, $start) = (clock_offset($node), time());
sql($node, q{INSERT INTO following VALUES ('u', at(1000))});
is(watermark('following'), '995', 'the watermark of the last row');
my $watermark = follow('following', 2000);
cmp_ok($watermark, '<=', 995 + clock_offset($node) - $offset + time() - $start + 1, 'auto_advance follows the clock, and not further');

ok(wait_until($node, q{SELECT count(*) = 1 FROM following_final}, 'the window is closed'), 'the last window is closed');

new_stream('feeding', 2, '', q{auto_advance => true, idle_timeout => '30 s'});
($offset, $start) = (clock_offset($node), time());
rows('feeding', [ 0, 1000 ], [ 1, 500 ]);
$watermark = follow('feeding', 2000);
cmp_ok($watermark, '<=', 995 + clock_offset($node) - $offset + time() - $start + 1, 'also without users');
ok(wait_until($node, q{SELECT count(*) = 2 FROM feeding_final}, 'the windows are closed'), 'the last windows are closed');
rows('feeding', [ 0, 1200 ], [ 1, 1200 ]);
cmp_ok(watermark('feeding'), '>=', $watermark, 'it does not go back with the next row');

# it takes no lock that someone else holds, and waits for none
$blocker = $node->background_psql('postgres');
$blocker->query_safe(q{BEGIN; SELECT eddy.advance_watermark('following', at(100000))});
follow('feeding', $watermark + 1000);
$blocker->query_safe('ROLLBACK');
$blocker->quit;
pass('another stream follows the clock while a transaction holds the watermark of one');

new_stream('staying', 0, '', q{idle_timeout => '30 s'});
sql($node, q{INSERT INTO staying VALUES ('u', at(1000))});
follow('following', $watermark + 5000);
is(watermark('staying'), '995', 'without auto_advance the watermark stays');

done_testing();
