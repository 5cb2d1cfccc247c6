-- Publications of continuous views, for consumers that use pgoutput.
\set VERBOSITY default
CREATE ROLE regress_eddy_owner;
CREATE ROLE regress_eddy_other;
GRANT CREATE ON SCHEMA public TO regress_eddy_owner;
SET client_min_messages = error;  -- no warning about wal_level

SET ROLE regress_eddy_owner;
CREATE UNLOGGED TABLE sales (region text NOT NULL, product text, amount numeric(10,2), at timestamptz);
SELECT eddy.create_stream('sales');
SELECT eddy.create_continuous_view('by_region',
    'SELECT region, sum(amount) AS total, avg(amount) AS mean FROM sales GROUP BY region HAVING sum(amount) > 10');
SELECT eddy.create_continuous_view('"Hidden, key"', 'SELECT count(*) AS "n""x" FROM sales GROUP BY product');
SELECT eddy.create_continuous_view('total', 'SELECT count(*) AS n FROM sales');
INSERT INTO sales VALUES ('north', 'a', 20), ('south', 'b', 5), ('west', NULL, 30);

-- requires CREATE on the database, as CREATE PUBLICATION does
SELECT eddy.create_publication('regress_pub', 'by_region');
RESET ROLE;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO regress_eddy_owner, regress_eddy_other', current_database()); END $$;

-- and the view
SET ROLE regress_eddy_other;
SELECT eddy.create_publication('regress_pub', 'by_region');
RESET ROLE;
SET ROLE regress_eddy_owner;
SELECT eddy.create_publication('regress_pub', 'sales');
SELECT eddy.create_publication('regress_pub', 'by_region', 'by_region');
SELECT eddy.create_publication('regress_pub', VARIADIC '{}');
SELECT eddy.create_publication('regress_pub', VARIADIC ARRAY['by_region', NULL]::regclass[]);
SELECT eddy.create_publication(NULL, 'by_region');
SELECT count(*) FROM pg_publication WHERE pubname = 'regress_pub';

-- returns the settings of its consumers
\pset format unaligned
\pset tuples_only on
SELECT eddy.create_publication('regress_pub', 'by_region');
SELECT eddy.create_publication('Regress pub2', VARIADIC ARRAY['"Hidden, key"', 'total']::regclass[]);
-- Names of several lines add no lines of their own to the settings.
SELECT eddy.create_continuous_view(E'"a\nsnapshot.mode=never\\"', E'SELECT product AS "b\rslot.name=x", count(*) FROM sales GROUP BY 1');
SELECT line FROM regexp_split_to_table(eddy.create_publication(E' c\nd', E'"a\nsnapshot.mode=never\\"'), '[\n\r]') AS line
WHERE line !~ '^[a-z_.0-9]+=' OR line ~ '(name|never|topic.replacement)';
DROP PUBLICATION " c
d";
\pset format aligned
\pset tuples_only off
SELECT pubname, tablename, attnames, rowfilter FROM pg_publication_tables WHERE schemaname = 'eddy' ORDER BY 1, 2;
SELECT pubname, pubowner::regrole FROM pg_publication WHERE pubname ~* 'regress' ORDER BY 1;
SELECT eddy.create_publication('regress_pub', 'total');

-- Without a name, the publication of a view has the name of the view. Two arguments always are a name and a view.
SELECT eddy.create_publication(NULL);
SELECT eddy.create_publication('sales');
SELECT split_part(eddy.create_publication('by_region'), E'\n', 3);
SELECT split_part(eddy.create_publication('"Hidden, key"'::regclass), E'\n', 3);
SELECT eddy.create_publication('by_region');
SELECT split_part(eddy.create_publication('total', 'by_region'), E'\n', 3);
SELECT eddy.create_publication(view => 'public.total');
SELECT pubname, tablename FROM pg_publication_tables WHERE pubname IN ('by_region', 'Hidden, key', 'total') ORDER BY 1;
RESET ROLE;
SET ROLE regress_eddy_other;
SELECT eddy.create_publication('total');
RESET ROLE;
SET ROLE regress_eddy_owner;
DROP PUBLICATION by_region, "Hidden, key", total;

-- the state table is written as before, and rows are deleted through the view
INSERT INTO sales VALUES ('north', 'a', 1), ('south', 'b', 10), ('west', NULL, -25);
TABLE by_region ORDER BY region;
DELETE FROM by_region WHERE region = 'north' RETURNING region, total;
DELETE FROM "Hidden, key" WHERE "n""x" = 2;
DELETE FROM eddy._by_region_state;
WITH gone AS (DELETE FROM by_region RETURNING *) SELECT region FROM gone;
PREPARE remove AS DELETE FROM total;
EXECUTE remove;
RESET ROLE;
DELETE FROM by_region;
DELETE FROM eddy._by_region_state WHERE region = 'west';

SET ROLE regress_eddy_owner;
INSERT INTO sales VALUES ('north', 'a', 100);
TABLE by_region;

-- dropping a view removes it from publications
DROP VIEW by_region;
SELECT pubname, tablename FROM pg_publication_tables WHERE schemaname = 'eddy' ORDER BY 1, 2;
DROP PUBLICATION regress_pub, "Regress pub2";
DROP TABLE sales CASCADE;
RESET ROLE;
REVOKE CREATE ON SCHEMA public FROM regress_eddy_owner;
DO $$ BEGIN EXECUTE format('REVOKE CREATE ON DATABASE %I FROM regress_eddy_owner, regress_eddy_other', current_database()); END $$;
DROP ROLE regress_eddy_owner, regress_eddy_other;
