-- Late rows: allowed_lateness says until when they change a final result, and late what happens to those that come after that.
-- Times are seconds of one minute.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE SCHEMA late_rows;
RESET client_min_messages;
SET search_path = late_rows, public;
SET timezone = 'UTC';

CREATE FUNCTION at(seconds numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT timestamptz '2020-01-01 00:00Z' + seconds * interval '1 second' $$;
CREATE FUNCTION sec(t timestamptz) RETURNS numeric LANGUAGE sql IMMUTABLE AS
    $$ SELECT trim_scale(extract(epoch FROM t - timestamptz '2020-01-01 00:00Z')) $$;

-- Windows of 10 seconds, which are final at their end, and accept rows for 10 more. The policy is for the rows after that.
CREATE UNLOGGED TABLE a (key text, ts timestamptz);
SELECT eddy.create_stream('a', event_time => 'ts');
SELECT eddy.create_continuous_view('a_' || late, $$
    SELECT w.window_end, key, count(*) AS n, stddev_pop(extract(second FROM ts)) AS spread
    FROM a, eddy.tumble(ts, '10 s') w GROUP BY w.window_end, key $$, emit => 'on_close', late => late, allowed_lateness => '10 s')
FROM unnest(ARRAY['drop', 'keep', 'update']) late;
-- without allowed_lateness, "update" accepts rows as long as the view has their window
SELECT eddy.create_continuous_view('a_always', $$
    SELECT w.window_end, key, count(*) AS n, stddev_pop(extract(second FROM ts)) AS spread
    FROM a, eddy.tumble(ts, '10 s') w GROUP BY w.window_end, key $$, emit => 'on_close', late => 'update');
CREATE VIEW results AS
    SELECT 'drop' AS late, * FROM a_drop UNION ALL SELECT 'keep', * FROM a_keep UNION ALL SELECT 'update', * FROM a_update
    UNION ALL SELECT 'always', * FROM a_always;
INSERT INTO a VALUES ('k', at(4));
INSERT INTO a VALUES ('k', at(15));
SELECT late, sec(window_end) AS "end", key, n, round(spread, 1) AS spread FROM results ORDER BY late, 2, key;
-- late, but accepted by all of them; a new group is final at once
INSERT INTO a VALUES ('k', at(8)), ('new', at(9));
SELECT late, sec(window_end) AS "end", key, n, round(spread, 1) AS spread FROM results ORDER BY late, 2, key;
-- the watermark reaches 20: 10 seconds have passed
INSERT INTO a VALUES ('k', at(20));
INSERT INTO a VALUES ('k', at(0));
SELECT late, sec(window_end) AS "end", key, n, round(spread, 1) AS spread FROM results WHERE window_end = at(10) AND key = 'k' ORDER BY late;
SELECT view, late_rows FROM eddy.stat_continuous_views WHERE stream = 'a'::regclass ORDER BY view::text;
SELECT view, sec(window_start) AS start, sec(window_end) AS "end", sec(watermark) AS watermark, row_data ->> 'key' AS key
FROM eddy.late_rows WHERE view::text LIKE 'a\_%' ORDER BY view::text;
-- States are kept as long as rows are accepted.
SELECT (SELECT count(*) FROM eddy._a_drop_state s WHERE window_end = at(10) AND to_jsonb(s) ->> '_state2' IS NOT NULL) AS "drop",
       (SELECT count(*) FROM eddy._a_always_state s WHERE window_end = at(10) AND to_jsonb(s) ->> '_state2' IS NOT NULL) AS always;
-- The watermark passes a year: there is no limit.
INSERT INTO a VALUES ('other', at(366 * 86400));
INSERT INTO a VALUES ('k', at(1)), ('k', at(-20));
SELECT sec(window_end) AS "end", n, round(spread, 1) AS spread FROM a_always WHERE key = 'k' ORDER BY 1;
SELECT late_rows FROM eddy.stat_continuous_views WHERE view = 'a_always'::regclass;

-- All combinations, for windows that are combined from panes and others, in each form of maintenance: the views have the content of
-- their SELECT over the pairs of a row and a window that the watermark before the row allows.
CREATE UNLOGGED TABLE b (id int, key int, ts timestamptz);
SELECT eddy.create_stream('b', event_time => 'ts', delay => '5 s');
CREATE TABLE options (late text, lateness int, retention int);
INSERT INTO options VALUES ('drop', 0, NULL), ('drop', 12, NULL), ('drop', 12, 0), ('keep', 0, NULL), ('keep', 12, 20),
    ('update', 12, NULL), ('update', 0, NULL), ('update', 0, 10), ('update', 0, 0);
CREATE TABLE forms (form text, call text, emit text, maintenance text);
INSERT INTO forms VALUES
    ('early', $$eddy.tumble(ts, '10 s')$$, 'changes', 'immediate'), ('final', $$eddy.tumble(ts, '10 s')$$, 'on_close', 'immediate'),
    ('paced', $$eddy.tumble(ts, '10 s')$$, 'every 5 ms', 'immediate'), ('deferred', $$eddy.tumble(ts, '10 s')$$, 'on_close', 'deferred'),
    ('hop', $$eddy.hop(ts, '5 s', '10 s')$$, 'changes', 'immediate'), ('panes', $$eddy.hop(ts, '1 s', '20 s')$$, 'on_close', 'immediate');
CREATE VIEW combinations AS
    SELECT *, format('b_%s_%s_%s%s', form, late, lateness, '_' || retention) AS name FROM options, forms;
SELECT count(eddy.create_continuous_view(name, format($$ SELECT w.window_start, w.window_end, key, count(*) AS n, sum(id) AS sum, avg(id) AS mean
    FROM b, %s w GROUP BY w.window_start, w.window_end, key $$, call), emit => emit, late => late,
    allowed_lateness => lateness * interval '1 s', retention => retention * interval '1 s', maintenance => maintenance))
FROM combinations;
-- rows of up to 40 seconds before, each in a transaction of its own
CREATE TABLE arrivals (id int, key int, ts timestamptz, watermark timestamptz);
DO $$
BEGIN
    FOR i IN 1 .. 60 LOOP
        INSERT INTO arrivals SELECT i, i % 3, at(i * 2 - i * i % 7 * (i * 5 % 8)), eddy.watermark('b');
        INSERT INTO b SELECT id, key, ts FROM arrivals WHERE id = i;
        COMMIT;
    END LOOP;
END $$;
-- for how long rows are accepted: "update" alone has no other limit than the retention
CREATE FUNCTION accepts(late text, lateness int, retention int, window_end timestamptz, watermark timestamptz) RETURNS boolean LANGUAGE sql AS $$
    SELECT CASE WHEN watermark IS NULL OR (late = 'update' AND lateness = 0 AND retention IS NULL) THEN true
                WHEN late = 'update' AND lateness = 0 THEN window_end > watermark - retention * interval '1 s'
                ELSE window_end > watermark - lateness * interval '1 s' END $$;
CREATE FUNCTION differences(c combinations, OUT rows bigint, OUT late bigint) LANGUAGE plpgsql AS $$
DECLARE
    w timestamptz := eddy.watermark('b');
    pairs text := format('SELECT i.*, w.*, accepts(%L, %s, %L, window_end, watermark) AS accepted FROM arrivals i, %s w',
                         c.late, c.lateness, c.retention, c.call);
    removed timestamptz := w - greatest(c.lateness, c.retention) * interval '1 s';
    expected text := format('SELECT window_start, window_end, key, count(*), sum(id), avg(id) FROM (%s) p
        WHERE accepted AND (window_end <= %L OR %L <> ''on_close'') AND (%L IS NULL OR window_end > %L) GROUP BY 1, 2, 3',
        pairs, w, c.emit, c.retention, removed);
BEGIN
    EXECUTE format('SELECT count(*) FROM ((TABLE %1$I EXCEPT ALL (%2$s)) UNION ALL ((%2$s) EXCEPT ALL TABLE %1$I)) d', c.name, expected) INTO rows;
    -- all pairs that are not accepted are counted, and stored unless they are dropped
    EXECUTE format($q$ SELECT abs(s.late_rows - (SELECT count(*) FROM (%1$s) p WHERE NOT accepted)) + (SELECT count(*) FROM (
            (SELECT (row_data ->> 'id')::int, window_end, watermark FROM eddy.late_rows WHERE view = %2$L::regclass
             EXCEPT ALL SELECT id, window_end, watermark FROM (%1$s) p WHERE NOT accepted AND %3$L <> 'drop') UNION ALL
            (SELECT id, window_end, watermark FROM (%1$s) p WHERE NOT accepted AND %3$L <> 'drop'
             EXCEPT ALL SELECT (row_data ->> 'id')::int, window_end, watermark FROM eddy.late_rows WHERE view = %2$L::regclass)) d)
        FROM eddy.stat_continuous_views s WHERE s.view = %2$L::regclass $q$, pairs, c.name, c.late) INTO late;
END $$;
-- the database worker merges deltas, shows what is due, and removes what is expired
CREATE PROCEDURE wait_until_equal() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 600 LOOP
        PERFORM eddy._notify();
        COMMIT;
        IF (SELECT sum((differences(c)).rows) FROM combinations c) = 0 THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;
CALL wait_until_equal();
SELECT c.name, d.* FROM combinations c, differences(c) d WHERE d.rows > 0 OR d.late > 0 ORDER BY c.name;
SELECT late, lateness, retention, sum(late_rows) AS late_rows FROM combinations JOIN eddy.stat_continuous_views s ON s.view = name::regclass
GROUP BY late, lateness, retention ORDER BY late, lateness, retention;
-- panes are for views whose windows are final once
SELECT c.late, c.lateness, c.retention, v.kind FROM combinations c JOIN eddy._view v ON v.view = name::regclass WHERE v.kind = 'panes' ORDER BY c.late, c.lateness, c.retention;

-- Options remain when the query is replaced, here with its state: rows for windows that were final before are accepted.
SELECT eddy.replace_continuous_view('a_always', $$
    SELECT w.window_end, key, count(*) AS n, stddev_pop(extract(second FROM ts)) AS spread, var_pop(extract(second FROM ts)) AS variance
    FROM a, eddy.tumble(ts, '10 s') w GROUP BY w.window_end, key $$, start => 'keep');
INSERT INTO a VALUES ('k', at(2));
SELECT sec(window_end) AS "end", n, round(spread, 1) AS spread, round(variance, 1) AS variance FROM a_always WHERE key = 'k' ORDER BY 1;
SELECT view, late, allowed_lateness, retention FROM eddy.continuous_views WHERE stream = 'a'::regclass ORDER BY view::text;

-- A view over such a view follows the corrections. It has no windows that close, because a row can always follow.
SELECT eddy.create_continuous_view('minutes', $$
    SELECT w.window_end, sum(n) AS n FROM a_always, eddy.tumble(window_end, '1 min') w GROUP BY 1 $$);
INSERT INTO a VALUES ('k', at(3)), ('k', at(5));
SELECT sec(window_end) AS "end", n FROM minutes WHERE window_end <= at(60) ORDER BY 1;
TABLE minutes EXCEPT ALL SELECT w.window_end, sum(n) AS n FROM a_always, eddy.tumble(window_end, '1 min') w GROUP BY 1;
\set VERBOSITY default
SELECT eddy.create_continuous_view('minutes_final', $$
    SELECT w.window_end, sum(n) AS n FROM a_always, eddy.tumble(window_end, '1 min') w GROUP BY 1 $$, emit => 'on_close');
-- with a limit, by allowed_lateness whatever the policy, they close after that
SELECT eddy.create_continuous_view('minutes_final', $$
    SELECT w.window_end, sum(n) AS n FROM a_drop, eddy.tumble(window_end, '1 min') w GROUP BY 1 $$, emit => 'on_close');
SELECT eddy.create_continuous_view('visits', $$
    SELECT key, count(*) FROM a_drop, eddy.session(window_end, '1 min') w GROUP BY key, w.window_end $$);
SELECT eddy.create_continuous_view('visits', $$ SELECT eddy.combine(spread) FROM a_keep $$);
INSERT INTO a VALUES ('k', at(366 * 86400 + 75));
SELECT sec(window_end) - 366 * 86400 AS "end", n FROM minutes_final WHERE window_end > at(366 * 86400);
INSERT INTO a VALUES ('k', at(366 * 86400 + 62));
INSERT INTO a VALUES ('k', at(366 * 86400 + 140));
SELECT sec(window_end) - 366 * 86400 AS "end", n FROM minutes_final WHERE window_end > at(366 * 86400);

-- Sessions: a late row joins those that are final. With max_length, that needs a limit.
CREATE UNLOGGED TABLE s (key text, ts timestamptz);
SELECT eddy.create_stream('s', event_time => 'ts');
SELECT eddy.create_continuous_view('s_always', $$
    SELECT key, w.window_start, w.last_event, count(*) AS n FROM s, eddy.session(ts, '10 s') w GROUP BY 1, 2, 3 $$, emit => 'on_close', late => 'update');
INSERT INTO s VALUES ('x', at(0));
INSERT INTO s VALUES ('x', at(18));
INSERT INTO s VALUES ('y', at(100000));
INSERT INTO s VALUES ('x', at(9)), ('x', at(500));
SELECT key, sec(window_start) AS first, sec(last_event) AS last, n FROM s_always ORDER BY 1, 2;
SELECT eddy.create_continuous_view('s_long', $$
    SELECT w.window_end, count(*) AS n FROM s, eddy.session(ts, '10 s', max_length => '1 min') w GROUP BY 1 $$, late => 'update');
SELECT eddy.create_continuous_view('s_long', $$
    SELECT w.window_end, count(*) AS n FROM s, eddy.session(ts, '10 s', max_length => '1 min') w GROUP BY 1 $$, late => 'update', retention => '1 day');

-- Views without windows that close have no late rows.
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM a', late => 'update');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM a', allowed_lateness => '1 min');

-- A value of type json can contain what jsonb cannot: the text of the row is stored then. Casts to json are not called.
CREATE TYPE odd AS ENUM ('0', '1');
CREATE FUNCTION odd_json(o odd) RETURNS json LANGUAGE sql IMMUTABLE AS $$ SELECT to_json(1 / o::text::int) $$;
CREATE CAST (odd AS json) WITH FUNCTION odd_json(odd);
CREATE UNLOGGED TABLE j (ts timestamptz, doc json, o odd);
SELECT eddy.create_stream('j', event_time => 'ts');
SELECT eddy.create_continuous_view('j_keep', $$
    SELECT w.window_end, count(*) AS n FROM j, eddy.tumble(ts, '10 s') w GROUP BY 1 $$, late => 'keep');
INSERT INTO j VALUES (at(50), '{}', NULL);
INSERT INTO j VALUES (at(1), '{"a": "x"}', '1'), (at(2), '{"a": "\u0000"}', NULL), (at(3), '{"a": 1e999999}', NULL),
    (at(4), '"\ud800"', NULL), (at(5), '{}', '0'), (at(6), '[]', '1');
SELECT row_data FROM eddy.late_rows WHERE view = 'j_keep'::regclass ORDER BY coalesce(row_data ->> 'ts', row_data #>> '{}');
SELECT late_rows FROM eddy.stat_continuous_views WHERE view = 'j_keep'::regclass;
-- each of many rows is stored, whichever of them are such rows, also if they are too many for work_mem
DELETE FROM eddy.late_rows WHERE view = 'j_keep'::regclass;
SET work_mem = '64kB';
INSERT INTO j SELECT at(i % 10), CASE WHEN i % 7 = 0 OR i BETWEEN 300 AND 310 THEN '{"i": ' || i || ', "x": "\u0000"}' ELSE '{"i": ' || i || '}' END::json
FROM generate_series(1, 1500) i;
RESET work_mem;
SELECT jsonb_typeof(row_data), count(*), count(DISTINCT i), sum(i) FROM eddy.late_rows,
    CAST(coalesce(row_data -> 'doc' ->> 'i', substring(row_data #>> '{}' FROM '"i": (\d+)')) AS int) AS i
WHERE view = 'j_keep'::regclass GROUP BY 1 ORDER BY 1;
SELECT count(*), sum(i) FROM generate_series(1, 1500) i WHERE i % 7 = 0 OR i BETWEEN 300 AND 310;

SET client_min_messages = warning;
DROP SCHEMA late_rows CASCADE;
DELETE FROM eddy.late_rows;
