-- start => 'query': a view begins with the rows of a query over ordinary tables.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE ROLE regress_eddy_ann;
CREATE SCHEMA history_test AUTHORIZATION regress_eddy_ann;
SET search_path = history_test, public;
CREATE TABLE secret (item text, amount int);
SET ROLE regress_eddy_ann;

CREATE UNLOGGED TABLE sales (id int, item text NOT NULL, amount numeric(10, 2), at timestamptz);
ALTER TABLE sales DROP COLUMN id;
SELECT eddy.create_stream('sales', event_time => 'at');
CREATE TABLE archive (item text, amount int, at timestamptz, note text);
INSERT INTO archive SELECT 'item ' || i % 3, i, '2026-01-01 00:00 UTC'::timestamptz + i * interval '1 second' FROM generate_series(1, 300) i;
INSERT INTO sales VALUES ('item 0', 7, '2026-01-01 00:10 UTC');

-- Columns are matched by name and converted as by INSERT; those that are missing are NULL.
SELECT eddy.create_continuous_view('totals', 'SELECT item, count(*) AS sales, sum(amount) AS amount, count(at) AS times FROM sales GROUP BY item',
    start => 'query', history => 'SELECT amount, at FROM archive WHERE amount <= 10');
INSERT INTO sales VALUES ('item 1', 1, '2026-01-01 00:10 UTC');
SELECT * FROM totals ORDER BY item;
SELECT start, count(*) FROM eddy.continuous_views WHERE view = 'totals'::regclass GROUP BY start;
-- Rows that the stream still holds can be part of the history. It is not stored, and is not counted as rows of users.
SELECT eddy.replace_continuous_view('totals', 'SELECT item, count(*) AS sales, sum(amount) AS amount, count(at) AS times FROM sales GROUP BY item',
    start => 'query', history => 'SELECT item, amount, at FROM archive UNION ALL SELECT * FROM sales');
SELECT * FROM totals ORDER BY item;
SELECT item, count(*) AS sales, sum(amount) AS amount FROM (SELECT item, amount FROM archive UNION ALL SELECT item, amount FROM sales) a GROUP BY item
EXCEPT ALL SELECT item, sales, amount FROM totals;
SELECT count(*) FROM sales;
SELECT rows FROM eddy.partitions WHERE stream = 'sales'::regclass;

-- Windows of the history close by the watermark of the stream.
SELECT eddy.create_continuous_view('per_minute', $$
    SELECT w.window_start, count(*) AS sales FROM sales, eddy.tumble(at, '1 minute') AS w GROUP BY w.window_start, w.window_end $$,
    emit => 'on_close', start => 'query', history => 'SELECT * FROM sales UNION ALL SELECT item, amount, at FROM archive');
SELECT window_start AT TIME ZONE 'UTC' AS window_start, sales FROM per_minute ORDER BY window_start;
-- Rows on which the view fails, and without an event time, are dead letters of the view.
SELECT eddy.create_continuous_view('shares', 'SELECT sum(1 / amount) AS share FROM sales', start => 'query',
    history => $$ SELECT * FROM (VALUES ('a', 1, now()), ('b', 0, now()), ('c', 2, NULL)) v (item, amount, at) $$);
TABLE shares;
SELECT view, error, convert_from(payload, 'UTF8')::jsonb - 'at' AS payload FROM eddy.dead_letters WHERE stream = 'sales'::regclass ORDER BY id;
SELECT eddy.create_continuous_view('shares2', 'SELECT sum(1 / amount) AS share FROM sales', start => 'query',
    history => $$ SELECT 'b' AS item, 0 AS amount, now() AS at $$, on_error => 'stop');
SELECT eddy.create_continuous_view('nothing', 'SELECT count(*) FROM sales', start => 'query', history => 'SELECT * FROM sales WHERE false');
TABLE nothing;

-- A view over several streams gets the rows of a query for each of them; streams that are not named begin without rows.
CREATE UNLOGGED TABLE returns (article text, price numeric, returned timestamptz);
SELECT eddy.create_stream('returns', event_time => 'returned');
CREATE TABLE old_returns AS SELECT item AS article, amount / 2 AS price, at + interval '1 day' AS returned FROM archive WHERE amount % 7 = 0;
\set balance 'SELECT u.item, count(*) AS n, sum(u.amount) AS balance FROM (SELECT item, amount FROM sales UNION ALL SELECT article, -price FROM returns) u GROUP BY u.item'
SELECT eddy.create_continuous_view('balance', :'balance', start => 'query',
    histories => jsonb_build_object('sales', 'SELECT item, amount, at FROM archive', 'history_test.returns', 'TABLE old_returns'));
SELECT eddy.create_continuous_view('returned', :'balance', start => 'query', histories => '{"returns": "TABLE old_returns"}');
WITH s AS (INSERT INTO sales VALUES ('item 2', 5, '2026-01-02 00:00 UTC')) INSERT INTO returns VALUES ('item 2', 2, '2026-01-03 00:00 UTC');
SELECT * FROM balance ORDER BY item;
SELECT item, count(*) AS n, sum(amount) AS balance FROM (SELECT item, amount FROM archive UNION ALL SELECT article, -price FROM old_returns
    UNION ALL VALUES ('item 2', 5), ('item 2', -2)) u GROUP BY item EXCEPT ALL TABLE balance;
SELECT sum(n) - 2 = (SELECT count(*) FROM old_returns) AS only_returns FROM returned;
SELECT eddy.replace_continuous_view('returned', :'balance' || ' HAVING count(*) > 1', start => 'query',
    histories => jsonb_build_object('returns', 'SELECT * FROM old_returns UNION ALL SELECT * FROM returns', 'sales', 'SELECT * FROM sales'));
SELECT sum(n) = (SELECT count(*) FROM old_returns) + 4 AS replaced FROM returned;
SELECT eddy.create_continuous_view('v', :'balance', start => 'query', history => 'TABLE archive');
SELECT eddy.create_continuous_view('v', :'balance', start => 'query', history => 'TABLE archive', histories => '{}');
SELECT eddy.create_continuous_view('v', :'balance', histories => '{}');
SELECT eddy.create_continuous_view('v', :'balance', start => 'query', histories => '{}');
SELECT eddy.create_continuous_view('v', :'balance', start => 'query', histories => '["TABLE archive"]');
SELECT eddy.create_continuous_view('v', :'balance', start => 'query', histories => '{"sales": ["TABLE archive"]}');
SELECT eddy.create_continuous_view('v', :'balance', start => 'query', histories => '{"sales": "TABLE archive", "archive": "TABLE archive"}');
SELECT eddy.create_continuous_view('v', :'balance', start => 'query', histories => '{"sales": "SELECT 1 AS id", "history_test.sales": "TABLE archive"}');
SELECT eddy.create_continuous_view('v', :'balance', start => 'query', histories => '{"salse": "TABLE archive"}');
SELECT eddy.create_continuous_view('v', :'balance', start => 'query', histories => '{"history_tests.sales": "TABLE archive"}');
SELECT eddy.create_continuous_view('v', :'balance', start => 'query', histories => '{"sold": "TABLE archive"}');
CREATE TABLE return (LIKE old_returns);
SELECT eddy.create_continuous_view('v', :'balance', start => 'query', histories => '{"return": "TABLE old_returns"}');
SELECT eddy.create_continuous_view('v', :'balance', start => 'query', histories => '{"returns": "TABLE archive"}');

-- The query has the privileges of the owner of the view, and is a single SELECT.
SELECT eddy.create_continuous_view('stolen', 'SELECT count(*) FROM sales', start => 'query', history => 'SELECT item, amount FROM secret');
CREATE FUNCTION note() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN current_user || ', ' || current_setting('search_path'); END $$;
SELECT eddy.create_continuous_view('who', 'SELECT max(item) AS who FROM sales', start => 'query', history => 'SELECT note() AS item, now() AS at');
TABLE who;
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM sales', start => 'query');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM sales', start => 'staged', history => 'SELECT * FROM archive');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM sales', start => 'query', history => 'DELETE FROM archive');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM sales', start => 'query', history => 'SELECT 1; SELECT 2');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM sales', start => 'query', history => 'WITH d AS (DELETE FROM archive RETURNING *) SELECT item FROM d');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM sales', start => 'query', history => 'SELECT item FROM archiv');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM sales', start => 'query', history => 'SELECT item AS itme FROM archive');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM sales', start => 'query', history => 'SELECT item, item FROM archive');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM sales', start => 'query', history => 'SELECT true AS amount');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM sales', start => 'querry');
SELECT count(*) FROM archive;
DELETE FROM eddy.dead_letters WHERE stream = 'sales'::regclass;
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA history_test CASCADE;
DROP ROLE regress_eddy_ann;
