# Real clients: swaks, curl, msmtp and Net::SMTP. What they send is what arrives, byte for byte, in the
# Maildir and at qmail-queue's descriptors, behind the fields that the server adds.

use strict;
use warnings;

use MIME::Base64 qw(decode_base64);
use Net::SMTP;
use Test::More;

use Qpsmtpd::Test qw(slurp);

my $head = "From: Sender <a\@client.test>\nTo: you\@ours.test\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n"
    . "Message-ID: <1\@client.test>\nSubject: %s\n";
# Messages as their author sees them, with LF. No CR, no NUL: clients have their own mind about these.
my %message = (
    plain      => "\nhello\n",
    dots       => "\n.\n..\n...\n.dot\n. \n.\n\n..",
    eightbit   => "\n" . join('', map { chr } 128 .. 255) . "\n\xc3\xa4\xc3\xb6\xc3\xbc\n\x01\x7f\t \n",
    long_lines => "\n" . 'x' x 998 . "\n" . 'y' x 999 . "\n" . 'z' x 5_000 . "\n" . '.' x 3_000 . "\n",
    empty_body => "\n",
    only_lines => "\n" . "\n" x 50,
    folded     => "X-Folded: one\n\ttwo\n  three\nX-Empty:\nX-No-Blank:value\nReceived: from nobody\n\nbody\n",
    no_newline => "\nthe last line has no end",
    from_line  => "\nFrom here on\n>From there\n",
    large      => "\n" . join('', map { "$_ " . 'l' x ($_ % 70) . "\n" } 1 .. 6_000),
);
$_ = sprintf($head, 'a message') . $_ for values %message;

# wanted - what has to arrive: SMTP knows no last line without an end
sub wanted {
    my ($text) = @_;

    return $text =~ /\n\z/ ? $text : "$text\n";
}

# ---- the clients: each sends $text from $from to @to, and dies when that fails ----

my ($t, $s);

sub command {
    my (@command) = @_;
    my ($status, $output) = $t->run(@command);

    die "status $status: $output" if $status;
    return $output;
}

sub swaks {
    my ($text, $from, @to) = @_;
    $text =~ s/\n\z//; # it ends the last line in any case
    my $file = $t->file('to-send', $text);

    return command('swaks', '--server', '127.0.0.1', '--port', $s->port, '--ehlo', 'client.test', '--from', $from,
        '--to', join(',', @to), '--data', "\@$file");
}

sub curl {
    my ($text, $from, @to) = @_;
    my $file = $t->file('to-send', $text);

    return command('curl', '--silent', '--show-error', '--crlf', '--url', 'smtp://127.0.0.1:' . $s->port . '/client.test',
        '--mail-from', $from, (map { ('--mail-rcpt', $_) } @to), '--upload-file', $file);
}

sub msmtp {
    my ($text, $from, @to) = @_;

    return command({stdin => $text}, 'msmtp', '-C', '/dev/null', '--host=127.0.0.1', '--port=' . $s->port,
        '--domain=client.test', '--auth=off', '--tls=off', "--from=$from", '--', @to);
}

sub net_smtp {
    my ($text, $from, @to) = @_;
    my $smtp = Net::SMTP->new('127.0.0.1', Port => $s->port, Hello => 'client.test', Timeout => 20)
        or die "Net::SMTP: $@";

    for my $step (
        sub { $smtp->mail($from) }, (map { my $to = $_; sub { $smtp->to($to) } } @to),
        sub { $smtp->data }, sub { $smtp->datasend($text) }, sub { $smtp->dataend }, sub { $smtp->quit },
    ) {
        $step->() or die 'Net::SMTP: ' . $smtp->message;
    }
    return '';
}

my %client = (swaks => \&swaks, curl => \&curl, msmtp => \&msmtp, 'Net::SMTP' => \&net_smtp);
my $received = qr/Received: from \S+ \(HELO client\.test\) \(127\.0\.0\.1\)\n    by mx\.example\.test \(qpsmtpd\/\S+\) with ESMTP; [^\n]+\n/;

# round - every client sends every message; take() gives what has arrived, without what the server adds
sub round {
    my ($where, $take) = @_;

    for my $name (sort keys %client) {
        for my $kind (sort keys %message) {
            next if $name eq 'swaks' && $kind eq 'empty_body'; # it sends an empty line then
            my @to = $kind eq 'plain' ? ('you@ours.test', 'postmaster@ours.test') : 'you@ours.test';
            my $done = eval { $client{$name}->($message{$kind}, 'a@client.test', @to); 1 };
            ok $done, "$where: $name sends $kind" or diag $@;
            my $got = $take->("$where: $name: $kind", 'a@client.test', @to);
            my $want = wanted($message{$kind});
            # is() would print a large message.
            ok defined $got && $got eq $want, "$where: $name: $kind: byte for byte"
                or diag 'got ', defined $got ? length $got : 'nothing', ', want ', length $want, ': ',
                    defined $got ? substr $got, 0, 600 : '';
        }
        my $done = eval { $client{$name}->($message{plain}, 'a@client.test', 'x@else.test') };
        ok !$done, "$where: $name: a refusal is understood";
    }
}

# ---- into a Maildir, with qpsmtpd-prefork ----

sub from_maildir {
    my ($name, $from, @to) = @_;
    my @files = glob $t->dir . '/Maildir/new/*';
    my $text = @files == 1 ? slurp($files[0]) : '';
    my $added = "Return-Path: <$from>\n" . join '', map { "Delivered-To: $_\n" } reverse @to;

    is scalar @files, 1, "$name: one message";
    unlink @files;
    ok $text =~ s/\A\Q$added\E$received//, "$name: Return-Path, Delivered-To, Received" or diag substr $text, 0, 600;
    return $text;
}

my @common = (rcpthosts => 'ours.test', 'me-auth-results' => 'none');
$t = Qpsmtpd::Test->new(plugins => ['check_relay', 'rcpt_ok', 'queue/maildir Maildir'], config => {@common});
$s = $t->prefork('-H', '-c', 3, '--child-lifetime', 0);
round('Maildir', \&from_maildir);

# ---- what swaks makes itself: an attachment, and the transcript tells what it has sent ----

{
    my $bytes = join '', map { chr(($_ * 7919) % 256) } 1 .. 50_000;
    my $file = $t->file('photo.jpg', $bytes);
    my $output = command('swaks', '--server', '127.0.0.1', '--port', $s->port, '--ehlo', 'client.test',
        '--from', 'a@client.test', '--to', 'you@ours.test', '--body', "see\n.attached\n", '--attach-type', 'image/jpeg',
        '--attach-name', 'photo.jpg', '--attach', "\@$file");
    my ($sent) = $output =~ /^<-\s+354[^\n]*\n(.*?)^ -> \.\r?\n/ms;
    $sent = join '', map { s/^ -> //r =~ s/^\.//r . "\n" } split /\r?\n/, $sent // '';
    my $got = from_maildir('swaks with an attachment', 'a@client.test', 'you@ours.test');
    ok length $sent > 60_000 && $got eq $sent, 'swaks with an attachment: byte for byte';
    my ($part) = $got =~ /filename="?photo\.jpg"?.*?\n\n([A-Za-z0-9+\/=\n]+)\n--/s;
    ok defined $part && decode_base64($part) eq $bytes, 'swaks with an attachment: it can be read again';
    like $got, qr/^\.attached$/m, 'swaks with an attachment: its dot';
}

# ---- several messages in one connection ----

{
    my $smtp = Net::SMTP->new('127.0.0.1', Port => $s->port, Hello => 'client.test') or die "Net::SMTP: $@";
    for my $n (1 .. 5) {
        $smtp->mail("a$n\@client.test");
        $smtp->to('you@ours.test');
        $smtp->data("Subject: $n\n\n$n\n");
    }
    $smtp->mail('a@client.test');
    $smtp->reset;
    $smtp->mail('');
    ok $smtp->to('<you@ours.test>'), 'Net::SMTP: the null sender';
    ok $smtp->data("Subject: bounce\n\n"), 'Net::SMTP: a bounce';
    ok $smtp->quit, 'Net::SMTP: QUIT';
    my @subjects = map { /^Subject: (.*)/m } $t->maildir_messages;
    is_deeply [sort @subjects], [1 .. 5, 'bounce'], 'Net::SMTP: several messages in one connection';
}
is $s->stop, 0, 'TERM: status 0';

# ---- through qmail-queue, with qpsmtpd under tcpserver ----

sub from_queue {
    my ($name, $from, @to) = @_;
    my ($text, $envelope) = map { slurp($t->dir . "/qmail/bin/qmail-queue.$_") } 0, 1;

    is $envelope, "F$from\0" . join('', map { "T$_\0" } @to) . "\0", "$name: the envelope on descriptor 1";
    unlink map { $t->dir . "/qmail/bin/qmail-queue.$_" } 0, 1;
    ok defined $text && $text =~ s/\A$received//, "$name: Received" or diag substr $text || '', 0, 600;
    return $text;
}

$t = Qpsmtpd::Test->new(plugins => ['check_relay', 'rcpt_ok', 'queue/qmail-queue'], config => {@common});
chmod 0755, $t->file('qmail/bin/qmail-queue', qq{#!/bin/sh\nset -e\ncat >"\$0.0"\ncat <&1 >"\$0.1"\n});
$s = $t->tcpserver;
round('qmail-queue', \&from_queue);
$s->signal('TERM');
$s->{process}->wait(10);

done_testing;
