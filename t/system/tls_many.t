# Many TLS sessions, and many handshakes that fail, leave memory and descriptors of the process that serves where
# they were.
#
# QPSMTPD_HANDSHAKES=10000 makes so many of either instead of 1000.
use strict;
use warnings;

use IO::Socket::SSL;
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;
use Qpsmtpd::Steady;
use Qpsmtpd::Test qw(free_port sanitized slurp);
use Qpsmtpd::TLS qw(certificates handshake starttls);

my $many = $ENV{QPSMTPD_HANDSHAKES} || (sanitized() ? 300 : 1000);
my $t = Qpsmtpd::Test->new(plugins => ['tls client_cert request', 'auth/authnull', 'rcpt_ok', 'queue/discard'], loglevel => 4,
    config => {rcpthosts => 'ours.test', auth_failure_delay => 0});
my $ssl = $t->dir . '/config/ssl';
my $tls_port = free_port();

certificates($t, 'mx.ours.test');
$t->config("tls_certs/other.test.$_" => slurp("$ssl/qpsmtpd-server.$_")) for 'crt', 'key';
system('plugins/tls_cert', $t->dir . '/config', '--client', 'bob@ours.test') == 0 or die 'no certificate for the client';

# A context of each kind, made once.
sub context {
    my (%arg) = @_;

    return (SSL_reuse_ctx => IO::Socket::SSL::SSL_Context->new(SSL_verify_mode => SSL_VERIFY_NONE, %arg));
}

my %old = (SSL_version => 'TLSv1_2');
my %bob = context(SSL_cert_file => "$ssl/client-bob\@ours.test.crt", SSL_key_file => "$ssl/client-bob\@ours.test.key");
my %new = context();
my %resumed = (context(SSL_session_cache_size => 100, %old), SSL_session_key => 'ours');
%old = context(%old);

# ---- sessions --------------------------------------------------------------------------------------

# begin - a connection, up to the handshake
sub begin {
    my ($server, $how) = @_;

    return $server->connect(port => $tls_port, greeting => 0) if $how eq 'implicit';
    my $d = $server->connect;
    $d->say('EHLO client.test');
    return $d;
}

sub implicit {
    my ($server, @arg) = @_;
    my $d = begin($server, 'implicit');

    return $d if handshake($d, @arg) && $d->read_greeting =~ /^220 /;
    die "no session: " . ($d->{tls_error} || $d->reply);
}

sub explicit {
    my ($server, @arg) = @_;
    my $d = begin($server, 'starttls');

    starttls($d, @arg) or die "no session: $d->{tls_error}";
    return $d;
}

# reset_it - the connection ends as one of a client that has crashed
sub reset_it {
    my ($d) = @_;

    open my $socket, '>&', $d->{in}->fileno or die $!;
    setsockopt $socket, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
    $d->{in}->close(SSL_no_shutdown => 1);
    close $socket;
}

my $reused = 0;
my @sessions = (
    sub { implicit($_[0], %new)->quit },
    sub { explicit($_[0], %new)->quit },
    sub { implicit($_[0], %old)->quit },
    sub { explicit($_[0], %bob)->quit },
    sub {
        my $d = implicit($_[0], %resumed);
        $reused += $d->{in}->get_session_reused || 0;
        my $reply = $d->quit;
        $d->hangup; # with close_notify: otherwise the library would forget the session
        return $reply;
    },
    sub { implicit($_[0], %new, SSL_hostname => 'other.test')->hangup; '221' },
    sub { reset_it(explicit($_[0], %old)); '221' },
    sub { # something of everything, and gone in the middle of a chunk
        my $d = explicit($_[0], %new);
        $d->say($_) for 'EHLO client.test', 'AUTH PLAIN AGpvZQBzZXNhbWU=', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@far.test>';
        return $d->reply unless $d->bdat('x' x 70_000) =~ /^250 /;
        $d->raw("BDAT 1000\r\n" . 'x' x 500);
        $d->hangup;
        return '221';
    },
);

my $turn = 0;
sub sessions {
    my ($server, $n) = @_;
    my %code;

    for (1 .. $n) {
        my $reply = $sessions[$turn++ % @sessions]->($server);
        $code{substr $reply, 0, 3}++;
    }
    return \%code;
}
steady('sessions', $t, $many, {221 => $many}, \&sessions, '--tls-port', $tls_port);
cmp_ok $reused, '>', $many / 10, 'one in eight was resumed';

# ---- handshakes that fail --------------------------------------------------------------------------

my %h2 = context(SSL_alpn_protocols => ['h2']);
my %ancient = context(SSL_version => 'TLSv1_1', SSL_cipher_list => 'ALL:@SECLEVEL=0');
my %wary = context(SSL_verify_mode => SSL_VERIFY_PEER, SSL_ca_file => "$ssl/client-bob\@ours.test.crt");
my $records = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . 'x' x 300;

# sends - these bytes, and no more; what comes back is not SMTP
sub sends {
    my ($server, $how, $bytes) = @_;
    my $d = begin($server, $how);

    $d->say('STARTTLS') if $how eq 'starttls';
    $d->raw($bytes);
    $d->hangup('write');
    my $all = '';
    $all .= $d->{buffer}, $d->{buffer} = '' while $d->fill(20);
    return $all =~ /[245]\d\d[ -]/ ? 'answered' : 'closed';
}

# shakes - with this client, which does not agree with us
sub shakes {
    my ($server, $how, @arg) = @_;
    my $d = begin($server, $how);

    return 'session' if $how eq 'starttls' ? starttls($d, @arg) : handshake($d, @arg);
    $d->hangup;
    return 'closed';
}

my @failures = (
    sub { sends($_[0], 'starttls', "EHLO client.test\r\n") },
    sub { sends($_[0], 'implicit', "GET / HTTP/1.1\r\n\r\n") },
    sub { sends($_[0], 'starttls', $records) },
    sub { sends($_[0], 'implicit', '') },
    sub { sends($_[0], 'starttls', "\x15\x03\x01\x00\x02\x02\x28") },
    sub { shakes($_[0], 'starttls', %h2) },
    sub { shakes($_[0], 'implicit', %ancient) },
    sub { shakes($_[0], 'starttls', %wary) },
);

sub failures {
    my ($server, $n) = @_;
    my %came;

    $came{$failures[$turn++ % @failures]->($server)}++ for 1 .. $n;
    return \%came;
}
steady('failures', $t, $many, {closed => $many}, \&failures, '--tls-port', $tls_port);

done_testing;
