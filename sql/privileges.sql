-- Required privileges, and the privileges with which expressions run.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE ROLE regress_eddy_owner;
CREATE ROLE regress_eddy_analyst;
CREATE ROLE regress_eddy_writer;
CREATE ROLE regress_eddy_nobody;
CREATE SCHEMA priv_test;
GRANT USAGE, CREATE ON SCHEMA priv_test TO regress_eddy_owner, regress_eddy_analyst;
GRANT USAGE ON SCHEMA priv_test TO regress_eddy_writer, regress_eddy_nobody;
SET search_path = priv_test;

SET ROLE regress_eddy_owner;
CREATE UNLOGGED TABLE sales (region text, amount int, who name DEFAULT current_user);
SELECT eddy.create_stream('sales');
SELECT eddy.create_continuous_view('by_region', 'SELECT region, sum(amount) FROM sales GROUP BY region');
GRANT INSERT ON sales TO regress_eddy_writer;

-- A writer needs only INSERT, and gains no privileges by writing.
SET ROLE regress_eddy_writer;
INSERT INTO sales VALUES ('north', 10), ('south', 20);
TABLE by_region;
TABLE sales;
SELECT * FROM eddy._by_region_state;
SELECT current_user;

-- Roles without privileges cannot read, create streams, or create views on streams of other roles.
SET ROLE regress_eddy_nobody;
INSERT INTO sales VALUES ('east', 1);
SELECT eddy.drop_stream('sales');
SELECT eddy.drop_continuous_view('by_region');
SELECT eddy.attach_kafka('sales', 'kafka', 'sales');
SELECT eddy.pause('sales');
CREATE TABLE eddy.mine (a int);
CREATE SERVER mine FOREIGN DATA WRAPPER eddy_kafka OPTIONS ("bootstrap.servers" 'localhost:9092');
SELECT eddy._notify();
RESET ROLE;
CREATE UNLOGGED TABLE admins_table (a int);
SET ROLE regress_eddy_owner;
SELECT eddy.create_stream('admins_table');
SET ROLE regress_eddy_analyst;
SELECT eddy.create_continuous_view('spy', 'SELECT count(*) FROM sales');

-- A role with TRIGGER and SELECT can create views. They run with its privileges, regardless of the writer.
SET ROLE regress_eddy_owner;
GRANT TRIGGER ON sales TO regress_eddy_analyst;
SET ROLE regress_eddy_analyst;
SELECT eddy.create_continuous_view('spy', 'SELECT count(*) FROM sales');
SET ROLE regress_eddy_owner;
GRANT SELECT ON sales TO regress_eddy_analyst;
SET ROLE regress_eddy_analyst;
CREATE FUNCTION whoami(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    RETURN current_user || ', search_path ' || current_setting('search_path') || ', TimeZone ' || current_setting('TimeZone');
END $$;
SELECT eddy.create_continuous_view('identity', 'SELECT whoami(region) AS evaluated_as, count(*) FROM sales GROUP BY 1');
RESET ROLE;
SET timezone = 'Asia/Tokyo';
INSERT INTO sales VALUES ('north', 1);
TABLE identity;
SHOW timezone;
SELECT current_user = session_user AS myself_again;
RESET timezone;

-- Expressions of views cannot use SET ROLE, create temporary objects, or change settings permanently.
SET ROLE regress_eddy_analyst;
CREATE FUNCTION escalate(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', 'regress_eddy_owner', false);
    RETURN 'escaped';
EXCEPTION WHEN others THEN
    RETURN SQLERRM;
END $$;
SELECT eddy.create_continuous_view('attack', 'SELECT escalate(region) AS outcome, count(*) FROM sales GROUP BY 1');
RESET ROLE;
INSERT INTO sales VALUES ('north', 1);
SELECT outcome, count FROM attack;
SELECT current_user = session_user AS myself_still;

-- The query of a view and its functions do not find operators and functions in the writer's schemas.
RESET ROLE;
CREATE SCHEMA priv_trap AUTHORIZATION regress_eddy_writer;
GRANT USAGE ON SCHEMA priv_trap TO PUBLIC;
SET ROLE regress_eddy_owner;
CREATE FUNCTION plus_one(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 + abs(-1); END';
SELECT eddy.create_continuous_view('by_size', $$
    SELECT amount > 10 AS large, sum(plus_one(amount)) AS plus_one, count(*) + 1 AS n, count(*) FILTER (WHERE region = 'trap') AS in_trap,
           count(nullif(abs(amount), 12)) AS not_12
    FROM sales WHERE region = 'trap' GROUP BY 1 HAVING count(*) >= 1 $$);
SET ROLE regress_eddy_writer;
SET search_path = priv_trap, pg_catalog, priv_test;
CREATE FUNCTION priv_trap.wrong(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 666';
CREATE FUNCTION priv_trap.wrong(bigint, bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT 666::bigint';
CREATE FUNCTION priv_trap.wrong(bigint, int) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT 666::bigint';
CREATE FUNCTION priv_trap.never(int, int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION priv_trap.never(text, text) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION priv_trap.never(bigint, int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION priv_trap.abs(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 666';
CREATE OPERATOR priv_trap.+ (LEFTARG = int, RIGHTARG = int, FUNCTION = priv_trap.wrong);
CREATE OPERATOR priv_trap.+ (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = priv_trap.wrong);
CREATE OPERATOR priv_trap.+ (LEFTARG = bigint, RIGHTARG = int, FUNCTION = priv_trap.wrong);
CREATE OPERATOR priv_trap.> (LEFTARG = int, RIGHTARG = int, FUNCTION = priv_trap.never);
CREATE OPERATOR priv_trap.= (LEFTARG = int, RIGHTARG = int, FUNCTION = priv_trap.never);
CREATE OPERATOR priv_trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = priv_trap.never);
CREATE OPERATOR priv_trap.>= (LEFTARG = bigint, RIGHTARG = int, FUNCTION = priv_trap.never);
-- the functions exist in the writer's schema
SELECT 1 + 1 AS sum, 2 > 1 AS greater, abs(-1) AS abs, 'a'::text = 'a'::text AS equal, 2::bigint >= 1 AS at_least;
INSERT INTO sales VALUES ('south', 5), ('trap', 12), ('trap', 3), ('trap', 30);
\c -
\set SHOW_CONTEXT never
SET ROLE regress_eddy_writer;
SET search_path = priv_trap, pg_catalog, priv_test;
INSERT INTO sales VALUES ('trap', 40);
RESET ROLE;
SET search_path = priv_test;
SET client_min_messages = warning;
DROP SCHEMA priv_trap CASCADE;
RESET client_min_messages;
SET ROLE regress_eddy_owner;
TABLE by_size ORDER BY large;
SELECT eddy.drop_continuous_view('by_size');
SELECT * FROM by_region ORDER BY region;

-- Row-level security of the stream applies to the owner of a view.
CREATE UNLOGGED TABLE visits (tenant text, n int);
SELECT eddy.create_stream('visits');
ALTER TABLE visits ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON visits USING (tenant = 'public');
GRANT SELECT, TRIGGER ON visits TO regress_eddy_analyst;
SET ROLE regress_eddy_analyst;
SELECT eddy.create_continuous_view('visible_visits', 'SELECT tenant, count(*) FROM visits GROUP BY tenant');
SET ROLE regress_eddy_owner;
INSERT INTO visits VALUES ('public', 1), ('secret', 2);
SET ROLE regress_eddy_analyst;
TABLE visible_visits;

-- Dead letters are visible to roles that may read all rows of the stream; its owner may delete them.
SELECT eddy.create_continuous_view('failing', 'SELECT sum(1 / n) FROM visits');
SET ROLE regress_eddy_owner;
INSERT INTO visits VALUES ('public', 0);
SELECT view, error FROM eddy.dead_letters WHERE stream = 'visits'::regclass;
SET ROLE regress_eddy_analyst;
SELECT view, error FROM eddy.dead_letters WHERE stream = 'visits'::regclass;
DELETE FROM eddy.dead_letters WHERE stream = 'visits'::regclass;
SET ROLE regress_eddy_nobody;
SELECT count(*) FROM eddy.dead_letters;
SET ROLE regress_eddy_owner;
DELETE FROM eddy.dead_letters WHERE stream = 'visits'::regclass;
RESET ROLE;

-- Revoking a privilege on a table suspends the views that need it, with the error.
REVOKE SELECT ON sales FROM regress_eddy_analyst;
INSERT INTO sales VALUES ('north', 1);
GRANT SELECT ON sales TO regress_eddy_analyst;
INSERT INTO sales VALUES ('north', 1);

-- The privileges of PUBLIC are exactly those that are documented.
\pset footer off
SELECT p.oid::regprocedure AS callable FROM pg_proc p
WHERE p.pronamespace = 'eddy'::regnamespace AND has_function_privilege('regress_eddy_nobody', p.oid, 'EXECUTE') ORDER BY 1;
SELECT c.relname, c.relkind FROM pg_class c
WHERE c.relnamespace = 'eddy'::regnamespace AND c.relkind IN ('r', 'v', 'S')
  AND has_table_privilege('regress_eddy_nobody', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') ORDER BY 1;

-- Some of them get states of aggregates, which any bytea can be: with a sum whose header is not complete, and whose digits are
-- none, and with each byte changed, of which the counts can be anything, and each number of bytes.
CREATE FUNCTION try_state(state bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN concat_ws(' ', eddy._exact_sum_numeric(state), eddy._exact_sum_numeric(eddy._exact_sum_combine(state, state)));
EXCEPTION WHEN OTHERS THEN RETURN SQLERRM;
END $$;
SELECT what, try_state(('\x00000000' || '0100000000000000' || repeat('00', 24) || sum)::bytea) FROM (VALUES
    ('-1.5', '28000000' || '80a0' || '0100' || '8813'), ('0', '18000000' || '0080'), ('no weight', '18000000' || '0000'),
    ('half a digit', '1c000000' || '0080' || '01'), ('a digit of 10000', '20000000' || '8080' || '1027'), ('NaN', '18000000' || '00c0')) v (what, sum);
SELECT count(try_state(substring(state FROM 1 FOR n))) = 5 * length(state) AS all_lengths,
    count(try_state(set_byte(state, n - 1, byte))) = 5 * length(state) AS all_bytes
FROM (SELECT eddy._exact_sum(v)::bytea AS state FROM (VALUES (1.5), (-70000000.25), ('NaN')) v (v)) s,
    LATERAL generate_series(1, length(state)) n, unnest('{0, 127, 128, 192, 255}'::int[]) byte GROUP BY state;

SET client_min_messages = warning;
DROP SCHEMA priv_test CASCADE;
DROP ROLE regress_eddy_owner, regress_eddy_analyst, regress_eddy_writer, regress_eddy_nobody;
