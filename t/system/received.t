# Our Received field: each variant, and what hostile clients put into it.
use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;

use lib dirname(__FILE__);
use Probe;
use Qpsmtpd::Test qw(slurp);

my $t = Qpsmtpd::Test->new(plugin_dirs => [Probe::dir()], plugins => ['probe'], config => {'me-auth-results' => 'none'});
(my $version = ($t->run($t->program('qpsmtpd'), '--version'))[1]) =~ s/^qpsmtpd (\S+)\s*$/$1/;
my $date = qr/(?:Sun|Mon|Tue|Wed|Thu|Fri|Sat), \d\d (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) 20\d\d \d\d:\d\d:\d\d/;

# header - of a message that is sent after this greeting
sub header {
    my ($hello, %env) = @_;
    my $d = $t->dialogue(env => {PROBE => '', QUEUED => $t->dir . '/queued', %env});

    $d->say($_) for $hello, 'MAIL FROM:<a@b.test>', 'RCPT TO:<c@d.test>', 'DATA';
    $d->raw("a: b\r\n\r\nbody\r\n.\r\n");
    like $d->read_reply, qr/^250 /, 'accepted' or diag $d->log;
    $d->hangup;
    my $message = slurp($t->dir . '/queued');
    unlink $t->dir . '/queued';
    $message =~ s/\na: b\n\nbody\n\z// or return "not the message: $message";
    return $message;
}

for my $case (
    ['EHLO client.test', {}, 'localhost (HELO client.test) (127.0.0.1)', 'ESMTP'],
    ['HELO client.test', {}, 'localhost (HELO client.test) (127.0.0.1)', 'SMTP'],
    ['EHLO [192.0.2.1]', {}, 'localhost (HELO [192.0.2.1]) (127.0.0.1)', 'ESMTP'],
    ['EHLO x', {TCPREMOTEHOST => undef}, '[127.0.0.1] (HELO x) (127.0.0.1)', 'ESMTP'],
    ['EHLO x', {TCPREMOTEINFO => 'joe'}, 'joe@localhost (HELO x) (127.0.0.1)', 'ESMTP'],
    ['EHLO x', {TCPREMOTEIP => '2001:db8::1', TCPREMOTEHOST => undef}, '[2001:db8::1] (HELO x) (2001:db8::1)', 'ESMTP'],
    ['EHLO x', {TCPREMOTEIP => undef, TCPREMOTEHOST => undef}, '[unknown] (HELO x) (unknown)', 'ESMTP'],
    ['EHLO a)(b;c<d>"e\\,', {}, 'localhost (HELO a??b?c?d??e??) (127.0.0.1)', 'ESMTP'],
    ["EHLO a\x01\x7f\xe4\tb", {}, 'localhost (HELO a???) (127.0.0.1)', 'ESMTP'],
    ["EHLO a\rb", {}, 'localhost (HELO a?b) (127.0.0.1)', 'ESMTP'],
    ['EHLO _a.%b@c+d/e=f:g-h', {}, 'localhost (HELO _a.%b@c+d/e=f:g-h) (127.0.0.1)', 'ESMTP'],
    ['EHLO ' . 'x' x 1000, {}, 'localhost (HELO ' . 'x' x 255 . ') (127.0.0.1)', 'ESMTP'],
    ['EHLO x', {TCPREMOTEINFO => "j\r\nX-Evil: y\n\n("}, 'j??X-Evil:?y???@localhost (HELO x) (127.0.0.1)', 'ESMTP'],
    ['EHLO x', {TCPREMOTEHOST => "h\nX: y"}, 'h?X:?y (HELO x) (127.0.0.1)', 'ESMTP'],
    ['EHLO x', {TCPREMOTEIP => "1.2.3.4)\n(x"}, 'localhost (HELO x) (1.2.3.4???x)', 'ESMTP'],
) {
    my ($hello, $env, $from, $protocol) = @$case;
    my $name = substr(join(' ', $hello, map { $_ . '=' . ($env->{$_} // '') } sort keys %$env), 0, 80) =~ s/[^ -~]/./gr;
    like header($hello, %$env), qr/\AReceived: from \Q$from\E\n    by mx\.example\.test \(qpsmtpd\/\Q$version\E\) with $protocol; $date \+0000\z/,
        $name;
}

my $longest = header('EHLO ' . 'x' x 1000, TCPREMOTEINFO => 'i' x 2000, TCPREMOTEHOST => 'h' x 2000);
is scalar(grep { length > 998 } split /\n/, $longest), 0, 'no line is longer than 998 bytes';

for my $case (['XXX-05:30', '+0530'], ['XXX+03:30', '-0330'], ['UTC', '+0000'], ['XXX-14', '+1400']) {
    my ($tz, $zone) = @$case;
    like header('EHLO x', TZ => $tz), qr/; $date \Q$zone\E\z/, "TZ=$tz is $zone";
}
like header('EHLO x', LC_ALL => 'de_DE.UTF-8'), qr/; $date \+0000\z/, 'in English, whatever the locale';
{
    my $before = time;
    header('EHLO x') =~ /, (\d+) (\w+) (\d+) (\d+):(\d+):(\d+) \+0000\z/ or die;
    my %month = (Jan => 1, Feb => 2, Mar => 3, Apr => 4, May => 5, Jun => 6, Jul => 7, Aug => 8, Sep => 9, Oct => 10,
        Nov => 11, Dec => 12);
    require Time::Local;
    my $then = Time::Local::timegm($6, $5, $4, $1, $month{$2} - 1, $3);
    ok $then >= $before && $then <= time, 'it is now';
}
$t->config(me => 'mail (x) .test');
like header('EHLO x'), qr/\n    by mail\?\?x\?\?\.test \(qpsmtpd/, 'me is made safe too';
$t->config(me => 'mx.example.test');

like header('EHLO first'), qr/HELO first/, 'one greeting';
{
    my $d = $t->dialogue(env => {PROBE => '', QUEUED => $t->dir . '/queued'});
    $d->say($_) for 'EHLO first', 'HELO second', 'MAIL FROM:<a@b.test>', 'RCPT TO:<c@d.test>', 'DATA';
    $d->raw("Received: theirs\r\n\tstays\r\n\r\n.\r\n");
    $d->read_reply;
    my $message = slurp($t->dir . '/queued');
    like $message, qr/\(HELO second\).*\n.* with SMTP;/, 'the last of two greetings counts';
    like $message, qr/\AReceived: from .*\n    by .*\nReceived: theirs\n\tstays\n\n\z/, 'ours is above theirs';
}
done_testing;
