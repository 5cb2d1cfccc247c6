#!/usr/bin/env python3
"""Measures what continuous views cost the statements of users, and compares it with hand-written triggers.

    make bench-writes                          all parts, 5 rounds of 5 seconds
    test/bench/writes.py --seconds S --rounds N --only PART ...

Parts: insert (single rows, 1 and 4 clients), instructions (of the same statements, with valgrind), copy, clients
(16 clients on 10 groups), transactions (32 clients, several statements on 10 groups), wal (of updates of groups, with and
without a logical slot), replace (the longest INSERT while the query of a view is replaced). A private server with
fsync = on is used, and the variants of a part run alternately. The extension must be installed. See README.md.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

from server import Server

PARTS = ['insert', 'instructions', 'copy', 'clients', 'transactions', 'wal', 'replace']
COPY_ROWS = 1000000
INSTRUCTIONS = 400  # statements

SETTINGS = """
fsync = on
shared_buffers = '512MB'
max_wal_size = '4GB'
checkpoint_timeout = '1h'
max_connections = 60
wal_level = logical
deadlock_timeout = '1s'
"""

# The same columns everywhere. "windowed" has one view, as has "deferred"; "triggered" is what one would write by hand, for
# a table like the streams. Sums and views are logged.
SCHEMA = """
DROP TABLE IF EXISTS plain, unlogged, bare, windowed, deferred, triggered, sums CASCADE;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
CREATE TABLE plain (k int, v int, at timestamptz);
CREATE UNLOGGED TABLE unlogged (k int, v int, at timestamptz);
CREATE UNLOGGED TABLE bare (k int, v int, at timestamptz);
CREATE UNLOGGED TABLE windowed (k int, v int, at timestamptz);
CREATE UNLOGGED TABLE deferred (k int, v int, at timestamptz);
CREATE UNLOGGED TABLE triggered (k int, v int, at timestamptz);
SELECT eddy.create_stream(t, event_time => 'at', delay => '1 day') FROM unnest('{bare,windowed,deferred}'::regclass[]) t;
SELECT eddy.create_continuous_view('windowed_view', $$
    SELECT k, w.window_start, w.window_end, count(*) AS n, sum(v) AS total, max(v) AS highest
    FROM windowed, eddy.tumble(at, '1 minute') AS w GROUP BY k, w.window_start, w.window_end $$);
SELECT eddy.create_continuous_view('deferred_view', $$
    SELECT k, w.window_start, w.window_end, count(*) AS n, sum(v) AS total, max(v) AS highest
    FROM deferred, eddy.tumble(at, '1 minute') AS w GROUP BY k, w.window_start, w.window_end $$,
    maintenance => 'deferred');
CREATE TABLE sums (k int, window_start timestamptz, window_end timestamptz, n bigint, total bigint, highest int,
    PRIMARY KEY (window_end, k)) WITH (fillfactor = 50);
CREATE OR REPLACE FUNCTION add_sums() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sums AS s
    SELECT k, date_trunc('minute', at), date_trunc('minute', at) + '1 minute', count(*), sum(v), max(v)
    FROM added GROUP BY 1, 2 ORDER BY 3, 1
    ON CONFLICT (window_end, k) DO UPDATE SET n = s.n + excluded.n, total = s.total + excluded.total,
        highest = greatest(s.highest, excluded.highest);
    RETURN NULL;
END $$;
CREATE TRIGGER add_sums AFTER INSERT ON triggered REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_sums();
"""

# The results must be right: rows that differ.
CHECKS = {
    'windowed': 'windowed_view', 'deferred': 'deferred_view', 'triggered': 'sums'
}
CHECK = """
SELECT count(*) FROM (
    WITH a AS MATERIALIZED (SELECT k, window_start, n, total, highest FROM {result}),
         b AS MATERIALIZED (SELECT k, date_trunc('minute', at), count(*), sum(v), max(v) FROM {table} GROUP BY 1, 2)
    (TABLE a EXCEPT ALL TABLE b) UNION ALL (TABLE b EXCEPT ALL TABLE a)) x
"""


def check(server, tables):
    for table in tables:
        if table in CHECKS and server.sql(CHECK.format(table=table, result=CHECKS[table])).strip() != '0':
            sys.exit(f'wrong result: {CHECKS[table]} differs from the rows of {table}')


def pgbench(server, script, clients, seconds, mode='prepared'):
    """Returns transactions per second, failed transactions, and the CPU time of the backends per transaction."""
    path = os.path.join(server.scratch, 'script.sql')
    with open(path, 'w', encoding='utf-8') as file:
        file.write(script)
    os.chmod(path, 0o644)
    before = server.backend_cpu()
    out = server.run('pgbench', '-n', '-M', mode, '-f', path, '-c', str(clients), '-j', '2', '-T', str(seconds),
                     '--max-tries=1', '-h', server.scratch, '-U', 'postgres', 'postgres')
    cpu = server.backend_cpu() - before
    failed = re.search(r'number of failed transactions: (\d+)', out)
    done = int(re.search(r'actually processed: (\d+)', out).group(1))
    return (float(re.search(r'tps = ([0-9.]+)', out).group(1)), int(failed.group(1)) if failed else 0,
            cpu / max(done, 1) * 1e6)


class Results:
    """What the rounds of each variant gave; medians count."""

    def __init__(self, tps, cpu, failures):
        self.tps = tps
        self.cpu = cpu
        self.failures = failures

    def median(self, name):
        return statistics.median(self.tps[name])

    def show(self, title, base):
        print(f'\n{title}')
        for name, values in self.tps.items():
            cpu = statistics.median(self.cpu[name])
            failed = f'  {self.failures[name]} failed' if self.failures[name] else ''
            print(f'  {name:12} {self.median(name):10,.0f} /s ({min(values):,.0f}-{max(values):,.0f})'
                  f'  time x {self.median(base) / self.median(name):6.2f}'
                  f'  CPU {cpu:7,.0f} us  x {cpu / statistics.median(self.cpu[base]):5.2f}{failed}')


def alternate(server, scripts, clients, arguments, mode='prepared'):
    """Runs each script in each round."""
    results = {name: [] for name in scripts}
    cpu = {name: [] for name in scripts}
    failures = dict.fromkeys(scripts, 0)
    for name, script in scripts.items():
        pgbench(server, script, clients, 1, mode)  # fill caches
    for _ in range(arguments.rounds):
        server.sql('CHECKPOINT')
        for name, script in scripts.items():
            tps, failed, microseconds = pgbench(server, script, clients, arguments.seconds, mode)
            results[name].append(tps)
            cpu[name].append(microseconds)
            failures[name] += failed
    check(server, scripts)
    return Results(results, cpu, failures)


INSERT = """
\\set k random(1, 100)
INSERT INTO {table} VALUES (:k, :k, '2026-01-01 00:00:00Z');
"""


def part_insert(server, arguments):
    scripts = {table: INSERT.format(table=table)
               for table in ('plain', 'bare', 'windowed', 'deferred', 'triggered')}
    for mode in ('prepared', 'simple'):
        for clients in (1, 4):
            results = alternate(server, scripts, clients, arguments, mode)
            results.show(f'single-row INSERT, {clients} client{"s" * (clients > 1)}, {mode}, synchronous commit', 'plain')


def statements_of(table, mode, n):
    """Input of a backend in single-user mode: n INSERTs."""
    if mode == 'prepared':
        return (f"PREPARE one AS INSERT INTO {table} VALUES ($1::int, $1::int, '2026-01-01 00:00:00Z')\n"
                + ''.join(f'EXECUTE one({i % 100})\n' for i in range(n)))
    return ''.join(f"INSERT INTO {table} VALUES ({i % 100}, {i}, '2026-01-01 00:00:00Z')\n" for i in range(n))


def run_single(server, statements, *wrapper):
    """Executes statements in single-user mode; returns the standard error."""
    result = subprocess.run(
        server.command(*wrapper, os.path.join(server.bindir, 'postgres'), '--single', '-D', server.data, 'postgres'),
        input=statements, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, cwd=server.scratch)
    return result.stderr


def part_instructions(server, _):
    """Counts instructions of a backend in single-user mode, less those of half as many statements."""
    if shutil.which('valgrind') is None:
        print('\nvalgrind is not installed: instructions are not counted')
        return
    server.shut_down()
    counter = (shutil.which('valgrind'), '--tool=callgrind', '--callgrind-out-file=/dev/null')
    counts = {}
    tables = ('plain', 'unlogged', 'bare', 'windowed', 'deferred', 'triggered')
    for table in tables:
        # from now on the groups exist
        run_single(server, statements_of(table, 'simple', 100))
        for mode in ('simple', 'prepared'):
            totals = [int(re.search(r'Collected : (\d+)', run_single(server, statements_of(table, mode, n), *counter)).group(1))
                      for n in (INSTRUCTIONS, INSTRUCTIONS * 2)]
            counts[table, mode] = (totals[1] - totals[0]) / INSTRUCTIONS
    server.start_again()
    print('\ninstructions of a single-row INSERT, parsed and planned each time, and prepared')
    for table in tables:
        print(f'  {table:12}' + ''.join(
            f' {counts[table, mode] / 1000:8,.0f} k   x {counts[table, mode] / counts["plain", mode]:5.2f} of plain'
            for mode in ('simple', 'prepared')))


def part_copy(server, arguments):
    path = os.path.join(server.scratch, 'rows')
    server.sql(f"COPY (SELECT i % 1000, i, '2026-01-01'::timestamptz + i * interval '1 ms'"
               f" FROM generate_series(1, {COPY_ROWS}) i) TO '{path}'")
    tables = ('plain', 'unlogged', 'bare', 'windowed', 'deferred', 'triggered')
    seconds = {table: [] for table in tables}
    cpu = {table: [] for table in tables}
    for _ in range(min(arguments.rounds, 3)):
        for table in tables:
            server.sql('CHECKPOINT')
            start = time.monotonic()
            before = server.backend_cpu()
            server.sql(f"COPY {table} FROM '{path}'")
            seconds[table].append(time.monotonic() - start)
            cpu[table].append(server.backend_cpu() - before)
    check(server, tables)
    print(f'\nCOPY of {COPY_ROWS:,} rows')
    for table, values in seconds.items():
        print(f'  {table:12} {statistics.median(values):8.2f} s ({min(values):.2f}-{max(values):.2f})'
              f'   CPU {statistics.median(cpu[table]):5.2f} s'
              f'   triggered x {statistics.median(cpu[table]) / statistics.median(cpu["triggered"]):4.2f}')


def part_clients(server, arguments):
    script = INSERT.replace('random(1, 100)', 'random(1, 10)')
    scripts = {table: script.format(table=table) for table in ('plain', 'windowed', 'deferred', 'triggered')}
    results = alternate(server, scripts, 16, arguments)
    results.show('single-row INSERT, 16 clients on 10 groups', 'triggered')


# Groups in any order, in which transactions that lock them can deadlock, and in ascending order, in which they cannot.
ORDERS = {
    'any': ((1, 10), (1, 10), (1, 10)), 'ascending': ((1, 4), (5, 7), (8, 10))
}
TRANSACTION = """
\\set a random({orders[0][0]}, {orders[0][1]})
\\set b random({orders[1][0]}, {orders[1][1]})
\\set c random({orders[2][0]}, {orders[2][1]})
BEGIN;
INSERT INTO {table} VALUES (:a, 1, '2026-01-01 00:00:00Z');
INSERT INTO {table} VALUES (:b, 1, '2026-01-01 00:00:00Z');
INSERT INTO {table} VALUES (:c, 1, '2026-01-01 00:00:00Z');
COMMIT;
"""


def part_transactions(server, arguments):
    for order, orders in ORDERS.items():
        scripts = {table: TRANSACTION.format(table=table, orders=orders)
                   for table in ('plain', 'windowed', 'deferred', 'triggered')}
        results = alternate(server, scripts, 32, arguments)
        results.show(f'3 INSERTs in a transaction, 32 clients on 10 groups, in {order} order', 'plain')
        print(f'  deferred / immediate: {results.median("deferred") / results.median("windowed"):.1f}')


WAL_GROUPS = 20000
WAL_SCHEMA = """
DROP TABLE IF EXISTS narrow, wide CASCADE;
CREATE UNLOGGED TABLE narrow (k int, v int, at timestamptz);
CREATE UNLOGGED TABLE wide (k int, v int, at timestamptz);
SELECT eddy.create_stream(t, event_time => 'at', delay => '1 day') FROM unnest('{narrow,wide}'::regclass[]) t;
SELECT eddy.create_continuous_view('narrow_view', $$
    SELECT k, w.window_start, w.window_end, count(*) AS n, sum(v) AS total, max(v) AS highest
    FROM narrow, eddy.tumble(at, '1 minute') AS w GROUP BY k, w.window_start, w.window_end $$);
SELECT eddy.create_continuous_view('wide_view', $$
    SELECT k, md5(k::text) || md5((k + 1)::text) AS device, w.window_start, w.window_end, count(*) AS n, sum(v) AS total,
           min(v) AS lowest, max(v) AS highest, avg(v) AS mean, stddev(v) AS deviation, sum(v::numeric) AS exact
    FROM wide, eddy.tumble(at, '1 minute') AS w
    GROUP BY k, md5(k::text) || md5((k + 1)::text), w.window_start, w.window_end $$);
"""


def part_wal(server, _):
    """WAL of a row that updates a group, without that of full pages."""
    server.sql('ALTER SYSTEM SET full_page_writes = off; SELECT pg_reload_conf();' + WAL_SCHEMA)
    sizes = {}
    for table in ('narrow', 'wide'):
        insert = f"INSERT INTO {table} SELECT g, g, '2026-01-01 00:00:00Z' FROM generate_series(1, {WAL_GROUPS}) g;"
        server.sql(insert)
        for case in ('no slot', 'a slot'):
            if case == 'a slot':
                server.sql("SELECT pg_create_logical_replication_slot('s', 'pg_eddy_cdc')")
            before = server.sql('SELECT pg_current_wal_insert_lsn()').strip()
            server.sql(insert)
            sizes[table, case] = float(server.sql(
                f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{before}')")) / WAL_GROUPS
        server.sql("SELECT pg_drop_replication_slot('s')")
    hot = server.sql("SELECT round(100.0 * sum(hot_updated) / sum(updated), 1) FROM eddy.stat_continuous_views"
                     " WHERE view IN ('narrow_view'::regclass, 'wide_view'::regclass)").strip()
    print('\nWAL for each row that updates a group')
    for (table, case), size in sizes.items():
        print(f'  view {table}_view, {case:8} {size:6,.0f} bytes   x {size / sizes[table, "a slot"]:4.2f}')
    print(f'  HOT updates: {hot} %')
    server.sql('ALTER SYSTEM RESET full_page_writes; SELECT pg_reload_conf()')


REPLACE_GROUPS = 200000
REPLACE_SCHEMA = """
DROP TABLE IF EXISTS sale CASCADE;
CREATE UNLOGGED TABLE sale (k int, v int);
SELECT eddy.create_stream('sale');
SELECT eddy.create_continuous_view('total', 'SELECT k, count(*) AS n, sum(v) AS amount FROM sale GROUP BY k');
"""
REPLACE_INSERT = f"""
\\set k random(1, {REPLACE_GROUPS})
INSERT INTO sale VALUES (:k, 1);
"""
# All rows differ in the first three cases; in the third one the new query groups by another name. In the last one few differ.
REPLACEMENTS = {
    'a new column': """SELECT eddy.replace_continuous_view('total',
        'SELECT k, count(*) AS n, sum(v) AS amount, count(*) * 2 AS twice FROM sale GROUP BY k')""",
    'from stored rows': """SELECT eddy.replace_continuous_view('total',
        'SELECT k, count(*) AS n, sum(v + 1) AS amount FROM sale GROUP BY k', start => 'staged')""",
    'all rows deleted': """SELECT eddy.replace_continuous_view('total',
        'SELECT k, count(*) AS n, sum(v) AS amount FROM sale WHERE v < 0 GROUP BY k', start => 'staged')""",
    'few rows differ': """SELECT eddy.replace_continuous_view('total',
        'SELECT k, count(*) AS n, sum(v) FILTER (WHERE k > 10) AS amount FROM sale GROUP BY k', start => 'staged')""",
}


def longest(server, prefix):
    """The longest transaction in the logs of pgbench, in seconds."""
    values = []
    for name in os.listdir(server.scratch):
        if name.startswith(prefix):
            with open(os.path.join(server.scratch, name), encoding='utf-8') as file:
                values += [int(line.split()[2]) / 1e6 for line in file]
            os.remove(os.path.join(server.scratch, name))
    return max(values)


def part_replace(server, arguments):
    """How long writers wait at most while a view of many groups is replaced."""
    path = os.path.join(server.scratch, 'replace.sql')
    with open(path, 'w', encoding='utf-8') as file:
        file.write(REPLACE_INSERT)
    os.chmod(path, 0o644)
    print(f'\nreplacing the query of a view with {REPLACE_GROUPS:,} groups, while 2 clients insert single rows')
    # the disk is not what is measured
    server.sql('ALTER ROLE postgres SET synchronous_commit = off')
    for slot in (False, True):
        for case, statement in REPLACEMENTS.items():
            waits = []
            durations = []
            for _ in range(arguments.rounds):
                server.sql(REPLACE_SCHEMA)
                server.sql(f'INSERT INTO sale SELECT g, g FROM generate_series(1, {REPLACE_GROUPS}) g; VACUUM ANALYZE; CHECKPOINT')
                if slot:
                    server.sql("SELECT pg_create_logical_replication_slot('s', 'pg_eddy_cdc')")
                with subprocess.Popen(server.command(
                        os.path.join(server.bindir, 'pgbench'), '-n', '-M', 'prepared', '-f', path, '-c', '2', '-R', '100', '-T', '600',
                        '-l', '--log-prefix=waits', '-h', server.scratch, '-U', 'postgres', 'postgres'),
                        cwd=server.scratch, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as writers:
                    time.sleep(1)
                    start = time.monotonic()
                    server.sql(statement)
                    durations.append(time.monotonic() - start)
                    time.sleep(1)
                    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbench'")
                waits.append(longest(server, 'waits'))
                if slot:
                    server.sql("SELECT pg_drop_replication_slot('s')")
            print(f'  {"a slot" if slot else "no slot":8} {case:18} longest INSERT {statistics.median(waits):6.2f} s'
                  f' ({min(waits):.2f}-{max(waits):.2f})   replacement {statistics.median(durations):6.2f} s')
            sys.stdout.flush()
    server.sql('ALTER ROLE postgres RESET synchronous_commit')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--seconds', type=int, default=5)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--only', nargs='+', choices=PARTS, default=PARTS)
    parser.add_argument('--pg-config', default=os.environ.get('PG_CONFIG', 'pg_config'))
    arguments = parser.parse_args()

    server = Server(arguments.pg_config, 'writes')
    try:
        settings = SETTINGS
        if server.knows('output_plugin_libraries'):
            settings += "output_plugin_libraries = 'pgoutput, pg_eddy_cdc'\n"
        server.start(settings)
        for part in PARTS:
            if part in arguments.only:
                server.sql(SCHEMA)
                globals()[f'part_{part}'](server, arguments)
                sys.stdout.flush()
    finally:
        server.stop()


main()
