-- Parts of a query that are applied when a continuous view is read: over the result that is maintained.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET timezone = 'UTC';
SET synchronous_commit = on;
\set SHOW_CONTEXT never
CREATE SCHEMA reading;
SET search_path = reading;
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/test/sql/functions.sql

CREATE UNLOGGED TABLE sales (id int, item text, shop numeric, price float8, at timestamptz);
SELECT eddy.create_stream('sales', event_time => 'at', delay => '1 day');
CREATE TABLE items (item text, label text);
INSERT INTO items VALUES ('a', 'apple'), ('b', 'bread');
CREATE TABLE history (item text, n bigint);
INSERT INTO history VALUES ('old', 7);
CREATE TABLE queries (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, query text);

INSERT INTO queries (query) VALUES
-- ORDER BY and LIMIT.
('SELECT item, count(*) FROM sales GROUP BY item ORDER BY count(*) DESC, item'),
('SELECT item, count(*) FROM sales GROUP BY item ORDER BY sum(price) DESC NULLS LAST, item LIMIT 3'),
('SELECT DISTINCT item FROM sales ORDER BY item LIMIT 2'),
('SELECT * FROM sales ORDER BY id DESC LIMIT 5'),
('SELECT id, item FROM sales UNION ALL SELECT -id, item FROM sales WHERE id > 10 ORDER BY id DESC LIMIT 7'),
-- Window functions, and the best groups of each window.
($$SELECT w.window_start, item, count(*) AS n, row_number() OVER (PARTITION BY w.window_start ORDER BY count(*) DESC, item) AS place
   FROM sales, eddy.tumble(at, '1 min') w GROUP BY w.window_start, item$$),
($$SELECT * FROM (
     SELECT w.window_start, item, count(*) AS n, row_number() OVER (PARTITION BY w.window_start ORDER BY count(*) DESC, item) AS place
     FROM sales, eddy.tumble(at, '1 min') w GROUP BY w.window_start, item) q
   WHERE place <= 2$$),
($$SELECT item, sum(count(*)) OVER (ORDER BY item) AS running, round(100 * count(*) / sum(count(*)) OVER (), 3) AS percent, count(*)
   FROM sales GROUP BY item$$),
($$SELECT item, rank() OVER w, count(*) OVER w FROM sales GROUP BY item, shop
   WINDOW w AS (PARTITION BY item ORDER BY max(price) NULLS FIRST, shop RANGE UNBOUNDED PRECEDING)$$),
($$SELECT item, GROUPING(item) AS total, rank() OVER (PARTITION BY GROUPING(item) ORDER BY sum(price)) FROM sales GROUP BY CUBE (item, shop)$$),
-- A query around an aggregation.
('SELECT count(*), avg(n) FROM (SELECT id % 3, item, count(*) AS n FROM sales GROUP BY id % 3, item) q WHERE n > 1'),
('SELECT count(*) FROM (SELECT DISTINCT item, shop FROM sales) q'),
($$SELECT q.item, items.label, n FROM (SELECT item, count(*) AS n FROM sales GROUP BY item HAVING count(*) > 5) q
   LEFT JOIN items USING (item)$$),
($$WITH a AS (SELECT item, shop, sum(price) AS t FROM sales GROUP BY item, shop)
   SELECT x.item, x.shop, x.t / nullif(y.t, 0) AS share
   FROM a x JOIN (SELECT item, sum(t) AS t FROM a GROUP BY item) y USING (item)$$),
('SELECT item, count(*) FROM sales GROUP BY item UNION ALL SELECT item, n FROM history'),
('SELECT EXISTS (SELECT FROM history) AS e, max(n) FROM (SELECT item, count(*) AS n FROM sales GROUP BY item) q'),
('SELECT DISTINCT count(*) AS n FROM sales GROUP BY item, shop'),
('SELECT DISTINCT ON (shop) shop, item, count(*) FROM sales GROUP BY shop, item ORDER BY shop, count(*) DESC, item'),
('SELECT item, generate_series(1, least(count(*), 3)) AS n FROM sales GROUP BY item'),
-- Sub-selects over groups.
('SELECT item, count(*), (SELECT label FROM items i WHERE i.item = s.item) FROM sales s GROUP BY item'),
('SELECT item, count(*) FROM sales s GROUP BY item, shop HAVING EXISTS (SELECT FROM items i WHERE i.item <= s.item) AND max(price) > 2'),
('SELECT item, EXISTS (SELECT FROM items i WHERE i.item = s.item AND EXISTS (SELECT FROM items j WHERE j.item = s.item AND j.label = i.label)),
         rank() OVER (ORDER BY sum(price), (SELECT max(label) FROM items i WHERE i.item > s.item), item) FROM sales s GROUP BY item'),
('SELECT (SELECT max(label) FROM items) AS m, (SELECT label FROM items i WHERE i.item = s.item) AS label, count(*) FROM sales s GROUP BY 1, 2'),
('SELECT item, (SELECT string_agg(i.item, $$,$$ ORDER BY i.item) FROM items i WHERE i.item <> s.item), GROUPING(item), count(*) FROM sales s
   GROUP BY ROLLUP (item)'),
-- DISTINCT ON rows, and the same with row_number(), keep one row of each key.
('SELECT DISTINCT ON (item) item, id, at FROM sales ORDER BY item, id'),
('SELECT DISTINCT ON (item) item, price, at FROM sales ORDER BY item, price DESC NULLS LAST, id'),
('SELECT DISTINCT ON (shop, lower(item)) id FROM sales ORDER BY lower(item) DESC, shop, at DESC, id'),
($$SELECT DISTINCT ON (item, item || 'x') item, id, item AS again FROM (SELECT * FROM sales WHERE price > 3 OR price IS NULL) q
   ORDER BY item, item || 'x', at, id$$),
($$SELECT DISTINCT ON (w.window_start) w.window_start, id, price FROM sales, eddy.tumble(at, '1 min') w ORDER BY 1, price, id$$),
('SELECT item, id, at FROM (SELECT *, row_number() OVER (PARTITION BY item ORDER BY id DESC) AS n FROM sales) q WHERE n = 1'),
($$SELECT q.* FROM (SELECT item, id, row_number() OVER (PARTITION BY lower(item), shop ORDER BY id, at DESC) AS n
                     FROM sales WHERE price > 2) q WHERE q.n <= 1$$),
-- Other window functions over rows: all rows are kept.
('SELECT id, price, price - lag(price) OVER (PARTITION BY item ORDER BY id) AS change FROM sales'),
('SELECT * FROM (SELECT id, item, rank() OVER (PARTITION BY item ORDER BY id DESC) AS r FROM sales) q WHERE r <= 2'),
-- Set-returning functions run after window functions and DISTINCT ON, unless these sort by one of them.
('SELECT id, generate_series(1, id % 3) AS n, row_number() OVER (ORDER BY id) AS r, count(*) OVER () FROM sales'),
('SELECT id, generate_series(1, id % 3) AS n, rank() OVER (PARTITION BY generate_series(1, id % 3) ORDER BY id) AS r FROM sales'),
('SELECT item, n FROM (SELECT item, generate_series(1, 2) AS n, row_number() OVER (PARTITION BY item ORDER BY id) AS r FROM sales) q WHERE r = 1'),
('SELECT DISTINCT ON (item) item, generate_series(1, 2 + id % 2) AS n, id FROM sales ORDER BY item, id DESC'),
('SELECT q.n, count(*) FROM (SELECT DISTINCT ON (item) item, id * generate_series(1, 2) AS n FROM sales ORDER BY item, at, id) q GROUP BY q.n'),
('SELECT DISTINCT ON (item) item, generate_series(1, 2) AS n FROM sales ORDER BY item, generate_series(1, 2) DESC, id');

DO $$ BEGIN PERFORM eddy.create_continuous_view('v' || n, query) FROM queries; END $$;
INSERT INTO sales
SELECT g, (ARRAY['a', 'B', 'b', NULL])[1 + g % 4], g % 3, nullif(g % 7, 3), '2026-01-01Z'::timestamptz + (g * 37 % 600) * interval '1 s'
FROM generate_series(1, 40) g;
INSERT INTO sales
SELECT g, (ARRAY['a', 'B', 'b', 'c'])[1 + g % 4], g % 5, g * 13 % 17, '2026-01-01Z'::timestamptz + (g * 41 % 700) * interval '1 s'
FROM generate_series(41, 70) g;
INSERT INTO sales SELECT 1000 + g, 'c', 2.00, NULL, '2026-01-01Z'::timestamptz + g * interval '30 s' FROM generate_series(-20, 70) g;
INSERT INTO sales VALUES (-1, 'a', 1, 0, '2026-01-01Z');

-- Each view is compared with its query over all rows, in both directions.
SELECT n, d.*, query FROM queries, compare('v' || n, query) d WHERE rows = 0 OR differences <> 0 ORDER BY n;
SELECT count(*) AS compared, sum(rows) AS rows FROM queries, compare('v' || n, query);
DO $$ BEGIN PERFORM eddy.pause('v' || n::text) FROM queries; PERFORM eddy.resume(('v' || n)::regclass) FROM queries; END $$;
SELECT count(*) AS compared, sum(rows) AS rows, sum(differences) AS differences FROM queries, compare('v' || n, query);

-- What is maintained does not contain what is computed when reading.
SELECT regexp_replace(pg_get_viewdef('v7'), '\mq\.', '', 'g') AS pg_get_viewdef;
-- The reader is evaluated at each reading, so it can depend on the time; the part that is maintained cannot.
SELECT eddy.create_continuous_view('recent', $$
    SELECT * FROM (SELECT date_trunc('day', at) AS day, count(*) FROM sales GROUP BY 1) q WHERE day < now() $$, start => 'staged');
SELECT count(*) FROM recent;

-- Consumers receive the rows that are maintained, without columns that are computed when reading.
SELECT eddy.create_continuous_view('ranking', $$
    SELECT rank() OVER (ORDER BY count(*) DESC) AS place, item, count(*) AS n FROM sales GROUP BY item HAVING count(*) > 1 $$);
SELECT 'ok' FROM pg_create_logical_replication_slot('regress_eddy_reading', 'pg_eddy_cdc');
INSERT INTO sales VALUES (1, 'x', 1, 1, '2026-01-01Z');
INSERT INTO sales VALUES (1, 'x', 1, 1, '2026-01-01Z'), (1, 'y', 1, 1, '2026-01-01Z'), (1, 'y', 1, 1, '2026-01-01Z');
SELECT * FROM ranking ORDER BY item;
SELECT d ->> 'op' AS op, d -> 'key' AS key, d -> 'after' AS after
FROM (SELECT data::jsonb AS d FROM pg_logical_slot_get_changes('regress_eddy_reading', NULL, NULL, 'views', 'reading.ranking', 'batch-bytes', '0')) s
WHERE d ->> 'op' IN ('c', 'u', 'd');
SELECT pg_drop_replication_slot('regress_eddy_reading');

-- Rows of a view with ORDER BY can be deleted; a view with other parts that are applied when reading is not updatable.
DELETE FROM v1 WHERE item IN ('a', 'b');
SELECT * FROM v1;
\set VERBOSITY terse
DELETE FROM v7;
\set VERBOSITY default

\pset format unaligned
\pset tuples_only on
SELECT q || E'\n    ' || refusal(q) FROM (VALUES
  ('SELECT count(*) FROM (SELECT id, lag(price) OVER (ORDER BY id) FROM sales) q'),
  ('SELECT count(*) FROM (SELECT id FROM sales ORDER BY id LIMIT 3) q'),
  ('SELECT count(*) FROM (SELECT id, row_number() OVER (PARTITION BY item ORDER BY id) AS n FROM sales) q WHERE n = 1'),
  ('SELECT DISTINCT ON (item) item, id FROM sales ORDER BY item, id LIMIT 3'),
  ('SELECT s.id, q.n FROM sales s JOIN (SELECT item, count(*) AS n FROM sales GROUP BY item) q USING (item)'),
  ('SELECT * FROM (SELECT item, count(*) FROM sales GROUP BY item) a JOIN (SELECT item, sum(price) FROM sales GROUP BY item) b USING (item)'),
  ('SELECT count(*) FROM sales UNION ALL SELECT sum(id) FROM sales'),
  ('SELECT item FROM sales UNION SELECT label FROM items'),
  ('SELECT i.label, q.n FROM items i, LATERAL (SELECT count(*) AS n FROM sales s WHERE s.item = i.item) q'),
  ('SELECT * FROM (SELECT item, count(*) FROM sales GROUP BY item) q WHERE item IN (SELECT item FROM sales)'),
  ('SELECT item, count(*), (SELECT max(id) FROM sales t WHERE t.item = s.item) FROM sales s GROUP BY item')) r(q);
\pset format aligned
\pset tuples_only off

SET client_min_messages = warning;
DROP SCHEMA reading CASCADE;
