-- Overlapping windows are combined from panes: a row has one pane, however many windows contain it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE SCHEMA panes;
RESET client_min_messages;
SET search_path = panes, public;
SET timezone = 'UTC';

CREATE FUNCTION at(seconds numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT timestamptz '2026-01-01 00:00Z' + seconds * interval '1 second' $$;
CREATE FUNCTION sec(t timestamptz) RETURNS numeric LANGUAGE sql IMMUTABLE AS
    $$ SELECT trim_scale(extract(epoch FROM t - timestamptz '2026-01-01 00:00Z')) $$;

-- Hopping windows of 12 seconds that begin every 6 seconds: a pane has 6 seconds, a window two panes.
CREATE UNLOGGED TABLE c (key text, ts timestamptz);
SELECT eddy.create_stream('c', event_time => 'ts', delay => '2 s');
SELECT eddy.create_continuous_view('c_closed', $$
    SELECT key, w.window_start, w.window_end, count(*) AS n
    FROM c, eddy.hop(ts, '6 s', '12 s') w GROUP BY key, w.window_start, w.window_end $$,
    emit => 'on_close', late => 'keep');
SELECT kind, state_tables FROM eddy._view WHERE view = 'c_closed'::regclass;
CREATE VIEW c_final AS SELECT key, sec(window_start) AS start, sec(window_end) AS "end", n FROM c_closed;
INSERT INTO c VALUES ('k', at(1));
INSERT INTO c VALUES ('k', at(9));
SELECT * FROM c_final ORDER BY 2;
INSERT INTO c VALUES ('k', at(15));
SELECT * FROM c_final ORDER BY 2;
-- late for [0, 12), but not for [6, 18)
INSERT INTO c VALUES ('k', at(10));
-- late for both of its windows
INSERT INTO c VALUES ('k', at(4));
-- A pane has one state. Rows that were late for some of its windows have another one beside it.
SELECT sec(first_end) AS counts_from, sec(pane_end) AS pane_end, key1, state1
FROM eddy._c_closed_panes ORDER BY 1, 2;
SELECT sec((row_data ->> 'ts')::timestamptz) AS ts, sec(window_start) AS start, sec(window_end) AS "end"
FROM eddy.late_rows WHERE view = 'c_closed'::regclass ORDER BY 1, 2;
-- A closed window is never computed again: [0, 12) remains.
INSERT INTO c VALUES ('k', at(50));
SELECT * FROM c_final ORDER BY 2;
-- Panes are removed when the last window that contains them is final.
SELECT sec(first_end) AS counts_from, sec(pane_end) AS pane_end FROM eddy._c_closed_panes;

-- Cumulating windows that grow by 6 seconds up to 18.
CREATE UNLOGGED TABLE d (key text, ts timestamptz);
SELECT eddy.create_stream('d', event_time => 'ts');
SELECT eddy.create_continuous_view('d_closed', $$
    SELECT key, w.window_start, w.window_end, count(*) AS n
    FROM d, eddy.cumulate(ts, '6 s', '18 s') w GROUP BY key, w.window_start, w.window_end $$,
    emit => 'on_close');
SELECT kind FROM eddy._view WHERE view = 'd_closed'::regclass;
INSERT INTO d VALUES ('k', at(2));
INSERT INTO d VALUES ('k', at(8));
INSERT INTO d VALUES ('k', at(7));
INSERT INTO d VALUES ('k', at(5));
SELECT sec(window_start) AS start, sec(window_end) AS "end", n FROM d_closed ORDER BY 2;
INSERT INTO d VALUES ('k', at(18));
SELECT sec(window_start) AS start, sec(window_end) AS "end", n FROM d_closed ORDER BY 2;
-- Final rows are removed with DELETE on the view.
DELETE FROM d_closed WHERE sec(window_end) = 6;
INSERT INTO d VALUES ('k', at(36));
SELECT sec(window_start) AS start, sec(window_end) AS "end", n FROM d_closed ORDER BY 2, 1;

-- A key that has no row for a while is in each window that contains one of its rows.
CREATE UNLOGGED TABLE p (key text, ts timestamptz);
SELECT eddy.create_stream('p', event_time => 'ts');
SELECT eddy.create_continuous_view('p_minute', $$
    SELECT key, w.window_end, count(*) AS n FROM p, eddy.hop(ts, '1 s', '1 min') w GROUP BY key, w.window_end $$,
    emit => 'on_close');
INSERT INTO p VALUES ('once', at(0)), ('twice', at(0)), ('twice', at(20));
INSERT INTO p VALUES ('later', at(1000));
SELECT key, n, count(*) AS windows, min(sec(window_end)) AS first, max(sec(window_end)) AS last
FROM p_minute GROUP BY key, n ORDER BY key, first;

-- Early rows: with up to 10 windows for each row, a view with emit => 'changes' has a row for each window.
-- If there are more, it computes open windows from panes when it is read.
SELECT eddy.create_continuous_view('p_few', $$
    SELECT key, w.window_end, count(*) AS n FROM p, eddy.hop(ts, '1 s', '10 s') w GROUP BY key, w.window_end $$);
SELECT eddy.create_continuous_view('p_many', $$
    SELECT key, w.window_end, count(*) AS n, sum(extract(second FROM ts)) / count(*) AS mean
    FROM p, eddy.hop(ts, '1 s', '11 s') w GROUP BY key, w.window_end $$);
SELECT view, kind FROM eddy._view WHERE view::text LIKE 'p\_%' ORDER BY view::text COLLATE "C";
INSERT INTO p VALUES ('a', at(1001)), ('b', at(1002)), ('a', at(1004));
SELECT key, sec(window_end) AS "end", n, round(mean, 1) AS mean FROM p_many
WHERE key = 'a' AND sec(window_end) BETWEEN 1002 AND 1008 ORDER BY 2;
SELECT sec(eddy.watermark('p')) AS watermark, key, count(*) AS windows FROM p_many GROUP BY key ORDER BY key;
-- rows of the current transaction count as well
BEGIN;
INSERT INTO p VALUES ('a', at(1004));
SELECT n FROM p_many WHERE key = 'a' AND sec(window_end) = 1006;
ROLLBACK;
-- a condition on the key selects the panes that are read, and the final rows
CREATE FUNCTION p_index_scans(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        IF line ~ 'Seq Scan|Index Scan|Index Cond|Custom Scan|Panes|Searched By' THEN
            RETURN NEXT btrim(line);
        END IF;
    END LOOP;
END $$;
SET enable_seqscan = off;
SELECT p_index_scans($$SELECT * FROM p_many WHERE key = 'a'$$);
RESET enable_seqscan;
-- open windows have no rows that could be deleted
DELETE FROM p_many;

-- what is applied when reading works with open windows as well
SELECT eddy.create_continuous_view('p_top', $$
    SELECT key, w.window_end, count(*) AS n FROM p, eddy.hop(ts, '1 s', '11 s') w GROUP BY key, w.window_end
    ORDER BY n DESC, key, w.window_end LIMIT 2 $$);
INSERT INTO p VALUES ('t', at(1005)), ('t', at(1006));
SELECT key, sec(window_end) AS "end", n FROM p_top;

-- The same SELECT over the accepted pairs of rows and windows is the content of the view, whatever the windows,
-- how late the rows, and when windows close.
CREATE UNLOGGED TABLE r (id serial, key text, kind int, ts timestamptz, amount numeric, rate float8);
CREATE TABLE kinds (kind int PRIMARY KEY, name text);
INSERT INTO kinds VALUES (1, 'one'), (2, 'two');
SELECT eddy.create_stream('r', event_time => 'ts', delay => '4 s', null_event_time => 'skip_watermark');
CREATE TABLE windows (id int, call text);
INSERT INTO windows VALUES
    (1, $$eddy.hop(ts, '6 s', '12 s')$$),
    (2, $$eddy.hop(ts, '1 s', '60 s')$$),
    (3, $$eddy.hop(ts, '4 s', '10 s', '3 s')$$),
    (4, $$eddy.hop(ts, slide => '3 s', "offset" => '-5 s', size => '34 s')$$),
    (5, $$eddy.hop(ts, '2 s', '61 s', '500 ms')$$),
    (6, $$eddy.cumulate(ts, '5 s', '35 s', '2 s')$$),
    (7, $$eddy.cumulate(ts, '1 s', '90 s')$$);
-- an aggregate of a user, whose strict transition function has no initial state
CREATE FUNCTION greater(a int, b int) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT CASE WHEN a > b THEN a ELSE b END';
CREATE AGGREGATE top(int) (SFUNC = greater, STYPE = int, COMBINEFUNC = greater, PARALLEL = SAFE);
CREATE FUNCTION query(call text, accepted text) RETURNS text LANGUAGE sql AS $f$
    SELECT format($$
        SELECT upper(r.key) AS key, w.window_start, w.window_end, name, count(*) AS n, sum(amount), min(ts) AS first,
               avg(amount), round(stddev(amount), 6) AS stddev, max(rate), avg(rate) AS mean,
               sum(r.kind) FILTER (WHERE amount > 50) AS filtered, bool_or(amount > 99) AS high, top(r.id),
               extract(epoch FROM w.window_end - w.window_start) + count(amount) AS computed
        FROM r JOIN kinds k ON k.kind = r.kind, %s w WHERE amount < 101 AND %s
        GROUP BY upper(r.key), w.window_start, w.window_end, name HAVING count(*) <> 3 $$, call, accepted) $f$;
DO $$
BEGIN
    PERFORM eddy.create_continuous_view('r_closed_' || id, query(call, 'true'), emit => 'on_close', late => 'keep'),
            eddy.create_continuous_view('r_early_' || id, query(call, 'true'), late => 'keep')
    FROM windows ORDER BY id;
END $$;
SELECT kind, count(*) FROM eddy._view WHERE view::text LIKE 'r\_%' GROUP BY kind ORDER BY kind;
-- batches of random rows: some rows are late, time jumps, keys can be NULL, and it begins before 1970
DO $$
DECLARE
    t float := -150;
BEGIN
    PERFORM setseed(0.42);
    FOR batch IN 1..70 LOOP
        INSERT INTO r (key, kind, ts, amount, rate)
        SELECT nullif(chr(97 + floor(random() * 5)::int), 'e'), 1 + floor(random() * 3)::int,
               timestamptz '1970-01-01 00:00Z' + interval '1 s' * (t - random() * CASE WHEN batch % 5 = 0 THEN 80 ELSE 8 END),
               round((random() * 110)::numeric, 2), floor(random() * 1000)
        FROM generate_series(1, 1 + floor(random() * 30)::int);
        t := t + random() * 6;
        IF batch % 30 = 0 THEN
            t := t + 200;
        END IF;
        COMMIT;
    END LOOP;
END $$;
INSERT INTO r (key, kind, ts, amount) VALUES ('a', 1, NULL, 1);
CREATE FUNCTION compare(prefix text, until timestamptz)
RETURNS TABLE (id int, has_rows boolean, missing bigint, wrong bigint) LANGUAGE plpgsql AS $$
DECLARE
    w record;
    view text;
    expected text;
BEGIN
    FOR w IN SELECT * FROM windows ORDER BY windows.id LOOP
        view := prefix || w.id;
        expected := query(w.call, format('w.window_end <= %L AND NOT EXISTS (
            SELECT FROM eddy.late_rows l WHERE l.view = %L::regclass AND l.window_end = w.window_end
            AND (l.row_data ->> ''id'')::int = r.id)', until, view));
        RETURN QUERY EXECUTE format('SELECT %s, EXISTS (TABLE %I),
            (SELECT count(*) FROM (%s EXCEPT ALL TABLE %I) x), (SELECT count(*) FROM (TABLE %I EXCEPT ALL %s) x)',
            w.id, view, expected, view, view, expected);
    END LOOP;
END $$;
SELECT * FROM compare('r_closed_', eddy.watermark('r'));
SELECT * FROM compare('r_early_', 'infinity');
-- late rows are those of the windows, whichever way they are maintained
SELECT w.id, count(*) > 0 AS has_late_rows,
       count(*) = (SELECT count(*) FROM eddy.late_rows l WHERE l.view = ('r_early_' || w.id)::regclass) AS same,
       count(*) = (SELECT s.late_rows FROM eddy.stat_continuous_views s WHERE s.view = ('r_closed_' || w.id)::regclass)
           AS counted
FROM windows w JOIN eddy.late_rows l ON l.view = ('r_closed_' || w.id)::regclass GROUP BY w.id ORDER BY w.id;

-- Closing the windows of many keys takes several transactions; each row is final once.
CREATE UNLOGGED TABLE m (key int, ts timestamptz);
SELECT eddy.create_stream('m', event_time => 'ts');
SELECT eddy.create_continuous_view('m_closed', $$
    SELECT key, w.window_end, count(*) AS n FROM m, eddy.hop(ts, '5 s', '10 s') w GROUP BY key, w.window_end $$,
    emit => 'on_close');
INSERT INTO m SELECT key, at(1) FROM generate_series(1, 25000) key;
INSERT INTO m SELECT key, at(5) FROM generate_series(1, 25000, 3) key;
DO $$
BEGIN
    FOR i IN 1..20 LOOP
        INSERT INTO m VALUES (0, at(100 + i));
        COMMIT;
    END LOOP;
END $$;
SELECT sec(window_end) AS "end", count(*), count(DISTINCT key) AS keys, sum(n) AS n FROM m_closed
WHERE key > 0 GROUP BY 1 ORDER BY 1;

-- Expressions over aggregates are computed when a window closes. One that fails is a dead letter.
CREATE UNLOGGED TABLE f (key text, ts timestamptz, amount int);
SELECT eddy.create_stream('f', event_time => 'ts');
SELECT eddy.create_continuous_view('f_closed', $$
    SELECT key, w.window_end, 100 / sum(amount) AS share FROM f, eddy.hop(ts, '5 s', '10 s') w GROUP BY key, w.window_end $$,
    emit => 'on_close');
INSERT INTO f VALUES ('bad', at(1), 0), ('good', at(1), 5), ('bad', at(6), 1);
INSERT INTO f VALUES ('good', at(20), 1);
SELECT key, sec(window_end) AS "end", share FROM f_closed ORDER BY 2, 1;
SELECT error, sqlstate FROM eddy.dead_letters WHERE view = 'f_closed'::regclass;
-- with on_error => 'stop' the view is suspended
SELECT eddy.create_continuous_view('f_stops', $$
    SELECT w.window_end, 100 / sum(amount) AS share FROM f, eddy.hop(ts, '5 s', '10 s') w GROUP BY w.window_end $$,
    emit => 'on_close', on_error => 'stop');
INSERT INTO f VALUES ('bad', at(21), 0);
INSERT INTO f VALUES ('good', at(40), 1);
SELECT state, error FROM eddy.continuous_views WHERE view = 'f_stops'::regclass;

-- A view whose windows are not used for groups alone has a row for each window.
SELECT eddy.create_continuous_view('c_bounds', $$
    SELECT w.window_end, max(ts - w.window_start) FROM c, eddy.hop(ts, '1 s', '60 s') w GROUP BY w.window_end $$);
SELECT eddy.create_continuous_view('c_where', $$
    SELECT w.window_end, count(*) FROM c, eddy.hop(ts, '1 s', '60 s') w WHERE ts < w.window_start + interval '1 s'
    GROUP BY w.window_end $$);
SELECT eddy.create_continuous_view('c_update', $$
    SELECT w.window_end, count(*) FROM c, eddy.hop(ts, '1 s', '60 s') w GROUP BY w.window_end $$,
    late => 'update', allowed_lateness => '1 s');
-- panes of 1 second would be many more than the two windows of a row
SELECT eddy.create_continuous_view('c_prime', $$
    SELECT w.window_end, count(*) FROM c, eddy.hop(ts, '30 s', '61 s') w GROUP BY w.window_end $$, emit => 'on_close');
SELECT view, kind FROM eddy._view WHERE view::text LIKE 'c\_%' ORDER BY view::text;

-- A view over timestamps without time zone, without other keys; and counting what the stream still holds.
CREATE UNLOGGED TABLE z (ts timestamp);
SELECT eddy.create_stream('z', event_time => 'ts');
INSERT INTO z SELECT timestamp '2026-01-01' + interval '1 s' * i FROM generate_series(0, 99) i;
SELECT eddy.create_continuous_view('z_all', $$
    SELECT w.window_start, count(*) AS n FROM z, eddy.hop(ts, '1 s', '30 s') w GROUP BY w.window_start $$, start => 'staged');
SELECT count(*), sum(n), min(window_start), max(window_start) FROM z_all;
SELECT eddy.pause('z_all');
INSERT INTO z VALUES ('2026-01-01 00:02');
SELECT eddy.resume('z_all');
SELECT count(*), sum(n), min(window_start), max(window_start) FROM z_all;

-- The windows of one key, closed and open ones, are read through indexes: about one page for each row and pane.
CREATE FUNCTION pages_read(query text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) ' || query INTO plan;
    RETURN (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::int + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::int;
END $$;
CREATE UNLOGGED TABLE keyed (key int, ts timestamptz, v int);
SELECT eddy.create_stream('keyed', event_time => 'ts');
SELECT eddy.create_continuous_view('keyed_windows', $$
    SELECT key, w.window_start, w.window_end, count(*) AS n, sum(v), max(v)
    FROM keyed, eddy.hop(ts, '1 s', '1 min') w GROUP BY key, w.window_start, w.window_end $$);
INSERT INTO keyed SELECT k, timestamptz '2026-01-01 00:00Z' + s * interval '1 s', s FROM generate_series(0, 99) s, generate_series(1, 100) k;
VACUUM ANALYZE;
SELECT count(*), count(*) FILTER (WHERE window_end > eddy.watermark('keyed')) AS open, sum(n) FROM keyed_windows WHERE key = 7;
SELECT pages_read('SELECT * FROM keyed_windows WHERE key = 7') AS pages,
    pages_read('SELECT * FROM keyed_windows WHERE key = 7 AND window_end > (SELECT eddy.watermark(''keyed''))') AS pages_of_open,
    pages_read('TABLE keyed_windows') AS pages_of_all \gset
SELECT :pages < 400 AS of_a_key, :pages_of_open < 300 AS of_open_windows, :pages_of_all > 10 * :pages AS of_all;

-- Open windows are shown to roles that may read the view.
CREATE ROLE panes_reader;
GRANT USAGE ON SCHEMA panes TO panes_reader;
SET ROLE panes_reader;
SELECT count(*) FROM p_many;
SELECT * FROM eddy._open_windows('eddy._p_many_panes') AS w (key text, window_end timestamptz, n bigint, mean numeric);
SELECT * FROM ROWS FROM (eddy._open_windows('eddy._p_many_panes') AS (key text, window_end timestamptz, n bigint, mean numeric)) WITH ORDINALITY;
RESET ROLE;
GRANT SELECT ON p_many TO panes_reader;
SET ROLE panes_reader;
SELECT count(*) FROM p_many WHERE key = 'a';
SELECT count(*) FROM ROWS FROM (eddy._open_windows('eddy._p_many_panes') AS (key text, window_end timestamptz, n bigint, mean numeric)) WITH ORDINALITY
WHERE key = 'a';
SELECT * FROM eddy._open_windows('eddy._p_many_panes') AS w (key text, window_end text, n bigint, mean numeric);
SELECT * FROM eddy._open_windows('eddy._p_many_state') AS w (key text);
RESET ROLE;

-- Panes combine: a view whose aggregates need all their values has a group for each window.
CREATE UNLOGGED TABLE p_values (k int, v int4range, at timestamptz);
SELECT eddy.create_stream('p_values', event_time => 'at');
SELECT eddy.create_continuous_view('p_lists', $$
    SELECT w.window_start, w.window_end, array_agg(k) AS list, range_agg(v) AS ranges, count(DISTINCT k) AS n
    FROM p_values, eddy.cumulate(at, '10 s', '30 s') w GROUP BY w.window_start, w.window_end $$, emit => 'on_close');
SELECT kind FROM eddy._view WHERE view = 'p_lists'::regclass;
INSERT INTO p_values VALUES (1, '[1,3)', '2026-01-01 00:00:01Z'), (1, '[7,9)', '2026-01-01 00:00:12Z'), (2, NULL, '2026-01-01 00:01Z');
SELECT window_end, list, ranges, n FROM p_lists ORDER BY window_end;

-- What a session keeps for the next windows does not grow with the number of windows that it has closed.
CREATE UNLOGGED TABLE steady (key text, n numeric, ts timestamptz);
SELECT eddy.create_stream('steady', event_time => 'ts');
SELECT eddy.create_continuous_view('steady_hop', $$ SELECT key, w.window_end, sum(n) AS total
    FROM steady, eddy.hop(ts, '1 s', '16 s') w GROUP BY key, w.window_end $$, emit => 'on_close');
SELECT eddy.create_continuous_view('steady_cumulate', $$ SELECT key, w.window_end, sum(n) AS total
    FROM steady, eddy.cumulate(ts, '1 s', '16 s') w GROUP BY key, w.window_end $$, emit => 'on_close');
\set ECHO none
SELECT format('INSERT INTO steady VALUES (%L, %s, at(%s))', repeat('k', 200), g, g) FROM generate_series(1, 200) g \gexec
\set ECHO all
SELECT max(used_bytes) < 8000 AS steady FROM pg_backend_memory_contexts WHERE name = 'pg_eddy panes';

SET client_min_messages = warning;
DROP SCHEMA panes CASCADE;
DROP ROLE panes_reader;
DELETE FROM eddy.late_rows;
DELETE FROM eddy.dead_letters;
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'eddy' AND c.relname ~ '_(panes|sums)$';
