"""SVG plots of the measurements of "make bench-all".

    plots.py RESULTS.json DIRECTORY
"""

import json
import os
import statistics
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

from report import median, per_million, rate  # noqa: E402

# the same file for the same measurements
matplotlib.rcParams["svg.hashsalt"] = "pg_eddy"
matplotlib.rcParams["svg.fonttype"] = "none"
matplotlib.rcParams["font.family"] = "sans-serif"
matplotlib.rcParams["axes.spines.top"] = matplotlib.rcParams["axes.spines.right"] = False
COLOR, OTHER = "#2a6f97", "#c08457"
NAMES = {
    "pg_eddy": "pg_eddy",
    "handwritten": "Python and trigger",
    "flink": "Flink SQL",
    "jet": "Hazelcast Jet",
    "streams": "Kafka Streams",
}


def select(results, part):
    """The measurements of a part that count, in groups of the same case, in their order."""
    cases = {}
    for found in results["measurements"]:
        if found["part"] == part and found.get("warm", True):
            cases.setdefault((found["system"], found["case"]), []).append(found)
    return cases


def title_of(system, case):
    if system == "pg_eddy":
        return f"pg_eddy, {case}"
    return NAMES.get(system, system)


def save(figure, directory, name):
    figure.tight_layout()
    figure.savefig(os.path.join(directory, name + ".svg"), metadata={"Date": None})
    plt.close(figure)


def bars(axes, groups, pick, label):
    """Horizontal bars of medians, with the range of the runs."""
    titles, values, low, high, colors = [], [], [], [], []
    for (system, case), group in groups.items():
        found = [pick(item) for item in group]
        middle = statistics.median(found)
        titles.append(title_of(system, case))
        values.append(middle)
        low.append(middle - min(found))
        high.append(max(found) - middle)
        colors.append(COLOR if system == "pg_eddy" else OTHER)
    axes.barh(titles, values, color=colors, xerr=[low, high], error_kw={"lw": 1, "capsize": 3})
    axes.invert_yaxis()
    axes.set_xlabel(label)


def draw_throughput(results, directory):
    groups = {key: group for key, group in select(results, "throughput").items() if key[0] != "librdkafka"}
    if not groups:
        return
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 0.45 * len(groups) + 1.2), sharey=True)
    bars(left, groups, lambda found: 1e-3 * found["events"] / (found["cpu"] + found["cpu_other"]),
         "thousand events per CPU-second")
    bars(right, groups, lambda found: 1e-3 * rate(found), "thousand events per second (wall)")
    right.invert_yaxis()
    save(figure, directory, "throughput")


def draw_cases(results, directory, part, name, label="CPU-seconds per million events"):
    groups = {("", str(case)): group for (_, case), group in select(results, part).items()}
    if not groups:
        return
    figure, axes = plt.subplots(figsize=(9, 0.4 * len(groups) + 1.2))
    titles = [case for _, case in groups]
    axes.barh(titles, [median(group, per_million) for group in groups.values()], color=COLOR)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    save(figure, directory, name)


def draw_sweeps(results, directory):
    """CPU time against what varies, one panel for each series."""
    series = [
        ("keys", "different keys", True),
        ("views", "views", False),
        ("sizes", "bytes in a message", True),
        ("partitions", "partitions", True),
        ("hops", "windows for each row", True),
    ]
    series = [item for item in series if select(results, item[0])]
    if not series:
        return
    columns = min(3, len(series))
    rows = -(-len(series) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.7 * columns, 2.8 * rows), squeeze=False)
    for axes, (part, label, logarithmic) in zip(grid.flat, series):
        points = [(case, median(group, per_million)) for (_, case), group in select(results, part).items()]
        points.sort()
        axes.plot(*zip(*points), marker="o", color=COLOR)
        if logarithmic:
            axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(label)
    for axes in grid[:, 0]:
        axes.set_ylabel("CPU-s per million")
    for axes in list(grid.flat)[len(series) :]:
        axes.axis("off")
    save(figure, directory, "sweeps")


def draw_latency(results, directory):
    found = [item for item in results["measurements"] if item["part"] == "latency"]
    if not found:
        return
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
    for axes, (end, title) in zip(panels, (("visible", "visible to a reader"), ("consumer", "received by a consumer"))):
        rows = [item for item in found if item["case"].endswith(end)]
        for key, style in (("p50", "-"), ("p90", "-."), ("p99", "--"), ("p99.9", ":")):
            axes.plot([100 * item["fraction"] for item in rows], [1e3 * item[key] for item in rows], style,
                      marker="o", color=COLOR, label=key)
        clients = [item for item in found if item["case"].endswith("client")]
        if clients:
            axes.plot([100 * item["fraction"] for item in clients], [1e3 * item["p99"] for item in clients], "--",
                      marker="x", color="0.6", label="p99 of librdkafka alone")
        axes.set_yscale("log")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("% of the sustainable rate")
    panels[0].set_ylabel("milliseconds after the intended time")
    panels[0].legend(frameon=False)
    save(figure, directory, "latency")


def draw_rotation(results, directory):
    found = [item for item in results["measurements"] if item["part"] == "rotation"]
    if not found:
        return
    samples = found[-1]["samples"]
    figure, axes = plt.subplots(figsize=(7, 3))
    for key, scale, label in (("stored_bytes", 2**20, "stored rows"), ("state_bytes", 2**20, "state of the views"),
                              ("memory", 1024, "memory of the worker")):
        axes.plot([item["at"] for item in samples], [item[key] / scale for item in samples], label=label)
    axes.set_xlabel("seconds")
    axes.set_ylabel("MB")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    save(figure, directory, "rotation")


def draw(results, directory):
    draw_throughput(results, directory)
    draw_cases(results, directory, "shapes", "shapes")
    draw_cases(results, directory, "guarantees", "guarantees")
    draw_cases(results, directory, "stages", "stages", "CPU-seconds per million events, cumulative")
    draw_sweeps(results, directory)
    draw_latency(results, directory)
    draw_rotation(results, directory)


if __name__ == "__main__":
    with open(sys.argv[1]) as source:
        draw(json.load(source), sys.argv[2])
