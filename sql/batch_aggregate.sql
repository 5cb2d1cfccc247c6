-- Queries whose rows are scanned and aggregated in one step: common keys, tumbling windows, count, sum, min and max.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET timezone = 'UTC';
\set SHOW_CONTEXT never
CREATE SCHEMA batch_aggregate;
SET search_path = batch_aggregate;
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/test/sql/functions.sql

CREATE UNLOGGED TABLE bids (id int, small smallint, big bigint, flag bool, day date, note text, local timestamp, at timestamptz);
SELECT eddy.create_stream('bids', event_time => 'at', delay => '10 years', null_event_time => 'skip_watermark');
CREATE TABLE queries (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, query text);
INSERT INTO queries (query) VALUES
($$SELECT count(*), count(note) AS c, sum(small) AS s, sum(id) AS i, sum(big) AS b, max(at) FROM bids$$),
($$SELECT small, day, flag, count(*), sum(big) FROM bids GROUP BY small, day, flag$$),
($$SELECT big, count(*), count(big) AS c FROM bids GROUP BY big$$),
($$SELECT id % 10 AS k, count(*) FROM bids GROUP BY 1$$),
($$SELECT flag, min(small) AS a, max(small) AS b, min(id) AS c, max(id) AS d, min(big) AS e, max(big) AS f, min(day) AS g,
     max(day) AS h, min(local) AS i, max(local) AS j, min(at) AS k, max(at) AS l FROM bids GROUP BY flag$$),
($$SELECT small, w.window_start, w.window_end, count(*), sum(big), min(note) AS n FROM bids, eddy.tumble(at, '10 s') w
   GROUP BY small, w.window_start, w.window_end$$),
($$SELECT small, w.window_start, w.window_end, count(*), sum(big) FROM bids, eddy.tumble(at, '10 s', '3 s') w
   GROUP BY small, w.window_start, w.window_end$$),
($$SELECT w.window_end, count(*) FROM bids, eddy.tumble(at, '1 month', time_zone => 'Europe/Berlin') w GROUP BY w.window_end$$),
($$SELECT w.window_start, flag, count(*) FROM bids, eddy.tumble(local, '1 day') w GROUP BY w.window_start, flag$$),
-- What is not common is aggregated by the server.
($$SELECT flag, avg(big), sum(big) FROM bids GROUP BY flag$$),
($$SELECT flag, sum(big) FILTER (WHERE id > 5), count(DISTINCT small) AS c FROM bids WHERE id > 2 GROUP BY flag$$);
DO $$
DECLARE q record;
BEGIN
  FOR q IN TABLE queries ORDER BY n LOOP
    PERFORM eddy.create_continuous_view('q' || q.n, q.query);
  END LOOP;
END $$;

-- A group of no rows, and values that are null.
SELECT * FROM q1;
INSERT INTO bids VALUES (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (1, NULL, 1, NULL, 'infinity', NULL, NULL, '2026-01-01');
SELECT * FROM q1;
-- Sums of bigint do not overflow, in either direction.
INSERT INTO bids SELECT i, i % 7, 9223372036854775807 - i % 3, i % 2 = 0, date '2026-01-01' + i % 5, nullif(i % 4, 0)::text,
  '2025-12-31 23:59'::timestamp + i * interval '7 s', '2025-12-31 23:59Z'::timestamptz + i * interval '7 s' FROM generate_series(1, 3000) i;
SELECT b FROM q1;
INSERT INTO bids SELECT -i, -i % 7, -9223372036854775807 - i % 2, i % 2 = 0, date '2026-01-01' - i % 5, NULL,
  '2025-12-31 23:59'::timestamp - i * interval '7 s', '2025-12-31 23:59Z'::timestamptz - i * interval '7 s' FROM generate_series(1, 9000) i;
SELECT b FROM q1;
SELECT n, differences FROM queries, compare('q' || n, query) WHERE differences > 0 ORDER BY n;
-- More groups than work_mem has space for.
SET work_mem = '64kB';
INSERT INTO bids SELECT i, i % 7, i % 5000, true, '2026-01-01', NULL, NULL, '2026-01-01Z'::timestamptz + i % 4000 * interval '3 s'
FROM generate_series(1, 20000) i;
RESET work_mem;
SELECT n, differences FROM queries, compare('q' || n, query) WHERE differences > 0 ORDER BY n;

-- The row that has no window fails alone.
INSERT INTO bids (id, at, local) VALUES (1, '2026-01-01', '2026-01-01'), (2, 'infinity', '2026-01-01'), (3, '2026-01-01', '-infinity');
SELECT view, error, count(*) FROM eddy.dead_letters GROUP BY 1, 2 ORDER BY view::text;

SET client_min_messages = warning;
DROP SCHEMA batch_aggregate CASCADE;
