"""Random definitions of continuous views, each with the query that must give the same rows.

A definition has two texts that differ only where they must. In the text of the view the stream is read by
its name. In the text of the oracle

  - the stream is a table with all accepted rows, without the rows on which an expression of the view fails
    (`guards`), and without the rows of groups that were deleted since;
  - aggregates that keep the order of arrival are sorted by the number of the row;
  - windows over the event time leave out pairs of row and window that were late;
  - sessions are computed by window functions.

Both are written at the same time: pair(view, oracle) makes a piece of text that depends on it.
"""

import re

PAIR = re.compile('\x01([^\x01\x02\x03]*)\x02([^\x01\x02\x03]*)\x03')


def pair(view, oracle):
    return '\x01%s\x02%s\x03' % (view, oracle)


def choose_text(text, group):
    while '\x01' in text:
        text = PAIR.sub(lambda m: m.group(group), text)
    return text


# The columns of each stream, and the type by which expressions know them.
COLUMNS = [
    ('id', 'integer', 'int'), ('k', 'text', 'text'), ('c', 'text COLLATE random_ci', 'ci'),
    ('g', 'integer', 'int'), ('big', 'bigint', 'bigint'), ('n', 'numeric', 'numeric'),
    ('f', 'double precision', 'float'), ('b', 'boolean', 'bool'), ('tags', 'text[]', 'text[]'),
    ('nums', 'integer[]', 'int[]'), ('j', 'jsonb', 'jsonb'), ('at', 'timestamptz', 'timestamptz'),
    ('lt', 'timestamp', 'timestamp'), ('d', 'date', 'date'), ('u', 'uuid', 'uuid'),
    ('iv', 'interval', 'interval'), ('r', 'int4range', 'range'), ('by', 'bytea', 'bytea'),
    ('e', 'random_mood', 'enum'), ('v', 'varchar(12)', 'text')]

UNSORTED = ('json', 'xml')

# Ordinary tables that views join. They do not change.
SETUP = """
CREATE COLLATION random_ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TYPE random_mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE sites (k text, site text, w integer);
INSERT INTO sites VALUES ('a', 'north', 1), ('b', 'south', 2), ('b', 'east', NULL), ('B', 'west', 4), (NULL, 'none', 5),
    ('e', NULL, 6);
CREATE TABLE unique_sites (k text PRIMARY KEY, site text, w integer);
INSERT INTO unique_sites SELECT DISTINCT ON (k) k, site, w FROM sites WHERE k IS NOT NULL ORDER BY k, w;
CREATE TABLE parts (g integer, part text) PARTITION BY LIST (g);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_other PARTITION OF parts DEFAULT;
INSERT INTO parts VALUES (0, 'zero'), (1, 'one'), (2, 'two'), (2, 'pair'), (NULL, 'null');
CREATE VIEW site_counts AS SELECT k, count(*) AS sites, max(site) AS last_site FROM sites GROUP BY k;
CREATE FUNCTION random_add(s bigint, v integer) RETURNS bigint IMMUTABLE LANGUAGE sql
    AS 'SELECT coalesce(s, 0) + coalesce(v, 0)';
CREATE FUNCTION random_combine(s bigint, t bigint) RETURNS bigint IMMUTABLE LANGUAGE sql
    AS 'SELECT coalesce(s + t, s, t)';
CREATE AGGREGATE random_total(integer) (sfunc = random_add, stype = bigint, combinefunc = random_combine);
CREATE FUNCTION random_append(s text, v text) RETURNS text IMMUTABLE LANGUAGE plpgsql
    AS 'BEGIN RETURN concat(s, ''<'', v, ''>''); END';
CREATE AGGREGATE random_chain(text) (sfunc = random_append, stype = text);
CREATE FUNCTION random_double(v integer) RETURNS SETOF integer IMMUTABLE ROWS 2 LANGUAGE sql
    AS 'SELECT v UNION ALL SELECT 2 * v';
CREATE FUNCTION random_label(v integer) RETURNS text STABLE LANGUAGE plpgsql
    AS 'BEGIN RETURN (SELECT min(site) FROM @schema@.sites WHERE w = v); END';
"""


class Column:
    """An expression that a level of a query can use."""

    def __init__(self, sql, type_, raw=None, event_time=False):
        self.sql = sql          # as this level writes it
        self.type = type_
        self.raw = raw          # over the stream's own columns, or None
        self.event_time = event_time    # that of each stream of a union


class Scope:
    """What is visible at one level: a FROM clause, with conditions."""

    def __init__(self):
        self.text = ''
        self.columns = []
        self.conditions = []
        self.id = None          # number of the row, unless a row can come several times
        self.window = None      # alias of window bounds
        self.raw = None         # alias of the stream itself


class Output:
    def __init__(self, sql, type_, column=None, aggregate=False):
        self.sql = sql
        self.type = type_
        self.column = column    # of the key
        self.aggregate = aggregate
        self.name = None


class Definition:
    """A view: parts that can be left out one by one to find the smallest that still differs."""

    def __init__(self, rng, config):
        self.rng = rng
        self.config = config
        self.guards = []
        self.options = []
        self.final_only = False
        self.session = None
        self.late_windows = False
        self.delete_keys = None         # [(output number, raw expression)] if groups can be deleted
        self.resumable = True
        self.count_rejected = False
        self.ctes = []
        self.body = None
        self.window_end = None          # number of the output
        self.dropped = set()            # optional parts left out
        self.streams = {'stream'}       # that it reads: this one, "twin", or both
        Generator(self).build()

    # ---- texts ----

    def text(self, group, stream):
        query = choose_text(self.body, group)
        return query.replace('@stream@', stream[0]).replace('@twin@', stream[1])

    def view_query(self, stream):
        return self.text(1, (stream, stream + 'b'))

    def oracle_query(self, log, conditions=()):
        columns = ', '.join(name for name, _, _ in COLUMNS)
        rows = []
        for twin in ('NOT s.twin', 's.twin'):
            everything = [twin] + list(self.guards) + list(conditions)
            rows.append('(SELECT %s%s FROM %s s WHERE %s)' % (
                columns, ', judged' if self.late_windows else '', log, ' AND '.join('(%s)' % c for c in everything)))
        return self.text(2, rows)

    def create(self, name, stream, *options):
        return 'SELECT eddy.create_continuous_view(%s, %s%s);' % (
            quote(name), quote(self.view_query(stream)), ''.join(', ' + o for o in list(options) + self.options))


def quote(text):
    return "'%s'" % text.replace("'", "''")


class Generator:
    def __init__(self, definition):
        self.d = definition
        self.rng = definition.rng
        self.config = definition.config
        self.number = 0

    def chance(self, p):
        return self.rng.random() < p

    def pick(self, *choices):
        return self.rng.choice(choices)

    def name(self, prefix='c'):
        self.number += 1
        return '%s%d' % (prefix, self.number)

    # ---- expressions over one row ----

    def columns_of(self, scope, *types):
        return [c for c in scope.columns if c.type in types]

    def any_column(self, scope, *types):
        found = self.columns_of(scope, *types)
        return self.rng.choice(found) if found else None

    def expression(self, scope, type_, depth=0):
        """A Column of a type, or None if the level has nothing of the kind."""
        column = self.any_column(scope, type_)
        if depth > 1 or column and self.chance(0.55):
            return column
        made = self.compute(scope, type_, depth)
        return made or column

    def compute(self, scope, type_, depth):
        def e(t):
            return self.expression(scope, t, depth + 1)

        def make(template, *types):
            args = [e(t) for t in types]
            if None in args:
                return None
            raw = None
            if all(a.raw for a in args):
                raw = template % tuple(a.raw for a in args)
            return Column(template % tuple(a.sql for a in args), type_, raw)

        choices = {
            'int': [('(%s %% 3)', 'int'), ('(%s + %s)', 'int', 'int'), ('length(%s)', 'text'),
                    ('cardinality(%s)', 'text[]'), ('coalesce(%s, 0)', 'int'), ("(%s ->> 'a')::integer", 'jsonb'),
                    ('extract(minute FROM %s)::integer', 'timestamptz'), ('CASE WHEN %s THEN %s ELSE -1 END', 'bool', 'int'),
                    ('abs(%s)', 'int'), ('upper(%s)', 'range'), ('(%s)[1]', 'int[]'),
                    ('(SELECT max(x.w) FROM sites x WHERE x.k = %s)', 'text')],
            'bigint': [('%s::bigint', 'int'), ('(%s + %s)', 'bigint', 'int')],
            'numeric': [('(%s * 2)', 'numeric'), ('round(%s, 1)', 'numeric'), ('(%s::numeric / 4)', 'int'),
                        ('coalesce(%s, 0)', 'numeric')],
            'float': [('(%s / 2)', 'float'), ('%s::float8', 'int'), ('(%s + %s)', 'float', 'int')],
            'text': [('upper(%s)', 'text'), ("(%s || '-')", 'text'), ("coalesce(%s, '?')", 'text'), ('left(%s, 1)', 'text'),
                     ('%s::text', 'enum'), ("(%s ->> 't')", 'jsonb'), ('%s::text', 'date'), ('%s::text', 'bool'),
                     ('(%s COLLATE "und-x-icu")', 'text'), ('random_label(%s)', 'int'), ('%s::text', 'timestamptz'),
                     ("to_char(%s, 'HH24:MI')", 'timestamptz'), ('%s::text', 'interval'), ('%s::text', 'bytea')],
            'ci': [("coalesce(%s, '!')", 'ci')],
            'bool': [('(%s > 2)', 'int'), ("(%s = 'a')", 'text'), ('(%s IS NULL)', 'text'), ("(%s @> '{x}')", 'text[]'),
                     ("(%s ? 't')", 'jsonb'), ("(%s < timestamptz '2024-03-30 12:00Z')", 'timestamptz'),
                     ("(%s LIKE 'a%%')", 'text'), ('(%s IN (1, 2, 4))', 'int'), ('(%s > 1.5)', 'numeric'),
                     ("(%s = 'ABC')", 'ci'), ('(NOT %s)', 'bool'), ('(%s OR %s)', 'bool', 'bool'), ("(%s > 'sad')", 'enum'),
                     ('(%s IN (SELECT x.k FROM sites x))', 'text'),
                     ('EXISTS (SELECT FROM parts x WHERE x.g = %s)', 'int'), ('(%s IS DISTINCT FROM %s)', 'int', 'int')],
            'timestamptz': [("date_trunc('minute', %s)", 'timestamptz'), ("(%s + interval '1 month')", 'timestamptz')],
            'timestamp': [("(%s AT TIME ZONE 'UTC')", 'timestamptz'), ("date_trunc('hour', %s)", 'timestamp')],
            'date': [('%s::date', 'timestamptz'), ('(%s + 1)', 'date')],
            'interval': [("(%s * 2)", 'interval'), ("(%s - timestamp '2024-01-01')", 'timestamp')],
            'jsonb': [("jsonb_build_object('k', %s, 'g', %s)", 'text', 'int'), ('to_jsonb(%s)', 'int'), ("(%s -> 'a')", 'jsonb')],
            'text[]': [('(%s || %s)', 'text[]', 'text'), ('ARRAY[%s, %s]', 'text', 'text')],
            'int[]': [('ARRAY[%s, 0]', 'int')],
            'range': [('(%s + int4range(100, 101))', 'range')][:0],
        }.get(type_, [])
        if not choices:
            return None
        choice = self.rng.choice(choices)
        return make(*choice)

    KEY_TYPES = ['int'] * 4 + ['text'] * 4 + ['ci', 'ci', 'bool', 'numeric', 'float', 'timestamptz', 'timestamp', 'date', 'uuid',
                                            'interval', 'range', 'bytea', 'enum', 'text[]', 'int[]', 'jsonb', 'bigint']

    def any_expression(self, scope, types=None):
        for _ in range(20):
            found = self.expression(scope, self.rng.choice(types or self.KEY_TYPES))
            if found:
                return found
        return self.rng.choice(scope.columns)

    def condition(self, scope):
        return (self.expression(scope, 'bool') or Column('true', 'bool')).sql

    # ---- FROM ----

    def scan(self, alias='s'):
        scope = Scope()
        scope.text = '@stream@ AS %s' % alias
        scope.columns = [Column('%s.%s' % (alias, name), type_, 's.%s' % name) for name, _, type_ in COLUMNS]
        scope.id = '%s.id' % alias
        scope.raw = alias
        return scope

    def wrap(self, scope):
        """A sub-select or WITH query that exports some columns and expressions."""
        alias = self.name('q')
        exported = []
        items = []
        for column in self.rng.sample(scope.columns, min(len(scope.columns), self.rng.randint(5, 12))):
            exported.append(column)
        for type_ in ('int', 'text', 'numeric', 'timestamptz'):
            extra = self.expression(scope, type_)
            if extra:
                exported.append(extra)
        inner = Scope()
        for column in exported:
            name = self.name('x')
            items.append('%s AS %s' % (column.sql, name))
            inner.columns.append(Column('%s.%s' % (alias, name), column.type, column.raw, column.event_time))
        if scope.id:
            items.append('%s AS id' % scope.id)
            inner.id = '%s.id' % alias
            inner.columns.append(Column(inner.id, 'int', 's.id'))
        select = 'SELECT %s FROM %s%s' % (', '.join(items), scope.text, self.where(scope))
        if self.chance(0.3):
            cte = self.name('cte')
            self.d.ctes.append('%s AS %s(%s)' % (cte, self.pick('', '', 'MATERIALIZED ', 'NOT MATERIALIZED '), select))
            inner.text = '%s AS %s' % (cte, alias)
        else:
            inner.text = '(%s) AS %s' % (select, alias)
        return inner

    def where(self, scope):
        return ' WHERE ' + ' AND '.join(scope.conditions) if scope.conditions else ''

    def union(self):
        """UNION ALL of branches over the stream, or over two streams."""
        types = self.rng.sample(['text', 'int', 'numeric', 'timestamptz', 'bool', 'date', 'text', 'int'], self.rng.randint(3, 6))
        passes_time = self.config.event_time and not self.config.late and self.chance(0.5)
        if passes_time and 'timestamptz' not in types:
            types.append('timestamptz')
        names = [self.name('x') for _ in types]
        branches = []
        times = {}
        self.d.streams = set()
        for _ in range(self.rng.choice([2, 2, 3])):
            scope = self.scan(self.name('s'))
            if self.config.twin and self.chance(0.5):
                self.d.streams.add('twin')
                scope.text = scope.text.replace('@stream@', '@twin@')
            else:
                self.d.streams.add('stream')
            if self.chance(0.3):
                self.join(scope)
            if self.chance(0.5):
                scope.conditions.append(self.condition(scope))
            items = []
            for type_, name in zip(types, names):
                column = self.expression(scope, type_)
                if type_ == 'timestamptz' and passes_time:
                    column = Column(scope.raw + '.at', type_)
                # which rows are late is known for the stream itself
                elif column.sql.endswith('.at') and self.config.late:
                    column = Column('(%s + interval \'0\')' % column.sql, type_)
                times.setdefault(name, []).append(column.sql == scope.raw + '.at')
                items.append('%s AS %s' % (column.sql, name))
            branches.append('SELECT %s FROM %s%s' % (', '.join(items), scope.text, self.where(scope)))
        alias = self.name('u')
        scope = Scope()
        scope.text = '(%s) AS %s' % (' UNION ALL '.join(branches), alias)
        scope.columns = [Column('%s.%s' % (alias, name), type_, event_time=all(times[name])) for type_, name in zip(types, names)]
        return scope

    def join(self, scope):
        alias = self.name('j')
        text = self.any_column(scope, 'text')
        number = self.any_column(scope, 'int')
        kind = self.pick('JOIN', 'LEFT JOIN', 'LEFT JOIN')
        options = []
        if text:
            options += [('unique_sites', 'k', text, [('site', 'text'), ('w', 'int')], True),
                        ('sites', 'k', text, [('site', 'text'), ('w', 'int')], False),
                        ('site_counts', 'k', text, [('last_site', 'text'), ('sites', 'bigint')], True),
                        ("(SELECT x.k, min(x.w) AS w FROM sites x GROUP BY x.k)", 'k', text, [('w', 'int')], True)]
        if number:
            options += [('parts', 'g', number, [('part', 'text')], False),
                        ("(VALUES (0, 'none'), (1, 'some'), (2, 'more'))", 'column1', number, [('column2', 'text')], True)]
        if not options:
            return
        table, key, column, columns, unique = self.rng.choice(options)
        if ' CROSS JOIN ' in scope.text:
            return
        operator = '=' if self.chance(0.85) else 'IS NOT DISTINCT FROM'
        scope.text += ' %s %s AS %s ON %s.%s %s %s' % (kind, table, alias, alias, key, operator, column.sql)
        scope.columns += [Column('%s.%s' % (alias, name), type_) for name, type_ in columns]
        if not unique:
            scope.id = None

    def lateral(self, scope):
        alias = self.name('l')
        kind = self.rng.randrange(7)
        tags, nums, doc = (self.any_column(scope, t) for t in ('text[]', 'int[]', 'jsonb'))
        number, text = self.any_column(scope, 'int'), self.any_column(scope, 'text')
        if kind == 0 and tags:
            scope.text += ' CROSS JOIN unnest(%s) AS %s(t)' % (tags.sql, alias)
            scope.columns.append(Column(alias + '.t', 'text'))
        elif kind == 1 and tags:
            scope.text += ' LEFT JOIN LATERAL unnest(%s) WITH ORDINALITY AS %s(t, o) ON true' % (tags.sql, alias)
            scope.columns += [Column(alias + '.t', 'text'), Column(alias + '.o', 'bigint')]
        elif kind == 2 and nums:
            scope.text += ' CROSS JOIN LATERAL (SELECT z.m * 2 AS m FROM unnest(%s) AS z(m) WHERE z.m > 0) AS %s' % (nums.sql, alias)
            scope.columns.append(Column(alias + '.m', 'int'))
        elif kind == 3 and doc:
            scope.text += (" CROSS JOIN jsonb_to_recordset(jsonb_build_array(CASE WHEN jsonb_typeof(%s) = 'object' THEN %s "
                           "ELSE '{}' END, '{\"a\": 7}'::jsonb)) AS %s(a integer, t text)" % (doc.sql, doc.sql, alias))
            scope.columns += [Column(alias + '.a', 'int'), Column(alias + '.t', 'text')]
        elif kind == 4 and text:
            scope.text += " CROSS JOIN regexp_matches(%s, '[a-zA-Z]', 'g') AS %s(m)" % (text.sql, alias)
            scope.columns.append(Column(alias + '.m', 'text[]'))
        elif kind == 5 and number:
            scope.text += ' CROSS JOIN random_double(%s) AS %s(m)' % (number.sql, alias)
            scope.columns.append(Column(alias + '.m', 'int'))
        elif tags:
            scope.text += ' CROSS JOIN LATERAL (SELECT max(z.t) AS t, count(*) AS m FROM unnest(%s) AS z(t)) AS %s' % (tags.sql, alias)
            scope.columns += [Column(alias + '.t', 'text'), Column(alias + '.m', 'bigint')]
            return
        else:
            return
        scope.id = None

    # ---- windows ----

    def window_call(self, column, event_time):
        unit = self.config.unit
        zone = ''
        if unit == 'seconds':
            size = lambda n: "'%d seconds'" % (n * 10)
        else:
            size = lambda n: "'%d hours'" % n
        kind = self.rng.randrange(8)
        offset = self.pick('', '', ', "offset" => %s' % ("'3 seconds'" if unit == 'seconds' else "'20 minutes'"))
        if kind < 3:
            return 'eddy.tumble(%s, %s%s)' % (column, size(self.pick(1, 2, 6)), offset), 1
        if kind == 3 and unit == 'hours':
            length = self.pick('1 day', '1 month', '1 week', '2 days')
            zone = ", time_zone => 'Europe/Oslo'" if self.zoned(column) else ''
            return "eddy.tumble(%s, '%s'%s)" % (column, length, zone), 1
        if kind <= 4:
            slide, length = self.pick((1, 2), (2, 6), (1, 3), (2, 5))
            return 'eddy.hop(%s, %s, %s%s)' % (column, size(slide), size(length), offset), 3
        if kind == 5:
            slide, length = self.pick((1, 15), (2, 30), (1, 40))
            return 'eddy.hop(%s, %s, %s%s)' % (column, size(slide), size(length), offset), 30
        if kind == 6 and unit == 'hours' and self.zoned(column):
            return "eddy.cumulate(%s, '6 hours', '1 day', time_zone => 'Europe/Oslo')" % column, 4
        step, times = self.pick((1, 3), (2, 4), (1, 12))
        return 'eddy.cumulate(%s, %s, %s%s)' % (column, size(step), size(step * times), offset), times

    def zoned(self, column):
        return column.endswith('.at')

    def add_window(self, scope):
        alias = self.name('w')
        event_time = False
        column = None
        if scope.raw and self.chance(0.75):
            column, event_time, type_ = scope.raw + '.at', self.config.event_time, 'timestamptz'
        else:
            found = self.any_column(scope, 'timestamptz', 'timestamp')
            times = [c for c in scope.columns if c.event_time]
            if times and self.chance(0.8):
                found = self.rng.choice(times)
            if found is None:
                return
            if self.config.late and (found.raw == 's.at' or found.event_time):
                return
            column, type_ = found.sql, found.type
            event_time = (found.raw == 's.at' or found.event_time) and self.config.event_time
        call, windows = self.window_call(column, event_time)
        if event_time and self.config.late:
            self.d.late_windows = True
            call = pair(call, '(SELECT z.window_start, z.window_end FROM %s AS z WHERE z.window_end IS NULL OR %s.judged IS NULL '
                              'OR z.window_end > %s.judged)' % (call, scope.raw, scope.raw))
            scope.text += ' CROSS JOIN ' + pair('', 'LATERAL ') + call + ' AS ' + alias
        else:
            scope.text += ' CROSS JOIN %s AS %s' % (call, alias)
        scope.window = (alias, type_, event_time, windows)
        if windows > 1:
            scope.id_in_window = scope.id
            scope.id = None

    # ---- aggregates ----

    def filter(self, scope):
        return ' FILTER (WHERE %s)' % self.condition(scope) if self.chance(0.15) else ''

    def argument(self, scope, *types):
        return self.any_expression(scope, list(types)).sql

    def aggregate(self, scope, kept):
        """An aggregate as (text, type); kept: it may keep its values."""
        ordered = scope.id is not None and self.config.ordered
        keeps = kept and not self.chance(0.55)
        maker = self.rng.choice(self.KEPT if keeps else self.COMBINING)
        # the values of sessions that are merged have no order of arrival
        made = maker(self, scope, ordered and not (keeps and self.d.session))
        return made if made else ('count(*)', 'bigint')

    def simple(name, *variants):
        def make(self, scope, ordered):
            types = self.rng.choice(variants)
            column = self.expression(scope, types[0])
            if column is None:
                return None
            distinct = ''
            return '%s(%s%s)%s' % (name, distinct, column.sql, self.filter(scope)), types[1]
        return make

    def statistics(self, scope, ordered):
        if self.chance(0.5):
            column = self.expression(scope, self.pick('int', 'int', 'numeric', 'float'))
            if column is None:
                return None
            type_ = 'float' if column.type == 'float' else 'numeric'
            return '%s(%s)%s' % (self.pick('stddev', 'stddev_pop', 'var_samp', 'var_pop', 'variance'), column.sql,
                                 self.filter(scope)), type_
        a, b = self.expression(scope, 'int'), self.expression(scope, 'int')
        if not a or not b:
            return None
        name = self.pick('corr', 'covar_pop', 'covar_samp', 'regr_avgx', 'regr_count', 'regr_slope', 'regr_sxy', 'regr_r2')
        return '%s(%s, %s)%s' % (name, a.sql, b.sql, self.filter(scope)), 'bigint' if name == 'regr_count' else 'float'

    def by_order(self, scope, ordered):
        value = self.any_expression(scope)
        if value.type in ('ci',):
            return None
        name = self.pick('first', 'last', 'min_by', 'max_by')
        order = scope.id if scope.id else value.sql
        return 'eddy.%s(%s, %s)%s' % (name, value.sql, order, self.filter(scope)), value.type

    def estimate(self, scope, ordered):
        kind = self.rng.randrange(3)
        if kind == 0:
            return 'eddy.approx_count_distinct(%s)' % self.argument(scope, 'int', 'text', 'date', 'numeric'), 'bigint'
        if kind == 1:
            column = self.expression(scope, 'float')
            if column is None:
                return None
            if self.chance(0.3):
                return 'eddy.approx_percentile(%s, ARRAY[0.1, 0.5]::float8[])' % column.sql, 'float[]'
            return 'eddy.approx_percentile(%s, 0.9)' % column.sql, 'float'
        # exact as long as there are not more values than counters
        number = self.expression(scope, 'int')
        if number is None:
            return None
        return 'eddy.top_k(%s, 5)' % self.pick('%s %% 7' % number.sql, '%s > 2' % number.sql, '(%s %% 5)::text' % number.sql), 'jsonb'

    def own(self, scope, ordered):
        column = self.expression(scope, 'int')
        return ('random_total(%s)%s' % (column.sql, self.filter(scope)), 'bigint') if column else None

    def distinct(self, scope, ordered):
        value = self.any_expression(scope)
        kind = self.rng.randrange(6)
        if kind < 2:
            return 'count(DISTINCT %s)%s' % (value.sql, self.filter(scope)), 'bigint'
        if kind == 2:
            number = self.expression(scope, self.pick('int', 'numeric'))
            if number is None:
                return None
            # of 1.0 and 1.00 either can be the one that counts, and the number of digits of an average depends on it
            name = self.pick('sum', 'avg', 'max', 'stddev') if number.type == 'int' else self.pick('sum', 'max')
            type_ = {'sum': 'bigint' if number.type == 'int' else 'numeric', 'max': number.type}.get(name, 'numeric')
            return '%s(DISTINCT %s)%s' % (name, number.sql, self.filter(scope)), type_
        if kind == 3 and value.type in ('int', 'text', 'date', 'numeric', 'uuid'):
            return 'array_agg(DISTINCT %s%s)%s' % (value.sql, self.pick('', ' ORDER BY %s DESC' % value.sql),
                                                  self.filter(scope)), value.type + '[]'
        if kind == 4:
            text = self.expression(scope, 'text')
            if text is None:
                return None
            return "string_agg(DISTINCT %s, ',')%s" % (text.sql, self.filter(scope)), 'text'
        second = self.any_expression(scope, ['int', 'text', 'bool'])
        first = self.any_expression(scope, ['int', 'text', 'date'])
        return 'count(DISTINCT (%s, %s))' % (first.sql, second.sql), 'bigint'

    def arrange(self, scope, ordered, value):
        """ORDER BY within an aggregate, which determines the result."""
        if ordered and self.chance(0.5):
            return pair('', ' ORDER BY %s' % scope.id)
        sort = self.any_expression(scope, ['int', 'text', 'numeric', 'date'])
        way = self.pick('', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST')
        if ordered:
            return ' ORDER BY %s%s%s' % (sort.sql, way, pair('', ', ' + scope.id))
        if scope.id:
            return ' ORDER BY %s%s, %s' % (sort.sql, way, scope.id)
        return ' ORDER BY %s, (%s)::text' % (value, value)

    def listing(self, scope, ordered):
        kind = self.rng.randrange(7)
        flt = self.filter(scope)
        value = self.any_expression(scope, ['int', 'text', 'numeric', 'bool', 'date', 'uuid', 'jsonb', 'timestamptz', 'interval'])
        arranged = self.arrange(scope, ordered, value.sql)
        if kind == 0 and value.type != 'jsonb':
            return 'array_agg(%s%s)%s' % (value.sql, arranged, flt), value.type + '[]'
        if kind == 1:
            text = self.expression(scope, 'text')
            if text is None:
                return None
            return "string_agg(%s, '; '%s)%s" % (text.sql, self.arrange(scope, ordered, text.sql), flt), 'text'
        if kind == 2:
            return 'jsonb_agg(%s%s)%s' % (value.sql, arranged, flt), 'jsonb'
        if kind == 3:
            return 'json_agg(%s%s)%s' % (value.sql, arranged, flt), 'json'
        if kind == 4 and scope.id:
            key = self.expression(scope, 'text')
            if key is None:
                return None
            name = self.pick('jsonb_object_agg', 'json_object_agg')
            arranged = pair('', ' ORDER BY %s' % scope.id) if ordered else ' ORDER BY %s' % scope.id
            return "%s(coalesce(%s, '?'), %s%s)%s" % (name, key.sql, value.sql, arranged, flt), name.split('_')[0]
        if kind == 5:
            number = self.expression(scope, 'int')
            if number is None:
                return None
            return 'xmlagg(xmlelement(name x, %s)%s)%s' % (number.sql, self.arrange(scope, ordered, number.sql), flt), 'xml'
        text = self.expression(scope, 'text')
        if text is None:
            return None
        return 'random_chain(%s%s)%s' % (text.sql, self.arrange(scope, ordered, text.sql), flt), 'text'

    def ordered_set(self, scope, ordered):
        flt = self.filter(scope)
        kind = self.rng.randrange(6)
        if kind == 0:
            value = self.any_expression(scope, ['int', 'text', 'numeric', 'date', 'bool'])
            return 'mode() WITHIN GROUP (ORDER BY %s)%s' % (value.sql, flt), value.type
        if kind == 1:
            value = self.expression(scope, 'float') or self.expression(scope, 'int')
            if value is None:
                return None
            cast = '' if value.type == 'float' else '::float8'
            if self.chance(0.4):
                return 'percentile_cont(ARRAY[0.25, 0.5, 0.9]) WITHIN GROUP (ORDER BY %s%s)%s' % (value.sql, cast, flt), 'float[]'
            return 'percentile_cont(0.5) WITHIN GROUP (ORDER BY %s%s)%s' % (value.sql, cast, flt), 'float'
        if kind == 2:
            value = self.any_expression(scope, ['int', 'text', 'numeric', 'timestamptz', 'date'])
            return 'percentile_disc(%s) WITHIN GROUP (ORDER BY %s%s)%s' % (
                self.pick('0', '0.3', '0.5', '1'), value.sql, self.pick('', ' DESC'), flt), value.type
        value = self.expression(scope, 'int')
        if value is None:
            return None
        name = self.pick('rank', 'dense_rank', 'percent_rank', 'cume_dist')
        return '%s(%d) WITHIN GROUP (ORDER BY %s)%s' % (name, self.rng.randrange(5), value.sql, flt), (
            'bigint' if name in ('rank', 'dense_rank') else 'float')

    def ranges(self, scope, ordered):
        column = self.any_column(scope, 'range')
        return ('range_agg(%s)%s' % (column.sql, self.filter(scope)), 'multirange') if column else None

    COMBINING = [
        lambda self, scope, ordered: ('count(*)' + self.filter(scope), 'bigint'),
        lambda self, scope, ordered: ('count(%s)%s' % (self.any_expression(scope).sql, self.filter(scope)), 'bigint'),
        simple('sum', ('int', 'bigint'), ('numeric', 'numeric'), ('float', 'float'), ('bigint', 'numeric'), ('interval', 'interval')),
        simple('sum', ('int', 'bigint'), ('numeric', 'numeric')),
        simple('avg', ('int', 'numeric'), ('numeric', 'numeric'), ('float', 'float'), ('bigint', 'numeric'), ('interval', 'interval')),
        simple('min', ('int', 'int'), ('text', 'text'), ('numeric', 'numeric'), ('date', 'date'), ('timestamptz', 'timestamptz'),
               ('ci', 'ci'), ('enum', 'enum'), ('text[]', 'text[]'), ('interval', 'interval'), ('float', 'float')),
        simple('max', ('int', 'int'), ('text', 'text'), ('numeric', 'numeric'), ('date', 'date'), ('timestamp', 'timestamp'),
               ('ci', 'ci'), ('enum', 'enum'), ('int[]', 'int[]'), ('interval', 'interval'), ('float', 'float')),
        simple('bool_and', ('bool', 'bool')), simple('bool_or', ('bool', 'bool')), simple('every', ('bool', 'bool')),
        simple('bit_and', ('int', 'int')), simple('bit_or', ('bigint', 'bigint')), simple('bit_xor', ('int', 'int')),
        simple('range_intersect_agg', ('range', 'range')),
        statistics, by_order, estimate, own]
    KEPT = [distinct, distinct, listing, listing, listing, ordered_set, ordered_set, ranges]

    def over_aggregates(self, scope, kept):
        first = self.aggregate(scope, kept)
        if not self.chance(0.25):
            return first
        if first[1] in ('bigint', 'int', 'numeric'):
            return self.pick(('(%s / nullif(count(*), 0))' % first[0], 'numeric' if first[1] == 'numeric' else 'bigint'),
                             ('coalesce(%s, 0)' % first[0], first[1]), ('round(%s::numeric, 1)' % first[0], 'numeric'),
                             ("CASE WHEN %s > 3 THEN 'many' ELSE 'few' END" % first[0], 'text'),
                             ('(%s - count(*))' % first[0], first[1] if first[1] != 'int' else 'bigint'))
        if first[1] == 'text':
            return "coalesce(%s, 'nothing')" % first[0], 'text'
        return '(%s IS NULL)' % first[0], 'bool'

    # ---- a whole definition ----

    def bomb(self, scope):
        """An expression that fails on some rows, with the condition that leaves these out."""
        if not scope.raw or not self.chance(0.5):
            return None
        alias = scope.raw
        expression, type_, guard = self.pick(
            ('(100 / %s.g)', 'int', 's.g IS DISTINCT FROM 0'),
            ('%s.v::integer', 'int', "s.v IS NULL OR s.v ~ '^[0-9]+$'"),
            ('(7.5 / (%s.n - 1))', 'numeric', 's.n IS DISTINCT FROM 1'))
        self.d.guards.append(guard)
        return Column(expression % alias, type_, None)

    def source(self):
        if self.chance(0.3 if self.config.twin else 0.12):
            self.d.resumable = True
            scope = self.union()
        else:
            scope = self.scan()
            if self.chance(0.3):
                scope.conditions.append(self.condition(scope))
            if self.chance(0.25) and not self.config.late:
                scope = self.wrap(scope)
                if self.chance(0.3):
                    self.lateral(scope)
        if not scope.raw and self.chance(0.3) and not self.config.late:
            if self.chance(0.5):
                scope.conditions.append(self.condition(scope))
            scope = self.wrap(scope)
        if self.chance(0.25):
            self.join(scope)
        if self.chance(0.2):
            self.lateral(scope)
        return scope

    def build(self):
        shape = self.rng.random()
        if self.config.sessions and shape < 0.25:
            self.build_session()
        elif shape < 0.12:
            self.build_append()
        elif shape < 0.2:
            self.build_distinct_on()
        elif shape < 0.25:
            self.build_distinct()
        else:
            self.build_groups()
        with_ = 'WITH %s ' % ', '.join(self.d.ctes) if self.d.ctes else ''
        self.d.body = with_ + self.d.body

    def rows_items(self, scope, least=1):
        items = []
        for _ in range(self.rng.randint(least, 6)):
            found = self.any_expression(scope)
            if found.type not in UNSORTED:
                items.append(Output(found.sql, found.type, found))
        return items

    def finish_items(self, items):
        for item in items:
            item.name = self.name('o')
        return ', '.join('%s AS %s' % (i.sql, i.name) for i in items)

    def build_append(self):
        scope = self.source()
        multiplied = False
        bomb = None
        if scope.id and ' JOIN ' not in scope.text:
            bomb = self.bomb(scope)
        if self.chance(0.3) and not bomb and not (self.config.late and scope.raw):
            self.add_window(scope)
        if self.chance(0.4):
            scope.conditions.append(self.condition(scope))
        items = self.rows_items(scope, 2)
        if scope.window and not scope.window[2]:
            items.append(Output(scope.window[0] + '.window_start', scope.window[1]))
        if scope.window and scope.window[2]:
            items.append(Output(scope.window[0] + '.window_end', scope.window[1]))
        if bomb:
            items.append(Output(bomb.sql, bomb.type))
            self.d.count_rejected = not scope.conditions
        if self.chance(0.15):
            tags = self.any_column(scope, 'text[]')
            if tags:
                items.append(Output('unnest(%s)' % tags.sql, 'text'))
                self.d.count_rejected = False
                multiplied = True
        text = self.finish_items(items)
        self.d.body = 'SELECT %s FROM %s%s' % (text, scope.text, self.where(scope))
        self.d.delete_keys = None if scope.window or multiplied else [
            (item.name, item.column.raw) for item in items if item.column is not None and item.column.raw]
        if not bomb:                # a column that a query around does not use is not evaluated
            self.read_part(items, scope)

    def build_distinct(self):
        scope = self.source()
        if self.chance(0.4):
            scope.conditions.append(self.condition(scope))
        items = self.rows_items(scope, 1)
        self.d.delete_keys = [(i.name, i.column.raw) for i in items if i.column is not None and i.column.raw]
        text = self.finish_items(items)
        self.d.delete_keys = [(i.name, i.column.raw) for i in items] if all(
            i.column is not None and i.column.raw for i in items) and not self.config.sessions else None
        if scope.id is None:
            self.d.delete_keys = None
        self.d.body = 'SELECT DISTINCT %s FROM %s%s' % (text, scope.text, self.where(scope))
        self.read_part(items, scope)

    def build_distinct_on(self):
        scope = self.source()
        if not scope.id:
            scope = self.scan()
            scope.conditions.append(self.condition(scope))
        keys = self.rows_items(scope)[:2]
        if not keys:
            keys = [Output('s.k', 'text')]
        values = self.rows_items(scope)
        sort = self.any_expression(scope, ['int', 'numeric', 'date', 'text', 'timestamptz'])
        way = self.pick('', ' DESC', ' NULLS FIRST', ' DESC NULLS LAST')
        order = '%s%s, %s' % (sort.sql, way, self.pick(scope.id, scope.id + ' DESC'))
        if self.chance(0.6):
            text = self.finish_items(keys + values)
            self.d.body = 'SELECT DISTINCT ON (%s) %s FROM %s%s ORDER BY %s, %s' % (
                ', '.join(k.sql for k in keys), text, scope.text, self.where(scope), ', '.join(k.sql for k in keys), order)
        else:
            text = self.finish_items(keys + values)
            self.d.body = 'SELECT %s FROM (SELECT %s, row_number() OVER (PARTITION BY %s ORDER BY %s) AS place FROM %s%s) z WHERE z.place = 1' % (
                ', '.join('z.' + i.name for i in keys + values), text, ', '.join(k.sql for k in keys), order, scope.text,
                self.where(scope))

    def build_session(self):
        self.d.session = True
        scope = self.scan()
        if self.chance(0.4):
            scope.conditions.append(self.condition(scope))
        keys = [k for k in (self.any_column(scope, self.pick('text', 'int', 'ci', 'bool', 'enum')) for _ in range(
            self.rng.randrange(3))) if k]
        keys = list({k.sql: k for k in keys}.values())
        gap = self.pick("'5 seconds'", "'20 seconds'") if self.config.unit == 'seconds' else self.pick("'1 hour'", "'3 hours'")
        by = 'PARTITION BY ' + ', '.join(k.sql for k in keys) if keys else ''
        inner = 'SELECT s.*, s.at - lag(s.at) OVER (%s ORDER BY s.at) > interval %s AS brk FROM @stream@ AS s WHERE s.at IS NOT NULL%s' % (
            by, gap, ''.join(' AND ' + c for c in scope.conditions))
        numbered = 'SELECT s.*, count(*) FILTER (WHERE s.brk) OVER (%s ORDER BY s.at) AS sid FROM (%s) AS s' % (by, inner)
        part = 'PARTITION BY ' + ', '.join([k.sql for k in keys] + ['s.sid'])
        sessions = ('(SELECT s.*, min(s.at) OVER p AS ws_, max(s.at) OVER p + interval %s AS we_, max(s.at) OVER p AS le_ '
                    'FROM (%s) AS s WINDOW p AS (%s)) AS s, LATERAL (SELECT s.ws_, s.we_, s.le_) AS w(window_start, window_end, last_event)'
                    % (gap, numbered, part))
        text = pair('@stream@ AS s, eddy.session(s.at, %s) AS w' % gap, sessions)
        items = [Output(k.sql, k.type, k) for k in keys]
        items += [Output('w.window_start', 'timestamptz'), Output('w.window_end', 'timestamptz')]
        if self.chance(0.5):
            items.append(Output('w.last_event', 'timestamptz'))
        group = [i.sql for i in items]
        for _ in range(self.rng.randint(1, 4)):
            sql, type_ = self.over_aggregates(scope, True)
            items.append(Output(sql, type_, aggregate=True))
        having = ' HAVING count(*) > 1' if self.chance(0.3) else ''
        names = self.finish_items(items)
        self.d.body = 'SELECT %s FROM %s%s GROUP BY %s%s' % (names, text, pair(self.where(scope), ''), ', '.join(group), having)
        self.d.resumable = False
        end = [i for i in items if i.sql == 'w.window_end'][0]
        if self.chance(0.4):
            self.close(end, strictly=True)

    def close(self, end, strictly=False):
        self.d.options.append("emit => 'on_close'")
        self.d.final_only = True
        self.d.body = '%s%s%s' % (
            pair('', 'SELECT * FROM ('), self.d.body,
            pair('', ') AS closed WHERE closed.%s %s @watermark of %s@' % (
                end.name, '<' if strictly else '<=', ' and '.join(sorted(self.d.streams)))))

    def build_groups(self):
        scope = self.source()
        windowed = self.chance(0.8 if any(c.event_time for c in scope.columns) else 0.4)
        if windowed:
            self.add_window(scope)
        bomb = self.bomb(scope) if self.chance(0.3) and (scope.id or scope.window) else None
        if self.chance(0.2):
            scope.conditions.append(self.condition(scope))
        keys = []
        for _ in range(self.rng.choice([0, 1, 1, 1, 2, 2, 3])):
            found = self.any_expression(scope)
            if found.sql not in [k.sql for k in keys] and found.type not in UNSORTED:
                keys.append(Output(found.sql, found.type, found))
        window = scope.window
        bounds = []
        end = None
        if window:
            alias, type_, event_time, windows = window
            bounds = [Output(alias + '.window_start', type_), Output(alias + '.window_end', type_)]
            end = bounds[1]
            if self.chance(0.2) and windows == 1:
                bounds, end = bounds[:1], None
            if windows > 1 and len(bounds) == 2:
                scope.id = scope.id_in_window       # each row once in a group
        sets = bool(keys) and self.chance(0.15)
        kept = not window or window[3] <= 4
        if self.chance(0.3):
            kept = False
        aggregates = []
        for _ in range(self.rng.randint(1, 4)):
            sql, type_ = self.over_aggregates(scope, kept)
            aggregates.append(Output(sql, type_, aggregate=True))
        if bomb:
            aggregates.append(Output('%s(%s)' % (self.pick('sum', 'max', 'count'), bomb.sql), 'numeric' if bomb.type == 'numeric' else 'bigint',
                                     aggregate=True))
            self.d.count_rejected = not scope.conditions and not window and ' JOIN ' not in scope.text
        if window and window[3] > 1 and len(bounds) == 2:
            scope.id = None
        shown = [k for k in keys if sets or self.chance(0.9)]
        items = shown + bounds + aggregates
        if sets:
            for number in range(len(keys)):
                if self.chance(0.4):
                    items.append(Output('GROUPING(%s)' % keys[number].sql, 'int', aggregate=True))
        self.rng.shuffle(items)
        names = self.finish_items(items)
        groups = [b.sql for b in bounds]
        if sets:
            listed = ', '.join(k.sql for k in keys)
            form = self.pick('ROLLUP (%s)' % listed, 'CUBE (%s)' % listed,
                             'GROUPING SETS (%s)' % ', '.join('(%s)' % k.sql for k in keys),
                             'GROUPING SETS ((%s), ())' % listed)
            groups.append(form)
        else:
            groups += [k.sql for k in keys]
        having = ''
        if self.chance(0.2):
            having = ' HAVING ' + self.pick('count(*) > 1', 'count(*) %% 2 = 1 AND %s' % self.pick('true', 'min(1) = 1'),
                                            'sum(%s) > 4' % (self.expression(scope, 'int') or Column('1', 'int')).sql,
                                            # up to 17, the server takes an array for not null in all grouping sets
                                            '%s IS NOT NULL' % (keys[0].sql if keys and not sets else 'max(1)'))
        self.d.body = 'SELECT %s FROM %s%s%s%s' % (names, scope.text, self.where(scope),
                                                   ' GROUP BY ' + ', '.join(groups) if groups else '', having)
        if (keys and not sets and not window and not having and all(k.column is not None and k.column.raw and k in shown for k in keys)
                and scope.id):
            self.d.delete_keys = [(k.name, k.column.raw) for k in keys]
        closing = window and window[2]
        if closing:
            self.d.resumable = False
        if closing and end and not self.d.ctes and self.chance(0.4):
            self.close(end)
        else:
            self.read_part(items, scope)

    def read_part(self, items, scope):
        """What is applied when the view is read: ORDER BY, LIMIT, window functions, a query around."""
        sortable = [i for i in items if i.type not in UNSORTED]
        kind = self.rng.randrange(14)
        unsafe = any(i.type in UNSORTED + ('float', 'float[]') for i in items)
        if kind == 0:
            if sortable:
                self.d.body += ' ORDER BY ' + ', '.join(str(items.index(i) + 1) for i in self.rng.sample(
                    sortable, min(2, len(sortable))))
        elif kind == 1 and not unsafe:
            self.d.body += ' ORDER BY %s LIMIT %d' % (', '.join(str(n + 1) for n in range(len(items))), self.rng.randint(1, 8))
            if self.chance(0.3):
                self.d.body += ' OFFSET 1'
            self.d.delete_keys = None
        elif kind in (2, 3) and not unsafe:
            names = [i.name for i in items]
            part = self.rng.choice(names)
            extra = self.pick('count(*) OVER (PARTITION BY y.%s)' % part, 'rank() OVER (ORDER BY y.%s)' % part,
                              'row_number() OVER (PARTITION BY y.%s ORDER BY %s)' % (part, ', '.join('y.' + n for n in names)),
                              'dense_rank() OVER (ORDER BY y.%s DESC)' % part)
            body = self.d.body
            if kind == 2:
                self.d.body = 'SELECT y.*, %s AS extra FROM (%s) AS y' % (extra, body)
            else:
                self.d.body = 'SELECT * FROM (SELECT y.*, %s AS extra FROM (%s) AS y) AS t WHERE t.extra <= %d' % (
                    extra, body, self.rng.randint(1, 4))
            self.d.delete_keys = None
        elif kind == 4:
            numbers = [i for i in items if i.type in ('int', 'bigint', 'numeric')]
            by = self.rng.choice(sortable) if sortable else None
            if numbers and by:
                number = self.rng.choice(numbers)
                self.d.body = 'SELECT y.%s, count(*) AS n, sum(y.%s) AS total FROM (%s) AS y GROUP BY y.%s' % (
                    by.name, number.name, self.d.body, by.name)
                self.d.delete_keys = None
        elif kind == 5 and any(i.aggregate for i in items):
            texts = [i for i in items if i.type == 'text']
            if texts:
                self.d.body = "SELECT y.%s AS a FROM (%s) AS y UNION ALL SELECT x.site FROM sites x" % (
                    texts[0].name, self.d.body)
                self.d.delete_keys = None
        elif kind == 6:
            texts = [i for i in items if i.type == 'text']
            if texts:
                self.d.body = 'SELECT y.*, x.w AS joined FROM (%s) AS y LEFT JOIN sites x ON x.k = y.%s' % (self.d.body, texts[0].name)
                self.d.delete_keys = None
