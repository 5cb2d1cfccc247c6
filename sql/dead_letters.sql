--
-- Dead letters: rows that could not be counted, and counting them after all
--
CREATE UNLOGGED TABLE payments (account text, amount numeric, parts integer, at timestamptz);
SELECT eddy.create_stream('payments', event_time => 'at');
SELECT eddy.create_continuous_view('per_account', $$
    SELECT account, count(*) AS payments, sum(amount) AS total FROM payments GROUP BY account $$);
CREATE VIEW payments_letters AS
    SELECT id, view, error, convert_from(payload, 'UTF8')::json ->> 'account' AS account
    FROM eddy.dead_letters WHERE stream = 'payments'::regclass;
CREATE TABLE rate (factor integer);
INSERT INTO rate VALUES (0);
SELECT eddy.create_continuous_view('per_part', $$
    SELECT account, sum(amount / (parts * r.factor)) AS share FROM payments, rate r GROUP BY account $$);

-- the second view divides by zero: its rows are dead letters of that view, and the first view counts them
INSERT INTO payments VALUES ('ann', 10, 2, '2026-01-01 12:00Z'), ('bob', 9, 0, '2026-01-01 12:01Z');
SELECT * FROM per_account ORDER BY account;
SELECT * FROM per_part ORDER BY account;
SELECT view, error, account FROM payments_letters ORDER BY id;

-- without a change of anything they are rejected again
SELECT eddy.replay_dead_letters('payments');
SELECT view, error, account FROM payments_letters ORDER BY id;

-- after the cause was removed, the view counts the row that it can count, and it alone
UPDATE rate SET factor = 1;
BEGIN;
SELECT eddy.replay_dead_letters('payments');
SELECT * FROM per_part ORDER BY account;
ROLLBACK;
SELECT count(*) FROM per_part;
SELECT eddy.replay_dead_letters('payments');
SELECT * FROM per_part ORDER BY account;
SELECT * FROM per_account ORDER BY account;
SELECT view, error, account FROM payments_letters ORDER BY id;
DELETE FROM eddy.dead_letters WHERE stream = 'payments'::regclass;

-- a row without event time is rejected for the whole stream; it is in the table already
INSERT INTO payments VALUES ('eve', 1, 1, NULL), ('fay', 2, 1, NULL), ('gus', 3, 1, NULL);
SELECT view, error FROM payments_letters ORDER BY id;
UPDATE eddy._stream SET null_event_time = 'skip_watermark' WHERE stream = 'payments'::regclass;
-- by number, and a number of letters, from the oldest on
SELECT eddy.replay_dead_letters('payments', ids => ARRAY[(SELECT max(id) FROM payments_letters), NULL, 0]);
SELECT eddy.replay_dead_letters('payments', "limit" => 1);
SELECT * FROM per_account WHERE account > 'd' ORDER BY account;
SELECT eddy.replay_dead_letters('payments');
SELECT eddy.replay_dead_letters('payments');
SELECT count(*) AS letters FROM payments_letters;
-- all views and the SELECT over the rows are equal
(SELECT * FROM per_account EXCEPT ALL SELECT account, count(*), sum(amount) FROM payments GROUP BY account)
UNION ALL
(SELECT account, count(*), sum(amount) FROM payments GROUP BY account EXCEPT ALL SELECT * FROM per_account);
SELECT count(*) AS staged FROM payments;

-- a view that is rebuilt rejects again what it rejects: the letters from before are deleted
UPDATE rate SET factor = 0;
INSERT INTO payments VALUES ('hal', 4, 1, '2026-01-01 12:02Z');
SELECT count(*) AS letters FROM payments_letters;
SELECT eddy.pause('per_part');
-- meanwhile its letters stay what they are
SELECT eddy.replay_dead_letters('payments');
UPDATE rate SET factor = 1;
SELECT eddy.resume('per_part');
SELECT * FROM per_part WHERE account = 'hal';
SELECT view, error, account FROM payments_letters ORDER BY id;
DELETE FROM eddy.dead_letters WHERE stream = 'payments'::regclass;

-- only for the owner of the stream
CREATE ROLE dead_letters_other;
GRANT SELECT ON payments TO dead_letters_other;
SET ROLE dead_letters_other;
SELECT eddy.replay_dead_letters('payments');
RESET ROLE;
SELECT eddy.replay_dead_letters('rate');
SELECT eddy.replay_dead_letters(NULL);
SELECT eddy.replay_dead_letters('payments', "limit" => -1);
BEGIN READ ONLY;
SELECT eddy.replay_dead_letters('payments');
ROLLBACK;

-- Values of a type with a cast to json are shown as text: the function of the cast, which the owner of the type can
-- replace, could fail for a row that is rejected or late.
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE FUNCTION mood_as_json(mood) RETURNS json STABLE LANGUAGE plpgsql AS $$ BEGIN RAISE 'called as %', current_user; END $$;
CREATE CAST (mood AS json) WITH FUNCTION mood_as_json(mood);
CREATE TYPE state_of_mind AS (mood mood, since date);
CREATE DOMAIN moods AS mood[];
CREATE UNLOGGED TABLE minds (n int, mood mood, moods moods, state state_of_mind, at timestamptz);
SELECT eddy.create_stream('minds', event_time => 'at');
SELECT eddy.create_continuous_view('per_hour', 'SELECT w.window_end, sum(1 / n) FROM minds, eddy.tumble(at, $$1 hour$$) AS w GROUP BY 1',
    late => 'keep');
INSERT INTO minds VALUES (0, 'bad', '{good,bad}', '(bad,2026-01-01)', '2026-01-01 12:00Z'), (1, 'good', NULL, NULL, '2026-01-01 14:00Z');
INSERT INTO minds VALUES (1, 'bad', '{good}', '(bad,)', '2026-01-01 12:00Z');
SELECT convert_from(payload, 'UTF8') AS payload, error FROM eddy.dead_letters WHERE stream = 'minds'::regclass;
SELECT row_data FROM eddy.late_rows WHERE view = 'per_hour'::regclass;
DELETE FROM eddy.dead_letters WHERE stream = 'minds'::regclass;
DELETE FROM eddy.late_rows WHERE view = 'per_hour'::regclass;

-- rejected rows of a statement, by the stream and by a view, whose rows are too many for work_mem
CREATE UNLOGGED TABLE many (id integer, parts integer, note text, at timestamptz);
SELECT eddy.create_stream('many', event_time => 'at');
SELECT eddy.create_continuous_view('shares', 'SELECT sum(100 / parts) AS share FROM many');
SET work_mem = '64kB';
INSERT INTO many SELECT i, nullif(i % 100, 50) % 99, 'note ' || i, CASE WHEN i % 60 > 0 THEN timestamptz '2026-01-01 12:00Z' END FROM generate_series(1, 3000) i;
RESET work_mem;
SELECT view, count(*) AS letters, sum((row_data ->> 'id')::integer) AS ids, bool_and(row_data ->> 'note' = 'note ' || (row_data ->> 'id')) AS notes
FROM eddy.dead_letters, CAST(convert_from(payload, 'UTF8') AS json) AS row_data WHERE stream = 'many'::regclass GROUP BY view ORDER BY view;
SELECT count(*) FILTER (WHERE i % 60 > 0) AS view, sum(i) FILTER (WHERE i % 60 > 0) AS ids, 3000 / 60 AS stream FROM generate_series(1, 3000) i WHERE i % 100 IN (0, 99);
DELETE FROM eddy.dead_letters WHERE stream = 'many'::regclass;
DROP TABLE many CASCADE;

DROP VIEW payments_letters;
DROP TABLE payments CASCADE;
DROP TABLE rate;
DROP TABLE minds CASCADE;
SET client_min_messages = warning;
DROP TYPE mood CASCADE;
RESET client_min_messages;
DROP TYPE state_of_mind;
DROP ROLE dead_letters_other;
