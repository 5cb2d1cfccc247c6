-- Changes of continuous views that are read with SELECT, without logical decoding.
SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE SCHEMA changes;
SET search_path = changes, public;

CREATE UNLOGGED TABLE payments (customer text, kind text, amount numeric(10,2), at timestamptz);
SELECT eddy.create_stream('payments', event_time => 'at', delay => '0');
SELECT eddy.create_continuous_view('revenue', $$
    SELECT customer, w.window_start, sum(amount) AS total, count(*) AS payments
    FROM payments, eddy.tumble(at, '5 minutes') AS w
    GROUP BY customer, w.window_start $$);
SELECT eddy.create_continuous_view('good', $$
    SELECT customer, sum(amount) AS "Total" FROM payments GROUP BY customer, kind HAVING sum(amount) > 10 $$);
\pset format unaligned
\pset tuples_only on

-- Changes are kept on request.
SELECT * FROM eddy.changes('good');
SELECT eddy.keep_changes('revenue'), eddy.keep_changes('good');
INSERT INTO payments VALUES ('ann', 'card', 7.50, '2026-01-01 00:01'), ('bob', NULL, 20, '2026-01-01 00:02');

-- A token stands for the snapshot of the query. The content of the view in the same snapshot has the earlier changes.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT eddy.change_token('revenue') AS revenue_token, eddy.change_token('good') AS good_token \gset
SELECT * FROM good;
COMMIT;

-- Groups that start and cease to satisfy HAVING are created and deleted. Keys include columns that the view does not show.
INSERT INTO payments VALUES ('ann', 'card', 2.50, '2026-01-01 00:02'), ('bob', NULL, 0, '2026-01-01 00:02');
INSERT INTO payments VALUES ('ann', 'card', 5, '2026-01-01 00:03');
INSERT INTO payments VALUES ('ann', 'card', -9, '2026-01-01 00:03'), ('bob', NULL, 1, '2026-01-01 00:02');
DELETE FROM good WHERE customer = 'bob';
SELECT op, key, after FROM eddy.changes('good', :'good_token');

-- Each change has the token after which the following ones come.
SELECT count(*) FROM eddy.changes('good', :'good_token', 3);
SELECT token AS good_token FROM eddy.changes('good', :'good_token', 3) OFFSET 2 \gset
SELECT op, key FROM eddy.changes('good', :'good_token', 3);
SELECT token AS good_token FROM eddy.changes('good', :'good_token', 3) \gset
SELECT op, key FROM eddy.changes('good', :'good_token', 3);

-- Changes that are rolled back are not kept, nor those of a transaction in progress returned.
BEGIN;
INSERT INTO payments VALUES ('eve', 'cash', 50, '2026-01-01 00:04');
SELECT op FROM eddy.changes('good', :'good_token');
ROLLBACK;
BEGIN;
SAVEPOINT s;
INSERT INTO payments VALUES ('eve', 'cash', 50, '2026-01-01 00:04');
ROLLBACK TO s;
INSERT INTO payments VALUES ('flo', 'cash', 50, '2026-01-01 00:04');
COMMIT;
SELECT op, key FROM eddy.changes('good', :'good_token');

-- Windows that close are changes.
SELECT eddy.advance_watermark('payments', '2026-01-01 00:05');
SELECT op, key ->> 'customer', after -> 'total', final FROM eddy.changes('revenue', :'revenue_token') WHERE final;

-- Without a token: all changes that are kept.
SELECT count(*) FROM eddy.changes('good');

-- Reading requires SELECT on the view.
CREATE ROLE regress_eddy_reader;
GRANT USAGE ON SCHEMA changes TO regress_eddy_reader;
SET ROLE regress_eddy_reader;
SELECT * FROM eddy.changes('good');
SELECT eddy.change_token('good');
SELECT eddy.keep_changes('good');
SELECT * FROM eddy._change;
RESET ROLE;
GRANT SELECT ON good TO regress_eddy_reader;
SET ROLE regress_eddy_reader;
SELECT op, key FROM eddy.changes('good', :'good_token');
RESET ROLE;

-- Only pg_eddy writes the table of changes.
UPDATE eddy._change SET content = '';
INSERT INTO eddy._change VALUES (1, 1, 1, '3', now(), 1, 'c', '');

-- A notification for each transaction with changes.
SELECT eddy.keep_changes('good', channel => 'good_changes');
SELECT changes_retention, changes_channel FROM eddy.continuous_views WHERE view = 'good'::regclass;
SELECT token AS good_token FROM eddy.changes('good', :'good_token') \gset
INSERT INTO payments VALUES ('flo', 'cash', 5, '2026-01-01 00:04'), ('ann', 'card', 5, '2026-01-01 00:04');
SELECT op, key FROM eddy.changes('good', :'good_token');

-- Values and tokens that are not valid.
SELECT * FROM eddy.changes('payments');
SELECT * FROM eddy.changes('good', 'x');
SELECT * FROM eddy.changes('good', :'revenue_token');
SELECT * FROM eddy.changes('good', translate(left(:'good_token', 1), '0123456789abcdef', '123456789abcdef0') || substr(:'good_token', 2));
SELECT * FROM eddy.changes('good', :'good_token' || ';1');
SELECT * FROM eddy.changes('good', regexp_replace(:'good_token', ';[0-9:,]*;', ';9:5:;'));
SELECT * FROM eddy.changes('good', NULL, 0);
SELECT * FROM eddy.changes('good', NULL, NULL);
SELECT eddy.keep_changes('good', '-1 s');
SELECT eddy.keep_changes('good', channel => '');
SELECT eddy.keep_changes('payments');

-- When changes are no longer kept, tokens become invalid.
SELECT eddy.keep_changes('good', NULL);
SELECT * FROM eddy.changes('good', :'good_token');
SELECT eddy.keep_changes('good');
SELECT * FROM eddy.changes('good', :'good_token');
SELECT count(*) FROM eddy.changes('good');

DROP TABLE payments CASCADE;
DROP SCHEMA changes CASCADE;
DROP ROLE regress_eddy_reader;
