-- COPY into a stream stores what COPY into a table with the same columns stores, and views count it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET timezone = 'Asia/Kathmandu';
SET datestyle = 'ISO, MDY';
CREATE SCHEMA copying;
SET search_path = copying;

CREATE FUNCTION stream(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE UNLOGGED TABLE %I (id int DEFAULT 0, tz timestamptz, ts timestamp, d date, t text)', name);
    PERFORM eddy.create_stream(name::regclass, event_time => 'tz', null_event_time => 'skip_watermark', delay => '1000 years');
    PERFORM eddy.create_continuous_view(name || '_counts',
        format('SELECT tz, ts, d, count(*) AS n, sum(id) AS ids, max(t) AS t FROM %I GROUP BY tz, ts, d', name));
END $$;
-- Rows in which the table differs from a plain one, and the view from its query.
CREATE FUNCTION differing(name text, OUT table_rows bigint, OUT view_rows bigint) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SELECT count(*) FROM ((TABLE %1$I EXCEPT ALL TABLE plain) UNION ALL (TABLE plain EXCEPT ALL TABLE %1$I)) x', name)
        INTO table_rows;
    EXECUTE format('WITH q AS (SELECT tz, ts, d, count(*), sum(id), max(t) FROM plain GROUP BY tz, ts, d)
        SELECT count(*) FROM ((TABLE %1$I EXCEPT ALL TABLE q) UNION ALL (TABLE q EXCEPT ALL TABLE %1$I)) x', name || '_counts') INTO view_rows;
END $$;
SELECT stream('s');
CREATE TABLE plain (id int DEFAULT 0, tz timestamptz, ts timestamp, d date, t text);

-- Times in the form in which PostgreSQL writes them, and in others.
COPY s FROM stdin;
1	2026-01-01 00:00:00+00	2026-01-01 00:00:00	2026-01-01	a
2	2026-02-28 23:59:59.999999-00:30	2024-02-29 23:59:59.5	2000-02-29	b
3	0001-01-01 12:00:00.000001+15:59	9999-12-31 23:59:59.999999	9999-12-31	\N
4	2026-01-01 00:00:00.1234567+00	2026-01-01 00:00:00.99999949	12/31/2026	d
5	2026-01-01 00:00:00	2026-01-01 24:00:00	2026-01-01	e
6	2026-01-01 00:00:60+00	2026-01-01 00:00:60	January 8, 1999	f
7	2026-01-01T00:00:00Z	2026-01-01T00:00:00	20260101	g
8	infinity	-infinity	infinity	h
9	\N	\N	\N	i
10	2026-01-01 00:00:00 America/New_York	2026-01-01 00:00:00+03	10000-01-01	j
11	0044-03-15 00:00:00+00 BC	0044-03-15 00:00:00 BC	0044-03-15 BC	k
12	2026-01-01 00:00+00	2026-01-01	2026-01-01 10:00	l
13	 2026-01-01 00:00:00+00 	2026-01-01 00:00:00 	 2026-01-01	m
14	2026-07-01 00:00:00+5	2026-07-01 00:00:00.	2026-7-1	n
15	2026-07-01 00:00:00-0830	2026-07-01 1:2:3	2026-07-01	o
\.
COPY plain FROM stdin;
1	2026-01-01 00:00:00+00	2026-01-01 00:00:00	2026-01-01	a
2	2026-02-28 23:59:59.999999-00:30	2024-02-29 23:59:59.5	2000-02-29	b
3	0001-01-01 12:00:00.000001+15:59	9999-12-31 23:59:59.999999	9999-12-31	\N
4	2026-01-01 00:00:00.1234567+00	2026-01-01 00:00:00.99999949	12/31/2026	d
5	2026-01-01 00:00:00	2026-01-01 24:00:00	2026-01-01	e
6	2026-01-01 00:00:60+00	2026-01-01 00:00:60	January 8, 1999	f
7	2026-01-01T00:00:00Z	2026-01-01T00:00:00	20260101	g
8	infinity	-infinity	infinity	h
9	\N	\N	\N	i
10	2026-01-01 00:00:00 America/New_York	2026-01-01 00:00:00+03	10000-01-01	j
11	0044-03-15 00:00:00+00 BC	0044-03-15 00:00:00 BC	0044-03-15 BC	k
12	2026-01-01 00:00+00	2026-01-01	2026-01-01 10:00	l
13	 2026-01-01 00:00:00+00 	2026-01-01 00:00:00 	 2026-01-01	m
14	2026-07-01 00:00:00+5	2026-07-01 00:00:00.	2026-7-1	n
15	2026-07-01 00:00:00-0830	2026-07-01 1:2:3	2026-07-01	o
\.
SELECT * FROM differing('s');
SELECT max_event_time AT TIME ZONE 'UTC' AS max_event_time, rows FROM eddy.partitions WHERE stream = 's'::regclass;

-- Errors are those of COPY, and leave nothing.
COPY s FROM stdin;
20	2026-01-01 00:00:00+00	2026-01-01 00:00:00	2026-01-01	a
21	2026-02-29 00:00:00+00	2026-01-01 00:00:00	2026-01-01	b
\.
COPY s FROM stdin;
20	2026-01-01 00:00:00+16	2026-01-01 00:00:00	2026-01-01	b
\.
COPY s FROM stdin;
20	2026-01-01 00:00:00+00	2026-01-01 25:00:00	2026-01-01	b
\.
COPY s FROM stdin;
20	2026-01-01 00:00:00+00	2026-01-01 00:00:00	0000-01-01	b
\.
COPY s (id, missing) FROM stdin;
\.
COPY s FROM stdin (FORMAT csv, HEADER, FREEZE);
1
\.
SELECT * FROM differing('s');

-- Other formats and options, some columns, precisions, long values.
COPY s (t, id) FROM stdin (FORMAT csv, HEADER, FORCE_NOT_NULL (t));
t,id
"x,y",30
,31
\.
COPY plain (t, id) FROM stdin (FORMAT csv, HEADER, FORCE_NOT_NULL (t));
t,id
"x,y",30
,31
\.
COPY s (tz, id) FROM stdin WHERE id > 40;
2026-01-01 00:00:00+00	40
2026-01-01 00:00:00+00	41
\.
COPY plain (tz, id) FROM stdin WHERE id > 40;
2026-01-01 00:00:00+00	40
2026-01-01 00:00:00+00	41
\.
-- More than one chunk of rows, and values that are stored out of line.
COPY (SELECT i, timestamptz '2026-01-01Z' + i * interval '1 s', NULL, date '2026-01-01' + i % 2,
             CASE WHEN i % 100 = 0 THEN (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 200) j) END
      FROM generate_series(1, 1000) i) TO PROGRAM 'cat > eddy_copy_rows' (FORMAT binary);
COPY s FROM PROGRAM 'cat eddy_copy_rows' (FORMAT binary);
COPY plain FROM PROGRAM 'cat eddy_copy_rows' (FORMAT binary);
SELECT current_setting('data_directory') || '/eddy_copy_rows' AS file \gset
COPY s FROM :'file' (FORMAT binary);
COPY plain FROM :'file' (FORMAT binary);
COPY (SELECT * FROM plain WHERE id > 3) TO :'file';
COPY s FROM :'file';
COPY plain FROM :'file';
SELECT * FROM differing('s');
SELECT count(*) FROM plain;
COPY (SELECT) TO PROGRAM 'cat >/dev/null; rm eddy_copy_rows';

-- Savepoints and transactions.
BEGIN;
COPY s (id) FROM stdin;
50
\.
SAVEPOINT a;
COPY s (id) FROM stdin;
51
\.
SELECT n, ids FROM s_counts WHERE tz IS NULL AND ts IS NULL AND d IS NULL;
ROLLBACK TO a;
SELECT n, ids FROM s_counts WHERE tz IS NULL AND ts IS NULL AND d IS NULL;
ROLLBACK;
SELECT * FROM differing('s');
BEGIN READ ONLY;
COPY s (id) FROM stdin;
\.
ROLLBACK;

-- Constraints, domains, defaults and generated columns.
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE SEQUENCE numbers;
CREATE UNLOGGED TABLE checked (k positive, v int NOT NULL CHECK (v < 100), n bigint DEFAULT nextval('numbers'));
SELECT eddy.create_stream('checked');
SELECT eddy.create_continuous_view('checked_counts', 'SELECT k, count(*) AS rows, sum(v) AS v, max(n) AS n FROM checked GROUP BY k');
COPY checked (k, v) FROM stdin;
1	1
2	2
1	3
\.
COPY checked (k, v) FROM stdin;
1	1
0	1
\.
COPY checked (k, v) FROM stdin;
1	\N
\.
COPY checked (k, v) FROM stdin;
1	1
1	100
\.
TABLE checked_counts ORDER BY k;
ALTER TABLE checked ADD double int GENERATED ALWAYS AS (v * 2) STORED;
COPY checked (k, v) FROM stdin;
3	3
\.
CREATE UNIQUE INDEX ON checked (double, k);
COPY checked (k, v) FROM stdin;
4	4
3	3
\.
COPY checked (k, v) FROM stdin;
4	4
\.
TABLE checked ORDER BY n;
SELECT k, rows, v FROM checked_counts ORDER BY k;

-- Triggers of the user fire, and what they change is counted.
CREATE UNLOGGED TABLE triggered (k int, v int);
SELECT eddy.create_stream('triggered');
SELECT eddy.create_continuous_view('triggered_counts', 'SELECT k, count(*) AS n, sum(v) AS v FROM triggered GROUP BY k');
CREATE FUNCTION tenfold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := NEW.v * 10; RETURN NEW; END $$;
CREATE TRIGGER tenfold BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION tenfold();
COPY triggered FROM stdin;
1	1
1	2
\.
TABLE triggered_counts;
DROP TRIGGER tenfold ON triggered;
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN INSERT INTO triggered SELECT k, 100 FROM added; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER again AFTER INSERT ON triggered REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION again();
COPY triggered FROM stdin;
1	3
\.
TABLE triggered_counts;
DROP TRIGGER again ON triggered;

-- Rows without an event time are rejected, and those far ahead do not advance the watermark.
CREATE UNLOGGED TABLE timed (k int, at timestamptz);
SELECT eddy.create_stream('timed', event_time => 'at');
SELECT eddy.create_continuous_view('timed_counts', 'SELECT k, count(*) AS n FROM timed GROUP BY k');
COPY timed FROM stdin;
1	2026-01-01 00:00:00+00
1	\N
\.
COPY timed FROM stdin;
1	2026-01-01 00:00:01+00
2	3026-01-01 00:00:00+00
\.
TABLE timed_counts ORDER BY k;
SELECT rows, rejected, max_event_time AT TIME ZONE 'UTC' AS max_event_time FROM eddy.partitions WHERE stream = 'timed'::regclass;
DELETE FROM eddy.dead_letters WHERE stream = 'timed'::regclass;

-- A constraint that inserts into another stream, and into the same one: all rows are counted.
CREATE UNLOGGED TABLE noted (k int);
SELECT eddy.create_stream('noted');
SELECT eddy.create_continuous_view('noted_count', 'SELECT count(*) AS n, sum(k) AS ks FROM noted');
CREATE FUNCTION note(k int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO copying.noted VALUES (k);
    IF k < 10 THEN INSERT INTO copying.noting VALUES (k + 10); END IF;
    RETURN true;
END $$;
CREATE UNLOGGED TABLE noting (k int CHECK (note(k)));
SELECT eddy.create_stream('noting');
SELECT eddy.create_continuous_view('noting_count', 'SELECT count(*) AS n, sum(k) AS ks FROM noting');
COPY noting FROM stdin;
1
2
\.
SELECT * FROM noted_count, (SELECT count(*), sum(k) FROM noted) s;
SELECT * FROM noting_count, (SELECT count(*), sum(k) FROM noting) s;
SELECT stream, rows FROM eddy.partitions WHERE stream IN ('noted'::regclass, 'noting'::regclass) ORDER BY 1;

-- Privileges on columns, row-level security, and files.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_eddy_copier;
RESET client_min_messages;
CREATE ROLE regress_eddy_copier;
GRANT USAGE ON SCHEMA copying TO regress_eddy_copier;
GRANT INSERT (k) ON triggered TO regress_eddy_copier;
SET ROLE regress_eddy_copier;
COPY triggered (k) FROM stdin;
7
\.
COPY triggered FROM stdin;
\.
\set VERBOSITY sqlstate
COPY triggered (k) FROM '/dev/null';
\set VERBOSITY default
COPY s FROM stdin;
\.
RESET ROLE;
ALTER TABLE triggered ENABLE ROW LEVEL SECURITY;
SET ROLE regress_eddy_copier;
COPY triggered (k) FROM stdin;
\.
RESET ROLE;
TABLE triggered_counts ORDER BY k;

SET client_min_messages = warning;
DROP SCHEMA copying CASCADE;
DROP ROLE regress_eddy_copier;
