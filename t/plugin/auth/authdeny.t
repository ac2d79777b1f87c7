use strict;
use warnings;

use MIME::Base64 qw(encode_base64);
use Test::More;
use Qpsmtpd::Test;

sub b64 { return encode_base64($_[0], '') }

my $t = Qpsmtpd::Test->new(plugins => ['auth/authdeny', 'rcpt_ok'], config => {auth_failure_delay => 0});
my $d = $t->dialogue;

like $d->say('EHLO client.test'), qr/^250 AUTH PLAIN LOGIN CRAM-MD5$/m, 'three mechanisms are announced';
is $d->say('AUTH PLAIN ' . b64("\0joe\0secret")),
    '535 PLAIN authentication failed for joe from 127.0.0.1 - joe is not free to abuse my relay', 'PLAIN';
$d->say('AUTH LOGIN ' . b64('joe'));
is $d->say(b64('secret')),
    '535 LOGIN authentication failed for joe from 127.0.0.1 - joe is not free to abuse my relay', 'LOGIN';
$d->say('AUTH CRAM-MD5');
is $d->say(b64('joe ' . '0' x 32)),
    '535 CRAM-MD5 authentication failed for joe from 127.0.0.1 - joe is not free to abuse my relay', 'CRAM-MD5';

# Behind a plugin that knows the user it changes nothing.
$t->config(plugins => ['auth/auth_flat_file', 'auth/authdeny']);
chmod 0600, $t->config(flat_auth_pw => 'joe@ours.test:secret');
$d = $t->dialogue;
$d->say('EHLO client.test');
is $d->say('AUTH PLAIN ' . b64("\0joe\@ours.test\0secret")),
    '235 PLAIN authentication successful for joe@ours.test - auth_flat_file', 'a user of another plugin is let in';

$t->config(plugins => 'auth/authdeny now');
my ($status, $output) = $t->check;
is $status, 1, 'an argument refuses the start';
like $output, qr{config/plugins:1: .*takes no argument}, 'and is told with file and line';

done_testing;
