-- All rows of a view, sent to the consumer of a slot between its changes.
SET timezone = 'UTC';
SET synchronous_commit = on;
SET client_min_messages = warning;
SET search_path = initial, public;
CREATE SCHEMA initial;
CREATE UNLOGGED TABLE orders (customer text, kind text, amount numeric, at timestamptz);
SELECT eddy.create_stream('orders', event_time => 'at', delay => '0');
SELECT eddy.create_continuous_view('totals', $$
    SELECT customer, sum(amount) AS total FROM orders GROUP BY customer, kind HAVING sum(amount) > 10 $$);
SELECT eddy.create_continuous_view('hours', $$
    SELECT w.window_start, count(*) AS orders FROM orders, eddy.tumble(at, '1 hour') AS w GROUP BY w.window_start $$);
INSERT INTO orders VALUES ('ann', 'a', 20, '2026-01-01 00:30'), ('bob', NULL, 5, '2026-01-01 01:30'),
    ('eve', 'b', 'NaN', '2026-01-01 01:30');
SELECT eddy.advance_watermark('orders', '2026-01-01 01:00');
SELECT 'ok' FROM pg_create_logical_replication_slot('regress_eddy_initial', 'pg_eddy_cdc');
SELECT 'ok' FROM pg_create_logical_replication_slot('regress_eddy_other', 'pg_eddy_cdc');
\set plain '\'batch-bytes\', \'0\', \'include-lsn\', \'off\', \'include-seq\', \'off\', \'include-xid\', \'off\', \'include-timestamp\', \'off\''
\set peek 'pg_logical_slot_peek_changes(\'regress_eddy_initial\', NULL, NULL, \'views\', \'initial.*\', ' :plain
\pset format unaligned
\pset tuples_only on

-- Changes of the same transaction are sent before and after the rows.
BEGIN;
INSERT INTO orders VALUES ('ann', 'a', 1, '2026-01-01 01:40');
SELECT eddy.send_snapshot('regress_eddy_initial', 'hours', 'totals');
INSERT INTO orders VALUES ('bob', NULL, 7, '2026-01-01 01:40');
COMMIT;
SELECT regexp_replace(data, '"id":"[0-9a-f]*"', '"id":"..."') FROM :peek);
SELECT data FROM :peek, 'format', 'upsert', 'emit', 'final');
SELECT data::json -> 'key', data::json #> '{value,after}', data::json #>> '{value,op}', data::json #>> '{value,source,snapshot}'
    FROM pg_logical_slot_peek_changes('regress_eddy_initial', NULL, NULL, 'batch-bytes', '0', 'format', 'debezium', 'views', 'initial.totals');

-- Other slots do not send them.
SELECT data FROM pg_logical_slot_peek_changes('regress_eddy_other', NULL, NULL, 'views', 'initial.hours', :plain);

-- The table is empty again, and only pg_eddy writes to it.
SELECT count(*) FROM eddy._initial_row;
INSERT INTO eddy._initial_row VALUES ('regress_eddy_initial', 'eddy._totals_state'::regclass, 1, '');

-- Sending requires the REPLICATION attribute, as using a slot does, and SELECT on the views.
CREATE ROLE regress_eddy_sender;
GRANT USAGE ON SCHEMA initial TO regress_eddy_sender;
SET ROLE regress_eddy_sender;
SELECT eddy.send_snapshot('regress_eddy_initial', 'totals');
RESET ROLE;
ALTER ROLE regress_eddy_sender REPLICATION;
SET ROLE regress_eddy_sender;
SELECT eddy.send_snapshot('regress_eddy_initial', 'totals');
RESET ROLE;
GRANT SELECT ON totals TO regress_eddy_sender;
SET ROLE regress_eddy_sender;
SELECT eddy.send_snapshot('regress_eddy_initial', 'totals');
RESET ROLE;

SELECT eddy.send_snapshot('regress_eddy_initia', 'totals');
SELECT eddy.send_snapshot('regress_eddy_initial', 'orders');
SELECT eddy.send_snapshot('regress_eddy_initial', VARIADIC ARRAY[NULL]::regclass[]);

SELECT pg_drop_replication_slot('regress_eddy_initial'), pg_drop_replication_slot('regress_eddy_other');
DROP TABLE orders CASCADE;
DROP SCHEMA initial CASCADE;
DROP ROLE regress_eddy_sender;
