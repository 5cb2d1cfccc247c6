#!/usr/bin/env bash
# Keeps a table of another database equal to a continuous view, by polling with psql.
#
#   shadow.sh SOURCE TARGET SLOT VIEW TABLE
#
# For places where only SQL is available. SOURCE and TARGET are connection strings, VIEW is schema.name.
# TABLE must have the columns of the view, which must show its whole key. The slot must exist, with
# plugin pg_eddy_cdc, since before TABLE was filled from the view. The target needs the position of the
# last change that was applied:
#
#   CREATE TABLE applied (lsn pg_lsn, seq bigint); INSERT INTO applied VALUES ('0/0', 0);
#
# Changes are read without consuming them (peek), applied in one transaction, and confirmed afterwards.
# The script can be killed at any time and started again; it runs until it is stopped.
set -euo pipefail

source=$1 target=$2 slot=$3 view=$4 table=$5

while true; do
    psql -X -q -d "$source" -At -v ON_ERROR_STOP=1 \
        -c "COPY (SELECT data FROM pg_logical_slot_peek_changes('$slot', NULL, 1000, 'views', '$view', 'batch-bytes', '0')) TO STDOUT" |
        psql -X -q -d "$target" -v ON_ERROR_STOP=1 -v table="$table" -f <(cat <<'SQL'
BEGIN;
CREATE TEMP TABLE changes (n bigint GENERATED ALWAYS AS IDENTITY, record jsonb);
\copy changes (record) FROM PSTDIN
SELECT set_config('shadow.table', :'table', true) \gset ignored_
DO $$
DECLARE
    shadow text := current_setting('shadow.table');
    record jsonb;
    same_key text;
BEGIN
    FOR record IN SELECT c.record FROM changes c, applied a
                  WHERE ((c.record ->> 'lsn')::pg_lsn, (c.record ->> 'seq')::bigint) > (a.lsn, a.seq) ORDER BY n LOOP
        SELECT coalesce(string_agg(format('t.%1$I IS NOT DISTINCT FROM k.%1$I', column_name), ' AND '), 'true') INTO same_key
            FROM jsonb_object_keys(record -> 'key') AS column_name;
        EXECUTE format('DELETE FROM %1$s t USING jsonb_populate_record(NULL::%1$s, $1) k WHERE %2$s', shadow, same_key)
            USING record -> 'key';
        IF record ->> 'op' IN ('c', 'u') THEN
            EXECUTE format('INSERT INTO %1$s SELECT (jsonb_populate_record(NULL::%1$s, $1)).*', shadow) USING record -> 'after';
        END IF;
        UPDATE applied SET lsn = (record ->> 'lsn')::pg_lsn, seq = (record ->> 'seq')::bigint;
    END LOOP;
END $$;
COMMIT;
SQL
)
    # the position of a commit record: transactions up to there are confirmed, except the last one
    confirmed=$(psql -X -q -d "$target" -At -c 'SELECT lsn FROM applied')
    psql -X -q -d "$source" -At \
        -c "SELECT pg_replication_slot_advance('$slot', '$confirmed') FROM pg_replication_slots
            WHERE slot_name = '$slot' AND confirmed_flush_lsn < '$confirmed' AND '$confirmed'::pg_lsn > '0/0'" >/dev/null
    sleep 0.2
done
