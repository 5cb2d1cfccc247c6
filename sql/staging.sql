--
-- Storage of the recent rows of a stream, and their removal
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET IntervalStyle = 'postgres';

-- Polls until a query returns true: the database worker runs concurrently.
CREATE PROCEDURE pg_temp.wait_until(query text) LANGUAGE plpgsql AS $$
DECLARE
    done boolean;
    tries int := 0;
BEGIN
    LOOP
        EXECUTE query INTO done;
        EXIT WHEN done;
        tries := tries + 1;
        IF tries > 1200 THEN
            RAISE EXCEPTION 'timed out waiting for: %', query;
        END IF;
        PERFORM eddy._notify();
        COMMIT;
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;

CREATE UNLOGGED TABLE events (id int, note text);
SELECT eddy.create_stream('events', retention => '1 hour');

-- Rows from Kafka are stored in segments, children of the table in schema eddy; initially all are empty.
SELECT segment, opened_at, closed_at FROM eddy._segment WHERE stream = 'events'::regclass
ORDER BY segment::text COLLATE "C";
SELECT DISTINCT c.relpersistence, c.relkind, c.relowner = s.relowner AS same_owner
FROM pg_class s JOIN pg_inherits i ON i.inhparent = s.oid JOIN pg_class c ON c.oid = i.inhrelid
WHERE s.oid = 'events'::regclass;

-- SELECT on the stream returns the rows of users and of segments.
INSERT INTO events VALUES (1, 'from a user');
INSERT INTO eddy._events_segment_1 VALUES (2, 'as from Kafka');
SELECT * FROM events ORDER BY id;
SELECT * FROM ONLY events;

-- Columns are added to and dropped from all segments.
ALTER TABLE events ADD COLUMN kind text DEFAULT 'event';
ALTER TABLE events DROP COLUMN note;
SELECT * FROM events ORDER BY id;

-- A segment is closed after its time, and truncated after the retention period.
UPDATE eddy._segment SET opened_at = now() - interval '45 minutes'
WHERE segment = 'eddy._events_segment_1'::regclass;
CALL pg_temp.wait_until($$
    SELECT closed_at IS NOT NULL FROM eddy._segment WHERE segment = 'eddy._events_segment_1'::regclass $$);
SELECT * FROM events ORDER BY id;
UPDATE eddy._segment SET opened_at = now() - interval '2 hours', closed_at = now() - interval '61 minutes'
WHERE segment = 'eddy._events_segment_1'::regclass;
CALL pg_temp.wait_until($$
    SELECT opened_at IS NULL AND closed_at IS NULL FROM eddy._segment
    WHERE segment = 'eddy._events_segment_1'::regclass $$);
SELECT * FROM events ORDER BY id;
SELECT pg_relation_size('eddy._events_segment_1');

-- A lost segment is replaced.
DROP TABLE eddy._events_segment_2;
CALL pg_temp.wait_until($$ SELECT segments = 3 FROM eddy.streams WHERE stream = 'events'::regclass $$);

-- TRUNCATE removes the rows of all segments.
INSERT INTO eddy._events_segment_1 VALUES (3);
INSERT INTO events VALUES (4);
TRUNCATE events;
SELECT * FROM events;

-- If no segment can accept rows, another one is added, and is dropped when it is no longer needed. A view
-- of a user that reads this segment prevents that.
CREATE UNLOGGED TABLE busy (id int);
SELECT eddy.create_stream('busy', retention => '1 hour');
UPDATE eddy._segment SET opened_at = now() - interval '1 minute', closed_at = now()
WHERE stream = 'busy'::regclass;
CALL pg_temp.wait_until($$ SELECT segments = 4 FROM eddy.streams WHERE stream = 'busy'::regclass $$);
CREATE VIEW one_segment AS SELECT * FROM eddy._busy_segment_4;
UPDATE eddy._segment SET opened_at = NULL, closed_at = NULL WHERE stream = 'busy'::regclass;
UPDATE eddy._segment SET opened_at = now() - interval '2 hours', closed_at = now() - interval '61 minutes'
WHERE segment = 'eddy._busy_segment_1'::regclass;
CALL pg_temp.wait_until($$
    SELECT opened_at IS NULL FROM eddy._segment WHERE segment = 'eddy._busy_segment_1'::regclass $$);
SELECT segments FROM eddy.streams WHERE stream = 'busy'::regclass;
DROP VIEW one_segment;
CALL pg_temp.wait_until($$ SELECT segments = 3 FROM eddy.streams WHERE stream = 'busy'::regclass $$);

-- A stream with retention 0 has no segments.
CREATE UNLOGGED TABLE ticks (id int);
SELECT eddy.create_stream('ticks', retention => '0');
SELECT segments FROM eddy.streams WHERE stream = 'ticks'::regclass;

-- Names are truncated and made unique.
CREATE UNLOGGED TABLE a_table_with_a_name_that_is_as_long_as_names_of_tables_can_be_ (id int);
CREATE SCHEMA regress_eddy_two;
CREATE UNLOGGED TABLE regress_eddy_two.a_table_with_a_name_that_is_as_long_as_names_of_tables_can_be_ (id int);
CREATE UNLOGGED TABLE "Quoted ""Name" (id int);
SELECT eddy.create_stream('a_table_with_a_name_that_is_as_long_as_names_of_tables_can_be_');
SELECT eddy.create_stream('regress_eddy_two.a_table_with_a_name_that_is_as_long_as_names_of_tables_can_be_');
SELECT eddy.create_stream('"Quoted ""Name"');
SELECT segment FROM eddy._segment
WHERE stream IN ('a_table_with_a_name_that_is_as_long_as_names_of_tables_can_be_'::regclass,
                 'regress_eddy_two.a_table_with_a_name_that_is_as_long_as_names_of_tables_can_be_'::regclass,
                 '"Quoted ""Name"'::regclass)
ORDER BY segment::text COLLATE "C";

-- DROP TABLE also drops the segments, without CASCADE.
DROP TABLE events, busy, ticks, "Quoted ""Name", a_table_with_a_name_that_is_as_long_as_names_of_tables_can_be_,
    regress_eddy_two.a_table_with_a_name_that_is_as_long_as_names_of_tables_can_be_;
DROP SCHEMA regress_eddy_two;
SELECT count(*) FROM eddy._segment g WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = g.segment);
SELECT count(*) FROM pg_class WHERE relnamespace = 'eddy'::regnamespace AND relname ~ '(events|ticks|Name|tabl)_segment';

-- After the clock was set back, segments with times in the future would stay until these have come: they are corrected.
CREATE UNLOGGED TABLE clocked (id int);
SELECT eddy.create_stream('clocked');
UPDATE eddy._segment SET opened_at = '3000-01-01Z', closed_at = '3000-01-02Z' WHERE stream = 'clocked'::regclass;
DO $$
BEGIN
    FOR i IN 1 .. 600 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM eddy._segment WHERE stream = 'clocked'::regclass AND greatest(opened_at, closed_at) > now() + interval '1 day');
        COMMIT;
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;
SELECT count(*) FILTER (WHERE greatest(opened_at, closed_at) > now()) AS later FROM eddy._segment WHERE stream = 'clocked'::regclass;
DROP TABLE clocked;
