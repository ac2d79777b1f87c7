# Pipelining (RFC 2920): replies in order, however the commands arrive, and few writes.
use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test qw(slurp wait_for);

my $t = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir()], plugins => ['probe'],
    config => {'me-auth-results' => 'none', loglevel => 'notice'});
$t->{env} = {PROBE => '', QUEUED => $t->dir . '/queued'};

# replies - so many, first words only
sub replies {
    my ($d, $n) = @_;

    return join ' ', map { substr $d->read_reply, 0, 3 } 1 .. $n;
}

# ---- a whole session in one packet ----

my $session = join "\r\n", 'EHLO client.test', 'MAIL FROM:<a@b.test> SIZE=5', 'RCPT TO:<c@d.test>', 'RCPT TO:<bad',
    'RCPT TO:<e@f.test>', 'NOOP rcpts', 'DATA', 'a: b', '', '..body', '.', 'NOOP rcpts', 'RSET', 'VRFY x', 'FOO',
    'MAIL FROM:<>', 'DATA', 'RCPT TO:<c@d.test>', 'BDAT 4', "a: bBDAT 2", "\r\nBDAT 3 LAST", 'x', 'HELP',
    'QUIT', 'NOOP', '';
my $expected = '250 250 250 501 250 250 354 250 250 250 252 500 250 503 250 250 250 250 214 221';

for my $pipe (0, 1) {
    my $d = $t->dialogue(greeting => 0, pipe => $pipe);
    $d->raw($session);
    is replies($d, 21), "220 $expected", 'everything in one piece, over ' . ($pipe ? 'pipes' : 'a socket');
    ok $d->eof, 'and the end';
    is Probe::queued($t), "a: b\nx\n", 'the second message';
}
{
    my $d = $t->dialogue;
    for my $byte (split //, $session) {
        $d->raw($byte);
        Probe::sync($d);
    }
    is replies($d, 20), $expected, 'byte by byte';
}
{
    my @wrong;
    for my $cut (map { $_ * 7 } 1 .. length($session) / 7) {
        my $d = $t->dialogue;
        $d->raw(substr $session, 0, $cut);
        Probe::sync($d);
        $d->raw(substr $session, $cut);
        my $got = replies($d, 20);
        push @wrong, "$cut: $got" if $got ne $expected;
        $d->hangup;
    }
    is "@wrong", '', 'cut in many places';
}

# ---- more than any buffer holds ----

{
    my $d = $t->dialogue;
    $d->raw("EHLO x\r\n" . "NOOP\r\n" x 9_000 . "NOOP count\r\n"); # 54 kB in, 72 kB out
    $d->read_reply;
    my %got;
    $got{$d->read_reply}++ for 1 .. 9_000;
    is_deeply \%got, {'250 OK' => 9_000}, 'a burst of 9000 commands';
    is $d->read_reply, '250 9002', 'none was lost';
    $d->raw("MAIL FROM:<>\r\n" . "RCPT TO:<r\@x.test>\r\n" x 900 . "DATA\r\n");
    is join(' ', sort { $a <=> $b } keys %{{map { substr($d->read_reply, 0, 3) => 1 } 1 .. 902}}), '250 354', 'a batch of recipients';
    $d->raw(".\r\n");
    is $d->read_reply, '250 Queued', 'the end of it';
    $d->hangup;
}
{
    # Nobody reads while commands come in: they wait for us, not we for ever.
    my $server = $t->prefork('--children', 1);
    my $d = $server->connect;
    my $burst = "NOOP\r\n" x 20_000;
    my $pid = fork;
    defined $pid or die "fork: $!";
    if ($pid == 0) {
        $d->raw($burst, 15);
        POSIX::_exit(0);
    }
    my $n = 0;
    $n++ while $n < 20_000 && $d->read_reply eq '250 OK';
    is $n, 20_000, '20000 commands and their replies at the same time';
    waitpid $pid, 0;
    $d->hangup;
    is $server->stop, 0, 'the server stops';
}

# ---- one write for a batch ----

SKIP: {
    my ($status) = eval { $t->run('strace', '-o', '/dev/null', 'true') };
    skip 'strace does not work here', 3 if !defined $status || $status != 0 || $ENV{QPSMTPD_SAN};
    my $in = "EHLO x\r\nMAIL FROM:<a\@b.test>\r\nRCPT TO:<c\@d.test>\r\nRCPT TO:<e\@f.test>\r\nDATA\r\n";
    my $trace = $t->dir . '/trace';
    my ($ours, $theirs);
    socketpair $ours, $theirs, Socket::AF_UNIX(), Socket::SOCK_STREAM(), 0 or die "socketpair: $!";
    open my $null, '>', '/dev/null' or die;
    my $p = $t->spawn(command => ['/usr/bin/env', 'strace', '-o', $trace, '-e', 'trace=network,write,writev,read',
        $t->program('qpsmtpd'), $t->options], env => $t->environment(TCPREMOTEIP => '127.0.0.1'),
        in => $theirs, out => $theirs, err => $null);
    close $theirs;
    my $d = Qpsmtpd::Test::Dialogue->new(in => $ours, out => $ours, process => $p, log => '/dev/null');
    $d->read_greeting;
    $d->raw($in);
    is replies($d, 5), '250 250 250 250 354', 'a batch';
    $d->raw("a: b\r\n\r\n.\r\nNOOP\r\nNOOP\r\nQUIT\r\n");
    is replies($d, 4), '250 250 250 221', 'and another one';
    $d->hangup;
    $p->wait;
    my @sent = slurp($trace) =~ /^(?:send(?:to)?|write)\([01], "(\d\d\d)/mg;
    is "@sent", '220 250 250', 'each was answered with one write';
}

done_testing;
