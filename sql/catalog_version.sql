-- A catalog that the loaded library does not know is refused, not read as something else.
\set VERBOSITY default
\set SHOW_CONTEXT never
\set main_database :DBNAME
CREATE DATABASE regress_eddy_version;
\c regress_eddy_version
CREATE EXTENSION pg_eddy;
CREATE TABLE plain (n bigint);
CREATE UNLOGGED TABLE events (kind text, n bigint);
SELECT eddy.create_stream('events');
SELECT eddy.create_continuous_view('per_kind', 'SELECT kind, sum(n) AS n FROM events GROUP BY kind');
INSERT INTO events VALUES ('a', 1);
ALTER TABLE eddy._stream ADD COLUMN added_by_another_version text;
\c regress_eddy_version
INSERT INTO events VALUES ('a', 2);
SELECT eddy.create_stream('plain');
ALTER TABLE events SET LOGGED;
DROP TABLE events CASCADE;
-- Statements on other tables do not fail, nor does reading.
INSERT INTO plain VALUES (1), (2);
UPDATE plain SET n = n + 1;
COPY (SELECT * FROM per_kind) TO STDOUT;
SELECT * FROM events;
\c :main_database
DROP DATABASE regress_eddy_version;
