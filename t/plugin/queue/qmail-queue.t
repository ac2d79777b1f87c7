use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Test qw(slurp wait_for);

# A qmail-queue of our own: does what the file `do` beside it says, and notes what it has seen.
my $stand_in = <<'PERL';
use strict;
use warnings;
my ($dir) = $0 =~ m{(.*)/};
my $do = do { open my $fh, '<', "$dir/do" or die; local $/; <$fh> };
sub note { open my $fh, '>:raw', "$dir/$_[0].new" or die; print $fh $_[1]; close $fh; rename "$dir/$_[0].new", "$dir/$_[0]" }
sub all { my ($fd) = @_; open my $fh, '<&=', $fd or die; binmode $fh; local $/; my $text = <$fh>; defined $text ? $text : '' }
sub message { note('message', all(0)) }
sub envelope { note('envelope', all(1)) }
sub say6 { open my $fh, '>&=', 6 or die; syswrite $fh, $_[0] }
note('pid', $$);
eval "$do; 1" or die $@;
exit 0;
PERL

# A harness, and where the stand-in lies in it.
sub harness {
    my ($line, %config) = @_;
    my $t = Qpsmtpd::Test->new(
        plugins => ['check_relay', 'rcpt_ok', $line eq '' ? () : $line, 'queue/discard'],
        config => {rcpthosts => 'example.test', 'me-auth-results' => 'none', %config},
    );
    my $path = $t->file('qmail/bin/qmail-queue', "#!$^X\n$stand_in");

    chmod 0755, $path;
    return $t;
}

sub does { my ($t, $do) = @_; $t->file('qmail/bin/do', $do) }
sub seen { my ($t, $what) = @_; slurp("$t->{dir}/qmail/bin/$what") }

my $small = "Subject: x\nMessage-Id: <id\@client.test>\n\nbody\n";
my $large = "Subject: large\n\n" . ('x' x 70 . "\n") x 30_000;
sub reply_to { my ($d, $message) = @_; $d->deliver('a@client.test', 'b@example.test', defined $message ? $message : $small) }

# ---- what it gets ----------------------------------------------------------------------------------

my $t = harness('queue/qmail-queue');
my $d = $t->dialogue;
does($t, 'message; envelope; note(cwd => readlink "/proc/self/cwd"); note(argv => "@ARGV");
    opendir my $dh, "/proc/self/fd"; note(fds => join " ", sort grep { /\d/ && (readlink("/proc/self/fd/$_") || "") !~ m{/fd$} } readdir $dh);
    open my $s, "<", "/proc/self/status"; note(signals => join "", grep { /^Sig(?:Ign|Blk)/ } <$s>); note(env => $ENV{TCPREMOTEIP});');

my $before = time;
my $message = "Message-Id: id\@client.test\nSubject: bytes\n folded\n\n.\n..dot\n\nFrom here\n\xe9\xff\t \nend\n";
like $d->deliver('a@client.test', ['b@example.test', 'c@Example.test', 'b@example.test'], $message),
    qr/^250 Queued! (\d+) qp (\d+) <id\@client\.test>$/, 'the reply has time, process and Message-Id in angle brackets';
my ($when, $qp) = $d->reply =~ /(\d+) qp (\d+)/;
ok abs($when - $before) < 20, 'the time is now';
is $qp, seen($t, 'pid'), 'the number is its process id';
is seen($t, 'envelope'), "Fa\@client.test\0Tb\@example.test\0Tc\@Example.test\0Tb\@example.test\0\0", 'the envelope';
my $got = seen($t, 'message');
ok $got =~ s/\AReceived: .*\n(?:[ \t].*\n)+//, 'our Received is on top';
is $got, $message, 'then comes the message, byte for byte';
is seen($t, 'cwd'), "$t->{dir}/qmail", 'it runs in the home of qmail';
is seen($t, 'argv'), '', 'without arguments';
is seen($t, 'fds'), '0 1 2 6', 'with four descriptors, none of them the client';
like seen($t, 'signals'), qr/^SigBlk:\t0+$/m, 'no signal blocked';
# Perl itself ignores SIGFPE; 32 and 33 belong to the C library, and make leaves them ignored.
no warnings 'portable';
is hex((seen($t, 'signals') =~ /SigIgn:\t([0-9a-f]+)/)[0]) & ~(1 << 7 | 3 << 31), 0, 'and none ignored';
is seen($t, 'env'), '127.0.0.1', 'and our environment';

like $d->deliver('', '"q q"@example.test', "Subject: y\n\nbody\n"), qr/^250 Queued! \d+ qp \d+$/, 'no Message-Id, none in the reply';
is seen($t, 'envelope'), "F\0Tq q\@example.test\0\0", 'the null sender; no quotes';
like reply_to($d, "Message-ID:\n <folded\@client.test>\nSubject: y\n\nbody\n"), qr/^250 Queued! \d+ qp \d+ <folded\@client\.test>$/,
    'a Message-ID on a line of its own';
like reply_to($d, "Message-ID: \n\t\nSubject: y\n\nbody\n"), qr/^250 Queued! \d+ qp \d+$/, 'one of nothing but blanks is none';

does($t, 'message; envelope; note(env => join " ", map { "$_=$ENV{$_}" } sort grep { /^(?:TCP|PROTO)/ } keys %ENV)');
reply_to($t->dialogue(env => {TCPREMOTEIP => '192.0.2.9',
    map { ($_ => undef) } qw(TCPREMOTEPORT TCPREMOTEHOST TCPLOCALIP TCPLOCALPORT TCPLOCALHOST)}));
is seen($t, 'env'), 'PROTO=TCP TCPREMOTEIP=192.0.2.9', 'what nobody knows of the client is no variable';

my $random = join '', map { pack('N', $_ * 2654435761 & 0xffffffff) =~ s/[\r\n\0]/-/gr . ($_ % 16 ? '' : "\n") } 1 .. 400_000;
like reply_to($d, "Subject: big\n\n$random\n"), qr/^250 /, 'a big message';
ok substr(seen($t, 'message'), -1 - length $random) eq "$random\n", '... arrives unchanged';

my @many = map { 'user-with-a-long-name-' . $_ . 'x' x 30 . '@example.test' } 1 .. 90;
does($t, 'message; select undef, undef, undef, 0.3; envelope');
like $d->deliver('a@client.test', \@many, $small), qr/^250 /, 'many recipients, slowly read';
is seen($t, 'envelope'), "Fa\@client.test\0" . join('', map { "T$_\0" } @many) . "\0", '... are all there';

# ---- what it says ----------------------------------------------------------------------------------

my %text = (
    11 => '554 envelope address too long for qq (#5.1.3)',
    (map { $_ => '554 qq permanent problem (#5.3.0)' } 12, 30, 32, 40),
    31 => '554 mail server permanently rejected message (#5.3.0)',
    51 => '451 qq out of memory (#4.3.0)',
    52 => '451 qq timeout (#4.3.0)',
    53 => '451 qq write error or disk full (#4.3.0)',
    54 => '451 qq read error (#4.3.0)',
    55 => '451 qq unable to read configuration (#4.3.0)',
    56 => '451 qq trouble making network connection (#4.3.0)',
    61 => '451 qq trouble in home directory (#4.3.0)',
    (map { $_ => '451 qq trouble creating files in queue (#4.3.0)' } 62 .. 66),
    71 => '451 mail server temporarily rejected message (#4.3.0)',
    72 => '451 connection to mail server timed out (#4.4.1)',
    73 => '451 connection to mail server rejected (#4.4.1)',
    74 => '451 communication with mail server failed (#4.4.2)',
    81 => '451 qq internal bug (#4.3.0)',
    91 => '451 qq internal bug (#4.3.0)',
    115 => '554 envelope address too long for qq (#5.1.3)',
    120 => '451 unable to exec qq (#4.3.0)',
    (map { $_ => '451 qq temporary problem (#4.3.0)' } 1, 10, 41, 50, 57, 67, 82, 90, 92, 111, 119, 255),
);
for my $code (sort { $a <=> $b } keys %text) {
    does($t, "message; envelope; exit $code");
    is reply_to($d), $text{$code}, "exit $code";
}

for my $signal (qw(KILL SEGV PIPE)) {
    does($t, "message; envelope; kill $signal => \$\$; sleep 10");
    is reply_to($d), '451 qq crashed (#4.3.0)', "SIG$signal";
}

for (['Dno thanks (#5.7.1)', '554 no thanks (#5.7.1)'], ["Ztry later (#4.2.0)\n", '451 try later (#4.2.0)'],
    ['Xwhatever', '451 whatever'], ['Dx', '451 qq temporary problem (#4.3.0)'], ['', '451 qq temporary problem (#4.3.0)'],
    ["Da\r\n250 ok\0\xff\x1b[1m", '554 a??250 ok???[1m'], ['D' . 'x' x 5000, '554 ' . 'x' x 254])
{
    my ($text, $reply) = @$_;
    my $hex = unpack 'H*', $text;

    does($t, "message; envelope; say6(pack 'H*', '$hex'); exit 82");
    is reply_to($d), $reply, 'exit 82 with ' . length($text) . ' bytes on descriptor 6';
}
does($t, 'message; envelope; say6("Dno"); exit 0');
like reply_to($d), qr/^250 /, 'without exit 82 they mean nothing';

# ---- what else it may do ---------------------------------------------------------------------------

does($t, 'exit 31');
is reply_to($d), '554 mail server permanently rejected message (#5.3.0)', 'it reads nothing of a small message and says why';
is reply_to($d, $large), '554 mail server permanently rejected message (#5.3.0)', '... nor of a large one';
does($t, 'POSIX::close(0) if eval { require POSIX }; exit 0');
is reply_to($d, $large), '451 qq read error (#4.3.0)', 'it has not read all and says 0: that is no success';
does($t, 'message; exit 53');
is reply_to($d, $small), '451 qq write error or disk full (#4.3.0)', 'it reads the message only';

# What the pipes take is not read yet, and with 0 it would be lost.
my $late = 'select undef, undef, undef, 0.2';
my $some = "X: y\n\nxyz\n";
for (['exit 0', 'ends at once', $some, $large], ["$late; exit 0", 'reads nothing', $some, $large],
    ["message; $late", 'reads the message only', $some, $large],
    ["message; open my \$e, '<&=', 1; sysread \$e, my \$x, 3; $late", 'reads a part of the envelope', $some, $large],
    ["sysread STDIN, my \$x, 7; envelope; $late", 'reads a part of the message and the envelope', $some],
    ["sysread STDIN, my \$x, 100_000; $late", 'reads a part of the message', $large])
{
    my ($do, $what, @messages) = @$_;

    does($t, "$do; exit 0");
    is reply_to($d, $_), '451 qq read error (#4.3.0)', "it $what, and says 0: " . length($_) . ' bytes' for @messages;
}
does($t, "$late; message; $late; envelope; $late");
like reply_to($d, $_), qr/^250 /, 'it reads late, but all' for $small, $large;
does($t, "message; $late; exit 31");
is reply_to($d), '554 mail server permanently rejected message (#5.3.0)', 'no envelope is read for a refusal';
does($t, "$late; kill KILL => \$\$; sleep 10");
is reply_to($d, $_), '451 qq crashed (#4.3.0)', 'it reads nothing and crashes' for $small, $large;

# gone - is the stand-in that hung no more there?
sub gone { my ($h) = @_; my $pid = seen($h, 'pid'); wait_for(sub { !kill 0 => $pid }, 5, "the end of $pid") }

my $h = harness('queue/qmail-queue timeout 1s');
my $hd = $h->dialogue;
for (['sleep 60', $small, 'it reads nothing and does not end'],
    ['$SIG{TERM} = "IGNORE"; message; sleep 60', $small, 'it reads the message and does not end'],
    ['close STDIN; sleep 60', $large, 'it closes its input and does not end'])
{
    my ($do, $text, $what) = @$_;
    my $start = time;

    does($h, $do);
    is reply_to($hd, $text), '451 qq timeout (#4.3.0)', $what;
    ok time - $start >= 0.9 && time - $start < 15, '... the time limit holds';
    ok gone($h), '... and it is gone';
}

# It wakes up after we gave up, and must not take what it finds for a whole message.
does($h, 'select undef, undef, undef, 1.8; message; envelope; exit 54');
is reply_to($hd, $large), '451 qq timeout (#4.3.0)', 'a large message, and nobody reads';
is seen($h, 'envelope'), '', '... is given up without an envelope';
ok length seen($h, 'message') < length $large, '... before its end';
does($h, 'for (1 .. 8) { select undef, undef, undef, 0.3; sysread STDIN, my $x, 70_000 } message; envelope');
like reply_to($hd, $large), qr/^250 /, 'who reads slowly has the time limit again and again';

# ---- which program ---------------------------------------------------------------------------------

sub fields { my ($reply) = @_; return $reply =~ /^(\d+ .*?)(?: \d+ qp \d+.*)?$/ ? $1 : $reply }

$h = harness('queue/qmail-queue /nonexistent/qmail-queue');
is reply_to($h->dialogue), '451 unable to exec qq (#4.3.0)', 'a program that is not there';
does($h, 'message; envelope');
my %override = (QMAILQUEUE => "$h->{dir}/qmail/bin/qmail-queue");
is fields(reply_to($h->dialogue(env => \%override))), '250 Queued!', 'QMAILQUEUE overrides it';
is reply_to($h->dialogue(env => {QMAILQUEUE => $_})), '451 unable to exec qq (#4.3.0)', "QMAILQUEUE=$_ is refused"
    for 'bin/qmail-queue', '/bin/sh -c true', '/bin/../bin/$x', $h->dir;
is reply_to($h->dialogue(env => {QMAILQUEUE => ''})), '451 unable to exec qq (#4.3.0)', 'empty is as if unset';

$h = harness('queue/qmail-queue');
rename "$h->{dir}/qmail/bin", "$h->{dir}/bin";
rmdir "$h->{dir}/qmail";
$h->file('bin/do', 'message; envelope; note(cwd => readlink "/proc/self/cwd")');
is fields(reply_to($h->dialogue(env => {QMAILQUEUE => "$h->{dir}/bin/qmail-queue"}))), '250 Queued!', 'without a home';
is slurp("$h->{dir}/bin/cwd"), $h->dir, '... it runs where we do';

$h = harness('queue/qmail-queue');
does($h, 'message; envelope');
like $h->dialogue(env => {RELAYCLIENT => '@fix'})->deliver('a@b.test', ['c@d.test', 'e@example.test'], $small), qr/^250 /,
    'RELAYCLIENT with a value';
is seen($h, 'envelope'), "Fa\@b.test\0Tc\@d.test\@fix\0Te\@example.test\@fix\0\0", '... is appended to each recipient';

unlink "$h->{dir}/qmail/bin/$_" for qw(pid envelope);
is reply_to($h->dialogue(env => {RELAYCLIENT => '@' . 'x' x 1000})), '554 envelope address too long for qq (#5.1.3)',
    'an address that qmail-queue would not take';
is seen($h, 'pid'), undef, '... does not start it';

$h = harness('queue/qmail-queue fallback 1');
$d = $h->dialogue;
does($h, 'message; envelope; exit 71');
is reply_to($d), '250 discarded', 'fallback: the next queue plugin gets what could not be queued now';
does($h, 'message; envelope; exit 31');
like reply_to($d), qr/^554 /, '... but not what was refused for good';
does($h, 'message; envelope');
is fields(reply_to($d)), '250 Queued!', '... nor what was queued';

# ---- configuration ---------------------------------------------------------------------------------

for my $bad (['bin/qmail-queue', 'bin/qmail-queue'], ['/bin/$x', '/bin/\$x'], ['timeout 0', 'timeout'], ['timeout 2d', 'timeout'],
    ['timeout', 'timeout'], ['fallback perhaps', 'perhaps'], ['/a /b', '/b'])
{
    my ($status, $said) = harness("queue/qmail-queue $bad->[0]")->check;

    isnt $status, 0, "'queue/qmail-queue $bad->[0]' refuses the start";
    like $said, qr/plugins.*3.*$bad->[1]/, 'and the message says where and what';
}

done_testing;
