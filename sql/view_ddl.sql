-- DDL on streams and continuous views works as on any tables and views.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE ROLE regress_eddy_ann;
CREATE ROLE regress_eddy_bob;
CREATE SCHEMA ddl_test;
CREATE SCHEMA ddl_other;
SET search_path = ddl_test, public;

CREATE UNLOGGED TABLE clicks (page text, note text, ms int, at timestamptz);
SELECT eddy.create_stream('clicks', event_time => 'at');
SELECT eddy.create_continuous_view('per_page', 'SELECT page, count(*), sum(ms) AS ms FROM clicks GROUP BY page');
INSERT INTO clicks (page, ms, at) VALUES ('/', 10, now());

-- Renaming streams, views, columns and schemas.
ALTER TABLE clicks RENAME TO page_clicks;
ALTER TABLE page_clicks RENAME COLUMN ms TO duration;
ALTER TABLE page_clicks RENAME COLUMN at TO clicked_at;
ALTER VIEW per_page RENAME TO pages;
ALTER VIEW pages RENAME COLUMN ms TO total_ms;
ALTER VIEW pages SET SCHEMA ddl_other;
INSERT INTO page_clicks (page, duration, clicked_at) VALUES ('/', 5, now());
TABLE ddl_other.pages;
SELECT stream, event_time FROM eddy.streams WHERE stream = 'page_clicks'::regclass;
SELECT view, stream, pg_get_viewdef('ddl_other.pages'::regclass) ~ 'total_ms' AS renamed
FROM eddy.continuous_views WHERE stream = 'page_clicks'::regclass;

-- New columns can be used immediately; used columns cannot be dropped.
ALTER TABLE page_clicks ADD COLUMN country text DEFAULT 'NO';
SELECT eddy.create_continuous_view('countries', 'SELECT country, count(*) FROM page_clicks GROUP BY country');
INSERT INTO page_clicks (page, duration) VALUES ('/a', 1);
INSERT INTO page_clicks VALUES ('/a', NULL, 1, now(), 'SE');
SELECT * FROM countries ORDER BY country;
ALTER TABLE page_clicks DROP COLUMN country;
ALTER TABLE page_clicks DROP COLUMN clicked_at;
ALTER TABLE page_clicks DROP COLUMN note;
INSERT INTO page_clicks VALUES ('/b', 1, now(), 'SE');
SELECT * FROM ddl_other.pages ORDER BY page;
SELECT * FROM countries ORDER BY country;
ALTER TABLE page_clicks ALTER COLUMN duration TYPE bigint;

-- A function of a view can be replaced: later rows use the new one.
CREATE FUNCTION section(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT substr($1, 1, 2) $$;
SELECT eddy.create_continuous_view('sections', 'SELECT section(page), count(*) FROM page_clicks GROUP BY 1');
INSERT INTO page_clicks VALUES ('/abc', 1, now(), 'SE');
CREATE OR REPLACE FUNCTION section(text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT substr($1, 1, 3) $$;
INSERT INTO page_clicks VALUES ('/abc', 1, now(), 'SE');
SELECT * FROM sections ORDER BY section;
DROP FUNCTION section(text);

-- The objects behind a view belong to the extension, regardless of the owner of the view.
ALTER VIEW ddl_other.pages OWNER TO regress_eddy_ann;
GRANT USAGE ON SCHEMA ddl_test TO regress_eddy_ann, regress_eddy_bob;
GRANT SELECT, TRIGGER ON page_clicks TO regress_eddy_ann;
SELECT c.relname, coalesce(e.extname, pg_get_userbyid(c.relowner)) AS owner FROM pg_class c
LEFT JOIN pg_extension e ON e.extname = 'pg_eddy' AND e.extowner = c.relowner
WHERE c.relnamespace = 'eddy'::regnamespace AND c.relname IN ('_per_page_def', '_per_page_state') ORDER BY 1;
INSERT INTO page_clicks VALUES ('/c', 1, now(), 'SE');
SELECT * FROM ddl_other.pages WHERE page = '/c';
REASSIGN OWNED BY regress_eddy_ann TO regress_eddy_bob;
GRANT SELECT, TRIGGER ON page_clicks TO regress_eddy_bob;
SELECT c.relname, coalesce(e.extname, pg_get_userbyid(c.relowner)) AS owner FROM pg_class c
LEFT JOIN pg_extension e ON e.extname = 'pg_eddy' AND e.extowner = c.relowner
WHERE c.oid IN ('ddl_other.pages'::regclass, 'eddy._per_page_def'::regclass, 'eddy._per_page_state'::regclass) ORDER BY 1;
INSERT INTO page_clicks VALUES ('/c', 1, now(), 'SE');
SELECT * FROM ddl_other.pages WHERE page = '/c';

-- GRANT and COMMENT.
GRANT SELECT ON ddl_other.pages TO regress_eddy_ann;
GRANT USAGE ON SCHEMA ddl_other TO regress_eddy_ann;
COMMENT ON VIEW ddl_other.pages IS 'clicks of each page';
SET ROLE regress_eddy_ann;
SELECT count(*) > 0 AS readable FROM ddl_other.pages;
DELETE FROM ddl_other.pages;
RESET ROLE;

-- Dropping, by all commands.
SELECT eddy.drop_continuous_view('sections');
CREATE VIEW on_top AS SELECT count FROM countries;
DROP VIEW countries;
SELECT eddy.drop_continuous_view('countries');
SET client_min_messages = warning;
DROP VIEW countries CASCADE;
SELECT view FROM eddy.continuous_views WHERE stream = 'page_clicks'::regclass;
DROP SCHEMA ddl_other CASCADE;
SELECT view FROM eddy.continuous_views WHERE stream = 'page_clicks'::regclass;
SELECT eddy.create_continuous_view('one', 'SELECT count(*) FROM page_clicks');
DROP TABLE eddy._one_state;
RESET client_min_messages;
SELECT eddy.drop_stream('page_clicks');
SELECT eddy.drop_continuous_view('page_clicks');
DROP VIEW one;
SELECT eddy.drop_stream('page_clicks');
SELECT count(*) FROM eddy.streams WHERE stream::text = 'page_clicks';
SELECT relname FROM pg_class WHERE relnamespace = 'eddy'::regnamespace AND relname ~ '_(clicks|one|per_page|sections|countries)_';

SET client_min_messages = warning;
DROP SCHEMA ddl_test CASCADE;
DROP OWNED BY regress_eddy_ann, regress_eddy_bob CASCADE;
DROP ROLE regress_eddy_ann, regress_eddy_bob;
