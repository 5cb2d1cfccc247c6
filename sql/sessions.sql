-- Session windows: rows of a key that are at most a gap apart.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
-- none of these statements may take long
SET statement_timeout = '60 s';

CREATE UNLOGGED TABLE clicks (who text, at timestamptz, price numeric);
SELECT eddy.create_stream('clicks');
SELECT eddy.create_continuous_view('visits', $$
    SELECT who, w.window_start, w.window_end, w.last_event, count(*) AS clicks, sum(price) AS price
    FROM clicks, eddy.session(at, '10 s') AS w
    GROUP BY who, w.window_start, w.window_end, w.last_event $$);
CREATE VIEW visit AS
    SELECT who, to_char(window_start, 'MI:SS') AS start, to_char(window_end, 'MI:SS') AS "end", to_char(last_event, 'MI:SS') AS last, clicks, price FROM visits;
CREATE FUNCTION at(seconds numeric) RETURNS timestamptz IMMUTABLE LANGUAGE sql AS $$ SELECT timestamptz '2026-01-01 12:00Z' + seconds * interval '1 s' $$;

-- Rows more than a gap apart are in different sessions.
INSERT INTO clicks VALUES ('ann', at(100), 1);
INSERT INTO clicks VALUES ('ann', at(118), 2), ('bob', at(109), 5);
SELECT * FROM visit ORDER BY who, start;
-- A row that is near enough to both bridges them. A distance of exactly the gap is near enough.
INSERT INTO clicks VALUES ('ann', at(108), 3);
SELECT * FROM visit ORDER BY who, start;
-- A row within a session changes its counts only; the rows of one statement are one batch, in any order.
INSERT INTO clicks VALUES ('ann', at(101), 4), ('ann', at(140), 7), ('ann', at(129), 6), ('bob', at(95), NULL), ('bob', at(94), 1);
SELECT * FROM visit ORDER BY who, start;
-- Of two sessions that the same batch bridges twice, one remains; rows without a time are in no session.
INSERT INTO clicks VALUES ('bob', at(119), 1), ('bob', at(85), 1), ('ann', NULL, 100), (NULL, at(1), 1), (NULL, at(2), 1);
SELECT * FROM visit ORDER BY who, start;

-- Rollback and savepoints undo merging.
BEGIN;
INSERT INTO clicks VALUES ('carl', at(0), 1), ('carl', at(20), 1);
SAVEPOINT s;
INSERT INTO clicks VALUES ('carl', at(10), 1);
SELECT * FROM visit WHERE who = 'carl' ORDER BY start;
ROLLBACK TO s;
SELECT * FROM visit WHERE who = 'carl' ORDER BY start;
COPY clicks FROM stdin;
carl	2026-01-01 12:00:30Z	1
\.
SELECT * FROM visit WHERE who = 'carl' ORDER BY start;
ROLLBACK;
SELECT * FROM visit WHERE who = 'carl' ORDER BY start;

-- Any expression over keys, bounds and aggregates; WHERE, FILTER and HAVING; other types of time; no other key.
CREATE TABLE shops (shop int PRIMARY KEY, gap interval);
INSERT INTO shops VALUES (1, '10 s'), (2, '1 min');
CREATE UNLOGGED TABLE sales (shop int, local timestamp, price float8, n int);
SELECT eddy.create_stream('sales');
CREATE TABLE all_sales (LIKE sales);
-- an aggregate of one's own that does not combine; like those with DISTINCT or ORDER BY it needs its values, which are merged with sessions
CREATE FUNCTION longer(text, int) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT $1 || '+' || $2 $$;
CREATE AGGREGATE chain(int) (SFUNC = longer, STYPE = text, INITCOND = '');
SELECT eddy.create_continuous_view('busy', $$
    SELECT upper('shop ' || shop) AS shop, w.window_end - w.window_start AS length, last_event - w.window_start AS active, avg(price) AS average, max(n) - min(n) AS spread,
           count(*) FILTER (WHERE n > 5) AS big, count(DISTINCT price) AS prices, percentile_cont(0.5) WITHIN GROUP (ORDER BY price) AS median
    FROM sales CROSS JOIN LATERAL eddy.session(local, gap => '15 s') AS w WHERE n > 0 GROUP BY shop, w.window_start, w.window_end, w.last_event HAVING count(*) > 1 $$);
SELECT eddy.create_continuous_view('any_shop', $$
    SELECT w.window_end, count(*), sum(n), string_agg(shop || ':' || n, ' ' ORDER BY local, shop, n) AS trail FROM sales, eddy.session(local, '15 s') w GROUP BY w.window_end $$);
SELECT eddy.create_continuous_view('only_bounds', 'SELECT w.window_start, w.last_event FROM sales, eddy.session(local, ''15 s'') w GROUP BY 1, 2');
-- the gap can depend on the row: the session lasts until the largest time plus gap of its rows
SELECT eddy.create_continuous_view('by_shop', $$
    SELECT shop % 2 AS odd, w.window_start, w.window_end, w.last_event, count(*), sum(n), min(gap)
    FROM sales JOIN shops USING (shop), eddy.session(local, gap) w GROUP BY 1, 2, 3, 4 $$);
SELECT eddy.create_continuous_view('by_row', $$
    SELECT w.window_start, w.window_end, w.last_event, count(*), sum(n), min(n), sum(DISTINCT n) AS once, mode() WITHIN GROUP (ORDER BY n), chain(n ORDER BY n)
    FROM sales, eddy.session(local, n * interval '1 s') w WHERE n > 0 GROUP BY 1, 2, 3 $$);

-- The oracle: a row starts a session if all rows before it, in order of time, have ended.
CREATE FUNCTION mark(ts timestamp, before timestamp) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT CASE WHEN ts <= before THEN 0 ELSE 1 END';
CREATE VIEW busy_oracle AS
    SELECT upper('shop ' || shop), max(local) + interval '15 s' - min(local) AS length, max(local) - min(local) AS active, avg(price), max(n) - min(n) AS spread, count(*) FILTER (WHERE n > 5), count(DISTINCT price) AS prices, percentile_cont(0.5) WITHIN GROUP (ORDER BY price) AS median
    FROM (SELECT *, sum(mark(local, before)) OVER (PARTITION BY shop ORDER BY local) AS s
          FROM (SELECT *, max(local + interval '15 s') OVER (PARTITION BY shop ORDER BY local ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
                FROM all_sales WHERE n > 0) x) y GROUP BY shop, s HAVING count(*) > 1;
CREATE VIEW any_shop_oracle AS
    SELECT max(local) + interval '15 s', count(*), sum(n), string_agg(shop || ':' || n, ' ' ORDER BY local, shop, n)
    FROM (SELECT *, sum(mark(local, before)) OVER (ORDER BY local) AS s
          FROM (SELECT *, max(local + interval '15 s') OVER (ORDER BY local ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM all_sales) x) y GROUP BY s;
CREATE VIEW only_bounds_oracle AS
    SELECT min(local), max(local)
    FROM (SELECT *, sum(mark(local, before)) OVER (ORDER BY local) AS s
          FROM (SELECT *, max(local + interval '15 s') OVER (ORDER BY local ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM all_sales) x) y GROUP BY s;
CREATE VIEW by_shop_oracle AS
    SELECT odd, min(local) AS s, max(local + gap) AS e, max(local) AS l, count(*), sum(n), min(gap)
    FROM (SELECT *, sum(mark(local, before)) OVER (PARTITION BY odd ORDER BY local) AS s
          FROM (SELECT *, max(local + gap) OVER (PARTITION BY odd ORDER BY local ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
                FROM (SELECT shop % 2 AS odd, local, gap, n FROM all_sales JOIN shops USING (shop)) z) x) y GROUP BY odd, s;
CREATE VIEW by_row_oracle AS
    SELECT min(local) AS s, max(local + n * interval '1 s') AS e, max(local) AS l, count(*), sum(n), min(n), sum(DISTINCT n) AS once, mode() WITHIN GROUP (ORDER BY n), chain(n ORDER BY n)
    FROM (SELECT *, sum(mark(local, before)) OVER (ORDER BY local) AS s
          FROM (SELECT *, max(local + n * interval '1 s') OVER (ORDER BY local ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM all_sales WHERE n > 0) x) y GROUP BY s;
CREATE FUNCTION differences() RETURNS TABLE (name text, rows bigint, differ bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOREACH name IN ARRAY '{any_shop, busy, by_row, by_shop, only_bounds}'::text[] LOOP
        EXECUTE format('SELECT (SELECT count(*) FROM %1$I), (SELECT count(*) FROM ((TABLE %1$I EXCEPT ALL TABLE %2$I) UNION ALL (TABLE %2$I EXCEPT ALL TABLE %1$I)) d)',
                       name, name || '_oracle') INTO rows, differ;
        RETURN NEXT;
    END LOOP;
END $$;
-- random batches, in random order, some in one transaction, some rolled back
CREATE FUNCTION sell(batch int, spread int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE TEMP TABLE fresh AS
        SELECT 1 + (random() * 3)::int AS shop, timestamp '2026-01-01' + (random() * spread)::int * interval '1 s' AS local, (random() * 100)::int AS price, (random() * 12)::int - 1 AS n
        FROM generate_series(1, 1 + (random() * 8)::int);
    INSERT INTO sales TABLE fresh;
    IF batch % 7 = 3 THEN
        RAISE EXCEPTION 'rolled back' USING ERRCODE = 'P0042';
    END IF;
    INSERT INTO all_sales TABLE fresh;
    DROP TABLE fresh;
EXCEPTION WHEN SQLSTATE 'P0042' THEN
    NULL;
END $$;
SELECT setseed(0.4);
DO $$ BEGIN FOR i IN 1 .. 150 LOOP PERFORM sell(i, 6000); END LOOP; END $$;
SELECT * FROM differences();
DO $$ BEGIN FOR i IN 1 .. 150 LOOP PERFORM sell(i, 1000 + i * 100); END LOOP; END $$;
SELECT name, differ FROM differences();
-- one batch of many keys and rows
INSERT INTO all_sales SELECT 1 + g % 2, timestamp '2026-01-02' + g * g % 100003 * interval '1.7 s', g % 31, g % 11 - 1 FROM generate_series(1, 20000) g;
INSERT INTO sales SELECT * FROM all_sales WHERE local >= '2026-01-02';
SELECT name, differ FROM differences();
-- values of sessions that were merged are those of the session that remains
SELECT count(*) FROM eddy._busy_values v WHERE NOT EXISTS (SELECT FROM eddy._busy_state s WHERE s._id = v._id);
-- a rebuild counts the stored rows again
TABLE all_sales EXCEPT ALL TABLE sales;
SELECT eddy.pause('busy'), eddy.pause('by_row');
SELECT eddy.resume('busy'), eddy.resume('by_row');
SELECT name, differ FROM differences();

-- A row on which the view fails is rejected alone, also if it does so only together with its session.
CREATE UNLOGGED TABLE odd (k numeric, at timestamptz, i int, step interval);
SELECT eddy.create_stream('odd');
SELECT eddy.create_continuous_view('odd_sums', $$
    SELECT k, w.window_start, w.last_event, sum(i)::int AS sum, 100 / (sum(i) - 7) AS share FROM odd, eddy.session(at, step) w GROUP BY k, w.window_start, w.last_event $$);
INSERT INTO odd VALUES (1, at(0), 1, '10 s'), (1, at(50), 2, '10 s'), (1, at(5), 2147483647, '10 s'), (1.00, at(6), 3, '10 s'), (2, at(0), 7, '10 s'), (2, at(1), 8, '10 s');
INSERT INTO odd VALUES (1, at(10), 3, '10 s'), (1, at(55), 5, '10 s'), (1, at(56), 1, '10 s'), (1, 'infinity', 1, '10 s'), (1, at(57), 1, '0'), (1, at(58), 1, NULL),
    (1, at(59), 1, '1 month'), (1, '294276-12-31 23:59:59.999999', 1, '1 s'), (1, at(60), 1, '200000000 days');
SELECT convert_from(payload, 'UTF8')::jsonb - 'k' AS row, error, sqlstate FROM eddy.dead_letters WHERE view = 'odd_sums'::regclass ORDER BY id;
SELECT k, to_char(window_start, 'MI:SS') AS start, to_char(last_event, 'MI:SS') AS last, sum, share FROM odd_sums ORDER BY k, window_start;

-- A maximum length splits what would become longer: the next row starts another session.
CREATE UNLOGGED TABLE beats (k int, at timestamptz);
SELECT eddy.create_stream('beats');
SELECT eddy.create_continuous_view('pulses', $$
    SELECT k, w.window_start, w.last_event, count(*) AS beats FROM beats, eddy.session(at, '10 s', max_length => '30 s') w GROUP BY k, w.window_start, w.last_event $$);
CREATE VIEW pulse AS SELECT k, to_char(window_start, 'MI:SS') AS start, to_char(last_event, 'MI:SS') AS last, beats FROM pulses;
INSERT INTO beats SELECT 1, at(g * 5) FROM generate_series(0, 16) g;
SELECT * FROM pulse ORDER BY k, start;
INSERT INTO beats VALUES (1, at(32)), (1, at(30)), (1, at(85)), (1, at(95)), (2, at(0)), (2, at(25)), (2, at(45));
SELECT * FROM pulse ORDER BY k, start;
INSERT INTO beats VALUES (2, at(34)), (2, at(9)), (2, at(17));
SELECT * FROM pulse ORDER BY k, start;

-- Owners can delete sessions; a later row starts a new one.
DELETE FROM visits WHERE who = 'ann';
INSERT INTO clicks VALUES ('ann', at(105), 1);
SELECT * FROM visit WHERE who = 'ann';

-- What is not a session window.
SELECT * FROM clicks, eddy.session(at, '10 s');
SELECT eddy.create_continuous_view('refused', 'SELECT who, count(*) FROM clicks, eddy.session(at, ''10 s'') w GROUP BY who');
SELECT eddy.create_continuous_view('refused', 'SELECT date_trunc(''hour'', w.window_start), count(*) FROM clicks, eddy.session(at, ''10 s'') w GROUP BY 1');
SELECT eddy.create_continuous_view('refused', 'SELECT w.window_start, max(w.window_end) FROM clicks, eddy.session(at, ''10 s'') w GROUP BY 1');
SELECT eddy.create_continuous_view('refused', 'SELECT w.window_start, count(*) FROM clicks, eddy.session(at, ''10 s'') w WHERE w.window_end > ''2026-01-01'' GROUP BY 1');
SELECT eddy.create_continuous_view('refused', 'SELECT w.window_start, count(*) FROM clicks, eddy.session(at, ''10 s'') w, eddy.tumble(w.window_start, ''1 min'') t GROUP BY 1');
SELECT eddy.create_continuous_view('refused', 'SELECT w.window_start, x, count(*) FROM clicks, eddy.session(at, ''10 s'') w,
    XMLTABLE(''/a'' PASSING xmlelement(name a, w.window_end) COLUMNS x text PATH ''.'') GROUP BY 1, x');
SELECT eddy.create_continuous_view('refused', 'SELECT w.window_start, v.window_end FROM clicks, eddy.session(at, ''10 s'') w, eddy.session(at, ''20 s'') v GROUP BY 1, 2');
SELECT eddy.create_continuous_view('refused', 'SELECT w.window_start, count(*) FROM clicks LEFT JOIN eddy.session(at, ''10 s'') w ON true GROUP BY 1');
SELECT eddy.create_continuous_view('refused', 'SELECT who, (SELECT min(s.window_end) FROM eddy.session(timestamp ''2026-01-01'', ''10 s'') s) FROM clicks GROUP BY who');
SELECT eddy.create_continuous_view('refused', 'SELECT w.window_start FROM clicks, eddy.session(at, ''0'') w GROUP BY 1');
SELECT eddy.create_continuous_view('refused', 'SELECT w.window_start FROM clicks, eddy.session(at, ''1 month'') w GROUP BY 1');
SELECT eddy.create_continuous_view('refused', 'SELECT w.window_start FROM clicks, eddy.session(at, NULL) w GROUP BY 1');
SELECT eddy.create_continuous_view('refused', 'SELECT w.window_start FROM clicks, eddy.session(at, ''1 s'', max_length => ''-1 s'') w GROUP BY 1');
SELECT eddy.create_continuous_view('refused', 'SELECT w.window_start FROM clicks, eddy.session(at, ''1 s'', max_length => price * interval ''1 s'') w GROUP BY 1');

DROP TABLE clicks, sales, odd, beats CASCADE;
DROP TABLE all_sales, shops CASCADE;
DROP AGGREGATE chain(int);
DROP FUNCTION sell, differences, mark, at, longer;
