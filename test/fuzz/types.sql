-- The relation whose columns decode_fuzz and writer_fuzz make values for: each kind of value, with and without
-- a length. Columns whose names begin with "n" are fields of an object (see server_fuzz in test/fuzz/run).
CREATE DOMAIN fuzz_domain AS integer CHECK (value > 3);
CREATE DOMAIN fuzz_not_null AS text NOT NULL;
CREATE TYPE fuzz_enum AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE fuzz_types (
    b boolean, i2 smallint, i4 integer, i8 bigint, f4 real, f8 double precision,
    n numeric, n10 numeric(10,3), nneg numeric(5,-2), n30 numeric(30,20), n18 numeric(18,18),
    text text, vc varchar(5), vcn varchar, c char(5), d date,
    ts timestamp, ts3 timestamp(3), tz timestamptz, tz0 timestamptz(0), u uuid, by bytea, j json, jb jsonb,
    ta text[], ia integer[], na numeric(6,2)[], ja jsonb[], iv interval, dom fuzz_domain, nn fuzz_not_null, e fuzz_enum,
    "a ""key"" of more than eight bytes" text, "\back" text,
    n_text text, n_i integer, n_json json, n_num numeric, n_ta text[], whole json);
