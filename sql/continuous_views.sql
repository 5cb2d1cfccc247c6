-- Continuous views: the result of a SELECT is kept up to date.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET timezone = 'UTC';

CREATE UNLOGGED TABLE orders (order_id bigint, user_id text, amount numeric, event_time timestamptz);
SELECT eddy.create_stream('orders', event_time => 'event_time', delay => '5 seconds');

-- Rows inserted before the creation of a view are not counted, unless requested.
INSERT INTO orders VALUES (1, 'ann', 10.00, '2026-01-01 00:01Z');

SELECT eddy.create_continuous_view('revenue_5m', $$
    SELECT user_id, w.window_start, w.window_end, sum(amount) AS revenue, count(*) AS orders
    FROM orders, eddy.tumble(event_time, '5 minutes') AS w
    GROUP BY user_id, w.window_start, w.window_end $$);
SELECT eddy.create_continuous_view('revenue_staged', $$
    SELECT user_id, sum(amount) AS revenue FROM orders GROUP BY user_id $$, start => 'staged');
-- Without GROUP BY a view has one row, from its creation on.
SELECT eddy.create_continuous_view('overall', $$
    SELECT count(*), sum(amount), max(order_id) AS last_order FROM orders $$);
TABLE revenue_5m;
TABLE revenue_staged;
TABLE overall;

-- A statement is counted in the views when it ends.
INSERT INTO orders VALUES
    (2, 'ann', 5.50, '2026-01-01 00:02Z'),
    (3, 'bob', 7.25, '2026-01-01 00:04:59.999Z'),
    (4, 'bob', 1.25, '2026-01-01 00:05Z');
SELECT * FROM revenue_5m ORDER BY window_start, user_id;
SELECT * FROM revenue_staged ORDER BY user_id;
TABLE overall;

COPY orders FROM stdin;
5	ann	4.50	2026-01-01 00:00:00+00
6	\N	1	2026-01-01 00:03:00+00
\.
SELECT * FROM revenue_5m ORDER BY window_start, user_id;

-- Each view is compared with its SELECT, in both directions: no group is missing and none is added.
CREATE TABLE accepted AS SELECT * FROM orders WHERE order_id > 1;
CREATE VIEW revenue_5m_expected AS
SELECT user_id, w.window_start, w.window_end, sum(amount) AS revenue, count(*) AS orders
FROM accepted, eddy.tumble(event_time, '5 minutes') AS w
GROUP BY user_id, w.window_start, w.window_end;
SELECT user_id, window_start, window_end, revenue, orders FROM revenue_5m EXCEPT ALL TABLE revenue_5m_expected;
TABLE revenue_5m_expected EXCEPT ALL SELECT user_id, window_start, window_end, revenue, orders FROM revenue_5m;

-- Expressions over aggregates, keys that are not selected, FILTER and HAVING.
SELECT eddy.create_continuous_view('mixed', $$
    SELECT upper(user_id) AS who, sum(amount) / nullif(count(*), 0) AS average,
           count(*) FILTER (WHERE amount >= 5) AS large, 2 * max(amount) + 1 AS twice
    FROM orders WHERE amount > 0
    GROUP BY user_id, order_id % 2
    HAVING count(*) > 1 $$);
INSERT INTO orders SELECT g, CASE g % 3 WHEN 0 THEN 'ann' WHEN 1 THEN 'bob' END, g % 11 - 1, '2026-01-01Z'
FROM generate_series(100, 120) g;
SELECT * FROM mixed ORDER BY who, average, large;
CREATE VIEW mixed_expected AS
SELECT upper(user_id) AS who, sum(amount) / nullif(count(*), 0) AS average,
       count(*) FILTER (WHERE amount >= 5) AS large, 2 * max(amount) + 1 AS twice
FROM orders WHERE amount > 0 AND order_id >= 100
GROUP BY user_id, order_id % 2 HAVING count(*) > 1;
TABLE mixed EXCEPT ALL TABLE mixed_expected;
TABLE mixed_expected EXCEPT ALL TABLE mixed;
DROP VIEW revenue_5m_expected, mixed_expected;

-- A joined table is read when the row arrives.
CREATE TABLE customers (user_id text PRIMARY KEY, city text);
INSERT INTO customers VALUES ('ann', 'Oslo'), ('bob', 'Rome');
SELECT eddy.create_continuous_view('by_city', $$
    SELECT c.city, count(*) FROM orders o LEFT JOIN customers c USING (user_id) GROUP BY c.city $$);
INSERT INTO orders VALUES (200, 'ann', 1, '2026-01-01Z'), (201, 'cleo', 1, '2026-01-01Z');
UPDATE customers SET city = 'Bergen' WHERE user_id = 'ann';
INSERT INTO orders VALUES (202, 'ann', 1, '2026-01-01Z');
SELECT * FROM by_city ORDER BY city;

-- Windows are half-open and aligned in UTC, regardless of the session's time zone; an offset moves them.
SET timezone = 'America/New_York';
SELECT * FROM eddy.tumble('2026-03-08 12:00Z', '1 day');
RESET timezone;
SET timezone = 'UTC';
SELECT * FROM eddy.tumble('2026-01-01 00:10Z'::timestamptz, '10 minutes', '3 minutes');
SELECT * FROM eddy.tumble('1969-12-31 23:57'::timestamp, '10 minutes');
SELECT * FROM eddy.hop('2026-01-01 00:00:09Z'::timestamptz, '6 s', '12 s');
SELECT * FROM eddy.cumulate('2026-01-01 00:00:08Z'::timestamptz, '6 s', '18 s');
SELECT * FROM eddy.tumble('2026-01-01Z'::timestamptz, '1 month');

-- Groups can be deleted; other writes to the result are refused.
DELETE FROM revenue_5m WHERE window_end <= '2026-01-01 00:00Z';
SELECT count(*) FROM revenue_5m WHERE window_end <= '2026-01-01 00:00Z';
UPDATE revenue_5m SET revenue = 0;
INSERT INTO overall VALUES (0, 0, 0);

SELECT view, stream, emit, late, start FROM eddy.continuous_views ORDER BY view::text;
SELECT eddy.create_continuous_view('overall', 'SELECT count(*) FROM orders');
SELECT eddy.create_continuous_view('overall', 'SELECT count(*) FROM orders', if_not_exists => true);

-- DROP TABLE respects dependent views.
DROP TABLE orders;
SET client_min_messages = warning;
DROP TABLE orders CASCADE;
RESET client_min_messages;
SELECT count(*) FROM eddy.continuous_views WHERE view::text = 'overall';
SELECT relname FROM pg_class WHERE relnamespace = 'eddy'::regnamespace AND relname ~ '_(def|state)$';
DROP TABLE accepted, customers;
