use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Daemon qw(bytes line say_to hang reset_of heard);
use Qpsmtpd::Test qw(free_port peak_memory sanitized);

my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test'});
mkdir $t->dir . "/$_" for qw(Maildir Maildir/new Maildir/cur Maildir/tmp);
my $path = $t->dir . '/clamd.sock';
my $mail = "Subject: hi\nX-Virus-Found: No\nx-virus-checked: by me\nFrom: a\@client.test\n\nbody\n.dot\n";

# stream - what INSTREAM brings, or so much of it
sub stream {
    my ($c, $max) = @_;
    my $all = '';

    while (length(my $head = bytes($c, 4)) == 4) {
        my $n = unpack 'N', $head;
        return $all if $n == 0;
        $all .= bytes($c, $n);
        return $all if $max && length $all >= $max;
    }
    return "$all (cut)";
}

# clamd - plays it: answers VERSION, takes the stream and gives that text
my $clamd;
sub clamd {
    my ($says, %arg) = @_;

    $clamd->stop if $clamd;
    $clamd = Qpsmtpd::Daemon->new(sub {
        my ($c) = @_;
        my $command = line($c, "\0");
        return say_to($c, $arg{version} || "ClamAV 1.4.6/27000/Mon Nov 23 2026\0") if $command eq 'zVERSION';
        heard("$command\n" . stream($c));
        ref $says eq 'CODE' ? $says->($c) : say_to($c, $says);
    }, $arg{tcp} ? () : (path => $path));
}

# scan - deliver a message through the plugin; the reply, the message in the maildir, the log
sub scan {
    my ($args, %arg) = @_;
    $args = "clamd_socket $path $args" unless $args =~ /clamd_/;
    $t->config(plugins => [@{$arg{before} || []}, "virus/clamdscan $args", @{$arg{after} || []}, 'rcpt_ok', 'queue/maildir Maildir']);
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', %{$arg{env} || {}}});

    unlink glob($t->dir . '/Maildir/new/*');
    my $reply = $d->deliver('a@client.test', 'b@example.test', $arg{mail} || $mail);
    my ($stored) = $t->maildir_messages;
    my $again = $arg{again} ? $d->deliver('a@client.test', 'b@example.test', $arg{again}) : undef;
    my $memory = peak_memory($d->pid);
    $d->quit;
    return {reply => $reply, message => $stored, log => $d->log, again => $again, memory => $memory};
}

# fields - X-Virus-* of the stored header, in order
sub fields {
    my ($r) = @_;
    my ($header) = ($r->{message} || '') =~ /\A(.*?\n)\n/s;

    return defined $header ? $header =~ /^(X-Virus-.*\n)/mgi : ();
}

# ---- verdicts --------------------------------------------------------------------------------------

clamd("stream: OK\0");
my $r = scan('');
my ($heard) = $clamd->heard;
like $r->{reply}, qr/^250 /, 'a clean message passes';
like $heard, qr/\AzINSTREAM\n.*\r\nSubject: hi\r\nFrom: a\@client\.test\r\n\r\nbody\r\n\.dot\r\n\z/s,
    'clamd got the message, CR LF line ends, to its last chunk';
is scalar(() = $heard =~ /(?<!\r)\n/g), 1, 'no bare LF behind the command';
is_deeply [fields($r)], ["X-Virus-Found: No\n", "X-Virus-Checked: by ClamAV 1.4.6 on mx.example.test\n"],
    "our fields, and not those that the client has sent";

for ( # answer, arguments, reply, fields
    ["stream: Eicar-Test-Signature FOUND\0", '', qr/^554 (?:\S+ )?Virus found: Eicar-Test-Signature$/],
    ["stream: Eicar-Test-Signature FOUND\0", 'deny_viruses no', qr/^250 /,
        "X-Virus-Found: Yes\nX-Virus-Details: Eicar-Test-Signature\n"],
    ['stream: ' . 'N' x 100 . " FOUND\0", 'deny_viruses no', qr/^250 /,
        "X-Virus-Found: Yes\nX-Virus-Details: " . 'N' x 60 . "\n"],
    ["stream: a\r\n250 b\xff FOUND\0", '', qr/^554 (?:\S+ )?Virus found: a\?\?250 b\?$/],
    ["stream: OK FOUND\0", '', qr/^554 (?:\S+ )?Virus found: OK$/],
) {
    my ($says, $args, $reply, $fields) = @$_;
    clamd($says);
    $r = scan($args);
    like $r->{reply}, $reply, 'the reply';
    is join('', fields($r)), $fields || '', 'and the fields';
    like $r->{log}, qr/virus found names="/, 'logged';
}

clamd(sub { say_to($_[0], "stream: OK\0") }, version => "ClamAV\x01\xff" . 'v' x 100 . "/1/2\0");
like join('', fields(scan(''))), qr/^X-Virus-Checked: by ClamAV\?\?v{52} on/m, 'an odd version';

# The second message of a session is scanned like the first.
my $count = 0;
$clamd->stop;
$clamd = Qpsmtpd::Daemon->new(sub {
    my ($c, $n) = @_;
    return say_to($c, "ClamAV 1/2/3\0") if line($c, "\0") eq 'zVERSION';
    stream($c);
    say_to($c, $n < 3 ? "stream: A FOUND\0" : "stream: B FOUND\0");
}, path => $path);
$r = scan('', again => $mail);
like $r->{reply}, qr/Virus found: A$/, 'one';
like $r->{again}, qr/Virus found: B$/, 'and the next';

# Two scanners in a row: the second leaves the fields of the first.
clamd("stream: OK\0");
$r = scan('', after => ["virus/clamdscan:1 clamd_socket $path"]);
is scalar(grep { /^X-Virus-Checked/ } fields($r)), 2, 'both have left their fields';

# ---- what is scanned ---------------------------------------------------------------------------------

clamd("stream: X FOUND\0");
like scan('max_size 8', mail => "S: x\n\n" . ("x" x 63 . "\n") x 104)->{reply}, qr/^554/, 'max_size 8: 7 KiB are scanned';
$r = scan('max_size 8', mail => "S: x\nX-Virus-Found: No\n\n" . ("x" x 63 . "\n") x 144);
like $r->{reply}, qr/^250/, '9 KiB are not';
like $r->{log}, qr/skip, message larger than max_size/, 'which is logged';
is_deeply [fields($r)], [], 'and does not pass for scanned';
like scan('scan_all no')->{reply}, qr/^250/, 'scan_all no: a plain message is not scanned';
my $multipart = "Content-Type: multipart/alternative; boundary=\"Jx3Wbb8BMHsO=_?:\"\n$mail";
like scan('scan_all no', mail => $multipart)->{reply}, qr/^554/, 'a multipart message is';
like scan('', before => ['check_relay'], env => {RELAYCLIENT => ''})->{reply}, qr/^554/, 'relay clients are scanned';

# ---- a clamd that lies, dies or sleeps -----------------------------------------------------------------

for ( # what it says, what the log tells
    ["INSTREAM size limit exceeded. ERROR\0", 'size limit exceeded'],
    ["stream: Can't allocate memory ERROR\0", "Can't allocate memory ERROR"],
    ["UNKNOWN COMMAND\0", 'UNKNOWN COMMAND'],
    ["stream: OK", 'closed'],
    ["stream: OK\n", 'closed'],
    ["OK\0", 'error="OK"'],
    ["stream:  FOUND\0", 'error="stream:  FOUND"'],
    ["stream: FOUND\0", 'error="stream: FOUND"'],
    ["stream: OKAY\0", 'OKAY'],
    ["\0", 'error=""'],
    ['', 'closed'],
    ['x' x 100_000, 'too long'],
    [sub { reset_of($_[0]) }, 'reset|closed'],
) {
    my ($says, $log) = @$_;
    clamd($says);
    $r = scan('');
    like $r->{reply}, qr/^451 (?:\S+ )?Unable to scan for viruses$/, "$log: the message is put off";
    like $r->{log}, qr/error, cannot scan clamd=\Q$path\E port=0 .*(?:$log)/, 'logged';
    $r = scan('defer_on_error no');
    like $r->{reply}, qr/^250 /, 'defer_on_error no: it passes';
    is_deeply [fields($r)], [], 'without fields';
}

# clamd has had enough in the middle of a large message: it answers and closes.
for my $what ('a limit', 'a virus', 'nothing found') {
    my $says = {'a limit' => "INSTREAM size limit exceeded. ERROR\0", 'a virus' => "stream: V FOUND\0",
        'nothing found' => "stream: OK\0"}->{$what};
    $clamd->stop;
    $clamd = Qpsmtpd::Daemon->new(sub {
        my ($c) = @_;
        return say_to($c, "ClamAV 1/2/3\0") if line($c, "\0") eq 'zVERSION';
        stream($c, 100_000);
        say_to($c, $says);
    }, path => $path);
    $r = scan('max_size 0', mail => "S: x\n\n" . ("x" x 63 . "\n") x 50_000);
    like $r->{reply}, $what eq 'a virus' ? qr/^554 .*Virus found: V/ : qr/^451 /, "$what in the middle of the stream";
    like $r->{log}, $what eq 'a limit' ? qr/size limit exceeded/ : $what eq 'a virus' ? qr/virus found/ : qr/before it had heard all/,
        'logged';
}

# It stops reading, or never answers.
for my $code (sub { hang() }, sub { stream($_[0]); hang() }, sub { stream($_[0]); say_to($_[0], map { ('s', \0.3) } 1 .. 100) }) {
    $clamd->stop;
    $clamd = Qpsmtpd::Daemon->new(sub {
        my ($c) = @_;
        return say_to($c, "ClamAV 1/2/3\0") if line($c, "\0") eq 'zVERSION';
        $code->($c);
    }, path => $path);
    my $begin = time;
    like scan('timeout 1s max_size 0', mail => "S: x\n\n" . ("x" x 63 . "\n") x 50_000)->{reply}, qr/^451 /, 'a clamd that does not end';
    cmp_ok time - $begin, '<', 15 * ($ENV{TEST_SLOW} || 1), 'in time';
}
$clamd->stop;
$clamd = Qpsmtpd::Daemon->new(sub { hang() }, path => $path);
like scan('timeout 1s')->{reply}, qr/^451 /, 'no answer to VERSION';
$clamd->stop;
like scan('')->{log}, qr/refused/i, 'nobody listens';
unlink $path;
like scan('')->{log}, qr/No such file/, 'no socket';

# ---- TCP and fail-over ---------------------------------------------------------------------------------

clamd("stream: V FOUND\0", tcp => 1);
my ($dead, $live) = (free_port(), $clamd->port);
like scan("clamd_port $live")->{reply}, qr/^554 /, 'clamd_port on localhost';
like scan("clamd_socket /nowhere clamd_port $live")->{reply}, qr/^554 /, 'it is taken before clamd_socket';
like scan("clamd_host 127.0.0.1:$live")->{reply}, qr/^554 /, 'clamd_host with a port';
$r = scan("clamd_host 127.0.0.1:$dead,127.0.0.1:$live");
like $r->{reply}, qr/^554 /, 'the first is dead: the second is asked';
like $r->{log}, qr/cannot scan clamd=127\.0\.0\.1 port=$dead .*refused/i, 'which is logged';
my $sick = Qpsmtpd::Daemon->new(sub {
    my ($c) = @_;
    return say_to($c, "ClamAV 1/2/3\0") if line($c, "\0") eq 'zVERSION';
    stream($c);
    say_to($c, "stream: trouble ERROR\0");
});
like scan("clamd_host 127.0.0.1:@{[$sick->port]},127.0.0.1:$live")->{reply}, qr/^554 /, 'the first is sick: the second is asked';
like scan("clamd_host 127.0.0.1:$dead,127.0.0.1:$dead")->{reply}, qr/^451 /, 'none is there';
$sick->stop;

# ---- memory --------------------------------------------------------------------------------------------

SKIP: {
    skip 'sanitizers need memory of their own', 1 if sanitized();
    my %peak;
    for my $size (1 << 10, 25 << 20) {
        $clamd->stop;
        $clamd = Qpsmtpd::Daemon->new(sub {
            my ($c) = @_;
            return say_to($c, "ClamAV 1/2/3\0") if line($c, "\0") eq 'zVERSION';
            while ((my $n = unpack 'N', bytes($c, 4)) > 0) { bytes($c, $n) }
            say_to($c, "stream: OK\0");
        }, path => $path);
        $r = scan('max_size 0', mail => "Subject: hi\n\n" . ('x' x 62 . "\n") x ($size / 63));
        $peak{$size} = $r->{memory};
        like $r->{reply}, qr/^250 /, "$size bytes";
    }
    diag "peak memory of the session: $peak{1024} KiB with 1 KiB of mail, $peak{26214400} KiB with 25 MiB";
    cmp_ok $peak{26214400} - $peak{1024}, '<', 2048, 'memory does not grow with the message';
}

# ---- configuration -------------------------------------------------------------------------------------

for ( # arguments, what is said
    ['clamd_socket relative', 'no absolute path'],
    ['clamd_socket /' . 'x' x 120, 'too long'],
    ['clamd_port 0', 'clamd_port'],
    ['clamd_port 65536', 'clamd_port'],
    ['clamd_host a,,b', 'is no place of a daemon'],
    ['clamd_host /path', 'clamd_socket'],
    ['clamd_host ' . join(',', 1 .. 9), 'more than 8'],
    ['deny_viruses maybe', 'deny_viruses'],
    ['defer_on_error x', 'defer_on_error'],
    ['max_size -1', 'max_size'],
    ['max_size 1M', 'max_size'],
    ['timeout 11m', 'timeout'],
    ['scan_all', 'scan_all'],
    ['nonsense 1', 'nonsense'],
) {
    my ($args, $said) = @$_;
    $t->config(plugins => "virus/clamdscan $args");
    my ($status, $output) = $t->check;
    isnt $status, 0, "refused: $args";
    like $output, qr/plugins:1: .*(?:$said)/, 'with file, line and reason';
}
$t->config(plugins => 'virus/clamdscan');
is +($t->check)[0], 0, 'without arguments it starts';

done_testing;
