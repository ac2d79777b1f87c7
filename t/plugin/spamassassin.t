use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::DNS;
use Qpsmtpd::Daemon qw(bytes line rest say_to hang reset_of heard);
use Qpsmtpd::Test qw(peak_memory sanitized);

my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test'});
mkdir $t->dir . "/$_" for qw(Maildir Maildir/new Maildir/cur Maildir/tmp);
my $path = $t->dir . '/spamd.sock';
my $mail = "Subject: hi\nX-Spam-Flag: NO\nX-spam-status : No, forged\nFrom: a\@client.test\n\nbody\n.dot\n";

# request - one SPAMC request: its lines by name, verb and message
sub request {
    my ($c) = @_;
    my %r = (verb => line($c));

    while (defined(my $line = line($c))) {
        last if $line eq '';
        $r{lc $1} = $2 if $line =~ /^([\w-]+): (.*)/;
    }
    $r{message} = bytes($c, $r{'content-length'} || 0);
    $r{more} = rest($c);
    return \%r;
}

# spamd - plays it: gives that text, whatever it is asked
my $spamd;
sub spamd {
    my (@says) = @_;

    $spamd->stop if $spamd;
    $spamd = Qpsmtpd::Daemon->new(sub {
        my ($c) = @_;
        my $r = request($c);
        heard(join "\n", map { "$_=$r->{$_}" } qw(verb user more message));
        say_to($c, @says);
    }, path => $path);
}

# answer - to HEADERS
sub answer {
    my ($spam, $score, $status, @fields) = @_;
    my $payload = join "\r\n", (defined $status ? "X-Spam-Status: $status" : ()), @fields, 'Subject: hi', '', '';

    return join "\r\n", 'SPAMD/1.1 0 EX_OK', 'Content-length: ' . length $payload,
        "Spam: $spam ; $score / 5.0", '', $payload;
}

# scan - deliver a message through the plugin; the reply, the message in the maildir, the log
sub scan {
    my ($args, %arg) = @_;
    $args = "spamd_socket $path $args" unless $args =~ /spamd_socket/;
    $t->config(plugins => [@{$arg{before} || []}, "spamassassin $args", 'rcpt_ok', 'queue/maildir Maildir']);
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', %{$arg{env} || {}}});
    my $to = $arg{to} || 'b@example.test';

    unlink glob($t->dir . '/Maildir/new/*');
    my $reply = $d->deliver('a@client.test', $to, $arg{mail} || $mail);
    my ($stored) = $t->maildir_messages;
    my $again = $arg{again} ? $d->deliver('a@client.test', $to, $arg{again}) : undef;
    my $memory = peak_memory($d->pid);
    $d->quit;
    return {reply => $reply, message => $stored, log => $d->log, again => $again, memory => $memory};
}

# fields - those of the stored header that begin so, in order
sub fields {
    my ($r, $begin) = @_;
    my ($header) = ($r->{message} || '') =~ /\A(.*?\n)\n/s;

    return defined $header ? $header =~ /^($begin.*\n(?:[ \t].*\n)*)/mgi : ();
}

# ---- what is asked ---------------------------------------------------------------------------------

spamd(answer('False', '1.2', 'No, score=1.2 required=5.0 tests=A,B autolearn=no version=4.0.1',
    'X-Spam-Level: *', 'X-Spam-Report: long', 'X-Spam-Prev-Subject: hi'));
my $r = scan('');
my ($asked) = $spamd->heard;
like $r->{reply}, qr/^250 /, 'ham passes';
like $asked, qr/\Averb=HEADERS SPAMC\/1\.5\nuser=@{[scalar getpwuid $>]}\nmore=\n/,
    'the question: verb and user, exactly Content-length bytes, then the end';
like $asked, qr/^message=X-Envelope-From: <a\@client\.test>\nAuthentication-Results: .*\nReceived: /m, 'sender and our Received come first';
like $asked, qr/^From: a\@client\.test\nX-Old-Spam-Flag: NO\nX-Old-spam-status: No, forged\n\nbody\n\.dot\n\z/m,
    'then the message, in which old fields of ours have other names';
is_deeply [fields($r, 'X-Spam-')], ["X-Spam-Check-By: mx.example.test\n",
    "X-Spam-Status: No, score=1.2 required=5.0 tests=A,B autolearn=no version=4.0.1\n", "X-Spam-Level: *\n"],
    "the message gets spamd's fields in their order, but neither Report nor Prev-Subject";
is_deeply [fields($r, 'X-Old-')], ["X-Old-Spam-Flag: NO\n", "X-Old-spam-status: No, forged\n"], 'old ones are renamed';
like $r->{log}, qr/pass, is_spam=No score=1\.2 required=5\.0 tests=A,B autolearn=no version=4\.0\.1/, 'log and note';

scan('spamd_user joe');
like +($spamd->heard)[0], qr/^user=joe$/m, 'spamd_user';
scan('spamd_user vpopmail');
like +($spamd->heard)[0], qr/^user=b\@example\.test$/m, 'vpopmail: the recipient';
$r = scan('spamd_user vpopmail', to => ['b@example.test', 'c@example.test']);
like +($spamd->heard)[0], qr/^user=vpopmail$/m, 'unless there are several';
is_deeply [fields($r, 'X-Spam-User')], ["X-Spam-User: vpopmail, 2 recipients\n"], 'which the message tells';
is_deeply [fields(scan('leave_old_headers drop'), 'X-Old-')], [], 'leave_old_headers drop';
like join('', fields(scan('leave_old_headers keep'), 'X-Spam-S')), qr/score=1\.2.*\n.*No, forged\n\z/s,
    'leave_old_headers keep: ours above';
is_deeply [fields(scan('headers none'), 'X-Spam-')], [], 'headers none';

# ---- verdicts --------------------------------------------------------------------------------------

my $spam = answer('True', '15.1', "Yes, score=15.1 required=5.0 tests=A,\r\n\tB autolearn=spam", 'X-Spam-Flag: YES');
my @verdicts = ( # arguments, answer, reply, what is in the log or in the header
    ['', $spam, qr/^250/, qr/^X-Spam-Status: Yes, score=15\.1 required=5\.0 tests=A,\n\tB autolearn=spam\n/m],
    ['', $spam, qr/^250/, qr/^X-Spam-Flag: YES$/m],
    ['reject 15', $spam, qr/^554 (?:\S+ )?spam score exceeded threshold$/, qr/refused, spam.*score=15\.1.*tests=A,B/],
    ['reject_threshold 15.1', $spam, qr/^554/],
    ['reject 15.2', $spam, qr/^250/],
    ['reject 0', $spam, qr/^250/],
    ['reject 20', $spam, qr/^250/],
    ['reject userprefs', $spam, qr/^554/],
    ['reject userprefs', answer('False', '4.9', undef), qr/^250/],
    ['reject 12 reject_type temp', $spam, qr/^451 (?:\S+ )?spam score/],
    ['reject -5', answer('False', '-4.9', undef), qr/^554/],
    ['reject -4', answer('False', '-4.9', undef), qr/^250/],
    ['munge_subject_threshold 5', answer('True', '6.0', undef), qr/^250/, qr/^Subject: \*\*\* SPAM \*\*\* hi$/m],
    ['munge_subject_threshold 5', answer('False', '5.0', undef), qr/^250/, qr/^Subject: hi$/m],
    ['munge_subject_threshold 2', answer('False', '3.0', undef), qr/^250/, qr/^Subject: hi$/m],
    ['munge_subject_threshold 5 subject_prefix [spam]', $spam, qr/^250/, qr/^Subject: \[spam\] hi$/m],
    ['', answer('False', '1.0', 'No, hits=-1.0 required=4.0 autolearn=ham version=3.3.2'), qr/^250/,
        qr/is_spam=No score=1\.0 required=5\.0 autolearn=ham version=3\.3\.2/],
    ['', answer('False', '1.0', undef), qr/^250/, qr/^X-Spam-Status: No, hits=1\.0 required=5\.0\n\ttests=$/m],
    ['', answer('False', '1.0', 'Maybe'), qr/^250/, qr/^X-Spam-Status: Maybe$/m],
);
for (@verdicts) {
    my ($args, $says, $reply, $there) = @$_;
    spamd($says);
    $r = scan($args);
    like $r->{reply}, $reply, "$args: the reply";
    like $r->{log} . ($r->{message} || ''), $there, "$args: log and header" if $there;
}
is_deeply [fields(scan('', mail => "From: a\@client.test\n\nx\n"), 'Subject')], [], 'no Subject, none is made';
spamd($spam);
is_deeply [fields(scan('munge_subject_threshold 5', mail => "From: a\@client.test\n\nx\n"), 'Subject')],
    ["Subject: *** SPAM ***\n"], 'unless there is something to say';
$t->config(subject_prefix => 'Looks like spam:');
is_deeply [fields(scan('munge_subject_threshold 5'), 'Subject')], ["Subject: Looks like spam: hi\n"],
    'the prefix of the file';

# ---- verb symbols: r356's fields --------------------------------------------------------------------

my $many = join ',', map { "A_TEST_OF_MANY_$_" } 1 .. 12;
spamd("SPAMD/1.1 0 EX_OK\r\nContent-length: 20\r\nSpam: True ; 15.1 / 5.0\r\n\r\n$many\r\n");
$r = scan('verb symbols reject_threshold 20 munge_subject_threshold 10');
like +($spamd->heard)[0], qr/^verb=SYMBOLS SPAMC/, 'verb symbols';
like $r->{message}, qr/^X-Spam-Check-By: mx\.example\.test\nX-Spam-Flag: YES\nX-Spam-Status: Yes, hits=15\.1 required=5\.0\n\ttests=A_TEST_OF_MANY_1,/m,
    "r356's fields";
my ($status) = fields($r, 'X-Spam-Status');
cmp_ok length, '<=', 77, 'no line of it is too long' for split /\n/, $status;
(my $unfolded = $status) =~ s/\s//g;
like $unfolded, qr/tests=\Q$many\E\z/, 'and all tests are there';
spamd("SPAMD/1.1 0 EX_OK\r\nSpam: False ; 0.0 / 5.0\r\n\r\n");
$r = scan('verb symbols');
like $r->{message}, qr/^X-Spam-Status: No, hits=0\.0 required=5\.0\n\ttests=\n/m, 'no tests';
unlike $r->{message}, qr/^X-Spam-Flag/m, 'no flag for ham';

# ---- who is not scored -----------------------------------------------------------------------------

spamd($spam);
like scan('reject 5', before => ['check_relay'], env => {RELAYCLIENT => ''})->{log}, qr/skip, immune client/, 'relay clients';
like scan('reject 5 relayclient scan', before => ['check_relay'], env => {RELAYCLIENT => ''})->{reply}, qr/^554/,
    'relayclient scan';
like scan('reject 5 size_limit 1k', mail => "$mail$mail" . 'x' x 1000 . "\n")->{log}, qr/skip, message larger/, 'size_limit';
is_deeply [fields(scan('size_limit 10'), 'X-Spam')], [], 'and what the client said of itself is gone there, too';
like scan('reject 5 size_limit 0', mail => $mail . "x\n" x 300_000)->{reply}, qr/^554/, 'size_limit 0: none';

# ---- a daemon that lies, dies or sleeps --------------------------------------------------------------

my @hostile = ( # what it says, in pieces; what the log tells
    ['', 'closed'],
    ["garbage\r\n", 'no answer of spamd'],
    ["SPAMD/1.1 76 Bad header line\r\n", 'code=76 .*could not'],
    ["SPAMD/1.1 1000 EX_OK\r\n", 'no answer of spamd'],
    ["SPAMD/1.1 0 EX_OK\r\n", 'closed'],
    ["SPAMD/1.1 0 EX_OK\r\n\r\nX-Spam-Flag: NO\r\n\r\n", 'no verdict'],
    ["SPAMD/1.1 0 EX_OK\r\nSpam: Perhaps ; 1 / 5\r\n\r\n", 'no answer of spamd'],
    ["SPAMD/1.1 0 EX_OK\r\nSpam: True ; 12345678 / 5\r\n\r\n", 'no answer of spamd'],
    ["SPAMD/1.1 0 EX_OK\r\nSpam: False ; 1 / 5\r\nSpam: True ; 9 / 5\r\n\r\n", 'no answer of spamd'],
    ["SPAMD/1.1 0 EX_OK\r\n" . "A: b\r\n" x 100, 'no end'],
    ["SPAMD/1.1 0 EX_OK\r\nSpam: False ; 1.0 / 5.0\r\n\r\nX-Spam-Flag: NO\r\n", 'closed'],
    ['x' x 2_000_000, 'too long'],
    ["SPAMD/1.1 0\0EX_OK\r\n", 'NUL'],
);
for my $case (@hostile) {
    my ($says, $log) = @$case;
    spamd($says);
    for my $policy ('accept', 'tempfail') {
        $r = scan("reject 5 on_error $policy");
        like $r->{log}, qr/error, cannot ask spamd.*$log/, "$log: logged";
        like $r->{reply}, $policy eq 'accept' ? qr/^250 / : qr/^451 (?:\S+ )?unable to check for spam/, "$log: $policy";
        is_deeply [fields($r, 'X-Spam-')], [], 'nothing half-done in the header' if $policy eq 'accept';
    }
}
like scan('')->{reply}, qr/^250 /, 'accept is the default';

# Fields may hold anything, and be long or many: our header stays a header.
spamd(answer('False', '1.0', "No, score=1.0\x01\xff\0tests=A", "X-Spam-Bad name: x", 'X-Spam-: x', 'X-Spam-Long: ' . 'y' x 5000,
    "X-Spam-Fold:\r\n\t\r\n a\r\r\n\tb", map { "X-Spam-N$_: z" } 1 .. 100));
$r = scan('');
like $r->{reply}, qr/^250 /, 'odd fields';
my @got = fields($r, 'X-Spam-');
like $got[1], qr/^X-Spam-Status: No, score=1\.0\?\?\?tests=A$/, 'odd bytes are masked';
cmp_ok scalar(@got), '<=', 33, 'not too many';
cmp_ok length, '<=', 1000, 'no line is too long' for split /\n/, join '', @got;
is scalar(grep { /Bad name|^X-Spam-:/i } @got), 0, 'no bad names';
unlike join('', @got), qr/\r/, 'no CR';

# As many fields as a header can have are renamed, to a bound, and dropped at once.
my $begin = time;
$r = scan('', mail => 'X-Spam-a: b' . "\nX-Spam-a: b" x 20_000 . "\nFrom: a\@client.test\n\nx\n");
cmp_ok time - $begin, '<', 5 * ($ENV{TEST_SLOW} || 1), 'twenty thousand fields that look like ours take no time';
is scalar(() = $r->{message} =~ /^X-Old-Spam-a: b$/mg), 100, 'a hundred of them are kept under another name';
is scalar(() = $r->{message} =~ /^X-Spam-a/mg), 0, 'none under ours';

# A header line of the message comes back in HEADERS: however long it is, the verdict counts.
spamd(answer('True', '9.0', 'Yes, score=9.0', 'Long: ' . 'z' x 200_000, "Nul: \0\0", map { 'a:b' } 1 .. 30_000));
like scan('reject 5')->{reply}, qr/^554 /, 'long and many header lines hide nothing';

# It answers at once and does not read: the answer to a question that it has not heard is none.
$spamd->stop;
$spamd = Qpsmtpd::Daemon->new(sub { say_to($_[0], answer('False', '1.0', undef)); hang() }, path => $path);
$r = scan('reject 5 on_error tempfail size_limit 0 timeout 20s', mail => $mail . "x\n" x 2_000_000);
like $r->{reply}, qr/^451 /, 'an answer before the end of the question';
like $r->{log}, qr/it has answered before it had heard all/, 'is noticed';

# It never answers.
for my $daemon (sub { request($_[0]); hang() }, sub { hang() }, sub { say_to($_[0], 'SPAMD/1.1 0'); hang() },
    sub { request($_[0]); say_to($_[0], map { ('SPAMD'), \0.3 } 1 .. 100) }) {
    $spamd->stop;
    $spamd = Qpsmtpd::Daemon->new($daemon, path => $path);
    $begin = time;
    $r = scan('reject 5 on_error tempfail timeout 1s size_limit 0', mail => $mail . "x\n" x 1_000_000);
    like $r->{reply}, qr/^451 /, 'a daemon that does not come to an end';
    cmp_ok time - $begin, '<', 15 * ($ENV{TEST_SLOW} || 1), 'in time';
}
$spamd->stop;
$spamd = Qpsmtpd::Daemon->new(sub { reset_of($_[0]) });
like scan('on_error tempfail spamd_socket 127.0.0.1:' . $spamd->port)->{reply}, qr/^451 /, 'a reset';
$spamd->stop;
$r = scan('on_error tempfail spamd_socket 127.0.0.1:' . $spamd->port);
like $r->{reply}, qr/^451 /, 'nobody listens';
like $r->{log}, qr/port=\d+ .*refused/i, 'is told';
like scan("spamd_socket $path.not")->{log}, qr/cannot ask spamd.*No such file/, 'no socket';

# ---- TCP, and one session with several messages -------------------------------------------------------

my $n = 0;
$spamd = Qpsmtpd::Daemon->new(sub {
    my ($c, $n) = @_;
    request($c);
    say_to($c, $n == 1 ? $spam : answer('False', '1.0', undef));
});
$r = scan('reject 5 spamd_socket localhost:' . $spamd->port, again => $mail);
like $r->{reply}, qr/^554 /, 'spam over TCP';
like $r->{again}, qr/^250 /, 'the next message of the session is judged by itself';

# What a client makes us ask, and how long that takes, keeps nobody from finding spamd.
my $dns = Qpsmtpd::DNS->new({'spamd.test' => {A => '127.0.0.1'}, '*.bl.test' => {drop => 1}});
$t->config(dns_servers => $dns->address);
$t->config(uribl_zones => 'bl.test log');
for ([dns_queries_max => 2], [dns_hook_timeout => '0.3']) {
    $t->config(@$_);
    $r = scan('reject 5 spamd_socket spamd.test:' . $spamd->port, before => ['uribl'], mail => "Subject: hi\n\nhttp://a.com http://b.com\n",
        again => "Subject: hi\n\nhttp://c.com http://d.com\n");
    like $r->{log}, qr/lookup failed name=\w+\.com\.bl\.test/, "$_->[0] is used up,";
    unlike "$r->{reply} $r->{again} $r->{log}", qr/cannot ask spamd/, 'and spamd is found';
    $t->config($_->[0] => []);
}
$t->config($_ => []) for qw(dns_servers uribl_zones);
$spamd->stop;

# ---- memory ------------------------------------------------------------------------------------------

# 25 MiB go through: what the session needs does not grow with the message.
SKIP: {
    skip 'sanitizers need memory of their own', 1 if sanitized();
    my %peak;
    for my $size (1 << 10, 25 << 20) {
        $spamd = Qpsmtpd::Daemon->new(sub {
            my ($c) = @_;
            line($c) for 1 .. 4;
            1 while sysread $c, my $unused, 1 << 20;
            say_to($c, answer('False', '1.0', undef));
        }, path => $path);
        $r = scan('size_limit 0', mail => "Subject: hi\n\n" . ('x' x 62 . "\n") x ($size / 63));
        $peak{$size} = $r->{memory};
        like $r->{reply}, qr/^250 /, "$size bytes";
        $spamd->stop;
    }
    diag "peak memory of the session: $peak{1024} KiB with 1 KiB of mail, $peak{26214400} KiB with 25 MiB";
    cmp_ok $peak{26214400} - $peak{1024}, '<', 2048, 'memory does not grow with the message';
}

# ---- configuration -----------------------------------------------------------------------------------

for ( # arguments, what is said
    ['reject twelve', 'reject: "twelve" is no score'],
    ['reject 1234567', 'is no score'],
    ['reject 5 reject_threshold 6', 'the same'],
    ['munge_subject_threshold x', 'munge_subject_threshold: "x" is no score'],
    ['spamd_socket localhost:0', 'out of range|65535'],
    ['spamd_socket [::1', 'is no place of a daemon'],
    ['spamd_socket relative/path', 'is no place of a daemon'],
    ['spamd_socket /' . 'x' x 120, 'too long'],
    ['verb check', 'headers'],
    ['headers some', 'add'],
    ['leave_old_headers burn', 'rename'],
    ['timeout 0', 'timeout'],
    ['on_error ignore', 'accept'],
    ['reject_type maybe', 'reject_type'],
    ['spamd_user ' . 'x' x 300, 'spamd_user'],
    ['nonsense 1', 'nonsense'],
) {
    my ($args, $said) = @$_;
    $t->config(plugins => "spamassassin $args");
    my ($status, $output) = $t->check;
    isnt $status, 0, "refused: $args";
    like $output, qr/plugins:1: .*(?:$said)/, 'with file, line and reason';
}

done_testing;
