# Authentication-Results (RFC 8601): ours is added, and forged ones that bear our name go.
use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test qw(slurp);

my $t = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir()], plugins => ['probe']);

# fields - all that are Authentication-Results of a message with this header; and the message
sub fields {
    my ($header, @commands) = @_;
    my $d = $t->dialogue(env => {PROBE => '', QUEUED => $t->dir . '/queued'});

    $d->say($_) for 'EHLO x', 'MAIL FROM:<a@b.test>', 'RCPT TO:<c@d.test>', @commands, 'DATA';
    $d->raw((($header . "\nbody\n") =~ s/\n/\r\n/gr) . ".\r\n");
    like $d->read_reply, qr/^250 /, 'accepted';
    $d->hangup;
    my $message = slurp($t->dir . '/queued');
    my ($head) = $message =~ /\A(.*?\n)\n/s;
    return (join('', $head =~ /^(Authentication-Results:.*\n(?:[ \t].*\n)*)/mig), $message);
}

my $ours = "Authentication-Results: mx.example.test; auth=none\n";
my ($got, $message) = fields("a: b\n");
is $got, $ours, 'our field';
like $message, qr/\A\Q$ours\EReceived: /, 'stands above Received';

$t->config('me-auth-results' => 'auth.example.test');
is +(fields("a: b\n"))[0], "Authentication-Results: auth.example.test; auth=none\n", 'me-auth-results';
$t->config('me-auth-results' => 'NONE');
my $theirs = "Authentication-Results: mx.example.test; spf=pass\n";
is +(fields($theirs))[0], $theirs, 'none: nothing is added and nothing removed';
unlink $t->dir . '/config/me-auth-results';

is +(fields("a: b\n", 'NOOP note c authentication_results spf=pass'))[0], $ours =~ s/\n/;\n\tspf=pass\n/r,
    'what plugins leave in the connection';
is +(fields("a: b\n", 'NOOP note t authentication_results dkim=fail'))[0], $ours =~ s/\n/;\n\tdkim=fail\n/r,
    'and in the transaction';
is +(fields("a: b\n", 'NOOP note c authentication_results spf=pass', 'NOOP note t authentication_results dkim=fail'))[0],
    $ours =~ s/\n/;\n\tspf=pass; dkim=fail\n/r, 'both';

for my $forged (
    "Authentication-Results: mx.example.test; spf=pass",
    "authentication-RESULTS: MX.Example.TEST; spf=pass",
    "Authentication-Results:mx.example.test;spf=pass",
    "Authentication-Results: mx.example.test",
    "Authentication-Results: mx.example.test 1; spf=pass",
    "Authentication-Results:\n mx.example.test;\n\tspf=pass",
    "Authentication-Results: (comment) mx.example.test; spf=pass",
    "Authentication-Results: (a (nested \\) one)) mx.example.test (b); spf=pass",
    "Authentication-Results: \"mx.example.test\"; spf=pass",
    "Authentication-Results: \"mx.example\\.test\"; spf=pass",
    "Authentication-Results: mx.\n example.test; spf=pass",
    "Authentication-Results: (a (b) mx.example.test; spf=pass )",
    "Authentication-Results: =?us-ascii?q?mx=2Eexample=2Etest=3B_spf=3Dpass?=",
    "Authentication-Results: mx\xef\xbc\x8eexample.test; spf=pass",
    "garbage line\nAuthentication-Results: mx.example.test; spf=pass",
) {
    is +(fields("a: b\n$forged\nc: d\n"))[0], $ours, $forged =~ s/\n/ /gr;
}
for my $other (
    "Authentication-Results: other.example.test; spf=pass",
    "Authentication-Results: xmx.example.test; spf=pass",
    "Authentication-Results: mx.example.test.evil.test; spf=pass",
    "Authentication-Results: other.test; x=\"mx.example.test\"",
    "Authentication-Results: (mx.example.test) other.test; spf=pass",
) {
    is +(fields("a: b\n$other\nc: d\n"))[0], "$ours$other\n", "$other stays";
}
($got, $message) = fields("$theirs${theirs}x: y\n${theirs}Original-$theirs");
is $got, $ours, 'each of several goes';
like $message, qr/\nx: y\nOriginal-\Q$theirs\E\nbody\n/, 'and nothing else';

($got, $message) = fields($theirs x 1000);
is $got, $ours, 'each of very many';

# BDAT takes any bytes: a CR alone is the end of a line to some readers, and LF to us.
{
    my $d = $t->dialogue(env => {PROBE => '', QUEUED => $t->dir . '/queued'});

    $d->say($_) for 'EHLO x', 'MAIL FROM:<a@b.test>', 'RCPT TO:<c@d.test>';
    like $d->bdat("a: b\n${theirs}Subject: x\r${theirs}c: d\r\n\r\nbody\r\n", 'LAST'), qr/^250 /, 'BDAT';
    my $queued = slurp($t->dir . '/queued');
    is scalar(() = $queued =~ /Authentication-Results:/g), 1, '... hides none behind LF or CR';
    like $queued, qr/^a: b\nc: d\n\nbody\n\z/m, '... and the others stay';
}

done_testing;
