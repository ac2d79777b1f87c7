use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Test qw(free_port);
use Qpsmtpd::TLS qw(certificates handshake);

my $TEXT = 'Connecting host started transmitting before SMTP greeting';

# early - what a client is told that talks before the greeting
sub test_with {
    my (@plugins) = @_;

    return Qpsmtpd::Test->new(
        plugins => [@plugins, 'rcpt_ok', 'queue/discard'], config => {rcpthosts => 'example.test'});
}

sub early {
    my ($t, %arg) = @_;
    my $d = $t->dialogue(greeting => 0, %arg);

    $d->raw("EHLO client.test\r\n");
    $d->read_greeting;
    return $d;
}

for (
    ['check_earlytalker', "421 $TEXT", 'for now, by default'],
    ['check_earlytalker action deny', "554 $TEXT", 'action deny'],
    ['check_earlytalker action denysoft', "421 $TEXT", 'action denysoft'],
    ['check_earlytalker reject_type perm', "554 $TEXT", 'reject_type perm'],
    ['check_earlytalker action deny reject_type temp', "421 $TEXT", 'reject_type wins'],
    ['earlytalker', "421 $TEXT", 'under its later name'],
) {
    my ($line, $reply, $what) = @$_;
    my $t = test_with($line);
    my $d = early($t);
    is $d->greeting, $reply, "refused: $what";
    ok $d->eof, 'and the connection is closed';
    like $d->log, qr/started talking too early: ip=127\.0\.0\.1/, 'it is logged';
}

for (
    ['check_earlytalker action log', 'action log'],
    ['check_earlytalker reject 0', 'reject 0'],
    ['check_earlytalker reject naughty', 'reject naughty'],
    ['check_earlytalker check-at DATA', 'check-at DATA'],
) {
    my ($line, $what) = @$_;
    my $t = test_with($line);
    my $d = early($t);
    like $d->greeting, qr/^220 /, "greeted: $what";
    like $d->read_reply, qr/^250/, 'and served';
}

{
    my $t = test_with('check_earlytalker wait 1');
    my $begin = time;
    my $d = $t->dialogue;
    like $d->greeting, qr/^220 /, 'a client that waits is greeted';
    cmp_ok time - $begin, '>', 0.9, 'after the wait';
    like $d->deliver('a@b.test', 'c@example.test', "a: b\n\nc\n"), qr/^250/, 'and may send mail';
}

{
    my $t = test_with('check_earlytalker wait 0');
    my $begin = time;
    $t->dialogue;
    cmp_ok time - $begin, '<', 0.9, 'wait 0 only looks';
}

{
    my $t = test_with('check_earlytalker wait 20');
    my $begin = time;
    my $d = $t->dialogue(greeting => 0);
    $d->hangup('write');
    is $d->read_greeting, '', 'a client that hangs up gets no reply';
    is $d->status, 0, 'and is let go';
    cmp_ok time - $begin, '<', 10, 'at once';
    unlike $d->log, qr/too early|refused: /, 'nothing is held against it';
}

{
    my $t = test_with('check_earlytalker defer-reject 1 action deny');
    my $d = early($t);
    like $d->greeting, qr/^220 /, 'defer-reject: greeted';
    $d->read_reply;
    is $d->say('MAIL FROM:<a@b.test>'), "550 $TEXT", 'refused at MAIL';
    is $d->say('MAIL FROM:<>'), "550 $TEXT", 'at each one';
    like $d->quit, qr/^221/, 'but not thrown out';
    $t->config(plugins => 'check_earlytalker defer-reject 1');
    $d = early($t);
    $d->read_reply;
    is $d->say('MAIL FROM:<a@b.test>'), "450 $TEXT", 'for now, by default';
    $d = $t->dialogue;
    $d->say('EHLO client.test');
    like $d->say('MAIL FROM:<a@b.test>'), qr/^250/, 'who waited may send';
}

{
    my $t = test_with('check_earlytalker wait 1 check-at DATA');
    my $begin = sub {
        my $d = $t->dialogue;
        $d->say($_) for 'EHLO client.test', 'MAIL FROM:<a@b.test>', 'RCPT TO:<c@example.test>';
        return $d;
    };
    my $d = $begin->();
    $d->raw("DATA\r\nFrom: a\r\n\r\nb\r\n.\r\n");
    is $d->read_reply, "451 $TEXT", 'check-at DATA: a message before 354 is refused';
    $d = $begin->();
    like $d->data("From: a\n\nb\n"), qr/^250/, 'one after it is not';

    $t->config(plugins => ['check_earlytalker check-at DATA check-at CONNECT']);
    like early($t)->greeting, qr/^421 /, 'both can be checked';
}

{
    my $t = test_with('check_relay', 'check_earlytalker wait 0');
    $t->config(relayclients => '127.0.0.1');
    like early($t)->greeting, qr/^220 /, 'an immune client is not checked';
}

{
    my $t = test_with('check_earlytalker wait 5');
    like early($t, pipe => 1, env => {TCPREMOTEIP => undef})->greeting, qr/^220 /,
        'nor is a program on a pipe, which has no address';
    like early($t, pipe => 1)->greeting, qr/^421 /, 'with an address it is';
}

{
    my $t = test_with('check_earlytalker wait 5 check-at CONNECT check-at DATA', 'tls');
    certificates($t, 'mx.example.test');
    my $port = free_port();
    my $server = $t->prefork('--tls-port', $port, '--children', 2, '--idle-children', 1);
    my $begin = time;
    my $d = $server->connect(port => $port, greeting => 0);
    ok handshake($d), 'a port that begins with TLS' or diag $d->{tls_error};
    $d->raw("EHLO client.test\r\n");
    like $d->read_greeting, qr/^220 /, 'who talks behind the handshake is greeted';
    cmp_ok time - $begin, '<', 4 * ($ENV{TEST_SLOW} || 1), 'without a wait';
    $d->read_reply;
    $d->say($_) for 'MAIL FROM:<a@b.test>', 'RCPT TO:<c@example.test>';
    $d->raw("DATA\r\nFrom: a\r\n\r\nb\r\n.\r\n");
    is $d->read_reply, "451 $TEXT", 'but check-at DATA watches it';
}

for (
    ['wait 61', qr/wait: "61" is out of range/],
    ['wait', qr/wait: its value is missing/],
    ['action maybe', qr/action: "maybe" is none of: deny denysoft log/],
    ['check-at HELO', qr/"HELO" is none of: CONNECT DATA/],
    ['check-at', qr/check-at: its value is missing/],
    ['reject_type often', qr/reject_type: "often"/],
    ['3', qr/unknown argument "3"/],
) {
    my ($args, $reason) = @$_;
    my ($status, $said) = test_with("check_earlytalker $args")->check;
    isnt $status, 0, "check_earlytalker $args: no start";
    like $said, qr{config/plugins:1: check_earlytalker: .*$reason}, 'with file, line and reason';
}

done_testing;
