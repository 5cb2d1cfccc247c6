-- Sessions that close. A session is final when the watermark has passed its last event plus the gap.
-- Times are seconds, so that each example reads as in a textbook.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE SCHEMA session_closing;
RESET client_min_messages;
SET search_path = session_closing, public;
SET timezone = 'UTC';
\set SHOW_CONTEXT never

CREATE FUNCTION at(seconds numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT timestamptz '2026-01-01 00:00Z' + seconds * interval '1 second' $$;
CREATE FUNCTION sec(t timestamptz) RETURNS numeric LANGUAGE sql IMMUTABLE AS
    $$ SELECT trim_scale(extract(epoch FROM t - timestamptz '2026-01-01 00:00Z')) $$;

-- A gap of 10 seconds, a delay of 25.
CREATE UNLOGGED TABLE e (key text, ts timestamptz);
SELECT eddy.create_stream('e', event_time => 'ts', delay => '25 s');
SELECT eddy.create_continuous_view('e_all', $$
    SELECT key, w.window_start, w.last_event, w.window_end, count(*) AS n
    FROM e, eddy.session(ts, '10 s') w GROUP BY key, w.window_start, w.last_event, w.window_end $$, late => 'keep');
SELECT eddy.create_continuous_view('e_final', $$
    SELECT key, w.window_start, w.last_event, avg(extract(second FROM ts)) AS mean, count(*) AS n
    FROM e, eddy.session(ts, '10 s') w GROUP BY key, w.window_start, w.last_event HAVING count(*) > 1 $$, emit => 'on_close');
CREATE VIEW sessions AS SELECT key, sec(window_start) AS first, sec(last_event) AS last, n FROM e_all;
CREATE VIEW final AS SELECT key, sec(window_start) AS first, sec(last_event) AS last, round(mean, 1) AS mean, n FROM e_final;

INSERT INTO e VALUES ('u', at(100));
INSERT INTO e VALUES ('u', at(118));
SELECT * FROM sessions ORDER BY first;
-- bridges both
INSERT INTO e VALUES ('u', at(109));
SELECT * FROM sessions ORDER BY first;
SELECT sec(eddy.watermark('e')) AS watermark;
-- the watermark passes 118 + 10
INSERT INTO e VALUES ('u', at(160));
SELECT sec(eddy.watermark('e')) AS watermark;
SELECT * FROM final ORDER BY first;
-- late: 124 + 10 < 135, and the closed session is not reopened
INSERT INTO e VALUES ('u', at(124));
SELECT sec(window_start) AS first, sec(window_end) AS "end", sec(watermark) AS watermark, row_data ->> 'key' AS key FROM eddy.late_rows WHERE view = 'e_all'::regclass;
-- accepted as a session of its own: 125 + 10 >= 135; it is not final, because more rows with 135 may come
INSERT INTO e VALUES ('u', at(125));
SELECT * FROM sessions ORDER BY first;
INSERT INTO e VALUES ('u', at(139));
INSERT INTO e VALUES ('u', at(134));
SELECT * FROM sessions ORDER BY first;
SELECT * FROM final ORDER BY first;
-- a jump closes all of them; a session without a second row does not satisfy HAVING
INSERT INTO e VALUES ('u', at(500));
SELECT * FROM final ORDER BY first;
SELECT view, late_rows, closed_groups FROM eddy.stat_continuous_views WHERE view IN ('e_all'::regclass, 'e_final') ORDER BY view::text;
SELECT (SELECT sum(n) FROM e_all) + (SELECT late_rows FROM eddy.stat_continuous_views WHERE view = 'e_all'::regclass) AS accepted_and_late, (SELECT count(*) FROM e) AS rows;

-- A late row is saved by a session that is still open.
CREATE UNLOGGED TABLE f (key text, ts timestamptz);
SELECT eddy.create_stream('f', event_time => 'ts', delay => '25 s');
SELECT eddy.create_continuous_view('f_all', $$
    SELECT key, w.window_start, w.last_event, count(*) AS n FROM f, eddy.session(ts, '10 s') w GROUP BY key, w.window_start, w.last_event $$, late => 'keep');
CREATE VIEW f_sessions AS SELECT key, sec(window_start) AS first, sec(last_event) AS last, n FROM f_all;
INSERT INTO f VALUES ('u', at(100));
INSERT INTO f VALUES ('u', at(140));
INSERT INTO f VALUES ('u', at(112));
SELECT * FROM f_sessions ORDER BY first, last;
-- alone it would need 103 + 10 >= 115
INSERT INTO f VALUES ('u', at(103));
SELECT * FROM f_sessions ORDER BY first, last;
-- Rows of one batch save each other as well. Those of other keys, or too far away, are late.
INSERT INTO f VALUES ('u', at(94)), ('v', at(90)), ('v', at(98)), ('v', at(106)), ('w', at(90)), ('w', at(91)), ('w', at(102)), (NULL, at(80)), ('x', at(70)), ('x', at(108));
SELECT * FROM f_sessions ORDER BY key, first, last;
SELECT row_data ->> 'key' AS key, sec((row_data ->> 'ts')::timestamptz) AS ts, sec(window_start) AS first, sec(window_end) AS "end", sec(watermark) AS watermark
FROM eddy.late_rows WHERE view = 'f_all'::regclass ORDER BY key, ts;
-- of what another key has at the same time, only the late row is late
INSERT INTO f VALUES ('y', at(90)), ('u', at(90)), ('u', at(90));
SELECT row_data ->> 'key' AS key FROM eddy.late_rows WHERE view = 'f_all'::regclass AND window_start = at(90) ORDER BY key;
SELECT (SELECT sum(n) FROM f_all) + (SELECT late_rows FROM eddy.stat_continuous_views WHERE view = 'f_all'::regclass) AS accepted_and_late, (SELECT count(*) FROM f) AS rows;

-- Allowed lateness: a late row corrects a final session, or joins two of them.
CREATE UNLOGGED TABLE g (key text, ts timestamptz);
SELECT eddy.create_stream('g', event_time => 'ts');
SELECT eddy.create_continuous_view('g_final', $$
    SELECT key, w.window_start, w.last_event, count(*) AS n, stddev_pop(extract(second FROM ts)) AS spread
    FROM g, eddy.session(ts, '10 s') w GROUP BY key, w.window_start, w.last_event $$,
    emit => 'on_close', late => 'update', allowed_lateness => '30 s');
CREATE VIEW g_sessions AS SELECT key, sec(window_start) AS first, sec(last_event) AS last, n, round(spread, 2) AS spread FROM g_final;
INSERT INTO g VALUES ('a', at(0));
INSERT INTO g VALUES ('a', at(18));
INSERT INTO g VALUES ('a', at(30));
SELECT * FROM g_sessions ORDER BY first;
-- joins two final sessions, without a new event: final again
INSERT INTO g VALUES ('a', at(9));
SELECT * FROM g_sessions ORDER BY first;
-- joins final sessions to one that is open: final later
INSERT INTO g VALUES ('a', at(24));
SELECT * FROM g_sessions ORDER BY first;
INSERT INTO g VALUES ('a', at(45));
SELECT * FROM g_sessions ORDER BY first;
-- 45 - 30 = 15 is the limit: 5 + 10 reaches it and saves 3 + 10, 4 + 10 alone is too late
INSERT INTO g VALUES ('b', at(3)), ('b', at(5)), ('c', at(4));
SELECT * FROM g_sessions ORDER BY key, first;
SELECT late_rows FROM eddy.stat_continuous_views WHERE view = 'g_final'::regclass;

-- Order and completeness of closing: many keys and sessions in one jump, none twice.
CREATE UNLOGGED TABLE h (key int, ts timestamptz);
SELECT eddy.create_stream('h', event_time => 'ts');
SELECT eddy.create_continuous_view('h_final', $$
    SELECT key, w.window_start, w.window_end, count(*) AS n FROM h, eddy.session(ts, '10 s') w GROUP BY key, w.window_start, w.window_end $$,
    emit => 'on_close', retention => '1 hour');
INSERT INTO h SELECT g % 500, at(g % 7 * 20 + g % 3) FROM generate_series(1, 10000) g;
SELECT count(*), sum(n) FROM h_final;
INSERT INTO h VALUES (0, at(1000));
SELECT count(*), sum(n) FROM h_final;
SELECT late_rows, closed_groups FROM eddy.stat_continuous_views WHERE view = 'h_final'::regclass;

-- Times that are not the event time of the stream have no watermark: their sessions do not close.
CREATE UNLOGGED TABLE i (key int, ts timestamptz, other timestamptz);
SELECT eddy.create_stream('i', event_time => 'ts');
SELECT eddy.create_continuous_view('i_final', 'SELECT w.window_start, count(*) FROM i, eddy.session(other, ''10 s'') w GROUP BY 1', emit => 'on_close');
SELECT eddy.create_continuous_view('i_all', 'SELECT w.window_start, count(*) FROM i, eddy.session(other, ''10 s'') w GROUP BY 1');
INSERT INTO i VALUES (1, at(0), at(0)), (1, at(100), at(1));
INSERT INTO i VALUES (1, at(200), at(2));
SELECT sec(window_start) AS first, count FROM i_all;

-- Consumers of changes see the net effect of each batch: sessions that were absorbed are deleted.
CREATE UNLOGGED TABLE j (key text, ts timestamptz);
SELECT eddy.create_stream('j', event_time => 'ts', delay => '10 s');
SELECT eddy.create_continuous_view('j_all', $$
    SELECT key, sum(extract(second FROM ts)) AS sum, w.window_start, w.window_end FROM j, eddy.session(ts, '10 s') w GROUP BY key, w.window_start, w.window_end $$);
SELECT eddy.create_continuous_view('j_final', $$
    SELECT key, w.last_event, count(*) AS n FROM j, eddy.session(ts, '10 s') w GROUP BY w.last_event, key $$, emit => 'on_close');
SET synchronous_commit = on;
SELECT 'ok' FROM pg_create_logical_replication_slot('regress_eddy_sessions', 'pg_eddy_cdc');
\set get 'SELECT data FROM pg_logical_slot_get_changes(\'regress_eddy_sessions\', NULL, NULL, \'batch-bytes\', \'0\', \'include-lsn\', \'off\', \'include-seq\', \'off\', \'include-xid\', \'off\', \'include-timestamp\', \'off\');'
\pset format unaligned
\pset tuples_only on
INSERT INTO j VALUES ('u', at(0)), ('u', at(20)), ('v', at(7));
:get
-- a row between two sessions; a row within a session; nothing for what another row of the batch undoes
INSERT INTO j VALUES ('u', at(10)), ('v', at(7));
:get
-- closing changes no row that is shown already; final rows appear
INSERT INTO j VALUES ('u', at(45));
:get
\pset format aligned
\pset tuples_only off
SELECT 'ok' FROM pg_drop_replication_slot('regress_eddy_sessions');

SET client_min_messages = warning;
DROP SCHEMA session_closing CASCADE;
DELETE FROM eddy.late_rows;
