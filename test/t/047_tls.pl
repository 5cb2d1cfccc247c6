# 047_tls.pl: TLS and SASL/SCRAM with a real broker.
#
# A wrong certificate authority or password is shown in the state of the source, until the server or the
# user mapping is changed. No role can see credentials.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EddyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

#
# Certificates: an authority, the broker's certificate, and another authority
#

my $dir = PostgreSQL::Test::Utils::tempdir() . '/kafka';
my $tls = "$dir/tls";
mkdir $dir;
mkdir $tls;

sub openssl
{
	run_log([ 'openssl', @_ ]) or BAIL_OUT("openssl @_ failed");
	return;
}

my @new = ('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2');
openssl(@new, '-subj', "/CN=$_", '-keyout', "$tls/$_.key", '-out', "$tls/$_.pem")
  foreach qw(ca other);

# Signs a certificate of a broker, and creates the file that Kafka reads.
sub make_broker_certificate
{
	my ($name) = @_;

	openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=broker',
		'-keyout', "$tls/key.pem", '-out', "$tls/broker.csr");
	append_to_file("$tls/extension", "subjectAltName=$name\n");
	openssl(
		'x509', '-req', '-days', '2', '-in', "$tls/broker.csr",
		'-CA', "$tls/ca.pem", '-CAkey', "$tls/ca.key", '-CAcreateserial',
		'-extfile', "$tls/extension", '-out', "$tls/cert.pem");
	append_to_file("$tls/broker.pem", slurp_file("$tls/key.pem") . slurp_file("$tls/cert.pem"));
	unlink "$tls/extension";
	return;
}

make_broker_certificate('IP:127.0.0.1');
append_to_file("$tls/users", "eddy=righthorse\n");

my $broker = start_broker($dir);
my $ssl = slurp_file("$dir/address.ssl");
my $sasl = slurp_file("$dir/address.sasl_ssl");
chomp($ssl, $sasl);
my %ca = map { $_ => slurp_file("$tls/$_.pem") } qw(ca other);

my $node = new_node('tls', "log_statement = 'none'");
$broker->create_topic($_) foreach qw(encrypted secret);
$broker->produce($_, map { [ 0, undef, "{\"id\": $_}" ] } 1 .. 5) foreach qw(encrypted secret);

sub make_stream
{
	my ($name, $server) = @_;

	sql($node, "CREATE UNLOGGED TABLE $name (id bigint); SELECT eddy.create_stream('$name')");
	sql($node,
		"SELECT eddy.create_continuous_view('${name}_n', 'SELECT count(*) AS n FROM $name')");
	sql($node, "SELECT eddy.attach_kafka('$name', server => '$server', topic => '$name')");
	return;
}

sub count_is
{
	my ($name, $count, $what) = @_;

	ok(wait_until($node, "SELECT n = $count FROM ${name}_n", $what), $what);
	return;
}

sub waits_with
{
	my ($topic, $like, $what) = @_;

	like(wait_for_state($node, $topic, 'waiting', $like), qr/$like/, $what);
	return;
}

#
# TLS
#

my $quick = q{"reconnect.backoff.max.ms" '500'};
sql($node, qq{CREATE SERVER tls FOREIGN DATA WRAPPER eddy_kafka OPTIONS ("bootstrap.servers" '$ssl',
	"security.protocol" 'SSL', "ssl.ca.pem" '$ca{other}', $quick);
	CREATE USER MAPPING FOR CURRENT_USER SERVER tls});
make_stream('encrypted', 'tls');
waits_with('encrypted', 'certificate verify failed', 'a certificate of another authority is refused');
sql($node, qq{ALTER SERVER tls OPTIONS (SET "ssl.ca.pem" '$ca{ca}')});
sql($node, q{SELECT eddy.resume('encrypted')});
count_is('encrypted', 5, 'with the correct authority, messages are consumed through TLS');

#
# SASL, with SCRAM if the client supports it: librdkafka before 2.6.1 sends a nonce that Kafka 4 rejects
#

my ($major, $minor, $patch) = `kcat -V` =~ /librdkafka (\d+)\.(\d+)\.(\d+)/
  or BAIL_OUT('kcat does not show the version of librdkafka');
my $mechanism =
  $major * 10000 + $minor * 100 + $patch >= 20601 ? 'SCRAM-SHA-512' : 'PLAIN';
note "librdkafka $major.$minor.$patch, $mechanism";
sql($node,
	qq{CREATE SERVER scram FOREIGN DATA WRAPPER eddy_kafka OPTIONS ("bootstrap.servers" '$sasl',
	"security.protocol" 'SASL_SSL', "sasl.mechanism" '$mechanism', "ssl.ca.pem" '$ca{ca}', $quick);
	CREATE USER MAPPING FOR CURRENT_USER SERVER scram
		OPTIONS ("sasl.username" 'eddy', "sasl.password" 'wronghorse')});
make_stream('secret', 'scram');
waits_with('secret', 'uthentication', 'a wrong password is reported as such');
like(sql($node, q{SELECT sqlstate FROM eddy.sources WHERE topic = 'secret'}),
	qr/^28/, 'a wrong password has an SQLSTATE of class 28');
sql($node,
	q{ALTER USER MAPPING FOR CURRENT_USER SERVER scram OPTIONS (SET "sasl.password" 'righthorse')});
count_is('secret', 5, 'a corrected password is used automatically');

#
# Visibility of credentials
#

sql($node, 'CREATE ROLE regress_eddy_reader LOGIN; GRANT USAGE ON FOREIGN SERVER scram TO PUBLIC');
my $seen = sql(
	$node, q{SET ROLE regress_eddy_reader;
	SELECT to_jsonb(m)::text FROM pg_user_mappings m WHERE srvname = 'scram';
	SELECT to_jsonb(s)::text FROM eddy.sources s;
	SELECT to_jsonb(w)::text FROM eddy._workers() w;
	SELECT to_jsonb(f)::text FROM pg_foreign_server f;
	SELECT to_jsonb(a)::text FROM pg_stat_activity a});
unlike($seen, qr/horse/, 'a role with USAGE on the server cannot see the password');
my $all = sql($node, q{SELECT to_jsonb(s)::text FROM eddy.sources s});
unlike($all, qr/horse/, 'eddy.sources does not show the password');
$node->stop;
my $log = slurp_file($node->logfile);
unlike($log, qr/horse/, 'the server log does not contain the password');
$node->start;

#
# Only an administrator can disable the protection of TLS
#

my %weak = (
	'ssl.endpoint.identification.algorithm' => 'none',
	'ssl.cipher.suites' => 'HIGH:eNULL',
	'enable.ssl.certificate.verification' => 'false');
foreach my $option (sort keys %weak)
{
	my $command = qq{ALTER SERVER tls OPTIONS (ADD "$option" '$weak{$option}')};
	my ($ret, $out, $err) = $node->psql('postgres', $command);

	like($err, qr/value of option "\Q$option\E" is not allowed/, "$option is refused");
}
sql($node, 'ALTER SYSTEM SET pg_eddy.allow_insecure_connections = on');
sql($node, 'SELECT pg_reload_conf()');
wait_until($node, "SELECT current_setting('pg_eddy.allow_insecure_connections') = 'on'",
	'the setting is on');
sql($node,
	q{ALTER SERVER tls OPTIONS (ADD "ssl.endpoint.identification.algorithm" 'none')});
pass('the setting allows the option');
sql($node, q{SELECT eddy.pause('encrypted')});
$broker->produce('encrypted', [ 0, undef, '{"id": 6}' ]);
sql($node, q{SELECT eddy.resume('encrypted')});
count_is('encrypted', 6, 'messages are consumed with the option');
sql($node, q{SELECT eddy.pause('encrypted')});
sql($node, 'ALTER SYSTEM RESET pg_eddy.allow_insecure_connections');
sql($node, 'SELECT pg_reload_conf()');
sql($node, q{SELECT eddy.resume('encrypted')});
waits_with('encrypted', 'allow_insecure_connections',
	'without the setting, a connection with the option is refused');
sql($node, q{ALTER SERVER tls OPTIONS (DROP "ssl.endpoint.identification.algorithm")});

#
# Allowed brokers
#

sql($node, "ALTER SYSTEM SET pg_eddy.allowed_brokers = '10.0.0.0/8', 'kafka.example:9092'");
sql($node, 'SELECT pg_reload_conf()');
sql($node, q{SELECT eddy.pause('encrypted')});
sql($node, q{SELECT eddy.resume('encrypted')});
waits_with('encrypted', 'pg_eddy.allowed_brokers', 'workers do not connect to a broker that is not listed');
sql($node, "ALTER SYSTEM SET pg_eddy.allowed_brokers = '127.0.0.0/8'");
sql($node, 'SELECT pg_reload_conf()');
$broker->produce('encrypted', [ 0, undef, '{"id": 7}' ]);
sql($node, q{SELECT eddy.resume('encrypted')});
count_is('encrypted', 7, 'workers connect to a broker in a listed block');

$node->stop;
done_testing();
