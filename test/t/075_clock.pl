# 075_clock.pl: what the clock does to views: emit => 'every ...', idle_ttl.
#
# Intervals are hours, and the test raises pg_eddy.test_clock_offset instead of waiting. The database
# worker shows changes when their interval is over, also after a crash, and removes groups that no row has
# touched. Closing windows does not keep others waiting for a transaction that stays open.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('clock');
# The records that a slot has received since the last call: operation and result of each.
sub changes
{
	my ($slot, $view, @options) = @_;
	my $options = join '', map { ", '$_'" } 'views', "public.$view", @options;

	wait_for_flush($node);
	return sql($node, qq{
SELECT coalesce(string_agg(concat_ws(' ', data::json ->> 'op', coalesce(data::json -> 'after', data::json -> 'key')), E'\\n'), '')
FROM pg_logical_slot_get_changes('$slot', NULL, NULL, 'batch-bytes', '0'$options)});
}

#
# emit => 'every ...'
#

sql($node, q{
CREATE UNLOGGED TABLE sales (shop int, amount int);
SELECT eddy.create_stream('sales');
SELECT eddy.create_continuous_view('hourly', 'SELECT shop, sum(amount) AS amount, round(avg(amount), 1) AS mean
	FROM sales GROUP BY shop HAVING sum(amount) > 0', emit => 'every 1 hour');
SELECT eddy.create_continuous_view('at_once', 'SELECT shop, sum(amount) AS amount, round(avg(amount), 1) AS mean
	FROM sales GROUP BY shop HAVING sum(amount) > 0');
SELECT pg_create_logical_replication_slot('hourly', 'pg_eddy_cdc');
INSERT INTO sales VALUES (1, 10), (2, 10);
INSERT INTO sales VALUES (1, 5), (2, -10);
INSERT INTO sales VALUES (1, 5);
});
my $shown = q{SELECT string_agg(shop || '=' || amount, ' ' ORDER BY shop) FROM hourly};

is(sql($node, $shown), '1=10 2=10', 'changes wait for the interval');
advance_clock($node, 1800);
sql($node, 'INSERT INTO sales VALUES (1, 1)');
is(sql($node, $shown), '1=10 2=10', 'so do those after half of it');
restart_node($node);
is(sql($node, $shown), '1=10 2=10', 'a crash shows nothing');
advance_clock($node, 1900);
ok(wait_until($node, "SELECT ($shown) = '1=21'", 'the changes are shown'),
	'the database worker shows the last change when the interval is over, without input and after a crash');
equal_ok($node, 'TABLE hourly', 'TABLE at_once', 'the view then is that of all rows');
is( changes('hourly', 'hourly'),
	qq{c {"shop":1,"amount":10,"mean":10.0}\nc {"shop":2,"amount":10,"mean":10.0}\n}
	  . qq{u {"shop":1,"amount":21,"mean":5.3}\nd {"shop":2}},
	'consumers receive one change of each group in an interval');

sql($node, 'INSERT INTO sales VALUES (1, 1)');
is(sql($node, $shown), '1=21', 'the next interval begins when changes are shown');
advance_clock($node, 3700);
ok(wait_until($node, "SELECT ($shown) = '1=22'", 'the change is shown'), 'and ends');
advance_clock($node, 3700);
sql($node, 'INSERT INTO sales VALUES (1, 1)');
is(sql($node, $shown), '1=23', 'after a quiet interval a change is visible at once');

# a writer that holds a group keeps the others from being shown neither now nor later
my $writer = $node->background_psql('postgres');
$writer->query_safe('BEGIN; INSERT INTO sales VALUES (1, 1)');
sql($node, 'INSERT INTO sales VALUES (3, 3)');
sql($node, 'INSERT INTO sales VALUES (3, 3)');
advance_clock($node, 3700);
ok(wait_until($node, "SELECT ($shown) = '1=23 3=6'", 'the free group is shown'),
	'the worker does not wait for a group that a transaction holds');
$writer->query_safe('COMMIT');
$writer->quit;
ok(wait_until($node, "SELECT ($shown) = '1=24 3=6'", 'the other group is shown'), 'it is shown afterwards');

# a view that is read many times while rows come: never two changes in an interval
wait_for_flush($node);
sql($node, q{SELECT count(*) FROM pg_logical_slot_get_changes('hourly', NULL, NULL)});
sql($node, "INSERT INTO sales VALUES (4, $_)") foreach 1 .. 20;
is(changes('hourly', 'hourly'), qq{c {"shop":4,"amount":1,"mean":1.0}}, '20 batches in an interval are one change');

#
# Views over views
#

sql($node, q{
SELECT pg_drop_replication_slot('hourly');
CREATE UNLOGGED TABLE bids (item int, bidder text, at timestamptz);
SELECT eddy.create_stream('bids', event_time => 'at');
SELECT eddy.create_continuous_view('items', 'SELECT item, count(*) AS bids, max(bidder) AS last FROM bids GROUP BY item', emit => 'every 1 hour');
SELECT eddy.create_continuous_view('popular', 'SELECT bids, count(*) AS items, array_agg(last ORDER BY item) AS bidders FROM items GROUP BY bids');
SELECT eddy.create_continuous_view('all_items', 'SELECT item, count(*) AS bids FROM bids GROUP BY item');
SELECT eddy.create_continuous_view('paced', 'SELECT bids, count(*) AS items, array_agg(item ORDER BY item) AS list FROM all_items GROUP BY bids', emit => 'every 1 hour');
SELECT eddy.create_continuous_view('paced_max', 'SELECT max(bids) AS bids FROM paced');
SELECT eddy.create_continuous_view('minutes', $$SELECT w.window_end, count(*) AS n FROM bids, eddy.tumble(at, '1 minute') AS w
	GROUP BY w.window_end$$, emit => 'every 1 hour');
SELECT eddy.create_continuous_view('hours', $$SELECT w.window_end, sum(n) AS n FROM minutes AS m, eddy.tumble(m.window_end, '1 hour') AS w
	GROUP BY w.window_end$$);
SELECT pg_create_logical_replication_slot('paced', 'pg_eddy_cdc');
INSERT INTO bids VALUES (1, 'ann', '2026-01-01 00:00:01Z'), (2, 'bob', '2026-01-01 00:00:02Z');
INSERT INTO bids VALUES (1, 'cid', '2026-01-01 00:00:03Z');
INSERT INTO bids VALUES (2, 'dan', '2026-01-01 00:00:04Z'), (1, 'eve', '2026-01-01 00:00:05Z');
});
my %parent = (popular => 'SELECT bids, count(*) AS items, array_agg(last ORDER BY item) AS bidders FROM items GROUP BY bids',
	paced_max => 'SELECT max(bids) AS bids FROM paced',
	hours => q{SELECT w.window_end, sum(n) AS n FROM minutes AS m, eddy.tumble(m.window_end, '1 hour') AS w GROUP BY 1});
my $groups = q{SELECT string_agg(format('%s:%s', bids, items), ' ' ORDER BY bids) FROM };

sub equal_parents
{
	equal_ok($node, "TABLE $_", $parent{$_}, "$_ has the rows of its SELECT over what its parent shows") foreach sort keys %parent;
	return;
}

is(sql($node, $groups . 'popular'), '1:2', 'a view over one whose changes wait shows what that shows');
is(sql($node, 'SELECT n FROM hours'), 2, 'also of windows');
is(sql($node, $groups . 'paced'), '1:2 2:1 3:1', 'changes of a view over another one wait, also that of a group that has lost all rows');
equal_parents();
advance_clock($node, 3700);
ok(wait_until($node, "SELECT ($groups popular) = '2:1 3:1' AND (SELECT n FROM hours) = 5", 'the changes arrive'),
	'the changes that the clock shows reach the views over that view');
ok(wait_until($node, "SELECT ($groups paced) = '2:1 3:1'", 'the group is removed'), 'a group without rows is removed when the interval is over');
equal_parents();
is(changes('paced', 'paced'),
	qq{c {"bids":1,"items":2,"list":[1,2]}\nc {"bids":2,"items":1,"list":[1]}\nc {"bids":3,"items":1,"list":[1]}\n}
	  . qq{d {"bids":1}\nu {"bids":2,"items":1,"list":[2]}},
	'consumers receive one change of each group in an interval');

# it returns before the interval is over: one change
sql($node, q{INSERT INTO bids VALUES (3, 'fay', '2026-01-01 00:00:06Z')});
is(sql($node, $groups . 'paced'), '2:1 3:1', 'a group that returns waits for the interval as well');
sql($node, q{INSERT INTO bids VALUES (3, 'fay', '2026-01-01 00:00:06Z'), (3, 'gus', '2026-01-01 00:00:06Z'), (3, 'hal', '2026-01-01 00:00:06Z')});
advance_clock($node, 3700);
ok(wait_until($node, "SELECT ($groups paced) = '2:1 3:1 4:1' AND (SELECT count(*) FROM eddy._paced_state) = 3", 'rows of removed groups are deleted'),
	'a group that vanishes again was never there, and its row is deleted after another interval');
ok(wait_until($node, "SELECT ($groups popular) = '2:1 3:1 4:1'", 'the changes arrive'), 'views over the other view follow');
equal_parents();

# many groups, in several transactions, beside writers and a crash
sql($node, q{INSERT INTO bids SELECT i, 'many', '2026-01-01 00:00:07Z' FROM generate_series(1, 12000) i});
sql($node, q{INSERT INTO bids SELECT i, 'more', '2026-01-01 00:00:08Z' FROM generate_series(1, 12000) i});
advance_clock($node, 3700);
sql($node, "INSERT INTO bids VALUES ($_, 'last', '2026-01-01 00:00:09Z')") foreach 10 .. 20;
restart_node($node);
advance_clock($node, 3700);
ok(wait_until($node, q{SELECT NOT EXISTS (SELECT FROM eddy._items_state WHERE _pending)}, 'all are shown'), 'many groups are shown');
equal_parents();
is(sql($node, 'SELECT sum(bids) FROM items'), sql($node, 'SELECT sum(bids) FROM all_items'), 'and then are those of all rows');
sql($node, q{SELECT pg_drop_replication_slot('paced')});

#
# Sessions
#

sql($node, q{
CREATE UNLOGGED TABLE clicks (who text, at timestamptz);
SELECT eddy.create_stream('clicks');
SELECT eddy.create_continuous_view('visits', $$SELECT who, s.window_start, s.window_end, count(*) AS n
	FROM clicks, eddy.session(at, '10 s') AS s GROUP BY 1, 2, 3$$, emit => 'every 1 hour');
SELECT eddy.create_continuous_view('all_visits', $$SELECT who, s.window_start, s.window_end, count(*) AS n
	FROM clicks, eddy.session(at, '10 s') AS s GROUP BY 1, 2, 3$$);
SELECT eddy.create_continuous_view('visitors', 'SELECT who, count(*) AS visits, sum(n) AS n FROM visits GROUP BY who');
SELECT pg_create_logical_replication_slot('visits', 'pg_eddy_cdc');
INSERT INTO clicks VALUES ('ann', '2026-01-01 00:00:00Z'), ('ann', '2026-01-01 00:00:20Z'), ('bob', '2026-01-01 00:00:00Z');
});
my $visits = q{SELECT string_agg(format('%s %s-%s=%s', who, extract(second FROM window_start)::int, extract(second FROM window_end)::int, n), ' '
	ORDER BY who, window_start) FROM visits};
%parent = (visitors => 'SELECT who, count(*) AS visits, sum(n) AS n FROM visits GROUP BY who');

# a row every five seconds: first the session is extended, then merged with the other one
sql($node, "INSERT INTO clicks VALUES ('ann', '2026-01-01 00:00:0${_}Z')") foreach 5, 9;
sql($node, q{INSERT INTO clicks VALUES ('ann', '2026-01-01 00:00:13Z'), ('cid', '2026-01-01 00:00:00Z')});
is(sql($node, $visits), 'ann 0-10=1 ann 20-30=1 bob 0-10=1 cid 0-10=1', 'sessions that change are seen as they were');
restart_node($node);
is(sql($node, $visits), 'ann 0-10=1 ann 20-30=1 bob 0-10=1 cid 0-10=1', 'also after a crash');
advance_clock($node, 3700);
ok(wait_until($node, "SELECT ($visits) = 'ann 0-30=5 bob 0-10=1 cid 0-10=1'", 'the session is shown'), 'until the interval is over');
equal_ok($node, 'TABLE visits', 'TABLE all_visits', 'the view then is that of all rows');
equal_parents();
is(changes('visits', 'visits'), join("\n", map {
	my ($op, $who, $from, $to, $n) = split / /;
	my $bounds = qq{"who":"$who","window_start":"2026-01-01T00:00:${from}+00:00","window_end":"2026-01-01T00:00:${to}+00:00"};
	$op eq 'd' ? "d {$bounds}" : qq{c {$bounds,"n":$n}} }
	'c ann 00 10 1', 'c ann 20 30 1', 'c bob 00 10 1', 'c cid 00 10 1', 'd ann 20 30', 'd ann 00 10', 'c ann 00 30 5'),
	'consumers receive sessions that were merged as deletes, once');

# a user's DELETE beside the worker, which does not wait for it
sql($node, q{INSERT INTO clicks SELECT who, '2026-01-01 00:00:35Z' FROM unnest('{ann,bob,cid}'::text[]) who});
sql($node, q{INSERT INTO clicks SELECT who, '2026-01-01 00:00:09Z' FROM unnest('{bob,cid}'::text[]) who});
sql($node, q{INSERT INTO clicks SELECT who, '2026-01-01 00:00:18Z' FROM unnest('{bob,cid}'::text[]) who});
$writer = $node->background_psql('postgres');
$writer->query_safe(q{BEGIN; DELETE FROM visits WHERE who = 'bob' AND window_start = '2026-01-01 00:00:00Z'});
advance_clock($node, 3700);
ok(wait_until($node, "SELECT ($visits) = 'ann 0-30=5 ann 35-45=1 bob 0-19=2 bob 35-45=1 cid 0-28=3 cid 35-45=1'", 'the others are shown'),
	'the worker does not wait for a session that a transaction has deleted');
$writer->query_safe('COMMIT');
$writer->quit;
is(sql($node, $visits), 'ann 0-30=5 ann 35-45=1 bob 35-45=1 cid 0-28=3 cid 35-45=1', 'the session is deleted with what would have become visible of it');
is(sql($node, q{SELECT count(*) FROM eddy._visits_state}), 5, 'its row as well');
equal_parents();
sql($node, q{SELECT pg_drop_replication_slot('visits'); DROP TABLE clicks CASCADE});

#
# idle_ttl
#

sql($node, q{
CREATE UNLOGGED TABLE visits (page text, visitor int);
SELECT eddy.create_stream('visits');
SELECT eddy.create_continuous_view('pages', 'SELECT page, count(*) AS n, count(DISTINCT visitor) AS visitors
	FROM visits GROUP BY page', idle_ttl => '1 hour');
SELECT eddy.create_continuous_view('last_visits', 'SELECT DISTINCT ON (page) page, visitor FROM visits
	ORDER BY page, visitor DESC', idle_ttl => '1 hour');
SELECT eddy.create_continuous_view('all_visits', 'SELECT page, visitor FROM visits', idle_ttl => '1 hour');
SELECT pg_create_logical_replication_slot('silent', 'pg_eddy_cdc');
SELECT pg_create_logical_replication_slot('asking', 'pg_eddy_cdc');
INSERT INTO visits VALUES ('a', 1), ('b', 1);
INSERT INTO visits VALUES ('a', 2);
});
my $pages = q{SELECT string_agg(page || '=' || n || '/' || visitors, ' ' ORDER BY page) FROM pages};

advance_clock($node, 3000);
sql($node, q{INSERT INTO visits VALUES ('a', 2)});
advance_clock($node, 1100);
ok(wait_until($node, "SELECT ($pages) = 'a=3/2'", 'b is removed'), 'a group that no row has touched is removed, others are not');
ok(wait_until($node, q{SELECT (SELECT string_agg(page, ' ') FROM last_visits) = 'a'
	AND (SELECT count(*) FROM all_visits) = 1}, 'rows are removed'), 'likewise with DISTINCT ON and without groups');
is(sql($node, q{SELECT count(*) FROM eddy._pages_values}), 2, 'with the values that its aggregates keep');
my $created = qq{c {"page":"a","n":1,"visitors":1}\nc {"page":"b","n":1,"visitors":1}\n}
  . qq{u {"page":"a","n":2,"visitors":2}\nu {"page":"a","n":3,"visitors":2}};
is(changes('silent', 'pages'), $created, 'consumers receive no delete');
is(changes('asking', 'pages', 'retention', 'on'), qq{$created\nd {"page":"b"}}, 'unless they ask for it');
sql($node, q{INSERT INTO visits VALUES ('b', 3); DELETE FROM pages WHERE page = 'a'});
is(sql($node, $pages), 'b=1/1', 'a row that comes later begins a new group');
is(changes('silent', 'pages'), qq{c {"page":"b","n":1,"visitors":1}\nd {"page":"a"}}, q{a user's delete is sent});

# the clock is set back: a transaction that removes groups says so, although groups of a later time were removed before
advance_clock($node, 100000);
ok(wait_until($node, "SELECT ($pages) IS NULL", 'all are removed'), 'all groups are removed');
advance_clock($node, -100000);
sql($node, q{INSERT INTO visits VALUES ('c', 1)});
is(changes('silent', 'pages'), qq{c {"page":"c","n":1,"visitors":1}}, 'consumers receive no delete of them');
advance_clock($node, 5000);
ok(wait_until($node, "SELECT ($pages) IS NULL", 'c is removed'), 'and later ones when the clock was set back');
is(changes('silent', 'pages'), '', 'also if they reconnect after it was set back');

# many groups, in several transactions, beside a writer that holds one of them
sql($node, q{INSERT INTO visits SELECT 'p' || i, i FROM generate_series(1, 12000) i});
$writer = $node->background_psql('postgres');
$writer->query_safe(q{BEGIN; INSERT INTO visits VALUES ('p7', 1)});
advance_clock($node, 5000);
ok(wait_until($node, q{SELECT (SELECT string_agg(page, ' ') FROM pages) = 'p7'}, 'all others are removed'),
	'groups are removed in several transactions, without waiting for one that is held');
sql($node, q{INSERT INTO visits VALUES ('p8', 1)});
$writer->query_safe('COMMIT');
$writer->quit;
is(sql($node, $pages), 'p7=2/2 p8=1/1', 'the row has touched it');

#
# a transaction that has added rows and stays open
#

sql($node, q{
ALTER SYSTEM SET log_lock_waits = on;
ALTER SYSTEM SET deadlock_timeout = '20ms';
CREATE UNLOGGED TABLE rows_in_time (at timestamptz);
SELECT eddy.create_stream('rows_in_time', event_time => 'at', delay => '0');
SELECT eddy.create_continuous_view('counted_minutes', $$SELECT w.window_end, count(*) AS n
	FROM rows_in_time, eddy.tumble(at, '1 minute') w GROUP BY w.window_end$$, emit => 'on_close');
CREATE UNLOGGED TABLE ticking (at timestamptz);
SELECT eddy.create_stream('ticking', event_time => 'at', delay => '0', idle_timeout => '1 minute', auto_advance => true);
INSERT INTO ticking VALUES ('2024-01-01 00:00');
});
$node->reload;
# The number of waits for the windows. One that is woken up by a signal is logged again: it began at the same time.
my $waits = sub {
	my %began;

	foreach (split /\n/, slurp_file($node->logfile))
	{
		next unless /^\S+ (\d+):(\d+):([\d.]+) .*still waiting for ExclusiveLock on object.* after ([\d.]+) ms/;
		$began{ sprintf '%.1f', ($1 * 60 + $2) * 60 + $3 - $4 / 1000 } = 1;
	}
	my $previous = -1;
	return scalar grep { my $new = $_ - $previous > 0.15; $previous = $_; $new } sort { $a <=> $b } keys %began;
};
my $watermark = q{SELECT coalesce(watermark, '-infinity') FROM eddy.streams WHERE stream = 'ticking'::regclass};

# Waits until the database worker has seen the time that has passed: it has also tried to close windows before, or does so next.
sub tick
{
	my $before = sql($node, $watermark);

	advance_clock($node, 3600);
	return wait_until($node, "SELECT ($watermark) > '$before'", 'a tick');
}

sql($node, q{INSERT INTO rows_in_time VALUES ('2024-01-01 00:00')});
$writer = $node->background_psql('postgres');
$writer->query_safe(q{BEGIN; INSERT INTO rows_in_time VALUES ('2024-01-01 00:00')});
sql($node, q{INSERT INTO rows_in_time VALUES ('2024-01-01 00:05')});
my $deadline = time + 60;
tick() while $waits->() == 0 && time < $deadline;
my $waited = $waits->();
ok($waited > 0, 'the database worker waits for a transaction that is adding rows');
tick() for 1 .. 4;
is($waits->(), $waited, 'but not each time, with batches waiting behind it, for one that it has waited for in vain');
is(sql($node, 'SELECT count(*) FROM counted_minutes'), 0, 'the windows that it may change remain open');
$writer->query_safe('COMMIT');
$writer->quit;
ok(wait_until($node, 'SELECT (SELECT sum(n) FROM counted_minutes) = 2', 'the window is closed'), 'they are closed when it has ended');

$node->stop;
done_testing();
