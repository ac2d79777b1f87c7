# Sessions within TLS: large messages byte for byte, pipelining in records of any size, every way to end; and
# what a client that begins with TLS never gets to see.
#
# QPSMTPD_BIG=1024 sends two messages of 1 GiB instead of 64 MiB.
use strict;
use warnings;
use lib 't/system';

use Digest::SHA;
use IO::Socket::SSL;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Test::More;
use Qpsmtpd::Test qw(free_port sanitized slurp wait_for);
use Qpsmtpd::TLS qw(certificates handshake starttls);
use Probe;

my $mib = $ENV{QPSMTPD_BIG} || (sanitized() ? 16 : 64);
my %config = (rcpthosts => 'ours.test', timeoutsmtpd => 30, timeout => 30);
my $t = Qpsmtpd::Test->new(plugins => ['tls', 'rcpt_ok', 'queue/maildir Maildir'], config => \%config);
my $tls_port = free_port();

certificates($t, 'mx.ours.test');
my $server = $t->prefork('--tls-port', $tls_port, qw(--children 4 --idle-children 2 --child-lifetime 0));

# session - encrypted, from STARTTLS or from the first byte on, up to EHLO
sub session {
    my ($how, %arg) = @_;
    my $d;

    if ($how eq 'implicit') {
        $d = $server->connect(port => $tls_port, greeting => 0);
        handshake($d, %arg) or die "no session: $d->{tls_error}";
        $d->read_greeting;
    } else {
        $d = $server->connect;
        $d->say('EHLO client.test');
        starttls($d, %arg) or die "no session: $d->{tls_error}";
    }
    $d->say('EHLO client.test') =~ /^250/ or die 'no EHLO: ' . $d->reply;
    return $d;
}

# arrived - the one message that has come, without what was put in front of it; it goes
sub arrived {
    my @files = glob $t->dir . '/Maildir/new/*';
    my $message = @files == 1 ? slurp($files[0]) : '';

    unlink @files;
    return $message =~ s/\A.*?^(?=Subject: )//msr;
}

# ---- large ones ------------------------------------------------------------------------------------

# Lines of many lengths with all bytes but CR and LF, dots in front.
my $block = do {
    my ($text, $n) = ('', 0);
    my @pieces = map { join '', map { chr(1 + ($_ * 7 + $n++) % 255) } 1 .. 997 } 1 .. 16;
    tr/\r\n/__/ for @pieces;
    while (length $text < 1 << 20) {
        $text .= ($n % 5 ? '' : '.') . $n . substr($pieces[$n % 16], $n % 31, $n * 37 % 900) . "\n";
        $n++;
    }
    $text;
};
(my $wire = $block) =~ s/^\./../mg;
$wire =~ s/\n/\r\n/g;
(my $chunk = $block) =~ s/\n/\r\n/g;

sub digest_of_arrived {
    my @files = glob $t->dir . '/Maildir/new/*';
    my $sha = Digest::SHA->new(256);
    my $seen = 0;

    return scalar(@files) . ' messages' if @files != 1;
    open my $fh, '<:raw', $files[0] or die "$files[0]: $!";
    while (my $line = readline $fh) {
        $sha->add($line) if $seen ||= $line =~ /^Subject: /;
    }
    unlink @files;
    return $sha->hexdigest;
}

my $want = Digest::SHA->new(256);
$want->add("Subject: big\n\n");
$want->add($block) for 1 .. $mib;
$want = $want->hexdigest;

for my $version ('TLSv1_2', 'TLSv1_3') {
    my $d = session('starttls', SSL_version => $version);
    $d->say($_) for 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@ours.test>';
    if ($version eq 'TLSv1_2') {
        $d->say('DATA');
        $d->raw("Subject: big\r\n\r\n");
        $d->raw($wire) for 1 .. $mib;
        $d->raw(".\r\n");
        like $d->read_reply, qr/^250 /, "$mib MiB by DATA";
    } else {
        $d->bdat("Subject: big\r\n\r\n");
        # Some chunks at once, one after the other.
        $d->raw(sprintf("BDAT %d\r\n", length $chunk) . $chunk) for 1 .. $mib;
        is scalar(grep { $d->read_reply =~ /^250 / } 1 .. $mib), $mib, "$mib MiB by BDAT";
        like $d->bdat('', 'LAST'), qr/^250 /, 'and its end';
    }
    is digest_of_arrived(), $want, "$version: byte for byte what was sent";
    $d->quit;
}

# ---- pipelining ------------------------------------------------------------------------------------

my @commands = ("MAIL FROM:<a\@b.test>\r\n", "RCPT TO:<u\@ours.test>\r\n", "DATA\r\n", "Subject: x\r\n\r\n..x\r\n.\r\n", "QUIT\r\n");
my $all = join '', @commands;
for my $size (length $all, 1, 7, 60) {
    for my $version ('TLSv1_2', 'TLSv1_3') {
        my $d = session($size == 7 ? 'implicit' : 'starttls', SSL_version => $version);
        setsockopt $d->{in}, IPPROTO_TCP, TCP_NODELAY, 1;
        $d->raw($_) for unpack "(a$size)*", $all;
        is join(' ', map { substr $d->read_reply, 0, 3 } @commands), '250 250 354 250 221', "$version, records of $size: each has its reply";
        is arrived(), "Subject: x\n\n.x\n", 'and the message is whole';
        ok $d->eof, 'close_notify follows';
    }
}

# ---- the end ---------------------------------------------------------------------------------------

for my $how ('starttls', 'implicit') {
    my $d = session($how);
    $d->raw($all);
    Net::SSLeay::shutdown($d->{in}->_get_ssl_object);
    shutdown $d->{in}, 1;
    is join(' ', map { substr $d->read_reply, 0, 3 } @commands), '250 250 354 250 221', "$how: a client that closes its direction behind QUIT gets every reply";
    is arrived(), "Subject: x\n\n.x\n", 'and its message is taken';
    ok $d->eof, 'then close_notify comes';
    is Net::SSLeay::get_shutdown($d->{in}->_get_ssl_object) & 2, 2, 'and it is one';
}

# Between two commands close_notify is an end like any other, and nothing of half a command is run.
my $d = session('starttls');
$d->raw("MAIL FROM:<a\@b.test>\r\nRCPT TO:<u\@ours.te");
is $d->read_reply =~ /^250/, 1, 'a command';
Net::SSLeay::shutdown($d->{in}->_get_ssl_object);
is $d->read_reply, '', 'half of one, and close_notify: nothing is said to that';
ok $d->eof, 'the session is over';

$server->stop;
$t->config($_ => 1) for 'timeoutsmtpd', 'timeout';
$server = $t->prefork('--tls-port', $tls_port, qw(--children 2));
$d = session('starttls');
is $d->read_reply, '421 Connection Timed Out', 'silence within TLS ends at the deadline, and is told';
ok $d->eof, 'with close_notify';
$d = session('implicit');
$d->say($_) for 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@ours.test>', 'DATA';
$d->raw("Subject: x\r\n\r\nx");
is $d->read_reply, '451 Incomplete DATA', 'so does silence within DATA';
$server->stop;
$t->config($_ => 30) for 'timeoutsmtpd', 'timeout';

# ---- SIGTERM ---------------------------------------------------------------------------------------

for my $program ('prefork', 'qpsmtpd') {
    if ($program eq 'prefork') {
        $server = $t->prefork('--tls-port', $tls_port, qw(--children 4 --idle-children 2));
        $d = session('starttls');
    } else {
        $d = $t->dialogue;
        $d->say('EHLO client.test');
        starttls($d) or die $d->{tls_error};
        $d->say('EHLO client.test');
    }
    my $term = sub { $program eq 'prefork' ? $server->signal('TERM') : kill TERM => $d->pid };
    my $busy = $program eq 'prefork' ? session('implicit') : undef;
    if ($busy) {
        $busy->say($_) for 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@ours.test>';
        $busy->raw("BDAT 1000 LAST\r\nSubject: x\r\n\r\n" . 'x' x 500);
        $server->wait_log(qr/dispatching BDAT/);
    }
    $term->();
    like $d->read_reply, qr/^421 closing connection: the server is going down/, "$program, SIGTERM: who is silent within TLS is told";
    ok $d->eof, 'and the session closed';
    if ($busy) {
        $busy->raw('x' x 486);
        like $busy->read_reply, qr/^250 /, 'a message may finish';
        like $busy->read_reply, qr/^421 /, 'and no other begins';
        is length arrived(), 998, 'it is whole';
        is $server->stop, 0, 'the server ends well';
    }
}

# A handshake that is under way is not broken off, nor does it hold up the end for ever.
$t->config(tls_timeout => 2);
$server = $t->prefork('--tls-port', $tls_port, qw(--children 4 --idle-children 2));
$d = $server->connect(port => $tls_port, greeting => 0);
$server->wait_log(qr/Connection from/);
my $stalled = $server->connect(port => $tls_port, greeting => 0);
wait_for(sub { (() = $server->log =~ /Connection from/g) == 2 }, 20, 'both');
$server->signal('TERM');
ok handshake($d), 'SIGTERM within a handshake: it comes to its end' or diag $d->{tls_error};
$d->read_greeting;
like $d->reply =~ /^220/ ? $d->read_reply : $d->reply, qr/^421 /, 'and then the session';
ok $stalled->eof, 'another that stalls ends at its deadline';
is $server->stop, 0, 'the server ends well';

# ---- never in the clear ----------------------------------------------------------------------------

# hears - all that a client hears that begins with TLS
sub hears {
    my $d = $server->connect(port => $tls_port, greeting => 0);
    my $all = '';

    $d->raw("\x16\x03\x01");
    $all .= $d->{buffer}, $d->{buffer} = '' while $d->fill(20);
    return $all =~ /\d\d\d/ ? $all : 'nothing';
}

$t->file('rules', ":allow\n");
my ($status, $output) = $t->run('sh', '-c', 'tcprules tcp.cdb tcp.tmp <rules');
die "tcprules: $output" if $status;
$server = $t->prefork('--tls-port', $tls_port, '--tcprules', $t->dir . '/tcp.cdb');
$server->connect->quit; # it listens before it reads the rules: now it has
$t->file('tcp.new', 'garbage');
rename $t->dir . '/tcp.new', $t->dir . '/tcp.cdb' or die "rename: $!";
is hears(), 'nothing', 'broken rules';
$server->wait_log(qr/tcprules: /);
$server->stop;

my $hooked = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir('probe_config')], plugins => ['tls', 'probe_config'],
    env => {PROBE => 'config/max_recipients=OK:many'}, config => \%config);
certificates($hooked, 'mx.ours.test');
$server = $hooked->prefork('--tls-port', $tls_port);
is hears(), 'nothing', 'a configuration that is wrong for this client';
$server->wait_log(qr/"many" is no number/);
is $server->connect->greeting, '421 unable to read controls (#4.3.0)', 'who does not begin with TLS is told';
$server->stop;

done_testing;
