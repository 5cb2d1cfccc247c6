"""Rotation: the size of the stored rows, and of everything else, while a source runs for a long time.

Rows are kept for a short retention, so that segments are emptied many times. ROTATION is the
duration in seconds: a minute by default, 86400 for a day.
"""

import sys
import time

from cluster import anonymous_of, cpu_of
from measure import WORKERS, attach, bid_view, open_database
from part_latency import PARTITIONS, produce

RETENTION = 10  # seconds

SCRIPT = f"""
    CREATE UNLOGGED TABLE bid (auction bigint, bidder bigint, price bigint, channel text, url text,
                               date_time timestamptz, extra text);
    SELECT eddy.create_stream('bid', event_time => 'date_time', delay => '4 s',
                              retention => '{RETENTION} s');
    {bid_view(retention="1 minute")}
    SELECT eddy.create_continuous_view('total', 'SELECT count(*) AS bids FROM bid');"""

SAMPLE = """
    SELECT (SELECT bids::bigint FROM total),
           (SELECT staging_bytes::bigint FROM eddy.stat_streams),
           (SELECT sum(state_bytes)::bigint FROM eddy.stat_continuous_views),
           (SELECT coalesce(sum(lag), 0)::bigint FROM eddy.partitions)"""


def measure(bench):
    rate, duration = bench.options.rotation_rate, bench.options.rotation
    bench.broker.tool(
        "create-topic", "paced", "-p", str(PARTITIONS), "-c", "retention.ms=300000",
        "-c", "segment.bytes=67108864",
    )
    cursor = open_database(bench, SCRIPT)
    attach(cursor, "paced")
    process = produce(bench, rate, duration)
    start = time.monotonic()
    pause = max(1.0, duration / 600)
    samples = []
    workers = []
    while time.monotonic() - start < duration:
        time.sleep(pause)
        cursor.execute(SAMPLE)
        events, stored, state, lag = cursor.fetchone()
        if not workers:
            cursor.execute(WORKERS)
            workers = cursor.fetchone()[0]
        samples.append(
            {
                "at": round(time.monotonic() - start, 1),
                "events": events,
                "stored_bytes": stored,
                "state_bytes": state,
                "lag": lag,
                "memory": sum(anonymous_of(pid) for pid in workers),
            }
        )
    process.wait()
    expected = int(rate * duration)
    deadline = time.monotonic() + 60
    while events < expected and time.monotonic() < deadline:
        cursor.execute(SAMPLE)
        events = cursor.fetchone()[0]
        time.sleep(0.05)
    if events != expected:
        sys.exit(f"wrong result: {events} of {expected} events were counted")
    result = {
        "events": events,
        "seconds": duration,
        "rate": rate,
        "retention": RETENTION,
        "cpu": sum(cpu_of(pid) for pid in workers),
        "memory": max(sample["memory"] for sample in samples),
        "stored_bytes": max(sample["stored_bytes"] for sample in samples),
        "samples": samples,
    }
    bench.record("rotation", f"{RETENTION} s", "pg_eddy", result)
    bench.drop_topic("paced")
