-- Windows that close: the watermark of a stream, final rows and late rows.
-- Times are seconds of one minute, so that each example reads as in a textbook.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE SCHEMA closing;
RESET client_min_messages;
SET search_path = closing, public;
SET timezone = 'UTC';

CREATE FUNCTION at(seconds numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT timestamptz '2026-01-01 00:00Z' + seconds * interval '1 second' $$;
CREATE FUNCTION sec(t timestamptz) RETURNS numeric LANGUAGE sql IMMUTABLE AS
    $$ SELECT trim_scale(extract(epoch FROM t - timestamptz '2026-01-01 00:00Z')) $$;

-- Tumbling windows of 20 seconds, a delay of 15: the watermark is the latest event time less 15.
CREATE UNLOGGED TABLE a (key text, ts timestamptz);
SELECT eddy.create_stream('a', event_time => 'ts', delay => '15 s');
SELECT eddy.create_continuous_view('a_changes', $$
    SELECT key, w.window_start, w.window_end, count(*) AS n
    FROM a, eddy.tumble(ts, '20 s') w GROUP BY key, w.window_start, w.window_end $$);
SELECT eddy.create_continuous_view('a_closed', $$
    SELECT key, w.window_start, w.window_end, count(*) AS n
    FROM a, eddy.tumble(ts, '20 s') w GROUP BY key, w.window_start, w.window_end $$,
    emit => 'on_close', late => 'keep');
CREATE VIEW early AS SELECT key, sec(window_start) AS start, n FROM a_changes;
CREATE VIEW final AS SELECT key, sec(window_start) AS start, n FROM a_closed;

INSERT INTO a VALUES ('a', at(3));
INSERT INTO a VALUES ('a', at(28));
INSERT INTO a VALUES ('a', at(34));
SELECT sec(eddy.watermark('a')) AS watermark;
-- out of order, but its window is open: 20 > 19
INSERT INTO a VALUES ('b', at(5));
SELECT * FROM early ORDER BY start, key;
-- no window is final yet, so the view that shows final rows is empty
SELECT * FROM final ORDER BY start, key;

-- The watermark reaches 20: the first window closes.
INSERT INTO a VALUES ('a', at(35));
SELECT sec(eddy.watermark('a')) AS watermark;
SELECT * FROM final ORDER BY start, key;
-- late: the result of [0, 20) is final, for a key that was never seen before as well
INSERT INTO a VALUES ('b', at(19)), ('new', at(1));
INSERT INTO a VALUES ('c', at(39));
SELECT * FROM early ORDER BY start, key;
-- A jump closes all windows before it. Those without rows never existed.
INSERT INTO a VALUES ('a', at(500));
SELECT * FROM final ORDER BY start, key;
SELECT view, sec(closed_until) AS closed_until, sec(watermark) AS watermark
FROM eddy.continuous_views WHERE stream = 'a'::regclass ORDER BY view::text;
-- Late rows are counted; with late => 'keep' they are stored, with the watermark that judged them.
SELECT view, late_rows, closed_groups FROM eddy.stat_continuous_views
WHERE view IN ('a_changes'::regclass, 'a_closed') ORDER BY view::text;
SELECT view, sec(window_start) AS start, sec(window_end) AS "end", sec(watermark) AS watermark,
       topic, partition, "offset", row_data
FROM eddy.late_rows ORDER BY row_data ->> 'key';

-- accepted + late = all
SELECT (SELECT sum(n) FROM a_changes)
     + (SELECT late_rows FROM eddy.stat_continuous_views WHERE view = 'a_changes'::regclass) AS accepted_and_late,
       (SELECT count(*) FROM a) AS rows;

-- In one statement nothing is late: rows are judged by the watermark before the statement.
CREATE UNLOGGED TABLE b (key text, ts timestamptz);
SELECT eddy.create_stream('b', event_time => 'ts', delay => '15 s');
SELECT eddy.create_continuous_view('b_closed', $$
    SELECT key, w.window_end, count(*) AS n FROM b, eddy.tumble(ts, '20 s') w GROUP BY key, w.window_end $$,
    emit => 'on_close');
INSERT INTO b VALUES ('a', at(3)), ('a', at(28)), ('a', at(34)), ('b', at(5)), ('a', at(35)), ('b', at(19)),
    ('c', at(39));
SELECT key, sec(window_end) AS "end", n FROM b_closed ORDER BY window_end, key;

-- Hopping windows: a row can be late for one window and count in another.
CREATE UNLOGGED TABLE c (key text, ts timestamptz);
SELECT eddy.create_stream('c', event_time => 'ts', delay => '2 s');
SELECT eddy.create_continuous_view('c_all', $$
    SELECT key, w.window_start, w.window_end, count(*) AS n
    FROM c, eddy.hop(ts, '6 s', '12 s') w GROUP BY key, w.window_start, w.window_end $$, late => 'keep');
SELECT eddy.create_continuous_view('c_closed', $$
    SELECT key, w.window_start, w.window_end, count(*) AS n
    FROM c, eddy.hop(ts, '6 s', '12 s') w GROUP BY key, w.window_start, w.window_end $$, emit => 'on_close');
INSERT INTO c VALUES ('k', at(1));
INSERT INTO c VALUES ('k', at(9));
SELECT sec(window_start) AS start, sec(window_end) AS "end", n FROM c_closed ORDER BY 2;
INSERT INTO c VALUES ('k', at(15));
INSERT INTO c VALUES ('k', at(10));
INSERT INTO c VALUES ('k', at(4));
SELECT sec(window_start) AS start, sec(window_end) AS "end", n FROM c_all ORDER BY 2;
SELECT sec(window_start) AS start, sec(window_end) AS "end", n FROM c_closed ORDER BY 2;
SELECT sec((row_data ->> 'ts')::timestamptz) AS ts, sec(window_start) AS start, sec(window_end) AS "end"
FROM eddy.late_rows WHERE view = 'c_all'::regclass ORDER BY 1, 2;

-- Cumulating windows.
CREATE UNLOGGED TABLE d (key text, ts timestamptz);
SELECT eddy.create_stream('d', event_time => 'ts');
SELECT eddy.create_continuous_view('d_all', $$
    SELECT key, w.window_start, w.window_end, count(*) AS n
    FROM d, eddy.cumulate(ts, '6 s', '18 s') w GROUP BY key, w.window_start, w.window_end $$);
SELECT eddy.create_continuous_view('d_closed', $$
    SELECT key, w.window_start, w.window_end, count(*) AS n
    FROM d, eddy.cumulate(ts, '6 s', '18 s') w GROUP BY key, w.window_start, w.window_end $$, emit => 'on_close');
INSERT INTO d VALUES ('k', at(2));
INSERT INTO d VALUES ('k', at(8));
INSERT INTO d VALUES ('k', at(7));
INSERT INTO d VALUES ('k', at(5));
SELECT sec(window_start) AS start, sec(window_end) AS "end", n FROM d_closed ORDER BY 2;
INSERT INTO d VALUES ('k', at(18));
SELECT sec(window_start) AS start, sec(window_end) AS "end", n FROM d_all ORDER BY 2;
SELECT sec(window_start) AS start, sec(window_end) AS "end", n FROM d_closed ORDER BY 2;

-- Allowed lateness of 10 seconds: a late row corrects a final result, until the state is removed.
CREATE UNLOGGED TABLE h (key text, ts timestamptz);
SELECT eddy.create_stream('h', event_time => 'ts');
SELECT eddy.create_continuous_view('h_closed', $$
    SELECT key, w.window_start, count(*) AS n, avg(extract(second FROM ts)) AS mean
    FROM h, eddy.tumble(ts, '20 s') w GROUP BY key, w.window_start $$,
    emit => 'on_close', late => 'update', allowed_lateness => '10 s');
INSERT INTO h VALUES ('a', at(4));
INSERT INTO h VALUES ('a', at(22));
SELECT key, sec(window_start) AS start, n, round(mean, 2) AS mean FROM h_closed;
INSERT INTO h VALUES ('a', at(9));
-- a new group of a final window is final at once
INSERT INTO h VALUES ('b', at(10));
SELECT key, sec(window_start) AS start, n, round(mean, 2) AS mean FROM h_closed ORDER BY key;
INSERT INTO h VALUES ('a', at(31));
INSERT INTO h VALUES ('a', at(11));
SELECT key, sec(window_start) AS start, n, round(mean, 2) AS mean FROM h_closed ORDER BY key;
SELECT sec((row_data ->> 'ts')::timestamptz) AS ts, sec(window_end) AS "end", sec(watermark) AS watermark
FROM eddy.late_rows WHERE view = 'h_closed'::regclass;
-- The state of a closed window shrinks to its result.
SELECT state_table FROM eddy.continuous_views WHERE view = 'h_closed'::regclass;
SELECT key, sec(window_start) AS start, _final, _state2 IS NULL AS forgotten FROM eddy._h_closed_state ORDER BY window_start, key;

-- A transaction closes windows when it commits: until then it sees them open, and a rollback leaves them so.
BEGIN;
INSERT INTO b VALUES ('t', at(21)), ('t', at(100));
SELECT key, sec(window_end) AS "end", n FROM b_closed WHERE key = 't';
-- the second statement is judged by the watermark that the first one has moved
INSERT INTO b VALUES ('t', at(30));
COMMIT;
SELECT key, sec(window_end) AS "end", n FROM b_closed WHERE key = 't';
BEGIN;
INSERT INTO b VALUES ('t', at(900));
ROLLBACK;
SELECT sec(eddy.watermark('b')) AS watermark;
SELECT key, sec(window_end) AS "end", n FROM b_closed WHERE key = 't';

-- When input stops, the watermark is advanced by hand, in one transaction with what it closes.
INSERT INTO b VALUES ('stop', at(105));
BEGIN;
SELECT sec(eddy.advance_watermark('b', at(120))) AS watermark;
ROLLBACK;
SELECT sec(eddy.watermark('b')) AS watermark, (SELECT count(*) FROM b_closed WHERE key = 'stop') AS final;
SELECT sec(eddy.advance_watermark('b', at(120))) AS watermark;
SELECT key, sec(window_end) AS "end", n FROM b_closed WHERE key = 'stop';
SELECT (SELECT xmin FROM eddy._b_closed_state WHERE key = 'stop') = (SELECT xmin FROM eddy._watermark WHERE stream = 'b'::regclass) AS one_transaction;

-- HAVING decides about the final row.
CREATE UNLOGGED TABLE e (key text, ts timestamptz, amount numeric);
SELECT eddy.create_stream('e', event_time => 'ts');
SELECT eddy.create_continuous_view('e_closed', $$
    SELECT key, w.window_end, sum(amount) AS total, avg(amount) AS mean
    FROM e, eddy.tumble(ts, '10 s') w GROUP BY key, w.window_end HAVING sum(amount) > 5 $$, emit => 'on_close');
INSERT INTO e VALUES ('large', at(1), 6), ('small', at(2), 5), ('shrinks', at(3), 9);
INSERT INTO e VALUES ('shrinks', at(4), -5);
TABLE e_closed;
INSERT INTO e VALUES ('next', at(10), 1);
SELECT key, sec(window_end) AS "end", total, round(mean, 1) AS mean FROM e_closed;

-- Closing changes nothing but the marks of a row: long values that are stored out of line, NULLs in the key and among
-- the results, and HAVING, which is a mark of its own with on_close.
CREATE UNLOGGED TABLE wide (key text, note text, price numeric, ts timestamptz);
SELECT eddy.create_stream('wide', event_time => 'ts');
SELECT eddy.create_continuous_view('wide_' || emit, $$
    SELECT key, max(note) AS note, w.window_start, sum(price) AS total, w.window_end, min(price) AS least
    FROM wide, eddy.tumble(ts, '10 s') w GROUP BY key, w.window_start, w.window_end
    HAVING count(*) % 2 = 0 $$, emit => emit) FROM unnest(ARRAY['changes', 'on_close']) AS emit;
INSERT INTO wide
SELECT CASE WHEN i % 7 > 0 THEN repeat('k', i % 7) END,
       CASE WHEN i % 5 > 0 THEN (SELECT to_char(i % 100, 'FM00') || string_agg(md5((i * 100 + n)::text), '') FROM generate_series(1, i % 100) n) END,
       CASE WHEN i % 3 > 0 THEN i * 1.50 END, at(i % 40)
FROM generate_series(1, 300) i;
INSERT INTO wide VALUES ('last', 'note', 1, at(40));
CREATE VIEW wide_wanted AS
    SELECT key, max(note) AS note, date_bin('10 s', ts, at(0)) AS window_start, sum(price) AS total,
           date_bin('10 s', ts, at(0)) + interval '10 s' AS window_end, min(price) AS least
    FROM wide WHERE ts < at(40) GROUP BY key, 3 HAVING count(*) % 2 = 0;
SELECT count(*) AS rows, count(*) FILTER (WHERE key IS NULL) AS without_key, max(length(note)) > 3000 AS long FROM wide_on_close;
(TABLE wide_on_close EXCEPT ALL TABLE wide_wanted) UNION ALL (TABLE wide_wanted EXCEPT ALL TABLE wide_on_close);
SELECT count(*) FROM (SELECT * FROM wide_changes WHERE window_end <= at(40) EXCEPT ALL TABLE wide_wanted) AS more;
SELECT count(*) FROM (TABLE wide_wanted EXCEPT ALL TABLE wide_changes) AS less;
SELECT _final, _visible, count(*) FROM eddy._wide_on_close_state GROUP BY 1, 2 ORDER BY 1, 2;

-- Groups of several windows are merged in the order of their keys, whether the groups of a batch fit into work_mem or not.
CREATE UNLOGGED TABLE many (key text, number numeric, ts timestamptz);
SELECT eddy.create_stream('many', event_time => 'ts', delay => '1 hour');
SELECT eddy.create_continuous_view('many_counts', $$
    SELECT key, number, w.window_end, count(*) AS n, min(ts) AS first
    FROM many, eddy.tumble(ts, '10 s') w GROUP BY key, number, w.window_end $$);
SET work_mem = '64kB';
INSERT INTO many
SELECT CASE WHEN i % 11 > 0 THEN md5((i * 7919 % 500)::text) END, nullif(i % 7, 0), at(i * 7919 % 60)
FROM generate_series(1, 5000) i;
RESET work_mem;
INSERT INTO many
SELECT CASE WHEN i % 11 > 0 THEN md5((i * 7919 % 500)::text) END, nullif(i % 7, 0), at(50 + i * 7919 % 30)
FROM generate_series(1, 5000) i;
CREATE VIEW many_wanted AS
    SELECT key, number, date_bin('10 s', ts, at(0)) + interval '10 s' AS window_end, count(*) AS n, min(ts) AS first
    FROM many GROUP BY 1, 2, 3;
SELECT count(*), count(*) FILTER (WHERE key IS NULL OR number IS NULL) AS with_null FROM many_counts;
(TABLE many_counts EXCEPT ALL TABLE many_wanted) UNION ALL (TABLE many_wanted EXCEPT ALL TABLE many_counts);

-- Rows without an event time are in no window that could close.
CREATE UNLOGGED TABLE f (key text, ts timestamp);
SELECT eddy.create_stream('f', event_time => 'ts', null_event_time => 'skip_watermark');
SELECT eddy.create_continuous_view('f_closed', $$
    SELECT w.window_start, w.window_end, count(*) AS n
    FROM f, eddy.tumble(ts, '10 s') w GROUP BY 1, 2 $$, emit => 'on_close');
INSERT INTO f VALUES ('null', NULL), ('first', '2026-01-01 00:00:01'), ('second', '2026-01-01 00:00:11');
TABLE f_closed;

-- A view that is created later counts what the stream still holds, and closes what is final.
SELECT eddy.create_continuous_view('a_later', $$
    SELECT key, w.window_start, count(*) AS n FROM a, eddy.tumble(ts, '20 s') w GROUP BY key, w.window_start $$,
    emit => 'on_close', start => 'staged');
SELECT key, sec(window_start) AS start, n FROM a_later ORDER BY window_start, key;

-- Each pair of a row and a window is accepted, late or rejected, and the view is its SELECT over the accepted ones.
CREATE UNLOGGED TABLE pairs (id int, ts timestamptz, amount int);
SELECT eddy.create_stream('pairs', event_time => 'ts', delay => '2 s', null_event_time => 'skip_watermark');
SELECT eddy.create_continuous_view('pairs_view', $$
    SELECT w.window_start, w.window_end, count(*) AS n, sum(60 / amount) AS share, array_agg(id ORDER BY id) AS ids
    FROM pairs, eddy.hop(ts, '6 s', '12 s') w GROUP BY w.window_start, w.window_end $$, late => 'keep');
INSERT INTO pairs VALUES (1, at(1), 5), (2, at(9), 0), (3, at(9), 6);
INSERT INTO pairs VALUES (4, at(15), 2), (5, NULL, 1);
INSERT INTO pairs VALUES (6, at(10), 3), (7, at(4), 4), (8, at(3), 0), (9, at(10), 0);
INSERT INTO pairs VALUES (10, at(40), 10), (11, at(15), 12);
CREATE VIEW all_pairs AS SELECT p.*, w.window_start, w.window_end FROM pairs p, eddy.hop(ts, '6 s', '12 s') w;
CREATE VIEW late_pairs AS
    SELECT (row_data ->> 'id')::int AS id, window_end FROM eddy.late_rows WHERE view = 'pairs_view'::regclass;
CREATE VIEW rejected_pairs AS
    SELECT a.id, a.window_end FROM all_pairs a JOIN eddy.dead_letters d ON d.view = 'pairs_view'::regclass
        AND (convert_from(d.payload, 'UTF8')::json ->> 'id')::int = a.id;
SELECT (SELECT sum(n) FROM pairs_view) AS accepted, (SELECT count(*) FROM late_pairs) AS late,
       (SELECT count(*) FROM rejected_pairs) AS rejected, (SELECT count(*) FROM all_pairs) AS pairs;
SELECT id, sec(window_end) AS "end" FROM late_pairs ORDER BY id, 2;
SELECT id, sec(window_end) AS "end" FROM rejected_pairs ORDER BY id, 2;
CREATE VIEW accepted_pairs AS
    SELECT window_start, window_end, count(*) AS n, sum(60 / amount) AS share, array_agg(id ORDER BY id) AS ids FROM all_pairs
    WHERE (id, window_end) NOT IN (TABLE late_pairs UNION ALL TABLE rejected_pairs) GROUP BY window_start, window_end;
(TABLE pairs_view EXCEPT ALL TABLE accepted_pairs) UNION ALL (TABLE accepted_pairs EXCEPT ALL TABLE pairs_view);

-- What needs windows over the event time is refused for other views, with the reason.
\set VERBOSITY default
CREATE UNLOGGED TABLE g (key text, ts timestamptz, other timestamptz);
SELECT eddy.create_stream('g', event_time => 'ts');
SELECT eddy.create_continuous_view('g_closed', 'SELECT key, count(*) FROM g GROUP BY key', emit => 'on_close');
SELECT eddy.create_continuous_view('g_closed', $$
    SELECT w.window_start, count(*) FROM g, eddy.tumble(other, '10 s') w GROUP BY w.window_start $$, emit => 'on_close');
SELECT eddy.create_continuous_view('g_closed', $$
    SELECT w.window_start, count(*) FROM g, eddy.cumulate(ts, '10 s', '20 s') w GROUP BY w.window_start $$,
    late => 'keep');
SELECT eddy.create_continuous_view('g_closed', $$
    SELECT key, count(*) FROM g, eddy.tumble(ts, '10 s') w GROUP BY key $$, retention => '1 day');
SELECT eddy.create_continuous_view('g_closed', $$
    SELECT w.window_end, count(*) FROM g, eddy.tumble(ts, '10 s') w GROUP BY 1 $$,
    late => 'update', allowed_lateness => '-1 s');

-- Values that aggregates keep are needed until no late rows are accepted any more.
CREATE UNLOGGED TABLE kept (k text, ts timestamptz);
SELECT eddy.create_stream('kept', event_time => 'ts');
SELECT eddy.create_continuous_view('kept_lists', $$
    SELECT w.window_end, array_agg(k ORDER BY k) AS ks FROM kept, eddy.tumble(ts, '10 s') w GROUP BY 1 $$,
    late => 'update', allowed_lateness => '10 s');
INSERT INTO kept VALUES ('b', at(1));
INSERT INTO kept VALUES ('c', at(12));
INSERT INTO kept VALUES ('a', at(3));
SELECT sec(window_end) AS "end", ks FROM kept_lists ORDER BY 1;
SELECT state_tables[2] AS kept_values FROM eddy._view WHERE view = 'kept_lists'::regclass \gset
SELECT count(*) FROM :kept_values;
INSERT INTO kept VALUES ('d', at(25));
SELECT count(*) FROM :kept_values;
SELECT sec(window_end) AS "end", ks FROM kept_lists ORDER BY 1;

SET client_min_messages = warning;
DROP SCHEMA closing CASCADE;
SELECT count(*) FROM eddy._view_progress p WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = p.view);
DELETE FROM eddy.late_rows;
DELETE FROM eddy.dead_letters;
