-- emit => 'every ...': changes of a group become visible, to readers and consumers, at most once in an interval.
-- The interval is an hour here, so that no time passes; test/t/075_clock.pl lets it pass.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE SCHEMA emit_every;
RESET client_min_messages;
SET search_path = emit_every, public;
SET timezone = 'UTC';
SET synchronous_commit = on;
\set plain '\'batch-bytes\', \'0\', \'include-lsn\', \'off\', \'include-seq\', \'off\', \'include-xid\', \'off\', \'include-timestamp\', \'off\''

CREATE UNLOGGED TABLE sales (shop text, amount int, tag text, at timestamptz);
SELECT eddy.create_stream('sales', event_time => 'at');
SELECT eddy.create_continuous_view('by_shop', $$
    SELECT shop, sum(amount) AS amount, round(avg(amount), 2) AS mean, count(DISTINCT tag) AS tags
    FROM sales GROUP BY shop $$, emit => 'every 1 hour');
SELECT eddy.create_continuous_view('large', $$
    SELECT shop, sum(amount) AS amount FROM sales GROUP BY shop HAVING sum(amount) >= 10 $$, emit => 'every 1 hour');
SELECT eddy.create_continuous_view('latest', $$
    SELECT DISTINCT ON (shop) shop, at, amount FROM sales ORDER BY shop, at DESC, amount DESC $$, emit => 'every 1 hour');
SELECT eddy.create_continuous_view('all_sales', 'SELECT shop, amount FROM sales', emit => 'every 1 hour');
SELECT eddy.create_continuous_view('total', 'SELECT count(*) AS n FROM sales', emit => 'every 1 hour');
SELECT eddy.create_continuous_view('per_minute', $$
    SELECT shop, w.window_end, sum(amount) AS amount, count(*) AS n
    FROM sales, eddy.tumble(at, '1 minute') AS w GROUP BY shop, w.window_end $$, emit => 'every 1 hour');
SELECT view, emit FROM eddy.continuous_views WHERE view::text IN ('by_shop', 'per_minute') ORDER BY 1;

-- the first change of a group is visible at once
INSERT INTO sales (shop, amount, tag, at) VALUES ('a', 4, 'x', '2026-01-01 00:00:05'), ('b', 20, 'x', '2026-01-01 00:00:05');
TABLE by_shop ORDER BY shop;
TABLE large ORDER BY shop;
TABLE latest ORDER BY shop;
TABLE total;

-- later ones wait, in every view; rows of a view without groups change once
SELECT 'ok' FROM pg_create_logical_replication_slot('regress_eddy_every', 'pg_eddy_cdc');
INSERT INTO sales (shop, amount, tag, at) VALUES ('a', 8, 'y', '2026-01-01 00:00:10');
TABLE by_shop ORDER BY shop;
TABLE latest ORDER BY shop;
TABLE all_sales ORDER BY 1, 2;
-- a group that was not in the view because of HAVING has not changed before
TABLE large ORDER BY shop;
-- negative amounts: it leaves the view an hour later
INSERT INTO sales (shop, amount, at) VALUES ('a', -5, '2026-01-01 00:00:10');
TABLE large ORDER BY shop;
-- a new group
INSERT INTO sales (shop, amount, at) VALUES ('c', 1, '2026-01-01 00:00:20');
TABLE by_shop ORDER BY shop;

-- consumers receive what readers see
\pset format unaligned
\pset tuples_only on
SELECT data FROM pg_logical_slot_get_changes('regress_eddy_every', NULL, NULL, :plain,
    'views', 'emit_every.by_shop, emit_every.large, emit_every.latest, emit_every.per_minute')
ORDER BY data::text COLLATE "C";

-- a window that closes shows its last changes at the same time
SELECT shop, window_end, amount, n FROM per_minute ORDER BY shop;
INSERT INTO sales (shop, amount, at) VALUES ('d', 1, '2026-01-01 00:01:00');
SELECT shop, window_end, amount, n FROM per_minute ORDER BY window_end, shop;
SELECT data FROM pg_logical_slot_get_changes('regress_eddy_every', NULL, NULL, 'emit', 'final', :plain);
\pset format aligned
\pset tuples_only off
SELECT pg_drop_replication_slot('regress_eddy_every');

-- Overlapping windows have a row for each window, whatever their number: what is shown is stored.
SELECT eddy.create_continuous_view('overlapping', $$
    SELECT w.window_start, w.window_end, count(*) AS n FROM sales, eddy.hop(at, '1 s', '1 minute') AS w
    GROUP BY w.window_start, w.window_end $$, emit => 'every 1 hour');
INSERT INTO sales (shop, amount, at) VALUES ('d', 1, '2026-01-01 00:02:00.5');
INSERT INTO sales (shop, amount, at) VALUES ('d', 1, '2026-01-01 00:02:00.6');
SELECT count(*), sum(n) FROM overlapping;

-- Errors.
SELECT eddy.create_continuous_view('wrong', 'SELECT count(*) FROM sales', emit => 'evry 5 s');
SELECT eddy.create_continuous_view('wrong', 'SELECT count(*) FROM sales', emit => 'every');
SELECT eddy.create_continuous_view('wrong', 'SELECT count(*) FROM sales', emit => 'every blue moon');
SELECT eddy.create_continuous_view('wrong', 'SELECT count(*) FROM sales', emit => 'every 0 s');
SELECT eddy.create_continuous_view('wrong', 'SELECT count(*) FROM sales', emit => 'every -1 s');

-- idle_ttl: groups of keys without a window are removed when no row has touched them for that time.
SELECT eddy.create_continuous_view('recent', $$ SELECT shop, sum(amount) AS amount FROM sales GROUP BY shop $$,
    idle_ttl => '1 day');
SELECT view, idle_ttl FROM eddy.continuous_views WHERE view = 'recent'::regclass;
SELECT eddy.create_continuous_view('wrong', 'SELECT count(*) FROM sales', idle_ttl => '1 day');
SELECT eddy.create_continuous_view('wrong', 'SELECT shop, count(*) FROM sales GROUP BY shop', idle_ttl => '0');
SELECT eddy.create_continuous_view('wrong', $$
    SELECT shop, w.window_end, count(*) FROM sales, eddy.tumble(at, '5 s') AS w GROUP BY shop, w.window_end $$, idle_ttl => '1 day');

-- Views over views. A view over one whose changes wait has the content of its SELECT over what that one shows, whether its own changes
-- wait or not.
SELECT eddy.create_continuous_view('per_amount', 'SELECT amount, count(*) AS shops, max(mean) AS mean FROM by_shop GROUP BY amount');
SELECT eddy.create_continuous_view('plain', 'SELECT shop, sum(amount) AS amount FROM sales GROUP BY shop', start => 'staged');
SELECT eddy.create_continuous_view('paced', $$
    SELECT amount, count(*) AS shops, array_agg(shop ORDER BY shop) AS names FROM plain GROUP BY amount $$, emit => 'every 1 hour');
SELECT eddy.create_continuous_view('paced_total', 'SELECT count(*) AS shops, sum(amount) AS amount FROM plain', emit => 'every 1 hour');
SELECT * FROM by_shop ORDER BY shop;
SELECT * FROM per_amount ORDER BY amount;
SELECT * FROM plain ORDER BY shop;
SELECT * FROM paced ORDER BY amount;
-- a group whose last row is taken back stays for the interval
\set at '\'2026-01-01 00:03:00\''
INSERT INTO sales (shop, amount, at) VALUES ('a', 1, :at), ('e', 5, :at);
INSERT INTO sales (shop, amount, at) VALUES ('a', -1, :at), ('e', 2, :at);
INSERT INTO sales (shop, amount, at) VALUES ('e', -2, :at);
SELECT * FROM per_amount ORDER BY amount;
SELECT * FROM plain ORDER BY shop;
SELECT * FROM paced ORDER BY amount;
TABLE paced_total;
-- a window that closes shows the last changes of its groups, and groups without rows disappear
SELECT eddy.create_continuous_view('minutes', $$
    SELECT w.window_end, count(*) AS n FROM sales, eddy.tumble(at, '1 minute') AS w GROUP BY w.window_end $$);
SELECT eddy.create_continuous_view('counts', $$
    SELECT w.window_end, n, count(*) AS minutes FROM minutes m, eddy.tumble(m.window_end, '1 hour') AS w GROUP BY w.window_end, n $$,
    emit => 'every 1 hour');
INSERT INTO sales (shop, at) VALUES ('f', '2026-01-01 01:00:05'), ('f', '2026-01-01 01:01:05');
INSERT INTO sales (shop, at) VALUES ('f', '2026-01-01 01:01:10'), ('f', '2026-01-01 01:02:10');
INSERT INTO sales (shop, at) VALUES ('f', '2026-01-01 01:02:11');
SELECT * FROM counts ORDER BY n;
INSERT INTO sales (shop, at) VALUES ('f', '2026-01-01 03:00:00');
SELECT * FROM counts ORDER BY window_end, n;
SELECT * FROM minutes ORDER BY window_end;
SELECT count(*) FROM eddy._counts_state WHERE NOT _visible;

-- Sessions. A row that extends a session, or merges sessions, changes their bounds; until that is visible, they are seen as they were.
CREATE UNLOGGED TABLE clicks (who text, page text, ts timestamptz);
SELECT eddy.create_stream('clicks', event_time => 'ts', delay => '1 hour');
SELECT eddy.create_continuous_view('visits', $$
    SELECT who, s.window_start, s.last_event, count(*) AS n, count(DISTINCT page) AS pages
    FROM clicks, eddy.session(ts, '10 minutes') AS s GROUP BY who, s.window_start, s.last_event HAVING count(*) < 5 $$, emit => 'every 1 hour');
SELECT eddy.create_continuous_view('lengths', 'SELECT n, count(*) AS visits FROM visits GROUP BY n');
CREATE VIEW visit AS SELECT who, to_char(window_start, 'HH24:MI') AS start, to_char(last_event, 'HH24:MI') AS last, n, pages FROM visits;
SELECT 'ok' FROM pg_create_logical_replication_slot('regress_eddy_every', 'pg_eddy_cdc');
INSERT INTO clicks VALUES ('ann', 'a', '2026-01-01 10:00'), ('ann', 'b', '2026-01-01 10:20'), ('bob', 'a', '2026-01-01 10:00');
-- merges both sessions of ann; extends that of bob
INSERT INTO clicks VALUES ('ann', 'a', '2026-01-01 10:10'), ('bob', 'b', '2026-01-01 10:05');
INSERT INTO clicks VALUES ('ann', 'c', '2026-01-01 10:11'), ('bob', 'b', '2026-01-01 10:09'), ('cid', 'a', '2026-01-01 10:20');
SELECT * FROM visit ORDER BY who, start;
TABLE lengths;
-- what is deleted are the sessions, with all that would have become visible of them
DELETE FROM visits WHERE who = 'ann' AND last_event = '2026-01-01 10:20';
SELECT * FROM visit ORDER BY who, start;
TABLE lengths;
INSERT INTO clicks VALUES ('ann', 'd', '2026-01-01 10:21');
SELECT * FROM visit ORDER BY who, start;
-- five rows do not satisfy HAVING: the session disappears when it closes
INSERT INTO clicks VALUES ('cid', 'a', '2026-01-01 10:21'), ('cid', 'a', '2026-01-01 10:22'), ('cid', 'a', '2026-01-01 10:23'), ('cid', 'b', '2026-01-01 10:24');
SELECT * FROM visit ORDER BY who, start;
INSERT INTO clicks VALUES ('dan', 'a', '2026-01-01 12:00');
SELECT * FROM visit ORDER BY who, start;
SELECT * FROM lengths ORDER BY n;
SELECT count(*) AS rows, count(*) FILTER (WHERE _superseded) AS superseded FROM eddy._visits_state;
\pset format unaligned
\pset tuples_only on
SELECT data FROM pg_logical_slot_get_changes('regress_eddy_every', NULL, NULL, :plain, 'views', 'emit_every.visits') ORDER BY data::text COLLATE "C";
\pset format aligned
\pset tuples_only off
SELECT pg_drop_replication_slot('regress_eddy_every');

-- idle_ttl: what was forgotten cannot be taken back.
SELECT eddy.create_continuous_view('wrong', 'SELECT amount, count(*) FROM recent GROUP BY amount');
SELECT eddy.create_continuous_view('wrong', 'SELECT amount, count(*) FROM plain GROUP BY amount', idle_ttl => '1 day');

SET client_min_messages = warning;
DROP SCHEMA emit_every CASCADE;
