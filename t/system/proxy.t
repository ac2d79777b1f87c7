# The PROXY protocol: listed peers say who the client is, others are refused.
use strict;
use warnings;

use Test::More;
use Qpsmtpd::Test qw(wait_for);

my $v2 = "\r\n\r\n\0\r\nQUIT\n";
my $client = pack 'C4C4nn', 192, 0, 2, 7, 192, 0, 2, 25, 4711, 25;

my %config = (proxy_from => "127.0.0.2\n127.0.1.0/24\n", rcpthosts => 'ours.test', relayclients => "127.\n");
my $t = Qpsmtpd::Test->new(plugins => ['check_relay', 'rcpt_ok', 'queue/maildir Maildir'], config => \%config);
my $server = $t->prefork(qw(--no-rdns --max-from-ip 2 --children 12 --idle-children 4));

# through - a connection from the proxy that begins with these bytes
sub through {
    my ($header, $from) = @_;
    my $d = $server->connect(from => $from || '127.0.0.2', greeting => 0);

    $d->raw($header);
    return $d;
}

# ---- who the client is ----

my $d = through("PROXY TCP4 192.0.2.7 192.0.2.25 4711 25\r\nEHLO client.test\r\n");
like $d->read_greeting, qr/^220 /, 'version 1: the greeting';
like $d->read_reply, qr/Hi \[192\.0\.2\.7\] \[192\.0\.2\.7\]/, 'and the client, also when it goes on at once';
$d->say('MAIL FROM:<a@b.test>');
like $d->say('RCPT TO:<u@far.test>'), qr/^550 /, 'it has not the rights of the proxy';
$d->say('RCPT TO:<u@ours.test>');
like $d->data("Subject: x\n\nx\n"), qr/^250 /, 'its mail is taken';
$d->quit;
my ($message) = $t->maildir_messages;
like $message, qr/^Received: from \[192\.0\.2\.7\] \(HELO client\.test\) \(192\.0\.2\.7\)/m, 'Received has its address';
like $server->log, qr/proxy: ip=127\.0\.0\.2 client=192\.0\.2\.7:4711 reached=192\.0\.2\.25:25/, 'and the log both';

my $tls = pack('Cn/a', 0x20, "\x01\0\0\0\x01" . pack('Cn/a', 0x21, 'TLSv1.3') . pack('Cn/a', 0x22, "bob\r\n\xff"));
my %header = (
    'version 2'                  => $v2 . "\x21\x11" . pack('n/a', $client),
    'with what TLS has shown'    => $v2 . "\x21\x11" . pack('n/a', $client . $tls),
    'over IPv6'                  => $v2 . "\x21\x21" . pack('n/a', ("\x20\x01\x0d\xb8" . "\0" x 11 . "\x07") x 2 . pack 'nn', 1, 25),
    'version 1 over IPv6'        => "PROXY TCP6 2001:db8::7 2001:db8::7 1 25\r\n",
);
for my $name (sort keys %header) {
    $d = through($header{$name}, '127.0.1.99');
    like $d->read_greeting, qr/^220 /, "$name: the greeting";
    my $ip = $name =~ /IPv6/ ? '2001:db8::7' : '192.0.2.7';
    like $d->say('EHLO client.test'), qr/\Q[$ip]\E/, 'and the client';
    $d->quit;
}
for my $header ("PROXY UNKNOWN\r\n", $v2 . "\x20\0\0\0") {
    $d = through($header);
    $d->read_greeting;
    like $d->say('EHLO check.test'), qr/\[127\.0\.0\.2\]/, 'a proxy may speak for itself';
    $d->quit;
}

# ---- the limit per address is the client's ----

my @many = map { through("PROXY TCP4 192.0.2.$_ 192.0.2.25 1 25\r\n") } 1 .. 4;
like $_->read_greeting, qr/^220 /, 'clients of one proxy are counted one by one' for @many;
my $second = through("PROXY TCP4 192.0.2.1 192.0.2.25 1 25\r\n");
like $second->read_greeting, qr/^220 /, 'a second connection of a client';
my $third = through("PROXY TCP4 192.0.2.1 192.0.2.25 1 25\r\n");
is $third->read_greeting, '421 Sorry, too many connections from 192.0.2.1, try again later', 'a third is too many';
$_->hangup for @many, $second, $third;

# ---- a listed peer that does not say it, or wrongly ----

for my $case (
    ['no header'      => "EHLO client.test\r\nQUIT\r\n", qr/no PROXY header/],
    ['malformed'      => "PROXY TCP4 192.0.2.7\r\n", qr/malformed/],
    ['another family' => "PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n", qr/malformed/],
    ['too long'       => $v2 . "\x21\x11\xff\xff" . 'x' x 100, qr/not whole, or too long/],
    ['never ends'     => 'PROXY ' . 'x' x 200, qr/no PROXY header|malformed/],
    ['half of it'     => "PROXY TCP4 192.0", qr/no PROXY header/],
    ['nothing'        => '', qr/no header came/],
    ) {
    my ($name, $bytes, $reason) = @$case;
    my $before = length $server->log;
    $d = through($bytes);
    ok $d->eof, "$name: the connection is closed without a word";
    wait_for(sub { substr($server->log, $before) =~ /proxy refused: ip=127\.0\.0\.2 reason=(?=.*$reason)/ }, 20, "the log: $reason");
}

# ---- others are not believed ----

my $stranger = 3; # another one each time: they may have two connections only, and the last one still ends
for my $bytes ("PROXY TCP4 192.0.2.7 192.0.2.25 1 25\r\n", $header{'version 2'}, "PROXY UNKNOWN\r\n") {
    $d = $server->connect(from => '127.0.0.' . $stranger++);
    $d->raw($bytes . "EHLO client.test\r\n");
    my $reply;
    do { $reply = $d->read_reply } while $reply =~ /^500 /;
    is $reply, '554 PROXY is not accepted from this address', 'a peer that is not listed is refused';
    ok $d->eof, 'and the connection closed';
}
$server->stop;

# ---- tcpserver ----

$server = $t->tcpserver;
$d = through("PROXY TCP4 192.0.2.7 192.0.2.25 4711 25\r\n");
like $d->read_greeting, qr/^220 /, 'under tcpserver as well';
like $d->say('EHLO client.test'), qr/\[192\.0\.2\.7\]/, 'the client is who the proxy says';
$d->quit;
$d = through("EHLO client.test\r\n");
ok $d->eof, 'without a header it is closed';
$server->stop;

# What tcprules say of the proxy are not rights of its clients.
my $rights = Qpsmtpd::Test->new(plugins => ['check_relay', 'rcpt_ok', 'queue/discard'], env => {RELAYCLIENT => ''},
    config => {proxy_from => '127.0.0.2', rcpthosts => 'ours.test'});
$server = $rights->tcpserver;
for my $case (['127.0.0.2', "PROXY TCP4 192.0.2.7 192.0.2.25 4711 25\r\n", 550], ['127.0.0.2', "PROXY UNKNOWN\r\n", 250], ['127.0.0.3', '', 250]) {
    $d = through($case->[1], $case->[0]);
    $d->read_greeting;
    $d->say($_) for 'EHLO client.test', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@far.test>';
    is $d->code, $case->[2], "RELAYCLIENT, and a client of $case->[0] $case->[1]" =~ tr/\r\n//dr;
    $d->quit;
}
$server->stop;

# ---- what an administrator writes wrongly ----

$t->config(proxy_from => "10.0.0.0/8\nloadbalancer.test\n");
my ($status, $output) = $t->check;
is $status, 1, 'a name in proxy_from refuses the start';
like $output, qr{proxy_from:2: "loadbalancer\.test" is no address}, 'by file and line';

done_testing;
