#!/usr/bin/env python3
"""Measures what watermarks and closing windows cost, in instructions.

Batches of COPY add bids to a stream with one view, which are distributed as in "make bench": 10,000 events per second of
event time, auctions as in Nexmark. Windows have a length of 1 second, so that about every second batch closes one; there are
about 14 rows for each group, as with windows of 10 seconds. The instructions of the session are counted by callgrind, so that the figures do not depend on the load of
the machine. To exclude the start of the session and the first batches, each variant runs with two numbers of batches,
and the difference counts. Sessions are in single-user mode; nothing else runs. Reported are ratios of

    watermark   a stream with event time to one without, for a view without windows: at most 1.03
    closing     a view whose windows close to one whose windows do not (a stream without event time), for views
                that show early results and for those with emit => 'on_close': at most 1.10

With --check, a larger ratio is an error. Needs valgrind and an installed pg_eddy; servers run in a scratch directory, as
user "postgres" if this runs as root.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

BIDS = """
COPY (SELECT CASE WHEN random() < 0.5 THEN last / 100 * 100 ELSE last - (random() * 100)::int END AS auction,
             (random() * 1000)::int AS bidder, (random() * 10000)::int AS price, 'channel-' || i % 10 AS channel,
             'https://www.nexmark.com/item.htm?query=' || i AS url,
             timestamptz '2026-01-01 00:00Z' + i * interval '100 us' AS date_time, repeat('x', 40) AS extra
      FROM (SELECT i, i / 50 * 3 + 1000 AS last FROM generate_series({first}, {last}) AS i) AS e)
TO '{file}';
"""

SETUP = """
CREATE EXTENSION pg_eddy;
CREATE UNLOGGED TABLE bid (auction bigint, bidder bigint, price bigint, channel text, url text, date_time timestamptz,
    extra text);
SELECT eddy.create_stream('bid'{event_time});
SELECT eddy.create_continuous_view('bid_stats', $$ {query} $$, emit => '{emit}');
"""

WINDOWS = """SELECT auction, w.window_start, w.window_end, count(*) AS bids, sum(price) AS total, max(price) AS top
FROM bid, eddy.tumble(date_time, '1 s') AS w GROUP BY auction, w.window_start, w.window_end"""
NO_WINDOWS = """SELECT auction, date_bin('1 s', date_time, '2000-01-01 00:00Z') AS window_start, count(*) AS bids,
sum(price) AS total, max(price) AS top FROM bid GROUP BY auction, window_start"""
EVENT_TIME = ", event_time => 'date_time', delay => '1 s'"

# name: definition of the stream, query, emit
VARIANTS = {
    "no event time, no windows": ("", NO_WINDOWS, "changes"),
    "event time, no windows": (EVENT_TIME, NO_WINDOWS, "changes"),
    "windows that never close": ("", WINDOWS, "changes"),
    "windows that close": (EVENT_TIME, WINDOWS, "changes"),
    "windows that close, on_close": (EVENT_TIME, WINDOWS, "on_close"),
}
RATIOS = [
    ("watermark", "event time, no windows", "no event time, no windows", 1.03),
    ("closing", "windows that close", "windows that never close", 1.10),
    ("closing, on_close", "windows that close, on_close", "windows that never close", 1.10),
]


class Server:
    """A data directory that is used in single-user mode."""

    def __init__(self, directory):
        self.directory = directory
        self.bindir = subprocess.run([os.environ.get("PG_CONFIG", "pg_config"), "--bindir"], check=True,
                                     stdout=subprocess.PIPE, text=True).stdout.strip()
        self.data = os.path.join(directory, "data")
        self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        self.run([os.path.join(self.bindir, "initdb"), "-D", self.data, "-U", "postgres", "--no-sync", "-E", "UTF8",
                  "--locale=C.UTF-8"])
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="ascii") as conf:
            conf.write("shared_preload_libraries = 'pg_eddy'\nwal_level = logical\nfsync = off\nautovacuum = off\n")

    def run(self, command, script=None):
        result = subprocess.run(self.as_user + command, input=script, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, cwd=self.directory, check=False)
        if result.returncode != 0 or "ERROR:" in result.stdout or "FATAL:" in result.stdout:
            sys.exit(f"{command[0]} failed:\n{result.stdout}")
        return result.stdout

    def session(self, database, script, count=False):
        """Runs statements; with count, returns the number of instructions."""
        command = [os.path.join(self.bindir, "postgres"), "--single", "-j", "-D", self.data, database]
        if count:
            command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"] + command
        out = self.run(command, "".join(s.strip() + ";\n\n" for s in script.split(";\n") if s.strip()))
        return int(re.search(r"Collected : (\d+)", out).group(1)) if count else None


def measure(server, name, variant, options, files):
    event_time, query, emit = variant
    counts = []
    for number, batches in enumerate((options.warm_up, options.warm_up + options.batches)):
        database = f"v{list(VARIANTS).index(name)}_{number}"
        server.session("postgres", f"CREATE DATABASE {database};\n")
        server.session(database, SETUP.format(event_time=event_time, query=query, emit=emit))
        script = "".join(f"COPY bid FROM '{file}';\n" for file in files[:batches])
        counts.append(server.session(database, script, count=True))
    return (counts[1] - counts[0]) / (options.batches * options.rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000, help="rows of a batch")
    parser.add_argument("--warm-up", type=int, default=4, help="batches that are not measured")
    parser.add_argument("--batches", type=int, default=6, help="batches that are measured")
    parser.add_argument("--check", action="store_true", help="fail if a ratio is too large")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed")
    directory = tempfile.mkdtemp(prefix="pg_eddy-cost.")
    try:
        if os.getuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        os.chmod(directory, 0o700)
        server = Server(directory)
        files = []
        for i in range(options.warm_up + options.batches):
            files.append(os.path.join(directory, f"batch{i}"))
            server.session("postgres", BIDS.format(first=i * options.rows, last=(i + 1) * options.rows - 1, file=files[-1]))
        costs = {}
        for name, variant in VARIANTS.items():
            costs[name] = measure(server, name, variant, options, files)
            print(f"{name:32} {costs[name]:9.0f} instructions/row", flush=True)
        failed = False
        for name, variant, base, limit in RATIOS:
            ratio = costs[variant] / costs[base]
            failed |= ratio > limit
            print(f"{name:32} {ratio:9.3f}, at most {limit:.2f}{'  EXCEEDED' if ratio > limit else ''}", flush=True)
        if failed and options.check:
            sys.exit(1)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
