use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::DNS;
use Qpsmtpd::Test;

sub ptr {
    my ($ip, @value) = @_;

    return (Qpsmtpd::DNS::reverse($ip) => @value == 1 ? $value[0] : {@value});
}

my $dns = Qpsmtpd::DNS->new({
    ptr('192.0.2.1',  PTR => 'good.test'),
    ptr('192.0.2.2',  PTR => ['none.test', 'other.test', 'also.good.test']),
    ptr('192.0.2.3',  PTR => 'other.test'),
    ptr('192.0.2.4',  PTR => 'none.test'),
    ptr('192.0.2.5',  rcode => 'SERVFAIL'),
    ptr('192.0.2.6',  drop => 1),
    ptr('192.0.2.7',  PTR => 'failing.test'),
    ptr('192.0.2.8',  PTR => 'good.test'),
    ptr('192.0.2.9',  PTR => 'boogers'),
    ptr('192.0.2.10', PTR => 'under_score.test'),
    ptr('192.0.2.11', TXT => 'no name'),
    ptr('192.0.2.12', PTR => [map { "n$_.many.test" } 1 .. 40]),
    ptr('192.0.2.13', PTR => 'localhost'),
    ptr('192.0.2.14', PTR => 'x.test', fault => 'garbage'),
    ptr('192.0.2.15', PTR => ['failing.test', 'fifteen.test']),
    ptr('2001:db8::1',      PTR => 'good.test'),
    ptr('2001:db8::2',      PTR => 'good.test'),
    ptr('2001:db8:1::2',    PTR => 'good.test'),
    'good.test'        => {A => '192.0.2.1', AAAA => '2001:db8::1'},
    'also.good.test'   => {A => ['198.51.100.1', '192.0.2.2'], delay => 0.2},
    'other.test'       => {A => '198.51.100.1'},
    'failing.test'     => {rcode => 'SERVFAIL'},
    'under_score.test' => {A => '192.0.2.10'},
    'boogers'          => {A => '192.0.2.9'},
    'localhost'        => {A => '192.0.2.13'},
    'fifteen.test'     => {A => '192.0.2.15'},
});
my $t = Qpsmtpd::Test->new(config => {
    rcpthosts    => 'ours.test',
    relayclients => '198.51.100.1',
    dns_servers  => $dns->address,
    dns_timeout  => '0.5',
    dns_tries    => 1,
});

sub fcrdns {
    my ($arguments) = @_;

    $t->config(plugins => ['check_relay', "fcrdns $arguments", 'rcpt_ok', 'queue/maildir Maildir']);
}

sub client {
    my ($ip, $host) = @_;

    return $t->dialogue(env => {TCPREMOTEIP => $ip, TCPREMOTEHOST => $host});
}

my $message = "From: a\@client.test\n\nhello\n";

# iprev - what Authentication-Results says
sub iprev {
    my ($ip, $host) = @_;
    my $d = client($ip, $host);

    unlink glob $t->dir . '/Maildir/new/*';
    like $d->deliver('a@client.test', 'x@ours.test', $message), qr/^250/, "$ip: accepted";
    my ($field) = ($t->maildir_messages)[0] =~ /^Authentication-Results: ((?:.*\n)(?:[ \t].*\n)*)/m;
    return $field =~ /iprev=(\w+)\s+policy\.iprev="?\Q$ip\E"?/ ? $1 : '';
}

fcrdns('');
for my $case (
    ['192.0.2.1',     'pass',      'the name leads back'],
    ['192.0.2.2',     'pass',      'one of three names does'],
    ['2001:db8::1',   'pass',      'an IPv6 address'],
    ['192.0.2.15',    'pass',      'one does, the other cannot be told'],
    ['192.0.2.3',     'fail',      'the name has other addresses'],
    ['192.0.2.4',     'fail',      'the name does not exist'],
    ['192.0.2.8',     'fail',      'only a neighbour has the name'],
    ['2001:db8::2',   'fail',      'of IPv6 as well'],
    ['192.0.2.9',     'fail',      'a name without a dot'],
    ['192.0.2.10',    'fail',      'a name with an underscore'],
    ['192.0.2.13',    'fail',      'localhost'],
    ['192.0.2.12',    'fail',      'forty names'],
    ['192.0.2.11',    'permerror', 'no PTR'],
    ['192.0.2.99',    'permerror', 'NXDOMAIN'],
    ['192.0.2.5',     'temperror', 'SERVFAIL'],
    ['192.0.2.6',     'temperror', 'silence'],
    ['192.0.2.14',    'temperror', 'garbage'],
    ['192.0.2.7',     'temperror', 'a name whose addresses cannot be told'],
    ['127.255.255.255', '',        'a local client is not checked'],
    ['::1',           '',          'nor ::1'],
    ['128.0.0.1',     'permerror', '128.0.0.1 is not local'],
    ['198.51.100.1',  '',          'a relay client is not checked'],
) {
    my ($ip, $expected, $name) = @$case;
    is iprev($ip), $expected, "$name: " . ($expected || 'nothing');
}
is $dns->count(qr/ n\d+\.many\.test$/), 20, 'of forty names ten are asked for';
$dns->clear;
is iprev('192.0.2.1', 'good.test'), 'pass', 'a name that the server knew before';
is join(', ', sort $dns->queries), 'A good.test, AAAA good.test, PTR 1.2.0.192.in-addr.arpa', 'is asked for once';

my $d = client('192.0.2.1');
$d->deliver('a@client.test', 'x@ours.test', $message) for 1 .. 2;
my @said = $d->log =~ /iprev=pass/g;
is scalar @said, 1, 'the second message costs nothing';
unlink glob $t->dir . '/Maildir/new/*';

# Who logs in is not checked from then on.
$t->config(plugins => ['auth/authnull', 'fcrdns', 'rcpt_ok', 'queue/maildir Maildir']);
$d = client('192.0.2.3');
$d->say('EHLO client.test');
like $d->say('AUTH PLAIN AHgAeA=='), qr/^235/, 'a login';
like $d->deliver('a@client.test', 'x@ours.test', $message), qr/^250/, 'a message';
$d->quit;
unlike $d->log, qr/iprev=/, '... without a check';
unlike +($t->maildir_messages)[0], qr/iprev/, '... and nothing to tell';
unlink glob $t->dir . '/Maildir/new/*';

# ---- arguments ----

fcrdns('relaxed 1');
is iprev('192.0.2.8'), 'pass', 'relaxed: a neighbour of the same /24';
is iprev('2001:db8::2'), 'pass', 'or /64';
is iprev('2001:db8:1::2'), 'fail', 'no other';

fcrdns('reject 1');
for my $case (
    ['192.0.2.1', qr/^250/, 'who passes is accepted'],
    ['192.0.2.3', qr/^550 FCrDNS check failed$/, 'who fails is refused'],
    ['192.0.2.99', qr/^550 FCrDNS check failed$/, 'who has no name is refused'],
    ['192.0.2.5', qr/^250/, 'who cannot be told is accepted'],
    ['198.51.100.1', qr/^250/, 'a relay client is accepted'],
    ['127.0.0.1', qr/^250/, 'and a local one'],
) {
    my ($ip, $expected, $name) = @$case;
    is client($ip)->say('EHLO client.test') =~ /^250/, 1, "$ip may say EHLO";
    like client($ip)->deliver('a@client.test', 'x@ours.test', $message), $expected, "reject: $name";
}
fcrdns('reject 1 reject_type soft');
like client('192.0.2.3')->deliver('a@client.test', 'x@ours.test', $message), qr/^450 FCrDNS/, 'reject_type soft';
fcrdns('reject naughty');
$d = client('192.0.2.3');
like $d->deliver('a@client.test', 'x@ours.test', $message), qr/^250/, 'reject naughty lets it pass';
like $d->log, qr/fail, tolerated reason="FCrDNS/, 'and logs it';

# ---- dead servers ----

$dns->zone({'*' => {drop => 1}});
$t->config(dns_timeout => 20);
fcrdns('timeout 1');
$d = client('192.0.2.1', 'good.test');
my $began = time;
$d->say('EHLO client.test');
$d->say('MAIL FROM:<a@client.test>');
$d->say('RCPT TO:<x@ours.test>');
ok time - $began < 0.5 * ($ENV{TEST_SLOW} || 1), 'nobody waits before the message is there';
$began = time;
like $d->data($message), qr/^250/, 'the message is taken';
my $took = time - $began;
ok $took > 0.9 && $took < 1 + 2 * ($ENV{TEST_SLOW} || 1), "after the timeout, once for all questions: $took s";
like $d->log, qr/iprev=temperror/, 'and nothing is known';

# ---- refused at the start ----

for my $case (
    ['fcrdns reject maybe', qr{config/plugins:1.*reject},  'a wrong word'],
    ['fcrdns relaxed 2',    qr{config/plugins:1.*relaxed}, 'a wrong switch'],
    ['fcrdns strict',       qr{config/plugins:1},          'an unknown word'],
) {
    my ($plugin, $why, $name) = @$case;
    $t->config(plugins => $plugin);
    my ($status, $output) = $t->check;
    is $status, 1, "$name refuses the start";
    like $output, $why, 'and is told with file and line';
}

done_testing;
