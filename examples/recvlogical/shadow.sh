#!/usr/bin/env bash
# Keeps a table of another database equal to a continuous view, with pg_recvlogical, jq and psql.
#
#   shadow.sh SOURCE TARGET SLOT VIEW TABLE DIRECTORY
#
# SOURCE and TARGET are connection strings, VIEW is schema.name. TABLE must have the columns of the view,
# which must show its whole key. The slot must exist, with plugin pg_eddy_cdc, since before TABLE was
# filled from the view. The target needs the position of the last change that was applied:
#
#   CREATE TABLE applied (lsn pg_lsn, seq bigint); INSERT INTO applied VALUES ('0/0', 0);
#
# pg_recvlogical writes to a file in DIRECTORY, and confirms what it has synchronized to disk. Each start
# writes to a new file, because a kill can leave an incomplete line at the end of the old one; that
# record was not confirmed and is sent again. Records that were applied before are recognized by their
# position. The script can be killed at any time and started again; it runs until it is stopped.
set -euo pipefail

source=$1 target=$2 slot=$3 view=$4 table=$5 directory=$6

# Makes a transaction for psql of each line.
to_sql='
def quoted: "\u0027" + gsub("\u0027"; "\u0027\u0027") + "\u0027";
def name: "\"" + gsub("\""; "\"\"") + "\"";
. as $text | (fromjson? // empty) | select(.op | IN("c", "u", "d"))
| ([.key | keys_unsorted[] | name | "t.\(.) IS NOT DISTINCT FROM k.\(.)"] + ["true"] | join(" AND ")) as $same
| "(\(.lsn | quoted)::pg_lsn, \(.seq))" as $position
| "BEGIN;
SELECT \($position) > (lsn, seq) AS is_new FROM applied \\gset
\\if :is_new
DELETE FROM \($table) t USING jsonb_populate_record(NULL::\($table), \($text | quoted)::jsonb -> \u0027key\u0027) k WHERE \($same);
\(if .op == "d" then "" else
"INSERT INTO \($table) SELECT (jsonb_populate_record(NULL::\($table), \($text | quoted)::jsonb -> \u0027after\u0027)).*;" end)
UPDATE applied SET (lsn, seq) = \($position);
\\endif
COMMIT;"'

apply() {
    jq -R -r --unbuffered --arg table "$table" "$to_sql" | psql -X -q -d "$target" -v ON_ERROR_STOP=1 >/dev/null
}

mkdir -p "$directory"
for file in "$directory"/*.jsonl; do
    [ ! -e "$file" ] || { apply <"$file"; rm "$file"; }
done

file=$directory/$(date +%s%N).jsonl
: >"$file"
pg_recvlogical -d "$source" -S "$slot" --start --no-loop -o "views=$view" -f "$file" -s 1 -F 1 &
receiver=$!
trap 'kill "$receiver" 2>/dev/null || true' EXIT
tail -n +1 -f --pid="$receiver" "$file" | apply
