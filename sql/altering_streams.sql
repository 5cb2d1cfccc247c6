--
-- Properties of streams and sources can be changed; everything else about them remains
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET IntervalStyle = 'postgres';
CREATE SCHEMA altering;
SET search_path TO altering;

CREATE UNLOGGED TABLE visits (page text, at timestamptz);
SELECT eddy.create_stream('visits', event_time => 'at', delay => '1 minute');
SELECT eddy.create_continuous_view('per_minute', $$
    SELECT page, w.window_end, count(*) AS n FROM visits, eddy.tumble(at, '1 minute') AS w GROUP BY page, w.window_end $$,
    emit => 'on_close');

-- what is not specified remains
SELECT eddy.alter_stream('visits', delay => '10 seconds', null_event_time => 'stop');
SELECT event_time, delay, retention, idle_timeout, max_future_skew, null_event_time, auto_advance
FROM eddy.streams WHERE stream = 'visits'::regclass;
SELECT eddy.alter_stream('visits', retention => '1 day', idle_timeout => '1 minute', max_future_skew => '1 hour', auto_advance => true);
SELECT event_time, delay, retention, idle_timeout, max_future_skew, null_event_time, auto_advance
FROM eddy.streams WHERE stream = 'visits'::regclass;
SELECT eddy.alter_stream('visits', auto_advance => false);

-- the next rows are judged by the new properties
INSERT INTO visits VALUES ('/', NULL);
INSERT INTO visits VALUES ('/', '2026-01-01 12:00:30Z'), ('/', '2026-01-01 12:01:10Z');
SELECT eddy.watermark('visits');
TABLE per_minute;

-- the watermark does not decrease: it follows a longer delay when it has passed
SELECT eddy.alter_stream('visits', delay => '1 minute');
INSERT INTO visits VALUES ('/', '2026-01-01 12:01:40Z');
SELECT eddy.watermark('visits');
INSERT INTO visits VALUES ('/', '2026-01-01 12:03:00Z');
SELECT eddy.watermark('visits');
SELECT * FROM per_minute ORDER BY window_end;

-- in one transaction with what follows, and undone by a rollback
BEGIN;
SELECT eddy.alter_stream('visits', delay => '0');
INSERT INTO visits VALUES ('/', '2026-01-01 12:04:00Z');
SELECT eddy.watermark('visits');
ROLLBACK;
SELECT delay FROM eddy.streams WHERE stream = 'visits'::regclass;
SELECT eddy.watermark('visits');

-- a stream that did not store rows of Kafka gets segments for them
CREATE UNLOGGED TABLE clicks (page text);
SELECT eddy.create_stream('clicks', retention => '0');
SELECT eddy.alter_stream('clicks', retention => '1 hour');
SELECT retention, segments FROM eddy.streams WHERE stream = 'clicks'::regclass;
-- it has no event time
SELECT eddy.alter_stream('clicks', delay => '1 minute');

--
-- Refused values
--
SELECT eddy.alter_stream('visits', delay => '-1 second');
SELECT eddy.alter_stream('visits', null_event_time => 'dead_leter');
SELECT eddy.alter_stream('visits', idle_timeout => '0', auto_advance => true);
SELECT eddy.alter_stream(NULL, delay => '0');
SELECT eddy.alter_stream('per_minute', delay => '0');
SELECT eddy.create_stream('visits', delay => '0');
-- a statement that is counting rows of the stream
CREATE FUNCTION shorten() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM eddy.alter_stream('altering.visits', delay => '0'); RETURN NULL; END $$;
CREATE TRIGGER shorten AFTER INSERT ON visits FOR EACH STATEMENT EXECUTE FUNCTION shorten();
\set VERBOSITY terse
INSERT INTO visits VALUES ('/', '2026-01-01 12:05:00Z');
\set VERBOSITY default
DROP TRIGGER shorten ON visits;

--
-- Sources
--
CREATE SERVER altering_kafka FOREIGN DATA WRAPPER eddy_kafka OPTIONS ("bootstrap.servers" '127.0.0.1:1');
CREATE SERVER altering_other FOREIGN DATA WRAPPER eddy_kafka OPTIONS ("bootstrap.servers" '127.0.0.1:1');
SELECT eddy.attach_kafka('visits', server => 'altering_kafka', topic => 'visits', start => 'latest',
    options => '{"workers": 3}') IS NOT NULL AS attached;
SELECT source AS source FROM eddy.sources WHERE stream = 'visits'::regclass \gset
SELECT eddy.alter_kafka('visits', 'visits', mapping => '{"at": "timestamp"}', on_error => 'skip');
SELECT eddy.alter_kafka('visits', 'visits', server => 'altering_other', on_offset_lost => 'latest',
    options => '{"timestamps": "milliseconds"}');
SELECT source = :source AS same, server, start, mapping, on_error, on_offset_lost, options
FROM eddy.sources WHERE stream = 'visits'::regclass;

-- the same errors as those of eddy.attach_kafka
SELECT eddy.alter_kafka('visits', 'visit', on_error => 'skip');
SELECT eddy.alter_kafka('visits', 'visits', server => 'altering_kafak');
SELECT eddy.alter_kafka('visits', 'visits', mapping => '{"att": "timestamp"}');
SELECT eddy.alter_kafka('visits', 'visits', on_error => 'ignore');
SELECT eddy.alter_kafka('visits', 'visits', options => '{"worker": 2}');
SELECT eddy.alter_kafka('visits', NULL, on_error => 'skip');
SELECT eddy.attach_kafka('visits', server => 'altering_kafka', topic => 'visits');
SELECT mapping, on_error, options FROM eddy.sources WHERE stream = 'visits'::regclass;

-- only the owner of the stream, who must be allowed to use the server
CREATE ROLE regress_eddy_altering;
GRANT USAGE, CREATE ON SCHEMA altering TO regress_eddy_altering;
SET ROLE regress_eddy_altering;
SELECT eddy.alter_stream('visits', delay => '0');
SELECT eddy.alter_kafka('visits', 'visits', on_error => 'stop');
RESET ROLE;
ALTER TABLE visits OWNER TO regress_eddy_altering;
GRANT USAGE ON FOREIGN SERVER altering_other TO regress_eddy_altering;
SET ROLE regress_eddy_altering;
SELECT eddy.alter_kafka('visits', 'visits', on_error => 'stop');
SELECT eddy.alter_kafka('visits', 'visits', server => 'altering_kafka');
SELECT server, on_error FROM eddy.sources WHERE stream = 'visits'::regclass;
RESET ROLE;

SET client_min_messages = error;
DROP SCHEMA altering CASCADE;
DROP SERVER altering_kafka;
DROP SERVER altering_other;
DROP ROLE regress_eddy_altering;
