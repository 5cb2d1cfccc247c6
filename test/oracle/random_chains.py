"""Random views over views for a stream of random_views.py, each with the query that must give the same rows.

The first views of a chain read the stream, or its twin; each of the others reads UNION ALL of several of those before it and of the
streams. All of them have the columns k, g and n, so that any of them can be read in the place of a stream. The oracle
has the query of a view in the place of the view, down to the accepted rows.
"""

from random_definitions import COLUMNS, quote

# digits of an average depend on which of several equal values min and max have kept: 1.0 or 1.00
FOLDS = ['sum(%s)', 'min(%s)', 'max(%s)', 'avg(trim_scale(%s))']
EXTRAS = ['count(DISTINCT u.g)', 'array_agg(u.g ORDER BY u.g)', 'sum(u.g)', 'bool_and(u.n > 1)', 'max(u.k)',
          'percentile_disc(0.5) WITHIN GROUP (ORDER BY u.n)', "string_agg(u.k, ',' ORDER BY u.k)",
          'count(*) FILTER (WHERE u.n > 1)', 'mode() WITHIN GROUP (ORDER BY u.g)', 'sum(DISTINCT u.g)']
TESTS = ['x.g > 1', 'x.n IS NOT NULL', "x.k <> 'a'", 'x.g IS NULL OR x.g % 2 = 1']


class ChainView:
    """What random_views.py wants to know of a definition."""

    count_rejected = False
    resumable = False
    delete_keys = None

    def __init__(self, number, body):
        self.number = number
        self.body = body            # with @stream@, @twin@, and @N@ for view N
        self.sources = []           # of ChainView
        self.options = []
        self.guards = []
        self.conditions = []        # rows of the streams that it has counted
        self.closed = None          # of windows that close: around the query of the oracle
        self.appears = False        # its rows do not change
        self.deletable = False

    @property
    def final_only(self):
        return self.closed is not None or any(s.final_only for s in self.sources)

    def replace(self, streams, views):
        query = self.body.replace('@stream@', streams[0]).replace('@twin@', streams[1])
        for source in self.sources:
            query = query.replace('@%d@' % source.number, views(source))
        return query

    def create(self, name, stream, *options):
        prefix = name[:name.rindex('_v') + 2]
        query = self.replace((stream, stream + 'b'), lambda source: prefix + str(source.number))
        return 'SELECT eddy.create_continuous_view(%s, %s%s);' % (
            quote(name), quote(query), ''.join(', ' + o for o in list(options) + self.options))

    def oracle_query(self, log, _conditions=()):
        columns = ', '.join(name for name, _, _ in COLUMNS)
        rows = ['(SELECT %s FROM %s s WHERE %s)' % (columns, log, ' AND '.join('(%s)' % c for c in [twin] + self.conditions))
                for twin in ('NOT s.twin', 's.twin')]
        query = self.replace(rows, lambda source: '(%s)' % source.oracle_query(log))
        return self.closed % query if self.closed else query


class ChainGenerator:
    def __init__(self, rng, config, first):
        self.rng = rng
        self.config = config
        self.first = first
        self.views = []

    def chance(self, p):
        return self.rng.random() < p

    def stream(self):
        return '@twin@' if self.config.twin and self.chance(0.5) else '@stream@'

    def add(self, body, sources=()):
        view = ChainView(self.first + len(self.views), body)
        view.sources = list(sources)
        self.views.append(view)
        return view

    def over_stream(self):
        stream = self.stream()
        where = ' WHERE ' + self.rng.choice(TESTS) if self.chance(0.4) else ''
        fold = self.rng.choice(FOLDS) % 'x.n'
        kind = self.rng.choice(['groups', 'groups', 'rows', 'last', 'windows'])
        if kind == 'windows' and (self.config.late or not self.config.event_time):
            kind = 'groups'
        if kind == 'rows':
            self.add('SELECT x.k, x.g, x.n FROM %s x%s' % (stream, where)).appears = True
        elif kind == 'last':
            self.add('SELECT DISTINCT ON (x.k) x.k, x.g, x.n FROM %s x%s ORDER BY x.k, x.id DESC' % (stream, where))
        elif kind == 'groups':
            having = ' HAVING count(*) % 2 = 1' if self.chance(0.2) else ''
            view = self.add('SELECT x.k, count(*)::integer AS g, %s AS n FROM %s x%s GROUP BY x.k%s' % (
                fold, stream, where, having))
            view.deletable = not having
        else:
            view = self.add('SELECT x.k, count(*)::integer AS g, %s AS n, w.window_start, w.window_end FROM %s x, '
                            "eddy.tumble(x.at, '%d %s') w%s GROUP BY x.k, w.window_start, w.window_end" % (
                                fold, stream, self.rng.choice([7, 20]) * (1 if self.config.unit == 'seconds' else 6),
                                'seconds' if self.config.unit == 'seconds' else 'minutes', where))
            view.options.append("emit => 'on_close'")
            view.closed = 'SELECT * FROM (%%s) AS closed WHERE closed.window_end <= @watermark of %s@' % stream.strip('@')
            view.appears = True

    def branch(self, source):
        return 'SELECT %s AS k, %s AS g, x.n FROM %s x%s' % (
            self.rng.choice(['x.k', 'x.k', 'upper(x.k)', "'const'"]), self.rng.choice(['x.g', 'x.g', 'x.g + 1', '1']), source,
            ' WHERE ' + self.rng.choice(TESTS) if self.chance(0.4) else '')

    def over_views(self):
        sources = [self.rng.choice(self.views) for _ in range(self.rng.choice([1, 2, 2, 3]))]
        branches = [self.branch('@%d@' % s.number) for s in sources]
        for _ in range(self.rng.choice([0, 0, 1, 2]) if len(sources) > 1 else 1):
            branches.append(self.branch(self.stream()))
        self.rng.shuffle(branches)
        union = '(%s) AS u' % ' UNION ALL '.join(branches)
        if all(s.appears for s in sources) and self.chance(0.4):
            join = ' LEFT JOIN unique_sites AS t USING (k)' if self.chance(0.3) else ''
            self.add('SELECT u.k, u.g, u.n%s FROM %s%s' % (', t.site' if join else '', union, join), sources).appears = True
            return
        extra = ', '.join('%s AS x%d' % (e, i) for i, e in enumerate(self.rng.sample(EXTRAS, self.rng.randint(1, 3))))
        fold = self.rng.choice(FOLDS) % 'u.n'
        if self.chance(0.15):
            self.add("SELECT 'all' AS k, count(*)::integer AS g, %s AS n, %s FROM %s" % (fold, extra, union), sources)
        else:
            self.add('SELECT u.k, count(*)::integer AS g, %s AS n, %s FROM %s GROUP BY u.k%s' % (
                fold, extra, union, ' HAVING count(*) > 1' if self.chance(0.2) else ''), sources)

    def build(self, count):
        for number in range(count):
            if number < 2:
                self.over_stream()
            else:
                self.over_views() if self.chance(0.85) else self.over_stream()
        return self.views


def make_chains(rng, config, first, count):
    """The views, whose numbers begin with first; each is to be created after those before it."""
    return ChainGenerator(rng, config, first).build(count)
