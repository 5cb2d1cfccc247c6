# 041_offsets.pl: start positions, seeking, and lost offsets.
#
# No message is skipped silently: if the broker no longer has the next message, the source stops with
# an error that names the range, and eddy.seek continues; or the offset is moved according to
# the policy of the source, with a dead letter.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = start_broker();
my $node = new_node('offsets');
attach_server($node, $broker->address);

# Creates a stream and attaches the topic of the same name, with additional arguments.
sub attach
{
	my ($name, $topic, $more) = @_;

	sql($node, "CREATE UNLOGGED TABLE $name (id bigint); SELECT eddy.create_stream('$name')");
	sql($node,
		qq{SELECT eddy.create_continuous_view('${name}_ids',
			'SELECT id, count(*) AS n FROM $name GROUP BY id')}
	);
	sql($node,
		qq{SELECT eddy.attach_kafka('$name', server => 'kafka', topic => '$topic'
			@{[ $more // '' ]})}
	);
	return;
}

sub ids_are
{
	my ($name, $want, $what) = @_;
	my $query =
	  "SELECT coalesce(string_agg(id || CASE WHEN n > 1 THEN 'x' || n ELSE '' END, ' '
		ORDER BY id), '') FROM ${name}_ids";

	wait_until($node, "SELECT ($query) = '$want'", $what);
	is(sql($node, $query), $want, $what);
	return;
}

sub error_of
{
	my ($topic) = @_;

	return sql($node, "SELECT error FROM eddy.sources WHERE topic = '$topic'");
}

#
# Start
#

$broker->create_topic('start', 2);
$broker->produce('start', map { [ $_ % 2, undef, "{\"id\": $_}" ] } 0 .. 9);
attach('at_earliest', 'start');
attach('at_latest', 'start', q{, start => 'latest'});
attach('at_offsets', 'start', q{, start_offsets => '{"0": 3, "1": 4}'});
ids_are('at_earliest', '0 1 2 3 4 5 6 7 8 9', 'earliest reads all existing messages');
ids_are('at_offsets', '6 8 9', 'start_offsets sets offsets by partition');
wait_until(
	$node,
	q{SELECT count(*) = 2 FROM eddy.partitions WHERE stream = 'at_latest'::regclass},
	'the latest offsets are stored');
$broker->produce('start', [ 0, undef, '{"id": 10}' ], [ 1, undef, '{"id": 11}' ]);
ids_are('at_latest', '10 11', 'latest reads later messages');

# "latest" is evaluated once, not at each start of the worker
sql($node, q{SELECT eddy.pause('at_latest')});
$broker->produce('start', [ 0, undef, '{"id": 12}' ]);
sql($node, q{SELECT eddy.resume('at_latest')});
ids_are('at_latest', '10 11 12', 'a later start continues from the stored offset');

# the broker would delete messages of that time
$broker->create_topic('times', 1, 'retention.ms=-1');
$broker->tool('produce', [ '-t', 'times', '-f', 'ptv' ],
	join '', map { "0\t" . (1767225600000 + $_ * 60000) . "\t{\"id\": $_}\n" } 0 .. 9);
attach('at_time', 'times', q{, start => '2026-01-01 00:05:00+00'});
ids_are('at_time', '5 6 7 8 9', 'a timestamp starts with the first message of that time');

#
# Seek
#

sql($node, q{SELECT eddy.seek('at_offsets', 'start', '{"0": 7}')});
ids_are('at_offsets', '6 8 9 10 11 12', 'seeking to the current offset has no effect');
sql($node, q{SELECT eddy.seek('at_offsets', 'start', '{"1": 5}')});
ids_are('at_offsets', '6 8 9 10 11x2 12', 'after seeking backwards, messages are read and counted again');
sql($node, q{BEGIN; SELECT eddy.seek('at_offsets', 'start', '{"1": 0}'); ROLLBACK});
$broker->produce('start', [ 0, undef, '{"id": 13}' ]);
ids_are('at_offsets', '6 8 9 10 11x2 12 13', 'a seek that is rolled back has no effect');

#
# Messages deleted by Kafka before they were read
#

$broker->create_topic('short');
$broker->produce('short', map { [ 0, undef, "{\"id\": $_}" ] } 0 .. 4);
attach('stopping', 'short');
attach('moving', 'short', q{, on_offset_lost => 'earliest'});
attach('jumping', 'short', q{, on_offset_lost => 'latest'});
ids_are($_, '0 1 2 3 4', "$_ reads existing messages") foreach qw(stopping moving jumping);
sql($node, "SELECT eddy.pause('$_')") foreach qw(stopping moving jumping);
wait_until(
	$node,
	q{SELECT count(*) = 0 FROM eddy.sources WHERE topic = 'short' AND pid IS NOT NULL},
	'the workers exit');
$broker->produce('short', map { [ 0, undef, "{\"id\": $_}" ] } 5 .. 9);
$broker->tool('delete-records', [ '-t', 'short', '-P', 0, '-o', 8 ]);
sql($node, "SELECT eddy.resume('$_')") foreach qw(stopping moving jumping);

my $stopped = q{FROM eddy.sources WHERE stream = 'stopping'::regclass};
wait_until($node, "SELECT state = 'stopped' $stopped", 'a source whose offset is lost stops');
like(sql($node, "SELECT error $stopped"),
	qr/\b5\b.*\b8\b/s, 'the error names the stored offset and the oldest available one');
is( sql($node, q{SELECT next_offset FROM eddy.partitions WHERE stream = 'stopping'::regclass}),
	'5',
	'the offset of a stopped source is unchanged');
ids_are('stopping', '0 1 2 3 4', 'a stopped source has read no messages');
restart_node($node);
wait_until($node, "SELECT state = 'stopped' $stopped", 'the source is still stopped after a crash');
sql($node, q{SELECT eddy.seek('stopping', 'short', '{"0": "earliest"}')});
ids_are('stopping', '0 1 2 3 4 8 9', 'eddy.seek starts the source');
is(sql($node, "SELECT error $stopped"), '', 'eddy.seek clears the error');

ids_are('moving', '0 1 2 3 4 8 9', 'on_offset_lost => earliest continues with the oldest available message');
is( sql($node,
		q{SELECT count(*), count(payload) FROM eddy.dead_letters
			WHERE stream = 'moving'::regclass AND error ~ '5.*7'}
	),
	'1|0',
	'earliest: a dead letter names the lost range');
$broker->produce('short', [ 0, undef, '{"id": 10}' ]);
ids_are('jumping', '0 1 2 3 4 10', 'on_offset_lost => latest continues with later messages');
is( sql($node,
		q{SELECT count(*), count(payload), count("timestamp") FROM eddy.dead_letters WHERE stream = 'jumping'::regclass}
	),
	'1|0|0',
	'latest: a dead letter names the lost range');

#
# A topic that is recreated with fewer messages than were read
#

$broker->create_topic('again');
$broker->produce('again', map { [ 0, undef, "{\"id\": $_}" ] } 0 .. 9);
attach('again', 'again');
ids_are('again', '0 1 2 3 4 5 6 7 8 9', 'the first topic is read');
sql($node, q{SELECT eddy.pause('again')});
wait_until(
	$node,
	q{SELECT count(*) = 0 FROM eddy.sources WHERE topic = 'again' AND pid IS NOT NULL},
	'the worker exits');
$broker->tool('delete-topic', [ '-t', 'again' ]);
wait_until_created('again');
$broker->produce('again', [ 0, undef, '{"id": 100}' ]);
sql($node, q{SELECT eddy.resume('again')});
like(wait_for_state($node, 'again', 'stopped'),
	qr/\b10\b/, 'a recreated topic stops the source');
sql($node, q{SELECT eddy.seek('again', 'again', '{"0": 0}')});
ids_are('again', '0 1 2 3 4 5 6 7 8 9 100', 'eddy.seek starts reading the recreated topic');

#
# A topic that is recreated with fewer partitions
#

sub read_fewer
{
	my ($name, $more) = @_;

	sql($node, qq{
CREATE UNLOGGED TABLE $name (id bigint, at timestamptz);
SELECT eddy.create_stream('$name', event_time => 'at');
SELECT eddy.create_continuous_view('${name}_ids', 'SELECT id, count(*) AS n FROM $name GROUP BY id');
SELECT eddy.attach_kafka('$name', server => 'kafka', topic => 'fewer', options => '{"workers": 2}'$more)});
	ids_are($name, '1 2', "$name reads the first topic");
	return;
}

$broker->create_topic('fewer', 2);
$broker->produce('fewer', map { [ $_ - 1, undef, qq({"id": $_, "at": "2026-01-01T00:00:00Z"}) ] } 1, 2);
read_fewer('sought', '');
read_fewer('moved', q{, on_offset_lost => 'earliest'});
my $pids = q{SELECT count(*) = 0 FROM eddy.sources WHERE topic = 'fewer' AND pid IS NOT NULL};
sql($node, "SELECT eddy.pause('$_')") foreach qw(sought moved);
wait_until($node, $pids, 'the workers exit');
$broker->tool('delete-topic', [ '-t', 'fewer' ]);
wait_until_created('fewer');
$broker->produce('fewer', map { [ 0, undef, qq({"id": $_, "at": "2026-01-02T00:00:00Z"}) ] } 3, 4, 5);
sql($node, "SELECT eddy.resume('$_')") foreach qw(sought moved);
wait_until($node, q{SELECT state = 'stopped' AND error ~ 'partition 1 .* no longer exists' FROM eddy.sources
	WHERE stream = 'sought'::regclass}, 'the source stops');
sql($node, q{SELECT eddy.seek('sought', 'fewer', '"earliest"')});
ids_are('sought', '1 2 3 4 5', 'eddy.seek starts reading the topic with fewer partitions');
# the offset of its partition 0 exists
ids_are('moved', '1 2 4 5', 'on_offset_lost continues with the other partition');
is(sql($node, q{SELECT partition, "offset", error ~ 'no longer exists' FROM eddy.dead_letters WHERE stream = 'moved'::regclass}),
	'1|1|t', '... and leaves a dead letter');
foreach my $name (qw(sought moved))
{
	wait_until($node, qq{SELECT eddy.watermark('$name') = '2026-01-02 00:00:00+00'},
		"$name: the missing partition does not hold the watermark");
	is(sql($node, qq{SELECT lag, idle FROM eddy.partitions WHERE stream = '$name'::regclass AND partition = 1}),
		'0|t', "$name: it has no lag");
	sql($node, qq{SELECT eddy.create_continuous_view('${name}_all', 'SELECT count(*) AS n FROM $name', start => 'earliest')});
	wait_until($node, 'SELECT count(*) = 0 FROM eddy.view_starts', "$name: a view is filled without it");
	is(sql($node, "TABLE ${name}_all"), 3, "$name: ... with the topic that exists");
}

# Recreates a topic whose deletion is in progress.
sub wait_until_created
{
	my ($topic) = @_;

	for (1 .. 100)
	{
		return if eval { $broker->create_topic($topic); 1; };
		Time::HiRes::sleep(0.1);
	}
	die "could not recreate topic $topic: $@";
}

done_testing();
