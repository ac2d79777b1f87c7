use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Test qw(slurp wait_for);

# An rsmtp of our own: does what the file `do` beside it says, and notes what it has seen.
my $stand_in = <<'PERL';
use strict;
use warnings;
my ($dir) = $0 =~ m{(.*)/};
my $do = do { open my $fh, '<', "$dir/do" or die; local $/; <$fh> };
sub note { open my $fh, '>:raw', "$dir/$_[0]" or die; print $fh $_[1]; close $fh }
sub batch { local $/; note('batch', my $m = <STDIN>); $m }
note(argv => "@ARGV");
note(pid => $$);
$| = 1;
eval "$do; 1" or die $@;
exit 0;
PERL

sub harness {
    my ($more, %config) = @_;
    my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test', 'me-auth-results' => 'none', %config});
    my $path = $t->file('bin/rsmtp', "#!$^X\n$stand_in");

    chmod 0755, $path;
    $t->config(plugins => ['rcpt_ok', "queue/exim-bsmtp exim_path $path $more"]);
    return $t;
}

sub does { my ($t, $do) = @_; unlink map { "$t->{dir}/bin/$_" } qw(batch argv pid); $t->file('bin/do', $do) }
sub seen { my ($t, $what) = @_; slurp("$t->{dir}/bin/$what") }

my $small = "Subject: x\nMessage-Id: <id\@client.test>\n\nbody\n";
my $large = "Subject: large\n\n" . ('x' x 70 . "\n") x 30_000;
sub reply_to { my ($d, $message) = @_; $d->deliver('a@client.test', 'b@example.test', defined $message ? $message : $small) }

my $t = harness('');
my $d = $t->dialogue;
my $internal = '451 Internal error enqueuing mail';

# ---- what it gets ----------------------------------------------------------------------------------

does($t, 'batch');
my $message = "Message-Id: id\@client.test\n.dot: x\n\n.\n..dot\n\nFrom here\n\xe9\xff\0\t \nend\n";
like $d->deliver('a@client.test', ['b@example.test', '"q q"@example.test'], $message),
    qr/^250 Queued! <id\@client\.test>$/, 'the reply has the Message-Id';
is seen($t, 'argv'), '-bS', 'it is called for batched SMTP';
my $got = seen($t, 'batch');
$got =~ s/^Received: .*\n(?:[ \t].*\n)+//m;
(my $stuffed = $message) =~ s/^\./../mg;
is $got, "HELO mx.example.test\nMAIL FROM:<a\@client.test>\nRCPT TO:<b\@example.test>\nRCPT TO:<\"q\\ q\"\@example.test>\nDATA\n"
    . "$stuffed.\nQUIT\n", 'the batch; dots are doubled, in the header as well';
like $d->deliver('', 'b@example.test', "Subject: y\n"), qr/^250 Queued!$/, 'the null sender';
like seen($t, 'batch'), qr/^MAIL FROM:<>$/m, '... is one';

$d->say('MAIL FROM:<a@client.test>');
$d->say('RCPT TO:<b@example.test>');
like $d->bdat("Subject: z\r\n\r\na\r.\rb\r\r\n.\r\nMAIL FROM:<evil\@x.test>\r\nend", 'LAST'), qr/^250 /, 'BDAT with bare CRs';
like seen($t, 'batch'), qr/\n\na\n\.\.\nb\n\n\.\.\nMAIL FROM:<evil\@x\.test>\nend\n\.\nQUIT\n\z/,
    '... which end lines; only our dot ends the message, and the last line has an end';
like reply_to($d, $large), qr/^250 /, 'a large message';
ok index(seen($t, 'batch'), "\n$large.\n") > 0, '... arrives unchanged';
does($t, 'print "noise\n" x 100_000; print "250 OK\n"; batch');
like reply_to($d, $large), qr/^250 /, 'what it says is no refusal: it may say much';

# ---- what it answers -------------------------------------------------------------------------------

for (
    ['550 no such user', '554 no such user'], ['450 try later', '451 try later'], ['550-first\n550 second', '554 first'],
    ['421 Lost incoming connection', '451 Lost incoming connection'], ['noise\n\n250 fine\n599 last', '554 last'],
    ['  550 indented', undef], ['550', '554 not accepted'], ['550  ', '554 not accepted'], ['5500 x', undef], ['600 x', undef],
    ['550 a\r250 ok\0\xff\x1b[1m', '554 a?250 ok???[1m'], ['554 no newline', '554 no newline', ''],
    ['550 " . "x" x 5000 . "', '554 ' . 'x' x 400], ['1' . '\n1' x 10, undef])
{
    my ($text, $reply, $end) = @$_;
    my $name = length $text > 60 ? substr($text, 0, 60) . '...' : $text;

    $end = '\n' unless defined $end;
    does($t, qq{batch; print "$text$end"; exit 2});
    is reply_to($d), defined $reply ? $reply : $internal, "exit 2, says $name";
}
does($t, 'batch; print "550-line $_\n" for 1 .. 1000; exit 2');
is reply_to($d), '554 line 1', 'a thousand continuation lines';
does($t, 'batch; print "451 wait\n"');
is reply_to($d), '451 wait', 'exit 0, but a refusal';
does($t, 'print "550 no\n"; exit 2');
is reply_to($d, $large), '554 no', 'a refusal before the end';
does($t, "batch; exit $_"), is reply_to($d), $internal, "exit $_ without a word" for 1, 2, 75, 255;
does($t, 'close STDIN; exit 0');
is reply_to($d, $large), $internal, 'it has not read all and says 0: that is no success';
for ('exit 0', 'select undef, undef, undef, 0.2; exit 0', 'sysread STDIN, my $x, 20; select undef, undef, undef, 0.2; exit 0') {
    does($t, $_);
    is reply_to($d), $internal, "... nor with a small message: $_";
}
like $d->log, qr/not queued reason="it has not read everything"/, '... and the log says why';
for my $signal (qw(KILL SEGV PIPE)) {
    does($t, "batch; kill $signal => \$\$; sleep 10");
    is reply_to($d), $internal, "SIG$signal";
}
like $d->log, qr/not queued reason="killed by a signal"/, '... and the log says why';

my $h = harness('timeout 1s');
my $hd = $h->dialogue;
for (['sleep 60', $large, 'it reads nothing'], ['batch; sleep 60', $small, 'it does not end'],
    ['while (1) { select undef, undef, undef, 0.05; sysread STDIN, my $x, 100 }', $large, 'it reads slowly'])
{
    my ($do, $text, $what) = @$_;
    my $start = time;

    does($h, $do);
    is reply_to($hd, $text), $internal, $what;
    ok time - $start >= 0.9 && time - $start < 15, '... the time limit holds';
    my $pid = seen($h, 'pid');
    ok wait_for(sub { !kill 0 => $pid }, 5, "the end of $pid"), '... and it is gone';
}

rename "$t->{dir}/bin/rsmtp", "$t->{dir}/bin/gone";
is reply_to($d), $internal, 'it is gone';
like $d->log, qr/not queued reason="No such file/, '... and the log says so';

# ---- configuration ---------------------------------------------------------------------------------

for my $bad (['exim_path', 'exim_path'], ['exim_path rsmtp', 'absolute'], ['exim_path /nonexistent', '/nonexistent'],
    ['exim_path /dev/null', '/dev/null'], ['timeout 0', 'timeout'], ['timeout 2d', 'timeout'], ['/usr/sbin/rsmtp', '/usr/sbin/rsmtp'])
{
    my ($status, $said) = harness($bad->[0])->check;

    isnt $status, 0, "'queue/exim-bsmtp $bad->[0]' refuses the start";
    like $said, qr/plugins.*2.*$bad->[1]/, 'and the message says where and what';
}

done_testing;
