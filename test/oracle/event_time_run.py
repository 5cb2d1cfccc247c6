#!/usr/bin/env python3
"""Runs random streams against a server and compares it with the reference model.

    event_time_run.py [--seeds N] [--first SEED] [--jobs N] [--restart COMMAND]

Connects with psql, by PGHOST, PGPORT and PGDATABASE. A seed is a random sequence of transactions. Twenty
seeds share one stream with two or three views, whose windows and options are random as well; each seed starts
long after the one before it. The batches are users' statements, so each stream has one partition.

Compared are the contents of the views, one of which may show changes at intervals, which rows are final, and the
late rows with the watermark that judged them. A difference is printed with its seed; --first SEED --seeds 1 repeats it alone, after
the seeds of the same stream before it. With --restart, the command is run several times while no
transaction is open.
"""

import argparse
import random
import subprocess
import sys
import threading
import time

from event_time_model import (ALWAYS, NEVER, Row, SessionView, Stream, WindowView, cumulate, hop, tumble)

SEEDS_PER_STREAM = 20
DEADLINE = 180          # seconds to wait for the database worker to close windows
END = 'end of results'


class Psql:
    def __init__(self):
        self.process = subprocess.Popen(
            ['psql', '-XAtq', '-F', '|', '-v', 'ON_ERROR_STOP=1', '-c', 'SELECT 1', '-f', '-'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, sql):
        """The rows that the statements return, as lists of texts."""
        self.process.stdin.write(sql + '\n\\echo %s\n' % END)
        self.process.stdin.flush()
        rows = []
        for line in self.process.stdout:
            line = line.rstrip('\n')
            if line == END:
                return rows
            rows.append(line.split('|'))
        raise SystemExit('psql ended:\n%s' % '\n'.join('|'.join(r) for r in rows))

    def wait_until_ended(self, deadline):
        """Waits until the server ends the session."""
        self.process.stdin.write('SELECT pg_sleep(%d);\n' % deadline)
        self.process.stdin.flush()
        self.process.stdout.read()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Configuration:
    """Windows and options of one stream and its views."""

    def __init__(self, number):
        rng = random.Random('stream %d' % number)
        self.name = 'random_%d' % number
        self.delay = rng.choice([0, 1, 5, 25])
        self.lateness = rng.choice([0, 0, 0, 3, 20])
        self.choose_late('late rows of stream %d' % number)
        self.zone = rng.random() < 0.5
        self.keys = rng.choice([1, 2, 4])
        kind = rng.choice(['tumble', 'hop', 'cumulate', 'session', 'session', 'session'])
        offset = rng.choice([0, 3, -7])
        self.session = kind == 'session'
        if kind == 'tumble':
            size = rng.choice([1, 7, 20])
            self.make_view = lambda: WindowView(tumble(size, offset), self.lateness, self.retention)
            self.call = "eddy.tumble(ts, '%d s', '%d s')" % (size, offset)
        elif kind == 'hop':
            slide, size = rng.choice([(6, 12), (5, 12), (1, 4), (9, 5), (10, 10)])
            self.make_view = lambda: WindowView(hop(slide, size, offset), self.lateness, self.retention)
            self.call = "eddy.hop(ts, '%d s', '%d s', '%d s')" % (slide, size, offset)
        elif kind == 'cumulate':
            step, steps = rng.choice([(6, 3), (10, 2), (1, 5)])
            self.make_view = lambda: WindowView(cumulate(step, step * steps, offset), self.lateness, self.retention)
            self.call = "eddy.cumulate(ts, '%d s', '%d s', '%d s')" % (step, step * steps, offset)
        else:
            gap = rng.choice([1, 4, 10])
            by_row = rng.random() < 0.3
            max_length = rng.choice([None, None, 5, 15])
            if self.lateness == ALWAYS and self.retention is None:
                max_length = None       # is refused
            self.make_view = lambda: SessionView(
                (lambda row: gap + row.value % 3 * 4) if by_row else (lambda row: gap),
                max_length, self.lateness, self.retention)
            self.call = "eddy.session(ts, %s%s)" % (
                "(%d + v %% 3 * 4) * interval '1 s'" % gap if by_row else "'%d s'" % gap,
                ", max_length => '%d s'" % max_length if max_length else '')
        # most of what it can do wrong is with sessions
        self.pace = rng.choice(['1 ms', '20 ms', '60 ms']) if self.session or rng.random() < 0.2 else None
        # aggregates whose values are kept, and merged with sessions
        self.keeps_values = self.session and rng.random() < 0.5

    def choose_late(self, seed):
        """Any policy with any allowed lateness; the last ones are accepted as long as the view has their window."""
        rng = random.Random(seed)
        self.late = rng.choice(['drop', 'keep', 'keep', 'update'])
        self.retention = rng.choice([None, None, 0, 15, 40])
        if self.late == 'update' and self.lateness == 0:
            self.lateness = ALWAYS
        self.options = "late => '%s'" % self.late
        if 0 < self.lateness < ALWAYS:
            self.options += ", allowed_lateness => '%d s'" % self.lateness
        if self.retention is not None:
            self.options += ", retention => '%d s'" % self.retention

    def kept(self):
        if not self.keeps_values:
            return 'NULL::text'
        return "count(DISTINCT v) || ':' || string_agg(v::text, ',' ORDER BY v)"

    def setup(self):
        bounds = 'w.window_start, w.window_end' + (', w.last_event' if self.session else '')
        # eddy.tumble has a row for a time that is null, with bounds that are null
        where = ' WHERE ts IS NOT NULL' if 'tumble' in self.call else ''
        query = """SELECT k, %s, count(*) AS n, sum(v) AS s, min(v) AS lo, max(v) AS hi, avg(v) AS mean, %s AS kept
            FROM %s, %s w%s GROUP BY k, %s""" % (bounds, self.kept(), self.name, self.call, where, bounds)
        return """CREATE UNLOGGED TABLE %(name)s (k text, ts %(type)s, v int);
            SELECT FROM eddy.create_stream('%(name)s', event_time => 'ts', delay => '%(delay)d s',
                null_event_time => 'skip_watermark', retention => '0');
            SELECT FROM eddy.create_continuous_view('%(name)s_all', $$%(query)s$$, %(late)s);
            SELECT FROM eddy.create_continuous_view('%(name)s_final', $$%(query)s$$, emit => 'on_close', %(late)s);
            %(paced)s""" % dict(name=self.name, type='timestamptz' if self.zone else 'timestamp',
                       delay=self.delay, query=query, late=self.options,
                       paced="SELECT FROM eddy.create_continuous_view('%s_paced', $$%s$$, emit => 'every %s', %s);"
                       % (self.name, query, self.pace, self.options) if self.pace else '')


def seconds(expression):
    return "extract(epoch FROM %s)::bigint" % expression


class Difference(Exception):
    pass


class StreamRun:
    """One stream in the server and in the model."""

    def __init__(self, number):
        self.number = number
        self.configuration = Configuration(number)
        self.stream = Stream(self.configuration.delay)
        self.view = self.stream.add_view(self.configuration.make_view())
        self.created = False

    def literal(self, row):
        return "(%s, %s, %d)" % (
            'NULL' if row.key is None else "'%s'" % row.key,
            'NULL' if row.time is None else "to_timestamp(%d)%s" % (
                row.time, '' if self.configuration.zone else " AT TIME ZONE 'UTC'"),
            row.value)

    def insert(self, rows):
        return 'INSERT INTO %s VALUES %s;' % (self.configuration.name,
                                              ', '.join(self.literal(r) for r in rows))

    # what the server shows

    def read_view(self, psql, suffix, removed=False):
        """The rows of a view; those that the database worker is about to remove only if removed is true."""
        until = self.view.removed_until()
        where = '' if removed or until == NEVER else ' WHERE %s %s %d' % (
            seconds('window_end'), '>=' if self.configuration.session else '>', until)
        last = seconds('last_event') if self.configuration.session else 'NULL'
        return sorted(psql.run("SELECT coalesce(k, '?'), %s, %s, %s, n, s, lo, hi, round(mean, 6), kept FROM %s_%s%s;" % (
            seconds('window_start'), seconds('window_end'), last, self.configuration.name, suffix, where)))

    def read_late(self, psql):
        return sorted(psql.run("""SELECT coalesce(row_data ->> 'k', '?'), %s, row_data ->> 'v', %s, %s, %s
            FROM eddy.late_rows WHERE view = '%s_all'::regclass;""" % (
                seconds("(row_data ->> 'ts')::timestamptz"), seconds('window_start'),
                seconds('window_end'), seconds('watermark'), self.configuration.name)))

    def count_late(self, psql):
        [[count]] = psql.run("SELECT late_rows FROM eddy.stat_continuous_views WHERE view = '%s_all'::regclass;"
                             % self.configuration.name)
        return int(count)

    # what the model expects

    def expect_view(self, final_only):
        return sorted([key or '?', str(start), str(end), '' if last is None else str(last),
                       str(len(values)), str(sum(values)), str(min(values)), str(max(values)),
                       '%.6f' % (sum(values) / len(values)), self.expect_kept(values)]
                      for key, start, end, last, values, final in self.view.rows()
                      if final or not final_only)

    def expect_kept(self, values):
        if not self.configuration.keeps_values:
            return ''
        return '%d:%s' % (len(set(values)), ','.join(str(v) for v in sorted(values)))

    def expect_late(self):
        if self.configuration.late == 'drop':
            return []
        return sorted([x.row.key or '?', str(x.row.time), str(x.row.value), str(x.start), str(x.end),
                       str(x.watermark)] for x in self.view.late)

    def compare(self, what, actual, expected):
        if actual == expected:
            return
        if not isinstance(actual, list):
            actual, expected = [[str(actual)]], [[str(expected)]]
        lines = ['%s differ in stream %s: %s, delay %d, %s, watermark %s' % (
            what, self.configuration.name, self.configuration.call, self.configuration.delay,
            self.configuration.options, self.stream.watermark)]
        lines += ['  only in the server: %s' % '|'.join(r) for r in actual if r not in expected]
        lines += ['  only in the model:  %s' % '|'.join(r) for r in expected if r not in actual]
        raise Difference('\n'.join(lines))

    def run_seed(self, psql, seed):
        rng = random.Random(seed)
        if not self.created:
            psql.run(self.configuration.setup())
            self.created = True
        base = 1_000_000_000 + seed % SEEDS_PER_STREAM * 100_000 + rng.randrange(100)
        clock = 0
        for _ in range(rng.randint(4, 12)):
            statements = []
            for _ in range(rng.choice([1, 1, 1, 1, 2, 3])):
                rows = []
                for _ in range(rng.choice([1, 1, 2, 3, 6, 15])):
                    clock += rng.choice([0, 0, 1, 1, 3, 12])
                    moment = base + clock - rng.choice([0, 0, 0, 2, 5, 11, 30, 60])
                    rows.append(Row(0, rng.choice(['a', 'b', 'c', None][:self.configuration.keys]),
                                    None if rng.random() < 0.02 else moment, rng.randrange(100)))
                rng.shuffle(rows)
                statements.append(rows)
            self.transaction(psql, rng, statements)
            if rng.random() < 0.2:
                self.compare_rows(psql)
        self.compare_rows(psql)
        self.compare('number of late rows', self.count_late(psql), len(self.view.late))
        self.compare('late rows', self.read_late(psql), self.expect_late())
        self.compare_at_end(psql)

    def compare_rows(self, psql):
        self.compare('rows', self.read_view(psql, 'all'), self.expect_view(False))

    def compare_removal(self, psql):
        """What the retention has passed is removed by the database worker, and nothing else."""
        if self.configuration.retention is not None:
            for suffix in ('all', 'final'):
                self.compare_eventually(psql, 'rows with those to be removed', suffix, self.expect_view(suffix == 'final'),
                                        removed=True)

    def compare_at_end(self, psql):
        self.compare_eventually(psql, 'final rows', 'final', self.expect_view(True))
        if self.configuration.pace:
            self.compare_eventually(psql, 'rows that are shown at intervals', 'paced', self.expect_view(False))
        if self.configuration.pace and self.configuration.session:
            self.compare('superseded rows', psql.run('SELECT _replaces FROM eddy._%s_paced_state WHERE _superseded;'
                                                     % self.configuration.name), [])

    def drop(self, psql):
        psql.run('DROP TABLE %s CASCADE;' % self.configuration.name)

    def transaction(self, psql, rng, statements):
        committed = len(statements) == 1 or rng.random() < 0.7
        sql = '\n'.join(self.insert(rows) for rows in statements)
        if len(statements) > 1:
            sql = 'BEGIN;\n%s\n%s;' % (sql, 'COMMIT' if committed else 'ROLLBACK')
        psql.run(sql)
        if committed:
            for rows in statements:
                self.stream.batch(rows)

    def compare_eventually(self, psql, what, suffix, expected, removed=False):
        """The database worker closes what a commit has left to it, and shows changes when their interval is over."""
        deadline = time.monotonic() + DEADLINE
        while True:
            actual = self.read_view(psql, suffix, removed)
            if actual == expected or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        self.compare(what, actual, expected)


def run_streams(runs, seeds, failures):
    psql = Psql()
    psql.run("SET timezone = 'UTC'; SET client_min_messages = warning;")
    for seed in seeds:
        try:
            runs[seed // SEEDS_PER_STREAM].run_seed(psql, seed)
            if seed % SEEDS_PER_STREAM in (0, SEEDS_PER_STREAM - 1):
                runs[seed // SEEDS_PER_STREAM].compare_removal(psql)
        except Difference as difference:
            failures.append('seed %d: %s' % (seed, difference))
            break
        if seed % SEEDS_PER_STREAM == SEEDS_PER_STREAM - 1:
            runs[seed // SEEDS_PER_STREAM].drop(psql)
    psql.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--seeds', type=int, default=100)
    parser.add_argument('--first', type=int, default=0)
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--restart', action='append', default=[])
    options = parser.parse_args()

    seeds = range(options.first // SEEDS_PER_STREAM * SEEDS_PER_STREAM, options.first + options.seeds)
    runs = {n: StreamRun(n) for n in sorted({s // SEEDS_PER_STREAM for s in seeds})}
    failures = []
    phases = len(options.restart) + 1
    for phase in range(phases):
        threads = []
        if phase > 0:
            subprocess.run(options.restart[phase - 1], shell=True, check=True,
                           stdout=subprocess.DEVNULL)
        for job in range(options.jobs):
            mine = [s for s in seeds if s // SEEDS_PER_STREAM % options.jobs == job and
                    s % SEEDS_PER_STREAM * phases // SEEDS_PER_STREAM == phase]
            threads.append(threading.Thread(target=run_streams, args=(runs, mine, failures)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        if failures:
            break
    print('seeds %d to %d, %d streams, %d restarts' % (seeds[0], seeds[-1], len(runs),
                                                     len(options.restart)))
    print('rows late: %d, results final: %d' % (
        sum(len(r.view.late) for r in runs.values()), sum(len(r.view.closed) for r in runs.values())))
    for failure in failures:
        print(failure)
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main()
