# 032_cdc_values.pl: values and names in records, in all encodings and with any settings.
#
# Every record must be JSON in UTF-8, over the replication protocol and from the SQL functions,
# and have the values that to_json() returns. A value that has no text, or too long a text,
# affects its own record only.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use Encode ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('cdc_values', 'autovacuum = off');
my $json = JSON::PP->new->canonical->allow_nonref;
my $dir = PostgreSQL::Test::Utils::tempdir();
my $warnings;    # of the last call of changes()

sub run
{
	my ($database, $sql) = @_;

	return $node->safe_psql($database, $sql);
}

# Decodes bytes that must be UTF-8 and JSON.
sub decode
{
	my ($bytes) = @_;

	return $json->decode(Encode::decode('UTF-8', $bytes, Encode::FB_CROAK));
}

# Peeks at the pending changes of a slot with the SQL function: a list of records.
sub changes
{
	my ($database, $slot, @options) = @_;
	my $settings = ref $options[0] ? ${ shift @options } : '';
	my $list = join '', map { ", '$_'" } 'batch-bytes', '0', @options;
	my ($status, $out);

	($status, $out, $warnings) = $node->psql($database,
		"SET client_encoding = UTF8; $settings
		 SELECT data FROM pg_logical_slot_peek_changes('$slot', NULL, NULL$list)");
	is($status, 0, "slot $slot is read") or diag($warnings);
	return map { decode($_) } split /\n/, $out;
}

# Consumes them over the replication protocol, with a client encoding.
sub receive
{
	my ($database, $slot, $encoding) = @_;
	my $file = "$dir/$database.$slot";
	my $lsn = run($database, q{SELECT pg_logical_emit_message(true, 'test', '')});
	my ($out, $err) = ('', '');

	unlink $file;    # pg_recvlogical appends
	local $ENV{PGCLIENTENCODING} = $encoding;
	IPC::Run::run(
		[ $node->installed_command('pg_recvlogical'), '-d', $node->connstr($database), '-S', $slot,
			'--start', '-f', $file, '--no-loop', '-E', $lsn ], '>', \$out, '2>', \$err)
	  or diag($err);
	return map { decode($_) } split /\n/, slurp_file($file);
}

# Runs a query in a session of its own: its result, and the private memory of the backend in MB, at most and at the end.
sub with_memory
{
	my ($query) = @_;
	my $out = run('postgres', "SET work_mem = '1MB'; SET logical_decoding_work_mem = '1MB'; $query;
		SELECT pg_read_file('/proc/self/status')");
	my %of = $out =~ /^(VmHWM|RssAnon|RssFile|RssShmem):\s+(\d+) kB/mg;

	$out =~ s/\nName:.*//s;
	return ($out, int(($of{VmHWM} - $of{RssFile} - $of{RssShmem}) / 1024), int($of{RssAnon} / 1024));
}

#
# Encodings
#

foreach my $case (
	[ 'utf8', 'UTF8', '4bc3a4c3b1c3a9e697a5f09f9880', "K\xe4\xf1\xe9\x{65e5}\x{1f600}" ],
	[ 'latin1', 'LATIN1', '4be4f1e9ff', "K\xe4\xf1\xe9\xff" ],
	[ 'latin2', 'LATIN2', 'b3f3a1', "\x{142}\xf3\x{104}" ],
	[ 'win1252', 'WIN1252', '80e9', "\x{20ac}\xe9" ],
	[ 'euc_jp', 'EUC_JP', 'c6fccbdc8eb1', "\x{65e5}\x{672c}\x{ff71}" ],
	[ 'euc_jis', 'EUC_JIS_2004', 'a4f7aea2', "\x{304b}\x{309a}\x{2000b}" ],
	# bytes that are not valid UTF-8: \xe9 alone, a truncated character
	[ 'ascii', 'SQL_ASCII', '4bc3a9e94ce69741ff', "K\xe9\x{f7e9}L\x{f7e6}\x{f797}A\x{f7ff}" ],
	# valid in EUC_JP, but Unicode has no such character
	[ 'unmapped', 'EUC_JP', '41a9a142', "A\x{f7a9}\x{f7a1}B" ])
{
	my ($name, $encoding, $hex, $text) = @$case;

	run('postgres', "CREATE DATABASE $name TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	run($name, qq{
CREATE EXTENSION pg_eddy;
SELECT pg_create_logical_replication_slot('$name', 'pg_eddy_cdc');
DO \$do\$
DECLARE k text := convert_from('\\x$hex', '$encoding');
BEGIN
	EXECUTE format('CREATE SCHEMA %I', k);
	EXECUTE format('CREATE UNLOGGED TABLE s (%I text, j json, b jsonb, a text[])', k);
	PERFORM eddy.create_stream('s');
	PERFORM eddy.create_continuous_view(format('%I.%I', k, k),
		format('SELECT %I, a, max(j::text) AS j, max(b::text) AS b, count(*) AS n FROM s GROUP BY %I, a', k, k));
	EXECUTE format('INSERT INTO s VALUES (%L, %L, %L, ARRAY[%L])', k,
		'{"' || k || '": "' || k || '"}', '["' || k || '"]', k);
END \$do\$});
	my @records = changes($name, $name);
	my $want = { $text => $text, a => [$text], n => 1, b => "[\"$text\"]", j => "{\"$text\": \"$text\"}" };
	is($json->encode($records[0]->{after}), $json->encode($want), "$name: values");
	is($records[0]->{view}, "\"$text\".\"$text\"", "$name: name");
	foreach my $client ($encoding, 'UTF8')
	{
		next if $client eq 'UTF8' && $name eq 'unmapped';    # the server could not convert it
		my @same = changes($name, $name, \"SET client_encoding = '$client';");
		is($json->encode(\@same), $json->encode(\@records), "$name: client_encoding $client")
		  unless $encoding eq 'UTF8' || $encoding eq 'SQL_ASCII';
	}
	my @received = receive($name, $name, $encoding);
	is($json->encode(\@received), $json->encode(\@records), "$name: replication protocol");
	run('postgres', "SELECT pg_drop_replication_slot('$name')");
	run('postgres', "DROP DATABASE $name");
}

#
# Values of many types, and names
#

# An index has at most 32 columns; the types are spread over views.
run('postgres', q{
SELECT pg_create_logical_replication_slot('s', 'pg_eddy_cdc');
CREATE SCHEMA "Sch""e, ma.";
CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"', 'Größe');
CREATE TYPE pair AS (a int, "B b" text, at timestamptz);
CREATE DOMAIN amount AS numeric;
CREATE DOMAIN ids AS int[];
CREATE UNLOGGED TABLE v1 (id int, ok boolean, f4 float4, f8 float8, num numeric, dom amount, txt text,
	c10 char(10), by bytea, iv interval, tm timetz, ip inet, bits varbit, u uuid, tz timestamptz);
CREATE UNLOGGED TABLE v2 (id int, en mood, ens mood[], rng tstzrange, mr int4multirange, arr int[], arr2 text[],
	dom_arr ids[], comp pair, comps pair[], jb jsonb, ts tsvector, "quo""te" text, "Spalte ä 'x' \n" text);
SELECT eddy.create_stream('v1');
SELECT eddy.create_stream('v2');
SELECT eddy.create_continuous_view('"Sch""e, ma."."View ""ü"" \1"', $$
	SELECT id, ok, f4, f8, num, dom, txt, c10, by, iv, tm, ip, bits, u, tz, count(*) AS n FROM v1
	GROUP BY id, ok, f4, f8, num, dom, txt, c10, by, iv, tm, ip, bits, u, tz $$);
SELECT eddy.create_continuous_view('"Sch""e, ma."."View ""ü"" \2"', $$
	SELECT id, en, ens, rng, mr, arr, arr2, dom_arr, comp, comps, jb, ts, "quo""te", "Spalte ä 'x' \n", count(*) AS n FROM v2
	GROUP BY id, en, ens, rng, mr, arr, arr2, dom_arr, comp, comps, jb, ts, "quo""te", "Spalte ä 'x' \n" $$);
SET timezone = 'Asia/Kathmandu';
INSERT INTO v1 VALUES
	(1, true, 'NaN', '-Infinity', 'NaN', 1.10, E'\x01\x02\x1f\x7f "\\/ \u2028 \U0001F600', 'x', '\x00ff', '-1 day 1:02:03.4',
	 '12:00+02', '::1/64', '101', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2026-03-29 01:59:59.999999+01'),
	(2, false, '-0', '5e-324', 'Infinity', -0.00, '', '', '', 'P1Y2M', '00:00:00-15:59', '1.2.3.4', '', NULL, 'infinity'),
	(3, NULL, 3.4028235e38, 1.7976931348623157e308, 1e130000, NULL, repeat('ä"', 600), NULL, repeat('x', 500)::bytea,
	 NULL, NULL, NULL, NULL, NULL, '4713-01-01 BC');
INSERT INTO v2 VALUES
	(1, 'it''s "ok"', '{sad,Größe,NULL}', '[2026-01-01 00:00+00,)', '{[1,3),[5,6)}', '[-2:0]={1,NULL,3}',
	 '{{"a b","NULL"},{NULL,"q\"\\\\"}}', '{"{1,2}","{}",NULL}', (1, E'x"\n', '2026-01-01 00:00+00'),
	 ARRAY[(NULL, '', NULL)::pair], '{"a": [1, {"b": "\u00e9\n"}], "c": 1e400}', 'a:1A b', 'q', 's'),
	(2, NULL, '{}', 'empty', '{}', '{}', '{}', '{}', NULL, '{}', '"x"', '', '', '');
});
my %want = map { my $row = decode($_); ("$row->{v}.$row->{r}->{id}" => $row->{r}) } split /\n/,
  run('postgres', q{
SET timezone = 'UTC';
SELECT json_build_object('v', 1, 'r', row_to_json(v)) FROM "Sch""e, ma."."View ""ü"" \1" v
UNION ALL
SELECT json_build_object('v', 2, 'r', row_to_json(v)) FROM
	(SELECT id, en, ens, rng, mr, arr, arr2, dom_arr, comp::text, comps::text[], jb, ts, "quo""te", "Spalte ä 'x' \n", n
	 FROM "Sch""e, ma."."View ""ü"" \2") v
});
my @records = changes('postgres', 's');
is(scalar(@records), 5, 'all rows');
foreach my $record (@records)
{
	my ($view) = $record->{view} =~ /^"Sch""e, ma\."\."View ""\xfc"" \\([12])"$/;
	my $id = $record->{after}->{id};

	ok(defined $view, "name of the view, $record->{view}");
	is($json->encode($record->{after}), $json->encode($want{"$view.$id"}), "values of row $view.$id");
	delete $record->{after}->{n};
	is($json->encode($record->{key}), $json->encode($record->{after}), "key of row $view.$id");
}

# A key as long as the index allows, of bytes that do not compress.
run('postgres', q{
SELECT pg_replication_slot_advance('s', pg_current_wal_insert_lsn());
CREATE UNLOGGED TABLE long (k text, m regclass, c money);
SELECT eddy.create_stream('long');
SELECT eddy.create_continuous_view('longest', 'SELECT k, count(*) AS n FROM long GROUP BY k');
INSERT INTO long SELECT string_agg(md5(i::text), '') FROM generate_series(1, 80) i;
});
@records = changes('postgres', 's');
is(length($records[0]->{key}->{k}), 2560, 'a long key');

#
# Settings of the session that decodes
#

run('postgres', q{
SELECT pg_replication_slot_advance('s', pg_current_wal_insert_lsn());
SELECT eddy.create_continuous_view('settings', 'SELECT m, c, count(*) AS n FROM long GROUP BY m, c');
INSERT INTO long VALUES ('x', 'long', '1234.5'), ('x', 'pg_class', '-0.05'), ('x', NULL, '0')});
@records = changes('postgres', 's', 'views', '*.settings');
is($json->encode([ map { [ $_->{after}->{m}, $_->{after}->{c} ] } @records ]),
	'[["pg_class","-$0.05"],["public.long","$1,234.50"],[null,"$0.00"]]', 'regclass and money');
my $plain = $json->encode(\@records);
foreach my $settings (q{SET search_path = ''}, 'SET search_path = public, pg_catalog',
	'CREATE TEMP TABLE pg_class (a int)', 'SET quote_all_identifiers = on', 'SET lc_monetary = "C.UTF-8"')
{
	is($json->encode([ changes('postgres', 's', \"$settings;", 'views', '*.settings') ]), $plain, $settings);
}

#
# Values without a text, and with too long a text
#

run('postgres', q{
SELECT pg_replication_slot_advance('s', pg_current_wal_insert_lsn());
-- a type whose output function raises an error for all but one value
CREATE TYPE bad;
CREATE FUNCTION bad_in(cstring) RETURNS bad LANGUAGE internal IMMUTABLE STRICT AS 'oidin';
CREATE FUNCTION bad_out(bad) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'enum_out';
CREATE TYPE bad (INPUT = bad_in, OUTPUT = bad_out, LIKE = oid);
CREATE FUNCTION bad_cmp(bad, bad) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'btoidcmp';
CREATE FUNCTION bad_eq(bad, bad) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'oideq';
CREATE FUNCTION bad_lt(bad, bad) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'oidlt';
CREATE FUNCTION bad_le(bad, bad) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'oidle';
CREATE FUNCTION bad_ge(bad, bad) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'oidge';
CREATE FUNCTION bad_gt(bad, bad) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'oidgt';
CREATE OPERATOR = (LEFTARG = bad, RIGHTARG = bad, FUNCTION = bad_eq, COMMUTATOR = =, MERGES);
CREATE OPERATOR < (LEFTARG = bad, RIGHTARG = bad, FUNCTION = bad_lt, COMMUTATOR = >);
CREATE OPERATOR <= (LEFTARG = bad, RIGHTARG = bad, FUNCTION = bad_le, COMMUTATOR = >=);
CREATE OPERATOR >= (LEFTARG = bad, RIGHTARG = bad, FUNCTION = bad_ge, COMMUTATOR = <=);
CREATE OPERATOR > (LEFTARG = bad, RIGHTARG = bad, FUNCTION = bad_gt, COMMUTATOR = <);
CREATE OPERATOR CLASS bad_ops DEFAULT FOR TYPE bad USING btree AS
	OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 bad_cmp(bad, bad);
CREATE FUNCTION bad_larger(bad, bad) RETURNS bad LANGUAGE internal IMMUTABLE STRICT AS 'oidlarger';
CREATE AGGREGATE worst(bad) (SFUNC = bad_larger, STYPE = bad, COMBINEFUNC = bad_larger);
CREATE UNLOGGED TABLE things (k text, b bad, t text, a numeric[]);
SELECT eddy.create_stream('things');
SELECT eddy.create_continuous_view('bad_values', 'SELECT k, worst(b) AS b FROM things GROUP BY k');
SELECT eddy.create_continuous_view('bad_keys', 'SELECT b, count(*) AS n FROM things GROUP BY b');
INSERT INTO things SELECT 'good', oid::text::bad FROM pg_enum WHERE enumlabel = 'sad';
INSERT INTO things VALUES ('evil', '4294967295');
INSERT INTO things VALUES ('none', NULL);
DELETE FROM bad_values WHERE k = 'evil';
});
@records = changes('postgres', 's', 'include-before', 'on');
my @brief = map {
	join ' ', $_->{op}, ($_->{view} =~ /_(\w+)$/),
	  exists $_->{key} ? $json->encode($_->{key}) : '-', $_->{sqlstate} // $json->encode($_->{after} // $_->{before})
} @records;
is(join("\n", sort @brief), join("\n", sort(
	'c values {"k":"good"} {"b":"sad","k":"good"}', 'c keys {"b":"sad"} {"b":"sad","n":1}',
	'e values {"k":"evil"} 22P03', 'e keys - 22P03',
	'c values {"k":"none"} {"b":null,"k":"none"}', 'c keys {"b":null} {"b":null,"n":1}',
	'd values {"k":"evil"} null')), 'values without a text');

run('postgres', q{SELECT pg_replication_slot_advance('s', pg_current_wal_insert_lsn());
DROP VIEW bad_values, bad_keys});

# Values that are small when stored: numbers with 131,072 digits, and characters that need escapes.
# Other records of the same transaction are sent.
run('postgres', q{
SELECT eddy.create_continuous_view('large_array', 'SELECT k, max(a) AS a FROM things GROUP BY k');
SELECT eddy.create_continuous_view('large_text', 'SELECT k, max(t) AS t FROM things GROUP BY k');
INSERT INTO things VALUES ('small', NULL, 'x', '{1}');
BEGIN;
INSERT INTO things VALUES ('a', NULL, 'x', array_fill(1e131071, ARRAY[10000]));
INSERT INTO things VALUES ('b', NULL, repeat(chr(1), 181000000), '{2}');
INSERT INTO things VALUES ('c', NULL, 'y', '{3}');
COMMIT;
DELETE FROM large_text WHERE k = 'b';
});
my ($records, @memory) = with_memory(q{
SELECT l FROM pg_logical_slot_peek_changes('s', NULL, NULL, 'batch-bytes', '64MB', 'include-before', 'on',
	'include-timestamp', 'off', 'include-xid', 'off', 'include-lsn', 'off', 'include-seq', 'off') c,
	LATERAL unnest(string_to_array(c.data, E'\n')) l});
my @lines = split /\n/, $records;
is(join("\n", sort @lines), join("\n", sort(
	'{"op":"c","view":"public.large_array","key":{"k":"small"},"after":{"k":"small","a":[1]}}',
	'{"op":"c","view":"public.large_text","key":{"k":"small"},"after":{"k":"small","t":"x"}}',
	'{"op":"too_large","view":"public.large_array","key":{"k":"a"},"sqlstate":"54000","error":"record is larger than 1072693247 bytes"}',
	'{"op":"c","view":"public.large_text","key":{"k":"a"},"after":{"k":"a","t":"x"}}',
	'{"op":"c","view":"public.large_array","key":{"k":"b"},"after":{"k":"b","a":[2]}}',
	'{"op":"too_large","view":"public.large_text","key":{"k":"b"},"sqlstate":"54000","error":"record is larger than 1072693247 bytes"}',
	'{"op":"c","view":"public.large_array","key":{"k":"c"},"after":{"k":"c","a":[3]}}',
	'{"op":"c","view":"public.large_text","key":{"k":"c"},"after":{"k":"c","t":"y"}}',
	'{"op":"d","view":"public.large_text","key":{"k":"b"}}')), 'records above 1 GB');
my $size = 0;
$size += length $_ foreach map { $json->encode($_) } receive('postgres', 's', 'UTF8');
cmp_ok($size, '<', 10000, 'the slot advances');
# the record, and the text of a value, of 1 GB each
cmp_ok($memory[0], '<', 2500, "... with $memory[0] MB of memory at most");
cmp_ok($memory[1], '<', 100, "... of which $memory[1] MB remain");

# Memory is proportional to a message and the largest record, not to the transaction.
run('postgres', q{INSERT INTO things (k, t) SELECT 'group ' || i, 'x' FROM generate_series(1, 100000) i});
my $bytes;
($bytes, @memory) = with_memory(q{
SELECT sum(length(data)) FROM pg_logical_slot_peek_changes('s', NULL, NULL, 'include-before', 'on')});
cmp_ok($bytes, '>', 30000000, "a large transaction: $bytes bytes");
cmp_ok($memory[0], '<', 30, "... with $memory[0] MB of memory at most");

#
# Types that are nested deeper than the stack
#

my $sql = 'CREATE DOMAIN nest0 AS int[];';
$sql .= "CREATE DOMAIN nest$_ AS nest" . ($_ - 1) . '[];' foreach 1 .. 60;
$sql .= 'CREATE UNLOGGED TABLE nested (k text, deep nest60, flat nest5);';
run('postgres', $sql);
my $value = '{1}';
foreach (1 .. 5)
{
	$value =~ s/(["\\])/\\$1/g;
	$value = "{\"$value\"}";
}
run('postgres', qq{
SELECT eddy.create_stream('nested');
SELECT eddy.create_continuous_view('deep', 'SELECT deep, count(*) AS n FROM nested GROUP BY deep');
SELECT eddy.create_continuous_view('flat', 'SELECT flat, count(*) AS n FROM nested GROUP BY flat');
INSERT INTO nested VALUES ('x', NULL, '$value');
});
@records = changes('postgres', 's', 'views', '*.deep, *.flat');
is($json->encode([ map { $_->{after}->{flat} } @records ]), '[[[[[[[1]]]]]]]', 'arrays of domains');
like($warnings, qr/changes of table "_deep_state" are not sent/, '... nested too deeply');

#
# A label of a state table that is stored out of line, as its view has many columns
#

my $columns = join ', ', map { "sum(v + $_) AS c$_" } 1 .. 1500;
run('postgres', qq{
SELECT pg_replication_slot_advance('s', pg_current_wal_insert_lsn());
CREATE UNLOGGED TABLE narrow (k int, v bigint);
SELECT eddy.create_stream('narrow');
SELECT eddy.create_continuous_view('wide', 'SELECT k, $columns FROM narrow GROUP BY k');
INSERT INTO narrow VALUES (7, 1)});
run('postgres', 'VACUUM FULL pg_seclabel');
cmp_ok(run('postgres', q{
SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'pg_seclabel'::regclass}), '>', 0,
	'the label is stored out of line');
@records = changes('postgres', 's', 'views', '*.wide');
is(join(' ', scalar(keys %{ $records[0]->{after} }), @{ $records[0]->{after} }{qw(k c1 c1500)}),
	'1501 7 2 1501', 'many columns');
is($json->encode([ receive('postgres', 's', 'UTF8') ]), $json->encode(\@records),
	'many columns: replication protocol');

done_testing();
