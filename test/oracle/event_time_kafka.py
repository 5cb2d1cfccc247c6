#!/usr/bin/env python3
"""Random streams that read partitions of Kafka topics, compared with the reference model.

    event_time_kafka.py --broker ADDRESS [--seeds N] [--first SEED] [--restart COMMAND]

Connects with psql, as event_time_run.py does; EDDY_KAFKA_TOOL is the program that writes to Kafka. A seed is a
stream with two views and a topic of several partitions, whose event times differ by their own random offsets. Messages
are written in random portions. Between them the worker is killed, the server is restarted by the given command, and
users insert rows.

How the worker has cut the messages into batches is read from the WAL: each transaction that advances offsets is
a batch. The model gets the same batches, and must have the same results, final results and late rows.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import time

from event_time_model import Row, Stream
from event_time_run import DEADLINE, Difference, Psql, StreamRun

USERS = -1
OFFSETS = re.compile(r'table eddy\._partition: (?:INSERT|UPDATE): .*partition\[integer\]:(\d+) next_offset\[bigint\]:(\d+)')


class KafkaRun(StreamRun):
    """One stream with partitions, in the server and in the model."""

    def __init__(self, seed, options):
        super().__init__(seed)
        self.options = options
        self.rng = random.Random('kafka %d' % seed)
        self.partitions = self.rng.choice([2, 3, 5])
        self.stream = Stream(self.configuration.delay, partitions=range(self.partitions))
        self.view = self.stream.add_view(self.configuration.make_view())
        self.messages = [[] for _ in range(self.partitions)]    # in order of their offsets
        self.statements = []                                    # rows of each user's INSERT
        # partitions are apart by less or more than the delay
        self.shift = [self.rng.choice([0, 3, 20, 60]) for _ in range(self.partitions)]
        self.clock = 1_000_000_000

    def connect(self):
        psql = Psql()
        psql.run("SET timezone = 'UTC'; SET client_min_messages = warning;")
        return psql

    def setup(self, psql):
        name = self.configuration.name
        subprocess.run([os.environ['EDDY_KAFKA_TOOL'], 'create-topic', '-b', self.options.broker, '-t', name,
                        '-p', str(self.partitions)], check=True, stdout=subprocess.DEVNULL)
        # a partition without messages holds the watermark
        psql.run(self.configuration.setup().replace("retention => '0'", "retention => '0', idle_timeout => '0'") +
                 """SELECT FROM pg_create_logical_replication_slot('%(name)s', 'test_decoding');
                    SELECT FROM eddy.attach_kafka('%(name)s', server => 'kafka', topic => '%(name)s');"""
                 % dict(name=name))

    def row(self, partition):
        self.clock += self.rng.choice([0, 0, 1, 1, 3, 12])
        moment = self.clock - self.shift[partition] - self.rng.choice([0, 0, 0, 2, 5, 11, 30, 60])
        return Row(partition, self.rng.choice(['a', 'b', 'c', None][:self.configuration.keys]),
                   None if self.rng.random() < 0.02 else moment, self.rng.randrange(100))

    def message(self, row):
        zone = 'Z' if self.configuration.zone else ''
        moment = 'null' if row.time is None else \
            time.strftime('"%Y-%m-%dT%H:%M:%S' + zone + '"', time.gmtime(row.time))
        key = 'null' if row.key is None else '"%s"' % row.key
        return '%d\t{"k": %s, "ts": %s, "v": %d}\n' % (row.partition, key, moment, row.value)

    def produce(self):
        live = self.rng.sample(range(self.partitions), self.rng.randint(1, self.partitions))
        rows = [self.row(self.rng.choice(live)) for _ in range(self.rng.choice([1, 3, 10, 40]))]
        for row in rows:
            self.messages[row.partition].append(row)
        subprocess.run([os.environ['EDDY_KAFKA_TOOL'], 'produce', '-b', self.options.broker,
                        '-t', self.configuration.name, '-f', 'pv'],
                       input=''.join(self.message(r) for r in rows), text=True, check=True,
                       stdout=subprocess.DEVNULL)

    def wait(self, psql, query, what):
        deadline = time.monotonic() + DEADLINE
        while psql.run(query) != [['t']]:
            if time.monotonic() > deadline:
                raise Difference('timed out waiting until %s' % what)
            time.sleep(0.05)

    def wait_consumed(self, psql):
        want = ','.join('(%d, %d)' % (p, len(m)) for p, m in enumerate(self.messages))
        self.wait(psql, """SELECT count(*) = 0 FROM (VALUES %s) AS w (partition, n) LEFT JOIN eddy.partitions p
            ON p.stream = '%s'::regclass AND p.partition = w.partition WHERE coalesce(p.next_offset, 0) < w.n;"""
                  % (want, self.configuration.name), 'all messages of %s are consumed' % self.configuration.name)

    def insert_users_rows(self, psql):
        """Alone, so that the order of commits is the order in which batches are judged."""
        self.wait_consumed(psql)
        # they are not far behind the others: partition -1 counts from now on
        rows = [self.row(0)._replace(partition=USERS) for _ in range(self.rng.randint(1, 4))]
        self.statements.append(rows)
        psql.run(self.insert(rows))

    def kill_worker(self, psql):
        pid = psql.run("SELECT pid FROM eddy.sources WHERE stream = '%s'::regclass AND pid IS NOT NULL;"
                       % self.configuration.name)
        try:
            if pid:
                os.kill(int(pid[0][0]), 9)
                # until the server has noticed it accepts connections
                psql.wait_until_ended(DEADLINE)
        except (ProcessLookupError, PermissionError):
            pass
        psql.close()
        return self.reconnect()

    def restart(self, psql):
        psql.close()
        subprocess.run(self.options.restart, shell=True, check=True, stdout=subprocess.DEVNULL)
        return self.reconnect()

    def reconnect(self):
        deadline = time.monotonic() + DEADLINE
        while subprocess.run(['psql', '-XAtqc', 'SELECT 1'], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise SystemExit('the server does not accept connections')
            time.sleep(0.1)
        return self.connect()

    def replay(self, psql):
        """Feeds the model with the batches that the server has committed."""
        offsets = [0] * self.partitions
        batches = 0
        current = None
        rows = []
        statements = iter(self.statements)
        changes = psql.run("""SELECT xid, data FROM pg_logical_slot_get_changes('%s', NULL, NULL)
            WHERE data ~ '^(table eddy._(user_)?partition: |COMMIT)';""" % self.configuration.name)
        for xid, data in ((c[0], '|'.join(c[1:])) for c in changes):
            if data.startswith('COMMIT'):
                if current == xid:
                    self.stream.batch(rows)
                    batches += 1
                current, rows = None, []
                continue
            current = xid
            match = OFFSETS.match(data)
            if match:
                partition, offset = int(match.group(1)), max(int(match.group(2)), 0)
                rows += self.messages[partition][offsets[partition]:offset]
                offsets[partition] = max(offset, offsets[partition])
            elif 'eddy._user_partition' in data:
                rows += next(statements)
                self.stream.max_time.setdefault(USERS, float('-inf'))
        if offsets != [len(m) for m in self.messages] or next(statements, None) is not None:
            raise Difference('the WAL shows offsets %s' % offsets)
        return batches

    def run(self):
        psql = self.connect()
        self.setup(psql)
        actions = [self.produce] * 14 + [self.insert_users_rows] * self.rng.choice([0, 2])
        self.rng.shuffle(actions)
        kill_at, restart_at = self.rng.randrange(2, 7), self.rng.randrange(8, 13)
        for number, action in enumerate(actions):
            if action == self.produce:
                action()
            else:
                action(psql)
            if number == kill_at:
                psql = self.kill_worker(psql)
            if number == restart_at and self.options.restart:
                psql = self.restart(psql)
            if self.rng.random() < 0.5:
                self.wait_consumed(psql)
        self.wait_consumed(psql)
        batches = self.replay(psql)
        self.compare('rows', self.read_view(psql, 'all'), self.expect_view(False))
        self.compare('number of late rows', self.count_late(psql), len(self.view.late))
        self.compare('late rows', self.read_late(psql), self.expect_late())
        self.compare_at_end(psql)
        self.compare_removal(psql)
        print('seed %d: %d partitions, %d messages, %d statements, %d batches, %d rows late, %d results final' % (
            self.number, self.partitions, sum(len(m) for m in self.messages), len(self.statements), batches,
            len(self.view.late), len(self.view.closed)), flush=True)
        psql.run("SELECT FROM pg_drop_replication_slot('%s'); DROP TABLE %s CASCADE;" % (
            (self.configuration.name,) * 2))
        psql.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--broker', required=True)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--first', type=int, default=0)
    parser.add_argument('--restart', default='')
    options = parser.parse_args()
    failed = False
    for seed in range(options.first, options.first + options.seeds):
        try:
            KafkaRun(seed, options).run()
        except Difference as difference:
            print('seed %d: %s' % (seed, difference))
            failed = True
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
