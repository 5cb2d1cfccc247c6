-- Views that show early results of overlapping windows compute open windows from panes. Conditions of a query select the panes
-- that are read, and change nothing in the result.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE SCHEMA open_windows;
RESET client_min_messages;
SET search_path = open_windows, public;
SET timezone = 'UTC';

-- an aggregate whose combine function returns one of its arguments
CREATE FUNCTION longer(text, text) RETURNS text IMMUTABLE STRICT LANGUAGE sql AS
    $$ SELECT CASE WHEN (length($1), $1) > (length($2), $2) THEN $1 ELSE $2 END $$;
CREATE AGGREGATE longest(text) (sfunc = longer, stype = text, combinefunc = longer, parallel = safe);
CREATE UNLOGGED TABLE r (shop text, item int, price numeric, ts timestamptz, note text);
SELECT eddy.create_stream('r', event_time => 'ts', delay => '5 s');
SELECT eddy.create_continuous_view('w', $$
    SELECT w.window_start AS "from", r.item, count(*) AS n, sum(r.price), avg(r.price), max(r.shop) AS greatest,
        longest(r.note) AS longest, max(r.shop) || count(*) AS label, w.window_end AS until, r.shop
    FROM r, eddy.hop(r.ts, '2 s', '50 s') w GROUP BY w.window_start, w.window_end, r.shop, r.item $$);
SELECT kind FROM eddy._view WHERE view = 'w'::regclass;
INSERT INTO r SELECT CASE i % 4 WHEN 0 THEN NULL ELSE chr(64 + i % 4) END, nullif(i % 7, 0), i, timestamptz '2026-01-01 00:00Z' + i * interval '1 s',
    repeat(i::text, i * 13 % 17)
FROM generate_series(0, 199) i;
-- some are late for a part of their windows
INSERT INTO r SELECT 'A', 1, i, timestamptz '2026-01-01 00:00Z' + i * interval '1 s', i FROM generate_series(150, 199, 7) i;
SELECT count(*), count(*) FILTER (WHERE until > eddy.watermark('r')) AS open, sum(n) FROM w;
-- open windows are those of the SELECT over all rows: late rows count in them
CREATE TEMP TABLE over_rows AS
    SELECT w.window_start AS "from", r.item, count(*) AS n, sum(r.price), avg(r.price), max(r.shop) AS greatest,
        longest(r.note) AS longest, max(r.shop) || count(*) AS label, w.window_end AS until, r.shop
    FROM r, eddy.hop(r.ts, '2 s', '50 s') w WHERE w.window_end > eddy.watermark('r') GROUP BY w.window_start, w.window_end, r.shop, r.item;
SELECT count(*) AS open FROM over_rows;
TABLE over_rows EXCEPT ALL TABLE w;
SELECT * FROM w WHERE until > eddy.watermark('r') EXCEPT ALL TABLE over_rows;

-- Each condition gives what it gives over all rows.
CREATE TABLE conditions (id int GENERATED ALWAYS AS IDENTITY, condition text);
INSERT INTO conditions (condition) VALUES
    ($$shop = 'A'$$), ($$'A' = shop$$), ($$shop = 'A' AND item = 1$$), ($$item IN (1, 2) AND shop = 'A'$$), ($$item = 1$$), ($$item = bigint '1'$$), ($$item > 3$$), ($$3.5 < item$$),
    ($$shop > 'A' AND shop <= 'C'$$), ($$shop COLLATE "C" > 'A'$$), ($$shop LIKE 'B%'$$), ($$shop IN ('A', 'C', 'X')$$),
    ($$shop = ANY ('{B,NULL}')$$), ($$shop = ANY (NULL::text[])$$), ($$item <> ALL ('{1,2}')$$), ($$shop IS NULL$$), ($$shop IS NULL AND item IS NULL$$),
    ($$shop IS NOT NULL$$), ($$shop = NULL$$), ($$lower(shop) = 'b' OR item = 2$$), ($$shop = 'A' OR n > 1$$), ($$n > 1$$), ($$greatest = 'B'$$),
    ($$until > '2026-01-01 00:03:40Z'$$), ($$until = '2026-01-01 00:03:40Z'$$), ($$until < '2026-01-01 00:03:40Z'$$), ($$until <> '2026-01-01 00:03:40Z'$$),
    ($$until BETWEEN '2026-01-01 00:03:21Z' AND '2026-01-01 00:03:39Z'$$), ($$until > date '2026-01-01'$$), ($$until IS NULL$$),
    ($$"from" >= '2026-01-01 00:03:00Z'$$), ($$"from" = '2026-01-01 00:02:40Z' AND shop = 'C'$$), ($$"from" < '2026-01-01 00:02:40Z'$$),
    ($$until > '-infinity'$$), ($$until < 'infinity'$$), ($$until > 'infinity'$$), ($$until = '-infinity'$$),
    ($$until > '294276-12-31 23:59:59Z'$$), ($$until > '4713-01-01 00:00Z BC'$$), ($$"from" > '294276-12-31 23:59:59Z'$$),
    ($$until > (SELECT eddy.watermark('r'))$$), ($$shop = (SELECT max(shop) FROM r)$$), ($$(shop, item) = ('B', 2)$$), ($$(shop, item) IN (('B', 2), ('C', 3))$$),
    ($$EXISTS (SELECT FROM (VALUES ('A'), ('C')) v (x) WHERE v.x = shop)$$), ($$false$$), ($$shop = 'A' AND random() >= 0$$);
CREATE FUNCTION differing(condition text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
BEGIN
    EXECUTE format('WITH o AS MATERIALIZED (SELECT * FROM w OFFSET 0),
        a AS MATERIALIZED (SELECT * FROM w WHERE (%1$s)), b AS MATERIALIZED (SELECT * FROM o w WHERE (%1$s))
        SELECT count(*) FROM ((TABLE a EXCEPT ALL TABLE b) UNION ALL (TABLE b EXCEPT ALL TABLE a)) d', condition) INTO result;
    RETURN result;
END $$;
SELECT condition, differing(condition) FROM conditions WHERE differing(condition) > 0;
CREATE FUNCTION rows_with(condition text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM w WHERE (%s) AND until > eddy.watermark(''r'')', condition) INTO result;
    RETURN result;
END $$;
SELECT condition, rows_with(condition) AS open FROM conditions ORDER BY id;

-- Which columns select panes.
CREATE FUNCTION searched(condition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) SELECT * FROM w WHERE ' || condition LOOP
        IF line ~ 'Searched By' THEN
            RETURN btrim(line);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
SELECT condition, searched(condition) FROM conditions ORDER BY id;

-- Values can come from parameters, and from the rows of an outer query.
PREPARE of_shop (text) AS SELECT count(*), sum(n) FROM w WHERE shop = $1 AND until > eddy.watermark('r');
SET plan_cache_mode = force_generic_plan;
EXECUTE of_shop ('A');
EXECUTE of_shop ('B');
EXECUTE of_shop (NULL);
RESET plan_cache_mode;
SELECT x, (SELECT count(*) FROM w WHERE shop = x AND until > eddy.watermark('r')) AS open FROM (VALUES ('A'), ('C'), (NULL), ('A')) v (x);
SELECT x, open FROM (VALUES ('A'), ('C')) v (x), LATERAL (SELECT count(*) AS open FROM w WHERE shop = x OFFSET 0) s;

-- A cursor shows what was there when it was opened, whatever is inserted meanwhile.
BEGIN;
DECLARE c CURSOR FOR SELECT shop, n, until FROM w WHERE shop = 'B' AND item = 2 AND until > '2026-01-01 00:03:44Z';
FETCH 1 FROM c;
INSERT INTO r VALUES ('B', 2, 1, '2026-01-01 00:03:19Z');
FETCH 1 FROM c;
SELECT shop, n, until FROM w WHERE shop = 'B' AND item = 2 AND until = '2026-01-01 00:03:48Z';
SAVEPOINT s;
SELECT 1 / (n - n) FROM w WHERE shop = 'B';
ROLLBACK TO s;
FETCH 1 FROM c;
ROLLBACK;
-- also one that stays open
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT shop, count(*) FROM w WHERE shop < 'C' GROUP BY shop ORDER BY shop;
COMMIT;
FETCH ALL FROM h;
CLOSE h;

-- Conditions are evaluated as the role that reads, although states are combined as the owner of the view.
CREATE ROLE open_windows_owner;
CREATE ROLE open_windows_reader;
GRANT USAGE, CREATE ON SCHEMA open_windows TO open_windows_owner, open_windows_reader;
SET ROLE open_windows_reader;
CREATE FUNCTION who(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    IF current_user <> 'open_windows_reader' THEN
        RAISE 'evaluated as %', current_user;
    END IF;
    RETURN $1 = 'A';
END $$;
RESET ROLE;
ALTER VIEW w OWNER TO open_windows_owner;
GRANT SELECT ON w TO open_windows_reader;
SET ROLE open_windows_reader;
SELECT count(*) FROM w WHERE who(shop) AND item = 1 AND until = '2026-01-01 00:03:48Z';
RESET ROLE;
-- Whoever may read a view over the view needs no other rights. They do not extend to open windows that it does not show.
CREATE ROLE open_windows_other;
GRANT USAGE, CREATE ON SCHEMA open_windows TO open_windows_other;
SET ROLE open_windows_reader;
CREATE VIEW of_a AS WITH c AS (SELECT * FROM w) SELECT shop, n FROM c WHERE shop = 'A' AND (SELECT count(*) FROM w) > 0;
GRANT SELECT ON of_a TO open_windows_other;
RESET ROLE;
SELECT relname AS panes FROM pg_class WHERE relnamespace = 'eddy'::regnamespace AND relname ~ '^_w.*_panes$' \gset
SET ROLE open_windows_other;
SELECT shop, count(*) > 0 AS found FROM of_a GROUP BY shop;
PREPARE all_of_a AS SELECT shop, count(*) > 0 AS found FROM of_a WHERE n > $1 GROUP BY shop;
EXECUTE all_of_a (0);
SELECT count(*) FROM w;
SELECT format('eddy._open_windows(%L) AS w (%s)', 'eddy.' || :'panes',
    string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)) AS call
FROM pg_attribute WHERE attrelid = 'w'::regclass AND attnum > 0 \gset
SELECT count(*) FROM :call;
SELECT count(*) FROM of_a, :call;
CREATE VIEW of_all AS SELECT w.shop FROM of_a, :call;
SELECT count(*) FROM of_all;
RESET ROLE;

-- A condition that could show what it sees is not evaluated before those of a security barrier.
CREATE VIEW of_b WITH (security_barrier) AS SELECT * FROM w WHERE n > 0 AND greatest = 'B' AND until > '2026-01-01 00:03:47Z';
CREATE FUNCTION seen(text) RETURNS boolean IMMUTABLE COST 0.0001 LANGUAGE plpgsql AS $$
BEGIN
    IF $1 IS DISTINCT FROM 'B' THEN
        RAISE 'seen: %', $1;
    END IF;
    RETURN true;
END $$;
SELECT count(*) FROM of_b WHERE seen(shop);
SELECT count(*) FROM w WHERE seen(shop) AND n > 0 AND greatest = 'B' AND until > '2026-01-01 00:03:47Z';

SET client_min_messages = warning;
DROP SCHEMA open_windows CASCADE;
DROP ROLE open_windows_owner, open_windows_reader, open_windows_other;
