"""Measures throughput on Nexmark bids, of pg_eddy and of a hand-written equivalent.

Broker: a real Apache Kafka with N preloaded bids. Server: a private cluster. Both implementations
run alternately, each in a new database, RUNS times. The median is reported, with the CPU time of
each process. The results are compared with the SELECT over the stored rows, and with each other.
See README.md.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import time

from cluster import HERE, Broker, Server, anonymous_of, cpu_of, new_directory, run

DEADLINE = 600  # seconds that one run may take

BATCH_SELECT = """
    SELECT auction,
           date_bin('10 s', date_time, timestamptz '1970-01-01 00:00:00+00') AS window_start,
           count(*) AS bids, sum(price) AS total, max(price) AS top
    FROM bid GROUP BY 1, 2"""

STREAM = """
    CREATE EXTENSION pg_eddy;
    CREATE SERVER kafka FOREIGN DATA WRAPPER eddy_kafka OPTIONS ("bootstrap.servers" '{brokers}');
    CREATE USER MAPPING FOR CURRENT_USER SERVER kafka;
    CREATE UNLOGGED TABLE bid (auction bigint, bidder bigint, price bigint, channel text, url text,
                               date_time timestamptz, extra text);
    SELECT eddy.create_stream('bid', event_time => 'date_time', delay => '4 s',
                               retention => '{retention}');
    SELECT eddy.create_continuous_view('bid_stats', $$
        SELECT auction, w.window_start, count(*) AS bids, sum(price) AS total, max(price) AS top
        FROM bid, eddy.tumble(date_time, '10 s') AS w
        GROUP BY auction, w.window_start, w.window_end $$);
"""


def measure_eddy(server, broker, options):
    """One run of pg_eddy, from attach_kafka to the commit of the last offset."""
    server.new_database("eddy")
    cursor = server.connect("eddy").cursor()
    cursor.execute(
        STREAM.format(brokers=broker.address, retention="0" if options.no_staging else "1 day")
    )
    poller = cpu_of(cursor.connection.info.backend_pid)
    cpu_server, cpu_broker = server.cpu(), cpu_of(broker.pid)
    start = time.monotonic()
    cursor.execute(
        "SELECT eddy.attach_kafka('bid', server => 'kafka', topic => 'bids', start => 'earliest')"
    )
    first = worker = None
    memory = 0
    while True:
        cursor.execute("SELECT coalesce(sum(next_offset), 0)::bigint FROM eddy.partitions")
        consumed = cursor.fetchone()[0]
        now = time.monotonic()
        if consumed > 0 and first is None:
            first = (now, consumed)
            cursor.execute("SELECT pid FROM eddy.sources")
            worker = cursor.fetchone()[0]
        if worker is not None:
            memory = max(memory, anonymous_of(worker))
        if consumed >= options.events:
            break
        if now - start > DEADLINE:
            cursor.execute("SELECT state, error FROM eddy.sources")
            sys.exit(f"the source has not come to the end: {cursor.fetchone()}")
        time.sleep(0.01)
    seconds = now - start
    cpu_worker = cpu_of(worker)
    poller = cpu_of(cursor.connection.info.backend_pid) - poller
    return {
        "seconds": seconds,
        "steady": (options.events - first[1]) / (now - first[0]) if now > first[0] else None,
        "cpu": {
            "source worker": cpu_worker,
            "other server processes": server.cpu() - cpu_server - cpu_worker - poller,
            "broker": cpu_of(broker.pid) - cpu_broker,
        },
        "counted": cpu_worker,
        "memory": memory,
    }


def measure_handwritten(server, broker, options):
    """One run of handwritten.py, which measures the time from assign to its last commit."""
    server.new_database("handwritten")
    with open(os.path.join(HERE, "handwritten.sql")) as script:
        server.connect("handwritten").cursor().execute(script.read())
    cpu_server, cpu_broker = server.cpu(), cpu_of(broker.pid)
    result = json.loads(
        run(
            [
                sys.executable,
                os.path.join(HERE, "handwritten.py"),
                server.dsn("handwritten"),
                broker.address,
                "bids",
                str(options.batch),
            ]
        )
    )
    return {
        "seconds": result["seconds"],
        "steady": result["steady"],
        "cpu": {
            "Python client": result["cpu_client"],
            "its backend": result["cpu_backend"],
            "other server processes": server.cpu() - cpu_server - result["cpu_backend"],
            "broker": cpu_of(broker.pid) - cpu_broker,
        },
        "counted": result["cpu_client"] + result["cpu_backend"],
    }


def check_eddy(server, options):
    """Checks that all rows are stored and that the view equals the SELECT over them."""
    cursor = server.connect("eddy").cursor()
    cursor.execute("SELECT count(*) FROM eddy.dead_letters")
    if cursor.fetchone()[0] != 0:
        sys.exit("wrong result: there are dead letters")
    if options.no_staging:
        cursor.execute("SELECT sum(bids) = %s FROM bid_stats", (options.events,))
        if not cursor.fetchone()[0]:
            sys.exit("wrong result: not every event was counted once")
        return
    cursor.execute("SELECT count(*) FROM bid")
    stored = cursor.fetchone()[0]
    if stored != options.events:
        sys.exit(f"wrong result: {stored} of {options.events} rows are staged")
    cursor.execute(f"""
        SELECT (SELECT count(*) FROM (SELECT * FROM bid_stats EXCEPT ALL ({BATCH_SELECT})) a),
               (SELECT count(*) FROM (({BATCH_SELECT}) EXCEPT ALL SELECT * FROM bid_stats) b)""")
    if cursor.fetchone() != (0, 0):
        sys.exit("wrong result: the view differs from the batch SELECT over the staged rows")


def check_handwritten(server, options):
    cursor = server.connect("handwritten").cursor()
    cursor.execute(f"""
        SELECT (SELECT count(*) FROM bid), (SELECT count(*) FROM (
                SELECT * FROM bid_stats EXCEPT ALL ({BATCH_SELECT})) a)""")
    if cursor.fetchone() != (options.events, 0):
        sys.exit("wrong result: the hand-written table differs from the batch SELECT")


def checksum(server, database):
    """Checksum of a result, to compare both implementations."""
    cursor = server.connect(database).cursor()
    cursor.execute("""
        SELECT count(*), sum(hashtextextended(concat_ws(',', auction,
               extract(epoch FROM window_start)::bigint, bids, total, top), 0)::numeric)
        FROM bid_stats""")
    return cursor.fetchone()


def middle(results, pick):
    values = [pick(result) for result in results if pick(result) is not None]
    return statistics.median(values) if values else float("nan")


def report(title, results, events):
    """Prints the median of the runs; returns (events/s, events per CPU-second)."""
    rates = [events / result["seconds"] for result in results]
    counted = middle(results, lambda result: result["counted"])
    rate, per_cpu = statistics.median(rates), events / counted
    print(f"\n{title}")
    print(f"  events/s, wall            {rate:12,.0f}   ({min(rates):,.0f} to {max(rates):,.0f})")
    print(f"  events/s after 1st batch  {middle(results, lambda result: result['steady']):12,.0f}")
    print(f"  events per CPU-second     {per_cpu:12,.0f}   (without broker and other processes)")
    if "memory" in results[0]:
        peak = max(result["memory"] for result in results)
        print(f"  anonymous memory, peak    {peak / 1024:12,.0f}   MB")
    print("  CPU-seconds per million:")
    for name in results[0]["cpu"]:
        print(
            f"    {name:<24}"
            f"{middle(results, lambda result: result['cpu'][name]) / events * 1e6:12.3f}"
        )
    return rate, per_cpu


def parse_arguments():
    env = os.environ.get
    parser = argparse.ArgumentParser(prog="test/bench/run", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--events", type=int, default=int(env("N", 2000000)), help="bids in the topic (N)"
    )
    parser.add_argument(
        "--partitions",
        type=int,
        default=int(env("PARTITIONS", 4)),
        help="of the topic (PARTITIONS)",
    )
    parser.add_argument(
        "--runs", type=int, default=int(env("RUNS", 3)), help="the median counts (RUNS)"
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=int(env("BATCH", 10000)),
        help="rows in a transaction of the hand-written consumer (BATCH)",
    )
    parser.add_argument(
        "--batch-rows",
        type=int,
        default=int(env("BATCH_ROWS", 0)),
        help="pg_eddy.batch_rows, 0 for its default (BATCH_ROWS)",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", choices=["eddy", "handwritten"], default=env("ONLY"), help="one of the two (ONLY)"
    )
    parser.add_argument("--no-staging", action="store_true", help="a stream with retention 0")
    parser.add_argument("--pg-config", default=env("PG_CONFIG", "pg_config"))
    parser.add_argument(
        "--keep", action="store_true", help="keep server and broker running for inspection"
    )
    return parser.parse_args()


def main():
    options = parse_arguments()
    directory = new_directory()
    broker = server = None
    try:
        broker = Broker(os.path.join(directory, "kafka"))
        print(
            f"preloading {options.events:,} bids into {options.partitions} partitions", flush=True
        )
        broker.preload("bids", options.partitions, options.events, "-s", str(options.seed))
        server = Server(
            directory,
            options.pg_config,
            f"pg_eddy.batch_rows = {options.batch_rows}" if options.batch_rows else "",
            with_eddy=options.only != "handwritten",
        )
        results = {"eddy": [], "handwritten": []}
        sums = set()
        for number in range(options.runs):
            for name, measure, check in (
                ("eddy", measure_eddy, check_eddy),
                ("handwritten", measure_handwritten, check_handwritten),
            ):
                if options.only not in (None, name):
                    continue
                result = measure(server, broker, options)
                check(server, options)
                sums.add(checksum(server, name))
                results[name].append(result)
                print(
                    f"run {number + 1}, {name}: {options.events / result['seconds']:,.0f} events/s,"
                    f" {result['counted'] / options.events * 1e6:.2f} CPU-seconds per million,"
                    + (f" {result['memory'] / 1024:.0f} MB," if "memory" in result else "")
                    + " result checked",
                    flush=True,
                )
        if len(sums) != 1:
            sys.exit(f"wrong result: the results of both implementations differ: {sums}")

        cursor = server.connect("postgres").cursor()
        cursor.execute(
            """
            SELECT version(), (SELECT string_agg(name || ' = ' || current_setting(name), ', ')
            FROM unnest(ARRAY['shared_buffers', 'wal_level', 'synchronous_commit', 'max_wal_size']) name)"""
        )
        print("\n" + "; ".join(cursor.fetchone()))
        print(
            f"{options.events:,} Nexmark bids of about 250 B in {options.partitions} partitions,"
            f" {os.cpu_count()} CPUs,"
            f" median of {options.runs}; {next(iter(sums))[0]:,} groups of (auction, 10 s window)"
        )
        reports = {}
        if results["eddy"]:
            staged = "nothing staged" if options.no_staging else "all 7 columns staged"
            reports["eddy"] = report(
                f"pg_eddy, one source worker, {staged}", results["eddy"], options.events
            )
        if results["handwritten"]:
            reports["handwritten"] = report(
                "hand-written: Python -> COPY -> PL/pgSQL statement trigger,"
                f" batches of {options.batch:,}",
                results["handwritten"],
                options.events,
            )
        if len(reports) == 2:
            (rate, per_cpu), (other_rate, other_per_cpu) = reports["eddy"], reports["handwritten"]
            print(
                f"\npg_eddy / hand-written: {rate / other_rate:.2f} in events/s,"
                f" {per_cpu / other_per_cpu:.2f} in events per CPU-second"
            )
    finally:
        if options.keep and server is not None:
            print(f"kept: {directory}, {server.dsn('eddy')}")
        else:
            if server is not None:
                server.stop()
            if broker is not None:
                broker.stop()
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
