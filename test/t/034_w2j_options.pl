# 034_w2j_options.pl: each of the 25 options of wal2json, with each kind of value, against wal2json itself.
#
# The slots of both plugins decode the same WAL: changes of a view, and the same changes of a table with its columns
# and its key. For each option and both format versions, either both plugins refuse the value, or they send the same
# bytes. Only the names of the tables' schemas differ, and the positions of changes, as the view and the table are
# changed one after the other. 034_wal2json compares random changes of many types with random options.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('options', 'autovacuum = off');

plan skip_all => 'wal2json is not installed' unless -e $node->config_data('--pkglibdir') . '/wal2json.so';

$node->safe_psql('postgres',
	'ALTER SYSTEM SET output_plugin_libraries = pgoutput, test_decoding, pg_eddy_cdc, pg_eddy_wal2json, wal2json')
  if sql($node, q{SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'});
$node->reload;

#
# The WAL: a view with a key and without, a table that can be truncated, and their mirrors in schema m
#

my $id = '0123456789abcdef' x 2;
sql($node, qq{
CREATE DOMAIN posint AS int CHECK (value > 0);
CREATE UNLOGGED TABLE s (k posint, name varchar(20), v int, f float8, n numeric(10,2), b boolean, t text, ba bytea, o oid);
SELECT eddy.create_stream('s');
SELECT eddy.create_continuous_view('v', \$\$ SELECT name, k, sum(v) AS total, max(f) AS f, avg(n) AS mean, bool_or(b) AS b, max(t) AS t,
	max(o) AS o FROM s GROUP BY k, name HAVING sum(v) > 0 \$\$);
SELECT eddy.create_continuous_view('one', 'SELECT count(*) AS n, max(n) AS n2 FROM s');
CREATE TABLE hand (a int, ba bytea, n numeric, PRIMARY KEY (a));
CREATE VIEW "Hand" AS SELECT * FROM hand;
SECURITY LABEL FOR pg_eddy ON TABLE hand IS '2 $id rows columns 1 2 3 keys 1';
SECURITY LABEL FOR pg_eddy ON VIEW "Hand" IS '2 $id view';
ALTER TABLE hand REPLICA IDENTITY FULL;

CREATE SCHEMA m;
CREATE TABLE m.v AS SELECT * FROM v WHERE false;
ALTER TABLE m.v ADD PRIMARY KEY (k, name);
ALTER TABLE eddy._v_state ALTER k SET NOT NULL, ALTER name SET NOT NULL;
CREATE TABLE m.one AS SELECT * FROM one;
ALTER TABLE m.one REPLICA IDENTITY FULL;
CREATE TABLE m."Hand" (LIKE hand, PRIMARY KEY (a));

SELECT pg_replication_origin_create('elsewhere'), pg_replication_origin_create('far');
SELECT pg_create_logical_replication_slot('ours', 'pg_eddy_wal2json'), pg_create_logical_replication_slot('theirs', 'wal2json');
});

# One row of the stream changes "one", and one group of "v".
my $mirror = q{UPDATE m.one SET (n, n2) = (SELECT * FROM one);};
my @rows = (
	q{INSERT INTO s VALUES (1, 'a', 5, 1.5, 2.25, true, E'x"\\\\\\n', NULL, 4000000000)}, q{INSERT INTO m.v SELECT * FROM v WHERE k = 1},
	q{INSERT INTO s VALUES (2, 'é', 1, 'NaN', 'NaN', NULL, NULL, NULL, 1)}, q{INSERT INTO m.v SELECT * FROM v WHERE k = 2},
	q{INSERT INTO s VALUES (3, 'b', 1, '-Infinity', 1, false, '', NULL, NULL)}, q{INSERT INTO m.v SELECT * FROM v WHERE k = 3},
	q{INSERT INTO s VALUES (1, 'a', 1, 2.5, NULL, false, 'y', NULL, NULL)},
	q{UPDATE m.v SET (total, f, mean, b, t, o) = (SELECT total, f, mean, b, t, o FROM v WHERE k = 1) WHERE k = 1},
	q{INSERT INTO s VALUES (3, 'b', -1, 0, 0, false, '', NULL, NULL)}, q{DELETE FROM m.v WHERE k = 3});
my $script = '';
while (my ($change, $same) = splice @rows, 0, 2)
{
	$script .= "BEGIN; $change; $same; $mirror COMMIT;\n";
}
sql($node, "$script
BEGIN; INSERT INTO hand VALUES (1, '\\x5c0041', 1e20); INSERT INTO m.\"Hand\" TABLE hand; COMMIT;
BEGIN; TRUNCATE hand; TRUNCATE m.\"Hand\"; COMMIT;
SELECT pg_logical_emit_message(true, 'other', 'text \"'), pg_logical_emit_message(true, 'p\"', ''), pg_logical_emit_message(false, 'other', 'x');
CREATE TABLE nothing (); DROP TABLE nothing;");
foreach my $origin ('elsewhere', 'far')
{
	sql($node, "SELECT pg_replication_origin_session_setup('$origin');
BEGIN; INSERT INTO s VALUES (2, 'é', 2, 1, 1, true, '$origin', NULL, 1);
UPDATE m.v SET (total, f, mean, b, t) = (SELECT total, f, mean, b, t FROM v WHERE k = 2) WHERE k = 2; $mirror
SELECT pg_logical_emit_message(true, 'other', '$origin'); COMMIT");
}

#
# The options
#

# All 25, each with the values that are compared. undef is the option without a value.
my @boolean = (undef, 'on', 'off', 'true', 'FALSE', '1', '0', 'yes', 'n', 'maybe', '2', '', ' on');
my @tables = (undef, '', ' ', '*.*', 'public.*', 'public.v', '*.v', '*.one,public.v', ' public.one , *.Hand ', 'public.\v', 'PUBLIC.v', '*.\*',
	'pub*.v', 'public.v,', ',', 'v', '.v', 'public.', 'public.v public.one', 'public.v.x', '*.v.*', "\n*.v\t,\n*.one");
my @prefixes = (undef, '', ' ', 'other', 'p"', 'other,p"', ' other , p" ', 'OTHER', 'o', '*', 'other,', ',', 'a b', '\other', "other\t,\np\"");
my %values = (
	'actions' => [ undef, '', 'insert', 'update', 'delete', 'truncate', 'insert,delete', ' update , truncate ', 'insert,update,delete,truncate',
		'INSERT', 'insert,', ',', 'remove', 'insert delete' ],
	'add-msg-prefixes' => \@prefixes,
	'add-tables' => \@tables,
	'filter-msg-prefixes' => \@prefixes,
	'filter-origins' => [ undef, '', '0', '1', '2', '1,2', ' 2 , 1 ', '3', '1 2' ],
	'filter-tables' => \@tables,
	'format-version' => [ undef, '1', '2', ' 2', '0', '3', '-1', '', 'two', '2x', '99999999999' ],
	'include-unchanged-toast' => [ undef, 'on', 'off', '1' ],
	map { $_ => \@boolean } 'include-column-positions', 'include-default', 'include-domain-data-type', 'include-lsn', 'include-not-null',
	'include-origin', 'include-pk', 'include-schemas', 'include-timestamp', 'include-transaction', 'include-type-oids', 'include-types',
	'include-typmod', 'include-xids', 'numeric-data-types-as-string', 'pretty-print', 'write-in-chunks');
is(scalar keys %values, 25, 'all options of wal2json');

# wal2json before 2.6 does not have this one.
my ($status) = $node->psql('postgres', q{SELECT FROM pg_logical_slot_peek_changes('theirs', NULL, NULL, 'numeric-data-types-as-string', 'on')});
delete $values{'numeric-data-types-as-string'} if $status != 0;

# The arguments for both plugins, which see the same tables: "Hand", one and v, in schema public or m.
sub arguments
{
	my ($plugin, @options) = @_;

	push @options, 'add-tables', 'public.*' unless grep { defined && $_ eq 'add-tables' } @options;
	if ($plugin eq 'theirs')
	{
		foreach my $i (grep { $_ % 2 == 0 && $options[$_] =~ /tables$/ } 0 .. $#options)
		{
			my $value = \$options[ $i + 1 ];
			$$value =~ s/\bpublic\b/m/g if defined $$value;
			# its tables with names of views are in schema m only
			$$value =~ s/\*\.\*/m.*/g if defined $$value && $options[$i] eq 'add-tables';
		}
	}
	return @options;
}

sub normalize
{
	my ($plugin, $output) = @_;

	$output =~ s/("schema": ?)"m"/$1"public"/g if $plugin eq 'theirs';
	$output =~ s/("schema": ?)"m"/$1"public"/g;
	# positions of changes, but not those of the begin and the end of transactions
	$output =~ s/^(\{"action":"[IUDTM]".*?"lsn":")[^"]+/$1/mg;
	# wal2json writes a comma before the only element, if the transaction before had changes
	$output =~ s/("change": ?\[\s*),\{/$1\{/g;
	return $output;
}

# The results of options with values, in one session: "refused" or what is sent.
my @cases = map { my $name = $_; map { [ $name, $_ ] } grep { defined } @{ $values{$name} } } sort keys %values;
my %results;
foreach my $plugin ('ours', 'theirs')
{
	my $queries = '';
	foreach my $case (@cases)
	{
		foreach my $version (1, 2)
		{
			next if $version == 1 && $case->[0] eq 'format-version';
			my @options = arguments($plugin, $case->[0] eq 'format-version' ? () : ('format-version', $version), @$case);
			my $list = join ', ', map { "'" . s/'/''/gr . "'" } @options;
			$queries .= "SELECT data FROM pg_logical_slot_peek_changes('$plugin', NULL, NULL, $list);\n\\echo end :ERROR\n";
		}
	}
	$node->psql('postgres', $queries, stdout => \my $out, stderr => \my $err, on_error_stop => 0);
	# each query's output is followed by a line "end true" if it failed, or else "end false"
	while ($out =~ /\G(.*?)^end (true|false)(?:\n|\z)/gms)
	{
		push @{ $results{$plugin} }, $2 eq 'true' ? 'refused' : normalize($plugin, $1);
	}
}
my $at = 0;
foreach my $case (@cases)
{
	foreach my $version (1, 2)
	{
		next if $version == 1 && $case->[0] eq 'format-version';
		# a pattern without a schema or a table, which matches nothing, is an error of pg_eddy_wal2json only
		my $expected = $case->[1] =~ /^(\.v|public\.)$/ ? 'refused' : $results{theirs}[$at];
		is($results{ours}[$at], $expected, "version $version, $case->[0] = \"$case->[1]\"");
		$at++;
	}
}
is(scalar @{ $results{$_} }, $at, "results of $_") foreach 'ours', 'theirs';

# Without a value, which only the streaming protocol can express
sub receive
{
	my ($plugin, @options) = @_;
	my ($out, $err);
	my $end = sql($node, 'SELECT pg_current_wal_insert_lsn()');
	my @list = arguments($plugin, @options);
	my @arguments;

	while (my ($name, $value) = splice @list, 0, 2)
	{
		push @arguments, '-o', defined $value ? "$name=$value" : $name;
	}
	sql($node, "SELECT pg_copy_logical_replication_slot('$plugin', 'copy')");
	my $status = IPC::Run::run([ $node->config_data('--bindir') . '/pg_recvlogical', '-d', $node->connstr('postgres'), '-S', 'copy',
			'--start', '--no-loop', '-E', $end, '-f', '-', @arguments ],
		'<', '/dev/null', '>', \$out, '2>', \$err);
	wait_until($node, "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'copy'", 'the slot is free', 30);
	sql($node, "SELECT pg_drop_replication_slot('copy')");
	return $status ? normalize($plugin, $out) : 'refused';
}

foreach my $name (sort grep { !defined $values{$_}[0] } keys %values)
{
	# these two have no effect on version 2
	my $version = $name =~ /^(pretty-print|write-in-chunks)$/ ? 1 : 2;
	my @options = ($name eq 'format-version' ? () : ('format-version', $version), $name, undef);
	my ($ours, $theirs) = map { receive($_, @options) } 'ours', 'theirs';
	is($ours, $theirs, "version $version, $name without a value");
}

# What is compared is not empty.
like($results{ours}[ (grep { $cases[ $_ / 2 ][0] eq 'actions' } 0 .. $at - 1)[0] ], qr/^\{"change":\[/, 'there are changes to compare');

# Any role can write messages with a prefix of any length, whose text would not fit into a message of the protocol.
sql($node, q{SELECT pg_replication_slot_advance('ours', pg_current_wal_insert_lsn());
SELECT pg_logical_emit_message(true, repeat(E'\x01', 180000000), 'content')});
is( sql($node, q{SELECT string_agg(right(data, 34), ' ') FROM pg_logical_slot_get_changes('ours', NULL, NULL, 'format-version', '2',
		'include-transaction', 'off')}),
	'\\u0001\\u0001","content":"content"}', 'a long prefix is cut');

$node->stop;
done_testing();
