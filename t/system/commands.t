# The small commands, unknown ones, and lines that are none.
use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test qw(peak_memory sanitized wait_for);

my $t = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir()], plugins => ['probe']);
(my $version = ($t->run($t->program('qpsmtpd'), '--version'))[1]) =~ s/^qpsmtpd (\S+)\s*$/$1/;
my $d;

sub fresh {
    my ($probe) = @_;

    $d->hangup if $d;
    return $d = $t->dialogue(env => {PROBE => $probe || ''});
}

sub gets {
    my ($line, $reply, $name) = @_;
    my $got = $d->say($line);

    return ref $reply ? like($got, $reply, $name || $line) : is($got, $reply, $name || $line);
}

my $unknown = '500 Unrecognized command';
my $vrfy = "252 Just try sending a mail and we'll see how it turns out ...";
my $help = "214-This is qpsmtpd $version\n214 See https://smtpd.github.io/qpsmtpd/";

# ---- before any greeting ----

fresh();
gets('NOOP', '250 OK');
gets('noop with words', '250 OK');
gets('NoOp', '250 OK');
gets('RSET', '250 OK');
gets('rset   x', '250 OK');
gets('VRFY', $vrfy);
gets('vrfy joe', $vrfy);
gets('HELP', $help);
gets('help data', $help);

$t->config(smtpgreeting => 'secret');
fresh();
gets('HELP', "214-This is qpsmtpd\n214 See https://smtpd.github.io/qpsmtpd/", 'smtpgreeting hides the version');
unlink $t->dir . '/config/smtpgreeting';

# ---- unknown ----

for my $line ('FOO', 'foo bar', 'EXPN list', 'ETRN x', 'AUTH PLAIN', 'STARTTLS', 'TURN', 'XYZZY', '', ' ', ' NOOP',
    "\tNOOP", "NOOP\tx", 'NOOPX', 'NOO', '-', '250 OK', 'GET / HTTP/1.1', 'Host: x', "\x16\x03\x01", "\xff\xfe",
    "NOOP\x01", "NOOP\r", 'x' x 2048) {
    gets($line, $unknown, "'" . ($line =~ s/([^ -~])/sprintf '\x%02x', ord $1/ger =~ s/x{2000,}/x.../r) . "'");
}
is_deeply [(Probe::events($d, qr/unrecognized_command/))[0 .. 2]], ['unrecognized_command [foo] []',
    'unrecognized_command [foo] [bar]', 'unrecognized_command [expn] [list]'], 'plugins see the verb in lower case';

# ---- lines ----

fresh();
$d->raw("NOOP\nNOOP\r\nNOOP\n");
is $d->read_reply, '250 OK', 'LF and CR LF end a line' for 1 .. 3;
$d->raw("NO\0OP\r\nNOOP \0x\r\n\0\r\nNOOP\r\n");
is $d->read_reply, '500 Unrecognized command: it holds a NUL byte', 'NUL' for 1 .. 3;
is $d->read_reply, '250 OK', 'no line is cut at a NUL';
gets('NOOP ' . 'x' x 2043, '250 OK', 'a line of 2048 bytes');
gets('NOOP ' . 'x' x 2044, '500 Line too long', 'a line of 2049 bytes');
$d->raw('NOOP ' . 'x' x 2043 . "\n" . 'NOOP ' . 'x' x 2044 . "\n");
is $d->read_reply, '250 OK', 'the same without CR';
is $d->read_reply, '500 Line too long', 'one more';
$d->raw('x' x 200_000 . "NOOP\r\nNOOP\r\n");
is $d->read_reply, '500 Line too long', 'a very long line is dropped to its end';
is $d->read_reply, '250 OK', 'what follows is a command';
$d->raw("\0" x 5000 . "\r\nNOOP\r\n");
is $d->read_reply, '500 Line too long', 'of NUL bytes';
is $d->read_reply, '250 OK', 'as well';
for my $n (2046 .. 2054) {
    # The limit and its CR fall together with the ends of what is read.
    for my $cut ($n - 1 .. $n + 2) {
        my $line = 'x' x $n . "\r\n";
        $d->raw(substr $line, 0, $cut);
        Probe::sync($d);
        $d->raw(substr($line, $cut) . "NOOP\r\n");
        my @got = map { $d->read_reply } 1, 2;
        is "@got", ($n > 2048 ? '500 Line too long' : $unknown) . ' 250 OK', "$n bytes, cut at $cut" if $cut <= $n + 2;
    }
}
is scalar(Probe::events($d, qr/unrecognized_command/)), 3 + 4 + 9 * 4, 'each of them counts as unrecognized';

# ---- a last line that has no end ----

for my $line ('QUIT', 'MAIL FROM:<x@y.test>', 'MAIL FROM:<x@y.test>' . "\r", 'x' x 3000, '') {
    fresh();
    gets('HELO x', qr/^250/);
    $d->raw($line);
    $d->hangup('write');
    my $reply = $d->read_reply;
    ok $reply eq '' || length $line > 2048 && $reply eq '500 Line too long', 'a line without end: no answer';
    ok $d->eof, 'the connection is closed';
    is $d->status, 0, 'with status 0';
    is_deeply [grep { /^(mail|quit)/ } Probe::events($d)], [], 'and nothing is run';
    is scalar(Probe::events($d, qr/disconnect/)), 1, 'disconnect hooks run';
    undef $d;
}

# ---- much without a line end ----

fresh();
{
    my $block = 'x' x (1024 * 1024);
    $d->raw($block) for 1 .. 64;
    Probe::sync($d);
    SKIP: {
        skip 'sanitizers take memory of their own', 1 if sanitized();
        cmp_ok peak_memory($d->pid), '<', 16 * 1024, '64 MiB without a line end: little memory';
    }
    $d->raw("\nNOOP\r\n");
    is $d->read_reply, '500 Line too long', 'refused';
    is $d->read_reply, '250 OK', 'and the session goes on';
}

# ---- QUIT ----

for my $line ('QUIT', 'quit', 'QUIT now please') {
    fresh();
    $d->raw("$line\r\nNOOP\r\nMAIL FROM:<>\r\n");
    is $d->read_reply, '221 mx.example.test closing connection. Have a wonderful day.', $line;
    ok $d->eof, 'nothing behind it is answered';
    is $d->status, 0, 'status 0';
    like $d->log, qr/click, disconnecting/, 'logged';
    undef $d;
}

for my $half ('', 'MAIL FROM:<a@b.test>') {
    fresh();
    $d->raw($half);
    Probe::sync($d);
    kill TERM => $d->pid;
    if (length $half) {
        # A command that has begun may end.
        $d->raw("\r\n");
        is $d->read_reply, '503 please say hello first ...', 'SIGTERM in a command: it is answered';
    }
    is $d->read_reply, '421 closing connection: the server is going down', 'SIGTERM between commands';
    ok $d->eof, 'closes';
    is $d->status, 0, 'with status 0';
    is scalar(Probe::events($d, qr/disconnect/)), 1, 'disconnect hooks run';
    undef $d;
}

# ---- hooks ----

for my $case (
    # line, result, reply, closed
    ['NOOP', 'noop=OK:ignored',         '250 OK', 0],
    ['NOOP', 'noop=DECLINED',           '250 OK', 0],
    ['NOOP', 'noop=DENY',               '500 Stop wasting my time.', 0],
    ['NOOP', 'noop=DENY_DISCONNECT',    '500 Stop wasting my time.', 1],
    ['NOOP', 'noop=DENYSOFT:later',     '450 later', 0],
    ['NOOP', 'noop=DENYSOFT_DISCONNECT', '421 Stop wasting my time.', 1],
    ['NOOP', 'noop=DONE:250 mine|250 twice', '250 mine', 0],
    ['NOOP', 'noop=OK!',                '250 OK', 1],
    ['VRFY joe', 'vrfy=OK',             '250 User OK', 0],
    ['VRFY joe', 'vrfy=OK:Joe <j@x.test>', '250 Joe <j@x.test>', 0],
    ['VRFY joe', 'vrfy=DENY',           '554 Access Denied', 0],
    ['VRFY joe', 'vrfy=DENY:no',        '554 no', 0],
    ['VRFY joe', 'vrfy=DENY_DISCONNECT', '554 Access Denied', 1],
    ['VRFY joe', 'vrfy=DENYSOFT',       '450 Access temporarily denied', 0],
    ['VRFY joe', 'vrfy=DONE:251 mine',  '251 mine', 0],
    ['VRFY joe', 'vrfy=DECLINED',       $vrfy, 0],
    ['HELP', 'help=OK',                 $help, 0],
    ['HELP', 'help=OK:a|b|c',           "214-a\n214-b\n214 c", 0],
    ['HELP', 'help=DECLINED:text',      '214 text', 0],
    ['HELP', 'help=DENY',               '500 Syntax error, command not recognized', 0],
    ['HELP', 'help=DENY_DISCONNECT',    '500 Syntax error, command not recognized', 1],
    ['HELP', 'help=DENYSOFT:text',      '214 text', 0],
    ['HELP', 'help=DONE:214 mine',      '214 mine', 0],
    ['FOO', 'unrecognized_command=OK',  $unknown, 0],
    ['FOO', 'unrecognized_command=DENY', '521 Too many unrecognized commands', 1],
    ['FOO', 'unrecognized_command=DENY:text', '521 text', 1],
    ['FOO', 'unrecognized_command=DENY_DISCONNECT', '521 Too many unrecognized commands', 1],
    ['FOO', 'unrecognized_command=DENYSOFT', $unknown, 0],
    ['FOO', 'unrecognized_command=DENYSOFT_DISCONNECT', '421 Too many unrecognized commands', 1],
    ['FOO', 'unrecognized_command=DONE:250 mine', '250 mine', 0],
    ['FOO', 'unrecognized_command=DONE!:250 mine', '250 mine', 1],
    ['QUIT', 'quit=DECLINED:bye',       '221 bye', 1],
    ['QUIT', 'quit=DENY',               '221 mx.example.test closing connection. Have a wonderful day.', 1],
    ['QUIT', 'quit=DONE:221 mine',      '221 mine', 1],
    ['QUIT', 'quit=DONE:221 a|221 b',   '221 a', 1],
) {
    my ($line, $probe, $reply, $closed) = @$case;
    fresh($probe);
    $d->say('HELO x');
    $d->say('MAIL FROM:<a@b.test>');
    gets($line, $reply, "$line with $probe");
    if ($probe =~ /\|\d\d\d (.*)/) {
        like $d->read_reply, qr/^\d\d\d \Q$1\E\z/, 'and the second reply';
    }
    $closed ? ok $d->eof, 'closes' : gets('NOOP sender', '250 <a@b.test>', 'the transaction stays');
}
fresh('quit=DONE');
$d->raw("QUIT\r\n");
ok $d->eof, 'QUIT with DONE and no word: just closed';

# ---- what a plugin's text can do ----

fresh("vrfy=DENY:a\r\nb|" . "c\x01\x1b[0m\x7fd\t\xe4|" . 'x' x 3000 . '|');
$d->raw("VRFY x\r\n");
my @lines = split /\n/, $d->read_reply;
is $lines[0], '554-a', 'a line end in a text is one, with or without CR';
is $lines[1], '554-b', 'so two lines';
is $lines[2], "554-c??[0m?d?\xe4", 'control bytes are none';
is $lines[3], '554 ' . 'x' x 506, 'a line ends at 512 bytes';
is @lines, 4, 'and an empty last line is none';
gets('NOOP', '250 OK', 'in step');
fresh('noop=DONE:250 ' . 'y' x 100_000);
gets('NOOP', '250 ' . 'y' x 506, 'qp_respond is cut as well');
fresh('noop=DONE:' . join '|', map { "250 $_" } 1 .. 2000);
$d->raw("NOOP\r\n");
my @got = map { $d->read_reply } 1 .. 2000;
is $got[-1], '250 2000', 'many replies';
fresh('help=OK:' . 'a|' x 3000);
like $d->say('HELP'), qr/\A(?:214-a\n)+214 a?\z/, 'a text of very many lines ends well';
gets('NOOP', '250 OK', 'in step');
fresh('vrfy=DENY:|||');
like $d->say('VRFY'), qr/^554 /, 'a text of line ends only is a reply';
fresh('vrfy=DENY: ');
like $d->say('VRFY'), qr/^554 /, 'so is a blank';

done_testing;
