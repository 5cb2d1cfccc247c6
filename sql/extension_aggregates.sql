-- Aggregates of extensions: hll and tdigest, from Debian's packages. Skipped, with another expected output, where they are not installed.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
SELECT count(*) < 2 AS missing FROM pg_available_extensions WHERE name IN ('hll', 'tdigest') \gset
\if :missing
\quit
\endif
CREATE EXTENSION hll;
CREATE EXTENSION tdigest;
RESET client_min_messages;

CREATE UNLOGGED TABLE requests (path text, usr int, ms float8);
SELECT eddy.create_stream('requests');
CREATE TABLE requests_log (LIKE requests);
SELECT eddy.create_continuous_view('per_path', $$
    SELECT path, hll_cardinality(hll_add_agg(hll_hash_integer(usr)))::bigint AS users, hll_add_agg(hll_hash_integer(usr)) AS sketch,
           tdigest_percentile(ms, 100, 0.95) AS p95, tdigest(ms, 100) AS digest, count(*) AS n
    FROM requests GROUP BY path $$);
CREATE PROCEDURE feed(seed int, rows int) LANGUAGE sql AS $$
    WITH batch AS (INSERT INTO requests_log SELECT '/' || g % 3, g * seed % 5003, (g * 7919 % 1000) / 4.0 FROM generate_series(1, rows) g RETURNING *)
    INSERT INTO requests TABLE batch
$$;
CALL feed(1, 10);
CALL feed(3, 2000);
CALL feed(7, 4000);
-- hll gives the same state in any division into batches; digests differ, within their error.
SELECT path, v.users = hll_cardinality(l.sketch)::bigint AS users, hll_eq(v.sketch, l.sketch) AS sketch, abs(v.p95 - l.p95) < 2.5 AS p95,
       abs((SELECT tdigest_percentile(d, 0.5) FROM unnest(ARRAY[v.digest]) d) - l.median) < 2.5 AS median, v.n = l.n AS n
FROM (SELECT path, users, sketch, p95, digest, n FROM per_path) v JOIN (
    SELECT path, hll_add_agg(hll_hash_integer(usr)) AS sketch, percentile_cont(0.95) WITHIN GROUP (ORDER BY ms) AS p95,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS median, count(*) AS n
    FROM requests_log GROUP BY path) l USING (path)
ORDER BY path;
-- Sketches can be combined when the view is read.
SELECT hll_cardinality(hll_union_agg(sketch)) BETWEEN e.n * 0.97 AND e.n * 1.03 AS users
FROM per_path, (SELECT count(DISTINCT usr) AS n FROM requests_log) e GROUP BY e.n;

SET client_min_messages = warning;
DROP TABLE requests CASCADE;
DROP TABLE requests_log;
DROP PROCEDURE feed;
DROP EXTENSION hll;
DROP EXTENSION tdigest;
