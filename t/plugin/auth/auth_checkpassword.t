use strict;
use warnings;

use MIME::Base64 qw(encode_base64);
use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::Test qw(slurp wait_for);

sub b64 { return encode_base64($_[0], '') }

my $t = Qpsmtpd::Test->new(config => {auth_failure_delay => 0, max_auth_failures => 0});
my $dir = $t->dir;
my $d;

# program - a script in Perl that has read descriptor 3 to $_, which is also in the file asked
sub program {
    my ($name, $script, $unread) = @_;
    my $path = $t->file($name, "#!$^X\n" . ($unread ? '' : <<'END') . "$script\n");
open my $in, '<&=', 3 or exit 111;
local $/;
$_ = <$in>;
close $in;
open my $out, '>', 'asked' or exit 111;
print $out $_;
close $out;
END

    chmod 0755, $path;
    return $path;
}

sub plugin {
    $t->config(plugins => ["auth/auth_checkpassword @_", 'rcpt_ok']);
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

my $passed = '235 PLAIN authentication successful for joe - auth_checkpassword';
my $failed = '535 PLAIN authentication failed for joe from 127.0.0.1 - auth_checkpassword - wrong password';
my $later = '454 Temporary authentication failure';

# As others are: it runs the rest of its words when the password is right.
my $checkpw = program('checkpw', <<'END');
my ($user, $password) = split /\0/;
exit 111 if $user eq 'trouble';
exit 1 unless $user eq 'joe' && $password eq 'good_pass';
$ENV{USER} = $user;
exec @ARGV or exit 111;
END
like plugin("checkpw $checkpw"), qr/^250 AUTH PLAIN LOGIN$/m, 'mechanisms without a password are not announced';
is plain('joe', 'good_pass'), $passed, 'the right password';
is slurp("$dir/asked"), "joe\0good_pass\0Y123456\0", 'descriptor 3 has three texts';
is plain('joe', 'bad_pass'), $failed, 'the wrong password';
like plain('jim', 'good_pass'), qr/^535 /, 'another user';
is plain('trouble', 'good_pass'), $later, 'its trouble';
like $d->log, qr/no verdict: program=\Q$checkpw\E exit=111 /, 'and the log tells it';
fresh();
$d->say('AUTH LOGIN ' . b64('joe'));
is $d->say(b64('good_pass')), '235 LOGIN authentication successful for joe - auth_checkpassword', 'LOGIN';
$d->say('MAIL FROM:<a@b.test>');
like $d->say('RCPT TO:<u@elsewhere.test>'), qr/^250/, 'who has logged in may relay';

# ---- each end ----

for my $case (
    [0, $passed], [1, $failed], [3, $failed], [2, $later], [4, $later], [100, $later], [111, $later], [126, $later],
    [127, $later], [255, $later],
) {
    my ($code, $reply) = @$case;
    plugin('checkpw ' . program("exit$code", "exit $code;"));
    is plain('joe', 'x'), $reply, "exit $code";
}
for my $signal (qw(SEGV KILL PIPE TERM)) {
    plugin('checkpw ' . program("kill$signal", "kill $signal => \$\$; sleep 60;"));
    is plain('joe', 'x'), $later, "SIG$signal";
    like $d->log, qr/no verdict: .*reason="killed by a signal"/, 'and the log tells it';
}
for my $code (0, 1) {
    plugin('checkpw ' . program("blind$code", "exit $code;", 1));
    is plain('joe', 'x'), $later, "exit $code of a program that has not read what it was asked";
    like $d->log, qr/no verdict: .*reason="it has not read descriptor 3"/, 'and the log tells it';
}
plugin('checkpw ' . program('gone', 'exit 0;'));
unlink "$dir/gone";
is $d->say('AUTH PLAIN ' . b64("\0joe\0x")), $later, 'a program that has gone';
like $d->log, qr/no verdict: .*reason="No such file or directory"/, 'and the log tells it';

# Too slow: it goes, and what it has started too.
plugin('timeout 1 checkpw ' . program('slow', 'my $p = fork; open my $o, ">", $p ? "parent" : "child"; print $o $$; close $o; sleep 60;'));
my $start = time;
is plain('joe', 'x'), $later, 'a slow one';
cmp_ok time - $start, '<', 30, 'does not hold anybody up';
like $d->log, qr/no verdict: .*reason="Connection timed out"/, 'and the log tells it';
for my $file (qw(parent child)) {
    my $pid = slurp("$dir/$file");
    # Of the child nobody has collected the status: init does.
    ok wait_for(sub { my $s = slurp("/proc/$pid/stat"); !defined $s || $s =~ /\) [ZX] / }, 20, "the end of $file"), "no $file stays";
}

# ---- what it gets, and has around it ----

plugin('checkpw ' . program('look', <<'END'));
open my $o, '>', 'around';
print $o join ' ', map({ my $f = readlink "/proc/$$/fd/$_"; "$_=" . ($f =~ /^(socket|pipe)/ ? $1 : $f) }
    grep { -e "/proc/$$/fd/$_" && (readlink("/proc/$$/fd/$_") || '') !~ m{/around$|/look$|^/proc/} } 0 .. 255), "ip=$ENV{TCPREMOTEIP}", "words=@ARGV\n";
close $o;
END
like plain('joe', 'x'), qr/^235/, 'a program that looks around';
like slurp("$dir/around"), qr{^0=/dev/null 1=/dev/null 2=\S+/log\.\d+ ip=127\.0\.0\.1 words=/bin/true$},
    'has no other descriptors, and knows the client';

my $any = program('any', 'exit 0;');
plugin("checkpw $any true /bin/false");
for my $case (["j\to\ne", "\xff\r\n\x01 x"], ['joe', 'x' x (512 - 13)]) {
    my ($user, $password) = @$case;
    like plain($user, $password), qr/^235 /, 'any bytes';
    is slurp("$dir/asked"), "$user\0$password\0Y123456\0", 'arrive';
}
is length slurp("$dir/asked"), 512, 'up to 512 bytes';
unlink "$dir/asked";
is plain('joe', 'x' x (512 - 12)), $failed, 'more is wrong';
is plain('joe', 'x' x 5000), $failed, 'much more too';
ok !-e "$dir/asked", 'and nobody is asked';
like plain('joe', ''), qr/^535 /, 'nor without a password';
ok !-e "$dir/asked", 'indeed';

# ---- which program ----

my $true = program('run', 'open my $o, ">", "ran"; print $o "@ARGV"; exit 0;', 1);
$t->config('smtpauth-checkpassword' => "$checkpw\t $true");
plugin();
is plain('joe', 'good_pass'), $passed, 'both programs from the file';
ok -e "$dir/ran", 'the second was run';
unlink "$dir/ran";
plugin("checkpw $checkpw");
is plain('joe', 'good_pass'), $passed, 'an argument wins';
ok !-e "$dir/ran", 'over the whole file';
$t->config('smtpauth-checkpassword' => $checkpw);
plugin("true $true");
is plain('joe', 'good_pass'), $passed, 'the second one may be an argument';
ok -e "$dir/ran", 'it was run';

my $sudo = program('sudo', 'open my $o, ">", "sudone"; print $o "@ARGV"; close $o; shift while $ARGV[0] =~ /^-/ && $ARGV[0] ne "-u"; splice @ARGV, 0, 2 if $ARGV[0] eq "-u"; exec @ARGV;', 1);
plugin("sudo $sudo");
is plain('joe', 'good_pass'), $passed, 'with sudo';
is slurp("$dir/sudone"), "-n -C4 $checkpw /bin/true", 'its words';
symlink $checkpw, "$dir/vchkpw" or die "symlink: $!";
plugin("sudo $sudo checkpw $dir/vchkpw");
is plain('joe', 'good_pass'), $passed, 'with sudo, vchkpw';
is slurp("$dir/sudone"), "-n -C4 -u vpopmail $dir/vchkpw /bin/true", 'becomes vpopmail';
plugin('sudo ' . program('nosudo', 'exit 1;', 1));
is plain('joe', 'good_pass'), $later, 'sudo refuses with 1: that is no wrong password';

# Whom it does not know somebody else may.
$t->config(plugins => ["auth/auth_checkpassword checkpw $checkpw", 'auth/authnull']);
like plain('jim', 'x'), qr/^235/, 'after exit 1 the next plugin is asked';
is plain('trouble', 'x'), $later, 'but not when nobody can tell';

my $log = join '', map { slurp($_) } glob "$dir/log.*";
like $log, qr/auth passed/, 'the log tells who has come in';
unlike $log, qr/good_pass|bad_pass|xxxxx/, 'and no password';

# ---- wrong configurations ----

chmod 0644, my $plain = $t->file('plain', 'x');
for my $case (
    ["checkpw checkpw", undef,              qr{config/plugins:1: .*checkpw: checkpw: want an absolute path}],
    ["checkpw $dir/nothing", undef,         qr{config/plugins:1: .*checkpw: \S+: No such file}],
    ["checkpw $plain", undef,               qr{config/plugins:1: .*no program: chmod \+x}],
    ["checkpw $dir", undef,                 qr{config/plugins:1: .*no program}],
    ["checkpw $checkpw true nothing", undef, qr{config/plugins:1: .*true: nothing: want an absolute}],
    ["checkpw $checkpw sudo sudo", undef,   qr{config/plugins:1: .*sudo: sudo: want an absolute}],
    ["checkpw $checkpw timeout 0", undef,   qr{config/plugins:1: .*timeout}],
    [$checkpw, undef,                       qr{config/plugins:1: .*unknown argument}],
    ['', '',                                qr{config/plugins:1: .*no program: write checkpw PATH}],
    ['', "$checkpw /bin/true now",          qr{config/smtpauth-checkpassword:1: .*want one line}],
    ['', "# two\n$checkpw\n/bin/true",      qr{config/smtpauth-checkpassword:3: .*want one line}],
    ['', "checkpw",                         qr{config/plugins:1: .*checkpw: checkpw: want an absolute}],
) {
    my ($args, $file, $why) = @$case;
    $t->config(plugins => "auth/auth_checkpassword $args");
    $t->config('smtpauth-checkpassword' => defined $file ? $file : '');
    my ($status, $output) = $t->check;
    is $status, 1, "'$args' refuses the start";
    like $output, $why, 'with file, line and reason';
}

done_testing;
