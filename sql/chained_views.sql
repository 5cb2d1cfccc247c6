-- Continuous views over continuous views. A view reads another one, its parent, by its name in FROM; its
-- content is that of its SELECT over the rows of the parent, after each statement.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE SCHEMA chained;
RESET client_min_messages;
SET search_path = chained, public;
SET timezone = 'UTC';
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/test/sql/functions.sql

CREATE FUNCTION at(minutes numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT timestamptz '2026-01-01 00:00Z' + minutes * interval '1 minute' $$;
CREATE FUNCTION minute(t timestamptz) RETURNS numeric LANGUAGE sql IMMUTABLE AS
    $$ SELECT trim_scale(extract(epoch FROM t - timestamptz '2026-01-01 00:00Z') / 60) $$;

-- A parent whose rows change: each change is followed, by taking back the old row and adding the new one.
CREATE UNLOGGED TABLE orders (customer text, amount numeric, ts timestamptz);
SELECT eddy.create_stream('orders', event_time => 'ts');
SELECT eddy.create_continuous_view('customers', $$
    SELECT customer, count(*) AS orders, sum(amount) AS revenue FROM orders GROUP BY customer $$);
SELECT eddy.create_continuous_view('sizes', $$
    SELECT orders, count(*) AS customers, sum(revenue) AS revenue, avg(revenue) AS average,
           min(customer) AS first, max(revenue) AS top, count(DISTINCT revenue) AS revenues,
           array_agg(customer ORDER BY customer) AS names, percentile_cont(0.5) WITHIN GROUP (ORDER BY revenue) AS median,
           count(*) FILTER (WHERE revenue > 2) AS large
    FROM customers GROUP BY orders $$);
INSERT INTO orders VALUES ('ann', 1.5, at(1)), ('bob', 2.25, at(2)), ('ann', 1, at(3));
SELECT * FROM sizes ORDER BY orders;
-- bob moves to another group, and the one without customers disappears
INSERT INTO orders VALUES ('bob', 'NaN', at(3));
SELECT * FROM sizes ORDER BY orders;
-- NaN can be taken back, like all values
DELETE FROM customers WHERE customer = 'bob';
SELECT * FROM sizes ORDER BY orders;
SELECT differing('sizes');

-- Of equal values that look different, the one that is taken back disappears.
CREATE COLLATION without_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE UNLOGGED TABLE offers (id int, name text COLLATE without_case, price numeric, ts timestamptz);
SELECT eddy.create_stream('offers');
SELECT eddy.create_continuous_view('prices', 'SELECT id, eddy.last(name, ts) AS name, eddy.last(price, ts) AS price FROM offers GROUP BY id');
SELECT eddy.create_continuous_view('price_list', $$
    SELECT string_agg(name, ', ' ORDER BY id) AS names, array_agg(price ORDER BY id) AS prices, count(DISTINCT name) AS different,
           max(name) AS last, min(price) AS least, mode() WITHIN GROUP (ORDER BY price) AS usual FROM prices $$);
INSERT INTO offers VALUES (1, 'Tea', 1.0, at(1));
INSERT INTO offers VALUES (2, 'tea', 1.000, at(1)), (3, 'tea', 1.0, at(1));
SELECT names, prices, different FROM price_list;
INSERT INTO offers VALUES (1, 'TEA', 1.00, at(2)), (3, 'milk', 2, at(2));
SELECT names, prices, different FROM price_list;
DELETE FROM prices WHERE id > 1;
TABLE price_list;
DROP TABLE offers CASCADE;
DROP COLLATION without_case;

-- Chains of five, and two children of one parent, of which one is the parent of another.
SELECT eddy.create_continuous_view('totals', $$
    SELECT count(*) AS sizes, sum(customers) AS customers, sum(revenue) AS revenue, max(top) AS top FROM sizes $$);
SELECT eddy.create_continuous_view('by_total', $$
    SELECT customers, count(*) AS rows, max(revenue) AS revenue FROM totals GROUP BY customers $$);
SELECT eddy.create_continuous_view('last_one', $$
    SELECT sum(rows) AS rows, sum(customers) AS customers, bool_and(revenue > 0) AS positive FROM by_total $$);
SELECT eddy.create_continuous_view('spenders', $$
    SELECT revenue > 10 AS much, count(*) AS n FROM customers WHERE orders > 0 GROUP BY 1 HAVING count(*) > 1 $$);
SELECT eddy.create_continuous_view('subtotals', $$
    SELECT orders > 2 AS many, customer, sum(revenue) AS revenue, count(*) AS n FROM customers GROUP BY ROLLUP (1, 2) $$);
SELECT eddy.create_continuous_view('distinct_revenues', $$ SELECT DISTINCT revenue FROM customers $$);
-- a new child of such a parent has counted its rows
SELECT * FROM last_one;
INSERT INTO orders SELECT 'c' || g % 17, g % 5 + 0.1, at(g) FROM generate_series(1, 200) g;
INSERT INTO orders SELECT 'c' || g % 5, NULL, at(g) FROM generate_series(1, 20) g;
DELETE FROM customers WHERE customer LIKE 'c1%';
COPY orders FROM stdin;
c1	1.25	2026-01-01 00:00Z
c1	-1.25	2026-01-01 00:00Z
\.
SELECT * FROM totals;
SELECT * FROM last_one;
SELECT differing('sizes', 'totals', 'by_total', 'last_one', 'spenders', 'subtotals', 'distinct_revenues');
-- What is rolled back did not happen. Several statements, and one that changes the parent in two ways.
BEGIN;
SAVEPOINT a;
INSERT INTO orders VALUES ('ann', 1000, at(1));
DELETE FROM customers WHERE customer = 'c2';
ROLLBACK TO a;
WITH gone AS (DELETE FROM customers WHERE customer = 'c3' RETURNING customer)
INSERT INTO orders SELECT customer, 3, at(5) FROM gone UNION ALL SELECT 'new', 4, at(6);
SELECT differing('sizes', 'totals', 'by_total', 'last_one', 'spenders', 'subtotals', 'distinct_revenues');
DELETE FROM customers WHERE customer = 'new';
COMMIT;
SELECT differing('sizes', 'totals', 'by_total', 'last_one', 'spenders', 'subtotals', 'distinct_revenues');
DELETE FROM customers;
SELECT * FROM sizes;
SELECT * FROM last_one;
SELECT differing('totals', 'by_total', 'last_one', 'spenders', 'subtotals', 'distinct_revenues');
-- The rows of such a child follow from those of the parent, and can only be deleted there.
DELETE FROM sizes;

-- Objects: a parent is not dropped before its children, and can be renamed.
DROP VIEW customers;
SELECT eddy.drop_continuous_view('by_total');
ALTER VIEW customers RENAME TO clients;
ALTER VIEW clients RENAME COLUMN orders TO purchases;
INSERT INTO orders VALUES ('ann', 1, at(1)), ('ann', 2, at(2)), ('bob', 3, at(3));
SELECT orders, customers, names FROM sizes ORDER BY 1;
SELECT differing('sizes', 'totals', 'spenders');
DROP VIEW sizes CASCADE;
SELECT view, stream FROM eddy.continuous_views WHERE view::text !~ '\.' ORDER BY view::text;
SELECT relname FROM pg_class WHERE relnamespace = 'eddy'::regnamespace AND relname LIKE '\_sizes%';

-- What fails on a row of the parent is a dead letter of the child, once.
SELECT eddy.create_continuous_view('shares', $$
    SELECT purchases, sum(100 / (revenue - 4)) AS share FROM clients GROUP BY purchases $$);
INSERT INTO orders VALUES ('bob', 1, at(1)), ('eve', 4, at(1));
SELECT * FROM shares ORDER BY 1;
SELECT view, convert_from(payload, 'UTF8') AS payload, error FROM eddy.dead_letters WHERE stream = 'orders'::regclass;
INSERT INTO orders VALUES ('bob', 1, at(1)), ('eve', 4, at(1));
SELECT * FROM shares ORDER BY 1;
SELECT count(*) FROM eddy.dead_letters WHERE stream = 'orders'::regclass;
-- An error of a whole group suspends the child: rows that it has not counted could not be taken back.
SELECT eddy.create_continuous_view('inverse', $$ SELECT 100 / (4 - count(*)) AS inverse FROM clients $$);
INSERT INTO orders VALUES ('fay', 1, at(1));
SELECT state, error FROM eddy.continuous_views WHERE view = 'inverse'::regclass;
DELETE FROM clients WHERE customer = 'fay';
SELECT eddy.resume('inverse');
SELECT * FROM inverse;
-- While a parent is suspended, its rows do not change; rebuilding it rebuilds its children.
SELECT eddy.pause('clients');
INSERT INTO orders VALUES ('ann', 5, at(1));
SELECT differing('shares', 'inverse');
SELECT eddy.resume('clients');
SELECT customer, purchases FROM clients ORDER BY customer;
SELECT differing('inverse');
-- The owner of a child needs SELECT and TRIGGER on the parent.
SET client_min_messages = warning;
CREATE ROLE chained_reader;
RESET client_min_messages;
GRANT CREATE, USAGE ON SCHEMA chained TO chained_reader;
SET ROLE chained_reader;
SELECT eddy.create_continuous_view('secret', $$ SELECT count(*) FROM clients $$);
RESET ROLE;
GRANT TRIGGER ON clients TO chained_reader;
SET ROLE chained_reader;
SELECT eddy.create_continuous_view('secret', $$ SELECT count(*) FROM clients $$);
RESET ROLE;
GRANT SELECT (customer) ON clients TO chained_reader;
SET ROLE chained_reader;
SELECT eddy.create_continuous_view('secret', $$ SELECT sum(revenue) FROM clients $$);
SELECT eddy.create_continuous_view('secret', $$ SELECT count(customer) FROM clients $$);
SELECT * FROM secret;
RESET ROLE;
REVOKE SELECT (customer) ON clients FROM chained_reader;
INSERT INTO orders VALUES ('gil', 5, at(1));
SELECT state, error FROM eddy.continuous_views WHERE view = 'secret'::regclass;

-- Which children cannot follow changes, and what to do.
CREATE TABLE regions (customer text, region text);
SELECT eddy.create_continuous_view('no', $$ SELECT customer, revenue FROM clients WHERE revenue > 3 $$);
SELECT eddy.create_continuous_view('no', $$ SELECT DISTINCT ON (purchases) * FROM clients ORDER BY purchases, revenue $$);
SELECT eddy.create_continuous_view('no', $$ SELECT region, count(*) FROM clients JOIN regions USING (customer) GROUP BY region $$);
SELECT eddy.create_continuous_view('no', $$
    SELECT count(*) FROM clients WHERE EXISTS (SELECT FROM regions r WHERE r.customer = clients.customer) $$);
SELECT eddy.create_continuous_view('no', $$ SELECT purchases, array_agg(customer) FROM clients GROUP BY purchases $$);
SELECT eddy.create_continuous_view('no', $$ SELECT purchases, eddy.top_k(customer, 3) FROM clients GROUP BY purchases $$);
SELECT eddy.create_continuous_view('no', $$ SELECT count(*) FROM clients a JOIN shares b USING (purchases) $$);
SELECT eddy.create_continuous_view('ranked', $$ SELECT customer, count(*) FROM orders GROUP BY customer ORDER BY 2 LIMIT 3 $$);
SELECT eddy.create_continuous_view('no', $$ SELECT count(*) FROM ranked $$);
SELECT eddy.create_continuous_view('hopping', $$
    SELECT w.window_end, count(*) AS n FROM orders, eddy.hop(ts, '1 min', '1 hour') w GROUP BY w.window_end $$);
SELECT eddy.create_continuous_view('no', $$ SELECT max(n) FROM hopping $$);
DELETE FROM eddy.dead_letters WHERE stream = 'orders'::regclass;
DROP TABLE orders CASCADE;

-- A parent whose rows appear when its windows close. In one transaction a window of the parent closes, its
-- row is counted in the child, and the window of the child closes if no other row can come.
CREATE UNLOGGED TABLE clicks (page text, ms int, ts timestamptz);
SELECT eddy.create_stream('clicks', event_time => 'ts');
SELECT eddy.create_continuous_view('minutes', $$
    SELECT page, w.window_start, w.window_end, count(*) AS clicks, max(ms) AS slowest
    FROM clicks, eddy.tumble(ts, '5 minutes') w GROUP BY page, w.window_start, w.window_end $$, emit => 'on_close');
SELECT eddy.create_continuous_view('hours', $$
    SELECT page, w.window_start, w.window_end, sum(clicks) AS clicks, count(*) AS windows, array_agg(slowest) AS slowest
    FROM minutes m, eddy.tumble(m.window_start, '1 hour') w GROUP BY page, w.window_start, w.window_end $$,
    emit => 'on_close', late => 'keep');
SELECT eddy.create_continuous_view('days', $$
    SELECT w.window_start, w.window_end, sum(clicks) AS clicks, sum(windows) AS windows
    FROM hours h, eddy.tumble(h.window_start, '1 day') w GROUP BY w.window_start, w.window_end $$);
-- a view of rows passes on the event time of what it reads, here the end of the windows
SELECT eddy.create_continuous_view('slow', $$ SELECT page, window_end, slowest FROM minutes WHERE slowest >= 50 $$);
SELECT eddy.create_continuous_view('slow_times', $$
    SELECT page, w.window_start, w.window_end, count(*) AS n FROM slow s, eddy.session(s.window_end, '10 minutes') w
    GROUP BY page, w.window_start, w.window_end $$, emit => 'on_close');
INSERT INTO clicks SELECT 'p' || g % 2, g % 60, at(g) FROM generate_series(0, 59) g;
SELECT count(*), minute(max(window_end)) FROM minutes;
SELECT count(*) FROM hours;
-- the last five minutes and the hour close together, and the first session
INSERT INTO clicks VALUES ('p0', 1, at(60));
SELECT page, minute(window_start) AS start, clicks, windows, slowest FROM hours ORDER BY page;
SELECT minute(window_start) AS start, clicks, windows FROM days;
SELECT page, slowest FROM slow ORDER BY window_end, page;
SELECT page, n FROM slow_times;
INSERT INTO clicks VALUES ('p0', 1, at(71));
SELECT page, minute(window_start) AS start, minute(window_end) AS "end", n FROM slow_times;
SELECT view, minute(watermark) AS watermark, minute(closed_until) AS closed_until
FROM eddy.continuous_views WHERE view::text IN ('minutes', 'hours', 'days', 'slow', 'slow_times') ORDER BY view::text;
SELECT differing('days', 'slow');
-- A row that is late for the parent has no effect on the child.
INSERT INTO clicks VALUES ('p1', 1, at(2));
SELECT view, late_rows FROM eddy.stat_continuous_views WHERE stream IN ('clicks'::regclass, 'minutes') ORDER BY view::text;
-- Rows that have appeared are not taken back.
DELETE FROM minutes;
-- A child can begin with the rows that have appeared.
SELECT eddy.create_continuous_view('from_now', $$ SELECT count(*) FROM minutes $$);
SELECT eddy.create_continuous_view('from_all', $$ SELECT count(*) FROM minutes $$, start => 'staged');
SELECT (TABLE from_now) AS from_now, (TABLE from_all) AS from_all, (SELECT count(*) FROM minutes) AS rows;
-- Here all queries over a stream are possible: joins, sessions, rows.
CREATE TABLE pages (page text PRIMARY KEY, site text);
INSERT INTO pages VALUES ('p0', 'a'), ('p1', 'b');
SELECT eddy.create_continuous_view('sites', $$
    SELECT site, count(*) AS windows, sum(clicks) AS clicks FROM minutes JOIN pages USING (page) GROUP BY site $$,
    start => 'staged');
SELECT minute(eddy.advance_watermark('clicks', at(2000))) AS watermark;
SELECT * FROM sites ORDER BY site;
SELECT differing('hours', 'days', 'slow', 'from_all', 'sites');
SELECT minute(window_end) AS "end", clicks FROM days;

-- Windows of a parent that changes: corrected by late rows, and final in the child after that.
CREATE UNLOGGED TABLE meters (id int, value int, ts timestamptz);
SELECT eddy.create_stream('meters', event_time => 'ts');
SELECT eddy.create_continuous_view('readings', $$
    SELECT id, w.window_start, w.window_end, sum(value) AS value FROM meters, eddy.tumble(ts, '10 minutes') w
    GROUP BY id, w.window_start, w.window_end $$, emit => 'on_close', late => 'update', allowed_lateness => '20 minutes',
    retention => '1 day');
SELECT eddy.create_continuous_view('hourly', $$
    SELECT w.window_start, w.window_end, sum(value) AS value, max(value) AS top
    FROM readings r, eddy.tumble(r.window_start, '1 hour') w GROUP BY w.window_start, w.window_end $$);
SELECT eddy.create_continuous_view('hourly_final', $$
    SELECT w.window_start, w.window_end, sum(value) AS value, max(value) AS top
    FROM readings r, eddy.tumble(r.window_start, '1 hour') w GROUP BY w.window_start, w.window_end $$, emit => 'on_close');
SELECT eddy.create_continuous_view('overlapping', $$
    SELECT w.window_end, sum(value) AS value FROM readings r, eddy.hop(r.window_start, '10 minutes', '1 hour') w
    GROUP BY w.window_end $$);
INSERT INTO meters SELECT g % 3, g, at(g) FROM generate_series(0, 65) g;
SELECT minute(window_start) AS start, value, top FROM hourly;
-- late for the window from 50 to 60, but accepted: the row of the parent changes
INSERT INTO meters VALUES (1, 1000, at(55));
SELECT minute(window_start) AS start, value, top FROM hourly;
SELECT count(*) FROM hourly_final;
SELECT differing('hourly', 'overlapping');
INSERT INTO meters VALUES (1, 1, at(80));
SELECT minute(window_start) AS start, value, top FROM hourly_final;
SELECT differing('hourly', 'overlapping');
-- Final rows of a child do not change, whatever is deleted from the parent. Such changes are late.
DELETE FROM readings WHERE window_start < at(30);
SELECT minute(window_start) AS start, value, top FROM hourly_final;
SELECT view, late_rows FROM eddy.stat_continuous_views WHERE stream = 'readings'::regclass ORDER BY view::text;

SET client_min_messages = warning;
DROP SCHEMA chained CASCADE;
DROP ROLE chained_reader;
