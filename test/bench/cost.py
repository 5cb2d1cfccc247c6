#!/usr/bin/env python3
"""Measures what watermarks and closing windows cost for each event of "make bench", in instructions.

A source worker reads bids from 4 partitions of a topic, as in that benchmark: 10,000 events per second of event time,
count(*), sum(price) and max(price) by auction and 10-second window, all columns stored, about 15 events for each group. The
server runs under callgrind, which counts what the worker executes from taking a batch of messages to the end of its
transaction; threads of librdkafka are not counted. So the figures do not depend on the load of the machine. All batches have the same
size, which is near to what the server chooses by itself.

    never       a stream without event time: there is no watermark, and no window closes
    watermark   a stream with event time, whose delay is so long that no window closes: at most 1.03 times "never"
    closes      windows close: at most 1.10 times "never", for views that show early results, and
    on_close    for views that show final rows only
    needed      as "never", but only the columns that the view needs are stored (staged_columns): at most 0.97 times "never"

At the end of a topic windows are still open. What it costs to close windows is therefore counted for as many groups as there are.
Every result is compared with a SELECT over the rows. With --check, a larger ratio is an error. Needs valgrind, what
"make bench" needs, and an installed pg_eddy.
"""

import argparse
import glob
import os
import re
import shutil
import sys
import time

from cluster import Broker, Server, new_directory
from measure import BID_SELECT, PREPARE, WORKERS, attach, bid_stream, bid_view, check_same, wait_for

# name: definition of the stream, argument emit of the view
CASES = {
    "never": (bid_stream(event_time=False), "changes"),
    "watermark": (bid_stream().replace("'4 s'", "'1 year'"), "changes"),
    "closes": (bid_stream(), "changes"),
    "on_close": (bid_stream(), "on_close"),
    "needed": (bid_stream(event_time=False, staged_columns="{}"), "changes"),
}
LIMITS = {"watermark": 1.03, "closes": 1.10, "on_close": 1.10, "needed": 0.97}
COUNTED = ("eddy_batch_collect", "eddy_batch_apply")
SETTINGS = """
shared_buffers = 256MB
fsync = off
autovacuum = off
max_parallel_workers_per_gather = 0
pg_eddy.batch_bytes = '1GB'
pg_eddy.batch_target_time = 0
pg_eddy.batch_time = '1min'
pg_eddy.batch_time_limit = '1h'
"""


class CountedServer(Server):
    """A server under callgrind, which writes a file when a process ends."""

    def __init__(self, directory, pg_config, settings):
        program = os.path.join(directory, "postgres")
        self.counts = os.path.join(directory, "callgrind")
        toggles = " ".join(f"--toggle-collect={function}" for function in COUNTED)
        with open(program, "w", encoding="ascii") as script:
            script.write(
                "#!/bin/sh\n"
                f"exec valgrind -q --tool=callgrind {toggles} --callgrind-out-file={self.counts}.%p \\\n"
                f'    "$({pg_config} --bindir)/postgres" "$@"\n'
            )
        os.chmod(program, 0o755)
        super().__init__(directory, pg_config, settings, program=program)

    def instructions(self, pid):
        """What a process that ends has executed."""
        deadline = time.monotonic() + 120
        total = None
        while total is None and time.monotonic() < deadline:
            time.sleep(0.1)
            text = "".join(open(name, encoding="utf-8").read() for name in glob.glob(f"{self.counts}.{pid}"))
            total = re.search(r"^totals: (\d+)", text, re.MULTILINE)
        if total is None:
            sys.exit(f"callgrind has not counted process {pid}")
        return int(total.group(1))


def measure(server, broker, name, events):
    """Instructions for each event, number of groups, and how many of them were closed."""
    stream, emit = CASES[name]
    server.new_database(name)
    cursor = server.connect(name).cursor()
    cursor.execute(PREPARE.format(brokers=broker.address) + stream + bid_view(emit=emit))
    attach(cursor, "bids")
    wait_for(cursor, events, pause=0.2)
    cursor.execute(WORKERS)
    (worker,) = cursor.fetchone()[0]
    cursor.execute("SELECT sum(closed_groups) FROM eddy.stat_continuous_views")
    closed = int(cursor.fetchone()[0])
    cursor.execute("SELECT eddy.detach_kafka('bid', 'bids')")
    instructions = server.instructions(worker)
    # windows that the worker has left open are closed now
    if emit == "on_close":
        cursor.execute("SELECT eddy.advance_watermark('bid', '2100-01-01')")
    groups = check_same(cursor, "SELECT * FROM bid_stats", BID_SELECT)
    cursor.connection.close()
    return instructions / events, groups, closed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=300_000, help="events of the topic")
    parser.add_argument("--batch", type=int, default=50_000, help="events of a batch")
    parser.add_argument("--only", default="", help=f"cases, beside \"never\": {', '.join(LIMITS)}")
    parser.add_argument("--pg-config", default=os.environ.get("PG_CONFIG") or "pg_config")
    parser.add_argument("--check", action="store_true", help="fail if a ratio is too large")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed")
    chosen = [name for name in CASES if not options.only or name in ["never", *options.only.split(",")]]
    directory = new_directory()
    broker = server = None
    failed = False
    try:
        broker = Broker(os.path.join(directory, "kafka"))
        broker.preload("bids", 4, options.events, "-s", "1")
        server = CountedServer(directory, options.pg_config, f"{SETTINGS}pg_eddy.batch_rows = {options.batch}\n")
        costs = {}
        for name in chosen:
            costs[name], groups, closed = measure(server, broker, name, options.events)
            if closed > 0:
                # beside the watermark, for as many groups as there are
                base = costs.get("watermark", costs["never"])
                costs[name] = base + (costs[name] - base) * groups / closed
            ratio = costs[name] / costs["never"]
            limit = LIMITS.get(name)
            text = f"{name:10} {costs[name]:7.0f} instructions/event, {groups} groups, {closed} closed, ratio {ratio:.3f}"
            if limit:
                text += f", at most {limit:.2f}{'  EXCEEDED' if ratio > limit else ''}"
                failed |= ratio > limit
            print(text, flush=True)
    finally:
        if server is not None:
            server.stop()
        if broker is not None:
            broker.stop()
        shutil.rmtree(directory, ignore_errors=True)
    if failed and options.check:
        sys.exit(1)


if __name__ == "__main__":
    main()
