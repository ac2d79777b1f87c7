# Many AUTHs that fail leave memory and descriptors of the process that serves where they were: those that the
# engine refuses, and those about which programs and daemons are asked.
#
# QPSMTPD_AUTHS=10000 makes so many instead of 2000; of those that ask somebody a fifth.

use strict;
use warnings;

use MIME::Base64 qw(encode_base64);
use Test::More;
use Qpsmtpd::Peer;
use Qpsmtpd::Steady;
use Qpsmtpd::Test qw(sanitized);

my $many = $ENV{QPSMTPD_AUTHS} || (sanitized() ? 500 : 2000);
my %config = (auth_failure_delay => 0, max_auth_failures => 0,
    auth_mechanisms => 'PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256 DIGEST-MD5');

sub b64 { return encode_base64($_[0], '') }

# attempts - n of these in turn, ten in a connection; how often each code was the last reply
sub attempts {
    my ($server, $n, @kinds) = @_;
    my %code;

    for my $connection (1 .. $n / 10) {
        my $d = $server->connect;
        $d->say('EHLO client.test');
        for (1 .. 10) {
            push @kinds, my $try = shift @kinds;
            $d->say($_) for @$try;
            $code{$d->code}++;
        }
        # Some go away in the middle of it.
        $connection % 3 ? $d->quit : $d->raw("AUTH LOGIN\r\n");
        $d->hangup;
    }
    return \%code;
}

# stays - as many attempts as that leave the one child as it was after the first hundreds
sub stays {
    my ($name, $t, $n, $codes, @kinds) = @_;

    steady($name, $t, $n, $codes, sub { return attempts(@_, @kinds) });
}

# ---- the engine, and a file --------------------------------------------------------------------------

my $file = Qpsmtpd::Test->new(plugins => ['auth/auth_flat_file', 'auth/authdeny'], config => \%config, loglevel => 4);
chmod 0600, $file->config(flat_auth_pw => 'joe@ours.test:open sesame');
stays('file', $file, $many, {535 => $many * 0.8, 501 => $many * 0.2},
    ['AUTH PLAIN ' . b64("\0joe\@ours.test\0wrong")],
    ['AUTH LOGIN ' . b64('joe@ours.test'), b64('wrong')],
    ['AUTH CRAM-MD5', b64('joe@ours.test ' . '0' x 32)],
    ['AUTH PLAIN ' . b64("\0nobody\@ours.test\0wrong")],
    ['AUTH PLAIN', b64("root\0joe\@ours.test\0wrong")],
    ['AUTH CRAM-MD5', b64('nobody@ours.test ' . '0' x 32)],
    ['AUTH PLAIN ' . b64("\0" . 'u' x 5000 . "\0wrong")],
    ['AUTH LOGIN', b64('x' x 1000), b64('y' x 1000)],
    ['AUTH SCRAM-SHA-1 ' . b64('n,,n=joe@ours.test,r=abcdefghijklmnop'), b64('c=biws,r=no,p=no')],
    ['AUTH DIGEST-MD5', b64('username="joe@ours.test",realm="x",nonce="x",response=x')]);

# ---- programs and daemons ----------------------------------------------------------------------------

my $asking = Qpsmtpd::Test->new(config => \%config, loglevel => 3);
my $dovecot = Qpsmtpd::Peer->new($asking->dir . '/auth-client');
my ($vpopmaild, $imap) = map { Qpsmtpd::Peer->new } 1 .. 2;

$dovecot->plays("VERSION\t1\t2\nMECH\tPLAIN\nDONE\n", qr/^AUTH\t.*\n/m, "FAIL\t1\n");
$vpopmaild->plays("+OK\r\n", qr/\n/, "-ERR no\r\n", undef);
$imap->plays("* OK\r\n", qr/\n/, "1 OK\r\n", qr/\n/, "+ \r\n", qr/\n/, "+ \r\n", qr/\n/, "2 NO no\r\n", undef);
chmod 0755, my $program = $asking->file('checkpw', "#!/bin/sh\nread -r line <&3\ncase \$line in trouble*) exit 111 ;; esac\nexit 1\n");
$asking->config(plugins => ['auth/dovecot ' . $asking->dir . '/auth-client', 'auth/auth_vpopmaild port ' . $vpopmaild->port,
    "auth/auth_checkpassword checkpw $program", 'auth/auth_imap 127.0.0.1 ' . $imap->port]);
my $n = $many / 5;
stays('asking', $asking, $n, {535 => $n * 0.9, 454 => $n * 0.1},
    (map { ['AUTH PLAIN ' . b64("\0joe\0wrong")], ['AUTH LOGIN ' . b64('joe'), b64('wrong')] } 1 .. 4),
    ['AUTH PLAIN ' . b64("\0" . 'x' x 500 . "\0" . 'wrong')],
    ['AUTH PLAIN ' . b64("\0trouble\0" . 'wrong')]);

done_testing;
