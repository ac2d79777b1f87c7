# What is no SMTP: endless lines, random bytes, other protocols, floods, clients that do not read and
# clients that go at any moment. No crash, no growth, no process left, and the next session is fine.

use strict;
use warnings;

use Socket qw(SOL_SOCKET SO_LINGER SO_RCVBUF AF_INET SOCK_STREAM inet_aton pack_sockaddr_in);
use Test::More;

use Qpsmtpd::Test qw(slurp sanitized peak_memory wait_for);

my $mib = sanitized() ? 16 : $ENV{QPSMTPD_BIG} || 256; # 1024 is the promise; it takes a while
my $limit = 16 * 1024;

my $t = Qpsmtpd::Test->new(
    plugins  => ['rcpt_ok', 'queue/maildir Maildir'],
    config   => {rcpthosts => 'ours.test'},
    loglevel => 4,
);
my $s = $t->prefork('-H', '-c', 4, '-m', 0, '--idle-children', 4, '--child-lifetime', 0);
my $message = "From: a\@client.test\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\nhello\n";
my @children = @{wait_for(sub { my @c = $s->children; @c == 4 && \@c }, 10, '4 children')};

# fine - is the daemon as it was?
sub fine {
    my ($name) = @_;
    my $d = $s->connect;
    my $before = () = $t->maildir_messages;

    like $d->deliver('a@client.test', 'you@ours.test', $message), qr/^250 /, "$name: the next session is served";
    $d->quit;
    is scalar(my @m = $t->maildir_messages) - $before, 1, "$name: with its message only";
    is_deeply [$s->children], \@children, "$name: no child has died";
    return if sanitized();
    my ($peak) = sort { $b <=> $a } map { peak_memory($_) } $s->pid, @children;
    cmp_ok $peak, '<', $limit, "$name: no process has grown (peak $peak KiB)";
}

# slam - close with a reset
sub slam {
    my ($d) = @_;

    setsockopt $d->{in}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
    $d->hangup;
}

# connections - how many accepted sockets a process has
sub connections {
    my ($pid) = @_;
    my %inode = map { (readlink($_) || '') =~ /^socket:\[(\d+)\]/ ? ($1 => 1) : () } glob "/proc/$pid/fd/*";

    return scalar grep { my @f = split; @f > 9 && $f[3] ne '0A' && $inode{$f[9]} } split /\n/, slurp('/proc/net/tcp') || '';
}
# ---- a command without end ----

{
    my $d = $s->connect;
    my $block = 'x' x (1 << 20);
    my $sent = grep { $d->raw($block, 60) } 1 .. $mib;
    is $sent, $mib, "$mib MiB without a line end are read";
    like $d->say(''), qr/^500 /, 'and refused';
    like $d->say('NOOP'), qr/^250 /, 'the session goes on';
    $d->raw($block) for 1 .. 4;
    $d->hangup;
    fine('a command without end');
}
{
    my $d = $s->connect;
    like $d->say("NOOP " . "x" x 100_000), qr/^500 /, 'a command of 100,000 bytes';
    like $d->say("\0" x 600), qr/^50\d /, 'NULs';
    like $d->say("EHLO a\0b.test"), qr/^\d{3}/, 'a NUL in an argument';
    like $d->say("MAIL FROM:<" . ("a." x 400) . "\@client.test>"), qr/^5\d\d /, 'an address without end';
    like $d->say('MAIL FROM:<a@client.test> ' . 'X=Y ' x 100), qr/^\d{3}/, 'parameters without end';
    slam($d);
    fine('odd commands');
}

# ---- other protocols ----

srand 20240101;
my %alien = (
    'random bytes' => join('', map { chr int rand 256 } 1 .. 200_000),
    'random lines' => join('', map { (map({ chr(1 + int rand 255) } 1 .. rand 80), "\r\n") } 1 .. 2_000),
    'TLS' => pack('H*', '1603010200010001fc0303') . join('', map { chr int rand 256 } 1 .. 506),
    'HTTP' => "POST / HTTP/1.1\r\nHost: mx.example.test:25\r\nContent-Length: 44\r\n\r\n"
        . "EHLO x\r\nMAIL FROM:<a\@b.test>\r\nRCPT TO:<you\@ours.test>\r\nQUIT\r\n",
    'SSH' => "SSH-2.0-OpenSSH_9.2\r\n" . pack('N', 1 << 30) . "\x14" . 'k' x 1000,
    'only line ends' => "\n" x 5_000 . "\r\n" x 5_000,
    'only CR' => "\r" x 100_000,
    'only dots' => ".\r\n" x 5_000,
);
for my $name (sort keys %alien) {
    my $d = $s->connect(greeting => 0);
    # It may be told to go before it has said all.
    my $reader = sub { 1 while $d->fill(0) };
    for (my $at = 0; $at < length $alien{$name}; $at += 4096) {
        $d->raw(substr $alien{$name}, $at, 4096) or last;
        $reader->();
    }
    $d->hangup('write');
    ok wait_for(sub { $d->fill(0.1); $d->{eof} }, 20, 'the end'), "$name: the connection ends";
    unlike $d->{buffer}, qr/^354 /m, "$name: no message begins";
    my @odd = grep { !/^\d{3}[ -][^\r]*\r?\z/ } split /\n/, $d->{buffer};
    is_deeply \@odd, [], "$name: every reply is one" or diag explain \@odd;
    $d->hangup;
}
fine('other protocols');

# ---- floods ----

{
    my $d = $s->connect;
    my $n = 20_000;
    my ($sent, $replies) = (0, 0);
    my $flood = "NOOP\r\n" x $n . "QUIT\r\n";
    while ($sent < length $flood) {
        $d->raw(substr $flood, $sent, 65536);
        $sent += 65536;
        1 while $d->fill(0);
    }
    wait_for(sub { $d->fill(0.1); $d->{eof} }, 30, 'all replies');
    $replies++ while $d->{buffer} =~ /^250 [^\r\n]*\r\n/mg;
    is $replies, $n, "$n commands at once: every one is answered";
    like $d->{buffer}, qr/\r\n221 [^\n]*\r\n\z/, 'in order, to the last';
    fine('pipelining');
}
{
    # Who sends and does not read must be stopped by the window, not by our memory.
    my $d = $s->connect;
    my $block = "NOOP\r\n" x 10_000;
    my ($sent, $w) = (0, '');
    vec($w, fileno $d->{out}, 1) = 1;
    while (select undef, my $ready = $w, undef, 0.5) {
        my $n = syswrite $d->{out}, $block;
        last unless defined $n || $!{EAGAIN};
        $sent += $n || 0;
        last if $sent > 64 << 20;
    }
    cmp_ok $sent, '<', 64 << 20, "a client that never reads is not read from without end ($sent bytes)";
    slam($d);
    fine('a client that never reads');
}
{
    # A small window, and never much taken out of it.
    socket my $sock, AF_INET, SOCK_STREAM, 0 or die "socket: $!";
    setsockopt $sock, SOL_SOCKET, SO_RCVBUF, 4096;
    connect $sock, pack_sockaddr_in($s->port, inet_aton('127.0.0.1')) or die "connect: $!";
    my $d = Qpsmtpd::Test::Dialogue->new(in => $sock, out => $sock, log => $s->{log});
    like $d->read_greeting, qr/^220 /, 'a slow reader is greeted';
    my $help = "HELP\r\n" x 1_000;
    my ($at, $got) = (0, '');
    while ($got !~ /^221 /m) {
        my ($r, $w) = ('', '');
        vec($r, fileno $sock, 1) = 1;
        vec($w, fileno $sock, 1) = 1 if $at < length $help;
        select($r, $w, undef, 20) > 0 or last;
        if (vec $r, fileno $sock, 1) {
            sysread $sock, $got, 700, length $got or last;
        }
        next unless vec $w, fileno $sock, 1;
        my $n = syswrite $sock, $help, 512, $at;
        $at += $n || 0;
        if ($at >= length $help && $help !~ /QUIT/) {
            $help .= "QUIT\r\n";
        }
    }
    my $n = () = $got =~ /^214 /mg;
    is $n, 1_000, 'a slow reader gets all its replies';
    fine('a slow reader');
}

# ---- the client goes: after each prefix of a session, politely and not ----

{
    my @steps = ("EHLO client.test\r\n", "MAIL FROM:<a\@client.test>\r\n", "RCPT TO:<you\@ours.test>\r\n", "DATA\r\n",
        "Subject: cut\r\n", "\r\n", "text\r\n", ".", "\r", "\n");
    my $before = () = $t->maildir_messages;
    my $complete = 0;
    # Each cut stands at a step's begin and in its middle; the replies are read, or not.
    for my $how ('close', 'reset') {
        for my $read (1, 0) {
            for my $n (0 .. $#steps) {
                for my $half (0, 1) {
                    my $d = $s->connect(greeting => 0);
                    $d->read_greeting if $read;
                    for my $i (0 .. $n - 1) {
                        $d->raw($steps[$i]);
                        $d->read_reply if $read && $i < 4;
                    }
                    $d->raw(substr $steps[$n], 0, length($steps[$n]) / 2) if $half;
                    $how eq 'close' ? $d->hangup : slam($d);
                }
            }
        }
    }
    my $d = $s->connect;
    $d->deliver('a@client.test', 'you@ours.test', $message);
    $d->quit;
    # All of them have ended when no child has a connection any more.
    wait_for(sub { !grep { connections($_) } @children }, 20, 'all sessions to end');
    is scalar(my @m = $t->maildir_messages) - $before, 1, 'no session that was cut has delivered anything';
    is_deeply [glob($t->dir . '/spool/*'), glob($t->dir . '/Maildir/tmp/*')], [], 'nor left a file';
    fine('cut sessions');
}

is $s->stop, 0, 'TERM: status 0';

# ---- 2000 sessions in one child ----

{
    $s = $t->prefork('-H', '-c', 1, '--child-lifetime', 0);
    my ($child) = @{wait_for(sub { my @c = $s->children; @c && \@c }, 10, 'the child')};
    my $session = sub {
        my ($n) = @_;
        my $d = $s->connect;
        $d->deliver('a@client.test', 'you@ours.test', $n % 20 ? $message : $message . 'x' x 100_000) if $n % 4;
        $n % 3 ? $n % 7 ? $d->quit : $d->hangup : slam($d);
    };
    my $rss = sub { (slurp("/proc/$child/status") || '') =~ /^VmRSS:\s+(\d+)/m ? $1 : 0 };
    my $fds = sub { my @fds = glob "/proc/$child/fd/*"; scalar @fds };
    # Back in its wait: it has closed what belonged to the client.
    my $idle = sub { wait_for(sub { connections($child) == 0 }, 10, 'the end of the last session') };
    my $sessions = sanitized() ? 400 : 2_000;
    $session->($_) for 1 .. 100;
    $idle->();
    my ($memory, $descriptors) = ($rss->(), $fds->());
    $session->($_) for 1 .. $sessions;
    $idle->();
    is $fds->(), $descriptors, "descriptors after $sessions sessions";
  SKIP: {
        skip 'sanitizers keep what was freed', 1 if sanitized();
        cmp_ok $rss->(), '<=', $memory + 128, "memory after $sessions sessions ($memory KiB before)";
    }
    is_deeply [$s->children], [$child], 'in the same child';
    is $s->stop, 0, 'TERM: status 0';
}

done_testing;
