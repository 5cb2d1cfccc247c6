#!/usr/bin/env python3
"""Writes the figures of "make bench-all" into docs/performance.md and README.md.

    test/bench/report.py [DIRECTORY]      the output directory of the benchmark, build/bench by default

Text between the lines "<!-- figures: NAME -->" and "<!-- end of figures -->" is replaced; figures of
parts that were not measured remain. The plots and the measurements are copied to docs/performance/.
"""

import glob
import json
import os
import re
import shutil
import statistics
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NAMES = {
    "pg_eddy": "pg_eddy",
    "handwritten": "hand-written: Python, COPY, trigger",
    "librdkafka": "librdkafka alone (limit)",
    "flink": "Flink SQL",
    "jet": "Hazelcast Jet",
    "streams": "Kafka Streams",
}
PEERS = ("flink", "jet", "streams", "handwritten")
EDDY_CASES = ("staged", "retention 0", "staged, 2 workers", "retention 0, 2 workers")


def cpu(found):
    """CPU seconds of the system, with its background processes, without the broker."""
    return found["cpu"] + found.get("cpu_other", 0.0) + found.get("cpu_sender", 0.0)


def per_million(found):
    return cpu(found) / found["events"] * 1e6


def rate(found):
    return found["events"] / found["seconds"]


def median(group, pick):
    return statistics.median(pick(found) for found in group)


def span(group, pick, form):
    """Median and, if there were several runs, range."""
    values = [pick(found) for found in group]
    middle = form(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form(min(values))} to {form(max(values))})"


def thousand(value):
    return f"{value / 1e3:,.0f} k"


def two_digits(value):
    return f"{round(value, 2) + 0.0:.2f}"


def megabytes(kilobytes):
    return f"{kilobytes / 1024:,.0f} MB"


def undisturbed_latency(item):
    """p50 and p99 of the events that no hiccup of the machine delayed, and their share."""
    calm = item.get("undisturbed")
    if calm is None:
        return "", "", ""
    return milliseconds(calm["p50"]), milliseconds(calm["p99"]), f"{calm['events'] / item['events']:.0%}"


def milliseconds(seconds):
    return f"{seconds * 1e3:.1f}" if seconds < 0.1 else f"{seconds * 1e3:,.0f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


class Figures:
    def __init__(self, results):
        self.results = results
        self.groups = {}
        for found in results["measurements"]:
            if found.get("warm", True):
                key = (found["part"], found["system"], found["case"])
                self.groups.setdefault(key, []).append(found)

    def part(self, name):
        """Cases of a part with their runs."""
        return {key[1:]: group for key, group in self.groups.items() if key[0] == name}

    def runs(self, case):
        return self.groups.get(("throughput", "pg_eddy", case))

    def peer(self, name):
        return next((group for key, group in self.groups.items() if key[:2] == ("throughput", name)), None)

    # ---- blocks ----

    def machine(self):
        machine, options = self.results["machine"], self.results["options"]
        settings = ", ".join(f"{name} = {value}" for name, value in sorted(machine["settings"].items()))
        files = ", with its files in memory," if options.get("broker_directory") == "/dev/shm" else ""
        return (
            f"Measured on {machine['date']} on a virtual machine with {machine['cpus']} CPUs"
            f" ({machine['processor']}) and {machine['memory'] / 2**30:.0f} GB of memory, with"
            f" {machine['postgresql']} ({settings}), Apache Kafka 4.1 on the same machine{files} and"
            f" {machine['java']}: {options['events']:,} events "
            + ("in each series." if options["events"] == options["sweep_events"] else
               f"for throughput and queries, {options['sweep_events']:,} for the other series.")
        )

    def throughput(self):
        rows = []
        order = [("pg_eddy", case) for case in EDDY_CASES] + [(name, None) for name in (*PEERS, "librdkafka")]
        for system, case in order:
            group = self.runs(case) if case else self.peer(system)
            if not group:
                continue
            title = f"pg_eddy, {case}" if case else NAMES[system]
            memory = max((found.get("memory") or 0) for found in group)
            rows.append(
                (
                    title,
                    span(group, rate, thousand),
                    thousand(1e6 / median(group, per_million)),
                    span(group, per_million, two_digits),
                    two_digits(median(group, lambda found: found["cpu_broker"] / found["events"] * 1e6)),
                    megabytes(memory) if memory else "",
                )
            )
        if not rows:
            return None
        head = ("", "events/s", "events per CPU-second", "CPU-s per million", "broker", "memory")
        return table(head, rows)

    def ratios(self):
        """CPU time and throughput of pg_eddy in relation to each peer, and the peers that are ahead."""
        peers = [name for name in PEERS if self.peer(name)]
        cases = [case for case in EDDY_CASES if self.runs(case)]
        if not peers or not cases:
            return None
        rows, ahead = [], []
        for case in cases:
            row = [f"pg_eddy, {case}"]
            for name in peers:
                work = median(self.peer(name), per_million) / median(self.runs(case), per_million)
                wall = median(self.runs(case), rate) / median(self.peer(name), rate)
                row.append(f"{work:.2f} / {wall:.2f}")
                if work < 1:
                    ahead.append(f"{NAMES[name]} does {1 / work:.2f} times the events of pg_eddy ({case})"
                                 " per CPU-second")
                if wall < 1:
                    ahead.append(f"{NAMES[name]} does {1 / wall:.2f} times the events of pg_eddy ({case})"
                                 " per second")
            rows.append(row)
        text = table(["events per CPU-second / events per second", *(NAMES[name] for name in peers)], rows)
        if ahead:
            return text + "\n\nWhere others are ahead:\n\n" + "\n".join(f"- {line}." for line in ahead)
        return text + "\n\nIn this run none of them was ahead of pg_eddy."

    def details(self):
        group = self.runs("staged")
        if not group or "updated" not in group[0]:
            return None
        hot = median(group, lambda found: found["hot_updated"] / max(1, found["updated"]))
        hits = median(group, lambda found: found["group_hits"] / max(1, found["group_lookups"]))
        return (
            f"Of the updates of the state table {hot:.1%} were HOT, and {hits:.1%} of the groups that were"
            " merged were found without the index."
        )

    def simple(self, part, title, rate_too=True):
        groups = self.part(part)
        if not groups:
            return None
        head = [title, "CPU-s per million"] + (["events/s"] if rate_too else [])
        rows = []
        for (_, case), group in groups.items():
            name = f"{case:,}" if isinstance(case, int) else case
            cells = [name, two_digits(median(group, per_million))]
            rows.append(cells + ([thousand(median(group, rate))] if rate_too else []))
        return table(head, rows)

    def sizes(self):
        text = self.simple("sizes", "bytes in a message")
        more = self.simple("sizes, external", "")
        if text and more:
            text += "\n" + "\n".join(
                line.replace(" |", ", `STORAGE EXTERNAL` |", 1)
                for line in more.split("\n")[2:]
            )
        return text

    def steps(self, part):
        """Cumulative cost of the stages, and the cost of each."""
        groups = self.part(part)
        if not groups:
            return None
        rows, before = [], 0.0
        for (_, case), group in groups.items():
            now = median(group, per_million)
            rows.append((case, two_digits(now), two_digits(now - before)))
            before = now
        return table(("", "CPU-s per million, cumulative", "of this step"), rows)

    def guarantees(self):
        groups = self.part("guarantees")
        base = next((group for (_, case), group in groups.items() if case == "reference"), None)
        if not base:
            return None
        base = median(base, per_million)
        rows = []
        for (_, case), group in groups.items():
            now = median(group, per_million)
            more = "" if case == "reference" else f"{round(now - base, 2) + 0.0:+.2f}"
            rows.append((case, two_digits(now), more, thousand(median(group, rate))))
        return table(("", "CPU-s per million", "difference", "events/s"), rows)

    def latency(self):
        found = [item for item in self.results["measurements"] if item["part"] == "latency"]
        if not found:
            return None
        rows = []
        for item in found:
            rows.append(
                (
                    f"{item['fraction']:.0%}: {item['rate']:,.0f}",
                    item["case"].split(", ")[1],
                    *(milliseconds(item[key]) for key in ("p50", "p90", "p99", "p99.9", "max")),
                    *undisturbed_latency(item),
                )
            )
        text = f"Sustainable rate: {found[0]['sustainable']:,.0f} events/s.\n\n"
        head = ("rate (events/s)", "until", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms")
        text += table((*head, "no hiccup: p50 ms", "p99 ms", "of the events"), rows)
        text += self.hiccups(found)
        text += self.latency_limits(found)
        idle = self.groups.get(("idle", "pg_eddy", "worker"))
        if idle:
            cores = median(idle, lambda item: item["cpu"] / item["seconds"])
            text += f"\n\nA worker without messages uses {cores:.2%} of a CPU"
            everything = self.groups.get(("idle", "pg_eddy", "all processes"))
            if everything:
                cores = median(everything, lambda item: item["cpu"] / item["seconds"])
                text += f", and all processes of pg_eddy together {cores:.2%}"
            text += "."
        return text

    def hiccups(self, found):
        shares = {item["fraction"]: item["hiccups"] for item in found if "hiccups" in item}
        if not shares:
            return ""
        shown = ", ".join(f"{share:.1%} at {fraction:.0%}" for fraction, share in shares.items())
        return f"\n\nTime in which the CPUs of this machine were more than 5 times slower than usual: {shown}."

    def latency_limits(self, found):
        """What is not due to pg_eddy: the client beside it, and CPUs that were not idle."""
        limits = {item["fraction"]: item["p99"] for item in found if item["case"].endswith(", client")}
        parts = []
        for item in found:
            if item["case"].endswith(", visible") and item["fraction"] in limits:
                more = 1e3 * (item["p99"] - limits[item["fraction"]])
                parts.append(
                    f"{more:,.0f} ms at {item['fraction']:.0%} ({item['used']['idle']:.2f} CPUs idle,"
                    f" {item['used']['broker']:.2f} used by the broker)"
                )
        if not parts:
            return ""
        return (
            "\n\nDifference between the p99 until an event is visible and until the client has it, in the same seconds: "
            + ", ".join(parts)
            + "."
        )

    def rotation(self):
        found = self.part("rotation")
        if not found:
            return None
        item = next(iter(found.values()))[-1]
        half = [sample for sample in item["samples"] if sample["at"] > item["seconds"] / 2]
        first = [sample for sample in item["samples"] if sample["at"] <= item["seconds"] / 2]

        def largest(samples, key):
            return max(sample[key] for sample in samples) if samples else 0

        rows = [
            (name, f"{largest(first, key) / scale:,.0f} MB", f"{largest(half, key) / scale:,.0f} MB")
            for key, scale, name in (
                ("stored_bytes", 2**20, "stored rows"),
                ("state_bytes", 2**20, "state of the views"),
                ("memory", 1024, "memory of the worker"),
            )
        ]
        head = (
            f"{item['seconds']:,} s at {item['rate']:,} events/s, retention {item['retention']} s",
            "largest in the first half",
            "in the second half",
        )
        return table(head, rows)

    def summary(self):
        """The table of the README."""
        rows = []
        order = [("pg_eddy", "staged"), ("pg_eddy", "retention 0")] + [(name, None) for name in PEERS]
        for system, case in order:
            group = self.runs(case) if case else self.peer(system)
            if group:
                title = {"staged": "pg_eddy, all 7 columns stored", "retention 0": "pg_eddy, rows not stored"}
                rows.append(
                    (
                        title.get(case, NAMES[system]),
                        span(group, rate, thousand),
                        thousand(1e6 / median(group, per_million)),
                    )
                )
        if not rows:
            return None
        return table(("", "events/s", "events per CPU-second, without the broker"), rows)

    def note(self):
        machine, options = self.results["machine"], self.results["options"]
        groups = self.runs("staged")
        if not groups:
            return None
        runs = f"median of {len(groups)} runs" if len(groups) > 1 else "one run"
        return (
            f"Measured with `make bench-all` on a virtual machine with {machine['cpus']} CPUs,"
            f" {machine['postgresql']} and Kafka 4.1 on the same machine: {options['events']:,} Nexmark bids"
            " of 250 bytes, preloaded in 4 partitions; `count`, `sum` and `max` by auction and 10-second"
            f" window, {groups[0]['rows']:,} groups; each batch is flushed after its commit; every result compared with"
            f" the batch SELECT, row by row; {runs}."
        )

    def blocks(self):
        return {
            "machine": self.machine(),
            "throughput": self.throughput(),
            "ratios": self.ratios(),
            "details": self.details(),
            "shapes": self.simple("shapes", "query"),
            "stages": self.steps("stages"),
            "stages of INSERT": self.steps("stages of INSERT"),
            "guarantees": self.guarantees(),
            "keys": self.simple("keys", "different keys"),
            "views": self.simple("views", "views"),
            "sizes": self.sizes(),
            "partitions": self.simple("partitions", "partitions"),
            "hops": self.simple("hops", "windows for each row"),
            "latency": self.latency(),
            "rotation": self.rotation(),
            "summary": self.summary(),
            "note": self.note(),
        }


def wrap(text, width=128):
    """Lines of prose of limited length; tables remain as they are."""
    lines = []
    for line in text.split("\n"):
        while len(line) > width and not line.startswith("|"):
            cut = line.rfind(" ", 0, width)
            lines.append(line[:cut])
            line = ("  " if line.startswith(("- ", "  ")) else "") + line[cut + 1 :]
        lines.append(line)
    return "\n".join(lines)


def replace(path, blocks):
    with open(path) as file:
        text = file.read()

    def block(match):
        found = blocks[match.group(1)]
        return match.group(0) if found is None else (
            f"<!-- figures: {match.group(1)} -->\n{wrap(found)}\n<!-- end of figures -->"
        )

    text = re.sub(r"<!-- figures: (.*?) -->\n.*?<!-- end of figures -->", block, text, flags=re.S)
    with open(path, "w") as file:
        file.write(text)


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build", "bench")
    with open(os.path.join(directory, "results.json")) as file:
        results = json.load(file)
    blocks = Figures(results).blocks()
    replace(os.path.join(ROOT, "docs", "performance.md"), blocks)
    replace(os.path.join(ROOT, "README.md"), blocks)
    target = os.path.join(ROOT, "docs", "performance")
    os.makedirs(target, exist_ok=True)
    for path in glob.glob(os.path.join(directory, "*.svg")) + [os.path.join(directory, "results.json")]:
        shutil.copy(path, target)
        os.chmod(os.path.join(target, os.path.basename(path)), 0o644)
    missing = [name for name, found in blocks.items() if found is None]
    print("figures written" + (f"; not measured: {', '.join(missing)}" if missing else ""))


if __name__ == "__main__":
    main()
