use strict;
use warnings;

use MIME::Base64 qw(encode_base64);
use Test::More;
use Qpsmtpd::Peer;
use Qpsmtpd::Test qw(slurp);

sub b64 { return encode_base64($_[0], '') }

my $t = Qpsmtpd::Test->new(config => {auth_failure_delay => 0, max_auth_failures => 0});
my $socket = $t->dir . '/cvm';
my $cvm = Qpsmtpd::Peer->new($socket);
my $d;

sub plugin {
    $t->config(plugins => ["auth/auth_cvm_unix_local cvm_socket @_", 'auth/authdeny', 'rcpt_ok']);
    return fresh();
}

sub fresh {
    $d = $t->dialogue(env => {@_});
    return $d->say('EHLO client.test');
}

# plain - the reply, on port 2525 unless told otherwise
sub plain {
    my ($user, $password, $port) = @_;

    fresh(TCPLOCALPORT => $port || 2525);
    return $d->say('AUTH PLAIN ' . b64("\0$user\0$password"));
}

my $passed = '235 PLAIN authentication successful for joe - auth success for joe';
my $failed = '535 PLAIN authentication failed for joe from 127.0.0.1 - auth failure (100)';
my $later = '454 Temporary authentication failure';
my $question = qr/\0\0\z/;

like plugin($socket), qr/^250 AUTH PLAIN LOGIN CRAM-MD5$/m, 'what authdeny has is announced';

for my $case (
    ['code 0',              $passed, $question, "\0\x01joe\0\0"],
    ['code 0 alone',        $passed, $question, "\0"],
    ['code 0, byte by byte', $passed, $question, \"\0\x01joe\0\0"],
    ['code 100',            $failed, $question, "d"],
    ['code 100 and more',   $failed, $question, "d\0\0garbage"],
    ['code 1',              $later, $question, "\x01"],
    ['code 63',             $later, $question, '?'],
    ['code 111',            $later, $question, 'o'],
    ['code 255',            $later, $question, "\xff"],
    ['no answer',           $later, $question],
    ['close at once',       $later],
) {
    my ($name, $reply, @steps) = @$case;
    $cvm->plays(@steps);
    is plain('joe', 'good_pass'), $reply, $name;
}
$cvm->plays($question, "\xff");
plain('joe', 'x');
like $d->log, qr/no verdict: socket=\Q$socket\E code=255/, 'the log tells an odd code';

# ---- the question ----

for my $case (
    ['joe',               'good_pass', "\x01joe\0localhost\0good_pass\0\0"],
    ['joe@ours.test',     'x',         "\x01joe\0ours.test\0x\0\0"],
    ['joe@a@ours.test',   "\xff\r\n ", "\x01joe\@a\0ours.test\0\xff\r\n \0\0"],
    ['joe',               'x' x (512 - 17), "\x01joe\0localhost\0" . 'x' x (512 - 17) . "\0\0"],
) {
    my ($user, $password, $asked) = @$case;
    $cvm->plays($question, "\0", undef);
    like plain($user, $password), qr/^235 /, 'any bytes';
    is $cvm->heard, $asked, 'arrive';
}
$cvm->plays($question, "\0", undef);
is plain('joe', 'x' x (512 - 16)), $failed, 'longer than a question may be: wrong';
is plain('joe', 'x' x 5000), $failed, 'much longer, too';
ok !$cvm->asked, 'and nobody is asked';

# ---- ports ----

for my $case (['', 25 => 0], ['', 587 => 0], ['', 465 => 1], ['', 2525 => 1], ['enable_smtp yes', 25 => 1],
    ['enable_smtp yes', 587 => 1], ['enable_ssmtp no', 465 => 0], ['enable_ssmtp no', 2525 => 1], ['enable_ssmtp no', 25 => 0]) {
    my ($args, $port, $served) = @$case;
    plugin("$socket $args");
    $cvm->plays($question, "\0");
    my $reply = plain('joe', 'x', $port);
    $served ? is $reply, $passed, "$args: port $port" : like $reply, qr/^535 .*free to abuse my relay/, "$args: port $port is left to others";
}
plugin($socket);
fresh(TCPLOCALPORT => 2525);
$cvm->plays($question, "\0");
$d->say('AUTH LOGIN ' . b64('joe'));
is $d->say(b64('good_pass')), $passed =~ s/PLAIN/LOGIN/r, 'LOGIN';
$d->say('MAIL FROM:<a@b.test>');
like $d->say('RCPT TO:<u@elsewhere.test>'), qr/^250/, 'who has logged in may relay';

# ---- nobody there ----

plugin("$socket timeout 1");
$cvm->plays($question, 5);
is plain('joe', 'x'), $later, 'silence ends';
like $d->log, qr/no verdict: .* error="read: Connection timed out"/, 'and the log tells it';
$cvm->gone;
is plain('joe', 'x'), $later, 'nobody listens';
like $d->log, qr/no verdict: .* error="connect: Connection refused"/, 'and the log tells it';

my $log = join '', map { slurp($_) } glob $t->dir . '/log.*';
like $log, qr/auth passed/, 'the log tells who has come in';
unlike $log, qr/good_pass|xxxxx/, 'and no password';

for my $case (['', 'cvm_socket'], ['cvm_socket cvm', 'no absolute path'], ['cvm_socket /' . 'x' x 200, 'no absolute path'],
    ["cvm_socket $socket enable_smtp perhaps", 'enable_smtp'], ["cvm_socket $socket now", 'unknown argument "now"'],
    ["cvm_socket $socket timeout 0", 'timeout']) {
    my ($args, $why) = @$case;
    $t->config(plugins => "auth/auth_cvm_unix_local $args");
    my ($status, $output) = $t->check;
    is $status, 1, substr($args, 0, 40) . ' refuses the start';
    like $output, qr{config/plugins:1: .*\Q$why\E}, 'with file, line and reason';
}

done_testing;
