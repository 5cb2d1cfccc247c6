-- DDL on streams and views in savepoints, which are rolled back or released.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never
SET timezone = 'UTC';

-- Existing objects of this test, according to the catalogs of pg_eddy and of the server.
CREATE VIEW sp_objects AS
SELECT 'stream' AS what, stream::text AS name FROM eddy.streams WHERE stream::text ~ '^sp_'
UNION ALL SELECT 'view', view || ' of ' || stream FROM eddy.continuous_views WHERE stream::text ~ '^sp_'
UNION ALL SELECT 'internal', 'relation of a view' FROM pg_class
    WHERE relnamespace = 'eddy'::regnamespace AND relkind IN ('r', 'v') AND relname ~ '^_sp_'
UNION ALL SELECT 'trigger', tgname || ' on ' || tgrelid::regclass FROM pg_trigger
    WHERE tgrelid::regclass::text ~ '^sp_' AND tgname = 'pg_eddy_capture';

CREATE UNLOGGED TABLE sp_clicks (page text, ms int);

-- create_stream
BEGIN;
SAVEPOINT one;
SELECT eddy.create_stream('sp_clicks');
INSERT INTO sp_clicks VALUES ('lost', 1);
ROLLBACK TO one;
TABLE sp_objects;
INSERT INTO sp_clicks VALUES ('before', 1);
SAVEPOINT two;
SELECT eddy.create_stream('sp_clicks');
RELEASE two;
SELECT * FROM sp_objects WHERE what = 'stream';
COMMIT;
SELECT * FROM sp_objects WHERE what = 'stream';

-- create_continuous_view, with rows before, in and after the savepoint
BEGIN;
INSERT INTO sp_clicks VALUES ('/', 1);
SAVEPOINT one;
SELECT eddy.create_continuous_view('sp_pages', 'SELECT page, count(*), sum(ms) FROM sp_clicks GROUP BY page');
INSERT INTO sp_clicks VALUES ('/', 2);
TABLE sp_pages;
ROLLBACK TO one;
INSERT INTO sp_clicks VALUES ('/', 4);
SELECT to_regclass('sp_pages');
SELECT eddy.create_continuous_view('sp_pages', 'SELECT page, count(*), avg(ms)::numeric(9,2) FROM sp_clicks GROUP BY page');
SAVEPOINT two;
INSERT INTO sp_clicks VALUES ('/', 8);
ROLLBACK TO two;
INSERT INTO sp_clicks VALUES ('/', 16);
TABLE sp_pages;
COMMIT;
TABLE sp_pages;
SELECT * FROM sp_objects ORDER BY 1, 2;

-- start => 'staged' counts existing rows; a failed creation has no effect on later ones
BEGIN;
SAVEPOINT one;
SELECT eddy.create_continuous_view('sp_staged', 'SELECT 1 / (count(*) - count(*)) AS x FROM sp_clicks', start => 'staged');
ROLLBACK TO one;
SELECT count(*) FROM sp_clicks;
INSERT INTO sp_clicks VALUES ('/a', 1);
SELECT eddy.create_continuous_view('sp_staged', 'SELECT count(*) FROM sp_clicks', start => 'staged');
SAVEPOINT two;
INSERT INTO sp_clicks VALUES ('/a', 1);
SELECT count = (SELECT count(*) FROM sp_clicks) AS staged FROM sp_staged;
ROLLBACK TO two;
SELECT count = (SELECT count(*) FROM sp_clicks) AS staged FROM sp_staged;
COMMIT;
SELECT count = (SELECT count(*) FROM sp_clicks) AS staged FROM sp_staged;

-- The same in PL/pgSQL with nested exception handlers.
DO $$
BEGIN
    PERFORM eddy.create_continuous_view('sp_failing', 'SELECT nonsense FROM sp_clicks');
EXCEPTION WHEN undefined_column THEN
    RAISE NOTICE 'caught: %', SQLERRM;
    BEGIN
        PERFORM eddy.create_continuous_view('sp_failing', 'SELECT 1 / (count(*) - count(*)) AS x FROM sp_clicks', start => 'staged');
    EXCEPTION WHEN division_by_zero THEN
        RAISE NOTICE 'caught: %', SQLERRM;
        PERFORM eddy.create_continuous_view('sp_failing', 'SELECT count(*) FROM sp_clicks');
        INSERT INTO sp_clicks VALUES ('/b', 2);
        BEGIN
            INSERT INTO sp_clicks VALUES ('/b', 4);
            PERFORM eddy.drop_continuous_view('sp_failing');
            INSERT INTO sp_clicks VALUES ('/b', 8);
            RAISE EXCEPTION 'not like this';
        EXCEPTION WHEN raise_exception THEN
            RAISE NOTICE 'caught: %', SQLERRM;
            INSERT INTO sp_clicks VALUES ('/b', 16);
        END;
    END;
END $$;
TABLE sp_failing;
SELECT * FROM sp_pages WHERE page = '/b';

-- A hundred nested savepoints, every tenth of which is rolled back.
CREATE FUNCTION sp_nest(depth int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sp_clicks VALUES ('/nested', depth);
    BEGIN
        IF depth > 1 THEN
            PERFORM sp_nest(depth - 1);
        END IF;
        IF depth % 10 = 0 THEN
            RAISE EXCEPTION 'back to %', depth;
        END IF;
    EXCEPTION WHEN raise_exception THEN
        INSERT INTO sp_clicks VALUES ('/caught', depth);
    END;
END $$;
SELECT sp_nest(100);
SELECT * FROM sp_pages WHERE page IN ('/nested', '/caught') ORDER BY page;
SELECT sp_nest(95);
SELECT * FROM sp_pages WHERE page IN ('/nested', '/caught') ORDER BY page;
SELECT page, count(*), avg(ms)::numeric(9,2) FROM sp_clicks WHERE page IN ('/nested', '/caught') GROUP BY page ORDER BY page;

-- ALTER: columns, names, schema, owner.
CREATE SCHEMA sp_schema;
CREATE ROLE regress_eddy_sp;
GRANT USAGE ON SCHEMA sp_schema, public TO regress_eddy_sp;
BEGIN;
SAVEPOINT one;
ALTER TABLE sp_clicks RENAME TO sp_visits;
ALTER TABLE sp_visits RENAME COLUMN ms TO duration;
ALTER VIEW sp_pages RENAME TO sp_per_page;
ALTER VIEW sp_per_page RENAME COLUMN avg TO mean;
ALTER VIEW sp_per_page SET SCHEMA sp_schema;
ALTER TABLE sp_visits ADD COLUMN country text DEFAULT 'NO';
INSERT INTO sp_visits VALUES ('/c', 1, 'SE');
SELECT * FROM sp_schema.sp_per_page WHERE page = '/c';
ROLLBACK TO one;
INSERT INTO sp_clicks VALUES ('/c', 2);
SELECT * FROM sp_pages WHERE page = '/c';
SAVEPOINT two;
ALTER TABLE sp_clicks RENAME COLUMN ms TO duration;
ALTER TABLE sp_clicks ADD COLUMN country text DEFAULT 'NO';
RELEASE two;
INSERT INTO sp_clicks (page, duration) VALUES ('/c', 4);
SAVEPOINT three;
ALTER TABLE sp_clicks DROP COLUMN country;
INSERT INTO sp_clicks VALUES ('/c', 100);
ROLLBACK TO three;
INSERT INTO sp_clicks VALUES ('/c', 6, 'FI');
SELECT * FROM sp_pages WHERE page = '/c';
COMMIT;
INSERT INTO sp_clicks VALUES ('/c', 8, 'FI');
SELECT * FROM sp_pages WHERE page = '/c';
-- the type of a used column cannot be changed, and the failure is undone with its savepoint
BEGIN;
SAVEPOINT one;
\set VERBOSITY terse
ALTER TABLE sp_clicks ALTER COLUMN duration TYPE bigint;
\set VERBOSITY default
ROLLBACK TO one;
INSERT INTO sp_clicks VALUES ('/d', 1, 'FI');
COMMIT;
SELECT * FROM sp_pages WHERE page = '/d';
BEGIN;
SAVEPOINT one;
ALTER VIEW sp_pages OWNER TO regress_eddy_sp;
ROLLBACK TO one;
INSERT INTO sp_clicks VALUES ('/d', 3, 'FI');
COMMIT;
SELECT * FROM sp_pages WHERE page = '/d';

-- DROP of views and streams, rolled back and released.
BEGIN;
SAVEPOINT one;
SELECT eddy.drop_continuous_view('sp_pages');
INSERT INTO sp_clicks VALUES ('/e', 1, 'FI');
ROLLBACK TO one;
INSERT INTO sp_clicks VALUES ('/e', 3, 'FI');
SAVEPOINT two;
SET LOCAL client_min_messages = warning;
DROP TABLE sp_clicks CASCADE;
SELECT count(*) FROM sp_objects;
ROLLBACK TO two;
INSERT INTO sp_clicks VALUES ('/e', 5, 'FI');
SELECT * FROM sp_pages WHERE page = '/e';
SAVEPOINT three;
SELECT eddy.drop_continuous_view('sp_staged');
RELEASE three;
INSERT INTO sp_clicks VALUES ('/e', 7, 'FI');
COMMIT;
SELECT * FROM sp_pages WHERE page = '/e';
SELECT * FROM sp_objects ORDER BY 1, 2;

-- A view that is dropped and recreated under the same name, in one transaction with savepoints.
BEGIN;
INSERT INTO sp_clicks VALUES ('/f', 1, 'FI');
SELECT eddy.drop_continuous_view('sp_pages');
SELECT eddy.create_continuous_view('sp_pages', 'SELECT page, max(duration) FROM sp_clicks GROUP BY page');
INSERT INTO sp_clicks VALUES ('/f', 2, 'FI');
SAVEPOINT one;
SELECT eddy.drop_continuous_view('sp_pages');
SELECT eddy.create_continuous_view('sp_pages', 'SELECT page, min(duration) FROM sp_clicks GROUP BY page');
INSERT INTO sp_clicks VALUES ('/f', 9, 'FI');
TABLE sp_pages;
ROLLBACK TO one;
INSERT INTO sp_clicks VALUES ('/f', 3, 'FI');
TABLE sp_pages;
COMMIT;
TABLE sp_pages;

-- Functions of a view that are replaced in a savepoint.
CREATE FUNCTION sp_section(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT substr($1, 1, 2) $$;
SELECT eddy.create_continuous_view('sp_sections', 'SELECT sp_section(page), count(*) FROM sp_clicks GROUP BY 1');
BEGIN;
SAVEPOINT one;
CREATE OR REPLACE FUNCTION sp_section(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'wrong' $$;
INSERT INTO sp_clicks VALUES ('/abc', 1, 'FI');
TABLE sp_sections;
ROLLBACK TO one;
INSERT INTO sp_clicks VALUES ('/abc', 1, 'FI');
TABLE sp_sections;
COMMIT;
INSERT INTO sp_clicks VALUES ('/abc', 1, 'FI');
TABLE sp_sections;

-- A cursor that remains open keeps its snapshot.
BEGIN;
DECLARE pages CURSOR FOR SELECT * FROM sp_sections;
FETCH pages;
SAVEPOINT one;
INSERT INTO sp_clicks VALUES ('/abc', 1, 'FI');
FETCH pages;
ROLLBACK TO one;
MOVE BACKWARD ALL IN pages;
FETCH pages;
COMMIT;
TABLE sp_sections;

SET client_min_messages = warning;
DROP TABLE sp_clicks CASCADE;
DROP FUNCTION sp_section, sp_nest;
SELECT count(*) FROM sp_objects;
DROP VIEW sp_objects;
DROP SCHEMA sp_schema;
DROP OWNED BY regress_eddy_sp;
DROP ROLE regress_eddy_sp;
