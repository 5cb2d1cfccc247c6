"""Throughput: count, sum and max of bids by auction and 10-second window, of pg_eddy and of its peers.

All read the same topic to its end. The result of every run is compared, row by row, with the batch
SELECT over what an independent reader finds in the topic.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

from cluster import HERE, cpu_of, run
from measure import BID_COLUMNS, BID_SELECT, bid_stream, bid_view, consume

# The options that the documentation of these products asks for on Java 17, and the collector.
OPENS = [
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.time=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.management/sun.management=ALL-UNNAMED",
    "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
]
PEERS = {  # name: main class, options, runs for the compilation of its code
    "flink": ("FlinkPeer", ["-XX:+UseParallelGC", "-Xmx3g"], 4),
    "jet": ("JetPeer", ["-XX:+UseParallelGC", "-Xmx2g"], 4),
    "streams": ("StreamsPeer", ["-XX:+UseParallelGC", "-Xmx1g"], 1),
}

EDDY = {
    "staged": ("1 day", 1),
    "staged, 2 workers": ("1 day", 2),
    "retention 0": ("0", 1),
    "retention 0, 2 workers": ("0", 2),
}


def run_eddy(bench, case):
    retention, workers = EDDY[case]
    cursor, result = consume(
        bench,
        bid_stream(retention) + bid_view(),
        "bids",
        bench.events,
        arguments=f""", options => '{{"workers": {workers}}}'""",
    )
    if retention != "0":
        bench.reference.check_rows(cursor, "bid")
    result["rows"] = bench.reference.check(cursor, "SELECT * FROM bid_stats", BID_SELECT)
    cursor.execute("SELECT updated, hot_updated FROM eddy.stat_continuous_views")
    result["updated"], result["hot_updated"] = cursor.fetchone()
    cursor.execute("SELECT sum(group_lookups), sum(group_hits) FROM eddy.stat_workers")
    result["group_lookups"], result["group_hits"] = map(int, cursor.fetchone())
    return result


def run_handwritten(bench):
    bench.server.new_database("handwritten")
    with open(os.path.join(HERE, "handwritten.sql")) as script:
        bench.server.connect("handwritten").cursor().execute(script.read())
    server, broker = bench.server.cpu(), cpu_of(bench.broker.pid)
    script = os.path.join(HERE, "handwritten.py")
    dsn = bench.server.dsn("handwritten")
    found = json.loads(run([sys.executable, script, dsn, bench.broker.address, "bids", "10000"]))
    cursor = bench.server.connect("handwritten").cursor()
    bench.reference.check_rows(cursor, "bid")
    return {
        "events": bench.events,
        "seconds": found["seconds"],
        "cpu": found["cpu_client"] + found["cpu_backend"],
        "cpu_other": max(0.0, bench.server.cpu() - server - found["cpu_backend"]),
        "cpu_broker": cpu_of(bench.broker.pid) - broker,
        "memory": found["memory"],
        "rows": bench.reference.check(cursor, "SELECT * FROM bid_stats", BID_SELECT),
    }


def run_limit(bench):
    """librdkafka alone: an upper limit."""
    broker = cpu_of(bench.broker.pid)
    before = os.times()
    start = time.monotonic()
    counted = int(bench.broker.tool("count", "bids"))
    seconds = time.monotonic() - start
    after = os.times()
    if counted != bench.events:
        sys.exit(f"librdkafka has read {counted} messages, not {bench.events}")
    return {
        "events": bench.events,
        "seconds": seconds,
        "cpu": after.children_user + after.children_system - before.children_user - before.children_system,
        "cpu_other": 0.0,
        "cpu_broker": cpu_of(bench.broker.pid) - broker,
    }


def build_peers():
    """Compiles the peers with Maven, which fetches their libraries from Maven Central once."""
    result = subprocess.run(
        ["mvn", "-q", "-B", "-f", os.path.join(HERE, "peers", "pom.xml"), "package"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        sys.exit("the peers could not be built:\n" + result.stdout + result.stderr)


def run_peer(bench, name):
    """Runs a peer several times in one process; yields the measurements, the first ones being cold."""
    main, options, warm_up = PEERS[name]
    if bench.options.warm_up is not None:
        warm_up = bench.options.warm_up
    target = os.path.join(HERE, "peers", name, "target")
    runs = warm_up + bench.options.runs
    with tempfile.TemporaryDirectory(prefix=f"pg_eddy-{name}-") as directory:
        command = ["java", *options, *OPENS, "-cp", f"{target}/{name}-1.jar:{target}/lib/*", main]
        command += [bench.broker.address, "bids", str(bench.events), str(runs), directory]
        with open(os.path.join(directory, "errors"), "w") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
            broker = cpu_of(bench.broker.pid)
            done = 0
            for line in process.stdout:
                if not line.startswith("{"):
                    continue
                found = json.loads(line)
                done += 1
                with open(found["file"], "rb") as file:
                    rows = bench.reference.check_file(file, PEER_SELECT)
                os.remove(found["file"])
                now = cpu_of(bench.broker.pid)
                yield {
                    "events": bench.events,
                    "seconds": found["seconds"],
                    "cpu": found["cpu"],
                    "cpu_other": 0.0,
                    "cpu_broker": now - broker,
                    "memory": found["memory"],
                    "rows": rows,
                    "warm": done > warm_up,
                }
                broker = now
            process.wait()
        if done != runs:
            with open(os.path.join(directory, "errors")) as errors:
                sys.exit(f"{name} failed:\n{errors.read()[-3000:]}")


# the start of the window in milliseconds
PEER_SELECT = f"""
    SELECT auction, (extract(epoch FROM window_start) * 1000)::bigint AS window_start, bids, total, top
    FROM ({BID_SELECT}) b"""


def measure(bench):
    bench.reference.load("bids", "bid", BID_COLUMNS)
    for _ in range(bench.options.runs):
        if bench.wants_system("librdkafka"):
            bench.record("throughput", "limit", "librdkafka", run_limit(bench))
        if bench.wants_system("pg_eddy"):
            for case in EDDY:
                bench.record("throughput", case, "pg_eddy", run_eddy(bench, case))
        if bench.wants_system("handwritten"):
            bench.record("throughput", "batches of 10,000", "handwritten", run_handwritten(bench))
    peers = [name for name in PEERS if bench.wants_system(name)]
    if peers:
        build_peers()
    for name in peers:
        for result in run_peer(bench, name):
            bench.record("throughput", "tuned", name, result)
