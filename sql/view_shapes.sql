-- Queries of continuous views: whatever is evaluated row by row, and their grouping.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET timezone = 'UTC';
\set SHOW_CONTEXT never
CREATE SCHEMA shapes;
SET search_path = shapes;
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/test/sql/functions.sql

CREATE UNLOGGED TABLE hits (id int, page text, tags text[], ms numeric, doc jsonb, at timestamptz);
CREATE TABLE pages (page text PRIMARY KEY, site text);
INSERT INTO pages VALUES ('home', 'a'), ('cart', 'a'), ('blog', 'b');
CREATE VIEW sites AS SELECT site, count(*) AS pages FROM pages GROUP BY site;
CREATE TABLE parts (page text, part int) PARTITION BY LIST (page);
CREATE TABLE parts_home PARTITION OF parts FOR VALUES IN ('home');
CREATE TABLE parts_other PARTITION OF parts DEFAULT;
INSERT INTO parts VALUES ('home', 1), ('home', 2), ('blog', 1);
CREATE EXTENSION file_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE cities (page text, city text, size int) SERVER files
  OPTIONS (program $$printf 'home,Oslo,3\nblog,Rome,5\nblog,Bern,1\n'$$, format 'csv');
SELECT eddy.create_stream('hits', event_time => 'at', delay => '1 day');

CREATE TABLE queries (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, query text);

-- Sub-selects in FROM, nested, with windows, functions and joins.
INSERT INTO queries (query) VALUES
($$SELECT k, count(*), sum(ms) FROM (SELECT upper(page) AS k, h.* FROM hits h WHERE ms > 3) q GROUP BY k$$),
($$SELECT q.k, q.window_start, count(*) FROM (
     SELECT upper(page) AS k, w.* FROM hits, eddy.tumble(at, '1 min') w WHERE ms > 3) q
   GROUP BY q.k, q.window_start$$),
($$SELECT q.*, count(*) FROM (SELECT page, id % 3 AS m FROM (SELECT * FROM hits WHERE id > 2) i) q GROUP BY q.page, q.m$$),
($$SELECT site, count(*) FROM (SELECT h.page AS p, h.ms FROM hits h) q LEFT JOIN pages ON pages.page = q.p
   WHERE ms > 1 GROUP BY site$$),
($$SELECT to_jsonb(q) AS j, count(*) FROM (SELECT page, id % 2 AS odd FROM hits) q GROUP BY to_jsonb(q)$$),
($$SELECT page, count(*) FROM (SELECT page, tags FROM hits) a JOIN pages USING (page), unnest(a.tags) t GROUP BY page$$),
($$SELECT (SELECT max(site) FROM pages p WHERE p.page = q.k) AS site, count(*) FROM (SELECT lower(page) AS k FROM hits) q
   GROUP BY 1$$),
-- WITH: a query that reads the stream can be used once, others can contain anything.
($$WITH a AS (SELECT id, page, ms * 2 AS twice FROM hits WHERE id % 2 = 0),
        b AS (SELECT page, twice + 1 AS more FROM a WHERE twice > 4)
   SELECT page, sum(more), max(more) FROM b GROUP BY page$$),
($$WITH s AS (SELECT site, count(*) AS n FROM pages GROUP BY site)
   SELECT s.n, count(*) FROM hits JOIN pages USING (page) JOIN s USING (site) GROUP BY s.n$$),
($$WITH RECURSIVE up(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM up WHERE n < 3)
   SELECT n, count(*) FROM hits JOIN up ON id % 4 = n GROUP BY n$$),
($$WITH a AS MATERIALIZED (SELECT page, id FROM hits), p AS (SELECT page FROM pages WHERE site = 'a')
   SELECT q.page, count(*) FROM (WITH b AS (SELECT * FROM a WHERE page IN (SELECT page FROM p)) SELECT page FROM b) q GROUP BY 1$$),
-- Sub-selects that do not read the stream itself are executed for each row, or once for each batch.
($$SELECT tag, n, count(*) FROM hits, LATERAL (SELECT t.tag, t.n FROM unnest(tags) WITH ORDINALITY t(tag, n) WHERE t.tag <> 'x') u
   GROUP BY tag, n$$),
($$SELECT x.best, count(*) FROM hits, LATERAL (SELECT max(t) AS best FROM unnest(tags) t) x GROUP BY x.best$$),
($$SELECT x.n, count(*) FROM hits h LEFT JOIN (SELECT page, count(*) AS n FROM parts GROUP BY page) x USING (page) GROUP BY x.n$$),
($$SELECT page, count(*) FROM hits h WHERE page IN (SELECT page FROM pages WHERE site = 'a')
      OR EXISTS (SELECT FROM pages p WHERE p.page = h.page AND p.site = 'b') GROUP BY page$$),
-- Set-returning functions, in FROM and in the select list.
($$SELECT tag, count(*) FROM (SELECT unnest(tags) AS tag, ms FROM hits) q WHERE ms > 2 GROUP BY tag$$),
($$SELECT unnest(tags) AS tag, upper(unnest(tags)), count(*) FROM hits GROUP BY 1, unnest(tags)$$),
($$SELECT r.a, count(*), sum(r.b) FROM hits, jsonb_to_recordset(doc) AS r(a text, b int) GROUP BY r.a$$),
($$SELECT m[1] AS first, count(*) FROM hits, regexp_matches(page, '[a-m]', 'g') m GROUP BY m[1]$$),
($$SELECT d.value ->> 'a' AS a, count(*) FROM hits LEFT JOIN LATERAL jsonb_array_elements(doc) d ON true GROUP BY 1$$),
-- Joins with a partitioned table, a view, VALUES, a foreign table, and several at once.
($$SELECT p.site, v.pages, parts.part, count(*) FROM hits JOIN pages p USING (page) JOIN sites v USING (site)
   LEFT JOIN parts ON parts.page = hits.page GROUP BY p.site, v.pages, parts.part$$),
($$SELECT v.name, count(*) FROM hits JOIN (VALUES (0, 'even'), (1, 'odd')) v(m, name) ON id % 2 = v.m GROUP BY v.name$$),
($$SELECT f.city, count(*), sum(f.size) FROM hits JOIN cities f USING (page) GROUP BY f.city$$),
-- UNION ALL of branches over the same stream: each row goes through all branches.
($$SELECT kind, sum(v) FROM (SELECT 'id' AS kind, id::numeric AS v FROM hits WHERE id > 3
                             UNION ALL SELECT 'ms', ms FROM hits) u GROUP BY kind$$),
($$SELECT u.k, u.window_start, count(*) FROM (
     SELECT page AS k, w.window_start FROM hits, eddy.tumble(at, '1 min') w
     UNION ALL
     SELECT p.site, w.window_start FROM hits h LEFT JOIN pages p ON p.page = h.page, eddy.hop(h.at, '1 min', '2 min') w
     WHERE h.ms > 2) u
   GROUP BY u.k, u.window_start$$),
($$WITH h AS (SELECT page, ms FROM hits)
   SELECT page, count(*), sum(ms) FROM (SELECT * FROM h WHERE ms > 2 UNION ALL SELECT page, -ms FROM h) u GROUP BY page$$),
-- SELECT DISTINCT.
($$SELECT DISTINCT page, id % 2 AS odd FROM hits$$),
($$SELECT DISTINCT unnest(tags) FROM hits$$),
($$SELECT DISTINCT page, count(*) FROM hits GROUP BY page$$),
($$SELECT DISTINCT u.x FROM (SELECT page AS x FROM hits UNION ALL SELECT unnest(tags) FROM hits) u$$),
-- GROUPING SETS, ROLLUP and CUBE: NULL as a value and as a total are different groups.
($$SELECT page, id % 2 AS odd, GROUPING(page), GROUPING(page, id % 2) AS g, count(*), sum(ms) FROM hits GROUP BY ROLLUP (page, id % 2)$$),
($$SELECT page, id % 2 AS odd, count(*), sum(id % 2) FROM hits GROUP BY CUBE (page, id % 2) HAVING count(*) > 1$$),
($$SELECT w.window_start, page, lower(page) || '!', GROUPING(page), count(*) FROM hits, eddy.tumble(at, '1 min') w
   GROUP BY w.window_start, GROUPING SETS ((page), (), (page))$$),
($$SELECT page, count(*) FROM hits GROUP BY GROUPING SETS ((page)) HAVING GROUPING(page) = 0$$),
($$SELECT 1 AS one, page, count(*), coalesce(min(id), 1), sum(count(*) * 1) OVER () FROM hits GROUP BY ROLLUP (1, page) HAVING count(*) > 1$$),
($$SELECT tag, site, count(*) FROM (SELECT unnest(tags) AS tag, page FROM hits) h LEFT JOIN pages USING (page)
   GROUP BY GROUPING SETS ((tag, site), (tag), (site))$$),
($$SELECT q.a, q.b, GROUPING(q.a, q.b), count(*) FROM (SELECT page AS a, page AS b FROM hits) q GROUP BY ROLLUP (q.a, q.b)$$),
-- Without aggregates and GROUP BY, each row appends the rows of its result.
($$SELECT upper(page) AS page, ms, w.window_start FROM hits, eddy.tumble(at, '1 min') w WHERE ms <> 4$$),
($$SELECT h.id, unnest(tags) AS tag, generate_series(1, id % 3) AS n FROM hits h$$),
($$SELECT id, page AS p FROM hits UNION ALL SELECT -id, upper(page) FROM hits WHERE id > 3$$),
($$SELECT h.id, p.site, parts.part FROM hits h LEFT JOIN pages p USING (page) LEFT JOIN parts ON parts.page = h.page$$),
($$SELECT k, (jsonb_each(doc -> 0)).key AS key, (jsonb_each(doc -> 0)).value AS value FROM (SELECT page AS k, doc FROM hits) q$$),
($$SELECT * FROM hits$$);

DO $$ BEGIN PERFORM eddy.create_continuous_view('v' || n, query) FROM queries; END $$;
INSERT INTO hits VALUES
  (1, 'home', '{x,y}', 5, '[{"a": "p", "b": 1}]', '2026-01-01 00:00:10Z'),
  (2, 'cart', '{y}', 2, '[]', '2026-01-01 00:00:50Z');
INSERT INTO hits
SELECT g, (ARRAY['home', 'cart', 'blog', 'none', NULL])[1 + g % 5],
       (ARRAY['{x}', '{y,z}', '{}', NULL, '{z,z,x}'])[1 + g % 5]::text[], g % 7,
       CASE WHEN g % 2 = 0 THEN '[{"a": "p", "b": 1}, {"a": "q", "b": 2}]'::jsonb END,
       '2026-01-01Z'::timestamptz + g * interval '17 s'
FROM generate_series(3, 40) g;
COPY hits FROM stdin;
41	home	{y,x}	1	[{"a": "r"}]	2026-01-01 00:00:20+00
42	\N	\N	\N	\N	2026-01-01 00:00:00+00
\.
BEGIN;
INSERT INTO hits SELECT * FROM hits;
SAVEPOINT a;
INSERT INTO hits VALUES (0, 'lost', '{lost}', 1, '[]', '2026-01-01Z');
ROLLBACK TO a;
INSERT INTO hits VALUES (50, 'blog', '{y}', 1, '[]', '2026-01-01Z');
COMMIT;

-- Each view is compared with its query over all rows, in both directions.
SELECT n, d.*, query FROM queries, compare('v' || n, query) d WHERE rows = 0 OR differences <> 0 ORDER BY n;
SELECT count(*) AS compared, sum(rows) AS rows FROM queries, compare('v' || n, query);

-- They are rebuilt from the rows that the stream holds.
DO $$ BEGIN PERFORM eddy.pause('v' || n::text) FROM queries; PERFORM eddy.resume(('v' || n)::regclass) FROM queries; END $$;
SELECT count(*) AS compared, sum(rows) AS rows, sum(differences) AS differences FROM queries, compare('v' || n, query);

-- Groups of grouping sets are deleted like others.
SELECT eddy.create_continuous_view('totals', 'SELECT page, count(*) FROM hits GROUP BY ROLLUP (page)', start => 'staged');
DELETE FROM totals WHERE page IS NULL;
SELECT * FROM totals ORDER BY page;

-- The set without columns has its row from the creation on, as a query without GROUP BY does.
CREATE UNLOGGED TABLE empty (page text, ms int);
SELECT eddy.create_stream('empty');
SELECT eddy.create_continuous_view('empty_totals', $$
    SELECT page, GROUPING(page) AS total, count(*), sum(ms), array_agg(ms) AS list FROM empty e LEFT JOIN pages USING (page)
    GROUP BY CUBE (page, ms) $$);
SELECT eddy.create_continuous_view('empty_keys', 'SELECT page, GROUPING(page) FROM empty GROUP BY GROUPING SETS ((page), (), ()) HAVING true');
SELECT eddy.create_continuous_view('empty_having', 'SELECT page, count(*) FROM empty GROUP BY ROLLUP (page) HAVING count(*) > 0');
SELECT * FROM empty_totals;
SELECT * FROM empty_keys;
SELECT * FROM empty_having;
INSERT INTO empty VALUES ('home', 1), (NULL, 2);
SELECT * FROM empty_totals ORDER BY page, count, total, sum, list::text;
SELECT * FROM empty_having ORDER BY page, count;
SELECT eddy.pause('empty_totals');
SELECT eddy.resume('empty_totals');
SELECT count(*) FROM (TABLE empty_totals EXCEPT ALL
    SELECT page, GROUPING(page), count(*), sum(ms), array_agg(ms) FROM empty e LEFT JOIN pages USING (page) GROUP BY CUBE (page, ms)) d;

-- Windows that are grouped by in a sub-select or with grouping sets close. A late row is stored once for each window.
CREATE UNLOGGED TABLE visits (id int, tags text[], at timestamptz);
SELECT eddy.create_stream('visits', event_time => 'at');
SELECT eddy.create_continuous_view('closing', $$
    SELECT q.tag, q.window_start, count(*) FROM (
        SELECT unnest(tags) AS tag, w.* FROM visits, eddy.tumble(at, '1 min') w) q
    GROUP BY q.window_start, q.window_end, ROLLUP (q.tag) $$, emit => 'on_close', late => 'keep');
INSERT INTO visits VALUES (1, '{a,b}', '2026-01-01 00:00:10Z'), (2, '{a}', '2026-01-01 00:00:20Z');
SELECT * FROM closing ORDER BY tag;
INSERT INTO visits VALUES (3, '{a,b}', '2026-01-01 00:02:00Z');
INSERT INTO visits VALUES (4, '{a,b,c}', '2026-01-01 00:00:59Z');
SELECT * FROM closing ORDER BY tag;
SELECT view, row_data ->> 'id' AS id, window_start FROM eddy.late_rows WHERE view = 'closing'::regclass;

-- Sessions, in a sub-select, with grouping sets and with DISTINCT.
CREATE UNLOGGED TABLE taps (id int, k text, at timestamptz);
SELECT eddy.create_stream('taps', event_time => 'at', delay => '1 day');
SELECT eddy.create_continuous_view('sessions', $$
    SELECT q.k, q.window_start, q.window_end, count(*) FROM (SELECT upper(k) AS k, w.* FROM taps, eddy.session(at, '1 min') w) q
    GROUP BY 1, 2, 3 $$);
SELECT eddy.create_continuous_view('session_totals', $$
    SELECT k, w.window_start, w.window_end, count(*) FROM taps, eddy.session(at, '1 min') w
    GROUP BY w.window_start, w.window_end, ROLLUP (k) $$);
SELECT eddy.create_continuous_view('session_bounds', $$
    SELECT DISTINCT k, w.window_start, w.window_end FROM taps, eddy.session(at, '1 min') w $$);
INSERT INTO taps VALUES (1, 'a', '2026-01-01 00:00Z'), (2, 'b', '2026-01-01 00:00:30Z'), (3, 'a', '2026-01-01 00:05Z');
INSERT INTO taps VALUES (4, 'b', '2026-01-01 00:01:20Z'), (5, 'A', '2026-01-01 00:05:10Z');
SELECT * FROM sessions ORDER BY k COLLATE "C", window_start;
SELECT * FROM session_totals ORDER BY k COLLATE "C", window_start;
SELECT * FROM session_bounds ORDER BY k COLLATE "C", window_start;

-- A row on which an expression of a sub-select fails is left out; WHERE is evaluated before.
SELECT eddy.create_continuous_view('shares', $$
    SELECT q.id, sum(q.share) FROM (SELECT id % 2 AS id, 100 / ms AS share FROM hits WHERE page <> 'free') q GROUP BY q.id $$);
INSERT INTO hits (id, page, ms, at)
VALUES (1, 'home', 5, '2026-01-01Z'), (3, 'home', 0, '2026-01-01Z'), (4, 'free', 0, '2026-01-01Z'), (5, 'home', 10, '2026-01-01Z');
TABLE shares;
SELECT view, error, convert_from(payload, 'UTF8')::jsonb ->> 'id' AS id FROM eddy.dead_letters WHERE stream = 'hits'::regclass;

-- Queries that cannot be maintained are refused, with the reason and a hint.
CREATE UNLOGGED TABLE others (id int);
SELECT eddy.create_stream('others');
\pset format unaligned
\pset tuples_only on
SELECT q || E'\n    ' || refusal(q) FROM (VALUES
  ('SELECT count(*) FROM (SELECT id FROM hits LIMIT 3) q'),
  ('SELECT count(*) FROM (SELECT id FROM hits ORDER BY id) q'),
  ('SELECT count(*) FROM (SELECT id, lag(ms) OVER (ORDER BY id) FROM hits) q'),
  ('WITH i AS (SELECT id FROM hits) SELECT count(*) FROM i a JOIN i b USING (id)'),
  ('SELECT count(*) FROM (SELECT * FROM others) o, (SELECT * FROM hits) i'),
  ('SELECT count(*) FROM pages LEFT JOIN (SELECT page FROM hits) i USING (page)'),
  ('WITH RECURSIVE r AS (SELECT id FROM hits UNION ALL SELECT id + 1 FROM r WHERE id < 10) SELECT count(*) FROM r'),
  ('SELECT count(*) FROM (WITH RECURSIVE r AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM r WHERE id < 9) SELECT id FROM hits JOIN r USING (id)) q'),
  ('SELECT page FROM hits UNION SELECT page FROM pages'),
  ('SELECT page FROM hits UNION ALL (SELECT page FROM hits UNION SELECT upper(page) FROM hits)'),
  ('SELECT page FROM pages UNION SELECT page FROM pages'),
  ('SELECT page FROM hits UNION ALL SELECT page FROM pages'),
  ('SELECT page FROM hits EXCEPT SELECT page FROM pages'),
  ('SELECT count(*) FROM hits UNION ALL SELECT count(*) FROM hits'),
  ('SELECT page FROM hits UNION ALL (SELECT i.page FROM pages LEFT JOIN hits i USING (page))'),
  ('SELECT id FROM hits UNION ALL (SELECT a.id FROM hits a, hits b)'),
  ('SELECT 1 FROM hits GROUP BY ()'),
  ('SELECT 1 FROM hits HAVING true'),
  ('SELECT generate_series(1, generate_series(1, 2)) FROM hits'),
  ('SELECT id FROM hits FOR UPDATE'),
  ('SELECT k FROM (SELECT random() AS k FROM hits) q'),
  ('SELECT k FROM (SELECT now() AS k FROM hits) q'),
  ('SELECT k FROM (SELECT ctid AS k FROM hits) q'),
  ('SELECT q.id FROM (SELECT id FROM hits WHERE id IN (SELECT id FROM others)) q'),
  ('SELECT count(*) FROM (SELECT id, ms FROM hits) q GROUP BY q'),
  ('SELECT count(*) FROM (SELECT * FROM hits TABLESAMPLE system (10)) q')) r(q);
\pset format aligned
\pset tuples_only off

SET client_min_messages = warning;
DELETE FROM eddy.dead_letters WHERE stream = 'hits'::regclass;
DROP SCHEMA shapes CASCADE;
