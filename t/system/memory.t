# What a client may repeat for ever within one connection leaves nothing behind.
use strict;
use warnings;

use File::Basename qw(dirname);
use MIME::Base64 qw(encode_base64);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test qw(peak_memory sanitized);

plan skip_all => 'sanitizers take memory of their own' if sanitized();

my $kib = 512; # what a process may grow by, with page tables, malloc and what the kernel rounds up
my $t = Qpsmtpd::Test->new(
    plugin_dirs => [Probe::dir()],
    plugins => ['check_spamhelo', 'check_badmailfrom defer 0',
        'check_badrcptto', 'auth/authdeny', 'rcpt_ok'],
    config => {rcpthosts => 'ours.test', localiphost => 'far.test', badmailfrom => '@bad.test',
        badrcptto => 'bad@ours.test because', badhelo => 'bad.test', max_auth_failures => 0, auth_failure_delay => 0},
);

my $begin = ['EHLO client.test', 'MAIL FROM:<a@client.test>'];
my $long = 'u' x 850;
my $plain = encode_base64("\0user\0wrong", '');
my @cases = (
    ['refused recipients', 5000, $begin, ["RCPT TO:<$long\@far.test>"]],
    ['recipients of a bad list', 5000, $begin, ['RCPT TO:<bad@ours.test>']],
    ['recipients here, by address, refused', 2000, $begin, ['RCPT TO:<' . 'u' x 500 . '@[127.0.0.1]>']],
    ['recipients that cannot be parsed', 5000, $begin, ["RCPT TO:<$long>"]],
    ['unknown parameters', 5000, $begin, ["RCPT TO:<you\@ours.test> X=$long"]],
    ['recipients that RSET forgets', 3000, ['EHLO x'], ['MAIL FROM:<a@client.test>', 'RCPT TO:<you@ours.test>', 'RSET']],
    ['greetings', 5000, [], ['EHLO ' . 'h' x 2000]],
    ['other greetings', 5000, [], ['HELO ' . 'h' x 2000]],
    ['refused greetings', 5000, [], ['EHLO bad.test']],
    ['greetings without a name', 5000, [], ['EHLO']],
    ['senders', 5000, ['EHLO x'], ["MAIL FROM:<$long\@client.test>"]],
    ['refused senders', 5000, ['EHLO x'], ["MAIL FROM:<$long\@bad.test>"]],
    ['unknown commands', 5000, [], ["WHAT $long"]],
    ['NOOP', 5000, [], ["NOOP $long"]],
    ['VRFY', 5000, [], ["VRFY $long"]],
    ['HELP', 5000, [], ["HELP $long"]],
    ['STARTTLS that nobody offers', 5000, ['EHLO x'], ['STARTTLS']],
    ['DATA too early', 5000, ['EHLO x'], ['DATA']],
    ['BDAT too early', 5000, ['EHLO x'], ["BDAT 6\r\nxxxx"]],
    ['lines that are too long', 2000, [], ['x' x 3000]],
    ['AUTH that fails', 1000, ['EHLO x'], ["AUTH PLAIN $plain"]],
    ['AUTH that is cancelled', 1000, ['EHLO x'], ['AUTH PLAIN', '*']],
    ['AUTH of an unknown kind', 5000, ['EHLO x'], ["AUTH $long"]],
);

# many - so many rounds of commands, in batches that fit into a socket; the last reply
sub many {
    my ($d, $n, $commands) = @_;
    my $batch = 20;
    my $text = join('', map { "$_\r\n" } @$commands) x $batch;

    for (1 .. $n / $batch) {
        $d->raw($text);
        $d->read_reply for 1 .. $batch * @$commands;
    }
    return $d->reply;
}

for my $case (@cases) {
    my ($name, $n, $first, $commands) = @$case;
    my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1'});

    $d->say($_) for @$first;
    many($d, 200, $commands);
    my $before = peak_memory($d->pid);
    my $reply = many($d, $n, $commands);
    my $grown = peak_memory($d->pid) - $before;
    ok $before && $grown < $kib, "$n $name: $grown KiB" or diag $reply;
    like $d->quit, qr/^221/, 'and the session goes on';
}

# ---- whatever a plugin keeps ----

{
    my $keeping = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir()], plugins => ['probe', 'rcpt_ok']);
    my $d = $keeping->dialogue;
    my $kept = 0;

    $kept++ while $kept < 100 && $d->say('NOOP keep 1000000') eq '250 kept';
    is $d->reply, '421 out of memory (#4.3.0)', 'the client of plugins that keep more than any session needs has to go';
    cmp_ok $kept, '>', 30, 'but not too early';
    ok $d->eof, 'the connection is closed';
    like $d->log, qr/plugins keep \d+ bytes: ip=127\.0\.0\.1 commands=\d+$/m, 'the log says why';
}

done_testing;
