"""Shapes of queries: those of Nexmark that read one stream of bids, and the campaign count of Yahoo.

Each view is compared with the batch SELECT over the rows of the stream, which are compared with an
independent reading of the topic. q7 and q12 are variants: the bid with the highest price of each
window, where the original joins all bids with that price, and windows in event time, where the
original counts in processing time.
"""

from measure import AD_COLUMNS, BID_COLUMNS, bid_stream, check_same, consume

HIGHEST = """
    SELECT DISTINCT ON (w.window_start) w.window_start, auction, price, bidder, date_time
    FROM bid, eddy.tumble(date_time, '10 s') AS w
    ORDER BY w.window_start, price DESC, date_time, auction, bidder"""

HOTTEST = """
    SELECT auction, num, window_start FROM (
        SELECT auction, w.window_start, count(*) AS num,
               rank() OVER (PARTITION BY w.window_start ORDER BY count(*) DESC) AS place
        FROM bid, eddy.hop(date_time, '2 s', '10 s') AS w GROUP BY auction, w.window_start{end}) q
    WHERE place = 1"""

COUNTED = """
    SELECT bidder, w.window_start, count(*) AS bids
    FROM bid, eddy.tumble(date_time, '10 s') AS w GROUP BY bidder, w.window_start, w.window_end"""

SESSIONS = """
    SELECT bidder, w.window_start, w.last_event, count(*) AS bids
    FROM bid, eddy.session(date_time, '10 s') AS w
    GROUP BY bidder, w.window_start, w.window_end, w.last_event"""

SESSIONS_BATCH = """
    SELECT bidder, min(date_time) AS window_start, max(date_time) AS last_event, count(*) AS bids
    FROM (SELECT bidder, date_time, count(*) FILTER (WHERE breaks) OVER (
              PARTITION BY bidder ORDER BY date_time ROWS UNBOUNDED PRECEDING) AS session
          FROM (SELECT bidder, date_time, date_time - lag(date_time) OVER (
                    PARTITION BY bidder ORDER BY date_time) > interval '10 s' AS breaks
                FROM bid) a) s
    GROUP BY bidder, session"""

SHAPES = {  # name: title, query of the view, batch query if it is another one
    "q0": ("all rows", "SELECT auction, bidder, price, date_time, extra FROM bid", None),
    "q1": ("expression", "SELECT auction, bidder, 0.908 * price AS price, date_time, extra FROM bid", None),
    "q2": ("filter", "SELECT auction, price FROM bid WHERE auction % 123 = 0", None),
    "q5": (
        "hot items, hop 2 s / 10 s, rank when read",
        HOTTEST.format(end=", w.window_end"),
        HOTTEST.format(end=", w.window_end"),
    ),
    "q7": ("highest bid per window", HIGHEST, None),
    "q11": ("sessions of bidders", SESSIONS, SESSIONS_BATCH),
    "q12": ("bids per bidder and window", COUNTED, None),
}

AD_TABLES = """
    CREATE UNLOGGED TABLE ad_event (user_id text, page_id text, ad_id text, ad_type text, event_type text,
                                    event_time timestamptz, ip_address text);
    CREATE TABLE ad (ad_id text PRIMARY KEY, campaign_id int);
    INSERT INTO ad SELECT '00000000-0000-4000-8000-' || lpad(n::text, 12, '0'), n / 10
    FROM generate_series(0, 999) n;
    ANALYZE ad;
    SELECT eddy.create_stream('ad_event', event_time => 'event_time', delay => '4 s', retention => '1 day');"""
AD_VALUES = """
    user_id, page_id, ad_id, ad_type, event_type, to_timestamp(event_time::bigint / 1000.0) AS event_time,
    ip_address"""

CAMPAIGNS = """
    SELECT a.campaign_id, w.window_start, count(*) AS views
    FROM ad_event e JOIN ad a USING (ad_id), eddy.tumble(e.event_time, '10 s') AS w
    WHERE e.event_type = 'view' GROUP BY a.campaign_id, w.window_start, w.window_end"""


def view(query):
    return f"SELECT eddy.create_continuous_view('shape', $view$ {query} $view$);"


def measure(bench):
    bench.reference.load("bids", "bid", BID_COLUMNS)
    for name, (title, query, batch) in SHAPES.items():
        for _ in range(bench.options.sweep_runs):
            cursor, result = consume(bench, bid_stream() + view(query), "bids", bench.events)
            bench.reference.check_rows(cursor, "bid")
            result["rows"] = check_same(cursor, "SELECT * FROM shape", batch or query)
            bench.record("shapes", f"{name}: {title}", "pg_eddy", result)
    events = bench.sweep_events
    bench.topic("ads", 4, events, kind="ads")
    bench.reference.load("ads", "ad_event", AD_COLUMNS, AD_VALUES)
    for _ in range(bench.options.sweep_runs):
        cursor, result = consume(
            bench,
            AD_TABLES + view(CAMPAIGNS),
            "ads",
            events,
            stream="ad_event",
            arguments=""", options => '{"timestamps": "milliseconds"}'""",
        )
        bench.reference.check_rows(cursor, "ad_event")
        result["rows"] = check_same(cursor, "SELECT * FROM shape", CAMPAIGNS)
        bench.record("shapes", "Yahoo: views per campaign and window, join", "pg_eddy", result)
