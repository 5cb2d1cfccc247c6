#!/usr/bin/env python3
"""Measures the CPU time of decoding, for the formats of pg_eddy_cdc and other output plugins.

    make bench-cdc                             1,000,000 changes, 3 rounds
    test/bench/cdc.py --changes N --rounds N --latency SECONDS
    test/bench/cdc.py --check                  fails if a format or the latency does not reach its goal

A private server updates the groups of a continuous view. All plugins decode the same WAL, one after
the other, with pg_logical_slot_peek_binary_changes() in one backend, whose CPU time is read from
/proc before and after. The least of all rounds is reported. The extension must be installed.
wal2json is left out if it is not (package postgresql-NN-wal2json). See README.md.

Then the time from commit to a client of the replication protocol is measured, for some of the plugins,
with 100 transactions of 100 changes per second. It requires psycopg2.
"""

import argparse
import datetime
import multiprocessing
import os
import re
import select
import sys
import time

from server import Server

TICKS = os.sysconf('SC_CLK_TCK')
GROUPS = 10000  # changes of each transaction

SETTINGS = """
wal_level = logical
fsync = off
autovacuum = off
max_wal_size = '8GB'
shared_buffers = '256MB'
logical_decoding_work_mem = '64MB'
"""

SCHEMA = """
CREATE EXTENSION pg_eddy;
CREATE UNLOGGED TABLE events (k int, v int, at timestamptz);
SELECT eddy.create_stream('events', event_time => 'at', retention => '1 hour');
SELECT eddy.create_continuous_view('groups', $$
    SELECT k, w.window_start, count(*) AS n, sum(v) AS total, min(v) AS low, max(v) AS high
    FROM events, eddy.tumble(at, '1 hour') AS w GROUP BY k, w.window_start, w.window_end $$);
INSERT INTO events SELECT i, i, '2026-01-01' FROM generate_series(1, {groups}) i;
CREATE PUBLICATION groups FOR TABLE eddy._groups_state;
SELECT pg_create_logical_replication_slot('eddy', 'pg_eddy_cdc');
SELECT pg_create_logical_replication_slot('eddy_w2j', 'pg_eddy_wal2json');
SELECT pg_create_logical_replication_slot('output', 'pgoutput');
SELECT pg_create_logical_replication_slot('test', 'test_decoding');
"""

# with --check: at least this many times as fast as wal2json, per CPU second, and the p99 of the latency in ms
GOALS = {'pg_eddy_wal2json, format-version 2': 1.5, 'native': 3, 'upsert': 2, 'debezium': 2}
GOAL_P99 = 20

LOAD = """
INSERT INTO events SELECT i, i * {n}, '2026-01-01' FROM generate_series(1, {groups}) i;
"""

# name, slot, options; the slot "w2j" only if the plugin is installed
CASES = [
    ('wal2json, format-version 2', 'w2j', "'format-version', '2', 'add-tables', 'eddy._groups_state'"),
    ('wal2json, without types', 'w2j',
     "'format-version', '2', 'add-tables', 'eddy._groups_state', 'include-types', 'off'"),
    ('pg_eddy_wal2json, format-version 2', 'eddy_w2j', "'format-version', '2'"),
    ('pg_eddy_wal2json, without types', 'eddy_w2j', "'format-version', '2', 'include-types', 'off'"),
    ('pgoutput', 'output', "'proto_version', '1', 'publication_names', 'groups'"),
    ('test_decoding', 'test', "'skip-empty-xacts', 'on'"),
    ('native', 'eddy', "'format', 'native'"),
    ('native, net off', 'eddy', "'format', 'native', 'net', 'off'"),
    ('native, with before', 'eddy', "'format', 'native', 'include-before', 'on'"),
    ('native, one record per message', 'eddy', "'format', 'native', 'batch-bytes', '0'"),
    ('upsert', 'eddy', "'format', 'upsert'"),
    ('debezium', 'eddy', "'format', 'debezium'"),
    ('debezium, net off', 'eddy', "'format', 'debezium', 'net', 'off'"),
]


# name, slot, options, and what precedes the time of the commit in the first message of a transaction
LATENCY_CASES = [
    ('native', 'eddy', {}, rb'"ts":"([^"]*)"'),
    ('pg_eddy_wal2json', 'eddy_w2j', {'format-version': '2', 'include-timestamp': 'on'},
     rb'"timestamp":"([^"]*)"'),
    ('wal2json', 'w2j', {'format-version': '2', 'include-timestamp': 'on', 'add-tables': 'eddy._groups_state'},
     rb'"timestamp":"([^"]*)"'),
]


def measure(server, slot, options):
    """Returns the CPU seconds of the backend, its messages and their bytes."""
    stat = "SELECT pg_read_file('/proc/self/stat');"
    lines = server.sql(f"""{stat}
SELECT count(*), sum(length(data)) FROM pg_logical_slot_peek_binary_changes('{slot}', NULL, NULL, {options});
{stat}""").splitlines()
    lines = [line for line in lines if line]
    seconds = []
    for line in (lines[0], lines[-1]):
        fields = line.rpartition(')')[2].split()
        seconds.append(sum(int(field) for field in fields[11:13]) / TICKS)
    messages, size = lines[-2].split('|')
    return seconds[1] - seconds[0], int(messages), int(size)


def write(server, seconds):
    """100 transactions of 100 changes per second, until the time has passed."""
    import psycopg2
    connection = psycopg2.connect(host=server.scratch, user='postgres', dbname='postgres')
    connection.autocommit = True
    cursor = connection.cursor()
    start = time.monotonic()
    for n in range(int(seconds * 100)):
        time.sleep(max(start + n / 100 - time.monotonic(), 0))
        cursor.execute("INSERT INTO events SELECT i, %s, '2026-01-01' FROM generate_series(%s, %s) i",
                       (n, n % 100 * 100 + 1, n % 100 * 100 + 100))
    connection.close()


def measure_latency(server, slot, options, pattern, seconds):
    """Returns the times from commit to the client in ms, sorted, one for each transaction."""
    import psycopg2.extras
    server.sql(f"SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())")
    connection = psycopg2.connect(host=server.scratch, user='postgres', dbname='postgres',
                                  connection_factory=psycopg2.extras.LogicalReplicationConnection)
    cursor = connection.cursor()
    cursor.start_replication(slot_name=slot, options=options, decode=False)
    # a process of its own, as threads of Python wait for each other
    writer = multiprocessing.Process(target=write, args=(server, seconds))
    writer.start()
    latencies = {}
    quiet = time.monotonic() + seconds + 2
    while time.monotonic() < quiet:
        message = cursor.read_message()
        if message is None:
            select.select([connection], [], [], 0.5)
            continue
        received = time.time()
        # the last message of a transaction counts
        for stamp in re.findall(pattern, message.payload)[:1]:
            committed = datetime.datetime.fromisoformat(re.sub('([+-][0-9]{2})$', r'\1:00', stamp.decode()))
            latencies[stamp] = (received - committed.timestamp()) * 1000
        cursor.send_feedback(flush_lsn=message.data_start)
    writer.join()
    connection.close()
    return sorted(latencies.values())


def report_latency(server, cases, seconds):
    """Returns the p99 of the native format."""
    try:
        import psycopg2.extras  # noqa: F401
    except ImportError:
        print('psycopg2 is not installed: latency is not measured')
        return None
    p99 = {}
    print(f'\ncommit to client, 10,000 changes per second in 100 transactions, {seconds} s each')
    print(f'{"":36} {"transactions":>13} {"p50 ms":>8} {"p99 ms":>8} {"max ms":>8}')
    for name, slot, options, pattern in cases:
        values = measure_latency(server, slot, options, pattern, seconds)
        p99[name] = values[len(values) * 99 // 100]
        print(f'{name:36} {len(values):13} {values[len(values) // 2]:8.1f} '
              f'{p99[name]:8.1f} {values[-1]:8.1f}')
    return p99['native']


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--changes', type=int, default=1000000)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--latency', type=float, default=10)
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--pg-config', default=os.environ.get('PG_CONFIG', 'pg_config'))
    arguments = parser.parse_args()

    server = Server(arguments.pg_config, 'cdc')
    try:
        settings = SETTINGS
        if server.knows('output_plugin_libraries'):
            settings += "output_plugin_libraries = 'pgoutput, test_decoding, pg_eddy_cdc, pg_eddy_wal2json, wal2json'\n"
        server.start(settings)
        server.sql(SCHEMA.format(groups=GROUPS))
        cases = CASES
        latency_cases = LATENCY_CASES
        if os.path.exists(os.path.join(server.libdir, 'wal2json.so')):
            server.sql("SELECT pg_create_logical_replication_slot('w2j', 'wal2json')")
        else:
            print('wal2json is not installed (package postgresql-NN-wal2json)')
            cases = [case for case in cases if case[1] != 'w2j']
            latency_cases = [case for case in latency_cases if case[1] != 'w2j']
        transactions = max(arguments.changes // GROUPS, 1)
        server.sql(''.join(LOAD.format(n=n, groups=GROUPS) for n in range(transactions)))
        changes = transactions * GROUPS

        best = {}
        for _ in range(arguments.rounds):
            for name, slot, options in cases:
                result = measure(server, slot, options)
                best[name] = min(best.get(name, result), result)
        base = best.get('wal2json, format-version 2')
        print(f'{changes} changes in {transactions} transactions; least of {arguments.rounds} rounds')
        print(f'{"":36} {"CPU s per million":>18} {"wal2json / this":>16} {"bytes per change":>17}')
        for name, _, _ in cases:
            seconds, _, size = best[name]
            ratio = f'{base[0] / seconds:.1f}' if base and seconds > 0 else ''
            print(f'{name:36} {seconds * 1e6 / changes:18.2f} {ratio:>16} {size / changes:17.0f}')
        p99 = report_latency(server, latency_cases, arguments.latency) if arguments.latency > 0 else None
    finally:
        server.stop()
    failed = []
    if arguments.check and base:
        failed += [f'{name}: not {goal} times as fast as wal2json' for name, goal in GOALS.items()
                   if base[0] < goal * best[name][0]]
    if arguments.check and p99 is not None and p99 >= GOAL_P99:
        failed.append(f'p99 of the latency: {p99:.1f} ms')
    if failed:
        sys.exit('\n'.join(failed))


main()
