use strict;
use warnings;

use Digest::MD5 qw(md5 md5_hex);
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::Test;

my %crypt = map { $_ => crypt 'sesame', $_ } '$6$abcdefgh$', '$5$abcdefgh$', '$1$abcdefgh$';
my @users = ('good@example.com:good_pass', 'bad@example.com:bad_pass', 'Colon@Example.COM:a:b:c', 'dollar@example.com:$6',
    'six@example.com:' . $crypt{'$6$abcdefgh$'}, 'five@example.com:' . $crypt{'$5$abcdefgh$'},
    'one@example.com:' . $crypt{'$1$abcdefgh$'});
my $t = Qpsmtpd::Test->new(plugins => ['auth/auth_flat_file', 'rcpt_ok'],
    config => {auth_failure_delay => 0, max_auth_failures => 0, auth_mechanisms => 'PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1'});
my $d;

sub users {
    chmod 0640, $t->config(flat_auth_pw => [@_]);
}

sub b64 { return encode_base64($_[0], '') }

sub fresh {
    $d = $t->dialogue;
    return $d->say('EHLO client.test');
}

sub plain { return $d->say('AUTH PLAIN ' . b64("\0$_[0]\0$_[1]")) }

sub login {
    $d->say('AUTH LOGIN ' . b64($_[0]));
    return $d->say(b64($_[1]));
}

sub cram {
    my ($user, $password) = @_;
    my ($ticket) = $d->say('AUTH CRAM-MD5') =~ /^334 (\S+)/;
    my $key = $password . "\0" x (64 - length $password);

    $ticket = decode_base64($ticket);
    return $d->say(b64("$user " . md5_hex(($key ^ "\x5c" x 64) . md5(($key ^ "\x36" x 64) . $ticket))));
}

users(@users);
like fresh(), qr/^250 AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1$/m, 'what is listed is announced';
for my $case (
    ['good@example.com',    'good_pass', 1],
    ['GOOD@Example.com',    'good_pass', 1],
    ['colon@example.com',   'a:b:c',     1],
    ['dollar@example.com',  '$6',        1],
    ['good@example.com',    'bad_pass',  0],
    ['good@example.com',    'good_pas',  0],
    ['good@example.com',    'good_passs', 0],
    ['good@example.com',    'GOOD_PASS', 0],
    ['go.d@example.com',    'good_pass', 0],
    ['nobody@example.com',  'good_pass', 0],
    ['six@example.com',     'sesame',    1, 'hash'],
    ['five@example.com',    'sesame',    1, 'hash'],
    ['one@example.com',     'sesame',    1, 'hash'],
    ['six@example.com',     'sesam',     0, 'hash'],
    ['six@example.com',     $crypt{'$6$abcdefgh$'}, 0, 'hash'],
) {
    my ($user, $password, $right, $hash) = @$case;
    for my $method (['PLAIN', \&plain], ['LOGIN', \&login], $hash ? () : ['CRAM-MD5', \&cram]) {
        my ($name, $try) = @$method;
        fresh();
        my $wrong = $name eq 'CRAM-MD5' ? '' : ' - auth_flat_file - wrong password'; # unknown users too
        is $try->($user, $password), $right ? "235 $name authentication successful for $user - auth_flat_file"
            : "535 $name authentication failed for $user from 127.0.0.1$wrong",
            "$name: $user with '$password' is " . ($right ? 'right' : 'wrong');
    }
}
fresh();
is plain('good', 'good_pass'), '535 PLAIN authentication failed for good from 127.0.0.1', 'a user without a domain';
like cram('six@example.com', 'sesame'), qr/^535/, 'CRAM-MD5 with a hash cannot be';
is plain('bad@example.com', 'bad_pass'), '235 PLAIN authentication successful for bad@example.com - auth_flat_file',
    'after failures it is not too late';
$d->say('MAIL FROM:<a@b.test>');
like $d->say('RCPT TO:<u@elsewhere.test>'), qr/^250/, 'who has logged in may relay';

# An expensive hash: the time tells nobody who exists.
my $slow = crypt 'sesame', '$6$rounds=400000$abcdefgh$';
users('known@example.com:' . $slow, 'clear@example.com:sesame');
fresh();
my %took;
for my $user ('known', 'clear', 'unknown') {
    my $start = time;
    plain("$user\@example.com", 'wrong');
    $took{$user} = time - $start;
}
# Not "the same": other work on this machine may slow one of them down.
cmp_ok $took{$_}, '>', $took{known} / 5, "a failure for the $_ user takes its time" for qw(clear unknown);

users('six@example.com:' . $crypt{'$6$abcdefgh$'});
like fresh(), qr/^250 AUTH PLAIN LOGIN$/m, 'with hashes alone CRAM-MD5 and SCRAM are not announced';
users('# nobody');
like fresh(), qr/^250 AUTH PLAIN LOGIN$/m, 'an empty file is no fault';
like plain('good@example.com', 'x'), qr/^535/, 'nobody is let in';

for my $case (
    ["good\@example.com:x\nwithout password\n", qr{config/flat_auth_pw:2: .*write user\@domain:password}, 'no colon'],
    ["good\@example.com:\n",                    qr{config/flat_auth_pw:1: .*write user\@domain:password}, 'an empty password'],
    ["good:x\@y\n",                             qr{config/flat_auth_pw:1: .*write user\@domain:password}, 'no domain'],
    ["a\@b.test:x\nA\@b.test:y\n",              qr{config/flat_auth_pw:[12]: .*is listed twice},          'a user twice'],
) {
    my ($content, $why, $name) = @$case;
    users(split /\n/, $content);
    my ($status, $output) = $t->check;
    is $status, 1, "$name refuses the start";
    like $output, $why, 'and is told with file and line';
    unlike $output, qr/\bx\b|without password/, 'but not with the password';
}
users(@users);
chmod 0644, $t->dir . '/config/flat_auth_pw';
my ($status, $output) = $t->check;
is $status, 1, 'a file for everybody refuses the start';
like $output, qr{config/flat_auth_pw:1: .*everybody can read.*chmod o-rwx \S+/flat_auth_pw}, 'with the remedy';
users(@users);
$t->config(plugins => 'auth/auth_flat_file now');
($status, $output) = $t->check;
is $status, 1, 'an argument refuses the start';
like $output, qr{config/plugins:1: .*now}, 'and is told with file and line';

done_testing;
