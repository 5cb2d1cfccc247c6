-- Values of settings. The effect of each setting is tested with the feature that it controls.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_eddy;
RESET client_min_messages;

-- only administrators can change these; they take effect with a reload
SELECT name, context, unit, min_val, max_val, boot_val FROM pg_settings
WHERE name ~ '^pg_eddy\.(allow|max_workers|reserved)' ORDER BY name COLLATE "C";
CREATE ROLE regress_eddy_settings;
SET ROLE regress_eddy_settings;
SELECT count(*) FROM pg_settings WHERE name = 'pg_eddy.allowed_brokers';
SET pg_eddy.allow_insecure_connections = on;
ALTER SYSTEM SET pg_eddy.allow_insecure_connections = on;
ALTER ROLE regress_eddy_settings SET pg_eddy.allow_insecure_connections = on;
RESET ROLE;
DROP ROLE regress_eddy_settings;
SET pg_eddy.no_such_setting = on;

-- brokers: each item of the list must have valid syntax
ALTER SYSTEM SET pg_eddy.allowed_brokers = 'kafka';
ALTER SYSTEM SET pg_eddy.allowed_brokers = 'kafka-1.example:9092', '10.0.0.0/8', '192.0.2.7:9093';
ALTER SYSTEM SET pg_eddy.allowed_brokers = '[2001:db8::1]:9092', '2001:db8::/32', '::1';
ALTER SYSTEM SET pg_eddy.allowed_brokers = '';
ALTER SYSTEM SET pg_eddy.allowed_brokers = '10.0.0.0/33';
ALTER SYSTEM SET pg_eddy.allowed_brokers = '10.0.0/8';
ALTER SYSTEM SET pg_eddy.allowed_brokers = '10.0.0.256';
ALTER SYSTEM SET pg_eddy.allowed_brokers = 'kafka:0';
ALTER SYSTEM SET pg_eddy.allowed_brokers = 'kafka:70000';
ALTER SYSTEM SET pg_eddy.allowed_brokers = 'kafka:port';
ALTER SYSTEM SET pg_eddy.allowed_brokers = '*.example';
ALTER SYSTEM SET pg_eddy.allowed_brokers = 'ssl://kafka:9092';
ALTER SYSTEM SET pg_eddy.allowed_brokers = '[2001:db8::1:9092';
ALTER SYSTEM SET pg_eddy.allowed_brokers = '[::1]9092';
ALTER SYSTEM SET pg_eddy.allowed_brokers = 'kafka', ':9092';
ALTER SYSTEM RESET pg_eddy.allowed_brokers;

-- limits of numbers
ALTER SYSTEM SET pg_eddy.max_workers_per_database = -2;
ALTER SYSTEM SET pg_eddy.reserved_worker_processes = -1;
ALTER SYSTEM SET pg_eddy.batch_rows = 0;

-- options that disable the protection of TLS require an administrator
CREATE SERVER settings_kafka FOREIGN DATA WRAPPER eddy_kafka
    OPTIONS ("bootstrap.servers" '127.0.0.1:1', "sasl.mechanism" 'PLAIN');
ALTER SERVER settings_kafka OPTIONS (ADD "ssl.endpoint.identification.algorithm" 'none');
ALTER SERVER settings_kafka OPTIONS (ADD "ssl.cipher.suites" 'NULL-SHA256');
ALTER SERVER settings_kafka OPTIONS (ADD "ssl.cipher.suites" 'ALL:aNULL');
ALTER SERVER settings_kafka OPTIONS (ADD "ssl.cipher.suites" 'DEFAULT:@SECLEVEL=0');
ALTER SERVER settings_kafka OPTIONS (ADD "ssl.cipher.suites" 'exp-rc4-md5');
ALTER SERVER settings_kafka OPTIONS (ADD "ssl.cipher.suites" 'HIGH:!aNULL:!eNULL:!LOW:!MD5:@STRENGTH');
ALTER SERVER settings_kafka OPTIONS (ADD "ssl.endpoint.identification.algorithm" 'https');
ALTER SERVER settings_kafka OPTIONS (ADD "security.protocol" 'SASL_PLAINTEXT');
ALTER SERVER settings_kafka OPTIONS (ADD "security.protocol" 'SASL_SSL');
DROP SERVER settings_kafka;
