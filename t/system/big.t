# A message of any size costs constant memory: a large one arrives intact while no process grows.
#
# QPSMTPD_BIG=1024 sends 1 GiB instead of 256 MiB; it takes two to three times that on the disk, for
# the spool and the Maildir. QPSMTPD_BIG_LIMIT is what a process may have, in KiB.

use strict;
use warnings;

use Digest::SHA;
use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Test qw(sanitized peak_memory wait_for);

# Sanitizers have memory of their own: there only the bytes are compared.
my $mib = $ENV{QPSMTPD_BIG} || (sanitized() ? 32 : 256);
my $limit = $ENV{QPSMTPD_BIG_LIMIT} || 16 * 1024;

my $t = Qpsmtpd::Test->new(
    plugins  => ['rcpt_ok', 'queue/maildir Maildir'],
    config   => {rcpthosts => 'ours.test'},
    loglevel => 5,
);
my $s = $t->prefork('-H', '-c', 2, '--child-lifetime', 0);

# A MiB of text: lines of many lengths, dots at their starts, all bytes but CR and LF, no two blocks
# of 64 KiB alike.
my $block = do {
    my ($text, $n) = ('', 0);
    my @pieces = map { join '', map { chr(1 + ($_ * 7 + $n++) % 255) } 1 .. 997 } 1 .. 16;
    tr/\r\n/__/ for @pieces;
    while (length $text < 1 << 20) {
        my $line = substr $pieces[$n % 16], $n % 31, $n * 37 % 900;
        $text .= ($n % 5 ? '' : '.') . "$n$line\n";
        $n++;
    }
    $text;
};
(my $wire = $block) =~ s/^\./../mg;
$wire =~ s/\n/\r\n/g;
(my $chunk = $block) =~ s/\n/\r\n/g;
my $head = "From: a\@client.test\nSubject: big\n\n";
(my $wire_head = $head) =~ s/\n/\r\n/g;

# peak - the largest of all processes
sub peak {
    my ($most) = sort { $b <=> $a } map { peak_memory($_) } $s->pid, $s->children;

    return $most;
}

# compare - what has arrived behind the fields that the server has added, block by block; then it goes
sub compare {
    my ($name, $blocks) = @_;
    my @files = glob $t->dir . '/Maildir/new/*';
    my ($added, $body, $want) = ('', Digest::SHA->new(256), Digest::SHA->new(256));

    is scalar @files, 1, "$name: one message has arrived" or return;
    open my $fh, '<:raw', $files[0] or die "$files[0]: $!";
    while (defined(my $line = readline $fh)) {
        if ($line eq "From: a\@client.test\n") {
            $body->add($line);
            last;
        }
        $added .= $line;
    }
    like $added, qr/\AReturn-Path: <a\@client\.test>\nDelivered-To: you\@ours\.test\nAuthentication-Results: [^\n]+\nReceived: from [^\n]+\n    by [^\n]+\n\z/,
        "$name: Return-Path, Delivered-To, Authentication-Results and Received stand in front";
    $body->addfile($fh);
    $want->add($head);
    $want->add($block) for 1 .. $blocks;
    is $body->hexdigest, $want->hexdigest, "$name: the rest is what was sent, byte for byte";
    unlink @files;
}

# memory - nobody has grown over the limit
sub memory {
    my ($name) = @_;

  SKIP: {
        skip 'sanitizers need memory of their own', 1 if sanitized();
        my $peak = peak();
        cmp_ok $peak, '<', $limit, "$name: no process has had more than $limit KiB (it was $peak)";
    }
}

# ---- DATA ----

my $begin = time;
my $d = $s->connect;
like $d->say($_), qr/^250/, $_ for 'EHLO client.test', 'MAIL FROM:<a@client.test>', 'RCPT TO:<you@ours.test>';
like $d->say('DATA'), qr/^354/, 'DATA';
ok $d->raw($wire_head), 'the header';
my $sent = grep { $d->raw($wire, 60) } 1 .. $mib;
is $sent, $mib, "$mib MiB";
$d->raw(".\r\n");
like $d->read_reply(120), qr/^250 Queued/, 'it is taken';
note sprintf 'DATA: %d MiB in %.1f s, largest process %d KiB', $mib, time - $begin, peak();
memory('DATA');
compare('DATA', $mib);

# ---- BDAT: less of it, the writer behind it is the same ----

my $chunks = $mib > 64 ? $mib / 4 : $mib;
$begin = time;
like $d->say($_), qr/^250/, $_ for 'MAIL FROM:<a@client.test> BODY=8BITMIME', 'RCPT TO:<you@ours.test>';
like $d->bdat($wire_head), qr/^250 .*octets received/, 'BDAT: the header in a chunk of its own';
for my $n (1 .. $chunks - 1) {
    $d->raw(sprintf("BDAT %d\r\n", length $chunk) . $chunk, 60);
    $d->read_reply =~ /^250 / or fail("BDAT: chunk $n: " . $d->reply);
}
# The last MiB as many chunks at once, cut anywhere, also between CR and LF.
my $rest = $chunk;
my $size = 60_013;
my $pieces = 0;
while (length $rest > $size) {
    $d->raw("BDAT $size\r\n" . substr $rest, 0, $size, '');
    $pieces++;
}
$d->raw(sprintf("BDAT %d LAST\r\n", length $rest) . $rest);
$d->read_reply =~ /^250 / or fail("BDAT: a small chunk: " . $d->reply) for 1 .. $pieces;
like $d->read_reply(120), qr/^250 Queued/, "BDAT: $chunks MiB are taken";
note sprintf 'BDAT: %d MiB in %.1f s, largest process %d KiB', $chunks, time - $begin, peak();
memory('BDAT');
compare('BDAT', $chunks);

# ---- and one that breaks off leaves nothing on the disk ----

like $d->say($_), qr/^250/, $_ for 'MAIL FROM:<a@client.test>', 'RCPT TO:<you@ours.test>';
$d->say('DATA');
$d->raw($wire) for 1 .. 4;
$d->hangup;
$s->wait_log(qr/message incomplete after \d+ bytes/);
is_deeply [glob($t->dir . '/Maildir/{new,tmp}/*'), glob($t->dir . '/spool/*')], [], 'what breaks off leaves nothing';
is $s->stop, 0, 'TERM: status 0';

done_testing;
