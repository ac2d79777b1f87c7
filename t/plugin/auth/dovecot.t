use strict;
use warnings;

use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;
use Qpsmtpd::Peer;
use Qpsmtpd::Test qw(slurp);

sub b64 { return encode_base64($_[0], '') }

my $t = Qpsmtpd::Test->new(config => {auth_failure_delay => 0, max_auth_failures => 0});
my $socket = $t->dir . '/auth-client';
my $daemon = Qpsmtpd::Peer->new($socket);
my $d;

sub plugin {
    $t->config(plugins => ["auth/dovecot @_", 'rcpt_ok']);
    return fresh();
}

sub fresh {
    $d = $t->dialogue(env => {@_});
    return $d->say('EHLO client.test');
}

sub plain {
    fresh();
    return $d->say('AUTH PLAIN ' . b64("\0$_[0]\0$_[1]"));
}

my $passed = '235 PLAIN authentication successful for joe - dovecot';
my $failed = '535 PLAIN authentication failed for joe from 127.0.0.1 - dovecot - wrong password';
my $later = '454 Temporary authentication failure';

like plugin($socket), qr/^250 AUTH PLAIN LOGIN$/m, 'mechanisms without a password are not announced';

# ---- what it says and what becomes of it ----

my $handshake = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t4711\nCUID\t1\nCOOKIE\tabc\nDONE\n";
my @asked = ($handshake, qr/^AUTH\t[^\n]*\n/m);

for my $case (
    ['the right password',       $passed, @asked, "OK\t1\tuser=joe\n"],
    ['a bare OK',                $passed, @asked, "OK\t1\n"],
    ['CR LF',                    $passed, @asked, "OK\t1\tuser=joe\r\n"],
    ['after its hello to ours',  $passed, qr/\nCPID\t[1-9]\d*\n/, @asked, "OK\t1\n"],
    ['minor version and more',   $passed, "VERSION\t1\t99\nNEWS\tx\n\nMECH\tPLAIN\nDONE\n", qr/AUTH.*\n/, "OK\t1\n"],
    ['byte by byte',             $passed, \$handshake, qr/AUTH.*\n/, \"OK\t1\tuser=joe\n"],
    ['the wrong password',       $failed, @asked, "FAIL\t1\tuser=joe\n"],
    ['a bare FAIL',              $failed, @asked, "FAIL\t1\n"],
    ['an account locked',        $failed, @asked, "FAIL\t1\tuser=joe\tcode=user_disabled\n"],
    ['one who may not log in',   $failed, @asked, "OK\t1\tuser=joe\tnologin\n"],
    ['the same with a reason',   $failed, @asked, "OK\t1\tuser=joe\tnologin=\treason=no\n"],
    ['a reason of temp',         $failed, @asked, "FAIL\t1\treason=temp\ttempo\tcode=temp_failure\n"],
    ['a proxy, which asks nobody', $later, @asked, "OK\t1\tuser=joe\tnologin\tproxy\thost=192.0.2.1\n"],
    ['a proxy, another form',    $later, @asked, "OK\t1\tuser=joe\tproxy=y\n"],
    ['a proxy perhaps',          $later, @asked, "OK\t1\tproxy_maybe\n"],
    ['fields like these',        $passed, @asked, "OK\t1\tuser=joe\tnologins\txproxy\tnot=proxy\n"],
    ['its trouble',              $later, @asked, "FAIL\t1\tuser=joe\ttemp\n"],
    ['its trouble, a code',      $later, @asked, "FAIL\t1\tuser=joe\tcode=temp_fail\n"],
    ['CONT',                     $later, @asked, "CONT\t1\t\n"],
    ['another id',               $later, @asked, "OK\t2\tuser=joe\n"],
    ['an id that begins so',     $later, @asked, "OK\t11\tuser=joe\n"],
    ['no id',                    $later, @asked, "OK\n"],
    ['FAIL without an id',       $later, @asked, "FAIL\n"],
    ['OKAY',                     $later, @asked, "OKAY\t1\n"],
    ['small letters',            $later, @asked, "ok\t1\n"],
    ['garbage',                  $later, @asked, "\x01\xff\n"],
    ['an empty line',            $later, @asked, "\n"],
    ['a NUL',                    $later, @asked, "OK\t1\t\0\n"],
    ['no line end',              $later, @asked, "OK\t1\tuser=joe"],
    ['an endless line',          $later, @asked, "OK\t1\t" . 'x' x 20000, undef],
    ['close without an answer',  $later, @asked],
    ['version 2',                $later, $handshake =~ s/VERSION\t1/VERSION\t2/r, undef],
    ['version 11',               $later, $handshake =~ s/VERSION\t1/VERSION\t11/r, undef],
    ['no version',               $later, $handshake =~ s/VERSION.*\n//r, undef],
    ['no PLAIN',                 $later, $handshake =~ s/PLAIN/GSSAPI/r, undef],
    ['no DONE',                  $later, $handshake =~ s/DONE\n//r],
    ['an endless handshake',     $later, "MECH\tPLAIN\n" x 5000, undef],
    ['another protocol',         $later, "220 mx ESMTP\r\n"],
    ['close at once',            $later],
) {
    my ($name, $reply, @steps) = @$case;
    $daemon->plays(@steps);
    is plain('joe', 'good_pass'), $reply, $name;
}
like $d->log, qr/no verdict: socket=\S+ error="/, 'and the log tells why';

# ---- what it is told ----

# question - what Dovecot hears with this user and password
sub question {
    my ($user, $password, %env) = @_;

    $daemon->plays(@asked, "OK\t1\n", undef);
    fresh(%env);
    like $d->say('AUTH PLAIN ' . b64("\0$user\0$password")), qr/^235/, 'OK';
    $d->quit;
    return $daemon->heard;
}

like question('joe', 'good_pass'), qr/\AVERSION\t1\t\d+\nCPID\t[1-9]\d*\nAUTH\t1\tPLAIN\tservice=smtp\tnologin\tlip=127\.0\.0\.1\tlport=25\trip=127\.0\.0\.1\trport=40000\tresp=AGpvZQBnb29kX3Bhc3M=\n\z/,
    'handshake and question';
like question('joe', 'x', TCPREMOTEIP => '2001:db8::1', TCPLOCALIP => undef, TCPLOCALPORT => undef),
    qr/\tnologin\trip=2001:db8::1\trport=40000\tresp=\S+\n\z/, 'addresses that are known';
like question('joe', 'x', TCPREMOTEIP => undef, TCPLOCALIP => undef, TCPLOCALPORT => undef, TCPREMOTEPORT => undef),
    qr/\tnologin\tresp=\S+\n\z/, 'or not';
for my $case (['joe', 'x'], ['joe', 'xy'], ['joe', 'xyz'], ['jo', 'x'], ["j\to\ne\x01", "x\ty\nAUTH\t2\x01"], ["j\xc3\xb6", "\xff%09"],
    ['joe', 'x' x 5000]) {
    my ($user, $password) = @$case;
    my ($resp) = question($user, $password) =~ /\tresp=([A-Za-z0-9+\/=]+)\n\z/;
    is decode_base64($resp), "\0$user\0$password", 'any bytes arrive and say nothing else';
    is $resp, b64("\0$user\0$password"), 'in canonical base64';
}

$daemon->plays(@asked, "OK\t1\n");
fresh();
$d->say('AUTH LOGIN ' . b64('joe'));
is $d->say(b64('good_pass')), '235 LOGIN authentication successful for joe - dovecot', 'LOGIN';
$d->say('MAIL FROM:<a@b.test>');
like $d->say('RCPT TO:<u@elsewhere.test>'), qr/^250/, 'who has logged in may relay';

$daemon->plays(@asked, "OK\t1\n");
like plain('joe', 'x' x 8000), qr/^535 .* - dovecot - wrong password$/, 'longer than a line of the protocol: wrong';
ok !$daemon->asked, 'and nobody is asked';

# Dovecot does not tell who is unknown: somebody else may know him.
$t->config(plugins => ["auth/dovecot $socket", 'auth/authnull']);
$daemon->plays(@asked, "FAIL\t1\n");
like plain('joe', 'x'), qr/^235/, 'after FAIL the next plugin is asked';
$daemon->plays(@asked, "FAIL\t1\ttemp\n");
is plain('joe', 'x'), $later, 'but not when nobody can tell';

# ---- nobody there ----

$daemon->gone;
plugin($socket);
is plain('joe', 'x'), $later, 'nobody listens';
like $d->log, qr/no verdict: .* error="connect: Connection refused"/, 'the log tells it';
plugin($t->dir . '/nowhere');
is plain('joe', 'x'), $later, 'no socket';
like $d->log, qr/no verdict: .* error="connect: No such file or directory"/, 'the log tells it';
plugin("$socket timeout 1");
for my $steps ([undef], [@asked, undef], [$handshake, map { ("OK\t", 0.3) } 1 .. 20]) {
    $daemon->plays(@$steps);
    is plain('joe', 'x'), $later, 'silence ends';
    like $d->log, qr/no verdict: .* error="read: Connection timed out"/, 'and the log tells it';
}

my $log = join '', map { slurp($_) } glob $t->dir . '/log.*';
like $log, qr/auth passed/, 'the log tells who has come in';
unlike $log, qr/good_pass|Z29vZF9wYXNz|xxxxx/, 'and no password';

for my $case (['auth-client', 'no absolute path'], ['/' . 'x' x 200, 'no absolute path'], ["$socket now", 'unknown argument "now"'],
    ['timeout 0', 'timeout'], ['timeout 1h', 'timeout']) {
    my ($args, $why) = @$case;
    $t->config(plugins => "auth/dovecot $args");
    my ($status, $output) = $t->check;
    is $status, 1, substr($args, 0, 30) . ' refuses the start';
    like $output, qr{config/plugins:1: .*\Q$why\E}, 'with file, line and reason';
}
$t->config(plugins => 'auth/dovecot');
is +($t->check)[0], 0, 'without arguments it starts';

done_testing;
