use strict;
use warnings;

use Fcntl qw(:flock);
use POSIX qw(strftime);
use Test::More;

use Qpsmtpd::Test qw(slurp);

sub harness {
    my ($line, %config) = @_;
    my $t = Qpsmtpd::Test->new(
        plugins => ['rcpt_ok', $line, 'queue/discard'],
        config => {rcpthosts => 'example.test', 'me-auth-results' => 'none', size_threshold => 10_000_000, %config},
    );

    mkdir "$t->{dir}/mail";
    return $t;
}

my $message = "Subject: x\n\nFrom here\n>From there\n>>From >From\nfrom\n> From\nFro\n\nFrom\n";

sub send_to { $_[0]->deliver('a@client.test', 'b@example.test', defined $_[1] ? $_[1] : $message) }

# without_received - the messages of a log without what we have added to each
sub without_received { my ($text) = @_; $text =~ s/^Received: .*\n(?:[ \t].*\n)+//mg; return $text }

# ---- raw -------------------------------------------------------------------------------------------

my $t = harness('content_log');
my $today = strftime '%Y%m%d', gmtime;
my $d = $t->dialogue;
like send_to($d), qr/^250 /, 'a message passes';
$today = strftime '%Y%m%d', gmtime unless -e "$t->{dir}/mail/$today"; # midnight
my $file = "$t->{dir}/mail/$today";
is without_received(slurp($file)), $message, 'and is in the file of the day, byte for byte';
is sprintf('%04o', (stat $file)[2] & 07777), '0600', 'which nobody else can read';
like send_to($d, "Subject: second\n\n"), qr/^250 /, 'another one';
is without_received(slurp($file)), $message . "Subject: second\n\n", 'is appended';

# ---- mbox ------------------------------------------------------------------------------------------

$t = harness('content_log format mbox', content_log_file => 'mail/box');
$d = $t->dialogue;
send_to($d);
$d->deliver('', 'b@example.test', 'Subject: no line end');
$d->deliver('"a b"@client.test', 'b@example.test', "Subject: third\n\n" . ">" x 9000 . "From x\n" . 'F' x 9000 . "\n");
my $box = without_received(slurp("$t->{dir}/mail/box"));
my $date = qr/[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}/;
(my $quoted = $message) =~ s/^(>*From )/>$1/mg;
like $box, qr/\AFrom a\@client\.test $date\n\Q$quoted\E\nFrom MAILER-DAEMON $date\nSubject: no line end\n\nFrom a_b\@client\.test $date\nSubject: third\n\n>{9001}From x\nF{9000}\n\n\z/,
    'mbox: an envelope line, From quoted, an empty line';

# ---- on and off ------------------------------------------------------------------------------------

for my $enabled ('true', '1', 'yes', 'YES', 'True', 'yes   ') {
    $t = harness('content_log', content_log_enabled => "$enabled\n", content_log_file => 'mail/log');
    send_to($t->dialogue);
    ok -s "$t->{dir}/mail/log", "content_log_enabled '$enabled' is on";
}
for my $enabled ('0', 'false', 'no', 'maybe', 'trueish') {
    $t = harness('content_log', content_log_enabled => $enabled, content_log_file => 'mail/log');
    send_to($t->dialogue);
    ok !-e "$t->{dir}/mail/log", "content_log_enabled '$enabled' is off";
}

# ---- what goes wrong hurts no mail -----------------------------------------------------------------

$t = harness('content_log', content_log_file => 'elsewhere/%H');
$d = $t->dialogue;
like send_to($d), qr/^250 /, 'a directory that is not there';
like $d->log, qr/message not logged file=.*elsewhere\/\d\d error="No such file or directory"/, '... is logged';

$t = harness('content_log', content_log_file => 'mail/log');
$t->file('mail/log', "before\n");
{
    open my $fh, '<', "$t->{dir}/mail/log" or die;
    flock $fh, LOCK_EX or die;
    $d = $t->dialogue;
    like send_to($d), qr/^250 /, 'somebody else holds the file for too long';
    is slurp("$t->{dir}/mail/log"), "before\n", '... nothing is written';
    like $d->log, qr/message not logged/, '... it is logged';
}
like send_to($d), qr/^250 /, 'and when it is free';
is without_received(slurp("$t->{dir}/mail/log")), "before\n$message", '... it is used again';

for my $format (qw(raw mbox)) {
    $t = harness("content_log format $format", content_log_file => 'mail/log');
    $t->file('mail/log', "before\n");
    (my $text = "$message\n" . ('x' x 70 . "\n") x 4000) =~ s/\n/\r\n/g;
    my ($status, $said) = $t->run({stdin => "HELO x\r\nMAIL FROM:<a\@client.test>\r\nRCPT TO:<b\@example.test>\r\n"
            . "DATA\r\n$text.\r\nQUIT\r\n"},
        'sh', '-c', 'ulimit -f 200; exec "$@"', 'sh', $t->program('qpsmtpd'), $t->options);
    like $said, qr/^250 discarded\r$/m, "$format: no room for the message";
    is slurp("$t->{dir}/mail/log"), "before\n", '... nothing of it stays';
}

# Several at once: no two messages mix.
$t = harness('content_log', content_log_file => 'mail/log');
my @texts = map { my $c = $_; join '', map { "$c" x 60 . "\n" } 0 .. 5000 } 'a' .. 'd';
my @clients = map { $t->dialogue } @texts;
for my $i (0 .. $#clients) {
    $clients[$i]->say($_) for 'EHLO x', 'MAIL FROM:<a@client.test>', 'RCPT TO:<b@example.test>', 'DATA';
}
$clients[$_]->raw("X: y\r\n\r\n" . $texts[$_] =~ s/\n/\r\n/gr . ".\r\n") for 0 .. $#clients;
like $_->read_reply, qr/^250 /, 'one of several at once' for @clients;
my $log = slurp("$t->{dir}/mail/log");
is scalar(grep { index($log, "X: y\n\n$_") >= 0 } @texts), 4, 'each one is there in one piece';

for my $line ('content_log format', 'content_log format maildir', 'content_log now') {
    my ($status, $said) = harness($line)->check;

    isnt $status, 0, "'$line' refuses the start";
    like $said, qr/plugins.*2/, 'and the message says where';
}

done_testing;
