-- Watermarks: rows in, watermark out.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO';

-- Event times of these examples are seconds of one day. Without sources a stream has only the rows of
-- users, partition -1.
CREATE FUNCTION at(seconds int) RETURNS timestamptz LANGUAGE sql IMMUTABLE
RETURN timestamptz '2026-01-01 00:00:00+00' + seconds * interval '1 second';
CREATE FUNCTION w(stream regclass) RETURNS text LANGUAGE sql VOLATILE
RETURN coalesce(extract(epoch FROM eddy.watermark(stream) - at(0))::int::text, 'none');
CREATE UNLOGGED TABLE clicks (key text, ts timestamptz);
SELECT eddy.create_stream('clicks', event_time => 'ts', delay => '15 seconds');
SELECT w('clicks');

--
-- One row per transaction, delay 15: the watermark is the latest event time minus the delay
--
INSERT INTO clicks VALUES ('a', at(3)) RETURNING w('clicks') AS before;
SELECT w('clicks');
INSERT INTO clicks VALUES ('a', at(28));
SELECT w('clicks');
INSERT INTO clicks VALUES ('a', at(34));
SELECT w('clicks');
-- out of order: it does not go back
INSERT INTO clicks VALUES ('b', at(5));
SELECT w('clicks');
INSERT INTO clicks VALUES ('a', at(35));
SELECT w('clicks');
INSERT INTO clicks VALUES ('b', at(19));
SELECT w('clicks');
INSERT INTO clicks VALUES ('c', at(39));
SELECT w('clicks');
INSERT INTO clicks VALUES ('a', at(500));
SELECT w('clicks');

-- one statement is one batch, also COPY
CREATE UNLOGGED TABLE batches (key text, ts timestamptz);
SELECT eddy.create_stream('batches', event_time => 'ts', delay => '15 seconds');
INSERT INTO batches VALUES ('a', at(3)), ('a', at(28)), ('a', at(34)), ('b', at(5)), ('a', at(35)), ('b', at(19)), ('c', at(39));
SELECT w('batches');
COPY batches FROM stdin;
d	2026-01-01 00:01:00+00
d	2026-01-01 00:00:02+00
\.
SELECT w('batches');

-- it is part of the transaction
BEGIN;
INSERT INTO batches VALUES ('e', at(100));
SELECT w('batches');
SAVEPOINT s;
INSERT INTO batches VALUES ('e', at(200));
SELECT w('batches');
ROLLBACK TO s;
SELECT w('batches');
ROLLBACK;
SELECT w('batches');

-- rows without event time do not move it
CREATE UNLOGGED TABLE readings (ts timestamptz, value int);
SELECT eddy.create_stream('readings', event_time => 'ts', null_event_time => 'skip_watermark', max_future_skew => '1 hour');
INSERT INTO readings VALUES (NULL, 1);
SELECT w('readings'), holds, rows FROM eddy.partitions WHERE stream = 'readings'::regclass;

--
-- Infinite times have no effect; times too far ahead of the clock are counted and kept
--
INSERT INTO readings VALUES ('infinity', 2), ('-infinity', 3);
SELECT w('readings');
INSERT INTO readings VALUES (at(10), 4), ('294276-12-31 23:59:59+00', 5), (now() + interval '61 minutes', 6), (at(20), 7);
SELECT w('readings'), ahead, rows FROM eddy.partitions WHERE stream = 'readings'::regclass;
SELECT ahead FROM eddy.stat_streams WHERE stream = 'readings'::regclass;
SELECT count(*) FROM readings;
INSERT INTO readings VALUES (now() + interval '59 minutes', 8);
SELECT eddy.watermark('readings') > now() + interval '58 minutes' AS within_skew, ahead
FROM eddy.partitions WHERE stream = 'readings'::regclass;
CREATE UNLOGGED TABLE ancient (ts timestamptz);
SELECT eddy.create_stream('ancient', event_time => 'ts', delay => '100 years');
INSERT INTO ancient VALUES ('4713-01-01 00:00:00+00 BC');
SELECT eddy.watermark('ancient');

-- the event time can be an expression over the row, and a timestamp without time zone is UTC
CREATE UNLOGGED TABLE events (epoch int, ts timestamptz GENERATED ALWAYS AS (to_timestamp(epoch)) STORED);
SELECT eddy.create_stream('events', event_time => 'ts', delay => '1 minute');
INSERT INTO events VALUES (1767225720);
SELECT eddy.watermark('events');
CREATE UNLOGGED TABLE local_times (ts timestamp);
SELECT eddy.create_stream('local_times', event_time => 'ts');
SET TimeZone = 'Asia/Tokyo';
INSERT INTO local_times VALUES ('2026-01-01 00:00:07');
SET TimeZone = 'UTC';
SELECT w('local_times');

-- without an event time: processing time, the time of the last batch; arguments about event times can have their defaults
CREATE UNLOGGED TABLE pings (host text);
SELECT eddy.create_stream('pings', delay => '0', max_future_skew => '5 minutes', null_event_time => 'dead_letter', auto_advance => false);
SELECT eddy.watermark('pings');
SELECT clock_timestamp() AS before \gset
INSERT INTO pings VALUES ('a');
SELECT eddy.watermark('pings') BETWEEN :'before' AND clock_timestamp() AS time_of_batch;
SELECT eddy.watermark('pings') AS first \gset
INSERT INTO pings VALUES ('b');
SELECT eddy.watermark('pings') > :'first' AS advanced;
SELECT holds FROM eddy.partitions WHERE stream = 'pings'::regclass;

--
-- eddy.advance_watermark raises it by hand, also before the first row
--
CREATE UNLOGGED TABLE manual (key text, ts timestamptz);
SELECT eddy.create_stream('manual', event_time => 'ts', delay => '5 seconds');
SELECT eddy.advance_watermark('manual', at(10)) = at(10) AS raised;
SELECT w('manual');
-- rows raise it from there
INSERT INTO manual VALUES ('a', at(12));
SELECT w('manual');
INSERT INTO manual VALUES ('a', at(22));
SELECT w('manual');
-- it is only raised, and returns what it is then
SELECT eddy.advance_watermark('manual', at(3)) = at(17) AS unchanged;
SELECT eddy.advance_watermark('manual', NULL);
BEGIN;
SELECT eddy.advance_watermark('manual', at(40)) = at(40) AS raised;
SELECT w('manual');
ROLLBACK;
SELECT w('manual');
-- for a stream without event time as well
SELECT eddy.advance_watermark('pings', '2100-01-01');

-- errors
SELECT eddy.advance_watermark('manual', 'infinity');
SELECT eddy.advance_watermark('manual', '-infinity');
SELECT eddy.advance_watermark('pg_class', at(1));
CREATE TABLE plain (ts timestamptz);
SELECT eddy.advance_watermark('plain', at(1));
CREATE ROLE regress_eddy_watermark;
GRANT ALL ON manual TO regress_eddy_watermark;
SET ROLE regress_eddy_watermark;
SELECT eddy.advance_watermark('manual', at(1));
RESET ROLE;
BEGIN READ ONLY;
SELECT eddy.advance_watermark('manual', at(100));
ROLLBACK;
SELECT eddy.create_stream('plain', event_time => 'ts', auto_advance => true, idle_timeout => '0');

-- not while a view is maintained: a batch does not start within another one
CREATE FUNCTION advance(at timestamptz) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM eddy.advance_watermark('public.manual', at);
    RETURN 1;
END $$;
SELECT eddy.create_continuous_view('advancing', 'SELECT key, sum(advance(ts)) FROM manual GROUP BY key', on_error => 'stop');
INSERT INTO manual VALUES ('b', at(1000));
SELECT w('manual');
SELECT eddy.drop_continuous_view('advancing');

--
-- Two partitions and users' rows: the minimum. The sources are of another database, so that no worker
-- runs them: their rows are set as a worker would. Each INSERT stores the watermark.
--
CREATE UNLOGGED TABLE orders (key text, ts timestamptz);
SELECT eddy.create_stream('orders', event_time => 'ts', delay => '5 seconds');
CREATE VIEW held AS
SELECT w(stream), held_topic, held_partition, held_since FROM eddy.streams WHERE stream = 'orders'::regclass;
CREATE VIEW parts AS
SELECT topic, partition, extract(epoch FROM watermark - at(0))::int AS w, idle, holds FROM eddy.partitions
WHERE stream = 'orders'::regclass ORDER BY topic, partition;
CREATE PROCEDURE row_in(partition int, seconds int) LANGUAGE sql AS $$
    UPDATE eddy._partition p SET max_event_time = at(seconds), advanced_at = '2026-02-02 00:00:00+00'
    WHERE p.source = 900001 AND p.partition = row_in.partition;
    INSERT INTO orders VALUES ('user', at(1000));
$$;
INSERT INTO eddy._source VALUES
    (900001, 'orders', 'kafka', 'orders', 'json', 'earliest', NULL, NULL, 'stop', 'stop', NULL, true, NULL, 0, NULL);
-- a source that was never started holds the watermark
INSERT INTO orders VALUES ('user', at(1000));
TABLE held;
INSERT INTO eddy._partition VALUES
    (900001, 0, 10, 0, 10, NULL, 10, 0, 0, NULL), (900001, 1, 10, 0, 10, NULL, 10, 0, 0, NULL);
CALL row_in(0, 42);
TABLE held;
CALL row_in(1, 7);
TABLE held;
CALL row_in(1, 31);
TABLE held;
TABLE parts;
-- a new partition holds it where it is
INSERT INTO eddy._partition VALUES (900001, 2, 0, 0, 0, NULL, 0, 0, 0, NULL);
CALL row_in(1, 60);
TABLE held;
-- a mark of an idle partition is void while no worker polls
UPDATE eddy._partition SET idle_since = now() WHERE partition = 2 AND source = 900001;
INSERT INTO orders VALUES ('user', at(1000));
TABLE held;
-- so is it, and so are all partitions, while the source is paused: they hold the watermark where it is
UPDATE eddy._source SET enabled = false WHERE source = 900001;
CALL row_in(2, 50);
TABLE held;
TABLE parts;
-- detaching removes them from the minimum
SELECT eddy.detach_kafka('orders', 'orders');
SELECT w, held_topic, held_partition FROM held;
INSERT INTO orders VALUES ('user', at(100));
SELECT w, held_topic, held_partition FROM held;
DROP VIEW held, parts;
DROP PROCEDURE row_in;

-- What a statement has stored judges the next one, unless it was rolled back.
CREATE UNLOGGED TABLE drafts (at timestamptz);
SELECT eddy.create_stream('drafts', event_time => 'at');
SELECT eddy.create_continuous_view('draft_minutes', $$
    SELECT w.window_end, count(*) FROM drafts, eddy.tumble(at, '1 minute') AS w GROUP BY w.window_end $$);
INSERT INTO drafts VALUES (at(30));
BEGIN;
SAVEPOINT draft;
INSERT INTO drafts VALUES (at(600));
INSERT INTO drafts VALUES (at(31));     -- late
SELECT at(0) + '1 minute' = window_end AS first, count FROM draft_minutes ORDER BY window_end;
ROLLBACK TO draft;
INSERT INTO drafts VALUES (at(32));
COMMIT;
INSERT INTO drafts VALUES (at(33));
SELECT at(0) + '1 minute' = window_end AS first, count FROM draft_minutes ORDER BY window_end;
INSERT INTO drafts VALUES (at(600));
INSERT INTO drafts VALUES (at(34));     -- late
SELECT at(0) + '1 minute' = window_end AS first, count FROM draft_minutes ORDER BY window_end;
SELECT eddy.watermark('drafts') = at(600) AS at_600;

-- the watermark is deleted with its stream
SET client_min_messages = warning;
DROP TABLE clicks, batches, readings, ancient, events, local_times, pings, manual, orders, drafts CASCADE;
RESET client_min_messages;
SELECT count(*) FROM eddy._watermark u WHERE NOT EXISTS (SELECT FROM eddy._stream s WHERE s.stream = u.stream);
DROP FUNCTION advance, w, at;
DROP TABLE plain;
DROP ROLE regress_eddy_watermark;
