"""Latency: from the time at which an event should be sent until it is visible, and until a consumer has it.

The generator is an open loop: the intended times depend on the rate only, so an event that is sent
late, because something is slow, has waited (no coordinated omission). Bids are produced at fractions
of the sustainable rate, which is determined before. A view of the last intended time of each
partition changes in the same transactions as the view of the other benchmarks. One process reads it
in a loop, another one receives its changes from a slot; when they see time t of a partition, all of
its events up to t have arrived.

Beside them a client of librdkafka receives the events of one partition and does nothing with them. Its latency is
that of the generator, the broker and the machine in the same seconds: what pg_eddy adds is the difference. The broker is
warmed up before, because the compiler of its virtual machine competes for the CPUs for about a minute; what it still compiles
then has low priority. How much of the CPUs was left idle is reported with each rate.

The times in which the host of a virtual machine did not let it run are found, and events that they did not delay are also
summarized without the others, see hiccups.py.

Checkpoints begin every 30 seconds, and are spread over that time as those of a production server are.
"""

import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

import numpy
import psycopg2
import psycopg2.extras

from cluster import TOOL, cpu_of, exact_cpu_of
from hiccups import Hiccups, disturbed_times, undisturbed
from measure import BID_COLUMNS, WORKERS, attach, bid_view, drop_slot, open_database, setting

PARTITIONS = 4
FRACTIONS = (0.25, 0.50, 0.75, 0.90)
TRIAL = 5  # seconds of a trial of a rate
WARM_UP = 3  # seconds that are not counted

SCRIPT = f"""
    CREATE UNLOGGED TABLE bid ({BID_COLUMNS}, sent bigint, part int);
    SELECT eddy.create_stream('bid', event_time => 'date_time', delay => '4 s', retention => '1 minute');
    {bid_view()}
    SELECT eddy.create_continuous_view('progress',
        'SELECT part, max(sent) AS sent, count(*) AS events FROM bid GROUP BY part');"""


def poll_view(dsn, stop, connection):
    """Reads the view in a loop; sends the times and the values that were new."""
    server = psycopg2.connect(dsn)
    server.autocommit = True
    cursor = server.cursor()
    last = [0] * PARTITIONS
    seen = []
    cursor.execute("PREPARE progress AS SELECT part, sent FROM progress")
    while not stop.is_set():
        cursor.execute("EXECUTE progress")
        rows, now = cursor.fetchall(), time.time()
        for part, sent in rows:
            if sent is not None and sent > last[part]:
                seen.append((now, part, last[part], sent))
                last[part] = sent
        time.sleep(0.001)
    connection.send(seen)


def receive_changes(dsn, stop, connection):
    """Receives the changes of the view; sends the times and the values that were new."""
    server = psycopg2.connect(
        dsn, connection_factory=psycopg2.extras.LogicalReplicationConnection
    )
    cursor = server.cursor()
    cursor.start_replication("bench", options={"views": "public.progress"}, decode=True)
    last = [0] * PARTITIONS
    seen = []
    while not stop.is_set():
        message = cursor.read_message()
        if message is None:
            select.select([server], [], [], 0.01)
            continue
        now = time.time()
        for line in message.payload.split("\n"):
            after = json.loads(line).get("after")
            if after and after["sent"] is not None and after["sent"] > last[after["part"]]:
                seen.append((now, after["part"], last[after["part"]], after["sent"]))
                last[after["part"]] = after["sent"]
        cursor.send_feedback(flush_lsn=message.data_start)
    connection.send(seen)
    server.close()


class Observer:
    """A process that observes one of the two ends of pg_eddy."""

    def __init__(self, function, dsn):
        self.stop = multiprocessing.Event()
        self.connection, other = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=function, args=(dsn, self.stop, other))
        self.process.start()

    def finish(self):
        self.stop.set()
        if not self.connection.poll(30):
            sys.exit("an observer of the latency has failed")
        seen = self.connection.recv()
        self.process.join()
        return seen


class Client:
    """A client of librdkafka that receives the events of one partition."""

    def __init__(self, broker):
        self.output = tempfile.TemporaryFile("w+")
        command = [TOOL, "arrivals", "-b", broker, "-t", "paced", "-P", "0"]
        self.process = subprocess.Popen(command, stdout=self.output)
        time.sleep(1)  # it reads from the end that it finds

    def finish(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(30) != 0:
            sys.exit("the client that receives events has failed")
        seen, last = [], 0
        self.output.seek(0)
        for line in self.output:
            now, part, sent = map(int, line.split())
            seen.append((now / 1e6, part, last, sent))
            last = sent
        self.output.close()
        return seen


class Usage:
    """CPU time, in CPUs, of everything that shares the machine."""

    def __init__(self, bench, workers):
        self.pids = {"broker": [bench.broker.pid], "worker": workers}
        self.server = bench.server
        self.start = time.monotonic()
        self.before = self.read()

    def read(self):
        found = {name: sum(cpu_of(pid) for pid in pids) for name, pids in self.pids.items()}
        found["server"] = self.server.cpu()
        with open("/proc/stat") as stat:
            fields = [int(field) for field in stat.readline().split()[1:]]
        found["idle"] = (fields[3] + fields[4]) / os.sysconf("SC_CLK_TCK")
        return found

    def finish(self):
        seconds = time.monotonic() - self.start
        return {name: (value - self.before[name]) / seconds for name, value in self.read().items()}


def observed_events(seen, rate, start, end):
    """The times in seconds at which each event should be sent, and was seen, of those due between two times."""
    interval = PARTITIONS / rate  # between two events of a partition
    sent_times, seen_times = [], []
    for now, _, before, sent in seen:
        first = max(before + interval * 1e6, start * 1e6) if before else sent
        last = min(sent, end * 1e6)
        if last < first:
            continue
        count = int(round((last - first) / (interval * 1e6))) + 1
        sent_times.append(numpy.linspace(first, last, count) / 1e6)
        seen_times.append(numpy.full(count, now))
    if not sent_times:
        sys.exit("no event was observed")
    return numpy.concatenate(sent_times), numpy.concatenate(seen_times)


def summary(values):
    p50, p90, p99, p999 = numpy.percentile(values, [50, 90, 99, 99.9])
    return {
        "events": len(values),
        "p50": float(p50),
        "p90": float(p90),
        "p99": float(p99),
        "p99.9": float(p999),
        "max": float(values.max()),
    }


def produce(bench, rate, seconds):
    command = [TOOL, "bids", "-b", bench.broker.address, "-t", "paced", "-r", str(rate)]
    command += ["-n", str(int(rate * seconds))]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def counted(cursor):
    cursor.execute("SELECT coalesce(sum(events), 0)::bigint FROM progress")
    return cursor.fetchone()[0]


def is_sustainable(bench, cursor, rate):
    """Whether all events of a trial were counted half a second after it should have ended."""
    target = counted(cursor) + int(rate * TRIAL)
    start = time.monotonic()
    process = produce(bench, rate, TRIAL)
    while counted(cursor) < target:
        if time.monotonic() - start > 10 * TRIAL:
            break
        time.sleep(0.01)
    seconds = time.monotonic() - start
    process.wait()
    while counted(cursor) < target:
        time.sleep(0.05)
    return seconds < TRIAL + 0.5


def sustainable_rate(bench, cursor):
    """The highest rate with a bounded backlog, to about 10 %, while everything shares the machine."""
    if bench.options.rate:
        return bench.options.rate
    low = 50_000
    if is_sustainable(bench, cursor, low):
        while is_sustainable(bench, cursor, 2 * low):
            low *= 2
    else:
        low //= 2
        while not is_sustainable(bench, cursor, low):
            low //= 2
            if low < 1000:
                sys.exit("not even 1,000 events per second are sustainable")
    high = 2 * low
    while high / low > 1.12:
        middle = int((low * high) ** 0.5)
        low, high = (middle, high) if is_sustainable(bench, cursor, middle) else (low, middle)
    return low


def warm_up(bench, cursor, rate):
    """Lets the virtual machine of the broker compile what it needs."""
    target = counted(cursor) + int(rate * bench.options.latency_warm_up)
    produce(bench, rate, bench.options.latency_warm_up).wait()
    while counted(cursor) < target:
        time.sleep(0.1)


def measure_rate(bench, cursor, rate, fraction):
    seconds = bench.options.seconds
    cursor.execute("SELECT pg_create_logical_replication_slot('bench', 'pg_eddy_cdc')")
    bench.broker.calm_compilers()
    hiccups = Hiccups()
    observers = {
        "client": Client(bench.broker.address),
        "visible": Observer(poll_view, bench.server.dsn("eddy")),
        "consumer": Observer(receive_changes, bench.server.dsn("eddy")),
    }
    events = int(rate * fraction * (seconds + WARM_UP))
    target = counted(cursor) + events
    cursor.execute(WORKERS)
    usage = Usage(bench, cursor.fetchone()[0])
    cursor.execute("SELECT pg_current_wal_lsn()")
    position = cursor.fetchone()[0]
    start = time.time()
    process = produce(bench, rate * fraction, seconds + WARM_UP)
    process.wait()
    deadline = time.monotonic() + 60
    while counted(cursor) < target and time.monotonic() < deadline:
        time.sleep(0.02)
    used = usage.finish()
    cursor.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s)", (position,))
    wal = float(cursor.fetchone()[0]) / events
    time.sleep(0.2)  # for the observers
    seen = {name: observer.finish() for name, observer in observers.items()}
    found = hiccups.finish()
    begin, end = start + WARM_UP, start + WARM_UP + seconds
    stolen = sum(max(0.0, min(last, end) - max(first, begin)) for first, last in found) / seconds
    for name in observers:
        sent, arrived = observed_events(seen[name], rate * fraction, begin, end)
        result = {"rate": rate * fraction, "fraction": fraction, "sustainable": rate, **summary(arrived - sent)}
        result["seconds"] = seconds
        result["hiccups"] = stolen
        calm = undisturbed(sent, arrived, disturbed_times(found, fraction))
        if calm.any():
            result["undisturbed"] = summary((arrived - sent)[calm])
        if name == "visible":
            result["cores"] = used["worker"]
            result["used"] = used
            result["wal"] = wal
        bench.record("latency", f"{fraction:.0%}, {name}", "librdkafka" if name == "client" else "pg_eddy", result)
    drop_slot(cursor)


def measure_idle(bench, cursor):
    """CPU time of a worker without messages, when all partitions are idle and the last windows are closed, and of all
    processes of the extension."""
    deadline = time.monotonic() + 120
    while True:
        cursor.execute("SELECT bool_and(idle) FROM eddy.partitions WHERE partition >= 0")
        if cursor.fetchone()[0]:
            break
        if time.monotonic() > deadline:
            sys.exit("the partitions do not become idle")
        time.sleep(0.5)
    time.sleep(3)
    cursor.execute(WORKERS)
    workers = cursor.fetchone()[0]
    cursor.execute("SELECT array_agg(pid) FROM pg_stat_activity WHERE backend_type LIKE 'eddy%'")
    processes = cursor.fetchone()[0]
    before = {pid: exact_cpu_of(pid) for pid in processes}
    seconds = min(30, max(10, bench.options.seconds))
    time.sleep(seconds)
    used = {pid: exact_cpu_of(pid) - before[pid] for pid in processes}
    for case, pids in (("worker", workers), ("all processes", processes)):
        cpu = sum(used[pid] for pid in pids)
        bench.record("idle", case, "pg_eddy", {"seconds": seconds, "cpu": cpu})


def measure(bench):
    bench.broker.tool("create-topic", "paced", "-p", str(PARTITIONS))
    cursor = open_database(bench, SCRIPT)
    attach(cursor, "paced", arguments=""", mapping => '{"part": "partition"}'""")
    if not bench.options.rate:
        warm_up(bench, cursor, 50_000)
    rate = sustainable_rate(bench, cursor)
    if bench.options.rate:
        warm_up(bench, cursor, rate / 2)
    with setting(bench, "checkpoint_timeout", "'30s'"):
        for fraction in FRACTIONS:
            measure_rate(bench, cursor, rate, fraction)
    measure_idle(bench, cursor)
    bench.drop_topic("paced")
