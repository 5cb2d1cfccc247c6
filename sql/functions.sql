-- Functions whose result depends on the current time, the session or the server are refused, or their values are rejected.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never

CREATE UNLOGGED TABLE visits (id int, t text, at timestamptz, local timestamp, x xid);
SELECT eddy.create_stream('visits');
CREATE FUNCTION outcome(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE reason text;
BEGIN
    PERFORM eddy.create_continuous_view('v', format('SELECT %s AS k, count(*) FROM visits GROUP BY 1', expression));
    PERFORM eddy.drop_continuous_view('v');
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS reason = PG_EXCEPTION_DETAIL;
    RETURN SQLERRM || ': ' || reason;
END $$;

\set VERBOSITY default
SELECT eddy.create_continuous_view('v', 'SELECT session_user AS who, count(*) FROM visits GROUP BY 1');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM visits WHERE age(at) > ''1 day''');

-- Keywords and functions.
SELECT expression, outcome(expression) FROM unnest(ARRAY['current_date', 'current_time', 'current_time(2)', 'current_timestamp', 'current_timestamp(3)',
    'localtime', 'localtime(1)', 'localtimestamp', 'localtimestamp(0)', 'current_role', 'current_user', 'user', 'session_user', 'current_schema',
    'current_catalog', 'current_database()', 'now()', 'clock_timestamp()', 'age(at)', 'age(local)', 'age(x)', 'age(at, at)', 'current_setting(''TimeZone'')',
    'current_setting(t, true)', 'pg_backend_pid()', 'txid_current()', 'pg_current_xact_id_if_assigned()::text', 'inet_client_addr()', 'pg_trigger_depth()',
    'pg_client_encoding()', 'pg_postmaster_start_time()', 'pg_stat_get_numscans(id::oid)', 'pg_column_size(t)', 'pg_relation_filenode(id::oid)', 'table_to_xml(''visits'', true, true, t)::text',
    't::timetz AT TIME ZONE ''Europe/Oslo''', 'nextval(''s'')', 'random()', 'timeofday()', 'set_config(''a.b'', t, true)',
    'date_trunc(''day'', at)', 'at::date', 'to_char(at, ''YYYY'')', 'extract(dow FROM at)', 'to_tsvector(t)::text', 'has_table_privilege(''visits'', ''SELECT'')']) expression;

-- Stable functions of pg_catalog that are refused in all versions; in version 15 no others are refused.
CREATE FUNCTION refused(f regprocedure) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eddy.create_continuous_view('v', format('SELECT count(*) FROM visits WHERE pg_catalog.%I(%s) IS NULL', proname,
        (SELECT string_agg(CASE WHEN t = '"any"'::regtype THEN 'NULL' WHEN t::text LIKE 'any%array' THEN 'NULL::int[]' WHEN t::text LIKE 'any%multirange' THEN 'NULL::int4multirange'
                                WHEN t::text LIKE 'any%range' THEN 'NULL::int4range' WHEN t = 'anyenum'::regtype THEN 'NULL::mood'
                                WHEN t = 'record'::regtype THEN 'NULL::visits' WHEN t::text LIKE 'any%' THEN 'NULL::int'
                                ELSE 'NULL::' || t::text END, ', ' ORDER BY n)
         FROM unnest(proargtypes::regtype[]) WITH ORDINALITY a(t, n)))) FROM pg_proc WHERE oid = f;
    PERFORM eddy.drop_continuous_view('v');
    RETURN false;
EXCEPTION WHEN feature_not_supported THEN
    RETURN SQLERRM LIKE 'function "%" cannot be used%' OR SQLERRM LIKE '%current time%';
WHEN OTHERS THEN
    RETURN false;
END $$;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TEMP TABLE refused_functions AS SELECT DISTINCT proname::text AS name
FROM pg_proc p WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 's' AND prokind = 'f' AND prorettype <> 'internal'::regtype AND NOT proretset
  AND 'internal'::regtype <> ALL (proargtypes::regtype[]) AND 'cstring'::regtype <> ALL (proargtypes::regtype[]) AND prorettype <> 'cstring'::regtype
  AND proname !~ '^(pg_stat_get|has|pg_get|to_reg|date|timestamptz|timestamp_)_?' AND refused(oid);
CREATE TEMP TABLE known_functions AS SELECT name FROM regexp_split_to_table('
age current_schema current_schemas current_setting current_user database_to_xml database_to_xml_and_xmlschema
database_to_xmlschema getpgusername inet_client_addr inet_client_port inet_server_addr inet_server_port
mxid_age now pg_backend_pid pg_client_encoding pg_column_compression pg_column_size pg_conf_load_time
pg_current_snapshot pg_current_xact_id pg_current_xact_id_if_assigned pg_filenode_relation
pg_is_other_temp_schema pg_my_temp_schema pg_postmaster_start_time pg_relation_filenode pg_relation_filepath
pg_trigger_depth schema_to_xml schema_to_xml_and_xmlschema schema_to_xmlschema session_user
statement_timestamp table_to_xml table_to_xml_and_xmlschema table_to_xmlschema timezone transaction_timestamp
txid_current txid_current_if_assigned txid_current_snapshot', '\s+') name WHERE name <> '';
TABLE known_functions EXCEPT TABLE refused_functions ORDER BY name;
SELECT name FROM refused_functions WHERE current_setting('server_version_num')::int / 10000 = 15 EXCEPT TABLE known_functions ORDER BY name;

-- Constraints of domains to which values are cast.
CREATE DOMAIN past AS timestamptz CHECK (VALUE < now());
CREATE DOMAIN late_past AS past CHECK (VALUE > '1970-01-01');
CREATE DOMAIN lucky AS int CHECK (VALUE > random());
CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0);
SELECT expression, outcome(expression) FROM unnest('{at::past, at::late_past, id::lucky, id::even}'::text[]) expression;

-- Words for the current time are errors of the rows that contain them; the other rows are counted.
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE DOMAIN moment AS timestamptz;
SELECT eddy.create_continuous_view('moments', 'SELECT t::timestamptz AS at, count(*) FROM visits WHERE id = 1 GROUP BY 1');
SELECT eddy.create_continuous_view('days', 'SELECT count(*), max(t::date) AS latest, min(t::varchar::date) FILTER (WHERE length(t) > 3) AS first FROM visits WHERE id = 1');
SELECT eddy.create_continuous_view('clocks', 'SELECT t::time AS c, count(*) FROM visits WHERE id = 2 GROUP BY 1');
SELECT eddy.create_continuous_view('lists', 'SELECT t::timestamptz[] AS a, count(*) FROM visits WHERE id = 3 GROUP BY 1');
SELECT eddy.create_continuous_view('elements', 'SELECT (string_to_array(t, ''|'')::date[])[1] AS a, count(*) FROM visits WHERE id = 4 GROUP BY 1');
SELECT eddy.create_continuous_view('spans', 'SELECT t::tstzrange AS a, count(*) FROM visits WHERE id = 5 GROUP BY 1');
SELECT eddy.create_continuous_view('domains', 'SELECT t::bpchar(30)::moment AS a, count(*) FROM visits WHERE id = 6 GROUP BY 1');
SELECT eddy.create_continuous_view('latest', 'SELECT id, max(t)::date AS day, count(*) FROM visits WHERE id >= 7 GROUP BY id');
INSERT INTO visits VALUES (1, '2026-01-01'), (1, 'now'), (1, 'Yesterday 10:00'), (1, ' TODAY'), (1, '2026-01-02 03:04 am'), (1, 'infinity'), (1, 'epoch'), (1, 'nowadays'),
    (2, 'now'), (2, '10:00'), (2, 'allballs'), (3, '{now}'), (3, '{"tomorrow"}'), (3, '{2026-01-01,NULL}'), (4, 'today|2026-01-01'), (4, '2026-01-01|epoch'), (5, '[now,)'), (5, '[2026-01-01,2026-01-02)'), (6, 'tomorrow'), (6, '2026-01-01'), (7, '2026-01-01'), (7, 'now'), (8, 'today');
TABLE moments ORDER BY at;
TABLE days;
TABLE clocks ORDER BY c;
TABLE lists;
TABLE elements;
TABLE spans;
TABLE domains;
TABLE latest ORDER BY id;
SELECT view, error, count(*) FROM eddy.dead_letters WHERE stream = 'visits'::regclass GROUP BY 1, 2 ORDER BY view::text COLLATE "C", 2;
SELECT eddy.create_continuous_view('v', $$SELECT count(*) FROM visits WHERE at > 'yesterday'::text::timestamptz$$);
SELECT eddy._refuse_clock_words(NULL), eddy._refuse_clock_words(''), eddy._refuse_clock_words('snow nowadays, 2 todays');

-- Aggregates with volatile support functions, and with initial conditions that would be counted once for each batch.
CREATE FUNCTION roll(s int8, v int8) RETURNS int8 VOLATILE LANGUAGE sql AS 'SELECT s + v';
CREATE FUNCTION plus(s int8, v int8) RETURNS int8 IMMUTABLE LANGUAGE sql AS 'SELECT s + v';
CREATE FUNCTION twice(s int8) RETURNS int8 VOLATILE LANGUAGE sql AS 'SELECT 2 * s';
CREATE FUNCTION plus(s numeric[], v numeric) RETURNS numeric[] IMMUTABLE LANGUAGE sql AS 'SELECT ARRAY[s[1] + v, s[2] + 1]';
CREATE FUNCTION join_sums(a numeric[], b numeric[]) RETURNS numeric[] IMMUTABLE LANGUAGE sql AS 'SELECT ARRAY[a[1] + b[1], a[2] + b[2]]';
CREATE FUNCTION lose(a numeric[], b numeric[]) RETURNS numeric[] IMMUTABLE LANGUAGE sql AS 'SELECT NULL::numeric[]';
CREATE FUNCTION break(a numeric[], b numeric[]) RETURNS numeric[] IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RAISE division_by_zero; END';
CREATE AGGREGATE volatile_sum(int8) (sfunc = roll, stype = int8, combinefunc = plus, initcond = '0');
CREATE AGGREGATE volatile_combine(int8) (sfunc = plus, stype = int8, combinefunc = roll, initcond = '0');
CREATE AGGREGATE volatile_final(int8) (sfunc = plus, stype = int8, combinefunc = plus, finalfunc = twice, initcond = '0');
CREATE AGGREGATE sum_and_100(int8) (sfunc = plus, stype = int8, combinefunc = plus, initcond = '100');
CREATE AGGREGATE sum_from_0(int8) (sfunc = plus, stype = int8, combinefunc = plus, initcond = '0');
CREATE AGGREGATE max_from_5(int8) (sfunc = int8larger, stype = int8, combinefunc = int8larger, initcond = '5');
CREATE AGGREGATE sums(numeric) (sfunc = plus, stype = numeric[], combinefunc = join_sums, initcond = '{0,0.0}');
CREATE AGGREGATE sums_from_1(numeric) (sfunc = plus, stype = numeric[], combinefunc = join_sums, initcond = '{0,1}');
CREATE AGGREGATE lost(numeric) (sfunc = plus, stype = numeric[], combinefunc = lose, initcond = '{0,0}');
CREATE AGGREGATE broken(numeric) (sfunc = plus, stype = numeric[], combinefunc = break, initcond = '{0,0}');
SELECT a, outcome(format('1 AS one, %s(id)', a))
FROM unnest('{volatile_sum, volatile_combine, volatile_final, sum_and_100, sum_from_0, max_from_5, sums, sums_from_1, lost, broken}'::text[]) a;
SELECT eddy.create_continuous_view('v', 'SELECT sum_and_100(id) FROM visits');

SET client_min_messages = warning;
DROP TABLE visits CASCADE;
DROP DOMAIN moment, late_past, past, lucky, even;
DROP AGGREGATE volatile_sum(int8), volatile_combine(int8), volatile_final(int8), sum_and_100(int8), sum_from_0(int8), max_from_5(int8), sums(numeric), sums_from_1(numeric), lost(numeric), broken(numeric);
DROP FUNCTION roll, plus(int8, int8), plus(numeric[], numeric), twice, join_sums, lose, break, outcome, refused;
DROP TYPE mood;
