#!/usr/bin/env python3
"""Random definitions of continuous views and random transactions, compared with the same SELECT.

    random_views.py [--streams N] [--seed FIRST] [--views N] [--chains N] [--view NUMBER] [--jobs N] [--transactions N]
                    [--broker PROGRAM --tool PROGRAM] [--crash COMMAND] [--show] [--no-shrink]

Connects with psql, by PGHOST, PGPORT and PGDATABASE, as a superuser. A seed is a stream, or two, with 20 views, 4 views over views, and some transactions.
After each commit, each view must have the rows that its query gives over all rows that were accepted so
far, in both directions, with duplicates. Columns are compared with the equality of their types; floating-point
numbers, whose last digits depend on the order of additions, by six digits after the point. Between transactions, rows
of views are deleted, and views are suspended and rebuilt; with --crash, COMMAND is run, which restarts the server without
a shutdown. A definition that is refused is a failure as well.

A difference is printed with its seed and view, which
    random_views.py --seed SEED --streams 1 --view VIEW
repeats alone, after the transactions were reduced to those that matter. random_definitions.py writes the
definitions, random_chains.py those of views over views, random_rows.py the rows.
"""

import argparse
import datetime
import random
import re
import subprocess
import sys
import threading
import time
import traceback

from random_chains import ChainView, make_chains
from random_definitions import COLUMNS, SETUP, Definition, quote
from random_rows import Config, Rows, insert, message, text, values

DEADLINE = 60           # seconds to wait for windows that the database worker closes, and for Kafka
ANSWER = 300            # seconds to wait for the end of a statement; it fails then
END = 'end of results'

FUNCTIONS = """
CREATE TABLE queries (stream text, view text, got text, want text, PRIMARY KEY (stream, view));
CREATE FUNCTION register(stream text, view text, query text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    names text;
    shown text;
BEGIN
    SELECT string_agg('c' || attnum, ', ' ORDER BY attnum),
        string_agg(CASE
            WHEN atttypid IN ('float8'::regtype, 'float4'::regtype) THEN format('round(c%s::numeric, 6)', attnum)
            WHEN atttypid = 'float8[]'::regtype THEN format('ARRAY(SELECT round(x::numeric, 6) FROM unnest(c%s) x)', attnum)
            WHEN atttypid IN ('json'::regtype, 'xml'::regtype) THEN format('c%s::text', attnum)
            ELSE 'c' || attnum END, ', ' ORDER BY attnum)
    INTO names, shown
    FROM pg_attribute WHERE attrelid = register.view::regclass AND attnum > 0;
    INSERT INTO queries VALUES (stream, view, format('SELECT %s FROM %s AS t(%s)', shown, view, names),
        format('SELECT %s FROM (%s) AS t(%s)', shown, query, names))
    ON CONFLICT ON CONSTRAINT queries_pkey DO UPDATE SET want = excluded.want;
END $$;
CREATE FUNCTION compare(stream text, watermark timestamptz, twin timestamptz, names text, OUT view text, OUT rows bigint, OUT difference text)
RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
    q record;
BEGIN
    FOR q IN SELECT * FROM queries WHERE queries.stream = compare.stream AND queries.view LIKE names ORDER BY queries.view
    LOOP
        view := q.view;
        BEGIN
            EXECUTE format('WITH got AS MATERIALIZED (%s), want AS MATERIALIZED (%s)
                SELECT (SELECT count(*) FROM want), (SELECT string_agg(d, e''\\n'') FROM (
                    (SELECT ''in the view:   '' || g::text AS d FROM (TABLE got EXCEPT ALL TABLE want) g LIMIT 5)
                    UNION ALL
                    (SELECT ''in the SELECT: '' || w::text FROM (TABLE want EXCEPT ALL TABLE got) w LIMIT 5)) x)',
                q.got, replace(replace(replace(q.want, '@watermark of stream@', quote_nullable(watermark) || '::timestamptz'),
                    '@watermark of twin@', quote_nullable(twin) || '::timestamptz'),
                    '@watermark of stream and twin@', quote_nullable(CASE WHEN watermark < twin THEN watermark
                        WHEN watermark IS NOT NULL THEN twin END) || '::timestamptz'))
            INTO rows, difference;
        EXCEPTION WHEN OTHERS THEN
            difference := 'error: ' || SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
END $$;
"""


class Failed(Exception):
    pass


class Psql:
    def __init__(self):
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                return self.connect()
            except Failed:          # the server recovers from a crash
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def connect(self):
        self.prepared = set()
        self.process = subprocess.Popen(
            ['psql', '-XAtq', '-F', '\x1f', '-R', '\x1e', '-v', 'ON_ERROR_STOP=1', '-c', 'SELECT 1', '-f', '-'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.run("SET client_min_messages = warning; SET timezone = 'UTC'; SET search_path = public, accepted; SET jit = off;"
                 "SET max_parallel_workers_per_gather = 0; SELECT FROM pg_settings, set_config(name, 'off', false) "
                 "WHERE name = 'enable_presorted_aggregate';")

    def run(self, sql):
        """The rows that the statements return, as lists of texts."""
        # psql of PostgreSQL 15 takes what follows an empty statement after COPY for data, also the end of the answer
        if not sql.strip(' ;\n'):
            return []
        try:
            self.process.stdin.write(sql + ('' if sql.endswith((';', '\n')) else ';') + '\n\\echo %s\n' % END)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        watchdog = threading.Timer(ANSWER, self.process.kill)
        watchdog.start()
        try:
            return self.read_answer(sql)
        finally:
            watchdog.cancel()

    def read_answer(self, sql):
        """What psql writes, which ends with END, not always on a line of its own."""
        lines = []
        for line in self.process.stdout:
            if line.endswith(END + '\n'):
                answer = ''.join(lines) + line[:-len(END) - 1]
                return [r.split('\x1f') for r in re.split('[\x1e\n]', answer.rstrip('\n')) if r] if '\x1f' not in answer else [
                    r.split('\x1f') for r in answer.rstrip('\n').split('\x1e') if r]
            lines.append(line)
        self.process.wait()
        raise Failed(''.join(lines).strip() + '\n    in ' + sql[:3000])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Case:
    """A stream with its views, and what must be in them."""

    def __init__(self, options, seed, only=None, suffix=''):
        self.options = options
        self.seed = seed
        rng = random.Random('%s stream' % seed)
        self.config = Config(rng, bool(options.broker))
        self.name = 'r%d%s' % (seed, suffix)
        self.stream = 'public.' + self.name
        self.log = 'accepted.' + self.name
        self.views = {}
        for number in range(options.views):
            if only is None or number == only:
                self.views[number] = Definition(random.Random('%s view %d' % (seed, number)), self.config)
        # a view over views with those that it may read
        for view in make_chains(random.Random('%s chains' % seed), self.config, options.views, options.chains):
            if only is None or options.views <= view.number <= only:
                self.views[view.number] = view
        self.definitions = dict(self.views)
        self.conditions = {number: [] for number in self.views}
        self.highest = {False: None, True: None}    # event time of the stream, and of its twin
        self.next_id = 0
        self.statements = []

    def view_name(self, number):
        return '%s_v%d' % (self.name, number)

    def run(self, psql, sql):
        self.statements.append(sql)
        return psql.run(sql)

    def setup(self, psql):
        columns = ', '.join('%s %s' % (name, type_) for name, type_, _ in COLUMNS)
        role = 'SET ROLE random_owner;' if self.config.role else ''
        for stream in [self.stream, self.stream + 'b'][:1 + self.config.twin]:
            self.run(psql, """%s CREATE UNLOGGED TABLE %s (%s); SELECT FROM eddy.create_stream(%s%s%s);""" % (
                role, stream, columns, quote(stream),
                ", event_time => 'at', null_event_time => 'skip_watermark', delay => '%d seconds'"
                % self.config.delay_interval().total_seconds() if self.config.event_time else '',
                # a stream without rows for a while must not be left out
                ", idle_timeout => '0'" if self.config.twin else ''))
        psql.run('RESET ROLE; CREATE TABLE %s (%s, judged timestamptz, twin boolean);' % (self.log, columns))
        if self.config.kafka:
            psql.run("SELECT FROM eddy.attach_kafka(%s, server => 'kafka', topic => %s)" % (quote(self.stream), quote(self.name)))
        failures = []
        for number, view in list(self.views.items()):
            create = view.create(self.view_name(number), self.name)
            self.statements.append(create)
            refused = psql.run(
                "%s DO $do$ DECLARE d text; h text; BEGIN PERFORM %s EXCEPTION WHEN OTHERS THEN "
                "GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT; "
                "PERFORM set_config('random.refused', SQLERRM || ' / ' || d || ' / ' || h, false); END $do$; RESET ROLE;"
                "SELECT current_setting('random.refused', true); SET random.refused = '';" % (role, create[len('SELECT '):]))
            if refused:
                failures.append((number, 'refused: %s' % refused[0][0]))
                del self.views[number]
            else:
                self.register(psql, number)
        return failures

    def register(self, psql, number):
        psql.run('SELECT FROM register(%s, %s, %s)' % (quote(self.name), quote(self.view_name(number)), quote(
            self.views[number].oracle_query(self.log, self.conditions[number]))))

    def watermark(self, twin=False):
        return None if self.highest[twin] is None else self.highest[twin] - self.config.delay_interval()

    def is_twin(self, rows):
        """True if these rows of a statement are for the second stream."""
        return bool(self.config.twin and rows and rows[0]['id'] % 5 < 2)

    def accept(self, rows, judged, twin=False):
        """The statement that records rows as accepted, before the commit."""
        if not rows:
            return ''
        if self.options.mutate:     # an oracle that is wrong
            rows = rows[1:] if self.options.mutate == 'lose' else rows + rows[:1]
            if not rows:
                return ''
        at = 'NULL' if judged is None else quote(text(judged))
        return 'INSERT INTO %s %s;' % (self.log, values(rows, extra='%s, %s' % (at, twin)))

    def seen(self, rows, twin=False):
        for row in rows:
            self.next_id = max(self.next_id, row['id'])
            if row['at'] is not None and (self.highest[twin] is None or row['at'] > self.highest[twin]):
                self.highest[twin] = row['at']

    # ---- transactions ----

    def target(self, twin):
        return self.stream + 'b' if twin else self.stream

    def apply(self, connections, transaction):
        if transaction['kind'] == 'kafka':
            self.produce(connections[0], transaction['rows'])
        elif transaction['kind'] == 'concurrent':
            self.concurrently(connections, transaction['parts'])
        else:
            self.statement_steps(connections[transaction['connection']], transaction)

    def statement_steps(self, psql, transaction):
        sql = []
        before = dict(self.highest)
        saved = None
        for step in transaction['steps']:
            if step[0] == 'insert':
                form, rows = step[1], step[2]
                twin = self.is_twin(rows)
                if form == 'cte' and self.config.twin and len(rows) > 1:
                    # one statement for both streams
                    half = len(rows) // 2
                    sql.append(self.accept(rows[:half], self.watermark(not twin), not twin))
                    sql.append(self.accept(rows[half:], self.watermark(twin), twin))
                    self.seen(rows[:half], not twin)
                    self.seen(rows[half:], twin)
                    sql.append('WITH other AS (INSERT INTO %s %s) INSERT INTO %s %s;' % (
                        self.target(not twin), values(rows[:half]), self.target(twin), values(rows[half:])))
                    continue
                if form in ('function', 'single', 'prepared'):
                    for row in rows:        # each row is a statement of its own
                        sql.append(self.accept([row], self.watermark(twin), twin))
                        self.seen([row], twin)
                else:
                    sql.append(self.accept(rows, self.watermark(twin), twin))
                    self.seen(rows, twin)
                sql.append(insert(self.target(twin), form, rows, psql.prepared))
            elif step[0] == 'savepoint':
                sql.append('SAVEPOINT s;')
                saved = dict(self.highest)
            elif step[0] == 'rollback to':
                sql.append('ROLLBACK TO s;')
                self.highest = saved
            else:
                sql.append('RELEASE s;')
        if not transaction['committed']:
            self.highest = before
        self.run(psql, 'BEGIN;\n%s\n%s;' % ('\n'.join(sql), 'COMMIT' if transaction['committed'] else 'ROLLBACK'))

    def concurrently(self, connections, parts):
        errors = []

        def work(psql, form, rows):
            try:
                psql.run(insert(self.target(self.is_twin(rows)), 'values' if form in ('single', 'prepared', 'function') else form,
                                rows, psql.prepared))
            except Failed as failed:
                errors.append(failed)
        threads = [threading.Thread(target=work, args=(psql, form, rows)) for psql, (form, rows) in zip(connections, parts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        for form, rows in parts:
            connections[0].run(self.accept(rows, None, self.is_twin(rows)))
            self.seen(rows, self.is_twin(rows))
            self.statements.append('-- concurrently\n' + insert(self.target(self.is_twin(rows)), 'values', rows, set()))

    def produce(self, psql, rows):
        subprocess.run([self.options.tool, 'produce', '-b', self.options.address, '-t', self.name, '-f', 'pv'], check=True,
                       input=''.join('0\t%s\n' % message(row).replace('\\', '\\\\') for row in rows), text=True,
                       stdout=subprocess.DEVNULL)
        self.produced = getattr(self, 'produced', 0) + len(rows)
        deadline = time.monotonic() + DEADLINE
        while True:
            state = psql.run("""SELECT coalesce((SELECT sum(next_offset) FROM eddy.partitions
                WHERE stream = %s::regclass AND topic IS NOT NULL), 0), coalesce((SELECT error FROM eddy.sources
                WHERE stream = %s::regclass), '')""" % (quote(self.stream), quote(self.stream)))
            if int(state[0][0]) >= self.produced:
                break
            if time.monotonic() > deadline:
                raise Failed('Kafka: %s of %d messages are read %s' % (state[0][0], self.produced, state[0][1]))
            time.sleep(0.02)
        psql.run(self.accept(rows, None))
        self.seen(rows)
        self.statements.append('-- by Kafka\n' + insert(self.stream, 'values', rows, set()))

    # ---- between transactions ----

    def disturb(self, psql, rng):
        """Deletes rows of a view through it, or suspends and rebuilds one."""
        if not self.views or rng.random() < 0.4:
            return
        number = rng.choice(sorted(self.views))
        view = self.views[number]
        name = self.view_name(number)
        if isinstance(view, ChainView):
            self.disturb_chain(psql, rng, view)
        elif view.delete_keys and rng.random() < 0.6:
            shown, raw = rng.choice(view.delete_keys) if 'GROUP BY' not in view.body and 'DISTINCT' not in view.body else (None, None)
            keys = [(shown, raw)] if shown else view.delete_keys
            row = psql.run("SELECT %s FROM (SELECT * FROM %s t ORDER BY t::text OFFSET %d LIMIT 1) x" % (
                ', '.join("coalesce(quote_literal(%s::text), 'NULL') || '::' || pg_typeof(%s)" % (k, k) for k, _ in keys),
                name, rng.randrange(3)))
            if not row:
                return
            same = ' AND '.join('%s IS NOT DISTINCT FROM (%s)' % (k, value) for (k, _), value in zip(keys, row[0]))
            self.run(psql, 'DELETE FROM %s WHERE %s;' % (name, same))
            self.conditions[number].append('s.id > %d OR NOT (%s)' % (self.next_id, ' AND '.join(
                '(%s) IS NOT DISTINCT FROM (%s)' % (r, value) for (_, r), value in zip(keys, row[0]))))
            self.register(psql, number)
        elif view.resumable and rng.random() < 0.3:
            # created again, from now on or with the rows that the stream still holds
            staged = not self.config.kafka and rng.random() < 0.5
            self.run(psql, '%sDROP VIEW %s; %s; RESET ROLE;' % (
                'SET ROLE random_owner; ' if self.config.role else '', name,
                view.create(name, self.name, "start => '%s'" % ('staged' if staged else 'now')).rstrip(';')))
            first = getattr(self, 'lost', 0) if staged else self.next_id
            self.conditions[number] = ['s.id > %d' % first] if first else []
            self.register(psql, number)
        elif view.resumable and not (self.config.kafka and self.config.ordered) and rng.random() < 0.3:
            self.run(psql, "SELECT FROM eddy.pause('%s'); SELECT FROM eddy.resume('%s');" % (name, name))
            self.conditions[number] = ['s.id > %d' % self.lost] if getattr(self, 'lost', 0) else []
            self.register(psql, number)

    def disturb_chain(self, psql, rng, view):
        """The same with a view that others read, or that reads others: these follow."""
        name = self.view_name(view.number)
        if view.deletable and rng.random() < 0.6:
            row = psql.run("SELECT coalesce(quote_literal(k), 'NULL::text') FROM %s ORDER BY k OFFSET %d LIMIT 1" % (name, rng.randrange(3)))
            if not row:
                return
            self.run(psql, 'DELETE FROM %s WHERE k IS NOT DISTINCT FROM %s;' % (name, row[0][0]))
            view.conditions.append('s.id > %d OR s.k IS DISTINCT FROM %s' % (self.next_id, row[0][0]))
        elif not getattr(self, 'lost', 0):
            # rebuilt from all rows that the streams still hold
            self.run(psql, "SELECT FROM eddy.pause('%s'); SELECT FROM eddy.resume('%s');" % (name, name))
            view.conditions = []
        for number, other in self.views.items():
            if isinstance(other, ChainView):
                self.register(psql, number)

    def compare(self, psql, known=()):
        """The differences, after waiting for windows that the database worker closes."""
        deadline = time.monotonic() + self.options.wait
        only = '%'
        while True:
            watermarks = ['NULL', 'NULL']
            for twin in [False, True][:1 + self.config.twin]:
                if self.config.kafka or self.config.concurrent:
                    watermarks[twin] = 'eddy.watermark(%s)' % quote(self.target(twin)) if self.config.event_time else 'NULL'
                elif self.watermark(twin) is not None:
                    watermarks[twin] = quote(text(self.watermark(twin)))
            found = psql.run("SELECT view, coalesce(rows, 0), coalesce(difference, '') FROM compare(%s, %s, %s, '%s')" % (
                quote(self.name), watermarks[False], watermarks[True], only))
            self.compared = getattr(self, 'compared', 0) + len(found)
            self.rows = getattr(self, 'rows', 0) + sum(int(rows) for _, rows, _ in found)
            wrong = [(int(view.rsplit('_v', 1)[1]), difference) for view, _, difference in found if difference]
            if not any(self.views[n].final_only and n not in known for n, _ in wrong) or time.monotonic() > deadline:
                return wrong
            time.sleep(0.05)

    def suspended(self, psql):
        return [(int(view.rsplit('_v', 1)[1]), 'suspended: ' + error) for view, error in psql.run(
            "SELECT view, coalesce(error, '') FROM eddy.continuous_views WHERE view::text LIKE '%s_v%%' AND state <> 'running'"
            % self.name)]

    def rejected(self, psql):
        """Each row on which a view fails is one dead letter, and there are no others."""
        wrong = []
        letters = {}
        for view, error, count, rows in psql.run(
                "SELECT view, max(error), count(*), count(DISTINCT convert_from(payload, 'UTF8')::jsonb ->> 'id') FROM eddy.dead_letters "
                "WHERE view IN (SELECT v.view FROM eddy.continuous_views v WHERE v.view::text LIKE '%s_v%%') GROUP BY view" % self.name):
            if '_v' not in view:        # dropped
                continue
            number = int(view.rsplit('_v', 1)[1])
            if not self.views[number].guards:
                wrong.append((number, '%s dead letters: %s' % (count, error)))
            letters[number] = int(rows)
        for number, view in self.views.items():
            if view.guards and view.count_rejected and not self.conditions[number] and not self.disturbed:
                expected = int(psql.run('SELECT count(*) FROM %s s WHERE NOT twin AND NOT coalesce(%s, false)' % (self.log, ' AND '.join(
                    '(%s)' % g for g in view.guards)))[0][0])
                if expected != letters.get(number, 0):
                    wrong.append((number, '%d rows must be rejected, %d are' % (expected, letters.get(number, 0))))
        return wrong

    def drop(self, psql):
        psql.run('ROLLBACK; RESET ROLE;')
        for stream in [self.stream, self.stream + 'b'][:1 + self.config.twin]:
            psql.run('DELETE FROM eddy.dead_letters WHERE stream = %s::regclass; DROP TABLE %s CASCADE;' % (quote(stream), stream))
        psql.run('DROP TABLE %s; DELETE FROM queries WHERE stream = %s;' % (self.log, quote(self.name)))


def make_transactions(options, seed, config):
    rng = random.Random('%s rows' % seed)
    rows = Rows(rng, config)
    return [rows.transaction() for _ in range(options.transactions)]


def run_case(options, connections, seed, only=None, suffix='', transactions=None, crash=True):
    """Runs a seed; returns the failures as (view, text), and the case."""
    case = Case(options, seed, only, suffix)
    case.disturbed = False
    psql = connections[0]
    failures = case.setup(psql)
    rng = random.Random('%s disturb' % seed)
    reported = set()

    def add(found, when):
        for number, difference in found:
            if number not in reported:
                reported.add(number)
                failures.append((number, '%s\n%s' % (when, difference)))
    try:
        add(case.compare(psql, reported), 'before the first row')
        steps = transactions if transactions is not None else make_transactions(options, seed, case.config)
        for number, transaction in enumerate(steps):
            case.apply(connections, transaction)
            add(case.compare(psql, reported), 'after transaction %d of %d' % (number + 1, len(steps)))
            if options.disturb and transactions is None:
                case.disturbed = True
                case.disturb(psql, rng)
                add(case.compare(psql, reported), 'after deleting or rebuilding, following transaction %d' % (number + 1))
            if options.crash and crash and rng.random() < 0.3:
                crash_server(options, connections)
                case.lost = case.next_id
                add(case.compare(psql, reported), 'after a crash, following transaction %d' % (number + 1))
        add(case.suspended(psql), 'at the end')
        add(case.rejected(psql), 'at the end')
    except Failed as failed:
        failures.append((-1, str(failed)))
        for psql in connections:
            if psql.process.poll() is not None:
                psql.__init__()
    return failures, case


def crash_server(options, connections):
    subprocess.run(options.crash, shell=True, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    for psql in connections:
        try:
            psql.process.kill()
            psql.process.wait()
        except OSError:
            pass
        psql.__init__()


def fails(options, connections, seed, view, transactions, counter):
    counter[0] += 1
    found, case = run_case(options, connections, seed, view, 'x%d' % counter[0], transactions)
    case.drop(connections[0])
    return [text for number, text in found if number == view], case


def shrink(options, connections, seed, view):
    """Leaves out transactions, steps and rows, as long as the view still fails."""
    counter = [0]
    transactions = make_transactions(options, seed, Case(options, seed, view).config)
    found, case = fails(options, connections, seed, view, transactions, counter)
    if not found:
        return None
    best = (found[0], case)

    def attempt(candidate):
        nonlocal transactions, best
        if counter[0] > 150:
            return False
        found, case = fails(options, connections, seed, view, candidate, counter)
        if found:
            transactions, best = candidate, (found[0], case)
        return bool(found)

    number = len(transactions) - 1
    while number >= 0:
        attempt(transactions[:number] + transactions[number + 1:])
        number -= 1
    for number in range(len(transactions)):
        step = 0
        while transactions[number]['kind'] == 'statements' and step < len(transactions[number]['steps']):
            steps = transactions[number]['steps']
            left = steps[:step] + steps[step + 1:]
            if steps[step][0] != 'insert' or not attempt(
                    transactions[:number] + [dict(transactions[number], steps=left)] + transactions[number + 1:]):
                step += 1
    for number in range(len(transactions)):
        for step in range(len(transactions[number].get('steps', []))):
            size = 16
            while size >= 1:
                first = 0
                while transactions[number]['steps'][step][0] == 'insert' and first < len(transactions[number]['steps'][step][2]):
                    steps = list(transactions[number]['steps'])
                    rows = steps[step][2]
                    steps[step] = ('insert', steps[step][1], rows[:first] + rows[first + size:])
                    if not attempt(transactions[:number] + [dict(transactions[number], steps=steps)] + transactions[number + 1:]):
                        first += size
                size //= 2
    return best


class Totals:
    def __init__(self):
        self.lock = threading.Lock()
        self.views = self.compared = self.rows = self.failures = 0


def run_thread(options, seeds, totals):
    try:
        run_seeds(options, seeds, totals)
    except Exception:               # counts, whatever it is
        with totals.lock:
            totals.failures += 1
            traceback.print_exc(file=sys.stdout)


def run_seeds(options, seeds, totals):
    connections = [Psql() for _ in range(3)]
    while True:
        with totals.lock:
            if not seeds:
                break
            seed = seeds.pop(0)
        failures, case = run_case(options, connections, seed, options.view)
        lines = []
        for number, difference in failures:
            lines.append('seed %d, view %d: %s' % (seed, number, difference))
            lines.append('repeat: random_views.py --seed %d --streams 1 --view %d' % (seed, number))
            if number in case.views:
                lines.append(case.views[number].create(case.view_name(number), case.name))
                lines.append('compared with: ' + case.views[number].oracle_query(case.log, case.conditions[number]))
                if options.shrink:
                    best = shrink(options, connections, seed, number)
                    if best:
                        lines += ['reduced: ' + best[0]] + best[1].statements
            else:
                if number in case.definitions:
                    lines.append(case.definitions[number].create(case.view_name(number), case.name))
        if options.show:
            lines += [v.create(case.view_name(n), case.name) for n, v in case.views.items()]
        try:
            case.drop(connections[0])
        except Failed as failed:
            lines.append('seed %d: %s' % (seed, failed))
            failures.append((-1, ''))
            connections[0] = Psql()
        with totals.lock:
            totals.views += len(case.views)
            totals.compared += getattr(case, 'compared', 0)
            totals.rows += getattr(case, 'rows', 0)
            totals.failures += len(failures)
            if lines:
                print('\n'.join(lines) + '\n', flush=True)
    for psql in connections:
        psql.close()


def prepare():
    psql = Psql()
    exists = psql.run("SELECT 1 FROM pg_namespace WHERE nspname = 'accepted'")
    if not exists:
        psql.run('CREATE SCHEMA accepted; CREATE ROLE random_owner; GRANT ALL ON SCHEMA public TO random_owner;')
        psql.run(SETUP.replace('@schema@', 'public') + FUNCTIONS)
        psql.run('GRANT SELECT ON ALL TABLES IN SCHEMA public TO random_owner;')
    psql.close()


def start_broker(options, seeds):
    """Starts a broker with a topic for each stream, for which users of the database can attach sources."""
    broker = subprocess.Popen([options.broker] + ['r%d:1' % seed for seed in seeds], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True)
    options.address = broker.stdout.readline().strip()
    psql = Psql()
    psql.run("DROP SERVER IF EXISTS kafka CASCADE; CREATE SERVER kafka FOREIGN DATA WRAPPER eddy_kafka OPTIONS ("
             "\"bootstrap.servers\" '%s', \"reconnect.backoff.max.ms\" '500'); CREATE USER MAPPING FOR PUBLIC SERVER kafka;"
             "GRANT USAGE ON FOREIGN SERVER kafka TO PUBLIC;" % options.address)
    psql.close()
    return broker


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--streams', type=int, default=25)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--views', type=int, default=20)
    parser.add_argument('--chains', type=int, default=4)
    parser.add_argument('--view', type=int)
    parser.add_argument('--transactions', type=int, default=6)
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--wait', type=float, default=DEADLINE)
    parser.add_argument('--broker')
    parser.add_argument('--tool')
    parser.add_argument('--crash')
    parser.add_argument('--mutate', choices=['lose', 'double'])
    parser.add_argument('--show', action='store_true')
    parser.add_argument('--no-shrink', dest='shrink', action='store_false')
    parser.add_argument('--no-disturb', dest='disturb', action='store_false')
    options = parser.parse_args()
    if options.crash:
        options.jobs = 1

    prepare()
    start = time.monotonic()
    seeds = list(range(options.seed, options.seed + options.streams))
    broker = start_broker(options, seeds) if options.broker else None
    totals = Totals()
    threads = [threading.Thread(target=run_thread, args=(options, seeds, totals)) for _ in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print('seeds %d to %d: %d views, %d comparisons, %d rows, %d failures, %d s' % (
        options.seed, options.seed + options.streams - 1, totals.views, totals.compared, totals.rows, totals.failures,
        time.monotonic() - start))
    if broker:
        broker.terminate()
        broker.wait()
    sys.exit(1 if totals.failures else 0)


if __name__ == '__main__':
    main()
