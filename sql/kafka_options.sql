-- Options of Kafka servers and user mappings: names of librdkafka properties in an allow-list.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;

-- Options for brokers, transport and fetching are allowed for servers ...
CREATE SERVER kafka_options FOREIGN DATA WRAPPER eddy_kafka OPTIONS (
    "bootstrap.servers" 'kafka-1.example:9093,kafka-2.example:9093',
    "security.protocol" 'sasl_ssl',
    "sasl.mechanism" 'SCRAM-SHA-512',
    "client.rack" 'b',
    "fetch.min.bytes" '1000',
    "socket.keepalive.enable" 'true');

-- ... and credentials for user mappings, which other users cannot read.
CREATE USER MAPPING FOR CURRENT_USER SERVER kafka_options OPTIONS (
    "sasl.username" 'alice',
    "sasl.password" 'open sesame');

SELECT o.option_name, o.option_value
FROM pg_foreign_server s, pg_options_to_table(s.srvoptions) AS o
WHERE s.srvname = 'kafka_options' ORDER BY o.option_name COLLATE "C";

ALTER SERVER kafka_options OPTIONS (SET "client.rack" 'c', ADD "fetch.wait.max.ms" '20');
ALTER SERVER kafka_options OPTIONS (DROP "client.rack");

-- The option "bootstrap.servers" is required.
CREATE SERVER kafka_none FOREIGN DATA WRAPPER eddy_kafka;
CREATE SERVER kafka_none FOREIGN DATA WRAPPER eddy_kafka OPTIONS ("bootstrap.servers" ' , ');

-- Its items are addresses of brokers. librdkafka would take port 90921 for 25385, and ignore others.
CREATE SERVER kafka_none FOREIGN DATA WRAPPER eddy_kafka OPTIONS ("bootstrap.servers" 'kafka:90921');
CREATE SERVER kafka_none FOREIGN DATA WRAPPER eddy_kafka OPTIONS ("bootstrap.servers" 'kafka-1:9092, kafka://kafka-2:9092');
\set VERBOSITY terse
SELECT eddy._kafka_fdw_validator(ARRAY['bootstrap.servers=' || item], 'pg_foreign_server'::regclass) FROM unnest(ARRAY[
    'kafka', 'a:9092,b:9092', ' a:9092 ,, b ', '127.0.0.1:9092', '[::1]:9092', 'fe80::1', 'SSL://a_b.example:9093', 'plaintext://[::1]']) AS item;
DO $$
DECLARE
    item text;
BEGIN
    FOREACH item IN ARRAY ARRAY['a:', 'a:b', ':9092', 'a:0', 'a b', 'a 9092', 'a;9092', 'a:9092;b:9092', '10.0.0.0/8', 'http://a', 'ssl//a',
        '[::1', '[::1]9092', '1.2.3', 'a:9092,b:65536', '://a', 'a/b'] LOOP
        BEGIN
            PERFORM eddy._kafka_fdw_validator(ARRAY['bootstrap.servers=' || item], 'pg_foreign_server'::regclass);
            RAISE EXCEPTION 'accepted: %', item;
        EXCEPTION WHEN invalid_parameter_value THEN
            NULL;
        END;
    END LOOP;
END $$;
\set VERBOSITY default
ALTER SERVER kafka_options OPTIONS (DROP "bootstrap.servers");

-- For an unrecognized option, the closest match is suggested.
ALTER SERVER kafka_options OPTIONS (ADD "bootstrap.server" 'kafka');
ALTER SERVER kafka_options OPTIONS (ADD "sasl_mechanism" 'PLAIN');
ALTER SERVER kafka_options OPTIONS (ADD "sasl.pasword" 'open sesame');
ALTER SERVER kafka_options OPTIONS (ADD "enable.auto.commit " 'false');
ALTER SERVER kafka_options OPTIONS (ADD "topic" 'orders');
ALTER USER MAPPING FOR CURRENT_USER SERVER kafka_options OPTIONS (ADD "sasl.usernam" 'bob');
ALTER USER MAPPING FOR CURRENT_USER SERVER kafka_options OPTIONS (ADD "client.rak" 'b');
CREATE FOREIGN DATA WRAPPER kafka_wrapper VALIDATOR eddy._kafka_fdw_validator
    OPTIONS ("bootstrap.servers" 'kafka');

-- Options of the other object kind
ALTER SERVER kafka_options OPTIONS (ADD "sasl.password" 'open sesame');
ALTER SERVER kafka_options OPTIONS (ADD "ssl.key.pem" 'open sesame');
ALTER USER MAPPING FOR CURRENT_USER SERVER kafka_options OPTIONS (ADD "client.rack" 'b');

-- Options that affect delivery are set by pg_eddy.
ALTER SERVER kafka_options OPTIONS (ADD "enable.auto.commit" 'true');
ALTER SERVER kafka_options OPTIONS (ADD "auto.offset.reset" 'latest');
ALTER SERVER kafka_options OPTIONS (ADD "isolation.level" 'read_uncommitted');
ALTER SERVER kafka_options OPTIONS (ADD "group.id" 'mine');
ALTER SERVER kafka_options OPTIONS (ADD "metadata.broker.list" 'kafka');
ALTER SERVER kafka_options OPTIONS (ADD "linger.ms" '5');

-- Options that give access to the server's environment are refused, with the reason.
ALTER SERVER kafka_options OPTIONS (ADD "plugin.library.paths" '/tmp/evil');
ALTER SERVER kafka_options OPTIONS (ADD "ssl.engine.location" '/tmp/evil.so');
ALTER SERVER kafka_options OPTIONS (ADD "ssl.ca.location" '/etc/ssl/certs');
ALTER SERVER kafka_options OPTIONS (ADD "sasl.kerberos.kinit.cmd" 'touch /tmp/evil');
ALTER SERVER kafka_options OPTIONS (ADD "sasl.oauthbearer.token.endpoint.url" 'http://169.254.169.254/');
ALTER SERVER kafka_options OPTIONS (ADD "debug" 'all');
ALTER SERVER kafka_options OPTIONS (ADD "connect_cb" '0');
ALTER SERVER kafka_options OPTIONS (ADD "enable.ssl.certificate.verification" 'f');
ALTER USER MAPPING FOR CURRENT_USER SERVER kafka_options OPTIONS (ADD "ssl.key.location" '/etc/passwd');

-- All allowed options, out of the properties of librdkafka and of some future versions.
CREATE FUNCTION pg_temp.check_option(catalog regclass, property text, value text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM eddy._kafka_fdw_validator(
        CASE catalog WHEN 'pg_foreign_server'::regclass THEN '{bootstrap.servers=kafka:9092}'
            ELSE '{}' END::text[] || (property || '=' || value), catalog);
    RETURN 'allowed';
EXCEPTION WHEN OTHERS THEN
    RETURN sqlstate;
END $$;

SELECT pg_temp.check_option('pg_foreign_server', p, v) AS server,
    pg_temp.check_option('pg_user_mapping', p, v) AS "user mapping", p AS property, v AS value
FROM (VALUES
    ('sasl.username', 'alice'), ('sasl.password', 'open sesame'), ('ssl.key.password', '-'),
    ('sasl.mechanisms', 'PLAIN'), ('sasl.mechanisms', 'GSSAPI'), ('sasl.mechanism', 'OAUTHBEARER'),
    ('security.protocol', 'ssl'), ('security.protocol', 'sasl_ssl'), ('security.protocol', 'tls'),
    ('socket.timeout.ms', '1000'), ('socket.timeout.ms', '1'), ('socket.timeout.ms', 'soon'),
    ('check.crcs', 'false'), ('queued.min.messages', '1000'), ('ssl.ca.pem', '-'),
    ('ssl.endpoint.identification.algorithm', 'https'), ('ssl.certificate.pem', '-'),
    ('ssl.keystore.location', '-'), ('ssl.keystore.password', '-'), ('ssl.crl.location', '-'),
    ('sasl.oauthbearer.config', '-'), ('sasl.oauthbearer.client.secret', '-'),
    ('sasl.oauthbearer.metadata.authentication.type', 'aws_iam'),
    ('sasl.oauthbearer.assertion.private.key.file', '-'), ('sasl.kerberos.principal', '-'),
    ('interceptors', '-'), ('opaque', '1'), ('log_level', '7'), ('log.queue', 'true'),
    ('auto.commit.enable', 'true'), ('test.mock.num.brokers', '3'), ('transactional.id', '-'),
    ('something.new', '-')) AS properties (p, v);

-- librdkafka checks the values; its message about a credential is not shown.
ALTER SERVER kafka_options OPTIONS (ADD "socket.timeout.ms" 'soon');
ALTER SERVER kafka_options OPTIONS (SET "security.protocol" 'tls');
ALTER SERVER kafka_options OPTIONS (SET "sasl.mechanism" 'GSSAPI');

-- Conflicting options
ALTER SERVER kafka_options OPTIONS (ADD "sasl.mechanisms" 'PLAIN');
ALTER SERVER kafka_options OPTIONS (DROP "sasl.mechanism");

-- Other roles cannot see the password, and cannot create a server without USAGE on the wrapper.
CREATE ROLE regress_eddy_kafka;
SET ROLE regress_eddy_kafka;
SELECT srvname, umoptions FROM pg_user_mappings WHERE srvname = 'kafka_options';
CREATE SERVER kafka_other FOREIGN DATA WRAPPER eddy_kafka OPTIONS ("bootstrap.servers" 'kafka');
RESET ROLE;
DROP ROLE regress_eddy_kafka;

DROP USER MAPPING FOR CURRENT_USER SERVER kafka_options;
DROP SERVER kafka_options;
