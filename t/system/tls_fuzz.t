# Handshakes that were damaged on their way: what a client has sent is sent again with bits turned, bytes cut out,
# doubled and put in. Whatever it is, the connection ends, nothing is answered in the clear, and the process that
# serves goes on. `make asan` runs it with sanitizers.
#
# QPSMTPD_FUZZ=100000 makes so many instead of 600; QPSMTPD_SEED repeats a run.
use strict;
use warnings;

use IO::Socket::SSL;
use POSIX ();
use Socket;
use Test::More;
use Qpsmtpd::Test qw(free_port slurp wait_for);
use Qpsmtpd::TLS qw(certificates handshake);

my $many = $ENV{QPSMTPD_FUZZ} || 600;
my $seed = $ENV{QPSMTPD_SEED} || (time ^ $$ << 8) & 0xffffffff;
srand $seed;
diag "QPSMTPD_SEED=$seed";

my $t = Qpsmtpd::Test->new(plugins => ['tls client_cert request', 'rcpt_ok', 'queue/discard'], loglevel => 6,
    config => {rcpthosts => 'ours.test', tls_timeout => 5});
my $tls_port = free_port();
certificates($t, 'mx.ours.test');
my $server = $t->prefork('--tls-port', $tls_port, qw(--children 1 --idle-children 1 --child-lifetime 0));
my ($child) = wait_for(sub { ($server->children)[0] }, 20, 'a child');

# ---- what is said ----------------------------------------------------------------------------------

# recorded - what a client sends in a whole session, in the pieces in which it does: between it and the server
# stands a process that writes it down.
sub recorded {
    my (%arg) = @_;
    my $file = $t->dir . '/recorded';
    my $listen = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1) or die "listen: $!";
    my $pid = fork;

    die "fork: $!" unless defined $pid;
    if ($pid == 0) {
        my $client = $listen->accept;
        my $onward = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $tls_port);
        open my $out, '>:raw', $file or POSIX::_exit(1);
        while (1) {
            my $r = '';
            vec($r, fileno $_, 1) = 1 for $client, $onward;
            select $r, undef, undef, 20 or last;
            for my $from ($client, $onward) {
                next unless vec $r, fileno $from, 1;
                sysread $from, my $bytes, 65536 or close $out, POSIX::_exit(0);
                print $out pack 'N/a', $bytes if $from == $client;
                syswrite $from == $client ? $onward : $client, $bytes;
            }
        }
        POSIX::_exit(1);
    }
    my $d = $server->connect(port => $listen->sockport, greeting => 0);
    handshake($d, SSL_hostname => 'mx.ours.test', %arg) or die $d->{tls_error};
    $d->read_greeting;
    $d->say('EHLO client.test');
    $d->quit;
    $d->hangup;
    waitpid $pid, 0;
    return [unpack '(N/a)*', slurp($file)];
}

my @recorded = (recorded(SSL_version => 'TLSv1_2'), recorded(SSL_version => 'TLSv1_3'),
    recorded(SSL_version => 'TLSv1_2', SSL_alpn_protocols => ['smtp']), recorded(SSL_alpn_protocols => ['smtp']));
cmp_ok scalar(@$_), '>=', 3, 'a recorded session: ' . join ' ', map { length } @$_ for @recorded;

# ---- damage ----------------------------------------------------------------------------------------

my @damage = (
    sub { my $at = int rand length $_[0]; substr($_[0], $at, 1) ^= chr(1 << int rand 8) },
    sub { my $at = int rand length $_[0]; substr($_[0], $at, 1) = chr int rand 256 },
    sub { my $at = int rand length $_[0]; substr($_[0], $at, 2) = ("\0\0", "\xff\xff", "\0\x01", "\x7f\xff")[rand 4] },
    sub { my $at = int rand length $_[0]; substr($_[0], $at, 1 + int rand 40) = '' },
    sub { my $at = int rand length $_[0]; substr($_[0], $at, 0) = substr $_[0], int rand length $_[0], 1 + int rand 300 },
    sub { substr($_[0], int rand length $_[0]) = '' },
    sub { $_[0] .= join '', map { chr int rand 256 } 1 .. 1 + int rand 2000 },
    sub { substr($_[0], 0, 5) = pack 'Cnn', 20 + int rand 5, 0x0300 + int rand 5, int rand 65536 },
);

# damaged - the pieces, one of them or some not what they were; the first most often
sub damaged {
    my @pieces = @{$recorded[rand @recorded]};

    for (0 .. int rand 3) {
        my $which = rand() < 0.6 ? 0 : int rand @pieces;
        $damage[rand @damage]->($pieces[$which]) if length $pieces[$which];
    }
    return @pieces;
}

# answer - all that comes back until the server closes; undef: it does not
sub answer {
    my (@pieces) = @_;
    my $s = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $tls_port, Timeout => 20) or return undef;
    my $all = '';

    setsockopt $s, SOL_SOCKET, SO_RCVTIMEO, pack 'l!l!', Qpsmtpd::Test::seconds(), 0;
    syswrite $s, $_ for @pieces;
    shutdown $s, SHUT_WR;
    while (1) {
        my $n = sysread $s, $all, 65536, length $all;
        return $!{ECONNRESET} || $!{EPIPE} ? $all : undef unless defined $n;
        return $all unless $n;
    }
}

my ($open, $clear, $stranger) = (0, 0, 0);
for (1 .. $many) {
    my $answer = answer(damaged());

    $open++ unless defined $answer;
    $answer //= '';
    $clear++ if $answer =~ /^[245]\d\d[ -]/m;
    # Records of TLS, and nothing else; an alert about a version that does not exist has that version itself.
    next if !length $answer || $answer =~ /\A(?:[\x14-\x18]\x03|\x15..\0\x02[\x01\x02].\z)/s;
    $stranger++;
    diag unpack "H*", substr $answer, 0, 64;
}
is $open, 0, "$many damaged handshakes: each connection ends";
is $clear, 0, 'none is answered in the clear';
is $stranger, 0, 'but by records of TLS, or not at all';
is_deeply [$server->children], [$child], 'the process that serves is still the same';
my $d = $server->connect(port => $tls_port, greeting => 0);
ok handshake($d), 'and shakes hands with whoever comes next' or diag $d->{tls_error};
like $d->read_greeting, qr/^220 /, 'as ever';
$d->quit;
my $failed = () = $server->log =~ /tls handshake failed/g;
cmp_ok $failed, '>', $many / 2, "most are handshakes that fail ($failed)";
is $server->stop, 0, 'the server ends well';
unlike $server->log, qr/ERROR: \w+Sanitizer|runtime error:/, 'sanitizers find nothing';

done_testing;
