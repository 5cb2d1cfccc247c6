-- Results depend on the view only: settings of the inserting session do not change them.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never

-- Expressions whose results depend on settings, for all such settings.
CREATE FUNCTION probe(expression text) RETURNS text STABLE LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    EXECUTE 'SELECT (' || expression || ')::text' INTO result;
    RETURN coalesce(result, 'NULL');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
CREATE FUNCTION ambiguous() RETURNS text STABLE LANGUAGE plpgsql AS $$
DECLARE relname text := 'variable';
BEGIN
    RETURN (SELECT relname FROM pg_class WHERE oid = 'pg_class'::regclass);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
CREATE FUNCTION shadowed() RETURNS text STABLE LANGUAGE plpgsql AS $$
DECLARE n int := 1;
BEGIN
    DECLARE n int := 2;
    BEGIN
        RETURN n;
    END;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
CREATE FUNCTION asserting() RETURNS text STABLE LANGUAGE plpgsql AS $$
BEGIN
    ASSERT false;
    RETURN 'not checked';
EXCEPTION WHEN assert_failure THEN
    RETURN 'checked';
END $$;
CREATE TABLE probes (setting text, expression text);
INSERT INTO probes VALUES
    ('DateStyle', $$'03-04-05'::date$$), ('DateStyle (output)', $$date '2026-03-04'$$), ('IntervalStyle', $$interval '-1 day 2 hours'$$),
    ('TimeZone', $$timestamptz '2026-01-01 12:00Z'$$), ('TimeZone (input)', $$extract(epoch FROM timestamptz '2026-01-01 12:00')$$),
    ('array_nulls', $$('{NULL}'::text[])[1] IS NULL$$), ('backslash_quote', $$E'it\'s'$$), ('bytea_output', $$'\x4142'::bytea$$),
    ('default_text_search_config', $$to_tsvector('the running dogs') = to_tsvector('pg_catalog.simple', 'the running dogs')$$),
    ('extra_float_digits', $$0.1::float8 + 0.2::float8$$), ('lc_messages', $$current_setting('lc_messages') = 'POSIX'$$),
    ('lc_monetary', $$current_setting('lc_monetary') = 'POSIX'$$), ('lc_numeric', $$current_setting('lc_numeric') = 'POSIX'$$),
    ('lc_time', $$current_setting('lc_time') = 'POSIX'$$), ('plpgsql.check_asserts', $$asserting()$$), ('plpgsql.extra_errors', $$shadowed()$$),
    ('plpgsql.variable_conflict', $$ambiguous()$$), ('quote_all_identifiers', $$format('%I', 'a')$$),
    ('search_path', $$to_regclass('probes') IS NULL$$), ('standard_conforming_strings', $$length('a\n')$$),
    ('timezone_abbreviations', $$timestamptz '2026-01-01 12:00 EST'$$), ('transform_null_equals', $$1 = NULL$$),
    ('xmlbinary', $$xmlelement(name x, '\x4142'::bytea)$$), ('xmloption', $$'a<b/>'::xml$$),
    ('jit', $$current_setting('jit')$$), ('row_security', $$current_setting('row_security')$$),
    ('gin_fuzzy_search_limit', $$current_setting('gin_fuzzy_search_limit')$$), ('exit_on_error', $$current_setting('exit_on_error')$$);
UPDATE probes SET expression = replace(expression, f, 'public.' || f) FROM unnest('{asserting(), shadowed(), ambiguous()}'::text[]) f WHERE expression = f;

CREATE UNLOGGED TABLE probed (run int, setting text, expression text);
SELECT eddy.create_stream('probed');
SELECT eddy.create_continuous_view('results', 'SELECT setting, probe(expression) AS result, sum(run) AS runs, 10 / min(run) AS always_ten FROM probed GROUP BY 1, 2');
INSERT INTO probed SELECT 1, * FROM probes;

-- A session that changes all of these settings.
\c -
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET array_nulls = off; SET backslash_quote = off; SET bytea_output = escape; SET DateStyle = 'German, DMY'; SET default_text_search_config = 'pg_catalog.german';
SET exit_on_error = on; SET extra_float_digits = -15; SET gin_fuzzy_search_limit = 1; SET IntervalStyle = iso_8601; SET jit = on;
SET lc_messages = 'POSIX'; SET lc_monetary = 'POSIX'; SET lc_numeric = 'POSIX'; SET lc_time = 'POSIX';
SET quote_all_identifiers = on; SET row_security = off; SET standard_conforming_strings = off; SET TimeZone = 'Asia/Tokyo'; SET timezone_abbreviations = 'Australia';
SET transform_null_equals = on; SET xmlbinary = hex; SET xmloption = document;
SET plpgsql.check_asserts = off; SET plpgsql.extra_errors = 'all'; SET plpgsql.variable_conflict = use_column;
SET search_path = public, pg_catalog;
INSERT INTO probed SELECT 2, * FROM probes;
INSERT INTO probed SELECT 4, * FROM probes;

-- A failing row becomes a dead letter and does not terminate the session, which has set exit_on_error.
CREATE UNLOGGED TABLE divisors (d int);
SELECT eddy.create_stream('divisors');
SELECT eddy.create_continuous_view('quotients', 'SELECT 10 / d AS q, count(*) FROM divisors GROUP BY 1');
INSERT INTO divisors VALUES (1), (0), (5);
TABLE quotients ORDER BY q;
SELECT view, error FROM eddy.dead_letters WHERE stream = 'divisors'::regclass;
SELECT name, setting FROM pg_settings WHERE name IN ('exit_on_error', 'bytea_output', 'lc_time', 'TimeZone', 'jit') ORDER BY name;

\c -
\set SHOW_CONTEXT never
SELECT * FROM results ORDER BY setting COLLATE "C", result;
SELECT setting, result FROM results WHERE runs <> 7;

/*
 * Settings at the creation of a view affect its definition, as with any view, and have no effect
 * afterwards: the view is compared with its definition.
 */
CREATE UNLOGGED TABLE readings (id int, at timestamptz, v int);
SELECT eddy.create_stream('readings', retention => '1 hour');
SET transform_null_equals = on;
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'German, DMY';
SELECT eddy.create_continuous_view('made_abroad', $$
    SELECT at >= '02-01-2026' AS recent, v = NULL AS missing, count(*) AS n FROM readings GROUP BY 1, 2 $$);
RESET transform_null_equals;
SET TimeZone = 'America/New_York';
SET DateStyle = 'ISO, MDY';
INSERT INTO readings VALUES (1, '2026-01-01 14:59Z', 1), (2, '2026-01-01 15:00Z', NULL), (3, '2026-01-02 00:00Z', 2);
RESET TimeZone;
INSERT INTO readings VALUES (4, '2026-01-01 14:59:59.999999Z', NULL);
TABLE made_abroad ORDER BY recent, missing;
(TABLE made_abroad EXCEPT ALL TABLE eddy._made_abroad_def) UNION ALL (TABLE eddy._made_abroad_def EXCEPT ALL TABLE made_abroad);

SET client_min_messages = warning;
DROP TABLE probed, divisors, readings CASCADE;
DROP TABLE probes;
DROP FUNCTION probe, ambiguous, shadowed, asserting;
