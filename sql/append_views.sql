-- Views without aggregates: each row of the stream appends the rows of its result.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET timezone = 'UTC';
SET synchronous_commit = on;
\set SHOW_CONTEXT never
CREATE SCHEMA append;
SET search_path = append;

CREATE UNLOGGED TABLE readings (sensor int, value numeric, labels text[], at timestamptz);
CREATE TABLE sensors (sensor int PRIMARY KEY, room text);
INSERT INTO sensors VALUES (1, 'hall'), (2, 'lab');
SELECT eddy.create_stream('readings');
INSERT INTO readings VALUES (1, 10, '{}', '2026-01-01Z');

SELECT eddy.create_continuous_view('located', $$
    SELECT r.sensor, s.room, 100 / r.value AS inverse FROM readings r LEFT JOIN sensors s USING (sensor) WHERE r.value < 1000 $$);
SELECT eddy.create_continuous_view('staged', 'SELECT sensor, value FROM readings', start => 'staged');
SELECT eddy.create_continuous_view('labelled', 'SELECT sensor AS _row, unnest(labels) AS label FROM readings');
TABLE located;
TABLE staged;
SELECT 'ok' FROM pg_create_logical_replication_slot('regress_eddy_append', 'pg_eddy_cdc');

-- Rows are appended when the statement ends; equal rows are all kept. A joined table is read at that time.
INSERT INTO readings VALUES (1, 20, '{a,b}', '2026-01-01Z'), (3, 50, NULL, NULL), (1, 20, '{a}', '2026-01-01Z'), (2, 5000, '{}', NULL);
UPDATE sensors SET room = 'attic' WHERE sensor = 1;
BEGIN;
INSERT INTO readings VALUES (1, 25, '{c}', '2026-01-01Z');
SAVEPOINT a;
INSERT INTO readings VALUES (1, 26, '{lost}', '2026-01-01Z');
ROLLBACK TO a;
COMMIT;
SELECT sensor, room, round(inverse, 2) FROM located ORDER BY sensor, room, inverse;
SELECT * FROM labelled ORDER BY _row, label;

-- A row on which an expression fails is a dead letter of that view only.
INSERT INTO readings SELECT g, g % 50, ARRAY['n' || g], '2026-01-01Z' FROM generate_series(100, 400) g;
SELECT count(*), count(DISTINCT sensor) FROM located WHERE sensor >= 100;
SELECT count(*) FROM staged WHERE sensor >= 100;
SELECT view, count(*), error FROM eddy.dead_letters WHERE stream = 'readings'::regclass GROUP BY view, error;
SELECT eddy.create_continuous_view('strict', 'SELECT 1 / value AS x FROM readings', on_error => 'stop');
INSERT INTO readings VALUES (5, 1, '{}', NULL), (5, 0, '{}', NULL);
SELECT count(*) FROM located WHERE sensor = 5;
DROP VIEW strict;

-- Rows can be deleted, and not written.
DELETE FROM located WHERE sensor >= 100;
DELETE FROM staged WHERE sensor >= 100;
UPDATE located SET room = 'x';
INSERT INTO staged VALUES (1, 1);
SELECT sensor, room, round(inverse, 2) FROM located ORDER BY sensor, room, inverse;

-- The key is an ID of the row, which is no column of the view.
SELECT count(*) AS rows, count(DISTINCT _row) AS ids, bool_and(_row::text ~ '-7...-[89ab]') AS version_7 FROM eddy._staged_state;
SELECT attname FROM pg_attribute WHERE attrelid = 'eddy._labelled_state'::regclass AND attnum > 0 ORDER BY attnum;

-- Consumers receive each row as a new one, and deletes.
DELETE FROM staged WHERE sensor = 1 AND value = 20;
INSERT INTO readings VALUES (9, 1, '{}', NULL);
SELECT d ->> 'op' AS op, d -> 'key' ? '_row' AS has_key, d -> 'after' AS after
FROM (SELECT data::jsonb AS d FROM pg_logical_slot_get_changes('regress_eddy_append', NULL, NULL, 'views', 'append.staged', 'batch-bytes', '0')) s
WHERE d ->> 'op' IN ('c', 'u', 'd') AND (d -> 'after' ->> 'sensor' IS NULL OR (d -> 'after' ->> 'sensor')::int < 100)
GROUP BY 1, 2, 3 ORDER BY 1, 3;
SELECT pg_drop_replication_slot('regress_eddy_append');

-- A view that is rebuilt has the rows that the stream still holds.
DELETE FROM eddy.dead_letters WHERE stream = 'readings'::regclass;
SELECT eddy.pause('located');
INSERT INTO readings VALUES (1, 8, '{}', NULL);
SELECT count(*) FROM located WHERE inverse = 12.5;
SELECT eddy.resume('located');
SELECT count(*) FROM (SELECT sensor, inverse FROM located EXCEPT ALL
                      SELECT sensor, 100 / value FROM readings WHERE value < 1000 AND value <> 0) d;
SELECT (SELECT count(*) FROM located) = (SELECT count(*) FROM readings WHERE value < 1000 AND value <> 0) AS complete;

-- Expressions, WHERE and joins run as the owner of the view, whoever inserts.
CREATE ROLE regress_eddy_append_owner;
CREATE ROLE regress_eddy_append_writer;
GRANT USAGE, CREATE ON SCHEMA append TO regress_eddy_append_owner;
GRANT USAGE ON SCHEMA append TO regress_eddy_append_writer;
GRANT SELECT, TRIGGER ON readings TO regress_eddy_append_owner;
GRANT INSERT ON readings TO regress_eddy_append_writer;
CREATE FUNCTION whoami(int) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN current_user; END $$;
ALTER TABLE sensors ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON sensors FOR SELECT TO regress_eddy_append_owner USING (sensor = 2);
GRANT SELECT ON sensors TO regress_eddy_append_owner;
SET ROLE regress_eddy_append_owner;
SELECT eddy.create_continuous_view('who', $$
    SELECT q.sensor, q.who, s.room FROM (SELECT sensor, whoami(sensor) AS who FROM readings WHERE whoami(sensor) <> 'x') q
    LEFT JOIN sensors s USING (sensor) $$);
SET ROLE regress_eddy_append_writer;
INSERT INTO readings VALUES (1, 2, '{}', NULL), (2, 2, '{}', NULL);
TABLE who;
SET ROLE regress_eddy_append_owner;
SELECT * FROM who ORDER BY sensor;
RESET ROLE;
-- Privileges are those on the relations of a sub-select, and on their columns.
REVOKE SELECT ON readings FROM regress_eddy_append_owner;
GRANT SELECT (sensor) ON readings TO regress_eddy_append_owner;
SET ROLE regress_eddy_append_owner;
SELECT eddy.create_continuous_view('v', 'SELECT q.value FROM (SELECT sensor, value FROM readings) q');
SELECT eddy.create_continuous_view('v', 'SELECT u.x FROM (SELECT sensor AS x FROM readings UNION ALL SELECT value FROM readings) u');
SELECT eddy.create_continuous_view('doubled', 'SELECT u.x FROM (SELECT sensor AS x FROM readings UNION ALL SELECT -sensor FROM readings) u');
RESET ROLE;
INSERT INTO readings VALUES (7, 2, '{}', NULL);
SELECT * FROM doubled ORDER BY x;
SELECT view, state, error FROM eddy.continuous_views WHERE stream = 'readings'::regclass AND state <> 'running';

SET client_min_messages = warning;
DELETE FROM eddy.dead_letters WHERE stream = 'readings'::regclass;
DROP SCHEMA append CASCADE;
DROP ROLE regress_eddy_append_owner, regress_eddy_append_writer;
