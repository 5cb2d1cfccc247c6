-- Windows of days, weeks, months, quarters and years, in a time zone.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never
-- TimeZone has no effect on windows
SET timezone = 'America/New_York';
SET datestyle = 'ISO, YMD';
SET statement_timeout = '60 s';

-- Local time, in which the bounds are whole days and months.
CREATE FUNCTION show(zone text, s timestamptz, e timestamptz) RETURNS text LANGUAGE sql AS
    $$ SELECT format('[%s, %s)', to_char(s AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI'), to_char(e AT TIME ZONE zone, 'YYYY-MM-DD HH24:MI')) $$;

-- A day on which the clock is changed has 23 or 25 hours.
SELECT t AS utc, show('Europe/Oslo', w.window_start, w.window_end) AS day, w.window_end - w.window_start AS length
FROM unnest('{2026-03-28 12:00Z, 2026-03-28 23:00Z, 2026-03-29 21:59:59.999999Z, 2026-03-29 22:00Z, 2026-10-24 22:00Z, 2026-10-25 00:30Z, 2026-10-25 01:30Z, 2026-10-25 23:00Z}'::timestamptz[]) t,
     eddy.tumble(t, '1 day', time_zone => 'Europe/Oslo') w;
-- weeks begin on the weekday of 1970-01-01, a Thursday; with an offset, on another one
SELECT show('Europe/Oslo', w.window_start, w.window_end) AS week, to_char(w.window_start AT TIME ZONE 'Europe/Oslo', 'Dy') AS begins, w.window_end - w.window_start AS length
FROM eddy.tumble(timestamptz '2026-03-26 12:00Z', '1 week', '4 days', 'Europe/Oslo') w;
-- months, quarters, years, also of another calendar year, and a day that begins at 06:00
SELECT call, show('Asia/Kolkata', w.window_start, w.window_end)
FROM (VALUES ('month', interval '1 month', interval '0'), ('quarter', '3 months', '0'), ('year', '1 year', '0'), ('fiscal year', '1 year', '3 months'),
             ('month from the 15th', '1 month', '14 days'), ('two months', '2 months', '1 month'), ('decade', '10 years', '0'), ('day from 06:00', '1 day', '6 hours'),
             ('fortnight', '14 days', '-3 days')) v(call, size, "offset"),
     eddy.tumble(timestamptz '2024-02-29 20:00Z', size, "offset", 'Asia/Kolkata') w;
-- without a time zone, months are those of UTC, and times without a zone have no other
SELECT w.window_start AT TIME ZONE 'UTC' AS start, w.window_end AT TIME ZONE 'UTC' AS "end" FROM eddy.tumble(timestamptz '2026-03-01 01:00+02', '1 month') w;
SELECT * FROM eddy.tumble(timestamp '2026-02-28 23:59:59.999999', '1 month') w;
SELECT * FROM eddy.tumble(timestamp '1969-12-31', '1 year', '5 months') w;

-- Hopping windows: a month that begins each day, six hours of each day, a rolling year
SELECT show('Europe/Oslo', w.window_start, w.window_end), w.window_end - w.window_start AS length FROM eddy.hop(timestamptz '2026-03-29 00:30Z', '1 day', '2 days', time_zone => 'Europe/Oslo') w;
SELECT count(*), min(w.window_start), max(w.window_end) FROM eddy.hop(timestamp '2026-03-15', '1 day', '1 month') w;
SELECT t, show('Europe/Oslo', w.window_start, w.window_end)
FROM unnest('{2026-10-25 01:00Z, 2026-10-25 04:59Z, 2026-10-25 05:00Z, 2026-10-25 12:00Z}'::timestamptz[]) t LEFT JOIN eddy.hop(t, '1 day', '6 hours', '1 hour', 'Europe/Oslo') w ON true;
SELECT * FROM eddy.hop(timestamp '2026-05-05', '1 month', '3 months') w;
-- Cumulating windows: hours of a local day, days of a month, months of a year
SELECT count(*), show('Europe/Oslo', min(w.window_end), max(w.window_end)) AS ends FROM eddy.cumulate(timestamptz '2026-03-28 23:10Z', '1 hour', '1 day', time_zone => 'Europe/Oslo') w;
SELECT count(*), show('Europe/Oslo', min(w.window_end), max(w.window_end)) AS ends FROM eddy.cumulate(timestamptz '2026-10-24 22:10Z', '1 hour', '1 day', time_zone => 'Europe/Oslo') w;
SELECT count(*), min(w.window_end), max(w.window_end) FROM eddy.cumulate(timestamp '2024-02-03 10:00', '1 day', '1 month') w;
SELECT w.window_end - w.window_start AS length FROM eddy.cumulate(timestamp '2026-09-01', '3 months', '1 year') w;
-- a step that does not divide a month: the last one is shorter
SELECT w.window_end FROM eddy.cumulate(timestamp '2026-02-10', '10 days', '1 month') w;

-- Every time is in exactly one window, from which the next one follows, in zones with unusual rules: a clock that is changed at midnight,
-- or a minute after it, back into the day before; a day that was skipped; half hours; times before 1900.
CREATE TABLE zones (zone text, change timestamptz);
INSERT INTO zones VALUES ('Europe/Oslo', '2026-03-29 01:00Z'), ('Europe/Oslo', '2026-10-25 01:00Z'), ('America/Sao_Paulo', '2018-11-04 03:00Z'), ('America/Sao_Paulo', '2019-02-17 02:00Z'),
    ('America/St_Johns', '2006-04-02 03:31Z'), ('America/St_Johns', '2006-10-29 02:30:30Z'), ('Pacific/Apia', '2011-12-30 10:00Z'), ('Australia/Lord_Howe', '2026-04-04 15:00Z'),
    ('Asia/Beirut', '2022-03-26 22:00Z'), ('Africa/Monrovia', '1972-01-07 00:44:30Z'), ('America/New_York', '1883-11-18 17:00Z'), ('Asia/Kathmandu', '1985-12-31 18:30Z'), ('UTC', '1969-12-31 00:00Z');
CREATE TABLE sizes (size interval, "offset" interval);
INSERT INTO sizes VALUES ('1 day', '0'), ('1 day', '6 hours'), ('2 days', '1 day'), ('7 days', '-3 days'), ('1 month', '0'), ('1 month', '30 days 12:00'), ('3 months', '1 month'), ('1 year', '0');
CREATE TABLE windows AS
    SELECT zone, change, size, "offset", t, w.*
    FROM zones, sizes, generate_series(-72, 72) g, LATERAL (SELECT change + g * interval '31 min 17.000001 s' AS t OFFSET 0) x, eddy.tumble(t, size, "offset", zone) w;
SELECT count(*), count(*) FILTER (WHERE window_start <= t AND t < window_end) AS contained FROM windows;
SELECT count(*) AS starts, count(DISTINCT (zone, size, "offset", window_end)) AS ends FROM (SELECT DISTINCT zone, size, "offset", window_start, window_end FROM windows) x;
-- the next window starts where one ends, and ends there where the last one starts
SELECT count(*) AS windows, count(*) FILTER (WHERE n.window_start = x.window_end) AS next, count(*) FILTER (WHERE p.window_end = x.window_start) AS previous
FROM (SELECT DISTINCT zone, size, "offset", window_start, window_end FROM windows) x, eddy.tumble(x.window_end, size, "offset", zone) n, eddy.tumble(x.window_start - interval '1 us', size, "offset", zone) p;
-- PostgreSQL's own days and months, except for those that begin twice
SELECT count(*) AS rows, zone FROM windows, LATERAL (SELECT date_trunc(CASE size WHEN '1 day' THEN 'day' WHEN '1 month' THEN 'month' ELSE 'year' END, t, zone) AS expected) x
WHERE "offset" = '0' AND expected <> window_start GROUP BY zone ORDER BY zone;
-- days in UTC are 24 hours, with or without a name for the zone
SELECT count(*), count(*) FILTER (WHERE a = b) AS same FROM generate_series(timestamptz '1969-11-01 00:00Z', '1970-03-01 00:00Z', '7 hours 13 min') t,
    LATERAL (SELECT array_agg(w) AS a FROM eddy.hop(t, '2 days', '5 days', '1 day 3 hours') w) a, LATERAL (SELECT array_agg(w) AS b FROM eddy.hop(t, '2 days', '5 days', '1 day 3 hours', 'UTC') w) b;
DROP TABLE zones, sizes, windows;

-- Errors
CREATE FUNCTION outcome(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    EXECUTE format('SELECT count(*)::text || coalesce(max('' '' || w.window_end), '''') FROM %s w', call) INTO result;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
SELECT call, outcome('eddy.' || call) FROM unnest(ARRAY[
    $$tumble(timestamptz '2026-01-01', '1 hour', time_zone => 'Europe/Oslo')$$, $$tumble(timestamptz '2026-01-01', '1 day 1 hour', time_zone => 'Europe/Oslo')$$,
    $$tumble(timestamptz '2026-01-01', '1 month 1 day')$$, $$tumble(timestamptz '2026-01-01', '-1 month')$$, $$tumble(timestamptz '2026-01-01', '-1 day', time_zone => 'UTC')$$,
    $$tumble(timestamptz '2026-01-01', '1 day', '1 month', 'UTC')$$, $$tumble(timestamptz '2026-01-01', '1 day', time_zone => 'Mars/Olympus')$$, $$tumble(timestamptz '2026-01-01', '1 day', time_zone => '')$$,
    $$tumble(timestamptz 'infinity', '1 month')$$, $$tumble(timestamptz '294276-12-31 12:00Z', '1 month')$$, $$tumble(timestamptz '294276-11-30 12:00Z', '1 month')$$,
    $$tumble(timestamptz '4714-11-24 00:00Z BC', '1 month')$$, $$tumble(timestamptz '4713-01-01 00:00Z BC', '1 month')$$, $$tumble(timestamptz '4713-01-02 00:00Z BC', '1 day', time_zone => 'Asia/Tokyo')$$,
    $$tumble(timestamptz '2026-01-01', '2147483647 months')$$, $$tumble(timestamptz '2026-01-01', '2147483647 days', time_zone => 'UTC')$$, $$tumble(timestamptz '2026-01-01', '1 day', '2147483647 days', 'UTC')$$,
    $$hop(timestamptz '2026-01-01', '1 hour', '1 month')$$, $$hop(timestamptz '2026-01-01', '1 day', '1000 years')$$, $$hop(timestamptz '2026-01-01', '1 month', '1 day')$$,
    $$cumulate(timestamptz '2026-01-01', '1 month', '100 days')$$, $$cumulate(timestamptz '2026-01-01', '5 months', '1 year')$$, $$cumulate(timestamptz '2026-01-01', '2 days', '7 days', time_zone => 'UTC')$$,
    $$cumulate(timestamptz '2026-01-01', '1 s', '1 month')$$, $$tumble(NULL::timestamptz, '1 day', time_zone => 'UTC')$$, $$hop(NULL::timestamptz, '1 day', '1 month')$$]) call;

-- In views: local days, which close when they have passed.
CREATE UNLOGGED TABLE orders (at timestamptz, zone text);
SELECT eddy.create_stream('orders', event_time => 'at');
SELECT eddy.create_continuous_view('orders_by_day', $$
    SELECT w.window_start, w.window_end, count(*) AS orders FROM orders, eddy.tumble(at, '1 day', time_zone => 'Europe/Oslo') w GROUP BY 1, 2 $$, emit => 'on_close');
SELECT eddy.create_continuous_view('orders_by_month', $$
    SELECT w.window_start, zone, count(*) AS orders FROM orders, eddy.tumble(at, '1 month', time_zone => zone) w GROUP BY 1, 2 $$);
SELECT eddy.create_continuous_view('refused', $$SELECT w.window_start, count(*) FROM orders, eddy.tumble(at, '12 hours', time_zone => 'Europe/Oslo') w GROUP BY 1$$);
SELECT eddy.create_continuous_view('refused', $$SELECT w.window_start, count(*) FROM orders, eddy.tumble(at, '1 day', time_zone => 'Oslo') w GROUP BY 1$$);
INSERT INTO orders SELECT t, zone FROM generate_series(timestamptz '2026-03-28 00:00Z', '2026-03-31 00:00Z', '1 hour') t, unnest('{Europe/Oslo, Asia/Kolkata, Nowhere}'::text[]) zone;
SELECT show('Europe/Oslo', window_start, window_end), orders FROM orders_by_day ORDER BY window_start;
INSERT INTO orders VALUES ('2026-04-01 00:00Z', 'UTC');
SELECT show('Europe/Oslo', window_start, window_end), orders FROM orders_by_day ORDER BY window_start;
SELECT window_start, zone, orders FROM orders_by_month ORDER BY 1, 2;
SELECT error, count(*) FROM eddy.dead_letters WHERE stream = 'orders'::regclass GROUP BY 1;
DROP TABLE orders CASCADE;
DROP FUNCTION show, outcome;

-- Steps that a row has passed cost nothing, however many they are.
SET statement_timeout = '10 s';
SELECT count(*), min(window_end), max(window_end) FROM eddy.cumulate('251969-12-22 12:00Z'::timestamptz, '1 day', '250000 years');
SELECT count(*), min(window_end), max(window_end) FROM eddy.cumulate('251969-12-22 12:00Z'::timestamptz, '1 day', '250000 years', time_zone => 'Europe/Oslo');
SELECT count(*), min(window_end), max(window_end) FROM eddy.cumulate('251969-08-01Z'::timestamptz, '1 month', '250000 years');
SELECT count(*) FROM eddy.cumulate('251900-01-01Z'::timestamptz, '1 day', '250000 years');
RESET statement_timeout;
