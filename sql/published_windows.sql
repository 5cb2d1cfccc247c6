-- Examples of windows from the documentation of Apache Flink, with the results that are published there.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE SCHEMA published_windows;
RESET client_min_messages;
SET search_path = published_windows, public;
SET timezone = 'UTC';

CREATE UNLOGGED TABLE bid (bidtime timestamp, price numeric(10, 2), item text, supplier_id text);
SELECT eddy.create_stream('bid', event_time => 'bidtime', delay => '1 second');
CREATE FUNCTION make_view(name text, call text, key text DEFAULT NULL) RETURNS regclass LANGUAGE sql AS $$
    SELECT eddy.create_continuous_view(name, format($q$
        SELECT w.window_start, w.window_end, %1$s sum(price) AS total_price FROM bid, %2$s w
        GROUP BY w.window_start, w.window_end %3$s $q$, key || ',', call, ', ' || key), emit => 'on_close') $$;
SELECT make_view('tumbling', $$eddy.tumble(bidtime, '10 minutes')$$),
       make_view('hopping', $$eddy.hop(bidtime, '5 minutes', '10 minutes')$$),
       make_view('cumulating', $$eddy.cumulate(bidtime, '2 minutes', '10 minutes')$$);
INSERT INTO bid VALUES ('2020-04-15 08:05', 4.00, 'A', 'supplier1'), ('2020-04-15 08:07', 2.00, 'G', 'supplier1'),
    ('2020-04-15 08:09', 5.00, 'D', 'supplier3'), ('2020-04-15 08:11', 3.00, 'B', 'supplier2'),
    ('2020-04-15 08:13', 1.00, 'E', 'supplier1'), ('2020-04-15 08:17', 6.00, 'F', 'supplier5');
-- the windows that the last bid leaves open close by hand
SELECT eddy.advance_watermark('bid', '2020-04-15 08:25');
SELECT to_char(window_start, 'HH24:MI') AS start, to_char(window_end, 'HH24:MI') AS "end", total_price FROM tumbling ORDER BY 1, 2;
SELECT to_char(window_start, 'HH24:MI') AS start, to_char(window_end, 'HH24:MI') AS "end", total_price FROM hopping ORDER BY 1, 2;
SELECT to_char(window_start, 'HH24:MI') AS start, to_char(window_end, 'HH24:MI') AS "end", total_price FROM cumulating ORDER BY 1, 2;

-- sessions of an item, whose bids are at most five minutes apart, out of order
CREATE UNLOGGED TABLE item_bid (bidtime timestamp, price numeric(10, 2), item text);
SELECT eddy.create_stream('item_bid', event_time => 'bidtime', delay => '1 minute');
SELECT eddy.create_continuous_view('sessions', $$
    SELECT w.window_start, w.window_end, item, sum(price) AS total_price
    FROM item_bid, eddy.session(bidtime, '5 minutes') w GROUP BY w.window_start, w.window_end, item $$, emit => 'on_close');
INSERT INTO item_bid VALUES ('2020-04-15 08:07', 4.00, 'A');
INSERT INTO item_bid VALUES ('2020-04-15 08:06', 2.00, 'A');
INSERT INTO item_bid VALUES ('2020-04-15 08:09', 5.00, 'B');
INSERT INTO item_bid VALUES ('2020-04-15 08:08', 3.00, 'A');
INSERT INTO item_bid VALUES ('2020-04-15 08:17', 1.00, 'B');
SELECT eddy.advance_watermark('item_bid', '2020-04-15 08:23');
SELECT to_char(window_start, 'HH24:MI') AS start, to_char(window_end, 'HH24:MI') AS "end", item, total_price FROM sessions ORDER BY item, 1;

-- A grace period of 20 seconds after windows of 10 seconds, as Kafka Streams has it, is a delay of 20 seconds: a row is counted while the latest
-- time is less than 20 seconds after the end of its window, and then the window is final.
CREATE UNLOGGED TABLE pings (key text, ts timestamptz);
SELECT eddy.create_stream('pings', event_time => 'ts', delay => '20 seconds');
SELECT eddy.create_continuous_view('ping_counts', $$
    SELECT key, w.window_start, count(*) AS n FROM pings, eddy.tumble(ts, '10 seconds') w GROUP BY key, w.window_start $$,
    emit => 'on_close', late => 'keep');
INSERT INTO pings VALUES ('a', '2026-01-01 00:00:05Z');
INSERT INTO pings VALUES ('a', '2026-01-01 00:00:29.999Z');
INSERT INTO pings VALUES ('a', '2026-01-01 00:00:09.999Z');
SELECT count(*) AS final FROM ping_counts;
INSERT INTO pings VALUES ('b', '2026-01-01 00:00:30Z');
INSERT INTO pings VALUES ('a', '2026-01-01 00:00:09Z'), ('b', '2026-01-01 00:00:10Z');
SELECT key, extract(second FROM window_start)::int AS start, n FROM ping_counts ORDER BY window_start, key;
SELECT row_data ->> 'ts' AS late FROM eddy.late_rows WHERE view = 'ping_counts'::regclass;

SET client_min_messages = warning;
DROP SCHEMA published_windows CASCADE;
DELETE FROM eddy.late_rows;
