# spamassassin against the spamd of Debian, which asks nobody outside (-L) and has rules of this test's own.
# It is not installed: .ci/unpack.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Test qw(peak_memory sanitized slurp wait_for);

my ($unpacked) = split /\n/, `.ci/unpack spamd`;
die ".ci/unpack spamd has failed\n" if $? || !defined $unpacked;

my $t = Qpsmtpd::Test->new(config => {rcpthosts => 'example.test'});
my $dir = $t->dir;
chmod 0711, $dir; # spamd of root is nobody when it reads its rules
mkdir "$dir/$_" for qw(Maildir Maildir/new Maildir/cur Maildir/tmp home);
$t->file('site/init.pre', "loadplugin Mail::SpamAssassin::Plugin::Check\n");
$t->file('site/local.cf', <<'END');
required_score 5
use_bayes 0
header   TEST_SUBJECT Subject =~ /ten points/
score    TEST_SUBJECT 10
body     TEST_BODY /qpsmtpd-test-spam/
score    TEST_BODY 5.5
header   TEST_SENDER EnvelopeFrom =~ /^spammer\@client\.test$/
score    TEST_SENDER 3
header   TEST_RECEIVED Received =~ /by mx\.example\.test/
score    TEST_RECEIVED 0.1
header   TEST_FORGED X-Spam-Flag =~ /NO/
score    TEST_FORGED 50
END
$t->file("rules/$_", slurp("$unpacked/usr/share/spamassassin/$_")) for '10_default_prefs.cf', '10_hasbase.cf';

# spamd - by TCP and, a second one, by a socket. Perl is the machine's own: with -T it takes no PERL5LIB.
my @lib = map { "-I$unpacked/usr/$_" } 'share/perl5', glob("$unpacked/usr/lib/*/perl5/5.*") =~ s{^\Q$unpacked\E/usr/}{}r;
my @common = ($^X, '-T', @lib, "$unpacked/usr/sbin/spamd", '-L', '-x', '-m', 2, '--min-children=1',
    '--max-spare=1', "--configpath=$dir/rules", "--siteconfigpath=$dir/site", '-H', "$dir/home", '-s', 'stderr');
sub start {
    my (@where) = @_;
    open my $null, '+<', '/dev/null' or die;
    open my $log, '>>', "$dir/spamd.log" or die;
    return $t->spawn(command => [@common, @where], env => $t->environment(HOME => "$dir/home"), in => $null,
        out => $log, err => $log);
}
sub log_has {
    my ($pattern) = @_;

    wait_for(sub { (slurp("$dir/spamd.log") || '') =~ $pattern }, 60, "$pattern in the log of spamd")
}
my $tcp = $t->serve(sub { (@common, '-i', '127.0.0.1', '-p', $_[0]) });
my $local = start("--socketpath=$dir/spamd.sock", '--socketmode=0600');
wait_for(sub { -S "$dir/spamd.sock" }, 60, 'the socket of spamd');

sub scan {
    my ($args, $mail, $from) = @_;
    $t->config(plugins => ["spamassassin $args", 'rcpt_ok', 'queue/maildir Maildir']);
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1'});

    unlink glob("$dir/Maildir/new/*");
    my $reply = $d->deliver($from || 'a@client.test', 'b@example.test', $mail);
    my ($stored) = $t->maildir_messages;
    my $memory = peak_memory($d->pid);
    $d->quit;
    return {reply => $reply, message => $stored || '', log => $d->log, memory => $memory};
}

my $ham = "From: a\@client.test\nSubject: hi\nX-Spam-Flag: NO\n\nnothing\n.\n";
my $spam = "From: a\@client.test\nSubject: ten points\nLong: @{['z' x 20_000]}\n\nqpsmtpd-test-spam\n";
my %way = (TCP => 'spamd_socket 127.0.0.1:' . $tcp->port, 'a socket' => "spamd_socket $dir/spamd.sock");
for my $way (sort keys %way) {
    my $r = scan($way{$way}, $ham);
    like $r->{reply}, qr/^250 /, "ham by $way";
    like $r->{message}, qr/^X-Spam-Status: No, score=0\.1 required=5\.0 tests=TEST_RECEIVED/m,
        "its status: our Received was seen, the forged flag not";
    like $r->{message}, qr/^X-Spam-Check-By: mx\.example\.test\n(?:X-Spam-.*\n(?:\s.*\n)*)+/m, 'the fields stand together';
    like $r->{message}, qr/^X-Spam-Checker-Version: SpamAssassin [\d.]+ /m, 'with that of its version';
    like $r->{message}, qr/^X-Old-Spam-Flag: NO$/m, 'the forged one has another name';
    unlike $r->{message}, qr/^X-Spam-Flag|^X-Spam-Report/m, 'no flag, no report';
    $r = scan("$way{$way} munge_subject_threshold 10", $spam);
    like $r->{message}, qr/^X-Spam-Status: Yes, score=15\.6 required=5\.0\s+tests=TEST_BODY,TEST_RECEIVED,\s*TEST_SUBJECT/m, "spam by $way";
    like $r->{message}, qr/^X-Spam-Flag: YES$/m, 'flag';
    like $r->{message}, qr/^X-Spam-Level: \*{15}$/m, 'level';
    like $r->{message}, qr/^Subject: \*\*\* SPAM \*\*\* ten points$/m, 'subject';
    like $r->{log}, qr/fail, is_spam=Yes score=15\.6 required=5\.0 tests=TEST_BODY,TEST_RECEIVED,TEST_SUBJECT/, 'notes and log';
    like scan("$way{$way} reject 15.6", $spam)->{reply}, qr/^554 (?:\S+ )?spam score exceeded threshold$/, 'reject';
    like scan("$way{$way} reject 15.7", $spam)->{reply}, qr/^250 /, 'reject, a score that is too low';
    like scan("$way{$way} reject userprefs", $spam)->{reply}, qr/^554 /, 'reject userprefs';
    $r = scan("$way{$way} verb symbols", $spam);
    like $r->{message}, qr/^X-Spam-Flag: YES\nX-Spam-Status: Yes, hits=15\.6 required=5\.0\n\ttests=TEST_BODY,TEST_RECEIVED,TEST_SUBJECT$/m,
        'verb symbols';
    $r = scan($way{$way}, $ham, 'spammer@client.test');
    like $r->{message}, qr/score=3\.1 .*TEST_SENDER/, 'the sender of the envelope counts';
    $r = scan("$way{$way} spamd_user nobody-of-that-name", $ham);
    like $r->{reply}, qr/^250 /, 'an unknown user';
}

# 25 MiB
my $filler = "Subject: large\n\n" . ('x' x 62 . "\n") x ((25 << 20) / 63);
my $small = scan($way{TCP}, $ham)->{memory};
for my $way (sort keys %way) {
    my $begin = time;
    my $r = scan("size_limit 0 timeout 10m $way{$way}", $filler);
    my $seconds = time - $begin;
    like $r->{reply}, qr/^250 /, "25 MiB by $way";
    like $r->{message}, qr/^X-Spam-Status: No, score=0\.1/m, 'were scored';
    diag sprintf '%s: 25 MiB in %.1f s, peak memory of the session %d KiB; with a small message %d KiB', $way, $seconds, $r->{memory}, $small;
    cmp_ok $r->{memory} - $small, '<', 2048, 'in constant memory' unless sanitized();
}

# It ends in the middle.
$tcp->stop;
like scan("$way{TCP} on_error tempfail", $ham)->{reply}, qr/^451 (?:\S+ )?unable to check for spam/, 'spamd has gone';
my $r = scan($way{TCP}, $ham);
like $r->{reply}, qr/^250 /, 'by default mail passes then';
unlike $r->{message}, qr/^X-Spam-/m, 'unscored';

done_testing;
