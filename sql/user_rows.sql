-- Rows inserted by users are counted in eddy.partitions, as partition -1, and in eddy.stat_streams.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET timezone = 'UTC';

CREATE UNLOGGED TABLE clicks (page text, n int, at timestamptz);
SELECT eddy.create_stream('clicks', event_time => 'at', delay => '10 s');
CREATE VIEW counts AS
SELECT stream, source, topic, partition, next_offset, high_offset, lag, rows, rejected, skipped, max_event_time, watermark
FROM eddy.partitions WHERE stream IN (SELECT s.stream FROM eddy.streams s WHERE s.stream::text ~ 'clicks|views');
-- A stream without rows has no partition.
TABLE counts;

-- Rows are also counted without continuous views.
INSERT INTO clicks VALUES ('a', 1, '2020-01-01 00:00:10'), ('b', 2, '2020-01-01 00:00:30');
TABLE counts;
COPY clicks FROM stdin;
c	3	2020-01-01 00:00:20
c	4	2020-01-01 00:00:40
c	5	2020-01-01 00:00:20
\.
SELECT rows, rejected, skipped, max_event_time FROM counts;
INSERT INTO clicks SELECT 'none', 0, now() WHERE false;
SELECT rows, rejected, skipped, max_event_time FROM counts;

-- MERGE and data-modifying CTEs.
MERGE INTO clicks USING generate_series(1, 3) g ON false WHEN NOT MATCHED THEN INSERT VALUES ('m', g, '2020-01-01 00:00:50');
WITH one AS (INSERT INTO clicks VALUES ('x', 1, '2020-01-01 00:00:51') RETURNING *),
     two AS (INSERT INTO clicks SELECT page, n + 1, '2020-01-01 00:00:52' FROM one RETURNING *)
INSERT INTO clicks SELECT page, n + 1, '2020-01-01 00:00:53' FROM two;
SELECT rows, rejected, skipped, max_event_time FROM counts;

-- Rows that are rolled back are not counted, and their event times are ignored.
BEGIN;
INSERT INTO clicks VALUES ('r', 1, '2020-01-01 00:10:00');
SELECT rows, rejected, skipped, max_event_time FROM counts;
ROLLBACK;
SELECT rows, rejected, skipped, max_event_time FROM counts;
BEGIN;
INSERT INTO clicks VALUES ('s', 1, '2020-01-01 00:01:00');
SAVEPOINT one;
INSERT INTO clicks VALUES ('s', 2, '2020-01-01 00:11:00'), ('s', 3, '2020-01-01 00:11:00');
ROLLBACK TO one;
INSERT INTO clicks VALUES ('s', 4, '2020-01-01 00:01:01');
SAVEPOINT two;
INSERT INTO clicks VALUES ('s', 5, '2020-01-01 00:01:02');
RELEASE two;
COMMIT;
SELECT rows, rejected, skipped, max_event_time FROM counts;
\set VERBOSITY terse
INSERT INTO clicks SELECT 'e', 1 / (3 - g), '2020-01-01 00:12:00' FROM generate_series(1, 3) g;
\set VERBOSITY default
SELECT rows, rejected, skipped, max_event_time FROM counts;

-- Event times that are ignored: infinite ones, and those too far ahead of the clock.
INSERT INTO clicks VALUES ('f', 1, 'infinity'), ('f', 2, '-infinity'), ('f', 3, now() + interval '1 day');
SELECT rows, rejected, skipped, max_event_time FROM counts;

-- A row that the stream rejects is counted as rejected.
INSERT INTO clicks VALUES ('null', 1, NULL), ('a', 2, '2020-01-01 00:01:03'), ('null', 3, NULL);
SELECT rows, rejected, skipped, max_event_time FROM counts;
SELECT partition, error, convert_from(payload, 'UTF8') AS payload FROM eddy.dead_letters
WHERE stream = 'clicks'::regclass ORDER BY id;

-- A row that a view rejects is not: the stream has accepted it.
SELECT eddy.create_continuous_view('clicks_ratio', 'SELECT page, sum(10 / n) AS ratio FROM clicks GROUP BY page');
INSERT INTO clicks VALUES ('v', 0, '2020-01-01 00:01:04'), ('v', 5, NULL), ('v', 2, '2020-01-01 00:01:05');
TABLE clicks_ratio;
SELECT rows, rejected, skipped, max_event_time FROM counts;
SELECT count(*) FILTER (WHERE view IS NOT NULL) AS of_view, count(*) FROM eddy.dead_letters WHERE stream = 'clicks'::regclass;
-- Filling a view from staged rows does not change the counts.
SELECT eddy.create_continuous_view('clicks_all', 'SELECT count(*) FROM clicks', start => 'staged');
TABLE clicks_all;
SELECT rows, rejected, skipped, max_event_time FROM counts;

-- The same under REPEATABLE READ and SERIALIZABLE.
BEGIN ISOLATION LEVEL SERIALIZABLE;
INSERT INTO clicks VALUES ('i', 1, '2020-01-01 00:02:00');
INSERT INTO clicks VALUES ('i', 2, '2020-01-01 00:02:01');
COMMIT;
SELECT rows, rejected, skipped, max_event_time FROM counts;

-- Consecutive sessions use one row of the internal table.
SELECT count(*) FROM eddy._user_partition WHERE stream = 'clicks'::regclass;

-- Several streams in one statement; rows of inner statements; policy stop.
CREATE UNLOGGED TABLE views (page text, at timestamp);
SELECT eddy.create_stream('views', event_time => 'at', null_event_time => 'stop');
CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO views VALUES (NEW.page, NEW.at AT TIME ZONE 'UTC');
    RETURN NULL;
END $$;
CREATE TRIGGER follow AFTER INSERT ON clicks FOR EACH ROW EXECUTE FUNCTION follow();
INSERT INTO clicks VALUES ('t', 1, '2020-01-01 00:03:00'), ('t', 2, '2020-01-01 00:03:10');
SELECT stream, rows, rejected, max_event_time FROM counts ORDER BY stream::text;
INSERT INTO views VALUES ('stop', NULL);
SELECT stream, rows, rejected, max_event_time FROM counts ORDER BY stream::text;
DROP TRIGGER follow ON clicks;

-- Names and the event time column follow renames, in a session that has used them before.
ALTER TABLE views RENAME COLUMN at TO seen_at;
INSERT INTO views VALUES ('renamed', '2020-01-01 00:04:00');
ALTER TABLE views RENAME TO page_views;
INSERT INTO page_views VALUES ('renamed', '2020-01-01 00:05:00');
SELECT stream, rows, max_event_time FROM counts ORDER BY stream::text;

-- With a partition of a topic: eddy.stat_streams shows the sum of both.
-- The source is of another database, so that no worker runs it.
INSERT INTO eddy._source
SELECT 900005, 'clicks'::regclass, 'kafka', 'clicks', 'json', 'earliest', NULL, NULL, 'stop', 'stop', NULL, true, NULL, 0;
INSERT INTO eddy._partition VALUES (900005, 0, 110, 0, 112, '2020-01-01 00:01:00', 100, 5, 7, NULL);
SELECT partition, next_offset, lag, rows, rejected, skipped, max_event_time, watermark FROM counts
WHERE stream = 'clicks'::regclass ORDER BY partition;
SELECT stream, rows, rejected, skipped, lag, last_batch IS NOT NULL AS has_last_batch
FROM eddy.stat_streams WHERE stream IN ('clicks'::regclass, 'page_views') ORDER BY stream::text;
DELETE FROM eddy._partition WHERE source = 900005;
DELETE FROM eddy._source WHERE source = 900005;

-- Without an event time.
CREATE UNLOGGED TABLE plain_views (page text);
SELECT eddy.create_stream('plain_views');
INSERT INTO plain_views VALUES ('a'), ('b');
SELECT stream, partition, rows, rejected, max_event_time, watermark FROM counts WHERE stream = 'plain_views'::regclass;

-- They are dropped with the stream.
SET client_min_messages = warning;
BEGIN;
INSERT INTO page_views VALUES ('last', '2020-01-01 00:06:00');
DROP TABLE page_views;
COMMIT;
DROP TABLE clicks, plain_views CASCADE;
RESET client_min_messages;
SELECT count(*) FROM eddy._user_partition u WHERE NOT EXISTS (SELECT FROM eddy._stream s WHERE s.stream = u.stream);
DELETE FROM eddy.dead_letters WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = stream);
DROP VIEW counts;
DROP FUNCTION follow;
