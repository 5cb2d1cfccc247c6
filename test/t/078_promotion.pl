# 078_promotion.pl: the watermark on a standby, and after its promotion.
#
# Sessions of a standby read the watermark while the primary raises it. After the promotion rows are judged by
# the watermark that was replicated last: windows that were closed on the primary remain final.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
configure_node($primary);
# only the launchers of the server and of pg_eddy: no database worker changes anything after the promotion
$primary->append_conf('postgresql.conf', 'max_worker_processes = 2');
$primary->start;
sql($primary, q{
CREATE EXTENSION pg_eddy;
CREATE UNLOGGED TABLE s (at timestamptz, v int);
SELECT eddy.create_stream('s', event_time => 'at', delay => '0');
SELECT eddy.create_continuous_view('minutes', $$SELECT w.window_end, count(*) AS n, sum(v) AS total
	FROM s, eddy.tumble(at, '1 minute') AS w GROUP BY w.window_end$$, emit => 'on_close', late => 'keep');
INSERT INTO s VALUES ('2026-01-01 00:00:10Z', 1), ('2026-01-01 00:01:00Z', 1);
});
$primary->backup('backup');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

my $watermark = q{SELECT to_char(eddy.watermark('s') AT TIME ZONE 'UTC', 'HH24:MI:SS')};
my $listed = q{SELECT to_char(watermark AT TIME ZONE 'UTC', 'HH24:MI:SS') FROM eddy.streams};
my $rows = q{SELECT string_agg(format('%s: %s rows, %s', to_char(window_end AT TIME ZONE 'UTC', 'HH24:MI'), n, total), '; ' ORDER BY window_end) FROM minutes};

sub catch_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}

catch_up();
is(sql($standby, $watermark), '00:01:00', 'the watermark on the standby');
is(sql($standby, $listed), '00:01:00', 'eddy.streams on the standby');

# a session that has read it before the watermark moves, and stays connected
my $session = $standby->background_psql('postgres');
is($session->query($watermark), '00:01:00', 'a session of the standby');

sql($primary, q{INSERT INTO s VALUES ('2026-01-01 00:10:00Z', 1)});
catch_up();
is(sql($standby, $watermark), '00:10:00', 'it follows rows of the primary');
is(sql($standby, $listed), '00:10:00', 'as it does in eddy.streams');
sql($primary, q{SELECT eddy.advance_watermark('s', '2026-01-01 00:11:30Z')});
catch_up();
is(sql($standby, $watermark), '00:11:30', '... and eddy.advance_watermark');
is($session->query($watermark), '00:11:30', '... also in the session');
my $final = '00:01: 1 rows, 1; 00:02: 1 rows, 1; 00:11: 1 rows, 1';
is(sql($standby, $rows), $final, 'the final rows are replicated');

$primary->stop('immediate');
$standby->promote;

is($session->query($watermark), '00:11:30', 'the watermark after the promotion, in the session');
$session->query_safe(q{INSERT INTO s VALUES ('2026-01-01 00:00:20Z', 10)});
$session->quit;
sql($standby, q{INSERT INTO s VALUES ('2026-01-01 00:10:20Z', 10), ('2026-01-01 00:11:40Z', 10)});
is(sql($standby, q{SELECT count(*) FROM eddy.late_rows}), 2, 'rows of windows that the primary has closed are late');
is(sql($standby, $watermark), '00:11:40', 'the watermark moves');
sql($standby, q{SELECT eddy.advance_watermark('s', '2026-01-01 00:20:00Z')});
is(sql($standby, $rows), "$final; 00:12: 1 rows, 10", 'each window has one final row, without the late ones');

$standby->stop;
done_testing();
