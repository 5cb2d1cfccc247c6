-- Approximate aggregates, with the errors that are documented.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;

-- eddy.approx_count_distinct: the standard error is 1.04 / sqrt(2 ^ precision). Values are the same in each run, so these bounds hold always.
WITH n(n) AS (VALUES (0), (1), (2), (10), (100), (1000), (3000), (4000), (10000), (50000), (200000)),
e AS (SELECT n, (SELECT eddy.approx_count_distinct(g) FROM generate_series(1, n) g) AS estimate,
             (SELECT eddy.approx_count_distinct(md5(g::text), 10) FROM generate_series(1, n) g) AS coarse,
             (SELECT eddy.approx_count_distinct(g::numeric / 7, 18) FROM generate_series(1, n) g) AS fine FROM n)
SELECT n, abs(estimate - n) <= 2.5 * 0.0081 * n AS estimate, abs(coarse - n) <= 3 * 0.0325 * n AS coarse, abs(fine - n) <= 3 * 0.0021 * n AS fine
FROM e ORDER BY n;
-- Small numbers are exact.
SELECT bool_and(n = estimate) FROM generate_series(0, 200) n, LATERAL (SELECT eddy.approx_count_distinct(g) AS estimate FROM generate_series(1, n) g) e;
-- The mean error of many estimates is that of the formula, and they are not biased.
WITH e AS (SELECT seed, eddy.approx_count_distinct(seed::text || '/' || g, 10)::float8 / 5000 - 1 AS error FROM generate_series(1, 100) seed, generate_series(1, 5000) g GROUP BY seed)
SELECT sqrt(avg(error ^ 2)) BETWEEN 0.022 AND 0.043 AS standard_error, abs(avg(error)) < 0.012 AS unbiased FROM e;
-- NULLs do not count, and duplicates count once.
SELECT eddy.approx_count_distinct(x) FROM (VALUES (1), (NULL), (1), (2)) v(x);
SELECT eddy.approx_count_distinct(g, 3) FROM generate_series(1, 3) g;
SELECT eddy.approx_count_distinct(g, 10 + g) FROM generate_series(1, 3) g;
SELECT eddy.approx_count_distinct(point(1, g)) FROM generate_series(1, 3) g;

-- eddy.approx_percentile: within 1 % of percentile_disc.
CREATE TABLE samples AS SELECT g, exp((g * 7919 % 10007) / 500.0 - 8)::float8 * CASE WHEN g % 5 = 0 THEN -1 WHEN g % 41 = 0 THEN 0 ELSE 1 END AS x
FROM generate_series(1, 10000) g;
SELECT f, abs(eddy.approx_percentile(x, f) - percentile_disc(f) WITHIN GROUP (ORDER BY x)) <= 0.0100001 * abs(percentile_disc(f) WITHIN GROUP (ORDER BY x)) AS within
FROM samples, (VALUES (0), (0.001), (0.1), (0.2), (0.21), (0.25), (0.5), (0.9), (0.99), (0.999), (1)) v(f) GROUP BY f ORDER BY f;
SELECT eddy.approx_percentile(x, ARRAY[0.5, NULL, 0.9]) = ARRAY[eddy.approx_percentile(x, 0.5), NULL, eddy.approx_percentile(x, 0.9)] AS same FROM samples;
SELECT eddy.approx_percentile(x, 0.5) FROM (VALUES ('-Infinity'::float8), (0), ('NaN'), (NULL), ('Infinity'), (1e-310), (0)) v(x);
SELECT eddy.approx_percentile(x, ARRAY[0, 0.5, 0.75, 1]) FROM (VALUES ('-Infinity'::float8), (3), ('NaN'), ('Infinity')) v(x);
SELECT abs(eddy.approx_percentile(x, 1) / 1.7e308 - 1) < 0.0101, abs(eddy.approx_percentile(x, 0) / 1e-299 - 1) < 0.0101 FROM (VALUES (1.7e308), (1e-299)) v(x);
SELECT eddy.approx_percentile(x, 0.5), eddy.approx_percentile(x, ARRAY[0.5]) FROM samples WHERE false;
SELECT eddy.approx_percentile(x, NULL) FROM samples;
SELECT eddy.approx_percentile(x, 1.5) FROM samples;
SELECT eddy.approx_percentile(x, x / 10.0) FROM (VALUES (1), (2)) v(x);

-- eddy.top_k: exact with few values; otherwise counts are at most n / max(10 k, 100) too large.
SELECT eddy.top_k(x, 2) FROM (VALUES ('a'), ('b'), ('a'), (NULL), ('c'), ('a'), ('b')) v(x);
SELECT eddy.top_k(x, 3), eddy.top_k(x > 1, 1), eddy.top_k(date '2026-01-01' + x::int, 1) FROM (VALUES (1.50), (1.5), ('2')) v(x);
-- values of domains are shown as those of their base types
CREATE DOMAIN cents AS numeric(9,2);
CREATE DOMAIN price AS cents CHECK (VALUE > 0);
CREATE DOMAIN flag AS boolean;
CREATE DOMAIN word AS text;
SELECT eddy.top_k(x::price, 1) AS price, eddy.top_k((x > 1)::flag, 1) AS flag, eddy.top_k(x::text::word, 1) AS word FROM (VALUES (1.5), (1.50)) v(x);
DROP DOMAIN price, cents, flag, word;
-- Values that are equally frequent are in the order of their texts, whatever the order of the rows.
SELECT eddy.top_k(x, 2), eddy.top_k(x, 2 ORDER BY x DESC) FROM (VALUES ('b'), ('c'), ('a')) v(x);
SELECT eddy.top_k(x, 1) FROM (VALUES (NULL::int)) v(x);
SELECT eddy.top_k(x, 0) FROM (VALUES (1)) v(x);
CREATE TABLE skewed AS SELECT g, CASE WHEN g % 3 = 0 THEN g % 7 ELSE (g * 7919) % 100003 END AS x FROM generate_series(1, 60000) g;
SELECT bool_and(s.count <= n AND s.count >= n - e AND e <= 60000 / 100) AS bounds, count(*), bool_or(e > 0) AS approximate
FROM (SELECT eddy.top_k(x, 10) AS top FROM skewed) t, jsonb_array_elements(top) j,
     LATERAL (SELECT (j->>'value')::int AS v, (j->>'count')::bigint AS n, (j->>'error')::bigint AS e) c, LATERAL (SELECT count(*) FROM skewed WHERE x = v) s;
SELECT array_agg((j->>'value')::int ORDER BY (j->>'value')::int) AS frequent FROM (SELECT eddy.top_k(x, 7) AS top FROM skewed) t, jsonb_array_elements(top) j;

-- In parallel queries states are combined: the same errors.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
CREATE FUNCTION is_parallel(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
        IF line ~ 'Partial Aggregate' THEN RETURN true; END IF;
    END LOOP;
    RETURN false;
END $$;
SELECT is_parallel('SELECT eddy.approx_count_distinct(x), eddy.approx_percentile(x, 0.5), eddy.top_k(x, 1), eddy.first(x, g), eddy.last(x, g) FROM skewed');
SELECT abs(eddy.approx_count_distinct(x) / 40000.0 - 1) < 0.025 AS near, eddy.approx_percentile(x, 0.5) BETWEEN 24992 * 0.99 AND 24992 * 1.01 AS median,
       eddy.top_k(x, 7) @> '[{"value": 3}, {"value": 6}]' AS top, eddy.first(x, g), eddy.last(x, g) FROM skewed;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET max_parallel_workers_per_gather;
SELECT count(DISTINCT x), percentile_disc(0.5) WITHIN GROUP (ORDER BY x) FROM skewed;

-- In continuous views: batches of all sizes give what one SELECT over all rows gives. (With more values than counters, top_k depends on their order.)
CREATE UNLOGGED TABLE points (k int, x int, f float8, t text);
SELECT eddy.create_stream('points');
CREATE TABLE points_log (LIKE points);
SELECT eddy.create_continuous_view('approximate', $$
    SELECT k, eddy.approx_count_distinct(x) AS x, eddy.approx_count_distinct(t, 8) AS t, eddy.approx_percentile(f, 0.9) AS p90,
           eddy.approx_percentile(f, ARRAY[0.1, 0.5]) AS p, count(*) AS n, eddy.top_k(t, 3) AS top
    FROM points GROUP BY k $$);
CREATE PROCEDURE feed(seed int, rows int) LANGUAGE sql AS $$
    WITH batch AS (
    INSERT INTO points_log
    SELECT g % 3, g * seed % 20011, ((g * seed) % 4001 - 100)::float8 / 7, CASE WHEN g % 4 > 0 THEN 't' || (g * g * seed) % 60 END
    FROM generate_series(1, rows) g RETURNING *)
    INSERT INTO points TABLE batch
$$;
CALL feed(1, 1);
CALL feed(3, 50);
CALL feed(7, 3000);
CALL feed(11, 9000);
CALL feed(5, 100);
SELECT a.k, a.x = b.x AS x, a.t = b.t AS t, a.p90 = b.p90 AS p90, a.p = b.p AS p, a.n = b.n AS n, abs(a.x::float8 / b.exact - 1) < 0.0203 AS near,
       jsonb_path_query_array(a.top, '$[*].count') = b.top AS top
FROM approximate a JOIN (
    SELECT k, eddy.approx_count_distinct(x) AS x, count(DISTINCT x) AS exact, eddy.approx_count_distinct(t, 8) AS t, eddy.approx_percentile(f, 0.9) AS p90,
           eddy.approx_percentile(f, ARRAY[0.1, 0.5]) AS p, count(*) AS n,
           (SELECT jsonb_agg(c ORDER BY c DESC) FROM
               (SELECT t, count(*) AS c FROM points_log i WHERE i.k = o.k AND t IS NOT NULL GROUP BY t ORDER BY c DESC LIMIT 3) y) AS top
    FROM points_log o GROUP BY k) b USING (k) ORDER BY k;
-- States of few values are small, and none exceeds its dense form.
SELECT attname FROM pg_attribute WHERE attrelid = 'eddy._approximate_state'::regclass AND attnum > 0 AND atttypid = 'bytea'::regtype ORDER BY attnum;
SELECT max(octet_length(_state1)) < 12300 AS x, max(octet_length(_state2)) < 210 AS t, max(octet_length(_state3)) < 8000 AS p90 FROM eddy._approximate_state;

SET client_min_messages = warning;
DROP TABLE points CASCADE;
DROP TABLE points_log, skewed, samples;
DROP PROCEDURE feed;
DROP FUNCTION is_parallel;
