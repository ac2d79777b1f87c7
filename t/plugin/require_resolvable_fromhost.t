use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use Qpsmtpd::DNS;
use Qpsmtpd::Test;

my $dns = Qpsmtpd::DNS->new({
    'mx.test'           => {MX => ['10 dead.mx.test', '20 in.mx.test']},
    'in.mx.test'        => {A => '192.0.2.25'},
    'six.test'          => {MX => '10 in.six.test'},
    'in.six.test'       => {AAAA => '2001:db8::25'},
    'a.test'            => {A => '192.0.2.1'},
    'once.test'         => {A => '192.0.2.1'},
    'aaaa.test'         => {AAAA => '2001:db8::1'},
    'alias.test'        => {CNAME => 'a.test'},
    'slow.test'         => {A => '192.0.2.1', delay => 0.3},
    'void.test'         => {TXT => 'nothing else'},
    'null.test'         => {MX => '0 .', A => '192.0.2.1'},
    'half-null.test'    => {MX => ['0 .', '10 in.mx.test']},
    'deadmx.test'       => {MX => '10 dead.mx.test', A => '192.0.2.1'},
    'private.test'      => {MX => '10 in.private.test'},
    'in.private.test'   => {A => ['10.0.0.1', '127.0.0.1'], AAAA => ['fd00::1', '::ffff:10.0.0.9']},
    'mixed.test'        => {A => ['10.0.0.1', '192.0.2.1']},
    'local.test'        => {A => '127.0.0.1'},
    'fail.test'         => {rcode => 'SERVFAIL'},
    'silent.test'       => {drop => 1},
    'refused.test'      => {rcode => 'REFUSED'},
    'broken.test'       => {A => '192.0.2.1', fault => 'pointer_chain'},
    'mxfail.test'       => {MX => '10 in.mxfail.test'},
    'in.mxfail.test'    => {rcode => 'SERVFAIL'},
    'onefail.test'      => {MX => ['10 in.mxfail.test', '20 in.mx.test']},
    'nomx.test'         => {MX => {rcode => 'SERVFAIL'}, A => '192.0.2.1'},
    'loop.test'         => {CNAME => 'pool.test'},
    'pool.test'         => {CNAME => 'loop.test'},
    'many.test'         => {MX => [map { "$_ m$_.many.test" } 1 .. 60]},
});
my $t = Qpsmtpd::Test->new(config => {
    rcpthosts    => 'ours.test',
    relayclients => '198.51.100.1',
    dns_servers  => $dns->address,
    dns_timeout  => '0.5',
    dns_tries    => 1,
    invalid_resolvable_fromhost => ['10.0.0.0/8', '127.0.0.0/8', 'fd00::/8'],
});

sub plugin {
    my ($line) = @_;

    $t->config(plugins => ['check_relay', $line, 'rcpt_ok', 'queue/maildir Maildir']);
}

sub client {
    my ($ip) = @_;
    my $d = $t->dialogue(env => {TCPREMOTEIP => $ip || '192.0.2.9', TCPREMOTEHOST => undef});

    $d->say('EHLO client.test');
    return $d;
}

sub mail {
    my ($from, $ip) = @_;

    return client($ip)->say("MAIL FROM:<$from>");
}

# ---- each result ----

plugin('resolvable_fromhost');
my $temporary = '450 Temporary address resolution failure (#4.4.3)';
for my $case (
    ['a@mx.test',           undef,                                  'mx',        'an MX, although the first one is dead'],
    ['a@six.test',          undef,                                  'mx',        'an MX with an IPv6 address'],
    ['a@half-null.test',    undef,                                  'mx',        'an MX beside a null MX'],
    ['a@onefail.test',      undef,                                  'mx',        'an MX beside one that cannot be told'],
    ['a@a.test',            undef,                                  'a',         'an address'],
    ['a@A.Test',            undef,                                  'a',         'in any case'],
    ['a@aaaa.test',         undef,                                  'a',         'an IPv6 address'],
    ['a@alias.test',        undef,                                  'a',         'an alias'],
    ['a@slow.test',         undef,                                  'a',         'an answer that takes its time'],
    ['a@mixed.test',        undef,                                  'a',         'one good address of two'],
    ['a@nomx.test',         undef,                                  'a',         'an address, while the MX cannot be told'],
    ['a@[192.0.2.1]',       undef,                                  'ip',        'an address literal'],
    ['',                    undef,                                  'null',      'the null sender'],
    ['a@none.test',         '450 Could not resolve none.test (#4.1.8)',    'invalid MX for none.test', 'NXDOMAIN'],
    ['a@void.test',         '450 Could not resolve void.test (#4.1.8)',    'invalid MX for void.test', 'no data'],
    ['a@deadmx.test',       '450 Could not resolve deadmx.test (#4.1.8)',  'invalid MX for deadmx.test', 'an MX without address, whatever else there is'],
    ['a@many.test',         '450 Could not resolve many.test (#4.1.8)',    'invalid MX for many.test', 'sixty of them'],
    ['a@private.test',      '450 Could not resolve private.test (#4.1.8)', 'invalid MX for private.test', 'an MX in invalid networks'],
    ['a@local.test',        '450 Could not resolve local.test (#4.1.8)',   'invalid MX for local.test', 'an address in an invalid network'],
    ['a@loop.test',         qr/^450 /,                                     undef,       'aliases of each other'],
    ['postmaster',          '450 FQDN required in the envelope sender (#4.1.8)', 'unparsable host', 'no domain'],
    ['a@fail.test',         $temporary,                             'no answer', 'SERVFAIL'],
    ['a@refused.test',      $temporary,                             'no answer', 'REFUSED'],
    ['a@silent.test',       $temporary,                             'no answer', 'silence'],
    ['a@broken.test',       $temporary,                             'no answer', 'a malformed answer'],
    ['a@mxfail.test',       $temporary,                             'no answer', 'an MX whose address cannot be told'],
    ['a@null.test',         '550 Domain null.test does not accept mail (#5.7.27)', 'null MX', 'a null MX'],
) {
    my ($from, $expected, $note, $name) = @$case;
    my $d = client();
    my $reply = $d->say("MAIL FROM:<$from>");
    if (ref $expected) { like $reply, $expected, "$name: refused" }
    elsif ($expected)  { is $reply, $expected, "$name: refused" }
    else               { like $reply, qr/^250 /, "$name: accepted" }
    like $d->log, qr/result="\Q$note\E" host=/, "the log says $note" if $note;
}
is $dns->count(qr/ m\d+\.many\.test$/), 20, 'of sixty MX ten are asked for';
like mail('a@none.test', '198.51.100.1'), qr/^250/, 'a relay client is let through';
my $d = client();
like $d->say('MAIL FROM:<a@none.test>'), qr/^450/, 'after a refusal';
like $d->say('MAIL FROM:<a@a.test>'), qr/^250/, 'another sender is accepted';
$t->config(enhanced_status_codes => 1);
is mail('a@none.test'), '450 4.1.8 Could not resolve none.test', 'the status stands where it belongs';
is mail('a@null.test'), '550 5.7.27 Domain null.test does not accept mail', 'that of the null MX too';
unlink $t->dir . '/config/enhanced_status_codes';

# ---- what is asked ----

mail('a@once.test');
is join(', ', sort grep { / once\.test$/ } $dns->queries), 'A once.test, AAAA once.test, MX once.test',
    'all is asked at once, and once';

# ---- the names and the switch ----

plugin('require_resolvable_fromhost');
like mail('a@none.test'), qr/^250/, 'the old name does nothing without its file';
$t->config(require_resolvable_fromhost => '0');
like mail('a@none.test'), qr/^250/, 'nor with a 0 in it';
$t->config(require_resolvable_fromhost => '1');
is mail('a@none.test'), '450 Could not resolve none.test (#4.1.8)', 'a 1 switches it on';

# ---- arguments ----

for my $case (
    ['reject_type perm',            '550 Could not resolve none.test (#5.1.8)', 0],
    ['reject_type disconnect',      '550 Could not resolve none.test (#5.1.8)', 1],
    ['reject_type temp_disconnect', '421 Could not resolve none.test (#4.1.8)', 1],
) {
    my ($arguments, $expected, $closes) = @$case;
    plugin("resolvable_fromhost $arguments");
    $d = client();
    is $d->say('MAIL FROM:<a@none.test>'), $expected, "$arguments: the reply";
    is $d->say('NOOP') eq '', !!$closes, $closes ? 'and the end' : 'and no more';
}
plugin('resolvable_fromhost reject_type perm');
is mail('a@fail.test'), $temporary, 'a server that fails is temporary even with reject_type perm';
for my $reject (0, 'naughty') {
    plugin("resolvable_fromhost reject $reject");
    $d = client();
    like $d->say('MAIL FROM:<a@none.test>'), qr/^250/, "reject $reject lets it pass";
    like $d->log, qr/fail, tolerated reason="Could not resolve none\.test/, 'and logs it';
    like mail('a@null.test'), qr/^250/, 'a null MX as well';
}

# ---- dead servers ----

$dns->zone({'*' => {drop => 1}});
$t->config(dns_timeout => 20);
plugin('resolvable_fromhost timeout 1');
my $began = time;
is mail('a@a.test'), $temporary, 'dead servers are a temporary failure';
my $took = time - $began;
ok $took > 0.9 && $took < 1 + 2 * ($ENV{TEST_SLOW} || 1), "after the timeout, once for all questions: $took s";

# ---- refused at the start ----

for my $case (
    ['resolvable_fromhost reject maybe', '10.0.0.0/8',              qr{config/plugins:1.*reject},  'a wrong word'],
    ['resolvable_fromhost timeout 61',   '10.0.0.0/8',              qr{config/plugins:1.*timeout}, 'a long timeout'],
    ['resolvable_fromhost', ['10.0.0.0/8', '10.0.0.0/33'], qr{config/invalid_resolvable_fromhost:2}, 'a wrong network'],
) {
    my ($plugin, $networks, $why, $name) = @$case;
    $t->config(plugins => $plugin);
    $t->config(invalid_resolvable_fromhost => $networks);
    my ($status, $output) = $t->check;
    is $status, 1, "$name refuses the start";
    like $output, $why, 'and is told with file and line';
}

done_testing;
