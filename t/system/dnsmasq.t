# The resolver against a name server that others have written: dnsmasq, with a zone of this test.
use strict;
use warnings;
use lib 't/system';

use Test::More;
use IO::Socket::INET;
use Qpsmtpd::Test qw(free_port wait_for);
use Probe;

my ($dnsmasq) = grep { -x } map { "$_/dnsmasq" } split(/:/, $ENV{PATH}), qw(/usr/sbin /sbin)
    or BAIL_OUT('dnsmasq is not installed (make deps-test)');
my $plugins = File::Temp->newdir('qpsmtpd-dns-XXXXXX', TMPDIR => 1);
Probe::build('t/system/dns_probe.c', "$plugins/dns_probe.so");

my $port = free_port;
my $t = Qpsmtpd::Test->new(plugin_dirs => ["$plugins"], plugins => ['dns_probe'], loglevel => 6,
    config => {dns_servers => "127.0.0.1:$port", dns_timeout => 3});
$t->file('dnsmasq.conf', <<"END");
no-resolv
no-hosts
no-daemon
bind-interfaces
listen-address=127.0.0.1
port=$port
user=
pid-file=
local-ttl=77
local=/test/
domain=example.org
expand-hosts
host-record=a.test,192.0.2.1,2001:db8::1
host-record=mail.a.test,192.0.2.2
mx-host=a.test,mail.a.test,10
mx-host=a.test,backup.a.test,20
mx-host=null.test,.,0
txt-record=a.test,"v=spf1 mx -all"
txt-record=two.test,one,two
@{[join "\n", map { "txt-record=large.test,$_" . 'x' x 200 } 10 .. 59]}
ptr-record=1.2.0.192.in-addr.arpa,mail.a.test
ptr-record=@{[join '.', reverse split //, '20010db8000000000000000000000001']}.ip6.arpa,six.a.test
cname=alias.test,mail.a.test
END
my $dns = IO::Handle->new;
open my $null, '+<', '/dev/null' or die "/dev/null: $!";
open my $log, '>', $t->dir . '/dnsmasq.log' or die "log: $!";
my $server = $t->spawn(command => [$dnsmasq, '-C', $t->dir . '/dnsmasq.conf'], env => \%ENV,
    in => $null, out => $log, err => $log);
wait_for(sub { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Proto => 'tcp') || !$server->alive },
    10, 'dnsmasq to listen');
ok $server->alive, 'dnsmasq runs' or diag Qpsmtpd::Test::slurp($t->dir . '/dnsmasq.log');

my $d = $t->dialogue;
my @cases = (
    ['A a.test', 'OK a.test n=1 ttl=77 192.0.2.1'],
    ['AAAA A.TEST', 'OK a.test n=1 ttl=77 2001:db8::1'],
    ['MX a.test', 'OK a.test n=2 ttl=77 10 mail.a.test|20 backup.a.test'],
    ['MX null.test', 'OK null.test n=1 ttl=77 0'],
    ['TXT a.test', 'OK a.test n=1 ttl=77 v=spf1 mx -all'],
    ['TXT two.test', 'OK two.test n=1 ttl=77 onetwo'],
    ['A alias.test', 'OK mail.a.test n=1 ttl=77 192.0.2.2'],
    ['PTR 1.2.0.192.in-addr.arpa', 'OK 1.2.0.192.in-addr.arpa n=1 ttl=77 mail.a.test'],
    ['A nx.test', 'NXDOMAIN nx.test n=0'],
    ['AAAA mail.a.test', 'NODATA mail.a.test n=0'],
    ['A outside.invalid.example', 'REFUSED outside.invalid.example n=0'],
);
is $d->say("NOOP get $_->[0]") =~ s/^250 //r, $_->[1], $_->[0] for @cases;
like $d->say('NOOP get TXT large.test'), qr/^250 OK large\.test n=50 ttl=77 202 bytes/, '10 KB of TXT, over TCP';
my $six = $d->say('NOOP reverse 2001:db8::1') =~ s/^250 //r;
is $d->say("NOOP get PTR $six"), "250 OK $six n=1 ttl=77 six.a.test", 'PTR of an IPv6 address';
like $d->say('NOOP get A a'), qr/^250 (?:NXDOMAIN|REFUSED) a /, 'no search list: a is not a.test';
$d->quit;
$server->kill_all;
done_testing;
