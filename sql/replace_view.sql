-- The query of a continuous view is replaced; the view remains.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE ROLE regress_eddy_ann;
CREATE ROLE regress_eddy_bob;
CREATE SCHEMA replace_test AUTHORIZATION regress_eddy_ann;
SET search_path = replace_test, public;
SET ROLE regress_eddy_ann;

CREATE UNLOGGED TABLE sales (item text, amount int, at timestamptz);
SELECT eddy.create_stream('sales', event_time => 'at');
SELECT eddy.create_continuous_view('totals', 'SELECT item, count(*) AS sales, sum(amount) AS amount FROM sales GROUP BY item');
GRANT SELECT ON totals TO regress_eddy_bob;
COMMENT ON VIEW totals IS 'sales of each item';
CREATE VIEW best AS SELECT * FROM totals WHERE sales > 1;
INSERT INTO sales VALUES ('pen', 1, '2026-01-01 00:00 UTC'), ('pen', 2, '2026-01-01 00:01 UTC'), ('cup', 8, '2026-01-01 00:02 UTC');
RESET ROLE;
CREATE TEMP TABLE before AS SELECT 'totals'::regclass::oid AS view,
    (SELECT relacl FROM pg_class WHERE oid = 'totals'::regclass) AS acl;
SELECT count(*) FROM pg_create_logical_replication_slot('regress_eddy_replace', 'pg_eddy_cdc');
\set changes 'regexp_replace(data, ''("id":")[^"]*'', ''\\1...'') AS record FROM pg_logical_slot_get_changes(''regress_eddy_replace'', NULL, NULL, ''views'', ''replace_test.*'', ''include-schema'', ''on'', ''include-before'', ''on'', ''include-lsn'', ''off'', ''include-seq'', ''off'', ''include-xid'', ''off'', ''include-timestamp'', ''off'', ''batch-bytes'', ''0'') WHERE data !~ ''protocol'''
SET ROLE regress_eddy_ann;

-- A part that is applied when reading: the results are kept as they are.
SELECT eddy.replace_continuous_view('totals', 'SELECT item, count(*) AS sales, sum(amount) AS amount FROM sales GROUP BY item ORDER BY item LIMIT 100');
TABLE totals;
INSERT INTO sales VALUES ('pen', 4, '2026-01-01 00:03 UTC');
TABLE totals;

-- A column is added to the stream, and then to the view. HAVING hides a group.
ALTER TABLE sales ADD COLUMN shop text;
SELECT eddy.replace_continuous_view('totals', $$
    SELECT item, count(*) AS sales, sum(amount) AS amount, max(amount) - min(amount) AS spread, max(shop) AS shop
    FROM sales GROUP BY item HAVING count(*) > 1 $$);
TABLE totals;
INSERT INTO sales VALUES ('pen', 8, '2026-01-01 00:04 UTC', 'A'), ('cup', 8, '2026-01-01 00:05 UTC', 'B');
SELECT * FROM totals ORDER BY item;
SELECT * FROM best ORDER BY item;
RESET ROLE;
SELECT 'totals'::regclass = view AS same_view, acl = (SELECT relacl FROM pg_class WHERE oid = view) AS same_acl,
    obj_description(view, 'pg_class') FROM before;
SELECT relname FROM pg_class WHERE relnamespace = 'eddy'::regnamespace AND relname ~ '^_totals' AND relkind <> 'i' ORDER BY 1;
SELECT :changes;
SET ROLE regress_eddy_ann;

-- All aggregates from the rows that the stream still holds: consumers receive the net difference.
SELECT eddy.replace_continuous_view('totals', $$
    SELECT item, count(*) AS sales, sum(amount) AS amount, max(amount) - min(amount) AS spread, max(shop) AS shop
    FROM sales WHERE item <> 'cup' GROUP BY item $$, start => 'staged');
TABLE totals;
-- From now on: all rows disappear.
SELECT eddy.replace_continuous_view('totals', $$
    SELECT item, count(*) AS sales, sum(amount) AS amount, max(amount) - min(amount) AS spread, max(shop) AS shop
    FROM sales WHERE amount > 0 GROUP BY item $$, start => 'now');
INSERT INTO sales VALUES ('pen', 0, '2026-01-01 00:06 UTC'), ('box', 1, '2026-01-01 00:06 UTC');
TABLE totals;
RESET ROLE;
SELECT :changes;
SET ROLE regress_eddy_ann;

-- The key of the rows changes: consumers know rows by their key.
SELECT eddy.create_continuous_view('by_shop', 'SELECT count(*) AS sales FROM sales GROUP BY shop', start => 'staged');
SELECT eddy.replace_continuous_view('by_shop', 'SELECT count(*) AS sales, item FROM sales GROUP BY item', start => 'staged');
SELECT * FROM by_shop ORDER BY item;
RESET ROLE;
SELECT :changes;
SET ROLE regress_eddy_ann;
DROP VIEW by_shop;

-- Kept values, and aggregates that combine: what existed before continues exactly.
SELECT eddy.create_continuous_view('values', $$
    SELECT item, count(DISTINCT amount) AS amounts, avg(amount) AS mean, array_agg(amount) AS list FROM sales GROUP BY item $$, start => 'staged');
SELECT eddy.replace_continuous_view('values', $$
    SELECT item, count(DISTINCT amount) AS amounts, round(avg(amount), 2) AS mean, array_agg(amount) AS list,
           mode() WITHIN GROUP (ORDER BY shop) AS shop, count(DISTINCT amount) > 2 AS many
    FROM sales GROUP BY item HAVING avg(amount) < 100 $$);
INSERT INTO sales VALUES ('pen', 4, now(), 'A'), ('pen', 5, now(), 'A'), ('cup', 9, now(), 'C'), ('jar', 7, now(), 'A');
SELECT * FROM "values" ORDER BY item;
SELECT item, count(DISTINCT amount) AS amounts, round(avg(amount), 2) AS mean, array_agg(amount ORDER BY amount) AS list FROM sales GROUP BY item
EXCEPT ALL SELECT item, amounts, mean, ARRAY(SELECT unnest(list) ORDER BY 1) FROM "values";
-- Without kept values, and back.
SELECT eddy.replace_continuous_view('values', $$
    SELECT item, count(*) AS amounts, round(avg(amount), 2) AS mean, NULL::int[] AS list, 'no' AS shop, true AS many FROM sales GROUP BY item $$);
SELECT * FROM "values" ORDER BY item;
INSERT INTO sales VALUES ('pen', 4, now(), 'A');
SELECT * FROM "values" WHERE item = 'pen';
SELECT relname FROM pg_class WHERE relnamespace = 'eddy'::regnamespace AND relname ~ '^_values' AND relkind <> 'i' ORDER BY 1;
SELECT eddy.replace_continuous_view('values', $$
    SELECT item, count(*) AS amounts, round(avg(amount), 2) AS mean, array_agg(amount) AS list, 'no' AS shop, true AS many FROM sales GROUP BY item $$);
INSERT INTO sales VALUES ('pen', 4, now(), 'A');
SELECT * FROM "values" WHERE item = 'pen';
DROP VIEW "values";

-- One group without GROUP BY.
SELECT eddy.create_continuous_view('everything', 'SELECT count(*) AS sales FROM sales');
INSERT INTO sales VALUES ('pen', 1, now());
SELECT eddy.replace_continuous_view('everything', 'SELECT count(*) AS sales, count(shop) AS shops, sum(amount) AS amount FROM sales');
TABLE everything;
INSERT INTO sales VALUES ('pen', 2, now(), 'A');
TABLE everything;
SELECT eddy.replace_continuous_view('everything', 'SELECT count(*) AS sales, count(shop) AS shops, sum(amount) AS amount FROM sales', start => 'now');
TABLE everything;
DROP VIEW everything;

-- Rows without aggregates keep their identity; a new column is NULL in them.
SELECT eddy.create_continuous_view('log', 'SELECT item, amount FROM sales WHERE amount > 100');
INSERT INTO sales VALUES ('pen', 101, now(), 'A');
SELECT eddy.replace_continuous_view('log', 'SELECT item, amount, amount * 2 AS double, shop FROM sales WHERE amount > 100');
INSERT INTO sales VALUES ('pen', 102, now(), 'A');
SELECT * FROM log ORDER BY amount;
RESET ROLE;
SELECT regexp_replace(record, '("_row":")[^"]*', '\1...', 'g') AS record FROM (SELECT :changes) c WHERE record ~ 'log';
SET ROLE regress_eddy_ann;
DROP VIEW log;

-- Windows: those that are final stay final. States that closing has removed are not needed for the same columns.
CREATE UNLOGGED TABLE events (k text, n int, at timestamptz);
SELECT eddy.create_stream('events', event_time => 'at');
SELECT eddy.create_continuous_view('windows', $$
    SELECT k, w.window_end, avg(n) AS mean, sum(n) AS total FROM events, eddy.tumble(at, '1 minute') AS w
    GROUP BY k, w.window_start, w.window_end $$, emit => 'on_close');
INSERT INTO events VALUES ('a', 1, '2026-01-01 00:00 UTC'), ('a', 4, '2026-01-01 00:00:30 UTC'), ('a', 5, '2026-01-01 00:01 UTC');
SELECT k, window_end AT TIME ZONE 'UTC' AS window_end, mean, total FROM windows;
SELECT eddy.replace_continuous_view('windows', $$
    SELECT k, w.window_end, avg(n) AS mean, sum(n) AS total, avg(n) * 2 AS double_mean, sum(n) * 2 AS double_total, avg(n) > 1 AS big
    FROM events, eddy.tumble(at, '1 minute') AS w
    GROUP BY k, w.window_start, w.window_end HAVING avg(n) < 100 $$);
INSERT INTO events VALUES ('a', 7, '2026-01-01 00:02 UTC'), ('late', 1, '2026-01-01 00:00 UTC');
SELECT k, window_end AT TIME ZONE 'UTC' AS window_end, mean, total, double_mean, double_total, big FROM windows ORDER BY window_end;
SELECT closed_until AT TIME ZONE 'UTC' AS closed_until, emit FROM eddy.continuous_views WHERE view = 'windows'::regclass;
-- Counted again, windows close again.
SELECT eddy.replace_continuous_view('windows', $$
    SELECT k, w.window_end, avg(n) AS mean, sum(n) AS total, avg(n) * 2 AS double_mean, sum(n) * 2 AS double_total, avg(n) > 2 AS big
    FROM events, eddy.tumble(at, '1 minute') AS w
    WHERE k <> 'late' GROUP BY k, w.window_start, w.window_end $$, start => 'staged');
SELECT k, window_end AT TIME ZONE 'UTC' AS window_end, mean, total, double_mean, double_total, big FROM windows ORDER BY window_end;
-- A view whose rows appear when windows close needs windows.
SELECT eddy.replace_continuous_view('windows', $$
    SELECT k, max(at) AS window_end, avg(n) AS mean, sum(n) AS total, avg(n) * 2 AS double_mean, sum(n) * 2 AS double_total, avg(n) > 2 AS big
    FROM events GROUP BY k $$, start => 'now');
DROP VIEW windows;
SELECT eddy.create_continuous_view('sessions', $$
    SELECT k, s.window_start, count(*) AS events FROM events, eddy.session(at, '1 minute') AS s GROUP BY k, s.window_start, s.window_end $$, start => 'staged');
SELECT eddy.replace_continuous_view('sessions', $$
    SELECT k, s.window_start, count(*) AS events, sum(n) AS n FROM events, eddy.session(at, '1 minute') AS s GROUP BY k, s.window_start, s.window_end $$);
INSERT INTO events VALUES ('a', 7, '2026-01-01 00:02:30 UTC');
SELECT k, window_start AT TIME ZONE 'UTC' AS window_start, events, n FROM sessions ORDER BY k, window_start;
DROP VIEW sessions;
-- Overlapping windows, and the first row of each key: what is applied when reading can change.
SELECT eddy.create_continuous_view('hops', $$
    SELECT w.window_end, count(*) AS events FROM events, eddy.hop(at, '1 minute', '1 hour') AS w GROUP BY w.window_start, w.window_end $$,
    start => 'staged', emit => 'on_close');
SELECT eddy.replace_continuous_view('hops', $$
    SELECT w.window_end, count(*) AS events, rank() OVER (ORDER BY count(*) DESC) AS place FROM events, eddy.hop(at, '1 minute', '1 hour') AS w
    GROUP BY w.window_start, w.window_end $$);
SELECT window_end AT TIME ZONE 'UTC' AS window_end, events, place FROM hops ORDER BY window_end;
SELECT eddy.replace_continuous_view('hops', $$
    SELECT w.window_end, count(*) AS events, sum(n) AS place FROM events, eddy.hop(at, '1 minute', '1 hour') AS w
    GROUP BY w.window_start, w.window_end $$);
SELECT eddy.create_continuous_view('firsts', 'SELECT DISTINCT ON (k) k, n FROM events ORDER BY k, n', start => 'staged');
SELECT eddy.replace_continuous_view('firsts', 'SELECT k, n, n > 1 AS big FROM (SELECT DISTINCT ON (k) k, n FROM events ORDER BY k, n) f');
SELECT * FROM firsts ORDER BY k;
SELECT eddy.replace_continuous_view('firsts', 'SELECT DISTINCT ON (k) k, n, n > 1 AS big FROM events ORDER BY k, n DESC');
DROP VIEW firsts;
DROP VIEW hops;

-- What is refused changes nothing.
SELECT eddy.replace_continuous_view('totals', 'SELECT item, count(*) AS sales FROM sales GROUP BY item');
SELECT eddy.replace_continuous_view('totals', 'SELECT item, count(*) AS n, sum(amount) AS amount, 1 AS spread, max(shop) AS shop FROM sales GROUP BY item');
SELECT eddy.replace_continuous_view('totals', 'SELECT item, sum(amount) AS sales, sum(amount) AS amount, max(amount) - min(amount) AS spread, 1 AS shop FROM sales GROUP BY item');
SELECT eddy.replace_continuous_view('totals', 'SELECT item COLLATE "C", count(*) AS sales, sum(amount) AS amount, max(amount) - min(amount) AS spread, max(shop) AS shop FROM sales GROUP BY 1');
SELECT eddy.replace_continuous_view('totals', 'SELECT item, count(*) AS sales, sum(amount) AS amount, max(amount) - min(amount) AS spread, max(shop) AS shop FROM sales GROUP BY item, at');
SELECT eddy.replace_continuous_view('totals', 'SELECT item, count(*) AS sales, sum(amount) AS amount, max(amount) - min(amount) AS spread, max(shop) AS shop FROM sales WHERE amount > 1 GROUP BY item');
SELECT eddy.replace_continuous_view('totals', 'SELECT random()::text AS item, count(*) AS sales, sum(amount) AS amount, 1 AS spread, max(shop) AS shop FROM sales GROUP BY 1');
SELECT eddy.replace_continuous_view('totals', 'SELEC');
SELECT eddy.replace_continuous_view('totals', 'SELECT 1', start => 'stage');
SELECT eddy.replace_continuous_view('totals', 'SELECT item, count(*) AS sales, sum(amount) AS amount, 1 AS spread, max(shop) AS shop FROM sales GROUP BY item', start => 'earliest');
SELECT eddy.replace_continuous_view('best', 'SELECT count(*) FROM sales');
SELECT eddy.replace_continuous_view('totals', NULL);
CREATE OR REPLACE VIEW totals AS SELECT 'a' AS item;
SELECT eddy.pause('totals');
SELECT eddy.replace_continuous_view('totals', 'SELECT item, count(*) AS sales, sum(amount) AS amount, max(amount) - min(amount) AS spread, max(shop) AS shop FROM sales WHERE amount > 0 GROUP BY item');
TABLE totals;
-- A suspended view is maintained again if it begins anew.
SELECT eddy.replace_continuous_view('totals', 'SELECT item, count(*) AS sales, sum(amount) AS amount, max(amount) - min(amount) AS spread, max(shop) AS shop FROM sales WHERE amount > 0 GROUP BY item', start => 'now');
SELECT state FROM eddy.continuous_views WHERE view = 'totals'::regclass;
RESET ROLE;
GRANT USAGE ON SCHEMA replace_test TO regress_eddy_bob;
SET ROLE regress_eddy_bob;
SELECT eddy.replace_continuous_view('totals', 'SELECT count(*) FROM sales');
RESET ROLE;

-- Another stream, if the owner may read it.
SET ROLE regress_eddy_ann;
CREATE UNLOGGED TABLE returns (item text, amount int, shop text);
SELECT eddy.create_stream('returns');
INSERT INTO returns VALUES ('pen', 1);
SELECT eddy.replace_continuous_view('totals', 'SELECT item, count(*) AS sales, sum(amount) AS amount, max(amount) - min(amount) AS spread, max(shop) AS shop FROM returns GROUP BY item');
SELECT eddy.replace_continuous_view('totals', 'SELECT item, count(*) AS sales, sum(amount) AS amount, max(amount) - min(amount) AS spread, max(shop) AS shop FROM returns GROUP BY item', start => 'staged');
INSERT INTO sales VALUES ('pen', 1, now());
INSERT INTO returns VALUES ('pen', 2);
TABLE totals;
SELECT stream FROM eddy.continuous_views WHERE view = 'totals'::regclass;

-- Publications and privileges on the state table follow.
RESET ROLE;
GRANT SELECT ON eddy._totals_state TO regress_eddy_bob;
SET client_min_messages = error;
SELECT count(*) FROM eddy.create_publication('regress_eddy_totals', 'totals');
RESET client_min_messages;
SET ROLE regress_eddy_ann;
SELECT eddy.replace_continuous_view('totals', 'SELECT item, count(*) AS sales, sum(amount) AS amount, max(amount) - min(amount) AS spread, max(shop) AS shop, count(shop) AS shops FROM returns GROUP BY item', start => 'staged');
RESET ROLE;
SELECT tablename, attnames FROM pg_publication_tables WHERE pubname = 'regress_eddy_totals';
SELECT has_table_privilege('regress_eddy_bob', 'eddy._totals_state', 'SELECT');
DROP PUBLICATION regress_eddy_totals;
-- A column that is computed when reading is not published.
SELECT eddy.replace_continuous_view('totals', 'SELECT item, count(*) AS sales, sum(amount) AS amount, max(amount) - min(amount) AS spread, max(shop) AS shop, count(shop) AS shops, rank() OVER (ORDER BY count(*)) AS place FROM returns GROUP BY item');
SET client_min_messages = error;
SELECT count(*) FROM eddy.create_publication('regress_eddy_totals', 'totals');
RESET client_min_messages;
SELECT tablename, attnames FROM pg_publication_tables WHERE pubname = 'regress_eddy_totals';
DROP PUBLICATION regress_eddy_totals;
CREATE VIEW on_state AS SELECT * FROM eddy._totals_state;
SELECT eddy.replace_continuous_view('totals', 'SELECT item, count(*) AS sales, sum(amount) AS amount, max(amount) - min(amount) AS spread, max(shop) AS shop, count(*) AS shops, 1::bigint AS place FROM returns GROUP BY item');
DROP VIEW on_state;

-- ALTER TABLE on the stream and on joined tables: what would break a view is refused and names it.
SET ROLE regress_eddy_ann;
CREATE TABLE items (item text PRIMARY KEY, maker text, price int, note text);
SELECT eddy.create_continuous_view('per_maker', 'SELECT maker, sum(amount * price) AS value FROM returns JOIN items USING (item) GROUP BY maker');
INSERT INTO items VALUES ('pen', 'acme', 10);
ALTER TABLE items ALTER COLUMN price TYPE bigint;
ALTER TABLE returns ALTER COLUMN amount TYPE bigint;
ALTER TABLE items DROP COLUMN maker;
ALTER TABLE returns DROP COLUMN amount;
DROP TABLE items;
ALTER TABLE items RENAME TO products;
ALTER TABLE products RENAME COLUMN price TO cost;
ALTER TABLE products ADD COLUMN color text, DROP COLUMN note, ADD CHECK (cost > 0), ALTER COLUMN cost SET DEFAULT 1;
ALTER TABLE returns ADD COLUMN more int, ADD CHECK (amount >= 0);
ALTER TABLE returns RENAME COLUMN amount TO pieces;
INSERT INTO returns VALUES ('pen', 3);
TABLE per_maker;
-- The way out: a query that does not need the column.
SELECT eddy.replace_continuous_view('per_maker', 'SELECT maker, sum(pieces * 10) AS value FROM returns JOIN products USING (item) GROUP BY maker', start => 'staged');
ALTER TABLE products ALTER COLUMN cost TYPE numeric;
TABLE per_maker;
RESET ROLE;

-- Views over views.
SET ROLE regress_eddy_ann;
SELECT eddy.create_continuous_view('parent', 'SELECT item, count(*) AS n FROM returns GROUP BY item');
SELECT eddy.create_continuous_view('child', 'SELECT n, count(*) AS items FROM parent GROUP BY n');
SELECT eddy.replace_continuous_view('parent', 'SELECT item, count(*) AS n, max(pieces) FROM returns GROUP BY item');
SELECT eddy.replace_continuous_view('child', 'SELECT n, count(*) AS items, max(item) FROM parent GROUP BY n');
SELECT eddy.replace_continuous_view('per_maker', 'SELECT item AS maker, sum(n) AS value FROM parent GROUP BY item', start => 'staged');
SELECT eddy.create_continuous_view('past', 'SELECT n, count(*) AS items FROM parent GROUP BY n', start => 'earliest');
SELECT eddy.create_continuous_view('past', 'SELECT n, count(*) AS items FROM parent GROUP BY n', start => 'query', history => 'SELECT 1 AS n');
RESET ROLE;

SELECT count(*) FROM pg_drop_replication_slot('regress_eddy_replace');
SET client_min_messages = warning;
DROP SCHEMA replace_test CASCADE;
SELECT relname FROM pg_class WHERE relnamespace = 'eddy'::regnamespace AND relname ~ '^_(totals|values|log|windows|per_maker|parent|child)_';
DROP ROLE regress_eddy_ann, regress_eddy_bob;
