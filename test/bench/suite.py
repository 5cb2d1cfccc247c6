"""The benchmark "make bench-all": pg_eddy and other stream processors, and what the cost depends on.

Measurements are appended to a JSON file as they are made. Plots and tables are made from that file
by plots.py and report.py. See README.md.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time

import part_costs
import part_latency
import part_rotation
import part_shapes
import part_sweeps
import part_throughput
import plots
from cluster import ROOT, Broker, Server, new_directory, run
from measure import Reference, bid_stream, bid_view, consume
from report import per_million

PARTS = {
    "throughput": part_throughput.measure,
    "shapes": part_shapes.measure,
    "stages": part_costs.measure_stages,
    "guarantees": part_costs.measure_guarantees,
    "keys": part_sweeps.measure_keys,
    "views": part_sweeps.measure_views,
    "sizes": part_sweeps.measure_sizes,
    "partitions": part_sweeps.measure_partitions,
    "hops": part_sweeps.measure_hops,
    "latency": part_latency.measure,
    "rotation": part_rotation.measure,
}
SYSTEMS = ("pg_eddy", "handwritten", "librdkafka", *part_throughput.PEERS)
NEEDS_BIDS = ("throughput", "shapes")


class Bench:
    """What all parts share: options, broker, server, reference rows, and the results."""

    def __init__(self, options, directories):
        self.options = options
        self.events = options.events
        self.sweep_events = options.sweep_events
        self.broker = Broker(os.path.join(directories["broker"], "kafka"))
        self.server = Server(directories["server"], options.pg_config)
        self.reference = Reference(self)
        self.topics = set()
        chosen = {name: value for name, value in vars(options).items() if name not in ("output", "pg_config")}
        self.results = {"machine": describe_machine(self), "options": chosen, "measurements": []}
        if options.keep:
            self.results["measurements"] = kept_measurements(options)

    def wants_system(self, name):
        return not self.options.systems or name in self.options.systems

    def topic(self, name, partitions, events, *arguments, kind="bids"):
        """Fills a topic, unless it exists."""
        if name not in self.topics:
            seed = ("-s", str(self.options.seed))
            self.broker.preload(name, partitions, events, *seed, *arguments, kind=kind)
            self.topics.add(name)

    def drop_topic(self, name):
        self.topics.discard(name)
        self.server.drop_database("eddy")
        self.broker.tool("delete-topic", name)

    def timed_tool(self, *arguments):
        """Wall and CPU seconds of a command of eddy-kafka-tool."""
        before, start = os.times(), time.monotonic()
        self.broker.tool(*arguments)
        seconds, after = time.monotonic() - start, os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        return {"seconds": seconds, "cpu": used, "cpu_other": 0.0, "cpu_broker": 0.0}

    def record(self, part, case, system, result):
        """Prints and stores a measurement."""
        result = {"part": part, "case": case, "system": system, **result}
        self.results["measurements"].append(result)
        text = f"{part}, {case}, {system}:"
        if "p99" in result:
            text += f" p50 {result['p50'] * 1e3:.1f} ms, p99 {result['p99'] * 1e3:.1f} ms"
            text += f" at {result['rate']:,.0f} events/s"
            if "undisturbed" in result:
                calm = result["undisturbed"]
                text += f"; without hiccups ({result['hiccups']:.1%} of the time) p50 {calm['p50'] * 1e3:.1f} ms,"
                text += f" p99 {calm['p99'] * 1e3:.1f} ms of {calm['events'] / result['events']:.0%} of the events"
            if "used" in result:
                text += ", CPUs: " + ", ".join(f"{name} {value:.2f}" for name, value in result["used"].items())
                text += f", {result['wal']:.0f} bytes of WAL per event"
        elif "events" in result:
            text += f" {result['events'] / result['seconds']:,.0f} events/s,"
            text += f" {per_million(result):.2f} CPU-seconds per million"
        else:
            text += f" {result['cpu'] / result['seconds']:.4f} cores"
        if result.get("memory"):
            text += f", {result['memory'] / 1024:.0f} MB"
        if "rows" in result:
            text += f", {result['rows']:,} result rows checked"
        print(text + ("" if result.get("warm", True) else " (warm-up)"), flush=True)
        self.write()

    def write(self):
        path = os.path.join(self.options.output, "results.json")
        with open(path + ".new", "w") as file:
            json.dump(self.results, file, indent=1)
            file.write("\n")
        os.replace(path + ".new", path)


def describe_machine(bench):
    cursor = bench.server.connect("postgres").cursor()
    cursor.execute("""
        SELECT split_part(version(), ' on ', 1),
               (SELECT jsonb_object_agg(name, current_setting(name)) FROM unnest(ARRAY['shared_buffers',
                'wal_level', 'synchronous_commit', 'pg_eddy.synchronous_commit', 'fsync', 'max_wal_size', 'jit']) name)""")
    version, settings = cursor.fetchone()
    processor = platform.processor() or platform.machine()
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "date": datetime.date.today().isoformat(),
        "cpus": os.cpu_count(),
        "processor": processor,
        "memory": memory,
        "postgresql": version,
        "settings": settings,
        "java": run(["java", "--version"]).splitlines()[0] if shutil.which("java") else None,
        "commit": commit(),
    }


def kept_measurements(options):
    """Measurements of an earlier run, of the parts that are not measured again."""
    path = os.path.join(options.output, "results.json")
    if not os.path.exists(path):
        return []
    with open(path) as file:
        found = json.load(file)["measurements"]
    again = {*options.only}
    for part, other in (("stages", "stages of INSERT"), ("latency", "idle"), ("sizes", "sizes, external")):
        if part in again:
            again.add(other)
    return [item for item in found if item["part"] not in again]


def commit():
    """The version that is measured, if this is a checkout."""
    command = ["git", "-C", ROOT, "describe", "--always", "--dirty"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None


def names(text, known, what):
    """A list of names, separated by commas or spaces."""
    found = text.replace(",", " ").split()
    for name in found:
        if name not in known:
            sys.exit(f"{what} \"{name}\" does not exist; there are: {', '.join(known)}")
    return found


def warm_up_server(bench):
    """Lets the new server touch its shared memory and create WAL segments, as no other run does."""
    bench.topic("some-bids", 4, bench.sweep_events)
    consume(bench, bid_stream() + bid_view(), "some-bids", bench.sweep_events)


def parse_arguments():
    env = os.environ.get
    parser = argparse.ArgumentParser(prog="test/bench/run all", description=__doc__.splitlines()[0])

    def number(option, variable, default, text):
        parser.add_argument(
            option, type=int, default=int(env(variable) or default), help=f"{text} ({variable})"
        )

    number("--events", "N", 5_000_000, "events of the parts throughput and shapes")
    number("--sweep-events", "SWEEP_N", 1_000_000, "events of the other parts")
    number("--runs", "RUNS", 5, "measured runs of the parts throughput, stages and guarantees")
    number("--sweep-runs", "SWEEP_RUNS", 1, "runs of the other parts")
    number("--seconds", "SECONDS_EACH", 60, "duration of each measurement of latency")
    number("--latency-warm-up", "LATENCY_WARM_UP", 60, "seconds of load before latency is measured")
    number("--rotation", "ROTATION", 60, "duration of the part rotation in seconds")
    number("--rotation-rate", "ROTATION_RATE", 50_000, "its events per second")
    number("--rate", "RATE", 0, "sustainable rate for the part latency; 0: determine it")
    parser.add_argument(
        "--warm-up",
        type=int,
        default=int(env("WARM_UP")) if env("WARM_UP") else None,
        help="runs of a JVM that are not counted (WARM_UP)",
    )
    parser.add_argument("--only", default=env("ONLY") or "", help=f"parts: {', '.join(PARTS)} (ONLY)")
    parser.add_argument("--systems", default=env("SYSTEMS") or "", help=f"{', '.join(SYSTEMS)} (SYSTEMS)")
    parser.add_argument(
        "--keep",
        action="store_true",
        default=bool(env("KEEP")),
        help="keep the measurements of other parts in the output (KEEP=1)",
    )
    parser.add_argument(
        "--broker-directory",
        default=env("BROKER_DIRECTORY"),
        help="where the broker keeps its files, for example in memory; TMPDIR if not set (BROKER_DIRECTORY)",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", default=env("OUTPUT") or os.path.join(ROOT, "build", "bench"))
    parser.add_argument("--pg-config", default=env("PG_CONFIG") or "pg_config")
    options = parser.parse_args()
    options.only = names(options.only, PARTS, "part") or list(PARTS)
    options.systems = names(options.systems, SYSTEMS, "system")
    return options


def main():
    options = parse_arguments()
    os.makedirs(options.output, exist_ok=True)
    directories = {"server": new_directory(), "broker": new_directory(options.broker_directory)}
    bench = None
    start = time.monotonic()
    try:
        bench = Bench(options, directories)
        if any(part in NEEDS_BIDS for part in options.only):
            bench.topic("bids", 4, options.events)
        if bench.wants_system("pg_eddy"):
            warm_up_server(bench)
        for part in options.only:
            PARTS[part](bench)
        bench.results["seconds"] = round(time.monotonic() - start)
        bench.write()
        plots.draw(bench.results, options.output)
        print(f"{bench.results['seconds']} s; results and plots are in {options.output}")
    finally:
        if bench is not None:
            bench.server.stop()
            bench.broker.stop()
        for directory in directories.values():
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
