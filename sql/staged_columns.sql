--
-- Streams that store only the columns that are needed: argument staged_columns
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
\set SHOW_CONTEXT never

CREATE DOMAIN grade AS int CHECK (VALUE > 0);
CREATE UNLOGGED TABLE visits (
    at timestamptz,
    page text NOT NULL,
    took int CHECK (took >= 0),
    source text DEFAULT 'web',
    price numeric,
    tax numeric GENERATED ALWAYS AS (price / 5) STORED,
    level grade,
    browser text,
    "Referrer" text,
    country text,
    ip inet);

-- Columns in the list must exist.
SELECT eddy.create_stream('visits', event_time => 'at', staged_columns => '{browsr}');
SELECT eddy.create_stream('visits', event_time => 'at', staged_columns => '{browser,NULL}');

-- By default all columns are stored.
SELECT eddy.create_stream('visits', event_time => 'at');
CREATE VIEW stored AS SELECT staged_columns, omitted_columns FROM eddy.streams WHERE stream = 'visits'::regclass;
TABLE stored;

-- With a list, those that the table itself needs, and those in the list.
SELECT eddy.set_staged_columns('visits', '{ip}');
TABLE stored;
SELECT eddy.set_staged_columns('visits', '{}');
TABLE stored;

-- Views need the columns that they read, also if they do not show them, and at any depth.
SELECT eddy.create_continuous_view('by_country', 'SELECT country, count(*) FROM visits GROUP BY country');
SELECT omitted_columns FROM stored;
SELECT eddy.create_continuous_view('by_browser', $$
    SELECT count(*) FROM (SELECT v.page, browser AS b FROM visits v WHERE ip <<= '10.0.0.0/8') x WHERE b <> '' $$);
SELECT omitted_columns FROM stored;
DROP VIEW by_browser;
SELECT omitted_columns FROM stored;
-- a join makes only the columns necessary that the query mentions
CREATE TABLE countries (country text, continent text);
SELECT eddy.replace_continuous_view('by_country', 'SELECT country, count(*) FROM visits JOIN countries USING (country) GROUP BY country', start => 'now');
SELECT omitted_columns FROM stored;
SELECT eddy.replace_continuous_view('by_country', 'SELECT country, count(*), browser FROM visits GROUP BY country, browser', start => 'now');
SELECT omitted_columns FROM stored;
-- views that are not maintained still need theirs
SELECT eddy.pause('by_country');
SELECT omitted_columns FROM stored;
DROP VIEW by_country;
-- all columns
SELECT eddy.create_continuous_view('last_visit', 'SELECT page, max(visits::text) FROM visits GROUP BY page');
SELECT omitted_columns FROM stored;
DROP VIEW last_visit;

-- Policies of row-level security need columns, too, also in sub-selects.
CREATE POLICY by_level ON visits USING (EXISTS (SELECT FROM countries c WHERE c.country = visits.country));
SELECT omitted_columns FROM stored;
ALTER TABLE visits ENABLE ROW LEVEL SECURITY;
SELECT omitted_columns FROM stored;
ALTER TABLE visits DISABLE ROW LEVEL SECURITY;
DROP POLICY by_level ON visits;

-- A list follows renames; a column that was dropped is not missed.
SELECT eddy.set_staged_columns('visits', '{browser,Referrer,ip}');
ALTER TABLE visits RENAME browser TO agent;
ALTER TABLE visits DROP ip, ADD city text, ALTER country SET NOT NULL;
TABLE stored;

-- Rows of users have all columns.
INSERT INTO visits (at, page, country, city) VALUES ('2026-01-01Z', '/', 'AT', 'Linz');
SELECT country, city FROM visits;
SELECT eddy.create_continuous_view('by_city', 'SELECT city, count(*) FROM visits GROUP BY city', start => 'staged');
TABLE by_city;

-- Views over several streams.
CREATE UNLOGGED TABLE taps (at timestamptz, screen text, city text, weight int);
SELECT eddy.create_stream('taps', event_time => 'at', staged_columns => '{}');
SELECT eddy.create_continuous_view('everywhere', $$
    SELECT p, count(*) FROM (SELECT page AS p FROM visits UNION ALL SELECT screen FROM taps) u GROUP BY p $$);
SELECT stream, omitted_columns FROM eddy.streams ORDER BY stream::text;

-- Only the owner of a stream may change the list; NULL: all columns.
CREATE ROLE regress_eddy_stager;
SET ROLE regress_eddy_stager;
SELECT eddy.set_staged_columns('taps', '{weight}');
RESET ROLE;
SELECT eddy.set_staged_columns('countries', '{}');
SELECT eddy.set_staged_columns(NULL, '{}');
SELECT eddy.set_staged_columns('taps', '{wieght}');
SELECT eddy.set_staged_columns('taps', NULL);
SELECT staged_columns, omitted_columns FROM eddy.streams WHERE stream = 'taps'::regclass;

DROP ROLE regress_eddy_stager;
DROP TABLE visits, taps CASCADE;
DROP TABLE countries;
DROP DOMAIN grade;
