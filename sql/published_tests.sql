-- Tests that other engines publish, with their inputs and their results: ksqlDB (ksqldb-functional-tests, query-validation-tests: suppress,
-- session-windows, tumbling-windows, hopping-windows), Apache Flink (WindowAggregateITCase), RisingWave (e2e_test/streaming/eowc) and
-- Arroyo (arroyo-sql-testing: sliding_window_end, session_window, global_session_window).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE SCHEMA published_tests;
RESET client_min_messages;
SET search_path = published_tests, public;
SET timezone = 'UTC';

-- Times of ksqlDB are milliseconds after 1970. A grace period is a delay of the stream. Each row is a transaction. Sessions end with their last
-- event there. Kafka has no windows that begin before 1970, so these are left out.
CREATE TABLE tests (test int PRIMARY KEY, name text, call text, delay interval, aggregate text, emit text, given text, published text);
INSERT INTO tests VALUES
    (1, 'final result immediately at window end if grace is zero', $$tumble(ts, '2 ms')$$, '0', 'count(*)', 'on_close',
        'k1 0, k1 1, k1 2', 'k1 0 2 2'),
    (2, 'no final result before window end plus grace', $$tumble(ts, '2 ms')$$, '24 h', 'count(*)', 'on_close',
        'k1 0, k1 1, k1 2', ''),
    (3, 'out of order events before window end plus grace', $$tumble(ts, '2 ms')$$, '1 ms', 'count(*)', 'on_close',
        'k1 0, k1 1, k1 2, k1 1, k1 0, k1 5', 'k1 0 2 4, k1 2 4 1'),
    (4, 'drop out of order event after window end plus grace', $$tumble(ts, '2 ms')$$, '1 ms', 'count(*)', 'on_close',
        'k1 0, k1 1, k1 2, k1 1, k1 0, k1 5, k1 0', 'k1 0 2 4, k1 2 4 1'),
    (5, 'tumbling windows with large jump', $$tumble(ts, '2 ms')$$, '2 ms', 'count(*)', 'on_close',
        'k1 0, k1 1, k1 2, k1 0, k1 3, k1 0, k1 4, k1 0, k1 30', 'k1 0 2 4, k1 2 4 2, k1 4 6 1'),
    (6, 'hopping windows', $$hop(ts, '2 ms', '5 ms')$$, '1 ms', 'count(*)', 'on_close',
        'k1 0, k1 1, k1 2, k1 1, k1 6, k1 5, k1 10', 'k1 0 5 4, k1 2 7 3, k1 4 9 2'),
    (7, 'multiple keys', $$tumble(ts, '2 ms')$$, '1 ms', 'count(*)', 'on_close',
        'k1 0, k2 1, k1 2, k1 1, k2 0, k1 5, k1 0, k2 2', 'k1 0 2 2, k2 0 2 2, k1 2 4 1'),
    (8, 'max tumbling', $$tumble(ts, '30 s')$$, '24 h', 'max(value)', 'changes',
        '0 0 0, 0 10000 5, 100 30000 100, 100 45000 6, 100 50000 300, 0 35000 100, 0 40000 2000',
        '0 0 30000 5, 100 30000 60000 300, 0 30000 60000 2000'),
    (9, 'min tumbling', $$tumble(ts, '30 s')$$, '24 h', 'min(value)', 'changes',
        '0 0 0, 0 10000 5, 100 30000 100, 100 45000 6, 100 50000 300', '0 0 30000 0, 100 30000 60000 6'),
    (10, 'max hopping', $$hop(ts, '10 s', '30 s')$$, '24 h', 'max(value)', 'changes',
        '0 0 0, 0 10000 5, 100 30000 100, 100 45000 6, 100 50000 300, 0 35000 100, 0 40000 2000',
        '0 0 30000 5, 0 10000 40000 100, 0 20000 50000 2000, 0 30000 60000 2000, 0 40000 70000 2000, 100 10000 40000 100,
         100 20000 50000 100, 100 30000 60000 300, 100 40000 70000 300, 100 50000 80000 300'),
    (11, 'count hopping', $$hop(ts, '1 s', '5 s')$$, '24 h', 'count(*)', 'changes', '0 10345, 0 13251',
        '0 6000 11000 1, 0 7000 12000 1, 0 8000 13000 1, 0 9000 14000 2, 0 10000 15000 2, 0 11000 16000 1, 0 12000 17000 1, 0 13000 18000 1'),
    (12, 'max session', $$session(ts, '30 s')$$, '24 h', 'max(value)', 'changes', '0 0 0, 0 10000 5, 1 10000 100, 1 40000 200',
        '0 0 10000 5, 1 10000 40000 200'),
    (13, 'sessions out of order, no grace period: a day', $$session(ts, '30 s')$$, '24 h', 'max(value)', 'changes',
        '0 0 0, 0 70010 1, 0 10009 5, 0 10010 6, 1 10009 100, 1 10010 101, 1 86412022 200, 1 60000 200',
        '0 70010 70010 1, 0 0 10010 6, 1 10009 10010 101, 1 86412022 86412022 200, 1 60000 60000 200'),
    (14, 'sessions out of order, explicit grace period', $$session(ts, '30 s')$$, '1 min', 'max(value)', 'changes',
        '0 0 0, 0 100010 1, 0 10009 5, 0 10010 6, 1 10009 100, 1 10010 101, 1 86412022 200, 1 60000 200',
        '0 0 0 0, 0 100010 100010 1, 0 10010 10010 6, 1 10010 10010 101, 1 86412022 86412022 200');
CREATE FUNCTION rows_of(list text) RETURNS TABLE (n bigint, items text[]) LANGUAGE sql AS $$
    SELECT n, regexp_split_to_array(trim(item, E' \n'), ' ') FROM regexp_split_to_table(nullif(list, ''), ',\s*') WITH ORDINALITY AS t (item, n) $$;
-- one stream and one view for each test, and one transaction for each row
\o /dev/null
SELECT format('CREATE UNLOGGED TABLE in_%s (key text, ts timestamptz, value int)', test) FROM tests ORDER BY test \gexec
SELECT eddy.create_stream(format('in_%s', test)::regclass, event_time => 'ts', delay => delay) FROM tests ORDER BY test;
SELECT eddy.create_continuous_view(format('out_%s', test), format(
    'SELECT key, w.window_start, w.%2$s AS window_end, %3$s AS result FROM in_%1$s, eddy.%4$s w GROUP BY key, w.window_start, w.%2$s',
    test, CASE WHEN call ~ 'session' THEN 'last_event' ELSE 'window_end' END, aggregate, call), emit => emit)
FROM tests ORDER BY test;
SELECT format('INSERT INTO in_%s VALUES (%L, to_timestamp(%s / 1000.0), %s)', test, items[1], items[2], coalesce(items[3], 'NULL'))
FROM tests, rows_of(given) ORDER BY test, n \gexec
\o
CREATE FUNCTION differing(test int, published text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
BEGIN
    EXECUTE format('WITH ours AS (SELECT key, (extract(epoch FROM window_start) * 1000)::bigint AS first, (extract(epoch FROM window_end) * 1000)::bigint AS last,
            result::bigint FROM out_%s WHERE window_start >= ''1970-01-01Z''),
        theirs AS (SELECT items[1], items[2]::bigint, items[3]::bigint, items[4]::bigint FROM rows_of(%L))
        SELECT count(*) FROM ((TABLE ours EXCEPT ALL TABLE theirs) UNION ALL (TABLE theirs EXCEPT ALL TABLE ours)) d', test, published) INTO result;
    RETURN result;
END $$;
SELECT test, name, (SELECT count(*) FROM rows_of(published)) AS results, differing(test, published) AS differing FROM tests ORDER BY test;

-- Flink: a watermark that follows by one second; one event is out of order, another one is late for some of its windows.
CREATE UNLOGGED TABLE t1 (rowtime timestamp, "int" int, "double" float8, "float" float4, bigdec numeric(10, 2), string text, name text);
SELECT eddy.create_stream('t1', event_time => 'rowtime', delay => '1 second');
CREATE FUNCTION flink_view(name text, call text) RETURNS regclass LANGUAGE sql AS $$
    SELECT eddy.create_continuous_view(name, format('SELECT name, w.window_start, w.window_end, count(*) AS n, sum(bigdec), max("double"), min("float"),
        count(DISTINCT string) AS strings FROM t1, eddy.%s w GROUP BY name, w.window_start, w.window_end', call), emit => 'on_close') $$;
SELECT flink_view('f_tumble', $$tumble(rowtime, '5 s')$$), flink_view('f_hop', $$hop(rowtime, '5 s', '10 s')$$),
    flink_view('f_cumulate', $$cumulate(rowtime, '5 s', '15 s')$$), flink_view('f_offset', $$tumble(rowtime, '1 day', '8 h')$$),
    flink_view('f_negative', $$cumulate(rowtime, '12 h', '1 day', '-8 h')$$);
-- without DISTINCT, hopping windows are combined from panes
SELECT eddy.create_continuous_view('f_panes', $$
    SELECT name, w.window_start, w.window_end, count(*) AS n, sum(bigdec), max("double"), min("float") FROM t1, eddy.hop(rowtime, '5 s', '10 s') w
    GROUP BY name, w.window_start, w.window_end $$, emit => 'on_close');
SELECT kind FROM eddy._view WHERE view = 'f_panes'::regclass;
INSERT INTO t1 VALUES ('2020-10-10 00:00:01', 1, 1, 1, 1.11, 'Hi', 'a');
INSERT INTO t1 VALUES ('2020-10-10 00:00:02', 2, 2, 2, 2.22, 'Comment#1', 'a');
INSERT INTO t1 VALUES ('2020-10-10 00:00:03', 2, 2, 2, 2.22, 'Comment#1', 'a');
INSERT INTO t1 VALUES ('2020-10-10 00:00:04', 5, 5, 5, 5.55, NULL, 'a');
INSERT INTO t1 VALUES ('2020-10-10 00:00:07', 3, 3, 3, NULL, 'Hello', 'b');
INSERT INTO t1 VALUES ('2020-10-10 00:00:06', 6, 6, 6, 6.66, 'Hi', 'b');
INSERT INTO t1 VALUES ('2020-10-10 00:00:08', 3, NULL, 3, 3.33, 'Comment#2', 'a');
INSERT INTO t1 VALUES ('2020-10-10 00:00:04', 5, 5, NULL, 5.55, 'Hi', 'a');
INSERT INTO t1 VALUES ('2020-10-10 00:00:16', 4, 4, 4, 4.44, 'Hi', 'b');
INSERT INTO t1 VALUES ('2020-10-10 00:00:32', 7, 7, 7, 7.77, NULL, NULL);
INSERT INTO t1 VALUES ('2020-10-10 00:00:34', 1, 3, 3, 3.33, 'Comment#3', 'b');
-- the end of input closes all windows there
SELECT eddy.advance_watermark('t1', '2020-10-12');
CREATE TABLE flink (view text, name text, "start" time, "end" time, n int, sum numeric, max float8, min float4, strings int);
INSERT INTO flink VALUES
    ('f_tumble', 'a', '00:00', '00:00:05', 4, 11.10, 5, 1, 2), ('f_tumble', 'a', '00:00:05', '00:00:10', 1, 3.33, NULL, 3, 1),
    ('f_tumble', 'b', '00:00:05', '00:00:10', 2, 6.66, 6, 3, 2), ('f_tumble', 'b', '00:00:15', '00:00:20', 1, 4.44, 4, 4, 1),
    ('f_tumble', 'b', '00:00:30', '00:00:35', 1, 3.33, 3, 3, 1), ('f_tumble', NULL, '00:00:30', '00:00:35', 1, 7.77, 7, 7, 0),
    ('f_hop', 'a', '23:59:55', '00:00:05', 4, 11.10, 5, 1, 2), ('f_hop', 'a', '00:00', '00:00:10', 6, 19.98, 5, 1, 3),
    ('f_hop', 'a', '00:00:05', '00:00:15', 1, 3.33, NULL, 3, 1), ('f_hop', 'b', '00:00', '00:00:10', 2, 6.66, 6, 3, 2),
    ('f_hop', 'b', '00:00:05', '00:00:15', 2, 6.66, 6, 3, 2), ('f_hop', 'b', '00:00:10', '00:00:20', 1, 4.44, 4, 4, 1),
    ('f_hop', 'b', '00:00:15', '00:00:25', 1, 4.44, 4, 4, 1), ('f_hop', 'b', '00:00:25', '00:00:35', 1, 3.33, 3, 3, 1),
    ('f_hop', 'b', '00:00:30', '00:00:40', 1, 3.33, 3, 3, 1), ('f_hop', NULL, '00:00:25', '00:00:35', 1, 7.77, 7, 7, 0),
    ('f_hop', NULL, '00:00:30', '00:00:40', 1, 7.77, 7, 7, 0),
    ('f_cumulate', 'a', '00:00', '00:00:05', 4, 11.10, 5, 1, 2), ('f_cumulate', 'a', '00:00', '00:00:10', 6, 19.98, 5, 1, 3),
    ('f_cumulate', 'a', '00:00', '00:00:15', 6, 19.98, 5, 1, 3), ('f_cumulate', 'b', '00:00', '00:00:10', 2, 6.66, 6, 3, 2),
    ('f_cumulate', 'b', '00:00', '00:00:15', 2, 6.66, 6, 3, 2), ('f_cumulate', 'b', '00:00:15', '00:00:20', 1, 4.44, 4, 4, 1),
    ('f_cumulate', 'b', '00:00:15', '00:00:25', 1, 4.44, 4, 4, 1), ('f_cumulate', 'b', '00:00:15', '00:00:30', 1, 4.44, 4, 4, 1),
    ('f_cumulate', 'b', '00:00:30', '00:00:35', 1, 3.33, 3, 3, 1), ('f_cumulate', 'b', '00:00:30', '00:00:40', 1, 3.33, 3, 3, 1),
    ('f_cumulate', 'b', '00:00:30', '00:00:45', 1, 3.33, 3, 3, 1), ('f_cumulate', NULL, '00:00:30', '00:00:35', 1, 7.77, 7, 7, 0),
    ('f_cumulate', NULL, '00:00:30', '00:00:40', 1, 7.77, 7, 7, 0), ('f_cumulate', NULL, '00:00:30', '00:00:45', 1, 7.77, 7, 7, 0),
    ('f_offset', 'a', '08:00', '08:00', 6, 19.98, 5, 1, 3), ('f_offset', 'b', '08:00', '08:00', 4, 14.43, 6, 3, 3),
    ('f_offset', NULL, '08:00', '08:00', 1, 7.77, 7, 7, 0),
    ('f_negative', 'a', '16:00', '04:00', 6, 19.98, 5, 1, 3), ('f_negative', 'a', '16:00', '16:00', 6, 19.98, 5, 1, 3),
    ('f_negative', 'b', '16:00', '04:00', 4, 14.43, 6, 3, 3), ('f_negative', 'b', '16:00', '16:00', 4, 14.43, 6, 3, 3),
    ('f_negative', NULL, '16:00', '04:00', 1, 7.77, 7, 7, 0), ('f_negative', NULL, '16:00', '16:00', 1, 7.77, 7, 7, 0);
CREATE VIEW flink_ours AS
    SELECT 'f_tumble' AS view, name, window_start::time, window_end::time, n::int, sum, max, min, strings::int FROM f_tumble
    UNION ALL SELECT 'f_hop', name, window_start::time, window_end::time, n, sum, max, min, strings FROM f_hop
    UNION ALL SELECT 'f_cumulate', name, window_start::time, window_end::time, n, sum, max, min, strings FROM f_cumulate
    UNION ALL SELECT 'f_offset', name, window_start::time, window_end::time, n, sum, max, min, strings FROM f_offset
    UNION ALL SELECT 'f_negative', name, window_start::time, window_end::time, n, sum, max, min, strings FROM f_negative;
SELECT view, count(*) AS results FROM flink_ours GROUP BY view ORDER BY view;
TABLE flink_ours EXCEPT ALL TABLE flink;
TABLE flink EXCEPT ALL TABLE flink_ours;
SELECT name, window_start, n, sum, max, min FROM f_panes EXCEPT ALL SELECT name, window_start, n, sum, max, min FROM f_hop;
SELECT count(*) AS panes FROM f_panes;

-- RisingWave, EMIT ON WINDOW CLOSE: windows of an hour, a watermark that follows by five minutes.
CREATE UNLOGGED TABLE rw (tm timestamp, foo int);
SELECT eddy.create_stream('rw', event_time => 'tm', delay => '5 minutes');
SELECT eddy.create_continuous_view('rw_mv', $$
    SELECT w.window_start, max(foo) FROM rw, eddy.tumble(tm, '1 hour') w GROUP BY w.window_start $$, emit => 'on_close');
INSERT INTO rw VALUES ('2023-05-06 16:51:00', 1), ('2023-05-06 16:56:00', 8), ('2023-05-06 17:30:00', 3), ('2023-05-06 17:59:00', 4),
    ('2023-05-06 18:01:00', 6);
SELECT to_char(window_start, 'HH24:MI') AS start, max FROM rw_mv ORDER BY window_start;
INSERT INTO rw VALUES ('2023-05-06 18:10:00', 7);
SELECT to_char(window_start, 'HH24:MI') AS start, max FROM rw_mv ORDER BY window_start;
-- Sessions of ten minutes close by the watermark alone, that is, by rows of other keys.
CREATE UNLOGGED TABLE rs (tm timestamp, foo int, bar int);
SELECT eddy.create_stream('rs', event_time => 'tm', delay => '5 minutes');
SELECT eddy.create_continuous_view('rs_mv', $$
    SELECT w.window_start, w.last_event, count(*) AS cnt, eddy.last(foo, tm) AS latest_foo, bar
    FROM rs, eddy.session(tm, '10 minutes') w GROUP BY w.window_start, w.last_event, bar $$, emit => 'on_close');
CREATE VIEW rs_closed AS
    SELECT to_char(window_start, 'HH24:MI') AS first, to_char(last_event, 'HH24:MI') AS last, cnt, latest_foo, bar FROM rs_mv ORDER BY 1;
INSERT INTO rs VALUES ('2023-05-06 10:00:00', 1, 1);
INSERT INTO rs VALUES ('2023-05-06 10:06:00', 2, 2);
INSERT INTO rs VALUES ('2023-05-06 10:12:00', 3, 3);
TABLE rs_closed;
INSERT INTO rs VALUES ('2023-05-06 10:16:00', 4, 4);
TABLE rs_closed;
INSERT INTO rs VALUES ('2023-05-06 10:25:00', 5, 5);
TABLE rs_closed;
INSERT INTO rs VALUES ('2023-05-06 10:45:00', 6, 6);
TABLE rs_closed;

-- Arroyo: an event every 0.2 s; hopping windows, sessions of each user and of all.
CREATE UNLOGGED TABLE impulse (ts timestamp, counter int);
SELECT eddy.create_stream('impulse', event_time => 'ts');
SELECT eddy.create_continuous_view('sliding', $$
    SELECT count(*), min(counter), max(counter), w.window_start, w.window_end FROM impulse, eddy.hop(ts, '2 seconds', '10 seconds') w
    GROUP BY w.window_start, w.window_end $$, emit => 'on_close'),
    eddy.create_continuous_view('user_sessions', $$
    SELECT w.window_start, w.window_end, CASE WHEN counter % 10 = 0 THEN 0 ELSE counter END AS user_id, count(*) AS rows
    FROM impulse, eddy.session(ts, '20 seconds') w GROUP BY w.window_start, w.window_end, CASE WHEN counter % 10 = 0 THEN 0 ELSE counter END $$,
    emit => 'on_close'),
    eddy.create_continuous_view('all_sessions', $$
    SELECT w.window_start, w.window_end, count(*) AS rows FROM impulse, eddy.session(ts, '20 seconds') w
    GROUP BY w.window_start, w.window_end $$, emit => 'on_close');
INSERT INTO impulse SELECT timestamp '2023-10-09 17:13:20' + i * interval '0.2 s', i FROM generate_series(0, 99) i;
SELECT eddy.advance_watermark('impulse', '2023-10-09 18:00');
SELECT count, to_char(window_start, 'MI:SS') AS start, to_char(window_end, 'MI:SS') AS "end", min, max FROM sliding ORDER BY window_end;
SELECT count(*) AS sessions, sum(rows) AS rows, count(*) FILTER (WHERE rows = 1 AND window_end = window_start + interval '20 s'
    AND window_start = timestamp '2023-10-09 17:13:20' + user_id * interval '0.2 s') AS of_one_row FROM user_sessions;
SELECT to_char(window_start, 'MI:SS') AS start, to_char(window_end, 'MI:SS') AS "end", rows FROM user_sessions WHERE user_id = 0;
SELECT to_char(window_start, 'MI:SS') AS start, to_char(window_end, 'MI:SS.MS') AS "end", rows FROM all_sessions;

SET client_min_messages = warning;
DROP SCHEMA published_tests CASCADE;
