--
-- Streams: registering a table, inserting into it, dropping it
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET IntervalStyle = 'postgres';

-- A stream is a user's unlogged table.
CREATE UNLOGGED TABLE orders (order_id bigint, user_id text, amount numeric, event_time timestamptz);
SELECT eddy.create_stream('orders', event_time => 'event_time', delay => '5 seconds', retention => '1 hour');
SELECT stream, event_time, delay, retention, idle_timeout, max_future_skew, null_event_time, auto_advance, segments
FROM eddy.streams WHERE stream = 'orders'::regclass;
-- no partition has an event time yet
SELECT eddy.watermark('orders');

--
-- Refused tables and arguments, with hints
--
SELECT eddy.create_stream('orders');

CREATE TABLE logged_orders (order_id bigint);
SELECT eddy.create_stream('logged_orders');
CREATE TEMP TABLE temporary_orders (order_id bigint);
SELECT eddy.create_stream('temporary_orders');
CREATE VIEW viewed_orders AS SELECT 1 AS order_id;
SELECT eddy.create_stream('viewed_orders');
CREATE TABLE partitioned_orders (order_id bigint) PARTITION BY RANGE (order_id);
SELECT eddy.create_stream('partitioned_orders');
CREATE UNLOGGED TABLE partition_of_orders PARTITION OF partitioned_orders DEFAULT;
SELECT eddy.create_stream('partition_of_orders');
CREATE UNLOGGED TABLE parent_orders (order_id bigint);
CREATE UNLOGGED TABLE child_orders () INHERITS (parent_orders);
SELECT eddy.create_stream('parent_orders');
SELECT eddy.create_stream('child_orders');
CREATE UNLOGGED TABLE referenced_orders (order_id bigint PRIMARY KEY);
CREATE UNLOGGED TABLE order_lines (order_id bigint REFERENCES referenced_orders);
SELECT eddy.create_stream('referenced_orders');
SELECT eddy.create_stream('pg_class');
SELECT eddy.create_stream('eddy._stream');
SELECT eddy.create_stream(NULL);
DROP TABLE child_orders;
-- no child remains, as of a stream after DROP EXTENSION
BEGIN;
SELECT eddy.create_stream('parent_orders');
ROLLBACK;
DROP TABLE logged_orders, temporary_orders, partitioned_orders, parent_orders;
DROP TABLE order_lines, referenced_orders;
DROP VIEW viewed_orders;

CREATE UNLOGGED TABLE clicks (user_id text, clicked_at timestamptz, day date, page text);
SELECT eddy.create_stream('clicks', event_time => 'clickedat');
SELECT eddy.create_stream('clicks', event_time => 'CLICKED_AT');
SELECT eddy.create_stream('clicks', event_time => 'something_else_entirely');
SELECT format('CREATE UNLOGGED TABLE wide_clicks (%s)', string_agg('c' || i || ' int', ', ')) FROM generate_series(1, 23) i \gexec
SELECT eddy.create_stream('wide_clicks', event_time => 'd');
DROP TABLE wide_clicks;
SELECT eddy.create_stream('clicks', event_time => 'day');
SELECT eddy.create_stream('clicks', event_time => 'ctid');
SELECT eddy.create_stream('clicks', delay => '-1 second');
SELECT eddy.create_stream('clicks', retention => interval '1 hour' - interval '2 hours');
SELECT eddy.create_stream('clicks', idle_timeout => '-1 day');
SELECT eddy.create_stream('clicks', max_future_skew => '-1 month');
SELECT eddy.create_stream('clicks', delay => NULL);
SELECT eddy.create_stream('clicks', null_event_time => 'dead_leter');
SELECT eddy.create_stream('clicks', null_event_time => 'nothing alike');
-- arguments that have no effect without event time
SELECT eddy.create_stream('clicks', delay => '5 seconds');
SELECT eddy.create_stream('clicks', max_future_skew => '0');
SELECT eddy.create_stream('clicks', null_event_time => 'stop', auto_advance => true);
SELECT eddy.create_stream('clicks', auto_advance => true);
CREATE UNLOGGED TABLE timeless (page text);
SELECT eddy.create_stream('timeless', auto_advance => true);
DROP TABLE timeless;
-- creation is atomic: none of these objects exists
SELECT count(*) FROM eddy.streams WHERE stream = 'clicks'::regclass;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'clicks'::regclass;
SELECT count(*) FROM pg_inherits WHERE inhparent = 'clicks'::regclass;

-- a rollback removes all objects
BEGIN;
SELECT eddy.create_stream('clicks', event_time => 'clicked_at');
ROLLBACK;
SELECT count(*) FROM eddy.streams WHERE stream = 'clicks'::regclass;

SELECT eddy.watermark('pg_class');

--
-- Users can insert as into any table ...
--
INSERT INTO orders VALUES (1, 'ann', 10, '2026-01-01 00:00:01'), (2, 'bob', 20, '2026-01-01 00:00:02');
INSERT INTO orders SELECT i, 'ann', i, '2026-01-01' FROM generate_series(3, 5) i;
INSERT INTO orders SELECT * FROM orders WHERE false;
COPY orders FROM stdin;
6	bob	60	2026-01-01 00:00:06
7	eve	70	2026-01-01 00:00:07
\.
WITH new AS (INSERT INTO orders VALUES (8, 'eve', 80, '2026-01-01 00:00:08') RETURNING order_id)
SELECT * FROM new;
SELECT order_id, user_id, amount, event_time FROM orders ORDER BY order_id;

-- ... but no statement can change existing rows
UPDATE orders SET amount = 0;
DELETE FROM orders WHERE order_id = 1;
MERGE INTO orders USING (VALUES (1)) AS v (id) ON order_id = v.id WHEN MATCHED THEN DELETE;
SET session_replication_role = replica;
UPDATE orders SET amount = 0;
RESET session_replication_role;
SELECT count(*), sum(amount) FROM orders;

-- TRUNCATE removes the staged rows
TRUNCATE orders;
SELECT count(*) FROM orders;

--
-- Rows without event time
--
INSERT INTO orders VALUES (10, 'ann', 1, '2026-01-01'), (11, 'bob', 2, NULL), (12, 'ann "the" bee', 3, NULL);
SELECT view, source, topic, partition, convert_from(payload, 'UTF8') AS payload, error, sqlstate
FROM eddy.dead_letters WHERE stream = 'orders'::regclass ORDER BY id;
-- a rollback removes its dead letters
BEGIN;
INSERT INTO orders VALUES (13, 'bob', 4, NULL);
SELECT count(*) FROM eddy.dead_letters WHERE stream = 'orders'::regclass;
ROLLBACK;
SELECT count(*) FROM eddy.dead_letters WHERE stream = 'orders'::regclass;

SELECT eddy.create_stream('clicks', event_time => 'clicked_at', null_event_time => 'stop');
INSERT INTO clicks VALUES ('ann', '2026-01-01'), ('bob', NULL);
SELECT count(*) FROM clicks;

CREATE UNLOGGED TABLE readings (sensor int, at timestamp, value float8);
SELECT eddy.create_stream('readings', event_time => 'at', null_event_time => 'skip_watermark');
INSERT INTO readings VALUES (1, NULL, 20.5);
SELECT count(*) FROM readings;
SELECT count(*) FROM eddy.dead_letters WHERE stream IN ('clicks'::regclass, 'readings'::regclass);

--
-- DDL on a stream works as on any table
--
ALTER TABLE clicks RENAME COLUMN clicked_at TO at;
SELECT event_time FROM eddy.streams WHERE stream = 'clicks'::regclass;
INSERT INTO clicks VALUES ('ann', NULL);
ALTER TABLE clicks RENAME TO page_views;
SELECT stream FROM eddy.streams WHERE event_time = 'at' ORDER BY stream::text;
ALTER TABLE page_views ADD COLUMN referrer text DEFAULT 'none';
INSERT INTO page_views VALUES ('ann', '2026-01-01', NULL, '/');
SELECT * FROM page_views;

ALTER TABLE page_views SET LOGGED;
ALTER TABLE page_views DROP COLUMN at;
\set VERBOSITY terse
ALTER TABLE page_views DROP COLUMN at CASCADE;
ALTER TABLE page_views ALTER COLUMN at TYPE text;
\set VERBOSITY default
DROP TRIGGER pg_eddy_capture ON page_views;
DROP TRIGGER pg_eddy_refuse ON page_views;
ALTER TABLE page_views DROP COLUMN day;
INSERT INTO page_views VALUES ('bob', '2026-01-02', '/');
SELECT * FROM page_views ORDER BY at;

--
-- Required privilege: ownership of the table
--
CREATE ROLE regress_eddy_owner;
CREATE ROLE regress_eddy_writer;
CREATE ROLE regress_eddy_other;
CREATE SCHEMA regress_eddy_shop AUTHORIZATION regress_eddy_owner;
GRANT USAGE ON SCHEMA regress_eddy_shop TO PUBLIC;

SET ROLE regress_eddy_owner;
CREATE UNLOGGED TABLE regress_eddy_shop.sales (id int, at timestamptz);
SELECT eddy.create_stream('regress_eddy_shop.sales', event_time => 'at');
GRANT INSERT ON regress_eddy_shop.sales TO regress_eddy_writer;
SELECT segments FROM eddy.streams WHERE stream = 'regress_eddy_shop.sales'::regclass;

-- the writer needs only INSERT
SET ROLE regress_eddy_writer;
INSERT INTO regress_eddy_shop.sales VALUES (1, '2026-01-01'), (2, NULL);
SELECT * FROM regress_eddy_shop.sales;
SELECT eddy.drop_stream('regress_eddy_shop.sales');
SET ROLE regress_eddy_other;
INSERT INTO regress_eddy_shop.sales VALUES (3);
SELECT eddy.create_stream('regress_eddy_shop.sales');
SELECT count(*) FROM eddy.dead_letters;
SET ROLE regress_eddy_owner;
SELECT * FROM regress_eddy_shop.sales ORDER BY id;
SELECT convert_from(payload, 'UTF8') FROM eddy.dead_letters;
RESET ROLE;
DELETE FROM eddy.dead_letters WHERE stream = 'regress_eddy_shop.sales'::regclass;

-- segments belong to the owner of their stream
ALTER TABLE regress_eddy_shop.sales OWNER TO regress_eddy_other;
SELECT DISTINCT relowner::regrole FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE i.inhparent = 'regress_eddy_shop.sales'::regclass;

--
-- Dropping
--
SELECT eddy.drop_stream('pg_class');
SET ROLE regress_eddy_other;
SELECT eddy.drop_stream('regress_eddy_shop.sales');
RESET ROLE;
-- neither catalog rows nor segments remain
DELETE FROM eddy.dead_letters WHERE stream = 'orders'::regclass;
DROP TABLE orders, page_views, readings;
SELECT count(*) FROM eddy._stream s WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.stream);
SELECT count(*) FROM eddy._segment g WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = g.segment);
SELECT count(*) FROM pg_class WHERE relnamespace = 'eddy'::regnamespace
    AND relname ~ '^_(orders|clicks|page_views|readings|sales)_segment';

DROP SCHEMA regress_eddy_shop;
DROP ROLE regress_eddy_owner, regress_eddy_writer, regress_eddy_other;
