use strict;
use warnings;

use MIME::Base64 qw(encode_base64);
use Test::More;
use Qpsmtpd::Test;

sub b64 { return encode_base64($_[0], '') }

my $t = Qpsmtpd::Test->new(plugins => ['auth/authnull', 'rcpt_ok'],
    config => {auth_mechanisms => 'PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256'});
my $d;

sub fresh {
    $d = $t->dialogue;
    return $d->say('EHLO client.test');
}

like fresh(), qr/^250 AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256$/m, 'what is listed is announced';
is $d->say('AUTH PLAIN ' . b64("\0joe\0any")),
    '235 PLAIN authentication successful for joe - joe is free to abuse my relay', 'PLAIN';
$d->say('MAIL FROM:<a@b.test>');
like $d->say('RCPT TO:<u@elsewhere.test>'), qr/^250/, 'and so they may';

fresh();
$d->say('AUTH LOGIN ' . b64('joe'));
is $d->say(b64('any')), '235 LOGIN authentication successful for joe - joe is free to abuse my relay', 'LOGIN';

fresh();
$d->say('AUTH CRAM-MD5');
is $d->say(b64('joe ' . '0' x 32)),
    '235 CRAM-MD5 authentication successful for joe - joe is free to abuse my relay', 'CRAM-MD5';

fresh();
like $d->say('AUTH SCRAM-SHA-256 ' . b64('n,,n=joe,r=abcdefghijklmnop')) =~ s/^334 //r, qr/^\S+$/, 'SCRAM goes on';
like $d->wait_log(qr/gave no secret.*/), qr/mechanism=scram-sha-256/, 'but cannot end well';
$d->say('*');

done_testing;
