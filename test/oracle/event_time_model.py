#!/usr/bin/env python3
"""A reference model of event time: watermarks, windows that close, late rows, sessions.

It is written from the rules alone (docs/event-time.md) and shares nothing with the extension. It is
small and slow: every view keeps the values of all its groups. Times are integers, a batch is a list
of rows, and a row is (partition, key, time, value).

    event_time_model.py         runs the worked examples as a test of the model itself
"""

from collections import defaultdict, namedtuple

NEVER = float('-inf')
ALWAYS = float('inf')

Row = namedtuple('Row', 'partition key time value')
Final = namedtuple('Final', 'key start end values')
Late = namedtuple('Late', 'row start end watermark')


class Stream:
    """Partitions, their watermarks, and the views that are fed with the rows."""

    def __init__(self, delay, partitions=(0,)):
        self.delay = delay
        self.max_time = {p: NEVER for p in partitions}
        self.idle = set()
        self.watermark = NEVER
        self.views = []

    def add_view(self, view):
        self.views.append(view)
        return view

    def batch(self, rows):
        """One batch: all rows are judged by the watermark before it, then windows close."""
        for view in self.views:
            view.take(rows, self.watermark)
        for row in rows:
            if row.time is not None:
                self.max_time[row.partition] = max(self.max_time[row.partition], row.time)
                self.idle.discard(row.partition)
        self.advance(min((t - self.delay for p, t in self.max_time.items() if p not in self.idle),
                         default=NEVER))

    def set_idle(self, partition):
        self.idle.add(partition)
        self.batch([])

    def advance(self, until):
        """The watermark never goes back; what it passes becomes final."""
        self.watermark = max(self.watermark, until)
        for view in self.views:
            view.close(self.watermark)


class View:
    """What all views have in common: groups, final results in order, and late rows."""

    def __init__(self, lateness=0, retention=None):
        self.lateness = lateness    # ALWAYS: late rows are accepted as long as the view has their window
        self.retention = retention
        self.late = []          # of Late
        self.closed = []        # of Final, in the order in which they became final
        self.closed_until = NEVER

    def limit(self, watermark):
        """Windows that end before it accept no rows any more."""
        if self.lateness != ALWAYS:
            return watermark - self.lateness
        return NEVER if self.retention is None else watermark - self.retention

    def removed_until(self):
        """Windows that end before it are not in the view any more."""
        if self.retention is None:
            return NEVER
        return min(self.closed_until - self.retention, self.limit(self.closed_until))


class WindowView(View):
    """Groups by key and windows of fixed bounds; windows(time) lists those that contain a time."""

    def __init__(self, windows, lateness=0, retention=None):
        super().__init__(lateness, retention)
        self.windows = windows
        self.groups = defaultdict(list)     # (key, start, end): values
        self.final = set()

    def take(self, rows, watermark):
        changed = set()
        for row in rows:
            for start, end in self.windows(row.time) if row.time is not None else ():
                if end > self.limit(watermark):
                    self.groups[row.key, start, end].append(row.value)
                    changed.add((row.key, start, end))
                else:
                    self.late.append(Late(row, start, end, watermark))
        # allowed lateness: the results of windows that have closed change, and are final again
        for group in sorted(changed, key=close_order):
            if group[2] <= self.closed_until:
                self.make_final(group)

    def close(self, watermark):
        for group in sorted(self.groups, key=close_order):
            if group[2] <= watermark and group not in self.final:
                self.make_final(group)
        self.closed_until = max(self.closed_until, watermark)

    def make_final(self, group):
        self.final.add(group)
        self.closed.append(Final(*group, sorted(self.groups[group])))

    def rows(self):
        """(key, start, end, last event, values, final) of all groups."""
        return [(key, start, end, None, sorted(values), (key, start, end) in self.final)
                for (key, start, end), values in self.groups.items() if end > self.removed_until()]


class Session:
    def __init__(self, key, first, last, end, values, rows=()):
        self.key, self.first, self.last, self.end = key, first, last, end
        self.values = list(values)
        self.rows = list(rows)      # of the current batch
        self.final = False

    def join(self, other):
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)
        self.end = max(self.end, other.end)
        self.values += other.values
        self.rows += other.rows


class SessionView(View):
    """Groups by key and session. gap(row) is the gap after a row, which can differ between rows."""

    def __init__(self, gap, max_length=None, lateness=0, retention=None):
        super().__init__(lateness, retention)
        self.gap = gap
        self.max_length = max_length
        self.sessions = []

    def take(self, rows, watermark):
        limit = self.limit(watermark)
        items = defaultdict(list)
        for row in rows:
            if row.time is not None:
                items[row.key].append(Session(row.key, row.time, row.time,
                                              row.time + self.gap(row), [row.value], [row]))
        for key, new in items.items():
            # sessions that are final for good are left alone
            old = [s for s in self.sessions if s.key == key and s.end >= limit]
            self.sessions = [s for s in self.sessions if s not in old]
            for cluster in self.combine(old + new):
                if cluster.rows and cluster.end < limit:
                    self.late += [Late(r, r.time, r.time + self.gap(r), watermark)
                                  for r in cluster.rows]
                    continue
                changed = bool(cluster.rows)
                cluster.rows = []
                self.sessions.append(cluster)
                if changed:
                    cluster.final = False
                    if cluster.end < self.closed_until:
                        self.make_final(cluster)

    def combine(self, items):
        """Joins what belongs together, from left to right."""
        clusters = []
        for item in sorted(items, key=lambda s: (s.first, bool(s.rows), s.end)):
            current = clusters[-1] if clusters else None
            if (current is not None and item.first <= current.end and
                    (self.max_length is None or
                     max(current.last, item.last) - current.first <= self.max_length)):
                current.join(item)
            else:
                clusters.append(item)
        return clusters

    def close(self, watermark):
        for session in sorted(self.sessions, key=lambda s: close_order((s.key, s.first, s.end))):
            if session.end < watermark and not session.final:
                self.make_final(session)
        self.closed_until = max(self.closed_until, watermark)

    def make_final(self, session):
        session.final = True
        self.closed.append(Final(session.key, session.first, session.end, sorted(session.values)))

    def rows(self):
        return [(s.key, s.first, s.end, s.last, sorted(s.values), s.final) for s in self.sessions
                if s.end >= self.removed_until()]


def close_order(group):
    key, start, end = group
    return (end, start, key is None, key or '')


def tumble(size, offset=0):
    return hop(size, size, offset)


def hop(slide, size, offset=0):
    def windows(time):
        start = (time - offset) // slide * slide + offset
        result = []
        while start + size > time:
            result.append((start, start + size))
            start -= slide
        return result
    return windows


def cumulate(step, size, offset=0):
    def windows(time):
        start = (time - offset) // size * size + offset
        return [(start, start + n * step) for n in range(1, size // step + 1)
                if start + n * step > time]
    return windows


# ---- the worked examples ----

def feed(stream, *events):
    """Each event, such as 'a@3', or 'a@3 b@5' for one batch, is a transaction."""
    for event in events:
        rows = []
        for item in event.split():
            partition, item = item.split(':') if ':' in item else (0, item)
            key, time = item.split('@')
            rows.append(Row(int(partition), key, int(time), 1))
        stream.batch(rows)


def shown(view):
    return sorted('%s [%s,%s) = %d' % (key, start, end, len(values))
                  for key, start, end, _, values, _ in view.rows())


def spans(view):
    return sorted('%s %s..%s = %d' % (key, first, last, len(values))
                  for key, first, _, last, values, _ in view.rows())


def closed(view):
    return ['%s [%s,%s) = %d' % (f.key, f.start, f.end, len(f.values)) for f in view.closed]


def late(view):
    return ['%s@%d [%s,%s)' % (x.row.key, x.row.time, x.start, x.end) for x in view.late]


def check(name, actual, expected):
    if actual != expected:
        raise SystemExit('example %s: expected\n  %s\nbut got\n  %s' % (name, expected, actual))


def examples():
    # A. Tumble 20, delay 15
    stream = Stream(15)
    view = stream.add_view(WindowView(tumble(20)))
    feed(stream, 'a@3', 'a@28', 'a@34', 'b@5')
    check('A', (stream.watermark, closed(view)), (19, []))
    feed(stream, 'a@35')
    check('A', (stream.watermark, closed(view)), (20, ['a [0,20) = 1', 'b [0,20) = 1']))
    feed(stream, 'b@19', 'c@39')
    check('A', (stream.watermark, late(view)), (24, ['b@19 [0,20)']))
    feed(stream, 'a@500')
    check('A', closed(view)[2:], ['a [20,40) = 3', 'c [20,40) = 1'])
    check('A', stream.watermark, 485)

    # B. The first seven rows of A in one statement
    stream = Stream(15)
    view = stream.add_view(WindowView(tumble(20)))
    feed(stream, 'a@3 a@28 a@34 b@5 a@35 b@19 c@39')
    check('B', shown(view), ['a [0,20) = 1', 'a [20,40) = 3', 'b [0,20) = 2', 'c [20,40) = 1'])
    check('B', closed(view), ['a [0,20) = 1', 'b [0,20) = 2'])

    # C. Hop: slide 6, size 12, delay 2
    stream = Stream(2)
    view = stream.add_view(WindowView(hop(6, 12)))
    feed(stream, 'k@1', 'k@9')
    check('C', closed(view), ['k [-6,6) = 1'])
    feed(stream, 'k@15', 'k@10', 'k@4')
    check('C', closed(view), ['k [-6,6) = 1', 'k [0,12) = 2'])
    check('C', shown(view), ['k [-6,6) = 1', 'k [0,12) = 2', 'k [12,24) = 1', 'k [6,18) = 3'])
    check('C', late(view), ['k@10 [0,12)', 'k@4 [0,12)', 'k@4 [-6,6)'])

    # D. Cumulate: step 6, size 18, delay 0
    stream = Stream(0)
    view = stream.add_view(WindowView(cumulate(6, 18)))
    feed(stream, 'k@2', 'k@8', 'k@7', 'k@5')
    check('D', late(view), ['k@5 [0,6)'])
    feed(stream, 'k@18')
    check('D', closed(view), ['k [0,6) = 1', 'k [0,12) = 4', 'k [0,18) = 4'])

    # E. Session: gap 10, delay 25
    stream = Stream(25)
    view = stream.add_view(SessionView(lambda row: 10))
    feed(stream, 'u@100', 'u@118')
    check('E', spans(view), ['u 100..100 = 1', 'u 118..118 = 1'])
    feed(stream, 'u@109')
    check('E', spans(view), ['u 100..118 = 3'])
    feed(stream, 'u@160', 'u@124', 'u@125')
    check('E', (stream.watermark, closed(view)), (135, ['u [100,128) = 3']))
    check('E', late(view), ['u@124 [124,134)'])
    check('E', spans(view), ['u 100..118 = 3', 'u 125..125 = 1', 'u 160..160 = 1'])
    feed(stream, 'u@139', 'u@134')
    check('E', spans(view), ['u 100..118 = 3', 'u 125..139 = 3', 'u 160..160 = 1'])

    # F. A late row that is saved by merging
    stream = Stream(25)
    view = stream.add_view(SessionView(lambda row: 10))
    feed(stream, 'u@100', 'u@140', 'u@112', 'u@103')
    check('F', closed(view), ['u [100,110) = 1'])
    check('F', spans(view), ['u 100..100 = 1', 'u 103..112 = 2', 'u 140..140 = 1'])
    check('F', late(view), [])

    # G. Two partitions, tumble 10, delay 5
    stream = Stream(5, partitions=(0, 1))
    view = stream.add_view(WindowView(tumble(10)))
    feed(stream, '0:x@42')
    check('G', stream.watermark, NEVER)
    feed(stream, '1:y@7', '1:y@31')
    check('G', (stream.watermark, closed(view)), (26, ['y [0,10) = 1']))
    stream.set_idle(1)
    check('G', stream.watermark, 37)
    feed(stream, '1:y@30')
    check('G', (stream.watermark, len(late(view))), (37, 0))

    # H. Allowed lateness 10, tumble 20, delay 0
    stream = Stream(0)
    view = stream.add_view(WindowView(tumble(20), lateness=10))
    feed(stream, 'a@4', 'a@22', 'a@9')
    check('H', closed(view), ['a [0,20) = 1', 'a [0,20) = 2'])
    feed(stream, 'a@31', 'a@11')
    check('H', late(view), ['a@11 [0,20)'])

    # I. The same without a limit, and as long as the window is in the view
    stream = Stream(0)
    view = stream.add_view(WindowView(tumble(20), lateness=ALWAYS))
    short = stream.add_view(WindowView(tumble(20), lateness=ALWAYS, retention=10))
    feed(stream, 'a@4', 'a@22', 'a@9', 'a@31', 'a@11')
    check('I', (shown(view), late(view)), (['a [0,20) = 3', 'a [20,40) = 2'], []))
    check('I', (shown(short), late(short)), (['a [20,40) = 2'], ['a@11 [0,20)']))


if __name__ == '__main__':
    examples()
    print('all examples hold')
