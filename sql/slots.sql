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

SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name ~ '^regress';
DROP ROLE regress_eddy_monitor;
