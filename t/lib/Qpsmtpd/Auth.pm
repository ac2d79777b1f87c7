package Qpsmtpd::Auth;

=head1 NAME

Qpsmtpd::Auth - the client's side of AUTH

=head1 SYNOPSIS

    my $d = $t->dialogue;
    $d->say('EHLO client.test');
    like plain($d, 'joe', 'sesame'), qr/^235 /, 'the right password';
    like $_->($d, 'joe', 'wrong'), qr/^535 /, 'a wrong one' for values %method;

=head1 DESCRIPTION

C<plain>, C<login>, C<cram>, C<scram> (SCRAM-SHA-1) and C<scram256> take a dialogue, a user and a
password, and give the server's last reply. C<%method> has them by the names of the mechanisms. Only
Perl's core modules are used. SCRAM also checks the server's proof, and dies when it is wrong.

=cut

use strict;
use warnings;

use Digest::MD5 qw(md5 md5_hex);
use Digest::SHA qw(hmac_sha1 hmac_sha256 sha1 sha256);
use Exporter qw(import);
use MIME::Base64 qw(decode_base64 encode_base64);

our @EXPORT = qw(b64 plain login cram scram scram256 %method);

our %method = (PLAIN => \&plain, LOGIN => \&login, 'CRAM-MD5' => \&cram, 'SCRAM-SHA-1' => \&scram,
    'SCRAM-SHA-256' => \&scram256);

sub b64 {
    return encode_base64($_[0], '');
}

sub plain {
    my ($d, $user, $password) = @_;

    return $d->say('AUTH PLAIN ' . b64("\0$user\0$password"));
}

sub login {
    my ($d, $user, $password) = @_;
    my $reply = $d->say('AUTH LOGIN ' . b64($user));

    return $reply =~ /^334 / ? $d->say(b64($password)) : $reply;
}

sub cram {
    my ($d, $user, $password) = @_;
    my $reply = $d->say('AUTH CRAM-MD5');
    my $key = length $password > 64 ? md5($password) : $password;

    return $reply unless $reply =~ /^334 (\S+)/;
    $key .= "\0" x (64 - length $key);
    my $proof = md5_hex(($key ^ "\x5c" x 64) . md5(($key ^ "\x36" x 64) . decode_base64($1)));
    return $d->say(b64("$user $proof"));
}

# exchange - RFC 5802 without channel binding; $hmac takes data and key
sub exchange {
    my ($d, $mechanism, $hash, $hmac, $user, $password) = @_;
    (my $name = $user) =~ s/([=,])/$1 eq '=' ? '=3D' : '=2C'/ge;
    my $first = "n=$name,r=" . join '', map { ('a' .. 'z')[rand 26] } 1 .. 24;
    my $reply = $d->say("AUTH $mechanism " . b64("n,,$first"));

    return $reply unless $reply =~ /^334 (\S+)/;
    my $challenge = decode_base64($1);
    my ($nonce, $salt, $rounds) = $challenge =~ /^r=([^,]+),s=([^,]+),i=(\d+)/ or die "no challenge: $challenge\n";
    my $u = $hmac->(decode_base64($salt) . pack('N', 1), $password);
    my $salted = $u;
    $salted ^= $u = $hmac->($u, $password) for 2 .. $rounds;
    my $key = $hmac->('Client Key', $salted);
    my $final = 'c=' . b64('n,,') . ",r=$nonce";
    my $all = "$first,$challenge,$final";
    $reply = $d->say(b64("$final,p=" . b64($key ^ $hmac->($all, $hash->($key)))));
    return $reply unless $reply =~ /^334 (\S+)/;
    my $proof = 'v=' . b64($hmac->($all, $hmac->('Server Key', $salted)));
    die "the server does not know the password\n" unless decode_base64($1) eq $proof;
    return $d->say('');
}

sub scram {
    my ($d, @who) = @_;

    return exchange($d, 'SCRAM-SHA-1', \&sha1, \&hmac_sha1, @who);
}

sub scram256 {
    my ($d, @who) = @_;

    return exchange($d, 'SCRAM-SHA-256', \&sha256, \&hmac_sha256, @who);
}

1;
