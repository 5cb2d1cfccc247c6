-- Operators that a definition uses implicitly are those found when it was parsed, regardless of a later search_path.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE SCHEMA ops;
CREATE EXTENSION citext SCHEMA ops;
CREATE EXTENSION ltree SCHEMA ops;
\set SHOW_CONTEXT never

-- A user-defined type whose equality operator is not in pg_catalog: numbers modulo 10.
CREATE TYPE ops.digit AS (n int);
CREATE FUNCTION ops.digit_eq(a ops.digit, b ops.digit) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT a.n % 10 = b.n % 10';
CREATE FUNCTION ops.digit_ne(a ops.digit, b ops.digit) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT a.n % 10 <> b.n % 10';
CREATE OPERATOR ops.= (LEFTARG = ops.digit, RIGHTARG = ops.digit, FUNCTION = ops.digit_eq, NEGATOR = OPERATOR(ops.<>));
CREATE OPERATOR ops.<> (LEFTARG = ops.digit, RIGHTARG = ops.digit, FUNCTION = ops.digit_ne, NEGATOR = OPERATOR(ops.=));
-- an operator with the same name and types as one of pg_catalog
CREATE FUNCTION ops.near(int, int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT abs($1 - $2) <= 1';
CREATE OPERATOR ops.= (LEFTARG = int, RIGHTARG = int, FUNCTION = ops.near);
RESET client_min_messages;

CREATE UNLOGGED TABLE mails (id int, addr ops.citext, other ops.citext, path ops.ltree, d ops.digit, e ops.digit, i int, j int);
SELECT eddy.create_stream('mails');
CREATE TABLE mails_log (LIKE mails);
CREATE TABLE people (addr ops.citext PRIMARY KEY, name text);
CREATE TABLE folders (path ops.ltree PRIMARY KEY, kind ops.citext);
INSERT INTO people VALUES ('ANN@x', 'Ann'), ('bob@X', 'Bob');
INSERT INTO folders VALUES ('a', 'INBOX'), ('a.b', 'inbox'), ('a.b.c', 'Spam');

CREATE TABLE definitions (name text, path text, query text);
INSERT INTO definitions (name, path, query) VALUES
    ('distinct_from', 'public, ops', 'SELECT count(*) FILTER (WHERE addr IS DISTINCT FROM other) AS a, count(*) FILTER (WHERE addr IS NOT DISTINCT FROM other) AS b FROM mails'),
    ('distinct_key', 'public, ops', 'SELECT addr IS DISTINCT FROM ''ann@x'' AS k, count(*) FROM mails GROUP BY 1'),
    ('case_when', 'public, ops', 'SELECT CASE addr WHEN ''ann@x'' THEN 1 WHEN ''BOB@x'' THEN 2 ELSE 3 END AS k, count(*), sum(CASE other WHEN addr THEN id END) AS s FROM mails GROUP BY 1'),
    ('null_if', 'public, ops', 'SELECT nullif(addr, other) AS k, count(*), count(nullif(other, ''ANN@X'')) AS n FROM mails GROUP BY 1'),
    ('in_list', 'public, ops', 'SELECT addr IN (''ann@x'', ''cleo@x'') AS a, addr = ANY (ARRAY[other, ''BOB@X''::citext]) AS b, count(*) FROM mails GROUP BY 1, 2'),
    ('row_compare', 'public, ops', 'SELECT (addr, id) = (other, id) AS a, (addr, id) < (other, 100) AS b, count(*) FROM mails GROUP BY 1, 2'),
    ('like_match', 'public, ops', 'SELECT addr LIKE ''ANN%'' AS a, addr ~ ''^BOB'' AS b, count(*) FROM mails GROUP BY 1, 2'),
    ('by_addr', 'public, ops', 'SELECT addr, count(*), min(other) AS least, max(other) AS greatest FROM mails GROUP BY addr HAVING count(*) >= 1'),
    ('greatest_of', 'public, ops', 'SELECT greatest(addr, other) AS g, least(addr, other) AS l, count(*) FROM mails GROUP BY 1, 2'),
    ('between_key', 'public, ops', 'SELECT addr BETWEEN ''A'' AND ''ANNZ'' AS k, addr BETWEEN SYMMETRIC ''z'' AND ''B'' AS l, count(*) FROM mails GROUP BY 1, 2'),
    ('join_using', 'public, ops', 'SELECT name, count(*) FROM mails JOIN people USING (addr) GROUP BY name'),
    ('join_natural', 'public, ops', 'SELECT p.name, count(*) FROM mails NATURAL LEFT JOIN people p GROUP BY p.name'),
    ('join_on', 'public, ops', 'SELECT p.name, count(*) FROM mails LEFT JOIN people p ON p.addr = mails.other GROUP BY p.name'),
    ('sub_select', 'public, ops', 'SELECT count(*) FILTER (WHERE other IN (SELECT addr FROM people)) AS a, count(*) FILTER (WHERE addr = ANY (SELECT addr FROM people WHERE name = ''Ann'')) AS b FROM mails'),
    ('tree_join', 'public, ops', 'SELECT kind, count(*) FROM mails JOIN folders USING (path) GROUP BY kind'),
    ('tree_natural', 'public, ops', 'SELECT count(*), max(kind) AS k FROM mails NATURAL JOIN folders'),
    ('tree_ancestor', 'public, ops', 'SELECT path, count(*) FROM mails WHERE path <@ ''a.b'' AND path IS DISTINCT FROM ''a.b.x'' GROUP BY path'),
    ('tree_case', 'public, ops', 'SELECT CASE path WHEN ''a'' THEN ''top'' WHEN ''a.b'' THEN ''sub'' ELSE ''other'' END AS k, count(*), count(nullif(path, ''a'')) AS n FROM mails GROUP BY 1'),
    ('tree_query', 'public, ops', 'SELECT path ~ ''*.b.*'' AS a, path || ''x'' AS b, nlevel(path) AS c, count(*) FROM mails GROUP BY 1, 2, 3'),
    ('digits', 'ops, public', 'SELECT d = e AS a, d IS DISTINCT FROM e AS b, nullif(d, e) IS NULL AS c, CASE d WHEN e THEN 1 ELSE 0 END AS f, count(*) FROM mails GROUP BY 1, 2, 3, 4'),
    ('near', 'ops, pg_catalog, public', 'SELECT i = j AS a, i IS DISTINCT FROM j AS b, nullif(i, j) AS c, CASE i WHEN j THEN 1 ELSE 0 END AS f, i IN (3, 30) AS g, count(*) FROM mails GROUP BY 1, 2, 3, 4, 5'),
    ('near_join', 'ops, pg_catalog, public', 'SELECT mails.i, count(*) FROM mails JOIN numbers USING (i) GROUP BY mails.i'),
    ('exact', 'public', 'SELECT i = j AS a, i IS DISTINCT FROM j AS b, nullif(i, j) AS c, CASE i WHEN j THEN 1 ELSE 0 END AS f, count(*) FROM mails GROUP BY 1, 2, 3, 4');
CREATE TABLE numbers AS SELECT i FROM (VALUES (1), (5), (9)) v(i);
CREATE FUNCTION under(path text, command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('search_path', path, true);
    EXECUTE command;
    RETURN command;
END $$;
-- each query is parsed with a search_path of its own, and maintained with others
SELECT count(under(path, format('SELECT eddy.create_continuous_view(%L, %L)::text', 'public.' || name, query))) AS views FROM definitions;
CREATE FUNCTION feed(seed int) RETURNS void LANGUAGE sql AS $$
    WITH rows AS (
        INSERT INTO public.mails_log
        SELECT g, (ARRAY['ann@x', 'Ann@X', 'BOB@x', 'bob@X', 'cleo@x', NULL])[1 + g * seed % 6]::ops.citext, (ARRAY['ANN@x', 'bob@x', 'Cleo@X', NULL])[1 + g * seed / 6 % 4]::ops.citext,
               (ARRAY['a', 'a.b', 'a.b.c', 'a.b.x', 'B', NULL])[1 + g * seed % 6]::ops.ltree, ROW(g * seed % 30)::ops.digit, ROW(g % 4 * 10 + seed)::ops.digit, g % 10, seed
        FROM generate_series(1, 24) g RETURNING *)
    INSERT INTO public.mails SELECT * FROM rows
$$;
SELECT feed(1);
SET search_path = ops, public;
SELECT public.feed(5);
SET search_path = pg_catalog;
SELECT public.feed(7);
RESET search_path;
CREATE FUNCTION differences(path text, view text, query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE result bigint;
BEGIN
    -- the same SELECT with the search_path of its definition; rows are compared as text
    PERFORM set_config('search_path', path, true);
    EXECUTE format('CREATE TEMP TABLE expected AS %s', replace(query, 'FROM mails', 'FROM public.mails_log mails'));
    EXECUTE format('SELECT count(*) FROM ((SELECT lower(v::text) FROM public.%1$I v EXCEPT ALL SELECT lower(e::text) FROM expected e)
                    UNION ALL (SELECT lower(e::text) FROM expected e EXCEPT ALL SELECT lower(v::text) FROM public.%1$I v)) x', view) INTO result;
    DROP TABLE expected;
    RETURN result;
END $$;
SELECT name, differences(path, name, query) FROM definitions ORDER BY name COLLATE "C";
SELECT name FROM definitions d WHERE NOT EXISTS (SELECT FROM eddy.continuous_views v WHERE v.view = d.name::regclass);
SELECT count(*) FROM eddy.dead_letters WHERE stream = 'mails'::regclass;
TABLE join_using ORDER BY name;
TABLE near_join ORDER BY i;

SET client_min_messages = warning;
DROP TABLE mails CASCADE;
DROP TABLE mails_log, people, folders, definitions, numbers;
DROP FUNCTION under, feed, differences;
DROP SCHEMA ops CASCADE;
