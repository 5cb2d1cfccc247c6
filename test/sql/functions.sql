\set ECHO none
-- Functions that several tests of sql/ use, in their own schemas. A test includes this file with
--
--     \getenv srcdir PG_ABS_SRCDIR
--     \i :srcdir/test/sql/functions.sql
--
-- which is not shown in its output.

-- The oracle: compares a view with its query over all rows, in both directions.
CREATE FUNCTION compare(view text, query text, OUT rows bigint, OUT differences bigint) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('WITH shown AS MATERIALIZED (SELECT * FROM %s), expected AS MATERIALIZED (%s)
        SELECT (SELECT count(*) FROM shown),
               (SELECT count(*) FROM ((TABLE shown EXCEPT ALL TABLE expected) UNION ALL (TABLE expected EXCEPT ALL TABLE shown)) d)',
        view, rtrim(query, ';')) INTO rows, differences;
END $$;

-- Those of some continuous views whose content is not that of their definition.
CREATE FUNCTION differing(VARIADIC views regclass[]) RETURNS SETOF regclass LANGUAGE sql AS $$
    SELECT c.view FROM unnest(views) WITH ORDINALITY u (view, i) JOIN eddy.continuous_views c USING (view),
        compare(c.view::text, c.definition) d
    WHERE d.differences > 0 ORDER BY u.i
$$;

-- Why a query is refused: message, detail and hint.
CREATE FUNCTION refusal(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    message text;
    detail text;
    hint text;
BEGIN
    PERFORM eddy.create_continuous_view('refused', query);
    DROP VIEW refused;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(E'\n    ', message, nullif(detail, ''), nullif(hint, ''));
END $$;
\set ECHO all
