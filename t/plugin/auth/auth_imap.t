use strict;
use warnings;

use MIME::Base64 qw(encode_base64);
use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::DNS;
use Qpsmtpd::Peer;
use Qpsmtpd::Test qw(slurp);

sub b64 { return encode_base64($_[0], '') }

# First, or its process would hold the daemon's socket.
my $dns = Qpsmtpd::DNS->new({'imap.example.test' => {A => ['127.0.0.9', '127.0.0.1'], AAAA => '2001:db8::1'},
    'silent.test' => {drop => 1}, 'void.test' => {}});
my $daemon = Qpsmtpd::Peer->new;
my $t = Qpsmtpd::Test->new(config => {auth_failure_delay => 0, max_auth_failures => 0});
my $d;

sub plugin {
    $t->config(plugins => ["auth/auth_imap @_", 'rcpt_ok']);
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

my $passed = '235 PLAIN authentication successful for joe - auth_imap/plain';
my $failed = '535 PLAIN authentication failed for joe from 127.0.0.1 - auth_imap - invalid password';
my $later = '454 Temporary authentication failure';

like plugin('127.0.0.1', $daemon->port), qr/^250 AUTH PLAIN LOGIN$/m, 'mechanisms without a password are not announced';

# ---- what it says and what becomes of it ----

my @hello = ("* OK ready\r\n", qr/\A1 CAPABILITY\r\n/, "* CAPABILITY IMAP4rev1 LITERAL+\r\n1 OK done\r\n");
my @user = (@hello, qr/\A2 LOGIN \{3\}\r\n/, "+ go on\r\n", qr/\Ajoe \{9\}\r\n/);
my @login = (@user, "+ \r\n", qr/\Agood_pass\r\n/);

for my $case (
    ['the right password',      $passed, @login, "2 OK logged in\r\n", undef],
    ['a bare OK',               $passed, @login, "2 OK\r\n", undef],
    ['OK in small letters',     $passed, @login, "2 ok [CAPABILITY IMAP4rev1] hi\n", undef],
    ['news before it',          $passed, @login, "* OK [ALERT] disk\r\n* CAPABILITY IMAP4rev1\r\n2 OK in\r\n", undef],
    ['byte by byte',            $passed, \"* OK ready\r\n", qr/\n/, \"* CAPABILITY IMAP4rev1\r\n1 OK done\r\n", qr/\n/,
        \"+ \r\n", qr/\n/, \"+\r\n", qr/\n/, \"2 OK in\r\n", undef],
    ['the wrong password',      $failed, @login, "2 NO [AUTHENTICATIONFAILED] no\r\n", undef],
    ['a NO of old servers',     $failed, @login, "2 NO LOGIN failed\r\n", undef],
    ['a bare NO',               $failed, @login, "2 NO\r\n", undef],
    ['an expired account',      $failed, @login, "2 NO [EXPIRED] no\r\n", undef],
    ['NO, its backend is down', $later, @login, "2 NO [UNAVAILABLE] later\r\n", undef],
    ['NO, a bug',               $later, @login, "2 NO [serverbug] oops\r\n", undef],
    ['NO, a limit',             $later, @login, "2 NO [LIMIT] too many\r\n", undef],
    ['NO, not without TLS',     $later, @login, "2 NO [PRIVACYREQUIRED] TLS\r\n", undef],
    ['BAD',                     $later, @login, "2 BAD what\r\n", undef],
    ['BYE and another answer',  $later, @login, "* BYE going down\r\n2 NO no\r\n", undef],
    ['another tag',             $later, @login, "1 OK in\r\n", undef],
    ['no tag',                  $later, @login, "OK in\r\n", undef],
    ['OKAY',                    $later, @login, "2 OKAY\r\n", undef],
    ['the command goes on',     $later, @login, "+ more\r\n", undef],
    ['garbage',                 $later, @login, "\x01\xff\r\n", undef],
    ['a NUL',                   $later, @login, "2 OK\0\r\n", undef],
    ['an endless line',         $later, @login, 'x' x 20000, undef],
    ['endless news',            $later, @login, "* 1 EXISTS\r\n" x 1000, undef],
    ['no line end',             $later, @login, '2 OK in'],
    ['close before the answer', $later, @login],
    ['NO to the first literal', $later, @hello, qr/\n/, "2 NO no\r\n", undef],
    ['BAD to the second',       $later, @user, "2 BAD no\r\n", undef],
    ['OK to the second',        $later, @user, "2 OK in\r\n", undef],
    ['CAPABILITY is unknown',   $later, "* OK hi\r\n", qr/\n/, "1 BAD what\r\n", undef],
    ['close in the middle',     $later, @hello, qr/\n/, '+ '],
    ['PREAUTH',                 $later, "* PREAUTH you are root\r\n", undef],
    ['a greeting with BYE',     $later, "* BYE busy\r\n"],
    ['another protocol',        $later, "220 mx ESMTP\r\n", undef],
    ['an endless greeting',     $later, '* OK ' . 'x' x 20000, undef],
    ['close at once',           $later],
) {
    my ($name, $reply, @steps) = @$case;
    $daemon->plays(@steps);
    is plain('joe', 'good_pass'), $reply, $name;
    next if $reply eq $later;
    $d->quit;
    like $daemon->heard, qr/good_pass\r\n3 LOGOUT\r\n\z/, 'and takes leave';
}

for my $capabilities ('IMAP4rev1 STARTTLS LOGINDISABLED', 'LOGINDISABLED', 'IMAP4rev1 logindisabled ID') {
    $daemon->plays("* OK ready\r\n", qr/\n/, "* CAPABILITY $capabilities\r\n1 OK done\r\n", undef);
    is plain('joe', 'good_pass'), $later, $capabilities;
    like $d->log, qr/no verdict: host=127\.0\.0\.1 port=\d+ error="it takes no password without TLS/, 'the log tells it';
    is $daemon->heard, "1 CAPABILITY\r\n", 'and the password is not sent';
}
$daemon->plays("* OK ready\r\n", qr/\n/, "* CAPABILITY IMAP4rev1 XLOGINDISABLED LOGINDISABLED2\r\n1 OK done\r\n", qr/\n/,
    "+ \r\n", qr/\n/, "+ \r\n", qr/\n/, "2 OK\r\n", undef);
is plain('joe', 'good_pass'), $passed, 'words like it do not count';

# ---- no byte can say something else ----

for my $case (['joe', "x\r\n3 DELETE INBOX\r\n"], ["j\r\n\"o\\e{5}", '"'], ['joe', '{3}'], ["j\xc3\xb6", "\xff\x01"],
    ['joe', 'x' x 9000]) {
    my ($user, $password) = @$case;
    my ($n, $m) = (length $user, length $password);
    $daemon->plays("* OK\r\n", qr/\n/, "1 OK\r\n", qr/\{$n\}\r\n\z/, "+ \r\n", qr/\{$m\}\r\n\z/, "+ \r\n",
        qr/\A\Q$password\E\r\n\z/s, "2 OK\r\n", undef);
    like plain($user, $password), qr/^235 /, 'any bytes';
    is $daemon->heard, "1 CAPABILITY\r\n2 LOGIN {$n}\r\n$user {$m}\r\n$password\r\n3 LOGOUT\r\n", 'stay in their literals';
}

$daemon->plays(@login, "2 OK\r\n", undef);
fresh();
$d->say('AUTH LOGIN ' . b64('joe'));
is $d->say(b64('good_pass')), '235 LOGIN authentication successful for joe - auth_imap/login', 'LOGIN';
$d->say('MAIL FROM:<a@b.test>');
like $d->say('RCPT TO:<u@elsewhere.test>'), qr/^250/, 'who has logged in may relay';

# ---- a wrong password ends the matter, trouble does too ----

$t->config(plugins => ['auth/auth_imap 127.0.0.1 ' . $daemon->port, 'auth/authnull']);
$daemon->plays(@login, "2 NO\r\n", undef);
is plain('joe', 'good_pass'), $failed, 'nobody else is asked after a wrong one';
$daemon->plays(@login, "2 BAD\r\n", undef);
is plain('joe', 'good_pass'), $later, 'nor when nobody can tell';

# ---- a name ----

$t->config(dns_servers => $dns->address);
plugin('imap.example.test', $daemon->port);
$daemon->plays(@login, "2 OK\r\n", undef);
is plain('joe', 'good_pass'), $passed, 'a name with several addresses: the one that answers';
for my $name ('nowhere.test', 'void.test', 'silent.test') {
    plugin($name, $daemon->port, 'timeout 1');
    is plain('joe', 'good_pass'), $later, "$name has no address";
    like $d->log, qr/no verdict: .* error="no address of that name was found"/, 'and the log tells it';
}

# ---- nobody there ----

plugin('localhost', $daemon->port);
$daemon->gone;
my $start = time;
is plain('joe', 'x'), $later, 'nobody listens';
cmp_ok time - $start, '<', 20, 'which is told at once';
like $d->log, qr/no verdict: .* error="connect: Connection refused"/, 'and in the log';
plugin('[127.0.0.1]', $daemon->port, 'timeout 1');
for my $steps ([undef], [@hello, undef], [@login, undef], [map { ('*', 0.3) } 1 .. 20]) {
    $daemon->plays(@$steps);
    is plain('joe', 'good_pass'), $later, 'silence ends, after ' . @$steps . ' steps';
    like $d->log, qr/no verdict: .* error="read: Connection timed out"/, 'and the log tells it';
}

my $log = join '', map { slurp($_) } glob $t->dir . '/log.*';
like $log, qr/auth passed/, 'the log tells who has come in';
unlike $log, qr/good_pass|DELETE/, 'and no password';

for my $case (['', 'host'], ['127.0.0.1 0', 'port'], ['127.0.0.1 imap', 'port'], ['127.0.0.1 143 now', 'unknown argument "now"'],
    ['127.0.0.1 timeout 0', 'timeout']) {
    my ($args, $why) = @$case;
    $t->config(plugins => "auth/auth_imap $args");
    my ($status, $output) = $t->check;
    is $status, 1, "'$args' refuses the start";
    like $output, qr{config/plugins:1: .*\Q$why\E}, 'with file, line and reason';
}

done_testing;
