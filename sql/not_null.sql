--
-- A superuser has set columns of a state table NOT NULL, as required by REPLICA IDENTITY USING
-- INDEX: a row that would write a NULL there becomes a dead letter of that view.
--
SET client_min_messages = warning;
CREATE SCHEMA not_null;
SET search_path = not_null;

CREATE UNLOGGED TABLE events (k text, v int);
SELECT eddy.create_stream('events');
SELECT eddy.create_continuous_view('strict', 'SELECT k, count(*) AS n, max(v) AS m FROM events GROUP BY k');
SELECT eddy.create_continuous_view('plain', 'SELECT k, count(*) AS n, max(v) AS m FROM events GROUP BY k');
ALTER TABLE eddy._strict_state ALTER k SET NOT NULL, ALTER m SET NOT NULL, REPLICA IDENTITY USING INDEX _strict_state_k_idx;
INSERT INTO events VALUES ('a', 1), (NULL, 1), ('b', NULL), ('b', 2), ('c', NULL);
INSERT INTO events VALUES (NULL, 2);
SELECT * FROM strict ORDER BY k;
SELECT * FROM plain ORDER BY k;
SELECT view, sqlstate, error, convert_from(payload, 'UTF8') AS payload
FROM eddy.dead_letters WHERE stream = 'events'::regclass ORDER BY id;

DELETE FROM eddy.dead_letters WHERE stream = 'events'::regclass;
DROP SCHEMA not_null CASCADE;
