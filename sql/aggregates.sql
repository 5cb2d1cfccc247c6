-- All aggregates that have a combine function can be maintained.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET timezone = 'UTC';

CREATE UNLOGGED TABLE measures (k int, i2 int2, i4 int4, i8 int8, n numeric, f4 float4, f8 float8, b bool,
    t text, d date, ts timestamp, tz timestamptz, iv interval, m money, bits bit(8), ip inet);
SELECT eddy.create_stream('measures');
CREATE TABLE measures_log (LIKE measures);

-- All built-in aggregates with one argument and a combine function, from pg_aggregate.
CREATE TABLE calls AS
SELECT row_number() OVER (ORDER BY p.proname, c.column_name) AS id, p.proname AS agg, c.column_name AS arg
FROM pg_aggregate a
JOIN pg_proc p ON p.oid = a.aggfnoid
JOIN information_schema.columns c ON c.table_schema = 'public' AND c.table_name = 'measures' AND c.column_name <> 'k'
WHERE a.aggcombinefn <> 0 AND p.pronargs = 1 AND a.aggkind = 'n'
  AND p.pronamespace = 'pg_catalog'::regnamespace
  AND p.proname NOT IN ('array_agg', 'string_agg', 'any_value', 'range_agg', 'range_intersect_agg')
  AND p.proargtypes[0] = (c.udt_schema || '.' || c.udt_name)::regtype;
SELECT count(*) >= 100 AS enough FROM calls;

-- Eight views that use all of these aggregates, with and without keys.
CREATE FUNCTION select_list(part int) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%I(%I) AS c%s', agg, arg, id), ', ' ORDER BY id) FROM calls WHERE id % 4 = part
$$;
SELECT eddy.create_continuous_view('per_key_' || part, format('SELECT k, %s FROM measures GROUP BY k', select_list(part)))
FROM generate_series(0, 3) part;
SELECT eddy.create_continuous_view('overall_' || part, format('SELECT %s FROM measures', select_list(part)))
FROM generate_series(0, 3) part;
SELECT eddy.create_continuous_view('pairs', $$
    SELECT k, regr_count(f8, i4) AS n, regr_sxx(f8, i4) AS sxx, count(*) FILTER (WHERE b) AS yes,
           sum(n) FILTER (WHERE i4 > 0) AS positive
    FROM measures GROUP BY k $$);

-- Batches of several sizes, with NULLs, NaN and infinities. Values of type float are chosen so that their sums are exact.
CREATE FUNCTION feed(seed int, rows int) RETURNS void LANGUAGE sql AS $$
    WITH batch AS (
    INSERT INTO measures_log
    SELECT g % 7, (g * 37 + seed) % 101 - 50, CASE WHEN g % 13 > 0 THEN (g * 7919 + seed) % 100003 - 5000 END,
           (g::int8 * 1000003 * seed) % 9007199254740 , CASE WHEN g % 11 > 0 THEN (g * seed % 9973)::numeric / 100 END,
           (g % 64) / 4.0, (g * seed % 4096) / 8.0, CASE WHEN g % 5 > 0 THEN (g + seed) % 3 = 0 END,
           CASE WHEN g % 3 > 0 THEN md5((g * seed)::text) END, date '2026-01-01' + (g * seed) % 400,
           timestamp '2026-01-01' + g * interval '7 minutes', timestamptz '2026-01-01Z' - g * interval '3 hours',
           (g % 50) * interval '1 minute', ((g * seed) % 10000)::numeric::money, ((g * seed) % 256)::bit(8),
           ('10.0.' || g % 250 || '.1')::inet
    FROM generate_series(1, rows) g
    RETURNING *)
    INSERT INTO measures SELECT * FROM batch;
$$;
SELECT feed(3, 1);
SELECT feed(17, 100);
SELECT feed(5, 1000);
SELECT feed(11, 2500);
INSERT INTO measures (k, n, f8) VALUES (1, 'NaN', 'NaN'), (2, 'Infinity', '-Infinity') RETURNING k;
INSERT INTO measures_log (k, n, f8) VALUES (1, 'NaN', 'NaN'), (2, 'Infinity', '-Infinity');
INSERT INTO measures (k) VALUES (NULL), (8);
INSERT INTO measures_log (k) VALUES (NULL), (8);

/*
 * Values are compared exactly, as text, except for variances of floats: combining rounds
 * differently, so they are compared with 10 significant digits.
 */
CREATE FUNCTION rounded(r jsonb, approximate text[]) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_object_agg(key, CASE WHEN key = ANY (approximate) AND jsonb_typeof(value) = 'number' AND value::numeric <> 0
                                      THEN to_jsonb(trim_scale(round(value::numeric, 9 - floor(log(abs(value::numeric)))::int))) ELSE value END)
    FROM jsonb_each(r)
$$;
CREATE FUNCTION differences(view text, query text, approximate text[] DEFAULT '{}') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE result bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ((SELECT rounded(to_jsonb(a), $1) FROM %1$s a EXCEPT ALL SELECT rounded(to_jsonb(b), $1) FROM (%2$s) b)
                    UNION ALL (SELECT rounded(to_jsonb(b), $1) FROM (%2$s) b EXCEPT ALL SELECT rounded(to_jsonb(a), $1) FROM %1$s a)) x', view, query)
    INTO result USING approximate;
    RETURN result;
END $$;
CREATE FUNCTION approximate(part int) RETURNS text[] LANGUAGE sql AS $$
    SELECT coalesce(array_agg('c' || id), '{}') FROM calls WHERE id % 4 = part AND arg IN ('f4', 'f8') AND agg ~ '^(var|stddev)'
$$;
SELECT count(*) AS approximate FROM calls, approximate((id % 4)::int) a WHERE 'c' || id = ANY (a);
SELECT part, differences('per_key_' || part, format('SELECT k, %s FROM measures_log GROUP BY k', select_list(part)), approximate(part)),
       differences('overall_' || part, format('SELECT %s FROM measures_log', select_list(part)), approximate(part))
FROM generate_series(0, 3) part;
SELECT differences('pairs', $$
    SELECT k, regr_count(f8, i4) AS n, regr_sxx(f8, i4) AS sxx, count(*) FILTER (WHERE b) AS yes,
           sum(n) FILTER (WHERE i4 > 0) AS positive
    FROM measures_log GROUP BY k $$, '{sxx}');

-- The comparison detects an error of 1 in the sum of a column or in one group, and of the tenth digit of a variance.
SELECT format('SELECT k, %s FROM measures_log GROUP BY k', select_list(part)) AS query, format('sum(i8) AS c%s', id) AS sum, 'per_key_' || part AS view, approximate(part) AS approximate
FROM calls, LATERAL (SELECT (id % 4)::int AS part) p WHERE agg = 'sum' AND arg = 'i8' \gset
SELECT max(abs(sum)) > 1e12 AS large FROM (SELECT sum(i8) FROM measures_log GROUP BY k) x;
SELECT differences(:'view', replace(:'query', :'sum', replace(:'sum', 'sum(i8)', 'sum(i8) + 1')), :'approximate') AS all_groups,
       differences(:'view', replace(:'query', :'sum', replace(:'sum', 'sum(i8)', 'sum(i8) + (k = 3)::int')), :'approximate') AS one_group,
       differences(:'view', :'query' || ' HAVING k IS DISTINCT FROM 3', :'approximate') AS group_too_many,
       differences(:'view', :'query' || ' UNION ALL ' || replace(replace(:'query', 'SELECT k,', 'SELECT 99,'), 'GROUP BY k', 'WHERE false'), :'approximate') AS group_missing;
SELECT differences('pairs', $$
    SELECT k, regr_count(f8, i4) AS n, regr_sxx(f8, i4) * (1 + 2e-9) AS sxx, count(*) FILTER (WHERE b) AS yes,
           sum(n) FILTER (WHERE i4 > 0) AS positive
    FROM measures_log GROUP BY k $$, '{sxx}') > 0 AS variance_differs;

-- A user-defined aggregate with two arguments and functions in SQL.
CREATE FUNCTION weighted_add(s numeric[], v numeric, w numeric) RETURNS numeric[] IMMUTABLE STRICT LANGUAGE sql
    AS 'SELECT ARRAY[s[1] + v * w, s[2] + w]';
CREATE FUNCTION weighted_combine(a numeric[], b numeric[]) RETURNS numeric[] IMMUTABLE STRICT LANGUAGE sql
    AS 'SELECT ARRAY[a[1] + b[1], a[2] + b[2]]';
CREATE FUNCTION weighted_final(s numeric[]) RETURNS numeric IMMUTABLE LANGUAGE sql
    AS 'SELECT round(s[1] / nullif(s[2], 0), 4)';
CREATE AGGREGATE weighted_avg(numeric, numeric) (sfunc = weighted_add, stype = numeric[], combinefunc = weighted_combine,
    finalfunc = weighted_final, initcond = '{0,0}');
SELECT eddy.create_continuous_view('weighted', 'SELECT k, weighted_avg(i4::numeric, i2::numeric) AS w FROM measures GROUP BY k',
                                   start => 'staged');
SELECT feed(23, 500);
SELECT differences('weighted', 'SELECT k, weighted_avg(i4::numeric, i2::numeric) AS w FROM measures_log GROUP BY k');

/*
 * A strict transition function that returns NULL is not called again: the result of the group remains NULL,
 * regardless of the division of its rows into batches. A group without input is a different case.
 */
CREATE FUNCTION sum_to_100(s int, v int) RETURNS int IMMUTABLE STRICT LANGUAGE sql AS 'SELECT CASE WHEN s + v <= 100 THEN s + v END';
CREATE FUNCTION weigh_to_100(s int, v int, w int) RETURNS int IMMUTABLE STRICT LANGUAGE sql AS 'SELECT CASE WHEN s + v * w <= 100 THEN s + v * w END';
CREATE FUNCTION describe(s int) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT coalesce('sum ' || s, 'none')$$;
CREATE AGGREGATE bounded_sum(int) (sfunc = sum_to_100, stype = int, combinefunc = sum_to_100);
CREATE AGGREGATE bounded_sum_0(int) (sfunc = sum_to_100, stype = int, combinefunc = sum_to_100, initcond = '0');
CREATE AGGREGATE described_sum(int) (sfunc = sum_to_100, stype = int, combinefunc = sum_to_100, finalfunc = describe);
CREATE AGGREGATE weighted_sum(int, int) (sfunc = weigh_to_100, stype = int, combinefunc = sum_to_100, initcond = '0');
CREATE UNLOGGED TABLE bounded (k int, v int, w int);
SELECT eddy.create_stream('bounded');
CREATE TABLE bounded_log (LIKE bounded);
SELECT eddy.create_continuous_view('lost', $$
    SELECT k, bounded_sum(v), bounded_sum_0(v) AS from_0, described_sum(v), weighted_sum(v, w), bounded_sum(v) FILTER (WHERE w > 1) AS some,
           bounded_sum(v) + 1 AS more, count(*) AS n
    FROM bounded GROUP BY k $$);
SELECT eddy.create_continuous_view('lost_overall', 'SELECT bounded_sum(v), described_sum(v), count(*) AS n FROM bounded WHERE k < 3');
CREATE PROCEDURE add_bounded(rows text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO bounded VALUES %s', rows);
    EXECUTE format('INSERT INTO bounded_log VALUES %s', rows);
END $$;
CREATE FUNCTION lost_differences() RETURNS bigint LANGUAGE sql AS $$
    SELECT differences('lost', 'SELECT k, bounded_sum(v), bounded_sum_0(v) AS from_0, described_sum(v), weighted_sum(v, w), bounded_sum(v) FILTER (WHERE w > 1) AS some,
                                       bounded_sum(v) + 1 AS more, count(*) AS n FROM bounded_log GROUP BY k')
         + differences('lost_overall', 'SELECT bounded_sum(v), described_sum(v), count(*) AS n FROM bounded_log WHERE k < 3')
$$;
CALL add_bounded('(1, 60, 1), (2, NULL, 1), (3, 70, 2), (3, 70, 1), (4, 50, 1)');
SELECT lost_differences();
CALL add_bounded('(1, 30, 1), (2, 5, NULL), (3, 1, 1), (4, 60, 1)');
SELECT lost_differences();
CALL add_bounded('(1, 20, 2), (2, 7, 3), (3, NULL, 1), (4, 1, 3)');
SELECT lost_differences();
-- several deltas for one group in one statement
WITH a AS (INSERT INTO bounded VALUES (5, 99, 1), (6, 1, 1) RETURNING 1), b AS (INSERT INTO bounded VALUES (5, 1, 1), (5, 1, 1), (6, 2, 1) RETURNING 1),
     c AS (INSERT INTO bounded VALUES (5, 3, 2), (6, 4, 2) RETURNING 1) SELECT count(*) FROM a, b, c;
INSERT INTO bounded_log VALUES (5, 99, 1), (6, 1, 1), (5, 1, 1), (5, 1, 1), (6, 2, 1), (5, 3, 2), (6, 4, 2);
CALL add_bounded('(1, 1, 2), (2, 1, 1), (3, 1, 1), (4, 1, 1), (5, 1, 1), (6, 1, 5), (7, NULL, NULL)');
SELECT lost_differences();
TABLE lost ORDER BY k;
TABLE lost_overall;

-- Groups are compared with the operators of their type: 1.0 and 1.00 are one group, NaN is one group, and so are -0 and 0 of type float.
CREATE UNLOGGED TABLE odd_keys (n numeric, f float8, c "char", a int[]);
SELECT eddy.create_stream('odd_keys');
SELECT eddy.create_continuous_view('odd_numeric', 'SELECT n, count(*) FROM odd_keys GROUP BY n');
SELECT eddy.create_continuous_view('odd_float', 'SELECT f, count(*) FROM odd_keys GROUP BY f');
SELECT eddy.create_continuous_view('odd_array', 'SELECT a, c, count(*) FROM odd_keys GROUP BY a, c');
INSERT INTO odd_keys VALUES (1.0, 0, 'a', '{1,2}'), ('NaN', 'NaN', 'a', NULL);
INSERT INTO odd_keys VALUES (1.00, '-0', 'a', '{1,2}'), ('NaN', 'NaN', 'a', NULL), (NULL, NULL, NULL, NULL);
INSERT INTO odd_keys VALUES (NULL, NULL, NULL, NULL);
SELECT * FROM odd_numeric ORDER BY n;
SELECT * FROM odd_float ORDER BY f;
SELECT * FROM odd_array ORDER BY a, c;

SET client_min_messages = warning;
DROP TABLE measures, odd_keys, bounded CASCADE;
DROP TABLE measures_log, bounded_log, calls;
DROP FUNCTION feed, select_list, approximate, rounded, differences;
DROP AGGREGATE weighted_avg(numeric, numeric);
DROP FUNCTION weighted_add, weighted_combine, weighted_final;
DROP AGGREGATE bounded_sum(int), bounded_sum_0(int), described_sum(int), weighted_sum(int, int);
DROP FUNCTION sum_to_100, weigh_to_100, describe, lost_differences;
DROP PROCEDURE add_bounded;
