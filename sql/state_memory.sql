-- Combining many states of one group needs the memory of a few of them, however large they are.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET timezone = 'UTC';

-- The memory in which states are combined, at the time when a row of a view is computed.
CREATE FUNCTION kilobytes(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN (SELECT sum(total_bytes) / 1024 FROM pg_backend_memory_contexts WHERE name = 'ExprContext');
END $$;
CREATE UNLOGGED TABLE hits (k int, x int, t text, at timestamptz DEFAULT '2026-01-01 00:00:00Z');
SELECT eddy.create_stream('hits');

-- Deltas of a deferred view, when they are read and when they are merged: 100 of 30 kB.
SELECT eddy.create_continuous_view('hits_of', $$
    SELECT k, eddy.approx_count_distinct(x, 12) AS x, max(t) AS t, sum(x::bigint) AS total, kilobytes(count(*)) AS kilobytes FROM hits GROUP BY k $$,
    maintenance => 'deferred');
BEGIN;
DO $$
BEGIN
    FOR i IN 1 .. 100 LOOP
        INSERT INTO hits (k, x, t) SELECT 1, g * i, CASE WHEN g = 1 THEN i || repeat('x', 27000) END FROM generate_series(1, 1000) g;
    END LOOP;
END $$;
SELECT x = expected AS same, left(t, 3) AS t, length(t), total, CASE WHEN kilobytes < 1000 THEN 'few' ELSE kilobytes::text END AS kilobytes
FROM hits_of, (SELECT eddy.approx_count_distinct(g * i, 12) AS expected FROM generate_series(1, 100) i, generate_series(1, 1000) g) e;
COMMIT;
DO $$
BEGIN
    FOR i IN 1 .. 2400 LOOP
        PERFORM eddy._notify();
        COMMIT;
        EXIT WHEN NOT EXISTS (SELECT FROM eddy._hits_of_deltas);
        PERFORM pg_sleep(0.02);
    END LOOP;
END $$;
SELECT x = expected AS same, left(t, 3) AS t, length(t), total, CASE WHEN kilobytes < 1000 THEN 'few' ELSE kilobytes::text END AS kilobytes
FROM hits_of, (SELECT eddy.approx_count_distinct(g * i, 12) AS expected FROM generate_series(1, 100) i, generate_series(1, 1000) g) e;

-- Rows of a session.
SELECT eddy.create_continuous_view('hit_sessions', $$
    SELECT k, s.window_start, s.window_end, count(*) AS n, eddy.top_k(x, 100) AS top, kilobytes(count(*)) AS kilobytes
    FROM hits, eddy.session(at, '10 s') s GROUP BY k, s.window_start, s.window_end $$);
INSERT INTO hits SELECT 2, g % 10, NULL, timestamptz '2026-01-01 00:00:00Z' + g * interval '1 s' FROM generate_series(1, 100) g;
INSERT INTO hits SELECT 2, g % 10, NULL, timestamptz '2026-01-01 00:00:00.5Z' + g * interval '1 s' FROM generate_series(1, 100) g;
SELECT n, jsonb_array_length(top) AS values, top->0 AS first, CASE WHEN kilobytes < 1000 THEN 'few' ELSE kilobytes::text END AS kilobytes FROM hit_sessions;

SET client_min_messages = warning;
DROP TABLE hits CASCADE;
DROP FUNCTION kilobytes;
