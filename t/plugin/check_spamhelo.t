use strict;
use warnings;

use Test::More;
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
like $d->data("X-Helo: forged\nFrom: a\@client.test\n\nhello\n"), qr/^250/, 'a message';
$d->quit;
my ($message) = $t->maildir_messages;
like $message, qr/^X-HELO: mx\.good\.test$/m, 'tells the name';
unlike $message, qr/forged/, 'and nothing else';

# ---- refused at the start ----

for my $case (
    ['helo policy strict',   "\n",               qr{config/plugins:1.*strict.*DNS}, 'policy strict'],
    ['helo policy rfc',      "\n",               qr{config/plugins:1.*rfc.*DNS},    'policy rfc'],
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
