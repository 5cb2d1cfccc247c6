-- Queries that are refused, and rows on which a view fails.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
\set SHOW_CONTEXT never

CREATE UNLOGGED TABLE items (id int, a numeric, b numeric, t text, at timestamptz);
CREATE TABLE plain (id int);
CREATE UNLOGGED TABLE others (id int);
SELECT eddy.create_stream('items');
SELECT eddy.create_stream('others');

-- Queries that cannot be maintained are refused, with the reason and a hint.
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM plain');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items; SELECT 1');
SELECT eddy.create_continuous_view('v', 'DELETE FROM items');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM itemss');
SELECT eddy.create_continuous_view('v', 'SELECT json_agg(items) FROM items');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items JOIN others USING (id)');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM plain LEFT JOIN items USING (id)');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items WHERE id IN (SELECT id FROM others)');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items WHERE at > now()');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items WHERE at > CURRENT_TIMESTAMP');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items WHERE random() > 0.5');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items, eddy.tumble(at, ''1 month 1 day'') w GROUP BY w.window_start');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items, eddy.hop(at, ''0 s'', ''1 min'') w GROUP BY w.window_start');
SELECT eddy.create_continuous_view('v', 'SELECT ctid, count(*) FROM items GROUP BY ctid');
SELECT eddy.create_continuous_view('v', 'SELECT point(id, id)::text, count(*) FROM items GROUP BY point(id, id)');
SELECT eddy.create_continuous_view('pg_temp.v', 'SELECT count(*) FROM items');
SELECT eddy.create_continuous_view('no_such_schema.v', 'SELECT count(*) FROM items');
SELECT eddy.create_continuous_view('v', NULL);

-- For invalid values, the valid values are shown.
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items', emit => 'change');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items', emit => 'on_close');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items', late => 'keep');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items', start => 'yesterday');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items', maintenance => 'deferred', on_error => 'stop');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items', retention => '1 day');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items', allowed_lateness => '1 min');
SELECT eddy.create_continuous_view('v', 'SELECT count(*) FROM items', on_error => 'skip');

-- Creation is atomic: none of these objects exists.
SELECT count(*) FROM eddy.continuous_views WHERE stream = 'items'::regclass;
SELECT relname FROM pg_class WHERE relname ~ '^_?v(_|$)';

-- A row on which one view fails becomes a dead letter of that view; the other views count it.
SELECT eddy.create_continuous_view('ratios', 'SELECT t, sum(a / b) AS ratio, count(*) FROM items GROUP BY t');
SELECT eddy.create_continuous_view('ratio_of_sums', 'SELECT t, sum(a) / sum(b) AS ratio, count(*) FROM items GROUP BY t');
SELECT eddy.create_continuous_view('counts', 'SELECT t, count(*) FROM items GROUP BY t');
INSERT INTO items SELECT g, g, g % 10, 'x' FROM generate_series(1, 1000) g;
INSERT INTO items VALUES (1001, 1, 0, 'y'), (1002, 1, 2, 'y');
INSERT INTO items VALUES (1003, 1, 0, 'z');
SELECT * FROM ratios ORDER BY t;
SELECT * FROM ratio_of_sums ORDER BY t;
SELECT * FROM counts ORDER BY t;
SELECT view, count(*), error, sqlstate FROM eddy.dead_letters WHERE stream = 'items'::regclass
GROUP BY view, error, sqlstate ORDER BY view::text;
SELECT view, topic, partition, "offset", convert_from(payload, 'UTF8')::jsonb ->> 'id' AS id FROM eddy.dead_letters
WHERE stream = 'items'::regclass AND convert_from(payload, 'UTF8')::jsonb ->> 't' <> 'x' ORDER BY view::text, id;

-- If an aggregate overflows, the row at which it overflows is rejected.
SELECT eddy.create_continuous_view('products', 'SELECT sum(power(a, b)) FROM items WHERE t = ''p''');
INSERT INTO items VALUES (1, 2, 10, 'p'), (2, 10, 1000000, 'p'), (3, 3, 2, 'p');
TABLE products;
SELECT error FROM eddy.dead_letters WHERE view = 'products'::regclass;

-- With on_error => 'stop' the statement fails and has no effects.
SELECT eddy.create_continuous_view('strict', 'SELECT sum(a / b) FROM items', on_error => 'stop');
INSERT INTO items VALUES (1004, 5, 1, 'w'), (1005, 5, 0, 'w');
SELECT * FROM counts WHERE t = 'w';
TABLE strict;

SET client_min_messages = warning;
DELETE FROM eddy.dead_letters WHERE stream = 'items'::regclass;
DROP TABLE items, others CASCADE;
DROP TABLE plain;
