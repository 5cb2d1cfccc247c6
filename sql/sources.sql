-- Sources: attaching Kafka topics to streams. No broker is needed: the result of connecting to one
-- appears in eddy.sources, not in the session that attaches.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;
SET TimeZone = 'UTC';
CREATE SCHEMA sources;
SET search_path = sources;

CREATE SERVER sources_kafka FOREIGN DATA WRAPPER eddy_kafka
    OPTIONS ("bootstrap.servers" '127.0.0.1:1');
CREATE UNLOGGED TABLE orders (order_id bigint, user_id text, amount numeric, at timestamptz,
    part integer, code varchar(8), twice numeric GENERATED ALWAYS AS (amount * 2) STORED);

-- only streams have sources
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders');
SELECT eddy.create_stream('orders', event_time => 'at');

-- invalid arguments are reported, and attaching is atomic
SELECT eddy.attach_kafka('orders', server => 'nowhere', topic => 'orders');
SELECT eddy.attach_kafka('orders', server => 'source_kafka', topic => 'orders');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => '');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'no blanks');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => NULL);
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders', format => 'jsn');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    on_error => 'dead_leter');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    on_offset_lost => 'ignore');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders', on_offset_lost => 'STOP');

-- the start position: a word, a timestamp, or offsets by partition
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders', start => 'lastest');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    start => '2026-01-01 25:00');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders', start => '');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    start => 'infinity');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    start_offsets => '[1, 2]');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    start_offsets => '{"first": 1}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    start_offsets => '{"0": -5}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    start_offsets => '{"0": 1.5}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    start_offsets => '{"0": 9223372036854775808}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    start_offsets => '{"0": 1, "00": 2}');

-- the mapping of columns to JSON pointers, or to metadata of the message
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    mapping => '{"user": "/user/id"}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    mapping => '{"usr_id": "/user/id"}');
\set VERBOSITY sqlstate
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    mapping => '{"usr_id": "/user/id"}');
\set VERBOSITY default
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    mapping => '{"part": "partion"}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    mapping => '{"user_id": "customer"}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    mapping => '{"user_id": 5}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    mapping => '{"at": "offset"}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    mapping => '{"code": "key"}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    mapping => '{"twice": "/twice"}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    mapping => '{"user_id": "/user/~2"}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    mapping => '"user_id"');

-- options
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    options => '{"timestmps": "seconds"}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    options => '{"timestamps": "milisecond"}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    options => '{"timestamps": 1000}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    options => '{"check_crcs": "yes"}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    options => '{"workers": 0}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    options => '{"workers": 1.5}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    options => '{"workers": "2"}');
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    options => '{"workers": 1000000000000}');
SELECT count(*) FROM eddy.sources WHERE stream = 'orders'::regclass;

-- valid arguments
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders',
    start => '2026-01-01 12:00:00+02', start_offsets => '{"0": 5, "1": "latest"}',
    mapping => '{"user_id": "/user/id", "part": "partition", "code": null}',
    on_error => 'skip', options => '{"timestamps": "milliseconds"}') IS NOT NULL AS attached;
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'returns') IS NOT NULL AS attached;
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'orders');
SELECT stream, server, topic, format, start, start_offsets, mapping, on_error, on_offset_lost, options
FROM eddy.sources WHERE stream = 'orders'::regclass ORDER BY topic;

-- a renamed column still takes the same field
ALTER TABLE orders RENAME COLUMN amount TO price;
SELECT topic, mapping FROM eddy.sources WHERE stream = 'orders'::regclass ORDER BY topic;

-- a server that is in use cannot be dropped
DROP SERVER sources_kafka;

-- pause and resume
SELECT eddy.pause('orders');
SELECT topic, state, error FROM eddy.sources WHERE stream = 'orders'::regclass ORDER BY topic;
SELECT eddy.resume('orders');
SELECT topic, state <> 'paused' AS goes_on FROM eddy.sources
WHERE stream = 'orders'::regclass ORDER BY topic;
SELECT eddy.pause('eddy.sources');

-- seek; if the source was never started, it has no offsets yet and the start position changes
SELECT eddy.seek('orders', 'order', '{"0": 1}');
SELECT eddy.seek('orders', 'orders', '"oldest"');
SELECT eddy.seek('orders', 'orders', '{"0": "later"}');
SELECT eddy.seek('orders', 'orders', '5');
SELECT eddy.seek('orders', 'orders', '{"0": 7, "2": "earliest"}');
SELECT eddy.seek('orders', 'returns', '"latest"');
SELECT topic, start, start_offsets FROM eddy.sources WHERE stream = 'orders'::regclass ORDER BY topic;

-- only the owner of a stream can attach, and only to servers on which it has USAGE
CREATE ROLE regress_eddy_sources;
GRANT USAGE, CREATE ON SCHEMA sources TO regress_eddy_sources;
SET ROLE regress_eddy_sources;
SELECT eddy.attach_kafka('orders', server => 'sources_kafka', topic => 'other');
SELECT eddy.detach_kafka('orders', 'orders');
SELECT eddy.pause('orders');
SELECT eddy.seek('orders', 'orders', '{"0": 0}');
CREATE UNLOGGED TABLE own (a integer);
SELECT eddy.create_stream('own');
SELECT eddy.attach_kafka('own', server => 'sources_kafka', topic => 'own');
RESET ROLE;
-- the worker connects as the owner, regardless of the role that attaches
SELECT eddy.attach_kafka('own', server => 'sources_kafka', topic => 'own');
GRANT USAGE ON FOREIGN SERVER sources_kafka TO regress_eddy_sources;
SET ROLE regress_eddy_sources;
SELECT eddy.attach_kafka('own', server => 'sources_kafka', topic => 'own') IS NOT NULL AS attached;
SELECT eddy.detach_kafka('own', 'own');
DROP TABLE own;
RESET ROLE;

-- a login is that of the owner of the stream
CREATE SERVER sources_sasl FOREIGN DATA WRAPPER eddy_kafka
    OPTIONS ("bootstrap.servers" '127.0.0.1:1', "security.protocol" 'SASL_SSL', "sasl.mechanism" 'SCRAM-SHA-512');
CREATE UNLOGGED TABLE secured (a integer);
SELECT eddy.create_stream('secured');
GRANT USAGE ON FOREIGN SERVER sources_sasl TO regress_eddy_sources;
ALTER TABLE secured OWNER TO regress_eddy_sources;
SELECT eddy.attach_kafka('secured', server => 'sources_sasl', topic => 'secured') IS NOT NULL AS attached;
DO $$
BEGIN
    FOR i IN 1 .. 600 LOOP
        COMMIT;
        EXIT WHEN (SELECT error IS NOT NULL FROM eddy.sources WHERE stream = 'secured'::regclass);
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;
SELECT state, error, sqlstate FROM eddy.sources WHERE stream = 'secured'::regclass;
DROP TABLE secured;
DROP SERVER sources_sasl;

-- detach; dropping a stream detaches the remaining sources
SELECT eddy.detach_kafka('orders', 'ordres');
SELECT eddy.detach_kafka('orders', 'orders');
SELECT topic FROM eddy.sources WHERE stream = 'orders'::regclass;
DROP TABLE orders;
SELECT count(*) FROM eddy.sources WHERE topic IN ('orders', 'returns');

DROP SERVER sources_kafka;
DROP SCHEMA sources CASCADE;
DROP ROLE regress_eddy_sources;
