-- eddy.stat_slots: replication slots with an output plugin of pg_eddy.
SELECT pg_create_logical_replication_slot('regress_eddy_cdc', 'pg_eddy_cdc') IS NOT NULL AS created;
SELECT pg_create_logical_replication_slot('regress_eddy_wal2json', 'pg_eddy_wal2json') IS NOT NULL AS created;
SELECT pg_create_logical_replication_slot('regress_eddy_other', 'test_decoding') IS NOT NULL AS created;

CREATE ROLE regress_eddy_monitor;
SET ROLE regress_eddy_monitor;
SELECT slot_name, plugin, active, active_pid, lag_bytes >= 0 AS has_lag, retained_bytes >= lag_bytes AS has_retained,
       confirmed_lsn IS NOT NULL AS has_confirmed, wal_status, catalog_xmin_age >= 0 AS has_age, level, problem
FROM eddy.stat_slots WHERE slot_name ~ '^regress' ORDER BY slot_name;
RESET ROLE;

-- a slot that no client reads: the threshold is max_wal_size
SELECT lag_bytes AS lag FROM eddy.stat_slots WHERE slot_name = 'regress_eddy_cdc' \gset
SELECT count(pg_logical_emit_message(true, 'regress', repeat('x', 100000))) FROM generate_series(1, 5);
SELECT lag_bytes > :lag + 500000 AS grows, level FROM eddy.stat_slots WHERE slot_name = 'regress_eddy_cdc';
SELECT pg_replication_slot_advance('regress_eddy_cdc', pg_current_wal_lsn()) IS NOT NULL AS advanced;
SELECT lag_bytes < 500000 AS shrinks FROM eddy.stat_slots WHERE slot_name = 'regress_eddy_cdc';

-- a session that maintains views can read slots with all plugins: they share the server's ten places for callbacks
CREATE UNLOGGED TABLE visits (page text);
SELECT eddy.create_stream('visits');
SELECT eddy.create_continuous_view('visits_of_pages', 'SELECT page, count(*) FROM visits GROUP BY page');
SELECT eddy.create_publication('visits_of_pages'::regclass) <> '' AS created;
SELECT pg_create_logical_replication_slot('regress_eddy_pgoutput', 'pgoutput') IS NOT NULL AS created;
INSERT INTO visits VALUES ('home');
SELECT data::json->'after' FROM pg_logical_slot_get_changes('regress_eddy_cdc', NULL, NULL, 'views', 'public.visits_of_pages');
SELECT data FROM pg_logical_slot_get_changes('regress_eddy_wal2json', NULL, NULL, 'format-version', '2', 'add-tables',
    'public.visits_of_pages', 'include-transaction', 'off', 'include-types', 'off', 'filter-msg-prefixes', 'regress');
SELECT count(*) FROM pg_logical_slot_get_binary_changes('regress_eddy_pgoutput', NULL, NULL, 'proto_version', '1',
    'publication_names', 'visits_of_pages') WHERE substr(data, 1, 1) IN ('I', 'U');
DROP PUBLICATION visits_of_pages;
DROP VIEW visits_of_pages;
DROP TABLE visits;

SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name ~ '^regress';
DROP ROLE regress_eddy_monitor;
