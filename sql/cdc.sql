-- Changes of continuous views, as received by a consumer of the output plugin.
SET timezone = 'UTC';
SET synchronous_commit = on;
SET client_min_messages = warning;
SET search_path = cdc, public;
CREATE SCHEMA cdc;

CREATE UNLOGGED TABLE payments (customer text, kind text, amount numeric(10,2), at timestamptz);
SELECT eddy.create_stream('payments', event_time => 'at');
SELECT eddy.create_continuous_view('revenue', $$
    SELECT customer, w.window_start, sum(amount) AS total, count(*) AS payments
    FROM payments, eddy.tumble(at, '5 minutes') AS w
    GROUP BY customer, w.window_start $$);
SELECT eddy.create_continuous_view('kinds', $$
    SELECT count(*) AS payments FROM payments GROUP BY kind $$);
SELECT eddy.create_continuous_view('"Good customers"', $$
    SELECT customer, sum(amount) AS "Total" FROM payments GROUP BY customer HAVING sum(amount) > 10 $$);

SELECT 'ok' FROM pg_create_logical_replication_slot('regress_eddy_cdc', 'pg_eddy_cdc');

-- Omits fields that vary between runs.
\set plain '\'batch-bytes\', \'0\', \'include-lsn\', \'off\', \'include-seq\', \'off\', \'include-xid\', \'off\', \'include-timestamp\', \'off\''
\set get 'pg_logical_slot_get_changes(\'regress_eddy_cdc\', NULL, NULL, ' :plain
\set peek 'pg_logical_slot_peek_changes(\'regress_eddy_cdc\', NULL, NULL, ' :plain
\pset format unaligned
\pset tuples_only on

-- Insert, update and delete of a row.
INSERT INTO payments VALUES ('ann', 'card', 7.50, '2026-01-01 00:01');
INSERT INTO payments VALUES ('ann', 'card', 2.50, '2026-01-01 00:02'), ('ann', 'card', 0, '2026-01-01 00:03');
DELETE FROM revenue;
SELECT data FROM :get, 'views', 'cdc.revenue');

-- The option "include-before" adds the old row.
INSERT INTO payments VALUES ('ann', 'card', 1, '2026-01-01 00:01');
INSERT INTO payments VALUES ('ann', 'card', 1, '2026-01-01 00:01');
DELETE FROM revenue;
SELECT data FROM :get, 'views', 'cdc.revenue', 'include-before', 'on');

-- The key is complete even if the view does not select it.
INSERT INTO payments VALUES ('bob', NULL, 1, '2026-01-01 00:01');
SELECT data FROM :get, 'views', 'cdc.kinds');

-- HAVING: a group is inserted when it satisfies the condition, and deleted when it no longer does.
INSERT INTO payments VALUES ('eve', 'cash', 10, '2026-01-01 00:01');
INSERT INTO payments VALUES ('eve', 'cash', 5, '2026-01-01 00:01');
INSERT INTO payments VALUES ('eve', 'cash', 5, '2026-01-01 00:01');
INSERT INTO payments VALUES ('eve', 'cash', -15, '2026-01-01 00:01');
INSERT INTO payments VALUES ('eve', 'cash', -1, '2026-01-01 00:01');
SELECT data FROM :get, 'views', 'cdc."Good customers"');

-- A view is selected by the name that it has at the position of the slot, and under the next names.
ALTER VIEW kinds RENAME TO kinds_renamed;
INSERT INTO payments VALUES ('bob', 'card', 1, '2026-01-01 00:01');
SELECT data FROM :get, 'views', 'cdc.kinds');
ALTER VIEW kinds_renamed RENAME TO kinds;
SELECT count(*) FROM pg_logical_slot_get_changes('regress_eddy_cdc', NULL, NULL);

-- An update that does not change the result is not sent.
INSERT INTO payments VALUES ('eve', 'cash', 11, '2026-01-01 00:01');
INSERT INTO payments VALUES ('eve', 'cash', 0, '2026-01-01 00:01');
SELECT data FROM :get, 'views', 'cdc."Good customers"');

-- Changes that were rolled back are not sent.
BEGIN;
INSERT INTO payments VALUES ('flo', 'cash', 1, '2026-01-01 00:01');
SAVEPOINT s;
INSERT INTO payments VALUES ('flo', 'cash', 1000, '2026-01-01 00:01');
ROLLBACK TO s;
INSERT INTO payments VALUES ('flo', 'cash', 2, '2026-01-01 00:01');
COMMIT;
SELECT data FROM :get, 'views', 'cdc.revenue');

-- Several changes of a row in one transaction are one record, unless all are requested.
BEGIN;
INSERT INTO payments VALUES ('gus', 'cash', 1, '2026-01-01 00:01'), ('kim', 'cash', 1, '2026-01-01 00:01');
INSERT INTO payments VALUES ('gus', 'cash', 2, '2026-01-01 00:01'), ('lea', 'cash', 9, '2026-01-01 00:01');
DELETE FROM revenue WHERE customer = 'kim';
COMMIT;
SELECT data FROM :peek, 'views', 'cdc.revenue');
SELECT data FROM :get, 'views', 'cdc.revenue', 'net', 'off');

-- Sequence numbers are assigned before filtering: they do not depend on the options.
CREATE TEMP TABLE numbers (options text, view text, op text, key text, seq int);
BEGIN;
INSERT INTO payments VALUES ('num', 'card', 20, '2026-01-01 00:01'), ('ber', 'cash', 1, '2026-01-01 00:01');
CREATE TABLE aside AS SELECT 1 AS a;
INSERT INTO payments VALUES ('num', 'card', -15, '2026-01-01 00:01');
DELETE FROM revenue WHERE customer = 'num';
COMMIT;
\set numbered 'data::json->>\'view\', data::json->>\'op\', data::json->>\'key\', (data::json->>\'seq\')::int FROM pg_logical_slot_peek_changes(\'regress_eddy_cdc\', NULL, NULL, \'batch-bytes\', \'0\', \'net\', \'off\''
INSERT INTO numbers SELECT 'all', :numbered);
INSERT INTO numbers SELECT 'revenue', :numbered, 'views', 'cdc.revenue');
INSERT INTO numbers SELECT 'having', :numbered, 'views', 'cdc."Good customers"', 'include-before', 'on');
SELECT options, count(*), count(DISTINCT seq), min(seq) > 0 FROM numbers GROUP BY options ORDER BY options;
SELECT count(*) FROM numbers n WHERE options <> 'all'
    AND NOT EXISTS (SELECT FROM numbers a WHERE a.options = 'all' AND (a.view, a.op, a.key, a.seq) = (n.view, n.op, n.key, n.seq));
SELECT count(*) FROM :get);

-- Several records are sent in one message. A transaction has one position, that of its commit.
INSERT INTO payments SELECT 'c' || i, 'cash', i, '2026-01-01 00:01' FROM generate_series(1, 100) i;
SELECT count(*) AS messages, sum(regexp_count(data, '"op":"c"')) AS records
FROM pg_logical_slot_peek_changes('regress_eddy_cdc', NULL, NULL, 'views', 'cdc.revenue');
SELECT count(DISTINCT data::json->>'lsn'), count(DISTINCT data::json->>'xid'), count(DISTINCT data::json->>'ts'),
       count(DISTINCT data::json->>'seq')
FROM pg_logical_slot_get_changes('regress_eddy_cdc', NULL, NULL, 'views', 'cdc.revenue', 'batch-bytes', '0');

-- Transactions that change no view send nothing, unless requested.
CREATE TABLE plain (a int);
INSERT INTO plain VALUES (1);
SELECT count(*) FROM :peek);
INSERT INTO plain VALUES (2);
SELECT DISTINCT data FROM :get, 'skip-empty-xacts', 'off');

-- Transactions have a first and a last record on request.
INSERT INTO payments VALUES ('fay', 'card', 20, '2026-01-01 00:01');
SELECT data FROM :get, 'views', 'cdc.*', 'include-transaction', 'on');

-- Types of the columns, and numbers that keep all digits in JavaScript.
INSERT INTO payments VALUES ('fay', 'card', 20, '2026-01-01 00:01');
SELECT data FROM :get, 'views', 'cdc.revenue', 'include-types', 'on', 'numeric-as-string', 'on');

-- Format "upsert": key, and value or null.
INSERT INTO payments VALUES ('fay', 'card', 20, '2026-01-01 00:01');
DELETE FROM revenue WHERE customer = 'fay';
SELECT data FROM :get, 'format', 'upsert', 'views', 'cdc.revenue');

-- Format "debezium": records as of its connector, without fields that vary between runs.
INSERT INTO payments VALUES ('fay', 'card', 20, '2026-01-01 00:01');
INSERT INTO payments VALUES ('fay', 'card', 5, '2026-01-01 00:01');
DELETE FROM revenue WHERE customer = 'fay';
SELECT regexp_replace(regexp_replace(data, '("ts_ms"|"ts_us"|"ts_ns"|"txId"|"lsn"|"sequence"):("[^]]*]"|\d+)', '\1:0', 'g'),
                      '"version":"[^"]*"', '"version":"0"')
FROM pg_logical_slot_get_changes('regress_eddy_cdc', NULL, NULL, 'batch-bytes', '0', 'views', 'cdc.revenue',
                                 'format', 'debezium', 'topic-prefix', 'shop');

-- Lists of views: SQL names and wildcards.
INSERT INTO payments VALUES ('gil', 'card', 20, '2026-01-01 00:01');
SELECT data::json->>'view' FROM :peek) ORDER BY 1;
SELECT data::json->>'view' FROM :peek, 'views', 'cdc.KINDS, other.*') ORDER BY 1;
SELECT data::json->>'view' FROM :peek, 'views', '*."Good customers", cdc.revenue') ORDER BY 1;
SELECT data::json->>'view' FROM :get, 'views', 'public.*') ORDER BY 1;

-- A record uses the names as of the time of the change.
INSERT INTO payments VALUES ('hal', 'card', 1, '2026-01-01 00:01');
ALTER VIEW revenue RENAME TO income;
ALTER VIEW income RENAME COLUMN total TO sum;
INSERT INTO payments VALUES ('hal', 'card', 1, '2026-01-01 00:01');
SELECT data FROM :peek, 'views', 'cdc.revenue, cdc.income');

-- A view that was selected by name remains selected when it is renamed. Records on request show its columns.
SELECT regexp_replace(data, '"(id|plugin_version|database)":"[^"]*"', '"\1":"..."', 'g')
FROM :peek, 'views', 'cdc.revenue', 'include-schema', 'on');
SELECT (SELECT data::json->>'id' FROM :peek, 'views', 'cdc.revenue', 'include-schema', 'on')
        WHERE data::json->>'op' = 'schema' LIMIT 1) AS id \gset
SELECT data FROM :peek, 'views', :'id');
DROP VIEW income CASCADE;
SELECT eddy.create_continuous_view('income', $$
    SELECT customer, sum(amount) AS total FROM payments GROUP BY customer $$);
INSERT INTO payments VALUES ('hal', 'card', 1, '2026-01-01 00:01');
SELECT regexp_replace(data, '"(id|plugin_version|database)":"[^"]*"', '"\1":"..."', 'g')
FROM :get, 'views', 'cdc.income', 'include-schema', 'on');

-- Option "strict": views that do not exist, or may not be read, are errors.
SELECT data FROM :peek, 'views', 'cdc.incom', 'strict', 'on');

-- Values are those of to_json in UTC, regardless of the session's settings.
CREATE UNLOGGED TABLE readings (id int, a int[], b bytea, d date, f float8, i interval, j jsonb, ok boolean,
                                t text, ts timestamp, tz timestamptz, u uuid);
SELECT eddy.create_stream('readings');
SELECT eddy.create_continuous_view('latest', $$
    SELECT id, a, b, d, f, i, j, ok, t, ts, tz, u, count(*) AS n FROM readings
    GROUP BY id, a, b, d, f, i, j, ok, t, ts, tz, u $$);
INSERT INTO readings VALUES
    (1, '{{1,2},{3,NULL}}', '\xdead', '2026-02-03', 1e300, '1 day 02:03', '{"k": [1, "v"]}', true,
     E'tab\tquote"backslash\\line\nend', '2026-02-03 04:05:06.7', '2026-02-03 04:05:06.7+02',
     'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'),
    (2, '{}', '', 'infinity', 'NaN', NULL, 'null', false, '', '-infinity', NULL, NULL);
SELECT data::json->>'after' = row_to_json(l)::text
FROM latest l JOIN :peek, 'views', 'cdc.latest') c ON (c.data::json->'key'->>'id')::int = l.id;
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SET bytea_output = 'escape';
SET intervalstyle = 'iso_8601';
SET extra_float_digits = -3;
SELECT data FROM :get, 'views', 'cdc.latest') ORDER BY (data::json->'key'->>'id')::int;
SHOW timezone;
RESET datestyle;
RESET bytea_output;
RESET intervalstyle;
RESET extra_float_digits;
SET timezone = 'UTC';

-- A role receives the changes of the views that it may read.
CREATE ROLE regress_eddy_consumer REPLICATION;
INSERT INTO payments VALUES ('ida', 'card', 1, '2026-01-01 00:01');
SET ROLE regress_eddy_consumer;
SELECT data::json->>'view' FROM :get);
RESET ROLE;
GRANT USAGE ON SCHEMA cdc TO regress_eddy_consumer;
GRANT SELECT ON kinds TO regress_eddy_consumer;
INSERT INTO payments VALUES ('ida', 'card', 1, '2026-01-01 00:01');
SET ROLE regress_eddy_consumer;
SELECT data FROM :peek, 'views', 'cdc.kinds, cdc.income', 'strict', 'on');
SELECT data::json->>'view' FROM :get);
RESET ROLE;

-- Invalid options are refused.
\set VERBOSITY terse
SELECT data FROM :peek, 'view', 'cdc.kinds');
SELECT data FROM :peek, 'views', 'kinds');
SELECT data FROM :peek, 'include-lsn', 'on');
SELECT data FROM :peek, 'skip-empty-xacts', 'perhaps');
SELECT data FROM :peek, 'format', 'debezum');
SELECT data FROM :peek, 'format', 'upsert', 'include-before', 'on');
SELECT data FROM :peek, 'protocol-version', '2');
SELECT data FROM :peek, 'emit', 'finally');
SELECT data FROM :peek, 'colour', 'blue');
\set VERBOSITY default

-- Dropped views send no changes, and their slots can be dropped.
DROP TABLE payments, readings CASCADE;
SELECT count(*) FROM :get);
SELECT pg_drop_replication_slot('regress_eddy_cdc');
DROP SCHEMA cdc CASCADE;
DROP ROLE regress_eddy_consumer;
