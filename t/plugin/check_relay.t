use strict;
use warnings;

use Test::More;
use Qpsmtpd::Test;

# rcpt - the code that a client with this address gets for a recipient
sub rcpt {
    my ($t, $ip, $to, %env) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => $ip, TCPREMOTEHOST => undef, %env});

    $d->say('EHLO client.test');
    $d->say('MAIL FROM:<a@client.test>');
    $d->say("RCPT TO:<$to>");
    my $code = $d->code;
    $d->quit;
    return $code;
}

my $t = Qpsmtpd::Test->new(
    plugins => ['check_relay', 'rcpt_ok'],
    config  => {
        rcpthosts      => 'ours.test',
        relayclients   => ['# comment', '192.0.', '198.51.100.0/24', '203.0.113.7', '203.0.113.9/32',
            'fdda:b13d:e431:ae06::/64', '2001:db8::1'],
        norelayclients => ['192.0.99.5', '192.0.98.', '2001:db8:bad::/48'],
    },
);

for my $case (
    ['192.0.1.1',                   250, 'a prefix'],
    ['192.51.1.1',                  550, 'another prefix'],
    ['198.51.100.1',                250, 'a network'],
    ['198.51.100.0',                250, 'the first address of a network'],
    ['198.51.100.255',              250, 'the last address of a network'],
    ['198.51.101.1',                550, 'an address outside of it'],
    ['203.0.113.7',                 250, 'an address'],
    ['203.0.113.70',                550, 'an address that begins like it'],
    ['203.0.113.9',                 250, 'a network of one address'],
    ['fdda:b13d:e431:ae06:a1::',    250, 'an IPv6 network'],
    ['fdda:b13d:e431:ae07:a1::',    550, 'an address outside of it'],
    ['2001:db8::1',                 250, 'an IPv6 address'],
    ['2001:0DB8:0:0:0:0:0:1',       250, 'the same in another spelling'],
    ['192.0.99.5',                  550, 'an exception'],
    ['192.0.98.255',                550, 'an exception by prefix'],
    ['192.0.99.7',                  250, 'a neighbour of an exception'],
    ['::1',                         550, '::1 when it is not listed'],
) {
    my ($ip, $code, $name) = @$case;
    is rcpt($t, $ip, 'x@foreign.test'), $code, "$name: $ip gets $code";
}
is rcpt($t, '192.51.1.1', 'x@ours.test'), 250, 'our own domains are for everybody';
is rcpt($t, '192.51.1.1', 'x@foreign.test', RELAYCLIENT => ''), 250, 'an empty RELAYCLIENT is enough';
is rcpt($t, '192.0.99.5', 'x@foreign.test', RELAYCLIENT => ''), 550, 'norelayclients overrules it';
is rcpt($t, '2001:db8:bad::1', 'x@foreign.test', RELAYCLIENT => ''), 550, 'for IPv6 as well';
is rcpt($t, undef, 'x@foreign.test'), 550, 'a client without an address may not relay';

# ---- 1.00 ----

$t->config(plugins => ['relay', 'rcpt_ok']);
is rcpt($t, '::1', 'x@foreign.test'), 250, 'as relay, ::1 may relay';
is rcpt($t, '192.0.1.1', 'x@foreign.test'), 250, 'and relayclients works';
$t->config(norelayclients => '::1');
is rcpt($t, '::1', 'x@foreign.test'), 550, 'unless norelayclients has it';

# ---- only ----

$t->config(plugins => ['check_relay only 1', 'rcpt_ok']);
is rcpt($t, '192.51.1.1', 'x@ours.test'), 550, 'only 1: a stranger reaches nobody';
is rcpt($t, '192.0.1.1', 'x@foreign.test'), 250, 'a relay client everybody';
$t->config(plugins => ['check_relay only 1', 'check_badrcptto', 'rcpt_ok']);
$t->config(badrcptto => 'x@foreign.test');
is rcpt($t, '192.0.1.1', 'x@foreign.test'), 550, 'later plugins still check its recipients';

# ---- the database ----

$t->file('more', "10.1.2.3\n10.7. \n2001:db8:7::1\n");
is system('cdb', '-c', '-m', $t->dir . '/config/morerelayclients.cdb', $t->dir . '/more'), 0, 'a database';
$t->config(plugins => ['check_relay', 'rcpt_ok']);
is rcpt($t, '10.1.2.3', 'x@foreign.test'), 250, 'has an address';
is rcpt($t, '10.7.200.1', 'x@foreign.test'), 250, 'and a prefix';
is rcpt($t, '2001:db8:7::1', 'x@foreign.test'), 250, 'and an IPv6 address';
is rcpt($t, '10.1.2.4', 'x@foreign.test'), 550, 'and nothing else';

$t->file('config/morerelayclients.cdb', "\xff" x 4096);
is rcpt($t, '10.1.2.3', 'x@foreign.test'), 450, 'a damaged one does not refuse for good';
is rcpt($t, '10.1.2.3', 'x@ours.test'), 250, 'nor does it stop mail for us';
is rcpt($t, '192.0.1.1', 'x@foreign.test'), 250, 'nor mail from those listed elsewhere';
$t->config(plugins => ['check_relay only 1', 'rcpt_ok']);
is rcpt($t, '10.1.2.3', 'x@ours.test'), 450, 'only 1: 450 as well';
unlink $t->dir . '/config/morerelayclients.cdb';

# ---- refused at the start ----

for my $case (
    ['check_relay only 2',      undef,                       qr{config/plugins:1.*only},       'a wrong value'],
    ['check_relay relax 1',     undef,                       qr{config/plugins:1.*relax},      'a wrong word'],
    ['check_relay',             "# x\n127.0.0.1\nlocalhost", qr{config/relayclients:3},        'a wrong address'],
    ['check_relay',             '10.0.0.0/33',               qr{config/relayclients:1},        'a wrong network'],
) {
    my ($plugin, $clients, $why, $name) = @$case;
    my $b = Qpsmtpd::Test->new(plugins => [$plugin, 'rcpt_ok'], config => {relayclients => $clients});
    my ($status, $output) = $b->check;
    is $status, 1, "$name refuses the start";
    like $output, $why, 'and is told with file and line';
}

done_testing;
