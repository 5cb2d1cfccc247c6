# 049_suspend.pl: a view that can no longer be maintained does not stop the sources of its stream.
#
# The owner of one view loses the TRIGGER privilege, and the owner of another SELECT on a joined table,
# while the worker consumes. The worker suspends both views and continues, and the third view
# counts every message. After the privileges are granted again, the views are rebuilt.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $broker = start_broker();
$broker->create_topic('orders', 2);
my $node = new_node('suspend');
attach_server($node, $broker->address);

sql($node, q{
CREATE ROLE guest;
CREATE SCHEMA guests AUTHORIZATION guest;
CREATE UNLOGGED TABLE orders (id bigint, k text);
CREATE TABLE names (k text PRIMARY KEY, name text);
INSERT INTO names VALUES ('a', 'ann'), ('b', 'bob');
SELECT eddy.create_stream('orders');
GRANT SELECT, TRIGGER ON orders TO guest;
GRANT SELECT ON names TO guest;
SELECT eddy.create_continuous_view('counts', 'SELECT k, count(*) FROM orders GROUP BY k');
SET ROLE guest;
SELECT eddy.create_continuous_view('guests.named', 'SELECT name, count(*) FROM orders JOIN names USING (k) GROUP BY name',
	on_error => 'stop');
RESET ROLE;
SELECT eddy.attach_kafka('orders', server => 'kafka', topic => 'orders', on_error => 'stop');
});

my $id = 0;

# Produces n messages and waits until they are consumed.
sub send_orders
{
	my ($n) = @_;

	$broker->produce('orders',
		map { $id++; [ $id % 2, undef, sprintf('{"id": %d, "k": "%s"}', $id, $id % 2 ? 'a' : 'b') ] }
		  1 .. $n);
	wait_for_consumed($node, $broker, 'orders');
}

# Returns the counts of all rows and of the guest's view, and the state of the guest's view.
sub state_of_views
{
	return $node->safe_psql('postgres', q{
SELECT (SELECT sum(count) FROM counts), (SELECT sum(count) FROM guests.named),
	(SELECT state || coalesce(': ' || error, '') FROM eddy.continuous_views WHERE view = 'guests.named'::regclass)});
}

send_orders(10);
is(state_of_views(), '10|10|running', 'both views are maintained');

foreach my $case (
	[ 'TRIGGER ON orders', 'permission denied for stream "orders"' ],
	[ 'SELECT ON names', 'permission denied for table names' ],
	[ 'SELECT ON orders', 'permission denied for table orders' ])
{
	my ($privilege, $error) = @$case;
	my $before = $id;

	sql($node, "REVOKE $privilege FROM guest");
	send_orders(6);
	is(state_of_views(), "$id|$before|suspended: $error",
		"without $privilege the view is suspended, and the other view is maintained");
	wait_for_state($node, 'orders', 'running');
	send_orders(4);
	is(state_of_views(), "$id|$before|suspended: $error", 'later rows are not counted in the suspended view');
	sql($node, "GRANT $privilege TO guest; SET ROLE guest; SELECT eddy.resume('guests.named')");
	is(state_of_views(), "$id|$id|running", 'the view is rebuilt from the staged rows');
}

is($node->safe_psql('postgres', 'SELECT count(*) FROM eddy.dead_letters'), 0, 'no message is rejected');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal/, 'nothing has crashed');

done_testing();
