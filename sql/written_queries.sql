-- Queries as users of other systems write them: each view equals its SELECT over the stored rows after each commit, or
-- the query is refused with the reason and a way out.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE SCHEMA written;
RESET client_min_messages;
SET search_path = written, public;
SET timezone = 'UTC';

CREATE UNLOGGED TABLE ev (id int, user_id int, kind text, url text, amount numeric, dur float8, qty int, ok boolean, tags text[], doc jsonb,
    ip inet, at timestamptz, note text);
CREATE UNLOGGED TABLE ev2 (id int, uid int, price numeric, at timestamptz);
SELECT eddy.create_stream('ev', event_time => 'at', delay => '1 day'), eddy.create_stream('ev2', event_time => 'at', delay => '1 day');
CREATE TABLE users (id int PRIMARY KEY, name text, country text, plan text);
INSERT INTO users SELECT i, 'user ' || i, (ARRAY['de', 'us', 'fr'])[1 + i % 3], CASE WHEN i % 4 = 0 THEN 'pro' END FROM generate_series(1, 12) i;
CREATE TABLE blocked (user_id int);
INSERT INTO blocked VALUES (3), (NULL);
CREATE TABLE rates (cur text, rate numeric);
INSERT INTO rates VALUES ('eur', 1.5), ('usd', 1);
CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (5);
CREATE TABLE part2 PARTITION OF parts FOR VALUES FROM (5) TO (100);
INSERT INTO parts SELECT i, 'v' || i % 3 FROM generate_series(1, 12) i;
CREATE VIEW active AS SELECT * FROM users WHERE plan IS NOT NULL;

CREATE TABLE queries (n int GENERATED ALWAYS AS IDENTITY, query text, error text);
INSERT INTO queries (query) VALUES
($$ SELECT user_id, count(*) FROM ev GROUP BY user_id $$),
($$ SELECT kind, count(DISTINCT user_id) AS users, count(*) FILTER (WHERE ok) AS good FROM ev GROUP BY kind $$),
($$ SELECT date_trunc('hour', at) AS hour, sum(amount) FROM ev GROUP BY 1 $$),
($$ SELECT date_bin('5 minutes', at, '2000-01-01') AS bucket, avg(dur), max(dur), min(dur) FROM ev GROUP BY bucket ORDER BY bucket $$),
($$ SELECT w.window_start, kind, count(*) FROM ev, eddy.tumble(at, '1 minute') w GROUP BY w.window_start, kind $$),
($$ SELECT w.window_start, w.window_end, percentile_cont(0.95) WITHIN GROUP (ORDER BY dur) AS p95 FROM ev, eddy.tumble(at, '10 minutes') w GROUP BY 1, 2 $$),
($$ SELECT kind, percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY dur) FROM ev GROUP BY kind $$),
($$ SELECT kind, percentile_disc(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY amount DESC) FROM ev GROUP BY kind $$),
($$ SELECT kind, mode() WITHIN GROUP (ORDER BY user_id) FROM ev GROUP BY kind $$),
($$ SELECT kind, rank(1.5) WITHIN GROUP (ORDER BY dur) AS r, dense_rank(1.5) WITHIN GROUP (ORDER BY dur) AS d, percent_rank(1.5) WITHIN GROUP (ORDER BY dur) AS p, cume_dist(1.5) WITHIN GROUP (ORDER BY dur) AS c FROM ev GROUP BY kind $$),
($$ SELECT kind, rank('click', 3) WITHIN GROUP (ORDER BY kind, qty) FROM ev GROUP BY kind $$),
($$ SELECT user_id, array_agg(url ORDER BY at) AS path FROM ev GROUP BY user_id $$),
($$ SELECT user_id, string_agg(DISTINCT kind, ',' ORDER BY kind) FROM ev GROUP BY user_id $$),
($$ SELECT user_id, json_agg(json_build_object('u', url, 'a', amount) ORDER BY id) AS j FROM ev GROUP BY user_id $$),
($$ SELECT kind, jsonb_object_agg(url, amount ORDER BY id) FROM ev GROUP BY kind $$),
($$ SELECT kind, json_object_agg(url, qty) FROM ev GROUP BY kind $$),
($$ SELECT kind, xmlagg(xmlelement(name e, id) ORDER BY id DESC)::text FROM ev GROUP BY kind $$),
($$ SELECT xmlagg(xmlelement(name e, id))::text AS x FROM ev $$),
($$ SELECT kind, user_id, sum(amount), grouping(kind, user_id) FROM ev GROUP BY GROUPING SETS ((kind), (user_id), ()) $$),
($$ SELECT kind, ok, count(DISTINCT user_id), array_agg(DISTINCT qty) FROM ev GROUP BY CUBE (kind, ok) $$),
($$ SELECT kind, ok, count(*), sum(DISTINCT qty) FROM ev GROUP BY ROLLUP (kind, ok) HAVING count(*) > 3 $$),
($$ SELECT DISTINCT user_id, kind FROM ev $$),
($$ SELECT DISTINCT ON (user_id) user_id, url, at FROM ev ORDER BY user_id, at DESC, id DESC $$),
($$ SELECT DISTINCT ON (user_id) user_id, url, at FROM ev ORDER BY user_id, at, id $$),
($$ SELECT DISTINCT ON (kind, ok) * FROM ev ORDER BY kind, ok, id DESC $$),
($$ SELECT id, upper(kind) AS kind, amount * qty AS total FROM ev WHERE amount > 2 $$),
($$ SELECT e.id, e.url, u.name, u.country FROM ev e JOIN users u ON u.id = e.user_id $$),
($$ SELECT e.id, u.name FROM ev e LEFT JOIN users u ON u.id = e.user_id WHERE e.kind = 'buy' $$),
($$ SELECT u.country, sum(e.amount) AS revenue FROM ev e JOIN users u ON e.user_id = u.id GROUP BY u.country $$),
($$ SELECT coalesce(u.country, 'unknown') AS c, count(*) FROM ev e LEFT JOIN users u ON e.user_id = u.id GROUP BY 1 $$),
($$ SELECT p.v AS part, count(*) FROM ev e JOIN parts p ON p.id = e.user_id GROUP BY p.v $$),
($$ SELECT a.plan, count(*) FROM ev JOIN active a ON a.id = user_id GROUP BY a.plan $$),
($$ SELECT count(*) FROM ev WHERE user_id IN (SELECT id FROM users WHERE plan = 'pro') $$),
($$ SELECT kind, count(*) FROM ev e WHERE EXISTS (SELECT 1 FROM users u WHERE u.id = e.user_id AND u.country = 'de') GROUP BY kind $$),
($$ SELECT count(*) FROM ev WHERE user_id NOT IN (SELECT user_id FROM blocked WHERE user_id IS NOT NULL) $$),
($$ SELECT kind, count(*) FROM ev e WHERE NOT EXISTS (SELECT FROM blocked b WHERE b.user_id = e.user_id) GROUP BY kind $$),
($$ SELECT kind, (SELECT count(*) FROM users) AS all_users, count(*) FROM ev GROUP BY kind $$),
($$ SELECT kind, sum(amount * (SELECT rate FROM rates WHERE cur = 'eur')) FROM ev GROUP BY kind $$),
($$ SELECT t, count(*) FROM ev, unnest(tags) AS t GROUP BY t $$),
($$ SELECT unnest(tags) AS tag, count(*) FROM ev GROUP BY 1 $$),
($$ SELECT i->>'sku' AS sku, sum((i->>'n')::int) FROM ev, jsonb_array_elements(doc->'items') AS i GROUP BY 1 $$),
($$ SELECT r.sku, sum(r.n) FROM ev CROSS JOIN LATERAL jsonb_to_recordset(doc->'items') AS r (sku text, n int) GROUP BY r.sku $$),
($$ SELECT r.sku, count(*) FROM ev LEFT JOIN LATERAL jsonb_to_recordset(doc->'items') AS r (sku text, n int) ON r.n > 1 GROUP BY r.sku $$),
($$ SELECT m[1] AS status, count(*) FROM ev, regexp_matches(note, 'status=(\d+)') AS m GROUP BY 1 $$),
($$ SELECT substring(url FROM '/p/(\d+)') AS page, count(*) FROM ev GROUP BY 1 $$),
($$ SELECT split_part(url, '?', 1) AS page, count(*) AS views, count(DISTINCT user_id) FROM ev GROUP BY split_part(url, '?', 1) $$),
($$ SELECT doc->>'device' AS device, doc#>>'{geo,lat}' AS lat, avg(amount) FROM ev GROUP BY 1, 2 $$),
($$ WITH buys AS (SELECT * FROM ev WHERE kind = 'buy') SELECT user_id, sum(amount) FROM buys GROUP BY user_id $$),
($$ WITH e AS (SELECT user_id, amount * 2 AS a FROM ev), f AS (SELECT * FROM e WHERE a > 3) SELECT user_id % 3 AS g, max(a) FROM f GROUP BY 1 $$),
($$ SELECT g, count(*) FROM (SELECT CASE WHEN amount > 5 THEN 'high' WHEN amount IS NULL THEN 'none' ELSE 'low' END AS g FROM ev) q GROUP BY g $$),
($$ SELECT user_id, n FROM (SELECT user_id, count(*) AS n FROM ev GROUP BY user_id) q WHERE n > 5 $$),
($$ SELECT max(n), min(n), avg(n) FROM (SELECT user_id, count(*) AS n FROM ev GROUP BY user_id) q $$),
($$ SELECT n, count(*) FROM (SELECT user_id, count(*) AS n FROM ev GROUP BY user_id) q GROUP BY n $$),
($$ SELECT kind, count(*) AS n, rank() OVER (ORDER BY count(*) DESC) FROM ev GROUP BY kind $$),
($$ SELECT * FROM (SELECT kind, user_id, count(*) AS n, row_number() OVER (PARTITION BY kind ORDER BY count(*) DESC, user_id) AS rn FROM ev GROUP BY kind, user_id) q WHERE rn <= 3 $$),
($$ SELECT kind, sum(amount) AS s, sum(amount) / sum(sum(amount)) OVER () AS share FROM ev GROUP BY kind $$),
($$ SELECT w.window_start, count(*) AS n, count(*) - lag(count(*)) OVER (ORDER BY w.window_start) AS change FROM ev, eddy.tumble(at, '10 min') w GROUP BY w.window_start $$),
($$ SELECT user_id, sum(amount) AS s FROM ev GROUP BY user_id ORDER BY s DESC NULLS LAST LIMIT 5 $$),
($$ SELECT user_id, sum(amount) AS s FROM ev GROUP BY user_id ORDER BY s DESC NULLS LAST, user_id OFFSET 2 FETCH FIRST 3 ROWS ONLY $$),
($$ SELECT id, user_id, lag(at) OVER (PARTITION BY user_id ORDER BY at) FROM ev $$),
($$ SELECT user_id, at, sum(amount) OVER (PARTITION BY user_id ORDER BY at) AS running FROM ev $$),
($$ SELECT kind, round(stddev(amount), 6) AS sd, round(corr(dur, qty)::numeric, 6) AS c FROM ev GROUP BY kind $$),
($$ SELECT kind, bool_or(ok), bool_and(ok), every(ok), bit_or(qty), bit_and(qty) FROM ev GROUP BY kind $$),
($$ SELECT kind, max(at) - min(at) AS span, max(url), min(ip) FROM ev GROUP BY kind $$),
($$ SELECT kind, sum(amount) / nullif(count(*), 0) AS mean, count(*) FILTER (WHERE ok) * 100.0 / count(*) AS pct FROM ev GROUP BY kind $$),
($$ SELECT kind, sum(CASE WHEN ok THEN 1 ELSE 0 END) AS oks FROM ev GROUP BY kind $$),
($$ SELECT 'ev' AS src, user_id AS u, amount AS a FROM ev UNION ALL SELECT 'ev2', uid, price FROM ev2 $$),
($$ SELECT u, sum(a) FROM (SELECT user_id AS u, amount AS a FROM ev UNION ALL SELECT uid, price FROM ev2) q GROUP BY u $$),
($$ SELECT e.user_id, count(*) FROM ev e JOIN ev2 f ON f.uid = e.user_id GROUP BY 1 $$),
($$ SELECT a.user_id, count(*) FROM ev a JOIN ev b ON a.user_id = b.user_id AND b.at > a.at GROUP BY 1 $$),
($$ SELECT user_id FROM ev UNION SELECT uid FROM ev2 $$),
($$ SELECT url, kind FROM ev WHERE ok UNION (SELECT lower(url), kind FROM ev UNION ALL SELECT note, 'note' FROM ev) ORDER BY 2, 1 DESC $$),
($$ SELECT k, count(*) FROM (SELECT user_id % 5 AS k, qty FROM ev UNION SELECT uid % 4, id FROM ev2) u GROUP BY k $$),
($$ WITH seen AS (SELECT user_id AS u, at FROM ev UNION SELECT uid, at FROM ev2) SELECT w.window_start, count(*), count(DISTINCT u) AS users FROM seen, eddy.tumble(at, '10 minutes') w GROUP BY 1 $$),
($$ SELECT user_id FROM ev EXCEPT SELECT user_id FROM blocked $$),
($$ SELECT user_id, eddy.first(url, at) AS entry, eddy.last(url, at) AS exit, eddy.min_by(id, amount) AS cheapest FROM ev GROUP BY user_id $$),
($$ SELECT kind, eddy.approx_count_distinct(user_id) FROM ev GROUP BY kind $$),
($$ SELECT eddy.top_k(kind, 3) FROM ev $$),
($$ SELECT v.x, count(*) FROM ev JOIN (VALUES (1, 'one'), (2, 'two')) AS v (n, x) ON v.n = qty GROUP BY v.x $$),
($$ SELECT w.window_start, w.window_end, user_id, count(*) FROM ev, eddy.hop(at, '1 min', '5 min') w GROUP BY 1, 2, 3 $$),
($$ SELECT w.window_start, w.window_end, sum(amount) FROM ev, eddy.cumulate(at, '10 min', '1 hour') w GROUP BY 1, 2 $$),
($$ SELECT kind, count(*) FROM ev GROUP BY kind HAVING count(*) BETWEEN 3 AND 1000 AND sum(amount) > 1 $$),
($$ SELECT kind, user_id, count(*) FROM ev GROUP BY 1, 2 HAVING count(*) > (SELECT min(id) FROM users) $$),
($$ SELECT extract(dow FROM at) AS d, extract(hour FROM at) AS h, count(*) FROM ev GROUP BY 1, 2 $$),
($$ SELECT to_char(at, 'YYYY-MM-DD HH24:MI') AS m, count(*) FROM ev GROUP BY 1 $$),
($$ SELECT user_id, count(*) FROM ev WHERE at > now() - interval '1 hour' GROUP BY user_id $$),
($$ SELECT random() < 0.5 AS coin, count(*) FROM ev GROUP BY 1 $$),
($$ SELECT network(set_masklen(ip, 24)) AS net, count(*) FROM ev GROUP BY 1 $$),
($$ SELECT ip << '10.0.1.0/24' AS inside, count(*) FROM ev GROUP BY 1 $$),
($$ SELECT width_bucket(dur, 0, 4, 8) AS bucket, count(*) FROM ev GROUP BY 1 $$),
($$ SELECT floor(dur) AS b, count(*), sum(count(*)) OVER (ORDER BY floor(dur)) AS cum FROM ev GROUP BY 1 $$),
($$ SELECT kind, range_agg(int4range(id, id + 1)) FROM ev GROUP BY kind $$),
($$ SELECT user_id, array_agg(DISTINCT kind) AS kinds, array_length(array_agg(DISTINCT kind), 1) AS n FROM ev GROUP BY user_id $$),
($$ SELECT kind, array_agg(id ORDER BY amount DESC NULLS LAST, id) FILTER (WHERE ok) AS ids FROM ev GROUP BY kind $$),
($$ SELECT kind, (array_agg(id ORDER BY at DESC))[1:3] AS latest FROM ev GROUP BY kind $$),
($$ SELECT kind, string_agg(url, E'\n' ORDER BY id) AS l FROM ev GROUP BY kind $$),
($$ SELECT key, count(*) FROM ev, jsonb_each_text(doc) GROUP BY key $$),
($$ SELECT k, count(*) FROM ev, jsonb_object_keys(doc) k GROUP BY k $$),
($$ SELECT jsonb_path_query(doc, '$.items[*].sku')#>>'{}' AS sku, count(*) FROM ev GROUP BY 1 $$),
($$ SELECT count(*) AS n, count(amount) AS amounts, count(DISTINCT amount) AS different, sum(amount), avg(amount) FROM ev $$),
($$ SELECT kind, ok, count(*) FROM ev GROUP BY kind, GROUPING SETS ((ok), ()) $$),
($$ SELECT e.kind, c.country, count(*) FROM ev e CROSS JOIN (SELECT DISTINCT country FROM users) c GROUP BY 1, 2 $$),
($$ SELECT e.kind, u.n FROM ev e CROSS JOIN LATERAL (SELECT count(*) AS n FROM users u WHERE u.id <= e.qty) u WHERE e.ok $$),
($$ SELECT kind, sum(l.n) FROM ev e CROSS JOIN LATERAL (SELECT count(*) AS n FROM users u WHERE u.id <= e.qty) l GROUP BY kind $$),
($$ SELECT u.country, u.plan, count(*), grouping(u.country) AS g FROM ev e JOIN users u ON u.id = e.user_id GROUP BY ROLLUP (u.country, u.plan) $$),
($$ SELECT e.user_id, count(*) FROM ev e RIGHT JOIN users u ON u.id = e.user_id GROUP BY 1 $$),
($$ SELECT u.name, count(e.id) FROM users u LEFT JOIN ev e ON u.id = e.user_id GROUP BY u.name $$),
($$ SELECT e.user_id, count(*) FROM ev e FULL JOIN users u ON u.id = e.user_id GROUP BY 1 $$),
($$ SELECT ev.* FROM ev $$),
($$ SELECT kind, first_value(url) OVER (PARTITION BY kind ORDER BY at) FROM ev $$),
($$ SELECT DISTINCT kind, first_value(url) OVER (PARTITION BY kind ORDER BY at) FROM ev $$),
($$ SELECT * FROM ev TABLESAMPLE BERNOULLI (50) $$),
($$ SELECT * FROM ev FOR UPDATE $$),
($$ SELECT count(*) FROM ev WHERE id % 2 = 0 AND kind LIKE 'b%' OR url ~ '^/p/[12]' $$),
($$ WITH RECURSIVE r AS (SELECT id FROM ev UNION ALL SELECT id - 1 FROM r WHERE id > 0) SELECT count(*) FROM r $$),
($$ SELECT count(*) AS n FROM ev HAVING count(*) > 1000000 $$),
($$ SELECT user_id, sum(amount) FILTER (WHERE kind = 'buy') - sum(amount) FILTER (WHERE kind = 'error') AS net FROM ev GROUP BY user_id $$),
($$ SELECT CASE WHEN grouping(kind) = 1 THEN 'all' ELSE kind END AS k, count(*) FROM ev GROUP BY ROLLUP (kind) $$),
($$ SELECT kind, percentile_cont(0.5) WITHIN GROUP (ORDER BY at - timestamptz '2026-01-01Z') FROM ev GROUP BY kind $$),
($$ SELECT kind, percentile_disc(0.5) WITHIN GROUP (ORDER BY kind) FILTER (WHERE ok) FROM ev GROUP BY kind $$),
($$ SELECT jsonb_agg(DISTINCT kind) AS k, jsonb_agg(DISTINCT user_id) AS u FROM ev $$),
($$ SELECT lower(kind) AS k, avg(DISTINCT qty), count(DISTINCT (user_id, kind)) FROM ev GROUP BY lower(kind) $$),
($$ SELECT tags, count(*) FROM ev GROUP BY tags $$),
($$ SELECT doc->'geo' AS g, count(*) FROM ev GROUP BY 1 $$),
($$ SELECT generate_series(1, qty) AS s, count(*) FROM ev GROUP BY 1 $$);

DO $$
DECLARE
    q record;
    reason text;
    detail text;
    hint text;
BEGIN
    FOR q IN SELECT * FROM queries ORDER BY n LOOP
        BEGIN
            PERFORM eddy.create_continuous_view(format('q%s', q.n), q.query);
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
            UPDATE queries SET error = concat_ws(E'\n', reason, nullif(detail, ''), nullif(hint, '')) WHERE n = q.n;
        END;
    END LOOP;
END $$;

-- the queries whose view differs from them
CREATE FUNCTION differing() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    q record;
    n bigint;
BEGIN
    FOR q IN SELECT * FROM queries WHERE error IS NULL ORDER BY n LOOP
        EXECUTE format('WITH v AS (SELECT to_jsonb(old_row) FROM q%s old_row), w AS (SELECT to_jsonb(new_row) FROM (%s) new_row)
            SELECT count(*) FROM ((TABLE v EXCEPT ALL TABLE w) UNION ALL (TABLE w EXCEPT ALL TABLE v)) d', q.n, q.query) INTO n;
        IF n > 0 THEN
            RETURN NEXT q.query;
        END IF;
    END LOOP;
END $$;
CREATE PROCEDURE add(first int, last int) LANGUAGE sql AS $$
    INSERT INTO ev SELECT i, CASE WHEN i % 13 > 0 THEN i % 10 END, (ARRAY['view', 'click', 'buy', 'error'])[1 + i % 4],
        '/p/' || i % 6 || '?q=' || i % 3, CASE WHEN i % 7 > 0 THEN (i % 50) / 4.0 END, CASE WHEN i % 11 > 0 THEN (i % 32) / 8.0 END, i % 5, i % 3 = 0,
        CASE WHEN i % 9 > 0 THEN ARRAY['a', 'b' || i % 2] END,
        jsonb_build_object('device', (ARRAY['ios', 'web'])[1 + i % 2], 'geo', jsonb_build_object('lat', i % 4), 'items',
            jsonb_build_array(jsonb_build_object('sku', 's' || i % 4, 'n', i % 3), jsonb_build_object('sku', 'x', 'n', 1))),
        ('10.0.' || i % 3 || '.' || i % 9)::inet, timestamptz '2026-01-01Z' + i * interval '17 s',
        CASE WHEN i % 4 = 0 THEN 'status=' || i % 5 END
    FROM generate_series(first, last) i ORDER BY i;
    INSERT INTO ev2 SELECT i, i % 6, (i % 9) / 2.0, timestamptz '2026-01-01Z' + i * interval '31 s' FROM generate_series(first, last) i;
$$;
CALL add(1, 60);
SELECT differing();
CALL add(61, 61);
CALL add(62, 240);
SELECT differing();
SELECT count(*) FILTER (WHERE error IS NULL) AS maintained, count(*) AS queries FROM queries;
SELECT count(*) AS dead_letters FROM eddy.dead_letters WHERE stream = 'ev'::regclass;

-- What is refused.
\pset format unaligned
\pset recordsep '\n\n'
SELECT trim(query) || E'\n' || error FROM queries WHERE error IS NOT NULL ORDER BY n;
\pset recordsep '\n'
\pset format aligned

SET client_min_messages = warning;
DROP SCHEMA written CASCADE;
