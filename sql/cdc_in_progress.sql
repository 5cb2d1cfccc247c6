-- Changes of transactions that are sent before they commit: options "streaming" and "two-phase".
SET timezone = 'UTC';
SET synchronous_commit = on;
SET client_min_messages = warning;
SET search_path = in_progress, public;
CREATE SCHEMA in_progress;
CREATE UNLOGGED TABLE s (k int, v int, at timestamptz, h text);
SELECT eddy.create_stream('s', event_time => 'at', retention => '0');
SELECT eddy.create_continuous_view('v', 'SELECT k, sum(v) AS total, max(h) AS h FROM s GROUP BY k');
SELECT eddy.create_continuous_view('w', $$SELECT w.window_start, count(*) AS n FROM s, eddy.tumble(at, '1 hour') AS w GROUP BY w.window_start$$);
SELECT 'ok' FROM pg_create_logical_replication_slot('regress_eddy_in_progress', 'pg_eddy_cdc');
\pset format unaligned
\pset tuples_only on

-- Parts of a transaction with subtransactions, which are aborted in part, while another one commits.
SET logical_decoding_work_mem = '64kB';
BEGIN;
INSERT INTO s SELECT i % 300, 1, '2026-01-01 00:30', repeat('x', 200) FROM generate_series(1, 600) i;
SAVEPOINT a;
INSERT INTO s SELECT i % 400, 10, '2026-01-01 01:30', repeat('y', 200) FROM generate_series(1, 600) i;
SAVEPOINT b;
INSERT INTO s SELECT i % 500, 100, '2026-01-01 01:30', repeat('z', 200) FROM generate_series(1, 600) i;
ROLLBACK TO a;
INSERT INTO s SELECT i % 350, 1000, '2026-01-01 02:30', repeat('w', 200) FROM generate_series(1, 600) i;
DELETE FROM v WHERE k BETWEEN 20 AND 40;
SAVEPOINT c;
INSERT INTO s SELECT i, 10000, '2026-01-01 02:45', 'c' FROM generate_series(30, 50) i;
COMMIT;
-- One that is aborted as a whole, of which parts have been sent.
BEGIN;
INSERT INTO s SELECT i % 300, 1, '2026-01-01 00:30', repeat('x', 200) FROM generate_series(1, 600) i;
INSERT INTO s SELECT i % 300, 1, '2026-01-01 00:30', repeat('x', 200) FROM generate_series(1, 600) i;
ROLLBACK;
INSERT INTO s VALUES (7, 7, '2026-01-01 03:00', 'end');

CREATE TEMP TABLE records AS
    SELECT n, line::jsonb AS r
    FROM pg_logical_slot_peek_changes('regress_eddy_in_progress', NULL, NULL, 'streaming', 'on', 'views', 'in_progress.*', 'progress', 'on') WITH ORDINALITY AS m(lsn, xid, data, n),
         regexp_split_to_table(data, E'\n') AS line;
ALTER TABLE records ADD COLUMN i serial;

-- Records of parts have no position; those of other transactions have one.
SELECT r ->> 'op', count(*) > 0, bool_or(r ? 'lsn'), bool_or(r ? 'subxid') FROM records WHERE r ->> 'op' IN ('stream_commit', 'stream_abort') GROUP BY 1 ORDER BY 1;
SELECT count(*) > 100 FROM records WHERE r ->> 'op' IN ('c', 'u', 'd') AND NOT r ? 'lsn';
SELECT r -> 'key', r -> 'after' FROM records WHERE r ->> 'op' IN ('c', 'u', 'd') AND r ? 'lsn' ORDER BY i;
-- A consumer applies a part when its transaction commits, without the changes of aborted subtransactions.
CREATE TEMP TABLE applied AS
    SELECT DISTINCT ON (r ->> 'view', r ->> 'key') r ->> 'view' AS view, r ->> 'op' AS op, r -> 'after' AS after
    FROM records WHERE r ->> 'op' IN ('c', 'u', 'd')
    AND (r ? 'lsn' OR EXISTS (SELECT FROM records c WHERE c.r ->> 'op' = 'stream_commit' AND c.r -> 'xid' = records.r -> 'xid'))
    AND NOT EXISTS (SELECT FROM records a WHERE a.r ->> 'op' = 'stream_abort' AND a.r -> 'xid' = records.r -> 'xid'
                    AND coalesce(a.r -> 'subxid', a.r -> 'xid') = coalesce(records.r -> 'subxid', records.r -> 'xid'))
    ORDER BY r ->> 'view', r ->> 'key', i DESC;
SELECT count(*) FROM (SELECT to_jsonb(v) FROM v EXCEPT ALL SELECT after FROM applied WHERE op <> 'd' AND view = 'in_progress.v') d;
SELECT count(*) FROM (SELECT after FROM applied WHERE op <> 'd' AND view = 'in_progress.v' EXCEPT ALL SELECT to_jsonb(v) FROM v) d;
SELECT after -> 'n' FROM applied WHERE view = 'in_progress.w' ORDER BY after ->> 'window_start';
SELECT n FROM w ORDER BY window_start;
-- The numbers increase within a transaction, over all of its parts.
SELECT count(*) FROM (SELECT (r -> 'seq')::int <= lag((r -> 'seq')::int) OVER (PARTITION BY r -> 'xid' ORDER BY i) AS wrong FROM records WHERE r ? 'seq') t WHERE wrong;

-- Without the option, the same transactions are sent when they commit.
SELECT count(*) > 0, count(*) FILTER (WHERE NOT data::jsonb ? 'lsn')
    FROM pg_logical_slot_peek_changes('regress_eddy_in_progress', NULL, NULL, 'batch-bytes', '0', 'views', 'in_progress.*');
SELECT 'ok' FROM pg_replication_slot_advance('regress_eddy_in_progress', pg_current_wal_lsn());

-- Prepared transactions: their records, and what became of them.
\set get 'pg_logical_slot_get_changes(\'regress_eddy_in_progress\', NULL, NULL, \'views\', \'in_progress.w\', \'batch-bytes\', \'0\', \'include-lsn\', \'off\', \'include-xid\', \'off\', \'include-timestamp\', \'off\', \'two-phase\', \'on\')'
BEGIN;
INSERT INTO s VALUES (1, 1, '2026-01-02 00:30', 'x');
INSERT INTO s VALUES (1, 1, '2026-01-02 00:30', 'x');
PREPARE TRANSACTION 'regress eddy "1"';
BEGIN;
INSERT INTO s VALUES (2, 1, '2026-01-03 00:30', 'x');
PREPARE TRANSACTION 'regress eddy 2';
SELECT data FROM :get;
COMMIT PREPARED 'regress eddy "1"';
ROLLBACK PREPARED 'regress eddy 2';
SELECT data FROM :get;

-- A prepared transaction that was rolled back before it is decoded. The server passes its changes until catalogs have to be read: here, those
-- of a table that no earlier transaction has changed. What was sent before gets an outcome, and what was not is not sent.
CREATE TABLE other (a int);
\set peek 'pg_logical_slot_peek_changes(\'regress_eddy_in_progress\', NULL, NULL, \'batch-bytes\', \'0\', \'include-lsn\', \'off\', \'include-xid\', \'off\', \'include-timestamp\', \'off\', \'include-seq\', \'off\', \'two-phase\', \'on\''
INSERT INTO s VALUES (1, 1, '2026-01-04 00:30', 'x');
BEGIN;
INSERT INTO s VALUES (1, 1, '2026-01-05 00:30', 'x');
INSERT INTO s SELECT i, 1, '2026-01-05 00:30', repeat('x', 200) FROM generate_series(1, 2000) i;
INSERT INTO other VALUES (1);
PREPARE TRANSACTION 'regress eddy 3';
ROLLBACK PREPARED 'regress eddy 3';
SELECT data FROM :peek, 'views', 'in_progress.w');
SELECT data FROM :peek, 'views', 'in_progress.w', 'net', 'off', 'include-transaction', 'on');
SELECT string_agg(data::json ->> 'op', ' ') FROM :peek, 'views', 'in_progress.v');
SELECT 'ok' FROM pg_replication_slot_advance('regress_eddy_in_progress', pg_current_wal_lsn());

-- Here, it is the value of an enum, in the middle of a record. A table with the label of a state table, the last column of which is the
-- result of HAVING.
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE hand (k int PRIMARY KEY, mood mood, visible boolean);
CREATE VIEW hands AS SELECT k, mood FROM hand;
SECURITY LABEL FOR pg_eddy ON VIEW hands IS '2 abababababababababababababababab view';
SECURITY LABEL FOR pg_eddy ON TABLE hand IS '2 abababababababababababababababab rows columns 1 2 keys 1 visible 3';
SELECT 'ok' FROM pg_replication_slot_advance('regress_eddy_in_progress', pg_current_wal_lsn());
INSERT INTO hand VALUES (1, 'sad', false);
INSERT INTO s VALUES (1, 1, '2026-01-06 00:30', 'x');
BEGIN;
INSERT INTO hand VALUES (2, 'ok', true);
PREPARE TRANSACTION 'regress eddy 4';
ROLLBACK PREPARED 'regress eddy 4';
INSERT INTO hand VALUES (3, 'sad', true);
SELECT data FROM :peek, 'views', 'in_progress.hands');
SELECT data FROM :peek, 'views', 'in_progress.hands', 'net', 'off');
-- The record "protocol", which the transaction would have begun with, is the first one in any case, and the columns that were announced in it are known.
SELECT regexp_replace(data, '"database".*', '') FROM :peek, 'views', 'in_progress.hands', 'include-schema', 'on');
SELECT regexp_replace(data, '"id":"[^"]*"|"database".*', '') FROM :peek, 'views', 'in_progress.w, in_progress.hands', 'include-schema', 'on', 'net', 'off');
SELECT 'ok' FROM pg_replication_slot_advance('regress_eddy_in_progress', pg_current_wal_lsn());

-- Here, it is the description of the table, which a new schema may have changed. The table is described again for the next transaction.
INSERT INTO hand VALUES (4, 'sad', true);
CREATE SCHEMA in_progress_2;
BEGIN;
INSERT INTO hand VALUES (5, 'sad', true);
PREPARE TRANSACTION 'regress eddy 5';
ROLLBACK PREPARED 'regress eddy 5';
INSERT INTO hand VALUES (6, 'sad', true);
SELECT data FROM :peek, 'views', 'in_progress.hands');
DROP SCHEMA in_progress_2;
DROP TABLE hand, other CASCADE;

-- Options that contradict each other.
SELECT data FROM pg_logical_slot_peek_changes('regress_eddy_in_progress', NULL, NULL, 'streaming', 'on', 'net', 'on');
SELECT data FROM pg_logical_slot_peek_changes('regress_eddy_in_progress', NULL, NULL, 'streaming', 'on', 'two-phase', 'on');
SELECT data FROM pg_logical_slot_peek_changes('regress_eddy_in_progress', NULL, NULL, 'streaming', 'on', 'format', 'upsert');
SELECT data FROM pg_logical_slot_peek_changes('regress_eddy_in_progress', NULL, NULL, 'two-phase', 'on', 'format', 'debezium');
SELECT data FROM pg_logical_slot_peek_changes('regress_eddy_in_progress', NULL, NULL, 'stream', 'on');

SELECT pg_drop_replication_slot('regress_eddy_in_progress');
DROP TABLE s CASCADE;
DROP SCHEMA in_progress CASCADE;
