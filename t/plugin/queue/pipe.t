use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Test qw(slurp wait_for);

# A program of our own: notes its words and its input, one run after the other, and does what the file
# `do` beside it says.
my $stand_in = <<'PERL';
use strict;
use warnings;
my ($dir) = $0 =~ m{(.*)/};
my $do = do { open my $fh, '<', "$dir/do" or die; local $/; <$fh> };
sub note { open my $fh, '>>:raw', "$dir/$_[0]" or die; print $fh $_[1]; close $fh }
sub message { local $/; my $m = <STDIN>; note('message', $m); $m }
note('argv', join('', map { "$_\n" } @ARGV) . "\0");
note('pid', "$$\n");
eval "$do; 1" or die $@;
exit 0;
PERL

# harness - `PROGRAM` in the line is the stand-in
sub harness {
    my ($line, %config) = @_;
    my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test', 'me-auth-results' => 'none', %config});
    my $path = $t->file('bin/program', "#!$^X\n$stand_in");

    chmod 0755, $path;
    $line =~ s/PROGRAM/$path/;
    $t->config(plugins => ['rcpt_ok', "queue/pipe $line"]);
    return $t;
}

sub does { my ($t, $do) = @_; unlink map { "$t->{dir}/bin/$_" } qw(message argv pid); $t->file('bin/do', $do) }
sub seen { my ($t, $what) = @_; slurp("$t->{dir}/bin/$what") }
sub words { my ($t) = @_; [map { [/([^\n]*)\n/g] } split /\0/, seen($t, 'argv')] }

my $small = "Subject: x\nMessage-Id: <id\@client.test>\n\nbody\n";
my $large = "Subject: large\n\n" . ('x' x 70 . "\n") x 30_000;
sub reply_to { my ($d, $message) = @_; $d->deliver('a@client.test', 'b@example.test', defined $message ? $message : $small) }

# ---- what it gets ----------------------------------------------------------------------------------

my $t = harness('PROGRAM');
my $d = $t->dialogue;
does($t, 'message; note(cwd => readlink "/proc/self/cwd"); note(env => $ENV{TCPREMOTEIP}); opendir my $dh, "/proc/self/fd";
    note(fds => join " ", sort grep { /\d/ && (readlink("/proc/self/fd/$_") || "") !~ m{/fd$} } readdir $dh)');
my $message = "Message-Id: id\@client.test\nSubject: bytes\n folded\n\n.\n..dot\n\nFrom here\n\xe9\xff\0\t \nend\n";
like $d->deliver('a@client.test', ['b@example.test', 'C@Example.test', '"q q"@example.test', '-oQ/tmp@example.test'], $message),
    qr/^250 Queued! <id\@client\.test>$/, 'the reply has the Message-Id';
is_deeply words($t), [['-i', '-f', 'a@client.test', '--', 'b@example.test', 'C@Example.test', '"q\ q"@example.test',
    '-oQ/tmp@example.test']], 'it is called like sendmail; behind -- nobody is an option';
my $got = seen($t, 'message');
ok $got =~ s/\AReceived: .*\n(?:[ \t].*\n)+//, 'our Received is on top';
is $got, $message, 'then comes the message, byte for byte';
is seen($t, 'fds'), '0 1 2', 'with three descriptors, none of them the client';
is seen($t, 'env'), '127.0.0.1', 'and our environment';
does($t, 'message');
like $d->deliver('', 'b@example.test', "Subject: y\n"), qr/^250 Queued!$/, 'the null sender';
is_deeply words($t), [['-i', '-f', '', '--', 'b@example.test']], '... is an empty word';
like $d->deliver('-x@client.test', 'b@example.test', $small), qr/^250 /, 'a sender with a dash is the value of -f';
like reply_to($d, $large), qr/^250 /, 'a large message';
is substr(seen($t, 'message'), -1 - length $large), "\n$large", '... arrives unchanged';
does($t, 'print "x" x 65536 for 1 .. 64; message');
like reply_to($d), qr/^250 /, 'it may say as much as it likes';
does($t, 'exit 0');
like reply_to($d, $large), qr/^250 /, 'who reads nothing and is content, is';
does($t, 'message; if (!fork) { select undef, undef, undef, 60; exit } note(left => 1)');
my $start = time;
like reply_to($d), qr/^250 /, 'what it leaves behind with its output open is not waited for';
ok time - $start < 30, '... at all';

# ---- exit codes ------------------------------------------------------------------------------------

my %text = (
    64 => '451 configuration error', 65 => '554 message not accepted', 67 => '550 no such mailbox', 68 => '550 no such host',
    71 => '451 system error', 73 => '451 cannot write', 74 => '451 input/output error', 77 => '554 not permitted',
    78 => '451 configuration error', 100 => '554 refused for good',
    (map { $_ => '451 temporary failure' } 1, 2, 66, 69, 70, 72, 75, 76, 99, 111, 126, 127, 255),
);
for my $code (sort { $a <=> $b } keys %text) {
    does($t, "message; exit $code");
    is reply_to($d), $text{$code}, "exit $code";
}
for my $signal (qw(KILL SEGV PIPE)) {
    does($t, "message; kill $signal => \$\$; sleep 10");
    is reply_to($d), '451 queue error (crash)', "SIG$signal";
}
for (['no such user', '550 no such mailbox: no such user'], ["\n \n  first\nsecond\n", '550 no such mailbox: first'],
    ["a\r\n250 ok", '550 no such mailbox: a'], ["\0a\xff\x1b[1m\t", '550 no such mailbox: a??[1m?'], ["\xc3\xa9", '550 no such mailbox: ??'],
    ['x' x 100_000, '550 no such mailbox: ' . 'x' x 200], ["\n" x 100_000, '550 no such mailbox'])
{
    my ($text, $reply) = @$_;
    my $hex = unpack 'H*', substr $text, 0, 1;

    $t->file('bin/text', $text);
    does($t, 'message; open my $fh, "<", "$dir/text"; print STDERR <$fh>; exit 67');
    is reply_to($d), $reply, 'exit 67 with ' . length($text) . ' bytes of output';
}
like $d->log, qr/ended program=\S+ pid=\d+ status=0x4300 output="first"/, 'output and exit code are in the log';

my $h = harness('timeout 1s PROGRAM');
my $hd = $h->dialogue;
for (['sleep 60', 'does not end'], ['$SIG{TERM} = "IGNORE"; message; close STDOUT; close STDERR; sleep 60', 'closes all and does not end'],
    ['message; $SIG{PIPE} = "IGNORE"; print "x" x 65536 while 1', 'talks without end'])
{
    my ($do, $what) = @$_;

    $start = time;
    does($h, $do);
    like reply_to($hd), qr/^451 queue error \(timeout\)(?:: x+)?$/, "a program that $what";
    ok time - $start >= 0.9 && time - $start < 15, '... the time limit holds';
    my ($pid) = seen($h, 'pid') =~ /(\d+)/;
    ok wait_for(sub { !kill 0 => $pid }, 5, "the end of $pid"), '... and it is gone';
}

# ---- which words -----------------------------------------------------------------------------------

# argv - what a line makes of sender a@client.test and the recipients
sub argv {
    my ($line, @to) = @_;
    my $p = harness($line);

    does($p, 'message');
    my $reply = $p->dialogue->deliver('a@client.test', \@to, $small);
    return $reply =~ /^250 / ? words($p) : $reply;
}

my @two = ('b@example.test', 'c@example.test');
is_deeply argv('PROGRAM --from=%s --to=%r 100%%', @two), [['--from=a@client.test', '--to=b@example.test', '--to=c@example.test', '100%']],
    'placeholders may be parts of words';
is_deeply argv('recipients 1 PROGRAM -f %s -d %l/%d', @two),
    [['-f', 'a@client.test', '-d', 'b/example.test'], ['-f', 'a@client.test', '-d', 'c/example.test']], 'one run for each';
is_deeply argv('recipients 1 PROGRAM %l -- %d $HOME;>x *', 'b@example.test'), [['b', '--', 'example.test', '$HOME;>x', '*']],
    'several words for the recipient; no shell has seen them';
is_deeply argv('recipients 2 PROGRAM -- %r', @two, 'd@example.test'), [['--', @two], ['--', 'd@example.test']], 'two in one run';
is argv('PROGRAM -i %r', 'b@example.test', '-oX/tmp/x@example.test'), '553 mailbox name not allowed', 'without --, a dash is refused';
is argv('recipients 1 PROGRAM -d %l', '-oX@example.test'), '553 mailbox name not allowed', '... behind an option, too';
is_deeply argv('PROGRAM to-%r', '-x@example.test'), [['to--x@example.test']], '... but not in the middle of a word';
{
    my $p = harness('PROGRAM %s %r');

    does($p, 'message');
    is $p->dialogue->deliver('-oX@client.test', 'b@example.test', $small), '553 sender address not allowed', '... for senders as well';
    is seen($p, 'argv'), undef, '... and nothing was run';
}

{
    my $p = harness('recipients 1 PROGRAM -- %r');
    my $pd = $p->dialogue;

    for (['75', '451 temporary failure'], ['67', '550 no such mailbox']) {
        does($p, 'message; exit ' . $_->[0] . ' if $ARGV[1] =~ /^c/');
        is $pd->deliver('a@client.test', [@two, 'd@example.test'], $small), $_->[1], "exit $_->[0] of the second run decides";
        is scalar @{words($p)}, 2, '... and the third does not begin';
    }
    like $pd->log, qr/not queued reason="no such mailbox" delivered=1 of=3/, '... which the log tells';
}

SKIP: {
    # The kernel takes a quarter of the stack's limit for words, at least 128 KiB.
    my $p = harness('PROGRAM ' . join(' ', ('x' x 1000) x 60) . ' -- %r' . 'y' x 1000, max_recipients => 1000);
    does($p, 'message');
    my ($status, $said) = $p->run({stdin => "EHLO x\r\nMAIL FROM:<a\@client.test>\r\n"
            . join('', map { "RCPT TO:<b$_\@example.test>\r\n" } 1 .. 100) . "DATA\r\nSubject: x\r\n.\r\nQUIT\r\n"},
        'sh', '-c', 'ulimit -s 256; exec "$@"', 'sh', $p->program('qpsmtpd'), $p->options);
    skip 'the words fit here', 1 if $said =~ /^250 Queued/m;
    like $said, qr/^452 too many recipients for one command line\r$/m, 'more words than the kernel takes';
}

{
    my $p = harness('PROGRAM');

    does($p, 'message');
    my $pd = $p->dialogue;
    rename "$p->{dir}/bin/program", "$p->{dir}/bin/gone";
    is reply_to($pd), '451 queue error (start)', 'a program that has gone';
    like $pd->log, qr/cannot start program=\S+ error="No such file/, '... and the log says why';
}

# ---- configuration ---------------------------------------------------------------------------------

for my $bad (['', 'program is missing'], ['sendmail', 'sendmail'], ['timeout 0 PROGRAM', 'timeout'], ['timeout 2d PROGRAM', 'timeout'],
    ['recipients 0 PROGRAM', 'recipients'], ['fallback 1 PROGRAM', 'fallback'], ['/nonexistent/program', '/nonexistent/program'],
    ['PROGRAM -f %s', 'recipients'], ['PROGRAM -f%s %r', 'two words'], ['PROGRAM %r %x', '%x'], ['PROGRAM %r 5%', '5%'],
    ['PROGRAM %l %d', 'recipients 1'])
{
    my ($status, $said) = harness($bad->[0])->check;

    isnt $status, 0, "'queue/pipe $bad->[0]' refuses the start";
    like $said, qr/plugins.*2.*\Q$bad->[1]\E/, 'and the message says where and what';
}

done_testing;
