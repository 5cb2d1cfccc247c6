# 034_wal2json.pl: pg_eddy_wal2json sends for a view what wal2json sends for a table with its columns.
#
# The oracle is wal2json itself, from Debian's package. Each random change of a view is followed by the
# same change of a table with the columns and the key of the view, in the same transaction. The
# slots of both plugins decode the same WAL. The names of the tables' schemas and the positions of
# changes are the only differences; all else must be equal, byte for byte, with any options.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('wal2json', 'autovacuum = off');
my $json = JSON::PP->new->canonical->allow_nonref;
my $seed = $ENV{EDDY_SEED} // time();
note("EDDY_SEED=$seed");
srand($seed);

$node->safe_psql('postgres',
	'ALTER SYSTEM SET output_plugin_libraries = pgoutput, test_decoding, pg_eddy_cdc, pg_eddy_wal2json, wal2json')
  if sql($node, q{SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'});
$node->reload;
my $version = int(sql($node, 'SHOW server_version_num') / 10000);
my $has_wal2json = -e $node->config_data('--pkglibdir') . '/wal2json.so';

# Reads a slot without consuming it: the messages, separated by line ends.
sub peek
{
	my ($slot, $settings, @options) = @_;
	my $list = join '', map { ', ' . quote($_) } @options;

	return $node->safe_psql('postgres',
		"$settings SELECT data FROM pg_logical_slot_peek_changes('$slot', NULL, NULL$list)");
}

sub quote
{
	my ($text) = @_;

	$text =~ s/'/''/g;
	return "'$text'";
}

sub advance
{
	sql($node, "SELECT pg_replication_slot_advance(slot_name, pg_current_wal_insert_lsn()) FROM pg_replication_slots");
	return;
}

# The error for a list of options
sub error_of
{
	my (@options) = @_;
	my $list = join '', map { ', ' . quote($_) } @options;
	my ($status, $out, $err) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT data FROM pg_logical_slot_peek_changes('ours', NULL, NULL$list)");

	$err =~ s/^psql:<stdin>:\d+: //mg;
	$err =~ s/^(CONTEXT|LOCATION).*\n?//mg;
	chomp $err;
	return $err;
}

#
# Views, and tables with their columns in schema m
#

sql($node, q{
CREATE DOMAIN posint AS int CHECK (value > 0);
CREATE SCHEMA o;
CREATE DOMAIN o.dom AS varchar(7);
CREATE DOMAIN o.dd AS o.dom;
CREATE TYPE o.mood AS ENUM ('sad', 'ok', '"\\');
CREATE TYPE "My type" AS ENUM ('q');
CREATE SCHEMA m;

CREATE UNLOGGED TABLE s (k posint, name varchar(20), dd o.dd, mo o.mood, v int, i8 bigint, f4 real, f8 double precision,
	n numeric(10,2), b boolean, t text, bp char(5), ba bytea, d date, ts timestamp(3), tz timestamptz, iv interval(2),
	tt time, arr int[], moods o.mood[], net inet, o oid, mon money, my "My type", small smallint, cc "char", pos posint);
SELECT eddy.create_stream('s');
SELECT eddy.create_continuous_view('v', $$
	SELECT k, sum(v) AS total, name, count(*) AS n, sum(f8) AS f8, max(f4) AS f4, avg(n) AS avg, max(n) AS mn, bool_or(b) AS b,
		max(t) AS t, max(bp) AS bp, min(d) AS d, max(ts) AS ts, min(tz) AS tz, max(iv) AS iv, max(tt) AS tt, max(arr) AS arr,
		max(moods) AS moods, min(net) AS net, max(o) AS o, min(mon) AS mon, max(my) AS "My ""column", max(small) AS small,
		sum(i8) AS "i\8", max(pos) AS pos
	FROM s GROUP BY k, name HAVING sum(v) > 0 $$);
CREATE SCHEMA "S x";
SELECT eddy.create_continuous_view('"S x"."T,y.z"', $$
	SELECT dd, mo, d, ts, n AS num, count(*) AS n, max(name) AS "Na me" FROM s GROUP BY dd, mo, d, ts, n, ba, cc $$);
SELECT eddy.create_continuous_view('keyed', $$ SELECT sum(v) AS v, d AS "D", o, dd, n AS num, f8 FROM s GROUP BY d, o, dd, n, f8 $$);
SELECT eddy.create_continuous_view('one', 'SELECT count(*) AS n, max(pos) AS pos, max(t) AS t FROM s');
});

# A change of a view by one row of the stream changes one row of the view at most: the table m.<name>
# gets the same change. A view of which the key is not visible is compared as a whole.
sql($node, q{
CREATE FUNCTION m.sync(view regclass, mirror regclass, condition text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	now_row text; old_row text; names text;
BEGIN
	EXECUTE format('SELECT (SELECT v::text FROM %s v WHERE %s), (SELECT v::text FROM %s v WHERE %s)',
		view, condition, mirror, condition) INTO now_row, old_row;
	SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO names
		FROM pg_attribute WHERE attrelid = view AND attnum > 0;
	IF old_row IS NULL AND now_row IS NOT NULL THEN
		EXECUTE format('INSERT INTO %s SELECT * FROM %s v WHERE %s', mirror, view, condition);
	ELSIF old_row IS NOT NULL AND now_row IS NULL THEN
		EXECUTE format('DELETE FROM %s v WHERE %s', mirror, condition);
	ELSIF old_row IS DISTINCT FROM now_row THEN
		EXECUTE format('UPDATE %s v SET (%s) = (SELECT * FROM %s v WHERE %s) WHERE %s', mirror, names, view, condition,
			condition);
	END IF;
END $$;

-- applies one row of the stream, and mirrors it
CREATE FUNCTION m.apply(r s) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO s SELECT r.*;
	PERFORM m.sync('v', 'm.v', format('k = %L AND name = %L', r.k, r.name));
	PERFORM m.sync('keyed', 'm.keyed', format('"D" = %L AND o = %L AND dd = %L AND num = %L AND f8 = %L', r.d, r.o, r.dd, r.n, r.f8));
	PERFORM m.sync('one', 'm.one', 'true');
END $$;

CREATE FUNCTION m.random_row() RETURNS s LANGUAGE sql AS $$
SELECT (1 + random() * 5)::int, (ARRAY['a', 'b"\', 'ü€', E'\u0001\n\t'])[1 + random() * 3], (ARRAY['x', ''])[1 + random()],
	(ARRAY['sad', 'ok', '"\\'])[1 + random() * 2]::o.mood, (random() * 20 - 10)::int, (random() * 1e15 - 5e14)::bigint,
	CASE WHEN random() < 0.1 THEN 'Infinity' ELSE (random() * 1e10)::real END, (ARRAY['1.5', '-1e-10', '3'])[1 + random() * 2]::float8,
	(ARRAY[1.5, -2, 0.25])[1 + random() * 2], random() < 0.3, CASE WHEN random() < 0.8 THEN md5(random()::text) || E'\u007f/é"' END,
	(ARRAY['p', 'qq', NULL])[1 + random() * 2], (ARRAY['\x', '\x00ff'])[1 + random()]::bytea, date '2026-01-01' + (random() * 2)::int,
	timestamp '2026-01-01' + random() * interval '1 year', timestamptz '2026-01-01' + random() * interval '1 year',
	random() * interval '1 year 2 days 3.25 s', time '01:02:03' + random() * interval '1 hour',
	ARRAY[(random() * 10)::int, NULL], ARRAY[(ARRAY['sad', 'ok', '"\\'])[1 + random() * 2]::o.mood],
	('10.0.0.' || (random() * 200)::int)::inet, (4294967290 + (random() * 2)::int)::text::oid, (random() * 100)::numeric::money, 'q'::"My type",
	(random() * 10)::int::smallint, 'c'::"char", (1 + random() * 9)::int $$;

CREATE FUNCTION m.apply_many(n int) RETURNS void LANGUAGE sql AS
	'SELECT m.apply(m.random_row()) FROM generate_series(1, n)';

CREATE TABLE m.v AS SELECT * FROM v WHERE false;
ALTER TABLE m.v ADD PRIMARY KEY (name, k);
CREATE TABLE m.keyed AS SELECT * FROM keyed WHERE false;
ALTER TABLE m.keyed ADD PRIMARY KEY (num, o, "D", dd, f8);
CREATE TABLE m.one AS SELECT * FROM one;
ALTER TABLE m.one REPLICA IDENTITY FULL;
-- primary keys are NOT NULL, keys of views may be NULL
ALTER TABLE eddy._v_state ALTER k SET NOT NULL, ALTER name SET NOT NULL;
ALTER TABLE eddy._keyed_state ALTER num SET NOT NULL, ALTER o SET NOT NULL, ALTER "D" SET NOT NULL, ALTER dd SET NOT NULL,
	ALTER f8 SET NOT NULL;

SELECT pg_create_logical_replication_slot('ours', 'pg_eddy_wal2json');
});

sub random_changes
{
	my ($transactions, $rows) = @_;
	my $script = '';

	foreach (1 .. $transactions)
	{
		my $n = 1 + int rand(2 * $rows);

		$script .= 'BEGIN;';
		$script .= "SELECT pg_logical_emit_message(true, 'p\"é', E'content \\n\"\\u0001');" if rand() < 0.2;
		$script .= "SELECT m.apply_many($n); COMMIT;\n";
		$script .= "SELECT pg_logical_emit_message(false, 'other', '');" if rand() < 0.1;
		# nothing to send
		$script .= 'BEGIN; CREATE TABLE nothing (a int); DROP TABLE nothing; COMMIT;' if rand() < 0.1;
	}
	sql($node, 'SET synchronous_commit = off;' . $script . 'SET synchronous_commit = on; CREATE TABLE last_one (); DROP TABLE last_one');
	return;
}

# Compares both plugins with the same options.
sub same_ok
{
	my ($settings, @options) = @_;
	my @ours = @options;
	my $ours;
	my $theirs;

	@options = grep { $_ ne 'identity' && $_ ne 'full' } @options;
	$theirs = peek('theirs', $settings, @options, 'add-tables', 'm.*');
	$ours = peek('ours', $settings, @ours, 'filter-tables', 'S\\ x.*');
	$theirs =~ s/("schema": ?)"m"/$1"public"/g;
	# positions of changes, but not those of the begin and the end of transactions
	s/^(\{"action":"[IUDM]".*?"lsn":")[^"]+/$1/mg foreach $ours, $theirs;
	# wal2json writes a comma before the only element, if the transaction before had changes
	$theirs =~ s/("change": ?\[\s*),\{/$1\{/g;
	my $name = "@ours" . ($settings ? " with $settings" : '');
	return pass("equal: $name") if $ours eq $theirs;

	my @ours_lines = split /\n/, $ours;
	my @their_lines = split /\n/, $theirs;
	my $at = 0;
	$at++ while defined $ours_lines[$at] && defined $their_lines[$at] && $ours_lines[$at] eq $their_lines[$at];
	diag("line $at\nours:     " . ($ours_lines[$at] // '(none)') . "\nwal2json: " . ($their_lines[$at] // '(none)'));
	return fail("equal: $name");
}

my @booleans = (
	'include-column-positions', 'include-default', 'include-domain-data-type', 'include-lsn', 'include-not-null',
	'include-origin', 'include-pk', 'include-schemas', 'include-timestamp', 'include-transaction', 'include-type-oids',
	'include-types', 'include-typmod', 'include-xids', 'pretty-print', 'write-in-chunks');

SKIP:
{
	skip 'wal2json is not installed', 1 unless $has_wal2json;

	sql($node, "SELECT pg_create_logical_replication_slot('theirs', 'wal2json')");
	random_changes(60, 30);
	my $all = peek('ours', '', 'format-version', '2', 'filter-tables', 'S\\ x.*');
	my $count = () = $all =~ /^\{"action":"[IUD]/mg;
	my $deletes = () = $all =~ /^\{"action":"D/mg;
	cmp_ok($count, '>', 3000, "$count changes to compare");
	cmp_ok($deletes, '>', 20, "$deletes of them deletes");
	same_ok('', 'format-version', $_) foreach 1, 2;
	same_ok('', 'format-version', $_, map { ($_, 'on') } grep { !/pretty|chunks/ } @booleans) foreach 1, 2;

	advance();
	random_changes(8, 12);
	foreach my $version (1, 2)
	{
		same_ok('', 'format-version', $version);
		same_ok('', 'format-version', $version, $_, $_ =~ /schemas|types|transaction|typmod/ ? 'off' : 'on') foreach @booleans;
		same_ok('', 'format-version', $version, 'actions', $_) foreach 'insert', 'update', 'delete', 'insert,delete', '';
		same_ok('', 'format-version', $version, @$_) foreach
		  ['filter-msg-prefixes', 'other'], ['add-msg-prefixes', 'other, x'],
		  ['add-msg-prefixes', 'p"é', 'filter-msg-prefixes', 'p"é'];
	}
	same_ok('', 'pretty-print', 'on', 'write-in-chunks', 'on');
	same_ok('', 'pretty-print', 'on', map { ($_, 'on') } grep { !/pretty/ } @booleans);
	foreach my $settings (
		q{SET TimeZone = 'Europe/Oslo'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET extra_float_digits = 0;},
		q{SET lc_monetary = 'C'; SET search_path = o, pg_catalog;}, q{SET search_path = pg_catalog;})
	{
		same_ok($settings, 'format-version', $_, 'include-timestamp', 'on') foreach 1, 2;
	}
	foreach (1 .. 40)
	{
		my %values = map { $_ => (qw(on off true 0 1 false))[ rand 6 ] } grep { rand() < 0.5 } @booleans;
		# since 2.7, which PostgreSQL 18 requires, wal2json sends "columnoptionals" without types as well
		delete $values{'include-types'} if $version >= 18 && ($values{'include-not-null'} // 'off') =~ /on|true|1/;
		same_ok('', 'format-version', 1 + int rand 2, map { ($_, $values{$_}) } sort keys %values);
	}

	# identity => full: as a table with REPLICA IDENTITY FULL
	advance();
	sql($node, 'ALTER TABLE m.v REPLICA IDENTITY FULL; ALTER TABLE m.keyed REPLICA IDENTITY FULL');
	random_changes(8, 12);
	same_ok('', 'format-version', $_, 'identity', 'full') foreach 1, 2;
	# wal2json before 2.6 leaves out "pk" here
	my ($is_old) = $node->psql('postgres', q{SELECT FROM pg_logical_slot_peek_changes('theirs', NULL, NULL, 'numeric-data-types-as-string', 'on')});
	same_ok('', 'identity', 'full', 'pretty-print', 'on', 'include-column-positions', 'on', $is_old ? () : ('include-pk', 'on'));
	like(peek('ours', '', 'identity', 'full', 'include-pk', 'on', 'add-tables', 'public.v'), qr/"pk":\{"pknames":\["k","name"\]|"pk":\{"pknames":\["name","k"\]/, '... "pk" as in wal2json 2.6');
	same_ok('', 'format-version', '2', 'identity', 'full', 'include-pk', 'on', 'include-type-oids', 'on');
	sql($node, "SELECT pg_drop_replication_slot('theirs')");
}

# Both plugins of pg_eddy in one session: each calls its own functions.
sql($node, "SELECT pg_create_logical_replication_slot('native', 'pg_eddy_cdc')");
advance();
random_changes(1, 1);
like(
	sql($node, q{
SELECT string_agg(left(data, 10), ' ' ORDER BY n) FROM (
	SELECT 1 AS n, min(data) FROM pg_logical_slot_peek_changes('native', NULL, NULL)
	UNION ALL SELECT 2, min(data) FROM pg_logical_slot_peek_changes('ours', NULL, NULL)
	UNION ALL SELECT 3, min(data) FROM pg_logical_slot_peek_changes('native', NULL, NULL)) AS c (n, data)}),
	qr/^\{"op":".* \{"change": \{"op":/, 'both plugins in one session');
sql($node, "SELECT pg_drop_replication_slot('native')");

#
# What wal2json cannot be compared for
#

# Names: filters, and keys that the view does not show
advance();
sql($node, q{INSERT INTO s (k, name, v, dd, mo, ba, cc) VALUES (99, 'x', 1, 'q', 'ok', '\x01', 'z'), (99, 'x', 1, NULL, 'ok', '\x02', 'z')});
my @v2 = ('format-version', '2', 'include-transaction', 'off', 'include-types', 'off');
my $quoted = join "\n",
  '{"action":"I","schema":"S x","table":"T,y.z","columns":[{"name":"dd","value":"q"},{"name":"mo","value":"ok"},{"name":"d","value":null},{"name":"ts","value":null},{"name":"num","value":null},{"name":"n","value":1},{"name":"Na me","value":"x"}]}',
  '{"action":"I","schema":"S x","table":"T,y.z","columns":[{"name":"dd","value":null},{"name":"mo","value":"ok"},{"name":"d","value":null},{"name":"ts","value":null},{"name":"num","value":null},{"name":"n","value":1},{"name":"Na me","value":"x"}]}';
is(peek('ours', '', @v2, 'add-tables', $_), $quoted, "add-tables $_")
  foreach 'S\ x.T\,y\.z', 'public.nothing, S\ x.*', '*.T\,y\.z', ' *.T\,y\.z ,a.b';
is(peek('ours', '', @v2, 'add-tables', $_), '', "add-tables $_") foreach 'S\ x.T', 's\ x.*', '\*.*', '';
is(peek('ours', '', @v2, 'filter-tables', 'public.*'), $quoted, 'filter-tables');
is(peek('ours', '', @v2, 'filter-tables', '*.*', 'add-tables', '*.*'), '', 'filter-tables precedes add-tables');

advance();
sql($node, q{INSERT INTO s (k, name, v, dd, mo, ba, cc) VALUES (99, 'y', 1, NULL, 'ok', '\x02', 'z');
	DELETE FROM "S x"."T,y.z" WHERE dd = 'q' AND d IS NULL});
is( peek('ours', '', @v2, 'add-tables', 'S\ x.*', 'include-pk', 'on'), join("\n",
	'{"action":"U","schema":"S x","table":"T,y.z","columns":[{"name":"dd","value":null},{"name":"mo","value":"ok"},{"name":"d","value":null},{"name":"ts","value":null},{"name":"num","value":null},{"name":"n","value":2},{"name":"Na me","value":"y"}],"identity":[{"name":"dd","value":null},{"name":"mo","value":"ok"},{"name":"d","value":null},{"name":"ts","value":null},{"name":"num","value":null},{"name":"n","value":1},{"name":"Na me","value":"x"}],"pk":[]}',
	'{"action":"D","schema":"S x","table":"T,y.z","identity":[{"name":"dd","value":"q"},{"name":"mo","value":"ok"},{"name":"d","value":null},{"name":"ts","value":null},{"name":"num","value":null},{"name":"n","value":1},{"name":"Na me","value":"x"}],"pk":[]}'),
	'without a visible key, the identity is the whole row');

# Columns that are computed when the view is read are left out; the others have their own names and positions.
advance();
sql($node, q{SELECT eddy.create_continuous_view('places', 'SELECT name, row_number() OVER (ORDER BY sum(v) DESC) AS place, sum(v) AS spent,
		lag(sum(v)) OVER (ORDER BY sum(v)) AS next, k FROM s GROUP BY name, k');
	SELECT pg_create_logical_replication_slot('native', 'pg_eddy_cdc');
	INSERT INTO s (k, name, v) VALUES (9, 'x', 5)});
my @places = ('add-tables', 'public.places', 'include-pk', 'on', 'include-column-positions', 'on', 'skip-empty-xacts', 'on');
is(peek('ours', '', @places, 'include-types', 'off'), '{"change":[{"kind":"insert","schema":"public","table":"places","columnnames":["name","spent","k"],'
	  . '"columnpositions":[1,3,5],"columnvalues":["x",5,"9"],"pk":{"pknames":["name","k"],"pktypes":[]}}]}',
	'columns that are computed when reading are left out');
is(peek('ours', '', @v2, @places), '{"action":"I","schema":"public","table":"places","columns":[{"name":"name","value":"x","position":1},'
	  . '{"name":"spent","value":5,"position":3},{"name":"k","value":"9","position":5}],"pk":[{"name":"name"},{"name":"k"}]}',
	'likewise with version 2');
my @native = ('views', 'public.places', 'include-types', 'on', 'include-schema', 'on', map { ("include-$_", 'off') } qw(lsn seq xid timestamp));
like(peek('native', '', @native), qr/"key":\{"name":"x","k":9\},"after":\{"name":"x","spent":5,"k":9\}/, 'likewise with pg_eddy_cdc');
like(peek('native', '', @native), qr/"columns":\[\{"name":"name","type":"character varying\(20\)"\},\{"name":"spent","type":"bigint"\},\{"name":"k","type":"public.posint"\}\],"key":\[\{"name":"name".*\},\{"name":"k"/,
	'also the columns in a record "schema"');
like(peek('native', '', 'views', 'public.places', 'format', 'debezium', 'include-schema', 'off'), qr/"after":\{"name":"x","spent":5,"k":9\}/, 'and the other formats');
like(peek('native', '', 'views', 'public.places', 'format', 'upsert'), qr/"value":\{"name":"x","spent":5,"k":9\}/, 'with their own names');
sql($node, q{SELECT eddy.send_snapshot('native', 'places')});
like(peek('native', '', @native), qr/"op":"r".*"after":\{"name":"x","spent":5,"k":9\}/, 'initial rows as well');
sql($node, q{SELECT pg_drop_replication_slot('native'); DROP VIEW places});

# Keys that are NULL
advance();
sql($node, q{
SELECT eddy.create_continuous_view('nulls', 'SELECT name, count(*) AS n FROM s GROUP BY name');
INSERT INTO s (k) VALUES (1); INSERT INTO s (k) VALUES (1)});
is(peek('ours', '', 'add-tables', 'public.nulls', 'include-types', 'off'), join("\n",
	'{"change":[]}',
	'{"change":[{"kind":"insert","schema":"public","table":"nulls","columnnames":["name","n"],"columnvalues":[null,1]}]}',
	'{"change":[{"kind":"update","schema":"public","table":"nulls","columnnames":["name","n"],"columnvalues":[null,2],"oldkeys":{"keynames":["name"],"keyvalues":[null]}}]}'),
	'a key that is NULL');

# Transactions without changes
advance();
sql($node, q{CREATE TABLE empty (a int); INSERT INTO empty VALUES (1); INSERT INTO s (k, v) VALUES (7, 1); TRUNCATE empty});
is(join(' ', map { substr $_, 11, 1 } split /\n/, peek('ours', '', 'format-version', '2', 'add-tables', 'public.one')),
	'B C B C B U C B C', 'empty transactions');
is(join(' ', map { substr $_, 11, 1 } split /\n/, peek('ours', '', 'format-version', '2', 'add-tables', 'public.one', 'skip-empty-xacts', 'on')),
	'B U C', 'skip-empty-xacts, version 2');
like(peek('ours', '', 'add-tables', 'public.one', 'skip-empty-xacts', 'on'), qr/^\{"change":\[\{"kind":"update".*\}\]\}$/,
	'skip-empty-xacts, version 1');

# Numbers as strings (wal2json 2.6), and TRUNCATE: of a table that has the label of a state table
advance();
my $id = '0123456789abcdef' x 2;
sql($node, qq{
CREATE TABLE hand (k oid, n numeric, f real, b boolean, i posint);
CREATE VIEW "Hand" AS SELECT * FROM hand;
SECURITY LABEL FOR pg_eddy ON TABLE hand IS '2 $id rows columns 1 2 3 4 5 keys 1';
SECURITY LABEL FOR pg_eddy ON VIEW "Hand" IS '2 $id view';
ALTER TABLE hand REPLICA IDENTITY FULL;
INSERT INTO hand VALUES (1, 'NaN', '-Infinity', true, 5);
TRUNCATE hand, empty;
});
my @hand = ('add-tables', 'public.Hand', 'skip-empty-xacts', 'on');
is(peek('ours', '', @v2, @hand, 'numeric-data-types-as-string', 'on'), join("\n",
	'{"action":"I","schema":"public","table":"Hand","columns":[{"name":"k","value":"1"},{"name":"n","value":"NaN"},{"name":"f","value":"-Infinity"},{"name":"b","value":true},{"name":"i","value":"5"}]}',
	'{"action":"T","schema":"public","table":"Hand"}'), 'numeric-data-types-as-string, and TRUNCATE');
is(peek('ours', '', @v2, @hand, 'actions', 'truncate'), '{"action":"T","schema":"public","table":"Hand"}', 'only TRUNCATE');
is(peek('ours', '', @hand, 'numeric-data-types-as-string', 'on', 'include-domain-data-type', 'on', 'include-types', 'off'),
	'{"change":[{"kind":"insert","schema":"public","table":"Hand","columnnames":["k","n","f","b","i"],"columnvalues":["1","NaN","-Infinity",true,"5"]}]}',
	'version 1 has no TRUNCATE');

# bytea is hexadecimal with any setting; names of types are JSON strings
advance();
sql($node, qq{
CREATE TYPE "S x"."My ""type" AS ENUM ('q');
DROP VIEW "Hand"; DROP TABLE hand;
CREATE TABLE hand (k int, b bytea, q "S x"."My ""type", c "char");
CREATE VIEW "Hand" AS SELECT * FROM hand;
SECURITY LABEL FOR pg_eddy ON TABLE hand IS '2 $id rows columns 1 2 3 4 keys 1';
SECURITY LABEL FOR pg_eddy ON VIEW "Hand" IS '2 $id view';
INSERT INTO hand VALUES (1, '\\x5c0041', 'q', 'c');
});
is(peek('ours', "SET bytea_output = 'escape';", 'format-version', '2', 'include-transaction', 'off', @hand),
	'{"action":"I","schema":"public","table":"Hand","columns":[{"name":"k","type":"integer","value":1},{"name":"b","type":"bytea","value":"5c0041"},{"name":"q","type":"\"S x\".\"My \"\"type\"","value":"q"},{"name":"c","type":"char","value":"c"}]}',
	'bytea and quoted names of types');

# A long value that was stored out of line: wal2json leaves it out if it did not change
advance();
sql($node, q{SELECT eddy.create_continuous_view('long', 'SELECT k, max(t) AS t, count(*) AS n FROM s GROUP BY k');
ALTER TABLE eddy._long_state ALTER t SET STORAGE EXTERNAL;
INSERT INTO s (k, t) VALUES (5, repeat('x', 5000)); INSERT INTO s (k) VALUES (5)});
my @long = split /\n/, peek('ours', '', @v2, 'add-tables', 'public.long');
is(length($json->decode($long[1])->{columns}[1]{value}), 5000, 'a value that was not changed is sent');
sql($node, 'ALTER TABLE eddy._long_state REPLICA IDENTITY NOTHING');
advance();
sql($node, 'INSERT INTO s (k) VALUES (5)');
is(peek('ours', '', @v2, 'add-tables', 'public.long'),
	'{"action":"U","schema":"public","table":"long","columns":[{"name":"k","value":"5"},{"name":"n","value":3}],"identity":[{"name":"k","value":"5"}]}',
	'... unless the replica identity was changed');
is(peek('ours', '', 'add-tables', 'public.long', 'include-pk', 'on'),
	'{"change":[{"kind":"update","schema":"public","table":"long","columnnames":["k","n"],"columntypes":["posint","bigint"],"columnvalues":["5",3],"pk":{"pknames":["k"],"pktypes":["posint"]},"oldkeys":{"keynames":["k"],"keytypes":["posint"],"keyvalues":["5"]}}]}',
	'... in version 1');
sql($node, 'DROP VIEW long');

# A value without a text is left out; neither the rest of the transaction nor the slot depends on it.
advance();
sql($node, qq{
DROP VIEW "Hand"; DROP TABLE hand;
CREATE TYPE bad;
CREATE FUNCTION bad_in(cstring) RETURNS bad LANGUAGE internal IMMUTABLE STRICT AS 'oidin';
CREATE FUNCTION bad_out(bad) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'enum_out';
CREATE TYPE bad (INPUT = bad_in, OUTPUT = bad_out, LIKE = oid);
CREATE TABLE hand (k int, b bad, n int);
ALTER TABLE hand REPLICA IDENTITY FULL;
CREATE VIEW "Hand" AS SELECT * FROM hand;
SECURITY LABEL FOR pg_eddy ON TABLE hand IS '2 $id rows columns 1 2 3 keys 1';
SECURITY LABEL FOR pg_eddy ON VIEW "Hand" IS '2 $id view';
BEGIN; INSERT INTO hand VALUES (1, NULL, 1); INSERT INTO hand VALUES (2, '4294967295', 2); UPDATE hand SET n = 3 WHERE k = 2; COMMIT;
});
my ($status, $out, $err) = $node->psql('postgres',
	"SELECT data FROM pg_logical_slot_peek_changes('ours', NULL, NULL, 'format-version', '2', 'include-types', 'off', 'include-transaction', 'off', 'identity', 'full')");
is($out, join("\n",
	'{"action":"I","schema":"public","table":"Hand","columns":[{"name":"k","value":1},{"name":"b","value":null},{"name":"n","value":1}]}',
	'{"action":"I","schema":"public","table":"Hand","columns":[{"name":"k","value":2},{"name":"n","value":2}]}',
	'{"action":"U","schema":"public","table":"Hand","columns":[{"name":"k","value":2},{"name":"n","value":3}],"identity":[{"name":"k","value":2},{"name":"n","value":2}]}'),
	'a value without a text');
like($err, qr/WARNING:  a value of column "b" is not sent/, '... warns');
is(peek('ours', '', @hand, 'include-types', 'off'),
	'{"change":[{"kind":"insert","schema":"public","table":"Hand","columnnames":["k","b","n"],"columnvalues":[1,null,1]},{"kind":"insert","schema":"public","table":"Hand","columnnames":["k","n"],"columnvalues":[2,2]}'
	. ',{"kind":"update","schema":"public","table":"Hand","columnnames":["k","n"],"columnvalues":[2,3],"oldkeys":{"keynames":["k"],"keyvalues":[2]}}]}',
	'... in version 1');

# Origins
advance();
sql($node, q{
SELECT pg_replication_origin_create('elsewhere');
SELECT pg_replication_origin_session_setup('elsewhere');
INSERT INTO s (k, v) VALUES (8, 1)});
like(peek('ours', '', @v2, 'include-origin', 'on', 'add-tables', 'public.one'), qr/^\{"action":"U","origin":1,/, 'include-origin');
is(peek('ours', '', @v2, 'filter-origins', '3, 1', 'add-tables', 'public.one'), '', 'filter-origins');

# A message with a zero byte
advance();
sql($node, q{SELECT pg_logical_emit_message(true, 'p', '\x410042'::bytea)});
is(peek('ours', '', @v2), '{"action":"M","transactional":true,"prefix":"p","content":"A\u0000B"}', 'a zero byte');

#
# Options
#

foreach my $case (
	[['include-xids', 'maybe'], 'ERROR:  22023: invalid value for option "include-xids": "maybe"' . "\nDETAIL:  Valid values are \"on\" and \"off\"."],
	[['format-version', '3'], 'ERROR:  0A000: format version 3 is not supported' . "\nHINT:  Valid versions are 1 and 2."],
	[['format-version', '1x'], 'ERROR:  22023: invalid value for option "format-version": "1x"' . "\nDETAIL:  Valid versions are 1 and 2."],
	[['include-xid', '1'], 'ERROR:  22023: unrecognized option "include-xid" for output plugin "pg_eddy_wal2json"' . "\nDETAIL:  The options are those of wal2json, \"check-acl\", \"identity\" and \"skip-empty-xacts\".\nHINT:  Perhaps you meant the option \"include-xids\"."],
	[['format', 'wal2json'], 'ERROR:  22023: unrecognized option "format" for output plugin "pg_eddy_wal2json"' . "\nDETAIL:  The options are those of wal2json, \"check-acl\", \"identity\" and \"skip-empty-xacts\"."],
	[['include-unchanged-toast', '1'], 'ERROR:  42602: option "include-unchanged-toast" is not supported' . "\nDETAIL:  wal2json does not support it either.\nHINT:  Leave it out: values that an update did not change are sent."],
	[['actions', 'insert, remove'], 'ERROR:  22023: invalid value for option "actions": "remove"' . "\nDETAIL:  Valid values are \"insert\", \"update\", \"delete\" and \"truncate\"."],
	[['add-tables', 'v'], 'ERROR:  22023: invalid value for option "add-tables": "v"' . "\nDETAIL:  An element is the name of a table with its schema.\nHINT:  List names as in \"public.revenue, reports.*\"."],
	[['filter-tables', 'a.b,'], 'ERROR:  22023: invalid value for option "filter-tables": "a.b,"' . "\nDETAIL:  An element is the name of a table with its schema.\nHINT:  List names as in \"public.revenue, reports.*\"."],
	[['filter-origins', '1,x'], 'ERROR:  22023: invalid value for option "filter-origins": "x"' . "\nDETAIL:  Replication origins have numbers from 0 to 65535.\nHINT:  List numbers of replication origins, as in \"1, 2\"."],
	[['identity', 'ful'], 'ERROR:  22023: invalid value for option "identity": "ful"' . "\nDETAIL:  Valid values are \"key\" and \"full\".\nHINT:  Perhaps you meant \"full\"."],
	[['identity', 'none'], 'ERROR:  22023: invalid value for option "identity": "none"' . "\nDETAIL:  Valid values are \"key\" and \"full\"."],
	[['include-pk', 'on', 'include-pk', 'off'], 'ERROR:  22023: conflicting or redundant options' . "\nDETAIL:  Option \"include-pk\" is given more than once."])
{
	is(error_of(@{ $case->[0] }), $case->[1], "options @{ $case->[0] }");
}

# Random lists of options: an error or a result, never a crash.
my @names = (@booleans, 'actions', 'add-tables', 'filter-tables', 'filter-origins', 'add-msg-prefixes', 'format-version', 'identity', 'x');
my @values = ('on', 'off', '', '1', '2', '-1', '*.*', 'a.b', '\\', '*', ',', ' ', '.', '\\.\\', 'full', 'insert', "é\n", '99999999999999999999', '*.*,' x 50);
my $script = '';
foreach (1 .. 500)
{
	my $list = join ', ', map { quote($names[ rand @names ]) . ', ' . quote($values[ rand @values ]) } 0 .. rand 2;
	$script .= "SELECT count(*) FROM pg_logical_slot_peek_changes('ours', NULL, NULL, $list);\n";
}
($status, $out, $err) = $node->psql('postgres', $script, on_error_stop => 0);
is($status, 0, 'the session survives random options');
unlike($err, qr/XX000|server closed/, '... without internal errors');
cmp_ok(scalar(() = $out =~ /^\d+$/mg), '>', 5, '... some of which are valid');

#
# Rights, and a client of the streaming protocol
#

sql($node, q{CREATE ROLE reader REPLICATION LOGIN; GRANT SELECT ON one TO reader; INSERT INTO s (k, name, v) VALUES (5, 'r', 1)});
is(join(' ', sort map { $json->decode($_)->{table} } split /\n/, peek('ours', 'SET ROLE reader;', @v2, 'add-msg-prefixes', 'none')),
	'one', 'views that the role may not read are left out');
like(peek('ours', 'SET ROLE reader;', @v2, 'check-acl', 'off'), qr/"table":"v"/, '... except with check-acl off');

advance();
random_changes(5, 10);
my $end = sql($node, 'SELECT pg_current_wal_insert_lsn()');
foreach my $options (['format-version=2', 'include-lsn=on'], ['format-version=1', 'include-lsn=on'], ['write-in-chunks=on'])
{
	# pg_recvlogical sets search_path, on which the names of types depend; it confirms what it has received
	my $expected = peek('ours', q{SET search_path = '';}, map { split /=/ } @$options);
	my ($received, $stderr);

	IPC::Run::run([ $node->config_data('--bindir') . '/pg_recvlogical', '-d', $node->connstr('postgres'), '-S', 'ours',
			'--start', '--no-loop', '-E', $end, '-f', '-', map { ('-o', $_) } @$options ],
		'<', '/dev/null', '>', \$received, '2>', \$stderr);
	chomp $received;
	is($received, $expected, "pg_recvlogical: @$options");
	random_changes(5, 10);
	$end = sql($node, 'SELECT pg_current_wal_insert_lsn()');
}

$node->stop;
done_testing();
