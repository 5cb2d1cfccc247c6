-- A failure of one view does not affect other views, and a failed maintenance has no effects.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never

CREATE UNLOGGED TABLE readings (id int, k text, f float8, m money, n numeric, b bigint);
SELECT eddy.create_stream('readings');
SELECT eddy.create_continuous_view('counted', 'SELECT count(*) FROM readings');

-- If an aggregate overflows in the merge, the row at which it overflows is rejected.
SELECT eddy.create_continuous_view('floats', 'SELECT sum(f) FROM readings');
SELECT eddy.create_continuous_view('moneys', 'SELECT k, sum(m) FROM readings GROUP BY k');
SELECT eddy.create_continuous_view('numerics', 'SELECT sum(n) FROM readings');
SELECT eddy.create_continuous_view('longs', 'SELECT k, sum(b::int8 % 10) AS digits, sum(b)::int8 AS total FROM readings GROUP BY k');
INSERT INTO readings VALUES (1, 'a', 1e308, 90000000000000000::numeric::money, 9e131071, 9000000000000000000);
INSERT INTO readings VALUES (2, 'a', 1e308, 90000000000000000::numeric::money, 9e131071, 9000000000000000000);
INSERT INTO readings SELECT g, 'a', 1e307, 1::money, 1, 1 FROM generate_series(3, 12) g;
INSERT INTO readings SELECT g, 'b', 1, 50000000000000000::numeric::money, 1, 5000000000000000000 FROM generate_series(13, 15) g;
TABLE counted;
SELECT sum >= 1e308 AND sum < 'infinity' AS finite FROM floats;
SELECT * FROM moneys ORDER BY k;
SELECT * FROM longs ORDER BY k;
SELECT view, (convert_from(payload, 'UTF8')::json ->> 'id')::int AS id, error, sqlstate FROM eddy.dead_letters
WHERE stream = 'readings'::regclass ORDER BY view::text, 2;
DELETE FROM eddy.dead_letters WHERE stream = 'readings'::regclass;

-- A row whose key is too long for the index is rejected; other rows and other views are unaffected.
SELECT eddy.create_continuous_view('keyed', 'SELECT k, count(*) FROM readings GROUP BY k');
INSERT INTO readings (id, k)
SELECT g, CASE WHEN g % 2 = 0 THEN (SELECT string_agg(md5(i::text), '') FROM generate_series(1, g * 10) i) ELSE 'c' END
FROM unnest(ARRAY[21, 22, 23, 200]) g;
SELECT left(k, 5) AS k, count FROM keyed;
SELECT view, (convert_from(payload, 'UTF8')::json ->> 'id')::int AS id, error, sqlstate FROM eddy.dead_letters
WHERE stream = 'readings'::regclass ORDER BY view::text, 2;
DELETE FROM eddy.dead_letters WHERE stream = 'readings'::regclass;
-- also one that the table it comes from stores out of line
CREATE TABLE stored (id int, k text);
INSERT INTO stored VALUES (25, 'c'), (26, (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i));
INSERT INTO readings (id, k) SELECT * FROM stored;
DROP TABLE stored;
SELECT left(k, 5) AS k, count FROM keyed;
SELECT view, (convert_from(payload, 'UTF8')::json ->> 'id')::int AS id, error, sqlstate FROM eddy.dead_letters
WHERE stream = 'readings'::regclass ORDER BY view::text;
-- a key that can be compressed fits
INSERT INTO readings (id, k) VALUES (24, repeat('d', 6000));
SELECT left(k, 5) AS k, count FROM keyed ORDER BY k;
DELETE FROM eddy.dead_letters WHERE stream = 'readings'::regclass;

-- All failing rows of a statement are found, and no other row is rejected.
SELECT eddy.create_continuous_view('quotients', 'SELECT k, 100 / sum(b) AS quotient, count(*) FROM readings GROUP BY k');
INSERT INTO readings (id, k, b)
SELECT g, 'group ' || g % 400, CASE WHEN g > 1600 AND g % 400 < 300 THEN -4 ELSE 1 END FROM generate_series(1, 2000) g;
SELECT count(*), sum(count), min(quotient), max(quotient) FROM quotients;
SELECT count(*), min(error), bool_and((convert_from(payload, 'UTF8')::json ->> 'b')::int = -4) AS the_last_of_each
FROM eddy.dead_letters WHERE view = 'quotients'::regclass;

-- With on_error => 'stop' the statement fails.
SELECT eddy.create_continuous_view('strict', 'SELECT sum(f) AS f FROM readings', on_error => 'stop');
INSERT INTO readings (id, f) VALUES (30, 1e308);
INSERT INTO readings (id, f) VALUES (31, 1e308);
TABLE strict;
SELECT count(*) FROM readings WHERE id = 31;
DROP VIEW strict;

-- A function of a view cannot insert into a stream: the row is rejected by that view.
CREATE FUNCTION add_reading() RETURNS void LANGUAGE sql VOLATILE AS 'INSERT INTO public.readings (id) VALUES (-1)';
CREATE FUNCTION sneaky(i int) RETURNS int LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM public.add_reading(); RETURN i; END $$;
SELECT eddy.create_continuous_view('sneak', 'SELECT sneaky(id) AS id, count(*) FROM readings WHERE id = 40 GROUP BY 1');
SELECT eddy.create_continuous_view('sneak_out', 'SELECT sneaky(count(*)::int) AS n FROM readings WHERE id = 40 GROUP BY k');
INSERT INTO readings (id) VALUES (40), (41);
SELECT (SELECT count(*) FROM sneak), (SELECT count(*) FROM sneak_out), (SELECT count(*) FROM readings WHERE id = -1);
SELECT view, error, sqlstate FROM eddy.dead_letters WHERE view IN ('sneak'::regclass, 'sneak_out'::regclass) ORDER BY view::text;
DROP VIEW sneak, sneak_out;

-- A function that changes an array in place does not change the stored array.
CREATE FUNCTION spoil(a int[]) RETURNS int[] LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN a[1] := -1; RETURN a; END $$;
CREATE FUNCTION concat_arrays(a int[], b int[]) RETURNS int[] LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN a := coalesce(a, '{}') || b; RETURN a; END $$;
CREATE AGGREGATE collect(int) (sfunc = array_append, stype = int[], combinefunc = concat_arrays, initcond = '{}');
SELECT eddy.create_continuous_view('spoiled', 'SELECT spoil(collect(id)) AS spoiled, collect(id) AS kept, spoil(collect(id)) AS again
    FROM readings WHERE id BETWEEN 50 AND 59');
INSERT INTO readings (id) VALUES (50), (51);
INSERT INTO readings (id) VALUES (52);
INSERT INTO readings (id) VALUES (53), (54);
TABLE spoiled;

-- Creation is atomic, also in a block with an exception handler and after a savepoint.
DO $$
BEGIN
    PERFORM eddy.create_continuous_view('broken', 'SELECT count(*) FROM readings WHERE id > 1 / 0', start => 'staged');
EXCEPTION WHEN division_by_zero THEN
    RAISE NOTICE 'caught: %', SQLERRM;
END $$;
SELECT count(*) > 0 AS planned FROM readings;
BEGIN;
SAVEPOINT before;
SELECT eddy.create_continuous_view('broken', 'SELECT count(*) FROM readings WHERE id > 1 / 0', start => 'staged');
ROLLBACK TO before;
SELECT count(*) > 0 AS planned FROM readings;
INSERT INTO readings (id) VALUES (60);
COMMIT;
SELECT count(*) FROM eddy.continuous_views WHERE view::text = 'broken';

-- Staged rows on which a new view fails become dead letters.
SELECT eddy.create_continuous_view('staged', 'SELECT 10 / (id - 60) AS q, count(*) FROM readings WHERE id >= 50 GROUP BY 1', start => 'staged');
SELECT * FROM staged ORDER BY q;
SELECT (convert_from(payload, 'UTF8')::json ->> 'id')::int AS id, error FROM eddy.dead_letters WHERE view = 'staged'::regclass;

-- A replaced function is used after an error in a subtransaction.
CREATE FUNCTION times(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN i * 1 / (70 - i); END';
SELECT eddy.create_continuous_view('pinned', 'SELECT sum(times(id)) AS s FROM readings WHERE id BETWEEN 70 AND 79', on_error => 'stop');
BEGIN;
DO $$ BEGIN INSERT INTO readings (id) VALUES (70); EXCEPTION WHEN division_by_zero THEN RAISE NOTICE 'caught'; END $$;
CREATE OR REPLACE FUNCTION times(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN i * 1000; END';
INSERT INTO readings (id) VALUES (70);
COMMIT;
TABLE pinned;

-- An open session handles renames of objects of the view, whose meaning does not change.
CREATE SCHEMA near;
CREATE TABLE near.places (id int, home text, work text);
INSERT INTO near.places VALUES (75, 'h', 'w');
CREATE FUNCTION near.mark(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT t || '!' $$;
SELECT eddy.create_continuous_view('homes', 'SELECT near.mark(p.home) AS home, count(*) FROM readings r JOIN near.places p USING (id) GROUP BY 1');
INSERT INTO readings (id) VALUES (75);
ALTER TABLE near.places RENAME home TO other;
ALTER TABLE near.places RENAME work TO home;
INSERT INTO readings (id) VALUES (75);
ALTER SCHEMA near RENAME TO far;
ALTER FUNCTION far.mark(text) RENAME TO marked;
INSERT INTO readings (id) VALUES (75);
TABLE homes;
SET client_min_messages = warning;
DROP SCHEMA far CASCADE;
RESET client_min_messages;

-- A view is suspended if one of its aggregates is replaced; names are irrelevant.
CREATE SCHEMA own_aggregates;
CREATE AGGREGATE own_aggregates.total(int) (sfunc = int4pl, stype = int, combinefunc = int4pl, initcond = '0');
SELECT eddy.create_continuous_view('totals', 'SELECT own_aggregates.total(id) AS t FROM readings WHERE id BETWEEN 80 AND 89');
ALTER AGGREGATE own_aggregates.total(int) RENAME TO grand_total;
ALTER SCHEMA own_aggregates RENAME TO their_aggregates;
INSERT INTO readings (id) VALUES (80), (81);
TABLE totals;
CREATE OR REPLACE AGGREGATE their_aggregates.grand_total(int) (sfunc = int4mul, stype = int, combinefunc = int4mul, initcond = '1');
INSERT INTO readings (id) VALUES (80), (81);
TABLE totals;
-- renaming does not restore the view
ALTER SCHEMA their_aggregates RENAME TO own_aggregates;
SELECT view, state, error FROM eddy._view_status WHERE view = 'totals'::regclass;

-- A state table that a superuser has altered is detected.
SELECT eddy.create_continuous_view('averages', 'SELECT avg(n) FROM readings WHERE id BETWEEN 90 AND 99');
INSERT INTO readings (id, n) VALUES (90, 1);
ALTER TABLE eddy._averages_state ALTER COLUMN _state1 TYPE bigint USING 1311768467463790320;
INSERT INTO readings (id, n) VALUES (91, 2);
SELECT count(*) FROM readings WHERE id = 91;
SELECT view, state, error FROM eddy._view_status WHERE view = 'averages'::regclass;

-- A missing index of a state table, and a kind of view that this version does not support, suspend the view.
SELECT eddy.create_continuous_view('sums', 'SELECT id, sum(n) FROM readings WHERE id = 92 GROUP BY id');
DROP INDEX eddy._sums_state_id_idx;
INSERT INTO readings (id, n) VALUES (92, 1);
SELECT eddy.resume('sums');
SELECT eddy.create_continuous_view('maxima', 'SELECT max(n) FROM readings WHERE id = 93');
UPDATE eddy._view SET kind = 'minimizing' WHERE view = 'maxima'::regclass;
INSERT INTO readings (id, n) VALUES (93, 1);

-- Altering a stream while its rows are pending is an error.
CREATE TABLE trigger_table (i int);
CREATE FUNCTION insert_and_alter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO readings (id) VALUES (100);
    ALTER TABLE readings ADD COLUMN extra int;
    RETURN NULL;
END $$;
CREATE TRIGGER insert_and_alter AFTER INSERT ON trigger_table FOR EACH ROW EXECUTE FUNCTION insert_and_alter();
INSERT INTO trigger_table VALUES (1);
SELECT count(*) FROM readings WHERE id = 100;

-- Plans of dropped views are freed.
SET client_min_messages = warning;
DROP TABLE readings CASCADE;
RESET client_min_messages;
SELECT ident FROM pg_backend_memory_contexts WHERE name = 'pg_eddy view plan';

SET client_min_messages = warning;
DROP TABLE trigger_table;
DROP FUNCTION add_reading, sneaky, spoil, times, insert_and_alter;
DROP AGGREGATE collect(int);
DROP FUNCTION concat_arrays;
DROP SCHEMA own_aggregates CASCADE;

-- Single-row INSERTs into few groups: old versions of their rows are removed while new ones are written, so that the state
-- does not grow. Another transaction can delay that.
CREATE UNLOGGED TABLE meters (meter int, value int);
SELECT eddy.create_stream('meters');
SELECT eddy.create_continuous_view('per_meter', 'SELECT meter, count(*) AS n, max(value) AS highest FROM meters GROUP BY meter');
\set ECHO none
SELECT format('INSERT INTO meters VALUES (%s, %s)', n % 10, n) FROM generate_series(1, 1500) n \gexec
\set ECHO all
SELECT pg_relation_size(state_table) / current_setting('block_size')::int <= 4 AS is_small, (SELECT sum(n) FROM per_meter) AS n
FROM eddy.continuous_views WHERE view = 'per_meter'::regclass;
DROP TABLE meters CASCADE;
