use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::DNS;
use Qpsmtpd::Test;

my $t = Qpsmtpd::Test->new(
    plugins => ['check_relay', 'check_spamhelo', 'rcpt_ok', 'queue/maildir Maildir'],
    config  => {
        rcpthosts    => 'ours.test',
        relayclients => '198.51.100.1',
        badhelo      => ['aol.com', 'Yahoo.com', '^dhcp-[0-9]+', '[192.0.2.77]'],
    },
);

# hello - the reply to a greeting, and whether the connection was closed
sub hello {
    my ($name, %arg) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => $arg{ip} || '192.0.2.1', TCPREMOTEHOST => undef});
    my $reply = $d->say(($arg{verb} || 'EHLO') . " $name");

    return ($reply, $d->say('NOOP') eq '', $d->log);
}

# ---- as r356 ----

my $marquess = "and I'm a boil on the bottom of the Marquess of Queensbury's great-aunt.";
for my $verb ('HELO', 'EHLO') {
    my ($reply, $closed) = hello('aol.com', verb => $verb);
    is $reply, "550 Uh-huh.  You're aol.com, $marquess", "$verb with a listed name is refused";
    ok !$closed, 'and the connection stays';
}
like((hello('YAHOO.COM'))[0], qr/^550 Uh-huh/, 'in any case');
like((hello('aol.com', ip => '198.51.100.1'))[0], qr/^550/, 'a relay client is not exempt');
for my $name ('mx.aol.com', 'dhcp-1.test', 'localhost', '1.0.0.0', '[192.0.2.9]') {
    like((hello($name))[0], qr/^250/, "$name is accepted: only the list counts, and it has no patterns");
}
my $d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', TCPREMOTEHOST => undef});
$d->say('HELO aol.com');
like $d->say('HELO better.test'), qr/^250/, 'another try may succeed';
$d->quit;

# ---- as 1.00 ----

sub helo {
    my ($arguments, @badhelo) = @_;

    $t->config(plugins => ['check_relay', "helo $arguments", 'rcpt_ok', 'queue/maildir Maildir']);
    $t->config(badhelo => [@badhelo]) if @badhelo;
}

helo('policy lenient');
for my $case (
    ['Yahoo.com',               'I do not believe you are Yahoo.com.'],
    ['mx.yahoo.com',            undef],
    ['DHCP-17.test',            'I do not believe you are DHCP-17.test.'],
    ['[192.0.2.77]',            'I do not believe you are [192.0.2.77].'],
    ['localhost',               'You are not localhost'],
    ['LocalHost',               'You are not localhost'],
    ['localhost',               undef, '127.3.2.1'],
    ['localhost',               undef, '::1'],
    ['[192.0.2.1]',             undef],
    ['[192.0.2.2]',             'Forged IPs not accepted here'],
    ['[1.0.0.0]',               'Forged IPs not accepted here'],
    ['[IPv6:2001:db8::1]',      undef, '2001:db8:0::1'],
    ['[IPv6:2001:db8::2]',      'Forged IPs not accepted here', '2001:db8::1'],
    ['1.0.0.0',                 'Plain IP is invalid HELO hostname (RFC 2821)'],
    ['192.0.2.1',               'Plain IP is invalid HELO hostname (RFC 2821)'],
    ['254.254.254.254',         'Plain IP is invalid HELO hostname (RFC 2821)'],
    ['host-only',               undef],
    ['mx.good.test',            undef],
) {
    my ($name, $text, $ip) = @$case;
    my ($reply, $closed) = hello($name, ip => $ip);
    my $from = $ip ? " from $ip" : '';
    is $reply, "550 $text", "$name$from: $text" if $text;
    like $reply, qr/^250/, "$name$from is accepted" unless $text;
    is $closed, !!$text, $text ? 'and the connection is closed' : 'and the connection stays';
}
like((hello('yahoo.com', ip => '198.51.100.1'))[0], qr/^250/, 'a relay client is let through');

helo('', 'ya.oo\.com$', '!\.');
like((hello('mx.yahoo.com'))[0], qr/^550/, 'a pattern');
like((hello('yoda.com'))[0], qr/^250/, 'does not match everything');
like((hello('host-only'))[0], qr/^550/, '! refuses what does not match');
unlink $t->dir . '/config/badhelo';

for my $case (['perm', 550, 0], ['soft', 450, 0], ['disconnect', 550, 1], ['temp_disconnect', 421, 1]) {
    my ($type, $code, $closes) = @$case;
    helo("policy lenient reject 1 reject_type $type");
    my ($reply, $closed) = hello('localhost');
    is $reply, "$code You are not localhost", "reject_type $type: $code";
    is $closed, !!$closes, $closes ? 'and the connection is closed' : 'and the connection stays';
}
for my $reject (0, 'naughty') {
    helo("reject $reject");
    my ($reply, undef, $log) = hello('localhost');
    like $reply, qr/^250/, "reject $reject lets it pass";
    like $log, qr/fail, tolerated.*You are not localhost/, 'and logs it';
}

helo('');
$d = $t->dialogue(env => {TCPREMOTEIP => '192.0.2.1', TCPREMOTEHOST => undef});
$d->say('EHLO mx.good.test');
$d->say('MAIL FROM:<a@client.test>');
$d->say('RCPT TO:<x@ours.test>');
like $d->data("X-Helo: forged\nX-HELO \t: forged\nFrom: a\@client.test\n\nhello\n"), qr/^250/, 'a message';
$d->quit;
my ($message) = $t->maildir_messages;
like $message, qr/^X-HELO: mx\.good\.test$/m, 'tells the name';
unlike $message, qr/forged/, 'and nothing else';

# ---- with the DNS ----

my $dns = Qpsmtpd::DNS->new({
    Qpsmtpd::DNS::reverse('192.0.2.1')   => {PTR => 'mx0.example.test'},
    Qpsmtpd::DNS::reverse('192.0.2.2')   => {PTR => 'elsewhere.test'},
    Qpsmtpd::DNS::reverse('192.0.2.4')   => {TXT => 'no name'},
    Qpsmtpd::DNS::reverse('192.0.2.5')   => {rcode => 'SERVFAIL'},
    Qpsmtpd::DNS::reverse('192.0.2.6')   => {drop => 1},
    Qpsmtpd::DNS::reverse('2001:db8::1') => {PTR => 'six.test'},
    'mx0.example.test'  => {A => '192.0.2.1'},
    'mx1.example.test'  => {A => '203.0.113.1'},
    'near.test'         => {A => '192.0.2.200'},
    'far.test'          => {A => '192.0.1.1'},
    'six.test'          => {AAAA => '2001:db8::2'},
    'seven.test'        => {AAAA => '2001:db7::1'},
    'void.test'         => {MX => '10 mx0.example.test'},
    'failing.test'      => {rcode => 'SERVFAIL'},
    'silent.test'       => {drop => 1},
    'half.test'         => {A => {rcode => 'SERVFAIL'}, AAAA => []},
});
$t->config(dns_servers => $dns->address);
$t->config(dns_timeout => '0.5');
$t->config(dns_tries => 1);

# rcpt - the reply to the first RCPT, or, when EHLO is refused, to that
sub rcpt {
    my ($name, $ip, %env) = @_;
    my $c = $t->dialogue(env => {TCPREMOTEIP => $ip || '192.0.2.1', TCPREMOTEHOST => undef, %env});
    my $reply = $c->say("EHLO $name");

    return ("EHLO: $reply", $c) unless $reply =~ /^250/;
    $c->say('MAIL FROM:<a@client.test>');
    return ($c->say('RCPT TO:<x@ours.test>'), $c);
}

for my $case (
    ['rfc',    'mx0.example.test',  '192.0.2.1',   undef, 'all is well'],
    ['rfc',    'far.test',          '192.0.2.1',   undef, 'a name of somebody else'],
    ['rfc',    '[192.0.2.1]',       '192.0.2.1',   undef, 'an address literal'],
    ['rfc',    'failing.test',      '192.0.2.1',   undef, 'a name that cannot be told'],
    ['rfc',    'silent.test',       '192.0.2.1',   undef, 'nor while its server is silent'],
    ['rfc',    'half.test',         '192.0.2.1',   undef, 'nor when half of the question is answered'],
    ['rfc',    'mx0.example.test',  '192.0.2.5',   undef, 'an address whose name cannot be told'],
    ['rfc',    'mx0.example.test',  '192.0.2.6',   undef, 'nor while its server is silent'],
    ['rfc',    'mx0.example.test',  'unknown',     undef, 'a local program'],
    ['rfc',    'six.test',          '2001:db8::1', undef, 'IPv6'],
    ['rfc',    'boogers',           '192.0.2.1',   'EHLO: 550 HELO name is not fully qualified. Read RFC 2821'],
    ['rfc',    'a_b.test',          '192.0.2.1',   'EHLO: 550 HELO name contains invalid FQDN characters. Read RFC 1035'],
    ['rfc',    'yahoo.com',         '192.0.2.1',   'EHLO: 550 I do not believe you are yahoo.com.'],
    ['rfc',    'none.test',         '192.0.2.1',   '550 HELO hostname does not exist'],
    ['rfc',    'void.test',         '192.0.2.1',   '550 HELO hostname did not resolve'],
    ['rfc',    ('l' x 64) . '.test', '192.0.2.1',  '550 HELO hostname did not resolve'],
    ['rfc',    'mx0.example.test',  '192.0.2.99',  '550 no rDNS for 192.0.2.99'],
    ['rfc',    '[192.0.2.99]',      '192.0.2.99',  '550 no rDNS for 192.0.2.99'],
    ['rfc',    'mx0.example.test',  '192.0.2.4',   '550 no reverse DNS for 192.0.2.4'],
    ['rfc',    'mx0.example.test',  '198.51.100.1', undef, 'a relay client'],
    ['strict', 'mx0.example.test',  '192.0.2.1',   undef, 'the name and the address lead to each other'],
    ['strict', 'mx1.example.test',  '192.0.2.1',   undef, 'the names are of the same domain'],
    ['strict', 'near.test',         '192.0.2.2',   undef, 'the addresses are of the same /24'],
    ['strict', 'six.test',          '2001:db8::1', undef, 'of the same /96'],
    ['strict', 'far.test',          '192.0.2.5',   undef, 'one side cannot be told'],
    ['strict', 'failing.test',      '192.0.2.2',   undef, 'nor the other'],
    ['strict', 'far.test',          '192.0.2.2',   '550 That HELO hostname fails FCrDNS'],
    ['strict', 'seven.test',        '192.0.2.2',   '550 That HELO hostname fails FCrDNS'],
    ['strict', '[192.0.2.1]',       '192.0.2.1',   'EHLO: 550 RFC 2821 allows an address literal, but we do not'],
) {
    my ($policy, $name, $ip, $expected, $why) = @$case;
    helo("policy $policy reject 1", 'yahoo.com');
    my ($reply) = rcpt($name, $ip);
    is $reply, $expected, "$policy, $name from $ip: $expected" if $expected;
    like $reply, qr/^250/, "$policy, $name from $ip is accepted: $why" unless $expected;
}

my ($reply, $c);
helo('policy rfc');
($reply, $c) = rcpt('none.test');
is $c->say('NOOP'), '', 'the connection is closed';
helo('policy rfc reject_type soft');
($reply, $c) = rcpt('none.test');
is $reply, '450 HELO hostname does not exist', 'unless reject_type says otherwise';
like $c->say('RCPT TO:<y@ours.test>'), qr/^450/, 'the next recipient is refused as well';
$c->say('EHLO mx0.example.test');
$c->say('MAIL FROM:<a@client.test>');
like $c->say('RCPT TO:<x@ours.test>'), qr/^250/, 'a better name is accepted';
like((rcpt('none.test', undef, TCPLOCALPORT => $_))[0], qr/^250/, "port $_ is for mail clients") for 587, 465;
helo('policy strict');
($reply, $c) = rcpt('none.test');
like $reply, qr/^250/, 'strict refuses nobody unless told to';
like $c->log, qr/fail, tolerated reason="HELO hostname does not exist"/, 'and logs it';

$dns->zone({'*' => {drop => 1}});
$t->config(dns_timeout => 20);
helo('policy strict reject 1 timeout 1');
my $began = time;
($reply) = rcpt('mx0.example.test');
like $reply, qr/^250/, 'dead servers refuse nobody';
my $took = time - $began;
ok $took > 0.9 && $took < 1 + 2 * ($ENV{TEST_SLOW} || 1), "after the timeout, once for all questions: $took s";

# ---- refused at the start ----

for my $case (
    ['helo timeout 0',       "\n",               qr{config/plugins:1.*timeout},     'no timeout'],
    ['helo policy loose',    "\n",               qr{config/plugins:1.*policy},      'a wrong policy'],
    ['check_spamhelo policy lenient', "\n",      qr{config/plugins:1.*policy},      'an argument of the other name'],
    ['helo',                 "aol.com\n(x",      qr{config/badhelo:2.*no pattern},  'a wrong pattern'],
) {
    my ($plugin, $content, $why, $name) = @$case;
    $t->config(plugins => $plugin);
    $t->config(badhelo => $content);
    my ($status, $output) = $t->check;
    is $status, 1, "$name refuses the start";
    like $output, $why, 'and is told with file and line';
}

done_testing;
