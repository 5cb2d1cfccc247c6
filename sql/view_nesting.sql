-- Sub-selects, UNION ALL and functions nested in each other, in unusual places.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET timezone = 'UTC';
\set SHOW_CONTEXT never
CREATE SCHEMA nesting;
SET search_path = nesting;
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/test/sql/functions.sql

CREATE UNLOGGED TABLE s (id int, k text, g numeric, v float8, tags text[], at timestamptz);
SELECT eddy.create_stream('s');
CREATE TABLE names (k text, name text);
INSERT INTO names VALUES ('a', 'Anna'), ('b', 'Bert'), ('B', 'Bo');
CREATE TABLE queries (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, query text);
INSERT INTO queries (query) VALUES
('SELECT k FROM s UNION ALL SELECT x FROM (SELECT upper(k) AS x FROM s WHERE id > 5 UNION ALL (SELECT lower(k) FROM s UNION ALL SELECT unnest(tags) FROM s)) q WHERE x <> ''A'''),
('WITH a AS (SELECT k, id FROM s), b AS (SELECT * FROM a UNION ALL SELECT k, -id FROM a) SELECT k, sum(id), count(*) FROM b WHERE id <> 3 GROUP BY k'),
('SELECT n.name, q.id FROM names n, LATERAL (SELECT i.id FROM s i WHERE i.k = n.k) q'),
('SELECT n.name, q.id, q.z FROM names n JOIN LATERAL (SELECT i.id, n.name || i.k AS z FROM s i WHERE i.k = n.k AND i.id > 2) q ON q.id > 4'),
('SELECT q.a, count(*) FROM names n CROSS JOIN LATERAL (SELECT length(n.name) + u.id AS a FROM (SELECT id FROM s WHERE s.k = n.k UNION ALL SELECT id + 100 FROM s) u) q GROUP BY q.a'),
('SELECT n.name, q.id, q.x FROM names n, LATERAL (SELECT s.id, d.name AS x FROM s LEFT JOIN names d ON d.k = n.k AND d.k = s.k) q'),
('SELECT n.name, q.id, q.x FROM names n, LATERAL (SELECT s.id, d.name AS x FROM names d RIGHT JOIN s ON d.k = n.k AND d.k = s.k WHERE s.id > length(n.k)) q'),
('SELECT m.name, q.id, q.x FROM (names n JOIN names m ON m.k <> n.k) JOIN LATERAL (SELECT s.id, d.name AS x FROM s LEFT JOIN names d ON d.k = s.k AND d.name > n.name) q ON q.id % 2 = 0 AND m.k <> ''a'''),
('SELECT n.name, q.z, e.name AS e FROM names n, LATERAL (SELECT s.k || n.k AS z FROM s) q LEFT JOIN names e ON e.k || e.k = q.z'),
('SELECT n.name, q.id, q.x FROM names n, LATERAL (SELECT s.id, d.name AS x FROM s LEFT JOIN names d ON d.k = n.k AND d.k = s.k UNION ALL SELECT -s.id, n.name FROM s WHERE s.k = n.k) q'),
('SELECT (q).id, (q).k, count(*) FROM (SELECT s FROM s) x(q) GROUP BY (q).id, (q).k'),
('SELECT j.k, j.id, j.name FROM ((SELECT k, id FROM s) a JOIN names USING (k)) j WHERE j.id > 1'),
('SELECT q.k, q.n, count(*) FROM (SELECT k, (SELECT count(*) FROM names m WHERE m.k = s.k) AS n FROM s) q GROUP BY q.k, q.n'),
('SELECT q.k, (SELECT string_agg(m.name, q.k) FROM names m WHERE m.k = q.k) AS l FROM (SELECT lower(k) AS k, id FROM s) q'),
('SELECT x.t, y.t AS u, count(*) FROM s, unnest(tags) x(t), LATERAL (SELECT x.t || z AS t FROM unnest(s.tags) z) y GROUP BY 1, 2'),
('SELECT CASE WHEN q.odd THEN ''odd'' ELSE q.k END AS c, count(*) FILTER (WHERE q.odd), max(q.k) FROM (SELECT id % 2 = 1 AS odd, k FROM s) q GROUP BY q.odd, q.k'),
('SELECT q.k, r.name FROM (SELECT k, id FROM s WHERE id > 3) q LEFT JOIN (SELECT k, name FROM names ORDER BY name LIMIT 2) r USING (k)'),
('SELECT count(*) FROM (SELECT 1 AS one FROM s) q GROUP BY q.one'),
('SELECT q.one, q.two, sum(q.one) FROM (SELECT 1 AS one, NULL::text AS two FROM s) q GROUP BY GROUPING SETS ((q.one), (q.two), (q.one, q.two))'),
('SELECT t.* FROM s, jsonb_to_recordset(jsonb_build_array(jsonb_build_object(''a'', s.id))) AS t(a int, b text)'),
('SELECT k, id FROM s WHERE (k, id) IN (SELECT n.k, s.id FROM names n) AND NOT EXISTS (SELECT FROM names n WHERE n.k = s.k AND n.name > ''B'')'),
('SELECT DISTINCT ON (u.k) u.k, u.id FROM (SELECT k, id FROM s UNION ALL SELECT upper(k), id * 1000 + 1 FROM s) u ORDER BY u.k, u.id DESC'),
('SELECT k, x, y FROM (SELECT k, generate_series(1, 2) AS x, id FROM s) q, generate_series(q.x, 3) y WHERE id < 5'),
('SELECT unnest(tags), count(*) FROM s GROUP BY GROUPING SETS ((unnest(tags)), ())'),
('SELECT q.d, count(*) FROM (SELECT DISTINCT t AS d, k FROM s, unnest(tags) t) q GROUP BY q.d ORDER BY 2 DESC, 1 LIMIT 3'),
('SELECT k, count(*), array(SELECT name FROM names n WHERE n.k = s.k ORDER BY 1) FROM s GROUP BY k HAVING max(id) > 3 ORDER BY count(*), k LIMIT 4'),
('SELECT "K", "K_1" FROM (SELECT k, k, count(*), count(id) FROM s GROUP BY k) q("K", "K_1", c1, c2)'),
('SELECT * FROM (SELECT k AS a, k AS b, sum(v) AS c, sum(v) AS d FROM s GROUP BY k) q ORDER BY a'),
('SELECT sum(total) OVER (PARTITION BY g ORDER BY k) AS run FROM (SELECT k, g, sum(v) AS total FROM (SELECT * FROM s WHERE v IS NOT NULL) w GROUP BY k, g HAVING count(*) > 0) q');

DO $$ BEGIN PERFORM eddy.create_continuous_view('v' || n, query) FROM queries; END $$;
INSERT INTO s
SELECT g, (ARRAY['a', 'B', 'b', NULL])[1 + g % 4], g % 3, nullif(g % 7, 3),
       (ARRAY['{x}', '{y,z}', '{}', NULL, '{z,z,x}'])[1 + g % 5]::text[], '2026-01-01Z'::timestamptz + (g * 37 % 600) * interval '1 s'
FROM generate_series(1, 20) g;
INSERT INTO s
SELECT g, (ARRAY['a', 'B', 'b', 'c'])[1 + g % 4], g % 5, g * 13 % 17,
       (ARRAY['{x}', '{y,z}', '{}', NULL, '{z,z,x}'])[1 + g % 5]::text[], '2026-01-01Z'::timestamptz + (g * 41 % 700) * interval '1 s'
FROM generate_series(21, 40) g;

-- Each view is compared with its query over all rows, in both directions.
SELECT n, d.*, query FROM queries, compare('v' || n, query) d WHERE rows = 0 OR differences <> 0 ORDER BY n;
SELECT count(*) AS compared, sum(rows) AS rows FROM queries, compare('v' || n, query);
SELECT count(*) FROM eddy.dead_letters WHERE stream = 's'::regclass;

SET client_min_messages = warning;
DROP SCHEMA nesting CASCADE;
