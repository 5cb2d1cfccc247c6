#!/usr/bin/env python3
"""Compares hopping windows of 1 hour that slide by 1 second with tumbling windows of 1 second.

All views get the same rows, in one session each, in turns, after an hour of event time that is not measured. Reported are the CPU time
per row of the session, from /proc, which includes closing; the size of the state; and the time to read the open windows of one
key of a view that shows early rows (median of 21). A server with pg_eddy must run on this machine; connection parameters are those of psql. The
database "panes_bench" is created, and dropped at the end.
"""

import argparse
import os
import subprocess
import time

VIEW = """SELECT eddy.create_continuous_view('{name}', $$
    SELECT key, w.window_start, w.window_end, count(*) AS n, sum(value), avg(value), max(value)
    FROM {stream}, {call} w GROUP BY key, w.window_start, w.window_end $$, emit => '{emit}');"""

SETUP = """
CREATE EXTENSION pg_eddy;
CREATE UNLOGGED TABLE {stream} (key int, ts timestamptz, value int);
SELECT eddy.create_stream('{stream}', event_time => 'ts');
CREATE OR REPLACE PROCEDURE load(stream text, first int, last int, step int, keys int, per_second int) LANGUAGE plpgsql AS $f$
BEGIN
    FOR t IN first..last - 1 BY step LOOP
        EXECUTE format('INSERT INTO %I SELECT k, timestamptz ''2026-01-01 00:00Z'' + (%s + s + p / %s.0) * interval ''1 s'',
            s %% 100 FROM generate_series(0, %s) s, generate_series(0, %s) p, generate_series(1, %s) k',
            stream, t, per_second, step - 1, per_second - 1, keys);
        COMMIT;
    END LOOP;
END $f$;
"""


class Session:
    """A psql session, whose backend uses CPU time."""

    def __init__(self, database):
        self.process = subprocess.Popen(["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", database], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = int(self.run("SELECT pg_backend_pid();")[0])

    def run(self, sql):
        self.process.stdin.write(sql + "\n\\echo end of result\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line == "end of result\n":
                return lines
            lines.append(line.rstrip("\n"))
        raise SystemExit("the statement failed: " + sql)

    def cpu(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


STREAMS = (("tumble", "eddy.tumble(ts, '1 s')", "on_close"),
           ("hop", "eddy.hop(ts, '1 s', '1 h')", "on_close"),
           ("early", "eddy.hop(ts, '1 s', '1 h')", "changes"))


def load(args, session, stream, first, last):
    session.run(f"CALL load('{stream}', {first}, {last}, {args.step}, {args.keys}, {args.per_second});")


def measure_cost(args, sessions):
    """CPU time of each session. They take turns, so that what else the machine does affects all of them."""
    slices = min(args.slices, args.seconds // args.step)
    length = args.seconds // slices // args.step * args.step
    used = dict.fromkeys(sessions, 0.0)
    for number in range(slices):
        for stream, session in sessions.items():
            before = session.cpu()
            load(args, session, stream, 3600 + number * length, 3600 + (number + 1) * length)
            used[stream] += session.cpu() - before
    return {stream: cpu / (slices * length * args.keys * args.per_second) * 1e6 for stream, cpu in used.items()}


def measure_reading(session, stream):
    """The number of open windows of a key, and the median of the time to read them."""
    query = f"SELECT count(*), min(sum), max(avg) FROM {stream}_view WHERE key = 1 AND window_end > (SELECT eddy.watermark('{stream}'));"
    times = []
    for _ in range(21):
        start = time.monotonic()
        rows = session.run(query)[0].split("|")[0]
        times.append((time.monotonic() - start) * 1e3)
    return rows, sorted(times)[len(times) // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=50)
    parser.add_argument("--per-second", type=int, default=1, help="rows of each key in a second of event time")
    parser.add_argument("--step", type=int, default=100, help="seconds of event time in a batch")
    parser.add_argument("--seconds", type=int, default=3600, help="seconds of event time that are measured")
    parser.add_argument("--slices", type=int, default=12, help="how often the sessions take turns")
    args = parser.parse_args()
    subprocess.run(["psql", "-X", "-q", "postgres", "-c", "DROP DATABASE IF EXISTS panes_bench WITH (FORCE)",
                    "-c", "CREATE DATABASE panes_bench"], check=True)
    sessions = {}
    for stream, call, emit in STREAMS:
        session = sessions[stream] = Session("panes_bench")
        session.run("SET client_min_messages = warning;")
        session.run(SETUP.format(stream=stream).replace("EXTENSION", "EXTENSION IF NOT EXISTS"))
        session.run(VIEW.format(name=stream + "_view", stream=stream, call=call, emit=emit))
        session.run(f"CALL load('{stream}', 0, 3600, 100, {args.keys}, {args.per_second});")
    sessions["tumble"].run("VACUUM;")
    costs = measure_cost(args, sessions)
    sessions["tumble"].run("ANALYZE;")
    base = None
    for stream, session in sessions.items():
        state = int(session.run(f"SELECT state_bytes FROM eddy.stat_continuous_views WHERE view = '{stream}_view'::regclass;")[0])
        base = base or (costs[stream], state)
        rows, reading = measure_reading(session, stream)
        print(f"{stream:8} {costs[stream]:7.2f} us/row (x {costs[stream] / base[0]:.2f})  state {state / 1e6:7.1f} MB "
              f"(x {state / base[1]:.2f})  {rows} open windows of a key in {reading:.1f} ms", flush=True)
    for session in sessions.values():
        session.process.kill()
    subprocess.run(["psql", "-X", "-q", "postgres", "-c", "DROP DATABASE panes_bench WITH (FORCE)"], check=True)


if __name__ == "__main__":
    main()
