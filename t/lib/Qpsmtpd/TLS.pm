package Qpsmtpd::TLS;

=head1 NAME

Qpsmtpd::TLS - dialogues that are encrypted, certificates

=head1 SYNOPSIS

    use Qpsmtpd::TLS qw(certificates starttls handshake);

    certificates($t, 'mx.ours.test');             # config/ssl of a Qpsmtpd::Test
    my $d = $t->dialogue;
    $d->say('EHLO client.test');
    ok starttls($d), 'it changes to TLS' or diag $d->{tls_error};
    like $d->say('EHLO client.test'), qr/^250/, 'and the dialogue goes on';

=head1 FUNCTIONS

certificates(TEST, HOST) gives the test what tls_cert makes, once for each host. handshake(DIALOGUE, NAME => VALUE, ...) begins TLS now, with the
arguments of L<IO::Socket::SSL>; false, and C<tls_error> in the dialogue, when it fails. starttls says
STARTTLS first. certificate_of(FILE) is the fingerprint of the first certificate there.

=cut

use strict;
use warnings;

use Exporter qw(import);
use File::Basename qw(dirname);
use File::Temp ();
use IO::Socket::SSL;
use Net::SSLeay;
use Qpsmtpd::Test ();

our @EXPORT_OK = qw(certificates handshake starttls certificate_of);

my $tls_cert = dirname(__FILE__) . '/../../../plugins/tls_cert';

my %made; # host => directory; making RSA keys takes its time

sub certificates {
    my ($t, $host) = @_;

    if (!$made{$host}) {
        $made{$host} = File::Temp->newdir;
        system($tls_cert, "$made{$host}", $host) == 0 or die 'tls_cert has failed';
    }
    system('cp', '-r', "$made{$host}/ssl", $t->dir . '/config/') == 0 or die 'cp has failed';
}

sub handshake {
    my ($d, %arg) = @_;

    $d->{in}->blocking(1);
    my $limit = int Qpsmtpd::Test::seconds();
    setsockopt $d->{in}, Socket::SOL_SOCKET(), $_, pack 'l!l!', $limit, 0
        for Socket::SO_RCVTIMEO(), Socket::SO_SNDTIMEO();
    my $ssl = IO::Socket::SSL->start_SSL($d->{in}, SSL_verify_mode => SSL_VERIFY_NONE, %arg);
    if (!$ssl) {
        $d->{tls_error} = $SSL_ERROR || 'no reason';
        return 0;
    }
    $d->{in} = $d->{out} = $ssl;
    bless $d, 'Qpsmtpd::TLS::Dialogue';
    return 1;
}

sub starttls {
    my ($d, %arg) = @_;

    return handshake($d, %arg) if $d->say('STARTTLS') =~ /^220 /;
    $d->{tls_error} = $d->reply;
    return 0;
}

sub certificate_of {
    my ($file) = @_;
    my $bio = Net::SSLeay::BIO_new_file($file, 'r') or die "$file: $!";
    my $cert = Net::SSLeay::PEM_read_bio_X509($bio);
    my $print = Net::SSLeay::X509_get_fingerprint($cert, 'sha256');

    Net::SSLeay::BIO_free($bio);
    Net::SSLeay::X509_free($cert);
    return lc($print =~ s/://gr);
}

package Qpsmtpd::TLS::Dialogue;

our @ISA = ('Qpsmtpd::Test::Dialogue');

# Blocking, with a limit of the socket's own: select(2) does not see what TLS holds.
sub fill {
    my ($self, $wait) = @_;

    return 0 if $self->{eof} || !$self->{in};
    my $n = sysread $self->{in}, $self->{buffer}, 65536, length $self->{buffer};
    $self->{eof} = 1 unless $n;
    return $n || 0;
}

sub raw {
    my ($self, $bytes) = @_;
    my $done = 0;

    while ($self->{out} && $done < length $bytes) {
        my $n = syswrite $self->{out}, $bytes, 16384, $done;
        return 0 unless $n;
        $done += $n;
    }
    return $self->{out} ? 1 : 0;
}

# certificate - fingerprint of the one that the server has shown
sub certificate {
    my ($self) = @_;

    return lc($self->{in}->get_fingerprint('sha256') =~ s/^sha256\$//r =~ s/://gr);
}

1;
