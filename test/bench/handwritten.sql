-- The hand-written equivalent: a staging table, a statement trigger with
-- a transition table, and a table for the consumer's offsets.
CREATE UNLOGGED TABLE bid (
    auction bigint, bidder bigint, price bigint, channel text, url text,
    date_time timestamptz, extra text);

CREATE TABLE bid_stats (
    auction bigint, window_start timestamptz, bids bigint, total numeric, top bigint,
    PRIMARY KEY (auction, window_start)) WITH (fillfactor = 50);

CREATE TABLE consumer_offset (
    topic text, partition int, next_offset bigint, PRIMARY KEY (topic, partition));

CREATE FUNCTION fold_bids() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bid_stats AS s
    SELECT auction,
           date_bin('10 s', date_time, timestamptz '1970-01-01 00:00:00+00') AS window_start,
           count(*), sum(price), max(price)
    FROM new_rows
    GROUP BY 1, 2
    ORDER BY 1, 2
    ON CONFLICT (auction, window_start) DO UPDATE
    SET bids = s.bids + excluded.bids, total = s.total + excluded.total,
        top = greatest(s.top, excluded.top);
    RETURN NULL;
END $$;

CREATE TRIGGER fold_bids AFTER INSERT ON bid REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION fold_bids();
