-- The owner of a continuous view cannot alter its definition and its state table.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE ROLE regress_eddy_ann;
CREATE ROLE regress_eddy_bob;
CREATE ROLE regress_eddy_writer;
CREATE ROLE regress_eddy_allwriter IN ROLE pg_write_all_data, pg_read_all_data;
CREATE SCHEMA internal_test;
GRANT USAGE, CREATE ON SCHEMA internal_test TO regress_eddy_ann, regress_eddy_bob;
GRANT USAGE ON SCHEMA internal_test TO regress_eddy_writer, regress_eddy_allwriter;
SET search_path = internal_test;

SET ROLE regress_eddy_ann;
-- default privileges must not apply to a definition that belongs to a superuser
ALTER DEFAULT PRIVILEGES IN SCHEMA internal_test GRANT ALL ON TABLES TO regress_eddy_bob;
CREATE UNLOGGED TABLE events (kind text, n bigint);
SELECT eddy.create_stream('events');
GRANT INSERT ON events TO regress_eddy_writer;
SELECT eddy.create_continuous_view('per_kind',
    'SELECT kind, avg(n) AS average, count(*) FROM events GROUP BY kind HAVING count(*) > 1');
INSERT INTO events VALUES ('a', 1), ('a', 2), ('b', 3);
RESET ROLE;
SELECT c.relname, c.relowner = e.extowner AS belongs_to_extension, 'security_invoker=true' = ANY (c.reloptions) AS invoker,
       (SELECT array_agg(format('%s: %s', a.grantee::regrole, a.privilege_type) ORDER BY a.privilege_type)
        FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner) AS grants
FROM pg_class c, pg_extension e
WHERE c.relnamespace = 'eddy'::regnamespace AND c.relname LIKE '\_per\_kind\_%' AND c.relkind IN ('r', 'v')
  AND e.extname = 'pg_eddy' ORDER BY 1;

-- DDL on the state table. It contains transition states: as another type, their bytes would be interpreted as pointers.
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO regress_eddy_ann', current_database()); END $$;
SET client_min_messages = error;
\set VERBOSITY sqlstate
SET ROLE regress_eddy_ann;
ALTER TABLE eddy._per_kind_state ALTER COLUMN _state1 TYPE bigint USING 1311768467463790320;
ALTER TABLE eddy._per_kind_state ADD COLUMN extra int;
ALTER TABLE eddy._per_kind_state DROP COLUMN _state1;
ALTER TABLE eddy._per_kind_state RENAME COLUMN _state1 TO mine;
ALTER TABLE eddy._per_kind_state RENAME TO mine;
ALTER TABLE eddy._per_kind_state SET SCHEMA internal_test;
ALTER TABLE eddy._per_kind_state OWNER TO regress_eddy_ann;
ALTER TABLE eddy._per_kind_state REPLICA IDENTITY NOTHING;
ALTER TABLE eddy._per_kind_state DISABLE TRIGGER pg_eddy_refuse;
ALTER TABLE eddy._per_kind_state DISABLE TRIGGER ALL;
ALTER TABLE eddy._per_kind_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE eddy._per_kind_state SET (fillfactor = 100);
ALTER TABLE eddy._per_kind_state SET UNLOGGED;
ALTER TABLE eddy._per_kind_state CLUSTER ON _per_kind_state_kind_idx;
ALTER INDEX eddy._per_kind_state_kind_idx RENAME TO mine;
DROP INDEX eddy._per_kind_state_kind_idx;
DROP TABLE eddy._per_kind_state CASCADE;
TRUNCATE eddy._per_kind_state;
DROP TRIGGER pg_eddy_refuse ON eddy._per_kind_state;
ALTER TRIGGER pg_eddy_refuse ON eddy._per_kind_state RENAME TO mine;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER mine BEFORE INSERT ON eddy._per_kind_state FOR EACH ROW EXECUTE FUNCTION note();
CREATE RULE mine AS ON DELETE TO eddy._per_kind_state DO INSTEAD NOTHING;
CREATE POLICY mine ON eddy._per_kind_state USING (false);
CREATE INDEX ON eddy._per_kind_state (count);
CREATE STATISTICS mine ON kind, count FROM eddy._per_kind_state;
COMMENT ON TABLE eddy._per_kind_state IS 'mine';
COMMENT ON COLUMN eddy._per_kind_state.kind IS 'mine';
CLUSTER eddy._per_kind_state USING _per_kind_state_kind_idx;
REINDEX TABLE eddy._per_kind_state;
CREATE TABLE heir () INHERITS (eddy._per_kind_state);
CREATE TABLE pointer (kind text REFERENCES eddy._per_kind_state (kind));
CREATE PUBLICATION mine FOR TABLE eddy._per_kind_state;
GRANT ALL ON eddy._per_kind_state TO regress_eddy_bob;
REVOKE ALL ON eddy._per_kind_state FROM regress_eddy_ann;
ANALYZE eddy._per_kind_state;
\set VERBOSITY default
RESET client_min_messages;

-- Writes to the state table.
INSERT INTO eddy._per_kind_state (kind) VALUES ('c');
UPDATE eddy._per_kind_state SET _state1 = NULL;
UPDATE eddy._per_kind_state SET kind = 'c';
DELETE FROM eddy._per_kind_state;
\copy eddy._per_kind_state (kind) FROM '/dev/null'
SELECT * FROM eddy._per_kind_state FOR UPDATE;
WITH gone AS (DELETE FROM eddy._per_kind_state RETURNING *) SELECT * FROM gone;
CREATE VIEW window_to_state AS SELECT * FROM eddy._per_kind_state;
DELETE FROM window_to_state;
UPDATE window_to_state SET kind = 'c';
DROP VIEW window_to_state;
LOCK TABLE eddy._per_kind_state IN ACCESS EXCLUSIVE MODE;
LOCK TABLE per_kind IN SHARE MODE;
CREATE VIEW on_top AS SELECT kind FROM per_kind WHERE kind IN (SELECT kind FROM per_kind);
LOCK TABLE on_top;
BEGIN;
LOCK TABLE per_kind IN ACCESS SHARE MODE;
COMMIT;
SET ROLE regress_eddy_allwriter;
DELETE FROM eddy._per_kind_state;
UPDATE eddy._per_kind_state SET kind = 'c';
INSERT INTO per_kind (kind) VALUES ('c');
\copy eddy._per_kind_state (kind) FROM '/dev/null'
SET ROLE regress_eddy_bob;
SELECT * FROM eddy._per_kind_state;
SELECT * FROM eddy._per_kind_def;

-- DDL on the definition.
SET ROLE regress_eddy_ann;
\set VERBOSITY sqlstate
SELECT * FROM eddy._per_kind_def;
CREATE OR REPLACE VIEW eddy._per_kind_def AS SELECT 'x' AS kind, 1.0 AS average, 1::bigint AS count;
ALTER VIEW eddy._per_kind_def SET SCHEMA internal_test;
ALTER VIEW eddy._per_kind_def RENAME TO mine;
ALTER VIEW eddy._per_kind_def RENAME COLUMN kind TO mine;
ALTER VIEW eddy._per_kind_def OWNER TO regress_eddy_ann;
ALTER VIEW eddy._per_kind_def SET (security_invoker = true);
ALTER VIEW eddy._per_kind_def ALTER COLUMN kind SET DEFAULT 'x';
CREATE RULE "_RETURN" AS ON SELECT TO eddy._per_kind_def DO INSTEAD SELECT 'x' AS kind, 1.0 AS average, 1::bigint AS count;
CREATE RULE mine AS ON DELETE TO eddy._per_kind_def DO INSTEAD NOTHING;
CREATE TRIGGER mine INSTEAD OF DELETE ON eddy._per_kind_def FOR EACH ROW EXECUTE FUNCTION note();
COMMENT ON VIEW eddy._per_kind_def IS 'mine';
DROP VIEW eddy._per_kind_def;
GRANT SELECT ON eddy._per_kind_def TO regress_eddy_bob;
\set VERBOSITY default
RESET ROLE;
DROP VIEW eddy._per_kind_def;
-- a superuser, who may do all that the owner of the view may not
INSERT INTO internal_test.per_kind (kind) VALUES ('c');
UPDATE internal_test.per_kind SET count = 1;

-- The same commands in a function of the view, which runs with the privileges of its owner during a batch.
SET ROLE regress_eddy_ann;
CREATE FUNCTION attack(command text) RETURNS text VOLATILE LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN command || ': done';
EXCEPTION WHEN others THEN
    RETURN SQLERRM;
END $$;
CREATE FUNCTION attack_quietly(command text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    RETURN attack(command);
END $$;
ALTER FUNCTION attack(text) SET search_path = internal_test;
ALTER FUNCTION attack_quietly(text) SET search_path = internal_test;
CREATE UNLOGGED TABLE commands (command text);
SELECT eddy.create_stream('commands');
GRANT INSERT ON commands TO regress_eddy_writer;
SELECT eddy.create_continuous_view('attacks',
    'SELECT attack_quietly(command) AS outcome, avg(length(command)) AS average FROM commands GROUP BY 1');
SET ROLE regress_eddy_writer;
INSERT INTO commands VALUES
    ('ALTER TABLE eddy._attacks_state ALTER COLUMN _state1 TYPE bigint USING 1'),
    ('ALTER TABLE eddy._attacks_state DISABLE TRIGGER ALL'),
    ('DELETE FROM eddy._attacks_state'),
    ('CREATE OR REPLACE VIEW eddy._attacks_def AS SELECT 1'),
    ('CREATE OR REPLACE VIEW attacks AS SELECT ''x''::text AS outcome, 1.0 AS average'),
    ('ALTER VIEW attacks SET (security_invoker = true)'),
    ('SET ROLE regress_eddy_bob'),
    ('SET SESSION AUTHORIZATION regress_eddy_bob'),
    ('RESET ROLE');
RESET ROLE;
SELECT outcome FROM attacks ORDER BY outcome COLLATE "C";

-- A batch is not interrupted by another one, and no view is dropped during a batch.
SET ROLE regress_eddy_ann;
SELECT eddy.create_continuous_view('paused', 'SELECT command, avg(length(command)) AS average FROM commands GROUP BY command');
SELECT eddy.create_continuous_view('victim', 'SELECT command, avg(length(command)) AS average FROM commands GROUP BY command');
SELECT eddy.create_continuous_view('last_attacks',
    'SELECT attack_quietly(command) AS outcome, avg(length(command)) AS average FROM commands GROUP BY 1 HAVING count(*) > 0');
SELECT eddy.pause('paused');
SELECT eddy.pause('attacks');
SET ROLE regress_eddy_writer;
INSERT INTO commands VALUES ('SELECT eddy.resume(''paused'')');
INSERT INTO commands VALUES ('SELECT eddy.create_continuous_view(''new'', ''SELECT count(*) FROM commands'')');
INSERT INTO commands VALUES ('SELECT eddy.drop_continuous_view(''victim'')');
INSERT INTO commands VALUES ('DROP VIEW victim');
RESET ROLE;
SELECT outcome FROM last_attacks ORDER BY outcome COLLATE "C";
SELECT view, state FROM eddy.continuous_views WHERE stream = 'commands'::regclass ORDER BY view::text COLLATE "C";

-- ANALYZE, which runs with the privileges of a table's owner, does not call functions of the view's owner.
SET ROLE regress_eddy_ann;
CREATE FUNCTION difference(float8, float8) RETURNS float8 IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    RAISE WARNING 'evaluated by a superuser: %', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
    RETURN $1 - $2;
END $$;
CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = difference);
CREATE DOMAIN span_domain AS span;
CREATE DOMAIN spans_domain AS span_multirange;
CREATE AGGREGATE last_span(span) (sfunc = range_merge, stype = span, combinefunc = range_merge);
CREATE TYPE composite AS (name text, span span);
SELECT eddy.create_continuous_view('spans',
    'SELECT span(n, n + 1) AS s, span(n, n + 1)::span_domain AS d, span_multirange(span(n, n + 1)) AS m,
        span_multirange(span(n, n + 1))::spans_domain AS md, ARRAY[span(n, n + 1)] AS a,
        row(kind, span(n, n + 1))::composite AS c, last_span(span(n, n + 1)) AS l
     FROM events GROUP BY 1, 2, 3, 4, 5, 6');
INSERT INTO events VALUES ('a', 1), ('a', 5), ('b', 9);
ANALYZE events;
RESET ROLE;
ANALYZE eddy._spans_state;
SELECT count(*) > 0 AS analyzed FROM pg_stats WHERE tablename = '_spans_state' AND attname IN ('a', 'c');
DROP VIEW spans;

-- None of these commands has changed the views, and they are still maintained.
INSERT INTO events VALUES ('b', 4), ('c', 1);
SELECT * FROM per_kind ORDER BY kind;
SELECT count(*) FROM eddy._per_kind_state;

-- The owner of a view may read it, delete from it, and grant both privileges.
SET ROLE regress_eddy_ann;
DELETE FROM per_kind WHERE kind = 'a';
UPDATE per_kind SET count = 0;
INSERT INTO per_kind VALUES ('d', 1, 1);
TRUNCATE per_kind;
REVOKE ALL ON per_kind FROM regress_eddy_bob;
SET ROLE regress_eddy_bob;
DELETE FROM per_kind;
UPDATE per_kind SET count = 0;
SET ROLE regress_eddy_ann;
GRANT SELECT, DELETE ON per_kind TO regress_eddy_bob;
SET ROLE regress_eddy_bob;
TABLE per_kind;
CREATE VIEW bobs AS SELECT * FROM per_kind;
DELETE FROM bobs WHERE kind = 'b' RETURNING *;
UPDATE bobs SET count = 0;
DROP VIEW bobs;

-- The query of the public view cannot be replaced, by any role or command.
SET ROLE regress_eddy_ann;
CREATE OR REPLACE VIEW per_kind AS SELECT kind, average, count, 1 AS more FROM eddy._per_kind_state;
CREATE OR REPLACE VIEW per_kind AS SELECT 'x'::text AS kind, 1.0::numeric AS average, 1::bigint AS count;
CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO per_kind
    DO INSTEAD SELECT 'x'::text AS kind, 1.0::numeric AS average, 1::bigint AS count;
CREATE RULE mine AS ON INSERT TO per_kind DO INSTEAD NOTHING;
ALTER VIEW per_kind ALTER COLUMN kind SET DEFAULT 'x';
ALTER VIEW per_kind SET (security_invoker = true);
ALTER VIEW per_kind SET (security_barrier = true);
ALTER VIEW per_kind RESET (security_barrier);
RESET ROLE;
CREATE OR REPLACE VIEW per_kind AS SELECT 'x'::text AS kind, 1.0::numeric AS average, 1::bigint AS count;
DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW internal_test.per_kind AS SELECT NULL::text AS kind, 1.0::numeric AS average, 1::bigint AS count'; END $$;
SELECT pg_get_viewdef('per_kind') ~ '_visible' AS unchanged;
SELECT eddy.create_continuous_view('hidden_key', 'SELECT count(*) FROM events GROUP BY kind');
ALTER VIEW hidden_key RENAME COLUMN count TO _key1;
ALTER VIEW hidden_key RENAME COLUMN count TO events;
SELECT eddy.drop_continuous_view('hidden_key');

-- Dependent objects of other roles are not dropped without CASCADE.
SET ROLE regress_eddy_bob;
CREATE VIEW bobs_window AS SELECT kind FROM eddy._per_kind_state;
SET ROLE regress_eddy_ann;
DROP VIEW on_top;
DROP VIEW per_kind;
SELECT eddy.drop_continuous_view('per_kind');
DROP TABLE events;
SELECT eddy.drop_stream('events');
SELECT count(*) FROM bobs_window;
DROP VIEW per_kind CASCADE;
SELECT relname FROM pg_class WHERE relname IN ('bobs_window', 'per_kind', '_per_kind_def', '_per_kind_state');

-- The privileges on the state table follow the owner of the view.
RESET ROLE;
SELECT eddy.create_continuous_view('totals', 'SELECT sum(n) AS total FROM events', start => 'staged');
CREATE FUNCTION grants(OUT grantee regrole, OUT privilege text) RETURNS SETOF record LANGUAGE sql AS $$
    SELECT a.grantee::regrole, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.oid = 'eddy._totals_state'::regclass AND a.grantee <> c.relowner ORDER BY 1, 2 $$;
SELECT * FROM grants();
ALTER VIEW totals OWNER TO regress_eddy_ann;
SELECT * FROM grants();
TABLE totals;
SET ROLE regress_eddy_ann;
INSERT INTO events VALUES ('d', 100);
TABLE totals;
RESET ROLE;
GRANT SELECT ON eddy._totals_state TO regress_eddy_writer; -- for instance for a publication
ALTER TABLE totals OWNER TO regress_eddy_bob;
SELECT * FROM grants();
REASSIGN OWNED BY regress_eddy_bob TO regress_eddy_ann;
SELECT * FROM grants();
TABLE totals;
SELECT count(*) FROM eddy.continuous_views WHERE view = 'totals'::regclass;
DROP OWNED BY regress_eddy_ann CASCADE;
SELECT relname FROM pg_class WHERE relname ~ '^_?totals' OR relname IN ('events', 'commands', 'attacks');
SELECT count(*) FROM eddy._view v WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = v.view);

SET client_min_messages = warning;
DROP SCHEMA internal_test CASCADE;
DROP OWNED BY regress_eddy_ann, regress_eddy_bob, regress_eddy_writer CASCADE;
DROP ROLE regress_eddy_ann, regress_eddy_bob, regress_eddy_writer, regress_eddy_allwriter;
