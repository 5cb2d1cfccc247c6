--
-- What follows a command is about the tables that it has named: functions that run in the command can change
-- what these names mean afterwards.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
\set SHOW_CONTEXT never
CREATE ROLE regress_eddy_owner;
CREATE ROLE regress_eddy_other;
CREATE SCHEMA names_test AUTHORIZATION regress_eddy_owner;
GRANT USAGE ON SCHEMA names_test, eddy TO regress_eddy_other;
CREATE FUNCTION names_test.change_path() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('search_path', TG_ARGV[0], false);
    RETURN NEW;
END $$;

SET ROLE regress_eddy_owner;
CREATE UNLOGGED TABLE names_test.visits (at timestamptz, page text, browser text);
SELECT eddy.create_stream('names_test.visits', event_time => 'at');
INSERT INTO names_test.visits VALUES ('2026-01-01Z', '/', 'w3m');
RESET ROLE;
-- as if the row came from Kafka, without the column
UPDATE eddy._segment SET omitted = '{browser}' WHERE stream = 'names_test.visits'::regclass;
CREATE VIEW names_test.omitted AS SELECT DISTINCT omitted FROM eddy._segment WHERE stream = 'names_test.visits'::regclass AND omitted <> '{}';
TABLE names_test.omitted;

--
-- COPY: only those who may write to a table of pg_eddy can restore a dump. Closing windows waits for
-- the sessions that do.
--
CREATE VIEW names_test.restores AS SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
GRANT SELECT ON names_test.restores TO regress_eddy_other;
SET ROLE regress_eddy_other;
SET search_path = pg_temp, eddy;
CREATE TEMP TABLE _view (a int);
CREATE TRIGGER change BEFORE INSERT ON _view EXECUTE FUNCTION names_test.change_path('eddy, pg_temp');
COPY _view FROM stdin;
1
\.
SHOW search_path;
TABLE names_test.restores;
SELECT count(*) FROM pg_temp._view;
DISCARD TEMP;
RESET ROLE;
RESET search_path;
-- COPY of no rows, by a superuser
COPY eddy._view FROM '/dev/null';
TABLE names_test.restores;
SELECT pg_advisory_unlock_all();

--
-- TRUNCATE: rows that lack a column are known until they are removed
--
SET ROLE regress_eddy_other;
SET search_path = pg_temp, names_test;
CREATE TEMP TABLE visits (a int);
CREATE TRIGGER change BEFORE TRUNCATE ON visits EXECUTE FUNCTION names_test.change_path('names_test, pg_temp');
TRUNCATE visits;
SHOW search_path;
DISCARD TEMP;
RESET ROLE;
TABLE names_test.omitted;
-- without the segments, which have the rows from Kafka
TRUNCATE ONLY names_test.visits;
TABLE names_test.omitted;
-- whatever the name means when the command ends
CREATE TRIGGER change BEFORE TRUNCATE ON names_test.visits EXECUTE FUNCTION names_test.change_path('public');
SET search_path = names_test;
TRUNCATE visits;
SHOW search_path;
TABLE names_test.omitted;
RESET search_path;

--
-- RENAME: the event time follows, in each table whose column has another name then
--
SET ROLE regress_eddy_owner;
SET search_path = names_test;
ALTER TABLE visits RENAME at TO seen_at;
SELECT event_time FROM eddy.streams WHERE stream = 'visits'::regclass;
CREATE TYPE event AS (at timestamptz, page text);
CREATE UNLOGGED TABLE events OF event;
SELECT eddy.create_stream('events', event_time => 'at', delay => '0');
ALTER TYPE event RENAME ATTRIBUTE at TO happened_at CASCADE;
SELECT event_time FROM eddy.streams WHERE stream = 'events'::regclass;
INSERT INTO events VALUES ('2026-01-01Z', '/');
SELECT eddy.watermark('events') = '2026-01-01Z' AS watermark;
RESET ROLE;
RESET search_path;

--
-- Commands of pg_eddy name schemas. If others get these names between the making of a command and its execution, as
-- a trigger shows here, nothing of it remains, and no object of another role is touched.
--
CREATE SCHEMA names_other AUTHORIZATION regress_eddy_other;
CREATE SCHEMA names_views AUTHORIZATION regress_eddy_owner;
CREATE FUNCTION names_test.swap() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    -- of the triggers that are created, that on the view
    IF tg_tag = current_setting('names_test.swap_at', true) AND
       (tg_tag <> 'CREATE TRIGGER' OR to_regclass('names_test.late') IS NOT NULL) THEN
        PERFORM set_config('names_test.swap_at', '', false);
        ALTER SCHEMA names_test RENAME TO names_before;
        ALTER SCHEMA names_other RENAME TO names_test;
    END IF;
END $$;
SET ROLE regress_eddy_other;
CREATE UNLOGGED TABLE names_other.events (at timestamptz, page text);
CREATE TABLE names_other.seen (page text);
CREATE TYPE names_other.kind AS ENUM ('a');
RESET ROLE;
GRANT ALL ON SCHEMA names_other TO regress_eddy_owner;
SET ROLE regress_eddy_owner;
CREATE UNLOGGED TABLE names_test.clicks (page text, n int);
SELECT eddy.create_stream('names_test.clicks');
CREATE DOMAIN names_test.kind AS int;
RESET ROLE;
SET client_min_messages = warning;

-- a view is created in the other schema
BEGIN;
CREATE EVENT TRIGGER swap ON ddl_command_start EXECUTE FUNCTION names_test.swap();
SET LOCAL names_test.swap_at = 'CREATE VIEW';
SET LOCAL ROLE regress_eddy_owner;
SELECT eddy.create_continuous_view('names_test.pages', 'SELECT page, count(*) FROM names_test.clicks GROUP BY page');
ROLLBACK;
-- the other schema has a relation of that name
BEGIN;
CREATE EVENT TRIGGER swap ON ddl_command_start EXECUTE FUNCTION names_test.swap();
SET LOCAL names_test.swap_at = 'CREATE VIEW';
SET LOCAL ROLE regress_eddy_owner;
SELECT eddy.create_continuous_view('names_test.seen', 'SELECT page, count(*) FROM names_test.clicks GROUP BY page');
ROLLBACK;
-- a type of the view has another meaning
BEGIN;
CREATE EVENT TRIGGER swap ON ddl_command_start EXECUTE FUNCTION names_test.swap();
SET LOCAL names_test.swap_at = 'CREATE VIEW';
SET LOCAL ROLE regress_eddy_owner;
SELECT eddy.create_continuous_view('names_views.kinds', 'SELECT n::names_test.kind AS kind, rank() OVER (ORDER BY count(*)) FROM names_test.clicks GROUP BY 1');
ROLLBACK;
-- the trigger that deletes through a view of deferred maintenance
BEGIN;
CREATE EVENT TRIGGER swap ON ddl_command_start EXECUTE FUNCTION names_test.swap();
SET LOCAL names_test.swap_at = 'CREATE TRIGGER';
SET LOCAL ROLE regress_eddy_other;
CREATE VIEW names_other.late AS SELECT 1 AS one;
SET LOCAL ROLE regress_eddy_owner;
SELECT eddy.create_continuous_view('names_test.late', 'SELECT page, count(*) FROM names_test.clicks GROUP BY page', maintenance => 'deferred');
ROLLBACK;
-- DROP TABLE of a table of the same name
BEGIN;
CREATE EVENT TRIGGER swap ON ddl_command_start EXECUTE FUNCTION names_test.swap();
ALTER TABLE names_other.seen OWNER TO regress_eddy_owner;
ALTER TABLE names_other.seen RENAME TO clicks;
SET LOCAL names_test.swap_at = 'DROP TABLE';
SET LOCAL ROLE regress_eddy_owner;
SELECT eddy.drop_stream('names_test.clicks');
ROLLBACK;
SELECT count(*) FROM eddy.streams WHERE stream = 'names_test.clicks'::regclass;
DROP SCHEMA names_other, names_views CASCADE;

SET client_min_messages = warning;
DROP SCHEMA names_test CASCADE;
REVOKE USAGE ON SCHEMA eddy FROM regress_eddy_other;
DROP ROLE regress_eddy_owner, regress_eddy_other;
