# 034_cdc_formats.pl: formats and options of the output plugin, and the net change of each row.
#
# All records are validated against the schemas in docs/schemas. The net changes of random
# transactions are compared with those computed from the records of all changes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use JSON::PP;
use MIME::Base64 qw(decode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

my $node = new_node('cdc_formats', 'autovacuum = off', "logical_decoding_work_mem = '64kB'",
	'log_temp_files = 0', 'log_statement = none');
my $json = JSON::PP->new->canonical->allow_nonref;
my $error;    # messages of the last call of lines()

my %received;    # all records of a format, for validate_records

# Peeks at the pending changes of the slot: a list of lines. All of them are validated at the end.
sub lines
{
	my ($format, @options) = @_;
	my $list = join '', map { ", '$_'" } 'format', $format, @options;
	my ($status, $out);

	($status, $out, $error) = $node->psql('postgres',
		"SELECT data FROM pg_logical_slot_peek_changes('s', NULL, NULL$list)");
	is($status, 0, "format $format is read: @options") or diag($error);
	$received{$format} .= "# @options\n$out" . ($out eq '' ? '' : "\n");
	return split /\n/, $out;
}

sub records { return map { $json->decode($_) } lines(@_); }

# Consumes all pending changes.
sub advance
{
	sql($node, q{SELECT pg_replication_slot_advance('s', pg_current_wal_insert_lsn())});
	return;
}

sql($node, q{
SELECT pg_create_logical_replication_slot('s', 'pg_eddy_cdc');
CREATE UNLOGGED TABLE s (k text, g int, v numeric, t text);
SELECT eddy.create_stream('s');
SELECT eddy.create_continuous_view('plain', 'SELECT k, g, sum(v) AS total, count(*) AS n FROM s GROUP BY k, g');
SELECT eddy.create_continuous_view('rich', 'SELECT k, sum(v) AS total FROM s GROUP BY k HAVING sum(v) > 10');
SELECT eddy.create_continuous_view('texts', 'SELECT k, max(t) AS t FROM s GROUP BY k');
SELECT eddy.create_continuous_view('hidden', 'SELECT count(*) AS n FROM s GROUP BY g');
SELECT eddy.create_continuous_view('all_rows', 'SELECT count(*) AS n, sum(v) AS total FROM s');
ALTER TABLE eddy._texts_state ALTER t SET STORAGE EXTERNAL;
});

#
# Net changes
#

# Computes the net records from those of all changes, of which "before" is known.
sub net
{
	my (%rows, @order);

	foreach my $record (@_)
	{
		my $id = "$record->{lsn} $record->{view} " . $json->encode($record->{key});
		my $row = $rows{$id};

		$row = $rows{$id} = { before => $record->{op} eq 'c' ? undef : $record->{before} } if !$row;
		$row->{record} = $record;
		$row->{after} = $record->{op} eq 'd' ? undef : $record->{after};
	}
	foreach my $row (sort { $a->{record}->{lsn} cmp $b->{record}->{lsn} || $a->{record}->{seq} <=> $b->{record}->{seq} } values %rows)
	{
		my ($before, $after) = map { defined $row->{$_} ? $json->encode($row->{$_}) : '' } qw(before after);
		my %record = %{ $row->{record} };

		next if $before eq $after;
		$record{op} = $before eq '' ? 'c' : $after eq '' ? 'd' : 'u';
		delete @record{qw(before after)};
		$record{before} = $row->{before} if defined $row->{before};
		$record{after} = $row->{after} if defined $row->{after};
		push @order, \%record;
	}
	return @order;
}

# Runs a transaction and compares its net changes.
sub check_net
{
	my ($name, $sql) = @_;

	advance();
	sql($node, "BEGIN; $sql; COMMIT");
	my @all = records('native', 'include-before', 'on', 'net', 'off');
	my @net = records('native', 'include-before', 'on');
	my $got = join "\n", map { $json->encode($_) } @net;
	my $want = join "\n", map { $json->encode($_) } net(@all);
	ok($got eq $want, "net changes: $name") or diag("got:\n$got\nwant:\n$want");
	return (\@all, \@net);
}

check_net('one statement', q{INSERT INTO s VALUES ('a', 1, 1, 'x'), ('b', 1, 20, 'y')});
check_net('update twice', q{INSERT INTO s VALUES ('a', 1, 1, 'x'); INSERT INTO s VALUES ('a', 1, 2, 'z')});
my ($all, $net) = check_net('created and deleted', q{INSERT INTO s VALUES ('new', 1, 100, 'x'); DELETE FROM plain WHERE k = 'new'; DELETE FROM rich WHERE k = 'new'});
is(scalar(grep { ($_->{key}->{k} // '') eq 'new' } @$net), 1, 'a row that did not remain has no record');
check_net('deleted and created', q{DELETE FROM plain WHERE k = 'a'; INSERT INTO s VALUES ('a', 1, 3, 'x')});
($all, $net) = check_net('no difference', q{INSERT INTO s VALUES ('b', 1, 1, 'x'); DELETE FROM plain WHERE k = 'b';
	INSERT INTO s VALUES ('b', 1, -1, 'x')});
check_net('HAVING', q{INSERT INTO s VALUES ('b', 1, -19, 'x'); INSERT INTO s VALUES ('b', 1, 19, 'x'); INSERT INTO s VALUES ('b', 1, -19, 'x')});
check_net('back to the same values', q{INSERT INTO s VALUES ('b', 1, 50, 'x'); INSERT INTO s VALUES ('b', 1, -50, 'x')});
check_net('savepoints', q{SAVEPOINT a; INSERT INTO s VALUES ('a', 1, 1, 'x'); ROLLBACK TO a; INSERT INTO s VALUES ('a', 1, 1, 'x');
	SAVEPOINT b; INSERT INTO s VALUES ('a', 1, 1, 'x')});
check_net('NULL keys', q{INSERT INTO s VALUES (NULL, NULL, 1, 'x'), ('', NULL, 1, 'x'); INSERT INTO s VALUES (NULL, NULL, 1, 'x'), ('', 0, 1, 'x')});
check_net('values out of line', q{INSERT INTO s VALUES ('long', 1, 1, repeat('x', 10000)), ('long2', 1, 1, repeat('y', 20000));
	INSERT INTO s VALUES ('long', 1, 1, repeat('z', 10000)); INSERT INTO s VALUES ('long2', 1, 1, 'a')});
check_net('unchanged values out of line', q{INSERT INTO s VALUES ('long', 2, 1, 'a'), ('long2', 2, 1, 'a');
	INSERT INTO s VALUES ('long', 2, 1, 'b'); DELETE FROM texts WHERE k = 'long2'});
check_net('a view is altered', q{INSERT INTO s VALUES ('a', 1, 1, 'x'); INSERT INTO s VALUES ('c', 1, 1, 'x');
	CREATE TABLE other (a int); CREATE VIEW unrelated AS SELECT * FROM plain; INSERT INTO s VALUES ('a', 1, 1, 'x')});

# Rows that are too large to be kept are sent in between, with the values that they have.
advance();
sql($node, q{BEGIN; INSERT INTO s VALUES ('a', 1, 1, 'zz'), ('m', 1, 1, 'b'); INSERT INTO s VALUES ('a', 1, 1, 'zzz');
	INSERT INTO s VALUES ('big', 1, 1, repeat('x', 5000000)); INSERT INTO s VALUES ('m', 1, 1, 'bb'); INSERT INTO s VALUES ('m', 1, 1, 'bbb');
	INSERT INTO s VALUES ('big', 1, 1, repeat('y', 6000000)); INSERT INTO s VALUES ('m', 1, 1, 'c'); COMMIT});
is( sql($node, q{
SELECT string_agg(concat(r ->> 'op', ':', r -> 'key' ->> 'k', '=', CASE WHEN length(t) > 9 THEN left(t, 1) || length(t) ELSE t END), ' ' ORDER BY n)
FROM pg_logical_slot_peek_changes('s', NULL, NULL, 'batch-bytes', '0', 'views', 'public.texts') WITH ORDINALITY AS c (lsn, xid, data, n),
	CAST(data AS json) AS r, LATERAL (SELECT r -> 'after' ->> 't') AS v (t)}),
	'c:m=b u:a=zzz c:big=x5000000 u:m=bbb u:big=y6000000 u:m=c', 'large rows');

# A rename within the transaction: changes before it are sent with the old name.
advance();
sql($node, q{BEGIN; INSERT INTO s VALUES ('r', 1, 1, 'x'); INSERT INTO s VALUES ('r', 1, 1, 'x');
	ALTER VIEW plain RENAME TO renamed; INSERT INTO s VALUES ('r', 1, 1, 'x'); INSERT INTO s VALUES ('r', 1, 1, 'x');
	ALTER VIEW renamed RENAME TO plain; COMMIT});
is(join(' ', map { "$_->{op} $_->{view} $_->{after}->{n}" } records('native', 'views', 'public.plain')),
	'c public.plain 2 u public.renamed 4', 'a rename within the transaction');

# Random transactions, some of which do not fit into memory.
srand(1);
foreach my $round (1 .. 8)
{
	my $sql = '';
	my $keys = $round % 2 ? 20 : 400;

	foreach my $statement (1 .. 3 + int(rand(10)))
	{
		my $rows = 1 + int(rand($keys));
		my $choice = int(rand(10));
		my $view = (qw(plain rich texts))[ int(rand(3)) ];

		$sql .= $choice < 7
		  ? "INSERT INTO s SELECT 'k' || (random() * $keys)::int, (random() * 2)::int, (random() * 10)::int - 5, repeat(md5(random()::text), (random() * 3)::int) FROM generate_series(1, $rows);\n"
		  : $choice < 8 ? "DELETE FROM $view WHERE hashtext(k) % 3 = 0;\n"
		  : "SAVEPOINT p; INSERT INTO s VALUES ('k1', 1, 5, 'x'); " . ($choice < 9 ? "ROLLBACK TO p;\n" : "RELEASE p;\n");
	}
	check_net("random transaction $round", $sql);
}
like(slurp_file($node->logfile), qr/temporary file: path "[^"]*pgsql_tmp[^"]*", size \d{5,}/,
	'changes of a large transaction were written to temporary files');
my $temp = sql($node, q{SELECT count(*) FROM pg_ls_tmpdir()});
is($temp, 0, 'temporary files were removed');

#
# Formats and options; the records are compared with those of the native format
#

advance();
sql($node, q{INSERT INTO s VALUES ('a', 1, 1.50, 'x'), ('q"', 5, 11, 'y'); INSERT INTO s VALUES ('a', 1, 9007199254740993, 'x');
	DELETE FROM plain WHERE k = 'a'; INSERT INTO s VALUES ('a', 1, -9007199254740993, 'x')});
my @native = records('native', 'include-before', 'on');

my @upsert = records('upsert');
is($json->encode(\@upsert), $json->encode([ map { {
	view => $_->{view}, key => $_->{key}, value => $_->{op} eq 'd' ? undef : $_->{after},
	lsn => $_->{lsn}, seq => $_->{seq}, xid => $_->{xid}, ts => $_->{ts} } } @native ]),
	'format upsert has the same changes');
is(join(' ', sort keys %{ (records('upsert', 'include-lsn', 'off', 'include-seq', 'off', 'include-xid', 'off',
	'include-timestamp', 'off'))[0] }), 'key value view', 'format upsert without other fields');

# What Debezium's records have in common with ours.
sub reduce
{
	my ($record) = @_;
	my $value = $record->{value};
	my ($lsn, $seq) = @{ $json->decode($value->{source}->{sequence}) };

	return { op => $value->{op}, view => "$value->{source}->{schema}.$value->{source}->{table}",
		key => $record->{key}, (defined $value->{before} ? (before => $value->{before}) : ()),
		(defined $value->{after} ? (after => $value->{after}) : ()),
		lsn => sprintf('%X/%X', $lsn >> 32, $lsn & 0xffffffff), seq => $seq + 0,
		xid => $value->{source}->{txId} };
}

my @debezium = records('debezium', 'topic-prefix', 'shop');
is($json->encode([ map { reduce($_) } grep { defined $_->{value} } @debezium ]),
	$json->encode([ map { my %copy = %$_; delete $copy{ts}; \%copy } @native ]), 'format debezium has the same changes');
is(join(' ', sort keys %{ { map { $_->{topic} => 1 } @debezium } }),
	'shop.public.all_rows shop.public.hidden shop.public.plain shop.public.rich shop.public.texts', 'topics');
my @tombstones = grep { !defined $_->{value} } @debezium;
is(scalar(@tombstones), scalar(grep { $_->{op} eq 'd' } @native), 'a tombstone after each delete');
is(scalar(grep { !defined $_->{value} } records('debezium', 'tombstones', 'off')), 0, 'no tombstones');
is(scalar(grep { defined $_->{value} && defined $_->{value}->{before} } records('debezium', 'include-before', 'off')), 0,
	'format debezium without old rows');
is((records('debezium'))[0]->{topic}, 'postgres.public.plain', 'the prefix is the name of the database');

# The transaction block: the number of records that do not agree with it.
sub count_outside_block
{
	my ($open, %count, $total);
	my $wrong = 0;

	foreach my $record (@_)
	{
		my $value = $record->{value};

		if (exists $value->{status})
		{
			$wrong++ if $record->{topic} ne 'postgres.transaction';
			if ($value->{status} eq 'BEGIN')
			{
				$wrong++ if defined $open;
				($open, $total, %count) = ($value->{id}, 0);
			}
			else
			{
				$wrong++ if $open ne $value->{id} || $total != $value->{event_count};
				my %got = map { $_->{data_collection} => $_->{event_count} } @{ $value->{data_collections} };
				$wrong++ if $json->encode(\%got) ne $json->encode(\%count);
				$open = undef;
			}
			next;
		}
		my $collection = $value->{op} eq 'm' ? 'LOGICAL_DECODING_MESSAGE' : "$value->{source}->{schema}.$value->{source}->{table}";
		my $order = $value->{transaction};
		$wrong++ if $order->{id} ne $open || $order->{total_order} != ++$total || $order->{data_collection_order} != ++$count{$collection};
	}
	return $wrong;
}

my @block = records('debezium', 'include-transaction', 'on', 'tombstones', 'off');
my $wrong = count_outside_block(@block);
is($wrong, 0, 'transaction block of Debezium');
is(scalar(grep { exists $_->{value}->{status} } @block), 8, '... one for each transaction');

# The native format.
my @with = records('native', 'include-transaction', 'on', 'include-types', 'on', 'include-schema', 'on', 'protocol-version', '1');
is(join(' ', map { $_->{op} } @with[ 0 .. 3 ]), 'protocol begin schema c', 'first records of a session');
is(scalar(grep { $_->{op} eq 'schema' } @with), 5, 'one schema for each view');
my $n = 0;
foreach my $record (@with)
{
	$n++ if $record->{op} =~ /^[cud]$/;
	$n = 0 if $record->{op} eq 'begin';
	$wrong++ if $record->{op} eq 'commit' && $record->{records} != $n;
	next unless $record->{op} eq 'schema';
	foreach my $row (grep { $_->{op} =~ /^[cud]$/ && $_->{view} eq $record->{view} } @with)
	{
		$wrong++ if join(' ', sort keys %{ $row->{key} }) ne join(' ', sort map { $_->{name} } @{ $record->{key} });
		$wrong++ if $json->encode($row->{types}) ne $json->encode({ map { $_->{name} => $_->{type} } @{ $record->{columns} } });
	}
}
is($wrong, 0, 'schemas, types and commits agree with the rows');
is($json->encode([ map { $_->{value}->{types} } records('debezium', 'include-types', 'on', 'tombstones', 'off') ]),
	$json->encode([ map { $_->{types} } records('native', 'include-types', 'on') ]), 'types are those of the native format');
my %bounds = ('include-lsn' => 'off', 'include-seq' => 'off', 'include-xid' => 'off', 'include-timestamp' => 'off');
records('native', %bounds, 'include-transaction', 'on', 'include-schema', 'on', 'skip-empty-xacts', 'off');
records('native', 'skip-empty-xacts', 'off');
records('upsert', 'skip-empty-xacts', 'off');
records('debezium', 'skip-empty-xacts', 'off', 'include-transaction', 'on');

my ($number) = grep { $_->{view} eq 'public.all_rows' } records('native', 'numeric-as-string', 'on');
like($json->encode($number->{after}), qr/"n":"\d+","total":"[-\d.]+"/, 'numeric-as-string');

# One record per message, also of those that belong together.
my @messages = split /\n/, sql($node, q{
SELECT replace(data, E'\n', ' LF ') FROM pg_logical_slot_peek_changes('s', NULL, NULL, 'batch-bytes', '0', 'format', 'debezium',
	'include-transaction', 'on')});
is(scalar(grep { / LF / } @messages), 0, 'batch-bytes 0: one record per message');
is(scalar(@messages), scalar(records('debezium', 'include-transaction', 'on')), '... all of them');

# TRUNCATE in all formats. State tables refuse it: tables with labels that a superuser has set.
sql($node, qq{
CREATE TABLE hand1 (k int PRIMARY KEY, n int);
CREATE TABLE hand2 (k int PRIMARY KEY, n int);
CREATE VIEW hand AS SELECT * FROM hand1 UNION ALL SELECT * FROM hand2;
SECURITY LABEL FOR pg_eddy ON VIEW hand IS '2 @{['ab' x 16]} view';
SECURITY LABEL FOR pg_eddy ON TABLE hand1 IS '2 @{['ab' x 16]} rows columns 1 2 keys 1';
SECURITY LABEL FOR pg_eddy ON TABLE hand2 IS '2 @{['ab' x 16]} rows columns 1 2 keys 1'});
advance();
sql($node, 'BEGIN; INSERT INTO hand1 VALUES (1, 1); TRUNCATE hand2, hand1; INSERT INTO hand1 VALUES (1, 2); COMMIT');
is(join(' ', map { "$_->{op} $_->{view} $_->{seq}" } records('native')),
	'c public.hand 1 t public.hand 2 t public.hand 3 c public.hand 4', 'TRUNCATE, native');
is(join(' ', map { defined $_->{key} ? 'row' : 'all' } records('upsert')), 'row all all row', 'TRUNCATE, upsert');
is(join(' ', map { $_->{value}->{op} } records('debezium')), 'c t t c', 'TRUNCATE, debezium');

#
# Names: renamed, dropped and created views
#

advance();
sql($node, q{
CREATE SCHEMA later;
INSERT INTO s VALUES ('n1', 1, 1, 'x');
ALTER VIEW texts RENAME TO words;
ALTER VIEW words SET SCHEMA later;
ALTER VIEW later.words RENAME COLUMN t TO word;
INSERT INTO s VALUES ('n2', 1, 1, 'x')});
# another view takes the name
sql($node, q{
SELECT eddy.create_continuous_view('texts', 'SELECT k, min(t) AS t FROM s GROUP BY k');
INSERT INTO s VALUES ('n3', 1, 1, 'x');
DROP VIEW later.words;
INSERT INTO s VALUES ('n4', 1, 1, 'x');
DROP VIEW texts;
SELECT eddy.create_continuous_view('texts', 'SELECT k, max(t) AS t FROM s GROUP BY k');
INSERT INTO s VALUES ('n5', 1, 1, 'x')});
my %ids;
my @story;
foreach my $record (records('native', 'views', 'public.texts', 'include-schema', 'on'))
{
	my $known = keys %ids;
	my $id = exists $record->{id} ? ($ids{ $record->{id} } //= $known + 1) : q{};
	push @story, join ' ', $record->{op}, $id, $record->{view} // '', $record->{key}->{k} // '' if $record->{op} =~ /^[cud]$/;
	push @story, join ' ', $record->{op}, $id, $record->{view} if $record->{op} =~ /^(schema|dropped)$/;
}
s/ +/ /g, s/ $// foreach @story;
is(join("\n", @story), join("\n", 'schema 1 public.texts', 'c public.texts n1', 'schema 1 later.words', 'c later.words n2',
	'c later.words n3', 'schema 2 public.texts', 'c public.texts n3', 'dropped 1 later.words', 'c public.texts n4', 'dropped 2 public.texts',
	'schema 3 public.texts', 'c public.texts n5'), 'views keep their identity') or diag(join "\n", @story);
my ($first) = grep { $ids{$_} == 1 } keys %ids;
is(join(' ', map { "$_->{view} $_->{key}->{k}" } records('native', 'views', "$first")),
	'public.texts n1 later.words n2 later.words n3', 'a view is selected by its ID');

# Names are those of the place where the session begins, also for changes of a transaction that began before.
my $early = $node->background_psql('postgres');
$early->query_safe(q{BEGIN; INSERT INTO s VALUES ('n6', 1, 1, 'x')});
sql($node, 'ALTER VIEW texts RENAME TO latest');
advance();
$early->query_safe(q{INSERT INTO s VALUES ('n7', 1, 1, 'x'); COMMIT});
$early->quit;
is(join(' ', map { $_->{key}->{k} } records('native', 'views', 'public.latest')), 'n6 n7', 'a view that was renamed during a transaction');
sql($node, 'ALTER VIEW latest RENAME TO texts');

# A view whose query is replaced keeps its ID, and its columns are sent again.
advance();
sql($node, q{
CREATE UNLOGGED TABLE s2 (k text, v int);
SELECT eddy.create_stream('s2');
SELECT eddy.create_continuous_view('changing', 'SELECT k, count(*) AS n FROM s2 GROUP BY k');
INSERT INTO s2 VALUES ('r1', 1);
SELECT eddy.replace_continuous_view('changing', 'SELECT k, count(*) AS n, max(v) AS top FROM s2 GROUP BY k', start => 'staged');
INSERT INTO s2 VALUES ('r1', 7)});
my @replaced = records('native', 'views', 'public.changing', 'include-schema', 'on');
is(join("\n", map { join ' ', $_->{op}, $_->{columns} ? map { $_->{name} } @{ $_->{columns} } : $json->encode($_->{after}) } grep { $_->{op} ne 'protocol' } @replaced),
	join("\n", 'schema k n', 'c {"k":"r1","n":1}', 'schema k n top', 'u {"k":"r1","n":1,"top":1}', 'u {"k":"r1","n":2,"top":7}'), 'a replaced view');
is(scalar(keys %{ { map { $_->{id} => 1 } grep { $_->{op} eq 'schema' } @replaced } }), 1, '... keeps its ID');
sql($node, 'DROP TABLE s2 CASCADE');

# A view that is dropped before any of its rows was sent in the session.
advance();
my $id = sql($node, q{SELECT split_part(label, ' ', 2) FROM pg_seclabel WHERE objoid = 'hidden'::regclass AND provider = 'pg_eddy'});
sql($node, 'DROP VIEW hidden');
is(join(' ', map { "$_->{op} " . ($_->{view} // '') } records('native', 'include-schema', 'on')),
	'protocol  dropped public.hidden', 'a dropped view without rows');
is(join(' ', map { "$_->{op} " . ($_->{view} // '') } records('native', 'include-schema', 'on', 'views', $id)),
	'protocol  dropped public.hidden', '... that is selected by its ID');
is(scalar(records('native')), 0, '... is reported on request only');

#
# Option strict
#

advance();
foreach my $case (
	[ 'public.plan', qr/continuous view "public.plan" does not exist.*Perhaps you meant "public.plain"/s ],
	[ 'public.plain, nothere.*', qr/continuous view "nothere.\*" does not exist/ ],
	[ '0' x 32, qr/continuous view "0{32}" does not exist/ ],
	[ 'public.s', qr/continuous view "public.s" does not exist/ ])
{
	my ($views, $message) = @$case;

	like(($node->psql('postgres', "SELECT data FROM pg_logical_slot_peek_changes('s', NULL, NULL, 'strict', 'on', 'views', '$views')"))[2],
		$message, "strict: views $views");
	records('native', 'views', $views);
}
records('native', 'strict', 'on');
records('native', 'strict', 'on', 'views', 'public.plain, *."rich", public.*');

# Over the replication protocol, in which the plugin has no transaction at startup.
my $result = '';
IPC::Run::run([ $node->installed_command('pg_recvlogical'), '-d', $node->connstr('postgres'), '-S', 's', '--start', '-f', '-',
	'--no-loop', '-o', 'strict=on', '-o', 'views=public.plan' ], '>', \my $out, '2>', \$result);
like($result, qr/"public.plan" does not exist/, 'strict: replication protocol');
my $lsn = sql($node, q{INSERT INTO s VALUES ('x', 1, 1, 'x'); SELECT pg_logical_emit_message(true, 'test', '')});
IPC::Run::run([ $node->installed_command('pg_recvlogical'), '-d', $node->connstr('postgres'), '-S', 's', '--start', '-f', '-',
	'--no-loop', '-E', $lsn, '-o', 'strict=on', '-o', 'views=public.plain', '-o', 'include-schema=on' ], '>', \$out, '2>', \$result);
is($result, '', '... without an error');
is(join(' ', map { $json->decode($_)->{op} } split /\n/, $out), 'protocol schema c', '... has the records');

#
# Records of all kinds, all of which are valid
#

sql($node, qq{
DROP VIEW hand; DROP TABLE hand1, hand2;
-- a type whose output function raises an error
CREATE TYPE bad;
CREATE FUNCTION bad_in(cstring) RETURNS bad LANGUAGE internal IMMUTABLE STRICT AS 'oidin';
CREATE FUNCTION bad_out(bad) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'enum_out';
CREATE TYPE bad (INPUT = bad_in, OUTPUT = bad_out, LIKE = oid);
CREATE TABLE hand (k int PRIMARY KEY, b bad);
CREATE VIEW hands AS SELECT * FROM hand;
SECURITY LABEL FOR pg_eddy ON VIEW hands IS '2 @{['ab' x 16]} view';
SECURITY LABEL FOR pg_eddy ON TABLE hand IS '2 @{['ab' x 16]} rows columns 1 2 keys 1';
CREATE UNLOGGED TABLE timed (k text, at timestamptz);
SELECT eddy.create_stream('timed', event_time => 'at');
SELECT eddy.create_continuous_view('minutes', \$\$
	SELECT k, w.window_end, count(*) AS n FROM timed, eddy.tumble(at, '1 minute') AS w GROUP BY k, w.window_end \$\$,
	late => 'update', allowed_lateness => '10 minutes');
});
advance();
sql($node, q{
INSERT INTO timed VALUES ('a', '2026-01-01 00:00:10'), ('b', '2026-01-01 00:00:20');
INSERT INTO timed VALUES ('a', '2026-01-01 00:01:10');
INSERT INTO timed VALUES ('a', '2026-01-01 00:00:50');
INSERT INTO timed VALUES ('c', '2026-01-01 00:10:00');
DELETE FROM minutes WHERE k = 'b';
INSERT INTO hand VALUES (1, '4294967295');
SELECT eddy.send_snapshot('s', 'minutes', 'plain');
DROP VIEW rich;
BEGIN; INSERT INTO timed VALUES ('p', '2026-01-01 00:11:00'); PREPARE TRANSACTION 'p "1"';
BEGIN; INSERT INTO timed VALUES ('q', '2026-01-01 00:12:00'); PREPARE TRANSACTION 'q';
COMMIT PREPARED 'p "1"';
ROLLBACK PREPARED 'q';
BEGIN;
INSERT INTO timed SELECT 'large' || i, '2026-01-01 00:13:00' FROM generate_series(1, 900) i;
SAVEPOINT a;
INSERT INTO timed SELECT 'rolled back' || i, '2026-01-01 00:13:00' FROM generate_series(1, 900) i;
ROLLBACK TO a;
COMMIT;
TRUNCATE hand});
my @everything = ('include-before', 'on', 'include-types', 'on', 'include-schema', 'on', 'include-transaction', 'on', 'progress', 'on',
	'emit', 'both', 'retention', 'on', 'skip-empty-xacts', 'off');
my %ops;
foreach my $options ([ 'skip-empty-xacts', 'off' ], \@everything, [ @everything, 'two-phase', 'on' ], [ @everything, 'streaming', 'on' ], [ 'streaming', 'on', 'emit', 'final' ],
	[ @everything, 'streaming', 'on', %bounds ], [ 'two-phase', 'on', %bounds ])
{
	$ops{ $_->{op} } = 1 foreach records('native', @$options);
}
# Since version 18, the server does not send parts of what it knows to be aborted: sql/cdc_in_progress.sql has such records.
my $version = int(sql($node, 'SHOW server_version_num') / 10000);
is(join(' ', grep { $version < 18 || $_ ne 'stream_abort' } sort keys %ops),
	'begin c commit commit_prepared d dropped e p prepare protocol r rollback_prepared schema snapshot ' . ($version < 18 ? 'stream_abort ' : '') .
	'stream_commit t u x', 'records of all kinds but too_large');
$received{native} .= '{"op":"stream_abort","xid":737,"subxid":738}' . "\n" if $version >= 18;
records('upsert', @$_) foreach [], [ 'emit', 'both', 'progress', 'on', 'protocol-version', '1', 'skip-empty-xacts', 'off', 'include-types', 'on' ], ['emit', 'final'], [ 'progress', 'on', %bounds ];
records('debezium', @$_) foreach [ 'skip-empty-xacts', 'off' ], ['emit', 'final'],
	[ 'emit', 'both', 'progress', 'on', 'protocol-version', '1', 'include-types', 'on', 'skip-empty-xacts', 'off', 'include-transaction', 'on' ];
is(count_outside_block(records('debezium', 'progress', 'on', 'emit', 'both', 'include-transaction', 'on', 'tombstones', 'off')), 0, 'transaction block of all kinds');

# Of one that is too large, test/t/032_cdc_values.pl shows how it comes about.
$received{native} .= '{"op":"too_large","view":"public.v","key":{"k":"a"},"sqlstate":"54000","error":"record is larger than 1072693247 bytes","lsn":"0/1958E20","seq":1,"xid":737,"ts":"2026-01-01T00:01:02.851565+00:00"}' . "\n";

#
# Progress is the same in all formats, with the same numbers, and no later record concerns a closed window
#

my @fields = qw(view closed_until lsn seq);
my %progress_of = (
	native => sub
	{
		my ($record) = @_;

		return $record->{op} eq 'p' ? { map { $_ => $record->{$_} } @fields } : undef;
	},
	upsert => sub
	{
		my ($record) = @_;

		return exists $record->{key} || !exists $record->{closed_until} ? undef : { map { $_ => $record->{$_} } @fields };
	},
	debezium => sub
	{
		my ($record) = @_;
		my $value = $record->{value};

		return undef if ($value->{op} // '') ne 'm';
		my ($lsn, $seq) = @{ $json->decode($value->{source}->{sequence}) };
		my $content = $json->decode(decode_base64($value->{message}->{content}));
		die 'key or topic' if $record->{key}->{prefix} ne "pg_eddy.progress.$content->{view}" || $record->{topic} ne 'postgres.message';
		return { %$content, lsn => sprintf('%X/%X', $lsn >> 32, $lsn & 0xffffffff), seq => $seq + 0 };
	});

advance();
sql($node, q{
SELECT eddy.create_continuous_view('"Closed ""1"""', $$
	SELECT k, w.window_end, count(*) AS n FROM timed, eddy.tumble(at, '1 minute') AS w GROUP BY k, w.window_end $$, emit => 'on_close')});
srand(2);
sql($node, join '', map { sprintf "INSERT INTO timed VALUES ('a', timestamptz '2026-01-01 01:00Z' + %d * interval '1 s'), ('b', timestamptz '2026-01-01 01:00Z' + %d * interval '1 s');\n",
	$_ * 20 + rand(300), $_ * 20 + rand(60) } 1 .. 60);
my @progress = grep { defined } map { $progress_of{native}->($_) } records('native', 'progress', 'on');
cmp_ok(scalar(grep { $_->{view} =~ /Closed/ } @progress), '>', 10, 'progress of a view');
foreach my $format ('native', 'upsert', 'debezium')
{
	foreach my $options ([ 'emit', 'changes' ], [ 'emit', 'final', 'batch-bytes', '10' ])
	{
		my (@found, %closed);
		my $after = 0;

		foreach my $record (records($format, 'progress', 'on', @$options))
		{
			my $found = $progress_of{$format}->($record);
			my $end = $record->{key}->{window_end};

			if (defined $found)
			{
				push @found, $found;
				$closed{ $found->{view} } = $found->{closed_until};
			}
			next if !defined $end;
			# the other view accepts late rows
			$after++ if ($record->{view} // $record->{topic}) =~ /Closed/ && $end le ($closed{'public."Closed ""1"""'} // '');
		}
		is($json->encode(\@found), $json->encode(\@progress), "progress is the same in format $format: @$options");
		is($after, 0, '... and no later record concerns a closed window');
	}
}
is(count_outside_block(records('debezium', 'progress', 'on', 'include-transaction', 'on', 'tombstones', 'off')), 0, '... with the transaction block');

#
# Transactions that are sent while they are in progress, over the replication protocol
#

my $consumers = 0;
my $received_file;

sub start_consumer
{
	my (@options) = @_;

	advance();
	$received_file = $node->basedir . '/received' . ++$consumers;
	return start_process("$received_file.log", $node->installed_command('pg_recvlogical'), '-d', $node->connstr('postgres'), '-S', 's', '--start',
		'--no-loop', '-f', $received_file, map { ('-o', $_) } @options);
}

# Waits until the consumer has received a record.
sub wait_for_record
{
	my ($pattern) = @_;
	my $deadline = time() + $EddyTest::wait_timeout;

	while (time() < $deadline)
	{
		return 1 if -e $received_file && slurp_file($received_file) =~ $pattern;
		Time::HiRes::usleep(20_000);
	}
	diag(slurp_file("$received_file.log.err"));
	return 0;
}

# Ends the consumer when it has received the changes of all transactions. The operations of certain records, and what they concern.
sub end_consumer
{
	my ($consumer, @kinds) = @_;
	my $kinds = join '|', @kinds;

	sql($node, "INSERT INTO s VALUES ('end of $consumers', 1, 1, '')");
	ok(wait_for_record(qr/"after":\{"k":"end of $consumers"/), 'the consumer has received all');
	stop_process($consumer, 'INT');
	$received{native} .= slurp_file($received_file);
	return join ', ', map { join ' ', $_->{op}, $_->{closed_until} // $_->{key}->{k} // $_->{gid} // () }
	  grep { $_->{op} =~ /^($kinds)$/ } map { $json->decode($_) } split /\n/, slurp_file($received_file);
}

# Progress of a subtransaction that is rolled back after it was sent in part: it is not sent, nor is it a reason for deletes.
my $consumer = start_consumer('streaming=on', 'progress=on', 'include-lsn=off', 'include-xid=off', 'include-timestamp=off', 'include-seq=off',
	'views=public.minutes, public.plain');
my $writer = $node->background_psql('postgres');
# as pg_eddy does it
$writer->query_safe(q{
BEGIN; SAVEPOINT a;
UPDATE eddy._view_progress SET closed_until = '2026-02-01', expired_until = '2026-02-01' WHERE view = 'minutes'::regclass;
INSERT INTO timed SELECT 'rolled back' || i, '2026-01-01 03:00:00Z' FROM generate_series(1, 900) i});
ok(wait_for_record(qr/"subxid"/), 'a part of the subtransaction is sent');
$writer->query_safe(q{
ROLLBACK TO a;
INSERT INTO timed SELECT 'kept' || i, '2026-01-01 03:00:00Z' FROM generate_series(1, 900) i;
DELETE FROM minutes WHERE k = 'kept1';
COMMIT;
DELETE FROM minutes WHERE k = 'kept2'});
$writer->quit;
is( end_consumer($consumer, 'd', 'p', 'stream_abort', 'stream_commit'), 'stream_abort, d kept1, stream_commit, p 2026-01-01T03:00:00+00:00, d kept2',
	'progress of a subtransaction that was rolled back has no effect');

# A prepared transaction that was rolled back before it is decoded, of which the server passes a part: what is pending of it is dropped. A
# value of this type would require a transaction, which the server has left.
advance();
$lsn = sql($node, q{
CREATE TABLE unread (a int);
INSERT INTO hand VALUES (5, '4294967295');
BEGIN; INSERT INTO hand VALUES (6, '4294967295'); INSERT INTO unread VALUES (1); PREPARE TRANSACTION 'r'; ROLLBACK PREPARED 'r';
INSERT INTO hand VALUES (7, '4294967295');
SELECT pg_logical_emit_message(true, 'test', '')});
IPC::Run::run([ $node->installed_command('pg_recvlogical'), '-d', $node->connstr('postgres'), '-S', 's', '--start', '-f', '-',
	'--no-loop', '-E', $lsn, '-o', 'views=public.hands', '-o', 'two-phase=on' ], '>', \$out, '2>', \$result);
is($result, '', 'two-phase: a transaction that was rolled back before does not end the connection');
is(join(' ', map { ($_->{op}, $_->{key}->{k} // ()) } map { $json->decode($_) } split /\n/, $out), 'e 5 rollback_prepared e 7', '... and is not sent');
$received{native} .= $out;

#
# All records that were received
#

foreach my $format ('native', 'upsert', 'debezium')
{
	my $result = '';
	my $valid = IPC::Run::run(
		[ 'python3', "$EddyTest::root/test/validate_records", '--all', "$EddyTest::root/docs/schemas/$format.json" ],
		'<', \$received{$format}, '>', \$result, '2>&1');
	ok($valid, "all records of format $format are valid, and there are records of all kinds") or diag($result);
}

$node->stop;
done_testing();
