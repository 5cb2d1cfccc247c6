-- Calls the SQL functions of pg_eddy with arguments that no caller should give, among them transition states
-- with changed bytes. Each call returns or raises an error; it must not end the server.
--
--   functions_fuzz(seconds float8) returns the numbers of calls that returned, and that raised an error

CREATE UNLOGGED TABLE fuzz_stream (k int, v numeric, at timestamptz);
SELECT FROM eddy.create_stream('fuzz_stream', event_time => 'at');
SELECT FROM eddy.create_continuous_view('fuzz_sums', 'SELECT k, sum(v), count(*) FROM fuzz_stream GROUP BY k');
SELECT FROM eddy.create_continuous_view('fuzz_windows',
    'SELECT k, window_start, window_end, avg(v) FROM fuzz_stream, eddy.hop(at, ''1 s'', ''1 min'') GROUP BY 1, 2, 3', emit => 'on_close');
SELECT FROM eddy.create_continuous_view('fuzz_deferred', 'SELECT k, max(v) FROM fuzz_stream GROUP BY k', maintenance => 'deferred');
SELECT FROM eddy.keep_changes('fuzz_sums');
INSERT INTO fuzz_stream SELECT i % 7, i, now() - i * interval '1 s' FROM generate_series(1, 100) i;
CREATE TABLE fuzz_other (a int, b text);

-- States as the functions make them
CREATE TABLE fuzz_state AS
SELECT eddy._exact_sum(v)::bytea AS state FROM (VALUES (1.5), (NULL), (-7.25), ('NaN'), (1e20)) v (v)
UNION ALL SELECT eddy._exact_sum(v) FROM (VALUES (0::numeric)) v (v)
UNION ALL SELECT eddy._exact_sum(v) FROM (VALUES ('Infinity'::numeric), (0.001), (12)) v (v)
UNION ALL SELECT eddy._values(v, v || 'x') FROM (VALUES ('a'), ('b'), (NULL)) v (v);

CREATE FUNCTION fuzz_pick(VARIADIC choices text[]) RETURNS text LANGUAGE sql
    AS $$ SELECT choices[1 + floor(random() * cardinality(choices))::int] $$;

-- A state with some bytes changed, removed or added
CREATE FUNCTION fuzz_bytes() RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    bytes bytea := coalesce((SELECT state FROM fuzz_state ORDER BY random() LIMIT 1), '');
    at int;
BEGIN
    FOR i IN 1 .. floor(random() * 4)::int LOOP
        at := floor(random() * (length(bytes) + 1))::int;
        bytes := CASE floor(random() * 4)::int
            WHEN 0 THEN substring(bytes FROM 1 FOR at)
            WHEN 1 THEN CASE WHEN at < length(bytes) THEN set_byte(bytes, at, fuzz_pick('0', '1', '127', '128', '192', '255')::int) ELSE bytes END
            WHEN 2 THEN substring(bytes FROM 1 FOR at) || decode(fuzz_pick('00', 'ff', '80000000', '0000', 'ffffffffffffffff'), 'hex') || substring(bytes FROM at + 1)
            ELSE CASE WHEN at < length(bytes) THEN set_byte(bytes, at, floor(random() * 256)::int) ELSE bytes END END;
    END LOOP;
    RETURN bytes;
END $$;

-- An argument of a type, as the text of an expression
CREATE FUNCTION fuzz_argument(type text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.08 THEN
        RETURN CASE WHEN type IN ('"any"', 'anyelement') THEN 'NULL::text' WHEN type = '"any"[]' THEN 'NULL' ELSE format('NULL::%s', type) END;
    END IF;
    RETURN CASE type
        WHEN 'bytea' THEN format('%L::bytea', fuzz_bytes())
        WHEN 'regclass' THEN format('%L::regclass', fuzz_pick('fuzz_stream', 'fuzz_sums', 'fuzz_windows', 'fuzz_deferred', 'fuzz_other', 'pg_class',
            'eddy._view', 'pg_stat_activity', (SELECT s::text FROM eddy._view v, unnest(v.state_tables) s ORDER BY random() LIMIT 1), '0', '4294967295'))
        WHEN 'text' THEN format('%L::text', fuzz_pick('', 'UTC', 'Europe/Berlin', 'nowhere', 'earliest', 'staged', '[', repeat('x', 5000), 'public.fuzz_sums', E'\u00e4',
            'SELECT 1', 'SELECT k, count(*) FROM fuzz_stream GROUP BY k', 'every 1 s', 'update', 'k', '0123456789abcdef;1:1:;1', eddy.change_token('fuzz_sums') || ';1:1:;2;3;4'))
        WHEN 'name' THEN format('%L::name', fuzz_pick('', 'at', 'k', 'nothing', repeat('y', 70)))
        WHEN 'interval' THEN format('%L::interval', fuzz_pick('0', '1 s', '-1 s', '1 mon', '1 mon 1 day', '178000000 years', '-178000000 years', '1 microsecond',
            '2147483647 days', '100000 hours'))
        WHEN 'timestamp with time zone' THEN format('%L::timestamptz', fuzz_pick('infinity', '-infinity', 'epoch', '4713-01-01 00:00:00 BC', '294276-12-31 23:59:59.999999', '2024-03-31 01:30'))
        WHEN 'timestamp without time zone' THEN format('%L::timestamp', fuzz_pick('infinity', '-infinity', 'epoch', '4713-01-01 00:00:00 BC', '294276-12-31 23:59:59.999999', '2024-03-31 01:30'))
        WHEN 'numeric' THEN format('%L::numeric', fuzz_pick('0', '-1.50', 'NaN', 'Infinity', '-Infinity', '1e1000', '1e-1000', '99999999999999999999'))
        WHEN 'integer' THEN fuzz_pick('0', '1', '-1', '14', '2147483647', '(-2147483648)')
        WHEN 'bigint' THEN fuzz_pick('0::bigint', '1::bigint', '(-1)::bigint', '9223372036854775807', '(-9223372036854775808)')
        WHEN 'smallint' THEN fuzz_pick('0::smallint', '1::smallint', '32767::smallint', '(-32768)::smallint')
        WHEN 'oid' THEN fuzz_pick('0::oid', '1259::oid', '4294967295::oid', '''fuzz_sums''::regclass::oid')
        WHEN 'boolean' THEN fuzz_pick('true', 'false')
        WHEN 'double precision' THEN format('%L::float8', fuzz_pick('0', '0.5', '1', '-1', '1e308', '1e-320', 'NaN', 'Infinity', '-Infinity'))
        WHEN 'double precision[]' THEN format('%L::float8[]', fuzz_pick('{}', '{0.5}', '{NULL}', '{NaN,2}', '{{0.1,0.2},{0.3,0.4}}', '[5:6]={0.1,0.9}'))
        WHEN 'jsonb' THEN format('%L::jsonb', fuzz_pick('{}', '[]', 'null', '"x"', '1', '{"0": 1e30}', '{"0": -5}', '{"k": "/a~2"}', '{"workers": 1e9}', '{"k": {"from": 1}}', '{"99999999999": 1}'))
        WHEN 'json' THEN format('%L::json', fuzz_pick('{}', '[]', 'null', '"x"'))
        WHEN 'text[]' THEN format('%L::text[]', fuzz_pick('{}', '{k}', '{NULL}', '{{k,v},{at,k}}', '[0:1]={k,v}', '{nothing}'))
        WHEN 'name[]' THEN format('%L::name[]', fuzz_pick('{}', '{k}', '{NULL}', '{{k,v},{at,k}}', '[0:1]={k,v}', '{nothing}'))
        WHEN 'bigint[]' THEN format('%L::bigint[]', fuzz_pick('{}', '{1}', '{NULL}', '{{1,2},{3,4}}', '[0:1]={1,9223372036854775807}'))
        WHEN 'regclass[]' THEN format('%L::regclass[]', fuzz_pick('{}', '{fuzz_sums}', '{NULL}', '{{fuzz_sums,fuzz_windows}}', '{0}', '{fuzz_other}'))
        WHEN 'record' THEN fuzz_pick('ROW()', 'ROW(1)', 'ROW(''(0,1)''::tid, NULL::uuid)', 'ROW(''(0,1)''::tid, gen_random_uuid())', 'ROW(''(4294967295,0)''::tid, gen_random_uuid())')
        WHEN 'tid' THEN format('%L::tid', fuzz_pick('(0,0)', '(0,1)', '(4294967295,65535)', '(1,291)'))
        WHEN 'uuid' THEN fuzz_pick('gen_random_uuid()', '''00000000-0000-0000-0000-000000000000''::uuid')
        WHEN '"any"' THEN fuzz_pick('1', '''x''::text', 'NULL::text', 'ROW(1, 2)', 'ARRAY[1, NULL]', '1.5', 'ARRAY[]::text[]', 'now()')
        WHEN '"any"[]' THEN fuzz_pick('1', '''x''::text', '1, ''y''::text, NULL::int', 'VARIADIC ARRAY[1, NULL]', 'VARIADIC ARRAY[]::text[]')
        WHEN 'anyelement' THEN fuzz_pick('1', '''x''::text', 'NULL::text', 'ROW(1, 2)', 'ARRAY[1, NULL]', '1.5')
        ELSE format('NULL::%s', type) END;
END $$;

CREATE FUNCTION fuzz_call(function regprocedure) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    arguments text;
    p pg_proc;
BEGIN
    SELECT * INTO p FROM pg_proc WHERE oid = function;
    SELECT string_agg(fuzz_argument(CASE WHEN format_type(t, NULL) = '"any"' AND i = p.pronargs AND p.provariadic <> 0 THEN '"any"[]'
            ELSE format_type(t, NULL) END), ', ' ORDER BY i)
        INTO arguments FROM unnest(p.proargtypes) WITH ORDINALITY a (t, i);
    RETURN format('SELECT count(x::text) FROM (SELECT eddy.%I(%s%s) AS x%s) y', p.proname,
        CASE WHEN p.provariadic <> 0 AND arguments NOT LIKE '%VARIADIC%' AND (p.provariadic <> '"any"'::regtype) THEN regexp_replace(arguments, ', ([^,]*\[\])$', ', VARIADIC \1') ELSE arguments END,
        '', CASE WHEN p.prokind = 'a' THEN ' FROM generate_series(1, ' || fuzz_pick('0', '1', '3') || ')' ELSE '' END);
END $$;

CREATE FUNCTION functions_fuzz(seconds float8, OUT returned bigint, OUT failed bigint) LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz := clock_timestamp() + seconds * interval '1 s';
    functions regprocedure[];
    query text;
    internal text;
BEGIN
    -- without triggers, and functions that only aggregates can call
    SELECT array_agg(p.oid::regprocedure) INTO functions FROM pg_proc p
    WHERE pronamespace = 'eddy'::regnamespace AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
        AND 'internal'::regtype <> ALL (proargtypes);
    returned := 0;
    failed := 0;
    WHILE clock_timestamp() < until LOOP
        query := fuzz_call(functions[1 + floor(random() * cardinality(functions))::int]);
        BEGIN
            -- shows what the server executed when it ended
            RAISE LOG 'functions_fuzz: %', query;
            EXECUTE query;
            returned := returned + 1;
            RAISE EXCEPTION 'undo' USING ERRCODE = 'P0999';
        EXCEPTION
            WHEN SQLSTATE 'P0999' THEN NULL;
            WHEN SQLSTATE 'XX000' THEN
                -- an error that users cannot cause
                IF internal IS NULL OR strpos(internal, SQLERRM) = 0 THEN
                    internal := concat_ws(E'\n', internal, SQLERRM);
                    RAISE WARNING 'internal error "%" of %', SQLERRM, query;
                END IF;
                failed := failed + 1;
            WHEN OTHERS THEN failed := failed + 1;
        END;
    END LOOP;
END $$;
