-- What other roles see of rows that they may not read, and what they cannot hold up.
\set SHOW_CONTEXT never
\set main_database :DBNAME
CREATE ROLE regress_eddy_owner;
CREATE ROLE regress_eddy_reader;
CREATE ROLE regress_eddy_nobody;
CREATE DATABASE regress_eddy_disclosure;
\c regress_eddy_disclosure
\set SHOW_CONTEXT never

-- ALTER DEFAULT PRIVILEGES of the role that creates the extension does not apply to its objects.
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO regress_eddy_nobody;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO regress_eddy_nobody;
ALTER DEFAULT PRIVILEGES GRANT ALL ON ROUTINES TO regress_eddy_nobody;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO regress_eddy_nobody;
CREATE EXTENSION pg_eddy;
SELECT has_schema_privilege('regress_eddy_nobody', 'eddy', 'CREATE') AS may_create,
       has_function_privilege('regress_eddy_nobody', 'eddy._capture()', 'EXECUTE') AS may_capture,
       has_function_privilege('regress_eddy_nobody', 'eddy.pause(regclass)', 'EXECUTE') AS may_pause;
SELECT c.relname AS readable FROM pg_class c WHERE c.relnamespace = 'eddy'::regnamespace AND c.relkind IN ('r', 'v', 'S')
    AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege('regress_eddy_nobody', c.oid, 'SELECT')
                       ELSE has_table_privilege('regress_eddy_nobody', c.oid, 'SELECT') END ORDER BY 1;
-- It is not dropped with the schema in which others create their objects.
DROP SCHEMA public CASCADE;
CREATE SCHEMA disclosure;
GRANT USAGE ON SCHEMA disclosure TO PUBLIC;
GRANT CREATE ON SCHEMA disclosure TO regress_eddy_owner;
SET search_path = disclosure;

-- All roles may delete dead letters and late rows of their streams, but not lock these tables for others.
SET ROLE regress_eddy_nobody;
LOCK TABLE eddy.dead_letters;
LOCK TABLE eddy.late_rows IN SHARE MODE;
BEGIN;
LOCK TABLE eddy.dead_letters IN ROW EXCLUSIVE MODE;
CREATE TEMP VIEW letters AS SELECT id FROM eddy.dead_letters;
LOCK TABLE letters IN SHARE ROW EXCLUSIVE MODE;
ROLLBACK;

-- A dead letter of a view that reads a view is a row of that view, with values that are not in the stream.
SET ROLE regress_eddy_owner;
CREATE UNLOGGED TABLE scan (id int, place text);
SELECT eddy.create_stream('scan');
CREATE TABLE patient (id int, name text);
INSERT INTO patient VALUES (1, 'ann');
SELECT eddy.create_continuous_view('visit', 'SELECT s.id, p.name FROM scan s JOIN patient p USING (id)');
SELECT eddy.create_continuous_view('odd', 'SELECT sum(1 / (id - 1)) FROM visit');
SELECT eddy.create_continuous_view('even', 'SELECT sum(1 / (id - 1)) FROM scan');
GRANT SELECT ON scan TO regress_eddy_reader;
INSERT INTO scan VALUES (1, 'oslo');
SELECT view, convert_from(payload, 'UTF8') AS payload FROM eddy.dead_letters WHERE stream = 'scan'::regclass ORDER BY id;
SET ROLE regress_eddy_reader;
SELECT view, convert_from(payload, 'UTF8') AS payload FROM eddy.dead_letters WHERE stream = 'scan'::regclass ORDER BY id;
SET ROLE regress_eddy_owner;
GRANT SELECT ON visit TO regress_eddy_reader;
SET ROLE regress_eddy_reader;
SELECT view FROM eddy.dead_letters WHERE stream = 'scan'::regclass ORDER BY id;
-- Without the view it is not known who may read them: they are deleted with it. Those of a view over a stream remain.
SET ROLE regress_eddy_owner;
REVOKE SELECT ON visit FROM regress_eddy_reader;
DROP VIEW odd, even;
SET ROLE regress_eddy_reader;
SELECT convert_from(payload, 'UTF8') AS payload FROM eddy.dead_letters WHERE stream = 'scan'::regclass;

-- Letters of a stream that was dropped are not in a dump: in the restored database, its OID can be that of any table.
SET ROLE regress_eddy_owner;
DROP TABLE scan CASCADE;
RESET ROLE;
SELECT count(*) FROM eddy.dead_letters;
SELECT format('SELECT count(*) AS dumped FROM eddy.dead_letters %s', u.condition)
FROM pg_extension e, unnest(e.extconfig, e.extcondition) AS u (relation, condition) WHERE u.relation = 'eddy.dead_letters'::regclass \gexec

-- The error of a suspended view can quote rows: it is shown to the owner, and to roles that may read all of them.
SET ROLE regress_eddy_owner;
CREATE UNLOGGED TABLE reading (sensor text, value text);
SELECT eddy.create_stream('reading');
SELECT eddy.create_continuous_view('latest', 'SELECT sensor, max(value) AS value FROM reading GROUP BY sensor');
SELECT eddy.create_continuous_view('largest', 'SELECT max(value)::int AS value FROM latest');
GRANT SELECT ON largest TO regress_eddy_reader;
SET client_min_messages = error;
INSERT INTO reading VALUES ('a', 'secret');
RESET client_min_messages;
SELECT view, state, error FROM eddy.continuous_views WHERE view = 'largest'::regclass;
SET ROLE regress_eddy_reader;
SELECT view, state, error, sqlstate FROM eddy.continuous_views WHERE view = 'largest'::regclass;
SET ROLE regress_eddy_owner;
GRANT SELECT ON latest TO regress_eddy_reader;
SET ROLE regress_eddy_reader;
SELECT error FROM eddy.continuous_views WHERE view = 'largest'::regclass;

-- Nor does ALTER DEFAULT PRIVILEGES apply to the tables behind streams and views.
SET ROLE regress_eddy_owner;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO regress_eddy_nobody;
CREATE UNLOGGED TABLE payment (account text, amount numeric);
ALTER TABLE payment ENABLE ROW LEVEL SECURITY;
SELECT eddy.create_stream('payment');
SELECT eddy.create_continuous_view('balance', 'SELECT account, sum(amount) FROM payment GROUP BY account HAVING count(*) > 9');
SELECT c.relname, has_table_privilege('regress_eddy_nobody', c.oid, 'SELECT') FROM pg_class c
WHERE c.relname ~ '(payment|balance)' AND c.relkind IN ('r', 'v') ORDER BY 1;

\c :main_database
DROP DATABASE regress_eddy_disclosure;
DROP ROLE regress_eddy_owner, regress_eddy_reader, regress_eddy_nobody;
