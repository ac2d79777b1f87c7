use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::DNS;
use Qpsmtpd::Test qw(wait_for);

my $dns = Qpsmtpd::DNS->new({
    'bad.test.rhs.test'       => {A => '127.0.0.2'},
    'bad.test.bare.test'      => {A => '127.0.0.2'},
    'bare.test.bare.test'     => {A => '127.0.0.2', delay => 0.3},
    'helo.test.rhs.test'      => {A => '127.0.0.2'},
    'sale.test.rhs.test'      => {A => '203.0.113.1'},
    'refused.test.rhs.test'   => {A => '127.255.255.254'},
    'text.test.rhs.test'      => {TXT => 'text alone'},
    'failing.test.rhs.test'   => {rcode => 'SERVFAIL'},
    'silent.test.rhs.test'    => {drop => 1},
    'silent.test.bare.test'   => {A => '127.0.0.2'},
    'broken.test.rhs.test'    => {A => '127.0.0.2', fault => 'rdlength'},
    '*.rhs.test'              => {A => '127.0.0.3', rcode => 'NXDOMAIN'},
});
my $t = Qpsmtpd::Test->new(
    plugins => ['check_relay', 'rhsbl', 'rcpt_ok', 'queue/maildir Maildir'],
    config  => {
        rcpthosts    => 'ours.test',
        relayclients => '198.51.100.1',
        dns_servers  => $dns->address,
        dns_timeout  => '0.5',
        dns_tries    => 1,
        rhsbl_zones  => ["rhs.test \t does not accept bounces.", 'Bare.Test.'],
    },
);

sub client {
    my ($from, %arg) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => $arg{ip} || '192.0.2.1', TCPREMOTEHOST => undef});

    $d->say('EHLO ' . ($arg{helo} || 'mx.test'));
    $d->say("MAIL FROM:<$from>");
    return $d;
}

sub rcpt {
    return client(@_)->say('RCPT TO:<x@ours.test>');
}

sub rhsbl {
    my ($arguments) = @_;

    $t->config(plugins => ['check_relay', "rhsbl $arguments", 'rcpt_ok', 'queue/maildir Maildir']);
}

my $because = 'rejected because it does not accept bounces.';

for my $case (
    ['a@Bad.test',      "550 Mail from Bad.test $because",                      'a listed domain'],
    ['a@bare.test',     '550 Mail from bare.test rejected because it is listed in bare.test', 'a zone without message'],
    ['a@good.test',     "550 Mail from HELO helo.test $because",                'a listed HELO name', helo => 'helo.test'],
    ['a@helo.test',     "550 Mail from helo.test $because",                     'both the same',  helo => 'HELO.test'],
    ['a@silent.test',   '550 Mail from silent.test rejected because it is listed in bare.test', 'one list is silent'],
    ['a@good.test',     undef,                                                  'a good domain'],
    ['a@sale.test',     undef,                                                  'an address of somebody else'],
    ['a@refused.test',  undef,                                                  '127.255.255.0/24'],
    ['a@text.test',     undef,                                                  'a text alone'],
    ['a@failing.test',  undef,                                                  'a server that fails'],
    ['a@broken.test',   undef,                                                  'a malformed answer'],
    ['',                undef,                                                  'the null sender', helo => 'helo.test'],
    ['a@bad.test',      undef,                                                  'a relay client', ip => '198.51.100.1'],
) {
    my ($from, $expected, $name, %arg) = @$case;
    my $reply = rcpt($from, %arg);
    is $reply, $expected, "$name: refused" if $expected;
    like $reply, qr/^250 /, "$name: accepted" unless $expected;
}
my $d = client('a@bad.test');
like $d->say('RCPT TO:<postmaster@ours.test>'), qr/^250/, 'postmaster can be reached';
like $d->say('RCPT TO:<x@ours.test>'), qr/^550/, 'others cannot';
$d->say('RSET');
$d->say('MAIL FROM:<a@good.test>');
like $d->say('RCPT TO:<x@ours.test>'), qr/^250/, 'the next transaction is judged by itself';

# ---- what is asked ----

$dns->clear;
rcpt($_->[0], helo => $_->[1]) for ['a@[192.0.2.1]', '[192.0.2.1]'], ['', '192.0.2.1'], ['a@[IPv6:2001:db8::1]', '192.0.2.1'];
is join(', ', $dns->queries), '', 'addresses are not looked up';
rcpt('a@same.test', helo => 'same.test');
is join(', ', sort $dns->queries), 'A same.test.bare.test, A same.test.rhs.test', 'each name once in each list';
$dns->clear;
$d = client('a@mail.test', helo => 'name.test');
ok wait_for(sub { $dns->count(qr/^A (?:name|mail)\.test\./) == 4 }, 5, 'four questions'), 'before the first RCPT';
my $label = 'l' x 63;
like rcpt("a\@$label.$label.$label.test", helo => "$label.$label.$label.test"), qr/^250/, 'names too long for a list';

# ---- arguments ----

for my $case (
    ['reject_type soft', qr/^450 Mail from bad/, 0],
    ['disconnect',       qr/^550 Mail from bad/, 1],
) {
    my ($arguments, $expected, $closes) = @$case;
    rhsbl($arguments);
    $d = client('a@bad.test');
    like $d->say('RCPT TO:<x@ours.test>'), $expected, "$arguments: the reply";
    is $d->say('NOOP') eq '', !!$closes, $closes ? 'and the end' : 'and no more';
}
for my $reject (0, 'naughty') {
    rhsbl("reject $reject");
    $d = client('a@bad.test');
    like $d->say('RCPT TO:<x@ours.test>'), qr/^250/, "reject $reject lets it pass";
    like $d->log, qr/fail, tolerated reason="Mail from bad\.test/, 'and logs it';
}

$t->config(plugins => ['rhsbl reject naughty', 'helo policy lenient reject naughty', 'naughty reject_type perm', 'rcpt_ok',
    'queue/maildir Maildir']);
$d = client('a@bad.test');
like $d->say('RCPT TO:<x@ours.test>'), qr/^550 \(rhsbl\) Mail from bad/, 'a bad sender';
like $d->say('RCPT TO:<postmaster@ours.test>'), qr/^250/, '... reaches postmaster';
$d->say($_) for 'RSET', 'MAIL FROM:<a@good.test>';
like $d->say('RCPT TO:<x@ours.test>'), qr/^250/, '... and is not the next one';
$d->say($_) for 'RSET', 'MAIL FROM:<a@bare.test>';
like $d->say('RCPT TO:<x@ours.test>'), qr/^550 \(rhsbl\) Mail from bare\.test[^\n]*$/, '... which is bad in its own way';
$t->config(badhelo => 'evil.test');
$d = client('a@bad.test', helo => 'evil.test');
like $d->say('RCPT TO:<x@ours.test>'), qr/^550.\(helo\) [^\n]*\n550.\(rhsbl\) Mail from bad/, 'who else has complained';
$d->say($_) for 'RSET', 'MAIL FROM:<a@good.test>';
like $d->say('RCPT TO:<x@ours.test>'), qr/^550 \(helo\) [^\n]*$/, '... is still heard';

# ---- dead servers ----

$dns->zone({'*' => {drop => 1}});
$t->config(dns_timeout => 20);
rhsbl('timeout 1');
my $began = time;
$d = client('a@one.test');
ok time - $began < 1 * ($ENV{TEST_SLOW} || 1), 'EHLO and MAIL wait for nobody';
$began = time;
like $d->say('RCPT TO:<x@ours.test>'), qr/^250/, 'dead lists list nobody';
my $took = time - $began;
ok $took > 0.9 && $took < 1 + 2 * ($ENV{TEST_SLOW} || 1), "after the timeout, $took s";
$began = time;
$d->say('RSET');
$d->say('MAIL FROM:<a@two.test>');
like $d->say('RCPT TO:<x@ours.test>'), qr/^250/, 'the next message';
ok time - $began < 0.5 * ($ENV{TEST_SLOW} || 1), 'does not wait again';

# ---- refused at the start ----

for my $case (
    ['rhsbl reject maybe', 'a.test',                      qr{config/plugins:1.*reject},      'a wrong word'],
    ['rhsbl never',        'a.test',                      qr{config/plugins:1.*reject_type}, 'a wrong type alone'],
    ['rhsbl',              ['a.test is', 'listed in a.test'], qr{config/rhsbl_zones:2.*"listed"}, 'a message without zone'],
) {
    my ($plugin, $zones, $why, $name) = @$case;
    $t->config(plugins => $plugin);
    $t->config(rhsbl_zones => $zones);
    my ($status, $output) = $t->check;
    is $status, 1, "$name refuses the start";
    like $output, $why, 'and is told with file and line';
}

done_testing;
