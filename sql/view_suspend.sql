-- A suspended view keeps its content and is not maintained until its owner rebuilds it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE ROLE regress_eddy_owner;
CREATE ROLE regress_eddy_analyst;
CREATE ROLE regress_eddy_stranger;
CREATE SCHEMA suspend_test;
GRANT USAGE, CREATE ON SCHEMA suspend_test TO regress_eddy_owner, regress_eddy_analyst, regress_eddy_stranger;
SET search_path = suspend_test;

SET ROLE regress_eddy_owner;
CREATE UNLOGGED TABLE sales (region text, amount int);
SELECT eddy.create_stream('sales');
GRANT SELECT, TRIGGER ON sales TO regress_eddy_analyst;
SELECT eddy.create_continuous_view('own', 'SELECT region, sum(amount) FROM sales GROUP BY region');
SET ROLE regress_eddy_analyst;
SELECT eddy.create_continuous_view('by_region', 'SELECT region, sum(amount), avg(amount) AS average FROM sales GROUP BY region');
SELECT eddy.create_continuous_view('total', 'SELECT count(*) FROM sales');
SET ROLE regress_eddy_owner;
INSERT INTO sales VALUES ('north', 10), ('south', 20);

-- The owner of the view and the owner of the stream may suspend it, other roles may not.
SET ROLE regress_eddy_stranger;
SELECT eddy.pause('by_region');
SELECT eddy.resume('by_region');
SELECT eddy.drop_continuous_view('by_region');
SET ROLE regress_eddy_analyst;
SELECT eddy.pause('own');
SELECT eddy.pause('by_region');
SELECT eddy.pause('by_region'); -- no effect
SELECT view, state, error, sqlstate, since <= now() + interval '1 minute' AS dated FROM eddy.continuous_views
WHERE stream = 'sales'::regclass ORDER BY view::text COLLATE "C";
SET ROLE regress_eddy_owner;
INSERT INTO sales VALUES ('north', 1), ('east', 5);
SELECT * FROM own ORDER BY region;
SET ROLE regress_eddy_analyst;
SELECT region, sum, round(average, 1) AS average FROM by_region ORDER BY region;
TABLE total;

-- Rebuilding counts all staged rows, including those that arrived while the view was suspended, but no removed rows.
SELECT eddy.resume('by_region');
SELECT region, sum, round(average, 1) AS average FROM by_region ORDER BY region;
SELECT eddy.resume('by_region'); -- no effect
SELECT count(*) FROM eddy.continuous_views WHERE stream = 'sales'::regclass AND state = 'suspended';
SET ROLE regress_eddy_owner;
INSERT INTO sales VALUES ('north', 1);
SET ROLE regress_eddy_analyst;
SELECT region, sum, round(average, 1) AS average FROM by_region ORDER BY region;
SET ROLE regress_eddy_owner;
SELECT eddy.pause('total');
TRUNCATE sales;
INSERT INTO sales VALUES ('west', 7);
SET ROLE regress_eddy_analyst;
TABLE total;
SELECT eddy.resume('total');
TABLE total;

-- Suspending and rebuilding are transactional, at all isolation levels.
BEGIN;
SELECT eddy.pause('total');
SET LOCAL ROLE regress_eddy_owner;
INSERT INTO sales VALUES ('west', 1);
ROLLBACK;
SET ROLE regress_eddy_owner;
INSERT INTO sales VALUES ('west', 1);
SET ROLE regress_eddy_analyst;
TABLE total;
SELECT eddy.pause('total');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM sales;
SELECT eddy.resume('total');
TABLE total;
COMMIT;
TABLE total;

-- If the owner of a view loses TRIGGER or SELECT, writers get one warning and do not fail.
SET ROLE regress_eddy_owner;
REVOKE TRIGGER ON sales FROM regress_eddy_analyst;
INSERT INTO sales VALUES ('west', 1);
INSERT INTO sales VALUES ('west', 1);
SELECT * FROM own ORDER BY region;
SELECT view, state, error, sqlstate FROM eddy.continuous_views WHERE stream = 'sales'::regclass ORDER BY view::text COLLATE "C";
SET ROLE regress_eddy_stranger;
SELECT view, state, error FROM eddy.continuous_views WHERE stream = 'sales'::regclass ORDER BY view::text COLLATE "C";
SET ROLE regress_eddy_analyst;
TABLE total;
SELECT eddy.resume('total');
SET ROLE regress_eddy_owner;
GRANT TRIGGER ON sales TO regress_eddy_analyst;
SET ROLE regress_eddy_analyst;
SELECT eddy.resume('total');
SELECT eddy.resume('by_region');
TABLE total;
SET ROLE regress_eddy_owner;
REVOKE SELECT ON sales FROM regress_eddy_analyst;
BEGIN;
INSERT INTO sales VALUES ('west', 1);
INSERT INTO sales VALUES ('west', 1);
ROLLBACK;
INSERT INTO sales VALUES ('west', 1);
SELECT view, state, error, sqlstate FROM eddy.continuous_views WHERE stream = 'sales'::regclass ORDER BY view::text COLLATE "C";
GRANT SELECT ON sales TO regress_eddy_analyst;
SET ROLE regress_eddy_analyst;
SELECT eddy.resume('total');
TABLE total;

-- Rebuilding requires the same privileges as creation.
SELECT eddy.pause('total');
SET ROLE regress_eddy_owner;
REVOKE TRIGGER ON sales FROM regress_eddy_analyst;
SELECT eddy.pause('by_region');
SELECT eddy.resume('by_region'); -- the owner of the stream cannot resume views of other roles
SET ROLE regress_eddy_analyst;
SELECT eddy.resume('total');
SET ROLE regress_eddy_owner;
REVOKE SELECT ON sales FROM regress_eddy_analyst;
GRANT TRIGGER ON sales TO regress_eddy_analyst;
SET ROLE regress_eddy_analyst;
SELECT eddy.resume('total');
SELECT view, state FROM eddy.continuous_views WHERE stream = 'sales'::regclass ORDER BY view::text COLLATE "C";
TABLE total;

-- The owner of the stream can drop views of other roles.
SET ROLE regress_eddy_owner;
DROP VIEW total;
SELECT eddy.drop_continuous_view('total');
SELECT eddy.drop_continuous_view('by_region');
SELECT view, state FROM eddy.continuous_views WHERE stream = 'sales'::regclass ORDER BY view::text COLLATE "C";
RESET ROLE;
SELECT count(*) FROM eddy._view_status;

-- Consumers of changes receive the rows that a rebuild has changed.
SET synchronous_commit = on; -- the slot reads flushed WAL
SELECT count(*) FROM pg_create_logical_replication_slot('regress_eddy_suspend', 'pg_eddy_cdc');
SELECT eddy.pause('own');
INSERT INTO sales VALUES ('west', 2), ('south', 3);
SELECT eddy.resume('own');
SELECT data FROM pg_logical_slot_get_changes('regress_eddy_suspend', NULL, NULL,
    'views', 'suspend_test.*', 'include-lsn', 'off', 'include-seq', 'off', 'include-xid', 'off', 'include-timestamp', 'off');
SELECT pg_drop_replication_slot('regress_eddy_suspend');

-- After an upgrade to another major version the stored states are refused. Rebuilding computes new ones.
UPDATE eddy._view SET format = 14 WHERE view = 'own'::regclass;
\c -
SET search_path = suspend_test;
INSERT INTO sales VALUES ('south', 4);
SELECT state, error, sqlstate FROM eddy.continuous_views WHERE view = 'own'::regclass;
SELECT eddy.resume('own');
INSERT INTO sales VALUES ('south', 5);
SELECT * FROM own ORDER BY region;

SET client_min_messages = warning;
DROP SCHEMA suspend_test CASCADE;
DROP ROLE regress_eddy_owner, regress_eddy_analyst, regress_eddy_stranger;
