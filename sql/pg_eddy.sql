/* sql/pg_eddy.sql: objects of pg_eddy 0.1.0, installed as pg_eddy--0.1.0.sql */

-- complain if the script is sourced in psql rather than run by CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_eddy" to load this file. \quit

SET LOCAL search_path TO pg_catalog, pg_temp;

-- Without IF NOT EXISTS: the installation must fail if another role has created this schema.
CREATE SCHEMA eddy;
COMMENT ON SCHEMA eddy IS 'pg_eddy: streams, sources and continuous views';

/*
 * Catalog tables. Their names begin with an underscore; users read the views
 * further below. Only C code (src/catalog) writes them, never SQL text. They
 * contain SQL names and reg* types, so that pg_dump can dump them.
 */

CREATE TABLE eddy._stream (
    stream          regclass    NOT NULL PRIMARY KEY,
    event_time      name,
    delay           interval    NOT NULL,
    retention       interval    NOT NULL,
    idle_timeout    interval    NOT NULL,
    max_future_skew interval    NOT NULL,
    null_event_time text        NOT NULL CHECK (null_event_time IN ('dead_letter', 'skip_watermark', 'stop')),
    auto_advance    boolean     NOT NULL,
    staged_columns  name[]
);
COMMENT ON COLUMN eddy._stream.staged_columns IS
    'columns that rows from Kafka get although no view needs them; NULL: they get all columns';

-- One row for each segment. Both times NULL: empty. Only opened_at set: the segment accepts rows.
CREATE TABLE eddy._segment (
    segment         regclass    NOT NULL PRIMARY KEY,
    stream          regclass    NOT NULL,
    opened_at       timestamptz,
    closed_at       timestamptz,
    omitted         name[]
);
COMMENT ON COLUMN eddy._segment.omitted IS 'columns of the stream that some of the rows lack';
CREATE INDEX _segment_stream ON eddy._segment (stream);

CREATE TABLE eddy._source (
    source          integer     NOT NULL PRIMARY KEY,
    stream          regclass    NOT NULL,
    server          name        NOT NULL,
    topic           text        NOT NULL,
    format          text        NOT NULL,
    start           text        NOT NULL,
    start_offsets   jsonb,
    mapping         jsonb,
    on_error        text        NOT NULL CHECK (on_error IN ('dead_letter', 'skip', 'stop')),
    on_offset_lost  text        NOT NULL CHECK (on_offset_lost IN ('stop', 'earliest', 'latest')),
    options         jsonb,
    enabled         boolean     NOT NULL,
    cluster_id      text,
    database        oid         NOT NULL,
    installation    uuid,
    UNIQUE (stream, topic)
);
COMMENT ON COLUMN eddy._source.database IS
    'database that consumes the source: in a copy made with CREATE DATABASE ... TEMPLATE it must not start automatically';
COMMENT ON COLUMN eddy._source.installation IS
    'eddy._installation where the source was attached: in a restored dump it must not start automatically, even if the OIDs are equal';

/*
 * Identifies this installation of the extension. Not dumped, so that a restored database has
 * a different value; physical copies, TEMPLATE and pg_upgrade preserve it.
 */
CREATE TABLE eddy._installation (
    id              uuid        NOT NULL PRIMARY KEY
);
INSERT INTO eddy._installation VALUES (gen_random_uuid());
CREATE SEQUENCE eddy._source_seq AS integer;

-- Last known state of each worker of a source. Written when the state changes, not per batch.
CREATE TABLE eddy._source_status (
    source          integer     NOT NULL,
    shard           integer     NOT NULL,
    state           text        NOT NULL CHECK (state IN ('running', 'waiting', 'stopped')),
    error           text,
    sqlstate        text,
    since           timestamptz NOT NULL,
    PRIMARY KEY (source, shard)
);

/*
 * The offsets: the only record of the consumed messages. Updated once per
 * batch and partition by compare-and-set on (next_offset, epoch); no index on
 * a column that changes, so that every update is HOT.
 */
CREATE TABLE eddy._partition (
    source          integer     NOT NULL,
    partition       integer     NOT NULL,
    next_offset     bigint      NOT NULL,
    epoch           bigint      NOT NULL,
    high_offset     bigint,
    max_event_time  timestamptz,
    rows            bigint      NOT NULL,
    rejected        bigint      NOT NULL,
    skipped         bigint      NOT NULL,
    updated_at      timestamptz,
    idle_since      timestamptz,
    advanced_at     timestamptz,
    stream_watermark timestamptz,
    ahead           bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (source, partition)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200);
COMMENT ON COLUMN eddy._partition.epoch IS 'increased by eddy.seek, so that the compare-and-set of a concurrent batch fails';
COMMENT ON COLUMN eddy._partition.idle_since IS
    'set while the partition does not hold the watermark; valid only while the worker of the source polls';
COMMENT ON COLUMN eddy._partition.advanced_at IS 'when max_event_time was last raised';
COMMENT ON COLUMN eddy._partition.stream_watermark IS
    'watermark of the stream after the last batch that wrote this row: see src/apply/watermark.c';
COMMENT ON COLUMN eddy._partition.ahead IS
    'rows further ahead of the clock than max_future_skew, which do not raise max_event_time';

/*
 * Counts of the rows that users' statements have added to streams, shown as partition -1. A stream has
 * several rows, which are summed, so that concurrent transactions need not wait for each other: each updates
 * a row that no other transaction is updating (src/catalog/stripe.c). No index on a column
 * that changes.
 */
CREATE TABLE eddy._user_partition (
    stream          regclass    NOT NULL,
    stripe          bigint      NOT NULL,
    max_event_time  timestamptz,
    rows            bigint      NOT NULL,
    rejected        bigint      NOT NULL,
    skipped         bigint      NOT NULL,
    updated_at      timestamptz NOT NULL,
    advanced_at     timestamptz,
    stream_watermark timestamptz,
    ahead           bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (stream, stripe)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200);
CREATE SEQUENCE eddy._user_partition_seq;

/*
 * What is stored of the watermark of each stream besides the rows of its partitions. Created with the stream,
 * so that no two transactions insert the same row.
 */
CREATE TABLE eddy._watermark (
    stream          regclass    NOT NULL PRIMARY KEY,
    raised          timestamptz,
    idle_user_rows  bigint
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200);
COMMENT ON COLUMN eddy._watermark.raised IS 'the watermark is at least this, whatever the partitions are at';
COMMENT ON COLUMN eddy._watermark.idle_user_rows IS
    'partition -1 is idle while the users'' rows of the stream are of this number';

/*
 * Information about the worker of a source that is needed after a crash, see
 * src/worker/attempt.c. Written when a worker starts, and per batch only after a
 * crash. Ranges are triples: partition, first offset, next offset. Not dumped,
 * because it describes processes of this cluster.
 */
CREATE TABLE eddy._attempt (
    source          integer     NOT NULL,
    shard           integer     NOT NULL,
    token           bigint      NOT NULL,
    crashes         integer     NOT NULL,
    alone           integer     NOT NULL,
    batch_limit     integer,
    messages        integer     NOT NULL,
    current         bigint[],
    failed          bigint[],
    caution         bigint[],
    view            regclass    NOT NULL,
    PRIMARY KEY (source, shard, view)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200);

-- Continuous views. The output plugin does not read this: see src/label.h.
CREATE TABLE eddy._view (
    view            regclass    NOT NULL PRIMARY KEY,
    stream          regclass    NOT NULL,
    definition      regclass    NOT NULL,
    kind            text        NOT NULL,
    state_tables    regclass[]  NOT NULL,
    view_columns    int2[]      NOT NULL,
    key_columns     int2[]      NOT NULL,
    visible_column  int2        NOT NULL,
    final_column    int2        NOT NULL,
    emit            text        NOT NULL CHECK (emit IN ('changes', 'on_close') OR emit LIKE 'every %'),
    late            text        NOT NULL CHECK (late IN ('drop', 'keep', 'update')),
    allowed_lateness interval   NOT NULL,
    retention       interval,
    start           text        NOT NULL,
    maintenance     text        NOT NULL CHECK (maintenance IN ('immediate', 'deferred')),
    on_error        text        NOT NULL CHECK (on_error IN ('dead_letter', 'stop')),
    format          integer     NOT NULL,
    aggregates      text        NOT NULL,
    idle_ttl        interval,
    changes_log     bigint,
    changes_retention interval,
    changes_channel name,
    more_streams    regclass[],
    CHECK ((changes_log IS NULL) = (changes_retention IS NULL))
);
CREATE INDEX _view_stream ON eddy._view (stream);
COMMENT ON COLUMN eddy._view.kind IS 'kind of the view, which determines its state tables and how they are maintained';
COMMENT ON COLUMN eddy._view.state_tables IS
    'tables that store the result and the state for its maintenance; the view reads the first one';
COMMENT ON COLUMN eddy._view.view_columns IS
    'attribute numbers, in the first state table, of the columns of the view';
COMMENT ON COLUMN eddy._view.key_columns IS
    'attribute numbers, in the first state table, of the group key; empty without GROUP BY';
COMMENT ON COLUMN eddy._view.visible_column IS
    'attribute number, in the first state table, of the boolean column that is true for rows of the view: those that satisfy HAVING and, with emit => ''on_close'', are final; 0 if all are';
COMMENT ON COLUMN eddy._view.final_column IS
    'attribute number, in the first state table, of the boolean column that is true for final rows, 0 if the view has no windows that close';
COMMENT ON COLUMN eddy._view.format IS
    'major version of the server whose transition states the state tables hold';
COMMENT ON COLUMN eddy._view.aggregates IS
    'types and functions of the aggregates whose transition states the state tables hold';
COMMENT ON COLUMN eddy._view.changes_log IS
    'eddy._change.log of the changes that are kept for eddy.changes, a random number; NULL if none are kept';
COMMENT ON COLUMN eddy._view.changes_channel IS 'channel of notifications about kept changes, NULL if there are none';
COMMENT ON COLUMN eddy._view.more_streams IS
    'of a view over UNION ALL of several streams, those besides "stream"; otherwise NULL';

-- One row for each view that is suspended or is filled from Kafka. Separate from _view, which does not store the state of views.
CREATE TABLE eddy._view_status (
    view            regclass    NOT NULL PRIMARY KEY,
    state           text        NOT NULL CHECK (state IN ('suspended', 'starting')),
    error           text,
    sqlstate        text,
    since           timestamptz NOT NULL
);
COMMENT ON COLUMN eddy._view_status.error IS 'why the view could not be maintained, NULL after eddy.pause';

-- Views that are filled from Kafka: one row for each, and one offset for each partition that is read.
CREATE TABLE eddy._view_start (
    view            regclass    NOT NULL PRIMARY KEY,
    started_at      timestamptz NOT NULL,
    replaces        regclass    NOT NULL
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200);
CREATE TABLE eddy._view_offset (
    view            regclass    NOT NULL,
    source          integer     NOT NULL,
    partition       integer     NOT NULL,
    first_offset    bigint      NOT NULL,
    next_offset     bigint      NOT NULL,
    rows            bigint      NOT NULL,
    PRIMARY KEY (view, source, partition)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200);

/*
 * The progress of each view. Rows are updated when windows close or expire, not by each batch. The output
 * plugin translates changes of this table, which only pg_eddy can make.
 */
CREATE TABLE eddy._view_progress (
    view            regclass    NOT NULL PRIMARY KEY,
    closed_until    timestamptz,
    closed_at       timestamptz,
    forgotten_until timestamptz,
    expired_until   timestamptz,
    closed_groups   bigint      NOT NULL
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200);
-- the output plugin compares old rows with new ones
ALTER TABLE eddy._view_progress REPLICA IDENTITY FULL;
COMMENT ON COLUMN eddy._view_progress.closed_until IS 'windows that end until here are final';
COMMENT ON COLUMN eddy._view_progress.forgotten_until IS
    'windows that end until here accept no rows: their transition states were removed';
COMMENT ON COLUMN eddy._view_progress.expired_until IS
    'windows that end until here were removed by retention; of a view with idle_ttl: groups that were touched last until here were removed';

-- How many late rows each view has had: stripes, as in _user_partition.
CREATE TABLE eddy._late_row_count (
    view            regclass    NOT NULL,
    stripe          bigint      NOT NULL,
    late_rows       bigint      NOT NULL,
    PRIMARY KEY (view, stripe)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200);
CREATE SEQUENCE eddy._late_row_count_seq;
COMMENT ON COLUMN eddy._late_row_count.late_rows IS 'pairs of a row and a window that was already final';

/*
 * Changes of views, kept for eddy.changes: see src/view/change_log.c. Not dumped, because positions and transaction
 * IDs have no meaning in another cluster. Rows of logs that no view has any more are removed by the database worker.
 */
CREATE TABLE eddy._change (
    log             bigint      NOT NULL,
    position        bigint      NOT NULL,
    number          integer     NOT NULL,
    xid             xid8        NOT NULL,
    at              timestamptz NOT NULL,
    layout          bigint      NOT NULL,
    op              "char"      NOT NULL,
    content         bytea       NOT NULL,
    PRIMARY KEY (log, position, number)
);
CREATE INDEX _change_xid ON eddy._change (log, xid);
CREATE SEQUENCE eddy._change_position;
COMMENT ON COLUMN eddy._change.position IS
    'from eddy._change_position, drawn while the changed groups are locked: changes of a group are in this order';
COMMENT ON COLUMN eddy._change.content IS 'row of the state table, in the format of its pages; "layout" identifies the columns';

-- Times, by which changes are removed: transactions with an ID less than "before" had ended at that time.
CREATE TABLE eddy._change_marker (
    log             bigint      NOT NULL,
    at              timestamptz NOT NULL,
    before          xid8        NOT NULL,
    pruned          boolean     NOT NULL,
    PRIMARY KEY (log, at)
);

/*
 * Rows of views that are sent to the consumer of a slot, see src/view/send_rows.c. Deleted in the transaction
 * that inserts them: the output plugin reads them in the WAL.
 */
CREATE TABLE eddy._initial_row (
    slot            name        NOT NULL,
    state_table     oid         NOT NULL,
    layout          bigint      NOT NULL,
    content         bytea
);
ALTER TABLE eddy._initial_row REPLICA IDENTITY NOTHING;

-- C code invalidates the contents of these tables cached by sessions; changes by SQL, such as those of pg_restore, must do the same.
CREATE FUNCTION eddy._catalog_changed() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'eddy_catalog_changed';
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eddy._stream
    FOR EACH STATEMENT EXECUTE FUNCTION eddy._catalog_changed();
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eddy._segment
    FOR EACH STATEMENT EXECUTE FUNCTION eddy._catalog_changed();
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eddy._view
    FOR EACH STATEMENT EXECUTE FUNCTION eddy._catalog_changed();
ALTER TABLE eddy._stream ENABLE ALWAYS TRIGGER changed;
ALTER TABLE eddy._segment ENABLE ALWAYS TRIGGER changed;
ALTER TABLE eddy._view ENABLE ALWAYS TRIGGER changed;

-- Rejected messages and rows: a table, so that the owner of a stream can delete them once resolved.
CREATE TABLE eddy.dead_letters (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream          regclass    NOT NULL,
    view            regclass,
    source          integer,
    topic           text,
    partition       integer,
    "offset"        bigint,
    key             bytea,
    headers         jsonb,
    payload         bytea,
    error           text        NOT NULL,
    sqlstate        text        NOT NULL,
    at              timestamptz NOT NULL,
    "timestamp"     timestamptz
);
COMMENT ON TABLE eddy.dead_letters IS
    'messages and rows that were rejected, with the reason; "view" is set when only that view rejected the row';
COMMENT ON COLUMN eddy.dead_letters.payload IS
    'the original message; for rows of users'' statements the row as JSON text in UTF-8';
COMMENT ON COLUMN eddy.dead_letters."timestamp" IS 'the timestamp of the message, which a mapping can use';
ALTER TABLE eddy.dead_letters ENABLE ROW LEVEL SECURITY;
CREATE POLICY purge ON eddy.dead_letters FOR DELETE
    USING (pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = stream), 'USAGE'));

CREATE TABLE eddy.late_rows (
    view            regclass    NOT NULL,
    window_start    timestamptz,
    window_end      timestamptz,
    watermark       timestamptz,
    topic           text,
    partition       integer,
    "offset"        bigint,
    row_data        jsonb,
    at              timestamptz NOT NULL
);
COMMENT ON TABLE eddy.late_rows IS 'rows that arrived after their window was final, of views with late => ''keep'' or ''update''';
ALTER TABLE eddy.late_rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY purge ON eddy.late_rows FOR DELETE
    USING (pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = view), 'USAGE'));

-- definitions, offsets and rejected rows are user data for pg_dump
SELECT pg_extension_config_dump('eddy._stream', '');
SELECT pg_extension_config_dump('eddy._segment', '');
SELECT pg_extension_config_dump('eddy._source', '');
SELECT pg_extension_config_dump('eddy._source_seq', '');
SELECT pg_extension_config_dump('eddy._source_status', '');
SELECT pg_extension_config_dump('eddy._partition', '');
SELECT pg_extension_config_dump('eddy._user_partition', '');
SELECT pg_extension_config_dump('eddy._user_partition_seq', '');
SELECT pg_extension_config_dump('eddy._watermark', '');
SELECT pg_extension_config_dump('eddy._view', '');
SELECT pg_extension_config_dump('eddy._view_status', '');
SELECT pg_extension_config_dump('eddy._view_progress', '');
SELECT pg_extension_config_dump('eddy._late_row_count', '');
SELECT pg_extension_config_dump('eddy._late_row_count_seq', '');
SELECT pg_extension_config_dump('eddy._view_start', '');
SELECT pg_extension_config_dump('eddy._view_offset', '');
-- the OID of a stream that was dropped can be that of any relation in the database that is restored
SELECT pg_extension_config_dump('eddy.dead_letters',
    'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) stream)');
SELECT pg_extension_config_dump('eddy.dead_letters_id_seq', '');
SELECT pg_extension_config_dump('eddy.late_rows',
    'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) view)');

/*
 * Windows. eddy.tumble is SQL that the planner inlines. The SELECT of a continuous view can also
 * be run in psql. Lengths are fixed, a day being 24 hours, except for months, and for days in a time
 * zone. Windows are aligned to 1970-01-01, in that zone or in UTC, regardless of TimeZone. Not
 * STRICT: a null length is an error.
 */

CREATE FUNCTION eddy._window_start(ts timestamptz, size interval, "offset" interval, time_zone text)
RETURNS timestamptz LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_window_start';
CREATE FUNCTION eddy._window_end(ts timestamptz, size interval, "offset" interval, time_zone text)
RETURNS timestamptz LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_window_end';
CREATE FUNCTION eddy._window_start(ts timestamp, size interval, "offset" interval)
RETURNS timestamp LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_window_start';
CREATE FUNCTION eddy._window_end(ts timestamp, size interval, "offset" interval)
RETURNS timestamp LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_window_end';

CREATE FUNCTION eddy.tumble(ts timestamptz, size interval, "offset" interval DEFAULT '0', time_zone text DEFAULT NULL,
                            OUT window_start timestamptz, OUT window_end timestamptz)
RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT eddy._window_start(ts, size, "offset", time_zone), eddy._window_end(ts, size, "offset", time_zone);
END;

CREATE FUNCTION eddy.tumble(ts timestamp, size interval, "offset" interval DEFAULT '0',
                            OUT window_start timestamp, OUT window_end timestamp)
RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT eddy._window_start(ts, size, "offset"), eddy._window_end(ts, size, "offset");
END;

CREATE FUNCTION eddy.hop(ts timestamptz, slide interval, size interval, "offset" interval DEFAULT '0',
                         time_zone text DEFAULT NULL,
                         OUT window_start timestamptz, OUT window_end timestamptz)
RETURNS SETOF record LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 10
AS 'MODULE_PATHNAME', 'eddy_hop';

CREATE FUNCTION eddy.hop(ts timestamp, slide interval, size interval, "offset" interval DEFAULT '0',
                         OUT window_start timestamp, OUT window_end timestamp)
RETURNS SETOF record LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 10
AS 'MODULE_PATHNAME', 'eddy_hop';

CREATE FUNCTION eddy.cumulate(ts timestamptz, step interval, size interval, "offset" interval DEFAULT '0',
                              time_zone text DEFAULT NULL,
                              OUT window_start timestamptz, OUT window_end timestamptz)
RETURNS SETOF record LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 10
AS 'MODULE_PATHNAME', 'eddy_cumulate';

CREATE FUNCTION eddy.cumulate(ts timestamp, step interval, size interval, "offset" interval DEFAULT '0',
                              OUT window_start timestamp, OUT window_end timestamp)
RETURNS SETOF record LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 10
AS 'MODULE_PATHNAME', 'eddy_cumulate';

-- a marker, which the delta query of a continuous view replaces by _session_row
CREATE FUNCTION eddy.session(ts timestamptz, gap interval, max_length interval DEFAULT NULL,
                             OUT window_start timestamptz, OUT window_end timestamptz, OUT last_event timestamptz)
RETURNS SETOF record LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'eddy_session';

CREATE FUNCTION eddy.session(ts timestamp, gap interval, max_length interval DEFAULT NULL,
                             OUT window_start timestamp, OUT window_end timestamp, OUT last_event timestamp)
RETURNS SETOF record LANGUAGE c IMMUTABLE PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'eddy_session';

CREATE FUNCTION eddy._session_end(ts timestamptz, gap interval)
RETURNS timestamptz LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_session_end';
CREATE FUNCTION eddy._session_end(ts timestamp, gap interval)
RETURNS timestamp LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_session_end';

CREATE FUNCTION eddy._session_row(ts timestamptz, gap interval,
                                  OUT window_start timestamptz, OUT window_end timestamptz, OUT last_event timestamptz)
RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT ts, eddy._session_end(ts, gap), ts;
END;

CREATE FUNCTION eddy._session_row(ts timestamp, gap interval,
                                  OUT window_start timestamp, OUT window_end timestamp, OUT last_event timestamp)
RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT ts, eddy._session_end(ts, gap), ts;
END;

-- in queries of continuous views, guards casts of text to dates and times
CREATE FUNCTION eddy._refuse_clock_words(value text)
RETURNS text LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_refuse_clock_words';

COMMENT ON FUNCTION eddy.tumble(timestamptz, interval, interval, text) IS
    'fixed window [window_start, window_end) that contains ts';
COMMENT ON FUNCTION eddy.tumble(timestamp, interval, interval) IS
    'fixed window [window_start, window_end) that contains ts';
COMMENT ON FUNCTION eddy.hop(timestamptz, interval, interval, interval, text) IS
    'windows of length size, one starting every slide, that contain ts';
COMMENT ON FUNCTION eddy.hop(timestamp, interval, interval, interval) IS
    'windows of length size, one starting every slide, that contain ts';
COMMENT ON FUNCTION eddy.cumulate(timestamptz, interval, interval, interval, text) IS
    'windows that contain ts and grow by step from the start of a cycle of length size';
COMMENT ON FUNCTION eddy.cumulate(timestamp, interval, interval, interval) IS
    'windows that contain ts and grow by step from the start of a cycle of length size';
COMMENT ON FUNCTION eddy.session(timestamptz, interval, interval) IS
    'in a continuous view, the session of ts: rows of a key that are at most gap apart';
COMMENT ON FUNCTION eddy.session(timestamp, interval, interval) IS
    'in a continuous view, the session of ts: rows of a key that are at most gap apart';

/* Streams */

CREATE FUNCTION eddy._capture() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'eddy_capture';
CREATE FUNCTION eddy._refuse_change() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'eddy_refuse_change';
CREATE FUNCTION eddy._refuse_apply() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'eddy_refuse_apply';

CREATE FUNCTION eddy.create_stream(relation regclass, event_time name DEFAULT NULL,
    delay interval DEFAULT '0', retention interval DEFAULT '1 hour', idle_timeout interval DEFAULT '30 s',
    max_future_skew interval DEFAULT '5 min', null_event_time text DEFAULT 'dead_letter',
    auto_advance boolean DEFAULT false, staged_columns name[] DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_create_stream';
COMMENT ON FUNCTION eddy.create_stream IS 'registers an UNLOGGED table as a stream';

CREATE FUNCTION eddy.alter_stream(stream regclass, delay interval DEFAULT NULL, retention interval DEFAULT NULL,
    idle_timeout interval DEFAULT NULL, max_future_skew interval DEFAULT NULL, null_event_time text DEFAULT NULL,
    auto_advance boolean DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_alter_stream';
COMMENT ON FUNCTION eddy.alter_stream IS 'changes properties of a stream; those that are not specified remain';

CREATE FUNCTION eddy.set_staged_columns(stream regclass, staged_columns name[])
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_set_staged_columns';
COMMENT ON FUNCTION eddy.set_staged_columns IS
    'changes which columns of rows from Kafka a stream stores besides those that its views need; NULL: all';

CREATE FUNCTION eddy._omitted_columns(stream regclass)
RETURNS name[] LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'eddy_omitted_columns';
COMMENT ON FUNCTION eddy._omitted_columns IS 'columns that rows from Kafka do not get at present';

CREATE FUNCTION eddy.drop_stream(stream regclass)
RETURNS void LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'eddy_drop_stream';
COMMENT ON FUNCTION eddy.drop_stream IS 'drops a stream, as DROP TABLE does';

CREATE FUNCTION eddy.watermark(stream regclass)
RETURNS timestamptz LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'eddy_watermark';
COMMENT ON FUNCTION eddy.watermark IS
    'minimum, over the live partitions of the stream, of the largest event time minus the allowed delay; never decreases';

CREATE FUNCTION eddy.advance_watermark(stream regclass, until timestamptz)
RETURNS timestamptz LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'eddy_advance_watermark';
COMMENT ON FUNCTION eddy.advance_watermark IS
    'raises the watermark of a stream to a time, unless it is later already, and returns the watermark';

CREATE FUNCTION eddy._event_time_less(at timestamptz, delay interval)
RETURNS timestamptz LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_event_time_less';

/* Sources */

CREATE FUNCTION eddy._kafka_fdw_validator(options text[], catalog oid)
RETURNS void LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'eddy_kafka_fdw_validator';

-- USAGE is not granted to PUBLIC: an administrator decides which roles may specify hosts to connect to.
CREATE FOREIGN DATA WRAPPER eddy_kafka VALIDATOR eddy._kafka_fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER eddy_kafka IS 'Kafka brokers for eddy.attach_kafka; options are librdkafka properties';

CREATE FUNCTION eddy.attach_kafka(stream regclass, server name, topic text, format text DEFAULT 'json',
    start text DEFAULT 'earliest', start_offsets jsonb DEFAULT NULL, mapping jsonb DEFAULT NULL,
    on_error text DEFAULT 'dead_letter', on_offset_lost text DEFAULT 'stop', options jsonb DEFAULT NULL)
RETURNS integer LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_attach_kafka';
COMMENT ON FUNCTION eddy.attach_kafka IS 'attaches a Kafka topic to a stream and returns the number of the source';

CREATE FUNCTION eddy.alter_kafka(stream regclass, topic text, server name DEFAULT NULL, mapping jsonb DEFAULT NULL,
    on_error text DEFAULT NULL, on_offset_lost text DEFAULT NULL, options jsonb DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_alter_kafka';
COMMENT ON FUNCTION eddy.alter_kafka IS
    'changes how a topic is read, and keeps its offsets; what is not specified remains';

CREATE FUNCTION eddy.detach_kafka(stream regclass, topic text)
RETURNS void LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'eddy_detach_kafka';
COMMENT ON FUNCTION eddy.detach_kafka IS 'detaches a Kafka topic from a stream and removes its offsets';

CREATE FUNCTION eddy.pause(relation regclass)
RETURNS void LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'eddy_pause';
COMMENT ON FUNCTION eddy.pause IS
    'stops consuming the sources of a stream, or maintaining a continuous view, until eddy.resume';

CREATE FUNCTION eddy.resume(relation regclass)
RETURNS void LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'eddy_resume';
COMMENT ON FUNCTION eddy.resume IS
    'starts the sources of a stream, including those stopped by an error; or rebuilds a suspended continuous view from the rows that its stream still holds';

CREATE FUNCTION eddy.upgrade_states()
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_upgrade_states';
COMMENT ON FUNCTION eddy.upgrade_states IS
    'completes an upgrade to another major version of the server: converts the states of continuous views; returns the number of views';

CREATE FUNCTION eddy.seek(stream regclass, topic text, offsets jsonb)
RETURNS void LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'eddy_seek';
COMMENT ON FUNCTION eddy.seek IS
    'sets the next offset of partitions of a source, such as {"0": 1234}, or of all with "earliest" or "latest", and starts it';

CREATE FUNCTION eddy.replay_dead_letters(stream regclass, ids bigint[] DEFAULT NULL, "limit" integer DEFAULT NULL)
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_replay_dead_letters';
COMMENT ON FUNCTION eddy.replay_dead_letters IS
    'processes dead letters of a stream again, as its definition is now, and deletes them; returns how many were accepted, the others become new dead letters';

CREATE FUNCTION eddy._workers(OUT database oid, OUT kind text, OUT id integer, OUT shard integer, OUT pid integer,
    OUT problem text, OUT group_lookups bigint, OUT group_hits bigint)
RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_workers';
COMMENT ON FUNCTION eddy._workers IS
    'background workers according to shared memory: kind is ''database'' (id and shard are NULL), ''source'' (id is its number) or ''catch-up'' (id is the OID of the view)';

CREATE FUNCTION eddy._is_polled(source integer)
RETURNS boolean LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'eddy_is_polled';
COMMENT ON FUNCTION eddy._is_polled IS
    'whether the workers of a source receive what its topic has, so that a partition without messages can be idle';

-- Wakes the launcher at commit; called at the end of this script and by triggers.
CREATE FUNCTION eddy._notify() RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_notify';

/* Continuous views */

CREATE FUNCTION eddy.create_continuous_view(name text, query text, emit text DEFAULT 'changes', late text DEFAULT 'drop',
    allowed_lateness interval DEFAULT '0', retention interval DEFAULT NULL, start text DEFAULT 'now',
    maintenance text DEFAULT 'immediate', on_error text DEFAULT 'dead_letter', if_not_exists boolean DEFAULT false,
    idle_ttl interval DEFAULT NULL, history text DEFAULT NULL, histories jsonb DEFAULT NULL)
RETURNS regclass LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_create_continuous_view';
COMMENT ON FUNCTION eddy.create_continuous_view IS
    'creates a view whose result is kept up to date by each batch of its stream';

CREATE FUNCTION eddy.replace_continuous_view(view regclass, query text, start text DEFAULT 'keep', history text DEFAULT NULL,
    histories jsonb DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_replace_continuous_view';
COMMENT ON FUNCTION eddy.replace_continuous_view IS
    'replaces the query of a continuous view, which remains the same view, with more columns if the query has more';

CREATE FUNCTION eddy.drop_continuous_view(view regclass)
RETURNS void LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'eddy_drop_continuous_view';
COMMENT ON FUNCTION eddy.drop_continuous_view IS 'drops a continuous view, as DROP VIEW does; also allowed for the owner of its stream';

CREATE FUNCTION eddy.create_publication(name name, VARIADIC views regclass[])
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_create_publication';
COMMENT ON FUNCTION eddy.create_publication(name, VARIADIC regclass[]) IS
    'creates a publication of continuous views and returns the settings that its consumers need';

-- A call with one argument cannot mean the other function, which requires a view after the name.
CREATE FUNCTION eddy.create_publication(view regclass)
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_create_publication_of_view';
COMMENT ON FUNCTION eddy.create_publication(regclass) IS
    'creates a publication of a continuous view, with its name, and returns the settings that its consumers need';

CREATE FUNCTION eddy.send_snapshot(slot name, VARIADIC views regclass[])
RETURNS bigint LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_send_snapshot';
COMMENT ON FUNCTION eddy.send_snapshot IS
    'sends all rows of continuous views to the consumer of a replication slot, between its changes; returns their number';

CREATE FUNCTION eddy.keep_changes(view regclass, retention interval DEFAULT '1 hour', channel name DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'eddy_keep_changes';
COMMENT ON FUNCTION eddy.keep_changes IS
    'keeps the changes of a continuous view for eddy.changes, and notifies a channel of them; with retention NULL, keeps none';

CREATE FUNCTION eddy.changes(view regclass, after text DEFAULT NULL, "limit" integer DEFAULT 1000,
    OUT token text, OUT op text, OUT key json, OUT after json, OUT final boolean, OUT xid xid8, OUT at timestamptz)
RETURNS SETOF record LANGUAGE c STABLE ROWS 1000 AS 'MODULE_PATHNAME', 'eddy_changes';
COMMENT ON FUNCTION eddy.changes IS 'kept changes of a continuous view after those that led to a token';

CREATE FUNCTION eddy.change_token(view regclass) RETURNS text LANGUAGE c STABLE STRICT
    AS 'MODULE_PATHNAME', 'eddy_change_token';
COMMENT ON FUNCTION eddy.change_token IS
    'token for eddy.changes, after which come the changes that the snapshot of this query does not contain';

-- In views that show open windows combined from panes. Reads for roles that may read the view.
CREATE FUNCTION eddy._open_windows(panes regclass)
RETURNS SETOF record LANGUAGE c STABLE STRICT ROWS 10000 AS 'MODULE_PATHNAME', 'eddy_open_windows';

/*
 * Views with maintenance => 'deferred'. The first two are called by the query of such a view, with the
 * privileges of its reader: they answer only to callers who can read the deltas.
 */
CREATE FUNCTION eddy._is_deferred(deltas regclass, delta record, VARIADIC key "any")
RETURNS boolean LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'eddy_is_deferred';
CREATE FUNCTION eddy._deferred_group(deltas regclass, place tid, id uuid)
RETURNS SETOF record LANGUAGE c STABLE STRICT ROWS 1 AS 'MODULE_PATHNAME', 'eddy_deferred_group';
CREATE FUNCTION eddy._delete_group() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'eddy_delete_group';

-- On state tables: users may only DELETE groups, through the view.
CREATE FUNCTION eddy._refuse_state_change() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'eddy_refuse_state_change';

-- Sums from which values can be taken back exactly: of views over views whose rows change.
CREATE FUNCTION eddy._exact_sum_add(bytea, numeric)
RETURNS bytea LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_exact_sum_add';
CREATE FUNCTION eddy._exact_sum_combine(bytea, bytea)
RETURNS bytea LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_exact_sum_combine';
CREATE FUNCTION eddy._exact_sum_numeric(bytea)
RETURNS numeric LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_exact_sum_numeric';
CREATE FUNCTION eddy._exact_sum_bigint(bytea)
RETURNS bigint LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_exact_sum_bigint';
CREATE FUNCTION eddy._exact_sum_avg(bytea)
RETURNS numeric LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_exact_sum_avg';
CREATE AGGREGATE eddy._exact_sum(numeric) (
    SFUNC = eddy._exact_sum_add, STYPE = bytea, COMBINEFUNC = eddy._exact_sum_combine, PARALLEL = SAFE);

-- Also for roles with pg_write_all_data: the content is trusted.
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR TRUNCATE ON eddy._change
    FOR EACH STATEMENT EXECUTE FUNCTION eddy._refuse_state_change();
ALTER TABLE eddy._change ENABLE ALWAYS TRIGGER refuse;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR TRUNCATE ON eddy._initial_row
    FOR EACH STATEMENT EXECUTE FUNCTION eddy._refuse_state_change();
ALTER TABLE eddy._initial_row ENABLE ALWAYS TRIGGER refuse;

/*
 * Aggregates whose values are kept. eddy._collect stands for them in delta queries, and the trigger
 * removes the values of groups that are deleted.
 */
CREATE FUNCTION eddy._capture_delete() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'eddy_capture_delete';
CREATE FUNCTION eddy._delete_sessions() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'eddy_delete_sessions';
CREATE FUNCTION eddy._delete_values() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'eddy_delete_values';
CREATE FUNCTION eddy._collect_add(internal, VARIADIC "any")
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_collect_add';
CREATE FUNCTION eddy._collect_combine(internal, internal)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_collect_combine';
CREATE FUNCTION eddy._collect_serialize(internal)
RETURNS bytea LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_collect_serialize';
CREATE FUNCTION eddy._collect_deserialize(bytea, internal)
RETURNS internal LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_collect_deserialize';
CREATE FUNCTION eddy._collect_count(internal)
RETURNS bigint LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_collect_count';
CREATE AGGREGATE eddy._collect(VARIADIC "any") (
    SFUNC = eddy._collect_add, STYPE = internal, FINALFUNC = eddy._collect_count,
    COMBINEFUNC = eddy._collect_combine, SERIALFUNC = eddy._collect_serialize,
    DESERIALFUNC = eddy._collect_deserialize, PARALLEL = SAFE);

-- Lists of kept values, and the list of all of them: for eddy.combine.
CREATE FUNCTION eddy._collect_bytea(internal)
RETURNS bytea LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_collect_bytea';
CREATE FUNCTION eddy._collect_append(internal, bytea)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_collect_append';
CREATE AGGREGATE eddy._values(VARIADIC "any") (
    SFUNC = eddy._collect_add, STYPE = internal, FINALFUNC = eddy._collect_bytea);
CREATE AGGREGATE eddy._concat_values(bytea) (
    SFUNC = eddy._collect_append, STYPE = internal, FINALFUNC = eddy._collect_count,
    COMBINEFUNC = eddy._collect_combine, SERIALFUNC = eddy._collect_serialize,
    DESERIALFUNC = eddy._collect_deserialize, PARALLEL = SAFE);

/*
 * eddy.combine marks a column of another continuous view whose aggregate is to be computed again from
 * what that view keeps of its groups. It is replaced in the query of a view, and never executed.
 */
CREATE FUNCTION eddy._combine_refuse(anyelement, anyelement)
RETURNS anyelement LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_combine_refuse';
CREATE AGGREGATE eddy.combine(anyelement) (SFUNC = eddy._combine_refuse, STYPE = anyelement, PARALLEL = SAFE);
COMMENT ON AGGREGATE eddy.combine(anyelement) IS
    'in a continuous view over another one: the aggregate of that column over all rows of the groups of the other view';

/*
 * Aggregates for any query; they combine, so continuous views maintain them like sum(). States are in a
 * format of pg_eddy (src/view/aggregate_*.c).
 */

CREATE FUNCTION eddy._first_add(internal, anyelement, "any")
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_first_add';
CREATE FUNCTION eddy._last_add(internal, anyelement, "any")
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_last_add';
CREATE FUNCTION eddy._first_combine(internal, internal)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_first_combine';
CREATE FUNCTION eddy._last_combine(internal, internal)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_last_combine';
CREATE FUNCTION eddy._first_serialize(internal)
RETURNS bytea LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_first_serialize';
CREATE FUNCTION eddy._first_deserialize(bytea, internal)
RETURNS internal LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_first_deserialize';
CREATE FUNCTION eddy._first_final(internal, anyelement, "any")
RETURNS anyelement LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_first_final';
CREATE AGGREGATE eddy.first(value anyelement, "order" "any") (
    SFUNC = eddy._first_add, STYPE = internal, FINALFUNC = eddy._first_final, FINALFUNC_EXTRA,
    COMBINEFUNC = eddy._first_combine, SERIALFUNC = eddy._first_serialize,
    DESERIALFUNC = eddy._first_deserialize, PARALLEL = SAFE);
COMMENT ON AGGREGATE eddy.first(anyelement, "any") IS 'value of the row with the smallest order; of equal ones the first to arrive';
CREATE AGGREGATE eddy.last(value anyelement, "order" "any") (
    SFUNC = eddy._last_add, STYPE = internal, FINALFUNC = eddy._first_final, FINALFUNC_EXTRA,
    COMBINEFUNC = eddy._last_combine, SERIALFUNC = eddy._first_serialize,
    DESERIALFUNC = eddy._first_deserialize, PARALLEL = SAFE);
COMMENT ON AGGREGATE eddy.last(anyelement, "any") IS 'value of the row with the largest order; of equal ones the last to arrive';
CREATE AGGREGATE eddy.min_by(value anyelement, "order" "any") (
    SFUNC = eddy._first_add, STYPE = internal, FINALFUNC = eddy._first_final, FINALFUNC_EXTRA,
    COMBINEFUNC = eddy._first_combine, SERIALFUNC = eddy._first_serialize,
    DESERIALFUNC = eddy._first_deserialize, PARALLEL = SAFE);
COMMENT ON AGGREGATE eddy.min_by(anyelement, "any") IS 'the same as eddy.first';
CREATE AGGREGATE eddy.max_by(value anyelement, "order" "any") (
    SFUNC = eddy._last_add, STYPE = internal, FINALFUNC = eddy._first_final, FINALFUNC_EXTRA,
    COMBINEFUNC = eddy._last_combine, SERIALFUNC = eddy._first_serialize,
    DESERIALFUNC = eddy._first_deserialize, PARALLEL = SAFE);
COMMENT ON AGGREGATE eddy.max_by(anyelement, "any") IS 'the same as eddy.last';

CREATE FUNCTION eddy._distinct_add(internal, anyelement)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_distinct_add';
CREATE FUNCTION eddy._distinct_add(internal, anyelement, integer)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_distinct_add';
CREATE FUNCTION eddy._distinct_combine(internal, internal)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_distinct_combine';
CREATE FUNCTION eddy._distinct_serialize(internal)
RETURNS bytea LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_distinct_serialize';
CREATE FUNCTION eddy._distinct_deserialize(bytea, internal)
RETURNS internal LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_distinct_deserialize';
CREATE FUNCTION eddy._distinct_final(internal)
RETURNS bigint LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_distinct_final';
CREATE AGGREGATE eddy.approx_count_distinct(value anyelement) (
    SFUNC = eddy._distinct_add, STYPE = internal, FINALFUNC = eddy._distinct_final,
    COMBINEFUNC = eddy._distinct_combine, SERIALFUNC = eddy._distinct_serialize,
    DESERIALFUNC = eddy._distinct_deserialize, PARALLEL = SAFE);
COMMENT ON AGGREGATE eddy.approx_count_distinct(anyelement) IS
    'estimate of the number of different values, with a standard error of 1.04 / sqrt(2 ^ precision); the default precision is 14: 0.81 %';
CREATE AGGREGATE eddy.approx_count_distinct(value anyelement, "precision" integer) (
    SFUNC = eddy._distinct_add, STYPE = internal, FINALFUNC = eddy._distinct_final,
    COMBINEFUNC = eddy._distinct_combine, SERIALFUNC = eddy._distinct_serialize,
    DESERIALFUNC = eddy._distinct_deserialize, PARALLEL = SAFE);
COMMENT ON AGGREGATE eddy.approx_count_distinct(anyelement, integer) IS
    'estimate of the number of different values, with a standard error of 1.04 / sqrt(2 ^ precision); the default precision is 14: 0.81 %';

CREATE FUNCTION eddy._percentile_add(internal, double precision, double precision)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_percentile_add';
CREATE FUNCTION eddy._percentile_add(internal, double precision, double precision[])
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_percentile_add_array';
CREATE FUNCTION eddy._percentile_combine(internal, internal)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_percentile_combine';
CREATE FUNCTION eddy._percentile_serialize(internal)
RETURNS bytea LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_percentile_serialize';
CREATE FUNCTION eddy._percentile_deserialize(bytea, internal)
RETURNS internal LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_percentile_deserialize';
CREATE FUNCTION eddy._percentile_final(internal)
RETURNS double precision LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_percentile_final';
CREATE FUNCTION eddy._percentile_final_array(internal)
RETURNS double precision[] LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_percentile_final_array';
CREATE AGGREGATE eddy.approx_percentile(value double precision, fraction double precision) (
    SFUNC = eddy._percentile_add, STYPE = internal, FINALFUNC = eddy._percentile_final,
    COMBINEFUNC = eddy._percentile_combine, SERIALFUNC = eddy._percentile_serialize,
    DESERIALFUNC = eddy._percentile_deserialize, PARALLEL = SAFE);
COMMENT ON AGGREGATE eddy.approx_percentile(double precision, double precision) IS
    'estimate of percentile_disc, with a relative error of at most 1 %';
CREATE AGGREGATE eddy.approx_percentile(value double precision, fraction double precision[]) (
    SFUNC = eddy._percentile_add, STYPE = internal, FINALFUNC = eddy._percentile_final_array,
    COMBINEFUNC = eddy._percentile_combine, SERIALFUNC = eddy._percentile_serialize,
    DESERIALFUNC = eddy._percentile_deserialize, PARALLEL = SAFE);
COMMENT ON AGGREGATE eddy.approx_percentile(double precision, double precision[]) IS
    'estimate of percentile_disc, with a relative error of at most 1 %';

CREATE FUNCTION eddy._top_k_add(internal, anyelement, integer)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_top_k_add';
CREATE FUNCTION eddy._top_k_combine(internal, internal)
RETURNS internal LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_top_k_combine';
CREATE FUNCTION eddy._top_k_serialize(internal)
RETURNS bytea LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_top_k_serialize';
CREATE FUNCTION eddy._top_k_deserialize(bytea, internal)
RETURNS internal LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_top_k_deserialize';
CREATE FUNCTION eddy._top_k_final(internal)
RETURNS jsonb LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eddy_top_k_final';
CREATE AGGREGATE eddy.top_k(value anyelement, k integer) (
    SFUNC = eddy._top_k_add, STYPE = internal, FINALFUNC = eddy._top_k_final,
    COMBINEFUNC = eddy._top_k_combine, SERIALFUNC = eddy._top_k_serialize,
    DESERIALFUNC = eddy._top_k_deserialize, PARALLEL = SAFE);
COMMENT ON AGGREGATE eddy.top_k(anyelement, integer) IS
    'the k most frequent values, as [{"value": v, "count": n, "error": e}, ...]: v occurred at least n - e and at most n times; e is at most the number of values / max(10 k, 100)';

/* Views for users */

CREATE VIEW eddy.sources AS
SELECT s.source, s.stream, s.server, s.topic, s.format,
       CASE WHEN NOT s.enabled THEN 'paused'
            WHEN t.state = 'stopped' THEN 'stopped'
            WHEN t.state = 'running' AND least(coalesce(cardinality(w.pids), 0), t.workers) >= coalesce((s.options->>'workers')::integer, 1)
            THEN 'running'
            ELSE 'waiting' END AS state,
       -- an error of a view's expression can quote a row
       CASE WHEN pg_is_in_recovery() AND s.enabled AND t.state IS DISTINCT FROM 'stopped'
            THEN 'the server is a standby: the source continues after promotion'
            WHEN NOT s.enabled OR NOT has_table_privilege(s.stream, 'SELECT') OR row_security_active(s.stream)
            THEN NULL
            WHEN s.database <> (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                 OR s.installation IS DISTINCT FROM (SELECT i.id FROM eddy._installation i)
            THEN 'the database is a copy or was restored: eddy.resume starts the source'
            ELSE coalesce(t.error, w.problem, (
                SELECT o.problem FROM eddy._workers() o WHERE o.kind = 'database' AND o.database = s.database)) END AS error,
       t.sqlstate, t.since, s.start, s.start_offsets, s.mapping, s.on_error, s.on_offset_lost, s.options,
       w.pids[1] AS pid, w.pids
FROM eddy._source s
-- what keeps one of the workers from progress is the state of the source
LEFT JOIN LATERAL (
    SELECT t.state, t.error, t.sqlstate, t.since, count(*) OVER () AS workers
    FROM eddy._source_status t WHERE t.source = s.source
    ORDER BY t.state = 'stopped' DESC, t.state = 'waiting' DESC, t.shard LIMIT 1) t ON true
LEFT JOIN LATERAL (
    SELECT array_agg(w.pid ORDER BY w.shard) FILTER (WHERE w.pid IS NOT NULL) AS pids, min(w.problem) AS problem
    FROM eddy._workers() w
    WHERE w.kind = 'source' AND w.id = s.source
          AND w.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())) w ON true;
COMMENT ON VIEW eddy.sources IS 'Kafka topics attached to streams, and their status';

CREATE VIEW eddy.stat_workers AS
SELECT s.source, s.stream, s.topic, w.shard AS worker, w.pid, w.group_lookups, w.group_hits
FROM eddy._workers() w
JOIN eddy._source s ON s.source = w.id
WHERE w.kind = 'source' AND w.pid IS NOT NULL
      AND w.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
COMMENT ON VIEW eddy.stat_workers IS
    'source workers that are running: groups that they have looked up in state tables, and those found without the index';

CREATE VIEW eddy.partitions AS
SELECT q.source, q.stream, q.topic, q.partition, q.next_offset, q.high_offset, q.lag, q.max_event_time, q.watermark,
       q.idle, q.rows, q.rejected, q.skipped, q.updated_at,
       CASE WHEN q.idle THEN q.idle_since END AS idle_since, q.ahead,
       q.has_event_time AND NOT q.idle AND coalesce(q.watermark, '-infinity') =
           min(coalesce(q.watermark, '-infinity')) FILTER (WHERE NOT q.idle) OVER (PARTITION BY q.stream) AS holds,
       q.advanced_at
FROM (
    SELECT p.source, s.stream, s.topic, p.partition, p.next_offset, p.high_offset,
           greatest(p.high_offset - p.next_offset, 0) AS lag, p.max_event_time,
           eddy._event_time_less(p.max_event_time, t.delay) AS watermark,
           p.idle_since IS NOT NULL AND s.enabled AND eddy._is_polled(s.source) AS idle, p.idle_since,
           p.rows, p.rejected, p.skipped, p.updated_at, p.ahead, p.advanced_at,
           t.event_time IS NOT NULL AS has_event_time
    FROM eddy._partition p
    JOIN eddy._source s ON s.source = p.source
    JOIN eddy._stream t ON t.stream = s.stream
    UNION ALL
    SELECT NULL, u.stream, NULL, -1, NULL, NULL, NULL, u.max_event_time,
           eddy._event_time_less(u.max_event_time, t.delay),
           -- without sources it always counts
           u.rows IS NOT DISTINCT FROM w.idle_user_rows
           AND EXISTS (SELECT FROM eddy._source s WHERE s.stream = u.stream), u.updated_at,
           u.rows, u.rejected, u.skipped, u.updated_at, u.ahead, u.advanced_at,
           t.event_time IS NOT NULL
    FROM (SELECT stream, max(max_event_time) AS max_event_time, sum(rows)::bigint AS rows,
                 sum(rejected)::bigint AS rejected, sum(skipped)::bigint AS skipped, max(updated_at) AS updated_at,
                 sum(ahead)::bigint AS ahead, max(advanced_at) AS advanced_at
          FROM eddy._user_partition GROUP BY stream) u
    JOIN eddy._stream t ON t.stream = u.stream
    LEFT JOIN eddy._watermark w ON w.stream = u.stream) q;
COMMENT ON VIEW eddy.partitions IS
    'partitions of the attached topics: next offset to read, lag, event time; partition -1 counts the rows that users have inserted';

CREATE VIEW eddy.streams AS
SELECT s.stream, s.event_time, s.delay, s.retention, s.idle_timeout, s.max_future_skew, s.null_event_time,
       s.auto_advance, eddy.watermark(s.stream) AS watermark,
       (SELECT count(*) FROM eddy._segment g WHERE g.stream = s.stream) AS segments,
       h.topic AS held_topic, h.partition AS held_partition, h.since AS held_since,
       s.staged_columns, eddy._omitted_columns(s.stream) AS omitted_columns
FROM eddy._stream s
JOIN pg_class c ON c.oid = s.stream
LEFT JOIN LATERAL (
    -- a source whose partitions are not known yet holds the watermark of any stream with an event time
    SELECT k.topic, NULL::integer AS partition, NULL::timestamptz AS since, 0 AS rank
    FROM eddy._source k
    WHERE k.stream = s.stream AND s.event_time IS NOT NULL
      AND NOT EXISTS (SELECT FROM eddy._partition p WHERE p.source = k.source)
    UNION ALL
    SELECT p.topic, p.partition, p.advanced_at, 1 FROM eddy.partitions p WHERE p.stream = s.stream AND p.holds
    ORDER BY rank, topic, partition
    LIMIT 1) h ON true;
COMMENT ON VIEW eddy.streams IS
    'streams of this database, their watermarks, and the partition that holds the watermark where it is';

-- For each view with windows, the transaction that has added rows to one of its streams first and has not ended: windows stay open until
-- then. Found from the locks, which are few: the planner would expect a million of streams that views read, and compile the query.
CREATE VIEW eddy._writer AS
WITH RECURSIVE held AS (
    SELECT l.objid AS relid, l.pid, a.xact_start AS since
    FROM pg_locks l
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'object' AND l.classid = 'eddy._watermark'::regclass
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
      AND l.mode = 'ShareLock' AND l.granted
    UNION
    SELECT v.view, h.pid, h.since FROM held h JOIN eddy._view v ON h.relid = ANY ((v.stream || v.more_streams)::oid[]))
SELECT DISTINCT ON (v.view) v.view, h.pid, h.since
FROM held h
JOIN eddy._view v ON v.view = h.relid
WHERE v.final_column <> 0
ORDER BY v.view, h.since, h.pid;

CREATE VIEW eddy.continuous_views AS
SELECT v.view, v.stream, pg_get_viewdef(v.definition) AS definition, v.emit, v.late, v.state_tables[1] AS state_table,
       v.allowed_lateness, v.retention, v.start, v.maintenance, v.on_error,
       coalesce(t.state, 'running') AS state,
       -- as in eddy.sources; the owner of the view must see why it is suspended
       CASE WHEN (SELECT bool_and(has_table_privilege(m.stream, 'SELECT') AND NOT row_security_active(m.stream))
                  FROM unnest(v.stream || v.more_streams) AS m (stream))
                 OR pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = v.view), 'USAGE')
            THEN t.error END AS error,
       t.sqlstate, t.since,
       CASE WHEN v.final_column <> 0 THEN eddy.watermark(v.view) END AS watermark, p.closed_until, p.closed_at,
       v.idle_ttl,
       v.changes_retention, v.changes_channel,
       v.stream || v.more_streams AS streams,
       w.pid AS held_pid, w.since AS held_since
FROM eddy._view v
LEFT JOIN eddy._view_status t ON t.view = v.view
LEFT JOIN eddy._view_progress p ON p.view = v.view
LEFT JOIN eddy._writer w ON w.view = v.view;
COMMENT ON VIEW eddy.continuous_views IS 'continuous views of this database';

CREATE VIEW eddy.view_starts AS
SELECT s.view, v.stream, v.start, s.started_at, o.rows, o.remaining,
       round((100 * o.read / greatest(o.read + o.remaining, 1))::numeric, 1) AS percent,
       CASE WHEN o.read > 0 THEN (clock_timestamp() - s.started_at) * (o.remaining::double precision / o.read)
       END AS estimated_time, nullif(s.replaces::oid, 0)::regclass AS replaces,
       -- as in eddy.continuous_views
       CASE WHEN (SELECT bool_and(has_table_privilege(m.stream, 'SELECT') AND NOT row_security_active(m.stream))
                  FROM unnest(v.stream || v.more_streams) AS m (stream))
                 OR pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = v.view), 'USAGE')
            THEN t.error END AS error, t.sqlstate
FROM eddy._view_start s
JOIN eddy._view v ON v.view = s.view
LEFT JOIN eddy._view_status t ON t.view = s.view
CROSS JOIN LATERAL (
    SELECT coalesce(sum(f.rows), 0)::bigint AS rows,
           coalesce(sum(f.next_offset - f.first_offset), 0)::double precision AS read,
           coalesce(sum(greatest(p.next_offset - f.next_offset, 0)), 0)::bigint AS remaining
    FROM eddy._view_offset f
    LEFT JOIN eddy._partition p ON p.source = f.source AND p.partition = f.partition
    WHERE f.view = s.view) o;
COMMENT ON VIEW eddy.view_starts IS 'continuous views that are being filled from Kafka, and how far they are';

-- A policy of the stream cannot be applied to a message that is not a row: with row-level security,
-- only roles that it does not restrict, such as the owner, can read dead letters. What a view rejects can be
-- a row of a view that it reads, and the error can quote other rows: these must be readable as well. Letters of
-- such a view are deleted with it.
CREATE POLICY read ON eddy.dead_letters FOR SELECT
    USING (has_table_privilege(stream, 'SELECT') AND NOT row_security_active(stream)
           AND (view IS NULL OR
                coalesce((SELECT bool_and(has_table_privilege(m.stream, 'SELECT') AND NOT row_security_active(m.stream))
                          FROM eddy.continuous_views v CROSS JOIN LATERAL unnest(v.streams) AS m (stream)
                          WHERE v.view = dead_letters.view), true)));
-- the same: a late row has all columns of the stream, which is one of those of the view
CREATE POLICY read ON eddy.late_rows FOR SELECT
    USING ((SELECT bool_and(has_table_privilege(m.stream, 'SELECT') AND NOT row_security_active(m.stream))
            FROM eddy.continuous_views v CROSS JOIN LATERAL unnest(v.streams) AS m (stream)
            WHERE v.view = late_rows.view));

CREATE VIEW eddy.stat_streams AS
SELECT s.stream,
       coalesce(k.rows, 0) AS rows, coalesce(k.rejected, 0) AS rejected, coalesce(k.skipped, 0) AS skipped,
       coalesce(k.lag, 0) AS lag, k.last_batch, coalesce(k.ahead, 0) AS ahead,
       (SELECT coalesce(sum(pg_relation_size(g.segment)), 0) FROM eddy._segment g WHERE g.stream = s.stream)
       + pg_relation_size(s.stream) AS staging_bytes
FROM eddy._stream s
JOIN pg_class c ON c.oid = s.stream
LEFT JOIN LATERAL (
    SELECT sum(p.rows)::bigint AS rows, sum(p.rejected)::bigint AS rejected, sum(p.skipped)::bigint AS skipped,
           sum(p.lag)::bigint AS lag, max(p.updated_at) AS last_batch, sum(p.ahead)::bigint AS ahead
    FROM eddy.partitions p WHERE p.stream = s.stream) k ON true;
COMMENT ON VIEW eddy.stat_streams IS
    'rows from Kafka and from users, rejected rows, and the size of stored rows, for each stream';

CREATE VIEW eddy.stat_continuous_views AS
SELECT v.view, v.stream,
       pg_stat_get_live_tuples(c.oid) AS groups,
       pg_stat_get_tuples_inserted(c.oid) AS inserted,
       pg_stat_get_tuples_updated(c.oid) AS updated,
       pg_stat_get_tuples_hot_updated(c.oid) AS hot_updated,
       pg_stat_get_tuples_deleted(c.oid) AS deleted,
       (SELECT coalesce(sum(l.late_rows), 0)::bigint FROM eddy._late_row_count l WHERE l.view = v.view) AS late_rows,
       coalesce(p.closed_groups, 0) AS closed_groups,
       (SELECT sum(pg_table_size(t.oid))::bigint FROM pg_class t WHERE t.oid = ANY (v.state_tables)) AS state_bytes,
       CASE WHEN v.maintenance = 'deferred' THEN pg_stat_get_live_tuples(v.state_tables[2]) END AS deferred_rows
FROM eddy._view v JOIN pg_class c ON c.oid = v.state_tables[1]
LEFT JOIN eddy._view_progress p ON p.view = v.view;
COMMENT ON VIEW eddy.stat_continuous_views IS 'numbers of groups written and the size of the state, for each continuous view';

CREATE VIEW eddy.stat_slots AS
SELECT l.slot_name, l.plugin, l.active, l.active_pid, l.sent_lsn, l.confirmed_lsn, l.lag_bytes, l.retained_bytes,
       l.wal_status, l.safe_wal_size, l.catalog_xmin_age, l.options,
       CASE WHEN w.critical IS NOT NULL THEN 'critical' WHEN w.warning IS NOT NULL THEN 'warning' ELSE 'ok' END AS level,
       coalesce(w.critical, w.warning) AS problem
FROM (SELECT s.slot_name, s.plugin::text AS plugin, s.active, s.active_pid, r.sent_lsn, s.confirmed_flush_lsn AS confirmed_lsn,
             greatest(pg_wal_lsn_diff(p.lsn, s.confirmed_flush_lsn), 0)::bigint AS lag_bytes,
             greatest(pg_wal_lsn_diff(p.lsn, s.restart_lsn), 0)::bigint AS retained_bytes,
             s.wal_status, s.safe_wal_size, age(s.catalog_xmin) AS catalog_xmin_age,
             -- of the client: the views that it has selected, and others
             substring(a.query FROM '^START_REPLICATION [^(]*[(](.*)[)]') AS options
      FROM pg_replication_slots s
      CROSS JOIN (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn) p
      LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
      LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
      WHERE s.plugin IN ('pg_eddy_cdc', 'pg_eddy_wal2json') AND s.database = current_database()) l
CROSS JOIN LATERAL (
    SELECT CASE WHEN l.wal_status = 'lost' THEN 'WAL that the slot needs was removed: changes are lost'
                WHEN l.wal_status = 'unreserved' THEN 'WAL that the slot needs will be removed at the next checkpoint'
                WHEN l.catalog_xmin_age > current_setting('autovacuum_freeze_max_age')::bigint
                THEN 'the slot prevents the freezing of system catalogs' END AS critical,
           CASE WHEN l.safe_wal_size < pg_size_bytes(current_setting('max_slot_wal_keep_size')) / 4
                THEN 'three quarters of max_slot_wal_keep_size are in use'
                WHEN NOT l.active AND l.retained_bytes > pg_size_bytes(current_setting('max_wal_size'))
                THEN 'no client reads the slot, and it retains more WAL than max_wal_size'
                WHEN l.active AND l.lag_bytes > pg_size_bytes(current_setting('max_wal_size'))
                THEN 'the client does not confirm what it receives, or is slower than the changes'
                WHEN l.catalog_xmin_age > current_setting('autovacuum_freeze_max_age')::bigint / 2
                THEN 'the slot delays the freezing of system catalogs' END AS warning) w;
COMMENT ON VIEW eddy.stat_slots IS 'replication slots of this database with an output plugin of pg_eddy, and problems with them';

COMMENT ON TABLE eddy._stream IS 'internal: streams, shown by eddy.streams';
COMMENT ON TABLE eddy._segment IS 'internal: tables that hold rows from Kafka';
COMMENT ON TABLE eddy._source IS 'internal: sources, shown by eddy.sources';
COMMENT ON TABLE eddy._source_status IS 'internal: status of the workers of sources, shown by eddy.sources';
COMMENT ON TABLE eddy._installation IS 'internal: identifies this installation of the extension';
COMMENT ON TABLE eddy._partition IS 'internal: offsets, shown by eddy.partitions';
COMMENT ON TABLE eddy._user_partition IS 'internal: counts of users'' rows, shown by eddy.partitions';
COMMENT ON TABLE eddy._watermark IS 'internal: watermarks of streams, besides those of their partitions';
COMMENT ON TABLE eddy._attempt IS 'internal: batches that crashes may have interrupted';
COMMENT ON TABLE eddy._view IS 'internal: continuous views, shown by eddy.continuous_views';
COMMENT ON TABLE eddy._view_status IS 'internal: views that are suspended or are filled, shown by eddy.continuous_views';
COMMENT ON TABLE eddy._view_start IS 'internal: views that are filled from Kafka, shown by eddy.view_starts';
COMMENT ON TABLE eddy._view_offset IS 'internal: offsets of views that are filled from Kafka';
COMMENT ON TABLE eddy._view_progress IS 'internal: until when windows of views are closed, shown by eddy.continuous_views';
COMMENT ON TABLE eddy._late_row_count IS 'internal: numbers of late rows, shown by eddy.stat_continuous_views';
COMMENT ON TABLE eddy._change IS 'internal: changes of views, returned by eddy.changes';
COMMENT ON TABLE eddy._change_marker IS 'internal: times of kept changes, by which they are removed';
COMMENT ON TABLE eddy._initial_row IS 'internal: rows that eddy.send_snapshot sends, empty for all transactions';
COMMENT ON VIEW eddy._writer IS 'internal: transactions that keep windows open, shown by eddy.continuous_views';

/*
 * Privileges. Functions check the privileges of the caller (ownership of a stream
 * or view, USAGE on the server). Internal functions are not granted to any role, and ALTER DEFAULT PRIVILEGES
 * of the role that creates the extension grants nothing: the tables contain rows of other roles.
 */
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA eddy FROM PUBLIC;
DO $$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT format('REVOKE ALL ON %s FROM %s', o.object, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
        FROM (SELECT 'SCHEMA eddy', n.nspacl, n.nspowner FROM pg_namespace n WHERE n.nspname = 'eddy'
              UNION ALL
              SELECT format(CASE c.relkind WHEN 'S' THEN 'SEQUENCE %s' ELSE 'TABLE %s' END, c.oid::regclass), c.relacl, c.relowner
              FROM pg_class c WHERE c.relnamespace = 'eddy'::regnamespace AND c.relkind IN ('r', 'v', 'S')
              UNION ALL
              SELECT format('ROUTINE %s', p.oid::regprocedure), p.proacl, p.proowner
              FROM pg_proc p WHERE p.pronamespace = 'eddy'::regnamespace
             ) AS o (object, acl, owner), aclexplode(o.acl) AS a
        WHERE a.grantee <> o.owner
    LOOP
        EXECUTE command;
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA eddy TO PUBLIC;
GRANT SELECT, DELETE ON eddy.dead_letters, eddy.late_rows TO PUBLIC; -- rows by policy
GRANT EXECUTE ON FUNCTION
    eddy.tumble(timestamptz, interval, interval, text), eddy.tumble(timestamp, interval, interval),
    eddy.hop(timestamptz, interval, interval, interval, text), eddy.hop(timestamp, interval, interval, interval),
    eddy.cumulate(timestamptz, interval, interval, interval, text), eddy.cumulate(timestamp, interval, interval, interval),
    -- called by eddy.tumble when it is inlined
    eddy._window_start(timestamptz, interval, interval, text), eddy._window_start(timestamp, interval, interval),
    eddy._window_end(timestamptz, interval, interval, text), eddy._window_end(timestamp, interval, interval),
    eddy.first, eddy.last, eddy.min_by, eddy.max_by, eddy.top_k,
    eddy.approx_count_distinct(anyelement), eddy.approx_count_distinct(anyelement, integer),
    eddy.approx_percentile(double precision, double precision),
    eddy.approx_percentile(double precision, double precision[]),
    eddy.session(timestamptz, interval, interval), eddy.session(timestamp, interval, interval),
    -- called in place of eddy.session, with the privileges of the owner of a view
    eddy._session_row(timestamptz, interval), eddy._session_row(timestamp, interval),
    eddy._session_end(timestamptz, interval), eddy._session_end(timestamp, interval),
    eddy.combine, eddy._combine_refuse, eddy._values, eddy._collect_bytea, eddy._concat_values, eddy._collect_append,
    eddy._collect, eddy._refuse_clock_words, eddy._exact_sum, eddy._exact_sum_add, eddy._exact_sum_combine,
    eddy._exact_sum_numeric, eddy._exact_sum_bigint, eddy._exact_sum_avg,    -- run with the privileges of the owner of a view
    eddy.create_stream, eddy.alter_stream, eddy.set_staged_columns, eddy.drop_stream, eddy.watermark, eddy.advance_watermark,
    eddy.attach_kafka, eddy.alter_kafka, eddy.detach_kafka,
    eddy.pause, eddy.resume, eddy.seek, eddy.replay_dead_letters,
    eddy.create_continuous_view, eddy.replace_continuous_view, eddy.drop_continuous_view,
    eddy.create_publication(name, VARIADIC regclass[]), eddy.create_publication(regclass), eddy.changes, eddy.change_token, eddy.keep_changes, eddy.send_snapshot,
    -- called by continuous views with the privileges of their readers
    eddy._open_windows, eddy._is_deferred, eddy._deferred_group,
    -- called by eddy.streams, eddy.sources and eddy.partitions with the privileges of their readers
    eddy._workers, eddy._event_time_less, eddy._is_polled, eddy._omitted_columns
TO PUBLIC;
GRANT SELECT ON eddy.streams, eddy.sources, eddy.partitions, eddy.continuous_views, eddy.view_starts, eddy.stat_slots, eddy.stat_streams,
    eddy.stat_continuous_views, eddy.stat_workers TO PUBLIC;

-- by which the output plugin recognizes the table, see src/label.h; the columns are view, closed_until, expired_until
SECURITY LABEL FOR pg_eddy ON TABLE eddy._view_progress IS '2 00000000000000000000000000000000 progress 1 2 5';
SECURITY LABEL FOR pg_eddy ON TABLE eddy._initial_row IS '2 00000000000000000000000000000000 initial 1 2 3 4';

SELECT eddy._notify();
