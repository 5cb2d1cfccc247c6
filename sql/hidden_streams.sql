-- A hidden reference to the stream would count each batch twice: it is refused at any depth.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never
\set VERBOSITY terse

CREATE UNLOGGED TABLE taps (id int, n int);
CREATE UNLOGGED TABLE drips (id int, n int);
CREATE TABLE basins (id int, name text);
INSERT INTO basins VALUES (1, 'north'), (2, 'south');
SELECT eddy.create_stream('taps');
SELECT eddy.create_stream('drips');
SELECT segment AS segment FROM eddy._segment WHERE stream = 'taps'::regclass ORDER BY segment LIMIT 1 \gset

CREATE VIEW of_taps AS SELECT * FROM taps;
CREATE VIEW of_of_taps AS SELECT DISTINCT id FROM of_taps;
CREATE VIEW of_segment AS SELECT * FROM :segment;
CREATE VIEW with_taps AS WITH t AS MATERIALIZED (SELECT id FROM drips) SELECT b.* FROM basins b WHERE EXISTS (SELECT FROM t WHERE t.id = b.id);
CREATE VIEW in_list AS SELECT id, (SELECT count(*) FROM taps) AS n FROM basins;
CREATE VIEW harmless AS SELECT * FROM basins;

\set VERBOSITY default
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM taps JOIN of_taps USING (id)');
\set VERBOSITY terse
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM taps JOIN of_of_taps USING (id)');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM taps JOIN of_segment USING (id)');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM taps JOIN with_taps USING (id)');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM taps JOIN in_list USING (id)');
SELECT eddy.create_continuous_view('v', format('SELECT count(*) FROM taps JOIN %s s USING (id)', :'segment'));
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM taps WHERE EXISTS (SELECT FROM of_taps o WHERE o.id = taps.id)');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM taps WHERE id IN (SELECT id FROM of_of_taps)');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM taps WHERE id IN (WITH w AS (SELECT id FROM of_taps) SELECT id FROM w)');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM taps WHERE n = (SELECT max(n) FROM (SELECT n FROM of_taps) x)');
SELECT eddy.create_continuous_view('v', 'SELECT sum(n) FILTER (WHERE EXISTS (SELECT FROM of_taps)) FROM taps');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM taps, LATERAL (SELECT * FROM of_taps o WHERE o.id = taps.id) x');

-- SQL functions that the planner inlines.
CREATE FUNCTION rows_of_taps() RETURNS SETOF taps STABLE LANGUAGE sql AS 'SELECT * FROM public.taps';
CREATE FUNCTION rows_of_view() RETURNS SETOF of_taps STABLE LANGUAGE sql BEGIN ATOMIC SELECT * FROM of_taps; END;
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM taps JOIN rows_of_taps() r USING (id)');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM taps JOIN rows_of_view() r USING (id)');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM taps WHERE id IN (SELECT id FROM rows_of_taps())');

-- Row-level security policies of joined tables.
CREATE ROLE regress_eddy_hidden;
GRANT SELECT, TRIGGER ON taps, basins TO regress_eddy_hidden;
CREATE SCHEMA hidden_test AUTHORIZATION regress_eddy_hidden;
ALTER TABLE basins ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON basins USING (EXISTS (SELECT FROM taps t WHERE t.id = basins.id));
SET ROLE regress_eddy_hidden;
SELECT eddy.create_continuous_view('hidden_test.v', 'SELECT count(*) FROM taps JOIN basins USING (id)');
RESET ROLE;
DROP POLICY seen ON basins;
CREATE POLICY seen ON basins USING (true);
SET ROLE regress_eddy_hidden;
SELECT eddy.create_continuous_view('hidden_test.v', 'SELECT name, count(*) FROM taps JOIN basins USING (id) GROUP BY name', on_error => 'stop');
RESET ROLE;
SELECT eddy.create_continuous_view('joined', 'SELECT count(*) FROM taps JOIN harmless USING (id)', on_error => 'stop');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM taps JOIN eddy._joined_def d ON true');
INSERT INTO taps VALUES (1, 1), (2, 2), (3, 3);
TABLE hidden_test.v ORDER BY name;
TABLE joined;

-- A hidden reference in a policy or view that is changed later is detected when the query is planned again.
DROP POLICY seen ON basins;
CREATE POLICY seen ON basins USING (EXISTS (SELECT FROM taps t WHERE t.id = basins.id));
INSERT INTO taps VALUES (1, 1);
ALTER TABLE basins DISABLE ROW LEVEL SECURITY;
CREATE OR REPLACE VIEW harmless AS SELECT b.id, b.name FROM basins b WHERE EXISTS (SELECT FROM of_taps t WHERE t.id = b.id);
INSERT INTO taps VALUES (1, 1);
CREATE OR REPLACE VIEW harmless AS SELECT * FROM basins;
INSERT INTO taps VALUES (1, 1);
TABLE hidden_test.v ORDER BY name;
TABLE joined;

SET client_min_messages = warning;
DROP SCHEMA hidden_test CASCADE;
DROP FUNCTION rows_of_taps, rows_of_view;
DROP TABLE taps, drips, basins CASCADE;
DROP OWNED BY regress_eddy_hidden;
DROP ROLE regress_eddy_hidden;
