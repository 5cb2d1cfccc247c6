-- Aggregates that need all their input values: they are kept, and the results are those of the plain SELECT.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET timezone = 'UTC';
-- From version 16 on, a SELECT with ORDER BY in one aggregate also sorts the input of the others; views keep the order of arrival.
SELECT coalesce(max(set_config(name, 'off', false)), '') AS presorted FROM pg_settings WHERE name = 'enable_presorted_aggregate' \gset

CREATE UNLOGGED TABLE hits (page text, usr int, ms numeric, f float8, tag text, j jsonb, at timestamptz);
SELECT eddy.create_stream('hits');
CREATE TABLE hits_log (id serial PRIMARY KEY, page text, usr int, ms numeric, f float8, tag text, j jsonb, at timestamptz);

-- Each view is compared with its own query over all accepted rows.
CREATE TABLE queries (view text, query text);
CREATE FUNCTION make_view(view text, query text, start text DEFAULT 'now') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO queries VALUES (view, query);
    PERFORM eddy.create_continuous_view(view, query, start => start);
    RETURN (SELECT kind FROM eddy._view v WHERE v.view = make_view.view::regclass);
END $$;
CREATE FUNCTION differences() RETURNS TABLE (view text, n bigint) LANGUAGE plpgsql AS $$
DECLARE
    q record;
BEGIN
    FOR q IN SELECT * FROM queries LOOP
        -- the rows of a group in the order of arrival: a sort by page alone would not keep it
        EXECUTE format('WITH expected AS (%2$s), shown AS (SELECT to_jsonb(a) FROM %1$s a), wanted AS (SELECT to_jsonb(b) FROM expected b)
                        SELECT count(*) FROM ((TABLE shown EXCEPT ALL TABLE wanted) UNION ALL (TABLE wanted EXCEPT ALL TABLE shown)) x',
                       q.view, replace(q.query, 'FROM hits', 'FROM (SELECT * FROM hits_log ORDER BY page, id) hits')) INTO n;
        view := q.view;
        IF n > 0 THEN RETURN NEXT; END IF;
    END LOOP;
END $$;

-- DISTINCT: each value counts once, no matter in which batch it arrives. Combinable aggregates can be mixed with others.
SELECT make_view('distinct_values', $$
    SELECT page, count(DISTINCT usr) AS users, sum(DISTINCT ms) AS ms, avg(DISTINCT usr) AS avg, count(*) AS n, sum(usr) AS total,
           count(DISTINCT usr) FILTER (WHERE ms > 10) AS slow, stddev(DISTINCT usr) AS sd, min(DISTINCT ms), max(DISTINCT tag),
           array_agg(DISTINCT usr ORDER BY usr DESC) AS list, string_agg(DISTINCT tag, ',') AS tags, count(DISTINCT (usr, tag)) AS pairs,
           count(DISTINCT usr) + count(DISTINCT tag) AS both
    FROM hits GROUP BY page $$);
SELECT make_view('distinct_overall', 'SELECT count(DISTINCT usr) AS users, count(DISTINCT tag) AS tags, sum(DISTINCT f) AS f FROM hits');
-- Lists keep the order of arrival, also of equal values under ORDER BY.
SELECT make_view('lists', $$
    SELECT page, array_agg(usr) AS users, string_agg(tag, '; ') AS tags, json_agg(usr)::text AS json, jsonb_agg(j) AS jsonb,
           array_agg(tag ORDER BY usr DESC, tag) AS ordered, string_agg(tag, '/' ORDER BY tag) FILTER (WHERE ms > 5) AS slow,
           jsonb_object_agg(coalesce(tag, '-'), usr) AS object, json_object_agg(coalesce(tag, '-'), usr)::text AS json_object,
           json_agg((usr, tag))::text AS rows, array_agg(ARRAY[usr, usr + 1]) FILTER (WHERE usr IS NOT NULL) AS arrays, sum(usr) AS total
    FROM hits GROUP BY page $$);
SELECT make_view('xml', $$SELECT page, xmlagg(xmlelement(name u, usr))::text AS x, xmlagg(xmlelement(name u, usr) ORDER BY usr, tag)::text AS sorted FROM hits GROUP BY page$$);
-- Ordered-set and hypothetical-set aggregates.
SELECT make_view('percentiles', $$
    SELECT page, percentile_cont(0.5) WITHIN GROUP (ORDER BY f) AS median, percentile_disc(0.9) WITHIN GROUP (ORDER BY ms) AS p90,
           percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP (ORDER BY f) AS quartiles,
           percentile_disc(ARRAY[0.1, 0.99]) WITHIN GROUP (ORDER BY tag DESC) AS tags, mode() WITHIN GROUP (ORDER BY tag) AS mode,
           mode() WITHIN GROUP (ORDER BY usr) FILTER (WHERE ms > 3) AS slow_mode, count(*) AS n,
           rank(7) WITHIN GROUP (ORDER BY usr) AS rank, dense_rank(7) WITHIN GROUP (ORDER BY usr DESC) AS dense,
           percent_rank(7) WITHIN GROUP (ORDER BY usr) AS percent, cume_dist(7, 'b') WITHIN GROUP (ORDER BY usr, tag) AS cume,
           rank(page) WITHIN GROUP (ORDER BY tag) AS rank_of_key
    FROM hits GROUP BY page $$);
-- With windows, HAVING and expressions.
SELECT make_view('per_minute', $$
    SELECT w.window_start, count(DISTINCT usr) AS users, percentile_cont(0.95) WITHIN GROUP (ORDER BY ms) AS p95,
           round(count(DISTINCT usr)::numeric / nullif(count(*), 0), 3) AS share
    FROM hits, eddy.tumble(at, '1 minute') w GROUP BY w.window_start HAVING count(DISTINCT usr) > 2 $$);

-- An aggregate of a user without combine function.
CREATE FUNCTION join_text(s text, v text) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT coalesce(s || '+', '') || coalesce(v, '?')$$;
CREATE AGGREGATE joined(text) (sfunc = join_text, stype = text);
CREATE FUNCTION first_three(s int[], v int) RETURNS int[] IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN CASE WHEN cardinality(s) < 3 THEN s || v ELSE s END; END$$;
CREATE AGGREGATE first_three(int) (sfunc = first_three, stype = int[], initcond = '{}');
SELECT make_view('users_own', 'SELECT page, joined(tag), joined(tag ORDER BY tag) AS sorted, first_three(usr) FROM hits GROUP BY page');

-- Batches of several sizes, with duplicates and NULLs, by INSERT and COPY.
CREATE PROCEDURE feed(seed int, rows int) LANGUAGE sql AS $$
    WITH batch AS (
    INSERT INTO hits_log (page, usr, ms, f, tag, j, at)
    SELECT CASE WHEN g % 17 > 0 THEN 'p' || (g * seed) % 4 END, CASE WHEN g % 11 > 0 THEN (g * seed) % 23 END,
           CASE WHEN g % 7 > 0 THEN (g * seed % 97)::numeric / (1 + g % 2) END, (g * seed % 64) / 8.0,
           CASE WHEN g % 5 > 0 THEN chr(97 + (g + seed) % 6) END, CASE WHEN g % 3 > 0 THEN jsonb_build_object('g', g % 4) END,
           timestamptz '2026-01-01 00:00:00Z' + (g * seed % 600) * interval '1 second'
    FROM generate_series(1, rows) g
    RETURNING *)
    INSERT INTO hits SELECT page, usr, ms, f, tag, j, at FROM batch ORDER BY id
$$;
CALL feed(3, 1);
SELECT * FROM differences();
CALL feed(7, 40);
SELECT * FROM differences();
CALL feed(7, 40);
CALL feed(5, 300);
SELECT * FROM differences();
SELECT page, users, ms, n, slow, pairs FROM distinct_values ORDER BY page;
SELECT page, users[1:5], left(tags, 10) AS tags, ordered[1:4] FROM lists ORDER BY page;
COPY hits (page, usr, ms, tag) FROM stdin;
p1	100	1.0	x
p1	100	1.00	x
p9	\N	\N	\N
\.
INSERT INTO hits_log (page, usr, ms, tag) VALUES ('p1', 100, 1.0, 'x'), ('p1', 100, 1.00, 'x'), ('p9', NULL, NULL, NULL);
SELECT * FROM differences();

-- The comparison notices a wrong value and a missing one.
BEGIN;
UPDATE hits_log SET usr = 101 WHERE id = (SELECT max(id) - 1 FROM hits_log);
SELECT view FROM differences() ORDER BY view;
ROLLBACK;

-- Transactions, savepoints, several statements, and several inserts of one statement.
BEGIN;
INSERT INTO hits (page, usr, tag) VALUES ('p1', 500, 'r');
SELECT users FROM distinct_values WHERE page = 'p1';
ROLLBACK;
SELECT * FROM differences();
BEGIN;
INSERT INTO hits (page, usr, tag) VALUES ('p1', 600, 'a');
SAVEPOINT s;
INSERT INTO hits (page, usr, tag) VALUES ('p1', 601, 'b'), ('p7', 1, 'c');
ROLLBACK TO s;
INSERT INTO hits (page, usr, tag) VALUES ('p1', 602, 'c'), ('p1', 600, 'd');
COMMIT;
INSERT INTO hits_log (page, usr, tag) VALUES ('p1', 600, 'a'), ('p1', 602, 'c'), ('p1', 600, 'd');
WITH a AS (INSERT INTO hits (page, usr, tag) VALUES ('p8', 1, 'a') RETURNING 1), b AS (INSERT INTO hits (page, usr, tag) VALUES ('p8', 1, 'b') RETURNING 1)
SELECT count(*) FROM a, b;
INSERT INTO hits_log (page, usr, tag) VALUES ('p8', 1, 'a'), ('p8', 1, 'b');
SELECT * FROM differences();

-- A view that is created later counts staged rows, here all.
SELECT make_view('later', 'SELECT page, count(DISTINCT usr) AS users, array_agg(tag) AS tags FROM hits GROUP BY page', start => 'staged');
SELECT * FROM differences();
-- A view can be rebuilt.
SELECT eddy.pause('later');
SELECT eddy.resume('later');
CALL feed(13, 20);
SELECT * FROM differences();

-- A group that is deleted leaves no values: the same value counts again afterwards.
DELETE FROM later WHERE page IN ('p1', 'p2');
INSERT INTO hits (page, usr, tag) VALUES ('p1', 100, 'again'), ('p1', 100, 'again'), ('p2', 7, NULL);
SELECT * FROM later WHERE page IN ('p1', 'p2') ORDER BY page;
DELETE FROM later;
SELECT state_tables AS tables FROM eddy._view WHERE view = 'later'::regclass;
SELECT count(*) FROM eddy._later_values;
SELECT count(*) FROM eddy._later_values1;
-- Values that remain, because a superuser has disabled the trigger, are not counted either.
INSERT INTO hits (page, usr, tag) VALUES ('z', 1, 'old'), ('z', 2, 'old');
ALTER TABLE eddy._later_state DISABLE TRIGGER pg_eddy_delete_values;
DELETE FROM later;
ALTER TABLE eddy._later_state ENABLE ALWAYS TRIGGER pg_eddy_delete_values;
INSERT INTO hits (page, usr, tag) VALUES ('z', 2, 'new'), ('z', 3, 'new');
SELECT * FROM later WHERE page = 'z';

-- When a window is final its values are not needed any more: the results stay.
CREATE UNLOGGED TABLE timed (k int, v int, at timestamptz);
SELECT eddy.create_stream('timed', event_time => 'at', max_future_skew => '1000 years');
SELECT eddy.create_continuous_view('timed_values', $$
    SELECT w.window_start, w.window_end, k, count(DISTINCT v) AS n, array_agg(v) AS list FROM timed, eddy.tumble(at, '1 minute') w
    GROUP BY w.window_start, w.window_end, k $$, emit => 'on_close');
INSERT INTO timed VALUES (1, 1, '2026-01-01 00:00:10Z'), (1, 1, '2026-01-01 00:00:20Z'), (2, 1, '2026-01-01 00:00:50Z'), (1, 2, '2026-01-01 00:00:59Z');
SELECT (SELECT count(*) FROM timed_values) AS shown, (SELECT count(*) FROM eddy._timed_values_values) AS set, (SELECT count(*) FROM eddy._timed_values_values1) AS list;
INSERT INTO timed VALUES (1, 5, '2026-01-01 00:01:05Z');
SELECT k, n, list FROM timed_values ORDER BY k;
SELECT (SELECT count(*) FROM eddy._timed_values_values) AS set, (SELECT count(*) FROM eddy._timed_values_values1) AS list;

-- The number of values of one group is limited: rows beyond it are dead letters of that view.
CREATE UNLOGGED TABLE few (k int, v int);
SELECT eddy.create_stream('few');
SELECT eddy.create_continuous_view('few_values', 'SELECT k, count(DISTINCT v) AS n, count(*) AS c FROM few GROUP BY k');
SELECT eddy.create_continuous_view('few_lists', 'SELECT k, array_agg(v) AS a FROM few GROUP BY k');
SELECT eddy.create_continuous_view('few_modes', 'SELECT k, mode() WITHIN GROUP (ORDER BY v) AS m FROM few GROUP BY k');
SELECT eddy.create_continuous_view('few_rows', 'SELECT k, count(*) AS c FROM few GROUP BY k');
SET pg_eddy.group_values_limit = 3;
INSERT INTO few VALUES (1, 1), (1, 1), (1, 2), (2, 1);
INSERT INTO few VALUES (1, 3), (1, 4), (1, 1), (2, 2), (2, 2);
SELECT * FROM few_values ORDER BY k;
SELECT * FROM few_lists ORDER BY k;
SELECT * FROM few_modes ORDER BY k;
SELECT * FROM few_rows ORDER BY k;
SELECT view, error, sqlstate, convert_from(payload, 'UTF8') AS row FROM eddy.dead_letters WHERE stream = 'few'::regclass ORDER BY id;
RESET pg_eddy.group_values_limit;
DELETE FROM eddy.dead_letters WHERE stream = 'few'::regclass;
-- So is a value that the index of the values cannot hold.
CREATE UNLOGGED TABLE texts (t text);
SELECT eddy.create_stream('texts');
SELECT eddy.create_continuous_view('text_values', 'SELECT count(DISTINCT t) AS n, array_agg(length(t)) AS lengths, sum(length(t)) AS total FROM texts');
INSERT INTO texts SELECT string_agg(md5(g::text), '') FROM generate_series(1, 300) g;
INSERT INTO texts VALUES ('a'), ('b'), ('a');
SELECT * FROM text_values;
SELECT view, error, sqlstate FROM eddy.dead_letters WHERE stream = 'texts'::regclass;
DELETE FROM eddy.dead_letters WHERE stream = 'texts'::regclass;

-- An error of an aggregate rejects the row that causes it.
CREATE UNLOGGED TABLE objects (k text, v int);
SELECT eddy.create_stream('objects');
SELECT eddy.create_continuous_view('object', 'SELECT jsonb_object_agg(k, v) AS o, count(*) AS n FROM objects');
INSERT INTO objects VALUES ('a', 1), (NULL, 2), ('b', 3);
INSERT INTO objects VALUES ('a', 4);
SELECT * FROM object;
SELECT view, error, sqlstate, convert_from(payload, 'UTF8') AS row FROM eddy.dead_letters WHERE stream = 'objects'::regclass;
DELETE FROM eddy.dead_letters WHERE stream = 'objects'::regclass;

-- Values are compared with the operators of their type.
CREATE UNLOGGED TABLE odd_values (n numeric, f float8, i interval, t text COLLATE "C");
SELECT eddy.create_stream('odd_values');
SELECT eddy.create_continuous_view('odd', $$SELECT count(DISTINCT n) AS n, count(DISTINCT f) AS f, count(DISTINCT i) AS i,
    array_agg(DISTINCT t) AS t, array_agg(n) AS all_n FROM odd_values$$);
SELECT * FROM odd;
INSERT INTO odd_values VALUES (1.0, 0, '1 day', 'b'), ('NaN', 'NaN', NULL, 'A');
INSERT INTO odd_values VALUES (1.00, '-0', '24 hours', 'a'), ('NaN', 'NaN', '1 mon', NULL);
SELECT * FROM odd;

-- A view whose owner may no longer execute an aggregate is suspended, as for other reasons.
CREATE ROLE regress_eddy_collector;
GRANT CREATE ON SCHEMA public TO regress_eddy_collector;
GRANT SELECT, TRIGGER ON objects TO regress_eddy_collector;
SET ROLE regress_eddy_collector;
SELECT eddy.create_continuous_view('keys', 'SELECT joined(k) FROM objects');
RESET ROLE;
INSERT INTO objects VALUES ('c', 1), ('d', 2);
REVOKE EXECUTE ON FUNCTION joined(text) FROM PUBLIC;
INSERT INTO objects VALUES ('e', 3);
SELECT * FROM keys;
SELECT state, error FROM eddy.continuous_views WHERE view = 'keys'::regclass;
SELECT count(*) FROM eddy.dead_letters WHERE view = 'keys'::regclass;
DROP VIEW keys;

-- What is still refused.
SELECT eddy.create_continuous_view('refused', 'SELECT page, json_agg(h) FROM hits h GROUP BY page');
CREATE FUNCTION volatile_add(s text, v text) RETURNS text VOLATILE LANGUAGE sql AS 'SELECT s || v';
CREATE AGGREGATE volatile_agg(text) (sfunc = volatile_add, stype = text);
SELECT eddy.create_continuous_view('refused', 'SELECT page, volatile_agg(tag) FROM hits h GROUP BY page');

SET client_min_messages = warning;
DROP TABLE hits, timed, few, texts, objects, odd_values CASCADE;
DROP TABLE hits_log, queries;
DROP FUNCTION make_view, differences;
DROP PROCEDURE feed;
DROP AGGREGATE joined(text), first_three(int), volatile_agg(text);
DROP FUNCTION join_text, first_three, volatile_add;
REVOKE CREATE ON SCHEMA public FROM regress_eddy_collector;
DROP ROLE regress_eddy_collector;
