# 042_poison.pl: messages that cannot be processed do not affect other messages.
#
# Each malformed message becomes exactly one dead letter with its topic, partition, offset, key, headers,
# bytes and error; the valid messages around it are counted in the views. The policies skip and stop.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = start_broker();
my $node = new_node('poison');
attach_server($node, $broker->address);

my $columns =
  q{id bigint NOT NULL, small smallint CHECK (small <> 13), flag boolean, amount numeric(6,2),
	ratio double precision, name varchar(5), day date, at timestamptz, tag uuid,
	bin bytea, doc jsonb, list integer[],
	mood mood, score score, query tsquery, words tsvector, path jsonpath, relation regclass,
	type regtype, role regrole, markup xml, span int4range, network inet, mask bit(4),
	twice bigint GENERATED ALWAYS AS (id * 2) STORED};
sql($node, q{
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN score AS integer CHECK (VALUE BETWEEN 0 AND 10);
});

sub new_stream
{
	my ($name, $on_error) = @_;

	$broker->create_topic($name);
	sql($node, "CREATE UNLOGGED TABLE $name ($columns); SELECT eddy.create_stream('$name')");
	sql($node,
		qq{SELECT eddy.create_continuous_view('${name}_sum',
			'SELECT count(*) AS n, sum(id) AS ids FROM $name')}
	);
	sql($node,
		qq{SELECT eddy.attach_kafka('$name', server => 'kafka', topic => '$name',
			on_error => '$on_error')}
	);
	return;
}

# Name of the case, expected SQLSTATE (a pattern), bytes of the message.
my $long = 'x' x 200_000;
my @cases = (
	[ 'empty message', '22', '' ],
	[ 'one byte', '22', '{' ],
	[ 'blanks', '22', '   ' ],
	[ 'null', '22', 'null' ],
	[ 'number', '22', '42' ],
	[ 'string', '22', '"text"' ],
	[ 'array', '22', '[{"id": 1}]' ],
	[ 'truncated object', '22', '{"id": 1' ],
	[ 'truncated string', '22', '{"id": 1, "name": "ab' ],
	[ 'truncated literal', '22', '{"id": 1, "flag": tru' ],
	[ 'missing colon', '22', '{"id" 1}' ],
	[ 'missing comma', '22', '{"id": 1 "small": 1}' ],
	[ 'trailing comma', '22', '{"id": 1,}' ],
	[ 'single quotes', '22', "{'id': 1}" ],
	[ 'trailing text', '22', '{"id": 1} x' ],
	[ 'two documents', '22', '{"id": 1}{"id": 2}' ],
	[ 'broken value that no column takes', '22', '{"id": 1, "junk": {"a": [1, 2,, 3]}}' ],
	[ 'broken literal that no column takes', '22', '{"id": 1, "junk": nul}' ],
	[ 'broken escape that no column takes', '22', '{"id": 1, "junk": "\q"}' ],
	[ 'leading zero that no column takes', '22', '{"id": 1, "junk": 01}' ],
	[ 'deep nesting', '22|54', '{"id": 1, "doc": ' . '[' x 10_000 . ']' x 10_000 . '}' ],
	[
		'deep nesting that no column takes',
		'22|54',
		'{"id": 1, "junk": ' . '[' x 10_000 . ']' x 10_000 . '}'
	],
	[ 'invalid UTF-8', '22', "{\"id\": 1, \"name\": \"a\xc3\x28\"}" ],
	[ 'overlong UTF-8', '22', "{\"id\": 1, \"name\": \"\xc0\xaf\"}" ],
	[ 'raw NUL', '22', "{\"id\": 1, \"name\": \"a\x00\"}" ],
	[ 'raw control character', '22', "{\"id\": 1, \"name\": \"a\x01\"}" ],
	[ 'escaped NUL', '22', '{"id": 1, "name": "a\u0000b"}' ],
	[ 'escaped NUL in jsonb', '22', '{"id": 1, "doc": {"a": "\u0000"}}' ],
	[ 'lone surrogate', '22', '{"id": 1, "name": "\ud83d"}' ],
	[ 'reversed surrogates', '22', '{"id": 1, "name": "\ude00\ud83d"}' ],
	[ 'not only bytes of text', '22', join('', map { chr } 0 .. 255) ],
	[ 'missing NOT NULL column', '23502', '{"small": 1}' ],
	[ 'NULL for a NOT NULL column', '23502', '{"id": null}' ],
	[ 'empty object', '23502', '{}' ],
	[ 'CHECK violation', '23514', '{"id": 1, "small": 13}' ],
	[ 'domain violation', '23514', '{"id": 1, "score": 11}' ],
	[ 'wrong enum label', '22P02', '{"id": 1, "mood": "angry"}' ],
	[ 'text for an integer', '22', '{"id": "one"}' ],
	[ 'boolean for an integer', '22', '{"id": true}' ],
	[ 'object for an integer', '22', '{"id": {"a": 1}}' ],
	[ 'fraction for an integer', '22', '{"id": 1.5}' ],
	[ 'smallint overflow', '22003', '{"id": 1, "small": 32768}' ],
	[ 'bigint overflow', '22003', '{"id": 9223372036854775808}' ],
	[ 'twenty digits', '22003', '{"id": 12345678901234567890}' ],
	[ 'overflow in a generated column', '22003', '{"id": 9223372036854775807}' ],
	[ 'numeric overflow', '22003', '{"id": 1, "amount": 123456.78}' ],
	[ 'double overflow', '22', '{"id": 1, "ratio": 1e400}' ],
	[ 'NaN as a literal', '22', '{"id": 1, "ratio": NaN}' ],
	[ 'text too long', '22001', '{"id": 1, "name": "123456"}' ],
	[ 'text much too long', '22001', "{\"id\": 1, \"name\": \"$long\"}" ],
	[ 'month 13', '22', '{"id": 1, "day": "2026-13-01"}' ],
	[ '30 February', '22', '{"id": 1, "day": "2026-02-30"}' ],
	[ 'hour 25', '22', '{"id": 1, "at": "2026-01-01T25:00:00Z"}' ],
	[ 'wrong zone', '22', '{"id": 1, "at": "2026-01-01T00:00:00+99:99"}' ],
	[ 'year out of range', '22', '{"id": 1, "at": "294277-01-01T00:00:00Z"}' ],
	[ 'empty timestamp', '22', '{"id": 1, "at": ""}' ],
	[ 'wrong uuid', '22P02', '{"id": 1, "tag": "not-a-uuid"}' ],
	[ 'wrong bytea', '22', '{"id": 1, "bin": "\\\\xZZ"}' ],
	[ 'text in an integer array', '22P02', '{"id": 1, "list": [1, "two"]}' ],
	[ 'wrong tsquery', '42601', '{"id": 1, "query": "secret & & secret"}' ],
	[ 'wrong tsvector', '42601', q({"id": 1, "words": "'secret"}) ],
	[ 'wrong jsonpath', '42601', '{"id": 1, "path": "$.secret["}' ],
	[ 'regclass without a relation', '42P01', '{"id": 1, "relation": "secret"}' ],
	[ 'regtype without a type', '42704', '{"id": 1, "type": "secret"}' ],
	[ 'regrole without a role', '42704', '{"id": 1, "role": "secret"}' ],
	[ 'wrong XML', '2200', '{"id": 1, "markup": "<secret>"}' ],
	[ 'wrong range', '22', '{"id": 1, "span": "[secret,2)"}' ],
	[ 'wrong address', '22P02', '{"id": 1, "network": "secret"}' ],
	[ 'wrong bit string', '22', '{"id": 1, "mask": "secret"}' ],
	[ 'object for an array', '22', '{"id": 1, "list": {"a": 1}}' ],
	[ 'ragged array', '22', '{"id": 1, "list": [[1, 2], [3]]}' ],
	[ 'message for a schema registry', '22P02', "\x00\x00\x00\x00\x01{\"id\": 1}" ],
	[ 'Avro', '22P02', "\x00\x00\x00\x00\x01\x02\xf6\x0eabc" ],
	[ 'number for a timestamp', '22007', '{"id": 1, "at": 1767225600000}' ],
	[ 'digits for a timestamp', '22007', '{"id": 1, "at": "1767225600000"}' ],
	[ 'number for a date', '22007', '{"id": 1, "day": 20000}' ],);

#
# dead_letter
#

new_stream('letters', 'dead_letter');
my @messages;
foreach my $i (0 .. $#cases)
{
	# a valid message before each malformed one, and some tombstones
	push @messages, [ 0, "good $i", "{\"id\": $i, \"name\": \"ok\"}" ];
	push @messages, [ 0, "bad $i", $cases[$i][2], "case=$i,seen=once" ];
	push @messages, [ 0, "gone $i", undef ] if $i % 5 == 0;
}
$broker->produce('letters', @messages);
wait_for_consumed($node, $broker, 'letters');

my $count = @cases;
is( sql($node, 'SELECT n, ids FROM letters_sum'),
	$count . '|' . ($count * ($count - 1) / 2),
	'all valid messages are counted once');
is(sql($node, q{SELECT count(*) FROM letters}), $count, 'all valid messages are stored in the stream');
is(sql($node, q{SELECT count(*) FROM eddy.dead_letters WHERE stream = 'letters'::regclass}),
	$count, 'the number of dead letters is that of malformed messages');
is( sql($node, q{SELECT rejected, skipped FROM eddy.partitions WHERE topic = 'letters'}),
	join('|', $count, grep({ $_ % 5 == 0 } 0 .. $#cases) + 0),
	'rejected messages and tombstones are counted');
is(sql($node, q{SELECT state, error FROM eddy.sources WHERE topic = 'letters'}),
	'running|', 'the source still runs');

my %offset;    # offset of each malformed message
my $at = 0;
$offset{ $_->[1] } = $at++ foreach @messages;
foreach my $i (0 .. $#cases)
{
	my ($name, $sqlstate, $bytes) = @{ $cases[$i] };
	my $row = sql(
		$node, qq{
SELECT count(*), min(topic), min(partition), min("offset"), min(sqlstate) ~ '^($sqlstate)',
	bool_and(payload = decode('@{[ unpack 'H*', $bytes ]}', 'hex')),
	bool_and(headers::text ~ 'once'),
	bool_and(error <> '' AND view IS NULL)
FROM eddy.dead_letters WHERE key = 'bad $i'}) if length $bytes < 50_000;
	next unless defined $row;
	is($row, "1|letters|0|$offset{\"bad $i\"}|t|t|t|t", "dead letter: $name")
	  or diag(
		sql($node,
			"SELECT sqlstate, error, headers FROM eddy.dead_letters WHERE key = 'bad $i'"));
}
is( sql($node,
		q{SELECT count(*) FROM eddy.dead_letters
			WHERE octet_length(payload) > 200000 AND error !~ 'xxxxxxxxxx'}
	),
	'1',
	'a long message is stored completely, and its content is not in the error');
is(sql($node, q{SELECT count(*) FROM eddy.dead_letters WHERE error ~ 'secret'}),
	'0', 'no error quotes the content of its message');

# errors that say what to do
is( sql($node, q{SELECT count(*) FROM eddy.dead_letters
		WHERE error = 'message is not valid JSON: it begins with a zero byte, as messages for a schema registry do'}),
	'3', 'messages for a schema registry are recognized');
is( sql($node, q{SELECT count(*) FROM eddy.dead_letters
		WHERE error ~ '^invalid value for column "(at|day)" of type .*: a number requires the option "timestamps"$'}),
	'3', 'numbers for times are recognized');

#
# skip
#

new_stream('skipping', 'skip');
$broker->produce('skipping', @messages);
wait_for_consumed($node, $broker, 'skipping');
is( sql($node, 'SELECT n, ids FROM skipping_sum'),
	$count . '|' . ($count * ($count - 1) / 2),
	'skip: all valid messages are counted');
is(sql($node, q{SELECT count(*) FROM eddy.dead_letters WHERE stream = 'skipping'::regclass}),
	'0', 'skip: no dead letters');
is( sql($node, q{SELECT rows, rejected, skipped FROM eddy.partitions WHERE topic = 'skipping'}),
	join('|', scalar(@messages), 0, @messages - $count),
	'skip: skipped messages are counted as skipped');

#
# stop
#

new_stream('stopping', 'stop');
$broker->produce(
	'stopping',
	[ 0, undef, '{"id": 1}' ],
	[ 0, undef, '{"id": "secret"}' ],
	[ 0, undef, '{"id": 3}' ]);
my $error = wait_for_state($node, 'stopping', 'stopped');
like($error, qr/stopping.*\b0\b.*\b1\b/s, 'stop: the error names topic, partition and offset');
unlike($error, qr/secret/, 'stop: the error does not contain the content');
is(sql($node, q{SELECT next_offset, rows FROM eddy.partitions WHERE topic = 'stopping'}),
	'1|1', 'stop: the offset is that of the message');
sql($node, q{SELECT eddy.resume('stopping')});
wait_for_state($node, 'stopping', 'stopped');
pass('stop: the source stops again at the same message after eddy.resume');
sql($node, q{SELECT eddy.seek('stopping', 'stopping', '{"0": 2}')});
wait_for_consumed($node, $broker, 'stopping');
is(sql($node, q{SELECT n, ids FROM stopping_sum}), '2|4', 'stop: eddy.seek skips the message');
wait_for_state($node, 'stopping', 'running');

# For all types and errors, the content of the message is not shown.
foreach my $case (grep { $_->[2] =~ /secret/ } @cases)
{
	my ($name, $sqlstate, $bytes) = @$case;
	my $next = sql($node,
		q{SELECT next_offset FROM eddy.partitions WHERE topic = 'stopping'});

	$broker->produce('stopping', [ 0, undef, $bytes ]);
	$error = wait_for_state($node, 'stopping', 'stopped');
	like($error, qr/offset $next: /, "stop: $name stops the source");
	unlike($error, qr/secret/, "stop: $name is not quoted");
	sql($node, qq{SELECT eddy.seek('stopping', 'stopping', '{"0": @{[ $next + 1 ]}}')});
	wait_for_state($node, 'stopping', 'running');
}
is(sql($node, q{SELECT n, ids FROM stopping_sum}), '2|4', 'stop: no malformed message was counted');

#
# A view that fails on a row does not affect other views
#

$broker->create_topic('division');
sql($node, q{
CREATE UNLOGGED TABLE division (id bigint, by integer);
SELECT eddy.create_stream('division');
});
foreach my $view (
	[ 'quotients', 'SELECT count(*) AS n, sum(id / by) AS q FROM division' ],
	[ 'plain', 'SELECT count(*) AS n, sum(id) AS ids FROM division' ])
{
	sql($node, "SELECT eddy.create_continuous_view('$view->[0]', '$view->[1]')");
}
sql($node, q{SELECT eddy.attach_kafka('division', server => 'kafka', topic => 'division')});
$broker->produce('division',
	map { [ 0, "k$_", "{\"id\": $_, \"by\": @{[ $_ % 10 ]}}" ] } 1 .. 1000);
wait_for_consumed($node, $broker, 'division');
is(sql($node, 'SELECT * FROM plain'), '1000|500500', 'the other view counts all rows');
is( sql($node, 'SELECT * FROM quotients'),
	sql($node, 'SELECT count(*), sum(id / by) FROM division WHERE by <> 0'),
	'the failing view counts all rows except those on which it fails');
is( sql($node,
		q{SELECT view, sqlstate, count(*), min("offset"), max("offset") FROM eddy.dead_letters
			WHERE stream = 'division'::regclass GROUP BY 1, 2}),
	'quotients|22012|100|9|999',
	'rows on which the view fails are its dead letters');

#
# Errors are attributed to a row by where they are raised, regardless of their SQLSTATE
#

$broker->create_topic('raising');
sql($node, q{
CREATE UNLOGGED TABLE raising (id bigint, kind text, CHECK (kind <> 'check' OR kind::int > 0));
SELECT eddy.create_stream('raising');
CREATE FUNCTION judge(kind text) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	CASE kind
		WHEN 'good' THEN RETURN 1;
		WHEN 'cast' THEN RETURN kind::int;
		WHEN 'no return' THEN NULL;
		WHEN 'assert' THEN ASSERT false, kind;
		WHEN 'allocation' THEN RETURN length(to_char(timestamp '2026-01-01', repeat('Y', 95000000)));
		WHEN 'raise' THEN RAISE EXCEPTION 'secret %', kind;
		WHEN 'serialization' THEN RAISE serialization_failure;
		WHEN 'deadlock' THEN RAISE deadlock_detected;
		WHEN 'lock' THEN RAISE lock_not_available;
		WHEN 'unique' THEN RAISE unique_violation;
		WHEN 'cancel' THEN RAISE query_canceled;
		WHEN 'shutdown' THEN RAISE admin_shutdown;
		WHEN 'memory' THEN RAISE out_of_memory;
		WHEN 'disk' THEN RAISE disk_full;
		WHEN 'input and output' THEN RAISE io_error;
		WHEN 'corruption' THEN RAISE data_corrupted;
		WHEN 'internal' THEN RAISE internal_error;
	END CASE;
END $$;
SELECT eddy.create_continuous_view('judged', 'SELECT count(*) AS n, sum(judge(kind)) AS s FROM raising');
SELECT eddy.create_continuous_view('unjudged', 'SELECT count(*) AS n, sum(id) AS ids FROM raising');
SELECT eddy.attach_kafka('raising', server => 'kafka', topic => 'raising');
});
my %raised = (
	'no case' => '20000',
	'cast' => '22P02',
	'no return' => '2F005',
	'assert' => 'P0004',
	'allocation' => 'XX000',
	'raise' => 'P0001',
	'serialization' => '40001',
	'deadlock' => '40P01',
	'lock' => '55P03',
	'unique' => '23505',
	'cancel' => '57014',
	'shutdown' => '57P01',
	'memory' => '53200',
	'disk' => '53100',
	'input and output' => '58030',
	'corruption' => 'XX001',
	'internal' => 'XX000');
my @kinds = sort keys %raised;
wait_for_state($node, 'raising', 'running');
my $pid = sql($node, q{SELECT pid FROM eddy.sources WHERE topic = 'raising'});

$broker->produce('raising',
	map { [ 0, $_, "{\"id\": 1, \"kind\": \"$_\"}" ], [ 0, undef, '{"id": 1, "kind": "good"}' ] }
	  @kinds);
wait_for_consumed($node, $broker, 'raising');
is(sql($node, 'SELECT * FROM judged'),
	join('|', scalar @kinds, scalar @kinds), 'raised errors: the view counts all other rows');
is( sql($node, 'SELECT * FROM unjudged'),
	join('|', 2 * @kinds, 2 * @kinds),
	'raised errors: the other view counts all rows');
is( sql($node,
		q{SELECT convert_from(key, 'UTF8'), view, sqlstate FROM eddy.dead_letters
			WHERE stream = 'raising'::regclass ORDER BY convert_from(key, 'UTF8') COLLATE "C"}),
	join("\n", map { "$_|judged|$raised{$_}" } @kinds),
	'raised errors: each is one dead letter with its SQLSTATE');
is( sql($node, q{SELECT state, error, pid FROM eddy.sources WHERE topic = 'raising'}),
	"running||$pid",
	'raised errors: the worker has not been restarted');

# the same in a constraint of the stream
$broker->produce('raising', [ 0, 'check', '{"id": 1, "kind": "check"}' ]);
wait_for_consumed($node, $broker, 'raising');
is( sql($node,
		q{SELECT view IS NULL, sqlstate, error FROM eddy.dead_letters
			WHERE stream = 'raising'::regclass AND key = 'check'}),
	't|22P02|evaluation failed with SQLSTATE 22P02',
	'an error in a constraint does not quote the value');

# A view with on_error => 'stop' makes the source wait, with an error that does not quote the message.
sql($node, q{SELECT eddy.create_continuous_view('strict',
	'SELECT sum(kind::int) AS s FROM raising WHERE kind <> $$good$$', on_error => 'stop')});
$broker->produce('raising', [ 0, undef, '{"id": 1, "kind": "secret"}' ]);
$error = wait_for_state($node, 'raising', 'waiting', 'strict');
like(
	$error,
	qr/partition 0, offset \d+: continuous view "strict" failed on a message: .*22P02/,
	'a view with on_error => stop: the error names view and message');
unlike($error, qr/secret/, 'a view with on_error => stop: the error does not quote the message');
unlike(slurp_file($node->logfile), qr/eddy source worker.*secret/, 'a view with on_error => stop: the log of the worker does not quote the message');
sql($node, q{DROP VIEW strict});
wait_for_consumed($node, $broker, 'raising');

# A batch that was cancelled during a lock wait is retried, and no message is rejected.
my $letters = sql($node, 'SELECT count(*) FROM eddy.dead_letters');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe(q{BEGIN; INSERT INTO raising VALUES (1, 'good')});
$broker->produce('raising', [ 0, undef, '{"id": 1, "kind": "good"}' ]);
wait_until($node,
	q{SELECT count(*) = 1 FROM pg_stat_activity a JOIN eddy.sources s ON s.pid = a.pid
		WHERE s.topic = 'raising' AND a.wait_event_type = 'Lock'},
	'the worker waits for the session');
is( sql($node, q{SELECT pg_cancel_backend(pid) FROM eddy.sources WHERE topic = 'raising'}),
	't', 'the batch is cancelled');
$session->query_safe('COMMIT');
$session->quit;
wait_for_consumed($node, $broker, 'raising');
is( sql($node, 'SELECT n - ' . (2 * @kinds) . ' FROM unjudged'),
	'3', 'the cancelled batch is applied once');
is(sql($node, 'SELECT count(*) FROM eddy.dead_letters'), $letters, 'the cancelled batch causes no dead letter');

# Replaying: after the cause was removed a message becomes the row that it would have been, with its metadata.
$broker->create_topic('replayed');
sql($node, q{
CREATE UNLOGGED TABLE replayed (id bigint CHECK (id < 100), divisor integer, k text, h jsonb, o bigint, t timestamptz);
SELECT eddy.create_stream('replayed', event_time => 't');
CREATE TABLE divisors (factor integer);
INSERT INTO divisors VALUES (0);
SELECT eddy.create_continuous_view('replayed_all', 'SELECT count(*) AS n, sum(id) AS ids FROM replayed');
SELECT eddy.create_continuous_view('replayed_divided',
	'SELECT count(*) AS n, sum(id / (divisor * factor)) AS s FROM replayed, divisors');
SELECT eddy.attach_kafka('replayed', server => 'kafka', topic => 'replayed',
	mapping => '{"k": "key", "h": "headers", "o": "offset", "t": "timestamp"}');
});
$broker->produce('replayed',
	[ 0, 'a', '{"id": 1, "divisor": 1}' ],
	[ 0, 'b', '{"id": 200, "divisor": 1}', 'trace=17' ],
	[ 0, 'c', '{"id": "no number"}' ],
	[ 0, undef, '{"id": 2, "divisor": 0}' ]);
wait_for_consumed($node, $broker, 'replayed');
my $replay = q{SELECT eddy.replay_dead_letters('replayed')};
my $replayed_letters = q{SELECT string_agg(coalesce(view::text, '') || ':' || "offset", ' ' ORDER BY "offset", view)
	FROM eddy.dead_letters WHERE stream = 'replayed'::regclass};
is( sql($node, $replayed_letters),
	'replayed_divided:0 :1 :2 replayed_divided:3', 'letters of the stream and of a view');
is(sql($node, $replay), '0', 'replaying without a change rejects them again');
is( sql($node, $replayed_letters),
	'replayed_divided:0 :1 :2 replayed_divided:3', 'they are the same letters');

sql($node, 'UPDATE divisors SET factor = 1; ALTER TABLE replayed DROP CONSTRAINT replayed_id_check');
# another letter arrives, and other messages, while a transaction that replays is rolled back
$session = $node->background_psql('postgres', on_error_stop => 0);
is($session->query("BEGIN; $replay"), '2', 'letters are replayed');
$session->query_safe('ROLLBACK');
$session->quit;
is(sql($node, 'SELECT n, ids FROM replayed_all'), '2|3', 'and not if the transaction is rolled back');
is(sql($node, $replay), '2', 'letters are replayed after the cause was removed');
is( sql($node, $replayed_letters), ':2 replayed_divided:3', 'the others remain');
is(sql($node, 'SELECT n, ids FROM replayed_all'), '3|203', 'the row of the stream is counted by all views');
is(sql($node, 'SELECT n, s FROM replayed_divided'), '2|201', 'that of a view by this view alone');
is( sql($node, q{SELECT k, h, o, t = (SELECT "timestamp" FROM eddy.dead_letters WHERE "offset" = 2 AND stream = 'replayed'::regclass)
		OR t > now() - interval '1 hour' FROM replayed WHERE id = 200}),
	'b|[["trace", "17"]]|1|t', 'the row has the metadata of its message');
sql($node, q{SELECT eddy.detach_kafka('replayed', 'replayed')});
(undef, undef, $error) = $node->psql('postgres', $replay);
like($error, qr/2 dead letters cannot be replayed/, 'letters of a source that is detached stay');
is(sql($node, $replayed_letters), ':2 replayed_divided:3', 'as they are');

done_testing();
