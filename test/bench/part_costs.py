"""Stages and guarantees: what each of them costs.

Stages: each case does what the one before does, and one step more, in the same worker process; the
differences are the cost of the steps. The same steps are measured in a backend, for INSERT.

Guarantees: the worker's job with one guarantee less, or one more.
"""

import contextlib
import select
import sys
import threading
import time

import psycopg2
import psycopg2.extras

from cluster import cpu_of
from measure import (
    BID_SELECT,
    BID_TABLE,
    bid_stream,
    bid_view,
    check_same,
    consume,
    drop_slot,
    open_database,
    read_topic,
    setting,
)

TOTAL = """
    SELECT eddy.create_continuous_view('total', $$
        SELECT count(*) AS bids, sum(price) AS total, max(price) AS top FROM bid $$);"""

STAGES = {
    "fetch and decode": bid_stream("0"),
    "+ aggregate (one group)": bid_stream("0") + TOTAL,
    "+ merge (groups of auction and window)": bid_stream("0") + bid_view(),
    "+ store 7 columns": bid_stream() + bid_view(),
}

BACKEND_STAGES = {
    "read the rows": None,
    "+ store in an unlogged table": BID_TABLE,
    "+ stream": bid_stream(),
    "+ aggregate (one group)": bid_stream() + TOTAL,
    "+ merge (groups of auction and window)": bid_stream() + bid_view(),
}

# The windows that are final, and those of which nothing has been removed.
FINAL_SELECT = f"SELECT * FROM ({BID_SELECT}) b WHERE window_start + interval '10 s' <= eddy.watermark('bid')"


def check_all(cursor, events):
    return check_same(cursor, "SELECT * FROM bid_stats", BID_SELECT)


def check_final(cursor, events):
    return check_same(cursor, "SELECT * FROM bid_stats", FINAL_SELECT)


def check_kept(cursor, events):
    """Rows of old windows are removed, and all others are right."""
    recent = "window_start + interval '10 s' > eddy.watermark('bid') - interval '1 minute'"
    return check_same(
        cursor,
        f"SELECT * FROM bid_stats WHERE {recent}",
        f"SELECT * FROM ({BID_SELECT}) b WHERE {recent}",
    )


def check_sum(cursor, events):
    cursor.execute("SELECT sum(bids) FROM bid_stats")
    return check_number(cursor, events)


def check_stored(cursor, events):
    cursor.execute("SELECT count(*) FROM bid")
    return check_number(cursor, events)


def check_number(cursor, events):
    found = cursor.fetchone()[0]
    if found != events:
        sys.exit(f"wrong result: {found} of {events} events were counted")
    return None


GUARANTEES = {  # case: script, arguments of attach_kafka, settings, check
    "reference": (bid_stream() + bid_view(), "", {}, check_all),
    "rows are not stored": (bid_stream("0") + bid_view(), "", {}, check_sum),
    "only needed columns are stored (staged_columns)": (bid_stream(staged_columns="{}") + bid_view(), "", {}, check_sum),
    "rows are not stored, only needed columns are converted": (
        bid_stream("0", staged_columns="{}") + bid_view(),
        "",
        {},
        check_sum,
    ),
    "batches wait for their flush (pg_eddy.synchronous_commit = on)": (
        bid_stream() + bid_view(),
        "",
        {"pg_eddy.synchronous_commit": "on"},
        check_all,
    ),
    "without event time: no watermark, windows do not close": (
        bid_stream(event_time=False) + bid_view(),
        "",
        {},
        check_all,
    ),
    "final rows only (emit on_close)": (
        bid_stream() + bid_view(emit="on_close"),
        "",
        {},
        check_final,
    ),
    "final rows removed after 1 minute (retention)": (
        bid_stream() + bid_view(retention="1 minute"),
        "",
        {},
        check_kept,
    ),
    "CRC of messages not checked": (
        bid_stream() + bid_view(),
        """, options => '{"check_crcs": false}'""",
        {},
        check_all,
    ),
    "no view": (bid_stream(), "", {}, check_stored),
    "2 views": (bid_stream() + bid_view() + bid_view("other", 11), "", {}, check_all),
}


def measure_stages(bench):
    bench.topic("some-bids", 4, bench.sweep_events)
    events = bench.sweep_events
    for _ in range(bench.options.runs):
        used = bench.timed_tool("count", "some-bids")
        bench.record("stages", "librdkafka alone", "pg_eddy", {"events": events, **used})
        for case, script in STAGES.items():
            cursor, result = consume(bench, script, "some-bids", events)
            if "bid_stats" in script:
                cursor.execute("SELECT sum(bids) FROM bid_stats")
            elif "total" in script:
                cursor.execute("SELECT bids FROM total")
            else:
                cursor.execute("SELECT sum(rows) FROM eddy.stat_streams")
            if cursor.fetchone()[0] != events:
                sys.exit("wrong result: not every event was counted once")
            bench.record("stages", case, "pg_eddy", result)
    measure_backend(bench)


def measure_backend(bench):
    """INSERT ... SELECT of all rows in statements of 10,000, in one backend."""
    statement = 10_000
    events = bench.sweep_events // statement * statement
    for _ in range(bench.options.runs):
        for case, script in BACKEND_STAGES.items():
            cursor = open_database(bench, script or "")
            # the rows are made before, so that reading them is all that INSERT adds
            cursor.execute(f"""
                CREATE UNLOGGED TABLE rows AS
                SELECT n, 1000 + n / 500 + n % 100 AS auction, 1000 + n % 1000 AS bidder, n % 997 AS price,
                       'channel-' || n % 100 AS channel, repeat('u', 60) AS url,
                       timestamptz '2026-01-01' + n * interval '0.1 ms' AS date_time, repeat('x', 68) AS extra
                FROM generate_series(0::bigint, {events - 1}) n;
                CREATE INDEX ON rows (n); ANALYZE rows; SELECT count(*) FROM rows""")
            backend = cursor.connection.info.backend_pid
            before, server, start = cpu_of(backend), bench.server.cpu(), time.monotonic()
            for first in range(0, events, statement):
                rows = f"""auction, bidder, price, channel, url, date_time, extra FROM rows
                           WHERE n >= {first} AND n < {first + statement}"""
                if script is None:
                    cursor.execute(f"SELECT count((auction, extra)) FROM (SELECT {rows}) r")
                else:
                    cursor.execute(f"INSERT INTO bid SELECT {rows}")
            used, seconds = cpu_of(backend) - before, time.monotonic() - start
            result = {
                "events": events,
                "seconds": seconds,
                "cpu": used,
                "cpu_other": max(0.0, bench.server.cpu() - server - used),
                "cpu_broker": 0.0,
            }
            if script and "bid_stats" in script:
                result["rows"] = check_same(cursor, "SELECT * FROM bid_stats", BID_SELECT)
            bench.record("stages of INSERT", case, "pg_eddy", result)


class Consumer(threading.Thread):
    """Reads the changes of a view from a slot, and counts their messages, while a source reads."""

    def __init__(self, bench, case):
        super().__init__(daemon=True)
        self.dsn = bench.server.dsn("eddy")
        self.options = {"views": "public.bid_stats"}
        if case == "final":
            self.options["emit"] = "final"
        self.records = 0
        self.stopping = False

    def run(self):
        connection = psycopg2.connect(
            self.dsn, connection_factory=psycopg2.extras.LogicalReplicationConnection
        )
        cursor = connection.cursor()
        cursor.start_replication("bench", options=self.options, decode=False)
        while not self.stopping:
            message = cursor.read_message()
            if message is None:
                select.select([connection], [], [], 0.05)
                continue
            self.records += message.payload.count(b"\n") + 1
            cursor.send_feedback(flush_lsn=message.data_start)
        connection.close()


def measure_guarantees(bench):
    bench.topic("some-bids", 4, bench.sweep_events)
    events = bench.sweep_events
    for _ in range(bench.options.runs):
        for case, (script, arguments, settings, check) in GUARANTEES.items():
            with contextlib.ExitStack() as stack:
                for name, value in settings.items():
                    stack.enter_context(setting(bench, name, value))
                cursor, result = consume(bench, script, "some-bids", events, arguments=arguments)
            rows = check(cursor, events)
            if rows is not None:
                result["rows"] = rows
            bench.record("guarantees", case, "pg_eddy", result)
        measure_late(bench)
        measure_changes(bench)


def measure_late(bench):
    """One row in a hundred is 20 s late, with the policies for late rows."""
    bench.topic("late-bids", 4, bench.sweep_events, "-d", "20000")
    for case, arguments in {
        "1 % of the rows late: counted (late drop)": {},
        "1 % of the rows late: stored (late keep)": {"late": "keep"},
        "1 % of the rows late: accepted (late update, allowed_lateness 1 minute)": {
            "late": "update",
            "allowed_lateness": "1 minute",
        },
    }.items():
        script = bid_stream() + bid_view(**arguments)
        cursor, result = consume(bench, script, "late-bids", bench.sweep_events)
        cursor.execute("""SELECT (SELECT sum(bids) FROM bid_stats)
                               + (SELECT late_rows FROM eddy.stat_continuous_views)""")
        if cursor.fetchone()[0] != bench.sweep_events:
            sys.exit("wrong result: rows are neither counted nor late")
        cursor.execute("SELECT late_rows FROM eddy.stat_continuous_views")
        result["late_rows"] = int(cursor.fetchone()[0])
        bench.record("guarantees", case, "pg_eddy", result)


def measure_changes(bench):
    """A consumer that reads the changes while they happen; the CPU time of its WAL sender counts, too."""
    for case, emit in (
        ("all changes are sent to a consumer", "changes"),
        ("final rows are sent to a consumer", "final"),
    ):
        cursor = open_database(bench, bid_stream() + bid_view())
        cursor.execute("SELECT pg_create_logical_replication_slot('bench', 'pg_eddy_cdc')")
        consumer = Consumer(bench, emit)
        consumer.start()
        result = read_topic(bench, cursor, "some-bids", bench.sweep_events)
        cursor.execute("SELECT pg_current_wal_lsn()")
        end = cursor.fetchone()[0]
        deadline = time.monotonic() + 300
        sender, done = None, False
        while not done:
            cursor.execute("SELECT pid, sent_lsn >= %s FROM pg_stat_replication", (end,))
            sender, done = cursor.fetchone() or (None, False)
            if time.monotonic() > deadline or not consumer.is_alive():
                sys.exit("the changes were not sent")
            time.sleep(0.02)
        result["cpu_sender"] = cpu_of(sender)
        result["cpu_other"] = max(0.0, result["cpu_other"] - result["cpu_sender"])
        consumer.stopping = True
        consumer.join()
        result["records"] = consumer.records
        result["rows"] = check_all(cursor, bench.sweep_events)
        drop_slot(cursor)
        bench.record("guarantees", case, "pg_eddy", result)
