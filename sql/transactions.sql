-- Maintenance is part of the writer's transaction.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET timezone = 'UTC';

CREATE UNLOGGED TABLE events (id int, kind text, value int);
SELECT eddy.create_stream('events');
SELECT eddy.create_continuous_view('by_kind', 'SELECT kind, count(*), sum(value) FROM events GROUP BY kind');
SELECT eddy.create_continuous_view('all_kinds', 'SELECT count(*), sum(value) FROM events');

-- The next statement of a transaction sees the effects of the previous one; a rollback undoes them.
BEGIN;
INSERT INTO events VALUES (1, 'a', 10), (2, 'b', 20);
SELECT * FROM by_kind ORDER BY kind;
INSERT INTO events VALUES (3, 'a', 5);
SELECT * FROM by_kind ORDER BY kind;
ROLLBACK;
SELECT * FROM by_kind ORDER BY kind;
TABLE all_kinds;

-- A rollback to a savepoint undoes only the changes after the savepoint.
BEGIN;
INSERT INTO events VALUES (1, 'a', 1);
SAVEPOINT one;
INSERT INTO events VALUES (2, 'a', 100);
SAVEPOINT two;
INSERT INTO events VALUES (3, 'b', 100);
RELEASE two;
ROLLBACK TO one;
INSERT INTO events VALUES (4, 'a', 2);
SAVEPOINT three;
INSERT INTO events VALUES (5, 'c', 3);
RELEASE three;
COMMIT;
SELECT * FROM by_kind ORDER BY kind;
TABLE all_kinds;

-- An exception block in a function is also a savepoint; the function sees its own rows.
CREATE FUNCTION try_events() RETURNS text LANGUAGE plpgsql AS $$
DECLARE seen bigint;
BEGIN
    INSERT INTO events VALUES (6, 'd', 1);
    BEGIN
        INSERT INTO events VALUES (7, 'd', 50);
        SELECT sum INTO seen FROM by_kind WHERE kind = 'd';
        RAISE EXCEPTION 'sum was %', seen;
    EXCEPTION WHEN raise_exception THEN
        INSERT INTO events VALUES (8, 'd', 2);
        RETURN SQLERRM || ', is ' || (SELECT sum FROM by_kind WHERE kind = 'd');
    END;
END $$;
SELECT try_events();
SELECT * FROM by_kind WHERE kind = 'd';

-- INSERT ... SELECT, two data-modifying CTEs on one stream, RETURNING, MERGE.
INSERT INTO events SELECT g, 'e', g FROM generate_series(1, 100) g;
WITH first AS (INSERT INTO events VALUES (9, 'f', 1) RETURNING value),
     second AS (INSERT INTO events VALUES (10, 'f', 2) RETURNING value)
SELECT sum(value) FROM (TABLE first UNION ALL TABLE second) x;
CREATE TABLE incoming (id int, value int);
INSERT INTO incoming VALUES (11, 3), (12, 4);
MERGE INTO events e USING incoming i ON e.id = i.id AND e.kind = 'f'
    WHEN NOT MATCHED THEN INSERT VALUES (i.id, 'f', i.value);
INSERT INTO events VALUES (13, 'f', 5) RETURNING id, (SELECT sum FROM by_kind WHERE kind = 'f') AS sum_before;
SELECT * FROM by_kind WHERE kind IN ('e', 'f') ORDER BY kind;

-- Rows that a trigger of another table adds are merged once, at the end of the outer statement.
CREATE FUNCTION log_incoming() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO events VALUES (new.id, 'g', new.value);
    RETURN new;
END $$;
CREATE TRIGGER log_incoming AFTER INSERT ON incoming FOR EACH ROW EXECUTE FUNCTION log_incoming();
INSERT INTO incoming SELECT g, g FROM generate_series(1, 50) g;
SELECT * FROM by_kind WHERE kind = 'g';
BEGIN;
INSERT INTO incoming VALUES (99, 1000);
ROLLBACK;
SELECT * FROM by_kind WHERE kind = 'g';

-- DO, CALL and prepared statements.
DO $$ BEGIN INSERT INTO events VALUES (14, 'h', 1); INSERT INTO events VALUES (15, 'h', 2); END $$;
CREATE PROCEDURE in_pieces() LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO events VALUES (16, 'h', 4);
    COMMIT;
    INSERT INTO events VALUES (17, 'h', 8);
    ROLLBACK;
END $$;
CALL in_pieces();
PREPARE add_event(int) AS INSERT INTO events VALUES (18, 'h', $1);
EXECUTE add_event(16);
EXECUTE add_event(32);
SELECT * FROM by_kind WHERE kind = 'h';

-- Rows are also counted with session_replication_role = replica.
SET session_replication_role = replica;
INSERT INTO events VALUES (19, 'i', 1);
RESET session_replication_role;
SELECT * FROM by_kind WHERE kind = 'i';
ALTER TABLE events DISABLE TRIGGER USER;
ALTER TABLE events DISABLE TRIGGER pg_eddy_capture;
ALTER TABLE events ENABLE REPLICA TRIGGER pg_eddy_capture;

-- Rows cannot be changed. TRUNCATE removes the rows and keeps the results.
UPDATE events SET value = 0;
DELETE FROM events;
MERGE INTO events e USING incoming i ON e.id = i.id WHEN MATCHED THEN DELETE;
TRUNCATE events;
SELECT count(*) FROM events;
TABLE all_kinds;

-- The views are consistent with each other after all of the above.
SELECT (SELECT sum(count) FROM by_kind) = (SELECT count FROM all_kinds) AS counts,
       (SELECT sum(sum) FROM by_kind) = (SELECT sum FROM all_kinds) AS sums;

-- A read-only transaction changes neither rows nor definitions.
CREATE FUNCTION message_of(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN sqlerrm;
END $$;
BEGIN READ ONLY;
SELECT count(*) FROM by_kind;
SELECT eddy.watermark('events') IS NULL AS has_none;
SELECT message_of('SELECT eddy.' || call) FROM unnest(ARRAY[
    $$create_stream('incoming')$$,
    $$drop_stream('events')$$,
    $$alter_stream('events', delay => '0')$$,
    $$set_staged_columns('events', '{}')$$,
    $$attach_kafka('events', 'nowhere', 'topic')$$,
    $$alter_kafka('events', 'topic')$$,
    $$detach_kafka('events', 'topic')$$,
    $$seek('events', 'topic', '"latest"')$$,
    $$pause('events')$$,
    $$resume('events')$$,
    $$advance_watermark('events', '2026-01-01')$$,
    $$replay_dead_letters('events')$$,
    $$create_continuous_view('kinds', 'SELECT DISTINCT kind FROM events')$$,
    $$replace_continuous_view('by_kind', 'SELECT kind, count(*), sum(value) FROM events GROUP BY kind')$$,
    $$drop_continuous_view('by_kind')$$,
    $$pause('by_kind')$$,
    $$resume('by_kind')$$,
    $$keep_changes('by_kind', NULL)$$,
    $$create_publication('by_kind'::regclass)$$,
    $$create_publication('kinds', 'by_kind')$$,
    $$send_snapshot('slot', 'by_kind')$$,
    $$upgrade_states()$$]) AS call;
COMMIT;
DROP FUNCTION message_of;

SET client_min_messages = warning;
DROP TABLE events CASCADE;
DROP TABLE incoming;
DROP FUNCTION try_events, log_incoming;
DROP PROCEDURE in_pieces;
