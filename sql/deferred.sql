-- maintenance => 'deferred': statements append what they add to a table of deltas, which the database worker merges.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE SCHEMA deferred;
RESET client_min_messages;
SET search_path = deferred, public;
SET timezone = 'UTC';
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/test/sql/functions.sql

-- Wakes the worker, and polls until a query returns true.
CREATE PROCEDURE wait_until(query text) LANGUAGE plpgsql AS $$
DECLARE
    done boolean;
BEGIN
    FOR i IN 1 .. 2400 LOOP
        PERFORM eddy._notify();
        COMMIT;
        EXECUTE query INTO done;
        IF done THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(0.02);
    END LOOP;
    RAISE EXCEPTION 'timed out waiting for: %', query;
END $$;

-- Polls until the deltas of a view are merged.
CREATE PROCEDURE wait_for_merge(view text) LANGUAGE plpgsql AS $$
BEGIN
    CALL wait_until(format('SELECT NOT EXISTS (SELECT FROM eddy._%s_deltas)', view));
END $$;

-- The oracle: number of rows in which a view and its SELECT over the rows of the stream differ.
CREATE TABLE queries (view text PRIMARY KEY, query text);
CREATE FUNCTION differences(OUT view text, OUT rows bigint) RETURNS SETOF record LANGUAGE sql AS $$
    SELECT q.view, d.differences FROM queries q, compare(q.view, q.query) d WHERE d.differences > 0 ORDER BY q.view
$$;

CREATE UNLOGGED TABLE sales (item text, amount int, ts timestamptz DEFAULT '2026-01-01 00:00:00Z');
SELECT eddy.create_stream('sales', event_time => 'ts', delay => '1 hour');
INSERT INTO queries VALUES
    ('by_item', 'SELECT item, count(*) AS n, sum(amount) AS amount, avg(amount) AS average, max(amount) AS highest FROM sales GROUP BY item'),
    ('total', 'SELECT count(*) AS n, sum(amount) AS amount, eddy.first(item, amount) AS cheapest FROM sales'),
    ('by_window', 'SELECT w.window_start, w.window_end, item, count(*) AS n FROM sales, eddy.tumble(ts, ''10 s'') w GROUP BY 1, 2, 3'),
    ('hopping', 'SELECT w.window_end, sum(amount) AS amount FROM sales, eddy.hop(ts, ''5 s'', ''10 s'') w GROUP BY 1'),
    ('popular', 'SELECT item, 100 * count(*) / (count(*) + 1) AS share FROM sales GROUP BY item HAVING count(*) > 3'),
    ('subtotals', 'SELECT item, amount % 2 AS odd, count(*) AS n FROM sales GROUP BY ROLLUP (item, 2)'),
    ('ranking', 'SELECT item, rank() OVER (ORDER BY count(*) DESC) AS place FROM sales GROUP BY item');
SELECT eddy.create_continuous_view(view, query, maintenance => 'deferred') FROM queries ORDER BY 1;
SELECT view, maintenance FROM eddy.continuous_views WHERE stream = 'sales'::regclass ORDER BY view::text;

-- A view shows what its statement has added, also to the transaction that has not committed yet.
SELECT * FROM total;
BEGIN;
INSERT INTO sales VALUES ('tea', 3), ('tea', 4), ('milk', 1), (NULL, 9);
SELECT * FROM by_item ORDER BY item;
SAVEPOINT a;
INSERT INTO sales SELECT 'rolled back', i FROM generate_series(1, 10) i;
ROLLBACK TO a;
INSERT INTO sales VALUES ('tea', 5), (NULL, NULL);
SELECT * FROM by_item ORDER BY item;
SELECT * FROM differences();
COMMIT;
BEGIN;
INSERT INTO sales VALUES ('rolled back', 1);
ROLLBACK;
SELECT * FROM differences();

-- The worker merges it into the main table, and the view remains the same.
CALL wait_for_merge('by_item');
SELECT item, n, amount FROM eddy._by_item_state ORDER BY item;
SELECT * FROM differences();

-- Several statements, COPY, and groups that exist in both tables; conditions select groups by their key.
INSERT INTO sales SELECT 'item ' || i % 20, i, '2026-01-01 00:00:00Z'::timestamptz + i * interval '100 ms'
FROM generate_series(1, 1000) i;
COPY sales FROM stdin;
tea	7	2026-01-01 00:00:31Z
tea	8	2026-01-01 00:00:32Z
\N	8	2026-01-01 00:00:33Z
\.
SELECT * FROM differences();
SELECT * FROM by_item WHERE item = 'tea';
SELECT n, amount FROM by_item WHERE item IS NULL;
CALL wait_for_merge('by_window');
SELECT * FROM differences();
WITH x AS (INSERT INTO sales VALUES ('cte', 1) RETURNING item) INSERT INTO sales SELECT item || '!' FROM x;
BEGIN ISOLATION LEVEL SERIALIZABLE;
INSERT INTO sales SELECT 'item ' || i, i FROM generate_series(1, 300) i;
SELECT * FROM differences();
COMMIT;
SELECT * FROM differences();

-- DELETE removes a group from both tables. Later rows recreate it.
CALL wait_for_merge('by_item');
INSERT INTO sales VALUES ('tea', 1);
WITH d AS (DELETE FROM by_item WHERE item = 'tea' OR item IS NULL RETURNING item, n) SELECT * FROM d ORDER BY item;
SELECT * FROM by_item WHERE item = 'tea' OR item IS NULL;
INSERT INTO sales VALUES ('tea', 2);
SELECT * FROM by_item WHERE item = 'tea';
BEGIN;
DELETE FROM by_item;
ROLLBACK;
SELECT count(*) > 300 AS still_there FROM by_item;
DELETE FROM total RETURNING n > 1300 AS had_rows;
SELECT * FROM total;
INSERT INTO sales VALUES ('milk', 2);
SELECT * FROM total;
-- the end of the window is not among the columns
SELECT eddy.create_continuous_view('hidden_key', $$
    SELECT w.window_start, count(*) FROM sales, eddy.tumble(ts, '10 s') w GROUP BY w.window_start $$,
    maintenance => 'deferred', start => 'staged');
DELETE FROM hidden_key;

-- A row of the view must be that of a group. Where the query of the view computes rows from them, DELETE is refused as for other
-- continuous views: a row with NULLs of an outer join would show the key of another group.
CREATE TABLE ids (id int);
INSERT INTO ids VALUES (5);
CREATE UNLOGGED TABLE keyed (k int);
SELECT eddy.create_stream('keyed');
SELECT eddy.create_continuous_view('joined', $$
    SELECT t.id, q.k, q.n FROM ids t LEFT JOIN (SELECT k, count(*) AS n FROM keyed GROUP BY k) q ON q.k = t.id $$,
    maintenance => 'deferred');
SELECT eddy.create_continuous_view('ordered', 'SELECT k, count(*) AS n FROM keyed GROUP BY k ORDER BY n', maintenance => 'deferred');
SELECT eddy.create_continuous_view('ranked', 'SELECT k, rank() OVER (ORDER BY count(*)) FROM keyed GROUP BY k', maintenance => 'deferred');
INSERT INTO keyed VALUES (NULL), (NULL), (1);
SELECT * FROM joined;
DELETE FROM joined WHERE id = 5;
DELETE FROM ranked;
DELETE FROM ordered WHERE k = 1;
SELECT * FROM ordered;
CALL wait_for_merge('joined');
SELECT k, n FROM eddy._joined_state ORDER BY k;
-- also after the query was replaced
SELECT eddy.replace_continuous_view('ordered', $$
    SELECT q.k, q.n FROM ids t LEFT JOIN (SELECT k, count(*) AS n FROM keyed GROUP BY k) q ON q.k = t.id $$);
DELETE FROM ordered;
SELECT eddy.replace_continuous_view('ordered', 'SELECT k, count(*) AS n FROM keyed GROUP BY k');
DELETE FROM ordered;
SELECT * FROM ordered;

-- A function of a view cannot delete rows of a view whose changes are kept, which would not be in order.
SELECT eddy.create_continuous_view('watched', 'SELECT k, count(*) AS n FROM keyed GROUP BY k', maintenance => 'deferred');
SELECT eddy.keep_changes('watched');
INSERT INTO keyed VALUES (6);
CREATE FUNCTION forget() RETURNS void LANGUAGE sql VOLATILE AS 'DELETE FROM deferred.watched';
CREATE FUNCTION sneaky(i int) RETURNS int LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM deferred.forget(); RETURN i; END $$;
SELECT eddy.create_continuous_view('sneak', 'SELECT sneaky(k) AS k, count(*) FROM keyed GROUP BY 1');
INSERT INTO keyed VALUES (7);
SELECT error, sqlstate FROM eddy.dead_letters WHERE view = 'sneak'::regclass;
SELECT * FROM watched ORDER BY k;
SET client_min_messages = warning;
DROP TABLE ids, keyed CASCADE;
RESET client_min_messages;

-- An error in an expression over a group is found when the delta is merged, and becomes a dead letter. Readers do not
-- see the delta before either.
CREATE UNLOGGED TABLE orders (item text, amount smallint);
SELECT eddy.create_stream('orders');
SELECT eddy.create_continuous_view('ratio', $$
    SELECT item, sum(amount) AS amount, 100 / (3 - count(*)) AS ratio FROM orders GROUP BY item $$,
    maintenance => 'deferred');
INSERT INTO orders VALUES ('a', 1), ('b', 1), ('b', 2);
CALL wait_for_merge('ratio');
INSERT INTO orders VALUES ('a', 5), ('b', 5), ('c', 5);
SELECT * FROM ratio ORDER BY item;
CALL wait_for_merge('ratio');
SELECT * FROM ratio ORDER BY item;
SELECT view, error, sqlstate, convert_from(key, 'UTF8') AS key, payload FROM eddy.dead_letters
WHERE stream = 'orders'::regclass;
-- a row that fails by itself is found in the statement, as in any view
SELECT eddy.create_continuous_view('inverse', 'SELECT sum(10 / amount) AS sum FROM orders', maintenance => 'deferred');
INSERT INTO orders VALUES ('d', 0), ('d', 5);
SELECT * FROM inverse;
SELECT view, error, convert_from(payload, 'UTF8') AS payload FROM eddy.dead_letters
WHERE view = 'inverse'::regclass;
DELETE FROM eddy.dead_letters WHERE stream = 'orders'::regclass;

-- Windows close after all of their deltas were merged. Rows are judged when they are inserted.
CREATE FUNCTION at(seconds numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT timestamptz '2026-01-01 00:00Z' + seconds * interval '1 second' $$;
CREATE FUNCTION sec(t timestamptz) RETURNS numeric LANGUAGE sql IMMUTABLE AS
    $$ SELECT trim_scale(extract(epoch FROM t - timestamptz '2026-01-01 00:00Z')) $$;
CREATE UNLOGGED TABLE clicks (page text, ts timestamptz);
SELECT eddy.create_stream('clicks', event_time => 'ts');
SELECT eddy.create_continuous_view('early', $$
    SELECT w.window_end, page, count(*) AS n FROM clicks, eddy.tumble(ts, '10 s') w GROUP BY 1, 2 $$,
    maintenance => 'deferred', late => 'keep', retention => '30 s');
SELECT eddy.create_continuous_view('final', $$
    SELECT w.window_end, page, count(*) AS n FROM clicks, eddy.tumble(ts, '10 s') w GROUP BY 1, 2 $$,
    maintenance => 'deferred', emit => 'on_close');
SELECT eddy.create_continuous_view('corrected', $$
    SELECT w.window_end, page, count(*) AS n FROM clicks, eddy.tumble(ts, '10 s') w GROUP BY 1, 2 $$,
    maintenance => 'deferred', emit => 'on_close', late => 'update', allowed_lateness => '20 s');
CREATE PROCEDURE wait_for_close(until numeric) LANGUAGE plpgsql AS $$
BEGIN
    CALL wait_until(format('SELECT bool_and(closed_until >= at(%s)) FROM eddy.continuous_views
        WHERE stream = ''clicks''::regclass', until));
END $$;
INSERT INTO clicks VALUES ('x', at(1)), ('y', at(2));
INSERT INTO clicks VALUES ('x', at(3)), ('x', at(12));
CALL wait_for_close(12);
SELECT sec(window_end) AS "end", page, n FROM early ORDER BY 1, 2;
SELECT sec(window_end) AS "end", page, n FROM final ORDER BY 1, 2;
-- late, except for the view that accepts late rows
INSERT INTO clicks VALUES ('x', at(4)), ('z', at(5));
SELECT sec(window_end) AS "end", page, n FROM early ORDER BY 1, 2;
SELECT sec(window_end) AS "end", page, n FROM corrected ORDER BY 1, 2;
SELECT sec(window_end) AS "end", row_data ->> 'page' AS page FROM eddy.late_rows WHERE view = 'early'::regclass ORDER BY 2;
CALL wait_for_merge('corrected');
SELECT sec(window_end) AS "end", page, n FROM corrected ORDER BY 1, 2;
INSERT INTO clicks VALUES ('x', at(100));
CALL wait_for_close(100);
SELECT sec(window_end) AS "end", page, n FROM final ORDER BY 1, 2;
CALL wait_until('SELECT count(*) = 1 FROM early');
SELECT sec(window_end) AS "end", page, n FROM early ORDER BY 1, 2;

-- Readers of a view, and of a view on it, need no other rights. Nobody else can ask for its groups.
SET client_min_messages = warning;
CREATE ROLE regress_eddy_reader;
RESET client_min_messages;
CREATE VIEW teas AS SELECT item, n FROM by_item WHERE item LIKE 'tea%';
GRANT USAGE ON SCHEMA deferred TO regress_eddy_reader;
GRANT SELECT ON teas TO regress_eddy_reader;
INSERT INTO sales VALUES ('tea', 2);
SET ROLE regress_eddy_reader;
SELECT * FROM teas;
SELECT * FROM by_item;
SELECT * FROM eddy._by_item_deltas;
SELECT eddy._is_deferred('eddy._by_item_deltas', ROW('(0,1)'::tid, '01a22b0f-cb89-7312-987a-786dcd000000'::uuid), 'tea'::text);
SELECT * FROM eddy._deferred_group('eddy._by_item_deltas', '(0,1)', '01a22b0f-cb89-7312-987a-786dcd000000')
    AS g (item text, n bigint, amount bigint, average numeric, highest int);
SELECT * FROM eddy._deferred_group('pg_class', '(0,1)', '01a22b0f-cb89-7312-987a-786dcd000000') AS g (item text);
DELETE FROM by_item;
RESET ROLE;
GRANT CREATE ON SCHEMA deferred TO regress_eddy_reader;
GRANT TRIGGER, SELECT, INSERT ON sales TO regress_eddy_reader;
SET ROLE regress_eddy_reader;
SELECT eddy.create_continuous_view('own', 'SELECT item, count(*) FROM sales GROUP BY item', maintenance => 'deferred');
INSERT INTO sales VALUES ('own', 1);
SELECT * FROM own;
DELETE FROM eddy._own_deltas;
UPDATE eddy._own_deltas SET state1 = 1000;
TRUNCATE eddy._own_deltas;
ALTER TABLE eddy._own_deltas ADD COLUMN x int;
CREATE TABLE mine (item text);
CREATE TRIGGER t INSTEAD OF DELETE ON own FOR EACH ROW EXECUTE FUNCTION eddy._delete_group();
DELETE FROM own;
SELECT * FROM own;
DROP VIEW own;
SELECT to_regclass('eddy._own_deltas');
RESET ROLE;

-- A suspended view keeps its content, and eddy.resume rebuilds it, without the deltas.
INSERT INTO sales VALUES ('paused', 1);
SELECT eddy.pause('by_item');
INSERT INTO sales VALUES ('paused', 2);
SELECT * FROM by_item WHERE item = 'paused';
SELECT eddy.resume('by_item');
SELECT * FROM by_item WHERE item = 'paused';
SELECT * FROM differences() WHERE view <> 'total';

-- What cannot be deferred is refused.
SELECT eddy.create_continuous_view('v', 'SELECT item, amount FROM sales', maintenance => 'deferred');
SELECT eddy.create_continuous_view('v', 'SELECT count(DISTINCT item) FROM sales', maintenance => 'deferred');
SELECT eddy.create_continuous_view('v', 'SELECT DISTINCT ON (item) * FROM sales ORDER BY item, ts', maintenance => 'deferred');
SELECT eddy.create_continuous_view('v', 'SELECT w.window_end, count(*) FROM sales, eddy.session(ts, ''1 min'') w GROUP BY w.window_start, w.window_end, w.last_event',
    maintenance => 'deferred');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM sales', maintenance => 'deferred', on_error => 'stop');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM sales', maintenance => 'defered');

-- Views on views are maintained in the transactions that change the rows of the other view.
SELECT eddy.create_continuous_view('v', 'SELECT n, count(*) FROM by_item GROUP BY n');
SELECT eddy.create_continuous_view('parent', 'SELECT item, count(*) AS n FROM sales GROUP BY item');
SELECT eddy.create_continuous_view('v', 'SELECT n, count(*) FROM parent GROUP BY n', maintenance => 'deferred');

SET client_min_messages = warning;
DELETE FROM eddy.late_rows WHERE view = 'early'::regclass;
DROP SCHEMA deferred CASCADE;
DROP ROLE regress_eddy_reader;
SELECT count(*) FROM pg_class WHERE relnamespace = 'eddy'::regnamespace AND relname LIKE '%\_deltas';
