#!/usr/bin/env python3
"""Shows a continuous view on a web page that follows its changes, with psycopg2 and server-sent events.

    server.py SOURCE VIEW PORT

SOURCE is a connection string, VIEW is schema.name. Open http://localhost:PORT/.

The program keeps the rows of the view in memory. It receives them and all changes through a temporary slot, which the server
drops when the connection ends; eddy.send_snapshot sends the rows. A page receives all rows when it
is opened, and then each change: /changes is a stream of server-sent events. When the connection to the server is lost, the program
ends; a page that is open continues when it is started again. The role needs REPLICATION and SELECT on
the view. There is no authentication: it listens on localhost only.
"""
import http.server
import json
import os
import queue
import select
import sys
import threading

import psycopg2
from psycopg2.extras import LogicalReplicationConnection

source_dsn, view, port = sys.argv[1:4]
page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.html")

rows = {}  # by key, both as JSON
pages = set()  # a queue for each open page
lock = threading.Lock()


def follow():
    source = psycopg2.connect(source_dsn, connection_factory=LogicalReplicationConnection)
    changes = source.cursor()
    slot = f"live_{os.getpid()}"
    changes.execute(f"CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pg_eddy_cdc (SNAPSHOT 'nothing')")
    changes.start_replication(slot_name=slot, decode=True,
                              options={"views": view, "numeric-as-string": "on"})  # browsers have double precision

    other = psycopg2.connect(source_dsn)
    other.autocommit = True
    other.cursor().execute("SELECT eddy.send_snapshot(%s, %s::regclass)", (slot, view))
    other.close()

    known = False
    while True:
        message = changes.read_message()
        if message is None:
            select.select([source], [], [], 1)
            continue
        with lock:
            for record in map(json.loads, message.payload.split("\n")):
                if record["op"] == "snapshot":
                    known = True
                elif record["op"] in ("r", "c", "u", "d") and known:
                    publish(json.dumps(record["key"]), record.get("after"))
        message.cursor.send_feedback(flush_lsn=message.data_start)


def publish(key, row):
    if row is None:
        rows.pop(key, None)
    else:
        rows[key] = row
    for page_queue in pages:
        page_queue.put((key, row))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in ("/", "/changes") else 404)
        self.send_header("Content-Type", "text/event-stream" if self.path == "/changes" else "text/html; charset=utf-8")
        self.end_headers()
        if self.path == "/":
            with open(page, "rb") as file:
                self.wfile.write(file.read())
        elif self.path == "/changes":
            self.send_changes()

    def send_changes(self):
        changes = queue.SimpleQueue()
        with lock:
            begin = f"event: begin\ndata: {json.dumps([view, len(rows)])}\n\n"
            for item in rows.items():
                changes.put(item)
            pages.add(changes)
        try:
            self.wfile.write(begin.encode())
            while True:
                try:
                    event = f"data: {json.dumps(changes.get(timeout=10))}\n\n"
                except queue.Empty:
                    event = ":\n\n"  # by which a closed page is noticed
                self.wfile.write(event.encode())
        except OSError:
            pass
        finally:
            with lock:
                pages.remove(changes)

    def log_message(self, *arguments):
        pass


def main():
    server = http.server.ThreadingHTTPServer(("localhost", int(port)), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    follow()


main()
