-- Final rows and the progress of views, as received by a consumer of the output plugin.
SET timezone = 'UTC';
SET synchronous_commit = on;
SET client_min_messages = warning;
SET search_path = cdc_final, public;
CREATE SCHEMA cdc_final;

CREATE UNLOGGED TABLE visits (page text, seconds int, at timestamptz);
SELECT eddy.create_stream('visits', event_time => 'at');
SELECT eddy.create_continuous_view('per_minute', $$
    SELECT page, w.window_end, count(*) AS visits, sum(seconds) AS seconds
    FROM visits, eddy.tumble(at, '1 minute') AS w GROUP BY page, w.window_end $$,
    allowed_lateness => '10 minutes');
SELECT eddy.create_continuous_view('closed', $$
    SELECT page, w.window_end, count(*) AS visits
    FROM visits, eddy.tumble(at, '1 minute') AS w GROUP BY page, w.window_end HAVING count(*) > 1 $$,
    emit => 'on_close');
SELECT eddy.create_continuous_view('total', 'SELECT count(*) AS visits FROM visits');

SELECT 'ok' FROM pg_create_logical_replication_slot('regress_eddy_final', 'pg_eddy_cdc');
\set plain '\'batch-bytes\', \'0\', \'include-lsn\', \'off\', \'include-seq\', \'off\', \'include-xid\', \'off\', \'include-timestamp\', \'off\''
\set get 'pg_logical_slot_get_changes(\'regress_eddy_final\', NULL, NULL, ' :plain
\set peek 'pg_logical_slot_peek_changes(\'regress_eddy_final\', NULL, NULL, ' :plain
\pset format unaligned
\pset tuples_only on

-- A row of a later minute closes the first one.
INSERT INTO visits VALUES ('home', 5, '2026-01-01 00:00:10'), ('help', 1, '2026-01-01 00:00:20');
INSERT INTO visits VALUES ('home', 7, '2026-01-01 00:00:30');
INSERT INTO visits VALUES ('home', 2, '2026-01-01 00:01:10');

-- Changes, by default. A row that becomes final is not a change. Rows of a view with emit => 'on_close' are.
SELECT data FROM :peek);

-- Final rows only, each once; "both" has them in addition to changes.
SELECT data FROM :peek, 'emit', 'final');
SELECT data FROM :peek, 'emit', 'both', 'views', 'cdc_final.per_minute');

-- Progress follows the rows of its transaction: no later record concerns these windows.
SELECT data FROM :peek, 'emit', 'final', 'progress', 'on');

-- In the other formats as well: a record without a key, and a message as those of Debezium.
SELECT data FROM :peek, 'emit', 'final', 'progress', 'on', 'format', 'upsert');
CREATE TEMP TABLE events AS SELECT n, data::jsonb AS data
    FROM pg_logical_slot_peek_changes('regress_eddy_final', NULL, NULL, 'batch-bytes', '0', 'emit', 'final', 'progress', 'on',
                                      'format', 'debezium', 'topic-prefix', 'shop', 'include-transaction', 'on') WITH ORDINALITY AS m(lsn, xid, data, n);
SELECT data ->> 'topic', data -> 'key', data #> '{value,message,prefix}', data #> '{value,source,table}', data #> '{value,transaction,total_order}'
    FROM events WHERE NOT data -> 'value' ? 'status' ORDER BY n;
SELECT convert_from(decode(data #>> '{value,message,content}', 'base64'), 'UTF8') FROM events WHERE data #>> '{value,op}' = 'm' ORDER BY n;
SELECT data #> '{value,data_collections}' FROM events WHERE data #>> '{value,status}' = 'END' ORDER BY n;
SELECT count(*) > 0 FROM :get);

-- A late row that the view accepts corrects a final one, whatever its policy for later ones.
INSERT INTO visits VALUES ('home', 1, '2026-01-01 00:00:59');
SELECT data FROM :peek, 'emit', 'final', 'progress', 'on');
SELECT data FROM :peek, 'emit', 'final', 'format', 'upsert');
SELECT data::json->'value'->>'op', data::json->'value'->>'final', data::json->'value'->>'correction'
FROM pg_logical_slot_get_changes('regress_eddy_final', NULL, NULL, 'emit', 'final', 'format', 'debezium');

-- One transaction that opens and closes windows: one record for each row, then the progress.
BEGIN;
INSERT INTO visits VALUES ('home', 1, '2026-01-01 00:02:10');
INSERT INTO visits VALUES ('home', 1, '2026-01-01 00:02:20');
INSERT INTO visits VALUES ('help', 1, '2026-01-01 00:05:00');
COMMIT;
SELECT data FROM :peek, 'emit', 'both', 'progress', 'on', 'views', 'cdc_final.per_minute, cdc_final.closed');
SELECT data FROM :get, 'emit', 'final', 'progress', 'on');

-- A deleted final row; and one that a user deletes before it is final.
DELETE FROM per_minute WHERE page = 'home' AND window_end = '2026-01-01 00:03';
DELETE FROM per_minute WHERE page = 'help' AND window_end = '2026-01-01 00:06';
SELECT data FROM :get, 'emit', 'final');

-- Rows that retention removes are not deleted for consumers, unless they ask for it.
SELECT eddy.create_continuous_view('recent', $$
    SELECT page, w.window_end, count(*) AS visits
    FROM visits, eddy.tumble(at, '1 minute') AS w GROUP BY page, w.window_end $$, retention => '2 minutes');
INSERT INTO visits VALUES ('home', 1, '2026-01-01 00:06:30'), ('home', 1, '2026-01-01 00:08:00');
DELETE FROM recent WHERE window_end = '2026-01-01 00:09';
INSERT INTO visits VALUES ('home', 1, '2026-01-01 00:20:00');
-- as pg_eddy does it; this test does not wait for the worker
BEGIN;
UPDATE eddy._view_progress SET expired_until = '2026-01-01 00:18' WHERE view = 'recent'::regclass;
DELETE FROM recent WHERE window_end <= '2026-01-01 00:18';
DELETE FROM recent WHERE window_end = '2026-01-01 00:21';
COMMIT;
SELECT data FROM :peek, 'views', 'cdc_final.recent');
SELECT data FROM :get, 'views', 'cdc_final.recent', 'emit', 'final', 'retention', 'on');

-- Nothing but the table of pg_eddy makes a record of progress.
SELECT 'ok' FROM pg_logical_emit_message(true, 'pg_eddy', '{"op":"p","view":"cdc_final.closed","closed_until":"infinity"}');
CREATE TABLE _view_progress (LIKE eddy._view_progress);
INSERT INTO _view_progress VALUES ('closed', 'infinity', now(), NULL, 'infinity', 0);
SELECT count(*) FROM :peek, 'progress', 'on', 'format', 'upsert');
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_eddy_final', NULL, NULL, 'progress', 'on', 'format', 'debezium');
SELECT count(*) FROM :get, 'progress', 'on');
CREATE ROLE regress_eddy_forger;
GRANT ALL ON SCHEMA cdc_final TO regress_eddy_forger;
ALTER TABLE _view_progress OWNER TO regress_eddy_forger;
SET ROLE regress_eddy_forger;
SECURITY LABEL FOR pg_eddy ON TABLE _view_progress IS '2 00000000000000000000000000000000 progress 1 2 5';
UPDATE eddy._view_progress SET closed_until = 'infinity';
RESET ROLE;

-- Values of the options.
\set VERBOSITY terse
SELECT data FROM :peek, 'emit', 'finals');
SELECT data FROM :peek, 'progress', 'perhaps', 'format', 'upsert');
SELECT data FROM :peek, 'include-before', 'on', 'format', 'upsert');
\set VERBOSITY default

SELECT pg_drop_replication_slot('regress_eddy_final');
DROP TABLE visits CASCADE;
DROP SCHEMA cdc_final CASCADE;
DROP ROLE regress_eddy_forger;
