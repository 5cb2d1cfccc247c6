#!/usr/bin/env python3
"""Keeps a table of another database equal to a continuous view, with psycopg 3.

    shadow3.py SOURCE TARGET SLOT VIEW TABLE

SOURCE and TARGET are connection strings, VIEW is schema.name. TABLE must have the columns of the view, which must show its
whole key. The slot must exist, with plugin pg_eddy_cdc, since before TABLE was filled from the view. The target needs the
position of the last change that was applied:

    CREATE TABLE applied (lsn pg_lsn, seq bigint); INSERT INTO applied VALUES ('0/0', 0);

psycopg 3 has no functions for replication. Its module psycopg.pq has those of libpq, which suffice: the stream consists of
messages in the COPY protocol. The records of a message are applied in one transaction, together with the position of the last
one, and the position of the message is confirmed afterwards. The program can be killed at any time and started again; it runs
until it is stopped.
"""
import json
import select
import struct
import sys
import time

import psycopg
from psycopg import pq, sql

source_dsn, target_dsn, slot, view, table = sys.argv[1:6]
table_id = sql.Identifier(table)
target = psycopg.connect(target_dsn)
MICROSECONDS_TO_2000 = 946684800 * 1000000


def position(lsn, seq):
    """A position, in the order of the slot."""
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16), seq


def apply(record, text):
    """Applies one record. The server of the target parses the values, so that numbers keep all digits."""
    if record["op"] not in ("c", "u", "d"):
        return
    same_key = [
        sql.SQL("t.{0} IS NOT DISTINCT FROM k.{0}").format(sql.Identifier(column)) for column in record["key"]
    ]
    target.execute(
        sql.SQL("DELETE FROM {0} t USING jsonb_populate_record(NULL::{0}, %s::jsonb -> 'key') k WHERE ").format(table_id)
        + sql.SQL(" AND ").join(same_key or [sql.SQL("true")]), (text,))
    if record["op"] != "d":
        target.execute(
            sql.SQL("INSERT INTO {0} SELECT (jsonb_populate_record(NULL::{0}, %s::jsonb -> 'after')).*").format(table_id),
            (text,))


def receive(source):
    """The next message: its position and content, or None for the content of a keepalive message."""
    while True:
        size, data = source.get_copy_data(1)
        if size == 0:
            select.select([source.socket], [], [], 1)
            source.consume_input()
        elif size < 0:
            sys.exit("the stream has ended: " + source.error_message.decode(errors="replace"))
        elif data[:1] == b"w":  # start, end, time, content
            return struct.unpack("!Q", data[1:9])[0], bytes(data[25:]).decode()
        elif data[:1] == b"k":  # end, time, whether a reply is requested
            return struct.unpack("!Q", data[1:9])[0], None


def confirm(source, lsn):
    """Confirms a position: what was written, flushed and applied up to there, the time, no reply requested."""
    now = int(time.time() * 1000000) - MICROSECONDS_TO_2000
    source.put_copy_data(struct.pack("!cQQQqB", b"r", lsn, lsn, lsn, now, 0))
    source.flush()


lsn, seq = target.execute("SELECT lsn::text, seq FROM applied").fetchone()
last = position(lsn, seq)
target.commit()

source = pq.PGconn.connect(f"{source_dsn} replication=database".encode())
started = source.exec_(f"START_REPLICATION SLOT \"{slot}\" LOGICAL 0/0 (\"views\" '{view}')".encode())
if started.status != pq.ExecStatus.COPY_BOTH:
    sys.exit(source.error_message.decode(errors="replace"))
confirmed = 0
while True:
    lsn, content = receive(source)
    if content is None:
        confirm(source, confirmed)  # that this client is alive
        continue
    for text in content.split("\n"):
        record = json.loads(text)
        if position(record["lsn"], record["seq"]) > last:  # otherwise it was sent again, and has been applied
            apply(record, text)
            last = position(record["lsn"], record["seq"])
            target.execute("UPDATE applied SET lsn = %s, seq = %s", (record["lsn"], record["seq"]))
    target.commit()
    confirmed = lsn
    confirm(source, confirmed)
