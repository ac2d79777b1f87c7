use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::DNS;
use Qpsmtpd::Test qw(change_byte);

my $long = 'l' x 64;
my $dns = Qpsmtpd::DNS->new({
    # 192.0.2.N: what the lists say of it
    '2.0.0.127.txt.test'     => {A => '127.0.0.2', TXT => 'the test address'},
    '2.0.0.127.msg.test'     => {A => '127.0.0.2', TXT => 'never shown'},
    '1.2.0.192.txt.test'     => {A => '127.0.0.4'},
    '2.2.0.192.txt.test'     => {A => '127.0.0.2', TXT => {drop => 1}},
    '3.2.0.192.txt.test'     => {A => '198.51.100.9', TXT => 'this domain is for sale'},
    '4.2.0.192.txt.test'     => {A => '127.255.255.254', TXT => 'you ask too much'},
    '5.2.0.192.txt.test'     => {TXT => 'text alone is no listing'},
    '6.2.0.192.txt.test'     => {rcode => 'SERVFAIL'},
    '7.2.0.192.txt.test'     => {drop => 1},
    '8.2.0.192.txt.test'     => {drop => 1},
    '8.2.0.192.msg.test'     => {A => '127.0.0.2'},
    '9.2.0.192.txt.test'     => {A => ['127.255.255.1', '203.0.113.1', '127.0.0.9'], TXT => "two\r\nlines \xe9"},
    '10.2.0.192.txt.test'    => {A => '127.0.0.2', TXT => 'x' x 3000},
    '11.2.0.192.txt.test'    => {A => '127.0.0.2', TXT => 'slow', delay => 0.4},
    '12.2.0.192.txt.test'    => {A => '127.0.0.2', fault => 'self_pointer'},
    '13.2.0.192.txt.test'    => {A => '127.0.0.2', fault => 'garbage'},
    '14.2.0.192.txt.test'    => {CNAME => 'elsewhere.test'},
    'elsewhere.test'         => {A => '127.0.0.3', TXT => 'by another name'},
    Qpsmtpd::DNS::reverse('2001:db8::2', 'txt.test') => {A => '127.0.0.2', TXT => 'nibbles'},
});
my $t = Qpsmtpd::Test->new(
    plugins => ['check_relay', 'dnsbl', 'rcpt_ok', 'queue/maildir Maildir'],
    config  => {
        rcpthosts    => 'ours.test',
        relayclients => '198.51.100.',
        dns_servers  => $dns->address,
        dns_timeout  => '0.5',
        dns_tries    => 1,
        dnsbl_zones  => ['TXT.test.', 'msg.test:See http://list.test/?%IP%&%IP%'],
    },
);

sub client {
    my ($ip, %env) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => $ip, TCPREMOTEHOST => undef, %env});

    return $d if $d->greeting !~ /^220/;
    $d->say('EHLO client.test');
    $d->say('MAIL FROM:<a@client.test>');
    return $d;
}

sub rcpt {
    my ($ip, %env) = @_;

    return client($ip, %env)->say('RCPT TO:<x@ours.test>');
}

sub dnsbl {
    my ($arguments) = @_;

    $t->config(plugins => ['check_relay', "dnsbl $arguments", 'rcpt_ok', 'queue/maildir Maildir']);
}

# ---- each result ----

for my $case (
    ['127.0.0.2',    '550 the test address',      'the test address is listed'],
    ['192.0.2.1',    '550 Blocked by txt.test',   'without text'],
    ['192.0.2.2',    '550 Blocked by txt.test',   'with a text that does not come'],
    ['192.0.2.3',    undef,                       'an address of somebody else'],
    ['192.0.2.4',    undef,                       '127.255.255.0/24, the refusal of a list'],
    ['192.0.2.5',    undef,                       'a text alone'],
    ['192.0.2.6',    undef,                       'a server that fails'],
    ['192.0.2.7',    undef,                       'a server that is silent'],
    ['192.0.2.8',    '550 See http://list.test/?192.0.2.8&192.0.2.8', 'silence of one server, a listing of the other'],
    ['192.0.2.9',    '550 two??lines ?',          'one good address of three, a text with control bytes'],
    ['192.0.2.11',   '550 slow',                  'an answer that takes its time'],
    ['192.0.2.12',   undef,                       'a name that points to itself'],
    ['192.0.2.13',   undef,                       'garbage'],
    ['192.0.2.14',   '550 by another name',       'a CNAME'],
    ['192.0.2.99',   undef,                       'NXDOMAIN'],
    ['2001:db8::2',  '550 nibbles',               'IPv6'],
    ['2001:db8::3',  undef,                       'another IPv6 address'],
    ['unknown',      undef,                       'no address'],
) {
    my ($ip, $expected, $name) = @$case;
    my $reply = rcpt($ip);
    is $reply, $expected, "$name: refused" if $expected;
    like $reply, qr/^250 /, "$name: accepted" unless $expected;
}
my $reply = rcpt('192.0.2.10');
like $reply, qr/^550 x{400,506}$/, 'a text of 3000 bytes is cut';

my $d = client('127.0.0.2');
like $d->say('RCPT TO:<PostMaster@ours.test>'), qr/^250/, 'postmaster can be reached';
like $d->say('RCPT TO:<abuse@ours.test>'), qr/^250/, 'and abuse';
like $d->say('RCPT TO:<x@ours.test>'), qr/^550 the test/, 'others cannot';
like $d->log, qr/fail name=2\.0\.0\.127\.txt\.test/, 'the log tells which list it was';
$d->quit;
like client('192.0.2.3')->say('NOOP'), qr/^250/, 'no other command is refused';
$d = client('192.0.2.3');
$d->say('RCPT TO:<x@ours.test>');
like $d->log, qr/is the list alive\?.*address=198\.51\.100\.9/, 'a list that is none is told of';
$d = client('192.0.2.6');
$d->say('RCPT TO:<x@ours.test>');
like $d->log, qr/no answer name=6\.2\.0\.192\.txt\.test status=SERVFAIL/, 'and a server that fails';

# ---- who is not looked up ----

$dns->clear;
like rcpt('198.51.100.2'), qr/^250/, 'a relay client is accepted';
$t->config(dnsbl_allow => ['127.0.0.2', '192.0.2.', '203.0 ours', '10']);
like rcpt('127.0.0.2'), qr/^250/, 'an address in dnsbl_allow';
like rcpt('192.0.2.1'), qr/^250/, 'a prefix in dnsbl_allow';
like rcpt($_), qr/^250/, "one without its dot: $_" for '203.0.113.9', '10.255.0.1';
is scalar($dns->queries), 0, 'and nobody has asked for them';
like rcpt('203.1.113.9'), qr/^250/, 'an address that begins with a part of one';
isnt scalar($dns->queries), 0, '... is looked up';
unlink $t->dir . '/config/dnsbl_allow';

# A compiled list that is damaged, without its text: who is listed may be in it.
$t->file('allow', "192.0.2.0/24\n");
is +($t->run($t->program('qpsmtpd-table'), '-k', 'ip', '-o', $t->dir . '/config/dnsbl_allow.mph', $t->dir . '/allow'))[0], 0, 'a compiled list';
like rcpt('192.0.2.1'), qr/^250/, 'has a network';
change_byte($t->dir . '/config/dnsbl_allow.mph', -60);
is rcpt('127.0.0.2'), '450 the test address', 'a damaged one: a listing counts for now only';
like rcpt('192.0.2.99'), qr/^250/, '... and nobody else is refused';
unlink $t->dir . '/config/dnsbl_allow.mph';

# ---- RBLSMTPD ----

$dns->clear;
$t->config(dnsbl_rejectmsg => ['Not from you.', 'See below.']);
for my $case (
    ['',            qr/^250 /,                                                    'empty: accepted'],
    ['go away %IP%', qr/^450 Not from you\. See below\. go away 127\.0\.0\.2$/,   'a text: for now'],
    ['-go away',    qr/^550 Not from you\. See below\. go away$/,                 'a text behind -: for good'],
) {
    my ($value, $expected, $name) = @$case;
    like rcpt('127.0.0.2', RBLSMTPD => $value), $expected, "RBLSMTPD $name";
}
like client('127.0.0.2', RBLSMTPD => '-no')->say('RCPT TO:<abuse@ours.test>'), qr/^550 .* no$/, 'no recipient is exempt';
is scalar($dns->queries), 0, 'nobody has asked';
dnsbl('hard 1');
like rcpt('127.0.0.2', RBLSMTPD => '-go away'), qr/^550 Not from you\. See below\. -go away$/, 'hard 1: as r356';
like rcpt('127.0.0.2', RBLSMTPD => 'go away'), qr/^550 .* go away$/, 'always for good';
dnsbl('');
is rcpt('127.0.0.2'), "550-Not from you.\n550-See below.\n550 the test address", 'dnsbl_rejectmsg stands in front';
unlink $t->dir . '/config/dnsbl_rejectmsg';

# ---- arguments ----

for my $case (
    ['reject_type soft',            qr/^450 the test/, 0],
    ['disconnect',                  qr/^550 the test/, 1],
    ['reject_type temp_disconnect', qr/^421 the test/, 1],
) {
    my ($arguments, $expected, $closes) = @$case;
    dnsbl($arguments);
    $d = client('127.0.0.2');
    like $d->say('RCPT TO:<x@ours.test>'), $expected, "$arguments: the reply";
    is $d->say('NOOP') eq '', !!$closes, $closes ? 'and the end' : 'and no more';
}
for my $reject (0, 'naughty') {
    dnsbl("reject $reject");
    $d = client('127.0.0.2');
    like $d->say('RCPT TO:<x@ours.test>'), qr/^250/, "reject $reject lets it pass";
    like $d->log, qr/fail, tolerated reason="the test address"/, 'and logs it';
}
$t->config(plugins => ['dnsbl reject naughty', 'naughty reject_type perm', 'rcpt_ok', 'queue/maildir Maildir']);
$d = client('127.0.0.2');
like $d->say('RCPT TO:<x@ours.test>'), qr/^550 \(dnsbl\) the test/, 'naughty refuses what was left to it';
like $d->say("RCPT TO:<$_\@ours.test>"), qr/^250/, "but not $_" for qw(Postmaster abuse);
like $d->data("Subject: x\n\nx\n"), qr/^250/, 'nor a message to them';
dnsbl('reject connect');
is client('127.0.0.2')->greeting, '554 the test address', 'reject connect';
like rcpt('192.0.2.99'), qr/^250/, 'lets others in';
is client('127.0.0.2', RBLSMTPD => '-no')->greeting, '554 no', 'also with RBLSMTPD';

# ---- servers that do not answer ----

$dns->zone({'*' => {drop => 1}});
$t->config(dnsbl_zones => [map { "zone$_.test" } 1 .. 8]);
$t->config(dns_timeout => 20);
dnsbl('timeout 1');
$d = client('192.0.2.1');
my $began = time;
like $d->say('RCPT TO:<x@ours.test>'), qr/^250/, 'eight dead lists list nobody';
my $took = time - $began;
ok $took > 0.9 && $took < 1 + 2 * ($ENV{TEST_SLOW} || 1), "the client waits for the timeout, once for all: $took s";
$began = time;
like $d->say('RCPT TO:<y@ours.test>'), qr/^250/, 'the next recipient';
$took = time - $began;
ok $took < 0.5 * ($ENV{TEST_SLOW} || 1), "does not wait again: $took s";
like $d->log, qr/no answer in time name=1\.2\.0\.192\.zone8\.test/, 'the log tells';
$d->quit;

$dns->zone({'2.0.0.127.zone1.test' => {drop => 1}, '2.0.0.127.zone2.test' => {A => '127.0.0.2'}});
dnsbl('timeout 10');
$began = time;
is rcpt('127.0.0.2'), '550 Blocked by zone2.test', 'a listing does not wait for the other lists';
$took = time - $began;
ok $took < 3 * ($ENV{TEST_SLOW} || 1), "that are dead: $took s";

# ---- refused at the start ----

for my $case (
    ['dnsbl reject maybe',    {},                                    qr{config/plugins:1.*reject},      'a wrong word'],
    ['dnsbl sometimes',       {},                                    qr{config/plugins:1.*reject_type}, 'a wrong type alone'],
    ['dnsbl timeout 600',     {},                                    qr{config/plugins:1.*timeout},     'a timeout of ten minutes'],
    ['dnsbl', {dnsbl_zones => ['a.test', 'zen']},                    qr{config/dnsbl_zones:2.*"zen"},   'a zone without a dot'],
    ['dnsbl', {dnsbl_zones => ['a..test']},                          qr{config/dnsbl_zones:1},          'an empty label'],
    ['dnsbl', {dnsbl_zones => ['a.test: yes', ': no zone']},         qr{config/dnsbl_zones:2},          'no zone'],
    ['dnsbl', {dnsbl_zones => ['a test.example']},                   qr{config/dnsbl_zones:1},          'a blank'],
    ['dnsbl', {dnsbl_zones => ['192.0.2.1']},                        qr{config/dnsbl_zones:1},          'an address'],
    ['dnsbl', {dnsbl_zones => ["$long.test"]},                       qr{config/dnsbl_zones:1},          'a label of 64 bytes'],
    ['dnsbl', {dnsbl_zones => [join '.', ('abcdefghi') x 20]},       qr{config/dnsbl_zones:1},          'a zone too long for nibbles'],
    ['dnsbl', {dnsbl_zones => 'a.test', dnsbl_allow => ['192.0.2.1', '192.0.2-3']}, qr{config/dnsbl_allow:2}, 'half an address'],
    ['dnsbl', {dnsbl_zones => 'a.test', dnsbl_allow => ['192.0.2.1', '192..2']}, qr{config/dnsbl_allow:2}, 'a hole in an address'],
    ['dnsbl', {dnsbl_zones => 'a.test', dnsbl_allow => ['me.test']}, qr{config/dnsbl_allow:1},          'a name for an address'],
) {
    my ($plugin, $config, $why, $name) = @$case;
    $t->config(plugins => $plugin);
    unlink map { $t->dir . "/config/$_" } qw(dnsbl_zones dnsbl_allow);
    $t->config($_ => $config->{$_}) for keys %$config;
    my ($status, $output) = $t->check;
    is $status, 1, "$name refuses the start";
    like $output, $why, 'and is told with file and line';
}

done_testing;
