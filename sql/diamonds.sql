-- Continuous views that read several views, or views and streams, by UNION ALL. Whatever reaches such a view by several ways
-- changes it once; its content is that of its SELECT over the rows of what it reads, after each statement.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE SCHEMA diamonds;
RESET client_min_messages;
SET search_path = diamonds, public;
SET timezone = 'UTC';
\set SHOW_CONTEXT never
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/test/sql/functions.sql

CREATE FUNCTION at(minutes numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT timestamptz '2026-01-01 00:00Z' + minutes * interval '1 minute' $$;
CREATE FUNCTION minute(t timestamptz) RETURNS numeric LANGUAGE sql IMMUTABLE AS
    $$ SELECT trim_scale(extract(epoch FROM t - timestamptz '2026-01-01 00:00Z') / 60) $$;
-- The oracle: views over views whose content is not that of their SELECT over what they read.
CREATE FUNCTION differing() RETURNS SETOF regclass LANGUAGE sql AS $$
    SELECT differing(VARIADIC array_agg(c.view ORDER BY c.view)) FROM eddy.continuous_views c JOIN pg_class r ON r.oid = c.view
    WHERE r.relnamespace = 'diamonds'::regnamespace AND c.state = 'running'
      AND EXISTS (SELECT FROM unnest(c.streams) s JOIN pg_class k ON k.oid = s WHERE k.relkind = 'v')
$$;

-- Views whose rows change. "combined" follows from sales by two views, one of which follows from the other.
CREATE UNLOGGED TABLE sales (item text, amount numeric, ts timestamptz);
SELECT eddy.create_stream('sales', event_time => 'ts');
SELECT eddy.create_continuous_view('items', 'SELECT item, count(*) AS n, sum(amount) AS amount FROM sales GROUP BY item');
SELECT eddy.create_continuous_view('counts', 'SELECT n, count(*) AS items, sum(amount) AS amount FROM items GROUP BY n');
SELECT eddy.create_continuous_view('combined', $$
    SELECT u.kind, count(*) AS rows, sum(u.amount) AS amount, max(u.amount) AS top, array_agg(u.n ORDER BY u.n) AS ns
    FROM (SELECT 'item' AS kind, n, amount FROM items UNION ALL SELECT 'count', n, amount FROM counts WHERE items > 0) AS u
    GROUP BY u.kind $$);
INSERT INTO sales VALUES ('a', 1.5, at(1)), ('b', 2, at(1)), ('a', 3, at(2));
SELECT * FROM combined ORDER BY kind;
-- a stream next to views of it, whose columns have other types
SELECT eddy.create_continuous_view('mixed', $$
    SELECT u.item, count(*) AS rows, sum(u.amount) AS amount, min(u.amount) AS least
    FROM (SELECT item, amount FROM sales WHERE amount > 1 UNION ALL SELECT item, n FROM items
          UNION ALL SELECT 'n' || n, -amount FROM counts) AS u GROUP BY u.item $$, start => 'staged');
-- the same view twice, in a WITH; joins and functions of tables beside rows that only appear
CREATE TABLE names (item text, name text);
INSERT INTO names VALUES ('a', 'apple'), ('b', 'bread');
SELECT eddy.create_continuous_view('twice', $$
    WITH more AS (SELECT item, amount * 2 AS amount FROM items WHERE n > 1)
    SELECT u.name, sum(u.amount) AS amount, count(*) FILTER (WHERE u.amount > 5) AS large
    FROM (TABLE more UNION ALL SELECT item, amount FROM items
          UNION ALL SELECT names.name, sales.amount FROM sales JOIN names USING (item)) AS u (name, amount) GROUP BY u.name $$, start => 'staged');
-- and a view over all of them
SELECT eddy.create_continuous_view('above', $$
    SELECT count(*) AS rows, sum(r) AS sum, count(DISTINCT a) AS amounts
    FROM (SELECT rows AS r, amount AS a FROM combined UNION ALL SELECT rows, amount FROM mixed UNION ALL SELECT large, amount FROM twice
          UNION ALL SELECT n, amount FROM counts UNION ALL SELECT 1, amount FROM sales) AS u $$, start => 'staged');
-- UNION keeps each row once, and takes it back when the last of its origins disappears
SELECT eddy.create_continuous_view('either', $$
    SELECT item, n FROM items UNION SELECT item, 1 FROM sales UNION SELECT 'n' || n, items FROM counts $$, start => 'staged');
SELECT view, stream, streams FROM eddy.continuous_views WHERE view = 'above'::regclass;
SELECT * FROM above;
INSERT INTO sales SELECT 'i' || g % 7, g % 5 + 0.5, at(g) FROM generate_series(1, 60) g;
INSERT INTO sales VALUES (NULL, NULL, at(3)), ('b', 'NaN', at(3));
COPY sales FROM stdin;
i1	1.25	2026-01-01 00:00Z
c	-1.25	2026-01-01 00:00Z
\.
SELECT differing();
DELETE FROM items WHERE item IN ('b', 'i3');
SELECT differing();
-- What is rolled back did not happen. One statement that deletes from one of the views, and adds to the stream.
BEGIN;
SAVEPOINT a;
INSERT INTO sales VALUES ('a', 1000, at(1));
DELETE FROM items WHERE item = 'i2';
ROLLBACK TO a;
WITH gone AS (DELETE FROM items WHERE item = 'i4' RETURNING item)
INSERT INTO sales SELECT item, 3, at(5) FROM gone UNION ALL SELECT 'new', 4, at(6);
DELETE FROM items WHERE item = 'new';
COMMIT;
SELECT differing();
-- Each change is made once, whatever the number of ways: changes that are kept show it.
SELECT eddy.keep_changes('above');
SELECT eddy.change_token('above') AS token \gset
INSERT INTO sales VALUES ('a', 2, at(7)), ('z', 2, at(8));
SELECT op, count(*) FROM eddy.changes('above', :'token') GROUP BY op;
-- The rows of such a view follow from those of others.
DELETE FROM combined;
DELETE FROM mixed;

-- What fails on a row is a dead letter of the view. It is not replayed: rows of views could not be told from those of the stream.
SELECT eddy.create_continuous_view('shares', $$
    SELECT sum(100 / (u.amount - 4)) AS share, count(*) AS n FROM (SELECT amount FROM sales UNION ALL SELECT amount FROM counts) AS u $$);
INSERT INTO sales VALUES ('e', 4, at(1));
SELECT view, convert_from(payload, 'UTF8') AS payload, error FROM eddy.dead_letters WHERE stream = 'sales'::regclass;
SELECT eddy.replay_dead_letters('sales');
SELECT eddy.drop_continuous_view('shares');
DELETE FROM eddy.dead_letters WHERE stream = 'sales'::regclass;

-- Suspended views. While a parent is suspended its rows do not change; those of the others do. Rebuilding it rebuilds what
-- follows from it, from all that this reads: the stream holds all rows, but some groups were deleted.
SELECT eddy.pause('items');
INSERT INTO sales VALUES ('p', 7, at(9));
SELECT differing();
SELECT eddy.resume('items');
SELECT differing();
SELECT item, n FROM items WHERE item IN ('i3', 'p');
SELECT eddy.pause('above');
INSERT INTO sales VALUES ('p', 7, at(9));
SELECT eddy.resume('above');
SELECT differing();

-- Objects: a parent can be renamed, and is not dropped before its children.
ALTER VIEW counts RENAME TO numbers;
ALTER VIEW numbers RENAME COLUMN amount TO total;
ALTER TABLE sales RENAME COLUMN amount TO price;
INSERT INTO sales VALUES ('a', 5, at(1)), ('q', 5, at(2));
SELECT differing();
DROP VIEW items;
SELECT eddy.drop_continuous_view('numbers');
SELECT eddy.replace_continuous_view('numbers', 'SELECT n, count(*) AS items, sum(amount) AS total FROM items GROUP BY n');
SELECT eddy.replace_continuous_view('above', 'SELECT count(*) AS rows, sum(n) AS sum, 1::bigint AS amounts FROM items');
DROP VIEW numbers CASCADE;
SELECT view, streams FROM eddy.continuous_views WHERE 'sales'::regclass = ANY (streams) OR 'items'::regclass = ANY (streams) ORDER BY view::text;
INSERT INTO sales VALUES ('a', 5, at(1));
SELECT differing();
DROP VIEW items CASCADE;
SELECT relname FROM pg_class WHERE relnamespace = 'eddy'::regnamespace AND relname ~ '^_(items|numbers|counts|combined|mixed|twice|above)_';

-- Privileges: the owner needs SELECT and TRIGGER on all that is read.
SET client_min_messages = warning;
CREATE ROLE diamonds_reader;
RESET client_min_messages;
GRANT CREATE, USAGE ON SCHEMA diamonds TO diamonds_reader;
SELECT eddy.create_continuous_view('items', 'SELECT item, count(*) AS n FROM sales GROUP BY item');
SELECT eddy.create_continuous_view('large', 'SELECT item, price FROM sales WHERE price > 2');
GRANT SELECT, TRIGGER ON items TO diamonds_reader;
GRANT SELECT ON large TO diamonds_reader;
SET ROLE diamonds_reader;
SELECT eddy.create_continuous_view('secret', 'SELECT item, count(*) AS n FROM (SELECT item FROM items UNION ALL SELECT item FROM large) u GROUP BY item');
RESET ROLE;
GRANT TRIGGER ON large TO diamonds_reader;
REVOKE SELECT ON large FROM diamonds_reader;
GRANT SELECT (item) ON large TO diamonds_reader;
SET ROLE diamonds_reader;
SELECT eddy.create_continuous_view('secret', 'SELECT item, count(*) AS n FROM (SELECT item FROM items UNION ALL SELECT item FROM large WHERE price > 3) u GROUP BY item');
SELECT eddy.create_continuous_view('secret', 'SELECT item, count(*) AS n FROM (SELECT item FROM items UNION ALL SELECT item FROM large) u GROUP BY item', start => 'staged');
RESET ROLE;
INSERT INTO sales VALUES ('s', 3, at(1));
SELECT * FROM secret;
REVOKE SELECT (item) ON large FROM diamonds_reader;
INSERT INTO sales VALUES ('s', 1, at(1));
INSERT INTO sales VALUES ('s', 3, at(1));
SELECT state, error FROM eddy.continuous_views WHERE view = 'secret'::regclass;
DROP VIEW secret;

-- Where all rows only appear, everything is possible that a view over a stream can have; now and staged differ.
SELECT eddy.create_continuous_view('small', 'SELECT item, price, ts FROM sales WHERE price < 1');
SELECT eddy.create_continuous_view('rows', $$
    SELECT u.item, u.price, n.name FROM (SELECT item, price FROM large UNION ALL SELECT item, price FROM small) u LEFT JOIN names n USING (item) $$);
SELECT eddy.create_continuous_view('staged', $$
    SELECT u.item, u.price FROM (SELECT item, price FROM large UNION ALL SELECT item, price FROM small UNION ALL SELECT item, -price FROM sales) u $$, start => 'staged');
SELECT eddy.create_continuous_view('latest', $$
    SELECT DISTINCT ON (u.item) u.item, u.price FROM (SELECT item, price FROM large UNION ALL SELECT item, price FROM small) u ORDER BY u.item, u.price DESC $$, start => 'staged');
SELECT eddy.create_continuous_view('listed', $$
    SELECT u.item, array_agg(u.price) AS prices, string_agg(u.kind, '') AS kinds
    FROM (SELECT item, price, 'L' AS kind FROM large UNION ALL SELECT item, price, 'S' FROM small UNION ALL SELECT item, price, 's' FROM sales) u GROUP BY u.item $$);
INSERT INTO sales VALUES ('b', 0.5, at(1)), ('b', 5, at(1)), ('y', 1.5, at(1));
SELECT * FROM rows ORDER BY price;
SELECT item, cardinality(prices) AS n, kinds FROM listed WHERE item IN ('b', 'y') ORDER BY item;
SELECT 'staged', count(*) FROM (TABLE staged EXCEPT ALL (SELECT item, price FROM large UNION ALL SELECT item, price FROM small UNION ALL SELECT item, -price FROM sales)) q;
SELECT (SELECT count(*) FROM staged) = (SELECT count(*) FROM large) + (SELECT count(*) FROM small) + (SELECT count(*) FROM sales) AS all_rows;
SELECT count(*) FROM (TABLE latest EXCEPT ALL SELECT DISTINCT ON (item) item, price FROM (SELECT item, price FROM large UNION ALL SELECT item, price FROM small) u ORDER BY item, price DESC) q;
-- rows that were counted cannot be taken back
DELETE FROM large;
SELECT eddy.create_continuous_view('x', 'SELECT item FROM large UNION ALL SELECT item FROM small', start => 'query', history => 'SELECT ''a'' AS item');
SELECT eddy.create_continuous_view('x', 'SELECT item FROM sales UNION ALL SELECT item FROM small', start => 'earliest');

-- Refused: rows without a group whose other rows change, joins of these with tables, two views side by side.
SELECT eddy.create_continuous_view('x', 'SELECT item FROM large UNION ALL SELECT item FROM items');
SELECT eddy.create_continuous_view('x', 'SELECT n.name, count(*) FROM (SELECT item FROM sales UNION ALL SELECT item FROM items) u JOIN names n USING (item) GROUP BY n.name');
SELECT eddy.create_continuous_view('x', 'SELECT array_agg(item) FROM (SELECT item FROM sales UNION ALL SELECT item FROM items) u');
SELECT eddy.create_continuous_view('x', 'SELECT count(*) FROM (SELECT item FROM sales UNION ALL SELECT item FROM items) u', maintenance => 'deferred');
SELECT eddy.create_continuous_view('x', 'SELECT count(*) FROM (SELECT item FROM items GROUP BY item UNION ALL SELECT item FROM large) u');
SELECT eddy.create_continuous_view('x', 'SELECT item FROM large UNION ALL SELECT name FROM names');
SELECT eddy.create_continuous_view('x', 'SELECT item FROM large INTERSECT SELECT item FROM small');
SELECT eddy.create_continuous_view('x', 'SELECT count(*) FROM large JOIN small USING (item)');
SELECT eddy.create_continuous_view('x', 'SELECT count(*) FROM (SELECT item FROM large UNION ALL SELECT item FROM small) u JOIN items USING (item)');
-- A view that is joined is read as of the batch, as a table is, beside a stream or as an ordinary view; later changes of it have no effect.
CREATE VIEW known AS SELECT * FROM items;
SELECT eddy.create_continuous_view('joined', 'SELECT s.item, i.n FROM sales s JOIN items i USING (item)');
SELECT eddy.create_continuous_view('joined_views', 'SELECT l.item, k.n FROM large l JOIN known k USING (item)');
INSERT INTO sales VALUES ('j', 3, at(1));
INSERT INTO sales VALUES ('j', 4, at(1));
SELECT * FROM joined;
SELECT * FROM joined_views;
DROP VIEW known, joined_views;
DROP TABLE sales CASCADE;

-- Windows. One stream reaches "hours" by two views with windows of different kinds: it closes when both have.
CREATE UNLOGGED TABLE clicks (page text, ms int, ts timestamptz);
SELECT eddy.create_stream('clicks', event_time => 'ts');
SELECT eddy.create_continuous_view('minutes', $$
    SELECT page, w.window_start, w.window_end, count(*) AS n FROM clicks, eddy.tumble(ts, '5 minutes') w GROUP BY 1, 2, 3 $$, emit => 'on_close');
SELECT eddy.create_continuous_view('quarters', $$
    SELECT page, w.window_start, w.window_end, count(*) AS n FROM clicks, eddy.tumble(ts, '15 minutes') w GROUP BY 1, 2, 3 $$, late => 'update', allowed_lateness => '10 minutes');
SELECT eddy.create_continuous_view('slow', 'SELECT page, ts FROM clicks WHERE ms > 50');
SELECT eddy.create_continuous_view('hours', $$
    SELECT w.window_start, w.window_end, u.kind, sum(u.n) AS n, count(*) AS rows
    FROM (SELECT 'm' AS kind, window_start AS at, n FROM minutes UNION ALL SELECT 's', ts, 1 FROM slow UNION ALL SELECT 'c', ts, 1 FROM clicks) u,
         eddy.tumble(u.at, '1 hour') w GROUP BY 1, 2, 3 $$, emit => 'on_close', late => 'keep');
SELECT eddy.create_continuous_view('quarter_hours', $$
    SELECT w.window_start, w.window_end, u.kind, sum(u.n) AS n, count(*) AS rows
    FROM (SELECT 'm' AS kind, window_start AS at, n FROM minutes UNION ALL SELECT 'q', window_start, n FROM quarters) u,
         eddy.tumble(u.at, '1 hour') w GROUP BY 1, 2, 3 $$, emit => 'on_close');
INSERT INTO clicks SELECT 'p' || g % 2, g, at(g) FROM generate_series(0, 59) g;
SELECT count(*) FROM hours;
-- In one transaction the last minutes close, and the hour, with their rows. "quarters" still accepts late rows.
INSERT INTO clicks VALUES ('p0', 60, at(60));
SELECT minute(window_end) AS "end", kind, n, rows FROM hours ORDER BY 1, 2;
SELECT count(*) FROM quarter_hours;
INSERT INTO clicks VALUES ('p1', 60, at(58)), ('p0', 0, at(70));
SELECT minute(window_end) AS "end", kind, n, rows FROM quarter_hours ORDER BY 1, 2;
-- the late row is in the views that accept it; in "hours" it is late, from the stream and through "slow"
SELECT view, minute(window_end) AS "end", row_data->>'page' AS page FROM eddy.late_rows WHERE view = 'hours'::regclass ORDER BY row_data::text;
SELECT view, minute(watermark) AS watermark, minute(closed_until) AS closed FROM eddy.continuous_views WHERE view IN ('hours'::regclass, 'quarter_hours'::regclass) ORDER BY view;
SELECT eddy.create_continuous_view('x', $$
    SELECT w.window_end, eddy.combine(u.n) FROM (SELECT window_start AS at, n FROM minutes UNION ALL SELECT window_start, n FROM minutes UNION ALL SELECT ts, 1 FROM slow) u,
    eddy.tumble(u.at, '1 hour') w GROUP BY 1 $$);

-- Views of different streams: the watermark is the minimum, as of UNION ALL of the streams.
CREATE UNLOGGED TABLE views (page text, ts timestamptz);
SELECT eddy.create_stream('views', event_time => 'ts');
SELECT eddy.create_continuous_view('view_minutes', $$
    SELECT page, w.window_start, w.window_end, count(*) AS n FROM views, eddy.tumble(ts, '5 minutes') w GROUP BY 1, 2, 3 $$, emit => 'on_close', retention => '30 minutes');
SELECT eddy.create_continuous_view('all_hours', $$
    SELECT u.page, w.window_start, w.window_end, sum(u.n) AS n, count(*) AS rows
    FROM (SELECT page, window_end AS at, n FROM minutes UNION ALL SELECT page, window_end, n FROM view_minutes) u, eddy.tumble(u.at, '1 hour') w GROUP BY 1, 2, 3 $$,
    emit => 'on_close', late => 'keep', retention => '1 day', start => 'staged');
SELECT eddy.create_continuous_view('all_totals', 'SELECT page, sum(n) AS n FROM all_hours GROUP BY page');
CREATE VIEW all_rows AS
    SELECT u.page, h.window_start, h.window_end, sum(u.n) AS n, count(*) AS rows
    FROM (SELECT page, w.window_end AS at, count(*) AS n FROM clicks, eddy.tumble(ts, '5 minutes') w WHERE NOT (ts = at(58) AND ms = 60) GROUP BY 1, 2
          UNION ALL SELECT page, w.window_end, count(*) FROM views, eddy.tumble(ts, '5 minutes') w GROUP BY 1, 2) u, eddy.tumble(u.at, '1 hour') h
    WHERE h.window_end <= eddy.watermark('all_hours') GROUP BY 1, 2, 3;
INSERT INTO clicks SELECT 'p', 1, at(g) FROM generate_series(71, 130) g;
SELECT count(*), eddy.watermark('all_hours') FROM all_hours;
INSERT INTO views SELECT 'p', at(g) FROM generate_series(71, 100) g;
SELECT count(*), minute(eddy.watermark('all_hours')) AS watermark FROM all_hours;
INSERT INTO views SELECT 'p', at(g) FROM generate_series(101, 125) g;
SELECT page, minute(window_end) AS "end", n, rows FROM all_hours ORDER BY 1, 2;
-- both in one statement, or one of them ahead by hand
WITH c AS (INSERT INTO clicks SELECT 'p', 1, at(g) FROM generate_series(131, 184) g RETURNING *) INSERT INTO views SELECT page, ts FROM c;
SELECT page, minute(window_end) AS "end", n, rows FROM all_hours ORDER BY 1, 2;
SELECT eddy.advance_watermark('clicks', at(245)) IS NOT NULL AS clicks, eddy.advance_watermark('views', at(250)) IS NOT NULL AS views;
SELECT page, minute(window_end) AS "end", n, rows FROM all_hours ORDER BY 1, 2;
SELECT * FROM all_totals;
(TABLE all_hours EXCEPT ALL TABLE all_rows) UNION ALL (TABLE all_rows EXCEPT ALL TABLE all_hours);
-- a view without open windows does not hold those of others, whatever it has closed
SELECT eddy.create_continuous_view('rare', $$
    SELECT w.window_start, w.window_end, count(*) AS n FROM views, eddy.tumble(ts, '5 minutes') w WHERE page = 'never' GROUP BY 1, 2 $$, emit => 'on_close');
SELECT eddy.create_continuous_view('rare_hours', $$
    SELECT w.window_end, sum(u.n) AS n FROM (SELECT window_start AS at, n FROM minutes UNION ALL SELECT window_start, n FROM rare) u, eddy.tumble(u.at, '1 hour') w
    GROUP BY 1 $$, emit => 'on_close', start => 'staged');
SELECT minute(window_end) AS "end", n FROM rare_hours ORDER BY 1;
-- rows that retention has removed from a parent remain counted
DO $$ DECLARE deadline timestamptz := clock_timestamp() + interval '60 s';
BEGIN
    WHILE EXISTS (SELECT FROM view_minutes WHERE window_end < at(200)) AND clock_timestamp() < deadline LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
SELECT count(*) FROM view_minutes WHERE window_end < at(200);
SELECT (SELECT sum(n) FROM all_totals) = (SELECT sum(n) FROM all_hours) AS same;
DROP VIEW minutes;
DROP VIEW all_rows;
DROP VIEW view_minutes, rare CASCADE;
DROP TABLE views;
DROP TABLE clicks CASCADE;
SELECT count(*) FROM eddy.continuous_views c JOIN pg_class r ON r.oid = c.view WHERE r.relnamespace = 'diamonds'::regnamespace;
SET client_min_messages = warning;
DROP SCHEMA diamonds CASCADE;
DROP ROLE diamonds_reader;
