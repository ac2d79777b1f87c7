# 250 is a promise. 200 clients send while children are killed at random: what was answered 250 is in
# the Maildir exactly once, and nothing is there that was not sent. The disk has it before the client
# hears of it; a disk that is full costs a 4xx and leaves nothing.

use strict;
use warnings;

use IO::Handle;
use POSIX ();
use Socket qw(AF_INET SOCK_STREAM inet_aton pack_sockaddr_in);
use Test::More;
use Time::HiRes qw(time);

use Qpsmtpd::Test qw(slurp wait_for sanitized);

my $processes = 10;
my $clients = 20; # of each process, all at once
my $messages = sanitized() ? 3 : 6; # of each client

# ---- a client as a state machine: what it says next, which reply it wants ----

# start - a connection that is being made; undef when there is none to be had
sub start {
    my ($port, $id) = @_;

    socket my $sock, AF_INET, SOCK_STREAM, 0 or return undef;
    $sock->blocking(0);
    connect $sock, pack_sockaddr_in($port, inet_aton('127.0.0.1')) or $!{EINPROGRESS} or return undef;
    my $body = "From: $id\@client.test\r\nSubject: $id\r\n\r\n" . "$id\r\n" x (1 + rand 4_000);
    return {
        sock => $sock, id => $id, in => '', out => '', lines => length $body,
        say => ["EHLO client.test\r\n", "MAIL FROM:<$id\@client.test>\r\n", "RCPT TO:<you\@ours.test>\r\nDATA\r\n", '',
            "$body.\r\n", "QUIT\r\n"],
        want => [220, 250, 250, 250, 354, 250],
    };
}

# advance - take what has come; '' while it goes on, else how it ended: done, or what went wrong
sub advance {
    my ($c) = @_;
    my $n = sysread $c->{sock}, $c->{in}, 4096, length $c->{in};

    return $!{EAGAIN} || $!{EINTR} ? '' : 'broken' unless defined $n;
    while ($c->{in} =~ s/\A((?:\d{3}-[^\n]*\n)*(\d{3}) [^\n]*\n)//) {
        return "refused: $1" if $2 != shift @{$c->{want}};
        $c->{out} .= shift @{$c->{say}};
        return 'done' if !@{$c->{want}};
    }
    return $n ? '' : 'closed';
}

# session_run - drive them all; every one ends. Prints a line for each: "250 ID", "lost ID why"
sub run_clients {
    my ($port, $name, $report) = @_;
    my @todo = map { my $m = $_; map { "$name.$_.$m" } 1 .. $clients } 1 .. $messages;
    my %active;
    my $end = time + 50 * ($ENV{TEST_SLOW} || 1);

    while ((@todo || %active) && time < $end) {
        while (@todo && keys %active < $clients) {
            my $id = shift @todo;
            my $c = start($port, $id);
            $c ? $active{fileno $c->{sock}} = $c : print $report "lost $id no connection\n";
        }
        my ($r, $w) = ('', '');
        for my $c (values %active) {
            vec($r, fileno $c->{sock}, 1) = 1;
            vec($w, fileno $c->{sock}, 1) = 1 if length $c->{out};
        }
        select $r, $w, undef, 1;
        for my $c (values %active) {
            my $fd = fileno $c->{sock};
            my $how = '';
            if (vec $w, $fd, 1) {
                my $n = syswrite $c->{sock}, $c->{out};
                defined $n ? substr($c->{out}, 0, $n) = '' : $!{EAGAIN} || ($c->{out} = '');
            }
            $how = advance($c) if vec $r, $fd, 1;
            next unless $how;
            $how =~ s/\s+/ /g;
            print $report $how eq 'done' ? "250 $c->{id}\n" : "lost $c->{id} $how\n";
            syswrite $c->{sock}, "QUIT\r\n";
            delete $active{$fd};
        }
    }
    print $report "lost $_->{id} out of time\n" for values %active;
    print $report "lost $_ never begun\n" for @todo;
    $report->flush;
}

# ---- 200 at once, and death among the children ----

my $t = Qpsmtpd::Test->new(
    plugins  => ['rcpt_ok', 'queue/maildir Maildir'],
    config   => {rcpthosts => 'ours.test', size_threshold => 8192}, # some in memory, some in the spool
    loglevel => 4,
);
{
    my $s = $t->prefork('-H', '-c', 40, '-m', 0, '--idle-children', 8, '--child-lifetime', 20);
    my @workers;
    for my $n (1 .. $processes) {
        pipe my $r, my $w or die "pipe: $!";
        my $pid = fork;
        die "fork: $!" unless defined $pid;
        if ($pid == 0) {
            srand $n;
            run_clients($s->port, "p$n", $w);
            POSIX::_exit(0);
        }
        close $w;
        push @workers, {pid => $pid, out => $r};
    }
    # Kill while they work, some after every few messages: in any state that a child can be in.
    my ($kills, $seen) = (0, 0);
    my %alive = map { $_->{pid} => 1 } @workers;
    srand 4711;
    while (%alive) {
        delete $alive{$_} for grep { waitpid($_, POSIX::WNOHANG()) == $_ } keys %alive;
        my $now = () = glob $t->dir . '/Maildir/new/*';
        select undef, undef, undef, 0.02;
        next if $now < $seen + 10;
        $seen = $now;
        my @children = $s->children;
        for my $signal (qw(KILL SEGV)) {
            my $victim = $children[rand @children] or next;
            $kills += kill $signal => $victim;
        }
    }
    my (%promised, %lost, $twice);
    for my $w (@workers) {
        while (defined(my $line = readline $w->{out})) {
            my ($what, $id, $why) = split ' ', $line, 3;
            $what eq '250' ? $twice += $promised{$id}++ : ($lost{$id} = $why);
        }
    }
    my (%found, @odd);
    for my $file (glob $t->dir . '/Maildir/new/*') {
        my $m = slurp($file);
        my ($id) = $m =~ /^Subject: (\S+)$/m;
        my ($body) = $m =~ /\n\n(.*)\z/s;
        push @odd, $file unless defined $id && defined $body && $body =~ /\A(?:\Q$id\E\n)+\z/;
        $found{$id // ''}++;
    }
    my $sent = $processes * $clients * $messages;
    note sprintf '%d sent, %d promised, %d lost, %d found, %d killed', $sent, scalar keys %promised, scalar keys %lost,
        scalar keys %found, $kills;
    is keys(%promised) + keys(%lost), $sent, "each of $sent messages had an end";
    cmp_ok scalar keys %promised, '>=', $sent / 2, 'most were promised';
    cmp_ok $kills, '>=', 5, "while $kills children were killed";
    is_deeply [grep { !$found{$_} } sort keys %promised], [], 'every message answered 250 is in the Maildir';
    is_deeply [grep { $found{$_} != 1 } sort keys %found], [], 'exactly once';
    # Between the link and the 250 a child may die: then the message is there, and the client sends it again.
    is_deeply [grep { !$promised{$_} && !$lost{$_} } sort keys %found], [], 'and nothing that was not sent';
    is_deeply \@odd, [], 'each of them whole';
    my %why;
    $why{s/ from=.*//r}++ for values %lost;
    my @strange = grep { !/\A(?:broken|closed|no connection|refused: 421 internal error)/ } keys %why;
    is_deeply \@strange, [], 'nobody was lost for another reason than a dead child' or diag explain \%why;
    my $d = $s->connect;
    like $d->deliver('a@client.test', 'you@ours.test', "Subject: after\n\nall\n"), qr/^250 /, 'afterwards it serves as before';
    $d->quit;
    ok wait_for(sub { my @c = $s->children; @c >= 8 }, 10, 'children'), 'with as many children';
    is $s->stop, 0, 'TERM: status 0';
    is_deeply [glob $t->dir . '/spool/*'], [], 'nothing is left in the spool';
}

# through - a dialogue with qpsmtpd started by a line of shell, where "$@" stands for it
sub through {
    my ($home, $line) = @_;
    my $real = $home->program('qpsmtpd');
    my $script = $home->file('through', "#!/bin/sh\nset -- '$real' \"\$\@\"\n$line\n");

    chmod 0755, $script;
    no warnings 'redefine';
    local *Qpsmtpd::Test::program = sub { $script };
    return $home->dialogue;
}

# ---- the order of things ----

my $message = "From: a\@client.test\nSubject: hi\n\nhello\n";
my ($traced) = $t->run('sh', '-c', 'strace -f -o /dev/null true');

SKIP: {
    skip 'strace is not here, or may not trace', 3 if $traced != 0;
    skip 'sanitizers do not go with ptrace', 3 if sanitized();
    my $log = $t->dir . '/trace';
    my $d = through($t, "exec strace -f -s 200 -o '$log' -e trace=openat,fsync,fdatasync,link,linkat,rename,"
        . 'write,sendto,sendmsg "$@"');
    like $d->deliver('a@client.test', 'you@ours.test', $message), qr/^250 Queued/, 'traced: a message';
    $d->quit;
    $d->status;
    # What matters, in order; descriptors by the name they were opened with.
    my (%name, @order);
    for (split /\n/, slurp($log)) {
        s/^\d+ +//;
        if (/^openat\([^"]*"([^"]+)".* = (\d+)$/) {
            $name{$2} = $1;
        } elsif (/^(?:fsync|fdatasync)\((\d+)\) += 0/) {
            my $what = $name{$1} // '?';
            push @order, $what =~ m{/tmp(?:/\d.*)?$} ? 'file' : $what =~ m{/new$} ? 'directory' : "other $what";
        } elsif (/^(?:link|linkat|rename)\(.* = 0$/) {
            push @order, 'link';
        } elsif (/^(?:write|sendto|sendmsg)\(1, .*250 Queued/) {
            push @order, '250';
        }
    }
    is_deeply [grep { /^(?:file|link|directory|250)$/ } @order], [qw(file link directory 250)],
        'the file is on the disk before its name, its name before the 250' or diag "@order";
    unlike slurp($log), qr/fsync\(\d+\) += -1/, 'and nothing of it has failed';
}

# ---- no room ----

# full - what a large message gets, and what is left of it
sub full {
    my ($name, $d, $home) = @_;
    my $maildir = '/proc/' . $d->pid . '/root' . $home->dir . '/Maildir'; # as the process sees it
    my $reply = $d->deliver('a@client.test', 'you@ours.test', $message . ('x' x 70 . "\n") x 40_000);

    like $reply, qr/^4\d\d /, "$name: a message that does not fit gets a 4xx";
    is_deeply [glob "$maildir/new/*"], [], "$name: nothing is delivered";
    is_deeply [glob "$maildir/tmp/*"], [], "$name: nothing is left half written";
    like $d->deliver('a@client.test', 'you@ours.test', $message), qr/^250 /, "$name: a small one fits, in the same session";
    is scalar(my @m = glob "$maildir/new/*"), 1, "$name: and is there";
    like $d->quit, qr/^221 /, "$name: QUIT";
}

for my $where ('spool', 'Maildir') {
    my $home = Qpsmtpd::Test->new(
        plugins => ['rcpt_ok', 'queue/maildir Maildir'],
        config  => {rcpthosts => 'ours.test'},
    );
    mkdir $home->dir . '/Maildir';
  SKIP: {
        my $dir = $home->dir . "/$where";
        # The mount lives in a namespace of its own: it goes with the process.
        my $mount = "exec unshare -m sh -c 'mount -t tmpfs -o size=1m,mode=0700 none \"\$0\" && exec \"\$\@\"' '$dir'";
        my ($status) = $home->run('sh', '-c', "$mount true");
        skip 'no tmpfs can be mounted here', 8 if $status != 0;
        my $d = through($home, "$mount \"\$\@\"");
        full("$where on a full disk", $d, $home);
        is $d->status, 0, "$where on a full disk: status 0";
        like $d->log, qr/No space left on device/, "$where on a full disk: the log says why";
    }
}
{
    my $home = Qpsmtpd::Test->new(
        plugins => ['rcpt_ok', 'queue/maildir Maildir'],
        config  => {rcpthosts => 'ours.test'},
    );
    my $d = through($home, 'ulimit -f 1000; exec "$@"');
    full('ulimit -f', $d, $home);
    is $d->status, 0, 'ulimit -f: status 0';
    like $d->log, qr/File too large/, 'ulimit -f: the log says why';
}

done_testing;
