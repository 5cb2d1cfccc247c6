--
-- Segments cannot be altered: the owner of a stream owns its segments, but only commands on the
-- stream change them.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
\set SHOW_CONTEXT never
CREATE ROLE regress_eddy_owner;
CREATE ROLE regress_eddy_friend;
CREATE ROLE regress_eddy_heir;
GRANT regress_eddy_heir TO regress_eddy_owner;
CREATE SCHEMA seg_test;
GRANT USAGE, CREATE ON SCHEMA seg_test TO regress_eddy_owner, regress_eddy_heir;
SET search_path = seg_test;

SET ROLE regress_eddy_owner;
CREATE UNLOGGED TABLE events (id int, note text, at timestamptz);
SELECT eddy.create_stream('events', event_time => 'at', retention => '1 hour');
CREATE UNLOGGED TABLE other (id int, note text, at timestamptz);
CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
SELECT c.oid::regclass AS segment, pg_get_userbyid(relowner) AS owner
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'events'::regclass ORDER BY c.relname COLLATE "C";

--
-- DDL on a segment
--
ALTER TABLE eddy._events_segment_1 NO INHERIT events;
-- newer servers show the position in the command
\set VERBOSITY sqlstate
ALTER TABLE eddy._events_segment_1 ALTER COLUMN id TYPE text;
ALTER TABLE eddy._events_segment_1 ALTER COLUMN note TYPE text COLLATE "C";
\set VERBOSITY default
ALTER TABLE eddy._events_segment_1 ADD COLUMN more int;
ALTER TABLE eddy._events_segment_1 RENAME COLUMN id TO di;
ALTER TABLE eddy._events_segment_1 ALTER COLUMN id SET NOT NULL;
ALTER TABLE eddy._events_segment_1 ALTER COLUMN id SET DEFAULT 1;
ALTER TABLE eddy._events_segment_1 ALTER COLUMN note SET STORAGE EXTERNAL;
ALTER TABLE eddy._events_segment_1 ADD CHECK (id > 0);
ALTER TABLE eddy._events_segment_1 ADD PRIMARY KEY (id);
ALTER TABLE eddy._events_segment_1 ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;
ALTER TABLE eddy._events_segment_1 SET LOGGED;
ALTER TABLE eddy._events_segment_1 SET (autovacuum_enabled = true);
ALTER TABLE eddy._events_segment_1 INHERIT other;
ALTER TABLE other INHERIT eddy._events_segment_1;
ALTER TABLE eddy._events_segment_1 SET SCHEMA seg_test;
ALTER TABLE eddy._events_segment_1 RENAME TO mine;
ALTER TABLE eddy._events_segment_1 OWNER TO regress_eddy_heir;
ALTER TABLE eddy._events_segment_1 ENABLE ROW LEVEL SECURITY;
ALTER TABLE eddy._events_segment_1 REPLICA IDENTITY FULL;
ALTER TABLE eddy._events_segment_1 DISABLE TRIGGER ALL;
CREATE TRIGGER steal AFTER INSERT ON eddy._events_segment_1 FOR EACH STATEMENT EXECUTE FUNCTION noop();
CREATE RULE swallow AS ON INSERT TO eddy._events_segment_1 DO INSTEAD NOTHING;
CREATE POLICY mine ON eddy._events_segment_1 USING (true);
CREATE INDEX ON eddy._events_segment_1 (id);
CREATE UNIQUE INDEX ON eddy._events_segment_1 (id);
CREATE UNLOGGED TABLE child () INHERITS (eddy._events_segment_1);
CREATE UNLOGGED TABLE referrer (id int REFERENCES eddy._events_segment_1);
DROP TABLE eddy._events_segment_1;
DROP TABLE eddy._events_segment_1, other;
TRUNCATE eddy._events_segment_1;
TRUNCATE other, eddy._events_segment_1;

-- the same by other paths: functions, triggers, recursion
DO $$ BEGIN EXECUTE 'ALTER TABLE ' || (SELECT min(inhrelid)::regclass FROM pg_inherits
    WHERE inhparent = 'events'::regclass) || ' NO INHERIT events'; END $$;
DO $$
BEGIN
    ALTER TABLE eddy._events_segment_1 NO INHERIT events;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE WARNING 'caught: %', SQLERRM;
END $$;
-- an inner command is checked even if the outer one is on the stream, and vice versa
CREATE FUNCTION sneak(t text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'ALTER TABLE eddy._events_segment_2 ADD COLUMN sneaked int';
    RETURN t;
END $$;
INSERT INTO events VALUES (1, 'one', '2026-01-01');
ALTER TABLE events ALTER COLUMN note TYPE text USING sneak(note);
ALTER TABLE ONLY events DROP COLUMN note;

--
-- Direct DML on a segment
--
INSERT INTO eddy._events_segment_1 VALUES (2);
UPDATE eddy._events_segment_1 SET id = 3;
DELETE FROM eddy._events_segment_1;
MERGE INTO eddy._events_segment_1 s USING (VALUES (1)) v (id) ON s.id = v.id WHEN NOT MATCHED THEN INSERT (id) VALUES (1);
WITH w AS (INSERT INTO eddy._events_segment_1 VALUES (2) RETURNING *) SELECT * FROM w;
\copy eddy._events_segment_1 FROM '/dev/null'
SELECT * FROM eddy._events_segment_1 FOR UPDATE;
CREATE VIEW window_to_segment AS SELECT * FROM eddy._events_segment_1;
INSERT INTO window_to_segment VALUES (5);
GRANT INSERT ON eddy._events_segment_1 TO regress_eddy_friend;
SET ROLE regress_eddy_friend;
INSERT INTO eddy._events_segment_1 VALUES (6);
SET ROLE regress_eddy_owner;
-- the owner may read a segment
SELECT count(*) FROM eddy._events_segment_1;
SELECT count(*) FROM window_to_segment;
DROP VIEW window_to_segment;
PREPARE write_other AS INSERT INTO other VALUES (7);
EXECUTE write_other;

--
-- Commands of the owner on the stream work, and apply to its segments
--
CREATE FUNCTION same_shape() RETURNS boolean LANGUAGE sql AS $$
    SELECT count(*) = 3 AND bool_and(
        (SELECT array_agg((attname, atttypid, atttypmod, attcollation, attnotnull) ORDER BY attname)
         FROM pg_attribute WHERE attrelid = inhrelid AND attnum > 0 AND NOT attisdropped) =
        (SELECT array_agg((attname, atttypid, atttypmod, attcollation, attnotnull) ORDER BY attname)
         FROM pg_attribute WHERE attrelid = inhparent AND attnum > 0 AND NOT attisdropped) AND
        (SELECT relowner FROM pg_class WHERE oid = inhrelid) = (SELECT relowner FROM pg_class WHERE oid = inhparent))
    FROM pg_inherits WHERE inhparent = 'events'::regclass $$;
ALTER TABLE events ADD COLUMN amount numeric(10,2) DEFAULT 1 NOT NULL;
ALTER TABLE events ADD COLUMN doubled numeric GENERATED ALWAYS AS (amount * 2) STORED;
ALTER TABLE events ADD CHECK (amount >= 0), ADD CONSTRAINT named CHECK (id IS NOT NULL);
ALTER TABLE events DROP CONSTRAINT named;
ALTER TABLE events RENAME COLUMN note TO remark;
ALTER TABLE events ALTER COLUMN id TYPE bigint, ALTER COLUMN remark TYPE varchar(20) COLLATE "C";
ALTER TABLE events ALTER COLUMN remark SET DEFAULT 'none', ALTER COLUMN remark SET STORAGE EXTERNAL;
ALTER TABLE events ALTER COLUMN id SET NOT NULL;
ALTER TABLE events ALTER COLUMN id DROP NOT NULL;
SELECT same_shape();
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
ALTER TABLE events ADD COLUMN rank positive;
DROP DOMAIN positive CASCADE;
ALTER TABLE events DROP COLUMN doubled;
CREATE INDEX ON events (id);
ALTER TABLE events ADD UNIQUE (id);
CREATE TRIGGER mine AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION noop();
ALTER TABLE events DISABLE TRIGGER mine;
DROP TRIGGER mine ON events;
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON events USING (true);
DROP POLICY p ON events;
ALTER TABLE events DISABLE ROW LEVEL SECURITY;
ALTER TABLE events SET (fillfactor = 90);
SELECT same_shape();
TRUNCATE events;
TRUNCATE events, other;
TRUNCATE ONLY events;
ALTER TABLE events RENAME TO happenings;
ALTER TABLE happenings RENAME TO events;
INSERT INTO events VALUES (1, 'one', '2026-01-01');
ALTER TABLE events OWNER TO regress_eddy_heir;
SELECT same_shape(), pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'events'::regclass;
SET ROLE regress_eddy_heir;
ALTER TABLE events ADD COLUMN by_heir int;
SET ROLE regress_eddy_owner;
REASSIGN OWNED BY regress_eddy_heir TO regress_eddy_owner;
SELECT same_shape(), pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'events'::regclass;
ALTER TABLE events DROP COLUMN by_heir;
VACUUM FULL events;
VACUUM FULL eddy._events_segment_1;
ANALYZE events;
SELECT * FROM events;
DROP TABLE events;
SELECT count(*) FROM pg_class WHERE relnamespace = 'eddy'::regnamespace AND relname ~ '^_events_segment';

-- DROP OWNED and DROP SCHEMA drop streams with their segments
CREATE UNLOGGED TABLE events (id int);
SELECT eddy.create_stream('events');
RESET ROLE;
DROP OWNED BY regress_eddy_owner, regress_eddy_friend, regress_eddy_heir;
SELECT count(*) FROM pg_class WHERE relnamespace = 'eddy'::regnamespace AND relname ~ '^_events_segment';

-- superusers are not restricted, because pg_restore must work
CREATE UNLOGGED TABLE events (id int);
SELECT eddy.create_stream('events');
INSERT INTO eddy._events_segment_1 VALUES (1);
ALTER TABLE eddy._events_segment_1 NO INHERIT events;
TRUNCATE eddy._events_segment_1;
DROP TABLE eddy._events_segment_1;
DROP SCHEMA seg_test CASCADE;
SELECT count(*) FROM eddy._segment g WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = g.segment);
DROP ROLE regress_eddy_owner, regress_eddy_friend, regress_eddy_heir;
