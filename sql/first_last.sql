-- eddy.first, eddy.last, eddy.min_by and eddy.max_by: the value of the row with the smallest or largest order.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET timezone = 'UTC';

-- In any query.
CREATE TABLE trades (id serial, symbol text, price numeric, at timestamptz);
INSERT INTO trades (symbol, price, at) VALUES
    ('A', 10, '2026-01-01 10:00Z'), ('A', 12, '2026-01-01 10:02Z'), ('A', 11, '2026-01-01 10:01Z'), ('B', 5, '2026-01-01 10:00Z'),
    ('B', NULL, '2026-01-01 10:05Z'), ('C', 1, NULL);
SELECT symbol, eddy.first(price, at) AS open, eddy.last(price, at) AS close, eddy.min_by(at, price) AS cheapest, eddy.max_by(at, price) AS dearest
FROM trades GROUP BY symbol ORDER BY symbol;
-- Rows whose order is NULL are ignored; a NULL value counts. Without rows the result is NULL.
SELECT eddy.first(price, at), eddy.last(price, at) FROM trades WHERE symbol = 'C';
SELECT eddy.first(price, at), eddy.last(price, at) FROM trades WHERE false;
-- Of rows with the same order, the first to arrive counts for first and min_by, the last for last and max_by.
SELECT eddy.first(v, o), eddy.last(v, o), eddy.min_by(v, o), eddy.max_by(v, o) FROM (VALUES ('a', 1), ('b', 1), ('c', 2), ('d', 2)) x(v, o);
-- As a window aggregate, with FILTER, and with other types.
SELECT id, eddy.last(price, id) OVER (ORDER BY id) FROM trades ORDER BY id;
SELECT eddy.first(ARRAY[id, 1], symbol COLLATE "C") FILTER (WHERE id > 2), eddy.last(symbol, (id, 1)), eddy.first(t, id) FROM trades t;
SELECT eddy.first(1, point(1, 1));

-- In continuous views: the same result, no matter how the rows are divided into batches.
CREATE UNLOGGED TABLE ticks (symbol text, price numeric, n int, at timestamptz);
SELECT eddy.create_stream('ticks');
CREATE TABLE ticks_log (id serial PRIMARY KEY, symbol text, price numeric, n int, at timestamptz);
CREATE TYPE money_of AS (amount numeric, currency text);
CREATE TYPE level AS ENUM ('low', 'high');
SELECT eddy.create_continuous_view('candles', $$
    SELECT symbol, w.window_start, eddy.first(price, at) AS open, max(price) AS high, min(price) AS low, eddy.last(price, at) AS close,
           eddy.min_by(n, price) AS n_low, eddy.max_by(n, price) AS n_high, count(*) AS n
    FROM ticks, eddy.tumble(at, '1 minute') w GROUP BY symbol, w.window_start $$);
SELECT eddy.create_continuous_view('typed', $$
    SELECT symbol, eddy.last((price, 'EUR')::money_of, n) AS m, eddy.first(CASE WHEN n % 2 = 0 THEN 'low' ELSE 'high' END::level, at) AS l,
           eddy.max_by(ARRAY[n, -n], symbol || n) AS a, eddy.max_by(n, (price, 'x')::money_of) AS by_m,
           eddy.last(n, CASE WHEN n % 3 = 0 THEN 'low' ELSE 'high' END::level) AS by_level, eddy.first(int4range(n, n + 5), n) AS r
    FROM ticks GROUP BY symbol $$);
CREATE PROCEDURE feed(seed int, rows int) LANGUAGE sql AS $$
    WITH batch AS (
    INSERT INTO ticks_log (symbol, price, n, at)
    SELECT chr(65 + (g * seed) % 3), CASE WHEN g % 7 > 0 THEN (g * seed % 50)::numeric END, g * seed,
           CASE WHEN g % 9 > 0 THEN timestamptz '2026-01-01 00:00:00Z' + ((g * seed * 7919) % 180) * interval '1 second' + g * interval '1 ms' END
    FROM generate_series(1, rows) g RETURNING *)
    INSERT INTO ticks SELECT symbol, price, n, at FROM batch ORDER BY id
$$;
CREATE FUNCTION differences() RETURNS TABLE (candles bigint, typed bigint) LANGUAGE sql AS $$
    WITH log AS (SELECT * FROM ticks_log ORDER BY symbol, id),
    c AS (SELECT symbol, w.window_start, (array_agg(price ORDER BY at, id) FILTER (WHERE at IS NOT NULL))[1] AS open, max(price) AS high, min(price) AS low,
                 (array_agg(price ORDER BY at DESC, id DESC) FILTER (WHERE at IS NOT NULL))[1] AS close,
                 (array_agg(n ORDER BY price, id) FILTER (WHERE price IS NOT NULL))[1] AS n_low,
                 (array_agg(n ORDER BY price DESC, id DESC) FILTER (WHERE price IS NOT NULL))[1] AS n_high, count(*) AS n
          FROM log, eddy.tumble(at, '1 minute') w GROUP BY symbol, w.window_start),
    t AS (SELECT symbol, (array_agg((price, 'EUR')::money_of ORDER BY n DESC, id DESC))[1] AS m,
                 (array_agg(CASE WHEN n % 2 = 0 THEN 'low' ELSE 'high' END::level ORDER BY at, id))[1] AS l,
                 (array_agg(ARRAY[n, -n]::text ORDER BY symbol || n DESC, id DESC))[1]::int[] AS a,
                 (array_agg(n ORDER BY (price, 'x')::money_of DESC, id DESC))[1] AS by_m,
                 (array_agg(n ORDER BY CASE WHEN n % 3 = 0 THEN 'low' ELSE 'high' END::level DESC, id DESC))[1] AS by_level,
                 (array_agg(int4range(n, n + 5) ORDER BY n, id))[1] AS r
          FROM log GROUP BY symbol)
    SELECT (SELECT count(*) FROM ((TABLE candles EXCEPT ALL TABLE c) UNION ALL (TABLE c EXCEPT ALL TABLE candles)) x),
           (SELECT count(*) FROM ((TABLE typed EXCEPT ALL TABLE t) UNION ALL (TABLE t EXCEPT ALL TABLE typed)) x)
$$;
CALL feed(5, 1);
CALL feed(3, 30);
SELECT * FROM differences();
CALL feed(7, 500);
CALL feed(3, 30);
SELECT * FROM differences();
SELECT symbol, window_start, n FROM candles ORDER BY symbol, window_start LIMIT 3;
BEGIN;
UPDATE ticks_log SET price = 1000 WHERE id = (SELECT id FROM ticks_log WHERE at IS NOT NULL AND price IS NOT NULL ORDER BY at LIMIT 1);
SELECT candles > 0 AS detected FROM differences();
ROLLBACK;
-- Refused are views of which each row would fail: rows without a type of their own, of which no state could be read again, and types that cannot be compared.
SELECT eddy.create_continuous_view('x', 'SELECT symbol, eddy.last(n, (n, 1)) FROM ticks GROUP BY symbol');
SELECT eddy.create_continuous_view('x', 'SELECT symbol, eddy.min_by((n, price), at)::text FROM ticks GROUP BY symbol');
SELECT eddy.create_continuous_view('x', 'SELECT symbol, eddy.first(n, ARRAY[(n, 1)]) FROM ticks GROUP BY symbol', maintenance => 'deferred');
SELECT eddy.create_continuous_view('x', 'SELECT symbol, eddy.top_k((n, 1), 3) FROM ticks GROUP BY symbol');
SELECT eddy.create_continuous_view('x', 'SELECT symbol, (array_agg((n, 1)))[1]::text FROM ticks GROUP BY symbol');
SELECT eddy.create_continuous_view('x', 'SELECT symbol, eddy.max_by(n, to_json(n)) FROM ticks GROUP BY symbol');
SELECT eddy.create_continuous_view('x', 'SELECT symbol, eddy.top_k(point(n, 1), 3) FROM ticks GROUP BY symbol');
SELECT eddy.create_continuous_view('x', 'SELECT symbol, eddy.approx_count_distinct(to_json(n)) FROM ticks GROUP BY symbol');
-- Of aggregates that keep their values, the fields of rows are kept.
SELECT eddy.create_continuous_view('pairs', 'SELECT symbol, eddy.last(DISTINCT n, (n, -n)) AS last, count(DISTINCT (n, price)) AS pairs FROM ticks GROUP BY symbol',
                                   start => 'staged');
SELECT p.symbol, p.last = max(l.n) AS last, p.pairs = count(DISTINCT (l.n, l.price)) AS pairs FROM pairs p JOIN ticks_log l USING (symbol)
GROUP BY p.symbol, p.last, p.pairs ORDER BY p.symbol;
DROP VIEW pairs;
-- The type of a stored value can be renamed or moved.
ALTER TYPE money_of RENAME TO amount_of;
CREATE SCHEMA moved;
ALTER TYPE level SET SCHEMA moved;
INSERT INTO ticks VALUES ('A', 7, 1000000, '2026-01-02Z'), ('B', NULL, -5, NULL);
SELECT symbol, m, l, by_m, by_level FROM typed ORDER BY symbol;
SELECT * FROM eddy.dead_letters WHERE stream = 'ticks'::regclass;
-- A label that is renamed is not found in the text of a kept value: rows of that group are rejected until it has its old name again.
ALTER TYPE moved.level RENAME VALUE 'low' TO 'lowest';
INSERT INTO ticks VALUES ('B', 1, 2000000, '2026-01-03Z');
SELECT view, error, sqlstate FROM eddy.dead_letters WHERE stream = 'ticks'::regclass;
ALTER TYPE moved.level RENAME VALUE 'lowest' TO 'low';
SELECT eddy.replay_dead_letters('ticks');
SELECT symbol, m, l, by_m, by_level FROM typed WHERE symbol = 'B';
-- Another type that takes over the name is another type: values remain of the types of the aggregate's arguments.
CREATE DOMAIN amount AS numeric;
CREATE DOMAIN moment AS timestamptz;
CREATE UNLOGGED TABLE payments (k int, v amount, at moment);
SELECT eddy.create_stream('payments');
SELECT eddy.create_continuous_view('last_payments', 'SELECT k, eddy.last(v, at) AS v, eddy.max_by(k, v) AS by_v, eddy.top_k(v, 2) AS top FROM payments GROUP BY k');
SELECT eddy.create_continuous_view('deferred_payments', 'SELECT k, eddy.last(v, at) AS v, eddy.max_by(k, v) AS by_v, eddy.top_k(v, 2) AS top FROM payments GROUP BY k',
                                   maintenance => 'deferred');
INSERT INTO payments VALUES (1, 1311768467463790320, '2026-01-02Z'), (1, 2.50, '2026-01-01Z'), (2, 2.5, NULL);
ALTER DOMAIN amount RENAME TO old_amount;
CREATE DOMAIN amount AS bigint;
INSERT INTO payments VALUES (1, 1, '2026-01-01Z'), (2, 2.5, '2026-01-01Z');
SELECT * FROM last_payments ORDER BY k;
TABLE last_payments EXCEPT TABLE deferred_payments;
ALTER DOMAIN moment RENAME TO old_moment;
CREATE DOMAIN moment AS text;
INSERT INTO payments VALUES (1, 2.5, '2026-01-03Z');
SELECT * FROM last_payments ORDER BY k;
TABLE last_payments EXCEPT TABLE deferred_payments;
-- A constraint that is added to a domain does not concern values that were accepted before.
ALTER DOMAIN old_amount ADD CHECK (VALUE > 3) NOT VALID;
INSERT INTO payments VALUES (1, 7, '2026-01-01Z'), (2, 4, NULL);
SELECT * FROM last_payments ORDER BY k;
TABLE last_payments EXCEPT TABLE deferred_payments;
SELECT view, error FROM eddy.dead_letters WHERE stream = 'payments'::regclass;
-- Nor does the encoding of the client, which can lack characters of the database.
CREATE DOMAIN label AS text;
CREATE UNLOGGED TABLE labels (k int, v label, at int);
SELECT eddy.create_stream('labels');
SELECT eddy.create_continuous_view('last_labels', 'SELECT k, eddy.last(v, at) AS v, eddy.max_by(k, v) AS by_v, eddy.top_k(v, 3) AS top FROM labels GROUP BY k');
SET client_encoding = 'LATIN1';
INSERT INTO labels SELECT 1, chr(233), 1;
INSERT INTO labels SELECT 1, chr(8364), 3;
RESET client_encoding;
INSERT INTO labels SELECT 1, chr(233), 2;
SELECT k, ascii(v), by_v, top = jsonb_build_array(jsonb_build_object('value', chr(233), 'count', 2, 'error', 0),
                                                  jsonb_build_object('value', chr(8364), 'count', 1, 'error', 0)) AS top FROM last_labels;
SELECT view, error FROM eddy.dead_letters WHERE stream = 'labels'::regclass;

SET client_min_messages = warning;
DROP TABLE ticks, payments, labels CASCADE;
DROP DOMAIN amount, moment, old_amount, old_moment, label;
DROP TABLE trades, ticks_log;
DROP FUNCTION differences;
DROP PROCEDURE feed;
DROP TYPE amount_of, moved.level;
DROP SCHEMA moved;
