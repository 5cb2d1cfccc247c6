#!/usr/bin/env python3
"""Measures how the work on a topic divides among two workers, also on a machine that other programs use.

Messages of 605 bytes with 24 fields (integers, numerics, times, texts, JSON) in 4 partitions are counted by 16 groups, and not
stored: nearly all of the work is decoding. One and two workers read the topic alternately. For each worker its CPU time, that of
librdkafka's threads, and the time for which it was blocked, that is, neither ran nor waited for a CPU, are reported, and what it
was waiting for, from samples of pg_stat_activity. So the time that two workers need on CPUs of their own is known, whatever
else runs: CPU time of the busier one. Needs what "make bench-cost" needs, except valgrind, and an installed pg_eddy.
"""

import argparse
import collections
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time

from cluster import TOOL, Broker, Server, cpu_of, new_directory
from measure import attach, open_database

COLUMNS = ", ".join(
    [f"i{n} bigint" for n in range(6)]
    + [f"n{n} numeric" for n in range(5)]
    + [f"t{n} timestamptz" for n in range(4)]
    + [f"s{n} text" for n in range(4)]
    + ["f0 double precision", "f1 double precision", "j jsonb", "u uuid", "k int"]
)
SCRIPT = f"""
    CREATE UNLOGGED TABLE wide ({COLUMNS});
    SELECT eddy.create_stream('wide', event_time => 't0', retention => '0');
    SELECT eddy.create_continuous_view('per_k', 'SELECT k, count(*) AS n, sum(i0) AS total, max(n0) AS top FROM wide GROUP BY k');
"""
SAMPLE = """
    SELECT pid, coalesce(wait_event_type || ':' || wait_event, 'CPU') FROM pg_stat_activity
    WHERE backend_type LIKE 'eddy source worker%' AND datname = current_database()"""
SETTINGS = "shared_buffers = 1GB\nmax_wal_size = 8GB\nwal_level = logical\njit = off\n"


def make_message():
    time_of = "2026-01-01T{:02}:{:02}:{:02}.{:03}Z"
    message = {f"i{n}": random.randrange(10**9) for n in range(6)}
    message |= {f"n{n}": float(f"{random.random() * 1e5:.4f}") for n in range(5)}
    message |= {
        f"t{n}": time_of.format(*(random.randrange(limit) for limit in (24, 60, 60, 1000))) for n in range(4)
    }
    message |= {f"s{n}": f"text value {random.randrange(10**6)}" for n in range(4)}
    message |= {"f0": random.random(), "f1": random.random(), "k": random.randrange(16)}
    message |= {"j": {"a": [1, 2, 3], "b": {"c": "d", "e": random.random()}}}
    message["u"] = f"{random.randrange(2**32):08x}-0000-4000-8000-{random.randrange(2**48):012x}"
    return json.dumps(message)


def produce(broker, events):
    random.seed(1)
    messages = [make_message() for _ in range(2000)]
    broker.tool("create-topic", "wide", "-p", "4")
    command = [TOOL, "produce", "-b", broker.address, "-t", "wide", "-f", "pv"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        for n in range(events):
            process.stdin.write(f"{n % 4}\t{messages[n % len(messages)]}\n")
    if process.returncode != 0:
        sys.exit("the messages could not be produced")


def read_threads(pid):
    """Seconds that each thread has run, and has waited for a CPU."""
    threads = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
                ran, waited = file.read().split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        threads[int(thread)] = (int(ran) / 1e9, int(waited) / 1e9)
    return threads


def measure(bench, workers, events, waits):
    """What one run took: CPU time of the workers, of librdkafka and of the broker, seconds, and blocked seconds."""
    cursor = open_database(bench, SCRIPT)
    broker = cpu_of(bench.broker.pid)
    begin = time.monotonic()
    first, last, began = {}, {}, {}
    attach(cursor, "wide", "wide", f""", options => '{{"workers": {workers}}}'""")
    done = 0
    while done < events:
        cursor.execute("SELECT coalesce(sum(next_offset), 0)::bigint FROM eddy.partitions WHERE partition >= 0")
        done = cursor.fetchone()[0]
        cursor.execute(SAMPLE)
        for pid, wait in cursor.fetchall():
            waits[wait] += 1
            last[pid] = read_threads(pid)
            if pid not in first:
                first[pid], began[pid] = last[pid], time.monotonic()
        time.sleep(0.02)
    end = time.monotonic()
    cursor.execute("SELECT sum(n) FROM per_k")
    if cursor.fetchone()[0] != events:
        sys.exit("wrong result: not all messages were counted")
    cursor.connection.close()
    ran = {pid: last[pid][pid][0] - first[pid][pid][0] for pid in first}
    blocked = [end - began[pid] - ran[pid] - (last[pid][pid][1] - first[pid][pid][1]) for pid in first]
    return {
        "busier worker": max(ran.values()),
        "all workers": sum(ran.values()),
        "librdkafka": sum(cpu for pid in last for thread, (cpu, _) in last[pid].items() if thread != pid),
        "broker": cpu_of(bench.broker.pid) - broker,
        "blocked": max(0, *blocked),
        "seconds": end - begin,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3, help="after one that does not count")
    parser.add_argument("--pg-config", default=os.environ.get("PG_CONFIG") or "pg_config")
    options = parser.parse_args()
    directory = new_directory()
    bench = argparse.Namespace(broker=None, server=None)
    results = {1: [], 2: []}
    waits = {1: collections.Counter(), 2: collections.Counter()}
    try:
        bench.broker = Broker(os.path.join(directory, "kafka"))
        produce(bench.broker, options.events)
        bench.server = Server(directory, options.pg_config, SETTINGS)
        for number in range(options.rounds + 1):
            for workers, of_workers in results.items():
                result = measure(bench, workers, options.events, waits[workers] if number else collections.Counter())
                if number:
                    of_workers.append(result)
        medians = {}
        for workers, of_workers in results.items():
            print(f"{workers} workers, CPU seconds, seconds blocked, seconds: medians (ranges)")
            for name in of_workers[0]:
                values = [result[name] for result in of_workers]
                medians[workers, name] = statistics.median(values)
                print(f"  {name:14} {medians[workers, name]:6.2f} ({min(values):.2f}-{max(values):.2f})")
            total = sum(waits[workers].values())
            print("  samples:", ", ".join(f"{name} {count / total:.1%}" for name, count in waits[workers].most_common()))
        print(f"busier worker: 1 / {medians[1, 'busier worker'] / medians[2, 'busier worker']:.2f} of one worker's CPU time")
        print(f"seconds: 1 / {medians[1, 'seconds'] / medians[2, 'seconds']:.2f} of one worker's")
    finally:
        if bench.server is not None:
            bench.server.stop()
        if bench.broker is not None:
            bench.broker.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
