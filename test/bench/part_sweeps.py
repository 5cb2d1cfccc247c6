"""What the cost depends on: number of keys, of views, size of messages, partitions, overlap of windows.

One thing varies in each series. Views are compared with the batch SELECT over the stored rows.
"""

from measure import (
    BID_SELECT,
    KEYED_COLUMNS,
    bid_stream,
    bid_view,
    check_same,
    consume,
)

KEYS = (10, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
SIZES = (100, 250, 1_000, 4_000)
VIEWS = (1, 2, 5, 10, 20)
PARTITIONS = (1, 4, 16, 64)
HOPS = (1, 5, 60, 3600)  # windows for each row

KEYED_SELECT = "SELECT key, count(*) AS events, sum(value) AS total, max(value) AS top FROM keyed GROUP BY key"
KEYED = f"""
    CREATE UNLOGGED TABLE keyed ({KEYED_COLUMNS});{{storage}}
    SELECT eddy.create_stream('keyed', retention => '1 day');
    SELECT eddy.create_continuous_view('keyed_stats', '{KEYED_SELECT}');"""


def check_count(bench, cursor, table):
    cursor.execute(f"SELECT count(*) FROM {table}")
    stored = cursor.fetchone()[0]
    if stored != bench.sweep_events:
        raise SystemExit(f"wrong result: {stored} of {bench.sweep_events} rows are stored")


def measure_keyed(bench, part, case, topic, *arguments, storage=""):
    bench.topic(topic, 4, bench.sweep_events, *arguments, kind="keyed")
    for _ in range(bench.options.sweep_runs):
        cursor, result = consume(
            bench, KEYED.format(storage=storage), topic, bench.sweep_events, stream="keyed"
        )
        check_count(bench, cursor, "keyed")
        result["rows"] = check_same(cursor, "SELECT * FROM keyed_stats", KEYED_SELECT)
        cursor.execute("SELECT state_bytes FROM eddy.stat_continuous_views")
        result["state_bytes"] = cursor.fetchone()[0]
        bench.record(part, case, "pg_eddy", result)
    bench.drop_topic(topic)


def measure_keys(bench):
    """Number of different keys; each occurs events / keys times."""
    for keys in KEYS:
        measure_keyed(bench, "keys", keys, f"keys-{keys}", "-u", str(keys), "-m", "100")


def measure_sizes(bench):
    """Size of messages in bytes, with 1,000 keys."""
    for size in SIZES:
        measure_keyed(bench, "sizes", size, f"size-{size}", "-u", "1000", "-m", str(size))
    # from 2 kB on, PostgreSQL compresses texts by default
    size = SIZES[-1]
    external = "ALTER TABLE keyed ALTER pad SET STORAGE EXTERNAL;"
    arguments = ("-u", "1000", "-m", str(size))
    measure_keyed(bench, "sizes, external", size, f"size-{size}", *arguments, storage=external)


def measure_views(bench):
    """Number of views, over windows of 10, 11, 12, ... seconds, so that no two are the same."""
    bench.topic("some-bids", 4, bench.sweep_events)
    for count in VIEWS:
        views = "".join(bid_view(f"view_{n}", 10 + n) for n in range(count))
        for _ in range(bench.options.sweep_runs):
            cursor, result = consume(bench, bid_stream() + views, "some-bids", bench.sweep_events)
            check_count(bench, cursor, "bid")
            for n in range(count):
                batch = BID_SELECT.replace("'10 s'", f"'{10 + n} s'")
                result["rows"] = check_same(cursor, f"SELECT * FROM view_{n}", batch)
            bench.record("views", count, "pg_eddy", result)


def measure_partitions(bench):
    """Number of partitions of the topic, with one worker."""
    for count in PARTITIONS:
        topic = f"bids-{count}"
        bench.topic(topic, count, bench.sweep_events)
        for _ in range(bench.options.sweep_runs):
            cursor, result = consume(bench, bid_stream() + bid_view(), topic, bench.sweep_events)
            check_count(bench, cursor, "bid")
            result["rows"] = check_same(cursor, "SELECT * FROM bid_stats", BID_SELECT)
            bench.record("partitions", count, "pg_eddy", result)
        bench.drop_topic(topic)


def final_hops(size):
    """The final rows of windows of so many seconds that slide by a second.

    Combined from the sums of seconds: a join with all windows of each row would have 3,600 times as
    many rows as the stream. The maximum of a window is that of the end of one block of so many
    seconds and the beginning of the next one: PostgreSQL would compute a moving maximum from all rows.
    """
    return f"""
        WITH seconds AS (
            SELECT key, date_trunc('second', at) AS second, count(*) AS events, sum(value) AS total, max(value) AS top
            FROM keyed GROUP BY 1, 2),
        starts AS (
            SELECT key, first + i * interval '1 s' AS window_start, i / {size} AS block
            FROM (SELECT DISTINCT key FROM seconds) AS k,
                 (SELECT min(second) - interval '{size - 1} s' AS first, max(second) AS last FROM seconds) AS b,
                 generate_series(0, extract(epoch FROM last - first)::int) AS i),
        blocks AS (
            SELECT starts.key, window_start, events, total,
                   max(top) OVER (PARTITION BY starts.key, block ORDER BY window_start) AS head,
                   max(top) OVER (PARTITION BY starts.key, block ORDER BY window_start DESC) AS tail
            FROM starts LEFT JOIN seconds ON seconds.key = starts.key AND second = window_start),
        windows AS (
            SELECT key, window_start, (sum(events) OVER w)::bigint AS events, sum(total) OVER w AS total,
                   greatest(tail, lead(head, {size - 1}) OVER (PARTITION BY key ORDER BY window_start)) AS top
            FROM blocks
            WINDOW w AS (PARTITION BY key ORDER BY window_start ROWS BETWEEN CURRENT ROW AND {size - 1} FOLLOWING))
        SELECT * FROM windows
        WHERE events > 0 AND window_start + interval '{size} s' <= (SELECT eddy.watermark('keyed'))"""


def measure_hops(bench):
    """Windows for each row: of 1 s to 1 h, which slide by 1 s. Final rows only, of 10 keys, while event
    time passes by more than an hour if there are 1,000,000 events."""
    keyed = f"""
        CREATE UNLOGGED TABLE keyed ({KEYED_COLUMNS});
        SELECT eddy.create_stream('keyed', event_time => 'at', delay => '4 s', retention => '1 day');"""
    query = """
        SELECT key, w.window_start, count(*) AS events, sum(value) AS total, max(value) AS top
        FROM keyed, eddy.hop(at, '1 s', '{size} s') AS w GROUP BY key, w.window_start, w.window_end"""
    bench.topic("hops", 4, bench.sweep_events, "-u", "10", "-v", "200", kind="keyed")
    for size in HOPS:
        batch = query.format(size=size)
        view = f"""SELECT eddy.create_continuous_view('hops', $$ {batch} $$, emit => 'on_close');"""
        for _ in range(bench.options.sweep_runs):
            cursor, result = consume(bench, keyed + view, "hops", bench.sweep_events, stream="keyed")
            check_count(bench, cursor, "keyed")
            result["rows"] = check_same(cursor, "SELECT * FROM hops", final_hops(size))
            bench.record("hops", size, "pg_eddy", result)
    bench.drop_topic("hops")
