-- UNION ALL of several streams in one continuous view.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE ROLE regress_eddy_union_owner;
CREATE ROLE regress_eddy_union_writer;
CREATE SCHEMA united;
RESET client_min_messages;
GRANT ALL ON SCHEMA united TO regress_eddy_union_owner;
GRANT USAGE ON SCHEMA united TO regress_eddy_union_writer;
SET search_path = united, public;
SET timezone = 'UTC';
\set SHOW_CONTEXT never
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/test/sql/functions.sql

CREATE FUNCTION at(seconds numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT timestamptz '2026-01-01 00:00Z' + seconds * interval '1 second' $$;
CREATE FUNCTION sec(t timestamptz) RETURNS numeric LANGUAGE sql IMMUTABLE AS
    $$ SELECT trim_scale(extract(epoch FROM t - timestamptz '2026-01-01 00:00Z')) $$;

-- Three streams with columns of different names, orders and types.
CREATE UNLOGGED TABLE web (id int, page text, ms int, tags text[], ts timestamptz);
CREATE UNLOGGED TABLE app (at timestamptz, screen varchar(20), took numeric(8,2), id bigint);
CREATE UNLOGGED TABLE shop (id int, item text COLLATE "C", price numeric, at timestamptz);
SELECT eddy.create_stream('web', event_time => 'ts');
SELECT eddy.create_stream('app', event_time => 'at');
SELECT eddy.create_stream('shop', event_time => 'at');
CREATE TABLE names (key text, name text);
INSERT INTO names VALUES ('k0', 'zero'), ('k1', 'one'), ('k1', 'uno');
CREATE TABLE queries (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, query text, options text DEFAULT '');

-- Aggregates of each kind; filters, expressions and casts differ by branch.
INSERT INTO queries (query) VALUES
('SELECT u.k, count(*) AS n, sum(u.v) AS s, min(u.v) AS low, avg(u.v) AS mean FROM (SELECT page AS k, ms AS v FROM web WHERE ms > 3 UNION ALL SELECT screen, took * 2 FROM app) u GROUP BY u.k'),
('WITH clicks AS (SELECT page AS k, id FROM web), taps AS (SELECT screen, id FROM app) SELECT k, count(*), max(id) FROM (TABLE clicks UNION ALL TABLE taps UNION ALL SELECT item, id FROM shop) u GROUP BY k HAVING count(*) > 3'),
('SELECT count(*), sum(v), count(DISTINCT k) AS keys, sum(DISTINCT v) AS different FROM (SELECT page AS k, ms AS v FROM web UNION ALL SELECT screen, took FROM app) u'),
('SELECT u.k, array_agg(u.v ORDER BY u.v, u.k), string_agg(u.k, '','' ORDER BY u.v), percentile_cont(0.5) WITHIN GROUP (ORDER BY u.v), mode() WITHIN GROUP (ORDER BY u.k) FROM (SELECT page AS k, ms AS v FROM web UNION ALL SELECT screen, took FROM app WHERE took > 1) u GROUP BY u.k'),
('SELECT u.k, u.kind, count(*) FROM (SELECT page AS k, ''web'' AS kind FROM web UNION ALL SELECT screen, ''app'' FROM app) u GROUP BY GROUPING SETS ((u.k), (u.kind), (u.k, u.kind), ())'),
('SELECT DISTINCT k FROM (SELECT page AS k FROM web UNION ALL SELECT upper(screen) FROM app) u'),
('SELECT DISTINCT ON (u.k) u.k, u.v, u.id FROM (SELECT page AS k, ms AS v, id FROM web UNION ALL SELECT screen, took, id + 1000 FROM app) u ORDER BY u.k, u.v DESC, u.id'),
('SELECT u.k, eddy.first(u.v, u.id), eddy.max_by(u.id, u.v + u.id) FROM (SELECT page AS k, ms AS v, id FROM web UNION ALL SELECT screen, took, id + 1000 FROM app) u GROUP BY u.k'),
-- joins, functions and several rows of a row in the branches; the same stream in several of them
('SELECT u.name, count(*), sum(u.v) FROM (SELECT n.name, ms AS v FROM web JOIN names n ON n.key = page UNION ALL SELECT coalesce(n.name, ''-''), took FROM app LEFT JOIN names n ON n.key = screen) u GROUP BY u.name'),
('SELECT u.t, count(*) FROM (SELECT unnest(tags) AS t FROM web UNION ALL SELECT screen FROM app UNION ALL SELECT page FROM web WHERE id % 2 = 0) u GROUP BY u.t'),
('SELECT u.k, n.name, count(*) FROM (SELECT page AS k FROM web UNION ALL SELECT page || ''!'' FROM web UNION ALL SELECT item FROM shop) u LEFT JOIN names n ON n.key = u.k GROUP BY 1, 2'),
('SELECT q.k, sum(q.v) FROM (SELECT x.k, x.v FROM (SELECT page AS k, ms AS v FROM web UNION ALL SELECT screen, took FROM app) x WHERE x.v > 2 UNION ALL SELECT item, price FROM shop) q WHERE q.k <> ''k2'' GROUP BY q.k'),
('SELECT u.k, sum(u.v) FROM (SELECT page AS k, ms AS v FROM web UNION ALL (SELECT screen, took FROM app UNION ALL (SELECT item, price FROM shop UNION ALL SELECT page, -ms FROM web))) u GROUP BY u.k'),
-- keys and aggregates that are the same expression in one branch only
('SELECT u.a, u.b, sum(u.x) AS x, sum(u.y) AS y, count(*) FROM (SELECT page AS a, page AS b, ms AS x, ms AS y FROM web UNION ALL SELECT screen, upper(screen), took, id FROM app) u GROUP BY u.a, u.b'),
('SELECT u.one, sum(u.v) + 1 AS s, count(*) FROM (SELECT 1 AS one, ms AS v FROM web UNION ALL SELECT id % 2, id FROM app) u GROUP BY u.one'),
-- rows as they are
('SELECT id, page FROM web UNION ALL SELECT id, screen FROM app'),
('SELECT u.id, u.k, n.name FROM (SELECT id, page AS k FROM web UNION ALL SELECT -id, item FROM shop WHERE price > 2) u LEFT JOIN names n ON n.key = u.k'),
-- parts that are applied when reading
('SELECT u.k, count(*), rank() OVER (ORDER BY count(*) DESC) FROM (SELECT page AS k FROM web UNION ALL SELECT screen FROM app) u GROUP BY u.k ORDER BY 2 DESC, 1 LIMIT 2'),
('SELECT * FROM (SELECT u.k, count(*) AS n FROM (SELECT page AS k FROM web UNION ALL SELECT screen FROM app) u GROUP BY u.k) q WHERE n > 4');
INSERT INTO queries (query, options) SELECT query, $$, maintenance => 'deferred'$$ FROM queries WHERE n IN (1, 2, 9);
-- windows that close are compared below; early results of windows of different kinds here
INSERT INTO queries (query) VALUES
('SELECT w.window_start, w.window_end, u.k, count(*) FROM (SELECT page AS k, ts FROM web UNION ALL SELECT screen, at FROM app) u, eddy.tumble(u.ts, ''1 min'') w GROUP BY 1, 2, 3'),
('SELECT w.window_start, w.window_end, u.k, sum(u.v) FROM (SELECT page AS k, ts, ms AS v FROM web UNION ALL SELECT screen, at, took FROM app UNION ALL SELECT item, at, price FROM shop) u, eddy.hop(u.ts, ''20 s'', ''2 min'') w GROUP BY 1, 2, 3'),
('SELECT w.window_start, w.window_end, count(*), array_agg(u.k ORDER BY u.k) FROM (SELECT page AS k, ts FROM web UNION ALL SELECT screen, at FROM app) u, eddy.cumulate(u.ts, ''20 s'', ''1 min'') w GROUP BY 1, 2'),
-- not the event time in one of the branches: groups like others
('SELECT w.window_start, w.window_end, count(*) FROM (SELECT ts FROM web UNION ALL SELECT at + interval ''1 hour'' FROM app) u, eddy.tumble(u.ts, ''1 min'') w GROUP BY 1, 2');

DO $$ DECLARE q queries;
BEGIN
  FOR q IN SELECT * FROM queries ORDER BY n LOOP
    EXECUTE format('SELECT eddy.create_continuous_view(%L, %L %s)', 'v' || q.n, q.query, q.options);
  END LOOP;
END $$;
-- Rows of all streams: by INSERT, COPY, MERGE, and statements and functions that write to several of them.
INSERT INTO web SELECT g, 'k' || g % 3, g % 11, (ARRAY['{x}', '{y,z}', '{}', NULL])[1 + g % 4]::text[], at(g * 7) FROM generate_series(1, 30) g;
INSERT INTO app SELECT at(g * 9), 'k' || g % 4, g % 9 + 0.25, g FROM generate_series(1, 20) g;
COPY shop FROM stdin;
1	k1	10	2026-01-01 00:00:10Z
2	k2	\N	2026-01-01 00:01:10Z
3	\N	2.5	2026-01-01 00:02:10Z
\.
WITH first AS (INSERT INTO app SELECT at(g), 'k' || g % 5, g, g FROM generate_series(200, 205) g RETURNING *),
     second AS (INSERT INTO shop SELECT id, screen, took, at FROM first RETURNING *)
INSERT INTO web SELECT id, item, price, '{both}', at FROM second WHERE id > 202;
MERGE INTO web USING app ON false WHEN NOT MATCHED AND app.id > 203 THEN INSERT VALUES (app.id, 'merged', 1, NULL, app.at);
BEGIN;
INSERT INTO web VALUES (300, 'k1', 4, '{t}', at(210));
SAVEPOINT a;
INSERT INTO app VALUES (at(211), 'k1', 100, 301);
ROLLBACK TO a;
INSERT INTO app VALUES (at(212), 'k1', 5, 302);
INSERT INTO shop VALUES (303, 'k1', 6, at(213));
COMMIT;
BEGIN;
INSERT INTO web VALUES (304, 'k0', 4, '{t}', at(214));
INSERT INTO app VALUES (at(214), 'k0', 5, 304);
ROLLBACK;

-- Each view is compared with its query over all rows, in both directions.
SELECT n, d.*, query FROM queries, compare('v' || n, query) d WHERE rows = 0 OR differences <> 0 ORDER BY n;
SELECT count(*) AS compared, sum(rows) > 100 AS many FROM queries, compare('v' || n, query);
SELECT count(*) FROM eddy.dead_letters WHERE stream::text IN ('web', 'app', 'shop');
-- all streams are shown
SELECT view, stream, streams FROM eddy.continuous_views WHERE view IN ('v1'::regclass, 'v2', 'v12') ORDER BY view::text;

-- A row on which the view fails is a dead letter of its stream; its neighbours count. In one statement for both streams.
SELECT eddy.create_continuous_view('ratio', $$
    SELECT u.k, count(*) AS n, sum(100 / u.v) AS parts FROM (SELECT page AS k, ms AS v FROM web UNION ALL SELECT screen, took FROM app) u GROUP BY u.k $$);
WITH x AS (INSERT INTO web VALUES (400, 'r', 0, NULL, at(220)), (401, 'r', 4, NULL, at(220)))
INSERT INTO app VALUES (at(220), 'r', 5, 402), (at(220), 'r', 0, 403);
SELECT * FROM ratio;
SELECT stream, view, error FROM eddy.dead_letters WHERE view = 'ratio'::regclass ORDER BY stream::text;
-- a failure of what both streams have added: sum(int) of web alone would not overflow
SELECT eddy.create_continuous_view('limited', $$
    SELECT u.k, (sum(u.v) + 2000000000)::int AS total FROM (SELECT page AS k, ms AS v FROM web UNION ALL SELECT screen, took::int FROM app) u GROUP BY u.k $$);
WITH x AS (INSERT INTO web VALUES (410, 'o', 100000000, NULL, at(220)), (411, 'p', 1, NULL, at(220)))
INSERT INTO app VALUES (at(220), 'o', 100000, 412), (at(220), 'p', 2, 413);
INSERT INTO web VALUES (414, 'o', 50000000, NULL, at(220));
SELECT * FROM limited ORDER BY k;
SELECT stream, view, convert_from(payload, 'UTF8')::json ->> 'id' AS id, error FROM eddy.dead_letters WHERE view = 'limited'::regclass;
DELETE FROM eddy.dead_letters WHERE view IN ('ratio'::regclass, 'limited');

-- A view over the view follows the rows and the changes of both.
SELECT eddy.create_continuous_view('united_rows', 'SELECT page AS k, ms::numeric AS v, ts FROM web UNION ALL SELECT screen, took, at FROM app', start => 'staged');
SELECT eddy.create_continuous_view('per_key', 'SELECT k, count(*) AS n, sum(v) AS s FROM united_rows GROUP BY k', start => 'staged');
SELECT eddy.create_continuous_view('sizes', 'SELECT n, count(*) AS keys FROM per_key GROUP BY n', start => 'staged');
WITH x AS (INSERT INTO web VALUES (420, 'c', 1, NULL, at(221)), (421, 'd', 4, NULL, at(221)))
INSERT INTO app VALUES (at(221), 'c', 5, 422);
SELECT count(*) FROM ((TABLE sizes EXCEPT ALL SELECT n, count(*) FROM (SELECT k, count(*) AS n FROM (SELECT page AS k FROM web UNION ALL SELECT screen FROM app) u GROUP BY k) q GROUP BY n)
    UNION ALL (SELECT n, count(*) FROM (SELECT k, count(*) AS n FROM (SELECT page AS k FROM web UNION ALL SELECT screen FROM app) u GROUP BY k) q GROUP BY n EXCEPT ALL TABLE sizes)) d;
SELECT eddy.drop_continuous_view('sizes');
SELECT eddy.drop_continuous_view('per_key');

-- Event time. The windows of the view wait for the slower stream.
CREATE UNLOGGED TABLE a (k text, ts timestamptz);
CREATE UNLOGGED TABLE b (at timestamptz, key text);
SELECT eddy.create_stream('a', event_time => 'ts', delay => '5 s');
SELECT eddy.create_stream('b', event_time => 'at');
SELECT eddy.create_continuous_view('final', $$
    SELECT w.window_start, w.window_end, u.k, count(*) AS n
    FROM (SELECT k, ts FROM a UNION ALL SELECT key, at FROM b) u, eddy.tumble(u.ts, '10 s') w
    GROUP BY w.window_start, w.window_end, u.k $$, emit => 'on_close', late => 'keep');
SELECT eddy.create_continuous_view('visits', $$
    SELECT u.k, s.window_start, s.window_end, count(*) AS n
    FROM (SELECT k, ts FROM a UNION ALL SELECT key, at FROM b) u, eddy.session(u.ts, '5 s') s
    GROUP BY u.k, s.window_start, s.window_end $$, emit => 'on_close', late => 'keep');
SELECT eddy.create_continuous_view('sliding', $$
    SELECT w.window_start, w.window_end, count(*) AS n
    FROM (SELECT k, ts FROM a UNION ALL SELECT key, at FROM b) u, eddy.hop(u.ts, '5 s', '40 s') w
    GROUP BY w.window_start, w.window_end $$, emit => 'on_close');
-- by the watermark of both streams as well: rows of the first view, which passes on the event time
SELECT eddy.create_continuous_view('passed_on', 'SELECT k, ts FROM a UNION ALL SELECT key, at FROM b');
SELECT eddy.create_continuous_view('over_it', $$
    SELECT w.window_end, count(*) AS n FROM passed_on, eddy.tumble(ts, '10 s') w GROUP BY w.window_end $$, emit => 'on_close', late => 'keep');
-- and what the first view has closed
SELECT eddy.create_continuous_view('minutes', $$
    SELECT w.window_end, sum(n) AS n FROM final, eddy.tumble(final.window_end, '20 s') w GROUP BY w.window_end $$, emit => 'on_close');
CREATE VIEW shown AS SELECT sec(window_start) AS start, k, n FROM final;

-- a alone closes nothing: b has delivered no row, and is not idle yet
INSERT INTO a VALUES ('x', at(3)), ('y', at(12)), ('x', at(31));
SELECT * FROM shown;
SELECT sec(eddy.watermark('a')) AS a, eddy.watermark('b') AS b, eddy.watermark('final') AS final;
-- the transaction that moves the minimum closes
INSERT INTO b VALUES (at(13), 'x'), (at(4), 'x');
SELECT * FROM shown ORDER BY start, k;
SELECT sec(eddy.watermark('a')) AS a, sec(eddy.watermark('b')) AS b, sec(eddy.watermark('final')) AS final;
-- late for the view, though not for the other rows of stream a; and in time, though the watermark of a is at 26
INSERT INTO b VALUES (at(9), 'late b'), (at(10), 'in time');
INSERT INTO a VALUES ('late a', at(9)), ('in time', at(14));
INSERT INTO b VALUES (at(40), 'z');
SELECT * FROM shown ORDER BY start, k;
SELECT view, row_data, sec(watermark) AS watermark FROM eddy.late_rows WHERE view IN ('final'::regclass, 'over_it') ORDER BY view::text, row_data::text;
SELECT view, late_rows FROM eddy.stat_continuous_views WHERE view IN ('final'::regclass, 'visits', 'sliding', 'over_it') ORDER BY view::text;
-- by hand
SELECT sec(eddy.advance_watermark('b', at(60)));
SELECT sec(eddy.advance_watermark('a', at(60)));
SELECT * FROM shown ORDER BY start, k;
SELECT k, sec(window_start) AS start, sec(window_end) AS "end", n FROM visits ORDER BY start, k;
SELECT sec(window_end) AS "end", n FROM over_it ORDER BY window_end;
SELECT sec(window_end) AS "end", n FROM minutes ORDER BY window_end;
-- the overlapping windows count what the others have accepted, and rows that were late for those
SELECT sum(n) = (SELECT count(*) FROM (SELECT ts FROM a UNION ALL SELECT at FROM b) u, eddy.hop(u.ts, '5 s', '40 s') w WHERE w.window_end <= at(60))
    - (SELECT late_rows FROM eddy.stat_continuous_views WHERE view = 'sliding'::regclass) AS accepted_and_late FROM sliding;
SELECT view, sec(watermark) AS watermark, sec(closed_until) AS closed_until FROM eddy.continuous_views
WHERE view IN ('final'::regclass, 'visits', 'sliding', 'over_it', 'minutes') ORDER BY view::text;

-- What is refused. A stream without event time, or another column: no windows that close.
CREATE UNLOGGED TABLE plain (k text, ts timestamptz);
SELECT eddy.create_stream('plain');
SELECT eddy.create_continuous_view('x', $$
    SELECT w.window_end, count(*) FROM (SELECT ts FROM a UNION ALL SELECT ts FROM plain) u, eddy.tumble(u.ts, '10 s') w GROUP BY w.window_end $$, emit => 'on_close');
SELECT eddy.create_continuous_view('x', $$
    SELECT w.window_end, count(*) FROM (SELECT ts FROM a UNION ALL SELECT at - interval '1 s' FROM b) u, eddy.tumble(u.ts, '10 s') w GROUP BY w.window_end $$, emit => 'on_close');
SELECT eddy.create_continuous_view('x', $$
    SELECT u.window_end, count(*) FROM (SELECT w.window_end FROM a, eddy.tumble(ts, '10 s') w UNION ALL SELECT w.window_end FROM b, eddy.tumble(at, '10 s') w) u GROUP BY u.window_end $$, emit => 'on_close');
SELECT eddy.create_continuous_view('x', 'SELECT u.k FROM (SELECT k FROM a UNION ALL SELECT key FROM b) u, a');
SELECT eddy.create_continuous_view('x', 'SELECT u.k FROM (SELECT k FROM a UNION ALL SELECT key FROM b) u, (SELECT k FROM plain UNION ALL SELECT page FROM web) v');
SELECT eddy.create_continuous_view('x', 'SELECT k FROM a UNION ALL SELECT name FROM names');
SELECT eddy.create_continuous_view('x', 'SELECT k, count(*) FROM a GROUP BY k UNION ALL SELECT key, 1 FROM b');
SELECT eddy.create_continuous_view('x', 'SELECT k FROM a UNION ALL SELECT key FROM b WHERE key IN (SELECT k FROM plain)');
SELECT eddy.create_continuous_view('x', 'SELECT k FROM a UNION ALL SELECT key FROM b', start => 'earliest');
SELECT eddy.create_continuous_view('x', 'SELECT k FROM a UNION ALL SELECT key FROM b', start => 'query', history => 'SELECT ''k'' AS k');
SELECT eddy.create_continuous_view('x', 'SELECT k FROM a UNION ALL SELECT key FROM b', start => 'query', histories => '{"plain": "SELECT 1"}');

-- Life: rebuilding and replacing count the rows that all streams still hold.
SELECT eddy.create_continuous_view('life', 'SELECT u.k, count(*) AS n FROM (SELECT k FROM a UNION ALL SELECT key FROM b) u GROUP BY u.k', start => 'staged');
SELECT (SELECT sum(n) FROM life) = (SELECT count(*) FROM a) + (SELECT count(*) FROM b) AS staged;
SELECT eddy.pause('life');
INSERT INTO b VALUES (at(61), 'paused');
SELECT eddy.resume('life');
SELECT (SELECT sum(n) FROM life) = (SELECT count(*) FROM a) + (SELECT count(*) FROM b) AS resumed;
-- a stream more, a column more, a stream less
SELECT eddy.replace_continuous_view('life', 'SELECT u.k, count(*) AS n FROM (SELECT k FROM a UNION ALL SELECT key FROM b UNION ALL SELECT k FROM plain) u GROUP BY u.k');
SELECT eddy.replace_continuous_view('life', 'SELECT u.k, count(*) AS n FROM (SELECT k FROM a UNION ALL SELECT key FROM b UNION ALL SELECT k FROM plain) u GROUP BY u.k', start => 'staged');
INSERT INTO plain VALUES ('plain', at(1));
SELECT (SELECT sum(n) FROM life) = (SELECT count(*) FROM a) + (SELECT count(*) FROM b) + 1 AS replaced;
SELECT eddy.replace_continuous_view('life', 'SELECT u.k, count(*) AS n, max(u.k) AS last FROM (SELECT k FROM a UNION ALL SELECT key FROM b UNION ALL SELECT k FROM plain) u GROUP BY u.k');
INSERT INTO b VALUES (at(62), 'plain');
SELECT * FROM life WHERE k = 'plain';
SELECT eddy.replace_continuous_view('life', 'SELECT k, count(*) AS n, max(k) AS last FROM plain GROUP BY k', start => 'staged');
INSERT INTO b VALUES (at(63), 'plain');
TABLE life;
SELECT view, streams FROM eddy.continuous_views WHERE view = 'life'::regclass;
SELECT eddy.replace_continuous_view('life', 'SELECT u.k, count(*) AS n, max(u.k) AS last FROM (SELECT k FROM plain UNION ALL SELECT key FROM b WHERE key = ''plain'') u GROUP BY u.k', start => 'staged');
TABLE life;

-- DDL: names follow, columns in use are protected.
ALTER TABLE b RENAME TO renamed;
ALTER TABLE renamed RENAME COLUMN key TO label;
INSERT INTO renamed VALUES (at(64), 'plain');
ALTER TABLE renamed ADD COLUMN more int;
INSERT INTO renamed VALUES (at(65), 'plain', 1);
TABLE life;
ALTER TABLE renamed DROP COLUMN label;
DROP TABLE plain;

-- Rights on every stream are needed, when it is created and afterwards.
ALTER TABLE a OWNER TO regress_eddy_union_writer;
GRANT SELECT, TRIGGER ON a TO regress_eddy_union_owner;
GRANT SELECT ON renamed TO regress_eddy_union_owner;
SET ROLE regress_eddy_union_owner;
SELECT eddy.create_continuous_view('theirs', 'SELECT k FROM a UNION ALL SELECT label FROM renamed');
RESET ROLE;
GRANT TRIGGER ON renamed TO regress_eddy_union_owner;
SET ROLE regress_eddy_union_owner;
SELECT eddy.create_continuous_view('theirs', $$
    SELECT w.window_end, u.k, count(*) AS n FROM (SELECT k, ts FROM a UNION ALL SELECT label, at FROM renamed) u, eddy.tumble(u.ts, '10 s') w
    GROUP BY w.window_end, u.k $$, late => 'keep', emit => 'on_close');
RESET ROLE;
INSERT INTO a VALUES ('theirs', at(100));
INSERT INTO renamed VALUES (at(100), 'theirs'), (at(1), 'secret');
-- who reads one of the streams alone does not see late rows, which can be of the other one
GRANT SELECT ON theirs TO regress_eddy_union_writer;
SET ROLE regress_eddy_union_writer;
SELECT count(*) FROM eddy.late_rows WHERE view = 'theirs'::regclass;
RESET ROLE;
SET ROLE regress_eddy_union_owner;
SELECT count(*) FROM eddy.late_rows WHERE view = 'theirs'::regclass;
RESET ROLE;
-- The view is suspended by the first batch of any of its streams; the others are not disturbed.
REVOKE TRIGGER ON renamed FROM regress_eddy_union_owner;
INSERT INTO a VALUES ('theirs', at(101));
SELECT state, error FROM eddy.continuous_views WHERE view = 'theirs'::regclass;
GRANT TRIGGER ON renamed TO regress_eddy_union_owner;
SET ROLE regress_eddy_union_owner;
SELECT eddy.resume('theirs');
RESET ROLE;
REVOKE SELECT ON renamed FROM regress_eddy_union_owner;
INSERT INTO a VALUES ('theirs', at(102));
SELECT state, error FROM eddy.continuous_views WHERE view = 'theirs'::regclass;
INSERT INTO renamed VALUES (at(102), 'theirs');
SELECT state, error FROM eddy.continuous_views WHERE view = 'theirs'::regclass;
-- the owner of one of the streams can drop it
SET ROLE regress_eddy_union_writer;
SELECT eddy.drop_continuous_view('theirs');
RESET ROLE;

-- A stream goes with the views that read it.
DROP TABLE renamed CASCADE;
SELECT view FROM eddy.continuous_views WHERE view::text IN ('final', 'visits', 'sliding', 'over_it', 'life');
INSERT INTO a VALUES ('x', at(110));
SELECT count(*) AS watermarks FROM eddy._watermark w WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = w.stream);

SET client_min_messages = warning;
DELETE FROM eddy.dead_letters WHERE stream::text IN ('web', 'app', 'shop', 'a');
DELETE FROM eddy.late_rows;
DROP SCHEMA united CASCADE;
DROP ROLE regress_eddy_union_owner, regress_eddy_union_writer;
