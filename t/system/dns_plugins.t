# The DNS plugins together, in a daemon that serves one client after the other: each gets its own
# verdict, nothing of one session reaches the next, and what several plugins want to know is asked once.

use strict;
use warnings;

use Test::More;
use Qpsmtpd::DNS;
use Qpsmtpd::Test qw(wait_for);

my $dns = Qpsmtpd::DNS->new({
    (map { Qpsmtpd::DNS::reverse("127.0.0.$_") => {PTR => "c$_.client.test"} } 1 .. 9),
    '*.client.test'      => {A => '127.0.0.9'},
    'good.test'          => {MX => '10 in.good.test'},
    'in.good.test'       => {AAAA => '2001:db8::25'},
    'bad.test'           => {A => '192.0.2.1'},
    'bad.test.rhs.test'  => {A => '127.0.0.2'},
    '2.0.0.127.bl.test'  => {A => '127.0.0.2', TXT => 'listed'},
    '3.0.0.127.bl.test'  => {A => '127.0.0.2', TXT => 'listed as well'},
    '3.0.0.127.wl.test'  => {A => '127.0.0.2'},
});
my $t = Qpsmtpd::Test->new(
    loglevel => 6,
    plugins  => ['check_relay', 'dns_whitelist_soft', 'fcrdns', 'dnsbl', 'rhsbl',
        'helo policy rfc reject_type soft', 'resolvable_fromhost', 'rcpt_ok', 'queue/maildir Maildir'],
    config   => {
        rcpthosts       => 'ours.test',
        relayclients    => '127.0.0.8',
        dns_servers     => $dns->address,
        dnsbl_zones     => 'bl.test',
        whitelist_zones => 'wl.test',
        rhsbl_zones     => 'rhs.test is bad',
    },
);
my $server = $t->prefork('--children', 1, '--idle-children', 1, '--max-requests', 0);

# reply - of the command that refuses, or of the message's end
sub reply {
    my ($ip, $helo, $from) = @_;
    my $d = $server->connect(from => $ip);
    my $reply;

    for my $line ("EHLO $helo", "MAIL FROM:<a\@$from>", 'RCPT TO:<x@ours.test>') {
        $reply = $d->say($line);
        last unless $reply =~ /^250/;
    }
    $reply = $d->data("From: a\@$from\n\nhello\n") if $reply =~ /^250/;
    $d->quit;
    return $reply;
}

my @cases = (
    ['127.0.0.1', 'c1.client.test', 'good.test', qr/^250 /,                                     'a good client'],
    ['127.0.0.2', 'c2.client.test', 'good.test', qr/^550 listed$/,                              'one on the block list'],
    ['127.0.0.3', 'c3.client.test', 'good.test', qr/^250 /,                                     'one on the white list too'],
    ['127.0.0.1', 'c1.client.test', 'bad.test',  qr/^550 Mail from bad\.test rejected because it is bad$/, 'a bad domain'],
    ['127.0.0.1', 'c1.client.test', 'none.test', qr/^450 Could not resolve none\.test/,         'a domain that does not exist'],
    ['127.0.0.1', 'none.test',      'good.test', qr/^450 HELO hostname does not exist$/,        'a HELO name that does not'],
    ['127.0.0.8', 'none.test',      'none.test', qr/^250 /,                                     'a relay client'],
);

for my $case (@cases) {
    my ($ip, $helo, $from, $expected, $name) = @$case;
    like reply($ip, $helo, $from), $expected, $name;
}

# ---- each question once in a session ----

$dns->clear;
reply('127.0.0.1', 'good.test', 'good.test');
my @asked = $dns->queries;
my %count;
$count{$_}++ for @asked;
is join(', ', grep { $count{$_} > 1 } sort keys %count), '', 'no question is asked twice';
is $count{'PTR 1.0.0.127.in-addr.arpa'}, 1, 'for the name of the client the server and two plugins share one';

# ---- many sessions of one child ----

my ($child) = $server->children;
my $open = sub { scalar(my @fd = glob "/proc/$child/fd/*") };
my $before = $open->();
my $wrong = 0;
for my $round (1 .. 30) {
    for my $case (@cases) {
        my ($ip, $helo, $from, $expected, $name) = @$case;
        my $reply = reply($ip, $helo, $from);
        next if $reply =~ $expected;
        $wrong++;
        diag "round $round, $name: $reply";
    }
}
is $wrong, 0, 'the verdicts stay the same in 210 sessions';
is join(' ', $server->children), $child, 'of one child';
ok wait_for(sub { $open->() <= $before }, 10, 'the descriptors of the child'), 'which has no more descriptors than before';
is $server->stop, 0, 'the server ends well';
done_testing;
