#!/usr/bin/env python3
"""Keeps a table of another database equal to a continuous view, with psycopg2.

    shadow.py SOURCE TARGET SLOT VIEW TABLE

SOURCE and TARGET are connection strings, VIEW is schema.name. TABLE must have the columns of the view,
which must show its whole key. The table is filled from the view when the slot is created, and then
receives each change once: the position of the last change is stored in the transaction that applies it.
The program can be killed at any time and started again; it runs until it is stopped.

The initial rows and the changes come through one replication connection: CREATE_REPLICATION_SLOT with
SNAPSHOT 'use' gives its transaction the snapshot after which the changes start.
"""
import json
import select
import sys

import psycopg2
from psycopg2 import sql
from psycopg2.extras import LogicalReplicationConnection

source_dsn, target_dsn, slot, view, table = sys.argv[1:6]
view_id, table_id = sql.Identifier(*view.split(".")), sql.Identifier(table)
INSERT = sql.SQL("INSERT INTO {0} SELECT (jsonb_populate_record(NULL::{0}, %s::jsonb)).*").format(table_id)

source = psycopg2.connect(source_dsn, connection_factory=LogicalReplicationConnection)
target = psycopg2.connect(target_dsn)
changes, shadow = source.cursor(), target.cursor()


def position(record):
    """The position of a record, in the order of the slot."""
    high, low = record["lsn"].split("/")
    return int(high, 16) << 32 | int(low, 16), record["seq"]


def initialize():
    """Creates the slot, and copies the view as it was at that point."""
    # killed before the commit on the target, this program has left a slot behind
    changes.execute(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{slot}'")
    if changes.fetchall():
        changes.execute(f'DROP_REPLICATION_SLOT "{slot}" WAIT')
    changes.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    changes.execute(f"CREATE_REPLICATION_SLOT \"{slot}\" LOGICAL pg_eddy_cdc (SNAPSHOT 'use')")
    changes.execute(sql.SQL("SELECT to_jsonb(v)::text FROM {} v").format(view_id).as_string(source))
    rows = changes.fetchall()
    changes.execute("COMMIT")
    shadow.execute(sql.SQL("DELETE FROM {}").format(table_id))
    for row in rows:
        shadow.execute(INSERT, row)
    shadow.execute("INSERT INTO applied VALUES (%s, 0, 0)", (slot,))
    target.commit()


def apply(record, text):
    """Applies one record. The server of the target parses the values, so that numbers keep all digits."""
    if record["op"] not in ("c", "u", "d"):
        return
    same_key = [
        sql.SQL("t.{0} IS NOT DISTINCT FROM k.{0}").format(sql.Identifier(column)) for column in record["key"]
    ]
    shadow.execute(
        sql.SQL("DELETE FROM {0} t USING jsonb_populate_record(NULL::{0}, %s::jsonb -> 'key') k WHERE ").format(table_id)
        + sql.SQL(" AND ").join(same_key or [sql.SQL("true")]), (text,))
    if record["op"] != "d":
        shadow.execute(INSERT.as_string(target).replace("%s::jsonb", "%s::jsonb -> 'after'"), (text,))


shadow.execute("CREATE TABLE IF NOT EXISTS applied (slot text PRIMARY KEY, lsn numeric NOT NULL, seq bigint NOT NULL)")
shadow.execute("SELECT lsn::text, seq FROM applied WHERE slot = %s", (slot,))
last = shadow.fetchone()
target.commit()
if last is None:
    initialize()
    last = (0, 0)
last = (int(last[0]), last[1])

changes.start_replication(slot_name=slot, decode=True, options={"views": view})
print("streaming", flush=True)
while True:
    message = changes.read_message()
    if message is None:
        select.select([source], [], [], 1)
        continue
    for text in message.payload.split("\n"):
        record = json.loads(text)
        if position(record) > last:  # otherwise it was sent again, and has been applied
            apply(record, text)
            last = position(record)
            shadow.execute("UPDATE applied SET lsn = %s, seq = %s WHERE slot = %s", (*last, slot))
    target.commit()
    message.cursor.send_feedback(flush_lsn=message.data_start)
