-- Window functions: the windows that contain a time, and errors for invalid times and lengths.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
-- none of these statements may take long
SET statement_timeout = '60 s';

-- Comparison with numeric arithmetic, for times before and after 1970, both types, and unusual lengths.
CREATE FUNCTION usec(at timestamptz) RETURNS numeric IMMUTABLE LANGUAGE sql AS 'SELECT extract(epoch FROM at) * 1000000';
CREATE FUNCTION usec(i interval) RETURNS numeric IMMUTABLE LANGUAGE sql AS 'SELECT extract(epoch FROM i) * 1000000';
CREATE TABLE times AS
    SELECT timestamptz '1970-01-01 00:00Z' + (g * 7919 % 2003 - 1001) * interval '8 hours 13 minutes 7.000001 s' AS at FROM generate_series(1, 700) g
    UNION ALL SELECT at + d * interval '1 microsecond'
    FROM unnest('{1969-12-31 23:57Z, 1970-01-01Z, 2000-01-01Z, 2026-03-29 02:00Z, 2026-10-25 03:00Z, 2024-02-29Z}'::timestamptz[]) at, generate_series(-1, 1) d;
CREATE TABLE lengths (step interval, size interval, "offset" interval);
INSERT INTO lengths VALUES ('5 min', '5 min', '0'), ('10 min', '10 min', '-13 min'), ('10 min', '10 min', '1 day 7 min'), ('1 day', '7 days', '-4 days'),
    ('7 s', '20 s', '3 s'), ('20 s', '7 s', '1 us'), ('1.000001 s', '3.7 s', '-100 years'::interval - '-100 years'::interval + '-9 us'),
    ('6 s', '18 s', '-1 s'), ('13 h', '39 h', '100000 days'), ('1 us', '3 us', '0');

CREATE FUNCTION expect_hop(at timestamptz, slide interval, size interval, "offset" interval) RETURNS SETOF numeric STABLE LANGUAGE sql AS $$
    SELECT usec("offset") + n * usec(slide)
    FROM generate_series(floor((usec(at) - usec(size) - usec("offset")) / usec(slide)), ceil((usec(at) - usec("offset")) / usec(slide))) n
    WHERE usec("offset") + n * usec(slide) <= usec(at) AND usec(at) < usec("offset") + n * usec(slide) + usec(size)
$$;
CREATE VIEW expected AS
    SELECT 'tumble' AS f, at, step, size, "offset", s, s + usec(size) AS e FROM times, lengths, expect_hop(at, size, size, "offset") s
    UNION ALL SELECT 'hop', at, step, size, "offset", s, s + usec(size) FROM times, lengths, expect_hop(at, step, size, "offset") s
    UNION ALL SELECT 'cumulate', at, step, size, "offset", s, s + n * usec(step) FROM times, lengths, expect_hop(at, size, size, "offset") s, generate_series(1, 100) n
              WHERE usec(size) % usec(step) = 0 AND n * usec(step) <= usec(size) AND usec(at) < s + n * usec(step);
CREATE VIEW actual AS
    SELECT 'tumble' AS f, at, step, size, "offset", usec(w.window_start) AS s, usec(w.window_end) AS e FROM times, lengths, eddy.tumble(at, size, "offset") w
    UNION ALL SELECT 'hop', at, step, size, "offset", usec(w.window_start), usec(w.window_end) FROM times, lengths, eddy.hop(at, step, size, "offset") w
    UNION ALL SELECT 'cumulate', at, step, size, "offset", usec(w.window_start), usec(w.window_end)
              FROM times, (SELECT * FROM lengths WHERE usec(size) % usec(step) = 0 OFFSET 0) l, eddy.cumulate(at, step, size, "offset") w;
CREATE VIEW actual_without_zone AS
    SELECT 'tumble' AS f, at, step, size, "offset", usec(w.window_start AT TIME ZONE 'UTC') AS s, usec(w.window_end AT TIME ZONE 'UTC') AS e
    FROM times, lengths, eddy.tumble(at AT TIME ZONE 'UTC', size, "offset") w
    UNION ALL SELECT 'hop', at, step, size, "offset", usec(w.window_start AT TIME ZONE 'UTC'), usec(w.window_end AT TIME ZONE 'UTC')
              FROM times, lengths, eddy.hop(at AT TIME ZONE 'UTC', step, size, "offset") w
    UNION ALL SELECT 'cumulate', at, step, size, "offset", usec(w.window_start AT TIME ZONE 'UTC'), usec(w.window_end AT TIME ZONE 'UTC')
              FROM times, (SELECT * FROM lengths WHERE usec(size) % usec(step) = 0 OFFSET 0) l, eddy.cumulate(at AT TIME ZONE 'UTC', step, size, "offset") w;
CREATE TABLE expectations AS SELECT * FROM expected;
SELECT f, count(*) FROM expectations GROUP BY f ORDER BY f;
(TABLE expectations EXCEPT ALL TABLE actual) UNION ALL (TABLE actual EXCEPT ALL TABLE expectations);
(TABLE expectations EXCEPT ALL TABLE actual_without_zone) UNION ALL (TABLE actual_without_zone EXCEPT ALL TABLE expectations);
-- TimeZone has no effect
SET timezone = 'America/New_York';
(TABLE expectations EXCEPT ALL TABLE actual) UNION ALL (TABLE actual EXCEPT ALL TABLE expectations);
SET timezone = 'UTC';

-- Returns the result of a call: a list of windows, their number, or the error.
CREATE FUNCTION outcome(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    EXECUTE format('SELECT CASE WHEN count(*) > 3 THEN count(*)::text ELSE coalesce(string_agg(format(''[%%s, %%s)'', w.window_start, w.window_end), '' ''), ''none'') END FROM %s w', call) INTO result;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE TABLE odd_times (t text);
INSERT INTO odd_times VALUES ('infinity'), ('-infinity'), ('294276-12-31 23:59:59.999999'), ('294276-12-31 23:59:55'), ('294276-12-31 23:59:49'),
    ('4714-11-24 00:00:00 BC'), ('4714-11-24 00:00:05 BC'), ('4714-11-24 00:00:10 BC'), (NULL);
SELECT type, t, outcome(format('eddy.tumble(%L::%s, ''10 s'')', t, type)) AS tumble, outcome(format('eddy.hop(%L::%s, ''5 s'', ''10 s'')', t, type)) AS hop,
       outcome(format('eddy.cumulate(%L::%s, ''5 s'', ''10 s'')', t, type)) AS cumulate
FROM odd_times, unnest('{timestamptz, timestamp}'::text[]) type ORDER BY type, t;
CREATE TABLE odd_lengths (step text, size text, "offset" text);
INSERT INTO odd_lengths VALUES ('0', '1 min', '0'), ('1 min', '0', '0'), ('-1 s', '1 min', '0'), ('1 s', '-1 min', '0'), (NULL, '1 min', '0'), ('1 min', NULL, '0'),
    ('1 min', '1 min', NULL), ('1 month', '1 min', '0'), ('1 min', '1 month', '0'), ('1 min', '1 min', '1 year'), ('1 min', '178000000 years', '0'),
    ('1 us', '36500 days', '0'), ('1 us', '10 ms', '0'), ('1 us', '10.001 ms', '0'), ('2 us', '20.001 ms', '0'), ('7 s', '10 s', '0'), ('1 day', '100000000 days', '0'),
    ('106751991 days', '106751991 days', '0'), ('106751992 days', '106751992 days', '0'), ('2147483647 days', '2147483647 days', '0'), ('1 min', '1 min', '-2147483648 days'),
    ('1 min', '1 min', '-106751991 days -04:00:54.775807'), ('106751991 days', '106751991 days', '-106751991 days'), ('100000 days', '100000 days', '-99999 days'),
    ('50000 days', '100000 days', '99999 days 23:59:59.999999'), ('2 s', '1 s', '0.5 s');
SELECT o.*, outcome(format('eddy.tumble(timestamptz ''2026-01-01 00:00Z'', %L::interval, %L::interval)', size, "offset")) AS tumble,
       outcome(format('eddy.hop(timestamptz ''2026-01-01 00:00Z'', %L::interval, %L::interval, %L::interval)', step, size, "offset")) AS hop,
       outcome(format('eddy.cumulate(timestamptz ''2026-01-01 00:00Z'', %L::interval, %L::interval, %L::interval)', step, size, "offset")) AS cumulate
FROM odd_lengths o;
-- a length is checked even if the time is null
SELECT * FROM eddy.tumble(NULL::timestamptz, '-1 s');

-- In a view each of these errors rejects only its row; the SELECT over stored rows raises the same error.
CREATE UNLOGGED TABLE moments (id int, at timestamptz, local timestamp, step interval, size interval);
SELECT eddy.create_stream('moments');
CREATE TABLE stored (LIKE moments);
CREATE TABLE definitions (name text, query text);
INSERT INTO definitions
SELECT f || '_' || c, format('SELECT w.window_start, w.window_end, count(*), sum(id) FROM moments, eddy.%s(%s, %s) w GROUP BY 1, 2', f, c, l)
FROM (VALUES ('tumble', $$'10 s'$$), ('hop', $$'5 s', '10 s'$$), ('cumulate', $$'5 s', '10 s'$$)) x(f, l), unnest('{at, local}'::text[]) c
UNION ALL SELECT f || '_computed', format('SELECT w.window_start, w.window_end, count(*), sum(id) FROM moments, eddy.%s(at, %s) w GROUP BY 1, 2', f, l)
FROM (VALUES ('tumble', 'size'), ('hop', 'step, size'), ('cumulate', 'step, size')) x(f, l);
SELECT eddy.create_continuous_view(name, query) FROM definitions ORDER BY name;
INSERT INTO stored
SELECT n, t::timestamptz, t::timestamp, '5 s', '10 s' FROM (SELECT row_number() OVER (ORDER BY t) AS n, t FROM odd_times) x
UNION ALL SELECT 100 + row_number() OVER (ORDER BY o), '2026-01-01 00:00:00Z', '2026-01-01', step::interval, size::interval FROM odd_lengths o WHERE "offset" = '0'
UNION ALL SELECT 200 + g, timestamptz '2026-01-01 00:00Z' + g * interval '700 ms', timestamp '2026-01-01' + g * interval '700 ms', '5 s', '10 s' FROM generate_series(1, 50) g;
INSERT INTO moments SELECT * FROM stored ORDER BY id * 7919 % 101;
SELECT view::text, error, count(*) FROM eddy.dead_letters WHERE stream = 'moments'::regclass GROUP BY 1, 2 ORDER BY 1, 2;

-- The SELECT over each stored row either fails with the error of its dead letter, or the row is in the view.
CREATE FUNCTION select_outcome(query text, row_id int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE replace(query, 'FROM moments', format('FROM (SELECT * FROM stored WHERE id = %s) m', row_id));
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLERRM;
END $$;
SELECT name, count(*) AS rows, count(*) FILTER (WHERE error IS NOT NULL) AS rejected, count(*) FILTER (WHERE error IS DISTINCT FROM select_outcome(query, id)) AS differ
FROM (SELECT d.name, d.query, s.id, l.error FROM definitions d CROSS JOIN stored s LEFT JOIN eddy.dead_letters l
      ON l.view = d.name::regclass AND (convert_from(l.payload, 'UTF8')::jsonb ->> 'id')::int = s.id) x
GROUP BY name ORDER BY name;
CREATE FUNCTION differences(view text, query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE result bigint;
BEGIN
    query := replace(query, 'FROM moments', format($q$FROM (SELECT * FROM stored WHERE id NOT IN (SELECT (convert_from(payload, 'UTF8')::jsonb ->> 'id')::int
        FROM eddy.dead_letters WHERE view = %L::regclass) OFFSET 0) m$q$, view));
    EXECUTE format('SELECT count(*) FROM ((TABLE %1$s EXCEPT ALL %2$s) UNION ALL (%2$s EXCEPT ALL TABLE %1$s)) x', view, query) INTO result;
    RETURN result;
END $$;
SELECT name, differences(name, query) FROM definitions ORDER BY name;

-- Invalid constant lengths are refused when the view is created.
\set VERBOSITY terse
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM moments, eddy.tumble(at, NULL) w');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM moments, eddy.tumble(at, ''-1 s'') w');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM moments, eddy.tumble(local, ''1 s'', ''1 month'') w');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM moments, eddy.tumble(local, ''2147483647 days'') w');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM moments, eddy.hop(at, ''1 us'', ''36500 days'') w');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM moments, eddy.cumulate(at, ''7 s'', ''10 s'') w');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM moments, eddy.cumulate(at, ''1 ms'', ''1 hour'') w');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM moments, eddy.hop(size => ''1 hour'', ts => at, slide => ''1 ms'') w');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM moments, eddy.tumble(at, make_interval(mins => 1) - ''1 min'') w');
\set VERBOSITY default
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM moments, eddy.hop(at, ''1 s'', ''1 week'') w');

-- Windows with gaps are valid, and probably a mistake.
BEGIN;
SELECT eddy.create_continuous_view('gaps', 'SELECT window_start, count(*) FROM moments, eddy.hop(at, ''10 minutes'', ''3 minutes'') GROUP BY 1');
SELECT eddy.create_continuous_view('touching', 'SELECT window_start, count(*) FROM moments, eddy.hop(at, ''3 minutes'', ''3 minutes'') GROUP BY 1');
SELECT eddy.create_continuous_view('most_months', 'SELECT window_start, count(*) FROM moments, eddy.hop(at, ''1 month'', ''30 days'') GROUP BY 1');
SELECT eddy.create_continuous_view('all_months', 'SELECT window_start, count(*) FROM moments, eddy.hop(at, ''1 month'', ''31 days'') GROUP BY 1');
ROLLBACK;

-- eddy.tumble is inlined: the plan has no function scan.
EXPLAIN (COSTS OFF, VERBOSE) SELECT w.* FROM stored, eddy.tumble(at, '5 minutes') w;

SET client_min_messages = warning;
DROP TABLE moments CASCADE;
DROP VIEW expected, actual, actual_without_zone;
DROP TABLE times, lengths, odd_times, odd_lengths, expectations, stored, definitions;
DROP FUNCTION expect_hop, usec(timestamptz), usec(interval), outcome, select_outcome, differences;
