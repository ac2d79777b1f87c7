use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Cleanup;
use Qpsmtpd::Test qw(slurp);

sub harness {
    my ($line, %config) = @_;

    return Qpsmtpd::Test->new(
        plugins => ['check_relay', 'rcpt_ok', "queue/postfix-queue $line"],
        config => {rcpthosts => 'example.test', 'me-auth-results' => 'none', %config},
    );
}

my $small = "Subject: x\nMessage-Id: <id\@client.test>\n\nbody\n";
my $large = "Subject: large\n\n" . ('x' x 70 . "\n") x 30_000;
sub reply_to { my ($d, $message) = @_; $d->deliver('a@client.test', 'b@example.test', defined $message ? $message : $small) }

my $dir = File::Temp->newdir('qpsmtpd-postfix-XXXXXX', TMPDIR => 1);
my $c = Qpsmtpd::Cleanup->new("$dir/cleanup");
my $t = harness("$dir/cleanup timeout 2s");
my $d = $t->dialogue;
my $failed = '451 queue error (postfix)';

# ---- what it gets ----------------------------------------------------------------------------------

$c->does('hello(protocol => "cleanup_protocol", queue_id => "4A1B2", later => "x"); message; status(0)');
my $message = "Message-Id: id\@client.test\nSubject: bytes\n folded\n.dot: x\n\n.\n..dot\n\nFrom here\n\xe9\xff\t \nend\n";
like $d->deliver('a@client.test', ['b@example.test', '"q q"@example.test', 'b@example.test'], $message),
    qr/^250 Queued! <id\@client\.test> \(Queue-Id: 4A1B2\)$/, 'the reply has Message-Id and Queue-Id';
my ($m) = $c->messages;
is $m->{S}, 'a@client.test', 'the sender';
is_deeply $m->{R}, ['b@example.test', 'q q@example.test', 'b@example.test'], 'the recipients, unquoted';
is $m->{flags}, 2 + 16 + 32 + 64, 'FLAG_MASK_EXTERNAL';
is $m->{types}, 'TASRMNXE', 'the order of records';
ok abs($m->{T} - time) < 30, 'the time';
is "$m->{M}$m->{X}$m->{E}", '', 'marks are empty';
is_deeply $m->{A}, {rewrite_context => 'remote', log_client_name => 'localhost', log_client_address => '127.0.0.1',
    log_client_port => 40000, log_message_origin => 'localhost[127.0.0.1]', log_helo_name => 'client.example.test',
    log_protocol_name => 'ESMTP'}, 'what it is told of the client';
my $got = $m->{lines};
ok $got =~ s/\AReceived: .*\n(?:[ \t].*\n)+//, 'our Received is on top';
is $got, $message, 'then comes the message, byte for byte, lines as records';

$c->does('hello; message; status(0)');
like $d->deliver('', 'b@example.test', "Subject: y\n"), qr/^250 Queued! \(Queue-Id: [0-9A-F]+\)$/, 'the null sender, no body';
($m) = $c->messages;
is $m->{S}, '', '... is empty';
like $m->{lines}, qr/\nSubject: y\n\z/, '... and the header is all';
$c->does('hello; message; status(0)');
my $long = "Subject: long\n\n" . join "\n", map { chr(97 + $_ % 26) x $_ } 0, 1, 127, 128, 1023 .. 1025, 2047 .. 2049, 5000;
like reply_to($d, "$long\n"), qr/^250 /, 'long lines';
($m) = $c->messages;
is substr($m->{lines}, -1 - length $long), "$long\n", '... arrive unchanged';
is $m->{longest}, 1024, '... in parts';
$c->does('hello; message; status(0)');
like reply_to($d, $large), qr/^250 /, 'a large message';
($m) = $c->messages;
is substr($m->{lines}, -length $large), $large, '... arrives unchanged';
$c->does('hello; message; status(0)');
$d->say('MAIL FROM:<a@client.test> BODY=8BITMIME');
$d->say('RCPT TO:<b@example.test>');
like $d->bdat("Subject: z\r\n\r\na\rb\0c\r\n.\r\n\r\nend", 'LAST'), qr/^250 /, 'BDAT with BODY=8BITMIME';
($m) = $c->messages;
is $m->{A}{encoding}, '8bit', '... is told';
like $m->{lines}, qr/\n\na\rbc\n\.\n\nend\n\z/, '... NUL bytes go; the last line gets an end';
$c->does('hello; message; status(0)');
like $t->dialogue(env => {RELAYCLIENT => ''})->deliver('a@client.test', 'b@example.test', $small), qr/^250 /, 'a relay client';
is +($c->messages)[0]{A}{rewrite_context}, 'local', '... is one of us';

# ---- what it answers -------------------------------------------------------------------------------

my %text = (
    1 => '451 internal protocol error (#4.3.0)', 2 => '451 queue file write error (#4.3.0)', 128 => '451 queue file write error (#4.3.0)',
    256 => '451 service unavailable (#4.7.1)', 4 => '554 message file too big (#5.3.4)', 8 => '554 message content rejected (#5.7.1)',
    16 => '554 too many hops (#5.4.0)', 64 => '554 no recipients specified (#5.1.0)', 512 => '554 message content rejected (#5.7.1)',
    1024 => '451 internal protocol error (#4.3.0)', 10 => '451 queue file write error (#4.3.0)', 24 => '554 message content rejected (#5.7.1)',
);
for my $status (sort { $a <=> $b } keys %text) {
    $c->does("hello; message; status($status)");
    is reply_to($d), $text{$status}, "status $status";
}
for (['hello; message; status(8, "5.7.1 not this")', '554 5.7.1 not this', 'a reason'],
    ['hello; message; status(2, "full\r\n250 ok\x1b[1m\xff")', '451 full??250 ok?[1m?', 'a reason with control bytes'],
    ['hello; message; attributes(reason => "no", junk => "x", status => 8)', '554 no', 'in another order'],
    ['hello; message; status("08")', '554 message content rejected (#5.7.1)', 'a zero in front'])
{
    $c->does($_->[0]);
    is reply_to($d), $_->[1], $_->[2];
}

for (
    ['', 'it closes at once'], ['say_raw("220 hello\r\n")', 'it speaks SMTP'], ['attributes(x => 1)', 'no queue_id'],
    ['attributes()', 'no attribute'], ['say_raw("queue_id\0")', 'half an attribute'], ['attributes(map { ("n$_", 1) } 1 .. 1000)', 'too many'],
    ['attributes("x" x 1000, 1)', 'a long name'], ['attributes(queue_id => "x" x 10_000)', 'a long value'],
    ['hello', 'it closes after its greeting'], ['hello; part(100)', 'it closes in the middle'], ['hello; message', 'no status'],
    ['hello; message; attributes(reason => "x")', 'no status, but a reason'], ['hello; message; attributes(status => "")', 'an empty status'],
    ['hello; message; attributes(status => "-1")', 'a negative status'], ['hello; message; attributes(status => "0x0")', 'a strange status'],
    ['hello; message; attributes(status => "99999999999999999999")', 'a huge status'], ['hello; message; say_raw("status\0" . "0\0")', 'a list without end'],
    ['hello; message; say_raw("250 queued\r\n")', 'it speaks SMTP in the end'])
{
    my ($do, $what) = @$_;

    $c->does($do);
    is reply_to($d), $failed, $what;
}
for (['sleep 60', 'no greeting'], ['hello; sleep 60', 'it does not read'], ['hello; message; sleep 60', 'it does not answer'],
    ['say_raw("x"), select undef, undef, undef, 0.1 for 1 .. 300', 'it answers byte by byte'])
{
    my ($do, $what) = @$_;
    my $start = time;
    my $s = Qpsmtpd::Cleanup->new("$dir/slow");

    $s->does($do);
    is reply_to(harness("$dir/slow timeout 1s")->dialogue, $large), $failed, $what;
    ok time - $start >= 0.9 && time - $start < 10 * ($ENV{TEST_SLOW} || 1), '... the time limit holds';
    $s->stop;
    unlink "$dir/slow";
}
$c->does('hello; message; status(0)');
like reply_to($d), qr/^250 /, 'after all that it goes on';

# ---- which socket ----------------------------------------------------------------------------------

is reply_to(harness('/nonexistent/cleanup')->dialogue), $failed, 'nobody listens';
my $tcp = Qpsmtpd::Cleanup->new(0);
my $port = $tcp->port;
$tcp->does('hello(queue_id => "TCP"); message; status(0)');
$c->does('hello(queue_id => "UNIX"); message; status(0)');
my $h = harness('', cleanup_sockets => ["$dir/nobody", "127.0.0.1:$port", "$dir/cleanup"]);
like reply_to($h->dialogue), qr/^250 .*\(Queue-Id: TCP\)$/, 'cleanup_sockets: the first that answers, by TCP';
$tcp->does('say_raw("421 busy\r\n")');
like reply_to($h->dialogue), qr/^250 .*\(Queue-Id: UNIX\)$/, '... the next one when it does not greet';
$tcp->does('hello; part(20)');
is reply_to($h->dialogue), $failed, '... but not when it had begun';
is scalar($c->messages), 1, '... the message is not sent twice';
$c->does('hello(queue_id => "UNIX"); message; status(0)');
like reply_to(harness("$dir/cleanup", cleanup_sockets => "$dir/nobody")->dialogue), qr/Queue-Id: UNIX/, 'the argument wins over the file';
my %env = (POSTFIXQUEUE => "$dir/cleanup");
like reply_to(harness("$dir/nobody")->dialogue(env => \%env)), qr/Queue-Id: UNIX/, 'POSTFIXQUEUE wins over the argument';
like reply_to(harness("$dir/cleanup")->dialogue(env => {POSTFIXQUEUE => "$dir/nobody"})), qr/Queue-Id: UNIX/, '... which comes after it';
is reply_to(harness("$dir/cleanup")->dialogue(env => {POSTFIXQUEUE => 'public/cleanup'})), $failed, '... it is an absolute path';
for (['FLAG_HOLD', 4], ['flag_mask_internal FLAG_DISCARD', 40], ['FLAG_MASK_EXTRA FLAG_FILTER_ALL', 78]) {
    $c->does('hello; message; status(0)');
    like reply_to(harness("$dir/cleanup $_->[0]")->dialogue), qr/^250 /, $_->[0];
    is +($c->messages)[0]{flags}, $_->[1], '... are the flags';
}

# ---- configuration ---------------------------------------------------------------------------------

for my $bad (['FLAG_NONE', 'FLAG_NONE'], ['cleanup', 'cleanup'], ['/a /b', '/b'], ['timeout 0', 'timeout'], ['timeout 2h', 'timeout'],
    ['/' . 'x' x 200, 'too long'])
{
    my ($status, $said) = harness($bad->[0])->check;

    isnt $status, 0, "'queue/postfix-queue " . substr($bad->[0], 0, 30) . "' refuses the start";
    like $said, qr/plugins.*3.*$bad->[1]/, 'and the message says where and what';
}
for my $bad ('public/cleanup', 'host', 'host:0', ':25') {
    my ($status, $said) = harness('', cleanup_sockets => ["$dir/cleanup", $bad])->check;

    isnt $status, 0, "'$bad' in cleanup_sockets refuses the start";
    like $said, qr/cleanup_sockets.*2.*\Q$bad\E/, 'and the message says where and what';
}

done_testing;
