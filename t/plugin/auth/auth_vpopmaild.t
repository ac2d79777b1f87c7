use strict;
use warnings;

use MIME::Base64 qw(encode_base64);
use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::Peer;
use Qpsmtpd::Test qw(slurp);

sub b64 { return encode_base64($_[0], '') }

my $daemon = Qpsmtpd::Peer->new;
my $t = Qpsmtpd::Test->new(config => {auth_failure_delay => 0, max_auth_failures => 0});
my $d;

sub plugin {
    $t->config(plugins => ["auth/auth_vpopmaild @_", 'rcpt_ok']);
    return fresh();
}

sub fresh {
    $d = $t->dialogue;
    return $d->say('EHLO client.test');
}

sub plain {
    fresh();
    return $d->say('AUTH PLAIN ' . b64("\0$_[0]\0$_[1]"));
}

my $passed = '235 PLAIN authentication successful for joe@ours.test - auth_vpopmaild';
my $failed = '535 PLAIN authentication failed for joe@ours.test from 127.0.0.1 - auth_vpopmaild - wrong password';
my $later = '454 Temporary authentication failure';

like plugin('port ' . $daemon->port), qr/^250 AUTH PLAIN LOGIN$/m, 'mechanisms without a password are not announced';

# ---- what it says and what becomes of it ----

for my $case (
    ['the right password',    $passed, "+OK\r\n", qr/\n/, "+OK\r\n"],
    ['several lines follow',  $passed, "+OK\r\n", qr/\n/, "+OK+\r\nvpopmail_dir /var/vpopmail\r\n.\r\n"],
    ['a text behind it',      $passed, "+OK vpopmaild\n", qr/\n/, "+OK fine\n"],
    ['byte by byte',          $passed, \"+OK hello\r\n", qr/\n/, \"+OK fine\r\n"],
    ['the wrong password',    $failed, "+OK\r\n", qr/\n/, "-ERR 0.101 wrong\r\n"],
    ['a bare -ERR',           $failed, "+OK\r\n", qr/\n/, "-ERR\r\n"],
    ['+OKAY is no +OK',       $later, "+OK\r\n", qr/\n/, "+OKAY\r\n"],
    ['garbage',               $later, "+OK\r\n", qr/\n/, "\x01\x02\xff\r\n"],
    ['an empty line',         $later, "+OK\r\n", qr/\n/, "\r\n"],
    ['a NUL',                 $later, "+OK\r\n", qr/\n/, "+OK\0\r\n"],
    ['an endless line',       $later, "+OK\r\n", qr/\n/, 'x' x 20000],
    ['no line end',           $later, "+OK\r\n", qr/\n/, '+OK'],
    ['close without a word',  $later, "+OK\r\n", qr/\n/],
    ['close at once',         $later],
    ['a greeting of another', $later, "220 mx ESMTP\r\n", undef],
    ['a busy one',            $later, "-ERR busy\r\n", undef],
    ['an endless greeting',   $later, 'x' x 20000, undef],
) {
    my ($name, $reply, @steps) = @$case;
    $daemon->plays(@steps);
    is plain('joe@ours.test', 'good_pass'), $reply, $name;
}
like $d->log, qr/no verdict: host=localhost port=\d+ error="/, 'and the log tells why';

$daemon->plays("+OK\r\n", qr/\n/, "+OK\r\n", undef);
fresh();
$d->say('AUTH LOGIN ' . b64('joe@ours.test'));
is $d->say(b64("gr\xc3\xbcn!\"\\{5}")), $passed =~ s/PLAIN/LOGIN/r, 'LOGIN, and a password of other bytes';
is $daemon->heard, "login joe\@ours.test gr\xc3\xbcn!\"\\{5}\nquit\n", 'is told once, in one line';
$d->say('MAIL FROM:<a@b.test>');
like $d->say('RCPT TO:<u@elsewhere.test>'), qr/^250/, 'who has logged in may relay';

# ---- what cannot be said ----

$daemon->plays("+OK\r\n", qr/\n/, "+OK\r\n", undef);
for my $case (['joe@ours.test', "x\nquit"], ['joe@ours.test', "x\rquit"], ['joe@ours.test', 'x y'], ['joe x', 'y'],
    ["jo\ne", 'y'], ['joe@ours.test', "x\ty"], ['joe@ours.test', 'x' x 600]) {
    my ($user, $password) = @$case;
    like plain($user, $password), qr/^535 .* - auth_vpopmaild - wrong password$/, 'no word of the protocol: wrong';
}
ok !$daemon->asked, 'and nobody is asked';

# ---- nobody there ----

$daemon->gone;
my $start = time;
is plain('joe@ours.test', 'x'), $later, 'nobody listens';
cmp_ok time - $start, '<', 9, 'which is told at once';
$daemon->plays("+OK\r\n", qr/\n/, undef);
plugin('timeout 1 host 127.0.0.1 port', $daemon->port);
is plain('joe@ours.test', 'x'), $later, 'silence ends';
like $d->log, qr/no verdict: .* error="read: Connection timed out"/, 'and the log tells it';
$daemon->plays("+OK\r\n", qr/\n/, map { ('+', 0.3) } 1 .. 20);
is plain('joe@ours.test', 'x'), $later, 'and so does an answer that comes too slowly';
plugin('timeout 1 host nowhere.invalid port', $daemon->port);
is plain('joe@ours.test', 'x'), $later, 'a name that there is not';
my $log = join '', map { slurp($_) } glob $t->dir . '/log.*';
like $log, qr/auth passed/, 'the log tells who has come in';
unlike $log, qr/good_pass|gr.+n!/, 'and no password';

for my $case (['port 0', 'port'], ['port x', 'port'], ['timeout 0', 'timeout'], ['timeout 301', 'timeout'],
    ['now', 'unknown argument "now"'], ['host', 'host']) {
    my ($args, $why) = @$case;
    $t->config(plugins => "auth/auth_vpopmaild $args");
    my ($status, $output) = $t->check;
    is $status, 1, "'$args' refuses the start";
    like $output, qr{config/plugins:1: .*\Q$why\E}, 'with file, line and reason';
}

done_testing;
