"""Random rows and transactions for the streams of random_views.py.

A transaction is a list of steps: ('insert', form, rows), ('savepoint',), ('rollback to',), with the
connection that runs it and whether it commits; or messages of Kafka; or two single statements that run at the same time.
"""

import datetime
import json

from random_definitions import COLUMNS, quote

START = datetime.datetime(2024, 3, 30, 20, 0, 0)

VALUES = {
    'k': ['a', 'a', 'b', 'B', 'c', 'e', 'd é', '', None],
    'c': ['abc', 'ABC', 'Abc', 'x', 'X', 'é', None],
    'g': [0, 1, 1, 2, 3, 4, 5, None],
    'big': [1, 2, 3000000000, -7, 5000000000000, None],
    'n': ['1', '1.0', '1.00', '2.5', '-3.75', '1000.001', '0', '12345678901234567890.5', None, '2', '3', '0.1'],
    'f': ['0', '1', '0.125', '2.5', '-3.75', '1000', '7.875', '-0', None],
    'b': ['true', 'false', 'false', None],
    'tags': ['{x}', '{y,z}', '{}', '{z,z,x}', '{NULL,x}', '{a,B}', None],
    'nums': ['{1}', '{1,2,3}', '{}', '{5,NULL,-1}', '{2,2}', None],
    'j': ['{"a": 1, "t": "p"}', '{"a": 2}', '{"t": "q", "a": null}', '{}', '{"t": [1, {"x": 2.50}]}', None],
    'lt': ['2024-03-31 01:30:00', '2024-03-31 02:30:00', '2024-03-31 02:30:01.5', '2024-04-01 00:00:00', '2024-03-31 07:00:05',
           None],
    'd': ['2024-02-29', '2024-03-01', '1999-12-31', 'infinity', None],
    'u': ['00000000-0000-0000-0000-000000000001', 'ffffffff-ffff-4fff-8fff-ffffffffffff',
          '8a1b2c3d-0000-4000-8000-000000000000', None],
    'iv': ['1 day', '24:00:00', '1 mon', '-00:00:01.5', '00:00:00', '1 year 2 days', None],
    'r': ['[1,5)', '[2,8)', '(,3)', 'empty', '[4,4]', None],
    'by': ['\\x', '\\x00ff', '\\x61', None],
    'e': ['sad', 'ok', 'happy', None],
    'v': ['12', '7', 'x1', '', '0012', None]}
SPECIAL = {'n': ['NaN', 'Infinity', '-Infinity'], 'f': ['NaN', 'Infinity', '-Infinity', '1e-300']}
NAMES = [name for name, _, _ in COLUMNS]
TYPES = {name: type_.split(' COLLATE')[0] for name, type_, _ in COLUMNS}
JSON_AS_IS = ('id', 'g', 'big')


class Config:
    """What the views and rows of one stream have in common."""

    def __init__(self, rng, kafka):
        self.kafka = kafka and rng.random() < 0.6
        self.event_time = rng.random() < 0.85
        self.unit = rng.choice(['seconds', 'hours'])
        self.late = self.event_time and not self.kafka and rng.random() < 0.3
        self.sessions = self.event_time and not self.late and rng.random() < 0.4
        self.concurrent = not self.late and rng.random() < 0.3
        self.ordered = not self.concurrent
        self.specials = rng.random() < 0.25
        self.second = datetime.timedelta(seconds=1) if self.unit == 'seconds' else datetime.timedelta(minutes=6)
        self.jitter = 40
        # without late rows: more than rows are out of order, within a statement and among concurrent ones
        self.delay = rng.choice([0, 5, 20]) if self.late else 120 if self.concurrent else rng.choice([50, 100])
        self.role = rng.random() < 0.4
        self.keys = rng.choice([3, 9])
        self.twin = rng.random() < 0.5      # there is a second stream, which unions also read

    def delay_interval(self):
        return self.second * self.delay


class Rows:
    def __init__(self, rng, config):
        self.rng = rng
        self.config = config
        self.id = 0
        self.clock = 0
        self.previous = []

    def value(self, name):
        if name in SPECIAL and self.config.specials and self.rng.random() < 0.03:
            return self.rng.choice(SPECIAL[name])
        values = VALUES[name]
        return self.rng.choice(values[:self.config.keys] if name == 'k' else values)

    def row(self):
        self.id += 1
        if self.previous and self.rng.random() < 0.15:      # a duplicate, but for its number
            row = dict(self.rng.choice(self.previous))
        else:
            row = {name: self.value(name) for name in NAMES if name not in ('id', 'at')}
            self.previous = (self.previous + [row])[-20:]
        row['id'] = self.id
        at = START + self.config.second * (self.clock - self.rng.choice([0, 0, 1, 2, 5, 11, self.config.jitter]))
        if self.rng.random() < 0.3:
            at += self.config.second * self.rng.random() * 0.5
        row['at'] = None if self.rng.random() < 0.03 else at
        return row

    def rows(self):
        made = []
        for _ in range(self.rng.choice([0, 1, 1, 2, 5, 12, 30])):
            self.clock += self.rng.choice([0, 0, 0, 1, 2])
            made.append(self.row())
        return made

    FORMS = ['values', 'values', 'copy', 'merge', 'cte', 'select', 'function', 'single', 'prepared']

    def transaction(self):
        rng = self.rng
        self.clock += rng.choice([0, 3, 10, 25])
        kind = rng.random()
        if self.config.kafka and kind < 0.5:
            return {'kind': 'kafka', 'rows': self.rows()}
        if self.config.concurrent and kind < 0.7:
            clock = self.clock
            parts = []
            for _ in range(3):
                self.clock = clock
                parts.append((rng.choice(self.FORMS), self.rows()))
            return {'kind': 'concurrent', 'parts': parts}
        steps = []
        committed = True
        if rng.random() < 0.5:
            steps.append(('insert', rng.choice(self.FORMS), self.rows()))
        else:
            committed = rng.random() < 0.75
            for _ in range(rng.randint(1, 4)):
                if rng.random() < 0.3:
                    steps.append(('savepoint',))
                    for _ in range(rng.randint(1, 2)):
                        steps.append(('insert', rng.choice(self.FORMS), self.rows()))
                    steps.append(rng.choice([('rollback to',), ('rollback to',), ('release',)]))
                else:
                    steps.append(('insert', rng.choice(self.FORMS), self.rows()))
        return {'kind': 'statements', 'steps': steps, 'committed': committed, 'block': len(steps) > 1 or not committed,
                'connection': rng.randrange(2)}


def text(value):
    return value.strftime('%Y-%m-%d %H:%M:%S.%f+00') if isinstance(value, datetime.datetime) else str(value)


def literal(name, value, typed):
    if value is None:
        return 'NULL::%s' % TYPES[name] if typed else 'NULL'
    if name in JSON_AS_IS and not typed:
        return str(value)
    return quote(text(value)) + ('::' + TYPES[name] if typed else '')


def values(rows, typed=False, extra=None):
    return 'VALUES ' + ',\n    '.join('(%s)' % ', '.join(
        [literal(name, row[name], typed) for name in NAMES] + ([extra] if extra else [])) for row in rows)


def insert(stream, form, rows, prepared):
    """Statements that insert rows in one of several ways."""
    columns = ', '.join(NAMES)
    if not rows:
        return 'INSERT INTO %s SELECT * FROM %s WHERE false;' % (stream, stream)
    if form == 'copy':
        def field(value):
            return '\\N' if value is None else text(value).replace('\\', '\\\\')
        return 'COPY %s (%s) FROM stdin;\n%s\n\\.\n' % (stream, columns, '\n'.join(
            '\t'.join(field(row[name]) for name in NAMES) for row in rows))
    if form == 'merge':
        return ('MERGE INTO %s t USING (%s) AS v(%s) ON false WHEN NOT MATCHED THEN INSERT (%s) VALUES (%s);'
                % (stream, values(rows, True), columns, columns, ', '.join('v.' + name for name in NAMES)))
    if form == 'cte':
        return 'WITH added AS (INSERT INTO %s (%s) %s RETURNING id) SELECT count(*) FROM added \\g /dev/null\n' % (
            stream, columns, values(rows))
    if form == 'select':
        return 'INSERT INTO %s (%s) SELECT * FROM (%s) AS v ORDER BY 1;' % (stream, columns, values(rows, True))
    if form == 'function':
        return 'DO $do$ BEGIN %s END $do$;' % ' '.join(
            'INSERT INTO %s (%s) %s;' % (stream, columns, values([row])) for row in rows)
    if form == 'single':
        return '\n'.join('INSERT INTO %s (%s) %s;' % (stream, columns, values([row])) for row in rows)
    if form == 'prepared':
        name = 'p_' + stream.split('.')[-1]
        first = '' if name in prepared else 'PREPARE %s (%s) AS INSERT INTO %s (%s) VALUES (%s);\n' % (
            name, ', '.join(TYPES[n] for n in NAMES), stream, columns, ', '.join('$%d' % (i + 1) for i in range(len(NAMES))))
        prepared.add(name)
        return first + '\n'.join('EXECUTE %s (%s);' % (name, ', '.join(literal(n, row[n], False) for n in NAMES)) for row in rows)
    return 'INSERT INTO %s (%s) %s;' % (stream, columns, values(rows))


def message(row):
    """A row as a JSON object."""
    fields = {}
    for name in NAMES:
        value = row[name]
        if name == 'j' and value is not None:
            value = json.loads(value)
        elif value is not None and name not in JSON_AS_IS:
            value = text(value)
        fields[name] = value
    # numbers keep their digits
    return json.dumps(fields, ensure_ascii=False).replace('2.5}', '2.50}')
