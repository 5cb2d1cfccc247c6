-- eddy.combine: aggregates of a continuous view over another one, computed from what that one keeps of its
-- groups. The result is that of the same aggregate over all rows, as if there were no view between.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE SCHEMA combined;
RESET client_min_messages;
SET search_path = combined, public;
SET timezone = 'UTC';

CREATE FUNCTION at(minutes numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT timestamptz '2026-01-01 00:00Z' + minutes * interval '1 minute' $$;
CREATE UNLOGGED TABLE requests (page text, ms int, cost numeric, ts timestamptz);
SELECT eddy.create_stream('requests', event_time => 'ts');
SELECT eddy.create_continuous_view('minutes', $$
    SELECT page, w.window_start, w.window_end, count(*) AS n, sum(ms::bigint) AS total, avg(cost) AS average,
           max(ms) AS slowest, variance(cost) AS variance, eddy.approx_count_distinct(ms) AS about,
           count(DISTINCT ms) AS different, sum(DISTINCT cost) AS costs,
           percentile_disc(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY ms) AS percentiles,
           mode() WITHIN GROUP (ORDER BY ms) AS mode, array_agg(ms ORDER BY ms) AS list,
           avg(ms) FILTER (WHERE ms > 50) AS slow, count(DISTINCT ms) FILTER (WHERE ms > 50) AS slow_different,
           n_distinct.x
    FROM requests, eddy.tumble(ts, '5 minutes') w, LATERAL (SELECT 1 AS x) n_distinct
    GROUP BY page, w.window_start, w.window_end, n_distinct.x $$, emit => 'on_close');
SELECT eddy.create_continuous_view('hours', $$
    SELECT page, w.window_start, w.window_end, eddy.combine(n) AS n, eddy.combine(total) AS total,
           eddy.combine(average) AS average, eddy.combine(slowest) AS slowest, eddy.combine(variance) AS variance,
           eddy.combine(about) AS about, eddy.combine(different) AS different, eddy.combine(costs) AS costs,
           eddy.combine(percentiles) AS percentiles, eddy.combine(mode) AS mode, eddy.combine(list) AS list,
           eddy.combine(slow) AS slow, eddy.combine(slow_different) AS slow_different
    FROM minutes m, eddy.tumble(m.window_start, '1 hour') w
    GROUP BY page, w.window_start, w.window_end $$, emit => 'on_close');
-- combined again, beside other aggregates and within expressions
SELECT eddy.create_continuous_view('days', $$
    SELECT w.window_start, eddy.combine(n) AS n, round(eddy.combine(average), 3) AS average, eddy.combine(different) AS different,
           eddy.combine(costs) AS costs, eddy.combine(percentiles) AS percentiles, eddy.combine(mode) AS mode,
           eddy.combine(slow) AS slow, count(*) AS hours, max(slowest) AS slowest
    FROM hours h, eddy.tumble(h.window_start, '1 day') w GROUP BY w.window_start HAVING eddy.combine(n) > 10 $$);
CREATE VIEW expected AS
    SELECT page, w.window_start, w.window_end, count(*) AS n, sum(ms::bigint) AS total, avg(cost) AS average,
           max(ms) AS slowest, variance(cost) AS variance, eddy.approx_count_distinct(ms) AS about,
           count(DISTINCT ms) AS different, sum(DISTINCT cost) AS costs,
           percentile_disc(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY ms) AS percentiles,
           mode() WITHIN GROUP (ORDER BY ms) AS mode, array_agg(ms ORDER BY ms) AS list,
           avg(ms) FILTER (WHERE ms > 50) AS slow, count(DISTINCT ms) FILTER (WHERE ms > 50) AS slow_different
    FROM requests, eddy.tumble(ts, '1 hour') w GROUP BY page, w.window_start, w.window_end;

INSERT INTO requests SELECT 'p' || g % 2, g * 37 % 101, round((g * 7 % 13) / 4.0, g % 3), at(g / 4.0) FROM generate_series(0, 900) g;
INSERT INTO requests SELECT 'p' || g % 2, g * 53 % 97, NULL, at(g / 4.0) FROM generate_series(901, 1500) g;
INSERT INTO requests VALUES ('late', 1, 1, at(1)), ('p0', 1, 1, at(1440));
SELECT n, average, different, percentiles, mode, slow FROM hours ORDER BY window_start, page LIMIT 2;
SELECT count(*) FROM hours;
(TABLE hours EXCEPT ALL SELECT * FROM expected WHERE window_end <= at(1440) AND page <> 'late')
UNION ALL
(SELECT * FROM expected WHERE window_end <= at(1440) AND page <> 'late' EXCEPT ALL TABLE hours);
SELECT n, average, different, costs, percentiles, mode, slow, hours, slowest FROM days;
SELECT count(*) AS n, round(avg(cost), 3) AS average, count(DISTINCT ms) AS different, sum(DISTINCT cost) AS costs,
       percentile_disc(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY ms) AS percentiles, mode() WITHIN GROUP (ORDER BY ms) AS mode,
       avg(ms) FILTER (WHERE ms > 50) AS slow
FROM requests WHERE ts < at(1440) AND page <> 'late';
-- What is combined is kept until windows are closed the next time.
INSERT INTO requests VALUES ('p0', 1, 1, at(1445));
INSERT INTO requests VALUES ('p0', 1, 1, at(1450));
SELECT count(DISTINCT _id) FROM eddy._minutes_values;
-- Dead letters show the columns of the other view.
SELECT eddy.create_continuous_view('failing', $$
    SELECT eddy.combine(average) AS average, sum(1 / (slowest - 1)) AS x FROM minutes WHERE page = 'p0' $$);
INSERT INTO requests VALUES ('p0', 2, 2, at(1455)), ('p0', 3, 4, at(1460));
SELECT (SELECT string_agg(key, ' ') FROM json_object_keys(convert_from(payload, 'UTF8')::json) key) AS columns, error
FROM eddy.dead_letters WHERE view = 'failing'::regclass;
INSERT INTO requests VALUES ('p0', 3, 4, at(1465));
SELECT * FROM failing;

SELECT eddy.combine(average) FROM minutes;
SELECT eddy.create_continuous_view('no', $$ SELECT eddy.combine(ms) FROM requests $$);
SELECT eddy.create_continuous_view('no', $$ SELECT eddy.combine(window_start) FROM minutes $$);
SELECT eddy.create_continuous_view('no', $$ SELECT eddy.combine(n + 1) FROM minutes $$);
SELECT eddy.create_continuous_view('no', $$ SELECT eddy.combine(n) FILTER (WHERE page = 'p0') FROM minutes $$);
SELECT eddy.create_continuous_view('no', $$ SELECT eddy.combine(n) FROM minutes $$, start => 'staged');
SELECT eddy.create_continuous_view('changing', $$ SELECT page, avg(ms) AS average FROM requests GROUP BY page $$);
SELECT eddy.create_continuous_view('no', $$ SELECT eddy.combine(average) FROM changing $$);
SELECT eddy.create_continuous_view('hopping', $$
    SELECT w.window_end, avg(ms) AS average FROM requests, eddy.hop(ts, '1 min', '1 hour') w GROUP BY w.window_end $$, emit => 'on_close');
SELECT eddy.create_continuous_view('no', $$ SELECT eddy.combine(average) FROM hopping $$);
SELECT eddy.create_continuous_view('no', $$
    SELECT w.window_end, eddy.combine(n) FROM minutes m, eddy.session(m.window_start, '1 hour') w GROUP BY w.window_end $$);

DELETE FROM eddy.dead_letters WHERE stream = 'requests'::regclass;
SET client_min_messages = warning;
DROP SCHEMA combined CASCADE;
