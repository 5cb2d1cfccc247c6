"""One measurement of "make bench-all": pg_eddy reads a topic to its end, and the result is checked."""

import contextlib
import subprocess
import sys
import tempfile
import time

from cluster import TOOL, anonymous_of, cpu_of

DEADLINE = 900  # seconds that one measurement may take

BID_COLUMNS = (
    "auction bigint, bidder bigint, price bigint, channel text, url text,"
    " date_time timestamptz, extra text"
)
BID_TABLE = f"CREATE UNLOGGED TABLE bid ({BID_COLUMNS});"
KEYED_COLUMNS = "key bigint, value bigint, at timestamptz, pad text"
AD_COLUMNS = (
    "user_id text, page_id text, ad_id text, ad_type text, event_type text, event_time text,"
    " ip_address text"
)

PREPARE = """
    CREATE EXTENSION pg_eddy;
    CREATE SERVER kafka FOREIGN DATA WRAPPER eddy_kafka OPTIONS ("bootstrap.servers" '{brokers}');
    CREATE USER MAPPING FOR CURRENT_USER SERVER kafka;
"""

WORKERS = """
    SELECT coalesce(array_agg(pid), '{}') FROM pg_stat_activity
    WHERE backend_type LIKE 'eddy source worker%' AND datname = current_database()"""


def bid_stream(retention="1 day", event_time=True, staged_columns=None):
    """The stream of most measurements: bids with all their fields."""
    arguments = ", event_time => 'date_time', delay => '4 s'" if event_time else ""
    if staged_columns is not None:
        arguments += f", staged_columns => '{staged_columns}'"
    return f"""{BID_TABLE}
        SELECT eddy.create_stream('bid', retention => '{retention}'{arguments});"""


def bid_view(name="bid_stats", seconds=10, **arguments):
    """The view of most measurements."""
    more = "".join(f", {key} => '{value}'" for key, value in arguments.items())
    return f"""
        SELECT eddy.create_continuous_view('{name}', $$
            SELECT auction, w.window_start, count(*) AS bids, sum(price) AS total, max(price) AS top
            FROM bid, eddy.tumble(date_time, '{seconds} s') AS w
            GROUP BY auction, w.window_start, w.window_end $${more});"""


BID_SELECT = """
    SELECT auction, date_bin('10 s', date_time, timestamptz '1970-01-01 00:00:00+00') AS window_start,
           count(*) AS bids, sum(price) AS total, max(price) AS top
    FROM bid GROUP BY 1, 2"""


class Worker:
    """The source workers of a database, while they read."""

    def __init__(self, cursor):
        self.cursor = cursor
        self.pids = []
        self.memory = 0

    def watch(self):
        if not self.pids:
            self.cursor.execute(WORKERS)
            self.pids = self.cursor.fetchone()[0]
        self.memory = max(self.memory, sum(anonymous_of(pid) for pid in self.pids))

    def cpu(self):
        return sum(cpu_of(pid) for pid in self.pids)


def open_database(bench, script):
    """A new database "eddy" with the extension, the foreign server, and what the script creates."""
    bench.server.new_database("eddy")
    cursor = bench.server.connect("eddy").cursor()
    cursor.execute(PREPARE.format(brokers=bench.broker.address) + script)
    return cursor


def attach(cursor, topic, stream="bid", arguments=""):
    cursor.execute(
        f"SELECT eddy.attach_kafka('{stream}', server => 'kafka', topic => '{topic}'{arguments})"
    )


def wait_for(cursor, events, watch=lambda: None, pause=0.01):
    """Waits until the sources of the database have read that many events."""
    start = time.monotonic()
    while True:
        cursor.execute(
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM eddy.partitions WHERE partition >= 0"
        )
        if cursor.fetchone()[0] >= events:
            return
        watch()
        if time.monotonic() - start > DEADLINE:
            cursor.execute("SELECT state, error FROM eddy.sources")
            sys.exit(f"the source has not come to the end: {cursor.fetchone()}")
        time.sleep(pause)


def consume(bench, script, topic, events, stream="bid", arguments=""):
    """Reads a topic in a new database; returns a cursor, and what read_topic returns."""
    cursor = open_database(bench, script)
    return cursor, read_topic(bench, cursor, topic, events, stream, arguments)


def read_topic(bench, cursor, topic, events, stream="bid", arguments=""):
    """Reads a topic, from eddy.attach_kafka to the commit of the last offset.

    Returns the seconds, CPU seconds of the workers, of other processes of the server and of the
    broker, and the largest anonymous memory of the workers (kB).
    """
    poller = cpu_of(cursor.connection.info.backend_pid)
    server, broker = bench.server.cpu(), cpu_of(bench.broker.pid)
    worker = Worker(cursor)
    start = time.monotonic()
    attach(cursor, topic, stream, arguments)
    wait_for(cursor, events, worker.watch)
    seconds = time.monotonic() - start
    worker.watch()
    used = worker.cpu()
    poller = cpu_of(cursor.connection.info.backend_pid) - poller
    cursor.execute("SELECT count(*) FROM eddy.dead_letters")
    if cursor.fetchone()[0] != 0:
        sys.exit("wrong result: there are dead letters")
    return {
        "events": events,
        "seconds": seconds,
        "cpu": used,
        "cpu_other": max(0.0, bench.server.cpu() - server - used - poller),
        "cpu_broker": cpu_of(bench.broker.pid) - broker,
        "memory": worker.memory,
    }


def drop_slot(cursor):
    """Drops the slot "bench", when the server has noticed that its client has left."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        cursor.execute("SELECT active FROM pg_replication_slots WHERE slot_name = 'bench'")
        if not cursor.fetchone()[0]:
            break
        time.sleep(0.02)
    cursor.execute("SELECT pg_drop_replication_slot('bench')")


def check_same(cursor, got, want):
    """Compares two queries row by row, in one database; returns the number of rows."""
    cursor.execute("SET work_mem = '256MB'")
    cursor.execute("DROP TABLE IF EXISTS want")
    cursor.execute(f"CREATE TEMP TABLE want AS {want}")
    cursor.execute("DROP TABLE IF EXISTS got")
    cursor.execute(f"CREATE TEMP TABLE got AS {got}")
    cursor.execute("""
        SELECT (SELECT count(*) FROM (TABLE got EXCEPT ALL TABLE want) a),
               (SELECT count(*) FROM (TABLE want EXCEPT ALL TABLE got) b),
               (SELECT count(*) FROM want)""")
    extra, missing, rows = cursor.fetchone()
    if extra or missing:
        sys.exit(f"wrong result: {extra} rows too many or wrong, {missing} rows missing, of {rows}")
    return rows


def checksum(cursor, table):
    """Number of rows, and a sum of their hash values that does not depend on their order."""
    cursor.execute(f"SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM {table} t")
    return cursor.fetchone()


class Reference:
    """What a topic contains, according to an independent reader and PostgreSQL's own JSON functions."""

    def __init__(self, bench):
        bench.server.new_database("reference")
        self.cursor = bench.server.connect("reference").cursor()
        self.cursor.execute("CREATE EXTENSION pg_eddy; SET work_mem = '256MB'")
        self.bench = bench
        self.sums = {}

    def load(self, topic, table, columns, values="r.*"):
        """Stores the messages of a topic as rows."""
        if table in self.sums:
            return
        self.cursor.execute('CREATE UNLOGGED TABLE raw (partition int, "offset" bigint, payload text)')
        command = [TOOL, "dump", "-b", self.bench.broker.address, "-t", topic]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as dump:
            self.cursor.copy_expert("COPY raw FROM STDIN", dump.stdout, size=1 << 20)
        if dump.returncode != 0:
            sys.exit(f"topic {topic} could not be read")
        self.cursor.execute(f"""
            CREATE UNLOGGED TABLE {table} AS
            SELECT {values} FROM raw, json_to_record(payload::json) AS r({columns});
            DROP TABLE raw; ANALYZE {table}""")
        self.sums[table] = checksum(self.cursor, table)

    def check_rows(self, cursor, table):
        """Checks that a stream has the same rows."""
        found = checksum(cursor, table)
        if found != self.sums[table]:
            sys.exit(f"wrong result: the rows of {table} are {found}, not {self.sums[table]}")

    def check(self, cursor, got, want):
        """Compares the result of a query with that of another one over the reference rows."""
        with tempfile.TemporaryFile() as file:
            cursor.copy_expert(f"COPY ({got}) TO STDOUT", file, size=1 << 20)
            file.seek(0)
            return self.check_file(file, want)

    def check_file(self, file, want):
        """The same for rows in the format of COPY."""
        cursor = self.cursor
        cursor.execute(f"DROP TABLE IF EXISTS rows; CREATE TEMP TABLE rows AS ({want}) WITH NO DATA")
        cursor.copy_expert("COPY rows FROM STDIN", file, size=1 << 20)
        return check_same(cursor, "TABLE rows", want)


@contextlib.contextmanager
def setting(bench, name, value):
    """A setting of the server, for the duration of a measurement."""
    cursor = bench.server.connect("postgres").cursor()
    cursor.execute(f"ALTER SYSTEM SET {name} = {value}")
    cursor.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        cursor.execute(f"ALTER SYSTEM RESET {name}")
        cursor.execute("SELECT pg_reload_conf()")
