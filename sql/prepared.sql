-- Prepared transactions: the rows of a stream are counted by COMMIT PREPARED.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never
SET timezone = 'UTC';

CREATE UNLOGGED TABLE xa (id int, kind text, value int);
SELECT eddy.create_stream('xa');
SELECT eddy.create_continuous_view('xa_by_kind', 'SELECT kind, count(*), sum(value), avg(value)::numeric(9,2) FROM xa GROUP BY kind');
SELECT eddy.create_continuous_view('xa_all', 'SELECT count(*), sum(value) FROM xa');
-- a view whose expressions can fail
SELECT eddy.create_continuous_view('xa_ratio', 'SELECT kind, 100 / sum(value) AS ratio FROM xa GROUP BY kind HAVING count(*) > 0');
INSERT INTO xa VALUES (1, 'a', 10);

-- A prepared transaction is not visible to any session.
BEGIN;
INSERT INTO xa VALUES (2, 'a', 20), (3, 'b', 5);
INSERT INTO xa VALUES (4, 'c', 7);
SELECT * FROM xa_by_kind ORDER BY kind;
PREPARE TRANSACTION 'eddy_one';
SELECT * FROM xa_by_kind ORDER BY kind;
SELECT count(*) FROM xa;

-- Other groups can be written concurrently; groups written by the prepared transaction are locked.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL lock_timeout = '50ms';
INSERT INTO xa VALUES (5, 'a', 1);
ROLLBACK;
COMMIT PREPARED 'eddy_one';
SELECT * FROM xa_by_kind ORDER BY kind;
TABLE xa_all;
SELECT * FROM xa_ratio ORDER BY kind;

-- ROLLBACK PREPARED undoes all changes.
BEGIN;
INSERT INTO xa VALUES (6, 'a', 1000);
COPY xa FROM stdin;
7	d	1000
8	b	1000
\.
PREPARE TRANSACTION 'eddy_two';
ROLLBACK PREPARED 'eddy_two';
SELECT * FROM xa_by_kind ORDER BY kind;
TABLE xa_all;
INSERT INTO xa VALUES (9, 'd', 1);

-- Savepoints, exceptions and dead letters in a prepared transaction.
BEGIN;
SAVEPOINT one;
INSERT INTO xa VALUES (10, 'e', 1000);
ROLLBACK TO one;
INSERT INTO xa VALUES (11, 'e', 3);
SAVEPOINT two;
INSERT INTO xa VALUES (12, 'e', 4);
RELEASE two;
DO $$
BEGIN
    INSERT INTO xa VALUES (13, 'e', 2000);
    RAISE EXCEPTION 'no';
EXCEPTION WHEN raise_exception THEN
    INSERT INTO xa VALUES (14, 'f', 0);
END $$;
PREPARE TRANSACTION 'eddy_three';
SELECT count(*) FROM eddy.dead_letters WHERE stream = 'xa'::regclass;
COMMIT PREPARED 'eddy_three';
SELECT * FROM xa_by_kind WHERE kind IN ('e', 'f') ORDER BY kind;
SELECT * FROM xa_ratio WHERE kind IN ('e', 'f') ORDER BY kind;
SELECT view, error, sqlstate, convert_from(payload, 'UTF8')::json->>'id' AS id FROM eddy.dead_letters WHERE stream = 'xa'::regclass;

-- A prepared transaction under REPEATABLE READ, and a read-only one.
BEGIN ISOLATION LEVEL REPEATABLE READ;
INSERT INTO xa VALUES (15, 'g', 1);
PREPARE TRANSACTION 'eddy_four';
BEGIN;
SELECT * FROM xa_all;
PREPARE TRANSACTION 'eddy_five';
COMMIT PREPARED 'eddy_five';
COMMIT PREPARED 'eddy_four';
SELECT count, sum FROM xa_by_kind WHERE kind = 'g';

-- DDL: streams and views created, altered or dropped by a prepared transaction.
BEGIN;
CREATE UNLOGGED TABLE xa_made (id int);
SELECT eddy.create_stream('xa_made');
SELECT eddy.create_continuous_view('xa_made_count', 'SELECT count(*) FROM xa_made');
INSERT INTO xa_made VALUES (1), (2);
PREPARE TRANSACTION 'eddy_ddl';
SELECT count(*) FROM eddy.streams WHERE stream::text = 'xa_made';
COMMIT PREPARED 'eddy_ddl';
SELECT count(*) FROM eddy.streams WHERE stream::text = 'xa_made';
INSERT INTO xa_made VALUES (3);
TABLE xa_made_count;
BEGIN;
SELECT eddy.drop_continuous_view('xa_made_count');
PREPARE TRANSACTION 'eddy_drop';
ROLLBACK PREPARED 'eddy_drop';
INSERT INTO xa_made VALUES (4);
TABLE xa_made_count;
BEGIN;
SELECT eddy.drop_continuous_view('xa_made_count');
SELECT eddy.drop_stream('xa_made');
PREPARE TRANSACTION 'eddy_drop';
COMMIT PREPARED 'eddy_drop';
SELECT count(*) FROM eddy.streams WHERE stream::text = 'xa_made';
SELECT to_regclass('xa_made_count');
BEGIN;
ALTER TABLE xa RENAME COLUMN value TO amount;
INSERT INTO xa VALUES (16, 'h', 8);
PREPARE TRANSACTION 'eddy_rename';
COMMIT PREPARED 'eddy_rename';
INSERT INTO xa VALUES (17, 'h', 9);
SELECT * FROM xa_by_kind WHERE kind = 'h';

-- The watermark that a prepared transaction has stored judges the rows of other sessions once it is committed.
CREATE UNLOGGED TABLE xa_events (at timestamptz);
SELECT eddy.create_stream('xa_events', event_time => 'at');
SELECT eddy.create_continuous_view('xa_minutes', $$
    SELECT w.window_end, count(*) FROM xa_events, eddy.tumble(at, '1 minute') AS w GROUP BY w.window_end $$);
INSERT INTO xa_events VALUES ('2026-01-01 00:00:01Z');
BEGIN;
INSERT INTO xa_events VALUES ('2026-01-01 00:10:01Z');
PREPARE TRANSACTION 'eddy_event';
INSERT INTO xa_events VALUES ('2026-01-01 00:00:02Z');
COMMIT PREPARED 'eddy_event';
INSERT INTO xa_events VALUES ('2026-01-01 00:00:03Z');      -- late
SELECT count FROM xa_minutes ORDER BY window_end;
DROP TABLE xa_events CASCADE;

-- Each view is compared with its definition.
SELECT (SELECT count FROM xa_all) = (SELECT count(*) FROM xa) AS counts, (SELECT sum FROM xa_all) = (SELECT sum(amount) FROM xa) AS sums;
(SELECT kind, count, sum FROM xa_by_kind EXCEPT ALL SELECT kind, count(*), sum(amount) FROM xa GROUP BY kind)
UNION ALL
(SELECT kind, count(*), sum(amount) FROM xa GROUP BY kind EXCEPT ALL SELECT kind, count, sum FROM xa_by_kind);
SELECT count(*) FROM pg_prepared_xacts WHERE gid LIKE 'eddy_%';

DELETE FROM eddy.dead_letters WHERE stream = 'xa'::regclass;
SET client_min_messages = warning;
DROP TABLE xa CASCADE;
