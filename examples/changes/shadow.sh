#!/usr/bin/env bash
# Keeps a table of another database equal to a continuous view, with psql and eddy.changes.
#
#   shadow.sh SOURCE TARGET VIEW TABLE
#
# SOURCE and TARGET are connection strings, VIEW is schema.name. The changes of the view must be kept
# (eddy.keep_changes). The role needs SELECT on the view, and neither REPLICATION nor a slot. TABLE must have
# the columns of the view, which must show its whole key. The target needs a place for the token:
#
#   CREATE TABLE applied (token text);
#
# The first run fills TABLE from the view. The token is stored in the transaction that applies the changes.
# The script can be killed at any time and started again; it runs until it is stopped.
set -euo pipefail

source=$1 target=$2 view=$3 table=$4

read_source() { psql -X -q -d "$source" -At -v ON_ERROR_STOP=1 "$@"; }
write_target() { psql -X -q -d "$target" -At -v ON_ERROR_STOP=1 "$@"; }

token=$(write_target -c 'SELECT token FROM applied')
if [ -z "$token" ]; then
    # the token and the rows are of one snapshot
    copy=$(mktemp)
    trap 'rm -f "$copy"' EXIT
    read_source >"$copy" <<SQL
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT eddy.change_token('$view');
COPY (SELECT * FROM $view) TO STDOUT;
COMMIT;
SQL
    token=$(head -n 1 "$copy")
    { printf 'BEGIN;\nDELETE FROM %s;\nDELETE FROM applied;\nINSERT INTO applied VALUES (%s);\nCOPY %s FROM STDIN;\n' \
        "$table" "'$token'" "$table"
      tail -n +2 "$copy"
      printf '%s\nCOMMIT;\n' '\.'; } | write_target
fi

while true; do
    read_source -c "COPY (SELECT row_to_json(c) FROM eddy.changes('$view', '$token', 1000) c) TO STDOUT" |
        write_target -v table="$table" -f <(cat <<'SQL'
BEGIN;
CREATE TEMP TABLE changes (n bigint GENERATED ALWAYS AS IDENTITY, change jsonb);
\copy changes (change) FROM PSTDIN
SELECT set_config('shadow.table', :'table', true) \gset ignored_
DO $$
DECLARE
    shadow text := current_setting('shadow.table');
    change jsonb;
    same_key text;
BEGIN
    FOR change IN SELECT c.change FROM changes c ORDER BY n LOOP
        SELECT coalesce(string_agg(format('t.%1$I IS NOT DISTINCT FROM k.%1$I', column_name), ' AND '), 'true') INTO same_key
            FROM jsonb_object_keys(change -> 'key') AS column_name;
        EXECUTE format('DELETE FROM %1$s t USING jsonb_populate_record(NULL::%1$s, $1) k WHERE %2$s', shadow, same_key)
            USING change -> 'key';
        IF change ->> 'op' IN ('c', 'u') THEN
            EXECUTE format('INSERT INTO %1$s SELECT (jsonb_populate_record(NULL::%1$s, $1)).*', shadow) USING change -> 'after';
        END IF;
        UPDATE applied SET token = change ->> 'token';
    END LOOP;
END $$;
COMMIT;
SQL
)
    token=$(write_target -c 'SELECT token FROM applied')
    sleep 0.2
done
