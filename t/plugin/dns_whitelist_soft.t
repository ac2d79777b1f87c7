use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::DNS;
use Qpsmtpd::Test;

my $dns = Qpsmtpd::DNS->new({
    '*.bl.test'            => {A => '127.0.0.2', TXT => 'block listed'},
    '1.2.0.192.wl.test'    => {A => '127.0.3.1'},
    '2.2.0.192.wl2.test'   => {A => '127.0.0.2', delay => 0.3},
    '3.2.0.192.wl.test'    => {A => '127.0.0.255'},
    '4.2.0.192.wl.test'    => {A => '127.0.0.255'},
    '4.2.0.192.wl2.test'   => {A => '127.0.0.2', delay => 0.2},
    '5.2.0.192.wl.test'    => {A => '203.0.113.1'},
    '6.2.0.192.wl.test'    => {A => '127.255.255.254'},
    '7.2.0.192.wl.test'    => {TXT => 'text alone'},
    '8.2.0.192.wl.test'    => {rcode => 'REFUSED'},
    '9.2.0.192.wl.test'    => {drop => 1},
    '10.2.0.192.wl.test'   => {A => '127.0.0.2', fault => 'short'},
    Qpsmtpd::DNS::reverse('2001:db8::1', 'wl.test') => {A => '127.0.0.7'},
});
my $t = Qpsmtpd::Test->new(config => {
    rcpthosts       => 'ours.test',
    dns_servers     => $dns->address,
    dns_timeout     => '0.6',
    dns_tries       => 1,
    whitelist_zones => ['wl.test  dnswl', 'WL2.test'],
    dnsbl_zones     => 'bl.test',
});

sub whitelist {
    my ($arguments) = @_;

    $t->config(plugins => ["dns_whitelist_soft $arguments", 'dnsbl', 'rcpt_ok', 'queue/maildir Maildir']);
}

sub client {
    my ($ip) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => $ip, TCPREMOTEHOST => undef});

    $d->say('EHLO client.test');
    $d->say('MAIL FROM:<a@client.test>');
    return $d;
}

# Everybody is on the block list: the reply tells whether the white list was heeded.
for my $when ('rcpt', 'connect') {
    whitelist("check_at $when");
    for my $case (
        ['192.0.2.1',   'wl.test (127.0.3.1)',  'an address of the first list'],
        ['192.0.2.2',   'wl2.test (127.0.0.2)', 'an address of the second, that is slow'],
        ['192.0.2.4',   'wl2.test (127.0.0.2)', 'an address of the second, while the first refuses'],
        ['2001:db8::1', 'wl.test (127.0.0.7)',  'an IPv6 address'],
        ['192.0.2.3',   undef,                  '127.0.0.255'],
        ['192.0.2.5',   undef,                  'an address of somebody else'],
        ['192.0.2.6',   undef,                  '127.255.255.0/24'],
        ['192.0.2.7',   undef,                  'a text alone'],
        ['192.0.2.8',   undef,                  'a server that refuses'],
        ['192.0.2.9',   undef,                  'a server that is silent'],
        ['192.0.2.10',  undef,                  'half an answer'],
        ['192.0.2.99',  undef,                  'NXDOMAIN'],
        ['unknown',     undef,                  'no address', 'accepted'],
    ) {
        my ($ip, $listed, $name, $accepted) = @$case;
        my $d = client($ip);
        my $log = $d->log;
        my $reply = $d->say('RCPT TO:<x@ours.test>');
        if ($listed) {
            like $reply, qr/^250/, "$name is white-listed, $when";
            like $d->log, qr/Host IP is whitelisted: listed in \Q$listed\E/, 'the log tells by whom';
            is $log =~ /whitelisted/ ? 'connect' : 'rcpt', $when, 'and it was known in time' if $ip eq '192.0.2.2';
        } else {
            like $reply, $accepted ? qr/^250/ : qr/^550 block listed/, "$name is not, $when";
            unlike $d->log, qr/whitelisted/, 'nor does the log say so';
        }
    }
}
whitelist('');
my $d = client('192.0.2.8');
$d->say('RCPT TO:<x@ours.test>');
like $d->log, qr/no answer name=8\.2\.0\.192\.wl\.test status=REFUSED/, 'a server that refuses is told of';

# ---- dead servers ----

$dns->zone({'*.bl.test' => {A => '127.0.0.2', TXT => 'block listed'}, '*' => {drop => 1}});
$t->config(dns_timeout => 20);
whitelist('timeout 1');
my $began = time;
$d = client('192.0.2.1');
ok time - $began < 1, 'connect, EHLO and MAIL wait for nobody';
$began = time;
like $d->say('RCPT TO:<x@ours.test>'), qr/^550/, 'nobody is white-listed by dead servers';
my $took = time - $began;
ok $took > 0.9 && $took < 1 + 2 * ($ENV{TEST_SLOW} || 1), "after the timeout, $took s";
$began = time;
$d->say('RCPT TO:<y@ours.test>');
ok time - $began < 0.5 * ($ENV{TEST_SLOW} || 1), 'the next recipient does not wait again';

# ---- no zones ----

$dns->clear;
$t->config(whitelist_zones => '# none');
$t->config(plugins => ['dns_whitelist_soft', 'rcpt_ok']);
like client('192.0.2.1')->say('RCPT TO:<x@ours.test>'), qr/^250/, 'without zones';
is scalar($dns->queries), 0, 'nobody is asked';

# ---- refused at the start ----

for my $case (
    ['dns_whitelist_soft check_at mail', 'a.test',            qr{config/plugins:1.*check_at},       'a wrong word'],
    ['dns_whitelist_soft timeout 0',     'a.test',            qr{config/plugins:1.*timeout},        'no timeout'],
    ['dns_whitelist_soft',               ['a.test', 'b!c.d'], qr{config/whitelist_zones:2.*"b!c.d"}, 'a wrong zone'],
) {
    my ($plugin, $zones, $why, $name) = @$case;
    $t->config(plugins => $plugin);
    $t->config(whitelist_zones => $zones);
    my ($status, $output) = $t->check;
    is $status, 1, "$name refuses the start";
    like $output, $why, 'and is told with file and line';
}

done_testing;
