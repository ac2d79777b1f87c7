# A played saslauthd. The real one: t/peers/saslauthd.t.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::Auth;
use Qpsmtpd::Daemon qw(bytes heard reset_of rest say_to);
use Qpsmtpd::Test qw(slurp);

my $slow = $ENV{TEST_SLOW} || 1;
my $t = Qpsmtpd::Test->new(config => {auth_failure_delay => 0, max_auth_failures => 0});
my $path = $t->dir . '/mux';
my $d;

sub plugin {
    $t->config(plugins => ["auth/saslauthd path $path @_", 'rcpt_ok']);
}

# The played one reads the four texts, and does what the file says: Perl code that has $c, the connection.
my $daemon = Qpsmtpd::Daemon->new(sub {
    my ($c) = @_;
    my $do = slurp($t->dir . '/mode');

    if ($do !~ /^early/) {
        my @text = map { my $n = bytes($c, 2); length $n == 2 ? bytes($c, unpack 'n', $n) : '(none)' } 1 .. 4;
        heard(join '|', @text);
    }
    eval "$do; 1" or die $@;
}, path => $path);

sub answer { return 'say_to($c, pack "n/a", "' . $_[0] . '")' }

sub fresh {
    my ($mode) = @_;

    $t->file('mode', $mode);
    $d = $t->dialogue;
    $daemon->heard;
    return $d->say('EHLO client.test');
}

sub passed { return "235 $_[0] authentication successful for $_[1] - saslauthd" }
sub failed { return "535 $_[0] authentication failed for $_[1] from 127.0.0.1 - saslauthd - wrong password" }
my $deferred = '454 Temporary authentication failure';

plugin("timeout $slow");
like fresh(answer('OK')), qr/^250 AUTH PLAIN LOGIN$/m, 'what needs a secret is not announced';
is plain($d, 'joe', 'sesame'), passed('PLAIN', 'joe'), 'OK';
is_deeply [$daemon->heard], ['joe|sesame|smtp|'], 'what was asked';
fresh(answer('OK remote authentication successful'));
is login($d, 'joe@example.com', "s\xc3\xa9s ame"), passed('LOGIN', 'joe@example.com'), 'OK with a text';
is_deeply [$daemon->heard], ["joe|s\xc3\xa9s ame|smtp|example.com"], 'user and realm are split';
unlike $d->log, qr/ame\b/, 'no password in the log';
fresh(answer('NO'));
is plain($d, 'joe', 'wrong'), failed('PLAIN', 'joe'), 'NO';
is plain($d, 'a@b@c', 'wrong'), failed('PLAIN', 'a@b@c'), 'two @';
is(($daemon->heard)[-1], 'a@b|wrong|smtp|c', 'the last one counts');
is plain($d, 'x' x 255, 'y' x 255), failed('PLAIN', 'x' x 64), 'as long as may be';
is(($daemon->heard)[-1], 'x' x 255 . '|' . 'y' x 255 . '|smtp|', 'was asked');
for my $case (['x' x 256, 'y', 'a longer name'], ['x', 'y' x 256, 'a longer password'], ['x@' . 'y' x 256, 'y', 'a longer realm'],
    ['@example.com', 'y', 'no name'], ['x', '', 'no password']) {
    my ($user, $password, $name) = @$case;
    like plain($d, $user, $password), qr/^535 /, $name;
    is_deeply [$daemon->heard], [], 'is not asked for';
}
plugin("timeout $slow service mail realm here.test");
fresh(answer('OK'));
is plain($d, 'joe', 'sesame'), passed('PLAIN', 'joe'), 'with another service';
is_deeply [$daemon->heard], ['joe|sesame|mail|here.test'], 'and a realm for who gives none';
plugin("timeout $slow");

for my $text ('NO Incorrect password', 'NO PAM auth error', 'NO Account expired', 'NO remote server rejected your credentials',
    'NO Invalid username', 'NO ' . 'x' x 300, 'NO ' . 'x' x 60, 'NO ' . 'x' x 253) {
    fresh(answer($text));
    is plain($d, 'joe', 'wrong'), failed('PLAIN', 'joe'), substr $text, 0, 50;
}
for my $text ('NO saslauthd internal error', 'NO [ALERT] saslauthd internal error', 'NO internal mechanism failure',
    q{NO [ALERT] Couldn't contact remote authentication server}, 'NO PAM start error',
    'NO [ALERT] The remote authentication server is currently unavailable',
    'NO [ALERT] Unexpected response from remote authentication server',
    'NO [ALERT] error synchronizing with remote authentication server', 'NO [ALERT] No address given',
    'NO Insufficient permission to access NIS authentication database (saslauthd)', 'NO Username lookup failure: x') {
    fresh(answer($text));
    is plain($d, 'joe', 'sesame'), $deferred, $text;
    like $d->log, qr/no verdict: path=\Q$path\E error="it has trouble of its own: see its log"/, 'the log says so';
}

# ---- what is no answer -----------------------------------------------------------------------------

for my $case (
    ['rest($c)',                              qr/error="read: .*timed out/i, 'silence'],
    ['say_to($c, "\0\2OK"); rest($c)',        qr/error="read: .*timed out/i, 'OK, and no end'],
    ['say_to($c, "\0"); rest($c)',            qr/error="read: .*timed out/i, 'half an answer'],
    ['say_to($c, map({ ($_, \0.3) } split //, pack "n/a", "NO" . " x" x 10))', qr/error="read: .*timed out/i, 'one byte after the other'],
    ['1',                                     qr/error="that is no answer/, 'it closes'],
    ['say_to($c, "\0")',                      qr/error="that is no answer/, 'half an answer and the end'],
    ['say_to($c, "\0\2")',                    qr/error="that is no answer/, 'no text'],
    ['say_to($c, "\0\3OK")',                  qr/error="that is no answer/, 'a text that is too short'],
    ['say_to($c, "\0\1OK")',                  qr/error="that is no answer/, 'one that is too long'],
    ['say_to($c, "OK\r\n")',                  qr/error="that is no answer/, 'a text without its length'],
    ['say_to($c, "\2\1OK")',                  qr/error="that is no answer/, 'the other byte order'],
    [answer(''),                              qr/error="that is no answer/, 'an empty text'],
    [answer('OKAY'),                          qr/error="an answer that is neither OK nor NO"/, 'OKAY'],
    [answer('NOT'),                           qr/error="an answer that is neither OK nor NO"/, 'NOT'],
    [answer('ok'),                            qr/error="an answer that is neither OK nor NO"/, 'ok'],
    ['say_to($c, "\0\4OK\0\0")',              qr/error="an answer that is neither OK nor NO"/, 'NULs'],
    ['say_to($c, pack "n/a", "NO" . "x" x 2000)', qr/error="read: the text is too long"/, 'an endless text'],
    ['1 while say_to($c, "x" x 65536)',       qr/error="read: the text is too long"/, 'a flood'],
    ['early: reset_of($c)',                   qr/error="/, 'a reset'],
) {
    my ($mode, $log, $name) = @$case;
    fresh($mode);
    my $began = time;
    is plain($d, 'joe', 'sesame'), $deferred, "$name: nobody can tell";
    my $took = time - $began;
    cmp_ok $took, '<', 3 * $slow, sprintf 'after %.1f s', $took;
    like $d->log, $log, 'and the log says why';
}
$daemon->stop;
fresh('');
is plain($d, 'joe', 'sesame'), $deferred, 'nobody listens';
like $d->log, qr/error="connect: Connection refused"/, 'the log says so';
unlink $path;
is plain($d, 'joe', 'sesame'), $deferred, 'no socket';
like $d->log, qr/error="connect: No such file or directory"/, 'the log says so';

# ---- arguments -------------------------------------------------------------------------------------

my $long = 'x' x 256;
for my $case (['path mux', qr/path: mux is not absolute/], ['timeout 0', qr/out of range: 1 to 300/], ['timeout 301', qr/out of range/],
    ["service $long", qr/saslauthd takes 255 bytes/], ["realm $long", qr/saslauthd takes 255 bytes/], ['/run/mux', qr/unknown argument/]) {
    my ($words, $why) = @$case;
    $t->config(plugins => "auth/saslauthd $words");
    my ($status, $output) = $t->check;
    is $status, 1, substr($words, 0, 40) . ' refuses the start';
    like $output, qr{config/plugins:1: .*$why}, 'and is told with file and line';
}

done_testing;
